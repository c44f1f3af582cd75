//! Whole nodes behind boxes of every kind: who reaches whom, and how.

use seckel::base::Span;
use seckel::node::{Closed, ConnId, ConnectError, Path};
use seckel::sim::{HostId, Kind, Line, NatOptions, World};

use crate::support::{Outcome, call, connect, echo, join, key, listen, lives, network, seed};

/// A host behind a box of its own, the `n`-th of the network on side `side` (1 or 2), with a node that has joined.
pub fn behind(world: &mut World, kind: Kind, side: u8, n: u8, options: NatOptions) -> HostId {
    let home = world.add_box(kind, [30, 0, 100 + side, n], options);
    world.set_uplink(home, Line { delay: Span::from_millis(5), ..Line::CLEAR });
    let inner = if kind.is_transparent() { [30, 0, 200 + side, n] } else { [192, 168, n, 10] };
    let host = world.add_behind(home, inner);
    join(world, host);
    host
}

/// Rows: the server's kind; columns: the client's. What Node's hyperdht does through real boxes; `r`: after a search
/// for the ports of one side (hyperdht.130).
const MATRIX: [&str; 7] = [
    // open, firewall, full-cone, addr-restricted, restricted, symmetric, blocked
    "d d d d d d -",
    "d p p p p r -",
    "d p p p p r -",
    "d p p p p r -",
    "d p p p p r -",
    "d r r r r x -",
    "- - - - - - -",
];

/// What is so today for a letter of the matrix, as the client sees it.
fn fits(letter: &str, server: Kind, outcome: Outcome) -> bool {
    match letter {
        "d" if server == Kind::Open => outcome == Ok(Path::Direct),
        "d" => outcome == Ok(Path::Passive),
        "p" => outcome == Ok(Path::Punched),
        "r" => outcome == Ok(Path::Punched),
        "x" => outcome == Err(ConnectError::DoubleRandomizedNats),
        _ => outcome == Err(ConnectError::PeerNotFound),
    }
}

#[test]
fn every_pair_of_kinds_meets_as_through_real_boxes() {
    let mut world = World::new(seed(40));
    network(&mut world, 24);
    let side = |world: &mut World, side| {
        let numbered = Kind::ALL.into_iter().zip(10..);
        numbered.map(|(kind, n)| behind(world, kind, side, n, NatOptions::default())).collect::<Vec<_>>()
    };
    let (servers, clients) = (side(&mut world, 1), side(&mut world, 2));
    for (&server, n) in servers.iter().zip(1..) {
        world.net(server).listen(&key(n), false).expect("listening");
    }
    world.run(Span::from_secs(60));
    let mut wrong = Vec::new();
    for (row, (&server, n)) in servers.iter().zip(1..).enumerate() {
        for (letter, (column, &client)) in MATRIX[row].split(' ').zip(clients.iter().enumerate()) {
            let outcome = call(&mut world, client, server, key(n).public);
            if !fits(letter, Kind::ALL[row], outcome) {
                wrong.push(format!("{} x {}: {outcome:?}", Kind::ALL[row], Kind::ALL[column]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A network with a server and a client behind boxes of these kinds, and an open connection between them.
fn connected(seed: u64, server: Kind, client: Kind, options: NatOptions) -> (World, HostId, HostId, ConnId) {
    let mut world = World::new(seed);
    network(&mut world, 12);
    let server = behind(&mut world, server, 1, 10, options);
    let client = behind(&mut world, client, 2, 10, options);
    listen(&mut world, server, &key(1));
    let (conn, outcome) = connect(&mut world, client, key(1).public);
    assert!(outcome.is_ok(), "{outcome:?}");
    echo(&mut world, client, conn, server);
    (world, server, client, conn)
}

/// Milliseconds until an idle connection finds that nothing comes back: at most five seconds to the next keep-alive,
/// and udx.36's thirty-nine.
const UNNOTICED: core::ops::Range<u64> = 39_000..45_000;

#[test]
fn two_hosts_behind_one_box_meet_on_their_lan_or_through_the_outer_address() {
    let lan = NatOptions::default();
    let apart = NatOptions { isolate: true, ..lan };
    let around = NatOptions { hairpin: true, ..apart };
    // As through real boxes: aborted after the ten seconds that the punch takes.
    let cases = [
        (Kind::Restricted, lan, Ok(Path::Lan)),
        (Kind::FullCone, lan, Ok(Path::Lan)),
        (Kind::Symmetric, lan, Ok(Path::Lan)),
        (Kind::Restricted, apart, Err(ConnectError::HolepunchAborted)),
        (Kind::FullCone, apart, Err(ConnectError::HolepunchAborted)),
        (Kind::Symmetric, apart, Err(ConnectError::DoubleRandomizedNats)),
        (Kind::Restricted, around, Ok(Path::Punched)),
        (Kind::FullCone, around, Ok(Path::Punched)),
        (Kind::Symmetric, around, Err(ConnectError::DoubleRandomizedNats)),
    ];
    let mut world = World::new(seed(41));
    network(&mut world, 12);
    for ((kind, options, expected), n) in cases.into_iter().zip(10..) {
        let server = behind(&mut world, kind, 1, n, options);
        let client = world.add_behind(world.home(server).expect("a box"), [192, 168, n, 11]);
        join(&mut world, client);
        listen(&mut world, server, &key(n));
        let begin = world.now();
        assert_eq!(call(&mut world, client, server, key(n).public), expected, "{kind} {options:?}");
        let took = world.now().since(begin);
        // A punch takes ten seconds to fail; the ping on the LAN four, and it is waited for.
        let millis = match expected {
            Ok(_) => 0..1000,
            Err(ConnectError::HolepunchAborted) => 10_000..11_000,
            Err(_) => 3000..5000,
        };
        assert!(millis.contains(&took.as_millis()), "{kind}: {took}");
    }
}

#[test]
fn two_lans_with_the_same_addresses_do_not_matter() {
    let mut world = World::new(seed(42));
    network(&mut world, 12);
    let hosts = [1, 2].map(|side| {
        let home = world.add_box(Kind::Restricted, [30, 0, 100 + side, 1], NatOptions::default());
        let host = world.add_behind(home, [192, 168, 1, 10]);
        join(&mut world, host);
        host
    });
    listen(&mut world, hosts[0], &key(1));
    assert_eq!(call(&mut world, hosts[1], hosts[0], key(1).public), Ok(Path::Punched));
}

/// hyperdht.69: the client's first probe opens its own box and must not get as far as the other one.
#[test]
fn the_first_probe_dies_on_the_way_and_the_answer_comes_in() {
    let mut world = World::new(seed(43));
    network(&mut world, 12);
    let server = behind(&mut world, Kind::Restricted, 1, 10, NatOptions::default());
    let client = behind(&mut world, Kind::Restricted, 2, 10, NatOptions::default());
    listen(&mut world, server, &key(1));
    let (hops, begin) = (world.losses().hops, world.now());
    assert_eq!(connect(&mut world, client, key(1).public).1, Ok(Path::Punched));
    assert_eq!(world.losses().hops, hops + 1);
    assert!(world.now().since(begin) < Span::from_millis(200), "no round of one second was needed");
}

#[test]
fn a_connection_does_not_notice_boxes_that_forget_if_they_keep_ports() {
    let (mut world, server, client, conn) =
        connected(seed(44), Kind::Restricted, Kind::Restricted, NatOptions::default());
    for host in [client, server] {
        let home = world.home(host).expect("a box");
        world.reboot(home);
        assert_eq!(lives(&mut world, client, conn, 60), None);
        echo(&mut world, client, conn, server);
    }
}

/// udx.132: the packets of the one that moved arrive, and show where it is.
#[test]
fn a_connection_through_drawn_ports_goes_on_when_the_box_forgets() {
    let (mut world, server, client, conn) =
        connected(seed(45), Kind::Open, Kind::Symmetric, NatOptions::default());
    let home = world.home(client).expect("a box");
    world.reboot(home);
    assert_eq!(lives(&mut world, client, conn, 60), None);
    echo(&mut world, client, conn, server);
}

#[test]
fn a_connection_follows_a_new_address_where_packets_arrive() {
    let (mut world, server, client, conn) =
        connected(seed(47), Kind::Open, Kind::Restricted, NatOptions::default());
    let home = world.home(client).expect("a box");
    world.readdress(home, [30, 0, 102, 77]);
    assert_eq!(lives(&mut world, client, conn, 60), None);
    echo(&mut world, client, conn, server);
}

#[test]
fn a_connection_does_not_follow_a_new_address_that_is_kept_out_and_a_new_one_is_made() {
    let (mut world, server, client, conn) =
        connected(seed(46), Kind::Restricted, Kind::Restricted, NatOptions::default());
    let home = world.home(client).expect("a box");
    world.readdress(home, [30, 0, 102, 77]);
    let (after, why) = lives(&mut world, client, conn, 60).expect("it ends");
    assert!(UNNOTICED.contains(&after.as_millis()), "{after}");
    assert!(matches!(why, Closed::Transport(_)), "{why:?}");
    assert!(call(&mut world, client, server, key(1).public).is_ok());
}

#[test]
fn a_host_that_moves_to_another_network_connects_anew() {
    let (mut world, server, client, conn) =
        connected(seed(48), Kind::Restricted, Kind::Restricted, NatOptions::default());
    let elsewhere = world.add_box(Kind::FullCone, [30, 0, 103, 10], NatOptions::default());
    world.plug(client, Some(elsewhere), [10, 0, 0, 7]);
    assert!(lives(&mut world, client, conn, 60).is_some());
    assert_eq!(call(&mut world, client, server, key(1).public), Ok(Path::Punched));
}

/// dht_rpc.94 and hyperdht.55: neither callers nor relays are sent to the old address.
#[test]
fn a_server_that_moves_is_found_where_it_is() {
    for (kind, n) in [(Kind::Restricted, 0), (Kind::Open, 1)] {
        let (mut world, server, client, conn) =
            connected(seed(50 + n), kind, Kind::Restricted, NatOptions::default());
        world.net(client).destroy(conn);
        world.plug(server, None, [30, 0, 99, 77]);
        world.run(Span::from_secs(10));
        let path = call(&mut world, client, server, key(1).public);
        assert_eq!(path, Ok(Path::Direct), "{kind}: an open host now");
        let home = world.add_box(Kind::Restricted, [30, 0, 104, 10], NatOptions::default());
        world.plug(server, Some(home), [192, 168, 7, 7]);
        world.run(Span::from_secs(10));
        let path = call(&mut world, client, server, key(1).public);
        assert_eq!(path, Ok(Path::Punched), "{kind}: and now behind a box");
    }
}

#[test]
fn keepalives_hold_a_mapping_open_and_a_shorter_lifetime_ends_the_connection() {
    for (lifetime, stays) in [(30, true), (2, false)] {
        let options = NatOptions { lifetime: Span::from_secs(lifetime), ..NatOptions::default() };
        let (mut world, server, client, conn) = connected(seed(49), Kind::Open, Kind::Symmetric, options);
        let end = lives(&mut world, client, conn, 600);
        assert_eq!(end.is_none(), stays, "{lifetime} s: {end:?}");
        if stays {
            echo(&mut world, client, conn, server);
        }
    }
}
