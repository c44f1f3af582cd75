//! The client's side of holepunching: what it asks the server through relays, round by round, and what it makes of the
//! answers. Read `connect.rs` and `punch.rs` first. Follows hyperdht.84 to hyperdht.89.

use super::connect::Phase;
use super::punch::{LOW_TTL, Owner};
use super::search::Claim;
use super::*;
use crate::wire::hyperdht::{Holepunch, HolepunchPayload, RelayInfo, command, error, firewall, mode};

/// Pause before the client asks a server again that does not know its own NAT yet. hyperdht.86
const UNKNOWN_WAIT: Span = SECOND;

/// How often a first round is sent where another relay may be asked instead. hyperdht.166
const FEW_SENDS: u8 = 1;

#[derive(Debug)]
pub struct Punch {
    pub punch: PunchId,
    relay: RelayInfo,
    round: u64,
    step: Step,
    /// The server's token for our host.
    token: Option<Key>,
    /// The server as the relay of the last round sees it.
    peer: Addr,
    /// One of the sides was busy, and the server knows who waits. hyperdht.136
    delayed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
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
    /// We are busy, and the server is told so; holds our token for it.
    Tell {
        token: Key,
    },
    /// Either side is busy; waiting before the last question is asked, perhaps again.
    Later,
    /// The last question before punching is under way; holds our token for the server, if that is still to be proven.
    Last {
        token: Option<Key>,
    },
    Punching,
    /// Telling the server that we give up, and why.
    Aborting(ConnectError),
}

impl Step {
    fn rule(self) -> &'static str {
        match self {
            Step::Probe { .. } => "hyperdht.85",
            Step::Wait { .. } | Step::Analyze { .. } => "hyperdht.86",
            Step::Tell { .. } | Step::Later => "hyperdht.136",
            Step::Last { .. } => "hyperdht.88",
            Step::Punching => "hyperdht.89",
            Step::Aborting(_) => "hyperdht.87",
        }
    }
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Step::Probe { .. } => f.write_str("probes"),
            Step::Wait { .. } => f.write_str("waits: the server does not know its NAT"),
            Step::Analyze { .. } => f.write_str("waits for what our NAT does"),
            Step::Tell { .. } => f.write_str("tells that it has to wait"),
            Step::Later => f.write_str("waits for its turn"),
            Step::Last { .. } => f.write_str("last round"),
            Step::Punching => f.write_str("punches"),
            Step::Aborting(why) => write!(f, "gives up: {}", why.code()),
        }
    }
}

impl HyperDht {
    /// hyperdht.84, hyperdht.85
    pub(super) fn begin_punch(&mut self, cx: &mut Cx<'_>, conn: ConnId, relays: &[RelayInfo]) {
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
            delayed: false,
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

    /// A round's question, sealed, through that relay to that address of the server.
    fn round(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        relay: Addr,
        peer: Addr,
        payload: HolepunchPayload,
    ) -> Option<Ask> {
        let client = self.client(conn)?;
        let target = client.target;
        let Phase::Answered(answered) = &mut client.phase else { return None };
        let punch = answered.punch.as_mut()?;
        let payload = HolepunchPayload { round: punch.round, ..payload };
        let round = punch.round;
        trace!(
            cx, Out, "hyperdht", id: conn, peer: peer, rule: "hyperdht.26", "round {round}: {}", View(&payload)
        );
        punch.round += 1;
        let sealed = answered.sealed.seal(cx, &payload);
        let id = answered.payload.holepunch.as_ref().map_or(0, |holepunch| holepunch.id);
        let message = Holepunch { mode: mode::FROM_CLIENT, id, payload: sealed, peer: Some(peer) };
        let puncher = punch.punch;
        let puncher = self.punchers.get(puncher)?;
        Some(Ask {
            target: Some(target),
            value: Some(wire::encode(&message)),
            socket: Some(puncher.socket),
            ..Ask::new(relay, command::PEER_HOLEPUNCH)
        })
    }

    fn ask_round(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        relay: Addr,
        peer: Addr,
        payload: HolepunchPayload,
    ) {
        if let Some(ask) = self.round(cx, conn, relay, peer, payload) {
            let first = self.reached(conn).and_then(|answered| answered.punch.as_ref());
            let first = first.is_some_and(|punch| matches!(punch.step, Step::Probe { .. }));
            let others = self.client(conn).is_some_and(|client| !client.spare.is_empty());
            let sends = if first && others { FEW_SENDS } else { ask.sends };
            self.ask(Purpose::Round(conn), Ask { sends, ..ask });
        }
    }

    /// Tells a server that may be punching that nobody waits for it any more. hyperdht.141
    pub(super) fn say_farewell(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let punch = self.reached(conn).and_then(|answered| answered.punch.as_ref());
        let Some(punch) = punch.filter(|punch| !matches!(punch.step, Step::Aborting(_))) else { return };
        let relay = punch.relay;
        let payload = HolepunchPayload { error: error::ABORTED, ..HolepunchPayload::default() };
        if let Some(ask) = self.round(cx, conn, relay.relay, relay.peer, payload) {
            // The puncher's socket is about to close.
            self.ask(Purpose::Farewell(conn), Ask { socket: None, ..ask });
        }
    }

    pub(super) fn round_answered(&mut self, cx: &mut Cx<'_>, conn: ConnId, result: Result<Reply, ()>) {
        let firewalled = self.status.firewalled;
        let Some(answered) = self.reached(conn) else { return };
        let Some(punch) = &answered.punch else { return };
        let (step, id) = (punch.step, punch.punch);
        if let Step::Aborting(why) = step {
            return match why {
                ConnectError::TryLater => self.come_back(cx, conn),
                _ => self.fail_path(conn, why),
            };
        }
        let Ok(reply) = result else {
            // hyperdht.137: a server that sent us away says so once, and that may be lost.
            if matches!(step, Step::Last { .. }) && self.is_search(id) && !self.has_relay(conn) {
                return self.come_back(cx, conn);
            }
            return self.other_way(cx, conn, ConnectError::RequestTimeout);
        };
        let message = reply.value.as_deref().and_then(|value| wire::decode::<Holepunch>(value).ok());
        let Some(message) = message.filter(|message| message.mode == mode::REPLY) else {
            return self.other_way(cx, conn, ConnectError::BadHolepunchReply);
        };
        let Some(payload) = answered.sealed.open(&message.payload) else {
            return self.other_way(cx, conn, ConnectError::HolepunchInvalid);
        };
        trace!(
            cx, In, "hyperdht", id: conn, peer: reply.from, rule: "hyperdht.28",
            "round {}: {}", payload.round, View(&payload)
        );
        let peer = message.peer.unwrap_or(reply.from);
        let echoed = match step {
            Step::Last { token } => token.is_some() && payload.remote_token == token,
            Step::Tell { token } => payload.remote_token == Some(token),
            Step::Probe { .. } | Step::Wait { .. } | Step::Analyze { .. } => false,
            Step::Later | Step::Punching | Step::Aborting(_) => return,
        };
        let verified = if echoed { Some(answered.server.ip) } else { None };
        match (payload.error, step) {
            (error::NONE, _) => {}
            (error::TRY_LATER, Step::Last { .. }) => {
                return self.told_later(cx, conn, id, &payload, verified);
            }
            _ => return self.fail_path(conn, ConnectError::RemoteAborted),
        }
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
                    self.set_step(cx, conn, Step::Wait { retry });
                    self.timers.set(Timer::Client(conn), cx.now + UNKNOWN_WAIT);
                } else {
                    self.set_step(cx, conn, Step::Analyze { retry, reopened: false });
                }
                self.sampled(cx, id);
            }
            Step::Last { .. } => self.begin_punching(cx, conn, id),
            Step::Tell { .. } => self.go_on_later(cx, conn),
            Step::Wait { .. } | Step::Analyze { .. } | Step::Later | Step::Punching | Step::Aborting(_) => {}
        }
    }

    /// The server is busy with another search. hyperdht.135, hyperdht.140
    fn told_later(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        id: PunchId,
        payload: &HolepunchPayload,
        verified: Option<[u8; 4]>,
    ) {
        self.claim_search(id, Claim::None);
        if !self.has_relay(conn) {
            return self.come_back(cx, conn);
        }
        if let Some(puncher) = self.punchers.get_mut(id) {
            puncher.update_remote(payload, verified);
        }
        self.go_on_later(cx, conn);
    }

    fn go_on_later(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(punch) = self.reached(conn).and_then(|answered| answered.punch.as_mut()) {
            punch.delayed = true;
        }
        self.set_step(cx, conn, Step::Later);
        if !self.wait_for_turn(cx, conn) {
            self.fail_path(conn, ConnectError::TryLater);
        }
    }

    fn set_step(&mut self, cx: &mut Cx<'_>, conn: ConnId, step: Step) {
        if let Some(punch) = self.reached(conn).and_then(|answered| answered.punch.as_mut()) {
            trace!(cx, State, "hyperdht", id: conn, rule: step.rule(), "{step}");
            punch.step = step;
        }
    }

    fn begin_punching(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: PunchId) {
        let Some(puncher) = self.punchers.get(id) else { return };
        if !puncher.remote_holepunching {
            return self.fail_path(conn, ConnectError::RemoteNotHolepunching);
        }
        self.set_step(cx, conn, Step::Punching);
        if !self.start_punching(cx, id) {
            self.fail_path(conn, ConnectError::RemoteNotHolepunchable);
        }
    }

    /// A wait is over: for the server's packet, or before looking again.
    pub(super) fn client_waited(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let answered = match self.client(conn).map(|client| &mut client.phase) {
            Some(Phase::Answered(answered)) => answered,
            Some(&mut Phase::Waiting { relay }) => return self.begin_anew(cx, conn, relay),
            Some(Phase::Finding(_)) | None => return,
        };
        let Some(punch) = &mut answered.punch else {
            return self.fail_client(conn, ConnectError::HolepunchAborted);
        };
        match punch.step {
            Step::Wait { retry } => {
                let id = punch.punch;
                self.set_step(cx, conn, Step::Analyze { retry, reopened: false });
                self.sampled(cx, id);
            }
            Step::Later => self.last_round(cx, conn),
            Step::Probe { .. }
            | Step::Analyze { .. }
            | Step::Tell { .. }
            | Step::Last { .. }
            | Step::Punching
            | Step::Aborting(_) => {}
        }
    }

    /// Our own NAT is analyzed as far as it will be. hyperdht.86, hyperdht.87
    pub(super) fn client_analyzed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let veto = self.client(conn).and_then(|client| client.options.veto);
        let Some(answered) = self.reached(conn) else { return };
        let Some(punch) = &mut answered.punch else { return };
        let Step::Analyze { retry, reopened } = punch.step else { return };
        let (id, token) = (punch.punch, punch.token);
        let Some(puncher) = self.punchers.get(id) else { return };
        let (ours, theirs) = (puncher.nat.firewall, puncher.remote_firewall);
        let consistent = puncher.is_consistent();
        if puncher.unstable() && !puncher.reopened() {
            self.set_step(cx, conn, Step::Analyze { retry, reopened: true });
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
        } else if !self.may_punch(id, veto) {
            self.abort_round(cx, conn, ConnectError::HolepunchAborted); // hyperdht.111
        } else {
            self.last_round(cx, conn);
        }
    }

    /// hyperdht.88, hyperdht.136
    fn last_round(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(answered) = self.reached(conn) else { return };
        let relay = answered.relay;
        let Some(punch) = &mut answered.punch else { return };
        let (id, same_relay, peer, delayed) =
            (punch.punch, punch.relay.relay == relay, punch.peer, punch.delayed);
        let (remote_token, chosen) = (punch.token, punch.relay);
        let moved = same_relay && answered.server != peer && peer.port != 0 && !delayed;
        if moved {
            answered.server = peer;
        }
        let server = answered.server;
        let token = answered.sealed.token(server);
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        puncher.nat.freeze();
        if moved {
            let socket = puncher.socket;
            self.outputs.push_back(Output::Probe { socket, to: server, ttl: Some(LOW_TTL) });
        }
        let payload = HolepunchPayload { remote_token, ..self.own_view(id) };
        let wait = self.is_search(id) && self.search_must_wait(cx.now, id);
        match (wait, delayed) {
            (true, _) if !self.has_relay(conn) => self.abort_round(cx, conn, ConnectError::TryLater),
            (true, true) => self.go_on_later(cx, conn),
            (true, false) => {
                self.set_step(cx, conn, Step::Tell { token });
                let payload = HolepunchPayload { token: Some(token), ..payload };
                self.ask_round(cx, conn, relay, server, payload);
            }
            (false, _) => {
                if self.is_search(id) {
                    self.claim_search(id, Claim::Promised);
                }
                let token = (!delayed).then_some(token);
                self.set_step(cx, conn, Step::Last { token });
                let payload = HolepunchPayload { punching: true, token, ..payload };
                let (relay, server) = if delayed { (chosen.relay, chosen.peer) } else { (relay, server) };
                self.ask_round(cx, conn, relay, server, payload);
            }
        }
    }

    /// Tells the server, then fails. hyperdht.87
    fn abort_round(&mut self, cx: &mut Cx<'_>, conn: ConnId, why: ConnectError) {
        let Some(punch) = self.reached(conn).and_then(|answered| answered.punch.as_mut()) else { return };
        let relay = punch.relay;
        self.set_step(cx, conn, Step::Aborting(why));
        let payload = HolepunchPayload { error: error::ABORTED, ..HolepunchPayload::default() };
        self.ask_round(cx, conn, relay.relay, relay.peer, payload);
    }

    /// A byte of the server's came through: that socket and that address are the path. hyperdht.89
    pub(super) fn client_punched(&mut self, cx: &mut Cx<'_>, conn: ConnId, socket: SocketId, from: Addr) {
        if self.reached(conn).is_some() && from.port != 0 {
            self.open_client(cx, conn, socket, Some(from), Path::Punched);
        }
    }
}
