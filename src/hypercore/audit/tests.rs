//! Stores that are sound, with whatever happened to them, and each bit of them turned.

use super::*;
use crate::base::{Disk, DiskError, Entropy, FileId, Mode, NoTrace, Seeded, Time};
use crate::hypercore::crash::{change, plan, replica_plan, run, run_replica};
use crate::hypercore::tests::{Bench, keys};
use crate::hypercore::{Hypercore, Open};
use crate::sim::ramdisk::RamDisk;
use crate::wire::encode;
use crate::wire::manifest::{DEFAULT_NAMESPACE, Manifest, MultiSignature, Proof, Signer};

fn audited(disk: &RamDisk, dir: &str) -> Audit {
    try_audit(disk, dir).expect("the files can be read")
}

/// None: there is no core.
fn try_audit(disk: &RamDisk, dir: &str) -> Option<Audit> {
    let mut disk = Frozen(disk.clone());
    let entropy = &mut Seeded::new(1);
    let mut cx = Cx { now: Time::default(), entropy, disk: &mut disk, trace: &mut NoTrace };
    match audit(&mut cx, dir, &mut |_, _| {}) {
        Ok(found) => Some(found),
        Err(Error::Missing) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A disk on which whatever would change anything is a failure of the test.
struct Frozen(RamDisk);

impl Disk for Frozen {
    fn open(&mut self, path: &str, mode: Mode) -> Result<FileId, DiskError> {
        assert_eq!(mode, Mode::Read, "{path} is opened for reading");
        self.0.open(path, mode)
    }
    fn close(&mut self, file: FileId) {
        self.0.close(file);
    }
    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.0.len(file)
    }
    fn read_at(&mut self, file: FileId, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.0.read_at(file, at, into)
    }
    fn write_at(&mut self, _: FileId, _: u64, _: &[u8]) -> Result<(), DiskError> {
        panic!("an audit writes");
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        panic!("an audit cuts");
    }
    fn sync(&mut self, _: FileId) -> Result<(), DiskError> {
        panic!("an audit syncs");
    }
    fn sync_later(&mut self, _: FileId) {
        panic!("an audit syncs");
    }
    fn sync_pending(&mut self) -> Result<(), DiskError> {
        panic!("an audit syncs");
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<(), DiskError> {
        panic!("an audit renames");
    }
    fn remove(&mut self, _: &str) -> Result<(), DiskError> {
        panic!("an audit removes");
    }
    fn exists(&mut self, path: &str) -> bool {
        self.0.exists(path)
    }
    fn list(&mut self, folder: &str) -> Result<Vec<String>, DiskError> {
        self.0.list(folder)
    }
    fn lock(&mut self, path: &str) -> Result<(), DiskError> {
        panic!("an audit locks {path}");
    }
}

fn blocks(entropy: &mut Seeded, count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let size = [0, 1, 3, 40, 511, 700, 1500][entropy.below(7) as usize];
            (0..size).map(|_| entropy.u64() as u8).collect()
        })
        .collect()
}

/// Turns drawn bits of the files of a core, one at a time, except for those that the audit itself calls unverifiable.
/// Each has to be found, in the file where it is, at the place where it is or before.
fn every_bit_is_found(disk: &RamDisk, dir: &str, seed: u64, count: usize) {
    let sound = audited(disk, dir);
    assert_eq!(sound.verdict(), Verdict::Sound, "{:?}", sound.findings);
    let files = [File::Oplog, File::Header, File::Tree, File::Bitfield, File::Data, File::Journal];
    let lens: Vec<(File, u64)> = files
        .iter()
        .filter_map(|file| Some((*file, disk.content(&format!("{dir}/{file}"))?.len() as u64)))
        .filter(|(_, len)| *len > 0)
        .collect();
    let mut entropy = Seeded::new(seed);
    let mut done = 0;
    while done < count {
        let (file, len) = lens[entropy.below(lens.len() as u64) as usize];
        let (at, bit) = (entropy.below(len), entropy.below(8));
        let blind = |range: &&Unverifiable| range.file == file && (range.start..range.end).contains(&at);
        if sound.unverifiable.iter().find(blind).is_some() {
            // Not looked at: but it must not make the audit fail.
            if entropy.chance(900) {
                continue;
            }
            let mut rotten = disk.clone();
            rotten.rot(&format!("{dir}/{file}"), 8 * at + bit);
            audited(&rotten, dir);
            continue;
        }
        let mut rotten = disk.clone();
        rotten.rot(&format!("{dir}/{file}"), 8 * at + bit);
        let found = audited(&rotten, dir);
        let what = format!("seed {seed}: {file} byte {at} bit {bit}");
        assert_eq!(found.verdict(), Verdict::Damaged, "{what}: {found:?}\n{sound:?}");
        let first = found.findings.first().expect("damage");
        assert!(first.file == file && first.at <= at, "{what}: {first:?}");
        done += 1;
    }
}

fn writer(bench: &mut Bench, open: Open) -> Hypercore {
    let key_pair = open.key_pair.clone().or(Some(keys()));
    bench.with(|cx| Hypercore::open(cx, "core", Open { key_pair, ..open })).expect("opens")
}

// proves hypercore.71, hypercore.73
#[test]
fn each_bit_of_a_full_core_is_found() {
    let (mut bench, mut entropy) = (Bench::new(), Seeded::new(3));
    let mut core = writer(&mut bench, Open::default());
    for count in [1, 9, 30, 2] {
        let blocks = blocks(&mut entropy, count);
        bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        bench.with(|cx| core.flush(cx)).expect("flushes");
    }
    bench.with(|cx| core.close(cx)).expect("closes");
    let sound = audited(&bench.disk, "core");
    assert_eq!((sound.length, sound.blocks, sound.nodes, sound.signatures), (42, 42, 81, 1));
    // Only what an older header may have left: everything else has somebody who vouches for it.
    assert_eq!(sound.unverifiable_bytes, 32, "{:?}", sound.unverifiable);
    every_bit_is_found(&bench.disk, "core", 1, 1000);
}

// proves hypercore.72, hypercore.75
#[test]
fn each_bit_of_entries_and_of_what_they_vouch_for_is_found() {
    for open in [Open::default(), Open { compat: true, ..Open::default() }] {
        let (mut bench, mut entropy) = (Bench::new(), Seeded::new(4));
        let mut core = writer(&mut bench, open);
        for count in [5, 6] {
            let blocks = blocks(&mut entropy, count);
            bench.with(|cx| core.append(cx, &blocks)).expect("appends");
            bench.with(|cx| core.flush(cx)).expect("flushes");
        }
        for count in [1, 9, 3] {
            let blocks = blocks(&mut entropy, count);
            bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        }
        bench.with(|cx| core.set_user_data(cx, "note", Some(b"not flushed"))).expect("sets");
        let sound = audited(&bench.disk, "core");
        assert_eq!((sound.length, sound.blocks, sound.entries, sound.signatures), (24, 24, 4, 4));
        assert_eq!(sound.user_data, [("note".to_owned(), b"not flushed".to_vec())]);
        every_bit_is_found(&bench.disk, "core", 2, 250);
    }
}

// proves hypercore.74
#[test]
fn each_bit_of_a_core_with_a_past_is_found() {
    let (mut bench, mut entropy) = (Bench::new(), Seeded::new(5));
    let mut core = writer(&mut bench, Open::default());
    for (count, to, clear) in [(30, 21, 4..9), (5, 13, 12..13), (20, 31, 20..25)] {
        let blocks = blocks(&mut entropy, count);
        bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        bench.with(|cx| core.truncate(cx, to)).expect("truncates");
        bench.with(|cx| core.clear(cx, clear.start, clear.end)).expect("clears");
    }
    bench.with(|cx| core.flush(cx)).expect("flushes");
    let sound = audited(&bench.disk, "core");
    assert_eq!((sound.fork, sound.length, sound.blocks), (3, 31, 31 - 5 - 1 - 5));
    every_bit_is_found(&bench.disk, "core", 3, 500);
}

#[test]
fn each_bit_of_a_header_outside_its_slot_is_found() {
    let (mut bench, mut entropy) = (Bench::new(), Seeded::new(6));
    let mut core = writer(&mut bench, Open::default());
    for value in [vec![7; 5000], vec![8; 4990]] {
        bench.with(|cx| core.set_user_data(cx, "note", Some(&value))).expect("sets");
        let blocks = blocks(&mut entropy, 9);
        bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        bench.with(|cx| core.flush(cx)).expect("flushes");
    }
    every_bit_is_found(&bench.disk, "core", 4, 400);
    // The header's own bytes, which no checksum covers: most draws fall on its user data.
    let header = bench.disk.content("core/header").expect("a long header").len() as u64;
    let sound = audited(&bench.disk, "core");
    let vouched = |at: &u64| {
        !sound.unverifiable.iter().any(|r| r.file == File::Header && (r.start..r.end).contains(at))
    };
    for at in (0..header).filter(vouched) {
        let mut rotten = bench.disk.clone();
        rotten.rot("core/header", 8 * at + at % 8);
        let found = audited(&rotten, "core");
        let first = found.findings.first().unwrap_or_else(|| panic!("byte {at}: {found:#?}"));
        assert!(first.file == File::Header && first.at <= at, "byte {at}: {first:?}");
    }
}

#[test]
fn each_bit_of_a_sparse_replica_is_found() {
    for seed in 0..4 {
        let (key, steps, _) = replica_plan(seed);
        let mut bench = Bench::new();
        run_replica(&mut bench, key, &steps).expect("runs");
        let sound = audited(&bench.disk, "replica");
        assert!(sound.blocks > 0 && sound.blocks < sound.length, "{sound:?}");
        every_bit_is_found(&bench.disk, "replica", seed, 150);
    }
}

/// User data that is gone again leaves the end of a longer header behind the next one in that slot.
// proves hypercore.70
#[test]
fn what_an_older_header_left_is_not_judged_but_what_cannot_be_its_is() {
    let mut bench = Bench::new();
    let mut core = writer(&mut bench, Open::default());
    for value in [Some(&[0xee; 600][..]), Some(&[0xee; 500]), None] {
        bench.with(|cx| core.set_user_data(cx, "note", value)).expect("sets");
        bench.with(|cx| core.append(cx, &[b"block"])).expect("appends");
        bench.with(|cx| core.flush(cx)).expect("flushes");
    }
    let sound = audited(&bench.disk, "core");
    assert_eq!(sound.verdict(), Verdict::Sound);
    let left =
        sound.unverifiable.iter().find(|range| range.why.contains("older") && range.end - range.start > 200);
    assert!(left.is_some_and(|range| range.file == File::Oplog), "{:?}", sound.unverifiable);
    every_bit_is_found(&bench.disk, "core", 9, 300);
}

/// A crash at every write of drawn work.
// proves hypercore.72
#[test]
fn a_crash_is_no_damage() {
    let (mut entries, mut dropped, mut unfinished) = (0, 0, 0);
    for seed in 20..24 {
        let (ops, _) = plan(seed, 30);
        let mut whole = Bench::new();
        run(&mut whole, &ops);
        for stop in 0..=whole.disk.changes() {
            let mut bench = Bench::new();
            bench.disk.stop_after(Some(stop));
            run(&mut bench, &ops);
            for crash in 0..3 {
                let mut crashed = bench.disk.clone();
                match crash {
                    0 => crashed.release(),
                    _ => crashed.crash(stop * 3 + crash),
                }
                let Some(found) = try_audit(&crashed, "core") else { continue };
                let what = format!("seed {seed} stop {stop} crash {crash}");
                assert_eq!(found.verdict(), Verdict::Sound, "{what}: {found:#?}");
                entries += found.entries;
                dropped += found.dropped;
                unfinished += u64::from(found.key.is_none());
                agrees(crashed, "core", &found, &what);
            }
        }
    }
    assert!(entries > 100 && dropped > 5 && unfinished > 0, "{entries} {dropped} {unfinished}");
}

// proves hypercore.72
#[test]
fn a_crash_of_a_download_is_no_damage() {
    for seed in 0..6 {
        let (key, steps, _) = replica_plan(seed);
        let mut whole = Bench::new();
        run_replica(&mut whole, key, &steps).expect("runs");
        for stop in 0..=whole.disk.changes() {
            let mut bench = Bench::new();
            bench.disk.stop_after(Some(stop));
            let _ = run_replica(&mut bench, key, &steps);
            for crash in 0..3 {
                let mut crashed = bench.disk.clone();
                crashed.crash(stop * 3 + crash);
                let Some(found) = try_audit(&crashed, "replica") else { continue };
                let what = format!("seed {seed} stop {stop} crash {crash}");
                assert_eq!(found.verdict(), Verdict::Sound, "{what}: {found:#?}");
                agrees(crashed, "replica", &found, &what);
            }
        }
    }
}

/// What the audit says is what an opening finds.
fn agrees(disk: RamDisk, dir: &str, found: &Audit, what: &str) {
    let Some(key) = found.key else { return };
    let mut bench = Bench { disk, entropy: Seeded::new(1) };
    let open = Open { key: Some(key), create: false, read_only: true, ..Open::default() };
    let core = bench.with(|cx| Hypercore::open(cx, dir, open)).unwrap_or_else(|why| panic!("{what}: {why}"));
    assert_eq!(
        (core.length(), core.fork(), core.byte_length()),
        (found.length, found.fork, found.byte_length),
        "{what}"
    );
    assert_eq!(core.bits().count(0, core.length()), found.blocks, "{what}");
}

/// Damage of other shapes: a sector of zeros, bytes that are gone, files that are gone.
#[test]
fn larger_damage_is_found() {
    let (mut bench, mut entropy) = (Bench::new(), Seeded::new(7));
    let mut core = writer(&mut bench, Open::default());
    let blocks = blocks(&mut entropy, 60);
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.with(|cx| core.close(cx)).expect("closes");
    for file in [File::Oplog, File::Tree, File::Bitfield, File::Data] {
        let path = format!("core/{file}");
        let bytes = bench.disk.content(&path).expect("there").to_vec();
        let mut cut = bytes[..bytes.len() / 2].to_vec();
        let mut hole = bytes.clone();
        let end = hole.len().min(512);
        hole[..end].fill(0);
        if file == File::Oplog {
            // The slot that is in use, and no other.
            cut.truncate(100);
            hole[4096..4608].fill(0);
        }
        for (damage, shape) in [(cut, "cut"), (hole, "hole")] {
            let mut disk = bench.disk.clone();
            disk.put(&path, &damage);
            match try_audit(&disk, "core") {
                Some(found) if file == File::Oplog && shape == "cut" => assert_eq!(found.key, None),
                Some(found) => {
                    assert_eq!(found.verdict(), Verdict::Damaged, "{shape} {file}");
                    let first = found.findings.first().expect("damage");
                    assert_eq!(first.file, file, "{shape}: {:#?}", found.findings);
                }
                None => panic!("{shape} {file}: cannot be read"),
            }
        }
    }
}

/// Also those of the old kind, and those with patches.
// proves hypercore.58, hypercore.59, hypercore.73
#[test]
fn forged_signatures_of_several_are_found() {
    let (mut bench, mut entropy) = (Bench::new(), Seeded::new(8));
    let pair = keys();
    let signer = |public| Signer { namespace: DEFAULT_NAMESPACE, public };
    let signers = vec![signer(pair.public), signer([9; 32])];
    for manifest in [
        Manifest { version: 0, quorum: 1, signers: signers.clone(), ..Manifest::default() },
        Manifest { version: 1, quorum: 1, allow_patch: true, signers, ..Manifest::default() },
    ] {
        let mut core = writer(&mut bench, Open::default());
        let blocks = blocks(&mut entropy, 3);
        bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        let proof = Proof { signer: 0, signature: [1; 64], patch: 2 };
        let signature = encode(&MultiSignature { proofs: vec![proof], patch: Vec::new() });
        let key = auth::core_key(&manifest);
        let open = Open { key: Some(key), manifest: Some(manifest), ..Open::default() };
        let mut other = bench.with(|cx| Hypercore::open(cx, "other", open)).expect("opens");
        let mut whole = change(&mut bench, &mut core, None, true);
        whole.manifest = None;
        whole.upgrade.as_mut().expect("an upgrade").signature = signature;
        bench.with(|cx| other.apply(cx, whole)).expect("is stored as if it had been verified");
        let found = audited(&bench.disk, "other");
        assert_eq!(found.verdict(), Verdict::Damaged, "{found:#?}");
        bench = Bench::new();
    }
}

// proves hypercore.76
#[test]
fn a_signature_without_a_manifest_is_not_judged() {
    let mut bench = Bench::new();
    let mut core = writer(&mut bench, Open::default());
    bench.with(|cx| core.append(cx, &[b"a block"])).expect("appends");
    core.signature[10] ^= 1;
    for (manifest, verdict) in [(true, Verdict::Damaged), (false, Verdict::Unjudged)] {
        if !manifest {
            (core.header.manifest, core.header.key_pair) = (None, None);
        }
        bench.with(|cx| core.flush(cx)).expect("flushes");
        let found = audited(&bench.disk, "core");
        assert_eq!(found.verdict(), verdict, "{found:#?}");
    }
}

#[test]
fn a_forged_signature_is_found() {
    let mut bench = Bench::new();
    let mut core = writer(&mut bench, Open::default());
    bench.with(|cx| core.append(cx, &[b"a block"])).expect("appends");
    let open = Open { key: Some(*core.key()), ..Open::default() };
    let mut other = bench.with(|cx| Hypercore::open(cx, "other", open)).expect("opens");
    let mut whole = change(&mut bench, &mut core, None, true);
    whole.upgrade.as_mut().expect("an upgrade").signature[9] ^= 1;
    bench.with(|cx| other.apply(cx, whole)).expect("is stored as if it had been verified");
    let found = audited(&bench.disk, "other");
    assert_eq!((found.verdict(), found.findings[0].rule), (Verdict::Damaged, "hypercore.18"));
}

/// A disk that grows a file when it is read for the last time.
struct Busy(RamDisk, u32);

impl Disk for Busy {
    fn open(&mut self, path: &str, mode: Mode) -> Result<FileId, DiskError> {
        self.1 += u32::from(path.ends_with("oplog"));
        if self.1 == 2 && path.ends_with("tree") {
            let mut longer = self.0.content(path).expect("there").to_vec();
            longer.extend([0; 40]);
            self.0.put(path, &longer);
        }
        self.0.open(path, mode)
    }
    fn close(&mut self, file: FileId) {
        self.0.close(file);
    }
    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.0.len(file)
    }
    fn read_at(&mut self, file: FileId, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.0.read_at(file, at, into)
    }
    fn write_at(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.write_at(file, at, bytes)
    }
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.0.truncate(file, len)
    }
    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        self.0.sync(file)
    }
    fn sync_later(&mut self, file: FileId) {
        self.0.sync_later(file);
    }
    fn sync_pending(&mut self) -> Result<(), DiskError> {
        self.0.sync_pending()
    }
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.rename(from, to)
    }
    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        self.0.remove(path)
    }
    fn exists(&mut self, path: &str) -> bool {
        self.0.exists(path)
    }
    fn list(&mut self, folder: &str) -> Result<Vec<String>, DiskError> {
        self.0.list(folder)
    }
    fn lock(&mut self, path: &str) -> Result<(), DiskError> {
        self.0.lock(path)
    }
}

// proves hypercore.71
#[test]
fn files_that_change_are_not_judged() {
    let mut bench = Bench::new();
    let mut core = writer(&mut bench, Open::default());
    bench.with(|cx| core.append(cx, &[b"a block"])).expect("appends");
    bench.with(|cx| core.close(cx)).expect("closes");
    let mut disk = Busy(bench.disk, 0);
    let entropy = &mut Seeded::new(1);
    let mut cx = Cx { now: Time::default(), entropy, disk: &mut disk, trace: &mut NoTrace };
    let found = audit(&mut cx, "core", &mut |_, _| {}).expect("can be read");
    assert_eq!(found.verdict(), Verdict::Unjudged);
}

/// Only the log says that there is a core: where it is gone, what lies beside it tells that it was there.
#[test]
fn a_log_that_is_gone_is_not_a_core_that_was_never_made() {
    // proves hypercore.32
    let (mut bench, mut entropy) = (Bench::new(), Seeded::new(9));
    let mut core = writer(&mut bench, Open::default());
    let blocks = blocks(&mut entropy, 3);
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.with(|cx| core.close(cx)).expect("closes");
    for len in [0, 17, 8192] {
        let mut rotten = bench.disk.clone();
        let log = rotten.content("core/oplog").expect("a log").to_vec();
        rotten.put("core/oplog", &vec![0; log.len().min(len)]);
        assert_eq!(audited(&rotten, "core").verdict(), Verdict::Damaged, "{len} bytes of the log");
    }
}
