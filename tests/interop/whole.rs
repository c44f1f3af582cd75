//! A network of seckel's nodes that npm's hyperdht uses with every call of its interface; one of hyperdht's nodes that
//! seckel uses; and one of both, half of which is killed while what it keeps stays readable.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seckel::base::{Addr, Key, hex};
use seckel::crypto::hash::blake2b_256;
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::hyperdht::StoreError;
use seckel::node::{Config, DhtConfig, Event, LookupId, Net};
use serde_json::{Value, json};

use crate::support::{Node, free_port, skipped};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(bootstrap: Option<u16>) -> Config {
    let mut config = Config::default();
    config.dht.host = [127, 0, 0, 1];
    config.dht.bootstrap = bootstrap.map(Addr::loopback).into_iter().collect();
    config
}

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed([seed; 32])
}

fn join(host: &mut Host, config: Config) -> NodeId {
    let id = host.add(config, Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a node");
    while !host.net(id).status().bootstrapped {
        host.wait(None).expect("runs");
    }
    id
}

/// Lasting nodes of ours on a thread of their own; they vanish without a word when it is dropped.
struct Nodes {
    port: u16,
    running: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Nodes {
    fn start(count: usize, bootstrap: Option<u16>) -> Nodes {
        let running = Arc::new(AtomicBool::new(true));
        let (sender, receiver) = channel();
        let goes_on = running.clone();
        let thread = std::thread::spawn(move || {
            let mut host = Host::open().expect("a host");
            let mut first = bootstrap;
            for _ in 0..count {
                let mut config = config(first);
                (config.dht.ephemeral, config.dht.firewalled) = (Some(false), false);
                if first.is_none() {
                    let own = Addr::loopback(free_port());
                    config.dht = DhtConfig::bootstrapper(own).expect("a host and a port");
                }
                let id = join(&mut host, config);
                first = first.or_else(|| Some(host.net(id).status().local?.port));
            }
            sender.send(first.expect("a port")).expect("the test waits");
            while goes_on.load(Ordering::Relaxed) {
                host.wait(Some(Duration::from_millis(20))).expect("runs");
            }
        });
        let port = receiver.recv_timeout(PATIENCE).expect("the nodes join");
        Nodes { port, running, thread: Some(thread) }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client of ours.
struct User {
    host: Host,
    id: NodeId,
}

/// What a question came to.
#[derive(Default, Debug)]
struct Told {
    values: Vec<(u64, Vec<u8>)>,
    keys: Vec<Key>,
    refused: Vec<StoreError>,
    pings: usize,
    ok: bool,
}

impl User {
    fn new(port: u16) -> User {
        let mut host = Host::open().expect("a host");
        let id = join(&mut host, config(Some(port)));
        User { host, id }
    }

    fn net(&mut self) -> Net<'_> {
        self.host.net(self.id)
    }

    fn ask(&mut self, begin: impl FnOnce(&mut Net<'_>) -> LookupId) -> Told {
        let wanted = begin(&mut self.net());
        let mut told = Told::default();
        self.until(|_, event| match event {
            Event::Value { lookup, seq, value } if *lookup == wanted => {
                told.values.push((*seq, value.clone()));
                None
            }
            Event::Found { lookup, peer, .. } if *lookup == wanted => {
                told.keys.push(peer.key);
                None
            }
            Event::StoreRefused { lookup, why } if *lookup == wanted => {
                told.refused.push(*why);
                None
            }
            Event::Pinged { lookup, .. } if *lookup == wanted => {
                told.pings += 1;
                None
            }
            Event::LookupDone { lookup, ok } if *lookup == wanted => {
                told.ok = *ok;
                Some(())
            }
            _ => None,
        });
        told
    }

    fn until<R>(&mut self, mut pick: impl FnMut(&mut Net<'_>, &Event) -> Option<R>) -> R {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "it does not happen");
            if let Wake::Event(_, event) = self.host.wait(Some(Duration::from_millis(50))).expect("runs")
                && let Some(found) = pick(&mut self.host.net(self.id), &event)
            {
                return found;
            }
        }
    }
}

/// Asks Node; what it did wrong is told with its place.
fn told(node: &mut Node, message: Value) -> Value {
    let said = node.ask(&message);
    assert!(said.get("error").is_none(), "{}", said["error"].as_str().unwrap_or("an error"));
    said
}

#[test]
fn a_network_of_ours_serves_every_call_of_node() {
    if skipped("whole::a_network_of_ours_serves_every_call_of_node") {
        return;
    }
    for count in [3, 8] {
        let ours = Nodes::start(count, None);
        let mut node = Node::start("whole.js", &[]);
        let said = told(&mut node, json!({"do": "every", "bootstrap": ours.port}));
        assert!(said["done"].as_array().is_some_and(|done| done.len() == 21), "{count} nodes: {said}");
    }
}

#[test]
fn a_network_of_node_serves_every_call_of_node_the_same() {
    if skipped("whole::a_network_of_node_serves_every_call_of_node_the_same") {
        return;
    }
    let mut node = Node::start("whole.js", &[]);
    let first = free_port();
    told(&mut node, json!({"do": "nodes", "count": 8, "first": first}));
    let said = told(&mut node, json!({"do": "every", "bootstrap": first}));
    assert!(said["done"].as_array().is_some_and(|done| done.len() == 21), "{said}");
}

#[test]
fn a_network_of_node_serves_every_call_of_ours() {
    if skipped("whole::a_network_of_node_serves_every_call_of_ours") {
        return;
    }
    let mut node = Node::start("whole.js", &[]);
    let first = free_port();
    told(&mut node, json!({"do": "nodes", "count": 8, "first": first}));
    every_call_of_ours(first);
}

#[test]
fn a_network_of_ours_serves_every_call_of_ours() {
    if skipped("whole::a_network_of_ours_serves_every_call_of_ours") {
        return;
    }
    every_call_of_ours(Nodes::start(8, None).port);
}

fn every_call_of_ours(port: u16) {
    let (mut a, mut b) = (User::new(port), User::new(port));
    assert_eq!(a.ask(|net| net.ping(Addr::loopback(port))).pings, 1);
    assert!(a.ask(|net| net.find_nodes([1; 32])).ok);

    for value in [vec![b'x'], vec![7; 900]] {
        assert!(a.ask(|net| net.store_immutable(&value).expect("short")).ok);
        let found = b.ask(|net| net.find_immutable(blake2b_256(&[&value])));
        assert_eq!(found.values, [(0, value)]);
    }
    assert_eq!(b.ask(|net| net.find_immutable([3; 32])).values, []);

    let owner = pair(40);
    for (seq, text, refused) in [
        (0, &b"zero"[..], None),
        (3, b"three", None),
        (7, b"seven", None),
        (7, b"other", Some(StoreError::SeqReused)),
        (6, b"older", Some(StoreError::SeqTooLow)),
    ] {
        let put = a.ask(|net| net.store_mutable(&owner, seq, text).expect("short"));
        assert_eq!((put.ok, put.refused), (refused.is_none(), refused.into_iter().collect()), "{seq}");
        let found = b.ask(|net| net.find_mutable(owner.public, 0)).values;
        let newest = if refused.is_some() { (7, b"seven".to_vec()) } else { (seq, text.to_vec()) };
        assert_eq!(found.last(), Some(&newest));
    }
    assert_eq!(b.ask(|net| net.find_mutable(owner.public, 8)).values, []);

    let topic = [50; 32];
    assert!(b.ask(|net| net.lookup(topic)).keys.is_empty());
    for seed in [51, 52] {
        assert!(a.ask(|net| net.announce(topic, &pair(seed), Vec::new())).ok);
    }
    let met = |keys: &[Key]| [51, 52].map(|seed| keys.contains(&pair(seed).public));
    assert_eq!(met(&b.ask(|net| net.lookup(topic)).keys), [true, true]);
    assert!(met(&a.ask(|net| net.lookup_and_unannounce(topic, &pair(51))).keys)[1]);
    assert_eq!(met(&b.ask(|net| net.lookup(topic)).keys), [false, true]);
    assert!(a.ask(|net| net.unannounce(topic, &pair(52))).ok);
    assert!(b.ask(|net| net.lookup(topic)).keys.is_empty());

    served(port, &mut b);
}

/// One listens, the other finds it and talks to it, and does not find it any more when it has closed.
fn served(port: u16, client: &mut User) {
    let key = pair(60).public;
    let (sender, receiver) = channel();
    let (listens, listening) = channel();
    let thread = std::thread::spawn(move || {
        let mut server = User::new(port);
        let id = server.net().listen(&pair(60), false).expect("new");
        server.until(|_, event| matches!(event, Event::Listening { .. }).then_some(()));
        listens.send(()).expect("the test waits");
        let mut echoed = 0;
        while receiver.try_recv().is_err() {
            let wake = server.host.wait(Some(Duration::from_millis(5))).expect("runs");
            match wake {
                Wake::Event(_, Event::Data { conn, bytes }) => {
                    server.net().send(conn, &bytes).expect("open");
                    echoed += 1;
                }
                Wake::Event(_, Event::Ended { conn }) => server.net().close(conn),
                _ => {}
            }
        }
        server.net().unlisten(id);
        server.until(|_, event| matches!(event, Event::Unlistened { .. }).then_some(()));
        echoed
    });
    listening.recv_timeout(PATIENCE).expect("it listens");
    assert!(client.ask(|net| net.find_peer(key)).keys.contains(&key));
    assert!(client.ask(|net| net.find_peer(pair(61).public)).keys.is_empty());
    for seed in [62, 62, 63] {
        client.net().connect(key, &pair(seed), false).expect("dialled");
        client.until(|net, event| match event {
            Event::Connected { conn, .. } => net.send(*conn, b"hello").err().map(|error| panic!("{error:?}")),
            Event::ConnectFailed { why, .. } => panic!("{why:?}"),
            Event::Data { conn, bytes } => {
                assert_eq!(bytes, b"hello");
                net.close(*conn);
                Some(())
            }
            _ => None,
        });
    }
    client.net().suspend();
    client.net().resume();
    client.until(|net, _| (net.status().bootstrapped && !net.suspended()).then_some(()));
    sender.send(()).expect("it runs");
    assert_eq!(thread.join().expect("it served"), 3);
    assert!(client.ask(|net| net.find_peer(key)).keys.is_empty());
}

/// Ten nodes of each side; five of each are killed.
#[test]
fn half_of_a_mixed_network_is_killed_and_all_stays_readable() {
    if skipped("whole::half_of_a_mixed_network_is_killed_and_all_stays_readable") {
        return;
    }
    const EACH: u8 = 6;
    let topic = [70; 32];
    let staying = Nodes::start(5, None);
    let port = staying.port;
    let killed = Nodes::start(5, Some(port));
    let mut node = Node::start("whole.js", &[]);
    told(&mut node, json!({"do": "nodes", "count": 10, "bootstrap": port}));

    let mut user = User::new(port);
    for n in 0..EACH {
        let (value, newest) = (format!("value {n}"), format!("mutable {n}"));
        assert!(user.ask(|net| net.store_immutable(value.as_bytes()).expect("short")).ok);
        let put =
            |net: &mut Net<'_>| net.store_mutable(&pair(n), n.into(), newest.as_bytes()).expect("short");
        assert!(user.ask(put).ok);
    }
    assert!(user.ask(|net| net.announce(topic, &pair(0), Vec::new())).ok);
    let topic_text = hex::encode(&topic);
    told(
        &mut node,
        json!({"do": "put", "bootstrap": port, "from": EACH, "count": EACH, "topic": topic_text}),
    );

    drop(killed);
    told(&mut node, json!({"do": "kill", "count": 5}));

    let get = json!({"do": "get", "bootstrap": port, "count": 2 * EACH, "topic": topic_text});
    let said = told(&mut node, get);
    assert_eq!(said["missing"], json!([]));
    let announced = [0, EACH].map(|seed| pair(seed).public);
    let keys: Vec<&str> =
        said["keys"].as_array().expect("keys").iter().filter_map(|key| key.as_str()).collect();
    assert!(announced.iter().all(|key| keys.contains(&&*hex::encode(key))), "{keys:?}");
    let mut late = User::new(port);
    for user in [&mut user, &mut late] {
        for n in 0..2 * EACH {
            let (value, newest) = (format!("value {n}"), format!("mutable {n}"));
            let found = user.ask(|net| net.find_immutable(blake2b_256(&[value.as_bytes()])));
            assert_eq!(found.values, [(0, value.into_bytes())]);
            let found = user.ask(|net| net.find_mutable(pair(n).public, 0));
            assert_eq!(found.values.last(), Some(&(n.into(), newest.into_bytes())));
        }
        let met = user.ask(|net| net.lookup(topic)).keys;
        assert!(announced.iter().all(|key| met.contains(key)));
    }
}
