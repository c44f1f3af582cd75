//! Whether the network works, judged by answers and time-outs per tick. Follows dht_rpc.86 to dht_rpc.89. A value.

use std::collections::VecDeque;

const WINDOW: usize = 4;
const OFFLINE_TICKS: u32 = 2;
/// Fewer answers and time-outs than this in a tick say nothing.
const IDLE: u64 = 4;

/// What the last ticks say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Online,
    Degraded,
    Offline,
}

pub(super) struct Health {
    /// Up to four ticks, oldest first.
    ticks: VecDeque<Tick>,
    offline_ticks: u32,
    online: bool,
    degraded: bool,
}

#[derive(Clone, Copy)]
struct Tick {
    responses: u64,
    timeouts: u64,
    /// `None` when the tick was not judged or nothing answered.
    degraded: Option<bool>,
}

impl Health {
    pub fn new() -> Health {
        Health { ticks: VecDeque::new(), offline_ticks: 0, online: true, degraded: false }
    }

    /// Judges a tick, given the counts of answers and of lost requests since the beginning; `None` if too little
    /// happened to say anything. (dht_rpc.87, dht_rpc.88)
    pub fn tick(&mut self, responses: u64, timeouts: u64) -> Option<Verdict> {
        let before = self.ticks.back().copied();
        if self.ticks.len() == WINDOW {
            self.ticks.pop_front();
        }
        self.ticks.push_back(Tick { responses, timeouts, degraded: None });
        let before = before?;
        let answered = responses.saturating_sub(before.responses);
        let lost = timeouts.saturating_sub(before.timeouts);
        // dht_rpc.86
        if self.ticks.len() < WINDOW || answered + lost < IDLE {
            return None;
        }
        if answered == 0 {
            self.offline_ticks += 1;
            if self.offline_ticks >= OFFLINE_TICKS {
                self.online = false;
            }
        } else {
            self.offline_ticks = 0;
            self.online = true;
            if let Some(tick) = self.ticks.back_mut() {
                tick.degraded = Some(lost > answered);
            }
        }
        let all = |degraded| self.ticks.iter().all(|tick| tick.degraded == Some(degraded));
        if !self.online || all(false) {
            self.degraded = false;
        } else if all(true) {
            self.degraded = true;
        }
        Some(match (self.online, self.degraded) {
            (true, false) => Verdict::Online,
            (_, true) => Verdict::Degraded,
            (false, false) => Verdict::Offline,
        })
    }

    pub fn reset(&mut self) {
        *self = Health::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges ticks of (answers, losses).
    fn verdicts(ticks: &[(u64, u64)]) -> Vec<Option<Verdict>> {
        let mut health = Health::new();
        let mut sum = (0, 0);
        ticks
            .iter()
            .map(|(responses, timeouts)| {
                sum = (sum.0 + responses, sum.1 + timeouts);
                health.tick(sum.0, sum.1)
            })
            .collect()
    }

    /// proves dht_rpc.86
    #[test]
    fn the_first_ticks_and_idle_ones_say_nothing() {
        assert_eq!(verdicts(&[(9, 0), (9, 0), (9, 0)]), [None; 3]);
        assert_eq!(verdicts(&[(9, 0), (9, 0), (9, 0), (3, 0), (9, 0)])[3..], [None, Some(Verdict::Online)]);
    }

    /// pitfalls 4.15: one bad tick changes nothing. proves dht_rpc.87
    #[test]
    fn two_silent_ticks_are_offline() {
        let trace = verdicts(&[(9, 0), (9, 0), (9, 0), (9, 0), (0, 9), (0, 9), (9, 0)]);
        let said: Vec<_> = trace[3..].iter().map(|verdict| verdict.expect("judged")).collect();
        assert_eq!(said, [Verdict::Online, Verdict::Online, Verdict::Offline, Verdict::Online]);
    }

    /// pitfalls 4.15: hysteresis of four ticks either way. proves dht_rpc.88
    #[test]
    fn four_lossy_ticks_are_degraded_and_four_good_ones_healthy() {
        let bad = (4, 5);
        let trace = verdicts(&[
            (9, 0),
            (9, 0),
            (9, 0),
            bad,
            bad,
            bad,
            (9, 0),
            bad,
            bad,
            bad,
            bad,
            (9, 0),
            (9, 0),
            (9, 0),
            (5, 5),
        ]);
        let online = trace[3..10].iter().all(|verdict| *verdict == Some(Verdict::Online));
        assert!(online, "{trace:?}");
        assert_eq!(trace[10..14], [Some(Verdict::Degraded); 4]);
        assert_eq!(trace[14], Some(Verdict::Online));
    }
}
