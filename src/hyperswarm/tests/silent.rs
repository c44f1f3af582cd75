//! What is ours: other looks, and attempts beside connections that have fallen silent.

use super::*;

/// The times at which `a` looks at its topic, from now on for `span`.
fn looks(a: &mut Side, span: Span) -> Vec<(u64, Find)> {
    let begin = a.now;
    let mut found = Vec::new();
    while a.now.since(begin) < span {
        a.pass(Span::from_millis(50));
        for output in a.outputs() {
            if let Output::Query { query, find, .. } = output {
                found.push((a.now.since(begin).as_millis(), find));
                a.done(query);
            }
        }
    }
    found
}

// proves hyperswarm.36
#[test]
fn who_has_met_nobody_looks_three_times_more() {
    let mut drawn = BTreeSet::new();
    for seed in 0..20 {
        let mut a = Side::with(Config::new(OWN));
        a.entropy = Seeded::new(seed);
        a.join(TOPIC, true, true);
        a.input(Input::Listening);
        let query = a.query();
        a.done(query);
        let looks = looks(&mut a, MINUTE * 9);
        assert!(looks.iter().all(|(_, find)| *find == Find::Lookup), "{looks:?}");
        let [(first, _), (second, _), (third, _)] = looks[..] else { panic!("{looks:?}") };
        assert!((1000..=2100).contains(&first) && (3000..=5100).contains(&(second - first)), "{looks:?}");
        assert!((10_000..=15_100).contains(&(third - second)), "{looks:?}");
        drawn.insert(first);
    }
    assert!(drawn.len() > 5, "not all at once: {drawn:?}");
}

// proves hyperswarm.36
#[test]
fn who_has_met_somebody_looks_once_more() {
    let mut a = Side::with(Config::new(OWN));
    let query = a.look(TOPIC);
    a.find(query, key(2));
    a.done(query);
    assert_eq!(looks(&mut a, MINUTE * 9).len(), 1);
    assert_eq!(looks(&mut a, MINUTE * 4).len(), 1, "then the refresh, and no look after it");
    let mut b = Side::with(Config::new(OWN));
    b.join(TOPIC, true, false);
    b.input(Input::Listening);
    let query = b.query();
    b.done(query);
    assert_eq!(looks(&mut b, MINUTE * 9), [], "who does not look for peers does not look");
}

/// A look takes no more peers than the refresh has left, ends when a refresh begins, and follows each new beginning.
// proves hyperswarm.36, hyperswarm.18
#[test]
fn a_look_is_part_of_its_refresh() {
    let mut a = Side::with(Config::new(OWN));
    let join = Join { server: false, client: true, limit: Some(1) };
    let session = a.run(|swarm, cx| swarm.join(cx, TOPIC, join)).expect("joins");
    let query = a.query();
    a.find(query, key(2));
    a.done(query);
    a.connect(key(2));
    a.outputs();
    a.pass(Span::from_secs(3));
    let look = a.query();
    a.find(look, key(3));
    assert_eq!(a.dials(), [[0_u8; 32]; 0], "the limit is used up");
    a.run(|swarm, cx| swarm.change(cx, session, join)).expect("changes");
    let outputs = a.outputs();
    assert_eq!(outputs[0], Output::CancelQuery { query: look });
    let Output::Query { query, find: Find::Lookup, .. } = outputs[1] else { panic!("{outputs:?}") };
    a.done(query);
    assert_eq!(looks(&mut a, MINUTE).len(), 3, "nobody was met anew");
    a.input(Input::NetworkChange);
    let query = a.query();
    a.input(Input::QueryDone { query, ok: false });
    assert_eq!(looks(&mut a, MINUTE).len(), 3, "a refresh that nobody answered is made again");
}

/// A swarm with a connection of its own to peer 2.
fn connected() -> (Side, Link) {
    let mut a = Side::with(Config { look_again: false, ..Config::new(OWN) });
    let query = a.look(TOPIC);
    a.find(query, key(2));
    a.done(query);
    let link = a.connect(key(2));
    a.outputs();
    a.events();
    (a, link)
}

/// Half a second after the transport's timeout it is looked; what is silent is dialled anew, and gives way to
/// what comes
/// of that.
// proves hyperswarm.37
#[test]
fn a_silent_connection_gives_way_to_a_new_one() {
    let (mut a, old) = connected();
    a.input(Input::Late { link: old });
    a.pass(Span::from_millis(499));
    assert_eq!(a.outputs(), []);
    a.pass(Span::from_millis(1));
    assert_eq!(a.outputs(), [Output::Look { link: old }]);
    a.input(Input::Silent { link: old });
    assert_eq!(a.dials(), [key(2)]);
    assert_eq!(a.events(), [], "the old one stands");
    let new = a.connect(key(2));
    let drop = Output::Drop { link: old, why: DropReason::Duplicate };
    assert_eq!((a.outputs(), a.events()), (vec![drop], vec![]));
    a.close(old);
    let topics = vec![TOPIC];
    assert_eq!(
        a.events(),
        [
            Event::Closed { link: old, key: key(2) },
            Event::Connection { link: new, key: key(2), initiator: true, topics }
        ]
    );
    assert_eq!((a.swarm.counts().2, a.swarm.stats().beside), (0, 1));
    a.pass(MINUTE);
    assert_eq!(a.dials(), [[0_u8; 32]; 0], "the retry timer finds a connection");
}

// proves hyperswarm.37
#[test]
fn one_that_speaks_again_is_kept() {
    let (mut a, old) = connected();
    a.input(Input::Late { link: old });
    a.pass(Span::from_secs(1));
    a.outputs();
    a.input(Input::Heard { link: old });
    a.pass(MINUTE);
    assert_eq!(a.outputs(), [], "nothing was begun");
    a.input(Input::Late { link: old });
    a.pass(Span::from_secs(1));
    a.input(Input::Silent { link: old });
    a.outputs();
    a.pass(Span::from_secs(1));
    a.input(Input::Heard { link: old });
    assert_eq!(a.outputs(), [Output::Look { link: old }, Output::Abort { key: key(2) }]);
    a.fail(key(2));
    a.pass(MINUTE);
    assert_eq!((a.outputs(), a.events(), a.swarm.counts().2), (vec![], vec![], 0));
    assert_eq!(a.swarm.existing(&key(2)), Some(Existing::Open(old)));
}

/// What is tried beside a connection goes on when that closes; what takes too long is begun anew.
// proves hyperswarm.37
#[test]
fn an_attempt_beside_a_connection_outlives_it() {
    let (mut a, old) = connected();
    a.input(Input::Late { link: old });
    let mut dialled = Vec::new();
    let begin = a.now;
    while a.now.since(begin) < Span::from_secs(60) {
        a.pass(Span::from_millis(100));
        for output in a.outputs() {
            match output {
                Output::Look { link } => a.input(Input::Silent { link }),
                Output::Connect { .. } => dialled.push(a.now.since(begin).as_millis() / 1000),
                Output::Abort { key } => a.fail(key),
                _ => panic!("{output:?}"),
            }
        }
    }
    assert_eq!(dialled, [0, 26, 54]);
    a.close(old);
    assert_eq!(a.events(), [Event::Closed { link: old, key: key(2) }]);
    assert_eq!(a.swarm.existing(&key(2)), Some(Existing::Attempt));
    let new = a.connect(key(2));
    assert!(matches!(a.events()[..], [Event::Connection { link, .. }] if link == new));
}

/// The limit of attempts holds for these, too; who left the topic tries nothing; who is called goes with that.
// proves hyperswarm.37, hyperswarm.39
#[test]
fn attempts_beside_a_connection_keep_to_the_rules() {
    let (mut a, old) = connected();
    let silent = |a: &mut Side| {
        a.input(Input::Late { link: old });
        a.pass(Span::from_secs(1));
        a.input(Input::Silent { link: old });
        a.dials()
    };
    a.swarm.config.max_parallel = 0;
    assert_eq!(silent(&mut a), [[0_u8; 32]; 0]);
    a.swarm.config.max_parallel = 1;
    assert_eq!(silent(&mut a), [key(2)]);
    // Of two that dial at once the greater key's connection stays, here ours.
    let lost = a.call(key(2), false);
    assert!(a.outputs().contains(&Output::Drop { link: lost, why: DropReason::Duplicate }));
    a.fail(key(2));
    a.run(|swarm, cx| swarm.leave(cx, TOPIC)).expect("leaves");
    a.outputs();
    assert_eq!(silent(&mut a), [[0_u8; 32]; 0]);

    let mut b = Side::with(Config::new(OWN));
    b.run(|swarm, cx| swarm.join_peer(cx, key(200))).expect("joins");
    let old = b.connect(key(200));
    b.outputs();
    b.input(Input::Late { link: old });
    b.pass(Span::from_secs(1));
    b.input(Input::Silent { link: old });
    b.outputs();
    b.call(key(200), false);
    let wanted = [Output::Abort { key: key(200) }, Output::Drop { link: old, why: DropReason::Duplicate }];
    assert_eq!(b.outputs(), wanted, "the greater key's, here theirs");
}

/// A peer calls that we think to be connected with: it has lost that connection.
// proves hyperswarm.38
#[test]
fn an_older_connection_gives_way_to_a_call() {
    let (mut a, old) = connected();
    a.pass(Span::from_millis(1999));
    let lost = a.call(key(2), false);
    let drop = Output::Drop { link: lost, why: DropReason::Duplicate };
    assert!(a.outputs().contains(&drop), "perhaps the same race");
    a.pass(Span::from_millis(1));
    a.call(key(2), false);
    assert_eq!(a.outputs(), [Output::Drop { link: old, why: DropReason::Duplicate }]);
}

// proves hyperswarm.40
#[test]
fn no_more_callers_are_taken_than_wanted() {
    let mut a = Side::with(Config { max_server_connections: Some(2), ..plain() });
    let first = a.call(key(2), false);
    a.call(key(3), false);
    let third = a.call(key(4), false);
    assert_eq!(a.outputs(), [Output::Drop { link: third, why: DropReason::Full }]);
    let again = a.call(key(2), true);
    let drop = Output::Drop { link: first, why: DropReason::Duplicate };
    assert_eq!(a.outputs(), [drop], "that is one as before");
    a.close(first);
    assert_eq!(a.swarm.links().iter().filter(|(_, link)| *link == again).count(), 1);
    assert_eq!(a.swarm.stats().refused, 1);
}

/// The server hears of who is not let in, once for many, and of the relays.
// proves hyperswarm.23, hyperswarm.27
#[test]
fn the_server_is_told_who_is_let_in_and_through_what() {
    let mut a = Side::new();
    a.run(|swarm, cx| swarm.ban(cx, key(2), true));
    assert_eq!(a.outputs(), [], "nobody listens");
    a.join(TOPIC, true, false);
    assert_eq!(a.outputs()[0], Output::Listen);
    a.run(|swarm, cx| swarm.ban(cx, key(3), true));
    a.run(|swarm, cx| swarm.ban(cx, key(2), false));
    let denied = BTreeSet::from([key(3), OWN]);
    assert_eq!(a.outputs(), [Output::Admit { denied, allowed: None }]);
    let relays = |relays| Output::Relays { relays };
    a.swarm.set_relays(vec![key(9)]);
    assert_eq!(a.outputs(), [relays(vec![])], "not needed");
    a.input(Input::Randomized(true));
    assert_eq!(a.outputs(), [relays(vec![key(9)])]);
    a.input(Input::Randomized(true));
    assert_eq!(a.outputs(), []);
    a.input(Input::Randomized(false));
    a.swarm.set_always_relay(true);
    assert_eq!(a.outputs(), [relays(vec![]), relays(vec![key(9)])]);
}

// proves hyperswarm.41
#[test]
fn a_server_that_ends_is_waited_for_before_the_next() {
    let mut a = Side::new();
    a.join(TOPIC, true, false);
    a.input(Input::Listening);
    a.outputs();
    a.run(|swarm, cx| swarm.suspend(cx)).expect("suspends");
    a.input(Input::Unannounced { topic: TOPIC });
    a.outputs();
    a.run(|swarm, cx| swarm.resume(cx)).expect("resumes");
    assert_eq!(a.outputs(), [], "the old server's announcement is being taken back");
    a.input(Input::Listening);
    a.input(Input::ListenFailed);
    assert_eq!(a.outputs(), []);
    a.input(Input::Unlistened);
    assert_eq!(a.outputs(), [Output::Listen]);
    let status = a.swarm.status(&TOPIC).map(|topic| (topic.server, topic.refreshing));
    assert_eq!((status, a.swarm.status(&key(9))), (Some((true, true)), None));
}
