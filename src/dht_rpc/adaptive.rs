//! How long to wait for an answer, learned per address. Follows dht_rpc.51. A value; off unless asked for.

use std::collections::BTreeMap;

use crate::base::{Addr, Entropy, Span, Time, limits};

/// Waits for addresses that nothing is known of, by attempt, in milliseconds.
const UNKNOWN: [u64; 5] = [250, 500, 1000, 2000, 4000];
const LEAST: i64 = 300;
const MOST: i64 = 4000;
const JITTER: u64 = 256;
const AGE: Span = Span::from_secs(600);

/// Round trips of the addresses that answered lately, in two generations: the older one is dropped when the newer
/// one is full or ten minutes old.
#[derive(Default)]
pub(super) struct Adaptive {
    newer: BTreeMap<Addr, Trip>,
    older: BTreeMap<Addr, Trip>,
    turned: Time,
}

#[derive(Clone, Copy, Debug)]
struct Trip {
    average: i64,
    variance: i64,
}

impl Adaptive {
    /// Learns from an answer that needed at most two sends. (dht_rpc.51)
    pub fn learn(&mut self, now: Time, addr: Addr, rtt: Span) {
        self.turn(now);
        let sample = i64::try_from(rtt.as_millis()).unwrap_or(MOST).min(60_000);
        let trip = match self.find(addr) {
            None => Trip { average: sample, variance: sample >> 1 },
            Some(old) => Trip {
                variance: old.variance + (((old.average - sample).abs() - old.variance) >> 2),
                average: old.average + ((sample - old.average) >> 3),
            },
        };
        self.newer.insert(addr, trip);
    }

    /// How long to wait after sending for the `attempt`th time (from 1).
    pub fn wait(&self, entropy: &mut dyn Entropy, addr: Addr, attempt: u8) -> Span {
        self.wait_with(entropy.below(JITTER), addr, attempt)
    }

    /// Follows dht_rpc.51.
    fn wait_with(&self, jitter: u64, addr: Addr, attempt: u8) -> Span {
        let millis = match self.find(addr) {
            Some(trip) => {
                let base = (trip.average + (trip.variance << 1)) * i64::from(attempt.max(1));
                (base + jitter as i64).clamp(LEAST, MOST) as u64
            }
            None => UNKNOWN[usize::from(attempt.saturating_sub(1)).min(UNKNOWN.len() - 1)] + jitter,
        };
        Span::from_millis(millis)
    }

    fn find(&self, addr: Addr) -> Option<Trip> {
        self.newer.get(&addr).or_else(|| self.older.get(&addr)).copied()
    }

    fn turn(&mut self, now: Time) {
        if self.newer.len() >= limits::DHT_TIMEOUTS_MAX || now.since(self.turned) >= AGE {
            self.older = core::mem::take(&mut self.newer);
            self.turned = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht_rpc::vectors::vectors;

    /// proves dht_rpc.51
    #[test]
    fn waits_are_those_of_node() {
        let vector = &vectors("adaptive-timeout")[0];
        let mut adaptive = Adaptive::default();
        let addr = Addr::loopback(1);
        for (attempt, wait) in (1..).zip(vector.inputs["unknownKey"].as_array().expect("a list")) {
            assert_eq!(Some(adaptive.wait_with(0, addr, attempt).as_millis()), wait.as_u64());
        }
        let rows = &vector.expected["rtt, avg, variance, timeout at attempt 1..3"];
        for row in rows.as_array().expect("a list") {
            let row: Vec<i64> =
                row.as_array().expect("a row").iter().map(|n| n.as_i64().expect("n")).collect();
            adaptive.learn(Time::ZERO, addr, Span::from_millis(row[0] as u64));
            let trip = adaptive.find(addr).expect("learned");
            assert_eq!((trip.average, trip.variance), (row[1], row[2]));
            for attempt in 1..=3 {
                let wait = adaptive.wait_with(0, addr, attempt).as_millis();
                assert_eq!(wait as i64, row[2 + usize::from(attempt)]);
            }
        }
    }

    #[test]
    fn what_was_learned_is_forgotten_after_two_generations() {
        let mut adaptive = Adaptive::default();
        adaptive.learn(Time::ZERO, Addr::loopback(1), Span::from_millis(10));
        adaptive.learn(Time::ZERO + AGE, Addr::loopback(2), Span::from_millis(10));
        assert!(adaptive.find(Addr::loopback(1)).is_some());
        adaptive.learn(Time::ZERO + AGE * 2, Addr::loopback(2), Span::from_millis(10));
        assert!(adaptive.find(Addr::loopback(1)).is_none());
    }
}
