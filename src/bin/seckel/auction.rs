//! `seckel auction`.

use clap::{Args, Subcommand};
use seckel::app::auction::Auctions;
use seckel::app::auction::command::{self, Command};
use seckel::app::auction::rules;
use seckel::app::auction::when::{self, Ends};

use super::args::{Client, One, Server};
use super::run::{self, Bad};

/// Where the server and a client keep their files unless told otherwise.
const HOUSE: &str = "./auction-server";
const HOME: &str = "./auction-client";

#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub enum Auction {
    /// The server: holds the auctions, and prints the two keys that clients need
    #[command(after_help = "\
Examples:
  seckel auction server
  seckel auction server --bootstrap 127.0.0.1:30001 --storage ./house
Exit codes: 0 left on Ctrl-C, 4 the storage is in use or damaged.")]
    Server(Server),
    /// A client with a prompt; reads commands from a pipe, too
    #[command(after_help = "\
Examples:
  seckel auction client SERVER_PUBLIC_KEY DATABASE_CORE_KEY
  printf 'list\\nbid 1 50\\n' | seckel auction client SERVER_PUBLIC_KEY DATABASE_CORE_KEY
Commands at the prompt: create TITLE [--reserve N] [--ends TIME], bid ID AMOUNT, close ID, list [--open], show ID,
watch [ID], verify [ID], whoami, status, help, exit.
Keys are hex or z-base-32. A client hands its copy of the log on to others, with the server or without.")]
    Client(Client),
    /// A new auction of yours
    #[command(after_help = AFTER_ONE)]
    Create(Create),
    /// Bids more than the highest bid
    #[command(after_help = AFTER_ONE)]
    Bid(Bid),
    /// Ends an auction of yours: the highest bid wins if it reaches the reserve
    #[command(after_help = AFTER_ONE)]
    Close(OneId),
    /// All auctions, or those that take bids
    #[command(after_help = AFTER_ONE)]
    List(List),
    /// An auction and its bids
    #[command(after_help = AFTER_ONE)]
    Show(OneId),
    /// Each step as it comes: of an auction from its beginning to its end, or of all from now on
    #[command(after_help = AFTER_ONE)]
    Watch(SomeId),
    /// Computes the result again from the local copy, and checks who signed what
    #[command(after_help = AFTER_ONE)]
    Verify(SomeId),
}

const AFTER_ONE: &str = "\
Examples:
  seckel auction create 'A pear tree' --reserve 50 --ends 2h --server KEY --core KEY
  export SECKEL_SERVER=KEY SECKEL_CORE=KEY
  seckel auction list --open
  seckel auction bid 1 60 --json | jq .result
  seckel auction watch 1
  seckel auction verify 1 || echo 'somebody cheats'
Exit codes: 0 done, 1 the answer is no (too low, closed, not yours, no such auction, does not verify), 2 wrong command
line, 3 no answer (server unreachable, never synced), 4 the storage is in use or damaged.
With --json one object a line: {\"result\":\"bid\",\"amount\":60,\"auction\":{..}},
{\"result\":\"refused\",\"error\":..}, ..; \"stale\":true if the server was not reachable.
Times in JSON are milliseconds of Unix time.";

#[derive(Args, Debug)]
pub struct Create {
    pub title: String,
    /// The least amount that wins [any]
    #[arg(long, value_name = "N", value_parser = amount)]
    pub reserve: Option<u64>,
    /// When it ends by itself: 90s, 10m, 2h, 3d, or 2026-12-24T18:00Z [never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub ends: Option<Ends>,
    #[command(flatten)]
    pub one: One,
}

#[derive(Args, Debug)]
pub struct Bid {
    /// The number of the auction
    #[arg(value_parser = id)]
    pub id: u64,
    /// A whole number, more than the highest bid
    #[arg(value_parser = amount)]
    pub amount: u64,
    #[command(flatten)]
    pub one: One,
}

#[derive(Args, Debug)]
pub struct OneId {
    /// The number of the auction
    #[arg(value_parser = id)]
    pub id: u64,
    #[command(flatten)]
    pub one: One,
}

#[derive(Args, Debug)]
pub struct SomeId {
    /// The number of the auction [all]
    #[arg(value_parser = id)]
    pub id: Option<u64>,
    #[command(flatten)]
    pub one: One,
}

#[derive(Args, Debug)]
pub struct List {
    /// Only those that take bids
    #[arg(long)]
    pub open: bool,
    #[command(flatten)]
    pub one: One,
}

fn amount(text: &str) -> Result<u64, &'static str> {
    rules::amount(text).ok_or("digits, from 1 to 9007199254740991")
}

fn id(text: &str) -> Result<u64, String> {
    command::id(text).map_err(|_| "not a number of an auction".to_owned())
}

fn time(text: &str) -> Result<Ends, &'static str> {
    when::parse(text).ok_or("90s, 10m, 2h, 3d, or a moment in UTC: 2026-12-24T18:00Z")
}

/// `seckel auction`.
pub fn auction(args: Auction) -> Result<u8, Bad> {
    let (one, command) = match args {
        Auction::Server(server) => return run::server::<Auctions>(&server, HOUSE),
        Auction::Client(client) => return run::client::<Auctions>(&client, HOME),
        Auction::Create(Create { title, reserve, ends, one }) => {
            (one, Command::Create { title, reserve: reserve.unwrap_or(0), ends })
        }
        Auction::Bid(Bid { id, amount, one }) => (one, Command::Bid { id, amount }),
        Auction::Close(OneId { id, one }) => (one, Command::Close { id }),
        Auction::List(List { open, one }) => (one, Command::List { open }),
        Auction::Show(OneId { id, one }) => (one, Command::Show { id }),
        Auction::Watch(SomeId { id, one }) => (one, Command::Watch { id }),
        Auction::Verify(SomeId { id, one }) => (one, Command::Verify { id }),
    };
    run::once::<Auctions>(&one, HOME, command)
}
