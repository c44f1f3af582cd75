//! What must hold in a registry, whatever happens to its hosts: the server's log is the history of the names, and
//! whatever anybody was told is true of some version of it.
//!
//! - A log never forgets what somebody was told, nor says it differently afterwards.
//! - A name is registered when nobody has it, under a key whose owner asked for it; it is deleted by its owner alone.
//! - The answer to a write was true at some moment between question and answer.
//! - The answer to a read is the server's at the version that the reader's copy has.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::registry::command::Command;
use crate::app::registry::outcome::Outcome;
use crate::app::registry::rules;
use crate::base::Key;
use crate::node::{CoreId, Net};
use crate::sim::check::Verdict;
use crate::wire;
use crate::wire::hyperbee::Node;

/// A name's owners, each with the number of blocks from which on that was so.
type History = Vec<(u64, Option<Key>)>;

/// Something that somebody was told.
#[derive(Debug)]
struct Claim {
    who: usize,
    said: String,
    what: Said,
}

#[derive(Debug)]
enum Said {
    /// Of some version from `from` on: the owner is `key`, or is not, or is another, or is nobody.
    Once {
        name: String,
        from: u64,
        owner: Owner,
        key: Key,
    },
    /// Of the version that is so many blocks long.
    At {
        name: String,
        length: u64,
        owner: Option<Vec<u8>>,
    },
    List {
        length: u64,
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    Is,
    IsNot,
    Other,
    Nobody,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Ledger {
    blocks: Vec<Vec<u8>>,
    names: BTreeMap<Vec<u8>, History>,
    /// Who asked to register, and to delete, which names.
    asked: BTreeSet<(bool, Key, Vec<u8>)>,
    /// What was said since the log was last looked at.
    claims: Vec<Claim>,
    /// Blocks that some client has.
    seen: u64,
    /// Claims that were found true.
    pub proven: u64,
}

impl Ledger {
    pub fn length(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Names that have an owner.
    pub fn owned(&self) -> usize {
        self.names.values().filter(|history| history.last().is_some_and(|(_, owner)| owner.is_some())).count()
    }

    /// A client types a command.
    pub fn asks(&mut self, key: Key, command: &Command) {
        let (register, name) = match command {
            Command::Register(name) => (true, name),
            Command::Delete(name) => (false, name),
            _ => return,
        };
        self.asked.insert((register, key, name.clone().into_bytes()));
    }

    /// A client has so many blocks.
    pub fn copied(&mut self, length: u64) {
        self.seen = self.seen.max(length);
    }

    /// A client is told what became of a command that it typed when the log had `from` blocks; its copy has `length`.
    pub fn told(&mut self, who: usize, key: Key, from: u64, length: u64, outcome: &Outcome) -> Verdict {
        let once = |name: &str, owner| Said::Once { name: name.to_owned(), from, owner, key };
        let what = match outcome {
            Outcome::Registered { name } | Outcome::AlreadyYours { name } => once(name, Owner::Is),
            Outcome::Deleted { name } => once(name, Owner::IsNot),
            Outcome::Found { name, owner } => {
                Said::At { name: name.clone(), length, owner: Some(owner.clone()) }
            }
            Outcome::NotFound { name } => Said::At { name: name.clone(), length, owner: None },
            Outcome::List { entries } => Said::List { length, entries: entries.clone() },
            Outcome::WhoAmI { key: told } if *told != key => {
                return Err(format!("client {who} was told another key than its own"));
            }
            _ => return Ok(()),
        };
        self.copied(length);
        self.claims.push(Claim { who, said: outcome.text(), what });
        Ok(())
    }

    /// A client's write was refused.
    pub fn refused(&mut self, who: usize, key: Key, from: u64, name: &str, why: &str) -> Verdict {
        let owner = match why {
            rules::TAKEN | rules::NOT_OWNER => Owner::Other,
            rules::NOT_FOUND => Owner::Nobody,
            rules::TOO_MANY | rules::BUSY => return Ok(()),
            _ => return Err(format!("client {who} is refused {name}: {why}")),
        };
        let what = Said::Once { name: name.to_owned(), from, owner, key };
        self.claims.push(Claim { who, said: why.to_owned(), what });
        Ok(())
    }

    /// Looks at the server's log; `anew`: its process was started since the last time.
    pub fn look(&mut self, net: &mut Net<'_>, core: CoreId, anew: bool) -> Verdict {
        let length = net.core_info(core).map(|info| info.length).map_err(|error| error.to_string())?;
        if length < self.seen {
            return Err(format!("the log has {length} blocks, and somebody has {}", self.seen));
        }
        if length < self.length() && !anew {
            return Err(format!("the log shrinks from {} blocks to {length}", self.length()));
        }
        let known = if anew { 0 } else { self.length() };
        for index in known..length {
            let block = net.block(core, index).map_err(|error| format!("block {index}: {error}"))?;
            let block = block.ok_or_else(|| format!("the server has no block {index} of {length}"))?;
            match self.blocks.get(index as usize) {
                Some(old) if *old == block => continue,
                Some(_) if index < self.seen => return Err(format!("block {index} has changed")),
                Some(_) => self.forget_from(index),
                None => {}
            }
            self.take(index, &block)?;
            self.blocks.push(block);
        }
        self.forget_from(length);
        for claim in core::mem::take(&mut self.claims) {
            self.judge(&claim)?;
            self.proven += 1;
        }
        Ok(())
    }

    /// Blocks that nobody was told of are gone after a crash.
    fn forget_from(&mut self, index: u64) {
        self.blocks.truncate(index as usize);
        for history in self.names.values_mut() {
            history.retain(|(length, _)| *length <= index);
        }
        for claim in &mut self.claims {
            if let Said::Once { from, .. } = &mut claim.what {
                *from = (*from).min(index);
            }
        }
    }

    /// One more block of the log.
    fn take(&mut self, index: u64, block: &[u8]) -> Verdict {
        if index == 0 {
            return Ok(());
        }
        let node: Node =
            wire::decode(block).map_err(|fault| format!("block {index} is no entry: {fault:?}"))?;
        let before = self.owner_at(&node.key, index);
        let name = String::from_utf8_lossy(&node.key).into_owned();
        let owner = match &node.value {
            Some(value) => {
                let key =
                    Key::try_from(&value[..]).map_err(|_| format!("{name} has an owner that is no key"))?;
                if before.is_some() {
                    return Err(format!("block {index}: {name} is given away though it has an owner"));
                }
                if !self.asked.contains(&(true, key, node.key.clone())) {
                    return Err(format!("block {index}: {name} goes to somebody who did not ask for it"));
                }
                Some(key)
            }
            None => {
                let Some(owner) = before else {
                    return Err(format!("block {index}: {name} is deleted though nobody has it"));
                };
                if !self.asked.contains(&(false, owner, node.key.clone())) {
                    return Err(format!("block {index}: {name} is deleted, and its owner did not ask"));
                }
                None
            }
        };
        self.names.entry(node.key).or_default().push((index + 1, owner));
        Ok(())
    }

    /// Who has a name in the version of so many blocks.
    fn owner_at(&self, name: &[u8], length: u64) -> Option<Key> {
        let history = self.names.get(name)?;
        history.iter().rev().find(|(from, _)| *from <= length).and_then(|(_, owner)| *owner)
    }

    fn judge(&self, claim: &Claim) -> Verdict {
        let true_of_it = match &claim.what {
            Said::Once { name, from, owner, key } => {
                let fits = |found: Option<Key>| match owner {
                    Owner::Is => found == Some(*key),
                    Owner::IsNot => found != Some(*key),
                    Owner::Other => found.is_some_and(|found| found != *key),
                    Owner::Nobody => found.is_none(),
                };
                let history = self.names.get(name.as_bytes());
                let later = history.into_iter().flatten().filter(|(at, _)| at > from);
                fits(self.owner_at(name.as_bytes(), *from))
                    || later.into_iter().any(|(_, owner)| fits(*owner))
            }
            Said::At { name, length, owner } => {
                let truth = self.owner_at(name.as_bytes(), *length);
                truth.as_ref().map(|key| &key[..]) == owner.as_deref()
            }
            Said::List { length, entries } => {
                let all = self.names.keys();
                let truth = all.filter_map(|name| Some((name, self.owner_at(name, *length)?)));
                let truth: Vec<(Vec<u8>, Vec<u8>)> =
                    truth.map(|(name, key)| (name.clone(), key.to_vec())).collect();
                truth == *entries
            }
        };
        if true_of_it {
            return Ok(());
        }
        let Claim { who, said, what } = claim;
        Err(format!("client {who} was told {said:?}, which is not so: {what:?}, of {} blocks", self.length()))
    }
}
