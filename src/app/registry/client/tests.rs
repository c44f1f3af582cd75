use std::collections::BTreeMap;

use super::*;
use crate::base::{Entropy, Seeded, Span};

const ME: Key = [7; 32];
const OTHER: Key = [8; 32];

/// A copy that holds whole blocks of a made-up tree: only keys and values matter here.
#[derive(Default)]
struct Copy {
    blocks: Vec<Option<Vec<u8>>>,
    names: BTreeMap<Vec<u8>, Vec<u8>>,
    remote_length: u64,
    peers: usize,
    missing: bool,
}

impl Copy {
    fn synced() -> Copy {
        Copy { blocks: vec![Some(vec![0xff])], remote_length: 1, peers: 1, ..Copy::default() }
    }

    fn length(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn grow(&mut self, name: &str, owner: Option<Key>) {
        let value = owner.map(|owner| owner.to_vec());
        match &value {
            Some(owner) => self.names.insert(name.as_bytes().to_vec(), owner.clone()),
            None => self.names.remove(name.as_bytes()),
        };
        let node = Node { index: vec![], key: name.as_bytes().to_vec(), value };
        self.blocks.push(Some(wire::encode(&node)));
        self.remote_length = self.remote_length.max(self.length());
    }
}

impl Replica for Copy {
    fn status(&self, reachable: bool) -> Status {
        let (length, remote_length) = (self.length(), self.remote_length);
        Status { reachable, length, peers: self.peers, remote_length }
    }
    fn get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if self.missing { Err(Error::Missing) } else { Ok(self.names.get(name).cloned()) }
    }
    fn list(&mut self) -> Result<Vec<Pair>, Error> {
        Ok(self.names.clone().into_iter().collect())
    }
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.blocks.get(seq as usize).cloned().flatten())
    }
}

struct Desk {
    client: Client,
    copy: Copy,
    now: Time,
    entropy: Seeded,
}

impl Desk {
    fn new(copy: Copy) -> Desk {
        let mut desk =
            Desk { client: Client::new(Time::ZERO, ME), copy, now: Time::ZERO, entropy: Seeded::new(1) };
        desk.tick();
        assert_eq!(desk.output(), Some(Output::Dial), "it connects at once");
        desk
    }

    fn connected(copy: Copy) -> Desk {
        let mut desk = Desk::new(copy);
        desk.client.link_up(desk.now);
        desk
    }

    fn tick(&mut self) {
        self.client.tick(self.now, self.entropy.u64(), &mut self.copy);
    }

    fn wait(&mut self, millis: u64) {
        self.now += Span::from_millis(millis);
        self.tick();
    }

    fn down(&mut self) {
        self.client.link_down(self.now, self.entropy.u64());
        self.tick();
    }

    fn say(&mut self, line: &str) {
        let command = crate::app::registry::command::parse(line).expect("a command").expect("one");
        self.client.submit(command).expect("room");
        self.tick();
    }

    fn answer(&mut self, ticket: u64, text: &str) {
        self.client.answered(self.now, ticket, Ok(text.to_owned()));
        self.tick();
    }

    fn output(&mut self) -> Option<Output> {
        self.client.poll_output()
    }

    fn ticket(&mut self) -> u64 {
        match self.output() {
            Some(Output::Call { ticket, .. }) => ticket,
            other => panic!("not a call: {other:?}"),
        }
    }

    fn report(&mut self) -> Option<Report> {
        self.client.poll_report()
    }

    fn text(&mut self) -> String {
        let report = self.report().expect("a report");
        assert_eq!(report.warning, None);
        report.outcome.text()
    }
}

// proves registry.14
#[test]
fn a_write_is_reported_when_the_copy_shows_it() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    let ticket = desk.ticket();
    desk.answer(ticket, "OK");
    assert_eq!(desk.report(), None, "not yet shown");
    desk.copy.grow("bob", Some(ME));
    desk.tick();
    assert_eq!(desk.report(), None, "another name");
    desk.copy.grow("alice", Some(ME));
    desk.tick();
    assert_eq!(desk.text(), "Registered: alice");
    assert_eq!(desk.client.deadline(), None);
}

#[test]
fn the_block_may_come_before_the_answer() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    let ticket = desk.ticket();
    desk.copy.grow("alice", Some(ME));
    desk.tick();
    assert_eq!(desk.report(), None, "the server has not answered");
    desk.answer(ticket, "OK");
    assert_eq!(desk.text(), "Registered: alice");
}

/// Looking the name up would never show it: it was given up again before the copy caught up.
#[test]
fn a_write_that_was_undone_in_the_same_breath_is_still_seen() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    let ticket = desk.ticket();
    desk.copy.grow("alice", Some(ME));
    desk.copy.grow("alice", None);
    desk.copy.grow("alice", Some(OTHER));
    desk.answer(ticket, "OK");
    assert_eq!(desk.text(), "Registered: alice");
}

#[test]
fn an_older_registration_does_not_count() {
    let mut desk = Desk::connected(Copy::synced());
    desk.copy.grow("alice", Some(ME));
    desk.copy.grow("alice", None);
    desk.say("register alice");
    let ticket = desk.ticket();
    desk.answer(ticket, "OK");
    assert_eq!(desk.report(), None);
    desk.copy.grow("alice", Some(ME));
    desk.tick();
    assert_eq!(desk.text(), "Registered: alice");
}

#[test]
fn a_block_that_is_known_but_not_here_is_waited_for() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("delete alice");
    let ticket = desk.ticket();
    desk.copy.grow("alice", None);
    let block = desk.copy.blocks.pop().expect("grown");
    desk.copy.blocks.push(None);
    desk.answer(ticket, "OK");
    assert_eq!(desk.report(), None);
    *desk.copy.blocks.last_mut().expect("there") = block;
    desk.tick();
    assert_eq!(desk.text(), "Deleted: alice");
}

#[test]
fn a_copy_that_never_shows_the_write_is_given_up() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    let ticket = desk.ticket();
    desk.answer(ticket, "OK");
    desk.wait(29_999);
    assert_eq!(desk.report(), None);
    desk.wait(1);
    let report = desk.report().expect("given up");
    assert_eq!((report.outcome.text().as_str(), report.warning), ("Registered: alice", Some(NOT_SHOWN)));
}

// proves registry.11
#[test]
fn answers_become_their_texts() {
    let hex = "08".repeat(32);
    for (line, answer, text) in [
        ("register a", "IDEMPOTENT", "Already registered by you: a"),
        ("register a", "ERR:Username already taken", "Error: Username already taken"),
        ("register a", "ERR:TAKEN", "Error: TAKEN"),
        ("delete a", "ERR:Username not found", "Error: Username not found"),
        ("delete a", "IDEMPOTENT", "Error: Username not found"),
        (
            "delete a",
            "ERR:Unauthorized: only the owner can delete this username",
            "Error: Unauthorized: only the owner can delete this username",
        ),
    ] {
        let mut desk = Desk::connected(Copy::synced());
        desk.say(line);
        let ticket = desk.ticket();
        desk.answer(ticket, answer);
        assert_eq!(desk.text(), text, "{line}: {answer}");
    }
    let mut desk = Desk::connected(Copy::synced());
    desk.copy.grow("bob", Some(OTHER));
    desk.copy.grow("al", Some(OTHER));
    for (line, text) in [
        ("lookup bob", format!("bob -> {hex}")),
        ("lookup nobody", "Not found".into()),
        ("list", format!("al: {hex}\nbob: {hex}")),
        ("whoami", "07".repeat(32)),
        ("status", "Server: reachable\nReplica length: 3\nPeers: 1".into()),
    ] {
        desk.say(line);
        assert_eq!(desk.text(), text);
    }
}

#[test]
fn names_that_cannot_be_are_refused_without_asking() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register a b");
    assert_eq!(desk.text(), "Error: Invalid username: it contains white space");
    assert_eq!(desk.output(), None);
}

// proves registry.15
#[test]
fn a_call_whose_answer_was_lost_is_made_again() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    let first = desk.ticket();
    desk.down();
    desk.wait(1000);
    assert_eq!(desk.output(), Some(Output::Dial));
    desk.client.link_up(desk.now);
    desk.tick();
    let second = desk.ticket();
    assert_ne!(first, second);
    desk.answer(first, "ERR:late");
    assert_eq!(desk.report(), None, "the first call is over");
    desk.copy.grow("alice", Some(ME));
    desk.answer(second, "IDEMPOTENT");
    assert_eq!(desk.text(), "Registered: alice");

    let mut desk = Desk::connected(Copy::synced());
    desk.copy.grow("alice", Some(ME));
    desk.say("delete alice");
    desk.ticket();
    desk.down();
    desk.wait(1000);
    desk.output();
    desk.client.link_up(desk.now);
    desk.tick();
    let second = desk.ticket();
    desk.copy.grow("alice", None);
    desk.answer(second, "ERR:Username not found");
    assert_eq!(desk.text(), "Deleted: alice");
}

#[test]
fn a_server_that_says_nothing_is_looked_for_again() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    let first = desk.ticket();
    desk.client.answered(desk.now, first, Err(CallFault::TimedOut));
    desk.tick();
    assert_eq!(desk.output(), Some(Output::HangUp));
    desk.wait(250);
    assert_eq!(desk.output(), Some(Output::Dial));
    desk.client.link_up(desk.now);
    desk.tick();
    let second = desk.ticket();
    desk.copy.grow("alice", Some(ME));
    desk.answer(second, "IDEMPOTENT");
    assert_eq!(desk.text(), "Registered: alice");
}

#[test]
fn a_link_that_stays_down_leaves_the_write_unknown() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    desk.ticket();
    desk.down();
    for _ in 0..100 {
        desk.wait(1000);
        if desk.output() == Some(Output::Dial) {
            desk.down();
        }
    }
    let report = desk.report().expect("over");
    assert_eq!(report.outcome, Outcome::Unknown { name: "alice".into() });
}

// proves registry.12
#[test]
fn attempts_to_connect_grow_apart() {
    let mut desk = Desk::new(Copy::default());
    let mut gaps = Vec::new();
    for _ in 0..12 {
        let before = desk.now;
        desk.down();
        let retry = desk.client.deadline().expect("a retry");
        gaps.push(retry.since(before).as_millis());
        desk.now = retry;
        desk.tick();
        assert_eq!(desk.output(), Some(Output::Dial));
    }
    assert!(gaps[0] >= 200 && gaps[0] <= 250, "{gaps:?}");
    assert!(gaps[11] >= 10_000 && gaps[11] <= 12_500, "{gaps:?}");
    desk.client.link_up(desk.now);
    desk.down();
    assert!(desk.client.deadline().expect("a retry").since(desk.now).as_millis() <= 250, "anew");
}

#[test]
fn an_attempt_without_end_is_given_up() {
    let mut desk = Desk::new(Copy::default());
    desk.wait(20_000);
    assert_eq!(desk.output(), Some(Output::HangUp));
    desk.wait(300);
    assert_eq!(desk.output(), Some(Output::Dial));
}

// proves registry.13
#[test]
fn a_write_without_a_server_ends() {
    let mut desk = Desk::new(Copy::synced());
    desk.say("register alice");
    desk.down();
    assert_eq!(desk.report(), None, "one more attempt");
    desk.wait(1000);
    assert_eq!(desk.output(), Some(Output::Dial));
    desk.down();
    assert_eq!(desk.text(), "Error: Server unreachable");
}

// proves registry.16
#[test]
fn a_read_without_a_server_is_answered_at_once_with_a_warning() {
    let mut copy = Copy::synced();
    copy.grow("bob", Some(OTHER));
    copy.peers = 0;
    let mut desk = Desk::new(copy);
    desk.down();
    desk.say("lookup bob");
    let report = desk.report().expect("at once");
    assert_eq!(report.warning, Some(MAY_BE_OLD));
    assert!(matches!(report.outcome, Outcome::Found { .. }));
    desk.say("lookup nobody");
    assert_eq!(desk.report().expect("at once").outcome.text(), "Not found");
}

#[test]
fn a_read_right_after_the_start_waits_for_the_first_sync() {
    let mut copy = Copy::synced();
    copy.peers = 0;
    copy.remote_length = 0;
    let mut desk = Desk::new(copy);
    desk.say("lookup bob");
    assert_eq!(desk.report(), None, "connecting");
    desk.client.link_up(desk.now);
    desk.tick();
    assert_eq!(desk.report(), None, "not told of the server's length yet");
    desk.copy.peers = 1;
    desk.copy.remote_length = 2;
    desk.tick();
    assert_eq!(desk.report(), None, "a block behind");
    desk.copy.grow("bob", Some(OTHER));
    desk.tick();
    assert!(desk.text().starts_with("bob -> "));
}

#[test]
fn a_read_does_not_wait_for_ever() {
    let mut desk = Desk::new(Copy { peers: 0, remote_length: 0, ..Copy::synced() });
    desk.say("lookup bob");
    desk.wait(3_000);
    let report = desk.report().expect("in the end");
    assert_eq!((report.outcome.text().as_str(), report.warning), ("Not found", Some(MAY_BE_OLD)));
}

/// A peer that lies about its length costs one wait, not one for each read.
#[test]
fn a_length_that_never_comes_is_waited_for_once() {
    let mut desk = Desk::connected(Copy { remote_length: 1_000_000, ..Copy::synced() });
    desk.say("lookup bob");
    assert_eq!(desk.report(), None);
    desk.wait(10_000);
    assert_eq!(desk.report().expect("in the end").warning, Some(BEHIND));
    desk.say("lookup bob");
    assert_eq!(desk.report().expect("at once").warning, Some(BEHIND));
    desk.copy.remote_length = 1;
    desk.say("lookup bob");
    assert_eq!(desk.text(), "Not found");
}

#[test]
fn status_right_after_the_start_waits_for_the_connection() {
    let mut desk = Desk::new(Copy::default());
    desk.say("status");
    assert_eq!(desk.report(), None);
    desk.down();
    assert_eq!(desk.text(), "Server: unreachable\nReplica length: 0\nPeers: 0");
}

// proves registry.17
#[test]
fn a_client_that_never_synced_says_so() {
    let mut desk = Desk::new(Copy::default());
    desk.down();
    for line in ["lookup bob", "list"] {
        desk.say(line);
        assert!(desk.text().starts_with("Never synced"), "{line}");
    }
    // An empty registry is not the same.
    let mut desk = Desk::connected(Copy { peers: 1, ..Copy::default() });
    desk.say("lookup bob");
    desk.wait(10_000);
    assert_eq!(desk.report().expect("told").outcome.text(), "Not found");
}

#[test]
fn a_read_that_misses_a_block_waits_for_it() {
    let mut desk = Desk::connected(Copy::synced());
    desk.copy.missing = true;
    desk.say("lookup bob");
    assert_eq!(desk.report(), None);
    desk.copy.missing = false;
    desk.tick();
    assert_eq!(desk.text(), "Not found");
    desk.copy.missing = true;
    desk.say("lookup bob");
    desk.wait(10_000);
    assert!(desk.text().starts_with("Incomplete"));
}

// proves registry.18
#[test]
fn commands_are_done_in_order() {
    let mut desk = Desk::connected(Copy::synced());
    desk.say("register alice");
    desk.say("lookup alice");
    desk.say("delete alice");
    let ticket = desk.ticket();
    assert_eq!(desk.output(), None, "one at a time");
    desk.answer(ticket, "OK");
    desk.copy.grow("alice", Some(ME));
    desk.tick();
    assert_eq!(desk.text(), "Registered: alice");
    assert!(desk.text().starts_with("alice -> "), "its own write is read");
    desk.ticket();
    for _ in 0..limits::REGISTRY_LINES_MAX {
        assert_eq!(desk.client.submit(Command::List), Ok(()));
    }
    assert_eq!(desk.client.submit(Command::List), Err(Error::Full));
}
