//! What a node holds, to look at and not to touch: the checkers of simulated worlds ask this.

use super::{ConnId, CoreId, LookupId, Node};
use crate::base::{Addr, Key, SocketId, Traffic, limits};
use crate::{dht_rpc, udx};

pub use crate::dht_rpc::{Known, node_id};
pub use crate::hypercore::Hypercore as Core;

/// A transport stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamView {
    /// Its id on this side.
    pub local: u32,
    /// Its id on the other side, the socket it lives on and where it sends to; `None` while it waits for its peer.
    pub path: Option<(u32, SocketId, Addr)>,
    pub conn: Option<ConnId>,
    pub stats: udx::Stats,
}

/// A connection whose keys are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnView {
    /// Names the connection on both sides.
    pub handshake_hash: [u8; 64],
    pub initiator: bool,
    /// The local id of its transport stream.
    pub local: Option<u32>,
}

/// A core that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreView {
    pub id: CoreId,
    pub key: Key,
    pub fork: u64,
    pub length: u64,
    pub contiguous_length: u64,
    /// What is appended outlives a crash of the machine once the node has handed out something.
    pub durable: bool,
}

/// What a program has begun, and will be told the end of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Attempt {
    Connection(ConnId),
    Lookup(LookupId),
}

/// How full a queue is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    pub queue: &'static str,
    pub len: usize,
    pub max: usize,
}

/// How much there is of what ends by itself. All zero is a node at rest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Remains {
    pub streams: usize,
    pub connections: usize,
    pub attempts: usize,
    /// Of dht_rpc: requests without an answer, and queries.
    pub requests: usize,
    pub queries: usize,
    /// Questions of hyperdht that wait for their answer.
    pub questions: usize,
    pub lookups: usize,
    /// Handshakes that servers remember.
    pub sessions: usize,
    pub punches: usize,
    /// Sockets besides the two of the node.
    pub sockets: usize,
    pub rpcs: usize,
    pub calls: usize,
    /// Peers of cores.
    pub peers: usize,
    pub outputs: usize,
    pub events: usize,
    /// Deadlines of streams and connections.
    pub timers: usize,
}

impl Node {
    /// The stream with this local id.
    pub fn stream(&self, local: u32) -> Option<StreamView> {
        let id = self.udx.by_local(local)?;
        let stats = self.udx.stats(id)?;
        let path = self.udx.path(id);
        Some(StreamView { local, path, conn: self.stream_owners.get(&id).copied(), stats })
    }

    /// The local ids of all streams.
    pub fn stream_ids(&self) -> impl Iterator<Item = u32> {
        self.udx.local_ids()
    }

    pub fn conn(&self, id: ConnId) -> Option<ConnView> {
        let conn = self.conns.get(&id)?;
        let local = self.udx.local_id(conn.stream);
        Some(ConnView { handshake_hash: conn.handshake_hash, initiator: conn.initiator, local })
    }

    /// The cores that are open.
    pub fn cores(&self) -> impl Iterator<Item = CoreView> {
        self.cores.iter().map(|(id, state)| {
            let core = &state.live.core;
            CoreView {
                id,
                key: *core.key(),
                fork: core.fork(),
                length: core.length(),
                contiguous_length: core.contiguous_length(),
                durable: core.durable(),
            }
        })
    }

    /// The hash of a core's tree as it is now: names the whole content.
    pub fn core_root(&self, id: CoreId) -> Option<Key> {
        Some(self.cores.get(id)?.live.core.tree_hash())
    }

    /// A core, to read from; whoever changes it here changes it behind the back of its peers.
    pub fn core_mut(&mut self, id: CoreId) -> Option<&mut Core> {
        Some(&mut self.cores.get_mut(id)?.live.core)
    }

    /// The number that this node's routing table is arranged around, and how many nodes it says are in it.
    pub fn table(&self) -> (Key, usize) {
        (self.rpc.table_id(), self.rpc.node_count())
    }

    /// Nodes of the routing table, row by row; those of the row that `id` belongs to, if it is given.
    pub fn known(&self, id: Option<&Key>) -> Vec<Known> {
        self.rpc.known(id)
    }

    /// How full queues are that have a bound.
    pub fn loads(&self) -> [Load; 8] {
        let rpc = self.rpc.stats();
        let (outputs, requests) = self.rpc.waiting();
        let dht = self.dht.counts();
        [
            Load { queue: "dht_rpc requests in flight", len: rpc.active, max: limits::DHT_IN_FLIGHT_MAX },
            Load {
                queue: "dht_rpc queries",
                len: rpc.active_queries,
                // one of its own
                max: limits::DHT_QUERIES_MAX + 1,
            },
            Load { queue: "dht_rpc outputs", len: outputs, max: limits::DHT_OUTPUTS_MAX },
            Load { queue: "dht_rpc requests to answer", len: requests, max: limits::DHT_REQUESTS_MAX },
            Load { queue: "hyperdht sessions", len: dht.sessions, max: limits::HYPERDHT_SESSIONS },
            Load { queue: "hyperdht punches", len: dht.punches, max: limits::HYPERDHT_PUNCHES },
            Load { queue: "outputs", len: self.outputs.len(), max: limits::HYPERDHT_OUTPUTS },
            Load { queue: "events", len: self.events.len(), max: limits::REPLICATION_EVENTS_MAX },
        ]
    }

    /// What came and left on all streams together.
    pub fn traffic(&self) -> Traffic {
        self.udx.traffic()
    }

    /// What is left of all that was begun.
    pub fn remains(&self) -> Remains {
        let rpc: dht_rpc::Stats = self.rpc.stats();
        let dht = self.dht.counts();
        Remains {
            streams: self.udx.len(),
            connections: self.conns.len(),
            attempts: self.dialing.len(),
            requests: rpc.active,
            queries: rpc.active_queries,
            questions: dht.questions,
            lookups: self.lookups.len(),
            sessions: dht.sessions,
            punches: dht.punches,
            sockets: self.dht.pooled_sockets(),
            rpcs: self.rpcs.len(),
            calls: self.calls.len(),
            peers: self.peers.len(),
            outputs: self.outputs.len(),
            events: self.events.len(),
            timers: self.udx.timers() + self.conn_deadlines.len(),
        }
    }

    /// The connection on a stream waits for the rest of a message.
    pub fn is_mid_message(&self, local_id: u32) -> bool {
        let conn = self.udx.by_local(local_id).and_then(|stream| self.stream_owners.get(&stream));
        conn.and_then(|conn| self.conns.get(conn)).is_some_and(|conn| conn.secret.is_mid_message())
    }

    /// Connections that are being made from here, and questions of the program to the DHT.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> {
        let lookups = self.lookups.iter().copied().map(Attempt::Lookup);
        self.dialing.keys().copied().map(Attempt::Connection).chain(lookups)
    }

    /// How often connections that are or were made from here had to wait for their turn to search. hyperdht.136
    pub fn waits(&self) -> u64 {
        self.dht.stats().waits
    }

    /// Where others reach this node, if that is proven.
    pub fn public(&self) -> Option<Addr> {
        self.rpc.remote_addr()
    }

    /// Whether a punch, or a stream, is on this socket.
    pub fn uses(&self, socket: SocketId) -> bool {
        let streams = self.udx.local_ids().filter_map(|local| self.udx.path(self.udx.by_local(local)?));
        self.dht.punches_on(socket) || streams.into_iter().any(|(_, on, _)| on == socket)
    }
}
