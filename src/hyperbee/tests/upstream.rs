//! The scenarios of hyperbee's own tests (holepunchto/hyperbee, `test/*.js`), each named with the file that it follows.
//! Left out are those of sessions, locks, closing and streams' ends: nothing here is held open. What they replicate is
//! in `tests/interop/hyperbee.rs`, which blocks a remote read needs in `remote.rs`.

use super::*;
use crate::hyperbee::sub::{Binary, Codec, Ordered, Typed, Utf8, Wired};

/// Keys `00`, `01`, ... without values, as the helper `createRange`.
fn numbered(from: u64, to: u64, tree: &mut Tree) {
    for n in from..to {
        let key = format!("{n:02}");
        tree.with(|cx, bee, log| bee.put(cx, log, key.as_bytes(), None)).expect("put");
    }
}

fn bare(tree: &mut Tree, keys: &[&str]) {
    for key in keys {
        tree.with(|cx, bee, log| bee.put(cx, log, key.as_bytes(), None)).expect("put");
    }
}

fn in_batch(tree: &mut Tree, act: impl FnOnce(&mut Cx<'_>, &mut Batch, &mut Bee, &mut Memory)) {
    tree.with(|cx, bee, log| {
        let mut batch = bee.batch(cx, log).expect("batch");
        act(cx, &mut batch, bee, log);
        batch.flush(cx, bee, log).expect("flush");
    });
}

fn changes(tree: &mut Tree, version: u64, extent: &Extent) -> Vec<(u64, String)> {
    tree.with(|cx, bee, log| {
        let mut history = bee.history_in(version, extent).expect("not live");
        let mut all = Vec::new();
        while let Some(change) = history.next(cx, bee, log).expect("next") {
            let entry = change.entry();
            all.push((entry.seq, String::from_utf8(entry.key.clone()).expect("text")));
        }
        all
    })
}

fn value_at(tree: &mut Tree, version: u64, key: &str) -> Option<String> {
    let entry = tree.with(|cx, bee, log| bee.get_at(cx, log, version, key.as_bytes())).expect("get");
    entry.map(|entry| String::from_utf8(entry.value.unwrap_or_default()).expect("text"))
}

// basic.js

#[test]
fn reads_beyond_the_last_key_are_empty() {
    let mut tree = Tree::new();
    in_batch(&mut tree, |cx, batch, bee, log| {
        for key in [b"a", b"b", b"c"] {
            batch.put(cx, bee, log, key, None).expect("put");
        }
    });
    assert!(tree.keys(Range::all().gt(b"c")).is_empty());
    assert!(tree.keys(Range::all().gte(b"f")).is_empty());
    let version = tree.log.len();
    let reverse = Extent { reverse: true, ..Extent::all() };
    let keys: String = changes(&mut tree, version, &reverse).into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, "cba");
    let mut larger = Tree::new();
    for n in 0..8 {
        larger.put(&n.to_string(), "hello world");
    }
    assert!(larger.keys(Range::all().gte(b"a")).is_empty());
}

/// "test all short iterators", of the whole tree and of a part that has neighbours.
// proves hyperbee.37
#[test]
fn all_short_ranges() {
    for sub in [Sub::whole(), Sub::whole().sub(b"sub1")] {
        let mut tree = Tree::new();
        for size in 1..=25_u64 {
            let mut wanted: Vec<String> = (0..size).map(|n| n.to_string()).collect();
            wanted.sort();
            for key in &wanted {
                let key = key.as_bytes();
                tree.with(|cx, bee, log| bee.put(cx, log, &sub.key(key), Some(b"here"))).expect("put");
                if sub != Sub::whole() {
                    tree.with(|cx, bee, log| bee.put(cx, log, key, Some(b"parent"))).expect("put");
                }
            }
            for (low, high, kind) in
                (0..size).flat_map(|i| (0..=i).flat_map(move |j| (0..8).map(move |k| (j, i, k))))
            {
                let (low, high) = (low.to_string(), high.to_string());
                let range = match kind & 1 {
                    0 => Range::all().gt(low.as_bytes()),
                    _ => Range::all().gte(low.as_bytes()),
                };
                let range = match kind >> 1 & 1 {
                    0 => range.lt(high.as_bytes()),
                    _ => range.lte(high.as_bytes()),
                };
                let reverse = kind >> 2 & 1 == 1;
                let range = if reverse { range.reverse() } else { range };
                let entries = tree.range(sub.range(range)).expect("range");
                let got: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        String::from_utf8(sub.strip(&entry.key).expect("ours").to_vec()).expect("text")
                    })
                    .collect();
                let within = |key: &&String| {
                    let lower = if kind & 1 == 1 { **key >= low } else { **key > low };
                    let upper = if kind >> 1 & 1 == 1 { **key <= high } else { **key < high };
                    lower && upper
                };
                let mut expected: Vec<String> = wanted.iter().filter(within).cloned().collect();
                if reverse {
                    expected.reverse();
                }
                assert_eq!(got, expected, "{size} keys, {low} to {high}, {kind}");
            }
        }
    }
}

/// "custom key/value encodings", "sub respects keyEncoding", "supports encodings in checkout", and those of batches.js.
// proves hyperbee.46
#[test]
fn keys_and_values_of_one_kind() {
    let mut tree = Tree::new();
    let texts = Typed { sub: Sub::whole().sub(b"t"), keys: Utf8, values: Utf8 };
    let numbers = Typed::<Ordered, Wired<Header>> { sub: Sub::whole().sub(b"n"), ..Typed::default() };
    let header = Header { protocol: "x".into(), metadata: None };
    tree.with(|cx, bee, log| {
        texts.put(cx, bee, log, &"hello".into(), Some(&"wörld".into())).expect("put");
        for n in [300, 2, 70_000, 1] {
            numbers.put(cx, bee, log, &n, Some(&header)).expect("put");
        }
        assert!(numbers.del(cx, bee, log, &1).expect("del"));
        let entry = texts.get(cx, bee, log, &"hello".into()).expect("get").expect("there");
        assert_eq!((entry.seq, entry.key.as_str(), entry.value.as_deref()), (1, "hello", Some("wörld")));
        assert_eq!(texts.get(cx, bee, log, &"nothing".into()), Ok(None));
        let entry = numbers.get(cx, bee, log, &300).expect("get").expect("there");
        assert_eq!((entry.key, entry.value), (300, Some(header.clone())));
    });
    // Numbers are in their own order, within bounds.
    let range = numbers.range(core::ops::Bound::Excluded(&2), core::ops::Bound::Unbounded);
    let entries = tree.range(range).expect("range");
    let keys: Vec<u64> =
        entries.iter().map(|entry| numbers.read(entry).expect("read").expect("ours").key).collect();
    assert_eq!(keys, [300, 70_000]);
    // Another part's are not read, and neither is what is of another kind.
    assert_eq!(texts.read(&entries[0]), Ok(None));
    let odd = Entry { seq: 1, key: numbers.sub.key(b"short"), value: None };
    assert!(matches!(numbers.read(&odd), Err(Error::Corrupt(_))));
    assert!(matches!(Utf8.decode(&[0xff]), Err(Error::Corrupt(_))));
    assert_eq!(Binary.decode(&Binary.encode(&vec![0xff])), Ok(vec![0xff]));
}

/// "simple sub put/get", "multiple levels of sub", and entries outside.
// proves hyperbee.37
#[test]
fn parts_of_parts() {
    let mut tree = Tree::new();
    let hello = Sub::separated(b"!").sub(b"hello");
    let world = hello.sub(b"world");
    assert_eq!(world.prefix(), b"hello!world!");
    for (key, value) in [
        (hello.key(b"a"), "b"),
        (world.key(b"b"), "c"),
        (b"hello".to_vec(), "out"),
        (b"hello\"".to_vec(), "out"),
    ] {
        tree.with(|cx, bee, log| bee.put(cx, log, &key, Some(value.as_bytes()))).expect("put");
    }
    assert_eq!(tree.keys(world.range(Range::all())), ["hello!world!b"]);
    assert_eq!(tree.keys(hello.range(Range::all())), ["hello!a", "hello!world!b"]);
    assert_eq!(tree.keys(hello.range(Range::all().gt(b"a"))), ["hello!world!b"]);
    assert_eq!(hello.strip(b"hello!a"), Some(&b"a"[..]));
    assert_eq!(hello.strip(b"hellO!a"), None);
    // A separator of one's own is not handed on.
    assert_eq!(Sub::whole().sub_with(b"a", b"#").sub(b"b").prefix(), b"a#b\0");
}

/// "sub with a key that starts with 0xff"; and where upstream's default bounds lose entries.
// proves hyperbee.45
#[test]
fn a_part_is_whole() {
    for separator in [&b"!"[..], &[0], &[0xff], &[b'a', 0xff, 0xff], &[0xff, 0xff]] {
        let mut tree = Tree::new();
        let parts = [Sub::separated(separator).sub(b""), Sub::separated(separator).sub(b"b")];
        let keys: [&[u8]; 5] = [b"", b"\0", b"k", &[0xff], &[0xff, 0xff, 1, 2]];
        for (part, key) in parts.iter().flat_map(|part| keys.map(|key| (part, key))) {
            tree.with(|cx, bee, log| bee.put(cx, log, &part.key(key), None)).expect("put");
        }
        for key in [&b""[..], b"\0", b"zz"] {
            tree.with(|cx, bee, log| bee.put(cx, log, key, None)).expect("put");
        }
        for (part, reverse) in parts.iter().flat_map(|part| [(part, false), (part, true)]) {
            let entries = tree.range(part.range(Range { reverse, ..Range::all() })).expect("range");
            let mut got: Vec<&[u8]> =
                entries.iter().map(|entry| part.strip(&entry.key).expect("of this part")).collect();
            if reverse {
                got.reverse();
            }
            assert_eq!(got, keys, "{separator:?}");
        }
    }
}

/// "read stream on sub checkout", "diff stream on sub + checkout" (diff.js).
#[test]
fn parts_of_older_versions() {
    let mut tree = Tree::new();
    let sub = Sub::separated(b"!").sub(b"sub");
    tree.put("a", "a");
    tree.put("sub!sa", "sa");
    let first = tree.log.len();
    tree.put("sub!sb", "sb");
    let second = tree.log.len();
    tree.put("b", "b");
    tree.put("sub!sc", "sc");
    let entries = tree.range_at(second, sub.range(Range::all())).expect("range");
    assert_eq!(entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), [b"sub!sa", b"sub!sb"]);
    let last = tree.log.len();
    for (version, wanted) in [(second, vec!["sub!sb"]), (last, vec!["sub!sb", "sub!sc"])] {
        let found = tree.diff(version, first, sub.range(Range::all())).expect("diff");
        let keys: Vec<&str> =
            found.iter().map(|found| core::str::from_utf8(found.key()).expect("text")).collect();
        assert_eq!(keys, wanted);
    }
}

/// "get header out" and those of isHyperbee.
// proves hyperbee.49
#[test]
fn what_is_a_hyperbee() {
    let mut cases = vec![(Tree::new(), false)];
    let of = |block: &[u8]| Tree::of(vec![block.to_vec(), b"more".to_vec()]);
    cases.push((of(b"something"), false));
    cases.push((of(b"hyperbee"), false));
    cases.push((of(&encode(&Header { protocol: "hyperbees".into(), metadata: None })), false));
    let mut written = Tree::new();
    written.put("a", "1");
    cases.push((written, true));
    for (n, (mut tree, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(tree.with(|cx, bee, log| bee.is_hyperbee(cx, log)), Ok(wanted), "case {n}");
    }
    let mut away = of(b"x");
    away.log.away = [0].into();
    assert_eq!(away.with(|cx, bee, log| bee.is_hyperbee(cx, log)), Err(Error::Missing));
}

// batches.js

// proves hyperbee.48
#[test]
fn a_batch_is_read_as_it_will_be() {
    let mut entropy = Seeded::new(41);
    for round in 0..30 {
        let mut tree = Tree::new();
        let mut map = BTreeMap::new();
        for n in 0..entropy.below(200) {
            let key = format!("{:x}", entropy.below(100)).into_bytes();
            tree.with(|cx, bee, log| bee.put(cx, log, &key, Some(&[n as u8]))).expect("put");
            map.insert(key, vec![n as u8]);
        }
        in_batch(&mut tree, |cx, batch, bee, log| {
            for n in 0..60 {
                let key = format!("{:x}", entropy.below(100)).into_bytes();
                if entropy.chance(400) {
                    let gone = batch.del(cx, bee, log, &key).expect("del");
                    assert_eq!(gone, map.remove(&key).is_some());
                } else {
                    let seq = batch.put(cx, bee, log, &key, Some(&[n])).expect("put");
                    let entry = batch.get_by_seq(cx, bee, log, seq).expect("by number").expect("there");
                    assert_eq!((entry.key, entry.value), (key.clone(), Some(vec![n])));
                    map.insert(key, vec![n]);
                }
                let low = format!("{:x}", entropy.below(100)).into_bytes();
                let high = format!("{:x}", entropy.below(100)).into_bytes();
                let (range, mut wanted): (_, Vec<_>) = match entropy.below(4) {
                    0 => (Range::all(), map.iter().collect()),
                    1 => (Range::all().gte(&low), map.range(low..).collect()),
                    2 => (Range::all().lte(&high), map.range(..=high).collect()),
                    _ => {
                        let inside = |(key, _): &(&Vec<u8>, &Vec<u8>)| **key > low && **key < high;
                        (Range::all().gt(&low).lt(&high), map.iter().filter(inside).collect())
                    }
                };
                let reverse = entropy.chance(500);
                if reverse {
                    wanted.reverse();
                }
                wanted.truncate(12);
                let range = Range { reverse, limit: Some(12), ..range };
                let first = batch.peek(cx, bee, log, &range).expect("peek");
                assert_eq!(first.as_ref().map(|entry| &entry.key), wanted.first().map(|(key, _)| *key));
                let mut cursor = batch.range(range);
                let mut got = Vec::new();
                while let Some(entry) = cursor.next(cx, batch, bee, log).expect("next") {
                    got.push((entry.key, entry.value.expect("a value")));
                }
                let got: Vec<_> = got.iter().map(|(key, value)| (key, value)).collect();
                assert_eq!(got, wanted, "round {round}");
            }
        });
        let entries = tree.range(Range::all()).expect("range");
        assert!(entries.into_iter().map(|entry| (entry.key, entry.value.expect("a value"))).eq(map));
    }
}

/// "batch overwriting itself", "basic batch".
#[test]
fn a_batch_overwrites_itself() {
    let mut tree = Tree::new();
    in_batch(&mut tree, |cx, batch, bee, log| {
        for value in 0..10_u8 {
            batch.put(cx, bee, log, b"a", Some(&[value])).expect("put");
            assert_eq!(batch.len(), usize::from(value) + 1);
        }
    });
    assert_eq!(tree.log.len(), 11);
    assert_eq!(tree.log.appends, 2, "the header, and all at once");
    assert_eq!(tree.get(b"a").expect("get").expect("there").value, Some(vec![9]));
}

// cas.js

/// "alwaysDuplicate" and the comparisons; "flushing an empty batch after a failed cas op releases lock".
#[test]
fn compare_and_swap() {
    let mut tree = Tree::new();
    let differs = |value: &'static str| move |old: &Entry| old.value.as_deref() != Some(value.as_bytes());
    let put = |tree: &mut Tree, value: &'static str| {
        tree.with(|cx, bee, log| bee.put_if(cx, log, b"key", Some(value.as_bytes()), differs(value)))
            .expect("put")
    };
    assert_eq!(put(&mut tree, "1"), Some(1), "a new key is not compared");
    assert_eq!(put(&mut tree, "1"), None);
    assert_eq!(put(&mut tree, "2"), Some(2));
    assert_eq!(tree.log.len(), 3);
    for refuse_deletion in [false, true] {
        in_batch(&mut tree, |cx, batch, bee, log| {
            let done = if refuse_deletion {
                batch.del_if(cx, bee, log, b"key", &mut |_| false).expect("del")
            } else {
                batch.put_if(cx, bee, log, b"key", Some(b"2"), &mut differs("2")).expect("put").is_some()
            };
            assert!(!done && batch.is_empty());
        });
        assert_eq!(tree.log.len(), 3, "nothing is appended, and nothing is in the way of the next");
    }
    let del = |tree: &mut Tree, allowed| {
        tree.with(|cx, bee, log| bee.del_if(cx, log, b"key", |_| allowed)).expect("del")
    };
    assert!(!del(&mut tree, false));
    assert!(del(&mut tree, true));
    assert!(!tree.with(|cx, bee, log| bee.del_if(cx, log, b"key", |_| panic!("not there"))).expect("del"));
}

// checkout.js

/// "checkouts can be set as an option", "checkouts can point to the future".
#[test]
fn versions() {
    let mut tree = Tree::new();
    tree.put("a", "a");
    tree.put("b", "b");
    let version = tree.log.len();
    tree.put("a", "a*");
    let last = tree.log.len();
    assert_eq!(value_at(&mut tree, last, "a").as_deref(), Some("a*"));
    assert_eq!(value_at(&mut tree, version, "a").as_deref(), Some("a"));
    let old = tree.range_at(version, Range::all()).expect("range");
    assert_eq!(old.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    // The future is waited for: the block that the version ends with is named.
    assert_eq!(tree.range_at(last + 3, Range::all()), Err(Error::Missing));
    assert_eq!(tree.bee.missing(), Some(last + 2));
}

// diff.js

/// "basic diff", "with older snap as base", "bigger diff", "diff regression", "diff oob seek".
#[test]
fn diffs() {
    let shown = |found: Vec<Difference>| -> Vec<(Option<u64>, Option<u64>)> {
        let seq = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.seq);
        found.iter().map(|found| (seq(&found.left), seq(&found.right))).collect()
    };
    let mut tree = Tree::new();
    numbered(0, 10, &mut tree);
    let version = tree.log.len();
    tree.del("01");
    numbered(9, 12, &mut tree);
    let last = tree.log.len();
    let found = shown(tree.diff(last, version, Range::all()).expect("diff"));
    assert_eq!(found, [(None, Some(2)), (Some(12), Some(10)), (Some(13), None), (Some(14), None)]);
    let found = shown(tree.diff(version, last, Range::all()).expect("diff"));
    assert_eq!(found, [(Some(2), None), (Some(10), Some(12)), (None, Some(13)), (None, Some(14))]);

    let mut tree = Tree::new();
    bare(&mut tree, &["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let version = tree.log.len();
    for key in ["1", "2", "3", "4", "5"] {
        tree.del(key);
    }
    let last = tree.log.len();
    let found = shown(tree.diff(last, version, Range::all()).expect("diff"));
    assert_eq!(found, [(None, Some(1)), (None, Some(2)), (None, Some(3)), (None, Some(4)), (None, Some(5))]);

    let mut tree = Tree::new();
    bare(&mut tree, &["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"]);
    tree.del("d9");
    let last = tree.log.len();
    assert!(tree.diff(last, 1, Range::all().gt(b"e").lt(b"f")).expect("diff").is_empty());
}

// history.js

/// "basic history", "reverse history", "negative indexes is implicit + version".
#[test]
fn histories() {
    let mut tree = Tree::new();
    numbered(0, 10, &mut tree);
    let version = tree.log.len();
    let mut seqs = |extent: Extent| -> Vec<u64> {
        changes(&mut tree, version, &extent).into_iter().map(|(seq, _)| seq).collect()
    };
    let all = Extent::all();
    assert_eq!(seqs(all), (1..=10).collect::<Vec<_>>());
    assert_eq!(seqs(Extent { gte: Some(5), lt: Some(7), ..all }), [5, 6]);
    assert_eq!(seqs(Extent { gt: Some(5), lte: Some(7), reverse: true, ..all }), [7, 6]);
    assert_eq!(seqs(Extent { gte: Some(-2), ..all }), [9, 10]);
    assert_eq!(seqs(Extent { reverse: true, limit: Some(1), ..all }), [10]);
    assert_eq!(seqs(Extent { lt: Some(0), ..all }), [0; 0]);
    assert_eq!(seqs(Extent { gte: Some(-100), lt: Some(-8), ..all }), [1, 2]);
    assert_eq!(seqs(Extent { gt: Some(i64::MAX), ..all }), [0; 0]);
    assert_eq!(seqs(Extent { gte: Some(i64::MIN), lte: Some(i64::MAX), limit: Some(1), ..all }), [1]);
}

// ranges.js, sub.js

/// "basic peak", "create many subs".
#[test]
fn peeks() {
    let mut tree = Tree::new();
    let peek = |tree: &mut Tree, range| {
        let entry = tree.with(|cx, bee, log| bee.peek(cx, log, range)).expect("peek");
        entry.map(|entry| String::from_utf8(entry.key).expect("text"))
    };
    assert_eq!(peek(&mut tree, Range::all()), None);
    for n in 0..100 {
        tree.put(&format!("sub-{n:02}\0key"), "v");
    }
    assert_eq!(peek(&mut tree, Range::all()).as_deref(), Some("sub-00\0key"));
    assert_eq!(peek(&mut tree, Range::all().reverse()).as_deref(), Some("sub-99\0key"));
    for n in 0..100 {
        let name = format!("sub-{n:02}");
        let range = Sub::whole().sub(name.as_bytes()).range(Range::all());
        assert_eq!(peek(&mut tree, range), Some(format!("{name}\0key")));
    }
}

// watch.js

fn poll(tree: &mut Tree, watch: &mut Watch) -> Option<(u64, u64)> {
    let changed = tree.with(|cx, bee, log| watch.poll(cx, bee, log)).expect("poll");
    changed.map(|changed| (changed.previous, changed.current))
}

/// "watch waits for new change", "does not lose changes if next() was not called yet", "batch multiple changes",
/// "basic watch on range", "should not trigger changes if already had entries".
// proves hyperbee.50
#[test]
fn a_watch_tells_changes_of_its_range() {
    let mut tree = Tree::new();
    tree.put("/a", "");
    let mut watch = Watch::new(&tree.log, Range::all());
    assert_eq!(poll(&mut tree, &mut watch), None, "what was there is no change");
    tree.put("/b", "");
    tree.put("/c", "");
    assert_eq!(poll(&mut tree, &mut watch), Some((2, 4)), "both at once");
    assert_eq!(poll(&mut tree, &mut watch), None);
    in_batch(&mut tree, |cx, batch, bee, log| {
        for key in [b"/d", b"/e", b"/f"] {
            batch.put(cx, bee, log, key, None).expect("put");
        }
    });
    assert_eq!(poll(&mut tree, &mut watch), Some((4, 7)));

    let mut watch = Watch::new(&tree.log, Range::all().gte(b"14"));
    tree.put("13", "");
    assert_eq!(poll(&mut tree, &mut watch), None, "outside");
    tree.put("14", "");
    assert_eq!(poll(&mut tree, &mut watch), Some((8, 9)), "from the version that was compared last");
    assert!(tree.del("14"));
    assert_eq!(poll(&mut tree, &mut watch), Some((9, 10)));

    let mut eager = Watch::since(&tree.log, 0, Range::all());
    assert_eq!(poll(&mut tree, &mut eager), Some((1, 10)));
    let mut early = Watch::new(&Memory::default(), Range::all());
    let mut tree = Tree::new();
    assert!(!tree.del("x"), "appends the header");
    assert_eq!(poll(&mut tree, &mut early), None);
    tree.put("x", "");
    assert_eq!(poll(&mut tree, &mut early), Some((1, 2)));
}

/// pitfalls 15.7: ten thousand appends are one comparison for who asks late, and it reads little.
// proves hyperbee.50
#[test]
fn a_watch_compares_only_what_it_is_asked_for() {
    let mut tree = Tree::new();
    let mut watch = Watch::new(&tree.log, Range::all().gte(b"zz"));
    let mut told = 0;
    for n in 0..10_000_u64 {
        tree.put(&format!("{:04}", n % 5000), "");
        if n % 100 == 99 {
            told += usize::from(poll(&mut tree, &mut watch).is_some());
        }
    }
    assert_eq!(told, 0);
    tree.put("zz", "");
    assert_eq!(poll(&mut tree, &mut watch), Some((10_001, 10_002)));
}

/// A change whose blocks are not here is not lost.
// proves hyperbee.51
#[test]
fn a_watch_outlives_missing_blocks_and_cuts() {
    let mut tree = Tree::new();
    numbered(0, 40, &mut tree);
    let mut watch = Watch::new(&tree.log, Range::all());
    tree.put("new", "");
    tree.bee = Bee::new();
    tree.log.away = (0..tree.log.len()).collect();
    let changed = loop {
        match tree.with(|cx, bee, log| watch.poll(cx, bee, log)) {
            Ok(changed) => break changed,
            Err(Error::Missing) => {
                let missing = tree.bee.missing().expect("named");
                tree.log.away.remove(&missing);
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(changed, Some(Changed { previous: 41, current: 42, cut: false }));
    tree.log.away.clear();
    tree.log.blocks.truncate(30);
    tree.log.fork = 1;
    let changed = tree.with(|cx, bee, log| watch.poll(cx, bee, log));
    assert_eq!(changed, Ok(Some(Changed { previous: 42, current: 30, cut: true })));
    assert_eq!(poll(&mut tree, &mut watch), None);
    tree.put("after", "");
    assert_eq!(poll(&mut tree, &mut watch), Some((30, 31)));
}

/// "basic getAndWatch append flow", "getAndWatch truncate flow", "... with deletes".
// proves hyperbee.52
#[test]
fn an_entry_is_watched() {
    let mut tree = Tree::new();
    let mut watch = EntryWatch::new(b"aKey");
    let look = |tree: &mut Tree, watch: &mut EntryWatch| {
        let told = tree.with(|cx, bee, log| watch.poll(cx, bee, log)).expect("poll");
        (
            told,
            watch
                .entry()
                .map(|entry| String::from_utf8(entry.value.clone().expect("a value")).expect("text")),
        )
    };
    let cut = |tree: &mut Tree, length| {
        tree.log.blocks.truncate(length);
        tree.log.fork += 1;
    };
    let here = || Some("here".to_owned());
    assert_eq!(look(&mut tree, &mut watch), (true, None), "read for the first time");
    tree.put("aKey", "here");
    tree.put("otherKey", "1");
    assert_eq!(look(&mut tree, &mut watch), (true, here()));
    tree.put("otherKey2", "2");
    assert_eq!(look(&mut tree, &mut watch), (false, here()));
    cut(&mut tree, 2);
    assert_eq!(look(&mut tree, &mut watch), (true, here()), "once after a cut");
    assert!(tree.del("aKey"));
    assert_eq!(look(&mut tree, &mut watch), (true, None));
    cut(&mut tree, 2);
    assert_eq!(look(&mut tree, &mut watch), (true, here()));
    cut(&mut tree, 1);
    assert_eq!(look(&mut tree, &mut watch), (true, None));
    tree.put("something", "irrelevant");
    assert_eq!(look(&mut tree, &mut watch), (false, None));
    tree.put("aKey", "is back");
    assert_eq!(look(&mut tree, &mut watch), (true, Some("is back".into())));
}
