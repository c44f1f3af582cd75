//! Two machines and the links between them, in virtual time.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{
    Addr, Bytes, Cx, Disk, DiskError, Entropy, FileId, Machine, Mode, NoTrace, Seeded, SocketId, Span, Time,
};
use crate::sim::check::Verdict;
use crate::sim::check::udx::Prefix;
use crate::udx::{Event, Input, Output, StreamId, Udx, Why};

/// udx keeps nothing on disk.
pub struct NoDisk;

impl Disk for NoDisk {
    fn open(&mut self, _: &str, _: Mode) -> Result<FileId, DiskError> {
        Err(DiskError::Denied)
    }
    fn close(&mut self, _: FileId) {}
    fn len(&mut self, _: FileId) -> Result<u64, DiskError> {
        Err(DiskError::Denied)
    }
    fn read_at(&mut self, _: FileId, _: u64, _: &mut [u8]) -> Result<usize, DiskError> {
        Err(DiskError::Denied)
    }
    fn write_at(&mut self, _: FileId, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn truncate(&mut self, _: FileId, _: u64) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn sync(&mut self, _: FileId) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn sync_later(&mut self, _: FileId) {}
    fn sync_pending(&mut self) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn remove(&mut self, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
    fn exists(&mut self, _: &str) -> bool {
        false
    }
    fn list(&mut self, _: &str) -> Result<Vec<String>, DiskError> {
        Err(DiskError::Denied)
    }
    fn lock(&mut self, _: &str) -> Result<(), DiskError> {
        Err(DiskError::Denied)
    }
}

/// Calls `act` with what a machine may take from the world at `now`.
pub fn at<T>(now: Time, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let mut entropy = Seeded::new(1);
    act(&mut Cx { now, entropy: &mut entropy, disk: &mut NoDisk, trace: &mut NoTrace })
}

pub const SERVER: SocketId = SocketId::SERVER;
pub const CLIENT: SocketId = SocketId::CLIENT;
/// Local ids of the two streams of `World::connected`.
pub const IDS: [u32; 2] = [1001, 2002];

/// What one direction does to packets.
#[derive(Clone, Debug)]
pub struct Link {
    pub delay: Span,
    /// Added to the delay, evenly drawn up to this.
    pub jitter: Span,
    /// Bytes per second; 0 is no limit.
    pub rate: u64,
    /// Bytes that wait for their turn; more are dropped.
    pub queue: usize,
    pub loss_permille: u64,
    pub copy_permille: u64,
    /// IP packets above this are dropped.
    pub mtu: usize,
    pub cut: bool,
    free_at: Time,
}

impl Link {
    pub fn new(delay: Span) -> Link {
        Link {
            delay,
            jitter: Span::ZERO,
            rate: 0,
            queue: 1 << 30,
            loss_permille: 0,
            copy_permille: 0,
            mtu: 1500,
            cut: false,
            free_at: Time::ZERO,
        }
    }
}

/// A packet on its way to machine `side`.
#[derive(Clone, Debug)]
pub struct Packet {
    pub side: usize,
    pub socket: SocketId,
    pub from: Addr,
    pub bytes: Vec<u8>,
}

/// Looks at a packet that leaves; false drops it.
pub type Filter = Box<dyn FnMut(Time, &Packet) -> bool>;

/// What machine saw, put together.
#[derive(Default, Debug)]
pub struct Seen {
    pub data: Vec<u8>,
    pub messages: Vec<Vec<u8>>,
    pub connected: Vec<(SocketId, Addr)>,
    pub called: Vec<(SocketId, Addr)>,
    pub ended: bool,
    pub drained: usize,
    pub flushed: usize,
    pub closed: Option<Why>,
}

pub struct World {
    pub now: Time,
    pub udx: [Udx; 2],
    /// `links[n]` carries what machine `n` sends.
    pub links: [Link; 2],
    /// Bytes still to be written by machine `n`, then its end; written as the machine drains.
    pub script: [VecDeque<u8>; 2],
    pub end_after: [bool; 2],
    pub streams: [StreamId; 2],
    pub seen: [Seen; 2],
    /// Sees every packet as it leaves; false drops it.
    pub filter: Filter,
    /// Changes packets as they leave.
    pub rewrite: Box<dyn FnMut(&mut Packet)>,
    pub packets: usize,
    /// The checker of worlds of whole nodes, here for two bare machines; and what it says.
    prefix: Prefix<usize>,
    pub verdict: Verdict,
    way: BTreeMap<(Time, u64), Packet>,
    count: u64,
    entropy: Seeded,
}

/// The address of a socket of machine `side`.
pub fn address(side: usize, socket: SocketId) -> Addr {
    Addr::new([10, 0, 0, 1 + side as u8], 1000 + socket.0 as u16)
}

impl World {
    /// Two machines with one stream each, connected to each other.
    pub fn connected(seed: u64, link: Link) -> World {
        World::connected_at(seed, link, 0)
    }

    /// As `connected`, but machine 1 learns from the first packet where machine 0 is.
    pub fn expecting(seed: u64, link: Link) -> World {
        World::new(seed, link, 0, true)
    }

    /// As `connected`, with sequence numbers from `seq` on.
    pub fn connected_at(seed: u64, link: Link, seq: u32) -> World {
        World::new(seed, link, seq, false)
    }

    fn new(seed: u64, link: Link, seq: u32, expects: bool) -> World {
        let mut udx = [Udx::new(), Udx::new()];
        let streams = at(Time::ZERO, |cx| {
            let a = udx[0].open_at(cx, IDS[0], seq, seq).expect("free");
            let b = udx[1].open_at(cx, IDS[1], seq, seq).expect("free");
            udx[0].connect(cx, a, SERVER, IDS[1], address(1, SERVER)).expect("new");
            if expects {
                udx[1].expect(cx, b, IDS[0]).expect("new");
            } else {
                udx[1].connect(cx, b, SERVER, IDS[0], address(0, SERVER)).expect("new");
            }
            // In every other of many worlds bytes are read where they arrive.
            for (udx, stream) in udx.iter_mut().zip([a, b]).filter(|_| seed >= 20 && seed % 2 == 1) {
                udx.set_passing(stream).expect("open");
            }
            [a, b]
        });
        World {
            now: Time::ZERO,
            udx,
            links: [link.clone(), link],
            script: [VecDeque::new(), VecDeque::new()],
            end_after: [false, false],
            streams,
            seen: [Seen::default(), Seen::default()],
            filter: Box::new(|_, _| true),
            rewrite: Box::new(|_| {}),
            packets: 0,
            prefix: Prefix::default(),
            verdict: Ok(()),
            way: BTreeMap::new(),
            count: 0,
            entropy: Seeded::new(seed).fork("link"),
        }
    }

    pub fn command<T>(&mut self, side: usize, act: impl FnOnce(&mut Udx, &mut Cx<'_>, StreamId) -> T) -> T {
        let stream = self.streams[side];
        at(self.now, |cx| act(&mut self.udx[side], cx, stream))
    }

    pub fn write(&mut self, side: usize, bytes: &[u8]) {
        self.command(side, |udx, cx, stream| udx.write(cx, stream, bytes)).expect("open");
        self.prefix.wrote(side, bytes);
    }

    /// Bytes that are written piece by piece, as fast as the machine takes them.
    pub fn feed(&mut self, side: usize, bytes: &[u8], end: bool) {
        self.script[side].extend(bytes);
        self.end_after[side] = end;
        self.write_on(side);
    }

    fn write_on(&mut self, side: usize) {
        while !self.script[side].is_empty() {
            let len = 1 + self.entropy.below(50_000) as usize;
            let piece: Vec<u8> = self.script[side].drain(..len.min(self.script[side].len())).collect();
            let written = self.command(side, |udx, cx, stream| match len % 2 {
                0 => udx.write(cx, stream, &piece),
                _ => udx.write_owned(cx, stream, Bytes::behind([&[7; 3], &piece[..]].concat(), 3)),
            });
            if written.is_ok() {
                self.prefix.wrote(side, &piece);
            }
            match written {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return self.script[side].clear(),
            }
        }
        if core::mem::take(&mut self.end_after[side]) {
            let _ = self.command(side, |udx, cx, stream| udx.end(cx, stream));
        }
    }

    /// Drains both machines: packets onto the links, events into `seen`.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in 0..2 {
                while let Some(output) = at(self.now, |cx| self.udx[side].poll_output(cx)) {
                    moved = true;
                    self.carry(side, output);
                }
                while let Some(event) = self.udx[side].poll_event() {
                    moved = true;
                    self.note(side, event);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn note(&mut self, side: usize, event: Event) {
        let seen = &mut self.seen[side];
        match event {
            Event::Connected { socket, from, .. } => seen.connected.push((socket, from)),
            Event::Called { socket, from, .. } => seen.called.push((socket, from)),
            Event::Data { bytes, .. } => {
                assert!(!seen.ended && seen.closed.is_none(), "no data after the end");
                let read = self.prefix.read(1 - side, &bytes);
                seen.data.extend(bytes);
                self.verdict = std::mem::replace(&mut self.verdict, Ok(())).and(read);
            }
            Event::Message { bytes, .. } => seen.messages.push(bytes),
            Event::Ended { .. } => {
                assert!(!seen.ended, "ended once");
                seen.ended = true;
            }
            Event::Drained { .. } => {
                seen.drained += 1;
                self.write_on(side);
            }
            Event::Flushed { .. } => seen.flushed += 1,
            Event::Closed { why, .. } => {
                assert_eq!(seen.closed, None, "closed once");
                seen.closed = Some(why);
            }
        }
    }

    fn carry(&mut self, side: usize, Output::Send { socket, to, bytes, .. }: Output) {
        self.packets += 1;
        let other = usize::from(to.ip[3]) - 1;
        let mut packet = Packet {
            side: other,
            socket: SocketId(u32::from(to.port) - 1000),
            from: address(side, socket),
            bytes,
        };
        (self.rewrite)(&mut packet);
        if !(self.filter)(self.now, &packet) {
            return;
        }
        self.launch(side, packet);
    }

    /// Puts a packet on the link of machine `side`.
    pub fn launch(&mut self, side: usize, packet: Packet) {
        let link = &mut self.links[side];
        let size = packet.bytes.len() + 28;
        if link.cut || size > link.mtu || self.entropy.chance(link.loss_permille) {
            return;
        }
        let mut leaves = self.now;
        if let Some(per_byte) = 1_000_000_000_u64.checked_div(link.rate) {
            let waiting = link.free_at.since(self.now).as_micros() * 1000 / per_byte.max(1);
            if waiting as usize + size > link.queue {
                return;
            }
            leaves = leaves.max(link.free_at) + Span::from_micros((size as u64 * per_byte).div_ceil(1000));
            link.free_at = leaves;
        }
        let copies = 1 + usize::from(self.entropy.chance(link.copy_permille));
        for _ in 0..copies {
            let jitter = self.entropy.below(link.jitter.as_micros() + 1);
            let arrives = leaves + link.delay + Span::from_micros(jitter);
            self.way.insert((arrives, self.count), packet.clone());
            self.count += 1;
        }
    }

    /// Moves to the next thing that happens, if it is not after `until`. False: nothing happens until then.
    pub fn step(&mut self, until: Time) -> bool {
        self.settle();
        let arrival = self.way.first_key_value().map(|((at, _), _)| *at);
        let deadlines = self.udx.iter().filter_map(|udx| udx.poll_timeout().map(|deadline| deadline.at));
        let Some(next) = deadlines.chain(arrival).min().filter(|next| *next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        let mut any = false;
        while let Some(entry) = self.way.first_entry()
            && entry.key().0 <= self.now
        {
            let packet = entry.remove();
            self.deliver(&packet);
            any = true;
        }
        for udx in &mut self.udx {
            if udx.poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
                at(self.now, |cx| udx.handle_timeout(cx));
                any = true;
            }
        }
        assert!(any, "something was due");
        self.settle();
        for udx in &self.udx {
            // law L4
            assert!(udx.poll_timeout().is_none_or(|deadline| deadline.at > self.now), "a deadline stays due");
        }
        true
    }

    /// Hands a packet to its machine now.
    pub fn deliver(&mut self, packet: &Packet) {
        let Packet { side, socket, from, bytes } = packet;
        let input = Input::Datagram { socket: *socket, from: *from, bytes };
        if let Some((stream, bytes)) = at(self.now, |cx| self.udx[*side].take_in(cx, input)) {
            self.note(*side, Event::Data { stream, bytes: bytes.to_vec() });
        }
    }

    pub fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        while self.step(until) {}
    }

    /// Runs until nothing is left to do, at most for `span`; returns whether it came to rest.
    pub fn run_to_rest(&mut self, span: Span) -> bool {
        let until = self.now + span;
        while self.step(until) {}
        self.way.is_empty() && self.udx.iter().all(|udx| udx.poll_timeout().is_none())
    }

    /// Runs until both streams closed, at most for `span`.
    pub fn run_to_close(&mut self, span: Span) {
        let until = self.now + span;
        while self.seen.iter().any(|seen| seen.closed.is_none()) && self.step(until) {}
    }
}

/// Bytes that show where they belong.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Seeded::new(seed).fill(&mut bytes);
    bytes
}
