//! That things end: what is asked comes to something, and nothing is left over.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Moment, Note, Verdict};
use crate::base::{Span, Time};
use crate::node::Node;
use crate::node::inspect::{Attempt, Remains};
use crate::sim::HostId;

/// Once faults are healed, everything asked has an outcome within its bound: programs say by `Note::Asked` and
/// `Note::Done`.
#[derive(Default)]
pub struct Outcome {
    open: BTreeMap<(HostId, u64), (&'static str, Span, Time)>,
    due: BTreeMap<(Time, HostId, u64), ()>,
    faulty: bool,
}

impl Checker for Outcome {
    fn name(&self) -> &'static str {
        "liveness.outcome"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        if moment.cause.started || moment.cause.stopped {
            self.open.retain(|(host, _), _| *host != moment.host);
        }
        while let Some((&(at, host, id), ())) = self.due.first_key_value()
            && at <= moment.now
            && !self.faulty
        {
            self.due.remove(&(at, host, id));
            if let Some((what, _, since)) = self.open.get(&(host, id)) {
                let waited = moment.now.since(*since);
                return Err(format!("{what} of host {}: no outcome after {waited}", host.0));
            }
        }
        Ok(())
    }

    fn note(&mut self, moment: &Moment<'_>, note: &Note<'_>) -> Verdict {
        let (now, host) = (moment.now, moment.host);
        match note {
            Note::Asked { id, what, within } => {
                self.open.insert((host, *id), (what, *within, now));
                self.due.insert((now + *within, host, *id), ());
            }
            Note::Done { id } if self.open.remove(&(host, *id)).is_none() => {
                return Err(format!("request {id}: another outcome"));
            }
            Note::Faulty => self.faulty = true,
            Note::Healed => {
                self.faulty = false;
                self.due =
                    self.open.iter().map(|(&(host, id), open)| ((now + open.1, host, id), ())).collect();
            }
            _ => {}
        }
        Ok(())
    }
}

/// How long an attempt to connect takes at most (a minute), and a look-up: as many nodes as it may ask, ten at a time,
/// none of which answers. And something for the rounding.
fn longest(attempt: Attempt) -> Span {
    match attempt {
        Attempt::Connection(_) => Span::from_secs(65),
        Attempt::Lookup(_) => Span::from_secs(180),
    }
}

/// The same for a connection that had to wait for its turn to search. hyperdht.137
const WITH_WAITS: Span = Span::from_secs(245);

/// No attempt to connect and no look-up takes longer than it may, faults or not.
#[derive(Default)]
pub struct Attempts {
    begun: BTreeMap<(HostId, Attempt), Time>,
    due: BTreeSet<(Time, HostId, Attempt)>,
}

impl Checker for Attempts {
    fn name(&self) -> &'static str {
        "liveness.attempts"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let (now, host) = (moment.now, moment.host);
        if moment.cause.started || moment.cause.stopped {
            self.begun.retain(|(owner, _), _| *owner != host);
        }
        // They begin by a command, or when a swarm's time has come.
        if moment.cause.arrivals.is_empty()
            && let Some(node) = moment.node()
        {
            for attempt in node.attempts() {
                self.begun.entry((host, attempt)).or_insert_with(|| {
                    self.due.insert((now + longest(attempt), host, attempt));
                    now
                });
            }
        }
        while let Some(&(at, host, attempt)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            // Another process may have begun another attempt under the same id.
            let begun = self.begun.get(&(host, attempt)).filter(|begun| **begun + longest(attempt) <= now);
            if begun.is_none() {
                continue;
            }
            let goes_on = |node: &Node| node.attempts().any(|other| other == attempt);
            if !moment.node_of(host).is_some_and(goes_on) {
                self.begun.remove(&(host, attempt));
            } else if moment.is_frozen(host) {
                self.due.insert((now + longest(attempt), host, attempt));
            } else {
                let took = begun.map_or(Span::ZERO, |begun| now.since(*begun));
                let waited = moment.node_of(host).is_some_and(|node| node.waits() > 0);
                if waited && took < WITH_WAITS && matches!(attempt, Attempt::Connection(_)) {
                    self.due.insert((now + (WITH_WAITS - took), host, attempt));
                    continue;
                }
                return Err(format!("{attempt:?} of host {} goes on after {took}", host.0));
            }
        }
        Ok(())
    }
}

/// Nothing is left over: programs say by `Note::AtRest` that they have ended all that they began, and that it had its
/// time to end.
#[derive(Default)]
pub struct LeftOver;

impl Checker for LeftOver {
    fn name(&self) -> &'static str {
        "liveness.left_over"
    }

    fn after(&mut self, _: &mut Moment<'_>) -> Verdict {
        Ok(())
    }

    fn note(&mut self, moment: &Moment<'_>, note: &Note<'_>) -> Verdict {
        let (Note::AtRest, Some(node)) = (note, moment.node()) else { return Ok(()) };
        let left = node.remains();
        // What a node asks of its own accord comes and goes.
        let own = Remains { requests: 0, queries: 0, questions: 0, ..left };
        if own != Remains::default() {
            return Err(format!("left over: {left:?}"));
        }
        Ok(())
    }
}
