use super::*;
use crate::app::service::Status;
use crate::base::{Entropy, Seeded, Span};

const CORE: Key = [9; 32];

/// A server's log and a copy of it that is as long as the test lets it be.
struct Desk {
    client: Client,
    truth: House,
    blocks: Vec<Vec<u8>>,
    /// How much of it the copy has.
    copied: usize,
    peers: usize,
    now: Time,
    entropy: Seeded,
}

struct Copy<'a> {
    blocks: &'a [Vec<u8>],
    told: u64,
    peers: usize,
}

impl Replica for Copy<'_> {
    fn status(&self, reachable: bool) -> Status {
        let length = self.blocks.len() as u64;
        Status { reachable, length, peers: self.peers, remote_length: self.told }
    }
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.blocks.get(seq as usize).cloned())
    }
    fn unix_millis(&self) -> u64 {
        5000
    }
    fn mark(&mut self) -> Option<Vec<u8>> {
        None
    }
    fn keep_mark(&mut self, _: &[u8]) {}
}

fn pair(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

const ME: u8 = 1;

impl Desk {
    fn new() -> Desk {
        let mut desk = Desk {
            client: Client::new(Time::ZERO, pair(ME), CORE),
            truth: House::new(CORE),
            blocks: Vec::new(),
            copied: 0,
            peers: 1,
            now: Time::ZERO,
            entropy: Seeded::new(1),
        };
        desk.write(Step::Open);
        desk.tick();
        assert_eq!(desk.client.poll_output(), Some(Output::Dial), "it connects at once");
        desk
    }

    fn connected() -> Desk {
        let mut desk = Desk::new();
        desk.client.link_up(desk.now);
        desk
    }

    fn tick(&mut self) {
        let told = self.blocks.len() as u64;
        let mut copy = Copy { blocks: &self.blocks[..self.copied], told, peers: self.peers };
        self.client.tick(self.now, self.entropy.u64(), &mut copy);
    }

    fn wait(&mut self, millis: u64) {
        self.now += Span::from_millis(millis);
        self.tick();
    }

    /// The server writes a step, whatever it is, and the copy has it.
    fn write(&mut self, step: Step) -> u64 {
        let seq = self.write_unseen(step);
        self.copied = self.blocks.len();
        seq
    }

    fn write_unseen(&mut self, step: Step) -> u64 {
        let block = wire::encode(&Entry { time: 5000, step });
        let _ = self.truth.take(&block);
        self.blocks.push(block);
        self.truth.length() - 1
    }

    fn created(&mut self, who: u8, title: &str) -> u64 {
        let mut create = Create { title: title.to_owned(), ..Create::default() };
        create.signature = pair(who).sign(&signable(&CORE, rules::deed_of(&create)));
        self.write(Step::Create { key: pair(who).public, create })
    }

    fn bid(&mut self, who: u8, auction: u64, amount: u64) -> u64 {
        let terms = self.truth.auction(auction).expect("it is there").terms;
        let signature = pair(who).sign(&signable(&CORE, Deed::Bid { terms, amount }));
        self.write(Step::Bid { key: pair(who).public, bid: Bid { auction, amount, signature } })
    }

    fn close(&mut self, who: u8, auction: u64) -> u64 {
        let terms = self.truth.auction(auction).expect("it is there").terms;
        let signature = pair(who).sign(&signable(&CORE, Deed::Close { terms }));
        self.write(Step::Close { key: pair(who).public, close: Close { auction, signature } })
    }

    fn say(&mut self, line: &str) {
        let command = super::super::command::parse(line).expect("a command").expect("one");
        self.client.submit(command).expect("room");
        self.tick();
    }

    /// What the server is asked.
    fn call(&mut self) -> (u64, Step) {
        match self.client.poll_output() {
            Some(Output::Call { ticket, method, value }) => {
                let request = Request::read(method, &value).expect("a method").expect("a request");
                (ticket, request.step(pair(ME).public))
            }
            other => panic!("not a call: {other:?}"),
        }
    }

    fn answer(&mut self, ticket: u64, answer: Answer) {
        self.client.answered(self.now, ticket, Ok(answer));
        self.tick();
    }

    fn outcome(&mut self) -> Option<Outcome> {
        self.client.poll_report().map(|report| report.outcome)
    }

    fn text(&mut self) -> String {
        self.outcome().expect("a report").text()
    }
}

// proves auction.21
#[test]
fn a_step_is_reported_when_the_copy_shows_it() {
    let mut desk = Desk::connected();
    desk.say("create A pear --reserve 50 --ends 10m");
    let (ticket, step) = desk.call();
    let Step::Create { create, .. } = &step else { panic!("{step:?}") };
    assert_eq!((create.title.as_str(), create.reserve, create.ends), ("A pear", 50, 605_000));
    assert!(desk.truth.proves(&step), "it is signed");
    let id = desk.write_unseen(step);
    desk.answer(ticket, Answer::Ok(id));
    assert_eq!(desk.outcome(), None, "the copy does not have it");
    desk.copied = desk.blocks.len();
    desk.tick();
    assert_eq!(desk.text(), "Created: 1 \"A pear\"");

    desk.say("bid 1 60");
    let (ticket, step) = desk.call();
    assert!(desk.truth.proves(&step));
    let seq = desk.write(step);
    desk.answer(ticket, Answer::Ok(seq));
    assert_eq!(desk.text(), "Bid: 60 on 1 \"A pear\"");
    desk.bid(2, 1, 70);
    desk.say("bid 1 60");
    let (ticket, _) = desk.call();
    desk.answer(ticket, Answer::Idempotent(seq));
    assert_eq!(desk.text(), "Already bid: 60 on 1 \"A pear\", outbid since");

    desk.say("close 1");
    let (ticket, step) = desk.call();
    let seq = desk.write(step);
    desk.answer(ticket, Answer::Ok(seq));
    let winner = crate::base::hex::encode(&pair(2).public);
    assert_eq!(desk.text(), format!("Closed: 1 \"A pear\", won by {winner} for 70"));
    assert!(!desk.client.busy());
}

// proves auction.21
#[test]
fn a_server_that_writes_down_something_else_is_caught() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a");
    for (amount, written) in [(10, 11), (20, 5)] {
        desk.say(&format!("bid {id} {amount}"));
        let (ticket, _) = desk.call();
        let seq = desk.bid(ME, id, written);
        desk.answer(ticket, Answer::Ok(seq));
        assert_eq!(desk.outcome(), Some(Outcome::Broken { seq }));
    }
    // The very step, at a place where the rules do not count it.
    desk.say(&format!("bid {id} 9"));
    let (ticket, step) = desk.call();
    let seq = desk.write(step);
    desk.answer(ticket, Answer::Ok(seq));
    assert_eq!(desk.outcome(), Some(Outcome::Broken { seq }));
    desk.say(&format!("bid {id} 30"));
    let (ticket, _) = desk.call();
    desk.answer(ticket, Answer::Ok(0));
    assert_eq!(desk.outcome(), Some(Outcome::Broken { seq: 0 }));
}

#[test]
fn a_call_whose_answer_is_lost_is_made_again_and_counts_once() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a");
    desk.say(&format!("bid {id} 10"));
    let (_, first) = desk.call();
    let seq = desk.write(first.clone());
    desk.client.link_down(desk.now, 0);
    desk.wait(1000);
    assert_eq!(desk.client.poll_output(), Some(Output::Dial));
    desk.client.link_up(desk.now);
    desk.tick();
    let (ticket, second) = desk.call();
    assert_eq!(first, second, "the same signature");
    desk.answer(ticket, Answer::Idempotent(seq));
    assert_eq!(desk.text(), "Bid: 10 on 1 \"a\"");
}

#[test]
fn a_bid_waits_for_the_auction_to_be_copied() {
    let mut desk = Desk::connected();
    desk.say("bid 7 10");
    assert_eq!(desk.outcome(), Some(Outcome::NoSuchAuction { id: 7 }), "the copy is whole");
    let id = desk.created(2, "a");
    desk.copied -= 1;
    desk.say(&format!("bid {id} 10"));
    assert_eq!(desk.client.poll_output(), None, "its terms are not known");
    assert!(desk.client.busy());
    desk.copied += 1;
    desk.tick();
    let (_, step) = desk.call();
    assert!(desk.truth.proves(&step));
}

#[test]
fn without_the_server_reads_go_on_and_steps_do_not() {
    let mut desk = Desk::new();
    let id = desk.created(2, "a");
    desk.client.link_down(desk.now, 0);
    desk.say("list");
    let report = desk.client.poll_report().expect("at once");
    assert_eq!(report.outcome.text(), "1 \"a\": no bid");
    assert!(report.warning.is_some(), "it may be old");
    desk.say(&format!("bid {id} 5"));
    desk.client.link_down(desk.now, 0);
    desk.client.link_down(desk.now, 0);
    desk.tick();
    assert_eq!(desk.outcome(), Some(Outcome::Unreachable));
    let mut desk = Desk::new();
    desk.copied = 0;
    desk.client.link_down(desk.now, 0);
    desk.say("list");
    assert_eq!(desk.outcome(), Some(Outcome::NeverSynced));
}

// proves auction.22
#[test]
fn verify_finds_what_a_server_made_up() {
    let mut desk = Desk::connected();
    let one = desk.created(2, "one");
    desk.bid(3, one, 10);
    desk.say("verify 1");
    let Some(Outcome::Verified(verdict)) = desk.outcome() else { panic!("a verdict") };
    assert!(verdict.holds(), "{verdict:?}");
    assert_eq!((verdict.signatures, verdict.length), ([1, 1, 0], 3));

    // Nobody signed another one: it is none.
    let two = desk.write(Step::Create {
        key: pair(2).public,
        create: Create { title: "two".to_owned(), ..Create::default() },
    });
    desk.say(&format!("verify {two}"));
    assert_eq!(desk.outcome(), Some(Outcome::NoSuchAuction { id: two }));
    for line in ["verify", "verify 1"] {
        desk.say(line);
        let Some(Outcome::Verified(verdict)) = desk.outcome() else { panic!("a verdict") };
        assert_eq!((verdict.fault_count, verdict.signatures), (1, [1, 1, 0]));
        assert_eq!(verdict.faults, [(two, Refusal::Signature)]);
        assert_eq!(Outcome::Verified(verdict).exit() as u8, 1);
    }

    // A bid that does not beat the highest, signed or not, is none; that it is there is told.
    let low = desk.bid(3, one, 4);
    desk.say("verify 1");
    let Some(Outcome::Verified(verdict)) = desk.outcome() else { panic!("a verdict") };
    assert_eq!(verdict.faults, [(two, Refusal::Signature), (low, Refusal::TooLow { highest: 10 })]);
    desk.say("verify 77");
    assert_eq!(desk.outcome(), Some(Outcome::NoSuchAuction { id: 77 }));
}

/// Whoever reads is shown what is signed, whatever else the log holds, and is told that there is more.
// proves auction.15
#[test]
fn a_step_that_nobody_signed_is_shown_to_nobody() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a");
    desk.bid(3, id, 10);
    desk.say("list");
    let report = desk.client.poll_report().expect("one");
    assert_eq!((report.outcome.text().as_str(), report.faulty), ("1 \"a\": 10 bid, 1 bid", false));
    desk.say("watch");
    let bid = Bid { auction: id, amount: 1000, signature: [7; 64] };
    let forged = desk.write(Step::Bid { key: pair(4).public, bid });
    desk.tick();
    assert_eq!(desk.outcome(), Some(Outcome::Step { seq: forged, step: Err(Refusal::Signature) }));
    let next = desk.bid(4, id, 11);
    desk.tick();
    assert!(matches!(desk.outcome(), Some(Outcome::Step { seq, step: Ok(_) }) if seq == next));
    for line in ["list", "show 1"] {
        desk.say(line);
        let report = desk.client.poll_report().expect("one");
        assert!(report.faulty, "{line}");
        assert!(!report.outcome.text().contains("1000"), "{line}");
    }
    desk.say("watch 1");
    let told: Vec<bool> = core::iter::from_fn(|| desk.outcome())
        .map(|outcome| matches!(outcome, Outcome::Step { step: Ok(_), .. }))
        .collect();
    assert_eq!(told, [true; 3], "the create and two bids");
}

/// More blocks against the rules than the house remembers: a watcher is told of each that it is one.
#[test]
fn a_watcher_is_told_of_every_block_that_does_not_count() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a");
    desk.tick();
    desk.say("watch");
    for _ in 0..600 {
        desk.write(Step::Bid {
            key: pair(4).public,
            bid: Bid { auction: id, amount: 1, signature: [7; 64] },
        });
    }
    let mut told = 0;
    desk.tick();
    loop {
        for outcome in core::iter::from_fn(|| desk.outcome()) {
            assert!(matches!(outcome, Outcome::Step { step: Err(Refusal::Signature), .. }), "{outcome:?}");
            told += 1;
        }
        if desk.client.deadline() != Some(Time::ZERO) {
            break;
        }
        desk.tick();
    }
    assert_eq!(told, 600);
}

#[test]
fn a_long_check_goes_on_in_turns() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a");
    for amount in 1..=600 {
        desk.bid(3, id, amount);
    }
    desk.say("verify");
    let mut turns = 1;
    while desk.client.busy() {
        assert_eq!(desk.client.deadline(), Some(Time::ZERO));
        desk.tick();
        turns += 1;
    }
    assert_eq!(turns, 5, "read in three, and verified in three, of which one is the same");
    assert!(matches!(desk.outcome(), Some(Outcome::Verified(verdict)) if verdict.signatures == [1, 600, 0]));
}

// proves auction.23
#[test]
fn a_watcher_is_told_every_step_and_the_end() {
    let mut desk = Desk::connected();
    let (one, two) = (desk.created(2, "one"), desk.created(2, "two"));
    desk.bid(3, one, 10);
    desk.say(&format!("watch {one}"));
    let told = |desk: &mut Desk| -> Vec<u64> {
        core::iter::from_fn(|| desk.outcome())
            .map(|outcome| match outcome {
                Outcome::Step { seq, step: Ok(_) } => seq,
                Outcome::Over { auction } => 1000 + auction.id,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(told(&mut desk), [one, 3]);
    assert!(!desk.client.busy(), "others may be asked meanwhile");
    desk.bid(3, two, 10);
    let next = desk.bid(4, one, 11);
    let end = desk.close(2, one);
    desk.tick();
    assert_eq!(told(&mut desk), [next, end, 1000 + one]);

    desk.say("watch");
    assert_eq!(told(&mut desk), [] as [u64; 0], "from now on");
    let next = desk.bid(4, two, 12);
    desk.tick();
    assert_eq!(told(&mut desk), [next]);
    desk.say("whoami");
    assert!(matches!(desk.outcome(), Some(Outcome::WhoAmI { .. })));
    desk.bid(3, two, 13);
    desk.tick();
    assert_eq!(desk.outcome(), None, "the next command ends it");
}

#[test]
fn a_watcher_of_a_long_log_has_its_turns() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a");
    for amount in 1..=200 {
        desk.bid(3, id, amount);
    }
    desk.say(&format!("watch {id}"));
    let mut told = 0;
    while let Some(Time::ZERO) = desk.client.deadline() {
        told += core::iter::from_fn(|| desk.outcome()).count();
        desk.tick();
    }
    told += core::iter::from_fn(|| desk.outcome()).count();
    assert_eq!(told, 201);
}

#[test]
fn every_outcome_is_json() {
    let mut desk = Desk::connected();
    let id = desk.created(2, "a \"pear\" \u{202e}");
    desk.bid(3, id, 10);
    for line in ["list", "list --open", "show 1", "verify 1", "whoami", "status", "help", "show 9"] {
        desk.say(line);
        let outcome = desk.outcome().unwrap_or_else(|| panic!("{line}"));
        let value: serde_json::Value = serde_json::from_str(&outcome.json(true, false)).expect("json");
        assert_eq!(value["result"], outcome.word());
        assert_eq!(value["stale"], true);
        assert!(!outcome.text().contains('\u{202e}'), "{line}");
    }
    desk.say("show 1");
    let shown = desk.outcome().expect("it");
    let value: serde_json::Value = serde_json::from_str(&shown.json(false, true)).expect("json");
    assert_eq!((&value["faulty"], &value["stale"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(value["auction"]["title"], "a \"pear\" \u{202e}");
    assert_eq!(value["bids"][0]["amount"], 10);
    assert_eq!(value["auction"]["winner"], serde_json::Value::Null);
}
