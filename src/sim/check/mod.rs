//! Checkers: what must hold in every world, looked at after every step. Each is a type of its own and says with a
//! `Violation` what it saw.
//!
//! `world.watch(check::all())` sets them on a world; `world.violation()` is the first thing that one of them saw. What
//! only the program knows they are told by `world.note(..)`. A world without checkers pays nothing; with them, the work
//! of a step hangs on what moved in it and not on the size of the world.

pub mod dht_rpc;
pub mod hyperbee;
pub mod hypercore;
pub mod hyperdht;
pub mod laws;
pub mod liveness;
pub mod protomux;
pub mod secret_stream;
pub mod udx;

use std::collections::BTreeMap;
use std::fmt;

use super::computer::Computer;
use super::internet::Internet;
use super::{BoxId, HostId, Kind};
use crate::base::{Addr, Cx, Key, NoTrace, SocketId, Span, Time};
use crate::node::inspect::Core;
use crate::node::{ConnId, CoreId, Event, Node};

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
    /// A bit of its disk rotted.
    pub rotted: bool,
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
    /// The bit that was flipped on the way, if one was; `Some(0)` too if it was injected.
    pub flipped: Option<u64>,
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
    places: Places<'a>,
}

/// All hosts, and what is between them.
pub(super) struct Places<'a> {
    pub computers: &'a mut [Computer],
    pub internet: &'a Internet,
}

impl Moment<'_> {
    /// The process, if one runs.
    pub fn node(&self) -> Option<&Node> {
        self.node_of(self.host)
    }

    /// The process of any host, if one runs there.
    pub fn node_of(&self, host: HostId) -> Option<&Node> {
        self.places.computers.get(host.0)?.node.as_ref()
    }

    pub fn is_frozen(&self, host: HostId) -> bool {
        self.places.computers.get(host.0).is_some_and(|computer| computer.frozen.is_some())
    }

    /// The sockets that a host has open.
    pub fn sockets(&self, host: HostId) -> impl Iterator<Item = SocketId> {
        self.places.computers[host.0].sockets.keys().copied()
    }

    /// The box that a host is behind.
    pub fn home(&self, host: HostId) -> Option<BoxId> {
        self.places.internet.home(host)
    }

    /// What that box does; none is like an open one.
    pub fn kind(&self, host: HostId) -> Kind {
        self.home(host).map_or(Kind::Open, |home| self.places.internet.nat(home).kind())
    }

    /// The time on the host's clock.
    pub fn local(&self) -> Time {
        self.places.computers[self.host.0].running.local(self.now)
    }

    /// Lets `read` look into a core of a host. Nothing that it draws or traces is the node's.
    pub fn read_core<T>(
        &mut self,
        host: HostId,
        core: CoreId,
        read: impl FnOnce(&mut Cx<'_>, &mut Core) -> T,
    ) -> Option<T> {
        let computer = self.places.computers.get_mut(host.0)?;
        let now = computer.running.local(self.now);
        let mut entropy = computer.entropy.clone();
        let mut cx = Cx { now, entropy: &mut entropy, disk: &mut computer.disk, trace: &mut NoTrace };
        Some(read(&mut cx, computer.node.as_mut()?.core_mut(core)?))
    }
}

/// What a program tells the checkers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note<'a> {
    /// It sends this message on a connection without channels.
    Sent { conn: ConnId, bytes: &'a [u8] },
    /// It listens under this key.
    Listens { key: Key },
    /// It calls that key.
    Dials { conn: ConnId, key: Key },
    /// It made an entry of the B-tree on this core, or deleted it (no value); the tree has it at this version.
    Entry { core: Key, version: u64, key: &'a [u8], value: Option<&'a [u8]> },
    /// It asked for something, under a number of its own, that must come to something within this time (from the end
    /// of all faults, if there are any).
    Asked { id: u64, what: &'static str, within: Span },
    /// That came to something, for better or worse.
    Done { id: u64 },
    /// It has ended all that it began, and that had its time to end: nothing may be left over on this host.
    AtRest,
    /// Faults begin (told for any host): what should work may fail.
    Faulty,
    /// All faults are over: from here on everything must work, and what is asked must end.
    Healed,
}

/// Looks at each moment of a world.
pub trait Checker: Send {
    fn name(&self) -> &'static str;
    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict;
    /// A program said something. The moment has no cause.
    fn note(&mut self, _moment: &Moment<'_>, _note: &Note<'_>) -> Verdict {
        Ok(())
    }
}

/// Every checker that a drawn world can have.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(laws::NoSpin),
        Box::new(laws::Bounded::default()),
        Box::new(udx::Reads::default()),
        Box::new(udx::Window::default()),
        Box::new(udx::Outlives::default()),
        Box::new(dht_rpc::Ids::default()),
        Box::new(dht_rpc::Retries::default()),
        Box::new(dht_rpc::Table::default()),
        Box::new(hyperdht::Outcomes::default()),
        Box::new(hyperdht::Sockets::default()),
        Box::new(secret_stream::Flips::default()),
        Box::new(protomux::ClosedStays::default()),
        Box::new(hypercore::OneRoot::default()),
        Box::new(hypercore::Reopened::default()),
        Box::new(hyperbee::Trees::default()),
        Box::new(liveness::Outcome::default()),
        Box::new(liveness::Attempts::default()),
        Box::new(liveness::LeftOver),
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
    pub fn observe(&mut self, now: Time, host: HostId, told: &[Event], places: Places<'_>) {
        let cause = self.causes.remove(&host).unwrap_or_default();
        let mut moment = Moment { now, host, cause: &cause, sent: &self.sent, told, places };
        for checker in &mut self.checkers {
            if let Err(what) = checker.after(&mut moment) {
                let found = Violation { checker: checker.name(), at: now, host: Some(host), what };
                self.violation.get_or_insert(found);
            }
        }
        self.sent.clear();
    }

    pub fn note(&mut self, now: Time, host: HostId, note: &Note<'_>, places: Places<'_>) {
        let cause = Cause::default();
        let moment = Moment { now, host, cause: &cause, sent: &[], told: &[], places };
        for checker in &mut self.checkers {
            if let Err(what) = checker.note(&moment, note) {
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
