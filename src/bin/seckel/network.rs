//! A node of this process's own in a network: the public one unless told otherwise.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use seckel::app::door::Manner;
use seckel::base::{Addr, Key, Span, Time};
use seckel::edge::host::{Host, NodeId, Wake};

use super::args::{PUBLIC, addresses, host_address, key};
use super::run::{self, Bad};
use super::terminal::warn;

/// After how long it is said that the network is not found.
const HINT: Span = Span::from_secs(5);
/// How long a process stays after its last connection has ended.
const LINGER: Span = Span::from_millis(100);

// What stands with three strokes above a struct here would become the help of each command that has its arguments.

#[derive(Args, Debug)]
pub struct Joining {
    /// The nodes to join through, comma separated [the public network's]
    #[arg(long, value_name = "HOST:PORT,..", env = "SECKEL_BOOTSTRAP")]
    pub bootstrap: Option<String>,
    /// The address to bind
    #[arg(long)]
    pub host: Option<String>,
    /// The port to bind [any]
    #[arg(long)]
    pub port: Option<u16>,
}

// A network in which peers are to be met.
#[derive(Args, Debug)]
pub struct Meeting {
    #[command(flatten)]
    pub joining: Joining,
    /// A blind relay (`seckel relay`) for when there is no direct way; of several one is drawn
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub relay_through: Vec<Key>,
}

// How two ends go about meeting.
#[derive(Args, Debug)]
pub struct Ways {
    /// Neither tell our local addresses nor try the other side's
    #[arg(long)]
    pub no_local: bool,
    /// Never punch holes: who cannot be reached directly is met through a relay, or not at all
    #[arg(long)]
    pub no_punch: bool,
}

// Whom to let in.
#[derive(Args, Debug)]
pub struct Door {
    /// Let these keys in and nobody else, comma separated; others find nobody here
    #[arg(long, value_name = "KEY,..", value_delimiter = ',', value_parser = key)]
    pub allow: Vec<Key>,
}

// Whom to ask for the way.
#[derive(Args, Debug)]
pub struct Route {
    /// Nodes that lead to KEY, asked at once, comma separated (`seckel find-peer KEY` names some)
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', value_parser = super::args::address)]
    pub relay_addresses: Vec<Addr>,
}

impl Meeting {
    pub fn manner(&self, ways: &Ways, door: Option<&Door>, route: Option<&Route>) -> Manner {
        Manner {
            allow: door.map(|door| door.allow.clone()).unwrap_or_default(),
            relay_addresses: route.map(|route| route.relay_addresses.clone()).unwrap_or_default(),
            relay_through: self.relay_through.clone(),
            no_local: ways.no_local,
            no_punch: ways.no_punch,
        }
    }
}

impl Meeting {
    /// A host with one node that joins.
    pub fn open(&self) -> Result<Joined, Bad> {
        self.open_at(&run::nowhere())
    }

    /// The same, with its files in that folder.
    pub fn open_at(&self, folder: &Path) -> Result<Joined, Bad> {
        let mut joined = self.joining.open_at(folder, |_| {})?;
        joined.net().set_relays(&self.relay_through);
        Ok(joined)
    }
}

impl Joining {
    fn through(&self) -> &str {
        self.bootstrap.as_deref().unwrap_or(PUBLIC)
    }

    /// A host with one node that joins.
    pub fn open(&self) -> Result<Joined, Bad> {
        self.open_with(|_| {})
    }

    pub fn open_with(&self, change: impl FnOnce(&mut seckel::node::DhtConfig)) -> Result<Joined, Bad> {
        self.open_at(&run::nowhere(), change)
    }

    fn open_at(
        &self,
        folder: &Path,
        change: impl FnOnce(&mut seckel::node::DhtConfig),
    ) -> Result<Joined, Bad> {
        let bootstrap = addresses(self.through())?;
        let ip = self.host.as_deref().map(host_address).transpose()?;
        let mut host = Host::open()?;
        host.catch_signals()?;
        let mut dht = run::joining(bootstrap, ip, self.port);
        change(&mut dht);
        let id = run::add(&mut host, run::config(dht), folder)?;
        let hint = Some(host.now() + HINT);
        let wanted = (self.host.clone(), self.port);
        Ok(Joined { host, id, hint, through: self.through().to_owned(), wanted })
    }
}

/// A node that joins, or has joined.
pub struct Joined {
    pub host: Host,
    pub id: NodeId,
    hint: Option<Time>,
    through: String,
    /// The host and the port that were asked for.
    wanted: (Option<String>, Option<u16>),
}

impl Joined {
    pub fn net(&mut self) -> seckel::node::Net<'_> {
        self.host.net(self.id)
    }

    /// Waits for what happens next, at most until `until`; says once if the network is not found.
    pub fn wait(&mut self, until: Option<Time>) -> Result<Wake, Bad> {
        loop {
            let now = self.host.now();
            if self.hint.is_some_and(|at| at <= now) {
                self.hint = None;
                let status = self.net().status();
                if status.nodes.is_empty() {
                    warn(&format!("still looking for the network; is there a node at {}?", self.through));
                }
            }
            let deadline = [self.hint, until].into_iter().flatten().min();
            let patience = deadline.map(|at| Duration::from_micros(at.since(now).as_micros()));
            match self.host.wait(patience)? {
                Wake::TimedOut if until.is_none_or(|until| self.host.now() < until) => {}
                wake => return Ok(wake),
            }
        }
    }

    /// Lets what is asked for leave, and late packets of the other side have their answer: else it would wait for that.
    pub fn linger(&mut self) -> Result<(), Bad> {
        let until = self.host.now() + LINGER;
        while self.host.now() < until {
            if let Wake::Interrupted = self.wait(Some(until))? {
                break;
            }
        }
        Ok(())
    }

    /// What to say when the node has no socket.
    pub fn unbound(&self) -> Bad {
        let text = match &self.wanted {
            (Some(host), _) if !is_ours(host) => format!("{host} is no address of this machine (--host)"),
            (_, Some(port)) => format!("port {port} cannot be bound: another process may have it (--port)"),
            (_, None) => "no socket could be bound".to_owned(),
        };
        Bad { text, code: 1 }
    }

    /// What to say when no node of the network answers.
    pub fn nobody(&self) -> Bad {
        let text = format!("no answer from the network; is there a node at {}? (--bootstrap)", self.through);
        Bad { text, code: 3 }
    }
}

/// Whether sockets can be bound to it, at some port.
fn is_ours(host: &str) -> bool {
    host_address(host).is_ok_and(|ip| std::net::UdpSocket::bind((std::net::Ipv4Addr::from(ip), 0)).is_ok())
}
