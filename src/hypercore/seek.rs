//! Bytes of a core, whichever block they are in: seeks, and reading block by block. Follows hypercore.7, hypercore.92.

use super::{Hypercore, flat_tree};
use crate::base::{Cx, Error};
use crate::wire::hypercore::Node;

impl Hypercore {
    /// The block that holds byte `bytes`, and the offset in it; the length of the core and the rest if it is beyond
    /// the end. Bytes are those of the program, without padding. None if a node on the way is not known. (hypercore.7)
    pub fn seek(&mut self, cx: &mut Cx<'_>, bytes: u64) -> Result<Option<(u64, u64)>, Error> {
        self.check_open()?;
        let padding = self.padding();
        let mut left = bytes;
        if bytes == 0 {
            return Ok(Some((0, 0)));
        }
        for root in self.roots.nodes().to_vec() {
            let size = unpadded(&root, padding);
            if left >= size {
                left -= size;
                if left == 0 {
                    return Ok(Some((behind(root.index), 0)));
                }
                continue;
            }
            let mut at = root.index;
            while let Some((lower, upper)) = flat_tree::children(at) {
                let Some(node) = self.store.node(cx, lower)? else { return Ok(None) };
                let size = unpadded(&node, padding);
                if left < size {
                    at = lower;
                    continue;
                }
                left -= size;
                if left == 0 {
                    return Ok(Some((behind(lower), 0)));
                }
                at = upper;
            }
            return Ok(Some((at / 2, left)));
        }
        Ok(Some((self.length(), left)))
    }
}

/// The first block behind a node.
fn behind(index: u64) -> u64 {
    flat_tree::right_span(index) / 2 + 1
}

/// Bytes below a node that are not padding.
fn unpadded(node: &Node, padding: u64) -> u64 {
    node.size.saturating_sub(padding.saturating_mul(flat_tree::leaves(node.index)))
}

/// Blocks of a core in order, one at a time. (hypercore.94)
#[derive(Clone, Debug)]
pub struct Blocks {
    next: u64,
    /// None: as long as the core is, whenever it is asked.
    end: Option<u64>,
}

impl Blocks {
    /// Those of `start..end`.
    pub fn range(start: u64, end: u64) -> Blocks {
        Blocks { next: start, end: Some(end) }
    }

    /// All from `start` on, and those that are appended later.
    pub fn live(start: u64) -> Blocks {
        Blocks { next: start, end: None }
    }

    /// The block that comes next: it has to be here before `next` goes on.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next block. None at the end, or for a live one when there is none yet. `Missing` if it is not here; asked
    /// again when it is, it comes.
    pub fn next(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) -> Result<Option<Vec<u8>>, Error> {
        if self.next >= self.end.unwrap_or(core.length()) {
            return Ok(None);
        }
        let block = core.get(cx, self.next)?.ok_or(Error::Missing)?;
        self.next += 1;
        Ok(Some(block))
    }
}

/// Bytes of a core in order, in pieces of at most a block. (hypercore.94)
#[derive(Clone, Debug)]
pub struct Bytes {
    /// Bytes to seek before the first piece.
    from: Option<u64>,
    next: u64,
    left: u64,
}

impl Bytes {
    /// `length` bytes from byte `from` on. If the core has fewer, all that it has when it is read.
    pub fn range(from: u64, length: u64) -> Bytes {
        Bytes { from: Some(from), next: 0, left: length }
    }

    /// The block that is read next; None before it was looked for.
    pub fn position(&self) -> Option<u64> {
        if self.from.is_some() { None } else { Some(self.next) }
    }

    /// The next piece, never an empty one. None at the end. `Missing` if the block, or a node on the way to it, is not
    /// here; asked again when it is, it comes.
    pub fn next(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) -> Result<Option<Vec<u8>>, Error> {
        while self.left > 0 {
            let mut skip = 0;
            if let Some(from) = self.from {
                (self.next, skip) = core.seek(cx, from)?.ok_or(Error::Missing)?;
            }
            if self.next >= core.length() {
                self.left = 0;
                break;
            }
            let mut block = core.get(cx, self.next)?.ok_or(Error::Missing)?;
            self.from = None;
            self.next += 1;
            block.drain(..block.len().min(usize::try_from(skip).unwrap_or(usize::MAX)));
            block.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !block.is_empty() {
                self.left -= block.len() as u64;
                return Ok(Some(block));
            }
        }
        Ok(None)
    }
}
