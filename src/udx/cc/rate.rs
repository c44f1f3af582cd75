//! How fast packets arrive: each packet carries away what had arrived when it left, and its ack compares. Follows
//! udx.70 to udx.72.

use crate::base::{Span, Time};

/// A rate in packets per 1000 seconds.
pub(super) type Rate = u64;

/// What was known when a packet left.
#[derive(Clone, Copy, Debug)]
pub(in crate::udx) struct Stamp {
    /// Packets that had arrived, and when the last of them was acked.
    delivered: u64,
    delivered_at: Time,
    /// When the packet left that was acked last; the flight begins there.
    first_sent: Time,
    limited: bool,
}

impl Stamp {
    /// For a packet that has not left yet.
    pub const NONE: Stamp =
        Stamp { delivered: 0, delivered_at: Time::ZERO, first_sent: Time::ZERO, limited: false };
}

/// The packet that was sent last among those of an ack, and when.
#[derive(Clone, Copy, Debug)]
pub(in crate::udx) struct Newest {
    pub stamp: Stamp,
    pub sent: Time,
}

/// What an ack says of the rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sample {
    /// What had arrived when the packet left.
    pub prior_delivered: u64,
    pub rate: Rate,
    /// The sender had nothing more to send then.
    pub limited: bool,
}

#[derive(Default, Debug)]
pub(super) struct Sampler {
    /// Packets that arrived, of all that were ever sent.
    pub delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    /// Packets that leave before so many arrived belong to a flight that the writer kept short; 0: none.
    limited_until: u64,
}

impl Sampler {
    /// A packet leaves. `alone`: nothing else is in flight.
    pub fn stamp(&mut self, now: Time, alone: bool) -> Stamp {
        if alone {
            (self.first_sent, self.delivered_at) = (now, now); // udx.70
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            limited: self.limited_until > 0,
        }
    }

    /// There is room for more in flight, and nothing to fill it (udx.72).
    pub fn limit(&mut self, in_flight: u64) {
        self.limited_until = (self.delivered + in_flight).max(1);
    }

    /// `count` packets arrived, `newest` was sent last among them. No sample if it would be shorter than the least
    /// round trip (udx.71).
    pub fn on_ack(&mut self, now: Time, count: u64, newest: &Newest, least_rtt: Span) -> Option<Sample> {
        self.delivered += count;
        self.delivered_at = now;
        self.first_sent = newest.sent;
        if self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        let stamp = &newest.stamp;
        let sending = newest.sent.since(stamp.first_sent);
        let interval = sending.max(now.since(stamp.delivered_at));
        if interval < least_rtt {
            return None;
        }
        let rate =
            (self.delivered - stamp.delivered).saturating_mul(1_000_000_000) / interval.as_micros().max(1);
        Some(Sample { prior_delivered: stamp.delivered, rate, limited: stamp.limited })
    }
}
