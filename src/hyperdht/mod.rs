//! Finding peers by key, telling the network where a key is served, and making a UDX path between two nodes: straight,
//! on the local network, or through both sides' NATs. Follows hyperdht.10 to hyperdht.93.
//!
//! Read `connect.rs` and `rounds.rs` for the client, `listen.rs` and `sessions.rs` for the server,
//! `announce.rs` for how a server is
//! found, `punch.rs` for holepunching, `relay.rs` and `records.rs` for what a node does for others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::hex::Short;
use crate::base::{
    Addr, Cx, Deadline, Id, Key, Kind, Machine, Slab, SocketId, Span, Tag, Time, Timers, limits, take_first,
    trace,
};
use crate::crypto::noise::NoiseKeys;
use crate::crypto::{hash, sign::KeyPair};
use crate::wire;
use crate::wire::dht_rpc::{Ask, Query, Reply, Request, Respond, Status};
use crate::wire::hyperdht::Peer;

mod addresses;
mod announce;
mod cache;
mod connect;
mod failure;
mod knock;
mod later;
mod life;
mod listen;
mod lookup;
mod nat;
mod payload;
mod plugins;
mod policy;
mod ports;
mod punch;
mod records;
mod relay;
mod rounds;
mod search;
mod serve;
mod sessions;
#[cfg(test)]
mod tests;
mod through;
mod told;
mod values;

pub use connect::ConnectOptions;
pub use failure::{ConnectError, Met, StoreError};
pub use knock::Knock;
pub use listen::ListenOptions;
pub use nat::{Nat, SAMPLES};
pub use plugins::Plugin;
pub use policy::{Punching, Veto};
pub use ports::{Connected, Counts, Event, Input, Output, Path, Stats};
pub use records::mutable_signable;
pub use through::PATIENCE as RELAY_PATIENCE;
pub use values::{FindMutable, PingOptions};

use announce::Withdrawal;
use cache::Cache;
use connect::Client;
use listen::{Server, SessionId};
use lookup::Lookup;
use plugins::Plugins;
use punch::{PunchId, Puncher};
use records::{Forward, Sizes, Storage};
use sessions::Census;
use through::Through;
use told::{SessionName, View, firewall_name};

/// Nodes of the public network that are never asked or remembered; port 0 is any. (hyperdht.96)
pub const REFUSED_NODES: [Addr; 4] = [
    Addr::new([134, 209, 28, 98], 49738),
    Addr::new([167, 99, 142, 185], 49738),
    Addr::new([35, 233, 47, 252], 9400),
    Addr::new([150, 136, 142, 116], 0),
];

#[derive(Debug)]
pub enum ConnKind {}
impl Kind for ConnKind {
    const NAME: &'static str = "conn";
}
/// A connection, from the first thought of it until its UDX stream has closed.
pub type ConnId = Id<ConnKind>;

#[derive(Debug)]
pub enum ServerKind {}
impl Kind for ServerKind {
    const NAME: &'static str = "server";
}
/// A key that this node listens for.
pub type ServerId = Id<ServerKind>;

#[derive(Debug)]
pub enum LookupKind {}
impl Kind for LookupKind {
    const NAME: &'static str = "lookup";
}
/// A lookup, announcement or unannouncement under way.
pub type LookupId = Id<LookupKind>;
pub type AnnounceId = LookupId;

/// What a node is made with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The host that holepunching sockets are bound to; all zeros is any.
    pub host: [u8; 4],
    /// Milliseconds of Unix time at `Time::ZERO`. Without it bumps in announcements are not taken.
    pub epoch_millis: Option<u64>,
    /// From the end of a search for ports to the next one; `None` is 20 s. hyperdht.134
    pub random_punch_interval: Option<Span>,
    /// As if a search had ended when the node began. hyperdht.134
    pub defer_random_punch: bool,
    /// Records that are kept for others, and half as many values of each kind; 65536 by default, and at most.
    /// hyperdht.116
    pub max_size: Option<usize>,
    /// How long an entry that nobody uses is kept; by default records 20 minutes and values 48 hours. hyperdht.116
    pub max_age: Option<Span>,
    /// Nodes that a server is announced to, 1 to 20; by default 20, and 3 are upstream's. With fewer it is hidden if
    /// all of them lie. hyperdht.161
    pub announce_to: Option<usize>,
}

/// Where a key was reached, and from which socket of the pool, if it was one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Route {
    addr: Addr,
    socket: Option<SocketId>,
}

/// Why a question was asked: what its answer is for.
#[derive(Debug)]
enum Purpose {
    FindPeer(ConnId),
    Handshake {
        conn: ConnId,
        relay: Addr,
        candidate: bool,
    },
    LanPing {
        conn: ConnId,
        addr: Addr,
    },
    Round(ConnId),
    /// Its answer says nothing.
    Farewell(ConnId),
    Sample(PunchId),
    AnnounceFind(ServerId),
    Announce {
        server: ServerId,
        relay: Addr,
        peer: Addr,
    },
    RelayPing {
        server: ServerId,
        relay: Addr,
    },
    WithdrawFind(Box<Withdrawal>),
    Withdraw(ServerId),
    Lookup(LookupId),
    LookupWrite {
        lookup: LookupId,
        announce: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// The whole attempt of a client.
    Attempt(ConnId),
    /// The client's current wait: for the server's packet, or before it asks again.
    Client(ConnId),
    /// What a client knew beforehand has taken too long.
    Walk(ConnId),
    /// The relays that a client asked take long to answer.
    Late(ConnId),
    /// A server's side that has come to nothing.
    SessionAbort(ServerId, SessionId),
    /// The outcome of a handshake is old enough to be forgotten.
    SessionClear(ServerId, SessionId),
    Punch(PunchId),
    /// A socket whose stream has closed.
    Socket(SocketId),
    Announce(ServerId),
    AnnounceStuck(ServerId),
    Unlisten(ServerId),
    /// A connection is about to leave its relay.
    Leaving(ConnId),
    /// Rotate what is kept for 20 minutes.
    Records,
    /// Rotate what is kept for 48 hours.
    Values,
}

#[derive(Debug)]
struct Conn {
    local: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Client(Box<Client>),
    /// Our side of a handshake was sent; the stream waits for its peer.
    Session {
        server: ServerId,
        session: SessionId,
    },
    /// The stream has its peer. A socket of our pool that it lives on is closed with it.
    Open {
        socket: Option<SocketId>,
    },
    /// Given up; the stream is about to close.
    Ended,
}

/// The machine. Commands: `connect`, `destroy`, `listen`, `unlisten`, `refresh`, `set_denied`, `admit`, `deny`,
/// `find_peer`, `lookup`, `announce`, `unannounce`, `find_nodes`, `ping`, `find_immutable`, `store_immutable`,
/// `find_mutable`, `store_mutable`, `ask_node`, `ask_all`, `register`, `take_requests`, `answer`, `suspend`,
/// `close_sockets`, `resume`, `end`.
#[derive(Debug)]
pub struct HyperDht {
    config: Config,
    status: Status,
    interfaces: Vec<[u8; 4]>,
    bootstrapped: bool,
    online: bool,
    suspended: bool,
    /// Of a suspended node: the announcements are being withdrawn.
    withdrawing: bool,
    /// For ever.
    ended: bool,
    outputs: VecDeque<Output>,
    /// Announcements that are signed when they are asked for.
    unsigned: VecDeque<lookup::Unsigned>,
    events: VecDeque<Event>,
    timers: Timers<Timer>,
    tags: BTreeMap<Tag, Purpose>,
    next_tag: u64,
    conns: Slab<ConnKind, Conn>,
    /// Those that have to do with a blind relay.
    through: BTreeMap<ConnId, Through>,
    /// Ids of live streams on this side.
    streams: BTreeSet<u32>,
    servers: Slab<ServerKind, Server>,
    by_target: BTreeMap<Key, ServerId>,
    census: Census,
    punchers: Slab<punch::PunchKind, Puncher>,
    /// Sockets of the pool; those of a live puncher name it.
    sockets: BTreeMap<SocketId, Option<PunchId>>,
    next_socket: u32,
    /// When the last search for ports ended. hyperdht.134
    last_search: Option<Time>,
    searched: search::Searched,
    lookups: Slab<LookupKind, Lookup>,
    forwards: Cache<Key, Forward>,
    /// Where a key's handshakes were relayed the last time.
    relay_addresses: Cache<Key, Vec<Addr>>,
    /// Where a key's server itself was reached the last time. hyperdht.97
    routes: Cache<Key, Route>,
    sizes: Sizes,
    /// From the moment that the node is persistent.
    storage: Option<Storage>,
    plugins: Plugins,
    stats: Stats,
}

impl HyperDht {
    /// Milliseconds of Unix time, if the node was told what time it was.
    pub fn unix_millis(&self, now: Time) -> Option<u64> {
        self.config.epoch_millis.map(|epoch| epoch.saturating_add(now.as_millis()))
    }

    /// What time it is: the clock was set, or stood still for a while.
    pub fn set_unix_millis(&mut self, now: Time, millis: u64) {
        self.config.epoch_millis = Some(millis.saturating_sub(now.as_millis()));
    }

    pub fn new(config: Config) -> HyperDht {
        let mut timers = Timers::new();
        let sizes = Sizes::new(&config);
        timers.set(Timer::Records, Time::ZERO + sizes.records_turn);
        timers.set(Timer::Values, Time::ZERO + sizes.values_turn);
        let last_search = config.defer_random_punch.then_some(Time::ZERO);
        HyperDht {
            config,
            last_search,
            searched: search::Searched::default(),
            status: Status::default(),
            interfaces: Vec::new(),
            bootstrapped: false,
            online: true,
            suspended: false,
            withdrawing: false,
            ended: false,
            outputs: VecDeque::new(),
            unsigned: VecDeque::new(),
            events: VecDeque::new(),
            timers,
            tags: BTreeMap::new(),
            next_tag: 0,
            conns: Slab::new(),
            through: BTreeMap::new(),
            streams: BTreeSet::new(),
            servers: Slab::new(),
            by_target: BTreeMap::new(),
            census: Census::default(),
            punchers: Slab::new(),
            sockets: BTreeMap::new(),
            next_socket: SocketId::FIRST_POOLED.0,
            lookups: Slab::new(),
            forwards: Cache::new(sizes.records),
            relay_addresses: Cache::new(sizes.relay_addresses),
            routes: Cache::new(sizes.relay_addresses),
            sizes,
            storage: None,
            plugins: Plugins::default(),
            stats: Stats::default(),
        }
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How many connections there are, those in the making and those not yet closed included.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// How much there is of what ends by itself.
    pub fn counts(&self) -> Counts {
        Counts {
            questions: self.tags.len(),
            sessions: self.servers.iter().map(|(_, server)| server.sessions()).sum(),
            punches: self.punchers.len(),
        }
    }

    /// Whether a punch goes on on this socket.
    pub fn punches_on(&self, socket: SocketId) -> bool {
        self.sockets.get(&socket).is_some_and(Option::is_some)
    }

    /// Sockets of the pool that are open.
    pub fn pooled_sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Ends an attempt or a connection at once: no `Failed`, no `Connected`. Its record stays until the stream closed.
    pub fn destroy(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Result<(), crate::Error> {
        self.say_farewell(cx, conn);
        let Some(record) = self.conns.get_mut(conn) else { return Err(crate::Error::Gone) };
        match core::mem::replace(&mut record.stage, Stage::Ended) {
            Stage::Client(_) => self.end_client_work(conn, None),
            Stage::Session { server, session } => self.end_session(cx, server, session),
            Stage::Open { socket } => record.stage = Stage::Open { socket },
            Stage::Ended => return Ok(()),
        }
        self.outputs.push_back(Output::StreamDestroy { conn });
        Ok(())
    }

    /// `poll_output`, but of what is made already: whoever sends that first has it under way while an announcement is
    /// signed.
    pub fn poll_ready(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = take_first(&mut self.outputs)?;
        if cx.trace.on() {
            self.tell_output(cx, &output);
        }
        Some(output)
    }

    fn ask(&mut self, purpose: Purpose, ask: Ask) -> Tag {
        let tag = self.tag(purpose);
        self.outputs.push_back(Output::Ask { tag, ask });
        tag
    }

    fn query(&mut self, purpose: Purpose, query: Query) -> Tag {
        let tag = self.tag(purpose);
        self.outputs.push_back(Output::Query { tag, query });
        tag
    }

    fn tag(&mut self, purpose: Purpose) -> Tag {
        let tag = Tag(self.next_tag);
        self.next_tag += 1;
        self.tags.insert(tag, purpose);
        tag
    }

    /// Forgets the questions that `which` picks.
    fn cancel(&mut self, which: impl Fn(&Purpose) -> bool) {
        let tags: Vec<Tag> = self.tags.iter().filter(|(_, p)| which(p)).map(|(&tag, _)| tag).collect();
        for tag in tags {
            let output = match self.tags.remove(&tag) {
                Some(Purpose::FindPeer(_) | Purpose::AnnounceFind(_) | Purpose::Lookup(_)) => {
                    Output::CancelQuery { tag }
                }
                Some(_) | None => Output::Cancel { tag },
            };
            self.outputs.push_back(output);
        }
    }

    /// A record for a new connection, its stream opened under an id that no other has. hyperdht.31, udx.103
    fn open_stream(&mut self, cx: &mut Cx<'_>, stage: Stage) -> (ConnId, u32) {
        let local = loop {
            let drawn = cx.entropy.u32();
            if drawn != 0 && self.streams.insert(drawn) {
                break drawn;
            }
        };
        let conn = self.conns.insert(Conn { local, stage });
        self.outputs.push_back(Output::StreamOpen { conn, local });
        (conn, local)
    }

    /// What the other side may be told of where we are: the proven address first, then local ones. hyperdht.32
    fn own_addresses(&self, local: bool) -> Vec<Addr> {
        let mut addresses: Vec<Addr> = self.status.remote.into_iter().collect();
        if local {
            addresses.extend(self.local_addresses());
        }
        addresses.truncate(limits::HYPERDHT_OWN_ADDRESSES);
        addresses
    }

    fn local_addresses(&self) -> Vec<Addr> {
        addresses::local_addresses(self.status.server, &self.interfaces)
    }

    /// A relayed stream's other side has found a direct way to us. blind_relay.25
    fn stream_called(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, from: Addr) {
        if self.is_relayed(conn) && from.port != 0 {
            match self.conns.get(conn).map(|record| &record.stage) {
                Some(Stage::Client(_)) => self.client_called(cx, conn, socket, from),
                Some(&Stage::Session { server, session }) => {
                    self.session_called(cx, server, session, conn, socket, from);
                }
                Some(Stage::Open { .. } | Stage::Ended) | None => {}
            }
        }
    }

    fn stream_connected(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, from: Addr) {
        match self.conns.get(conn).map(|record| &record.stage) {
            // The relay and a direct packet came together; else a change of the remote is complete.
            _ if self.through.contains_key(&conn) && !self.asks_relay(conn) => {
                if self.came_directly(conn, socket, from) {
                    self.stream_called(cx, conn, socket, from);
                }
            }
            Some(Stage::Client(_)) => self.client_called(cx, conn, socket, from),
            Some(&Stage::Session { server, session }) => {
                self.session_called(cx, server, session, conn, socket, from);
            }
            Some(Stage::Open { .. } | Stage::Ended) | None => {}
        }
    }

    fn stream_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(record) = self.conns.remove(conn) else { return };
        let relayed = self.is_relayed(conn);
        self.end_relay(conn);
        self.streams.remove(&record.local);
        match record.stage {
            Stage::Client(_) => {
                self.end_client_work(conn, None);
                if !relayed {
                    self.events.push_back(Event::Failed { conn, why: ConnectError::StreamClosed, met: None });
                }
            }
            Stage::Session { server, session } => self.end_session(cx, server, session),
            // The other side may still ask for the end of the stream.
            Stage::Open { socket: Some(socket) } => self.leave_socket(cx, socket),
            Stage::Open { socket: None } | Stage::Ended => {}
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, tag: Tag, result: Result<Reply, ()>) {
        let Some(purpose) = self.tags.remove(&tag) else { return };
        match purpose {
            Purpose::Handshake { conn, relay, candidate } => {
                self.handshake_answered(cx, conn, relay, candidate, result);
            }
            Purpose::LanPing { conn, addr } => self.lan_answered(cx, conn, addr, result.is_ok()),
            Purpose::Round(conn) => self.round_answered(cx, conn, result),
            Purpose::Sample(punch) => self.sample_answered(cx, punch, result),
            Purpose::Announce { server, relay, peer } => {
                self.announce_answered(cx, server, relay, peer, result);
            }
            Purpose::RelayPing { server, relay } => self.relay_answered(cx, server, relay, result),
            Purpose::WithdrawFind(withdrawal) => self.withdraw_found(cx, *withdrawal, result),
            Purpose::Withdraw(server) => self.withdrawn(cx, server),
            Purpose::Farewell(_) => {}
            Purpose::LookupWrite { lookup, announce } => self.lookup_written(lookup, announce, result),
            // Queries are not answered this way: put it back.
            other @ (Purpose::FindPeer(_) | Purpose::AnnounceFind(_) | Purpose::Lookup(_)) => {
                self.tags.insert(tag, other);
            }
        }
    }

    fn query_reply(&mut self, cx: &mut Cx<'_>, tag: Tag, reply: &Reply) {
        match self.tags.get(&tag) {
            Some(&Purpose::FindPeer(conn)) => self.peer_found(cx, conn, reply),
            Some(&Purpose::Lookup(lookup)) => self.lookup_reply(lookup, reply),
            Some(_) | None => {}
        }
    }

    fn query_done(&mut self, cx: &mut Cx<'_>, tag: Tag, ok: bool, closest: &[Reply]) {
        match self.tags.get(&tag) {
            Some(&Purpose::FindPeer(conn)) => {
                self.tags.remove(&tag);
                self.find_ended(cx, conn);
            }
            Some(&Purpose::AnnounceFind(server)) => {
                self.tags.remove(&tag);
                self.announce_found(cx, server, closest);
            }
            Some(&Purpose::Lookup(lookup)) => {
                self.tags.remove(&tag);
                self.lookup_walked(lookup, ok, closest);
            }
            Some(_) | None => {}
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, request: Request) {
        // A layer that is not drained would let a flood of requests grow our queue.
        if self.outputs.len() >= limits::HYPERDHT_OUTPUTS {
            self.stats.handshakes_dropped += 1;
            return;
        }
        match request.command {
            wire::hyperdht::command::PEER_HANDSHAKE => self.relay_handshake(cx, request),
            wire::hyperdht::command::PEER_HOLEPUNCH => self.relay_holepunch(cx, request),
            _ if self.is_the_programs(&request) => {}
            _ => self.serve_storage(cx, request),
        }
    }

    fn status_changed(&mut self, cx: &mut Cx<'_>, status: Status) {
        let moved = self.status.remote != status.remote || self.status.id != status.id;
        self.status = status;
        // pitfalls 4.7: what was announced under the old address is void.
        if moved {
            self.refresh_announcements(cx);
        }
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::Attempt(conn) => self.fail_client(conn, ConnectError::TimedOut),
            Timer::Client(conn) => self.client_waited(cx, conn),
            Timer::Walk(conn) => self.end_head_start(cx, conn),
            Timer::Late(conn) => self.widen(cx, conn),
            Timer::SessionAbort(server, session) => self.abort_session(cx, server, session),
            Timer::SessionClear(server, session) => self.clear_session(server, session),
            Timer::Punch(punch) => self.punch_again(cx, punch),
            Timer::Socket(socket) => self.close_socket(socket),
            Timer::Leaving(conn) => self.look(cx, conn),
            Timer::Announce(server) => self.announce_due(cx, server),
            Timer::AnnounceStuck(server) => self.announce_stuck(cx, server),
            Timer::Unlisten(server) => self.unlistened(cx, server),
            Timer::Records => {
                self.forwards.rotate();
                if let Some(storage) = &mut self.storage {
                    storage.rotate_records();
                }
                self.timers.set(timer, cx.now + self.sizes.records_turn);
            }
            Timer::Values => {
                if let Some(storage) = &mut self.storage {
                    storage.rotate_values();
                }
                self.timers.set(timer, cx.now + self.sizes.values_turn);
            }
        }
    }
}

impl Machine for HyperDht {
    type Input<'a> = Input;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input) {
        let from = if let Input::Request(request) = &input { Some(request.from) } else { None };
        let before = if cx.trace.on() { Some(self.mark()) } else { None };
        if before.is_some() {
            self.tell_input(cx, &input);
        }
        match input {
            Input::Request(request) => self.request(cx, request),
            Input::Answer { tag, result } => self.answered(cx, tag, result),
            Input::QueryReply { tag, reply } => self.query_reply(cx, tag, &reply),
            Input::QueryDone { tag, ok, closest } => self.query_done(cx, tag, ok, &closest),
            Input::Bootstrapped => {
                self.bootstrapped = true;
                self.clients_may_find(cx);
                self.refresh_announcements(cx);
            }
            Input::Persistent => {
                let sizes = &self.sizes;
                self.storage.get_or_insert_with(|| Storage::new(sizes));
                self.refresh_announcements(cx);
            }
            Input::NetworkUpdate { online } => {
                self.online = online;
                if online {
                    self.wake_announcers(cx);
                }
            }
            Input::NetworkChange => self.refresh_announcements(cx),
            Input::Probe { socket, from } => self.probed(cx, socket, from),
            Input::Bound { .. } => {}
            Input::BindFailed { socket } => self.bind_failed(cx, socket),
            Input::StreamConnected { conn, socket, from } => self.stream_connected(cx, conn, socket, from),
            Input::StreamClosed { conn } => self.stream_closed(cx, conn),
            Input::StreamCalled { conn, socket, from } => self.stream_called(cx, conn, socket, from),
            Input::StreamHeard { conn, direct, elsewhere, changing } => {
                self.stream_heard(cx, conn, direct, elsewhere, changing);
            }
            Input::RelayPaired { conn, socket, to, stream } => {
                self.relay_paired(cx, conn, socket, to, stream);
            }
            Input::RelayClosed { conn } => self.relay_closed(cx, conn),
            Input::Status(status) => self.status_changed(cx, status),
            Input::Interfaces(interfaces) => {
                let known = core::mem::replace(&mut self.interfaces, interfaces);
                // hyperdht.55
                if !known.is_empty() && known != self.interfaces {
                    self.routes = Cache::new(self.sizes.relay_addresses); // hyperdht.97
                    self.refresh_announcements(cx);
                }
            }
        }
        if let Some(before) = before {
            self.tell(cx, from, &before);
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(timer) = self.timers.pop_due(cx.now) {
            Self::tell_due(cx, timer);
            self.timed_out(cx, timer);
        }
    }

    /// What takes long to make comes one by one, and last.
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        if self.outputs.is_empty() {
            self.sign_next();
        }
        self.poll_ready(cx)
    }

    fn poll_event(&mut self) -> Option<Event> {
        take_first(&mut self.events)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(Timer::why)
    }
}

/// What a key is announced and looked for under. hyperdht.10
pub fn target(key: &Key) -> Key {
    hash::blake2b_256(&[key])
}

fn namespace(command: u64) -> Key {
    // H(H("hyperswarm/dht"), command), as constants where each signature and each check needs one. hyperdht.3
    const ANNOUNCE: Key = [
        0x36, 0x38, 0x6a, 0xdd, 0xdf, 0x9f, 0x6f, 0xd6, 0x0d, 0xb8, 0x3a, 0x6f, 0x42, 0xfc, 0x15, 0x9d, 0x11,
        0x46, 0xaa, 0x86, 0x44, 0x03, 0x76, 0x64, 0x23, 0x0a, 0xaa, 0x1f, 0x01, 0x79, 0xd4, 0x97,
    ];
    const MUTABLE_PUT: Key = [
        0x66, 0x8e, 0x82, 0x3e, 0xdd, 0x5c, 0xe7, 0xf5, 0x33, 0x8d, 0x68, 0xbf, 0x11, 0x61, 0xf4, 0xa3, 0xc2,
        0x8c, 0xe4, 0x37, 0xee, 0x2a, 0xb4, 0x9e, 0xfd, 0x30, 0xd9, 0x93, 0x66, 0x03, 0x9b, 0x1e,
    ];
    match command {
        wire::hyperdht::command::ANNOUNCE => ANNOUNCE,
        wire::hyperdht::command::MUTABLE_PUT => MUTABLE_PUT,
        _ => hash::namespace("hyperswarm/dht", command as u8),
    }
}

/// What is signed for one storing node: bound to its id and to the token it gave. hyperdht.50
fn announce_signable(
    space: u64,
    target: &Key,
    id: &Key,
    token: &Key,
    peer: &Peer,
    refresh: Option<&Key>,
) -> [u8; 64] {
    let record = wire::encode(peer);
    let refresh: &[u8] = refresh.map_or(&[], |refresh| refresh);
    let mut signable = [0; 64];
    signable[..32].copy_from_slice(&namespace(space));
    signable[32..].copy_from_slice(&hash::blake2b_256(&[target, id, token, &record, refresh]));
    signable
}

fn signed_announce(
    space: u64,
    pair: &KeyPair,
    target: &Key,
    id: &Key,
    token: &Key,
    relays: Vec<Addr>,
) -> Vec<u8> {
    bumped_announce(space, pair, target, id, token, relays, 0)
}

/// The bump is not signed. hyperdht.47
fn bumped_announce(
    space: u64,
    pair: &KeyPair,
    target: &Key,
    id: &Key,
    token: &Key,
    relays: Vec<Addr>,
    bump: u64,
) -> Vec<u8> {
    let peer = Peer { key: pair.public, relays };
    let signature = pair.sign(&announce_signable(space, target, id, token, &peer, None));
    let signature = Some(wire::hyperdht::Signature(signature));
    wire::encode(&wire::hyperdht::Announce { peer: Some(peer), refresh: None, signature, bump })
}

/// Pings and holepunch waits are in whole seconds upstream.
const SECOND: Span = Span::from_secs(1);
