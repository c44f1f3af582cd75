//! The laws of machines, as far as the world around a node can see them.

use super::{Checker, Moment, Verdict};
use crate::base::Machine;

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
