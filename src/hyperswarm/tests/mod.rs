mod connections;
mod peers;
mod silent;
mod topics;
mod whole;

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

/// As the package does it.
fn plain() -> Config {
    Config { look_again: false, dial_beside: false, ..Config::new(OWN) }
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
        Side::with(plain())
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
