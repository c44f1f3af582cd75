//! The client's state: one command at a time, writes by asking the server, reads from the replica. It asks for a
//! connection and for calls, and looks at the replica when it is there. Follows registry.11 to registry.18.

use std::collections::VecDeque;

use super::command::Command;
use super::outcome::{Outcome, Status};
use super::rules::{self, Answer, Method, NOT_FOUND, check_name};
pub use crate::app::service::link::{BEHIND, CALL_WAIT, MAY_BE_OLD, NOT_SHOWN};
use crate::app::service::link::{CONNECT_WAIT, Link, SHOW_WAIT, Sight, WRITE_WAIT};
pub use crate::app::service::{CallFault, Output};
use crate::base::{Error, Key, Time, limits};
use crate::wire;
use crate::wire::hyperbee::Node;

/// The client's copy of the registry, as it is now.
pub trait Replica {
    /// Its length, the longest log that a connected peer has told of, and the peers.
    fn status(&self, reachable: bool) -> Status;
    /// `Error::Missing`: a block that the read needs is not here.
    fn get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    fn list(&mut self) -> Result<Vec<Pair>, Error>;
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error>;
}

/// A name and its owner.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a command came to. Reports come in the order of the commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub outcome: Outcome,
    /// For standard error, if something is worth a warning.
    pub warning: Option<&'static str>,
}

/// A client. Commands: `submit`; told: `link_up`, `link_down`, `answered`; `tick` makes progress and must be called
/// after each of them, after the replica changed, and at `deadline`.
#[derive(Debug)]
pub struct Client {
    me: Key,
    link: Link,
    waiting: VecDeque<Command>,
    task: Option<Task>,
    outputs: VecDeque<Output>,
    reports: VecDeque<Report>,
    tickets: u64,
}

#[derive(Debug)]
enum Task {
    Read { what: Command, until: Time },
    Write(Write),
}

#[derive(Debug)]
struct Write {
    method: Method,
    name: String,
    phase: Phase,
    /// The replica's length before the call was first made: the write's block comes after it (registry.14).
    from: Option<u64>,
    /// Whether the name was ours then.
    was_mine: bool,
    /// Failures of the link when the command began.
    failures: u32,
    /// Calls made so far.
    calls: u32,
    until: Time,
}

#[derive(Debug)]
enum Phase {
    Unsent,
    Sent {
        ticket: u64,
    },
    /// Answered `OK`; `next` is the first block not looked at yet.
    Showing {
        next: u64,
        until: Time,
    },
}

impl Client {
    /// `me` is the public key that the connection will prove.
    pub fn new(now: Time, me: Key) -> Client {
        Client {
            me,
            link: Link::new(now),
            waiting: VecDeque::new(),
            task: None,
            outputs: VecDeque::new(),
            reports: VecDeque::new(),
            tickets: 0,
        }
    }

    /// Takes a command, to be done when those before it are. `Error::Full`: the queue is at its bound.
    /// (registry.18)
    pub fn submit(&mut self, command: Command) -> Result<(), Error> {
        if self.waiting.len() >= limits::REGISTRY_LINES_MAX {
            return Err(Error::Full);
        }
        self.waiting.push_back(command);
        Ok(())
    }

    /// True while a command is being done or waits.
    pub fn busy(&self) -> bool {
        self.task.is_some() || !self.waiting.is_empty()
    }

    pub fn reachable(&self) -> bool {
        self.link.is_up()
    }

    pub fn link_up(&mut self, now: Time) {
        self.link.up(now);
    }

    /// The connection broke, or an attempt failed. `draw`: any random number. (registry.12)
    pub fn link_down(&mut self, now: Time, draw: u64) {
        self.link.down(now, draw);
        self.unsend();
    }

    /// What was asked is to be asked again.
    fn unsend(&mut self) {
        if let Some(Task::Write(write)) = &mut self.task
            && let Phase::Sent { .. } = write.phase
        {
            write.phase = Phase::Unsent;
        }
    }

    /// What the server said to a call. (registry.11)
    pub fn answered(&mut self, now: Time, ticket: u64, result: Result<String, CallFault>) {
        let Some(Task::Write(write)) = &mut self.task else { return };
        if !matches!(write.phase, Phase::Sent { ticket: sent } if sent == ticket) {
            return;
        }
        let text = match result {
            Ok(text) => text,
            // registry.15: a server that was killed says nothing at all; it is looked for again.
            Err(CallFault::TimedOut) => {
                self.link.stall();
                return;
            }
            Err(CallFault::Failed(why)) => return self.finish(Outcome::Refused { why }, None),
        };
        let name = write.name.clone();
        let again = write.calls > 1;
        let done = match (write.method, Answer::from_text(&text)) {
            (_, Answer::Ok) => None,
            // registry.15: our first call did it, its answer was lost.
            (Method::Register, Answer::Idempotent) if again && !write.was_mine => None,
            (Method::Register, Answer::Idempotent) => Some(Outcome::AlreadyYours { name }),
            (Method::Delete, Answer::Refused(why)) if again && why == NOT_FOUND && write.was_mine => None,
            (Method::Delete, Answer::Idempotent) => Some(Outcome::Refused { why: NOT_FOUND.to_owned() }),
            (_, Answer::Refused(why)) => Some(Outcome::Refused { why }),
        };
        match done {
            Some(outcome) => self.finish(outcome, None),
            None => {
                let next = write.from.unwrap_or(0);
                write.phase = Phase::Showing { next, until: now + SHOW_WAIT };
            }
        }
    }

    /// Makes whatever progress there is to make. `draw`: as for `link_down`.
    pub fn tick(&mut self, now: Time, draw: u64, replica: &mut dyn Replica) {
        if let Some(output) = self.link.tick(now, draw) {
            if output == Output::HangUp {
                self.unsend();
            }
            self.outputs.push_back(output);
        }
        loop {
            if self.task.is_none() {
                let Some(command) = self.waiting.pop_front() else { return };
                self.begin(now, command, replica);
            }
            let done = match &self.task {
                None => true,
                Some(Task::Read { what, until }) => {
                    let (what, until) = (what.clone(), *until);
                    self.read(now, &what, until, replica)
                }
                Some(Task::Write(_)) => self.write(now, replica),
            };
            if !done {
                return;
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// When `tick` wants to be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let task = match &self.task {
            None => None,
            Some(Task::Read { until, .. }) => Some(*until),
            Some(Task::Write(write)) => Some(match write.phase {
                Phase::Unsent | Phase::Sent { .. } => write.until,
                Phase::Showing { until, .. } => until,
            }),
        };
        [self.link.deadline(), task].into_iter().flatten().min()
    }

    fn finish(&mut self, outcome: Outcome, warning: Option<&'static str>) {
        self.task = None;
        self.reports.push_back(Report { outcome, warning });
    }

    fn begin(&mut self, now: Time, command: Command, replica: &mut dyn Replica) {
        match command {
            Command::WhoAmI => self.finish(Outcome::WhoAmI { key: self.me }, None),
            Command::Help => self.finish(Outcome::Help, None),
            Command::Exit => {}
            Command::Lookup(_) | Command::List | Command::Status => {
                let status = replica.status(self.reachable());
                let until = self.link.patience(now, status.length > 0);
                self.task = Some(Task::Read { what: command, until });
            }
            Command::Register(name) => self.begin_write(now, Method::Register, name),
            Command::Delete(name) => self.begin_write(now, Method::Delete, name),
        }
    }

    fn begin_write(&mut self, now: Time, method: Method, name: String) {
        if let Err(fault) = check_name(&name) {
            return self.finish(Outcome::Refused { why: fault.to_string() }, None);
        }
        self.task = Some(Task::Write(Write {
            method,
            name,
            phase: Phase::Unsent,
            from: None,
            was_mine: false,
            failures: self.link.failures(),
            calls: 0,
            until: now + CONNECT_WAIT,
        }));
    }

    /// True when the read is answered.
    fn read(&mut self, now: Time, what: &Command, until: Time, replica: &mut dyn Replica) -> bool {
        let status = replica.status(self.reachable());
        let sight = self.link.sight(now, until, &status);
        match (what, sight) {
            (_, Sight::Wait) => return false,
            (Command::Status, _) => {
                self.finish(Outcome::Status(status), None);
                return true;
            }
            (_, Sight::NeverSynced) => {
                self.finish(Outcome::NeverSynced, None);
                return true;
            }
            (_, Sight::Fresh | Sight::Behind | Sight::Old) => {}
        }
        let outcome = match what {
            Command::Lookup(name) => replica.get(name.as_bytes()).map(|owner| match owner {
                Some(owner) => Outcome::Found { name: name.clone(), owner },
                None => Outcome::NotFound { name: name.clone() },
            }),
            _ => replica.list().map(|entries| Outcome::List { entries }),
        };
        match outcome {
            Ok(outcome) => self.finish(outcome, sight.warning()),
            Err(Error::Missing) if now < until && status.peers > 0 => return false,
            Err(Error::Missing) => self.finish(Outcome::Incomplete, None),
            Err(error) => self.finish(Outcome::Failed { why: error.to_string() }, None),
        }
        true
    }

    /// True when the write is over. (registry.13)
    fn write(&mut self, now: Time, replica: &mut dyn Replica) -> bool {
        let Some(Task::Write(write)) = &mut self.task else { return true };
        match write.phase {
            Phase::Unsent if self.link.is_up() => {
                if write.from.is_none() {
                    write.from = Some(replica.status(true).length);
                    let owner = replica.get(write.name.as_bytes());
                    write.was_mine = owner.is_ok_and(|owner| owner.as_deref() == Some(&self.me));
                    write.until = now + WRITE_WAIT;
                }
                self.tickets += 1;
                write.calls += 1;
                write.phase = Phase::Sent { ticket: self.tickets };
                let (method, value) = (write.method.name(), rules::request(&write.name));
                self.outputs.push_back(Output::Call { ticket: self.tickets, method, value });
                false
            }
            Phase::Unsent => {
                let failed = self.link.hopeless(write.failures);
                if now < write.until && !(failed && write.calls == 0) {
                    return false;
                }
                let outcome = match write.calls {
                    0 => Outcome::Unreachable,
                    _ => Outcome::Unknown { name: write.name.clone() },
                };
                self.finish(outcome, None);
                true
            }
            Phase::Sent { .. } => {
                if now < write.until {
                    return false;
                }
                let name = write.name.clone();
                self.finish(Outcome::Unknown { name }, None);
                true
            }
            Phase::Showing { next, until } => {
                let (next, shown) = scan(next, write, &self.me, replica);
                write.phase = Phase::Showing { next, until };
                if !shown && now < until {
                    return false;
                }
                let name = write.name.clone();
                let outcome = match write.method {
                    Method::Register => Outcome::Registered { name },
                    Method::Delete => Outcome::Deleted { name },
                };
                self.finish(outcome, if shown { None } else { Some(NOT_SHOWN) });
                true
            }
        }
    }
}

/// registry.14: looks for the write's own block among those that came since. Its effect may have been undone by a later
/// one that came along with it, so that looking the name up would wait for ever.
fn scan(mut next: u64, write: &Write, me: &Key, replica: &mut dyn Replica) -> (u64, bool) {
    let wanted = match write.method {
        Method::Register => Some(me.to_vec()),
        Method::Delete => None,
    };
    let length = replica.status(true).length;
    while next < length {
        let Ok(Some(block)) = replica.block(next) else { break };
        next += 1;
        let Ok(node) = wire::decode::<Node>(&block) else { continue };
        if node.key == write.name.as_bytes() && node.value == wanted {
            return (next, true);
        }
    }
    (next, false)
}

#[cfg(test)]
mod tests;
