//! The same folder, opened by turns by seckel and by hypercore 10.

use std::path::{Path, PathBuf};

use seckel::base::{Cx, Entropy, Error, NoTrace, Seeded, Time, hex};
use seckel::crypto::KeyPair;
use seckel::edge::files::Files;
use seckel::hypercore::{Durability, Encryption, Hypercore, Open, auth, multisig};
use seckel::wire::encode;
use seckel::wire::hypercore::{Grow, Request, Seek, Wanted};
use seckel::wire::manifest::{DEFAULT_NAMESPACE, Manifest, Signer};
use serde_json::{Value, json};

use crate::support::{Node, skipped};

const SEED: [u8; 32] = [7; 32];

pub struct Folder {
    root: PathBuf,
    pub disk: Files,
    entropy: Seeded,
}

impl Folder {
    pub fn new(name: &str) -> Folder {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("core-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let disk = Files::open(&root).expect("a folder");
        Folder { root, disk, entropy: Seeded::new(1) }
    }

    pub fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: Time::default(),
            entropy: &mut self.entropy,
            disk: &mut self.disk,
            trace: &mut NoTrace,
        };
        act(&mut cx)
    }

    pub fn open(&mut self, open: Open) -> Hypercore {
        self.with(|cx| Hypercore::open(cx, "core", open)).expect("opens")
    }

    pub fn path(&self) -> Value {
        json!(self.root.join("core"))
    }

    pub fn node(&self) -> Node {
        Node::start("hypercore.js", &[])
    }

    fn append(&mut self, core: &mut Hypercore, blocks: &[Vec<u8>]) {
        self.with(|cx| core.append(cx, blocks)).expect("appends");
    }

    /// The same as the script's `state`.
    pub fn state(&mut self, core: &mut Hypercore) -> Value {
        let blocks: Vec<Option<String>> = (0..core.length())
            .map(|n| self.with(|cx| core.get(cx, n)).expect("reads").map(|block| hex::encode(&block)))
            .collect();
        json!({
            "key": hex::encode(core.key()),
            "discoveryKey": hex::encode(core.discovery_key()),
            "length": core.length(),
            "fork": core.fork(),
            "byteLength": core.byte_length(),
            "contiguousLength": core.contiguous_length(),
            "writable": core.writable(),
            "treeHash": hex::encode(&core.tree_hash()),
            "signature": hex::encode(core.signature()),
            "blocks": blocks,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// How to make a core of that manifest version; None: compat.
fn kind(version: Option<u64>) -> Open {
    let key_pair = KeyPair::from_seed(SEED);
    let manifest = version.map(|version| auth::single_signer(version, key_pair.public));
    Open { key_pair: Some(key_pair), manifest, compat: version.is_none(), ..Open::default() }
}

fn existing() -> Open {
    Open { create: false, ..Open::default() }
}

fn batch(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| vec![n as u8; (n * 37 % 600) as usize]).collect()
}

fn hexes(blocks: &[Vec<u8>]) -> Value {
    blocks.iter().map(|block| hex::encode(block)).collect()
}

/// pitfalls 14.1: compat and manifest cores alike.
// proves hypercore.57
#[test]
fn node_reads_and_goes_on_with_what_seckel_wrote() {
    if skipped("hypercore: seckel writes") {
        return;
    }
    for version in [None, Some(0), Some(1)] {
        for closed in [true, false] {
            let mut folder = Folder::new(&format!("ours-{version:?}-{closed}"));
            let mut core = folder.open(kind(version));
            folder.append(&mut core, &batch(0, 1));
            folder.append(&mut core, &batch(1, 40));
            if closed {
                folder.with(|cx| core.close(cx)).expect("closes");
                core = folder.open(existing());
            }
            (41..50).for_each(|n| folder.append(&mut core, &batch(n, 1)));
            folder.with(|cx| core.set_user_data(cx, "note", Some(b"ours"))).expect("sets");
            let ours = folder.state(&mut core);
            if closed {
                folder.with(|cx| core.close(cx)).expect("closes");
            }
            let mut node = folder.node();
            let theirs = node.ask(&json!({"do": "open", "folder": folder.path()}));
            assert_eq!(theirs, ours, "{version:?} {closed}");
            node.ask(&json!({"do": "append", "batches": [hexes(&batch(50, 3)), hexes(&batch(53, 1))]}));
            let theirs = node.ask(&json!({"do": "read"}));
            node.ask(&json!({"do": "close"}));
            node.finish();
            let mut core = folder.open(existing());
            assert_eq!(folder.state(&mut core), theirs, "{version:?} {closed}");
            assert_eq!(core.user_data("note"), Some(&b"ours"[..]));
            folder.append(&mut core, &batch(54, 2));
            let ours = folder.state(&mut core);
            let mut node = folder.node();
            assert_eq!(node.ask(&json!({"do": "open", "folder": folder.path()})), ours);
            node.finish();
        }
    }
}

// proves hypercore.33, hypercore.52, hypercore.57
#[test]
fn seckel_reads_and_goes_on_with_what_node_wrote() {
    if skipped("hypercore: node writes") {
        return;
    }
    for version in [None, Some(0), Some(1)] {
        let mut folder = Folder::new(&format!("theirs-{version:?}"));
        let seed = hex::encode(&SEED);
        let mut node = folder.node();
        let made =
            node.ask(&json!({"do": "open", "folder": folder.path(), "seed": seed, "version": version}));
        assert_eq!(made["length"], 0);
        // Node flushes at the first and at every fourth change: each number of entries is seen.
        for n in 0..9 {
            node.ask(&json!({"do": "append", "batches": [hexes(&batch(n, 1 + n % 3))]}));
            if n == 3 {
                node.ask(&json!({"do": "note", "key": "note", "value": "theirs"}));
            }
            let theirs = node.ask(&json!({"do": "read"}));
            let mut core = folder.open(Open { read_only: true, ..existing() });
            let mut ours = folder.state(&mut core);
            assert_eq!(ours["writable"], false);
            ours["writable"] = json!(true);
            assert_eq!(ours, theirs, "{version:?} {n}");
            let refused = folder.with(|cx| core.append(cx, &[b"no"]));
            assert!(matches!(refused, Err(Error::Refused(_))));
        }
        for step in [
            json!({"do": "truncate", "length": 11}),
            json!({"do": "clear", "start": 2, "end": 5}),
            json!({"do": "truncate", "length": 8}),
            json!({"do": "clear", "start": 5, "end": 6}),
        ] {
            let theirs = node.ask(&step);
            let mut core = folder.open(Open { read_only: true, ..existing() });
            let mut ours = folder.state(&mut core);
            ours["writable"] = json!(true);
            assert_eq!(ours, theirs, "{version:?} {step}");
        }
        node.ask(&json!({"do": "close"}));
        node.finish();
        let mut core = folder.open(existing());
        assert!(core.writable());
        assert_eq!(core.user_data("note"), Some(&b"theirs"[..]));
        folder.append(&mut core, &batch(100, 5));
        folder.with(|cx| core.truncate(cx, 9)).expect("truncates");
        folder.append(&mut core, &batch(200, 2));
        let ours = folder.state(&mut core);
        let mut node = folder.node();
        assert_eq!(node.ask(&json!({"do": "open", "folder": folder.path()})), ours);
        node.finish();
    }
}

// proves hypercore.46
#[test]
fn the_same_keys_and_blocks_give_the_same_trees_and_signatures() {
    if skipped("hypercore: same trees") {
        return;
    }
    for version in [None, Some(0), Some(1)] {
        let (mut ours, theirs) =
            (Folder::new(&format!("a-{version:?}")), Folder::new(&format!("b-{version:?}")));
        let mut core = ours.open(Open { durability: Durability::Kernel, ..kind(version) });
        let mut node = theirs.node();
        let seed = hex::encode(&SEED);
        node.ask(&json!({"do": "open", "folder": theirs.path(), "seed": seed, "version": version}));
        for (n, count) in [(0, 1), (1, 7), (8, 1), (9, 16), (25, 2)] {
            ours.append(&mut core, &batch(n, count));
            node.ask(&json!({"do": "append", "batches": [hexes(&batch(n, count))]}));
            assert_eq!(ours.state(&mut core), node.ask(&json!({"do": "read"})), "{version:?} {n}");
        }
        ours.with(|cx| core.truncate(cx, 5)).expect("truncates");
        assert_eq!(node.ask(&json!({"do": "truncate", "length": 5})), ours.state(&mut core));
        ours.append(&mut core, &batch(90, 3));
        node.ask(&json!({"do": "append", "batches": [hexes(&batch(90, 3))]}));
        assert_eq!(ours.state(&mut core), node.ask(&json!({"do": "read"})));
        node.finish();
    }
}

/// pitfalls 14.4: more blocks than a page of bits has.
#[test]
fn many_blocks_cross_pages_both_ways() {
    if skipped("hypercore: pages") {
        return;
    }
    let count = 33_000_u64;
    let blocks: Vec<Vec<u8>> = (0..count).map(|n| format!("block {n}").into_bytes()).collect();
    let mut folder = Folder::new("pages");
    let mut core = folder.open(kind(Some(1)));
    folder.append(&mut core, &blocks);
    folder.with(|cx| core.close(cx)).expect("closes");
    let mut node = folder.node();
    node.say(&json!({"do": "open", "folder": folder.path()}));
    let state = node.hear();
    assert_eq!((&state["length"], &state["contiguousLength"]), (&json!(count), &json!(count)));
    assert_eq!(state["blocks"], hexes(&blocks));
    node.ask(&json!({"do": "fill", "count": count}));
    node.ask(&json!({"do": "close"}));
    node.finish();
    let mut core = folder.open(existing());
    assert_eq!((core.length(), core.contiguous_length()), (2 * count, 2 * count));
    for n in [0, 1, 32_767, 32_768, count - 1, count, 65_535, 65_536, 2 * count - 1] {
        let read = folder.with(|cx| core.get(cx, n)).expect("reads").expect("is here");
        assert_eq!(read, blocks[(n % count) as usize]);
    }
}

#[test]
fn the_table_of_the_interface_lacks_nothing() {
    if skipped("hypercore: interface") {
        return;
    }
    let note = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-protocol-notes/hypercore.md");
    let note = std::fs::read_to_string(note).expect("the note");
    let (_, table) = note.split_once("### What the reference offers").expect("the section");
    let (table, _) = table.split_once("\n## ").expect("the next one");
    let words: Vec<&str> = table.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut node = Node::start("hypercore.js", &[]);
    let offered = node.ask(&json!({"do": "interface"}));
    let offered = offered.as_array().expect("names");
    assert!(offered.len() > 60, "{} names", offered.len());
    let missing: Vec<&Value> =
        offered.iter().filter(|name| !words.contains(&name.as_str().expect("a name"))).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    node.finish();
}

/// pitfalls 14.4, 14.1: what one side encrypts the other reads, in manifest and compat cores.
// proves hypercore.90, hypercore.91, hypercore.92, hypercore.93
#[test]
fn encrypted_cores_are_the_same_on_both_sides() {
    if skipped("hypercore: encryption") {
        return;
    }
    let key = [9; 32];
    for version in [None, Some(0), Some(1)] {
        for block in [false, true] {
            let encryption = if block { Encryption::of_blocks(key) } else { Encryption::new(key) };
            let name = format!("sealed-{version:?}-{block}");
            let (mut ours, theirs) = (Folder::new(&format!("{name}-a")), Folder::new(&format!("{name}-b")));
            let mut core = ours.open(Open { encryption: Some(encryption.clone()), ..kind(version) });
            let mut node = theirs.node();
            let mut message = json!({"do": "open", "folder": theirs.path(), "seed": hex::encode(&SEED)});
            message["version"] = json!(version);
            message["encryption"] = json!({"key": hex::encode(&key), "block": block});
            node.ask(&message);
            for (n, count) in [(0, 1), (1, 5), (6, 2)] {
                ours.append(&mut core, &batch(n, count));
                node.ask(&json!({"do": "append", "batches": [hexes(&batch(n, count))]}));
                assert_eq!(ours.state(&mut core), node.ask(&json!({"do": "read"})), "{name} {n}");
            }
            // Another fork, and with it other padding.
            ours.with(|cx| core.truncate(cx, 4)).expect("truncates");
            node.ask(&json!({"do": "truncate", "length": 4}));
            ours.append(&mut core, &batch(30, 3));
            node.ask(&json!({"do": "append", "batches": [hexes(&batch(30, 3))]}));
            assert_eq!(ours.state(&mut core), node.ask(&json!({"do": "read"})), "{name}");
            for at in 0..=core.byte_length() {
                let found = ours.with(|cx| core.seek(cx, at)).expect("reads").expect("all nodes are here");
                let theirs = node.ask(&json!({"do": "seek", "bytes": at}));
                assert_eq!(json!([found.0, found.1]), theirs, "{name}, byte {at}");
            }
            node.ask(&json!({"do": "close"}));
            node.finish();
            // Each reads the files of the other, and without the key neither.
            let mut theirs = theirs;
            let mut other = theirs.open(Open { encryption: Some(encryption), ..existing() });
            assert_eq!(theirs.state(&mut other), ours.state(&mut core), "{name}");
            other.set_encryption(None);
            let raw = theirs.with(|cx| other.get(cx, 1)).expect("reads").expect("is here");
            assert_eq!(raw.len(), batch(1, 1)[0].len() + 8);
            assert_eq!(Some(raw), ours.with(|cx| core.get_raw(cx, 1)).expect("reads"));
        }
    }
}

/// What histories may hold besides appends and user data.
#[derive(Clone, Copy)]
struct Holds {
    clears: bool,
    cuts: bool,
}

/// A drawn change, as the script and we are told of it.
fn drawn(draw: &mut Seeded, holds: Holds, length: u64, fork: u64) -> Value {
    let block = |draw: &mut Seeded| {
        let mut bytes = vec![0; draw.below(300) as usize];
        draw.fill(&mut bytes);
        json!(hex::encode(&bytes))
    };
    match draw.below(12) {
        0..=3 => json!({"do": "append", "batches": [[block(draw)]]}),
        4..=6 => {
            let count = 1 + draw.below(20);
            let blocks: Vec<Value> = (0..count).map(|_| block(draw)).collect();
            json!({"do": "append", "batches": [blocks]})
        }
        7 | 8 if holds.clears && length > 1 => {
            let start = draw.below(length);
            json!({"do": "clear", "start": start, "end": start + 1 + draw.below(length - start)})
        }
        9 if holds.cuts && length > 0 => json!({"do": "truncate", "length": draw.below(length)}),
        10 if holds.cuts && length > 1 => {
            json!({"do": "truncate", "length": 1 + draw.below(length), "fork": fork + 1 + draw.below(5)})
        }
        _ => {
            json!({"do": "note", "key": format!("n{}", draw.below(3)), "value": format!("{}", draw.below(99))})
        }
    }
}

/// The same change here.
fn act(folder: &mut Folder, core: &mut Hypercore, change: &Value) {
    let number = |name: &str| change[name].as_u64();
    match change["do"].as_str().expect("a name") {
        "append" => {
            let batch = change["batches"][0].as_array().expect("blocks").iter();
            let blocks: Vec<Vec<u8>> = batch.map(bytes).collect();
            folder.append(core, &blocks);
        }
        "clear" => {
            let (start, end) = (number("start").expect("there"), number("end").expect("there"));
            folder.with(|cx| core.clear(cx, start, end)).expect("clears");
        }
        "truncate" => {
            let fork = number("fork").unwrap_or(core.fork() + 1);
            let length = number("length").expect("there");
            folder.with(|cx| core.truncate_to(cx, length, fork)).expect("truncates");
        }
        _ => {
            let (key, value) =
                (change["key"].as_str().expect("text"), change["value"].as_str().expect("text"));
            folder.with(|cx| core.set_user_data(cx, key, Some(value.as_bytes()))).expect("sets");
        }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hex")
}

/// Without what hypercore 10 counts otherwise: after clearing (see the notes), and unsigned trees of length 0.
fn comparable(mut state: Value, newest: bool) -> Value {
    if !newest {
        state["contiguousLength"] = json!(null);
        if state["length"] == 0 {
            state["signature"] = json!(null);
        }
    }
    state
}

/// Appends, batches, clears, cuts to any fork and user data, encrypted or not, drawn: after each the core is the same
/// here, in hypercore 10 and in hypercore 11. Then each reads the files of the other.
// proves hypercore.46, hypercore.57, hypercore.90, hypercore.96
#[test]
fn drawn_histories_are_the_same_on_both_sides() {
    if skipped("hypercore: drawn histories") {
        return;
    }
    for (seed, version) in [(1, None), (2, Some(0)), (3, Some(1)), (4, Some(1)), (5, None)] {
        for newest in [false, true] {
            let mut draw = Seeded::new(seed).fork("history");
            // Hypercore 11 cannot cut a core to where it cleared: it forgets nodes that it needs (hypercore.48).
            let holds = Holds { clears: !newest || seed % 2 == 0, cuts: !newest || seed % 2 == 1 };
            let key = [seed as u8; 32];
            let encryption = (seed % 2 == 1).then(|| Encryption::new(key));
            let name = format!("history-{seed}-{newest}");
            let (mut ours, theirs) = (Folder::new(&format!("{name}-a")), Folder::new(&format!("{name}-b")));
            let mut core = ours.open(Open { encryption: encryption.clone(), ..kind(version) });
            let mut node = theirs.node();
            let mut open = json!({"do": "open", "folder": theirs.path(), "newest": newest});
            (open["seed"], open["version"]) = (json!(hex::encode(&SEED)), json!(version));
            if encryption.is_some() {
                open["encryption"] = json!({"key": hex::encode(&key), "block": false});
            }
            node.ask(&open);
            for step in 0..60 {
                let change = drawn(&mut draw, holds, core.length(), core.fork());
                act(&mut ours, &mut core, &change);
                let answer = node.ask(&change);
                assert_eq!(answer["error"], json!(null), "{name}, step {step}: {change}");
                let theirs = comparable(node.ask(&json!({"do": "read"})), newest);
                assert_eq!(
                    comparable(ours.state(&mut core), newest),
                    theirs,
                    "{name}, step {step}: {change}"
                );
            }
            let at = core.byte_length() / 2;
            let found = ours.with(|cx| core.seek(cx, at)).expect("reads").expect("all nodes are here");
            if !newest {
                assert_eq!(node.ask(&json!({"do": "seek", "bytes": at})), json!([found.0, found.1]));
            }
            node.ask(&json!({"do": "close"}));
            node.finish();
            if newest {
                continue;
            }
            let mut theirs = theirs;
            let mut other = theirs.open(Open { encryption, ..existing() });
            assert_eq!(comparable(theirs.state(&mut other), false), comparable(ours.state(&mut core), false));
            for key in ["n0", "n1", "n2"] {
                assert_eq!(other.user_data(key), core.user_data(key), "{name}");
            }
            ours.with(|cx| core.close(cx)).expect("closes");
            let mut node = ours.node();
            let mut open = json!({"do": "open", "folder": ours.path(), "encryption": open["encryption"]});
            if open["encryption"].is_null() {
                open.as_object_mut().expect("an object").remove("encryption");
            }
            let read = comparable(node.ask(&open), false);
            assert_eq!(read, comparable(theirs.state(&mut other), false), "{name}");
            node.finish();
        }
    }
}

/// Several signers, some of them ahead, in both forms: what one side puts together the other takes, and both store the
/// same.
// proves hypercore.21, hypercore.58, hypercore.59, hypercore.95
#[test]
fn signatures_of_several_are_taken_on_both_sides() {
    if skipped("hypercore: several signers") {
        return;
    }
    for version in [0, 1] {
        let mut draw = Seeded::new(40 + version).fork("several");
        let (mut ours, theirs) =
            (Folder::new(&format!("many-{version}-a")), Folder::new(&format!("many-{version}-b")));
        let seeds: Vec<[u8; 32]> = (1..=3).map(|n| [n; 32]).collect();
        let pairs: Vec<KeyPair> = seeds.iter().map(|seed| KeyPair::from_seed(*seed)).collect();
        let signers =
            pairs.iter().map(|pair| Signer { namespace: DEFAULT_NAMESPACE, public: pair.public }).collect();
        let manifest = Manifest { version, allow_patch: true, quorum: 2, signers, ..Manifest::default() };
        let mut core = ours.open(Open { manifest: Some(manifest), ..Open::default() });
        let mut logs: Vec<(Folder, Hypercore)> = (0..3)
            .map(|n| {
                let mut folder = Folder::new(&format!("many-{version}-log-{n}"));
                let log = folder.open(Open { key_pair: Some(pairs[n].clone()), ..Open::default() });
                (folder, log)
            })
            .collect();
        let mut node = theirs.node();
        let hexes: Vec<String> = seeds.iter().map(|seed| hex::encode(seed)).collect();
        let folder = theirs.path();
        let several =
            json!({"do": "several", "folder": folder, "seeds": hexes, "version": version, "quorum": 2});
        assert_eq!(node.ask(&several)["key"], hex::encode(core.key()));
        let auth = core.auth().expect("known").clone();
        let all: Vec<Vec<u8>> = (0..400_u64).map(|n| n.to_le_bytes()[..(n % 8) as usize].to_vec()).collect();
        for round in 0..12 {
            // Each log grows by some blocks; two of them sign what both have.
            let base = core.length() as usize;
            let mut blocks = Vec::new();
            for (folder, log) in &mut logs {
                let have = log.length() as usize;
                let to = have.max(base + 1 + draw.below(20) as usize);
                folder.append(log, &all[have..to]);
                blocks.push(all[have..to].iter().map(|block| hex::encode(block)).collect::<Vec<_>>());
            }
            let (one, other) = [(0, 1), (2, 0), (1, 2)][draw.below(3) as usize];
            let length = logs[one].1.length().min(logs[other].1.length());
            let mut parts = Vec::new();
            for n in [one, other] {
                let (folder, log) = &mut logs[n];
                parts.push(folder.with(|cx| log.sign_part(cx, &auth, &pairs[n], length)).expect("signs"));
            }
            let signature = hex::encode(&multisig::assemble(&auth, &parts));
            let said = node.ask(&json!({
                "do": "sign", "version": version, "blocks": blocks, "signers": [one, other], "length": length,
            }));
            assert_eq!(said["signature"], signature, "version {version}, round {round}");
            let more = &all[base..length as usize];
            let list: Vec<String> = more.iter().map(|block| hex::encode(block)).collect();
            let mut wrong = bytes(&json!(signature));
            wrong[10] ^= 1;
            let refused = ours.with(|cx| core.append_signed(cx, more, &wrong));
            assert!(matches!(refused, Err(Error::Refused(_))));
            let wrong = json!({"do": "take", "blocks": list, "signature": hex::encode(&wrong)});
            assert_eq!(node.ask(&wrong)["refused"], "INVALID_SIGNATURE");
            let signed = bytes(&json!(signature));
            ours.with(|cx| core.append_signed(cx, more, &signed)).expect("signed by two");
            let taken = node.ask(&json!({"do": "take", "blocks": list, "signature": signature}));
            let mut state = ours.state(&mut core);
            state["writable"] = taken["writable"].clone();
            assert_eq!(state, taken, "version {version}, round {round}");
        }
        node.finish();
    }
}

/// Answers to drawn requests, of cores that were cut and gone on with, are the same bytes; what one side refuses the
/// other does too.
// proves hypercore.98, replication.20, replication.23, replication.24, replication.25, replication.26
#[test]
fn drawn_proofs_are_the_same_on_both_sides() {
    if skipped("hypercore: drawn proofs") {
        return;
    }
    let mut given = 0;
    for seed in 1..=6 {
        let mut draw = Seeded::new(seed).fork("proofs");
        let encryption = (seed % 2 == 1).then(|| Encryption::new([9; 32]));
        let (mut ours, theirs) =
            (Folder::new(&format!("prove-{seed}-a")), Folder::new(&format!("prove-{seed}-b")));
        let mut core = ours.open(Open { encryption: encryption.clone(), ..kind(Some(1)) });
        let mut node = theirs.node();
        let mut open = json!({"do": "open", "folder": theirs.path(), "newest": true, "version": 1});
        open["seed"] = json!(hex::encode(&SEED));
        if encryption.is_some() {
            open["encryption"] = json!({"key": hex::encode(&[9; 32]), "block": false});
        }
        node.ask(&open);
        for _ in 0..12 {
            for _ in 0..4 {
                let holds = Holds { clears: false, cuts: true };
                let change = drawn(&mut draw, holds, core.length(), core.fork());
                act(&mut ours, &mut core, &change);
                node.ask(&change);
            }
            for _ in 0..25 {
                let (request, told) = request(&mut draw, &core);
                let made = ours.with(|cx| core.proof(cx, &request)).map(|data| hex::encode(&encode(&data)));
                let said = node.ask(&json!({"do": "prove", "request": told}));
                match made {
                    Ok(bytes) => {
                        assert_eq!(said["proof"], bytes, "seed {seed}, length {}: {told}", core.length());
                        given += 1;
                    }
                    Err(why) => {
                        assert_ne!(
                            said["none"],
                            Value::Null,
                            "seed {seed}, length {}: {told}: {why}",
                            core.length()
                        );
                    }
                }
            }
        }
        node.finish();
    }
    assert!(given > 600, "{given} of 1800");
}

/// A drawn request, mostly one that makes sense.
fn request(draw: &mut Seeded, core: &Hypercore) -> (Request, Value) {
    let length = core.length().max(1);
    let (mut request, mut told) = (Request::default(), json!({}));
    let start = draw.below(length + 1);
    if draw.chance(500) {
        let grow = Grow { start, length: (length - start).min(1 + draw.below(length)) };
        request.upgrade = Some(grow);
        told["upgrade"] = json!({"start": grow.start, "length": grow.length});
    }
    match draw.below(3) {
        0 => {
            let wanted = Wanted { index: draw.below(length), nodes: draw.below(4) };
            request.block = Some(wanted);
            told["block"] = json!({"index": wanted.index, "nodes": wanted.nodes});
        }
        1 => {
            let mut wanted = Wanted { index: draw.below(2 * length), nodes: draw.below(4) };
            let last = (wanted.index + (1 << wanted.index.trailing_ones()) - 1) / 2;
            // Upstream may end of a node that is on both sides of where the upgrade starts.
            if request.upgrade.is_some_and(|grow| wanted.index < 2 * grow.start && grow.start <= last) {
                wanted.index = 0;
            }
            request.hash = Some(wanted);
            told["hash"] = json!({"index": wanted.index, "nodes": wanted.nodes});
        }
        _ => {}
    }
    // Beside a block or hash upstream takes seeks in the first of its roots only. (replication.md, "Seen upstream")
    let first = 1 << length.ilog2();
    let sound = request.block.is_none_or(|block| block.index < first)
        && request.hash.is_none_or(|hash| hash.index < 2 * first - 1);
    if sound && draw.chance(400) {
        let seek = Seek { bytes: draw.below(core.byte_length() + 2), padding: core.padding() };
        request.seek = Some(seek);
        told["seek"] = json!({"bytes": seek.bytes, "padding": seek.padding});
    }
    (request, told)
}

/// Proofs that need no connection are the same bytes, and each side takes the other's.
// proves hypercore.99, hypercore.100
#[test]
fn remote_proofs_are_the_same_on_both_sides() {
    if skipped("hypercore: remote proofs") {
        return;
    }
    let (mut ours, theirs) = (Folder::new("told-a"), Folder::new("told-b"));
    let mut core = ours.open(kind(Some(1)));
    let mut node = theirs.node();
    let seed = hex::encode(&SEED);
    node.ask(&json!({"do": "open", "folder": theirs.path(), "seed": seed, "version": 1, "newest": true}));
    for (n, count) in [(0, 1), (1, 7), (8, 5)] {
        ours.append(&mut core, &batch(n, count));
        for block in [None, Some(n), Some(0)] {
            let proof = ours.with(|cx| core.remote_proof(cx, block)).expect("a proof");
            let told = node.ask(&json!({"do": "check", "proof": hex::encode(&proof)}));
            assert_eq!((&told["length"], &told["newer"]), (&json!(core.length()), &json!(true)));
            assert_eq!(told["block"], block.map_or(json!(null), |n| json!(hex::encode(&batch(n, 1)[0]))));
        }
        node.ask(&json!({"do": "append", "batches": [hexes(&batch(n, count))]}));
        for block in [None, Some(n), Some(0)] {
            let proof = ours.with(|cx| core.remote_proof(cx, block)).expect("a proof");
            assert_eq!(node.ask(&json!({"do": "proof", "block": block}))["proof"], hex::encode(&proof));
        }
    }
    node.ask(&json!({"do": "append", "batches": [hexes(&batch(13, 2))]}));
    let said = bytes(&node.ask(&json!({"do": "proof", "block": 14}))["proof"]);
    let told = core.check_remote_proof(&said).expect("good");
    assert_eq!((told.length, told.newer, told.block), (15, true, Some((14, batch(14, 1)[0].clone()))));
    node.finish();
}

#[cfg(target_os = "linux")]
/// pitfalls 14.11: Node is killed in the middle of an append.
#[test]
fn seckel_opens_what_a_killed_node_left() {
    if skipped("hypercore: killed node") {
        return;
    }
    let mut folder = Folder::new("killed");
    let seed = hex::encode(&SEED);
    let mut node = folder.node();
    node.ask(&json!({"do": "open", "folder": folder.path(), "seed": seed, "version": 1}));
    node.ask(&json!({"do": "append", "batches": [hexes(&batch(0, 3)), hexes(&batch(3, 3))]}));
    node.say(&json!({"do": "die", "batches": [hexes(&batch(6, 200))]}));
    let pid = node.id();
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let mut core = folder.open(existing());
    assert!(core.length() == 6 || core.length() == 206, "{}", core.length());
    let before = core.length();
    folder.append(&mut core, &batch(before, 1));
    let state = folder.state(&mut core);
    assert_eq!(state["blocks"], hexes(&batch(0, before + 1)));
}
