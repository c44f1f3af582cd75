//! What differs between two versions of a tree. Follows hyperbee.43 and hyperbee.44. Read `cursor.rs` first.

use core::cmp::Ordering;

use super::cursor::{Frame, Range, seek};
use super::{Bee, Entry, Log, Spot, TOO_DEEP, child, root};
use crate::base::{Cx, Error, limits};

/// A key whose entry is not the same in both versions. One of both is there, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    pub left: Option<Entry>,
    pub right: Option<Entry>,
}

impl Difference {
    /// The key that it is about.
    pub fn key(&self) -> &[u8] {
        let entry = self.left.as_ref().or(self.right.as_ref());
        entry.map_or(&[], |entry| &entry.key)
    }
}

/// Hands out the differences of two versions in the order of the keys. What both versions share is passed over without
/// being read. After `Error::Missing` it can be asked again once the block is here. (hyperbee.43)
#[derive(Clone, Debug)]
pub struct Diff {
    left: Side,
    right: Side,
    range: Range,
    /// The key handed out last.
    last: Option<Vec<u8>>,
    done: bool,
}

#[derive(Clone, Debug)]
struct Side {
    version: u64,
    /// The nodes from the root to where the walk is; None before it began.
    frames: Option<Vec<Frame>>,
    /// Keys passed: a tree has fewer of them than its log has blocks, whatever its writer says.
    passed: u64,
}

/// What a side's walk is at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    /// The block of a key.
    Key(u64),
    Child(Spot),
}

impl Diff {
    pub(super) fn new(left: u64, right: u64, range: Range) -> Diff {
        let side = |version| Side { version, frames: None, passed: 0 };
        Diff { left: side(left), right: side(right), range, last: None, done: false }
    }

    /// The next difference; `None` at the end.
    pub fn next(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Difference>, Error> {
        bee.start(log, self.left.version.max(self.right.version))?;
        if self.done || self.range.limit == Some(0) {
            return Ok(None);
        }
        self.left.begin(cx, bee, log, &self.range)?;
        self.right.begin(cx, bee, log, &self.range)?;
        let Some(found) = self.find(cx, bee, log)? else {
            self.done = true;
            return Ok(None);
        };
        if let Some(last) = &self.last
            && self.order(last, found.key()).is_ge()
        {
            return Err(Error::Corrupt("the keys of a hyperbee are out of order"));
        }
        if self.range.beyond_end(found.key()) {
            self.done = true;
            return Ok(None);
        }
        self.last = Some(found.key().to_vec());
        self.range.limit = self.range.limit.map(|limit| limit - 1);
        Ok(Some(found))
    }

    /// As the walk goes: what comes first is less.
    fn order(&self, a: &[u8], b: &[u8]) -> Ordering {
        if self.range.reverse { b.cmp(a) } else { a.cmp(b) }
    }

    /// hyperbee.43: both walks side by side. Equal nodes and keys are passed over; of two different nodes the one that
    /// reaches further is entered.
    fn find(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
    ) -> Result<Option<Difference>, Error> {
        let reverse = self.range.reverse;
        loop {
            let (at_left, at_right) = (self.left.peek(reverse), self.right.peek(reverse));
            let (enter_left, enter_right) = match (at_left, at_right) {
                (None, None) => return Ok(None),
                (Some(left), Some(right)) if left == right => {
                    self.left.pass(left)?;
                    self.right.pass(right)?;
                    continue;
                }
                (Some(Item::Key(left)), None) => return self.found(cx, bee, log, Some(left), None),
                (None, Some(Item::Key(right))) => return self.found(cx, bee, log, None, Some(right)),
                (Some(Item::Key(left)), Some(Item::Key(right))) => {
                    let of_left = bee.block(cx, log, self.left.version, left)?.key.clone();
                    let of_right = &bee.block(cx, log, self.right.version, right)?.key;
                    return match self.order(&of_left, of_right) {
                        Ordering::Less => self.found(cx, bee, log, Some(left), None),
                        Ordering::Equal => self.found(cx, bee, log, Some(left), Some(right)),
                        Ordering::Greater => self.found(cx, bee, log, None, Some(right)),
                    };
                }
                (Some(Item::Child(_)), Some(Item::Child(_))) => {
                    let order = self.reach(cx, bee, log)?;
                    (order.is_ge(), order.is_le())
                }
                (Some(Item::Child(_)), _) => (true, false),
                (_, Some(Item::Child(_))) => (false, true),
            };
            // Each on its own, so that a block that is not here leaves both as they are.
            if enter_left {
                self.left.enter(cx, bee, log, at_left)?;
            }
            if enter_right {
                self.right.enter(cx, bee, log, at_right)?;
            }
        }
    }

    /// Compares how far the nodes reach at which both sides are: up to the key after them, or to the end.
    fn reach(&self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log) -> Result<Ordering, Error> {
        let reverse = self.range.reverse;
        Ok(match (self.left.key_after(reverse), self.right.key_after(reverse)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) if left == right => Ordering::Equal,
            (Some(left), Some(right)) => {
                let of_left = bee.block(cx, log, self.left.version, left)?.key.clone();
                self.order(&of_left, &bee.block(cx, log, self.right.version, right)?.key)
            }
        })
    }

    fn found(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        left: Option<u64>,
        right: Option<u64>,
    ) -> Result<Option<Difference>, Error> {
        let versions = (self.left.version, self.right.version);
        let of_left = left.map(|seq| bee.entry(cx, log, versions.0, seq)).transpose()?;
        let of_right = right.map(|seq| bee.entry(cx, log, versions.1, seq)).transpose()?;
        if let Some(seq) = left {
            self.left.pass(Item::Key(seq))?;
        }
        if let Some(seq) = right {
            self.right.pass(Item::Key(seq))?;
        }
        Ok(Some(Difference { left: of_left, right: of_right }))
    }
}

impl Side {
    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        range: &Range,
    ) -> Result<(), Error> {
        if self.frames.is_none() {
            self.frames = Some(match root(self.version) {
                None => Vec::new(),
                Some(spot) => seek(cx, bee, log, self.version, range, spot)?,
            });
        }
        Ok(())
    }

    /// What comes next; None at the end. Leaves nodes that are done.
    fn peek(&mut self, reverse: bool) -> Option<Item> {
        let frames = self.frames.as_mut()?;
        loop {
            let top = frames.last_mut()?;
            let (keys, index) = (top.level.keys.len(), top.step / 2);
            if top.step > 2 * keys {
                frames.pop();
            } else if top.step % 2 == 1 {
                let index = if reverse { keys - 1 - index } else { index };
                return Some(Item::Key(top.level.keys[index]));
            } else {
                let index = if reverse { keys - index } else { index };
                match child(&top.level, index) {
                    Some(spot) => return Some(Item::Child(spot)),
                    None => top.step += 1,
                }
            }
        }
    }

    /// The block of the key that comes after the node at which `peek` is. The walk has left the keys of the nodes above
    /// it where it is to go on with.
    fn key_after(&self, reverse: bool) -> Option<u64> {
        self.frames.iter().flatten().rev().find_map(|frame| {
            let keys = &frame.level.keys;
            let index = frame.step / 2;
            let index = if reverse { keys.len().checked_sub(index + 1)? } else { index };
            keys.get(index).copied()
        })
    }

    fn pass(&mut self, item: Item) -> Result<(), Error> {
        if let Some(top) = self.frames.iter_mut().flatten().last() {
            top.step += 1;
        }
        // hyperbee.34
        self.passed += u64::from(matches!(item, Item::Key(_)));
        if self.passed < self.version {
            Ok(())
        } else {
            Err(Error::Corrupt("a hyperbee with more keys than blocks"))
        }
    }

    fn enter(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        item: Option<Item>,
    ) -> Result<(), Error> {
        let (Some(Item::Child(spot)), Some(frames)) = (item, self.frames.as_mut()) else { return Ok(()) };
        if frames.len() >= limits::HYPERBEE_DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        let level = bee.level(cx, log, self.version, spot)?.clone();
        if let Some(top) = frames.last_mut() {
            top.step += 1;
        }
        frames.push(Frame { spot, level, step: 0 });
        Ok(())
    }
}
