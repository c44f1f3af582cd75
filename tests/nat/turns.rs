//! Two who need a search of one server at the same moment, behind boxes with drawn ports: one is told to try later,
//! does so, and is served as well. hyperdht.135, hyperdht.137

use std::time::Duration;

use serde_json::{Value, json};

use super::lab::{Kind, Lab, Nodes, Program, skipped, without_node};

/// A search, the rest after it, waits and another search; more waits if the ports are found late.
const BOTH: Duration = Duration::from_secs(150);
/// The shortest wait of who is told to try later. hyperdht.136
const WAIT_MS: u64 = 10_000;
const ECHO_BYTES: usize = 1 << 20;

/// What both clients say of connecting at once: milliseconds until they were open.
fn both_at_once(lab: &Lab, server: &mut Program, clients: &mut [Program; 2]) -> [u64; 2] {
    for program in [&mut *server].into_iter().chain(clients.iter_mut()) {
        program.join();
        program.joined();
    }
    server.ask(&json!({"do": "listen"}));
    let key = server.listening();
    for client in clients.iter_mut() {
        client.ask(&json!({"do": "connect", "key": key, "echo": ECHO_BYTES}));
    }
    let opened = clients.each_mut().map(|client| {
        let said = client.hear_any(&["open", "failed"], BOTH).unwrap_or(Value::Null);
        assert_eq!(said["event"], "open", "{said}");
        assert_eq!(client.hear("echo", BOTH)["whole"], true);
        said["ms"].as_u64().expect("milliseconds")
    });
    for client in clients {
        client.close();
    }
    server.close();
    // Nothing of these calls helps the next.
    lab.set("reboot", &["nat-b"]);
    lab.set("reboot", &["nat-c"]);
    opened
}

#[test]
fn who_is_told_to_try_later_comes_back() {
    if skipped("who_is_told_to_try_later_comes_back") || without_node() {
        return;
    }
    let kinds = ["--a", "restricted", "--b", "symmetric", "--c", "symmetric"];
    let lab = Lab::with_dht(&kinds, Nodes::Seckel);
    let mut clients = ["b", "c"].map(|host| lab.end(host, Kind::Seckel));
    for kind in [Kind::Node, Kind::Seckel] {
        let mut server = lab.end("a", kind);
        let opened = both_at_once(&lab, &mut server, &mut clients);
        println!("{kind:?} serves: {opened:?}");
        assert!(opened.iter().any(|ms| *ms >= WAIT_MS), "{opened:?}: one of them waited");
    }
}
