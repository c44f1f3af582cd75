//! What users of the auction notice: servers that are killed and come back, one-shots, JSON, watchers, copies of
//! copies.

use std::io::Write;
use std::process::{Command, Stdio};

use ::seckel::base::{Entropy, Seeded};
use ::seckel::wire;
use ::seckel::wire::auction::{Bid, Entry, Step};
use serde_json::Value;

use super::network;
use super::seckel::{Folder, Seckel};

/// A DHT, a server's folder, and its keys.
struct Scene {
    folder: Folder,
    bootstrap: String,
    keys: [String; 2],
    _dht: Seckel,
}

/// What a one-shot came to.
struct Said {
    code: Option<i32>,
    text: String,
    warning: String,
}

impl Said {
    fn json(&self) -> Value {
        let line = self.text.lines().last().unwrap_or_else(|| panic!("nothing; {}", self.warning));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

impl Scene {
    /// With a server, which is returned beside it.
    fn new() -> (Scene, Seckel) {
        let folder = Folder::new();
        let (dht, bootstrap) = network();
        let (server, keys) = start_server(&bootstrap, &folder.join("server"));
        (Scene { folder, bootstrap, keys, _dht: dht }, server)
    }

    fn server(&self) -> Seckel {
        let (server, keys) = start_server(&self.bootstrap, &self.folder.join("server"));
        assert_eq!(keys, self.keys, "the keys stay");
        server
    }

    fn client(&self, name: &str) -> Seckel {
        let storage = self.folder.join(name);
        let [server, core] = &self.keys;
        Seckel::start(&[
            "auction",
            "client",
            server,
            core,
            "--bootstrap",
            &self.bootstrap,
            "--storage",
            &storage,
        ])
    }

    fn args(&self, name: &str, words: &[&str]) -> Vec<String> {
        let storage = self.folder.join(name);
        let [server, core] = &self.keys;
        let ends =
            ["--server", server, "--core", core, "--bootstrap", &self.bootstrap, "--storage", &storage];
        ["auction"].iter().chain(words).chain(&ends).map(|word| (*word).to_owned()).collect()
    }

    fn once(&self, name: &str, words: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(self.args(name, words))
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Said { code: output.status.code(), text: text(&output.stdout), warning: text(&output.stderr) }
    }

    /// What a one-shot says, if it is done.
    fn done(&self, name: &str, words: &[&str]) -> String {
        let said = self.once(name, words);
        assert_eq!(said.code, Some(0), "{words:?}: {} {}", said.text, said.warning);
        said.text
    }
}

fn start_server(bootstrap: &str, storage: &str) -> (Seckel, [String; 2]) {
    let mut server = Seckel::start(&["auction", "server", "--bootstrap", bootstrap, "--storage", storage]);
    let keys = ["Server Public Key: ", "Database Core Key: "].map(|label| {
        let line = server.line_with(label);
        line.strip_prefix(label).expect("on a line of its own").to_owned()
    });
    (server, keys)
}

fn ask(client: &mut Seckel, line: &str) -> String {
    client.say(line);
    client.line()
}

#[test]
fn one_shots_say_it_in_their_exit_codes() {
    let (scene, server) = Scene::new();
    assert_eq!(scene.done("a", &["create", "A pear", "--reserve", "50"]), "Created: 1 \"A pear\"");
    assert_eq!(scene.done("b", &["bid", "1", "40"]), "Bid: 40 on 1 \"A pear\"");
    let said = scene.once("b", &["bid", "1", "40", "--json"]);
    assert_eq!((said.code, &said.json()["result"]), (Some(0), &Value::from("already bid")));
    let said = scene.once("c", &["bid", "1", "40"]);
    assert_eq!((said.code, said.text.as_str()), (Some(1), "Error: Too low: the highest bid is 40"));
    let said = scene.once("c", &["close", "1", "--json"]);
    assert_eq!((said.code, &said.json()["result"]), (Some(1), &Value::from("refused")));
    let said = scene.once("c", &["bid", "7", "40", "--json"]);
    assert_eq!((said.code, &said.json()["result"]), (Some(1), &Value::from("no such auction")));
    for wrong in [
        &["bid", "1", "-5"][..],
        &["bid", "1", "05"],
        &["bid", "1", "9007199254740992"],
        &["bid", "x", "5"],
        &["create", "a", "--ends", "soon"],
        &["create", "a", "--reserve", "1e3"],
        &["dance"],
    ] {
        assert_eq!(scene.once("c", wrong).code, Some(2), "{wrong:?}");
    }
    let said = scene.once("c", &["create", " padded"]);
    assert_eq!(said.code, Some(1), "{}", said.text);
    assert_eq!(scene.done("c", &["list", "--open"]), "1 \"A pear\": 40 bid, 1 bid");
    let said = scene.once("a", &["close", "1", "--json"]);
    assert_eq!((said.code, &said.json()["auction"]["winner"]), (Some(0), &Value::Null), "below the reserve");
    assert_eq!(scene.done("c", &["list", "--open"]), "");
    let said = scene.once("b", &["bid", "1", "60"]);
    assert_eq!((said.code, said.text.as_str()), (Some(1), "Error: The auction is closed"));
    let shown = scene.once("b", &["show", "1", "--json"]).json();
    assert_eq!(shown["auction"]["state"], "closed");
    assert_eq!(shown["bids"][0]["amount"], 40);
    let verified = scene.once("b", &["verify", "1", "--json"]);
    assert_eq!((verified.code, &verified.json()["holds"]), (Some(0), &Value::Bool(true)));
    assert_eq!(verified.json()["signatures"], serde_json::json!({ "create": 1, "bid": 1, "close": 1 }));

    // Without the server: what is here is said, with a warning; nothing is written.
    server.interrupt();
    let said = scene.once("b", &["show", "1", "--json"]);
    assert_eq!((said.code, &said.json()["stale"]), (Some(0), &Value::Bool(true)));
    assert!(said.warning.contains("may be old"), "{}", said.warning);
    let said = scene.once("b", &["create", "b"]);
    assert_eq!((said.code, said.text.as_str()), (Some(3), "Error: Server unreachable"));
    let said = scene.once("fresh", &["list"]);
    assert_eq!(said.code, Some(3), "{}", said.text);
}

#[test]
fn every_command_explains_itself() {
    for word in ["server", "client", "create", "bid", "close", "list", "show", "watch", "verify"] {
        let output = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(["auction", word, "--help"])
            .output()
            .expect("it runs");
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(help.contains("Examples:\n  seckel auction "), "{word}: {help}");
    }
}

/// Kills the server and a client in the middle of bids, again and again: every bid for which the answer left is there.
#[test]
fn what_was_answered_outlives_hard_kills() {
    let (scene, mut server) = Scene::new();
    let mut draw = Seeded::new(20);
    assert_eq!(scene.done("alice", &["create", "A pear"]), "Created: 1 \"A pear\"");
    let mut amount = 0;
    let mut taken = Vec::new();
    let mut own = None;
    for _ in 0..12 {
        let mut bidder = scene.client("bob");
        let key = ask(&mut bidder, "whoami");
        assert_eq!(*own.get_or_insert(key.clone()), key, "the key outlives a hard kill");
        for n in 1..=8 {
            bidder.say(&format!("bid 1 {}", amount + n));
        }
        for _ in 0..draw.below(8) {
            let line = bidder.line();
            let rest = line.strip_prefix("Bid: ").unwrap_or_else(|| panic!("{line}"));
            taken.push(rest.split(' ').next().expect("an amount").parse::<u64>().expect("a number"));
        }
        server.kill();
        bidder.kill();
        amount += 8;
        server = scene.server();
    }
    // A step of its own: what is read after it is not older than it.
    assert_eq!(scene.done("bob", &["create", "last"]).split(' ').next(), Some("Created:"));
    let shown = scene.once("bob", &["show", "1", "--json"]).json();
    let there: Vec<u64> =
        shown["bids"].as_array().expect("bids").iter().filter_map(|b| b["amount"].as_u64()).collect();
    assert!(taken.len() > 15, "{}", taken.len());
    // `show` has the last hundred, and there are no more.
    for amount in &taken {
        assert!(there.contains(amount), "{amount} is gone");
    }
    assert_eq!(shown["auction"]["highest"]["key"], own.expect("a key").as_str());
    let verified = scene.once("carol", &["verify", "--json"]);
    assert_eq!(
        (verified.code, &verified.json()["holds"]),
        (Some(0), &Value::Bool(true)),
        "{}",
        verified.text
    );
    let audit = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(["audit", "core", &scene.folder.join("server")])
        .output()
        .expect("it runs");
    assert_eq!(audit.status.code(), Some(0), "{}", String::from_utf8_lossy(&audit.stdout));
    server.interrupt();
}

/// Watchers are told each step as it comes, and that an auction is over when its time is.
#[test]
fn watchers_are_told_what_happens() {
    let (scene, server) = Scene::new();
    assert_eq!(scene.done("alice", &["create", "A pear", "--ends", "6s"]), "Created: 1 \"A pear\"");
    let words: Vec<String> = scene.args("watcher", &["watch", "1", "--json"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut watcher = Seckel::start(&words);
    let mut hear = || serde_json::from_str::<Value>(&watcher.line()).expect("JSON");
    assert_eq!((hear()["event"].as_str()), Some("create"));
    let mut prompt = scene.client("prompt");
    assert_eq!(ask(&mut prompt, "bid 1 5"), "Bid: 5 on 1 \"A pear\"");
    let bid = hear();
    assert_eq!((bid["event"].as_str(), bid["amount"].as_u64()), (Some("bid"), Some(5)));
    prompt.say("watch");
    let [list, whoami] = ["list", "whoami"];
    assert_eq!(scene.done("bob", &["bid", "1", "6"]), "Bid: 6 on 1 \"A pear\"");
    assert!(prompt.line().contains(" bid 6 on 1 by "), "live, at the prompt");
    assert_eq!(ask(&mut prompt, list), {
        let listed = scene.done("bob", &["list"]);
        assert!(listed.starts_with("1 \"A pear\": 6 bid, 2 bids, ends 2"), "{listed}");
        listed
    });
    assert_eq!(ask(&mut prompt, whoami).len(), 64, "no more of the watch");
    assert_eq!(hear()["amount"].as_u64(), Some(6));
    assert_eq!(hear()["event"].as_str(), Some("end"));
    let over = hear();
    assert_eq!(
        (over["result"].as_str(), over["auction"]["winner"]["amount"].as_u64()),
        (Some("over"), Some(6))
    );
    watcher.finish();
    prompt.finish();
    server.interrupt();
}

/// A client that never talked to the server follows from another client, while the server is gone.
#[test]
fn a_copy_is_handed_on_by_a_client() {
    let (scene, server) = Scene::new();
    let mut alice = scene.client("alice");
    assert_eq!(ask(&mut alice, "create A pear"), "Created: 1 \"A pear\"");
    assert_eq!(ask(&mut alice, "bid 1 5"), "Bid: 5 on 1 \"A pear\"");
    server.kill();
    let mut bob = scene.client("bob");
    let mut tries = 0;
    loop {
        bob.say("status");
        assert!(bob.line().starts_with("Server: "));
        let length = bob.line();
        bob.line();
        if length == "Replica length: 3" {
            break;
        }
        tries += 1;
        assert!(tries < 60, "{length}");
    }
    assert_eq!(ask(&mut bob, "list"), "1 \"A pear\": 5 bid, 1 bid");
    bob.say("verify 1");
    assert_eq!(bob.line(), "1 \"A pear\": holds");
    assert!(bob.line_with("result").contains("open"));
    bob.line();
    assert_eq!(ask(&mut bob, "bid 1 6"), "Error: Server unreachable");
    bob.finish();
    alice.finish();
}

/// The user of a client whose server is killed and started again notices a pause, nothing else.
#[test]
fn a_client_finds_a_server_that_was_killed_and_came_back() {
    let (scene, server) = Scene::new();
    let mut client = scene.client("client");
    assert_eq!(ask(&mut client, "create A pear"), "Created: 1 \"A pear\"");
    server.kill();
    client.say("bid 1 5");
    let server = scene.server();
    assert_eq!(client.line(), "Bid: 5 on 1 \"A pear\"");
    assert_eq!(ask(&mut client, "list --open"), "1 \"A pear\": 5 bid, 1 bid");
    assert_eq!(ask(&mut client, "create"), "Usage: create TITLE [--reserve N] [--ends TIME]");
    assert_eq!(ask(&mut client, "dance"), "Unknown command: dance (try: help)");
    client.finish();
    server.interrupt();
}

#[test]
fn a_storage_is_for_one_process() {
    let (scene, server) = Scene::new();
    let second = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(["auction", "server", "--bootstrap", &scene.bootstrap])
        .args(["--storage", &scene.folder.join("server")])
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"));
    server.interrupt();
}

/// Whoever has the server's key can write a bid that nobody made: no reader counts it, and the log does not verify.
#[test]
fn a_bid_that_nobody_signed_does_not_count() {
    let (scene, server) = Scene::new();
    assert_eq!(scene.done("alice", &["create", "A pear"]), "Created: 1 \"A pear\"");
    assert_eq!(scene.done("bob", &["bid", "1", "5"]), "Bid: 5 on 1 \"A pear\"");
    server.interrupt();
    let append = |block: &[u8]| {
        let mut core = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(["core", "append", &scene.folder.join("server"), "--name", "auction"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        core.stdin.take().expect("piped").write_all(block).expect("it reads");
        assert!(core.wait().expect("it ends").success());
    };
    let bid = Bid { auction: 1, amount: 1000, signature: [7; 64] };
    append(&wire::encode(&Entry { time: u64::MAX >> 12, step: Step::Bid { key: [7; 32], bid } }));
    let server = scene.server();
    for who in ["alice", "fresh"] {
        let said = scene.once(who, &["list"]);
        assert_eq!((said.code, said.text.as_str()), (Some(0), "1 \"A pear\": 5 bid, 1 bid"));
        assert!(said.warning.contains("do not count"), "{}", said.warning);
    }
    let shown = scene.once("alice", &["show", "1", "--json"]).json();
    assert_eq!((&shown["faulty"], &shown["auction"]["highest"]["amount"]), (&true.into(), &5.into()));
    let said = scene.once("alice", &["verify", "1", "--json"]);
    let verdict = said.json();
    assert_eq!((said.code, &verdict["result"]), (Some(1), &Value::from("not verified")));
    assert_eq!(verdict["faults"], serde_json::json!([{ "seq": 3, "error": "The signature does not hold" }]));
    let said = scene.once("alice", &["verify", "1"]);
    assert!(said.text.starts_with("1 \"A pear\": does not hold"), "{}", said.text);
    server.interrupt();

    // What is no entry at all is against the rules: the server does not start on it.
    append(b"junk");
    let output = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args([
            "auction",
            "server",
            "--bootstrap",
            &scene.bootstrap,
            "--storage",
            &scene.folder.join("server"),
        ])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("against the rules"));
}
