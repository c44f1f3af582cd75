//! Cores between processes that meet in a private network: seeded, read, copied, whoever is killed.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::cores::{bad, code, fed, good, json};
use super::seckel::{Folder, Seckel};
use super::{network, run};

/// A seeder of what is in a store, and the keys that it says.
fn seed(dir: &str, bootstrap: &str, cores: usize) -> (Seckel, Vec<String>) {
    let mut seeder = Seckel::start(&["core", "seed", dir, "--bootstrap", bootstrap, "--json"]);
    let keys = (0..cores).map(|_| {
        let said: Value = serde_json::from_str(&seeder.line()).expect("JSON");
        said["key"].as_str().expect("a key").to_owned()
    });
    let keys = keys.collect();
    (seeder, keys)
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("line {n} {}\n", "x".repeat(n % 70))).collect()
}

#[test]
fn a_core_is_read_and_copied_by_key() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, copy) = (&*folder.join("store"), &*folder.join("copy"));
    let text = lines(500);
    good(fed(&["core", "append", dir, "--name", "log", "--lines"], text.as_bytes()));
    let (mut seeder, keys) = seed(dir, &bootstrap, 1);
    let key = &*keys[0];
    let there = ["--bootstrap", &bootstrap];
    let with = |words: &[&str]| run(&[words, &there].concat());

    assert_eq!(good(with(&["core", "get", key, "7"])), b"line 7 xxxxxxx");
    assert!(bad(&with(&["core", "get", key, "500"]), 1).contains("the core has 500"));
    let info = json(with(&["core", "info", key, "--json"]));
    assert_eq!((&info["length"], &info["peers"], &info["writable"]), (&json!(500), &json!(1), &json!(false)));
    assert_eq!(info["byte_length"], text.len() - 500);
    assert!(good(with(&["core", "cat", key, "--lines"])) == text.as_bytes());
    assert_eq!(good(with(&["core", "cat", key, "--start", "1", "--end", "3"])), b"line 1 xline 2 xx");

    // A part, in order, then the rest: what is here already is not fetched again.
    let part =
        ["core", "download", key, "--storage", copy, "--start", "100", "--end", "200", "--linear", "--json"];
    let part = json(with(&part));
    assert_eq!((&part["received_blocks"], &part["contiguous_length"]), (&json!(100), &json!(0)));
    let told = bad(&fed(&["core", "get", copy, "5"], b""), 1);
    assert!(told.contains("not in this copy") && told.contains(key), "{told}");
    assert_eq!(good(fed(&["core", "get", copy, "150"], b"")), good(fed(&["core", "get", dir, "150"], b"")));
    let rest = json(with(&["core", "download", key, "--storage", copy, "--json"]));
    assert_eq!((&rest["received_blocks"], &rest["contiguous_length"]), (&json!(400), &json!(500)));
    assert!(good(fed(&["core", "cat", copy, "--lines"], b"")) == text.as_bytes());
    assert!(bad(&fed(&["core", "append", copy], b"x"), 1).contains("key pair"));
    assert!(bad(&with(&["core", "download", key, "--storage", copy, "--end", "501"]), 1).contains("500"));

    // Ctrl-C: what was passed on is told.
    let killed = Command::new("kill").args(["-INT", &seeder.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let said: Value = serde_json::from_str(&seeder.line()).expect("JSON");
    assert!(said["uploaded_blocks"].as_u64() >= Some(1003), "{said}");
    seeder.finish();
    // Without it the copy is passed on.
    let (second, keys) = seed(copy, &bootstrap, 1);
    assert_eq!(keys, [key]);
    assert_eq!(good(with(&["core", "get", key, "499"])), good(fed(&["core", "get", dir, "499"], b"")));
    second.interrupt();
    let alone = with(&["core", "get", key, "0", "--timeout", "2"]);
    assert!(bad(&alone, 3).contains("nobody was found"), "{alone:?}");
}

/// Kills a download in the middle, again and again; the same download, run again, goes on where it was.
#[cfg(unix)]
#[test]
fn a_download_that_is_killed_goes_on() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, copy) = (&*folder.join("store"), &*folder.join("copy"));
    let text: Vec<u8> = lines(60_000).into_bytes();
    good(fed(&["core", "append", dir, "--name", "log", "--lines", "--unsynced"], &text));
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let args = ["core", "download", &keys[0], "--storage", copy, "--bootstrap", &bootstrap, "--json"];
    let mut before = 0;
    for part in 1..=4 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("seckel starts");
        // Until a part of it is there, or all of it was quicker.
        while size(copy) < part * text.len() as u64 / 8 && child.try_wait().expect("it runs").is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().expect("it ends");
        let here = size(copy);
        assert!(here >= before, "what came is kept");
        before = here;
    }
    let last = json(run(&args));
    let received = last["received_blocks"].as_u64().expect("a number");
    assert!(received < 60_000, "{received}: what came before the kills is not fetched again");
    assert_eq!((&last["contiguous_length"], &last["done"]), (&json!(60_000), &json!(true)));
    assert!(good(fed(&["core", "cat", copy, "--lines"], b"")) == text);
    assert_eq!(code(&fed(&["audit", "core", copy], b"")), 0);
    seeder.interrupt();
}

/// Bytes of blocks in a store. Its last block comes first, so that a file is as long as it will be with a hole in it.
#[cfg(unix)]
fn size(dir: &str) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let entries = entries.filter_map(Result::ok);
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path().to_string_lossy()),
        Ok(about) if entry.file_name() == "data" => std::os::unix::fs::MetadataExt::blocks(&about) * 512,
        _ => 0,
    });
    sizes.sum()
}

#[test]
fn a_hyperbee_is_asked_by_key() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, cache) = (&*folder.join("store"), &*folder.join("cache"));
    let all: String = (0..3000).map(|n| format!("{{\"key\":\"k{n:04}\",\"value\":\"v{n}\"}}\n")).collect();
    good(fed(&["bee", "import", dir, "--name", "names"], all.as_bytes()));
    good(fed(&["bee", "put", dir, "k0001", "new"], b""));
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let key = &*keys[0];
    let with = |words: &[&str]| run(&[words, &["--bootstrap", &bootstrap]].concat());
    assert_eq!(good(with(&["bee", "get", key, "k2718", "--storage", cache])), b"v2718");
    // Only what leads to the key was fetched.
    let info = json(fed(&["core", "info", cache, "--json"], b""));
    assert_eq!((&info["length"], &info["contiguous_length"]), (&json!(3002), &json!(1)));
    assert!(size(cache) > 0);
    let blocks = fed(&["audit", "core", cache, "--json"], b"");
    let audit: Value =
        serde_json::from_str(String::from_utf8_lossy(&blocks.stdout).lines().next().expect("a core"))
            .expect("JSON");
    assert!(audit["blocks"].as_u64() < Some(60), "{audit}");
    assert_eq!(bad(&with(&["bee", "get", key, "other"]), 1), "seckel: not there\n");
    assert_eq!(good(with(&["bee", "get", key, "k0001", "--at", "3001"])), b"v1");
    let listed = good(with(&["bee", "list", key, "--gte", "k0999", "--limit", "2"]));
    assert_eq!(listed, b"k0999\tv999\nk1000\tv1000\n");
    assert_eq!(good(with(&["bee", "diff", key, "3001", "3002"])), b"- k0001\tv1\n+ k0001\tnew\n");
    assert_eq!(good(with(&["bee", "history", key, "--reverse", "--limit", "1"])), b"3001 put k0001\tnew\n");
    let exported = String::from_utf8(good(with(&["bee", "export", key]))).expect("text");
    assert_eq!(exported.lines().count(), 3000);
    let two = with(&["bee", "get", key, "k0001", "--name", "names"]);
    assert!(bad(&two, 2).contains("KEY says that itself"));
    assert!(bad(&fed(&["bee", "put", key, "a", "b"], b""), 2).contains("in a folder"));
    seeder.interrupt();
}

/// The writer cut the core and went on otherwise: a copy follows.
#[test]
fn a_copy_follows_a_core_that_was_cut() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, copy) = (&*folder.join("store"), &*folder.join("copy"));
    good(fed(&["core", "append", dir, "--name", "log", "--lines"], lines(300).as_bytes()));
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let args = ["core", "download", &keys[0], "--storage", copy, "--bootstrap", &bootstrap, "--json"];
    assert_eq!(json(run(&args))["contiguous_length"], 300);
    seeder.interrupt();
    good(fed(&["core", "truncate", dir, "100"], b""));
    good(fed(&["core", "append", dir, "--lines"], b"other\nlines\n"));
    let (seeder, _) = seed(dir, &bootstrap, 1);
    let again = json(run(&args));
    assert_eq!((&again["contiguous_length"], &again["received_blocks"]), (&json!(102), &json!(2)));
    assert!(
        good(fed(&["core", "cat", copy, "--lines"], b"")) == good(fed(&["core", "cat", dir, "--lines"], b""))
    );
    let fresh = ["core", "cat", &keys[0], "--start", "100", "--lines", "--bootstrap", &bootstrap];
    assert_eq!(good(run(&fresh)), b"other\nlines\n");
    seeder.interrupt();
}

/// A core that lies alone in its folder is passed on as well; who reads it needs its encryption key.
#[test]
fn a_single_core_is_seeded_encrypted() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let dir = &*folder.join("log");
    let secret = "07".repeat(32);
    good(fed(&["core", "append", dir, "--lines", "--encryption-key", &secret], b"one\ntwo\n"));
    let before: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|file| file.expect("a file").file_name()).collect();
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let reader = ["core", "cat", &keys[0], "--lines", "--bootstrap", &bootstrap];
    let read = run(&[&reader[..], &["--encryption-key", &secret]].concat());
    assert_eq!(good(read), b"one\ntwo\n");
    assert!(good(run(&reader)) != b"one\ntwo\n", "without the key nothing is to be read");
    seeder.interrupt();
    let after = std::fs::read_dir(dir).expect("a folder").map(|file| file.expect("a file").file_name());
    assert!(after.eq(before), "no file more is in the folder");
}

/// Ctrl-C in the midst of a download, with its progress told on the way.
#[cfg(unix)]
#[test]
fn a_download_is_interrupted_and_tells_how_far_it_is() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, copy) = (&*folder.join("store"), &*folder.join("copy"));
    good(fed(&["core", "append", dir, "--name", "log", "--lines"], lines(100).as_bytes()));
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let args = ["core", "download", &keys[0], "--storage", copy, "--bootstrap", &bootstrap];
    let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(args)
        .args(["--live", "--progress", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("seckel starts");
    let mut told = String::new();
    let mut errors = std::io::BufReader::new(child.stderr.take().expect("piped"));
    while size(copy) < 3000 {
        assert!(child.try_wait().expect("it runs").is_none(), "a live one does not end");
        std::thread::yield_now();
    }
    while !told.contains("100 of 100 blocks") {
        told.clear();
        if std::io::BufRead::read_line(&mut errors, &mut told).expect("text") == 0 {
            panic!("it ended");
        }
    }
    assert!(told.contains(" left") && told.contains("/s"), "{told}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "live: it was meant to end so");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&said["received_blocks"], &said["length"]), (&json!(100), &json!(100)));
    seeder.interrupt();
    let alone = run(&[&args[..], &["--timeout", "1"]].concat());
    assert_eq!(code(&alone), 3, "whether it is whole cannot be known");
}

#[cfg(unix)]
#[test]
fn a_copy_follows_live_and_is_seeded_on() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, copy) = (&*folder.join("store"), &*folder.join("copy"));
    good(fed(&["core", "append", dir, "--name", "log", "--lines"], b"one\n"));
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let key = &*keys[0];
    let second =
        Seckel::start(&["core", "seed", key, "--storage", copy, "--bootstrap", &bootstrap, "--json"]);
    let mut reader = Seckel::start(&["core", "cat", key, "--live", "--lines", "--bootstrap", &bootstrap]);
    assert_eq!(reader.line(), "one");
    seeder.interrupt();
    // The writer appends while nobody seeds from it, and comes back.
    good(fed(&["core", "append", dir, "--lines"], b"two\n"));
    let (seeder, _) = seed(dir, &bootstrap, 1);
    assert_eq!(reader.line(), "two");
    reader.interrupt();
    // The second one has it on its disk once another process reads it there.
    let mut beside = Seckel::start(&["core", "cat", copy, "--live", "--lines"]);
    assert_eq!([beside.line(), beside.line()], ["one", "two"]);
    beside.kill();
    seeder.interrupt();
    // Only the second one is left to hand it on.
    let last = run(&["core", "cat", key, "--lines", "--bootstrap", &bootstrap]);
    assert_eq!(good(last), b"one\ntwo\n");
    second.interrupt();
    assert_eq!(good(fed(&["core", "cat", copy, "--lines"], b"")), b"one\ntwo\n");
}

/// A seeder holds no lock on what is written here: what another process appends, peers have at once, and a cut too.
#[cfg(unix)]
#[test]
fn what_is_appended_beside_a_seeder_is_passed_on() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    for (name, which) in [("store", &["--name", "log"][..]), ("single", &[])] {
        let dir = &*folder.join(name);
        let append = |text: &[u8]| good(fed(&[&["core", "append", dir, "--lines"], which].concat(), text));
        append(b"one\n");
        let (seeder, keys) = seed(dir, &bootstrap, 1);
        let mut reader =
            Seckel::start(&["core", "cat", &keys[0], "--live", "--lines", "--bootstrap", &bootstrap]);
        assert_eq!(reader.line(), "one");
        append(b"two\nthree\n");
        assert_eq!([reader.line(), reader.line()], ["two", "three"]);
        append(lines(3000).as_bytes());
        for line in lines(3000).lines() {
            assert_eq!(reader.line(), line);
        }
        reader.interrupt();
        good(fed(&[&["core", "truncate", dir, "2"], which].concat(), b""));
        append(b"other\n");
        let again = run(&["core", "cat", &keys[0], "--lines", "--bootstrap", &bootstrap]);
        assert_eq!(good(again), b"one\ntwo\nother\n");
        seeder.interrupt();
        assert_eq!(code(&fed(&["audit", "core", dir], b"")), 0);
    }
}

/// What a reader keeps for itself alone is gone with it; what one that was killed left, the next one removes.
#[cfg(unix)]
#[test]
fn what_a_killed_reader_left_is_removed() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (dir, own) = (&*folder.join("store"), &*folder.join("tmp"));
    std::fs::create_dir(own).expect("a folder");
    good(fed(&["core", "append", dir, "--name", "log", "--lines"], b"one\n"));
    let (seeder, keys) = seed(dir, &bootstrap, 1);
    let args = ["core", "cat", &keys[0], "--lines", "--bootstrap", &bootstrap];
    let reader = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seckel"));
        command.args(args).args(more).env("TMPDIR", own).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let there = || -> Vec<_> {
        std::fs::read_dir(own).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut killed = reader(&["--live"]).spawn().expect("seckel starts");
    let mut line = String::new();
    let mut output = std::io::BufReader::new(killed.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut output, &mut line).expect("text");
    assert_eq!(line, "one\n");
    killed.kill().expect("it lives");
    killed.wait().expect("it ends");
    let [left] = &there()[..] else { panic!("{:?}", there()) };
    assert_eq!(reader(&[]).output().expect("it runs").stdout, b"one\n");
    assert_eq!(there(), std::slice::from_ref(left), "it is young");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(120);
    let opened = std::fs::File::open(left).expect("a folder");
    opened.set_modified(long_ago).expect("our own");
    drop(opened);
    assert_eq!(reader(&[]).output().expect("it runs").stdout, b"one\n");
    assert_eq!(there(), [] as [std::path::PathBuf; 0]);
    seeder.interrupt();
}
