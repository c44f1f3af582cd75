//! Formats of hypercore replication: the channel's handshake, the ten messages (replication.1 to
//! replication.10), and the
//! tree node that they carry.

use super::manifest::Manifest;
use super::{Cursor, Format, Wire, format};
use crate::base::{Key, Malformed, limits};

/// The number of a message on the channel.
pub mod kind {
    pub const SYNC: u64 = 0;
    pub const REQUEST: u64 = 1;
    pub const CANCEL: u64 = 2;
    pub const DATA: u64 = 3;
    pub const NO_DATA: u64 = 4;
    pub const WANT: u64 = 5;
    pub const UNWANT: u64 = 6;
    pub const BITFIELD: u64 = 7;
    pub const RANGE: u64 = 8;
    pub const EXTENSION: u64 = 9;
}

/// Reason of a NO_DATA: none that counts against the sender.
pub const NO_REASON: u64 = 0;
/// Reason of a NO_DATA: the sender does not have it.
pub const NOT_AVAILABLE: u64 = 1;
/// Reason of a NO_DATA: the request makes no sense.
pub const INVALID_REQUEST: u64 = 2;

pub const FORMATS: &[Format] = &[
    format::<Node>(),
    format::<Handshake>(),
    format::<Sync>(),
    format::<Request>(),
    format::<Cancel>(),
    format::<Data>(),
    format::<NoData>(),
    format::<Want>(),
    format::<Bitfield>(),
    format::<Range>(),
    format::<Extension>(),
    format::<RemoteProof>(),
];

/// A node of the Merkle tree. `size` is the number of bytes of the blocks below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub index: u64,
    pub size: u64,
    pub hash: Key,
}

impl Wire for Node {
    const NAME: &'static str = "hypercore.node";
    const RULE: &'static str = "replication.5";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("index", &mut self.index)?;
        c.uint("size", &mut self.size)?;
        c.fixed("hash", &mut self.hash)
    }
}

/// A node takes at least an index, a size and a hash.
const NODE_LEAST: usize = 34;

fn nodes(c: &mut Cursor<'_>, field: &'static str, nodes: &mut Vec<Node>) -> Result<(), Malformed> {
    c.list(field, nodes, limits::PROOF_NODES_MAX, NODE_LEAST, |c, node| node.walk(c))
}

/// Opens the channel: proves that the sender knows the core's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The sender answers requests with a seek.
    pub seeks: bool,
    pub capability: Key,
}

impl Wire for Handshake {
    const NAME: &'static str = "hypercore.handshake";
    const RULE: &'static str = "replication.1";
    const RULES: &'static [(&'static str, &'static str)] = &[("capability", "replication.12")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        [self.seeks] = c.bits("flags", [self.seeks])?;
        c.fixed("capability", &mut self.capability)
    }
}

/// What the sender has and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    pub fork: u64,
    pub length: u64,
    /// The receiver's length as far as the sender knows it; 0 if they are on different forks.
    pub remote_length: u64,
    /// The sender can prove its length to somebody who has the receiver's.
    pub can_upgrade: bool,
    pub uploading: bool,
    pub downloading: bool,
    pub has_manifest: bool,
    pub allow_push: bool,
}

impl Wire for Sync {
    const NAME: &'static str = "hypercore.sync";
    const RULE: &'static str = "replication.2";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let flags = [self.can_upgrade, self.uploading, self.downloading, self.has_manifest, self.allow_push];
        [self.can_upgrade, self.uploading, self.downloading, self.has_manifest, self.allow_push] =
            c.bits("flags", flags)?;
        c.uint("fork", &mut self.fork)?;
        c.uint("length", &mut self.length)?;
        c.uint("remote length", &mut self.remote_length)
    }
}

/// Which block (or, in a hash request, which tree node) is asked for, and how much proof with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The block's number; the node's in a hash request.
    pub index: u64,
    /// How many levels up the first node is that the asker has.
    pub nodes: u64,
}

impl Wanted {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("index", &mut self.index)?;
        c.uint("nodes", &mut self.nodes)
    }
}

/// Where the byte with that offset is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seek {
    pub bytes: u64,
    /// Bytes at the front of each block that do not count.
    pub padding: u64,
}

/// From which length, by how many blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grow {
    pub start: u64,
    pub length: u64,
}

/// Asks for blocks, proofs, or the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    pub fork: u64,
    pub block: Option<Wanted>,
    pub hash: Option<Wanted>,
    pub seek: Option<Seek>,
    pub upgrade: Option<Grow>,
    pub manifest: bool,
    /// 0 is usual and not sent.
    pub priority: u64,
}

impl Wire for Request {
    const NAME: &'static str = "hypercore.request";
    const RULE: &'static str = "replication.3";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let flags = [
            self.block.is_some(),
            self.hash.is_some(),
            self.seek.is_some(),
            self.upgrade.is_some(),
            self.manifest,
            self.priority != 0,
        ];
        let [block, hash, seek, upgrade, manifest, priority] = c.bits("flags", flags)?;
        self.manifest = manifest;
        c.uint("id", &mut self.id)?;
        c.uint("fork", &mut self.fork)?;
        c.when(block, &mut self.block, |c, v| v.walk(c))?;
        c.when(hash, &mut self.hash, |c, v| v.walk(c))?;
        c.when(seek, &mut self.seek, |c, v| {
            c.uint("bytes", &mut v.bytes)?;
            c.uint("padding", &mut v.padding)
        })?;
        c.when(upgrade, &mut self.upgrade, |c, v| {
            c.uint("start", &mut v.start)?;
            c.uint("length", &mut v.length)
        })?;
        if priority {
            c.uint("priority", &mut self.priority)?;
        }
        Ok(())
    }
}

/// Takes a request back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cancel {
    pub request: u64,
}

impl Wire for Cancel {
    const NAME: &'static str = "hypercore.cancel";
    const RULE: &'static str = "replication.4";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("request", &mut self.request)
    }
}

/// A block and the nodes that lead from it to one that the asker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataBlock {
    pub index: u64,
    pub value: Vec<u8>,
    pub nodes: Vec<Node>,
}

/// A tree node (the first of `nodes`) and those that lead from it to one that the asker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataHash {
    pub index: u64,
    pub nodes: Vec<Node>,
}

/// The nodes around a byte offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataSeek {
    pub bytes: u64,
    pub nodes: Vec<Node>,
}

/// The nodes that make a tree of `start` blocks one of `start + length`, those that make that the sender's whole tree,
/// and the signature of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataUpgrade {
    pub start: u64,
    pub length: u64,
    pub nodes: Vec<Node>,
    pub additional: Vec<Node>,
    pub signature: Option<Vec<u8>>,
}

/// Answers a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// 0: nobody asked.
    pub request: u64,
    pub fork: u64,
    pub block: Option<DataBlock>,
    pub hash: Option<DataHash>,
    pub seek: Option<DataSeek>,
    pub upgrade: Option<DataUpgrade>,
    pub manifest: Option<Manifest>,
}

impl Wire for Data {
    const NAME: &'static str = "hypercore.data";
    const RULE: &'static str = "replication.5";
    const RULES: &'static [(&'static str, &'static str)] = &[
        // Before it in a `RemoteProof`.
        ("discovery key", "hypercore.99"),
        ("version", "hypercore.11"),
        ("type", "hypercore.10"),
        ("tree hash", "hypercore.10"),
        ("namespace", "hypercore.10"),
        ("public key", "hypercore.10"),
        ("quorum", "hypercore.11"),
        ("signers", "hypercore.11"),
        ("prologue hash", "hypercore.11"),
        ("prologue length", "hypercore.11"),
        ("linked", "hypercore.11"),
        ("linked key", "hypercore.11"),
        ("user data", "hypercore.11"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let flags = [
            self.block.is_some(),
            self.hash.is_some(),
            self.seek.is_some(),
            self.upgrade.is_some(),
            self.manifest.is_some(),
        ];
        let [block, hash, seek, upgrade, manifest] = c.bits("flags", flags)?;
        c.uint("request", &mut self.request)?;
        c.uint("fork", &mut self.fork)?;
        c.when(block, &mut self.block, |c, v| {
            c.uint("index", &mut v.index)?;
            c.buffer("value", &mut v.value, limits::BLOCK_WIRE_MAX)?;
            nodes(c, "nodes", &mut v.nodes)
        })?;
        c.when(hash, &mut self.hash, |c, v| {
            c.uint("index", &mut v.index)?;
            nodes(c, "nodes", &mut v.nodes)
        })?;
        c.when(seek, &mut self.seek, |c, v| {
            c.uint("bytes", &mut v.bytes)?;
            nodes(c, "nodes", &mut v.nodes)
        })?;
        c.when(upgrade, &mut self.upgrade, |c, v| {
            c.uint("start", &mut v.start)?;
            c.uint("length", &mut v.length)?;
            nodes(c, "nodes", &mut v.nodes)?;
            nodes(c, "additional nodes", &mut v.additional)?;
            c.optional_buffer("signature", &mut v.signature, limits::TREE_SIGNATURE_MAX)
        })?;
        c.when(manifest, &mut self.manifest, |c, v| v.walk(c))
    }
}

/// An answer that nobody asked for, to somebody who has the core's key and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteProof {
    pub discovery_key: Key,
    pub data: Data,
}

impl Wire for RemoteProof {
    const NAME: &'static str = "hypercore.remote_proof";
    const RULE: &'static str = "replication.5";
    const RULES: &'static [(&'static str, &'static str)] = Data::RULES;
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("discovery key", &mut self.discovery_key)?;
        self.data.walk(c)
    }
}

/// The answer to a request that cannot be satisfied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoData {
    pub request: u64,
    /// 0 if none is given.
    pub reason: u64,
}

impl Wire for NoData {
    const NAME: &'static str = "hypercore.no_data";
    const RULE: &'static str = "replication.6";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("request", &mut self.request)?;
        if c.reading() && c.left() == 0 {
            self.reason = 0;
            return Ok(());
        }
        let [reason] = c.bits("flags", [self.reason != 0])?;
        if reason {
            c.uint("reason", &mut self.reason)?;
        }
        Ok(())
    }
}

/// The sender wants to hear which of these blocks the receiver has (WANT), or no longer does (UNWANT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    pub start: u64,
    pub length: u64,
    /// One of them is enough.
    pub any: bool,
}

impl Wire for Want {
    const NAME: &'static str = "hypercore.want";
    const RULE: &'static str = "replication.7";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("start", &mut self.start)?;
        c.uint("length", &mut self.length)?;
        let there = if c.reading() { c.left() > 0 } else { self.any };
        self.any = false;
        if there {
            [self.any] = c.bits("flags", [true])?;
        }
        Ok(())
    }
}

/// Which blocks from `start` on the sender has: bit `i` of word `w` is block `start + 32·w + i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitfield {
    pub start: u64,
    pub words: Vec<u32>,
}

impl Wire for Bitfield {
    const NAME: &'static str = "hypercore.bitfield";
    const RULE: &'static str = "replication.8";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("start", &mut self.start)?;
        c.list("words", &mut self.words, limits::BITFIELD_WORDS_MAX, 4, |c, word| c.u32("word", word))
    }
}

/// The sender has these blocks, or has them no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub drop: bool,
    pub start: u64,
    pub length: u64,
}

impl Wire for Range {
    const NAME: &'static str = "hypercore.range";
    const RULE: &'static str = "replication.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let [drop, single] = c.bits("flags", [self.drop, self.length == 1])?;
        self.drop = drop;
        c.uint("start", &mut self.start)?;
        if single {
            self.length = 1;
            return Ok(());
        }
        c.uint("length", &mut self.length)
    }
}

/// A message of the programs above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Empty: the same as in the sender's last one.
    pub name: String,
    pub message: Vec<u8>,
}

impl Wire for Extension {
    const NAME: &'static str = "hypercore.extension";
    const RULE: &'static str = "replication.10";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.string("name", &mut self.name, limits::EXTENSION_NAME_MAX)?;
        c.raw("message", &mut self.message, limits::BLOCK_WIRE_MAX)
    }
}

#[cfg(test)]
mod tests;
