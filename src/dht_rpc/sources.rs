//! How many answers each host may cause. Follows dht_rpc.90. A value.
//!
//! The source of a datagram can be forged, and some answers are longer than their questions: without a limit a node
//! would multiply the traffic that somebody else pays for.

use std::collections::BTreeMap;

use crate::base::{Span, Time, limits};

/// A token bucket for each host that asked lately, in two generations. A full bucket says as little as none, so the
/// older generation is forgotten as soon as all of it must be full, or earlier for want of room.
#[derive(Default)]
pub(super) struct Sources {
    /// When each host's bucket will be full again.
    newer: BTreeMap<u32, Time>,
    older: BTreeMap<u32, Time>,
    turned: Time,
}

/// How long the credit for one answer takes to come back.
const PER_ANSWER: Span = Span::from_micros(1_000_000 / limits::DHT_SOURCE_PER_SECOND);
/// How long an empty bucket takes to be full.
const FULL: Span = Span::from_micros(PER_ANSWER.as_micros() * limits::DHT_SOURCE_BURST);

impl Sources {
    /// Whether `host` may cause one more answer; counts it if so. Loopback cannot be forged from afar and is free.
    pub fn allow(&mut self, now: Time, host: [u8; 4]) -> bool {
        if host[0] == 127 {
            return true;
        }
        let host = u32::from_be_bytes(host);
        let known = self.newer.get(&host).or_else(|| self.older.get(&host)).copied();
        let full_at = known.map_or(now, |at| at.max(now)) + PER_ANSWER;
        let allowed = full_at <= now + FULL;
        if allowed {
            let no_room = self.newer.len() >= limits::DHT_SOURCES_MAX && !self.newer.contains_key(&host);
            if no_room || now.since(self.turned) >= FULL {
                self.older = core::mem::take(&mut self.newer);
                self.turned = now;
            }
            self.newer.insert(host, full_at);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gets_a_burst_and_then_a_rate() {
        let mut sources = Sources::default();
        let allowed = (0..10_000).filter(|_| sources.allow(Time::ZERO, [1, 2, 3, 4])).count();
        assert_eq!(allowed as u64, limits::DHT_SOURCE_BURST);
        let later = Time::ZERO + Span::from_secs(1);
        let allowed = (0..10_000).filter(|_| sources.allow(later, [1, 2, 3, 4])).count();
        assert_eq!(allowed as u64, limits::DHT_SOURCE_PER_SECOND);
        assert!(sources.allow(later, [1, 2, 3, 5]), "another host");
        assert!((0..10_000).all(|_| sources.allow(later, [127, 0, 0, 1])));
    }

    #[test]
    fn many_hosts_take_bounded_memory() {
        let mut sources = Sources::default();
        for n in 0..100_000_u32 {
            sources.allow(Time::ZERO, n.to_le_bytes());
        }
        assert!(sources.newer.len() + sources.older.len() <= 2 * limits::DHT_SOURCES_MAX);
    }
    #[test]
    fn hosts_that_are_quiet_take_no_memory() {
        let mut sources = Sources::default();
        for second in 0..20_u64 {
            for n in 0..50_u64 {
                let host = ((second * 50 + n) as u32).to_be_bytes();
                assert!(sources.allow(Time::ZERO + Span::from_secs(second), host));
            }
            assert!(sources.newer.len() + sources.older.len() <= 2 * 50 * 5);
        }
    }
}
