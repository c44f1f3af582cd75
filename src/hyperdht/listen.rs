//! Servers: keys that this node listens for, and who may call them. Follows hyperdht.10 and hyperdht.30 to
//! hyperdht.39. Read `sessions.rs` next: what is done with a call.

use super::announce::Announcer;
use super::sessions::Session;
use super::*;
use crate::base::Error;

/// How to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub key_pair: KeyPair,
    /// Whether callers are told our local addresses.
    pub share_local_address: bool,
    /// False: callers that cannot reach us are not punched towards.
    pub holepunch: bool,
    /// Blind relays, one of which is used with each caller, unless a direct way is found first. blind_relay.20
    pub relay_through: Vec<Key>,
    /// The keep-alive of connections to relays. blind_relay.21
    pub relay_keep_alive: Span,
    /// True: each caller is told of by `Event::Knock`, and hears nothing until `admit`. hyperdht.110
    pub gate: bool,
    /// Asked when a punch is about to begin: false gives the caller up. hyperdht.111
    pub veto: Option<Veto>,
    /// Sockets that punched are kept for the next connection of the same caller. hyperdht.112
    pub reusable_socket: bool,
    /// How long the outcome of a handshake is remembered. hyperdht.36
    pub handshake_clear: Span,
}

impl ListenOptions {
    /// How long the outcome of a handshake is remembered by default. hyperdht.36
    pub const CLEAR: Span = super::sessions::CLEAR;

    pub fn new(key_pair: KeyPair) -> ListenOptions {
        ListenOptions {
            key_pair,
            share_local_address: true,
            holepunch: true,
            relay_through: Vec::new(),
            relay_keep_alive: super::connect::RELAY_KEEP_ALIVE,
            gate: false,
            veto: None,
            reusable_socket: false,
            handshake_clear: ListenOptions::CLEAR,
        }
    }
}

#[derive(Debug)]
pub enum SessionKind {}
impl Kind for SessionKind {
    const NAME: &'static str = "session";
}
pub type SessionId = Id<SessionKind>;

#[derive(Debug)]
pub struct Server {
    pub options: ListenOptions,
    pub target: Key,
    pub announcer: Announcer,
    /// The node is suspended, or about to be, or this server is: nobody is let in.
    pub(super) asleep: bool,
    /// `suspend_server`
    pub(super) resting: bool,
    /// The program knows that it is announced nowhere.
    pub(super) rest_told: bool,
    pub(super) denied: BTreeSet<Key>,
    /// Nobody but these is let in, if it is set.
    pub(super) allowed: Option<BTreeSet<Key>>,
    pub(super) sessions: Slab<SessionKind, Session>,
    /// By the hash of the caller's first message. hyperdht.30
    pub(super) by_message: BTreeMap<Key, SessionId>,
    /// By slot, which is the id that callers name.
    pub(super) by_slot: BTreeMap<u32, SessionId>,
}

impl Server {
    pub fn key(&self) -> Key {
        self.options.key_pair.public
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

impl HyperDht {
    /// Begins to listen. `Event::Listening` follows once a node has taken the announcement.
    ///
    /// Errors: `Taken` if this node listens for that key already (pitfalls 6.18), `NotOpen` if it has ended.
    pub fn listen(&mut self, cx: &mut Cx<'_>, options: ListenOptions) -> Result<ServerId, Error> {
        if self.ended {
            return Err(Error::NotOpen);
        }
        let target = target(&options.key_pair.public);
        if self.by_target.contains_key(&target) {
            return Err(Error::Taken);
        }
        let server = self.servers.insert(Server {
            options,
            target,
            announcer: Announcer::new(),
            asleep: self.suspended,
            resting: false,
            rest_told: false,
            denied: BTreeSet::new(),
            allowed: None,
            sessions: Slab::new(),
            by_message: BTreeMap::new(),
            by_slot: BTreeMap::new(),
        });
        self.by_target.insert(target, server);
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.10", "listens for target {}", Short(&target));
        self.start_announcing(cx, server);
        Ok(server)
    }

    /// Stops listening: callers are not answered any more, the announcement is withdrawn. `Event::Unlistened` follows.
    pub fn unlisten(&mut self, cx: &mut Cx<'_>, server: ServerId) -> Result<(), Error> {
        let record = self.servers.get_mut(server).ok_or(Error::Gone)?;
        let target = record.target;
        if self.by_target.get(&target) != Some(&server) {
            return Ok(());
        }
        self.by_target.remove(&target);
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.58", "listens no longer");
        let sessions = record.sessions.ids();
        for session in sessions {
            self.drop_session(cx, server, session);
            self.clear_session(server, session);
        }
        self.stop_announcing(cx, server);
        Ok(())
    }

    /// Keys that are not let in: their handshakes get no answer at all. hyperdht.35, pitfalls 7.2
    pub fn set_denied(&mut self, server: ServerId, keys: impl IntoIterator<Item = Key>) -> Result<(), Error> {
        self.servers.get_mut(server).ok_or(Error::Gone)?.denied = keys.into_iter().collect();
        Ok(())
    }

    /// The only keys that are let in, if they are not denied; `None`: all. The others' handshakes get no answer at all.
    pub fn set_allowed(&mut self, server: ServerId, keys: Option<BTreeSet<Key>>) -> Result<(), Error> {
        self.servers.get_mut(server).ok_or(Error::Gone)?.allowed = keys;
        Ok(())
    }

    /// Through which blind relays callers are met from now on; none: as they wish. blind_relay.20
    pub fn set_relay_through(&mut self, server: ServerId, relays: Vec<Key>) -> Result<(), Error> {
        self.servers.get_mut(server).ok_or(Error::Gone)?.options.relay_through = relays;
        Ok(())
    }

    /// The key that a server listens for.
    pub fn server_key(&self, server: ServerId) -> Option<Key> {
        self.servers.get(server).map(Server::key)
    }

    /// Where handshakes for `server` can be sent, for announcing it under a topic. Empty until it is listening.
    pub fn server_relays(&self, server: ServerId) -> &[Addr] {
        self.servers.get(server).map_or(&[], |server| &server.announcer.relay_addresses)
    }

    /// Handshakes that are remembered, of all servers.
    pub fn sessions(&self) -> usize {
        self.servers.iter().map(|(_, server)| server.sessions.len()).sum()
    }
}
