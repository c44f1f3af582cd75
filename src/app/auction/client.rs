//! The client's state: one command at a time; steps are signed and asked of the server, everything else is
//! computed from the copy of the log. Follows auction.18 and auction.21 to auction.23; for the connection and
//! for reads it follows registry.12, registry.13 and registry.15 to registry.18.

use std::collections::{BTreeMap, VecDeque};

use super::command::Command;
use super::outcome::Outcome;
pub use super::reader::Replica;
use super::reader::{CHECKS_PER_TURN, Reader};
use super::rules::{self, Answer, Auction, Best, House, Refusal, Request, check_title, signable};
use super::verify::Check;
use super::when::Ends;
use crate::app::service::link::{CONNECT_WAIT, Link, NOT_SHOWN, SHOW_WAIT, Sight, WRITE_WAIT};
use crate::app::service::{CallFault, Output};
use crate::base::{Error, Key, Time, limits};
use crate::node::KeyPair;
use crate::wire;
use crate::wire::auction::{Bid, Close, Create, Deed, Entry, Step};

/// What a command came to. Reports come in the order of the commands; a watch has many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub outcome: Outcome,
    /// For standard error, if something is worth a warning.
    pub warning: Option<&'static str>,
    /// What it says is from a log with blocks that do not count. (auction.15)
    pub faulty: bool,
    /// The command has nothing more to report.
    pub last: bool,
}

/// Bids that `show` shows.
const BIDS_SHOWN: usize = 100;
/// Steps that a watcher is told of before it has its turn again.
const STEPS_PER_TURN: usize = 64;

/// A client. Commands: `submit`; told: `link_up`, `link_down`, `answered`; `tick` makes progress and must be called
/// after each of them, after the copy changed, and at `deadline`.
pub struct Client {
    pair: KeyPair,
    reader: Reader,
    link: Link,
    waiting: VecDeque<Command>,
    task: Option<Task>,
    watch: Option<Watch>,
    outputs: VecDeque<Output>,
    reports: VecDeque<Report>,
    tickets: u64,
}

enum Task {
    Read { what: Command, until: Time },
    Check { check: Box<Check>, sight: Sight },
    Write(Write),
}

struct Write {
    phase: Phase,
    began: Time,
    /// Failures of the link when the command began.
    failures: u32,
    /// Calls made so far.
    calls: u32,
    until: Time,
}

enum Phase {
    /// The auction's terms are not known yet.
    Wanted(Command),
    Unsent(Request),
    Sent {
        ticket: u64,
        request: Request,
    },
    /// Answered: by this block.
    Showing {
        seq: u64,
        again: bool,
        request: Request,
        until: Time,
    },
}

struct Watch {
    id: Option<u64>,
    /// The first block not told of yet.
    next: u64,
    /// Why blocks that are not told of yet do not count.
    refused: BTreeMap<u64, Refusal>,
}

impl Client {
    /// `pair` is what the connection will prove; `core` the key of the log.
    pub fn new(now: Time, pair: KeyPair, core: Key) -> Client {
        Client {
            reader: Reader::new(pair.clone(), core),
            pair,
            link: Link::new(now),
            waiting: VecDeque::new(),
            task: None,
            watch: None,
            outputs: VecDeque::new(),
            reports: VecDeque::new(),
            tickets: 0,
        }
    }

    /// What the copy comes to.
    pub fn house(&self) -> &House {
        self.reader.house()
    }

    /// Takes a command, to be done when those before it are. `Error::Full`: the queue is at its bound.
    pub fn submit(&mut self, command: Command) -> Result<(), Error> {
        if self.waiting.len() >= limits::AUCTION_LINES_MAX {
            return Err(Error::Full);
        }
        self.waiting.push_back(command);
        Ok(())
    }

    /// True while a command is being done or waits; a watch goes on beside others.
    pub fn busy(&self) -> bool {
        self.task.is_some() || !self.waiting.is_empty()
    }

    pub fn link_up(&mut self, now: Time) {
        self.link.up(now);
    }

    /// The connection broke, or an attempt failed. `draw`: any random number.
    pub fn link_down(&mut self, now: Time, draw: u64) {
        self.link.down(now, draw);
        self.unsend();
    }

    /// What was asked is to be asked again: it is signed, so that it counts once. (auction.18)
    fn unsend(&mut self) {
        if let Some(Task::Write(write)) = &mut self.task
            && let Phase::Sent { request, .. } = &write.phase
        {
            write.phase = Phase::Unsent(request.clone());
        }
    }

    /// What the server said to a call.
    pub fn answered(&mut self, now: Time, ticket: u64, result: Result<Answer, CallFault>) {
        let Some(Task::Write(write)) = &mut self.task else { return };
        let Phase::Sent { ticket: sent, request } = &write.phase else { return };
        if *sent != ticket {
            return;
        }
        let (seq, again) = match result {
            Ok(Answer::Ok(seq)) => (seq, false),
            // The answer to our first call was lost, or somebody asked before with our key.
            Ok(Answer::Idempotent(seq)) => (seq, write.calls == 1),
            Ok(Answer::Refused(why)) | Err(CallFault::Failed(why)) => {
                return self.finish(Outcome::Refused { why }, None);
            }
            Err(CallFault::TimedOut) => return self.link.stall(),
        };
        let request = request.clone();
        write.phase = Phase::Showing { seq, again, request, until: now + SHOW_WAIT };
    }

    /// Makes whatever progress there is to make. `draw`: any random number.
    pub fn tick(&mut self, now: Time, draw: u64, replica: &mut dyn Replica) {
        if let Some(output) = self.link.tick(now, draw) {
            if output == Output::HangUp {
                self.unsend();
            }
            self.outputs.push_back(output);
        }
        self.fold(replica);
        loop {
            let done = match self.task.take() {
                None => match self.waiting.pop_front() {
                    Some(command) => {
                        self.begin(now, draw, command, replica);
                        continue;
                    }
                    None => break,
                },
                Some(Task::Read { what, until }) => self.read(now, what, until, replica),
                Some(Task::Check { check, sight }) => self.check(check, sight, replica),
                Some(Task::Write(write)) => self.write(now, write, replica),
            };
            if !done {
                break;
            }
        }
        self.tell_watch(replica);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// When `tick` wants to be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let task = self.task.as_ref().map(|task| match task {
            Task::Read { until, .. } => *until,
            Task::Check { .. } => Time::ZERO,
            Task::Write(write) => match write.phase {
                Phase::Wanted(_) | Phase::Unsent(_) | Phase::Sent { .. } => write.until,
                Phase::Showing { until, .. } => until,
            },
        });
        let behind = self.watch.as_ref().filter(|watch| watch.next < self.house().length());
        let at_once = behind.is_some() || self.reader.behind();
        [self.link.deadline(), task, at_once.then_some(Time::ZERO)].into_iter().flatten().min()
    }

    /// Takes the blocks that came, in their order.
    fn fold(&mut self, replica: &mut dyn Replica) {
        // Who watches all of it is told of what does not count, too: that is kept until then.
        let mut watch = self.watch.as_mut().filter(|watch| watch.id.is_none());
        let until = watch.as_ref().map_or(u64::MAX, |watch| watch.next.saturating_add(CHECKS_PER_TURN));
        self.reader.go(replica, until, |seq, refusal| {
            if let Some(watch) = &mut watch {
                watch.refused.insert(seq, refusal);
            }
        });
    }

    fn report(&mut self, outcome: Outcome, warning: Option<&'static str>, last: bool) {
        let told =
            matches!(outcome, Outcome::List { .. } | Outcome::Show { .. } | Outcome::NoSuchAuction { .. });
        let faulty = told && self.house().faults().1 > 0;
        self.reports.push_back(Report { outcome, warning, faulty, last });
    }

    fn finish(&mut self, outcome: Outcome, warning: Option<&'static str>) {
        self.task = None;
        self.report(outcome, warning, true);
    }

    fn begin(&mut self, now: Time, draw: u64, command: Command, replica: &mut dyn Replica) {
        // The next command ends a watch.
        self.watch = None;
        let has_copy = replica.status(false).length > 0;
        match command {
            Command::WhoAmI => self.finish(Outcome::WhoAmI { key: self.pair.public }, None),
            Command::Help => self.finish(Outcome::Help, None),
            Command::Exit => {}
            Command::List { .. }
            | Command::Show { .. }
            | Command::Watch { .. }
            | Command::Verify { .. }
            | Command::Status => {
                let until = self.link.patience(now, has_copy);
                self.task = Some(Task::Read { what: command, until });
            }
            Command::Create { title, reserve, ends } => {
                if let Err(fault) = check_title(&title) {
                    return self.finish(Outcome::Refused { why: Refusal::Title(fault).to_string() }, None);
                }
                let clock = replica.unix_millis();
                let ends = match ends {
                    None => 0,
                    Some(Ends::At(moment)) => moment,
                    Some(Ends::In(span)) => clock.saturating_add(span).min(rules::AMOUNT_MAX),
                };
                // auction.9: what one key draws at one moment.
                let nonce = (u128::from(draw) << 64 | u128::from(clock)).to_le_bytes();
                let mut create = Create { nonce, title, reserve, ends, signature: [0; 64] };
                create.signature = self.sign(rules::deed_of(&create));
                self.begin_write(now, Phase::Unsent(Request::Create(create)));
            }
            Command::Bid { .. } | Command::Close { .. } => self.begin_write(now, Phase::Wanted(command)),
        }
    }

    fn begin_write(&mut self, now: Time, phase: Phase) {
        let failures = self.link.failures();
        let until = now + CONNECT_WAIT;
        self.task = Some(Task::Write(Write { phase, began: now, failures, calls: 0, until }));
    }

    /// auction.5
    fn sign(&self, deed: Deed) -> [u8; 64] {
        self.pair.sign(&signable(self.house().core(), deed))
    }

    /// True when the read is answered; else it is a task again.
    fn read(&mut self, now: Time, what: Command, until: Time, replica: &mut dyn Replica) -> bool {
        let status = replica.status(self.link.is_up());
        let sight = self.link.sight(now, until, &status);
        match (&what, sight) {
            (_, Sight::Wait) => {
                self.task = Some(Task::Read { what, until });
                return false;
            }
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
        if self.house().length() < status.length {
            if self.reader.behind() {
                self.task = Some(Task::Read { what, until });
                return false;
            }
            match replica.block(self.house().length()) {
                Err(error) => self.finish(Outcome::Failed { why: error.to_string() }, None),
                Ok(_) if now < until && status.peers > 0 => {
                    self.task = Some(Task::Read { what, until });
                    return false;
                }
                Ok(_) => self.finish(Outcome::Incomplete, None),
            }
            return true;
        }
        self.answer(&what, sight, replica);
        true
    }

    fn answer(&mut self, what: &Command, sight: Sight, replica: &mut dyn Replica) {
        let wanted = match what {
            Command::Show { id } => Some(*id),
            Command::Watch { id } | Command::Verify { id } => *id,
            _ => None,
        };
        if let Some(id) = wanted
            && self.house().auction(id).is_none()
        {
            return self.finish(Outcome::NoSuchAuction { id }, sight.warning());
        }
        match what {
            Command::List { open } => {
                let auctions = self.house().auctions().filter(|auction| !open || auction.end.is_none());
                let outcome = Outcome::List { auctions: auctions.cloned().collect() };
                self.finish(outcome, sight.warning());
            }
            Command::Show { id } => {
                let Some(auction) = self.house().auction(*id).cloned() else { return };
                let bids = last_bids(&auction, replica);
                self.finish(Outcome::Show { auction: Box::new(auction), bids }, sight.warning());
            }
            Command::Watch { id } => {
                // auction.23
                let next = id.unwrap_or(self.house().length());
                self.watch = Some(Watch { id: *id, next, refused: BTreeMap::new() });
            }
            _ => {
                let check = Check::new(*self.house().core(), self.house().length(), wanted);
                self.task = Some(Task::Check { check: Box::new(check), sight });
            }
        }
    }

    /// auction.22
    fn check(&mut self, mut check: Box<Check>, sight: Sight, replica: &mut dyn Replica) -> bool {
        match check.go(|seq| replica.block(seq)) {
            Ok(true) => {
                let verdict = check.verdict(self.house());
                self.finish(Outcome::Verified(Box::new(verdict)), sight.warning());
            }
            Ok(false) => {
                self.task = Some(Task::Check { check, sight });
                return false;
            }
            Err(Error::Missing) => self.finish(Outcome::Incomplete, None),
            Err(error) => self.finish(Outcome::Failed { why: error.to_string() }, None),
        }
        true
    }

    /// True when the write is over; else it is a task again.
    fn write(&mut self, now: Time, mut write: Write, replica: &mut dyn Replica) -> bool {
        let up = self.link.is_up();
        if let Phase::Wanted(command) = &write.phase {
            match self.ready(now, command, write.began, replica) {
                Some(Ok(request)) => write.phase = Phase::Unsent(request),
                Some(Err(outcome)) => {
                    self.finish(outcome, None);
                    return true;
                }
                None => {}
            }
        }
        match write.phase {
            Phase::Unsent(request) if up => {
                if write.calls == 0 {
                    write.until = now + WRITE_WAIT;
                }
                self.tickets += 1;
                write.calls += 1;
                let (ticket, method, value) = (self.tickets, request.method(), request.value());
                self.outputs.push_back(Output::Call { ticket, method, value });
                write.phase = Phase::Sent { ticket, request };
            }
            Phase::Showing { seq, again, ref request, until } => {
                let shown = self.house().length() > seq;
                if shown || until <= now {
                    let outcome = self.shown(seq, again, request, replica);
                    self.finish(outcome, if shown { None } else { Some(NOT_SHOWN) });
                    return true;
                }
            }
            Phase::Wanted(_) | Phase::Unsent(_) => {
                let failed = !up && self.link.hopeless(write.failures);
                if self.reader.behind() {
                    // What is here is read first, however long it is.
                    write.until = write.until.max(now + CONNECT_WAIT);
                }
                if write.until <= now || (failed && write.calls == 0) {
                    self.finish(if write.calls == 0 { Outcome::Unreachable } else { Outcome::Unknown }, None);
                    return true;
                }
            }
            Phase::Sent { .. } => {
                if write.until <= now {
                    self.finish(Outcome::Unknown, None);
                    return true;
                }
            }
        }
        self.task = Some(Task::Write(write));
        false
    }

    /// Signs a bid or a close, once the copy shows what it is about. `None`: it may yet.
    fn ready(
        &mut self,
        now: Time,
        command: &Command,
        began: Time,
        replica: &mut dyn Replica,
    ) -> Option<Result<Request, Outcome>> {
        let (id, amount) = match command {
            Command::Bid { id, amount } => (*id, Some(*amount)),
            Command::Close { id } => (*id, None),
            _ => return Some(Err(Outcome::Help)),
        };
        if let Some(auction) = self.house().auction(id) {
            let terms = auction.terms;
            return Some(Ok(match amount {
                Some(amount) => {
                    let signature = self.sign(Deed::Bid { terms, amount });
                    Request::Bid(Bid { auction: id, amount, signature })
                }
                None => {
                    let signature = self.sign(Deed::Close { terms });
                    Request::Close(Close { auction: id, signature })
                }
            }));
        }
        if !self.link.is_up() || self.reader.behind() {
            return None;
        }
        let status = replica.status(true);
        let until = self.link.patience(began, status.length > 0);
        let seen = self.house().length() >= status.length;
        match self.link.sight(now, until, &status) {
            Sight::Wait => None,
            Sight::Fresh if !seen => None,
            Sight::Fresh | Sight::Behind | Sight::Old | Sight::NeverSynced => {
                Some(Err(Outcome::NoSuchAuction { id }))
            }
        }
    }

    /// What a write that the server says is done looks like in the copy.
    fn shown(&self, seq: u64, again: bool, request: &Request, replica: &mut dyn Replica) -> Outcome {
        let id = match request {
            Request::Create(_) => seq,
            Request::Bid(bid) => bid.auction,
            Request::Close(close) => close.auction,
        };
        let wanted = request.clone().step(self.pair.public);
        if self.house().length() > seq {
            let entry = replica.block(seq).ok().flatten();
            let entry = entry.and_then(|block| wire::decode::<Entry>(&block).ok());
            // auction.21: the very step that we signed, and none that the rules do not allow.
            let ours =
                entry.is_some_and(|entry| entry.step == wanted || (again && same(&entry.step, &wanted)));
            let counts = self.house().auction(id).is_some_and(|auction| match request {
                Request::Create(_) => true,
                Request::Bid(bid) => auction.bid_of(bid.amount) == Some(seq),
                Request::Close(_) => auction.end.is_some_and(|end| end.seq == seq),
            });
            if !ours || !counts {
                return Outcome::Broken { seq };
            }
        }
        let Some(auction) = self.house().auction(id).cloned().or_else(|| unseen(id, request, &self.pair))
        else {
            return Outcome::NoSuchAuction { id };
        };
        let auction = Box::new(auction);
        match request {
            Request::Create(_) => Outcome::Created { auction, again },
            Request::Bid(bid) => Outcome::Bid { auction, amount: bid.amount, again },
            Request::Close(_) => Outcome::Closed { auction, again },
        }
    }

    /// auction.23
    fn tell_watch(&mut self, replica: &mut dyn Replica) {
        for _ in 0..STEPS_PER_TURN {
            let Some(watch) = &mut self.watch else { return };
            let house = self.reader.house();
            if watch.next >= house.length() {
                return;
            }
            let (seq, id) = (watch.next, watch.id);
            let Ok(Some(block)) = replica.block(seq) else { return };
            watch.next = match id.and_then(|id| house.auction(id)) {
                // Only those of the auction are read.
                Some(auction) => {
                    let next = auction.blocks().find(|block| *block > seq);
                    next.unwrap_or(house.length())
                }
                None => seq + 1,
            };
            let step = match (watch.refused.remove(&seq), wire::decode::<Entry>(&block)) {
                (Some(why), _) => Err(why),
                (None, Ok(entry)) => Ok(Box::new(entry)),
                (None, Err(fault)) => Err(Refusal::NotAnEntry(fault)),
            };
            let of_it = id.is_none_or(|id| step.as_ref().is_ok_and(|entry| concerns(&entry.step, seq, id)));
            if of_it {
                self.report(Outcome::Step { seq, step }, None, false);
            }
            let over = id.and_then(|id| self.house().auction(id)).filter(|auction| auction.end.is_some());
            if let Some(auction) = over
                && auction.end.is_some_and(|end| end.seq <= seq)
            {
                let auction = Box::new(auction.clone());
                self.watch = None;
                self.report(Outcome::Over { auction }, None, true);
            }
        }
    }
}

/// The same key's step about the same, whenever it was signed.
fn same(one: &Step, other: &Step) -> bool {
    match (one, other) {
        (Step::Create { key, create }, Step::Create { key: by, create: wanted }) => {
            key == by && rules::deed_of(create) == rules::deed_of(wanted)
        }
        (Step::Bid { key, bid }, Step::Bid { key: by, bid: wanted }) => {
            (key, bid.auction, bid.amount) == (by, wanted.auction, wanted.amount)
        }
        (Step::Close { key, close }, Step::Close { key: by, close: wanted }) => {
            (key, close.auction) == (by, wanted.auction)
        }
        _ => false,
    }
}

/// An auction that the copy does not show yet, as its creator knows it.
fn unseen(id: u64, request: &Request, pair: &KeyPair) -> Option<Auction> {
    let Request::Create(create) = request else { return None };
    Some(Auction {
        id,
        creator: pair.public,
        title: create.title.clone(),
        reserve: create.reserve,
        ends: create.ends,
        terms: [0; 32],
        time: 0,
        highest: None,
        bids: Vec::new(),
        end: None,
    })
}

fn concerns(step: &Step, seq: u64, id: u64) -> bool {
    match step {
        Step::Open => false,
        Step::Create { .. } => seq == id,
        Step::Bid { bid, .. } => bid.auction == id,
        Step::Close { close, .. } => close.auction == id,
        Step::End { auction } => *auction == id,
    }
}

fn last_bids(auction: &Auction, replica: &mut dyn Replica) -> Vec<Best> {
    let from = auction.bids.len().saturating_sub(BIDS_SHOWN);
    let last = auction.bids.iter().skip(from);
    let read = |(amount, seq): &(u64, u64)| {
        let block = replica.block(*seq).ok().flatten()?;
        match wire::decode::<Entry>(&block).ok()? {
            Entry { time, step: Step::Bid { key, .. } } => {
                Some(Best { seq: *seq, key, amount: *amount, time })
            }
            _ => None,
        }
    };
    last.filter_map(read).collect()
}

#[cfg(test)]
mod tests;
