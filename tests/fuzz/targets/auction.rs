//! An auction log that anybody wrote: legal steps, illegal ones, and bytes that are none.

use seckel::app::auction::rules::{self, Answer, House, Refusal, Request};
use seckel::base::limits;
use seckel::crypto::sign::KeyPair;
use seckel::wire;
use seckel::wire::auction::{Bid, Close, Create, Deed, Entry, Step};

use super::{Draw, Drawn};

const CORE: [u8; 32] = [9; 32];
const BLOCK_MAX: u64 = 400;

pub fn run(input: &[u8], _: bool) -> String {
    live(&mut Drawn::new(input));
    String::new()
}

pub fn live(draw: &mut dyn Draw) {
    let mut house = House::new(CORE);
    let mut blocks = Vec::new();
    let mut now = 0_u64;
    // Signing takes long: few logs are signed, and read with their signatures.
    let signed = draw.below(16) == 0;
    let how = if signed { House::take } else { House::take_checked };
    while draw.more() && blocks.len() < 200 {
        let block = match draw.below(8) {
            0 => draw.drawn_bytes(BLOCK_MAX),
            _ => {
                now = if draw.below(30) == 0 { draw.below(now + 1) } else { now + draw.below(50) };
                let step = if blocks.is_empty() { Step::Open } else { step(draw, &house, now, signed) };
                wire::encode(&Entry { time: now, step })
            }
        };
        take(&mut house, &block, how);
        blocks.push(block);
    }
    // Whoever reads the same blocks comes to the same.
    let mut reader = House::new(CORE);
    for block in &blocks {
        let _ = how(&mut reader, block);
    }
    assert!(reader == house);
}

/// What is asked of a server, too.
pub fn of_call(method: &str, bytes: &[u8]) {
    if let Some(Ok(request)) = Request::read(method, bytes) {
        assert_eq!(Request::read(request.method(), &request.value()), Some(Ok(request)));
    }
    if let Some(answer) = Answer::read(bytes) {
        let again = Answer::read(&answer.value());
        assert!(again.is_none_or(|again| again == answer));
    }
}

fn step(draw: &mut dyn Draw, house: &House, now: u64, signed: bool) -> Step {
    let pair = KeyPair::from_seed([draw.below(3) as u8; 32]);
    let key = pair.public;
    let auction = draw.below(house.length() + 1);
    let terms = house.auction(auction).map_or([0; 32], |auction| auction.terms);
    let signed = signed && draw.below(8) != 0;
    let sign = |deed| if signed { pair.sign(&rules::signable(&CORE, deed)) } else { [0; 64] };
    match draw.below(8) {
        0 | 1 => {
            let title = String::from_utf8_lossy(&draw.drawn_bytes(4)).into_owned();
            let ends = if draw.below(2) == 0 { 0 } else { now + draw.below(100) };
            let nonce = [draw.below(4) as u8; 16];
            let mut create = Create { nonce, title, reserve: draw.below(20), ends, signature: [0; 64] };
            create.signature = sign(rules::deed_of(&create));
            Step::Create { key, create }
        }
        2 => Step::Close { key, close: Close { auction, signature: sign(Deed::Close { terms }) } },
        3 => Step::End { auction },
        4 if draw.below(8) == 0 => Step::Open,
        _ => {
            let amount = draw.below(40);
            Step::Bid { key, bid: Bid { auction, amount, signature: sign(Deed::Bid { terms, amount }) } }
        }
    }
}

/// One more block, and what holds of it.
fn take(house: &mut House, block: &[u8], how: fn(&mut House, &[u8]) -> Result<Entry, Refusal>) {
    let before = house.clone();
    let taken = how(house, block);
    assert_eq!(house.length(), before.length() + 1);
    assert!(house.time() >= before.time());
    assert!(house.faults().0.len() <= limits::AUCTION_FAULTS_MAX);
    let entry = match taken {
        Ok(entry) => entry,
        Err(refusal) => {
            assert!(house.auctions().eq(before.auctions()), "{refusal}: it changes nothing");
            assert_eq!(house.faults().1, before.faults().1 + 1);
            return;
        }
    };
    assert_eq!(before.judge(&entry), Ok(()));
    assert_ne!(house.judge(&entry), Ok(()), "no step can be taken twice");
    let _ = house.proves(&entry.step);
    for auction in house.auctions() {
        assert!(auction.bids.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1));
        assert_eq!(auction.bids.last().map(|(amount, _)| *amount), auction.highest.map(|best| best.amount));
        assert!(auction.winner().is_none_or(|best| auction.end.is_some() && best.amount >= auction.reserve));
        if before.auction(auction.id).is_some_and(|was| was.end.is_some()) {
            assert_eq!(before.auction(auction.id), Some(auction), "an end is the end");
        }
    }
    if let Step::Bid { bid, .. } = &entry.step {
        let again = before.auction(bid.auction).and_then(|auction| auction.highest);
        assert!(
            again.is_none_or(|best| best.amount < bid.amount),
            "{:?}",
            Refusal::TooLow { highest: bid.amount }
        );
    }
}
