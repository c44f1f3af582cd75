//! Reading a tree of which only some blocks are here: what is fetched, in how many rounds, with and without the help of
//! peers.

use super::*;
use crate::hyperbee::ahead::{Ahead, EXTENSION, Told};
use crate::wire::hyperbee::{Envelope, Extension, Hint};

fn tree(keys: u64) -> Tree {
    let mut tree = Tree::new();
    for n in 0..keys {
        tree.put(&format!("{:05}", n * 7919 % keys), "a value");
    }
    tree
}

/// A copy without any block.
fn empty(of: &Tree) -> Tree {
    let mut copy = Tree::of(of.log.blocks.clone());
    copy.log.away = (0..of.log.len()).collect();
    copy
}

/// The blocks that `act` reads of a whole tree.
fn needed(of: &Tree, act: impl FnOnce(&mut Cx<'_>, &mut Bee, &mut Memory)) -> BTreeSet<u64> {
    let mut copy = Tree::of(of.log.blocks.clone());
    copy.bee.visited = Some(Default::default());
    copy.with(act);
    copy.bee.visited.take().expect("put there").seen
}

fn told(tree: &mut Tree, ahead: &mut Ahead, message: &[u8]) -> Told {
    tree.with(|cx, bee, log| ahead.told(cx, bee, log, message)).expect("well formed")
}

/// A reader and a peer that has everything: what the reader is short of is fetched, in rounds.
struct Pair {
    reader: Tree,
    ahead: Ahead,
    peer: Tree,
    helper: Ahead,
    rounds: usize,
    fetched: BTreeSet<u64>,
}

impl Pair {
    fn new(of: &Tree) -> Pair {
        let (ahead, helper) = (Ahead::default(), Ahead::default());
        let peer = Tree::of(of.log.blocks.clone());
        Pair { reader: empty(of), ahead, peer, helper, rounds: 0, fetched: BTreeSet::new() }
    }

    fn fetch(&mut self, wanted: impl IntoIterator<Item = u64>) {
        self.rounds += 1;
        for seq in wanted {
            self.fetched.insert(seq);
            self.reader.log.away.remove(&seq);
        }
    }

    fn ask(&mut self, question: &[u8]) -> Vec<u64> {
        let answers = told(&mut self.peer, &mut self.helper, question).answers;
        let mut wanted = Vec::new();
        for message in answers {
            let told = told(&mut self.reader, &mut self.ahead, &message);
            assert!(told.answers.is_empty(), "an answer is not answered");
            wanted.extend(told.wanted);
        }
        wanted
    }
}

// proves hyperbee.35
// proves hyperbee.57
// proves hyperbee.58
#[test]
fn a_look_up_fetches_the_blocks_of_its_way_and_no_other() {
    let whole = tree(5000);
    let version = whole.log.len();
    for key in ["00000", "01234", "04999", "nothing", ""] {
        let key = key.as_bytes();
        let wanted = needed(&whole, |cx, bee, log| drop(bee.get_at(cx, log, version, key)));
        assert!(wanted.len() < 30, "{} blocks of 5,000", wanted.len());
        let mut pair = Pair::new(&whole);
        let got = pair.reader.with(|cx, bee, log| bee.get_at(cx, log, version, key));
        assert_eq!(got, Err(Error::Missing));
        let lacking = pair.reader.bee.lacking();
        let question = pair.ahead.ask(&lacking).expect("a question");
        let _ = pair.reader.with(|cx, bee, log| bee.get_at(cx, log, version, key));
        assert_eq!(pair.ahead.ask(&pair.reader.bee.lacking()), None, "asked once");
        let hints = pair.ask(&question);
        pair.fetch(hints);
        assert_eq!(pair.fetched, wanted, "one question, and all that it takes");
        let got = pair.reader.with(|cx, bee, log| bee.get_at(cx, log, version, key));
        assert_eq!(got, pair.peer.with(|cx, bee, log| bee.get_at(cx, log, version, key)));
        assert!(got.is_ok());
    }
}

/// By itself, and with a peer that is asked: hardly anything is fetched that the range does not need, and it takes few
/// rounds.
// proves hyperbee.56
// proves hyperbee.61
#[test]
fn a_range_is_fetched_ahead() {
    let whole = tree(5000);
    let version = whole.log.len();
    let ranges = [
        Range::all(),
        Range::all().reverse(),
        Range::all().gt(b"01000").lte(b"01500"),
        Range::all().gte(b"01000").lt(b"01500").reverse(),
        Range::all().gt(b"04900"),
        Range::all().gte(b"02000").limit(70),
    ];
    for (range, asks) in ranges.iter().flat_map(|range| [(range, false), (range, true)]) {
        let wanted = needed(&whole, |cx, bee, log| {
            let mut cursor = bee.range(version, range.clone());
            while cursor.next(cx, bee, log).expect("all is here").is_some() {}
        });
        let mut pair = Pair::new(&whole);
        let mut cursor = pair.reader.bee.range(version, range.clone());
        let mut got = Vec::new();
        loop {
            match pair.reader.with(|cx, bee, log| cursor.next(cx, bee, log)) {
                Ok(Some(entry)) => got.push(entry),
                Ok(None) => break,
                Err(Error::Missing) => {
                    let missing = pair.reader.bee.missing().expect("named");
                    let lacking = pair.reader.bee.lacking();
                    assert!(lacking.blocks.contains(&missing));
                    let question = if asks { pair.ahead.ask(&lacking) } else { None };
                    let hints = question.map_or_else(Vec::new, |question| pair.ask(&question));
                    pair.fetch(hints.into_iter().chain(lacking.blocks));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(got, pair.peer.range_at(version, range.clone()).expect("range"), "{range:?}");
        let extra = pair.fetched.difference(&wanted).count();
        let ends = range.limit.is_none() && *range != Range::all();
        assert!(extra <= if asks || !ends { 0 } else { 30 }, "{range:?}, asking {asks}: {extra} in vain");
        let bound = match (asks, range.limit) {
            (true, _) => 6,
            (false, Some(_)) => wanted.len(),
            (false, None) => 40,
        };
        assert!(
            pair.rounds <= bound,
            "{range:?}, asking {asks}: {} rounds for {}",
            pair.rounds,
            wanted.len()
        );
    }
}

/// Questions cost who answers a bounded amount, in all and each; after a while there is room again.
// proves hyperbee.57
// proves hyperbee.59
#[test]
fn questions_cost_a_bounded_amount() {
    let mut whole = tree(5000);
    let mut helper = Ahead::default();
    let version = whole.log.len();
    let question = |version| {
        let mut cursor = Bee::new().range(version, Range::all());
        Ahead::default().ask_range(&mut cursor).expect("a fresh walk asks")
    };
    let mut blocks = Vec::new();
    for message in told(&mut whole, &mut helper, &question(version)).answers {
        let envelope: Envelope = decode(&message).expect("an answer");
        let extension: Extension = decode(&envelope.message).expect("an answer");
        let hint = extension.cache.expect("an answer");
        assert!(hint.blocks.len() <= 128);
        let (low, high) = (hint.blocks.iter().min(), hint.blocks.iter().max());
        assert_eq!((low.copied(), high.map(|seq| seq + 1)), (Some(hint.start), Some(hint.end)));
        blocks.extend(hint.blocks);
    }
    let distinct: BTreeSet<u64> = blocks.iter().copied().collect();
    assert_eq!(distinct.len(), blocks.len(), "each block once");
    assert!((2048..2048 + 128 + 64).contains(&blocks.len()), "{}", blocks.len());
    assert!(told(&mut whole, &mut helper, &question(version + 1)).answers.is_empty(), "we do not have that");
    assert!(told(&mut whole, &mut helper, &question(0)).answers.is_empty());
    let mut answered = 1;
    while !told(&mut whole, &mut helper, &question(version)).answers.is_empty() {
        answered += 1;
        assert!(answered < 100, "there is an end");
    }
    assert!(answered > 2);
    let later = Time::from_micros(2_000_000);
    let (bee, log) = (&mut whole.bee, &mut whole.log);
    let mut cx =
        Cx { now: later, entropy: &mut whole.entropy, disk: &mut RamDisk::new(), trace: &mut NoTrace };
    let message = question(version);
    assert!(!helper.told(&mut cx, bee, log, &message).expect("well formed").answers.is_empty());
}

/// Nobody makes us fetch what we have not asked about, and no bytes do harm.
// proves hyperbee.60
#[test]
fn hints_that_nobody_asked_for_are_passed_over() {
    assert_eq!(EXTENSION, "hyperbee");
    let whole = tree(300);
    let mut reader = empty(&whole);
    let hint = |blocks: Vec<u64>| {
        let cache = Hint { start: 0, end: 1, blocks };
        let message = encode(&Extension { cache: Some(cache), ..Extension::default() });
        encode(&Envelope { message })
    };
    let mut ahead = Ahead::default();
    assert_eq!(told(&mut reader, &mut ahead, &hint(vec![1, 2, 3])), Told::default());
    ahead.ask_get(301, b"00001");
    assert_eq!(told(&mut reader, &mut ahead, &hint(vec![5, 400, u64::MAX >> 11, 5, 3])).wanted, [3, 5]);
    reader.log.away.remove(&7);
    assert_eq!(told(&mut reader, &mut ahead, &hint(vec![7, 8])).wanted, [8]);
    let many = told(&mut reader, &mut ahead, &hint((0..301).chain(0..301).collect())).wanted.len();
    assert!((200..=300).contains(&many));
    let mut entropy = Seeded::new(3);
    let mut whole = whole;
    for _ in 0..3000 {
        let message: Extension = crate::wire::invent(&mut entropy);
        let mut bytes = encode(&Envelope { message: encode(&message) });
        if entropy.chance(500) && !bytes.is_empty() {
            let at = entropy.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << entropy.below(8);
        }
        let _ = whole.with(|cx, bee, log| Ahead::default().told(cx, bee, log, &bytes));
    }
}
