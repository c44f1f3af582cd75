//! Holepunch rounds at the server: what the caller says is taken in, and answered once our own NAT is analyzed. Follows
//! hyperdht.39 and hyperdht.69. Read `sessions.rs` first.

use super::later::KEPT;
use super::punch::PunchId;
use super::sessions::{Progress, Round};
use super::*;
use crate::wire::hyperdht::{HolepunchPayload, error, firewall};

impl HyperDht {
    /// A holepunch round came through a relay. hyperdht.39
    pub(super) fn serve_round(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        request: Request,
        slot: u64,
        client: Addr,
        payload: &[u8],
    ) {
        let firewalled = self.status.firewalled;
        let Some(record) = self.servers.get_mut(server) else { return };
        let ours = record.announcer.is_relay(request.from);
        let slot = u32::try_from(slot).ok();
        let Some(session) = slot.and_then(|slot| record.by_slot.get(&slot).copied()) else { return };
        let Some(entry) = record.sessions.get_mut(session) else { return };
        let Progress::Pending(pending) = &mut entry.stage else { return };
        let Some(payload) = pending.sealed.open(payload) else { return self.malformed() };
        trace!(
            cx, In, "hyperdht", id: SessionName(server, session), peer: client, rule: "hyperdht.27 hyperdht.39",
            "round {}: {}", payload.round, View(&payload)
        );
        let token = pending.sealed.token(client);
        let lower = payload.round < pending.round;
        pending.round = pending.round.max(payload.round);
        let punch = pending.punch;
        let round = Round {
            client,
            remote_address: payload.remote_address,
            token: ours.then_some(token),
            remote_token: payload.token,
            request,
        };
        let Some(puncher) = punch.and_then(|punch| self.punchers.get_mut(punch)) else {
            return self.abort_round_of(cx, server, session, round);
        };
        if payload.error != error::NONE {
            return self.abort_round_of(cx, server, session, round);
        }
        let echoed = ours && payload.remote_token == Some(token);
        if round.request.socket == puncher.socket {
            puncher.nat.add(round.request.to, round.request.from, firewalled);
        }
        if !lower {
            puncher.update_remote(&payload, echoed.then_some(client.ip));
        }
        let Some(pending) = self.pending(server, session) else { return };
        if pending.waiting.len() >= limits::HYPERDHT_ROUNDS_WAITING {
            return;
        }
        pending.waiting.push(round);
        if let Some(punch) = punch {
            self.sampled(cx, punch);
        }
    }

    /// Our NAT is analyzed as far as it will be: answer the rounds that waited.
    pub(super) fn session_analyzed(&mut self, cx: &mut Cx<'_>, server: ServerId, session: SessionId) {
        let Some(pending) = self.pending(server, session) else { return };
        let Some(punch) = pending.punch else { return };
        let rounds = core::mem::take(&mut pending.waiting);
        for round in rounds {
            let Some(puncher) = self.punchers.get(punch) else { return };
            if !puncher.remote_holepunching && puncher.unstable() && !puncher.reopened() {
                if let Some(pending) = self.pending(server, session) {
                    pending.waiting.push(round);
                }
                self.reopen(cx, punch);
                continue;
            }
            self.answer_round_of(cx, server, session, punch, round);
        }
    }

    fn answer_round_of(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        punch: PunchId,
        round: Round,
    ) {
        let Some(puncher) = self.punchers.get(punch) else { return };
        let socket = puncher.socket;
        let punching = puncher.remote_holepunching;
        let veto = self.servers.get(server).and_then(|record| record.options.veto);
        let vetoed = punching && !self.may_punch(punch, veto); // hyperdht.111
        let Some(puncher) = self.punchers.get(punch) else { return };
        if vetoed || !punching && puncher.unstable() {
            return self.abort_round_of(cx, server, session, round);
        }
        let addresses = puncher.nat.addresses.as_deref().unwrap_or(&[]);
        // hyperdht.69: the caller has opened its NAT towards us, so one byte gets through at once.
        if puncher.is_consistent() && round.remote_address.is_some_and(|addr| addresses.contains(&addr)) {
            self.outputs.push_back(Output::Probe { socket, to: round.client, ttl: None });
        }
        if punching {
            // pitfalls 7.8: from here on the punch has its own end.
            self.timers.clear(Timer::SessionAbort(server, session));
            let begun = puncher.punching;
            if !begun && self.is_search(punch) && self.search_must_wait(cx.now, punch) {
                return self.answer_later(cx, server, session, punch, round);
            }
            // pitfalls 7.9: the answer says that we punch, so that comes first.
            if !self.start_punching(cx, punch) {
                return self.abort_round_of(cx, server, session, round);
            }
        }
        let Some(puncher) = self.punchers.get_mut(punch) else { return };
        if puncher.nat.firewall != firewall::UNKNOWN {
            puncher.nat.freeze();
        }
        self.tell_view(cx, server, session, punch, round, error::NONE);
    }

    /// Another search goes on, or has just ended. hyperdht.135, hyperdht.138
    fn answer_later(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        punch: PunchId,
        round: Round,
    ) {
        self.stats.told_later += 1;
        let conn = self.session(server, session).and_then(|entry| entry.conn);
        if !conn.is_some_and(|conn| self.has_relay(conn)) {
            return self.abort_round_with(cx, server, session, round, error::TRY_LATER);
        }
        self.timers.set(Timer::SessionAbort(server, session), cx.now + KEPT);
        self.tell_view(cx, server, session, punch, round, error::TRY_LATER);
    }

    /// Answers a round with what we know of our side.
    fn tell_view(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        punch: PunchId,
        round: Round,
        error: u64,
    ) {
        let Some(puncher) = self.punchers.get(punch) else { return };
        let socket = puncher.socket;
        let payload = HolepunchPayload {
            error,
            firewall: puncher.nat.firewall,
            punching: puncher.punching,
            addresses: puncher.nat.told_addresses(),
            token: round.token,
            remote_token: round.remote_token,
            ..HolepunchPayload::default()
        };
        self.seal_answer(cx, (server, session), round, socket, payload);
    }

    /// Answers a round with that, from that socket.
    fn seal_answer(
        &mut self,
        cx: &mut Cx<'_>,
        (server, session): (ServerId, SessionId),
        round: Round,
        socket: SocketId,
        payload: HolepunchPayload,
    ) {
        let Some(pending) = self.pending(server, session) else { return };
        let payload = HolepunchPayload { round: pending.round, ..payload };
        trace!(
            cx, Out, "hyperdht", id: SessionName(server, session), peer: round.client, rule: "hyperdht.39",
            "round {}: {}", payload.round, View(&payload)
        );
        let sealed = pending.sealed.seal(cx, &payload);
        self.answer_round(round.request, round.client, sealed, Some(socket));
    }

    /// Tells the caller that it is over, and gives up.
    fn abort_round_of(&mut self, cx: &mut Cx<'_>, server: ServerId, session: SessionId, round: Round) {
        self.abort_round_with(cx, server, session, round, error::ABORTED);
    }

    fn abort_round_with(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        session: SessionId,
        round: Round,
        error: u64,
    ) {
        if self.pending(server, session).is_none() {
            return;
        }
        let payload = HolepunchPayload { error, ..HolepunchPayload::default() };
        self.seal_answer(cx, (server, session), round, self.status.current, payload);
        self.abort_session(cx, server, session);
    }
}
