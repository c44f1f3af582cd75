//! Searches for the ports of a random NAT, and punches that nobody finishes, in whole worlds: what they leave behind,
//! and how many there are at a time.

use std::collections::BTreeSet;

use seckel::base::{Span, limits};
use seckel::explain::{Keys, Reader};
use seckel::node::inspect::Remains;
use seckel::node::{ConnId, ConnectError, Event, Path, ServerId};
use seckel::sim::{HostId, Kind, NatOptions, Step, World};

use crate::nat::behind;
use crate::support::{Outcome, call, join, key, listen, network, seed, wait};

/// The rounds, and 1750 bytes. hyperdht.131
const SEARCH: Span = Span::from_secs(37);
const TICK: Span = Span::from_millis(50);

/// A server that listens for key 1 and a client, behind boxes of these kinds.
fn pair(seed: u64, server: Kind, client: Kind) -> (World, HostId, HostId) {
    let (world, server, client, _) = served(seed, server, client);
    (world, server, client)
}

fn served(seed: u64, server: Kind, client: Kind) -> (World, HostId, HostId, ServerId) {
    let mut world = World::new(seed);
    network(&mut world, 12);
    let server = behind(&mut world, server, 1, 10, NatOptions::default());
    let client = behind(&mut world, client, 2, 10, NatOptions::default());
    let id = world.net(server).listen(&key(1), false).expect("listening");
    wait(&mut world, 60, |_, from, event| from == server && matches!(event, Event::Listening { .. }));
    (world, server, client, id)
}

fn dial(world: &mut World, client: HostId, own: u8) -> ConnId {
    world.net(client).connect(key(1).public, &key(own), false).expect("connecting")
}

fn searching(world: &mut World, host: HostId) {
    for _ in 0..200 {
        if world.net(host).connect_stats().searches > 0 {
            return;
        }
        world.run(TICK);
    }
    panic!("no search begins:\n{}", world.last_lines());
}

/// What a node has besides what it does of its own accord.
fn remains(world: &World, host: HostId) -> Remains {
    let left = world.node(host).expect("a process").remains();
    Remains { requests: 0, queries: 0, questions: 0, ..left }
}

fn sound(world: &World) {
    assert!(
        world.violation().is_none(),
        "{}\n{}",
        world.violation().expect("there is one"),
        world.last_lines()
    );
}

/// Whoever ends it, and how: the one who gives up has closed everything at once, the other one when its search is over.
#[test]
fn an_abandoned_search_leaves_nothing_on_either_side() {
    let kinds = [(Kind::Restricted, Kind::Symmetric), (Kind::Symmetric, Kind::Restricted)];
    for ((server, client), n) in kinds.into_iter().zip(0..) {
        for (end, m) in ["given up", "client killed", "server killed", "unlistened"].into_iter().zip(0..) {
            let (mut world, server, client, id) = served(seed(0xa0 + 4 * n + m), server, client);
            let conn = dial(&mut world, client, 99);
            searching(&mut world, client);
            assert!(remains(&world, client).sockets > 0 && remains(&world, server).sockets > 0, "{end}");
            match end {
                "given up" => world.net(client).destroy(conn),
                "client killed" => world.kill(client),
                "server killed" => world.kill(server),
                _ => world.net(server).unlisten(id),
            }
            world.run(TICK);
            let at_once = match end {
                "given up" => Some(client),
                "unlistened" => Some(server),
                _ => None,
            };
            if let Some(host) = at_once {
                assert_eq!(remains(&world, host).sockets, 0, "{end}");
            }
            // Who gives up says so. hyperdht.141
            if end == "given up" {
                world.run(Span::from_secs(1));
                assert_eq!(remains(&world, server).sockets, 0, "{end}");
            }
            // A session is remembered for ten seconds more. hyperdht.36
            world.run(SEARCH + Span::from_secs(11));
            for host in [server, client] {
                if world.is_up(host) {
                    assert_eq!(remains(&world, host), Remains::default(), "{end}");
                }
            }
            sound(&world);
        }
    }
}

/// A box that forgets all its mappings in the middle makes the search longer: the bytes that follow open new ones.
#[test]
fn a_search_outlives_a_rebooted_box() {
    let kinds = [(Kind::Restricted, Kind::Symmetric), (Kind::Symmetric, Kind::Restricted)];
    for ((server, client), n) in kinds.into_iter().zip(0..) {
        for m in 0..3 {
            let (mut world, server, client) = pair(seed(0xb0 + 4 * n + m), server, client);
            dial(&mut world, client, 99);
            searching(&mut world, client);
            for host in [server, client] {
                let home = world.home(host).expect("a box");
                world.reboot(home);
            }
            let (_, event) = wait(&mut world, 40, |_, host, event| {
                host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
            });
            assert!(matches!(event, Event::Connected { path: Path::Punched, .. }), "{event:?}");
        }
    }
}

/// The listener's relays see it elsewhere than when it announced itself, which it notices with its next ping of them.
/// hyperdht.52, hyperdht.55
#[test]
fn a_listener_whose_mapping_drifts_between_two_announces_is_found_again() {
    let drifts = [(Kind::Symmetric, None), (Kind::Restricted, Some(77)), (Kind::FullCone, Some(78))];
    for ((kind, moved), n) in drifts.into_iter().zip(0..) {
        let (mut world, server, client) = pair(seed(0xc0 + n), kind, Kind::Restricted);
        assert_eq!(call(&mut world, client, server, key(1).public), Ok(Path::Punched));
        world.run(Span::from_secs(25)); // the rest after a search
        let home = world.home(server).expect("a box");
        match moved {
            None => world.reboot(home),
            Some(last) => world.readdress(home, [30, 0, 101, last]),
        }
        let drifted = world.now();
        while let Err(why) = call(&mut world, client, server, key(1).public) {
            assert!(world.now().since(drifted) < Span::from_secs(15), "{kind}: {why:?}");
        }
        assert!(world.now().since(drifted) < Span::from_secs(40), "{kind}: with a search at most");
        sound(&world);
    }
}

/// pitfalls 7.4 and 9.12: callers that begin punches and are never heard of again. What they hold is bounded, for one
/// host and for all of them, is gone after ten seconds, and then everybody is served again.
#[test]
fn half_open_punches_are_bounded_and_end() {
    let (mut world, server, client) = pair(seed(0xd0), Kind::Restricted, Kind::Restricted);
    let flooders: Vec<HostId> =
        (20..23).map(|n| behind(&mut world, Kind::Restricted, 2, n, NatOptions::default())).collect();
    // Each time gone as soon as its handshakes have come to the server, before it hears of that.
    let flood = |world: &mut World, flooder: HostId| {
        for _ in 0..3 {
            join(world, flooder);
            let before = world.net(server).connect_stats();
            for own in 0..100 {
                dial(world, flooder, own);
            }
            while world.net(server).connect_stats() == before {
                world.run(Span::from_millis(1));
            }
            world.run(Span::from_millis(25));
            world.kill(flooder);
            world.run(TICK);
        }
    };
    flood(&mut world, flooders[0]);
    assert_eq!(remains(&world, server).punches, limits::HYPERDHT_PUNCHES_PER_HOST);
    assert_eq!(call(&mut world, client, server, key(1).public), Ok(Path::Punched), "another host is served");
    flood(&mut world, flooders[1]);
    flood(&mut world, flooders[2]);
    assert_eq!(remains(&world, server).punches, limits::HYPERDHT_PUNCHES);
    assert_eq!(remains(&world, server).sockets, limits::HYPERDHT_PUNCHES);
    world.run(Span::from_secs(11));
    assert_eq!((remains(&world, server).sockets, remains(&world, server).punches), (0, 0));
    assert_eq!(call(&mut world, client, server, key(1).public), Ok(Path::Punched));
    world.run(Span::from_secs(21));
    assert_eq!(remains(&world, server), Remains::default());
    sound(&world);
}

/// The outcomes of attempts that begin at once, and the most sockets that the server had meanwhile.
fn crowd(world: &mut World, server: HostId, clients: &[HostId]) -> (Vec<Outcome>, usize) {
    for (&client, own) in clients.iter().zip(50..) {
        dial(world, client, own);
    }
    let (mut outcomes, mut most) = (Vec::new(), 0);
    let until = world.now() + Span::from_secs(245);
    while outcomes.len() < clients.len() && world.now() < until {
        let tick = world.now() + TICK;
        match world.step(tick) {
            Step::Event(host, Event::Connected { path, .. }) if host != server => outcomes.push(Ok(path)),
            Step::Event(_, Event::ConnectFailed { why, .. }) => outcomes.push(Err(why)),
            Step::Event(..) | Step::Crashed(_) | Step::TimedOut => {}
        }
        most = most.max(remains(world, server).sockets);
        sound(world);
    }
    (outcomes, most)
}

/// pitfalls 9.7: many that need a search of one server have it one after the other. All end in bounded time, most of
/// them connected.
#[test]
fn searches_of_one_server_take_turns() {
    let kinds = [(Kind::Restricted, Kind::Symmetric), (Kind::Symmetric, Kind::Restricted)];
    for ((server_kind, client_kind), n) in kinds.into_iter().zip(0..) {
        let mut world = World::new(seed(0xe0 + n));
        network(&mut world, 12);
        let server = behind(&mut world, server_kind, 1, 10, NatOptions::default());
        let clients: Vec<HostId> =
            (10..14).map(|n| behind(&mut world, client_kind, 2, n, NatOptions::default())).collect();
        listen(&mut world, server, &key(1));
        let (outcomes, most) = crowd(&mut world, server, &clients);
        assert_eq!(outcomes.len(), clients.len(), "all end");
        let met = outcomes.iter().filter(|outcome| **outcome == Ok(Path::Punched)).count();
        let later = outcomes.iter().filter(|outcome| **outcome == Err(ConnectError::TryLater)).count();
        assert_eq!(met + later, clients.len(), "{outcomes:?}");
        assert!(met >= 3, "{outcomes:?}");
        // Those of one search, and one for each other caller: of those that wait to be told, and of streams.
        let each = if server_kind == Kind::Symmetric { limits::HYPERDHT_SEARCH_SOCKETS } else { 1 };
        assert!(most <= each + clients.len(), "{most}");
        for client in clients {
            world.kill(client);
        }
        // The streams find out by themselves. udx.36
        world.run(Span::from_secs(60));
        assert_eq!(remains(&world, server), Remains::default());
        sound(&world);
    }
}

/// A host that moves to another network while it searches fails, keeps nothing, and connects from there.
#[test]
fn a_host_that_moves_in_the_middle_of_a_search_connects_anew() {
    let (mut world, server, client) = pair(seed(0xf0), Kind::Restricted, Kind::Symmetric);
    dial(&mut world, client, 99);
    searching(&mut world, client);
    let elsewhere = world.add_box(Kind::FullCone, [30, 0, 103, 10], NatOptions::default());
    world.plug(client, Some(elsewhere), [10, 0, 0, 7]);
    let (_, event) = wait(&mut world, 60, |_, host, event| {
        host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
    });
    if let Event::Connected { conn, .. } = event {
        // The bytes from there open the way too: the new box lets in who was sent to.
        world.net(client).destroy(conn);
    }
    assert!(call(&mut world, client, server, key(1).public).is_ok());
    world.run(SEARCH);
    assert_eq!(remains(&world, client), Remains::default());
    sound(&world);
}

/// Whose last search has just ended waits for the next; only the host that was met is searched for again at once, once.
/// hyperdht.134, hyperdht.167
#[test]
fn a_client_that_searched_lately_waits_for_the_next_one() {
    let (mut world, server, client) = pair(seed(0x100), Kind::Restricted, Kind::Symmetric);
    let took = [0, 1, 2].map(|_| {
        let begin = world.now();
        assert_eq!(call(&mut world, client, server, key(1).public), Ok(Path::Punched));
        world.now().since(begin)
    });
    assert!(took[1] < Span::from_secs(19), "the one that was met, once: {took:?}");
    assert!(took[2] >= Span::from_secs(19) && took[2] < Span::from_secs(100), "{took:?}");
    world.run(Span::from_secs(20));
    let begin = world.now();
    let conn = dial(&mut world, client, 98);
    searching(&mut world, client);
    assert!(world.now().since(begin) < Span::from_secs(2));
    world.net(client).destroy(conn);
}

/// pitfalls 9.4: what leaves in a search is told apart by `seckel explain` on whichever of the sockets it leaves, the
/// stream's packets on the one that was met as well.
#[test]
fn every_datagram_of_a_search_is_explained() {
    let (mut world, server, client) = pair(seed(0x110), Kind::Restricted, Kind::Symmetric);
    world.tap = Some(Vec::new());
    assert_eq!(call(&mut world, client, server, key(1).public), Ok(Path::Punched));
    let sent = world.tap.take().expect("a tap");
    let mut reader = Reader::new(Keys::default());
    let [servers, clients] = [[30, 0, 101, 10], [30, 0, 102, 10]]; // their boxes
    let (mut probing, mut streaming, mut ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (from, to, bytes) in &sent {
        for section in reader.datagram(*from, *to, bytes) {
            assert_eq!(section.fault, None, "{from} > {to}: {section:?}");
            let of_client = to.ip == servers;
            match section.format {
                "hyperdht.probe" if of_client => drop(probing.insert(from.port)),
                "hyperdht.probe" => ports.extend((to.ip == clients).then_some(to.port)),
                "udx.header" if of_client => drop(streaming.insert(from.port)),
                _ => {}
            }
        }
    }
    assert!(probing.len() >= limits::HYPERDHT_SEARCH_SOCKETS, "a byte from each socket: {}", probing.len());
    assert!(ports.len() > 10, "and one to each of many ports: {}", ports.len());
    assert_eq!(streaming.len(), 1, "the stream has one socket");
    assert!(streaming.is_subset(&probing));
}
