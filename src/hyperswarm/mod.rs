//! Who to be connected with: finds the peers of topics and keeps connections to them. Follows hyperswarm.1 to
//! hyperswarm.33. Read `peer.rs` first; `discovery.rs` has the topics, `connect.rs` the connections.
//!
//! It knows keys and times, no addresses and no bytes: the node dials, listens and asks the DHT for it.

mod connect;
mod discovery;
mod peer;
mod retry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::hex::Short;
use crate::base::{Addr, Cx, Deadline, Error, Id, Key, Kind, Machine, Slab, Time, Timers, limits, trace};

pub use connect::{Existing, keep_new};
pub use discovery::Find;
pub use retry::Backoffs;

use connect::{Connections, Queue};
use discovery::{Session, Topic};
use peer::{Peer, Retry};
use retry::Retries;

/// Names the handles of sessions.
pub enum SessionKind {}
impl Kind for SessionKind {
    const NAME: &'static str = "session";
}
/// One `join` of a topic. Sessions of the same topic share its announcements and lookups.
pub type SessionId = Id<SessionKind>;

/// Names the handles of flushes.
pub enum FlushKind {}
impl Kind for FlushKind {
    const NAME: &'static str = "flush";
}
pub type FlushId = Id<FlushKind>;

/// An open connection, under a number that the node chose. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link(pub u64);

impl core::fmt::Display for Link {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// A lookup or announcement that was asked for. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub u64);

/// Whom to be connected with at all. The own key is never let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Firewall {
    #[default]
    AllowAll,
    /// Nobody but these.
    Only(BTreeSet<Key>),
    /// Everybody but these.
    Except(BTreeSet<Key>),
}

impl Firewall {
    fn refuses(&self, key: &Key) -> bool {
        match self {
            Firewall::AllowAll => false,
            Firewall::Only(keys) => !keys.contains(key),
            Firewall::Except(keys) => keys.contains(key),
        }
    }
}

/// How a swarm behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The own public key.
    pub key: Key,
    /// Connections beyond which no more peers of topics are dialled (hyperswarm.17).
    pub max_peers: usize,
    /// Connections of this side beyond which none is dialled; None: no bound of its own.
    pub max_client_connections: Option<usize>,
    /// Attempts at a time.
    pub max_parallel: usize,
    pub backoffs: Backoffs,
    pub firewall: Firewall,
    /// A peer through which to connect when holepunching fails or is hopeless.
    pub relay_through: Option<Key>,
}

impl Config {
    /// As the package does it unless told otherwise.
    pub fn new(key: Key) -> Config {
        Config {
            key,
            max_peers: 64,
            max_client_connections: None,
            max_parallel: 3,
            backoffs: Backoffs::default(),
            firewall: Firewall::AllowAll,
            relay_through: None,
        }
    }
}

/// What to do about a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join {
    /// Announce the own key under it, and listen.
    pub server: bool,
    /// Look for peers and dial them.
    pub client: bool,
    /// How many found peers are taken from each refresh; None: all.
    pub limit: Option<u64>,
}

impl Default for Join {
    fn default() -> Join {
        Join { server: true, client: true, limit: None }
    }
}

/// What the node tells.
#[derive(Clone, Debug)]
pub enum Input {
    /// The server listens, as `Output::Listen` asked.
    Listening,
    ListenFailed,
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
}

/// What the node is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Listen with the own key pair. Asked again after `Input::ListenFailed` only.
    Listen,
    Unlisten,
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
        through: Option<Key>,
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
    /// The firewall refused that peer; it is not tried again.
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
    /// Found peers that were ignored because `limits::SWARM_PEERS_MAX` are known.
    pub ignored: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Retry(Retry),
    Refresh(Key),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Listening {
    #[default]
    No,
    Asked,
    Yes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Live,
    Suspended,
    /// `Event::Destroyed` is still to come.
    Destroying,
    Destroyed,
}

struct Flush {
    /// Topics whose refresh is not over.
    topics: BTreeSet<Key>,
    /// Peers that are queued or dialled; counted once no topic is left.
    peers: Option<BTreeSet<Key>>,
}

/// A swarm.
///
/// Commands: `join`, `change`, `leave_session`, `leave`, `clear`, `flush`, `join_peer`, `leave_peer`, `ban`,
/// `set_reconnect`, `set_firewall`, `suspend`, `resume`, `destroy`. Deadlines: the refreshes of topics and the retry
/// timers; none while there is nothing to wait for. Not done: dialling, listening and asking; the node does it.
pub struct Hyperswarm {
    config: Config,
    phase: Phase,
    listening: Listening,
    peers: BTreeMap<Key, Peer>,
    /// In the order they were joined.
    explicit: Vec<Key>,
    topics: BTreeMap<Key, Topic>,
    sessions: Slab<SessionKind, Session>,
    /// Topics that are being unannounced.
    leaving: BTreeSet<Key>,
    queue: Queue,
    connections: Connections,
    retries: Retries,
    timers: Timers<Timer>,
    flushes: Slab<FlushKind, Flush>,
    queries: u64,
    offline: bool,
    randomized: bool,
    stats: Stats,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
}

impl Hyperswarm {
    pub fn new(cx: &mut Cx<'_>, config: Config) -> Hyperswarm {
        Hyperswarm {
            retries: Retries::new(cx.entropy, config.backoffs),
            config,
            phase: Phase::Live,
            listening: Listening::No,
            peers: BTreeMap::new(),
            explicit: Vec::new(),
            topics: BTreeMap::new(),
            sessions: Slab::new(),
            leaving: BTreeSet::new(),
            queue: Queue::default(),
            connections: Connections::default(),
            timers: Timers::new(),
            flushes: Slab::new(),
            queries: 0,
            offline: false,
            randomized: false,
            stats: Stats::default(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks for `Event::Flushed` once the topics' refreshes that run now are over and every peer that is queued or
    /// dialled then has been connected with or has failed once (hyperswarm.29). Errors: `Full`; `NotOpen` if destroyed.
    pub fn flush(&mut self, _: &mut Cx<'_>) -> Result<FlushId, Error> {
        self.alive()?;
        if self.flushes.len() >= limits::SWARM_SESSIONS_MAX {
            return Err(Error::Full);
        }
        let topics = self.topics.iter().filter(|(_, topic)| topic.refreshing()).map(|(key, _)| *key);
        let flush = self.flushes.insert(Flush { topics: topics.collect(), peers: None });
        self.flush_topics();
        Ok(flush)
    }

    /// Keeps a connection to a peer whether or not it has a topic (hyperswarm.26).
    pub fn join_peer(&mut self, cx: &mut Cx<'_>, key: Key) -> Result<(), Error> {
        self.alive()?;
        if key == self.config.key {
            return Err(Error::Invalid("peer: it is the own key"));
        }
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
        peer.relays.clear();
        if !peer.explicit {
            peer.explicit = true;
            self.explicit.push(key);
        }
        if !self.connections.has(&key) && peer.update_priority() {
            self.enqueue(cx, key);
        }
        Ok(())
    }

    /// Ends `join_peer`; a connection stays.
    pub fn leave_peer(&mut self, _: &mut Cx<'_>, key: Key) {
        self.explicit.retain(|explicit| *explicit != key);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.explicit = false;
        }
        self.unqueue_unwanted();
        self.forget_maybe(&key);
    }

    /// Bans a peer: no connection to or from it from now on. What is open stays. False takes it back.
    pub fn ban(&mut self, _: &mut Cx<'_>, key: Key, banned: bool) {
        if banned {
            self.ban_peer(key);
        } else if let Some(peer) = self.peers.get_mut(&key) {
            peer.banned = false;
            self.forget_maybe(&key);
        }
    }

    /// False: do not dial that peer again when the connection to it ends. Errors: `Missing` if it is not known.
    pub fn set_reconnect(&mut self, key: Key, reconnect: bool) -> Result<(), Error> {
        self.peers.get_mut(&key).ok_or(Error::Missing)?.reconnecting = reconnect;
        Ok(())
    }

    pub fn set_firewall(&mut self, firewall: Firewall) {
        self.config.firewall = firewall;
    }

    /// Whether a handshake from that key is to be refused. A refusal by the firewall bans the peer (hyperswarm.24).
    pub fn refuses(&mut self, key: &Key) -> bool {
        // hyperswarm.23
        if *key == self.config.key || self.peers.get(key).is_some_and(|peer| peer.banned) {
            return true;
        }
        let refused = self.config.firewall.refuses(key);
        if refused && (self.peers.contains_key(key) || self.peers.len() < limits::SWARM_PEERS_MAX) {
            self.ban_peer(*key);
        }
        refused
    }

    /// The keys that are refused whatever they do: for layers that take a list and do not ask (`Firewall::Only` cannot
    /// be listed; an incoming connection that it refuses is dropped).
    pub fn denied(&self) -> Vec<Key> {
        let banned = self.peers.iter().filter(|(_, peer)| peer.banned).map(|(key, _)| *key);
        let mut denied: BTreeSet<Key> = banned.collect();
        denied.insert(self.config.key);
        if let Firewall::Except(keys) = &self.config.firewall {
            denied.extend(keys);
        }
        denied.into_iter().collect()
    }

    /// Closes everything until `resume`: queries, timers, connections, announcements (hyperswarm.30).
    pub fn suspend(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.alive()?;
        if self.phase == Phase::Suspended {
            return Ok(());
        }
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.30", "suspended");
        self.phase = Phase::Suspended;
        for topic in self.topic_keys() {
            self.abort_topic(topic, false);
        }
        self.drop_all(DropReason::Suspended);
        self.forget_waiting();
        if core::mem::take(&mut self.listening) != Listening::No {
            self.outputs.push_back(Output::Unlisten);
        }
        Ok(())
    }

    /// Ends `suspend`.
    pub fn resume(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.alive()?;
        if self.phase != Phase::Suspended {
            return Ok(());
        }
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.30", "live again");
        self.phase = Phase::Live;
        for topic in self.topic_keys() {
            self.refresh(cx, topic);
        }
        self.attempt(cx);
        Ok(())
    }

    /// Ends the swarm: leaves all topics, stops listening, closes connections. `force`: announcements are not taken
    /// back. `Event::Destroyed` follows. (hyperswarm.31)
    pub fn destroy(&mut self, cx: &mut Cx<'_>, force: bool) {
        if matches!(self.phase, Phase::Destroying | Phase::Destroyed) {
            return;
        }
        trace!(cx, State, "hyperswarm", "ends, force: {force}");
        self.phase = Phase::Destroying;
        for topic in self.topic_keys() {
            if force {
                self.abort_topic(topic, true);
            }
            self.remove_topic(topic);
        }
        if core::mem::take(&mut self.listening) != Listening::No {
            self.outputs.push_back(Output::Unlisten);
        }
        for flush in self.flushes.ids() {
            self.flushes.remove(flush);
            self.events.push_back(Event::Flushed { flush, ok: false });
        }
        self.drop_all(DropReason::Destroyed);
        self.forget_waiting();
        self.destroyed_maybe();
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The open connections: peer, link.
    pub fn links(&self) -> Vec<(Key, Link)> {
        self.connections.links()
    }

    /// Known, queued, being dialled.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.peers.len(), self.queue.len(), self.connections.dialling())
    }

    /// The topics under which a peer was found.
    pub fn topics_of(&self, key: &Key) -> Vec<Key> {
        self.peers.get(key).map(|peer| peer.topics.iter().copied().collect()).unwrap_or_default()
    }

    /// What there is of a connection to `key`, for the `outdated` of `Input::Incoming`.
    pub fn existing(&self, key: &Key) -> Option<Existing> {
        self.connections.existing(key)
    }

    fn alive(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Live | Phase::Suspended => Ok(()),
            Phase::Destroying | Phase::Destroyed => Err(Error::NotOpen),
        }
    }

    fn ban_peer(&mut self, key: Key) {
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
        if core::mem::replace(&mut peer.banned, true) {
            return;
        }
        self.stats.banned += 1;
        self.events.push_back(Event::Banned { key });
    }

    /// hyperswarm.25
    fn forget_maybe(&mut self, key: &Key) {
        if self.peers.get(key).is_some_and(Peer::forgettable) && !self.connections.has(key) {
            self.peers.remove(key);
        }
    }

    /// Empties the queue and the retry timers.
    fn forget_waiting(&mut self) {
        self.queue.clear();
        self.retries.clear();
        Retry::ALL.into_iter().for_each(|retry| self.timers.clear(Timer::Retry(retry)));
        for peer in self.peers.values_mut() {
            (peer.queued, peer.waiting) = (false, false);
        }
        let keys: Vec<Key> = self.peers.keys().copied().collect();
        keys.iter().for_each(|key| self.forget_maybe(key));
    }

    fn destroyed_maybe(&mut self) {
        if self.phase == Phase::Destroying && self.leaving.is_empty() && self.connections.is_empty() {
            self.phase = Phase::Destroyed;
            self.events.push_back(Event::Destroyed);
        }
    }

    /// Flushes that wait for topics go on with peers once none of their topics is being refreshed.
    fn flush_topics(&mut self) {
        let still: BTreeSet<Key> =
            self.topics.iter().filter(|(_, topic)| topic.refreshing()).map(|(key, _)| *key).collect();
        let mut ready = Vec::new();
        for (id, flush) in self.flushes.iter_mut() {
            flush.topics.retain(|topic| still.contains(topic));
            if flush.topics.is_empty() && flush.peers.is_none() {
                ready.push(id);
            }
        }
        for id in ready {
            let mut peers = self.connections.dialled_keys();
            peers.extend(self.queue.keys());
            let done = peers.is_empty();
            if let Some(flush) = self.flushes.get_mut(id) {
                flush.peers = Some(peers);
            }
            if done {
                self.flushed(id);
            }
        }
        self.flush_all_maybe();
    }

    /// A peer has been dialled, or will not be: nobody waits for it any more.
    fn flush_peer(&mut self, key: &Key) {
        let mut done = Vec::new();
        for (id, flush) in self.flushes.iter_mut() {
            if let Some(peers) = &mut flush.peers
                && peers.remove(key)
                && peers.is_empty()
            {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.flushed(id));
    }

    /// With the limits reached and nothing being dialled, no queued peer will be (hyperswarm.29).
    fn flush_all_maybe(&mut self) {
        if self.connections.dialling() > 0 || self.may_dial_more() {
            return;
        }
        let ready: Vec<FlushId> =
            self.flushes.iter().filter(|(_, flush)| flush.peers.is_some()).map(|(id, _)| id).collect();
        ready.into_iter().for_each(|id| self.flushed(id));
    }

    fn flushed(&mut self, flush: FlushId) {
        if self.flushes.remove(flush).is_some() {
            self.events.push_back(Event::Flushed { flush, ok: true });
        }
    }

    /// hyperswarm.28
    fn network_changed(&mut self, cx: &mut Cx<'_>) {
        if self.phase != Phase::Live {
            return;
        }
        for (_, link) in self.connections.links() {
            self.outputs.push_back(Output::KeepAlive { link });
        }
        for topic in self.topic_keys() {
            self.refresh(cx, topic);
        }
    }

    /// Brings back those whose retry timer has ticked.
    fn retry(&mut self, cx: &mut Cx<'_>, retry: Retry) {
        for key in self.retries.tick(retry) {
            let wanted = self.wanted(&key);
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            peer.waiting = false;
            // hyperswarm.15
            if wanted && peer.update_priority() && !self.connections.has(&key) {
                self.queue_peer(key);
            } else {
                self.forget_maybe(&key);
            }
        }
        self.set_retry_timer(cx.now, retry);
        self.attempt(cx);
    }

    fn set_retry_timer(&mut self, now: Time, retry: Retry) {
        match self.retries.tick_after(now, retry) {
            Some(at) => self.timers.set(Timer::Retry(retry), at),
            None => self.timers.clear(Timer::Retry(retry)),
        }
    }
}

impl Machine for Hyperswarm {
    type Input<'a> = Input;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Listening => {
                if self.listening == Listening::Asked {
                    self.listening = Listening::Yes;
                    self.listen_ended(cx, true);
                }
            }
            Input::ListenFailed => {
                if self.listening != Listening::No {
                    self.listening = Listening::No;
                    self.listen_ended(cx, false);
                }
            }
            Input::Peer { query, key, relays } => self.found(cx, query, key, relays),
            Input::QueryDone { query, ok } => self.query_done(cx, query, ok),
            Input::Unannounced { topic } => self.unannounced(cx, topic),
            Input::Connected { key, link } => self.connected(cx, key, link),
            Input::Failed { key, holepunch } => self.failed(cx, key, holepunch),
            Input::Incoming { key, link, outdated } => self.incoming(cx, key, link, outdated),
            Input::Closed { link } => self.closed(cx, link),
            Input::NetworkChange => self.network_changed(cx),
            Input::Online(online) => {
                let rising = online && self.offline;
                self.offline = !online;
                if rising {
                    trace!(cx, State, "hyperswarm", rule: "hyperswarm.28", "the network is back");
                }
                if rising {
                    self.network_changed(cx);
                }
            }
            Input::Randomized(randomized) => self.randomized = randomized,
        }
        self.destroyed_maybe();
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some((at, _)) = self.timers.next()
            && let Some(timer) = self.timers.pop_due(cx.now)
        {
            match timer {
                Timer::Retry(retry) => {
                    trace!(cx, Timer, "hyperswarm", rule: "hyperswarm.13", "{retry}");
                    self.retry(cx, retry);
                }
                Timer::Refresh(topic) => {
                    let short = Short(&topic);
                    trace!(cx, Timer, "hyperswarm", rule: "hyperswarm.2", "refresh of topic {short}");
                    self.refresh_due(cx, topic, at);
                }
            }
        }
    }

    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        match &output {
            Output::Drop { link, why } => {
                trace!(cx, Step, "hyperswarm", id: link, "gives it up: {why:?}");
            }
            Output::Abort { key } => {
                trace!(cx, Step, "hyperswarm", peer: Short(key), "gives up dialling it");
            }
            Output::KeepAlive { link } => {
                trace!(cx, Step, "hyperswarm", id: link, rule: "hyperswarm.28", "sends a keep-alive");
            }
            Output::Listen
            | Output::Unlisten
            | Output::Query { .. }
            | Output::CancelQuery { .. }
            | Output::Unannounce { .. }
            | Output::Connect { .. } => {}
        }
        Some(output)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(|timer| match timer {
            Timer::Retry(_) => "hyperswarm retry",
            Timer::Refresh(_) => "hyperswarm refresh",
        })
    }
}

#[cfg(test)]
mod tests;
