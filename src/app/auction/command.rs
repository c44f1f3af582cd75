//! What a user types. Follows auction.17.

use core::fmt;

use super::rules::amount;
use super::when::{self, Ends};
use crate::app::text::shown;

/// A line of the prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Create { title: String, reserve: u64, ends: Option<Ends> },
    Bid { id: u64, amount: u64 },
    Close { id: u64 },
    List { open: bool },
    Show { id: u64 },
    Watch { id: Option<u64> },
    Verify { id: Option<u64> },
    WhoAmI,
    Status,
    Help,
    Exit,
}

/// A line that is no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mistake {
    Unknown(String),
    /// How the command is used.
    Usage(&'static str),
    NotAnAmount(String),
    NotAnId(String),
    NotATime(String),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Unknown(word) => write!(f, "Unknown command: {} (try: help)", shown(word)),
            Mistake::Usage(usage) => write!(f, "Usage: {usage}"),
            Mistake::NotAnAmount(text) => {
                write!(f, "Error: {} is no amount: digits, from 1 to 9007199254740991", shown(text))
            }
            Mistake::NotAnId(text) => write!(f, "Error: {} is no number of an auction", shown(text)),
            Mistake::NotATime(text) => {
                write!(f, "Error: {} is no time: 10m, 2h, 3d or 2026-12-24T18:00Z", shown(text))
            }
        }
    }
}

/// What `help` says.
pub const HELP: &str = "\
create TITLE [--reserve N] [--ends TIME]
                a new auction of yours; TIME is 10m, 2h, 3d or 2026-12-24T18:00Z
bid ID AMOUNT   bid more than the highest
close ID        end an auction of yours; the highest bid wins if it reaches the reserve
list [--open]   all auctions, or those that take bids
show ID         an auction and its bids
watch [ID]      each step as it comes, until the next command
verify [ID]     compute the result again from the local copy, and check who signed what
whoami          your public key
status          the server, the local copy, its peers
help            this text
exit            leave (so does the end of input)";

const CREATE: &str = "create TITLE [--reserve N] [--ends TIME]";

/// Reads a line; `Ok(None)` if there is nothing on it.
pub fn parse(line: &str) -> Result<Option<Command>, Mistake> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let command = match (word, &words[..]) {
        ("", _) => return Ok(None),
        ("create", _) => create(rest)?,
        ("bid", [auction, text]) => {
            let amount = amount(text).ok_or_else(|| Mistake::NotAnAmount((*text).to_owned()))?;
            Command::Bid { id: id(auction)?, amount }
        }
        ("bid", _) => return Err(Mistake::Usage("bid ID AMOUNT")),
        ("close", [auction]) => Command::Close { id: id(auction)? },
        ("close", _) => return Err(Mistake::Usage("close ID")),
        ("list", []) => Command::List { open: false },
        ("list", ["--open" | "open"]) => Command::List { open: true },
        ("list", _) => return Err(Mistake::Usage("list [--open]")),
        ("show", [auction]) => Command::Show { id: id(auction)? },
        ("show", _) => return Err(Mistake::Usage("show ID")),
        ("watch", []) => Command::Watch { id: None },
        ("watch", [auction]) => Command::Watch { id: Some(id(auction)?) },
        ("watch", _) => return Err(Mistake::Usage("watch [ID]")),
        ("verify", []) => Command::Verify { id: None },
        ("verify", [auction]) => Command::Verify { id: Some(id(auction)?) },
        ("verify", _) => return Err(Mistake::Usage("verify [ID]")),
        ("whoami", []) => Command::WhoAmI,
        ("whoami", _) => return Err(Mistake::Usage("whoami")),
        ("status", []) => Command::Status,
        ("status", _) => return Err(Mistake::Usage("status")),
        ("help" | "?", []) => Command::Help,
        ("help" | "?", _) => return Err(Mistake::Usage("help")),
        ("exit" | "quit", []) => Command::Exit,
        ("exit" | "quit", _) => return Err(Mistake::Usage("exit")),
        (other, _) => return Err(Mistake::Unknown(other.to_owned())),
    };
    Ok(Some(command))
}

/// The number of an auction, as it is typed.
pub fn id(text: &str) -> Result<u64, Mistake> {
    amount(text).ok_or_else(|| Mistake::NotAnId(text.to_owned()))
}

/// The title is all that stands before the options; whether it may be one is decided later.
fn create(rest: &str) -> Result<Command, Mistake> {
    let (mut title, mut reserve, mut ends) = (rest, None, None);
    while let Some((before, option, value)) = last_option(title) {
        match option {
            "--reserve" if reserve.is_none() => {
                reserve = Some(amount(value).ok_or_else(|| Mistake::NotAnAmount(value.to_owned()))?);
            }
            "--ends" if ends.is_none() => {
                ends = Some(when::parse(value).ok_or_else(|| Mistake::NotATime(value.to_owned()))?);
            }
            _ => return Err(Mistake::Usage(CREATE)),
        }
        title = before;
    }
    let bare = title.split_whitespace().any(|word| word == "--reserve" || word == "--ends");
    if title.is_empty() || bare {
        return Err(Mistake::Usage(CREATE));
    }
    Ok(Command::Create { title: title.to_owned(), reserve: reserve.unwrap_or(0), ends })
}

/// What stands before an option and its value at the end of a text, and those two.
fn last_option(text: &str) -> Option<(&str, &str, &str)> {
    let (before, value) = text.rsplit_once(char::is_whitespace)?;
    let before = before.trim_end();
    let (before, option) = before.rsplit_once(char::is_whitespace).unwrap_or(("", before));
    let known = option == "--reserve" || option == "--ends";
    known.then_some((before.trim_end(), option, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let create =
            |title: &str, reserve, ends| Ok(Some(Command::Create { title: title.to_owned(), reserve, ends }));
        assert_eq!(parse("create A  pear"), create("A  pear", 0, None));
        assert_eq!(parse(" create A pear --reserve 50\n"), create("A pear", 50, None));
        let ends = Some(Ends::In(600_000));
        assert_eq!(parse("create A pear  --ends 10m --reserve 50"), create("A pear", 50, ends));
        assert_eq!(parse("create A --b pear"), create("A --b pear", 0, None));
        assert_eq!(parse("bid 1 20"), Ok(Some(Command::Bid { id: 1, amount: 20 })));
        assert_eq!(parse("close 1"), Ok(Some(Command::Close { id: 1 })));
        assert_eq!(parse("list"), Ok(Some(Command::List { open: false })));
        assert_eq!(parse("list --open"), Ok(Some(Command::List { open: true })));
        assert_eq!(parse("watch"), Ok(Some(Command::Watch { id: None })));
        assert_eq!(parse("watch 3"), Ok(Some(Command::Watch { id: Some(3) })));
        assert_eq!(parse("verify 3"), Ok(Some(Command::Verify { id: Some(3) })));
        assert_eq!(parse("  "), Ok(None));
    }

    #[test]
    fn mistakes_are_named() {
        for line in [
            "create",
            "create --reserve 5",
            "create a --reserve",
            "create a --reserve 1 --reserve 2",
            "bid",
            "bid 1",
            "bid 1 2 3",
            "close",
            "show",
            "show 1 2",
            "list all",
            "whoami now",
        ] {
            assert!(matches!(parse(line), Err(Mistake::Usage(_))), "{line}: {:?}", parse(line));
        }
        for amount in ["0", "-5", "+5", "1.5", "05", "5x", "9007199254740992"] {
            let wrong = Err(Mistake::NotAnAmount(amount.to_owned()));
            assert_eq!(parse(&format!("bid 1 {amount}")), wrong);
            assert_eq!(parse(&format!("create a --reserve {amount}")), wrong);
        }
        assert_eq!(parse("bid x 5"), Err(Mistake::NotAnId("x".into())));
        assert_eq!(parse("show -1"), Err(Mistake::NotAnId("-1".into())));
        assert_eq!(parse("create a --ends soon"), Err(Mistake::NotATime("soon".into())));
        assert_eq!(parse("dance"), Err(Mistake::Unknown("dance".into())));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for word in "create bid close list show watch verify whoami status help exit".split(' ') {
            assert!(HELP.lines().any(|line| line.starts_with(word)), "{word}");
        }
    }
}
