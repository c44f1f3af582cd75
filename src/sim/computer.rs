//! A computer of a world: its process, its sockets, its clock and its disk, which outlives the process.

use std::collections::{BTreeMap, VecDeque};

use super::clock::{Clock, Running};
use super::ramdisk::RamDisk;
use crate::base::{Addr, Cx, Seeded, SocketId, Time, Trace};
use crate::node::{Event, Node};

const EPHEMERAL_PORTS: u16 = 40_000;
/// What the sockets of a process that does not run hold: Linux's usual buffer, and what a datagram costs there.
const BUFFER_BYTES: usize = 212_992;
const DATAGRAM_COST: usize = 768;

/// A process that is stopped, and what waits for it.
#[derive(Default)]
pub struct Frozen {
    pub datagrams: VecDeque<(SocketId, Addr, Vec<u8>)>,
    pub events: Vec<Event>,
    bytes: usize,
}

impl Frozen {
    /// Keeps a datagram until the process goes on, if the buffer has room.
    pub fn keep(&mut self, socket: SocketId, from: Addr, bytes: &[u8]) -> bool {
        let cost = bytes.len() + DATAGRAM_COST;
        let room = self.bytes + cost <= BUFFER_BYTES;
        if room {
            self.bytes += cost;
            self.datagrams.push_back((socket, from, bytes.to_vec()));
        }
        room
    }
}

/// Datagrams and their bytes, without the headers of UDP and IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    pub datagrams: u64,
    pub bytes: u64,
}

pub struct Computer {
    pub node: Option<Node>,
    pub disk: RamDisk,
    pub entropy: Seeded,
    pub sockets: BTreeMap<SocketId, u16>,
    pub ports: BTreeMap<u16, SocketId>,
    next_port: u16,
    /// When the world wakes it, in the world's time.
    pub wake: Option<Time>,
    pub starts: u64,
    pub clock: Clock,
    pub running: Running,
    pub frozen: Option<Box<Frozen>>,
    /// Inputs, time-outs and outputs until the power goes off.
    pub fuse: Option<u64>,
    /// What left it so far.
    pub traffic: Traffic,
}

impl Computer {
    pub fn new(entropy: Seeded) -> Computer {
        Computer {
            node: None,
            disk: RamDisk::new(),
            entropy,
            sockets: BTreeMap::new(),
            ports: BTreeMap::new(),
            next_port: EPHEMERAL_PORTS,
            wake: None,
            starts: 0,
            clock: Clock::default(),
            running: Running::default(),
            frozen: None,
            fuse: None,
            traffic: Traffic::default(),
        }
    }

    /// The process is gone, with all that it held. The disk is not told.
    pub fn end_process(&mut self) {
        self.node = None;
        self.sockets.clear();
        self.ports.clear();
        self.wake = None;
        self.frozen = None;
        self.fuse = None;
    }

    /// The world as a process here sees it at `now` of the world.
    pub fn cx<'a>(&'a mut self, now: Time, trace: &'a mut dyn Trace) -> Cx<'a> {
        Cx { now: self.running.local(now), entropy: &mut self.entropy, disk: &mut self.disk, trace }
    }

    /// The process, if one runs here, and the world as it sees it.
    pub fn process<'a>(&'a mut self, now: Time, trace: &'a mut dyn Trace) -> Option<(&'a mut Node, Cx<'a>)> {
        let cx = Cx { now: self.running.local(now), entropy: &mut self.entropy, disk: &mut self.disk, trace };
        Some((self.node.as_mut()?, cx))
    }

    pub fn bind(&mut self, socket: SocketId, port: u16) -> Option<u16> {
        let port = if port == 0 { self.free_port()? } else { port };
        if self.ports.contains_key(&port) {
            return None;
        }
        self.ports.insert(port, socket);
        self.sockets.insert(socket, port);
        Some(port)
    }

    pub fn close(&mut self, socket: SocketId) {
        if let Some(port) = self.sockets.remove(&socket) {
            self.ports.remove(&port);
        }
    }

    /// The next ephemeral port that nobody has.
    fn free_port(&mut self) -> Option<u16> {
        for _ in EPHEMERAL_PORTS..=u16::MAX {
            let port = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(EPHEMERAL_PORTS);
            if !self.ports.contains_key(&port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_frozen_process_is_bounded() {
        let mut frozen = Frozen::default();
        let from = Addr::new([30, 0, 0, 1], 1);
        let kept = (0..1000).filter(|_| frozen.keep(SocketId::SERVER, from, &[0; 1000])).count();
        assert_eq!(kept, 212_992 / 1768);
        assert_eq!(frozen.datagrams.len(), kept);
        assert!(frozen.keep(SocketId::SERVER, from, &[]), "a smaller one still fits");
    }

    #[test]
    fn ephemeral_ports_come_around_and_skip_those_in_use() {
        let mut computer = Computer::new(Seeded::new(1));
        let first = computer.bind(SocketId(0), 0);
        assert_eq!(first, Some(EPHEMERAL_PORTS));
        assert_eq!(computer.bind(SocketId(1), EPHEMERAL_PORTS), None, "taken");
        for n in 0..60_000 {
            assert!(computer.bind(SocketId(2), 0).is_some_and(|port| Some(port) != first), "{n}");
            computer.close(SocketId(2));
        }
        assert_eq!(computer.sockets.len(), 1);
    }
}
