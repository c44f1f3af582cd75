//! The connections: whom to dial next, and which of two connections to one peer to keep.

use super::connections::{Connection, State, Successor};
use super::*;
use crate::base::Span;

/// A connection that is older is not of the same race as one that comes now (hyperswarm.38).
const RACE: Span = Span::from_secs(2);

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
        factor * self.connections.len() < self.config.max_peers
    }

    pub(super) fn may_dial_more(&self) -> bool {
        self.within_max_peers()
            && self.config.max_client_connections.is_none_or(|max| self.connections.clients() < max)
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
            if self.connections.dialling() >= self.config.max_parallel {
                break;
            }
            let Some(peer) = self.peers.get(&key) else { continue };
            let rested = Span::from_secs(u64::from(peer.attempts));
            let early = peer.disconnected.is_some_and(|since| cx.now.since(since) < rested);
            if peer.attempts < 5 && !early {
                self.dial(cx, key);
            }
        }
        while self.connections.dialling() < self.config.max_parallel && self.may_dial_more() {
            let Some(key) = self.queue.take(cx.entropy) else { break };
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.queued = false;
            }
            if !self.dial(cx, key) {
                self.flush_peer(&key);
                self.forget_maybe(&key);
            }
        }
        if self.connections.dialling() == 0 {
            self.flush_all_maybe();
        }
    }

    /// False if it is not dialled: banned, refused, or connected with already. True if it is, also by an attempt that
    /// is under way.
    fn dial(&mut self, cx: &mut Cx<'_>, key: Key) -> bool {
        // hyperswarm.22
        if let Some(connection) = self.connections.get(&key) {
            return connection.state == State::Dialling;
        }
        if self.refuses(&key) || !self.peers.contains_key(&key) {
            return false;
        }
        trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.22", "dials it");
        self.connections.insert(key, State::Dialling, cx.now);
        self.ask_to_connect(key);
        true
    }

    pub(super) fn ask_to_connect(&mut self, key: Key) {
        let Some(peer) = self.peers.get(&key) else { return };
        let relays = peer.relays.clone();
        let through = self.relays(peer.force_relaying); // hyperswarm.27
        self.stats.client_attempted += 1;
        self.outputs.push_back(Output::Connect { key, relays, through });
    }

    /// An attempt has become a connection.
    pub(super) fn connected(&mut self, cx: &mut Cx<'_>, key: Key, link: Link) {
        if self.connections.get(&key).is_some_and(|connection| connection.beside.is_some()) {
            return self.connected_beside(cx, key, link);
        }
        let Some(connection) = self.connections.get_mut(&key).filter(|c| c.state == State::Dialling) else {
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
            return;
        };
        let doomed = connection.doomed;
        connection.told = !doomed;
        self.connections.open(key, link, cx.now);
        if doomed {
            // it opened while it was being given up: its close is what is waited for
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
            self.attempt(cx);
            return;
        }
        self.tell_client(cx, key, link);
        self.attempt(cx);
        self.flush_peer(&key);
    }

    fn tell_client(&mut self, cx: &mut Cx<'_>, key: Key, link: Link) {
        trace!(cx, State, "hyperswarm", id: link, peer: Short(&key), "open, dialled");
        self.stats.client_opened += 1;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.on_connected(cx.now);
            peer.client = true;
        }
        let topics = self.topics_of(&key);
        self.events.push_back(Event::Connection { link, key, initiator: true, topics });
    }

    /// An attempt has come to nothing.
    pub(super) fn failed(&mut self, cx: &mut Cx<'_>, key: Key, holepunch: bool) {
        let Some(connection) = self.connections.get(&key) else { return };
        let (dialling, beside) = (connection.state == State::Dialling, connection.beside.is_some());
        if !dialling && !beside {
            return;
        }
        trace!(cx, State, "hyperswarm", peer: Short(&key), "dialling it failed");
        // hyperswarm.27
        if holepunch
            && !self.config.relay_through.is_empty()
            && let Some(peer) = self.peers.get_mut(&key)
        {
            peer.force_relaying = true;
            peer.attempts = 0;
        }
        if dialling {
            let connection = self.connections.remove(&key);
            self.client_ended(cx, key);
            self.succeed(cx, key, connection);
        } else {
            self.failed_beside(key);
        }
        self.flush_peer(&key);
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
            Phase::Suspending | Phase::Suspended => Some(DropReason::Suspended),
            Phase::Destroying | Phase::Destroyed => Some(DropReason::Destroyed),
            Phase::Live => self.refuses(&key).then_some(DropReason::Firewall),
        };
        if let Some(why) = refused {
            self.outputs.push_back(Output::Drop { link, why });
            return;
        }
        let Some(existing) = self.connections.get(&key) else {
            // hyperswarm.40
            if self.config.max_server_connections.is_some_and(|max| self.connections.servers() >= max) {
                self.stats.refused += 1;
                self.outputs.push_back(Output::Drop { link, why: DropReason::Full });
                return;
            }
            trace!(cx, State, "hyperswarm", id: link, peer: Short(&key), rule: "hyperswarm.32", "open, called");
            return self.open_server(cx, key, link);
        };
        self.stats.duplicates += 1;
        let open = existing.state != State::Dialling;
        let beside = existing.beside.is_some();
        // hyperswarm.38, hyperswarm.39
        let outdated = !beside && (outdated || open && cx.now.since(existing.since) >= RACE);
        let keep = keep_new(&self.config.key, &key, false, outdated)
            && existing.successors.len() < limits::SWARM_SUCCESSORS_MAX;
        trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.21", "second connection, kept: {keep}");
        if !keep {
            if let State::Client(link) | State::Server(link) = existing.state {
                self.outputs.push_back(Output::KeepAlive { link });
            }
            self.outputs.push_back(Output::Drop { link, why: DropReason::Duplicate });
            return;
        }
        self.give_way(key, Successor { link, ours: false });
    }

    /// The connection to a peer ends, and with it an attempt beside it; then another takes its place.
    pub(super) fn give_way(&mut self, key: Key, successor: Successor) {
        let Some(existing) = self.connections.get_mut(&key) else { return };
        existing.successors.push_back(successor);
        self.doom(key, DropReason::Duplicate);
    }

    /// Tells a connection or attempt to close, once.
    fn doom(&mut self, key: Key, why: DropReason) {
        self.end_beside(key);
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if core::mem::replace(&mut connection.doomed, true) {
            return;
        }
        self.outputs.push_back(match connection.state {
            State::Dialling => Output::Abort { key },
            State::Client(link) | State::Server(link) => Output::Drop { link, why },
        });
    }

    fn open_server(&mut self, cx: &mut Cx<'_>, key: Key, link: Link) {
        self.stats.server_opened += 1;
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
        peer.relays.clear();
        peer.client = false;
        self.connections.insert(key, State::Server(link), cx.now);
        let topics = self.topics_of(&key);
        self.events.push_back(Event::Connection { link, key, initiator: false, topics });
    }

    /// What waited for the old connection to close takes its place.
    fn succeed(&mut self, cx: &mut Cx<'_>, key: Key, old: Option<Connection>) {
        for successor in old.map(|old| old.successors).unwrap_or_default() {
            if !successor.ours {
                self.incoming(cx, key, successor.link, false);
            } else if self.connections.has(&key) || self.phase != Phase::Live {
                self.outputs.push_back(Output::Drop { link: successor.link, why: DropReason::Duplicate });
            } else {
                self.connections.insert(key, State::Client(successor.link), cx.now);
                self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
                self.tell_client(cx, key, successor.link);
            }
        }
    }

    /// A connection is closed.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, link: Link) {
        self.timers.clear(Timer::Silent(link));
        let Some(key) = self.connections.of_link(&link) else {
            self.connections.remove_successor(link);
            return;
        };
        let beside = self.connections.get(&key).and_then(|connection| connection.beside);
        let connection = self.connections.remove(&key);
        trace!(cx, State, "hyperswarm", id: link, peer: Short(&key), "closed");
        if connection.as_ref().is_some_and(|connection| connection.told) {
            self.events.push_back(Event::Closed { link, key });
        }
        // hyperswarm.37: what was tried beside it is the attempt now.
        if let Some(beside) = beside {
            self.connections.insert(key, State::Dialling, beside.since);
            if let Some(attempt) = self.connections.get_mut(&key) {
                attempt.doomed = beside.doomed;
                attempt.successors.extend(connection.iter().flat_map(|old| old.successors.iter().copied()));
            }
            self.ended(cx, key, connection.map(|connection| connection.state));
        } else {
            self.ended(cx, key, connection.as_ref().map(|connection| connection.state));
            self.flush_peer(&key);
            self.succeed(cx, key, connection);
        }
        self.attempt(cx);
    }

    fn ended(&mut self, cx: &mut Cx<'_>, key: Key, state: Option<State>) {
        match state {
            Some(State::Client(_)) => self.client_ended(cx, key),
            Some(State::Server(_) | State::Dialling) | None => {
                self.stats.server_closed += 1;
                self.forget_maybe(&key);
            }
        }
    }

    /// Tells every connection and attempt to close.
    pub(super) fn drop_all(&mut self, why: DropReason) {
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            for successor in core::mem::take(&mut connection.successors) {
                self.outputs.push_back(Output::Drop { link: successor.link, why });
            }
            self.doom(key, why);
        }
    }
}
