//! The loops of the programs: one thread, one `wait`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use seckel::app::registry::Registry;
use seckel::app::service::server::Server;
use seckel::app::service::session::Session;
use seckel::app::service::{Exit, Mind, Spoken, Told, Trade};
use seckel::base::{Addr, DiskError, Error, Span, Time, hex};
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{Config, DhtConfig, Durability, Event};

use super::args;
use super::leftovers::Fresh;
use super::terminal::{Terminal, Typed, say, warn};

/// Why a program ends badly: what to say, and the exit code.
#[derive(Debug)]
pub struct Bad {
    pub text: String,
    pub code: u8,
}

impl From<Error> for Bad {
    fn from(error: Error) -> Bad {
        Bad { text: error.to_string(), code: Exit::Storage as u8 }
    }
}

impl From<String> for Bad {
    fn from(text: String) -> Bad {
        Bad { text, code: 2 }
    }
}

/// After how long a server says that it does not find its network.
const HINT: Span = Span::from_secs(5);
/// How long leaving may take.
pub const LEAVE: Span = Span::from_millis(2_000);

pub fn config(dht: DhtConfig) -> Config {
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let epoch_millis = epoch.and_then(|since| u64::try_from(since.as_millis()).ok());
    Config { dht, epoch_millis, ..Config::default() }
}

/// A node that joins through `bootstrap`.
pub fn joining(bootstrap: Vec<Addr>, host: Option<[u8; 4]>, port: Option<u16>) -> DhtConfig {
    DhtConfig {
        bootstrap,
        host: host.unwrap_or([0; 4]),
        port: port.unwrap_or(0),
        ports: if port.is_some() { 1 } else { DhtConfig::default().ports },
        any_port: port.is_none(),
        ..DhtConfig::default()
    }
}

/// A node that joins a private network on loopback, and stays.
fn loopback(bootstrap: Addr) -> DhtConfig {
    DhtConfig {
        host: [127, 0, 0, 1],
        ephemeral: Some(false),
        firewalled: false,
        ..joining(vec![bootstrap], None, None)
    }
}

pub fn add(host: &mut Host, config: Config, folder: &Path) -> Result<NodeId, Bad> {
    if let Some(transcript) = super::tracing::transcript() {
        host.set_transcript(transcript);
    }
    host.add(config, folder).map_err(|error| storage_error(folder, error))
}

fn storage_error(folder: &Path, error: Error) -> Bad {
    let text = match error {
        Error::Io(DiskError::Locked) => format!("{}: in use by another process", folder.display()),
        other => format!("{}: {other}", folder.display()),
    };
    Bad { text, code: Exit::Storage as u8 }
}

pub fn patience(now: Time, deadline: Option<Time>) -> Option<Duration> {
    deadline.map(|at| Duration::from_micros(at.since(now).as_micros()))
}

/// Nodes that keep no files need no folder of their own.
pub fn nowhere() -> PathBuf {
    std::env::temp_dir()
}

pub fn no_port(port: u16) -> Bad {
    Bad { text: format!("port {port} cannot be bound: another process may have it"), code: 1 }
}

/// Waits until node `id` has its socket.
pub fn bound(host: &mut Host, id: NodeId, wanted: u16) -> Result<u16, Bad> {
    loop {
        match host.wait(None)? {
            Wake::Event(from, Event::Bound { port }) if from == id => return Ok(port),
            Wake::Event(from, Event::BindFailed) if from == id => return Err(no_port(wanted)),
            Wake::Interrupted => return Err(Bad { text: "interrupted".to_owned(), code: 130 }),
            Wake::Event(..) | Wake::Woken | Wake::TimedOut => {}
        }
    }
}

/// `seckel testnet`.
pub fn testnet(count: u16, port: Option<u16>) -> Result<u8, Bad> {
    let mut host = Host::open()?;
    host.catch_signals()?;
    let bootstrap = first_of_network(&mut host, port)?;
    say(&format!("Node #0 bound to {bootstrap}"));
    start_nodes(&mut host, count - 1, || config(loopback(bootstrap)))?;
    say(&format!("Bootstrap: {bootstrap}"));
    say(&format!("Fully started {count} DHT nodes"));
    tell_until_interrupted(&mut host)
}

/// A bootstrap node on loopback. Its id is made from its port, so that a free one is chosen first.
fn first_of_network(host: &mut Host, port: Option<u16>) -> Result<Addr, Bad> {
    let port = match port {
        Some(port) => port,
        None => free_port().ok_or_else(|| no_port(0))?,
    };
    let address = Addr::loopback(port);
    let id = add(host, config(DhtConfig::bootstrapper(address)?), &nowhere())?;
    bound(host, id, port)?;
    Ok(address)
}

fn free_port() -> Option<u16> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    Some(socket.local_addr().ok()?.port())
}

/// Starts nodes one after the other, each once the one before it has joined.
fn start_nodes(host: &mut Host, count: u16, make: impl Fn() -> Config) -> Result<(), Bad> {
    for _ in 0..count {
        let (id, bound) = start_node(host, make())?;
        say(&format!("Node #{} bound to {bound}", id.0));
    }
    Ok(())
}

/// Starts a node, and waits until it has joined. With it comes where it is bound.
pub fn start_node(host: &mut Host, config: Config) -> Result<(NodeId, Addr), Bad> {
    let (ip, wanted) = (config.dht.host, config.dht.port);
    let id = add(host, config, &nowhere())?;
    let port = bound(host, id, wanted)?;
    while !host.net(id).status().bootstrapped {
        if let Wake::Interrupted = host.wait(None)? {
            return Err(Bad { text: "interrupted".to_owned(), code: 130 });
        }
    }
    Ok((id, Addr::new(ip, port)))
}

fn tell_until_interrupted(host: &mut Host) -> Result<u8, Bad> {
    loop {
        match host.wait(None)? {
            Wake::Event(id, Event::Persistent) => say(&format!("Node #{} is persistent", id.0)),
            Wake::Interrupted => return Ok(0),
            Wake::Event(..) | Wake::Woken | Wake::TimedOut => {}
        }
    }
}

/// `seckel registry server`, `seckel auction server`.
pub fn server<T: Trade>(args: &args::Server, storage: &str) -> Result<u8, Bad> {
    let bootstrap = args::addresses(&args.network.bootstrap)?;
    let ip = args.network.host.as_deref().map(args::host_address).transpose()?;
    let folder = Path::new(args.storage.as_deref().unwrap_or(storage));
    let mut host = Host::open()?;
    host.catch_signals()?;
    let dht = config(joining(bootstrap, ip, args.port));
    let id = add(&mut host, dht, folder)?;
    host.net(id).set_relays(&args.network.relay_through);
    if args.unsynced {
        host.net(id).set_durability(Durability::Kernel);
    }
    let mut server = Server::<T::House>::start(&mut host.net(id), T::BOUNDS)
        .map_err(|error| storage_error(folder, error))?;
    let mut told = false;
    let mut hint = Some(host.now() + HINT);
    loop {
        if hint.is_some_and(|at| at <= host.now()) {
            hint = None;
            if !told {
                warn(&format!(
                    "still looking for the network; is there a node at {}?",
                    args.network.bootstrap
                ));
            }
        }
        if !told && server.reachable() {
            told = true;
            say(&format!("Server Public Key: {}", hex::encode(&server.keys().server)));
            say(&format!("Database Core Key: {}", hex::encode(&server.keys().core)));
        }
        let now = host.now();
        let deadline = [hint, server.deadline(now)].into_iter().flatten().min();
        match host.wait(patience(now, deadline))? {
            Wake::Event(_, Event::BindFailed) => return Err(no_port(args.port.unwrap_or(0))),
            Wake::Event(id, event) => server.on_event(&mut host.net(id), event)?,
            Wake::TimedOut => server.on_timeout(&mut host.net(id))?,
            Wake::Woken => {}
            Wake::Interrupted => break,
        }
    }
    server.leave(&mut host.net(id));
    let until = host.now() + LEAVE;
    while !server.left() && host.now() < until {
        let now = host.now();
        match host.wait(patience(now, Some(until)))? {
            Wake::Event(id, event) => server.on_event(&mut host.net(id), event)?,
            Wake::Interrupted => break,
            Wake::Woken | Wake::TimedOut => {}
        }
    }
    Ok(0)
}

/// `seckel registry client`, `seckel auction client`.
pub fn client<T: Trade>(args: &args::Client, storage: &str) -> Result<u8, Bad> {
    let folder = Path::new(args.storage.as_deref().unwrap_or(storage));
    let mut talk = Talk::<T>::open(&args.network, folder, args.server, args.core, true)?;
    let waker = talk.host.waker();
    let history = folder.join("history");
    let mut terminal = Terminal::open(T::PROMPT, Some(history), move || {
        let _ = waker.wake();
    });
    talk.converse(&mut terminal)?;
    talk.leave()?;
    Ok(0)
}

/// A single command: `seckel registry register`, `seckel auction bid` and so on.
pub fn once<T: Trade>(
    args: &args::One,
    storage: &str,
    command: <T::Mind as Mind>::Command,
) -> Result<u8, Bad> {
    let folder = Path::new(args.storage.as_deref().unwrap_or(storage));
    let mut talk = Talk::<T>::open(&args.network, folder, args.server, args.core, false)?;
    let code = talk.once(command, args.json)?;
    talk.leave()?;
    Ok(code)
}

/// `seckel demo`.
pub fn demo(storage: Option<&str>) -> Result<u8, Bad> {
    if let Some(storage) = storage {
        return demo_in(Path::new(storage));
    }
    let fresh = Fresh::new("seckel-demo-");
    let done = demo_in(&fresh.folder);
    fresh.remove();
    done
}

fn demo_in(folder: &Path) -> Result<u8, Bad> {
    let mut host = Host::open()?;
    host.catch_signals()?;
    let bootstrap = first_of_network(&mut host, None)?;
    let place = folder.join("server");
    let joined = || DhtConfig { host: [127, 0, 0, 1], ..joining(vec![bootstrap], None, None) };
    let id = add(&mut host, config(joined()), &place)?;
    let mut server =
        Server::start(&mut host.net(id), Registry::BOUNDS).map_err(|error| storage_error(&place, error))?;
    while !server.reachable() {
        match host.wait(None)? {
            Wake::Event(from, event) if from == id => server.on_event(&mut host.net(id), event)?,
            Wake::Interrupted => return Ok(130),
            Wake::Event(..) | Wake::Woken | Wake::TimedOut => {}
        }
    }
    let keys = server.keys();
    warn(&format!("a private DHT at {bootstrap}, and a registry on it"));
    warn(&format!("Server Public Key: {}", hex::encode(&keys.server)));
    warn(&format!("Database Core Key: {}", hex::encode(&keys.core)));
    warn("type help to see what it can do");
    let place = folder.join("client");
    let mine = add(&mut host, config(joined()), &place)?;
    let session = Session::start(&mut host.net(mine), keys.server, keys.core, true)
        .map_err(|error| storage_error(&place, error))?;
    let waker = host.waker();
    let mut terminal = Terminal::open(Registry::PROMPT, Some(place.join("history")), move || {
        let _ = waker.wake();
    });
    let mut talk = Talk::<Registry> { host, id: mine, session, companion: Some((id, server)) };
    talk.converse(&mut terminal)?;
    talk.leave()?;
    Ok(0)
}

/// A client in conversation, and the server beside it in a demo.
struct Talk<T: Trade> {
    host: Host,
    id: NodeId,
    session: Session<T::Mind>,
    companion: Option<(NodeId, Server<T::House>)>,
}

impl<T: Trade> Talk<T> {
    fn open(
        network: &args::Network,
        folder: &Path,
        server: seckel::base::Key,
        core: seckel::base::Key,
        serve: bool,
    ) -> Result<Talk<T>, Bad> {
        let bootstrap = args::addresses(&network.bootstrap)?;
        let ip = network.host.as_deref().map(args::host_address).transpose()?;
        let mut host = Host::open()?;
        host.catch_signals()?;
        let dht = config(joining(bootstrap, ip, None));
        let id = add(&mut host, dht, folder)?;
        host.net(id).set_relays(&network.relay_through);
        let session = Session::start(&mut host.net(id), server, core, serve)
            .map_err(|error| storage_error(folder, error))?;
        Ok(Talk { host, id, session, companion: None })
    }

    /// Commands from the terminal, until its end or Ctrl-C.
    fn converse(&mut self, terminal: &mut Terminal) -> Result<(), Bad> {
        let mut asked = false;
        loop {
            self.show();
            while !self.session.busy() {
                if !asked {
                    terminal.ready();
                    asked = true;
                }
                let Some(typed) = terminal.next() else { break };
                asked = false;
                match typed {
                    Typed::End => return Ok(()),
                    Typed::NotText => say("Error: the line is not UTF-8 text"),
                    Typed::Line(line) => match <T::Mind as Mind>::Command::parse(&line) {
                        Ok(None) => {}
                        Ok(Some(command)) if command.is_exit() => return Ok(()),
                        Ok(Some(command)) => self.session.submit(&mut self.host.net(self.id), command)?,
                        Err(mistake) => say(&mistake),
                    },
                }
                self.show();
            }
            if self.turn(None)? {
                return Ok(());
            }
        }
    }

    fn once(&mut self, command: <T::Mind as Mind>::Command, json: bool) -> Result<u8, Bad> {
        self.session.submit(&mut self.host.net(self.id), command)?;
        loop {
            while let Some(report) = self.session.poll_report() {
                for warning in report.warnings() {
                    warn(warning);
                }
                say(&if json { report.json() } else { report.text() });
                if report.last() {
                    return Ok(report.exit() as u8);
                }
            }
            if self.turn(None)? {
                return Ok(130);
            }
        }
    }

    fn show(&mut self) {
        while let Some(report) = self.session.poll_report() {
            for warning in report.warnings() {
                warn(warning);
            }
            if report.aside() {
                warn(&report.text());
            } else {
                say(&report.text());
            }
        }
    }

    /// Waits once and hands out what came. True: interrupted.
    fn turn(&mut self, until: Option<Time>) -> Result<bool, Bad> {
        let now = self.host.now();
        let companion = self.companion.as_ref().and_then(|(_, server)| server.deadline(now));
        let deadline = [until, self.session.deadline(), companion].into_iter().flatten().min();
        match self.host.wait(patience(now, deadline))? {
            Wake::Interrupted => return Ok(true),
            Wake::Woken => {}
            Wake::Event(id, event) if id == self.id => {
                self.session.on_event(&mut self.host.net(id), event)?;
            }
            Wake::Event(id, event) => {
                if let Some((at, server)) = &mut self.companion
                    && *at == id
                {
                    server.on_event(&mut self.host.net(id), event)?;
                }
            }
            Wake::TimedOut => {
                self.session.on_timeout(&mut self.host.net(self.id));
                if let Some((at, server)) = &mut self.companion {
                    server.on_timeout(&mut self.host.net(*at))?;
                }
            }
        }
        Ok(false)
    }

    /// Says goodbye to the network; what cannot be said in time stays unsaid.
    fn leave(&mut self) -> Result<(), Bad> {
        self.session.leave(&mut self.host.net(self.id));
        if let Some((id, server)) = &mut self.companion {
            server.leave(&mut self.host.net(*id));
        }
        let until = self.host.now() + LEAVE;
        while self.host.now() < until {
            let served = self.companion.as_ref().is_none_or(|(_, server)| server.left());
            if served && self.host.net(self.id).idle() {
                break;
            }
            if self.turn(Some(until))? {
                break;
            }
        }
        Ok(())
    }
}
