//! seckel and the real packages: hyperbee.

use core::ops::Bound;

use seckel::base::{Cx, Entropy, Error, NoTrace, Seeded, Time, hex};
use seckel::crypto::KeyPair;
use seckel::hyperbee::{Bee, Change, Entry, Extent, Log, Range, Sub};
use seckel::hypercore::{Encryption, Hypercore, Open};
use seckel::sim::ramdisk::RamDisk;
use serde_json::{Value, json};

use super::support::{Node, skipped};

/// Blocks, the fork, and how they came to be.
#[derive(Default)]
struct Memory(Vec<Vec<u8>>, u64, Vec<Act>);

/// A change of a log.
enum Act {
    Append(Vec<Vec<u8>>),
    Cut(u64),
}

impl Log for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn fork(&self) -> u64 {
        self.1
    }
    fn block(&mut self, _: &mut Cx<'_>, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(seq as usize).cloned())
    }
    fn append(&mut self, _: &mut Cx<'_>, blocks: &[Vec<u8>]) -> Result<(), Error> {
        self.0.extend_from_slice(blocks);
        self.2.push(Act::Append(blocks.to_vec()));
        Ok(())
    }
}

/// Our tree, and the operations it did in the words of `js/hyperbee.js`.
struct Twin {
    bee: Bee,
    log: Memory,
    ops: Vec<Value>,
    entropy: Seeded,
    /// Lengths at which a step ended: versions of the tree.
    ends: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Put,
    Refused,
    /// A put that is refused if it changes nothing.
    Changed,
    Del,
}

impl Twin {
    fn new(seed: u64) -> Twin {
        Twin {
            bee: Bee::new(),
            log: Memory::default(),
            ops: Vec::new(),
            entropy: Seeded::new(seed),
            ends: Vec::new(),
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>, &mut Bee, &mut Memory) -> Result<T, Error>) -> T {
        let mut entropy = Seeded::new(0);
        let mut disk = RamDisk::new();
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        act(&mut cx, &mut self.bee, &mut self.log).expect("no errors")
    }

    /// Draws an operation; `deleting` of ten are deletions.
    fn draw(&mut self, keys: u64, deleting: u64) -> (Kind, Vec<u8>, Option<Vec<u8>>) {
        let key = format!("{:x}", self.entropy.below(keys)).into_bytes();
        if self.entropy.below(10) < deleting {
            return (Kind::Del, key, None);
        }
        let kind = match self.entropy.below(20) {
            0 => Kind::Refused,
            1 => Kind::Changed,
            _ => Kind::Put,
        };
        let value = match self.entropy.below(10) {
            0 => None,
            1 => Some(Vec::new()),
            len => Some(vec![7; len as usize]),
        };
        (kind, key, value)
    }

    /// One step: a single operation, or a batch.
    fn step(&mut self, keys: u64, deleting: u64) {
        if self.entropy.chance(850) {
            let (kind, key, value) = self.draw(keys, deleting);
            self.ops.push(told(kind, &key, value.as_deref()));
            return self.with(|cx, bee, log| match kind {
                Kind::Del => bee.del(cx, log, &key).map(|_| ()),
                Kind::Put => bee.put(cx, log, &key, value.as_deref()).map(|_| ()),
                Kind::Refused => bee.put_if(cx, log, &key, value.as_deref(), |_| false).map(|_| ()),
                Kind::Changed => {
                    bee.put_if(cx, log, &key, value.as_deref(), |old| old.value != value).map(|_| ())
                }
            });
        }
        let words = self.batch(&Sub::whole(), keys, deleting);
        self.ops.push(words);
    }

    /// A batch in a part of the tree; gives its words.
    fn batch(&mut self, sub: &Sub, keys: u64, deleting: u64) -> Value {
        let count = 1 + self.entropy.below(30);
        let drawn: Vec<_> = (0..count).map(|_| self.draw(keys, deleting)).collect();
        let words: Vec<Value> =
            drawn.iter().map(|(kind, key, value)| told(*kind, key, value.as_deref())).collect();
        self.with(|cx, bee, log| {
            let mut batch = bee.batch(cx, log)?;
            for (kind, key, value) in &drawn {
                let (key, value) = (&sub.key(key), value.as_deref());
                match kind {
                    Kind::Del => batch.del(cx, bee, log, key).map(|_| ())?,
                    Kind::Put => batch.put(cx, bee, log, key, value).map(|_| ())?,
                    Kind::Refused => batch.put_if(cx, bee, log, key, value, &mut |_| false).map(|_| ())?,
                    Kind::Changed => {
                        let differs = &mut |old: &Entry| old.value.as_deref() != value;
                        batch.put_if(cx, bee, log, key, value, differs).map(|_| ())?;
                    }
                }
            }
            batch.flush(cx, bee, log)
        });
        json!(["batch", words])
    }

    /// A single operation or a batch in a part of the tree, or a cut back to an older version.
    fn odd_step(&mut self, keys: u64) {
        if !self.ends.is_empty() && self.entropy.chance(100) {
            let at = self.ends.len() - 1 - self.entropy.below(self.ends.len().min(20) as u64) as usize;
            let length = self.ends[at];
            self.ends.truncate(at + 1);
            if length < self.log.len() {
                self.log.0.truncate(length as usize);
                self.log.1 += 1;
                self.log.2.push(Act::Cut(length));
                self.ops.push(json!(["cut", length]));
            }
            return;
        }
        let (mut sub, mut names) = (Sub::whole(), Vec::new());
        for _ in 0..=self.entropy.below(2) {
            let name = format!("s{}", self.entropy.below(3)).into_bytes();
            let separator = self.entropy.chance(300).then_some(&b"!"[..]);
            sub = separator.map_or_else(|| sub.sub(&name), |separator| sub.sub_with(&name, separator));
            names.push((name, separator));
        }
        let drawn = (!self.entropy.chance(200)).then(|| self.draw(keys, 3));
        let inner = match &drawn {
            Some((kind, key, value)) => told(*kind, key, value.as_deref()),
            None => self.batch(&sub, keys, 3),
        };
        self.ops.push(names.iter().rev().fold(inner, |inner, (name, separator)| {
            json!(["sub", hex::encode(name), separator.map(hex::encode), inner])
        }));
        let Some((kind, key, value)) = drawn else { return };
        let key = sub.key(&key);
        self.with(|cx, bee, log| match kind {
            Kind::Del => bee.del(cx, log, &key).map(|_| ()),
            Kind::Put => bee.put(cx, log, &key, value.as_deref()).map(|_| ()),
            Kind::Refused => bee.put_if(cx, log, &key, value.as_deref(), |_| false).map(|_| ()),
            Kind::Changed => {
                bee.put_if(cx, log, &key, value.as_deref(), |old| old.value != value).map(|_| ())
            }
        });
    }

    fn blocks(&self) -> Vec<String> {
        self.log.0.iter().map(|block| hex::encode(block)).collect()
    }
}

fn told(kind: Kind, key: &[u8], value: Option<&[u8]>) -> Value {
    let kind = match kind {
        Kind::Put => "put",
        Kind::Refused => "refused",
        Kind::Changed => "changed",
        Kind::Del => "del",
    };
    json!([kind, hex::encode(key), value.map(hex::encode)])
}

/// pitfalls 15.10: random puts, refused puts, deletions and batches write the same blocks as the real package.
#[test]
fn random_sequences_write_equal_blocks() {
    if skipped("hyperbee::random_sequences_write_equal_blocks") {
        return;
    }
    let mut node = Node::start("hyperbee.js", &[]);
    for (seed, steps, keys, deleting) in
        [(1, 300, 20, 5), (2, 800, 200, 4), (3, 1500, 1000, 3), (4, 1500, 400, 5), (5, 1200, 5000, 1)]
    {
        let mut twin = Twin::new(seed);
        for step in 0..steps {
            // From growing to shrinking and back, so that splits and merges both reach the upper levels.
            let deleting = if step / 200 % 3 == 2 { 9 - deleting } else { deleting };
            twin.step(keys, deleting);
        }
        let answer = node.ask(&json!({ "do": "blocks", "ops": twin.ops }));
        let theirs = answer["blocks"].as_array().expect("blocks");
        for (n, (ours, theirs)) in twin.blocks().iter().zip(theirs).enumerate() {
            assert_eq!(ours, theirs.as_str().expect("hex"), "seed {seed}: block {n}");
        }
        assert_eq!(twin.log.0.len(), theirs.len(), "seed {seed}: number of blocks");
    }
    node.finish();
}

/// Parts of a tree, comparisons, and cuts back to older versions between the other operations.
#[test]
fn parts_and_cuts_write_equal_blocks() {
    if skipped("hyperbee::parts_and_cuts_write_equal_blocks") {
        return;
    }
    let mut node = Node::start("hyperbee.js", &[]);
    for seed in 40..44 {
        let mut twin = Twin::new(seed);
        for _ in 0..500 {
            if twin.entropy.chance(400) {
                twin.odd_step(60);
            } else {
                twin.step(100, 3);
            }
            twin.ends.push(twin.log.len());
        }
        let answer = node.ask(&json!({ "do": "blocks", "ops": twin.ops }));
        assert_eq!(answer["blocks"], json!(twin.blocks()), "seed {seed}");
    }
    node.finish();
}

/// On encrypted cores, cut and gone on with: equal trees and signatures, so that each encrypted block is equal.
// proves hypercore.90, hypercore.92
#[test]
fn trees_on_encrypted_cores_are_signed_alike() {
    if skipped("hyperbee::trees_on_encrypted_cores_are_signed_alike") {
        return;
    }
    let mut node = Node::start("hyperbee.js", &[]);
    for seed in 80..84 {
        let mut twin = Twin::new(seed);
        for _ in 0..250 {
            if twin.entropy.chance(400) {
                twin.odd_step(60)
            } else {
                twin.step(100, 3)
            }
            twin.ends.push(twin.log.len());
        }
        let (pair_seed, key) = ([seed as u8; 32], [9; 32]);
        let (mut disk, mut entropy) = (RamDisk::new(), Seeded::new(0));
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let key_pair = Some(KeyPair::from_seed(pair_seed));
        let open = Open { key_pair, encryption: Some(Encryption::new(key)), ..Open::default() };
        let mut core = Hypercore::open(&mut cx, "core", open).expect("opens");
        for act in &twin.log.2 {
            match act {
                Act::Append(blocks) => drop(core.append(&mut cx, blocks).expect("appends")),
                Act::Cut(length) => core.truncate(&mut cx, *length).expect("truncates"),
            }
        }
        let ask = json!({
            "do": "blocks", "ops": twin.ops, "seed": hex::encode(&pair_seed), "encryption": hex::encode(&key),
        });
        let answer = node.ask(&ask);
        assert_eq!(answer["blocks"], json!(twin.blocks()), "seed {seed}");
        assert_eq!(answer["fork"], core.fork(), "seed {seed}");
        assert!(core.fork() > 2, "seed {seed}: cut");
        assert_eq!(answer["treeHash"], hex::encode(&core.tree_hash()), "seed {seed}");
        assert_eq!(answer["signature"], hex::encode(core.signature()), "seed {seed}");
    }
    node.finish();
}

/// What the newest version does not need, as the real package clears it.
// proves hyperbee.53, hyperbee.54
#[test]
fn the_real_package_clears_the_same_blocks() {
    if skipped("hyperbee::the_real_package_clears_the_same_blocks") {
        return;
    }
    let mut node = Node::start("hyperbee.js", &[]);
    for seed in 90..96 {
        let mut twin = Twin::new(seed);
        for step in 0..200 {
            twin.step(60, if step < 120 { 2 } else { 5 });
        }
        let version = twin.log.len();
        let ours = twin.with(|cx, bee, log| {
            let mut unlinked = bee.unlinked(version, 0, version);
            let mut gone = Vec::new();
            while let Some(seq) = unlinked.next(cx, bee, log)? {
                gone.push(seq);
            }
            Ok(gone)
        });
        assert!(ours.len() > 50, "seed {seed}: {}", ours.len());
        let answer = node.ask(&json!({ "do": "unlinked", "ops": twin.ops }));
        assert_eq!(answer["gone"], json!(ours), "seed {seed}");
    }
    node.finish();
}

fn shown(entry: &Entry) -> Value {
    json!([entry.seq, hex::encode(&entry.key), entry.value.as_ref().map(|value| hex::encode(value))])
}

/// Differences of drawn versions, histories in drawn parts, and parts of trees, as the real package gives them.
// proves hyperbee.40
// proves hyperbee.43
#[test]
fn the_real_package_finds_the_same_differences_and_histories() {
    if skipped("hyperbee::the_real_package_finds_the_same_differences_and_histories") {
        return;
    }
    let mut node = Node::start("hyperbee.js", &[]);
    for seed in 60..66 {
        let mut twin = Twin::new(seed);
        for step in 0..250 {
            if step % 4 == 3 {
                twin.odd_step(40)
            } else {
                twin.step(150, if step < 150 { 2 } else { 6 })
            }
            twin.ends.push(twin.log.len());
        }
        node.ask(&json!({ "do": "load", "blocks": twin.blocks() }));
        for _ in 0..25 {
            let mut version = || twin.ends[twin.entropy.below(twin.ends.len() as u64) as usize];
            let (left, right) = (version(), version());
            let (mut range, mut told) = (Range::all(), json!({}));
            let key = |entropy: &mut Seeded| format!("{:x}", entropy.below(150)).into_bytes();
            if twin.entropy.chance(400) {
                let key = key(&mut twin.entropy);
                let inclusive = twin.entropy.chance(500);
                told[if inclusive { "gte" } else { "gt" }] = hex::encode(&key).into();
                range = if inclusive { range.gte(&key) } else { range.gt(&key) };
            }
            if twin.entropy.chance(400) {
                let key = key(&mut twin.entropy);
                let inclusive = twin.entropy.chance(500);
                told[if inclusive { "lte" } else { "lt" }] = hex::encode(&key).into();
                range = if inclusive { range.lte(&key) } else { range.lt(&key) };
            }
            if twin.entropy.chance(300) {
                told["limit"] = 5.into();
                range = range.limit(5);
            }
            let ours = twin.with(|cx, bee, log| {
                let mut diff = bee.diff(left, right, range);
                let mut found = Vec::new();
                while let Some(one) = diff.next(cx, bee, log)? {
                    found.push(json!([one.left.as_ref().map(shown), one.right.as_ref().map(shown)]));
                }
                Ok(found)
            });
            let ask = json!({ "do": "diff", "left": left, "right": right, "range": told });
            assert_eq!(node.ask(&ask)["found"], Value::Array(ours), "seed {seed}: {ask}");
        }
        let version = twin.log.len() as i64;
        for _ in 0..25 {
            let mut bound = || {
                let at = twin.entropy.below(2 * version as u64 - 1) as i64 - (version - 1);
                twin.entropy.chance(350).then_some(at)
            };
            let (gt, gte, lt, lte) = (bound(), bound(), bound(), bound());
            let limit = twin.entropy.chance(300).then_some(6);
            let extent = Extent { gt, gte, lt, lte, limit, reverse: twin.entropy.chance(500), live: false };
            let mut told = json!({ "reverse": extent.reverse });
            for (name, bound) in [("gt", gt), ("gte", gte), ("lt", lt), ("lte", lte)] {
                if let Some(bound) = bound {
                    told[name] = bound.into();
                }
            }
            if let Some(limit) = limit {
                told["limit"] = limit.into();
            }
            let ours = twin.with(|cx, bee, log| {
                let mut history = bee.history_in(log.len(), &extent)?;
                let mut found = Vec::new();
                while let Some(change) = history.next(cx, bee, log)? {
                    let kind = if matches!(change, Change::Put(_)) { "put" } else { "del" };
                    let mut one = vec![json!(kind)];
                    one.extend(shown(change.entry()).as_array().expect("a list").iter().cloned());
                    found.push(Value::Array(one));
                }
                Ok(found)
            });
            let ask = json!({ "do": "history", "extent": told });
            assert_eq!(node.ask(&ask)["found"], Value::Array(ours), "seed {seed}: {ask}");
        }
        for names in [vec!["s0"], vec!["s1", "s2"]] {
            let sub = names.iter().fold(Sub::whole(), |sub, name| sub.sub(name.as_bytes()));
            let range = sub.range(Range::all());
            let ours = twin.with(|cx, bee, log| {
                let mut cursor = bee.range(log.len(), range);
                let mut found = Vec::new();
                while let Some(entry) = cursor.next(cx, bee, log)? {
                    let key = sub.strip(&entry.key).expect("of this part").to_vec();
                    found.push(shown(&Entry { key, ..entry }));
                }
                Ok(found)
            });
            let names: Vec<String> = names.iter().map(|name| hex::encode(name.as_bytes())).collect();
            let ask = json!({ "do": "sub", "names": names, "range": {} });
            assert_eq!(node.ask(&ask)["found"], Value::Array(ours), "seed {seed}: {ask}");
        }
    }
    node.finish();
}

/// The real package reads our blocks as we do: drawn ranges in both directions, and single keys.
#[test]
fn the_real_package_reads_our_blocks() {
    if skipped("hyperbee::the_real_package_reads_our_blocks") {
        return;
    }
    let mut node = Node::start("hyperbee.js", &[]);
    for seed in 10..30 {
        let mut twin = Twin::new(seed);
        for _ in 0..150 {
            twin.step(300, 3);
        }
        let mut told = serde_json::Map::new();
        let mut bound = |names: [&str; 2], entropy: &mut Seeded| {
            let key = format!("{:x}", entropy.below(300)).into_bytes();
            match entropy.below(3) {
                0 => Bound::Unbounded,
                1 => {
                    told.insert(names[0].into(), hex::encode(&key).into());
                    Bound::Excluded(key)
                }
                _ => {
                    told.insert(names[1].into(), hex::encode(&key).into());
                    Bound::Included(key)
                }
            }
        };
        let from = bound(["gt", "gte"], &mut twin.entropy);
        let to = bound(["lt", "lte"], &mut twin.entropy);
        let reverse = twin.entropy.chance(500);
        let limit = twin.entropy.chance(300).then_some(7);
        told.insert("reverse".into(), reverse.into());
        if let Some(limit) = limit {
            told.insert("limit".into(), limit.into());
        }
        let entries = twin.with(|cx, bee, log| {
            let mut cursor = bee.range(log.len(), Range { from, to, limit, reverse });
            let mut entries = Vec::new();
            while let Some(entry) = cursor.next(cx, bee, log)? {
                entries.push(entry);
            }
            Ok(entries)
        });
        let ours: Vec<Value> = entries
            .iter()
            .map(|entry| {
                json!([entry.seq, hex::encode(&entry.key), entry.value.as_ref().map(|v| hex::encode(v))])
            })
            .collect();
        let keys: Vec<String> = entries.iter().map(|entry| hex::encode(&entry.key)).collect();
        let answer = node.ask(&json!({ "do": "read", "blocks": twin.blocks(), "range": told, "keys": keys }));
        assert_eq!(answer["entries"], Value::Array(ours), "seed {seed}: {told:?}");
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(answer["found"], json!(seqs), "seed {seed}");
    }
    node.finish();
}
