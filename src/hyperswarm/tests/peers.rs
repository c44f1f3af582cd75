//! Peers: whom to dial when, and whom not.

use super::*;

// proves hyperswarm.10, hyperswarm.11, hyperswarm.14
#[test]
fn priorities_and_timers_are_the_vectors() {
    for vector in vectors("peer") {
        let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
        let yes = |name: &str| inputs[name].as_bool().unwrap_or(false);
        let mut peer = Peer::new(vec![]);
        peer.attempts = inputs["attempts"].as_u64().unwrap_or(0) as u32;
        peer.proven = yes("proven");
        peer.explicit = yes("explicit");
        peer.banned = yes("banned");
        peer.queued = yes("queued");
        peer.reconnecting = inputs["reconnecting"].as_bool().unwrap_or(true);
        let timer = |peer: &Peer| peer.retry().map(|retry| format!("{retry:?}"));
        assert_eq!(timer(&peer).as_deref(), expected["retryTimer"].as_str(), "{vector}");
        if let Some(priority) = expected["priority"].as_u64() {
            assert_eq!(peer.natural_priority() as u64, priority, "{vector}");
        }
        if let Some(forget) = expected["shouldGC"].as_bool() {
            assert_eq!(peer.forgettable(), forget, "{vector}");
        }
        assert_eq!(peer.update_priority(), expected["enqueue"], "{vector}");
        if let Some(priority) = expected["priorityAfterUpdate"].as_u64() {
            assert_eq!(peer.priority as u64, priority, "{vector}");
            assert_eq!(u64::from(peer.attempts), expected["attemptsAfterUpdate"], "{vector}");
        }
    }
}

// proves hyperswarm.18, hyperswarm.16
#[test]
fn found_peers_are_dialled_three_at_a_time() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    for n in 1..=9 {
        a.find(query, key(n));
    }
    let dialled = a.dials();
    assert_eq!(dialled.len(), 3);
    assert_eq!(a.swarm.counts(), (9, 6, 3));
    let link = a.connect(dialled[0]);
    let wanted = Event::Connection { link, key: dialled[0], initiator: true, topics: vec![TOPIC] };
    assert_eq!(a.events(), [wanted]);
    a.fail(dialled[1]);
    assert_eq!(a.dials().len(), 2);
    assert_eq!(a.swarm.counts().2, 3);
    a.find(query, OWN);
    assert_eq!(a.swarm.counts().0, 9, "not the own key");
}

// proves hyperswarm.16
#[test]
fn the_higher_priority_is_dialled_first() {
    let mut a = Side::with(Config { max_parallel: 1, ..plain() });
    let query = a.look(TOPIC);
    a.find(query, key(50));
    assert_eq!(a.dials(), [key(50)]);
    for (n, attempts) in [(1, 3), (2, 1), (3, 0), (4, 2)] {
        let mut peer = Peer::new(vec![]);
        peer.attempts = attempts;
        peer.topics.insert(TOPIC);
        assert!(peer.update_priority());
        a.swarm.peers.insert(key(n), peer);
        a.swarm.queue_peer(key(n));
    }
    let mut order = Vec::new();
    let mut last = key(50);
    for _ in 0..4 {
        a.connect(last);
        last = a.dials()[0];
        order.push(last[0]);
    }
    assert_eq!(order, [2, 4, 3, 1]);
}

// proves hyperswarm.16
#[test]
fn peers_of_one_priority_are_drawn() {
    let mut firsts = BTreeSet::new();
    for seed in 0..40 {
        let mut a = Side::with(Config { max_parallel: 1, ..plain() });
        a.entropy = Seeded::new(seed);
        let query = a.look(TOPIC);
        (1..=5).for_each(|n| a.find(query, key(n)));
        let first = a.dials()[0];
        a.connect(first);
        firsts.insert(a.dials()[0]);
    }
    assert_eq!(firsts.len(), 4);
}

// proves hyperswarm.17
#[test]
fn the_limit_of_peers_counts_explicit_ones_more() {
    for (explicit, most) in [(0, 12), (1, 6), (2, 4), (3, 4), (4, 3)] {
        let mut a = Side::with(Config { max_peers: 12, max_parallel: 99, ..plain() });
        let query = a.look(TOPIC);
        for n in 0..20 {
            a.find(query, key(n + 1));
        }
        assert_eq!(a.dials().len(), 12, "none is explicit yet");
        let mut b = Side::with(Config { max_peers: 12, max_parallel: 99, ..plain() });
        let query = b.look(TOPIC);
        for n in 0..explicit {
            b.run(|swarm, cx| swarm.join_peer(cx, key(n + 200))).expect("joins");
        }
        for n in 0..20 {
            b.find(query, key(n + 1));
        }
        assert_eq!(b.dials().len(), most.max(usize::from(explicit)), "{explicit} explicit");
    }
}

/// Explicit peers are dialled with the limit reached.
// proves hyperswarm.17, hyperswarm.26
#[test]
fn explicit_peers_are_dialled_beyond_the_limit() {
    let mut a = Side::with(Config { max_peers: 1, ..plain() });
    a.call(key(1), false);
    a.run(|swarm, cx| swarm.join_peer(cx, key(2))).expect("joins");
    assert_eq!(a.dials(), [key(2)]);
    assert_eq!(a.run(|swarm, cx| swarm.join_peer(cx, OWN)), Err(Error::Invalid("peer: it is the own key")));
    a.fail(key(2));
    a.run(|swarm, cx| swarm.leave_peer(cx, key(2)));
    a.pass(MINUTE);
    assert_eq!(a.dials(), [[0_u8; 32]; 0]);
    assert_eq!(a.swarm.counts().0, 1);
}

// proves hyperswarm.26
#[test]
fn an_explicit_peer_is_tried_for_ever_every_ten_minutes() {
    let mut a = Side::new();
    a.run(|swarm, cx| swarm.join_peer(cx, key(2))).expect("joins");
    let mut at = Vec::new();
    for _ in 0..9 {
        while a.dials().is_empty() {
            a.pass(Span::from_millis(500));
        }
        at.push(a.now);
        a.fail(key(2));
    }
    let gaps: Vec<u64> = at.windows(2).map(|pair| pair[1].since(pair[0]).as_millis() / 1000).collect();
    assert!(gaps[..3].iter().all(|gap| *gap <= 24), "{gaps:?}");
    assert!(gaps[4..].iter().all(|gap| (390..=960).contains(gap)), "{gaps:?}");
}

/// pitfalls 13.3: retries come in tiers, and stop.
// proves hyperswarm.12, hyperswarm.13, hyperswarm.14
#[test]
fn a_peer_that_never_answers_is_tried_four_times() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    a.find(query, key(2));
    a.done(query);
    let mut at = Vec::new();
    for _ in 0..4 {
        while a.dials().is_empty() {
            a.pass(Span::from_millis(100));
        }
        at.push(a.now);
        a.fail(key(2));
    }
    let gaps: Vec<Span> = at.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    for (gap, (least, most)) in gaps.iter().zip([(5000, 6500), (15_000, 17_500), (15_000, 17_500)]) {
        let (least, most) = (Span::from_millis(least * 66 / 100), Span::from_millis(most * 132 / 100 + 200));
        assert!(*gap >= least && *gap <= most, "{gaps:?}");
    }
    a.pass(MINUTE * 5);
    assert_eq!(a.dials(), [[0_u8; 32]; 0]);
    assert_eq!(a.swarm.counts().0, 0, "and forgotten");
}

/// pitfalls 13.3: a peer that was connected with comes back faster, and long connections start afresh.
// proves hyperswarm.9, hyperswarm.14
#[test]
fn a_long_connection_counts_attempts_afresh() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    a.find(query, key(2));
    a.done(query);
    for (n, lasts) in
        [(1, Span::from_secs(1)), (2, Span::from_secs(14)), (1, Span::from_secs(15)), (1, MINUTE)]
    {
        while a.dials().is_empty() {
            a.pass(Span::from_millis(100));
        }
        let link = a.connect(key(2));
        a.pass(lasts);
        a.close(link);
        assert_eq!(a.peer(key(2)).attempts, n);
    }
    let before = a.now;
    while a.dials().is_empty() {
        a.pass(Span::from_millis(100));
    }
    assert!(a.now.since(before) <= Span::from_millis(2000 * 132 / 100 + 200));
}

/// pitfalls 13.3: a leave cancels retries, and what is queued.
// proves hyperswarm.15
#[test]
fn a_leave_cancels_retries() {
    let mut a = Side::with(Config { max_parallel: 1, ..plain() });
    let query = a.look(TOPIC);
    a.find(query, key(2));
    a.fail(key(2));
    a.find(query, key(3));
    a.find(query, key(4));
    a.outputs();
    a.run(|swarm, cx| swarm.leave(cx, TOPIC)).expect("leaves");
    a.fail(key(3));
    a.fail(key(4));
    a.outputs();
    a.pass(MINUTE * 30);
    assert_eq!(a.outputs(), []);
    assert_eq!((a.swarm.counts(), a.swarm.poll_timeout()), ((0, 0, 0), None));
}

// proves hyperswarm.15
#[test]
fn only_connections_of_this_side_are_tried_again() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    let link = a.call(key(2), false);
    a.find(query, key(2));
    a.done(query);
    a.outputs();
    a.close(link);
    a.pass(MINUTE);
    assert_eq!(a.dials(), [[0_u8; 32]; 0]);
}

// proves hyperswarm.19
#[test]
fn a_connected_peer_found_again_is_not_dialled() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    a.call(key(2), false);
    a.find(query, key(2));
    assert_eq!(a.dials(), [[0_u8; 32]; 0]);
    assert_eq!(a.swarm.topics_of(&key(2)), [TOPIC]);
    let relays = vec![Addr::new([1, 2, 3, 4], 5)];
    a.input(Input::Peer { query, key: key(3), relays: relays.clone() });
    let wanted = Output::Connect { key: key(3), relays, through: vec![] };
    assert_eq!(a.outputs(), [wanted]);
    a.find(query, key(3));
    assert_eq!(a.peer(key(3)).relays, [], "the newest relays count, also none");
}

// proves hyperswarm.20
#[test]
fn a_peer_found_again_starts_afresh() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    let mut peer = Peer::new(vec![]);
    (peer.attempts, peer.priority, peer.waiting, peer.client) = (5, 1, true, true);
    a.swarm.peers.insert(key(2), peer.clone());
    a.find(query, key(2));
    assert_eq!(a.dials(), [key(2)]);
    assert_eq!(a.peer(key(2)).attempts, 0);
    (peer.attempts, peer.priority) = (2, 3);
    a.swarm.peers.insert(key(3), peer);
    a.find(query, key(3));
    assert_eq!(a.dials(), [key(3)]);
    assert_eq!(a.peer(key(3)).attempts, 2, "one with a priority keeps its count");
}

// proves hyperswarm.25
#[test]
fn peers_are_forgotten() {
    let mut a = Side::new();
    let link = a.call(key(2), false);
    assert_eq!(a.swarm.counts().0, 1);
    a.close(link);
    assert_eq!(a.swarm.counts().0, 0);
    a.run(|swarm, cx| swarm.ban(cx, key(2), true));
    let query = a.look(TOPIC);
    a.find(query, key(3));
    let link = a.connect(key(3));
    a.swarm.set_reconnect(key(3), false).expect("known");
    a.close(link);
    assert_eq!(a.swarm.counts().0, 1, "the banned one is remembered");
}

/// pitfalls 13.6: peers that the firewall refuses are banned on both roles.
// proves hyperswarm.23, hyperswarm.24
#[test]
fn refused_peers_are_banned_on_both_roles() {
    let firewall = Firewall::Except([key(2), key(3)].into());
    let mut a = Side::with(Config { firewall, ..plain() });
    let query = a.look(TOPIC);
    a.find(query, key(2));
    assert_eq!((a.dials(), a.events()), (vec![], vec![Event::Banned { key: key(2) }]));
    let link = a.call(key(3), false);
    assert_eq!(a.outputs(), [Output::Drop { link, why: DropReason::Firewall }]);
    assert_eq!(a.events(), [Event::Banned { key: key(3) }]);
    a.swarm.set_firewall(Firewall::AllowAll);
    a.find(query, key(3));
    assert_eq!(a.dials(), [[0_u8; 32]; 0], "banned is banned");
    assert!(a.swarm.refuses(&key(2)) && a.swarm.refuses(&OWN) && !a.swarm.refuses(&key(4)));
    assert_eq!(a.swarm.admission(), ([key(2), key(3), OWN].into(), None));
    let link = a.call(OWN, false);
    assert_eq!(a.outputs(), [Output::Drop { link, why: DropReason::Firewall }]);
    a.run(|swarm, cx| swarm.ban(cx, key(3), false));
    a.find(query, key(3));
    assert_eq!(a.dials(), [key(3)]);
    a.swarm.set_firewall(Firewall::Only([key(4)].into()));
    assert!(a.swarm.refuses(&key(5)) && !a.swarm.refuses(&key(4)));
    assert_eq!(a.swarm.admission().1, Some([key(4)].into()));
}

// proves hyperswarm.27
#[test]
fn a_relay_is_used_when_holepunching_failed() {
    let relay = key(9);
    let mut a = Side::with(Config { relay_through: vec![relay], ..plain() });
    let query = a.look(TOPIC);
    a.find(query, key(2));
    let through = |outputs: Vec<Output>| match &outputs[..] {
        [Output::Connect { through, .. }] => through.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(through(a.outputs()), [[0_u8; 32]; 0]);
    a.input(Input::Failed { key: key(2), holepunch: true });
    assert_eq!(a.peer(key(2)).attempts, 1);
    a.pass(MINUTE);
    assert_eq!(through(a.outputs()), [relay]);
    a.input(Input::Randomized(true));
    a.find(query, key(3));
    assert_eq!(through(a.outputs()), [relay]);
}

// proves hyperswarm.12
#[test]
fn retry_times_are_in_their_ranges() {
    for seed in 0..200 {
        let retries = Retries::new(&mut Seeded::new(seed), Backoffs::default());
        for (retry, least, most) in [
            (Retry::S, 1000, 2000),
            (Retry::M, 5000, 6500),
            (Retry::L, 15_000, 17_500),
            (Retry::X, 600_000, 720_500),
        ] {
            let interval = retries.interval(retry).as_millis();
            assert!(interval >= least * 66 / 100 && interval <= most * 66 / 100, "{retry:?} {interval}");
        }
    }
    let mut same = Retries::new(
        &mut Seeded::new(1),
        Backoffs { times: Some([Span::from_secs(1); 4]), jitter: Some(Span::ZERO) },
    );
    same.add(Time::ZERO, Retry::S, OWN);
    assert_eq!(same.tick_after(Time::ZERO, Retry::S), Some(Time::ZERO + Span::from_millis(660)));
    assert_eq!(same.tick(Retry::S), [[0_u8; 32]; 0], "the batch before last");
    assert_eq!(same.tick(Retry::S), [OWN]);
}

/// Attempts and what came of them count, calls do not; a place that is free again is used.
// proves hyperswarm.17
#[test]
fn no_more_are_dialled_than_this_side_may() {
    let mut a = Side::with(Config { max_client_connections: Some(2), ..plain() });
    let query = a.look(TOPIC);
    a.call(key(50), false);
    (1..=5).for_each(|n| a.find(query, key(n)));
    let dialled = a.dials();
    assert_eq!(dialled.len(), 2);
    let link = a.connect(dialled[0]);
    assert_eq!(a.dials(), [[0_u8; 32]; 0]);
    a.fail(dialled[1]);
    assert_eq!(a.dials().len(), 1);
    a.close(link);
    assert_eq!(a.dials().len(), 1);
    assert_eq!(a.swarm.counts().1, 1);
}
