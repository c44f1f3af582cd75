//! Topics: refreshes, roles, leaving.

use super::*;

// proves hyperswarm.1, hyperswarm.5, hyperswarm.6
#[test]
fn a_server_listens_before_it_announces() {
    let mut a = Side::new();
    a.join(TOPIC, true, true);
    assert_eq!(a.outputs(), [Output::Listen]);
    a.join(key(2), true, false);
    assert_eq!(a.outputs(), [], "asked once");
    a.input(Input::Listening);
    let announce =
        |query, topic| Output::Query { query: QueryId(query), topic, find: Find::Announce { clear: true } };
    assert_eq!(a.outputs(), [announce(1, TOPIC), announce(2, key(2))]);
    a.done(QueryId(1));
    a.pass(MINUTE * 12);
    let again = Output::Query { query: QueryId(3), topic: TOPIC, find: Find::Announce { clear: false } };
    assert_eq!(a.outputs(), [again], "only the first one clears");
}

// proves hyperswarm.6
#[test]
fn listening_is_tried_again() {
    let mut a = Side::new();
    a.join(TOPIC, true, false);
    a.outputs();
    a.input(Input::ListenFailed);
    assert_eq!(a.outputs(), []);
    a.pass(MINUTE * 3);
    assert_eq!(a.outputs(), [Output::Listen]);
}

// proves hyperswarm.2
#[test]
fn a_topic_is_refreshed_after_ten_to_twelve_minutes() {
    for seed in 0..50 {
        let mut a = Side::new();
        a.entropy = Seeded::new(seed);
        let query = a.look(TOPIC);
        a.pass(MINUTE);
        a.done(query);
        let at = a.swarm.poll_timeout().expect("a deadline").at.since(a.now);
        assert!(at >= MINUTE * 10 && at <= MINUTE * 12, "{at}");
        a.pass(at);
        assert_eq!(a.outputs().len(), 1);
        assert_eq!(a.swarm.poll_timeout(), None, "none while the query runs");
    }
}

// proves hyperswarm.3
#[test]
fn a_refresh_that_was_slept_over_waits_for_the_jitter_alone() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    a.done(query);
    a.now += MINUTE * 60;
    a.run(|swarm, cx| swarm.handle_timeout(cx));
    assert_eq!(a.outputs(), []);
    let at = a.swarm.poll_timeout().expect("a deadline").at.since(a.now);
    assert!(at <= MINUTE * 2, "{at}");
    a.pass(at);
    assert_eq!(a.outputs().len(), 1);
}

// proves hyperswarm.4
#[test]
fn a_change_of_roles_ends_the_query_that_runs() {
    let mut a = Side::new();
    let session = a.join(TOPIC, false, true);
    let query = a.query();
    let same = Join { server: false, client: true, limit: None };
    a.run(|swarm, cx| swarm.change(cx, session, same)).expect("changes");
    assert_eq!(a.outputs(), [], "the same roles: the query goes on");
    let both = Join::default();
    a.run(|swarm, cx| swarm.change(cx, session, both)).expect("changes");
    assert_eq!(a.outputs(), [Output::CancelQuery { query }, Output::Listen]);
    a.done(query);
    a.find(query, key(5));
    assert_eq!(a.outputs(), [], "what the old query says is not heard");
    a.input(Input::Listening);
    let announce = a.query();
    a.run(|swarm, cx| swarm.change(cx, session, same)).expect("changes");
    let back = Output::Query { query: QueryId(3), topic: TOPIC, find: Find::LookupAndUnannounce };
    assert_eq!(a.outputs(), [Output::CancelQuery { query: announce }, back]);
    a.done(QueryId(3));
    a.pass(MINUTE * 12);
    let lookup = Output::Query { query: QueryId(4), topic: TOPIC, find: Find::Lookup };
    assert_eq!(a.outputs(), [lookup], "unannounced once is enough");
}

// proves hyperswarm.4
#[test]
fn sessions_of_a_topic_add_up() {
    let mut a = Side::new();
    let client = a.join(TOPIC, false, true);
    a.outputs();
    let server = a.join(TOPIC, true, false);
    a.outputs();
    a.input(Input::Listening);
    let query = a.query();
    a.done(query);
    assert_eq!(a.swarm.topics().collect::<Vec<_>>(), [(TOPIC, true, true)]);
    a.run(|swarm, cx| swarm.leave_session(cx, server)).expect("leaves");
    let back = Output::Query { query: QueryId(3), topic: TOPIC, find: Find::LookupAndUnannounce };
    assert_eq!(a.outputs(), [back]);
    a.done(QueryId(3));
    a.run(|swarm, cx| swarm.leave_session(cx, client)).expect("leaves");
    assert_eq!((a.outputs(), a.events()), (vec![], vec![Event::Left { topic: TOPIC }]));
    assert_eq!(a.run(|swarm, cx| swarm.leave_session(cx, client)), Err(Error::Gone));
    assert_eq!(a.swarm.poll_timeout(), None);
}

// proves hyperswarm.7, hyperswarm.8
#[test]
fn a_leave_unannounces_and_a_rejoin_waits_for_it() {
    let mut a = Side::new();
    a.join(TOPIC, true, true);
    a.outputs();
    a.input(Input::Listening);
    let query = a.query();
    a.run(|swarm, cx| swarm.leave(cx, TOPIC)).expect("leaves");
    assert_eq!(a.outputs(), [Output::CancelQuery { query }, Output::Unannounce { topic: TOPIC }]);
    a.join(TOPIC, true, true);
    assert_eq!((a.outputs(), a.events()), (vec![], vec![]));
    a.input(Input::Unannounced { topic: TOPIC });
    let again = Output::Query { query: QueryId(2), topic: TOPIC, find: Find::Announce { clear: true } };
    assert_eq!((a.outputs(), a.events()), (vec![again], vec![]));
    a.run(|swarm, cx| swarm.leave(cx, TOPIC)).expect("leaves");
    a.outputs();
    a.input(Input::Unannounced { topic: TOPIC });
    assert_eq!(a.events(), [Event::Left { topic: TOPIC }]);
    assert_eq!(a.run(|swarm, cx| swarm.leave(cx, TOPIC)), Err(Error::Missing));
}

// proves hyperswarm.18
#[test]
fn a_limit_is_for_each_refresh() {
    let mut a = Side::new();
    let join = Join { server: false, client: true, limit: Some(2) };
    a.run(|swarm, cx| swarm.join(cx, TOPIC, join)).expect("joins");
    for round in 0..2 {
        let query = a.query();
        for n in 1..=5 {
            a.find(query, key(round * 10 + n));
        }
        a.done(query);
        assert_eq!(a.swarm.counts().0, 2 * (usize::from(round) + 1));
        a.dials().into_iter().for_each(|key| {
            a.connect(key);
        });
        a.pass(MINUTE * 12);
    }
}

/// pitfalls 13.7: keep-alives and refreshes at once.
// proves hyperswarm.28
#[test]
fn a_network_change_tests_connections_and_refreshes() {
    let mut a = Side::new();
    let query = a.look(TOPIC);
    a.done(query);
    let link = a.call(key(2), false);
    a.input(Input::NetworkChange);
    let refresh = |n| Output::Query { query: QueryId(n), topic: TOPIC, find: Find::Lookup };
    assert_eq!(a.outputs(), [Output::KeepAlive { link }, refresh(2)]);
    a.done(QueryId(2));
    a.input(Input::Online(true));
    a.input(Input::Online(false));
    assert_eq!(a.outputs(), [], "only coming back online counts");
    a.input(Input::Online(true));
    assert_eq!(a.outputs(), [Output::KeepAlive { link }, refresh(3)]);
}
