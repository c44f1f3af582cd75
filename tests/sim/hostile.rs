//! Worlds in which most nodes lie, or somebody attacks one: what is true is found all the same, and work, memory and
//! traffic have bounds. The rules: *Among liars* in `vendor-protocol-notes/dht_rpc.md`, *Under attack* in
//! `hyperdht.md`.

#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/liars.rs"]
mod liars;

use seckel::base::{Key, Span};
use seckel::crypto::hash;
use seckel::hyperdht::target;
use seckel::node::{Config, ConnectError, Event, LookupId};
use seckel::sim::{HostId, Kind};

use crate::support::{joining, key, seed};
use liars::{Den, Lie};

/// Of four nodes three lie.
const HONEST: usize = 16;
const SEEDS: u64 = 3;
const TOPIC: Key = [77; 32];

/// What a look-up came to.
#[derive(Default)]
struct Asked {
    values: Vec<(u64, Vec<u8>)>,
    keys: Vec<Key>,
    took: Span,
}

/// Runs a look-up to its end.
fn ask(den: &mut Den, host: HostId, lookup: LookupId) -> Asked {
    let mut asked = Asked::default();
    let took = den.wait(host, 300, |event| match event {
        Event::Value { lookup: of, seq, value } if *of == lookup => {
            asked.values.push((*seq, value.clone()));
            false
        }
        Event::Found { lookup: of, peer, .. } if *of == lookup => {
            asked.keys.push(peer.key);
            false
        }
        Event::LookupDone { lookup: of, .. } => *of == lookup,
        _ => false,
    });
    Asked { took: took.expect("every look-up ends"), ..asked }
}

/// Values and announcements go to the twenty nodes that are closest; where one of these is honest, what it keeps is
/// found by somebody who has just joined, and nothing else is taken for it.
fn truth_is_found(lie: Lie, patience: Span) {
    let mut kept = 0;
    for n in 0..SEEDS {
        let mut den = Den::new(seed(n), HONEST, lie);
        let (giver, taker) = (den.user(1), den.user(2));
        let (server, owner) = (key(1), key(2));
        den.betray(&server);
        let value = format!("what is true in world {n}").into_bytes();
        let hash = hash::blake2b_256(&[&value]);
        let put = den.world.net(giver).store_immutable(&value).expect("short");
        assert!(ask(&mut den, giver, put).took <= patience);
        for (seq, text) in [(1, b"old"), (2, b"new")] {
            let put = den.world.net(giver).store_mutable(&owner, seq, text).expect("short");
            ask(&mut den, giver, put);
        }
        let announce = den.world.net(giver).announce(TOPIC, &server, Vec::new());
        ask(&mut den, giver, announce);

        let honest = |den: &mut Den, target: Key| usize::from(den.honest_of_closest(&target, 20) > 0);
        let get = den.world.net(taker).find_immutable(hash);
        let got = ask(&mut den, taker, get);
        assert!(got.took <= patience, "seed {n}: {}", got.took);
        assert_eq!(got.values.len(), honest(&mut den, hash), "seed {n}: the value");
        assert!(got.values.iter().all(|(_, found)| *found == value), "seed {n}");

        let get = den.world.net(taker).find_mutable(owner.public, 0);
        let got = ask(&mut den, taker, get);
        let newest = got.values.last().filter(|(seq, found)| *seq == 2 && found == b"new");
        assert_eq!(
            usize::from(newest.is_some()),
            honest(&mut den, target(&owner.public)),
            "seed {n}: the newest"
        );
        assert!(
            got.values.iter().all(|(seq, found)| *seq == 2 || found == b"old"),
            "seed {n}: nothing forged"
        );

        let look = den.world.net(taker).lookup(TOPIC);
        let got = ask(&mut den, taker, look);
        let met = usize::from(got.keys.contains(&server.public));
        assert_eq!(met, honest(&mut den, TOPIC), "seed {n}: who announced");
        kept += honest(&mut den, hash) + honest(&mut den, TOPIC);
    }
    assert!(kept as u64 > SEEDS, "in most worlds an honest node is close: {kept}");
}

#[test]
fn truth_is_found_among_nodes_that_are_silent() {
    truth_is_found(Lie::Silence, Span::from_secs(9));
}

// proves dht_rpc.95
#[test]
fn truth_is_found_among_nodes_that_know_each_other_only() {
    truth_is_found(Lie::Company, Span::from_secs(1));
}

/// A node that has been there for a while, and knows more than sixty others, sees that somebody lies, and goes on
/// asking more than it would in an honest network.
// proves dht_rpc.99
#[test]
fn truth_is_found_by_those_who_know_many() {
    for n in 0..2 {
        let mut den = Den::new(seed(0x7100 + n), 40, Lie::Company);
        den.run(Span::from_secs(140));
        let (giver, taker) = (den.honest[5], den.honest[20]);
        let known = den.world.net(taker).status().nodes.len();
        assert!(known > 60, "{known}");
        for m in 0..10 {
            let value = format!("{m} in world {n}").into_bytes();
            let hash = hash::blake2b_256(&[&value]);
            let put = den.world.net(giver).store_immutable(&value).expect("short");
            ask(&mut den, giver, put);
            let get = den.world.net(taker).find_immutable(hash);
            let got = ask(&mut den, taker, get);
            let honest = usize::from(den.honest_of_closest(&hash, 20) > 0);
            assert_eq!(got.values.len(), honest, "seed {n}, value {m}");
        }
    }
}

// proves dht_rpc.96, dht_rpc.98
#[test]
fn truth_is_found_among_nodes_that_name_phantoms() {
    truth_is_found(Lie::Phantoms, Span::from_secs(15));
}

/// A query that is led to a host which has nothing to do with it sends it little; and the truth is found.
// proves dht_rpc.97
#[test]
fn truth_is_found_among_nodes_that_point_at_a_victim() {
    truth_is_found(Lie::Victim, Span::from_secs(9));
    let mut den = Den::new(seed(1), HONEST, Lie::Victim);
    let user = den.user(1);
    for n in 0..10 {
        let (before, heard) = (den.to_victim, den.heard);
        let get = den.world.net(user).find_immutable([n; 32]);
        ask(&mut den, user, get);
        let (to_victim, heard) = (den.to_victim.0 - before.0, den.heard - heard);
        assert!(heard >= 10, "liars were asked: {heard}");
        assert!(to_victim <= 3 * 6, "{to_victim} datagrams for one query");
    }
}

/// What came of connecting to a key, and how long it took.
fn dial(den: &mut Den, client: HostId, to: Key) -> (Result<Key, ConnectError>, Span) {
    let conn = den.world.net(client).connect(to, &key(99), false).expect("new");
    let mut outcome = None;
    let took = den.wait(client, 90, |event| {
        match event {
            Event::Connected { conn: of, key, .. } if *of == conn => outcome = Some(Ok(*key)),
            Event::ConnectFailed { conn: of, why, .. } if *of == conn => outcome = Some(Err(*why)),
            _ => {}
        }
        outcome.is_some()
    });
    (outcome.expect("told, and in time"), took.expect("the same"))
}

/// A server announces itself to the twenty nodes that are closest, as values are; where one of these is honest, a
/// client gets through to it, past all liars that say that they know the server.
fn servers_are_reached(lie: Lie, boxes: Option<Kind>, patience: Span) {
    for n in 0..4 {
        let mut den = Den::new(seed(0x7000 + n), HONEST, lie);
        let [server, client] = [1, 2].map(|n| match boxes {
            Some(kind) => den.user_behind(n, kind),
            None => den.user(n),
        });
        let pair = key(n as u8 + 1);
        den.betray(&pair);
        den.world.net(server).listen(&pair, false).expect("new");
        den.wait(server, 60, |event| matches!(event, Event::Listening { .. })).expect("somebody took it");
        // What keeps a box open to the nodes that are not pinged all the time.
        den.run(Span::from_secs(if boxes.is_some() { 100 } else { 5 }));
        assert!(den.honest_of_closest(&target(&pair.public), 20) > 0, "seed {n}");
        let (outcome, took) = dial(&mut den, client, pair.public);
        println!("{lie:?}, {boxes:?}, seed {n}: {took}");
        assert_eq!(outcome, Ok(pair.public), "{lie:?}, seed {n}, after {took}");
        assert!(took <= patience, "{lie:?}, seed {n}: {took}");
    }
}

/// Whoever announces to three as upstream does is hidden if all three lie.
#[test]
fn a_server_that_is_content_with_three_nodes_may_be_hidden() {
    let mut reached = 0;
    for n in 0..6 {
        let mut den = Den::new(seed(n), HONEST, Lie::Company);
        let server = den.user_with(1, Config { announce_to: Some(3), ..joining() });
        let client = den.user(2);
        let pair = key(n as u8 + 1);
        den.betray(&pair);
        den.world.net(server).listen(&pair, false).expect("new");
        den.wait(server, 60, |event| matches!(event, Event::Listening { .. })).expect("somebody took it");
        let (outcome, _) = dial(&mut den, client, pair.public);
        let honest = den.honest_of_closest(&target(&pair.public), 3) > 0;
        assert_eq!(outcome.is_ok(), honest, "seed {n}: {outcome:?}");
        reached += usize::from(honest);
    }
    assert!((1..6).contains(&reached), "some and some: {reached}");
}

// proves hyperdht.161, hyperdht.165
#[test]
fn servers_are_reached_among_nodes_that_know_each_other_only() {
    servers_are_reached(Lie::Company, None, Span::from_secs(5));
}

// proves hyperdht.161
#[test]
fn servers_are_reached_among_nodes_that_are_silent_or_make_nodes_up() {
    servers_are_reached(Lie::Silence, None, Span::from_secs(9));
    servers_are_reached(Lie::Phantoms, None, Span::from_secs(12));
    servers_are_reached(Lie::Victim, None, Span::from_secs(12));
}

// proves hyperdht.162, hyperdht.163
#[test]
fn servers_behind_boxes_are_reached_among_nodes_that_know_each_other_only() {
    servers_are_reached(Lie::Company, Some(Kind::Restricted), Span::from_secs(9));
}

// proves hyperdht.166
#[test]
fn servers_behind_boxes_are_reached_past_relays_that_drop_rounds() {
    servers_are_reached(Lie::Halfway, Some(Kind::Restricted), Span::from_secs(15));
}

/// Whoever knows no more of a key than its hash cannot pretend to know its owner.
// proves hyperdht.150
#[test]
fn records_of_other_keys_are_not_taken() {
    let mut den = Den::new(seed(1), HONEST, Lie::Company);
    let user = den.user(1);
    let find = den.world.net(user).find_peer(key(5).public);
    let found = ask(&mut den, user, find);
    assert!(found.keys.is_empty() && den.heard > 0);
    let conn = den.world.net(user).connect(key(5).public, &key(99), false).expect("new");
    let mut why = None;
    let took = den.wait(user, 60, |event| {
        if let Event::ConnectFailed { conn: of, why: said, .. } = event
            && *of == conn
        {
            why = Some(said.code());
        }
        why.is_some()
    });
    assert_eq!(why, Some("PEER_NOT_FOUND"));
    assert!(took.is_some_and(|took| took < Span::from_secs(1)), "nobody is asked for a handshake: {took:?}");
}
