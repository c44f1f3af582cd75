//! Worlds drawn from a seed: a registry in a town, load, and faults; then everything heals and must finish.
//!
//! `Options::drawn(seed)` is what a seed stands for, `run` runs it, `shrink` finds the least world that still fails.
//! Read `options.rs` (which faults there are) and `plan.rs` (what is done when) first; `ledger.rs` says what must hold
//! while it runs, and below it is said what must hold at the end.

mod acts;
mod ledger;
mod options;
mod plan;
mod shrink;
mod tally;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

pub use options::{Fault, Faults, NotFaults, Options};
pub use shrink::{RUNS_MAX, shrink};
pub use tally::{Attempts, Summary, percentile};

use super::check::{self, Checker, Note, Violation};
use super::town::{Town, Turn};
use super::{HostId, Kind, Line, NatOptions};
use crate::app::registry::command::Command;
use crate::app::registry::outcome::Outcome;
use crate::app::registry::server::Server;
use crate::base::{Error, Key, Span, Time};
use ledger::Ledger;
use plan::{Action, Agenda, Mend};
use tally::Tally;

/// A node joins this long after the one before it.
const NODE_GAP: Span = Span::from_millis(100);
/// Until the server can be found after it was started in a network without faults.
const OPEN_WAIT: Span = Span::from_secs(120);
/// Until everything is well after all faults are over.
const HEAL_WAIT: Span = Span::from_secs(900);
/// How often it is looked at whether all is well.
const LOOK_GAP: Span = Span::from_secs(5);
/// How long a command may take, whatever happens.
const COMMAND_WAIT: Span = Span::from_secs(240);
/// Two hosts behind boxes meet with the help of this many others.
const HELPERS: usize = 6;

/// A world that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub options: Options,
    pub violation: Violation,
    /// The last lines of the transcript.
    pub lines: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\n{}", self.lines, self.violation, self.options)
    }
}

/// Runs the world of `options` to its end.
pub fn run(options: &Options) -> Result<Summary, Box<Failure>> {
    let mut run = Run::new(options, check::all());
    let end = Time::from_micros(u64::MAX);
    match run.advance(end) {
        Ok(_) => Ok(run.summary()),
        Err(violation) => Err(Box::new(run.failure(violation))),
    }
}

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nodes join, the server opens.
    Building,
    /// There are faults and load.
    Faulty,
    /// All faults are over.
    Healing,
    Done,
}

/// A command that waits for what it comes to.
struct Asked {
    command: Command,
    /// Blocks of the log when it was typed, as far as that was known.
    from: u64,
    at: Time,
}

/// A client of a run.
struct Citizen {
    /// Its number in the town.
    n: usize,
    key: Option<Key>,
    asked: VecDeque<Asked>,
    /// Since the faults are over: its last name is registered.
    done: bool,
}

/// A world that runs. See the module's head.
pub struct Run {
    pub town: Town,
    options: Options,
    agenda: Agenda,
    phase: Phase,
    /// When that phase began.
    since: Time,
    /// By their number in the options: they do not come in that order.
    citizens: BTreeMap<usize, Citizen>,
    ledger: Ledger,
    /// The server's process was started since its log was last looked at.
    reopened: bool,
    /// How long hosts stay down whose fuse burns.
    down: BTreeMap<HostId, Span>,
    /// Hosts whose disk is full, or was since their process was started.
    cramped: BTreeMap<HostId, bool>,
    /// Nodes that left for good.
    left: BTreeSet<HostId>,
    tally: Tally,
    healing: Span,
}

impl Run {
    /// A world in which nothing has happened yet.
    pub fn new(options: &Options, checkers: Vec<Box<dyn Checker>>) -> Run {
        let mut town = Town::new(options.seed);
        town.copies = options.copies;
        town.world.watch(checkers);
        let mut run = Run {
            town,
            options: options.clone(),
            agenda: Agenda::default(),
            phase: Phase::Building,
            since: Time::ZERO,
            citizens: BTreeMap::new(),
            ledger: Ledger::default(),
            reopened: true,
            down: BTreeMap::new(),
            cramped: BTreeMap::new(),
            left: BTreeSet::new(),
            tally: Tally::default(),
            healing: Span::ZERO,
        };
        run.town.world.line = Line { delay: run.delay(), ..Line::default() };
        run
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the faults will be over, as far as that is known.
    pub fn faults_end(&self) -> Time {
        let build = NODE_GAP * self.options.nodes as u64;
        match self.phase {
            Phase::Building => Time::ZERO + build + self.options.span(),
            Phase::Faulty => self.since + self.options.span(),
            Phase::Healing | Phase::Done => self.since,
        }
    }

    pub fn summary(&self) -> Summary {
        Summary {
            healing: self.healing,
            proven: self.ledger.proven,
            blocks: self.ledger.length(),
            ..Summary::of(&self.town, &self.tally)
        }
    }

    pub fn failure(&self, violation: Violation) -> Failure {
        Failure { options: self.options.clone(), violation, lines: self.town.world.last_lines() }
    }

    /// Goes on until `until` of the world's time, at most to the end: then the phase is `Done`.
    pub fn advance(&mut self, until: Time) -> Result<Phase, Violation> {
        while self.phase != Phase::Done && self.town.world.now() < until {
            let next = self.agenda.next().unwrap_or(until).min(until).min(self.phase_end());
            let turn = self.town.step(next);
            if let Some(violation) = self.town.world.violation() {
                return Err(violation.clone());
            }
            self.take(turn)?;
            while let Some(action) = self.agenda.pop(self.town.world.now()) {
                self.act(action)?;
            }
            self.go_on()?;
        }
        Ok(self.phase)
    }

    fn violation(&self, checker: &'static str, host: Option<HostId>, what: String) -> Violation {
        Violation { checker, at: self.town.world.now(), host, what }
    }

    fn take(&mut self, turn: Turn) -> Result<(), Violation> {
        match turn {
            Turn::Moved | Turn::TimedOut => Ok(()),
            Turn::Met(meeting) => {
                self.tally.meet(&self.town, &meeting);
                Ok(())
            }
            Turn::Reported(n) => self.reported(n),
            Turn::Crashed(host) => {
                self.gone(host);
                let span = self.down.remove(&host).unwrap_or_default();
                self.later(span, Mend::Restart(host));
                Ok(())
            }
            Turn::Ended(host, error) => {
                self.gone(host);
                if !self.cramped.contains_key(&host) {
                    let what = format!("its program ended: {error}");
                    return Err(self.violation("drawn.program", Some(host), what));
                }
                self.later(Span::from_secs(3), Mend::Restart(host));
                Ok(())
            }
        }
    }

    fn later(&mut self, span: Span, mend: Mend) {
        self.agenda.add(self.town.world.now() + span, Action::Mend(mend));
    }

    /// The process of a host is gone: nobody waits for what its commands come to.
    fn gone(&mut self, host: HostId) {
        for citizen in self.citizens.values_mut() {
            if self.town.clients[citizen.n].host == host {
                citizen.asked.clear();
            }
        }
    }

    fn phase_end(&self) -> Time {
        match self.phase {
            Phase::Building => self.since + OPEN_WAIT + NODE_GAP * self.options.nodes as u64,
            Phase::Faulty => self.since + self.options.span(),
            Phase::Healing | Phase::Done => self.since + HEAL_WAIT,
        }
    }

    /// Begins the next phase if it is time.
    fn go_on(&mut self) -> Result<(), Violation> {
        let now = self.town.world.now();
        let over = now >= self.phase_end();
        match self.phase {
            Phase::Building => self.build(over),
            Phase::Faulty if over => self.heal(),
            Phase::Healing if over => Err(self.unwell()),
            Phase::Faulty | Phase::Healing | Phase::Done => Ok(()),
        }
    }

    /// Adds what is to be there before the first fault.
    fn build(&mut self, over: bool) -> Result<(), Violation> {
        let due = self.since + NODE_GAP * self.town.nodes.len() as u64;
        if self.town.nodes.len() < self.options.nodes.max(1) {
            if self.town.world.now() >= due {
                self.town.add_node();
                self.later(NODE_GAP, Mend::Look);
            } else if self.agenda.next().is_none() {
                self.later(NODE_GAP, Mend::Look);
            }
            return Ok(());
        }
        if self.town.server.is_none() {
            let nat = self.nat_options();
            self.town.place_server(Some(self.options.server_nat), nat);
            self.set_clocks();
            if let Err(error) = self.town.start_server() {
                return Err(self.violation("drawn.build", None, format!("the server: {error}")));
            }
        }
        let server = self.town.server.as_ref().and_then(|office| office.program.as_ref());
        let blocked = self.options.server_nat == Kind::BlockedUdp;
        if server.is_some_and(Server::reachable) || (blocked && over) {
            return self.begin_faults();
        }
        if over {
            let what = "the server cannot be found, and nothing hinders it".to_owned();
            return Err(self.violation("drawn.build", None, what));
        }
        Ok(())
    }

    fn begin_faults(&mut self) -> Result<(), Violation> {
        let now = self.town.world.now();
        (self.phase, self.since) = (Phase::Faulty, now);
        self.agenda = plan::plan(&self.options, now);
        self.set_lines();
        let server = self.town.server.as_ref().map_or(HostId(0), |office| office.host);
        self.town.world.note(server, &Note::Faulty);
        self.look()
    }

    /// All faults are over. Whoever was down is up again.
    fn heal(&mut self) -> Result<(), Violation> {
        (self.phase, self.since) = (Phase::Healing, self.town.world.now());
        self.agenda.clear();
        self.mend_all()?;
        for n in 0..self.options.clients {
            self.arrive(n)?;
        }
        for host in self.hosts() {
            self.town.world.note(host, &Note::Healed);
        }
        self.later(LOOK_GAP, Mend::Look);
        Ok(())
    }

    /// The server's log as it is now, if the server is up.
    fn look(&mut self) -> Result<(), Violation> {
        for citizen in self.citizens.values() {
            let client = &self.town.clients[citizen.n];
            if let Some(program) = &client.program {
                let info = self.town.world.net(client.host).core_info(program.core());
                self.ledger.copied(info.map_or(0, |info| info.length));
            }
        }
        let Some(office) = &self.town.server else { return Ok(()) };
        let Some(server) = &office.program else { return Ok(()) };
        let (host, core) = (office.host, server.core());
        let anew = core::mem::take(&mut self.reopened);
        let verdict = self.ledger.look(&mut self.town.world.net(host), core, anew);
        verdict.map_err(|what| self.violation("drawn.ledger", Some(host), what))
    }

    /// A client has a report.
    fn reported(&mut self, n: usize) -> Result<(), Violation> {
        let Some(report) = self.town.clients[n].reports.pop_front() else { return Ok(()) };
        let host = self.town.clients[n].host;
        let Some(citizen) = self.citizens.values_mut().find(|citizen| citizen.n == n) else { return Ok(()) };
        // Reports of a process that is gone are nobody's.
        let Some(asked) = citizen.asked.pop_front() else { return Ok(()) };
        let Some(key) = citizen.key else { return Ok(()) };
        *self.tally.outcomes.entry(report.outcome.word()).or_default() += 1;
        let core = self.town.clients[n].program.as_ref().map(|program| program.core());
        let info = core.map(|core| self.town.world.net(host).core_info(core));
        let length = info.and_then(Result::ok).map_or(0, |info| info.length);
        let verdict = match (&report.outcome, &asked.command) {
            (Outcome::Refused { why }, Command::Register(name) | Command::Delete(name)) => {
                let cramped = self.cramped.values().any(|&full| full);
                let stored = why == crate::app::registry::rules::STORAGE && cramped;
                if stored { Ok(()) } else { self.ledger.refused(n, key, asked.from, name, why) }
            }
            (Outcome::Failed { .. }, _) if self.cramped.contains_key(&host) => Ok(()),
            (Outcome::Failed { why }, _) => Err(format!("client {n}: {:?} failed: {why}", asked.command)),
            (outcome, _) => self.ledger.told(n, key, asked.from, length, outcome),
        };
        verdict.map_err(|what| self.violation("drawn.answers", Some(host), what))?;
        if self.phase == Phase::Healing {
            self.told_last(n, &asked.command, &report.outcome);
        }
        self.look()
    }

    /// The server and all clients' hosts and all nodes.
    fn hosts(&self) -> Vec<HostId> {
        let server = self.town.server.iter().map(|office| office.host);
        let clients = self.town.clients.iter().map(|client| client.host);
        self.town.nodes.iter().copied().chain(server).chain(clients).collect()
    }

    fn nat_options(&self) -> NatOptions {
        let lifetime = self.options.faults.get(Fault::Lifetime);
        let usual = NatOptions::default();
        NatOptions { lifetime: lifetime.map_or(usual.lifetime, |secs| Span::from_secs(secs.into())), ..usual }
    }

    fn delay(&self) -> Span {
        let delay = self.options.faults.get(Fault::Delay);
        delay.map_or(Line::INTERNET.delay, |millis| Span::from_millis(millis.into()))
    }
}

/// After the faults.
impl Run {
    /// The name that a client registers at last.
    fn last_name(n: usize) -> String {
        format!("last-{n}")
    }

    /// Whether a client must be able to reach the server: as through real boxes (see `tests/sim/nat.rs`).
    fn meets_server(&self, n: usize) -> bool {
        // Whoever has not found out that it can be reached is met like one that cannot: its test may have fallen into
        // a bad moment, and is made again after 240 ticks, twenty minutes (dht_rpc.76).
        let knows = |host| self.town.world.node(host).is_some_and(|node| node.public().is_some());
        let home = |host| self.town.world.home(host).map_or(Kind::Open, |id| self.town.world.kind(id));
        let kind = |host| match home(host) {
            Kind::Open if !knows(host) => Kind::Firewall,
            kind => kind,
        };
        let Some(office) = &self.town.server else { return false };
        let (server, client) = (kind(office.host), kind(self.town.clients[n].host));
        let up = self.town.nodes.iter().filter(|&&host| self.town.world.is_up(host)).count();
        match (server, client) {
            (Kind::BlockedUdp, _) | (_, Kind::BlockedUdp) => false,
            (Kind::Open, _) | (_, Kind::Open) => true,
            (Kind::Symmetric, _) | (_, Kind::Symmetric) => false,
            _ => up >= HELPERS,
        }
    }

    fn told_last(&mut self, n: usize, command: &Command, outcome: &Outcome) {
        let Some((&which, _)) = self.citizens.iter().find(|(_, citizen)| citizen.n == n) else { return };
        let last = matches!(command, Command::Register(name) if *name == Run::last_name(which));
        if last && matches!(outcome, Outcome::Registered { .. } | Outcome::AlreadyYours { .. }) {
            self.citizens.entry(which).and_modify(|citizen| citizen.done = true);
        }
    }

    /// What is still not as it should be.
    fn faults_left(&mut self) -> Vec<(Option<HostId>, String)> {
        let mut left = Vec::new();
        let mut wanted = 0;
        if let Some(office) = &self.town.server
            && let Some(server) = &office.program
        {
            let info = self.town.world.net(office.host).core_info(server.core());
            wanted = info.map_or(0, |info| info.length);
        }
        for (&which, citizen) in &self.citizens {
            let client = &self.town.clients[citizen.n];
            let host = Some(client.host);
            if let Some(asked) = citizen.asked.front() {
                left.push((host, format!("client {which}: {:?} since {}", asked.command, asked.at)));
            }
            if !self.meets_server(citizen.n) {
                continue;
            }
            if !citizen.done {
                left.push((host, format!("client {which} has not registered its last name")));
            }
            let Some(program) = &client.program else { continue };
            let info = self.town.world.net(client.host).core_info(program.core());
            let copied = info.map_or(0, |info| info.contiguous_length);
            if copied != wanted {
                left.push((host, format!("client {which} has {copied} blocks of {wanted}")));
            }
        }
        left
    }

    fn unwell(&mut self) -> Violation {
        let left = self.faults_left();
        let host = left.first().and_then(|(host, _)| *host);
        let left: Vec<String> = left.into_iter().map(|(_, what)| what).collect();
        self.violation("drawn.heal", host, format!("{HEAL_WAIT} after all faults: {}", left.join("; ")))
    }

    /// Looks whether all is well; whoever has not registered its last name tries again.
    fn look_after(&mut self) -> Result<(), Violation> {
        let now = self.town.world.now();
        for which in self.citizens.keys().copied().collect::<Vec<_>>() {
            let citizen = &self.citizens[&which];
            if citizen.done || !citizen.asked.is_empty() {
                continue;
            }
            let n = citizen.n;
            self.type_at(which, Command::Register(Run::last_name(which)));
            if !self.meets_server(n) {
                // It is told that it cannot; once is enough.
                self.citizens.entry(which).and_modify(|citizen| citizen.done = true);
            }
        }
        self.look()?;
        if self.faults_left().is_empty() {
            self.healing = now.since(self.since);
            self.compare()?;
            self.phase = Phase::Done;
        } else {
            self.later(LOOK_GAP, Mend::Look);
        }
        Ok(())
    }

    /// Every copy is the server's tree.
    fn compare(&mut self) -> Result<(), Violation> {
        let all = crate::node::Range::all();
        let Some(office) = &self.town.server else { return Ok(()) };
        let Some(server) = &office.program else { return Ok(()) };
        let names = self.town.world.net(office.host).bee_list(server.core(), &all);
        let names = names.map_err(|error| self.violation("drawn.copies", None, error.to_string()))?;
        let host = Some(office.host);
        if names.len() != self.ledger.owned() {
            let what = format!("{} names, and by the log {}", names.len(), self.ledger.owned());
            return Err(self.violation("drawn.copies", host, what));
        }
        for citizen in self.citizens.values() {
            let client = &self.town.clients[citizen.n];
            let Some(program) = &client.program else { continue };
            if !self.meets_server(citizen.n) {
                continue;
            }
            let copy = self.town.world.net(client.host).bee_list(program.core(), &all);
            if copy.as_ref() != Ok(&names) {
                let what = format!("the copy of client {} is not the server's: {copy:?}", citizen.n);
                return Err(self.violation("drawn.copies", Some(client.host), what));
            }
        }
        Ok(())
    }

    /// A command that waits for ever.
    fn overdue(&self) -> Result<(), Violation> {
        let now = self.town.world.now();
        for (which, citizen) in &self.citizens {
            let host = self.town.clients[citizen.n].host;
            if let Some(asked) = citizen.asked.front()
                && self.town.world.is_up(host)
                && now.since(asked.at) > COMMAND_WAIT * citizen.asked.len() as u64
            {
                let what = format!("client {which}: {:?} since {}", asked.command, asked.at);
                return Err(self.violation("drawn.outcome", Some(host), what));
            }
        }
        Ok(())
    }
}

/// Whether a program that could not start may be excused: its disk is full.
fn excused(cramped: Option<&bool>, error: &Error) -> bool {
    cramped.copied().unwrap_or(false) && matches!(error, Error::Io(_))
}
