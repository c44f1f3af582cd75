//! The seam between nodes and the world: where checkers look and a saboteur reaches in. Empty, it costs a comparison.

use std::borrow::Cow;

use super::HostId;
use super::check::{Arrival, Cause, Checker, Note, Sent, Violation, Watch};
use super::computer::Computer;
use super::sabotage::Saboteur;
use super::world::World;
use crate::base::{Addr, Deadline, SocketId, Time};
use crate::node::{Event, Output};

/// Outputs of one node at one time; more is a breach of L3.
const POLLS_MAX: usize = 1 << 18;

#[derive(Default)]
pub(super) struct Seam {
    watch: Option<Box<Watch>>,
    saboteur: Option<Box<dyn Saboteur>>,
    polls: usize,
}

impl Seam {
    /// A checker has seen something: the world stands still.
    pub fn broken(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.violation.is_some())
    }

    /// Why the next moment of a host is.
    pub fn cause(&mut self, host: HostId, add: impl FnOnce(&mut Cause)) {
        if let Some(watch) = &mut self.watch {
            add(watch.cause(host));
        }
    }

    /// What the node gets when a datagram reaches its host.
    pub fn arrival<'b>(
        &mut self,
        now: Time,
        host: HostId,
        socket: SocketId,
        from: Addr,
        bytes: &'b [u8],
    ) -> Option<Cow<'b, [u8]>> {
        let taken = match &mut self.saboteur {
            Some(saboteur) => Cow::Owned(saboteur.arrival(now, host, from, bytes)?),
            None => Cow::Borrowed(bytes),
        };
        self.cause(host, |cause| {
            cause.arrivals.push(Arrival { socket, from, bytes: bytes.to_vec() });
        });
        Some(taken)
    }

    /// Whether the time-out of a host that is due reaches its node.
    pub fn wakes(&mut self, now: Time, host: HostId) -> bool {
        self.cause(host, |cause| cause.due = true);
        self.saboteur.as_mut().is_none_or(|saboteur| saboteur.wakes(now, host))
    }

    pub fn deadline(&mut self, now: Time, host: HostId, deadline: Option<Deadline>) -> Option<Deadline> {
        match &mut self.saboteur {
            Some(saboteur) => saboteur.deadline(now, host, deadline),
            None => deadline,
        }
    }

    pub fn output(&mut self, now: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        let output = match &mut self.saboteur {
            Some(saboteur) => saboteur.output(now, host, output),
            None => output,
        };
        let Some(watch) = &mut self.watch else { return output };
        if let Some(Output::Send { socket, to, bytes, .. }) = &output {
            watch.sent.push(Sent { socket: *socket, to: *to, bytes: bytes.clone() });
        }
        self.polls += 1;
        if output.is_none() {
            self.polls = 0;
        } else if self.polls >= POLLS_MAX {
            self.polls = 0;
            watch.report("laws.finite", now, host, format!("L3: {POLLS_MAX} outputs, and no end"));
            return None;
        }
        output
    }

    /// What the program is told once the node is drained.
    pub fn events(
        &mut self,
        now: Time,
        host: HostId,
        computers: &mut [Computer],
        mut told: Vec<Event>,
    ) -> Vec<Event> {
        if let Some(saboteur) = &mut self.saboteur {
            told = told.into_iter().flat_map(|event| saboteur.event(now, host, event)).collect();
        }
        if let Some(watch) = &mut self.watch {
            watch.observe(now, host, &told, computers);
        }
        told
    }

    /// A host's process is about to be gone.
    pub fn stopped(&mut self, now: Time, host: HostId, computers: &mut [Computer]) {
        if let Some(watch) = &mut self.watch {
            watch.cause(host).stopped = true;
            watch.observe(now, host, &[], computers);
        }
    }
}

impl World {
    /// Sets the checkers that look at every step from here on.
    pub fn watch(&mut self, checkers: Vec<Box<dyn Checker>>) {
        self.seam.watch = Some(Box::new(Watch::new(checkers)));
    }

    /// The first thing that a checker saw. From then on `step` does nothing but let time pass.
    pub fn violation(&self) -> Option<&Violation> {
        self.seam.watch.as_ref()?.violation.as_ref()
    }

    /// Tells the checkers what only the program of a host knows.
    pub fn note(&mut self, host: HostId, note: &Note<'_>) {
        let now = self.now();
        if let Some(watch) = &mut self.seam.watch {
            watch.note(now, host, note);
        }
    }

    /// Sets what stands between all nodes and the world.
    pub fn sabotage(&mut self, saboteur: Box<dyn Saboteur>) {
        self.seam.saboteur = Some(saboteur);
    }
}
