//! The files `tree`, `bitfield` and `data` as an audit reads them: raw, and with what the oplog's entries say laid over
//! them (hypercore.52). Nothing here can write.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::base::{Cx, DiskError, Error, FileId, Mode};
use crate::hypercore::bitfield::PAGE_BYTES;
use crate::hypercore::flat_tree;
use crate::hypercore::tree::Roots;
use crate::wire::decode;
use crate::wire::hypercore::Node;
use crate::wire::oplog::StoredNode;

/// Bytes of a node in the file `tree`.
pub const ROW: u64 = StoredNode::BYTES as u64;
/// Bytes of the file of bits that are flushed by themselves.
const PAGE: u64 = PAGE_BYTES as u64;
/// Bytes that are read at once.
const CHUNK: usize = 4096;
/// Chunks of a file that are kept; the place of one follows from its number.
const CHUNKS: usize = 64;

/// A file that may be missing, read in chunks.
pub struct Raw {
    file: Option<FileId>,
    pub len: u64,
    kept: Vec<Option<(u64, Vec<u8>)>>,
}

impl Raw {
    pub fn open(cx: &mut Cx<'_>, path: &str) -> Result<Raw, Error> {
        let (file, len) = match cx.disk.open(path, Mode::Read) {
            Ok(file) => (Some(file), cx.disk.len(file)?),
            Err(DiskError::Missing) => (None, 0),
            Err(error) => return Err(error.into()),
        };
        Ok(Raw { file, len, kept: vec![None; CHUNKS] })
    }

    pub fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(file) = self.file.take() {
            cx.disk.close(file);
        }
    }

    /// What there is of `into.len()` bytes from `at` on, past the chunks.
    pub fn read(&self, cx: &mut Cx<'_>, at: u64, into: &mut [u8]) -> Result<usize, Error> {
        match self.file {
            Some(file) => Ok(cx.disk.read_at(file, at, into)?),
            None => Ok(0),
        }
    }

    /// The bytes of one chunk; fewer at the end of the file.
    fn chunk(&mut self, cx: &mut Cx<'_>, number: u64) -> Result<&[u8], Error> {
        let slot = (number % CHUNKS as u64) as usize;
        if self.kept[slot].as_ref().is_none_or(|(kept, _)| *kept != number) {
            let mut bytes = vec![0; CHUNK];
            let read = self.read(cx, number.saturating_mul(CHUNK as u64), &mut bytes)?;
            bytes.truncate(read);
            self.kept[slot] = Some((number, bytes));
        }
        Ok(self.kept[slot].as_ref().map_or(&[], |(_, bytes)| bytes))
    }

    /// A byte; zero beyond the end.
    pub fn byte(&mut self, cx: &mut Cx<'_>, at: u64) -> Result<u8, Error> {
        let chunk = self.chunk(cx, at / CHUNK as u64)?;
        Ok(chunk.get((at % CHUNK as u64) as usize).copied().unwrap_or(0))
    }

    /// The first byte of `from..to` that is not zero.
    pub fn nonzero(&mut self, cx: &mut Cx<'_>, from: u64, to: u64) -> Result<Option<u64>, Error> {
        let (mut at, to) = (from, to.min(self.len));
        while at < to {
            let start = (at % CHUNK as u64) as usize;
            let chunk = self.chunk(cx, at / CHUNK as u64)?;
            let Some(rest) = chunk.get(start..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
            if let Some(found) = rest.iter().position(|byte| *byte != 0) {
                let found = at + found as u64;
                return Ok((found < to).then_some(found));
            }
            at += rest.len() as u64;
        }
        Ok(None)
    }
}

/// The nodes: those of entries, those that were mended, those of the file.
pub struct Rows {
    pub raw: Raw,
    fresh: BTreeMap<u64, Node>,
    mended: BTreeMap<u64, Node>,
    /// The file is to be cut to this many blocks.
    cut_to: Option<u64>,
}

impl Rows {
    pub fn new(raw: Raw) -> Rows {
        Rows { raw, fresh: BTreeMap::new(), mended: BTreeMap::new(), cut_to: None }
    }

    /// Forgets what entries said.
    pub fn reset(&mut self) {
        self.fresh.clear();
        self.cut_to = None;
    }

    pub fn put(&mut self, nodes: &[Node]) {
        self.fresh.extend(nodes.iter().map(|node| (node.index, *node)));
    }

    /// hypercore.39
    pub fn cut(&mut self, blocks: u64) {
        self.fresh.retain(|index, _| flat_tree::right_span(*index) < 2 * blocks);
        self.cut_to = Some(self.cut_to.map_or(blocks, |before| before.min(blocks)));
    }

    /// Goes on with what a node of the file should be.
    pub fn mend(&mut self, node: Node) {
        self.mended.insert(node.index, node);
    }

    /// True if an entry says what the node is: then its place in the file is written anew by the next flush.
    pub fn is_fresh(&self, index: u64) -> bool {
        self.fresh.contains_key(&index)
    }

    pub fn fresh_indexes(&self) -> Vec<u64> {
        self.fresh.keys().copied().collect()
    }

    /// True if the file's node does not count, or not yet.
    pub fn is_void(&self, index: u64) -> bool {
        self.is_fresh(index) || self.cut_to.is_some_and(|blocks| flat_tree::right_span(index) >= 2 * blocks)
    }

    /// A node as it counts; None if it is not there. (hypercore.38)
    pub fn node(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Node>, Error> {
        if let Some(node) = self.fresh.get(&index) {
            return Ok(Some(*node));
        }
        if self.is_void(index) {
            return Ok(None);
        }
        if let Some(node) = self.mended.get(&index) {
            return Ok(Some(*node));
        }
        self.stored(cx, index)
    }

    /// A node as the file has it.
    pub fn stored(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<Option<Node>, Error> {
        let Some(at) = index.checked_mul(ROW).filter(|at| at.saturating_add(ROW) <= self.raw.len) else {
            return Ok(None);
        };
        let mut bytes = [0; ROW as usize];
        for (byte, at) in bytes.iter_mut().zip(at..) {
            *byte = self.raw.byte(cx, at)?;
        }
        let row: StoredNode = decode(&bytes)?;
        Ok((row != StoredNode::default()).then_some(Node { index, size: row.size, hash: row.hash }))
    }

    /// The roots of a tree. None if one is not there, or if their sizes cannot be.
    pub fn gather(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<Option<Roots>, Error> {
        Roots::gather(length, |index| self.node(cx, index))
    }

    /// Where a block's bytes begin. None if a node on the way is not there. (hypercore.6)
    pub fn offset(&mut self, cx: &mut Cx<'_>, roots: &Roots, block: u64) -> Result<Option<u64>, Error> {
        let (target, mut offset) = (2 * block, 0_u64);
        for root in roots.nodes() {
            if target > flat_tree::right_span(root.index) {
                offset = offset.saturating_add(root.size);
                continue;
            }
            let mut at = root.index;
            while at != target {
                let Some((left, right)) = flat_tree::children(at) else { return Ok(None) };
                if target < at {
                    at = left;
                    continue;
                }
                let Some(node) = self.node(cx, left)? else { return Ok(None) };
                offset = offset.saturating_add(node.size);
                at = right;
            }
            return Ok(Some(offset));
        }
        Ok(None)
    }
}

/// What entries say about ranges of blocks; a later word replaces an earlier one.
#[derive(Default)]
pub struct Spans {
    /// From the first block of a range to the block behind it, and whether they are here.
    map: BTreeMap<u64, (u64, bool)>,
}

impl Spans {
    pub fn clear(&mut self) {
        self.map.clear();
    }

    pub fn set(&mut self, from: u64, to: u64, here: bool) {
        if from >= to {
            return;
        }
        let touched: Vec<(u64, (u64, bool))> = self
            .map
            .range(..to)
            .rev()
            .map(|(start, rest)| (*start, *rest))
            .take_while(|(_, (end, _))| *end > from)
            .collect();
        for (start, (end, value)) in touched {
            self.map.remove(&start);
            if start < from {
                self.map.insert(start, (from, value));
            }
            if end > to {
                self.map.insert(to, (end, value));
            }
        }
        self.map.insert(from, (to, here));
    }

    /// What is said about a block.
    pub fn get(&self, block: u64) -> Option<bool> {
        let (_, (end, here)) = self.map.range(..=block).next_back()?;
        (block < *end).then_some(*here)
    }

    /// Where the range ends in which something is said about a block.
    pub fn end(&self, block: u64) -> Option<u64> {
        let (_, (end, _)) = self.map.range(..=block).next_back()?;
        (block < *end).then_some(*end)
    }

    /// The bytes of the file of bits that a flush writes, page by page from the first changed word to the last: what
    /// lies between can be anything after a crash in its midst, since the file may have been shorter.
    pub fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (start, end, _) in self.ranges() {
            let (from, to) = (start / 64 * 8, end.div_ceil(64) * 8);
            match runs.last_mut() {
                Some(last) if from / PAGE == (last.end - 1) / PAGE || from <= last.end => {
                    last.end = last.end.max(to)
                }
                _ => runs.push(from..to),
            }
        }
        runs
    }

    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64, bool)> {
        self.map.iter().map(|(start, (end, here))| (*start, *end, *here))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded};

    #[test]
    fn ranges_replace_one_another() {
        for seed in 0..50 {
            let mut entropy = Seeded::new(seed);
            let (mut spans, mut model) = (Spans::default(), vec![None; 100]);
            for _ in 0..20 {
                let (a, b) = (entropy.below(100), entropy.below(100));
                let (from, to, here) = (a.min(b), a.max(b), entropy.chance(500));
                spans.set(from, to, here);
                model[from as usize..to as usize].fill(Some(here));
                for block in 0..100 {
                    assert_eq!(spans.get(block), model[block as usize], "seed {seed} block {block}");
                }
            }
        }
    }
}
