//! What a user sees: the result of a command, as text and as JSON, with its exit code. Follows auction.21.

use super::command::HELP;
use super::rules::{Auction, Best, Refusal};
use super::verify::Verdict;
use super::when;
pub use crate::app::service::{Exit, Status};
use crate::app::text::{list, object, quoted, shown};
use crate::base::{Key, hex};
use crate::wire::auction::{Entry, Step};

/// How a command ended, or one of the things that it tells on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Created {
        auction: Box<Auction>,
        /// It was there before.
        again: bool,
    },
    Bid {
        auction: Box<Auction>,
        amount: u64,
        again: bool,
    },
    Closed {
        auction: Box<Auction>,
        again: bool,
    },
    List {
        auctions: Vec<Auction>,
    },
    Show {
        auction: Box<Auction>,
        /// Its last bids.
        bids: Vec<Best>,
    },
    /// A block of the log that a watcher is told of; an error: one that is against the rules.
    Step {
        seq: u64,
        step: Result<Box<Entry>, Refusal>,
    },
    /// The auction that was watched has ended.
    Over {
        auction: Box<Auction>,
    },
    Verified(Box<Verdict>),
    WhoAmI {
        key: Key,
    },
    Status(Status),
    Help,
    /// The server, or the rules, say no.
    Refused {
        why: String,
    },
    NoSuchAuction {
        id: u64,
    },
    /// The server says that it did it, and its log shows something else there.
    Broken {
        seq: u64,
    },
    /// The server cannot be reached, so that nothing was written.
    Unreachable,
    /// The connection broke and did not come back: the step may or may not have been taken.
    Unknown,
    /// The client has never had a copy.
    NeverSynced,
    /// A part of the copy that the read needs is not here.
    Incomplete,
    /// The copy is damaged, or the disk is.
    Failed {
        why: String,
    },
}

impl Outcome {
    pub fn exit(&self) -> Exit {
        match self {
            Outcome::Created { .. }
            | Outcome::Bid { .. }
            | Outcome::Closed { .. }
            | Outcome::List { .. }
            | Outcome::Show { .. }
            | Outcome::Step { .. }
            | Outcome::Over { .. }
            | Outcome::WhoAmI { .. }
            | Outcome::Status(_)
            | Outcome::Help => Exit::Ok,
            Outcome::Verified(verdict) if verdict.holds() => Exit::Ok,
            Outcome::Verified(_)
            | Outcome::Refused { .. }
            | Outcome::NoSuchAuction { .. }
            | Outcome::Broken { .. } => Exit::No,
            Outcome::Unreachable | Outcome::Unknown | Outcome::NeverSynced | Outcome::Incomplete => {
                Exit::Unreachable
            }
            Outcome::Failed { .. } => Exit::Storage,
        }
    }

    /// For standard output, without a line break at the end; empty: nothing to write. (auction.21)
    pub fn text(&self) -> String {
        match self {
            Outcome::Created { auction, again: false } => format!("Created: {}", named(auction)),
            Outcome::Created { auction, again: true } => format!("Already created: {}", named(auction)),
            Outcome::Bid { auction, amount, again } => {
                let word = if *again { "Already bid" } else { "Bid" };
                let outbid = auction.highest.is_some_and(|best| best.amount > *amount);
                let since = if outbid { ", outbid since" } else { "" };
                format!("{word}: {amount} on {}{since}", named(auction))
            }
            Outcome::Closed { auction, again } => {
                let word = if *again { "Already closed" } else { "Closed" };
                format!("{word}: {}, {}", named(auction), result(auction))
            }
            Outcome::List { auctions } => auctions.iter().map(line).collect::<Vec<_>>().join("\n"),
            Outcome::Show { auction, bids } => show(auction, bids),
            Outcome::Step { seq, step } => step_text(*seq, step),
            Outcome::Over { auction } => format!("Over: {}, {}", named(auction), result(auction)),
            Outcome::Verified(verdict) => verdict.text(),
            Outcome::WhoAmI { key } => hex::encode(key),
            Outcome::Status(status) => status.text(),
            Outcome::Help => HELP.to_owned(),
            Outcome::Refused { why } => format!("Error: {}", shown(why)),
            Outcome::NoSuchAuction { id } => format!("Error: {}", Refusal::NoSuchAuction(*id)),
            Outcome::Broken { seq } => {
                format!("Error: The server says it is done, but block {seq} of its log is something else")
            }
            Outcome::Unreachable => "Error: Server unreachable".to_owned(),
            Outcome::Unknown => {
                "Error: Connection lost, it is not known whether the step was taken".to_owned()
            }
            Outcome::NeverSynced => "Never synced: there is no local copy of the log yet".to_owned(),
            Outcome::Incomplete => {
                "Incomplete: a part of the local copy is missing and nobody is there to send it".to_owned()
            }
            Outcome::Failed { why } => format!("Error: {}", shown(why)),
        }
    }

    /// One JSON object: `result` names the outcome, `stale` says that the copy may be old, `faulty` that the log
    /// has blocks that do not count.
    pub fn json(&self, stale: bool, faulty: bool) -> String {
        let mut fields = vec![("result", quoted(self.word()))];
        match self {
            Outcome::Created { auction, .. }
            | Outcome::Closed { auction, .. }
            | Outcome::Over { auction } => fields.push(("auction", auction_json(auction))),
            Outcome::Bid { auction, amount, .. } => {
                fields.push(("amount", amount.to_string()));
                fields.push(("auction", auction_json(auction)));
            }
            Outcome::List { auctions } => {
                fields.push(("auctions", list(auctions.iter().map(auction_json))));
            }
            Outcome::Show { auction, bids } => {
                fields.push(("auction", auction_json(auction)));
                fields.push(("bids", list(bids.iter().map(bid_json))));
            }
            Outcome::Step { seq, step } => fields.extend(step_fields(*seq, step)),
            Outcome::Verified(verdict) => fields.extend(verdict.fields()),
            Outcome::WhoAmI { key } => fields.push(("key", key_json(key))),
            Outcome::Status(status) => fields.extend(status.fields()),
            Outcome::Refused { why } | Outcome::Failed { why } => fields.push(("error", quoted(why))),
            Outcome::NoSuchAuction { id } => fields.push(("id", id.to_string())),
            Outcome::Broken { seq } => fields.push(("seq", seq.to_string())),
            Outcome::Unreachable
            | Outcome::Unknown
            | Outcome::NeverSynced
            | Outcome::Incomplete
            | Outcome::Help => {}
        }
        if stale {
            fields.push(("stale", "true".to_owned()));
        }
        if faulty {
            fields.push(("faulty", "true".to_owned()));
        }
        object(&fields)
    }

    /// One word or two for what it is.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Created { again: false, .. } => "created",
            Outcome::Created { again: true, .. } => "already created",
            Outcome::Bid { again: false, .. } => "bid",
            Outcome::Bid { again: true, .. } => "already bid",
            Outcome::Closed { again: false, .. } => "closed",
            Outcome::Closed { again: true, .. } => "already closed",
            Outcome::List { .. } => "list",
            Outcome::Show { .. } => "show",
            Outcome::Step { .. } => "step",
            Outcome::Over { .. } => "over",
            Outcome::Verified(verdict) if verdict.holds() => "verified",
            Outcome::Verified(_) => "not verified",
            Outcome::WhoAmI { .. } => "whoami",
            Outcome::Status(_) => "status",
            Outcome::Help => "help",
            Outcome::Refused { .. } => "refused",
            Outcome::NoSuchAuction { .. } => "no such auction",
            Outcome::Broken { .. } => "broken",
            Outcome::Unreachable => "unreachable",
            Outcome::Unknown => "unknown",
            Outcome::NeverSynced => "never synced",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed { .. } => "failed",
        }
    }
}

/// `1 "A pear"`.
pub fn named(auction: &Auction) -> String {
    format!("{} \"{}\"", auction.id, shown(&auction.title))
}

/// Who won, or why nobody did. (auction.14)
pub fn result(auction: &Auction) -> String {
    match (auction.end, auction.winner(), auction.highest) {
        (None, ..) => "open".to_owned(),
        (Some(_), Some(best), _) => format!("won by {} for {}", hex::encode(&best.key), best.amount),
        (Some(_), None, Some(best)) => {
            format!("the reserve of {} was not met: {} was the highest bid", auction.reserve, best.amount)
        }
        (Some(_), None, None) => "nobody bid".to_owned(),
    }
}

fn bids(count: usize) -> String {
    match count {
        1 => "1 bid".to_owned(),
        count => format!("{count} bids"),
    }
}

fn line(auction: &Auction) -> String {
    let ends = match auction.ends {
        0 => String::new(),
        ends => format!(", ends {}", when::shown(ends)),
    };
    match (auction.end, auction.highest) {
        (Some(_), _) => format!("{}: {}", named(auction), result(auction)),
        (None, Some(best)) => {
            format!("{}: {} bid, {}{ends}", named(auction), best.amount, bids(auction.bids.len()))
        }
        (None, None) => format!("{}: no bid{ends}", named(auction)),
    }
}

fn show(auction: &Auction, last: &[Best]) -> String {
    let mut lines = vec![named(auction), format!("  creator  {}", hex::encode(&auction.creator))];
    lines.push(format!("  created  {}", when::shown(auction.time)));
    if auction.reserve > 0 {
        lines.push(format!("  reserve  {}", auction.reserve));
    }
    if auction.ends > 0 {
        lines.push(format!("  ends     {}", when::shown(auction.ends)));
    }
    let ended = auction.end.map_or(String::new(), |end| format!(" since {}", when::shown(end.time)));
    let state = match auction.end {
        None => "open",
        Some(end) if end.closed => "closed by its creator",
        Some(_) => "over",
    };
    lines.push(format!("  state    {state}{ended}"));
    if auction.end.is_some() {
        lines.push(format!("  result   {}", result(auction)));
    }
    lines.push(format!("  bids     {}", auction.bids.len()));
    for bid in last {
        lines.push(format!("    {} {} {}", when::shown(bid.time), hex::encode(&bid.key), bid.amount));
    }
    lines.join("\n")
}

fn step_text(seq: u64, step: &Result<Box<Entry>, Refusal>) -> String {
    let entry = match step {
        Ok(entry) => entry,
        Err(refusal) => return format!("{seq}: against the rules: {refusal}"),
    };
    let at = when::shown(entry.time);
    match &entry.step {
        Step::Open => format!("{at} the house opens"),
        Step::Create { key, create } => {
            format!("{at} auction {seq} \"{}\" by {}", shown(&create.title), hex::encode(key))
        }
        Step::Bid { key, bid } => {
            format!("{at} bid {} on {} by {}", bid.amount, bid.auction, hex::encode(key))
        }
        Step::Close { close, .. } => format!("{at} auction {} is closed by its creator", close.auction),
        Step::End { auction } => format!("{at} auction {auction} is over"),
    }
}

fn step_fields(seq: u64, step: &Result<Box<Entry>, Refusal>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("seq", seq.to_string())];
    let entry = match step {
        Ok(entry) => entry,
        Err(refusal) => {
            fields.push(("event", quoted("against the rules")));
            fields.push(("error", quoted(&refusal.to_string())));
            return fields;
        }
    };
    fields.push(("time", entry.time.to_string()));
    let (event, auction, key) = match &entry.step {
        Step::Open => ("open", None, None),
        Step::Create { key, .. } => ("create", Some(seq), Some(key)),
        Step::Bid { key, bid } => ("bid", Some(bid.auction), Some(key)),
        Step::Close { key, close } => ("close", Some(close.auction), Some(key)),
        Step::End { auction } => ("end", Some(*auction), None),
    };
    fields.push(("event", quoted(event)));
    fields.extend(auction.map(|auction| ("id", auction.to_string())));
    fields.extend(key.map(|key| ("key", key_json(key))));
    match &entry.step {
        Step::Create { create, .. } => fields.push(("title", quoted(&create.title))),
        Step::Bid { bid, .. } => fields.push(("amount", bid.amount.to_string())),
        Step::Open | Step::Close { .. } | Step::End { .. } => {}
    }
    fields
}

fn key_json(key: &Key) -> String {
    quoted(&hex::encode(key))
}

fn bid_json(bid: &Best) -> String {
    object(&[
        ("seq", bid.seq.to_string()),
        ("time", bid.time.to_string()),
        ("key", key_json(&bid.key)),
        ("amount", bid.amount.to_string()),
    ])
}

/// An auction as an object; `winner` is null while it is open, too.
pub fn auction_json(auction: &Auction) -> String {
    let null = || "null".to_owned();
    let state = match auction.end {
        None => "open",
        Some(end) if end.closed => "closed",
        Some(_) => "over",
    };
    object(&[
        ("id", auction.id.to_string()),
        ("title", quoted(&auction.title)),
        ("creator", key_json(&auction.creator)),
        ("created", auction.time.to_string()),
        ("reserve", auction.reserve.to_string()),
        ("ends", if auction.ends == 0 { null() } else { auction.ends.to_string() }),
        ("state", quoted(state)),
        ("ended", auction.end.map_or_else(null, |end| end.time.to_string())),
        ("bids", auction.bids.len().to_string()),
        ("highest", auction.highest.as_ref().map_or_else(null, bid_json)),
        ("winner", auction.winner().map_or_else(null, bid_json)),
    ])
}
