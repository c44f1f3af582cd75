//! The client: find nodes that relay for a key, shake hands through several of them at once, then make a path. Follows
//! hyperdht.11 to hyperdht.19 and hyperdht.80 to hyperdht.89.

use super::addresses::{is_bogon, is_reserved, match_address};
use super::payload::Sealed;
use super::punch::Owner;
use super::rounds::Punch;
use super::*;
use crate::crypto::noise::Noise;
use crate::wire::hyperdht::{
    Handshake, NoisePayload, RelayInfo, RelayThrough, UdxInfo, command, error, firewall, mode,
};

/// Nothing takes longer than this, but for waits. hyperdht.137
pub(super) const ATTEMPT: Span = Span::from_secs(60);
/// An open client waits so long for the server's packet. hyperdht.82
const PASSIVE_WAIT: Span = Span::from_secs(10);
/// Handshakes at one time, with and without relays known beforehand. hyperdht.13
const PARALLEL_KNOWN: usize = 3;
const PARALLEL: usize = 2;
/// What is known beforehand has so long before a walk begins beside it. hyperdht.98
const HEAD_START: Span = Span::from_millis(250);
/// An answer that takes longer does not hold up the next of those that were found. hyperdht.165
const LATE: Span = Span::from_millis(250);
/// Of the connection to a blind relay. blind_relay.21
pub const RELAY_KEEP_ALIVE: Span = Span::from_secs(5);

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
    /// Blind relays, one of which is used, unless a direct way is found first: drawn for each attempt. blind_relay.20
    pub relay_through: Vec<Key>,
    /// The keep-alive of the connection to the relay. blind_relay.21
    pub relay_keep_alive: Span,
    /// Whether the server may name the relay. Not for connections to relays. blind_relay.22
    pub follow_relay: bool,
    /// Asked when a punch is about to begin: false gives the attempt up. hyperdht.111
    pub veto: Option<Veto>,
    /// The socket is kept for the next connection to the same key, if the server agrees. hyperdht.112
    pub reusable_socket: bool,
}

impl ConnectOptions {
    pub fn new(key_pair: KeyPair) -> ConnectOptions {
        ConnectOptions {
            key_pair,
            relays: Vec::new(),
            local_connection: true,
            fast_open: true,
            relay_through: Vec::new(),
            relay_keep_alive: RELAY_KEEP_ALIVE,
            follow_relay: true,
            veto: None,
            reusable_socket: false,
        }
    }
}

#[derive(Debug)]
pub struct Client {
    pub(super) key: Key,
    pub(super) target: Key,
    pub(super) local: u32,
    pub(super) options: ConnectOptions,
    /// Our handshake says that anybody can reach us.
    pub(super) told_open: bool,
    /// The blind relay that we want.
    through: Option<RelayThrough>,
    /// Relays that were asked.
    pub(super) tried: Vec<Addr>,
    /// Relays that handshakes came through and rounds did not, what failed first, and others that may lead to the
    /// server. hyperdht.166
    pub(super) misled: Vec<Addr>,
    pub(super) failure: Option<ConnectError>,
    pub(super) spare: BTreeSet<(Key, Addr)>,
    pub(super) begun: Time,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Finding(Box<Finding>),
    /// The server has answered; the stream waits for a packet of its, and perhaps we work on a path.
    Answered(Box<Answered>),
    /// A side was busy; it begins anew in a while, by the relay that led to the server. hyperdht.137
    Waiting {
        relay: Addr,
    },
}

#[derive(Debug)]
pub(super) struct Finding {
    /// Taken when the server has answered.
    noise: Option<Noise>,
    /// Our first message, the same through every relay. hyperdht.12
    request: Option<Vec<u8>>,
    /// Relays known beforehand, asked one after the other.
    candidates: VecDeque<Addr>,
    /// All of those, and of the found ones those that were asked: to skip them among the found ones.
    known: Vec<Addr>,
    /// Where the server was reached the last time. hyperdht.97
    route: Option<Route>,
    /// Found, and waiting for a free place: the closest first. hyperdht.165
    waiting: BTreeSet<(Key, Addr)>,
    /// Those of them that were asked and have not answered.
    open: BTreeSet<(Key, Addr)>,
    pub(super) asking: usize,
    parallel: usize,
    query: Option<Tag>,
    /// Walks still to be made.
    walks: u8,
    /// The first of what was known beforehand has not failed yet, and no walk has begun beside it.
    head_start: bool,
    /// Found relays that were asked (those known beforehand not counted).
    attempts: usize,
    /// None of those found is asked before the walk is over: the order counts. hyperdht.166
    patient: bool,
}

#[derive(Debug)]
pub(super) struct Answered {
    pub(super) payload: NoisePayload,
    /// Taken when the stream was opened through a blind relay; then only a better path is looked for.
    pub(super) keys: Option<NoiseKeys>,
    pub(super) remote: u32,
    pub(super) sealed: Sealed,
    /// The relay that the handshake went through.
    pub(super) relay: Addr,
    /// The server as that relay sees it.
    pub(super) server: Addr,
    /// A ping on the local network is under way.
    pub(super) lan: bool,
    pub(super) punch: Option<Punch>,
    /// The punch has failed; the ping may still succeed.
    pub(super) failed: Option<ConnectError>,
    /// The kinds of NAT, once a punch has ended.
    pub(super) met: Option<Met>,
}

impl Finding {
    /// Relays known beforehand come first. hyperdht.13
    pub(super) fn new(noise: Noise, known: Vec<Addr>, head_start: bool) -> Finding {
        let (parallel, walks) = if known.is_empty() { (PARALLEL, 1) } else { (PARALLEL_KNOWN, 2) };
        Finding {
            noise: Some(noise),
            request: None,
            candidates: known.iter().copied().collect(),
            known,
            route: None,
            waiting: BTreeSet::new(),
            open: BTreeSet::new(),
            asking: 0,
            parallel,
            query: None,
            walks,
            head_start,
            attempts: 0,
            patient: false,
        }
    }
}

impl Finding {
    /// Begins anew with what was found before, leaving out `known`. hyperdht.166
    pub(super) fn again(
        noise: Noise,
        known: Vec<Addr>,
        waiting: BTreeSet<(Key, Addr)>,
        patient: bool,
    ) -> Finding {
        Finding { known, waiting, patient, ..Finding::new(noise, Vec::new(), false) }
    }
}

impl HyperDht {
    /// Begins to connect to whoever listens for `key`. Ends with `Event::Connected` or `Event::Failed`.
    pub fn connect(&mut self, cx: &mut Cx<'_>, key: Key, options: ConnectOptions) -> ConnId {
        let target = target(&key);
        let noise = self.first_message(cx, &key, &options);
        // hyperdht.11: given relays, else those of the last time; if we keep the announcement ourselves, its relay.
        let mut known = options.relays.clone();
        if known.is_empty() {
            known = self.relay_addresses.get(&key).cloned().unwrap_or_default();
        }
        if self.storage.is_some()
            && let Some(forward) = self.forwards.get(&target)
        {
            known = vec![forward.relay];
        }
        let route = self.route(&key, options.reusable_socket);
        if let Some(route) = route {
            known.retain(|relay| *relay != route.addr);
            known.insert(0, route.addr);
        }
        known.retain(|relay| relay.port != 0);
        known.truncate(limits::HYPERDHT_RELAYS_TRIED);
        // What only the caller names has not led anywhere yet.
        let head_start = options.relays.is_empty() && !known.is_empty();
        let finding = Finding { route, ..Finding::new(noise, known, head_start) };
        let through = through::draw(cx, &options.relay_through);
        let client = Client {
            through,
            key,
            target,
            local: 0,
            options,
            told_open: false,
            tried: Vec::new(),
            misled: Vec::new(),
            failure: None,
            spare: BTreeSet::new(),
            begun: cx.now,
            phase: Phase::Finding(Box::new(finding)),
        };
        let (conn, local) = self.open_stream(cx, Stage::Client(Box::new(client)));
        if let Some(client) = self.client(conn) {
            client.local = local;
        }
        self.stats.connects += 1;
        trace!(cx, State, "hyperdht", id: conn, peer: Short(&key), rule: "hyperdht.10 hyperdht.11", "begins");
        self.timers.set(Timer::Attempt(conn), cx.now + ATTEMPT);
        if head_start {
            self.timers.set(Timer::Walk(conn), cx.now + HEAD_START);
        }
        if self.suspended {
            let why = if self.ended { ConnectError::Destroyed } else { ConnectError::Suspended };
            self.fail_client(conn, why); // hyperdht.113
        }
        self.ask_next_candidate(cx, conn);
        self.find(cx, conn);
        conn
    }

    /// What makes the first message of a handshake with `key`.
    pub(super) fn first_message(&mut self, cx: &mut Cx<'_>, key: &Key, options: &ConnectOptions) -> Noise {
        let prologue = namespace(command::PEER_HANDSHAKE);
        let mut noise = Noise::ik_initiator(cx.entropy, &options.key_pair, key, &prologue);
        if self.relay_addresses.get(key).is_some() {
            noise.trust_remote(); // a handshake with it was finished before
        }
        noise
    }

    pub(super) fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        match &mut self.conns.get_mut(conn)?.stage {
            Stage::Client(client) => Some(client),
            Stage::Session { .. } | Stage::Open { .. } | Stage::Ended => None,
        }
    }

    fn finding(&mut self, conn: ConnId) -> Option<&mut Finding> {
        match &mut self.client(conn)?.phase {
            Phase::Finding(finding) => Some(finding),
            Phase::Answered(_) | Phase::Waiting { .. } => None,
        }
    }

    pub(super) fn reached(&mut self, conn: ConnId) -> Option<&mut Answered> {
        match &mut self.client(conn)?.phase {
            Phase::Answered(answered) => Some(answered),
            Phase::Finding(_) | Phase::Waiting { .. } => None,
        }
    }

    /// Walks wait until the node has a routing table.
    pub(super) fn clients_may_find(&mut self, cx: &mut Cx<'_>) {
        for conn in self.conns.ids() {
            self.find(cx, conn);
        }
    }

    /// Goes on with finding: ask relays that wait, begin the next walk, or give up. hyperdht.13, hyperdht.14
    pub(super) fn find(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.finding(conn).is_some_and(|finding| finding.patient) {
            return self.walk_first(conn);
        }
        while let Some(finding) = self.finding(conn) {
            if finding.asking >= finding.parallel {
                return;
            }
            let Some((far, relay)) = finding.waiting.pop_first() else { break };
            finding.open.insert((far, relay));
            finding.asking += 1;
            finding.attempts += 1;
            finding.known.push(relay);
            self.timers.set(Timer::Late(conn), cx.now + LATE);
            self.shake_hands(cx, conn, relay, false);
        }
        let bootstrapped = self.bootstrapped;
        let Some(client) = self.client(conn) else { return };
        let target = client.target;
        let Phase::Finding(finding) = &mut client.phase else { return };
        if finding.query.is_some() || !finding.waiting.is_empty() || finding.head_start {
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

    /// hyperdht.166
    fn walk_first(&mut self, conn: ConnId) {
        let Some(client) = self.client(conn) else { return };
        let target = client.target;
        let Phase::Finding(finding) = &mut client.phase else { return };
        if finding.query.is_some() {
            return;
        }
        finding.walks = 0;
        let query = Query { sends: 4, ..Query::new(target, command::FIND_PEER, None) };
        let tag = self.query(Purpose::FindPeer(conn), query);
        if let Some(finding) = self.finding(conn) {
            finding.query = Some(tag);
        }
    }

    pub(super) fn peer_found(&mut self, cx: &mut Cx<'_>, conn: ConnId, reply: &Reply) {
        let Some((key, target)) = self.client(conn).map(|client| (client.key, client.target)) else { return };
        let Some(finding) = self.finding(conn) else { return };
        let Some(value) = &reply.value else { return };
        // hyperdht.150
        let named = wire::decode::<Peer>(value).is_ok_and(|peer| peer.key == key);
        if reply.error != 0 || !named || reply.from.port == 0 {
            return;
        }
        if finding.known.contains(&reply.from) {
            return;
        }
        let far = reply.id.map_or([0xff; 32], |id| core::array::from_fn(|n| id[n] ^ target[n]));
        finding.waiting.insert((far, reply.from));
        while finding.known.len() + finding.waiting.len() > limits::HYPERDHT_RELAYS_TRIED {
            if finding.waiting.pop_last().is_none() {
                break;
            }
        }
        self.find(cx, conn);
    }

    /// Nobody has answered for a while: the next is asked beside those. hyperdht.165
    pub(super) fn widen(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(finding) = self.finding(conn) else { return };
        finding.parallel = finding.parallel.max(finding.asking + 1);
        self.find(cx, conn);
    }

    pub(super) fn find_ended(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(finding) = self.finding(conn) else { return };
        (finding.query, finding.patient) = (None, false);
        self.find(cx, conn);
    }

    /// The next of the relays known beforehand; all of them together take one of the parallel places.
    pub(super) fn ask_next_candidate(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(finding) = self.finding(conn) else { return };
        let Some(relay) = finding.candidates.pop_front() else { return };
        finding.asking += 1;
        self.shake_hands(cx, conn, relay, true);
    }

    /// What was known beforehand has failed or takes too long: the next of it is asked as well, and a walk begins.
    /// hyperdht.98
    pub(super) fn end_head_start(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.timers.clear(Timer::Walk(conn));
        let Some(key) = self.client(conn).map(|client| client.key) else { return };
        let Some(finding) = self.finding(conn) else { return };
        if core::mem::take(&mut finding.head_start) {
            self.routes.remove(&key); // hyperdht.97
        }
        self.ask_next_candidate(cx, conn);
        self.find(cx, conn);
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
                udx: Some(UdxInfo {
                    id: client.local,
                    reusable_socket: client.options.reusable_socket,
                    ..UdxInfo::default()
                }),
                secret_stream: Some(1),
                relay_through: client.through.clone(),
                ..NoisePayload::default()
            };
            let request = finding.noise.as_mut().and_then(|noise| noise.write(&wire::encode(&payload)).ok());
            if request.is_none() {
                // The key is not a point: nobody can listen for it.
                return self.fail_client(conn, ConnectError::HandshakeInvalid);
            }
            finding.request = request;
            if let Some(noise) = &finding.noise {
                noise.log(cx.trace); // key_log.4
            }
        }
        let route = finding.route;
        let noise = finding.request.clone().unwrap_or_default();
        let message = Handshake { mode: mode::FROM_CLIENT, noise, peer: None, relay: None };
        let ask = Ask {
            target: Some(target),
            value: Some(wire::encode(&message)),
            ..Ask::new(relay, command::PEER_HANDSHAKE)
        };
        trace!(cx, Step, "hyperdht", id: conn, peer: relay, rule: "hyperdht.12", "shakes hands through it");
        // hyperdht.112: the way that a socket of ours opened is open to that socket only.
        let ask =
            Ask { socket: route.filter(|route| route.addr == relay).and_then(|route| route.socket), ..ask };
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
        finding.open.retain(|(_, addr)| *addr != relay);
        let answer = result.ok().and_then(|reply| {
            let payload = read_answer(finding.noise.as_mut()?, relay, &reply)?;
            Some((payload, reply))
        });
        let Some(((payload, peer), reply)) = answer else {
            if candidate {
                return self.end_head_start(cx, conn);
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
        self.timers.clear(Timer::Walk(conn));
        self.timers.clear(Timer::Late(conn));
        let Some(client) = self.client(conn) else { return };
        let (local_connection, told_open) = (client.options.local_connection, client.told_open);
        let target = client.target;
        let Phase::Finding(finding) = &mut client.phase else { return };
        let route = finding.route;
        client.spare = core::mem::take(&mut finding.waiting);
        client.spare.append(&mut finding.open);
        let noise = finding.noise.take().inspect(|noise| noise.log(cx.trace)); // key_log.4
        let Some(keys) = noise.and_then(|noise| noise.finish().ok()) else {
            return self.fail_client(conn, ConnectError::HandshakeInvalid);
        };
        let sealed = Sealed::new(cx, &target, &keys.handshake_hash);
        let server = peer.unwrap_or(relay);
        let addresses = payload.addresses4.clone();
        let open = payload.firewall == firewall::OPEN;
        let relays = payload.holepunch.as_ref().map_or(&[][..], |holepunch| &holepunch.relays);
        let relays: Vec<RelayInfo> = relays.iter().copied().filter(|r| r.relay.port != 0).collect();
        let theirs = payload.relay_through.as_ref().filter(|_| client.options.follow_relay);
        let chosen = through::choose(client.through.as_ref(), theirs, false);
        let keep_alive = client.options.relay_keep_alive;
        let keys = Some(keys);
        let answered = Answered {
            payload,
            keys,
            remote,
            sealed,
            relay,
            server,
            lan: false,
            punch: None,
            failed: None,
            met: None,
        };
        trace!(
            cx, State, "hyperdht", id: conn, peer: server, rule: "hyperdht.15",
            "the server answered through {relay}: firewall {}, {} relays for punching, {} addresses",
            firewall_name(answered.payload.firewall), relays.len(), addresses.len()
        );
        client.phase = Phase::Answered(Box::new(answered));
        // hyperdht.80: the node that we asked is the server.
        if peer.is_none() {
            let pooled = route.filter(|route| route.addr == relay).and_then(|route| route.socket);
            let path = if pooled.is_some() { Path::Punched } else { Path::Direct };
            return self.open_client(cx, conn, pooled.unwrap_or(self.status.current), Some(relay), path);
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
        self.begin_relay(cx, conn, remote, chosen, keep_alive);
        // hyperdht.82
        if told_open {
            trace!(cx, Step, "hyperdht", id: conn, rule: "hyperdht.82", "waits for the server's packet");
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
            match answered.failed {
                Some(ConnectError::TryLater) => self.come_back(cx, conn),
                why => self.fail_client(conn, why.unwrap_or(ConnectError::HolepunchAborted)),
            }
        }
    }

    /// The server's first packet came before anything of ours led to it.
    pub(super) fn client_called(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, from: Addr) {
        let told_open = self.client(conn).is_some_and(|client| client.told_open);
        let path = match (self.sockets.contains_key(&socket), told_open) {
            (true, _) => Path::Punched,
            (false, true) => Path::Passive,
            (false, false) => Path::Lan,
        };
        if self.reached(conn).is_some() {
            let to = self.is_relayed(conn).then_some(from);
            self.open_client_at(cx, conn, socket, to, Some(from), path);
        }
    }

    /// The stream was opened through a blind relay; the search for a better path goes on. blind_relay.24
    pub(super) fn client_relayed(&mut self, conn: ConnId) {
        let Some(client) = self.client(conn) else { return };
        let (key, tried) = (client.key, core::mem::take(&mut client.tried));
        let Phase::Answered(answered) = &mut client.phase else { return };
        let Some(keys) = answered.keys.take() else { return };
        let named = answered.payload.relay_addresses.take();
        let over = answered.failed.is_some() && !answered.lan;
        self.tell_connected(conn, key, keys, Path::Relayed, named, tried);
        if over {
            self.settle_for_relay(conn);
        }
    }

    /// No better path than the relay was found. blind_relay.24
    fn settle_for_relay(&mut self, conn: ConnId) {
        self.end_client_work(conn, None);
        if let Some(record) = self.conns.get_mut(conn) {
            record.stage = Stage::Open { socket: None };
        }
    }

    /// The blind relay cannot be had. blind_relay.23
    pub(super) fn client_lost_relay(&mut self, conn: ConnId) {
        if self.reached(conn).is_some_and(|answered| answered.failed.is_some() && !answered.lan) {
            self.fail_client(conn, ConnectError::RelayAborted);
        }
    }

    fn tell_connected(
        &mut self,
        conn: ConnId,
        key: Key,
        keys: NoiseKeys,
        path: Path,
        named: Option<Vec<Addr>>,
        tried: Vec<Addr>,
    ) {
        // hyperdht.18: what the server names comes first, it knows best.
        let mut relays = named.filter(|relays| !relays.is_empty()).unwrap_or(tried);
        relays.truncate(limits::HYPERDHT_RELAYS_TRIED);
        self.relay_addresses.set(key, relays);
        self.events.push_back(Event::Connected(Connected {
            conn,
            server: None,
            initiator: true,
            remote_key: key,
            keys,
            path,
        }));
    }

    /// The path is found: connect the stream to `to`, and say so.
    pub(super) fn open_client(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        socket: SocketId,
        to: Option<Addr>,
        path: Path,
    ) {
        self.open_client_at(cx, conn, socket, to, None, path);
    }

    /// The same; without `to` a packet that came from `from` has connected the stream already.
    fn open_client_at(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        socket: SocketId,
        to: Option<Addr>,
        from: Option<Addr>,
        path: Path,
    ) {
        let pooled = self.sockets.contains_key(&socket).then_some(socket);
        if let Some(pooled) = pooled {
            self.timers.clear(Timer::Socket(pooled)); // hyperdht.112
        }
        self.end_client_work(conn, pooled);
        let Some(record) = self.conns.get_mut(conn) else { return };
        let Stage::Client(client) = core::mem::replace(&mut record.stage, Stage::Open { socket: pooled })
        else {
            return;
        };
        let Phase::Answered(answered) = client.phase else { return };
        let Some(keys) = answered.keys else {
            return to.into_iter().for_each(|to| self.upgrade(cx, conn, socket, to, path));
        };
        self.end_relay(conn);
        if let Some(to) = to {
            self.outputs.push_back(Output::StreamConnect { conn, socket, remote: answered.remote, to });
            if pooled.is_none() {
                self.routes.set(client.key, Route { addr: to, socket: None }); // hyperdht.97
            }
        }
        let udx = answered.payload.udx.as_ref();
        if client.options.reusable_socket && udx.is_some_and(|udx| udx.reusable_socket) {
            self.keep_route(client.key, pooled, to.or(from));
        }
        trace!(cx, State, "hyperdht", id: conn, rule: path.rule(), "connected: {path:?}, from {socket}");
        let named = answered.payload.relay_addresses;
        self.tell_connected(conn, client.key, keys, path, named, client.tried);
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
        // blind_relay.23, blind_relay.24: without a direct path there may still be the relay.
        if self.is_relayed(conn) {
            return self.settle_for_relay(conn);
        }
        let unheard = matches!(
            why,
            ConnectError::PeerNotFound | ConnectError::PeerConnectionFailed | ConnectError::TimedOut
        );
        let first = self.client(conn).and_then(|client| client.failure).filter(|_| unheard);
        let why = first.unwrap_or(why); // hyperdht.166
        self.end_client_work(conn, None);
        if self.asks_relay(conn)
            && let Some(answered) = self.reached(conn)
        {
            answered.failed = Some(why);
            return;
        }
        let met = self.reached(conn).and_then(|answered| answered.met);
        if let Some(record) = self.conns.get_mut(conn) {
            record.stage = Stage::Ended;
        }
        self.outputs.push_back(Output::StreamDestroy { conn });
        self.events.push_back(Event::Failed { conn, why, met });
    }

    /// Ends all that an attempt has under way: questions, timers, its puncher with all sockets but `keep`. pitfalls 8.8
    pub(super) fn end_client_work(&mut self, conn: ConnId, keep: Option<SocketId>) {
        self.timers.clear(Timer::Attempt(conn));
        self.timers.clear(Timer::Client(conn));
        self.timers.clear(Timer::Walk(conn));
        self.timers.clear(Timer::Late(conn));
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
