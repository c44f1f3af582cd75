//! A node of the distributed hash table: who is out there, how to ask them, how to find those closest to a key.
//! Follows dht_rpc.1 to dht_rpc.93.
//!
//! Read `flight.rs` (requests), `table.rs` and `query.rs` first; they are values. `walk.rs` drives queries,
//! `upkeep.rs` bootstraps and looks after the table, `inbound.rs` takes datagrams; all three are parts of `DhtRpc`.

mod adaptive;
mod flight;
mod health;
mod inbound;
mod moved;
mod nat;
mod outbound;
mod query;
mod sources;
mod suspend;
mod table;
mod token;

mod told;
mod trust;
mod upkeep;
mod walk;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use adaptive::Adaptive;
use flight::{FlightId, Flights, Owner, Window};
use health::Health;
use nat::NatSampler;
use query::{Asker, Walk, WalkId, WalkKind};
use sources::Sources;
use table::{Contact, Table, Tick};
pub use table::{Known, node_id};
use token::Tokens;
use upkeep::{Boot, FirewallTest, Probes};

use crate::base::{
    Addr, Cx, Deadline, Error, Key, Machine, Slab, SocketId, Span, Tag, Time, Timers, limits, take_first,
};
use crate::wire::dht_rpc::{Ask, Query, REQUEST, RESPONSE, Reply, Request, Status};

/// How a node is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Nodes to begin with. Empty: this is the first node of a network, others come to it.
    pub bootstrap: Vec<Addr>,
    /// Local address to bind; 0.0.0.0 is every interface.
    pub host: [u8; 4],
    /// The server socket's port; 0 is any. So many ports are tried from it on, and then any, if `any_port`.
    pub port: u16,
    pub ports: u16,
    pub any_port: bool,
    /// `Some(true)`: never answer for others. `Some(false)`: as soon as the address is known to be reachable.
    /// `None`: after twenty quiet minutes of that.
    pub ephemeral: Option<bool>,
    /// False: it is known that the server socket can be reached; nothing is probed.
    pub firewalled: bool,
    /// Find out at the start whether the server socket can be reached.
    pub quick_firewall: bool,
    /// Nodes known from an earlier run; they go into the table unasked.
    pub nodes: Vec<Addr>,
    /// The address under which others reach this node, where that is known (bootstrappers).
    pub known: Option<Addr>,
    /// Never to be asked or remembered; port 0 is every port.
    pub refused: Vec<Addr>,
    /// Requests in flight per query.
    pub concurrency: usize,
    /// Sends per 750 ms.
    pub window: usize,
    /// Longest delay of a delayed ping that is answered.
    pub max_ping_delay: Span,
    /// Tell those who refer to dead nodes, at most this often in five seconds; `None` is without limit.
    pub down_hints: Option<u32>,
    /// Learn how long to wait from the answers, instead of a second each time.
    pub adaptive_timeout: bool,
    /// Tell of each node that comes into the table, and that leaves it.
    pub tell_nodes: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            bootstrap: Vec::new(),
            host: [0, 0, 0, 0],
            port: 0,
            ports: 5,
            any_port: true,
            ephemeral: None,
            firewalled: true,
            quick_firewall: true,
            nodes: Vec::new(),
            known: None,
            refused: Vec::new(),
            concurrency: 10,
            window: 80,
            max_ping_delay: Span::from_secs(10),
            down_hints: Some(50),
            adaptive_timeout: false,
            tell_nodes: false,
        }
    }
}

impl Config {
    /// The ports to try for the server socket, in order. (dht_rpc.43)
    fn ports(&self) -> VecDeque<u16> {
        match (self.port, self.any_port) {
            (0, _) => VecDeque::from([0]),
            (port, any) => {
                let last = port.saturating_add(self.ports.max(1) - 1);
                (port..=last).chain(any.then_some(0)).collect()
            }
        }
    }

    /// The first node of a network, to be reached at `public`. Persistent from the start, at exactly that port.
    /// `Invalid` unless host and port are given. (dht_rpc.84)
    pub fn bootstrapper(public: Addr) -> Result<Config, Error> {
        if public.ip == [0; 4] || public.port == 0 {
            return Err(Error::Invalid("a bootstrap node needs its own host and port"));
        }
        Ok(Config {
            host: if public.ip[0] == 127 { public.ip } else { [0; 4] },
            port: public.port,
            ports: 1,
            any_port: false,
            ephemeral: Some(false),
            firewalled: false,
            known: Some(public),
            ..Config::default()
        })
    }
}

/// Told by the layer below.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    Datagram {
        socket: SocketId,
        from: Addr,
        bytes: &'a [u8],
    },
    /// A `Bind` succeeded.
    Bound {
        socket: SocketId,
        local: Addr,
    },
    /// A `Bind` failed.
    BindFailed {
        socket: SocketId,
    },
    /// The operating system says whether there is a network.
    Online(bool),
    /// The host's own addresses.
    Interfaces(&'a [[u8; 4]]),
}

/// Asked of the layer below.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Port 0 is any.
    Bind {
        socket: SocketId,
        host: [u8; 4],
        port: u16,
    },
    Close {
        socket: SocketId,
    },
    Send {
        socket: SocketId,
        to: Addr,
        bytes: Vec<u8>,
        ttl: Option<u8>,
    },
}

/// Told to the layer above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Both sockets are bound.
    Listening,
    /// No port could be bound; the node is of no use.
    BindFailed,
    /// The first walk is over, and it is known whether the server socket can be reached.
    Bootstrapped,
    /// From now on the node has an id and answers for others.
    Persistent,
    /// From now on it does not any more.
    Ephemeral,
    NetworkUpdate {
        online: bool,
    },
    /// A node came into the table, or left it; only with `Config::tell_nodes`.
    NodeAdded {
        addr: Addr,
    },
    NodeRemoved {
        addr: Addr,
    },
    /// Our public address, as others see it, changed.
    NatUpdate,
    /// The host slept.
    WakeUp,
    /// To be answered by `respond` or `relay`, or not at all.
    Request(Request),
    /// The one end of an `ask`.
    Answer {
        tag: Tag,
        result: Result<Reply, Lost>,
    },
    /// A node answered a query without error.
    QueryReply {
        tag: Tag,
        reply: Reply,
    },
    /// One of the closest nodes answered the writing request of a query with `commit`, or did not.
    Committed {
        tag: Tag,
        to: Addr,
        result: Result<Reply, Lost>,
    },
    /// The one end of a `query`. `closest`: at most 20 replies of persistent nodes, closest first.
    QueryDone {
        tag: Tag,
        result: Result<(), QueryError>,
        closest: Vec<Reply>,
    },
}

/// Why a request has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    TimedOut,
    Cancelled,
    /// The node was destroyed.
    Destroyed,
    /// The node was suspended.
    Suspended,
    /// Too many requests were in flight for one of a query's.
    Full,
    /// The node gave no token to write with.
    NoToken,
}

/// Why a query failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryError {
    /// No persistent node answered, so there is nowhere to write.
    TooFewNodes,
    /// None of the closest nodes accepted the writing request.
    NotCommitted,
    Cancelled,
    /// The node was destroyed.
    Destroyed,
}

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub requests: u64,
    pub responses: u64,
    pub timeouts: u64,
    pub retries: u64,
    pub queries: u64,
    /// Queries of the layers above that have ended, and of those: rounds of questions until the closest node had
    /// answered, and nodes that were asked.
    pub walks: u64,
    pub rounds: u64,
    pub visits: u64,
    /// Requests in flight now.
    pub active: usize,
    pub active_queries: usize,
    /// By internal command: requests made, and answers to them.
    pub made: [u64; 5],
    pub answered: [u64; 5],
    /// Datagrams that are not messages of this protocol.
    pub malformed: u64,
    /// Answers that no request waits for.
    pub unexpected: u64,
    /// Requests dropped because their host asks too much.
    pub limited: u64,
    /// Datagrams and requests dropped because nobody took them.
    pub dropped: u64,
    pub down_hints: u64,
}

/// See `DhtRpc::status_mark`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusMark {
    nodes: (u32, Tick),
    nat: (Option<[u8; 4]>, u16),
    locals: (Option<Addr>, Option<Addr>),
    role: (bool, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Tick,
    /// The congestion window has room for those that wait.
    Drain,
    /// The bootstrap waits no longer for its probes.
    Probe,
    Flight(FlightId),
    /// A delayed ping is to be answered.
    Delayed(u64),
}

enum Binding {
    /// The server socket; these ports are tried next.
    Server(VecDeque<u16>),
    /// The client socket; `any` port, or first the one it had before.
    Client {
        any: bool,
    },
    Done,
    Failed,
    Suspended,
}

/// A node of the hash table.
///
/// Commands: `ask`, `cancel`, `respond`, `relay`, `query`, `cancel_query`, `suspend`, `resume`, `destroy`.
/// Every `ask` that returns `Ok`
/// ends with one `Event::Answer`, every `query` with one `Event::QueryDone`; after an `Err` nothing follows.
/// Not done: bootstrap names (the layers above resolve them).
pub struct DhtRpc {
    config: Config,
    binding: Binding,
    server: Option<Addr>,
    client: Option<Addr>,
    /// The ports of both sockets before the node was suspended; 0 is none.
    earlier: (u16, u16),
    firewalled: bool,
    ephemeral: bool,
    bootstrapped: bool,
    /// Until then queries ask more than they need in an honest network. dht_rpc.99
    wary_until: Time,
    destroyed: bool,
    online: bool,
    degraded: bool,

    table: Table,
    /// The address whose id the table is arranged around, once there is one.
    own_addr: Option<Addr>,
    nat: NatSampler,
    /// Nodes without an id whose reports were counted.
    sampled: BTreeSet<Addr>,
    tokens: Tokens,
    sources: Sources,
    health: Health,
    adaptive: Option<Adaptive>,

    flights: Flights,
    window: Window,
    user_flights: BTreeMap<Tag, FlightId>,
    walks: Slab<WalkKind, Walk>,
    /// The background query, if one runs.
    refreshing: Option<WalkId>,
    user_walks: BTreeMap<Tag, WalkId>,
    delayed: BTreeMap<u64, inbound::Asked>,
    next_delayed: u64,

    boot: Boot,
    interfaces: Vec<[u8; 4]>,
    /// The bootstrap met nobody: it begins again when somebody answers.
    isolated: bool,
    probes: Probes,
    test: Option<FirewallTest>,
    tick: Tick,
    last_tick: Time,
    refresh_ticks: u64,
    stable_ticks: u64,
    /// The public host that was found not reachable last.
    last_host: Option<[u8; 4]>,
    checks: usize,
    swaps: usize,
    hints: u32,

    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    /// How many of `events` are requests.
    requests_waiting: usize,
    stats: Stats,
}

impl DhtRpc {
    /// A node that binds its sockets and bootstraps at once.
    pub fn new(cx: &mut Cx<'_>, config: Config) -> DhtRpc {
        let mut ports = config.ports();
        let first = ports.pop_front().unwrap_or(0);
        let mut nat = NatSampler::new();
        if let Some(known) = config.known {
            nat.add(known);
        }
        let mut dht = DhtRpc {
            binding: Binding::Server(ports),
            server: None,
            client: None,
            earlier: (0, 0),
            firewalled: config.firewalled,
            ephemeral: true, // dht_rpc.76
            bootstrapped: false,
            wary_until: Time::ZERO,
            destroyed: false,
            online: true,
            degraded: false,
            table: Table::new(cx.entropy.bytes32()),
            own_addr: None,
            nat,
            sampled: BTreeSet::new(),
            tokens: Tokens::default(),
            sources: Sources::default(),
            health: Health::new(),
            adaptive: config.adaptive_timeout.then(Adaptive::default),
            flights: Flights::default(),
            window: Window::new(config.window.max(1)),
            user_flights: BTreeMap::new(),
            walks: Slab::new(),
            refreshing: None,
            user_walks: BTreeMap::new(),
            delayed: BTreeMap::new(),
            next_delayed: 0,
            boot: Boot::Binding,
            interfaces: Vec::new(),
            isolated: false,
            probes: Probes::default(),
            test: None,
            tick: 100 - cx.entropy.below(50) as Tick,
            last_tick: cx.now,
            refresh_ticks: upkeep::REFRESH_TICKS - cx.entropy.below(upkeep::REFRESH_TICKS / 2),
            stable_ticks: upkeep::STABLE_TICKS,
            last_host: None,
            checks: 0,
            swaps: 0,
            hints: 0,
            timers: Timers::new(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            requests_waiting: 0,
            stats: Stats::default(),
            config,
        };
        for addr in core::mem::take(&mut dht.config.nodes).into_iter().rev() {
            dht.add_node(addr);
        }
        dht.bind(SocketId::SERVER, first);
        // dht_rpc.55: at a moment of its own, or all nodes that start together ping together
        let phase = Span::from_micros(1 + cx.entropy.below(upkeep::TICK.as_micros()));
        dht.timers.set(Timer::Tick, cx.now + phase);
        dht
    }

    /// The first node of a network; see `Config::bootstrapper`.
    pub fn bootstrapper(cx: &mut Cx<'_>, public: Addr) -> Result<DhtRpc, Error> {
        Ok(DhtRpc::new(cx, Config::bootstrapper(public)?))
    }

    /// Whether a datagram is one of this protocol's, by its first byte.
    pub fn owns(datagram: &[u8]) -> bool {
        datagram.len() >= 2 && (datagram[0] == REQUEST || datagram[0] == RESPONSE)
    }

    /// Makes a request. Ends with one `Event::Answer`.
    ///
    /// `Full`: too many are in flight. `Invalid`: no port, or a value that does not fit. `Taken`: the tag is in use.
    /// `NotOpen`: destroyed. After an error no event follows.
    pub fn ask(&mut self, cx: &mut Cx<'_>, tag: Tag, ask: Ask) -> Result<(), Error> {
        if self.destroyed {
            return Err(Error::NotOpen);
        }
        if self.user_flights.contains_key(&tag) {
            return Err(Error::Taken);
        }
        if ask.to.port == 0 {
            return Err(Error::Invalid("an address without a port"));
        }
        if ask.value.as_ref().is_some_and(|value| value.len() > limits::DHT_VALUE_MAX) {
            return Err(Error::Invalid("a value longer than a datagram holds"));
        }
        let waiting = self.events.len() - self.requests_waiting;
        if self.flights.len() + waiting >= limits::DHT_IN_FLIGHT_MAX {
            return Err(Error::Full);
        }
        let flight = self.launch(cx, ask, Owner::User(tag)).map_err(|_| Error::Full)?;
        self.user_flights.insert(tag, flight);
        self.send_or_queue(cx, flight);
        Ok(())
    }

    /// Ends a request early; its `Event::Answer` says so. Nothing happens if it ended already.
    pub fn cancel(&mut self, cx: &mut Cx<'_>, tag: Tag) {
        if let Some(flight) = self.user_flights.get(&tag) {
            self.finish(cx, *flight, Err(Lost::Cancelled));
        }
    }

    /// Walks to the nodes closest to a target. Ends with one `Event::QueryDone`. Errors are those of `ask`.
    pub fn query(&mut self, cx: &mut Cx<'_>, tag: Tag, query: Query) -> Result<(), Error> {
        if self.destroyed {
            return Err(Error::NotOpen);
        }
        if self.user_walks.contains_key(&tag) {
            return Err(Error::Taken);
        }
        if query.value.as_ref().is_some_and(|value| value.len() > limits::DHT_VALUE_MAX) {
            return Err(Error::Invalid("a value longer than a datagram holds"));
        }
        if self.user_walks.len() >= limits::DHT_QUERIES_MAX {
            return Err(Error::Full);
        }
        self.refresh_ticks = upkeep::REFRESH_TICKS;
        let walk = self.start_walk(cx, Asker::User(tag), query);
        // it may have ended at once, if there is nobody to ask
        if self.walks.contains(walk) {
            self.user_walks.insert(tag, walk);
        }
        Ok(())
    }

    /// Ends a query early; its `Event::QueryDone` says so. Nothing happens if it ended already.
    pub fn cancel_query(&mut self, cx: &mut Cx<'_>, tag: Tag) {
        if let Some(walk) = self.user_walks.get(&tag) {
            self.end_walk(cx, *walk, Err(QueryError::Cancelled));
        }
    }

    /// Puts a node into the routing table, unasked.
    pub fn add_node(&mut self, addr: Addr) {
        if !self.is_refused(addr) {
            let added = self.table.add(Contact::new(addr, self.tick));
            self.tell_added(addr, added);
        }
    }

    /// Walks towards a known node, to meet others. (dht_rpc.58)
    pub fn refresh_table(&mut self, cx: &mut Cx<'_>) {
        if !self.destroyed && self.is_bound() {
            self.refresh(cx);
        }
    }

    /// Whether the server socket cannot be reached, as far as is known.
    pub fn firewalled(&self) -> bool {
        self.firewalled
    }

    /// Whether the node keeps to itself: it has no id and is in nobody's table.
    pub fn ephemeral(&self) -> bool {
        self.ephemeral
    }

    pub fn bootstrapped(&self) -> bool {
        self.bootstrapped
    }

    /// Whether answers come back at all, and whether most do.
    pub fn online(&self) -> bool {
        self.online
    }

    /// Answers come back, but most requests are lost.
    pub fn degraded(&self) -> bool {
        self.degraded
    }

    /// Where anybody can reach the server socket. `None` unless that is proven. (dht_rpc.31)
    pub fn remote_addr(&self) -> Option<Addr> {
        let server = self.server?;
        self.nat.addr().filter(|addr| !self.firewalled && addr.port == server.port)
    }

    /// Our public host as others see it.
    pub fn public_host(&self) -> Option<[u8; 4]> {
        self.nat.host()
    }

    /// Our id, while persistent.
    pub fn id(&self) -> Option<Key> {
        (!self.ephemeral).then(|| *self.table.own())
    }

    /// The local address of one of the two sockets.
    pub fn local(&self, socket: SocketId) -> Option<Addr> {
        match socket {
            SocketId::SERVER => self.server,
            SocketId::CLIENT => self.client,
            SocketId(_) => None,
        }
    }

    /// The socket that requests leave from. (dht_rpc.45)
    pub fn socket(&self) -> SocketId {
        if self.firewalled { SocketId::CLIENT } else { SocketId::SERVER }
    }

    /// Known nodes, those heard from latest first, at most `limit`.
    pub fn nodes(&self, limit: usize) -> Vec<Addr> {
        self.table.latest(limit).into_iter().map(|contact| contact.addr).collect()
    }

    /// What the routing table is arranged around: our id, or what would be.
    pub fn table_id(&self) -> Key {
        *self.table.own()
    }

    /// Nodes of the routing table, row by row; of the row that `id` belongs to, if it is given.
    pub fn known(&self, id: Option<&Key>) -> Vec<Known> {
        self.table.known(id, self.tick)
    }

    /// Datagrams, and requests for the layer above, that nobody has taken yet.
    pub fn waiting(&self) -> (usize, usize) {
        (self.outputs.len(), self.requests_waiting)
    }

    /// How many nodes are known.
    pub fn node_count(&self) -> usize {
        self.table.len()
    }

    pub fn stats(&self) -> Stats {
        Stats { active: self.flights.len(), active_queries: self.walks.len(), ..self.stats.clone() }
    }

    /// Two marks are equal as long as `status` gives the same, but for whom we heard from within a tick. It costs
    /// nothing to make.
    pub fn status_mark(&self) -> StatusMark {
        StatusMark {
            nodes: (self.table.changes(), self.tick),
            nat: (self.nat.host(), self.nat.port()),
            locals: (self.server, self.client),
            role: (self.firewalled, self.ephemeral),
        }
    }

    /// What the layers above want to know, in one value.
    pub fn status(&self) -> Status {
        Status {
            remote: self.remote_addr(),
            host: self.nat.host(),
            port: self.nat.port(),
            server: self.server,
            client: self.client,
            firewalled: self.firewalled,
            ephemeral: self.ephemeral,
            id: self.id(),
            current: self.socket(),
            nodes: self.nodes(8),
        }
    }

    /// Ends everything: requests and queries with `Destroyed`, then the sockets are closed.
    pub fn destroy(&mut self, cx: &mut Cx<'_>) {
        if core::mem::replace(&mut self.destroyed, true) {
            return;
        }
        for walk in self.walks.ids() {
            self.end_walk(cx, walk, Err(QueryError::Destroyed));
        }
        for flight in self.flights.ids() {
            self.finish(cx, flight, Err(Lost::Destroyed));
        }
        self.delayed.clear();
        self.timers = Timers::new();
        for (socket, local) in [(SocketId::SERVER, self.server), (SocketId::CLIENT, self.client)] {
            if local.is_some() {
                self.outputs.push_back(Output::Close { socket });
            }
        }
    }

    #[cfg(test)]
    fn poll_deadline(&self) -> Option<Time> {
        self.poll_timeout().map(|deadline| deadline.at)
    }

    fn is_refused(&self, addr: Addr) -> bool {
        addr.port == 0 || is_among(&self.config.refused, addr)
    }

    fn bind(&mut self, socket: SocketId, port: u16) {
        self.outputs.push_back(Output::Bind { socket, host: self.config.host, port });
    }

    fn on_bound(&mut self, cx: &mut Cx<'_>, socket: SocketId, local: Addr) {
        match (&self.binding, socket) {
            (Binding::Server(_), SocketId::SERVER) => {
                self.server = Some(local);
                let port = self.earlier.1;
                self.binding = Binding::Client { any: port == 0 };
                self.bind(SocketId::CLIENT, port); // dht_rpc.44
            }
            (Binding::Client { .. }, SocketId::CLIENT) => {
                self.client = Some(local);
                self.binding = Binding::Done;
                self.event(Event::Listening);
                self.pump(cx);
                match self.boot {
                    Boot::Binding => self.bootstrap(cx),
                    Boot::Walking { .. } | Boot::Probing | Boot::Testing | Boot::Done => self.refresh(cx),
                }
            }
            // it was asked for before the node was suspended
            (Binding::Suspended, SocketId::SERVER | SocketId::CLIENT) => {
                self.outputs.push_back(Output::Close { socket });
            }
            _ => {} // not one of ours, or told twice
        }
    }

    fn on_bind_failed(&mut self, socket: SocketId) {
        let next = match (&mut self.binding, socket) {
            (Binding::Server(ports), SocketId::SERVER) => ports.pop_front(),
            (Binding::Client { any }, SocketId::CLIENT) if !*any => {
                *any = true;
                Some(0)
            }
            (Binding::Client { .. }, SocketId::CLIENT) => None,
            _ => return,
        };
        match next {
            Some(port) => self.bind(socket, port),
            None => {
                self.binding = Binding::Failed;
                self.event(Event::BindFailed);
            }
        }
    }

    fn is_bound(&self) -> bool {
        matches!(self.binding, Binding::Done)
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

/// Whether nodes that are refused include `addr`: port 0 is every port.
fn is_among(refused: &[Addr], addr: Addr) -> bool {
    refused.iter().any(|no| no.ip == addr.ip && (no.port == addr.port || no.port == 0))
}

impl Machine for DhtRpc {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        if self.destroyed {
            return;
        }
        let before = if cx.trace.on() { Some(self.mark()) } else { None };
        match input {
            Input::Datagram { socket, from, bytes } => self.on_datagram(cx, socket, from, bytes),
            Input::Bound { socket, local } => self.on_bound(cx, socket, local),
            Input::BindFailed { socket } => self.on_bind_failed(socket),
            Input::Online(online) => self.on_online(cx, online),
            Input::Interfaces(hosts) => self.on_interfaces(cx, hosts),
        }
        if let Some(before) = before {
            self.tell(cx, &before);
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        let before = if cx.trace.on() { Some(self.mark()) } else { None };
        while let Some(timer) = self.timers.pop_due(cx.now) {
            if before.is_some() {
                self.tell_due(cx, timer);
            }
            match timer {
                Timer::Tick => self.on_tick(cx),
                Timer::Drain => self.pump(cx),
                Timer::Probe => self.on_probe_over(cx),
                Timer::Flight(flight) => self.on_late(cx, flight),
                Timer::Delayed(number) => self.on_delayed(cx, number),
            }
        }
        if let Some(before) = before {
            self.tell(cx, &before);
        }
    }

    fn poll_output(&mut self, _: &mut Cx<'_>) -> Option<Output> {
        take_first(&mut self.outputs)
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = take_first(&mut self.events)?;
        if let Event::Request(_) = event {
            self.requests_waiting -= 1;
        }
        Some(event)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(|timer| match timer {
            Timer::Tick => "dht_rpc tick",
            Timer::Drain => "dht_rpc congestion slot",
            Timer::Probe => "dht_rpc probe",
            Timer::Flight(_) => "dht_rpc request",
            Timer::Delayed(_) => "dht_rpc delayed ping",
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
