//! A named draft: blocks behind a core's, not signed yet, kept in a file of their own, and put into the core as one
//! append. Follows hypercore.103 to hypercore.106.
//!
//! A draft holds its own blocks and nodes; what is below its base it reads from the core. Before `commit` nothing of it
//! is in the core's files, and no peer hears of it.

use std::collections::BTreeMap;

use super::oplog::{read_frame, seal};
use super::tree::Roots;
use super::{Durability, Hypercore, flat_tree, tree};
use crate::base::disk::join;
use crate::base::{Cx, Error, FileId, Mode, hex, limits, trace};
use crate::wire::hypercore::Node;
use crate::wire::oplog::{DraftRecord, Frame};
use crate::wire::{decode, encode_into};

/// Bytes of a first record at most.
const FIRST_MAX: u64 = 64;

/// A draft, open. Commands: `append`, `truncate`, `get`, `commit`, `close`, `remove`. Each takes the core that it was
/// opened on.
pub struct Draft {
    pub(super) path: String,
    file: FileId,
    /// Bytes of the valid records.
    pub(super) end: u64,
    /// The blocks below it are the core's.
    base: u64,
    /// The fork of the core that these are of.
    fork: u64,
    roots: Roots,
    /// Of the blocks from the base on.
    nodes: BTreeMap<u64, Node>,
    /// Where these blocks are in the file, and how long each is.
    places: Vec<(u64, u32)>,
}

impl Draft {
    /// Opens the draft `name` of a core, or begins it where the core ends now. (hypercore.103)
    ///
    /// `Gone`: it was begun on blocks that the core has cut since; `remove_of` does away with it. `Refused` if the core
    /// was opened for reading only.
    pub fn open(cx: &mut Cx<'_>, core: &mut Hypercore, name: &str) -> Result<Draft, Error> {
        core.check_write()?;
        let path = path(core, name)?;
        let file = cx.disk.open(&path, Mode::Write)?;
        let mut draft = Draft {
            path,
            file,
            end: 0,
            base: core.length(),
            fork: core.fork(),
            roots: core.roots.clone(),
            nodes: BTreeMap::new(),
            places: Vec::new(),
        };
        let opened = draft.resume(cx, core);
        if opened.is_err() {
            cx.disk.close(file);
        }
        opened.map(|()| draft)
    }

    fn resume(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) -> Result<(), Error> {
        let found = self.records(cx)?;
        let Some(base) = found.iter().map(|(record, _)| record.length).min() else {
            if cx.disk.len(self.file)? > FIRST_MAX {
                return Err(Error::Corrupt("draft: the first record")); // more than a crash leaves of one
            }
            let first = self.record(core, self.base, &[] as &[&[u8]])?;
            return self.write(cx, core, first).map(|_| ());
        };
        // What came before the draft was last cut to its base is not in it any more.
        let from = found.iter().rposition(|(record, _)| record.length == base).unwrap_or(0);
        if base > core.length() || core.tree_hash_at(cx, base)? != found[from].0.hash {
            return Err(Error::Gone);
        }
        (self.base, self.roots) = (base, core.roots_at(cx, base)?);
        for (record, end) in found.into_iter().skip(from) {
            self.cut(cx, core, record.length)?;
            if self.roots.hash() != record.hash {
                return Err(Error::Corrupt("draft: a record of another tree"));
            }
            self.take(&record.blocks, end);
        }
        Ok(())
    }

    /// The records of the file, up to the first that is not whole, and where each ends. (hypercore.104)
    fn records(&mut self, cx: &mut Cx<'_>) -> Result<Vec<(DraftRecord, u64)>, Error> {
        let len = cx.disk.len(self.file)?;
        let mut found = Vec::new();
        while let Some((frame, payload)) = read_frame(cx.disk, self.file, self.end, len - self.end)? {
            let Ok(record) = decode::<DraftRecord>(&payload) else { break };
            self.end += Frame::BYTES as u64 + u64::from(frame.len);
            found.push((record, self.end));
        }
        Ok(found)
    }

    /// Blocks, also those of the core below.
    pub fn length(&self) -> u64 {
        self.roots.length()
    }

    /// Bytes of all blocks, with padding.
    pub fn byte_length(&self) -> u64 {
        self.roots.byte_length()
    }

    /// How many blocks are the core's own.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The hash of the tree that a commit signs.
    pub fn tree_hash(&self) -> crate::base::Key {
        self.roots.hash()
    }

    /// A block. None if it is the core's and not here. `Gone`: the core was cut below the draft's base since.
    pub fn get(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        index: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.check(core)?;
        if index < self.base {
            return core.get(cx, index);
        }
        if index >= self.length() {
            return Ok(None);
        }
        let block = self.read(cx, index)?;
        core.decrypted(index, block).map(Some)
    }

    /// Adds blocks, encrypted if the core has a key for that. Returns the index of the first. They are as safe as
    /// those of the core. (hypercore.104)
    pub fn append<B: AsRef<[u8]>>(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        blocks: &[B],
    ) -> Result<u64, Error> {
        self.check(core)?;
        let first = self.length();
        if blocks.is_empty() {
            return Ok(first);
        }
        if blocks.len() > limits::APPEND_MAX || first + blocks.len() as u64 > limits::BLOCKS_MAX {
            return Err(Error::Invalid("too many blocks at once"));
        }
        let sealed = core.sealed_at(first, blocks);
        let record = match &sealed {
            Some(sealed) => self.record(core, first, sealed)?,
            None => self.record(core, first, blocks)?,
        };
        let record = self.write(cx, core, record)?;
        self.take(&record.blocks, self.end);
        Ok(first)
    }

    /// Cuts the draft, also below its base, but not below the core's prologue.
    pub fn truncate(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, length: u64) -> Result<(), Error> {
        self.check(core)?;
        if length > self.length() {
            return Err(Error::Invalid("longer than the draft"));
        }
        if core.auth().is_some_and(|auth| length < auth.prologue_length()) {
            return Err(Error::Refused("not the prologue of the manifest"));
        }
        let before = (self.base, self.roots.clone());
        let roots = self.roots_at(cx, core, length)?;
        let record = DraftRecord { length, hash: roots.hash(), blocks: Vec::new() };
        self.write(cx, core, record)?;
        self.cut(cx, core, length).inspect_err(|_| (self.base, self.roots) = before)
    }

    /// Puts the first `length` blocks of the draft into the core: what the core lacks of them is appended and signed
    /// once, by the core's key pair or with a signature that is given. Returns the index of the first. (hypercore.105)
    ///
    /// `Refused`: the core went another way, is longer than that, or may not be signed here; `Invalid`: longer than
    /// the draft.
    pub fn commit(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        length: u64,
        signature: Option<&[u8]>,
    ) -> Result<u64, Error> {
        self.check(core)?;
        let first = core.length();
        if length > self.length() {
            return Err(Error::Invalid("longer than the draft"));
        }
        if first > length || self.roots_at(cx, core, first)?.hash() != core.tree_hash() {
            return Err(Error::Refused("the core went another way than the draft"));
        }
        let mut blocks = Vec::new();
        for index in first..length {
            blocks.push(self.read(cx, index)?);
        }
        core.put(cx, &blocks, signature)?;
        trace!(cx, State, "hypercore", part: "", rule: "hypercore.105", "blocks {first} to {length} out of a draft");
        if length == self.length() {
            // All of it is the core's: the file begins anew. A crash in between finds a draft that is in the core.
            (self.base, self.fork, self.roots) = (length, core.fork(), core.roots.clone());
            self.nodes.clear();
            self.places.clear();
            self.end = 0;
            let record = self.record(core, length, &[] as &[&[u8]])?;
            self.write(cx, core, record)?;
        }
        Ok(first)
    }

    /// Gives the file back; the draft stays on disk.
    pub fn close(self, cx: &mut Cx<'_>) {
        cx.disk.close(self.file);
    }

    /// Does away with the draft.
    pub fn remove(self, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.disk.close(self.file);
        Ok(cx.disk.remove(&self.path)?)
    }

    /// Does away with a draft that is not open. `Missing` if there is none.
    pub fn remove_of(cx: &mut Cx<'_>, core: &Hypercore, name: &str) -> Result<(), Error> {
        core.check_write()?;
        let path = path(core, name)?;
        if !cx.disk.exists(&path) {
            return Err(Error::Missing);
        }
        Ok(cx.disk.remove(&path)?)
    }

    /// hypercore.106: the core may have grown since; what lies below the base must be as it was.
    fn check(&mut self, core: &Hypercore) -> Result<(), Error> {
        core.check_change()?;
        if core.fork() != self.fork && core.shared_since(self.fork) < self.base {
            return Err(Error::Gone);
        }
        self.fork = core.fork();
        Ok(())
    }

    /// The roots of the draft's first `length` blocks.
    fn roots_at(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, length: u64) -> Result<Roots, Error> {
        if length == self.length() {
            return Ok(self.roots.clone());
        }
        let found = Roots::gather(length, |index| match self.nodes.get(&index) {
            Some(node) => Ok(Some(*node)),
            None if flat_tree::right_span(index) < 2 * self.base => core.tree_node(cx, index),
            None => Ok(None),
        })?;
        found.ok_or(Error::Missing)
    }

    fn cut(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, length: u64) -> Result<(), Error> {
        self.roots = self.roots_at(cx, core, length)?;
        self.base = self.base.min(length);
        self.places.truncate((length - self.base) as usize);
        self.nodes.retain(|index, _| flat_tree::right_span(*index) < 2 * length);
        Ok(())
    }

    /// Takes the blocks of a record that ends at `end` into memory.
    fn take(&mut self, blocks: &[Vec<u8>], end: u64) {
        let mut made = Vec::new();
        blocks.iter().for_each(|block| self.roots.append(block, &mut made));
        self.nodes.extend(made.into_iter().map(|node| (node.index, node)));
        let (mut at, first) = (end, self.places.len());
        for block in blocks.iter().rev() {
            at -= block.len() as u64;
            self.places.push((at, block.len() as u32));
            at -= DraftRecord::prefix(block.len());
        }
        self.places[first..].reverse();
    }

    /// A block of the draft's own as it is stored.
    fn read(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Vec<u8>, Error> {
        const DAMAGED: Error = Error::Corrupt("draft: a block is not what was written");
        let place = index.checked_sub(self.base).and_then(|at| self.places.get(at as usize));
        let &(at, len) = place.ok_or(Error::Missing)?;
        let mut bytes = vec![0; len as usize];
        let read = cx.disk.read_at(self.file, at, &mut bytes)?;
        let leaf = tree::leaf(index, &bytes);
        if read < bytes.len() || self.nodes.get(&leaf.index) != Some(&leaf) {
            return Err(DAMAGED);
        }
        Ok(bytes)
    }

    /// The record that cuts the draft to `length`, which it has, and adds blocks.
    fn record<B: AsRef<[u8]>>(
        &self,
        core: &Hypercore,
        length: u64,
        blocks: &[B],
    ) -> Result<DraftRecord, Error> {
        core.check_change()?;
        if blocks.iter().any(|block| block.as_ref().len() > limits::BLOCK_MAX) {
            return Err(Error::Invalid("a block is too long"));
        }
        let bytes: usize = blocks.iter().map(|block| block.as_ref().len()).sum();
        if bytes > limits::DRAFT_RECORD_MAX {
            return Err(Error::Invalid("too many bytes at once"));
        }
        let blocks = blocks.iter().map(|block| block.as_ref().to_vec()).collect();
        Ok(DraftRecord { length, hash: self.roots.hash(), blocks })
    }

    /// Writes a record behind the others; what lies behind those is cut off first. (hypercore.104)
    fn write(
        &mut self,
        cx: &mut Cx<'_>,
        core: &Hypercore,
        mut record: DraftRecord,
    ) -> Result<DraftRecord, Error> {
        let mut bytes = vec![0; Frame::BYTES];
        encode_into(&mut record, &mut bytes);
        seal(&mut bytes, false, false)?;
        if cx.disk.len(self.file)? > self.end {
            cx.disk.truncate(self.file, self.end)?;
        }
        cx.disk.write_at(self.file, self.end, &bytes)?;
        if core.durability == Durability::Flush {
            cx.disk.sync_later(self.file);
        }
        self.end += bytes.len() as u64;
        Ok(record)
    }
}

/// hypercore.103
fn path(core: &Hypercore, name: &str) -> Result<String, Error> {
    if name.is_empty() || name.len() > limits::DRAFT_NAME_MAX {
        return Err(Error::Invalid("the name of a draft"));
    }
    Ok(join(&core.dir, &format!("draft-{}", hex::encode(name.as_bytes()))))
}
