//! Questions to a B-tree, answered piece by piece: from a copy here, or while peers send the blocks that are missing.

use crate::base::{Cx, Error};
use crate::node::{Bee, Change, Cursor, Diff, Difference, Entry, Extent, History, Hypercore, Range};

/// What is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The entry of a key.
    Get { key: Vec<u8> },
    /// The entries of a range, in order.
    List(Range),
    /// The operations of its blocks.
    History(Extent),
    /// What differs from another version.
    Diff { from: u64, range: Range },
}

/// A piece of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    Entry(Entry),
    Change(Change),
    /// `left` is that of the version that is asked, `right` that of the other.
    Difference(Difference),
}

/// A question to a version of the tree, and how far it is answered.
///
/// `next` gives the pieces; after `Error::Missing` it is asked again once the block is here that `Bee::missing` names.
/// After the end of a live history it is asked again when the core has grown. `Refused`: the core holds no hyperbee.
#[derive(Clone, Debug)]
pub struct Reading {
    version: u64,
    checked: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Fresh(Ask),
    Get(Vec<u8>),
    List(Cursor),
    History(History),
    Diff(Box<Diff>),
    Done,
}

impl Reading {
    /// A question to the tree as it was when its core had `version` blocks.
    pub fn new(ask: Ask, version: u64) -> Reading {
        Reading { version, checked: false, state: State::Fresh(ask) }
    }

    /// The next piece; None at the end.
    pub fn next(
        &mut self,
        cx: &mut Cx<'_>,
        bee: &mut Bee,
        core: &mut Hypercore,
    ) -> Result<Option<Piece>, Error> {
        if !self.checked {
            check(cx, bee, core)?;
            self.checked = true;
        }
        let version = self.version;
        if let State::Fresh(ask) = &self.state {
            self.state = match ask.clone() {
                Ask::Get { key } => State::Get(key),
                Ask::List(range) => State::List(bee.range(version, range)),
                Ask::History(extent) => State::History(bee.history_in(version, &extent)?),
                Ask::Diff { from, range } => State::Diff(Box::new(bee.diff(version, from, range))),
            };
        }
        match &mut self.state {
            State::Fresh(_) | State::Done => Ok(None),
            State::Get(key) => {
                let found = bee.get_at(cx, core, version, key)?;
                self.state = State::Done;
                Ok(found.map(Piece::Entry))
            }
            State::List(cursor) => Ok(cursor.next(cx, bee, core)?.map(Piece::Entry)),
            State::History(history) => Ok(history.next(cx, bee, core)?.map(Piece::Change)),
            State::Diff(diff) => Ok(diff.next(cx, bee, core)?.map(Piece::Difference)),
        }
    }
}

/// Whether the core holds a B-tree; an empty one may become one. `Refused` if not.
pub fn check(cx: &mut Cx<'_>, bee: &mut Bee, core: &mut Hypercore) -> Result<(), Error> {
    match bee.header(cx, core) {
        Ok(None) => Ok(()),
        Ok(Some(header)) if header.protocol == "hyperbee" => Ok(()),
        Ok(Some(_)) | Err(Error::Malformed(_)) => Err(Error::Refused(NO_TREE)),
        Err(error) => Err(error),
    }
}

const NO_TREE: &str = "the core holds no hyperbee";
