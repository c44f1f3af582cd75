//! The file `oplog`: two slots for a header, and the entries that came since (hypercore.31 to hypercore.36).
//!
//! A header is written into the slot that is not in use, with its bit turned; the exclusive or of both bits says which
//! slot counts, and which entries belong to it. So a torn header leaves the old one and its entries valid, and a
//! header that arrived whole ends its predecessor's entries in the same moment.

use super::audit::record::{self, Record};
use crate::base::disk::join;
use crate::base::{Cx, Disk, DiskError, Error, FileId, Key, Mode, limits};
use crate::crypto::hash;
use crate::wire::oplog::{Entry, External, Frame, Header};
use crate::wire::{decode, decode_head, encode, encode_into};

/// Bytes of a header's slot.
const SLOT: u64 = 4096;
/// Bytes that a disk writes as one.
const SECTOR: usize = 512;
/// Where the entries begin.
const ENTRIES: u64 = 2 * SLOT;

/// An entry found in the file, and where it ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub entry: Entry,
    /// Bytes from the beginning of the entries to where its batch begins.
    pub batch: u64,
    /// Bytes from the beginning of the entries to its end.
    pub end: u64,
}

/// The file, open. Commands: `append`, `write_header`, `cut`.
pub struct Oplog {
    file: FileId,
    /// The file `header` beside it.
    outside: String,
    /// Bits of slot 0 and slot 1.
    bits: [bool; 2],
    /// Bytes of the valid entries.
    len: u64,
    /// Bytes may lie behind the valid entries: cut them before the next one is written.
    ragged: bool,
    /// A header was not written whole for certain: no entry may be added until one is.
    torn: bool,
    external: Option<External>,
    /// What was appended last, and where the entries of it begin.
    buffer: Vec<u8>,
    last: u64,
    /// Of a journal: entries that the file lacks, and where each begins.
    held: Vec<(u64, Vec<u8>)>,
    hash: Key,
}

/// What `open` found.
pub struct Opened {
    pub oplog: Oplog,
    /// None: nothing valid was ever written.
    pub header: Option<Header>,
    pub entries: Vec<Found>,
    /// Only one slot has a header, and the core can be written with the key pair in it.
    pub lone: bool,
}

impl Oplog {
    /// Reads the file in `dir`. `Corrupt` if it is long enough for a header but holds none. (hypercore.32)
    pub fn open(cx: &mut Cx<'_>, dir: &str, mode: Mode) -> Result<Opened, Error> {
        let file = cx.disk.open(&join(dir, "oplog"), mode)?;
        let opened = Self::read(cx, file, dir);
        if opened.is_err() {
            cx.disk.close(file);
        }
        opened
    }

    fn read(cx: &mut Cx<'_>, file: FileId, dir: &str) -> Result<Opened, Error> {
        let file_len = cx.disk.len(file)?;
        let mut mended = false;
        let first = read_header(cx.disk, file, 0, &mut mended)?;
        let second = read_header(cx.disk, file, SLOT, &mut mended)?;
        let lone = first.is_some() != second.is_some();
        // hypercore.32: which slot counts.
        let bits = match (&first, &second) {
            (None, None) => [true, false],
            (Some((_, bit)), None) => [*bit, *bit],
            (None, Some((_, bit))) => [!*bit, *bit],
            (Some((_, one)), Some((_, two))) => [*one, *two],
        };
        let outside = join(dir, "header");
        let mut oplog = Oplog {
            file,
            outside,
            bits,
            len: 0,
            ragged: false,
            torn: mended,
            external: None,
            buffer: Vec::new(),
            last: 0,
            held: Vec::new(),
            hash: [0; 32],
        };
        let header = if oplog.bit() { second.or(first) } else { first.or(second) };
        let Some((header, _)) = header else {
            if file_len >= ENTRIES {
                return Err(Error::Corrupt("oplog: no header"));
            }
            return Ok(Opened { oplog, header: None, entries: Vec::new(), lone });
        };
        let header = match header.external {
            Some(external) => oplog.read_external(cx, external)?,
            None => header,
        };
        oplog.hash = header_hash(oplog.bit(), &encode(&header));
        let entries = oplog.read_entries(cx.disk, file_len)?;
        oplog.ragged = ENTRIES + oplog.len != file_len;
        // hypercore.151: no entry is written before its header is safe. Who cannot sign may be thrown back.
        let lone = lone && header.key_pair.as_ref().is_some_and(|pair| !pair.secret.is_empty());
        let room = file_len.saturating_sub(ENTRIES);
        if lone
            && let Some((frame, _)) = read_frame(cx.disk, file, ENTRIES, room)?
            && frame.bit != oplog.bit()
        {
            return Err(Error::Corrupt("oplog: the newer header is damaged"));
        }
        Ok(Opened { oplog, header: Some(header), entries, lone })
    }

    /// Which of the headers counts, and the bit that its entries carry.
    fn bit(&self) -> bool {
        self.bits[0] ^ self.bits[1]
    }

    fn read_external(&mut self, cx: &mut Cx<'_>, at: External) -> Result<Header, Error> {
        const BROKEN: Error = Error::Corrupt("header: it is shorter than the oplog says");
        let len = usize::try_from(at.length).map_err(|_| BROKEN)?;
        if len > limits::HEADER_MAX {
            return Err(BROKEN);
        }
        let file = match cx.disk.open(&self.outside, Mode::Read) {
            Err(DiskError::Missing) => return Err(Error::Corrupt("header: it is lost")),
            opened => opened?,
        };
        let mut bytes = vec![0; len];
        let read = cx.disk.read_at(file, at.start, &mut bytes);
        cx.disk.close(file);
        if read? != len {
            return Err(BROKEN);
        }
        self.external = Some(at);
        Ok(decode::<Header>(&bytes)?)
    }

    /// hypercore.33: entries count until the first that is not whole, or of another header; a batch counts whole.
    fn read_entries(&mut self, disk: &mut dyn Disk, file_len: u64) -> Result<Vec<Found>, Error> {
        let mut entries = Vec::new();
        let (mut at, mut whole, mut batch) = (ENTRIES, 0, 0);
        loop {
            let room = file_len - at.min(file_len);
            let (frame, payload) = match read_frame(disk, self.file, at, room)? {
                Some(whole) => whole,
                None => match mend_frame(disk, self.file, at, room)? {
                    Some(mended) => {
                        self.torn = true;
                        mended
                    }
                    None => break,
                },
            };
            let Ok(entry) = decode::<Entry>(&payload) else { break };
            if frame.bit != self.bit() {
                break;
            }
            at += (Frame::BYTES + payload.len()) as u64;
            entries.push(Found { entry, batch, end: at - ENTRIES });
            if !frame.partial {
                (whole, batch) = (entries.len(), at - ENTRIES);
            }
        }
        entries.truncate(whole);
        self.len = entries.last().map_or(0, |found| found.end);
        Ok(entries)
    }

    /// Bytes of the entries since the header.
    pub fn entry_bytes(&self) -> u64 {
        self.len
    }

    /// Stands for the header that counts, wherever it lies; the one after it has another. (hypercore.152)
    pub fn header_hash(&self) -> Key {
        self.hash
    }

    /// What was appended last, and where it begins behind the header's slots. Nothing, if it was very long.
    pub fn appended(&self) -> (u64, &[u8]) {
        (self.last, &self.buffer)
    }

    /// The entries in bytes that belong at `at`, if they are a whole batch of this header.
    pub fn batch(&self, at: u64, bytes: &[u8]) -> Option<Vec<Found>> {
        batch(self.bit(), at, bytes)
    }

    /// Takes a batch that belongs behind the entries, but is not in the file. `write_held` writes it there.
    pub fn hold(&mut self, batch: Vec<u8>) {
        let at = self.len;
        self.len += batch.len() as u64;
        self.held.push((at, batch));
    }

    /// Writes the entries that were held back and are not cut since, and has them safe.
    pub fn write_held(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if let Some((first, _)) = self.held.first() {
            cx.disk.truncate(self.file, ENTRIES + first.min(&self.len))?;
            for (at, batch) in self.held.iter().filter(|held| held.0 < self.len) {
                cx.disk.write_at(self.file, ENTRIES + at, batch)?;
            }
            self.held.clear();
            self.ragged = false;
        }
        Ok(cx.disk.sync(self.file)?)
    }

    /// Where the header lies, if it does not fit into a slot.
    pub fn external(&self) -> Option<External> {
        self.external
    }

    /// True after `write_header` failed: it has to succeed before the next `append`.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    pub fn file(&self) -> FileId {
        self.file
    }

    /// Forgets the entries behind `end` (a `Found::batch` or `Found::end`). They are cut from the file before the
    /// next is written.
    pub fn cut(&mut self, end: u64) {
        self.len = end;
        self.ragged = true;
    }

    /// Writes a batch behind the entries, in one piece: after a crash all of it is there or nothing. (hypercore.34)
    pub fn append(&mut self, cx: &mut Cx<'_>, entries: &mut [Entry]) -> Result<(), Error> {
        if self.torn {
            return Err(Error::Refused("the last header is not known to be whole"));
        }
        self.tidy(cx)?;
        self.buffer.clear();
        let count = entries.len();
        let bit = self.bit();
        for (number, entry) in entries.iter_mut().enumerate() {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(&[0; Frame::BYTES]);
            encode_into(entry, &mut self.buffer);
            seal(&mut self.buffer[start..], number + 1 < count, bit)?;
        }
        // From here until it is known to be whole, what lies behind `len` may be anything.
        self.ragged = true;
        cx.disk.write_at(self.file, ENTRIES + self.len, &self.buffer)?;
        self.ragged = false;
        self.last = self.len;
        self.len += self.buffer.len() as u64;
        if self.buffer.capacity() > limits::BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn tidy(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.ragged {
            cx.disk.truncate(self.file, ENTRIES + self.len)?;
            self.ragged = false;
        }
        Ok(())
    }

    /// Writes a header that stands for all entries so far, and drops those. With `sync` each step is on disk before
    /// the next, so that a crash leaves the old header with its entries or the new one. (hypercore.35, hypercore.36)
    pub fn write_header(&mut self, cx: &mut Cx<'_>, header: &mut Header, sync: bool) -> Result<(), Error> {
        // hypercore.151: what an older header left must not be taken for entries of one that did not arrive.
        if self.ragged {
            self.tidy(cx)?;
            if sync {
                cx.disk.sync(self.file)?;
            }
        }
        header.external = None;
        let mut bytes = vec![0; Frame::BYTES];
        encode_into(header, &mut bytes);
        let slot = usize::from(self.bits[0] == self.bits[1]);
        let bit = !self.bits[slot];
        // The bit of entries is the exclusive or of both.
        let hash = header_hash(bit ^ self.bits[1 - slot], &bytes[Frame::BYTES..]);
        let mut external = None;
        if self.external.is_some() || bytes.len() as u64 > SLOT {
            external = Some(self.write_external(cx, &bytes[Frame::BYTES..], sync)?);
            bytes.truncate(Frame::BYTES);
            bytes.extend(encode(&Header { external, ..Header::default() }));
        }
        seal(&mut bytes, false, bit)?;
        self.torn = true;
        cx.disk.write_at(self.file, slot as u64 * SLOT, &bytes)?;
        if sync {
            cx.disk.sync(self.file)?;
        }
        self.torn = false;
        self.hash = hash;
        self.external = external;
        self.bits[slot] = bit;
        self.len = 0;
        self.ragged = true;
        self.tidy(cx)
    }

    /// hypercore.37: in front of the one in use if it fits, else behind it at the next page.
    fn write_external(&mut self, cx: &mut Cx<'_>, bytes: &[u8], sync: bool) -> Result<External, Error> {
        let used = self.external.unwrap_or_default();
        let length = bytes.len() as u64;
        let start = if length > used.start { (used.start + used.length).next_multiple_of(SLOT) } else { 0 };
        let file = cx.disk.open(&self.outside, Mode::Write)?;
        let mut written = cx.disk.write_at(file, start, bytes);
        if sync {
            written = written.and_then(|()| cx.disk.sync(file));
        }
        cx.disk.close(file);
        written?;
        Ok(External { start, length })
    }

    pub fn close(&mut self, cx: &mut Cx<'_>) {
        cx.disk.close(self.file);
    }
}

/// hypercore.34: a batch, in bytes that belong at `at` behind the header's slots.
pub(super) fn batch(bit: bool, at: u64, mut bytes: &[u8]) -> Option<Vec<Found>> {
    let (mut found, mut end) = (Vec::new(), at);
    loop {
        let (frame, rest) = decode_head::<Frame>(bytes).ok()?;
        let payload = rest.get(..frame.len as usize)?;
        let len = Frame::BYTES + payload.len();
        if crc32fast::hash(&bytes[4..len]) != frame.crc || frame.bit != bit {
            return None;
        }
        end = end.checked_add(len as u64)?;
        found.push(Found { entry: decode::<Entry>(payload).ok()?, batch: at, end });
        bytes = &bytes[len..];
        match (frame.partial, bytes.is_empty()) {
            (false, true) => return Some(found),
            (true, false) => {}
            _ => return None,
        }
    }
}

pub(super) fn header_hash(bit: bool, payload: &[u8]) -> Key {
    hash::blake2b_256(&[&[u8::from(bit)], payload])
}

/// Fills in the frame at the front of `record`.
pub(super) fn seal(record: &mut [u8], partial: bool, bit: bool) -> Result<(), Error> {
    let len = record.len() - Frame::BYTES;
    if len >= 1 << 30 {
        return Err(Error::Invalid("an oplog record of 2^30 bytes or more"));
    }
    let mut frame = Frame { crc: 0, len: len as u32, partial, bit };
    record[4..8].copy_from_slice(&frame.word().to_le_bytes());
    frame.crc = crc32fast::hash(&record[4..]);
    record[..Frame::BYTES].copy_from_slice(&encode(&frame));
    Ok(())
}

/// The record at `at`, if it is whole within `room` bytes. (hypercore.31)
pub(super) fn read_frame(
    disk: &mut dyn Disk,
    file: FileId,
    at: u64,
    room: u64,
) -> Result<Option<(Frame, Vec<u8>)>, DiskError> {
    let mut head = [0; Frame::BYTES];
    if disk.read_at(file, at, &mut head)? < Frame::BYTES {
        return Ok(None);
    }
    let Ok((frame, _)) = decode_head::<Frame>(&head) else { return Ok(None) };
    if u64::from(frame.len) > room.saturating_sub(Frame::BYTES as u64) {
        return Ok(None);
    }
    let mut record = vec![0; 4 + frame.len as usize];
    if disk.read_at(file, at + 4, &mut record)? < record.len() || crc32fast::hash(&record) != frame.crc {
        return Ok(None);
    }
    record.drain(..4);
    Ok(Some((frame, record)))
}

/// The record at `at` that one wrong bit spoils: no crash leaves that, so it was safe. (hypercore.150)
fn mend_frame(
    disk: &mut dyn Disk,
    file: FileId,
    at: u64,
    room: u64,
) -> Result<Option<(Frame, Vec<u8>)>, DiskError> {
    let mut bytes = vec![0; room.min(limits::MEND_MAX) as usize];
    let read = disk.read_at(file, at, &mut bytes)?;
    bytes.truncate(read);
    let Record::OneBit { frame, payload, byte, .. } = record::read(&bytes) else { return Ok(None) };
    let own = &bytes[..bytes.len().min(Frame::BYTES + payload.len())];
    Ok((!record::doubtful(at, own, byte)).then_some((frame, payload)))
}

/// The header in a slot, and its bit. `mended`: one bit of it is wrong in the file.
fn read_header(
    disk: &mut dyn Disk,
    file: FileId,
    at: u64,
    mended: &mut bool,
) -> Result<Option<(Header, bool)>, DiskError> {
    let found = match read_frame(disk, file, at, SLOT)? {
        Some(whole) => Some(whole),
        None => {
            let found = mend_header(disk, file, at)?;
            *mended |= found.is_some();
            found
        }
    };
    let Some((frame, payload)) = found else { return Ok(None) };
    Ok(decode::<Header>(&payload).ok().map(|header| (header, frame.bit)))
}

/// As `mend_frame`, for a slot. Behind its first sector a header that was being written can differ from the one before
/// in one bit.
fn mend_header(disk: &mut dyn Disk, file: FileId, at: u64) -> Result<Option<(Frame, Vec<u8>)>, DiskError> {
    let mut bytes = vec![0; SLOT as usize];
    let read = disk.read_at(file, at, &mut bytes)?;
    bytes.truncate(read);
    Ok(match record::read(&bytes) {
        Record::OneBit { frame, payload, byte, .. } if byte < SECTOR => Some((frame, payload)),
        _ => None,
    })
}
