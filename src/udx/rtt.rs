//! How long a packet and its ack take. Follows udx.30 to udx.33.

use crate::base::{Span, Time};

const INITIAL_RTO: Span = Span::from_millis(1000);
const MIN_RTO: Span = Span::from_millis(1000);
const MAX_RTO: Span = Span::from_secs(30);
/// No sample counts for more than this.
const MAX_SAMPLE: Span = Span::from_secs(30);
/// Samples below this are never outliers.
const OUTLIER: Span = Span::from_secs(5);
/// A minimum is forgotten after one to two of these.
const MIN_WINDOW: Span = Span::from_secs(150);
/// A tail-loss probe waits at least this long: timers of the loop that drives us are no finer than some milliseconds.
const MIN_PROBE: Span = Span::from_millis(10);
/// What the other side's loop may take to ack.
const ACK_DELAY: Span = Span::from_millis(2);

#[derive(Debug)]
pub(super) struct Rtt {
    /// Smoothed; `None` before the first sample.
    pub srtt: Option<Span>,
    rttvar: Span,
    /// The last sample.
    pub latest: Span,
    /// Least sample of this window and of the one before.
    least: [Option<Span>; 2],
    window_end: Time,
    /// There was no sample yet, and when `srtt` was guessed.
    guessed: Option<Time>,
}

impl Default for Rtt {
    fn default() -> Rtt {
        let (latest, least) = (Span::ZERO, [None; 2]);
        Rtt { srtt: None, rttvar: Span::ZERO, latest, least, window_end: Time::ZERO, guessed: None }
    }
}

impl Rtt {
    /// A packet that was sent once took `sample`. (udx.33)
    pub fn sample(&mut self, now: Time, sample: Span) {
        let sample = self.clamped(sample);
        self.latest = sample;
        if now >= self.window_end {
            self.least = [None, self.least[0]];
            self.window_end = now + MIN_WINDOW;
        }
        self.least[0] = Some(self.least[0].map_or(sample, |least| least.min(sample)));
        let Some(srtt) = self.srtt.filter(|_| self.guessed.is_none()) else {
            return self.begin(sample);
        };
        // udx.30
        let away = if sample > srtt { sample - srtt } else { srtt - sample };
        self.rttvar = Span::from_micros((3 * self.rttvar.as_micros() + away.as_micros()) / 4);
        self.srtt = Some(Span::from_micros((7 * srtt.as_micros() + sample.as_micros()) / 8));
    }

    fn begin(&mut self, sample: Span) {
        self.srtt = Some(sample);
        self.rttvar = Span::from_micros(sample.as_micros() / 2);
        self.guessed = None;
    }

    /// The first packets were sent again before they were acked: `since_last` after the last time. Stands until there
    /// is a sample (udx.34).
    pub fn guess(&mut self, now: Time, since_last: Span) {
        self.begin(since_last.min(MAX_SAMPLE));
        self.guessed = Some(now);
    }

    /// Whether a packet that was sent again and took at most `most` may be a sample: after two timeouts, if it was not
    /// sent before the guess was made (udx.34).
    pub fn admits(&self, now: Time, most: Span, timeouts: u32) -> bool {
        timeouts > 1 && self.guessed.is_none_or(|at| now.since(at) >= most)
    }

    /// udx.32: after a suspend a sample can be absurd.
    fn clamped(&self, sample: Span) -> Span {
        let Some(srtt) = self.srtt.filter(|_| self.guessed.is_none()) else { return sample.min(MAX_SAMPLE) };
        let outlier = srtt + self.rttvar * 5;
        if sample > outlier && sample > OUTLIER { outlier.min(MAX_SAMPLE) } else { sample }
    }

    /// The least sample of the last minutes.
    pub fn min(&self) -> Span {
        self.least.into_iter().flatten().min().unwrap_or(Span::ZERO)
    }

    /// udx.31
    pub fn rto(&self) -> Span {
        let Some(srtt) = self.srtt else { return INITIAL_RTO };
        (srtt + self.rttvar * 4).max(MIN_RTO).min(MAX_RTO)
    }

    /// How long a tail waits for its ack before it is probed (udx.40).
    pub fn probe(&self) -> Span {
        match self.srtt {
            Some(srtt) => (srtt * 2 + ACK_DELAY).max(MIN_PROBE).min(self.rto()),
            None => INITIAL_RTO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Span {
        Span::from_millis(n)
    }

    #[test]
    fn estimates_are_smoothed() {
        // proves udx.30 and udx.31
        let mut rtt = Rtt::default();
        assert_eq!(rtt.rto(), ms(1000));
        rtt.sample(Time::ZERO, ms(800));
        assert_eq!((rtt.srtt, rtt.rttvar), (Some(ms(800)), ms(400)));
        assert_eq!(rtt.rto(), ms(2400));
        rtt.sample(Time::ZERO, ms(400));
        assert_eq!((rtt.srtt, rtt.rttvar), (Some(ms(750)), ms(400)));
        for _ in 0..100 {
            rtt.sample(Time::ZERO, ms(10));
        }
        assert_eq!(rtt.rto(), ms(1000), "never below a second");
        assert_eq!(rtt.min(), ms(10));
    }

    /// pitfalls 2.12: an RTT after suspend and wake can be absurd.
    #[test]
    fn an_hour_of_sleep_is_not_a_round_trip() {
        // proves udx.32
        let mut rtt = Rtt::default();
        rtt.sample(Time::ZERO, ms(100));
        for _ in 0..20 {
            rtt.sample(Time::ZERO, Span::from_secs(3600));
            assert!(rtt.rto() <= MAX_RTO);
        }
        let mut calm = Rtt::default();
        for _ in 0..50 {
            calm.sample(Time::ZERO, ms(100));
        }
        calm.sample(Time::ZERO, Span::from_secs(3600));
        assert!(calm.rto() < ms(1500), "one absurd sample moves little: {:?}", calm.rto());
        let mut first = Rtt::default();
        first.sample(Time::ZERO, Span::from_secs(3600));
        assert_eq!(first.srtt, Some(MAX_SAMPLE));
    }

    #[test]
    fn the_minimum_is_forgotten_after_minutes() {
        // proves udx.33
        let mut rtt = Rtt::default();
        rtt.sample(Time::ZERO, ms(10));
        let mut now = Time::ZERO;
        for _ in 0..3 {
            now += Span::from_secs(150);
            rtt.sample(now, ms(50));
        }
        assert_eq!(rtt.min(), ms(50));
    }
}
