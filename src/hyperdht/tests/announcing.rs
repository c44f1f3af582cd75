//! Pitfalls of announcing servers and topics, by their numbers.

use super::super::*;
use super::pitfalls::{SHORT, served};
use super::stories::{joined, nodes};
use super::world::*;
use crate::base::Error;
use crate::wire::hyperdht::command;

/// pitfalls 6.1: each announcement is signed for its node; all take it.
// proves hyperdht.50, hyperdht.51, hyperdht.91, hyperdht.92, hyperdht.93
#[test]
fn topics_are_announced_looked_up_and_withdrawn() {
    let mut world = World::new(1);
    nodes(&mut world, 5);
    let host = world.host(Shape::Consistent);
    let relays = vec![Addr::new([1, 2, 3, 4], 5)];
    let other = world.host(Shape::Consistent);
    let announce = world.with(host, |dht, cx| dht.announce(cx, [5; 32], pair(1), relays.clone(), true));
    let ok = world.wait(host, SHORT, |event| match event {
        Event::Announced { announce: a, ok } if *a == announce => Some(*ok),
        _ => None,
    });
    assert!(ok);
    let takers =
        (0..5).filter(|&n| world.hosts[n].asked.iter().any(|(c, _)| *c == command::ANNOUNCE)).count();
    assert_eq!(takers, 5);
    let find = |world: &mut World| {
        let lookup = world.with(other, |dht, cx| dht.lookup(cx, [5; 32]));
        world.wait(other, SHORT, |event| {
            matches!(event, Event::LookupDone { lookup: l, ok: true } if *l == lookup).then_some(())
        });
        let events = std::mem::take(&mut world.hosts[other].events);
        let peers = events.into_iter().filter_map(|event| match event {
            Event::Peer { peer, .. } => Some(peer),
            _ => None,
        });
        peers.collect::<Vec<Peer>>()
    };
    // pitfalls 5.8: five nodes name the same peer, it is reported once.
    assert_eq!(find(&mut world), [Peer { key: pair(1).public, relays }]);
    let gone = world.with(host, |dht, cx| dht.unannounce(cx, [5; 32], pair(1)));
    world.wait(host, SHORT, |event| {
        matches!(event, Event::Unannounced { announce, ok: true } if *announce == gone).then_some(())
    });
    assert_eq!(find(&mut world), []);
}

/// pitfalls 5.1: an announcement that nobody took is no success.
#[test]
fn an_announcement_without_nodes_fails() {
    let mut world = World::new(1);
    let host = world.host(Shape::Open);
    world.with(host, |dht, cx| dht.announce(cx, [5; 32], pair(1), vec![], false));
    let ok = world.wait(host, SHORT, |event| match event {
        Event::Announced { ok, .. } => Some(*ok),
        _ => None,
    });
    assert!(!ok);
}

/// pitfalls 6.5 and 6.6: a third node is the only relay, and forwards to where the announcement came from.
// proves hyperdht.22
#[test]
fn a_single_storing_node_relays() {
    let mut world = World::new(1);
    nodes(&mut world, 1);
    let server = world.host(Shape::Consistent);
    world.listen(server, 1);
    let client = world.host(Shape::Open);
    let conn = world.dial(client, 1, 2);
    let ours = world.outcome(client, conn, SHORT).expect("connected");
    joined(&mut world, client, &ours, server);
}

/// pitfalls 6.7: listening before there is a routing table becomes effective as soon as there is one.
// proves hyperdht.54
#[test]
fn a_server_that_listens_early_is_reachable_after_bootstrap() {
    let mut world = World::new(1);
    let server = world.host(Shape::Open);
    world.hosts[server].dht.bootstrapped = false;
    world.with(server, |dht, cx| dht.listen(cx, ListenOptions::new(pair(1)))).expect("free");
    world.run(Span::from_secs(3));
    nodes(&mut world, 1);
    assert!(world.hosts[server].events.is_empty(), "listening means that a node took it");
    world.input(server, Input::Bootstrapped);
    world.wait(server, SHORT, |event| matches!(event, Event::Listening { .. }).then_some(()));
    let client = world.host(Shape::Consistent);
    let conn = world.dial(client, 1, 2);
    world.outcome(client, conn, SHORT).expect("connected");
}

/// pitfalls 6.8: relays are told once all nodes have answered. pitfalls 6.9: the next walk begins at the same nodes.
// proves hyperdht.52, hyperdht.53, hyperdht.57
#[test]
fn the_next_cycle_begins_where_the_last_ended() {
    let (mut world, server) = served(1, Shape::Open);
    let id = *world.hosts[server].dht.by_target.values().next().expect("a server");
    let relays = world.hosts[server].dht.server_relays(id).to_vec();
    assert_eq!(relays.len(), 3);
    assert_eq!(relays[0], world.server_addr(server), "the own proven address comes first");
    world.hosts[server].mute = true;
    world.input(server, Input::NetworkChange);
    world.with(server, |dht, cx| dht.handle_timeout(cx));
    let muted = std::mem::take(&mut world.hosts[server].muted);
    let start = muted.iter().find_map(|output| match output {
        Output::Query { query, .. } => Some(query.start.len()),
        _ => None,
    });
    assert_eq!(start, Some(3));
    assert_eq!(world.hosts[server].dht.server_relays(id), relays, "the old ones stay until then");
}

/// pitfalls 6.10: a relay that sees us elsewhere is told at once.
// proves hyperdht.55
#[test]
fn a_remapped_server_is_reachable_soon() {
    let (mut world, server) = served(1, Shape::Consistent);
    let client = world.host(Shape::Open);
    world.run(Span::from_secs(30));
    world.remap(server);
    world.run(Span::from_secs(10));
    let conn = world.dial(client, 1, 2);
    let ours = world.outcome(client, conn, SHORT).expect("reachable within 10 s");
    joined(&mut world, client, &ours, server);
}

/// A relay that falls silent is replaced within seconds.
// proves hyperdht.52, hyperdht.53
#[test]
fn a_dead_relay_is_replaced() {
    let mut world = World::new(3);
    nodes(&mut world, 6);
    let server = world.host(Shape::Open);
    world.listen(server, 1);
    let id = *world.hosts[server].dht.by_target.values().next().expect("a server");
    let first = world.hosts[server].dht.server_relays(id)[1];
    let dead = (0..6).find(|&n| world.server_addr(n) == first).expect("a node");
    world.hosts[dead].down = true;
    world.run(Span::from_secs(20));
    let relays = world.hosts[server].dht.server_relays(id).to_vec();
    assert!(!relays.contains(&first) && relays.len() == 3);
}

/// pitfalls 6.11: a lost answer does not stop the announcer for ever.
// proves hyperdht.56
#[test]
fn a_stuck_announcer_starts_again() {
    let mut world = World::new(1);
    nodes(&mut world, 1);
    let server = world.host(Shape::Open);
    world.hosts[server].mute = true;
    world.with(server, |dht, cx| dht.listen(cx, ListenOptions::new(pair(1)))).expect("free");
    world.hosts[server].mute = false;
    world.run(Span::from_secs(59));
    assert!(world.hosts[server].events.is_empty());
    world.wait(server, Span::from_secs(5), |event| matches!(event, Event::Listening { .. }).then_some(()));
}

/// pitfalls 6.12: closing withdraws, and ends soon even without a network.
// proves hyperdht.58
#[test]
fn closing_withdraws_and_ends() {
    for offline in [false, true] {
        let (mut world, server) = served(1, Shape::Open);
        let id = *world.hosts[server].dht.by_target.values().next().expect("a server");
        if offline {
            (0..3).for_each(|n| world.hosts[n].down = true);
        }
        world.with(server, |dht, cx| dht.unlisten(cx, id)).expect("there");
        world.wait(server, SHORT, |event| matches!(event, Event::Unlistened { .. }).then_some(()));
        assert_eq!(world.with(server, |dht, cx| dht.unlisten(cx, id)), Err(Error::Gone));
        if !offline {
            let client = world.host(Shape::Consistent);
            let conn = world.dial(client, 1, 2);
            assert_eq!(world.outcome(client, conn, SHORT).err(), Some(ConnectError::PeerNotFound));
        }
        assert!(world.hosts[server].dht.tags.is_empty());
    }
}

/// A relay that lies about where it sees us makes us announce ourselves now and then, not all the time.
// proves hyperdht.164
#[test]
fn announcements_for_what_relays_say_are_spaced_out() {
    let mut announcer = super::super::announce::Announcer::new();
    let waits: Vec<u64> = (0..10).map(|_| announcer.spaced().as_millis() / 1000).collect();
    assert_eq!(waits, [0, 0, 0, 3, 6, 12, 24, 48, 96, 96]);
}

/// Of more than twenty nodes the twenty closest have it, and give it back when the server closes; with an option fewer.
// proves hyperdht.161
#[test]
fn a_server_is_announced_to_the_twenty_closest() {
    for (wanted, count) in [(None, 20), (Some(3), 3)] {
        let mut world = World::new(1);
        nodes(&mut world, 24);
        let server = world.host(Shape::Consistent);
        world.hosts[server].dht.config.announce_to = wanted;
        world.listen(server, 1);
        world.run(SHORT);
        let had = |world: &World, command: u64| {
            (0..24).filter(|&n| world.hosts[n].asked.iter().any(|(asked, _)| *asked == command)).count()
        };
        assert_eq!(had(&world, command::ANNOUNCE), count);
        let id = *world.hosts[server].dht.by_target.values().next().expect("a server");
        assert!(world.hosts[server].dht.server_relays(id).len() <= 3, "callers are told of three");
        world.with(server, |dht, cx| dht.unlisten(cx, id)).expect("there");
        world.wait(server, SHORT, |event| matches!(event, Event::Unlistened { .. }).then_some(()));
        assert_eq!(had(&world, command::UNANNOUNCE), count);
    }
}

/// pitfalls 6.18
#[test]
fn two_servers_with_one_key_are_an_error() {
    let (mut world, server) = served(1, Shape::Open);
    let again = world.with(server, |dht, cx| dht.listen(cx, ListenOptions::new(pair(1))));
    assert_eq!(again, Err(Error::Taken));
}

// proves hyperdht.90
#[test]
fn find_peer_names_each_node_that_knows_a_server() {
    let (mut world, _) = served(1, Shape::Open);
    let client = world.host(Shape::Consistent);
    let lookup = world.with(client, |dht, cx| dht.find_peer(cx, pair(1).public));
    world.wait(client, SHORT, |event| {
        matches!(event, Event::LookupDone { lookup: l, ok: true } if *l == lookup).then_some(())
    });
    let mut nodes: Vec<Addr> = world.hosts[client]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Peer { peer, from, .. } if peer.key == pair(1).public => Some(*from),
            _ => None,
        })
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [0, 1, 2].map(|n| world.server_addr(n)));
}
