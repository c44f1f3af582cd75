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

/// A key that others can read is used, but it is said that they can.
#[cfg(unix)]
#[test]
fn a_key_file_that_others_can_read_is_told_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let file = folder.join("own.key");
    assert!(run(&["keygen", "--out", &file]).status.success());
    for (mode, told) in [(0o600, false), (0o644, true), (0o660, true), (0o400, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
        let output = run(&["announce", "pears", "--key", &file, "--bootstrap", &bootstrap]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let warning = text(&output.stderr);
        assert_eq!(warning.contains("chmod 600") && warning.contains(&file), told, "{mode:o}: {warning}");
    }
}

/// Where a node cannot be bound, it is said whether the host or the port is wrong.
#[test]
fn a_node_that_cannot_be_bound_says_what_is_wrong() {
    let (_dht, bootstrap) = network();
    let port = bootstrap.rsplit(':').next().expect("a port");
    for words in [&["lookup", "pears"][..], &["chat"], &["listen"], &["ping", &bootstrap], &["nat"]] {
        for (flags, wrong) in [
            (&["--host", "127.0.0.1", "--port", port][..], "--port"),
            (&["--host", "203.0.113.7"], "no address of this machine"),
        ] {
            let output = run(&[words, flags, &["--bootstrap", &bootstrap]].concat());
            let told = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{words:?} {flags:?}: {told}");
            assert!(told.contains(wrong), "{words:?} {flags:?}: {told}");
        }
    }
    for address in ["[::1]:49737", "::1:49737", "127.0.0.1:0"] {
        for words in [&["ping", address][..], &["lookup", "pears", "--bootstrap", address]] {
            let output = run(words);
            assert_eq!(output.status.code(), Some(2), "{words:?}");
            let told = text(&output.stderr);
            assert!(told.contains("IPv4 only") || told.contains("port 0"), "{words:?}: {told}");
        }
    }
}

/// A full disk is no end: what cannot be written, or read, is told, and no exit code says that all is well.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_or_read_is_no_success() {
    let (_dht, bootstrap) = network();
    let full =
        || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it"));
    let hash = text(&run(&["put", "kept", "--bootstrap", &bootstrap]).stdout);
    for words in [
        &["keygen"][..],
        &["get", &hash, "--bootstrap", &bootstrap],
        &["put", "more", "--bootstrap", &bootstrap],
        &["nat", "--json", "--bootstrap", &bootstrap],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seckel"));
        let output = command.args(words).stdout(full()).stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(4), "{words:?}");
        assert!(text(&output.stderr).contains("standard output cannot be written"), "{words:?}");
    }
    let file = Folder::new();
    let listen = |out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seckel"));
        command.args(["listen", "--bootstrap", &bootstrap]).stdin(Stdio::null()).stdout(out);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let mut told = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        told.read_line(&mut line).expect("text");
        (child, told, line.trim().rsplit(' ').next().expect("a key").to_owned())
    };
    let (mut child, mut told, key) = listen(full());
    let mut caller = spawn(&["connect", &key, "--bootstrap", &bootstrap]);
    caller.stdin.take().expect("piped").write_all(b"a backup").expect("read");
    let _ = caller.wait();
    assert_eq!(child.wait().expect("it ends").code(), Some(4));
    let mut rest = String::new();
    told.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("standard output cannot be written"), "{rest}");

    // A folder can be opened, and not be read.
    let (mut child, _told, key) = listen(Stdio::null());
    let folder = std::fs::File::open(file.join("")).expect("it is there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_seckel"));
    command.args(["connect", &key, "--bootstrap", &bootstrap]).stdin(Stdio::from(folder));
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("standard input cannot be read"), "{}", text(&output.stderr));
    assert_eq!(child.wait().expect("it ends").code(), Some(3), "the other side knows that it was not all");
}

/// With --json each line on standard error is an object, and standard output has the bytes alone.
#[test]
fn both_ends_of_a_pipe_tell_machines_what_happens() {
    let (_dht, bootstrap) = network();
    let event = |line: &str| -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    };
    let mut listener = spawn(&["listen", "--json", "--bootstrap", &bootstrap]);
    let mut told = BufReader::new(listener.stderr.take().expect("piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("a line");
    let listening = event(&line);
    assert_eq!(listening["event"], "listening");
    let key = listening["key"].as_str().expect("hex").to_owned();
    let mut caller = spawn(&["connect", &key, "--json", "--bootstrap", &bootstrap]);
    caller.stdin.take().expect("piped").write_all(b"bytes").expect("read");
    drop(listener.stdin.take());
    let mut got = Vec::new();
    listener.stdout.take().expect("piped").read_to_end(&mut got).expect("bytes");
    assert_eq!(got, b"bytes");
    let output = caller.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let events: Vec<_> = text(&output.stderr).lines().map(event).collect();
    assert_eq!((&events[0]["event"], &events[0]["key"]), (&"connection".into(), &key.as_str().into()));
    let mut rest = String::new();
    told.read_to_string(&mut rest).expect("lines");
    let events: Vec<_> = rest.lines().map(|line| event(line)["event"].clone()).collect();
    assert_eq!(events, ["connection", "ended"]);
    assert_eq!(listener.wait().expect("it ends").code(), Some(0));

    let output = unreached(&["connect", &key, "--json", "--bootstrap", &bootstrap]);
    let failed = event(text(&output.stderr).trim());
    assert_eq!((&failed["event"], &failed["error"]), (&"unreached".into(), &"PEER_NOT_FOUND".into()));
    assert_eq!(failed["our_nat"], serde_json::Value::Null);
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
