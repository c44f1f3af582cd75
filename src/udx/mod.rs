//! udx: reliable ordered streams, many in a socket, over datagrams. Follows the rules of
//! `vendor-protocol-notes/udx.md`.
//!
//! `Udx` finds the stream of a packet and keeps the lists of streams that have something to send, to tell or to do
//! later; `stream` is one stream, made of `send` (ring of unacked bytes and packets, loss detection), `recv` (order,
//! receive window), `rtt`, `cc` (how many packets may be in flight, and when they leave), `mtu` (how long they are) and
//! `credit` (what may go to an address that proved nothing). No packet is made before it is polled, so writes of one
//! turn share packets and one ack serves all packets that came in one turn.

mod accept;
mod cc;
mod credit;
mod mtu;
mod recv;
mod relay;
mod rtt;
mod send;
mod seq;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::{
    Addr, Bytes, Cx, Deadline, Error, Id, Kind as IdKind, Machine, Slab, SocketId, Span, Time, Timers,
    Traffic, limits, take_first, trace,
};
use crate::wire::udx::{HEADER_LEN, Header, Kind, MAGIC, VERSION};
use crate::wire::{self};
pub use cc::Phase;
use stream::{Path, Stream};

/// A stream that is gone answers late packets for this long: longer than the other side tries.
const PAST: Span = Span::from_secs(60);
/// Packets of one stream in a row while others wait.
const TURN: u32 = 16;

/// Kind of `StreamId`.
#[derive(Debug)]
pub enum StreamKind {}
impl IdKind for StreamKind {
    const NAME: &'static str = "stream";
}
/// Names a stream of a `Udx`.
pub type StreamId = Id<StreamKind>;

/// Told by the sockets.
#[derive(Debug)]
pub enum Input<'a> {
    Datagram { socket: SocketId, from: Addr, bytes: &'a [u8] },
}

/// Asked of the sockets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Send { socket: SocketId, to: Addr, bytes: Vec<u8>, ttl: Option<u8> },
}

/// A packet that was written where the caller wanted it: where it leaves from and goes to, and how many routers it may
/// pass (`None`: as many as usual).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    pub socket: SocketId,
    pub to: Addr,
    pub ttl: Option<u8>,
}

/// Told to the layer above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The first packet came for a stream that expected one, or everything sent before a change of the remote is
    /// acked.
    Connected { stream: StreamId, socket: SocketId, from: Addr },
    /// A packet came to a stream that roams, on a socket that is neither its own nor one of before. (udx.130)
    Called { stream: StreamId, socket: SocketId, from: Addr },
    /// The next bytes in order. How they are cut means nothing.
    Data { stream: StreamId, bytes: Vec<u8> },
    /// An unordered message.
    Message { stream: StreamId, bytes: Vec<u8> },
    /// The other side ended its writes, and all that it wrote was handed out.
    Ended { stream: StreamId },
    /// After a write that returned false: go on.
    Drained { stream: StreamId },
    /// All that was written before the last `flush` is acked.
    Flushed { stream: StreamId },
    /// The last event of a stream; its id is stale from here on.
    Closed { stream: StreamId, why: Why },
}

/// Why a stream closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// Both sides ended, and all was acked.
    Ended,
    /// The other side destroyed it.
    Reset,
    /// The other side does not answer.
    TimedOut,
    /// `destroy` was called here.
    Destroyed,
}

impl Why {
    /// The rule that says so.
    pub fn rule(self) -> &'static str {
        match self {
            Why::Ended => "udx.16",
            Why::Reset => "udx.17",
            Why::TimedOut => "udx.36",
            Why::Destroyed => "udx.27",
        }
    }
}

impl core::fmt::Display for Why {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Why::Ended => "both sides ended",
            Why::Reset => "the other side destroyed the stream",
            Why::TimedOut => "the other side does not answer",
            Why::Destroyed => "destroyed here",
        })
    }
}

/// Figures of a stream.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Size of the largest IP packet that is sent, in bytes.
    pub mtu: usize,
    /// Smoothed round trip; `None` before the first sample.
    pub rtt: Option<Span>,
    /// What the retransmission timeout is now, without its doubling.
    pub timeout: Span,
    /// What the congestion control is at; the bandwidth it knows of, and at which packets leave, in bytes per second.
    pub phase: Phase,
    pub bandwidth: u64,
    pub pacing_rate: u64,
    /// Packets that may be in flight, and that are.
    pub congestion_window: usize,
    pub in_flight: usize,
    pub unacked_bytes: usize,
    pub unsent_bytes: usize,
    /// Bytes that arrived and were not taken by the reader, in order or not.
    pub held_bytes: usize,
    /// The other side's receive window, in bytes.
    pub send_window: u32,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Packets sent again, for whatever reason.
    pub resends: u64,
    /// Packets taken for lost, and how many of them were not.
    pub losses: u64,
    pub spurious: u64,
    pub recoveries: u64,
    pub timeouts: u64,
    pub probes: u64,
    /// Packets that were padded to find out how long the path takes them, and how many of these were lost.
    pub mtu_probes: u64,
    pub mtu_losses: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets outside the window, or more messages than fit.
    pub refused: u64,
    /// Packets from another socket than the stream's.
    pub strangers: u64,
    /// Since the last change of the remote: packets that came from the new remote, and from elsewhere.
    pub from_remote: u64,
    pub from_elsewhere: u64,
    /// Not all that was sent before the last change of the remote is acked.
    pub changing: bool,
    /// Packets that acked what was never sent, and blocks of a SACK that no honest receiver sends.
    pub bad_acks: u64,
    pub bad_blocks: u64,
    /// Nothing proves yet that the remote is where its first packet said: it gets little.
    pub unproven: bool,
    /// Packets of other streams that left as packets of this one; and packets of this one that had nowhere to go.
    pub relayed: u64,
    pub relay_lost: u64,
}

/// A stream that is gone, for late packets of its other side.
#[derive(Debug)]
struct Past {
    path: Path,
    seq: u32,
    ack: u32,
    /// Answer that it ended well, or that it is destroyed.
    ended: bool,
    until: Time,
}

/// All streams of a node.
///
/// Commands: `open`, `expect`, `connect`, `write`, `flush`, `end`, `destroy`, `send`, `set_reading`,
/// `set_keep_alive`, `set_window`, `change_remote`, `relay_to`. Inputs: every datagram that `owns` says is
/// ours. Deadlines: the
/// earliest of all streams, registered lazily, so some come early. `relay_to` is in `relay`.
#[derive(Debug, Default)]
pub struct Udx {
    streams: Slab<StreamKind, Stream>,
    by_local: BTreeMap<u32, StreamId>,
    past: BTreeMap<u32, Past>,
    /// In the order in which they became past.
    past_order: VecDeque<(Time, u32)>,
    /// Packets that no live stream sends.
    answers: VecDeque<Output>,
    /// Packets that go on from one stream to another, and the streams that relay into a stream.
    forwards: VecDeque<Output>,
    relaying: BTreeMap<StreamId, BTreeSet<StreamId>>,
    /// Streams that may have something to send.
    ready: VecDeque<StreamId>,
    /// Packets that the first of `ready` has sent in a row.
    turn: u32,
    /// Streams that may have something to tell.
    telling: VecDeque<StreamId>,
    timers: Timers<StreamId>,
    /// Streams whose first timeout in a row nobody has asked for yet.
    late: BTreeSet<StreamId>,
    traffic: Traffic,
    dropped: u64,
}

impl Udx {
    pub fn new() -> Udx {
        Udx::default()
    }

    /// Whether a datagram belongs to a stream (also one that closed lately). Others go to the DHT.
    pub fn owns(&self, datagram: &[u8]) -> bool {
        local_id(datagram).is_some_and(|id| self.by_local.contains_key(&id) || self.past.contains_key(&id))
    }

    /// All that came for streams, also for those that are gone, and all that left. (udx.105)
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Datagrams that were dropped before they reached a stream.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Deadlines of streams that are registered.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// How many streams there are, closed ones whose `Closed` was not taken included.
    pub fn len(&self) -> usize {
        self.streams.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A stream with a local id that the caller drew. From now on packets for it are kept; they are handed out, and
    /// acked, once it is connected. `Error::Taken`: another live stream has that id.
    pub fn open(&mut self, cx: &mut Cx<'_>, local: u32) -> Result<StreamId, Error> {
        self.open_at(cx, local, 0, 0)
    }

    /// As `open`, with the sequence numbers of the first packet that is sent and of the first that is expected.
    pub fn open_at(&mut self, cx: &mut Cx<'_>, local: u32, seq: u32, ack: u32) -> Result<StreamId, Error> {
        if self.by_local.contains_key(&local) {
            return Err(Error::Taken);
        }
        self.past.remove(&local);
        let id = self.streams.insert(Stream::new(local, seq, ack));
        self.by_local.insert(local, id);
        trace!(cx, State, "udx", id: id, rule: "udx.29", "opened with local id {local}");
        Ok(id)
    }

    /// The first packet that comes (or came already) connects the stream to where it came from.
    pub fn expect(&mut self, cx: &mut Cx<'_>, id: StreamId, remote: u32) -> Result<(), Error> {
        let now = cx.now;
        self.with(cx, id, |stream| stream.expect(now, remote))
    }

    /// Connects the stream to `to`, whose id for it is `remote`. Once only.
    pub fn connect(
        &mut self,
        cx: &mut Cx<'_>,
        id: StreamId,
        socket: SocketId,
        remote: u32,
        to: Addr,
    ) -> Result<(), Error> {
        if to.port == 0 {
            return Err(Error::Invalid("port 0"));
        }
        let now = cx.now;
        self.with(cx, id, |stream| stream.connect(now, Path { socket, to, remote_id: remote }))
    }

    /// Queues bytes. False: enough is queued, wait for `Drained`. `Error::Full`: far too much is queued, nothing of
    /// this was. `Error::NotOpen`: after `end`.
    pub fn write(&mut self, cx: &mut Cx<'_>, id: StreamId, bytes: &[u8]) -> Result<bool, Error> {
        let now = cx.now;
        self.with(cx, id, |stream| stream.write(now, |send| send.write(bytes)))
    }

    /// As `write`; a long buffer is not copied but kept until all of it is acked.
    pub fn write_owned(&mut self, cx: &mut Cx<'_>, id: StreamId, bytes: Bytes) -> Result<bool, Error> {
        let now = cx.now;
        self.with(cx, id, |stream| stream.write(now, |send| send.write_owned(bytes)))
    }

    /// A stream on which something was not acked for a whole timeout, once for each time that this begins. For those
    /// above who know another way.
    pub fn take_late(&mut self) -> Option<StreamId> {
        self.late.pop_first()
    }

    /// Bytes of a stream that were acked.
    pub fn acked(&self, id: StreamId) -> Option<u64> {
        self.streams.get(id).map(Stream::acked)
    }

    /// Asks for `Flushed` once all that was written so far is acked.
    pub fn flush(&mut self, cx: &mut Cx<'_>, id: StreamId) -> Result<(), Error> {
        self.with(cx, id, Stream::flush)
    }

    /// No more writes; the other side gets all that was written, then its `Ended`.
    pub fn end(&mut self, cx: &mut Cx<'_>, id: StreamId) -> Result<(), Error> {
        let now = cx.now;
        self.with(cx, id, |stream| stream.end(now))
    }

    /// Closes at once; what is queued is dropped, and the other side is told.
    pub fn destroy(&mut self, cx: &mut Cx<'_>, id: StreamId) -> Result<(), Error> {
        let stream = self.streams.get_mut(id).ok_or(Error::Gone)?;
        if stream.is_closed() {
            stream.forget_unread(); // it ended well, but nobody wants the rest: `Closed` waits for nothing now
            self.settle(id);
            return Ok(());
        }
        if stream.relay_to.is_none()
            && let Some(goodbye) = stream.destroy_packet()
        {
            self.answers.push_back(goodbye); // as many as there are streams
        }
        self.close(cx, id, Why::Destroyed);
        Ok(())
    }

    /// Sends an unordered message, once. `Error::Invalid`: longer than a packet; `Error::NotOpen`: not connected.
    pub fn send(&mut self, cx: &mut Cx<'_>, id: StreamId, bytes: &[u8]) -> Result<(), Error> {
        self.with(cx, id, |stream| stream.send_message(bytes, None))
    }

    /// As `send`; the packet passes at most `hops` routers, so that one can be sent which opens a NAT and arrives
    /// nowhere. Zero: as many as usual. (udx.104)
    pub fn send_hops(&mut self, cx: &mut Cx<'_>, id: StreamId, bytes: &[u8], hops: u8) -> Result<(), Error> {
        self.with(cx, id, |stream| stream.send_message(bytes, Some(hops).filter(|hops| *hops > 0)))
    }

    /// False: no `Data` until it is true again; the window that the other side is told closes meanwhile.
    pub fn set_reading(&mut self, cx: &mut Cx<'_>, id: StreamId, reading: bool) -> Result<(), Error> {
        self.with(cx, id, |stream| {
            stream.set_reading(reading);
            Ok(())
        })
    }

    /// Sends a heartbeat whenever nothing was in flight for `every`. `None` or zero: never, which is the default.
    pub fn set_keep_alive(
        &mut self,
        cx: &mut Cx<'_>,
        id: StreamId,
        every: Option<Span>,
    ) -> Result<(), Error> {
        let now = cx.now;
        self.with(cx, id, |stream| {
            stream.set_keep_alive(now, every);
            Ok(())
        })
    }

    /// The most bytes that are held for a slow reader; 4 MiB by default.
    pub fn set_window(&mut self, cx: &mut Cx<'_>, id: StreamId, bytes: usize) -> Result<(), Error> {
        self.with(cx, id, |stream| {
            stream.recv.set_window_max(bytes);
            Ok(())
        })
    }

    /// New packets go to `to` from now on. `Connected` comes once all that was sent before is acked. Packets from the
    /// socket before are still taken.
    pub fn change_remote(
        &mut self,
        cx: &mut Cx<'_>,
        id: StreamId,
        socket: SocketId,
        remote: u32,
        to: Addr,
    ) -> Result<(), Error> {
        if to.port == 0 {
            return Err(Error::Invalid("port 0"));
        }
        let now = cx.now;
        self.with(cx, id, |stream| stream.change_remote(now, Path { socket, to, remote_id: remote }))
    }

    /// From now on packets are taken from whatever socket they come, and `Called` tells of those. (udx.130)
    pub fn set_roaming(&mut self, cx: &mut Cx<'_>, id: StreamId, roaming: bool) -> Result<(), Error> {
        self.with(cx, id, |stream| {
            stream.roaming = roaming;
            Ok(())
        })
    }

    /// The way from before the last change of the remote is known to be gone: what is in flight there is sent again, to
    /// the new remote. (udx.131)
    pub fn abandon_old_path(&mut self, cx: &mut Cx<'_>, id: StreamId) -> Result<(), Error> {
        let now = cx.now;
        self.with(cx, id, |stream| {
            stream.abandon_old_path(now);
            Ok(())
        })
    }

    /// Where packets go.
    pub fn remote(&self, id: StreamId) -> Option<(SocketId, Addr)> {
        self.streams.get(id)?.path().map(|path| (path.socket, path.to))
    }

    /// The live stream with this local id.
    pub fn by_local(&self, local: u32) -> Option<StreamId> {
        self.by_local.get(&local).copied()
    }

    /// The local ids of live streams.
    pub fn local_ids(&self) -> impl Iterator<Item = u32> {
        self.by_local.keys().copied()
    }

    pub fn local_id(&self, id: StreamId) -> Option<u32> {
        Some(self.streams.get(id)?.local_id)
    }

    /// The other side's id of a connected stream, and where its packets leave from and go to.
    pub fn path(&self, id: StreamId) -> Option<(u32, SocketId, Addr)> {
        self.streams.get(id)?.path().map(|path| (path.remote_id, path.socket, path.to))
    }

    pub fn stats(&self, id: StreamId) -> Option<Stats> {
        Some(self.streams.get(id)?.stats())
    }

    /// What `poll_output` does, but the packet is written behind what `out` holds.
    pub fn poll_into(&mut self, cx: &mut Cx<'_>, out: &mut Vec<u8>) -> Option<Packet> {
        let start = out.len();
        let packet = self.poll_packet(cx, out)?;
        self.traffic.left(1, out.len() - start);
        Some(packet)
    }

    fn poll_packet(&mut self, cx: &mut Cx<'_>, out: &mut Vec<u8>) -> Option<Packet> {
        let made = take_first(&mut self.answers).or_else(|| take_first(&mut self.forwards));
        if let Some(Output::Send { socket, to, bytes, ttl }) = made {
            out.extend_from_slice(&bytes);
            return Some(Packet { socket, to, ttl });
        }
        while let Some(&id) = self.ready.front() {
            if let Some(stream) = self.streams.get_mut(id) {
                let now = cx.now;
                if let Some(packet) = told(cx, id, stream, |stream| stream.poll(now, out)) {
                    self.turn += 1;
                    if self.turn >= TURN && self.ready.len() > 1 {
                        self.turn = 0;
                        self.ready.rotate_left(1);
                    }
                    return Some(packet);
                }
                stream.ready = false;
                if !stream.told {
                    stream.told = true; // it may be drained now
                    self.telling.push_back(id);
                }
                register(&mut self.timers, id, stream);
                move_away(&mut self.timers, now, id, stream);
            }
            self.turn = 0;
            self.ready.pop_front();
        }
        None
    }

    fn with<T>(
        &mut self,
        cx: &mut Cx<'_>,
        id: StreamId,
        act: impl FnOnce(&mut Stream) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = told(cx, id, self.streams.get_mut(id).ok_or(Error::Gone)?, act);
        self.settle(id);
        done
    }

    /// After anything that touched a stream: puts it in the lists that it may belong to.
    fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !stream.ready {
            stream.ready = true;
            self.ready.push_back(id);
        }
        if !stream.told {
            stream.told = true;
            self.telling.push_back(id);
        }
        register(&mut self.timers, id, stream);
    }

    /// Takes a stream out of the living, and those that relay into it.
    fn close(&mut self, cx: &mut Cx<'_>, id: StreamId, why: Why) {
        let to = self.streams.get(id).and_then(|stream| stream.relay_to);
        self.close_one(cx, id, why, to.is_none());
        if !self.relaying.is_empty() {
            self.end_relays(cx, id, to, why);
        }
    }

    /// The stream stays until `Closed` was taken; later packets for it are answered if it `answers`.
    fn close_one(&mut self, cx: &mut Cx<'_>, id: StreamId, why: Why, answers: bool) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        trace!(cx, State, "udx", id: id, rule: why.rule(), "closed: {why}");
        let (seq, ack) = stream.numbers();
        let local = stream.local_id;
        let path = stream.close(why);
        stream.registered = None;
        self.timers.clear(id);
        self.late.remove(&id);
        self.by_local.remove(&local);
        self.settle(id);
        if let Some(path) = path.filter(|_| answers)
            && why != Why::Reset
        {
            self.forget_past(cx.now, limits::UDX_PAST_MAX - 1);
            let until = cx.now + PAST;
            self.past.insert(local, Past { path, seq, ack, ended: why == Why::Ended, until });
            self.past_order.push_back((until, local));
        }
    }

    /// Drops past streams that are too old, and all but the newest `keep`.
    fn forget_past(&mut self, now: Time, keep: usize) {
        while let Some(&(until, local)) = self.past_order.front() {
            if until > now && self.past_order.len() <= keep {
                break;
            }
            self.past_order.pop_front();
            if self.past.get(&local).is_some_and(|past| past.until == until) {
                self.past.remove(&local);
            }
        }
    }

    /// udx.16: who closed after the other still answers, or the other would run into its timeout.
    fn answer_late(&mut self, cx: &mut Cx<'_>, header: &Header) {
        let now = cx.now;
        let Some(past) = self.past.get(&header.remote_id).filter(|past| past.until > now) else { return };
        let asks = header.kind.data || header.kind.end || header.kind.heartbeat;
        if !asks || header.kind.destroy || self.answers.len() >= limits::UDX_ANSWERS_MAX {
            return;
        }
        let kind = if past.ended { Kind::STATE } else { Kind::DESTROY };
        let bytes = wire::encode(&Header {
            kind,
            data_offset: 0,
            remote_id: past.path.remote_id,
            window: limits::UDX_WINDOW_MAX as u32,
            seq: past.seq,
            ack: past.ack,
        });
        let Path { socket, to, .. } = past.path;
        trace!(cx, Step, "udx", peer: to, rule: "udx.16", "answers for stream {}, which is gone", header.remote_id);
        self.answers.push_back(Output::Send { socket, to, bytes, ttl: None });
    }
}

/// Does something with a stream, and tells the transcript what has changed.
fn told<T>(cx: &mut Cx<'_>, id: StreamId, stream: &mut Stream, act: impl FnOnce(&mut Stream) -> T) -> T {
    let before = if cx.trace.on() { Some(stream.mark()) } else { None };
    let done = act(stream);
    if let Some(before) = before {
        stream.tell(cx, id, &before);
    }
    done
}

/// The local id that a udx packet names.
fn local_id(datagram: &[u8]) -> Option<u32> {
    let header = datagram.get(..HEADER_LEN)?;
    if header[0] != MAGIC || header[1] != VERSION {
        return None;
    }
    Some(u32::from_le_bytes([header[4], header[5], header[6], header[7]]))
}

/// Registers a stream's deadline if it is earlier than what is registered. A later one is seen to when the earlier
/// fires: moving it at every packet would cost more than an early wake-up.
fn register(timers: &mut Timers<StreamId>, id: StreamId, stream: &mut Stream) {
    if let Some(at) = stream.due_at()
        && stream.registered.is_none_or(|known| at < known)
    {
        stream.registered = Some(at);
        timers.set(id, at);
    }
}

/// Moves a deadline that is registered once it is less than half as far away as the stream's own. One that each packet
/// moves away must not come near: a sleep that ends before the kernel's next tick costs it several microseconds.
fn move_away(timers: &mut Timers<StreamId>, now: Time, id: StreamId, stream: &mut Stream) {
    if let Some(at) = stream.due_at()
        && stream.registered.is_some_and(|known| known.since(now) * 2 < at.since(now))
    {
        stream.registered = Some(at);
        timers.set(id, at);
    }
}

impl Machine for Udx {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        self.accept(cx, input, false);
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(id) = self.timers.pop_due(cx.now) {
            let Some(stream) = self.streams.get_mut(id) else { continue };
            stream.registered = None;
            let now = cx.now;
            if cx.trace.on() {
                stream.tell_due(cx, id);
            }
            let due = stream.due_at().is_some_and(|at| at <= now);
            let answered = !stream.is_late();
            let alive = !due || told(cx, id, stream, |stream| stream.on_time(now));
            if alive && answered && stream.is_late() {
                self.late.insert(id);
            }
            if !alive {
                self.close(cx, id, Why::TimedOut);
            } else if due && self.streams.get(id).is_some_and(Stream::is_done) {
                self.close(cx, id, Why::Ended); // udx.46
            } else {
                self.settle(id);
            }
        }
        self.forget_past(cx.now, limits::UDX_PAST_MAX);
    }

    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let mut bytes = Vec::new();
        let Packet { socket, to, ttl } = self.poll_into(cx, &mut bytes)?;
        Some(Output::Send { socket, to, bytes, ttl })
    }

    fn poll_event(&mut self) -> Option<Event> {
        while let Some(&id) = self.telling.front() {
            if let Some(stream) = self.streams.get_mut(id) {
                let event = stream.poll_event(id);
                if stream.recv.ack_wanted && !stream.ready {
                    stream.ready = true; // a window to tell
                    self.ready.push_back(id);
                }
                if let Some(event) = event {
                    if let Event::Closed { .. } = event {
                        self.streams.remove(id);
                        self.telling.pop_front();
                    }
                    return Some(event);
                }
                stream.told = false;
            }
            self.telling.pop_front();
        }
        None
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers
            .deadline(|id| self.streams.get(id).and_then(Stream::deadline).map_or("udx", |(_, why)| why))
    }
}
