//! What leaves: the written bytes from the first that is not acked on, in the buffers in which they were handed over or
//! collected, a ring of packets that point into these, and which packets are lost. Follows udx.10 to udx.14,
//! udx.34 to udx.39 and udx.89.

use std::collections::VecDeque;

use super::cc::{Newest, Stamp};
use super::seq::{Ranges, Seq};
use crate::base::{Bytes, Span, Time, limits};
use crate::wire::udx::Block;

/// udx.36: so many timeouts of one packet, the next ends the stream.
const TIMEOUTS_MAX: u8 = 6;
/// Lists that are empty and larger than this, in bytes and in entries, are given back, so that an idle stream is small
/// (udx.107).
const KEEP: usize = 512;
const KEEP_PACKETS: usize = 4;
/// Small writes are collected in buffers of this size; a buffer of at least `OWN` bytes that is handed over is kept as
/// it is.
const COLLECT: usize = 32 * 1024;
const OWN: usize = 4096;

/// Written bytes that lie together.
#[derive(Debug)]
struct Chunk {
    /// Where its first byte stands in the stream.
    start: u64,
    /// The first `skip` bytes of the buffer are none of the stream's.
    skip: usize,
    buffer: Vec<u8>,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.skip..]
    }

    fn end(&self) -> u64 {
        self.start + (self.buffer.len() - self.skip) as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    InFlight,
    Lost,
    Arrived,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    /// Where its bytes begin, counted from the first byte of the stream.
    start: u64,
    /// Number of the last transmission among all of this stream.
    sending: u64,
    sent: Time,
    first_sent: Time,
    stamp: Stamp,
    len: u16,
    sends: u8,
    timeouts: u8,
    end: bool,
    fate: Fate,
}

/// The write side's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Open,
    /// No more writes; END has not left.
    Wanted,
    Sent,
    Acked,
}

#[derive(Debug)]
pub(super) struct Send {
    /// The bytes from the first that is not acked on, and perhaps some before it.
    chunks: VecDeque<Chunk>,
    /// The first byte that is not acked, the first that was never sent, and the end of what was written; counted from
    /// the first of the stream.
    acked: u64,
    unsent: u64,
    written: u64,
    flight: VecDeque<Packet>,
    /// The first packet that is not acked, `flight[0]`.
    pub first: Seq,
    /// Packets in the order of their last transmission, with entries that are out of date.
    order: VecDeque<(u64, Seq)>,
    /// Packets to send again, with entries that are out of date.
    lost: VecDeque<Seq>,
    sendings: u64,
    in_flight: usize,
    /// What arrived beyond `first`.
    arrived: Ranges,
    arrived_count: usize,
    pub end: End,
    rack: Rack,
    /// What lies beyond may have arrived: the last ack had no room to say so. (udx.89)
    pub told_to: Option<Seq>,
}

/// Recent acknowledgment: the packet sent last among those that arrived.
#[derive(Debug)]
struct Rack {
    sending: u64,
    rtt: Span,
    /// End of the highest packet that arrived.
    highest: Seq,
    /// Packets overtake each other on this path.
    reordering: bool,
    /// Quarters of the least round trip to wait for late packets.
    patience: u32,
}

/// What an ack said.
#[derive(Default, Debug)]
pub(super) struct Report {
    /// Packets that arrived.
    pub delivered: usize,
    /// From the last sent of them that was sent only once.
    pub rtt: Option<Span>,
    /// The least it can have been at most, if all were sent again: since the first time one of them was sent.
    pub most: Option<Span>,
    /// Since the last time one of them was sent, if all were sent again.
    pub again: Option<Span>,
    /// Packets that were taken for lost and were not.
    pub spurious: usize,
    /// Blocks that no honest receiver sends.
    pub bad_blocks: usize,
    /// The packet that was sent last among those that arrived.
    pub newest: Option<Newest>,
    newest_sending: u64,
    sample: u64,
}

/// Packets that were just taken for lost.
#[derive(Default, Debug)]
pub(super) struct Lost {
    pub count: usize,
    /// Those of them that an ack would have named if they had arrived.
    pub sure: usize,
    /// When to look again.
    pub again: Option<Time>,
}

impl Send {
    pub fn new(first: Seq) -> Send {
        Send {
            chunks: VecDeque::new(),
            acked: 0,
            unsent: 0,
            written: 0,
            flight: VecDeque::new(),
            first,
            order: VecDeque::new(),
            lost: VecDeque::new(),
            sendings: 0,
            in_flight: 0,
            arrived: Ranges::default(),
            arrived_count: 0,
            end: End::Open,
            rack: Rack { sending: 0, rtt: Span::ZERO, highest: first, reordering: false, patience: 1 },
            told_to: None,
        }
    }

    /// Takes a copy of `bytes`. False: too much is here already.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let room = self.has_room(bytes.len());
        if room && !bytes.is_empty() {
            self.collect(bytes);
        }
        room
    }

    /// As `write`; a long buffer is kept instead of a copy.
    pub fn write_owned(&mut self, bytes: Bytes) -> bool {
        if bytes.len() < OWN {
            return self.write(&bytes);
        }
        let room = self.has_room(bytes.len());
        if room {
            let start = self.written;
            self.written += bytes.len() as u64;
            let (buffer, skip) = bytes.into_parts();
            self.chunks.push_back(Chunk { start, skip, buffer });
        }
        room
    }

    fn has_room(&self, len: usize) -> bool {
        (self.written - self.acked) as usize + len <= limits::UDX_UNACKED_MAX
    }

    fn collect(&mut self, bytes: &[u8]) {
        let start = self.written;
        self.written += bytes.len() as u64;
        if let Some(last) = self.chunks.back_mut() {
            if last.end() <= self.acked {
                (last.start, last.skip) = (start, 0); // kept for its room
                last.buffer.clear();
            }
            let len = last.buffer.len() + bytes.len();
            if len > last.buffer.capacity() && (OWN..=COLLECT).contains(&len) {
                last.buffer.reserve_exact(COLLECT - last.buffer.len());
            }
            if len <= last.buffer.capacity() || len <= COLLECT {
                return last.buffer.extend_from_slice(bytes);
            }
        }
        self.chunks.push_back(Chunk { start, skip: 0, buffer: bytes.to_vec() });
    }

    /// Lets go what is acked.
    fn release(&mut self) {
        while let Some(first) = self.chunks.front()
            && first.end() <= self.acked
        {
            if self.acked == self.written && self.chunks.len() == 1 && first.buffer.capacity() <= KEEP {
                break;
            }
            self.chunks.pop_front();
        }
    }

    /// The sequence number of the next new packet.
    pub fn next(&self) -> Seq {
        self.first.plus(self.flight.len())
    }

    /// A stream that relays: others' packets were sent up to `next`. (udx.92)
    pub fn follow(&mut self, next: Seq) {
        if self.flight.is_empty() {
            self.first = self.first.max(next);
        }
    }

    /// Packets sent and neither arrived nor lost.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Packets that are not acked.
    pub fn outstanding(&self) -> usize {
        self.flight.len()
    }

    /// Bytes sent and not acked.
    pub fn unacked_bytes(&self) -> usize {
        (self.unsent - self.acked) as usize
    }

    pub fn unsent_bytes(&self) -> usize {
        (self.written - self.unsent) as usize
    }

    /// Bytes written so far, and bytes acked so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// There is something new to send.
    pub fn has_new(&self) -> bool {
        self.unsent_bytes() > 0 || self.end == End::Wanted
    }

    /// The receiver's window lets another packet through: an open one always has room for one (udx.12).
    pub fn fits(&self, window: u32, payload: usize) -> bool {
        let (window, unacked) = (window as usize, self.unacked_bytes());
        window > 0 && (self.flight.is_empty() || unacked + payload.min(self.unsent_bytes()) <= window)
    }

    /// Cuts the next packet of at most `payload` bytes; to be transmitted at once. (udx.10, udx.54)
    pub fn cut(&mut self, payload: usize) -> Option<Seq> {
        let seq = self.next();
        let unsent = self.unsent_bytes();
        let len = unsent.min(payload);
        let end = self.end == End::Wanted && len == unsent; // udx.13
        if len == 0 && !end {
            return None;
        }
        if end {
            self.end = End::Sent;
        }
        self.flight.push_back(Packet {
            start: self.unsent,
            sending: 0,
            sent: Time::ZERO,
            first_sent: Time::ZERO,
            stamp: Stamp::NONE,
            len: len as u16,
            sends: 0,
            timeouts: 0,
            end,
            fate: Fate::Lost,
        });
        self.unsent += len as u64;
        Some(seq)
    }

    /// The next packet to send again.
    pub fn next_lost(&mut self) -> Option<Seq> {
        while let Some(&seq) = self.lost.front() {
            if self.packet(seq).is_some_and(|packet| packet.fate == Fate::Lost) {
                return Some(seq);
            }
            self.lost.pop_front();
        }
        None
    }

    /// The packet that a tail-loss probe sends again: the last one, unless it is known to have arrived or be lost.
    pub fn tail(&self) -> Option<Seq> {
        let at = self.flight.iter().rposition(|packet| packet.fate == Fate::InFlight)?;
        Some(self.first.plus(at))
    }

    /// A packet that was sent has arrived, or is taken for lost.
    pub fn has_arrived(&self, seq: Seq) -> bool {
        seq < self.first || self.fate(seq) == Some(Fate::Arrived)
    }

    pub fn is_lost(&self, seq: Seq) -> bool {
        self.fate(seq) == Some(Fate::Lost)
    }

    /// Bytes of a packet that is not acked.
    pub fn len_of(&self, seq: Seq) -> usize {
        self.flight.get(seq.since(self.first)).map_or(0, |packet| usize::from(packet.len))
    }

    fn fate(&self, seq: Seq) -> Option<Fate> {
        if seq < self.first { None } else { self.flight.get(seq.since(self.first)).map(|packet| packet.fate) }
    }

    fn packet(&mut self, seq: Seq) -> Option<&mut Packet> {
        if seq < self.first { None } else { self.flight.get_mut(seq.since(self.first)) }
    }

    /// `seq` leaves now: marks it, says whether it has data and END and was sent before, and adds its bytes to `out`.
    pub fn transmit(&mut self, seq: Seq, now: Time, stamp: Stamp) -> Sending {
        self.sendings += 1;
        let sending = self.sendings;
        let in_flight = &mut self.in_flight;
        let at = seq.since(self.first);
        let packet = &mut self.flight[at];
        if packet.fate != Fate::InFlight {
            packet.fate = Fate::InFlight;
            *in_flight += 1;
        }
        packet.sending = sending;
        packet.sent = now;
        packet.stamp = stamp;
        if packet.sends == 0 {
            packet.first_sent = now;
        }
        packet.sends = packet.sends.saturating_add(1);
        self.order.push_back((sending, seq));
        let data = packet.start..packet.start + u64::from(packet.len);
        Sending { data, end: packet.end, again: packet.sends > 1 }
    }

    /// Adds the bytes of a packet that `transmit` told of.
    pub fn copy(&self, sending: &Sending, out: &mut Vec<u8>) {
        let (mut start, end) = (sending.data.start, sending.data.end);
        let first = self.chunks.partition_point(|chunk| chunk.end() <= start);
        for chunk in self.chunks.range(first..) {
            if start >= end {
                return;
            }
            let from = (start - chunk.start) as usize;
            let to = (end.min(chunk.end()) - chunk.start) as usize;
            out.extend_from_slice(&chunk.bytes()[from..to]);
            start = chunk.end();
        }
    }

    /// All before `ack` has arrived, and what `blocks` say. `ack` is not beyond what was sent.
    pub fn on_ack(&mut self, now: Time, ack: Seq, blocks: &[Block], least_rtt: Span) -> Report {
        let mut report = Report::default();
        let mut bytes = 0;
        while self.first < ack {
            let Some(packet) = self.flight.pop_front() else { break };
            if packet.fate == Fate::Arrived {
                self.arrived_count -= 1;
            } else {
                self.arrive(now, self.first, &packet, least_rtt, &mut report);
            }
            bytes += usize::from(packet.len);
            if packet.end {
                self.end = End::Acked;
            }
            self.first = self.first.next();
        }
        self.acked += bytes as u64;
        self.release();
        self.arrived.trim(self.first);
        let mut least = self.first;
        for block in blocks {
            let (start, end) = (self.first.near(block.start), self.first.near(block.end));
            if start < self.first && start < end && end <= self.next() {
                continue; // udx.102: an ack that was overtaken by a later one
            }
            if start < least || end <= start || end > self.next() {
                report.bad_blocks += 1; // udx.35
                continue;
            }
            least = end;
            self.on_block(now, start, end, least_rtt, &mut report);
        }
        if self.flight.is_empty() {
            self.give_back();
        }
        report
    }

    fn on_block(&mut self, now: Time, start: Seq, end: Seq, least_rtt: Span, report: &mut Report) {
        if self.arrived.end_of(start).is_some_and(|known| known >= end) {
            return; // most were named before
        }
        let mut seq = start;
        while seq < end {
            if let Some(known) = self.arrived.end_of(seq) {
                seq = known;
                continue;
            }
            let at = seq.since(self.first);
            let packet = &mut self.flight[at];
            let before = *packet;
            packet.fate = Fate::Arrived;
            self.arrived_count += 1;
            self.arrive(now, seq, &before, least_rtt, report);
            seq = seq.next();
        }
        self.arrived.insert(start, end);
    }

    fn arrive(&mut self, now: Time, seq: Seq, packet: &Packet, least_rtt: Span, report: &mut Report) {
        report.delivered += 1;
        let rtt = now.since(packet.sent);
        let once = packet.sends == 1;
        match packet.fate {
            Fate::InFlight => {
                self.in_flight -= 1;
                if !once && rtt * 2 < least_rtt {
                    report.spurious += 1; // its ack was on the way when it was sent again
                }
            }
            Fate::Lost => report.spurious += 1,
            Fate::Arrived => return,
        }
        if packet.sending >= report.newest_sending {
            report.newest_sending = packet.sending;
            report.newest = Some(Newest { stamp: packet.stamp, sent: packet.sent });
        }
        let most = now.since(packet.first_sent);
        report.most = Some(report.most.map_or(most, |known| known.min(most)));
        report.again = Some(report.again.map_or(rtt, |known| known.min(rtt)));
        if once && packet.sending >= report.sample {
            report.sample = packet.sending;
            report.rtt = Some(rtt); // udx.34
        }
        if packet.sending > self.rack.sending && (once || rtt >= least_rtt) {
            self.rack.sending = packet.sending;
            self.rack.rtt = rtt;
        }
        if seq >= self.rack.highest {
            self.rack.highest = seq.next();
        } else if once && packet.fate == Fate::InFlight {
            self.rack.reordering = true;
        }
    }

    /// How long a packet may come later than one that was sent after it (udx.37).
    fn reorder_window(&self, recovering: bool, least_rtt: Span, srtt: Span) -> Span {
        if !self.rack.reordering && (recovering || self.arrived_count >= 3) {
            return Span::ZERO;
        }
        Span::from_micros(least_rtt.as_micros() / 4 * u64::from(self.rack.patience)).min(srtt)
    }

    /// A loss that was none: wait longer for late packets on this path.
    pub fn on_spurious(&mut self) {
        self.rack.reordering = true;
        self.rack.patience = (self.rack.patience + 1).min(16);
    }

    /// Marks packets lost that were sent before one that arrived, long enough ago.
    pub fn detect_loss(&mut self, now: Time, recovering: bool, least_rtt: Span, srtt: Span) -> Lost {
        let wait = self.rack.rtt + self.reorder_window(recovering, least_rtt, srtt);
        let told_to = self.told_to;
        let mut lost = Lost::default();
        while let Some(&(sending, seq)) = self.order.front() {
            let newest = self.rack.sending;
            if let Some(packet) = self.packet(seq)
                && packet.sending == sending
                && packet.fate == Fate::InFlight
            {
                if sending >= newest {
                    break;
                }
                if packet.sent + wait > now {
                    lost.again = Some(packet.sent + wait);
                    break;
                }
                packet.fate = Fate::Lost;
                self.in_flight -= 1;
                self.lost.push_back(seq);
                lost.count += 1;
                lost.sure += usize::from(told_to.is_none_or(|end| seq < end));
            }
            self.order.pop_front();
        }
        lost
    }

    /// Nothing came back for a timeout: the first packet and all that are late count as lost. False: give up, which
    /// happens only if this timeout counts.
    pub fn on_timeout(&mut self, now: Time, least_rtt: Span, srtt: Span, counts: bool) -> bool {
        let wait = self.rack.rtt + self.reorder_window(true, least_rtt, srtt);
        self.lost.clear();
        let mut seq = self.first;
        for (at, packet) in self.flight.iter_mut().enumerate() {
            if packet.fate == Fate::InFlight && (at == 0 || packet.sent + wait < now) {
                if counts && packet.timeouts >= TIMEOUTS_MAX {
                    return false;
                }
                packet.timeouts += u8::from(counts);
                packet.fate = Fate::Lost;
                self.in_flight -= 1;
            }
            if packet.fate == Fate::Lost {
                self.lost.push_back(seq);
            }
            seq = seq.next();
        }
        true
    }

    /// All that is in flight counts as lost, which says nothing of how much a path holds. (udx.131)
    pub fn lose_all(&mut self) {
        self.lost.clear();
        let mut seq = self.first;
        for packet in &mut self.flight {
            if packet.fate == Fate::InFlight {
                packet.fate = Fate::Lost;
                self.in_flight -= 1;
            }
            if packet.fate == Fate::Lost {
                self.lost.push_back(seq);
            }
            seq = seq.next();
        }
    }

    /// All that is not acked is an END without data.
    pub fn lacks_only_end(&self) -> bool {
        self.flight.len() == 1 && self.flight.front().is_some_and(|packet| packet.end && packet.len == 0)
    }

    /// Follows udx.46.
    pub fn take_end_for_acked(&mut self) {
        self.flight.clear();
        self.in_flight = 0;
        self.end = End::Acked;
        self.give_back();
    }

    fn give_back(&mut self) {
        self.order.clear();
        self.lost.clear();
        if self.chunks.is_empty() && self.chunks.capacity() > KEEP_PACKETS {
            self.chunks = VecDeque::new();
        }
        if self.flight.capacity().max(self.order.capacity()).max(self.lost.capacity()) > KEEP_PACKETS {
            (self.flight, self.order, self.lost) = Default::default();
        }
    }

    /// Bytes of memory behind this, as far as there is room in lists.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let buffers = self.chunks.iter().map(|chunk| chunk.buffer.capacity());
        buffers.sum::<usize>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.flight.capacity() * size_of::<Packet>()
            + self.order.capacity() * size_of::<(u64, Seq)>()
            + self.lost.capacity() * size_of::<Seq>()
            + self.arrived.heap_bytes()
    }

    /// Forgets all.
    pub fn discard(&mut self) {
        *self = Send { end: self.end, ..Send::new(self.next()) };
    }
}

/// A packet on its way out.
pub(super) struct Sending {
    data: core::ops::Range<u64>,
    pub end: bool,
    /// It was sent before.
    pub again: bool,
}

impl Sending {
    pub fn len(&self) -> usize {
        (self.data.end - self.data.start) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pitfalls 2.14: how often a packet was sent is counted without overflow.
    #[test]
    fn a_packet_is_sent_three_hundred_times() {
        let mut send = Send::new(Seq::first(0));
        assert!(send.write(b"stubborn"));
        let seq = send.cut(1152).expect("something to send");
        for n in 0..300 {
            let now = Time::from_micros(n);
            let sending = send.transmit(seq, now, Stamp::NONE);
            let mut bytes = Vec::new();
            send.copy(&sending, &mut bytes);
            assert_eq!(bytes, b"stubborn");
            assert!(send.on_timeout(now + Span::from_secs(1), Span::ZERO, Span::ZERO, false));
        }
        let report = send.on_ack(Time::from_micros(400), seq.next(), &[], Span::ZERO);
        assert_eq!((report.delivered, report.rtt, send.outstanding()), (1, None, 0));
    }

    /// Packets reach over the borders of the buffers.
    #[test]
    fn bytes_survive_however_they_were_handed_over() {
        let mut send = Send::new(Seq::first(0));
        let mut expected = 0_u8;
        let mut written = 0_u8;
        for round in 0..500 {
            for n in 0..round % 7 + 1 {
                let len = [99, 1, OWN + 7, 20_000, 300, COLLECT + 5, 0][(n + round / 7) % 7];
                let piece: Vec<u8> = (0..len).map(|n| written.wrapping_add(n as u8)).collect();
                written = written.wrapping_add(len as u8);
                assert!(match n % 3 {
                    0 => send.write_owned(Bytes::behind([&[0xee; 7], &piece[..]].concat(), 7)),
                    _ => send.write(&piece),
                });
            }
            while let Some(seq) = send.cut(640) {
                let sending = send.transmit(seq, Time::ZERO, Stamp::NONE);
                let mut bytes = Vec::new();
                send.copy(&sending, &mut bytes);
                assert_eq!(bytes.len(), sending.len());
                for byte in bytes {
                    assert_eq!(byte, expected);
                    expected = expected.wrapping_add(1);
                }
            }
            let ack = send.first.plus(if round % 5 == 0 { 0 } else { send.outstanding() / 2 + 1 });
            send.on_ack(Time::ZERO, ack, &[], Span::ZERO);
        }
        send.on_ack(Time::ZERO, send.next(), &[], Span::ZERO);
        assert_eq!((send.acked(), send.unacked_bytes()), (send.written(), 0));
        assert!(send.heap_bytes() < 4 * KEEP, "{} bytes are kept", send.heap_bytes());
    }

    /// An ack that had no room to name all says nothing of what lies beyond its last range.
    #[test]
    fn what_an_ack_could_not_name_is_late_but_no_sure_loss() {
        // proves udx.89
        for cut in [false, true] {
            let mut send = Send::new(Seq::first(0));
            assert!(send.write(&[7; 100 * 64]));
            while let Some(seq) = send.cut(64) {
                send.transmit(seq, Time::ZERO, Stamp::NONE);
            }
            let now = Time::from_micros(10_000);
            let blocks: Vec<Block> = (0..20).map(|n| Block { start: 2 * n + 1, end: 2 * n + 2 }).collect();
            send.on_ack(now, send.first, &blocks, Span::ZERO);
            // what was sent after all of it arrives, a round trip later
            let tail = send.first.plus(99);
            send.transmit(tail, now, Stamp::NONE);
            let later = Time::from_micros(20_000);
            send.told_to = cut.then(|| send.first.plus(40));
            send.on_ack(later, send.first, &[Block { start: 99, end: 100 }], Span::ZERO);
            let lost = send.detect_loss(later, true, Span::ZERO, Span::ZERO);
            let sure = if cut { 20 } else { 79 };
            assert_eq!((lost.count, lost.sure, send.in_flight()), (79, sure, 0), "all are sent again");
        }
    }
}
