//! The client: find nodes that relay for a key, shake hands through several of them at once, then make a path. Follows
//! hyperdht.11 to hyperdht.19 and hyperdht.80 to hyperdht.89.

use core::fmt;

use super::addresses::{is_bogon, is_reserved, match_address};
use super::payload::Sealed;
use super::punch::Owner;
use super::*;
use crate::crypto::noise::Noise;
use crate::wire::hyperdht::{
    Handshake, Holepunch, HolepunchPayload, NoisePayload, RelayInfo, UdxInfo, command, error, firewall, mode,
};

/// Nothing takes longer than this.
const ATTEMPT: Span = Span::from_secs(60);
/// An open client waits so long for the server's packet. hyperdht.82
const PASSIVE_WAIT: Span = Span::from_secs(10);
/// Pause before the client asks a server again that does not know its own NAT yet. hyperdht.86
const UNKNOWN_WAIT: Span = SECOND;
/// Handshakes at one time, with and without relays known beforehand. hyperdht.13
const PARALLEL_KNOWN: usize = 3;
const PARALLEL: usize = 2;
/// Hop limit of a byte that opens our own NAT and reaches nobody. hyperdht.84
pub(super) const LOW_TTL: u8 = 5;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Who we are to the server.
    pub key_pair: KeyPair,
    /// Nodes that may relay for the server, asked at once, besides what is found.
    pub relays: Vec<Addr>,
    /// Whether to tell the server our local addresses and to try its.
    pub local_connection: bool,
    /// Whether to open our NAT towards the server before the first round.
    pub fast_open: bool,
}

impl ConnectOptions {
    pub fn new(key_pair: KeyPair) -> ConnectOptions {
        ConnectOptions { key_pair, relays: Vec::new(), local_connection: true, fast_open: true }
    }
}

/// Why an attempt failed. `code` is stable and, where upstream has the same reason, upstream's. hyperdht.19
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConnectError {
    PeerNotFound,
    PeerConnectionFailed,
    HandshakeInvalid,
    ServerIncompatible,
    ServerError,
    CannotHolepunch,
    HolepunchAborted,
    HolepunchInvalid,
    HolepunchProbeTimeout,
    DoubleRandomizedNats,
    /// One side's NAT gives each destination another port; not supported yet.
    RandomizedNat,
    RemoteAborted,
    RemoteNotHolepunching,
    RemoteNotHolepunchable,
    BadHolepunchReply,
    RequestTimeout,
    /// The attempt took longer than anything may.
    TimedOut,
    /// The stream was closed before it had its peer.
    StreamClosed,
}

impl ConnectError {
    pub const fn code(self) -> &'static str {
        match self {
            ConnectError::PeerNotFound => "PEER_NOT_FOUND",
            ConnectError::PeerConnectionFailed => "PEER_CONNECTION_FAILED",
            ConnectError::HandshakeInvalid => "HANDSHAKE_INVALID",
            ConnectError::ServerIncompatible => "SERVER_INCOMPATIBLE",
            ConnectError::ServerError => "SERVER_ERROR",
            ConnectError::CannotHolepunch => "CANNOT_HOLEPUNCH",
            ConnectError::HolepunchAborted => "HOLEPUNCH_ABORTED",
            ConnectError::HolepunchInvalid => "HOLEPUNCH_INVALID",
            ConnectError::HolepunchProbeTimeout => "HOLEPUNCH_PROBE_TIMEOUT",
            ConnectError::DoubleRandomizedNats => "HOLEPUNCH_DOUBLE_RANDOMIZED_NATS",
            ConnectError::RandomizedNat => "HOLEPUNCH_RANDOMIZED_NAT",
            ConnectError::RemoteAborted => "REMOTE_ABORTED",
            ConnectError::RemoteNotHolepunching => "REMOTE_NOT_HOLEPUNCHING",
            ConnectError::RemoteNotHolepunchable => "REMOTE_NOT_HOLEPUNCHABLE",
            ConnectError::BadHolepunchReply => "BAD_HOLEPUNCH_REPLY",
            ConnectError::RequestTimeout => "REQUEST_TIMEOUT",
            ConnectError::TimedOut => "CONNECT_TIMED_OUT",
            ConnectError::StreamClosed => "STREAM_CLOSED",
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::PeerNotFound => "nobody knows that key",
            ConnectError::PeerConnectionFailed => "no node could relay to that key",
            ConnectError::HandshakeInvalid => "no valid answer to the handshake",
            ConnectError::ServerIncompatible => "the server speaks another version",
            ConnectError::ServerError => "the server refused the handshake",
            ConnectError::CannotHolepunch => "the server cannot be reached from here",
            ConnectError::HolepunchAborted => "holepunching came to nothing",
            ConnectError::HolepunchInvalid => "a holepunch answer could not be opened",
            ConnectError::HolepunchProbeTimeout => "what the NATs do could not be told in time",
            ConnectError::DoubleRandomizedNats => "both NATs give each destination another port",
            ConnectError::RandomizedNat => "a NAT gives each destination another port",
            ConnectError::RemoteAborted => "the server gave up holepunching",
            ConnectError::RemoteNotHolepunching => "the server does not holepunch",
            ConnectError::RemoteNotHolepunchable => "the server named no address to punch",
            ConnectError::BadHolepunchReply => "a relay answered a holepunch wrongly",
            ConnectError::RequestTimeout => "a relay does not answer",
            ConnectError::TimedOut => "connecting took too long",
            ConnectError::StreamClosed => "the stream was closed while connecting",
        })
    }
}

impl std::error::Error for ConnectError {}

#[derive(Debug)]
pub struct Client {
    key: Key,
    target: Key,
    local: u32,
    options: ConnectOptions,
    /// Our handshake says that anybody can reach us.
    told_open: bool,
    /// Relays that were asked.
    tried: Vec<Addr>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Finding(Box<Finding>),
    /// The server has answered; the stream waits for a packet of its, and perhaps we work on a path.
    Answered(Box<Answered>),
}

#[derive(Debug)]
struct Finding {
    /// Taken when the server has answered.
    noise: Option<Noise>,
    /// Our first message, the same through every relay. hyperdht.12
    request: Option<Vec<u8>>,
    /// Relays known beforehand, asked one after the other.
    candidates: VecDeque<Addr>,
    /// All of those, to skip them among the found ones.
    known: Vec<Addr>,
    /// Found, and waiting for a free place.
    waiting: VecDeque<Addr>,
    asking: usize,
    parallel: usize,
    query: Option<Tag>,
    /// Walks still to be made.
    walks: u8,
    /// Found relays that were asked (those known beforehand not counted).
    attempts: usize,
}

#[derive(Debug)]
struct Answered {
    payload: NoisePayload,
    keys: NoiseKeys,
    remote: u32,
    sealed: Sealed,
    /// The relay that the handshake went through.
    relay: Addr,
    /// The server as that relay sees it.
    server: Addr,
    /// A ping on the local network is under way.
    lan: bool,
    punch: Option<Punch>,
    /// The punch has failed; the ping may still succeed.
    failed: Option<ConnectError>,
}

#[derive(Debug)]
struct Punch {
    punch: PunchId,
    relay: RelayInfo,
    round: u64,
    step: Step,
    /// The server's token for our host.
    token: Option<Key>,
    /// The server as the relay of the last round sees it.
    peer: Addr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Asked; waiting for the answer. `retry`: the probe may be repeated once.
    Probe {
        retry: bool,
    },
    /// The server does not know its NAT; give it a moment.
    Wait {
        retry: bool,
    },
    /// Waiting for the analysis of our own NAT.
    Analyze {
        retry: bool,
        reopened: bool,
    },
    /// The last question before punching is under way; holds our token for the server.
    Last {
        token: Key,
    },
    Punching,
    /// Telling the server that we give up, and why.
    Aborting(ConnectError),
}

impl HyperDht {
    /// Begins to connect to whoever listens for `key`. Ends with `Event::Connected` or `Event::Failed`.
    pub fn connect(&mut self, cx: &mut Cx<'_>, key: Key, options: ConnectOptions) -> ConnId {
        let target = target(&key);
        let prologue = namespace(command::PEER_HANDSHAKE);
        let noise = Noise::ik_initiator(cx.entropy, &options.key_pair, &key, &prologue);
        // hyperdht.11: given relays, else those of the last time; if we keep the announcement ourselves, its relay.
        let mut known = options.relays.clone();
        if known.is_empty() {
            known = self.relay_addresses.get(&key).cloned().unwrap_or_default();
        }
        if self.storage.is_some() {
            if let Some(forward) = self.forwards.get(&target) {
                known = vec![forward.relay];
            }
        }
        known.retain(|relay| relay.port != 0);
        known.truncate(limits::HYPERDHT_RELAYS_TRIED);
        let (parallel, walks) = if known.is_empty() { (PARALLEL, 1) } else { (PARALLEL_KNOWN, 2) };
        let finding = Finding {
            noise: Some(noise),
            request: None,
            candidates: known.iter().copied().collect(),
            known,
            waiting: VecDeque::new(),
            asking: 0,
            parallel,
            query: None,
            walks,
            attempts: 0,
        };
        let client = Client {
            key,
            target,
            local: 0,
            options,
            told_open: false,
            tried: Vec::new(),
            phase: Phase::Finding(Box::new(finding)),
        };
        let (conn, local) = self.open_stream(cx, Stage::Client(Box::new(client)));
        if let Some(client) = self.client(conn) {
            client.local = local;
        }
        self.stats.connects += 1;
        self.timers.set(Timer::Attempt(conn), cx.now + ATTEMPT);
        self.ask_next_candidate(cx, conn);
        self.find(cx, conn);
        conn
    }

    fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        match &mut self.conns.get_mut(conn)?.stage {
            Stage::Client(client) => Some(client),
            Stage::Session { .. } | Stage::Open { .. } | Stage::Ended => None,
        }
    }

    fn finding(&mut self, conn: ConnId) -> Option<&mut Finding> {
        match &mut self.client(conn)?.phase {
            Phase::Finding(finding) => Some(finding),
            Phase::Answered(_) => None,
        }
    }

    fn reached(&mut self, conn: ConnId) -> Option<&mut Answered> {
        match &mut self.client(conn)?.phase {
            Phase::Answered(answered) => Some(answered),
            Phase::Finding(_) => None,
        }
    }

    /// Walks wait until the node has a routing table.
    pub(super) fn clients_may_find(&mut self, cx: &mut Cx<'_>) {
        for conn in self.conns.ids() {
            self.find(cx, conn);
        }
    }

    /// Goes on with finding: ask relays that wait, begin the next walk, or give up. hyperdht.13, hyperdht.14
    fn find(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        while let Some(finding) = self.finding(conn) {
            if finding.asking >= finding.parallel {
                return;
            }
            let Some(relay) = finding.waiting.pop_front() else { break };
            finding.asking += 1;
            finding.attempts += 1;
            self.shake_hands(cx, conn, relay, false);
        }
        let bootstrapped = self.bootstrapped;
        let Some(client) = self.client(conn) else { return };
        let target = client.target;
        let Phase::Finding(finding) = &mut client.phase else { return };
        if finding.query.is_some() || !finding.waiting.is_empty() {
            return;
        }
        let idle = finding.asking == 0;
        if finding.walks > 0 && (idle || finding.attempts == 0) {
            if !bootstrapped {
                return;
            }
            let start = finding.known.clone();
            // Only the first walk begins with what was known beforehand.
            let start = if finding.walks == 2 { start } else { Vec::new() };
            finding.walks -= 1;
            let query = Query { start, sends: 4, ..Query::new(target, command::FIND_PEER, None) };
            let tag = self.query(Purpose::FindPeer(conn), query);
            if let Some(finding) = self.finding(conn) {
                finding.query = Some(tag);
            }
        } else if idle && finding.walks == 0 {
            let attempts = finding.attempts;
            let why =
                if attempts > 0 { ConnectError::PeerConnectionFailed } else { ConnectError::PeerNotFound };
            self.fail_client(conn, why);
        }
    }

    pub(super) fn peer_found(&mut self, cx: &mut Cx<'_>, conn: ConnId, reply: &Reply) {
        let Some(finding) = self.finding(conn) else { return };
        let Some(value) = &reply.value else { return };
        if reply.error != 0 || wire::decode::<Peer>(value).is_err() || reply.from.port == 0 {
            return;
        }
        if finding.known.contains(&reply.from) || finding.known.len() >= limits::HYPERDHT_RELAYS_TRIED {
            return;
        }
        finding.known.push(reply.from);
        finding.waiting.push_back(reply.from);
        self.find(cx, conn);
    }

    pub(super) fn find_ended(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(finding) = self.finding(conn) else { return };
        finding.query = None;
        self.find(cx, conn);
    }

    /// The next of the relays known beforehand; all of them together take one of the parallel places.
    fn ask_next_candidate(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(finding) = self.finding(conn) else { return };
        let Some(relay) = finding.candidates.pop_front() else { return };
        finding.asking += 1;
        self.shake_hands(cx, conn, relay, true);
    }

    fn shake_hands(&mut self, cx: &mut Cx<'_>, conn: ConnId, relay: Addr, candidate: bool) {
        let remote = self.status.remote;
        let local = self.client(conn).is_some_and(|client| client.options.local_connection);
        let addresses4 = self.own_addresses(local);
        let Some(client) = self.client(conn) else { return };
        client.tried.push(relay);
        let target = client.target;
        let Phase::Finding(finding) = &mut client.phase else { return };
        if finding.request.is_none() {
            client.told_open = remote.is_some();
            let payload = NoisePayload {
                firewall: if remote.is_some() { firewall::OPEN } else { firewall::UNKNOWN },
                addresses4,
                udx: Some(UdxInfo { id: client.local, ..UdxInfo::default() }),
                secret_stream: Some(1),
                ..NoisePayload::default()
            };
            let request = finding.noise.as_mut().and_then(|noise| noise.write(&wire::encode(&payload)).ok());
            if request.is_none() {
                // The key is not a point: nobody can listen for it.
                return self.fail_client(conn, ConnectError::HandshakeInvalid);
            }
            finding.request = request;
        }
        let noise = finding.request.clone().unwrap_or_default();
        let message = Handshake { mode: mode::FROM_CLIENT, noise, peer: None, relay: None };
        let ask = Ask {
            target: Some(target),
            value: Some(wire::encode(&message)),
            ..Ask::new(relay, command::PEER_HANDSHAKE)
        };
        cx.trace("hyperdht", format_args!("{conn} shakes hands through {relay}"));
        self.ask(Purpose::Handshake { conn, relay, candidate }, ask);
    }

    pub(super) fn handshake_answered(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        relay: Addr,
        candidate: bool,
        result: Result<Reply, ()>,
    ) {
        let Some(finding) = self.finding(conn) else { return };
        finding.asking -= 1;
        let answer = result.ok().and_then(|reply| {
            let payload = read_answer(finding.noise.as_mut()?, relay, &reply)?;
            Some((payload, reply))
        });
        let Some(((payload, peer), reply)) = answer else {
            if candidate {
                self.ask_next_candidate(cx, conn);
            }
            return self.find(cx, conn);
        };
        // hyperdht.16: what the server itself says is final.
        let remote = match (&payload.udx, payload.version, payload.error) {
            (_, 2.., _) | (_, 0, _) => return self.fail_client(conn, ConnectError::ServerIncompatible),
            (Some(udx), 1, error::NONE) => udx.id,
            (_, 1, _) => return self.fail_client(conn, ConnectError::ServerError),
        };
        self.server_answered(cx, conn, relay, payload, remote, peer, &reply);
    }

    #[allow(clippy::too_many_arguments)]
    fn server_answered(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        relay: Addr,
        payload: NoisePayload,
        remote: u32,
        peer: Option<Addr>,
        reply: &Reply,
    ) {
        // The first valid answer wins; the other questions are void. hyperdht.15, pitfalls 8.2
        self.cancel(|purpose| {
            matches!(purpose, Purpose::FindPeer(c) | Purpose::Handshake { conn: c, .. } if *c == conn)
        });
        let Some(client) = self.client(conn) else { return };
        let (local_connection, told_open) = (client.options.local_connection, client.told_open);
        let Phase::Finding(finding) = &mut client.phase else { return };
        let Some(keys) = finding.noise.take().and_then(|noise| noise.finish().ok()) else {
            return self.fail_client(conn, ConnectError::HandshakeInvalid);
        };
        let sealed = Sealed::new(cx, &keys.handshake_hash);
        let server = peer.unwrap_or(relay);
        let addresses = payload.addresses4.clone();
        let open = payload.firewall == firewall::OPEN;
        let relays = payload.holepunch.as_ref().map_or(&[][..], |holepunch| &holepunch.relays);
        let relays: Vec<RelayInfo> = relays.iter().copied().filter(|r| r.relay.port != 0).collect();
        let answered =
            Answered { payload, keys, remote, sealed, relay, server, lan: false, punch: None, failed: None };
        client.phase = Phase::Answered(Box::new(answered));
        // hyperdht.80: the node that we asked is the server.
        if peer.is_none() {
            return self.open_client(cx, conn, self.status.current, Some(relay), Path::Direct);
        }
        let relayed = server != relay;
        // hyperdht.81
        if open || (relayed && relays.is_empty()) {
            let dialled = addresses.iter().find(|addr| addr.port != 0 && !is_bogon(addr.ip)).copied();
            let to = dialled.unwrap_or(server);
            if to.port != 0 {
                return self.open_client(cx, conn, self.status.current, Some(to), Path::Direct);
            }
        }
        // From here on a packet of the server's may come first. pitfalls 9.15
        self.outputs.push_back(Output::StreamExpect { conn, remote });
        // hyperdht.82
        if told_open {
            self.timers.set(Timer::Client(conn), cx.now + PASSIVE_WAIT);
            return;
        }
        // hyperdht.83
        if local_connection && relayed && reply.to.ip == server.ip {
            self.ping_lan(conn, &addresses);
        }
        let lan = self.reached(conn).is_some_and(|answered| answered.lan);
        if relays.is_empty() {
            if !lan {
                self.fail_client(conn, ConnectError::CannotHolepunch);
            }
            return;
        }
        self.begin_punch(cx, conn, &relays);
    }

    fn ping_lan(&mut self, conn: ConnId, addresses: &[Addr]) {
        let theirs: Vec<Addr> =
            addresses.iter().copied().filter(|addr| addr.port != 0 && !is_reserved(addr.ip)).collect();
        let Some(addr) = match_address(&self.local_addresses(), &theirs).or(theirs.first().copied()) else {
            return;
        };
        if let Some(answered) = self.reached(conn) {
            answered.lan = true;
            self.ask(Purpose::LanPing { conn, addr }, Ask::internal(addr, wire::dht_rpc::PING));
        }
    }

    pub(super) fn lan_answered(&mut self, cx: &mut Cx<'_>, conn: ConnId, addr: Addr, ok: bool) {
        let Some(answered) = self.reached(conn) else { return };
        answered.lan = false;
        if ok {
            return self.open_client(cx, conn, SocketId::SERVER, Some(addr), Path::Lan);
        }
        // pitfalls 8.4: the ping is an extra; a punch goes on without it.
        if answered.punch.is_none() || answered.failed.is_some() {
            let why = answered.failed.unwrap_or(ConnectError::HolepunchAborted);
            self.fail_client(conn, why);
        }
    }

    /// hyperdht.84, hyperdht.85
    fn begin_punch(&mut self, cx: &mut Cx<'_>, conn: ConnId, relays: &[RelayInfo]) {
        let Some(answered) = self.reached(conn) else { return };
        let (remote_firewall, relay) = (answered.payload.firewall, answered.relay);
        let Some(&first) = relays.first() else { return };
        let picked = relays.iter().copied().find(|info| info.relay == relay).unwrap_or(first);
        let Some(punch) = self.new_puncher(cx, Owner::Client(conn), remote_firewall) else {
            return self.fail_path(conn, ConnectError::HolepunchAborted);
        };
        let Some(answered) = self.reached(conn) else { return };
        answered.punch = Some(Punch {
            punch,
            relay: picked,
            round: 0,
            step: Step::Probe { retry: true },
            token: None,
            peer: answered.server,
        });
        self.probe_round(cx, conn, true);
    }

    fn probe_round(&mut self, cx: &mut Cx<'_>, conn: ConnId, retry: bool) {
        let fast_open = self.client(conn).is_some_and(|client| client.options.fast_open);
        let Some(answered) = self.reached(conn) else { return };
        let server = answered.server;
        let Some(punch) = &mut answered.punch else { return };
        punch.step = Step::Probe { retry };
        let (id, relay) = (punch.punch, punch.relay);
        let Some(puncher) = self.punchers.get(id) else { return };
        if fast_open && server.port != 0 {
            let socket = puncher.socket;
            self.outputs.push_back(Output::Probe { socket, to: server, ttl: Some(LOW_TTL) });
        }
        let remote_address = fast_open.then_some(server);
        let payload = HolepunchPayload { remote_address, ..self.own_view(id) };
        self.ask_round(cx, conn, relay.relay, relay.peer, payload);
    }

    /// Our firewall and addresses, as far as they are known.
    fn own_view(&self, punch: PunchId) -> HolepunchPayload {
        let Some(puncher) = self.punchers.get(punch) else { return HolepunchPayload::default() };
        HolepunchPayload {
            firewall: puncher.nat.firewall,
            addresses: puncher.nat.told_addresses(),
            ..HolepunchPayload::default()
        }
    }

    fn ask_round(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        relay: Addr,
        peer: Addr,
        payload: HolepunchPayload,
    ) {
        let Some(client) = self.client(conn) else { return };
        let target = client.target;
        let Phase::Answered(answered) = &mut client.phase else { return };
        let Some(punch) = &mut answered.punch else { return };
        let payload = HolepunchPayload { round: punch.round, ..payload };
        punch.round += 1;
        let sealed = answered.sealed.seal(cx, &payload);
        let id = answered.payload.holepunch.as_ref().map_or(0, |holepunch| holepunch.id);
        let message = Holepunch { mode: mode::FROM_CLIENT, id, payload: sealed, peer: Some(peer) };
        let puncher = punch.punch;
        let Some(puncher) = self.punchers.get(puncher) else { return };
        let ask = Ask {
            target: Some(target),
            value: Some(wire::encode(&message)),
            socket: Some(puncher.socket),
            ..Ask::new(relay, command::PEER_HOLEPUNCH)
        };
        self.ask(Purpose::Round(conn), ask);
    }

    pub(super) fn round_answered(&mut self, cx: &mut Cx<'_>, conn: ConnId, result: Result<Reply, ()>) {
        let firewalled = self.status.firewalled;
        let Some(answered) = self.reached(conn) else { return };
        let Some(punch) = &answered.punch else { return };
        let (step, id) = (punch.step, punch.punch);
        if let Step::Aborting(why) = step {
            return self.fail_path(conn, why);
        }
        let Ok(reply) = result else { return self.fail_path(conn, ConnectError::RequestTimeout) };
        let message = reply.value.as_deref().and_then(|value| wire::decode::<Holepunch>(value).ok());
        let Some(message) = message.filter(|message| message.mode == mode::REPLY) else {
            return self.fail_path(conn, ConnectError::BadHolepunchReply);
        };
        let Some(payload) = answered.sealed.open(&message.payload) else {
            return self.fail_path(conn, ConnectError::HolepunchInvalid);
        };
        if payload.error != error::NONE {
            return self.fail_path(conn, ConnectError::RemoteAborted);
        }
        let peer = message.peer.unwrap_or(reply.from);
        let echoed = match step {
            Step::Last { token } => payload.remote_token == Some(token),
            Step::Probe { .. } | Step::Wait { .. } | Step::Analyze { .. } => false,
            Step::Punching | Step::Aborting(_) => return,
        };
        let verified = if echoed { Some(answered.server.ip) } else { None };
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        puncher.update_remote(&payload, verified);
        match step {
            Step::Probe { retry } => {
                puncher.nat.add(reply.to, reply.from, firewalled);
                let wait = puncher.remote_firewall == firewall::UNKNOWN;
                let Some(answered) = self.reached(conn) else { return };
                let Some(punch) = &mut answered.punch else { return };
                (punch.token, punch.peer) = (payload.token, peer);
                // hyperdht.86
                if wait {
                    punch.step = Step::Wait { retry };
                    self.timers.set(Timer::Client(conn), cx.now + UNKNOWN_WAIT);
                } else {
                    punch.step = Step::Analyze { retry, reopened: false };
                }
                self.sampled(cx, id);
            }
            Step::Last { .. } => self.begin_punching(cx, conn, id),
            Step::Wait { .. } | Step::Analyze { .. } | Step::Punching | Step::Aborting(_) => {}
        }
    }

    fn set_step(&mut self, conn: ConnId, step: Step) {
        if let Some(punch) = self.reached(conn).and_then(|answered| answered.punch.as_mut()) {
            punch.step = step;
        }
    }

    fn begin_punching(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: PunchId) {
        let Some(puncher) = self.punchers.get(id) else { return };
        if !puncher.remote_holepunching {
            return self.fail_path(conn, ConnectError::RemoteNotHolepunching);
        }
        self.set_step(conn, Step::Punching);
        if !self.start_punching(cx, id) {
            self.fail_path(conn, ConnectError::RemoteNotHolepunchable);
        }
    }

    /// A wait is over: for the server's packet, or before looking again.
    pub(super) fn client_waited(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(answered) = self.reached(conn) else { return };
        let Some(punch) = &mut answered.punch else {
            return self.fail_client(conn, ConnectError::HolepunchAborted);
        };
        if let Step::Wait { retry } = punch.step {
            punch.step = Step::Analyze { retry, reopened: false };
            let id = punch.punch;
            self.sampled(cx, id);
        }
    }

    /// Our own NAT is analyzed as far as it will be. hyperdht.86, hyperdht.87
    pub(super) fn client_analyzed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(answered) = self.reached(conn) else { return };
        let Some(punch) = &mut answered.punch else { return };
        let Step::Analyze { retry, reopened } = punch.step else { return };
        let (id, token) = (punch.punch, punch.token);
        let Some(puncher) = self.punchers.get(id) else { return };
        let (ours, theirs) = (puncher.nat.firewall, puncher.remote_firewall);
        let consistent = puncher.is_consistent();
        if puncher.unstable() && !puncher.reopened() {
            self.set_step(conn, Step::Analyze { retry, reopened: true });
            return self.reopen(cx, id);
        }
        if reopened && consistent {
            return self.probe_round(cx, conn, false);
        }
        if (theirs == firewall::UNKNOWN || token.is_none()) && retry {
            return self.probe_round(cx, conn, false);
        }
        let random = |firewall| firewall >= firewall::RANDOM;
        if theirs == firewall::UNKNOWN || ours == firewall::UNKNOWN {
            self.abort_round(cx, conn, ConnectError::HolepunchProbeTimeout);
        } else if random(theirs) && random(ours) {
            self.abort_round(cx, conn, ConnectError::DoubleRandomizedNats);
        } else if random(theirs) || random(ours) {
            self.abort_round(cx, conn, ConnectError::RandomizedNat);
        } else {
            self.last_round(cx, conn);
        }
    }

    /// hyperdht.88
    fn last_round(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(answered) = self.reached(conn) else { return };
        let relay = answered.relay;
        let Some(punch) = &mut answered.punch else { return };
        let (id, same_relay, peer) = (punch.punch, punch.relay.relay == relay, punch.peer);
        let remote_token = punch.token;
        let moved = same_relay && answered.server != peer && peer.port != 0;
        if moved {
            answered.server = peer;
        }
        let server = answered.server;
        let token = answered.sealed.token(server);
        punch.step = Step::Last { token };
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        puncher.nat.freeze();
        if moved {
            let socket = puncher.socket;
            self.outputs.push_back(Output::Probe { socket, to: server, ttl: Some(LOW_TTL) });
        }
        let payload =
            HolepunchPayload { punching: true, token: Some(token), remote_token, ..self.own_view(id) };
        self.ask_round(cx, conn, relay, server, payload);
    }

    /// Tells the server, then fails. hyperdht.87
    fn abort_round(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: ConnectError) {
        let Some(punch) = self.reached(conn).and_then(|answered| answered.punch.as_mut()) else { return };
        punch.step = Step::Aborting(why);
        let relay = punch.relay;
        let payload = HolepunchPayload { error: error::ABORTED, ..HolepunchPayload::default() };
        self.ask_round(cx, conn, relay.relay, relay.peer, payload);
    }

    /// A byte of the server's came through: that socket and that address are the path. hyperdht.89
    pub(super) fn client_punched(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, from: Addr) {
        if self.reached(conn).is_some() && from.port != 0 {
            self.open_client(cx, conn, socket, Some(from), Path::Punched);
        }
    }

    /// The server's first packet came before anything of ours led to it.
    pub(super) fn client_called(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId) {
        let told_open = self.client(conn).is_some_and(|client| client.told_open);
        let path = match (self.sockets.contains_key(&socket), told_open) {
            (true, _) => Path::Punched,
            (false, true) => Path::Passive,
            (false, false) => Path::Lan,
        };
        if self.reached(conn).is_some() {
            self.open_client(cx, conn, socket, None, path);
        }
    }

    /// The path is found: connect the stream (to `to`, unless a packet connected it already) and say so.
    fn open_client(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, to: Option<Addr>, path: Path) {
        let pooled = self.sockets.contains_key(&socket).then_some(socket);
        self.end_client_work(conn, pooled);
        let Some(record) = self.conns.get_mut(conn) else { return };
        let Stage::Client(client) = core::mem::replace(&mut record.stage, Stage::Open { socket: pooled })
        else {
            return;
        };
        let Phase::Answered(answered) = client.phase else { return };
        if let Some(to) = to {
            self.outputs.push_back(Output::StreamConnect { conn, socket, remote: answered.remote, to });
        }
        // hyperdht.18: what the server names comes first, it knows best.
        let named = answered.payload.relay_addresses.filter(|relays| !relays.is_empty());
        let mut relays = named.unwrap_or(client.tried);
        relays.truncate(limits::HYPERDHT_RELAYS_TRIED);
        self.relay_addresses.set(client.key, relays);
        cx.trace("hyperdht", format_args!("{conn} is connected: {path:?} {to:?}"));
        self.events.push_back(Event::Connected(Connected {
            conn,
            server: None,
            initiator: true,
            remote_key: client.key,
            keys: answered.keys,
            path,
        }));
    }

    /// The punch came to nothing; a ping on the local network may still be under way.
    pub(super) fn fail_path(&mut self, conn: ConnId, why: ConnectError) {
        let Some(answered) = self.reached(conn) else { return };
        if answered.lan {
            answered.failed = Some(why);
            if let Some(punch) = &answered.punch {
                let id = punch.punch;
                self.end_puncher(id, None);
            }
            return;
        }
        self.fail_client(conn, why);
    }

    pub(super) fn fail_client(&mut self, conn: ConnId, why: ConnectError) {
        if self.client(conn).is_none() {
            return;
        }
        self.end_client_work(conn, None);
        if let Some(record) = self.conns.get_mut(conn) {
            record.stage = Stage::Ended;
        }
        self.outputs.push_back(Output::StreamDestroy { conn });
        self.events.push_back(Event::Failed { conn, why });
    }

    /// Ends all that an attempt has under way: questions, timers, its puncher with all sockets but `keep`. pitfalls 8.8
    pub(super) fn end_client_work(&mut self, conn: ConnId, keep: Option<SocketId>) {
        self.timers.clear(Timer::Attempt(conn));
        self.timers.clear(Timer::Client(conn));
        self.cancel(|purpose| match purpose {
            Purpose::FindPeer(c)
            | Purpose::Handshake { conn: c, .. }
            | Purpose::LanPing { conn: c, .. }
            | Purpose::Round(c) => *c == conn,
            _ => false,
        });
        let mut punchers = self.punchers.iter();
        let punch = punchers.find(|(_, p)| p.owner == Owner::Client(conn)).map(|(id, _)| id);
        drop(punchers);
        if let Some(punch) = punch {
            self.end_puncher(punch, keep);
        }
    }
}

/// The server's side of the handshake, if the reply is one, from the node that was asked. hyperdht.15
fn read_answer(noise: &mut Noise, relay: Addr, reply: &Reply) -> Option<(NoisePayload, Option<Addr>)> {
    let message: Handshake = wire::decode(reply.value.as_deref()?).ok()?;
    // pitfalls 7.12
    if reply.from != relay || message.mode != mode::REPLY || message.noise.is_empty() {
        return None;
    }
    let payload = noise.read(&message.noise).ok()?;
    Some((wire::decode(&payload).ok()?, message.peer))
}
