//! The auction in simulated worlds: what its users see, and that every copy agrees with the server at every version,
//! whatever happens to lines, disks and processes.

use std::collections::BTreeMap;

use seckel::app::auction::Auctions;
use seckel::app::auction::client::Report;
use seckel::app::auction::command;
use seckel::app::auction::outcome::Outcome;
use seckel::app::auction::rules::House;
use seckel::app::auction::server::Server;
use seckel::base::{Entropy, Key, Seeded, Span, Time};
use seckel::sim::town::Turn;
use seckel::sim::{Line, NatOptions, TownOf};
use seckel::wire;
use seckel::wire::auction::{Entry, Step};

use crate::support::seed;

type Town = TownOf<Auctions>;

/// What the log is, and what it came to after each block. Nobody may ever see anything else.
#[derive(Default)]
struct Truth {
    blocks: Vec<Vec<u8>>,
    versions: Vec<House>,
    /// Blocks that some client has: they never change.
    seen: usize,
    /// Bids that somebody was told are taken: auction, amount, whose.
    taken: BTreeMap<(u64, u64), Key>,
    /// How long the copies were when they were last looked at; and how often one was longer than before.
    lengths: BTreeMap<usize, usize>,
    looks: u64,
}

/// A town whose programs never fail, what a test asks of it, and the checker of all that happens.
struct Story {
    town: Town,
    truth: Truth,
}

impl Story {
    fn new(seed: u64, line: Line, nodes: u8) -> Story {
        let mut story = Story { town: Town::new(seed), truth: Truth::default() };
        for _ in 0..nodes {
            story.town.add_node();
            story.run(Span::from_secs(2));
        }
        story.town.world.line = line;
        story.town.open_server(None, NatOptions::default()).expect("a new store");
        story
    }

    fn add_client(&mut self) -> usize {
        self.town.add_client(None, NatOptions::default()).expect("a new store")
    }

    fn server(&self) -> Option<&Server> {
        self.town.server.as_ref().and_then(|office| office.program.as_ref())
    }

    fn crash(&mut self) {
        let host = self.town.server.as_ref().expect("a server").host;
        self.town.crash(host);
    }

    fn recover(&mut self) {
        let keys = |story: &Story| story.town.server.as_ref().and_then(|office| office.keys);
        let before = keys(self);
        self.town.start_server().expect("the store opens again");
        assert_eq!(keys(self), before, "the keys outlive a crash");
        self.look_anew();
    }

    /// One thing happens, at most until `until`, and is looked at; false if nothing did.
    fn step(&mut self, until: Time) -> bool {
        match self.town.step(until) {
            Turn::Moved | Turn::Met(_) | Turn::Reported(_) => {
                self.check();
                true
            }
            Turn::TimedOut => false,
            turn @ (Turn::Crashed(_) | Turn::Ended(..)) => panic!("{turn:?}"),
        }
    }

    fn run(&mut self, span: Span) {
        let until = self.town.world.now() + span;
        while self.step(until) {}
    }

    fn until(&mut self, seconds: u64, what: &str, mut done: impl FnMut(&Story) -> bool) {
        let until = self.town.world.now() + Span::from_secs(seconds);
        while !done(self) {
            let moved = self.step(until);
            assert!(moved, "{what}: not within {seconds} s\n{}", self.town.world.last_lines());
        }
    }

    fn reachable(&mut self) {
        self.until(120, "the server is reachable", |story| story.server().is_some_and(Server::reachable));
    }

    /// Every copy is what the server's log was at that length, and comes to what it came to.
    fn check(&mut self) {
        self.look_at_server();
        for (n, citizen) in self.town.clients.iter().enumerate() {
            let Some(program) = &citizen.program else { continue };
            let house = program.mind().house();
            let length = house.length() as usize;
            if self.truth.lengths.insert(n, length) == Some(length) {
                continue;
            }
            self.truth.looks += 1;
            self.truth.seen = self.truth.seen.max(length);
            match self.truth.versions.get(length) {
                Some(version) => assert!(house == version, "client {n} differs at version {length}"),
                None => panic!("client {n} has {length} blocks, the server never had so many"),
            }
        }
    }

    fn look_at_server(&mut self) {
        let Some(office) = &self.town.server else { return };
        let (host, Some(server)) = (office.host, &office.program) else { return };
        let (core, length) = (server.core(), server.house().house().length() as usize);
        let truth = &mut self.truth;
        if truth.versions.is_empty() {
            truth.versions.push(House::new(server.keys().core));
        }
        assert!(length >= truth.blocks.len(), "a log never shrinks while its server is up");
        if length == truth.blocks.len() && length > 0 {
            return;
        }
        while truth.blocks.len() < length {
            let seq = truth.blocks.len() as u64;
            let block = self.town.world.net(host).block(core, seq).expect("sound").expect("its own");
            let mut house = truth.versions.last().expect("one").clone();
            let entry = house.take(&block).expect("a server's log is by the rules");
            assert!(house.proves(&entry.step), "and signed");
            truth.blocks.push(block);
            truth.versions.push(house);
        }
        truth.lengths.clear();
        assert!(server.house().house() == truth.versions.last().expect("one"), "what it answers from");
    }

    /// After a crash: what somebody has is there as it was; what nobody was told of may be gone, or come anew.
    fn look_anew(&mut self) {
        let office = self.town.server.as_ref().expect("a server");
        let (host, server) = (office.host, office.program.as_ref().expect("up"));
        let (core, length) = (server.core(), server.house().house().length() as usize);
        let seen = self.truth.seen;
        assert!(length >= seen, "the server lost a block that somebody has");
        for (seq, known) in self.truth.blocks.iter().enumerate().take(seen) {
            let block = self.town.world.net(host).block(core, seq as u64).expect("sound").expect("its own");
            assert_eq!(block, *known, "block {seq} has changed");
        }
        self.truth.blocks.truncate(seen);
        self.truth.versions.truncate(seen + 1);
        self.check();
    }

    fn submit(&mut self, client: usize, line: &str) {
        let command = command::parse(line).expect("a command").expect("not empty");
        self.town.submit(client, command).expect("room for a command");
    }

    /// Types a line at a client and waits for what it comes to.
    fn ask(&mut self, client: usize, line: &str) -> Report {
        self.submit(client, line);
        self.until(240, line, |story| !story.town.clients[client].reports.is_empty());
        let report = self.town.clients[client].reports.pop_front().expect("there is one");
        self.note(client, &report.outcome);
        report
    }

    /// What somebody was told is never to be untrue.
    fn note(&mut self, client: usize, outcome: &Outcome) {
        let key = self.town.clients[client].program.as_ref().map(|program| program.key());
        if let (Outcome::Bid { auction, amount, .. }, Some(key)) = (outcome, key) {
            self.truth.taken.insert((auction.id, *amount), key);
        }
        assert!(!matches!(outcome, Outcome::Broken { .. } | Outcome::Failed { .. }), "{outcome:?}");
    }

    fn says(&mut self, client: usize, line: &str) -> String {
        self.ask(client, line).outcome.text()
    }

    /// Asks until the server was reached: for worlds in which it comes and goes.
    fn insist(&mut self, client: usize, line: &str) -> String {
        for _ in 0..20 {
            match self.ask(client, line).outcome {
                Outcome::Unreachable | Outcome::Unknown => self.run(Span::from_secs(5)),
                outcome => return outcome.text(),
            }
        }
        panic!("{line}: the server stays out of reach\n{}", self.town.world.last_lines());
    }

    fn key(&mut self, client: usize) -> String {
        self.says(client, "whoami")
    }

    /// All that was told is in the log, under the key that was told.
    fn nothing_is_lost(&self) {
        let house = self.truth.versions.last().expect("a log");
        for (&(id, amount), key) in &self.truth.taken {
            let auction = house.auction(id).unwrap_or_else(|| panic!("auction {id} is gone"));
            let seq = auction.bid_of(amount).unwrap_or_else(|| panic!("bid {amount} on {id} is gone"));
            let entry: Entry = wire::decode(&self.truth.blocks[seq as usize]).expect("an entry");
            assert!(matches!(entry.step, Step::Bid { key: by, .. } if by == *key), "bid {amount} on {id}");
        }
    }
}

const BAD: Line = Line {
    delay: Span::from_millis(20),
    jitter: Span::from_millis(30),
    loss_permille: 200,
    copies_permille: 50,
    ..Line::INTERNET
};

/// The session of the README, in a world where a fifth of all datagrams vanish; the trace's number at the end.
fn session(seed: u64) -> u64 {
    let mut story = Story::new(seed, BAD, 4);
    story.reachable();
    let (alice, bob, carol) = (story.add_client(), story.add_client(), story.add_client());
    let (key_b, key_c) = (story.key(bob), story.key(carol));
    assert_eq!(story.insist(alice, "create A pear --reserve 50"), "Created: 1 \"A pear\"");
    assert_eq!(story.insist(bob, "bid 1 40"), "Bid: 40 on 1 \"A pear\"");
    assert_eq!(story.insist(carol, "bid 1 40"), "Error: Too low: the highest bid is 40");
    assert_eq!(story.insist(carol, "bid 1 60"), "Bid: 60 on 1 \"A pear\"");
    assert!(story.insist(bob, "close 1").contains("only the creator"));
    let won = format!("won by {key_c} for 60");
    assert_eq!(story.insist(alice, "close 1"), format!("Closed: 1 \"A pear\", {won}"));
    assert_eq!(story.insist(bob, "bid 1 70"), "Error: The auction is closed");
    assert_eq!(story.says(bob, "list"), format!("1 \"A pear\": {won}"));
    let verdict = story.says(bob, "verify 1");
    assert!(verdict.starts_with("1 \"A pear\": holds") && verdict.contains(&won), "{verdict}");
    assert!(!verdict.contains(&key_b));
    assert!(story.truth.looks > 10);
    story.nothing_is_lost();
    story.town.world.trace_hash()
}

// proves auction.18
// proves auction.24
#[test]
fn the_auction_runs_under_a_fifth_of_loss_and_the_same_twice() {
    let seed = seed(0xa0c);
    let first = session(seed);
    assert_eq!(session(seed), first, "the same seed gives the same trace");
}

/// An auction ends at its time, though the server was down then; what everybody sees is the same.
// proves auction.19
#[test]
fn the_clock_ends_an_auction_whose_server_was_down() {
    let mut story = Story::new(seed(0xe4d), Line::default(), 2);
    story.reachable();
    let (alice, bob) = (story.add_client(), story.add_client());
    assert_eq!(story.insist(alice, "create quick --ends 20s"), "Created: 1 \"quick\"");
    assert_eq!(story.insist(alice, "create slow --ends 60s"), "Created: 2 \"slow\"");
    assert_eq!(story.insist(bob, "bid 2 5"), "Bid: 5 on 2 \"slow\"");
    let over = |story: &Story, id| {
        let house = story.truth.versions.last().expect("a log");
        house.auction(id).expect("it was created").end
    };
    assert_eq!(over(&story, 1), None);
    story.until(30, "it ends by itself", |story| over(story, 1).is_some());
    let auction =
        |story: &Story, id| story.truth.versions.last().expect("a log").auction(id).cloned().expect("it");
    let quick = auction(&story, 1);
    let end = quick.end.expect("it ended");
    assert!(
        !end.closed && end.time >= quick.ends && end.time < quick.ends + 1000,
        "{end:?}, due {}",
        quick.ends
    );
    story.crash();
    story.run(Span::from_secs(80));
    story.recover();
    story.until(30, "the other, too", |story| over(story, 2).is_some());
    assert!(auction(&story, 2).winner().is_some());
    assert_eq!(story.insist(bob, "bid 2 6"), "Error: The auction is closed");
}

/// The server's machine sleeps past the end of an auction, and its timers with it: the end comes before any bid.
// proves auction.19
#[test]
fn a_host_that_slept_ends_what_is_due_before_it_takes_a_bid() {
    let mut story = Story::new(seed(0x51e), Line::default(), 2);
    story.reachable();
    let (alice, bob) = (story.add_client(), story.add_client());
    assert_eq!(story.insist(alice, "create quick --ends 60s"), "Created: 1 \"quick\"");
    assert_eq!(story.insist(alice, "create slow --ends 2h"), "Created: 2 \"slow\"");
    assert_eq!(story.insist(bob, "bid 1 5"), "Bid: 5 on 1 \"quick\"");
    let host = story.town.server.as_ref().expect("a server").host;
    // On its way while the machine sleeps.
    story.submit(bob, "bid 1 6");
    story.town.world.jump(host, 3_600_000);
    story.until(60, "an answer", |story| !story.town.clients[bob].reports.is_empty());
    let said = story.town.clients[bob].reports.pop_front().expect("one").outcome.text();
    assert_eq!(said, "Error: The auction is closed");
    let house = story.truth.versions.last().expect("a log");
    let quick = house.auction(1).expect("it");
    let end = quick.end.expect("it ended");
    assert!(!end.closed && end.time >= quick.ends + 3_500_000, "by the clock as it is now: {end:?}");
    assert_eq!(quick.winner().map(|best| best.amount), Some(5));
    assert_eq!((end.seq, house.length()), (4, 5), "the end, and nothing else");
    // The next end is planned by that clock, too.
    assert_eq!(story.insist(bob, "bid 2 7"), "Bid: 7 on 2 \"slow\"");
    let over = |story: &Story| story.truth.versions.last().expect("a log").auction(2).expect("it").end;
    story.town.world.jump(host, 3_550_000);
    story.run(Span::from_secs(1));
    assert_eq!(over(&story), None, "49 s are left at the most");
    story.until(60, "the other ends", |story| over(story).is_some());
}

/// The server is killed in the midst of bids and started again, over and over: every client has, at every length that
/// its copy ever has, what the server had then, and no bid that was answered is gone.
#[test]
fn clients_agree_at_every_version_while_the_server_is_killed_and_started_again() {
    let seed = seed(0x9111);
    let mut draw = Seeded::new(seed).fork("load");
    let mut story = Story::new(seed, BAD, 2);
    story.reachable();
    let crowd: Vec<usize> = (0..3).map(|_| story.add_client()).collect();
    story.insist(crowd[0], "create A pear");
    let host = story.town.server.as_ref().expect("a server").host;
    for round in 0..12 {
        for (n, &who) in crowd.iter().enumerate() {
            for more in 0..2 {
                story.submit(who, &format!("bid 1 {}", 10 * round + 3 * more + n as u64 + 1));
            }
        }
        story.run(Span::from_micros(draw.below(4_000_000)));
        story.town.kill(host);
        story.run(Span::from_micros(draw.below(5_000_000)));
        story.recover();
        story.take_reports();
    }
    story.town.world.line = Line::default();
    story.run(Span::from_secs(300));
    story.take_reports();
    story.insist(crowd[0], "create the last");
    story.until(120, "all copies are whole", |story| {
        let whole = story.truth.versions.last().expect("a log").length();
        let mut programs = story.town.clients.iter().filter_map(|citizen| citizen.program.as_ref());
        programs.all(|program| program.mind().house().length() == whole)
    });
    story.nothing_is_lost();
    assert!(story.truth.taken.len() > 5, "{} bids were answered", story.truth.taken.len());
    assert!(story.truth.looks > 20, "{} versions were looked at", story.truth.looks);
}

/// A client that never talked to the server follows from another one.
#[test]
fn a_copy_comes_from_another_client() {
    let mut story = Story::new(seed(0xf01), Line::default(), 3);
    story.reachable();
    let alice = story.add_client();
    assert_eq!(story.insist(alice, "create A pear"), "Created: 1 \"A pear\"");
    assert_eq!(story.insist(alice, "bid 1 7"), "Bid: 7 on 1 \"A pear\"");
    story.run(Span::from_secs(20));
    story.crash();
    let bob = story.add_client();
    let mut said = String::new();
    for _ in 0..30 {
        said = story.says(bob, "list");
        if said.starts_with('1') {
            break;
        }
        story.run(Span::from_secs(5));
    }
    assert_eq!(said, "1 \"A pear\": 7 bid, 1 bid");
    assert!(story.says(bob, "verify 1").starts_with("1 \"A pear\": holds"));
    assert_eq!(story.says(bob, "bid 1 8"), "Error: Server unreachable");
}

/// A crowd that creates, bids and closes while the server's power fails, clients are killed and datagrams vanish.
fn drawn(seed: u64) {
    let mut draw = Seeded::new(seed).fork("load");
    let line = Line { loss_permille: 20 + draw.below(100), ..BAD };
    let mut story = Story::new(seed, line, 2);
    story.reachable();
    let crowd: Vec<usize> = (0..3).map(|_| story.add_client()).collect();
    for round in 0..10 {
        for _ in 0..8 {
            let who = crowd[draw.below(crowd.len() as u64) as usize];
            let known = story.truth.versions.last().map_or(0, House::length);
            let id = 1 + draw.below(known.max(1));
            let line = match draw.below(10) {
                0 | 1 => format!("create lot {round} --ends {}s", 2 + draw.below(60)),
                2 => format!("create lot {round} --reserve {}", 1 + draw.below(100)),
                3 => format!("close {id}"),
                _ => format!("bid {id} {}", 1 + draw.below(200)),
            };
            if story.town.clients[who].program.is_some() {
                story.submit(who, &line);
            }
        }
        story.run(Span::from_micros(draw.below(3_000_000)));
        match draw.below(3) {
            0 => {}
            1 => {
                story.crash();
                story.run(Span::from_micros(draw.below(10_000_000)));
                story.recover();
            }
            _ => {
                let who = crowd[draw.below(crowd.len() as u64) as usize];
                let host = story.town.clients[who].host;
                story.town.kill(host);
                story.run(Span::from_micros(draw.below(2_000_000)));
                story.town.start_client(who).expect("its store opens again");
            }
        }
        story.take_reports();
    }
    // All heals, and everybody comes to the same.
    story.town.world.line = Line::default();
    story.run(Span::from_secs(300));
    story.take_reports();
    let late = story.add_client();
    story.insist(late, "create the last");
    story.until(120, "all copies are whole", |story| {
        let whole = story.truth.versions.last().expect("a log").length();
        let mut programs = story.town.clients.iter().filter_map(|citizen| citizen.program.as_ref());
        programs.all(|program| program.mind().house().length() == whole)
    });
    story.nothing_is_lost();
    let verdict = story.says(late, "verify");
    assert!(verdict.starts_with("The whole log: holds"), "seed {seed:#x}: {verdict}");
    let house = story.truth.versions.last().expect("a log");
    let due = house.auctions().filter(|auction| auction.ends != 0 && auction.end.is_none()).count();
    assert_eq!(due, 0, "seed {seed:#x}: what was due has ended");
    assert!(!story.truth.taken.is_empty(), "seed {seed:#x}: somebody bid");
}

impl Story {
    fn take_reports(&mut self) {
        for client in 0..self.town.clients.len() {
            while let Some(report) = self.town.clients[client].reports.pop_front() {
                self.note(client, &report.outcome);
            }
        }
    }
}

#[test]
fn every_copy_agrees_with_the_server_at_every_version() {
    for n in 0..6 {
        drawn(seed(0xb1d + n));
    }
}
