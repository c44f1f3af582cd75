//! `seckel core`: logs that anybody can check against one key.

pub mod read;
mod remote;
pub mod write;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use seckel::base::Key;

use super::online::Reach;
use super::run::Bad;
use super::shelf::{Keeping, Place, Space, Which, named, place};

const CREATE: &str = "\
Examples:
  seckel core create ./log                     a core of its own, as hypercore 10 lays it out
  seckel core create ./store --name log        a core of a store (corestore 6), whose keys follow from one primary key
  seckel core create ./store --name log --json | jq -r .key
  seckel core create ./store --namespace app --name log      store.namespace('app').get({ name: 'log' })
Exit codes: 0 made, 1 it is there already, 2 wrong command line, 4 the storage is in use or damaged.";

const APPEND: &str = "\
Examples:
  seckel core append ./log < picture.jpg                    one block
  journalctl -f | seckel core append ./log --lines          a block for each line, as they come
  seckel core append ./store --name backup --block-size 65536 < backup.tar
A core that is missing is made. Blocks are on the disk while the input is quiet, and when this ends; after a hard kill
the core ends with a whole block of the input, and `seckel core info` says how many there are: go on behind them.
Exit codes: 0 appended, 1 not writable or not readable input, 2 wrong command line, 4 the storage is in use or damaged,
130 Ctrl-C: what was read is appended.";

const GET: &str = "\
Examples:
  seckel core get ./log 0 > picture.jpg
  seckel core get ./store 7 --name log --json
  seckel core get KEY 7                        from its peers, that block only
Exit codes: 0 done, 1 there is no such block, or not in this copy, 2 wrong command line, 3 nobody has it,
4 the storage is damaged.";

const CAT: &str = "\
Examples:
  seckel core cat ./store --name backup | tar x
  seckel core cat ./log --lines --start 100 --end 200
  seckel core cat ./log --lines --live         and what another process appends, until Ctrl-C
  seckel core cat KEY | tar x                  from its peers
Exit codes: 0 done, 1 a block is not in this copy, 2 wrong command line, 3 nobody has it, 4 the storage is damaged.";

const INFO: &str = "\
Examples:
  seckel core info ./log
  seckel core info ./store --name log --json | jq .length
  seckel core info KEY                         what its peers say, proven
Exit codes: 0 done, 1 no such core, 2 wrong command line, 3 nobody has it, 4 the storage is damaged.";

const LIST: &str = "\
Examples:
  seckel core list ./store
  seckel core list ./store --json | jq -r 'select(.writable).key'
Exit codes: 0 done, 2 wrong command line, 4 no store, or damaged.";

const TRUNCATE: &str = "\
Examples:
  seckel core truncate ./log 10                the first ten blocks stay, the others are gone for good
Its fork number grows, so that peers follow.
Exit codes: 0 done, 1 not writable, or not that long, 2 wrong command line, 4 the storage is in use or damaged.";

const DOWNLOAD: &str = "\
Examples:
  seckel core download KEY                     into ./seckel-store; run again after whatever broke it off, it goes on
  seckel core download KEY --storage ./store --start 100 --end 200 --linear
  seckel core download KEY --live              and what follows, until Ctrl-C
Every block is proven before it is kept.
Exit codes: 0 done, 1 the core ends before that, 2 wrong command line, 3 nobody has it, 4 the storage is in use or
damaged, 130 Ctrl-C: what came is kept.";

const SEED: &str = "\
Examples:
  seckel core seed ./store                     all cores of the store; prints their keys when they can be found
  seckel core seed ./store --name log
  seckel core seed KEY --storage ./store       copies the core, and passes it on
  seckel core seed ./store --bootstrap 127.0.0.1:30001
Cores that are written here can be appended to meanwhile: what another process writes is passed on at once. A copy is
completed while it is seeded, so that no other process can write; if one does already, what it has is passed on.
What was passed on is told at the end.
Exit codes: 0 left on Ctrl-C, 2 wrong command line, 4 the storage is in use or damaged.";

#[derive(Subcommand, Debug)]
pub enum Core {
    /// Makes an empty core, and prints its key
    #[command(after_help = CREATE)]
    Create(Create),
    /// Appends standard input
    #[command(after_help = APPEND)]
    Append(Append),
    /// Writes one block to standard output
    #[command(after_help = GET)]
    Get(Get),
    /// Writes blocks to standard output, one after the other
    #[command(after_help = CAT)]
    Cat(Cat),
    /// What is known of a core
    #[command(after_help = INFO)]
    Info(Info),
    /// The cores of a store
    #[command(after_help = LIST)]
    List(List),
    /// Cuts a core
    #[command(after_help = TRUNCATE)]
    Truncate(Truncate),
    /// Copies a core from its peers
    #[command(after_help = DOWNLOAD)]
    Download(Download),
    /// Passes cores on to whoever looks for them
    #[command(after_help = SEED)]
    Seed(Seed),
}

#[derive(Args, Debug)]
pub struct Create {
    /// The folder of a store, or of the core itself
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// A core of a store, with this name [a core of its own in DIR]
    #[arg(long, value_name = "NAME", value_parser = named)]
    pub name: Option<String>,
    #[command(flatten)]
    pub space: Space,
    #[command(flatten)]
    pub keeping: Keeping,
    /// Write the keys as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Append {
    /// The folder of a store, or of a single core
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub which: Which,
    /// A block for each line, without its end [all input is one block]
    #[arg(long, conflicts_with = "block_size")]
    pub lines: bool,
    /// Blocks of so many bytes; the last may be shorter
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=BLOCK_MAX))]
    pub block_size: Option<u64>,
    #[command(flatten)]
    pub keeping: Keeping,
    /// Write what was appended as JSON
    #[arg(long)]
    pub json: bool,
    /// Show progress even if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
}

const BLOCK_MAX: u64 = seckel::base::limits::BLOCK_MAX as u64;

#[derive(Args, Debug)]
pub struct Get {
    /// The folder of a store, or of a single core; or a key, and peers are asked
    #[arg(value_name = "DIR|KEY", value_parser = place)]
    pub at: Place,
    /// Its number; the first is 0
    #[arg(value_name = "INDEX")]
    pub index: u64,
    #[command(flatten)]
    pub which: Which,
    /// Write it as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Args, Debug)]
pub struct Cat {
    /// The folder of a store, or of a single core; or a key, and peers are asked
    #[arg(value_name = "DIR|KEY", value_parser = place)]
    pub at: Place,
    #[command(flatten)]
    pub which: Which,
    /// The first block
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub start: u64,
    /// The block before which to stop [the end]
    #[arg(long, value_name = "INDEX")]
    pub end: Option<u64>,
    /// Go on as the core grows, until Ctrl-C
    #[arg(long)]
    pub live: bool,
    /// An end of line behind each block
    #[arg(long, conflicts_with = "json")]
    pub lines: bool,
    /// A line of JSON for each block
    #[arg(long)]
    pub json: bool,
    /// Show progress even if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Args, Debug)]
pub struct Info {
    /// The folder of a store, or of a single core; or a key, and peers are asked
    #[arg(value_name = "DIR|KEY", value_parser = place)]
    pub at: Place,
    #[command(flatten)]
    pub which: Which,
    /// Write it as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Args, Debug)]
pub struct List {
    /// The folder of a store
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// A line of JSON for each core
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Truncate {
    /// The folder of a store, or of a single core
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// How many blocks stay
    #[arg(value_name = "LENGTH")]
    pub length: u64,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub keeping: Keeping,
    /// Write what is left as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Download {
    /// The key of the core, hex or z-base-32
    #[arg(value_name = "KEY", value_parser = super::args::key)]
    pub key: Key,
    /// The first block
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub start: u64,
    /// The block before which to stop [the end]
    #[arg(long, value_name = "INDEX")]
    pub end: Option<u64>,
    /// In order, instead of what peers have first
    #[arg(long)]
    pub linear: bool,
    /// Go on as the core grows, until Ctrl-C
    #[arg(long)]
    pub live: bool,
    /// Write what came as JSON
    #[arg(long)]
    pub json: bool,
    /// Show progress even if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub keeping: Keeping,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Args, Debug)]
pub struct Seed {
    /// The folder of a store or of a single core; or a key, and the core is copied while it is passed on
    #[arg(value_name = "DIR|KEY", value_parser = place)]
    pub at: Place,
    /// The core of that name in the store [all]
    #[arg(long, value_name = "NAME", value_parser = named)]
    pub name: Option<String>,
    #[command(flatten)]
    pub space: Space,
    /// The core with this key in the store, hex or z-base-32
    #[arg(long = "key", value_name = "KEY", value_parser = super::args::key, conflicts_with = "name")]
    pub core: Option<Key>,
    /// Write keys and statistics as JSON
    #[arg(long)]
    pub json: bool,
    /// Show progress even if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub keeping: Keeping,
    #[command(flatten)]
    pub reach: Reach,
}

/// `seckel core`.
pub fn core(command: &Core) -> Result<u8, Bad> {
    match command {
        Core::Create(args) => write::create(args),
        Core::Append(args) => write::append(args),
        Core::Truncate(args) => write::truncate(args),
        Core::Get(args) => read::get(args),
        Core::Cat(args) => read::cat(args),
        Core::Info(args) => read::info(args),
        Core::List(args) => read::list(args),
        Core::Download(args) => remote::download(args),
        Core::Seed(args) => remote::seed(args),
    }
}

#[cfg(test)]
mod tests;
