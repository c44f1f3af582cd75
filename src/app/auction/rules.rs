//! What an auction log may hold, and what it comes to: a pure function of its blocks. The server asks it before it
//! appends, everybody else reads with it, and all come to the same result. Follows auction.7 to auction.16.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Key, Malformed, limits};
use crate::crypto::hash::blake2b_256;
use crate::crypto::sign;
use crate::wire;
use crate::wire::auction::{Bid, Close, Create, Deed, Entry, Signed, Step};

/// The largest amount, and the last moment: what a number of JavaScript still holds. (auction.8)
pub const AMOUNT_MAX: u64 = (1 << 53) - 1;

/// How far away an end may be, in milliseconds: 100 years. (auction.9)
const ENDS_MAX: u64 = 3_155_760_000_000;

/// Why an entry is not to be in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    NotAnEntry(Malformed),
    /// Every log begins with one block that opens it.
    NotOpened,
    OpenedTwice,
    /// The server's clock stepped back.
    TimeRunsBack,
    /// It is beyond what a number of JavaScript holds.
    TimeTooLate,
    Title(TitleFault),
    Amount,
    /// The end lies in the past.
    EndsBefore,
    /// The end is too far away.
    EndsTooLate,
    /// The same create, by the same key, is in the log already.
    Repeated,
    TooManyOpen,
    TooManyAuctions,
    LogFull,
    NoSuchAuction(u64),
    Closed,
    /// Its time is over.
    Over,
    TooLow {
        highest: u64,
    },
    NotCreator,
    /// It does not end by itself, or not yet.
    NotDue,
    Signature,
}

/// Why something is not a title.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TitleFault {
    Empty,
    TooLong,
    /// White space at the beginning or the end.
    Padded,
    Control,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotAnEntry(fault) => write!(f, "Not understood: {fault}"),
            Refusal::NotOpened => f.write_str("The log does not begin with its opening"),
            Refusal::OpenedTwice => f.write_str("The log is open already"),
            Refusal::TimeRunsBack => f.write_str("The time is before that of the entry before"),
            Refusal::TimeTooLate => write!(f, "The time is beyond {AMOUNT_MAX}"),
            Refusal::Title(fault) => write!(f, "Invalid title: {fault}"),
            Refusal::Amount => write!(f, "Invalid amount: it is not between 1 and {AMOUNT_MAX}"),
            Refusal::EndsBefore => f.write_str("The end is not in the future"),
            Refusal::EndsTooLate => f.write_str("The end is more than 100 years away"),
            Refusal::Repeated => f.write_str("The same auction is there already"),
            Refusal::TooManyOpen => {
                write!(f, "You have {} open auctions, and may not have more", limits::AUCTION_OPEN_MAX)
            }
            Refusal::TooManyAuctions => f.write_str("The house takes no further auctions"),
            Refusal::LogFull => f.write_str("The house is full: it only closes what is open"),
            Refusal::NoSuchAuction(id) => write!(f, "No auction {id}"),
            Refusal::Closed => f.write_str("The auction is closed"),
            Refusal::Over => f.write_str("The auction is over"),
            Refusal::TooLow { highest } => write!(f, "Too low: the highest bid is {highest}"),
            Refusal::NotCreator => f.write_str("Unauthorized: only the creator can close this auction"),
            Refusal::NotDue => f.write_str("The auction's time is not over"),
            Refusal::Signature => f.write_str("The signature does not hold"),
        }
    }
}

impl fmt::Display for TitleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TitleFault::Empty => f.write_str("it is empty"),
            TitleFault::TooLong => write!(f, "it is longer than {} bytes", limits::AUCTION_TITLE_MAX),
            TitleFault::Padded => f.write_str("white space at its beginning or end"),
            TitleFault::Control => f.write_str("it contains a control character"),
        }
    }
}

/// auction.7: 1 to 200 bytes of UTF-8 without control characters, and without white space around them.
pub fn check_title(title: &str) -> Result<(), TitleFault> {
    if title.is_empty() {
        return Err(TitleFault::Empty);
    }
    if title.len() > limits::AUCTION_TITLE_MAX {
        return Err(TitleFault::TooLong);
    }
    if title.trim() != title {
        return Err(TitleFault::Padded);
    }
    if title.chars().any(char::is_control) {
        return Err(TitleFault::Control);
    }
    Ok(())
}

/// auction.8: an amount as people write it, digits only. `None`: it is none.
pub fn amount(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || text.starts_with('0') {
        return None;
    }
    text.parse().ok().filter(|amount| *amount <= AMOUNT_MAX)
}

/// The highest bid of an auction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Best {
    /// The block in which it is.
    pub seq: u64,
    pub key: Key,
    pub amount: u64,
    pub time: u64,
}

/// How an auction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub seq: u64,
    pub time: u64,
    /// Its creator closed it; else its time was over.
    pub closed: bool,
}

/// An auction, as the log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auction {
    /// The block that created it.
    pub id: u64,
    pub creator: Key,
    pub title: String,
    pub reserve: u64,
    /// 0: never by itself.
    pub ends: u64,
    /// Stands for all of that in what others sign. (auction.6)
    pub terms: Key,
    /// When it was created.
    pub time: u64,
    pub highest: Option<Best>,
    /// Amount and block of each bid, in order, which is that of the amounts.
    pub bids: Vec<(u64, u64)>,
    pub end: Option<End>,
}

impl Auction {
    /// The bid that won: of an auction that has ended, the highest if it reached the reserve. (auction.14)
    pub fn winner(&self) -> Option<&Best> {
        self.end?;
        self.highest.as_ref().filter(|best| best.amount >= self.reserve)
    }

    /// The blocks that it is made of: its own, its bids', its end's.
    pub fn blocks(&self) -> impl Iterator<Item = u64> {
        let end = self.end.iter().map(|end| end.seq);
        core::iter::once(self.id).chain(self.bids.iter().map(|(_, seq)| *seq)).chain(end)
    }

    /// The block of the bid of that amount.
    pub fn bid_of(&self, amount: u64) -> Option<u64> {
        let at = self.bids.binary_search_by_key(&amount, |(amount, _)| *amount).ok()?;
        self.bids.get(at).map(|(_, seq)| *seq)
    }
}

/// All auctions of a log, after so many of its blocks. Commands: `take` or `take_checked` for each block in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct House {
    core: Key,
    length: u64,
    time: u64,
    auctions: BTreeMap<u64, Auction>,
    /// Which auction has which terms.
    known: BTreeMap<Key, u64>,
    /// Open auctions that end by themselves, next first.
    due: BTreeSet<(u64, u64)>,
    /// How many auctions of each key are open, and how many in all.
    open: BTreeMap<Key, u32>,
    open_count: u64,
    faults: Vec<(u64, Refusal)>,
    fault_count: u64,
}

impl House {
    /// Before the first block of the log with this key.
    pub fn new(core: Key) -> House {
        House {
            core,
            length: 0,
            time: 0,
            auctions: BTreeMap::new(),
            known: BTreeMap::new(),
            due: BTreeSet::new(),
            open: BTreeMap::new(),
            open_count: 0,
            faults: Vec::new(),
            fault_count: 0,
        }
    }

    pub fn core(&self) -> &Key {
        &self.core
    }

    /// Blocks taken so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The time of the last entry: no later one has an earlier.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// In the order of their creation.
    pub fn auctions(&self) -> impl DoubleEndedIterator<Item = &Auction> {
        self.auctions.values()
    }

    pub fn auction(&self, id: u64) -> Option<&Auction> {
        self.auctions.get(&id)
    }

    /// The auction with these terms.
    pub fn of_terms(&self, terms: &Key) -> Option<&Auction> {
        self.auctions.get(self.known.get(terms)?)
    }

    /// When the next auction ends by itself, and which one that is.
    pub fn next_due(&self) -> Option<(u64, u64)> {
        self.due.first().copied()
    }

    /// The first entries that are against the rules, with their blocks, and how many there are in all.
    pub fn faults(&self) -> (&[(u64, Refusal)], u64) {
        (&self.faults, self.fault_count)
    }

    /// The next block of the log. One that is against the rules, or is not signed by whom it names, changes nothing
    /// else, and is remembered. (auction.15)
    pub fn take(&mut self, block: &[u8]) -> Result<Entry, Refusal> {
        self.take_if(block, House::proves)
    }

    /// The same for a block whose signature is known to hold.
    pub fn take_checked(&mut self, block: &[u8]) -> Result<Entry, Refusal> {
        self.take_if(block, |_, _| true)
    }

    fn take_if(&mut self, block: &[u8], proven: impl Fn(&House, &Step) -> bool) -> Result<Entry, Refusal> {
        let entry = wire::decode::<Entry>(block).map_err(Refusal::NotAnEntry);
        let taken = entry.and_then(|entry| {
            self.judge(&entry)?;
            if proven(self, &entry.step) { Ok(entry) } else { Err(Refusal::Signature) }
        });
        match &taken {
            Ok(entry) => self.apply(entry),
            Err(refusal) => {
                if self.faults.len() < limits::AUCTION_FAULTS_MAX {
                    self.faults.push((self.length, *refusal));
                }
                self.fault_count += 1;
            }
        }
        self.length += 1;
        taken
    }

    /// Whether an entry may be the next one; its signature is `proves`' matter.
    pub fn judge(&self, entry: &Entry) -> Result<(), Refusal> {
        if (self.length == 0) != (entry.step == Step::Open) {
            let opened = self.length > 0;
            return Err(if opened { Refusal::OpenedTwice } else { Refusal::NotOpened });
        }
        if entry.time < self.time {
            return Err(Refusal::TimeRunsBack);
        }
        if entry.time > AMOUNT_MAX {
            return Err(Refusal::TimeTooLate);
        }
        match &entry.step {
            Step::Open => Ok(()),
            Step::Create { key, create } => self.judge_create(entry.time, key, create),
            Step::Bid { bid, .. } => self.judge_bid(entry.time, bid),
            Step::Close { key, close } => {
                let auction = self.running(close.auction, entry.time)?;
                if auction.creator == *key { Ok(()) } else { Err(Refusal::NotCreator) }
            }
            Step::End { auction } => {
                let auction = self.auctions.get(auction).ok_or(Refusal::NoSuchAuction(*auction))?;
                match (auction.end, auction.ends) {
                    (Some(_), _) => Err(Refusal::Closed),
                    (None, ends) if ends != 0 && ends <= entry.time => Ok(()),
                    (None, _) => Err(Refusal::NotDue),
                }
            }
        }
    }

    /// auction.9, auction.10
    fn judge_create(&self, time: u64, key: &Key, create: &Create) -> Result<(), Refusal> {
        check_title(&create.title).map_err(Refusal::Title)?;
        if create.reserve > AMOUNT_MAX {
            return Err(Refusal::Amount);
        }
        if create.ends != 0 && create.ends <= time {
            return Err(Refusal::EndsBefore);
        }
        if create.ends > AMOUNT_MAX || create.ends.saturating_sub(time) > ENDS_MAX {
            return Err(Refusal::EndsTooLate);
        }
        if self.known.contains_key(&terms(&self.core, key, create)) {
            return Err(Refusal::Repeated);
        }
        if self.open.get(key).is_some_and(|open| *open >= limits::AUCTION_OPEN_MAX) {
            return Err(Refusal::TooManyOpen);
        }
        if self.auctions.len() >= limits::AUCTION_MAX {
            return Err(Refusal::TooManyAuctions);
        }
        // The auction and its end are two blocks.
        self.room(2)
    }

    /// auction.11, auction.12
    fn judge_bid(&self, time: u64, bid: &Bid) -> Result<(), Refusal> {
        let auction = self.running(bid.auction, time)?;
        if !(1..=AMOUNT_MAX).contains(&bid.amount) {
            return Err(Refusal::Amount);
        }
        if let Some(best) = auction.highest
            && bid.amount <= best.amount
        {
            return Err(Refusal::TooLow { highest: best.amount });
        }
        self.room(1)
    }

    /// An auction that takes bids at `time`. (auction.12)
    fn running(&self, id: u64, time: u64) -> Result<&Auction, Refusal> {
        let auction = self.auctions.get(&id).ok_or(Refusal::NoSuchAuction(id))?;
        if auction.end.is_some() {
            return Err(Refusal::Closed);
        }
        if auction.ends != 0 && auction.ends <= time {
            return Err(Refusal::Over);
        }
        Ok(auction)
    }

    /// auction.10: what is open can always be ended.
    fn room(&self, blocks: u64) -> Result<(), Refusal> {
        let needed = self.length.saturating_add(self.open_count).saturating_add(blocks);
        if needed > limits::AUCTION_LOG_MAX { Err(Refusal::LogFull) } else { Ok(()) }
    }

    fn apply(&mut self, entry: &Entry) {
        let (seq, time) = (self.length, entry.time);
        self.time = time;
        match &entry.step {
            Step::Open => {}
            Step::Create { key, create } => {
                let terms = terms(&self.core, key, create);
                self.known.insert(terms, seq);
                *self.open.entry(*key).or_default() += 1;
                self.open_count += 1;
                if create.ends != 0 {
                    self.due.insert((create.ends, seq));
                }
                let auction = Auction {
                    id: seq,
                    creator: *key,
                    title: create.title.clone(),
                    reserve: create.reserve,
                    ends: create.ends,
                    terms,
                    time,
                    highest: None,
                    bids: Vec::new(),
                    end: None,
                };
                self.auctions.insert(seq, auction);
            }
            Step::Bid { key, bid } => {
                if let Some(auction) = self.auctions.get_mut(&bid.auction) {
                    auction.highest = Some(Best { seq, key: *key, amount: bid.amount, time });
                    auction.bids.push((bid.amount, seq));
                }
            }
            Step::Close { close, .. } => self.end(close.auction, End { seq, time, closed: true }),
            Step::End { auction } => self.end(*auction, End { seq, time, closed: false }),
        }
    }

    fn end(&mut self, id: u64, end: End) {
        let Some(auction) = self.auctions.get_mut(&id) else { return };
        auction.end = Some(end);
        self.due.remove(&(auction.ends, id));
        self.open_count = self.open_count.saturating_sub(1);
        if let Some(open) = self.open.get_mut(&auction.creator) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(&auction.creator);
            }
        }
    }

    /// Whether the signature of a step is that of the key that it names; what nobody signs needs none. Of a bid and a
    /// close the auction must be known. (auction.5, auction.6)
    pub fn proves(&self, step: &Step) -> bool {
        let terms_of = |id| self.auctions.get(&id).map(|auction: &Auction| auction.terms);
        let (key, deed, signature) = match step {
            Step::Open | Step::End { .. } => return true,
            Step::Create { key, create } => (key, Some(deed_of(create)), &create.signature),
            Step::Bid { key, bid } => {
                let deed = terms_of(bid.auction).map(|terms| Deed::Bid { terms, amount: bid.amount });
                (key, deed, &bid.signature)
            }
            Step::Close { key, close } => {
                (key, terms_of(close.auction).map(|terms| Deed::Close { terms }), &close.signature)
            }
        };
        deed.is_some_and(|deed| sign::verify(key, &signable(&self.core, deed), signature))
    }
}

/// What a create signs.
pub fn deed_of(create: &Create) -> Deed {
    let Create { nonce, title, reserve, ends, .. } = create.clone();
    Deed::Create { nonce, title, reserve, ends }
}

/// The text that a step's signature is of. (auction.5)
pub fn signable(core: &Key, what: Deed) -> Vec<u8> {
    wire::encode_once(Signed { core: *core, what })
}

/// Stands for all that an auction's creator said, in what others sign. (auction.6)
pub fn terms(core: &Key, creator: &Key, create: &Create) -> Key {
    blake2b_256(&[&signable(core, deed_of(create)), creator])
}

/// What a caller asks the server to write down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Create(Create),
    Bid(Bid),
    Close(Close),
}

impl Request {
    /// Reads the value of a call; `None`: there is no such method. (auction.3)
    pub fn read(method: &str, value: &[u8]) -> Option<Result<Request, Malformed>> {
        match method {
            "create" => Some(wire::decode(value).map(Request::Create)),
            "bid" => Some(wire::decode(value).map(Request::Bid)),
            "close" => Some(wire::decode(value).map(Request::Close)),
            _ => None,
        }
    }

    /// As it is called on the wire.
    pub fn method(&self) -> &'static str {
        match self {
            Request::Create(_) => "create",
            Request::Bid(_) => "bid",
            Request::Close(_) => "close",
        }
    }

    pub fn value(&self) -> Vec<u8> {
        match self {
            Request::Create(create) => wire::encode(create),
            Request::Bid(bid) => wire::encode(bid),
            Request::Close(close) => wire::encode(close),
        }
    }

    /// The step that it becomes in the log; `key` is what the caller's connection proved.
    pub fn step(self, key: Key) -> Step {
        match self {
            Request::Create(create) => Step::Create { key, create },
            Request::Bid(bid) => Step::Bid { key, bid },
            Request::Close(close) => Step::Close { key, close },
        }
    }
}

/// The answer to a call. (auction.4)
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The step is this block.
    Ok(u64),
    /// It was so already, by this block.
    Idempotent(u64),
    /// The text after `ERR:`.
    Refused(String),
}

/// The caller has too many requests waiting.
pub const TOO_MANY: &str = "Too many requests at once";
/// The server has too many callers.
pub const BUSY: &str = "The server is busy";
pub const STORAGE: &str = "The server could not store it";

impl Answer {
    pub fn refused(why: impl fmt::Display) -> Answer {
        Answer::Refused(why.to_string())
    }

    /// As it is said on the wire.
    pub fn text(&self) -> String {
        match self {
            Answer::Ok(seq) => format!("OK {seq}"),
            Answer::Idempotent(seq) => format!("IDEMPOTENT {seq}"),
            Answer::Refused(why) => format!("ERR:{why}"),
        }
    }

    /// The value of the answer.
    pub fn value(&self) -> Vec<u8> {
        wire::encode(&wire::auction::Answer { text: self.text().into_bytes() })
    }

    /// What was said; anything else than the three forms is taken for a refusal in other words. `None`: too long.
    pub fn read(value: &[u8]) -> Option<Answer> {
        let answer: wire::auction::Answer = wire::decode(value).ok()?;
        let text = String::from_utf8_lossy(&answer.text).into_owned();
        let block = |word: &str| text.strip_prefix(word)?.parse().ok();
        if let Some(seq) = block("OK ") {
            return Some(Answer::Ok(seq));
        }
        if let Some(seq) = block("IDEMPOTENT ") {
            return Some(Answer::Idempotent(seq));
        }
        let why = text.strip_prefix("ERR:").unwrap_or(&text);
        Some(Answer::Refused(why.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests;
