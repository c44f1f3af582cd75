//! Blocks that a version of the tree does not lead to. Follows hyperbee.53 and hyperbee.54.

use super::{Bee, Log, child, root};
use crate::base::{Cx, Error, limits};
use crate::wire::hyperbee::Keys;

/// Finds, one by one, the blocks that are here and that a version does not need: neither is their key's entry in
/// them, nor any node that the version reaches. Who clears them loses the versions before. (hyperbee.53)
#[derive(Clone, Debug)]
pub struct Unlinked {
    version: u64,
    next: u64,
    end: u64,
}

impl Bee {
    /// The blocks from `from` to `to` that `version` does not need. Its newest block is always needed.
    pub fn unlinked(&self, version: u64, from: u64, to: u64) -> Unlinked {
        Unlinked { version, next: from.max(1), end: to.min(version.saturating_sub(1)) }
    }
}

impl Unlinked {
    /// The next such block; `None` at the end. After `Error::Missing` (a block of the version's own is not here) it
    /// can be asked again.
    pub fn next(&mut self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log) -> Result<Option<u64>, Error> {
        bee.start(log, self.version)?;
        while self.next < self.end {
            let seq = self.next;
            let linked = !log.has(seq) || self.linked(cx, bee, log, seq)?;
            self.next += 1;
            if !linked {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    /// hyperbee.54: the block's own key leads to it, or a key of one of its nodes goes through that node.
    fn linked(&self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, seq: u64) -> Result<bool, Error> {
        let block = bee.block(cx, log, self.version, seq)?;
        let own = block.key.clone();
        let levels = block.levels()?.iter().map(|level| level.keys.clone());
        let levels: Vec<Keys> = levels.collect();
        if self.leads(cx, bee, log, &own, seq)? {
            return Ok(true);
        }
        for keys in levels {
            // Of a node that is needed every key is: one whose keys are all gone is not.
            let Some(first) = keys.into_iter().find(|&key| log.has(key)) else { continue };
            if first == seq {
                continue;
            }
            let key = bee.block(cx, log, self.version, first)?.key.clone();
            if self.leads(cx, bee, log, &key, seq)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the way to `key` goes through a node of block `seq`, or ends at that block.
    fn leads(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        key: &[u8],
        seq: u64,
    ) -> Result<bool, Error> {
        let Some(mut spot) = root(self.version) else { return Ok(false) };
        for _ in 0..limits::HYPERBEE_DEPTH_MAX {
            if spot.seq == seq {
                return Ok(true);
            }
            let level = bee.level(cx, log, self.version, spot)?.clone();
            let (mut low, mut high) = (0, level.keys.len());
            while low < high {
                let middle = (low + high) / 2;
                let at = level.keys[middle];
                match key.cmp(&bee.block(cx, log, self.version, at)?.key) {
                    core::cmp::Ordering::Equal => return Ok(at == seq),
                    core::cmp::Ordering::Less => high = middle,
                    core::cmp::Ordering::Greater => low = middle + 1,
                }
            }
            match child(&level, low) {
                Some(next) => spot = next,
                None => return Ok(false),
            }
        }
        Err(super::TOO_DEEP)
    }
}
