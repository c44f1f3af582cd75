use super::*;
use crate::base::{Entropy, NoTrace, Seeded, Span, hex};
use crate::sim::ramdisk::RamDisk;
use serde_json::Value;

const OWN: Key = [100; 32];
const TOPIC: Key = [1; 32];
const MINUTE: Span = Span::from_secs(60);

fn key(n: u8) -> Key {
    [n; 32]
}

/// A swarm with a world to itself.
struct Side {
    swarm: Hyperswarm,
    now: Time,
    entropy: Seeded,
    links: u64,
}

impl Side {
    fn with(config: Config) -> Side {
        let mut entropy = Seeded::new(7);
        let mut disk = RamDisk::new();
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let swarm = Hyperswarm::new(&mut cx, config);
        Side { swarm, now: Time::ZERO, entropy, links: 0 }
    }
    fn new() -> Side {
        Side::with(Config::new(OWN))
    }
    fn run<T>(&mut self, run: impl FnOnce(&mut Hyperswarm, &mut Cx<'_>) -> T) -> T {
        let (mut disk, mut trace) = (RamDisk::new(), NoTrace);
        let mut cx = Cx { now: self.now, entropy: &mut self.entropy, disk: &mut disk, trace: &mut trace };
        run(&mut self.swarm, &mut cx)
    }
    fn input(&mut self, input: Input) {
        self.run(|swarm, cx| swarm.handle_input(cx, input));
    }
    fn join(&mut self, topic: Key, server: bool, client: bool) -> SessionId {
        self.run(|swarm, cx| swarm.join(cx, topic, Join { server, client, limit: None })).expect("joins")
    }
    fn outputs(&mut self) -> Vec<Output> {
        self.run(|swarm, cx| core::iter::from_fn(|| swarm.poll_output(cx)).collect())
    }
    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.swarm.poll_event()).collect()
    }
    /// Lets time go by, deadline for deadline.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(deadline) = self.swarm.poll_timeout().filter(|deadline| deadline.at <= end) {
            self.now = self.now.max(deadline.at);
            self.run(|swarm, cx| swarm.handle_timeout(cx));
            assert!(self.swarm.poll_timeout().is_none_or(|deadline| deadline.at > self.now), "no spin");
        }
        self.now = end;
    }
    /// Joins as client; returns the query.
    fn look(&mut self, topic: Key) -> QueryId {
        self.join(topic, false, true);
        self.query()
    }
    fn query(&mut self) -> QueryId {
        let query = |output: &Output| match output {
            Output::Query { query, .. } => Some(*query),
            _ => None,
        };
        self.outputs().iter().find_map(query).expect("a query")
    }
    fn find(&mut self, query: QueryId, key: Key) {
        self.input(Input::Peer { query, key, relays: vec![] });
    }
    fn done(&mut self, query: QueryId) {
        self.input(Input::QueryDone { query, ok: true });
    }
    /// The keys that are dialled.
    fn dials(&mut self) -> Vec<Key> {
        let dialled = |output| match output {
            Output::Connect { key, .. } => Some(key),
            _ => None,
        };
        self.outputs().into_iter().filter_map(dialled).collect()
    }
    fn link(&mut self) -> Link {
        self.links += 1;
        Link(self.links)
    }
    fn connect(&mut self, key: Key) -> Link {
        let link = self.link();
        self.input(Input::Connected { key, link });
        link
    }
    fn fail(&mut self, key: Key) {
        self.input(Input::Failed { key, holepunch: false });
    }
    fn call(&mut self, key: Key, outdated: bool) -> Link {
        let link = self.link();
        self.input(Input::Incoming { key, link, outdated });
        link
    }
    fn close(&mut self, link: Link) {
        self.input(Input::Closed { link });
    }
    fn peer(&self, key: Key) -> &Peer {
        self.swarm.peers.get(&key).expect("known")
    }
}

fn vectors(name: &str) -> Vec<Value> {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hyperswarm.json"));
    let file: Value = serde_json::from_str(file).expect("JSON");
    let vectors = file["vectors"].as_array().expect("vectors").clone();
    let named: Vec<Value> = vectors.into_iter().filter(|vector| vector["name"] == name).collect();
    assert!(!named.is_empty());
    named
}

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

// proves hyperswarm.21
#[test]
fn duplicates_are_the_vectors() {
    for vector in vectors("duplicate") {
        let inputs = &vector["inputs"];
        let key = |name: &str| {
            let bytes = hex::decode(inputs[name].as_str().unwrap_or(&"00".repeat(32))).expect("hex");
            Key::try_from(bytes).expect("32 bytes")
        };
        let ours = inputs["newConnectionIsInitiator"].as_bool().unwrap_or(false);
        let outdated = inputs["existingHasSentAndReceivedBytes"].as_bool().unwrap_or(false);
        let keep = keep_new(&key("publicKey"), &key("remotePublicKey"), ours, outdated);
        assert_eq!(keep, vector["expected"]["keepNew"], "{vector}");
    }
}

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
    let mut a = Side::with(Config { max_parallel: 1, ..Config::new(OWN) });
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
        let mut a = Side::with(Config { max_parallel: 1, ..Config::new(OWN) });
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
        let mut a = Side::with(Config { max_peers: 12, max_parallel: 99, ..Config::new(OWN) });
        let query = a.look(TOPIC);
        for n in 0..20 {
            a.find(query, key(n + 1));
        }
        assert_eq!(a.dials().len(), 12, "none is explicit yet");
        let mut b = Side::with(Config { max_peers: 12, max_parallel: 99, ..Config::new(OWN) });
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
    let mut a = Side::with(Config { max_peers: 1, ..Config::new(OWN) });
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
    let mut a = Side::with(Config { max_parallel: 1, ..Config::new(OWN) });
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
    let wanted = Output::Connect { key: key(3), relays, through: None };
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

/// pitfalls 13.1: both dial at once; for 1000 seeds each pair keeps exactly one connection, and both the same.
// proves hyperswarm.21, hyperswarm.22
#[test]
fn simultaneous_dials_leave_one_connection() {
    for seed in 0..1000 {
        let mut entropy = Seeded::new(seed);
        let keys = [entropy.bytes32(), entropy.bytes32()];
        let mut sides = keys.map(|key| Side::with(Config::new(key)));
        for (n, side) in sides.iter_mut().enumerate() {
            let query = side.look(TOPIC);
            side.find(query, keys[1 - n]);
            assert_eq!(side.dials(), [keys[1 - n]]);
        }
        one_connection_in_the_end(&mut entropy, keys, sides, seed);
    }
}

/// Two sides that dial each other; connection n is the one that side n opened. Messages between them: the callee sees
/// the connection some time before or after the caller does, a close reaches the other side later.
fn one_connection_in_the_end(entropy: &mut Seeded, keys: [Key; 2], mut sides: [Side; 2], seed: u64) {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Step {
        Arrive(usize),
        Open(usize),
        Gone(usize, usize),
    }
    let link = |caller: usize| Link(caller as u64);
    let mut steps = vec![Step::Arrive(0), Step::Arrive(1)];
    let mut open = [[false; 2]; 2];
    let mut dead = [false; 2];
    while !steps.is_empty() {
        let step = steps.swap_remove(entropy.below(steps.len() as u64) as usize);
        match step {
            Step::Arrive(caller) if !dead[caller] => {
                open[1 - caller][caller] = true;
                let input = Input::Incoming { key: keys[caller], link: link(caller), outdated: false };
                sides[1 - caller].input(input);
                steps.push(Step::Open(caller));
            }
            Step::Open(caller) if !dead[caller] => {
                open[caller][caller] = true;
                sides[caller].input(Input::Connected { key: keys[1 - caller], link: link(caller) });
            }
            Step::Arrive(_) | Step::Open(_) => {}
            Step::Gone(side, caller) => {
                if core::mem::take(&mut open[side][caller]) {
                    sides[side].input(Input::Closed { link: link(caller) });
                } else if side == caller {
                    sides[side].fail(keys[1 - side]);
                }
            }
        }
        for (side, own) in sides.iter_mut().enumerate() {
            for output in own.outputs() {
                let caller = match output {
                    Output::Drop { link, .. } => link.0 as usize,
                    Output::Abort { .. } => side,
                    _ => continue,
                };
                if !core::mem::replace(&mut dead[caller], true) {
                    steps.push(Step::Gone(0, caller));
                    steps.push(Step::Gone(1, caller));
                }
            }
        }
    }
    let told = sides.each_mut().map(|side| side.swarm.links());
    assert_eq!((told[0].len(), told[1].len()), (1, 1), "seed {seed}");
    assert_eq!(told[0][0].1, told[1][0].1, "seed {seed}: the same one");
    let greater = usize::from(keys[1] > keys[0]);
    assert_eq!(told[0][0].1, link(greater), "seed {seed}: the one of the greater key");
    for side in &mut sides {
        let mut known = BTreeSet::new();
        for event in side.events() {
            match event {
                Event::Connection { link, .. } => assert!(known.insert(link) && known.len() == 1),
                Event::Closed { link, .. } => assert!(known.remove(&link)),
                _ => {}
            }
        }
        assert_eq!(known.len(), 1);
    }
}

/// pitfalls 13.2: the new one is told only after the old one has closed.
// proves hyperswarm.21
#[test]
fn a_replacement_waits_for_the_old_one_to_close() {
    let mut a = Side::new();
    let old = a.call(key(200), false);
    let new = a.call(key(200), true);
    a.events();
    assert_eq!(a.outputs(), [Output::Drop { link: old, why: DropReason::Duplicate }]);
    let other = a.call(key(200), true);
    assert_eq!((a.outputs(), a.events()), (vec![], vec![]));
    a.close(old);
    assert_eq!(
        a.events(),
        [
            Event::Closed { link: old, key: key(200) },
            Event::Connection { link: new, key: key(200), initiator: false, topics: vec![] }
        ]
    );
    // the third one meets the second: the greater key's connection is the one to keep
    assert_eq!(a.outputs(), [Output::Drop { link: new, why: DropReason::Duplicate }]);
    a.close(other);
    a.close(new);
    assert_eq!(a.events(), [Event::Closed { link: new, key: key(200) }]);
    assert_eq!(a.swarm.counts(), (0, 0, 0));
}

// proves hyperswarm.21
#[test]
fn a_losing_connection_is_dropped_and_the_old_one_tested() {
    let mut a = Side::new();
    let old = a.call(key(2), false);
    let new = a.call(key(2), false);
    let drop = Output::Drop { link: new, why: DropReason::Duplicate };
    assert_eq!(a.outputs(), [Output::KeepAlive { link: old }, drop]);
    a.close(new);
    assert_eq!(a.events().len(), 1, "nothing was told of it");
    assert_eq!(a.swarm.existing(&key(2)), Some(Existing::Open(old)));
}

/// pitfalls 13.6: peers that the firewall refuses are banned on both roles.
// proves hyperswarm.23, hyperswarm.24
#[test]
fn refused_peers_are_banned_on_both_roles() {
    let firewall = Firewall::Except([key(2), key(3)].into());
    let mut a = Side::with(Config { firewall, ..Config::new(OWN) });
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
    assert_eq!(a.swarm.denied(), [key(2), key(3), OWN]);
    let link = a.call(OWN, false);
    assert_eq!(a.outputs(), [Output::Drop { link, why: DropReason::Firewall }]);
    a.run(|swarm, cx| swarm.ban(cx, key(3), false));
    a.find(query, key(3));
    assert_eq!(a.dials(), [key(3)]);
    a.swarm.set_firewall(Firewall::Only([key(4)].into()));
    assert!(a.swarm.refuses(&key(5)) && !a.swarm.refuses(&key(4)));
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

// proves hyperswarm.27
#[test]
fn a_relay_is_used_when_holepunching_failed() {
    let relay = key(9);
    let mut a = Side::with(Config { relay_through: Some(relay), ..Config::new(OWN) });
    let query = a.look(TOPIC);
    a.find(query, key(2));
    let through = |outputs: Vec<Output>| match &outputs[..] {
        [Output::Connect { through, .. }] => *through,
        other => panic!("{other:?}"),
    };
    assert_eq!(through(a.outputs()), None);
    a.input(Input::Failed { key: key(2), holepunch: true });
    assert_eq!(a.peer(key(2)).attempts, 1);
    a.pass(MINUTE);
    assert_eq!(through(a.outputs()), Some(relay));
    a.input(Input::Randomized(true));
    a.find(query, key(3));
    assert_eq!(through(a.outputs()), Some(relay));
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

/// pitfalls 13.4: a flush ends whatever peers do.
// proves hyperswarm.29
#[test]
fn a_flush_waits_for_refreshes_and_then_for_dials() {
    let mut a = Side::with(Config { max_parallel: 1, ..Config::new(OWN) });
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
    let mut a = Side::with(Config { max_peers: 1, ..Config::new(OWN) });
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
    let mut a = Side::with(Config { max_parallel: 1, ..Config::new(OWN) });
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
    let late = a.call(key(9), false);
    assert_eq!(a.outputs(), [Output::Drop { link: late, why: DropReason::Suspended }]);
    a.pass(MINUTE * 60);
    assert_eq!((a.outputs(), a.swarm.counts()), (vec![], (0, 0, 0)));
    a.run(|swarm, cx| swarm.resume(cx)).expect("resumes");
    assert_eq!(a.outputs(), [], "the unannouncement first");
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
    let events = a.events();
    assert_eq!(events.last(), Some(&Event::Destroyed), "{events:?}");
    assert_eq!(a.run(|swarm, cx| swarm.join(cx, TOPIC, Join::default())), Err(Error::NotOpen));
    assert_eq!(a.swarm.poll_timeout(), None);

    let mut b = Side::new();
    b.join(TOPIC, true, true);
    b.input(Input::Listening);
    b.outputs();
    b.run(|swarm, cx| swarm.destroy(cx, true));
    assert!(!b.outputs().contains(&Output::Unannounce { topic: TOPIC }), "by force: not even that");
    assert_eq!(b.events().last(), Some(&Event::Destroyed));
}

/// pitfalls 13.5: connections are told one by one, however late the owner takes them; none is dropped.
// proves hyperswarm.32
#[test]
fn no_connection_is_lost_on_a_slow_owner() {
    let mut a = Side::new();
    for n in 1..=90 {
        a.call(key(n), false);
    }
    assert_eq!(a.outputs(), []);
    assert_eq!(a.events().len(), 90);
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
        for _ in 0..200 {
            let peer = key(95 + entropy.below(10) as u8);
            let topic = key(entropy.below(3) as u8);
            match entropy.below(14) {
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
                _ => {
                    let suspend = entropy.chance(500);
                    a.run(|swarm, cx| if suspend { swarm.suspend(cx) } else { swarm.resume(cx) })
                        .expect("not destroyed");
                }
            }
            check(&mut a, &mut dialling, &mut open, &mut told, &mut queries, &mut unannounced);
        }
        a.run(|swarm, cx| swarm.destroy(cx, false));
        check(&mut a, &mut dialling, &mut open, &mut told, &mut queries, &mut unannounced);
        dialling.iter().for_each(|key| a.fail(*key));
        open.iter().for_each(|link| a.close(*link));
        unannounced.iter().for_each(|topic| a.input(Input::Unannounced { topic: *topic }));
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
) {
    for output in a.outputs() {
        match output {
            Output::Connect { key, .. } => assert!(dialling.insert(key), "dialled twice"),
            Output::Query { query, .. } => queries.push(query),
            Output::CancelQuery { query } => queries.retain(|running| *running != query),
            Output::Unannounce { topic } => unannounced.push(topic),
            Output::Abort { key } => assert!(dialling.contains(&key)),
            Output::Drop { link, .. } | Output::KeepAlive { link } => assert!(open.contains(&link)),
            Output::Listen | Output::Unlisten => {}
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
