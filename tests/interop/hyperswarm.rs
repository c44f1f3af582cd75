//! Swarms of ours and of the package in one network on loopback: each finds the other, they keep one connection, and
//! calls go both ways over it.

mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use seckel::base::{Addr, Key, hex};
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{CallId, Config, ConnId, Event, JoinOptions};
use serde_json::{Value, json};

use crate::support::{Node, skipped};

/// Longer than anything here takes, except when it fails.
const PATIENCE: Duration = Duration::from_secs(40);

/// What happened to a swarm of ours.
#[derive(Default, Debug)]
struct Seen {
    open: BTreeMap<ConnId, Key>,
    /// Calls of ours that were answered rightly.
    echoes: usize,
    /// Calls of others.
    calls: usize,
    pending: BTreeMap<CallId, ConnId>,
    refreshed: usize,
    left: usize,
    suspended: usize,
    flushed: usize,
    ready: bool,
}

struct Story {
    node: Node,
    host: Host,
    port: u16,
    topic: Key,
    ours: Vec<(NodeId, Seen)>,
    roots: Vec<PathBuf>,
}

impl Story {
    fn begin(topic: u8) -> Story {
        let mut node = Node::start("hyperswarm.js", &[]);
        let port = node.ask(&json!({ "do": "net" }))["port"].as_u64().expect("a port") as u16;
        let host = Host::open().expect("a host");
        Story { node, host, port, topic: [topic; 32], ours: Vec::new(), roots: Vec::new() }
    }

    fn topic(&self) -> String {
        hex::encode(&self.topic)
    }

    /// A swarm of ours; its number.
    fn ours(&mut self, seed: u8) -> usize {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("hyperswarm-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&root).expect("a folder");
        let mut config = Config::default();
        config.dht.host = [127, 0, 0, 1];
        config.dht.port = 0;
        config.dht.bootstrap = vec![Addr::loopback(self.port)];
        let id = self.host.add(config, &root).expect("a node");
        self.host.net(id).swarm(&KeyPair::from_seed([seed; 32]));
        self.roots.push(root);
        self.ours.push((id, Seen::default()));
        let number = self.ours.len() - 1;
        self.until(|story, _| story.ours[number].1.ready);
        number
    }

    fn join(&mut self, number: usize, server: bool, client: bool) {
        let (id, topic) = (self.ours[number].0, self.topic);
        self.host.net(id).join(topic, JoinOptions { server, client }).expect("joins");
    }

    fn theirs(&mut self, name: &str, seed: u8) -> Key {
        let make = json!({ "do": "swarm", "name": name, "seed": seed, "topic": self.topic() });
        let answer = self.node.ask(&make);
        let key = hex::decode(answer["key"].as_str().expect("hex")).expect("hex");
        key.try_into().expect("32 bytes")
    }

    fn they_join(&mut self, name: &str, server: bool, client: bool) {
        let topic = self.topic();
        let join = json!({ "do": "join", "name": name, "topic": topic, "server": server, "client": client });
        self.node.ask(&join);
    }

    fn state(&mut self, name: &str) -> Value {
        self.node.ask(&json!({ "do": "state", "name": name }))
    }

    fn turn(&mut self) {
        let woken = self.host.wait(Some(Duration::from_millis(5))).expect("a host");
        let Wake::Event(id, event) = woken else { return };
        let (_, seen) = self.ours.iter_mut().find(|(node, _)| *node == id).expect("ours");
        let mut net = self.host.net(id);
        match event {
            Event::Bootstrapped => seen.ready = true,
            Event::Refreshed { .. } => seen.refreshed += 1,
            Event::Left { .. } => seen.left += 1,
            Event::SwarmSuspended => seen.suspended += 1,
            Event::Flushed { ok: true } => seen.flushed += 1,
            Event::Connected { conn, key, swarm, .. } => {
                assert!(swarm);
                assert!(!seen.open.values().any(|other| *other == key), "two connections to one peer");
                seen.open.insert(conn, key);
                let rpc = net.rpc(conn, &self.topic).expect("a channel");
                let call = net.call(rpc, "echo", b"from us", None).expect("a call");
                seen.pending.insert(call, conn);
            }
            Event::Closed { conn, .. } => {
                seen.open.remove(&conn);
            }
            Event::Call { call, method, body, .. } => {
                assert_eq!(method, "echo");
                seen.calls += 1;
                net.answer(call, &body).expect("answered");
            }
            Event::Answer { call, result } => {
                let ours = seen.pending.remove(&call).is_some();
                seen.echoes += usize::from(ours && result.as_deref() == Ok(b"from us"));
            }
            _ => {}
        }
    }

    /// Lets our nodes live until `done`, which may look at the others.
    fn until(&mut self, mut done: impl FnMut(&mut Story, u32) -> bool) {
        let end = Instant::now() + PATIENCE;
        for turn in 0.. {
            self.turn();
            if done(self, turn) {
                return;
            }
            if Instant::now() > end {
                let seen: Vec<_> = self.ours.iter().map(|(_, seen)| seen).collect();
                panic!("not in time: {seen:?}");
            }
        }
    }

    /// Until each swarm of ours and of theirs has `count` connections, over which calls have gone both ways.
    fn until_connected(&mut self, names: &[&str], count: usize) {
        self.until(|story, turn| {
            let here = story.ours.iter().all(|(_, seen)| seen.open.len() == count && seen.pending.is_empty());
            here && turn % 8 == 0
                && names.iter().all(|name| {
                    let state = story.state(name);
                    state["open"] == count && state["echoes"].as_u64() >= Some(count as u64)
                })
        });
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        for root in &self.roots {
            let _ = std::fs::remove_dir_all(root);
        }
    }
}

#[test]
fn our_client_finds_their_server() {
    if skipped("hyperswarm: our client, their server") {
        return;
    }
    let mut story = Story::begin(0x21);
    let key = story.theirs("x", 1);
    story.they_join("x", true, false);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    let ours = story.ours(2);
    story.join(ours, false, true);
    story.until_connected(&["x"], 1);
    let seen = &story.ours[ours].1;
    assert_eq!(seen.open.values().copied().collect::<Vec<_>>(), [key]);
    assert_eq!((seen.echoes, seen.calls), (1, 1));
}

#[test]
fn their_client_finds_our_server_until_it_leaves() {
    if skipped("hyperswarm: their client, our server") {
        return;
    }
    let mut story = Story::begin(0x22);
    let ours = story.ours(2);
    story.join(ours, true, false);
    story.until(|story, _| story.ours[ours].1.refreshed == 1);
    let topic = story.topic();
    let own = hex::encode(&KeyPair::from_seed([2; 32]).public);
    let found = story.node.ask(&json!({ "do": "lookup", "topic": topic }));
    assert_eq!(found["found"], json!([own]));
    story.theirs("x", 1);
    story.they_join("x", false, true);
    story.until_connected(&["x"], 1);
    assert_eq!((story.ours[ours].1.echoes, story.ours[ours].1.calls), (1, 1));

    let (id, key) = (story.ours[ours].0, story.topic);
    story.host.net(id).leave(key);
    story.until(|story, _| story.ours[ours].1.left == 1);
    let found = story.node.ask(&json!({ "do": "lookup", "topic": topic }));
    assert_eq!(found["found"], json!([]), "the announcement is taken back");
    assert_eq!(story.ours[ours].1.open.len(), 1, "the connection stays");
}

/// Both announce and both look: they may dial each other at once.
#[test]
fn both_as_server_and_client_keep_one_connection() {
    if skipped("hyperswarm: both roles on both sides") {
        return;
    }
    for seed in [1, 2, 3] {
        let mut story = Story::begin(0x30 + seed);
        story.theirs("x", 10 + seed);
        let ours = story.ours(20 + seed);
        story.they_join("x", true, true);
        story.join(ours, true, true);
        story.until(|story, _| story.ours[ours].1.refreshed >= 1 && story.state("x")["flushed"] == 1);
        story.until_connected(&["x"], 1);
    }
}

#[test]
fn two_of_ours_and_two_of_theirs_all_meet() {
    if skipped("hyperswarm: four swarms") {
        return;
    }
    let mut story = Story::begin(0x44);
    story.theirs("x", 1);
    story.theirs("y", 2);
    story.they_join("x", true, true);
    story.until(|story, _| story.state("x")["flushed"] == 1);
    for seed in [3, 4] {
        let ours = story.ours(seed);
        story.join(ours, true, true);
        story.until(|story, _| story.ours[ours].1.refreshed == 1);
    }
    story.they_join("y", true, true);
    story.until_connected(&["x", "y"], 3);
}
