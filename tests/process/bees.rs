//! `seckel bee` on a folder: what is put is what is got, at every version, whatever happens in between.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use ::seckel::base::{Entropy, Seeded};
use serde_json::{Value, json};

use super::cores::{bad, code, fed, good, json};
use super::seckel::Folder;

fn lines(bytes: Vec<u8>) -> Vec<Value> {
    let text = String::from_utf8(bytes).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn keys_are_put_got_listed_and_deleted() {
    let folder = Folder::new();
    let dir = &*folder.join("names");
    assert_eq!(json(fed(&["bee", "put", dir, "bob", "2", "--json"], b""))["seq"], 1);
    good(fed(&["bee", "put", dir, "alice"], b"from standard input\n"));
    good(fed(&["bee", "put", dir, "00ff", "0a", "--encoding", "hex"], b""));
    good(fed(&["bee", "put", dir, "bob", "3"], b""));

    assert_eq!(good(fed(&["bee", "get", dir, "bob"], b"")), b"3");
    assert_eq!(good(fed(&["bee", "get", dir, "bob", "--at", "2"], b"")), b"2", "as it was");
    assert_eq!(good(fed(&["bee", "get", dir, "alice"], b"")), b"from standard input\n");
    let got = json(fed(&["bee", "get", dir, "00ff", "--encoding", "hex", "--json"], b""));
    assert_eq!(got, json!({ "seq": 3, "key": "00ff", "value": "0a" }));
    assert!(bad(&fed(&["bee", "get", dir, "carol"], b""), 1).contains("not there"));
    assert!(bad(&fed(&["bee", "get", dir, "bob", "--at", "99"], b""), 1).contains("5 blocks"));
    assert!(bad(&fed(&["bee", "get", dir, "bob", "--encoding", "hex"], b""), 2).contains("not hex"));

    let listed = lines(good(fed(&["bee", "list", dir, "--gte", "a", "--json"], b"")));
    let keys: Vec<&Value> = listed.iter().map(|entry| &entry["key"]).collect();
    assert_eq!(keys, ["alice", "bob"]);
    assert_eq!(good(fed(&["bee", "list", dir, "--reverse", "--limit", "1"], b"")), b"bob\t3\n");
    assert_eq!(good(fed(&["bee", "list", dir, "--gt", "alice", "--lt", "bob"], b"")), b"");

    assert_eq!(json(fed(&["bee", "del", dir, "bob", "--json"], b""))["deleted"], true);
    assert_eq!(bad(&fed(&["bee", "del", dir, "bob"], b""), 1), "seckel: not there\n");
    let history = lines(good(fed(&["bee", "history", dir, "--since", "4", "--json"], b"")));
    assert_eq!(
        history,
        [
            json!({ "seq": 4, "type": "put", "key": "bob", "value": "3" }),
            json!({ "seq": 5, "type": "del", "key": "bob", "value": null }),
        ]
    );
    let newest = good(fed(&["bee", "history", dir, "--reverse", "--limit", "1"], b""));
    assert_eq!(newest, b"5 del bob\n");
    let diff = lines(good(fed(&["bee", "diff", dir, "2", "6", "--gte", "a", "--json"], b"")));
    assert_eq!(diff.len(), 2);
    assert_eq!((&diff[0]["key"], &diff[0]["old"]), (&json!("alice"), &Value::Null));
    assert_eq!(
        diff[1],
        json!({ "key": "bob", "old": { "seq": 1, "key": "bob", "value": "2" }, "new": null })
    );
    assert_eq!(good(fed(&["bee", "diff", dir, "2", "5", "--gte", "b"], b"")), b"- bob\t2\n+ bob\t3\n");
    assert_eq!(code(&fed(&["audit", "core", dir], b"")), 0);
}

#[test]
fn a_log_is_no_map_and_a_map_no_log() {
    let folder = Folder::new();
    let (log, map) = (&*folder.join("log"), &*folder.join("map"));
    good(fed(&["core", "append", log], b"just a line"));
    for args in [
        &["bee", "put", log, "a", "b"][..],
        &["bee", "get", log, "a"],
        &["bee", "list", log],
        &["bee", "import", log],
    ] {
        assert!(bad(&fed(args, b"{\"key\":\"a\"}"), 1).contains("no hyperbee"), "{args:?}");
    }
    good(fed(&["bee", "put", map, "a", "b"], b""));
    assert!(bad(&fed(&["core", "append", map], b"x"), 1).contains("seckel bee put"));
    assert_eq!(json(fed(&["core", "info", map, "--json"], b""))["length"], 2, "nothing was appended");
    assert_eq!(code(&fed(&["bee", "get", &folder.join("none"), "a"], b"")), 4);
}

#[test]
fn an_export_makes_the_same_map_elsewhere() {
    let folder = Folder::new();
    let (old, new, copy) = (&*folder.join("old"), &*folder.join("new"), &*folder.join("copy"));
    let mut draw = Seeded::new(13);
    let mut map: BTreeMap<Vec<u8>, Option<String>> = BTreeMap::new();
    let mut input = String::new();
    for n in 0..3000 {
        let bytes = draw.bytes32();
        let key = bytes[..1 + draw.below(3) as usize].to_vec();
        let hex = ::seckel::base::hex::encode;
        if draw.below(4) == 0 {
            input += &format!("{{\"type\":\"del\",\"key\":\"{}\"}}\n", hex(&key));
            map.remove(&key);
        } else {
            let value = (n % 50 != 0).then(|| hex(&bytes[..draw.below(32) as usize]));
            let json = value.as_ref().map_or("null".to_owned(), |value| format!("\"{value}\""));
            input += &format!("{{\"key\":\"{}\",\"value\":{json}}}\n\n", hex(&key));
            map.insert(key, value);
        }
    }
    let imported = json(fed(&["bee", "import", old, "--encoding", "hex", "--json"], input.as_bytes()));
    assert!(imported["changed"].as_u64() > Some(map.len() as u64), "{imported}");
    assert!(bad(&fed(&["bee", "export", old], b""), 1).contains("--encoding"));
    let exported = good(fed(&["bee", "export", old, "--encoding", "hex"], b""));
    let wanted: Vec<Value> = map
        .iter()
        .map(|(key, value)| json!({ "key": ::seckel::base::hex::encode(key), "value": value }))
        .collect();
    assert!(lines(exported.clone()) == wanted);
    good(fed(&["bee", "import", new, "--encoding", "hex"], &exported));
    assert!(good(fed(&["bee", "export", new, "--encoding", "hex"], b"")) == exported);
    let again = json(fed(&["bee", "import", new, "--encoding", "hex", "--json"], &exported));
    assert_eq!((&again["changed"], &again["same"]), (&json!(0), &json!(map.len())));
    let base64 = good(fed(&["bee", "export", new, "--encoding", "base64"], b""));
    good(fed(&["bee", "import", copy, "--encoding", "base64"], &base64));
    assert!(good(fed(&["bee", "export", copy, "--encoding", "hex"], b"")) == exported);
    // What a history says is what happened; in the midst of a batch a key without value looks like a deletion.
    let told = good(fed(&["bee", "history", old, "--encoding", "hex", "--json"], b""));
    let replayed = &*folder.join("replayed");
    good(fed(&["bee", "import", replayed, "--encoding", "hex"], &told));
    let replayed = lines(good(fed(&["bee", "export", replayed, "--encoding", "hex"], b"")));
    let with_values: Vec<Value> = wanted.into_iter().filter(|entry| !entry["value"].is_null()).collect();
    assert!(replayed.into_iter().filter(|entry| !entry["value"].is_null()).eq(with_values));
}

#[test]
fn a_wrong_line_is_named_and_those_before_it_count() {
    let folder = Folder::new();
    let dir = &*folder.join("names");
    let input =
        b"{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n{\"key\":3}\n{\"key\":\"c\"}\n";
    let told = fed(&["bee", "import", dir], input);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(code(&told), 1);
    assert!(said.contains("line 3") && said.contains("not a string"), "{said}");
    assert_eq!(good(fed(&["bee", "list", dir], b"")), b"a\t1\nb\t2\n");
}

#[test]
fn a_sub_database_is_a_map_of_its_own() {
    let folder = Folder::new();
    let dir = &*folder.join("names");
    good(fed(&["bee", "put", dir, "a", "outside"], b""));
    good(fed(&["bee", "put", dir, "a", "1", "--sub", "users"], b""));
    good(fed(&["bee", "import", dir, "--sub", "users"], b"{\"key\":\"b\",\"value\":\"2\"}\n"));
    good(fed(&["bee", "put", dir, "a", "deep", "--sub", "users", "--sub", "more"], b""));
    good(fed(&["bee", "put", dir, "z", "outside"], b""));
    assert_eq!(good(fed(&["bee", "get", dir, "a", "--sub", "users"], b"")), b"1");
    assert_eq!(good(fed(&["bee", "get", dir, "a", "--sub", "users", "--sub", "more"], b"")), b"deep");
    let listed = good(fed(&["bee", "list", dir, "--sub", "users", "--lt", "c"], b""));
    assert_eq!(listed, b"a\t1\nb\t2\n");
    let history = good(fed(&["bee", "history", dir, "--sub", "users", "--reverse", "--limit", "1"], b""));
    assert_eq!(history, b"4 put more\\u{0}a\tdeep\n");
    let diff = good(fed(&["bee", "diff", dir, "3", "6", "--sub", "users", "--lt", "c"], b""));
    assert_eq!(diff, b"+ b\t2\n");
    good(fed(&["bee", "del", dir, "a", "--sub", "users"], b""));
    assert_eq!(good(fed(&["bee", "get", dir, "a"], b"")), b"outside");
    let outside =
        String::from_utf8(good(fed(&["bee", "export", dir, "--encoding", "hex"], b""))).expect("text");
    assert!(outside.contains("\"757365727300") && outside.lines().count() == 4, "{outside}");
}

/// Kills an import in the middle, again and again; the same import, run again, completes it.
#[test]
fn an_import_that_is_killed_is_run_again() {
    let folder = Folder::new();
    let dir = &*folder.join("names");
    let all: String =
        (0..8000).map(|n| format!("{{\"key\":\"key {n:05}\",\"value\":\"value {}\"}}\n", n * n)).collect();
    let mut draw = Seeded::new(14);
    for _ in 0..8 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(["bee", "import", dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("seckel starts");
        let some = usize::try_from(draw.below(all.len() as u64)).expect("small");
        let written = child.stdin.take().expect("piped").write_all(&all.as_bytes()[..some]);
        written.expect("it reads");
        child.kill().expect("it lives");
        child.wait().expect("it ends");
    }
    if std::path::Path::new(&format!("{dir}/oplog")).exists() {
        let code = code(&fed(&["audit", "core", dir], b""));
        assert!(code == 0 || code == 4, "sound, or killed before there was a header");
    }
    let last = json(fed(&["bee", "import", dir, "--json"], all.as_bytes()));
    assert_eq!(last["changed"].as_u64().zip(last["same"].as_u64()).map(|(a, b)| a + b), Some(8000));
    assert_eq!(last["length"], 8001, "nothing was put twice");
    assert!(good(fed(&["bee", "export", dir], b"")) == all.as_bytes());
    assert_eq!(code(&fed(&["audit", "core", dir], b"")), 0);
}

#[test]
fn a_live_history_shows_what_another_process_writes() {
    let folder = Folder::new();
    let dir = &*folder.join("names");
    good(fed(&["bee", "put", dir, "a", "1"], b""));
    let mut reader = super::Seckel::start(&["bee", "history", dir, "--live", "--limit", "3"]);
    assert_eq!(reader.line(), "1 put a\t1");
    good(fed(&["bee", "put", dir, "b", "2"], b""));
    assert_eq!(reader.line(), "2 put b\t2");
    good(fed(&["bee", "del", dir, "a"], b""));
    assert_eq!(reader.line(), "3 del a");
    reader.finish();
}
