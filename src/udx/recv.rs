//! What arrives: puts packets in order and holds them until the reader takes them. Follows udx.20 to udx.26.

use std::collections::{BTreeMap, VecDeque};

use super::seq::{Ranges, Seq};
use crate::base::{limits, take_first};
use crate::wire::udx::Block;

/// Payloads are joined up to this size before they are handed out.
const CHUNK: usize = 32 * 1024;
/// Payloads of this size and more are a transfer: the chunk that they join gets its whole room at once.
const BULK: usize = 512;
/// udx.22: a sender with an open window may send one packet more than it holds.
const OVERSHOOT: usize = limits::DATAGRAM_MAX;
/// What a packet out of order costs beside its bytes, and a message: their places in the lists, and what an allocation
/// takes at least. (udx.100)
const PIECE: usize = 160;
/// All that is held, with these costs, is at most the window and this part of it.
const COSTS: usize = 6;
/// Blocks in an ack, and the lowest ones that are among them in any case. (udx.21)
const BLOCKS_MAX: usize = 49;
const BLOCKS_LOWEST: usize = 9;

#[derive(Debug)]
pub(super) struct Recv {
    /// The next packet in order: everything before it has arrived.
    pub next: Seq,
    /// Packets beyond `next`.
    held: BTreeMap<Seq, Piece>,
    held_bytes: usize,
    held_ranges: Ranges,
    /// The last packet that came out of order.
    latest: Seq,
    /// In order, not taken by the reader.
    unread: VecDeque<Vec<u8>>,
    unread_bytes: usize,
    /// Unordered messages that were not taken, with their costs.
    messages: usize,
    window_max: usize,
    /// Nobody has said yet where the packets should come from.
    early: bool,
    /// The window in the last packet that left.
    told: usize,
    /// The last packet in order had END.
    pub ended: bool,
    /// Data or END came since the last ack left.
    pub ack_wanted: bool,
}

#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    end: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    Now,
    Held,
    /// It was here before, or lies behind the end.
    Old,
    /// There is no room for it.
    Refused,
}

impl Recv {
    pub fn new(next: Seq) -> Recv {
        Recv {
            next,
            held: BTreeMap::new(),
            held_bytes: 0,
            held_ranges: Ranges::default(),
            latest: next,
            unread: VecDeque::new(),
            unread_bytes: 0,
            messages: 0,
            window_max: limits::UDX_WINDOW_MAX,
            early: true,
            told: limits::UDX_WINDOW_MAX,
            ended: false,
            ack_wanted: false,
        }
    }

    pub fn set_window_max(&mut self, bytes: usize) {
        self.window_max = bytes.clamp(OVERSHOOT, limits::UDX_UNACKED_MAX);
    }

    /// The stream is connected.
    pub fn begin(&mut self) {
        self.early = false;
    }

    /// What may be held: little until the stream is connected. (udx.101)
    fn most(&self) -> usize {
        if self.early { self.window_max.min(limits::UDX_EARLY_MAX) } else { self.window_max }
    }

    /// What is held, with its costs.
    pub fn load(&self) -> usize {
        self.bytes() + self.held.len() * PIECE + self.messages
    }

    /// Room for `bytes` more that the stream can do without. (udx.100)
    fn has_room(&self, bytes: usize) -> bool {
        let most = self.most();
        self.load() + bytes + PIECE <= most + most / COSTS
    }

    /// No room even for `bytes` that the stream waits for.
    fn is_laden(&self, bytes: usize) -> bool {
        let most = self.most();
        self.load() + bytes > most + most / COSTS + OVERSHOOT
    }

    /// A message of `len` bytes is kept by the caller until it says `gave_message`. False: there is no room for it.
    pub fn take_message(&mut self, len: usize) -> bool {
        let room = self.has_room(len);
        if room {
            self.messages += len + PIECE;
        }
        room
    }

    pub fn gave_message(&mut self, len: usize) {
        self.messages = self.messages.saturating_sub(len + PIECE);
    }

    /// A packet with data or END.
    pub fn take_in(&mut self, seq: Seq, bytes: &[u8], end: bool) -> Taken {
        if seq < self.next || self.ended || self.held_ranges.end_of(seq).is_some() {
            return Taken::Old;
        }
        let after = self.unread_bytes + self.held_bytes + bytes.len();
        if seq == self.next {
            // with an empty queue of unread bytes this never refuses: what is missing always fits
            if after > self.most() + OVERSHOOT || (self.unread_bytes > 0 && self.is_laden(bytes.len())) {
                return Taken::Refused;
            }
            self.in_order(bytes, end);
            self.release();
            return Taken::Now;
        }
        let ahead = seq.since(self.next);
        if after > self.window_max || !self.has_room(bytes.len()) || ahead > limits::UDX_AHEAD_MAX {
            return Taken::Refused; // udx.23
        }
        self.held.insert(seq, Piece { bytes: bytes.to_vec(), end });
        self.held_ranges.insert(seq, seq.next());
        self.latest = seq;
        self.held_bytes += bytes.len();
        Taken::Held
    }

    /// A packet with this number is the next, and nothing that came before waits for the reader.
    pub fn is_next(&self, seq: u32) -> bool {
        let nothing_waits = self.unread.is_empty() && self.held_ranges.is_empty();
        nothing_waits && !self.early && !self.ended && seq == self.next.wire()
    }

    fn in_order(&mut self, bytes: &[u8], end: bool) {
        self.next = self.next.next();
        self.ended = end;
        self.unread_bytes += bytes.len();
        match self.unread.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK => {
                if bytes.len() >= BULK && last.capacity() < CHUNK {
                    last.reserve_exact(CHUNK - last.len());
                }
                last.extend_from_slice(bytes);
            }
            _ if bytes.is_empty() => {}
            _ => self.unread.push_back(bytes.to_vec()),
        }
    }

    /// Moves what is in order now.
    fn release(&mut self) {
        if self.held_ranges.is_empty() {
            return;
        }
        while !self.ended
            && let Some(first) = self.held.first_entry()
            && *first.key() == self.next
        {
            let piece = first.remove();
            self.held_bytes -= piece.bytes.len();
            self.in_order(&piece.bytes, piece.end);
        }
        if self.ended {
            self.held.clear();
            self.held_bytes = 0;
            self.held_ranges = Ranges::default();
        }
        self.held_ranges.trim(self.next);
    }

    /// The next bytes in order.
    pub fn read(&mut self) -> Option<Vec<u8>> {
        let bytes = take_first(&mut self.unread)?;
        self.unread_bytes -= bytes.len();
        // udx.24: the sender learns of the new room when it believed in little
        let window = self.window() as usize;
        if self.told < self.window_max / 2 && window >= self.told + self.window_max / 4 {
            self.ack_wanted = true;
        }
        Some(bytes)
    }

    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Forgets what was not taken.
    pub fn discard(&mut self) {
        self.unread = VecDeque::new();
        self.unread_bytes = 0;
        self.held = BTreeMap::new();
        self.held_bytes = 0;
        self.held_ranges = Ranges::default();
        self.messages = 0;
    }

    /// The window to tell the sender: it follows the reader (udx.24).
    pub fn window(&self) -> u32 {
        u32::try_from(self.window_max.saturating_sub(self.unread_bytes)).unwrap_or(u32::MAX)
    }

    /// A packet with the present window and ack leaves.
    pub fn on_told(&mut self) {
        self.told = self.window() as usize;
        if !self.has_gap() {
            self.ack_wanted = false;
        }
    }

    /// There are packets beyond a missing one: an ack wants blocks.
    pub fn has_gap(&self) -> bool {
        !self.held_ranges.is_empty()
    }

    /// Ranges beyond the missing packet: all, or the lowest and those up to what came last (udx.21).
    pub fn blocks(&self) -> Vec<Block> {
        if !self.has_gap() {
            return Vec::new(); // the usual case
        }
        let skipped = self.held_ranges.count_to(self.latest).saturating_sub(BLOCKS_MAX);
        let lowest = self.held_ranges.iter().take(BLOCKS_LOWEST);
        let latest = self.held_ranges.iter().skip(BLOCKS_LOWEST + skipped).take(BLOCKS_MAX - BLOCKS_LOWEST);
        lowest.chain(latest).map(|(start, end)| Block { start: start.wire(), end: end.wire() }).collect()
    }

    /// Bytes of memory behind this, as far as there is room in lists.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let chunks = self.unread.iter().map(Vec::capacity);
        let pieces = self.held.values().map(|piece| PIECE + piece.bytes.capacity());
        let lists = self.unread.capacity() * size_of::<Vec<u8>>() + self.held_ranges.heap_bytes();
        lists + chunks.sum::<usize>() + pieces.sum::<usize>()
    }

    /// Bytes held, in order or not.
    pub fn bytes(&self) -> usize {
        self.unread_bytes + self.held_bytes
    }
}
