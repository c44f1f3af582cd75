//! A network in memory: nodes, a wire with delay and loss, and one clock.

use std::collections::{BTreeMap, VecDeque};

use super::TestDisk;
use crate::base::{Addr, Cx, Entropy, Machine, NoTrace, Seeded, SocketId, Span, Time};
use crate::dht_rpc::{Config, DhtRpc, Event, Input, Output};
use crate::wire::dht_rpc::{Request, Respond};

/// Whether a host's unasked-for datagrams get in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    Open,
    /// Only answers get in, from addresses that were sent to, to the socket that was used.
    Firewall,
}

pub struct Host {
    pub dht: DhtRpc,
    pub ip: [u8; 4],
    pub events: VecDeque<Event>,
    /// Everything that left, in order, while `record` is set.
    pub sent: Vec<(Time, SocketId, Addr, Vec<u8>)>,
    pub record: bool,
    pub up: bool,
    /// Answers requests of the layer above with their own value.
    pub echo: bool,
    pub wall: Wall,
    /// Ports that cannot be bound.
    pub taken: Vec<u16>,
    entropy: Seeded,
    disk: TestDisk,
    ports: BTreeMap<SocketId, u16>,
    next_port: u16,
    holes: Vec<(SocketId, Addr)>,
}

pub struct World {
    pub now: Time,
    pub hosts: Vec<Host>,
    pub loss: u64,
    pub delay: Span,
    entropy: Seeded,
    wire: BTreeMap<(Time, u64), (Addr, Addr, Vec<u8>)>,
    next: u64,
    index: BTreeMap<(Addr,), (usize, SocketId)>,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            now: Time::ZERO,
            hosts: Vec::new(),
            loss: 0,
            delay: Span::from_millis(20),
            entropy: Seeded::new(seed),
            wire: BTreeMap::new(),
            next: 0,
            index: BTreeMap::new(),
        }
    }

    /// A host of its own address.
    pub fn add(&mut self, config: Config) -> usize {
        let n = self.hosts.len() as u16;
        self.add_at([10, 1, (n >> 8) as u8, n as u8], config)
    }

    pub fn add_at(&mut self, ip: [u8; 4], config: Config) -> usize {
        let n = self.hosts.len();
        let mut entropy = self.entropy.fork(&format!("host {n}"));
        let mut disk = TestDisk::new();
        let mut cx = Cx { now: self.now, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let dht = DhtRpc::new(&mut cx, config);
        self.hosts.push(Host {
            dht,
            ip,
            events: VecDeque::new(),
            sent: Vec::new(),
            record: false,
            up: true,
            echo: false,
            wall: Wall::Open,
            taken: Vec::new(),
            entropy,
            disk,
            ports: BTreeMap::new(),
            next_port: 40_000 + 100 * n as u16,
            holes: Vec::new(),
        });
        n
    }

    /// A bootstrapper at 10.0.0.1 port 30001 and its address.
    pub fn bootstrapper(&mut self) -> Addr {
        let addr = Addr::new([10, 0, 0, 1], 30_001);
        self.add_at(addr.ip, Config::bootstrapper(addr).expect("an address"));
        addr
    }

    /// A host moves to another network, and is told.
    pub fn move_to(&mut self, n: usize, ip: [u8; 4]) {
        let host = &mut self.hosts[n];
        let old = core::mem::replace(&mut host.ip, ip);
        host.holes.clear();
        for (&socket, &port) in &host.ports {
            self.index.remove(&(Addr::new(old, port),));
            self.index.insert((Addr::new(ip, port),), (n, socket));
        }
        self.with(n, |dht, cx| dht.handle_input(cx, Input::Interfaces(&[ip, [127, 0, 0, 1]])));
    }

    /// A command to a host.
    pub fn with<R>(&mut self, host: usize, command: impl FnOnce(&mut DhtRpc, &mut Cx<'_>) -> R) -> R {
        let now = self.now;
        let host = &mut self.hosts[host];
        let mut cx = Cx { now, entropy: &mut host.entropy, disk: &mut host.disk, trace: &mut NoTrace };
        command(&mut host.dht, &mut cx)
    }

    pub fn deliver(&mut self, host: usize, socket: SocketId, from: Addr, bytes: &[u8]) {
        self.with(host, |dht, cx| dht.handle_input(cx, Input::Datagram { socket, from, bytes }));
    }

    /// Carries outputs and events of all hosts until nothing moves.
    pub fn settle(&mut self) {
        for host in 0..self.hosts.len() {
            self.settle_host(host);
        }
    }

    fn settle_host(&mut self, n: usize) {
        loop {
            let output = self.with(n, |dht, cx| dht.poll_output(cx));
            let event = self.hosts[n].dht.poll_event();
            if output.is_none() && event.is_none() {
                return;
            }
            if let Some(output) = output {
                self.carry(n, output);
            }
            match event {
                Some(Event::Request(request)) if self.hosts[n].echo => self.echo(n, &request),
                Some(event) => self.hosts[n].events.push_back(event),
                None => {}
            }
        }
    }

    fn echo(&mut self, n: usize, request: &Request) {
        let value = request.value.clone();
        self.with(n, |dht, cx| dht.respond(cx, request, Respond::value(value)));
    }

    fn carry(&mut self, n: usize, output: Output) {
        match output {
            Output::Bind { socket, port, .. } => {
                let host = &mut self.hosts[n];
                if host.taken.contains(&port) {
                    return self.with(n, |dht, cx| dht.handle_input(cx, Input::BindFailed { socket }));
                }
                let port = if port == 0 { host.next_port } else { port };
                host.next_port += 1;
                host.ports.insert(socket, port);
                let public = Addr::new(host.ip, port);
                self.index.insert((public,), (n, socket));
                let local = Addr::new([0; 4], port);
                self.with(n, |dht, cx| dht.handle_input(cx, Input::Bound { socket, local }));
            }
            Output::Close { socket } => {
                self.hosts[n].ports.remove(&socket);
            }
            Output::Send { socket, to, bytes, .. } => {
                let now = self.now;
                let host = &mut self.hosts[n];
                if host.record {
                    host.sent.push((now, socket, to, bytes.clone()));
                }
                let Some(port) = host.ports.get(&socket) else { return };
                if host.wall == Wall::Firewall && !host.holes.contains(&(socket, to)) {
                    host.holes.push((socket, to));
                }
                let from = Addr::new(host.ip, *port);
                if !host.up || self.entropy.chance(self.loss) {
                    return;
                }
                let at = now + self.delay;
                self.next += 1;
                self.wire.insert((at, self.next), (from, to, bytes));
            }
        }
    }

    /// Lets the next thing happen, if it happens before `end`.
    fn step(&mut self, end: Time) -> bool {
        let packet = self.wire.first_key_value().map(|((at, _), _)| *at);
        let timer = self
            .hosts
            .iter()
            .filter(|host| host.up)
            .filter_map(|host| host.dht.poll_timeout())
            .map(|deadline| deadline.at)
            .min();
        let Some(at) = packet.into_iter().chain(timer).min().filter(|at| *at <= end) else { return false };
        self.now = at.max(self.now);
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (from, to, bytes) = entry.remove();
            if let Some(&(n, socket)) = self.index.get(&(to,)) {
                let host = &self.hosts[n];
                let walled = host.wall == Wall::Firewall && !host.holes.contains(&(socket, from));
                if host.up && host.ports.get(&socket) == Some(&to.port) && !walled {
                    self.deliver(n, socket, from, &bytes);
                    self.settle_host(n);
                }
            }
        }
        for n in 0..self.hosts.len() {
            if self.hosts[n].up && self.hosts[n].dht.poll_timeout().is_some_and(|d| d.at <= self.now) {
                self.with(n, |dht, cx| dht.handle_timeout(cx));
                self.settle_host(n);
                let next = self.hosts[n].dht.poll_timeout();
                assert!(next.is_none_or(|deadline| deadline.at > self.now), "L4: {next:?}");
            }
        }
        true
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Span) {
        let end = self.now + span;
        self.settle();
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until `host` told an event that fits; that event is taken, those before stay.
    pub fn until(&mut self, host: usize, within: Span, fits: impl Fn(&Event) -> bool) -> Event {
        let end = self.now + within;
        self.settle();
        loop {
            if let Some(at) = self.hosts[host].events.iter().position(&fits) {
                return self.hosts[host].events.remove(at).expect("found");
            }
            assert!(self.step(end), "host {host} told nothing that fits within {within}");
        }
    }

    /// What a host has sent since the last look, as (socket, to, bytes).
    pub fn sent(&mut self, host: usize) -> Vec<(SocketId, Addr, Vec<u8>)> {
        self.hosts[host].record = true;
        self.settle_host(host);
        self.hosts[host].sent.drain(..).map(|(_, socket, to, bytes)| (socket, to, bytes)).collect()
    }

    /// Waits for `Bootstrapped`; returns how long that took.
    pub fn bootstrapped(&mut self, host: usize) -> Span {
        let begin = self.now;
        self.until(host, Span::from_secs(60), |event| *event == Event::Bootstrapped);
        self.now.since(begin)
    }

    pub fn count(&self, host: usize, fits: impl Fn(&Event) -> bool) -> usize {
        self.hosts[host].events.iter().filter(|event| fits(event)).count()
    }

    /// The public address of a host's socket.
    pub fn addr(&self, host: usize, socket: SocketId) -> Addr {
        Addr::new(self.hosts[host].ip, self.hosts[host].ports[&socket])
    }
}
