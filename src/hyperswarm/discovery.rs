//! The topics: when to announce and to look up, and when to take an announcement back.

use super::*;
use crate::base::hex::Short;
use crate::base::{Span, trace};

/// Between the refreshes of a topic, and what is added at most (hyperswarm.2).
const REFRESH: Span = Span::from_secs(600);
const REFRESH_JITTER: Span = Span::from_secs(120);
/// A refresh that comes later than this was slept over: everybody else's, too (hyperswarm.3).
const GRACE: Span = Span::from_secs(30);
/// Looks beside the refreshes: how long after the one before, and what is added at most (hyperswarm.36).
const LOOKS: [(Span, Span); 3] = [
    (Span::from_secs(1), Span::from_secs(1)),
    (Span::from_secs(3), Span::from_secs(2)),
    (Span::from_secs(10), Span::from_secs(5)),
];

/// What a query of a topic is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Find {
    Lookup,
    /// `clear`: also take back what an earlier run of this key left there.
    Announce {
        clear: bool,
    },
    /// Look up, and take the own announcement back on the way.
    LookupAndUnannounce,
}

pub(super) struct Session {
    pub topic: Key,
    pub server: bool,
    pub client: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Run {
    Idle,
    /// For the old announcement of the same topic to be taken back.
    Waiting,
    /// For the server to listen.
    Listening,
    Query {
        query: QueryId,
        find: Find,
        /// A look beside the refreshes.
        look: bool,
    },
}

/// What is known of a topic that is joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicStatus {
    /// Some session announces, looks for peers.
    pub server: bool,
    pub client: bool,
    pub sessions: usize,
    /// A refresh is under way, or waits.
    pub refreshing: bool,
    /// There may be an announcement of ours in the network.
    pub announced: bool,
}

/// A topic that is joined.
pub(super) struct Topic {
    limit: Option<u64>,
    /// How many found peers are still taken from this refresh.
    left: Option<u64>,
    is_server: bool,
    is_client: bool,
    sessions: usize,
    servers: usize,
    clients: usize,
    announced_before: bool,
    needs_unannounce: bool,
    /// Somebody was met under it since the last refresh in new roles, and how many looks have followed that.
    met: bool,
    looks: usize,
    run: Run,
}

impl Topic {
    pub fn refreshing(&self) -> bool {
        self.run != Run::Idle
    }
}

impl Hyperswarm {
    /// Joins a topic. Errors: `Invalid` as neither server nor client; `Full`; `NotOpen` if destroyed.
    pub fn join(&mut self, cx: &mut Cx<'_>, topic: Key, join: Join) -> Result<SessionId, Error> {
        self.alive()?;
        if !join.server && !join.client {
            return Err(Error::Invalid("join: neither server nor client"));
        }
        let new = !self.topics.contains_key(&topic);
        if self.sessions.len() >= limits::SWARM_SESSIONS_MAX
            || (new && self.topics.len() >= limits::SWARM_TOPICS_MAX)
        {
            return Err(Error::Full);
        }
        let (short, server, client) = (Short(&topic), join.server, join.client);
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.1", "topic {short} joined, server {server}, client {client}");
        let record = self.topics.entry(topic).or_insert(Topic {
            limit: None,
            left: None,
            is_server: false,
            is_client: false,
            sessions: 0,
            servers: 0,
            clients: 0,
            announced_before: false,
            needs_unannounce: false,
            met: false,
            looks: 0,
            run: Run::Idle,
        });
        record.sessions += 1;
        let session = self.sessions.insert(Session { topic, server: false, client: false });
        self.change(cx, session, join)?;
        Ok(session)
    }

    /// Changes the roles of a session and refreshes its topic; also with the roles as they are. Errors: `Gone`;
    /// `Invalid` as neither server nor client.
    pub fn change(&mut self, cx: &mut Cx<'_>, session: SessionId, join: Join) -> Result<(), Error> {
        if !join.server && !join.client {
            return Err(Error::Invalid("session: neither server nor client"));
        }
        let session = self.sessions.get_mut(session).ok_or(Error::Gone)?;
        let topic = self.topics.get_mut(&session.topic).ok_or(Error::Gone)?;
        // hyperswarm.4
        topic.clients = topic.clients + usize::from(join.client) - usize::from(session.client);
        topic.servers = topic.servers + usize::from(join.server) - usize::from(session.server);
        (session.server, session.client) = (join.server, join.client);
        topic.limit = join.limit;
        let topic = session.topic;
        self.refresh_anew(cx, topic);
        Ok(())
    }

    /// Ends one session. With the last one the topic is left; without servers it is unannounced. Errors: `Gone`.
    pub fn leave_session(&mut self, cx: &mut Cx<'_>, session: SessionId) -> Result<(), Error> {
        let session = self.sessions.remove(session).ok_or(Error::Gone)?;
        let key = session.topic;
        let Some(topic) = self.topics.get_mut(&key) else { return Ok(()) };
        topic.sessions -= 1;
        topic.clients -= usize::from(session.client);
        topic.servers -= usize::from(session.server);
        if topic.sessions == 0 {
            trace!(cx, State, "hyperswarm", rule: "hyperswarm.7", "topic {} left", Short(&key));
            self.remove_topic(key);
        } else if topic.servers == 0 && topic.needs_unannounce {
            self.refresh_anew(cx, key);
        }
        self.flush_topics();
        Ok(())
    }

    /// Ends all sessions of a topic and takes its announcement back; `Event::Left` follows. Connections stay. Errors:
    /// `Missing` if it is not joined.
    pub fn leave(&mut self, cx: &mut Cx<'_>, topic: Key) -> Result<(), Error> {
        if !self.topics.contains_key(&topic) {
            return Err(Error::Missing);
        }
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.7", "topic {} left", Short(&topic));
        self.remove_topic(topic);
        self.flush_topics();
        Ok(())
    }

    /// Leaves all topics.
    pub fn clear(&mut self, cx: &mut Cx<'_>) {
        for topic in self.topic_keys() {
            let _ = self.leave(cx, topic);
        }
    }

    /// The topics that are joined: as server, as client.
    pub fn topics(&self) -> impl Iterator<Item = (Key, bool, bool)> {
        self.topics.iter().map(|(key, topic)| (*key, topic.servers > 0, topic.clients > 0))
    }

    /// What is known of a topic, if it is joined.
    pub fn status(&self, topic: &Key) -> Option<TopicStatus> {
        self.topics.get(topic).map(|topic| TopicStatus {
            server: topic.servers > 0,
            client: topic.clients > 0,
            sessions: topic.sessions,
            refreshing: topic.refreshing(),
            announced: topic.needs_unannounce,
        })
    }

    pub(super) fn topic_keys(&self) -> Vec<Key> {
        self.topics.keys().copied().collect()
    }

    /// Whether a peer is one to be connected with, should it be lost (hyperswarm.15).
    pub(super) fn wanted(&self, key: &Key) -> bool {
        let Some(peer) = self.peers.get(key) else { return false };
        self.phase == Phase::Live
            && (peer.explicit || peer.topics.iter().any(|topic| self.topics.contains_key(topic)))
    }

    /// Forgets a topic; what it announced is taken back.
    pub(super) fn remove_topic(&mut self, key: Key) {
        self.abort_topic(key, false);
        self.topics.remove(&key);
        let sessions: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| s.topic == key).map(|(id, _)| id).collect();
        for session in sessions {
            self.sessions.remove(session);
        }
        for peer in self.peers.values_mut() {
            peer.topics.remove(&key);
        }
        self.unqueue_unwanted();
        if !self.leaving.contains(&key) {
            self.events.push_back(Event::Left { topic: key });
        }
    }

    /// Stops what is going on for a topic. `keep`: the announcement is not taken back (hyperswarm.7).
    pub(super) fn abort_topic(&mut self, key: Key, keep: bool) {
        self.timers.clear(Timer::Refresh(key));
        self.timers.clear(Timer::Look(key));
        let Some(topic) = self.topics.get_mut(&key) else { return };
        if let Run::Query { query, .. } = core::mem::replace(&mut topic.run, Run::Idle) {
            self.outputs.push_back(Output::CancelQuery { query });
        }
        if core::mem::take(&mut topic.needs_unannounce) && !keep && self.leaving.insert(key) {
            self.outputs.push_back(Output::Unannounce { topic: key });
        }
    }

    /// `refresh` because something has changed: looks follow it.
    pub(super) fn refresh_anew(&mut self, cx: &mut Cx<'_>, key: Key) {
        if let Some(topic) = self.topics.get_mut(&key) {
            (topic.met, topic.looks) = (false, 0);
        }
        self.refresh(cx, key);
    }

    /// Announces or looks up now. With a refresh running in the same roles nothing new is begun; other roles
    /// end it, and
    /// a refresh ends a look.
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>, key: Key) {
        if self.phase != Phase::Live {
            return;
        }
        let Some(topic) = self.topics.get_mut(&key) else { return };
        let (server, client) = (topic.servers > 0, topic.clients > 0);
        let same = (server, client) == (topic.is_server, topic.is_client);
        if same && topic.refreshing() && !matches!(topic.run, Run::Query { look: true, .. }) {
            return;
        }
        if let Run::Query { query, .. } = core::mem::replace(&mut topic.run, Run::Idle) {
            self.outputs.push_back(Output::CancelQuery { query }); // hyperswarm.4
        }
        (topic.is_server, topic.is_client) = (server, client);
        self.begin_refresh(cx, key);
    }

    fn begin_refresh(&mut self, cx: &mut Cx<'_>, key: Key) {
        let Some(topic) = self.topics.get_mut(&key) else { return };
        // hyperswarm.8
        if self.leaving.contains(&key) {
            topic.run = Run::Waiting;
            return;
        }
        // hyperswarm.6
        if topic.is_server && self.listening != Listening::Yes {
            topic.run = Run::Listening;
            self.listen_again();
            return;
        }
        let find = if topic.is_server {
            topic.needs_unannounce = true;
            // hyperswarm.5
            Find::Announce { clear: !core::mem::replace(&mut topic.announced_before, true) }
        } else if topic.needs_unannounce {
            Find::LookupAndUnannounce
        } else {
            Find::Lookup
        };
        self.timers.clear(Timer::Refresh(key));
        self.timers.clear(Timer::Look(key));
        self.begin_query(cx, key, find, false);
    }

    fn begin_query(&mut self, cx: &mut Cx<'_>, key: Key, find: Find, look: bool) {
        let Some(topic) = self.topics.get_mut(&key) else { return };
        self.queries += 1;
        let query = QueryId(self.queries);
        if !look {
            topic.left = topic.limit;
        }
        topic.run = Run::Query { query, find, look };
        trace!(cx, Step, "hyperswarm", rule: "hyperswarm.5", "topic {}: {find:?}", Short(&key));
        self.outputs.push_back(Output::Query { query, topic: key, find });
    }

    /// Listens, if a topic waits for that and the server is not about to end.
    pub(super) fn listen_again(&mut self) {
        let waits = self.topics.values().any(|topic| topic.run == Run::Listening);
        if waits && self.listening == Listening::No {
            self.listening = Listening::Asked;
            self.outputs.push_back(Output::Listen);
        }
    }

    /// Who joined in the same moment is announced by now. hyperswarm.36
    pub(super) fn look_due(&mut self, cx: &mut Cx<'_>, key: Key) {
        let idle = |topic: &Topic| topic.is_client && !topic.refreshing();
        if self.phase == Phase::Live && self.topics.get(&key).is_some_and(idle) {
            self.begin_query(cx, key, Find::Lookup, true);
        }
    }

    fn refresh_later(&mut self, cx: &mut Cx<'_>, key: Key, eager: bool) {
        let jitter = Span::from_millis(cx.entropy.below(REFRESH_JITTER.as_millis() + 1));
        let delay = if eager { jitter } else { REFRESH + jitter };
        self.timers.set(Timer::Refresh(key), cx.now + delay);
    }

    pub(super) fn refresh_due(&mut self, cx: &mut Cx<'_>, key: Key, at: Time) {
        if cx.now.since(at) > GRACE {
            self.refresh_later(cx, key, true); // hyperswarm.3
        } else {
            self.refresh(cx, key);
        }
    }

    pub(super) fn listen_ended(&mut self, cx: &mut Cx<'_>, ok: bool) {
        let waiting = |topic: &Topic| topic.run == Run::Listening;
        let keys: Vec<Key> =
            self.topics.iter().filter(|(_, topic)| waiting(topic)).map(|(key, _)| *key).collect();
        for key in keys {
            if ok {
                self.begin_refresh(cx, key);
            } else if let Some(topic) = self.topics.get_mut(&key) {
                topic.run = Run::Idle;
                self.refresh_later(cx, key, true);
            }
        }
        self.flush_topics();
    }

    fn topic_of(&mut self, query: QueryId) -> Option<Key> {
        let is = |topic: &Topic| matches!(topic.run, Run::Query { query: running, .. } if running == query);
        self.topics.iter().find(|(_, topic)| is(topic)).map(|(key, _)| *key)
    }

    pub(super) fn query_done(&mut self, cx: &mut Cx<'_>, query: QueryId, ok: bool) {
        let Some(key) = self.topic_of(query) else { return };
        let Some(topic) = self.topics.get_mut(&key) else { return };
        let Run::Query { find, .. } = core::mem::replace(&mut topic.run, Run::Idle) else { return };
        trace!(cx, State, "hyperswarm", rule: "hyperswarm.2", "topic {}: refreshed, answered: {ok}", Short(&key));
        if ok && find == Find::LookupAndUnannounce {
            topic.needs_unannounce = false;
        }
        // hyperswarm.36
        let (wanted, met, looks) = (topic.is_client && self.config.look_again, topic.met, topic.looks);
        if let Some((after, more)) = LOOKS.get(looks).filter(|_| wanted && !(met && looks > 0)) {
            topic.looks += 1;
            let at = cx.now + *after + Span::from_millis(cx.entropy.below(more.as_millis() + 1));
            // A refresh that nobody answered is made again.
            self.timers.set(if ok { Timer::Look(key) } else { Timer::Refresh(key) }, at);
        }
        if self.timers.get(Timer::Refresh(key)).is_none() {
            self.refresh_later(cx, key, false);
        }
        self.flush_topics();
    }

    pub(super) fn unannounced(&mut self, cx: &mut Cx<'_>, key: Key) {
        if !self.leaving.remove(&key) {
            return;
        }
        match self.topics.get(&key).map(|topic| topic.run) {
            Some(Run::Waiting) => self.begin_refresh(cx, key),
            Some(Run::Idle | Run::Listening | Run::Query { .. }) => {}
            None => self.events.push_back(Event::Left { topic: key }),
        }
    }

    /// A query met a peer (hyperswarm.18 to hyperswarm.20).
    pub(super) fn found(&mut self, cx: &mut Cx<'_>, query: QueryId, key: Key, relays: Vec<Addr>) {
        let Some(topic_key) = self.topic_of(query) else { return };
        let Some(topic) = self.topics.get_mut(&topic_key) else { return };
        if !topic.is_client {
            return;
        }
        if let Some(left) = &mut topic.left {
            if *left == 0 {
                return;
            }
            *left -= 1;
        }
        if key == self.config.key {
            return;
        }
        topic.met = true;
        // hyperswarm.33
        if !self.peers.contains_key(&key) && self.peers.len() >= limits::SWARM_PEERS_MAX {
            self.stats.ignored += 1;
            return;
        }
        let peer = self.peers.entry(key).or_insert_with(|| Peer::new(Vec::new()));
        let topic = Short(&topic_key);
        trace!(cx, Step, "hyperswarm", peer: Short(&key), rule: "hyperswarm.18", "met under topic {topic}");
        peer.relays = relays;
        peer.topics.insert(topic_key);
        if self.connections.has(&key) {
            return;
        }
        if !peer.prioritized() || !peer.client {
            peer.reset();
        }
        if peer.update_priority() {
            self.enqueue(cx, key);
        }
    }
}
