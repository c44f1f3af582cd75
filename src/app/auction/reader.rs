//! Reads the copy of the log, and checks each block once: what it comes to. What an earlier process of the same client
//! has checked is not checked again. Follows auction.15, auction.16 and auction.25.

use super::rules::{House, Refusal, signable};
use crate::app::service::Status;
use crate::base::{Error, Key};
use crate::crypto::hash::blake2b_256;
use crate::crypto::sign;
use crate::node::KeyPair;
use crate::wire;
use crate::wire::auction::{Deed, Mark};

/// The client's copy of the log, as it is now.
pub trait Replica {
    /// Its length, the longest log that a connected peer has told of, and the peers.
    fn status(&self, reachable: bool) -> Status;
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error>;
    fn unix_millis(&self) -> u64;
    /// What was kept of what was checked; None: nothing.
    fn mark(&mut self) -> Option<Vec<u8>>;
    /// Keeps it. When that fails, everything is checked again some day.
    fn keep_mark(&mut self, mark: &[u8]);
}

/// Blocks that are read before the network has its turn again: with their signatures, and without.
pub const CHECKS_PER_TURN: u64 = 256;
const READS_PER_TURN: u64 = 4096;
/// So many more checked blocks are worth a mark, once all that is here is read; and before that.
const MARK_AT_END: u64 = 1024;
const MARK_BETWEEN: u64 = 16_384;

/// A reader. Commands: `go` whenever the copy may have grown, and again while `behind`.
#[derive(Debug)]
pub struct Reader {
    pair: KeyPair,
    /// What the copy comes to, as far as it is here without a gap.
    house: House,
    /// Stands for all these blocks.
    digest: Key,
    /// Signatures that were checked.
    checks: u64,
    /// Begun on the word of a mark, and shown once that has turned out to be of these blocks.
    resumed: Option<Resumed>,
    /// The mark was looked for.
    looked: bool,
    /// How much the last mark is of.
    marked: u64,
    /// No block so far was refused: a mark says that all signatures hold.
    sound: bool,
    behind: bool,
}

#[derive(Debug)]
struct Resumed {
    mark: Mark,
    house: House,
    digest: Key,
}

impl Reader {
    /// `pair` is the client's own, `core` the key of the log.
    pub fn new(pair: KeyPair, core: Key) -> Reader {
        Reader {
            pair,
            house: House::new(core),
            digest: [0; 32],
            checks: 0,
            resumed: None,
            looked: false,
            marked: 0,
            sound: true,
            behind: false,
        }
    }

    /// What the copy comes to.
    pub fn house(&self) -> &House {
        &self.house
    }

    /// More of the copy can be read at once.
    pub fn behind(&self) -> bool {
        self.behind
    }

    /// Takes the blocks that came, in their order; `until` is a length to stop at. Tells those that do not count.
    pub fn go(&mut self, replica: &mut dyn Replica, until: u64, mut refused: impl FnMut(u64, Refusal)) {
        let length = replica.status(false).length;
        if length < self.house.length() {
            // The log was cut: what is there now is all there is.
            *self = Reader {
                looked: true,
                checks: self.checks,
                ..Reader::new(self.pair.clone(), *self.house.core())
            };
        }
        if !self.looked && length > 0 {
            self.looked = true;
            let mark = replica.mark().filter(|_| self.house.length() == 0);
            let house = House::new(*self.house.core());
            self.resumed =
                mark.and_then(|mark| self.own(&mark)).map(|mark| Resumed { mark, house, digest: [0; 32] });
        }
        self.behind = if self.resumed.is_some() {
            self.resume(length, replica)
        } else {
            self.check(length.min(until), replica, &mut refused)
        };
        let more = self.house.length() - self.marked.min(self.house.length());
        if self.sound && more >= if self.behind { MARK_BETWEEN } else { MARK_AT_END } {
            self.mark(replica);
        }
    }

    /// Reads on without checking, up to where the mark is. True: there is more to read.
    fn resume(&mut self, length: u64, replica: &mut dyn Replica) -> bool {
        let Some(resumed) = &mut self.resumed else { return false };
        let Resumed { mark, house, digest } = resumed;
        let stop = mark.length.min(house.length().saturating_add(READS_PER_TURN));
        let mut sound = mark.length <= length;
        while sound && house.length() < stop {
            let Ok(Some(block)) = replica.block(house.length()) else {
                sound = false;
                break;
            };
            *digest = digest_of(digest, &block);
            sound = house.take_checked(&block).is_ok();
        }
        if sound && house.length() < mark.length {
            return true;
        }
        // auction.25: these are the blocks that were checked, or else nothing is known of any.
        if let Some(Resumed { mark, house, digest }) = self.resumed.take()
            && sound
            && mark.digest == digest
        {
            (self.marked, self.house, self.digest) = (mark.length, house, digest);
        }
        true
    }

    /// Reads on and checks. True: there is more to read.
    fn check(
        &mut self,
        length: u64,
        replica: &mut dyn Replica,
        refused: &mut impl FnMut(u64, Refusal),
    ) -> bool {
        let stop = length.min(self.house.length().saturating_add(CHECKS_PER_TURN));
        while self.house.length() < stop {
            let seq = self.house.length();
            let Ok(Some(block)) = replica.block(seq) else { return false };
            self.digest = digest_of(&self.digest, &block);
            self.checks += 1;
            // auction.15: the house remembers those that do not count.
            if let Err(refusal) = self.house.take(&block) {
                self.sound = false;
                refused(seq, refusal);
            }
        }
        stop < length
    }

    /// auction.25
    fn mark(&mut self, replica: &mut dyn Replica) {
        let (length, digest) = (self.house.length(), self.digest);
        let signature = self.pair.sign(&signable(self.house.core(), Deed::Checked { length, digest }));
        replica.keep_mark(&wire::encode(&Mark { length, digest, signature }));
        self.marked = length;
    }

    /// A mark that this client has made for this log.
    fn own(&self, bytes: &[u8]) -> Option<Mark> {
        let mark: Mark = wire::decode(bytes).ok()?;
        let deed = Deed::Checked { length: mark.length, digest: mark.digest };
        let text = signable(self.house.core(), deed);
        sign::verify(&self.pair.public, &text, &mark.signature).then_some(mark)
    }
}

/// Each block with what stands for those before it. (auction.25)
fn digest_of(before: &Key, block: &[u8]) -> Key {
    blake2b_256(&[before, block])
}

#[cfg(test)]
mod tests;
