//! What a machine is: state over time that takes inputs and gives outputs, events and deadlines (laws L1 to L8 in
//! `src/lib.rs`).

use core::fmt;

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
    /// Writes a line to the transcript, if there is one: `cx.trace("udx", format_args!("..."))`.
    pub fn trace(&mut self, layer: &'static str, what: fmt::Arguments<'_>) {
        if self.trace.on() {
            self.trace.line(self.now, layer, what);
        }
    }
}

/// Where the transcript goes.
pub trait Trace {
    /// False: nobody reads, do not bother to make lines.
    fn on(&self) -> bool;
    fn line(&mut self, now: Time, layer: &'static str, what: fmt::Arguments<'_>);
    /// True: session keys are logged (`vendor-protocol-notes/key_log.md`); false: do not bother to make them.
    fn wants_keys(&self) -> bool {
        false
    }
    /// One line of the key log: what it opens, by what that is found on the wire, the secrets in the label's order.
    fn key(&mut self, _label: &'static str, _id: &[u8], _secrets: &[&[u8]]) {}
}

/// No transcript.
pub struct NoTrace;

impl Trace for NoTrace {
    fn on(&self) -> bool {
        false
    }
    fn line(&mut self, _: Time, _: &'static str, _: fmt::Arguments<'_>) {}
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
