//! Commands that ask the network one thing: text, JSON, exit codes, and what they say when the answer is no.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use ::seckel::base::hex;
use ::seckel::crypto::hash::blake2b_256;
use serde_json::{Value, json};

use super::run;
use super::seckel::{Folder, Seckel};

/// A private network of four nodes, and a way to ask it.
struct Net {
    _dht: Seckel,
    bootstrap: String,
}

impl Net {
    fn new() -> Net {
        let mut dht = Seckel::start(&["testnet", "--nodes", "4"]);
        let bootstrap = dht.line_with("Bootstrap: ").trim_start_matches("Bootstrap: ").to_owned();
        dht.line_with("Fully started");
        Net { _dht: dht, bootstrap }
    }

    fn ask(&self, words: &[&str]) -> Output {
        run(&[words, &["--bootstrap", &self.bootstrap]].concat())
    }

    /// What it says when all is well.
    fn says(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[words, &["--json"]].concat())).expect("JSON")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[test]
fn what_is_announced_is_found_until_it_is_taken_back() {
    let (net, folder) = (Net::new(), Folder::new());
    let file = folder.join("own.key");
    let topic = hex::encode(&blake2b_256(&[b"pears"]));
    let nobody = net.ask(&["lookup", "pears"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains(&topic), "{}", text(&nobody.stderr));
    let told = net.json(&["announce", "pears", "--key", &file]);
    assert_eq!(told["topic"], topic);
    let key = told["key"].as_str().expect("hex").to_owned();
    assert_eq!(net.says(&["lookup", "pears"]), key);
    let found = net.json(&["lookup", &topic]);
    assert_eq!(found, json!({ "topic": topic, "peers": [{ "key": key, "relays": [] }] }));
    let relay = "10.0.0.1:49737";
    net.says(&["unannounce", "pears", "--key", &file]);
    net.says(&["announce", "pears", "--key", &file, "--relay-addresses", relay]);
    assert_eq!(net.json(&["lookup", "pears"])["peers"], json!([{ "key": key, "relays": [relay] }]));
    assert!(net.says(&["unannounce", "pears", "--key", &file]).contains(&key));
    assert_eq!(net.ask(&["lookup", "pears"]).status.code(), Some(1));
    let missing = net.ask(&["unannounce", "pears", "--key", &folder.join("none.key")]);
    assert_eq!(missing.status.code(), Some(4));
}

#[test]
fn a_listener_is_found_and_a_node_answers() {
    let (net, folder) = (Net::new(), Folder::new());
    let file = folder.join("host.key");
    let mut host = Seckel::start(&["chat", "--key", &file, "--bootstrap", &net.bootstrap]);
    let key = host.line().strip_prefix("listening on: ").expect("the key").to_owned();
    let found = net.json(&["find-peer", &key]);
    let nodes = found["nodes"].as_array().expect("a list");
    assert!(!nodes.is_empty() && found["key"] == *key, "{found}");
    let node = nodes[0].as_str().expect("an address").to_owned();
    let pong: Value = serde_json::from_str(&text(&run(&["ping", &node, "--json"]).stdout)).expect("JSON");
    assert_eq!(pong["from"], *node);
    assert!(pong["seen"].as_str().expect("an address").starts_with("127.0.0.1:"), "{pong}");
    let plain = run(&["ping", &node]);
    assert_eq!(plain.status.code(), Some(0));
    assert!(text(&plain.stdout).starts_with(&format!("{node} answered in ")));
    host.interrupt();
    assert_eq!(net.ask(&["find-peer", &key]).status.code(), Some(1), "it was unannounced");
}

#[test]
fn nobody_at_an_address_is_told_as_such() {
    let unused = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = unused.local_addr().expect("bound").to_string();
    let (_dht, bootstrap) = super::network();
    for words in [
        &["ping", &*address][..],
        &["ping", &address, "--bootstrap", &bootstrap],
        &["lookup", "pears", "--bootstrap", &address],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(3), "{words:?}");
        let told = text(&output.stderr);
        assert!(told.contains("no answer") && told.contains(&address), "{told}");
        assert!(output.stdout.is_empty());
    }
}

fn put_input(bootstrap: &str, value: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(["put", "-", "--bootstrap", bootstrap])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("seckel starts");
    child.stdin.take().expect("piped").write_all(value).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn values_are_kept_byte_for_byte_under_their_hash() {
    let net = Net::new();
    let bytes: Vec<u8> = (0..=255).collect();
    let output = put_input(&net.bootstrap, &bytes);
    let hash = text(&output.stdout);
    assert_eq!(hash, hex::encode(&blake2b_256(&[&bytes])), "{}", text(&output.stderr));
    assert_eq!(net.ask(&["get", &hash]).stdout, bytes);
    let found = net.json(&["get", &hash]);
    assert_eq!(found, json!({ "seq": null, "value": hex::encode(&bytes), "text": null }));
    let hash = net.json(&["put", "hello world"])["hash"].as_str().expect("hex").to_owned();
    assert_eq!(net.ask(&["get", &hash]).stdout, b"hello world");
    let none = net.ask(&["get", &"07".repeat(32)]);
    assert_eq!((none.status.code(), &none.stdout[..]), (Some(1), &b""[..]));
    assert!(text(&none.stderr).contains("no value"));
    let long = put_input(&net.bootstrap, &[1; 1200]);
    assert_eq!(long.status.code(), Some(2));
    assert!(text(&long.stderr).contains("1000"), "{}", text(&long.stderr));
}

#[test]
fn a_mutable_value_counts_up_and_an_old_number_is_refused() {
    let (net, folder) = (Net::new(), Folder::new());
    let file = folder.join("own.key");
    let put = |words: &[&str]| net.json(&[&["put", "--mutable", "--key", &file], words].concat());
    let first = put(&["one"]);
    let key = first["key"].as_str().expect("hex").to_owned();
    assert_eq!(first["seq"], 0);
    assert_eq!(put(&["two"]), json!({ "key": key, "seq": 1 }));
    assert_eq!(put(&["eight", "--seq", "8"]), json!({ "key": key, "seq": 8 }));
    let found = net.json(&["get", &key, "--latest"]);
    assert_eq!((&found["seq"], &found["text"]), (&json!(8), &json!("eight")));
    assert_eq!(net.ask(&["get", &key]).stdout, b"eight");
    let old = net.ask(&["put", "--mutable", "--key", &file, "five", "--seq", "5"]);
    assert_eq!(old.status.code(), Some(1));
    let told = text(&old.stderr);
    assert!(told.contains('8') && told.contains("use 9"), "{told}");
    assert_eq!(net.ask(&["put", "--mutable", "no key"]).status.code(), Some(2));
}

/// On loopback everybody sees everybody at the same address.
#[test]
fn the_nat_is_told_with_what_it_means() {
    let net = Net::new();
    let told = net.ask(&["nat", "--json"]);
    assert!(matches!(told.status.code(), Some(0 | 1)), "{}", text(&told.stderr));
    let nat: Value = serde_json::from_str(&text(&told.stdout)).expect("JSON");
    let kind = nat["nat"].as_str().expect("text").to_owned();
    assert!(["open", "consistent"].contains(&&*kind), "{nat}");
    assert!(nat["samples"].as_u64() > Some(0));
    assert_eq!(nat["with"]["open"], "direct");
    let plain = net.says(&["nat"]);
    assert!(plain.contains(&format!("NAT: {kind}")), "{plain}");
    assert!(plain.lines().any(|line| line.starts_with("With random: ")), "{plain}");
}
