//! How many packets may be in flight: slow start that ends when round trips get longer (HyStart++, RFC 9406),
//! then CUBIC
//! with a Reno floor (RFC 9438), proportional rate reduction in recovery (RFC 6937), all in whole numbers so that it is
//! the same on every machine. Follows udx.50 to udx.53 and udx.56.

use crate::base::{Span, Time};

const INITIAL: u64 = 10;
const MIN: u64 = 4;
/// More packets than any receive window holds.
const MAX: u64 = 1 << 14;
/// Parts of a packet.
const UNIT: u64 = 1024;
/// A round trip that is longer by this than in the round before shows a queue.
const QUEUE: [Span; 2] = [Span::from_millis(4), Span::from_millis(16)];
/// Samples of a round that say something together.
const SAMPLES: u32 = 4;
/// Rounds at a quarter of the growth before slow start ends.
const CAUTIOUS_ROUNDS: u32 = 5;

#[derive(Debug)]
pub(super) struct Congestion {
    /// In parts of a packet.
    window: u64,
    /// Slow start ends here, in parts of a packet.
    threshold: u64,
    /// Window before the last reduction, in parts.
    plateau: u64,
    /// When the present growth began, and what Reno would have by now.
    epoch: Option<(Time, u64)>,
    round: Round,
    reduction: Option<Reduction>,
    /// To take a reduction back that turns out to be for nothing.
    before: Option<(u64, u64, u64)>,
}

/// The least round trips of this round and of the one before, while slow start lasts.
#[derive(Default, Debug)]
struct Round {
    /// Packets that are still to arrive until it ends.
    left: usize,
    samples: u32,
    least: Option<Span>,
    before: Option<Span>,
    /// A queue was seen: rounds of caution that are left, and the round trip that would show it was none.
    cautious: Option<(u32, Span)>,
}

/// Packets in and out since recovery began.
#[derive(Debug)]
struct Reduction {
    in_flight_at_start: u64,
    delivered: u64,
    sent: u64,
    /// How many more may be sent now.
    allowance: u64,
}

impl Default for Congestion {
    fn default() -> Congestion {
        Congestion {
            window: INITIAL * UNIT,
            threshold: u64::MAX,
            plateau: 0,
            epoch: None,
            round: Round::default(),
            reduction: None,
            before: None,
        }
    }
}

impl Congestion {
    /// Packets that may be in flight.
    pub fn window(&self) -> usize {
        (self.window / UNIT) as usize
    }

    pub fn may_send(&self, in_flight: usize) -> bool {
        match &self.reduction {
            None => in_flight < self.window(),
            Some(reduction) => reduction.allowance > 0,
        }
    }

    pub fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    pub fn on_sent(&mut self) {
        if let Some(reduction) = &mut self.reduction {
            reduction.sent += 1;
            reduction.allowance = reduction.allowance.saturating_sub(1);
        }
    }

    /// The last round trip, told before the packets that it came with.
    pub fn on_sample(&mut self, sample: Span) {
        let round = &mut self.round;
        round.samples += 1;
        round.least = Some(round.least.map_or(sample, |least| least.min(sample)));
        let (Some(least), true) = (round.least, round.samples >= SAMPLES) else { return };
        match (round.cautious, round.before) {
            (Some((_, queued)), _) if least < queued => round.cautious = None,
            (None, Some(before)) => {
                let eighth = Span::from_micros(before.as_micros() / 8).max(QUEUE[0]).min(QUEUE[1]);
                if least >= before + eighth {
                    round.cautious = Some((CAUTIOUS_ROUNDS, least)); // udx.56
                }
            }
            (Some(_), _) | (None, None) => {}
        }
    }

    /// Counts rounds, each a window of packets; true: slow start has been cautious for long enough.
    fn count_round(&mut self, delivered: usize) -> bool {
        let window = self.window();
        let round = &mut self.round;
        if round.left > delivered {
            round.left -= delivered;
            return false;
        }
        let before = round.least.or(round.before);
        *round = Round { left: window, before, cautious: round.cautious, ..Round::default() };
        match &mut round.cautious {
            Some((left, _)) => {
                *left -= 1;
                *left == 0
            }
            None => false,
        }
    }

    /// `delivered` packets arrived; `limited`: the window was what held the sender back before.
    pub fn on_delivered(&mut self, now: Time, delivered: usize, in_flight: usize, limited: bool, rtt: Span) {
        if self.reduction.is_some() {
            self.share(delivered as u64, in_flight as u64);
        } else if !limited {
            self.epoch = None; // udx.52
        } else if self.in_slow_start() {
            if self.count_round(delivered) {
                self.round = Round::default();
                (self.threshold, self.plateau) = (self.window, self.window);
                return;
            }
            let share = if self.round.cautious.is_some() { 4 } else { 1 };
            self.window = (self.window + delivered as u64 * UNIT / share).min(self.threshold);
        } else {
            self.grow(now, delivered as u64, rtt);
        }
        self.window = self.window.min(MAX * UNIT);
    }

    /// A loss that is not part of a recovery already under way.
    pub fn on_loss(&mut self, in_flight: usize) {
        self.before = Some((self.window, self.threshold, self.plateau));
        self.reduce();
        self.window = self.threshold;
        self.reduction = Some(Reduction {
            in_flight_at_start: (in_flight as u64).max(1),
            delivered: 0,
            sent: 0,
            allowance: 1,
        });
    }

    /// Everything that was in flight when the loss was seen has arrived.
    pub fn on_recovered(&mut self) {
        self.reduction = None;
        self.before = None;
    }

    /// The loss was none.
    pub fn undo(&mut self) {
        if let Some((window, threshold, plateau)) = self.before.take() {
            (self.window, self.threshold, self.plateau) = (window.max(self.window), threshold, plateau);
            self.reduction = None;
            self.epoch = None;
        }
    }

    /// Nothing came back for a whole timeout.
    pub fn on_timeout(&mut self, in_flight: usize) {
        if self.threshold > self.window || self.reduction.is_none() {
            self.reduce();
        }
        self.reduction = None;
        self.before = None;
        self.window = (in_flight as u64 + 1).clamp(1, self.threshold / UNIT) * UNIT; // udx.51
    }

    /// Nothing was sent for a while: what is known of the path is old (udx.53).
    pub fn on_idle(&mut self) {
        self.window = self.window.min(INITIAL * UNIT);
        self.epoch = None;
    }

    fn reduce(&mut self) {
        // fast convergence: who loses below the last plateau leaves room for others
        self.plateau = if self.window < self.plateau { self.window * 17 / 20 } else { self.window };
        self.threshold = (self.window * 7 / 10).max(MIN * UNIT);
        self.epoch = None;
        self.round = Round::default();
    }

    fn share(&mut self, delivered: u64, in_flight: u64) {
        let target = self.window / UNIT;
        let Some(reduction) = &mut self.reduction else { return };
        reduction.delivered += delivered;
        reduction.allowance = if in_flight > target {
            (reduction.delivered * target)
                .div_ceil(reduction.in_flight_at_start)
                .saturating_sub(reduction.sent)
        } else {
            let owed = reduction.delivered.saturating_sub(reduction.sent).max(delivered) + 1;
            owed.min(target - in_flight)
        };
    }

    fn grow(&mut self, now: Time, delivered: u64, rtt: Span) {
        let window = self.window;
        let (start, reno) = *self.epoch.get_or_insert((now, window));
        // Reno with the same reduction would be here: 3 (1 - 0.7) / (1 + 0.7) = 9/17 packets a round trip
        let reno = reno + delivered * UNIT * UNIT * 9 / (17 * window);
        self.epoch = Some((start, reno));
        let elapsed = (now.since(start) + rtt).as_millis();
        let cubic = self.cubic(elapsed).clamp(window, window + window / 2);
        self.window = (window + delivered * UNIT * (cubic - window) / window).max(reno);
    }

    /// 0.4 (t - K)^3 + plateau, K = cbrt((plateau - window at start) / 0.4), in parts of a packet.
    fn cubic(&self, elapsed_ms: u64) -> u64 {
        let below = self.plateau.saturating_sub(self.threshold);
        let k = cube_root(u128::from(below) * 5 / 2 * 1_000_000_000 / u128::from(UNIT));
        let elapsed = elapsed_ms.min(1_000_000);
        let away = u128::from(elapsed.abs_diff(k));
        let moved = away * away * away * 2 / 5 * u128::from(UNIT) / 1_000_000_000;
        let moved = u64::try_from(moved).unwrap_or(u64::MAX);
        let plateau = self.plateau.max(self.threshold);
        if elapsed < k { plateau.saturating_sub(moved) } else { plateau.saturating_add(moved) }
    }
}

fn cube_root(n: u128) -> u64 {
    let (mut low, mut high) = (0_u64, 1 << 32);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if u128::from(middle).pow(3) <= n { low = middle } else { high = middle - 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Span = Span::from_millis(50);

    #[test]
    fn slow_start_doubles_each_round() {
        // proves udx.50
        let mut cc = Congestion::default();
        assert_eq!(cc.window(), 10);
        cc.on_delivered(Time::ZERO, 10, 0, true, RTT);
        assert_eq!(cc.window(), 20);
    }

    #[test]
    fn a_sender_with_little_to_say_does_not_grow() {
        // proves udx.52
        let mut cc = Congestion::default();
        cc.on_delivered(Time::ZERO, 10, 0, false, RTT);
        assert_eq!(cc.window(), 10);
    }

    #[test]
    fn a_loss_takes_three_tenths_and_cubic_brings_them_back() {
        let mut cc = Congestion::default();
        while cc.window() < 1000 {
            cc.on_delivered(Time::ZERO, cc.window(), 0, true, RTT);
        }
        let plateau = cc.window();
        cc.on_loss(plateau);
        cc.on_recovered();
        assert_eq!(cc.window(), plateau * 7 / 10);
        let mut now = Time::ZERO;
        let mut rounds = 0;
        while cc.window() < plateau {
            now += RTT;
            cc.on_delivered(now, cc.window(), 0, true, RTT);
            rounds += 1;
        }
        // K = cbrt(1280 * 0.3 / 0.4) = 9.9 s = 197 round trips
        assert!((150..250).contains(&rounds), "{rounds}");
    }

    #[test]
    fn a_timeout_starts_small_again() {
        // proves udx.51
        let mut cc = Congestion::default();
        cc.on_delivered(Time::ZERO, 90, 0, true, RTT);
        cc.on_timeout(0);
        assert_eq!((cc.window(), cc.in_slow_start()), (1, true));
        cc.on_timeout(0);
        assert_eq!(cc.window(), 1);
    }

    #[test]
    fn recovery_sends_no_more_than_arrives() {
        let mut cc = Congestion::default();
        cc.on_delivered(Time::ZERO, 90, 0, true, RTT);
        assert_eq!(cc.window(), 100);
        cc.on_loss(60);
        let (mut in_flight, mut sent, mut arrived) = (60, 0, 0);
        while cc.may_send(in_flight) {
            cc.on_sent();
            (in_flight, sent) = (in_flight + 1, sent + 1);
        }
        assert_eq!(sent, 1);
        for _ in 0..200 {
            (in_flight, arrived) = (in_flight - 1, arrived + 1);
            cc.on_delivered(Time::ZERO, 1, in_flight, true, RTT);
            while cc.may_send(in_flight) {
                cc.on_sent();
                (in_flight, sent) = (in_flight + 1, sent + 1);
            }
            assert!(sent <= 2 * arrived + 1 && in_flight <= 70, "{sent} {arrived} {in_flight}");
        }
        assert_eq!(in_flight, 70, "it converges on the new window");
    }

    #[test]
    fn slow_start_ends_when_a_queue_shows() {
        // proves udx.56
        let mut cc = Congestion::default();
        let mut window_of_round = Vec::new();
        // the path holds 100 packets in 20 ms; more wait
        for _ in 0..14 {
            let window = cc.window();
            window_of_round.push(window);
            let rtt = Span::from_micros(20_000 * (window as u64).max(100) / 100);
            for acked in 1..=window {
                cc.on_sample(rtt);
                cc.on_delivered(Time::ZERO, 1, window - acked, true, rtt);
            }
        }
        assert!(!cc.in_slow_start());
        assert!(cc.window() < 1000, "{window_of_round:?}");
        assert!(window_of_round.contains(&160) && !window_of_round.contains(&1280), "{window_of_round:?}");
    }

    #[test]
    fn cube_roots() {
        for n in [0_u64, 1, 2, 7, 1000, 999_983] {
            let cube = u128::from(n).pow(3);
            assert_eq!(cube_root(cube), n);
            assert_eq!(cube_root(cube + 1), n.max(u64::from(n == 0)));
        }
    }
}
