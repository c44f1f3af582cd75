//! Who waits for changes of a tree. Follows hyperbee.50 to hyperbee.52.
//!
//! Both values are asked again whenever the log has grown or was cut; many appends in between are one change.

use super::{Bee, Diff, Entry, Log, Range};
use crate::base::{Cx, Error};

/// A change of a watched range, between two versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Changed {
    pub previous: u64,
    pub current: u64,
    /// The log was cut in between: what the previous version held can no longer be read beyond the cut.
    pub cut: bool,
}

/// Waits for changes of a range. Command: `poll`. (hyperbee.50)
#[derive(Clone, Debug)]
pub struct Watch {
    range: Range,
    /// Fork and length that changes are counted from.
    seen: (u64, u64),
    /// The version that is being compared with what was seen.
    comparing: Option<(u64, Diff)>,
}

impl Watch {
    /// Changes from now on. The range's limit and direction count for nothing.
    pub fn new(log: &impl Log, range: Range) -> Watch {
        Watch::since(log, log.len(), range)
    }

    /// Changes since `version`: with 0 the first one is everything that is there, upstream's `eager`.
    pub fn since(log: &impl Log, version: u64, range: Range) -> Watch {
        let range = Range { limit: None, reverse: false, ..range };
        Watch { range, seen: (log.fork(), version.max(1)), comparing: None }
    }

    /// The next change; `None` as long as there is none. After `Error::Missing` it can be asked again.
    pub fn poll(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Changed>, Error> {
        let (fork, previous) = self.seen;
        if log.fork() != fork {
            // hyperbee.51
            *self = Watch::new(log, self.range.clone());
            return Ok(Some(Changed { previous, current: log.len().max(1), cut: true }));
        }
        if self.comparing.is_none() && log.len() <= previous {
            return Ok(None);
        }
        let (current, diff) = self
            .comparing
            .get_or_insert_with(|| (log.len(), bee.diff(log.len(), previous, self.range.clone())));
        let (current, change) = (*current, diff.next(cx, bee, log)?);
        self.comparing = None;
        self.seen.1 = current;
        match change {
            Some(_) => Ok(Some(Changed { previous, current, cut: false })),
            // What came since is compared with this version next.
            None => self.poll_again(cx, bee, log),
        }
    }

    fn poll_again(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Changed>, Error> {
        if log.len() > self.seen.1 { self.poll(cx, bee, log) } else { Ok(None) }
    }
}

/// Waits for changes of one key, and holds its entry. Commands: `poll`, `entry`. (hyperbee.52)
#[derive(Clone, Debug)]
pub struct EntryWatch {
    key: Vec<u8>,
    entry: Option<Entry>,
    /// Fork and length that the entry is of; None before it was read.
    seen: Option<(u64, u64)>,
}

impl EntryWatch {
    pub fn new(key: &[u8]) -> EntryWatch {
        EntryWatch { key: key.to_vec(), entry: None, seen: None }
    }

    /// The entry as `poll` saw it last.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// Looks again. True the first time, when the entry is another, and once after the log was cut. After
    /// `Error::Missing` it can be asked again.
    pub fn poll(&mut self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log) -> Result<bool, Error> {
        let now = (log.fork(), log.len());
        if self.seen == Some(now) {
            return Ok(false);
        }
        let entry = bee.get(cx, log, &self.key)?;
        let told = self.seen.is_none_or(|seen| seen.0 != now.0)
            || entry.as_ref().map(|entry| entry.seq) != self.entry.as_ref().map(|entry| entry.seq);
        self.entry = entry;
        self.seen = Some(now);
        Ok(told)
    }
}
