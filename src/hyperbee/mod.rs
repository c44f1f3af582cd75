//! A sorted map inside an append-only log, byte for byte as the hyperbee package writes it.
//!
//! Every put or deletion appends one block: key, value, and the nodes of a B-tree that it changed. Older blocks stay
//! as they are, so that every length of the log is a version of the map. `mod.rs` reads, `edit.rs` writes, `cursor.rs`
//! walks in order, `diff.rs` two versions side by side, `history.rs` in time, `cache.rs` keeps decoded blocks. Follows
//! hyperbee.10 to hyperbee.61.

pub mod ahead;
pub mod audit;
mod cache;
mod cursor;
mod diff;
mod edit;
mod history;
pub mod sub;
mod unlinked;
mod watch;

use crate::base::{Cx, Error, limits};
use crate::hypercore::Hypercore;
use crate::wire::hyperbee::{AskGet, Header, Level};
use crate::wire::{decode, encode};
use cache::{Block, Cache};

pub use cursor::{Cursor, Range};
pub use diff::{Diff, Difference};
pub use edit::{Batch, BatchCursor};
pub use history::{Change, Extent, History};
pub use sub::Sub;
pub use unlinked::Unlinked;
pub use watch::{Changed, EntryWatch, Watch};

/// The first field of a header.
pub const PROTOCOL: &str = "hyperbee";

/// What a tree lives in.
pub trait Log {
    /// How many blocks there are; a version of the tree is such a length.
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Grows whenever blocks were taken back and may have become others.
    fn fork(&self) -> u64 {
        0
    }
    /// `Ok(None)` if that block is not here (yet).
    fn block(&mut self, cx: &mut Cx<'_>, seq: u64) -> Result<Option<Vec<u8>>, Error>;
    /// Whether that block is here.
    fn has(&self, seq: u64) -> bool {
        seq < self.len()
    }
    /// Appends in one step.
    fn append(&mut self, cx: &mut Cx<'_>, blocks: &[Vec<u8>]) -> Result<(), Error>;
}

impl Log for Hypercore {
    fn len(&self) -> u64 {
        self.length()
    }
    fn fork(&self) -> u64 {
        Hypercore::fork(self)
    }
    fn block(&mut self, cx: &mut Cx<'_>, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        self.get(cx, seq)
    }
    fn has(&self, seq: u64) -> bool {
        Hypercore::has(self, seq)
    }
    fn append(&mut self, cx: &mut Cx<'_>, blocks: &[Vec<u8>]) -> Result<(), Error> {
        Hypercore::append(self, cx, blocks).map(|_| ())
    }
}

/// A key with its value, and the block that they are in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub seq: u64,
    pub key: Vec<u8>,
    /// A key may be there without a value.
    pub value: Option<Vec<u8>>,
}

/// Reads and writes the tree of one log; the same log in every call.
///
/// Commands: `get`, `get_at`, `put`, `put_if`, `del`, `del_if`, `batch`, `range`, `peek`, `diff`, `history`,
/// `get_by_seq`, `unlinked`, `header`, `is_hyperbee`. A block that is
/// not here makes them fail with `Error::Missing` and nothing is changed; `missing` names it. A tree that contradicts
/// itself (a hostile writer's) is `Error::Corrupt` or `Error::Malformed`, never a loop. What peers can
/// be asked is in `ahead.rs`.
#[derive(Debug, Default)]
pub struct Bee {
    cache: Cache,
    fork: u64,
    missing: Option<u64>,
    /// What the last read is short of that failed with `Error::Missing`.
    lacking: ahead::Lacking,
    /// While a peer's question is answered: what the answer is about.
    visited: Option<ahead::Visited>,
    metadata: Option<crate::wire::hyperbee::Metadata>,
}

/// Where a node of the tree is: a block and the place in its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    seq: u64,
    offset: u64,
}

/// What a search ends with.
enum Found {
    /// The block that holds the key.
    Here(u64),
    Nowhere,
}

impl Bee {
    pub fn new() -> Bee {
        Bee::default()
    }

    /// A tree whose header will carry `metadata`, if this writes it.
    pub fn with_metadata(metadata: crate::wire::hyperbee::Metadata) -> Bee {
        Bee { metadata: Some(metadata), ..Bee::default() }
    }

    /// What the header will carry, if this writes it.
    pub fn set_metadata(&mut self, metadata: Option<crate::wire::hyperbee::Metadata>) {
        self.metadata = metadata;
    }

    /// The block whose absence made the last call fail with `Error::Missing`.
    pub fn missing(&self) -> Option<u64> {
        self.missing
    }

    /// Block 0 of the log; `None` if the log is empty.
    pub fn header(&mut self, cx: &mut Cx<'_>, log: &mut impl Log) -> Result<Option<Header>, Error> {
        if log.is_empty() {
            return Ok(None);
        }
        match log.block(cx, 0)? {
            Some(block) => Ok(Some(decode(&block)?)),
            None => Err(self.not_here(0)),
        }
    }

    /// The newest entry of `key`.
    pub fn get(&mut self, cx: &mut Cx<'_>, log: &mut impl Log, key: &[u8]) -> Result<Option<Entry>, Error> {
        let version = log.len();
        self.get_at(cx, log, version, key)
    }

    /// The entry of `key` as it was when the log had `version` blocks; a version above the log's length is
    /// `Error::Missing`, and versions 0 and 1 are empty (hyperbee.30).
    pub fn get_at(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        version: u64,
        key: &[u8],
    ) -> Result<Option<Entry>, Error> {
        self.start(log, version)?;
        let Some(spot) = root(version) else { return Ok(None) };
        let found = match self.search(cx, log, spot, version, key) {
            Ok(Found::Nowhere) => Ok(None),
            Ok(Found::Here(seq)) => self.entry(cx, log, version, seq).map(Some),
            Err(error) => Err(error),
        };
        if found == Err(Error::Missing) && self.visited.is_none() {
            let question = AskGet { version, key: Some(key.to_vec()) };
            self.lacking.question = Some(ahead::Question::Get(question));
        }
        found
    }

    /// Sets `key`. Returns the block that it went into. The header is appended first if the log is empty.
    pub fn put(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let seq = self.put_if(cx, log, key, value, |_| true)?;
        Ok(seq.expect("nothing refuses this put"))
    }

    /// Like `put`, unless the key is there and `allow` refuses to replace that entry: then nothing is appended.
    pub fn put_if(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        key: &[u8],
        value: Option<&[u8]>,
        mut allow: impl FnMut(&Entry) -> bool,
    ) -> Result<Option<u64>, Error> {
        let mut batch = self.batch(cx, log)?;
        let seq = batch.put_if(cx, self, log, key, value, &mut allow)?;
        batch.flush(cx, self, log)?;
        Ok(seq)
    }

    /// Removes `key`; false if it was not there. The header is appended even then if the log is empty (hyperbee.23).
    pub fn del(&mut self, cx: &mut Cx<'_>, log: &mut impl Log, key: &[u8]) -> Result<bool, Error> {
        self.del_if(cx, log, key, |_| true)
    }

    /// Like `del`, unless `allow` refuses to remove the entry.
    pub fn del_if(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        key: &[u8],
        mut allow: impl FnMut(&Entry) -> bool,
    ) -> Result<bool, Error> {
        let mut batch = self.batch(cx, log)?;
        let gone = batch.del_if(cx, self, log, key, &mut allow)?;
        batch.flush(cx, self, log)?;
        Ok(gone)
    }

    /// Begins a batch: operations that are appended in one step by `Batch::flush`.
    pub fn batch(&mut self, cx: &mut Cx<'_>, log: &mut impl Log) -> Result<Batch, Error> {
        if log.is_empty() {
            // hyperbee.10: the header goes first, in a step of its own.
            let header = Header { protocol: PROTOCOL.to_owned(), metadata: self.metadata.clone() };
            log.append(cx, &[encode(&header)])?;
        }
        let version = log.len();
        self.start(log, version)?;
        Ok(Batch::new(version))
    }

    /// The entries of `range` in order, as of `version`; see `Cursor`.
    pub fn range(&self, version: u64, range: Range) -> Cursor {
        Cursor::new(version, range)
    }

    /// The first entry of `range`.
    pub fn peek(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        range: Range,
    ) -> Result<Option<Entry>, Error> {
        self.range(log.len(), range).next(cx, self, log)
    }

    /// Whether block 0 is the header of such a tree; an empty log has none yet. (hyperbee.49)
    pub fn is_hyperbee(&mut self, cx: &mut Cx<'_>, log: &mut impl Log) -> Result<bool, Error> {
        match self.header(cx, log) {
            Ok(header) => Ok(header.is_some_and(|header| header.protocol == PROTOCOL)),
            Err(Error::Malformed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The operations of the blocks below `version`, oldest first; see `History`.
    pub fn history(&self, version: u64) -> History {
        History::new(version, &Extent::all()).expect("not a live one")
    }

    /// Those of `extent`, or `Error::Invalid` if it is live and backwards.
    pub fn history_in(&self, version: u64, extent: &Extent) -> Result<History, Error> {
        History::new(version, extent)
    }

    /// What differs between two versions of this log, within `range`: `left` is what is asked about, `right` what it
    /// is compared with. See `Diff`.
    pub fn diff(&self, left: u64, right: u64, range: Range) -> Diff {
        Diff::new(left, right, range)
    }

    fn start(&mut self, log: &impl Log, version: u64) -> Result<(), Error> {
        if self.fork != log.fork() {
            self.fork = log.fork();
            self.cache = Cache::default();
        }
        if version > log.len() {
            self.missing = Some(version - 1);
            return Err(Error::Missing);
        }
        Ok(())
    }

    /// Follows hyperbee.32.
    fn not_here(&mut self, seq: u64) -> Error {
        self.missing = Some(seq);
        Error::Missing
    }

    /// hyperbee.20: down from `spot` by comparing bytes. (hyperbee.34, hyperbee.36)
    fn search(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        mut spot: Spot,
        version: u64,
        key: &[u8],
    ) -> Result<Found, Error> {
        for _ in 0..limits::HYPERBEE_DEPTH_MAX {
            let level = self.level(cx, log, version, spot)?.clone();
            let (mut low, mut high) = (0, level.keys.len());
            while low < high {
                let middle = (low + high) / 2;
                let seq = level.keys[middle];
                match key.cmp(&self.block(cx, log, version, seq)?.key) {
                    core::cmp::Ordering::Equal => return Ok(Found::Here(seq)),
                    core::cmp::Ordering::Less => high = middle,
                    core::cmp::Ordering::Greater => low = middle + 1,
                }
            }
            match child(&level, low) {
                None => return Ok(Found::Nowhere),
                Some(next) => spot = next,
            }
        }
        Err(TOO_DEEP)
    }

    fn entry(&mut self, cx: &mut Cx<'_>, log: &mut impl Log, version: u64, seq: u64) -> Result<Entry, Error> {
        let block = self.block(cx, log, version, seq)?;
        Ok(Entry { seq, key: block.key.clone(), value: block.value.clone() })
    }

    /// The decoded block `seq`, which must lie between the header and `version`.
    fn block(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        version: u64,
        seq: u64,
    ) -> Result<&mut Block, Error> {
        if seq == 0 || seq >= version {
            return Err(Error::Corrupt("a hyperbee refers to a block outside its version"));
        }
        if let Some(visited) = &mut self.visited {
            visited.note(seq);
        }
        if !self.cache.has(seq) {
            let Some(bytes) = log.block(cx, seq)? else { return Err(self.not_here(seq)) };
            self.cache.put(seq, Block::new(decode(&bytes)?));
        }
        Ok(self.cache.get(seq).expect("it was there, or was just put"))
    }

    fn level(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        version: u64,
        spot: Spot,
    ) -> Result<&Level, Error> {
        self.block(cx, log, version, spot.seq)?;
        self.cache.level(spot.seq, spot.offset)
    }
}

const TOO_DEEP: Error = Error::Corrupt("a hyperbee deeper than its size allows");

/// hyperbee.11: the root is the first node of the last block; the header alone is an empty tree.
fn root(version: u64) -> Option<Spot> {
    if version < 2 { None } else { Some(Spot { seq: version - 1, offset: 0 }) }
}

fn child(level: &Level, index: usize) -> Option<Spot> {
    let pair = level.children.get(2 * index..2 * index + 2)?;
    Some(Spot { seq: pair[0], offset: pair[1] })
}

/// A node has no children, or one more than keys (hyperbee.7).
fn check_level(level: &Level) -> Result<(), Error> {
    let inner = level.children.len() == 2 * (level.keys.len() + 1);
    if level.children.is_empty() || inner { Ok(()) } else { Err(Error::Corrupt("a node of a hyperbee")) }
}

#[cfg(test)]
mod tests;
