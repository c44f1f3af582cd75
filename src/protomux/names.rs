//! Which opens wait under which name. A name is a protocol and an id; aliases lead to the same entry.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{Id, Kind, Slab};

pub(super) enum NameKind {}
impl Kind for NameKind {
    const NAME: &'static str = "name";
}
pub(super) type NameId = Id<NameKind>;

/// Protocol and id. An empty id is none (protomux.4).
type Key = (String, Vec<u8>);

#[derive(Default)]
pub(super) struct Entry {
    /// The name itself and its aliases.
    keys: Vec<Key>,
    /// Channels of ours that are not closed.
    pub opened: usize,
    /// The peer's ids of opens that nobody here has answered, in the order they came (protomux.13).
    pub incoming: VecDeque<u64>,
    /// Our ids of opens that the peer has not answered, in the order they left.
    pub outgoing: VecDeque<u64>,
}

#[derive(Default)]
pub(super) struct Names {
    by_key: BTreeMap<Key, NameId>,
    entries: Slab<NameKind, Entry>,
}

impl Names {
    pub fn find(&self, protocol: &str, id: &[u8]) -> Option<NameId> {
        self.by_key.get(&(protocol.to_owned(), id.to_owned())).copied()
    }

    /// The entry of a name. `aliases` count only for an entry that is new, and only where they are not in use: an alias
    /// matches on the side that declared it (protomux.14).
    pub fn get_or_add(&mut self, protocol: &str, id: &[u8], aliases: &[&str]) -> NameId {
        if let Some(name) = self.find(protocol, id) {
            return name;
        }
        let name = self.entries.insert(Entry::default());
        for key in core::iter::once(&protocol).chain(aliases) {
            let key = ((*key).to_owned(), id.to_owned());
            if !self.by_key.contains_key(&key) {
                self.by_key.insert(key.clone(), name);
                self.entry(name).keys.push(key);
            }
        }
        name
    }

    /// An entry that `find` or `get_or_add` gave and that has not been collected.
    pub fn entry(&mut self, name: NameId) -> &mut Entry {
        self.entries.get_mut(name).expect("a name in use is not collected")
    }

    /// The first open of the peer that waits under `name` or under one of `aliases`.
    pub fn take_incoming(&mut self, name: NameId, aliases: &[&str], id: &[u8]) -> Option<u64> {
        if let Some(remote) = self.entry(name).incoming.pop_front() {
            return Some(remote);
        }
        aliases.iter().find_map(|alias| {
            let other = self.find(alias, id).filter(|other| *other != name)?;
            let remote = self.entry(other).incoming.pop_front();
            self.collect(other);
            remote
        })
    }

    pub fn opened(&self, protocol: &str, id: &[u8]) -> bool {
        self.look(protocol, id).is_some_and(|entry| entry.opened > 0)
    }

    pub fn waits(&self, protocol: &str, id: &[u8]) -> bool {
        self.look(protocol, id).is_some_and(|entry| !entry.incoming.is_empty())
    }

    fn look(&self, protocol: &str, id: &[u8]) -> Option<&Entry> {
        self.entries.get(self.find(protocol, id)?)
    }

    /// Forgets a name with which nothing is connected any more.
    pub fn collect(&mut self, name: NameId) {
        let Some(entry) = self.entries.get(name) else { return };
        if entry.opened > 0 || !entry.incoming.is_empty() || !entry.outgoing.is_empty() {
            return;
        }
        if let Some(entry) = self.entries.remove(name) {
            for key in entry.keys {
                self.by_key.remove(&key);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
