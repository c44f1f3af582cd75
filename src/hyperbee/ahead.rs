//! Reading a tree whose blocks are elsewhere: which ones a read will need, asked of peers, and told to those who ask.
//! Follows hyperbee.35 and hyperbee.55 to hyperbee.60. Read `cursor.rs` first.

use core::ops::Bound;
use std::collections::BTreeSet;

use super::cursor::{Cursor, Frame, Range};
use super::{Bee, Log, Spot, child};
use crate::base::{Cx, Malformed, Time, limits};
use crate::wire::hyperbee::{AskGet, AskRange, Envelope, Extension, Hint};
use crate::wire::{decode, encode};

/// The name of the core extension that these messages go by.
pub const EXTENSION: &str = "hyperbee";

/// Blocks that one message names. (hyperbee.57)
const PIECE: usize = 128;
/// Blocks that a walk goes through before it asks anew. (hyperbee.56)
pub(super) const PASSIVE: u64 = 2048;
/// Blocks that one question about a range brings. (hyperbee.57)
const ACTIVE: usize = PASSIVE as usize + PIECE;

/// Asks, and answers, one tree's peers. Commands: `ask`, `ask_get`, `ask_range`, `told`; what they return is sent in
/// messages of the extension `EXTENSION`: questions to all peers, answers to who asked.
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    /// What was asked about last; a read that is tried again does not ask again.
    asked: Option<(u64, Vec<u8>)>,
    /// Blocks that answers may still make us fetch.
    hoped: usize,
    /// Blocks that questions have made us read, as of a moment; they are forgiven as time goes.
    spent: u64,
    at: Time,
}

/// What comes of a message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// For who sent it.
    pub answers: Vec<Vec<u8>>,
    /// Blocks to fetch: a read that was asked about will need them.
    pub wanted: Vec<u64>,
}

/// What a read that failed with `Error::Missing` is short of; see `Bee::lacking`.
#[derive(Debug, Default)]
pub struct Lacking {
    /// Blocks that it needs: the one that it failed for, and those that a walk needs next.
    pub blocks: Vec<u64>,
    pub(super) question: Option<Question>,
}

impl Bee {
    /// What the last read is short of that failed with `Error::Missing`; once.
    pub fn lacking(&mut self) -> Lacking {
        let mut lacking = core::mem::take(&mut self.lacking);
        lacking.blocks.extend(self.missing);
        lacking
    }
}

/// The blocks that a read looked at, in this order.
#[derive(Debug, Default)]
pub(super) struct Visited {
    pub(super) seen: BTreeSet<u64>,
    order: Vec<u64>,
}

impl Visited {
    pub(super) fn note(&mut self, seq: u64) {
        if self.seen.insert(seq) {
            self.order.push(seq);
        }
    }
}

impl Ahead {
    /// The question which blocks lead to a key.
    pub fn ask_get(&mut self, version: u64, key: &[u8]) -> Vec<u8> {
        self.hoped = (self.hoped + 4 * PIECE).min(limits::HYPERBEE_HINTS_MAX);
        let get = AskGet { version, key: Some(key.to_vec()) };
        packed(&Extension { get: Some(get), ..Extension::default() })
    }

    /// The question for all peers that helps a read along; None if it was asked, or if there is none.
    pub fn ask(&mut self, lacking: &Lacking) -> Option<Vec<u8>> {
        match lacking.question.as_ref()? {
            Question::Get(get) => {
                let key = get.key.as_deref().unwrap_or_default();
                let again = self.asked.as_ref().is_some_and(|asked| asked.0 == get.version && asked.1 == key);
                if again {
                    return None;
                }
                self.asked = Some((get.version, key.to_vec()));
                Some(self.ask_get(get.version, key))
            }
            Question::Range(range) => Some(self.ask_walk(range.clone())),
        }
    }

    /// Nobody heard what was asked last.
    pub fn unheard(&mut self) {
        self.asked = None;
    }

    /// The question which blocks a walk will need; None if it has asked not long ago, or is at its end. (hyperbee.56)
    pub fn ask_range(&mut self, cursor: &mut Cursor) -> Option<Vec<u8>> {
        cursor.question().map(|range| self.ask_walk(range))
    }

    fn ask_walk(&mut self, range: AskRange) -> Vec<u8> {
        self.hoped = (self.hoped + ACTIVE).min(limits::HYPERBEE_HINTS_MAX);
        packed(&Extension { iterator: Some(range), ..Extension::default() })
    }

    /// Takes a peer's message, be it a question or an answer. (hyperbee.58)
    pub fn told(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        message: &[u8],
    ) -> Result<Told, Malformed> {
        let Envelope { message } = decode(message)?;
        let Extension { cache, get, iterator } = decode(&message)?;
        let mut told = Told::default();
        if let Some(hint) = cache {
            told.wanted = self.hints(log, &hint);
        }
        self.forgive(cx.now);
        for question in [get.map(Question::Get), iterator.map(Question::Range)].into_iter().flatten() {
            // hyperbee.59
            if self.spent >= limits::HYPERBEE_ASKED_MAX || !question.is_answered(log) {
                continue;
            }
            let blocks = visit(cx, bee, log, question);
            self.spent += blocks.len() as u64 + 1;
            told.answers.extend(blocks.chunks(PIECE).map(answer));
        }
        Ok(told)
    }

    /// hyperbee.60: no more than was asked for.
    fn hints(&mut self, log: &impl Log, hint: &Hint) -> Vec<u64> {
        let absent = hint.blocks.iter().copied().filter(|&seq| seq < log.len() && !log.has(seq));
        let wanted: BTreeSet<u64> = absent.take(self.hoped).collect();
        self.hoped -= wanted.len();
        wanted.into_iter().collect()
    }

    fn forgive(&mut self, now: Time) {
        let share = now.since(self.at).as_millis().saturating_mul(limits::HYPERBEE_ASKED_MAX / 1000);
        if share > 0 {
            self.spent = self.spent.saturating_sub(share);
            self.at = now;
        }
    }
}

#[derive(Debug)]
pub(super) enum Question {
    Get(AskGet),
    Range(AskRange),
}

impl Question {
    /// hyperbee.58: not about nothing, and not about what we do not have.
    fn is_answered(&self, log: &impl Log) -> bool {
        let version = match self {
            Question::Get(get) => get.version,
            Question::Range(range) => range.version,
        };
        version != 0 && version <= log.len()
    }
}

/// hyperbee.57: the blocks that a read looks at here, as far as it comes.
fn visit(cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, question: Question) -> Vec<u64> {
    bee.visited = Some(Visited::default());
    match question {
        Question::Get(get) => {
            let _ = bee.get_at(cx, log, get.version, get.key.as_deref().unwrap_or_default());
        }
        Question::Range(range) => walk(cx, bee, log, range),
    }
    bee.visited.take().map(|visited| visited.order).unwrap_or_default()
}

fn walk(cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, question: AskRange) {
    let version = question.version;
    let limit = (question.limit > 0).then_some(question.limit);
    let bound = |exclusive: Option<Vec<u8>>, inclusive: Option<Vec<u8>>| match (exclusive, inclusive) {
        (Some(key), _) => Bound::Excluded(key),
        (None, Some(key)) => Bound::Included(key),
        (None, None) => Bound::Unbounded,
    };
    let (from, to) = (bound(question.gt, question.gte), bound(question.lt, question.lte));
    let range = Range { from, to, limit, reverse: question.reverse };
    let mut cursor = Cursor::new(version, range);
    if !question.checkpoint.is_empty() {
        let mut frames = Vec::new();
        for place in question.checkpoint.chunks_exact(3) {
            let spot = Spot { seq: place[0], offset: place[1] };
            let Ok(level) = bee.level(cx, log, version, spot) else { return };
            frames.push(Frame::at(spot, level.clone(), place[2], question.reverse));
        }
        cursor.resume(frames);
        // Who asks has these: they led there.
        bee.visited = Some(Visited::default());
    }
    while bee.visited.as_ref().is_some_and(|visited| visited.order.len() < ACTIVE) {
        if !matches!(cursor.next(cx, bee, log), Ok(Some(_))) {
            break;
        }
    }
}

fn answer(blocks: &[u64]) -> Vec<u8> {
    let start = blocks.iter().min().copied().unwrap_or(0);
    let end = blocks.iter().max().map_or(0, |last| last + 1);
    let cache = Hint { start, end, blocks: blocks.to_vec() };
    packed(&Extension { cache: Some(cache), ..Extension::default() })
}

/// hyperbee.62
fn packed(extension: &Extension) -> Vec<u8> {
    encode(&Envelope { message: encode(extension) })
}

/// A look at what a walk will come to. (hyperbee.61)
struct Look<'l> {
    version: u64,
    range: &'l Range,
    wanted: BTreeSet<u64>,
    max: usize,
    /// Nodes that may still be entered.
    nodes: u64,
    /// The walk may end before what comes next: at a key, or in a node, that is not here.
    unsure: bool,
}

impl Cursor {
    /// The blocks that are not here and that this walk needs next, as far as the nodes that are here tell; `max` at
    /// most. Empty for a walk with a limit. (hyperbee.61)
    pub fn ahead(&self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, max: usize) -> Vec<u64> {
        let (range, frames) = self.state();
        if range.limit.is_some() || bee.start(log, self.version()).is_err() {
            return Vec::new();
        }
        let (version, wanted) = (self.version(), BTreeSet::new());
        let mut look = Look { version, range, wanted, max, nodes: PASSIVE, unsure: false };
        // Whether all of a node lies within the range, from the root down.
        let mut inside = vec![range.is_open_ended()];
        for frame in frames {
            let above = inside[inside.len() - 1];
            inside.push(above || look.goes_on(cx, bee, log, frame, frame.step));
        }
        for (depth, frame) in frames.iter().enumerate().rev() {
            if !look.enter(cx, bee, log, frame, depth, inside[depth]) {
                break;
            }
        }
        look.wanted.into_iter().collect()
    }
}

impl Look<'_> {
    /// False: the walk ends within this node, or it is not known whether it does.
    fn enter(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        frame: &Frame,
        depth: usize,
        inside: bool,
    ) -> bool {
        if depth > limits::HYPERBEE_DEPTH_MAX || self.nodes == 0 {
            return false;
        }
        self.nodes -= 1;
        for step in frame.step..=2 * frame.level.keys.len() {
            if self.wanted.len() >= self.max {
                return false;
            }
            let goes_on = match self.item(frame, step) {
                Some(Item::Key(seq)) => self.key(cx, bee, log, seq, inside),
                Some(Item::Child(_)) if self.unsure => true,
                Some(Item::Child(spot)) => {
                    let inside = inside || self.goes_on(cx, bee, log, frame, step + 1);
                    self.child(cx, bee, log, spot, depth, inside)
                }
                None => true,
            };
            if !goes_on {
                return false;
            }
        }
        !self.unsure
    }

    /// What a node has at a step, counted from the walk's side.
    fn item(&self, frame: &Frame, step: usize) -> Option<Item> {
        let (keys, index) = (&frame.level.keys, step / 2);
        let reverse = self.range.reverse;
        if step.is_multiple_of(2) {
            let index = if reverse { keys.len().checked_sub(index)? } else { index };
            return child(&frame.level, index).map(Item::Child);
        }
        let index = if reverse { keys.len().checked_sub(index + 1)? } else { index };
        keys.get(index).map(|&seq| Item::Key(seq))
    }

    /// Whether the next key from a step on is known to be within the range: so is what comes before it.
    fn goes_on(
        &self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        frame: &Frame,
        step: usize,
    ) -> bool {
        let Some(Item::Key(seq)) = self.item(frame, step | 1) else { return false };
        let block = if log.has(seq) { bee.block(cx, log, self.version, seq).ok() } else { None };
        block.is_some_and(|block| !self.range.beyond_end(&block.key))
    }

    /// False: the walk ends at this key.
    fn key(&mut self, cx: &mut Cx<'_>, bee: &mut Bee, log: &mut impl Log, seq: u64, inside: bool) -> bool {
        if !log.has(seq) {
            self.wanted.insert(seq);
            self.unsure |= !inside;
            return true;
        }
        self.unsure = false;
        let block = bee.block(cx, log, self.version, seq);
        block.is_ok_and(|block| !self.range.beyond_end(&block.key))
    }

    /// False: the walk ends in this child.
    fn child(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        log: &mut impl Log,
        spot: Spot,
        depth: usize,
        inside: bool,
    ) -> bool {
        if !log.has(spot.seq) {
            self.wanted.insert(spot.seq);
            self.unsure |= !inside;
            return true;
        }
        let Ok(level) = bee.level(cx, log, self.version, spot) else { return false };
        let below = Frame { spot, level: level.clone(), step: 0 };
        self.enter(cx, bee, log, &below, depth + 1, inside)
    }
}

/// What a node has at a step.
enum Item {
    /// The block of a key.
    Key(u64),
    Child(Spot),
}
