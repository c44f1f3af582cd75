//! A tree beside a `BTreeMap`, at every version: entries, ranges in both directions, differences, history.

use core::ops::{Bound, RangeBounds};

use super::*;

/// What the tree should hold: of each key the block and the value.
type Map = BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>;

struct Model {
    tree: Tree,
    map: Map,
    entropy: Seeded,
    /// The map at each length at which a step ended.
    versions: Vec<(u64, Map)>,
    /// Of each block from 1 on: a deletion, the key, the value.
    operations: Vec<(bool, Vec<u8>, Option<Vec<u8>>)>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let versions = vec![(0, Map::new()), (1, Map::new())];
        let (map, operations) = (Map::new(), Vec::new());
        Model { tree: Tree::new(), map, entropy: Seeded::new(seed), versions, operations }
    }

    fn key(&mut self, keys: u64) -> Vec<u8> {
        format!("{:x}", self.entropy.below(keys)).into_bytes()
    }

    /// One operation, or a batch of them; `deleting` of ten are deletions.
    fn step(&mut self, keys: u64, deleting: u64) {
        let count = if self.entropy.chance(200) { 1 + self.entropy.below(20) } else { 1 };
        let mut batch = self.tree.with(|cx, bee, log| bee.batch(cx, log)).expect("batch");
        for _ in 0..count {
            let key = self.key(keys);
            if self.entropy.below(10) < deleting {
                let gone = self.tree.with(|cx, bee, log| batch.del(cx, bee, log, &key)).expect("del");
                assert_eq!(gone, self.map.remove(&key).is_some());
                if gone {
                    self.operations.push((true, key, None));
                }
                continue;
            }
            // No value looks like a deletion in the midst of a batch (hyperbee.31).
            let value =
                (count > 1 || self.entropy.chance(900)).then(|| self.operations.len().to_le_bytes().to_vec());
            let put = self.tree.with(|cx, bee, log| batch.put(cx, bee, log, &key, value.as_deref()));
            let seq = put.expect("put");
            self.map.insert(key.clone(), (seq, value.clone()));
            self.operations.push((false, key, value));
        }
        self.tree.with(|cx, bee, log| batch.flush(cx, bee, log)).expect("flush");
        assert_eq!(self.tree.log.len(), 1 + self.operations.len() as u64);
        self.versions.push((self.tree.log.len(), self.map.clone()));
    }

    fn draw_range(&mut self, keys: u64) -> Range {
        let mut bound = || {
            let key = format!("{:x}", self.entropy.below(keys)).into_bytes();
            match self.entropy.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(key),
                _ => Bound::Excluded(key),
            }
        };
        let (from, to) = (bound(), bound());
        let limit = self.entropy.chance(300).then(|| self.entropy.below(10));
        Range { from, to, limit, reverse: self.entropy.chance(500) }
    }
}

fn entry(key: &[u8], map: &Map) -> Option<Entry> {
    map.get(key).map(|(seq, value)| Entry { seq: *seq, key: key.to_vec(), value: value.clone() })
}

/// In the order and within the bounds of a range.
fn cut<T>(range: &Range, all: impl DoubleEndedIterator<Item = (Vec<u8>, T)>) -> Vec<T> {
    let inside = |(key, _): &(Vec<u8>, T)| (range.from.clone(), range.to.clone()).contains(key);
    let all: Box<dyn Iterator<Item = _>> = if range.reverse { Box::new(all.rev()) } else { Box::new(all) };
    let limit = range.limit.map_or(usize::MAX, |limit| limit as usize);
    all.filter(inside).map(|(_, one)| one).take(limit).collect()
}

fn differences(left: &Map, right: &Map, range: &Range) -> Vec<Difference> {
    let keys: std::collections::BTreeSet<&Vec<u8>> = left.keys().chain(right.keys()).collect();
    let unequal =
        keys.into_iter().filter(|&key| left.get(key).map(|at| at.0) != right.get(key).map(|at| at.0));
    let all =
        unequal.map(|key| (key.clone(), Difference { left: entry(key, left), right: entry(key, right) }));
    cut(range, all.collect::<Vec<_>>().into_iter())
}

// proves hyperbee.43
#[test]
fn entries_ranges_and_differences_of_every_version_equal_those_of_a_map() {
    for (seed, steps, keys, deleting) in
        [(1, 250, 12, 5), (2, 350, 120, 3), (3, 250, 600, 1), (4, 400, 60, 4)]
    {
        let mut model = Model::new(seed);
        for step in 0..steps {
            // From growing to shrinking and back, so that trees of unlike height are compared.
            model.step(keys, if step / 80 % 2 == 1 { 9 - deleting } else { deleting });
        }
        let versions = model.versions.clone();
        for (version, map) in &versions {
            for _ in 0..6 {
                let key = model.key(keys + 5);
                let got = model.tree.with(|cx, bee, log| bee.get_at(cx, log, *version, &key)).expect("get");
                assert_eq!(got, entry(&key, map), "seed {seed}, version {version}");
            }
            for _ in 0..3 {
                let range = model.draw_range(keys);
                let got = model.tree.range_at(*version, range.clone()).expect("range");
                let all = map.keys().map(|key| (key.clone(), entry(key, map).expect("there")));
                assert_eq!(got, cut(&range, all), "seed {seed}, version {version}, {range:?}");
            }
            for n in 0..3 {
                let other = model.entropy.below(versions.len() as u64) as usize;
                let (other, before) = &versions[other];
                let range = if n == 0 { Range::all() } else { model.draw_range(keys) };
                let got = model.tree.diff(*version, *other, range.clone()).expect("diff");
                let wanted = differences(map, before, &range);
                assert_eq!(got, wanted, "seed {seed}, versions {version} and {other}, {range:?}");
            }
        }
    }
}

/// What two versions share is not read: of 2,000 keys one is another, and few blocks are needed to find it.
// proves hyperbee.44
#[test]
fn a_diff_reads_only_what_differs() {
    let mut tree = Tree::new();
    for n in 0..2000 {
        tree.put(&format!("{:04}", n * 1237 % 2000), "old");
    }
    let version = tree.log.len();
    tree.put("1000", "new");
    let mut replica = Tree::of(tree.log.blocks.clone());
    replica.log.away = (0..version + 1).collect();
    let mut diff = replica.bee.diff(version + 1, version, Range::all());
    let (mut found, mut fetched) = (Vec::new(), 0);
    loop {
        match replica.with(|cx, bee, log| diff.next(cx, bee, log)) {
            Ok(None) => break,
            Ok(Some(difference)) => found.push(difference),
            Err(Error::Missing) => {
                let missing = replica.bee.missing().expect("named");
                replica.log.away.remove(&missing);
                fetched += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key(), b"1000");
    assert!(found[0].left.is_some() && found[0].right.is_some());
    assert!(fetched < 60, "{fetched} blocks");
}

/// Every block of the log, in both directions, in parts, and from the end.
// proves hyperbee.40
// proves hyperbee.41
#[test]
fn the_history_is_that_of_the_operations() {
    let mut model = Model::new(7);
    for _ in 0..150 {
        model.step(30, 4);
    }
    let version = model.tree.log.len();
    let changes: Vec<Change> = model
        .operations
        .iter()
        .zip(1..)
        .map(|((deleted, key, value), seq)| {
            let entry = Entry { seq, key: key.clone(), value: value.clone() };
            if *deleted { Change::Del(entry) } else { Change::Put(entry) }
        })
        .collect();
    for _ in 0..400 {
        let bound = |model: &mut Model| {
            let at = model.entropy.below(2 * version) as i64 - version as i64;
            model.entropy.chance(300).then_some(at)
        };
        let (gt, gte, lt, lte) = (bound(&mut model), bound(&mut model), bound(&mut model), bound(&mut model));
        let limit = model.entropy.chance(300).then(|| model.entropy.below(9));
        let extent = Extent { gt, gte, lt, lte, limit, reverse: model.entropy.chance(500), live: false };
        let place = |at: i64| if at < 0 { at + version as i64 } else { at };
        let from = gt.map(|at| place(at) + 1).or(gte.map(place)).unwrap_or(1);
        let mut to = lte.map(|at| place(at) + 1).or(lt.map(place)).unwrap_or(i64::MAX);
        if lt == Some(0) || lte == Some(0) {
            to = 0;
        }
        let mut wanted: Vec<Change> = changes
            .iter()
            .filter(|change| (from..to).contains(&(change.entry().seq as i64)))
            .cloned()
            .collect();
        if extent.reverse {
            wanted.reverse();
        }
        wanted.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        let got = model.tree.with(|cx, bee, log| {
            let mut history = bee.history_in(version, &extent).expect("not live");
            let mut got = Vec::new();
            while let Some(change) = history.next(cx, bee, log).expect("next") {
                got.push(change);
            }
            got
        });
        assert_eq!(got, wanted, "{extent:?}");
    }
    for (seq, change) in (1..).zip(changes) {
        assert_eq!(model.tree.with(|cx, bee, log| bee.get_by_seq(cx, log, seq)), Ok(Some(change)));
    }
    for seq in [0, version, u64::MAX] {
        assert_eq!(model.tree.with(|cx, bee, log| bee.get_by_seq(cx, log, seq)), Ok(None));
    }
}

/// A live history ends for now only.
// proves hyperbee.42
#[test]
fn a_live_history_goes_on_with_what_is_appended() {
    let mut tree = Tree::new();
    tree.put("a", "1");
    let live = Extent { live: true, lt: Some(1), ..Extent::all() };
    let mut history = tree.bee.history_in(tree.log.len(), &live).expect("forwards");
    let mut next = |tree: &mut Tree| tree.with(|cx, bee, log| history.next(cx, bee, log)).expect("next");
    assert_eq!(next(&mut tree).expect("the first").entry().key, b"a");
    assert_eq!(next(&mut tree), None);
    tree.del("a");
    tree.put("b", "2");
    assert!(matches!(next(&mut tree), Some(Change::Del(_))));
    assert!(matches!(next(&mut tree), Some(Change::Put(_))));
    assert_eq!(next(&mut tree), None);
    let backwards = Extent { reverse: true, ..live };
    assert!(matches!(tree.bee.history_in(3, &backwards), Err(Error::Invalid(_))));
}

/// Whatever is cleared of what a version does not need, all of that version can still be read, and written upon; what
/// it does need is not named.
// proves hyperbee.53
// proves hyperbee.54
#[test]
fn blocks_that_a_version_does_not_need_can_go() {
    for (seed, keys) in [(21, 15), (22, 80), (23, 400)] {
        let mut model = Model::new(seed);
        for _ in 0..200 {
            model.step(keys, 4);
        }
        let (version, map) = (model.tree.log.len(), model.map.clone());
        let tree = &mut model.tree;
        let clear = |tree: &mut Tree| {
            tree.with(|cx, bee, log| {
                let mut unlinked = bee.unlinked(version, 0, u64::MAX);
                let mut count = 0;
                while let Some(seq) = unlinked.next(cx, bee, log).expect("next") {
                    log.away.insert(seq);
                    count += 1;
                }
                count
            })
        };
        assert!(clear(tree) > 100, "most of what is deleted or overwritten");
        assert_eq!(clear(tree), 0, "all at once");
        tree.bee = Bee::new();
        let all = map.keys().map(|key| (key.clone(), entry(key, &map).expect("there")));
        assert_eq!(tree.range_at(version, Range::all()).expect("all is here"), cut(&Range::all(), all));
        for key in map.keys() {
            let got = tree.with(|cx, bee, log| bee.get_at(cx, log, version, key));
            assert_eq!(got, Ok(entry(key, &map)));
        }
        // Each block that is left is needed: without it something of the version cannot be read.
        for seq in (1..version).filter(|seq| !tree.log.away.contains(seq)).collect::<Vec<_>>() {
            tree.log.away.insert(seq);
            tree.bee = Bee::new();
            assert_eq!(tree.range_at(version, Range::all()), Err(Error::Missing), "block {seq}");
            tree.log.away.remove(&seq);
        }
        tree.bee = Bee::new();
        for key in map.keys() {
            let gone = tree.with(|cx, bee, log| bee.del(cx, log, key)).expect("all is here");
            assert!(gone);
        }
    }
}
