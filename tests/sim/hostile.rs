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
use seckel::node::{Event, LookupId};
use seckel::sim::HostId;

use crate::support::{key, seed};
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

/// A server announces itself to three nodes (hyperdht.51). Where one of these is honest, a client gets through to it,
/// past as many liars as say that they know the server.
#[test]
fn a_server_is_reached_if_one_of_its_three_nodes_is_honest() {
    let mut reached = 0;
    for n in 0..6 {
        let mut den = Den::new(seed(n), HONEST, Lie::Company);
        let (server, client) = (den.user(1), den.user(2));
        let pair = key(n as u8 + 1);
        den.betray(&pair);
        den.world.net(server).listen(&pair, false).expect("new");
        den.wait(server, 60, |event| matches!(event, Event::Listening { .. })).expect("somebody took it");
        let conn = den.world.net(client).connect(pair.public, &key(99), false).expect("new");
        let mut outcome = None;
        den.wait(client, 60, |event| {
            match event {
                Event::Connected { conn: of, key, .. } if *of == conn => outcome = Some(Ok(*key)),
                Event::ConnectFailed { conn: of, why, .. } if *of == conn => outcome = Some(Err(*why)),
                _ => {}
            }
            outcome.is_some()
        });
        let honest = den.honest_of_closest(&target(&pair.public), 3) > 0;
        if honest {
            reached += 1;
            assert_eq!(outcome, Some(Ok(pair.public)), "seed {n}");
        } else {
            assert!(
                outcome.is_some_and(|outcome| outcome.is_err()),
                "seed {n}: told, and in time: {outcome:?}"
            );
        }
    }
    assert!((1..6).contains(&reached), "some and some: {reached}");
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
