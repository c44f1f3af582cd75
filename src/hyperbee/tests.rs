mod crashes;
mod model;
mod on_core;
mod parts;
mod remote;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::base::{Entropy, NoTrace, Seeded, Time, hex};
use crate::crypto::hash;
use crate::crypto::sign::KeyPair;
use crate::hypercore::{Hypercore, Open};
use crate::sim::ramdisk::RamDisk;
use crate::wire::hyperbee::{Index, Metadata, Node};

/// A log in memory. `appends` counts steps; blocks named in `away` are not here.
#[derive(Default, Clone)]
struct Memory {
    blocks: Vec<Vec<u8>>,
    appends: usize,
    away: BTreeSet<u64>,
    fork: u64,
}

impl Log for Memory {
    fn len(&self) -> u64 {
        self.blocks.len() as u64
    }
    fn fork(&self) -> u64 {
        self.fork
    }
    fn has(&self, seq: u64) -> bool {
        seq < self.len() && !self.away.contains(&seq)
    }
    fn block(&mut self, _: &mut Cx<'_>, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        if self.away.contains(&seq) {
            return Ok(None);
        }
        Ok(self.blocks.get(seq as usize).cloned())
    }
    fn append(&mut self, _: &mut Cx<'_>, blocks: &[Vec<u8>]) -> Result<(), Error> {
        self.blocks.extend_from_slice(blocks);
        self.appends += 1;
        Ok(())
    }
}

/// A tree with its log and a world without anything in it.
struct Tree {
    bee: Bee,
    log: Memory,
    entropy: Seeded,
}

impl Tree {
    fn new() -> Tree {
        Tree { bee: Bee::new(), log: Memory::default(), entropy: Seeded::new(1) }
    }

    fn of(blocks: Vec<Vec<u8>>) -> Tree {
        Tree { log: Memory { blocks, ..Memory::default() }, ..Tree::new() }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>, &mut Bee, &mut Memory) -> T) -> T {
        let mut cx = Cx {
            now: Time::ZERO,
            entropy: &mut self.entropy,
            disk: &mut RamDisk::new(),
            trace: &mut NoTrace,
        };
        act(&mut cx, &mut self.bee, &mut self.log)
    }

    fn put(&mut self, key: &str, value: &str) -> u64 {
        self.with(|cx, bee, log| bee.put(cx, log, key.as_bytes(), Some(value.as_bytes()))).expect("put")
    }

    fn del(&mut self, key: &str) -> bool {
        self.with(|cx, bee, log| bee.del(cx, log, key.as_bytes())).expect("del")
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Entry>, Error> {
        self.with(|cx, bee, log| bee.get(cx, log, key))
    }

    fn range(&mut self, range: Range) -> Result<Vec<Entry>, Error> {
        let version = self.log.len();
        self.range_at(version, range)
    }

    fn range_at(&mut self, version: u64, range: Range) -> Result<Vec<Entry>, Error> {
        self.with(|cx, bee, log| {
            let mut cursor = bee.range(version, range);
            let mut entries = Vec::new();
            while let Some(entry) = cursor.next(cx, bee, log)? {
                entries.push(entry);
            }
            Ok(entries)
        })
    }

    fn diff(&mut self, left: u64, right: u64, range: Range) -> Result<Vec<Difference>, Error> {
        self.with(|cx, bee, log| {
            let mut diff = bee.diff(left, right, range);
            let mut found = Vec::new();
            while let Some(difference) = diff.next(cx, bee, log)? {
                found.push(difference);
            }
            Ok(found)
        })
    }

    fn keys(&mut self, range: Range) -> Vec<String> {
        let entries = self.range(range).expect("range");
        entries.into_iter().map(|entry| String::from_utf8(entry.key).expect("text")).collect()
    }

    fn history(&mut self) -> String {
        let version = self.log.len();
        self.with(|cx, bee, log| {
            let mut history = bee.history(version);
            let mut letters = String::new();
            while let Some(change) = history.next(cx, bee, log).expect("history") {
                letters.push(match change {
                    Change::Put(_) => 'p',
                    Change::Del(_) => 'd',
                });
            }
            letters
        })
    }
}

fn file(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("json");
    file["vectors"].as_array().expect("vectors").clone()
}

macro_rules! vectors {
    ($name:literal) => {
        file(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/", $name)))
    };
}

/// Text as it is, `{"hex": ..}` as bytes, anything else as JSON text.
fn raw(value: &Value) -> Vec<u8> {
    match (value, value.get("hex")) {
        (_, Some(text)) => hex::decode(text.as_str().expect("hex")).expect("hex"),
        (Value::String(text), _) => text.clone().into_bytes(),
        (value, None) => value.to_string().into_bytes(),
    }
}

fn optional(value: &Value) -> Option<Vec<u8>> {
    if value.is_null() { None } else { Some(raw(value)) }
}

/// How the vectors' trees are opened.
#[derive(Clone, Copy)]
struct Options {
    always_duplicate: bool,
    json_values: bool,
}

const DEFAULT: Options = Options { always_duplicate: true, json_values: false };

/// Runs one operation of the vectors' language; in a batch if there is one.
fn run(tree: &mut Tree, batch: &mut Option<Batch>, prefix: &[u8], op: &Value, options: Options) {
    let kind = op[0].as_str().expect("kind");
    if kind == "batch" {
        let mut inner = tree.with(|cx, bee, log| bee.batch(cx, log)).expect("batch");
        if op[1].as_array().expect("ops").is_empty() {
            // Upstream's header is written by the first operation; ours, by the batch. Same bytes, either way.
            return;
        }
        for op in op[1].as_array().expect("ops") {
            let mut one = Some(inner);
            run(tree, &mut one, prefix, op, options);
            inner = one.expect("given back");
        }
        return tree.with(|cx, bee, log| inner.flush(cx, bee, log)).expect("flush");
    }
    if kind == "sub" {
        let separator = op[3]["sep"].as_str().unwrap_or("\0");
        let prefix = [prefix, op[1].as_str().expect("prefix").as_bytes(), separator.as_bytes()].concat();
        return run(tree, batch, &prefix, &op[2], options);
    }
    let key = [prefix, &raw(&op[1])].concat();
    let value = match op.get(2) {
        Some(value) if options.json_values => Some(value.to_string().into_bytes()),
        Some(value) => optional(value),
        None => None,
    };
    let refused = kind.starts_with("refused");
    let mut allow =
        |old: &Entry| !refused && (options.always_duplicate || kind == "del" || old.value != value);
    tree.with(|cx, bee, log| match (kind.ends_with("put"), batch) {
        (true, None) => bee.put_if(cx, log, &key, value.as_deref(), &mut allow).map(|_| ()),
        (true, Some(batch)) => batch.put_if(cx, bee, log, &key, value.as_deref(), &mut allow).map(|_| ()),
        (false, None) => bee.del_if(cx, log, &key, &mut allow).map(|_| ()),
        (false, Some(batch)) => batch.del_if(cx, bee, log, &key, &mut allow).map(|_| ()),
    })
    .expect(kind);
}

fn run_all(tree: &mut Tree, ops: &[Value], options: Options) {
    ops.iter().for_each(|op| run(tree, &mut None, b"", op, options));
}

fn assert_blocks(tree: &Tree, from: usize, wanted: &Value, name: &str) {
    let wanted: Vec<&str> =
        wanted.as_array().expect("blocks").iter().map(|block| block.as_str().expect("hex")).collect();
    let got: Vec<String> = tree.log.blocks[from..].iter().map(|block| hex::encode(block)).collect();
    for (n, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        assert_eq!(got, wanted, "{name}: block {}", from + n);
    }
    assert_eq!(got.len(), wanted.len(), "{name}: number of blocks");
}

fn name(vector: &Value) -> &str {
    vector["name"].as_str().expect("name")
}

fn put_ops(order: impl Iterator<Item = u64>, width: usize) -> Vec<Value> {
    order.map(|i| serde_json::json!(["put", format!("k{i:0width$}"), format!("v{i}")])).collect()
}

fn del_ops(order: impl Iterator<Item = u64>, width: usize) -> Vec<Value> {
    order.map(|i| serde_json::json!(["del", format!("k{i:0width$}")])).collect()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().expect("order").iter().map(|n| n.as_u64().expect("number")).collect()
}

/// Short sequences of every kind: header, values, splits, borrowing, merging, batches, sub-trees.
// proves hyperbee.7
// proves hyperbee.10
// proves hyperbee.11
// proves hyperbee.12
// proves hyperbee.13
// proves hyperbee.14
// proves hyperbee.16
// proves hyperbee.17
// proves hyperbee.18
// proves hyperbee.19
// proves hyperbee.21
// proves hyperbee.22
// proves hyperbee.23
// proves hyperbee.31
#[test]
fn small_sequences_write_the_blocks_of_the_real_package() {
    for vector in vectors!("hyperbee-small.json") {
        let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
        let opts = &inputs["opts"];
        let options = Options {
            always_duplicate: opts["alwaysDuplicate"].as_bool().unwrap_or(true),
            json_values: opts["valueEncoding"].is_string(),
        };
        let mut tree = Tree::new();
        if let Some(metadata) = opts["metadata"].as_object() {
            let bytes = |value: &Value| value.as_str().map(|text| hex::decode(text).expect("hex"));
            tree.bee = Bee::with_metadata(Metadata {
                content_feed: bytes(&metadata["contentFeed"]),
                user_data: bytes(&metadata["userData"]),
            });
        }
        run_all(&mut tree, inputs["ops"].as_array().expect("ops"), options);
        assert_blocks(&tree, 0, &expected["blocks"], name(&vector));
        assert_eq!(tree.history(), expected["history"].as_str().expect("history"), "{}", name(&vector));
        let Some(entries) = expected["entries"].as_array() else { continue };
        let got = tree.range(Range::all()).expect("range");
        let got: Vec<Value> = got
            .iter()
            .map(|entry| {
                let value = entry.value.as_ref().map(|value| hex::encode(value));
                serde_json::json!([hex::encode(&entry.key), value, entry.seq])
            })
            .collect();
        assert_eq!(&got, entries, "{}", name(&vector));
    }
}

#[test]
fn a_hundred_keys_write_the_blocks_of_the_real_package() {
    let vectors = vectors!("hyperbee-100.json");
    let mut tree = Tree::new();
    run_all(&mut tree, &put_ops(0..100, 3), DEFAULT);
    assert_blocks(&tree, 0, &vectors[0]["expected"]["blocks"], "ascending");
    let mut tree = Tree::new();
    let order = numbers(&vectors[1]["inputs"]["order"]);
    run_all(&mut tree, &put_ops(order.into_iter(), 3), DEFAULT);
    assert_blocks(&tree, 0, &vectors[1]["expected"]["blocks"], "shuffled");
}

#[test]
fn deletions_write_the_blocks_of_the_real_package() {
    let vectors = vectors!("hyperbee-100-deletes.json");
    let mut tree = Tree::new();
    let inputs = &vectors[0]["inputs"];
    run_all(&mut tree, &put_ops(numbers(&inputs["putOrder"]).into_iter(), 3), DEFAULT);
    run_all(&mut tree, &del_ops(numbers(&inputs["delOrder"]).into_iter(), 3), DEFAULT);
    assert_blocks(&tree, 101, &vectors[0]["expected"]["blocks"], "shuffled");
    assert_eq!(tree.history(), vectors[0]["expected"]["history"].as_str().expect("history"));
    let mut tree = Tree::new();
    run_all(&mut tree, &put_ops(0..100, 3), DEFAULT);
    run_all(&mut tree, &del_ops(0..100, 3), DEFAULT);
    assert_blocks(&tree, 101, &vectors[1]["expected"]["blocks"], "ascending");
}

// proves hyperbee.8
// proves hyperbee.15
// proves hyperbee.25
#[test]
fn batches_write_the_blocks_of_the_real_package() {
    let vectors = vectors!("hyperbee-100-batches.json");
    let mut tree = Tree::new();
    let ops = put_ops(numbers(&vectors[0]["inputs"]["order"]).into_iter(), 3);
    run_all(&mut tree, &[serde_json::json!(["batch", ops])], DEFAULT);
    assert_blocks(&tree, 0, &vectors[0]["expected"]["blocks"], "one batch");
    assert_eq!(tree.log.appends, 2, "the header, and one step for the batch");
    let mut tree = Tree::new();
    run_all(&mut tree, vectors[1]["inputs"]["ops"].as_array().expect("ops"), DEFAULT);
    assert_blocks(&tree, 0, &vectors[1]["expected"]["blocks"], "ten batches");
    assert_eq!(tree.history(), vectors[1]["expected"]["history"].as_str().expect("history"));
}

/// pitfalls 15.4: a refused put in a batch locks nothing, and the batch goes on.
// proves hyperbee.24
#[test]
fn refused_operations_in_a_batch_write_the_blocks_of_the_real_package() {
    for vector in vectors!("hyperbee-batch-edges.json") {
        let always = vector["inputs"]["options"]["alwaysDuplicate"].as_bool().unwrap_or(true);
        let mut tree = Tree::new();
        run_all(&mut tree, &put_ops(0..400, 3), DEFAULT);
        let batch = serde_json::json!(["batch", vector["inputs"]["batch"]]);
        run_all(&mut tree, &[batch], Options { always_duplicate: always, ..DEFAULT });
        assert_blocks(&tree, 401, &vector["expected"]["blocks"], name(&vector));
    }
}

#[test]
fn a_thousand_keys_write_the_blocks_of_the_real_package() {
    let parts = [
        vectors!("hyperbee-1000-1.json"),
        vectors!("hyperbee-1000-2.json"),
        vectors!("hyperbee-1000-3.json"),
    ];
    let order = numbers(&parts[0][0]["inputs"]["order"]);
    let mut tree = Tree::new();
    run_all(&mut tree, &put_ops(order.iter().copied(), 4), DEFAULT);
    let wanted: Vec<&Value> =
        parts.iter().flat_map(|part| part[0]["expected"]["blocks"].as_array().expect("blocks")).collect();
    assert_eq!(wanted.len(), tree.log.blocks.len());
    for (n, (got, wanted)) in tree.log.blocks.iter().zip(wanted).enumerate() {
        assert_eq!(hex::encode(got), wanted.as_str().expect("hex"), "block {n}");
    }

    for vector in vectors!("hyperbee-1000-hashes.json") {
        let mut tree = Tree::new();
        let shuffled = put_ops(order.iter().copied(), 4);
        let ops = match name(&vector) {
            "1000 ascending" => put_ops(0..1000, 4),
            "1000 shuffled in one batch" => vec![serde_json::json!(["batch", shuffled])],
            _ => {
                let dels = del_ops(numbers(&vector["inputs"]["delOrder"]).into_iter(), 4);
                [shuffled, dels].concat()
            }
        };
        run_all(&mut tree, &ops, DEFAULT);
        let digests: Vec<String> = tree
            .log
            .blocks
            .chunks(100)
            .map(|blocks| {
                let parts: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
                hex::encode(&hash::blake2b_256(&parts))
            })
            .collect();
        let wanted = vector["expected"]["hashOfEach100Blocks"].as_array().expect("digests");
        assert_eq!(&digests, wanted, "{}", name(&vector));
    }
}

/// The same key pair gives the same roots and the same signature over them, and a core that is opened again holds the
/// same tree.
#[test]
fn a_tree_on_a_core_has_the_signature_of_the_real_package() {
    let last = &vectors!("hyperbee-1000-3.json")[0]["expected"];
    let order = numbers(&vectors!("hyperbee-1000-1.json")[0]["inputs"]["order"]);
    let (mut entropy, mut disk) = (Seeded::new(1), RamDisk::new());
    let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
    let open = || Open { key_pair: Some(KeyPair::from_seed([1; 32])), ..Open::default() };
    let mut core = Hypercore::open(&mut cx, "core", open()).expect("open");
    let mut bee = Bee::new();
    for &i in &order {
        let (key, value) = (format!("k{i:04}"), format!("v{i}"));
        bee.put(&mut cx, &mut core, key.as_bytes(), Some(value.as_bytes())).expect("put");
    }
    assert_eq!(hex::encode(&core.tree_hash()), last["treeHash"].as_str().expect("hex"));
    assert_eq!(hex::encode(core.signature()), last["signature"].as_str().expect("hex"));
    core.close(&mut cx).expect("close");
    let mut core = Hypercore::open(&mut cx, "core", open()).expect("open again");
    let mut bee = Bee::new();
    let entry = bee.get(&mut cx, &mut core, b"k0457").expect("get").expect("there");
    assert_eq!(entry.value.as_deref(), Some(&b"v457"[..]));
}

/// Every version of a random sequence equals a map, in every direction and range.
// proves hyperbee.20
// proves hyperbee.26
// proves hyperbee.27
// proves hyperbee.28
// proves hyperbee.29
#[test]
fn every_version_equals_a_map() {
    let mut entropy = Seeded::new(0x5ec);
    let mut tree = Tree::new();
    let mut map = BTreeMap::new();
    let mut versions = vec![(1, map.clone())];
    for n in 0..1500_u64 {
        let key = format!("{:x}", entropy.below(300)).into_bytes();
        if entropy.chance(400) {
            let gone = tree.with(|cx, bee, log| bee.del(cx, log, &key)).expect("del");
            assert_eq!(gone, map.remove(&key).is_some());
        } else {
            let value = n.to_le_bytes().to_vec();
            tree.with(|cx, bee, log| bee.put(cx, log, &key, Some(&value))).expect("put");
            map.insert(key, value);
        }
        if n % 50 == 0 {
            versions.push((tree.log.len(), map.clone()));
        }
    }
    for (version, map) in versions {
        for n in 0..300 {
            let key = format!("{n:x}").into_bytes();
            let got = tree.with(|cx, bee, log| bee.get_at(cx, log, version, &key)).expect("get");
            assert_eq!(got.and_then(|entry| entry.value), map.get(&key).cloned());
        }
        for _ in 0..20 {
            let mut bound = || {
                let key = format!("{:x}", entropy.below(320)).into_bytes();
                match entropy.below(3) {
                    0 => core::ops::Bound::Unbounded,
                    1 => core::ops::Bound::Included(key),
                    _ => core::ops::Bound::Excluded(key),
                }
            };
            let (from, to) = (bound(), bound());
            let (reverse, limit) = (entropy.chance(500), entropy.below(8) * 10);
            let range =
                Range { from: from.clone(), to: to.clone(), limit: (limit > 0).then_some(limit), reverse };
            let got = tree.range_at(version, range).expect("range");
            let inside = |key: &Vec<u8>| core::ops::RangeBounds::contains(&(from.clone(), to.clone()), key);
            let mut wanted: Vec<_> = map
                .iter()
                .filter(|(key, _)| inside(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if reverse {
                wanted.reverse();
            }
            if limit > 0 {
                wanted.truncate(limit as usize);
            }
            let got: Vec<_> =
                got.into_iter().map(|entry| (entry.key, entry.value.expect("a value"))).collect();
            assert_eq!(got, wanted);
        }
    }
}

/// pitfalls 15.1: no block at all, and a header alone, are both the empty tree.
#[test]
fn an_empty_log_and_a_header_alone_are_empty_trees() {
    let mut tree = Tree::new();
    assert_eq!(tree.get(b"a"), Ok(None));
    assert_eq!(tree.range(Range::all()), Ok(vec![]));
    assert_eq!(tree.log.len(), 0, "reading writes nothing");
    assert_eq!(tree.with(|cx, bee, log| bee.header(cx, log)), Ok(None));
    assert!(!tree.del("a"));
    assert_eq!(tree.log.len(), 1, "the header");
    assert_eq!(tree.get(b"a"), Ok(None));
    assert_eq!(tree.range(Range::all().reverse()), Ok(vec![]));
    let header = tree.with(|cx, bee, log| bee.header(cx, log)).expect("header").expect("there");
    assert_eq!(header.protocol, PROTOCOL);
}

/// pitfalls 15.2: a walk answers from the version it was made for.
#[test]
fn a_walk_does_not_see_what_is_appended_meanwhile() {
    let mut tree = Tree::new();
    for n in 0..50 {
        tree.put(&format!("k{n:02}"), "old");
    }
    let version = tree.log.len();
    let mut cursor = tree.bee.range(version, Range::all());
    let mut seen = 0;
    while let Some(entry) = tree.with(|cx, bee, log| cursor.next(cx, bee, log)).expect("next") {
        assert_eq!(entry.value.as_deref(), Some(&b"old"[..]));
        tree.put(&format!("k{seen:02}x"), "new");
        tree.put(&format!("k{:02}", 49 - seen), "new");
        seen += 1;
    }
    assert_eq!(seen, 50);
}

/// pitfalls 15.3: versions 0 and 1 are empty, never "the newest".
// proves hyperbee.30
#[test]
fn versions_nought_and_one_are_empty() {
    let mut tree = Tree::new();
    tree.put("a", "1");
    tree.put("a", "2");
    for (version, wanted) in [(0, None), (1, None), (2, Some("1")), (3, Some("2"))] {
        let got = tree.with(|cx, bee, log| bee.get_at(cx, log, version, b"a")).expect("get");
        let value = got.and_then(|entry| entry.value);
        assert_eq!(value.as_deref(), wanted.map(str::as_bytes), "version {version}");
    }
    assert_eq!(tree.with(|cx, bee, log| bee.get_at(cx, log, 4, b"a")), Err(Error::Missing));
    assert_eq!(tree.bee.missing(), Some(3));
}

/// pitfalls 15.5: reads between the writes of a batch see them, and nothing else can happen in between.
#[test]
fn a_batch_reads_what_it_wrote() {
    let mut tree = Tree::new();
    for n in 0..40 {
        tree.put(&format!("k{n:02}"), "old");
    }
    tree.with(|cx, bee, log| {
        let mut batch = bee.batch(cx, log).expect("batch");
        let old = batch.get(cx, bee, log, b"k03").expect("get").expect("there");
        assert_eq!(old.value.as_deref(), Some(&b"old"[..]));
        batch.put(cx, bee, log, b"k03", Some(b"new")).expect("put");
        assert!(batch.del(cx, bee, log, b"k04").expect("del"));
        let new = batch.get(cx, bee, log, b"k03").expect("get").expect("there");
        assert_eq!(new.value.as_deref(), Some(&b"new"[..]));
        assert_eq!(batch.get(cx, bee, log, b"k04"), Ok(None));
        let unflushed = bee.get(cx, log, b"k03").expect("get").expect("there");
        assert_eq!(unflushed.value.as_deref(), Some(&b"old"[..]));
        batch.flush(cx, bee, log).expect("flush");
        assert_eq!(bee.get(cx, log, b"k04"), Ok(None));
    });
}

/// pitfalls 15.6: a batch that was overtaken by another write refuses, rather than undo it.
#[test]
fn a_batch_that_was_overtaken_refuses() {
    let mut tree = Tree::new();
    tree.put("a", "1");
    let mut batch = tree.with(|cx, bee, log| bee.batch(cx, log)).expect("batch");
    tree.with(|cx, bee, log| batch.put(cx, bee, log, b"b", None)).expect("put");
    tree.put("c", "3");
    assert!(matches!(tree.with(|cx, bee, log| batch.put(cx, bee, log, b"d", None)), Err(Error::Refused(_))));
    assert!(matches!(tree.with(|cx, bee, log| batch.flush(cx, bee, log)), Err(Error::Refused(_))));
    assert_eq!(tree.keys(Range::all()), ["a", "c"]);
}

/// The real package answers the deleted entry here, because it looks at whose block a node is in.
// proves hyperbee.36
#[test]
fn a_deleted_key_stays_deleted_when_its_block_still_holds_a_node() {
    let mut tree = Tree::new();
    for key in ["1", "2", "3", "4", "6", "7", "8", "9", "5", "45"] {
        tree.put(key, key);
    }
    assert!(tree.del("5"));
    tree.put("0", "z");
    assert_eq!(tree.get(b"5"), Ok(None));
}

/// A replica has only some blocks: the missing one is named, and the same call works once it is here.
// proves hyperbee.32
#[test]
fn a_missing_block_is_named_and_asked_for_again() {
    let mut tree = Tree::new();
    for n in 0..60 {
        tree.put(&format!("k{n:02}"), "v");
    }
    let mut replica = Tree::of(tree.log.blocks.clone());
    replica.log.away = (0..61).collect();
    while replica.get(b"k17") == Err(Error::Missing) {
        let missing = replica.bee.missing().expect("named");
        replica.log.away.remove(&missing);
    }
    assert_eq!(replica.get(b"k17").expect("get").expect("there").value.as_deref(), Some(&b"v"[..]));
    assert!(replica.log.away.len() > 40, "most blocks were not needed");

    let mut cursor = replica.bee.range(61, Range::all().gte(b"k10"));
    let mut keys = Vec::new();
    loop {
        match replica.with(|cx, bee, log| cursor.next(cx, bee, log)) {
            Ok(Some(entry)) => keys.push(entry.key),
            Ok(None) => break,
            Err(Error::Missing) => {
                let missing = replica.bee.missing().expect("named");
                replica.log.away.remove(&missing);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(keys, (10..60).map(|n| format!("k{n}").into_bytes()).collect::<Vec<_>>());
}

#[test]
fn a_log_that_was_cut_back_is_read_anew() {
    let mut tree = Tree::new();
    tree.put("a", "1");
    tree.put("a", "2");
    assert_eq!(tree.get(b"a").expect("get").expect("there").seq, 2);
    tree.log.blocks.truncate(2);
    tree.log.fork = 1;
    tree.put("b", "3");
    assert_eq!(tree.get(b"a").expect("get").expect("there").value.as_deref(), Some(&b"1"[..]));
    assert_eq!(tree.keys(Range::all()), ["a", "b"]);
}

fn block(key: &str, levels: &[(&[u64], &[u64])]) -> Vec<u8> {
    let levels = levels.iter().map(|(keys, children)| Level {
        keys: keys.iter().copied().collect(),
        children: children.iter().copied().collect(),
    });
    let index = encode(&Index { levels: levels.collect() });
    encode(&Node { index, key: key.as_bytes().to_vec(), value: None })
}

/// Trees that no honest writer makes: circles, places that are not there, blocks outside the version.
// proves hyperbee.34
#[test]
fn hostile_trees_are_errors() {
    let header = encode(&Header { protocol: PROTOCOL.into(), metadata: None });
    let many: Vec<u64> = (1..=8).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a node that is its own child", block("m", &[(&[1], &[1, 0, 1, 0])])),
        ("two nodes in a circle", block("m", &[(&[1], &[1, 1, 1, 1]), (&[1], &[1, 0, 1, 0])])),
        ("no keys, one child: itself", block("m", &[(&[], &[1, 0])])),
        ("a place that is not there", block("m", &[(&[1], &[1, 7, 1, 8])])),
        ("a child in the future", block("m", &[(&[1], &[9, 0, 9, 0])])),
        ("a child in the header", block("m", &[(&[1], &[0, 0, 0, 0])])),
        ("a key in the future", block("m", &[(&[2], &[])])),
        ("a key in the header", block("m", &[(&[0], &[])])),
        ("a giant place", block("m", &[(&[1], &[1, (1 << 53) - 1, 1, 0])])),
        ("too few children", block("m", &[(&[1], &[1, 0])])),
        ("the same key eight times", block("m", &[(&many, &[])])),
        ("no nodes", block("m", &[])),
        ("not a block", vec![0xff; 9]),
    ];
    for (name, bytes) in cases {
        for key in ["a", "m", "z"] {
            let mut tree = Tree::of(vec![header.clone(), bytes.clone()]);
            let _ = tree.get(key.as_bytes());
            let _ = tree.with(|cx, bee, log| bee.del(cx, log, key.as_bytes()));
            let mut tree = Tree::of(vec![header.clone(), bytes.clone()]);
            let _ = tree.with(|cx, bee, log| bee.put(cx, log, key.as_bytes(), None));
        }
        for range in
            [Range::all(), Range::all().reverse(), Range::all().gt(b"a"), Range::all().lt(b"z").reverse()]
        {
            let mut tree = Tree::of(vec![header.clone(), bytes.clone()]);
            assert!(tree.range(range.clone()).is_err(), "{name}");
            assert!(tree.diff(2, 0, range.clone()).is_err(), "{name}");
            assert!(tree.diff(1, 2, range).is_err(), "{name}");
        }
    }
}

/// Blocks of a sound tree with random damage: errors or answers, and no end without one.
#[test]
fn damaged_blocks_do_no_harm() {
    let mut sound = Tree::new();
    for n in 0..80 {
        sound.put(&format!("k{:02}", n * 37 % 80), "v");
    }
    let mut entropy = Seeded::new(77);
    for _ in 0..2000 {
        let mut tree = Tree::of(sound.log.blocks.clone());
        for _ in 0..=entropy.below(4) {
            let at = 1 + entropy.below(80) as usize;
            let place = entropy.below(tree.log.blocks[at].len() as u64) as usize;
            tree.log.blocks[at][place] ^= 1 << entropy.below(8);
        }
        let _ = tree.range(Range::all());
        let _ = tree.range(Range::all().reverse());
        let _ = tree.diff(81, 40 + entropy.below(40), Range::all());
        for n in 0..6 {
            let key = format!("k{:02}", entropy.below(90)).into_bytes();
            let _ = tree.get(&key);
            let _ = match n % 2 {
                0 => tree.with(|cx, bee, log| bee.put(cx, log, &key, None).map(|_| ())),
                _ => tree.with(|cx, bee, log| bee.del(cx, log, &key).map(|_| ())),
            };
        }
    }
}

/// pitfalls 15.9: how fast. Run with `cargo test --release hyperbee::tests::speed -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures"]
fn speed() {
    let clock = std::time::Instant::now;
    for size in [1000_u64, 10_000, 100_000] {
        let key = |n: u64| format!("user-{:06}", n * 7919 % size);
        let mut tree = Tree::new();
        let begun = clock();
        for n in 0..size {
            tree.put(&key(n), "0123456789abcdef0123456789abcdef");
        }
        let put = begun.elapsed();
        let begun = clock();
        for n in 0..size {
            assert!(tree.get(key(n).as_bytes()).expect("get").is_some());
        }
        let get = begun.elapsed();
        let begun = clock();
        assert_eq!(tree.range(Range::all()).expect("range").len() as u64, size);
        let walk = begun.elapsed();
        let begun = clock();
        let mut batched = Tree::new();
        batched.with(|cx, bee, log| {
            let mut batch = bee.batch(cx, log).expect("batch");
            for n in 0..size {
                batch.put(cx, bee, log, key(n).as_bytes(), Some(&[1; 32])).expect("put");
            }
            batch.flush(cx, bee, log).expect("flush");
        });
        let rate = |time: std::time::Duration| size as f64 / time.as_secs_f64();
        println!(
            "{size}: put {:.0}/s get {:.0}/s walk {:.0}/s batch {:.0}/s",
            rate(put),
            rate(get),
            rate(walk),
            rate(begun.elapsed())
        );
    }
}

fn audited(tree: &mut Tree) -> audit::TreeAudit {
    tree.with(|cx, _, log| audit::audit(cx, log, &mut |_, _| {})).expect("can be read").expect("a tree")
}

/// Every tree of the vectors, with its batches, deletions and refused puts.
// proves hyperbee.38, hyperbee.39
#[test]
fn the_trees_of_the_real_package_are_sound() {
    let mut trees = Vec::new();
    for vector in vectors!("hyperbee-small.json") {
        let mut tree = Tree::new();
        run_all(&mut tree, vector["inputs"]["ops"].as_array().expect("ops"), DEFAULT);
        trees.push(tree);
    }
    for vector in vectors!("hyperbee-batch-edges.json") {
        let mut tree = Tree::new();
        run_all(&mut tree, &put_ops(0..400, 3), DEFAULT);
        run_all(&mut tree, &[serde_json::json!(["batch", vector["inputs"]["batch"]])], DEFAULT);
        trees.push(tree);
    }
    let ten = &vectors!("hyperbee-100-batches.json")[1];
    let mut tree = Tree::new();
    run_all(&mut tree, ten["inputs"]["ops"].as_array().expect("ops"), DEFAULT);
    trees.push(tree);
    let mut tree = Tree::new();
    run_all(&mut tree, &put_ops(0..300, 3), DEFAULT);
    run_all(&mut tree, &del_ops(50..290, 3), DEFAULT);
    trees.push(tree);
    for (number, mut tree) in trees.into_iter().enumerate() {
        if tree.log.is_empty() {
            continue;
        }
        let entries = tree.range(Range::all()).expect("reads").len() as u64;
        let found = audited(&mut tree);
        assert_eq!(found.faults, [], "tree {number}");
        assert_eq!((found.entries, found.complete), (Some(entries), true), "tree {number}");
        assert_eq!((found.blocks, found.absent), (tree.log.len() - 1, 0), "tree {number}");
    }
}

#[test]
fn a_tree_that_is_not_all_here_is_judged_as_far_as_it_goes() {
    let mut tree = Tree::new();
    run_all(&mut tree, &put_ops(0..60, 3), DEFAULT);
    tree.log.away = [7, 30].into();
    let found = audited(&mut tree);
    assert_eq!(found.faults, []);
    assert_eq!((found.blocks, found.absent, found.entries, found.complete), (58, 2, None, false));
    let mut other = Tree::of(vec![b"no header".to_vec()]);
    assert_eq!(other.with(|cx, _, log| audit::audit(cx, log, &mut |_, _| {})), Ok(None));
}

/// A tree whose blocks each are what they were, but for one.
// proves hyperbee.38, hyperbee.39
#[test]
fn what_a_liar_writes_is_found() {
    let mut sound = Tree::new();
    run_all(&mut sound, &put_ops(0..60, 3), DEFAULT);
    let last = sound.log.len() - 1;
    let change = |seq: u64, act: &dyn Fn(&mut Node, &mut Index)| {
        let mut tree = Tree::of(sound.log.blocks.clone());
        let mut node: Node = decode(&tree.log.blocks[seq as usize]).expect("a node");
        let mut index: Index = decode(&node.index).expect("an index");
        act(&mut node, &mut index);
        node.index = encode(&index);
        tree.log.blocks[seq as usize] = encode(&node);
        audited(&mut tree)
    };
    let first = |found: audit::TreeAudit| found.faults.first().map(|fault| (fault.seq, fault.rule));
    let same = change(last, &|_, _| {});
    assert_eq!((same.loose, first(same)), (0, None));
    let swapped = change(last, &|_, index| index.levels[1].keys.swap(0, 1));
    assert_eq!(first(swapped), Some((last, "hyperbee.34")));
    let children = change(last, &|_, index| {
        let children = &mut index.levels[0].children;
        children.swap(0, 2);
        children.swap(1, 3);
    });
    assert_eq!(first(children), Some((last, "hyperbee.34")));
    let later = change(40, &|_, index| index.levels[0].keys[0] = 50);
    assert_eq!(
        (later.loose, first(later)),
        (1, None),
        "an old root, which the newest version does not reach"
    );
    let own = change(last, &|_, index| index.levels[0].children[..2].copy_from_slice(&[last, 0]));
    assert_eq!(first(own).map(|(seq, _)| seq), Some(last));
    let short = change(last, &|_, index| index.levels.last_mut().expect("one").keys.truncate(3));
    assert!(short.faults.iter().any(|fault| fault.rule == "hyperbee.12"), "{short:?}");
    // A put that is left out: its key cannot be reached.
    let lost = change(last, &|_, index| {
        index.levels.last_mut().expect("one").keys.retain(|seq| *seq != last);
    });
    assert!(lost.faults.iter().any(|fault| fault.rule == "hyperbee.11"), "{lost:?}");
    let shape = change(last, &|_, index| index.levels[0].children.truncate(2));
    assert_eq!(first(shape), Some((last, "hyperbee.34")));
    let mut torn = Tree::of(sound.log.blocks.clone());
    torn.log.blocks[9].truncate(1);
    assert_eq!(first(audited(&mut torn)), Some((9, "hyperbee.4")));
}
