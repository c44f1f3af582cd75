use super::super::rules::deed_of;
use super::*;
use crate::wire::auction::{Bid, Create, Entry, Step};

const CORE: Key = [9; 32];

fn pair(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

/// A copy, and what its client keeps beside it.
#[derive(Clone, Default)]
struct Copy {
    blocks: Vec<Vec<u8>>,
    kept: Option<Vec<u8>>,
    marks: u32,
}

impl Replica for Copy {
    fn status(&self, _: bool) -> Status {
        Status { length: self.blocks.len() as u64, ..Status::default() }
    }
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.blocks.get(seq as usize).filter(|block| !block.is_empty()).cloned())
    }
    fn unix_millis(&self) -> u64 {
        0
    }
    fn mark(&mut self) -> Option<Vec<u8>> {
        self.kept.clone()
    }
    fn keep_mark(&mut self, mark: &[u8]) {
        self.marks += 1;
        self.kept = Some(mark.to_vec());
    }
}

fn block(step: Step) -> Vec<u8> {
    wire::encode(&Entry { time: 5, step })
}

fn bid(terms: Key, amount: u64) -> Vec<u8> {
    let signature = pair(3).sign(&signable(&CORE, Deed::Bid { terms, amount }));
    block(Step::Bid { key: pair(3).public, bid: Bid { auction: 1, amount, signature } })
}

impl Copy {
    /// The log of one auction with so many bids.
    fn of(bids: u64) -> Copy {
        let mut create = Create { title: "a".to_owned(), ..Create::default() };
        create.signature = pair(2).sign(&signable(&CORE, deed_of(&create)));
        let mut house = House::new(CORE);
        let mut blocks = vec![block(Step::Open), block(Step::Create { key: pair(2).public, create })];
        for block in &blocks {
            house.take(block).expect("by the rules");
        }
        let terms = house.auction(1).expect("it").terms;
        blocks.extend((1..=bids).map(|amount| bid(terms, amount)));
        Copy { blocks, ..Copy::default() }
    }

    fn terms(&self) -> Key {
        let mut house = House::new(CORE);
        for block in &self.blocks[..2] {
            house.take(block).expect("by the rules");
        }
        house.auction(1).expect("it").terms
    }

    /// A new process reads all of it: what it comes to, and how many signatures it checked.
    fn read(&mut self) -> (House, u64) {
        self.read_by(1)
    }

    fn read_by(&mut self, who: u8) -> (House, u64) {
        let mut reader = Reader::new(pair(who), CORE);
        let mut turns = 0;
        loop {
            reader.go(self, u64::MAX, |_, _| ());
            turns += 1;
            assert!(turns < 100, "it comes to an end");
            if !reader.behind() {
                return (reader.house().clone(), reader.checks);
            }
        }
    }
}

// proves auction.25
#[test]
fn nothing_is_checked_twice() {
    let mut copy = Copy::of(1500);
    let (truth, checks) = copy.read();
    assert_eq!((truth.length(), checks, copy.marks), (1502, 1502, 1));
    let (house, checks) = copy.read();
    assert_eq!(checks, 0, "the next process knows");
    assert!(house == truth);
    let terms = copy.terms();
    copy.blocks.push(bid(terms, 5000));
    let (house, checks) = copy.read();
    assert_eq!((checks, house.length(), copy.marks), (1, 1503, 1), "one is no reason for a new mark");
    // The same process goes on where it was.
    let mut reader = Reader::new(pair(1), CORE);
    let mut short = Copy { blocks: copy.blocks[..700].to_vec(), ..Copy::default() };
    while {
        reader.go(&mut short, u64::MAX, |_, _| ());
        reader.behind()
    } {}
    assert_eq!(reader.checks, 700);
    short.blocks.clone_from(&copy.blocks);
    while {
        reader.go(&mut short, u64::MAX, |_, _| ());
        reader.behind()
    } {}
    assert_eq!(reader.checks, 1503);
}

/// Whoever can write to the client's files and has not its key gets nothing past it.
// proves auction.25
#[test]
fn a_mark_is_only_for_what_was_checked() {
    let mut copy = Copy::of(1200);
    let (truth, _) = copy.read();
    let mark = copy.kept.clone().expect("it was made");
    let anew = |copy: &Copy, who: u8| copy.clone().read_by(who);

    // Another block before the mark: all is checked, and the forged bid does not count.
    let mut tampered = copy.clone();
    let bid = Bid { auction: 1, amount: 999_999, signature: [7; 64] };
    tampered.blocks[1000] = block(Step::Bid { key: pair(3).public, bid });
    let (house, checks) = anew(&tampered, 1);
    assert_eq!((checks, house.faults().0), (1202, &[(1000, Refusal::Signature)][..]));
    // A mark of that, signed by somebody else, or not at all.
    let digest = tampered.blocks.iter().fold([0; 32], |before, block| digest_of(&before, block));
    for (who, core) in [(2, CORE), (1, [8; 32])] {
        let length = 1202;
        let signature = pair(who).sign(&signable(&core, Deed::Checked { length, digest }));
        tampered.kept = Some(wire::encode(&Mark { length, digest, signature }));
        assert_eq!(anew(&tampered, 1).1, 1202, "{who}");
    }
    for at in 0..mark.len() {
        let mut changed = mark.clone();
        changed[at] ^= 1;
        copy.kept = Some(changed);
        let (house, checks) = anew(&copy, 1);
        assert_eq!(checks, 1202, "byte {at}");
        assert!(house == truth);
    }
    for wrong in [&mark[..40], &[], &[0xff; 200]] {
        copy.kept = Some(wrong.to_vec());
        assert_eq!(anew(&copy, 1).1, 1202);
    }
    copy.kept = Some(mark);
    assert_eq!(anew(&copy, 1).1, 0);
    assert_eq!(anew(&copy, 2).1, 1202, "another client's");
    // A copy that is shorter than the mark, or has a hole before it.
    let mut short = copy.clone();
    short.blocks.truncate(1000);
    assert_eq!(anew(&short, 1).1, 1000);
    copy.blocks[600].clear();
    let (house, checks) = anew(&copy, 1);
    assert_eq!((house.length(), checks), (600, 600));
}

// proves auction.25
#[test]
fn a_log_with_a_block_that_does_not_count_has_no_mark_beyond_it() {
    let mut copy = Copy::of(1200);
    copy.blocks.insert(1100, b"junk".to_vec());
    let (house, _) = copy.read();
    assert_eq!((house.length(), house.faults().1, copy.marks), (1203, 1, 0));
    assert_eq!(copy.read().1, 1203);
}

/// Nothing is shown on the word of a mark before that has proven to be of these blocks.
#[test]
fn what_is_not_known_to_be_checked_is_not_shown() {
    let mut copy = Copy::of(6000);
    copy.read();
    let last = copy.blocks.len() - 1;
    copy.blocks[last] = b"junk".to_vec();
    let mut reader = Reader::new(pair(1), CORE);
    loop {
        let before = reader.checks;
        reader.go(&mut copy, u64::MAX, |_, _| ());
        assert!(reader.house().length() <= reader.checks.max(before), "nothing but what was checked");
        if !reader.behind() {
            break;
        }
    }
    assert_eq!((reader.checks, reader.house().faults().1), (6002, 1));
}

/// A log that is cut and grows again is read anew.
#[test]
fn a_log_that_was_cut_is_read_anew() {
    let mut copy = Copy::of(20);
    let mut reader = Reader::new(pair(1), CORE);
    reader.go(&mut copy, u64::MAX, |_, _| ());
    copy.blocks.truncate(10);
    reader.go(&mut copy, u64::MAX, |_, _| ());
    assert_eq!((reader.house().length(), reader.checks), (10, 32));
    assert!(*reader.house() == copy.read().0);
}
