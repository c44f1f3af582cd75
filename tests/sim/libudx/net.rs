//! Machines of udx, the sockets of each and the line between them, in virtual time: what the stories run on. A host
//! without a machine is played by the story: what is sent to it is noted, and it says what it is told to say.

use std::collections::BTreeMap;

pub use seckel::base::SocketId;
use seckel::base::{Addr, Cx, Entropy, Error, Machine, NoTrace, Seeded, Span, Time};
use seckel::sim::ramdisk::RamDisk;
use seckel::udx::{Event, Input, Output, Stats, StreamId, Udx, Why};
use seckel::wire;
use seckel::wire::udx::{HEADER_LEN, Header, Kind};

pub const S0: SocketId = SocketId(0);
pub const S1: SocketId = SocketId(1);
/// The window that a side tells that has read everything.
pub const OPEN: u32 = 4 << 20;
/// Payload of a full packet on a path that was not probed.
pub const FULL: usize = 1200 - 28 - HEADER_LEN;

pub fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

pub fn secs(n: u64) -> Span {
    Span::from_secs(n)
}

/// The address of a socket of a host.
pub fn addr(host: usize, socket: SocketId) -> Addr {
    Addr::new([10, 0, 0, 1 + host as u8], 1000 + socket.0 as u16)
}

/// Bytes that show where they belong.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Seeded::new(seed).fill(&mut bytes);
    bytes
}

/// A stream of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct At {
    pub host: usize,
    pub id: StreamId,
}

/// A datagram that left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Time,
    pub from: Addr,
    pub to: Addr,
    pub bytes: Vec<u8>,
    /// How many routers it may pass, if that is not as usual.
    pub hops: Option<u8>,
}

impl Sent {
    pub fn header(&self) -> Header {
        wire::decode(&self.bytes).expect("a header")
    }

    pub fn kind(&self) -> Kind {
        self.header().kind
    }

    /// What is behind the header and what the data offset skips.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN + usize::from(self.header().data_offset)..]
    }
}

/// What a host without a machine says.
pub fn packet(kind: Kind, remote_id: u32, window: u32, seq: u32, ack: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = wire::encode(&Header { kind, data_offset: 0, remote_id, window, seq, ack });
    bytes.extend_from_slice(body);
    bytes
}

/// An ack with blocks.
pub fn sack(remote_id: u32, ack: u32, blocks: &[(u32, u32)]) -> Vec<u8> {
    let body: Vec<u8> =
        blocks.iter().flat_map(|(start, end)| [start.to_le_bytes(), end.to_le_bytes()].concat()).collect();
    packet(Kind::SACK, remote_id, OPEN, 0, ack, &body)
}

/// What a stream told.
#[derive(Default, Debug)]
struct Seen {
    /// Names in order; data that came in several events counts once.
    told: Vec<&'static str>,
    data: Vec<u8>,
    messages: Vec<Vec<u8>>,
    closed: Option<Why>,
    last: Option<Stats>,
}

/// Sees each datagram that leaves; false: it is lost.
pub type Filter = Box<dyn FnMut(&Sent) -> bool>;

pub struct Net {
    pub now: Time,
    pub udx: Vec<Udx>,
    /// One way, between any two hosts, and drawn on top of it for each datagram.
    pub delay: Span,
    pub jitter: Span,
    pub loss_permille: u64,
    /// Bytes per second of a host's line out, unless it is zero, and how many bytes wait for their turn.
    pub rate: u64,
    pub queue: usize,
    free_at: BTreeMap<usize, Time>,
    /// IP packets above this are lost.
    pub mtu: usize,
    pub filter: Filter,
    pub sent: Vec<Sent>,
    seen: BTreeMap<At, Seen>,
    way: BTreeMap<(Time, u64), Sent>,
    count: u64,
    pub entropy: Seeded,
    disk: RamDisk,
}

impl Net {
    pub fn new(hosts: usize) -> Net {
        Net {
            now: Time::ZERO,
            udx: (0..hosts).map(|_| Udx::new()).collect(),
            delay: ms(10),
            jitter: Span::ZERO,
            loss_permille: 0,
            rate: 0,
            queue: 1 << 20,
            free_at: BTreeMap::new(),
            mtu: 1500,
            filter: Box::new(|_| true),
            sent: Vec::new(),
            seen: BTreeMap::new(),
            way: BTreeMap::new(),
            count: 0,
            entropy: Seeded::new(hosts as u64).fork("line"),
            disk: RamDisk::new(),
        }
    }

    /// Two hosts with a stream each, 1 and 2, connected to each other.
    pub fn pair() -> (Net, At, At) {
        let mut net = Net::new(2);
        let (a, b) = (net.open(0, 1), net.open(1, 2));
        net.connect(a, S0, 2, addr(1, S0));
        net.connect(b, S0, 1, addr(0, S0));
        (net, a, b)
    }

    /// One host with a stream 1 to stream 2 of host 1, which the story plays.
    pub fn against_story() -> (Net, At) {
        let mut net = Net::new(1);
        let a = net.open(0, 1);
        net.connect(a, S0, 2, addr(1, S0));
        (net, a)
    }

    /// Streams 1 to 4: the first on host 0, the last on host 2, the two in the middle on host 1 with a socket each;
    /// the first two are connected and the last two, and the two in the middle relay to each other.
    pub fn chain() -> (Net, [At; 4]) {
        let mut net = Net::new(3);
        let [a, b, c, d] = [(0, 1), (1, 2), (1, 3), (2, 4)].map(|(host, local)| net.open(host, local));
        net.relay(c, b);
        net.relay(b, c);
        net.connect(a, S0, 2, addr(1, S0));
        net.connect(b, S0, 1, addr(0, S0));
        net.connect(c, S1, 4, addr(2, S0));
        net.connect(d, S0, 3, addr(1, S1));
        (net, [a, b, c, d])
    }

    // ---- commands

    pub fn with<T>(&mut self, host: usize, act: impl FnOnce(&mut Udx, &mut Cx<'_>) -> T) -> T {
        let mut cx =
            Cx { now: self.now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut NoTrace };
        act(&mut self.udx[host], &mut cx)
    }

    pub fn act<T>(&mut self, at: At, act: impl FnOnce(&mut Udx, &mut Cx<'_>, StreamId) -> T) -> T {
        self.with(at.host, |udx, cx| act(udx, cx, at.id))
    }

    pub fn open(&mut self, host: usize, local: u32) -> At {
        let id = self.with(host, |udx, cx| udx.open(cx, local)).expect("a free id");
        self.begin(host, id)
    }

    pub fn open_at(&mut self, host: usize, local: u32, seq: u32, ack: u32) -> At {
        let id = self.with(host, |udx, cx| udx.open_at(cx, local, seq, ack)).expect("a free id");
        self.begin(host, id)
    }

    fn begin(&mut self, host: usize, id: StreamId) -> At {
        let at = At { host, id };
        self.seen.insert(at, Seen::default());
        at
    }

    pub fn connect(&mut self, at: At, socket: SocketId, remote: u32, to: Addr) {
        self.act(at, |udx, cx, id| udx.connect(cx, id, socket, remote, to)).expect("not connected yet");
    }

    pub fn change(&mut self, at: At, socket: SocketId, remote: u32, to: Addr) {
        self.act(at, |udx, cx, id| udx.change_remote(cx, id, socket, remote, to)).expect("connected");
    }

    pub fn relay(&mut self, from: At, to: At) {
        self.act(from, |udx, cx, id| udx.relay_to(cx, id, to.id)).expect("unused");
    }

    /// False: enough is queued.
    pub fn write(&mut self, at: At, bytes: &[u8]) -> bool {
        self.act(at, |udx, cx, id| udx.write(cx, id, bytes)).expect("it writes")
    }

    pub fn send(&mut self, at: At, bytes: &[u8]) -> Result<(), Error> {
        self.act(at, |udx, cx, id| udx.send(cx, id, bytes))
    }

    pub fn flush(&mut self, at: At) {
        self.act(at, |udx, cx, id| udx.flush(cx, id)).expect("open");
    }

    pub fn end(&mut self, at: At) {
        self.act(at, |udx, cx, id| udx.end(cx, id)).expect("open");
    }

    pub fn destroy(&mut self, at: At) {
        self.act(at, |udx, cx, id| udx.destroy(cx, id)).expect("open");
    }

    pub fn reading(&mut self, at: At, reading: bool) {
        self.act(at, |udx, cx, id| udx.set_reading(cx, id, reading)).expect("open");
    }

    pub fn window(&mut self, at: At, bytes: usize) {
        self.act(at, |udx, cx, id| udx.set_window(cx, id, bytes)).expect("open");
    }

    /// A datagram reaches a socket of a host now.
    pub fn put(&mut self, from: Addr, to: Addr, bytes: &[u8]) {
        let (host, socket) = (usize::from(to.ip[3]) - 1, SocketId(u32::from(to.port) - 1000));
        if host < self.udx.len() {
            self.with(host, |udx, cx| udx.handle_input(cx, Input::Datagram { socket, from, bytes }));
        }
    }

    /// The host that the story plays, number 1, says something to host 0, which hears it now.
    pub fn say(&mut self, bytes: &[u8]) {
        self.put(addr(1, S0), addr(0, S0), bytes);
        self.settle();
    }

    // ---- what happened

    /// Names of the events of a stream, in order.
    pub fn told(&self, at: At) -> &[&'static str] {
        self.seen.get(&at).map_or(&[], |seen| &seen.told)
    }

    /// How often a stream told something.
    pub fn times(&self, at: At, name: &str) -> usize {
        self.told(at).iter().filter(|told| **told == name).count()
    }

    pub fn data(&self, at: At) -> &[u8] {
        self.seen.get(&at).map_or(&[], |seen| &seen.data)
    }

    pub fn messages(&self, at: At) -> &[Vec<u8>] {
        self.seen.get(&at).map_or(&[], |seen| &seen.messages)
    }

    pub fn closed(&self, at: At) -> Option<Why> {
        self.seen.get(&at)?.closed
    }

    /// The figures of a stream; the last ones if it is gone.
    pub fn stats(&self, at: At) -> Stats {
        let live = self.udx[at.host].stats(at.id);
        live.or(self.seen.get(&at).and_then(|seen| seen.last)).expect("it was there")
    }

    /// The headers of what went from one host to another so far.
    pub fn headers(&self, from: usize, to: usize) -> Vec<Header> {
        self.between(from, to).map(Sent::header).collect()
    }

    pub fn between(&self, from: usize, to: usize) -> impl Iterator<Item = &Sent> {
        let matches = move |sent: &&Sent| {
            usize::from(sent.from.ip[3]) == from + 1 && usize::from(sent.to.ip[3]) == to + 1
        };
        self.sent.iter().filter(matches)
    }

    // ---- time

    /// Takes all that the machines send, then the next thing that one of them tells. False: nothing is told now.
    fn tell(&mut self) -> bool {
        for host in 0..self.udx.len() {
            while let Some(output) = self.with(host, |udx, cx| udx.poll_output(cx)) {
                self.carry(host, output);
            }
        }
        for host in 0..self.udx.len() {
            self.remember(host);
            if let Some(event) = self.udx[host].poll_event() {
                self.note(host, event);
                return true;
            }
        }
        false
    }

    /// Notes the figures of streams that may be gone after the next event.
    fn remember(&mut self, host: usize) {
        for (at, seen) in self.seen.iter_mut().filter(|(at, _)| at.host == host) {
            seen.last = self.udx[host].stats(at.id).or(seen.last);
        }
    }

    /// Until nobody has anything to send or to tell now.
    pub fn settle(&mut self) {
        while self.tell() {}
    }

    fn note(&mut self, host: usize, event: Event) {
        let (Event::Connected { stream: id, .. }
        | Event::Called { stream: id, .. }
        | Event::Data { stream: id, .. }
        | Event::Message { stream: id, .. }
        | Event::Ended { stream: id }
        | Event::Drained { stream: id }
        | Event::Flushed { stream: id }
        | Event::Closed { stream: id, .. }) = event;
        let seen = self.seen.entry(At { host, id }).or_default();
        assert_eq!(seen.closed, None, "nothing is told after it closed: {event:?}");
        let name = match event {
            Event::Connected { .. } => "connected",
            Event::Called { .. } => "called",
            Event::Data { bytes, .. } => {
                seen.data.extend(bytes);
                "data"
            }
            Event::Message { bytes, .. } => {
                seen.messages.push(bytes);
                "message"
            }
            Event::Ended { .. } => "ended",
            Event::Drained { .. } => "drained",
            Event::Flushed { .. } => "flushed",
            Event::Closed { why, .. } => {
                seen.closed = Some(why);
                "closed"
            }
        };
        if name != "data" || seen.told.last() != Some(&"data") {
            seen.told.push(name);
        }
    }

    fn carry(&mut self, host: usize, output: Output) {
        let Output::Send { socket, to, bytes, ttl: hops } = output;
        let sent = Sent { at: self.now, from: addr(host, socket), to, bytes, hops };
        let size = sent.bytes.len() + 28;
        let carried = (self.filter)(&sent) && size <= self.mtu && !self.entropy.chance(self.loss_permille);
        self.sent.push(sent.clone());
        let leaves = self.leaves(host, size);
        if let Some(leaves) = leaves.filter(|_| carried) {
            let jitter = Span::from_micros(self.entropy.below(self.jitter.as_micros() + 1));
            self.way.insert((leaves + self.delay + jitter, self.count), sent);
            self.count += 1;
        }
    }

    /// When a datagram is on the line, if there is room for it in the queue.
    fn leaves(&mut self, host: usize, size: usize) -> Option<Time> {
        if self.rate == 0 {
            return Some(self.now);
        }
        let free_at = self.free_at.entry(host).or_default();
        let waiting = free_at.since(self.now).as_micros() * self.rate / 1_000_000;
        if waiting as usize + size > self.queue {
            return None;
        }
        let takes = Span::from_micros((size as u64 * 1_000_000).div_ceil(self.rate));
        *free_at = self.now.max(*free_at) + takes;
        Some(*free_at)
    }

    /// Goes on by one event, or to the next moment at which something happens. False: nothing does until `until`.
    pub fn step(&mut self, until: Time) -> bool {
        let before = self.sent.len();
        if self.tell() || self.sent.len() > before {
            return true;
        }
        let arrival = self.way.first_key_value().map(|((at, _), _)| *at);
        let deadlines = self.udx.iter().filter_map(|udx| udx.poll_timeout().map(|deadline| deadline.at));
        let Some(next) = deadlines.chain(arrival).min().filter(|next| *next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        // One datagram a turn, as a loop that reads one a turn.
        if let Some(entry) = self.way.first_entry()
            && entry.key().0 <= self.now
        {
            let Sent { from, to, bytes, .. } = entry.remove();
            self.put(from, to, &bytes);
            return true;
        }
        for host in 0..self.udx.len() {
            if self.udx[host].poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
                self.with(host, |udx, cx| udx.handle_timeout(cx));
            }
        }
        true
    }

    pub fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        while self.step(until) {}
    }

    /// Goes on until `done`, which is asked after each event and each moment.
    pub fn until(&mut self, what: &str, within: Span, mut done: impl FnMut(&Net) -> bool) {
        let until = self.now + within;
        while !done(self) {
            assert!(self.step(until), "{what}: not within {within}; {:?}", self.seen_so_far());
        }
    }

    fn seen_so_far(&self) -> Vec<(At, &[&'static str], usize)> {
        self.seen.iter().map(|(at, seen)| (*at, &seen.told[..], seen.data.len())).collect()
    }

    pub fn until_closed(&mut self, all: &[At], within: Span) {
        self.until("all closed", within, |net| all.iter().all(|at| net.closed(*at).is_some()));
    }

    /// Nothing is left: no stream, no deadline, no datagram on its way, and none that will ever leave.
    pub fn assert_nothing_left(&mut self) {
        self.run_for(secs(120));
        assert!(self.way.is_empty());
        for udx in &self.udx {
            assert!(udx.is_empty(), "streams are left");
            assert_eq!(udx.poll_timeout(), None);
        }
    }
}
