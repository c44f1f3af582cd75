//! What a swarm is told, asks for and tells.

use std::collections::BTreeSet;

use super::{Find, FlushId, Link, QueryId};
use crate::base::{Addr, Key};

/// What the node tells.
#[derive(Clone, Debug)]
pub enum Input {
    /// The server listens, as `Output::Listen` asked.
    Listening,
    ListenFailed,
    /// The server's announcement is taken back, as `Output::Unlisten` asked.
    Unlistened,
    /// A query met a peer.
    Peer {
        query: QueryId,
        key: Key,
        relays: Vec<Addr>,
    },
    /// A query is over. Comes once per `Output::Query`, unless it was cancelled.
    QueryDone {
        query: QueryId,
        ok: bool,
    },
    /// `Output::Unannounce` is done, well or not.
    Unannounced {
        topic: Key,
    },
    /// What `Output::Connect` asked for has become a connection.
    Connected {
        key: Key,
        link: Link,
    },
    /// What `Output::Connect` asked for has come to nothing, also after `Output::Abort`. `holepunch`: because the
    /// NATs did not let it (HOLEPUNCH_ABORTED, HOLEPUNCH_DOUBLE_RANDOMIZED_NATS, CANNOT_HOLEPUNCH,
    /// REMOTE_NOT_HOLEPUNCHABLE).
    Failed {
        key: Key,
        holepunch: bool,
    },
    /// A connection that a peer opened. `outdated`: there is an older one to the same peer (see
    /// `Hyperswarm::existing`) over which bytes have both been sent and received.
    Incoming {
        key: Key,
        link: Link,
        outdated: bool,
    },
    /// A connection is closed, by whomever. Comes once for each that was told of, also after `Output::Drop`.
    Closed {
        link: Link,
    },
    /// Something that was sent on a connection is not acked in time; or, as an answer to `Output::Look`, that is so
    /// still, but the other side can be heard.
    Late {
        link: Link,
    },
    /// Answers `Output::Look`: the other side is not reached since `Late`, or since the last look.
    Silent {
        link: Link,
    },
    /// Answers `Output::Look`: something was acked.
    Heard {
        link: Link,
    },
    /// The machine's addresses have changed.
    NetworkChange,
    /// Whether the network answers at all.
    Online(bool),
    /// Whether the own NAT gives each destination another port.
    Randomized(bool),
}

/// Why a connection is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// The other one to that peer is kept.
    Duplicate,
    Firewall,
    Suspended,
    Destroyed,
    /// There are as many as are taken.
    Full,
}

/// What the node is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Listen with the own key pair. Asked again after `Input::ListenFailed` only.
    Listen,
    Unlisten,
    /// Let handshakes of these keys in no more; and, if `allowed` is set, of nobody but those.
    Admit {
        denied: BTreeSet<Key>,
        allowed: Option<BTreeSet<Key>>,
    },
    /// Meet callers through these blind relays from now on; none: as they wish.
    Relays {
        relays: Vec<Key>,
    },
    /// Ask the DHT. An announcement names the server's current relays.
    Query {
        query: QueryId,
        topic: Key,
        find: Find,
    },
    /// End a query; nothing more is wanted of it.
    CancelQuery {
        query: QueryId,
    },
    /// Take the announcement back.
    Unannounce {
        topic: Key,
    },
    /// Dial. One attempt per key at a time.
    Connect {
        key: Key,
        relays: Vec<Addr>,
        /// One of these blind relays; none: directly.
        through: Vec<Key>,
    },
    /// Give an attempt up; `Input::Failed` is still expected.
    Abort {
        key: Key,
    },
    /// Destroy a connection; `Input::Closed` is still expected.
    Drop {
        link: Link,
        why: DropReason,
    },
    /// Send something on a connection at once, to see whether it lives.
    KeepAlive {
        link: Link,
    },
    /// Say whether the other side of a connection is reached: `Input::Silent`, `Input::Heard` or `Input::Late`.
    Look {
        link: Link,
    },
}

/// What the owner is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection to a peer; there is one per peer at a time. `topics` are those it was found under (none for most
    /// peers that dialled us).
    Connection {
        link: Link,
        key: Key,
        initiator: bool,
        topics: Vec<Key>,
    },
    Closed {
        link: Link,
        key: Key,
    },
    /// That peer is refused from now on.
    Banned {
        key: Key,
    },
    /// All that was found by the time of `flush` has been dialled. False: the swarm was destroyed.
    Flushed {
        flush: FlushId,
        ok: bool,
    },
    /// A topic that was left is no longer announced. Not told if it was joined again meanwhile.
    Left {
        topic: Key,
    },
    /// After `suspend`: everything is taken back and closed.
    Suspended,
    /// After `destroy`: everything is taken back and closed.
    Destroyed,
}

/// Counted since the swarm began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub client_attempted: u64,
    pub client_opened: u64,
    pub client_closed: u64,
    pub server_opened: u64,
    pub server_closed: u64,
    pub banned: u64,
    pub duplicates: u64,
    /// Attempts beside a connection that had fallen silent.
    pub beside: u64,
    /// Connections of peers that were not taken, at the limit.
    pub refused: u64,
    /// Found peers that were ignored because `limits::SWARM_PEERS_MAX` are known.
    pub ignored: u64,
}

impl Stats {
    /// How often an attempt began, and a connection opened or ended.
    pub fn updates(&self) -> u64 {
        let Stats { client_attempted, client_opened, client_closed, server_opened, server_closed, .. } = self;
        client_attempted + client_opened + client_closed + server_opened + server_closed
    }
}
