//! Keys, streams and chats between processes on a private network.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use ::seckel::base::{Entropy, Seeded, hex};
use ::seckel::node::KeyPair;
use ::seckel::wire::{encode, hyperdht::Address};

use super::seckel::{Folder, Seckel};
use super::{network, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn spawn(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seckel"));
    command.args(args).env_remove("SECKEL_BOOTSTRAP");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("seckel starts")
}

/// `seckel listen`, and the key that it says it listens on.
fn listening(args: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let mut child = spawn(&[&["listen"], args].concat());
    let mut told = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("text");
    let key =
        line.trim().strip_prefix("seckel: listening on: ").unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, told, key)
}

fn interrupt(child: &Child) {
    let done = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(done.success());
}

#[test]
fn keygen_keeps_a_secret_where_only_its_owner_reads_it_and_overwrites_nothing() {
    let folder = Folder::new();
    let file = folder.join("own.key");
    let seed = [9; 32];
    let pair = KeyPair::from_seed(seed);
    let made = run(&["keygen", "--seed", &hex::encode(&seed), "--out", &file, "--json"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let told: serde_json::Value = serde_json::from_str(&text(&made.stdout)).expect("JSON");
    assert_eq!(told["public_key"], hex::encode(&pair.public));
    assert_eq!(told["z32"], hex::key_to_z32(&pair.public));
    assert_eq!(told.get("seed"), None, "it is in the file");
    let kept = std::fs::read_to_string(&file).expect("a key file");
    assert_eq!(kept.trim(), hex::encode(&seed));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    }
    let again = run(&["keygen", "--out", &file]);
    assert_eq!(again.status.code(), Some(4));
    assert!(text(&again.stderr).contains(&file), "it names the file: {}", text(&again.stderr));
    assert!(again.stdout.is_empty());
    assert_eq!(std::fs::read_to_string(&file).expect("a key file"), kept);
    let nowhere = run(&["keygen"]);
    assert!(text(&nowhere.stdout).lines().any(|line| line.starts_with("Seed (secret): ")));
    assert_eq!(run(&["keygen", "--seed", "xyz"]).status.code(), Some(2));
}

#[test]
fn a_key_file_that_is_none_is_told_with_what_is_wrong() {
    let folder = Folder::new();
    for (bytes, wrong) in
        [(&b"secret"[..], "no hex digit"), (b"", "empty"), (b"0101", "4 digits"), (b"\xff\xfe", "not text")]
    {
        let file = folder.join("bad.key");
        std::fs::write(&file, bytes).expect("a file");
        for words in [&["chat"][..], &["listen"], &["connect", &"01".repeat(32)]] {
            let args = [words, &["--key", &file, "--bootstrap", "127.0.0.1:1"]].concat();
            let output = run(&args);
            assert_eq!(output.status.code(), Some(4), "{args:?}");
            let told = text(&output.stderr);
            assert!(told.contains(&file) && told.contains(wrong), "{told}");
        }
        assert_eq!(std::fs::read(&file).expect("there"), bytes, "it is left alone");
    }
    let folder_itself = folder.join("");
    let output = run(&["chat", "--key", &folder_itself, "--bootstrap", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains(&folder_itself));
}

/// Any bytes, both ways at once; each side ends its own direction.
#[test]
fn what_goes_into_one_end_comes_out_of_the_other() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let mut draw = Seeded::new(5);
    let mut bytes = |count: usize| {
        let mut bytes = vec![0; count];
        draw.fill(&mut bytes);
        bytes
    };
    let (there, back) = (bytes(700_001), bytes(300_001));
    let file = folder.join("listener.key");
    let (mut listener, _told, key) = listening(&["--bootstrap", &bootstrap, "--key", &file]);
    let mut caller = spawn(&["connect", &key, "--bootstrap", &bootstrap]);
    let mut writers = Vec::new();
    for (child, bytes) in [(&mut caller, &there), (&mut listener, &back)] {
        let (mut input, bytes) = (child.stdin.take().expect("piped"), bytes.clone());
        writers.push(std::thread::spawn(move || input.write_all(&bytes).expect("it reads")));
    }
    let readers = [(&mut caller, back), (&mut listener, there)].map(|(child, wanted)| {
        let mut output = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            let mut got = Vec::new();
            output.read_to_end(&mut got).expect("bytes");
            assert!(got == wanted, "{} bytes of {}", got.len(), wanted.len());
        })
    });
    for thread in writers.into_iter().chain(readers) {
        thread.join().expect("a sound end");
    }
    assert_eq!(caller.wait().expect("it ends").code(), Some(0));
    assert_eq!(listener.wait().expect("it ends").code(), Some(0));
    // The key is in its file: the next one is the same.
    let (mut again, _told, same) = listening(&["--bootstrap", &bootstrap, "--key", &file]);
    assert_eq!(same, key);
    interrupt(&again);
    assert_eq!(again.wait().expect("it ends").code(), Some(130));
}

/// One direction has ended long before the other has.
#[test]
fn a_side_that_has_ended_still_hears() {
    let (_dht, bootstrap) = network();
    let (mut listener, told, key) = listening(&["--bootstrap", &bootstrap]);
    let mut caller = spawn(&["connect", &key, "--bootstrap", &bootstrap]);
    drop(caller.stdin.take());
    let mut lines = told.lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("the other side has ended")));
    let mut input = listener.stdin.take().expect("piped");
    input.write_all(b"after the end\n").expect("it reads");
    let mut lines = BufReader::new(caller.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("text");
    assert_eq!(line, "after the end\n");
    drop(input);
    assert_eq!(caller.wait().expect("it ends").code(), Some(0));
    assert_eq!(listener.wait().expect("it ends").code(), Some(0));
}

/// A reader that does not read stops the writer: not all of 64 MiB fit between them.
#[test]
fn a_slow_reader_slows_its_writer_down() {
    const ALL: usize = 64 << 20;
    let (_dht, bootstrap) = network();
    let (mut listener, mut told, key) = listening(&["--bootstrap", &bootstrap]);
    drop(listener.stdin.take());
    let mut caller = spawn(&["connect", &key, "--bootstrap", &bootstrap]);
    let mut input = caller.stdin.take().expect("piped");
    let (wrote, written) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let piece = vec![7; 1 << 16];
        for _ in 0..ALL / piece.len() {
            input.write_all(&piece).expect("it reads");
            wrote.send(piece.len()).expect("the test counts");
        }
    });
    let mut line = String::new();
    told.read_line(&mut line).expect("text");
    assert!(line.contains("connected with"), "{line}");
    // Until nothing moves for a while that is long beside a round trip on loopback.
    let mut before = 0;
    while let Ok(count) = written.recv_timeout(std::time::Duration::from_secs(3)) {
        before += count;
    }
    assert!(before < ALL / 2, "{before} bytes went without a reader");
    let mut output = listener.stdout.take().expect("piped");
    let (mut piece, mut got) = (vec![0; 1 << 16], 0);
    loop {
        let count = output.read(&mut piece).expect("bytes");
        if count == 0 {
            break;
        }
        got += count;
        assert!(piece[..count].iter().all(|&byte| byte == 7));
    }
    writer.join().expect("it wrote");
    assert_eq!(got, ALL);
    assert_eq!(caller.wait().expect("it ends").code(), Some(0));
    assert_eq!(listener.wait().expect("it ends").code(), Some(0));
}

fn unreached(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(words)
        .env_remove("SECKEL_BOOTSTRAP")
        .stdin(Stdio::null())
        .output()
        .expect("seckel starts");
    assert_eq!(output.status.code(), Some(3), "{words:?}: {}", text(&output.stderr));
    output
}

#[test]
fn a_key_that_nobody_listens_on_is_told_with_a_way_out() {
    let (_dht, bootstrap) = network();
    let key = hex::encode(&KeyPair::from_seed([3; 32]).public);
    for command in ["connect", "chat"] {
        let mut child = spawn(&[command, &key, "--bootstrap", &bootstrap]);
        // Its input stays open: the failure alone ends it.
        let _input = child.stdin.take();
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{command}");
        let told = text(&output.stderr);
        assert!(
            told.contains(&key) && told.contains("PEER_NOT_FOUND") && told.contains("--bootstrap"),
            "{told}"
        );
        assert!(output.stdout.is_empty());
    }
    let output = unreached(&["connect", &key, "--bootstrap", &bootstrap]);
    assert!(text(&output.stderr).contains("PEER_NOT_FOUND"));
}

/// Who is not on the list finds nobody; who is needs no more than the key, or the key with a node.
#[test]
fn who_may_come_in_is_a_list_of_keys() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let welcome = folder.join("welcome.key");
    let made: serde_json::Value =
        serde_json::from_str(&text(&run(&["keygen", "--out", &welcome, "--json"]).stdout)).expect("JSON");
    let allow = made["public_key"].as_str().expect("hex");
    let (listener, _told, key) = listening(&["--allow", allow, "--bootstrap", &bootstrap]);
    let output = unreached(&["connect", &key, "--bootstrap", &bootstrap]);
    assert!(text(&output.stderr).contains("PEER_CONNECTION_FAILED"), "{}", text(&output.stderr));

    let node = bootstrap.split(',').next().expect("a node").parse().expect("an address");
    let to = Address { key: Address::from_text(&key).expect("a key").key, nodes: Some(vec![node]) };
    let blob = hex::encode(&encode(&to));
    let mut guest = spawn(&[
        "connect",
        &blob,
        "--key",
        &welcome,
        "--no-local",
        "--relay-addresses",
        &bootstrap,
        "--bootstrap",
        &bootstrap,
    ]);
    guest.stdin.take().expect("piped").write_all(b"let in").expect("read");
    drop(listener.stdin);
    let mut got = Vec::new();
    listener.stdout.expect("piped").read_to_end(&mut got).expect("bytes");
    assert_eq!(got, b"let in");
    assert_eq!(guest.wait_with_output().expect("it ends").status.code(), Some(0));
}

/// As the guide's chat: any number join, both sides see whom they have, and what is typed goes to all.
#[test]
fn a_chat_has_any_number_of_guests_and_its_end_is_known() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let file = folder.join("host.key");
    let mut host = Seckel::start(&["chat", "--key", &file, "--bootstrap", &bootstrap]);
    let key = host.line().strip_prefix("listening on: ").expect("the key").to_owned();
    let met = |line: String| {
        let key = line.strip_prefix("* got a connection from: ").and_then(|rest| rest.strip_suffix(" *"));
        key.unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let mut guests = Vec::new();
    for _ in 0..3 {
        let mut guest = Seckel::start(&["chat", &key, "--bootstrap", &bootstrap]);
        assert_eq!(met(guest.line()), key);
        let own = met(host.line());
        guest.say("hello from a guest");
        assert_eq!(host.line(), format!("{own}: hello from a guest"));
        guests.push(guest);
    }
    host.say("hello to all \u{1f350}");
    for guest in &mut guests {
        assert_eq!(guest.line(), format!("{key}: hello to all \u{1f350}"));
    }
    // A guest is killed, another's input ends: the others go on.
    guests.remove(0).kill();
    guests.remove(0).finish();
    host.say("still here");
    assert_eq!(guests[0].line(), format!("{key}: still here"));
    host.interrupt();
    guests.remove(0).finish();
    let gone = unreached(&["chat", &key, "--bootstrap", &bootstrap]);
    assert!(text(&gone.stderr).contains("PEER_NOT_FOUND"), "it is unannounced: {}", text(&gone.stderr));
}

#[test]
fn a_room_is_for_everybody_on_a_topic() {
    let (_dht, bootstrap) = network();
    let topic = hex::encode(&::seckel::crypto::hash::blake2b_256(&[b"pears"]));
    let mut first = Seckel::start(&["swarm", "pears", "--bootstrap", &bootstrap]);
    assert_eq!(first.line(), format!("listening on: {topic}"));
    let mut second = Seckel::start(&["swarm", &topic, "--json", "--bootstrap", &bootstrap]);
    let event = |name: &str, second: &mut Seckel| loop {
        let value: serde_json::Value = serde_json::from_str(&second.line()).expect("JSON");
        if value["event"] == name {
            return value;
        }
    };
    let met = event("connection", &mut second);
    let first_key = met["key"].as_str().expect("hex").to_owned();
    first.line_with("* got a connection from: ");
    first.say("to everybody \"here\"");
    let said = event("message", &mut second);
    assert_eq!(said["text"], "to everybody \"here\"");
    assert_eq!(said["key"], *first_key);
    second.say("and back");
    assert!(first.line().ends_with(": and back"));
    first.interrupt();
    second.interrupt();
}
