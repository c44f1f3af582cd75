//! What a program may decide, and a node that stops and goes on.

use super::super::*;
use super::pitfalls::{SHORT, served};
use super::stories::{joined, nodes};
use super::world::*;
use crate::base::Error;
use crate::wire::hyperdht::firewall;

const LONG: Span = Span::from_secs(20);

/// A network and a server with these options for key 1.
fn server(shape: Shape, change: impl FnOnce(&mut ListenOptions)) -> (World, usize, ServerId) {
    let mut world = World::new(3);
    nodes(&mut world, 5);
    let host = world.host(shape);
    world.settle_nodes();
    let mut options = ListenOptions::new(pair(1));
    change(&mut options);
    let server = world.with(host, |dht, cx| dht.listen(cx, options)).expect("new");
    world.wait(host, LONG, |event| matches!(event, Event::Listening { .. }).then_some(()));
    (world, host, server)
}

fn knock(world: &mut World, host: usize) -> (Knock, Key) {
    world.wait(host, SHORT, |event| match event {
        Event::Knock { knock, key, .. } => Some((*knock, *key)),
        _ => None,
    })
}

fn knocks(world: &World, host: usize) -> usize {
    world.hosts[host].events.iter().filter(|event| matches!(event, Event::Knock { .. })).count()
}

// proves hyperdht.110
#[test]
fn a_caller_waits_until_it_is_let_in() {
    for shape in [Shape::Open, Shape::Consistent] {
        let (mut world, host, _) = server(shape, |options| options.gate = true);
        let client = world.host(Shape::Consistent);
        world.settle_nodes();
        let conn = world.dial(client, 1, 2);
        let (asked, key) = knock(&mut world, host);
        assert_eq!(key, pair(2).public);
        world.run(SHORT);
        assert_eq!(knocks(&world, host), 0, "every copy of the message is the same caller");
        assert!(world.hosts[host].streams.is_empty(), "nothing is opened for it");
        world.with(host, |dht, cx| dht.admit(cx, asked)).expect("it waits");
        let ours = world.outcome(client, conn, LONG).expect("connected");
        joined(&mut world, client, &ours, host);
        assert_eq!(world.with(host, |dht, cx| dht.deny(cx, asked)), Err(Error::Gone));
    }
}

// proves hyperdht.110
#[test]
fn who_is_turned_away_hears_nothing() {
    for denied in [true, false] {
        let (mut world, host, _) = server(Shape::Open, |options| options.gate = true);
        let client = world.host(Shape::Consistent);
        let conn = world.dial(client, 1, 2);
        let (asked, _) = knock(&mut world, host);
        if denied {
            world.with(host, |dht, cx| dht.deny(cx, asked)).expect("it waits");
        }
        let why = world.outcome(client, conn, Span::from_secs(60)).expect_err("nobody answers");
        assert_eq!(why, ConnectError::PeerConnectionFailed);
        assert_eq!(knocks(&world, host), 0);
        world.run(Span::from_secs(21));
        assert_eq!(world.with(host, |dht, cx| dht.admit(cx, asked)), Err(Error::Gone));
        assert_eq!(world.hosts[host].dht.sessions(), 0, "forgotten in the end");
        let counted = world.hosts[host].dht.stats().denied;
        assert_eq!(counted, u64::from(denied));
    }
}

// proves hyperdht.55
#[test]
fn a_server_is_announced_again_when_the_program_says_so() {
    let (mut world, host, server) = server(Shape::Consistent, |_| {});
    let announced = |world: &World| -> usize {
        let asked = world.hosts[..5].iter().flat_map(|node| &node.asked);
        asked.filter(|(command, _)| *command == crate::wire::hyperdht::command::ANNOUNCE).count()
    };
    let before = announced(&world);
    world.run(LONG);
    assert_eq!(announced(&world), before, "not by itself");
    world.with(host, |dht, cx| dht.refresh(cx, server)).expect("it listens");
    world.run(SHORT);
    assert_eq!(announced(&world), before + 5);
    world.with(host, |dht, cx| dht.unlisten(cx, server)).expect("it listens");
    assert_eq!(world.with(host, |dht, cx| dht.refresh(cx, server)), Err(Error::Gone));
}

// proves hyperdht.36
#[test]
fn outcomes_are_remembered_as_long_as_was_told() {
    for (clear, left) in [(Span::from_secs(1), 0), (Span::from_secs(30), 1)] {
        let (mut world, host, _) = server(Shape::Open, |options| options.handshake_clear = clear);
        let client = world.host(Shape::Consistent);
        let conn = world.dial(client, 1, 2);
        let ours = world.outcome(client, conn, LONG).expect("connected");
        joined(&mut world, client, &ours, host);
        assert_eq!(world.hosts[host].dht.sessions(), 1);
        world.run(Span::from_secs(12));
        assert_eq!(world.hosts[host].dht.sessions(), left);
    }
}

/// A program that never answers is asked by no more than the bounds let through, and all of them are gone in the end.
// proves hyperdht.110
#[test]
fn a_flood_at_the_gate_is_bounded() {
    let (mut world, host, _) = server(Shape::Open, |options| options.gate = true);
    world.hosts[host].mute = true;
    for n in 0..limits::HYPERDHT_SESSIONS_PER_HOST as u64 + 50 {
        let from = Addr::new([7, 7, 7, 7], 1000 + n as u16);
        let input = super::pitfalls::direct_message(n, 1, 2, from);
        world.input(host, input.clone());
        // Copies of one caller are no callers.
        world.input(host, input);
    }
    assert_eq!(knocks(&world, host), limits::HYPERDHT_SESSIONS_PER_HOST);
    let other = super::pitfalls::direct_message(1 << 40, 1, 2, Addr::new([7, 7, 7, 8], 1));
    world.input(host, other);
    assert_eq!(
        knocks(&world, host),
        limits::HYPERDHT_SESSIONS_PER_HOST + 1,
        "one host takes no other's place"
    );
    assert!(world.hosts[host].streams.is_empty());
    world.run(Span::from_secs(25));
    assert_eq!(world.hosts[host].dht.sessions(), 0);
}

/// A caller of another version is told so when it is let in, on each of its ways.
#[test]
fn a_knock_of_another_version_is_told_so() {
    let (mut world, host, _) = server(Shape::Open, |options| options.gate = true);
    let (message, relay) = super::pitfalls::strange_message(1, 2, world.server_addr(0));
    world.hosts[host].mute = true;
    world.input(host, message.clone());
    assert_eq!(world.hosts[host].muted.len(), 0);
    let (asked, _) = knock(&mut world, host);
    world.with(host, |dht, cx| dht.admit(cx, asked)).expect("it waits");
    let sent = |output: &Output| matches!(output, Output::Relay { to, .. } if *to == relay);
    assert!(world.hosts[host].muted.iter().any(sent));
    world.hosts[host].muted.clear();
    world.input(host, message);
    assert!(world.hosts[host].muted.iter().any(sent), "a copy is told the same");
    assert_eq!(knocks(&world, host), 0);
}

fn never(_: &Punching<'_>) -> bool {
    false
}

fn consistent(punching: &Punching<'_>) -> bool {
    assert!(!punching.own_addresses.is_empty() && !punching.their_addresses.is_empty());
    (punching.ours, punching.theirs) == (firewall::CONSISTENT, firewall::CONSISTENT)
}

// proves hyperdht.111
#[test]
fn either_side_may_refuse_to_punch() {
    for (theirs, ours) in [
        (None, Some(never as Veto)),
        (Some(never as Veto), None),
        (Some(consistent as Veto), Some(consistent)),
    ] {
        let (mut world, host, _) = server(Shape::Consistent, |options| options.veto = theirs);
        let client = world.host(Shape::Consistent);
        world.settle_nodes();
        // Else the server's first byte may come before anybody is asked. hyperdht.69
        let options = ConnectOptions { veto: ours, fast_open: false, ..ConnectOptions::new(pair(2)) };
        let conn = world.with(client, |dht, cx| dht.connect(cx, pair(1).public, options));
        let outcome = world.outcome(client, conn, LONG);
        match (theirs, ours) {
            (None, _) => assert_eq!(outcome.err(), Some(ConnectError::HolepunchAborted)),
            (_, None) => assert_eq!(outcome.err(), Some(ConnectError::RemoteAborted)),
            _ => assert_eq!(outcome.map(|connected| connected.path).ok(), Some(Path::Punched)),
        }
        if theirs.is_none() || ours.is_none() {
            let punches = |world: &World, n: usize| world.hosts[n].dht.stats().punches;
            assert_eq!((punches(&world, host), punches(&world, client)), (0, 0));
        }
    }
}

/// The second connection goes over the socket of the first, without a relay and without a punch.
// proves hyperdht.112
#[test]
fn a_reusable_socket_carries_the_next_connection() {
    for (theirs, ours) in [(true, true), (false, true), (true, false)] {
        let (mut world, host, _) = server(Shape::Consistent, |options| options.reusable_socket = theirs);
        let client = world.host(Shape::Consistent);
        world.settle_nodes();
        let dial = |world: &mut World| {
            let options = ConnectOptions { reusable_socket: ours, ..ConnectOptions::new(pair(2)) };
            world.with(client, |dht, cx| dht.connect(cx, pair(1).public, options))
        };
        let conn = dial(&mut world);
        let first = world.outcome(client, conn, LONG).expect("connected");
        joined(&mut world, client, &first, host);
        let begun = world.now;
        let conn = dial(&mut world);
        let second = world.outcome(client, conn, LONG).expect("connected");
        let took = world.now.since(begun);
        joined(&mut world, client, &second, host);
        assert_eq!(second.path, Path::Punched);
        let stats = world.hosts[client].dht.stats();
        let reused = theirs && ours;
        assert_eq!(stats.sockets_opened, if reused { 1 } else { 2 });
        assert!(!reused || took <= DELAY * 2 + Span::from_millis(1), "one round trip, not {took}");
        world.close_streams();
        for n in [client, host] {
            assert_eq!(world.hosts[n].dht.pooled_sockets(), 0, "sockets end with their streams");
        }
        let conn = dial(&mut world);
        let third = world.outcome(client, conn, LONG).expect("connected anew");
        joined(&mut world, client, &third, host);
    }
}

// proves hyperdht.113, hyperdht.114
#[test]
fn a_suspended_node_is_not_there_until_it_goes_on() {
    let (mut world, host) = served(1, Shape::Consistent);
    let client = world.host(Shape::Consistent);
    world.settle_nodes();
    let found = |world: &mut World| {
        let lookup = world.with(client, |dht, cx| dht.find_peer(cx, pair(1).public));
        world.wait(client, LONG, |event| {
            matches!(event, Event::LookupDone { lookup: l, .. } if *l == lookup).then_some(())
        });
        let told = std::mem::take(&mut world.hosts[client].events);
        told.iter().filter(|event| matches!(event, Event::Peer { .. })).count()
    };
    assert_eq!(found(&mut world), 3);
    let calling = world.dial(host, 9, 1);
    world.with(host, |dht, cx| dht.suspend(cx));
    world.with(host, |dht, cx| dht.suspend(cx));
    let why = world.outcome(host, calling, SHORT).expect_err("it ends");
    assert_eq!(why, ConnectError::Suspended);
    world.wait(host, SHORT, |event| matches!(event, Event::Withdrawn).then_some(()));
    assert_eq!(found(&mut world), 0);
    let late = world.dial(host, 9, 1);
    assert_eq!(world.outcome(host, late, SHORT).err(), Some(ConnectError::Suspended));
    let conn = world.dial(client, 1, 2);
    assert!(world.outcome(client, conn, Span::from_secs(60)).is_err());
    assert!(!world.hosts[host].events.iter().any(|event| matches!(event, Event::Withdrawn)), "told once");

    world.with(host, |dht, cx| dht.resume(cx));
    world.run(SHORT);
    assert_eq!(found(&mut world), 3);
    let conn = world.dial(client, 1, 2);
    let ours = world.outcome(client, conn, LONG).expect("connected");
    joined(&mut world, client, &ours, host);
}

/// One server rests, the other goes on; its connections stay, and its node's resuming does not wake it.
// proves hyperdht.154
#[test]
fn a_server_rests_alone() {
    let (mut world, host) = served(1, Shape::Open);
    world.listen(host, 5);
    let resting = world.hosts[host].dht.by_target[&target(&pair(1).public)];
    let client = world.host(Shape::Consistent);
    world.settle_nodes();
    let dial = |world: &mut World, key: u8| {
        let conn = world.dial(client, key, 2);
        world.outcome(client, conn, Span::from_secs(60))
    };
    let kept = dial(&mut world, 1).expect("connected");
    joined(&mut world, client, &kept, host);
    let told = |world: &World| {
        let suspended =
            |event: &&Event| matches!(event, Event::ServerSuspended { server } if *server == resting);
        world.hosts[host].events.iter().filter(suspended).count()
    };
    for _ in 0..2 {
        world.with(host, |dht, cx| dht.suspend_server(cx, resting)).expect("it listens");
        world.run(SHORT);
    }
    assert_eq!(told(&world), 1, "once");
    let lookup = world.with(client, |dht, cx| dht.find_peer(cx, pair(1).public));
    world.wait(client, LONG, |event| {
        assert!(!matches!(event, Event::Peer { lookup: l, .. } if *l == lookup), "it is announced nowhere");
        matches!(event, Event::LookupDone { lookup: l, .. } if *l == lookup).then_some(())
    });
    assert!(dial(&mut world, 1).is_err());
    assert!(dial(&mut world, 5).is_ok(), "the other one goes on");
    let open = |world: &World, conn| world.hosts[client].streams.contains_key(&conn);
    assert!(open(&world, kept.conn), "a connection stays");

    world.with(host, |dht, cx| dht.suspend(cx));
    world.wait(host, SHORT, |event| matches!(event, Event::Withdrawn).then_some(()));
    world.with(host, |dht, cx| dht.resume(cx));
    world.run(SHORT);
    assert!(dial(&mut world, 1).is_err(), "it rests still");
    assert!(dial(&mut world, 5).is_ok());
    assert_eq!(told(&world), 1);
    world.with(host, |dht, cx| dht.resume_server(cx, resting)).expect("it listens");
    world.run(SHORT);
    assert!(dial(&mut world, 1).is_ok());
    // Woken before all is withdrawn.
    world.with(host, |dht, cx| dht.suspend_server(cx, resting)).expect("it listens");
    world.with(host, |dht, cx| dht.resume_server(cx, resting)).expect("it listens");
    world.run(SHORT);
    assert!(dial(&mut world, 1).is_ok());
    world.with(host, |dht, cx| dht.unlisten(cx, resting)).expect("it listens");
    let gone = world.with(host, |dht, cx| dht.suspend_server(cx, resting));
    assert_eq!(gone, Err(Error::Gone));
}

/// Resumed before all was withdrawn, closed while it was suspended, opened while it was suspended.
// proves hyperdht.114
#[test]
fn servers_outlive_any_order_of_suspend_and_resume() {
    let (mut world, host) = served(1, Shape::Open);
    world.with(host, |dht, cx| dht.suspend(cx));
    world.with(host, |dht, cx| dht.resume(cx));
    world.run(SHORT);
    let client = world.host(Shape::Consistent);
    let conn = world.dial(client, 1, 2);
    assert!(world.outcome(client, conn, LONG).is_ok());
    world.with(host, |dht, cx| dht.suspend(cx));
    world.wait(host, SHORT, |event| matches!(event, Event::Withdrawn).then_some(()));
    let other = world.with(host, |dht, cx| dht.listen(cx, ListenOptions::new(pair(5)))).expect("new");
    let first = world.hosts[host].dht.by_target[&target(&pair(1).public)];
    world.with(host, |dht, cx| dht.unlisten(cx, first)).expect("there");
    world.wait(host, SHORT, |event| {
        matches!(event, Event::Unlistened { server } if *server == first).then_some(())
    });
    world.with(host, |dht, cx| dht.resume(cx));
    world.wait(host, SHORT, |event| {
        matches!(event, Event::Listening { server } if *server == other).then_some(())
    });
    let conn = world.dial(client, 5, 2);
    assert!(world.outcome(client, conn, LONG).is_ok());
}

// proves hyperdht.115
#[test]
fn a_node_that_has_ended_does_nothing_more() {
    let (mut world, host) = served(1, Shape::Open);
    let calling = world.dial(host, 9, 1);
    world.with(host, |dht, cx| dht.end(cx));
    assert_eq!(world.outcome(host, calling, SHORT).err(), Some(ConnectError::Destroyed));
    let late = world.dial(host, 9, 1);
    assert_eq!(world.outcome(host, late, SHORT).err(), Some(ConnectError::Destroyed));
    let listening = world.with(host, |dht, cx| dht.listen(cx, ListenOptions::new(pair(1))));
    assert_eq!(listening, Err(Error::NotOpen));
    assert!(world.hosts[host].dht.poll_timeout().is_none());
}

// proves hyperdht.116
#[test]
fn sizes_and_ages_are_as_told() {
    let sizes = |max_size, max_age| {
        let config = Config { max_size, max_age, ..Config::default() };
        let sizes = Sizes::new(&config);
        (sizes.records, sizes.values, sizes.relay_addresses, sizes.records_turn, sizes.values_turn)
    };
    let seconds = Span::from_secs;
    assert_eq!(sizes(None, None), (65536, 32768, 512, seconds(800), seconds(115_200)));
    let turn = Span::from_millis(667);
    assert_eq!(sizes(Some(101), Some(seconds(1))), (101, 50, 101, turn, turn));
    assert_eq!(sizes(Some(1 << 40), None).0, 65536);
}

/// What was stored is gone after its age, and no sooner.
// proves hyperdht.116
#[test]
fn a_value_lives_as_long_as_was_told() {
    let mut world = World::new(1);
    let age = Span::from_secs(90);
    let config = Config { max_age: Some(age), ..Config::default() };
    world.config = config;
    nodes(&mut world, 3);
    let host = world.host(Shape::Consistent);
    let value = b"short-lived";
    let storing = world.with(host, |dht, cx| dht.store_immutable(cx, value)).expect("short");
    world.wait(host, SHORT, |event| {
        matches!(event, Event::Stored { lookup, nodes: 3, .. } if *lookup == storing).then_some(())
    });
    let held = |world: &World| {
        world.hosts[..3]
            .iter()
            .filter(|host| host.dht.storage.as_ref().is_some_and(|s| s.holds_values()))
            .count()
    };
    world.run(Span::from_secs(50));
    assert_eq!(held(&world), 3);
    world.run(age * 2);
    assert_eq!(held(&world), 0);
}

// proves hyperdht.117
#[test]
fn a_writer_is_told_why_nodes_refused() {
    let mut world = World::new(1);
    nodes(&mut world, 5);
    let host = world.host(Shape::Consistent);
    let mut store = |seq, value: &[u8]| {
        let storing = world.with(host, |dht, cx| dht.store_mutable(cx, &pair(1), seq, value)).expect("short");
        world.wait(host, SHORT, |event| match event {
            Event::Stored { lookup, nodes, refused } if *lookup == storing => Some((*nodes, *refused)),
            _ => None,
        })
    };
    assert_eq!(store(2, b"two"), (5, None));
    assert_eq!(store(2, b"two"), (5, None), "the same again is taken");
    assert_eq!(store(2, b"another two"), (0, Some(StoreError::SeqReused)));
    assert_eq!(store(1, b"one"), (0, Some(StoreError::SeqTooLow)));
    assert_eq!(store(3, b"three"), (5, None));
}

// proves hyperdht.118
#[test]
fn the_newest_is_stored_again_where_it_is_missing() {
    let mut world = World::new(1);
    nodes(&mut world, 5);
    let host = world.host(Shape::Consistent);
    let ask = |world: &mut World, how: FindMutable| {
        let looking = world.with(host, |dht, cx| dht.find_mutable_with(cx, pair(1).public, how));
        world.wait(host, SHORT, |event| {
            matches!(event, Event::LookupDone { lookup, ok: true } if *lookup == looking).then_some(())
        });
        let told = std::mem::take(&mut world.hosts[host].events);
        let seqs = told.into_iter().filter_map(|event| match event {
            Event::Value { seq, .. } => Some(seq),
            _ => None,
        });
        seqs.collect::<Vec<u64>>()
    };
    let put = |world: &mut World, seq: u64| {
        world.with(host, |dht, cx| dht.store_mutable(cx, &pair(1), seq, b"value")).expect("short");
        world.wait(host, SHORT, |event| matches!(event, Event::Stored { .. }).then_some(()));
    };
    put(&mut world, 1);
    // Only one node hears of the second.
    (0..4).for_each(|n| world.hosts[n].down = true);
    world.with(host, |dht, cx| dht.store_mutable(cx, &pair(1), 2, b"value")).expect("short");
    world.wait(host, LONG, |event| matches!(event, Event::Stored { nodes: 1, .. }).then_some(()));
    (0..4).for_each(|n| world.hosts[n].down = false);
    let first = ask(&mut world, FindMutable { latest: false, ..FindMutable::default() });
    assert_eq!(first.len(), 1, "the first that is met");
    let all = ask(&mut world, FindMutable { refresh: true, ..FindMutable::default() });
    assert_eq!(all.last(), Some(&2));
    world.hosts[4].down = true;
    let after = world.with(host, |dht, cx| dht.find_mutable(cx, pair(1).public, 2));
    world.wait(host, LONG, |event| {
        matches!(event, Event::Value { lookup, seq: 2, .. } if *lookup == after).then_some(())
    });
}

// proves hyperdht.120
#[test]
fn keys_are_read_in_every_form() {
    let key = pair(1).public;
    let nodes = vec![Addr::new([1, 2, 3, 4], 5)];
    let address = wire::hyperdht::Address { key, nodes: Some(nodes) };
    let hex = crate::base::hex::encode(&key);
    let plain = Some(wire::hyperdht::Address { key, nodes: None });
    assert_eq!(wire::hyperdht::Address::from_text(&hex), plain);
    assert_eq!(wire::hyperdht::Address::from_text(&format!("pear://{hex}/a/path")), plain);
    let blob = crate::base::hex::encode(&wire::encode(&address));
    assert_eq!(wire::hyperdht::Address::from_text(&blob), Some(address));
    for wrong in ["", "pear://", "00", &hex[1..], &blob[1..], &blob[..blob.len() - 2]] {
        assert_eq!(wire::hyperdht::Address::from_text(wrong), None, "{wrong}");
    }
}
