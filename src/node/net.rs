//! What a program can do with a node. `Host` runs it on the real machine, `World` in a simulation.
//!
//! Each command acts at once and returns; what comes of it is told by events. Nothing blocks.

use super::route::PATIENCE;
use super::stores::{CoreId, StoreId, StoreState};
use super::{
    CallId, CallState, ConnId, ConnectOptions, ConnectStats, Dialing, Durability, KeyPair, ListenOptions,
    Node, RelayBounds, RelayStats, RpcId, ServerId, Serving, StreamStats,
};
use crate::base::hex::Short;
use crate::base::{Addr, Cx, Error, Key, Span, Time, Traffic, trace};
use crate::corestore::{Corestore, StoreOptions, Want};
use crate::hyperbee::Range;
use crate::hypercore::Encryption;
use crate::wire::hyperdht::Address;

/// Borrows a node and its world for one statement.
pub struct Net<'a> {
    node: &'a mut Node,
    cx: Cx<'a>,
}

/// Where this node stands in the DHT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetStatus {
    pub bootstrapped: bool,
    /// Not known to be reachable from outside.
    pub firewalled: bool,
    pub ephemeral: bool,
    /// Where others reach this node, if they can.
    pub remote: Option<Addr>,
    /// The local address of the server socket.
    pub local: Option<Addr>,
    /// Of the routing table, those heard from latest first. Given to the next start (`DhtConfig::nodes`), they make it
    /// quick.
    pub nodes: Vec<Addr>,
    /// Answers come back.
    pub online: bool,
    /// They do, but most requests are lost.
    pub degraded: bool,
    /// The node's id, while it is not ephemeral.
    pub id: Option<Key>,
    /// The public host as others see it.
    pub host: Option<[u8; 4]>,
    /// The public port as others see it; 0 if each sees another (the NAT is random).
    pub port: u16,
}

/// What is known of a core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreInfo {
    pub key: Key,
    pub discovery_key: Key,
    /// Blocks that are proven to exist.
    pub length: u64,
    /// Blocks that are here from the first on without a gap.
    pub contiguous_length: u64,
    pub writable: bool,
    pub peers: usize,
    /// The longest length that a connected peer says it has.
    pub remote_length: u64,
}

/// A key of a B-tree and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

impl<'a> Net<'a> {
    pub fn new(node: &'a mut Node, cx: Cx<'a>) -> Net<'a> {
        Net { node, cx }
    }

    pub(super) fn node(&self) -> &Node {
        self.node
    }

    pub(super) fn parts(&mut self) -> (&mut Node, &mut Cx<'a>) {
        (self.node, &mut self.cx)
    }

    pub fn now(&self) -> Time {
        self.cx.now
    }

    /// Milliseconds of Unix time, if the node was told what time it was.
    pub fn unix_millis(&self) -> Option<u64> {
        self.node.dht.unix_millis(self.cx.now)
    }

    /// Whether more events wait for the program.
    pub fn has_events(&self) -> bool {
        !self.node.events.is_empty()
    }

    /// The world as machines see it, for programs that keep files of their own.
    pub fn cx(&mut self) -> &mut Cx<'a> {
        &mut self.cx
    }

    pub fn status(&self) -> NetStatus {
        let status = self.node.rpc.status();
        NetStatus {
            bootstrapped: self.node.rpc.bootstrapped(),
            firewalled: status.firewalled,
            ephemeral: status.ephemeral,
            remote: status.remote,
            local: status.server,
            nodes: self.node.rpc.nodes(usize::MAX),
            online: self.node.rpc.online(),
            degraded: self.node.rpc.degraded(),
            id: status.id,
            host: status.host,
            port: status.port,
        }
    }

    /// Opens a server under a key; `channels`: its connections carry calls and cores, else plain messages.
    pub fn listen(&mut self, key_pair: &KeyPair, channels: bool) -> Result<ServerId, Error> {
        let relay_through = self.node.relays.default.clone();
        self.listen_with(ListenOptions { relay_through, ..ListenOptions::new(key_pair.clone()) }, channels)
    }

    /// As `listen`, with options: who may call, how callers are met, and through which blind relays.
    pub fn listen_with(&mut self, options: ListenOptions, channels: bool) -> Result<ServerId, Error> {
        let public = options.key_pair.public;
        let server = self.node.dht.listen(&mut self.cx, options)?;
        self.node.servers.insert(server, Serving { public, channels, swarm: false });
        trace!(self.cx, Call, "node", id: server, peer: Short(&public), "listen, channels: {channels}");
        self.node.settle(&mut self.cx);
        Ok(server)
    }

    /// Closes a server and unannounces it; `Event::Unlistened` tells when that is done.
    pub fn unlisten(&mut self, server: ServerId) {
        trace!(self.cx, Call, "node", id: server, "unlisten");
        let _ = self.node.dht.unlisten(&mut self.cx, server);
        self.node.settle(&mut self.cx);
    }

    /// Connects to the server of `key` under our own key pair.
    pub fn connect(&mut self, key: Key, key_pair: &KeyPair, channels: bool) -> Result<ConnId, Error> {
        let relay_through = self.node.relays.default.clone();
        let options = ConnectOptions { relay_through, ..ConnectOptions::new(key_pair.clone()) };
        self.connect_with(key, options, channels)
    }

    /// As `connect`, with options: which nodes are asked, what is tried, and through which blind relay.
    pub fn connect_with(
        &mut self,
        key: Key,
        options: ConnectOptions,
        channels: bool,
    ) -> Result<ConnId, Error> {
        let public = options.key_pair.public;
        let conn = self.node.dht.connect(&mut self.cx, key, options);
        trace!(self.cx, Call, "node", id: conn, peer: Short(&key), "connect, channels: {channels}");
        let since = self.cx.now;
        let dialing = Dialing { key, public, channels, swarm: false, since };
        self.node.dialing.insert(conn, dialing);
        self.node.settle(&mut self.cx);
        Ok(conn)
    }

    /// As `connect_with`; nodes that are handed around with the key are asked first, unless the options name others.
    /// (hyperdht.120)
    pub fn connect_to(
        &mut self,
        to: &Address,
        mut options: ConnectOptions,
        channels: bool,
    ) -> Result<ConnId, Error> {
        if options.relays.is_empty() {
            options.relays = to.nodes.clone().unwrap_or_default();
        }
        self.connect_with(to.key, options, channels)
    }

    /// From now on `listen`, `connect` and the swarm use one of these blind relays where there is no direct way; none:
    /// no relay, unless the other side wants one. (blind_relay.20)
    pub fn set_relays(&mut self, relays: &[Key]) {
        self.node.relays.default = relays.to_vec();
        if let Some(swarm) = &mut self.node.swarm {
            swarm.machine.set_relays(relays.to_vec());
        }
        self.node.settle(&mut self.cx);
    }

    /// From now on callers of `server` are met through one of these blind relays, unless there is a direct way. None:
    /// as the caller wishes. (blind_relay.20)
    pub fn set_relay_through(&mut self, server: ServerId, relays: &[Key]) -> Result<(), Error> {
        self.node.dht.set_relay_through(server, relays.to_vec())
    }

    /// From now on this node is a blind relay for whoever connects to a server of its with channels.
    pub fn serve_relay(&mut self, bounds: RelayBounds) {
        self.node.serve_relay(bounds);
    }

    /// What the blind relay of this node has done, if it is one.
    pub fn relay_stats(&self) -> Option<RelayStats> {
        self.node.relay_stats()
    }

    /// The blind relay of this node passes nothing on any more, and takes nobody.
    pub fn close_relay(&mut self) {
        self.node.close_relay(&mut self.cx);
        self.node.settle(&mut self.cx);
    }

    /// What came of connecting and being called: connections, punches, relays.
    pub fn connect_stats(&self) -> ConnectStats {
        self.node.dht.stats()
    }

    /// Ends our side: what was sent still arrives, the other side can still send.
    pub fn close(&mut self, conn: ConnId) {
        trace!(self.cx, Call, "node", id: conn, "close");
        if self.node.conns.contains_key(&conn) {
            self.cx.within(conn.place(), |cx| {
                self.node.let_go_within(cx, conn);
                if let Some(open) = self.node.conns.get_mut(&conn) {
                    open.secret.end(cx);
                }
            });
            self.node.touch(conn);
        } else {
            self.node.drop_conn(&mut self.cx, conn);
        }
        self.node.settle(&mut self.cx);
    }

    /// Gives a connection up at once.
    pub fn destroy(&mut self, conn: ConnId) {
        trace!(self.cx, Call, "node", id: conn, "destroy");
        self.node.drop_conn(&mut self.cx, conn);
        self.node.settle(&mut self.cx);
    }

    /// Sends a message on a connection without channels. `Error::Full`: wait for `Event::Drained`.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Error> {
        let open = self.node.conns.get_mut(&conn).ok_or(Error::NotOpen)?;
        if open.mux.is_some() {
            return Err(Error::Invalid("a connection with channels"));
        }
        if open.full {
            return Err(Error::Full);
        }
        trace!(self.cx, Call, "node", id: conn, "send, {} bytes", bytes.len());
        self.cx.within(conn.place(), |cx| open.secret.send(cx, bytes))?;
        self.node.settle_sent(&mut self.cx, conn);
        Ok(())
    }

    /// Sends a message beside the stream of a connection: it may get lost, or overtake others. `Error::Full`: too many
    /// are unsent. One that does not fit a packet is not sent.
    pub fn send_unordered(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Error> {
        let open = self.node.conns.get_mut(&conn).ok_or(Error::NotOpen)?;
        trace!(self.cx, Call, "node", id: conn, "send beside the stream, {} bytes", bytes.len());
        self.cx.within(conn.place(), |cx| open.secret.send_unordered(cx, bytes))?;
        self.node.touch(conn);
        self.node.settle(&mut self.cx);
        Ok(())
    }

    /// How long a connection may lie idle before an empty message keeps it alive; `None`: for ever. 5 s by default.
    pub fn set_keep_alive(&mut self, conn: ConnId, every: Option<Span>) -> Result<(), Error> {
        let open = self.node.conns.get_mut(&conn).ok_or(Error::NotOpen)?;
        self.cx.within(conn.place(), |cx| open.secret.set_keep_alive(cx, every));
        self.node.touch(conn);
        self.node.settle(&mut self.cx);
        Ok(())
    }

    /// How long the other side of a connection may be silent before it is given up; `None`, the default: for ever.
    pub fn set_timeout(&mut self, conn: ConnId, silence: Option<Span>) -> Result<(), Error> {
        let open = self.node.conns.get_mut(&conn).ok_or(Error::NotOpen)?;
        self.cx.within(conn.place(), |cx| open.secret.set_timeout(cx, silence));
        self.node.touch(conn);
        self.node.settle(&mut self.cx);
        Ok(())
    }

    /// Off: no more `Event::Data` of a connection without channels, once what has come is told; its other side
    /// is slowed
    /// down. Whoever turns it off waits with the silence, too: a message that has begun may take any time.
    pub fn set_reading(&mut self, conn: ConnId, on: bool) -> Result<(), Error> {
        let open = self.node.conns.get_mut(&conn).ok_or(Error::NotOpen)?;
        if open.mux.is_some() {
            return Err(Error::Invalid("a connection with channels"));
        }
        self.cx.within(conn.place(), |cx| open.secret.set_patience(cx, on.then_some(PATIENCE)));
        self.node.udx.set_reading(&mut self.cx, open.stream, on)?;
        self.node.touch(conn);
        self.node.settle(&mut self.cx);
        Ok(())
    }

    /// What went through a connection's cipher.
    pub fn stream_stats(&self, conn: ConnId) -> Option<StreamStats> {
        self.node.conns.get(&conn).map(|conn| conn.secret.stats())
    }

    /// What came and left on all connections together, in datagrams and bytes.
    pub fn traffic(&self) -> Traffic {
        self.node.traffic()
    }

    /// The key that the other side of a connection proved.
    pub fn remote_key(&self, conn: ConnId) -> Option<Key> {
        self.node.conns.get(&conn).map(|conn| conn.key)
    }

    /// Names a connection to both of its sides alike; capabilities are made over it.
    pub fn handshake_hash(&self, conn: ConnId) -> Option<[u8; 64]> {
        self.node.conns.get(&conn).map(|conn| conn.handshake_hash)
    }

    /// Opens the channel for calls named `id` on a connection (both sides do; @hyperswarm/rpc: the server's key).
    pub fn rpc(&mut self, conn: ConnId, id: &[u8]) -> Result<RpcId, Error> {
        trace!(self.cx, Call, "node", id: conn, "open a channel for calls");
        let rpc = self.node.open_rpc(&mut self.cx, conn, id)?;
        self.node.settle(&mut self.cx);
        Ok(rpc)
    }

    /// Calls a method; `Event::Answer` brings what comes of it, exactly once. `Error::Full`: too much is unsent.
    pub fn call(
        &mut self,
        rpc: RpcId,
        method: &str,
        body: &[u8],
        timeout: Option<Span>,
    ) -> Result<CallId, Error> {
        trace!(self.cx, Call, "node", id: rpc, "call {method:?}, {} bytes", body.len());
        self.node.make_call(&mut self.cx, rpc, method, body, timeout)
    }

    /// Answers a call that was made to us. It leaves after what was appended before is on disk.
    pub fn answer(&mut self, call: CallId, body: &[u8]) -> Result<(), Error> {
        trace!(self.cx, Call, "node", id: call, "answer, {} bytes", body.len());
        let Some(CallState::Theirs { rpc, call }) = self.node.calls.remove(call) else {
            return Err(Error::Gone);
        };
        let (conn, machine) = self.node.find_rpc(rpc).ok_or(Error::Gone)?;
        self.cx.within(conn.place(), |cx| machine.answer(cx, call, body))?;
        let unsent = machine.unsent_bytes();
        self.node.after_call(&mut self.cx, conn, unsent);
        Ok(())
    }

    /// Fails a call that was made to us.
    pub fn refuse(&mut self, call: CallId, code: &str, message: &str) -> Result<(), Error> {
        trace!(self.cx, Call, "node", id: call, "refuse, code {code:?}");
        let Some(CallState::Theirs { rpc, call }) = self.node.calls.remove(call) else {
            return Err(Error::Gone);
        };
        let (conn, machine) = self.node.find_rpc(rpc).ok_or(Error::Gone)?;
        self.cx.within(conn.place(), |cx| machine.refuse(cx, call, code, message))?;
        let unsent = machine.unsent_bytes();
        self.node.after_call(&mut self.cx, conn, unsent);
        Ok(())
    }

    /// What appends to the stores that are opened from now on outlive: a crash of the machine, unless this says else.
    pub fn set_durability(&mut self, durability: Durability) {
        self.node.durability = durability;
    }

    /// Opens the store in the folder `dir` of this node's files; made if missing. One process at a time.
    pub fn store(&mut self, dir: &str) -> Result<StoreId, Error> {
        trace!(self.cx, Call, "node", "open the store {dir:?}");
        let options = StoreOptions { durability: self.node.durability, ..StoreOptions::default() };
        let store = Corestore::open_with(&mut self.cx, dir, &options)?;
        Ok(self.node.stores.insert(StoreState { store, watched: false }))
    }

    /// A key pair that a store derives from its primary key and `name`; the same at every start.
    pub fn key_pair(&mut self, store: StoreId, name: &str) -> Result<KeyPair, Error> {
        let state = self.node.stores.get_mut(store).ok_or(Error::Gone)?;
        state.store.key_pair(name)
    }

    /// Opens the writable core `name`; made if missing. An open one is the same core.
    pub fn core(&mut self, store: StoreId, name: &str) -> Result<CoreId, Error> {
        trace!(self.cx, Call, "node", id: store, "open the core {name:?}");
        self.open_core(store, &Want::name(name))
    }

    /// Opens the core with this key; it starts empty if it is not stored yet.
    pub fn core_by_key(&mut self, store: StoreId, key: &Key) -> Result<CoreId, Error> {
        trace!(self.cx, Call, "node", id: store, "open the core of a key");
        self.open_core(store, &Want::key(*key))
    }

    pub fn core_info(&self, core: CoreId) -> Result<CoreInfo, Error> {
        let state = self.node.cores.get(core).ok_or(Error::Gone)?;
        let core = &state.live.core;
        Ok(CoreInfo {
            key: *core.key(),
            discovery_key: *core.discovery_key(),
            length: core.length(),
            contiguous_length: core.contiguous_length(),
            writable: core.writable(),
            peers: state.live.peers().count(),
            remote_length: state.live.remote_length(),
        })
    }

    /// Replicates every core of a store over a connection with channels, now and later ones.
    pub fn replicate(&mut self, conn: ConnId, store: StoreId) -> Result<(), Error> {
        trace!(self.cx, Call, "node", id: conn, "replicate {store}");
        self.node.replicate(&mut self.cx, conn, store)?;
        self.node.settle(&mut self.cx);
        Ok(())
    }

    /// Downloads everything of a core, now and as it grows.
    pub fn download(&mut self, core: CoreId) -> Result<(), Error> {
        trace!(self.cx, Call, "node", id: core, "download all");
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        self.cx.within(core.place(), |cx| state.live.download_all(cx, true));
        self.node.touched_cores.insert(core);
        self.node.settle(&mut self.cx);
        Ok(())
    }

    /// Appends blocks; returns the index of the first.
    pub fn append(&mut self, core: CoreId, blocks: &[&[u8]]) -> Result<u64, Error> {
        trace!(self.cx, Call, "node", id: core, "append {} blocks", blocks.len());
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        let first = self.cx.within(core.place(), |cx| state.live.append(cx, blocks))?;
        self.node.touched_cores.insert(core);
        self.node.settle(&mut self.cx);
        Ok(first)
    }

    /// From now on blocks of a core are encrypted with that key when they are appended, and decrypted when they are
    /// read; None: not. Peers are given them as they are stored. (hypercore.93)
    pub fn set_encryption(&mut self, core: CoreId, encryption: Option<Encryption>) -> Result<(), Error> {
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        state.live.core.set_encryption(encryption);
        Ok(())
    }

    /// A block, if it is here.
    pub fn block(&mut self, core: CoreId, index: u64) -> Result<Option<Vec<u8>>, Error> {
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        state.live.core.get(&mut self.cx, index)
    }

    /// The value of a key in the B-tree on a core. `Error::Missing`: a block that it needs is not here.
    pub fn bee_get(&mut self, core: CoreId, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.bee_open(core)?;
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        let entry = state.bee.get(&mut self.cx, &mut state.live.core, key)?;
        Ok(entry.map(|entry| entry.value.unwrap_or_default()))
    }

    /// Sets a key in the B-tree on a core.
    pub fn bee_put(&mut self, core: CoreId, key: &[u8], value: &[u8]) -> Result<(), Error> {
        trace!(self.cx, Call, "node", id: core, "put, key of {} bytes, value of {}", key.len(), value.len());
        self.bee_open(core)?;
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        self.cx.within(core.place(), |cx| state.bee.put(cx, &mut state.live.core, key, Some(value)))?;
        self.after_append(core);
        Ok(())
    }

    /// Deletes a key from the B-tree on a core; false if it was not there.
    pub fn bee_del(&mut self, core: CoreId, key: &[u8]) -> Result<bool, Error> {
        trace!(self.cx, Call, "node", id: core, "delete, key of {} bytes", key.len());
        self.bee_open(core)?;
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        let deleted = self.cx.within(core.place(), |cx| state.bee.del(cx, &mut state.live.core, key))?;
        self.after_append(core);
        Ok(deleted)
    }

    /// Entries of the B-tree on a core, in its order.
    pub fn bee_list(&mut self, core: CoreId, range: &Range) -> Result<Vec<Pair>, Error> {
        self.bee_open(core)?;
        let state = self.node.cores.get_mut(core).ok_or(Error::Gone)?;
        let length = state.live.core.length();
        let mut cursor = state.bee.range(length, range.clone());
        let mut entries = Vec::new();
        while let Some(entry) = cursor.next(&mut self.cx, &mut state.bee, &mut state.live.core)? {
            entries.push((entry.key, entry.value.unwrap_or_default()));
        }
        Ok(entries)
    }

    fn after_append(&mut self, core: CoreId) {
        if let Some(state) = self.node.cores.get_mut(core) {
            self.cx.within(core.place(), |cx| state.live.update(cx));
        }
        self.node.touched_cores.insert(core);
        self.node.settle(&mut self.cx);
    }

    /// The open connections.
    pub fn conns(&self) -> Vec<ConnId> {
        self.node.conns.keys().copied().collect()
    }

    /// All that was sent on any connection has arrived.
    pub fn idle(&self) -> bool {
        let node = &self.node;
        node.conns.values().all(|conn| {
            node.udx.stats(conn.stream).is_none_or(|stats| stats.unsent_bytes + stats.unacked_bytes == 0)
        })
    }
}
