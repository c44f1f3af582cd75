//! seckel and the real packages: hyperbee.

use core::ops::Bound;

use seckel::base::{Cx, Entropy, Error, NoTrace, Seeded, Time, hex};
use seckel::hyperbee::{Bee, Log, Range};
use seckel::sim::ramdisk::RamDisk;
use serde_json::{Value, json};

use super::support::{Node, skipped};

#[derive(Default)]
struct Memory(Vec<Vec<u8>>);

impl Log for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn block(&mut self, _: &mut Cx<'_>, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(seq as usize).cloned())
    }
    fn append(&mut self, _: &mut Cx<'_>, blocks: &[Vec<u8>]) -> Result<(), Error> {
        self.0.extend_from_slice(blocks);
        Ok(())
    }
}

/// Our tree, and the operations it did in the words of `js/hyperbee.js`.
struct Twin {
    bee: Bee,
    log: Memory,
    ops: Vec<Value>,
    entropy: Seeded,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Put,
    Refused,
    Del,
}

impl Twin {
    fn new(seed: u64) -> Twin {
        Twin { bee: Bee::new(), log: Memory::default(), ops: Vec::new(), entropy: Seeded::new(seed) }
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
        let kind = if self.entropy.chance(50) { Kind::Refused } else { Kind::Put };
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
            });
        }
        let count = 1 + self.entropy.below(30);
        let drawn: Vec<_> = (0..count).map(|_| self.draw(keys, deleting)).collect();
        let words: Vec<Value> =
            drawn.iter().map(|(kind, key, value)| told(*kind, key, value.as_deref())).collect();
        self.ops.push(json!(["batch", words]));
        self.with(|cx, bee, log| {
            let mut batch = bee.batch(cx, log)?;
            for (kind, key, value) in &drawn {
                let value = value.as_deref();
                match kind {
                    Kind::Del => batch.del(cx, bee, log, key).map(|_| ())?,
                    Kind::Put => batch.put(cx, bee, log, key, value).map(|_| ())?,
                    Kind::Refused => batch.put_if(cx, bee, log, key, value, &mut |_| false).map(|_| ())?,
                }
            }
            batch.flush(cx, bee, log)
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
