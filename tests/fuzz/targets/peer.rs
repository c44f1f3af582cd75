//! A whole node and a peer with good keys that says anything at all: channels that open well, messages of every layer
//! above the cipher, legal, mangled or drawn. Afterwards the node holds no more connections than it should, and lives.

use seckel::base::{Addr, Span};
use seckel::hypercore::replicate;
use seckel::node::{Config, ConnId, CoreId, DhtConfig, Event, KeyPair, StoreId};
use seckel::sim::{HostId, Step, World};
use seckel::wire;

use super::machines::mangled;
use super::{Draw, Drawn};

pub fn run(input: &[u8], telling: bool) -> String {
    let hash = tell(&mut Drawn::new(input));
    if telling { format!("{hash:x}") } else { String::new() }
}

pub fn live(draw: &mut dyn Draw) {
    tell(draw);
}

const BOOTSTRAP: Addr = Addr::new([30, 0, 0, 1], 49737);

struct Scene {
    world: World,
    victim: HostId,
    liar: HostId,
    key: KeyPair,
    store: StoreId,
    core: CoreId,
    conn: Option<ConnId>,
}

/// One life of the node; a number that two lives share only if every datagram was the same.
fn tell(draw: &mut dyn Draw) -> u64 {
    let mut scene = Scene::new();
    scene.connect();
    let formats: Vec<_> = wire::formats()
        .into_iter()
        .filter(|format| {
            ["protomux.", "protomux_rpc.", "hypercore."].iter().any(|start| format.name.starts_with(start))
        })
        .collect();
    while draw.more() {
        let message = scene.lie(draw, &formats);
        if let (Some(conn), Some(message)) = (scene.conn, message) {
            let _ = scene.world.net(scene.liar).send(conn, &message);
        }
        if draw.chance(100) {
            scene.pass(Span::from_millis(20 + draw.below(2_000)));
        }
    }
    scene.pass(Span::from_secs(2));
    assert!(scene.world.net(scene.victim).conns().len() <= 2, "connections that nobody has");
    let info = scene.world.net(scene.victim).core_info(scene.core).expect("open");
    assert!(info.length >= 4, "a peer does not take away what is written");
    scene.world.trace_hash()
}

impl Scene {
    fn new() -> Scene {
        let mut world = World::new(3);
        let first = world.add(BOOTSTRAP.ip);
        let dht = DhtConfig::bootstrapper(BOOTSTRAP).expect("a host and a port");
        world.start(first, Config { dht, epoch_millis: Some(1_700_000_000_000), ..Config::default() });
        let joining = || {
            let dht = DhtConfig { bootstrap: vec![BOOTSTRAP], ..DhtConfig::default() };
            Config { dht, epoch_millis: Some(1_700_000_000_000), ..Config::default() }
        };
        let victim = world.add([30, 0, 2, 1]);
        world.start(victim, joining());
        let liar = world.add([30, 0, 2, 3]);
        world.start(liar, joining());
        let key = KeyPair::from_seed([1; 32]);
        let mut net = world.net(victim);
        let store = net.store("store").expect("a store");
        let core = net.core(store, "core").expect("a core");
        for n in 0..4u8 {
            net.bee_put(core, &[b'k', n], &[n; 32]).expect("a put");
        }
        net.listen(&key, true).expect("listening");
        let mut scene = Scene { world, victim, liar, key, store, core, conn: None };
        scene.pass(Span::from_secs(30));
        scene
    }

    /// Runs both for a while. The victim does what a server does.
    fn pass(&mut self, span: Span) {
        let until = self.world.now() + span;
        while let Step::Event(host, event) = self.world.step(until) {
            match event {
                Event::Connected { conn, .. } if host == self.victim => {
                    let _ = self.world.net(host).replicate(conn, self.store);
                    let _ = self.world.net(host).rpc(conn, &self.key.public);
                }
                Event::Call { call, body, .. } if host == self.victim => {
                    let _ = self.world.net(host).answer(call, &body);
                }
                Event::Closed { conn, .. } if host == self.liar && self.conn == Some(conn) => {
                    self.conn = None
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self) {
        let own = KeyPair::from_seed([9; 32]);
        let conn = self.world.net(self.liar).connect(self.key.public, &own, false).expect("connecting");
        self.conn = Some(conn);
        self.pass(Span::from_secs(3));
    }

    /// A message as a liar would send it: often a legal start (channels that open), then anything.
    fn lie(&mut self, draw: &mut dyn Draw, formats: &[wire::Format]) -> Option<Vec<u8>> {
        let Some(conn) = self.conn else {
            self.connect();
            return None;
        };
        let hash = self.world.net(self.liar).handshake_hash(conn)?;
        let info = self.world.net(self.victim).core_info(self.core).expect("open");
        let channel = draw.below(4) as u8;
        let message = match draw.below(12) {
            0 => [&[0, 1, channel, 12][..], b"protomux-rpc", &[32], &self.key.public].concat(),
            1 => {
                let handshake = wire::hypercore::Handshake {
                    seeks: true,
                    capability: replicate::capability(&info.key, &hash, true),
                };
                let name = b"hypercore/alpha";
                let head = [&[0, 1, channel, 15][..], name, &[32], &info.discovery_key].concat();
                [head, wire::encode(&handshake)].concat()
            }
            2..=7 => {
                let format = formats[draw.below(formats.len() as u64) as usize];
                [vec![channel, draw.below(11) as u8], (format.invent)(draw)].concat()
            }
            8 => (formats[draw.below(formats.len() as u64) as usize].invent)(draw),
            9 => {
                self.world.net(self.liar).destroy(conn);
                return None;
            }
            10 => return Some([vec![channel, draw.below(11) as u8], draw.drawn_bytes(250)].concat()),
            _ => return Some(draw.drawn_bytes(250)),
        };
        Some(if draw.chance(300) { mangled(draw, message) } else { message })
    }
}
