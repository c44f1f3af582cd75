//! The commands that ask the network, on a network of ours and on one of npm's, with npm's hyperdht asking beside them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use seckel::base::hex;
use seckel::crypto::sign::KeyPair;
use serde_json::{Value, json};

use super::seckel::{Folder, Seckel};
use super::support::{Node, skipped};

/// A network, its port, and Node to ask it with.
struct Table {
    node: Node,
    port: u64,
    _ours: Option<Seckel>,
}

fn table(ours: bool) -> Table {
    let mut node = Node::start("hyperdht.js", &[]);
    if ours {
        let mut dht = Seckel::start(&["testnet", "--nodes", "4"]);
        let line = dht.line_with("Bootstrap: ");
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        dht.line_with("Fully started");
        return Table { node, port, _ours: Some(dht) };
    }
    let said = node.ask(&json!({ "do": "dht", "count": 4, "port": crate::support::free_port() }));
    let port = said["bootstrap"].as_u64().unwrap_or_else(|| panic!("{said}"));
    Table { node, port, _ours: None }
}

impl Table {
    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(words)
            .args(["--bootstrap", &format!("127.0.0.1:{}", self.port)])
            .output()
            .expect("seckel starts")
    }

    /// What seckel says as JSON, and its exit code.
    fn json(&self, words: &[&str]) -> (Value, Option<i32>) {
        let output = self.run(&[words, &["--json"]].concat());
        let value = serde_json::from_slice(&output.stdout);
        let value =
            value.unwrap_or_else(|_| panic!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)));
        (value, output.status.code())
    }

    fn node(&mut self, mut message: Value) -> Value {
        message["bootstrap"] = json!(self.port);
        self.node.ask(&message)
    }
}

fn key_of(seed: u8) -> String {
    hex::encode(&KeyPair::from_seed([seed; 32]).public)
}

fn keys(peers: &Value) -> Vec<String> {
    let peers = peers["peers"].as_array().expect("a list").iter();
    let mut keys: Vec<String> = peers.map(|peer| peer["key"].as_str().expect("hex").to_owned()).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn both_announce_and_find(ours: bool) {
    let mut table = table(ours);
    let folder = Folder::new();
    let (file, topic) = (folder.join("own.key"), "07".repeat(32));
    let made = table.json(&["announce", &topic, "--key", &file]).0;
    let mine = made["key"].as_str().expect("hex").to_owned();
    table.node(
        json!({ "do": "announce", "topic": topic, "seed": 5, "relays": [{ "host": "1.2.3.4", "port": 5 }] }),
    );
    let mut both = vec![mine.clone(), key_of(5)];
    both.sort();
    assert_eq!(keys(&table.node(json!({ "do": "lookup", "topic": topic }))), both);
    let (found, code) = table.json(&["lookup", &topic]);
    assert_eq!((keys(&found), code), (both, Some(0)));
    let theirs = found["peers"].as_array().expect("a list").iter().find(|peer| peer["key"] == *key_of(5));
    assert_eq!(theirs.expect("it is there")["relays"], json!(["1.2.3.4:5"]));
    assert_eq!(table.run(&["unannounce", &topic, "--key", &file]).status.code(), Some(0));
    assert_eq!(keys(&table.node(json!({ "do": "lookup", "topic": topic }))), [key_of(5)]);
    table.node(json!({ "do": "unannounce", "topic": topic, "seed": 5 }));
    assert_eq!(table.json(&["lookup", &topic]), (json!({ "topic": topic, "peers": [] }), Some(1)));
}

fn both_listen_and_are_found(ours: bool) {
    let mut table = table(ours);
    let bootstrap = format!("127.0.0.1:{}", table.port);
    table.node(json!({ "do": "listen", "seed": 7, "open": true }));
    let (found, code) = table.json(&["find-peer", &key_of(7)]);
    assert_eq!(code, Some(0), "{found}");
    let node = found["nodes"][0].as_str().expect("an address").to_owned();
    let pong =
        Command::new(env!("CARGO_BIN_EXE_seckel")).args(["ping", &node]).output().expect("seckel starts");
    assert_eq!(pong.status.code(), Some(0), "{}", String::from_utf8_lossy(&pong.stderr));
    let mut host = Seckel::start(&["chat", "--bootstrap", &bootstrap]);
    let key = host.line().strip_prefix("listening on: ").expect("a key").to_owned();
    assert_eq!(keys(&table.node(json!({ "do": "find", "key": key }))), [&*key]);
    host.interrupt();
    assert_eq!(table.node(json!({ "do": "find", "key": key })), json!({ "peers": [] }));
    table.node(json!({ "do": "unlisten", "seed": 7 }));
    assert_eq!(table.json(&["find-peer", &key_of(7)]).1, Some(1));
}

/// A stream's two ends: `seckel connect` with an echo of Node's, `seckel listen` with a caller of Node's.
fn both_ends_of_a_pipe(ours: bool) {
    let mut table = table(ours);
    let bootstrap = format!("127.0.0.1:{}", table.port);
    table.node(json!({ "do": "listen", "seed": 8, "open": true }));
    let piped = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(words)
            .args(["--bootstrap", &bootstrap])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("seckel starts")
    };
    let mut caller = piped(&["connect", &key_of(8)]);
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut input, sent) = (caller.stdin.take().expect("piped"), bytes.clone());
    let writer = std::thread::spawn(move || input.write_all(&sent).expect("it reads"));
    let echoed = caller.wait_with_output().expect("it ends");
    writer.join().expect("it wrote");
    assert_eq!(echoed.status.code(), Some(0), "{}", String::from_utf8_lossy(&echoed.stderr));
    assert!(echoed.stdout == bytes, "{} bytes came back", echoed.stdout.len());

    let mut listener = piped(&["listen"]);
    let mut told = BufReader::new(listener.stderr.take().expect("piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("text");
    let key = line.trim().strip_prefix("seckel: listening on: ").expect("a key").to_owned();
    // It waits for somebody, and says this as soon as they are there.
    listener.stdin.take().expect("piped").write_all(b"hello back").expect("it reads");
    let said = table.node(json!({ "do": "connect", "key": key }));
    assert_eq!((&said["data"], &said["key"]), (&json!("hello back"), &json!(key)));
    let heard = listener.wait_with_output().expect("it ends");
    assert_eq!(heard.stdout, b"hello");
    assert_eq!(heard.status.code(), Some(0));
}

fn both_put_and_get(ours: bool) {
    let mut table = table(ours);
    // Node puts `first` as 1, `second` as 2, and `for ever`.
    table.node(json!({ "do": "mutable", "seed": 3 }));
    let (found, code) = table.json(&["get", &key_of(3), "--latest"]);
    assert_eq!((&found["seq"], &found["text"], code), (&json!(2), &json!("second"), Some(0)));
    let hash = hex::encode(&seckel::crypto::hash::blake2b_256(&[b"for ever"]));
    assert_eq!(table.run(&["get", &hash]).stdout, b"for ever");
    // The same key goes on with seckel: a number that is not above Node's is refused by all nodes.
    let folder = Folder::new();
    let file = folder.join("three.key");
    std::fs::write(&file, hex::encode(&[3; 32])).expect("written");
    let (put, code) = table.json(&["put", "--mutable", "--key", &file, "third"]);
    assert_eq!((put, code), (json!({ "key": key_of(3), "seq": 3 }), Some(0)));
    let (old, code) = table.json(&["put", "--mutable", "--key", &file, "--seq", "2", "late"]);
    assert_eq!((old, code), (json!({ "error": "outdated", "seq": 2, "known": 3 }), Some(1)));
}

#[test]
fn commands_and_node_see_the_same_on_a_network_of_ours() {
    if skipped("commands_and_node_see_the_same_on_a_network_of_ours") {
        return;
    }
    both_announce_and_find(true);
    both_listen_and_are_found(true);
    both_put_and_get(true);
    both_ends_of_a_pipe(true);
}

#[test]
fn commands_and_node_see_the_same_on_a_network_of_npms() {
    if skipped("commands_and_node_see_the_same_on_a_network_of_npms") {
        return;
    }
    both_announce_and_find(false);
    both_listen_and_are_found(false);
    both_put_and_get(false);
    both_ends_of_a_pipe(false);
}
