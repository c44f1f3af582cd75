//! Records of the oplog as bytes: whole, whole but for one bit, or anything else (hypercore.31).
//!
//! A machine that loses power can leave any bytes where it was writing, and that is no damage: whoever opens the core
//! passes over them. But what it leaves is hardly ever one bit away from a record that was whole: that is a bit that
//! rotted. Only where a sector holds few bytes of a record can both look alike: there it counts as a crash.

use std::ops::Range;

use crate::base::limits;
use crate::wire::oplog::Frame;

/// Bytes that a disk writes as one.
const SECTOR: u64 = 512;
/// Fewer bytes than that in a sector can be one bit away from what they should be by chance.
const FEW: usize = 4;

/// What a sector holds of something that lies at `at` of its file.
fn parts(at: u64, len: u64) -> impl Iterator<Item = Range<u64>> {
    let (mut from, end) = (at, at.saturating_add(len));
    core::iter::from_fn(move || {
        let to = end.min((from / SECTOR + 1).saturating_mul(SECTOR));
        let part = (from < to).then_some(from..to);
        from = to;
        part
    })
}

/// Whether a crash, too, could leave what is one bit away from right: all that the wrong byte's sector holds of it is a
/// few bytes, or zeros, as if that sector had not been written.
pub fn doubtful(at: u64, bytes: &[u8], wrong: usize) -> bool {
    let place = at + wrong as u64;
    parts(at, bytes.len() as u64).find(|part| part.contains(&place)).is_some_and(|part| {
        let own = &bytes[(part.start - at) as usize..(part.end - at) as usize];
        own.len() < FEW || own.iter().all(|byte| *byte == 0)
    })
}

/// The parts of something that is right in which a single wrong bit would be doubtful.
pub fn doubtful_parts(at: u64, bytes: &[u8]) -> impl Iterator<Item = Range<u64>> {
    parts(at, bytes.len() as u64).filter(move |part| {
        let own = &bytes[(part.start - at) as usize..(part.end - at) as usize];
        own.len() < FEW || own.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1
    })
}

/// What stands at some place of the oplog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Its checksum holds.
    Whole {
        frame: Frame,
        payload: Vec<u8>,
    },
    /// Its checksum holds if this bit is turned (byte of the record, bit of the byte).
    OneBit {
        frame: Frame,
        payload: Vec<u8>,
        byte: usize,
        bit: u8,
    },
    /// Zeros only, or nothing.
    Blank,
    Other,
}

/// Reads the record at the front of `bytes`, which end where it has to end at the latest. (hypercore.72)
pub fn read(bytes: &[u8]) -> Record {
    if bytes.iter().all(|byte| *byte == 0) {
        return Record::Blank;
    }
    if let Some((frame, payload)) = whole(bytes) {
        return Record::Whole { frame, payload: payload.to_vec() };
    }
    match wrong_bit(bytes) {
        Some((byte, bit)) => {
            let mut mended = bytes.to_vec();
            mended[byte] ^= 1 << bit;
            match whole(&mended) {
                Some((frame, payload)) => Record::OneBit { frame, payload: payload.to_vec(), byte, bit },
                None => Record::Other,
            }
        }
        None => Record::Other,
    }
}

fn whole(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (crc, word) = (number(bytes, 0)?, number(bytes, 4)?);
    let end = Frame::BYTES.checked_add((word >> 2) as usize)?;
    let covered = bytes.get(4..end)?;
    let frame = Frame { crc, len: word >> 2, partial: word & 2 != 0, bit: word & 1 != 0 };
    (crc32fast::hash(covered) == crc).then(|| (frame, &covered[4..]))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// The one bit that is to be turned for the checksum to hold, if there is one.
fn wrong_bit(bytes: &[u8]) -> Option<(usize, u8)> {
    let (crc, word) = (number(bytes, 0)?, number(bytes, 4)?);
    if let Some(covered) = bytes.get(4..Frame::BYTES + (word >> 2) as usize) {
        let wrong = crc ^ crc32fast::hash(covered);
        if wrong.count_ones() == 1 {
            let bit = wrong.trailing_zeros();
            return Some(((bit / 8) as usize, (bit % 8) as u8));
        }
        if covered.len() <= limits::AUDIT_RECORD_SEARCH
            && let Some((byte, bit)) = syndrome(wrong, covered.len())
        {
            return Some((4 + byte, bit));
        }
    }
    // A wrong bit in the length: the checksum is over another number of bytes.
    (2..32_u32).find_map(|bit| {
        let word = word ^ 1 << bit;
        let rest = bytes.get(8..Frame::BYTES + (word >> 2) as usize)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&word.to_le_bytes());
        hasher.update(rest);
        (hasher.finalize() == crc).then_some((4 + (bit / 8) as usize, (bit % 8) as u8))
    })
}

/// Which single bit of `len` bytes changes their CRC-32 by `wrong`: a checksum is linear, so that what a bit changes
/// depends only on how many bytes follow.
fn syndrome(wrong: u32, len: usize) -> Option<(usize, u8)> {
    let mut changes: [u32; 8] = core::array::from_fn(|bit| step(1 << bit));
    for byte in (0..len).rev() {
        if let Some(bit) = changes.iter().position(|change| *change == wrong) {
            return Some((byte, bit as u8));
        }
        changes = changes.map(|change| change >> 8 ^ step(change as u8));
    }
    None
}

/// The CRC's eight steps over one byte.
fn step(byte: u8) -> u32 {
    (0..8).fold(u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded};

    fn record(entropy: &mut Seeded, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..8 + len).map(|_| entropy.u64() as u8).collect();
        bytes[4..8].copy_from_slice(&((len as u32) << 2 | 1).to_le_bytes());
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn any_single_bit_is_found_where_it_is() {
        let mut entropy = Seeded::new(7);
        for len in [0, 1, 30, 300] {
            let mut bytes = record(&mut entropy, len);
            let sound = read(&bytes);
            let Record::Whole { payload: wanted, .. } = &sound else { panic!("{sound:?}") };
            bytes.extend([0; 40]);
            for place in 0..8 * (8 + len) {
                let mut bad = bytes.clone();
                bad[place / 8] ^= 1 << (place % 8);
                let found = read(&bad);
                let Record::OneBit { payload, byte, bit, .. } = found else {
                    panic!("{len} {place} {found:?}")
                };
                assert_eq!((8 * byte + usize::from(bit), &payload), (place, wanted));
            }
        }
    }

    #[test]
    fn what_a_crash_leaves_is_not_one_bit_away() {
        let mut entropy = Seeded::new(8);
        for _ in 0..200 {
            let mut bytes = record(&mut entropy, 200);
            let from = entropy.below(200) as usize;
            bytes[from..].iter_mut().for_each(|byte| *byte = entropy.u64() as u8);
            assert_eq!(read(&bytes), Record::Other);
            bytes[from..].fill(0);
            assert!(matches!(read(&bytes), Record::Other | Record::Blank));
        }
        assert_eq!(read(&[0; 100]), Record::Blank);
        assert_eq!(read(&[]), Record::Blank);
    }
}
