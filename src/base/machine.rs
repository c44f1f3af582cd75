//! What a machine is: state over time that takes inputs and gives outputs, events and deadlines (laws L1 to L8 in
//! `src/lib.rs`).

use super::trace::{Place, Trace};
use super::{Disk, Entropy, Time};

/// All that a machine may take from the world.
pub struct Cx<'w> {
    /// Microseconds since the node started. Never stored as "now".
    pub now: Time,
    pub entropy: &'w mut dyn Entropy,
    pub disk: &'w mut dyn Disk,
    pub trace: &'w mut dyn Trace,
}

impl Cx<'_> {
    /// Does something for what is part of `place`: a machine that has no name of its own in the transcript.
    pub fn within<T>(&mut self, place: Place, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let before = if self.trace.on() { Some(self.trace.within(Some(place))) } else { None };
        let done = act(self);
        if let Some(before) = before {
            self.trace.within(before);
        }
        done
    }
}

/// When a machine wants `handle_timeout`, and why (for the transcript).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    pub at: Time,
    pub why: &'static str,
}

impl Deadline {
    /// The earlier of two deadlines.
    pub fn earliest(one: Option<Deadline>, other: Option<Deadline>) -> Option<Deadline> {
        match (one, other) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// State over time. Commands are inherent methods that take `cx` too.
pub trait Machine {
    /// Told by the layer below, or the answer to an `Output`.
    type Input<'a>;
    /// Asked of the layer below.
    type Output;
    /// Told to the layer above.
    type Event;
    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Self::Input<'_>);
    fn handle_timeout(&mut self, cx: &mut Cx<'_>);
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Self::Output>;
    fn poll_event(&mut self) -> Option<Self::Event>;
    fn poll_timeout(&self) -> Option<Deadline>;
}
