//! How many answers each host may cause. Follows dht_rpc.90. A value.
//!
//! The source of a datagram can be forged, and some answers are longer than their questions: without a limit a node
//! would multiply the traffic that somebody else pays for.

use std::collections::BTreeMap;

use crate::base::{Time, limits};

/// Token buckets per host, in two generations: the older one is forgotten when the newer one is full.
#[derive(Default)]
pub(super) struct Sources {
    newer: BTreeMap<[u8; 4], Bucket>,
    older: BTreeMap<[u8; 4], Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Microseconds of refilling that are left to spend.
    credit: u64,
    at: Time,
}

const PER_ANSWER: u64 = 1_000_000 / limits::DHT_SOURCE_PER_SECOND;
const FULL: u64 = PER_ANSWER * limits::DHT_SOURCE_BURST;

impl Sources {
    /// Whether `host` may cause one more answer; counts it if so. Loopback cannot be forged from afar and is free.
    pub fn allow(&mut self, now: Time, host: [u8; 4]) -> bool {
        if host[0] == 127 {
            return true;
        }
        let known = self.newer.get(&host).or_else(|| self.older.get(&host)).copied();
        let mut bucket = known.unwrap_or(Bucket { credit: FULL, at: now });
        bucket.credit = bucket.credit.saturating_add(now.since(bucket.at).as_micros()).min(FULL);
        bucket.at = now;
        let allowed = bucket.credit >= PER_ANSWER;
        if allowed {
            bucket.credit -= PER_ANSWER;
        }
        if self.newer.len() >= limits::DHT_SOURCES_MAX && !self.newer.contains_key(&host) {
            self.older = core::mem::take(&mut self.newer);
        }
        self.newer.insert(host, bucket);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

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
}
