use super::*;
use crate::crypto::sign::KeyPair;

const CORE: Key = [9; 32];

/// A log in the making, by a server that appends whatever it is told to.
struct Log {
    house: House,
    blocks: Vec<Vec<u8>>,
    now: u64,
}

fn pair(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

fn create(title: &str, reserve: u64, ends: u64) -> Create {
    Create { nonce: [1; 16], title: title.to_owned(), reserve, ends, signature: [0; 64] }
}

impl Log {
    fn new() -> Log {
        let mut log = Log { house: House::new(CORE), blocks: Vec::new(), now: 1000 };
        log.append(Step::Open).expect("the first block");
        log
    }

    fn append(&mut self, step: Step) -> Result<u64, Refusal> {
        let block = wire::encode(&Entry { time: self.now, step });
        let seq = self.house.length();
        let taken = self.house.take(&block).map(|_| seq);
        self.blocks.push(block);
        taken
    }

    fn create(&mut self, who: u8, mut create: Create) -> Result<u64, Refusal> {
        let pair = pair(who);
        create.signature = pair.sign(&signable(&CORE, deed_of(&create)));
        self.append(Step::Create { key: pair.public, create })
    }

    fn bid(&mut self, who: u8, auction: u64, amount: u64) -> Result<u64, Refusal> {
        let pair = pair(who);
        let terms = self.house.auction(auction).map_or([0; 32], |auction| auction.terms);
        let signature = pair.sign(&signable(&CORE, Deed::Bid { terms, amount }));
        self.append(Step::Bid { key: pair.public, bid: Bid { auction, amount, signature } })
    }

    fn close(&mut self, who: u8, auction: u64) -> Result<u64, Refusal> {
        let pair = pair(who);
        let terms = self.house.auction(auction).map_or([0; 32], |auction| auction.terms);
        let signature = pair.sign(&signable(&CORE, Deed::Close { terms }));
        self.append(Step::Close { key: pair.public, close: Close { auction, signature } })
    }

    fn auction(&self, id: u64) -> &Auction {
        self.house.auction(id).expect("it was created")
    }
}

// proves auction.7
#[test]
fn titles_are_text_of_bounded_length() {
    let long = "a".repeat(200);
    for title in ["a", "A pear tree, by night", "\u{e6}\u{1f350}", &long] {
        assert_eq!(check_title(title), Ok(()), "{title}");
    }
    let too_long = "a".repeat(201);
    for (title, fault) in [
        ("", TitleFault::Empty),
        (&too_long[..], TitleFault::TooLong),
        (" a", TitleFault::Padded),
        ("a\n", TitleFault::Padded),
        ("a\u{a0}", TitleFault::Padded),
        ("a\nb", TitleFault::Control),
        ("\u{1b}[2J", TitleFault::Control),
    ] {
        assert_eq!(check_title(title), Err(fault), "{title:?}");
    }
}

// proves auction.8
#[test]
fn amounts_are_digits_in_their_bounds() {
    assert_eq!(amount("1"), Some(1));
    assert_eq!(amount("9007199254740991"), Some(AMOUNT_MAX));
    for text in [
        "",
        "0",
        "01",
        "-1",
        "+1",
        "1 ",
        " 1",
        "1_000",
        "1,000",
        "1.5",
        "1e3",
        "0x10",
        "one",
        "\u{661}",
        "9007199254740992",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        assert_eq!(amount(text), None, "{text:?}");
    }
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    for wrong in [0, AMOUNT_MAX + 1, u64::MAX] {
        let bid = Bid { auction: id, amount: wrong, signature: [0; 64] };
        let entry = Entry { time: 1000, step: Step::Bid { key: [1; 32], bid } };
        assert_eq!(log.house.judge(&entry), Err(Refusal::Amount), "{wrong}");
    }
    assert!(log.bid(2, id, AMOUNT_MAX).is_ok());
}

/// What nobody signed does not happen, as what is against the rules does not.
// proves auction.15
#[test]
fn a_step_with_a_wrong_signature_changes_nothing() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    log.bid(2, id, 10).expect("allowed");
    let before = (log.house.auctions.clone(), log.house.time, log.house.open.clone(), log.house.due.clone());
    let (one, two) = (pair(1).public, pair(2).public);
    let honest = pair(2).sign(&signable(&CORE, Deed::Bid { terms: log.auction(id).terms, amount: 11 }));
    let forged = [
        Step::Create { key: one, create: create("b", 0, 0) },
        Step::Bid { key: two, bid: Bid { auction: id, amount: 11, signature: [0; 64] } },
        // Signed, and of another amount, or by another key.
        Step::Bid { key: two, bid: Bid { auction: id, amount: 12, signature: honest } },
        Step::Bid { key: one, bid: Bid { auction: id, amount: 11, signature: honest } },
        Step::Close { key: one, close: Close { auction: id, signature: [0; 64] } },
    ];
    log.now += 5;
    for step in &forged {
        assert_eq!(log.append(step.clone()), Err(Refusal::Signature), "{step:?}");
    }
    let after = (log.house.auctions.clone(), log.house.time, log.house.open.clone(), log.house.due.clone());
    assert_eq!(after, before, "their time is not the log's either");
    assert_eq!(log.house.faults().1, forged.len() as u64);
    log.now -= 5;
    log.bid(2, id, 11).expect("what they took up is free");
}

// proves auction.11
#[test]
fn a_bid_must_beat_the_highest_and_the_first_of_equal_ones_wins() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    let first = log.bid(2, id, 10).expect("the first");
    assert_eq!(log.bid(3, id, 10), Err(Refusal::TooLow { highest: 10 }), "the first in the log wins");
    assert_eq!(log.bid(3, id, 9), Err(Refusal::TooLow { highest: 10 }));
    assert_eq!(log.auction(id).highest.map(|best| (best.seq, best.key)), Some((first, pair(2).public)));
    let third = log.bid(3, id, 11).expect("it beats it");
    log.bid(1, id, 12).expect("anyone bids, its creator included");
    assert_eq!(log.auction(id).bid_of(11), Some(third));
    assert_eq!(log.auction(id).bid_of(13), None);
    assert_eq!(log.auction(id).bids.len(), 3);
}

// proves auction.12
// proves auction.13
#[test]
fn only_the_creator_closes_and_after_that_nothing_is_taken() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    log.bid(2, id, 10).expect("open");
    assert_eq!(log.close(2, id), Err(Refusal::NotCreator));
    assert_eq!(log.append(Step::End { auction: id }), Err(Refusal::NotDue), "it has no end time");
    log.close(1, id).expect("its creator");
    assert_eq!(log.bid(2, id, 11), Err(Refusal::Closed));
    assert_eq!(log.close(1, id), Err(Refusal::Closed));
    assert_eq!(log.bid(2, 77, 11), Err(Refusal::NoSuchAuction(77)));
    assert_eq!(log.close(2, 0), Err(Refusal::NoSuchAuction(0)));
}

// proves auction.12
// proves auction.13
#[test]
fn an_end_time_ends_it() {
    let mut log = Log::new();
    assert_eq!(log.create(1, create("a", 0, 1000)), Err(Refusal::EndsBefore));
    assert_eq!(log.create(1, create("a", 0, AMOUNT_MAX)), Err(Refusal::EndsTooLate));
    let id = log.create(1, create("a", 0, 2000)).expect("in the future");
    assert_eq!(log.house.next_due(), Some((2000, id)));
    log.now = 1999;
    log.bid(2, id, 1).expect("in time");
    assert_eq!(log.append(Step::End { auction: id }), Err(Refusal::NotDue));
    log.now = 2000;
    assert_eq!(log.bid(3, id, 2), Err(Refusal::Over), "before its end is written down");
    assert_eq!(log.close(1, id), Err(Refusal::Over));
    log.append(Step::End { auction: id }).expect("due");
    assert_eq!(log.append(Step::End { auction: id }), Err(Refusal::Closed), "once");
    assert_eq!(log.house.next_due(), None);
    assert_eq!(log.auction(id).winner().map(|best| best.amount), Some(1));
    log.now = 1999;
    assert_eq!(log.create(1, create("b", 0, 0)), Err(Refusal::TimeRunsBack));
}

// proves auction.14
#[test]
fn below_the_reserve_nobody_wins() {
    let mut log = Log::new();
    for (reserve, amount, wins) in [(0, 1, true), (10, 9, false), (10, 10, true), (10, 11, true)] {
        let mut wanted = create("a", reserve, 0);
        wanted.nonce = [log.blocks.len() as u8; 16];
        let id = log.create(1, wanted).expect("allowed");
        log.bid(2, id, amount).expect("open");
        assert_eq!(log.auction(id).winner(), None, "not before the end");
        log.close(1, id).expect("open");
        assert_eq!(log.auction(id).winner().is_some(), wins, "{reserve} {amount}");
    }
    let id = log.create(1, create("nobody bids", 0, 0)).expect("allowed");
    log.close(1, id).expect("open");
    assert_eq!(log.auction(id).winner(), None);
}

// proves auction.9
#[test]
fn the_same_create_is_one_auction() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    assert_eq!(log.create(1, create("a", 0, 0)), Err(Refusal::Repeated));
    assert!(log.create(2, create("a", 0, 0)).is_ok(), "another's is another");
    let again = Create { nonce: [2; 16], ..create("a", 0, 0) };
    assert!(log.create(1, again).is_ok());
    assert_eq!(
        log.house.of_terms(&terms(&CORE, &pair(1).public, &create("a", 0, 0))).map(|a| a.id),
        Some(id)
    );
}

// proves auction.10
#[test]
fn a_key_has_so_many_open_auctions() {
    let mut log = Log::new();
    let numbered = |n: u32| Create { nonce: u128::from(n).to_le_bytes(), ..create("a", 0, 0) };
    let mut first = None;
    for n in 0..limits::AUCTION_OPEN_MAX {
        first = first.or(log.create(1, numbered(n)).ok());
    }
    assert_eq!(log.create(1, numbered(1000)), Err(Refusal::TooManyOpen));
    assert!(log.create(2, numbered(1000)).is_ok(), "others are not touched");
    log.close(1, first.expect("one")).expect("open");
    assert!(log.create(1, numbered(1001)).is_ok());
}

// proves auction.10
#[test]
fn a_full_log_takes_nothing_but_ends() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    log.house.length = limits::AUCTION_LOG_MAX - 2;
    assert!(log.bid(2, id, 1).is_ok(), "one block for it, one for the end");
    assert_eq!(log.house.length, limits::AUCTION_LOG_MAX - 1);
    let entry = |step| Entry { time: 1000, step };
    let bid = Bid { auction: id, amount: 2, signature: [0; 64] };
    assert_eq!(log.house.judge(&entry(Step::Bid { key: [1; 32], bid })), Err(Refusal::LogFull));
    let made = Create { nonce: [3; 16], ..create("b", 0, 0) };
    assert_eq!(log.house.judge(&entry(Step::Create { key: [1; 32], create: made })), Err(Refusal::LogFull));
    assert!(log.close(1, id).is_ok());
}

// proves auction.15
#[test]
fn what_is_against_the_rules_changes_nothing_and_is_remembered() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    log.bid(2, id, 10).expect("open");
    let before = log.auction(id).clone();
    assert!(log.bid(3, id, 5).is_err());
    assert!(log.house.take(b"nonsense").is_err());
    assert_eq!(log.append(Step::Open), Err(Refusal::OpenedTwice));
    assert_eq!(*log.auction(id), before);
    let (faults, count) = log.house.faults();
    assert_eq!(faults.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(count, 3);
    assert_eq!(log.house.length(), 6, "each block counts");
    for _ in 0..limits::AUCTION_FAULTS_MAX {
        let _ = log.house.take(b"");
    }
    assert_eq!(log.house.faults().0.len(), limits::AUCTION_FAULTS_MAX);
    let mut headless = House::new(CORE);
    let step = Step::End { auction: 0 };
    assert_eq!(headless.judge(&Entry { time: 0, step }), Err(Refusal::NotOpened));
    assert!(headless.take(b"").is_err());
}

// proves auction.16
#[test]
fn whoever_reads_the_log_comes_to_the_same_at_every_version() {
    use crate::base::{Entropy, Seeded};
    let mut log = Log::new();
    let mut draw = Seeded::new(16);
    let mut versions = vec![log.house.clone()];
    for n in 0..400_u64 {
        log.now += draw.below(20);
        let who = draw.below(4) as u8;
        let ids: Vec<u64> = log.house.auctions().map(|auction| auction.id).rev().take(4).collect();
        let id = ids.get(draw.below(5) as usize).copied().unwrap_or(n);
        let ends = if draw.below(2) == 0 { 0 } else { log.now + draw.below(100) };
        let made = Create { nonce: u128::from(n).to_le_bytes(), ..create("x", draw.below(50), ends) };
        let _ = match draw.below(8) {
            0 | 1 => log.create(who, made),
            2 => log.close(who, id),
            3 => log.append(Step::End { auction: id }),
            _ => log.bid(who, id, draw.below(100)),
        };
        versions.push(log.house.clone());
    }
    let mut reader = House::new(CORE);
    for (block, version) in log.blocks.iter().zip(&versions) {
        let _ = reader.take(block);
        assert_eq!(reader, *version);
    }
    let ended = reader.auctions().filter(|auction| auction.end.is_some()).count();
    assert!(ended > 5 && reader.auctions().any(|auction| auction.bids.len() > 1), "{ended}");
}

// proves auction.5
// proves auction.6
#[test]
fn a_signature_is_of_this_step_in_this_log() {
    let mut log = Log::new();
    let one = log.create(1, create("a", 0, 0)).expect("allowed");
    let two = log.create(1, Create { nonce: [2; 16], ..create("a", 0, 0) }).expect("allowed");
    log.bid(2, one, 10).expect("open");
    log.close(1, one).expect("open");
    let steps: Vec<Step> =
        log.blocks.iter().map(|block| wire::decode::<Entry>(block).expect("an entry").step).collect();
    assert!(steps.iter().all(|step| log.house.proves(step)));

    let (key, bid) = match &steps[3] {
        Step::Bid { key, bid } => (*key, bid.clone()),
        other => panic!("{other:?}"),
    };
    let other_log = House { core: [8; 32], ..log.house.clone() };
    for step in &steps[1..] {
        assert!(!other_log.proves(step), "a signature for this log only: {step:?}");
    }
    for forged in [
        Step::Bid { key, bid: Bid { amount: 11, ..bid.clone() } },
        Step::Bid { key, bid: Bid { auction: two, ..bid.clone() } },
        Step::Bid { key, bid: Bid { auction: 77, ..bid.clone() } },
        Step::Bid { key: pair(3).public, bid: bid.clone() },
        Step::Close { key, close: Close { auction: one, signature: bid.signature } },
    ] {
        assert!(!log.house.proves(&forged), "{forged:?}");
    }
    let Step::Create { key, create } = &steps[1] else { panic!("a create") };
    for forged in [
        Create { title: "b".to_owned(), ..create.clone() },
        Create { reserve: 1, ..create.clone() },
        Create { ends: 5000, ..create.clone() },
        Create { nonce: [7; 16], ..create.clone() },
    ] {
        assert!(!log.house.proves(&Step::Create { key: *key, create: forged }));
    }
}

// proves auction.1
// proves auction.2
#[test]
fn an_entry_is_read_as_it_is_written_and_only_so() {
    let mut log = Log::new();
    let id = log.create(1, create("a", 0, 0)).expect("allowed");
    log.bid(2, id, 10).expect("open");
    log.close(1, id).expect("open");
    for (kind, block) in log.blocks.iter().enumerate() {
        assert_eq!(usize::from(block[0]), kind);
        let entry = wire::decode::<Entry>(block).expect("an entry");
        assert_eq!(wire::encode(&entry), *block);
        let short = wire::decode::<Entry>(&block[..block.len() - 1]);
        assert!(short.is_err(), "{entry:?}");
    }
    let mut other = log.blocks[0].clone();
    *other.last_mut().expect("a version") = 2;
    assert!(wire::decode::<Entry>(&other).is_err(), "another version");
    let text = wire::encode(&Signed { core: CORE, what: Deed::Close { terms: [0; 32] } });
    assert!(wire::decode::<Signed>(&text).is_ok());
    let mut other = text;
    other[1] = b'S';
    assert!(wire::decode::<Signed>(&other).is_err(), "another label");
}

// proves auction.3
#[test]
fn requests_are_read_as_they_are_written() {
    let signature = [5; 64];
    for request in [
        Request::Create(create("a", 3, 9)),
        Request::Bid(Bid { auction: 1, amount: 2, signature }),
        Request::Close(Close { auction: 1, signature }),
    ] {
        assert_eq!(Request::read(request.method(), &request.value()), Some(Ok(request.clone())));
        let bytes = request.value();
        assert!(matches!(Request::read(request.method(), &bytes[..bytes.len() - 1]), Some(Err(_))));
    }
    assert_eq!(Request::read("register", b""), None);
}

// proves auction.4
#[test]
fn answers_have_three_forms() {
    for answer in [Answer::Ok(7), Answer::Idempotent(0), Answer::refused(Refusal::Closed)] {
        assert_eq!(Answer::read(&answer.value()), Some(answer));
    }
    assert_eq!(Answer::Ok(7).text(), "OK 7");
    assert_eq!(Answer::refused(Refusal::Closed).text(), "ERR:The auction is closed");
    assert_eq!(Answer::read(b"OK -1"), Some(Answer::Refused("OK -1".to_owned())));
    assert_eq!(
        Answer::read(b"OK 99999999999999999999"),
        Some(Answer::Refused("OK 99999999999999999999".into()))
    );
    assert_eq!(Answer::read(&[b'a'; 5000]), None);
}
