//! What will be done to a world, and when: drawn before it runs, each kind of fault from a source of its own, so that
//! leaving one out leaves the others as they are.

use std::collections::BTreeMap;

use super::options::{Fault, Options};
use crate::app::registry::command::Command;
use crate::base::{Entropy, Seeded, Span, Time};

/// Something that is done at a time. Which host or box is meant is a draw: the one who carries it out takes the
/// remainder by the number of those that there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A client is started for the first time.
    Arrive(usize),
    /// A client types something.
    Type(usize, Command),
    /// A place is cut off.
    Cut {
        who: u64,
        span: Span,
    },
    Reboot {
        who: u64,
    },
    Readdress {
        who: u64,
    },
    Move {
        who: u64,
    },
    Freeze {
        who: u64,
        span: Span,
    },
    /// A process ends, `fuse` things from now if the disk tears, and stays down for `span`.
    Crash {
        whose: Whose,
        who: u64,
        fuse: u64,
        span: Span,
    },
    FullDisk {
        who: u64,
        room: u64,
        span: Span,
    },
    Leave {
        who: u64,
    },
    /// What others bring about.
    Mend(Mend),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    Server,
    Client,
    Node,
}

/// The end of something, for a host by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mend {
    Heal(crate::sim::Place),
    Thaw(crate::sim::HostId),
    Empty(crate::sim::HostId),
    Restart(crate::sim::HostId),
    /// Is everything as it should be?
    Look,
}

/// Actions in the order of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Agenda {
    actions: BTreeMap<(Time, u64), Action>,
    count: u64,
}

impl Agenda {
    pub fn add(&mut self, at: Time, action: Action) {
        self.count += 1;
        self.actions.insert((at, self.count), action);
    }

    pub fn next(&self) -> Option<Time> {
        self.actions.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn pop(&mut self, now: Time) -> Option<Action> {
        self.actions.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }

    /// Drops everything that was planned.
    pub fn clear(&mut self) {
        self.actions.clear();
    }
}

const TEN_MINUTES: u64 = 600_000_000;
/// Clients come within so many seconds.
const ARRIVE_SECONDS: u64 = 20;
const TYPE_FIRST: Span = Span::from_secs(2);
const TYPE_GAP_MICROS: u64 = 12_000_000;

/// Everything that is done in the time of faults, which begins at `begin`.
pub fn plan(options: &Options, begin: Time) -> Agenda {
    let mut agenda = Agenda::default();
    let source = Seeded::new(options.seed).fork("plan");
    for n in 0..options.clients {
        plan_client(options, n, &source.fork(&format!("client {n}")), begin, &mut agenda);
    }
    for (&fault, &strength) in &options.faults.0 {
        let mut draw = source.fork(fault.name());
        for at in times(&mut draw, begin, options.span(), u64::from(strength)) {
            match action(fault, &mut draw) {
                Some(action) => agenda.add(at, action),
                None => break,
            }
        }
    }
    agenda
}

/// About `count` moments in ten minutes. A shorter span has the same ones, as far as it goes.
fn times(draw: &mut Seeded, begin: Time, span: Span, count: u64) -> Vec<Time> {
    let mut source = draw.fork("times");
    let mut at = begin;
    let mut all = Vec::new();
    loop {
        at += Span::from_micros(1 + source.below(2 * TEN_MINUTES / count.max(1)));
        if at.since(begin) >= span {
            return all;
        }
        all.push(at);
    }
}

/// One draw of a fault that comes and goes; none for those that are there all the time.
fn action(fault: Fault, draw: &mut Seeded) -> Option<Action> {
    let who = draw.u64();
    let mut micros = |from: u64, to: u64| Span::from_micros(from + draw.below(to - from));
    let crash = |whose, span, fuse| Some(Action::Crash { whose, who, fuse, span });
    match fault {
        Fault::Cuts => Some(Action::Cut { who, span: micros(100_000, 60_000_000) }),
        Fault::Reboots => Some(Action::Reboot { who }),
        Fault::Readdress => Some(Action::Readdress { who }),
        Fault::Moves => Some(Action::Move { who }),
        Fault::Freeze => Some(Action::Freeze { who, span: micros(10_000, 50_000_000) }),
        Fault::ServerCrash => crash(Whose::Server, micros(1000, 20_000_000), 1 + draw.below(300)),
        Fault::ClientCrash => crash(Whose::Client, micros(1000, 20_000_000), 1 + draw.below(300)),
        Fault::NodeCrash => crash(Whose::Node, micros(1000, 60_000_000), 1 + draw.below(100)),
        Fault::FullDisk => {
            Some(Action::FullDisk { who, span: micros(1_000_000, 40_000_000), room: draw.below(20_000) })
        }
        Fault::Leave => Some(Action::Leave { who }),
        Fault::Delay
        | Fault::Uneven
        | Fault::Loss
        | Fault::Burst
        | Fault::Jitter
        | Fault::Reorder
        | Fault::Copies
        | Fault::Flips
        | Fault::Rate
        | Fault::Mtu
        | Fault::Lifetime
        | Fault::Offset
        | Fault::Drift
        | Fault::Tear => None,
    }
}

/// When a client comes, and what it types.
fn plan_client(options: &Options, n: usize, source: &Seeded, begin: Time, agenda: &mut Agenda) {
    let mut draw = source.clone();
    let mut at = begin + Span::from_micros(draw.below(ARRIVE_SECONDS * 1_000_000));
    agenda.add(at, Action::Arrive(n));
    at += TYPE_FIRST;
    while at.since(begin) < options.span() {
        agenda.add(at, Action::Type(n, command(&mut draw)));
        at += Span::from_micros(1 + draw.below(TYPE_GAP_MICROS));
    }
}

/// Few names, so that clients get into each other's way.
const NAMES: u64 = 12;

fn command(draw: &mut Seeded) -> Command {
    let name = match draw.below(NAMES) {
        0 => "\u{e6}\u{1f350}".to_owned(),
        n => format!("name-{n}"),
    };
    match draw.below(100) {
        0..40 => Command::Register(name),
        40..65 => Command::Lookup(name),
        65..85 => Command::Delete(name),
        85..93 => Command::List,
        93..97 => Command::Status,
        _ => Command::WhoAmI,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(options: &Options) -> Vec<((Time, Action), ())> {
        let mut agenda = plan(options, Time::ZERO);
        let mut all = Vec::new();
        while let Some(at) = agenda.next() {
            all.push(((at, agenda.pop(at).expect("there is one")), ()));
        }
        all
    }

    /// What shrinking stands on: what is left is as it was.
    #[test]
    fn without_a_fault_the_other_draws_are_the_same() {
        for seed in 0..60 {
            let all = Options::drawn(seed);
            let full = planned(&all);
            for &fault in all.faults.0.keys() {
                let mut fewer = all.clone();
                fewer.faults.0.remove(&fault);
                let left = planned(&fewer);
                let mut rest = full.iter();
                assert!(left.iter().all(|one| rest.any(|other| one == other)), "seed {seed} without {fault}");
                let own = full.len() - left.len();
                let mut alone = all.clone();
                alone.faults.0.retain(|other, _| *other == fault);
                alone.clients = 0;
                assert_eq!(planned(&alone).len(), own, "seed {seed}: {fault} alone");
            }
        }
    }

    #[test]
    fn a_shorter_world_begins_like_the_longer_one() {
        for seed in 0..60 {
            let long = Options::drawn(seed);
            let mut short = long.clone();
            short.seconds /= 2;
            let end = Time::ZERO + short.span();
            let mut begin = planned(&long);
            begin.retain(|((at, action), ())| *at < end || matches!(action, Action::Arrive(_)));
            let mut short = planned(&short);
            short.retain(|((at, action), ())| *at < end || matches!(action, Action::Arrive(_)));
            assert_eq!(short, begin, "seed {seed}");
        }
    }
}
