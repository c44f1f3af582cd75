//! What a user types.

use core::fmt;

use crate::app::text::shown;

/// A line of the prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    Register(String),
    Lookup(String),
    List,
    Delete(String),
    WhoAmI,
    Status,
    Help,
    Exit,
}

/// A line that is no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mistake {
    Unknown(String),
    /// The command wants a name.
    NoName(&'static str),
    /// The command takes nothing.
    TooMuch(&'static str),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Unknown(word) => write!(f, "Unknown command: {} (try: help)", shown(word)),
            Mistake::NoName(command) => write!(f, "Usage: {command} NAME"),
            Mistake::TooMuch(command) => write!(f, "Usage: {command}"),
        }
    }
}

/// What `help` says.
pub const HELP: &str = "\
register NAME   make NAME yours
lookup NAME     who owns NAME
list            all names and their owners
delete NAME     give up a name of yours
whoami          your public key
status          the server, the local copy, its peers
help            this text
exit            leave (so does the end of input)";

/// Reads a line; `Ok(None)` if there is nothing on it. What follows the first word, without the space around it, is
/// the name: whether it may be one is decided later.
pub fn parse(line: &str) -> Result<Option<Command>, Mistake> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let named = |command: &'static str, make: fn(String) -> Command| {
        if rest.is_empty() { Err(Mistake::NoName(command)) } else { Ok(Some(make(rest.to_owned()))) }
    };
    let bare = |command: &'static str, value: Command| {
        if rest.is_empty() { Ok(Some(value)) } else { Err(Mistake::TooMuch(command)) }
    };
    match word {
        "" => Ok(None),
        "register" => named("register", Command::Register),
        "lookup" => named("lookup", Command::Lookup),
        "delete" => named("delete", Command::Delete),
        "list" => bare("list", Command::List),
        "whoami" => bare("whoami", Command::WhoAmI),
        "status" => bare("status", Command::Status),
        "help" | "?" => bare("help", Command::Help),
        "exit" | "quit" => bare("exit", Command::Exit),
        other => Err(Mistake::Unknown(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(parse("register alice"), Ok(Some(Command::Register("alice".into()))));
        assert_eq!(parse("  lookup \t bob  \r\n"), Ok(Some(Command::Lookup("bob".into()))));
        assert_eq!(parse("register a b"), Ok(Some(Command::Register("a b".into()))), "judged later");
        assert_eq!(parse("delete \u{1f350}"), Ok(Some(Command::Delete("\u{1f350}".into()))));
        assert_eq!(parse("list"), Ok(Some(Command::List)));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("   "), Ok(None));
        assert_eq!(parse("list all"), Err(Mistake::TooMuch("list")));
        assert_eq!(parse("register"), Err(Mistake::NoName("register")));
        assert_eq!(parse("dance"), Err(Mistake::Unknown("dance".into())));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for word in ["register", "lookup", "list", "delete", "whoami", "status", "help", "exit"] {
            assert!(HELP.lines().any(|line| line.starts_with(word)), "{word}");
        }
    }
}
