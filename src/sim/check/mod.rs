//! Checkers: what must hold in every world, looked at after every step. Each is a type of its own and says with a
//! `Violation` what it saw.
//!
//! `world.watch(check::all())` sets them on a world; `world.violation()` is the first thing that one of them saw. What
//! only the program knows they are told by `world.note(..)`. A world without checkers pays nothing; with them, the work
//! of a step hangs on what moved in it and not on the size of the world.

pub mod dht_rpc;
pub mod laws;
pub mod udx;

use std::collections::BTreeMap;
use std::fmt;

use super::HostId;
use super::computer::Computer;
use crate::base::{Addr, SocketId, Time};
use crate::node::{ConnId, Event, Node};

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Name of the checker, such as `dht_rpc.ids`.
    pub checker: &'static str,
    pub at: Time,
    pub host: Option<HostId>,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.at, self.checker)?;
        if let Some(host) = self.host {
            write!(f, "host {}: ", host.0)?;
        }
        f.write_str(&self.what)
    }
}

/// What a checker says of a moment: nothing, or what is wrong.
pub type Verdict = Result<(), String>;

/// Why a host did something; all false: its program gave a command.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cause {
    /// Its process was started.
    pub started: bool,
    /// Its process is about to be gone: killed, or the power went off.
    pub stopped: bool,
    /// Its process goes on after it was frozen.
    pub thawed: bool,
    /// A deadline of its node is reached.
    pub due: bool,
    /// Datagrams came in.
    pub arrivals: Vec<Arrival>,
}

/// A datagram as it reaches a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub socket: SocketId,
    /// Where it seems to come from.
    pub from: Addr,
    pub bytes: Vec<u8>,
}

/// A datagram as it leaves a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    pub socket: SocketId,
    pub to: Addr,
    pub bytes: Vec<u8>,
}

/// What one host did at one time, until it had nothing more to say.
pub struct Moment<'a> {
    pub now: Time,
    pub host: HostId,
    pub cause: &'a Cause,
    pub sent: &'a [Sent],
    /// Events that the program is told.
    pub told: &'a [Event],
    computers: &'a mut [Computer],
}

impl Moment<'_> {
    /// The process, if one runs.
    pub fn node(&self) -> Option<&Node> {
        self.node_of(self.host)
    }

    /// The process of any host, if one runs there.
    pub fn node_of(&self, host: HostId) -> Option<&Node> {
        self.computers.get(host.0)?.node.as_ref()
    }

    pub fn is_frozen(&self, host: HostId) -> bool {
        self.computers.get(host.0).is_some_and(|computer| computer.frozen.is_some())
    }

    /// The time on the host's clock.
    pub fn local(&self) -> Time {
        self.computers[self.host.0].running.local(self.now)
    }
}

/// What a program tells the checkers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note<'a> {
    /// It sends this message on a connection without channels.
    Sent { conn: ConnId, bytes: &'a [u8] },
    /// All faults are over: from here on everything that is asked must end.
    Healed,
}

/// Looks at each moment of a world.
pub trait Checker: Send {
    fn name(&self) -> &'static str;
    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict;
    fn note(&mut self, _now: Time, _host: HostId, _note: &Note<'_>) -> Verdict {
        Ok(())
    }
}

/// Every checker that a drawn world can have.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(dht_rpc::Ids::default()),
        Box::new(dht_rpc::Retries::default()),
        Box::new(laws::NoSpin::default()),
        Box::new(udx::Reads::default()),
        Box::new(udx::Window::default()),
        Box::new(udx::Outlives::default()),
    ]
}

/// The checkers of a world, and what they are about to see.
pub(super) struct Watch {
    checkers: Vec<Box<dyn Checker>>,
    /// Why hosts will do something once they are drained.
    causes: BTreeMap<HostId, Cause>,
    pub sent: Vec<Sent>,
    pub violation: Option<Violation>,
}

impl Watch {
    pub fn new(checkers: Vec<Box<dyn Checker>>) -> Watch {
        Watch { checkers, causes: BTreeMap::new(), sent: Vec::new(), violation: None }
    }

    pub fn cause(&mut self, host: HostId) -> &mut Cause {
        self.causes.entry(host).or_default()
    }

    /// Shows a moment to all checkers; the first thing that is wrong is kept.
    pub fn observe(&mut self, now: Time, host: HostId, told: &[Event], computers: &mut [Computer]) {
        let cause = self.causes.remove(&host).unwrap_or_default();
        for checker in &mut self.checkers {
            let mut moment = Moment { now, host, cause: &cause, sent: &self.sent, told, computers };
            if let Err(what) = checker.after(&mut moment) {
                let found = Violation { checker: checker.name(), at: now, host: Some(host), what };
                self.violation.get_or_insert(found);
            }
        }
        self.sent.clear();
    }

    pub fn note(&mut self, now: Time, host: HostId, note: &Note<'_>) {
        for checker in &mut self.checkers {
            if let Err(what) = checker.note(now, host, note) {
                let found = Violation { checker: checker.name(), at: now, host: Some(host), what };
                self.violation.get_or_insert(found);
            }
        }
    }

    /// Something that the world itself saw.
    pub fn report(&mut self, checker: &'static str, now: Time, host: HostId, what: String) {
        self.violation.get_or_insert(Violation { checker, at: now, host: Some(host), what });
    }
}
