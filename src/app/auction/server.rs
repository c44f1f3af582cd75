//! The server: a log of steps, and what it comes to so far. Follows auction.18 to auction.20, and auction.24.

use super::rules::{self, Answer, House, Refusal, Request};
use crate::app::service::gate::{self, Bounds};
use crate::app::service::{self};
use crate::base::{Error, Key, Time, limits};
use crate::node::{CoreId, Net};
use crate::wire;
use crate::wire::auction::{Entry, Step};

/// A running server; see `service::server`.
pub type Server = service::server::Server<Hall>;

/// The name of the server's core in its store.
pub const CORE_NAME: &str = "auction";

/// How much a caller may do. (auction.20)
pub const BOUNDS: Bounds = Bounds {
    waiting: limits::AUCTION_WAITING_MAX,
    burst: limits::AUCTION_BURST,
    per_second: limits::AUCTION_PER_SECOND,
    callers: limits::AUCTION_CALLERS_MAX,
};

/// What the server is about.
#[derive(Debug)]
pub struct Hall {
    house: House,
    /// Milliseconds of Unix time at `Time::ZERO`, as of when the clock was last looked at.
    epoch: u64,
}

impl Hall {
    /// What the log comes to.
    pub fn house(&self) -> &House {
        &self.house
    }

    /// The time of an entry that is written now. (auction.15)
    fn stamp(&self, net: &Net<'_>) -> u64 {
        net.unix_millis().unwrap_or(0).max(self.house.time()).min(rules::AMOUNT_MAX)
    }

    /// What was asked before, and done: by which block. (auction.18)
    fn done_before(&self, net: &mut Net<'_>, core: CoreId, step: &Step) -> Result<Option<u64>, Error> {
        match step {
            Step::Create { key, create } => {
                let terms = rules::terms(self.house.core(), key, create);
                Ok(self.house.of_terms(&terms).map(|auction| auction.id))
            }
            Step::Bid { key, bid } => {
                let auction = self.house.auction(bid.auction);
                let Some(seq) = auction.and_then(|auction| auction.bid_of(bid.amount)) else {
                    return Ok(None);
                };
                let entry = net.block(core, seq)?.and_then(|block| wire::decode::<Entry>(&block).ok());
                let same =
                    entry.is_some_and(|entry| matches!(entry.step, Step::Bid { key: by, .. } if by == *key));
                Ok(same.then_some(seq))
            }
            Step::Close { key, close } => {
                let auction = self.house.auction(close.auction);
                let theirs = auction.filter(|auction| auction.creator == *key);
                Ok(theirs.and_then(|auction| auction.end).filter(|end| end.closed).map(|end| end.seq))
            }
            Step::Open | Step::End { .. } => Ok(None),
        }
    }

    /// Writes a step down, if it is by the rules and signed.
    fn write(&mut self, net: &mut Net<'_>, core: CoreId, step: Step) -> Result<Result<u64, Refusal>, Error> {
        let entry = Entry { time: self.stamp(net), step };
        if let Err(refusal) = self.house.judge(&entry) {
            return Ok(Err(refusal));
        }
        if !self.house.proves(&entry.step) {
            return Ok(Err(Refusal::Signature));
        }
        let block = wire::encode(&entry);
        let seq = net.append(core, &[&block])?;
        if seq != self.house.length() {
            return Err(Error::Corrupt("the auction's log has blocks that the server did not write"));
        }
        Ok(self.house.take_checked(&block).map(|_| seq))
    }
}

impl service::House for Hall {
    type Request = Request;
    const NAME: &'static str = CORE_NAME;

    /// auction.24
    fn open(net: &mut Net<'_>, core: CoreId) -> Result<Hall, Error> {
        let info = net.core_info(core)?;
        let mut hall = Hall { house: House::new(info.key), epoch: epoch(net) };
        for seq in 0..info.length {
            let block = net.block(core, seq)?.ok_or(Error::Corrupt("the auction's log lacks a block"))?;
            // auction.24: we never write what is against the rules; the signatures were checked before we wrote them.
            let taken = hall.house.take_checked(&block);
            taken.map_err(|_| Error::Corrupt("the auction's log is against the rules"))?;
        }
        if info.length == 0 {
            let _ = hall.write(net, core, Step::Open)?;
        }
        Ok(hall)
    }

    fn read(method: &str, body: &[u8]) -> Option<Result<Request, Vec<u8>>> {
        let refused = |fault| Answer::refused(Refusal::NotAnEntry(fault)).value();
        Some(Request::read(method, body)?.map_err(refused))
    }

    /// auction.18
    fn serve(
        &mut self,
        net: &mut Net<'_>,
        core: CoreId,
        caller: &Key,
        request: Request,
    ) -> Result<Vec<u8>, Error> {
        let step = request.step(*caller);
        if let Some(seq) = self.done_before(net, core, &step)? {
            return Ok(Answer::Idempotent(seq).value());
        }
        let answer = match self.write(net, core, step)? {
            Ok(seq) => Answer::Ok(seq),
            Err(refusal) => Answer::refused(refusal),
        };
        Ok(answer.value())
    }

    /// auction.20
    fn refused(why: gate::Refusal) -> Vec<u8> {
        let why = match why {
            gate::Refusal::TooMany => rules::TOO_MANY,
            gate::Refusal::Busy => rules::BUSY,
        };
        Answer::refused(why).value()
    }

    fn failed() -> Vec<u8> {
        Answer::refused(rules::STORAGE).value()
    }

    /// auction.19
    fn deadline(&self) -> Option<Time> {
        let (ends, _) = self.house.next_due()?;
        if ends <= self.house.time() {
            return Some(Time::ZERO);
        }
        Some(Time::from_micros(ends.saturating_sub(self.epoch).saturating_mul(1000)))
    }

    /// auction.19
    fn on_time(&mut self, net: &mut Net<'_>, core: CoreId) -> Result<(), Error> {
        self.epoch = epoch(net);
        for _ in 0..limits::AUCTION_ENDS_PER_TURN {
            match self.house.next_due() {
                Some((ends, auction)) if ends <= self.stamp(net) => {
                    let _ = self.write(net, core, Step::End { auction })?;
                }
                _ => break,
            }
        }
        Ok(())
    }
}

fn epoch(net: &Net<'_>) -> u64 {
    net.unix_millis().unwrap_or(0).saturating_sub(net.now().as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::service::House as _;
    use crate::base::Span;

    // proves auction.20
    #[test]
    fn callers_are_held_to_their_bounds() {
        let mut gate = gate::Gate::new(BOUNDS);
        let (busy, calm) = ([1; 32], [2; 32]);
        let mut done = 0;
        for n in 0..200 {
            assert_eq!(gate.push(Time::ZERO, busy, n), Ok(()));
            done += usize::from(gate.pop(Time::ZERO).is_some());
        }
        assert_eq!(done, 200, "at once");
        for n in 0..64 {
            assert_eq!(gate.push(Time::ZERO, busy, n), Ok(()));
        }
        let refusal = gate.push(Time::ZERO, busy, 64).expect_err("too many");
        assert_eq!(Answer::read(&Hall::refused(refusal)), Some(Answer::refused("Too many requests at once")));
        assert_eq!(gate.pop(Time::ZERO), None);
        assert_eq!(gate.deadline(Time::ZERO), Some(Time::ZERO + Span::from_millis(20)), "50 a second");
        assert_eq!(gate.push(Time::ZERO, calm, 7), Ok(()));
        assert_eq!(gate.pop(Time::ZERO), Some((calm, 7)), "others do not wait");
    }
}
