//! Formats of the auction: the blocks of its log, what its three methods take and give, what is signed, and how a
//! client notes what it has checked. Follows auction.1 to auction.6, and auction.25.

use super::{Cursor, Format, Wire, format};
use crate::base::{Key, Malformed, Reason, limits};

pub const FORMATS: &[Format] = &[
    format::<Create>(),
    format::<Bid>(),
    format::<Close>(),
    format::<Answer>(),
    format::<Entry>(),
    format::<Signed>(),
    format::<Mark>(),
];

/// Begins the log and every signed text, so that neither passes for something else. (auction.1)
pub const LABEL: &str = "seckel auction";
pub const VERSION: u64 = 1;

/// The value of a call of `create`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create {
    /// Drawn by the caller: makes two auctions with the same terms two.
    pub nonce: [u8; 16],
    pub title: String,
    /// The least amount that wins; 0: any.
    pub reserve: u64,
    /// Milliseconds of Unix time from which on no bid is taken; 0: never by itself.
    pub ends: u64,
    pub signature: [u8; 64],
}

impl Default for Create {
    fn default() -> Create {
        Create { nonce: [0; 16], title: String::new(), reserve: 0, ends: 0, signature: [0; 64] }
    }
}

/// The value of a call of `bid`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bid {
    /// The block that created it.
    pub auction: u64,
    pub amount: u64,
    pub signature: [u8; 64],
}

impl Default for Bid {
    fn default() -> Bid {
        Bid { auction: 0, amount: 0, signature: [0; 64] }
    }
}

/// The value of a call of `close`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    /// The block that created it.
    pub auction: u64,
    pub signature: [u8; 64],
}

impl Default for Close {
    fn default() -> Close {
        Close { auction: 0, signature: [0; 64] }
    }
}

/// The value of the answer to a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// `OK` or `IDEMPOTENT` and a block, or `ERR:` and why, in UTF-8.
    pub text: Vec<u8>,
}

/// A block of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// Milliseconds of Unix time, by the server's clock.
    pub time: u64,
    pub step: Step,
}

/// What happened. The keys are those that the callers' connections proved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Step {
    /// The first block.
    #[default]
    Open,
    Create {
        key: Key,
        create: Create,
    },
    Bid {
        key: Key,
        bid: Bid,
    },
    Close {
        key: Key,
        close: Close,
    },
    /// The time of an auction is over.
    End {
        auction: u64,
    },
}

const KINDS: u64 = 5;

impl Step {
    /// As it is written. (auction.2)
    pub fn kind(&self) -> u64 {
        match self {
            Step::Open => 0,
            Step::Create { .. } => 1,
            Step::Bid { .. } => 2,
            Step::Close { .. } => 3,
            Step::End { .. } => 4,
        }
    }

    fn of_kind(kind: u64) -> Step {
        let key = [0; 32];
        match kind {
            1 => Step::Create { key, create: Create::default() },
            2 => Step::Bid { key, bid: Bid::default() },
            3 => Step::Close { key, close: Close::default() },
            4 => Step::End { auction: 0 },
            _ => Step::Open,
        }
    }
}

/// What a step's signature is of. (auction.5)
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Signed {
    /// The log that the step is for.
    pub core: Key,
    pub what: Deed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    Create {
        nonce: [u8; 16],
        title: String,
        reserve: u64,
        ends: u64,
    },
    Bid {
        terms: Key,
        amount: u64,
    },
    Close {
        terms: Key,
    },
    /// Not a step: so many blocks, of which that is the digest, were checked. (auction.25)
    Checked {
        length: u64,
        digest: Key,
    },
}

impl Default for Deed {
    fn default() -> Deed {
        Deed::Close { terms: [0; 32] }
    }
}

/// No kind of the log's.
const CHECKED: u64 = 5;

/// How much of a log a client has checked, in its own files. (auction.25)
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    pub length: u64,
    /// Stands for all these blocks.
    pub digest: Key,
    /// The client's own.
    pub signature: [u8; 64],
}

impl Default for Mark {
    fn default() -> Mark {
        Mark { length: 0, digest: [0; 32], signature: [0; 64] }
    }
}

impl Deed {
    fn kind(&self) -> u64 {
        match self {
            Deed::Create { .. } => 1,
            Deed::Bid { .. } => 2,
            Deed::Close { .. } => 3,
            Deed::Checked { .. } => CHECKED,
        }
    }

    fn of_kind(kind: u64) -> Deed {
        let terms = [0; 32];
        match kind {
            1 => Deed::Create { nonce: [0; 16], title: String::new(), reserve: 0, ends: 0 },
            2 => Deed::Bid { terms, amount: 0 },
            CHECKED => Deed::Checked { length: 0, digest: [0; 32] },
            _ => Deed::Close { terms },
        }
    }
}

impl Wire for Create {
    const NAME: &'static str = "auction.create";
    const RULE: &'static str = "auction.3";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("nonce", &mut self.nonce)?;
        c.string("title", &mut self.title, limits::AUCTION_TEXT_MAX)?;
        c.uint("reserve", &mut self.reserve)?;
        c.uint("ends", &mut self.ends)?;
        c.fixed("signature", &mut self.signature)
    }
}

impl Wire for Bid {
    const NAME: &'static str = "auction.bid";
    const RULE: &'static str = "auction.3";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("auction", &mut self.auction)?;
        c.uint("amount", &mut self.amount)?;
        c.fixed("signature", &mut self.signature)
    }
}

impl Wire for Close {
    const NAME: &'static str = "auction.close";
    const RULE: &'static str = "auction.3";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("auction", &mut self.auction)?;
        c.fixed("signature", &mut self.signature)
    }
}

impl Wire for Answer {
    const NAME: &'static str = "auction.answer";
    const RULE: &'static str = "auction.4";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.raw("text", &mut self.text, limits::AUCTION_TEXT_MAX)
    }
}

impl Wire for Entry {
    const NAME: &'static str = "auction.entry";
    const RULE: &'static str = "auction.2";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("label", "auction.1"),
        ("version", "auction.1"),
        ("nonce", "auction.3"),
        ("title", "auction.3"),
        ("reserve", "auction.3"),
        ("ends", "auction.3"),
        ("amount", "auction.3"),
        ("signature", "auction.5"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let kind = c.one_of("kind", self.step.kind(), KINDS)?;
        if kind != self.step.kind() {
            self.step = Step::of_kind(kind);
        }
        c.uint("time", &mut self.time)?;
        match &mut self.step {
            Step::Open => {
                label(c)?;
                c.exactly("version", VERSION)
            }
            Step::Create { key, create } => {
                c.fixed("key", key)?;
                create.walk(c)
            }
            Step::Bid { key, bid } => {
                c.fixed("key", key)?;
                bid.walk(c)
            }
            Step::Close { key, close } => {
                c.fixed("key", key)?;
                close.walk(c)
            }
            Step::End { auction } => c.uint("auction", auction),
        }
    }
}

impl Wire for Signed {
    const NAME: &'static str = "auction.signed";
    const RULE: &'static str = "auction.5";
    const RULES: &'static [(&'static str, &'static str)] =
        &[("label", "auction.1"), ("terms", "auction.6"), ("length", "auction.25"), ("digest", "auction.25")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        label(c)?;
        c.fixed("core", &mut self.core)?;
        // The kinds are those of the log's entries, and one that is none of them.
        let mut kind = self.what.kind();
        c.uint("kind", &mut kind)?;
        if c.inventing() {
            kind = [1, 2, 3, CHECKED][(kind % 4) as usize];
        }
        if !matches!(kind, 1..=3 | CHECKED) {
            return c.refuse("kind", Reason::Illegal { value: kind });
        }
        if kind != self.what.kind() {
            self.what = Deed::of_kind(kind);
        }
        match &mut self.what {
            Deed::Create { nonce, title, reserve, ends } => {
                c.fixed("nonce", nonce)?;
                c.string("title", title, limits::AUCTION_TEXT_MAX)?;
                c.uint("reserve", reserve)?;
                c.uint("ends", ends)
            }
            Deed::Bid { terms, amount } => {
                c.fixed("terms", terms)?;
                c.uint("amount", amount)
            }
            Deed::Close { terms } => c.fixed("terms", terms),
            Deed::Checked { length, digest } => {
                c.uint("length", length)?;
                c.fixed("digest", digest)
            }
        }
    }
}

impl Wire for Mark {
    const NAME: &'static str = "auction.mark";
    const RULE: &'static str = "auction.25";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("length", &mut self.length)?;
        c.fixed("digest", &mut self.digest)?;
        c.fixed("signature", &mut self.signature)
    }
}

fn label(c: &mut Cursor<'_>) -> Result<(), Malformed> {
    if c.inventing() {
        return Ok(());
    }
    let mut text = LABEL.to_owned();
    c.string("label", &mut text, LABEL.len())?;
    if text == LABEL { Ok(()) } else { c.refuse("label", Reason::Illegal { value: text.len() as u64 }) }
}
