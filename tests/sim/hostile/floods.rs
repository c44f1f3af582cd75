//! Somebody who forges sources, replays what was heard and floods one node: what that makes the node send, and keep.

use seckel::base::{Addr, Key, Span};
use seckel::hyperdht::target;
use seckel::node::Event;
use seckel::node::inspect::node_id;
use seckel::sim::{HostId, World};
use seckel::wire;
use seckel::wire::dht_rpc::{
    AddressValue, DELAYED_PING, DOWN_HINT, DelayValue, FIND_NODE, PING, PING_NAT, PortValue, REQUEST,
    RESPONSE, RequestMessage, ResponseMessage,
};
use seckel::wire::hyperdht::{Handshake, Holepunch, MutableGet, command, mode};

use super::liars::VICTIM;
use crate::support::{call, join, key, listen, network, seed, wait};

/// Where the attacker really is.
const ATTACKER: Addr = Addr::new([66, 6, 6, 6], 666);

/// A network with a node that listens, one that connects, and a host that has nothing to do with it.
struct Scene {
    world: World,
    server: HostId,
    client: HostId,
    /// Where the listening node and a node that keeps its record are.
    server_at: Addr,
    relay_at: Addr,
}

impl Scene {
    fn new(n: u64) -> Scene {
        let mut world = World::new(seed(n));
        world.watch(Vec::new()); // what is injected is nobody's
        let hosts = network(&mut world, 5);
        let (server, client) = (world.add([40, 0, 0, 1]), world.add([40, 0, 0, 2]));
        world.add(VICTIM);
        join(&mut world, server);
        join(&mut world, client);
        listen(&mut world, server, &key(1));
        let server_at = Scene::addr(&mut world, server);
        let relay_at = Scene::addr(&mut world, hosts[2]);
        world.tap = Some(Vec::new());
        Scene { world, server, client, server_at, relay_at }
    }

    fn addr(world: &mut World, host: HostId) -> Addr {
        let port = world.net(host).status().local.expect("bound").port;
        Addr::new(world.ip(host), port)
    }

    /// Lets `span` pass; what was sent to the victim since the last look: datagrams and bytes.
    fn meets_victim(&mut self, span: Span) -> (u64, u64) {
        self.world.run(span);
        let tap = self.world.tap.replace(Vec::new()).expect("a tap");
        let sent = tap.iter().filter(|(_, to, _)| to.ip == VICTIM);
        sent.fold((0, 0), |(count, bytes), (_, _, sent)| (count + 1, bytes + sent.len() as u64))
    }
}

fn asking(command: u64, internal: bool, target: Option<Key>, value: Option<Vec<u8>>) -> RequestMessage {
    RequestMessage { tid: 1, internal, command, target, value, ..RequestMessage::default() }
}

/// Each kind of request with a forged source: one answer at most for each, the node's own within its limit, and what it
/// passes on is no longer than what came.
// proves dht_rpc.90
#[test]
fn a_forged_source_gets_no_more_than_an_answer_each() {
    const COUNT: u64 = 1000;
    let victim = Addr::new(VICTIM, 9);
    let some = Some([5; 32]);
    let owner = Some(target(&key(1).public));
    let handshake = |mode, peer, relay| wire::encode(&Handshake { mode, noise: vec![1; 100], peer, relay });
    let punch = |mode, peer| wire::encode(&Holepunch { mode, id: 1, payload: vec![1; 100], peer });
    // Whether the node answers by itself; whether the message is passed on as it is.
    let kinds = [
        ("ping", asking(PING, true, None, None), true, false),
        ("ping nat", asking(PING_NAT, true, None, Some(wire::encode(&PortValue(53)))), true, false),
        ("find node", asking(FIND_NODE, true, some, None), true, false),
        ("down hint", asking(DOWN_HINT, true, None, Some(wire::encode(&AddressValue(victim)))), true, false),
        ("delayed ping", asking(DELAYED_PING, true, None, Some(wire::encode(&DelayValue(100)))), true, false),
        ("unknown", asking(99, true, some, None), true, false),
        ("find peer", asking(command::FIND_PEER, false, owner, None), false, false),
        ("lookup", asking(command::LOOKUP, false, owner, None), false, false),
        ("immutable get", asking(command::IMMUTABLE_GET, false, some, None), false, false),
        (
            "mutable get",
            asking(command::MUTABLE_GET, false, some, Some(wire::encode(&MutableGet { seq: 0 }))),
            false,
            false,
        ),
        (
            "handshake, to a relay of the caller's choice",
            asking(
                command::PEER_HANDSHAKE,
                false,
                some,
                Some(handshake(mode::FROM_CLIENT, None, Some(victim))),
            ),
            false,
            true,
        ),
        (
            "handshake, as if from a server",
            asking(
                command::PEER_HANDSHAKE,
                false,
                some,
                Some(handshake(mode::FROM_SERVER, Some(victim), None)),
            ),
            false,
            true,
        ),
        (
            "round, to a server of the caller's choice",
            asking(command::PEER_HOLEPUNCH, false, some, Some(punch(mode::FROM_CLIENT, Some(victim)))),
            false,
            true,
        ),
        (
            "round, as if from a server",
            asking(command::PEER_HOLEPUNCH, false, some, Some(punch(mode::FROM_SERVER, Some(victim)))),
            false,
            true,
        ),
    ];
    let mut scene = Scene::new(1);
    for (name, message, own, passed) in kinds {
        scene.meets_victim(Span::from_secs(10));
        let bytes = wire::encode(&RequestMessage { to: scene.relay_at, ..message });
        let from = if passed { ATTACKER } else { victim };
        for _ in 0..COUNT {
            scene.world.inject(from, scene.relay_at, &bytes);
        }
        let (count, sent) = scene.meets_victim(Span::from_secs(3));
        println!("{name}: {COUNT} of {} bytes make {count} of {}", bytes.len(), sent / count.max(1));
        let most = if own { 400 + 100 } else { COUNT };
        assert!(count <= most, "{name}: {count}");
        if passed {
            // An id and two addresses more.
            assert!(sent <= COUNT * (bytes.len() as u64 + 32 + 12), "{name}: {sent} bytes");
        } else {
            // Twenty addresses, an id, a token, a record: what the protocol says.
            assert!(sent <= count * 400, "{name}: {sent} bytes");
        }
    }
}

/// Requests with forged sources and true ids: those who are taken for nodes are asked now and then, and soon no more.
// proves dht_rpc.56
#[test]
fn nodes_that_were_made_up_are_forgotten() {
    for n in 0..3 {
        let mut scene = Scene::new(n);
        let mut ids: Vec<(Key, Addr)> = Vec::new();
        for port in 1..=3000 {
            let from = Addr::new(VICTIM, port);
            ids.push((node_id(from), from));
        }
        for (id, from) in &ids {
            let message =
                RequestMessage { id: Some(*id), to: scene.relay_at, ..asking(PING, true, None, None) };
            scene.world.inject(*from, scene.relay_at, &wire::encode(&message));
        }
        let (answers, _) = scene.meets_victim(Span::from_secs(2));
        assert!(answers <= 500, "seed {n}: {answers} answers");
        let (asked, _) = scene.meets_victim(Span::from_secs(3600));
        let (later, _) = scene.meets_victim(Span::from_secs(600));
        println!(
            "seed {n}: {answers} answers, then {asked} datagrams in an hour, and {later} in ten minutes more"
        );
        assert!(asked <= 3000, "seed {n}: less than was sent: {asked}");
        assert_eq!(later, 0, "seed {n}: all are forgotten");
        assert!(call(&mut scene.world, scene.client, scene.server, key(1).public).is_ok());
    }
}

/// An announcement that was heard on its way is worth nothing to another host, and nothing to its own some time later.
// proves dht_rpc.24, hyperdht.46
#[test]
fn announcements_that_are_stolen_or_replayed_change_nothing() {
    for n in 0..3 {
        let mut scene = Scene::new(n);
        let pair = key(7);
        scene.world.net(scene.client).listen(&pair, false).expect("new");
        let client = scene.client;
        wait(&mut scene.world, 30, |_, host, event| {
            host == client && matches!(event, Event::Listening { .. })
        });
        let tap = scene.world.tap.replace(Vec::new()).expect("a tap");
        let announces: Vec<(Addr, Addr, Vec<u8>)> = tap
            .into_iter()
            .filter(|(_, _, bytes)| {
                bytes[0] == REQUEST
                    && wire::decode::<RequestMessage>(bytes)
                        .is_ok_and(|asked| !asked.internal && asked.command == command::ANNOUNCE)
            })
            .collect();
        assert!(announces.len() >= 3, "seed {n}");
        // Stolen: to become whom the callers of the key are sent to.
        for (_, to, bytes) in &announces {
            scene.world.inject(Addr::new(VICTIM, 9), *to, bytes);
        }
        scene.world.run(Span::from_secs(1));
        let tap = scene.world.tap.replace(Vec::new()).expect("a tap");
        let answers: Vec<u64> = tap
            .iter()
            .filter(|(_, to, bytes)| to.ip == VICTIM && bytes[0] == RESPONSE)
            .map(|(_, _, bytes)| wire::decode::<ResponseMessage>(bytes).expect("an answer").error)
            .collect();
        assert_eq!(answers, vec![2; announces.len()], "seed {n}: the token is another host's");
        let server = scene.server;
        assert!(call(&mut scene.world, server, client, pair.public).is_ok(), "seed {n}");
        // Replayed, when its owner has gone and is forgotten: the token has run out.
        scene.world.kill(client);
        scene.world.run(Span::from_secs(1700));
        for (from, to, bytes) in &announces {
            scene.world.inject(*from, *to, bytes);
        }
        scene.world.run(Span::from_secs(1));
        let find = scene.world.net(server).find_peer(pair.public);
        wait(&mut scene.world, 60, |_, host, event| match event {
            Event::Found { lookup, .. } if host == server && *lookup == find => {
                panic!("seed {n}: it came back")
            }
            Event::LookupDone { lookup, .. } => host == server && *lookup == find,
            _ => false,
        });
    }
}

/// Fresh handshakes, each of which says that its caller is open, and where the victim is: the server dials there, as
/// the protocol says, and stops; it forgets them, and serves others meanwhile.
// proves hyperdht.36
#[test]
fn a_flood_of_handshakes_ends_in_little() {
    let mut scene = Scene::new(1);
    let attacker = scene.world.add(ATTACKER.ip);
    join(&mut scene.world, attacker);
    scene.meets_victim(Span::ZERO);
    // Its node makes the messages.
    let mut messages = std::collections::BTreeSet::new();
    for n in 0..300_u32 {
        let own = key((n % 200) as u8 + 20);
        let conn = scene.world.net(attacker).connect(key(1).public, &own, false).expect("new");
        scene.world.run(Span::from_millis(25));
        scene.world.net(attacker).destroy(conn);
    }
    for (from, _, bytes) in scene.world.tap.replace(Vec::new()).expect("a tap") {
        if from.ip == ATTACKER.ip
            && bytes[0] == REQUEST
            && let Ok(asked) = wire::decode::<RequestMessage>(&bytes)
            && !asked.internal
            && asked.command == command::PEER_HANDSHAKE
            && let Ok(message) = wire::decode::<Handshake>(asked.value.as_deref().unwrap_or(&[]))
        {
            messages.insert(message.noise);
        }
    }
    assert!(messages.len() >= 200, "{} messages", messages.len());
    scene.world.run(Span::from_secs(60));
    scene.meets_victim(Span::ZERO);
    let mut came = 0;
    for (n, noise) in messages.iter().enumerate() {
        let peer = Some(Addr::new(VICTIM, 1 + n as u16));
        let message = Handshake { mode: mode::FROM_RELAY, noise: noise.clone(), peer, relay: None };
        let owner = Some(target(&key(1).public));
        let asked = asking(command::PEER_HANDSHAKE, false, owner, Some(wire::encode(&message)));
        let bytes = wire::encode(&RequestMessage { to: scene.server_at, ..asked });
        came += bytes.len() as u64;
        scene.world.inject(ATTACKER, scene.server_at, &bytes);
        if n % 50 == 0 {
            let (server, client) = (scene.server, scene.client);
            assert!(call(&mut scene.world, client, server, key(1).public).is_ok(), "after {n}");
        }
    }
    let (count, sent) = scene.meets_victim(Span::from_secs(60));
    let handshakes = messages.len() as u64;
    println!("{handshakes} handshakes of {came} bytes make {count} datagrams of {sent} bytes to the victim");
    // The first packet of a stream and its six repetitions, upstream's too.
    assert!(count <= 7 * handshakes, "{count} datagrams for {handshakes}");
    assert!(sent <= 4 * came, "{sent} bytes for {came}");
    let remains = scene.world.node(scene.server).expect("up").remains();
    assert_eq!((remains.sessions, remains.punches, remains.sockets, remains.streams), (0, 0, 0, 0));
}
