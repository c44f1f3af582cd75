//! What the machine is told, asks and tells.

use super::*;

/// Told by the node: what dht_rpc, UDX and the sockets say.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request that dht_rpc does not serve itself.
    Request(Request),
    /// Each `Output::Ask` gets exactly one of these, unless it was cancelled.
    Answer {
        tag: Tag,
        result: Result<Reply, ()>,
    },
    QueryReply {
        tag: Tag,
        reply: Reply,
    },
    /// Each `Output::Query` gets exactly one of these, unless it was cancelled.
    QueryDone {
        tag: Tag,
        ok: bool,
        closest: Vec<Reply>,
    },
    Bootstrapped,
    Persistent,
    NetworkUpdate {
        online: bool,
    },
    NetworkChange,
    /// A datagram of one byte came in on a socket of ours.
    Probe {
        socket: SocketId,
        from: Addr,
    },
    Bound {
        socket: SocketId,
        local: Addr,
    },
    BindFailed {
        socket: SocketId,
    },
    /// The expected first packet of a stream came (or its remote changed).
    StreamConnected {
        conn: ConnId,
        socket: SocketId,
        from: Addr,
    },
    /// A packet for a stream that goes through a relay came on another socket than its.
    StreamCalled {
        conn: ConnId,
        socket: SocketId,
        from: Addr,
    },
    /// Answers `Output::StreamLook`: packets that came from the remote since the last change of it, and from
    /// elsewhere; and whether something that was sent before is not acked.
    StreamHeard {
        conn: ConnId,
        direct: u64,
        elsewhere: u64,
        changing: bool,
    },
    /// The relay that was asked for `conn` has paired the sides: its end is stream `stream` at `to`.
    RelayPaired {
        conn: ConnId,
        socket: SocketId,
        to: Addr,
        stream: u32,
    },
    /// The relay of `conn` cannot be had, or is gone.
    RelayClosed {
        conn: ConnId,
    },
    /// The stream is no more, for whatever reason. The last that is heard of `conn`.
    StreamClosed {
        conn: ConnId,
    },
    Status(Status),
    /// IPv4 addresses of this host's network interfaces.
    Interfaces(Vec<[u8; 4]>),
}

/// Asked of the node. Outputs are to be carried out in order; a socket may be named right after its `Bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Ask {
        tag: Tag,
        ask: Ask,
    },
    Cancel {
        tag: Tag,
    },
    Respond {
        request: Request,
        respond: Respond,
    },
    /// Pass a request on, with the same tid, command and target and another value.
    Relay {
        request: Request,
        to: Addr,
        value: Vec<u8>,
        socket: Option<SocketId>,
    },
    Query {
        tag: Tag,
        query: Query,
    },
    CancelQuery {
        tag: Tag,
    },
    /// Send one byte, 0.
    Probe {
        socket: SocketId,
        to: Addr,
        ttl: Option<u8>,
    },
    Bind {
        socket: SocketId,
        host: [u8; 4],
        port: u16,
    },
    Close {
        socket: SocketId,
    },
    StreamOpen {
        conn: ConnId,
        local: u32,
    },
    StreamExpect {
        conn: ConnId,
        remote: u32,
    },
    StreamConnect {
        conn: ConnId,
        socket: SocketId,
        remote: u32,
        to: Addr,
    },
    StreamDestroy {
        conn: ConnId,
    },
    /// Change the remote of a connected stream.
    StreamMove {
        conn: ConnId,
        socket: SocketId,
        remote: u32,
        to: Addr,
    },
    /// Send an empty message on the stream, and answer with `Input::StreamHeard`.
    StreamLook {
        conn: ConnId,
    },
    /// Nothing passes any more on the path from before the last change of the remote.
    StreamForget {
        conn: ConnId,
    },
    /// Connect to the blind relay `relay` (under `HyperDht::relay_key_pair`), with this keep-alive, and ask it to pair
    /// our stream of that id. Answered with `Input::RelayPaired` or `Input::RelayClosed`.
    RelayAsk {
        conn: ConnId,
        relay: Key,
        initiator: bool,
        token: Key,
        stream: u32,
        keep_alive: Span,
    },
    /// End the connection to the relay.
    RelayEnd {
        conn: ConnId,
    },
}

/// Told to the layer above.
#[derive(Debug)]
pub enum Event {
    /// Somebody calls a server with a gate: `admit` or `deny` it. Who is not decided about within 10 s is turned away.
    Knock {
        knock: Knock,
        /// The key that the caller has.
        key: Key,
        /// Where its message came from, as seen by us or by its relay.
        from: Addr,
        /// What it says of itself: its firewall (`wire::hyperdht::firewall`) and its addresses.
        firewall: u64,
        addresses: Vec<Addr>,
    },
    /// At least one node took the announcement: clients can find the server now. Once per server.
    Listening {
        server: ServerId,
    },
    /// After `suspend_server`: it is announced nowhere. hyperdht.154
    ServerSuspended {
        server: ServerId,
    },
    /// The announcement was withdrawn, or there was nobody to withdraw it from. `server` is gone.
    Unlistened {
        server: ServerId,
    },
    /// After `suspend`: nothing is announced any more.
    Withdrawn,
    Connected(Connected),
    /// The attempt is over; `conn` is gone once its stream has closed.
    Failed {
        conn: ConnId,
        why: ConnectError,
        /// If a punch was begun: between which kinds of NAT.
        met: Option<Met>,
    },
    /// An open connection goes another way from now on: it left its relay for the direct path, or went back.
    Moved {
        conn: ConnId,
        path: Path,
    },
    /// Found by a lookup. Each key comes once per lookup.
    Peer {
        lookup: LookupId,
        peer: Peer,
        from: Addr,
    },
    /// The nodes closest to what is looked for, once a walk to it is over: another may begin there.
    Closest {
        lookup: LookupId,
        nodes: Vec<Addr>,
    },
    /// Somebody who is not let in called. hyperdht.35
    Denied {
        server: ServerId,
        key: Key,
    },
    /// A lookup or find_peer has ended; `ok` is whether any node answered.
    LookupDone {
        lookup: LookupId,
        ok: bool,
    },
    /// A lookup of a value has found it, or a newer one. Its hash or signature was checked.
    Value {
        lookup: LookupId,
        /// The number of a mutable value.
        seq: u64,
        value: Vec<u8>,
    },
    /// The node that was pinged answered, and sees us as `seen`. `LookupDone` follows.
    Pinged {
        lookup: LookupId,
        from: Addr,
        seen: Addr,
    },
    /// A node answered what the program asked. `LookupDone` follows when all have.
    Reply {
        lookup: LookupId,
        reply: Box<Reply>,
    },
    /// A request with a command that only the program knows: `HyperDht::answer` it, or be silent. hyperdht.153
    Request(Box<Request>),
    /// The same, of a plugin that is registered. hyperdht.151
    PluginRequest {
        request: Box<Request>,
        plugin: String,
        command: u64,
        value: Option<Vec<u8>>,
    },
    /// Storing a value has ended: so many nodes took it.
    Stored {
        lookup: LookupId,
        nodes: usize,
        /// Why others did not. hyperdht.117
        refused: Option<StoreError>,
    },
    /// An announcement has ended; `ok` is whether any node took it.
    Announced {
        announce: AnnounceId,
        ok: bool,
    },
    /// An unannouncement has ended; `ok` is whether any node answered.
    Unannounced {
        announce: AnnounceId,
        ok: bool,
    },
}

/// A stream that has its peer: the keys are for the secret stream on it.
#[derive(Debug)]
pub struct Connected {
    pub conn: ConnId,
    /// The server that was called; `None` on the caller's side.
    pub server: Option<ServerId>,
    pub initiator: bool,
    /// Proven by the Noise handshake and by nothing else.
    pub remote_key: Key,
    pub keys: NoiseKeys,
    pub path: Path,
}

/// How two nodes came together, as one of them sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// We sent to an address where the other side can be reached by anybody.
    Direct,
    /// We can be reached by anybody, and the other side sent to us.
    Passive,
    /// By an address of the local network.
    Lan,
    /// Through both sides' NATs, on a socket of its own.
    Punched,
    /// By a blind relay that passes the packets on.
    Relayed,
}

impl Path {
    /// The rule by which the client takes it.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Path::Direct => "hyperdht.80 hyperdht.81",
            Path::Passive => "hyperdht.82",
            Path::Lan => "hyperdht.83",
            Path::Punched => "hyperdht.89",
            Path::Relayed => "blind_relay.23",
        }
    }
}

/// Counted since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub connects: u64,
    pub accepts: u64,
    /// Punches between consistent NATs that were started.
    pub punches: u64,
    /// Searches for ports that were started. hyperdht.130
    pub searches: u64,
    /// Callers that were told to try later. hyperdht.135
    pub told_later: u64,
    /// Waits of ours for the turn to search. hyperdht.136
    pub waits: u64,
    /// Requests that were dropped because they are malformed or make no sense.
    pub malformed: u64,
    /// Handshakes that were dropped at a bound.
    pub handshakes_dropped: u64,
    /// Handshakes of callers that are not let in.
    pub denied: u64,
    pub sockets_opened: u64,
    pub sockets_closed: u64,
    /// Blind relays that were asked, that paired, that did not, and connections that went on directly.
    pub relays_asked: u64,
    pub relays_used: u64,
    pub relays_failed: u64,
    pub relays_left: u64,
}

/// What there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions to dht_rpc without an answer.
    pub questions: usize,
    /// Handshakes that servers remember.
    pub sessions: usize,
    pub punches: usize,
}
