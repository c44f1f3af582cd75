//! Part of `DhtRpc`: bootstrap, the question whether we can be reached, and what happens every five seconds. Follows
//! dht_rpc.55 to dht_rpc.60 and dht_rpc.76 to dht_rpc.89.

use std::collections::BTreeSet;

use super::flight::Owner;
use super::health::Verdict;
use super::nat::NatSampler;
use super::query::Asker;
use super::table::{Contact, Tick, node_id};
use super::{DhtRpc, Event, Lost, Timer};
use crate::base::{Addr, Cx, Span, trace};
use crate::wire;
use crate::wire::dht_rpc::{Ask, FIND_NODE, PING, PING_NAT, PortValue, Query, Reply};

pub(super) const TICK: Span = Span::from_secs(5);
/// A gap of more than this between two ticks means that the host slept.
const SLEPT: Span = Span::from_secs(15);
/// Quiet ticks until an adaptive node tests whether it may be persistent.
pub(super) const STABLE_TICKS: u64 = 240;
/// The same after a failed test, or after the host slept.
const MORE_STABLE_TICKS: u64 = 720;
pub(super) const REFRESH_TICKS: u64 = 60;
/// A node heard from this lately is recent.
const RECENT_NODE: Tick = 12;
/// A node known for this long is old.
pub(super) const OLD_NODE: Tick = 360;
/// Pings at once that were caused by hints or by the round of pings.
const CHECKS_MAX: usize = 10;
/// Pings at once to members of full rows.
const SWAPS_MAX: usize = 3;
/// Nodes that are asked whether they reach us.
const FIREWALL_NODES: usize = 5;
/// Nodes that are asked at once, as soon as they answer for the first time.
const PROBES_MAX: usize = 3;
/// These are sent a few times within the second that the bootstrap grants them, and a while beyond.
const PROBE_SENDS: u8 = 9;
const PROBE_WAIT: Span = Span::from_millis(330);
/// Ticks until a node that wants to be persistent tests again whether it may.
const RETRY_TICKS: u64 = 12;

/// How far the bootstrap is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Boot {
    Binding,
    /// Walking to our own id, for the first or second time.
    Walking {
        pass: u8,
    },
    /// The walk is over, a probe may still be answered.
    Probing,
    Testing,
    Done,
}

/// The questions to the first nodes that answer whether our server socket can be reached.
#[derive(Default)]
pub(super) struct Probes {
    asked: BTreeSet<Addr>,
    open: usize,
    /// Who reached us, and as what.
    reached: Vec<(Addr, Addr)>,
}

/// The question to several nodes whether our server socket can be reached.
pub(super) struct FirewallTest {
    /// Lift `firewalled` at most, leave `ephemeral`.
    only_firewall: bool,
    /// Our address when it began.
    nat: (Option<[u8; 4]>, u16),
    sampler: NatSampler,
    asked: usize,
    open: usize,
    reached: usize,
}

impl DhtRpc {
    pub(super) fn bootstrap(&mut self, cx: &mut Cx<'_>) {
        self.boot = Boot::Walking { pass: 1 };
        self.walk_to(cx, Asker::Bootstrap, *self.table.own());
    }

    fn walk_to(&mut self, cx: &mut Cx<'_>, asker: Asker, target: [u8; 32]) {
        self.refresh_ticks = REFRESH_TICKS;
        let query = Query { internal: true, ..Query::new(target, FIND_NODE, None) };
        let walk = self.start_walk(cx, asker, query);
        if asker == Asker::Refresh && self.walks.contains(walk) {
            self.refreshing = Some(walk);
        }
    }

    /// Looks around a known node, or around ourselves. dht_rpc.58
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>) {
        if self.refreshing.is_some() {
            return;
        }
        let target = self.table.random(cx.entropy).map_or(*self.table.own(), |contact| contact.id);
        self.walk_to(cx, Asker::Refresh, target);
    }

    pub(super) fn on_refreshed(&mut self, cx: &mut Cx<'_>, successes: usize) {
        self.refreshing = None;
        // dht_rpc.85: who was alone at the start begins again when there is somebody
        if successes > 0 && !self.destroyed && core::mem::take(&mut self.isolated) {
            self.bootstrap(cx);
        }
    }

    fn wants_probe(&self) -> bool {
        self.firewalled && self.config.quick_firewall && self.config.ephemeral != Some(false)
    }

    /// A node answered the bootstrap: does it reach our server socket? dht_rpc.77
    pub(super) fn probe(&mut self, cx: &mut Cx<'_>, to: Addr) {
        if !self.wants_probe() || self.probes.asked.len() >= PROBES_MAX || !self.probes.asked.insert(to) {
            return;
        }
        if self.ask_back(cx, to, PROBE_SENDS, Some(PROBE_WAIT), Owner::Probe) {
            self.probes.open += 1;
        }
    }

    /// Asks `to` to answer to our server socket's port.
    fn ask_back(&mut self, cx: &mut Cx<'_>, to: Addr, sends: u8, wait: Option<Span>, owner: Owner) -> bool {
        let Some(server) = self.server else { return false };
        let value = Some(wire::encode(&PortValue(server.port)));
        let ask = Ask { value, sends, ..Ask::internal(to, PING_NAT) };
        match self.launch(cx, ask, owner) {
            Ok(id) => {
                if let Some(flight) = self.flights.get_mut(id) {
                    flight.wait = wait;
                }
                self.send_or_queue(cx, id);
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn on_probed(&mut self, cx: &mut Cx<'_>, outcome: Result<Reply, Lost>) {
        self.probes.open = self.probes.open.saturating_sub(1);
        if let Ok(reply) = outcome {
            self.probes.reached.push((reply.from, reply.to));
        }
        let reached = !self.probes.reached.is_empty();
        match self.boot {
            Boot::Probing if reached || self.probes.open == 0 => self.on_probe_over(cx),
            // late, but true
            Boot::Done if reached && self.wants_probe() => self.test_firewall(cx, true),
            Boot::Binding | Boot::Walking { .. } | Boot::Probing | Boot::Testing | Boot::Done => {}
        }
    }

    /// A bootstrap walk is over. dht_rpc.78
    pub(super) fn on_bootstrap_walked(&mut self, cx: &mut Cx<'_>, successes: usize) {
        if self.destroyed {
            return;
        }
        self.isolated = successes == 0 && !self.config.bootstrap.is_empty();
        match self.boot {
            Boot::Walking { pass: 1 } if self.config.ephemeral == Some(false) => {
                self.boot = Boot::Testing;
                self.test_firewall(cx, false);
            }
            Boot::Walking { pass: 1 } if self.wants_probe() => {
                self.boot = Boot::Probing;
                if self.probes.reached.is_empty() && self.probes.open > 0 {
                    self.timers.set(Timer::Probe, cx.now + super::outbound::WAIT);
                } else {
                    self.on_probe_over(cx);
                }
            }
            _ => self.be_bootstrapped(cx),
        }
    }

    pub(super) fn on_probe_over(&mut self, cx: &mut Cx<'_>) {
        if self.boot != Boot::Probing {
            return;
        }
        self.timers.clear(Timer::Probe);
        if self.probes.reached.is_empty() {
            return self.be_bootstrapped(cx);
        }
        self.boot = Boot::Testing;
        self.test_firewall(cx, true);
    }

    fn be_bootstrapped(&mut self, cx: &mut Cx<'_>) {
        self.boot = Boot::Done;
        self.probes = Probes::default();
        if !core::mem::replace(&mut self.bootstrapped, true) {
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.77", "bootstrapped, {} nodes known", self.table.len());
            self.event(Event::Bootstrapped);
        }
    }

    /// Finds out whether the server socket can be reached, and becomes persistent if so and if asked to. dht_rpc.79
    /// (dht_rpc.83)
    fn test_firewall(&mut self, cx: &mut Cx<'_>, only_firewall: bool) {
        if self.test.is_some() {
            return; // one is enough; the bootstrap is over before another can begin
        }
        if !only_firewall {
            self.stable_ticks = self.patience();
            self.last_host = self.nat.host();
        }
        let mut test = FirewallTest {
            only_firewall,
            nat: (self.nat.host(), self.nat.port()),
            sampler: NatSampler::new(),
            asked: 0,
            open: 0,
            reached: 0,
        };
        let nothing_to_do = !self.ephemeral || (only_firewall && !self.firewalled);
        if nothing_to_do || self.nat.addr().is_none() {
            return self.tested(cx, false);
        }
        if !self.firewalled {
            test.sampler = self.nat.clone();
            self.test = Some(test);
            return self.conclude(cx, true);
        }
        let mut nodes = self.nodes(FIREWALL_NODES);
        if nodes.len() < FIREWALL_NODES {
            let more: Vec<Addr> =
                self.config.bootstrap.iter().filter(|addr| !nodes.contains(addr)).copied().collect();
            nodes.extend(more);
        }
        test.asked = nodes.len();
        let sends = if self.bootstrapped { 4 } else { 2 };
        let mut ask = Vec::new();
        for node in nodes {
            match self.probes.reached.iter().find(|(from, _)| *from == node) {
                Some((_, seen_as)) => {
                    test.reached += 1;
                    test.sampler.add(*seen_as);
                }
                None => ask.push(node),
            }
        }
        test.open = ask.len();
        self.test = Some(test);
        for node in ask {
            if !self.ask_back(cx, node, sends, None, Owner::Firewall) {
                self.test.iter_mut().for_each(|test| test.open -= 1);
            }
        }
        self.judge(cx);
    }

    pub(super) fn on_firewall_answer(&mut self, cx: &mut Cx<'_>, outcome: Result<Reply, Lost>) {
        let Some(test) = &mut self.test else { return };
        test.open = test.open.saturating_sub(1);
        if let Ok(reply) = outcome {
            test.reached += 1;
            test.sampler.add(reply.to);
        }
        self.judge(cx);
    }

    /// Enough answers, or none to come. dht_rpc.80
    fn judge(&mut self, cx: &mut Cx<'_>) {
        let Some(test) = &self.test else { return };
        let needed = if test.asked >= FIREWALL_NODES { 3 } else { 1 };
        let enough = test.reached >= needed;
        if enough || test.open == 0 {
            let server = self.server.map_or(0, |server| server.port);
            // dht_rpc.81
            let agrees = test.sampler.host() == self.nat.host() && test.sampler.port() == server;
            self.conclude(cx, enough && agrees && server != 0);
        }
    }

    fn conclude(&mut self, cx: &mut Cx<'_>, open: bool) {
        let Some(test) = self.test.take() else { return };
        if !open || self.destroyed {
            return self.tested(cx, false);
        }
        let was_firewalled = core::mem::replace(&mut self.firewalled, false);
        let changed = test.nat != (self.nat.host(), self.nat.port());
        let Some(addr) = test.sampler.addr().filter(|addr| Some(addr.ip) == test.nat.0 && !changed) else {
            return self.tested(cx, false);
        };
        if was_firewalled {
            // What was sampled so far was the client socket's address. dht_rpc.82
            self.sampled.clear();
            self.nat = test.sampler;
            if test.nat != (self.nat.host(), self.nat.port()) {
                self.nat_changed();
            }
        }
        let persistent = self.ephemeral && !test.only_firewall;
        if persistent {
            self.ephemeral = false;
        }
        let id = node_id(addr);
        let moved = id != *self.table.own();
        self.own_addr = Some(addr);
        if moved {
            self.table.move_to(id); // dht_rpc.40
        }
        if persistent {
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.79", "persistent as {addr}");
            self.event(Event::Persistent);
        }
        if moved && self.bootstrapped {
            self.refresh(cx);
        }
        self.tested(cx, true);
    }

    /// A test is over: the bootstrap goes on.
    fn tested(&mut self, cx: &mut Cx<'_>, passed: bool) {
        if self.boot != Boot::Testing {
            return;
        }
        if passed {
            self.boot = Boot::Walking { pass: 2 };
            self.walk_to(cx, Asker::Bootstrap, *self.table.own());
        } else {
            self.be_bootstrapped(cx);
        }
    }

    pub(super) fn on_tick(&mut self, cx: &mut Cx<'_>) {
        let slept = cx.now.since(self.last_tick) > SLEPT;
        self.last_tick = cx.now;
        self.timers.set(Timer::Tick, cx.now + TICK);
        if slept {
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.60", "the host slept");
            self.on_wake_up(); // dht_rpc.60
        } else {
            self.tick = self.tick.saturating_add(1);
        }
        if !self.bootstrapped {
            return;
        }
        if self.config.ephemeral != Some(true) && self.ephemeral {
            self.stable_ticks = self.stable_ticks.saturating_sub(1);
            if self.stable_ticks == 0 {
                self.on_stable(cx); // dht_rpc.76
            }
        }
        if self.tick & 7 == 0 {
            self.ping_some(cx); // dht_rpc.56
        }
        self.refresh_ticks = self.refresh_ticks.saturating_sub(1);
        let few = self.tick & 63 == 0 && self.table.len() < super::table::K;
        if few || self.refresh_ticks == 0 || self.isolated {
            self.refresh(cx); // dht_rpc.57
        }
        self.hints = 0;
        if let Some(verdict) = self.health.tick(self.stats.responses, self.stats.timeouts) {
            self.on_verdict(verdict);
        }
    }

    fn on_stable(&mut self, cx: &mut Cx<'_>) {
        self.stable_ticks = self.patience();
        // the same host is not tested again, unless the node is meant to be persistent
        if self.last_host != self.nat.host() || self.config.ephemeral == Some(false) {
            self.test_firewall(cx, false);
        }
    }

    /// Ticks until the next test.
    fn patience(&self) -> u64 {
        if self.config.ephemeral == Some(false) { RETRY_TICKS } else { MORE_STABLE_TICKS }
    }

    pub(super) fn on_wake_up(&mut self) {
        self.tick = self.tick.saturating_add(2 * OLD_NODE); // everything appears old
        self.tick = (self.tick | 7) - 1; // a round of pings in two ticks
        self.stable_ticks = self.patience();
        self.refresh_ticks = 2; // this tick counts too: the next one refreshes
        self.last_host = None;
        self.health.reset();
        self.on_verdict(Verdict::Online);
        if self.config.ephemeral.is_none() && !self.ephemeral {
            self.ephemeral = true;
            self.event(Event::Ephemeral);
        }
        self.event(Event::WakeUp);
    }

    fn ping_some(&mut self, cx: &mut Cx<'_>) {
        let Some(oldest) = self.table.oldest().next() else { return self.refresh(cx) };
        let count = if self.tick - oldest.pinged < RECENT_NODE {
            2
        } else if self.flights.len() > 2 {
            3
        } else {
            5
        };
        let tick = self.tick;
        let due: Vec<_> = self
            .table
            .oldest()
            .filter(|contact| contact.pinged != tick)
            .take(count)
            .map(|contact| contact.id)
            .collect();
        for id in due {
            self.check(cx, id);
        }
    }

    /// Pings a node of the table; it is removed if it does not answer.
    fn check(&mut self, cx: &mut Cx<'_>, id: [u8; 32]) {
        let tick = self.tick;
        let Some(contact) = self.table.get_mut(&id) else { return };
        contact.pinged = tick;
        let ask = Ask::internal(contact.addr, PING);
        if let Ok(flight) = self.launch(cx, ask, Owner::Check(id)) {
            self.checks += 1;
            self.send_or_queue(cx, flight);
        }
    }

    /// Somebody says that a node which we named does not answer. dht_rpc.16
    pub(super) fn on_down_hint(&mut self, cx: &mut Cx<'_>, down: Addr) {
        let (id, tick) = (node_id(down), self.tick);
        let Some(contact) = self.table.get_mut(&id) else { return };
        if self.checks < CHECKS_MAX && (contact.pinged < tick || contact.hints == 0) {
            contact.hints = contact.hints.saturating_add(1);
            self.check(cx, id);
        }
    }

    /// A new node finds its row full: is the member that was silent longest still there? dht_rpc.42
    pub(super) fn on_full_row(&mut self, cx: &mut Cx<'_>, new: Contact) {
        if !self.bootstrapped || self.swaps >= SWAPS_MAX {
            return;
        }
        let tick = self.tick;
        let oldest = self
            .table
            .row_of(&new.id)
            .iter()
            .filter(|contact| contact.pinged != tick)
            .min_by_key(|contact| (contact.pinged, contact.added));
        let Some(oldest) = oldest else { return };
        if tick - oldest.pinged < RECENT_NODE && tick - oldest.added > OLD_NODE {
            return;
        }
        let (old, addr) = (oldest.id, oldest.addr);
        let owner = Owner::Swap { old, new: Box::new(new) };
        if let Ok(flight) = self.launch(cx, Ask::internal(addr, PING), owner) {
            self.swaps += 1;
            if let Some(contact) = self.table.get_mut(&old) {
                contact.pinged = tick;
            }
            self.send_or_queue(cx, flight);
        }
    }

    fn on_verdict(&mut self, verdict: Verdict) {
        let (online, degraded) = match verdict {
            Verdict::Online => (true, false),
            Verdict::Degraded => (true, true),
            Verdict::Offline => (false, false),
        };
        // dht_rpc.89
        if (online, degraded) != (self.online, self.degraded) {
            (self.online, self.degraded) = (online, degraded);
            self.event(Event::NetworkUpdate { online });
        }
    }

    /// Tells that our public address changed; once is enough until it is taken.
    pub(super) fn nat_changed(&mut self) {
        if !self.events.contains(&Event::NatUpdate) {
            self.event(Event::NatUpdate);
        }
    }

    pub(super) fn on_online(&mut self, cx: &mut Cx<'_>, online: bool) {
        if online == self.online {
            return;
        }
        self.health.reset();
        self.on_verdict(if online { Verdict::Online } else { Verdict::Offline });
        if online && self.bootstrapped {
            self.refresh(cx);
        }
    }
}
