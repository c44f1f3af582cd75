//! `seckel bee`: sorted maps in logs that anybody can check against one key.

mod read;
mod remote;
pub mod text;
mod write;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use seckel::hyperbee::Sub;
use seckel::node::Range;

use super::online::Reach;
use super::run::Bad;
use super::shelf::{Keeping, NO, Place, USAGE, Which, place};
use text::Encoding;

const PUT: &str = "\
Examples:
  seckel bee put ./names alice d6324fd5            a hyperbee of its own; made if it is missing
  seckel bee put ./store alice d6324fd5 --name names
  seckel bee put ./names photo < photo.jpg         the value comes from standard input
  seckel bee put ./names 00ff 0a0b --encoding hex
Exit codes: 0 put, 1 not writable, or no hyperbee, 2 wrong command line, 4 the storage is in use or damaged.";

const GET: &str = "\
Examples:
  seckel bee get ./names alice
  seckel bee get ./names alice --at 12             as it was when the core had 12 blocks
  seckel bee get ./store alice --name names --json
  seckel bee get KEY alice                         from its peers, only the blocks that lead there
Exit codes: 0 found, 1 not there, or not in this copy, 2 wrong command line, 3 nobody has it,
4 the storage is damaged.";

const DEL: &str = "\
Examples:
  seckel bee del ./names alice
Older versions keep the key (seckel bee history).
Exit codes: 0 deleted, 1 it was not there, 2 wrong command line, 4 the storage is in use or damaged.";

const LIST: &str = "\
Examples:
  seckel bee list ./names
  seckel bee list ./names --gte a --lt b --limit 10
  seckel bee list ./names --sub users              the sub-database `users`, as hyperbee's sub() names it
  seckel bee list ./names --reverse --limit 1 --json
  seckel bee list KEY --storage ./store            from its peers; what came is kept
Exit codes: 0 done, 1 not all of it is in this copy, 2 wrong command line, 3 nobody has it, 4 the storage is damaged.";

const HISTORY: &str = "\
Examples:
  seckel bee history ./names                       every put and deletion, oldest first
  seckel bee history ./names --reverse --limit 5 --json
  seckel bee history ./names --since 100 --live    and those that follow, until Ctrl-C
Exit codes: 0 done, 1 not all of it is in this copy, 2 wrong command line, 3 nobody has it, 4 the storage is damaged.";

const DIFF: &str = "\
Examples:
  seckel bee diff ./names 10 20                    what became of the map between its cores' lengths 10 and 20
  seckel bee diff ./names 10 20 --gte a --lt b --json
Lines with - are of the first version, with + of the second.
Exit codes: 0 done, 1 no such version, or not in this copy, 2 wrong command line, 3 nobody has it,
4 the storage is damaged.";

const IMPORT: &str = "\
Examples:
  seckel bee import ./names < names.jsonl          a line each: {\"key\":\"alice\",\"value\":\"d6324fd5\"}
  seckel bee export ./old | seckel bee import ./new
  seckel bee history ./old --json | seckel bee import ./new
A key that has that value already is passed over, so that after a hard kill the same import is simply run again. A line
with \"type\":\"del\" deletes; a value of null is a key without value.
Exit codes: 0 imported, 1 a line is wrong (those before it are imported), 2 wrong command line,
4 the storage is in use or damaged, 130 Ctrl-C: what was read is imported.";

const EXPORT: &str = "\
Examples:
  seckel bee export ./names > names.jsonl
  seckel bee export ./names --encoding base64      for keys or values that are not text
  seckel bee export ./names --at 12                as it was when the core had 12 blocks
Exit codes: 0 done, 1 not text, or not all of it is in this copy, 2 wrong command line, 3 nobody has it,
4 the storage is damaged.";

#[derive(Subcommand, Debug)]
pub enum Bee {
    /// Sets a key
    #[command(after_help = PUT)]
    Put(Put),
    /// Writes the value of a key to standard output
    #[command(after_help = GET)]
    Get(Get),
    /// Deletes a key
    #[command(after_help = DEL)]
    Del(Del),
    /// Keys and values, in order
    #[command(after_help = LIST)]
    List(List),
    /// Puts and deletions, as they came
    #[command(after_help = HISTORY)]
    History(History),
    /// What differs between two versions
    #[command(after_help = DIFF)]
    Diff(Diff),
    /// Puts what comes as lines of JSON
    #[command(after_help = IMPORT)]
    Import(Import),
    /// Writes all keys and values as lines of JSON
    #[command(after_help = EXPORT)]
    Export(Export),
}

/// A part of the keys that is a map of its own.
#[derive(Args, Debug)]
pub struct Part {
    /// The keys of the sub-database of this name; again: one within that
    #[arg(long, value_name = "NAME")]
    pub sub: Vec<String>,
}

impl Part {
    fn sub(&self) -> Sub {
        self.sub.iter().fold(Sub::whole(), |outer, name| outer.sub(name.as_bytes()))
    }
}

/// A hyperbee to write to.
#[derive(Args, Debug)]
pub struct Ours {
    /// The folder of a store, or of a single core
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub part: Part,
}

#[derive(Args, Debug)]
pub struct Put {
    #[command(flatten)]
    pub at: Ours,
    #[arg(value_name = "KEY")]
    pub entry: String,
    /// [standard input]
    #[arg(value_name = "VALUE")]
    pub value: Option<String>,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub keeping: Keeping,
    /// How key and value stand on the command line; standard input is taken as it is
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// Write what was done as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Del {
    #[command(flatten)]
    pub at: Ours,
    #[arg(value_name = "KEY")]
    pub entry: String,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub keeping: Keeping,
    /// How the key stands on the command line
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// Write what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// A hyperbee to read.
#[derive(Args, Debug)]
pub struct Source {
    /// The folder of a store, or of a single core; or a key, and peers are asked
    #[arg(value_name = "DIR|KEY", value_parser = place)]
    pub at: Place,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    pub source: Source,
    #[arg(value_name = "KEY")]
    pub entry: String,
    #[command(flatten)]
    pub which: Which,
    /// As it was when the core had so many blocks [now]
    #[arg(long = "at", value_name = "VERSION")]
    pub as_of: Option<u64>,
    /// How the key stands on the command line, and bytes in JSON
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// Write it as JSON
    #[arg(long)]
    pub json: bool,
}

/// A part of the keys.
#[derive(Args, Debug)]
pub struct Bounds {
    /// Keys above this one
    #[arg(long, value_name = "KEY", conflicts_with = "gte")]
    pub gt: Option<String>,
    /// This key and those above it
    #[arg(long, value_name = "KEY")]
    pub gte: Option<String>,
    /// Keys below this one
    #[arg(long, value_name = "KEY", conflicts_with = "lte")]
    pub lt: Option<String>,
    /// This key and those below it
    #[arg(long, value_name = "KEY")]
    pub lte: Option<String>,
    /// So many at most
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// From the last to the first
    #[arg(long)]
    pub reverse: bool,
}

impl Bounds {
    fn range(&self, encoding: Encoding) -> Result<Range, Bad> {
        let mut range = Range { limit: self.limit, reverse: self.reverse, ..Range::all() };
        type Set = fn(Range, &[u8]) -> Range;
        let bounds: [(&Option<String>, Set); 4] =
            [(&self.gt, Range::gt), (&self.gte, Range::gte), (&self.lt, Range::lt), (&self.lte, Range::lte)];
        for (key, set) in bounds {
            if let Some(key) = key {
                range = set(range, &decoded(encoding, "the key", key)?);
            }
        }
        Ok(range)
    }
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub bounds: Bounds,
    /// As it was when the core had so many blocks [now]
    #[arg(long = "at", value_name = "VERSION")]
    pub as_of: Option<u64>,
    /// How bytes stand on the command line and in what is written
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// A line of JSON for each key
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct History {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub which: Which,
    /// The block to begin with, or with --reverse to end with
    #[arg(long, value_name = "BLOCK", default_value_t = 1)]
    pub since: u64,
    /// So many at most
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// From the newest to the oldest
    #[arg(long)]
    pub reverse: bool,
    /// Go on as the core grows, until Ctrl-C
    #[arg(long, conflicts_with = "reverse")]
    pub live: bool,
    /// How bytes stand in what is written
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// A line of JSON for each operation
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Diff {
    #[command(flatten)]
    pub source: Source,
    /// How many blocks the core had
    #[arg(value_name = "OLD")]
    pub old: u64,
    /// How many blocks it had later
    #[arg(value_name = "NEW")]
    pub new: u64,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub bounds: Bounds,
    /// How bytes stand on the command line and in what is written
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// A line of JSON for each key
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Import {
    #[command(flatten)]
    pub at: Ours,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub keeping: Keeping,
    /// How bytes stand in the input
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// Write what was imported as JSON
    #[arg(long)]
    pub json: bool,
    /// Show progress even if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
}

#[derive(Args, Debug)]
pub struct Export {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub which: Which,
    /// As it was when the core had so many blocks [now]
    #[arg(long = "at", value_name = "VERSION")]
    pub as_of: Option<u64>,
    /// How bytes stand in what is written
    #[arg(long, value_enum, default_value_t)]
    pub encoding: Encoding,
    /// Show progress even if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
}

/// `seckel bee`.
pub fn bee(command: &Bee) -> Result<u8, Bad> {
    match command {
        Bee::Put(args) => write::put(args),
        Bee::Del(args) => write::del(args),
        Bee::Import(args) => write::import(args),
        Bee::Get(args) => read::get(args),
        Bee::List(args) => read::list(args),
        Bee::History(args) => read::history(args),
        Bee::Diff(args) => read::diff(args),
        Bee::Export(args) => read::export(args),
    }
}

fn decoded(encoding: Encoding, what: &str, text: &str) -> Result<Vec<u8>, Bad> {
    let wrong = || Bad { text: format!("{what} {text:?} is not {}", encoding.name()), code: USAGE };
    encoding.decode(text).ok_or_else(wrong)
}

fn not_text() -> Bad {
    let text = "a key or value is not UTF-8 text; --encoding hex or base64 writes any bytes".to_owned();
    Bad { text, code: NO }
}

#[cfg(test)]
mod tests;
