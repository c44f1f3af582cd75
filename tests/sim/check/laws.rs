//! Planted breaches of the laws.

use seckel::base::Time;
use seckel::node::Output;
use seckel::sim::{HostId, Saboteur};

use super::caught;

/// A node that is not told that its time has come.
struct Deaf;

impl Saboteur for Deaf {
    fn wakes(&mut self, now: Time, host: HostId) -> bool {
        host.0 != 3 || now.as_millis() < 20_000
    }
}

#[test]
fn a_deadline_that_stays_due_is_caught() {
    caught("laws.no_spin", Box::new(Deaf));
}

/// A node that never stops talking.
struct Endless;

impl Saboteur for Endless {
    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        match output {
            None if host.0 == 2 => Some(Output::Close { socket: seckel::base::SocketId(99) }),
            output => output,
        }
    }
}

#[test]
fn outputs_without_end_are_caught() {
    caught("laws.finite", Box::new(Endless));
}
