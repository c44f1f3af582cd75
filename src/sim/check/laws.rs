//! The laws of machines, as far as the world around a node can see them. L3 and L8 the world itself reports, as
//! `laws.finite` and `laws.no_panic`; L2 and L7 take two runs.

use super::{Checker, Moment, Verdict, Violation};
use crate::base::{Machine, Time};
use crate::sim::World;

/// L4: once a node has been woken and drained, its deadline is `None` or later than now.
#[derive(Default)]
pub struct NoSpin;

impl Checker for NoSpin {
    fn name(&self) -> &'static str {
        "laws.no_spin"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        if !moment.cause.due {
            return Ok(());
        }
        let due = moment.node().and_then(Machine::poll_timeout);
        match due.filter(|deadline| deadline.at <= moment.local()) {
            Some(deadline) => Err(format!("\"{}\" stays due since {}", deadline.why, deadline.at)),
            None => Ok(()),
        }
    }
}

/// L6: no queue of a node is longer than its bound.
pub struct Bounded {
    /// Of a thousand of each bound, how many may be used.
    permille: usize,
}

impl Default for Bounded {
    fn default() -> Bounded {
        Bounded { permille: 1000 }
    }
}

impl Bounded {
    /// With bounds of so many thousandths of the true ones.
    pub fn to(permille: usize) -> Bounded {
        Bounded { permille }
    }
}

impl Checker for Bounded {
    fn name(&self) -> &'static str {
        "laws.bounded"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let Some(node) = moment.node() else { return Ok(()) };
        for load in node.loads() {
            if load.len * 1000 > load.max * self.permille {
                return Err(format!("{}: {} of {} at most", load.queue, load.len, load.max));
            }
        }
        Ok(())
    }
}

/// L7: the same run twice is the same to the last byte.
pub fn twice(mut run: impl FnMut() -> World) -> Option<Violation> {
    let (one, other) = (run(), run());
    if one.trace_hash() == other.trace_hash() {
        return None;
    }
    let (first, second) = (one.last_lines(), other.last_lines());
    let differ = first.lines().zip(second.lines()).find(|(one, other)| one != other);
    let what = format!("the second run is another: of their last lines {differ:?}");
    Some(Violation { checker: "laws.same_twice", at: one.now(), host: None, what })
}

/// L2: it does not matter when nodes are drained. `run` says what came of a world; with inputs that are undrained in
/// between it must be the same.
pub fn undrained<T: PartialEq + core::fmt::Debug>(
    seed: u64,
    mut run: impl FnMut(&mut World) -> T,
) -> Option<Violation> {
    let mut at = Time::ZERO;
    let mut come_to = |permille| {
        let mut world = World::new(seed);
        world.undrained_permille = permille;
        let outcome = run(&mut world);
        at = world.now();
        outcome
    };
    let (drained, undrained) = (come_to(0), come_to(500));
    let what = format!("drained each time {drained:?}, else {undrained:?}");
    (drained != undrained).then_some(Violation { checker: "laws.any_order", at, host: None, what })
}
