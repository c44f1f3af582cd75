//! The files of a hypercore 10 directory: frames, headers and entries of `oplog`, and the nodes of `tree`.

use core::fmt;

use super::hypercore::Node;
use super::manifest::{DEFAULT_NAMESPACE, Manifest, Signer};
use super::{Cursor, Format, Wire};
use crate::base::{Key, Malformed, Reason, limits};

pub const FORMATS: &[Format] = &[
    super::format::<Frame>(),
    super::format::<Header>(),
    super::format::<Entry>(),
    super::format::<StoredNode>(),
    super::format::<DraftRecord>(),
    super::format::<JournalRecord>(),
];

/// What stands in front of a header or an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// CRC-32 over the next word and the payload.
    pub crc: u32,
    /// Payload bytes in the upper 30 bits.
    pub len: u32,
    /// More entries of the same batch follow.
    pub partial: bool,
    /// Which header it belongs to.
    pub bit: bool,
}

impl Frame {
    /// Bytes of a frame on disk.
    pub const BYTES: usize = 8;

    /// The second word: length and both flags.
    pub const fn word(&self) -> u32 {
        self.len << 2 | (self.partial as u32) << 1 | self.bit as u32
    }
}

impl Wire for Frame {
    const NAME: &'static str = "oplog.frame";
    const RULE: &'static str = "hypercore.31";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u32("crc", &mut self.crc)?;
        let mut word = self.word();
        c.u32("length and flags", &mut word)?;
        (self.len, self.partial, self.bit) = (word >> 2, word & 2 != 0, word & 1 != 0);
        Ok(())
    }
}

/// A key pair as it lies in a header. The secret is never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StoredKeys {
    pub public: Vec<u8>,
    /// Seed and public key (64 bytes), or nothing.
    pub secret: Vec<u8>,
}

impl Drop for StoredKeys {
    fn drop(&mut self) {
        self.secret.fill(0);
    }
}

impl fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKeys({})", crate::base::hex::Hex(&self.public))
    }
}

impl StoredKeys {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.buffer("public key", &mut self.public, 64)?;
        c.buffer("secret key", &mut self.secret, 64)
    }
}

/// A name and its value; the application's, such as the alias of a core in its store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserData {
    pub key: String,
    pub value: Vec<u8>,
}

impl UserData {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.string("user data key", &mut self.key, limits::USER_DATA_MAX)?;
        c.buffer("user data value", &mut self.value, limits::USER_DATA_MAX)
    }
}

/// The tree as it was at the header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeHeader {
    pub fork: u64,
    pub length: u64,
    /// 32 bytes, or nothing for a tree that never had a block.
    pub root_hash: Vec<u8>,
    pub signature: Vec<u8>,
}

impl TreeHeader {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("fork", &mut self.fork)?;
        c.uint("length", &mut self.length)?;
        c.buffer("root hash", &mut self.root_hash, 64)?;
        c.buffer("signature", &mut self.signature, limits::SIGNATURE_MAX)
    }
}

/// A truncation that happened: from which fork to which, and up to where they agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reorg {
    pub from: u64,
    pub to: u64,
    pub ancestors: u64,
}

/// Where a header that is too long for its slot lies in the file `header`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct External {
    pub start: u64,
    pub length: u64,
}

/// All that a core knows besides its blocks and nodes, as of the last flush.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The rest is empty if this is there.
    pub external: Option<External>,
    pub key: Key,
    pub manifest: Option<Manifest>,
    pub key_pair: Option<StoredKeys>,
    pub user_data: Vec<UserData>,
    pub tree: TreeHeader,
    pub reorgs: Vec<Reorg>,
    pub contiguous_length: u64,
}

impl Header {
    fn walk_hints(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.list("reorgs", &mut self.reorgs, limits::REORGS_MAX, 3, |c, reorg| {
            c.uint("from", &mut reorg.from)?;
            c.uint("to", &mut reorg.to)?;
            c.uint("ancestors", &mut reorg.ancestors)
        })?;
        if c.reading() && c.left() == 0 {
            self.contiguous_length = 0; // older writers leave it out
            return Ok(());
        }
        c.uint("contiguous length", &mut self.contiguous_length)
    }

    fn walk_user_data(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.list("user data", &mut self.user_data, limits::ARRAY_MAX, 2, |c, each| each.walk(c))
    }

    /// As the first releases of hypercore 10 wrote it. Only ever read.
    fn walk_v0(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        for field in ["tree type", "bitfield type", "signer type"] {
            c.string(field, &mut String::new(), 64)?;
        }
        self.walk_user_data(c)?;
        self.tree.walk(c)?;
        let mut keys = StoredKeys::default();
        keys.walk(c)?;
        let public: Key = match keys.public[..].try_into() {
            Ok(public) => public,
            Err(_) => return c.refuse("public key", Reason::Illegal { value: keys.public.len() as u64 }),
        };
        self.key = public;
        self.manifest = Some(Manifest {
            version: 0,
            quorum: 1,
            signers: vec![Signer { namespace: DEFAULT_NAMESPACE, public }],
            ..Manifest::default()
        });
        self.key_pair = if keys.secret.is_empty() { None } else { Some(keys) };
        self.walk_hints(c)
    }
}

impl Wire for Header {
    const NAME: &'static str = "oplog.header";
    const RULE: &'static str = "hypercore.60";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("type", "hypercore.10"),
        ("tree hash", "hypercore.10"),
        ("namespace", "hypercore.10"),
        ("hash", "hypercore.11"),
        ("quorum", "hypercore.11"),
        ("signers", "hypercore.11"),
        ("prologue hash", "hypercore.11"),
        ("prologue length", "hypercore.11"),
        ("linked", "hypercore.11"),
        ("linked key", "hypercore.11"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        if !c.reading() {
            c.exactly("version", 1)?;
        } else if c.one_of("version", 1, 2)? == 0 {
            return self.walk_v0(c);
        }
        let flags = match self.external {
            Some(_) => [true, false, false],
            None => [false, self.manifest.is_some(), self.key_pair.is_some()],
        };
        let [external, manifest, key_pair] = c.bits("flags", flags)?;
        c.when(external, &mut self.external, |c, external| {
            c.uint("start", &mut external.start)?;
            c.uint("length", &mut external.length)
        })?;
        if external {
            return Ok(());
        }
        c.fixed("key", &mut self.key)?;
        c.when(manifest, &mut self.manifest, |c, manifest| manifest.walk(c))?;
        c.when(key_pair, &mut self.key_pair, |c, keys| keys.walk(c))?;
        self.walk_user_data(c)?;
        self.tree.walk(c)?;
        self.walk_hints(c)
    }
}

/// A tree got longer, or was cut.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TreeUpgrade {
    pub fork: u64,
    /// How many blocks the old and the new tree share.
    pub ancestors: u64,
    pub length: u64,
    pub signature: Vec<u8>,
}

/// Blocks that are there now, or (`drop`) no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BitfieldUpdate {
    pub drop: bool,
    pub start: u64,
    pub length: u64,
}

/// One change of a core since its header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    pub user_data: Option<UserData>,
    pub nodes: Vec<Node>,
    pub upgrade: Option<TreeUpgrade>,
    pub bitfield: Option<BitfieldUpdate>,
}

impl Wire for Entry {
    const NAME: &'static str = "oplog.entry";
    const RULE: &'static str = "hypercore.61";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let flags = [
            self.user_data.is_some(),
            !self.nodes.is_empty(),
            self.upgrade.is_some(),
            self.bitfield.is_some(),
        ];
        let [user_data, nodes, upgrade, bitfield] = c.bits("flags", flags)?;
        c.when(user_data, &mut self.user_data, |c, each| each.walk(c))?;
        if nodes {
            c.list("nodes", &mut self.nodes, limits::ARRAY_MAX, 34, |c, node| node.walk(c))?;
        } else {
            self.nodes.clear();
        }
        c.when(upgrade, &mut self.upgrade, |c, upgrade| {
            c.uint("fork", &mut upgrade.fork)?;
            c.uint("ancestors", &mut upgrade.ancestors)?;
            c.uint("length", &mut upgrade.length)?;
            c.buffer("signature", &mut upgrade.signature, limits::SIGNATURE_MAX)
        })?;
        c.when(bitfield, &mut self.bitfield, |c, update| {
            [update.drop] = c.bits("bitfield flags", [update.drop])?;
            c.uint("start", &mut update.start)?;
            c.uint("blocks", &mut update.length)
        })
    }
}

/// A node in the file `tree`, at 40 times its index. All zero: absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredNode {
    pub size: u64,
    pub hash: Key,
}

impl StoredNode {
    pub const BYTES: usize = 40;
}

impl Wire for StoredNode {
    const NAME: &'static str = "oplog.node";
    const RULE: &'static str = "hypercore.38";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u64("size", &mut self.size)?;
        c.fixed("hash", &mut self.hash)
    }
}

/// What one change wrote into `oplog` and `data`. Ours.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JournalRecord {
    /// Of the header that the entries follow.
    pub header: Key,
    /// Bytes from the beginning of the entries to where these begin.
    pub at: u64,
    /// As they are in `oplog`, with their frames.
    pub entries: Vec<u8>,
    /// Where in `data` the bytes begin.
    pub data_at: u64,
    pub data: Vec<u8>,
}

impl Wire for JournalRecord {
    const NAME: &'static str = "oplog.journal";
    const RULE: &'static str = "hypercore.152";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("header hash", &mut self.header)?;
        c.uint("entries at", &mut self.at)?;
        c.buffer("entries", &mut self.entries, limits::JOURNAL_BYTES as usize)?;
        c.uint("bytes at", &mut self.data_at)?;
        c.buffer("bytes", &mut self.data, limits::JOURNAL_BLOCKS)
    }
}

/// A change of a draft: it has `length` blocks, and then these more. Ours.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DraftRecord {
    pub length: u64,
    /// Of the tree of that length.
    pub hash: Key,
    pub blocks: Vec<Vec<u8>>,
}

impl DraftRecord {
    /// Bytes in front of a block of `len` bytes.
    pub fn prefix(len: usize) -> u64 {
        super::compact::uint_bytes(len as u64).1 as u64
    }
}

impl Wire for DraftRecord {
    const NAME: &'static str = "oplog.draft";
    const RULE: &'static str = "hypercore.104";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("length", &mut self.length)?;
        c.fixed("tree hash", &mut self.hash)?;
        c.list("blocks", &mut self.blocks, limits::APPEND_MAX, 1, |c, block| {
            c.buffer("block", block, limits::BLOCK_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seeded;
    use crate::wire::{decode, encode, invent};

    #[test]
    fn invented_entries_and_headers_come_back() {
        for seed in 0..300 {
            let entry: Entry = invent(&mut Seeded::new(seed));
            assert_eq!(decode::<Entry>(&encode(&entry)), Ok(entry));
            let header: Header = invent(&mut Seeded::new(seed));
            let bytes = encode(&header);
            assert_eq!(encode(&decode::<Header>(&bytes).expect("legal")), bytes);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let keys = StoredKeys { public: vec![1; 32], secret: vec![0xab; 64] };
        assert!(!format!("{keys:?}").contains("abab"));
    }
}
