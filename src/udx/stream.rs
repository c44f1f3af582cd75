//! One stream: what commands, packets and time change in it, and what it has to tell. Read send.rs and recv.rs first;
//! `out` makes its packets, `time` has its deadlines. Follows udx.9 to udx.62.

mod follow;
mod out;
mod time;
mod told;

use std::collections::VecDeque;

use super::cc::{Arrival, Congestion};
use super::credit::Credit;
use super::mtu::Mtu;
use super::recv::{Recv, Taken};
use super::rtt::Rtt;
use super::send::{End, Send};
use super::seq::Seq;
use super::{Event, Stats, StreamId, Why};
use crate::base::{Addr, Error, SocketId, Span, Time, limits, take_first};
use crate::wire::udx::{HEADER_LEN, Header, Kind, Sack};
use crate::wire::{self};

/// Unsent bytes above which a writer should wait, and below which it is told to go on.
const HIGH_WATER: usize = 256 * 1024;
const LOW_WATER: usize = 128 * 1024;
/// An ack that names so many ranges may not name all, nor the latest. (udx.21)
const BLOCKS_MAX: usize = 50;

/// Where packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub socket: SocketId,
    pub to: Addr,
    pub remote_id: u32,
}

/// How far the stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nobody said where to; what came first came from there.
    Open {
        first: Option<(SocketId, Addr)>,
    },
    /// The first packet says where to.
    Expecting {
        remote_id: u32,
    },
    Connected(Path),
    Closed,
}

/// A switch to another path (udx.60).
#[derive(Clone, Copy, Debug)]
struct Change {
    from: Path,
    /// Packets before this one were first sent on the old path.
    at: Seq,
    /// They are not all acked.
    pending: bool,
    /// The socket before that, if two changes followed each other.
    socket: SocketId,
    /// Nothing passes there any more. (udx.131)
    gone: bool,
}

/// What the layer above has not been told yet, in the order in which it is told.
#[derive(Default, Debug)]
struct News {
    connected: bool,
    called: Option<(SocketId, Addr)>,
    messages: VecDeque<Vec<u8>>,
    drained: bool,
    flushed: bool,
    ended: bool,
    closed: Option<Why>,
}

#[derive(Default, Debug)]
struct Deadlines {
    /// Nothing came back at all.
    timeout: Option<Time>,
    /// The tail is late.
    probe: Option<Time>,
    /// A packet that may only be out of order is lost then.
    reorder: Option<Time>,
    zero_window: Option<Time>,
    keep_alive: Option<Time>,
    /// The next packet may leave then.
    pace: Option<Time>,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub local_id: u32,
    phase: Phase,
    pub send: Send,
    pub recv: Recv,
    /// Where its packets go instead of being taken.
    pub relay_to: Option<StreamId>,
    /// Packets are taken from any socket. (udx.130)
    pub roaming: bool,
    /// Its data may go straight to the reader.
    pub passing: bool,
    rtt: Rtt,
    mtu: Mtu,
    congestion: Congestion,
    change: Option<Change>,
    /// What may go to the remote, and whether the present packet came from there.
    credit: Credit,
    from_remote: bool,
    /// Where packets come from instead, and where they went before this was followed and acked anything. (udx.132)
    astray: Option<follow::Astray>,
    left: Option<Addr>,
    /// The receiver's window, and the seq and ack of the packet that said so (udx.11).
    window: u32,
    window_from: Option<(Seq, Seq)>,
    /// Ends when all before this is acked.
    recovery: Option<Seq>,
    timeouts: u32,
    probes: u32,
    probe_wanted: bool,
    heartbeat_wanted: bool,
    unanswered: u32,
    /// Something came since the last timeout.
    heard: bool,
    last_sent: Time,
    keep_alive: Option<Span>,
    /// That wait to be sent, and how far each may go.
    messages: VecDeque<(Vec<u8>, Option<u8>)>,
    /// Bytes that a flush waits for.
    flush: Option<u64>,
    hit_high_water: bool,
    /// The writer was told to wait, and has not written since: there is more than what is here.
    writer_waits: bool,
    reading: bool,
    news: News,
    at: Deadlines,
    pub stats: Stats,
    /// In the machine's lists, and its deadline there.
    pub ready: bool,
    pub told: bool,
    pub registered: Option<Time>,
}

impl Stream {
    pub fn new(local_id: u32, seq: u32, ack: u32) -> Stream {
        Stream {
            local_id,
            phase: Phase::Open { first: None },
            send: Send::new(Seq::first(seq)),
            recv: Recv::new(Seq::first(ack)),
            relay_to: None,
            roaming: false,
            passing: false,
            rtt: Rtt::default(),
            mtu: Mtu::default(),
            congestion: Congestion::new(local_id, Mtu::default().payload() + HEADER_LEN),
            change: None,
            credit: Credit::Left(0),
            from_remote: false,
            astray: None,
            left: None,
            window: limits::UDX_WINDOW_MAX as u32,
            window_from: None,
            recovery: None,
            timeouts: 0,
            probes: 0,
            probe_wanted: false,
            heartbeat_wanted: false,
            unanswered: 0,
            heard: false,
            last_sent: Time::ZERO,
            keep_alive: None,
            messages: VecDeque::new(),
            flush: None,
            hit_high_water: false,
            writer_waits: false,
            reading: true,
            news: News::default(),
            at: Deadlines::default(),
            stats: Stats::default(),
            ready: false,
            told: false,
            registered: None,
        }
    }

    pub fn path(&self) -> Option<Path> {
        match self.phase {
            Phase::Connected(path) => Some(path),
            Phase::Open { .. } | Phase::Expecting { .. } | Phase::Closed => None,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    // ---- commands

    pub fn connect(&mut self, now: Time, path: Path) -> Result<(), Error> {
        match self.phase {
            Phase::Connected(_) => return Err(Error::Refused("the stream is connected already")),
            Phase::Closed => return Err(Error::Gone),
            Phase::Open { .. } | Phase::Expecting { .. } => {}
        }
        self.credit = Credit::Proven;
        self.begin(now, path);
        Ok(())
    }

    fn begin(&mut self, now: Time, path: Path) {
        self.phase = Phase::Connected(path);
        self.recv.begin();
        self.last_sent = now;
        self.rest(now);
    }

    pub fn expect(&mut self, now: Time, remote_id: u32) -> Result<(), Error> {
        match self.phase {
            // Whoever waited for one may come to wait for another. hyperdht.137
            Phase::Open { first: None } | Phase::Expecting { .. } => {
                self.phase = Phase::Expecting { remote_id };
            }
            Phase::Open { first: Some((socket, to)) } => {
                self.begin(now, Path { socket, to, remote_id });
                self.news.connected = true;
            }
            Phase::Connected(_) => {
                return Err(Error::Refused("the stream has its remote already"));
            }
            Phase::Closed => return Err(Error::Gone),
        }
        Ok(())
    }

    /// Follows udx.62 and udx.106.
    pub fn change_remote(&mut self, now: Time, path: Path) -> Result<(), Error> {
        let Phase::Connected(from) = self.phase else { return Err(Error::NotOpen) };
        self.phase = Phase::Connected(path);
        self.credit = Credit::Proven; // the caller named it
        (self.astray, self.left) = (None, None);
        self.mtu.reset();
        let pending = self.send.outstanding() > 0;
        let socket = self.change.map_or(from.socket, |change| change.from.socket);
        self.change = Some(Change { from, at: self.send.next(), pending, socket, gone: false });
        (self.stats.from_remote, self.stats.from_elsewhere) = (0, 0);
        self.news.connected |= !pending; // udx.60
        self.rest(now);
        Ok(())
    }

    /// Follows udx.131.
    pub fn abandon_old_path(&mut self, now: Time) {
        let Some(change) = self.change.as_mut().filter(|change| change.pending && !change.gone) else {
            return;
        };
        change.gone = true;
        self.send.lose_all();
        self.at.timeout = Some(now + self.backed_off());
        (self.at.probe, self.at.reorder, self.probe_wanted) = (None, None, false);
    }

    /// Hands bytes to the send side, which takes them or not. Follows udx.28.
    pub fn write(&mut self, now: Time, take: impl FnOnce(&mut Send) -> bool) -> Result<bool, Error> {
        self.check_open()?;
        if self.send.end != End::Open {
            return Err(Error::NotOpen);
        }
        if !take(&mut self.send) {
            return Err(Error::Full);
        }
        self.probe_closed_window(now);
        let below = self.send.unsent_bytes() < HIGH_WATER;
        self.writer_waits = !below;
        self.hit_high_water |= !below;
        Ok(below)
    }

    pub fn flush(&mut self) -> Result<(), Error> {
        self.check_open()?;
        self.flush = Some(self.send.written());
        self.check_flush();
        Ok(())
    }

    pub fn end(&mut self, now: Time) -> Result<(), Error> {
        self.check_open()?;
        if self.send.end != End::Open {
            return Err(Error::NotOpen);
        }
        self.send.end = End::Wanted;
        self.probe_closed_window(now);
        Ok(())
    }

    pub fn send_message(&mut self, bytes: &[u8], ttl: Option<u8>) -> Result<(), Error> {
        self.check_open()?;
        if self.path().is_none() {
            return Err(Error::NotOpen);
        }
        if bytes.len() > self.mtu.payload() {
            return Err(Error::Invalid("a message is longer than a packet"));
        }
        if self.messages.len() >= limits::UDX_MESSAGES_MAX {
            return Err(Error::Full);
        }
        self.messages.push_back((bytes.to_vec(), ttl));
        Ok(())
    }

    pub fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    pub fn set_keep_alive(&mut self, now: Time, every: Option<Span>) {
        if self.relay_to.is_some() {
            return; // it sends nothing of its own
        }
        self.keep_alive = every.filter(|every| *every > Span::ZERO); // udx.44, udx.108
        self.at.keep_alive = None;
        self.rest(now);
    }

    /// What came so far was not acked and comes again: from now on it goes elsewhere.
    pub fn become_relay(&mut self) {
        self.recv.discard();
        self.recv.ack_wanted = false;
        self.news = News { connected: self.news.connected, ..News::default() };
        self.at = Deadlines::default();
        self.heartbeat_wanted = false;
        self.keep_alive = None;
    }

    /// Whether the caller may send on it.
    fn check_open(&self) -> Result<(), Error> {
        match self.phase {
            Phase::Closed => Err(Error::Gone),
            Phase::Open { .. } | Phase::Expecting { .. } | Phase::Connected(_) if self.relay_to.is_some() => {
                Err(Error::Refused("the stream is a relay"))
            }
            Phase::Open { .. } | Phase::Expecting { .. } | Phase::Connected(_) => Ok(()),
        }
    }

    /// The stream ends now, whatever is under way. Returns where a goodbye goes. (udx.27)
    pub fn close(&mut self, why: Why) -> Option<Path> {
        let path = self.path();
        self.phase = Phase::Closed;
        self.news.closed = Some(why);
        self.news.drained = false;
        self.at = Deadlines::default();
        self.messages = VecDeque::new();
        match why {
            Why::Ended => {}
            Why::Reset | Why::TimedOut if self.reading => {}
            Why::Reset | Why::TimedOut | Why::Destroyed => {
                self.recv.discard();
                self.news = News { closed: Some(why), ..News::default() };
            }
        }
        if why != Why::Ended {
            self.news.ended = false;
            self.news.flushed = false;
        }
        self.send.discard();
        path
    }

    /// Drops what the reader of a closed stream has not taken.
    pub fn forget_unread(&mut self) {
        self.recv.discard();
        self.news.ended = false;
        self.news.messages.clear();
    }

    // ---- packets in

    /// Whether a packet of `len` bytes from `socket` may touch the stream; connects a stream that expects one (udx.9,
    /// udx.15).
    pub fn admit(&mut self, now: Time, socket: SocketId, from: Addr, len: usize) -> bool {
        let (known, remote) = match self.phase {
            Phase::Open { first: None } => {
                self.phase = Phase::Open { first: Some((socket, from)) };
                (true, from)
            }
            Phase::Open { first: Some((known, remote)) } => (known == socket, remote),
            Phase::Expecting { remote_id } => {
                self.begin(now, Path { socket, to: from, remote_id });
                self.news.connected = true;
                (true, from)
            }
            Phase::Connected(path) => {
                let before =
                    || self.change.is_some_and(|old| [old.from.socket, old.socket].contains(&socket));
                let known = path.socket == socket || before();
                if !known && self.roaming {
                    self.news.called = Some((socket, from)); // udx.130
                }
                if (socket, from) == (path.socket, path.to) {
                    self.stats.from_remote += 1;
                } else {
                    self.stats.from_elsewhere += 1;
                }
                if path.socket == socket {
                    self.note_source(now, path, from, len);
                }
                (known || self.roaming, path.to)
            }
            Phase::Closed => return false,
        };
        self.from_remote = known && from == remote;
        if self.from_remote {
            self.credit.earn(len);
        }
        known
    }

    /// Whether a packet with this number comes next, and its data is the next thing to tell.
    pub fn reads_next(&self, seq: u32) -> bool {
        let news = &self.news;
        self.reading
            && self.path().is_some()
            && !news.connected
            && news.called.is_none()
            && news.messages.is_empty()
            && self.recv.is_next(seq)
    }

    /// A packet whose header is sound and whose source was admitted; `body` is all behind the header. True: the other
    /// side destroyed the stream.
    /// With `passes` its data is somebody else's.
    pub fn on_packet(&mut self, now: Time, header: &Header, body: &[u8], passes: bool) -> bool {
        self.stats.packets_in += 1;
        self.stats.bytes_in += (HEADER_LEN + body.len()) as u64;
        self.unanswered = 0;
        self.heard = true;
        let kind = header.kind;
        if kind.heartbeat {
            self.recv.ack_wanted = true; // udx.7: only answered
            return false;
        }
        let payload = &body[usize::from(header.data_offset)..];
        let seq = self.recv.next.near(header.seq);
        // udx.17: not an old one, and not a guess
        let fresh = seq >= self.recv.next && seq.since(self.recv.next) <= limits::UDX_AHEAD_MAX;
        if kind.data || kind.end {
            let kept = if kind.data && !passes { payload } else { &[] };
            let taken = self.recv.take_in(seq, kept, kind.end);
            match taken {
                Taken::Now | Taken::Held => {}
                Taken::Old => self.stats.duplicates += 1,
                Taken::Refused => self.stats.refused += 1,
            }
            self.note_data(taken);
            if taken == Taken::Now && self.recv.ended {
                self.news.ended = true;
            }
        }
        if kind.destroy {
            if fresh {
                return true;
            }
            self.stats.refused += 1;
        }
        if kind.message {
            self.on_message(payload);
        }
        let ack = self.send.first.near(header.ack);
        if ack > self.send.next() {
            self.stats.bad_acks += 1; // udx.18, udx.102: no ack for it either
            return false;
        }
        if kind.data || kind.end {
            self.recv.ack_wanted = true; // udx.20
        }
        self.on_window(now, header.window, seq, ack);
        self.on_ack(now, ack, kind, header.data_offset, body);
        self.follow(now);
        false
    }

    /// Follows udx.26.
    fn on_message(&mut self, payload: &[u8]) {
        if self.news.messages.len() < limits::UDX_MESSAGES_MAX && self.recv.take_message(payload.len()) {
            self.news.messages.push_back(payload.to_vec());
        } else {
            self.stats.refused += 1;
        }
    }

    /// udx.11: an older packet does not change the window.
    fn on_window(&mut self, now: Time, window: u32, seq: Seq, ack: Seq) {
        if ack < self.send.first {
            return;
        }
        if self.window_from.is_none_or(|from| from <= (seq, ack)) {
            self.window = window;
            self.window_from = Some((seq, ack));
            if window > 0 && self.at.zero_window.take().is_some() {
                self.rest(now);
            }
        }
    }

    fn on_ack(&mut self, now: Time, ack: Seq, kind: Kind, data_offset: u8, body: &[u8]) {
        let sack = if kind.sack { sack(data_offset, body) } else { Sack::default() };
        if ack <= self.send.first && sack.blocks.is_empty() {
            return;
        }
        let (least, before) = (self.rtt.min(), self.send.acked());
        let report = self.send.on_ack(now, ack.max(self.send.first), &sack.blocks, least);
        self.stats.bad_blocks += report.bad_blocks as u64;
        if self.send.acked() != before {
            self.check_flush();
            self.check_drain();
        }
        if let Some(change) = &mut self.change
            && change.pending
            && self.send.first >= change.at
        {
            change.pending = false;
            self.news.connected = true; // udx.60
        }
        if report.delivered == 0 {
            return;
        }
        if self.from_remote {
            self.credit = Credit::Proven; // udx.99
            self.left = None; // udx.132
        }
        self.mtu.on_acked();
        if self.mtu.under_way().is_some_and(|probe| self.send.has_arrived(probe)) {
            self.mtu.on_arrived();
        }
        if report.rtt.is_none()
            && self.rtt.srtt.is_none()
            && let Some(since_last) = report.again
        {
            self.rtt.guess(now, since_last);
        }
        let timeouts = self.timeouts;
        if let Some(sample) = report.rtt.or(report.most.filter(|&most| self.rtt.admits(now, most, timeouts)))
        {
            self.rtt.sample(now, sample);
            // udx.34: only now is it known how long to wait; the ack of a packet sent twice says nothing of that
            self.timeouts = 0;
            self.probes = 0;
        }
        if report.spurious > 0 {
            self.stats.spurious += report.spurious as u64;
            self.send.on_spurious();
        }
        if self.recovery.is_some_and(|until| self.send.first >= until) {
            self.leave_recovery();
        }
        let blind = sack.blocks.len() >= BLOCKS_MAX;
        self.send.told_to = sack.blocks.last().filter(|_| blind).map(|last| self.send.first.near(last.end));
        self.look_for_loss(now);
        if let Some(newest) = &report.newest {
            let arrival = Arrival {
                count: report.delivered,
                blind,
                newest,
                rtt: report.rtt,
                least_rtt: self.rtt.min(),
                srtt: self.rtt.srtt,
                in_flight: self.send.in_flight(),
                packet_bytes: self.packet_bytes(),
            };
            self.congestion.on_ack(now, &arrival);
        }
        if self.send.outstanding() == 0 {
            self.at.timeout = None;
            self.at.probe = None;
            self.at.reorder = None;
            if self.send.end == End::Acked && !self.recv.ended {
                self.recv.ack_wanted = true; // udx.14: one more state packet
            }
            if self.window == 0 && self.send.has_new() && self.at.zero_window.is_none() {
                self.at.zero_window = Some(now + self.rtt.rto()); // udx.42
            }
            self.rest(now);
        } else {
            self.at.timeout = Some(now + self.backed_off());
            self.arm_probe(now);
        }
    }

    fn leave_recovery(&mut self) {
        self.recovery = None;
        self.congestion.on_recovered();
    }

    fn look_for_loss(&mut self, now: Time) {
        let srtt = self.rtt.srtt.unwrap_or_default();
        let lost = self.send.detect_loss(now, self.recovery.is_some(), self.rtt.min(), srtt);
        self.at.reorder = lost.again;
        self.stats.losses += lost.count as u64;
        let lost = lost.sure.saturating_sub(self.lost_probes()); // udx.89; udx.96: too long is not too many
        if lost == 0 {
            return;
        }
        self.congestion.on_loss(lost);
        if self.recovery.is_none() {
            self.stats.recoveries += 1;
            self.recovery = Some(self.send.next());
            self.congestion.on_recovery(self.send.in_flight());
        }
    }

    /// How many of the packets that were just taken for lost were probes of the path.
    fn lost_probes(&mut self) -> usize {
        if !self.mtu.under_way().is_some_and(|probe| self.send.is_lost(probe)) {
            return 0;
        }
        self.stats.mtu_losses += 1;
        self.mtu.on_lost();
        1
    }

    fn check_flush(&mut self) {
        if self.flush.is_some_and(|until| self.send.acked() >= until) {
            self.flush = None;
            self.news.flushed = true;
        }
    }

    /// Follows udx.55.
    fn check_drain(&mut self) {
        if self.hit_high_water && self.send.unsent_bytes() < LOW_WATER {
            self.hit_high_water = false;
            self.news.drained = true;
        }
    }

    /// Both sides ended, and each knows of the other's end (udx.16).
    pub fn is_done(&self) -> bool {
        !self.is_closed() && self.recv.ended && self.send.end == End::Acked
    }

    // ---- events out

    pub fn poll_event(&mut self, stream: StreamId) -> Option<Event> {
        if self.news.connected {
            self.news.connected = false;
            if let Some(path) = self.path() {
                return Some(Event::Connected { stream, socket: path.socket, from: path.to });
            }
        }
        if let Some((socket, from)) = self.news.called.take() {
            return Some(Event::Called { stream, socket, from });
        }
        if matches!(self.phase, Phase::Open { .. } | Phase::Expecting { .. }) {
            return None; // what came is kept until the stream is connected
        }
        if let Some(bytes) = take_first(&mut self.news.messages) {
            self.recv.gave_message(bytes.len());
            return Some(Event::Message { stream, bytes });
        }
        if self.reading
            && let Some(bytes) = self.recv.read()
        {
            return Some(Event::Data { stream, bytes });
        }
        if core::mem::take(&mut self.news.drained) {
            return Some(Event::Drained { stream });
        }
        if core::mem::take(&mut self.news.flushed) {
            return Some(Event::Flushed { stream });
        }
        if self.recv.has_unread() {
            return None;
        }
        if core::mem::take(&mut self.news.ended) {
            return Some(Event::Ended { stream });
        }
        self.news.closed.take().map(|why| Event::Closed { stream, why })
    }

    /// Bytes of memory behind this, as far as there is room in lists.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let queues = self.messages.capacity() + self.news.messages.capacity();
        self.send.heap_bytes() + self.recv.heap_bytes() + queues * size_of::<(Vec<u8>, Option<u8>)>()
    }

    /// Of a full packet, with its header.
    fn packet_bytes(&self) -> usize {
        self.mtu.payload() + HEADER_LEN
    }

    pub fn stats(&self) -> Stats {
        Stats {
            phase: self.congestion.phase(),
            bandwidth: self.congestion.bandwidth(self.packet_bytes()),
            pacing_rate: self.congestion.pacing_rate(),
            mtu: self.mtu.size(),
            rtt: self.rtt.srtt,
            timeout: self.rtt.rto(),
            congestion_window: self.congestion.window(),
            in_flight: self.send.in_flight(),
            unacked_bytes: self.send.unacked_bytes(),
            unsent_bytes: self.send.unsent_bytes(),
            held_bytes: self.recv.bytes(),
            unproven: !self.credit.is_proven(),
            send_window: self.window,
            changing: self.change.is_some_and(|change| change.pending),
            ..self.stats
        }
    }
}

/// udx.4 and udx.5: the blocks fill the data offset if that lies inside the payload, else all of it.
fn sack(data_offset: u8, body: &[u8]) -> Sack {
    let offset = usize::from(data_offset);
    let area = if offset > 0 && offset < body.len() { &body[..offset] } else { body };
    wire::decode(Sack::whole(area)).unwrap_or_default()
}
