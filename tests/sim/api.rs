//! What a program can do with a whole node: decide who is let in, keep one connection for each key, stop for a
//! while and
//! go on, end, and begin again with what it knew.

use std::collections::BTreeSet;

use seckel::base::{Addr, Span};
use seckel::node::{
    Closed, Config, ConnId, ConnectError, ConnectOptions, Event, JoinOptions, ListenOptions, Path,
    PingOptions, PoolId, SwarmOptions, TransportWhy,
};
use seckel::sim::{HostId, Kind, Line, NatOptions, Step, World};
use seckel::wire::hyperdht::Address;

use crate::support::{call, connect, echo, join, joining, key, lasting, listen, network, seed, wait};

fn behind(world: &mut World, kind: Kind, n: u8) -> HostId {
    let home = world.add_box(kind, [30, 0, 101, n], NatOptions::default());
    world.set_uplink(home, Line { delay: Span::from_millis(5), ..Line::CLEAR });
    let host = world.add_behind(home, [192, 168, n, 10]);
    join(world, host);
    host
}

struct Story {
    world: World,
    nodes: Vec<HostId>,
    server: HostId,
    client: HostId,
}

fn story(n: u64) -> Story {
    let mut world = World::new(seed(n));
    let nodes = network(&mut world, 12);
    let server = behind(&mut world, Kind::Restricted, 10);
    let client = behind(&mut world, Kind::Restricted, 11);
    Story { world, nodes, server, client }
}

// proves hyperdht.110
#[test]
fn the_program_lets_in_whom_it_likes() {
    let Story { mut world, server, client, .. } = story(201);
    let options = ListenOptions { gate: true, ..ListenOptions::new(key(1)) };
    world.net(server).listen_with(options, false).expect("listening");
    wait(&mut world, 60, |_, host, event| host == server && matches!(event, Event::Listening { .. }));
    for own in [99, 98] {
        world.net(client).connect(key(1).public, &key(own), false).expect("connecting");
    }
    let (mut let_in, mut away) = (None, None);
    wait(&mut world, 90, |world, host, event| {
        match event {
            Event::Knock { knock, key: caller, .. } if *caller == key(99).public => {
                world.net(host).admit(*knock).expect("it waits");
            }
            Event::Knock { knock, .. } => world.net(host).deny(*knock).expect("it waits"),
            Event::Connected { conn, .. } if host == client => let_in = Some(*conn),
            Event::ConnectFailed { why, .. } => away = Some(*why),
            _ => {}
        }
        let_in.is_some() && away.is_some()
    });
    assert_eq!(away, Some(ConnectError::PeerConnectionFailed));
    echo(&mut world, client, let_in.expect("let in"), server);
}

/// Once the first connection was punched, the next one takes a round trip, and no relay takes part.
// proves hyperdht.112
#[test]
fn a_second_connection_goes_over_the_socket_of_the_first() {
    let Story { mut world, server, client, .. } = story(202);
    let options = ListenOptions { reusable_socket: true, ..ListenOptions::new(key(1)) };
    world.net(server).listen_with(options, false).expect("listening");
    wait(&mut world, 60, |_, host, event| host == server && matches!(event, Event::Listening { .. }));
    let dial = |world: &mut World| {
        let options = ConnectOptions { reusable_socket: true, ..ConnectOptions::new(key(99)) };
        let conn = world.net(client).connect_with(key(1).public, options, false).expect("connecting");
        let (_, event) = wait(world, 90, |_, host, event| {
            host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
        });
        let Event::Connected { path: Path::Punched, took, .. } = event else { panic!("{event:?}") };
        (conn, took)
    };
    let (first, slow) = dial(&mut world);
    let (second, quick) = dial(&mut world);
    assert!(quick * 3 < slow, "{quick} after {slow}");
    for conn in [first, second] {
        echo(&mut world, client, conn, server);
    }
    assert_eq!(world.net(client).connect_stats().sockets_opened, 1);
    // The first may end; the second lives on, on the same socket.
    world.net(client).destroy(first);
    world.run(Span::from_secs(10));
    echo(&mut world, client, second, server);
    world.net(client).destroy(second);
    world.run(Span::from_secs(10));
    for host in [client, server] {
        let stats = world.net(host).connect_stats();
        assert_eq!(stats.sockets_opened, stats.sockets_closed, "sockets end with their streams");
    }
}

fn pool_of(world: &mut World, host: HostId, own: u8) -> PoolId {
    let pool = world.net(host).pool();
    world.net(host).listen_in(pool, ListenOptions::new(key(own)), false).expect("listening");
    wait(world, 60, |_, from, event| from == host && matches!(event, Event::Listening { .. }));
    pool
}

fn dial_in(world: &mut World, host: HostId, pool: PoolId, own: u8, to: u8) -> ConnId {
    let options = ConnectOptions::new(key(own));
    world.net(host).connect_in(pool, key(to).public, options, false).expect("connecting")
}

/// Both sides call each other at once, and keep the same one of the two connections.
// proves hyperdht.119
#[test]
fn a_pool_keeps_one_connection_for_each_key() {
    for n in 0..8 {
        let Story { mut world, server: one, client: other, .. } = story(203 + n);
        let pools = [(one, pool_of(&mut world, one, 1), 1, 2), (other, pool_of(&mut world, other, 2), 2, 1)];
        for (host, pool, own, to) in pools {
            let first = dial_in(&mut world, host, pool, own, to);
            assert_eq!(dial_in(&mut world, host, pool, own, to), first, "one attempt");
        }
        world.run(Span::from_secs(30));
        for (host, pool, own, to) in pools {
            assert_eq!(world.net(host).conns().len(), 1, "one is left");
            let conn = world.net(host).pool_conn(pool, &key(to).public).expect("open");
            assert_eq!(world.net(host).conns(), [conn]);
            assert_eq!(dial_in(&mut world, host, pool, own, to), conn, "the one that is open");
        }
        let conn = world.net(one).pool_conn(pools[0].1, &key(2).public).expect("open");
        echo(&mut world, one, conn, other);
        world.net(one).destroy(conn);
        world.run(Span::from_secs(5));
        for (host, pool, ..) in pools {
            assert_eq!(world.net(host).pool_conns(pool), []);
        }
    }
}

/// The program of each side hears of one connection more than it is told the end of.
// proves hyperdht.119
#[test]
fn of_duplicates_the_program_hears_one_end() {
    let Story { mut world, server: one, client: other, .. } = story(211);
    let pools = [(one, pool_of(&mut world, one, 1), 1, 2), (other, pool_of(&mut world, other, 2), 2, 1)];
    for (host, pool, own, to) in pools {
        dial_in(&mut world, host, pool, own, to);
    }
    let (mut opened, mut over) = ([0; 2], [0; 2]);
    let until = world.now() + Span::from_secs(30);
    while let Step::Event(host, event) = world.step(until) {
        let side = usize::from(host == other);
        match event {
            Event::Connected { .. } if host == one || host == other => opened[side] += 1,
            Event::Closed { why, .. } => {
                assert!(matches!(why, Closed::Duplicate | Closed::Transport(_) | Closed::Dropped), "{why:?}");
                over[side] += 1;
            }
            Event::ConnectFailed { why, .. } => {
                assert!(matches!(why, ConnectError::Duplicate | ConnectError::StreamClosed), "{why:?}");
            }
            _ => {}
        }
    }
    assert_eq!([opened[0] - over[0], opened[1] - over[1]], [1, 1]);
}

// proves hyperdht.113, hyperdht.114
#[test]
fn a_suspended_node_is_silent_and_comes_back() {
    let Story { mut world, server, client, .. } = story(220);
    listen(&mut world, server, &key(1));
    let (conn, outcome) = connect(&mut world, client, key(1).public);
    outcome.expect("connected");
    echo(&mut world, client, conn, server);
    let before = world.net(server).status().local.expect("bound");

    world.net(server).suspend();
    assert!(world.net(server).suspended());
    let mut closed = 0;
    wait(&mut world, 5, |_, host, event| {
        closed += usize::from(matches!(event, Event::Closed { .. }));
        host == server && matches!(event, Event::Suspended)
    });
    assert!(closed > 0, "its connection has ended");
    world.run(Span::from_secs(1));
    assert_eq!(world.net(client).conns(), [], "on both sides");
    assert_eq!(world.net(server).conns(), []);
    let (_, late) = connect(&mut world, server, key(2).public);
    assert_eq!(late, Err(ConnectError::Suspended));
    let (_, outcome) = connect(&mut world, client, key(1).public);
    assert_eq!(outcome, Err(ConnectError::PeerNotFound), "nobody announces it any more");
    world.run(Span::from_secs(600));

    world.net(server).resume();
    wait(&mut world, 5, |_, host, event| host == server && matches!(event, Event::Resumed));
    world.run(Span::from_secs(5));
    assert_eq!(
        world.net(server).status().local.map(|addr| addr.port),
        Some(before.port),
        "the port of before"
    );
    let to = key(1).public;
    call(&mut world, client, server, to).expect("it is back");
}

/// Suspended and resumed in any hurry, it is as if nothing had been.
// proves hyperdht.114
#[test]
fn suspend_and_resume_come_in_any_order() {
    let Story { mut world, server, client, .. } = story(221);
    listen(&mut world, server, &key(1));
    for millis in [0, 5, 40, 100, 150, 400, 3000] {
        world.net(server).suspend();
        world.net(server).suspend();
        world.run(Span::from_millis(millis));
        world.net(server).resume();
        world.net(server).resume();
        world.run(Span::from_secs(10));
        let to = key(1).public;
        let outcome = call(&mut world, client, server, to);
        assert!(outcome.is_ok(), "{outcome:?} after {millis} ms");
    }
}

// proves hyperdht.115
#[test]
fn an_ended_node_leaves_nothing_behind() {
    for force in [false, true] {
        let Story { mut world, server, client, .. } = story(222);
        listen(&mut world, server, &key(1));
        let (conn, outcome) = connect(&mut world, client, key(1).public);
        outcome.expect("connected");
        echo(&mut world, client, conn, server);
        world.net(server).shut_down(force);
        let begun = world.now();
        wait(&mut world, 5, |_, host, event| host == server && matches!(event, Event::Destroyed));
        let took = world.now().since(begun);
        assert!(!force || took < Span::from_millis(150), "{took}");
        world.run(Span::from_secs(1));
        assert_eq!(world.net(client).conns(), [], "the other side is told");
        assert!(world.net(server).listen(&key(1), false).is_err());
        world.net(client).find_peer(key(1).public);
        let mut found = 0;
        wait(&mut world, 60, |_, _, event| {
            found += usize::from(matches!(event, Event::Found { .. }));
            matches!(event, Event::LookupDone { .. })
        });
        // All nodes there are: fewer than twenty. hyperdht.161
        assert_eq!(found, if force { 13 } else { 0 }, "forced: {force}");
    }
}

/// Nodes handed around with a key are asked at once; nobody needs to be found.
/// A swarm stops and goes on with its node, and its topics are taken back when the node ends.
// proves hyperdht.113, hyperdht.115
#[test]
fn a_swarm_stops_and_ends_with_its_node() {
    let Story { mut world, server: one, client: other, .. } = story(240);
    let topic = [9; 32];
    for (host, own) in [(one, 1), (other, 2)] {
        world.net(host).swarm_of_messages(&key(own));
        world.net(host).join(topic, JoinOptions { server: true, client: true }).expect("joined");
    }
    let meet = |world: &mut World, seconds: u64| {
        let mut met = BTreeSet::new();
        wait(world, seconds, |_, host, event| {
            if matches!(event, Event::Connected { swarm: true, .. }) {
                met.insert(host);
            }
            met.len() == 2
        });
    };
    meet(&mut world, 1300);
    world.net(one).suspend();
    wait(&mut world, 10, |_, host, event| host == one && matches!(event, Event::Suspended));
    world.run(Span::from_secs(60));
    assert_eq!((world.net(one).conns(), world.net(other).conns()), (vec![], vec![]));
    world.net(one).resume();
    meet(&mut world, 30);
    world.net(one).shut_down(false);
    wait(&mut world, 10, |_, host, event| host == one && matches!(event, Event::Destroyed));
    world.run(Span::from_secs(1));
    assert_eq!(world.net(other).conns(), []);
    world.net(other).lookup(topic);
    wait(&mut world, 60, |_, _, event| {
        let gone = key(1).public;
        assert!(!matches!(event, Event::Found { peer, .. } if peer.key == gone), "it is unannounced");
        matches!(event, Event::LookupDone { .. })
    });
}

/// What a swarm tells of its peers, of what changes, and of the parts of a program that share a topic.
#[test]
fn a_swarm_tells_of_its_peers_and_keeps_sessions_apart() {
    let Story { mut world, server: one, client: other, .. } = story(241);
    let topic = [9; 32];
    let clear = Span::from_secs(1);
    let options = SwarmOptions { channels: false, handshake_clear: clear, ..SwarmOptions::default() };
    world.net(one).swarm_with(&key(1), options);
    world.net(other).swarm_of_messages(&key(2));
    assert_eq!((world.net(other).peers(), world.net(other).connecting()), (vec![], 0));
    let (served, looked) =
        (JoinOptions { server: true, client: false }, JoinOptions { server: false, client: true });
    world.net(one).join_session(topic, served, None).expect("joined");
    wait(&mut world, 60, |_, host, event| host == one && matches!(event, Event::Refreshed { .. }));
    let session = world.net(other).join_session(topic, looked, None).expect("joined");
    let (mut updates, mut most, mut met) = (0, 0, BTreeSet::new());
    wait(&mut world, 60, |world, host, event| {
        updates += usize::from(host == other && matches!(event, Event::SwarmUpdated));
        most = most.max(world.net(other).connecting());
        if matches!(event, Event::Connected { .. }) {
            met.insert(host);
        }
        met.len() == 2
    });
    assert!(updates > 0 && most == 1, "{updates} and {most}");
    let peer = world.net(other).peer(&key(1).public).expect("known");
    assert_eq!((peer.key, &peer.topics[..]), (key(1).public, &[topic][..]));
    assert!(peer.client && peer.proven && peer.prioritized() && peer.connected.is_some());
    assert!(!peer.banned && !peer.explicit && !peer.queued && peer.reconnecting);
    assert_eq!(world.net(other).peers(), [peer]);
    let called = world.net(one).peer(&key(2).public).expect("it called");
    assert!(!called.client && called.topics.is_empty());
    world.net(other).ban(key(1).public, true).expect("a swarm");
    assert!(world.net(other).peer(&key(1).public).expect("known").banned);

    let second = world.net(other).join_session(topic, served, None).expect("joined");
    let roles = |world: &mut World| world.net(other).topic_status(&topic).map(|s| (s.server, s.client));
    assert_eq!(roles(&mut world), Some((true, true)), "those of both together");
    world.net(other).refresh_session(session, served, None).expect("it lives");
    assert_eq!(roles(&mut world), Some((true, false)));
    world.net(other).leave_session(second).expect("it lives");
    assert_eq!(roles(&mut world), Some((true, false)));
    world.net(other).leave_session(session).expect("it lives");
    assert_eq!(roles(&mut world), None);
    assert_eq!(world.net(other).leave_session(session), Err(seckel::Error::Gone));
}

/// A raw stream goes where its connection goes, through both NATs, and ends with its node's rest.
// proves hyperdht.155
#[test]
fn a_raw_stream_goes_beside_a_connection() {
    let Story { mut world, server, client, .. } = story(242);
    listen(&mut world, server, &key(1));
    let (conn, _) = connect(&mut world, client, key(1).public);
    echo(&mut world, client, conn, server);
    let theirs = world.net(server).conns()[0];
    let ((here, ours), (there, other)) =
        (world.net(client).raw_stream().expect("room"), world.net(server).raw_stream().expect("room"));
    let dialling = world.net(client).connect(key(7).public, &key(8), false).expect("begun");
    let early = world.net(client).connect_raw(here, dialling, other);
    assert_eq!(early, Err(seckel::Error::NotOpen), "not yet a connection");
    world.net(client).connect_raw(here, conn, other).expect("open");
    world.net(server).connect_raw(there, theirs, ours).expect("open");
    assert!(world.net(client).connect_raw(here, conn, other).is_err(), "once only");
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    assert_eq!(world.net(client).write_raw(here, &bytes), Ok(true));
    world.net(client).send_raw(here, b"beside").expect("open");
    let (mut got, mut beside) = (Vec::new(), 0);
    wait(&mut world, 10, |_, host, event| {
        match event {
            Event::RawData { bytes, .. } => got.extend_from_slice(bytes),
            Event::RawMessage { bytes, .. } => beside += usize::from(bytes == b"beside"),
            _ => {}
        }
        host == server && got.len() == bytes.len() && beside == 1
    });
    assert!(got == bytes, "the bytes, in order");
    world.net(client).end_raw(here).expect("open");
    wait(&mut world, 10, |_, _, event| matches!(event, Event::RawEnded { raw } if *raw == there));
    world.net(server).suspend();
    wait(&mut world, 10, |_, host, event| {
        host == server && matches!(event, Event::RawClosed { why: TransportWhy::Destroyed, .. })
    });
    assert_eq!(world.net(server).write_raw(there, b"late"), Err(seckel::Error::Gone));
}

/// Who comes into the table is told, and who leaves it; nobody is, unless it was asked for.
#[test]
fn nodes_that_come_and_go_are_told() {
    let mut world = World::new(seed(243));
    let nodes = network(&mut world, 12);
    let mut config = joining();
    config.dht.tell_nodes = true;
    let (asking, other) = (world.add([30, 0, 9, 1]), world.add([30, 0, 9, 2]));
    world.start(asking, config);
    world.start(other, joining());
    let mut table = BTreeSet::new();
    let mut take = |host: HostId, event: &Event| {
        let moved = match event {
            Event::NodeAdded { addr } => table.insert(*addr),
            Event::NodeRemoved { addr } => table.remove(addr),
            _ => return table.clone(),
        };
        assert!(moved && host == asking, "{event:?} of {host:?}");
        table.clone()
    };
    wait(&mut world, 60, |_, host, event| {
        take(host, event);
        host == asking && matches!(event, Event::Bootstrapped)
    });
    let known = |world: &mut World| world.net(asking).status().nodes.into_iter().collect::<BTreeSet<_>>();
    let told = take(asking, &Event::Bootstrapped);
    assert!(told.len() >= 10 && told == known(&mut world), "{told:?}");
    world.leave(nodes[5]);
    wait(&mut world, 3600, |_, host, event| {
        take(host, event);
        matches!(event, Event::NodeRemoved { .. })
    });
    assert_eq!(take(asking, &Event::Bootstrapped), known(&mut world));
}

/// Idle connections are kept alive as often as the node's config says, or not at all.
#[test]
fn a_node_says_how_its_connections_are_kept_alive() {
    for (every, least, most) in
        [(Some(Span::from_secs(5)), 20, 60), (Some(Span::from_secs(30)), 3, 9), (None, 0, 0)]
    {
        let mut world = World::new(seed(242));
        network(&mut world, 3);
        let [one, other] = [10, 11].map(|n| {
            let host = world.add([30, 0, 2, n]);
            world.start(host, Config { keep_alive: every, ..joining() });
            wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
            host
        });
        listen(&mut world, one, &key(1));
        let (conn, outcome) = connect(&mut world, other, key(1).public);
        outcome.expect("connected");
        echo(&mut world, other, conn, one);
        world.run(Span::from_secs(5));
        let before = world.net(other).traffic().packets_out;
        world.run(Span::from_secs(120));
        let sent = world.net(other).traffic().packets_out - before;
        assert!((least..=most).contains(&sent), "{sent} datagrams in two minutes, every {every:?}");
    }
}

/// The node that is asked answers when it was told to; one that shall wait for too long does not.
#[test]
fn pings_are_answered_when_they_shall_be() {
    let Story { mut world, nodes, client, .. } = story(241);
    let node = world.net(nodes[3]).status().remote.expect("reachable");
    for (how, least, answered) in [
        (PingOptions::default(), 0, true),
        (PingOptions { size: 500, ..PingOptions::default() }, 0, true),
        (PingOptions { delay: Some(Span::from_millis(2500)), ..PingOptions::default() }, 2500, true),
        (PingOptions { delay: Some(Span::from_secs(11)), ..PingOptions::default() }, 2500, false),
        (PingOptions { ttl: Some(1), ..PingOptions::default() }, 0, false),
    ] {
        let begun = world.now();
        world.net(client).ping_with(node, how);
        let mut pong = None;
        wait(&mut world, 60, |world, _, event| {
            if matches!(event, Event::Pinged { from, .. } if *from == node) {
                pong = Some(world.now().since(begun));
            }
            matches!(event, Event::LookupDone { .. })
        });
        assert_eq!(pong.is_some(), answered, "{how:?}");
        let in_time = |took: Span| took >= Span::from_millis(least) && took < Span::from_millis(least + 1000);
        assert!(pong.is_none_or(in_time), "{pong:?} for {how:?}");
    }
}

// proves hyperdht.120
#[test]
fn an_address_blob_leads_to_the_server() {
    let Story { mut world, nodes, server, client } = story(230);
    listen(&mut world, server, &key(1));
    let known = world.net(nodes[0]).status().local.expect("bound");
    let node = Addr::new([30, 0, 0, 1], known.port);
    let to = Address { key: key(1).public, nodes: Some(vec![node]) };
    let asked = world.net(client).dht_stats().queries;
    world.net(client).connect_to(&to, ConnectOptions::new(key(99)), false).expect("connecting");
    let (_, event) = wait(&mut world, 90, |_, host, event| {
        host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
    });
    assert!(matches!(event, Event::Connected { .. }), "{event:?}");
    assert!(world.net(client).dht_stats().queries <= asked + 1);
}

/// What a node knew is enough to start without any bootstrap node.
#[test]
fn a_node_starts_again_from_the_nodes_that_it_knew() {
    let Story { mut world, nodes, server, .. } = story(231);
    listen(&mut world, server, &key(1));
    let again = world.add([30, 0, 60, 1]);
    world.start(again, joining());
    wait(&mut world, 60, |_, host, event| host == again && matches!(event, Event::Bootstrapped));
    let known = world.net(again).status().nodes;
    assert!(known.len() >= 10);
    world.kill(again);
    world.kill(nodes[0]);
    let mut config: Config = lasting();
    config.dht.bootstrap.clear();
    config.dht.nodes = known;
    world.start(again, config);
    wait(&mut world, 60, |_, host, event| host == again && matches!(event, Event::Bootstrapped));
    let to = key(1).public;
    call(&mut world, again, server, to).expect("found without a bootstrap node");
}

/// The program is told what it can see of the network: others' view of it, and that there is none any more.
#[test]
fn health_and_addresses_are_told() {
    let Story { mut world, client, .. } = story(232);
    let status = world.net(client).status();
    assert!(status.online && !status.degraded && status.id.is_none());
    assert_eq!(status.host, Some([30, 0, 101, 11]));
    world.net(client).refresh_table();
    world.run(Span::from_secs(60));
    world.cut(client);
    wait(&mut world, 600, |_, host, event| {
        host == client && matches!(event, Event::NetworkUpdate { online: false, .. })
    });
    assert!(!world.net(client).status().online);
}

/// Questions that nobody waits for any more are ended.
#[test]
fn a_question_can_be_ended_early() {
    let Story { mut world, client, .. } = story(233);
    let lookup = world.net(client).lookup([7; 32]);
    world.net(client).cancel(lookup).expect("it runs");
    world.run(Span::from_secs(5));
    assert!(world.net(client).cancel(lookup).is_err());
    assert_eq!(world.net(client).dht_stats().active_queries, 0);
}

/// Announced with a bump, taken back, and who else is there is told on the way.
// proves hyperdht.93
#[test]
fn who_takes_an_announcement_back_hears_of_the_others() {
    let Story { mut world, server, client, .. } = story(234);
    let topic = [5; 32];
    let done = |world: &mut World, host: HostId| {
        let mut met = Vec::new();
        wait(world, 60, |_, from, event| {
            if let Event::Found { peer, .. } = event {
                met.push(peer.key);
            }
            from == host && matches!(event, Event::LookupDone { ok: true, .. })
        });
        met
    };
    let node = vec![Addr::new([1, 2, 3, 4], 5)];
    world.net(server).announce_with(topic, &key(1), node.clone(), true, 1_700_000_000_000);
    done(&mut world, server);
    world.net(client).announce_with(topic, &key(2), node, false, 0);
    assert_eq!(done(&mut world, client), [key(1).public]);
    world.net(client).lookup_and_unannounce(topic, &key(2));
    let mut met = done(&mut world, client);
    met.sort_unstable();
    let mut both = vec![key(1).public, key(2).public];
    both.sort_unstable();
    assert_eq!(met, both);
    world.net(client).lookup(topic);
    assert_eq!(done(&mut world, client), [key(1).public]);
}
