//! A world of hosts in one process: one seed, one clock, and the same `Node` that runs on real machines.
//!
//! It is driven like `edge::Host`: `step` gives the next event of some host, `net` is what its program can do.

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::HostId;
use super::check::{Arrival, Places};
use super::clock::{Running, believed_epoch};
use super::computer::Computer;
use super::internet::{Arrived, Internet, Leaving, Parcel, Sent, TTL};
use super::link::{Fate, Line};
use super::queue::Queue;
use super::ramdisk::RamDisk;
use super::seam::Seam;
use super::transcript::Transcript;
use crate::base::trace;
use crate::base::{Addr, Entropy, Machine, Seeded, SocketId, Span, Time};
use crate::node::{Config, Event, Input, Net, Node, Output};

/// Why `step` returned.
#[derive(Debug)]
pub enum Step {
    Event(HostId, Event),
    /// The power went off at a host, as `crash_after` planned. Its program is gone with the process.
    Crashed(HostId),
    /// The time that was given is reached.
    TimedOut,
}

/// Microseconds in which an undrained node may get more.
const UNDRAINED_MAX: u64 = 5000;

enum Happening {
    Arrive(Parcel),
    Wake(HostId),
    /// A bit rots on a host's disk.
    Rot(HostId),
}

/// Hosts, lines between them, and the order in which things happen. What can be done to them: `faults.rs`.
pub struct World {
    pub(super) seed: Seeded,
    pub(super) now: Time,
    pub(super) computers: Vec<Computer>,
    pub(super) internet: Internet,
    queue: Queue<Happening>,
    /// The line of every pair of places that has none of its own.
    pub line: Line,
    pub(super) pending: VecDeque<(HostId, Event)>,
    crashed: VecDeque<HostId>,
    pub transcript: Transcript,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Time-outs that processes were handed.
    pub woken: u64,
    /// Where copies of the datagrams that are sent go, if anywhere: source, target, bytes.
    pub tap: Option<Vec<(Addr, Addr, Vec<u8>)>>,
    pub(super) seam: Seam,
    /// Of a thousand datagrams that come in, after how many the node is not drained before what else comes within
    /// some milliseconds (L2).
    pub undrained_permille: u64,
    order: Seeded,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            seed: Seeded::new(seed),
            now: Time::ZERO,
            computers: Vec::new(),
            internet: Internet::new(Seeded::new(seed)),
            queue: Queue::default(),
            line: Line::default(),
            pending: VecDeque::new(),
            crashed: VecDeque::new(),
            transcript: Transcript::default(),
            sent: 0,
            woken: 0,
            tap: None,
            seam: Seam::default(),
            undrained_permille: 0,
            order: Seeded::new(seed).fork("order"),
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
        let host = self.internet.add_host(ip, None);
        self.add_computer(host)
    }

    pub(super) fn add_computer(&mut self, host: HostId) -> HostId {
        let entropy = self.seed.fork(&format!("node {}", host.0));
        self.computers.push(Computer::new(entropy));
        host
    }

    /// Starts a process on a host; the one that ran there is gone as if killed, without harm to the disk.
    pub fn start(&mut self, host: HostId, mut config: Config) {
        let ip = self.internet.ip(host);
        let computer = &mut self.computers[host.0];
        if computer.node.is_some() {
            computer.disk.release();
        }
        computer.end_process();
        self.pending.retain(|(owner, _)| *owner != host);
        computer.entropy = computer.entropy.fork(&format!("start {}", computer.starts));
        computer.starts += 1;
        computer.running = Running::start(computer.clock, self.now);
        config.epoch_millis = config.epoch_millis.map(|epoch| believed_epoch(computer.clock, epoch));
        let mut cx = computer.cx(self.now, self.transcript.of(host, self.now));
        let mut node = Node::new(&mut cx, config);
        node.handle_input(&mut cx, Input::Interfaces(&[ip]));
        computer.node = Some(node);
        self.seam.cause(host, |cause| cause.started = true);
        self.carry_out(host);
    }

    /// Tells the transcript something about the world itself.
    pub(super) fn say(&mut self, what: core::fmt::Arguments<'_>) {
        self.transcript.tell(self.now, "world", what);
    }

    pub fn disk(&mut self, host: HostId) -> &mut RamDisk {
        &mut self.computers[host.0].disk
    }

    /// What the program of a host can do. Panics if no process runs there: the test's own mistake.
    pub fn net(&mut self, host: HostId) -> Net<'_> {
        self.queue_wake(host, self.now);
        let (node, cx) = self.computers[host.0]
            .process(self.now, self.transcript.of(host, self.now))
            .expect("a process runs on this host");
        Net::new(node, cx)
    }

    /// Runs until the next event of any host, at most until `until`.
    pub fn step(&mut self, until: Time) -> Step {
        loop {
            if let Some(host) = self.crashed.pop_front() {
                return Step::Crashed(host);
            }
            if let Some((host, event)) = self.pending.pop_front() {
                return Step::Event(host, event);
            }
            let next = if self.seam.broken() { None } else { self.queue.pop(until) };
            let Some((at, happening)) = next else {
                self.now = self.now.max(until);
                return Step::TimedOut;
            };
            self.now = self.now.max(at);
            self.guarded(|world| match happening {
                Happening::Arrive(parcel) => world.arrive(parcel),
                Happening::Wake(host) => world.wake(host, at),
                Happening::Rot(host) => world.rot_now(host),
            });
        }
    }

    /// Hands a datagram to whoever is at `to`, as if it came from `from` and had crossed the internet.
    pub fn inject(&mut self, from: Addr, to: Addr, bytes: &[u8]) {
        if let Some(ahead) = self.internet.locate(to.ip) {
            self.arrive(Parcel { from, to, ahead, copy: false, flipped: Some(0), bytes: bytes.to_vec() });
        }
    }

    /// Runs for `span`, dropping all events.
    pub fn run(&mut self, span: Span) {
        let until = self.now + span;
        while !matches!(self.step(until), Step::TimedOut) {}
    }

    /// Plans a fault of the disk.
    pub(super) fn schedule_rot(&mut self, at: Time, host: HostId) {
        self.queue.push(at, Happening::Rot(host));
    }

    /// Wakes a host at `at` of the world, if it is not woken earlier anyway.
    pub(super) fn queue_wake(&mut self, host: HostId, at: Time) {
        let computer = &mut self.computers[host.0];
        if computer.wake.is_none_or(|planned| at < planned) {
            computer.wake = Some(at);
            self.queue.push(at, Happening::Wake(host));
        }
    }

    fn wake(&mut self, host: HostId, at: Time) {
        let computer = &mut self.computers[host.0];
        if computer.wake != Some(at) {
            return;
        }
        computer.wake = None;
        if computer.frozen.is_none() && !self.time_out(host) {
            self.carry_out(host);
        }
    }

    /// Hands the process its time-out if one is due. True: that was its last moment.
    pub(super) fn time_out(&mut self, host: HostId) -> bool {
        let computer = &mut self.computers[host.0];
        let Some((node, mut cx)) = computer.process(self.now, self.transcript.of(host, self.now)) else {
            return true;
        };
        if node.poll_timeout().is_none_or(|deadline| deadline.at > cx.now) {
            return false;
        }
        self.woken += 1;
        if self.seam.wakes(self.now, host) {
            node.handle_timeout(&mut cx);
        }
        self.burn_fuse(host)
    }

    /// Tells the process something. True: that was its last moment.
    pub(super) fn input(&mut self, host: HostId, input: Input<'_>) -> bool {
        let computer = &mut self.computers[host.0];
        let Some((node, mut cx)) = computer.process(self.now, self.transcript.of(host, self.now)) else {
            return true;
        };
        node.handle_input(&mut cx, input);
        self.burn_fuse(host)
    }

    /// One more thing has happened to the process. True: that was its last moment.
    fn burn_fuse(&mut self, host: HostId) -> bool {
        let Some(left) = &mut self.computers[host.0].fuse else { return false };
        *left = left.saturating_sub(1);
        let out = *left == 0;
        if out {
            self.crash(host);
            self.crashed.push_back(host);
        }
        out
    }

    fn arrive(&mut self, mut parcel: Parcel) {
        match self.internet.arrive(self.now, &mut parcel) {
            Arrived::Lost => {
                self.transcript.on_its_way(
                    self.now,
                    trace::Kind::Drop,
                    parcel.from,
                    parcel.to,
                    "is let in nowhere",
                );
            }
            Arrived::On(fate) => self.go_on(parcel, &fate),
            Arrived::At(host) => self.deliver(host, &parcel),
        }
    }

    fn deliver(&mut self, host: HostId, parcel: &Parcel) {
        let computer = &mut self.computers[host.0];
        let Some(&socket) = computer.ports.get(&parcel.to.port) else {
            return self.transcript.on_its_way(
                self.now,
                trace::Kind::Drop,
                parcel.from,
                parcel.to,
                "finds no socket",
            );
        };
        if let Some(frozen) = &mut computer.frozen {
            frozen.keep(socket, parcel.from, &parcel.bytes);
        } else if !self.datagram(host, socket, parcel.from, &parcel.bytes, parcel.flipped) {
            if self.undrained_permille > 0 && self.order.chance(self.undrained_permille) {
                let later = Span::from_micros(self.order.below(UNDRAINED_MAX));
                self.queue_wake(host, self.now + later);
            } else {
                self.carry_out(host);
            }
        }
    }

    /// Hands the process a datagram. True: that was its last moment.
    pub(super) fn datagram(
        &mut self,
        host: HostId,
        socket: SocketId,
        from: Addr,
        bytes: &[u8],
        flipped: Option<u64>,
    ) -> bool {
        let bytes =
            self.seam.arrival(self.now, host, Arrival { socket, from, flipped, bytes: Vec::new() }, bytes);
        bytes.is_some_and(|bytes| self.input(host, Input::Datagram { socket, from, bytes: &bytes }))
    }

    /// Carries out what the process asks for, and takes its events.
    pub(super) fn carry_out(&mut self, host: HostId) {
        loop {
            let computer = &mut self.computers[host.0];
            let Some((node, mut cx)) = computer.process(self.now, self.transcript.of(host, self.now)) else {
                return;
            };
            let output = node.poll_output(&mut cx);
            if output.is_some() && self.burn_fuse(host) {
                return;
            }
            let Some(output) = self.seam.output(self.now, host, output) else { break };
            match output {
                Output::Bind { socket, port, .. } => {
                    let input = match self.computers[host.0].bind(socket, port) {
                        Some(port) => Input::Bound { socket, local: Addr::new([0, 0, 0, 0], port) },
                        None => Input::BindFailed { socket },
                    };
                    if self.input(host, input) {
                        return;
                    }
                }
                Output::Close { socket } => self.computers[host.0].close(socket),
                Output::Send { socket, to, bytes, ttl } => self.send(host, socket, to, bytes, ttl),
            }
        }
        let computer = &mut self.computers[host.0];
        let Some(node) = &mut computer.node else { return };
        let told = std::iter::from_fn(|| node.poll_event()).collect();
        let told = self.seam.events(
            self.now,
            host,
            Places { computers: &mut self.computers, internet: &self.internet },
            told,
        );
        self.pending.extend(told.into_iter().map(|event| (host, event)));
        let computer = &mut self.computers[host.0];
        let deadline = computer.node.as_ref().and_then(Machine::poll_timeout);
        if let Some(deadline) = self.seam.deadline(self.now, host, deadline) {
            let at = computer.running.world(deadline.at).max(self.now);
            self.queue_wake(host, at);
        }
    }

    fn send(&mut self, host: HostId, socket: SocketId, to: Addr, bytes: Vec<u8>, ttl: Option<u8>) {
        let Some(&port) = self.computers[host.0].sockets.get(&socket) else { return };
        let ip = self.internet.ip(host);
        let from = Addr::new(ip, port);
        let to = if to.ip[0] == 127 { Addr::new(ip, to.port) } else { to };
        self.sent += 1;
        let traffic = &mut self.computers[host.0].traffic;
        traffic.datagrams += 1;
        traffic.bytes += bytes.len() as u64;
        self.transcript.sent(self.now, from, to, &bytes);
        if let Some(tap) = &mut self.tap {
            tap.push((from, to, bytes.clone()));
        }
        let leaving = Leaving { from, to, ttl: ttl.unwrap_or(TTL), len: bytes.len() };
        match self.internet.send(self.now, host, leaving, &self.line) {
            Some(Sent { from, to, ahead, fate }) => {
                self.go_on(Parcel { from, to, ahead, copy: false, flipped: None, bytes }, &fate);
            }
            None => self.transcript.on_its_way(
                self.now,
                trace::Kind::Drop,
                from,
                to,
                "does not leave its network",
            ),
        }
    }

    /// Plans when each arrival of a datagram comes to what lies ahead of it.
    fn go_on(&mut self, parcel: Parcel, fate: &Fate) {
        let mut arrivals = fate.arrivals().peekable();
        if arrivals.peek().is_none() {
            self.transcript.on_its_way(self.now, trace::Kind::Drop, parcel.from, parcel.to, "is lost");
        }
        let mut left = Some(parcel);
        while let Some(arrival) = arrivals.next() {
            let parcel = if arrivals.peek().is_some() { left.clone() } else { left.take() };
            let Some(mut parcel) = parcel else { return };
            parcel.copy = arrival.copy;
            if let Some(bit) = arrival.flip
                && let Some(byte) = parcel.bytes.get_mut(bit as usize / 8)
            {
                *byte ^= 1 << (bit % 8);
                parcel.flipped = Some(u64::from(bit));
                self.transcript.on_its_way(
                    self.now,
                    trace::Kind::State,
                    parcel.from,
                    parcel.to,
                    "has a bit flipped",
                );
            }
            self.queue.push(arrival.at, Happening::Arrive(parcel));
        }
    }
}
