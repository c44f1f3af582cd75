//! The whole registry, DHT included, from one seed: lossy lines, crashes with torn disks, the same trace twice.

use std::collections::BTreeMap;

use seckel::app::registry::client::Report;
use seckel::app::registry::command;
use seckel::app::registry::outcome::Outcome;
use seckel::app::registry::server::Server;
use seckel::base::{Entropy, Seeded, Span, Time};
use seckel::sim::town::Turn;
use seckel::sim::{Line, NatOptions, Town};

use crate::support::seed;

/// A town whose programs never fail, and what a test asks of it.
struct Story {
    town: Town,
}

impl Story {
    fn new(seed: u64, line: Line, nodes: u8) -> Story {
        let mut story = Story { town: Town::new(seed) };
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

    /// The power goes off at the server.
    fn crash(&mut self) {
        let host = self.town.server.as_ref().expect("a server").host;
        self.town.crash(host);
    }

    /// The power comes back: what was synced must be there.
    fn recover(&mut self) {
        let keys = |story: &Story| story.town.server.as_ref().and_then(|office| office.keys);
        let before = keys(self);
        self.town.start_server().expect("the store opens again");
        assert_eq!(keys(self), before, "the keys outlive a crash");
    }

    /// One thing happens, at most until `until`; false if nothing did.
    fn step(&mut self, until: Time) -> bool {
        match self.town.step(until) {
            Turn::Moved | Turn::Met(_) | Turn::Reported(_) => true,
            Turn::TimedOut => false,
            turn @ (Turn::Crashed(_) | Turn::Ended(..)) => panic!("{turn:?}"),
        }
    }

    fn run(&mut self, span: Span) {
        let until = self.town.world.now() + span;
        while self.step(until) {}
    }

    /// Runs until `done`; panics after `seconds` of the world's time, with the last lines.
    fn until(&mut self, seconds: u64, what: &str, mut done: impl FnMut(&Town) -> bool) {
        let until = self.town.world.now() + Span::from_secs(seconds);
        while !done(&self.town) {
            let moved = self.step(until);
            assert!(moved, "{what}: not within {seconds} s\n{}", self.town.world.last_lines());
        }
    }

    fn reachable(&mut self) {
        self.until(120, "the server is reachable", |town| {
            let server = town.server.as_ref().and_then(|office| office.program.as_ref());
            server.is_some_and(Server::reachable)
        });
    }

    fn submit(&mut self, client: usize, line: &str) {
        let command = command::parse(line).expect("a command").expect("not empty");
        self.town.submit(client, command).expect("room for a command");
    }

    /// Types a line at a client and waits for what it comes to.
    fn ask(&mut self, client: usize, line: &str) -> Report {
        self.submit(client, line);
        self.until(180, line, |town| !town.clients[client].reports.is_empty());
        self.town.clients[client].reports.pop_front().expect("there is one")
    }

    fn says(&mut self, client: usize, line: &str) -> String {
        self.ask(client, line).outcome.text()
    }

    /// Asks until the server was reached: for worlds in which it comes and goes.
    fn insist(&mut self, client: usize, line: &str) -> String {
        for _ in 0..20 {
            let report = self.ask(client, line);
            match report.outcome {
                Outcome::Unreachable | Outcome::Unknown { .. } => {
                    self.run(Span::from_secs(5));
                }
                outcome => return outcome.text(),
            }
        }
        panic!("{line}: the server stays out of reach\n{}", self.town.world.last_lines());
    }

    fn key(&mut self, client: usize) -> String {
        self.says(client, "whoami").split_whitespace().last().expect("a key").to_owned()
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
    let (alice, bob) = (story.add_client(), story.add_client());
    let (key_a, key_b) = (story.key(alice), story.key(bob));
    assert_eq!(story.insist(alice, "register alice"), "Registered: alice");
    assert_eq!(story.insist(alice, "register alice"), "Already registered by you: alice");
    assert_eq!(story.insist(bob, "register alice"), "Error: Username already taken");
    assert_eq!(story.insist(bob, "register Zoë"), "Registered: Zoë");
    assert_eq!(story.says(bob, "lookup alice"), format!("alice -> {key_a}"));
    assert_eq!(
        story.insist(bob, "delete alice"),
        "Error: Unauthorized: only the owner can delete this username"
    );
    assert_eq!(story.insist(alice, "delete alice"), "Deleted: alice");
    assert_eq!(story.insist(bob, "register alice"), "Registered: alice");
    assert_eq!(story.says(bob, "list"), format!("Zoë: {key_b}\nalice: {key_b}"));
    story.town.world.trace_hash()
}

#[test]
fn the_registry_runs_under_a_fifth_of_loss_and_the_same_twice() {
    let seed = seed(0x5ec);
    let first = session(seed);
    assert_eq!(session(seed), first, "the same seed gives the same trace");
    assert_ne!(session(seed + 1), first, "another seed gives another");
}

/// Registers while the server's power fails again and again: what was answered is there, the tree is whole.
fn crashes(seed: u64) {
    let line = Line { loss_permille: 50, ..BAD };
    let mut story = Story::new(seed, line, 2);
    story.reachable();
    let (alice, bob) = (story.add_client(), story.add_client());
    let key = story.key(alice);
    let mut draw = Seeded::new(seed).fork("crashes");
    let mut acknowledged: BTreeMap<String, bool> = BTreeMap::new();
    for round in 0..12 {
        let names: Vec<String> = (0..4).map(|n| format!("name-{round}-{n}")).collect();
        for name in &names {
            story.submit(alice, &format!("register {name}"));
        }
        story.run(Span::from_micros(draw.below(400_000)));
        story.crash();
        story.recover();
        let mut left = names.len();
        while left > 0 {
            story.until(300, "an outcome", |town| !town.clients[alice].reports.is_empty());
            let report = story.town.clients[alice].reports.pop_front().expect("there is one");
            left -= 1;
            match report.outcome {
                Outcome::Registered { name } | Outcome::AlreadyYours { name } => {
                    acknowledged.insert(name, true);
                }
                Outcome::Unreachable | Outcome::Unknown { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(!acknowledged.is_empty());
    // Everything that was acknowledged is there, for the one who wrote it and for another.
    assert!(story.insist(bob, "register last").starts_with("Registered"));
    for name in acknowledged.keys() {
        assert_eq!(story.says(bob, &format!("lookup {name}")), format!("{name} -> {key}"), "seed {seed:#x}");
    }
    let listed = story.says(bob, "list");
    assert!(listed.lines().zip(listed.lines().skip(1)).all(|(one, next)| one < next), "in order");
}

#[test]
fn what_was_answered_outlives_torn_disks() {
    for n in 0..6 {
        crashes(seed(0xdead + n));
    }
}

/// Reads go on without the server, and say so; a client that never had a copy says that.
#[test]
fn reads_go_on_without_the_server() {
    let mut story = Story::new(seed(3), Line::default(), 2);
    story.reachable();
    let alice = story.add_client();
    assert_eq!(story.insist(alice, "register alice"), "Registered: alice");
    story.crash();
    story.run(Span::from_secs(60));
    let before = story.town.world.now();
    let report = story.ask(alice, "lookup alice");
    assert!(matches!(report.outcome, Outcome::Found { .. }));
    assert!(report.warning.is_some(), "it may be old, and says so");
    assert!(story.town.world.now().since(before) < Span::from_millis(100), "at once");
}

#[test]
fn a_client_without_a_copy_says_so() {
    let mut story = Story::new(seed(4), Line::default(), 1);
    story.reachable();
    story.crash();
    let alice = story.add_client();
    let report = story.ask(alice, "lookup alice");
    assert_eq!(report.outcome, Outcome::NeverSynced);
}
