//! More of the scenarios of hyperbee's own tests: of parts, their differences and watches, and of logs that take no
//! block. Read upstream.rs first.

use super::*;
use crate::hyperbee::sub::{Ordered, Sub, Typed, Utf8};

/// "cannot append to read-only db", "setting read-only flag to false disables header write" (basic.js): nothing is
/// written by reading, and where nothing can be written nothing changes.
#[test]
fn a_log_that_takes_no_block_stays_as_it_is() {
    let (mut entropy, mut disk) = (Seeded::new(1), RamDisk::new());
    let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
    let open = Open { key: Some([3; 32]), ..Open::default() };
    let mut core = Hypercore::open(&mut cx, "core", open).expect("a new core");
    let mut bee = Bee::new();
    assert_eq!(bee.get(&mut cx, &mut core, b"hello"), Ok(None));
    assert!(!bee.is_hyperbee(&mut cx, &mut core).unwrap_or(false));
    assert_eq!(bee.header(&mut cx, &mut core).unwrap_or(None), None);
    assert_eq!(core.length(), 0);
    let put = bee.put(&mut cx, &mut core, b"hello", Some(b"world"));
    assert!(matches!(put, Err(Error::Refused(_))), "{put:?}");
    let del = bee.del(&mut cx, &mut core, b"hello");
    assert!(!matches!(del, Ok(true)), "{del:?}");
    assert_eq!(core.length(), 0);
    assert_eq!(bee.get(&mut cx, &mut core, b"hello"), Ok(None), "a put that was refused is not seen");
}

/// "get by seq" (basic.js), "basic peak", "read all" (ranges.js).
// proves hyperbee.41
#[test]
fn the_first_and_the_last_of_a_range() {
    let mut tree = Tree::new();
    for n in 0..50 {
        tree.put(&format!("{n:02}"), "");
    }
    let peek = |tree: &mut Tree, range| tree.with(|cx, bee, log| bee.peek(cx, log, range)).expect("peek");
    for (range, key) in [
        (Range::all().gte(b"14"), Some("14")),
        (Range::all().gt(b"14"), Some("15")),
        (Range::all().lt(b"27").reverse(), Some("26")),
        (Range::all().lte(b"27").reverse(), Some("27")),
        (Range::all().lt(b"0").reverse(), None),
        (Range::all().gt(b"49"), None),
    ] {
        let entry = key.map(|key| tree.get(key.as_bytes()).expect("get").expect("there"));
        assert_eq!(peek(&mut tree, range), entry);
        if let Some(entry) = entry {
            let change = tree.with(|cx, bee, log| bee.get_by_seq(cx, log, entry.seq));
            assert_eq!(change.expect("by number").expect("there").entry(), &entry);
        }
    }
    assert_eq!(tree.keys(Range::all()), (0..50).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

/// "diff on multi-level sub db with parent checkout" (diff.js): what is new in a part of a part between two versions,
/// though others changed too.
#[test]
fn a_difference_of_a_part_of_a_part() {
    let mut tree = Tree::new();
    let hello = Sub::whole().sub(b"hello");
    let world = hello.sub(b"world");
    let put = |tree: &mut Tree, key: Vec<u8>| {
        tree.with(|cx, bee, log| bee.put(cx, log, &key, Some(b"v"))).expect("put");
    };
    ["a", "b"].iter().for_each(|key| put(&mut tree, world.key(key.as_bytes())));
    put(&mut tree, hello.key(b"a"));
    let first = tree.log.len();
    put(&mut tree, world.key(b"c"));
    put(&mut tree, hello.key(b"c"));
    put(&mut tree, b"c".to_vec());
    assert!(tree.with(|cx, bee, log| bee.del(cx, log, &world.key(b"a"))).expect("del"));
    let second = tree.log.len();
    ["e", "g"].iter().for_each(|key| put(&mut tree, world.key(key.as_bytes())));
    let found = tree.diff(second, first, world.range(Range::all())).expect("diff");
    let shown: Vec<_> = found
        .iter()
        .map(|found| {
            (world.strip(found.key()).expect("of this part"), found.left.is_some(), found.right.is_some())
        })
        .collect();
    assert_eq!(shown, [(&b"a"[..], false, true), (b"c", true, false)]);
    let all = tree.diff(tree.log.len(), first, hello.range(Range::all())).expect("diff");
    assert_eq!(all.len(), 5, "a, c, e and g of the one, c of the other");
}

/// "watch with passed key/value encodings", "watch uses the bee`s encodings by default", "getAndWatch with passed
/// key/value encodings" (watch.js).
// proves hyperbee.46, hyperbee.50, hyperbee.52
#[test]
fn a_part_is_watched_in_its_own_words() {
    let mut tree = Tree::new();
    let part = Typed::<Ordered, Utf8> { sub: Sub::whole().sub(b"mine"), ..Typed::default() };
    let mut watch = Watch::new(&tree.log, part.sub.range(Range::all()));
    let mut entry = EntryWatch::new(&part.key(&7));
    let look = |tree: &mut Tree, entry: &mut EntryWatch| {
        tree.with(|cx, bee, log| entry.poll(cx, bee, log)).expect("poll");
        entry.entry().cloned()
    };
    assert_eq!(look(&mut tree, &mut entry), None);
    tree.put("7", "outside");
    let poll = |tree: &mut Tree, watch: &mut Watch| {
        tree.with(|cx, bee, log| watch.poll(cx, bee, log)).expect("poll")
    };
    assert_eq!((poll(&mut tree, &mut watch), look(&mut tree, &mut entry)), (None, None));
    for n in [300, 7] {
        let put = tree.with(|cx, bee, log| part.put(cx, bee, log, &n, Some(&format!("number {n}"))));
        put.expect("put");
    }
    let changed = poll(&mut tree, &mut watch).expect("two of them");
    let found = tree.diff(changed.current, changed.previous, part.sub.range(Range::all())).expect("diff");
    let read: Vec<_> = found
        .iter()
        .map(|found| part.read(found.left.as_ref().expect("new")).expect("reads").expect("ours"))
        .map(|entry| (entry.key, entry.value.expect("a value")))
        .collect();
    assert_eq!(read, [(7, "number 7".to_owned()), (300, "number 300".to_owned())]);
    let seen = look(&mut tree, &mut entry).expect("it is there");
    let seen = part.read(&seen).expect("reads").expect("ours");
    assert_eq!((seen.key, seen.value.as_deref()), (7, Some("number 7")));
}

/// "create lots of watchers", "watch multiple next() on parallel - value" (watch.js): a thousand who watch hear each
/// change once, each with the versions that it saw.
// proves hyperbee.50
#[test]
fn a_thousand_watches_hear_each_change() {
    let mut tree = Tree::new();
    let mut watches: Vec<Watch> = (0..1000).map(|_| Watch::new(&tree.log, Range::all())).collect();
    for (version, key) in (1..).zip(["/a", "/b", "/c"]) {
        tree.put(key, "");
        for (number, watch) in watches.iter_mut().enumerate() {
            // The first did not ask in between.
            if number == 0 && version < 3 {
                continue;
            }
            let changed =
                tree.with(|cx, bee, log| watch.poll(cx, bee, log)).expect("poll").expect("a change");
            let previous = if number == 0 { 1 } else { version };
            assert_eq!((changed.previous, changed.current), (previous, version + 1), "watch {number}");
        }
    }
}
