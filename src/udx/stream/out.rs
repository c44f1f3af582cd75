//! From what a stream wants to its next packet. Nothing is made before it is asked for, so all writes of a turn share
//! packets (udx.54) and one ack serves all packets that came in it (udx.20).

use super::{Path, Stream};
use crate::base::{Time, take_first};
use crate::udx::seq::Seq;
use crate::udx::{Output, Packet};
use crate::wire::udx::{BLOCK_LEN, HEADER_LEN, Header, Kind, Sack};
use crate::wire::{self};

/// Where the data offset stands in a packet.
const DATA_OFFSET: usize = 3;

impl Stream {
    /// Writes the next packet behind what `out` holds.
    pub fn poll(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Packet> {
        let path = self.path()?;
        let paid = self.credit.room().is_some();
        if self.recv.ack_wanted && self.recv.has_gap() && paid {
            return Some(self.ack(path, out)); // data carries no blocks
        }
        if let Some((bytes, hops)) = self.next_message() {
            return Some(Packet { ttl: hops, ..self.bare(path, Kind::MESSAGE, &bytes, out) });
        }
        if self.affords_data()
            && let Some(packet) = self.poll_data(now, path, out)
        {
            return Some(packet);
        }
        if self.heartbeat_wanted {
            self.heartbeat_wanted = false;
            self.rest(now);
            return Some(self.bare(path, Kind::HEARTBEAT, &[], out));
        }
        (self.recv.ack_wanted && paid).then(|| self.ack(path, out))
    }

    fn next_message(&mut self) -> Option<(Vec<u8>, Option<u8>)> {
        let (bytes, _) = self.messages.front()?;
        if self.credit.spare() < Some(bytes.len()) {
            return None;
        }
        take_first(&mut self.messages)
    }

    /// An address that has proven nothing gets no more than it paid for; a tail is probed by a heartbeat then. (udx.99)
    fn affords_data(&mut self) -> bool {
        if self.credit.is_proven() {
            return true;
        }
        let again = self.send.next_lost().or_else(|| self.send.tail().filter(|_| self.probe_wanted));
        let least = again.map_or(0, |seq| self.send.len_of(seq));
        let affords = self.credit.room() >= Some(least);
        if !affords && core::mem::take(&mut self.probe_wanted) {
            self.heartbeat_wanted = true;
        }
        affords
    }

    /// Bytes that a new packet may carry.
    fn payload(&self) -> usize {
        self.mtu.payload().min(self.credit.room().unwrap_or(0))
    }

    fn poll_data(&mut self, now: Time, path: Path, out: &mut Vec<u8>) -> Option<Packet> {
        self.at.pace = None;
        let payload = self.payload();
        let lost = self.send.next_lost();
        let fits = self.send.has_new() && self.send.fits(self.window, payload);
        if lost.is_some() || fits {
            let seq = if self.may_leave(now) { lost.or_else(|| self.send.cut(payload)) } else { None };
            if let Some(seq) = seq {
                self.check_drain();
                return Some(self.transmit(now, path, seq, out));
            }
        } else if !self.writer_waits
            && !self.send.has_new()
            && self.congestion.may_send(self.send.in_flight())
        {
            self.congestion.on_nothing_to_send(self.send.in_flight()); // udx.72
        }
        if self.probe_wanted
            && let Some(seq) = self.send.tail()
        {
            return Some(self.transmit(now, path, seq, out)); // udx.41, udx.61
        }
        self.probe_wanted = false;
        None
    }

    /// The congestion window lets a packet through, and it is its time (udx.85); a probe waits for neither.
    fn may_leave(&mut self, now: Time) -> bool {
        if self.probe_wanted {
            return true;
        }
        if !self.congestion.may_send(self.send.in_flight()) {
            return false;
        }
        self.at.pace = self.congestion.held_until(now);
        self.at.pace.is_none()
    }

    fn transmit(&mut self, now: Time, path: Path, seq: Seq, out: &mut Vec<u8>) -> Packet {
        let stamp = self.congestion.on_sent(now, self.send.in_flight(), self.packet_bytes());
        let sending = self.send.transmit(seq, now, stamp);
        let padding = self.probe_path(seq, sending.again, sending.len());
        self.congestion.on_bytes(HEADER_LEN + usize::from(padding) + sending.len());
        if self.probe_wanted {
            self.probe_wanted = false;
            self.stats.probes += 1;
            self.at.timeout = None;
        }
        if sending.again {
            self.stats.resends += 1;
        }
        self.last_sent = now;
        self.at.keep_alive = None;
        if self.at.timeout.is_none() {
            self.at.timeout = Some(now + self.backed_off());
        }
        self.arm_probe(now);
        let kind = Kind { data: sending.len() > 0 || !sending.end, end: sending.end, ..Kind::STATE };
        let start = self.packet(path, kind, seq, usize::from(padding) + sending.len(), out);
        if padding > 0 {
            out[start + DATA_OFFSET] = padding; // udx.6
            out.resize(start + HEADER_LEN + usize::from(padding), 0);
        }
        self.send.copy(&sending, out);
        self.leave(path, out.len() - start)
    }

    /// The padding of a packet that leaves: more than none only if it probes the path. (udx.95 to udx.97)
    fn probe_path(&mut self, seq: Seq, again: bool, len: usize) -> u8 {
        if again {
            if self.mtu.under_way() == Some(seq) {
                self.stats.mtu_losses += 1;
                self.mtu.on_lost(); // only its tail is late, maybe; it goes without padding
            }
            return 0;
        }
        if self.probe_wanted || self.change.is_some_and(|change| change.pending) {
            return 0;
        }
        let Some(padding) = self.mtu.padding(len) else { return 0 };
        self.mtu.on_sent(seq);
        self.stats.mtu_probes += 1;
        padding
    }

    /// An ack, with blocks if there are gaps.
    fn ack(&mut self, path: Path, out: &mut Vec<u8>) -> Packet {
        let seq = self.send.next();
        let mut sack = Sack { blocks: self.recv.blocks() };
        sack.blocks.truncate(self.credit.spare().unwrap_or(0) / BLOCK_LEN);
        let kind = if sack.blocks.is_empty() { Kind::STATE } else { Kind::SACK };
        let start = self.packet(path, kind, seq, sack.blocks.len() * 8, out);
        wire::encode_into(&mut sack, out);
        self.recv.ack_wanted = false;
        self.leave(path, out.len() - start)
    }

    /// The ack that a stream which is done still owes.
    pub fn last_ack(&mut self) -> Option<Output> {
        let path = self.path()?;
        self.recv.ack_wanted.then(|| owned(|out| self.ack(path, out)))
    }

    /// A packet that takes no sequence number.
    fn bare(&mut self, path: Path, kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> Packet {
        let start = self.packet(path, kind, self.send.next(), payload.len(), out);
        out.extend_from_slice(payload);
        self.leave(path, out.len() - start)
    }

    pub fn destroy_packet(&mut self) -> Option<Output> {
        let path = self.path()?;
        Some(owned(|out| self.bare(path, Kind::DESTROY, &[], out)))
    }

    /// Adds a header to `out`, with room for `len` bytes behind it. Returns where it begins.
    fn packet(&mut self, path: Path, kind: Kind, seq: Seq, len: usize, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.reserve(HEADER_LEN + len);
        let mut header = Header {
            kind,
            data_offset: 0,
            remote_id: path.remote_id,
            window: self.recv.window(),
            seq: seq.wire(),
            ack: self.recv.next.wire(),
        };
        wire::encode_into(&mut header, out);
        self.recv.on_told();
        start
    }

    fn leave(&mut self, path: Path, len: usize) -> Packet {
        self.stats.packets_out += 1;
        self.stats.bytes_out += len as u64;
        self.credit.spend(len);
        Packet { socket: path.socket, to: path.to, ttl: None }
    }

    /// The seq and ack that a late packet is answered with once the stream is gone.
    pub fn numbers(&self) -> (u32, u32) {
        (self.send.next().wire(), self.recv.next.wire())
    }
}

/// A packet that waits in a list of its own.
fn owned(make: impl FnOnce(&mut Vec<u8>) -> Packet) -> Output {
    let mut bytes = Vec::new();
    let Packet { socket, to, ttl } = make(&mut bytes);
    Output::Send { socket, to, bytes, ttl }
}
