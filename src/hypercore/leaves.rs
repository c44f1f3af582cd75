//! What was read of the tree's leaves, in little memory: so most blocks that are read at random cost one read.
//! Follows hypercore.40.
//!
//! Blocks are taken sixty-four together, their leaves with one read. Of each are kept the size and four bytes of the
//! hash. That finds what a disk spoiled; who spoils a block on purpose could write its leaf as well.

use super::flat_tree;
use super::store::slot_of;
use super::tree::leaf;
use crate::base::limits;

/// Blocks whose leaves are kept together.
pub(super) const BLOCKS: u64 = 64;
const COUNT: usize = BLOCKS as usize;
/// Nodes of the tree over them, and one that is not in it.
pub(super) const NODES: u64 = 2 * BLOCKS;
const NODE: usize = 40;
/// Bytes of their nodes in the file.
pub(super) const BYTES: usize = (2 * COUNT - 1) * NODE;

/// Leaves that were read. Nothing that is known of a tree is known of it after it was cut: see `clear`.
#[derive(Default)]
pub(super) struct Leaves {
    /// Each has a place that follows from its number, shared with others once there are too many.
    chunks: Vec<Option<(u64, Option<Box<Chunk>>)>>,
}

struct Chunk {
    /// Where the first block begins.
    begin: u64,
    sizes: [u16; COUNT],
    prints: [[u8; 4]; COUNT],
}

impl Chunk {
    /// None if a leaf is absent, or a block so large that it is not worth it. (hypercore.38)
    fn read(begin: u64, nodes: &[u8; BYTES]) -> Option<Box<Chunk>> {
        let mut chunk = Box::new(Chunk { begin, sizes: [0; COUNT], prints: [[0; 4]; COUNT] });
        let places = chunk.sizes.iter_mut().zip(&mut chunk.prints);
        for ((kept_size, kept_print), node) in places.zip(nodes.chunks(2 * NODE)) {
            let (size, rest) = node.split_first_chunk()?;
            let (print, _) = rest.split_first_chunk()?;
            (*kept_size, *kept_print) = (u16::try_from(u64::from_le_bytes(*size)).ok()?, *print);
            if *kept_size == 0 && *print == [0; 4] {
                return None;
            }
        }
        Some(chunk)
    }
}

/// Where a block is, and whether some bytes are it.
pub(super) struct Known {
    pub(super) at: u64,
    pub(super) size: usize,
    print: [u8; 4],
}

impl Known {
    /// `bytes` have the size of the block.
    pub(super) fn is(&self, block: u64, bytes: &[u8]) -> bool {
        leaf(block, bytes).hash[..4] == self.print
    }
}

impl Leaves {
    pub(super) fn get(&self, block: u64) -> Option<Known> {
        let chunk = self.chunk(block / BLOCKS)?.as_ref()?;
        let place = (block % BLOCKS) as usize;
        let before: u64 = chunk.sizes[..place].iter().map(|size| u64::from(*size)).sum();
        let (size, print) = (usize::from(chunk.sizes[place]), chunk.prints[place]);
        Some(Known { at: chunk.begin.saturating_add(before), size, print })
    }

    /// Whether the leaves of these blocks were read; not all are worth keeping.
    pub(super) fn tried(&self, number: u64) -> bool {
        self.chunk(number).is_some()
    }

    fn chunk(&self, number: u64) -> Option<&Option<Box<Chunk>>> {
        let (here, chunk) = self.chunks.get(slot_of(number, self.chunks.len()))?.as_ref()?;
        (*here == number).then_some(chunk)
    }

    /// Keeps leaves as they are in the file: the nodes over the blocks from `number` times `BLOCKS` on, of which the
    /// first begins at `begin`.
    pub(super) fn put(&mut self, number: u64, begin: u64, nodes: &[u8; BYTES]) {
        let wanted = usize::try_from(number).map_or(usize::MAX, |number| number.saturating_add(1));
        let slots = wanted.checked_next_power_of_two().unwrap_or(usize::MAX).min(limits::LEAVES_CACHE);
        if slots > self.chunks.len() {
            let old = core::mem::take(&mut self.chunks);
            self.chunks.resize_with(slots, || None);
            for (number, chunk) in old.into_iter().flatten() {
                self.chunks[slot_of(number, slots)] = Some((number, chunk));
            }
        }
        let slot = slot_of(number, self.chunks.len());
        self.chunks[slot] = Some((number, Chunk::read(begin, nodes)));
    }

    /// A node is another one now.
    pub(super) fn forget(&mut self, index: u64) {
        let number = index / NODES;
        let slot = slot_of(number, self.chunks.len());
        if let Some(chunk) = self.chunks.get_mut(slot)
            && chunk.as_ref().is_some_and(|(here, _)| *here == number)
            && flat_tree::depth(index) == 0
        {
            *chunk = None;
        }
    }

    /// The tree is another one now.
    pub(super) fn clear(&mut self) {
        self.chunks = Vec::new();
    }
}
