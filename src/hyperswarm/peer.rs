//! What a swarm remembers about a peer, and what follows from it: its place in the queue, its retry timer.

use std::collections::BTreeSet;

use crate::base::{Addr, Key, Span, Time};

/// A connection that lasted this long makes the attempts count from zero again (hyperswarm.9).
const MIN_CONNECTION: Span = Span::from_secs(15);

/// Priorities in the queue; 4 is dialled first.
pub(super) const PRIORITIES: usize = 5;
const VERY_LOW: usize = 0;
const LOW: usize = 1;
const NORMAL: usize = 2;
const HIGH: usize = 3;
const VERY_HIGH: usize = 4;

/// What a swarm knows of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    pub key: Key,
    /// Nodes through which it was said to be reached.
    pub relays: Vec<Addr>,
    /// Those that it was found under.
    pub topics: Vec<Key>,
    /// The last connection was opened by this side.
    pub client: bool,
    /// `Hyperswarm::join_peer`.
    pub explicit: bool,
    pub banned: bool,
    /// False: it is not dialled again when its connection ends.
    pub reconnecting: bool,
    /// There was a connection that this side opened.
    pub proven: bool,
    /// It is dialled through a blind relay, since no punch came through.
    pub force_relaying: bool,
    /// It is to be dialled.
    pub queued: bool,
    /// It is dialled again when a timer ends.
    pub waiting: bool,
    /// 0 to 4, the latter first; `prioritized` from 2 on.
    pub priority: usize,
    /// Attempts that failed and connections that ended since it last got a fresh start.
    pub attempts: u32,
    /// When the connection that this side opened began, while it lasts.
    pub connected: Option<Time>,
    /// When the last one ended.
    pub disconnected: Option<Time>,
}

impl PeerInfo {
    pub fn prioritized(&self) -> bool {
        self.priority >= NORMAL
    }
}

/// The bulk timers, shortest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Retry {
    S,
    M,
    L,
    X,
}

impl core::fmt::Display for Retry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Retry::S => "the first retry timer",
            Retry::M => "the second retry timer",
            Retry::L => "the third retry timer",
            Retry::X => "the last retry timer",
        })
    }
}

impl Retry {
    pub const ALL: [Retry; 4] = [Retry::S, Retry::M, Retry::L, Retry::X];
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub relays: Vec<Addr>,
    /// False: the owner does not want it back once it is gone.
    pub reconnecting: bool,
    /// There was a connection that this side opened.
    pub proven: bool,
    pub connected: Option<Time>,
    pub disconnected: Option<Time>,
    pub banned: bool,
    pub explicit: bool,
    /// In a retry timer.
    pub waiting: bool,
    pub queued: bool,
    /// The last connection was opened by this side.
    pub client: bool,
    /// Holepunching failed; use a relay.
    pub force_relaying: bool,
    pub topics: BTreeSet<Key>,
    pub attempts: u32,
    pub priority: usize,
}

impl Peer {
    pub fn new(relays: Vec<Addr>) -> Peer {
        Peer {
            relays,
            reconnecting: true,
            proven: false,
            connected: None,
            disconnected: None,
            banned: false,
            explicit: false,
            waiting: false,
            queued: false,
            client: false,
            force_relaying: false,
            topics: BTreeSet::new(),
            attempts: 0,
            priority: NORMAL,
        }
    }

    pub fn info(&self, key: Key) -> PeerInfo {
        PeerInfo {
            key,
            relays: self.relays.clone(),
            topics: self.topics.iter().copied().collect(),
            client: self.client,
            explicit: self.explicit,
            banned: self.banned,
            reconnecting: self.reconnecting,
            proven: self.proven,
            force_relaying: self.force_relaying,
            queued: self.queued,
            waiting: self.waiting,
            priority: self.priority,
            attempts: self.attempts,
            connected: self.connected,
            disconnected: self.disconnected,
        }
    }

    /// hyperswarm.10
    pub fn natural_priority(&self) -> usize {
        match self.attempts {
            0 => NORMAL,
            1 => VERY_HIGH,
            2 => HIGH,
            3 => LOW,
            _ => VERY_LOW,
        }
    }

    pub fn prioritized(&self) -> bool {
        self.priority >= NORMAL
    }

    /// Whether it may be queued; its priority is brought up to date then (hyperswarm.11).
    pub fn update_priority(&mut self) -> bool {
        if self.explicit && self.attempts > 3 {
            self.attempts = 3;
        }
        if self.banned || self.queued || self.attempts > 3 {
            return false;
        }
        self.priority = self.natural_priority();
        true
    }

    pub fn on_connected(&mut self, now: Time) {
        self.proven = true;
        self.connected = Some(now);
    }

    /// A connection or an attempt that this side made is over.
    pub fn on_disconnected(&mut self, now: Time) {
        self.disconnected = Some(now);
        if let Some(since) = self.connected.take()
            && now.since(since) >= MIN_CONNECTION
        {
            self.attempts = 0;
        }
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Found again: it gets a fresh start.
    pub fn reset(&mut self) {
        self.client = false;
        self.proven = false;
        self.attempts = 0;
    }

    /// Which timer brings it back (hyperswarm.14).
    pub fn retry(&self) -> Option<Retry> {
        if self.banned || !self.reconnecting {
            return None;
        }
        match (self.attempts, self.proven) {
            (0, _) | (1, true) => Some(Retry::S),
            (1, false) | (2, true) => Some(Retry::M),
            (2, false) | (3, _) => Some(Retry::L),
            _ => self.explicit.then_some(Retry::X),
        }
    }

    /// Whether nothing but a connection keeps it in memory.
    pub fn forgettable(&self) -> bool {
        !(self.banned || self.queued || self.explicit || self.waiting)
    }
}
