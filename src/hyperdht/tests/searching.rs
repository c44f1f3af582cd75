//! Punches towards a NAT that gives each destination another port: what is sent, how often one is made, and that
//! nothing of it is left.

use std::collections::BTreeSet;

use super::super::*;
use super::pitfalls::{SHORT, punched};
use super::relayed::{Call, relay};
use super::stories::{joined, nodes};
use super::world::*;

/// What a search may take: rounds, and 1750 bytes. hyperdht.131
const SEARCH: Span = Span::from_secs(40);
const PACE: Span = Span::from_millis(20);

/// A server that listens for key 1 and a client, behind NATs, in a network of seven nodes.
fn behind(seed: u64, server: Shape, client: Shape) -> (World, usize, usize) {
    let mut world = World::new(seed);
    nodes(&mut world, 7);
    let server = world.host(server);
    let client = world.host(client);
    world.settle_nodes();
    world.listen(server, 1);
    (world, server, client)
}

fn one_socket_each(world: &World, hosts: [usize; 2]) {
    for host in hosts {
        let stats = world.hosts[host].dht.stats();
        assert_eq!(world.hosts[host].dht.pooled_sockets(), 1, "that of the stream");
        assert_eq!(stats.sockets_opened - stats.sockets_closed, 1);
        assert_eq!((world.hosts[host].dht.counts().punches, stats.searches), (0, 1));
    }
}

/// pitfalls 9.4 and 9.5: both ways, whoever it is that has the random NAT; the stream lives on the socket that was met,
/// and the others are closed.
// proves hyperdht.130, hyperdht.133
#[test]
fn one_random_nat_is_searched() {
    for (server, client) in [(Shape::Consistent, Shape::Random), (Shape::Random, Shape::Consistent)] {
        for seed in 0..10 {
            let (mut world, client, server, outcome) = punched(seed, server, client);
            let ours = outcome.expect("connected");
            assert_eq!(ours.path, Path::Punched);
            joined(&mut world, client, &ours, server);
            one_socket_each(&world, [client, server]);
            let (on, ..) = world.hosts[client].streams[&ours.conn].remote.expect("a remote");
            assert!(
                world.hosts[client].dht.sockets.contains_key(&on),
                "the socket of the stream is the open one"
            );
        }
    }
}

/// The bytes of a search that meets nobody: the other side's hear nothing of it.
fn in_vain(searcher: Shape) -> (World, usize) {
    let other = if searcher == Shape::Random { Shape::Consistent } else { Shape::Random };
    let (mut world, server, client) = behind(3, other, searcher);
    let conn = world.dial(client, 1, 2);
    while world.hosts[client].dht.stats().searches == 0 {
        assert!(world.now < Time::ZERO + SEARCH, "a search begins");
        world.run(Span::from_millis(1));
    }
    world.hosts[server].down = true;
    world.hosts[client].probes.clear();
    assert_eq!(world.outcome(client, conn, SEARCH).err(), Some(ConnectError::HolepunchAborted));
    (world, client)
}

/// pitfalls 9.4: each of 256 sockets sends a byte of its own that dies on its way, then in turn, at last whole ones.
// proves hyperdht.131
#[test]
fn the_random_side_opens_many_sockets() {
    let (mut world, server, client) = behind(3, Shape::Consistent, Shape::Random);
    let conn = world.dial(client, 1, 2);
    while world.hosts[client].dht.stats().searches == 0 {
        world.run(Span::from_millis(1));
    }
    world.hosts[server].down = true;
    let begin = world.now;
    let opening = std::mem::take(&mut world.hosts[client].probes);
    let opening: Vec<_> = opening.into_iter().rev().take(255).collect();
    let sockets: BTreeSet<SocketId> = opening.iter().map(|(socket, ..)| *socket).collect();
    assert_eq!(sockets.len(), 255, "and that of the rounds");
    assert!(opening.iter().all(|(_, to, ttl)| *to == opening[0].1 && *ttl == Some(5)));
    world.run(PACE * 255 + Span::from_millis(101));
    let first = std::mem::take(&mut world.hosts[client].probes);
    assert!((255..=256).contains(&first.len()), "one in 20 ms: {}", first.len());
    assert!(first.iter().all(|(_, to, ttl)| *to == opening[0].1 && *ttl == Some(5)));
    assert_eq!(world.outcome(client, conn, SEARCH).err(), Some(ConnectError::HolepunchAborted));
    let rest = &world.hosts[client].probes;
    assert_eq!(first.len() + rest.len(), 1750);
    assert!(rest.iter().skip(1).all(|(.., ttl)| ttl.is_none()));
    assert!(world.now.since(begin) < PACE * 1750 + SHORT);
    assert_eq!(world.hosts[client].dht.pooled_sockets(), 0);
}

/// pitfalls 9.5: 1750 bytes to drawn ports of the proven host, the first 750 in 5 ms each, the others in 20.
// proves hyperdht.132
#[test]
fn the_consistent_side_tries_ports() {
    let (world, client) = in_vain(Shape::Consistent);
    let tried = &world.hosts[client].probes;
    assert!((1749..=1750).contains(&tried.len()), "{}", tried.len());
    let hosts: BTreeSet<[u8; 4]> = tried.iter().map(|(_, to, _)| to.ip).collect();
    assert_eq!(hosts.len(), 1);
    let ports: BTreeSet<u16> = tried.iter().map(|(_, to, _)| to.port).collect();
    assert!(ports.len() > 1600, "drawn anew: {}", ports.len());
    assert!(ports.iter().all(|port| *port >= 1000));
    assert!(tried.iter().all(|(.., ttl)| ttl.is_none()));
}

/// Whoever gives up in the middle keeps nothing, and neither does the other side, which is told.
// proves hyperdht.133, hyperdht.141
#[test]
fn an_abandoned_search_leaves_nothing() {
    for (server, client) in [(Shape::Consistent, Shape::Random), (Shape::Random, Shape::Consistent)] {
        let (mut world, server, client) = behind(5, server, client);
        let conn = world.dial(client, 1, 2);
        while world.hosts[client].dht.stats().searches == 0 {
            world.run(Span::from_millis(1));
        }
        world.with(client, |dht, cx| dht.destroy(cx, conn)).expect("there");
        assert_eq!(world.hosts[client].dht.pooled_sockets(), 0, "at once");
        world.run(Span::from_secs(1));
        assert_eq!(world.hosts[server].dht.pooled_sockets(), 0);
        world.run(Span::from_secs(20));
        for host in [server, client] {
            let counts = world.hosts[host].dht.counts();
            assert_eq!((counts.punches, counts.sessions, world.hosts[host].dht.connections()), (0, 0, 0));
        }
    }
}

/// pitfalls 9.7: of two that need a search of one server one is told to try later, does, and connects.
// proves hyperdht.134, hyperdht.135, hyperdht.137
#[test]
fn who_is_told_to_try_later_comes_back() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        nodes(&mut world, 7);
        let server = world.host(Shape::Consistent);
        let clients = [world.host(Shape::Random), world.host(Shape::Random)];
        world.settle_nodes();
        world.listen(server, 1);
        let conns = clients.map(|client| (client, world.dial(client, 1, client as u8)));
        for (client, conn) in conns {
            let ours = world.outcome(client, conn, Span::from_secs(180)).expect("connected");
            assert_eq!(ours.path, Path::Punched);
        }
        let stats = world.hosts[server].dht.stats();
        assert!(stats.told_later >= 1);
        assert_eq!(stats.searches, 2);
    }
}

/// The same when it is the client that searches already: it tells the server, waits, and begins anew.
// proves hyperdht.134, hyperdht.137
#[test]
fn a_client_searches_once_at_a_time() {
    let mut world = World::new(8);
    nodes(&mut world, 7);
    let servers = [world.host(Shape::Consistent), world.host(Shape::Consistent)];
    let client = world.host(Shape::Random);
    world.settle_nodes();
    let conns = servers.map(|server| {
        world.listen(server, server as u8);
        world.dial(client, server as u8, 99)
    });
    let mut met = Vec::new();
    for conn in conns {
        world.outcome(client, conn, Span::from_secs(180)).expect("connected");
        met.push(world.now);
    }
    assert!(met[1].since(met[0]) >= Span::from_secs(20), "not sooner than 20 s after the first ended");
    assert_eq!(world.hosts[client].dht.stats().searches, 2);
}

/// A path that is lost soon after it was found is searched for at once, once; then the client knows how long to wait.
// proves hyperdht.167, hyperdht.168
#[test]
fn who_was_met_is_searched_for_again_at_once() {
    for (server, client) in [(Shape::Consistent, Shape::Random), (Shape::Random, Shape::Consistent)] {
        let (mut world, server, client) = behind(4, server, client);
        let mut last = world.now;
        for nth in 0..3 {
            let begin = world.now;
            let conn = world.dial(client, 1, 2);
            while world.hosts[client].dht.stats().searches == nth {
                assert!(world.now.since(begin) < Span::from_secs(25), "search {nth}");
                world.run(Span::from_millis(1));
            }
            let waited = world.now.since(begin);
            if nth < 2 {
                assert!(waited < Span::from_secs(5), "search {nth}: {waited}");
            } else {
                assert!(world.now.since(last) >= Span::from_secs(20), "{waited}");
                assert!(world.now.since(last) < Span::from_secs(24), "{waited}");
            }
            let ours = world.outcome(client, conn, SEARCH).expect("connected");
            last = world.now;
            joined(&mut world, client, &ours, server);
            world.with(client, |dht, cx| dht.destroy(cx, conn)).expect("there");
        }
    }
}

/// The server's answer that it is busy is lost, and its session is over: whoever asks again hears nothing.
// proves hyperdht.137
#[test]
fn a_lost_answer_is_as_good_as_try_later() {
    let (mut world, server, client) = behind(9, Shape::Consistent, Shape::Random);
    world.hosts[server].dht.last_search = Some(world.now);
    let conn = world.dial(client, 1, 2);
    while world.hosts[server].dht.stats().told_later == 0 {
        world.run(Span::from_millis(1));
    }
    (0..7).for_each(|relay| world.hosts[relay].down = true);
    world.run(Span::from_millis(100));
    (0..7).for_each(|relay| world.hosts[relay].down = false);
    let ours = world.outcome(client, conn, Span::from_secs(120)).expect("connected");
    assert_eq!((ours.path, world.hosts[client].dht.stats().waits > 0), (Path::Punched, true));
    joined(&mut world, client, &ours, server);
}

/// A server that is busy whenever it is asked: the attempt ends with a reason of its own, in bounded time.
// proves hyperdht.137
#[test]
fn trying_later_has_an_end() {
    let (mut world, server, client) = behind(6, Shape::Consistent, Shape::Random);
    world.hosts[server].dht.config.random_punch_interval = Some(Span::from_secs(3600));
    world.hosts[server].dht.last_search = Some(world.now);
    let begin = world.now;
    let conn = world.dial(client, 1, 2);
    let why = world.outcome(client, conn, Span::from_secs(181)).expect_err("always busy");
    assert_eq!(why, ConnectError::TryLater);
    let (stats, took) = (world.hosts[server].dht.stats(), world.now.since(begin));
    assert_eq!(stats.searches, 0);
    assert!((9..=18).contains(&stats.told_later), "each 10 to 20 s: {}", stats.told_later);
    assert!(took > Span::from_secs(155), "{took}");
    assert_eq!(world.hosts[client].dht.pooled_sockets(), 0);
}

/// What the node was told to count as a search's end.
// proves hyperdht.134
#[test]
fn a_first_search_may_be_deferred() {
    let config = Config { defer_random_punch: true, ..Config::default() };
    assert_eq!(HyperDht::new(config).last_search, Some(Time::ZERO));
    assert_eq!(HyperDht::new(Config::default()).last_search, None);
}

/// A system that gives few sockets makes the search longer, not impossible.
// proves hyperdht.139
#[test]
fn sockets_that_cannot_be_had_are_done_without() {
    let (mut world, _, client) = behind(7, Shape::Consistent, Shape::Random);
    let conn = world.dial(client, 1, 2);
    while world.hosts[client].dht.stats().searches == 0 {
        world.run(Span::from_millis(1));
    }
    let pooled: Vec<SocketId> = world.hosts[client].dht.sockets.keys().copied().collect();
    assert_eq!(pooled.len(), 256);
    for &socket in pooled.iter().skip(1).step_by(2) {
        world.input(client, Input::BindFailed { socket });
    }
    assert_eq!(world.hosts[client].dht.pooled_sockets(), 128);
    let ours = world.outcome(client, conn, SEARCH).expect("connected");
    assert_eq!((ours.path, world.hosts[client].dht.pooled_sockets()), (Path::Punched, 1));
}

/// A connection through a blind relay, of whose sides one has searched just now.
fn busy(server: bool) -> Call {
    let mut call = Call::between([Shape::Consistent, Shape::Random], vec![], vec![relay(7)]).asked();
    let side = if server { call.server } else { call.client };
    call.world.hosts[side].dht.last_search = Some(call.world.now);
    call.pair();
    call
}

/// The client does not end anything, and looks again after a while; the server's first answer is proof enough.
// proves hyperdht.135, hyperdht.136, hyperdht.140
#[test]
fn behind_a_relay_the_client_waits_for_the_server() {
    let mut call = busy(true);
    call.world.run(Span::from_secs(9));
    assert_eq!(call.told(call.client), (vec![Path::Relayed], vec![]));
    assert_eq!(call.world.hosts[call.server].dht.stats().told_later, 1);
    call.world.run(Span::from_secs(80));
    assert_eq!(call.told(call.client), (vec![Path::Relayed, Path::Punched], vec![]));
    let stats = call.world.hosts[call.server].dht.stats();
    assert_eq!((stats.searches, stats.accepts), (1, 1), "of the same handshake");
    assert!((1..=2).contains(&stats.told_later), "10 to 20 s between: {}", stats.told_later);
}

/// The server hears once that the client waits, and who it is.
// proves hyperdht.134, hyperdht.136
#[test]
fn behind_a_relay_a_busy_client_tells_the_server_once() {
    let mut call = busy(false);
    let rounds = |call: &Call| {
        let nodes = call.world.hosts.iter().take(5).flat_map(|host| &host.asked);
        nodes.filter(|(command, _)| *command == crate::wire::hyperdht::command::PEER_HOLEPUNCH).count()
    };
    call.world.run(Span::from_secs(5));
    let told = rounds(&call);
    call.world.run(Span::from_secs(14));
    assert_eq!(rounds(&call), told, "it waits, and does not ask");
    assert_eq!(call.world.hosts[call.client].dht.stats().searches, 0);
    call.world.run(Span::from_secs(80));
    assert_eq!(call.told(call.client).0, [Path::Relayed, Path::Punched]);
    assert_eq!(call.world.hosts[call.server].dht.stats().told_later, 0);
}

/// Whoever does not come back is not waited for.
// proves hyperdht.138
#[test]
fn a_server_does_not_keep_for_long_whom_it_told_to_try_later() {
    let mut call = busy(true);
    call.world.run(Span::from_secs(5));
    let server = call.server;
    call.world.hosts[call.client].down = true;
    assert_eq!(call.world.hosts[server].dht.pooled_sockets(), 1);
    call.world.run(Span::from_secs(86));
    let dht = &call.world.hosts[server].dht;
    assert_eq!((dht.pooled_sockets(), dht.counts().punches), (0, 0));
    call.world.run(Span::from_secs(11));
    assert_eq!(call.world.hosts[server].dht.counts().sessions, 0);
}
