//! A tree beside a `BTreeMap`, at every version; and trees that a hostile writer made.

use std::collections::BTreeMap;
use std::ops::Bound;

use seckel::base::{Cx, Error, NoTrace, Seeded, Time};
use seckel::hyperbee::audit::audit;
use seckel::hyperbee::{Bee, Change, Log, Range};
use seckel::sim::ramdisk::RamDisk;
use seckel::wire;
use seckel::wire::hyperbee::{Index, Keys, Level, Node};

use super::{Draw, Drawn, Recorded};

pub fn run(input: &[u8], _: bool) -> String {
    live(&mut Drawn::new(input));
    String::new()
}

pub fn live(draw: &mut dyn Draw) {
    if draw.below(2) == 0 { Model::new().live(draw) } else { hostile(draw) }
}

/// An input: a hostile tree of these blocks.
pub fn of_blocks(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut input = Recorded::new(0, 0);
    input.say(2, 1);
    for block in blocks.iter().filter(|block| block.len() <= BLOCK_MAX as usize) {
        input.say(3, 0).say_bytes(BLOCK_MAX, block);
    }
    input.finish()
}

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

/// The world of a tree has nothing in it.
fn with<T>(act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut entropy, mut disk) = (Seeded::new(1), RamDisk::new());
    act(&mut Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace })
}

/// Few keys, so that they meet.
fn key(draw: &mut dyn Draw) -> Vec<u8> {
    let drawn = draw.below(200) as u8;
    match drawn {
        0 => Vec::new(),
        1..=9 => vec![b'a'; drawn.into()],
        _ => vec![drawn],
    }
}

type Map = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

struct Model {
    bee: Bee,
    log: Memory,
    /// The map at each length of the log that was seen.
    versions: BTreeMap<u64, Map>,
    map: Map,
}

impl Model {
    fn new() -> Model {
        let versions = BTreeMap::from([(0, Map::new())]);
        Model { bee: Bee::new(), log: Memory::default(), versions, map: Map::new() }
    }

    fn live(mut self, draw: &mut dyn Draw) {
        while draw.more() && self.log.len() < 500 {
            self.turn(draw);
        }
        let log = &mut self.log;
        let audit = with(|cx| audit(cx, log, &mut |_, _| ())).expect("a log that is here");
        assert!(
            audit.is_none_or(|audit| audit.faults.is_empty()),
            "the auditor finds nothing in a sound tree"
        );
        for version in self.versions.keys().rev().step_by(3).take(20).copied().collect::<Vec<_>>() {
            self.range(version, Range::all(), (Bound::Unbounded, Bound::Unbounded), false);
            self.diff(version, self.log.len());
            self.diff(self.log.len(), version);
        }
    }

    fn turn(&mut self, draw: &mut dyn Draw) {
        let (bee, log, map) = (&mut self.bee, &mut self.log, &mut self.map);
        match draw.below(12) {
            0..=4 => {
                let (key, value) = (key(draw), draw.chance(900).then(|| draw.drawn_bytes(8)));
                with(|cx| bee.put(cx, log, &key, value.as_deref())).expect("a put");
                map.insert(key, value);
            }
            5 | 6 => {
                let key = key(draw);
                let gone = with(|cx| bee.del(cx, log, &key)).expect("a deletion");
                assert_eq!(gone, map.remove(&key).is_some());
            }
            7 => {
                let mut batch = with(|cx| bee.batch(cx, log)).expect("a batch");
                for _ in 0..draw.below(30) {
                    let key = key(draw);
                    if draw.chance(600) {
                        with(|cx| batch.put(cx, bee, log, &key, Some(b"batch"))).expect("a put");
                        map.insert(key, Some(b"batch".to_vec()));
                    } else {
                        let gone = with(|cx| batch.del(cx, bee, log, &key)).expect("a deletion");
                        assert_eq!(gone, map.remove(&key).is_some());
                    }
                }
                with(|cx| batch.flush(cx, bee, log)).expect("a flush");
            }
            8 => {
                let key = key(draw);
                let got = with(|cx| bee.get(cx, log, &key)).expect("a get");
                assert_eq!(got.map(|entry| entry.value), map.get(&key).cloned());
            }
            9 => *bee = Bee::new(), // nothing in the cache
            10 => {
                let (low, high) = (key(draw), key(draw));
                let (low, high) = (low.clone().min(high.clone()), low.max(high));
                let reverse = draw.chance(500);
                let seen = self.versions.len() as u64;
                let version = *self.versions.keys().nth(draw.below(seen) as usize).expect("one is there");
                let (range, bounds) = match draw.below(3) {
                    0 => (Range::all().gte(&low).lte(&high), (Bound::Included(low), Bound::Included(high))),
                    1 if low != high => {
                        (Range::all().gt(&low).lt(&high), (Bound::Excluded(low), Bound::Excluded(high)))
                    }
                    _ => (Range::all().gt(&low), (Bound::Excluded(low), Bound::Unbounded)),
                };
                self.range(version, if reverse { range.reverse() } else { range }, bounds, reverse);
            }
            _ => {
                let key = key(draw);
                let allowed = draw.chance(500);
                let there = map.contains_key(&key);
                let put = with(|cx| bee.put_if(cx, log, &key, Some(b"if"), |_| allowed)).expect("a put");
                assert_eq!(put.is_some(), allowed || !there);
                if put.is_some() {
                    map.insert(key, Some(b"if".to_vec()));
                }
            }
        }
        self.versions.insert(self.log.len(), self.map.clone());
    }

    fn range(&mut self, version: u64, range: Range, bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>), reverse: bool) {
        let (bee, log) = (&mut self.bee, &mut self.log);
        let mut cursor = bee.range(version, range);
        let mut got = Vec::new();
        while let Some(entry) = with(|cx| cursor.next(cx, bee, log)).expect("an entry") {
            got.push((entry.key, entry.value));
        }
        if reverse {
            got.reverse();
        }
        let map = &self.versions[&version];
        let expected: Vec<_> = map.range(bounds).map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(got, expected, "version {version}");
    }

    /// What differs, seen as a change of the right map, makes the left one.
    fn diff(&mut self, left: u64, right: u64) {
        let (bee, log) = (&mut self.bee, &mut self.log);
        let mut diff = bee.diff(left, right, Range::all());
        let mut made = self.versions[&right].clone();
        while let Some(difference) = with(|cx| diff.next(cx, bee, log)).expect("a difference") {
            let key = difference.key().to_vec();
            let was = difference.right.map(|entry| entry.value);
            assert_eq!(was, made.remove(&key), "versions {left} and {right}");
            made.extend(difference.left.map(|entry| (key, entry.value)));
        }
        assert_eq!(&made, &self.versions[&left], "versions {left} and {right}");
    }
}

const BLOCK_MAX: u64 = 600;

/// A log of drawn blocks, read and written in every way: errors, but no panic and no loop.
fn hostile(draw: &mut dyn Draw) {
    let mut log = Memory::default();
    while draw.more() && log.len() < 200 {
        let seq = log.len();
        let block = match draw.below(3) {
            0 => draw.drawn_bytes(BLOCK_MAX),
            1 => wire::encode(&node(draw, seq)),
            _ => {
                let of = draw.below(seq.max(1)) as usize;
                log.0.get(of).cloned().unwrap_or_default()
            }
        };
        log.0.push(block);
    }
    let mut bee = Bee::new();
    let version = log.len();
    with(|cx| {
        let _ = bee.header(cx, &mut log);
        for key in [&b""[..], b"a", b"aaaa", &[100], &[255; 40]] {
            let _ = bee.get(cx, &mut log, key);
        }
        for range in [Range::all(), Range::all().reverse(), Range::all().gt(b"a").lt(&[150])] {
            let mut cursor = bee.range(version, range);
            let mut last: Option<Vec<u8>> = None;
            for _ in 0..1000 {
                let Ok(Some(entry)) = cursor.next(cx, &mut bee, &mut log) else { break };
                assert_ne!(last.as_ref(), Some(&entry.key), "each key once");
                last = Some(entry.key);
            }
        }
        for (left, right) in [(version, version / 2), (0, version), (version / 3, version)] {
            let mut diff = bee.diff(left, right, Range::all());
            let mut last: Option<Vec<u8>> = None;
            while let Ok(Some(difference)) = diff.next(cx, &mut bee, &mut log) {
                assert!(
                    last.as_deref().is_none_or(|last| last < difference.key()),
                    "each key once, in order"
                );
                last = Some(difference.key().to_vec());
            }
        }
        let _ = audit(cx, &mut log, &mut |_, _| ());
        let mut history = bee.history(version);
        for _ in 0..1000 {
            match history.next(cx, &mut bee, &mut log) {
                Ok(Some(Change::Put(_) | Change::Del(_))) => {}
                _ => break,
            }
        }
        for key in [&b"a"[..], &[100], b""] {
            let _ = bee.put(cx, &mut log, key, Some(b"v"));
            let _ = bee.del(cx, &mut log, key);
        }
    });
}

/// A node whose levels refer to blocks that may be there.
fn node(draw: &mut dyn Draw, seq: u64) -> Node {
    let near = |draw: &mut dyn Draw| if draw.chance(900) { draw.below(seq + 2) } else { draw.u32().into() };
    let mut levels = Vec::new();
    for _ in 0..draw.below(4) {
        let keys: Keys = (0..draw.below(10)).map(|_| near(draw)).collect();
        let children = match draw.below(3) {
            0 => 0,
            1 => 2 * (keys.len() as u64 + 1),
            _ => draw.below(12),
        };
        let children = (0..children).map(|n| if n % 2 == 0 { near(draw) } else { draw.below(3) }).collect();
        levels.push(Level { keys, children });
    }
    let index = wire::encode(&Index { levels });
    Node { key: key(draw), value: draw.chance(800).then(|| draw.drawn_bytes(8)), index }
}
