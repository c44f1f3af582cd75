//! The command line.

use std::net::ToSocketAddrs;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use seckel::base::{Addr, Key, hex};
use seckel::crypto::hash::blake2b_256;
use seckel::edge::trace::Wanted;
use seckel::wire::hyperdht::Address;

/// Where `registry` looks for its network unless told otherwise.
const PRIVATE: &str = "127.0.0.1:30001";
/// The nodes that keep the public network together.
pub const PUBLIC: &str = "88.99.3.86:49737,142.93.90.113:49737,138.68.147.8:49737";
/// The port of a bootstrap node unless told otherwise.
pub const BOOTSTRAP_PORT: u16 = 49737;

#[derive(Parser, Debug)]
#[command(
    name = "seckel",
    version,
    about = "The Holepunch peer-to-peer stack: DHT nodes, and a registry of names"
)]
#[command(after_help = "\
Start here: seckel demo
What happens inside, with any command:
  seckel demo -v
  seckel dht --trace dht.log        then: grep ' out dht_rpc ' dht.log
  SECKEL_TRACE=server.log SECKEL_KEYS=keys.log seckel registry server")]
pub struct Cli {
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub enum Command {
    /// A private DHT, a registry server and a prompt, in one process
    #[command(after_help = "\
Examples:
  seckel demo
  seckel demo --storage ./demo       (the names are there again next time)
  printf 'register alice\\nlookup alice\\n' | seckel demo")]
    Demo(Demo),
    /// A bootstrap node of a private DHT, or nodes that join a DHT
    #[command(after_help = "\
Examples:
  seckel dht --bootstrap --host 127.0.0.1 --port 30001     a bootstrap node
  seckel dht --bootstrap 127.0.0.1:30001 --nodes 3         three nodes that join it
  seckel dht                                               one node of the public DHT
  seckel dht --persistent --storage ./node                 one that keeps its port and whom it knows over restarts
  seckel dht --persistent --open --port 49737              one on a server without NAT or firewall
  seckel dht --ephemeral --host 10.0.0.1 --port 49737      one that is no part of it, bound to this address
  seckel dht --stats 60 --json                             a line of statistics a minute
SIGUSR1 asks for a line of statistics, too: kill -USR1 PID
Exit codes: 0 left on Ctrl-C, 1 the port cannot be bound, 2 wrong command line, 4 the storage is in use or damaged.")]
    Dht(Dht),
    /// A private DHT on 127.0.0.1; prints its bootstrap address
    #[command(after_help = "\
Examples:
  seckel testnet
  seckel testnet --nodes 3 --port 30001")]
    Testnet(Testnet),
    /// Checks what is stored, byte by byte, and changes nothing
    #[command(subcommand)]
    Audit(Audit),
    /// Cores: logs that anybody can check against one key
    #[command(subcommand)]
    Core(super::cores::Core),
    /// Hyperbees: sorted maps in cores
    #[command(subcommand)]
    Bee(super::bees::Bee),
    /// What bytes mean, field by field, with the rule of the notes for each: a datagram, a file, a capture
    #[command(after_help = super::explain::EXAMPLES)]
    Explain(super::explain::Explain),
    /// A registry of names: its server, and clients
    #[command(subcommand)]
    Registry(Registry),
    /// An auction house: its server, and clients that create, bid, watch and verify
    #[command(subcommand)]
    Auction(super::auction::Auction),
    /// A key pair: its public key is what others know it by
    #[command(after_help = super::keys::EXAMPLES)]
    Keygen(super::keys::Keygen),
    /// Standard input and output through an encrypted stream: waits for the other end
    #[command(after_help = super::pipe::LISTEN)]
    Listen(super::pipe::Listen),
    /// Standard input and output through an encrypted stream: connects to the one that listens
    #[command(after_help = super::pipe::CONNECT)]
    Connect(super::pipe::Connect),
    /// A chat by key: listens, or joins one that does
    #[command(after_help = super::talk::CHAT)]
    Chat(super::talk::ChatArgs),
    /// A chat with everybody on a topic
    #[command(after_help = super::talk::SWARM)]
    Swarm(super::talk::SwarmArgs),
    /// Who is announced under a topic
    #[command(after_help = super::ask::lookup_examples())]
    Lookup(super::ask::Topic),
    /// Announces a key under a topic
    #[command(after_help = super::ask::announce_examples())]
    Announce(super::ask::Announce),
    /// Takes an announcement back
    #[command(after_help = super::ask::announce_examples())]
    Unannounce(super::ask::Unannounce),
    /// Which nodes of the DHT lead to a key
    #[command(after_help = super::ask::FIND_PEER)]
    FindPeer(super::ask::FindPeer),
    /// Whether a node of a DHT is there
    #[command(after_help = super::ask::PING)]
    Ping(super::ask::Ping),
    /// Has the network keep a small value, under its hash or under a key
    #[command(after_help = super::ask::PUT)]
    Put(super::ask::Put),
    /// A value that the network keeps
    #[command(after_help = super::ask::GET)]
    Get(super::ask::Get),
    /// Which kind of NAT this host is behind, and whom that lets it connect with
    #[command(after_help = super::ask::NAT)]
    Nat(super::ask::NatArgs),
    /// A blind relay: passes packets on between peers that find no direct way to each other
    #[command(after_help = super::relay::EXAMPLES)]
    Relay(super::relay::RelayArgs),
    /// A world from a seed: a DHT, a registry, NATs, faults; the same every time
    #[command(after_help = super::sim::EXAMPLES)]
    Sim(super::sim::Sim),
}

/// What the process writes about itself; the same for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Transcript")]
pub struct Tracing {
    /// Write what happens inside to this file, line by line; `-` is standard error
    #[arg(long, global = true, value_name = "FILE", env = "SECKEL_TRACE")]
    pub trace: Option<PathBuf>,
    /// The same for machines: each line an object of JSON
    #[arg(long, global = true, value_name = "FILE", env = "SECKEL_TRACE_JSON")]
    pub trace_json: Option<PathBuf>,
    /// Write what happens inside to standard error
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

impl Tracing {
    /// `keys` is what SECKEL_KEYS says. A variable that is set to nothing is not set.
    pub fn wanted(self, keys: Option<PathBuf>) -> Wanted {
        let named = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        Wanted {
            verbose: self.verbose,
            text: named(self.trace),
            json: named(self.trace_json),
            keys: named(keys),
        }
    }
}

#[derive(Args, Debug)]
pub struct Demo {
    /// Keep everything in this folder, instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub storage: Option<String>,
}

#[derive(Args, Debug)]
pub struct Dht {
    /// Without a list: be a bootstrap node. With one: join through these nodes, comma separated
    #[arg(long, value_name = "HOST:PORT,..", num_args = 0..=1, default_missing_value = "")]
    pub bootstrap: Option<String>,
    /// The address to bind [all interfaces]; a bootstrap node must say it, as its id is made from it
    #[arg(long)]
    pub host: Option<String>,
    /// The port to bind [bootstrap nodes: 49737, others: any]
    #[arg(long)]
    pub port: Option<u16>,
    /// How many nodes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub nodes: u16,
    /// Take part in keeping the DHT as soon as this host is known to be reachable [after twenty quiet minutes]
    #[arg(long)]
    pub persistent: bool,
    /// This host can be reached from everywhere: its node does not have to find that out
    #[arg(long)]
    pub open: bool,
    /// Never take part in that: ask others, and answer nobody
    #[arg(long, conflicts_with = "persistent")]
    pub ephemeral: bool,
    /// Keep the ports and the nodes that are known in this folder
    #[arg(long, value_name = "DIR")]
    pub storage: Option<PathBuf>,
    /// Write a line of statistics so often
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stats: Option<u64>,
    /// One JSON object for each line: the events bound, started, persistent, statistics
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Testnet {
    /// How many nodes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub nodes: u16,
    /// The first node's port [any]
    #[arg(long)]
    pub port: Option<u16>,
}

#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub enum Audit {
    /// A core, or all cores of a store, as hypercore 10 keeps them: every block, node, signature and bit
    #[command(after_help = "\
Examples:
  seckel audit core ./registry-server/store      all cores of a store
  seckel audit core ./my-core                    one core: the folder with the file `oplog`
  seckel audit core ./my-core --json | jq .findings
The files are opened for reading only, and no lock is taken. A crash leaves no damage, only entries that were not
flushed, or that nobody was told of. Bytes that nothing vouches for are counted.
Exit codes: 0 sound, 1 damaged, 2 wrong command line, 3 something could not be judged, 4 cannot be read.")]
    Core(AuditCore),
}

#[derive(Args, Debug)]
pub struct AuditCore {
    /// The folder of a core, or of a store
    #[arg(value_name = "DIR")]
    pub dir: String,
    /// Show every range of bytes that nothing vouches for
    #[arg(long)]
    pub all: bool,
    /// One JSON object for each core, and one for the store
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub enum Registry {
    /// The server: keeps the names, and prints the two keys that clients need
    #[command(after_help = "\
Examples:
  seckel registry server
  seckel registry server --bootstrap 127.0.0.1:30001 --storage ./names
Exit codes: 0 left on Ctrl-C, 4 the storage is in use or damaged.")]
    Server(Server),
    /// A client with a prompt; reads commands from a pipe, too
    #[command(after_help = "\
Examples:
  seckel registry client SERVER_PUBLIC_KEY DATABASE_CORE_KEY
  printf 'register alice\\nlist\\n' | seckel registry client SERVER_PUBLIC_KEY DATABASE_CORE_KEY
Commands at the prompt: register NAME, lookup NAME, list, delete NAME, whoami, status, help, exit.
Keys are hex or z-base-32.")]
    Client(Client),
    /// Makes a name yours
    #[command(after_help = AFTER_ONE)]
    Register(OneName),
    /// Says who owns a name
    #[command(after_help = AFTER_ONE)]
    Lookup(OneName),
    /// Gives up a name of yours
    #[command(after_help = AFTER_ONE)]
    Delete(OneName),
    /// All names and their owners
    #[command(after_help = AFTER_ONE)]
    List(One),
}

const AFTER_ONE: &str = "\
Examples:
  seckel registry register alice --server KEY --core KEY
  seckel registry lookup alice --server KEY --core KEY --json
  SECKEL_SERVER=KEY SECKEL_CORE=KEY seckel registry list
Exit codes: 0 done, 1 the answer is no (taken, not found, not yours, not a name), 2 wrong command line,
3 no answer (server unreachable, never synced), 4 the storage is in use or damaged.
With --json one object: {\"result\":\"registered\",..}, {\"result\":\"found\",\"name\":..,\"owner\":..}, ..;
\"stale\":true if the server was not reachable.";

#[derive(Args, Debug)]
pub struct Network {
    /// The nodes to join through, comma separated
    #[arg(long, value_name = "HOST:PORT,..", env = "SECKEL_BOOTSTRAP", default_value = PRIVATE)]
    pub bootstrap: String,
    /// The address to bind
    #[arg(long)]
    pub host: Option<String>,
    /// A blind relay (`seckel relay`) for when there is no direct way; of several one is drawn
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub relay_through: Vec<Key>,
}

#[derive(Args, Debug)]
pub struct Server {
    #[command(flatten)]
    pub network: Network,
    /// The port to bind [any]
    #[arg(long)]
    pub port: Option<u16>,
    /// Where what it holds and its keys are kept [./registry-server, ./auction-server]
    #[arg(long, value_name = "DIR")]
    pub storage: Option<String>,
    /// Answer before the disk has it: what was answered outlives a crash of the process, but not one of the machine
    #[arg(long)]
    pub unsynced: bool,
}

#[derive(Args, Debug)]
pub struct Client {
    /// As the server printed it
    #[arg(value_name = "SERVER_PUBLIC_KEY", value_parser = key)]
    pub server: Key,
    /// As the server printed it
    #[arg(value_name = "DATABASE_CORE_KEY", value_parser = key)]
    pub core: Key,
    #[command(flatten)]
    pub network: Network,
    /// Where the local copy and the key are kept [./registry-client, ./auction-client]
    #[arg(long, value_name = "DIR")]
    pub storage: Option<String>,
}

#[derive(Args, Debug)]
pub struct One {
    /// The server's public key
    #[arg(long, value_name = "KEY", env = "SECKEL_SERVER", value_parser = key)]
    pub server: Key,
    /// The database's core key
    #[arg(long, value_name = "KEY", env = "SECKEL_CORE", value_parser = key)]
    pub core: Key,
    #[command(flatten)]
    pub network: Network,
    /// Where the local copy and the key are kept [./registry-client, ./auction-client]
    #[arg(long, value_name = "DIR")]
    pub storage: Option<String>,
    /// Write the answer as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct OneName {
    pub name: String,
    #[command(flatten)]
    pub one: One,
}

pub fn key(text: &str) -> Result<Key, &'static str> {
    hex::key_from_text(text).ok_or("not a key: 64 hex digits, or 52 letters of z-base-32")
}

/// A key, or a key and nodes that lead to it, as an address blob in hex.
pub fn key_or_blob(text: &str) -> Result<Address, &'static str> {
    Address::from_text(text)
        .ok_or("not a key: 64 hex digits, or 52 letters of z-base-32, or an address blob in hex")
}

/// A topic: 64 hex digits, or the hash of any other text. It is the hash that the reference has as `DHT.hash`.
pub fn topic(text: &str) -> Result<Key, &'static str> {
    if text.is_empty() {
        return Err("a topic is 64 hex digits or some text");
    }
    let digits = hex::decode(text).and_then(|bytes| Key::try_from(bytes).ok());
    Ok(digits.unwrap_or_else(|| blake2b_256(&[text.as_bytes()])))
}

/// The addresses in a comma separated list of HOST:PORT; a host may be a name. One that is not found is left out, with
/// a warning, as long as another is. pitfalls 3.14
pub fn addresses(list: &str) -> Result<Vec<Addr>, String> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for part in parts {
        match address(part) {
            Ok(addr) => found.push(addr),
            Err(wrong) if is_name(part) => missing.push(wrong),
            Err(wrong) => return Err(wrong),
        }
    }
    match missing.pop() {
        Some(wrong) if found.is_empty() => return Err(wrong),
        last => missing.extend(last),
    }
    missing.iter().for_each(|wrong| super::terminal::warn(&format!("left out: {wrong}")));
    Ok(found)
}

/// A name and a port, of which the name server may know nothing.
fn is_name(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name = host.chars().all(named) && host.contains(|c: char| c.is_ascii_alphabetic());
    name && port.parse::<u16>().is_ok_and(|port| port != 0)
}

pub fn address(text: &str) -> Result<Addr, String> {
    // Upstream writes known addresses as IP@NAME:PORT.
    let (known, rest) = text.split_once('@').map_or((None, text), |(ip, rest)| (Some(ip), rest));
    let wrong = || format!("{text}: not HOST:PORT");
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if port == 0 {
        return Err(format!("{text}: port 0 is nobody's"));
    }
    host_address(known.unwrap_or(host)).map(|ip| Addr::new(ip, port))
}

/// The IPv4 address of a host, by its number or its name.
pub fn host_address(host: &str) -> Result<[u8; 4], String> {
    if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
        return Ok(ip.octets());
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("{host}: an IPv6 address; these networks speak IPv4 only"));
    }
    let found = (host, 0).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let mut found = found.filter_map(|addr| match addr.ip() {
        std::net::IpAddr::V4(ip) => Some(ip.octets()),
        std::net::IpAddr::V6(_) => None,
    });
    found.next().ok_or_else(|| format!("{host}: has no IPv4 address"))
}

/// What `dht` is asked to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    Bootstrap { host: [u8; 4], port: u16 },
    Nodes { bootstrap: Vec<Addr>, host: Option<[u8; 4]>, port: Option<u16>, count: u16 },
}

impl Dht {
    /// `set` is what SECKEL_BOOTSTRAP says.
    pub fn role(&self, set: Option<&str>) -> Result<Role, String> {
        let host = self.host.as_deref().map(host_address).transpose()?;
        if self.bootstrap.as_deref() == Some("") {
            if self.nodes != 1 {
                return Err("--nodes wants a list after --bootstrap".to_owned());
            }
            if self.ephemeral {
                return Err("a bootstrap node cannot be --ephemeral: others begin with it".to_owned());
            }
            let host = host.ok_or("a bootstrap node wants --host, the address others reach it at")?;
            return Ok(Role::Bootstrap { host, port: self.port.unwrap_or(BOOTSTRAP_PORT) });
        }
        if self.port.is_some() && self.nodes != 1 {
            return Err("--port is for a single node".to_owned());
        }
        let bootstrap = addresses(self.bootstrap.as_deref().or(set).unwrap_or(PUBLIC))?;
        Ok(Role::Nodes { bootstrap, host, port: self.port, count: self.nodes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dht(line: &str) -> Dht {
        let words = ["seckel", "dht"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).expect("a command line").command {
            Command::Dht(dht) => dht,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    fn wanted(words: &[&str], keys: &str) -> Wanted {
        let cli = Cli::try_parse_from(words).expect("a command line");
        cli.tracing.wanted(Some(PathBuf::from(keys)))
    }

    #[test]
    fn a_transcript_can_be_asked_for_before_and_after_the_command() {
        let file = |name: &str| Some(PathBuf::from(name));
        for words in [["seckel", "--trace", "a", "dht"], ["seckel", "dht", "--trace", "a"]] {
            let wanted = wanted(&words, "");
            assert_eq!((wanted.text, wanted.json, wanted.keys), (file("a"), None, None));
        }
        let wanted = wanted(&["seckel", "registry", "server", "-v", "--trace-json", "b"], "k");
        assert!(wanted.verbose);
        assert_eq!((wanted.text, wanted.json, wanted.keys), (None, file("b"), file("k")));
    }

    #[test]
    fn a_bare_bootstrap_flag_makes_a_bootstrap_node() {
        let role = dht("--bootstrap --host 127.0.0.1 --port 30001").role(None);
        assert_eq!(role, Ok(Role::Bootstrap { host: [127, 0, 0, 1], port: 30001 }));
        let role = dht("--host 127.0.0.1 --bootstrap").role(Some("1.2.3.4:5"));
        assert_eq!(role, Ok(Role::Bootstrap { host: [127, 0, 0, 1], port: BOOTSTRAP_PORT }));
        assert!(dht("--bootstrap").role(None).is_err(), "no host");
        assert!(dht("--ephemeral --host 127.0.0.1 --bootstrap").role(None).is_err(), "others begin with it");
        assert!(dht("--ephemeral").role(None).is_ok());
    }

    #[test]
    fn a_list_makes_nodes_that_join() {
        let bootstrap = vec![Addr::new([127, 0, 0, 1], 30001), Addr::new([10, 0, 0, 1], 5)];
        let role = dht("--bootstrap 127.0.0.1:30001,10.0.0.1:5 --nodes 3").role(None);
        assert_eq!(role, Ok(Role::Nodes { bootstrap, host: None, port: None, count: 3 }));
        let role = dht("").role(Some("1.2.3.4:5"));
        let bootstrap = vec![Addr::new([1, 2, 3, 4], 5)];
        assert_eq!(role, Ok(Role::Nodes { bootstrap, host: None, port: None, count: 1 }));
        assert!(matches!(dht("").role(None), Ok(Role::Nodes { bootstrap, .. }) if bootstrap.len() == 3));
        assert!(dht("--bootstrap 1.2.3.4:5 --nodes 2 --port 9").role(None).is_err());
        assert!(dht("--bootstrap nonsense").role(None).is_err());
    }

    /// pitfalls 13.9: a node that binds to one interface only, or joins the public network, surprises.
    #[test]
    fn help_says_which_network_is_joined_and_how_not_to() {
        let mut all = <Cli as clap::CommandFactory>::command();
        let dht = all.find_subcommand_mut("dht").expect("a command").render_long_help().to_string();
        assert!(dht.contains("[all interfaces]") && dht.contains("one node of the public DHT"));
        let mut joining = 0;
        for command in all.get_subcommands_mut() {
            let help = command.clone().render_long_help().to_string();
            if help.contains("--bootstrap") {
                joining += 1;
                assert!(help.contains("public"), "{} joins a network", command.get_name());
            }
        }
        assert!(joining > 5, "{joining} commands");
    }

    /// pitfalls 3.14: nodes that are given as numbers need no name server.
    #[test]
    fn addresses_are_numbers_or_upstreams_pairs() {
        assert_eq!(
            addresses("88.99.3.86@node1.hyperdht.org:49737, 127.0.0.1:1"),
            Ok(vec![Addr::new([88, 99, 3, 86], 49737), Addr::new([127, 0, 0, 1], 1)])
        );
        assert!(addresses("127.0.0.1").is_err());
        assert!(addresses("127.0.0.1:70000").is_err());
        // No name server knows a name of this kind.
        assert_eq!(addresses("nobody.invalid:1,127.0.0.1:2"), Ok(vec![Addr::loopback(2)]));
        assert!(addresses("nobody.invalid:1").is_err());
        assert!(addresses("nobody.invalid,127.0.0.1:2").is_err(), "no port");
        assert!(addresses("nobody.invalid:0,127.0.0.1:2").is_err());
        assert!(addresses("127.0.0.1:0").is_err_and(|why| why.contains("port 0")));
        for six in ["[::1]:49737", "::1:49737", "[2001:db8::7]:1"] {
            assert!(addresses(six).is_err_and(|why| why.contains("IPv4 only")), "{six}");
        }
        assert!(host_address("fe80::1").is_err_and(|why| why.contains("IPv4 only")));
    }

    #[test]
    fn a_key_may_come_with_nodes() {
        let key = [7; 32];
        let with = Address { key, nodes: Some(vec![Addr::new([1, 2, 3, 4], 5)]) };
        for text in [hex::encode(&key), hex::key_to_z32(&key)] {
            assert_eq!(key_or_blob(&text), Ok(Address { key, nodes: None }));
        }
        assert_eq!(key_or_blob(&hex::encode(&seckel::wire::encode(&with))), Ok(with));
        assert!(key_or_blob("07").is_err());
    }

    #[test]
    fn a_topic_is_hex_or_text() {
        assert_eq!(topic(&"0A".repeat(32)), Ok([10; 32]));
        assert_eq!(topic("pears"), Ok(blake2b_256(&[b"pears"])));
        assert!(topic("").is_err());
    }

    /// What is described late does not describe its command anew.
    #[test]
    fn a_command_says_of_itself_what_the_list_says_of_it() {
        fn check(listed: &clap::Command, built: &clap::Command) {
            for command in listed.get_subcommands() {
                let name = command.get_name();
                let built = built.find_subcommand(name).expect("is there still");
                let said = |command: &clap::Command| command.get_about().map(ToString::to_string);
                assert_eq!(said(built), said(command), "{name}");
                check(command, built);
            }
        }
        let listed = <Cli as clap::CommandFactory>::command();
        let mut built = listed.clone();
        built.build();
        check(&listed, &built);
    }

    #[test]
    fn keys_are_hex_or_z_base_32() {
        let key = [7; 32];
        for text in [hex::encode(&key), hex::key_to_z32(&key)] {
            let words = ["seckel", "registry", "client", &text, &text];
            let Command::Registry(Registry::Client(client)) =
                Cli::try_parse_from(words).expect("a command line").command
            else {
                panic!("a client");
            };
            assert_eq!((client.server, client.core), (key, key));
        }
        assert!(Cli::try_parse_from(["seckel", "registry", "client", "abc", "def"]).is_err());
    }
}
