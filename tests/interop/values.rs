//! Values that seckel stores and npm's hyperdht finds, and the other way round, kept by nodes of either.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use seckel::base::{Addr, hex};
use seckel::crypto::hash::blake2b_256;
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{Config, Event, LookupId, Net};
use serde_json::json;

use crate::support::{Node, skipped};

fn config(bootstrap: Option<u16>) -> Config {
    let mut config = Config::default();
    config.dht.host = [127, 0, 0, 1];
    config.dht.bootstrap = bootstrap.map(Addr::loopback).into_iter().collect();
    config
}

fn join(host: &mut Host, config: Config) -> NodeId {
    let id = host.add(config, Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a node");
    while !host.net(id).status().bootstrapped {
        host.wait(None).expect("runs");
    }
    id
}

/// Three nodes of ours on a thread of their own, until the flag falls. Returns the port of the first.
fn network(running: Arc<AtomicBool>) -> (u16, std::thread::JoinHandle<()>) {
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || {
        let mut host = Host::open().expect("a host");
        let mut first = None;
        for _ in 0..3 {
            let mut config = config(first);
            (config.dht.ephemeral, config.dht.firewalled) = (Some(false), false);
            let id = join(&mut host, config);
            first = first.or_else(|| Some(host.net(id).status().local?.port));
        }
        sender.send(first.expect("a port")).expect("the test waits");
        while running.load(Ordering::Relaxed) {
            host.wait(Some(Duration::from_millis(20))).expect("runs");
        }
    });
    (receiver.recv().expect("the network starts"), thread)
}

/// What a question finds, when it has ended; whether it ended well.
fn ask(
    host: &mut Host,
    id: NodeId,
    begin: impl FnOnce(&mut Net<'_>) -> LookupId,
) -> (Vec<(u64, Vec<u8>)>, bool) {
    let wanted = begin(&mut host.net(id));
    let mut found = Vec::new();
    loop {
        match host.wait(Some(Duration::from_secs(30))).expect("runs") {
            Wake::Event(_, Event::Value { lookup, seq, value }) if lookup == wanted => {
                found.push((seq, value))
            }
            Wake::Event(_, Event::LookupDone { lookup, ok }) if lookup == wanted => return (found, ok),
            Wake::TimedOut => panic!("the question does not end"),
            _ => {}
        }
    }
}

fn told(port: u16, node: &mut Node) {
    let mut host = Host::open().expect("a host");
    let id = join(&mut host, config(Some(port)));

    let value = b"from seckel";
    assert!(ask(&mut host, id, |net| net.store_immutable(value).expect("short enough")).1);
    let hash = hex::encode(&blake2b_256(&[value]));
    assert_eq!(node.ask(&json!({ "do": "get", "hash": hash }))["value"], hex::encode(value));

    let put = node.ask(&json!({ "do": "put", "value": hex::encode(b"from node") }));
    let hash = hex::decode(put["hash"].as_str().expect("hex")).expect("hex").try_into().expect("32 bytes");
    let (found, _) = ask(&mut host, id, |net| net.find_immutable(hash));
    assert_eq!(found, [(0, b"from node".to_vec())]);

    let pair = KeyPair::from_seed([1; 32]);
    for (seq, value) in [(1, b"one"), (2, b"two")] {
        assert!(ask(&mut host, id, |net| net.store_mutable(&pair, seq, value).expect("short enough")).1);
    }
    let got = node.ask(&json!({ "do": "get mutable", "key": hex::encode(&pair.public) }));
    assert_eq!(got, json!({ "value": hex::encode(b"two"), "seq": 2 }));

    let seed = hex::encode(&[2; 32]);
    let put = json!({ "do": "put mutable", "seed": seed, "seq": 7, "value": hex::encode(b"seven") });
    let key = node.ask(&put)["key"].as_str().expect("hex").to_owned();
    assert_eq!(key, hex::encode(&KeyPair::from_seed([2; 32]).public));
    let key = KeyPair::from_seed([2; 32]).public;
    let (found, _) = ask(&mut host, id, |net| net.find_mutable(key, 3));
    assert_eq!(found, [(7, b"seven".to_vec())]);
    assert_eq!(ask(&mut host, id, |net| net.find_mutable(key, 8)).0, []);
}

#[test]
fn values_are_kept_by_nodes_of_npm() {
    if skipped("values_are_kept_by_nodes_of_npm") {
        return;
    }
    let mut node = Node::start("values.js", &[]);
    let port = node.ask(&json!({ "do": "start", "count": 3 }))["port"].as_u64().expect("a port") as u16;
    told(port, &mut node);
    node.ask(&json!({ "do": "stop" }));
}

#[test]
fn values_are_kept_by_nodes_of_ours() {
    if skipped("values_are_kept_by_nodes_of_ours") {
        return;
    }
    let running = Arc::new(AtomicBool::new(true));
    let (port, thread) = network(running.clone());
    let mut node = Node::start("values.js", &[]);
    node.ask(&json!({ "do": "start", "count": 1, "bootstrap": port }));
    told(port, &mut node);
    node.ask(&json!({ "do": "stop" }));
    running.store(false, Ordering::Relaxed);
    thread.join().expect("the network ran");
}
