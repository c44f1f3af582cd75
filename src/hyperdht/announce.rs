//! How a server is found: its key is announced to the nodes closest to the key's hash, which then relay handshakes to
//! it; the nearest are pinged, and replaced when they fall silent. Follows hyperdht.51 to hyperdht.58 and hyperdht.161
//! to hyperdht.164.

use super::lookup::{Storing, Unsigned};
use super::*;
use crate::wire::hyperdht::{RelayInfo, command};

/// Nodes that are announced to: all that keep what belongs to a target. hyperdht.161
pub(super) const RELAYS: usize = 20;
/// Those of them that are watched, and named to callers: the closest that took it. hyperdht.51, hyperdht.57
const NEAR: usize = 3;
/// The others are pinged every so many rounds, which keeps a NAT open to them. hyperdht.162
const FAR_ROUNDS: u32 = 8;
/// So many announcements may follow on what relays say before they are spaced out, and rounds until that is forgotten.
/// hyperdht.164
const HASTY: u32 = 3;
const CALM: u32 = 20;
/// The longest wait of those. hyperdht.164
const HASTY_MAX: Span = Span::from_secs(96);
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
    /// Relays, and how they see us, the closest first. pitfalls 6.8: of the last cycle that got so far.
    relays: Vec<RelayInfo>,
    pub relay_addresses: Vec<Addr>,
    /// The closest nodes of the last cycle; the next walk begins there. pitfalls 6.9
    closest: Vec<Addr>,
    rounds: u32,
    /// Announce again as soon as possible.
    refresh: bool,
    listening: bool,
    retry: Span,
    /// Announcements, one soon after the other, for what relays said. hyperdht.164
    hasty: u32,
}

#[derive(Debug)]
enum Phase {
    /// For the routing table, the network, or the time of the next try.
    Waiting,
    Finding,
    /// `near`: the closest, as long as they have not answered.
    Announcing {
        pending: usize,
        near: Vec<Addr>,
    },
    Resting,
    Pinging {
        pending: usize,
        /// Of the closest.
        alive: usize,
        /// One sees us elsewhere.
        moved: bool,
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
            hasty: 0,
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

    /// The relays that a caller is told of who came through `from`: that one, as it led here, and the closest; and
    /// where it may begin the next time. hyperdht.57, hyperdht.163
    pub fn told(&self, from: Addr, remote: Option<Addr>) -> (Vec<RelayInfo>, Vec<Addr>) {
        let through = self.taken.iter().chain(&self.relays).find(|info| info.relay == from);
        let others = self.relays.iter().filter(|info| info.relay != from);
        let relays: Vec<RelayInfo> = through.into_iter().chain(others).take(NEAR).copied().collect();
        let addresses =
            remote.into_iter().chain(relays.iter().map(|info| info.relay)).take(OFFERED).collect();
        (relays, addresses)
    }

    /// What has been taken so far holds from now on. hyperdht.57
    fn adopt(&mut self, remote: Option<Addr>) {
        let rank = |info: &RelayInfo| self.closest.iter().position(|addr| *addr == info.relay);
        self.relays = self.taken.clone();
        self.relays.sort_by_key(rank);
        let relays = self.relays.iter().map(|info| info.relay);
        self.relay_addresses = remote.into_iter().chain(relays).take(OFFERED).collect();
    }

    /// How long to wait before the next announcement that a relay gives cause for. hyperdht.164
    pub(super) fn spaced(&mut self) -> Span {
        if self.rounds >= CALM {
            self.hasty = 0;
        }
        let over = self.hasty.saturating_sub(HASTY).min(6);
        let free = self.hasty < HASTY;
        self.hasty += 1;
        if free { Span::ZERO } else { (PING * (1 << over)).min(HASTY_MAX) }
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
        self.unsigned.retain(|unsigned| unsigned.server() != Some(server));
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
        // hyperdht.50, pitfalls 6.1 and 6.2: each is signed for its node, without relays.
        let most = self.config.announce_to.unwrap_or(RELAYS).clamp(1, RELAYS);
        let taking = closest.iter().filter(|reply| reply.error == 0);
        let storing: Vec<(Storing, Addr)> =
            taking.filter_map(|reply| Some((Storing::of(reply)?, reply.to))).take(most).collect();
        let near = storing.iter().take(NEAR).map(|(storing, _)| storing.node).collect();
        record.announcer.phase = Phase::Announcing { pending: storing.len(), near };
        let count = storing.len();
        trace!(cx, State, "hyperdht", id: server, rule: "hyperdht.50", "announces to {count} nodes");
        let unsigned = storing.into_iter().map(|(storing, seen)| Unsigned::Server { server, storing, seen });
        self.unsigned.extend(unsigned);
        if count == 0 {
            self.announced(cx, server);
        }
    }

    /// What the next of the nodes is asked; `None`: it is not wanted any more.
    pub(super) fn signed_for(
        &self,
        server: ServerId,
        storing: &Storing,
        seen: Addr,
    ) -> Option<(Purpose, Ask)> {
        let record = self.servers.get(server)?;
        let Phase::Announcing { .. } = record.announcer.phase else { return None };
        let Storing { node, id, token } = storing;
        let pair = &record.options.key_pair;
        let value = signed_announce(command::ANNOUNCE, pair, &record.target, id, token, Vec::new());
        let ask = Ask {
            target: Some(record.target),
            token: Some(*token),
            value: Some(value),
            ..Ask::new(*node, command::ANNOUNCE)
        };
        Some((Purpose::Announce { server, relay: *node, peer: seen }, ask))
    }

    pub(super) fn announce_answered(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        relay: Addr,
        peer: Addr,
        result: Result<Reply, ()>,
    ) {
        let remote = self.status.remote;
        let Some(announcer) = self.announcer(server) else { return };
        let Phase::Announcing { pending, near } = &mut announcer.phase else { return };
        *pending -= 1;
        let last = *pending == 0;
        near.retain(|addr| *addr != relay);
        let enough = near.is_empty();
        if result.is_ok_and(|reply| reply.error == 0) {
            announcer.taken.push(RelayInfo { relay, peer });
        }
        // hyperdht.54: those that are far do not hold it up.
        if enough && !last && !announcer.listening && !announcer.taken.is_empty() {
            announcer.adopt(remote);
            announcer.listening = true;
            self.events.push_back(Event::Listening { server });
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
        announcer.adopt(remote);
        announcer.taken.clear();
        let newest = announcer.relays.iter().map(|info| info.relay).collect();
        let [newer, older, oldest] = &mut announcer.generations;
        *oldest = core::mem::replace(older, core::mem::replace(newer, newest));
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

    /// hyperdht.52, hyperdht.162
    fn ping_relays(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        let firewalled = self.status.remote.is_none();
        let Some(announcer) = self.announcer(server) else { return };
        announcer.rounds += 1;
        let all = firewalled && announcer.rounds.is_multiple_of(FAR_ROUNDS);
        let most = if all { RELAYS } else { NEAR };
        let relays: Vec<Addr> = announcer.relays.iter().take(most).map(|info| info.relay).collect();
        announcer.phase = Phase::Pinging { pending: relays.len(), alive: 0, moved: false };
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
        let Phase::Pinging { pending, alive, moved } = &mut announcer.phase else { return };
        *pending -= 1;
        let known = announcer.relays.iter().position(|info| info.relay == relay);
        if let (Ok(reply), Some(nth)) = (result, known) {
            *alive += usize::from(nth < NEAR);
            // pitfalls 6.10: the relay sees us elsewhere, what it keeps of us is void.
            *moved |= announcer.relays[nth].peer != reply.to;
        }
        if *pending > 0 {
            return;
        }
        let wanted = announcer.relays.len().min(NEAR);
        let (alive, lost) = (*alive, *moved || *alive < wanted);
        let wait = match (announcer.refresh, lost) {
            (true, _) => Span::ZERO,
            (false, true) => announcer.spaced(),
            (false, false) => PING,
        };
        announcer.refresh |= lost;
        let again = if announcer.refresh { ", announces again" } else { "" };
        trace!(cx, Step, "hyperdht", id: server, rule: "hyperdht.52", "{alive} of {wanted} relays answer{again}");
        announcer.phase = Phase::Resting;
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
        self.unsigned.retain(|unsigned| unsigned.server() != Some(server));
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
