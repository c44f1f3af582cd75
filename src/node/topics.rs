//! What a program can do with a swarm: topics, peers, limits.

use super::net::Net;
use super::swarm::SwarmState;
use super::{Backoffs, Firewall, KeyPair, SwarmStats, TopicStatus};
use crate::base::hex::Short;
use crate::base::{Error, Key, Span, trace};
use crate::hyperswarm::{self, Hyperswarm, Join, PeerInfo, SessionId};

/// How to take part in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JoinOptions {
    /// Be found by others.
    pub server: bool,
    /// Look for others.
    pub client: bool,
}

/// How a swarm behaves. The defaults are those of the package.
#[derive(Clone, Debug)]
pub struct SwarmOptions {
    /// Its connections carry channels, else plain messages.
    pub channels: bool,
    /// Connections beyond which no more peers of topics are dialled.
    pub max_peers: usize,
    /// Connections of this side beyond which none is dialled, of peers beyond which none is taken. None: no bound.
    pub max_client_connections: Option<usize>,
    pub max_server_connections: Option<usize>,
    /// Attempts at a time.
    pub max_parallel: usize,
    pub backoffs: Backoffs,
    /// Who is dialled and let in. Whoever it refuses is banned.
    pub firewall: Firewall,
    /// Go through one of the blind relays (`Net::set_relays`) in any case.
    pub always_relay: bool,
    /// How long the outcome of a handshake is remembered. (hyperdht.36)
    pub handshake_clear: Span,
}

impl Default for SwarmOptions {
    fn default() -> SwarmOptions {
        let config = hyperswarm::Config::new([0; 32]);
        SwarmOptions {
            channels: true,
            max_peers: config.max_peers,
            max_client_connections: config.max_client_connections,
            max_server_connections: config.max_server_connections,
            max_parallel: config.max_parallel,
            backoffs: config.backoffs,
            firewall: config.firewall,
            always_relay: config.always_relay,
            handshake_clear: crate::hyperdht::ListenOptions::CLEAR,
        }
    }
}

impl Net<'_> {
    /// Takes part in topics under this key pair, before `join`. One swarm per node: while there is one that has not
    /// ended, this does nothing.
    pub fn swarm(&mut self, key_pair: &KeyPair) {
        self.swarm_with(key_pair, SwarmOptions::default());
    }

    /// The same, with plain messages on its connections instead of channels.
    pub fn swarm_of_messages(&mut self, key_pair: &KeyPair) {
        self.swarm_with(key_pair, SwarmOptions { channels: false, ..SwarmOptions::default() });
    }

    /// As `swarm`, with options.
    pub fn swarm_with(&mut self, key_pair: &KeyPair, options: SwarmOptions) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", peer: Short(&key_pair.public), "take part in topics");
        if node.swarm.as_ref().is_some_and(|swarm| !swarm.machine.has_ended()) {
            return;
        }
        let config = hyperswarm::Config {
            max_peers: options.max_peers,
            max_client_connections: options.max_client_connections,
            max_server_connections: options.max_server_connections,
            max_parallel: options.max_parallel,
            backoffs: options.backoffs,
            firewall: options.firewall,
            relay_through: node.relays.default.clone(),
            always_relay: options.always_relay,
            ..hyperswarm::Config::new(key_pair.public)
        };
        let mut swarm = SwarmState::new(cx, key_pair.clone(), config);
        (swarm.channels, swarm.handshake_clear) = (options.channels, options.handshake_clear);
        node.swarm = Some(Box::new(swarm));
        node.tell_randomized(cx);
    }

    /// Joins a topic; connections come as `Event::Connected` with `swarm: true`.
    pub fn join(&mut self, topic: Key, options: JoinOptions) -> Result<(), Error> {
        self.join_limited(topic, options, None)
    }

    /// As `join`; of the peers that a refresh finds so many are taken.
    pub fn join_limited(
        &mut self,
        topic: Key,
        options: JoinOptions,
        limit: Option<u64>,
    ) -> Result<(), Error> {
        let join = Join { server: options.server, client: options.client, limit };
        self.with_swarm(format_args!("join topic {}", Short(&topic)), |swarm, cx| {
            swarm.join(cx, topic, join).map(|_| ())
        })
    }

    /// As `join_limited`, for a part of the program that has roles of its own: the topic has those of all its
    /// sessions together. (hyperswarm.4)
    pub fn join_session(
        &mut self,
        topic: Key,
        options: JoinOptions,
        limit: Option<u64>,
    ) -> Result<SessionId, Error> {
        let join = Join { server: options.server, client: options.client, limit };
        self.with_swarm(format_args!("join topic {}", Short(&topic)), |swarm, cx| swarm.join(cx, topic, join))
    }

    /// Changes the roles of a session, and refreshes its topic, also with the roles as they are. Errors: `Gone`,
    /// `Invalid` as neither server nor client.
    pub fn refresh_session(
        &mut self,
        session: SessionId,
        options: JoinOptions,
        limit: Option<u64>,
    ) -> Result<(), Error> {
        let join = Join { server: options.server, client: options.client, limit };
        self.with_swarm(format_args!("refresh {session}"), |swarm, cx| swarm.change(cx, session, join))
    }

    /// Ends a session; with its last one a topic is left. Errors: `Gone`.
    pub fn leave_session(&mut self, session: SessionId) -> Result<(), Error> {
        self.with_swarm(format_args!("leave {session}"), |swarm, cx| swarm.leave_session(cx, session))
    }

    /// Leaves a topic and unannounces it; `Event::Left` follows.
    pub fn leave(&mut self, topic: Key) {
        let _ = self
            .with_swarm(format_args!("leave topic {}", Short(&topic)), |swarm, cx| swarm.leave(cx, topic));
    }

    /// Leaves all topics.
    pub fn leave_all(&mut self) {
        let _ = self.with_swarm(format_args!("leave all topics"), |swarm, cx| {
            swarm.clear(cx);
            Ok(())
        });
    }

    /// What is known of a topic that is joined.
    pub fn topic_status(&self, topic: &Key) -> Option<TopicStatus> {
        self.node().swarm.as_ref()?.machine.status(topic)
    }

    /// The topics that are joined.
    pub fn topics(&self) -> Vec<Key> {
        let swarm = self.node().swarm.as_ref();
        swarm.map(|swarm| swarm.machine.topics().map(|(topic, ..)| topic).collect()).unwrap_or_default()
    }

    /// The topics under which a peer was found.
    pub fn topics_of(&self, key: &Key) -> Vec<Key> {
        self.node().swarm.as_ref().map(|swarm| swarm.machine.topics_of(key)).unwrap_or_default()
    }

    /// What the swarm knows of a peer.
    pub fn peer(&self, key: &Key) -> Option<PeerInfo> {
        self.node().swarm.as_ref()?.machine.peer(key)
    }

    /// What it knows of all peers that it has found, was told of, or is connected with.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.node().swarm.as_ref().map(|swarm| swarm.machine.peers()).unwrap_or_default()
    }

    /// How many peers are being dialled.
    pub fn connecting(&self) -> usize {
        self.node().swarm.as_ref().map_or(0, |swarm| swarm.machine.counts().2)
    }

    /// `Event::Flushed` tells when all that the swarm has found by now is connected or given up.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.with_swarm(format_args!("flush"), |swarm, cx| swarm.flush(cx).map(|_| ()))
    }

    /// Keeps a connection to a peer, whether or not it has a topic, until `leave_peer`.
    pub fn join_peer(&mut self, key: Key) -> Result<(), Error> {
        self.with_swarm(format_args!("join peer {}", Short(&key)), |swarm, cx| swarm.join_peer(cx, key))
    }

    /// Ends `join_peer`; a connection stays.
    pub fn leave_peer(&mut self, key: Key) {
        let _ = self.with_swarm(format_args!("leave peer {}", Short(&key)), |swarm, cx| {
            swarm.leave_peer(cx, key);
            Ok(())
        });
    }

    /// Bans a peer: it is neither dialled nor let in from now on. What is open stays. False takes it back.
    pub fn ban(&mut self, key: Key, banned: bool) -> Result<(), Error> {
        self.with_swarm(format_args!("ban {}: {banned}", Short(&key)), |swarm, cx| {
            swarm.ban(cx, key, banned);
            Ok(())
        })
    }

    /// Who is dialled and let in from now on.
    pub fn set_firewall(&mut self, firewall: Firewall) -> Result<(), Error> {
        self.with_swarm(format_args!("change who is let in"), |swarm, _| {
            swarm.set_firewall(firewall);
            Ok(())
        })
    }

    /// False: that peer is not dialled again when the connection to it ends. Errors: `Missing` if it is not known.
    pub fn set_reconnect(&mut self, key: Key, reconnect: bool) -> Result<(), Error> {
        self.with_swarm(format_args!("dial {} again: {reconnect}", Short(&key)), |swarm, _| {
            swarm.set_reconnect(key, reconnect)
        })
    }

    /// Takes the swarm's announcements back, closes its connections and takes none; `Event::SwarmSuspended` follows.
    pub fn suspend_swarm(&mut self) -> Result<(), Error> {
        self.with_swarm(format_args!("suspend the swarm"), |swarm, cx| swarm.suspend(cx))
    }

    /// Ends `suspend_swarm`: the topics are announced and looked up again.
    pub fn resume_swarm(&mut self) -> Result<(), Error> {
        self.with_swarm(format_args!("resume the swarm"), |swarm, cx| swarm.resume(cx))
    }

    /// Ends the swarm for good: leaves its topics, closes its connections; `Event::SwarmDestroyed` follows. `force`:
    /// the topics are not unannounced.
    pub fn destroy_swarm(&mut self, force: bool) -> Result<(), Error> {
        self.with_swarm(format_args!("end the swarm, force: {force}"), |swarm, cx| {
            swarm.destroy(cx, force);
            Ok(())
        })
    }

    /// What the swarm has done.
    pub fn swarm_stats(&self) -> Option<SwarmStats> {
        self.node().swarm.as_ref().map(|swarm| swarm.machine.stats())
    }

    fn with_swarm<R>(
        &mut self,
        call: core::fmt::Arguments<'_>,
        act: impl FnOnce(&mut Hyperswarm, &mut crate::base::Cx<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "{call}");
        let swarm = node.swarm.as_mut().ok_or(Error::NotOpen)?;
        let done = act(&mut swarm.machine, cx)?;
        node.settle(cx);
        Ok(done)
    }
}
