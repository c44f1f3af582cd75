//! What a batch reads of itself: the tree with the operations so far. Follows hyperbee.48.

use core::cmp::Ordering;
use core::ops::Bound;

use super::{Batch, NodeAt};
use crate::base::{Cx, Error, limits};
use crate::hyperbee::{Bee, Entry, Log, Range, Spot, TOO_DEEP, child, root};
use crate::wire::hyperbee::Keys;

/// A node of the tree, changed by the batch or not yet looked at by it.
#[derive(Clone, Copy)]
enum At {
    Memory(NodeAt),
    Log(Spot),
}

/// Walks a range within a batch: each step looks from the key before, so that it sees what was done in between.
#[derive(Clone, Debug)]
pub struct BatchCursor {
    range: Range,
}

impl BatchCursor {
    /// The next entry; `None` at the end.
    pub fn next(
        &mut self,
        cx: &mut Cx<'_>,
        batch: &Batch,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Entry>, Error> {
        let entry = batch.peek(cx, bee, log, &self.range)?;
        if let Some(entry) = &entry {
            let begin = if self.range.reverse { &mut self.range.to } else { &mut self.range.from };
            *begin = Bound::Excluded(entry.key.clone());
            self.range.limit = self.range.limit.map(|limit| limit - 1);
        }
        Ok(entry)
    }
}

impl Batch {
    /// The entries of `range`, with what the batch does to them.
    pub fn range(&self, range: Range) -> BatchCursor {
        BatchCursor { range }
    }

    /// What block `seq` says, be it in the log or one of the batch's to be.
    pub fn get_by_seq(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        seq: u64,
    ) -> Result<Option<Entry>, Error> {
        self.ready(log)?;
        if seq == 0 || seq >= self.seq() {
            return Ok(None);
        }
        self.entry(cx, bee, log, seq).map(Some)
    }

    /// The first entry of `range`, in its direction.
    pub fn peek(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        range: &Range,
    ) -> Result<Option<Entry>, Error> {
        self.ready(log)?;
        let top = self.root.map(At::Memory).or_else(|| root(self.base).map(At::Log));
        let (Some(mut at), false) = (top, range.limit == Some(0)) else { return Ok(None) };
        let begin = if range.reverse { &range.to } else { &range.from };
        let mut nearest = None;
        for _ in 0..limits::HYPERBEE_DEPTH_MAX {
            let keys = self.keys_at(cx, bee, log, at)?;
            // How many keys lie before the beginning, upwards; or up to it, downwards.
            let mut before = if range.reverse { keys.len() } else { 0 };
            if let Bound::Included(begin) | Bound::Excluded(begin) = begin {
                before = self.before(cx, bee, log, &keys, begin, range)?;
            }
            let key = if range.reverse { before.checked_sub(1) } else { Some(before) };
            nearest = key.and_then(|key| keys.get(key)).copied().or(nearest);
            match self.child_at(cx, bee, log, at, before)? {
                Some(next) => at = next,
                None => return self.within(cx, bee, log, nearest, range),
            }
        }
        Err(TOO_DEEP)
    }

    fn within(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        nearest: Option<u64>,
        range: &Range,
    ) -> Result<Option<Entry>, Error> {
        let Some(seq) = nearest else { return Ok(None) };
        let entry = self.entry(cx, bee, log, seq)?;
        Ok((!range.beyond_end(&entry.key)).then_some(entry))
    }

    /// How many of a node's keys lie before the place where a walk begins, counted upwards.
    fn before(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        keys: &[u64],
        begin: &[u8],
        range: &Range,
    ) -> Result<usize, Error> {
        let inclusive = matches!(if range.reverse { &range.to } else { &range.from }, Bound::Included(_));
        // Walking upwards an included key comes after its beginning, walking downwards before it.
        let counts_equal = inclusive == range.reverse;
        for (index, &seq) in keys.iter().enumerate() {
            let order = match self.operation(seq) {
                Some(operation) => operation.key[..].cmp(begin),
                None => bee.block(cx, log, self.base, seq)?.key[..].cmp(begin),
            };
            if order == Ordering::Greater || (order == Ordering::Equal && !counts_equal) {
                return Ok(index);
            }
        }
        Ok(keys.len())
    }

    fn keys_at(&self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, at: At) -> Result<Keys, Error> {
        match at {
            At::Memory(node) => Ok(self.nodes[node].keys.clone()),
            At::Log(spot) => Ok(bee.level(cx, log, self.base, spot)?.keys.clone()),
        }
    }

    fn child_at(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        at: At,
        index: usize,
    ) -> Result<Option<At>, Error> {
        Ok(match at {
            At::Memory(node) => self.nodes[node].children.get(index).map(|&at| {
                let child = &self.children[at];
                let spot = Spot { seq: child.seq, offset: child.offset };
                child.node.map_or(At::Log(spot), At::Memory)
            }),
            At::Log(spot) => child(bee.level(cx, log, self.base, spot)?, index).map(At::Log),
        })
    }
}
