use super::auth::TreeState;
use super::snapshot::Snapshot;
use super::*;
use crate::base::{NoTrace, Seeded, Time, hex};
use crate::sim::ramdisk::RamDisk;
use serde_json::Value;

mod basic;
mod encryption;
mod journal;
mod leaves;
mod manifest;
mod proofs;
mod reorgs;
mod sessions;
mod snapshots;
mod streams;

/// A machine with one disk.
pub(crate) struct Bench {
    pub disk: RamDisk,
    pub entropy: Seeded,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { disk: RamDisk::new(), entropy: Seeded::new(1) }
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

    fn open(&mut self, open: Open) -> Result<Hypercore, Error> {
        self.with(|cx| Hypercore::open(cx, "core", open))
    }

    fn create(&mut self) -> Hypercore {
        self.open(Open { key_pair: Some(keys()), ..Open::default() }).expect("a new core")
    }

    fn append(&mut self, core: &mut Hypercore, blocks: &[&[u8]]) -> u64 {
        self.with(|cx| core.append(cx, blocks)).expect("appends")
    }

    fn all(&mut self, core: &mut Hypercore) -> Vec<Vec<u8>> {
        (0..core.length())
            .map(|n| self.with(|cx| core.get(cx, n)).expect("reads").expect("is here"))
            .collect()
    }

    fn close(&mut self, core: &mut Hypercore) {
        self.with(|cx| core.close(cx)).expect("closes");
    }
}

pub(crate) fn keys() -> KeyPair {
    KeyPair::from_seed([1; 32])
}

fn sound(core: &Hypercore) -> bool {
    let state = TreeState { roots: core.roots(), length: core.length(), fork: core.fork() };
    core.length() == 0 || core.auth().is_some_and(|auth| auth.verify(&state, core.signature()))
}

fn vectors(name: &str) -> Vec<Value> {
    let text = match name {
        "merkle" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/merkle.json")),
        "manifest" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifest.json")),
        "storage" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/storage-v10.json")),
        other => panic!("no vectors {other}"),
    };
    let file: Value = serde_json::from_str(text).expect("the vectors");
    file["vectors"].as_array().expect("a list").clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hex")
}

#[test]
fn what_is_appended_is_read_also_after_reopening() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    assert_eq!(bench.append(&mut core, &[b"pear"]), 0);
    assert_eq!(bench.append(&mut core, &[b"", b"quince", b"apple"]), 1);
    assert_eq!(bench.append(&mut core, &[]), 4);
    assert_eq!((core.length(), core.byte_length(), core.contiguous_length()), (4, 15, 4));
    assert_eq!(bench.with(|cx| core.get(cx, 4)), Ok(None));
    assert!(core.has(3) && !core.has(4) && core.writable());
    for _ in 0..3 {
        let before = (*core.key(), core.tree_hash(), core.signature().to_vec());
        bench.close(&mut core);
        assert_eq!(bench.with(|cx| core.get(cx, 0)), Err(Error::NotOpen));
        core = bench.open(Open::default()).expect("the same core");
        assert_eq!((*core.key(), core.tree_hash(), core.signature().to_vec()), before);
        assert_eq!(bench.all(&mut core), [&b"pear"[..], b"", b"quince", b"apple"]);
        assert!(sound(&core) && core.writable());
    }
    bench.append(&mut core, &[b"more"]);
    bench.disk.release(); // the process ends without closing
    let mut core = bench.open(Open::default()).expect("the same core");
    assert_eq!(bench.all(&mut core).len(), 5);
}

fn lay(disk: &mut RamDisk, files: &Value) {
    for (name, file) in files.as_object().expect("files") {
        if file.is_null() {
            continue;
        }
        let mut content = vec![0; file["size"].as_u64().expect("a size") as usize];
        for segment in file["segments"].as_array().expect("segments") {
            let at = segment[0].as_u64().expect("an offset") as usize;
            let part = bytes(&segment[1]);
            content[at..at + part.len()].copy_from_slice(&part);
        }
        disk.put(&format!("core/{name}"), &content);
    }
}

// proves hypercore.24, hypercore.61
#[test]
fn directories_of_hypercore_10_open_at_every_step() {
    let mut steps = 0;
    for vector in vectors("storage").iter().filter(|vector| vector["expected"]["steps"].is_array()) {
        let key: Key = bytes(&vector["expected"]["key"]).try_into().expect("32 bytes");
        for step in vector["expected"]["steps"].as_array().expect("steps") {
            let mut bench = Bench::new();
            lay(&mut bench.disk, &step["files"]);
            let mut core = bench.open(Open { create: false, ..Open::default() }).expect("a core");
            let what = format!("{} {}", vector["name"], step["what"]);
            assert_eq!(*core.key(), key, "{what}");
            assert_eq!(step["length"], core.length(), "{what}");
            assert_eq!(step["fork"], core.fork(), "{what}");
            assert!(core.writable() && sound(&core), "{what}");
            for block in 0..core.length() {
                let read = bench.with(|cx| core.get(cx, block));
                assert_eq!(read.is_ok_and(|block| block.is_some()), core.has(block), "{what}");
            }
            bench.append(&mut core, &[b"and on"]);
            assert!(sound(&core), "{what}");
            steps += 1;
        }
    }
    assert!(steps > 10, "{steps}");
}

// proves hypercore.31, hypercore.35, hypercore.60
#[test]
fn a_new_core_is_byte_for_byte_upstreams() {
    for vector in vectors("storage").iter().filter(|vector| vector["expected"]["steps"].is_array()) {
        let mut wanted = RamDisk::new();
        lay(&mut wanted, &vector["expected"]["steps"][0]["files"]);
        let mut bench = Bench::new();
        let name = vector["name"].as_str().expect("a name");
        let version = if name.starts_with("v0") { 0 } else { 1 };
        let manifest = (!name.starts_with("compat")).then(|| auth::single_signer(version, keys().public));
        let compat = manifest.is_none();
        bench.open(Open { key_pair: Some(keys()), manifest, compat, ..Open::default() }).expect("a new core");
        assert_eq!(bench.disk.content("core/oplog"), wanted.content("core/oplog"), "{name}");
    }
}

fn blocks_of_vectors(all: &[Value]) -> Vec<Vec<u8>> {
    let vector = all.iter().find(|vector| vector["name"] == "blocks").expect("blocks");
    vector["expected"]["blocks"].as_array().expect("a list").iter().map(bytes).collect()
}

// proves hypercore.6, hypercore.7
#[test]
fn offsets_and_seeks_are_upstreams() {
    let all = vectors("merkle");
    let mut bench = Bench::new();
    let mut core = bench.create();
    let blocks: Vec<Vec<u8>> = blocks_of_vectors(&all).into_iter().take(33).collect();
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.close(&mut core); // so that nodes are read from the file
    let mut core = bench.open(Open::default()).expect("opens");
    let mut seen = 0;
    for vector in &all {
        let (input, wanted) = (&vector["inputs"], &vector["expected"]);
        if input["length"] != 33 {
            continue;
        }
        match vector["name"].as_str() {
            Some("seek") => {
                let at = input["bytes"].as_u64().expect("a number");
                let found = bench.with(|cx| core.seek(cx, at)).expect("reads");
                let Some(list) = wanted["result"].as_array() else { continue };
                assert_eq!(
                    found.map(|(block, rest)| serde_json::json!([block, rest])),
                    Some(Value::from(list.clone()))
                );
            }
            Some("byteRange") => {
                let index = input["treeIndex"].as_u64().expect("a number");
                if !wanted["offsetAndSize"][0].is_number() {
                    continue; // upstream's answer is no number
                }
                let start = flat_tree::left_span(index) / 2;
                let offset = bench.with(|cx| core.byte_offset(cx, start)).expect("reads");
                let size = bench.with(|cx| core.tree_node(cx, index)).expect("reads").expect("a node").size;
                assert_eq!(wanted["offsetAndSize"], serde_json::json!([offset, size]));
            }
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen >= 13, "{seen}");
}

// proves hypercore.46
#[test]
fn truncating_and_going_on_is_signed_as_upstream() {
    let all = vectors("merkle");
    let find = |name: &str| all.iter().find(|vector| vector["name"] == name).expect("there");
    let mut bench = Bench::new();
    let mut core = bench.create();
    let blocks: Vec<Vec<u8>> = blocks_of_vectors(&all).into_iter().take(33).collect();
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.with(|cx| core.truncate(cx, 7)).expect("truncates");
    let wanted = &find("truncate")["expected"];
    assert_eq!(wanted["treeHash"], hex::encode(&core.tree_hash()));
    assert_eq!(wanted["signature"], hex::encode(core.signature()));
    assert_eq!((core.fork(), core.length(), core.contiguous_length()), (1, 7, 7));
    let more = &find("append-after-truncate")["inputs"]["append"];
    for block in more.as_array().expect("a list") {
        bench.append(&mut core, &[block.as_str().expect("text").as_bytes()]);
    }
    let wanted = &find("append-after-truncate")["expected"];
    assert_eq!(wanted["treeHash"], hex::encode(&core.tree_hash()));
    assert_eq!(wanted["signature"], hex::encode(core.signature()));
    assert!(sound(&core));
}

// proves hypercore.24, hypercore.25
#[test]
fn key_manifest_and_key_pair_must_belong_together() {
    let public = keys().public;
    let v1 = auth::core_key(&auth::single_signer(1, public));
    let v0 = auth::core_key(&auth::single_signer(0, public));
    let stranger = KeyPair::from_seed([9; 32]);
    let mut bench = Bench::new();
    let wrong = [
        Open { key: Some(v1), key_pair: Some(stranger.clone()), ..Open::default() },
        Open { key: Some(v1), manifest: Some(auth::single_signer(0, public)), ..Open::default() },
    ];
    for open in wrong {
        assert!(matches!(bench.open(open), Err(Error::Invalid(_))));
    }
    for (key, compat) in [(public, true), (v1, false), (v0, false)] {
        let mut bench = Bench::new();
        let core = bench.open(Open { key: Some(key), key_pair: Some(keys()), ..Open::default() });
        let core = core.expect("opens");
        assert_eq!((core.key(), core.writable()), (&key, true));
        assert_eq!(core.auth().expect("known").is_compat(), compat);
    }
    let mut bench = Bench::new();
    assert_eq!(bench.open(Open { create: false, ..Open::default() }).err(), Some(Error::Missing));
    assert_eq!(bench.open(Open { read_only: true, ..Open::default() }).err(), Some(Error::Missing));
    assert!(bench.disk.content("core/oplog").is_none_or(<[u8]>::is_empty));
    let mut core = bench.open(Open { key: Some(v1), ..Open::default() }).expect("opens");
    assert!(!core.writable() && core.manifest().is_none());
    assert!(matches!(bench.with(|cx| core.append(cx, &[b"no"])), Err(Error::Refused(_))));
    bench.close(&mut core);
    for open in [
        Open { key: Some(v0), ..Open::default() },
        Open { manifest: Some(auth::single_signer(0, public)), ..Open::default() },
    ] {
        assert_eq!(bench.open(open).err(), Some(Error::Refused("another core is stored here")));
    }
    let fresh = Bench::new().open(Open::default()).expect("a new key pair");
    assert!(fresh.writable() && fresh.key() != &v1);
}

/// pitfalls 14.12: the oplog cut at every byte, and each byte of it spoiled.
// proves hypercore.32, hypercore.33
#[test]
fn a_torn_oplog_opens_to_what_came_before() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let mut ends = vec![bench.disk.content("core/oplog").expect("there").len()];
    for n in 0..4_u8 {
        bench.append(&mut core, &[&[n; 3], &[n; 40]]);
        ends.push(bench.disk.content("core/oplog").expect("there").len());
    }
    let whole = bench.disk.content("core/oplog").expect("there").to_vec();
    for len in (0..400).chain(8180..=whole.len()) {
        let mut torn = Bench { disk: bench.disk.clone(), entropy: Seeded::new(3) };
        torn.disk.release();
        torn.disk.put("core/oplog", &whole[..len]);
        if len < 8192 {
            torn.disk.put("core/data", b""); // nothing is written before there is a header
        }
        let opened = torn.open(Open { key_pair: Some(keys()), ..Open::default() });
        let expected = ends.iter().filter(|end| **end <= len).count().saturating_sub(1) as u64 * 2;
        let mut core = opened.unwrap_or_else(|error| panic!("{len}: {error}"));
        assert_eq!(core.length(), expected, "{len}");
        assert_eq!(torn.append(&mut core, &[b"and on"]), expected);
    }
    for at in (0..300).chain(8192..whole.len()) {
        let mut torn = Bench { disk: bench.disk.clone(), entropy: Seeded::new(3) };
        torn.disk.release();
        for bit in [at % 8, (at + 3) % 8] {
            torn.disk.rot("core/oplog", (at * 8 + bit) as u64);
        }
        match torn.open(Open::default()) {
            Ok(core) if at >= 8192 => {
                let expected = ends[1..].iter().filter(|end| **end <= at).count() as u64 * 2;
                assert_eq!(core.length(), expected, "{at}");
            }
            Ok(core) => assert_eq!(core.length(), 8, "byte {at} is no part of the header"),
            Err(error) => assert_eq!(error, Error::Corrupt("oplog: no header"), "{at}"),
        }
    }
}

// proves hypercore.32, hypercore.35
#[test]
fn a_torn_header_leaves_the_other_slot() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    for n in 0..5_u64 {
        bench.append(&mut core, &[b"a", b"b"]);
        let before = bench.disk.content("core/oplog").expect("there").to_vec();
        bench.with(|cx| core.flush(cx)).expect("flushes");
        let after = bench.disk.content("core/oplog").expect("there").to_vec();
        assert_eq!(after.len(), 8192);
        let slots: Vec<bool> = [0, 4096].map(|at| before[at..at + 4096] != after[at..at + 4096]).to_vec();
        assert_eq!(slots, [n % 2 == 1, n % 2 == 0], "slots take turns");
        // The new header arrived in part, the entries are still there.
        let slot = if slots[0] { 0 } else { 4096 };
        for cut in [1, 4, 8, 100, 200] {
            let mut torn = before.clone();
            torn[slot..slot + cut].copy_from_slice(&after[slot..slot + cut]);
            let mut other = Bench { disk: bench.disk.clone(), entropy: Seeded::new(1) };
            other.disk.release();
            other.disk.put("core/oplog", &torn);
            let core = other.open(Open::default()).expect("opens");
            assert_eq!(core.length(), 2 * n + 2, "{n} {cut}");
        }
        // The new header arrived whole, the entries are not cut yet.
        let mut both = before.clone();
        both[slot..slot + 4096].copy_from_slice(&after[slot..slot + 4096]);
        let mut other = Bench { disk: bench.disk.clone(), entropy: Seeded::new(1) };
        other.disk.release();
        other.disk.put("core/oplog", &both);
        let mut core = other.open(Open::default()).expect("opens");
        assert_eq!((core.length(), core.oplog.entry_bytes()), (2 * n + 2, 0));
        other.append(&mut core, &[b"c"]);
        other.disk.release();
        assert_eq!(other.open(Open::default()).expect("opens").length(), 2 * n + 3);
    }
}

// proves hypercore.37, hypercore.49
#[test]
fn a_long_header_lies_outside() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let mut places = Vec::new();
    for size in [3000, 5000, 5001, 9000, 200, 12_000] {
        bench.with(|cx| core.set_user_data(cx, "big", Some(&vec![7; size]))).expect("sets");
        bench.with(|cx| core.set_user_data(cx, "small", Some(b"1"))).expect("sets");
        bench.with(|cx| core.flush(cx)).expect("flushes");
        places.push(core.oplog.external().map(|external| external.start));
        bench.close(&mut core);
        core = bench.open(Open::default()).expect("opens");
        assert_eq!(core.user_data("big").map(<[u8]>::len), Some(size));
        assert_eq!(core.user_data("small"), Some(&b"1"[..]));
        bench.append(&mut core, &[b"block"]);
    }
    // 5001 does not fit in front of the first, which begins at 0; the later ones take turns.
    assert_eq!(places[..3], [None, Some(0), Some(8192)]);
    assert!(places[3..].iter().all(Option::is_some));
    bench.with(|cx| core.set_user_data(cx, "big", None)).expect("removes");
    assert_eq!(core.user_data("big"), None);
    bench.close(&mut core);
    let core = bench.open(Open::default()).expect("opens");
    assert_eq!((core.user_data("big"), core.length()), (None, 6));
}

// proves hypercore.38, hypercore.39, hypercore.40, hypercore.41
#[test]
fn a_spoiled_block_or_node_is_found_not_handed_out() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let blocks: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 30]).collect();
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.close(&mut core);
    assert_eq!(bench.disk.content("core/tree").map(<[u8]>::len), Some(40 * 39));
    assert_eq!(bench.disk.content("core/data").map(<[u8]>::len), Some(600));
    for (file, block) in [("core/data", 5 * 30), ("core/tree", 10 * 40 + 20)] {
        let mut spoiled = Bench { disk: bench.disk.clone(), entropy: Seeded::new(1) };
        spoiled.disk.rot(file, block * 8 + 3);
        let mut core = spoiled.open(Open::default()).expect("opens");
        for n in 0..20 {
            let read = spoiled.with(|cx| core.get(cx, n));
            match n {
                5 => assert!(matches!(read, Err(Error::Corrupt(_))), "{file}"),
                _ => assert_eq!(read, Ok(Some(blocks[n as usize].clone())), "{file} {n}"),
            }
        }
    }
    let mut core = bench.open(Open::default()).expect("opens");
    bench.with(|cx| core.truncate(cx, 9)).expect("truncates");
    assert_eq!(bench.disk.content("core/tree").map(<[u8]>::len), Some(40 * 17));
    assert_eq!(bench.with(|cx| core.tree_node(cx, 15)), Ok(None), "it covers blocks that are gone");
    assert_eq!(bench.with(|cx| core.tree_node(cx, 18)), Ok(None));
    assert!(bench.with(|cx| core.tree_node(cx, 7)).expect("reads").is_some());
}

/// pitfalls 14.5: the contiguous length after clearing, cutting and filling out of order.
// proves hypercore.48
#[test]
fn clearing_keeps_what_others_need() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let blocks: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; 10]).collect();
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.with(|cx| core.clear(cx, 3, 40)).expect("clears");
    assert_eq!((core.contiguous_length(), core.length()), (3, 40));
    assert_eq!(bench.with(|cx| core.get(cx, 3)), Ok(None));
    assert_eq!(bench.with(|cx| core.get(cx, 2)), Ok(Some(vec![2; 10])));
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_eq!(core.contiguous_length(), 3);
    for index in 0..79 {
        let inside = flat_tree::right_span(index) < 80;
        assert_eq!(bench.with(|cx| core.tree_node(cx, index)).expect("reads").is_some(), inside, "{index}");
    }
    // Blocks come back in any order.
    for (block, contiguous) in [(5, 3), (4, 3), (3, 6), (39, 6)] {
        let change = Change { block: Some((block, vec![block as u8; 10])), ..Change::default() };
        bench.with(|cx| core.apply(cx, change)).expect("applies");
        assert_eq!(core.contiguous_length(), contiguous);
    }
    bench.with(|cx| core.truncate(cx, 4)).expect("truncates");
    assert_eq!(core.contiguous_length(), 4);
    bench.append(&mut core, &[b"new"]);
    assert_eq!(core.contiguous_length(), 5);
    assert!(!core.has(5) && !core.has(39));
}

/// pitfalls 14.17: every command of a closed core fails alike.
#[test]
fn a_closed_core_says_so() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.append(&mut core, &[b"a"]);
    bench.close(&mut core);
    bench.close(&mut core);
    let results = [
        bench.with(|cx| core.append(cx, &[b"b"])).map(|_| ()),
        bench.with(|cx| core.get(cx, 0)).map(|_| ()),
        bench.with(|cx| core.tree_node(cx, 0)).map(|_| ()),
        bench.with(|cx| core.truncate(cx, 0)),
        bench.with(|cx| core.clear(cx, 0, 1)),
        bench.with(|cx| core.apply(cx, Change::default())),
        bench.with(|cx| core.flush(cx)),
        bench.with(|cx| core.set_user_data(cx, "a", None)),
        bench.with(|cx| core.seek(cx, 0)).map(|_| ()),
    ];
    assert!(results.iter().all(|result| *result == Err(Error::NotOpen)), "{results:?}");
}

// proves hypercore.44
#[test]
fn a_change_of_the_wrong_shape_changes_nothing() {
    let mut bench = Bench::new();
    let mut source = bench.create();
    bench.append(&mut source, &[b"one", b"two", b"three"]);
    let open = Open { key: Some(*source.key()), ..Open::default() };
    let mut core = bench.with(|cx| Hypercore::open(cx, "replica", open)).expect("opens");
    let good = super::crash::change(&mut bench, &mut source, Some(1), true);
    let beyond = Node { index: 6, size: 1, hash: [1; 32] };
    let wrong = [
        Change { upgrade: good.upgrade.clone().map(|up| Upgrade { fork: 1, ..up }), ..good.clone() },
        Change { upgrade: good.upgrade.clone().map(|up| Upgrade { length: 0, ..up }), ..good.clone() },
        Change { upgrade: good.upgrade.clone().map(|up| Upgrade { length: 1 << 60, ..up }), ..good.clone() },
        Change { nodes: vec![], ..good.clone() },
        Change { nodes: good.nodes.iter().copied().chain([beyond]).collect(), ..good.clone() },
        Change { block: Some((1, b"longer".to_vec())), ..good.clone() },
        Change { block: Some((3, b"two".to_vec())), ..good.clone() },
        Change { upgrade: None, ..good.clone() },
        Change { manifest: Some(auth::single_signer(0, [5; 32])), ..good.clone() },
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let refused = bench.with(|cx| core.apply(cx, change));
        assert!(matches!(refused, Err(Error::Refused(_))), "{number}: {refused:?}");
        assert_eq!((core.length(), core.has(1)), (0, false), "{number}");
    }
    bench.with(|cx| core.apply(cx, good.clone())).expect("applies");
    assert_eq!((core.length(), core.has(1), core.contiguous_length()), (3, true, 0));
    assert_eq!(bench.with(|cx| core.get(cx, 1)), Ok(Some(b"two".to_vec())));
    assert!(sound(&core) && core.manifest().is_some());
    // Once more changes nothing.
    let again = Change { upgrade: None, ..good };
    bench.with(|cx| core.apply(cx, again)).expect("applies");
    assert_eq!(core.length(), 3);
}

// proves hypercore.46
#[test]
fn a_replica_follows_its_writer_to_a_later_fork() {
    let mut bench = Bench::new();
    let mut source = bench.create();
    bench.append(&mut source, &[b"one", b"two", b"three", b"four", b"five"]);
    let open = Open { key: Some(*source.key()), ..Open::default() };
    let mut core = bench.with(|cx| Hypercore::open(cx, "replica", open.clone())).expect("opens");
    for block in 0..5 {
        let change = super::crash::change(&mut bench, &mut source, Some(block), block == 0);
        bench.with(|cx| core.apply(cx, change)).expect("applies");
    }
    bench.with(|cx| source.truncate(cx, 2)).expect("truncates");
    bench.append(&mut source, &[b"other", b"and", b"on", b"and on"]);
    let change = super::crash::change(&mut bench, &mut source, Some(2), true);
    assert!(
        bench.with(|cx| core.apply(cx, change.clone())).is_err(),
        "only a reorganisation changes the fork"
    );
    bench.with(|cx| core.reorg(cx, 2, change)).expect("follows");
    for _ in 0..2 {
        assert_eq!((core.fork(), core.length(), core.contiguous_length()), (1, 6, 3));
        assert_eq!(bench.with(|cx| core.get(cx, 1)), Ok(Some(b"two".to_vec())));
        assert_eq!(bench.with(|cx| core.get(cx, 2)), Ok(Some(b"other".to_vec())));
        assert_eq!(bench.with(|cx| core.get(cx, 3)), Ok(None));
        assert!(sound(&core));
        bench.close(&mut core);
        core = bench.with(|cx| Hypercore::open(cx, "replica", open.clone())).expect("opens");
    }
}

/// pitfalls 14.14: more cores at once than files may be open.
#[test]
fn hundreds_of_cores_are_open_at_once() {
    let folder = std::env::temp_dir().join(format!("seckel-thousand-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let mut disk = crate::edge::files::Files::open(&folder).expect("a folder");
    let mut entropy = Seeded::new(1);
    let mut cx = Cx { now: Time::default(), entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
    let open = |cx: &mut Cx<'_>, n: u32| {
        let durability = Durability::Kernel;
        Hypercore::open(cx, &format!("core {n}"), Open { durability, ..Open::default() }).expect("opens")
    };
    let mut cores: Vec<Hypercore> = (0..300).map(|n| open(&mut cx, n)).collect();
    for (n, core) in cores.iter_mut().enumerate() {
        core.append(&mut cx, &[n.to_string()]).expect("appends");
    }
    for (n, core) in cores.iter_mut().enumerate() {
        assert_eq!(core.get(&mut cx, 0), Ok(Some(n.to_string().into_bytes())));
    }
    assert!(disk.open_count() <= limits::FILES_OPEN_MAX);
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn what_is_too_much_is_refused() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let long = vec![0; limits::BLOCK_MAX + 1];
    assert!(matches!(bench.with(|cx| core.append(cx, &[&long])), Err(Error::Invalid(_))));
    let many = vec![b""; limits::APPEND_MAX + 1];
    assert!(matches!(bench.with(|cx| core.append(cx, &many)), Err(Error::Invalid(_))));
    assert_eq!(core.length(), 0);
    assert!(matches!(bench.with(|cx| core.truncate(cx, 1)), Err(Error::Invalid(_))));
    bench.append(&mut core, &[&long[..limits::BLOCK_MAX]]);
    assert_eq!(
        bench.with(|cx| core.get(cx, 0)).expect("reads").map(|block| block.len()),
        Some(limits::BLOCK_MAX)
    );
}

// proves hypercore.41
#[test]
fn only_flush_durability_syncs() {
    for (durability, each) in [(Durability::Kernel, 0), (Durability::Flush, 2)] {
        let mut bench = Bench::new();
        let mut core = bench.open(Open { durability, ..Open::default() }).expect("opens");
        bench.with(|cx| cx.disk.sync_pending()).expect("syncs");
        let before = bench.disk.syncs();
        for _ in 0..10 {
            bench.append(&mut core, &[b"a"]);
        }
        bench.with(|cx| cx.disk.sync_pending()).expect("syncs");
        assert_eq!(bench.disk.syncs() - before, each, "one sync of two files serves ten appends");
        assert_eq!(bench.disk.content("core/tree").map(<[u8]>::len), Some(0), "nodes wait for a flush");
        bench.with(|cx| core.flush(cx)).expect("flushes");
        assert_eq!(bench.disk.content("core/tree").map(<[u8]>::len), Some(19 * 40));
        assert_eq!(bench.disk.syncs() > before + each, durability == Durability::Flush);
    }
}

/// What is in the files is drawn: nothing may panic, or take long.
#[test]
fn no_files_make_it_panic() {
    use crate::wire::{encode, invent};
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.append(&mut core, &[b"one", b"two", b"three"]);
    bench.close(&mut core);
    let whole = bench.disk.content("core/oplog").expect("there").to_vec();
    let record = |payload: &[u8], bit: u32| {
        let word = ((payload.len() as u32) << 2 | bit).to_le_bytes();
        let crc = crc32fast::hash(&[&word[..], payload].concat()).to_le_bytes();
        [&crc[..], &word, payload].concat()
    };
    let numbers = [0, 1, 2, 3, 4, 5, 1 << 20, (1 << 53) - 1];
    for seed in 0..1500 {
        let mut entropy = Seeded::new(seed);
        let number = |entropy: &mut Seeded| numbers[crate::base::Entropy::below(entropy, 8) as usize];
        let mut log = whole.clone();
        if seed % 3 == 0 {
            let mut header: Header = invent(&mut entropy);
            header.external = None;
            header.tree.length = number(&mut entropy);
            header.contiguous_length = number(&mut entropy);
            let payload = encode(&header);
            if payload.len() < 4000 {
                log[4096..8192].fill(0);
                let record = record(&payload, 1);
                log[4096..4096 + record.len()].copy_from_slice(&record);
            }
        }
        for _ in 0..3 {
            let mut entry: Entry = invent(&mut entropy);
            if let Some(upgrade) = &mut entry.upgrade {
                upgrade.fork = number(&mut entropy);
                (upgrade.ancestors, upgrade.length) = (number(&mut entropy), number(&mut entropy));
            }
            if let Some(update) = &mut entry.bitfield {
                (update.start, update.length) = (number(&mut entropy), number(&mut entropy));
            }
            for node in &mut entry.nodes {
                (node.index, node.size) = (number(&mut entropy), number(&mut entropy));
            }
            log.extend(record(&encode(&entry), 1));
        }
        let mut drawn = Bench { disk: bench.disk.clone(), entropy: Seeded::new(1) };
        drawn.disk.release();
        drawn.disk.put("core/oplog", &log);
        let Ok(mut core) = drawn.open(Open::default()) else { continue };
        for block in [0, 1, 2, core.length().wrapping_sub(1), core.length(), u64::MAX] {
            let _ = drawn.with(|cx| core.get(cx, block));
            let _ = drawn.with(|cx| core.tree_node(cx, block));
            let _ = drawn.with(|cx| core.byte_offset(cx, block));
            let _ = drawn.with(|cx| core.seek(cx, block));
            let _ = drawn.with(|cx| core.clear(cx, block, u64::MAX));
        }
        let _ = drawn.with(|cx| core.append(cx, &[b"more"]));
        let _ = drawn.with(|cx| core.truncate(cx, 1));
        let _ = drawn.with(|cx| core.close(cx));
    }
}
