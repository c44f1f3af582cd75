//! A node: owns every machine and carries values between them. Read `route.rs` next: its head is the table of who
//! tells what to whom.
//!
//! `Host` and `World` drive it by the five methods of a machine; programs use it through `Net`.

mod bees;
mod conn;
mod cores;
pub mod inspect;
mod life;
mod look;
mod lookups;
mod net;
mod pool;
mod programs;
mod raw;
mod relays;
mod route;
mod serving;
mod shared;
mod stores;
mod swarm;
mod told;
mod topics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use conn::Conn;
use stores::{CoreState, Place, StoreState};
use swarm::SwarmState;

pub use crate::blind_relay::{Bounds as RelayBounds, Stats as RelayStats};
pub use crate::corestore::{Namespace, StoreOptions, Stored, Want};
pub use crate::crypto::sign::KeyPair;
pub use crate::dht_rpc::Config as DhtConfig;
pub use crate::hyperbee::{Bee, Change, Cursor, Diff, Difference, Entry, Extent, History, Range};
pub use crate::hypercore::jobs::{Done, Download, JobId, Undone};
pub use crate::hypercore::manners::Exchange;
pub use crate::hypercore::replicate::{PeerId, Stats as CoreStats};
pub use crate::hypercore::{Durability, Hypercore};
pub use crate::hyperdht::{
    ConnId, ConnectError, ConnectOptions, FindMutable, Knock, ListenOptions, LookupId, Met, Nat, Path,
    PingOptions, Plugin, Punching, SAMPLES, ServerId, Stats as ConnectStats, StoreError, Veto,
    mutable_signable,
};
pub use crate::hyperswarm::{Backoffs, Firewall, PeerInfo, SessionId, Stats as SwarmStats, TopicStatus};
pub use crate::protomux_rpc::Failure;
pub use crate::secret_stream::{Stats as StreamStats, Why as StreamWhy};
pub use crate::udx::{Packet, Why as TransportWhy};
pub use crate::wire::dht_rpc::{Ask, Query, Reply, Request, Respond};
pub use net::{CoreInfo, Net, NetStatus};
pub use pool::{PoolId, PoolKind};
pub use raw::{RawId, RawKind};
pub use serving::ServerAddress;
pub use stores::{CoreId, CoreKind, StoreId, StoreKind};
pub use topics::{JoinOptions, SwarmOptions};

use crate::base::{
    Addr, Cx, Deadline, Error, Few, Id, Key, Kind, Machine, Slab, SocketId, Span, Time, Timers, limits,
    take_first,
};
use crate::dht_rpc::DhtRpc;
use crate::hyperdht::HyperDht;
use crate::udx::{StreamId, Udx};

pub enum RpcKind {}
impl Kind for RpcKind {
    const NAME: &'static str = "rpc";
}
/// An RPC channel on a connection.
pub type RpcId = Id<RpcKind>;

pub enum CallKind {}
impl Kind for CallKind {
    const NAME: &'static str = "call";
}
/// A call: one that we made, or one that was made to us.
pub type CallId = Id<CallKind>;

/// What a node starts with.
#[derive(Clone, Debug)]
pub struct Config {
    pub dht: DhtConfig,
    /// Milliseconds of Unix time when the node's time is zero.
    pub epoch_millis: Option<u64>,
    /// How long a connection may lie idle before an empty message keeps it alive; `None`: for ever. 5 s by default.
    pub keep_alive: Option<Span>,
    /// How much is kept for others, and how long; see `hyperdht::Config`.
    pub max_size: Option<usize>,
    pub max_age: Option<Span>,
    /// Nodes that a server is announced to; see `hyperdht::Config`.
    pub announce_to: Option<usize>,
    /// How often ports are searched for at most, and whether the first search waits for that; see `hyperdht::Config`.
    pub random_punch_interval: Option<Span>,
    pub defer_random_punch: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dht: DhtConfig::default(),
            epoch_millis: None,
            keep_alive: Some(Span::from_secs(5)),
            max_size: None,
            max_age: None,
            announce_to: None,
            random_punch_interval: None,
            defer_random_punch: false,
        }
    }
}

/// Told by the world.
#[derive(Debug)]
pub enum Input<'a> {
    Datagram {
        socket: SocketId,
        from: Addr,
        bytes: &'a [u8],
    },
    /// Several datagrams from one source, `each` bytes long; only the last may be shorter.
    Datagrams {
        socket: SocketId,
        from: Addr,
        bytes: &'a [u8],
        each: usize,
    },
    Bound {
        socket: SocketId,
        local: Addr,
    },
    BindFailed {
        socket: SocketId,
    },
    /// The IPv4 addresses of this host, loopback last.
    Interfaces(&'a [[u8; 4]]),
    /// What time it is, in milliseconds of Unix time: the clock was set, or the machine slept, so that `Cx::now` says
    /// nothing of how much time has passed.
    Clock {
        unix_millis: u64,
    },
}

/// Asked of the world.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Bind a socket; port 0 means any.
    Bind {
        socket: SocketId,
        host: [u8; 4],
        port: u16,
    },
    Send {
        socket: SocketId,
        to: Addr,
        bytes: Vec<u8>,
        ttl: Option<u8>,
    },
    Close {
        socket: SocketId,
    },
}

/// What `Node::poll_into` hands out: a packet whose bytes it has written, or any other output.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Packet(Packet),
    Output(Output),
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// Both sides ended it.
    Ended,
    /// We gave it up.
    Dropped,
    /// The other side gave it up, or stopped answering, or its transport failed.
    Transport(crate::udx::Why),
    /// The other side broke the secret stream's rules.
    Stream(crate::secret_stream::Why),
    /// The other side broke the rules of the channels.
    Channels(crate::protomux::Fault),
    /// The other side broke the rules of replication.
    Replication,
    /// A pool keeps another connection with that key.
    Duplicate,
}

/// Told to programs.
#[derive(Debug)]
pub enum Event {
    /// The port is bound: datagrams come in.
    Bound {
        port: u16,
    },
    /// No socket could be bound at the configured port.
    BindFailed,
    /// The DHT is joined; whether this host can be reached directly is known from here on.
    Bootstrapped,
    /// This node is a lasting part of the DHT from here on.
    Persistent,
    /// And from here on it is not any more.
    Ephemeral,
    /// `Net::unix_millis` has jumped.
    ClockSet,
    /// Whether answers come back at all, and whether most of them do not.
    NetworkUpdate {
        online: bool,
        degraded: bool,
    },
    /// This host has other addresses than before.
    NetworkChange,
    /// Others see this node at another address than before.
    NatUpdate {
        host: Option<[u8; 4]>,
        /// 0 if it is not the same for all.
        port: u16,
    },
    /// This host slept.
    WakeUp,
    /// After `Net::suspend`: all is closed.
    Suspended,
    /// After `Net::resume`.
    Resumed,
    /// After `Net::shut_down`: the last event.
    Destroyed,
    /// Somebody calls a server with a gate: answer with `Net::admit` or `Net::deny` within 10 s.
    Knock {
        knock: Knock,
        server: ServerId,
        key: Key,
        from: Addr,
        /// What the caller says of itself: its firewall (`wire::hyperdht::firewall`), and its addresses.
        firewall: u64,
        addresses: Vec<Addr>,
    },
    /// A server can be found and reached.
    Listening {
        server: ServerId,
    },
    /// After `Net::suspend_server`: it is announced nowhere.
    ServerSuspended {
        server: ServerId,
    },
    /// A server that was closed is unannounced.
    Unlistened {
        server: ServerId,
    },
    /// A connection is open; `key` is the key that the other side proved.
    Connected {
        conn: ConnId,
        server: Option<ServerId>,
        key: Key,
        initiator: bool,
        swarm: bool,
        path: Path,
        /// From the moment we began to connect; zero if the other side did.
        took: Span,
    },
    /// A connection goes another way from now on: from its blind relay to a direct path, or back.
    Moved {
        conn: ConnId,
        path: Path,
    },
    ConnectFailed {
        conn: ConnId,
        key: Key,
        why: ConnectError,
        /// If a punch was begun: between which kinds of NAT.
        met: Option<Met>,
        took: Span,
    },
    Closed {
        conn: ConnId,
        why: Closed,
    },
    /// The other side will send nothing more on this connection.
    Ended {
        conn: ConnId,
    },
    /// A message on a connection without channels.
    Data {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// A message that came beside a connection's stream: in any order, not at all, or more than once.
    Unordered {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// What was sent on a connection has left our queues far enough for more.
    Drained {
        conn: ConnId,
    },
    RpcOpened {
        rpc: RpcId,
        conn: ConnId,
    },
    RpcClosed {
        rpc: RpcId,
        conn: ConnId,
    },
    /// Somebody calls: answer with `Net::answer` or `Net::refuse`.
    Call {
        call: CallId,
        rpc: RpcId,
        conn: ConnId,
        from: Key,
        method: String,
        body: Vec<u8>,
    },
    /// The answer to a call of ours.
    Answer {
        call: CallId,
        result: Result<Vec<u8>, Failure>,
    },
    /// A core of a store that is watched (`Net::watch_store`) was opened.
    CoreOpened {
        store: StoreId,
        core: CoreId,
    },
    /// A core grew to a proven `length`.
    Appended {
        core: CoreId,
        length: u64,
    },
    /// A core was cut to `length` blocks; `Appended` follows if its new fork has more.
    Truncated {
        core: CoreId,
        length: u64,
        fork: u64,
    },
    /// A block was proven and stored.
    Downloaded {
        core: CoreId,
        index: u64,
    },
    /// A core is exchanged with one peer more, over one of the connections.
    PeerAdded {
        core: CoreId,
        peer: PeerId,
    },
    PeerRemoved {
        core: CoreId,
        peer: PeerId,
    },
    /// A peer of a core broke the rules and is no longer asked.
    PeerFault {
        core: CoreId,
        peer: PeerId,
    },
    /// A peer of a core sent a message of a name that was registered with `Net::extension`.
    Extension {
        core: CoreId,
        peer: PeerId,
        name: String,
        message: Vec<u8>,
    },
    /// The keys of a core signed two trees that differ within the first `length` blocks: it is frozen, and no longer
    /// exchanged with anybody.
    Conflict {
        core: CoreId,
        length: u64,
        fork: u64,
    },
    /// What was waited for with `Net::fetch`, `Net::seek`, `Net::download_range` or `Net::update` is there, or will not
    /// come.
    Job {
        core: CoreId,
        job: JobId,
        result: Result<Done, Undone>,
    },
    /// A block could not be stored; nothing is fetched until the next try.
    Stalled {
        core: CoreId,
        why: Error,
    },
    /// Everything that the swarm had found when it was asked to flush has been dialled; not `ok`: it was destroyed.
    Flushed {
        ok: bool,
    },
    /// The swarm has begun to dial somebody, or a connection of it has opened or ended: `Net::swarm_stats`,
    /// `Net::connecting` and `Net::peers` say something else than before.
    SwarmUpdated,
    /// The swarm neither dials that peer from now on nor lets it in.
    Banned {
        key: Key,
    },
    /// The swarm's announcements are taken back, its connections are closed.
    SwarmSuspended,
    /// The swarm has left its topics, listens no longer, and its connections are closed.
    SwarmDestroyed,
    /// A topic was looked up, or announced, and somebody answered.
    Refreshed {
        topic: Key,
    },
    /// A topic that was left is no longer announced.
    Left {
        topic: Key,
    },
    /// A lookup of a topic met a peer; each is told once.
    Found {
        lookup: LookupId,
        peer: crate::wire::hyperdht::Peer,
        /// The node that named it.
        from: Addr,
    },
    /// A node that was pinged answered, and sees us as `seen`.
    Pinged {
        lookup: LookupId,
        from: Addr,
        seen: Addr,
    },
    /// A node answered what was asked with `Net::request` or `Net::query`.
    Reply {
        lookup: LookupId,
        reply: Box<Reply>,
    },
    /// A node asks with a command that only the program knows (`Net::take_requests`): `Net::respond`, or be silent.
    Request {
        request: Box<Request>,
    },
    /// A node asks a plugin that is registered (`Net::register`): `Net::respond`, or be silent.
    PluginRequest {
        request: Box<Request>,
        plugin: String,
        command: u64,
        value: Option<Vec<u8>>,
    },
    /// A lookup of a value found it, or a newer one.
    Value {
        lookup: LookupId,
        seq: u64,
        value: Vec<u8>,
    },
    /// Nodes did not take a mutable value, and why. `LookupDone` follows.
    StoreRefused {
        lookup: LookupId,
        why: StoreError,
    },
    /// A lookup, an announcement, a storing or a ping has ended. `ok`: somebody answered, or took it.
    LookupDone {
        lookup: LookupId,
        ok: bool,
    },
    /// Bytes of a raw stream (`Net::raw_stream`), in order.
    RawData {
        raw: RawId,
        bytes: Vec<u8>,
    },
    /// A message that came beside those.
    RawMessage {
        raw: RawId,
        bytes: Vec<u8>,
    },
    /// The other side of a raw stream will write nothing more.
    RawEnded {
        raw: RawId,
    },
    /// What was written to a raw stream has left our queues far enough for more.
    RawDrained {
        raw: RawId,
    },
    /// The last of a raw stream.
    RawClosed {
        raw: RawId,
        why: TransportWhy,
    },
    /// A node came into the routing table, or left it (`DhtConfig::tell_nodes`).
    NodeAdded {
        addr: Addr,
    },
    NodeRemoved {
        addr: Addr,
    },
    /// The disk refused to make something durable: nothing leaves this node any more.
    DiskFailed(Error),
}

/// Owns every machine of one host and carries values between them.
///
/// Commands: those of `Net`. Inputs, outputs and events: above. Deadlines: the earliest of its machines'.
///
/// Events have no bound of their own: who drives a node takes them all before it hands in what came next, as `Host`
/// does, so that there are never more than what one turn of input told.
pub struct Node {
    rpc: DhtRpc,
    dht: HyperDht,
    udx: Udx,
    swarm: Option<Box<SwarmState>>,
    relays: Box<relays::Relays>,
    pools: pool::Pools,
    raws: raw::Raws,
    life: life::Life,
    /// Of connections, from the start.
    keep_alive: Option<Span>,

    conns: BTreeMap<ConnId, Conn>,
    /// Transport streams of connections, from the handshake on.
    streams: BTreeMap<ConnId, StreamId>,
    stream_owners: BTreeMap<StreamId, ConnId>,
    /// What connections that are being made were asked for.
    dialing: BTreeMap<ConnId, Dialing>,
    servers: BTreeMap<ServerId, Serving>,
    /// What the program asks the network, and hyperswarm does not.
    lookups: BTreeSet<LookupId>,
    rpcs: Slab<RpcKind, (ConnId, crate::protomux::ChannelId)>,
    calls: Slab<CallKind, CallState>,
    /// Our calls by what their channel calls them.
    asked: BTreeMap<(RpcId, crate::protomux_rpc::RequestId), CallId>,

    stores: Slab<StoreKind, StoreState>,
    /// Of the stores that are opened from now on.
    durability: Durability,
    cores: Slab<CoreKind, CoreState>,
    peers: BTreeMap<PeerId, Place>,
    next_peer: u64,

    /// Connections on which something was opened that the program may want.
    wanting: BTreeSet<ConnId>,
    touched_conns: Few<ConnId>,
    /// Connections whose channels gather messages that leave when outputs are polled.
    gathering: Few<ConnId>,
    touched_cores: Few<CoreId>,
    conn_deadlines: Timers<ConnId>,
    core_deadlines: Timers<CoreId>,
    /// When a core that nobody needs is closed.
    idle: Timers<CoreId>,

    /// The addresses of this host, once they are known.
    interfaces: Option<Vec<[u8; 4]>>,
    /// What calls tell, on its way from their channels; empty between two steps.
    called: Vec<(RpcId, crate::protomux_rpc::Event)>,

    /// Of dht_rpc's status, when hyperdht was told it.
    status: Option<crate::dht_rpc::StatusMark>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    /// How many of `events` stand in the transcript.
    traced: usize,
    /// The program has seen every event since the last input: what nobody wanted may be refused.
    drained: bool,
    broken: bool,
}

/// What an outgoing connection was asked for.
#[derive(Clone, Copy, Debug)]
struct Dialing {
    key: Key,
    /// Our own key.
    public: Key,
    channels: bool,
    swarm: bool,
    since: Time,
}

/// What a server was opened for.
#[derive(Clone, Copy, Debug)]
struct Serving {
    public: Key,
    channels: bool,
    swarm: bool,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug)]
enum CallState {
    Ours,
    Theirs { rpc: RpcId, call: crate::protomux_rpc::CallId },
}

impl Node {
    pub fn new(cx: &mut Cx<'_>, config: Config) -> Node {
        let Config {
            keep_alive, max_size, max_age, announce_to, epoch_millis, random_punch_interval, ..
        } = config;
        let (host, defer_random_punch) = (config.dht.host, config.defer_random_punch);
        let dht = crate::hyperdht::Config {
            host,
            epoch_millis,
            random_punch_interval,
            defer_random_punch,
            max_size,
            max_age,
            announce_to,
        };
        let mut rpc = config.dht;
        rpc.refused.extend(crate::hyperdht::REFUSED_NODES);
        let mut node = Node {
            rpc: DhtRpc::new(cx, rpc),
            dht: HyperDht::new(dht),
            udx: Udx::new(),
            swarm: None,
            relays: Box::default(),
            pools: pool::Pools::default(),
            raws: raw::Raws::default(),
            life: life::Life::default(),
            keep_alive,
            conns: BTreeMap::new(),
            streams: BTreeMap::new(),
            stream_owners: BTreeMap::new(),
            dialing: BTreeMap::new(),
            servers: BTreeMap::new(),
            lookups: BTreeSet::new(),
            rpcs: Slab::new(),
            calls: Slab::new(),
            asked: BTreeMap::new(),
            stores: Slab::new(),
            durability: Durability::Flush,
            cores: Slab::new(),
            peers: BTreeMap::new(),
            next_peer: 0,
            wanting: BTreeSet::new(),
            touched_conns: Few::default(),
            gathering: Few::default(),
            touched_cores: Few::default(),
            conn_deadlines: Timers::new(),
            core_deadlines: Timers::new(),
            idle: Timers::new(),
            interfaces: None,
            called: Vec::new(),
            status: None,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            traced: 0,
            drained: false,
            broken: false,
        };
        node.settle(cx);
        node
    }

    fn tell(&mut self, event: Event) {
        self.drained = false;
        self.events.push_back(event);
    }

    fn take_datagram(&mut self, cx: &mut Cx<'_>, socket: SocketId, from: Addr, bytes: &[u8]) {
        match bytes {
            [] => {}
            [_] => self.dht.handle_input(cx, crate::hyperdht::Input::Probe { socket, from }),
            [0xff, ..] => {
                let input = crate::udx::Input::Datagram { socket, from, bytes };
                if let Some((stream, bytes)) = self.udx.take_in(cx, input) {
                    self.pass_to_secret(cx, stream, bytes);
                }
            }
            _ => self.rpc.handle_input(cx, crate::dht_rpc::Input::Datagram { socket, from, bytes }),
        }
    }

    /// What `poll_output` does, but a stream's packet is written behind what `out` holds.
    pub fn poll_into(&mut self, cx: &mut Cx<'_>, out: &mut Vec<u8>) -> Option<Asked> {
        if self.broken {
            return None;
        }
        self.let_go(cx);
        let start = out.len();
        let asked = loop {
            if let Some(output) = take_first(&mut self.outputs).or_else(|| self.rpc_output(cx)) {
                break Asked::Output(output);
            }
            if let Some(packet) = self.udx.poll_into(cx, out) {
                break Asked::Packet(packet);
            }
            let output = self.dht.poll_output(cx)?;
            self.do_for_dht(cx, output);
            self.settle(cx);
        };
        // What depends on an append does not leave before the append is safe.
        if let Err(error) = cx.disk.sync_pending() {
            self.broken = true;
            out.truncate(start);
            self.tell(Event::DiskFailed(error.into()));
            return None;
        }
        if cx.trace.on() {
            match &asked {
                Asked::Output(output) => told::output(cx, output),
                Asked::Packet(packet) => told::leaves(cx, packet, &out[start..]),
            }
        }
        Some(asked)
    }

    /// Lets the machines whose time has come know it.
    fn run_due(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let due = |deadline: Option<Deadline>| deadline.is_some_and(|deadline| deadline.at <= now);
        if due(self.rpc.poll_timeout()) {
            self.rpc.handle_timeout(cx);
        }
        if due(self.dht.poll_timeout()) {
            self.dht.handle_timeout(cx);
        }
        if due(self.udx.poll_timeout()) {
            self.udx.handle_timeout(cx);
        }
        self.swarm_timeout(cx);
        self.relay_timeout(cx);
        self.life_timeout(cx);
        while let Some(conn) = self.conn_deadlines.pop_due(cx.now) {
            self.conn_timeout(cx, conn);
        }
        while let Some(core) = self.core_deadlines.pop_due(cx.now) {
            self.core_timeout(cx, core);
        }
        self.idle_timeout(cx);
    }

    /// A socket of dht_rpc: the server's and the client's. The others are hyperdht's.
    fn is_rpc_socket(socket: SocketId) -> bool {
        socket < SocketId::FIRST_POOLED
    }
}

impl Machine for Node {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        if cx.trace.on() {
            told::input(cx, &input);
        }
        self.refuse_unwanted(cx);
        match input {
            Input::Datagram { socket, from, bytes } => self.take_datagram(cx, socket, from, bytes),
            Input::Datagrams { socket, from, bytes, each } => {
                for bytes in bytes.chunks(each.max(1)) {
                    self.take_datagram(cx, socket, from, bytes);
                }
            }
            Input::Bound { socket, local } => {
                if Self::is_rpc_socket(socket) {
                    self.rpc.handle_input(cx, crate::dht_rpc::Input::Bound { socket, local });
                    if socket == SocketId::SERVER {
                        self.tell(Event::Bound { port: local.port });
                    }
                } else {
                    self.dht.handle_input(cx, crate::hyperdht::Input::Bound { socket, local });
                }
            }
            Input::BindFailed { socket } => {
                if Self::is_rpc_socket(socket) {
                    self.rpc.handle_input(cx, crate::dht_rpc::Input::BindFailed { socket });
                } else {
                    self.dht.handle_input(cx, crate::hyperdht::Input::BindFailed { socket });
                }
            }
            Input::Clock { unix_millis } => {
                self.dht.set_unix_millis(cx.now, unix_millis);
                self.tell(Event::ClockSet);
            }
            Input::Interfaces(hosts) => {
                self.rpc.handle_input(cx, crate::dht_rpc::Input::Interfaces(hosts));
                let changed = self.interfaces.as_deref().is_some_and(|known| known != hosts);
                self.interfaces = Some(hosts.to_vec());
                self.dht.handle_input(cx, crate::hyperdht::Input::Interfaces(hosts.to_vec()));
                if changed {
                    self.tell(Event::NetworkChange);
                }
                self.tell_swarm(cx, crate::hyperswarm::Input::NetworkChange);
            }
        }
        self.settle(cx);
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.refuse_unwanted(cx);
        // L4: what one machine tells another when its time has come may be due at once.
        for _ in 0..ROUNDS_MAX {
            self.run_due(cx);
            self.settle(cx);
            if self.poll_timeout().is_none_or(|deadline| deadline.at > cx.now) {
                return;
            }
        }
    }

    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let mut bytes = Vec::new();
        Some(match self.poll_into(cx, &mut bytes)? {
            Asked::Output(output) => output,
            Asked::Packet(Packet { socket, to, ttl }) => Output::Send { socket, to, bytes, ttl },
        })
    }

    fn poll_event(&mut self) -> Option<Event> {
        // With connections there is always something to tell again.
        let event =
            if self.conns.is_empty() { take_first(&mut self.events) } else { self.events.pop_front() };
        self.traced = self.traced.saturating_sub(1);
        if event.is_none() {
            self.drained = true;
        }
        event
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        if self.broken {
            return None;
        }
        [
            self.rpc.poll_timeout(),
            self.dht.poll_timeout(),
            self.udx.poll_timeout(),
            self.swarm_deadline(),
            self.relays.deadline(),
            self.life_deadline(),
            self.conn_deadlines.deadline(|_| "a connection"),
            self.core_deadlines.deadline(|_| "a core"),
            self.idle.deadline(|_| "a core that nobody uses"),
        ]
        .into_iter()
        .fold(None, Deadline::earliest)
    }
}

/// How many rounds a settling may take before it is a bug.
const ROUNDS_MAX: usize = limits::SETTLE_ROUNDS_MAX;
