//! Who to be connected with: finds the peers of topics and keeps connections to them. Follows hyperswarm.1 to
//! hyperswarm.41. Read `ports.rs` and `peer.rs` first; `discovery.rs` has the topics, `connect.rs` the connections,
//! `silent.rs` those whose other side has fallen silent.
//!
//! It knows keys and times, no addresses and no bytes: the node dials, listens and asks the DHT for it.

mod config;
mod connect;
mod connections;
mod discovery;
mod flush;
mod peer;
mod ports;
mod retry;
mod silent;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::hex::Short;
use crate::base::{Addr, Cx, Deadline, Error, Id, Key, Kind, Machine, Slab, Time, Timers, limits, trace};

pub use config::{Config, Firewall, Join};
pub use connect::keep_new;
pub use connections::Existing;
pub use discovery::{Find, TopicStatus};
pub use peer::PeerInfo;
pub use ports::{DropReason, Event, Input, Output, Stats};
pub use retry::Backoffs;

use connections::{Connections, Queue};
use discovery::{Session, Topic};
use flush::Flush;
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

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Retry(Retry),
    Refresh(Key),
    /// A look beside the refreshes.
    Look(Key),
    /// Whether a connection is silent still.
    Silent(Link),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Listening {
    #[default]
    No,
    Asked,
    Yes,
    /// The announcement of the server is being taken back.
    Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Live,
    /// `Event::Suspended` is still to come.
    Suspending,
    Suspended,
    /// `Event::Destroyed` is still to come.
    Destroying,
    Destroyed,
}

/// A swarm.
///
/// Commands: `join`, `change`, `leave_session`, `leave`, `clear`, `flush`, `join_peer`, `leave_peer`, `ban`,
/// `set_reconnect`, `set_firewall`, `set_relays`, `suspend`, `resume`, `destroy`. Deadlines: the refreshes of
/// topics, the
/// retry timers and looks after silent connections; none while there is nothing to wait for. Not done:
/// dialling, listening and asking; the node does it.
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
    /// Who is let in has changed since the server was told.
    admission_changed: bool,
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
            admission_changed: false,
            stats: Stats::default(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Keeps a connection to a peer whether or not it has a topic (hyperswarm.26). Errors: `Invalid` for the own key;
    /// `Full`; `NotOpen` if destroyed.
    pub fn join_peer(&mut self, cx: &mut Cx<'_>, key: Key) -> Result<(), Error> {
        self.alive()?;
        if key == self.config.key {
            return Err(Error::Invalid("peer: it is the own key"));
        }
        if !self.peers.contains_key(&key) && self.peers.len() >= limits::SWARM_PEERS_MAX {
            return Err(Error::Full);
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
            self.admission_changed = true;
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
        self.admission_changed = true;
    }

    /// Through which blind relays peers are met from now on where there is no direct way. (hyperswarm.27)
    pub fn set_relays(&mut self, relays: Vec<Key>) {
        self.config.relay_through = relays;
        self.tell_relays();
    }

    /// Also where there is a direct way. (hyperswarm.27)
    pub fn set_always_relay(&mut self, always: bool) {
        self.config.always_relay = always;
        self.tell_relays();
    }

    /// The relays through which callers are met now. (hyperswarm.27)
    pub fn server_relays(&self) -> Vec<Key> {
        self.relays(false)
    }

    fn relays(&self, force: bool) -> Vec<Key> {
        let wanted = force || self.randomized || self.config.always_relay;
        if wanted { self.config.relay_through.clone() } else { Vec::new() }
    }

    fn tell_relays(&mut self) {
        if matches!(self.listening, Listening::Asked | Listening::Yes) {
            self.outputs.push_back(Output::Relays { relays: self.server_relays() });
        }
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

    /// Who is not let in, and who alone is, if not everybody else: for the layer that answers handshakes.
    pub fn admission(&self) -> (BTreeSet<Key>, Option<BTreeSet<Key>>) {
        let banned = self.peers.iter().filter(|(_, peer)| peer.banned).map(|(key, _)| *key);
        let mut denied: BTreeSet<Key> = banned.collect();
        denied.insert(self.config.key);
        match &self.config.firewall {
            Firewall::AllowAll => (denied, None),
            Firewall::Only(keys) => (denied, Some(keys.clone())),
            Firewall::Except(keys) => {
                denied.extend(keys);
                (denied, None)
            }
        }
    }

    /// Closes everything until `resume`: queries, timers, connections, announcements; `Event::Suspended` follows
    /// (hyperswarm.30).
    pub fn suspend(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.alive()?;
        if self.phase != Phase::Live {
            return Ok(());
        }
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.30", "suspended");
        self.phase = Phase::Suspending;
        for topic in self.topic_keys() {
            self.abort_topic(topic, false);
        }
        self.drop_all(DropReason::Suspended);
        self.forget_waiting();
        self.unlisten();
        self.ended_maybe();
        Ok(())
    }

    fn unlisten(&mut self) {
        if matches!(self.listening, Listening::Asked | Listening::Yes) {
            self.listening = Listening::Ending;
            self.outputs.push_back(Output::Unlisten);
        }
    }

    /// Ends `suspend`.
    pub fn resume(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.alive()?;
        if !matches!(self.phase, Phase::Suspending | Phase::Suspended) {
            return Ok(());
        }
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.30", "live again");
        self.phase = Phase::Live;
        for topic in self.topic_keys() {
            self.refresh_anew(cx, topic);
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
        self.unlisten();
        for flush in self.flushes.ids() {
            self.flushes.remove(flush);
            self.events.push_back(Event::Flushed { flush, ok: false });
        }
        self.drop_all(DropReason::Destroyed);
        self.forget_waiting();
        self.ended_maybe();
    }

    /// Whether `Event::Destroyed` was told, or is about to be.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::Destroyed
    }

    /// Whether it is neither suspended nor ends.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether everything is closed and taken back.
    pub fn is_still(&self) -> bool {
        matches!(self.phase, Phase::Suspended | Phase::Destroyed)
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

    /// What is known of a peer.
    pub fn peer(&self, key: &Key) -> Option<PeerInfo> {
        self.peers.get(key).map(|peer| peer.info(*key))
    }

    /// What is known of all peers.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.peers.iter().map(|(key, peer)| peer.info(*key)).collect()
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
            Phase::Live | Phase::Suspending | Phase::Suspended => Ok(()),
            Phase::Destroying | Phase::Destroyed => Err(Error::NotOpen),
        }
    }

    fn ban_peer(&mut self, key: Key) {
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
        if core::mem::replace(&mut peer.banned, true) {
            return;
        }
        self.stats.banned += 1;
        self.admission_changed = true;
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

    /// Tells of the end, or of the rest, once nothing is left to wait for.
    fn ended_maybe(&mut self) {
        let still = self.leaving.is_empty() && self.connections.is_empty() && self.listening == Listening::No;
        match self.phase {
            Phase::Destroying if still => {
                self.phase = Phase::Destroyed;
                self.events.push_back(Event::Destroyed);
            }
            Phase::Suspending if still => {
                self.phase = Phase::Suspended;
                self.events.push_back(Event::Suspended);
            }
            Phase::Live | Phase::Suspending | Phase::Suspended | Phase::Destroying | Phase::Destroyed => {}
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
            self.refresh_anew(cx, topic);
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
                if matches!(self.listening, Listening::Asked | Listening::Yes) {
                    self.listening = Listening::No;
                    self.listen_ended(cx, false);
                }
            }
            Input::Unlistened => {
                if self.listening == Listening::Ending {
                    self.listening = Listening::No;
                    self.listen_again();
                }
            }
            Input::Peer { query, key, relays } => self.found(cx, query, key, relays),
            Input::QueryDone { query, ok } => self.query_done(cx, query, ok),
            Input::Unannounced { topic } => self.unannounced(cx, topic),
            Input::Connected { key, link } => self.connected(cx, key, link),
            Input::Failed { key, holepunch } => self.failed(cx, key, holepunch),
            Input::Incoming { key, link, outdated } => self.incoming(cx, key, link, outdated),
            Input::Closed { link } => self.closed(cx, link),
            Input::Late { link } => self.late(cx, link),
            Input::Silent { link } => self.silent(cx, link),
            Input::Heard { link } => self.heard(cx, link),
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
            Input::Randomized(randomized) => {
                if core::mem::replace(&mut self.randomized, randomized) != randomized {
                    self.tell_relays();
                }
            }
        }
        self.ended_maybe();
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
                Timer::Look(topic) => {
                    trace!(cx, Timer, "hyperswarm", rule: "hyperswarm.36", "another look at topic {}", Short(&topic));
                    self.look_due(cx, topic);
                }
                Timer::Silent(link) => self.outputs.push_back(Output::Look { link }),
            }
        }
    }

    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let up = matches!(self.listening, Listening::Asked | Listening::Yes);
        let Some(output) = self.outputs.pop_front() else {
            let changed = core::mem::take(&mut self.admission_changed) && up;
            let (denied, allowed) = changed.then(|| self.admission())?;
            return Some(Output::Admit { denied, allowed });
        };
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
            | Output::Admit { .. }
            | Output::Relays { .. }
            | Output::Look { .. }
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
            Timer::Look(_) => "hyperswarm look",
            Timer::Silent(_) => "hyperswarm silent",
        })
    }
}

#[cfg(test)]
mod tests;
