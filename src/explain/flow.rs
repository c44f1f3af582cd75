//! One direction of a udx stream: its packets in the order of their numbers. Follows udx.8, udx.10, udx.38.

use std::collections::BTreeMap;

use crate::base::limits;

/// What a packet with a number brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Brought {
    /// These bytes are the next of the stream.
    Next(Vec<u8>),
    /// It was here before.
    Again,
    /// Packets before it are not here yet.
    Early,
    /// So much waits for packets before it that those are taken to be missing from the capture for good.
    Lost,
}

/// Puts packets in order. What waits is bounded.
#[derive(Debug, Default)]
pub struct Flow {
    next: u32,
    ahead: BTreeMap<u32, Vec<u8>>,
    bytes: usize,
    lost: bool,
}

impl Flow {
    /// A packet that takes a number: DATA, END or both.
    pub fn packet(&mut self, seq: u32, payload: &[u8]) -> Brought {
        // Numbers wrap around; the distance to the next one does not, as little is in flight. udx.8
        let distance = seq.wrapping_sub(self.next);
        if distance >= 1 << 31 {
            return Brought::Again;
        }
        if self.lost {
            return Brought::Lost;
        }
        if self.ahead.contains_key(&seq) {
            return Brought::Again;
        }
        self.bytes += payload.len();
        self.ahead.insert(seq, payload.to_vec());
        if distance > 0 {
            let full = self.bytes > limits::EXPLAIN_AHEAD_BYTES || self.ahead.len() > limits::UDX_AHEAD_MAX;
            return if full { self.lose() } else { Brought::Early };
        }
        let mut bytes = Vec::new();
        while let Some(more) = self.ahead.remove(&self.next) {
            self.bytes -= more.len();
            bytes.extend(more);
            self.next = self.next.wrapping_add(1);
        }
        Brought::Next(bytes)
    }

    /// The other side says that it has all before `ack`: what is not here by now was not captured. True if that is so.
    pub fn acked(&mut self, ack: u32) -> bool {
        let beyond = ack.wrapping_sub(self.next);
        if self.lost || beyond == 0 || beyond >= 1 << 31 || self.ahead.is_empty() {
            return false;
        }
        self.lose();
        true
    }

    /// The number of the packet that is waited for, and how many wait behind it.
    pub fn missing(&self) -> Option<(u32, usize)> {
        (self.lost || !self.ahead.is_empty()).then_some((self.next, self.ahead.len()))
    }

    /// True: bytes are missing for good, and nothing behind them is read.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Bytes that wait for packets before them.
    pub fn held(&self) -> usize {
        self.bytes
    }

    /// Nothing more is read.
    pub fn lose(&mut self) -> Brought {
        self.lost = true;
        self.ahead.clear();
        self.bytes = 0;
        Brought::Lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_in_order_and_once() {
        let mut flow = Flow::default();
        assert_eq!(flow.packet(0, b"a"), Brought::Next(b"a".to_vec()));
        assert_eq!(flow.packet(2, b"c"), Brought::Early);
        assert_eq!(flow.packet(2, b"c"), Brought::Again);
        assert_eq!(flow.missing(), Some((1, 1)));
        assert_eq!(flow.packet(1, b"b"), Brought::Next(b"bc".to_vec()));
        assert_eq!(flow.packet(0, b"a"), Brought::Again);
        assert_eq!(flow.missing(), None);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut flow = Flow { next: u32::MAX, ..Flow::default() };
        assert_eq!(flow.packet(0, b"b"), Brought::Early);
        assert_eq!(flow.packet(u32::MAX, b"a"), Brought::Next(b"ab".to_vec()));
    }

    #[test]
    fn what_was_acked_and_is_not_here_was_not_captured() {
        let mut flow = Flow::default();
        assert_eq!(flow.packet(1, b"b"), Brought::Early);
        assert!(!flow.acked(0));
        assert!(flow.acked(2));
        assert_eq!(flow.packet(0, b"a"), Brought::Lost);
        assert_eq!(flow.missing(), Some((0, 0)));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut flow = Flow::default();
        let last = (1..).find(|&seq| flow.packet(seq, &[0; 1400]) == Brought::Lost).expect("a bound");
        assert!(last as usize * 1400 <= limits::EXPLAIN_AHEAD_BYTES + 1400);
        assert!(flow.ahead.is_empty());
    }
}
