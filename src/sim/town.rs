//! A town: a server and its clients, each on a host of its own, and the nodes of the DHT through which they find
//! each other. What they trade is names (`Town`), or auctions (`TownOf<Auctions>`). The programs are those of `app`,
//! unchanged; this gives them their events and their turns, as the loop of a process does.

use std::collections::{BTreeMap, VecDeque};

use super::{BoxId, HostId, Kind, NatOptions, Step, World};
use crate::app::registry::Registry;
use crate::app::service::server::Server;
use crate::app::service::session::Session;
use crate::app::service::{Keys, Mind, Trade};
use crate::base::{Addr, Error, Key, Time, Timers};
use crate::node::{Config, DhtConfig, Event};

/// Where the first node of the DHT is.
pub const BOOTSTRAP: Addr = Addr::new([30, 0, 0, 1], 49737);
/// The Unix time at which a world begins.
const EPOCH_MILLIS: u64 = 1_700_000_000_000;

/// What runs on a host of a town.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// The first node of the DHT.
    First,
    Node,
    Server,
    /// The n-th client.
    Client(usize),
}

/// Why `step` returned.
#[derive(Debug)]
pub enum Turn {
    /// Something happened at a host.
    Moved,
    /// A connection was made, or could not be.
    Met(Meeting),
    /// The n-th client has a new report.
    Reported(usize),
    /// The power went off at a host, as `crash_after` planned. Nothing runs there.
    Crashed(HostId),
    /// A program ended itself with an error. Nothing runs there.
    Ended(HostId, Error),
    /// The time that was given is reached.
    TimedOut,
}

/// An attempt to connect, as the side that made it sees its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meeting {
    pub from: HostId,
    /// Who has the key that was dialled, if it is a program of this town.
    pub to: Option<HostId>,
    pub result: Result<crate::node::Path, crate::node::ConnectError>,
    pub took: crate::base::Span,
}

/// The server. Without a program while its process is down.
pub struct Office<T: Trade> {
    pub host: HostId,
    pub program: Option<Server<T::House>>,
    /// What clients need to know of it, once it was up.
    pub keys: Option<Keys>,
}

/// A client. Without a program while its process is down.
pub struct Citizen<T: Trade> {
    pub host: HostId,
    pub program: Option<Session<T::Mind>>,
    /// What became of its commands.
    pub reports: VecDeque<<T::Mind as Mind>::Report>,
}

/// A town with a registry.
pub type Town = TownOf<Registry>;

/// See the module's head.
pub struct TownOf<T: Trade> {
    pub world: World,
    /// The nodes of the DHT, the first one included.
    pub nodes: Vec<HostId>,
    pub server: Option<Office<T>>,
    pub clients: Vec<Citizen<T>>,
    /// How many of them hand their copy on: the first ones. All by default.
    pub copies: usize,
    pub boxes: Vec<BoxId>,
    /// Homes that were given addresses so far.
    homes: usize,
    roles: BTreeMap<HostId, Role>,
    /// When a program wants its turn, in the world's time.
    turns: Timers<HostId>,
    /// Whose key it is.
    owners: BTreeMap<Key, HostId>,
    met: VecDeque<Meeting>,
    reported: VecDeque<usize>,
    ended: VecDeque<(HostId, Error)>,
}

impl<T: Trade> TownOf<T> {
    /// A town of one node, from which the DHT grows.
    pub fn new(seed: u64) -> TownOf<T> {
        let mut world = World::new(seed);
        let first = world.add(BOOTSTRAP.ip);
        let mut town = TownOf {
            world,
            nodes: vec![first],
            server: None,
            clients: Vec::new(),
            copies: usize::MAX,
            boxes: Vec::new(),
            homes: 0,
            roles: BTreeMap::from([(first, Role::First)]),
            turns: Timers::new(),
            owners: BTreeMap::new(),
            met: VecDeque::new(),
            reported: VecDeque::new(),
            ended: VecDeque::new(),
        };
        town.start_node(first);
        town
    }

    pub fn role(&self, host: HostId) -> Option<Role> {
        self.roles.get(&host).copied()
    }

    /// Adds a lasting node of the DHT, with a public address, and starts it.
    pub fn add_node(&mut self) -> HostId {
        let host = self.world.add(address(30, self.nodes.len()));
        self.nodes.push(host);
        self.roles.insert(host, Role::Node);
        self.start_node(host);
        host
    }

    /// Starts the process of a node anew.
    pub fn start_node(&mut self, host: HostId) {
        let config = if self.role(host) == Some(Role::First) { first() } else { lasting() };
        self.world.start(host, config);
    }

    /// Adds a host: behind a box of its own of some kind, or (none) with a line of its own to the internet.
    fn add_host(&mut self, home: Option<Kind>, options: NatOptions) -> HostId {
        match home {
            Some(kind) => {
                let (id, inner) = self.build(kind, options);
                self.world.add_behind(id, inner)
            }
            None => {
                let ip = address(40, self.next_home());
                self.world.add(ip)
            }
        }
    }

    fn next_home(&mut self) -> usize {
        self.homes += 1;
        self.homes - 1
    }

    /// A box of some kind, and an address behind it.
    fn build(&mut self, kind: Kind, options: NatOptions) -> (BoxId, [u8; 4]) {
        let n = self.next_home();
        let id = self.world.add_box(kind, address(50, n), options);
        self.boxes.push(id);
        // Private addresses are the same in many homes.
        let inner = if kind.is_transparent() { address(60, n) } else { [192, 168, 1, 10 + (n % 3) as u8] };
        (id, inner)
    }

    /// A host moves: behind a new box of its own. Its process is told.
    pub fn relocate(&mut self, host: HostId, kind: Kind, options: NatOptions) {
        let (id, inner) = self.build(kind, options);
        self.world.plug(host, Some(id), inner);
        if self.world.node(host).is_none() {
            self.forget(host);
        }
    }

    /// A box gets another outer address.
    pub fn readdress(&mut self, id: BoxId) {
        let ip = address(50, self.next_home());
        self.world.readdress(id, ip);
    }

    /// Adds the server's host, without a process.
    pub fn place_server(&mut self, home: Option<Kind>, options: NatOptions) -> HostId {
        let host = self.add_host(home, options);
        self.roles.insert(host, Role::Server);
        self.server = Some(Office { host, program: None, keys: None });
        host
    }

    /// Adds the server and starts it. An error: it ended at once.
    pub fn open_server(&mut self, home: Option<Kind>, options: NatOptions) -> Result<HostId, Error> {
        let host = self.place_server(home, options);
        self.start_server().map(|()| host)
    }

    /// Adds a client and starts it: its number. An error: it ended at once.
    pub fn add_client(&mut self, home: Option<Kind>, options: NatOptions) -> Result<usize, Error> {
        let n = self.place_client(home, options);
        self.start_client(n).map(|()| n)
    }

    /// Starts the server's process, again if need be. An error: it ended at once.
    pub fn start_server(&mut self) -> Result<(), Error> {
        let Some(office) = &mut self.server else { return Err(Error::NotOpen) };
        self.world.start(office.host, joining());
        match Server::start(&mut self.world.net(office.host), T::BOUNDS) {
            Ok(server) => {
                office.keys = Some(server.keys());
                self.owners.insert(server.keys().server, office.host);
                self.owners.insert(server.swarm_key(), office.host);
                office.program = Some(server);
                let host = office.host;
                self.plan(host);
                Ok(())
            }
            Err(error) => {
                office.program = None;
                self.world.kill(office.host);
                Err(error)
            }
        }
    }

    /// Adds a client's host, without a process; its number is the place in `clients`.
    pub fn place_client(&mut self, home: Option<Kind>, options: NatOptions) -> usize {
        let host = self.add_host(home, options);
        let n = self.clients.len();
        self.roles.insert(host, Role::Client(n));
        self.clients.push(Citizen { host, program: None, reports: VecDeque::new() });
        n
    }

    /// Starts the process of a client, again if need be; the server was up once. An error: it ended at once.
    pub fn start_client(&mut self, n: usize) -> Result<(), Error> {
        let keys = self.server.as_ref().and_then(|office| office.keys).ok_or(Error::NotOpen)?;
        let citizen = &mut self.clients[n];
        let (host, copies) = (citizen.host, n < self.copies);
        self.world.start(host, joining());
        match Session::start(&mut self.world.net(host), keys.server, keys.core, copies) {
            Ok(session) => {
                self.owners.insert(session.key(), host);
                self.owners.insert(session.swarm_key(), host);
                citizen.program = Some(session);
                self.plan(host);
                Ok(())
            }
            Err(error) => {
                citizen.program = None;
                self.world.kill(host);
                Err(error)
            }
        }
    }

    /// Kill -9: the process and its program are gone, the disk keeps what was written.
    pub fn kill(&mut self, host: HostId) {
        self.world.kill(host);
        self.forget(host);
    }

    /// The power goes off: see `World::crash`.
    pub fn crash(&mut self, host: HostId) {
        self.world.crash(host);
        self.forget(host);
    }

    /// Starts whatever runs on a host.
    pub fn restart(&mut self, host: HostId) -> Result<(), Error> {
        match self.role(host) {
            Some(Role::First | Role::Node) => {
                self.start_node(host);
                Ok(())
            }
            Some(Role::Server) => self.start_server(),
            Some(Role::Client(n)) => self.start_client(n),
            None => Err(Error::Gone),
        }
    }

    /// The process stops where it is, its program too.
    pub fn freeze(&mut self, host: HostId) {
        self.world.freeze(host);
        self.turns.clear(host);
    }

    pub fn thaw(&mut self, host: HostId) {
        self.world.thaw(host);
        self.plan(host);
    }

    /// Gives a host another clock; its program's turns are planned by it.
    pub fn set_clock(&mut self, host: HostId, clock: super::Clock) {
        self.world.set_clock(host, clock);
        self.plan(host);
    }

    /// Types a command at a client; what it comes to will be among its reports.
    pub fn submit(&mut self, n: usize, command: <T::Mind as Mind>::Command) -> Result<(), Error> {
        let host = self.clients[n].host;
        if !self.world.is_up(host) {
            return Err(Error::NotOpen);
        }
        let program = self.clients[n].program.as_mut().ok_or(Error::NotOpen)?;
        program.submit(&mut self.world.net(host), command)?;
        self.take_reports(n);
        self.plan(host);
        Ok(())
    }

    /// One thing happens, at most until `until` of the world's time.
    pub fn step(&mut self, until: Time) -> Turn {
        if let Some(meeting) = self.met.pop_front() {
            return Turn::Met(meeting);
        }
        if let Some(n) = self.reported.pop_front() {
            return Turn::Reported(n);
        }
        if let Some((host, error)) = self.ended.pop_front() {
            return Turn::Ended(host, error);
        }
        let next = self.turns.next().map_or(until, |(at, _)| at.max(self.world.now()).min(until));
        match self.world.step(next) {
            Step::Event(host, event) => self.tell(host, event),
            Step::Crashed(host) => {
                self.forget(host);
                return Turn::Crashed(host);
            }
            Step::TimedOut if self.turns.next().is_none_or(|(at, _)| at > self.world.now()) => {
                return Turn::TimedOut;
            }
            Step::TimedOut => {}
        }
        while let Some(host) = self.turns.pop_due(self.world.now()) {
            self.take_turn(host);
        }
        Turn::Moved
    }

    /// A program gets its turn: its deadline has come.
    fn take_turn(&mut self, host: HostId) {
        if !self.world.is_up(host) {
            return;
        }
        match self.role(host) {
            Some(Role::Server) => {
                let program = self.server.as_mut().and_then(|office| office.program.as_mut());
                let Some(program) = program else { return };
                let done = program.on_timeout(&mut self.world.net(host));
                self.after(host, done);
            }
            Some(Role::Client(n)) => {
                let Some(program) = &mut self.clients[n].program else { return };
                program.on_timeout(&mut self.world.net(host));
                self.after(host, Ok(()));
            }
            Some(Role::First | Role::Node) | None => {}
        }
    }

    fn tell(&mut self, host: HostId, event: Event) {
        let role = self.role(host);
        if !matches!(role, Some(Role::Server | Role::Client(_))) || !self.world.is_up(host) {
            return;
        }
        self.notice(host, &event);
        let done = match role {
            Some(Role::Client(n)) => {
                let Some(program) = &mut self.clients[n].program else { return };
                program.on_event(&mut self.world.net(host), event)
            }
            _ => {
                let program = self.server.as_mut().and_then(|office| office.program.as_mut());
                let Some(program) = program else { return };
                program.on_event(&mut self.world.net(host), event)
            }
        };
        self.after(host, done);
    }

    /// Keeps what an event says about an attempt to connect.
    fn notice(&mut self, host: HostId, event: &Event) {
        let (key, result, took) = match *event {
            Event::Connected { key, initiator: true, path, took, .. } => (key, Ok(path), took),
            Event::ConnectFailed { key, why, took, .. } => (key, Err(why), took),
            _ => return,
        };
        let to = self.owners.get(&key).copied();
        self.met.push_back(Meeting { from: host, to, result, took });
    }

    /// A program has had its say.
    fn after(&mut self, host: HostId, done: Result<(), Error>) {
        match done {
            Ok(()) => {
                if let Some(Role::Client(n)) = self.role(host) {
                    self.take_reports(n);
                }
                self.plan(host);
            }
            Err(error) => {
                self.kill(host);
                self.ended.push_back((host, error));
            }
        }
    }

    fn take_reports(&mut self, n: usize) {
        let citizen = &mut self.clients[n];
        if let Some(program) = &mut citizen.program {
            while let Some(report) = program.poll_report() {
                citizen.reports.push_back(report);
                self.reported.push_back(n);
            }
        }
    }

    /// Plans the next turn of a program, by the clock of its host.
    fn plan(&mut self, host: HostId) {
        let local = self.world.local(host);
        let at = match self.role(host) {
            Some(Role::Server) => {
                let program = self.server.as_ref().and_then(|office| office.program.as_ref());
                program.and_then(|program| program.deadline(local))
            }
            Some(Role::Client(n)) => self.clients[n].program.as_ref().and_then(Session::deadline),
            Some(Role::First | Role::Node) | None => None,
        };
        match at {
            Some(at) => self.turns.set(host, self.world.when(host, at).max(self.world.now())),
            None => self.turns.clear(host),
        }
    }

    /// The process of a host is gone, and its program with it.
    fn forget(&mut self, host: HostId) {
        self.turns.clear(host);
        match self.role(host) {
            Some(Role::Server) => {
                if let Some(office) = &mut self.server {
                    office.program = None;
                }
            }
            Some(Role::Client(n)) => self.clients[n].program = None,
            Some(Role::First | Role::Node) | None => {}
        }
    }
}

/// The n-th address of a range that begins with `first`.
fn address(first: u8, n: usize) -> [u8; 4] {
    let [.., b, c] = ((n / 250) as u16).to_be_bytes();
    [first, b.wrapping_add(1), c, (n % 250) as u8 + 1]
}

/// A config for the first node of the network.
fn first() -> Config {
    let dht = DhtConfig::bootstrapper(BOOTSTRAP).expect("a host and a port");
    Config { dht, epoch_millis: Some(EPOCH_MILLIS), ..Config::default() }
}

/// A config for a node that joins it.
fn joining() -> Config {
    let dht = DhtConfig { bootstrap: vec![BOOTSTRAP], ..DhtConfig::default() };
    Config { dht, epoch_millis: Some(EPOCH_MILLIS), ..Config::default() }
}

/// A config for a lasting node that joins it.
fn lasting() -> Config {
    let mut config = joining();
    config.dht.ephemeral = Some(false);
    config
}
