//! Planted breaches of the laws.

use seckel::base::{Addr, Span, Time};
use seckel::node::{Event, Output};
use seckel::sim::check::{self, laws};
use seckel::sim::{HostId, Saboteur, World};

use super::{CLIENT, caught, talk};

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

/// A host whose network card stops the whole machine.
struct Crash(u32);

impl Saboteur for Crash {
    fn output(&mut self, _: Time, _: HostId, output: Option<Output>) -> Option<Output> {
        self.0 += 1;
        assert!(self.0 < 2000, "the card is on fire");
        output
    }
}

#[test]
fn a_panic_is_caught() {
    caught("laws.no_panic", Box::new(Crash(0)));
}

/// No bug makes a node break its bounds; so they are drawn tighter than a node that bootstraps keeps.
#[test]
fn a_queue_beyond_its_bound_is_caught() {
    let found = |permille| {
        let mut world = World::new(1);
        world.watch(vec![Box::new(laws::Bounded::to(permille))]);
        crate::support::network(&mut world, 0);
        for n in 0..30 {
            let host = world.add([30, 0, 1, n]);
            world.start(host, crate::support::joining());
        }
        world.run(Span::from_secs(20));
        world.net(HostId(0)).find_nodes([7; 32]);
        world.run(Span::from_secs(5));
        world.violation().map(|violation| violation.checker)
    };
    assert_eq!(found(1000), None);
    assert_eq!(found(1), Some("laws.bounded"));
}

/// A datagram in ten thousand is not what it was in the run before.
struct Moody(u64);

impl Saboteur for Moody {
    fn arrival(&mut self, now: Time, _: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        (now.as_micros() % 10_000 != self.0).then(|| bytes.to_vec())
    }
}

#[test]
fn a_second_run_that_is_another_is_caught() {
    let seed = crate::support::seed(0xc4ed);
    assert_eq!(laws::twice(|| talk(seed, None)), None);
    let mut mood = 0;
    let found = laws::twice(|| {
        mood += 1;
        talk(seed, Some(Box::new(Moody(mood))))
    });
    assert_eq!(found.map(|violation| violation.checker), Some("laws.same_twice"));
}

/// Checkers look on; nothing is otherwise for it.
#[test]
fn checkers_change_nothing() {
    let run = |checkers| {
        let mut world = World::new(crate::support::seed(7));
        world.watch(checkers);
        super::story(&mut world);
        world.trace_hash()
    };
    assert_eq!(run(check::all()), run(Vec::new()));
}

/// Tells the messages of a client only if one datagram came before it was drained.
#[derive(Default)]
struct Hasty {
    came: u32,
    many: bool,
}

impl Saboteur for Hasty {
    fn arrival(&mut self, _: Time, host: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        self.came += u32::from(host == CLIENT);
        Some(bytes.to_vec())
    }

    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        if output.is_none() && host == CLIENT {
            self.many = core::mem::take(&mut self.came) > 1;
        }
        output
    }

    fn event(&mut self, _: Time, host: HostId, event: Event) -> Vec<Event> {
        let lost = host == CLIENT && self.many && matches!(event, Event::Data { .. });
        if lost { Vec::new() } else { vec![event] }
    }
}

#[test]
fn what_is_lost_undrained_is_caught() {
    let seed = crate::support::seed(0xc4ee);
    let found = |hasty: bool| {
        laws::undrained(seed, |world| {
            if hasty {
                world.sabotage(Box::new(Hasty::default()));
            }
            super::story(world)
        })
    };
    assert_eq!(found(false).map(|violation| violation.to_string()), None);
    assert_eq!(found(true).map(|violation| violation.checker), Some("laws.any_order"));
}
