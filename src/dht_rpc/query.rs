//! One query: whom to ask next, who was closest, when it is over. Follows dht_rpc.61 to dht_rpc.91. A value; `walk.rs`
//! sends what it decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::flight::FlightId;
use super::table::{Distance, K, distance, node_id};
use crate::base::{Addr, Id, Key, Kind, Tag, limits};
use crate::wire::dht_rpc::{Query, Reply};

pub enum WalkKind {}
impl Kind for WalkKind {
    const NAME: &'static str = "query";
}
pub(super) type WalkId = Id<WalkKind>;

/// For whom a query runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    User(Tag),
    Bootstrap,
    Refresh,
}

/// A node that a query has heard of.
#[derive(Clone, Debug)]
struct Met {
    state: Seen,
    /// How many answers, one after the other, led to it.
    hops: u8,
}

#[derive(Clone, Debug)]
enum Seen {
    /// Asked or to be asked; these referred to it.
    Open(Vec<Addr>),
    Done,
    Down,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Walking,
    Committing { left: usize, done: usize },
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Visit(Addr),
    /// Nothing before an answer comes or is late.
    Wait,
    /// The given nodes were no good: add those of the routing table.
    FromTable,
    /// All who matter have answered.
    Flush,
}

pub(super) struct Walk {
    pub asker: Asker,
    pub query: Query,
    pub phase: Phase,
    /// Best replies of nodes with an id, closest first, at most K.
    pub closest: Vec<(Distance, Reply)>,
    pub flights: BTreeSet<FlightId>,
    /// Visits that were not answered within their first wait.
    pub slow: BTreeSet<FlightId>,
    pub from_table: bool,
    pub successes: usize,
    pub errors: usize,
    concurrency: usize,
    given: VecDeque<(Distance, Addr)>,
    pending: BTreeMap<Distance, Addr>,
    seen: BTreeMap<Addr, Met>,
    visits: usize,
    slowdown: bool,
}

impl Walk {
    pub fn new(asker: Asker, query: Query, concurrency: usize) -> Walk {
        let mut walk = Walk {
            asker,
            phase: Phase::Walking,
            closest: Vec::new(),
            flights: BTreeSet::new(),
            slow: BTreeSet::new(),
            from_table: false,
            successes: 0,
            errors: 0,
            concurrency: query.concurrency.unwrap_or(concurrency).max(1),
            given: VecDeque::new(),
            pending: BTreeMap::new(),
            seen: BTreeMap::new(),
            visits: 0,
            slowdown: false,
            query,
        };
        for addr in core::mem::take(&mut walk.query.start) {
            if addr.port != 0
                && walk.seen.len() < limits::DHT_QUERY_SEEN_MAX
                && !walk.seen.contains_key(&addr)
            {
                walk.seen.insert(addr, Met { state: Seen::Open(Vec::new()), hops: 0 });
                walk.given.push_back((distance(&node_id(addr), &walk.query.target), addr)); // dht_rpc.63
            }
        }
        walk
    }

    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.concurrency = concurrency.max(1);
    }

    /// How many more candidates would be welcome at the start.
    pub fn room(&self) -> usize {
        K.saturating_sub(self.given.len() + self.pending.len())
    }

    /// Whether a node at `distance` would be among the closest.
    fn is_closer(&self, distance: &Distance) -> bool {
        self.closest.len() < K || self.closest.last().is_some_and(|(worst, _)| distance < worst)
    }

    /// Offers a node to ask. `referrer` told of it. Returns true if `addr` is known to be down and `referrer` should
    /// hear so. (dht_rpc.65, dht_rpc.91)
    pub fn offer(&mut self, addr: Addr, referrer: Addr) -> bool {
        if self.query.only_start || addr.port == 0 {
            return false;
        }
        match self.seen.get_mut(&addr).map(|met| &mut met.state) {
            Some(Seen::Done) => return false,
            Some(Seen::Down) => return true,
            Some(Seen::Open(referrers)) => {
                if referrers.len() < limits::DHT_REFERRERS_MAX {
                    referrers.push(referrer);
                }
                return false;
            }
            None => {}
        }
        let hops = self.hops_to(referrer).saturating_add(1);
        self.add(addr, &node_id(addr), Met { state: Seen::Open(vec![referrer]), hops });
        false
    }

    /// Offers a node of the routing table, or one to begin with. `id` is its id, as it was made out before.
    pub fn offer_known(&mut self, addr: Addr, id: &Key) {
        if !self.query.only_start && addr.port != 0 && !self.seen.contains_key(&addr) {
            self.add(addr, id, Met { state: Seen::Open(Vec::new()), hops: 0 });
        }
    }

    fn add(&mut self, addr: Addr, id: &Key, met: Met) {
        let distance = distance(id, &self.query.target);
        if self.is_closer(&distance) && self.seen.len() < limits::DHT_QUERY_SEEN_MAX {
            self.seen.insert(addr, met);
            self.pending.insert(distance, addr);
        }
    }

    /// Decides what comes next. A visit counts as begun.
    pub fn step(&mut self) -> Step {
        if self.phase != Phase::Walking {
            return Step::Wait;
        }
        let width = if self.slowdown { 3 } else { self.concurrency };
        // dht_rpc.69: those who are late do not hold up the others
        if self.flights.len() < width + self.slow.len()
            && let Some(addr) = self.next_candidate()
        {
            self.visits += 1;
            return Step::Visit(addr);
        }
        // dht_rpc.68
        if !self.from_table && self.successes == 0 && self.errors == 0 {
            self.slowdown = true;
        }
        if self.has_candidate() {
            return Step::Wait;
        }
        let all_late = self.flights.len() == self.slow.len();
        let enough = match self.asker {
            Asker::User(_) => self.closest.len() >= K,
            // Nobody waits for a complete set here, and a dead node in a small network should not delay the start.
            Asker::Bootstrap | Asker::Refresh => self.successes > 0,
        };
        if self.flights.is_empty() || (all_late && enough) {
            if !self.from_table && !self.query.only_start && self.successes < K / 4 {
                return Step::FromTable;
            }
            return Step::Flush;
        }
        Step::Wait
    }

    /// Forgets candidates that would not help any more; true if one is left.
    fn has_candidate(&mut self) -> bool {
        if self.visits >= limits::DHT_QUERY_VISITS_MAX {
            self.given.clear();
            self.pending.clear();
        }
        while let Some((distance, _)) = self.given.front() {
            if self.is_closer(distance) {
                return true;
            }
            self.given.pop_front();
        }
        match self.pending.first_key_value() {
            Some((distance, _)) if self.is_closer(distance) => true,
            Some(_) => {
                self.pending.clear(); // the others are farther still
                false
            }
            None => false,
        }
    }

    /// The given nodes in their order, then the closest. dht_rpc.63, dht_rpc.64
    fn next_candidate(&mut self) -> Option<Addr> {
        if !self.has_candidate() {
            return None;
        }
        self.given.pop_front().or_else(|| self.pending.pop_first()).map(|(_, addr)| addr)
    }

    /// A visited node answered. Returns the nodes it named that are known to be down.
    pub fn answered(&mut self, reply: &Reply, skip: impl Fn(Addr) -> bool) -> Vec<Addr> {
        self.mark(reply.from, Seen::Done);
        if reply.error == 0 {
            self.successes += 1;
            if let Some(id) = reply.id {
                self.keep(distance(&id, &self.query.target), reply);
            }
        } else {
            self.errors += 1; // dht_rpc.66: counts for the end, its closer nodes are used, it is no result
        }
        let mut down = Vec::new();
        for addr in reply.closer.iter().take(limits::DHT_CLOSER_MAX).filter(|addr| !skip(**addr)) {
            if self.offer(*addr, reply.from) {
                down.push(*addr);
            }
        }
        if !self.from_table && self.successes + self.errors >= self.concurrency {
            self.slowdown = false;
        }
        down
    }

    /// Follows dht_rpc.67.
    fn keep(&mut self, distance: Distance, reply: &Reply) {
        if !self.is_closer(&distance) {
            return;
        }
        if let Err(at) = self.closest.binary_search_by(|(known, _)| known.cmp(&distance)) {
            self.closest.insert(at, (distance, reply.clone()));
            self.closest.truncate(K);
        }
    }

    /// A visited node did not answer. Returns who referred to it.
    pub fn lost(&mut self, addr: Addr) -> Vec<Addr> {
        self.errors += 1;
        match self.mark(addr, Seen::Down) {
            Some(Seen::Open(referrers)) => referrers,
            Some(Seen::Done | Seen::Down) | None => Vec::new(),
        }
    }

    fn mark(&mut self, addr: Addr, state: Seen) -> Option<Seen> {
        let hops = self.hops_to(addr);
        self.seen.insert(addr, Met { state, hops }).map(|met| met.state)
    }

    /// How many answers led to a node: none to those of the routing table.
    fn hops_to(&self, addr: Addr) -> u8 {
        self.seen.get(&addr).map_or(0, |met| met.hops)
    }

    /// Rounds of questions until the closest node had answered: one more than the answers that led to it. 0: none did.
    pub fn rounds(&self) -> u8 {
        self.closest.first().map_or(0, |(_, reply)| self.hops_to(reply.from).saturating_add(1))
    }

    /// Nodes that were asked.
    pub fn visits(&self) -> usize {
        self.visits
    }
}
