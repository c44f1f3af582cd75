//! A live node under a million seeded, mutated datagrams and frames: no panic, bounded memory, others served.

use seckel::base::{Addr, Entropy, Seeded, Span};
use seckel::hypercore::replicate;
use seckel::node::{ConnId, CoreId, Event, KeyPair, StoreId};
use seckel::sim::{HostId, Step, World};
use seckel::wire;

use crate::support::{joining, network, seed, wait};

const DATAGRAMS: usize = 800_000;
const FRAMES: usize = 200_000;

/// A host with a server that answers calls and replicates a core.
struct Victim {
    host: HostId,
    key: KeyPair,
    store: StoreId,
    core: CoreId,
}

impl Victim {
    fn start(world: &mut World) -> Victim {
        let host = world.add([30, 0, 2, 1]);
        world.start(host, joining());
        wait(world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
        let key = KeyPair::from_seed([1; 32]);
        let mut net = world.net(host);
        let store = net.store("store").expect("a store");
        let core = net.core(store, "core").expect("a core");
        for n in 0..40u8 {
            net.bee_put(core, &[b'k', n], &[n; 32]).expect("a put");
        }
        net.listen(&key, true).expect("listening");
        wait(world, 60, |_, from, event| from == host && matches!(event, Event::Listening { .. }));
        Victim { host, key, store, core }
    }

    /// What its program does.
    fn serve(&self, world: &mut World, event: &Event) {
        match event {
            Event::Connected { conn, .. } => {
                let _ = world.net(self.host).replicate(*conn, self.store);
                let _ = world.net(self.host).rpc(*conn, &self.key.public);
            }
            Event::Call { call, body, .. } => {
                let _ = world.net(self.host).answer(*call, body);
            }
            _ => {}
        }
    }

    /// An honest client connects, calls, and copies the core.
    fn serves_others(&self, world: &mut World, client: HostId) {
        let key = *world.net(self.host).core_info(self.core).map(|info| info.key).as_ref().expect("open");
        let length = world.net(self.host).core_info(self.core).expect("open").length;
        let own = KeyPair::generate(&mut Seeded::new(world.now().as_micros()));
        let mut net = world.net(client);
        let folder = format!("client {}", net.now());
        let store = net.store(&folder).expect("a store");
        let core = net.core_by_key(store, &key).expect("a core");
        net.download(core).expect("open");
        let conn = net.connect(self.key.public, &own, true).expect("connecting");
        let mut answered = false;
        let mut rpc = None;
        wait(world, 60, |world, host, event| {
            if host == self.host {
                self.serve(world, event);
                return false;
            }
            match event {
                Event::Connected { conn, .. } => {
                    world.net(client).replicate(*conn, store).expect("open");
                    rpc = Some(world.net(client).rpc(*conn, &self.key.public).expect("open"));
                }
                Event::RpcOpened { rpc: opened, .. } => {
                    assert_eq!(Some(*opened), rpc);
                    world.net(client).call(*opened, "echo", b"hello", None).expect("open");
                }
                Event::Answer { result, .. } => {
                    assert_eq!(result.as_deref(), Ok(&b"hello"[..]));
                    answered = true;
                }
                Event::ConnectFailed { why, .. } => panic!("{why:?}"),
                _ => {}
            }
            let copied = world.net(client).core_info(core).expect("open").contiguous_length;
            answered && copied == length
        });
        world.net(client).destroy(conn);
    }
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn mutate(draw: &mut Seeded, bytes: &mut Vec<u8>) {
    for _ in 0..draw.below(4) {
        match draw.below(5) {
            0 | 1 if !bytes.is_empty() => {
                let bit = draw.below(bytes.len() as u64 * 8);
                bytes[bit as usize / 8] ^= 1 << (bit % 8);
            }
            2 => bytes.truncate(draw.below(bytes.len() as u64 + 1) as usize),
            3 if bytes.len() < 1400 => {
                let at = draw.below(bytes.len() as u64 + 1) as usize;
                bytes.insert(at, [0, 1, 0x7f, 0xfc, 0xfd, 0xfe, 0xff][draw.below(7) as usize]);
            }
            _ => {}
        }
    }
}

fn drain(world: &mut World, victim: &Victim, span: Span) {
    let until = world.now() + span;
    while let Step::Event(host, event) = world.step(until) {
        if host == victim.host {
            victim.serve(world, &event);
        }
    }
}

/// pitfalls 1.8, 3.16: a bad datagram is dropped and nothing else; all commands, all truncations, the node lives.
#[test]
fn a_node_survives_mutated_datagrams() {
    let mut world = World::new(seed(7));
    world.watch(Vec::new()); // what is injected is nobody's
    network(&mut world, 2);
    let victim = Victim::start(&mut world);
    let client = world.add([30, 0, 2, 2]);
    world.start(client, joining());
    wait(&mut world, 60, |_, host, event| host == client && matches!(event, Event::Bootstrapped));
    world.tap = Some(Vec::new());
    victim.serves_others(&mut world, client);
    let local = world.net(victim.host).status().local.expect("bound");
    let target = Addr::new([30, 0, 2, 1], local.port);
    let heard = world.tap.take().expect("a tap");
    assert!(heard.iter().filter(|(_, to, _)| *to == target).count() > 10);
    let mut draw = Seeded::new(seed(7)).fork("garbage");
    let mut before = 0;
    for n in 0..DATAGRAMS {
        let (from, _, bytes) = &heard[draw.below(heard.len() as u64) as usize];
        let mut bytes = bytes.clone();
        mutate(&mut draw, &mut bytes);
        let from = match draw.below(4) {
            0 => *from,
            1 => Addr::new([30, 0, 1, 1], draw.below(65536) as u16),
            _ => Addr::new([draw.below(224) as u8, draw.below(256) as u8, 7, 7], draw.below(65536) as u16),
        };
        world.inject(from, target, &bytes);
        if n % 50 == 0 {
            drain(&mut world, &victim, Span::from_millis(draw.below(200)));
        }
        if n == DATAGRAMS / 4 {
            before = resident();
        }
    }
    let after = resident();
    assert!(after < before + 50_000, "memory went from {before} to {after} KiB");
    drain(&mut world, &victim, Span::from_secs(30));
    victim.serves_others(&mut world, client);
}

/// A peer with valid keys that says anything at all: mutated and invented messages of every layer above the cipher.
#[test]
fn a_node_survives_mutated_frames() {
    let mut world = World::new(seed(8));
    network(&mut world, 1);
    let victim = Victim::start(&mut world);
    let liar = world.add([30, 0, 2, 3]);
    world.start(liar, joining());
    wait(&mut world, 60, |_, host, event| host == liar && matches!(event, Event::Bootstrapped));
    let key = KeyPair::from_seed([9; 32]);
    let info = world.net(victim.host).core_info(victim.core).expect("open");
    let mut draw = Seeded::new(seed(8)).fork("garbage");
    let formats: Vec<_> = wire::formats()
        .into_iter()
        .filter(|format| {
            ["protomux.", "protomux_rpc.", "hypercore."].iter().any(|start| format.name.starts_with(start))
        })
        .collect();
    let mut sent = 0;
    let mut conns = 0;
    while sent < FRAMES {
        let conn = world.net(liar).connect(victim.key.public, &key, false).expect("connecting");
        conns += 1;
        let mut open = false;
        wait(&mut world, 60, |world, host, event| {
            if host == victim.host {
                victim.serve(world, event);
            }
            open = host == liar && matches!(event, Event::Connected { .. });
            open || (host == liar && matches!(event, Event::ConnectFailed { .. } | Event::Closed { .. }))
        });
        for _ in 0..200 {
            let Some(hash) = world.net(liar).handshake_hash(conn) else { break };
            let message = lie(&mut draw, &formats, &victim.key.public, &info.key, &info.discovery_key, &hash);
            sent += 1;
            let _ = world.net(liar).send(conn, &message);
            if draw.chance(100) {
                drain(&mut world, &victim, Span::from_millis(20));
            }
        }
        world.net(liar).destroy(conn);
        drain(&mut world, &victim, Span::from_millis(200));
    }
    assert!(open_connections(&mut world, victim.host) <= 2, "after {conns} connections");
    let client = world.add([30, 0, 2, 4]);
    world.start(client, joining());
    wait(&mut world, 60, |_, host, event| host == client && matches!(event, Event::Bootstrapped));
    victim.serves_others(&mut world, client);
}

fn open_connections(world: &mut World, host: HostId) -> usize {
    let conns: Vec<ConnId> = world.net(host).conns();
    conns.len()
}

/// A message as a liar would send it: often a legal start (channels that open), then anything.
fn lie(
    draw: &mut Seeded,
    formats: &[wire::Format],
    server: &[u8; 32],
    core: &[u8; 32],
    discovery_key: &[u8; 32],
    handshake_hash: &[u8; 64],
) -> Vec<u8> {
    let mut message = Vec::new();
    match draw.below(10) {
        // Open a channel for calls, or one for the core with a good capability.
        0 => {
            message.extend([0, 1, draw.below(3) as u8 + 1]);
            message.push(12);
            message.extend(b"protomux-rpc");
            message.push(32);
            message.extend(server);
        }
        1 => {
            message.extend([0, 1, draw.below(3) as u8 + 1]);
            message.push(15);
            message.extend(b"hypercore/alpha");
            message.push(32);
            message.extend(discovery_key);
            let handshake = wire::hypercore::Handshake {
                seeks: true,
                capability: replicate::capability(core, handshake_hash, true),
            };
            message.extend(wire::encode(&handshake));
        }
        // A message on a channel.
        2..=7 => {
            let format = formats[draw.below(formats.len() as u64) as usize];
            message.extend([draw.below(4) as u8, draw.below(11) as u8]);
            message.extend((format.invent)(draw));
        }
        _ => {
            let format = formats[draw.below(formats.len() as u64) as usize];
            message.extend((format.invent)(draw));
        }
    }
    mutate(draw, &mut message);
    message
}
