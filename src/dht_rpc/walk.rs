//! Part of `DhtRpc`: queries run. What they decide is in `query.rs`. Follows dht_rpc.61 to dht_rpc.91.

use super::flight::{FlightId, Owner};
use super::query::{Asker, Phase, Step, Walk, WalkId};
use super::table::{K, node_id};
use super::told::Command;
use super::{DhtRpc, Event, Lost, QueryError, is_among};
use crate::base::hex::Short;
use crate::base::{Addr, Cx, Key, Span, trace};
use crate::wire;
use crate::wire::dht_rpc::{AddressValue, Ask, DOWN_HINT, OK, Query, Reply};

/// Sends of a query's requests, unless it says otherwise. dht_rpc.50
const SENDS: u8 = 6;
/// Nodes from all over a young table that a query of the layer above asks beside the closest. dht_rpc.95
const APART: usize = 10;
/// A table of less knows its own neighbourhood and little else. dht_rpc.95
const YOUNG: usize = 3 * K;

/// Since somebody was seen to lie, and since a bootstrap began, a node asks more. dht_rpc.99
const WARY: Span = Span::from_secs(3600);
const WARY_FIRST: Span = Span::from_secs(120);

impl DhtRpc {
    pub(super) fn start_walk(&mut self, cx: &mut Cx<'_>, asker: Asker, query: Query) -> WalkId {
        self.stats.queries += 1;
        let concurrency = match asker {
            Asker::User(_) => self.config.concurrency,
            Asker::Bootstrap | Asker::Refresh => self.background_concurrency(),
        };
        let (said, target) = (Command(query.internal, query.command), query.target);
        if asker == Asker::Bootstrap {
            self.wary_until = self.wary_until.max(cx.now + WARY_FIRST);
        }
        let mut walk = Walk::new(asker, query, concurrency);
        walk.wary = asker == Asker::Bootstrap || cx.now < self.wary_until || self.table.len() < YOUNG;
        let id = self.walks.insert(walk);
        let target = Short(&target);
        trace!(cx, State, "dht_rpc", id: id, rule: "dht_rpc.61", "begins: {said} towards {target}, for {asker}");
        // dht_rpc.62
        self.fill(cx, id);
        self.advance(cx, id);
        id
    }

    /// Offers the closest nodes of the table, and the bootstrap nodes if those are few; nothing if enough were given.
    fn fill(&mut self, cx: &mut Cx<'_>, id: WalkId) {
        let Some(walk) = self.walks.get(id) else { return };
        let room = walk.room();
        if room == 0 {
            return;
        }
        let closest = self.table.closest(&walk.query.target, room);
        let mut nodes: Vec<(Addr, Key)> = closest.map(|contact| (contact.addr, contact.id)).collect();
        let few = nodes.len() < room;
        // dht_rpc.95
        let young = matches!(walk.asker, Asker::User(_)) && self.table.len() < YOUNG;
        if young {
            let others = self.table.others(cx.entropy, &nodes, APART);
            nodes.extend(others);
        }
        if few || young {
            let others = self.config.bootstrap.iter().filter(|addr| !self.is_skipped(**addr));
            nodes.extend(others.map(|&addr| (addr, node_id(addr))));
        }
        let Some(walk) = self.walks.get_mut(id) else { return };
        walk.from_table = true;
        for (addr, id) in nodes {
            walk.offer_known(addr, &id);
        }
    }

    /// Never to be asked: refused, or ourselves.
    fn is_skipped(&self, addr: Addr) -> bool {
        self.is_refused(addr) || self.own_addr == Some(addr)
    }

    /// dht_rpc.59: background queries yield to others.
    fn background_concurrency(&self) -> usize {
        let all = self.config.concurrency;
        if self.flights.len() < 3 { all } else { (all / 8).max(2).min(all) }
    }

    /// Does what the query wants next, until it waits or is over.
    fn advance(&mut self, cx: &mut Cx<'_>, id: WalkId) {
        while let Some(walk) = self.walks.get_mut(id) {
            match walk.step() {
                Step::Wait => return,
                Step::Flush if self.grows_wary(cx, id) => {}
                Step::Flush => return self.flush(cx, id),
                Step::FromTable => {
                    trace!(cx, Step, "dht_rpc", id: id, rule: "dht_rpc.70", "goes on with the table");
                    self.refill(cx, id);
                }
                Step::Visit(addr) => self.visit(cx, id, addr),
            }
        }
    }

    // dht_rpc.70
    fn refill(&mut self, cx: &mut Cx<'_>, id: WalkId) {
        if let Some(walk) = self.walks.get_mut(id) {
            walk.from_table = true;
        }
        self.fill(cx, id);
    }

    /// Whether what a query has learned makes it ask more before it is over. dht_rpc.99
    fn grows_wary(&mut self, cx: &mut Cx<'_>, id: WalkId) -> bool {
        let Some(walk) = self.walks.get_mut(id) else { return false };
        if !walk.shows_lies() {
            return false;
        }
        self.wary_until = self.wary_until.max(cx.now + WARY);
        if !walk.grow_wary() {
            return false;
        }
        trace!(cx, Step, "dht_rpc", id: id, rule: "dht_rpc.99", "somebody lies: asks more");
        self.fill(cx, id);
        true
    }

    fn visit(&mut self, cx: &mut Cx<'_>, id: WalkId, addr: Addr) {
        let Some(walk) = self.walks.get_mut(id) else { return };
        let ask = Ask {
            internal: walk.query.internal,
            target: Some(walk.query.target),
            value: walk.query.value.clone(),
            sends: if walk.query.sends == 0 { SENDS } else { walk.query.sends },
            ..Ask::new(addr, walk.query.command)
        };
        match self.launch(cx, ask, Owner::Visit(id)) {
            Ok(flight) => {
                if let Some(walk) = self.walks.get_mut(id) {
                    walk.flights.insert(flight);
                }
                self.send_or_queue(cx, flight);
            }
            // no room for another request: as if it had not answered, but nobody is told that it is down
            Err(_) => {
                if let Some(walk) = self.walks.get_mut(id) {
                    walk.lost(addr);
                }
            }
        }
    }

    pub(super) fn on_slow(&mut self, cx: &mut Cx<'_>, id: WalkId, flight: FlightId) {
        let to = self.flights.get_mut(flight).map(|flight| flight.to);
        if let Some(walk) = self.walks.get_mut(id)
            && walk.flights.contains(&flight)
            && walk.slow.insert(flight)
        {
            to.into_iter().for_each(|to| walk.late(to));
            trace!(cx, Step, "dht_rpc", id: id, rule: "dht_rpc.69", "{flight} is late, others are asked");
            self.advance(cx, id);
        }
    }

    pub(super) fn on_visited(
        &mut self,
        cx: &mut Cx<'_>,
        id: WalkId,
        flight: FlightId,
        to: Addr,
        outcome: Result<Reply, Lost>,
    ) {
        // dht_rpc.41
        if outcome == Err(Lost::TimedOut) {
            self.forget_contact(cx, &node_id(to), "dht_rpc.41");
        }
        let Some(walk) = self.walks.get_mut(id) else { return };
        walk.flights.remove(&flight);
        walk.slow.remove(&flight);
        let (down, told) = match &outcome {
            Ok(reply) => {
                let own = self.own_addr;
                let refused = &self.config.refused;
                let skip = |addr: Addr| own == Some(addr) || is_among(refused, addr);
                (walk.answered(reply, skip), Vec::from([reply.from]))
            }
            Err(Lost::TimedOut) => (Vec::from([to]), walk.lost(to)),
            Err(Lost::Cancelled | Lost::Destroyed | Lost::Suspended | Lost::Full | Lost::NoToken) => {
                walk.lost(to);
                (Vec::new(), Vec::new())
            }
        };
        let asker = walk.asker;
        for down in down {
            told.iter().for_each(|referrer| self.hint(cx, *referrer, down)); // dht_rpc.71
        }
        match (asker, outcome) {
            (Asker::User(tag), Ok(reply)) if reply.error == OK => {
                self.event(Event::QueryReply { tag, reply })
            }
            (Asker::Bootstrap | Asker::Refresh, Ok(reply)) => {
                let concurrency = self.background_concurrency();
                if let Some(walk) = self.walks.get_mut(id) {
                    walk.set_concurrency(concurrency);
                }
                if asker == Asker::Bootstrap {
                    self.probe(cx, reply.from);
                }
            }
            (_, Ok(_) | Err(_)) => {}
        }
        self.advance(cx, id);
    }

    /// Tells `referrer` that a node it named does not answer.
    fn hint(&mut self, cx: &mut Cx<'_>, referrer: Addr, down: Addr) {
        // dht_rpc.72
        if self.config.down_hints.is_some_and(|most| self.hints >= most) {
            return;
        }
        let value = Some(wire::encode(&AddressValue(down)));
        let ask = Ask { value, ..Ask::internal(referrer, DOWN_HINT) };
        trace!(cx, Step, "dht_rpc", peer: referrer, rule: "dht_rpc.71", "is told that {down} is down");
        if let Ok(flight) = self.launch(cx, ask, Owner::Hint) {
            self.hints += 1;
            self.stats.down_hints += 1;
            self.send_or_queue(cx, flight);
        }
    }

    /// The walk is over: write, or be done.
    fn flush(&mut self, cx: &mut Cx<'_>, id: WalkId) {
        let Some(walk) = self.walks.get_mut(id) else { return };
        if !walk.query.commit {
            return self.end_walk(cx, id, Ok(()));
        }
        if walk.closest.is_empty() {
            return self.end_walk(cx, id, Err(QueryError::TooFewNodes)); // dht_rpc.74
        }
        let asks: Vec<(Addr, Option<Ask>)> =
            walk.closest.iter().map(|(_, reply)| (reply.from, commit_ask(&walk.query, reply))).collect();
        let late = core::mem::take(&mut walk.flights);
        walk.slow.clear();
        walk.phase = Phase::Committing { left: asks.len(), done: 0 };
        trace!(cx, State, "dht_rpc", id: id, rule: "dht_rpc.73", "writes to the {} closest", asks.len());
        for flight in late {
            self.finish(cx, flight, Err(Lost::Cancelled));
        }
        for (to, ask) in asks {
            let launched = match ask {
                None => Err(Lost::NoToken),
                Some(ask) => self.launch(cx, ask, Owner::Commit(id)).map_err(|_| Lost::Full),
            };
            match launched {
                Ok(flight) => {
                    if let Some(walk) = self.walks.get_mut(id) {
                        walk.flights.insert(flight);
                    }
                    self.send_or_queue(cx, flight);
                }
                Err(lost) => self.committed(cx, id, to, Err(lost)),
            }
        }
    }

    pub(super) fn on_committed(
        &mut self,
        cx: &mut Cx<'_>,
        id: WalkId,
        flight: FlightId,
        to: Addr,
        outcome: Result<Reply, Lost>,
    ) {
        if let Some(walk) = self.walks.get_mut(id) {
            walk.flights.remove(&flight);
            self.committed(cx, id, to, outcome);
        }
    }

    // dht_rpc.75
    fn committed(&mut self, cx: &mut Cx<'_>, id: WalkId, to: Addr, result: Result<Reply, Lost>) {
        let Some(walk) = self.walks.get_mut(id) else { return };
        let Phase::Committing { left, done } = walk.phase else { return };
        let done = done + usize::from(result.as_ref().is_ok_and(|reply| reply.error == OK));
        let left = left.saturating_sub(1);
        walk.phase = Phase::Committing { left, done };
        if let Asker::User(tag) = walk.asker {
            self.event(Event::Committed { tag, to, result });
        }
        if left == 0 {
            let result = if done > 0 { Ok(()) } else { Err(QueryError::NotCommitted) };
            self.end_walk(cx, id, result);
        }
    }

    /// Ends a query. The only place where queries end.
    pub(super) fn end_walk(&mut self, cx: &mut Cx<'_>, id: WalkId, result: Result<(), QueryError>) {
        let Some(walk) = self.walks.remove(id) else { return };
        let (visits, rounds, closest) = (walk.visits(), walk.rounds(), walk.closest.len());
        trace!(
            cx, State, "dht_rpc", id: id, rule: "dht_rpc.54",
            "over, {}: {visits} asked in {rounds} rounds, {closest} closest",
            Ended(result)
        );
        for flight in &walk.flights {
            self.finish(cx, *flight, Err(Lost::Cancelled));
        }
        match walk.asker {
            Asker::User(tag) => {
                self.user_walks.remove(&tag);
                self.stats.walks += 1;
                self.stats.rounds += u64::from(walk.rounds());
                self.stats.visits += walk.visits() as u64;
                let closest = walk.closest.into_iter().map(|(_, reply)| reply).collect();
                self.event(Event::QueryDone { tag, result, closest });
            }
            Asker::Bootstrap => self.on_bootstrap_walked(cx, walk.successes),
            Asker::Refresh => self.on_refreshed(cx, walk.successes),
        }
    }
}

/// How a query ended.
struct Ended(Result<(), QueryError>);

impl core::fmt::Display for Ended {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self.0 {
            Ok(()) => "done",
            Err(QueryError::TooFewNodes) => "nobody answered",
            Err(QueryError::NotCommitted) => "nobody took it",
            Err(QueryError::Cancelled) => "cancelled",
            Err(QueryError::Destroyed) => "the node was destroyed",
        })
    }
}

/// The query's request once more, with the token that the node gave. dht_rpc.73
fn commit_ask(query: &Query, reply: &Reply) -> Option<Ask> {
    let token = reply.token?;
    Some(Ask {
        internal: query.internal,
        target: Some(query.target),
        token: Some(token),
        value: query.value.clone(),
        ..Ask::new(reply.from, query.command)
    })
}
