//! The file `journal` of a core: what changes wrote into `oplog` and `data`, once more and in place, so that one sync
//! of one file that does not grow makes a change outlive a crash of the machine. Follows hypercore.152 to
//! hypercore.154.
//!
//! The four files of hypercore 10 are written as without it, and at once; only their syncs wait for the next flush. The
//! journal is there only while a core is open, and after a crash until the core is opened again.

use super::oplog::{read_frame, seal};
use crate::base::disk::join;
use crate::base::{Cx, DiskError, Error, FileId, Key, Mode, limits};
use crate::wire::oplog::{Frame, JournalRecord};
use crate::wire::{decode, encode_into};

/// What a record of the journal makes safe, together with its sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// Nothing: it was not written.
    No,
    /// The entries, but not the bytes of the blocks: they are too many.
    Entries(FileId),
    All(FileId),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// There is no file yet; so many more changes are made without one.
    Waiting(u32),
    /// Records are written behind the first `end` bytes.
    On { file: FileId, end: u64 },
    /// No room, or a write failed: no record until the next header.
    Full { file: FileId },
    /// None for this core: it does not sync, or the file cannot be made.
    Off,
}

/// Commands: `begin`, `note`, `sync`, `restart`, `close`.
pub struct Journal {
    path: String,
    /// Bytes of the file.
    room: u64,
    phase: Phase,
    /// Something was written since its last sync.
    dirty: bool,
    /// Of the header that the records belong to.
    header: Key,
    buffer: Vec<u8>,
}

impl Journal {
    pub fn new(dir: &str, on: bool) -> Journal {
        let phase = if on { Phase::Waiting(limits::JOURNAL_AFTER) } else { Phase::Off };
        let room = limits::JOURNAL_BYTES;
        Journal { path: path(dir), room, phase, dirty: false, header: [0; 32], buffer: Vec::new() }
    }

    /// Counts a change. True if the journal is to begin with it.
    pub fn is_due(&mut self) -> bool {
        match &mut self.phase {
            Phase::Waiting(0) => return true,
            Phase::Waiting(left) => *left -= 1,
            Phase::On { .. } | Phase::Full { .. } | Phase::Off => {}
        }
        false
    }

    /// Makes the file, all zeros; after that no write of a record changes where it lies on the disk. What is in `oplog`
    /// and `data` has to be safe. If it cannot be made, there is none.
    pub fn begin(&mut self, cx: &mut Cx<'_>, header: Key) {
        self.phase = Phase::Off;
        self.header = header;
        let Ok(file) = cx.disk.open(&self.path, Mode::Write) else { return };
        let zeros = vec![0; self.room as usize];
        if cx.disk.write_at(file, 0, &zeros).and_then(|()| cx.disk.sync(file)).is_ok() {
            self.phase = Phase::On { file, end: 0 };
        } else {
            cx.disk.close(file);
            let _ = cx.disk.remove(&self.path); // half a file of zeros says nothing
        }
    }

    /// True from the first record on, until the file is closed.
    pub fn is_on(&self) -> bool {
        matches!(self.phase, Phase::On { .. } | Phase::Full { .. })
    }

    /// True if records fit only after the next header.
    pub fn is_full(&self) -> bool {
        matches!(self.phase, Phase::Full { .. })
    }

    /// Writes down what was written into `oplog` and `data`.
    pub fn note(&mut self, cx: &mut Cx<'_>, oplog: (u64, &[u8]), data: (u64, &[u8])) -> Noted {
        let Phase::On { file, end } = self.phase else { return Noted::No };
        let fits = data.1.len() <= limits::JOURNAL_BLOCKS;
        let (at, entries) = oplog;
        self.phase = Phase::Full { file };
        if entries.is_empty() || entries.len() as u64 > self.room - end {
            return Noted::No;
        }
        let data_bytes = if fits { data.1.to_vec() } else { Vec::new() };
        let (header, entries) = (self.header, entries.to_vec());
        let mut record = JournalRecord { header, at, entries, data_at: data.0, data: data_bytes };
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; Frame::BYTES]);
        encode_into(&mut record, &mut self.buffer);
        let next = end + self.buffer.len() as u64;
        if next > self.room || seal(&mut self.buffer, false, false).is_err() {
            return Noted::No;
        }
        self.dirty = true;
        if cx.disk.write_at(file, end, &self.buffer).is_err() {
            return Noted::No;
        }
        self.phase = Phase::On { file, end: next };
        if fits { Noted::All(file) } else { Noted::Entries(file) }
    }

    /// Before a header is written: that records of the header before the last are gone must be safe by then.
    pub fn sync(&mut self, cx: &mut Cx<'_>) -> Result<(), DiskError> {
        match self.phase {
            Phase::On { file, .. } | Phase::Full { file } if self.dirty => {
                cx.disk.sync(file)?;
                self.dirty = false;
            }
            _ => {}
        }
        Ok(())
    }

    /// If another header stands for all records now: they go, and those to come belong to it. (hypercore.153)
    pub fn restart(&mut self, cx: &mut Cx<'_>, header: Key) {
        let (Phase::On { file, .. } | Phase::Full { file }) = self.phase else { return };
        if header == self.header {
            return;
        }
        self.header = header;
        self.dirty = true;
        match cx.disk.write_at(file, 0, &[0; Frame::BYTES]) {
            Ok(()) => self.phase = Phase::On { file, end: 0 },
            Err(_) => self.close(cx, true),
        }
    }

    /// Gives the file handle back; `remove`: also the file, since nothing depends on it.
    pub fn close(&mut self, cx: &mut Cx<'_>, remove: bool) {
        if let Phase::On { file, .. } | Phase::Full { file } = self.phase {
            cx.disk.close(file);
            if remove {
                let _ = cx.disk.remove(&self.path); // its records are of a header that counts no more
            }
        }
        self.phase = Phase::Off;
    }
}

fn path(dir: &str) -> String {
    join(dir, "journal")
}

/// Does away with the file of an earlier session.
pub fn remove(cx: &mut Cx<'_>, dir: &str) -> Result<(), DiskError> {
    cx.disk.remove(&path(dir))
}

/// The records that an earlier session left, if there is a file: those of that header, from the first on, each
/// beginning where the entries of the one before end. (hypercore.154)
pub fn read(cx: &mut Cx<'_>, dir: &str, header: &Key) -> Result<Option<Vec<JournalRecord>>, Error> {
    let file = match cx.disk.open(&path(dir), Mode::Read) {
        Ok(file) => file,
        Err(DiskError::Missing) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let records = read_open(cx, file, header);
    cx.disk.close(file);
    Ok(Some(records?))
}

fn read_open(cx: &mut Cx<'_>, file: FileId, header: &Key) -> Result<Vec<JournalRecord>, DiskError> {
    let len = cx.disk.len(file)?.min(limits::JOURNAL_BYTES);
    let mut records: Vec<JournalRecord> = Vec::new();
    let (mut at, mut next) = (0, None);
    while let Some((frame, payload)) = read_frame(cx.disk, file, at, len - at.min(len))? {
        let Ok(record) = decode::<JournalRecord>(&payload) else { break };
        if record.header != *header || next.is_some_and(|next| record.at != next) {
            break;
        }
        at += Frame::BYTES as u64 + u64::from(frame.len);
        next = record.at.checked_add(record.entries.len() as u64);
        if next.is_none() {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
impl Journal {
    /// Begins after so many changes, and is of so many bytes.
    pub fn begin_after(&mut self, changes: u32, room: u64) {
        if let Phase::Waiting(left) = &mut self.phase {
            *left = changes;
        }
        self.room = room;
    }
}
