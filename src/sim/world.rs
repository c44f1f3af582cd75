//! A world of hosts in one process: one seed, one clock, and the same `Node` that runs on real machines.
//!
//! It is driven like `edge::Host`: `step` gives the next event of some host, `net` is what its program can do.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use super::link::{Chances, Line};
use super::queue::Queue;
use super::ramdisk::RamDisk;
use super::transcript::Transcript;
use crate::base::{Addr, Cx, Entropy, Machine, Seeded, SocketId, Span, Time};
use crate::node::{Config, Event, Input, Net, Node, Output};

/// A host of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(pub usize);

/// Why `step` returned.
#[derive(Debug)]
pub enum Step {
    Event(HostId, Event),
    /// The time that was given is reached.
    TimedOut,
}

const EPHEMERAL_PORTS: u16 = 40_000;

/// A computer: its disk outlives its process.
struct Computer {
    ip: [u8; 4],
    node: Option<Node>,
    disk: RamDisk,
    entropy: Seeded,
    sockets: BTreeMap<SocketId, u16>,
    ports: BTreeMap<u16, SocketId>,
    next_port: u16,
    wake: Option<Time>,
    starts: u64,
}

enum Happening {
    Arrive { from: Addr, to: Addr, bytes: Vec<u8> },
    Wake { host: HostId },
}

/// Hosts, lines between them, and the order in which things happen.
pub struct World {
    seed: Seeded,
    now: Time,
    computers: Vec<Computer>,
    by_ip: BTreeMap<[u8; 4], HostId>,
    queue: Queue<Happening>,
    /// The line of every pair of hosts that has none of its own.
    pub line: Line,
    lines: BTreeMap<(HostId, HostId), Line>,
    chances: BTreeMap<(HostId, HostId), Chances>,
    pending: VecDeque<(HostId, Event)>,
    pub transcript: Transcript,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Where copies of the datagrams that are sent go, if anywhere: source, target, bytes.
    pub tap: Option<Vec<(Addr, Addr, Vec<u8>)>>,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            seed: Seeded::new(seed),
            now: Time::ZERO,
            computers: Vec::new(),
            by_ip: BTreeMap::new(),
            queue: Queue::default(),
            line: Line::default(),
            lines: BTreeMap::new(),
            chances: BTreeMap::new(),
            pending: VecDeque::new(),
            transcript: Transcript::default(),
            sent: 0,
            tap: None,
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// A number that two runs share only if every datagram and every line was the same.
    pub fn trace_hash(&self) -> u64 {
        self.transcript.hash()
    }

    /// The last lines of the transcript.
    pub fn last_lines(&self) -> String {
        self.transcript.last().fold(String::new(), |mut all, record| {
            let _ = writeln!(all, "{record}");
            all
        })
    }

    /// Adds a host with a public address, without a process.
    pub fn add(&mut self, ip: [u8; 4]) -> HostId {
        let id = HostId(self.computers.len());
        let name = format!("node {}", id.0);
        self.computers.push(Computer {
            ip,
            node: None,
            disk: RamDisk::new(),
            entropy: self.seed.fork(&name),
            sockets: BTreeMap::new(),
            ports: BTreeMap::new(),
            next_port: EPHEMERAL_PORTS,
            wake: None,
            starts: 0,
        });
        self.by_ip.insert(ip, id);
        id
    }

    /// Starts a process on a host; the one that ran there is gone as if killed, without harm to the disk.
    pub fn start(&mut self, host: HostId, config: Config) {
        let label = format!("start {}", self.computers[host.0].starts);
        let computer = &mut self.computers[host.0];
        computer.starts += 1;
        if computer.node.take().is_some() {
            computer.disk.release();
        }
        computer.entropy = computer.entropy.fork(&label);
        computer.sockets.clear();
        computer.ports.clear();
        let ip = computer.ip;
        let mut cx = Cx {
            now: self.now,
            entropy: &mut computer.entropy,
            disk: &mut computer.disk,
            trace: &mut self.transcript,
        };
        let mut node = Node::new(&mut cx, config);
        node.handle_input(&mut cx, Input::Interfaces(&[ip]));
        computer.node = Some(node);
        self.pending.retain(|(owner, _)| *owner != host);
        self.carry_out(host);
    }

    /// The power goes off: the process is gone, and each sector that was not synced is kept, lost or garbled.
    pub fn crash(&mut self, host: HostId) {
        let computer = &mut self.computers[host.0];
        computer.node = None;
        computer.sockets.clear();
        computer.ports.clear();
        computer.wake = None;
        let seed = self.seed.fork(&format!("disk {} {}", host.0, computer.starts)).u64();
        computer.disk.crash(seed);
        self.pending.retain(|(owner, _)| *owner != host);
        self.transcript.tell(self.now, "world", format_args!("host {} crashes", host.0));
    }

    /// Gives the line from one host to another (that way only) its own character.
    pub fn set_line(&mut self, from: HostId, to: HostId, line: Line) {
        self.lines.insert((from, to), line);
    }

    pub fn disk(&mut self, host: HostId) -> &mut RamDisk {
        &mut self.computers[host.0].disk
    }

    /// What the program of a host can do. Panics if no process runs there: the test's own mistake.
    pub fn net(&mut self, host: HostId) -> Net<'_> {
        self.queue_wake(host, self.now);
        let computer = &mut self.computers[host.0];
        let cx = Cx {
            now: self.now,
            entropy: &mut computer.entropy,
            disk: &mut computer.disk,
            trace: &mut self.transcript,
        };
        Net::new(computer.node.as_mut().expect("a process runs on this host"), cx)
    }

    /// Runs until the next event of any host, at most until `until`.
    pub fn step(&mut self, until: Time) -> Step {
        loop {
            if let Some((host, event)) = self.pending.pop_front() {
                return Step::Event(host, event);
            }
            let Some((at, happening)) = self.queue.pop(until) else {
                self.now = self.now.max(until);
                return Step::TimedOut;
            };
            self.now = self.now.max(at);
            match happening {
                Happening::Arrive { from, to, bytes } => self.arrive(from, to, &bytes),
                Happening::Wake { host } => self.wake(host, at),
            }
        }
    }

    /// Hands a datagram to whoever is at `to`, as if it came from `from`.
    pub fn inject(&mut self, from: Addr, to: Addr, bytes: &[u8]) {
        self.arrive(from, to, bytes);
    }

    /// Runs for `span`, dropping all events.
    pub fn run(&mut self, span: Span) {
        let until = self.now + span;
        while let Step::Event(..) = self.step(until) {}
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        self.queue.push(at, happening);
    }

    fn queue_wake(&mut self, host: HostId, at: Time) {
        let computer = &mut self.computers[host.0];
        if computer.wake.is_none_or(|planned| at < planned) {
            computer.wake = Some(at);
            self.schedule(at, Happening::Wake { host });
        }
    }

    fn wake(&mut self, host: HostId, at: Time) {
        let computer = &mut self.computers[host.0];
        if computer.wake != Some(at) {
            return;
        }
        computer.wake = None;
        let Some(node) = &mut computer.node else { return };
        let mut cx = Cx {
            now: self.now,
            entropy: &mut computer.entropy,
            disk: &mut computer.disk,
            trace: &mut self.transcript,
        };
        if node.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
            node.handle_timeout(&mut cx);
        }
        self.carry_out(host);
    }

    fn arrive(&mut self, from: Addr, to: Addr, bytes: &[u8]) {
        let Some(&host) = self.by_ip.get(&to.ip) else { return };
        let computer = &mut self.computers[host.0];
        let (Some(node), Some(&socket)) = (&mut computer.node, computer.ports.get(&to.port)) else { return };
        let mut cx = Cx {
            now: self.now,
            entropy: &mut computer.entropy,
            disk: &mut computer.disk,
            trace: &mut self.transcript,
        };
        node.handle_input(&mut cx, Input::Datagram { socket, from, bytes });
        self.carry_out(host);
    }

    fn carry_out(&mut self, host: HostId) {
        loop {
            let computer = &mut self.computers[host.0];
            let Some(node) = &mut computer.node else { return };
            let mut cx = Cx {
                now: self.now,
                entropy: &mut computer.entropy,
                disk: &mut computer.disk,
                trace: &mut self.transcript,
            };
            let Some(output) = node.poll_output(&mut cx) else { break };
            match output {
                Output::Bind { socket, port, .. } => match computer.bind(socket, port) {
                    Some(port) => {
                        let local = Addr::new([0, 0, 0, 0], port);
                        node_input(computer, self.now, &mut self.transcript, Input::Bound { socket, local });
                    }
                    None => {
                        node_input(computer, self.now, &mut self.transcript, Input::BindFailed { socket });
                    }
                },
                Output::Close { socket } => {
                    if let Some(port) = computer.sockets.remove(&socket) {
                        computer.ports.remove(&port);
                    }
                }
                Output::Send { socket, to, bytes, .. } => self.send(host, socket, to, bytes),
            }
        }
        let computer = &mut self.computers[host.0];
        let Some(node) = &mut computer.node else { return };
        while let Some(event) = node.poll_event() {
            self.pending.push_back((host, event));
        }
        if let Some(deadline) = node.poll_timeout() {
            self.queue_wake(host, deadline.at.max(self.now));
        }
    }

    fn send(&mut self, host: HostId, socket: SocketId, to: Addr, mut bytes: Vec<u8>) {
        let computer = &self.computers[host.0];
        let Some(&port) = computer.sockets.get(&socket) else { return };
        let from = Addr::new(computer.ip, port);
        let to = if to.ip[0] == 127 { Addr::new(computer.ip, to.port) } else { to };
        self.sent += 1;
        self.transcript.sent(self.now, from, to, &bytes);
        if let Some(tap) = &mut self.tap {
            tap.push((from, to, bytes.clone()));
        }
        let Some(&target) = self.by_ip.get(&to.ip) else { return };
        let line = self.lines.get(&(host, target)).copied().unwrap_or(self.line);
        let seed = &self.seed;
        let chances = self
            .chances
            .entry((host, target))
            .or_insert_with(|| Chances::new(seed, &format!("link {} {}", host.0, target.0)));
        let fate = chances.draw(&line, bytes.len());
        // the first arrival alone is harmed; a copy is what was sent
        if let Some(bit) = fate.flip
            && let Some(byte) = bytes.get_mut(bit as usize / 8)
        {
            *byte ^= 1 << (bit % 8);
        }
        let Some((&last, others)) = fate.arrivals.split_last() else { return };
        for &after in others {
            self.schedule(self.now + after, Happening::Arrive { from, to, bytes: bytes.clone() });
        }
        self.schedule(self.now + last, Happening::Arrive { from, to, bytes });
    }
}

fn node_input(computer: &mut Computer, now: Time, trace: &mut Transcript, input: Input<'_>) {
    if let Some(node) = &mut computer.node {
        let mut cx = Cx { now, entropy: &mut computer.entropy, disk: &mut computer.disk, trace };
        node.handle_input(&mut cx, input);
    }
}

impl Computer {
    fn bind(&mut self, socket: SocketId, port: u16) -> Option<u16> {
        let port = if port == 0 {
            let port = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(EPHEMERAL_PORTS);
            port
        } else {
            port
        };
        if self.ports.contains_key(&port) {
            return None;
        }
        self.ports.insert(port, socket);
        self.sockets.insert(socket, port);
        Some(port)
    }
}
