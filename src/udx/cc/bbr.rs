//! A model of the path, its bandwidth and its least round trip, and what follows from it: how fast packets leave and
//! how many may be in flight. Follows udx.73 to udx.84 udx.87 and udx.88.

use super::filters::RoundMax;
use super::rate::{Rate, Sample};
use crate::base::{Span, Time};

/// udx.50
const INITIAL: u64 = 10;
/// udx.73
const WINDOW_MIN: u64 = 4;
/// More packets than any receive window holds.
const WINDOW_MAX: u64 = 1 << 14;

/// Gains are in thousandths. udx.74
const HIGH_GAIN: u64 = 2885;
const DRAIN_GAIN: u64 = 347;
const WINDOW_GAIN: u64 = 2000;
const EVEN: u64 = 1000;
/// udx.77
const CYCLE: [u64; 8] = [1250, 750, EVEN, EVEN, EVEN, EVEN, EVEN, EVEN];
/// udx.86
const PACING_MARGIN_PERCENT: u64 = 99;

/// udx.71
const BANDWIDTH_ROUNDS: usize = 10;
/// udx.75: growth that says that the path is not full yet, in thousandths, and rounds without it.
const FULL_GROWTH: u64 = 1250;
const FULL_ROUNDS: u32 = 3;

/// udx.79
const MIN_RTT_WINDOW: Span = Span::from_secs(10);
const PROBE_RTT: Span = Span::from_millis(200);
/// udx.78
const MIN_RTT_FLOOR: Span = Span::from_millis(1);

/// udx.82: rounds of one of two windows, and the most time at full bandwidth that counts.
const EXTRA_ROUNDS: u32 = 5;
const EXTRA_MAX: Span = Span::from_millis(100);

/// udx.87: a round that loses more than one packet in so many, and at least so many, shows a queue that is too short;
/// what is taken off then, and what is given back in each cycle, in thousandths; and what always may be in flight, also
/// where a round trip is shorter than its floor.
const LOSSY_ROUND: u64 = 12;
const LOSSY_LEAST: u64 = 8;
const CEILING_CUT: u64 = 800;
const CEILING_GROWTH: u64 = 1125;
const CEILING_LEAST: u64 = 2250;
const CEILING_LEAST_SHORT: u64 = 1250;

/// udx.75: one packet in so many, before the path was full once.
const LOSSY_STARTUP: u64 = 4;

/// What is being found out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// How much the path carries: twice as much each round trip.
    #[default]
    Startup,
    /// The queue that this made goes away.
    Drain,
    /// Whether there is more now.
    ProbeBandwidth,
    /// How long a round trip is without a queue.
    ProbeRtt,
}

impl core::fmt::Display for Phase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Phase::Startup => "startup",
            Phase::Drain => "drain",
            Phase::ProbeBandwidth => "probe bandwidth",
            Phase::ProbeRtt => "probe round trip",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Startup,
    Drain,
    ProbeBandwidth {
        /// Place in `CYCLE`, and since when.
        step: usize,
        since: Time,
    },
    ProbeRtt {
        /// Few enough are in flight; until then at least.
        until: Option<Time>,
        /// A whole round had few in flight.
        round_done: bool,
    },
}

/// What an ack brought.
#[derive(Debug)]
pub(super) struct Acked {
    pub count: u64,
    /// Packets taken for lost since the last ack.
    pub lost: u64,
    pub in_flight: u64,
    /// Packets that arrived, of all that were ever sent.
    pub delivered: u64,
    pub rtt: Option<Span>,
    pub srtt: Option<Span>,
    pub sample: Option<Sample>,
    /// More may have arrived than the ack could say.
    pub blind: bool,
}

/// Which rates may be too high, because acks named late what had arrived long before. (udx.88)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blind {
    /// Those of packets that left before so many had arrived.
    Until(u64),
    /// All, as long as recovery lasts.
    Yes,
    /// Recovery has ended, with the next ack.
    Ending,
}

/// Rounds: each ends when a packet is acked that left after the one before had ended.
#[derive(Default, Debug)]
struct Rounds {
    /// Ends with a packet that left when so many had arrived.
    ends_at: u64,
    /// This ack ended one.
    just_ended: bool,
    /// Packets lost in it, and what had arrived when it began.
    lost: u64,
    began: u64,
    /// More than the path takes even when it is not known yet.
    lossy: bool,
    /// That had samples which the writer did not keep short, as the filter of the bandwidth counts them.
    busy: u64,
    was_busy: bool,
}

/// Acks that come late and then many at once: how many more than the bandwidth explains. (udx.82)
#[derive(Default, Debug)]
struct Aggregation {
    since: Time,
    acked: u64,
    /// The most of this window and of the one before.
    extra: [u64; 2],
    rounds: u32,
}

#[derive(Debug)]
pub(super) struct Bbr {
    mode: Mode,
    window: u64,
    bandwidth: RoundMax<BANDWIDTH_ROUNDS>,
    rounds: Rounds,
    /// The bandwidth when it last grew well, and rounds since.
    full_bandwidth: Rate,
    full_rounds: u32,
    full: bool,
    min_rtt: Option<Span>,
    min_rtt_at: Time,
    aggregation: Aggregation,
    /// The pace, in packets per 1000 seconds.
    pace: Rate,
    paced_by_rtt: bool,
    /// After a rest, until something arrives.
    restarted: bool,
    /// Losses are being repaired.
    recovering: bool,
    /// One round in which only as much leaves as arrives, before the path was full once. (udx.83)
    conserving: bool,
    /// What to go back to after that, and after a probe of the round trip.
    window_before: u64,
    /// More than this in flight was lost. (udx.87)
    ceiling: Option<u64>,
    blind: Blind,
    draw: u64,
}

fn times(value: u64, gain: u64) -> u64 {
    value.saturating_mul(gain) / EVEN
}

impl Bbr {
    pub fn new(draw: u32) -> Bbr {
        Bbr {
            mode: Mode::Startup,
            window: INITIAL,
            bandwidth: RoundMax::default(),
            rounds: Rounds::default(),
            full_bandwidth: 0,
            full_rounds: 0,
            full: false,
            min_rtt: None,
            min_rtt_at: Time::ZERO,
            aggregation: Aggregation::default(),
            pace: initial_pace(Span::ZERO),
            paced_by_rtt: false,
            restarted: false,
            recovering: false,
            conserving: false,
            window_before: 0,
            ceiling: None,
            blind: Blind::Until(0),
            draw: u64::from(draw),
        }
    }

    pub fn window(&self) -> u64 {
        let probing = matches!(self.mode, Mode::ProbeRtt { .. });
        if probing { self.window.min(WINDOW_MIN) } else { self.window }
    }

    pub fn phase(&self) -> Phase {
        match self.mode {
            Mode::Startup => Phase::Startup,
            Mode::Drain => Phase::Drain,
            Mode::ProbeBandwidth { .. } => Phase::ProbeBandwidth,
            Mode::ProbeRtt { .. } => Phase::ProbeRtt,
        }
    }

    /// Bytes per second.
    pub fn bandwidth(&self, packet_bytes: usize) -> u64 {
        bytes(self.bandwidth.get(), packet_bytes)
    }

    /// Bytes per second. (udx.86)
    pub fn pacing_rate(&self, packet_bytes: usize) -> u64 {
        bytes(self.pace, packet_bytes)
    }

    /// Packets on the way if `gain` times the bandwidth is for one least round trip. (udx.73)
    fn product(&self, gain: u64) -> u64 {
        self.product_of(self.min_rtt.map(|min_rtt| min_rtt.max(MIN_RTT_FLOOR)), gain) // udx.78
    }

    fn product_of(&self, rtt: Option<Span>, gain: u64) -> u64 {
        let Some(rtt) = rtt else { return INITIAL };
        let micros = rtt.as_micros();
        let packets = self.bandwidth.get().saturating_mul(micros).div_ceil(1_000_000_000);
        packets.saturating_mul(gain).div_ceil(EVEN)
    }

    fn gains(&self) -> (u64, u64) {
        match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (DRAIN_GAIN, HIGH_GAIN),
            Mode::ProbeBandwidth { step, .. } => (CYCLE[step], WINDOW_GAIN),
            Mode::ProbeRtt { .. } => (EVEN, EVEN),
        }
    }

    // ---- what happens

    /// The first packet leaves after everything had arrived and the writer had nothing more. (udx.84)
    pub fn on_restart(&mut self, now: Time) {
        self.restarted = true;
        self.aggregation.since = now;
        self.aggregation.acked = 0;
        match self.mode {
            Mode::ProbeBandwidth { .. } => self.set_pace(EVEN, None),
            Mode::ProbeRtt { .. } => self.check_probe_rtt_done(now),
            Mode::Startup | Mode::Drain => {}
        }
    }

    pub fn on_ack(&mut self, now: Time, acked: &Acked) {
        if acked.blind && self.recovering {
            self.blind = Blind::Yes;
        }
        self.update_bandwidth(acked);
        if self.blind == Blind::Ending {
            self.blind = Blind::Until(acked.delivered);
        }
        self.update_ceiling(acked);
        self.update_aggregation(now, acked);
        self.update_cycle(now, acked);
        self.check_full(acked);
        self.check_drained(now, acked);
        self.update_min_rtt(now, acked);
        let (pacing_gain, window_gain) = self.gains();
        self.set_pace(pacing_gain, acked.srtt);
        self.set_window(acked, window_gain);
    }

    pub fn on_recovery(&mut self, in_flight: u64, delivered: u64) {
        self.save_window();
        self.recovering = true;
        if !self.full {
            self.conserving = true;
            self.rounds.ends_at = delivered;
            self.window = in_flight + 1; // what was lost leaves at once
        }
    }

    pub fn on_recovered(&mut self) {
        if self.blind == Blind::Yes {
            self.blind = Blind::Ending;
        }
        if core::mem::take(&mut self.recovering) {
            self.window = self.window.max(self.window_before);
            self.conserving = false;
        }
    }

    /// Follows udx.51.
    pub fn on_timeout(&mut self, in_flight: u64) {
        self.save_window();
        self.recovering = true;
        self.conserving = false;
        self.full_bandwidth = 0;
        self.window = in_flight + 1;
    }

    fn save_window(&mut self) {
        let fresh = !self.recovering && !matches!(self.mode, Mode::ProbeRtt { .. });
        self.window_before = if fresh { self.window } else { self.window_before.max(self.window) };
    }

    // ---- the model

    fn update_bandwidth(&mut self, acked: &Acked) {
        self.rounds.just_ended = false;
        let Some(sample) = acked.sample else { return };
        if sample.prior_delivered >= self.rounds.ends_at {
            self.rounds.ends_at = acked.delivered;
            self.rounds.just_ended = true;
            self.rounds.busy += u64::from(core::mem::take(&mut self.rounds.was_busy));
            self.conserving = false;
        }
        self.rounds.was_busy |= !sample.limited;
        let known = self.bandwidth.get();
        let blind = match self.blind {
            Blind::Until(delivered) => sample.prior_delivered < delivered,
            Blind::Yes | Blind::Ending => true,
        };
        let rate = if blind { sample.rate.min(known) } else { sample.rate }; // udx.88
        if !sample.limited || rate >= known {
            self.bandwidth.add(self.rounds.busy, rate); // udx.71, udx.72
        }
    }

    /// Follows udx.87.
    fn update_ceiling(&mut self, acked: &Acked) {
        self.rounds.lost += acked.lost;
        if !self.rounds.just_ended {
            return;
        }
        let lost = core::mem::take(&mut self.rounds.lost);
        let arrived = acked.delivered - core::mem::replace(&mut self.rounds.began, acked.delivered);
        let lossy = |part: u64| lost >= LOSSY_LEAST && lost * part > lost + arrived;
        self.rounds.lossy = lossy(LOSSY_STARTUP);
        if self.full && lossy(LOSSY_ROUND) {
            let cut = times(self.window.min(arrived + lost), CEILING_CUT);
            let short = self.min_rtt.is_some_and(|rtt| rtt < MIN_RTT_FLOOR);
            let least = if short { CEILING_LEAST_SHORT } else { CEILING_LEAST };
            self.ceiling = Some(cut.max(self.product_of(self.min_rtt, least)).max(INITIAL));
        }
    }

    /// Follows udx.82.
    fn update_aggregation(&mut self, now: Time, acked: &Acked) {
        if acked.sample.is_none() {
            return;
        }
        let aggregation = &mut self.aggregation;
        if self.rounds.just_ended {
            aggregation.rounds += 1;
            if aggregation.rounds >= EXTRA_ROUNDS {
                aggregation.rounds = 0;
                aggregation.extra = [0, aggregation.extra[0]];
            }
        }
        let micros = now.since(aggregation.since).as_micros();
        let mut expected = self.bandwidth.get().saturating_mul(micros) / 1_000_000_000;
        if aggregation.acked <= expected {
            (aggregation.acked, aggregation.since, expected) = (0, now, 0);
        }
        aggregation.acked += acked.count;
        let extra = (aggregation.acked - expected).min(self.window);
        aggregation.extra[0] = aggregation.extra[0].max(extra);
    }

    /// Follows udx.77.
    fn update_cycle(&mut self, now: Time, acked: &Acked) {
        let Mode::ProbeBandwidth { step, since } = self.mode else { return };
        let gain = CYCLE[step];
        let long = now.since(since) > self.min_rtt.unwrap_or_default().max(MIN_RTT_FLOOR);
        let next = if gain > EVEN {
            let wanted = self.product(gain);
            let bound = self.ceiling.is_some_and(|ceiling| ceiling <= wanted); // it is never reached
            long && (bound || acked.lost > 0 || acked.in_flight >= wanted)
        } else if gain < EVEN {
            long || acked.in_flight <= self.product(EVEN)
        } else {
            long
        };
        if next {
            self.mode = Mode::ProbeBandwidth { step: (step + 1) % CYCLE.len(), since: now };
            if step + 1 == CYCLE.len() {
                self.ceiling = self.ceiling.map(|ceiling| times(ceiling, CEILING_GROWTH) + 1);
            }
        }
    }

    /// Follows udx.75.
    fn check_full(&mut self, acked: &Acked) {
        let limited = acked.sample.is_none_or(|sample| sample.limited);
        if self.full || !self.rounds.just_ended || limited {
            return;
        }
        let bandwidth = self.bandwidth.get();
        if bandwidth >= times(self.full_bandwidth, FULL_GROWTH) {
            self.full_bandwidth = bandwidth;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        self.full = self.full_rounds >= FULL_ROUNDS || self.rounds.lossy;
    }

    /// Follows udx.76.
    fn check_drained(&mut self, now: Time, acked: &Acked) {
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && acked.in_flight <= self.product(EVEN) {
            self.probe_bandwidth(now);
        }
    }

    /// Anywhere in the cycle but where less leaves, so that streams which begin together differ. (udx.77)
    fn probe_bandwidth(&mut self, now: Time) {
        self.draw = self.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let step = (2 + (self.draw >> 33) as usize % (CYCLE.len() - 1)) % CYCLE.len();
        self.mode = Mode::ProbeBandwidth { step, since: now };
    }

    /// Follows udx.79 to udx.81.
    fn update_min_rtt(&mut self, now: Time, acked: &Acked) {
        let expired = now.since(self.min_rtt_at) > MIN_RTT_WINDOW;
        if let Some(rtt) = acked.rtt
            && self.min_rtt.is_none_or(|least| rtt <= least || expired)
        {
            self.min_rtt = Some(rtt);
            self.min_rtt_at = now;
        }
        let probing = matches!(self.mode, Mode::ProbeRtt { .. });
        if expired && !self.restarted && !probing && self.min_rtt.is_some() {
            self.save_window();
            self.mode = Mode::ProbeRtt { until: None, round_done: false };
        }
        if let Mode::ProbeRtt { until, round_done } = &mut self.mode {
            if until.is_none() && acked.in_flight <= WINDOW_MIN {
                (*until, *round_done) = (Some(now + PROBE_RTT), false);
                self.rounds.ends_at = acked.delivered;
            } else if until.is_some() {
                *round_done |= self.rounds.just_ended;
                if *round_done {
                    self.check_probe_rtt_done(now);
                }
            }
        }
        if acked.sample.is_some() {
            self.restarted = false;
        }
    }

    fn check_probe_rtt_done(&mut self, now: Time) {
        let Mode::ProbeRtt { until: Some(until), .. } = self.mode else { return };
        if now < until {
            return;
        }
        self.min_rtt_at = now;
        self.window = self.window.max(self.window_before);
        if self.full { self.probe_bandwidth(now) } else { self.mode = Mode::Startup }
    }

    // ---- what follows from it

    /// Before the path was full once, the pace does not fall. (udx.86)
    fn set_pace(&mut self, gain: u64, srtt: Option<Span>) {
        if let (false, Some(srtt)) = (self.paced_by_rtt, srtt) {
            self.paced_by_rtt = true;
            self.pace = initial_pace(srtt);
        }
        let pace = times(self.bandwidth.get(), gain).saturating_mul(PACING_MARGIN_PERCENT) / 100;
        if self.full || pace > self.pace {
            self.pace = pace;
        }
    }

    /// Follows udx.73 and udx.83.
    fn set_window(&mut self, acked: &Acked, gain: u64) {
        if !self.full {
            self.window = self.window.saturating_sub(acked.lost).max(1);
        }
        if self.conserving {
            self.window = self.window.max(acked.in_flight + acked.count);
            return;
        }
        let target = (self.product(gain) + self.extra()).min(self.ceiling.unwrap_or(WINDOW_MAX));
        if self.full {
            self.window = (self.window + acked.count).min(target);
        } else if self.window < target || acked.delivered < INITIAL {
            self.window += acked.count;
        }
        self.window = self.window.clamp(WINDOW_MIN, WINDOW_MAX);
    }

    /// Packets more than the model asks for, because acks come in heaps. (udx.82)
    fn extra(&self) -> u64 {
        if !self.full {
            return 0;
        }
        let most = self.bandwidth.get().saturating_mul(EXTRA_MAX.as_micros()) / 1_000_000_000;
        self.aggregation.extra[0].max(self.aggregation.extra[1]).min(most)
    }
}

/// The first window in each round trip, raised by the gain of the startup. (udx.86)
fn initial_pace(srtt: Span) -> Rate {
    let micros = srtt.max(MIN_RTT_FLOOR).as_micros();
    times(INITIAL * 1_000_000_000 / micros, HIGH_GAIN) * PACING_MARGIN_PERCENT / 100
}

fn bytes(rate: Rate, packet_bytes: usize) -> u64 {
    rate.saturating_mul(packet_bytes as u64) / 1000
}
