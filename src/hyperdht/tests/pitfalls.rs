//! Pitfalls of handshakes, connecting and holepunching, by their numbers.

use super::super::*;
use super::stories::{joined, nodes};
use super::world::*;
use crate::base::{Entropy, Seeded};
use crate::crypto::noise::Noise;
use crate::wire::hyperdht::{Handshake, NoisePayload, UdxInfo, command, firewall, mode};

pub const SHORT: Span = Span::from_secs(2);
/// hyperdht.98
const HEAD_START: Span = Span::from_millis(250);

/// A caller's first message, made by hand.
pub fn message(seed: u64, server: u8, own: u8, payload: &NoisePayload) -> Vec<u8> {
    let prologue = namespace(command::PEER_HANDSHAKE);
    let mut noise = Noise::ik_initiator(&mut Seeded::new(seed), &pair(own), &pair(server).public, &prologue);
    noise.write(&wire::encode(payload)).expect("a message")
}

fn caller(id: u32) -> NoisePayload {
    let udx = Some(UdxInfo { id, ..UdxInfo::default() });
    NoisePayload { udx, secret_stream: Some(1), ..NoisePayload::default() }
}

pub fn handshake(server: u8, from: Addr, message: Handshake) -> Input {
    Input::Request(Request {
        from,
        to: Addr::new([8, 8, 8, 9], 1),
        socket: SocketId::SERVER,
        tid: 7,
        command: command::PEER_HANDSHAKE,
        target: Some(target(&pair(server).public)),
        id: None,
        token: None,
        value: Some(wire::encode(&message)),
        external: false,
    })
}

/// A caller of another version, by way of a relay.
pub fn strange_message(server: u8, own: u8, relay: Addr) -> (Input, Addr) {
    let noise = message(9, server, own, &NoisePayload { version: 7, ..NoisePayload::default() });
    let peer = Some(Addr::new([7, 7, 7, 7], 7));
    (handshake(server, relay, Handshake { mode: mode::FROM_RELAY, noise, peer, relay: None }), relay)
}

/// A caller's message, drawn from `seed`, sent straight to the server.
pub fn direct_message(seed: u64, server: u8, own: u8, from: Addr) -> Input {
    let noise = message(seed, server, own, &caller(1));
    handshake(server, from, Handshake { mode: mode::FROM_CLIENT, noise, peer: None, relay: None })
}

fn outputs(world: &mut World, index: usize, input: Input) -> Vec<Output> {
    world.hosts[index].mute = true;
    world.input(index, input);
    world.hosts[index].mute = false;
    std::mem::take(&mut world.hosts[index].muted)
}

/// A network of three nodes and an open server that listens for key 1.
pub fn served(seed: u64, shape: Shape) -> (World, usize) {
    let mut world = World::new(seed);
    nodes(&mut world, 3);
    let server = world.host(shape);
    world.settle_nodes();
    world.listen(server, 1);
    (world, server)
}

/// pitfalls 7.1: the same message is one handshake, each copy gets the same reply, through its own relay.
// proves hyperdht.20, hyperdht.21, hyperdht.30, hyperdht.31
#[test]
fn copies_of_a_message_are_one_handshake() {
    let (mut world, server) = served(1, Shape::Open);
    let noise = message(9, 1, 2, &caller(77));
    let client = Some(Addr::new([7, 7, 7, 7], 7));
    let mut replies = Vec::new();
    for relay in [1, 2, 3] {
        let from = Addr::new([8, 8, 8, relay], 1);
        let copy = Handshake { mode: mode::FROM_RELAY, noise: noise.clone(), peer: client, relay: None };
        let out = outputs(&mut world, server, handshake(1, from, copy));
        let opened = out.iter().position(|o| matches!(o, Output::StreamOpen { .. }));
        let answered = out.iter().position(|o| matches!(o, Output::Relay { .. })).expect("a reply");
        assert_eq!(opened.is_some(), relay == 1, "one stream");
        assert!(
            opened.is_none_or(|opened| opened < answered),
            "the stream is open before the reply names it"
        );
        let Output::Relay { to, value, .. } = &out[answered] else { unreachable!() };
        assert_eq!(*to, from);
        replies.push(value.clone());
    }
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    // pitfalls 7.10: through a second relay the answer goes to the first.
    let second = Some(Addr::new([6, 6, 6, 6], 6));
    let copy = Handshake { mode: mode::FROM_SECOND_RELAY, noise: noise.clone(), peer: client, relay: second };
    let out = outputs(&mut world, server, handshake(1, Addr::new([8, 8, 8, 8], 1), copy));
    assert!(matches!(&out[..], [Output::Relay { to, .. }] if Some(*to) == second));
    let lost = Handshake { mode: mode::FROM_SECOND_RELAY, noise, peer: client, relay: None };
    assert_eq!(outputs(&mut world, server, handshake(1, Addr::new([8, 8, 8, 8], 1), lost)), []);
}

/// pitfalls 7.2: who is not let in hears nothing.
// proves hyperdht.35
#[test]
fn a_denied_caller_hears_nothing() {
    let (mut world, server) = served(1, Shape::Open);
    let id = *world.hosts[server].dht.by_target.values().next().expect("a server");
    world.hosts[server].dht.set_denied(id, [pair(2).public]).expect("there");
    let from = Addr::new([7, 7, 7, 7], 7);
    let direct = |own| Handshake {
        mode: mode::FROM_CLIENT,
        noise: message(9, 1, own, &caller(77)),
        peer: None,
        relay: None,
    };
    assert_eq!(outputs(&mut world, server, handshake(1, from, direct(2))), []);
    assert!(!outputs(&mut world, server, handshake(1, from, direct(3))).is_empty());
}

/// pitfalls 7.3: an open caller is dialled where its relay saw it, a direct one is never dialled where it says.
// proves hyperdht.38
#[test]
fn a_forged_address_is_not_dialled() {
    let (mut world, server) = served(1, Shape::Open);
    let forged = Some(Addr::new([6, 6, 6, 6], 6));
    let payload = NoisePayload { firewall: firewall::OPEN, ..caller(5) };
    let noise = message(9, 1, 2, &payload);
    let direct = Handshake { mode: mode::FROM_CLIENT, noise, peer: forged, relay: forged };
    let out = outputs(&mut world, server, handshake(1, Addr::new([7, 7, 7, 7], 7), direct));
    assert!(!out.iter().any(|o| matches!(o, Output::StreamConnect { .. })));
    assert!(out.iter().any(|o| matches!(o, Output::Respond { respond, .. } if respond.to.is_none())));
}

/// pitfalls 7.4: a flood of fresh messages opens a bounded number of sockets and streams, and others still get in.
// proves hyperdht.36
#[test]
fn a_flood_of_handshakes_is_bounded() {
    let (mut world, server) = served(1, Shape::Consistent);
    let mut opened = 0;
    for n in 0..1000 {
        let noise = message(n, 1, 2, &caller(n as u32 + 1));
        let peer = Some(Addr::new([7, 7, (n >> 8) as u8, n as u8], 7));
        let relayed = Handshake { mode: mode::FROM_RELAY, noise, peer, relay: None };
        let out = outputs(&mut world, server, handshake(1, Addr::new([66, 6, 6, 6], 6), relayed));
        opened += out.iter().filter(|o| matches!(o, Output::Bind { .. })).count();
    }
    assert_eq!(opened, limits::HYPERDHT_PUNCHES_PER_HOST);
    assert!(world.hosts[server].dht.pooled_sockets() <= limits::HYPERDHT_PUNCHES);
    assert!(world.hosts[server].dht.stats().handshakes_dropped > 800);
    let client = world.host(Shape::Open);
    let conn = world.dial(client, 1, 3);
    world.outcome(client, conn, SHORT).expect("an honest caller gets in");
    world.run(Span::from_secs(60));
    assert_eq!(world.hosts[server].dht.pooled_sockets(), 0);
    assert_eq!(world.hosts[server].dht.sessions(), 0);
}

/// pitfalls 7.7: whatever is lost, after a minute there are no sessions, no sockets, no questions.
// proves hyperdht.36
#[test]
fn every_handshake_ends() {
    for seed in 0..60 {
        let shapes = [Shape::Open, Shape::Consistent, Shape::Random];
        let mut draw = Seeded::new(seed);
        let mut world = World::new(seed);
        nodes(&mut world, 1 + draw.below(5) as usize);
        let server = world.host(shapes[draw.below(3) as usize]);
        let client = world.host(shapes[draw.below(3) as usize]);
        world.settle_nodes();
        world.with(server, |dht, cx| dht.listen(cx, ListenOptions::new(pair(1)))).expect("free");
        world.run(Span::from_secs(3));
        world.loss = draw.below(900);
        let conns: Vec<ConnId> = (0..4).map(|n| world.dial(client, 1, 2 + n)).collect();
        world.run(Span::from_micros(draw.below(2_000_000)));
        if draw.chance(300) {
            let _ = world.with(client, |dht, cx| dht.destroy(cx, conns[0]));
        }
        if draw.chance(200) {
            world.hosts[server].down = true;
        }
        world.run(Span::from_secs(62));
        let events = std::mem::take(&mut world.hosts[client].events);
        let outcome = |conn| {
            let of = |event: &&Event| match event {
                Event::Connected(c) => c.conn == conn,
                Event::Failed { conn: c, .. } => *c == conn,
                _ => false,
            };
            events.iter().filter(of).count()
        };
        for &conn in &conns[1..] {
            assert_eq!(outcome(conn), 1, "seed {seed}: each attempt has one end");
        }
        world.close_streams();
        for host in [server, client] {
            let dht = &world.hosts[host].dht;
            assert_eq!((dht.pooled_sockets(), dht.sessions(), dht.connections()), (0, 0, 0), "seed {seed}");
            assert!(dht.punchers.is_empty(), "seed {seed}");
        }
        let dht = &world.hosts[client].dht;
        assert!(dht.tags.is_empty() && dht.timers.len() == 2, "seed {seed}: {:?}", dht.timers);
    }
}

/// pitfalls 7.12: an answer that is not one counts for nothing; the server's own error is final.
// proves hyperdht.15, hyperdht.16
#[test]
fn wrong_answers_do_not_connect() {
    let (mut world, server) = served(1, Shape::Open);
    let client = world.host(Shape::Consistent);
    let relay = world.server_addr(0);
    let options = ConnectOptions { relays: vec![relay], ..ConnectOptions::new(pair(2)) };
    world.hosts[client].mute = true;
    let conn = world.with(client, |dht, cx| dht.connect(cx, pair(1).public, options));
    let muted = std::mem::take(&mut world.hosts[client].muted);
    let asked = muted.iter().find_map(|output| match output {
        Output::Ask { tag, ask } => Some((*tag, ask.clone())),
        _ => None,
    });
    let (tag, ask) = asked.expect("a handshake");
    let request: Handshake = wire::decode(&ask.value.expect("a value")).expect("a handshake");
    let from = Addr::new([7, 7, 7, 7], 7);
    let direct = Handshake { mode: mode::FROM_CLIENT, ..request };
    let out = outputs(&mut world, server, handshake(1, from, direct));
    let reply = out.iter().find_map(|o| match o {
        Output::Respond { respond, .. } => respond.value.clone(),
        _ => None,
    });
    let good: Handshake = wire::decode(&reply.expect("a reply")).expect("a handshake");
    let mutants = [
        Handshake { mode: mode::FROM_SERVER, ..good.clone() },
        Handshake { noise: vec![], ..good.clone() },
        Handshake { noise: vec![0; 80], ..good.clone() },
        Handshake { noise: good.noise[1..].to_vec(), ..good.clone() },
    ];
    let answer = |value: &Handshake, from| Reply {
        from,
        to: from,
        socket: SocketId::CLIENT,
        id: None,
        token: None,
        closer: vec![],
        error: 0,
        value: Some(wire::encode(value)),
        rtt: DELAY,
    };
    let purpose = |relay| Purpose::Handshake { conn, relay, candidate: false };
    let asking = |world: &mut World| {
        if let Some(client) = world.hosts[client].dht.client(conn)
            && let connect::Phase::Finding(finding) = &mut client.phase
        {
            finding.asking += 1;
        }
    };
    for mutant in &mutants {
        let tag = world.hosts[client].dht.tag(purpose(relay));
        asking(&mut world);
        world.input(client, Input::Answer { tag, result: Ok(answer(mutant, relay)) });
        assert!(world.hosts[client].dht.client(conn).is_some());
    }
    let other = world.server_addr(1);
    let wrong = world.hosts[client].dht.tag(purpose(relay));
    asking(&mut world);
    world.input(client, Input::Answer { tag: wrong, result: Ok(answer(&good, other)) });
    assert!(world.hosts[client].events.is_empty(), "from another node than the one asked");
    world.input(client, Input::Answer { tag, result: Ok(answer(&good, relay)) });
    assert!(matches!(&world.hosts[client].events[..], [Event::Connected(c)] if c.conn == conn));
}

/// pitfalls 7.13: a closed connection leaves nothing behind; the same key comes back any number of times.
#[test]
fn the_same_caller_comes_back() {
    let (mut world, server) = served(1, Shape::Open);
    let client = world.host(Shape::Consistent);
    for _ in 0..300 {
        let conn = world.dial(client, 1, 2);
        let ours = world.outcome(client, conn, SHORT).expect("connected");
        joined(&mut world, client, &ours, server);
        world.close_streams();
    }
    assert_eq!(world.hosts[server].dht.connections() + world.hosts[client].dht.connections(), 0);
}

/// pitfalls 8.1: one dead relay does not hold up an attempt.
// proves hyperdht.13
#[test]
fn a_dead_first_relay_costs_nothing() {
    let (mut world, _) = served(1, Shape::Open);
    let client = world.host(Shape::Consistent);
    for dead in 0..3 {
        world.hosts[dead].down = true;
        let relays = vec![world.server_addr(dead)];
        let options = ConnectOptions { relays, ..ConnectOptions::new(pair(2)) };
        let conn = world.with(client, |dht, cx| dht.connect(cx, pair(1).public, options));
        world.outcome(client, conn, SHORT).expect("connected through another");
        world.hosts[dead].down = false;
    }
}

/// pitfalls 8.7: relays of the last time are used without a walk's answer, and forgotten ones do no harm.
// proves hyperdht.11, hyperdht.14, hyperdht.18, hyperdht.80
#[test]
fn remembered_relays_are_tried_first_and_may_be_stale() {
    let (mut world, server) = served(1, Shape::Open);
    let client = world.host(Shape::Consistent);
    let conn = world.dial(client, 1, 2);
    world.outcome(client, conn, SHORT).expect("connected");
    let start = world.now;
    let conn = world.dial(client, 1, 2);
    let ours = world.outcome(client, conn, SHORT).expect("connected");
    assert_eq!(ours.path, Path::Direct);
    assert!(world.now.since(start) <= Span::from_millis(21), "one round trip to the server itself");
    let stale = vec![Addr::new([99, 9, 9, 9], 9), Addr::new([99, 9, 9, 8], 9)];
    world.hosts[client].dht.relay_addresses.set(pair(1).public, stale);
    let conn = world.dial(client, 1, 2);
    world.outcome(client, conn, SHORT).expect("connected");
    let _ = server;
}

/// pitfalls 8.4: the LAN ping goes first; where it is blocked the punch goes on.
// proves hyperdht.83
#[test]
fn hosts_of_one_network_meet_there_or_punch() {
    for blocked in [false, true] {
        let mut world = World::new(4);
        nodes(&mut world, 5);
        let site = [9, 9, 9, 9];
        let server = world.host_at(Shape::Consistent, site, [10, 1, 1, 1]);
        let client = world.host_at(Shape::Consistent, site, [10, 1, 1, 2]);
        world.settle_nodes();
        world.listen(server, 1);
        world.lan_blocked = blocked;
        let conn = world.dial(client, 1, 2);
        let ours = world.outcome(client, conn, Span::from_secs(8)).expect("connected");
        assert_eq!(ours.path, if blocked { Path::Punched } else { Path::Lan });
        joined(&mut world, client, &ours, server);
    }
}

/// Two hosts of one network that have met, and what they met with.
fn acquainted() -> (World, usize, usize) {
    let mut world = World::new(4);
    nodes(&mut world, 5);
    let site = [9, 9, 9, 9];
    let server = world.host_at(Shape::Consistent, site, [10, 1, 1, 1]);
    let client = world.host_at(Shape::Consistent, site, [10, 1, 1, 2]);
    world.settle_nodes();
    world.listen(server, 1);
    let conn = world.dial(client, 1, 2);
    let met = world.outcome(client, conn, SHORT).expect("connected");
    assert_eq!(met.path, Path::Lan);
    joined(&mut world, client, &met, server);
    (world, client, server)
}

/// Where the server was reached it is asked first, and nobody else is.
// proves hyperdht.97, hyperdht.98
#[test]
fn the_last_way_to_a_server_needs_no_relay() {
    let (mut world, client, server) = acquainted();
    for relay in 0..5 {
        world.hosts[relay].down = true;
    }
    let conn = world.dial(client, 1, 2);
    let again = world.outcome(client, conn, HEAD_START).expect("connected");
    assert_eq!(again.path, Path::Direct);
    joined(&mut world, client, &again, server);
}

/// Where nobody answers any more the relays are asked, and a walk is made, a little later.
// proves hyperdht.97, hyperdht.98
#[test]
fn a_stale_way_costs_its_head_start() {
    let (mut world, client, server) = acquainted();
    let stale = Addr::new([10, 1, 1, 99], 9);
    world.hosts[client].dht.routes.set(pair(1).public, Route { addr: stale, socket: None });
    let start = world.now;
    let conn = world.dial(client, 1, 2);
    let again = world.outcome(client, conn, SHORT).expect("connected");
    assert!(world.now.since(start) >= HEAD_START);
    assert_eq!(again.path, Path::Lan);
    joined(&mut world, client, &again, server);
    let known = world.hosts[client].dht.routes.get(&pair(1).public).copied();
    assert!(known.is_some_and(|route| route.addr != stale), "the new way is the one that is remembered");
    // The ways through one network lead nowhere from another.
    world.with(client, |dht, cx| dht.handle_input(cx, Input::Interfaces(vec![[10, 7, 7, 7]])));
    assert_eq!(world.hosts[client].dht.routes.len(), 0);
}

/// pitfalls 8.9: port 0 is nowhere.
#[test]
fn port_zero_is_not_dialled() {
    let (mut world, server) = served(1, Shape::Open);
    let payload = NoisePayload { firewall: firewall::OPEN, ..caller(5) };
    let nowhere = Some(Addr::new([7, 7, 7, 7], 0));
    let noise = message(9, 1, 2, &payload);
    let relayed = Handshake { mode: mode::FROM_RELAY, noise: noise.clone(), peer: nowhere, relay: None };
    let out = outputs(&mut world, server, handshake(1, Addr::new([8, 8, 8, 8], 1), relayed));
    assert!(!out.iter().any(|o| matches!(o, Output::StreamConnect { .. })));
    let hint = Handshake { mode: mode::FROM_CLIENT, noise, peer: None, relay: nowhere };
    assert_eq!(outputs(&mut world, 0, handshake(9, Addr::new([7, 7, 7, 7], 7), hint)), []);
}

/// pitfalls 8.10: codes are stable.
// proves hyperdht.19
#[test]
fn failures_have_stable_codes() {
    let codes = [
        (ConnectError::PeerNotFound, "PEER_NOT_FOUND"),
        (ConnectError::PeerConnectionFailed, "PEER_CONNECTION_FAILED"),
        (ConnectError::HandshakeInvalid, "HANDSHAKE_INVALID"),
        (ConnectError::ServerIncompatible, "SERVER_INCOMPATIBLE"),
        (ConnectError::ServerError, "SERVER_ERROR"),
        (ConnectError::CannotHolepunch, "CANNOT_HOLEPUNCH"),
        (ConnectError::HolepunchAborted, "HOLEPUNCH_ABORTED"),
        (ConnectError::HolepunchInvalid, "HOLEPUNCH_INVALID"),
        (ConnectError::HolepunchProbeTimeout, "HOLEPUNCH_PROBE_TIMEOUT"),
        (ConnectError::DoubleRandomizedNats, "HOLEPUNCH_DOUBLE_RANDOMIZED_NATS"),
        (ConnectError::TryLater, "HOLEPUNCH_TRY_LATER"),
        (ConnectError::RemoteAborted, "REMOTE_ABORTED"),
        (ConnectError::RemoteNotHolepunching, "REMOTE_NOT_HOLEPUNCHING"),
        (ConnectError::RemoteNotHolepunchable, "REMOTE_NOT_HOLEPUNCHABLE"),
        (ConnectError::BadHolepunchReply, "BAD_HOLEPUNCH_REPLY"),
        (ConnectError::RequestTimeout, "REQUEST_TIMEOUT"),
        (ConnectError::TimedOut, "CONNECT_TIMED_OUT"),
        (ConnectError::StreamClosed, "STREAM_CLOSED"),
    ];
    for (error, code) in codes {
        assert_eq!(error.code(), code);
        assert!(!error.to_string().is_empty());
    }
}

pub fn punched(
    seed: u64,
    server: Shape,
    client: Shape,
) -> (World, usize, usize, Result<Connected, ConnectError>) {
    let mut world = World::new(seed);
    nodes(&mut world, 7);
    let server = world.host(server);
    let client = world.host(client);
    world.settle_nodes();
    world.listen(server, 1);
    let conn = world.dial(client, 1, 2);
    let outcome = world.outcome(client, conn, Span::from_secs(30));
    (world, client, server, outcome)
}

/// pitfalls 9.2: a NAT that is random for one socket gets another socket.
// proves hyperdht.65
#[test]
fn an_unstable_socket_is_replaced() {
    for (server, client) in
        [(Shape::Consistent, Shape::RandomAtFirst(1)), (Shape::RandomAtFirst(1), Shape::RandomAtFirst(1))]
    {
        let (mut world, client, server, outcome) = punched(1, server, client);
        let ours = outcome.expect("connected");
        assert_eq!(ours.path, Path::Punched);
        joined(&mut world, client, &ours, server);
    }
}

/// pitfalls 9.3: an unknown NAT is not punched. With one node there is one sample.
// proves hyperdht.86, hyperdht.87
#[test]
fn an_unknown_nat_is_not_punched() {
    let mut world = World::new(1);
    nodes(&mut world, 1);
    let server = world.host(Shape::Consistent);
    let client = world.host(Shape::Consistent);
    world.settle_nodes();
    world.listen(server, 1);
    let conn = world.dial(client, 1, 2);
    let why = world.outcome(client, conn, Span::from_secs(20)).expect_err("not told");
    assert!([ConnectError::HolepunchProbeTimeout, ConnectError::RemoteAborted].contains(&why), "{why}");
    assert_eq!(world.hosts[client].dht.stats().punches, 0);
}

/// pitfalls 9.6: both random is given up at once with its own code.
// proves hyperdht.87
#[test]
fn two_random_nats_have_their_own_code() {
    let (.., outcome) = punched(1, Shape::Random, Shape::Random);
    assert!(
        [Some(ConnectError::DoubleRandomizedNats), Some(ConnectError::RemoteAborted)]
            .contains(&outcome.err())
    );
}

/// pitfalls 9.10: sampling runs beside the first round: five round trips in all.
// proves hyperdht.69
#[test]
fn a_punch_takes_few_round_trips() {
    let mut world = World::new(1);
    nodes(&mut world, 7);
    let server = world.host(Shape::Consistent);
    let client = world.host(Shape::Consistent);
    world.settle_nodes();
    world.listen(server, 1);
    let start = world.now;
    let conn = world.dial(client, 1, 2);
    world.outcome(client, conn, SHORT).expect("connected");
    let took = world.now.since(start);
    assert!(took < DELAY * 2 * 7, "{took}: find, handshake over two hops, one round, one byte");
}

/// pitfalls 9.12: many punches at one time, each on its socket.
#[test]
fn fifty_punches_at_once() {
    let mut world = World::new(1);
    nodes(&mut world, 7);
    let server = world.host(Shape::Consistent);
    let clients: Vec<usize> = (0..50).map(|_| world.host(Shape::Consistent)).collect();
    world.settle_nodes();
    world.listen(server, 1);
    let conns: Vec<ConnId> = clients.iter().map(|&client| world.dial(client, 1, 2)).collect();
    for (&client, &conn) in clients.iter().zip(&conns) {
        let ours = world.outcome(client, conn, Span::from_secs(8)).expect("connected");
        assert_eq!(ours.path, Path::Punched);
    }
    world.run(SHORT);
    assert_eq!(world.take_accepted(server).len(), 50);
    assert_eq!(world.hosts[server].dht.pooled_sockets(), 50);
}

/// pitfalls 9.1, 9.5, 9.8, 9.9, 7.6: who proves nothing is probed seldom, and a long list is cut.
// proves hyperdht.66, hyperdht.67
#[test]
fn unproven_addresses_get_few_probes() {
    let mut world = World::new(1);
    let host = world.host(Shape::Consistent);
    let server = world.with(host, |dht, cx| dht.listen(cx, ListenOptions::new(pair(1)))).expect("free");
    let owner = punch::Owner::Session(server, Slab::new().insert(()));
    let id = world.with(host, |dht, cx| dht.new_puncher(cx, owner, firewall::CONSISTENT)).expect("room");
    let addresses = (0..1000).map(|n| Addr::new([6, 6, (n >> 8) as u8, n as u8], 6)).collect();
    let payload = wire::hyperdht::HolepunchPayload {
        firewall: firewall::CONSISTENT,
        punching: true,
        addresses: Some(addresses),
        ..Default::default()
    };
    let puncher = world.hosts[host].dht.punchers.get_mut(id).expect("there");
    puncher.update_remote(&payload, Some([6, 6, 0, 0]));
    puncher.nat.firewall = firewall::CONSISTENT;
    world.with(host, |dht, cx| assert!(dht.start_punching(cx, id)));
    world.run(Span::from_secs(15));
    let probes = &world.hosts[host].probes;
    let proven = probes.iter().filter(|(_, to, _)| to.ip == [6, 6, 0, 0]).count();
    assert_eq!(proven, 10, "ten rounds, the lead not counted (pitfalls 9.13)");
    assert_eq!(probes.len() - proven, 7 * 2, "the others in rounds 4 and 8");
}

/// What the server says of itself to a caller that asks it directly.
fn said(world: &mut World, server: usize, payload: &NoisePayload) -> NoisePayload {
    let prologue = namespace(command::PEER_HANDSHAKE);
    let mut noise = Noise::ik_initiator(&mut Seeded::new(9), &pair(2), &pair(1).public, &prologue);
    let first = noise.write(&wire::encode(payload)).expect("a message");
    let direct = Handshake { mode: mode::FROM_CLIENT, noise: first, peer: None, relay: None };
    let out = outputs(world, server, handshake(1, Addr::new([7, 7, 7, 7], 7), direct));
    let reply = out.iter().find_map(|o| match o {
        Output::Respond { respond, .. } => respond.value.clone(),
        _ => None,
    });
    let reply: Handshake = wire::decode(&reply.expect("a reply")).expect("a handshake");
    wire::decode(&noise.read(&reply.noise).expect("the server's answer")).expect("a payload")
}

// proves hyperdht.32
#[test]
fn both_kinds_of_server_say_where_they_are() {
    let (mut world, open) = served(1, Shape::Open);
    let payload = said(&mut world, open, &caller(5));
    assert_eq!((payload.firewall, payload.holepunch), (firewall::OPEN, None));
    assert_eq!(payload.addresses4[0], world.server_addr(open));
    let (mut world, hidden) = served(1, Shape::Consistent);
    let payload = said(&mut world, hidden, &caller(5));
    assert_eq!(payload.firewall, firewall::UNKNOWN);
    assert_eq!(payload.holepunch.map(|h| h.relays.len()), Some(3));
    assert_eq!(payload.addresses4, [Addr::new([10, 0, 3, 1], world.server_addr(hidden).port)]);
    assert_eq!(payload.relay_addresses.map(|relays| relays.len()), Some(3));
}

/// pitfalls 7.12, the server's side: errors are told, with no stream behind them.
// proves hyperdht.37
#[test]
fn a_caller_that_cannot_be_served_is_told() {
    let (mut world, server) = served(1, Shape::Open);
    let other = NoisePayload { version: 2, ..caller(5) };
    let payload = said(&mut world, server, &other);
    assert_eq!((payload.error, payload.udx.map(|udx| udx.id)), (2, Some(0)));
    let payload = said(&mut world, server, &NoisePayload::default());
    assert_eq!((payload.error, payload.udx.map(|udx| udx.id)), (1, Some(0)));
    assert_eq!(world.hosts[server].dht.connections(), 0);
}

/// pitfalls 8.3: bogons are passed over, the address that the relay saw is the last resort.
// proves hyperdht.81
#[test]
fn an_open_server_is_dialled_at_its_first_public_address() {
    for (remote, dialled) in [([44, 4, 4, 4], Some([44, 4, 4, 4])), ([127, 0, 0, 1], None)] {
        let (mut world, server) = served(1, Shape::Open);
        let seen = world.server_addr(server);
        let status = world.hosts[server].dht.status.clone();
        let remote = Addr::new(remote, seen.port);
        world.hosts[server].dht.status = Status { remote: Some(remote), ..status };
        let client = world.host(Shape::Consistent);
        let conn = world.dial(client, 1, 2);
        world.outcome(client, conn, SHORT).expect("connected, as far as it knows");
        let (_, _, to) = world.hosts[client].streams[&conn].remote.expect("connected");
        assert_eq!(to, dialled.map_or(seen, |ip| Addr::new(ip, seen.port)));
    }
}

/// pitfalls 7.4: callers that say that they are open cost a stream each, so there is a bound as well; and those that
/// cannot be served leave nothing.
#[test]
fn a_flood_of_open_callers_is_bounded() {
    let (mut world, server) = served(1, Shape::Open);
    let flood = |world: &mut World, from: u64, payload: &NoisePayload| {
        let mut streams = 0;
        for n in 0..1200 {
            let noise = message(from + n, 1, 2, payload);
            let peer = Some(Addr::new([7, 7, (n >> 8) as u8, n as u8], 7));
            let relayed = Handshake { mode: mode::FROM_RELAY, noise, peer, relay: None };
            let out = outputs(world, server, handshake(1, Addr::new([66, 6, 6, 6], 6), relayed));
            streams += out.iter().filter(|o| matches!(o, Output::StreamOpen { .. })).count();
        }
        streams
    };
    assert_eq!(flood(&mut world, 5000, &NoisePayload::default()), 0);
    assert_eq!(world.hosts[server].dht.sessions(), 0);
    let open = NoisePayload { firewall: firewall::OPEN, ..caller(5) };
    assert_eq!(flood(&mut world, 0, &open), limits::HYPERDHT_SESSIONS_PER_HOST);
    let client = world.host(Shape::Open);
    let conn = world.dial(client, 1, 3);
    world.outcome(client, conn, SHORT).expect("an honest caller gets in");
}

/// pitfalls 2.26: whoever wants to guess the id of a stream has 32 bits to guess.
// proves udx.103
#[test]
fn ids_of_streams_cannot_be_foreseen() {
    let drawn = |seed: u64| {
        let (mut world, server) = served(seed, Shape::Open);
        let open = NoisePayload { firewall: firewall::OPEN, ..caller(5) };
        let mut ids = Vec::new();
        for n in 0..400 {
            let relayed = Handshake {
                mode: mode::FROM_RELAY,
                noise: message(n, 1, 2, &open),
                peer: Some(Addr::new([7, 7, 7, 7], 7)),
                relay: None,
            };
            let out = outputs(&mut world, server, handshake(1, Addr::new([66, 6, 6, 6], 6), relayed));
            ids.extend(out.iter().find_map(|output| match output {
                Output::StreamOpen { local, .. } => Some(*local),
                _ => None,
            }));
        }
        ids
    };
    let (some, others) = (drawn(1), drawn(2));
    assert_eq!((some.len(), others.len()), (400, 400));
    for bit in 0..32 {
        let set = some.iter().filter(|id| *id >> bit & 1 == 1).count();
        assert!((140..260).contains(&set), "bit {bit} is set in {set} of 400");
    }
    assert!(some.iter().all(|id| !others.contains(id)), "other random bytes, other ids");
    let near = some.windows(2).filter(|two| two[0].abs_diff(two[1]) < 1 << 16);
    assert_eq!(near.count(), 0, "none follows from the one before");
}

/// A handshake whose outcome is known makes room for a new one.
#[test]
fn decided_handshakes_make_room() {
    let (mut world, server) = served(1, Shape::Open);
    let id = *world.hosts[server].dht.by_target.values().next().expect("a server");
    let client = world.host(Shape::Consistent);
    let conn = world.dial(client, 1, 3);
    let ours = world.outcome(client, conn, SHORT).expect("connected");
    joined(&mut world, client, &ours, server);
    assert_eq!(world.hosts[server].dht.sessions(), 1);
    world.run(Span::from_secs(9));
    assert_eq!(world.hosts[server].dht.sessions(), 1, "copies may still come");
    world.run(SHORT);
    assert_eq!(world.hosts[server].dht.sessions(), 0);
    assert_eq!(world.hosts[server].dht.server_key(id), Some(pair(1).public));
}

/// A node finds its own server by the network.
#[test]
fn a_node_connects_to_itself() {
    let (mut world, server) = served(1, Shape::Open);
    let conn = world.dial(server, 1, 2);
    let ours = world.outcome(server, conn, SHORT).expect("connected");
    joined(&mut world, server, &ours, server);
}

/// pitfalls 9.15: the server's stream may be faster than its last answer.
// proves hyperdht.89
#[test]
fn a_packet_of_the_server_makes_the_path_at_any_step() {
    for step in 0..12 {
        let mut world = World::new(1);
        nodes(&mut world, 7);
        let server = world.host(Shape::Consistent);
        let client = world.host(Shape::Consistent);
        world.settle_nodes();
        world.listen(server, 1);
        let conn = world.dial(client, 1, 2);
        world.run(Span::from_millis(75 + 5 * step));
        let socket = world.hosts[client].dht.sockets.keys().next().copied().unwrap_or(SocketId::CLIENT);
        let from = Addr::new([9, 9, 9, 9], 9);
        world.input(client, Input::StreamConnected { conn, socket, from });
        let ours = world.outcome(client, conn, SHORT).expect("connected");
        assert_eq!(ours.path, Path::Punched, "step {step}");
        assert!(world.hosts[client].dht.pooled_sockets() <= 1);
        assert!(world.hosts[client].dht.tags.is_empty());
    }
}

/// pitfalls 8.2: after the first answer nobody else is asked, and late answers change nothing.
// proves hyperdht.15
#[test]
fn late_answers_change_nothing() {
    let mut world = World::new(2);
    nodes(&mut world, 5);
    let server = world.host(Shape::Open);
    world.listen(server, 1);
    let client = world.host(Shape::Consistent);
    let conn = world.dial(client, 1, 2);
    world.outcome(client, conn, SHORT).expect("connected");
    assert!(world.hosts[client].dht.tags.is_empty());
    world.run(SHORT);
    assert_eq!(world.take_accepted(server).len(), 1);
    let asked: usize = world
        .hosts
        .iter()
        .map(|host| {
            host.asked
                .iter()
                .filter(|(c, from)| *c == command::PEER_HANDSHAKE && from.ip == world.hosts[client].ip)
                .count()
        })
        .sum();
    assert!(asked <= 2, "two at one time, then none: {asked}");
}
