//! When packets leave: a bucket that fills at the rate of the path. Follows udx.85 and udx.86.

use crate::base::{Span, Time};

/// Packets that may leave at once after a rest.
const BURST_PACKETS: u64 = 10;
/// What a bucket holds, in time at its rate: as late as the loop that drives us may be.
const BURST: Span = Span::from_millis(2);
/// Who waits, waits for this much at once, so that packets leave in batches; and never for more than so many bytes.
const BATCH: Span = Span::from_micros(500);
const BATCH_BYTES: u64 = 64 * 1024;
/// Bytes per second below which nothing is paced.
const RATE_MIN: u64 = 1000;
const RATE_MAX: u64 = 1 << 40;
/// Parts of a byte: what one byte per second brings in a microsecond.
const UNIT: i64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes per second.
    rate: u64,
    /// In parts of a byte; below zero if the last packet took more than there was.
    credit: i64,
    filled_at: Time,
    packet_bytes: u64,
    /// The bucket was empty; nothing leaves until a batch is in it.
    waiting: bool,
}

impl Pacer {
    /// A full bucket.
    pub fn new(rate: u64, packet_bytes: u64) -> Pacer {
        let mut pacer = Pacer {
            rate: rate.clamp(RATE_MIN, RATE_MAX),
            credit: 0,
            filled_at: Time::ZERO,
            packet_bytes,
            waiting: false,
        };
        pacer.credit = pacer.capacity();
        pacer
    }

    pub fn rate(&self) -> u64 {
        self.rate
    }

    pub fn set_rate(&mut self, now: Time, rate: u64, packet_bytes: u64) {
        self.fill(now);
        self.packet_bytes = packet_bytes;
        self.rate = rate.clamp(RATE_MIN, RATE_MAX);
    }

    fn in_span(&self, span: Span) -> i64 {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        self.rate.cast_signed().saturating_mul(micros)
    }

    fn capacity(&self) -> i64 {
        self.in_span(BURST).max((BURST_PACKETS * self.packet_bytes).cast_signed() * UNIT)
    }

    fn batch(&self) -> i64 {
        let (one, most) = (self.packet_bytes.cast_signed() * UNIT, BATCH_BYTES.cast_signed() * UNIT);
        self.in_span(BATCH).clamp(one, most.max(one))
    }

    fn fill(&mut self, now: Time) {
        let more = self.in_span(now.since(self.filled_at));
        self.credit = self.credit.saturating_add(more).min(self.capacity());
        self.filled_at = self.filled_at.max(now);
    }

    /// `None`: a packet may leave now; else when.
    pub fn held_until(&mut self, now: Time) -> Option<Time> {
        self.fill(now);
        let enough = if self.waiting { self.batch() } else { 1 };
        if self.credit >= enough {
            self.waiting = false;
            return None;
        }
        self.waiting = true;
        let lacking = (self.batch() - self.credit).unsigned_abs();
        Some(now + Span::from_micros(lacking.div_ceil(self.rate).max(1)))
    }

    pub fn on_sent(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub((bytes as i64).saturating_mul(UNIT));
    }
}
