//! Sectors that were being written, disks that refuse, bits that rot, files that are lost: each by itself, all of them.

use super::crash::{Model, Op, act, check, open, plan, run, sound};
use super::tests::{Bench, keys};
use super::*;
use crate::base::{Disk, DiskError, Seeded};
use crate::sim::ramdisk::{Fate, RamDisk};

const FILES: [&str; 5] = ["oplog", "tree", "bitfield", "data", "header"];
const JOURNAL: &str = "core/journal";

fn copy(disk: &RamDisk) -> Bench {
    Bench { disk: disk.clone(), entropy: Seeded::new(0) }
}

/// A power cut after each write, and of what was not synced each sector for itself lost, or spoiled, or the only one
/// that arrived.
// proves hypercore.50
#[test]
fn each_torn_sector_leaves_an_acknowledged_state() {
    let mut cases = 0;
    for seed in 20..23 {
        let (ops, models) = plan(seed, 30);
        let mut whole = Bench::new();
        run(&mut whole, &ops);
        for stop in 0..=whole.disk.changes() {
            let mut bench = Bench::new();
            bench.disk.stop_after(Some(stop));
            let (done, acknowledged) = run(&mut bench, &ops);
            for (path, sector) in bench.disk.unsynced() {
                for (own, others) in
                    [(Fate::Lost, Fate::Kept), (Fate::Garbled, Fate::Kept), (Fate::Kept, Fate::Lost)]
                {
                    let mut crashed = copy(&bench.disk);
                    let is_own = |file: &str, number: u64| file == path && number == sector;
                    crashed
                        .disk
                        .crash_with(stop, |file, number| if is_own(file, number) { own } else { others });
                    let what = format!("seed {seed} stop {stop}: {own:?} {path} {sector}, others {others:?}");
                    check(&mut crashed, &models, acknowledged.unwrap_or(0), done, &what);
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 1000, "{cases}");
}

/// Each write by itself finds no room: the core is as before, and the same change works afterwards.
// proves hypercore.56
#[test]
fn each_refused_write_changes_nothing() {
    for seed in 30..34 {
        let (ops, models) = plan(seed, 25);
        let mut whole = Bench::new();
        run(&mut whole, &ops);
        for refused in 8..whole.disk.writes() {
            let mut bench = Bench::new();
            let mut core = open(&mut bench).expect("opens");
            bench.disk.refuse_after(Some(refused - bench.disk.writes().min(refused)));
            let what = format!("seed {seed} write {refused}");
            for (number, op) in ops.iter().enumerate() {
                if let Err(error) = act(&mut bench, &mut core, op) {
                    assert_eq!(error, Error::Io(DiskError::Full), "{what}");
                    if matches!(op, Op::Reopen) {
                        bench.disk.release();
                        core = open(&mut bench).unwrap_or_else(|error| panic!("{what}: {error}"));
                    } else if !matches!(op, Op::Flush) {
                        assert_eq!(Model::of(&mut bench, &mut core), Ok(models[number].clone()), "{what}");
                    }
                    act(&mut bench, &mut core, op).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
            bench.disk.sync_pending().expect("syncs");
            bench.disk.crash(refused);
            let mut core = open(&mut bench).unwrap_or_else(|error| panic!("{what}: {error}"));
            let last = models.last().expect("one");
            assert_eq!(Model::of(&mut bench, &mut core).as_ref(), Ok(last), "{what}");
        }
    }
}

/// Cores at rest: closed, with entries that no header stands for yet, with a header outside its slot, and cut. The
/// last ones were not closed; of these each is there with the journal that its entries are in, and without.
fn cores() -> Vec<(&'static str, RamDisk, Model)> {
    let block = |n: u64| vec![n as u8; (n * 37 % 150) as usize];
    let append = |from: u64, to: u64| Op::Append((from..to).map(block).collect());
    let grown = |ops: &mut Vec<Op>, from, to| (from..to).for_each(|n| ops.push(append(n, n + 1)));
    let mut closed = vec![append(0, 9), Op::Clear(2, 4), Op::Note(vec![7; 30]), Op::Flush];
    grown(&mut closed, 9, 21);
    let unflushed = closed.clone();
    closed.push(Op::Flush);
    let mut outside = closed.clone();
    outside.insert(3, Op::Note(vec![8; 4500]));
    outside.push(append(21, 24));
    let mut cut = closed.clone();
    cut.extend([Op::Truncate(13), append(40, 47)]);
    let all = [
        ("closed", closed),
        ("unflushed", unflushed.clone()),
        ("outside", outside.clone()),
        ("cut", cut.clone()),
        ("unflushed, journal", unflushed),
        ("outside, journal", outside),
        ("cut, journal", cut),
    ];
    all.into_iter()
        .map(|(name, ops)| {
            let mut bench = Bench::new();
            let mut core = open(&mut bench).expect("opens");
            if !name.ends_with("journal") {
                core.journal.begin_after(u32::MAX, 0);
            }
            for op in &ops {
                act(&mut bench, &mut core, op).expect("works");
                bench.disk.sync_pending().expect("syncs");
            }
            let model = Model::of(&mut bench, &mut core).expect("reads");
            bench.disk.release();
            (name, bench.disk, model)
        })
        .collect()
}

fn files(disk: &RamDisk) -> Vec<(String, Vec<u8>)> {
    let content = |path: String| (path.clone(), disk.content(&path).unwrap_or_default().to_vec());
    disk.paths().into_iter().map(content).collect()
}

/// What a damaged core is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    /// It says what is wrong.
    Refused,
    /// As it was; damaged blocks say that they are.
    Same,
    /// Something else than what was written.
    Other,
}

/// Opens a damaged core, reads it, and closes it. Nothing may be changed by that but what a journal says, which makes
/// the files whole, and no wrong byte be handed out.
fn look(disk: &RamDisk, whole: &RamDisk, model: &Model, what: &str) -> Found {
    let mut bench = copy(disk);
    let before = files(disk);
    let found = match open(&mut bench) {
        Err(Error::Corrupt(text)) => {
            assert!(FILES.iter().any(|file| text.contains(file)) || text == "manifest", "{what}: {text}");
            Found::Refused
        }
        Err(Error::Malformed(_) | Error::Refused(_)) => Found::Refused,
        Err(error) => panic!("{what}: {error}"),
        Ok(mut core) => {
            let mut same = core.length() == model.blocks.len() as u64 && core.fork() == model.fork;
            same &= core.user_data("note").unwrap_or_default() == model.note;
            for block in 0..core.length() {
                match bench.with(|cx| core.get(cx, block)) {
                    Err(Error::Corrupt(_)) => {}
                    Err(error) => panic!("{what}: {error}"),
                    Ok(bytes) => same &= model.blocks.get(block as usize) == Some(&bytes),
                }
            }
            let contiguous = model.blocks.iter().take_while(|block| block.is_some()).count() as u64;
            assert!(!same || core.contiguous_length() <= contiguous, "{what}: {}", core.contiguous_length());
            if core.fork() == model.fork && core.length() <= model.blocks.len() as u64 {
                assert!(sound(&core), "{what}");
            }
            if same { Found::Same } else { Found::Other }
        }
    };
    let (after, whole) = (files(&bench.disk), files(whole));
    if disk.content(JOURNAL).is_none() || found == Found::Refused {
        assert_eq!(after, before, "{what}: reading changed something");
        return found;
    }
    let [whole, before] = [whole, before].map(|all| all.into_iter().filter(|file| file.0 != JOURNAL));
    for (((name, after), (_, before)), (_, whole)) in after.into_iter().zip(before).zip(whole) {
        let right = |(at, byte): (usize, &u8)| [before.get(at), whole.get(at)].contains(&Some(byte));
        assert!(after.iter().enumerate().all(right), "{what}: {name} is neither as before nor mended");
        assert!([before.len(), whole.len()].contains(&after.len()), "{what}: {name}");
    }
    found
}

/// One bit of each byte of each file. Nothing is lost in silence, but for a bit of the file of bits, where a crash
/// could have left such a bit too, and in user data outside a header's slot, which no checksum covers.
// proves hypercore.150, hypercore.151
#[test]
fn each_rotten_byte_is_found_or_mended() {
    for (name, disk, model) in cores() {
        assert_eq!(look(&disk, &disk, &model, name), Found::Same);
        let (mut mended, mut refused, mut unseen) = (0, 0, 0);
        for file in FILES {
            let path = format!("core/{file}");
            let len = disk.content(&path).map_or(0, <[u8]>::len);
            let step = if file == "data" || file == "header" { 29 } else { 1 };
            let zeros = |at: usize| disk.content(&path).is_some_and(|bytes| bytes[at] == 0);
            for at in (0..len).step_by(step).filter(|at| !zeros(*at) || at % 53 == 0) {
                let mut rotten = disk.clone();
                rotten.rot(&path, at as u64 * 8 + at as u64 % 8);
                let what = format!("{name}: {file} at {at}");
                match look(&rotten, &disk, &model, &what) {
                    Found::Same => mended += 1,
                    Found::Refused => refused += 1,
                    Found::Other => {
                        let known = matches!(file, "bitfield" | "header");
                        assert!(known, "{what}: lost in silence");
                        unseen += 1;
                    }
                }
            }
        }
        assert!(mended > 100 && refused > 10, "{name}: {mended} {refused} {unseen}");
    }
}

/// Each sector of each file: zeros, or anything. Only in what no header stands for yet, and no journal either, it looks
/// like a crash, and what was there before that is found.
// proves hypercore.150, hypercore.151
#[test]
fn each_lost_sector_is_found() {
    for (name, disk, model) in cores() {
        for file in FILES {
            let path = format!("core/{file}");
            let bytes = disk.content(&path).unwrap_or_default().to_vec();
            for (number, start) in (0..bytes.len()).step_by(512).enumerate() {
                for garbled in [false, true] {
                    let (mut spoiled, mut entropy) = (bytes.clone(), Seeded::new(number as u64));
                    let end = (start + 512).min(bytes.len());
                    let noise = |_| if garbled { crate::base::Entropy::u64(&mut entropy) as u8 } else { 0 };
                    let noise: Vec<u8> = (start..end).map(noise).collect();
                    spoiled[start..end].copy_from_slice(&noise);
                    let mut lost = disk.clone();
                    lost.put(&path, &spoiled);
                    let what = format!("{name}: {file}, sector {number}, garbled {garbled}");
                    let found = look(&lost, &disk, &model, &what);
                    let vouched = name == "closed" || name.ends_with("journal");
                    let unflushed = !vouched && matches!(file, "oplog" | "data");
                    let unseen = unflushed || matches!(file, "bitfield" | "header");
                    assert!(found != Found::Other || unseen, "{what}: lost in silence");
                }
            }
        }
    }
}

/// A bit of the block that is missing first, set by nobody: the contiguous length is not believed to be longer.
// proves hypercore.155
#[test]
fn a_bit_where_the_header_says_none_is_not_believed() {
    let mut bench = Bench::new();
    let mut source = open(&mut bench).expect("opens");
    let blocks: Vec<Vec<u8>> = (0..9_u8).map(|n| vec![n; 30]).collect();
    bench.with(|cx| source.append(cx, &blocks)).expect("appends");
    let wanted = Open { key: Some(*source.key()), ..Open::default() };
    let mut copy = bench.with(|cx| Hypercore::open(cx, "copy", wanted.clone())).expect("opens");
    for (block, tree) in [(None, true), (Some(0), false), (Some(1), false), (Some(4), false)] {
        let heard = super::crash::change(&mut bench, &mut source, block, tree);
        bench.with(|cx| copy.apply(cx, heard)).expect("is taken");
    }
    bench.with(|cx| copy.close(cx)).expect("closes");
    bench.disk.rot("copy/bitfield", 2);
    let copy = bench.with(|cx| Hypercore::open(cx, "copy", wanted)).expect("opens");
    assert_eq!((copy.contiguous_length(), copy.has(2), copy.has(4)), (2, false, true));
}

/// A secret key outside a slot that rotted: it is said, instead of a core that cannot be written to.
// proves hypercore.155
#[test]
fn a_rotten_secret_key_is_named() {
    let mut bench = Bench::new();
    let mut core = open(&mut bench).expect("opens");
    act(&mut bench, &mut core, &Op::Note(vec![8; 4500])).expect("is kept");
    bench.with(|cx| core.close(cx)).expect("closes");
    let header = bench.disk.content("core/header").expect("lies outside").to_vec();
    let secret = keys().secret_key();
    let at = header.windows(32).position(|each| *each == secret[..32]).expect("the seed");
    bench.disk.rot("core/header", 8 * at as u64);
    let told = bench.with(|cx| Hypercore::open(cx, "core", Open::default())).err();
    assert_eq!(told, Some(Error::Corrupt("header: the secret key is not that of the public key")));
    assert!(open(&mut bench).is_ok_and(|core| core.writable()), "a key pair that is given does");
}

/// A file that is gone is named, and nothing is made in its place.
// proves hypercore.151
#[test]
fn each_lost_file_is_named() {
    for (name, disk, model) in cores() {
        for file in FILES {
            let path = format!("core/{file}");
            if disk.content(&path).is_none() {
                continue;
            }
            let mut lost = copy(&disk);
            lost.disk.remove(&path).expect("removes");
            let before = files(&lost.disk);
            let error = open(&mut lost).err();
            let named = matches!(error, Some(Error::Corrupt(text)) if text.starts_with(file));
            assert!(named, "{name}: {file}: {error:?}");
            assert_eq!(files(&lost.disk), before, "{name}: {file}");
            lost.disk.put(&path, disk.content(&path).unwrap_or_default());
            assert_eq!(look(&lost.disk, &disk, &model, name), Found::Same, "{name}: it is put back");
        }
    }
}

/// What rotted is mended for good by the next change: then the files are right for everybody.
// proves hypercore.150
#[test]
fn a_mended_record_is_written_anew() {
    let (_, disk, model) = cores().swap_remove(1);
    for at in [8192 + 20, 8192 + 300, 30, 4096 + 30] {
        let mut bench = copy(&disk);
        bench.disk.rot("core/oplog", at * 8);
        let mut core = open(&mut bench).expect("opens");
        bench.with(|cx| core.append(cx, &[b"more"])).expect("appends");
        bench.disk.sync_pending().expect("syncs");
        bench.disk.crash(at);
        let mut core = open(&mut bench).expect("opens");
        let now = Model::of(&mut bench, &mut core).expect("reads");
        assert_eq!(now.blocks.len(), model.blocks.len() + 1, "byte {at}");
        assert_eq!(now.blocks[..model.blocks.len()], model.blocks[..], "byte {at}");
    }
}

/// A folder that cannot be written to: who wants to write is told, who reads can.
// proves hypercore.151
#[test]
fn a_read_only_folder_can_be_read() {
    for (name, disk, model) in cores() {
        let mut bench = copy(&disk);
        bench.disk.set_read_only(true);
        assert_eq!(open(&mut bench).err(), Some(Error::Io(DiskError::ReadOnly)), "{name}");
        let wanted = Open { key_pair: Some(keys()), read_only: true, ..Open::default() };
        let mut core = bench.with(|cx| Hypercore::open(cx, "core", wanted)).expect("opens");
        assert_eq!(Model::of(&mut bench, &mut core), Ok(model), "{name}");
        assert!(matches!(bench.with(|cx| core.append(cx, &[b"no"])), Err(Error::Refused(_))));
        bench.with(|cx| core.close(cx)).expect("closes");
        assert_eq!(files(&bench.disk), files(&disk), "{name}");
        assert_eq!(bench.disk.open_count(), 0, "{name}");
    }
}
