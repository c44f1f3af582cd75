//! The client's state: one command at a time, writes by asking the server, reads from the replica. It asks for a
//! connection and for calls, and looks at the replica when it is there. Follows registry.11 to registry.18.

use std::collections::VecDeque;

use super::command::Command;
use super::outcome::{Outcome, Status};
use super::rules::{Answer, Method, NOT_FOUND, check_name};
use crate::base::{Error, Key, Span, Time, limits};
use crate::wire;
use crate::wire::hyperbee::Node;

/// The client's copy of the registry, as it is now.
pub trait Replica {
    /// Blocks whose presence in the log is proven.
    fn length(&self) -> u64;
    /// The longest log that a connected peer has told of; 0 if none has told.
    fn remote_length(&self) -> u64;
    fn peers(&self) -> usize;
    /// `Error::Missing`: a block that the read needs is not here.
    fn get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, Error>;
    fn list(&mut self) -> Result<Vec<Pair>, Error>;
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error>;
}

/// A name and its owner.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Asked of whoever owns the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect to the server; `link_up` or `link_down` follows.
    Dial,
    /// Give the connection or the attempt up; nothing follows.
    HangUp,
    /// Call the server; `answered` follows, unless `link_down` does.
    Call { ticket: u64, method: Method, name: String },
}

/// Why a call has no answer though the link is up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallFault {
    TimedOut,
    /// The server says that it failed.
    Failed(String),
}

/// What a command came to. Reports come in the order of the commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub outcome: Outcome,
    /// For standard error, if something is worth a warning.
    pub warning: Option<&'static str>,
}

/// The read was answered without the server.
pub const MAY_BE_OLD: &str = "the server is not reachable; this is from the local copy and may be old";
/// The server is there, but the copy does not grow to the length that peers tell of.
pub const BEHIND: &str = "the local copy is not complete yet; this may be old";
/// The write is done, but waiting for the replica was given up.
pub const NOT_SHOWN: &str = "the write is done, but the local copy does not show it yet";

/// A client. Commands: `submit`; told: `link_up`, `link_down`, `answered`; `tick` makes progress and must be called
/// after each of them, after the replica changed, and at `deadline`.
#[derive(Debug)]
pub struct Client {
    me: Key,
    link: Link,
    /// Attempts that failed since the link was last up.
    failures: u32,
    started: Time,
    /// Until then a read waits for the first sync.
    grace: Time,
    /// A call timed out: the connection is to be made anew.
    stalled: bool,
    /// Until then reads do not wait for the copy to grow: some peer told of a length that nobody delivers.
    impatient: Time,
    waiting: VecDeque<Command>,
    task: Option<Task>,
    outputs: VecDeque<Output>,
    reports: VecDeque<Report>,
    tickets: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Link {
    Down { retry: Time },
    Dialing { until: Time },
    Up,
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

const DIAL_WAIT: Span = Span::from_secs(20);
const RETRY_FIRST: Span = Span::from_millis(200);
const RETRY_LAST: Span = Span::from_secs(10);
/// How long a read right after the start waits for the connection: with a copy at hand, and without.
const GRACE_AT_START: Span = Span::from_secs(3);
const GRACE_WITHOUT_COPY: Span = Span::from_secs(10);
const GRACE_WHEN_UP: Span = Span::from_secs(5);
const READ_WAIT: Span = Span::from_secs(10);
const IMPATIENCE: Span = Span::from_secs(60);
const CONNECT_WAIT: Span = Span::from_secs(12);
const WRITE_WAIT: Span = Span::from_secs(60);
const SHOW_WAIT: Span = Span::from_secs(30);
/// A write gives up after so many failed attempts to connect.
const FAILURES_MAX: u32 = 2;
/// How long the server may take for an answer.
pub const CALL_WAIT: Span = Span::from_secs(5);

impl Client {
    /// `me` is the public key that the connection will prove.
    pub fn new(now: Time, me: Key) -> Client {
        Client {
            me,
            link: Link::Down { retry: now },
            failures: 0,
            started: now,
            grace: now,
            stalled: false,
            impatient: now,
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
        self.link == Link::Up
    }

    pub fn link_up(&mut self, now: Time) {
        self.link = Link::Up;
        self.failures = 0;
        self.grace = self.grace.max(now + GRACE_WHEN_UP);
    }

    /// The connection broke, or an attempt failed. `draw`: any random number, so that clients do not come back all
    /// at once. (registry.12)
    pub fn link_down(&mut self, now: Time, draw: u64) {
        self.stalled = false;
        let doubled = RETRY_FIRST * (1 << self.failures.min(10));
        let span = doubled.min(RETRY_LAST);
        let jitter = Span::from_micros(draw % (span.as_micros() / 4 + 1));
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Down { retry: now + span + jitter };
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
                self.stalled = true;
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
        self.tick_link(now, draw);
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
        let link = match self.link {
            Link::Down { retry } => Some(retry),
            Link::Dialing { until } => Some(until),
            Link::Up => None,
        };
        let task = match &self.task {
            None => None,
            Some(Task::Read { until, .. }) => Some(*until),
            Some(Task::Write(write)) => Some(match write.phase {
                Phase::Unsent | Phase::Sent { .. } => write.until,
                Phase::Showing { until, .. } => until,
            }),
        };
        [link, task].into_iter().flatten().min()
    }

    fn tick_link(&mut self, now: Time, draw: u64) {
        match self.link {
            Link::Down { retry } if retry <= now => {
                self.link = Link::Dialing { until: now + DIAL_WAIT };
                self.outputs.push_back(Output::Dial);
            }
            Link::Dialing { until } if until <= now => {
                self.outputs.push_back(Output::HangUp);
                self.link_down(now, draw);
            }
            Link::Up if self.stalled => {
                self.outputs.push_back(Output::HangUp);
                self.link_down(now, draw);
            }
            Link::Down { .. } | Link::Dialing { .. } | Link::Up => {}
        }
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
                // registry.16: at once, unless the answer is about to be a better one.
                let patient = self.reachable() && self.impatient <= now;
                let wait = if patient { READ_WAIT } else { Span::ZERO };
                let start = if replica.length() > 0 { GRACE_AT_START } else { GRACE_WITHOUT_COPY };
                let until = (now + wait).max(self.grace).max(self.started + start);
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
            failures: self.failures,
            calls: 0,
            until: now + CONNECT_WAIT,
        }));
    }

    /// True when the read is answered.
    fn read(&mut self, now: Time, what: &Command, until: Time, replica: &mut dyn Replica) -> bool {
        let told = replica.peers() > 0 && replica.remote_length() > 0;
        let fresh = self.reachable() && told && replica.length() >= replica.remote_length();
        // Known to be unreachable: an attempt failed.
        let alone = !self.reachable() && self.failures > 0;
        if !fresh && !alone && now < until {
            return false;
        }
        if !fresh && self.reachable() {
            self.impatient = now + IMPATIENCE;
        }
        if *what == Command::Status {
            let status = Status {
                reachable: self.reachable(),
                length: replica.length(),
                peers: replica.peers(),
                remote_length: replica.remote_length(),
            };
            self.finish(Outcome::Status(status), None);
            return true;
        }
        let warning = match (fresh, self.reachable()) {
            (true, _) => None,
            (false, true) => Some(BEHIND),
            (false, false) => Some(MAY_BE_OLD),
        };
        if replica.length() == 0 && !(self.reachable() && replica.peers() > 0) {
            // registry.17
            self.finish(Outcome::NeverSynced, None);
            return true;
        }
        let outcome = match what {
            Command::Lookup(name) => replica.get(name.as_bytes()).map(|owner| match owner {
                Some(owner) => Outcome::Found { name: name.clone(), owner },
                None => Outcome::NotFound { name: name.clone() },
            }),
            _ => replica.list().map(|entries| Outcome::List { entries }),
        };
        match outcome {
            Ok(outcome) => self.finish(outcome, warning),
            Err(Error::Missing) if now < until && replica.peers() > 0 => return false,
            Err(Error::Missing) => self.finish(Outcome::Incomplete, None),
            Err(error) => self.finish(Outcome::Failed { why: error.to_string() }, None),
        }
        true
    }

    /// True when the write is over. (registry.13)
    fn write(&mut self, now: Time, replica: &mut dyn Replica) -> bool {
        let Some(Task::Write(write)) = &mut self.task else { return true };
        match write.phase {
            Phase::Unsent if self.link == Link::Up => {
                if write.from.is_none() {
                    write.from = Some(replica.length());
                    let owner = replica.get(write.name.as_bytes());
                    write.was_mine = owner.is_ok_and(|owner| owner.as_deref() == Some(&self.me));
                    write.until = now + WRITE_WAIT;
                }
                self.tickets += 1;
                write.calls += 1;
                write.phase = Phase::Sent { ticket: self.tickets };
                let (method, name) = (write.method, write.name.clone());
                self.outputs.push_back(Output::Call { ticket: self.tickets, method, name });
                false
            }
            Phase::Unsent => {
                let failed = self.failures.saturating_sub(write.failures) >= FAILURES_MAX;
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
    while next < replica.length() {
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
