//! The model of the path, on a path that is only numbers.

use std::collections::VecDeque;

use super::filters::RoundMax;
use super::pacing::Pacer;
use super::rate::Sampler;
use super::{Arrival, Congestion, Newest, Phase, Stamp};
use crate::base::{Span, Time};

const BYTES: usize = 1172;

fn ms(n: u64) -> Span {
    Span::from_millis(n)
}

/// A sender, a bottleneck with a queue without end, and a receiver that acks each packet.
struct Line {
    now: Time,
    cc: Congestion,
    /// When each packet's ack comes.
    flight: VecDeque<(Time, Newest)>,
    free_at: Time,
    /// How long the bottleneck takes for a packet, and a round trip without a queue.
    each: Span,
    rtt: Span,
    /// Packets that the writer has left.
    backlog: u64,
    /// Packets that left, and when.
    sent: Vec<Time>,
    phases: Vec<Phase>,
    /// Every how many-th packet is lost; its loss is seen when the one behind it is acked.
    lose: Option<usize>,
    acked: usize,
    recover_at: Option<u64>,
    blind: bool,
    delivered: u64,
    least: Option<Span>,
}

impl Line {
    fn new(each: Span, rtt: Span) -> Line {
        Line {
            now: Time::ZERO,
            cc: Congestion::new(1, BYTES),
            flight: VecDeque::new(),
            free_at: Time::ZERO,
            each,
            rtt,
            backlog: u64::MAX,
            sent: Vec::new(),
            phases: vec![Phase::Startup],
            lose: None,
            acked: 0,
            recover_at: None,
            blind: false,
            delivered: 0,
            least: None,
        }
    }

    /// Sends what may leave; returns when more may.
    fn send(&mut self) -> Option<Time> {
        loop {
            let in_flight = self.flight.len();
            if self.backlog == 0 {
                self.cc.on_nothing_to_send(in_flight);
                return None;
            }
            if !self.cc.may_send(in_flight) {
                return None;
            }
            if let Some(at) = self.cc.held_until(self.now) {
                return Some(at);
            }
            let stamp = self.cc.on_sent(self.now, in_flight, BYTES);
            self.cc.on_bytes(BYTES);
            self.free_at = self.free_at.max(self.now) + self.each;
            self.flight.push_back((self.free_at + self.rtt, Newest { stamp, sent: self.now }));
            self.sent.push(self.now);
            self.backlog -= 1;
        }
    }

    fn ack(&mut self) {
        let Some((at, newest)) = self.flight.pop_front() else { return };
        self.now = at;
        self.acked += 1;
        if self.lose.is_some_and(|every| self.acked.is_multiple_of(every)) {
            self.cc.on_loss(1);
            if self.recover_at.is_none() {
                self.recover_at = Some(self.delivered + self.flight.len() as u64);
                self.cc.on_recovery(self.flight.len());
            }
            return;
        }
        self.delivered += 1;
        if self.recover_at.is_some_and(|at| self.delivered > at) {
            self.recover_at = None;
            self.cc.on_recovered();
        }
        let rtt = at.since(newest.sent);
        let least = self.least.map_or(rtt, |least| least.min(rtt));
        self.least = Some(least);
        let arrival = Arrival {
            count: 1,
            blind: self.blind,
            newest: &newest,
            rtt: Some(rtt),
            least_rtt: least,
            srtt: Some(rtt),
            in_flight: self.flight.len(),
            packet_bytes: BYTES,
        };
        self.cc.on_ack(at, &arrival);
        if self.phases.last() != Some(&self.cc.phase()) {
            self.phases.push(self.cc.phase());
        }
    }

    fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            let paced = self.send();
            let acked = self.flight.front().map(|(at, _)| *at);
            let Some(next) = paced.into_iter().chain(acked).min().filter(|next| *next <= until) else {
                break;
            };
            if acked == Some(next) { self.ack() } else { self.now = next }
        }
        self.now = until;
    }

    /// Runs until what is written has arrived.
    fn transfer(&mut self, packets: u64) {
        self.backlog = packets;
        while self.backlog > 0 || !self.flight.is_empty() {
            self.run_for(ms(10));
        }
    }

    /// Packets per second that the path is thought to carry.
    fn bandwidth(&self) -> u64 {
        self.cc.bandwidth(BYTES) / BYTES as u64
    }
}

/// 1000 packets a second, 100 ms: 100 packets on the way, and one at the bottleneck.
fn line() -> Line {
    Line::new(ms(1), ms(100))
}

#[test]
fn ten_packets_leave_first_and_each_round_twice_as_many() {
    // proves udx.50 and udx.86
    let mut line = line();
    line.run_for(ms(99));
    assert_eq!(line.sent.len(), 10);
    line.run_for(ms(100));
    assert_eq!(line.sent.len(), 30);
    line.run_for(ms(100));
    assert_eq!(line.sent.len(), 70);
}

#[test]
fn startup_ends_when_the_path_is_full_and_its_queue_goes_away() {
    // proves udx.73, udx.74, udx.75 and udx.76
    let mut line = line();
    while line.cc.phase() == Phase::Startup {
        line.run_for(ms(1));
    }
    assert!((950..=1010).contains(&line.bandwidth()), "{}", line.bandwidth());
    assert!(line.now < Time::ZERO + ms(2000), "{}", line.now);
    let queued = line.flight.len();
    assert!((200..330).contains(&queued), "{queued}: up to 2.885 of what the path holds");
    while line.cc.phase() == Phase::Drain {
        line.run_for(ms(1));
    }
    assert!(line.flight.len() <= 102, "{}", line.flight.len());
    assert_eq!(line.phases, [Phase::Startup, Phase::Drain, Phase::ProbeBandwidth]);
}

#[test]
fn a_writer_that_says_little_tells_nothing_of_the_path() {
    // proves udx.72
    let mut little = line();
    for _ in 0..30 {
        little.transfer(5);
    }
    assert_eq!(little.cc.phase(), Phase::Startup, "its rounds do not count");
    let mut line = line();
    line.run_for(ms(5000));
    let known = line.bandwidth();
    for _ in 0..30 {
        line.transfer(5);
    }
    assert_eq!(line.bandwidth(), known, "and do not age what is known");
    line.each = ms(4);
    line.backlog = u64::MAX;
    line.run_for(Span::from_secs(10));
    assert!((240..=260).contains(&line.bandwidth()), "a busy one's do: {}", line.bandwidth());
}

#[test]
fn the_cycle_asks_for_more_takes_it_back_and_rests() {
    // proves udx.77
    let mut line = line();
    line.run_for(ms(3000));
    // the gain that packets leave at, each round trip
    let mut gains = Vec::new();
    for _ in 0..1600 {
        line.run_for(ms(1));
        let gain = line.cc.pacing_rate() * 100 / (line.cc.bandwidth(BYTES) * 99 / 100);
        if gains.last() != Some(&gain) {
            gains.push(gain);
        }
    }
    let near = |gain: u64, is: u64| gain.abs_diff(is) <= 1;
    assert!(gains.iter().all(|&gain| near(gain, 125) || near(gain, 75) || near(gain, 100)), "{gains:?}");
    let up = gains.iter().position(|&gain| near(gain, 125)).expect("a step up");
    assert!(near(gains[up + 1], 75), "{gains:?}");
}

#[test]
fn streams_begin_at_different_places_of_the_cycle() {
    // proves udx.77
    let mut rates: Vec<u64> = (0..20)
        .map(|draw| {
            let mut line = line();
            line.cc = Congestion::new(draw, BYTES);
            while line.cc.phase() != Phase::ProbeBandwidth {
                line.run_for(ms(1));
            }
            line.run_for(ms(150));
            line.cc.pacing_rate() / 10_000
        })
        .collect();
    rates.sort_unstable();
    rates.dedup();
    assert!(rates.len() >= 3, "{rates:?}");
}

#[test]
fn more_bandwidth_is_found() {
    // proves udx.71
    let mut line = line();
    line.run_for(ms(3000));
    line.each = Span::from_micros(500);
    line.run_for(ms(8000));
    assert!((1900..=2020).contains(&line.bandwidth()), "{}", line.bandwidth());
    line.each = ms(2);
    line.run_for(ms(20_000)); // ten rounds that its own queue makes long
    assert!((480..=520).contains(&line.bandwidth()), "{}", line.bandwidth());
}

#[test]
fn the_round_trip_is_looked_at_again_after_ten_seconds() {
    // proves udx.79, udx.80 and udx.81
    let mut line = line();
    line.run_for(ms(9000));
    // the path is longer now: no sample comes near the least one
    line.rtt = ms(150);
    let longer = line.now;
    while line.cc.phase() != Phase::ProbeRtt {
        line.run_for(ms(1));
        assert!(line.now < longer + Span::from_secs(11));
    }
    let began = line.now;
    let mut few = None;
    while line.cc.phase() == Phase::ProbeRtt {
        assert_eq!(line.cc.window(), 4);
        if line.flight.len() <= 4 {
            few.get_or_insert(line.now);
        }
        line.run_for(ms(1));
        assert!(line.now < began + ms(1000));
    }
    let few = few.expect("the path was emptied");
    assert!(line.now.since(few) >= ms(199), "{}", line.now.since(few));
    assert!(line.bandwidth() > 900, "it tells nothing of the bandwidth: {}", line.bandwidth());
    line.run_for(ms(2000));
    // twice 150 packets and what the cycle adds
    assert!((290..=330).contains(&line.cc.window()), "{}", line.cc.window());
}

#[test]
fn a_round_trip_below_a_millisecond_counts_as_one() {
    // proves udx.78
    let mut line = Line::new(Span::from_micros(10), Span::from_micros(50));
    line.run_for(ms(200));
    assert!((90_000..=101_000).contains(&line.bandwidth()), "{}", line.bandwidth());
    assert!((190..=310).contains(&line.cc.window()), "{}", line.cc.window());
}

#[test]
fn acks_in_heaps_widen_the_window() {
    // proves udx.82
    let mut smooth = line();
    smooth.run_for(ms(4000));
    let mut heaps = line();
    let until = heaps.now + ms(6000);
    while heaps.now < until {
        // nothing for 60 ms, then all at once
        let then = heaps.now + ms(60);
        for entry in &mut heaps.flight {
            entry.0 = entry.0.max(then);
        }
        heaps.run_for(ms(60));
    }
    let (few, many) = (smooth.cc.window(), heaps.cc.window());
    assert!(many >= few + 20 && many <= few + 210, "{few} {many}");
}

#[test]
fn a_loss_costs_one_round_of_care_in_the_startup() {
    // proves udx.83
    let mut line = line();
    line.run_for(ms(350));
    assert_eq!(line.cc.phase(), Phase::Startup);
    let before = line.cc.window();
    let in_flight = line.flight.len();
    line.cc.on_loss(1);
    line.cc.on_recovery(in_flight - 1);
    assert_eq!(line.cc.window(), in_flight, "one may leave");
    line.cc.on_recovered();
    assert_eq!(line.cc.window(), before);
}

#[test]
fn a_loss_is_no_sign_once_the_path_is_known() {
    // proves udx.83
    let mut line = line();
    line.run_for(ms(3000));
    let before = line.cc.window();
    line.cc.on_loss(1);
    line.cc.on_recovery(line.flight.len() - 1);
    assert_eq!(line.cc.window(), before);
    line.lose = Some(20);
    line.run_for(ms(5000));
    assert!(line.bandwidth() > 850, "one in twenty lost: {}", line.bandwidth());
}

#[test]
fn a_startup_that_overflows_ends_at_once() {
    // proves udx.75
    let ends = |lose: Option<usize>| {
        let mut line = line();
        while line.bandwidth() < 940 {
            line.run_for(ms(1));
        }
        let full = line.now;
        line.lose = lose;
        while line.cc.phase() == Phase::Startup {
            line.run_for(ms(1));
        }
        line.now.since(full)
    };
    let (calm, few, many) = (ends(None), ends(Some(10)), ends(Some(3)));
    assert!(few >= calm, "one in ten is no overflow: {few} {calm}");
    assert!(many + ms(200) <= calm, "{many} instead of {calm}");
}

#[test]
fn what_is_lost_round_after_round_is_not_sent_again_and_again() {
    // proves udx.87: a path of ten packets, whose round trip counts as a hundred
    let mut line = Line::new(Span::from_micros(10), Span::from_micros(100));
    line.run_for(ms(100));
    let free = line.cc.window();
    line.lose = Some(4);
    line.run_for(ms(100));
    let bound = line.cc.window();
    assert!(bound < free / 2 && line.bandwidth() > 70_000, "{free} {bound} {}", line.bandwidth());
    line.lose = None;
    line.run_for(ms(400));
    assert!(line.cc.window() >= free, "each cycle raises it: {} of {free}", line.cc.window());
}

/// Acks that cannot name all that arrived name it later, all at once: that is no bandwidth.
#[test]
fn what_was_told_late_is_no_bandwidth() {
    // proves udx.88
    for blind in [false, true] {
        let mut line = line();
        line.run_for(ms(3000));
        let known = line.bandwidth();
        line.cc.on_loss(1);
        line.cc.on_recovery(line.flight.len());
        line.blind = blind;
        // as if the path brought five packets at a time that it had long
        line.each = Span::from_micros(200);
        line.run_for(ms(500));
        line.cc.on_recovered();
        line.blind = false;
        line.run_for(ms(50));
        assert_eq!(line.bandwidth() > known * 5 / 4, !blind, "{known} {}", line.bandwidth());
        line.run_for(ms(3000));
        assert!(line.bandwidth() > known * 3 / 2, "a round later all counts again: {}", line.bandwidth());
    }
}

#[test]
fn a_timeout_starts_small_and_what_was_known_comes_back() {
    // proves udx.51
    let mut line = line();
    line.run_for(ms(3000));
    let (window, known) = (line.cc.window(), line.bandwidth());
    line.cc.on_timeout(0);
    assert_eq!(line.cc.window(), 1);
    line.cc.on_recovered();
    assert_eq!((line.cc.window(), line.bandwidth()), (window, known));
}

/// Sends what a bucket lets through, and returns when that was and how many packets.
fn drain(pacer: &mut Pacer, until: Time) -> Vec<(Time, usize)> {
    let mut now = Time::ZERO;
    let mut out: Vec<(Time, usize)> = Vec::new();
    while now <= until {
        match pacer.held_until(now) {
            None => {
                pacer.on_sent(BYTES);
                match out.last_mut() {
                    Some((at, count)) if *at == now => *count += 1,
                    _ => out.push((now, 1)),
                }
            }
            Some(at) => {
                assert!(at > now);
                now = at;
            }
        }
    }
    out
}

#[test]
fn packets_leave_at_the_pace_in_batches() {
    // proves udx.85
    for (rate, batch) in [(2_000, 1), (12_500_000, 6), (125_000_000, 56), (2_000_000_000, 56)] {
        let mut pacer = Pacer::new(rate, BYTES as u64);
        let left = drain(&mut pacer, Time::ZERO + ms(3000));
        let sum: usize = left.iter().map(|(_, count)| count).sum();
        let burst = (rate as usize * 2 / 1000).max(10 * BYTES);
        let expected = rate as usize * 3 + burst;
        assert!(sum.abs_diff(expected / BYTES) <= 60, "{rate}: {sum} of {}", expected / BYTES);
        let most = left[1..].iter().map(|(_, count)| *count).max().unwrap_or(0);
        assert!(most.abs_diff(batch) <= batch / 10 + 1, "{rate}: batches of {most}");
    }
}

#[test]
fn a_bucket_holds_what_a_late_loop_needs_and_no_more() {
    // proves udx.85
    let mut pacer = Pacer::new(12_500_000, BYTES as u64);
    let mut sent = 0;
    for n in 0..1000 {
        let now = Time::ZERO + ms(2 * n);
        while pacer.held_until(now).is_none() {
            pacer.on_sent(BYTES);
            sent += BYTES;
        }
    }
    assert!(sent > 24_700_000, "turns every 2 ms lose nothing: {sent}");
    let rest = Time::ZERO + Span::from_secs(60);
    let mut heap = 0;
    while pacer.held_until(rest).is_none() {
        pacer.on_sent(BYTES);
        heap += 1;
    }
    assert!(heap <= 22, "{heap}");
}

#[test]
fn a_rate_is_of_what_arrived_since_the_packet_left() {
    // proves udx.70 and udx.71
    let mut sampler = Sampler::default();
    let at = |millis| Time::ZERO + ms(millis);
    let first = sampler.stamp(at(1000), true);
    let second = sampler.stamp(at(1010), false);
    let ack = |sampler: &mut Sampler, now, stamp: Stamp, sent, least| {
        sampler.on_ack(at(now), 1, &Newest { stamp, sent: at(sent) }, ms(least))
    };
    // the flight begins at 1000, whatever was before
    let sample = ack(&mut sampler, 1100, first, 1000, 100).expect("long enough");
    assert_eq!((sample.rate, sample.prior_delivered), (10_000, 0), "1 in 100 ms");
    let sample = ack(&mut sampler, 1104, second, 1010, 100).expect("long enough");
    assert_eq!(sample.rate, 2 * 1_000_000 / 104);
    let third = sampler.stamp(at(1104), false);
    assert_eq!(ack(&mut sampler, 1150, third, 1104, 100), None, "faster than the path is");
}

#[test]
fn the_largest_of_ten_rounds() {
    // proves udx.71
    let mut filter = RoundMax::<10>::default();
    assert_eq!(filter.get(), 0);
    filter.add(0, 100);
    filter.add(0, 50);
    for round in 1..10 {
        filter.add(round, 60 - round);
        assert_eq!(filter.get(), 100);
    }
    filter.add(10, 1);
    assert_eq!(filter.get(), 59);
    filter.add(11, 2);
    assert_eq!(filter.get(), 58);
}
