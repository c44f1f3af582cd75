//! `seckel dht`: what it keeps over restarts, and its statistics.

use std::process::Command;

use serde_json::Value;

use super::run;
use super::seckel::{Folder, Seckel};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn testnet() -> (Seckel, String) {
    let mut dht = Seckel::start(&["testnet", "--nodes", "4"]);
    let bootstrap = dht.line_with("Bootstrap: ").trim_start_matches("Bootstrap: ").to_owned();
    dht.line_with("Fully started");
    (dht, bootstrap)
}

fn node(storage: &str, bootstrap: &str) -> (Seckel, String) {
    let args = ["dht", "--bootstrap", bootstrap, "--host", "127.0.0.1", "--persistent", "--storage", storage];
    let mut node = Seckel::start(&[&args[..], &["--stats", "1", "--json"]].concat());
    let bound: Value = serde_json::from_str(&node.line()).expect("every line is JSON");
    assert_eq!((&bound["event"], &bound["node"]), (&Value::from("bound"), &Value::from(0)), "{bound}");
    let started: Value = serde_json::from_str(&node.line()).expect("every line is JSON");
    assert_eq!(
        (&started["event"], &started["nodes"]),
        (&Value::from("started"), &Value::from(1)),
        "{started}"
    );
    (node, bound["address"].as_str().expect("text").to_owned())
}

/// The next line of statistics.
fn stats(node: &mut Seckel) -> Value {
    serde_json::from_str(&node.line_with("\"statistics\"")).expect("JSON")
}

#[test]
fn a_node_keeps_its_address_and_whom_it_knows_over_restarts() {
    let folder = Folder::new();
    let storage = folder.join("node");
    let (dht, bootstrap) = testnet();
    let (mut first, address) = node(&storage, &bootstrap);
    let told = stats(&mut first);
    assert!(told["nodes_known"].as_u64() >= Some(3), "{told}");
    assert_eq!(address, told["address"].as_str().expect("text"), "{told}");
    first.line_with("\"role\":\"persistent\"");
    let second = run(&["dht", "--bootstrap", &bootstrap, "--storage", &storage]);
    assert_eq!(second.status.code(), Some(4));
    assert!(text(&second.stderr).contains("in use"), "{}", text(&second.stderr));
    first.interrupt();
    // With nobody at the address it once joined through: those that it knows are enough.
    let nowhere = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let dead = nowhere.local_addr().expect("bound").to_string();
    let (mut again, same) = node(&storage, &dead);
    assert_eq!(same, address, "the same port, and so the same id");
    let told = stats(&mut again);
    assert!(told["responses"].as_u64() > Some(0), "they answer: {told}");
    again.kill();
    drop(dht);
    std::fs::write(folder.join("node/node-0"), "seckel dht 1\nport what").expect("written");
    let damaged = run(&["dht", "--bootstrap", &dead, "--storage", &storage]);
    assert_eq!(damaged.status.code(), Some(4));
    let told = text(&damaged.stderr);
    assert!(told.contains("node-0") && told.contains("line 2"), "{told}");
}

/// What is said of a node is what it is.
#[test]
fn a_node_is_open_or_ephemeral_as_it_is_told() {
    let (_dht, bootstrap) = testnet();
    let args = ["dht", "--bootstrap", &bootstrap, "--host", "127.0.0.1", "--stats", "1", "--json"];
    for (flag, role) in [("--persistent", "persistent"), ("--ephemeral", "ephemeral")] {
        let mut node = Seckel::start(&[&args[..], &["--open", flag]].concat());
        let told = stats(&mut node);
        assert_eq!((&told["firewalled"], &told["role"]), (&Value::Bool(false), &Value::from(role)), "{told}");
    }
    assert_eq!(run(&["dht", "--persistent", "--ephemeral"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn usr1_asks_for_statistics() {
    let (_dht, bootstrap) = testnet();
    let args = ["dht", "--bootstrap", &bootstrap, "--host", "127.0.0.1", "--nodes", "2"];
    let mut nodes = Seckel::start(&args);
    nodes.line_with("Fully started 2");
    for _ in 0..2 {
        let done = Command::new("kill").args(["-USR1", &nodes.id().to_string()]).status().expect("kill");
        assert!(done.success());
        for number in 0..2 {
            let line = nodes.line_with(", requests ");
            assert!(line.starts_with(&format!("Node #{number}: 127.0.0.1:")), "{line}");
        }
    }
    nodes.interrupt();
}

/// Each step follows from the one before and from answers, down to the last: nothing on the way waits for a deadline.
/// How long it takes is for `seckel-bench footprint` to say.
#[test]
fn a_node_joins_by_answers_and_not_by_deadlines() {
    let folder = Folder::new();
    let (_dht, bootstrap) = testnet();
    let file = folder.join("transcript");
    let args = ["dht", "--bootstrap", &bootstrap, "--host", "127.0.0.1", "--trace", &file];
    let mut node = Seckel::start(&args);
    node.line_with("Fully started");
    node.interrupt();
    let transcript = std::fs::read_to_string(&file).expect("a transcript");
    let joined =
        transcript.lines().position(|line| line.ends_with("event node -: bootstrapped")).expect("it joins");
    let before: Vec<&str> = transcript.lines().take(joined).collect();
    let mut rest = before.iter();
    for step in [
        "socket 0: bound to ",
        "socket 1: bound to ",
        "begins: FIND_NODE ",
        &format!(" out dht_rpc socket 1 with {bootstrap}: FIND_NODE request "),
        &format!(" in dht_rpc socket 1 with {bootstrap}: response "),
        " out dht_rpc socket 1 with ",
        " in dht_rpc socket 1 with ",
    ] {
        assert!(rest.any(|line| line.contains(step)), "{step:?} in its place:\n{}", before.join("\n"));
    }
    let moved = |line: &&&str| line.split(' ').nth(3).is_some_and(|kind| ["in", "due"].contains(&kind));
    let last = before.iter().rfind(moved).expect("something came in");
    assert!(last.contains(" in dht_rpc "), "an answer is what completes it: {last}");
}
