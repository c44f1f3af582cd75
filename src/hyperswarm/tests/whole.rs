//! Flushes, the end of a swarm, its bounds, and drawn inputs.

use super::*;

/// pitfalls 13.4: a flush ends whatever peers do.
// proves hyperswarm.29
#[test]
fn a_flush_waits_for_refreshes_and_then_for_dials() {
    let mut a = Side::with(Config { max_parallel: 1, ..plain() });
    let query = a.look(TOPIC);
    let flush = a.run(|swarm, cx| swarm.flush(cx)).expect("flushes");
    assert_eq!(a.events(), [], "the refresh is not over");
    a.find(query, key(2));
    a.find(query, key(3));
    a.done(query);
    let first = a.dials()[0];
    a.fail(first);
    assert_eq!(a.events(), []);
    let second = a.dials()[0];
    let later = a.run(|swarm, cx| swarm.join(cx, key(77), Join { server: false, ..Join::default() }));
    later.expect("joins");
    let query = a.query();
    a.find(query, key(4));
    let link = a.connect(second);
    let events = a.events();
    assert!(matches!(events[0], Event::Connection { link: opened, .. } if opened == link));
    assert_eq!(events[1..], [Event::Flushed { flush, ok: true }], "what came later does not count");
}

// proves hyperswarm.29
#[test]
fn a_flush_with_nothing_to_wait_for_ends_at_once() {
    let mut a = Side::with(Config { max_peers: 1, ..plain() });
    let flush = a.run(|swarm, cx| swarm.flush(cx)).expect("flushes");
    assert_eq!(a.events(), [Event::Flushed { flush, ok: true }]);
    let query = a.look(TOPIC);
    a.call(key(1), false);
    a.find(query, key(2));
    a.done(query);
    a.events();
    assert_eq!(a.swarm.counts().1, 1, "queued, but with the limit reached it is not dialled");
    let flush = a.run(|swarm, cx| swarm.flush(cx)).expect("flushes");
    assert_eq!(a.events(), [Event::Flushed { flush, ok: true }]);
}

// proves hyperswarm.29
#[test]
fn a_flush_survives_a_leave_a_ban_and_a_duplicate() {
    let mut a = Side::with(Config { max_parallel: 1, ..plain() });
    let query = a.look(TOPIC);
    (2..=5).for_each(|n| a.find(query, key(n)));
    a.find(query, key(200));
    a.done(query);
    let first = a.dials()[0];
    let flush = a.run(|swarm, cx| swarm.flush(cx)).expect("flushes");
    a.run(|swarm, cx| swarm.ban(cx, key(3), true));
    a.run(|swarm, cx| swarm.ban(cx, key(4), true));
    a.run(|swarm, cx| swarm.leave(cx, TOPIC)).expect("leaves");
    a.fail(first);
    assert!(a.events().contains(&Event::Flushed { flush, ok: true }));
    let flush = a.run(|swarm, cx| swarm.flush(cx)).expect("flushes");
    assert_eq!(a.events(), [Event::Flushed { flush, ok: true }]);
}

// proves hyperswarm.30
#[test]
fn a_suspended_swarm_is_still_and_comes_back() {
    let mut a = Side::new();
    a.join(TOPIC, true, true);
    a.outputs();
    a.input(Input::Listening);
    let query = a.query();
    (2..=6).for_each(|n| a.find(query, key(n)));
    let dialled = a.dials();
    let link = a.connect(dialled[0]);
    a.outputs();
    a.run(|swarm, cx| swarm.suspend(cx)).expect("suspends");
    let outputs = a.outputs();
    assert_eq!(outputs.len(), 7, "{outputs:?}");
    for wanted in [
        Output::CancelQuery { query },
        Output::Unannounce { topic: TOPIC },
        Output::Drop { link, why: DropReason::Suspended },
        Output::Abort { key: dialled[1] },
        Output::Unlisten,
    ] {
        assert!(outputs.contains(&wanted), "{wanted:?}");
    }
    a.close(link);
    for key in a.swarm.connections.dialled_keys() {
        a.fail(key);
    }
    a.input(Input::Unlistened);
    let late = a.call(key(9), false);
    assert_eq!(a.outputs(), [Output::Drop { link: late, why: DropReason::Suspended }]);
    a.pass(MINUTE * 60);
    assert_eq!((a.outputs(), a.swarm.counts()), (vec![], (0, 0, 0)));
    a.run(|swarm, cx| swarm.resume(cx)).expect("resumes");
    assert_eq!(
        (a.outputs(), a.events().contains(&Event::Suspended)),
        (vec![], false),
        "the unannouncement first"
    );
    a.input(Input::Unannounced { topic: TOPIC });
    assert_eq!(a.outputs(), [Output::Listen]);
    a.input(Input::Listening);
    let query = a.query();
    a.find(query, key(2));
    assert_eq!(a.dials(), [key(2)]);
}

// proves hyperswarm.31
#[test]
fn a_destroyed_swarm_takes_everything_back() {
    let mut a = Side::new();
    a.join(TOPIC, true, true);
    a.outputs();
    a.input(Input::Listening);
    let query = a.query();
    let flush = a.run(|swarm, cx| swarm.flush(cx)).expect("flushes");
    let link = a.call(key(2), false);
    a.events();
    a.run(|swarm, cx| swarm.destroy(cx, false));
    let outputs = a.outputs();
    assert_eq!(
        outputs,
        [
            Output::CancelQuery { query },
            Output::Unannounce { topic: TOPIC },
            Output::Unlisten,
            Output::Drop { link, why: DropReason::Destroyed }
        ]
    );
    assert_eq!(a.events(), [Event::Flushed { flush, ok: false }]);
    a.close(link);
    a.input(Input::Unannounced { topic: TOPIC });
    assert!(!a.events().contains(&Event::Destroyed), "its server is still announced");
    a.input(Input::Unlistened);
    assert_eq!(a.events(), [Event::Destroyed]);
    assert_eq!(a.run(|swarm, cx| swarm.join(cx, TOPIC, Join::default())), Err(Error::NotOpen));
    assert_eq!(a.swarm.poll_timeout(), None);

    let mut b = Side::new();
    b.join(TOPIC, true, true);
    b.input(Input::Listening);
    b.outputs();
    b.run(|swarm, cx| swarm.destroy(cx, true));
    assert!(!b.outputs().contains(&Output::Unannounce { topic: TOPIC }), "by force: not even that");
    b.input(Input::Unlistened);
    assert_eq!(b.events().last(), Some(&Event::Destroyed));
}

/// pitfalls 13.8: no deadline while there is nothing to wait for.
// proves hyperswarm.13
#[test]
fn an_idle_swarm_has_no_deadline_but_its_refresh() {
    let mut a = Side::new();
    assert_eq!(a.swarm.poll_timeout(), None);
    let query = a.look(TOPIC);
    a.find(query, key(2));
    let link = a.connect(key(2));
    a.done(query);
    a.close(link);
    a.pass(Span::from_secs(5));
    a.connect(key(2));
    let deadline = a.swarm.poll_timeout().expect("the refresh");
    assert_eq!(deadline.why, "hyperswarm refresh");
    a.run(|swarm, cx| swarm.leave(cx, TOPIC)).expect("leaves");
    assert_eq!(a.swarm.poll_timeout(), None);
}

// proves hyperswarm.33
#[test]
fn what_is_remembered_is_bounded() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    let mut entropy = Seeded::new(3);
    for _ in 0..limits::SWARM_PEERS_MAX + 10 {
        a.find(query, entropy.bytes32());
    }
    assert_eq!(a.swarm.counts().0, limits::SWARM_PEERS_MAX);
    assert_eq!(a.swarm.stats().ignored, 10);
    let mut b = Side::new();
    for _ in 0..limits::SWARM_TOPICS_MAX {
        let topic = entropy.bytes32();
        b.join(topic, false, true);
    }
    assert_eq!(b.run(|swarm, cx| swarm.join(cx, TOPIC, Join::default())), Err(Error::Full));
}

/// Drawn inputs in any order: one connection per peer, counts that add up, no spin, an end.
#[test]
fn drawn_inputs_are_survived() {
    for seed in 0..400 {
        let mut entropy = Seeded::new(seed);
        let mut a = Side::with(Config { max_parallel: 2, max_peers: 6, ..Config::new(OWN) });
        let mut dialling: BTreeSet<Key> = BTreeSet::new();
        let mut open: BTreeSet<Link> = BTreeSet::new();
        let mut told: BTreeMap<Key, Link> = BTreeMap::new();
        let mut queries: Vec<QueryId> = Vec::new();
        let mut unannounced: Vec<Key> = Vec::new();
        let mut unlisten = 0;
        for _ in 0..200 {
            let peer = key(95 + entropy.below(10) as u8);
            let topic = key(entropy.below(3) as u8);
            match entropy.below(17) {
                0 => drop(a.run(|swarm, cx| swarm.join(cx, topic, Join::default()))),
                1 => drop(a.run(|swarm, cx| swarm.leave(cx, topic))),
                2 => drop(a.run(|swarm, cx| swarm.flush(cx))),
                3 => a.run(|swarm, cx| swarm.join_peer(cx, peer)).unwrap_or_default(),
                4 => a.run(|swarm, cx| swarm.leave_peer(cx, peer)),
                5 => a.input(if entropy.chance(500) { Input::Listening } else { Input::ListenFailed }),
                6 | 7 => {
                    if let Some(query) = queries.last().copied() {
                        a.find(query, peer);
                    }
                }
                8 => {
                    let link = a.link();
                    open.insert(link);
                    let outdated = entropy.chance(300);
                    a.input(Input::Incoming { key: peer, link, outdated });
                }
                9 => {
                    if let Some(key) = dialling.pop_first() {
                        if entropy.chance(600) {
                            let link = a.connect(key);
                            open.insert(link);
                        } else {
                            a.input(Input::Failed { key, holepunch: entropy.chance(300) });
                        }
                    }
                }
                10 => {
                    if let Some(link) = open.pop_first() {
                        a.close(link);
                    }
                }
                11 => a.pass(Span::from_secs(entropy.below(30))),
                12 => {
                    if let Some(topic) = unannounced.pop() {
                        a.input(Input::Unannounced { topic });
                    }
                    if let Some(query) = queries.pop() {
                        a.input(Input::QueryDone { query, ok: entropy.chance(500) });
                    }
                }
                13 if unlisten > 0 => {
                    unlisten -= 1;
                    a.input(Input::Unlistened);
                }
                14 | 15 => {
                    if let Some(&link) = open.iter().nth(entropy.below(3) as usize) {
                        a.input(match entropy.below(4) {
                            0 => Input::Late { link },
                            1 => Input::Heard { link },
                            _ => Input::Silent { link },
                        });
                    }
                }
                _ => {
                    let suspend = entropy.chance(500);
                    a.run(|swarm, cx| if suspend { swarm.suspend(cx) } else { swarm.resume(cx) })
                        .expect("not destroyed");
                }
            }
            check(&mut a, &mut dialling, &mut open, &mut told, &mut queries, &mut unannounced, &mut unlisten);
        }
        a.run(|swarm, cx| swarm.destroy(cx, false));
        check(&mut a, &mut dialling, &mut open, &mut told, &mut queries, &mut unannounced, &mut unlisten);
        dialling.iter().for_each(|key| a.fail(*key));
        open.iter().for_each(|link| a.close(*link));
        unannounced.iter().for_each(|topic| a.input(Input::Unannounced { topic: *topic }));
        (0..unlisten).for_each(|_| a.input(Input::Unlistened));
        assert_eq!(a.swarm.phase, Phase::Destroyed, "seed {seed}");
        assert_eq!((a.swarm.counts().1, a.swarm.counts().2, a.swarm.poll_timeout()), (0, 0, None));
    }
}

fn check(
    a: &mut Side,
    dialling: &mut BTreeSet<Key>,
    open: &mut BTreeSet<Link>,
    told: &mut BTreeMap<Key, Link>,
    queries: &mut Vec<QueryId>,
    unannounced: &mut Vec<Key>,
    unlisten: &mut usize,
) {
    for output in a.outputs() {
        match output {
            Output::Connect { key, .. } => assert!(dialling.insert(key), "dialled twice"),
            Output::Query { query, .. } => queries.push(query),
            Output::CancelQuery { query } => queries.retain(|running| *running != query),
            Output::Unannounce { topic } => unannounced.push(topic),
            Output::Abort { key } => assert!(dialling.contains(&key)),
            Output::Drop { link, .. } | Output::KeepAlive { link } => assert!(open.contains(&link)),
            Output::Look { link } => assert!(open.contains(&link)),
            Output::Unlisten => *unlisten += 1,
            Output::Listen | Output::Admit { .. } | Output::Relays { .. } => {}
        }
    }
    for event in a.events() {
        match event {
            Event::Connection { link, key, .. } => assert_eq!(told.insert(key, link), None, "two at once"),
            Event::Closed { link, key } => assert_eq!(told.remove(&key), Some(link)),
            _ => {}
        }
    }
}
