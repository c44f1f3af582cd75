//! The connections: whom to dial next, and which of two connections to one peer to keep.

use super::*;
use peer::PRIORITIES;

use crate::base::hex::Short;
use crate::base::{Entropy, trace};

/// Peers to be dialled: the highest priority first, drawn within one (hyperswarm.16).
#[derive(Default)]
pub(super) struct Queue {
    by_priority: [Vec<Key>; PRIORITIES],
}

impl Queue {
    fn add(&mut self, priority: usize, key: Key) {
        self.by_priority[priority.min(PRIORITIES - 1)].push(key);
    }

    fn take(&mut self, entropy: &mut dyn Entropy) -> Option<Key> {
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

    fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
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
enum State {
    /// This side dials.
    Dialling,
    /// This side has dialled.
    Client(Link),
    Server(Link),
}

struct Connection {
    state: State,
    /// It was told to close; its end has not come.
    doomed: bool,
    /// The owner knows of it.
    told: bool,
    /// Connections of the same peer that take its place once it is closed.
    successors: VecDeque<Link>,
}

/// At most one connection per peer. One that is closing still counts.
#[derive(Default)]
pub(super) struct Connections {
    by_key: BTreeMap<Key, Connection>,
    by_link: BTreeMap<Link, Key>,
    dialling: usize,
    clients: usize,
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
        let dialled = |connection: &Connection| connection.state == State::Dialling;
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

    fn insert(&mut self, key: Key, state: State) {
        match state {
            State::Dialling => (self.dialling, self.clients) = (self.dialling + 1, self.clients + 1),
            State::Client(_) => unreachable!("it begins as an attempt"),
            State::Server(link) => {
                self.by_link.insert(link, key);
            }
        }
        let told = state != State::Dialling;
        self.by_key.insert(key, Connection { state, doomed: false, told, successors: VecDeque::new() });
    }

    fn remove(&mut self, key: &Key) -> Option<Connection> {
        let connection = self.by_key.remove(key)?;
        match connection.state {
            State::Dialling => (self.dialling, self.clients) = (self.dialling - 1, self.clients - 1),
            State::Client(link) => {
                self.clients -= 1;
                self.by_link.remove(&link);
            }
            State::Server(link) => {
                self.by_link.remove(&link);
            }
        }
        Some(connection)
    }
}

/// Which of two connections to one peer stays, as the side decides where the new one came in (hyperswarm.21): the
/// new one if the old one has been used, and else the one that the greater key has opened.
pub fn keep_new(own: &Key, remote: &Key, new_is_ours: bool, outdated: bool) -> bool {
    outdated || (own > remote) == new_is_ours
}

impl Hyperswarm {
    /// hyperswarm.17
    fn within_max_peers(&self) -> bool {
        let factor = match self.explicit.len() {
            0 => 1,
            1 => 2,
            2 | 3 => 3,
            _ => 4,
        };
        factor * self.connections.by_key.len() < self.config.max_peers
    }

    pub(super) fn may_dial_more(&self) -> bool {
        self.within_max_peers()
            && self.config.max_client_connections.is_none_or(|max| self.connections.clients < max)
    }

    pub(super) fn queue_peer(&mut self, key: Key) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.queued = true;
        self.queue.add(peer.priority, key);
    }

    pub(super) fn enqueue(&mut self, cx: &mut Cx<'_>, key: Key) {
        self.queue_peer(key);
        self.attempt(cx);
    }

    /// Takes those out of the queue whose topics have been left (hyperswarm.15).
    pub(super) fn unqueue_unwanted(&mut self) {
        let unwanted: BTreeSet<Key> = self.queue.keys().filter(|key| !self.wanted(key)).collect();
        if unwanted.is_empty() || self.phase != Phase::Live {
            return;
        }
        self.queue.retain(|key| !unwanted.contains(key));
        for key in unwanted {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.queued = false;
            }
            self.flush_peer(&key);
            self.forget_maybe(&key);
        }
    }

    /// Dials as many as may be dialled now: explicit peers first, then the queue (hyperswarm.16).
    pub(super) fn attempt(&mut self, cx: &mut Cx<'_>) {
        if self.phase != Phase::Live {
            return;
        }
        for key in self.explicit.clone() {
            if self.connections.dialling >= self.config.max_parallel {
                break;
            }
            let Some(peer) = self.peers.get(&key) else { continue };
            let rested = crate::base::Span::from_secs(u64::from(peer.attempts));
            let early = peer.disconnected.is_some_and(|since| cx.now.since(since) < rested);
            if peer.attempts < 5 && !early {
                self.dial(cx, key);
            }
        }
        while self.connections.dialling < self.config.max_parallel && self.may_dial_more() {
            let Some(key) = self.queue.take(cx.entropy) else { break };
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.queued = false;
            }
            if !self.dial(cx, key) {
                self.flush_peer(&key);
                self.forget_maybe(&key);
            }
        }
        if self.connections.dialling == 0 {
            self.flush_all_maybe();
        }
    }

    /// False if it is not dialled: banned, refused, or connected with already. True if it is, also by an attempt that
    /// is under way.
    fn dial(&mut self, cx: &mut Cx<'_>, key: Key) -> bool {
        // hyperswarm.22
        if let Some(connection) = self.connections.by_key.get(&key) {
            return connection.state == State::Dialling;
        }
        if self.refuses(&key) {
            return false;
        }
        let Some(peer) = self.peers.get(&key) else { return false };
        // hyperswarm.27
        let through = self.config.relay_through.filter(|_| peer.force_relaying || self.randomized);
        let relays = peer.relays.clone();
        trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.22", "dials it");
        self.stats.client_attempted += 1;
        self.connections.insert(key, State::Dialling);
        self.outputs.push_back(Output::Connect { key, relays, through });
        true
    }

    /// An attempt has become a connection.
    pub(super) fn connected(&mut self, cx: &mut Cx<'_>, key: Key, link: Link) {
        let Some(connection) = self.connections.by_key.get_mut(&key).filter(|c| c.state == State::Dialling)
        else {
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
            return;
        };
        connection.state = State::Client(link);
        let doomed = connection.doomed;
        trace!(cx, State, "hyperswarm", id: link, peer: Short(&key), "open, dialled");
        connection.told = !doomed;
        self.connections.dialling -= 1;
        self.connections.by_link.insert(link, key);
        if doomed {
            // it opened while it was being given up: its close is what is waited for
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
            self.attempt(cx);
            return;
        }
        self.stats.client_opened += 1;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.on_connected(cx.now);
            peer.client = true;
        }
        let topics = self.topics_of(&key);
        self.events.push_back(Event::Connection { link, key, initiator: true, topics });
        self.attempt(cx);
        self.flush_peer(&key);
    }

    /// An attempt has come to nothing.
    pub(super) fn failed(&mut self, cx: &mut Cx<'_>, key: Key, holepunch: bool) {
        if self.connections.by_key.get(&key).is_none_or(|c| c.state != State::Dialling) {
            return;
        }
        trace!(cx, State, "hyperswarm", peer: Short(&key), "dialling it failed");
        // hyperswarm.27
        if holepunch
            && self.config.relay_through.is_some()
            && let Some(peer) = self.peers.get_mut(&key)
        {
            peer.force_relaying = true;
            peer.attempts = 0;
        }
        let connection = self.connections.remove(&key);
        self.client_ended(cx, key);
        self.flush_peer(&key);
        self.succeed(cx, key, connection);
        self.attempt(cx);
    }

    /// A connection or an attempt of this side is over: count it, and maybe dial again later.
    fn client_ended(&mut self, cx: &mut Cx<'_>, key: Key) {
        self.stats.client_closed += 1;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.on_disconnected(cx.now);
        }
        let retry = if self.wanted(&key) { self.peers.get(&key).and_then(Peer::retry) } else { None };
        if let (Some(retry), Some(peer)) = (retry, self.peers.get_mut(&key))
            && !peer.waiting
        {
            trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.14", "to be tried again with {retry}");
            peer.waiting = true;
            self.retries.add(cx.now, retry, key);
            self.set_retry_timer(cx.now, retry);
        }
        self.forget_maybe(&key);
    }

    /// A peer has opened a connection (hyperswarm.21).
    pub(super) fn incoming(&mut self, cx: &mut Cx<'_>, key: Key, link: Link, outdated: bool) {
        let refused = match self.phase {
            Phase::Suspended => Some(DropReason::Suspended),
            Phase::Destroying | Phase::Destroyed => Some(DropReason::Destroyed),
            Phase::Live => self.refuses(&key).then_some(DropReason::Firewall),
        };
        if let Some(why) = refused {
            self.outputs.push_back(Output::Drop { link, why });
            return;
        }
        let Some(existing) = self.connections.by_key.get_mut(&key) else {
            trace!(cx, State, "hyperswarm", id: link, peer: Short(&key), rule: "hyperswarm.32", "open, called");
            self.open_server(key, link);
            return;
        };
        self.stats.duplicates += 1;
        let keep = keep_new(&self.config.key, &key, false, outdated)
            && existing.successors.len() < limits::SWARM_SUCCESSORS_MAX;
        trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.21", "second connection, kept: {keep}");
        if !keep {
            let state = existing.state;
            if let State::Client(link) | State::Server(link) = state {
                self.outputs.push_back(Output::KeepAlive { link });
            }
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
            return;
        }
        existing.successors.push_back(link);
        if core::mem::replace(&mut existing.doomed, true) {
            return;
        }
        let state = existing.state;
        self.doom(key, state, DropReason::Duplicate);
    }

    fn doom(&mut self, key: Key, state: State, why: DropReason) {
        self.outputs.push_back(match state {
            State::Dialling => Output::Abort { key },
            State::Client(link) | State::Server(link) => Output::Drop { link, why },
        });
    }

    fn open_server(&mut self, key: Key, link: Link) {
        self.stats.server_opened += 1;
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
        peer.relays.clear();
        peer.client = false;
        self.connections.insert(key, State::Server(link));
        let topics = self.topics_of(&key);
        self.events.push_back(Event::Connection { link, key, initiator: false, topics });
    }

    /// What waited for the old connection to close takes its place.
    fn succeed(&mut self, cx: &mut Cx<'_>, key: Key, old: Option<Connection>) {
        for link in old.map(|old| old.successors).unwrap_or_default() {
            self.incoming(cx, key, link, false);
        }
    }

    /// A connection is closed.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, link: Link) {
        let Some(key) = self.connections.by_link.get(&link).copied() else {
            for connection in self.connections.by_key.values_mut() {
                connection.successors.retain(|successor| *successor != link);
            }
            return;
        };
        let connection = self.connections.remove(&key);
        trace!(cx, State, "hyperswarm", id: link, peer: Short(&key), "closed");
        if connection.as_ref().is_some_and(|connection| connection.told) {
            self.events.push_back(Event::Closed { link, key });
        }
        match connection.as_ref().map(|connection| connection.state) {
            Some(State::Client(_)) => self.client_ended(cx, key),
            Some(State::Server(_) | State::Dialling) | None => {
                self.stats.server_closed += 1;
                self.forget_maybe(&key);
            }
        }
        self.flush_peer(&key);
        self.succeed(cx, key, connection);
        self.attempt(cx);
    }

    /// Tells every connection and attempt to close.
    pub(super) fn drop_all(&mut self, why: DropReason) {
        let keys: Vec<Key> = self.connections.by_key.keys().copied().collect();
        for key in keys {
            let Some(connection) = self.connections.by_key.get_mut(&key) else { continue };
            for link in core::mem::take(&mut connection.successors) {
                self.outputs.push_back(Output::Drop { link, why });
            }
            if !core::mem::replace(&mut connection.doomed, true) {
                let state = connection.state;
                self.doom(key, state, why);
            }
        }
    }
}
