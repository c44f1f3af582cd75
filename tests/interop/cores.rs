//! `seckel core` and `seckel bee` beside the real packages: folders that they wrote, cores that they seed and read.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::seckel::{Folder, Seckel};
use super::support::{Node, skipped};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(args)
        .env_remove("SECKEL_BOOTSTRAP")
        .output()
        .expect("seckel starts")
}

fn good(args: &[&str]) -> Vec<u8> {
    let output = run(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn told(args: &[&str]) -> Value {
    serde_json::from_slice(&good(args)).expect("JSON")
}

fn network() -> (Seckel, String) {
    let mut dht = Seckel::start(&["testnet", "--nodes", "4"]);
    let bootstrap = dht.line_with("Bootstrap: ").trim_start_matches("Bootstrap: ").to_owned();
    dht.line_with("Fully started");
    (dht, bootstrap)
}

fn lines() -> Vec<String> {
    (0..300).map(|n| format!("line {n} {}", "x".repeat(n % 50))).collect()
}

fn text() -> Vec<u8> {
    (lines().join("\n") + "\n").into_bytes()
}

fn entries() -> Vec<(String, String)> {
    (0..400).map(|n| (format!("key {n:03}"), format!("value {n}"))).collect()
}

/// As `seckel bee export` writes them.
fn exported(skip: usize) -> Vec<u8> {
    let lines = entries().into_iter().skip(skip);
    let lines = lines.map(|(key, value)| format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n"));
    lines.collect::<String>().into_bytes()
}

/// A store of corestore 6 and a core of hypercore 10: read with the commands, written on, and read by hypercore
/// 10 again.
#[test]
fn folders_of_the_packages_are_read_and_written_on() {
    if skipped("cores: folders") {
        return;
    }
    let folder = Folder::new();
    let (dir, single) = (&*folder.join("store"), &*folder.join("single"));
    let mut node = Node::start("cores.js", &[]);
    let keys = node
        .ask(&json!({ "do": "write", "dir": dir, "single": single, "lines": lines(), "entries": entries() }));
    let info = told(&["core", "info", dir, "--name", "log", "--json"]);
    assert_eq!((&info["key"], &info["length"], &info["fork"]), (&keys["log"], &json!(300), &json!(1)));
    assert_eq!(info["writable"], true);
    assert!(good(&["core", "cat", dir, "--name", "log", "--lines"]) == text());
    assert!(good(&["bee", "export", dir, "--name", "names"]) == exported(1));
    assert_eq!(good(&["bee", "get", dir, "key 123", "--name", "names"]), b"value 123");
    let before = (keys["length"].as_u64().expect("a number") - 1).to_string();
    assert!(good(&["bee", "export", dir, "--name", "names", "--at", &before]) == exported(0));
    assert_eq!(String::from_utf8_lossy(&good(&["core", "list", dir])).lines().count(), 4);
    // store.namespace('app').namespace('inner'): found by the keys that follow.
    for (space, key) in [(&["app"][..], "app"), (&["app", "inner"], "inner")] {
        let space: Vec<&str> = space.iter().flat_map(|name| ["--namespace", name]).collect();
        let with = |words: &[&'static str]| [words, &[dir, "--name", "log"], &space[..]].concat();
        assert_eq!(told(&[&with(&["core", "info"])[..], &["--json"]].concat())["key"], keys[key]);
        assert_eq!(good(&with(&["core", "cat"])), format!("{key} one").into_bytes());
    }

    assert_eq!(told(&["core", "info", single, "--json"])["key"], keys["single"]);
    assert!(good(&["core", "cat", single, "--lines"]) == text());
    good(&["core", "truncate", single, "2"]);
    let opened = node.ask(&json!({ "do": "open", "single": single }));
    assert_eq!((&opened["key"], &opened["fork"]), (&keys["single"], &json!(1)));
    assert_eq!((&opened["blocks"], &opened["writable"]), (&json!(lines()[..2]), &json!(true)));
    // One that we made.
    let ours = &*folder.join("ours");
    let made = told(&["core", "create", ours, "--json"]);
    good(&["bee", "put", ours, "a", "b"]);
    let opened = node.ask(&json!({ "do": "open", "single": ours }));
    assert_eq!((&opened["key"], opened["blocks"].as_array().map(Vec::len)), (&made["key"], Some(2)));
    node.finish();
}

/// A seeder with corestore 7 and hyperswarm: copied, and asked by key.
#[test]
fn what_node_seeds_is_downloaded_and_asked() {
    if skipped("cores: a seeder of Node's") {
        return;
    }
    let folder = Folder::new();
    let copy = &*folder.join("copy");
    let (_dht, bootstrap) = network();
    let mut node = Node::start("cores.js", &[]);
    let keys =
        node.ask(&json!({ "do": "seed", "bootstrap": bootstrap, "lines": lines(), "entries": entries() }));
    let [log, names, secret] =
        ["log", "names", "secret"].map(|name| keys[name].as_str().expect("a key").to_owned());
    let there = ["--bootstrap", &bootstrap];
    let with = |words: &[&str]| good(&[words, &there].concat());
    let part = with(&["core", "download", &log, "--storage", copy, "--start", "250", "--linear", "--json"]);
    let part: Value = serde_json::from_slice(&part).expect("JSON");
    assert_eq!((&part["length"], &part["received_blocks"]), (&json!(300), &json!(50)));
    with(&["core", "download", &log, "--storage", copy]);
    assert!(good(&["core", "cat", copy, "--lines"]) == text());
    assert_eq!(with(&["core", "get", &log, "7"]), lines()[7].as_bytes());
    assert_eq!(with(&["bee", "get", &names, "key 321"]), b"value 321");
    assert!(with(&["bee", "export", &names]).starts_with(&exported(0)), "then come the sub-databases");
    assert_eq!(with(&["bee", "get", &names, "ada", "--sub", "users"]), b"ada of users");
    assert_eq!(with(&["bee", "get", &names, "eve", "--sub", "users", "--sub", "more"]), b"deep");
    let users = with(&["bee", "list", &names, "--sub", "users", "--lt", "c"]);
    assert_eq!(users, b"ada\tada of users\nbob\tbob of users\n");
    let key = "07".repeat(32);
    let plain = with(&["core", "cat", &secret, "--lines", "--encryption-key", &key]);
    assert_eq!(plain, (lines()[..3].join("\n") + "\n").as_bytes());
    node.ask(&json!({ "do": "leave" }));
    node.finish();
}

/// `seckel core seed`, read by corestore 7 and hyperbee over hyperswarm.
#[test]
fn what_seckel_seeds_is_read_by_node() {
    if skipped("cores: a reader of Node's") {
        return;
    }
    let folder = Folder::new();
    let dir = &*folder.join("store");
    let (_dht, bootstrap) = network();
    for (args, input) in [
        (["core", "append", dir, "--name", "log", "--lines"], text()),
        (["bee", "import", dir, "--name", "names", "--unsynced"], exported(0)),
    ] {
        let file = folder.join("input");
        std::fs::write(&file, input).expect("a file");
        let input = std::fs::File::open(&file).expect("a file");
        let done = Command::new(env!("CARGO_BIN_EXE_seckel")).args(args).stdin(input).output();
        assert!(done.expect("seckel starts").status.success());
    }
    let mut seeder = Seckel::start(&["core", "seed", dir, "--bootstrap", &bootstrap]);
    for _ in 0..2 {
        assert!(seeder.line().starts_with("Seeding: "));
    }
    let key = |name| told(&["core", "info", dir, "--name", name, "--json"])["key"].clone();
    let mut node = Node::start("cores.js", &[]);
    let read = node.ask(&json!({
        "do": "read", "bootstrap": bootstrap, "log": key("log"), "names": key("names"), "key": "key 321",
    }));
    assert_eq!(read["blocks"], json!(lines()));
    assert_eq!(read["value"], "value 321");
    assert_eq!(read["entries"], json!(entries()));
    node.ask(&json!({ "do": "leave" }));
    node.finish();
    seeder.interrupt();
}
