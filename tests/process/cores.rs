//! `seckel core` on a folder: what is appended is what is read, whatever happens in between.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use ::seckel::base::{Entropy, Seeded};
use serde_json::Value;

use super::seckel::Folder;

/// Runs `seckel` with that input.
pub fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(args)
        .env_remove("SECKEL_BOOTSTRAP")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("seckel starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end before it has read all.
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("seckel ends");
    let _ = feeder.join().expect("the feeder ends");
    output
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

/// Standard output of a run that went well.
pub fn good(output: Output) -> Vec<u8> {
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn json(output: Output) -> Value {
    serde_json::from_slice(&good(output)).expect("JSON")
}

/// Standard error of a run that went badly.
pub fn bad(output: &Output, wanted: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(output), wanted, "{said}");
    assert!(output.stdout.is_empty(), "standard output is for data");
    said
}

fn lengths(dir: &str, which: &[&str]) -> (u64, u64) {
    let mut args = vec!["core", "info", dir, "--json"];
    args.extend(which);
    let info = json(fed(&args, b""));
    (info["length"].as_u64().expect("a number"), info["byte_length"].as_u64().expect("a number"))
}

#[test]
fn a_single_core_is_made_appended_to_read_and_cut() {
    let folder = Folder::new();
    let dir = &*folder.join("log");
    let made = json(fed(&["core", "create", dir, "--json"], b""));
    let key = made["key"].as_str().expect("a key").to_owned();
    let again = bad(&fed(&["core", "create", dir], b""), 1);
    assert!(again.contains("there already") && again.contains(&key), "{again}");

    let one = json(fed(&["core", "append", dir, "--json"], b"a picture\0\xff"));
    assert_eq!((&one["first"], &one["blocks"], &one["length"]), (&0.into(), &1.into(), &1.into()));
    let lines = json(fed(&["core", "append", dir, "--lines", "--json"], b"b\n\nlast"));
    assert_eq!((&lines["first"], &lines["blocks"]), (&1.into(), &3.into()));
    let sized = json(fed(&["core", "append", dir, "--block-size", "4", "--json"], b"0123456789"));
    assert_eq!((&sized["blocks"], &sized["byte_length"]), (&3.into(), &26.into()));
    let none = json(fed(&["core", "append", dir, "--json"], b""));
    assert_eq!((&none["blocks"], &none["first"], &none["key"]), (&0.into(), &Value::Null, &key[..].into()));

    assert_eq!(good(fed(&["core", "get", dir, "0"], b"")), b"a picture\0\xff");
    assert_eq!(good(fed(&["core", "get", dir, "2"], b"")), b"");
    let block = json(fed(&["core", "get", dir, "3", "--json"], b""));
    assert_eq!(block, serde_json::json!({ "index": 3, "bytes": 4, "value": "last" }));
    assert_eq!(json(fed(&["core", "get", dir, "0", "--json"], b""))["hex"], "61207069637475726500ff");
    assert_eq!(good(fed(&["core", "cat", dir, "--start", "4"], b"")), b"0123456789");
    assert_eq!(
        good(fed(&["core", "cat", dir, "--start", "1", "--end", "4", "--lines"], b"")),
        b"b\n\nlast\n"
    );
    assert!(bad(&fed(&["core", "get", dir, "7"], b""), 1).contains("there is no block 7: the core has 7"));
    assert_eq!(code(&fed(&["core", "cat", dir, "--start", "6", "--end", "9"], b"")), 1);

    let cut = json(fed(&["core", "truncate", dir, "2", "--json"], b""));
    assert_eq!((&cut["length"], &cut["fork"], &cut["byte_length"]), (&2.into(), &1.into(), &12.into()));
    assert!(bad(&fed(&["core", "truncate", dir, "3"], b""), 1).contains("2 blocks"));
    let info = json(fed(&["core", "info", dir, "--json"], b""));
    assert_eq!((&info["key"], &info["fork"], &info["writable"]), (&key[..].into(), &1.into(), &true.into()));
    assert_eq!((&info["contiguous_length"], &info["quorum"]), (&2.into(), &1.into()));
    assert_eq!(info["signers"].as_array().map(Vec::len), Some(1));
    assert_eq!(code(&fed(&["audit", "core", dir], b"")), 0);
}

#[test]
fn cores_of_a_store_have_names_and_keys() {
    let folder = Folder::new();
    let dir = &*folder.join("store");
    let made = json(fed(&["core", "create", dir, "--name", "first", "--json"], b""));
    assert_eq!(made["name"], "first");
    // A core that is missing is made; with one core in the store nothing needs to be said.
    assert_eq!(lengths(dir, &[]), (0, 0));
    let appended = fed(&["core", "append", dir, "--name", "second", "--lines"], b"x\ny\n");
    assert!(String::from_utf8_lossy(&appended.stderr).contains("a new core"));
    good(appended);
    let key = made["key"].as_str().expect("a key");
    good(fed(&["core", "append", dir, "--key", key], b"of the first"));
    assert_eq!(good(fed(&["core", "cat", dir, "--key", key], b"")), b"of the first");
    assert_eq!(lengths(dir, &["--name", "second"]), (2, 2));

    let said = bad(&fed(&["core", "info", dir], b""), 2);
    assert!(said.contains("2 cores") && said.contains("--name") && said.contains("core list"), "{said}");
    assert!(bad(&fed(&["core", "create", dir, "--name", ""], b""), 2).contains("a name is not empty"));
    let missing = bad(&fed(&["core", "cat", dir, "--name", "third"], b""), 1);
    assert!(missing.contains("third") && missing.contains("core list"), "{missing}");
    assert_eq!(code(&fed(&["core", "truncate", dir, "0", "--name", "third"], b"")), 1);
    assert_eq!(code(&fed(&["core", "append", dir, "--key", &"07".repeat(32)], b"x")), 1);

    let listed = String::from_utf8(good(fed(&["core", "list", dir, "--json"], b""))).expect("text");
    let mut names: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["name"].clone())
        .collect();
    names.sort_by_key(Value::to_string);
    assert_eq!(names, ["first", "second"]);
    assert_eq!(code(&fed(&["audit", "core", dir], b"")), 0);
}

#[test]
fn a_namespace_keeps_names_apart() {
    let folder = Folder::new();
    let dir = &*folder.join("store");
    let mut keys = std::collections::BTreeSet::new();
    let spaces = [&[][..], &["--namespace", "app"], &["--namespace", "app", "--namespace", "inner"]];
    for (n, space) in spaces.iter().enumerate() {
        let text = format!("in {n}");
        let args = |words: &[&'static str]| -> Vec<&str> {
            [&[words[0], words[1], dir], &words[2..], &["--name", "log"], space].concat()
        };
        let made = json(fed(&args(&["core", "create", "--json"]), b""));
        assert!(keys.insert(made["key"].to_string()), "{space:?}");
        good(fed(&args(&["core", "append"]), text.as_bytes()));
        assert_eq!(good(fed(&args(&["core", "cat"]), b"")), text.as_bytes());
        good(fed(&args(&["core", "truncate", "0"]), b""));
        good(fed(&args(&["core", "append"]), text.as_bytes()));
        assert_eq!(json(fed(&args(&["core", "info", "--json"]), b""))["fork"], 1);
    }
    for (n, space) in spaces.iter().enumerate() {
        let args = [&["core", "cat", dir, "--name", "log"], *space].concat();
        assert_eq!(good(fed(&args, b"")), format!("in {n}").as_bytes());
    }
    let other = ["core", "cat", dir, "--name", "log", "--namespace", "other"];
    assert!(bad(&fed(&other, b""), 1).contains("no core of the name"));
    assert_eq!(
        code(&fed(&["core", "cat", dir, "--namespace", "app"], b"")),
        2,
        "a namespace is one of names"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_told() {
    let folder = Folder::new();
    let dir = &*folder.join("log");
    good(fed(&["core", "append", dir], b"one"));
    for args in [&["core", "cat", dir][..], &["core", "info", dir], &["core", "list", dir]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let output =
            Command::new(env!("CARGO_BIN_EXE_seckel")).args(args).stdout(full).output().expect("it runs");
        assert_eq!(code(&output), 4, "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{args:?}");
    }
}

#[test]
fn a_folder_that_is_something_else_is_left_alone() {
    let folder = Folder::new();
    let dir = &*folder.join("other");
    assert!(bad(&fed(&["core", "info", dir], b""), 4).contains("no such folder"));
    std::fs::create_dir(dir).expect("a folder");
    assert!(bad(&fed(&["core", "info", dir], b""), 4).contains("core create"));
    std::fs::write(format!("{dir}/letter"), "dear").expect("a file");
    for args in
        [&["core", "create", dir][..], &["core", "append", dir], &["core", "create", dir, "--name", "x"]]
    {
        assert!(bad(&fed(args, b"x"), 4).contains("other files"), "{args:?}");
    }
    let left: Vec<_> = std::fs::read_dir(dir).expect("a folder").collect();
    assert_eq!(left.len(), 1, "nothing was put there");
}

/// A disk that was full, or a crash, while a store was made leaves its lock and what was to be its primary key.
#[test]
fn a_store_that_was_begun_is_made() {
    let folder = Folder::new();
    let dir = &*folder.join("store");
    std::fs::create_dir(dir).expect("a folder");
    std::fs::write(format!("{dir}/lock"), "").expect("a file");
    std::fs::write(format!("{dir}/primary-key.new"), "half").expect("a file");
    good(fed(&["core", "create", dir, "--name", "x"], b""));
    good(fed(&["bee", "put", dir, "key", "value", "--name", "y"], b""));
    let names: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|name| name.expect("a name").file_name()).collect();
    assert!(!names.contains(&"primary-key.new".into()), "{names:?}");
}

/// Kills an append in the middle, again and again: what is there is a prefix of the input in whole blocks, the files
/// are sound, and going on behind it makes it whole.
#[test]
fn an_append_that_is_killed_leaves_whole_blocks() {
    let folder = Folder::new();
    let dir = &*folder.join("log");
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n} {}", "x".repeat(n % 90))).collect();
    let mut draw = Seeded::new(6);
    good(fed(&["core", "create", dir], b""));
    let mut there = 0;
    for _ in 0..12 {
        let rest = lines[there..].join("\n") + "\n";
        let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(["core", "append", dir, "--lines"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("seckel starts");
        let some = usize::try_from(draw.below(rest.len() as u64 / 3)).expect("small");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(&rest.as_bytes()[..some]).expect("it reads");
        child.kill().expect("it lives");
        child.wait().expect("it ends");
        let length = usize::try_from(lengths(dir, &[]).0).expect("small");
        assert!(length >= there, "what was there stays");
        there = length;
    }
    assert!(code(&fed(&["audit", "core", dir], b"")) == 0);
    let rest = lines[there..].join("\n") + "\n";
    good(fed(&["core", "append", dir, "--lines"], rest.as_bytes()));
    let all = good(fed(&["core", "cat", dir, "--lines"], b""));
    assert_eq!(all, (lines.join("\n") + "\n").as_bytes());
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_read_and_readers_follow() {
    let folder = Folder::new();
    let dir = &*folder.join("log");
    good(fed(&["core", "append", dir, "--lines"], b"one\n"));
    let mut writer = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(["core", "append", dir, "--lines"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("seckel starts");
    let mut reader = super::Seckel::start(&["core", "cat", dir, "--live", "--lines"]);
    assert_eq!(reader.line(), "one");
    let mut stdin = writer.stdin.take().expect("piped");
    for line in ["two", "three"] {
        writeln!(stdin, "{line}").expect("it reads");
        assert_eq!(reader.line(), line, "a reader needs no lock, and sees what is appended");
    }
    let second = fed(&["core", "append", dir], b"x");
    assert!(bad(&second, 4).contains("in use by another process"), "two writers would damage it");
    stdin.write_all(b"four\nfi").expect("it reads");
    assert_eq!(reader.line(), "four");
    let signalled = Command::new("kill").args(["-INT", &writer.id().to_string()]).status().expect("kill");
    assert!(signalled.success());
    let mut said = String::new();
    writer.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(writer.wait().expect("it ends").code(), Some(130));
    assert_eq!(said, "Appended: 4 blocks, length 5\n");
    assert_eq!(good(fed(&["core", "cat", dir, "--lines"], b"")), b"one\ntwo\nthree\nfour\nfi\n");
}

#[test]
fn blocks_are_encrypted_for_who_has_the_key() {
    let folder = Folder::new();
    let dir = &*folder.join("log");
    let (key, other) = ("07".repeat(32), "08".repeat(32));
    good(fed(&["core", "append", dir, "--lines", "--encryption-key", &key], b"one\ntwo\n"));
    good(fed(&["core", "append", dir, "--lines", "--encryption-key", &key], b"three\n"));
    let read = good(fed(&["core", "cat", dir, "--lines", "--encryption-key", &key], b""));
    assert_eq!(read, b"one\ntwo\nthree\n");
    let sealed = good(fed(&["core", "get", dir, "0"], b""));
    assert_eq!(sealed.len(), 8 + 3, "the padding, and what cannot be read");
    assert!(!sealed.ends_with(b"one"));
    let wrong = fed(&["core", "get", dir, "0", "--encryption-key", &other], b"");
    assert!(!wrong.stdout.ends_with(b"one"));
    assert_eq!(code(&fed(&["audit", "core", dir], b"")), 0, "who checks it needs no key");
    // A map in an encrypted core.
    let map = &*folder.join("map");
    good(fed(&["bee", "put", map, "a", "b", "--encryption-key", &key], b""));
    assert_eq!(good(fed(&["bee", "get", map, "a", "--encryption-key", &key], b"")), b"b");
    assert!(bad(&fed(&["bee", "get", map, "a"], b""), 1).contains("no hyperbee"));
}

#[test]
fn a_block_has_a_longest_and_the_way_out_is_told() {
    let folder = Folder::new();
    let dir = &*folder.join("log");
    let long = vec![b'x'; ::seckel::base::limits::BLOCK_MAX + 1];
    let told = fed(&["core", "append", dir], &long);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(code(&told), 1, "{said}");
    assert!(said.contains("--block-size"), "{said}");
    assert_eq!(lengths(dir, &[]), (0, 0));
    good(fed(&["core", "append", dir, "--block-size", "1000000"], &long));
    assert_eq!(lengths(dir, &[]).1, long.len() as u64);
    assert_eq!(good(fed(&["core", "cat", dir], b"")), long);
}
