//! How a server is found: its key is announced to the three nodes closest to the key's hash, which then relay
//! handshakes to it; they are pinged, and replaced when they fall silent. Follows hyperdht.51 to hyperdht.58.

use super::*;
use crate::wire::hyperdht::{RelayInfo, command};

/// Nodes that are announced to. hyperdht.51
const RELAYS: usize = 3;
/// Between two rounds of pings, and rounds until the next announcement. hyperdht.52
const PING: Span = Span::from_secs(3);
const ROUNDS: u32 = 100;
/// An announcement that nobody took is tried again so soon, doubled up to the limit.
const RETRY: Span = SECOND;
const RETRY_MAX: Span = Span::from_secs(16);
/// pitfalls 6.11: a cycle that takes longer has lost an answer.
const STUCK: Span = Span::from_secs(60);
/// pitfalls 6.12: withdrawing takes no longer, answered or not.
const WITHDRAW: Span = Span::from_millis(1900);
/// Relay addresses that callers are told.
const OFFERED: usize = 3;

#[derive(Debug)]
pub struct Announcer {
    phase: Phase,
    /// The newest, the previous, and the one before: each has relays that callers may still use. hyperdht.53
    generations: [BTreeSet<Addr>; 3],
    /// Relays of this cycle, so far.
    taken: Vec<RelayInfo>,
    /// Relays, and how they see us, as callers are told. pitfalls 6.8: of the last whole cycle.
    pub relays: Vec<RelayInfo>,
    pub relay_addresses: Vec<Addr>,
    /// The closest nodes of the last cycle; the next walk begins there. pitfalls 6.9
    closest: Vec<Addr>,
    rounds: u32,
    /// Announce again as soon as possible.
    refresh: bool,
    listening: bool,
    retry: Span,
}

#[derive(Debug)]
enum Phase {
    /// For the routing table, the network, or the time of the next try.
    Waiting,
    Finding,
    Announcing {
        pending: usize,
    },
    Resting,
    Pinging {
        pending: usize,
        alive: usize,
    },
    Stopping {
        pending: usize,
    },
}

impl Withdrawal {
    pub fn server(&self) -> ServerId {
        self.server
    }
}

/// An announcement that is being taken back.
#[derive(Clone, Debug)]
pub struct Withdrawal {
    server: ServerId,
    pair: KeyPair,
    target: Key,
    from: Addr,
}

impl Announcer {
    pub fn new() -> Announcer {
        Announcer {
            phase: Phase::Waiting,
            generations: Default::default(),
            taken: Vec::new(),
            relays: Vec::new(),
            relay_addresses: Vec::new(),
            closest: Vec::new(),
            rounds: 0,
            refresh: false,
            listening: false,
            retry: RETRY,
        }
    }

    /// Whether announcements are being withdrawn.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Nobody has an announcement any more. The next walk begins where the last one ended.
    pub fn sleep(&mut self) {
        let (closest, listening) = (core::mem::take(&mut self.closest), self.listening);
        *self = Announcer { closest, listening, ..Announcer::new() };
    }

    /// Whether we announced to `addr` in one of the last three cycles. hyperdht.53
    pub fn is_relay(&self, addr: Addr) -> bool {
        self.generations.iter().any(|relays| relays.contains(&addr))
            || self.taken.iter().any(|info| info.relay == addr)
    }
}

impl HyperDht {
    fn announcer(&mut self, server: ServerId) -> Option<&mut Announcer> {
        self.servers.get_mut(server).map(|server| &mut server.announcer)
    }

    /// pitfalls 6.7: before there is a routing table an announcement would reach nobody.
    pub(super) fn start_announcing(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let asleep = self.servers.get(server).is_none_or(|record| record.asleep);
        if self.bootstrapped && !asleep {
            self.find_relays(cx, server);
        }
    }

    /// Announce again now, or as soon as what is under way has ended. hyperdht.55
    pub(super) fn refresh_announcements(&mut self, cx: &mut Cx<'_>) {
        for server in self.servers.ids() {
            self.refresh_announcement(cx, server);
        }
    }

    pub(super) fn refresh_announcement(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let Some(announcer) = self.announcer(server) else { return };
        announcer.refresh = true;
        match announcer.phase {
            Phase::Waiting | Phase::Resting => self.timers.set(Timer::Announce(server), cx.now),
            Phase::Finding | Phase::Announcing { .. } | Phase::Pinging { .. } | Phase::Stopping { .. } => {}
        }
    }

    /// The network is back. hyperdht.56
    pub(super) fn wake_announcers(&mut self, cx: &mut Cx<'_>) {
        for server in self.servers.ids() {
            if self.announcer(server).is_some_and(|announcer| matches!(announcer.phase, Phase::Waiting)) {
                self.timers.set(Timer::Announce(server), cx.now);
            }
        }
    }

    pub(super) fn announce_due(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let asleep = self.servers.get(server).is_none_or(|record| record.asleep);
        let (bootstrapped, online) = (self.bootstrapped && !asleep, self.online);
        let Some(announcer) = self.announcer(server) else { return };
        match announcer.phase {
            Phase::Waiting if bootstrapped && online => self.find_relays(cx, server),
            Phase::Resting if announcer.refresh || announcer.rounds >= ROUNDS => self.find_relays(cx, server),
            Phase::Resting => self.ping_relays(cx, server),
            Phase::Waiting
            | Phase::Finding
            | Phase::Announcing { .. }
            | Phase::Pinging { .. }
            | Phase::Stopping { .. } => {}
        }
    }

    pub(super) fn announce_stuck(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        self.cancel(|purpose| match purpose {
            Purpose::AnnounceFind(s)
            | Purpose::Announce { server: s, .. }
            | Purpose::RelayPing { server: s, .. } => *s == server,
            _ => false,
        });
        self.try_later(cx, server);
    }

    /// Walk to the key's hash. hyperdht.51
    fn find_relays(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let Some(record) = self.servers.get_mut(server) else { return };
        let announcer = &mut record.announcer;
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.51", "looks for nodes to announce to");
        (announcer.refresh, announcer.rounds) = (false, 0);
        announcer.phase = Phase::Finding;
        announcer.taken.clear();
        let start = announcer.closest.clone();
        let query = Query { start, ..Query::new(record.target, command::FIND_PEER, None) };
        self.timers.clear(Timer::Announce(server));
        self.timers.set(Timer::AnnounceStuck(server), cx.now + STUCK);
        self.query(Purpose::AnnounceFind(server), query);
    }

    pub(super) fn announce_found(&mut self, cx: &mut Cx<'_>, server: ServerId, closest: &[Reply]) {
        let Some(record) = self.servers.get_mut(server) else { return };
        if !matches!(record.announcer.phase, Phase::Finding) {
            return;
        }
        if !closest.is_empty() {
            record.announcer.closest = closest.iter().map(|reply| reply.from).collect();
        }
        let mut asks = Vec::new();
        for reply in closest.iter().filter(|reply| reply.error == 0).take(RELAYS) {
            let (Some(token), Some(id)) = (reply.token, reply.id) else { continue };
            // hyperdht.50, pitfalls 6.1 and 6.2: signed for that node, and without relays.
            let pair = &record.options.key_pair;
            let value = signed_announce(command::ANNOUNCE, pair, &record.target, &id, &token, Vec::new());
            let ask = Ask {
                target: Some(record.target),
                token: Some(token),
                value: Some(value),
                ..Ask::new(reply.from, command::ANNOUNCE)
            };
            asks.push((Purpose::Announce { server, relay: reply.from, peer: reply.to }, ask));
        }
        record.announcer.phase = Phase::Announcing { pending: asks.len() };
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.50", "announces to {} nodes", asks.len());
        let none = asks.is_empty();
        for (purpose, ask) in asks {
            self.ask(purpose, ask);
        }
        if none {
            self.announced(cx, server);
        }
    }

    pub(super) fn announce_answered(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        relay: Addr,
        peer: Addr,
        result: Result<Reply, ()>,
    ) {
        let Some(announcer) = self.announcer(server) else { return };
        let Phase::Announcing { pending } = &mut announcer.phase else { return };
        *pending -= 1;
        let last = *pending == 0;
        if result.is_ok_and(|reply| reply.error == 0) {
            announcer.taken.push(RelayInfo { relay, peer });
        }
        if last {
            self.announced(cx, server);
        }
    }

    /// All nodes have answered or not. hyperdht.53, hyperdht.54
    fn announced(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let remote = self.status.remote;
        // A persistent node without any other keeps the record itself: callers that ask it find the server.
        let alone = self.storage.is_some() && self.status.id.is_some();
        let Some(announcer) = self.announcer(server) else { return };
        if announcer.taken.is_empty() {
            let first = alone && announcer.closest.is_empty() && !announcer.listening;
            announcer.listening |= first;
            if first {
                self.events.push_back(Event::Listening { server });
            }
            return self.try_later(cx, server);
        }
        announcer.retry = RETRY;
        announcer.relays = core::mem::take(&mut announcer.taken);
        let newest = announcer.relays.iter().map(|info| info.relay).collect();
        let [newer, older, oldest] = &mut announcer.generations;
        *oldest = core::mem::replace(older, core::mem::replace(newer, newest));
        // hyperdht.57
        let relays = announcer.relays.iter().map(|info| info.relay);
        announcer.relay_addresses = remote.into_iter().chain(relays).take(OFFERED).collect();
        let [newer, older, _] = &announcer.generations;
        let left: Vec<Addr> = older.difference(newer).copied().collect();
        announcer.phase = Phase::Resting;
        let count = announcer.relays.len();
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.54", "announced to {count} nodes");
        let first = !core::mem::replace(&mut announcer.listening, true);
        if first {
            self.events.push_back(Event::Listening { server });
        }
        self.timers.clear(Timer::AnnounceStuck(server));
        self.timers.set(Timer::Announce(server), cx.now + PING);
        for from in left {
            self.withdraw(server, from);
        }
    }

    /// Nobody took it. What was announced before stays in force.
    fn try_later(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        self.timers.clear(Timer::AnnounceStuck(server));
        let Some(announcer) = self.announcer(server) else { return };
        announcer.phase = Phase::Waiting;
        let wait = announcer.retry;
        trace!(cx, Step, "hyperdht", id: server, rule: "hyperdht.54", "nobody took it, again after {wait}");
        announcer.retry = if wait * 2 > RETRY_MAX { RETRY_MAX } else { wait * 2 };
        self.timers.set(Timer::Announce(server), cx.now + wait);
    }

    /// hyperdht.52
    fn ping_relays(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let Some(announcer) = self.announcer(server) else { return };
        announcer.rounds += 1;
        let relays: Vec<Addr> = announcer.generations[0].iter().copied().collect();
        announcer.phase = Phase::Pinging { pending: relays.len(), alive: 0 };
        self.timers.set(Timer::AnnounceStuck(server), cx.now + STUCK);
        for relay in relays {
            self.ask(Purpose::RelayPing { server, relay }, Ask::internal(relay, wire::dht_rpc::PING));
        }
    }

    pub(super) fn relay_answered(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        relay: Addr,
        result: Result<Reply, ()>,
    ) {
        let Some(announcer) = self.announcer(server) else { return };
        let Phase::Pinging { pending, alive } = &mut announcer.phase else { return };
        *pending -= 1;
        if let Ok(reply) = result {
            *alive += 1;
            // pitfalls 6.10: the relay sees us elsewhere, what it keeps of us is void.
            let seen = announcer.relays.iter().find(|info| info.relay == relay);
            announcer.refresh |= seen.is_some_and(|info| info.peer != reply.to);
        }
        if *pending > 0 {
            return;
        }
        let wanted = announcer.generations[0].len().min(RELAYS);
        let alive = *alive;
        announcer.refresh |= alive < wanted;
        let again = if announcer.refresh { ", announces again" } else { "" };
        trace!(cx, Step, "hyperdht", id: server, rule: "hyperdht.52", "{alive} of {wanted} relays answer{again}");
        announcer.phase = Phase::Resting;
        let wait = if announcer.refresh { Span::ZERO } else { PING };
        self.timers.clear(Timer::AnnounceStuck(server));
        self.timers.set(Timer::Announce(server), cx.now + wait);
    }

    /// Takes the announcement back from a node: first a token is asked for. hyperdht.58
    fn withdraw(&mut self, server: ServerId, from: Addr) {
        let Some(record) = self.servers.get(server) else { return };
        let (pair, target) = (record.options.key_pair.clone(), record.target);
        let withdrawal = Withdrawal { server, pair, target, from };
        let ask = Ask { target: Some(target), ..Ask::new(from, command::FIND_PEER) };
        self.ask(Purpose::WithdrawFind(Box::new(withdrawal)), ask);
    }

    pub(super) fn withdraw_found(
        &mut self,
        cx: &mut Cx<'_>,
        withdrawal: Withdrawal,
        result: Result<Reply, ()>,
    ) {
        let Withdrawal { server, pair, target, from } = withdrawal;
        let found = result.ok().filter(|reply| reply.value.is_some());
        let Some((token, id)) = found.and_then(|reply| reply.token.zip(reply.id)) else {
            return self.withdrawn(cx, server);
        };
        let value = signed_announce(command::UNANNOUNCE, &pair, &target, &id, &token, Vec::new());
        let ask = Ask {
            target: Some(target),
            token: Some(token),
            value: Some(value),
            ..Ask::new(from, command::UNANNOUNCE)
        };
        self.ask(Purpose::Withdraw(server), ask);
    }

    /// One withdrawal has ended, one way or the other.
    pub(super) fn withdrawn(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let Some(announcer) = self.announcer(server) else { return };
        if let Phase::Stopping { pending } = &mut announcer.phase {
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                self.unlistened(cx, server);
            }
        }
    }

    /// hyperdht.58, pitfalls 6.12
    pub(super) fn stop_announcing(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        self.cancel(|purpose| match purpose {
            Purpose::AnnounceFind(s)
            | Purpose::Announce { server: s, .. }
            | Purpose::RelayPing { server: s, .. }
            | Purpose::Withdraw(s) => *s == server,
            Purpose::WithdrawFind(withdrawal) => withdrawal.server == server,
            _ => false,
        });
        self.timers.clear(Timer::Announce(server));
        self.timers.clear(Timer::AnnounceStuck(server));
        let online = self.online;
        let Some(announcer) = self.announcer(server) else { return };
        let mut relays = announcer.generations[0].clone();
        relays.extend(announcer.taken.iter().map(|info| info.relay));
        if !online || relays.is_empty() {
            return self.unlistened(cx, server);
        }
        announcer.phase = Phase::Stopping { pending: relays.len() };
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.58", "withdraws from {} nodes", relays.len());
        self.timers.set(Timer::Unlisten(server), cx.now + WITHDRAW);
        for from in relays {
            self.withdraw(server, from);
        }
    }

    pub(super) fn unlistened(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        self.timers.clear(Timer::Unlisten(server));
        self.cancel(|purpose| match purpose {
            Purpose::Withdraw(s) => *s == server,
            Purpose::WithdrawFind(withdrawal) => withdrawal.server == server,
            _ => false,
        });
        if self.is_listening(server) {
            return self.server_asleep(cx, server);
        }
        if self.servers.remove(server).is_some() {
            self.events.push_back(Event::Unlistened { server });
        }
        self.withdrawn_all();
    }
}
