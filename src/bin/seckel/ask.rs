//! Commands that ask the network one thing: lookup, announce, unannounce, find-peer, ping, put, get, nat.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::Args;
use seckel::app::ask::{Answer, Ask, Question};
use seckel::app::nat::Finder;
use seckel::base::{Addr, Error, Key, Span, Time, limits};
use seckel::edge::host::Wake;
use seckel::node::Event;

use super::args;
use super::keys;
use super::network::{Joined, Joining};
use super::run::Bad;
use super::terminal::{say, unwritten, warn};

const TOPIC: &str = "\
TOPIC is 64 hex digits, or text: its BLAKE2b hash is the topic then, as DHT.hash has it.
Exit codes: 0 done, 1 nobody is there, 2 wrong command line, 3 no answer from the network,
4 the key file cannot be used.";

pub fn lookup_examples() -> String {
    format!(
        "\
Examples:
  seckel lookup pears                        a line for each peer: its key, and nodes that lead to it
  seckel lookup pears --json
{TOPIC}"
    )
}

pub fn announce_examples() -> String {
    format!(
        "\
Examples:
  seckel announce pears --key own.key        the file is made if there is none
  seckel announce pears --key own.key --relay-addresses 10.0.0.1:49737     with a node that leads to it
  seckel unannounce pears --key own.key      takes it back
Nodes keep an announcement for about 20 minutes; this command makes one and ends.
{TOPIC}"
    )
}

pub const FIND_PEER: &str = "\
Examples:
  seckel find-peer KEY                       the nodes that pass handshakes on to KEY, a line each
  seckel find-peer KEY --json
Exit codes: 0 found, 1 nobody listens on it, 2 wrong command line, 3 no answer from the network.";

pub const PING: &str = "\
Examples:
  seckel ping 88.99.3.86:49737
  seckel ping node1.hyperdht.org:49737 --json
  seckel ping 10.0.0.7:30001 --bootstrap 10.0.0.1:30001     as a node of that network
Exit codes: 0 it answered, 2 wrong command line, 3 no answer.";

pub const PUT: &str = "\
Examples:
  seckel put 'hello world'                   prints the hash under which anybody can get it
  seckel put - < note.txt                    the value is standard input
  seckel put --mutable --key own.key 'first'     prints the key under which anybody can get it
  seckel put --mutable --key own.key --seq 7 'seventh'
A value has 1000 bytes at most. Without --seq it gets the number after the one that the network has.
Exit codes: 0 stored, 1 there is a value with that number or a higher one, 2 wrong command line, 3 no node took it,
4 the key file cannot be used.";

pub const GET: &str = "\
Examples:
  seckel get HASH                            the value, byte for byte
  seckel get KEY --latest                    the newest of all nodes near it, not the first that is met
  seckel get KEY --seq 7                     number 7 or a later one
  seckel get HASH --json
Exit codes: 0 found, 1 not found, 2 wrong command line, 3 no answer from the network.";

pub const NAT: &str = "\
Examples:
  seckel nat
  seckel nat --json
The kinds: open (anybody can reach this host), consistent (everybody sees the same address and port), random (each
destination sees another port). It takes at least four lasting nodes on other hosts to tell them apart.
Exit codes: 0 told, 1 too few nodes answered, 2 wrong command line, 3 no answer from the network.";

#[derive(Args, Debug)]
pub struct Topic {
    /// 64 hex digits, or text that is hashed
    #[arg(value_parser = args::topic)]
    pub topic: Key,
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Joining,
}

#[derive(Args, Debug)]
pub struct Announce {
    #[command(flatten)]
    pub topic: Topic,
    /// Announce this key; the file is made if there is none
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Nodes that lead to the key, comma separated; three at most are kept
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', value_parser = args::address)]
    pub relay_addresses: Vec<Addr>,
}

#[derive(Args, Debug)]
pub struct Unannounce {
    #[command(flatten)]
    pub topic: Topic,
    /// The key that was announced
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

#[derive(Args, Debug)]
pub struct FindPeer {
    /// Hex or z-base-32
    #[arg(value_parser = args::key)]
    pub key: Key,
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Joining,
}

#[derive(Args, Debug)]
pub struct Ping {
    /// A node of a DHT: of the public one, or of any other
    #[arg(value_name = "HOST:PORT", value_parser = args::address)]
    pub node: Addr,
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
    /// The nodes to join through, comma separated [none but the one that is asked]
    #[arg(long, value_name = "HOST:PORT,..")]
    pub bootstrap: Option<String>,
    /// The address to bind
    #[arg(long)]
    pub host: Option<String>,
    /// The port to bind [any]
    #[arg(long)]
    pub port: Option<u16>,
}

#[derive(Args, Debug)]
pub struct Put {
    /// Text, or `-` for standard input
    pub value: String,
    /// Under a key instead of a hash: it can be replaced later
    #[arg(long, requires = "key")]
    pub mutable: bool,
    /// Who signs a mutable value; the file is made if there is none
    #[arg(long, value_name = "FILE", requires = "mutable")]
    pub key: Option<PathBuf>,
    /// Its number [the one after the number that the network has]
    #[arg(long, value_name = "N", requires = "mutable")]
    pub seq: Option<u64>,
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Joining,
}

#[derive(Args, Debug)]
pub struct Get {
    /// The hash of a value, or the key that signed it
    #[arg(value_name = "HASH-OR-KEY", value_parser = args::key)]
    pub key: Key,
    /// The newest value of a key, not the first that is met
    #[arg(long)]
    pub latest: bool,
    /// Of the values of a key none below this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seq: u64,
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Joining,
}

#[derive(Args, Debug)]
pub struct NatArgs {
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Joining,
}

/// `seckel lookup`.
pub fn lookup(args: &Topic) -> Result<u8, Bad> {
    ask(&args.joining, Question::Lookup(args.topic), args.json)
}

/// `seckel announce`.
pub fn announce(args: &Announce) -> Result<u8, Bad> {
    let pair = keys::read_or_make(Some(&args.key))?;
    let relays = args.relay_addresses.clone();
    ask(&args.topic.joining, Question::Announce { topic: args.topic.topic, pair, relays }, args.topic.json)
}

/// `seckel unannounce`.
pub fn unannounce(args: &Unannounce) -> Result<u8, Bad> {
    let pair = keys::read(&args.key)?;
    ask(&args.topic.joining, Question::Unannounce { topic: args.topic.topic, pair }, args.topic.json)
}

/// `seckel find-peer`.
pub fn find_peer(args: &FindPeer) -> Result<u8, Bad> {
    ask(&args.joining, Question::FindPeer(args.key), args.json)
}

/// `seckel ping`.
pub fn ping(args: &Ping) -> Result<u8, Bad> {
    // The node that is asked is all of the network that has to be there.
    let through = args.bootstrap.clone().unwrap_or_else(|| args.node.to_string());
    let joining = Joining { bootstrap: Some(through), host: args.host.clone(), port: args.port };
    ask(&joining, Question::Ping(args.node), args.json)
}

/// `seckel put`.
pub fn put(args: &Put) -> Result<u8, Bad> {
    let value = if args.value == "-" { read_value()? } else { args.value.clone().into_bytes() };
    if value.len() > limits::HYPERDHT_VALUE_MAX {
        let (has, most) = (value.len(), limits::HYPERDHT_VALUE_MAX);
        return Err(format!(
            "the value has {has} bytes, nodes keep {most} at most; a core has room for more"
        )
        .into());
    }
    let question = match &args.key {
        Some(file) => Question::PutMutable { pair: keys::read_or_make(Some(file))?, seq: args.seq, value },
        None => Question::Put(value),
    };
    ask(&args.joining, question, args.json)
}

fn read_value() -> Result<Vec<u8>, Bad> {
    let mut value = Vec::new();
    let most = limits::HYPERDHT_VALUE_MAX as u64 + 1;
    match std::io::stdin().lock().take(most).read_to_end(&mut value) {
        Ok(_) => Ok(value),
        Err(error) => Err(format!("standard input cannot be read: {error}").into()),
    }
}

/// `seckel get`.
pub fn get(args: &Get) -> Result<u8, Bad> {
    ask(&args.joining, Question::Get { key: args.key, latest: args.latest, seq: args.seq }, args.json)
}

fn ask(joining: &Joining, question: Question, json: bool) -> Result<u8, Bad> {
    let mut joined = joining.open()?;
    let node = if let Question::Ping(node) = question { Some(node) } else { None };
    let mut ask = Ask::start(&mut joined.net(), question).map_err(invalid)?;
    let answer = loop {
        if let Some(answer) = ask.answer() {
            break answer;
        }
        match joined.wait(None)? {
            Wake::Event(_, Event::BindFailed) => return Err(joined.unbound()),
            Wake::Event(id, event) => ask.on_event(&mut joined.host.net(id), event)?,
            Wake::Interrupted => return Ok(130),
            Wake::Woken | Wake::TimedOut => {}
        }
    };
    let code = answer.exit() as u8;
    if answer == Answer::Nobody && !json {
        return Err(match node {
            Some(node) => Bad { text: format!("no answer; is there a node at {node}?"), code: 3 },
            None => joined.nobody(),
        });
    }
    if let Some(complaint) = answer.complaint() {
        warn(&complaint);
    }
    match &answer {
        _ if json => say(&answer.json()),
        Answer::Value { value, .. } => return Ok(show(value)),
        _ => say(&answer.text()),
    }
    Ok(code)
}

fn invalid(error: Error) -> Bad {
    Bad { text: error.to_string(), code: 2 }
}

/// A value as it is; on a terminal it gets the end of a line. The exit code comes back.
fn show(value: &[u8]) -> u8 {
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if out.is_terminal() { b"\n" } else { b"" };
    let written = out.write_all(value).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
    written.map_or_else(|error| unwritten(&error), |()| 0)
}

/// How long the network may take to say anything at all.
const NOTHING: Span = Span::from_secs(20);

/// `seckel nat`.
pub fn nat(args: &NatArgs) -> Result<u8, Bad> {
    let mut joined: Joined = args.joining.open()?;
    let mut finder = Finder::start(&mut joined.net());
    let until: Time = finder.begun() + NOTHING;
    loop {
        if let Some(found) = finder.found() {
            if found.samples == 0 {
                return Err(joined.nobody());
            }
            say(&if args.json { found.json() } else { found.text() });
            return Ok(found.exit() as u8);
        }
        match joined.wait(Some(until))? {
            Wake::Event(_, Event::BindFailed) => return Err(joined.unbound()),
            Wake::Event(id, event) => finder.on_event(&mut joined.host.net(id), event),
            Wake::Interrupted => return Ok(130),
            Wake::TimedOut => return Err(joined.nobody()),
            Wake::Woken => {}
        }
    }
}
