//! The seam between nodes and the world: where checkers look and a saboteur reaches in. Empty, it costs a comparison.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::HostId;
use super::check::{Arrival, Cause, Checker, Note, Places, Sent, Violation, Watch};
use super::sabotage::Saboteur;
use super::world::World;
use crate::base::{Deadline, Time};
use crate::node::{Event, Output};

/// Outputs of one node at one time; more is a breach of L3.
const POLLS_MAX: usize = 1 << 18;

pub(super) struct Seam {
    watch: Option<Box<Watch>>,
    saboteur: Option<Box<dyn Saboteur>>,
    polls: usize,
    /// Who was heard of last.
    busy: HostId,
}

impl Default for Seam {
    fn default() -> Seam {
        Seam { watch: None, saboteur: None, polls: 0, busy: HostId(0) }
    }
}

impl Seam {
    /// A checker has seen something: the world stands still.
    pub fn broken(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.violation.is_some())
    }

    /// Why the next moment of a host is.
    pub fn cause(&mut self, host: HostId, add: impl FnOnce(&mut Cause)) {
        self.busy = host;
        if let Some(watch) = &mut self.watch {
            add(watch.cause(host));
        }
    }

    /// What the node gets when a datagram reaches its host.
    pub fn arrival<'b>(
        &mut self,
        now: Time,
        host: HostId,
        arrival: Arrival,
        bytes: &'b [u8],
    ) -> Option<Cow<'b, [u8]>> {
        let taken = match &mut self.saboteur {
            Some(saboteur) => Cow::Owned(saboteur.arrival(now, host, arrival.from, bytes)?),
            None => Cow::Borrowed(bytes),
        };
        self.cause(host, |cause| {
            cause.arrivals.push(Arrival { bytes: bytes.to_vec(), ..arrival });
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
        self.busy = host;
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
        places: Places<'_>,
        mut told: Vec<Event>,
    ) -> Vec<Event> {
        if let Some(saboteur) = &mut self.saboteur {
            told = told.into_iter().flat_map(|event| saboteur.event(now, host, event)).collect();
        }
        if let Some(watch) = &mut self.watch {
            watch.observe(now, host, &told, places);
        }
        told
    }

    /// A host's process is about to be gone.
    pub fn stopped(&mut self, now: Time, host: HostId, places: Places<'_>) {
        if let Some(watch) = &mut self.watch {
            watch.cause(host).stopped = true;
            watch.observe(now, host, &[], places);
        }
    }
}

impl World {
    /// Lets something happen. With checkers a panic is L8 broken, and the world stands still; without, it goes on up.
    pub(super) fn guarded(&mut self, happen: impl FnOnce(&mut World)) {
        if self.seam.watch.is_none() {
            return happen(self);
        }
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| happen(self))) else { return };
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a text");
        let (now, host) = (self.now(), self.seam.busy);
        if let Some(watch) = &mut self.seam.watch {
            watch.report("laws.no_panic", now, host, format!("L8: {text}"));
        }
    }

    /// Sets the checkers that look at every step from here on.
    pub fn watch(&mut self, checkers: Vec<Box<dyn Checker>>) {
        self.seam.watch = Some(Box::new(Watch::new(checkers)));
    }

    /// Whether checkers look on.
    pub fn is_watched(&self) -> bool {
        self.seam.watch.is_some()
    }

    /// The first thing that a checker saw. From then on `step` does nothing but let time pass.
    pub fn violation(&self) -> Option<&Violation> {
        self.seam.watch.as_ref()?.violation.as_ref()
    }

    /// Tells the checkers what only the program of a host knows.
    pub fn note(&mut self, host: HostId, note: &Note<'_>) {
        let now = self.now();
        let places = Places { computers: &mut self.computers, internet: &self.internet };
        if let Some(watch) = &mut self.seam.watch {
            watch.note(now, host, note, places);
        }
    }

    /// Sets what stands between all nodes and the world.
    pub fn sabotage(&mut self, saboteur: Box<dyn Saboteur>) {
        self.seam.saboteur = Some(saboteur);
    }
}
