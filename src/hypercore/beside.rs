//! A core that is read beside another process that writes it. Follows hypercore.57.

use super::{Hypercore, Open};
use crate::base::disk::join;
use crate::base::{Cx, Error, Mode};

/// Bytes at the beginning of a header's slot: its checksum, its length and its bits.
const HEAD: usize = 8;
/// Where the other slot begins.
const SLOT: u64 = 4096;

/// What is different in an oplog after whatever was written to the core: its length grows with each entry, and a flush
/// writes a header whose checksum is another.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Stamp {
    length: u64,
    heads: [[u8; HEAD]; 2],
}

impl Stamp {
    pub fn read(cx: &mut Cx<'_>, dir: &str) -> Result<Stamp, Error> {
        let file = cx.disk.open(&join(dir, "oplog"), Mode::Read)?;
        let mut stamp = Stamp::default();
        let read = cx.disk.len(file).and_then(|length| {
            stamp.length = length;
            cx.disk.read_at(file, 0, &mut stamp.heads[0])?;
            cx.disk.read_at(file, SLOT, &mut stamp.heads[1])
        });
        cx.disk.close(file);
        read?;
        Ok(stamp)
    }
}

impl Hypercore {
    /// Takes over what another process has written since this was opened, or looked for it last; only of a core that
    /// was opened for reading. True: it is another length or fork. When nothing was written this reads some bytes and
    /// no more. An error: the other process is about to write; this stays what it was, and can be asked again.
    pub fn refresh(&mut self, cx: &mut Cx<'_>) -> Result<bool, Error> {
        self.check_open()?;
        if !self.read_only {
            return Err(Error::Refused("the core was opened for writing"));
        }
        if Stamp::read(cx, &self.dir)? == self.stamp {
            return Ok(false);
        }
        let open = Open {
            key: Some(*self.key()),
            create: false,
            read_only: true,
            durability: self.durability,
            encryption: self.encryption.clone(),
            ..Open::default()
        };
        let dir = self.dir.clone();
        let mut other = Hypercore::open(cx, &dir, open)?;
        core::mem::swap(self, &mut other);
        other.release(cx);
        let (before, now) = ((other.fork, other.length()), (self.fork, self.length()));
        if before.0 == now.0 {
            self.cuts = core::mem::take(&mut other.cuts);
        }
        Ok(before != now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NoTrace, Seeded, Time};
    use crate::sim::ramdisk::RamDisk;

    #[test]
    fn a_reader_takes_over_what_a_writer_wrote() {
        let (mut disk, mut entropy) = (RamDisk::new(), Seeded::new(1));
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let mut writer = Hypercore::open(&mut cx, "a", Open::default()).expect("a new core");
        let reading = Open { create: false, read_only: true, ..Open::default() };
        let mut reader = Hypercore::open(&mut cx, "a", reading).expect("it is there");
        assert_eq!(writer.refresh(&mut cx), Err(Error::Refused("the core was opened for writing")));
        assert_eq!(reader.refresh(&mut cx), Ok(false));
        // Longer than what the oplog holds, so that it is flushed on the way; some are empty.
        for n in 0..3000_u32 {
            let block = vec![7; (n % 50) as usize];
            writer.append(&mut cx, &[&block]).expect("room");
            if n % 17 == 0 {
                assert_eq!(reader.refresh(&mut cx), Ok(true), "block {n}");
                assert_eq!(reader.refresh(&mut cx), Ok(false));
                assert_eq!(reader.length(), writer.length());
                assert_eq!(reader.tree_hash(), writer.tree_hash());
                assert_eq!(reader.get(&mut cx, u64::from(n)), Ok(Some(block)));
                assert_eq!(reader.get(&mut cx, 3), if n >= 3 { Ok(Some(vec![7; 3])) } else { Ok(None) });
            }
        }
        writer.truncate(&mut cx, 10).expect("its own");
        assert_eq!(reader.refresh(&mut cx), Ok(true));
        assert_eq!((reader.length(), reader.fork()), (10, 1));
        writer.append(&mut cx, &[b"other"]).expect("room");
        assert_eq!(reader.refresh(&mut cx), Ok(true));
        assert_eq!(reader.get(&mut cx, 10), Ok(Some(b"other".to_vec())));
        let before = cx.disk.list("a").expect("files").len();
        assert!(reader.append(&mut cx, &[b"x"]).is_err(), "it is for reading only");
        reader.close(&mut cx).expect("nothing to write");
        assert_eq!(cx.disk.list("a").expect("files").len(), before);
    }
}
