//! One query: whom to ask next, who was closest, when it is over. Follows dht_rpc.61 to dht_rpc.91. A value; `walk.rs`
//! sends what it decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::flight::FlightId;
use super::table::{Distance, K, distance, node_id};
use super::trust::{DOUBTED, FOLLOWED, Trust};
use crate::base::{Addr, Id, Key, Kind, Tag, limits};
use crate::wire::dht_rpc::{Query, Reply};

pub enum WalkKind {}
impl Kind for WalkKind {
    const NAME: &'static str = "query";
}
pub(super) type WalkId = Id<WalkKind>;

/// Answers that it takes to judge, and results that are judged by them: those at the rim may rightly be left out.
/// dht_rpc.99
const JUDGES: usize = 8;
const CORE: usize = 15;

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
    /// It was not answered within its first wait.
    late: bool,
    asked: bool,
}

/// A node that may be asked.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    addr: Addr,
    /// Asked even if 20 others are closer. dht_rpc.95
    must: bool,
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
    pending: BTreeMap<Distance, Candidate>,
    trust: Trust,
    seen: BTreeMap<Addr, Met>,
    visits: usize,
    slowdown: bool,
    /// Whether more are asked than would be needed if nobody lied. dht_rpc.99
    pub wary: bool,
    /// It became so when it was about to end: those that were left out are offered again.
    again: bool,
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
            trust: Trust::default(),
            seen: BTreeMap::new(),
            visits: 0,
            slowdown: false,
            wary: true,
            again: false,
            query,
        };
        for addr in core::mem::take(&mut walk.query.start) {
            if addr.port != 0
                && walk.seen.len() < limits::DHT_QUERY_SEEN_MAX
                && !walk.seen.contains_key(&addr)
            {
                walk.seen
                    .insert(addr, Met { state: Seen::Open(Vec::new()), hops: 0, late: false, asked: false });
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

    /// Offers a node of the routing table, or one to begin with, which will be asked. `id` is its id, as it was made
    /// out before. (dht_rpc.95)
    pub fn offer_known(&mut self, addr: Addr, id: &Key) {
        if !self.query.only_start
            && addr.port != 0
            && self.seen.get(&addr).is_none_or(|met| self.again && !met.asked)
        {
            self.remember(addr, distance(id, &self.query.target), None, self.wary);
        }
    }

    /// From now on more are asked. False: they were all along. dht_rpc.99
    pub fn grow_wary(&mut self) -> bool {
        self.again = !core::mem::replace(&mut self.wary, true);
        self.again
    }

    /// Whether those who answered contradict each other: one of the closest is named by few of the others, though it
    /// answers. In an honest network who is close to a target knows nearly all who are. dht_rpc.99
    pub fn shows_lies(&self) -> bool {
        let full = |reply: &&Reply| reply.closer.len() >= K - 1;
        let namers: Vec<&Reply> = self.closest.iter().map(|(_, reply)| reply).filter(full).collect();
        let hidden = |addr: Addr| {
            let others = namers.iter().filter(|reply| reply.from != addr).count();
            let named = namers.iter().filter(|reply| reply.closer.contains(&addr)).count();
            others >= JUDGES && named * 2 < others
        };
        self.trust.is_deceived() || self.closest.iter().take(CORE).any(|(_, reply)| hidden(reply.from))
    }

    /// Somebody named a node. True if it is known to be down. `Err`: it is new. (dht_rpc.65)
    fn name_again(&mut self, addr: Addr, referrer: Addr) -> Result<bool, ()> {
        match &mut self.seen.get_mut(&addr).ok_or(())?.state {
            Seen::Done => Ok(false),
            Seen::Down => Ok(true),
            Seen::Open(referrers) => {
                if referrers.len() < limits::DHT_REFERRERS_MAX {
                    // Where nodes know each other, everybody is named this often.
                    referrers.reserve_exact(limits::DHT_REFERRERS_MAX - referrers.len());
                    referrers.push(referrer);
                }
                Ok(false)
            }
        }
    }

    /// dht_rpc.91
    fn remember(&mut self, addr: Addr, distance: Distance, referrer: Option<Addr>, must: bool) {
        if (must || self.is_closer(&distance)) && self.seen.len() < limits::DHT_QUERY_SEEN_MAX {
            let hops = referrer.map_or(0, |referrer| self.hops_to(referrer).saturating_add(1));
            let state = Seen::Open(referrer.into_iter().collect());
            self.seen.insert(addr, Met { state, hops, late: false, asked: false });
            self.pending.insert(distance, Candidate { addr, must });
        }
    }

    /// What an answer names. Returns the nodes that are known to be down. (dht_rpc.65, dht_rpc.95)
    fn named(&mut self, reply: &Reply, skip: impl Fn(Addr) -> bool) -> Vec<Addr> {
        let (mut down, mut fresh) = (Vec::new(), Vec::new());
        if self.query.only_start {
            return down;
        }
        for &addr in reply.closer.iter().take(limits::DHT_CLOSER_MAX) {
            if addr.port == 0 || skip(addr) {
                continue;
            }
            match self.name_again(addr, reply.from) {
                Ok(true) => down.push(addr),
                Ok(false) => {}
                Err(()) => fresh.push((distance(&node_id(addr), &self.query.target), addr)),
            }
        }
        fresh.sort_unstable();
        fresh.dedup();
        let own = distance(&reply.id.unwrap_or_else(|| node_id(reply.from)), &self.query.target);
        // Whoever is met first decides what we shall know.
        let followed = match self.asker {
            Asker::Bootstrap => K,
            Asker::User(_) | Asker::Refresh if self.wary => FOLLOWED,
            Asker::User(_) | Asker::Refresh => 0,
        };
        for (nth, (distance, addr)) in fresh.into_iter().enumerate() {
            self.remember(addr, distance, Some(reply.from), nth < followed && distance < own);
        }
        down
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
        self.has_given() || self.next_named().is_some()
    }

    /// The same of the given nodes alone.
    fn has_given(&mut self) -> bool {
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
        false
    }

    /// Who of those that were named is asked next: the closest, but of those who named many that do not answer the
    /// others later. dht_rpc.64, dht_rpc.95 to dht_rpc.98
    fn next_named(&mut self) -> Option<Distance> {
        let closest = *self.pending.first_key_value()?.0;
        if !self.is_closer(&closest) {
            self.pending.retain(|_, candidate| candidate.must); // the others are farther still
        }
        let farthest = self.closest.last().filter(|_| self.closest.len() >= K).map(|(distance, _)| *distance);
        let matters = |(distance, candidate): &(&Distance, &Candidate)| {
            candidate.must || farthest.is_none_or(|farthest| **distance < farthest)
        };
        let mut all = self.pending.iter().filter(matters);
        if !self.trust.is_strained() {
            return all
                .find(|(_, candidate)| !self.is_in_vain(candidate.addr))
                .map(|(distance, _)| *distance);
        }
        let user = matches!(self.asker, Asker::User(_));
        let enough = if user { self.closest.len() >= K } else { self.successes > 0 };
        let over = enough && !user && self.trust.is_lost_cause();
        let best = all
            .filter(|(_, candidate)| !self.is_in_vain(candidate.addr))
            .map(|(distance, candidate)| (self.doubt(candidate.addr), *distance, candidate.addr))
            .filter(|(doubt, _, addr)| !enough || *doubt < DOUBTED && !(over && self.hops_to(*addr) > 0))
            .min_by_key(|(doubt, distance, _)| (*doubt, *distance));
        best.map(|(_, distance, _)| distance)
    }

    /// dht_rpc.97
    fn is_in_vain(&self, addr: Addr) -> bool {
        self.hops_to(addr) > 0 && self.trust.is_silent(addr)
    }

    fn doubt(&self, addr: Addr) -> u16 {
        match self.seen.get(&addr) {
            Some(Met { state: Seen::Open(referrers), hops: 1.., .. }) => self.trust.doubt(referrers),
            Some(_) | None => 0,
        }
    }

    /// The given nodes in their order, then the closest. dht_rpc.63, dht_rpc.64
    fn next_candidate(&mut self) -> Option<Addr> {
        let given = if self.has_given() { self.given.pop_front() } else { None };
        let addr = match given {
            Some((_, addr)) => addr,
            None => self.next_named().and_then(|distance| self.pending.remove(&distance))?.addr,
        };
        if let Some(met) = self.seen.get_mut(&addr) {
            met.asked = true;
        }
        if let Some(Met { state: Seen::Open(referrers), hops: 1.., .. }) = self.seen.get(&addr) {
            self.trust.asked(addr, referrers);
        }
        Some(addr)
    }

    /// A visited node has not answered within its first wait.
    pub fn late(&mut self, addr: Addr) {
        if let Some(Met { state: Seen::Open(_), late, .. }) = self.seen.get_mut(&addr)
            && !core::mem::replace(late, true)
        {
            self.trust.missing();
        }
    }

    /// A visited node answered. Returns the nodes it named that are known to be down.
    pub fn answered(&mut self, reply: &Reply, skip: impl Fn(Addr) -> bool) -> Vec<Addr> {
        let late = self.seen.get(&reply.from).is_some_and(|met| met.late);
        if let Some(Seen::Open(referrers)) = self.mark(reply.from, Seen::Done) {
            self.trust.answered(reply.from, &referrers, late);
        }
        if reply.error == 0 {
            self.successes += 1;
            if let Some(id) = reply.id {
                self.keep(distance(&id, &self.query.target), reply);
            }
        } else {
            self.errors += 1; // dht_rpc.66: counts for the end, its closer nodes are used, it is no result
        }
        let down = self.named(reply, skip);
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
        self.late(addr);
        match self.mark(addr, Seen::Down) {
            Some(Seen::Open(referrers)) => referrers,
            Some(Seen::Done | Seen::Down) | None => Vec::new(),
        }
    }

    fn mark(&mut self, addr: Addr, state: Seen) -> Option<Seen> {
        let (hops, late) = self.seen.get(&addr).map_or((0, false), |met| (met.hops, met.late));
        self.seen.insert(addr, Met { state, hops, late, asked: true }).map(|met| met.state)
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
