//! A disk in memory that can crash, fill up and rot.
//!
//! At a crash of the machine each sector of 512 bytes that was written since its file's last sync is kept, lost (it is
//! what it was at the sync, or between two writes since) or garbled (the bytes that were changed since the sync are
//! random), each by itself: as if sectors had gone to the disk in any order, across all files. The length of a file is,
//! by itself too, any that it had since the sync. Bytes of a sector that nobody changed stay: no log of entries shorter
//! than a sector could live on a disk that spoils its neighbours. What a file gets by growing is zeros, and they stay
//! zeros until somebody writes something else: file systems do not show what was there before. A file that was never
//! synced may be gone. `rename` and `remove` are durable at once, as those of the real disk are (they sync the
//! folders), and they keep their order; what a renamed file holds is not, unless it was synced.
//!
//! A crash of the process alone loses nothing: drop the handles with `release`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Disk, DiskError, Entropy, FileId, Mode, Seeded};

const SECTOR: usize = 512;
/// Bytes of one file: holes take memory here. A write beyond is refused as a full disk.
const FILE_MAX: u64 = 1 << 28;

/// What a crash can bring back: contents that a sector had since the last sync, the first of them then, and which of
/// its bytes were changed since.
#[derive(Clone)]
struct Unsynced {
    versions: Vec<[u8; SECTOR]>,
    changed: [bool; SECTOR],
}

/// Contents of one sector, and lengths of one file, that are remembered between two syncs.
const VERSIONS_MAX: usize = 4;
const LENGTHS_MAX: usize = 16;

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    unsynced: BTreeMap<u64, Unsynced>,
    /// Length at the last sync; None if it was never synced.
    synced_len: Option<u64>,
    /// Lengths since.
    lens: Vec<u64>,
    private: bool,
}

impl Content {
    /// Remembers the sectors from `from` on as they are, before they become `new`.
    fn touch(&mut self, from: u64, new: &[u8]) {
        let to = from + new.len() as u64;
        let sector = SECTOR as u64;
        for number in from / sector..to.div_ceil(sector) {
            let start = number as usize * SECTOR;
            let kept = &self.bytes[start.min(self.bytes.len())..(start + SECTOR).min(self.bytes.len())];
            let mut now = [0; SECTOR];
            now[..kept.len()].copy_from_slice(kept);
            let fresh = || Unsynced { versions: Vec::with_capacity(1), changed: [false; SECTOR] };
            let entry = self.unsynced.entry(number).or_insert_with(fresh);
            if entry.versions.len() == VERSIONS_MAX {
                entry.versions.pop();
            }
            entry.versions.push(now);
            let start = number * sector;
            for at in from.max(start)..to.min(start + sector) {
                let before = self.bytes.get(at as usize).copied().unwrap_or(0);
                let changed = before != new[(at - from) as usize];
                entry.changed[(at - start) as usize] |= changed;
            }
        }
    }

    fn resize(&mut self, len: u64) {
        if len != self.bytes.len() as u64 {
            if self.lens.len() == LENGTHS_MAX {
                self.lens.pop();
            }
            self.lens.push(self.bytes.len() as u64);
            self.bytes.resize(len as usize, 0);
        }
    }

    fn synced(&mut self) {
        self.unsynced.clear();
        self.lens.clear();
        self.synced_len = Some(self.bytes.len() as u64);
    }

    /// `fate` says what becomes of each sector, and of the length (`u64::MAX`).
    fn crash_with(&mut self, entropy: &mut Seeded, mut fate: impl FnMut(u64) -> Fate) {
        let len = match fate(u64::MAX) {
            Fate::Kept => self.bytes.len(),
            Fate::Lost | Fate::Garbled => self.synced_len.unwrap_or(0) as usize,
        };
        self.bytes.resize(len.max(self.bytes.len()), 0);
        for (number, sector) in core::mem::take(&mut self.unsynced) {
            let fate = fate(number);
            let start = number as usize * SECTOR;
            for n in 0..SECTOR.min(self.bytes.len().saturating_sub(start)) {
                match fate {
                    Fate::Lost => self.bytes[start + n] = sector.versions[0][n],
                    Fate::Garbled if sector.changed[n] => self.bytes[start + n] = entropy.u64() as u8,
                    Fate::Kept | Fate::Garbled => {}
                }
            }
        }
        self.bytes.truncate(len);
        self.synced();
    }

    fn crash(&mut self, entropy: &mut Seeded) {
        let new_len = self.bytes.len() as u64;
        let len = match entropy.below(4) {
            0 | 1 => new_len,
            2 => self.synced_len.unwrap_or(0),
            _ => self.lens.get(entropy.below(self.lens.len() as u64) as usize).copied().unwrap_or(new_len),
        };
        self.bytes.resize(len.max(new_len) as usize, 0);
        for (number, sector) in core::mem::take(&mut self.unsynced) {
            let start = number as usize * SECTOR;
            let fate = entropy.below(4);
            let other = entropy.below(sector.versions.len() as u64) as usize;
            for n in 0..SECTOR.min(self.bytes.len().saturating_sub(start)) {
                match fate {
                    0 => {}
                    1 => self.bytes[start + n] = sector.versions[0][n],
                    2 => self.bytes[start + n] = sector.versions[other][n],
                    _ if sector.changed[n] => self.bytes[start + n] = entropy.u64() as u8,
                    _ => {}
                }
            }
        }
        self.bytes.truncate(len as usize);
        self.synced();
    }
}

/// What becomes of a sector at a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Kept,
    /// It is what it was at the last sync.
    Lost,
    /// Its bytes that were changed are random.
    Garbled,
}

/// The disk of one simulated node, or of a test. See the module's head.
#[derive(Clone, Default)]
pub struct RamDisk {
    files: BTreeMap<String, Content>,
    open: Vec<Option<(String, Mode)>>,
    pending: BTreeSet<FileId>,
    locks: BTreeSet<String>,
    capacity: Option<u64>,
    budget: Option<u64>,
    changes: u64,
    syncs: u64,
    lying: bool,
    /// This many more writes are done, and one is refused.
    refuse: Option<u64>,
    writes: u64,
    reads: u64,
    read_only: bool,
}

impl RamDisk {
    pub fn new() -> RamDisk {
        RamDisk::default()
    }

    /// The machine loses power, as `seed` draws. All handles and locks are gone.
    pub fn crash(&mut self, seed: u64) {
        let entropy = Seeded::new(seed);
        let mut gone = Vec::new();
        for (path, content) in &mut self.files {
            let mut own = entropy.fork(path);
            if content.synced_len.is_none() && own.chance(500) {
                gone.push(path.clone());
            } else {
                content.crash(&mut own);
            }
        }
        for path in gone {
            self.files.remove(&path);
        }
        self.release();
    }

    /// The machine loses power, and `fate` says of each sector that was not synced, by file and number, what becomes of
    /// it, and of each such file's length (`u64::MAX`). A file that was never synced is gone if its length is lost.
    pub fn crash_with(&mut self, seed: u64, mut fate: impl FnMut(&str, u64) -> Fate) {
        let entropy = Seeded::new(seed);
        let mut gone = Vec::new();
        for (path, content) in &mut self.files {
            if content.synced_len.is_none() && fate(path, u64::MAX) != Fate::Kept {
                gone.push(path.clone());
            } else {
                content.crash_with(&mut entropy.fork(path), |sector| fate(path, sector));
            }
        }
        for path in gone {
            self.files.remove(&path);
        }
        self.release();
    }

    /// The sectors that were written since their file's last sync, and the files whose length was changed
    /// (`u64::MAX`).
    pub fn unsynced(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (path, content) in &self.files {
            all.extend(content.unsynced.keys().map(|sector| (path.clone(), *sector)));
            if content.synced_len != Some(content.bytes.len() as u64) {
                all.push((path.clone(), u64::MAX));
            }
        }
        all
    }

    /// So many more writes and truncations work, then one is refused as if the disk were full; those after it work.
    pub fn refuse_after(&mut self, writes: Option<u64>) {
        self.refuse = writes.map(|count| self.writes + count);
    }

    /// Writes and truncations so far.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Reads that were done.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Nothing can be written or made.
    pub fn set_read_only(&mut self, read_only: bool) {
        self.read_only = read_only;
    }

    /// The process ends: all handles and locks are gone, what was written stays.
    pub fn release(&mut self) {
        self.open.clear();
        self.pending.clear();
        self.locks.clear();
        self.budget = None;
    }

    /// Bytes that fit on the disk in all; a write beyond is short and fails with `DiskError::Full`.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// After so many more changes (writes, truncations, syncs, renames, removals) every call that changes anything
    /// fails, as if the process had been stopped there. None: no end.
    pub fn stop_after(&mut self, changes: Option<u64>) {
        self.budget = changes.map(|count| self.changes + count);
    }

    /// Changes so far (what `stop_after` counts).
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Syncs of a file so far.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// From now on a sync says that it worked and does nothing, as some disks do.
    pub fn set_lying(&mut self, lying: bool) {
        self.lying = lying;
    }

    /// Files that are open now.
    pub fn open_count(&self) -> usize {
        self.open.iter().flatten().count()
    }

    /// The content of a file.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|content| &content.bytes[..])
    }

    /// Puts a file there, synced.
    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let mut content = Content { bytes: bytes.to_vec(), ..Content::default() };
        content.synced();
        self.files.insert(path.to_owned(), content);
    }

    /// True if the file was opened as `Mode::Private` when it was made.
    pub fn private(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|content| content.private)
    }

    /// Flips one bit of a file behind everybody's back.
    pub fn rot(&mut self, path: &str, bit: u64) {
        let byte = self.files.get_mut(path).and_then(|content| content.bytes.get_mut((bit / 8) as usize));
        if let Some(byte) = byte {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Flips a drawn bit: which file and which bit, if there is any.
    pub fn rot_somewhere(&mut self, draw: &mut dyn Entropy) -> Option<(String, u64)> {
        let all = self.used().checked_mul(8).filter(|&all| all > 0)?;
        let mut bit = draw.below(all);
        for (path, content) in &mut self.files {
            let bits = content.bytes.len() as u64 * 8;
            if bit < bits {
                content.bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
                return Some((path.clone(), bit));
            }
            bit -= bits;
        }
        None
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.files.values().map(|content| content.bytes.len() as u64).sum()
    }

    /// Before a write or truncation.
    fn write(&mut self) -> Result<(), DiskError> {
        self.change()?;
        self.writes += 1;
        if self.refuse == Some(self.writes - 1) {
            return Err(DiskError::Full);
        }
        Ok(())
    }

    fn change(&mut self) -> Result<(), DiskError> {
        if self.budget.is_some_and(|budget| self.changes >= budget) {
            return Err(DiskError::Os(5));
        }
        self.changes += 1;
        Ok(())
    }

    fn mode(&self, file: FileId) -> Result<Mode, DiskError> {
        self.open.get(file.0 as usize).and_then(Option::as_ref).map(|slot| slot.1).ok_or(DiskError::Missing)
    }

    fn at(&mut self, file: FileId) -> Result<&mut Content, DiskError> {
        let slot = self.open.get(file.0 as usize).and_then(Option::as_ref).ok_or(DiskError::Missing)?;
        self.files.get_mut(&slot.0).ok_or(DiskError::Missing)
    }

    fn writable(&mut self, file: FileId) -> Result<&mut Content, DiskError> {
        if self.mode(file)? == Mode::Read {
            return Err(DiskError::ReadOnly);
        }
        self.at(file)
    }
}

fn check(path: &str) -> Result<(), DiskError> {
    let bad = path.is_empty() || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if bad { Err(DiskError::Denied) } else { Ok(()) }
}

impl Disk for RamDisk {
    fn open(&mut self, path: &str, mode: Mode) -> Result<FileId, DiskError> {
        check(path)?;
        if self.read_only && mode != Mode::Read {
            return Err(DiskError::ReadOnly);
        }
        if !self.files.contains_key(path) {
            if mode == Mode::Read {
                return Err(DiskError::Missing);
            }
            self.change()?;
            let content = Content { private: mode == Mode::Private, ..Content::default() };
            self.files.insert(path.to_owned(), content);
        }
        let slot = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if slot == self.open.len() {
            self.open.push(None);
        }
        self.open[slot] = Some((path.to_owned(), mode));
        Ok(FileId(slot as u32))
    }

    fn close(&mut self, file: FileId) {
        if self.pending.remove(&file) {
            let _ = self.sync(file);
        }
        if let Some(slot) = self.open.get_mut(file.0 as usize) {
            *slot = None;
        }
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        Ok(self.at(file)?.bytes.len() as u64)
    }

    fn read_at(&mut self, file: FileId, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        self.reads += 1;
        let bytes = &self.at(file)?.bytes;
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let count = into.len().min(bytes.len() - start);
        into[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.writable(file)?;
        self.write()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let len = self.at(file)?.bytes.len() as u64;
        let end = at.checked_add(bytes.len() as u64).ok_or(DiskError::Full)?;
        if end > FILE_MAX {
            return Err(DiskError::Full);
        }
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        let fits = len.saturating_add(room).min(end);
        if fits <= at && fits < end {
            return Err(DiskError::Full);
        }
        let content = self.at(file)?;
        let fitting = &bytes[..(fits - at) as usize];
        if at > len {
            content.touch(len, &vec![0; (at - len) as usize]);
        }
        content.touch(at, fitting);
        content.resize(fits.max(len));
        content.bytes[at as usize..fits as usize].copy_from_slice(fitting);
        if fits < end { Err(DiskError::Full) } else { Ok(()) }
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.writable(file)?;
        self.write()?;
        let old = self.at(file)?.bytes.len() as u64;
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        if len > FILE_MAX || len > old && len - old > room {
            return Err(DiskError::Full);
        }
        let content = self.at(file)?;
        content.touch(len.min(old), &vec![0; old.abs_diff(len) as usize]);
        content.resize(len);
        Ok(())
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        self.mode(file)?;
        self.change()?;
        self.syncs += 1;
        self.pending.remove(&file);
        if self.lying {
            return Ok(());
        }
        self.at(file)?.synced();
        Ok(())
    }

    fn sync_later(&mut self, file: FileId) {
        self.pending.insert(file);
    }

    fn sync_pending(&mut self) -> Result<(), DiskError> {
        while let Some(&file) = self.pending.first() {
            self.sync(file)?;
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        check(to)?;
        self.change()?;
        let mut content = self.files.remove(from).ok_or(DiskError::Missing)?;
        // The folder is synced: the name is there, whatever the file holds.
        content.synced_len.get_or_insert(0);
        self.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        self.change()?;
        self.files.remove(path).map(|_| ()).ok_or(DiskError::Missing)
    }

    fn exists(&mut self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    fn list(&mut self, folder: &str) -> Result<Vec<String>, DiskError> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let names: BTreeSet<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .filter_map(|rest| rest.split('/').next())
            .map(str::to_owned)
            .collect();
        Ok(names.into_iter().collect())
    }

    fn lock(&mut self, path: &str) -> Result<(), DiskError> {
        check(path)?;
        if self.locks.contains(path) {
            return Err(DiskError::Locked);
        }
        let file = self.open(path, Mode::Write)?;
        self.close(file);
        self.locks.insert(path.to_owned());
        Ok(())
    }

    fn unlock(&mut self, path: &str) {
        self.locks.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_outlives_every_crash() {
        for seed in 0..200 {
            let mut disk = RamDisk::new();
            let file = disk.open("a/b", Mode::Write).expect("opens");
            disk.write_at(file, 0, &[1; 2000]).expect("writes");
            disk.sync_later(file);
            disk.sync_pending().expect("syncs");
            disk.write_at(file, 1000, &[2; 3000]).expect("writes");
            disk.crash(seed);
            let after = disk.content("a/b").expect("still there");
            assert_eq!(after[..1000], [1; 1000], "seed {seed}");
            assert!(after.len() == 2000 || after.len() == 4000);
            assert_eq!(disk.len(file), Err(DiskError::Missing));
        }
    }

    #[test]
    fn unsynced_sectors_have_each_fate() {
        let (mut kept, mut lost, mut garbled, mut gone) = (0, 0, 0, 0);
        for seed in 0..200 {
            let mut disk = RamDisk::new();
            let file = disk.open("f", Mode::Write).expect("opens");
            disk.write_at(file, 0, &[7; 512]).expect("writes");
            disk.crash(seed);
            match disk.content("f") {
                None | Some([]) => gone += 1,
                Some(bytes) if bytes == [7; 512] => kept += 1,
                Some(bytes) if bytes == [0; 512] => lost += 1,
                Some(_) => garbled += 1,
            }
        }
        assert!(kept > 5 && lost > 5 && garbled > 5 && gone > 5, "{kept} {lost} {garbled} {gone}");
    }

    /// What was written first need not be there first: in one file, across files, and with the lengths in between.
    #[test]
    fn sectors_reach_the_disk_in_any_order() {
        let mut fates = BTreeSet::new();
        for seed in 0..2000 {
            let mut disk = RamDisk::new();
            let (a, b) =
                (disk.open("a", Mode::Write).expect("opens"), disk.open("b", Mode::Write).expect("opens"));
            for file in [a, b] {
                disk.write_at(file, 0, &[1; 1024]).expect("writes");
                disk.sync(file).expect("syncs");
            }
            for (file, at) in [(a, 0), (b, 0), (a, 512), (b, 512)] {
                disk.write_at(file, at, &[2; 512]).expect("writes");
            }
            disk.crash(seed);
            let new = |path: &str, at: usize| disk.content(path).expect("there")[at..at + 512] == [2; 512];
            fates.insert([new("a", 0), new("b", 0), new("a", 512), new("b", 512)]);
        }
        assert_eq!(fates.len(), 16, "every subset of four sectors");
    }

    #[test]
    fn a_sector_may_be_as_it_was_between_two_writes() {
        let mut fates = BTreeSet::new();
        for seed in 0..200 {
            let mut disk = RamDisk::new();
            disk.put("f", &[1; 512]);
            let file = disk.open("f", Mode::Write).expect("opens");
            for n in 2..5 {
                disk.write_at(file, 0, &[n; 512]).expect("writes");
                disk.write_at(file, 512 * u64::from(n), &[n]).expect("writes");
            }
            disk.crash(seed);
            let after = disk.content("f").expect("there");
            fates
                .insert((after[..512].iter().all(|&byte| byte == after[0]).then_some(after[0]), after.len()));
        }
        for (first, len) in [(1, 512), (2, 1025), (3, 1537), (4, 2049)] {
            assert!(fates.iter().any(|fate| fate.0 == Some(first)), "{first} {fates:?}");
            assert!(fates.iter().any(|fate| fate.1 == len), "{len} {fates:?}");
        }
    }

    #[test]
    fn a_rename_is_durable_and_what_was_not_synced_is_not() {
        let mut fates = BTreeSet::new();
        for seed in 0..200 {
            let mut disk = RamDisk::new();
            disk.put("f", b"old");
            let file = disk.open("f.new", Mode::Write).expect("opens");
            disk.write_at(file, 0, b"new").expect("writes");
            disk.rename("f.new", "f").expect("renames");
            disk.crash(seed);
            assert_eq!(disk.content("f.new"), None);
            fates.insert(disk.content("f").expect("the name is there").to_vec());
        }
        assert!(fates.contains(&b"new"[..]) && fates.contains(&b""[..]), "{fates:?}");
        assert!(!fates.contains(&b"old"[..]));
        for seed in 0..200 {
            let mut disk = RamDisk::new();
            disk.put("f", b"old");
            crate::base::disk::replace_file(&mut disk, "f", Mode::Write, b"new").expect("replaces");
            disk.crash(seed);
            assert_eq!(disk.content("f"), Some(&b"new"[..]));
        }
    }

    #[test]
    fn a_truncation_can_be_lost() {
        let mut fates = BTreeSet::new();
        for seed in 0..100 {
            let mut disk = RamDisk::new();
            disk.put("f", &[7; 1024]);
            let file = disk.open("f", Mode::Write).expect("opens");
            disk.truncate(file, 100).expect("truncates");
            disk.crash(seed);
            fates.insert(disk.content("f").expect("there").len());
            assert_eq!(disk.content("f").expect("there")[..100], [7; 100]);
        }
        assert_eq!(fates.into_iter().collect::<Vec<_>>(), [100, 1024]);
    }

    #[test]
    fn a_full_disk_says_so() {
        let mut disk = RamDisk::new();
        disk.set_capacity(Some(10));
        let file = disk.open("f", Mode::Write).expect("opens");
        assert_eq!(disk.write_at(file, 0, &[1; 8]), Ok(()));
        assert_eq!(disk.write_at(file, 8, &[1; 8]), Err(DiskError::Full));
        assert_eq!(disk.len(file), Ok(10));
        assert_eq!(disk.write_at(file, 2, &[2; 8]), Ok(()));
        disk.set_capacity(None);
        assert_eq!(disk.write_at(file, 8, &[1; 8]), Ok(()));
    }

    #[test]
    fn nothing_changes_after_the_stop() {
        let mut disk = RamDisk::new();
        let file = disk.open("f", Mode::Write).expect("opens");
        disk.stop_after(Some(1));
        assert_eq!(disk.write_at(file, 0, b"1"), Ok(()));
        assert!(disk.write_at(file, 0, b"2").is_err());
        assert!(disk.sync(file).is_err());
        assert!(disk.truncate(file, 0).is_err());
        disk.release();
        assert_eq!(disk.content("f"), Some(&b"1"[..]));
    }

    #[test]
    fn names_and_locks() {
        let mut disk = RamDisk::new();
        disk.put("cores/aa/x", b"");
        disk.put("cores/bb/x", b"");
        assert_eq!(disk.list("cores"), Ok(vec!["aa".to_owned(), "bb".to_owned()]));
        assert_eq!(disk.list("nothing"), Ok(vec![]));
        assert_eq!(disk.open("../x", Mode::Write), Err(DiskError::Denied));
        assert_eq!(disk.open("x", Mode::Read), Err(DiskError::Missing));
        assert_eq!(disk.lock("l"), Ok(()));
        assert_eq!(disk.lock("l"), Err(DiskError::Locked));
        disk.release();
        assert_eq!(disk.lock("l"), Ok(()));
        let file = disk.open("cores/aa/x", Mode::Read).expect("opens");
        assert_eq!(disk.write_at(file, 0, b"1"), Err(DiskError::ReadOnly));
    }
}
