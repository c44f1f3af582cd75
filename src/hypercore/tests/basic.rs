//! What `test/basic.js`, `test/core.js` and `test/clear.js` of hypercore 11 ask of one core and its files.

use super::*;

const PAGE: u64 = 32_768;

fn written(blocks: &[&[u8]]) -> (Bench, Hypercore) {
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.append(&mut core, blocks);
    (bench, core)
}

/// Which of the first `end` blocks are here, by their bits and by what can be read.
fn here(bench: &mut Bench, core: &mut Hypercore, end: u64) -> Vec<u64> {
    let has: Vec<u64> = (0..end).filter(|index| core.has(*index)).collect();
    let read = |index: &u64| bench.with(|cx| core.get(cx, *index)).expect("reads").is_some();
    assert_eq!((0..end).filter(read).collect::<Vec<_>>(), has);
    has
}

fn reopened(bench: &mut Bench, core: &mut Hypercore) -> Hypercore {
    bench.close(core);
    bench.open(Open::default()).expect("opens")
}

/// The first bits of the file, as far as it goes.
fn bits_on_disk(bench: &Bench, end: u64) -> Vec<u64> {
    let file = bench.disk.content("core/bitfield").unwrap_or_default();
    let set = |index: &u64| file.get(*index as usize / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
    (0..end).filter(set).collect()
}

/// "core id", "session id", "key is set sync".
#[test]
fn a_key_has_its_name_before_anything_is_known() {
    let mut bench = Bench::new();
    let core = bench.open(Open { key: Some([b'a'; 32]), ..Open::default() }).expect("a new core");
    assert_eq!(hex::key_to_z32(core.key()), "cfosnambcfosnambcfosnambcfosnambcfosnambcfosnambcfoo");
    assert!(!core.writable() && core.manifest().is_none() && core.length() == 0);
}

/// "disable writable option", "disable session writable option", "session of a session with the writable option
/// disabled", "writable session on a readable only core".
#[test]
fn who_reads_only_writes_nothing() {
    let (mut bench, mut core) = written(&[b"a", b"b"]);
    bench.close(&mut core);
    let before: Vec<Vec<u8>> = ["oplog", "tree", "bitfield", "data"]
        .map(|name| bench.disk.content(&format!("core/{name}")).expect("a file").to_vec())
        .to_vec();
    let open = Open { read_only: true, key_pair: Some(keys()), ..Open::default() };
    let mut core = bench.open(open).expect("opens");
    assert!(!core.writable() && core.read_only());
    let results = [
        bench.with(|cx| core.append(cx, &[b"c"])).map(|_| ()),
        bench.with(|cx| core.truncate(cx, 1)),
        bench.with(|cx| core.clear(cx, 0, 1)),
        bench.with(|cx| core.set_user_data(cx, "a", Some(b"b"))),
    ];
    assert!(results.iter().all(|result| matches!(result, Err(Error::Refused(_)))), "{results:?}");
    assert_eq!(bench.all(&mut core), [b"a", b"b"]);
    bench.close(&mut core);
    for (name, bytes) in ["oplog", "tree", "bitfield", "data"].iter().zip(before) {
        assert_eq!(bench.disk.content(&format!("core/{name}")), Some(&bytes[..]), "{name}");
    }
    // Somebody who has the key alone: nothing makes that writable but its signer's pair.
    let mut other = Bench::new();
    let mut copy = other.open(Open { key: Some(*core.key()), ..Open::default() }).expect("a new core");
    assert!(matches!(other.with(|cx| copy.append(cx, &[b"x"])), Err(Error::Refused(_))));
}

/// "sessions - can create writable sessions from a read-only core", "preload - custom keypair": who has the pair of a
/// core that was opened by its key alone can say so later.
#[test]
fn a_key_pair_can_come_later() {
    for compat in [false, true] {
        let mut bench = Bench::new();
        let key = if compat { keys().public } else { auth::core_key(&auth::single_signer(1, keys().public)) };
        let manifest = (!compat).then(|| auth::single_signer(1, keys().public));
        let open = Open { key: Some(key), manifest, compat, ..Open::default() };
        let mut core = bench.open(open).expect("a new core");
        assert!(matches!(bench.with(|cx| core.append(cx, &[b"x"])), Err(Error::Refused(_))), "{compat}");
        core.set_key_pair(Some(keys()));
        if !core.writable() {
            assert!(compat, "its signer is known");
            continue;
        }
        bench.append(&mut core, &[b"world"]);
        assert_eq!((core.length(), sound(&core)), (1, true), "compat {compat}");
    }
}

/// "core - append and truncate": cut, grown and cut again to one length, with a fork each time.
#[test]
fn a_core_is_cut_to_the_same_length_again_and_again() {
    let (mut bench, mut core) = written(&[b"hello", b"world", b"fo", b"ooo"]);
    let cut = |bench: &mut Bench, core: &mut Hypercore, length, fork| {
        bench.with(|cx| core.truncate_to(cx, length, fork)).expect("cuts");
        assert_eq!((core.length(), core.fork()), (length, fork));
        assert_eq!(core.header.reorgs.last().map(|cut| (cut.ancestors, cut.to)), Some((length, fork)));
        assert!(sound(core));
    };
    cut(&mut bench, &mut core, 3, 1);
    assert_eq!(core.byte_length(), 12);
    bench.append(&mut core, &[b"a", b"b", b"c", b"d"]);
    cut(&mut bench, &mut core, 3, 2);
    assert_eq!(core.byte_length(), 12);
    for fork in 3..8 {
        cut(&mut bench, &mut core, 2, fork);
        bench.append(&mut core, &[b"a"]);
        assert_eq!((core.length(), core.byte_length()), (3, 11));
    }
    let mut core = reopened(&mut bench, &mut core);
    assert_eq!((core.length(), core.byte_length(), core.fork()), (3, 11, 7));
    assert_eq!(bench.all(&mut core), [&b"hello"[..], b"world", b"a"]);
}

/// "userdata - can set through setUserData", "userdata - can set through constructor option", "core - user data".
// proves hypercore.49
#[test]
fn user_data_is_set_replaced_and_removed() {
    let (mut bench, mut core) = written(&[]);
    let set = |bench: &mut Bench, core: &mut Hypercore, key: &str, value: Option<&[u8]>| {
        bench.with(|cx| core.set_user_data(cx, key, value)).expect("sets");
    };
    assert_eq!(core.user_data("hello"), None);
    set(&mut bench, &mut core, "hello", Some(b"world"));
    set(&mut bench, &mut core, "hej", Some(b"verden"));
    assert_eq!((core.user_data("hello"), core.user_data("hej")), (Some(&b"world"[..]), Some(&b"verden"[..])));
    set(&mut bench, &mut core, "hello", None);
    set(&mut bench, &mut core, "hej", Some(b"world"));
    for _ in 0..2 {
        assert_eq!((core.user_data("hello"), core.user_data("hej")), (None, Some(&b"world"[..])));
        core = reopened(&mut bench, &mut core);
    }
}

/// "has", "has range", "clear", "incorrect clear", "clear blocks with diff option".
// proves hypercore.48
#[test]
fn a_cleared_block_is_the_only_one_that_is_gone() {
    let (mut bench, mut core) = written(&[b"a", b"b", b"c", b"d", b"e", b"f"]);
    assert_eq!((core.bits().first_unset(0), core.contiguous_length()), (6, 6));
    bench.with(|cx| core.clear(cx, 2, 3)).expect("clears");
    assert_eq!(here(&mut bench, &mut core, 6), [0, 1, 3, 4, 5]);
    assert_eq!((core.bits().first_unset(0), core.bits().first_unset(3)), (2, 6), "0 to 1, and 3 to 5");
    for (start, end) in [(2, 3), (1337, 1338), (6, u64::MAX), (3, 3), (5, 1)] {
        bench.with(|cx| core.clear(cx, start, end)).expect("nothing to clear");
        assert_eq!((core.length(), core.contiguous_length()), (6, 2));
    }
    // One bit beside the end of a word, a byte and what the file is written in.
    let (mut bench, mut core) = written(&[&b"tick"[..]; 129]);
    bench.with(|cx| core.clear(cx, 127, 128)).expect("clears");
    for _ in 0..2 {
        assert!(!core.has(127) && core.has(126) && core.has(128));
        assert_eq!(bench.with(|cx| core.get(cx, 128)), Ok(Some(b"tick".to_vec())));
        core = reopened(&mut bench, &mut core);
    }
}

/// "truncate has correct storage state in memory and persisted", "clear has correct storage state in memory and
/// persisted", "contiguousLength 0 for in-memory view after core ready", "contiguousLength gets updated after an append
/// (also on disk)".
// proves hypercore.30, hypercore.48
#[test]
fn the_disk_knows_what_memory_knows() {
    type Step = fn(&mut Hypercore, &mut Cx<'_>) -> Result<(), Error>;
    let append: [Step; 3] = [
        |core, cx| core.append(cx, &[b"a", b"b", b"c", b"d", b"e"]).map(|_| ()),
        |core, cx| core.append(cx, &[b"f", b"g"]).map(|_| ()),
        |core, cx| core.append(cx, &[b"h"]).map(|_| ()),
    ];
    let clear: [Step; 2] = [|core, cx| core.clear(cx, 4, 5), |core, cx| core.clear(cx, 2, 3)];
    let cut: Step = |core, cx| core.truncate(cx, 2);
    let histories: [&[(Step, &[u64], u64)]; 4] = [
        &[],
        &[(append[0], &[0, 1, 2, 3, 4], 5), (cut, &[0, 1], 2)],
        &[(append[0], &[0, 1, 2, 3, 4], 5), (clear[1], &[0, 1, 3, 4], 2)],
        &[
            (append[0], &[0, 1, 2, 3, 4], 5),
            (append[1], &[0, 1, 2, 3, 4, 5, 6], 7),
            (clear[0], &[0, 1, 2, 3, 5, 6], 4),
            (append[2], &[0, 1, 2, 3, 5, 6, 7], 4),
        ],
    ];
    for history in histories {
        for each in [false, true] {
            let (mut bench, mut core) = written(&[]);
            assert_eq!((core.contiguous_length(), here(&mut bench, &mut core, 9)), (0, vec![]));
            for (step, some, contiguous) in history {
                bench.with(|cx| step(&mut core, cx)).expect("a disk");
                assert_eq!(here(&mut bench, &mut core, 9), *some);
                assert_eq!(core.contiguous_length(), *contiguous);
                if each {
                    core = reopened(&mut bench, &mut core);
                    assert_eq!(bits_on_disk(&bench, 64), *some);
                    assert_eq!(here(&mut bench, &mut core, 9), *some);
                    assert_eq!(core.contiguous_length(), *contiguous);
                }
            }
            core = reopened(&mut bench, &mut core);
            let (some, contiguous) = history.last().map_or((&[][..], 0), |(_, some, at)| (*some, *at));
            assert_eq!(here(&mut bench, &mut core, 9), some);
            assert_eq!((core.contiguous_length(), core.header.contiguous_length), (contiguous, contiguous));
        }
    }
}

/// "append alignment to bitfield boundary", "clear - large cores": a page of bits is filled to its end, and blocks are
/// cleared around the ends of pages.
// proves hypercore.30
#[test]
fn the_ends_of_pages_are_nothing_special() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.with(|cx| core.append(cx, &vec![b"#"; PAGE as usize])).expect("appends");
    for _ in 0..2 {
        assert_eq!((core.contiguous_length(), core.has(PAGE - 1), core.has(PAGE)), (PAGE, true, false));
        core = reopened(&mut bench, &mut core);
    }
    bench.with(|cx| core.append(cx, &vec![b"#"; PAGE as usize + 20])).expect("appends");
    for (start, end) in [(100, 1000), (PAGE - 10, PAGE + 10), (2 * PAGE - 1, 2 * PAGE + 18)] {
        bench.with(|cx| core.clear(cx, start, end)).expect("clears");
    }
    for _ in 0..2 {
        for (start, end) in [(100, 1000), (PAGE - 10, PAGE + 10), (2 * PAGE - 1, 2 * PAGE + 18)] {
            for (index, is) in [(start - 1, true), (start, false), (end - 1, false), (end, true)] {
                assert_eq!(core.has(index), is, "{index}");
                let read = bench.with(|cx| core.get(cx, index)).expect("reads");
                assert_eq!(read, is.then(|| b"#".to_vec()), "{index}");
            }
            assert_eq!(core.bits().count(start, end), 0);
        }
        assert_eq!((core.length(), core.contiguous_length()), (2 * PAGE + 20, 100));
        core = reopened(&mut bench, &mut core);
    }
}
