//! The queue of peers that are to be dialled, and the connections that there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Link;
use super::peer::PRIORITIES;
use crate::base::{Entropy, Key, Time};

/// Peers to be dialled: the highest priority first, drawn within one (hyperswarm.16).
#[derive(Default)]
pub(super) struct Queue {
    by_priority: [Vec<Key>; PRIORITIES],
}

impl Queue {
    pub fn add(&mut self, priority: usize, key: Key) {
        self.by_priority[priority.min(PRIORITIES - 1)].push(key);
    }

    pub fn take(&mut self, entropy: &mut dyn Entropy) -> Option<Key> {
        let keys = self.by_priority.iter_mut().rev().find(|keys| !keys.is_empty())?;
        let drawn = entropy.below(keys.len() as u64) as usize;
        Some(keys.swap_remove(drawn))
    }

    pub fn len(&self) -> usize {
        self.by_priority.iter().map(Vec::len).sum()
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.by_priority.iter().flatten().copied()
    }

    pub fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
        self.by_priority.iter_mut().for_each(|keys| keys.retain(|key| keep(key)));
    }

    pub fn clear(&mut self) {
        *self = Queue::default();
    }
}

/// What there is of a connection to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// It is being dialled.
    Attempt,
    Open(Link),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// This side dials.
    Dialling,
    /// This side has dialled.
    Client(Link),
    Server(Link),
}

/// An attempt beside a connection that has fallen silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Beside {
    pub since: Time,
    /// It was given up; its end has not come.
    pub doomed: bool,
}

/// A connection that takes the place of one that is closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Successor {
    pub link: Link,
    /// This side has dialled it.
    pub ours: bool,
}

pub(super) struct Connection {
    pub state: State,
    /// When it opened, or began to be dialled.
    pub since: Time,
    /// It was told to close; its end has not come.
    pub doomed: bool,
    /// The owner knows of it.
    pub told: bool,
    pub beside: Option<Beside>,
    /// Attempts beside it that have failed.
    pub failed: u32,
    /// Connections of the same peer that take its place once it is closed.
    pub successors: VecDeque<Successor>,
}

/// At most one connection per peer. One that is closing still counts.
#[derive(Default)]
pub(super) struct Connections {
    by_key: BTreeMap<Key, Connection>,
    by_link: BTreeMap<Link, Key>,
    /// Attempts, those beside a connection included.
    dialling: usize,
    /// Attempts, and what came of them.
    clients: usize,
    servers: usize,
}

impl Connections {
    pub fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn dialling(&self) -> usize {
        self.dialling
    }

    pub fn dialled_keys(&self) -> BTreeSet<Key> {
        let dialled =
            |connection: &Connection| connection.state == State::Dialling || connection.beside.is_some();
        self.by_key.iter().filter(|(_, connection)| dialled(connection)).map(|(key, _)| *key).collect()
    }

    pub fn existing(&self, key: &Key) -> Option<Existing> {
        self.by_key.get(key).map(|connection| match connection.state {
            State::Dialling => Existing::Attempt,
            State::Client(link) | State::Server(link) => Existing::Open(link),
        })
    }

    pub fn links(&self) -> Vec<(Key, Link)> {
        let link = |(key, connection): (&Key, &Connection)| match connection.state {
            State::Dialling => None,
            State::Client(link) | State::Server(link) => Some((*key, link)),
        };
        self.by_key.iter().filter_map(link).collect()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn clients(&self) -> usize {
        self.clients
    }

    pub fn servers(&self) -> usize {
        self.servers
    }

    pub fn get(&self, key: &Key) -> Option<&Connection> {
        self.by_key.get(key)
    }

    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Connection> {
        self.by_key.get_mut(key)
    }

    pub fn of_link(&self, link: &Link) -> Option<Key> {
        self.by_link.get(link).copied()
    }

    pub fn keys(&self) -> Vec<Key> {
        self.by_key.keys().copied().collect()
    }

    /// Forgets a connection that waits for another to close. True: it did.
    pub fn remove_successor(&mut self, link: Link) -> bool {
        let mut any = false;
        for connection in self.by_key.values_mut() {
            let before = connection.successors.len();
            connection.successors.retain(|successor| successor.link != link);
            any |= connection.successors.len() < before;
        }
        any
    }

    pub fn insert(&mut self, key: Key, state: State, now: Time) {
        self.count(state, 1);
        let told = state != State::Dialling;
        let connection = Connection {
            state,
            since: now,
            doomed: false,
            told,
            beside: None,
            failed: 0,
            successors: VecDeque::new(),
        };
        if let State::Client(link) | State::Server(link) = state {
            self.by_link.insert(link, key);
        }
        self.by_key.insert(key, connection);
    }

    /// An attempt has become a connection.
    pub fn open(&mut self, key: Key, link: Link, now: Time) {
        let Some(connection) = self.by_key.get_mut(&key) else { return };
        (connection.state, connection.since) = (State::Client(link), now);
        self.by_link.insert(link, key);
        self.dialling -= 1;
    }

    /// Begins or ends an attempt beside a connection.
    pub fn set_beside(&mut self, key: &Key, beside: Option<Beside>) {
        let Some(connection) = self.by_key.get_mut(key) else { return };
        let before = core::mem::replace(&mut connection.beside, beside);
        self.dialling = self.dialling + usize::from(beside.is_some()) - usize::from(before.is_some());
        self.clients = self.clients + usize::from(beside.is_some()) - usize::from(before.is_some());
    }

    pub fn remove(&mut self, key: &Key) -> Option<Connection> {
        self.set_beside(key, None);
        let connection = self.by_key.remove(key)?;
        self.count(connection.state, -1);
        if let State::Client(link) | State::Server(link) = connection.state {
            self.by_link.remove(&link);
        }
        Some(connection)
    }

    fn count(&mut self, state: State, by: isize) {
        let add = |count: &mut usize| *count = count.saturating_add_signed(by);
        match state {
            State::Dialling => {
                add(&mut self.dialling);
                add(&mut self.clients);
            }
            State::Client(_) => add(&mut self.clients),
            State::Server(_) => add(&mut self.servers),
        }
    }
}
