//! The result computed anew from the copy alone, and who signed what. Follows auction.22.

use super::outcome::{auction_json, named, result};
use super::rules::{Auction, House, Refusal};
use crate::app::text::{list, object, quoted};
use crate::base::{Error, Key, hex};
use crate::wire::auction::Step;

/// Blocks that are checked before the network has its turn again.
const BLOCKS_PER_TURN: u64 = 256;

/// A check under way. Commands: `go` until it says that it is done.
#[derive(Debug)]
pub struct Check {
    /// One auction, or all.
    id: Option<u64>,
    house: House,
    /// How far to go.
    length: u64,
    steps: [u64; 3],
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub core: Key,
    pub auction: Option<Auction>,
    /// Blocks that were computed anew.
    pub length: u64,
    /// Signatures that hold, of creates, bids and closes: of that auction, or of all.
    pub signatures: [u64; 3],
    /// Blocks that are against the rules or not signed by whom they name, and the first of them.
    pub fault_count: u64,
    pub faults: Vec<(u64, Refusal)>,
    /// What the client showed so far is the same.
    pub agrees: bool,
}

impl Check {
    /// Of the log with this key, as long as it is now.
    pub fn new(core: Key, length: u64, id: Option<u64>) -> Check {
        let house = House::new(core);
        Check { id, house, length, steps: [0; 3] }
    }

    /// Goes on; `block` reads the copy. True: done. `Error::Missing`: a block is not here.
    pub fn go(
        &mut self,
        mut block: impl FnMut(u64) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<bool, Error> {
        let until = self.length.min(self.house.length() + BLOCKS_PER_TURN);
        while self.house.length() < until {
            let seq = self.house.length();
            let bytes = block(seq)?.ok_or(Error::Missing)?;
            let Ok(entry) = self.house.take(&bytes) else { continue };
            let (kind, of) = match &entry.step {
                Step::Open | Step::End { .. } => continue,
                Step::Create { .. } => (0, seq),
                Step::Bid { bid, .. } => (1, bid.auction),
                Step::Close { close, .. } => (2, close.auction),
            };
            if self.id.is_none_or(|id| id == of) {
                self.steps[kind] += 1;
            }
        }
        Ok(self.house.length() == self.length)
    }

    /// What came of it; `shown` is what the client has shown so far.
    pub fn verdict(self, shown: &House) -> Verdict {
        let (faults, fault_count) = self.house.faults();
        let faults = faults.to_vec();
        let agrees = shown.length() != self.house.length() || *shown == self.house;
        Verdict {
            core: *self.house.core(),
            auction: self.id.and_then(|id| self.house.auction(id)).cloned(),
            length: self.length,
            signatures: self.steps,
            fault_count,
            faults,
            agrees,
        }
    }
}

impl Verdict {
    pub fn holds(&self) -> bool {
        self.fault_count == 0 && self.agrees
    }

    pub fn text(&self) -> String {
        let word = if self.holds() { "holds" } else { "does not hold" };
        let what = self.auction.as_ref().map_or("The whole log".to_owned(), named);
        let [creates, bids, closes] = self.signatures;
        let mut lines = vec![
            format!("{what}: {word}"),
            format!(
                "  log         {}, {} blocks, all proven by its key",
                hex::encode(&self.core),
                self.length
            ),
            format!("  rules       each block in its order; {} faults", self.fault_count),
            format!(
                "  signatures  {creates} of creates, {bids} of bids, {closes} of closes, by the keys they name"
            ),
        ];
        for (seq, why) in &self.faults {
            lines.push(format!("  block {seq}: {why}"));
        }
        if !self.agrees {
            lines.push("  it comes to something else than was shown".to_owned());
        }
        lines.extend(self.auction.as_ref().map(|auction| format!("  result      {}", result(auction))));
        lines.push(
            "  A log cannot show that the server left out a bid, or that its clock is right.".to_owned(),
        );
        lines.join("\n")
    }

    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let fault = |(seq, why): &(u64, Refusal)| {
            object(&[("seq", seq.to_string()), ("error", quoted(&why.to_string()))])
        };
        let [creates, bids, closes] = self.signatures.map(|count| count.to_string());
        vec![
            ("holds", self.holds().to_string()),
            ("core", quoted(&hex::encode(&self.core))),
            ("length", self.length.to_string()),
            ("signatures", object(&[("create", creates), ("bid", bids), ("close", closes)])),
            ("fault_count", self.fault_count.to_string()),
            ("faults", list(self.faults.iter().map(fault))),
            ("agrees", self.agrees.to_string()),
            ("auction", self.auction.as_ref().map_or("null".to_owned(), auction_json)),
        ]
    }
}
