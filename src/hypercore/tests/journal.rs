//! The file beside the others that makes a change safe with one sync.

use super::*;
use crate::base::{Disk, FileId};
use crate::sim::ramdisk::Fate;

const BLOCK: [u8; 100] = [7; 100];

fn opened(bench: &mut Bench, open: Open) -> Hypercore {
    let mut core = bench.open(Open { key_pair: Some(keys()), ..open }).expect("opens");
    core.journal.begin_after(0, 20_000);
    core
}

/// `count` blocks, each acknowledged before the next.
fn grow(bench: &mut Bench, core: &mut Hypercore, count: u64) {
    for n in 0..count {
        bench.append(core, &[&BLOCK[..1 + (n % 100) as usize]]);
        bench.disk.sync_pending().expect("syncs");
    }
}

fn files(disk: &RamDisk) -> Vec<(String, Vec<u8>)> {
    let content = |path: String| (path.clone(), disk.content(&path).unwrap_or_default().to_vec());
    disk.paths().into_iter().map(content).collect()
}

/// The machine loses power, and all that was not synced, or only that of `path`.
fn lose(bench: &mut Bench, path: Option<&str>) {
    let lost = |file: &str| path.is_none_or(|path| path == file);
    bench.disk.crash_with(1, |file, _| if lost(file) { Fate::Lost } else { Fate::Kept });
}

// proves hypercore.152
#[test]
fn a_change_is_safe_with_one_sync_of_one_file() {
    let mut bench = Bench::new();
    let mut core = opened(&mut bench, Open::default());
    grow(&mut bench, &mut core, 1);
    for n in 1..20_u64 {
        let before = bench.disk.syncs();
        match n % 4 {
            0 => bench.with(|cx| core.clear(cx, n / 2, n / 2 + 1)).expect("clears"),
            1 => bench.with(|cx| core.set_user_data(cx, "note", Some(&[n as u8]))).expect("sets"),
            _ => drop(bench.append(&mut core, &[&BLOCK, &BLOCK[..9]])),
        }
        bench.disk.sync_pending().expect("syncs");
        assert_eq!(bench.disk.syncs(), before + 1, "change {n}");
    }
    let now = (core.length(), core.tree_hash(), core.user_data("note").map(<[u8]>::to_vec));
    let here: Vec<bool> = (0..core.length()).map(|block| core.has(block)).collect();
    lose(&mut bench, None);
    let mut core = bench.create();
    assert_eq!((core.length(), core.tree_hash(), core.user_data("note").map(<[u8]>::to_vec)), now);
    for (block, here) in (0..).zip(here) {
        assert_eq!(bench.with(|cx| core.get(cx, block)).expect("reads").is_some(), here, "block {block}");
    }
}

/// A journal begins late, since most cores are changed seldom.
// proves hypercore.152
#[test]
fn a_core_that_changes_seldom_has_none() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let path = "core/journal";
    for n in 0..=limits::JOURNAL_AFTER {
        assert_eq!(bench.disk.content(path), None, "change {n}");
        grow(&mut bench, &mut core, 1);
    }
    assert_eq!(bench.disk.content(path).map(<[u8]>::len), Some(limits::JOURNAL_BYTES as usize));
    lose(&mut bench, None);
    assert_eq!(bench.create().length(), u64::from(limits::JOURNAL_AFTER) + 1);
}

/// The files of hypercore 10 are the same with it and without, while the core is open and after it was closed.
// proves hypercore.152, hypercore.153
#[test]
fn the_other_files_are_as_without_it() {
    let mut all = Vec::new();
    for durability in [Durability::Flush, Durability::Kernel] {
        let mut bench = Bench::new();
        let mut core = opened(&mut bench, Open { durability, ..Open::default() });
        grow(&mut bench, &mut core, 40);
        let is_journal = |(path, _): &(String, Vec<u8>)| path == "core/journal";
        let mut open = files(&bench.disk);
        assert_eq!(open.iter().any(is_journal), durability == Durability::Flush);
        open.retain(|file| !is_journal(file));
        bench.close(&mut core);
        let closed = files(&bench.disk);
        assert!(!closed.iter().any(is_journal));
        all.push((open, closed));
    }
    assert!(all[0] == all[1]);
}

/// A journal that is full begins again with the next header.
// proves hypercore.153
#[test]
fn a_full_journal_begins_again() {
    let mut bench = Bench::new();
    let mut core = opened(&mut bench, Open::default());
    core.journal.begin_after(0, 5000);
    let mut headers = 0;
    for n in 0..150 {
        let before = core.oplog.header_hash();
        grow(&mut bench, &mut core, 1);
        headers += u32::from(core.oplog.header_hash() != before);
        let mut crashed = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
        lose(&mut crashed, None);
        assert_eq!(crashed.create().length(), n + 1);
    }
    assert!(headers > 1, "{headers}");
}

/// A block that is too long for a record is synced in its own file; the record says the rest.
// proves hypercore.152
#[test]
fn long_blocks_are_synced_themselves() {
    let mut bench = Bench::new();
    let mut core = opened(&mut bench, Open::default());
    grow(&mut bench, &mut core, 2);
    let long = vec![9; limits::JOURNAL_BLOCKS + 1];
    let before = bench.disk.syncs();
    bench.append(&mut core, &[&long]);
    bench.disk.sync_pending().expect("syncs");
    assert_eq!(bench.disk.syncs(), before + 2);
    grow(&mut bench, &mut core, 1);
    lose(&mut bench, None);
    let mut core = bench.create();
    assert_eq!(core.length(), 4);
    assert_eq!(bench.with(|cx| core.get(cx, 2)), Ok(Some(long)));
}

/// What is taken from the journal is written where it belongs, once, and a reader needs no writing for it.
// proves hypercore.154
#[test]
fn what_was_lost_is_written_again() {
    for lost in [None, Some("core/oplog"), Some("core/data")] {
        let mut bench = Bench::new();
        let mut core = opened(&mut bench, Open::default());
        grow(&mut bench, &mut core, 12);
        let whole: Vec<_> = files(&bench.disk).into_iter().filter(|file| file.0 != "core/journal").collect();
        lose(&mut bench, lost);
        let crashed = files(&bench.disk);
        let mut reader = bench.open(Open { read_only: true, ..Open::default() }).expect("opens");
        assert_eq!(bench.all(&mut reader).len(), 12);
        bench.close(&mut reader);
        assert!(files(&bench.disk) == crashed, "reading changed something");
        let mut core = bench.create();
        assert_eq!(bench.all(&mut core).len(), 12);
        assert!(files(&bench.disk) == whole, "{lost:?}");
        lose(&mut bench, None);
        assert_eq!(bench.create().length(), 12);
    }
}

/// A program that does not know the journal went on from what it found: it is believed.
// proves hypercore.154
#[test]
fn who_went_on_without_it_is_believed() {
    let mut bench = Bench::new();
    let mut core = opened(&mut bench, Open::default());
    grow(&mut bench, &mut core, 12);
    lose(&mut bench, None);
    let journal = bench.disk.content("core/journal").expect("there").to_vec();
    for flushed in [false, true] {
        let mut other = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
        other.disk.remove("core/journal").expect("removes");
        let mut core = opened(&mut other, Open { durability: Durability::Kernel, ..Open::default() });
        let before = core.length();
        assert!(before < 12);
        other.append(&mut core, &[b"another", b"way"]);
        if flushed {
            other.with(|cx| core.flush(cx)).expect("flushes");
        }
        other.disk.release();
        other.disk.put("core/journal", &journal);
        let mut core = other.create();
        assert_eq!(core.length(), before + 2);
        assert_eq!(other.with(|cx| core.get(cx, before)), Ok(Some(b"another".to_vec())));
        assert_eq!(other.disk.content("core/journal"), None);
    }
}

/// Entries that were safe before the first record are gone: a writer is told, and nothing is changed.
// proves hypercore.154
#[test]
fn entries_in_front_of_the_journal_are_missed() {
    let mut bench = Bench::new();
    let mut core = bench.open(Open { key_pair: Some(keys()), ..Open::default() }).expect("opens");
    core.journal.begin_after(5, 20_000);
    grow(&mut bench, &mut core, 9);
    bench.disk.release();
    let mut oplog = bench.disk.content("core/oplog").expect("there").to_vec();
    oplog[8192 + 512..8192 + 1024].fill(0);
    bench.disk.put("core/oplog", &oplog);
    let before = files(&bench.disk);
    let wanted = Error::Corrupt("oplog: entries are lost that its journal follows");
    assert_eq!(bench.open(Open { key_pair: Some(keys()), ..Open::default() }).err(), Some(wanted));
    assert!(files(&bench.disk) == before);
}

/// The journal cannot be made, or one of its writes fails: everything goes on without it.
// proves hypercore.153
#[test]
fn a_journal_that_fails_is_left_out() {
    let mut whole = Bench::new();
    let mut core = opened(&mut whole, Open::default());
    let from = whole.disk.writes();
    grow(&mut whole, &mut core, 6);
    for refused in 0..whole.disk.writes() - from {
        let mut bench = Bench::new();
        let mut core = opened(&mut bench, Open::default());
        bench.disk.refuse_after(Some(refused));
        for n in 0..12 {
            let block = [n; 30];
            if bench.with(|cx| core.append(cx, &[block])).is_err() {
                bench.append(&mut core, &[&block]);
            }
            bench.disk.sync_pending().expect("syncs");
            let mut crashed = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
            crashed.disk.refuse_after(None);
            lose(&mut crashed, None);
            assert_eq!(crashed.create().length(), u64::from(n) + 1, "write {refused} refused");
        }
    }
}

/// Any bytes in the file: at worst it says nothing.
// proves hypercore.154
#[test]
fn a_spoiled_journal_says_nothing_wrong() {
    let mut bench = Bench::new();
    let mut core = opened(&mut bench, Open::default());
    grow(&mut bench, &mut core, 8);
    let tree = core.tree_hash();
    bench.disk.release();
    let used = 4000;
    for at in 0..used {
        let mut spoiled = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
        spoiled.disk.rot("core/journal", 8 * at + at % 8);
        let core = spoiled.create();
        assert_eq!((core.length(), core.tree_hash()), (8, tree), "byte {at}");
        if at % 40 == 0 {
            let mut crashed = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
            lose(&mut crashed, None);
            crashed.disk.rot("core/journal", 8 * at + at % 8);
            assert!(crashed.create().length() <= 8, "byte {at}");
        }
    }
}

fn record(bench: &mut Bench, at: u64, bytes: &[u8]) {
    let file: FileId = bench.disk.open("core/journal", Mode::Write).expect("opens");
    bench.disk.write_at(file, at, bytes).expect("writes");
    bench.disk.sync(file).expect("syncs");
    bench.disk.close(file);
}

/// Records with good checksums that say impossible things.
// proves hypercore.154
#[test]
fn hostile_records_are_passed_over() {
    let mut bench = Bench::new();
    let mut core = opened(&mut bench, Open::default());
    grow(&mut bench, &mut core, 3);
    let header = core.oplog.header_hash();
    bench.disk.release();
    let good = crate::wire::oplog::JournalRecord { header, ..Default::default() };
    let with = |at, entries: &[u8], data_at, data: &[u8]| crate::wire::oplog::JournalRecord {
        at,
        entries: entries.to_vec(),
        data_at,
        data: data.to_vec(),
        ..good.clone()
    };
    for mut hostile in [
        good.clone(),
        with(u64::MAX >> 11, b"", 0, b""),
        with(0, &[0xff; 50], 0, b""),
        with(0, &[0; 8], u64::MAX >> 11, &[1; 9]),
        with(3, &[0; 3], 0, b"x"),
    ] {
        let mut spoiled = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
        let mut bytes = vec![0; 8];
        crate::wire::encode_into(&mut hostile, &mut bytes);
        crate::hypercore::oplog::seal(&mut bytes, false, false).expect("is short");
        record(&mut spoiled, 0, &bytes);
        assert_eq!(spoiled.create().length(), 3);
    }
}
