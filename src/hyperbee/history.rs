//! The log of a tree in time. Follows hyperbee.31 and hyperbee.40 to hyperbee.42.

use super::{Bee, Entry, Log};
use crate::base::{Cx, Error};

/// One block as an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Put(Entry),
    /// Its value is `None`.
    Del(Entry),
}

impl Change {
    pub fn entry(&self) -> &Entry {
        match self {
            Change::Put(entry) | Change::Del(entry) => entry,
        }
    }
}

/// Which operations of a log, and in what direction. Bounds are numbers of blocks; below zero they count from the
/// version's end, so that `gte: Some(-1)` is the newest block. (hyperbee.40)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    pub gt: Option<i64>,
    pub gte: Option<i64>,
    pub lt: Option<i64>,
    pub lte: Option<i64>,
    /// At most this many.
    pub limit: Option<u64>,
    /// From the newest to the oldest.
    pub reverse: bool,
    /// Goes on with what is appended later; then `lt` and `lte` count for nothing. (hyperbee.42)
    pub live: bool,
}

impl Extent {
    /// Everything, oldest first.
    pub fn all() -> Extent {
        Extent::default()
    }

    /// The first block, and the one after the last, for a log of `version` blocks.
    fn ends(&self, version: u64) -> (u64, u64) {
        let place = |at: i64| match u64::try_from(at) {
            Ok(at) => at,
            Err(_) => version.saturating_sub(at.unsigned_abs()),
        };
        let from = match (self.gt, self.gte) {
            (Some(gt), _) => place(gt).saturating_add(1),
            (None, Some(gte)) => place(gte),
            (None, None) => 1,
        };
        let to = match (self.lte, self.lt) {
            (_, Some(0)) | (Some(0), _) => 0,
            (Some(lte), _) => place(lte).saturating_add(1),
            (None, Some(lt)) => place(lt),
            (None, None) => version,
        };
        // Block 0 is the header, not an operation.
        (from.max(1), to.min(version))
    }
}

/// Hands out the operations of a log in the order of their blocks, or in the opposite one. After `Error::Missing` it
/// can be asked again once the block is here.
#[derive(Clone, Debug)]
pub struct History {
    /// The blocks that are left.
    from: u64,
    to: u64,
    /// None: a live one.
    version: Option<u64>,
    limit: Option<u64>,
    reverse: bool,
}

impl History {
    pub(super) fn new(version: u64, extent: &Extent) -> Result<History, Error> {
        if extent.live && extent.reverse {
            return Err(Error::Invalid("a live history goes forwards"));
        }
        let (from, to) = extent.ends(version);
        let version = (!extent.live).then_some(version);
        Ok(History { from, to, version, limit: extent.limit, reverse: extent.reverse })
    }

    /// Goes on with the operation of block `seq`.
    pub fn skip_to(&mut self, seq: u64) {
        self.from = seq.max(1);
    }

    /// The block of the operation that `next` will give, if there is one.
    pub fn place(&self) -> u64 {
        if self.reverse { self.to.saturating_sub(1) } else { self.from }
    }

    /// The next operation; `None` at the end, of a live one at the end for now.
    pub fn next(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Change>, Error> {
        let version = self.version.unwrap_or(log.len());
        bee.start(log, version)?;
        let to = if self.version.is_none() { version } else { self.to };
        if self.from >= to || self.limit == Some(0) {
            return Ok(None);
        }
        let seq = if self.reverse { to - 1 } else { self.from };
        let change = bee.change(cx, log, version, seq)?;
        if self.reverse {
            self.to = seq;
        } else {
            self.from = seq + 1;
        }
        self.limit = self.limit.map(|limit| limit - 1);
        Ok(Some(change))
    }
}

impl Bee {
    /// The operation of block `seq`.
    fn change(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        version: u64,
        seq: u64,
    ) -> Result<Change, Error> {
        let entry = self.entry(cx, log, version, seq)?;
        if entry.value.is_some() {
            return Ok(Change::Put(entry));
        }
        let levels = self.block(cx, log, version, seq)?.levels()?;
        // hyperbee.31: a deletion has no value, and its own index does not name it.
        let named = levels.iter().any(|level| level.keys.contains(&seq));
        Ok(if named { Change::Put(entry) } else { Change::Del(entry) })
    }

    /// What block `seq` says, be it a put or a deletion; `None` if the log has no such operation. (hyperbee.41)
    pub fn get_by_seq(
        &mut self,
        cx: &mut Cx<'_>,
        log: &mut impl Log,
        seq: u64,
    ) -> Result<Option<Change>, Error> {
        let version = log.len();
        self.start(log, version)?;
        if seq == 0 || seq >= version {
            return Ok(None);
        }
        self.change(cx, log, version, seq).map(Some)
    }
}
