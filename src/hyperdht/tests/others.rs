//! More of what others ran into: what stays when a thing ends at a bad moment, and what a caller may make us do.

use super::super::*;
use super::pitfalls::{handshake, message, served};
use super::stories::{joined, nodes};
use super::world::*;
use crate::base::{Entropy, Seeded};
use crate::wire::hyperdht::{Handshake, NoisePayload, RelayThrough, UdxInfo, command, firewall, mode};

const SHORT: Span = Span::from_secs(2);

/// A host that listens behind its NAT, one that calls from behind another, and seven nodes.
fn two_homes(seed: u64) -> (World, usize, usize) {
    let mut world = World::new(seed);
    nodes(&mut world, 7);
    let server = world.host(Shape::Consistent);
    let client = world.host(Shape::Consistent);
    world.settle_nodes();
    world.listen(server, 1);
    (world, server, client)
}

/// How many ANNOUNCE requests the nodes have had from a host.
fn announcements(world: &World, from: usize) -> usize {
    let ip = world.hosts[from].ip;
    let of = |host: &Host| {
        host.asked.iter().filter(|(asked, by)| *asked == command::ANNOUNCE && by.ip == ip).count()
    };
    world.hosts.iter().map(of).sum()
}

/// pitfalls 4.7: what was announced from the old address is worth nothing from the moment that the node has another.
// proves hyperdht.55
#[test]
fn a_node_that_turns_persistent_announces_at_once() {
    let mut world = World::new(1);
    nodes(&mut world, 3);
    let server = world.host(Shape::Open);
    world.listen(server, 1);
    world.run(Span::from_secs(20));
    let before = announcements(&world, server);
    assert!(before > 0);
    world.hosts[server].persistent = true;
    world.tell_status(server);
    world.input(server, Input::Persistent);
    world.run(SHORT);
    assert_eq!(announcements(&world, server), 2 * before, "once more, to each");
    let client = world.host(Shape::Consistent);
    let conn = world.dial(client, 1, 2);
    let ours = world.outcome(client, conn, SHORT).expect("connected");
    joined(&mut world, client, &ours, server);
}

/// pitfalls 7.5: callers may name relays as they like; few are dialled at a time, and the callers are served anyway.
// proves blind_relay.29
#[test]
fn callers_that_name_relays_have_few_of_them_dialled() {
    let (mut world, server) = served(1, Shape::Consistent);
    let call = |world: &mut World, n: u32| {
        let through = RelayThrough { version: 1, flags: 0, key: pair(n as u8).public, token: [n as u8; 32] };
        let payload = NoisePayload {
            firewall: firewall::CONSISTENT,
            udx: Some(UdxInfo { id: n + 1, ..UdxInfo::default() }),
            secret_stream: Some(1),
            relay_through: Some(through),
            ..NoisePayload::default()
        };
        let noise = message(u64::from(n), 1, 2, &payload);
        let peer = Some(Addr::new([7, 7, (n >> 8) as u8, n as u8], 7));
        let relayed = Handshake { mode: mode::FROM_RELAY, noise, peer, relay: None };
        let from = Addr::new([66, 6, (n >> 8) as u8, n as u8], 6);
        world.input(server, handshake(1, from, relayed));
    };
    (0..1000).for_each(|n| call(&mut world, n));
    let asks = world.hosts[server].relaying.iter().filter_map(|out| match out {
        Output::RelayAsk { conn, .. } => Some(*conn),
        _ => None,
    });
    let asks: Vec<ConnId> = asks.collect();
    assert_eq!(asks.len(), limits::HYPERDHT_RELAYS_BIDDEN_MAX);
    let served = world.hosts[server].dht.sessions();
    assert!(served > 2 * limits::HYPERDHT_RELAYS_BIDDEN_MAX, "with or without a relay: {served}");
    world.run(Span::from_secs(15));
    asks.into_iter().for_each(|conn| world.input(server, Input::RelayClosed { conn }));
    world.run(Span::from_secs(15));
    assert_eq!(world.hosts[server].dht.sessions(), 0);
}

/// pitfalls 7.8: the ten seconds of a handshake do not end a punch that began in their last moment.
// proves hyperdht.36
#[test]
fn a_punch_that_begins_late_is_not_cut_short() {
    let (mut world, server, client) = two_homes(3);
    let conn = world.dial(client, 1, 2);
    world.run(Span::from_millis(50));
    assert_eq!(world.hosts[server].dht.sessions(), 1, "the handshake is done");
    // Nothing passes for a while, and the rounds are asked again once a second.
    world.loss = 1000;
    world.run(Span::from_millis(1500));
    world.loss = 0;
    let ours = world.outcome(client, conn, Span::from_secs(20)).expect("connected");
    assert_eq!(ours.path, Path::Punched);
    joined(&mut world, client, &ours, server);
    world.run(Span::from_secs(30));
    assert_eq!(world.hosts[server].dht.connections(), 1, "no timer of the handshake is left");
}

/// pitfalls 8.8: an attempt that is ended at any of its steps leaves no question, no socket, no timer, on either side.
#[test]
fn an_attempt_that_is_ended_at_any_step_leaves_nothing() {
    let mut connected = 0;
    for step in 0..60_u64 {
        let (mut world, server, client) = two_homes(step);
        let timers = world.hosts[client].dht.timers.len();
        let conn = world.dial(client, 1, 2);
        world.run(Span::from_millis(5 * step));
        let events = std::mem::take(&mut world.hosts[client].events);
        connected += usize::from(events.iter().any(|event| matches!(event, Event::Connected(_))));
        world.with(client, |dht, cx| dht.destroy(cx, conn)).expect("there");
        let dht = &world.hosts[client].dht;
        let farewells = dht.tags.values().filter(|purpose| matches!(purpose, Purpose::Farewell(_))).count();
        assert!(dht.tags.len() == farewells && farewells <= 1, "step {step}: questions");
        assert!(dht.punchers.is_empty(), "step {step}: a punch");
        world.run(Span::from_millis(1));
        world.close_streams();
        world.run(Span::from_secs(60));
        assert!(world.hosts[client].dht.tags.is_empty(), "step {step}: a farewell");
        for host in [server, client] {
            let dht = &world.hosts[host].dht;
            let left = (dht.pooled_sockets(), dht.sessions(), dht.connections(), dht.punchers.len());
            assert_eq!(left, (0, 0, 0, 0), "step {step}");
        }
        assert_eq!(world.hosts[client].dht.timers.len(), timers, "step {step}");
    }
    assert!((1..60).contains(&connected), "some before, some after: {connected}");
}

/// pitfalls 9.14: what opens our own NAT dies on the way; nothing after it does, on the same socket.
// proves hyperdht.84
#[test]
fn only_the_first_byte_has_a_low_hop_limit() {
    let mut both = 0;
    for seed in 0..20 {
        let (mut world, server, client) = two_homes(seed);
        world.loss = 250;
        let conn = world.dial(client, 1, 2);
        world.run(Span::from_secs(20));
        let _ = world.with(client, |dht, cx| dht.destroy(cx, conn));
        let mut sockets: BTreeMap<SocketId, Vec<Option<u8>>> = BTreeMap::new();
        for (socket, _, ttl) in &world.hosts[client].probes {
            sockets.entry(*socket).or_default().push(*ttl);
        }
        for limits in sockets.values() {
            let low = limits.iter().take_while(|ttl| **ttl == Some(5)).count();
            assert!(low > 0, "seed {seed}: the first opens our own NAT");
            both += usize::from(low < limits.len());
        }
        assert!(world.hosts[server].probes.iter().all(|(_, _, ttl)| ttl.is_none()));
    }
    assert!(both > 0, "some went on to punch");
}

/// pitfalls 7.9: who is told that we punch is probed; a server that cannot go on says so instead of nothing.
// proves hyperdht.39
#[test]
fn a_round_is_answered_with_what_was_done() {
    for seed in 0..20 {
        let shapes = [Shape::Consistent, Shape::Random];
        let mut draw = Seeded::new(seed);
        let mut world = World::new(seed);
        nodes(&mut world, 6);
        let server = world.host(shapes[draw.below(2) as usize]);
        let client = world.host(Shape::Consistent);
        world.settle_nodes();
        world.listen(server, 1);
        let conn = world.dial(client, 1, 2);
        match world.outcome(client, conn, Span::from_secs(90)) {
            Ok(_) => assert!(!world.hosts[server].probes.is_empty(), "seed {seed}"),
            Err(why) => assert_ne!(why, ConnectError::TimedOut, "seed {seed}: the server said why"),
        }
    }
}
