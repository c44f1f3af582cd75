//! The whole registry, DHT included, from one seed: lossy lines, crashes with torn disks, the same trace twice.

use std::collections::{BTreeMap, VecDeque};

use seckel::app::registry::client::Report;
use seckel::app::registry::command::{self, Command};
use seckel::app::registry::gate::Bounds;
use seckel::app::registry::outcome::Outcome;
use seckel::app::registry::server::{Keys, Server};
use seckel::app::registry::session::Session;
use seckel::base::{Entropy, Seeded, Span, Time};
use seckel::node::Event;
use seckel::sim::{HostId, Line, Step, World};

use crate::support::{joining, network, seed};

/// A server and clients in a network, each on a host of its own.
struct Town {
    world: World,
    host: HostId,
    server: Option<Server>,
    keys: Keys,
    clients: Vec<Citizen>,
}

struct Citizen {
    host: HostId,
    session: Session,
    reports: VecDeque<Report>,
}

impl Town {
    fn new(seed: u64, line: Line, nodes: u8) -> Town {
        let mut world = World::new(seed);
        network(&mut world, nodes);
        world.line = line;
        let host = world.add([30, 0, 2, 1]);
        world.start(host, joining());
        let server = Server::start(&mut world.net(host), Bounds::default()).expect("a new store");
        let keys = server.keys();
        Town { world, host, server: Some(server), keys, clients: Vec::new() }
    }

    fn add_client(&mut self) -> usize {
        let n = self.clients.len();
        let host = self.world.add([30, 0, 3, n as u8 + 1]);
        self.world.start(host, joining());
        let session = Session::start(&mut self.world.net(host), self.keys.server, self.keys.core, true)
            .expect("a new store");
        self.clients.push(Citizen { host, session, reports: VecDeque::new() });
        n
    }

    /// The power goes off at the server and comes back: what was synced must be there.
    fn crash(&mut self) {
        self.world.crash(self.host);
        self.server = None;
        self.world.start(self.host, joining());
        let server =
            Server::start(&mut self.world.net(self.host), Bounds::default()).expect("the store opens again");
        assert_eq!(server.keys(), self.keys, "the keys outlive a crash");
        self.server = Some(server);
    }

    /// One thing happens, at most until `until`; false if nothing did.
    fn step(&mut self, until: Time) -> bool {
        let now = self.world.now();
        let server = self.server.as_ref().and_then(|server| server.deadline(now));
        let clients = self.clients.iter().filter_map(|client| client.session.deadline());
        let next = server.into_iter().chain(clients).min().map_or(until, |at| at.max(now).min(until));
        match self.world.step(next) {
            Step::Event(host, event) => self.tell(host, event),
            Step::Crashed(host) => panic!("host {} crashes, and nobody asked for it", host.0),
            Step::TimedOut if next >= until => return false,
            Step::TimedOut => {}
        }
        self.take_turns();
        true
    }

    /// Gives every program whose time has come its turn, and takes what clients have to report.
    fn take_turns(&mut self) {
        let now = self.world.now();
        if let Some(server) = &mut self.server
            && server.deadline(now).is_some_and(|at| at <= now)
        {
            server.on_timeout(&mut self.world.net(self.host)).expect("the disk works");
        }
        for client in &mut self.clients {
            if client.session.deadline().is_some_and(|at| at <= now) {
                client.session.on_timeout(&mut self.world.net(client.host));
            }
            while let Some(report) = client.session.poll_report() {
                client.reports.push_back(report);
            }
        }
    }

    fn tell(&mut self, host: HostId, event: Event) {
        if host == self.host {
            if let Some(server) = &mut self.server {
                server.on_event(&mut self.world.net(host), event).expect("the disk works");
            }
        } else if let Some(client) = self.clients.iter_mut().find(|client| client.host == host) {
            client.session.on_event(&mut self.world.net(host), event).expect("the disk works");
        }
    }

    /// Runs until `done`; panics after `seconds` of the world's time, with the last lines.
    fn until(&mut self, seconds: u64, what: &str, mut done: impl FnMut(&Town) -> bool) {
        let until = self.world.now() + Span::from_secs(seconds);
        while !done(self) {
            let moved = self.step(until);
            assert!(moved, "{what}: not within {seconds} s\n{}", self.world.last_lines());
        }
    }

    fn reachable(&mut self) {
        self.until(120, "the server is reachable", |town| {
            town.server.as_ref().is_some_and(Server::reachable)
        });
    }

    fn submit(&mut self, client: usize, line: &str) {
        let command = command::parse(line).expect("a command").expect("not empty");
        let citizen = &mut self.clients[client];
        citizen.session.submit(&mut self.world.net(citizen.host), command).expect("room for a command");
        self.take_turns();
    }

    /// Types a line at a client and waits for what it comes to.
    fn ask(&mut self, client: usize, line: &str) -> Report {
        self.submit(client, line);
        self.until(180, line, |town| !town.clients[client].reports.is_empty());
        self.clients[client].reports.pop_front().expect("there is one")
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
                    let until = self.world.now() + Span::from_secs(5);
                    while self.step(until) {}
                }
                outcome => return outcome.text(),
            }
        }
        panic!("{line}: the server stays out of reach\n{}", self.world.last_lines());
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
    let mut town = Town::new(seed, BAD, 4);
    town.reachable();
    let (alice, bob) = (town.add_client(), town.add_client());
    let (key_a, key_b) = (town.key(alice), town.key(bob));
    assert_eq!(town.insist(alice, "register alice"), "Registered: alice");
    assert_eq!(town.insist(alice, "register alice"), "Already registered by you: alice");
    assert_eq!(town.insist(bob, "register alice"), "Error: Username already taken");
    assert_eq!(town.insist(bob, "register Zoë"), "Registered: Zoë");
    assert_eq!(town.says(bob, "lookup alice"), format!("alice -> {key_a}"));
    assert_eq!(
        town.insist(bob, "delete alice"),
        "Error: Unauthorized: only the owner can delete this username"
    );
    assert_eq!(town.insist(alice, "delete alice"), "Deleted: alice");
    assert_eq!(town.insist(bob, "register alice"), "Registered: alice");
    assert_eq!(town.says(bob, "list"), format!("Zoë: {key_b}\nalice: {key_b}"));
    town.world.trace_hash()
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
    let mut town = Town::new(seed, line, 2);
    town.reachable();
    let (alice, bob) = (town.add_client(), town.add_client());
    let key = town.key(alice);
    let mut draw = Seeded::new(seed).fork("crashes");
    let mut acknowledged: BTreeMap<String, bool> = BTreeMap::new();
    for round in 0..12 {
        let names: Vec<String> = (0..4).map(|n| format!("name-{round}-{n}")).collect();
        for name in &names {
            town.submit(alice, &format!("register {name}"));
        }
        let until = town.world.now() + Span::from_micros(draw.below(400_000));
        while town.step(until) {}
        town.crash();
        let mut left = names.len();
        while left > 0 {
            town.until(300, "an outcome", |town| !town.clients[alice].reports.is_empty());
            let report = town.clients[alice].reports.pop_front().expect("there is one");
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
    assert!(town.insist(bob, "register last").starts_with("Registered"));
    for name in acknowledged.keys() {
        assert_eq!(town.says(bob, &format!("lookup {name}")), format!("{name} -> {key}"), "seed {seed:#x}");
    }
    let listed = town.says(bob, "list");
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
    let mut town = Town::new(seed(3), Line::default(), 2);
    town.reachable();
    let alice = town.add_client();
    assert_eq!(town.insist(alice, "register alice"), "Registered: alice");
    let host = town.host;
    town.world.crash(host);
    town.server = None;
    let until = town.world.now() + Span::from_secs(60);
    while town.step(until) {}
    let before = town.world.now();
    let report = town.ask(alice, "lookup alice");
    assert!(matches!(report.outcome, Outcome::Found { .. }));
    assert!(report.warning.is_some(), "it may be old, and says so");
    assert!(town.world.now().since(before) < Span::from_millis(100), "at once");
}

#[test]
fn a_client_without_a_copy_says_so() {
    let mut town = Town::new(seed(4), Line::default(), 1);
    town.reachable();
    let host = town.host;
    town.world.crash(host);
    town.server = None;
    let alice = town.add_client();
    let report = town.ask(alice, "lookup alice");
    assert_eq!(report.outcome, Outcome::NeverSynced);
    let _ = Command::Help;
}
