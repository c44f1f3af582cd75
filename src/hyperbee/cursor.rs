//! Walking a version of the tree in order. Follows hyperbee.26 to hyperbee.32.

use core::ops::Bound;

use super::ahead::{PASSIVE, Question};
use super::{Bee, Entry, Log, Spot, TOO_DEEP, child, root};
use crate::base::{Cx, Error, limits};
use crate::wire::hyperbee::{AskRange, Level};

/// Which entries, and in what direction. (hyperbee.26)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    pub from: Bound<Vec<u8>>,
    pub to: Bound<Vec<u8>>,
    /// At most this many.
    pub limit: Option<u64>,
    /// From the end of the range towards its beginning.
    pub reverse: bool,
}

impl Default for Range {
    fn default() -> Range {
        Range::all()
    }
}

impl Range {
    /// Everything, upwards.
    pub fn all() -> Range {
        Range { from: Bound::Unbounded, to: Bound::Unbounded, limit: None, reverse: false }
    }
    pub fn gt(self, key: &[u8]) -> Range {
        Range { from: Bound::Excluded(key.to_vec()), ..self }
    }
    pub fn gte(self, key: &[u8]) -> Range {
        Range { from: Bound::Included(key.to_vec()), ..self }
    }
    pub fn lt(self, key: &[u8]) -> Range {
        Range { to: Bound::Excluded(key.to_vec()), ..self }
    }
    pub fn lte(self, key: &[u8]) -> Range {
        Range { to: Bound::Included(key.to_vec()), ..self }
    }
    /// Follows hyperbee.29.
    pub fn limit(self, limit: u64) -> Range {
        Range { limit: Some(limit), ..self }
    }
    pub fn reverse(self) -> Range {
        Range { reverse: true, ..self }
    }

    /// A walk in this direction goes on to the tree's end.
    pub(super) fn is_open_ended(&self) -> bool {
        let end = if self.reverse { &self.from } else { &self.to };
        matches!(end, Bound::Unbounded)
    }

    /// A key that a walk in this direction does not come to any more.
    pub(super) fn beyond_end(&self, key: &[u8]) -> bool {
        match (self.reverse, &self.from, &self.to) {
            (false, _, Bound::Included(end)) => key > end.as_slice(),
            (false, _, Bound::Excluded(end)) => key >= end.as_slice(),
            (true, Bound::Included(end), _) => key < end.as_slice(),
            (true, Bound::Excluded(end), _) => key <= end.as_slice(),
            (false, _, Bound::Unbounded) | (true, Bound::Unbounded, _) => false,
        }
    }
}

/// Hands out the entries of a range one by one, from the version it was made for: what is appended meanwhile does not
/// change what it gives. After `Error::Missing` it can be asked again once the block is here. (hyperbee.28)
#[derive(Clone, Debug)]
pub struct Cursor {
    version: u64,
    range: Range,
    state: State,
    /// The key handed out last. The next one must lie beyond it: a tree that circles ends here.
    last: Option<Vec<u8>>,
    /// Entries that are handed out before peers are asked again what comes next (hyperbee.56).
    asked: u64,
    /// The block that was missing last: what comes after it is looked for once.
    stuck: Option<u64>,
}

/// Blocks that a walk which waits for one has fetched beside it.
const AHEAD: usize = 256;

#[derive(Clone, Debug)]
enum State {
    Fresh,
    /// The nodes from the root to where the walk is.
    Walking(Vec<Frame>),
    Done,
}

#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) spot: Spot,
    pub(super) level: Level,
    /// What comes next, counted from the walk's side: even ones are children, odd ones keys.
    pub(super) step: usize,
}

impl Cursor {
    pub(super) fn new(version: u64, range: Range) -> Cursor {
        Cursor { version, range, state: State::Fresh, last: None, asked: 0, stuck: None }
    }

    /// The next entry; `None` at the end.
    pub fn next(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Entry>, Error> {
        let entry = self.advance(cx, bee, log);
        if entry == Err(Error::Missing) && bee.visited.is_none() && self.stuck != bee.missing {
            self.stuck = bee.missing;
            bee.lacking.question = self.question().map(Question::Range);
            bee.lacking.blocks = self.ahead(cx, bee, log, AHEAD);
            bee.missing = self.stuck;
        }
        entry
    }

    fn advance(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Entry>, Error> {
        bee.start(log, self.version)?;
        if self.range.limit == Some(0) {
            self.state = State::Done;
        }
        if let State::Fresh = self.state {
            self.state = match root(self.version) {
                None => State::Done,
                Some(spot) => State::Walking(seek(cx, bee, log, self.version, &self.range, spot)?),
            };
        }
        let State::Walking(frames) = &mut self.state else { return Ok(None) };
        let entry = step(cx, bee, log, self.version, self.range.reverse, frames)?;
        let Some(entry) = entry else {
            self.state = State::Done;
            return Ok(None);
        };
        if let Some(last) = &self.last {
            let order = if self.range.reverse { last.cmp(&entry.key) } else { entry.key.cmp(last) };
            if order.is_le() {
                return Err(Error::Corrupt("the keys of a hyperbee are out of order"));
            }
        }
        if self.range.beyond_end(&entry.key) {
            self.state = State::Done;
            return Ok(None);
        }
        self.last = Some(entry.key.clone());
        self.asked = self.asked.saturating_sub(1);
        if let Some(limit) = &mut self.range.limit {
            *limit -= 1;
        }
        Ok(Some(entry))
    }
}

impl Frame {
    /// A node with the step as peers tell it: from the left, whatever the direction.
    pub(super) fn at(spot: Spot, level: Level, step: u64, reverse: bool) -> Frame {
        let last = 2 * level.keys.len();
        let step = usize::try_from(step).unwrap_or(usize::MAX).min(last + 1);
        Frame { spot, level, step: if reverse { last.saturating_sub(step) } else { step } }
    }

    /// Block, place and step for peers; None at the node's end.
    fn place(&self, reverse: bool) -> Option<[u64; 3]> {
        let left = (2 * self.level.keys.len()).checked_sub(self.step)?;
        let step = if reverse { left } else { self.step };
        Some([self.spot.seq, self.spot.offset, step as u64])
    }
}

impl Cursor {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The range that is left, and the nodes from the root to where the walk is.
    pub(super) fn state(&self) -> (&Range, &[Frame]) {
        match &self.state {
            State::Walking(frames) => (&self.range, frames),
            State::Fresh | State::Done => (&self.range, &[]),
        }
    }

    /// Goes on from where somebody else's walk is.
    pub(super) fn resume(&mut self, frames: Vec<Frame>) {
        self.state = State::Walking(frames);
    }

    /// hyperbee.56: where this walk is, for peers; None if it has asked not long ago, or is at its end.
    pub(super) fn question(&mut self) -> Option<AskRange> {
        let (range, frames) = self.state();
        let places = frames.iter().filter_map(|frame| frame.place(range.reverse));
        let checkpoint: Vec<u64> = places.flatten().collect();
        let ended = !matches!(self.state, State::Fresh) && checkpoint.is_empty();
        if self.asked > 0 || ended || range.limit == Some(0) {
            return None;
        }
        let parts = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Unbounded => (None, None),
            Bound::Included(key) => (Some(key.clone()), None),
            Bound::Excluded(key) => (None, Some(key.clone())),
        };
        let ((gte, gt), (lte, lt)) = (parts(&range.from), parts(&range.to));
        let (limit, reverse) = (range.limit.unwrap_or(0), range.reverse);
        self.asked = PASSIVE;
        Some(AskRange { version: self.version, gte, gt, lte, lt, limit, reverse, checkpoint })
    }
}

/// The frames from the root down to where the range begins.
pub(super) fn seek(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    version: u64,
    range: &Range,
    mut spot: Spot,
) -> Result<Vec<Frame>, Error> {
    let begin = if range.reverse { &range.to } else { &range.from };
    let mut frames = Vec::new();
    loop {
        let level = bee.level(cx, log, version, spot)?.clone();
        let (key, inclusive) = match begin {
            Bound::Unbounded => {
                frames.push(Frame { spot, level, step: 0 });
                return Ok(frames);
            }
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        // How many keys lie before the beginning, upwards.
        let mut before = 0;
        for &seq in &level.keys {
            match bee.block(cx, log, version, seq)?.key.cmp(key) {
                core::cmp::Ordering::Less => before += 1,
                core::cmp::Ordering::Greater => break,
                core::cmp::Ordering::Equal => {
                    let index = if range.reverse { level.keys.len() - 1 - before } else { before };
                    let step = 2 * index + if inclusive { 1 } else { 2 };
                    frames.push(Frame { spot, level, step });
                    return Ok(frames);
                }
            }
        }
        let index = if range.reverse { level.keys.len() - before } else { before };
        let next = child(&level, before);
        frames.push(Frame { spot, level, step: 2 * index + 1 });
        match next {
            None => return Ok(frames),
            Some(_) if frames.len() == limits::HYPERBEE_DEPTH_MAX => return Err(TOO_DEEP),
            Some(next) => spot = next,
        }
    }
}

/// hyperbee.27: child, key, child, key, ..., child. A step is counted only when it succeeded, so that a missing block
/// can be asked for again.
fn step(
    cx: &mut Cx<'_>,
    bee: &mut Bee,
    log: &mut impl Log,
    version: u64,
    reverse: bool,
    frames: &mut Vec<Frame>,
) -> Result<Option<Entry>, Error> {
    loop {
        let depth = frames.len();
        let Some(top) = frames.last_mut() else { return Ok(None) };
        let keys = top.level.keys.len();
        if top.step > 2 * keys {
            frames.pop();
            continue;
        }
        let index = top.step / 2;
        if top.step % 2 == 1 {
            let index = if reverse { keys - 1 - index } else { index };
            let entry = bee.entry(cx, log, version, top.level.keys[index])?;
            top.step += 1;
            return Ok(Some(entry));
        }
        let index = if reverse { keys - index } else { index };
        match child(&top.level, index) {
            None => top.step += 1,
            Some(_) if depth == limits::HYPERBEE_DEPTH_MAX => return Err(TOO_DEEP),
            Some(spot) => {
                let level = bee.level(cx, log, version, spot)?.clone();
                top.step += 1;
                frames.push(Frame { spot, level, step: 0 });
            }
        }
    }
}
