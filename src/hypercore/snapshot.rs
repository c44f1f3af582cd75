//! A core as it was at one moment, for reading. Follows hypercore.101.

use super::Hypercore;
use crate::base::{Cx, Error, limits};
use crate::wire::oplog::Reorg;

/// What a core was: not longer when it grows, and readable up to where it was cut since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub length: u64,
    pub byte_length: u64,
    pub fork: u64,
}

/// The cuts since the core was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    /// Of forks before this one nothing is known.
    from: u64,
    /// Only those that matter: with each the shared blocks get more.
    list: Vec<Reorg>,
}

impl Cuts {
    pub fn since(fork: u64) -> Cuts {
        Cuts { from: fork, list: Vec::new() }
    }

    pub fn add(&mut self, cut: Reorg) {
        self.list.retain(|before| before.ancestors < cut.ancestors);
        self.list.push(cut);
        if self.list.len() > limits::SNAPSHOT_CUTS_MAX {
            self.from = self.list.remove(0).to;
        }
    }

    /// How many blocks a core of that fork shares with the one of now.
    fn shared(&self, fork: u64, now: u64) -> u64 {
        if fork < self.from || fork > now {
            return 0;
        }
        let later = self.list.iter().filter(|cut| cut.to > fork);
        later.map(|cut| cut.ancestors).min().unwrap_or(u64::MAX)
    }
}

impl Hypercore {
    /// The core as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { length: self.length(), byte_length: self.byte_length(), fork: self.fork() }
    }

    /// How many blocks of a snapshot are still those of the core.
    pub fn shared_with(&self, snapshot: &Snapshot) -> u64 {
        self.shared_since(snapshot.fork).min(snapshot.length)
    }

    pub(super) fn shared_since(&self, fork: u64) -> u64 {
        self.cuts.shared(fork, self.fork)
    }

    /// A block of a snapshot. None if it is not here, or beyond the snapshot. `Gone`: the core was cut below it since,
    /// or that cannot be said because the core was opened anew. (hypercore.101)
    pub fn get_at(
        &mut self,
        cx: &mut Cx<'_>,
        snapshot: &Snapshot,
        index: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        if index >= snapshot.length {
            return Ok(None);
        }
        if index >= self.shared_with(snapshot) {
            return Err(Error::Gone);
        }
        self.get(cx, index)
    }
}
