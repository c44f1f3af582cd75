//! Stores of cores on this node's disk, and their replication over connections.

use super::conn::Use;
use super::{Closed, Event, Node};
use crate::base::hex::Short;
use crate::base::{Cx, Error, Id, Key, Kind, Machine, limits, trace};
use crate::corestore::Corestore;
use crate::hyperbee::Bee;
use crate::hyperbee::ahead::{Ahead, EXTENSION};
use crate::hypercore::live::Live;
use crate::hypercore::replicate::{self, PeerId};
use crate::hyperdht::ConnId;
use crate::protomux;

pub enum StoreKind {}
impl Kind for StoreKind {
    const NAME: &'static str = "store";
}
/// An open corestore.
pub type StoreId = Id<StoreKind>;

pub enum CoreKind {}
impl Kind for CoreKind {
    const NAME: &'static str = "core";
}
/// An open core.
pub type CoreId = Id<CoreKind>;

pub(super) struct StoreState {
    pub store: Corestore,
    /// The program wants to know of every core that is opened.
    pub watched: bool,
}

/// Where a peer of a core is.
pub(super) struct Place {
    pub conn: ConnId,
    pub core: CoreId,
    /// None: both sides were done, and the channel is closed.
    pub channel: Option<crate::protomux::ChannelId>,
}

pub(super) struct CoreState {
    pub store: StoreId,
    pub live: Live,
    pub bee: Bee,
    /// None: nobody has used the core as a tree.
    pub ahead: Option<Ahead>,
    /// Openings that the program has not taken back. (corestore.10)
    pub holds: usize,
}

impl Node {
    /// Adds an open core, and attaches it to every connection that replicates its store.
    pub(super) fn add_core(
        &mut self,
        cx: &mut Cx<'_>,
        store: StoreId,
        core: crate::hypercore::Hypercore,
    ) -> CoreId {
        let (discovery, length, fork) = (*core.discovery_key(), core.length(), core.fork());
        let id = self.cores.insert(CoreState {
            store,
            live: Live::new(core),
            bee: Bee::new(),
            ahead: None,
            holds: 0,
        });
        trace!(cx, State, "node", id: id, "open, {} of {store}, length {length}, fork {fork}", Short(&discovery));
        let conns: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.stores.contains(&store))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in conns {
            self.attach(cx, conn, id);
        }
        if self.stores.get(store).is_some_and(|state| state.watched) {
            self.tell(Event::CoreOpened { store, core: id });
        }
        self.touched_cores.insert(id);
        id
    }

    /// Replicates all cores of `store` over `conn`, now and later ones.
    pub(super) fn replicate(&mut self, cx: &mut Cx<'_>, id: ConnId, store: StoreId) -> Result<(), Error> {
        let conn = self.conns.get_mut(&id).ok_or(Error::Gone)?;
        if conn.mux.is_none() {
            return Err(Error::Invalid("a connection without channels"));
        }
        if !self.stores.contains(store) {
            return Err(Error::Gone);
        }
        if conn.stores.contains(&store) {
            return Ok(());
        }
        conn.stores.push(store);
        let cores: Vec<CoreId> =
            self.cores.iter().filter(|(_, state)| state.store == store).map(|(core, _)| core).collect();
        for core in cores {
            self.attach(cx, id, core);
        }
        self.serve_wanted_cores(cx, id);
        Ok(())
    }

    /// Opens the channel of a core on a connection; an open one stays as it is.
    fn attach(&mut self, cx: &mut Cx<'_>, id: ConnId, core: CoreId) {
        let (Some(conn), Some(state)) = (self.conns.get_mut(&id), self.cores.get_mut(core)) else { return };
        let Some(mux) = conn.mux.as_mut().filter(|_| !state.live.core.frozen()) else { return };
        let discovery_key = *state.live.core.discovery_key();
        let handshake = state.live.local_handshake(&conn.handshake_hash, conn.initiator);
        let open = protomux::Open {
            protocol: replicate::PROTOCOL,
            id: Some(&discovery_key),
            aliases: &[replicate::ALIAS],
            handshake: &handshake,
            unique: true,
        };
        let opened = cx.within(id.place(), |cx| mux.open(cx, open));
        conn.wanted.retain(|(protocol, name)| {
            !(is_core_protocol(protocol) && name.as_deref() == Some(&discovery_key[..]))
        });
        let Ok(channel) = opened else { return };
        let known = self.peers.iter().find(|(_, place)| (place.conn, place.core) == (id, core));
        let peer = match known {
            Some((&peer, _)) => peer,
            None => {
                self.next_peer += 1;
                PeerId(self.next_peer)
            }
        };
        trace!(cx, State, "node", id: id, "{channel} is for {peer} of {core}");
        self.peers.insert(peer, Place { conn: id, core, channel: Some(channel) });
        conn.channels.insert(channel, Use::Core(core, peer));
        self.touched_conns.insert(id);
    }

    /// Opens cores that the other side asks for by discovery key, if a store replicated here has them.
    pub(super) fn serve_wanted_cores(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let stores = conn.stores.clone();
        let keys: Vec<Key> = conn
            .wanted
            .iter()
            .filter(|(protocol, _)| is_core_protocol(protocol))
            .filter_map(|(_, name)| Key::try_from(name.as_deref()?).ok())
            .collect();
        for discovery_key in keys {
            let open = self.cores.iter().find(|(_, state)| {
                stores.contains(&state.store) && *state.live.core.discovery_key() == discovery_key
            });
            if let Some((core, _)) = open {
                self.attach(cx, id, core);
                continue;
            }
            for &store in &stores {
                let Some(state) = self.stores.get_mut(store) else { continue };
                if let Ok(Some(core)) = state.store.core_by_discovery_key(cx, &discovery_key) {
                    self.add_core(cx, store, core);
                    break;
                }
            }
        }
    }

    pub(super) fn open_peer(
        &mut self,
        cx: &mut Cx<'_>,
        core: CoreId,
        peer: PeerId,
        remote_handshake: &[u8],
        handshake_hash: &[u8; 64],
        initiator: bool,
    ) {
        let input = replicate::Input::PeerOpened { peer, remote_handshake, handshake_hash, initiator };
        self.tell_core(cx, core, input);
    }

    pub(super) fn tell_core(&mut self, cx: &mut Cx<'_>, core: CoreId, input: replicate::Input<'_>) {
        if let Some(state) = self.cores.get_mut(core) {
            cx.within(core.place(), |cx| state.live.handle_input(cx, input));
            self.touched_cores.insert(core);
        }
    }

    pub(super) fn core_timeout(&mut self, cx: &mut Cx<'_>, core: CoreId) {
        if let Some(state) = self.cores.get_mut(core) {
            cx.within(core.place(), |cx| state.live.handle_timeout(cx));
            self.touched_cores.insert(core);
        }
    }

    /// core → its channels, core → the program.
    pub(super) fn settle_core(&mut self, cx: &mut Cx<'_>, id: CoreId) {
        self.send_to_peers(cx, id);
        let Some(state) = self.cores.get_mut(id) else { return };
        let mut events = Vec::new();
        while let Some(event) = state.live.poll_event() {
            events.push(event);
        }
        match state.live.poll_timeout() {
            Some(deadline) => self.core_deadlines.set(id, deadline.at),
            None => self.core_deadlines.clear(id),
        }
        for event in events {
            match event {
                replicate::Event::Appended { length } => self.tell(Event::Appended { core: id, length }),
                replicate::Event::Truncated { length, fork } => {
                    self.tell(Event::Truncated { core: id, length, fork });
                }
                replicate::Event::Downloaded { index } => self.tell(Event::Downloaded { core: id, index }),
                replicate::Event::PeerAdded { peer } => self.tell(Event::PeerAdded { core: id, peer }),
                replicate::Event::PeerRemoved { peer } => self.tell(Event::PeerRemoved { core: id, peer }),
                replicate::Event::Fault { peer, .. } => self.tell(Event::PeerFault { core: id, peer }),
                replicate::Event::Extension { peer, name, message }
                    if name == EXTENSION && self.is_tree(id) =>
                {
                    self.bee_told(cx, id, peer, &message);
                }
                replicate::Event::Extension { peer, name, message } => {
                    self.tell(Event::Extension { core: id, peer, name, message });
                }
                replicate::Event::Conflict { length, fork } => {
                    self.tell(Event::Conflict { core: id, length, fork });
                }
                replicate::Event::Job { job, result } => {
                    self.tell(Event::Job { core: id, job, result });
                }
                replicate::Event::Stalled { why } => self.tell(Event::Stalled { core: id, why }),
                replicate::Event::Uploaded { .. } | replicate::Event::Resumed => {}
            }
        }
        self.watch_idle(cx, id);
    }

    /// core → its channels. An answer is made when it is taken: what was taken goes down before much more is, so that
    /// a connection that is full says so.
    fn send_to_peers(&mut self, cx: &mut Cx<'_>, id: CoreId) {
        let mut bytes = 0;
        loop {
            let Some(state) = self.cores.get_mut(id) else { return };
            let Some(output) = cx.within(id.place(), |cx| state.live.poll_output(cx)) else { return };
            let (peer, length) = match &output {
                replicate::Output::Message { peer, bytes, .. } => (*peer, bytes.len()),
                replicate::Output::Close { peer, .. } | replicate::Output::Open { peer } => (*peer, 0),
            };
            let Some(conn) = self.peers.get(&peer).map(|place| place.conn) else { continue };
            self.send_to_peer(cx, peer, output);
            bytes += length;
            if bytes > limits::CORE_TAKEN_MAX {
                self.settle_conn(cx, conn);
                self.touch(conn);
                bytes = 0;
            }
        }
    }

    fn send_to_peer(&mut self, cx: &mut Cx<'_>, peer: PeerId, output: replicate::Output) {
        let Some(place) = self.peers.get_mut(&peer) else { return };
        let Some(conn) = self.conns.get_mut(&place.conn) else { return };
        let (id, core, channel) = (place.conn, place.core, place.channel);
        match (output, channel, &mut conn.mux) {
            (replicate::Output::Message { kind, bytes, .. }, Some(channel), Some(mux)) => {
                let room = cx.within(id.place(), |cx| mux.send(cx, channel, kind, &bytes));
                if room == Ok(false) {
                    self.tell_core(cx, core, replicate::Input::Writable { peer, writable: false });
                }
            }
            (replicate::Output::Close { why, .. }, Some(channel), Some(mux)) => {
                place.channel = None;
                let _ = cx.within(id.place(), |cx| mux.close(cx, channel));
                conn.channels.remove(&channel);
                if let replicate::Close::Fault(_) = why {
                    conn.why.get_or_insert(Closed::Replication);
                    cx.within(id.place(), |cx| conn.secret.destroy(cx));
                }
            }
            (replicate::Output::Open { .. }, None, _) => self.attach(cx, id, core),
            _ => {}
        }
        self.touched_conns.insert(id);
    }

    /// A connection is gone, and with it the peers on it.
    pub(super) fn peers_gone(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let gone: Vec<(PeerId, CoreId)> = self
            .peers
            .iter()
            .filter(|(_, place)| place.conn == conn)
            .map(|(&peer, place)| (peer, place.core))
            .collect();
        for (peer, core) in gone {
            self.peers.remove(&peer);
            self.tell_core(cx, core, replicate::Input::PeerClosed { peer });
        }
    }
}

fn is_core_protocol(protocol: &str) -> bool {
    protocol == replicate::PROTOCOL || protocol == replicate::ALIAS
}
