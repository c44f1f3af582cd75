//! The command line as processes: killed at any moment, started twice, interrupted, given nonsense.

mod asks;
mod auction;
mod bees;
mod cores;
mod dht;
mod grammar;
mod keys;
mod peers;
mod relays;
mod seckel;
mod shared;
mod sim;
mod transcript;
mod users;

use std::collections::BTreeSet;
use std::process::{Command, Output};

use ::seckel::base::{Entropy, Seeded};
use seckel::{Folder, Seckel};

/// A private network of one node, and where to join it.
fn network() -> (Seckel, String) {
    let mut dht = Seckel::start(&["testnet", "--nodes", "1"]);
    let line = dht.line_with("127.0.0.1:");
    let start = line.find("127.0.0.1:").expect("it was looked for");
    let address: String =
        line[start..].chars().take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ':').collect();
    (dht, address)
}

/// A server and its two keys.
fn server(bootstrap: &str, storage: &str) -> (Seckel, [String; 2]) {
    let mut server = Seckel::start(&["registry", "server", "--bootstrap", bootstrap, "--storage", storage]);
    let keys = ["Server Public Key: ", "Database Core Key: "].map(|label| {
        let line = server.line_with(label);
        line.strip_prefix(label).expect("on a line of its own").to_owned()
    });
    (server, keys)
}

fn client(bootstrap: &str, keys: &[String; 2], storage: &str) -> Seckel {
    Seckel::start(&["registry", "client", &keys[0], &keys[1], "--bootstrap", bootstrap, "--storage", storage])
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(args)
        .env_remove("SECKEL_BOOTSTRAP")
        .output()
        .expect("seckel starts")
}

/// Kills the server and its client in the middle of writes, again and again: every name for which the answer left is
/// there afterwards, the keys stay the same, and the log and its tree are sound.
#[test]
fn what_was_answered_outlives_fifty_hard_kills() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (there, here) = (folder.join("server"), folder.join("client"));
    let mut draw = Seeded::new(50);
    let mut answered = BTreeSet::new();
    let mut first: Option<([String; 2], String)> = None;
    for round in 0..50 {
        let (running, keys) = server(&bootstrap, &there);
        let mut writer = client(&bootstrap, &keys, &here);
        writer.say("whoami");
        let own = writer.line();
        match &first {
            None => first = Some((keys, own)),
            Some(first) => assert_eq!(*first, (keys, own), "the keys outlive a hard kill"),
        }
        for n in 0..10 {
            writer.say(&format!("register name-{round}-{n}"));
        }
        for _ in 0..draw.below(10) {
            let line = writer.line();
            let name = line.strip_prefix("Registered: ").unwrap_or_else(|| panic!("{line}"));
            answered.insert(name.to_owned());
        }
        running.kill();
        writer.kill();
    }
    let (last, keys) = server(&bootstrap, &there);
    let (first_keys, own) = first.expect("there were rounds");
    assert_eq!(keys, first_keys);
    let mut reader = client(&bootstrap, &keys, &folder.join("reader"));
    // A write of its own: what is read after it is not older than it.
    reader.say("register last");
    assert_eq!(reader.line(), "Registered: last");
    assert!(answered.len() > 100, "{}", answered.len());
    for name in &answered {
        reader.say(&format!("lookup {name}"));
        assert_eq!(reader.line(), format!("{name} -> {own}"));
    }
    reader.finish();
    last.interrupt();
}

#[test]
fn a_second_server_on_the_same_storage_says_so() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let storage = folder.join("server");
    let (running, keys) = server(&bootstrap, &storage);
    let second = run(&["registry", "server", "--bootstrap", &bootstrap, "--storage", &storage]);
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("in use"), "{text}");
    assert!(text.contains(&storage), "it names the folder: {text}");
    // The first one goes on, and its name is still to be had.
    let mut user = client(&bootstrap, &keys, &folder.join("client"));
    user.say("register alice");
    assert_eq!(user.line(), "Registered: alice");
    user.finish();
    running.interrupt();
}

#[cfg(unix)]
#[test]
fn secrets_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let storage = folder.join("server");
    let (running, _) = server(&bootstrap, &storage);
    let key = std::path::Path::new(&storage).join("primary-key");
    assert_eq!(std::fs::metadata(key).expect("it is there").permissions().mode() & 0o777, 0o600);
    running.interrupt();
}

#[test]
fn one_shot_commands_have_exit_codes_and_json() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (running, keys) = server(&bootstrap, &folder.join("server"));
    let storage = folder.join("client");
    let one = |words: &[&str], json: bool| {
        let mut args = vec!["registry"];
        args.extend(words);
        args.extend([
            "--server",
            &keys[0],
            "--core",
            &keys[1],
            "--bootstrap",
            &bootstrap,
            "--storage",
            &storage,
        ]);
        if json {
            args.push("--json");
        }
        run(&args)
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let done = one(&["register", "alice"], false);
    assert_eq!((text(&done), done.status.code()), ("Registered: alice".to_owned(), Some(0)));
    let found = one(&["lookup", "alice"], true);
    assert_eq!(found.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_str(&text(&found)).expect("JSON");
    assert_eq!(json["name"], "alice");
    let missing = one(&["lookup", "bob"], false);
    assert_eq!(text(&missing), "Not found");
    assert_eq!(missing.status.code(), Some(1));
    let bad = one(&["register", "two words"], false);
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(one(&["list"], false).status.code(), Some(0));
    running.interrupt();
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    for args in [
        &["registry", "client", "nonsense", "nonsense"][..],
        &["dht", "--bootstrap", "not-an-address"],
        &["registry", "server", "--bootstrap", "127.0.0.1"],
        &["no-such-command"],
    ] {
        let output = run(args);
        assert!(!output.status.success(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?} says why on stderr");
        assert!(output.stdout.is_empty(), "{args:?} leaves stdout alone");
    }
}
