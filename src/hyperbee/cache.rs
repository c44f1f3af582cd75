//! Decoded blocks, at most `limits::HYPERBEE_CACHE_BLOCKS` of them and about `HYPERBEE_CACHE_BYTES`.
//!
//! Each block has one slot that it can be in (its number modulo the slots), so that finding it is one step; what was
//! there before makes room. Slots double while the log grows, up to the bound.

use super::check_level;
use crate::base::{Error, limits};
use crate::wire::decode;
use crate::wire::hyperbee::{Index, Level, Node};

/// A decoded block. Its index is decoded when first asked for.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
    index: IndexState,
}

#[derive(Debug)]
enum IndexState {
    Bytes(Vec<u8>),
    Levels(Vec<Level>),
}

impl Block {
    pub(super) fn new(node: Node) -> Block {
        Block { key: node.key, value: node.value, index: IndexState::Bytes(node.index) }
    }

    pub(super) fn with_levels(key: Vec<u8>, value: Option<Vec<u8>>, levels: Vec<Level>) -> Block {
        Block { key, value, index: IndexState::Levels(levels) }
    }

    pub(super) fn levels(&mut self) -> Result<&[Level], Error> {
        if let IndexState::Bytes(bytes) = &self.index {
            let levels = decode::<Index>(bytes)?.levels;
            levels.iter().try_for_each(check_level)?;
            self.index = IndexState::Levels(levels);
        }
        match &self.index {
            IndexState::Levels(levels) => Ok(levels),
            IndexState::Bytes(_) => unreachable!("decoded above"),
        }
    }

    fn cost(&self) -> usize {
        let index = match &self.index {
            IndexState::Bytes(bytes) => bytes.len(),
            IndexState::Levels(levels) => core::mem::size_of_val(&levels[..]),
        };
        96 + self.key.len() + self.value.as_ref().map_or(0, Vec::len) + index
    }
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    slots: Vec<Option<(u64, Block)>>,
    bytes: usize,
    /// Where the search for something to throw away goes on.
    hand: usize,
}

impl Cache {
    fn slot(&self, seq: u64) -> Option<usize> {
        if self.slots.is_empty() { None } else { Some((seq % self.slots.len() as u64) as usize) }
    }

    pub(super) fn has(&self, seq: u64) -> bool {
        self.slot(seq).is_some_and(|slot| matches!(&self.slots[slot], Some((there, _)) if *there == seq))
    }

    pub(super) fn get(&mut self, seq: u64) -> Option<&mut Block> {
        let slot = self.slot(seq)?;
        match &mut self.slots[slot] {
            Some((there, block)) if *there == seq => Some(block),
            _ => None,
        }
    }

    /// The node at `offset` of a block that is here.
    pub(super) fn level(&mut self, seq: u64, offset: u64) -> Result<&Level, Error> {
        let block = self.get(seq).expect("the caller has just loaded it");
        let decoded = matches!(block.index, IndexState::Levels(_));
        if !decoded {
            let before = block.cost();
            block.levels()?;
            let after = block.cost();
            self.bytes = self.bytes - before + after;
            self.make_room(seq);
        }
        let block = self.get(seq).expect("making room spares it");
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        block
            .levels()?
            .get(offset)
            .ok_or(Error::Corrupt("a hyperbee refers to a node that its block has not"))
    }

    pub(super) fn put(&mut self, seq: u64, block: Block) {
        self.grow(seq);
        self.bytes += block.cost();
        let slot = self.slot(seq).expect("there are slots");
        if let Some((_, old)) = self.slots[slot].replace((seq, block)) {
            self.bytes -= old.cost();
        }
        self.make_room(seq);
    }

    fn grow(&mut self, seq: u64) {
        let len = self.slots.len();
        let enough = usize::try_from(seq).unwrap_or(usize::MAX) < len;
        if enough || len == limits::HYPERBEE_CACHE_BLOCKS {
            return;
        }
        let wanted = usize::try_from(seq).unwrap_or(usize::MAX).saturating_add(1);
        let slots = wanted.clamp(64, limits::HYPERBEE_CACHE_BLOCKS).next_power_of_two();
        let old = core::mem::take(&mut self.slots);
        self.slots.resize_with(slots.min(limits::HYPERBEE_CACHE_BLOCKS), || None);
        self.hand = 0;
        for (seq, block) in old.into_iter().flatten() {
            let slot = self.slot(seq).expect("there are slots");
            self.slots[slot] = Some((seq, block));
        }
    }

    /// Follows hyperbee.33.
    fn make_room(&mut self, spared: u64) {
        let mut turns = self.slots.len();
        while self.bytes > limits::HYPERBEE_CACHE_BYTES && turns > 0 {
            turns -= 1;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            if matches!(slot, Some((seq, _)) if *seq == spared) {
                continue;
            }
            if let Some((_, block)) = slot.take() {
                self.bytes -= block.cost();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pitfalls 15.8: the cache of decoded blocks is bounded in number and in bytes.
    // proves hyperbee.33
    #[test]
    fn the_cache_stays_within_its_bounds() {
        let mut cache = Cache::default();
        let block = |len: usize| Block::with_levels(vec![1; len], None, Vec::new());
        for seq in 0..100_000 {
            cache.put(seq, block(10));
        }
        assert_eq!(cache.slots.len(), limits::HYPERBEE_CACHE_BLOCKS);
        assert!(cache.has(99_999) && !cache.has(1));
        for seq in 0..100 {
            cache.put(seq, block(0x10_0000));
            assert!(cache.has(seq), "the newest is always there");
            assert!(cache.bytes <= limits::HYPERBEE_CACHE_BYTES);
        }
        let held: usize = cache.slots.iter().flatten().map(|(_, block)| block.cost()).sum();
        assert_eq!(held, cache.bytes);
    }
}
