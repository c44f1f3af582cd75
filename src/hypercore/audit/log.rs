//! The file `oplog` as an audit sees it: both slots, what stands behind their headers, the entries, and what lies
//! behind those (hypercore.31 to hypercore.37). Read `record.rs` first.

use super::record::{self, Record};
use super::report::{Audit, File, Finding, Seen};
use crate::base::disk::join;
use crate::base::{Cx, DiskError, Error, FileId, Key, Mode, limits};
use crate::hypercore::auth::Auth;
use crate::hypercore::oplog;
use crate::wire::oplog::{Entry, External, Frame, Header};
use crate::wire::{decode, encode, explain};

const SLOT: usize = 4096;
const ENTRIES: usize = 2 * SLOT;
const SECTOR: usize = 512;
pub const DOUBTFUL: &str = "where a wrong bit looks like what a crash leaves";
/// Zeros that a header is not taken to have in its midst when little follows.
const GAP: usize = 16;

/// An entry, and where its record and its batch begin in the file.
#[derive(Clone, Debug)]
pub struct Logged {
    pub entry: Entry,
    pub at: u64,
    pub batch: u64,
    pub end: u64,
}

/// What the file says.
pub struct Log {
    /// None: the core was never wholly made.
    pub header: Option<Header>,
    /// Where the header's payload lies: the file, its offset, its bytes.
    pub place: (File, u64, Vec<u8>),
    pub entries: Vec<Logged>,
    /// What the journal calls the header by, and the bit of its entries.
    pub header_hash: Key,
    pub bit: bool,
    /// What the journal says of `data`: where, and bytes.
    pub held: Vec<(u64, Vec<u8>)>,
}

impl Log {
    /// Where a field of the header begins; the n-th of that name.
    pub fn field(&self, name: &str, nth: usize) -> (File, u64) {
        let (file, at, bytes) = &self.place;
        let rows = explain::<Header>(bytes).0;
        let row = rows.iter().filter(|row| row.field == name).nth(nth);
        (*file, at + row.map_or(0, |row| row.at as u64))
    }

    /// Where the entries end in the file.
    pub fn end(&self) -> u64 {
        self.entries.last().map_or(ENTRIES as u64, |last| last.end)
    }

    /// True if a checksum covers the header.
    pub fn summed(&self) -> bool {
        self.place.0 == File::Oplog
    }
}

/// Reads the whole file. `Missing` if there is none.
pub fn read_all(cx: &mut Cx<'_>, path: &str) -> Result<Vec<u8>, Error> {
    let file = cx.disk.open(path, Mode::Read)?;
    let bytes = read_open(cx, file);
    cx.disk.close(file);
    bytes
}

fn read_open(cx: &mut Cx<'_>, file: FileId) -> Result<Vec<u8>, Error> {
    let len = cx.disk.len(file)?;
    if len > limits::AUDIT_OPLOG_MAX {
        return Err(Error::Refused("a file is too long to be audited"));
    }
    let mut bytes = vec![0; len as usize];
    let read = cx.disk.read_at(file, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Goes through `oplog`, and the file `header` if the one in use lies there.
pub fn audit(cx: &mut Cx<'_>, dir: &str, bytes: &[u8], audit: &mut Audit) -> Result<Log, Error> {
    let slots = [slot(bytes, 0, audit), slot(bytes, SLOT, audit)];
    // hypercore.32: which slot counts.
    let bits = match &slots {
        [None, None] => [true, false],
        [Some((_, bit, _)), None] => [*bit, *bit],
        [None, Some((_, bit, _))] => [!*bit, *bit],
        [Some((_, one, _)), Some((_, two, _))] => [*one, *two],
    };
    let current = usize::from(bits[0] ^ bits[1]);
    let [first, second] = slots;
    let (used, other) = if current == 1 { (second, first) } else { (first, second) };
    let (place, entries) = ((File::Oplog, 0, Vec::new()), Vec::new());
    let mut log = Log { header: None, place, entries, header_hash: [0; 32], bit: false, held: Vec::new() };
    let Some((header, _, payload)) = used.or_else(|| other.clone()) else {
        if bytes.len() >= ENTRIES && audit.findings.is_empty() {
            let (expected, found) = (Seen::Text("a header"), Seen::Text("two slots without one"));
            audit.find(finding(0, "both slots", expected, found, "hypercore.32"));
        }
        return Ok(log);
    };
    if let Some((older, ..)) = &other {
        check_older(&header, older, current, audit);
    }
    log.place = (File::Oplog, (current * SLOT + Frame::BYTES) as u64, payload);
    match header.external {
        Some(at) => log.header = external(cx, dir, at, &mut log.place, audit)?,
        None => log.header = Some(header),
    }
    let bit = bits[0] ^ bits[1];
    if let Some(header) = &log.header {
        (log.header_hash, log.bit) = (oplog::header_hash(bit, &encode(header)), bit);
    }
    self::entries(bytes, bit, &mut log, audit);
    Ok(log)
}

fn finding(at: usize, what: &'static str, expected: Seen, found: Seen, rule: &'static str) -> Finding {
    Finding { file: File::Oplog, at: at as u64, what, block: None, expected, found, rule }
}

/// The finding that a bit of a record is wrong.
fn rotten(at: usize, what: &'static str, byte: usize, bit: u8, bytes: &[u8]) -> Finding {
    let is = bytes.get(byte).is_some_and(|found| found >> bit & 1 == 1);
    finding(at + byte, what, Seen::Bit(bit, !is), Seen::Bit(bit, is), "hypercore.31")
}

/// The header in a slot, with its bit and its payload.
fn slot(bytes: &[u8], at: usize, audit: &mut Audit) -> Option<(Header, bool, Vec<u8>)> {
    const WHAT: &str = "a header, by its checksum";
    let all = bytes.get(at..).unwrap_or_default();
    let all = &all[..all.len().min(SLOT)];
    let (frame, payload) = match record::read(all) {
        Record::Whole { frame, payload } => (frame, payload),
        // Behind its first sector a header that was being written can differ from the one before in one bit.
        Record::OneBit { frame, payload, byte, bit } if byte < SECTOR => {
            audit.find(rotten(at, WHAT, byte, bit, all));
            (frame, payload)
        }
        Record::Blank => return None,
        // A lone bit is no header that was being written.
        Record::Other if all.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1 => {
            let byte = all.iter().position(|byte| *byte != 0).unwrap_or(0);
            audit.find(rotten(at, "an empty slot", byte, all[byte].trailing_zeros() as u8, all));
            return None;
        }
        Record::OneBit { .. } | Record::Other => {
            audit.blind(
                File::Oplog,
                at as u64,
                (at + all.len()) as u64,
                "a header that was not written whole",
            );
            return None;
        }
    };
    let end = Frame::BYTES + payload.len();
    audit.blind(File::Oplog, (at + SECTOR) as u64, (at + end) as u64, DOUBTFUL);
    remnant(&all[end..], at + end, audit);
    match decode::<Header>(&payload) {
        Ok(header) => Some((header, frame.bit, payload)),
        Err(why) => {
            let (expected, found) = (Seen::Text("a header that can be read"), Seen::Text(why.field));
            audit.find(finding(at + Frame::BYTES + why.at, "a header", expected, found, "hypercore.31"));
            None
        }
    }
}

/// Behind a header its slot holds what an older, longer one left, then zeros (hypercore.70). In a header only user data
/// can hold many zeros in a row, and more than a few bytes follow it: a lone byte behind many zeros is not of one.
fn remnant(rest: &[u8], at: usize, audit: &mut Audit) {
    let mut known = 0;
    while let Some(zeros) = rest[known..].iter().position(|byte| *byte != 0) {
        let from = known + zeros;
        let near = &rest[from..rest.len().min(from + GAP)];
        if zeros >= GAP && near.iter().filter(|byte| **byte != 0).count() < GAP / 2 {
            let (expected, found) = (Seen::Text("zeros"), Seen::Number(rest[from].into()));
            audit.find(finding(at + from, "behind a header", expected, found, "hypercore.70"));
            return;
        }
        known = from + near.len();
    }
    let end = at + rest.len().min(known + GAP);
    audit.blind(File::Oplog, at as u64, end as u64, "what an older, longer header may have left");
}

/// The header that was replaced: of the same core, and not of a later fork.
fn check_older(header: &Header, older: &Header, current: usize, audit: &mut Audit) {
    if header.external.is_some() || older.external.is_some() {
        return;
    }
    let at = (1 - current) * SLOT;
    if older.key != header.key {
        let (expected, found) = (Seen::Hash(header.key), Seen::Hash(older.key));
        audit.find(finding(at, "the replaced header's key", expected, found, "hypercore.32"));
    }
    if older.tree.fork > header.tree.fork {
        let (expected, found) = (Seen::Number(header.tree.fork), Seen::Number(older.tree.fork));
        audit.find(finding(at, "the replaced header's fork", expected, found, "hypercore.46"));
    }
}

/// hypercore.37: no checksum covers a header outside its slot.
fn external(
    cx: &mut Cx<'_>,
    dir: &str,
    at: External,
    place: &mut (File, u64, Vec<u8>),
    audit: &mut Audit,
) -> Result<Option<Header>, Error> {
    let find = |at, expected, found, audit: &mut Audit| {
        let (file, what, rule) = (File::Header, "the header outside its slot", "hypercore.37");
        audit.find(Finding { file, at, what, block: None, expected, found, rule });
    };
    let all = match read_all(cx, &join(dir, "header")) {
        Ok(all) => all,
        Err(Error::Io(DiskError::Missing)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let start = usize::try_from(at.start).unwrap_or(usize::MAX);
    let bytes = usize::try_from(at.length).ok().and_then(|len| all.get(start..start.checked_add(len)?));
    let Some(bytes) = bytes else {
        find(
            all.len() as u64,
            Seen::Number(at.start.saturating_add(at.length)),
            Seen::Text("the end"),
            audit,
        );
        return Ok(None);
    };
    const OLD: &str = "left by older headers";
    audit.blind(File::Header, 0, at.start, OLD);
    audit.blind(File::Header, at.start + at.length, all.len() as u64, OLD);
    *place = (File::Header, at.start, bytes.to_vec());
    let bytes = match mended(bytes) {
        Some((mended, byte, bit)) => {
            let is = bytes[byte] >> bit & 1 == 1;
            find(at.start + byte as u64, Seen::Bit(bit, !is), Seen::Bit(bit, is), audit);
            mended
        }
        None => bytes.to_vec(),
    };
    place.2.clone_from(&bytes);
    let header = match legal(&bytes) {
        Ok(header) => header,
        Err(field) => {
            find(at.start, Seen::Text("a header that can be read"), Seen::Text(field), audit);
            return Ok(None);
        }
    };
    for row in explain::<Header>(&bytes).0 {
        if ["user data key", "user data value", "from", "to", "ancestors", "contiguous length"]
            .contains(&row.field)
        {
            let from = at.start + row.at as u64;
            audit.blind(
                File::Header,
                from,
                from + row.len as u64,
                "no checksum covers a header outside its slot",
            );
        }
    }
    Ok(Some(header))
}

/// A header outside its slot, if these bytes are one as it is written; else the field where they are not.
fn legal(bytes: &[u8]) -> Result<Header, &'static str> {
    // The first releases wrote no headers outside their slots.
    if bytes.first() != Some(&1) {
        return Err("version");
    }
    let header = decode::<Header>(bytes).map_err(|why| why.field)?;
    if encode(&header) == bytes { Ok(header) } else { Err("encoding") }
}

/// The same with the one bit turned that makes it a header of its key, and which. None if it is one, or if there is no
/// such bit.
fn mended(bytes: &[u8]) -> Option<(Vec<u8>, usize, u8)> {
    if legal(bytes).is_ok() || bytes.len() > limits::AUDIT_BIT_SEARCH {
        return None;
    }
    let mut bytes = bytes.to_vec();
    for place in 0..8 * bytes.len() {
        let (byte, bit) = (place / 8, (place % 8) as u8);
        bytes[byte] ^= 1 << bit;
        let fits = |header: &Header| {
            header.manifest.as_ref().is_none_or(|each| Auth::new(header.key, each.clone()).is_some())
        };
        if legal(&bytes).is_ok_and(|header| fits(&header)) {
            return Some((bytes, byte, bit));
        }
        bytes[byte] ^= 1 << bit;
    }
    None
}

/// hypercore.33: entries until the first that is not whole or of another header; batches count whole.
fn entries(bytes: &[u8], bit: bool, log: &mut Log, audit: &mut Audit) {
    let (mut at, mut whole, mut batch) = (ENTRIES, 0, ENTRIES);
    let mut stale = false;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (frame, payload) = match record::read(rest) {
            Record::Whole { frame, payload } => (frame, payload),
            Record::OneBit { frame, payload, byte, bit } => {
                let own = &rest[..rest.len().min(Frame::BYTES + payload.len())];
                if record::doubtful(at as u64, own, byte) {
                    break;
                }
                audit.find(rotten(at, "an entry, by its checksum", byte, bit, rest));
                (frame, payload)
            }
            Record::Blank | Record::Other => break,
        };
        let end = at + Frame::BYTES + payload.len();
        for part in record::doubtful_parts(at as u64, &bytes[at..end]) {
            audit.blind(File::Oplog, part.start, part.end, DOUBTFUL);
        }
        // Entries of an older header are there if cutting them did not reach the disk.
        stale |= frame.bit != bit;
        if !stale {
            match decode::<Entry>(&payload) {
                Ok(entry) => {
                    let (at, batch, end) = (at as u64, batch as u64, end as u64);
                    log.entries.push(Logged { entry, at, batch, end });
                }
                Err(why) => {
                    let (expected, found) = (Seen::Text("an entry that can be read"), Seen::Text(why.field));
                    audit.find(finding(
                        at + Frame::BYTES + why.at,
                        "an entry",
                        expected,
                        found,
                        "hypercore.33",
                    ));
                    break;
                }
            }
            if !frame.partial {
                (whole, batch) = (log.entries.len(), end);
            }
        }
        at = end;
    }
    audit.dropped += (log.entries.len() - whole) as u64;
    log.entries.truncate(whole);
    audit.blind(File::Oplog, at as u64, bytes.len() as u64, "an entry that was not written whole");
}
