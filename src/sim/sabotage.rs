//! What stands between a node and the world and may do what neither would: with it a test plants the bug that a checker
//! looks for. The node itself is the one that always runs.

use super::HostId;
use crate::base::{Addr, Deadline, Time};
use crate::node::{Event, Output};

/// Sees everything that passes between a node and the world, and may change it. All methods leave it as it is.
pub trait Saboteur: Send {
    /// What the world gets when it polls for an output and the node gave this.
    fn output(&mut self, _now: Time, _host: HostId, output: Option<Output>) -> Option<Output> {
        output
    }

    /// What the program is told in place of an event; none, one or many.
    fn event(&mut self, _now: Time, _host: HostId, event: Event) -> Vec<Event> {
        vec![event]
    }

    /// What the node gets when these bytes reach its host; `None`: nothing. Checkers see the bytes as they came.
    fn arrival(&mut self, _now: Time, _host: HostId, _from: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    /// Whether a time-out that is due reaches the node.
    fn wakes(&mut self, _now: Time, _host: HostId) -> bool {
        true
    }

    /// What the world takes for the node's deadline.
    fn deadline(&mut self, _now: Time, _host: HostId, deadline: Option<Deadline>) -> Option<Deadline> {
        deadline
    }
}
