//! Calls of a server: one handshake per caller, whatever number of relays it came through; then wait for the caller's
//! packets, dial it, or punch. Follows hyperdht.30 to hyperdht.38. Read `listen.rs` first; the rounds are in
//! `serve.rs`.

use super::addresses::{is_private, match_address};
use super::knock::Knocking;
use super::later::KEPT;
use super::payload::Sealed;
use super::punch::Owner;
use super::*;
use crate::crypto::noise::{Noise, Unproven};
use crate::wire::hyperdht::{HolepunchInfo, NoisePayload, UdxInfo, command, error, firewall};

/// A handshake that has led to no packet of the caller's by then is given up. hyperdht.36
pub(super) const ABORT: Span = Span::from_secs(10);
/// A handshake is remembered so long after its outcome, unless a server's options say else. hyperdht.36
pub(super) const CLEAR: Span = Span::from_secs(10);

/// One caller's handshake.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) message: Key,
    /// The host that it counts for.
    pub(super) host: [u8; 4],
    /// What every copy of the message is answered with.
    pub(super) reply: Vec<u8>,
    /// Answers leave from the puncher's socket, so that the relay tells the caller that socket's address. hyperdht.38
    pub(super) reply_from: Option<SocketId>,
    pub(super) conn: Option<ConnId>,
    /// We sent to an address that we have from others, and do not know whether anybody is there.
    pub(super) dialled: bool,
    pub(super) stage: Progress,
}

impl Session {
    /// One that holds nothing yet.
    pub(super) fn new(message: Key, host: [u8; 4]) -> Session {
        Session {
            message,
            host,
            reply: Vec::new(),
            reply_from: None,
            conn: None,
            dialled: false,
            stage: Progress::Decided,
        }
    }

    pub(super) fn weight(&self) -> Weight {
        let pending = matches!(self.stage, Progress::Pending(_) | Progress::Knocking(_));
        let punching = matches!(&self.stage, Progress::Pending(pending) if pending.punch.is_some());
        Weight { unproven: usize::from(self.dialled || pending), punching: usize::from(punching) }
    }
}

/// What handshakes weigh against the bounds of `room_for_session`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Weight {
    /// Nothing proves yet that there is a caller.
    pub(super) unproven: usize,
    pub(super) punching: usize,
}

/// How many handshakes there are of each kind, kept so that a new one need not look at all others.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) unproven: usize,
    pub(super) hosts: BTreeMap<[u8; 4], Weight>,
    /// Handshakes with an outcome and when they are forgotten, oldest first; some are forgotten already.
    pub(super) decided: VecDeque<(Time, ServerId, SessionId)>,
}

impl Census {
    pub(super) fn moved(&mut self, host: [u8; 4], before: Weight, after: Weight) {
        if before == after {
            return;
        }
        self.unproven = self.unproven + after.unproven - before.unproven;
        let of_host = self.hosts.entry(host).or_default();
        of_host.unproven = of_host.unproven + after.unproven - before.unproven;
        of_host.punching = of_host.punching + after.punching - before.punching;
        if *of_host == Weight::default() {
            self.hosts.remove(&host);
        }
    }
}

#[derive(Debug)]
pub(super) enum Progress {
    /// The program has not said whether the caller may come in. See `knock.rs`.
    Knocking(Box<Knocking>),
    /// The caller's stream has not shown itself.
    Pending(Box<Pending>),
    /// Connected, refused or given up: kept only to answer further copies.
    Decided,
}

#[derive(Debug)]
pub(super) struct Pending {
    /// Taken when the stream was opened through a blind relay; then only a better path is looked for.
    pub(super) keys: Option<NoiseKeys>,
    /// Asked about when the caller shows itself: its answer does not wait for that. noise.5
    pub(super) unproven: Unproven,
    pub(super) sealed: Sealed,
    pub(super) punch: Option<PunchId>,
    pub(super) round: u64,
    /// Rounds that wait for the analysis of our NAT.
    pub(super) waiting: Vec<Round>,
    /// Its packets would come to an address that anybody can reach.
    pub(super) open: bool,
    /// Both sides keep sockets that punched. hyperdht.112
    pub(super) reusable: bool,
}

/// A handshake as it came in, and the way back to the caller.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) request: Request,
    /// The caller as its relay sees it; none if the request came from the caller itself.
    pub(super) client: Option<Addr>,
    /// Where the answer goes.
    pub(super) back: Addr,
}

/// What is known of a caller once its message was read.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) noise: Noise,
    pub(super) payload: NoisePayload,
    /// The hash of its message.
    pub(super) message: Key,
    /// The host that it counts for.
    pub(super) host: [u8; 4],
    /// Its handshake, if it is remembered already.
    pub(super) session: Option<SessionId>,
}

/// A holepunch round that is being answered.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) request: Request,
    pub(super) client: Addr,
    pub(super) remote_address: Option<Addr>,
    /// Our token for the client's host, if the request came through a relay of ours.
    pub(super) token: Option<Key>,
    pub(super) remote_token: Option<Key>,
}

impl HyperDht {
    /// Our side of a handshake, and the socket it must leave from; `None`: no answer, or not yet. hyperdht.30
    pub(super) fn answer_handshake(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        message: &[u8],
        call: &Call,
    ) -> Option<(Vec<u8>, Option<SocketId>)> {
        let hash = hash::blake2b_256(&[message]);
        let record = self.servers.get(server)?;
        // pitfalls 7.1: a copy through another relay is the same handshake and gets the same reply.
        if let Some(&session) = record.by_message.get(&hash) {
            return self.answer_copy(server, session, call);
        }
        let host = match call.client {
            Some(client) if record.announcer.is_relay(call.request.from) => client.ip,
            _ => call.request.from.ip,
        };
        // Before any costly work; what the message asks for is not known yet.
        if record.asleep || !self.room_for_session(host, false) {
            self.stats.handshakes_dropped += 1;
            return None;
        }
        let record = self.servers.get(server)?;
        let prologue = namespace(command::PEER_HANDSHAKE);
        let mut noise = Noise::ik_responder(cx.entropy, &record.options.key_pair, &prologue);
        let payload =
            noise.read(message).ok().and_then(|payload| wire::decode::<NoisePayload>(&payload).ok());
        let (Some(payload), Some(remote_key)) = (payload, noise.remote_public()) else {
            self.malformed();
            return None;
        };
        let allowed = record.allowed.as_ref().is_none_or(|keys| keys.contains(&remote_key));
        if !allowed || record.denied.contains(&remote_key) {
            self.stats.denied += 1;
            self.events.push_back(Event::Denied { server, key: remote_key });
            return None;
        }
        let gate = record.options.gate;
        let arrival = Arrival { noise, payload, message: hash, host, session: None };
        if gate {
            self.knock(cx, server, remote_key, arrival, call);
            return None;
        }
        self.let_in(cx, server, arrival, call)
    }

    /// A message that was seen before. hyperdht.30
    fn answer_copy(
        &mut self,
        server: ServerId,
        session: SessionId,
        call: &Call,
    ) -> Option<(Vec<u8>, Option<SocketId>)> {
        let entry = self.session(server, session)?;
        if let Progress::Knocking(knocking) = &mut entry.stage {
            knocking.add(call);
            return None;
        }
        // hyperdht.110: without a reply it was turned away.
        let reply = Some(entry.reply.clone()).filter(|reply| !reply.is_empty())?;
        let socket = entry.reply_from;
        Some((reply, socket.filter(|socket| self.sockets.contains_key(socket))))
    }

    /// The caller may come in: serve it, or say why not.
    pub(super) fn let_in(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        arrival: Arrival,
        call: &Call,
    ) -> Option<(Vec<u8>, Option<SocketId>)> {
        match (arrival.payload.version, &arrival.payload.udx) {
            (1, Some(udx)) => {
                let remote = udx.id;
                self.accept(cx, server, arrival, remote, call)
            }
            (1, None) => Self::refuse_caller(cx, arrival.noise, error::ABORTED),
            _ => Self::refuse_caller(cx, arrival.noise, error::VERSION_MISMATCH),
        }
    }

    /// pitfalls 7.4: what a flood of messages can hold is bounded, in all and for one host. Handshakes with an outcome
    /// make room for new ones.
    pub(super) fn room_for_session(&mut self, host: [u8; 4], punch: bool) -> bool {
        let of_host = self.census.hosts.get(&host).copied().unwrap_or_default();
        if self.census.unproven >= limits::HYPERDHT_SESSIONS_UNPROVEN
            || of_host.unproven >= limits::HYPERDHT_SESSIONS_PER_HOST
            || punch && of_host.punching >= limits::HYPERDHT_PUNCHES_PER_HOST
        {
            return false;
        }
        if self.sessions() >= limits::HYPERDHT_SESSIONS {
            let Some((_, server, id)) = self.oldest_decided() else { return false };
            self.clear_session(server, id);
        }
        true
    }

    /// The handshake with an outcome that is forgotten next.
    pub(super) fn oldest_decided(&mut self) -> Option<(Time, ServerId, SessionId)> {
        while let Some(&(at, server, id)) = self.census.decided.front() {
            if self.timers.get(Timer::SessionClear(server, id)) == Some(at) {
                return Some((at, server, id));
            }
            self.census.decided.pop_front();
        }
        None
    }

    /// A handshake has its outcome, and is remembered for a while. hyperdht.36
    pub(super) fn remember(&mut self, cx: &mut Cx<'_>, server: ServerId, session: SessionId) {
        let wait = self.servers.get(server).map_or(CLEAR, |record| record.options.handshake_clear);
        let at = cx.now + wait;
        self.timers.set(Timer::SessionClear(server, session), at);
        self.oldest_decided(); // those that are forgotten leave the list
        // One that was dialled stays in the count of the unproven until its time has come.
        if self.session(server, session).is_some_and(|entry| !entry.dialled) {
            self.census.decided.push_back((at, server, session));
        }
    }

    /// A caller that cannot be served is told why. Not remembered: a copy is told again. hyperdht.37
    pub(super) fn refuse_caller(
        cx: &mut Cx<'_>,
        mut noise: Noise,
        error: u64,
    ) -> Option<(Vec<u8>, Option<SocketId>)> {
        let payload = NoisePayload {
            error,
            udx: Some(UdxInfo::default()),
            secret_stream: Some(1),
            ..NoisePayload::default()
        };
        let reply = noise.write(&wire::encode(&payload)).ok();
        noise.log(cx.trace); // key_log.4
        reply.map(|reply| (reply, None))
    }

    fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        arrival: Arrival,
        remote_id: u32,
        call: &Call,
    ) -> Option<(Vec<u8>, Option<SocketId>)> {
        let Arrival { mut noise, payload, message, host, session } = arrival;
        let (client, request) = (call.client, &call.request);
        let record = self.servers.get(server)?;
        let (share, may_punch) = (record.options.share_local_address, record.options.holepunch);
        let plan = self.plan(&payload, client, request, share, may_punch);
        let punching = matches!(plan, Plan::Punch { .. });
        if punching && !self.room_for_session(host, true) {
            self.stats.handshakes_dropped += 1;
            return None;
        }
        let session = match session {
            Some(session) => session,
            None => self.servers.get_mut(server)?.sessions.insert(Session::new(message, host)),
        };
        let punch = if punching {
            let punch = self.new_puncher(cx, Owner::Session(server, session), payload.firewall);
            if punch.is_none() {
                self.stats.handshakes_dropped += 1;
                self.forget(server, session);
                return None;
            }
            punch
        } else {
            None
        };
        let (conn, local) = self.open_stream(cx, Stage::Session { server, session });
        // blind_relay.22: who can be reached by anybody needs no relay.
        let relayable = self.status.remote.is_none()
            && matches!(plan, Plan::Wait | Plan::Punch { .. })
            && client.is_some();
        let options = self.servers.get(server).map(|record| &record.options).filter(|_| relayable);
        let keep_alive = options.map_or(Span::ZERO, |options| options.relay_keep_alive);
        let ours = options.and_then(|options| through::draw(cx, &options.relay_through));
        let chosen =
            through::choose(ours.as_ref(), payload.relay_through.as_ref(), true).filter(|_| relayable);
        let reply =
            NoisePayload { relay_through: ours, ..self.server_payload(server, session, local, request.from) };
        let reply = noise.write(&wire::encode(&reply)).ok();
        noise.log(cx.trace); // key_log.4
        let answer = reply.zip(noise.finish_unproven().ok());
        let entry = self.session(server, session)?;
        entry.conn = Some(conn);
        let Some((reply, (keys, unproven))) = answer else {
            self.drop_session(cx, server, session);
            self.forget(server, session);
            return None;
        };
        let target = self.servers.get(server)?.target;
        let sealed = Sealed::new(cx, &target, &keys.handshake_hash);
        let open = self.status.remote.is_some() || client.is_none();
        let reply_from = match plan {
            Plan::Punch { from_puncher: true } => {
                punch.and_then(|punch| self.punchers.get(punch)).map(|puncher| puncher.socket)
            }
            Plan::Punch { from_puncher: false } | Plan::Wait | Plan::Dial(_) => None,
        };
        let record = self.servers.get_mut(server)?;
        let reusable =
            record.options.reusable_socket && payload.udx.as_ref().is_some_and(|udx| udx.reusable_socket);
        record.by_message.insert(message, session);
        record.by_slot.insert(session.slot(), session);
        let entry = record.sessions.get_mut(session)?;
        let before = entry.weight();
        entry.reply = reply.clone();
        entry.reply_from = reply_from;
        entry.stage = Progress::Pending(Box::new(Pending {
            keys: Some(keys),
            unproven,
            sealed,
            punch,
            round: 0,
            waiting: Vec::new(),
            open,
            reusable,
        }));
        entry.dialled = matches!(plan, Plan::Dial(_));
        self.census.moved(host, before, entry.weight());
        let from = request.from;
        trace!(
            cx, State, "hyperdht", id: conn, peer: from, rule: "hyperdht.38",
            "handshake with {server} {session}, {}, firewall {}, plan: {plan}",
            Caller(client), firewall_name(payload.firewall)
        );
        match plan {
            Plan::Dial(to) => {
                let socket = self.status.current;
                self.outputs.push_back(Output::StreamConnect { conn, socket, remote: remote_id, to });
                self.session_open(cx, server, session, conn, None, Path::Direct, (socket, to));
            }
            Plan::Wait | Plan::Punch { .. } => {
                self.outputs.push_back(Output::StreamExpect { conn, remote: remote_id });
                self.timers.set(Timer::SessionAbort(server, session), cx.now + ABORT);
                self.begin_relay(cx, conn, remote_id, chosen, keep_alive);
            }
        }
        Some((reply, reply_from))
    }

    /// What a caller is told that came through `from`.
    pub(super) fn server_payload(
        &self,
        server: ServerId,
        session: SessionId,
        local: u32,
        from: Addr,
    ) -> NoisePayload {
        let remote = self.status.remote;
        let record = self.servers.get(server);
        let announcer = record.map(|record| &record.announcer);
        let share = record.is_some_and(|record| record.options.share_local_address);
        let reusable_socket = record.is_some_and(|record| record.options.reusable_socket);
        let told = announcer.map(|announcer| announcer.told(from, remote));
        let (relays, relay_addresses) = told.unwrap_or_default();
        let listening = announcer.is_some_and(|announcer| !announcer.relay_addresses.is_empty());
        NoisePayload {
            firewall: if remote.is_some() { firewall::OPEN } else { firewall::UNKNOWN },
            holepunch: remote.is_none().then(|| HolepunchInfo { id: session.slot().into(), relays }),
            addresses4: self.own_addresses(share),
            udx: Some(UdxInfo { id: local, reusable_socket, ..UdxInfo::default() }),
            secret_stream: Some(1),
            relay_addresses: listening.then_some(relay_addresses),
            ..NoisePayload::default()
        }
    }

    /// What to do besides answering. hyperdht.38
    fn plan(
        &self,
        payload: &NoisePayload,
        client: Option<Addr>,
        request: &Request,
        share: bool,
        may_punch: bool,
    ) -> Plan {
        // The caller talks to us already: its stream will come the same way, and proves its address by that.
        let Some(client) = client else { return Plan::Wait };
        if payload.firewall == firewall::OPEN {
            return if client.port == 0 { Plan::Wait } else { Plan::Dial(client) };
        }
        if self.status.remote.is_some() {
            return Plan::Wait;
        }
        if client.ip == request.to.ip && share {
            let theirs: Vec<Addr> =
                payload.addresses4.iter().copied().filter(|addr| is_private(addr.ip)).collect();
            if match_address(&self.local_addresses(), &theirs).is_some() {
                return Plan::Punch { from_puncher: false };
            }
        }
        if may_punch { Plan::Punch { from_puncher: true } } else { Plan::Wait }
    }

    pub(super) fn session(&mut self, server: ServerId, session: SessionId) -> Option<&mut Session> {
        self.servers.get_mut(server)?.sessions.get_mut(session)
    }

    pub(super) fn pending(&mut self, server: ServerId, session: SessionId) -> Option<&mut Pending> {
        match &mut self.session(server, session)?.stage {
            Progress::Pending(pending) => Some(pending),
            Progress::Knocking(_) | Progress::Decided => None,
        }
    }

    /// The caller's first packet came.
    pub(super) fn session_called(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        conn: ConnId,
        socket: SocketId,
        from: Addr,
    ) {
        let Some(pending) = self.pending(server, session) else { return };
        let open = pending.open;
        let pooled = self.sockets.contains_key(&socket).then_some(socket);
        let path = match (pooled, open) {
            (Some(_), _) => Path::Punched,
            (None, true) => Path::Passive,
            (None, false) => Path::Lan,
        };
        self.session_open(cx, server, session, conn, pooled, path, (socket, from));
    }

    /// The stream was opened through a blind relay; the search for a better path goes on. blind_relay.24
    pub(super) fn session_relayed(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        conn: ConnId,
    ) {
        let Some(pending) = self.pending(server, session) else { return };
        if !pending.unproven.are_usable() {
            self.malformed();
            self.end_relay(conn);
            return self.abort_session(cx, server, session);
        }
        let Some(keys) = pending.keys.take() else { return };
        let punch = pending.punch.is_some();
        let waits = self.timers.get(Timer::SessionAbort(server, session)).is_some();
        let over = !punch && !waits;
        // hyperdht.138: the caller may have to wait for its turn.
        if punch && waits {
            self.timers.set(Timer::SessionAbort(server, session), cx.now + KEPT);
        }
        self.tell_accepted(cx, server, conn, keys, Path::Relayed);
        if over {
            self.abort_session(cx, server, session);
        }
    }

    /// The blind relay cannot be had. blind_relay.23
    pub(super) fn session_lost_relay(&mut self, cx: &mut Cx<'_>, server: ServerId, session: SessionId) {
        let Some(pending) = self.pending(server, session) else { return };
        if pending.punch.is_none() && self.timers.get(Timer::SessionAbort(server, session)).is_none() {
            self.abort_session(cx, server, session);
        }
    }

    pub(super) fn tell_accepted(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        conn: ConnId,
        keys: NoiseKeys,
        path: Path,
    ) {
        self.stats.accepts += 1;
        trace!(cx, State, "hyperdht", id: conn, rule: "hyperdht.31", "connected: {path:?}, called {server}");
        let remote_key = keys.remote_public;
        let server = Some(server);
        self.events.push_back(Event::Connected(Connected {
            conn,
            server,
            initiator: false,
            remote_key,
            keys,
            path,
        }));
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn session_open(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        conn: ConnId,
        pooled: Option<SocketId>,
        path: Path,
        at: (SocketId, Addr),
    ) {
        let Some(pending) = self.pending(server, session) else { return };
        if !pending.unproven.are_usable() {
            self.malformed();
            self.end_relay(conn);
            return self.abort_session(cx, server, session);
        }
        let Some(entry) = self.servers.get_mut(server).and_then(|record| record.sessions.get_mut(session))
        else {
            return;
        };
        let before = entry.weight();
        let Progress::Pending(pending) = core::mem::replace(&mut entry.stage, Progress::Decided) else {
            return;
        };
        entry.conn = None;
        self.census.moved(entry.host, before, entry.weight());
        if let Some(punch) = pending.punch {
            self.end_puncher(punch, pooled);
        }
        self.timers.clear(Timer::SessionAbort(server, session));
        self.remember(cx, server, session);
        if let Some(record) = self.conns.get_mut(conn) {
            record.stage = Stage::Open { socket: pooled };
        }
        if let Some(keys) = &pending.keys
            && pending.reusable
        {
            self.keep_route(keys.remote_public, pooled, Some(at.1));
        }
        if let Some(pooled) = pooled {
            self.timers.clear(Timer::Socket(pooled)); // hyperdht.112
        }
        let Some(keys) = pending.keys else { return self.upgrade(cx, conn, at.0, at.1, path) };
        self.end_relay(conn);
        self.tell_accepted(cx, server, conn, keys, path);
    }

    /// It came to nothing: end what it holds; keep its reply a while. pitfalls 7.7
    pub(super) fn abort_session(&mut self, cx: &mut Cx<'_>, server: ServerId, session: SessionId) {
        trace!(cx, State, "hyperdht", id: SessionName(server, session), rule: "hyperdht.36", "given up");
        // blind_relay.23: without a direct path there may still be the relay.
        let conn = self.session(server, session).and_then(|entry| entry.conn);
        if conn.is_some_and(|conn| self.asks_relay(conn)) {
            return self.end_session_punch(server, session);
        }
        self.drop_session(cx, server, session);
        self.remember(cx, server, session);
    }

    /// No direct path was found, and the relay has not answered.
    pub(super) fn end_session_punch(&mut self, server: ServerId, session: SessionId) {
        self.timers.clear(Timer::SessionAbort(server, session));
        let Some(entry) = self.session(server, session) else { return };
        let before = entry.weight();
        let Progress::Pending(pending) = &mut entry.stage else { return };
        pending.waiting.clear();
        let punch = pending.punch.take();
        let (host, after) = (entry.host, entry.weight());
        self.census.moved(host, before, after);
        if let Some(punch) = punch {
            self.end_puncher(punch, None);
        }
    }

    /// The stream is gone, or about to be.
    pub(super) fn end_session(&mut self, cx: &mut Cx<'_>, server: ServerId, session: SessionId) {
        if let Some(entry) = self.session(server, session) {
            entry.conn = None;
            self.abort_session(cx, server, session);
        }
    }

    pub(super) fn drop_session(&mut self, _: &mut Cx<'_>, server: ServerId, session: SessionId) {
        self.timers.clear(Timer::SessionAbort(server, session));
        let Some(entry) = self.servers.get_mut(server).and_then(|record| record.sessions.get_mut(session))
        else {
            return;
        };
        let (before, conn) = (entry.weight(), entry.conn.take());
        let stage = core::mem::replace(&mut entry.stage, Progress::Decided);
        self.census.moved(entry.host, before, entry.weight());
        if let Progress::Pending(pending) = stage
            && let Some(punch) = pending.punch
        {
            self.end_puncher(punch, None);
        }
        if let Some(conn) = conn
            && self.is_relayed(conn)
            && let Some(record) = self.conns.get_mut(conn)
        {
            record.stage = Stage::Open { socket: None }; // blind_relay.24
        } else if let Some(conn) = conn
            && let Some(record) = self.conns.get_mut(conn)
        {
            record.stage = Stage::Ended;
            self.outputs.push_back(Output::StreamDestroy { conn });
        }
    }

    pub(super) fn clear_session(&mut self, server: ServerId, session: SessionId) {
        self.timers.clear(Timer::SessionClear(server, session));
        self.forget(server, session);
    }

    pub(super) fn forget(&mut self, server: ServerId, session: SessionId) {
        let Some(record) = self.servers.get_mut(server) else { return };
        if let Some(entry) = record.sessions.remove(session) {
            if record.by_message.get(&entry.message) == Some(&session) {
                record.by_message.remove(&entry.message);
            }
            record.by_slot.remove(&session.slot());
            self.census.moved(entry.host, entry.weight(), Weight::default());
        }
    }
}

impl core::fmt::Display for Plan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Plan::Wait => f.write_str("wait"),
            Plan::Dial(to) => write!(f, "dial {to}"),
            Plan::Punch { from_puncher: true } => f.write_str("punch"),
            Plan::Punch { from_puncher: false } => f.write_str("punch, or meet on the local network"),
        }
    }
}

/// A caller as its relay sees it; none if it called us itself.
struct Caller(Option<Addr>);

impl core::fmt::Display for Caller {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(addr) => write!(f, "caller seen at {addr}"),
            None => f.write_str("called directly"),
        }
    }
}

/// How the caller and we shall come together.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// Its packets will come to us.
    Wait,
    /// Anybody can reach it, and it waits for us.
    Dial(Addr),
    /// Both sides are behind NATs. `from_puncher`: answers leave from the punching socket.
    Punch { from_puncher: bool },
}
