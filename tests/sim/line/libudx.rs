//! A model of both ends of a libudx stream: its constants, its clock of milliseconds, its bucket that each tick sets
//! anew, its acks of at most 50 ranges. The order in which it does things is that of the reference, because it matters:
//! what is lost leaves again before the window hears of the loss, and no ack ever tells the window of one.

use std::collections::{BTreeMap, VecDeque};

use seckel::base::{Span, Time};

/// Bytes of a full packet with its header, and of what it carries, once the path was found to take 1500.
pub const PACKET: usize = 1472;
const PAYLOAD: u64 = 1452;
const HIGH: f64 = 2.88539;
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// The receive window, in packets.
const WINDOW: u64 = 4_194_304 / PAYLOAD;
const WINDOW_MIN: u64 = 4;
const RANGES: usize = 50;
/// A best rate counts until it is more rounds old than this.
const RATE_ROUNDS: u64 = 10;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Startup,
    Drain,
    Bandwidth,
    Rtt,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Health {
    Open,
    Recovery,
    Loss,
}

/// All before `next` arrived, and these ranges.
pub struct Ack {
    pub next: u64,
    pub ranges: Vec<(u64, u64)>,
}

#[derive(Default)]
pub struct Reader {
    pub next: u64,
    beyond: BTreeMap<u64, u64>,
    count: u64,
}

impl Reader {
    pub fn take(&mut self, seq: u64) {
        let before = self.beyond.range(..=seq).next_back().map(|(start, end)| (*start, *end));
        if seq < self.next || before.is_some_and(|(_, end)| seq < end) {
            return;
        }
        if seq == self.next {
            self.next += 1;
            if let Some(end) = self.beyond.remove(&self.next) {
                self.count -= end - self.next;
                self.next = end;
            }
            return;
        }
        self.count += 1;
        let start = before.filter(|(_, end)| *end == seq).map_or(seq, |(start, _)| start);
        let end = self.beyond.remove(&(seq + 1)).unwrap_or(seq + 1);
        self.beyond.insert(start, end);
    }

    /// It looks no further than past as many holes as it holds packets.
    pub fn ack(&self) -> Ack {
        let (mut ranges, mut at, mut holes) = (Vec::new(), self.next + 1, self.count);
        for (&start, &end) in &self.beyond {
            if start - at >= holes || ranges.len() == RANGES {
                break;
            }
            holes -= start - at;
            at = end;
            ranges.push((start, end));
        }
        Ack { next: self.next, ranges }
    }
}

#[derive(Clone, Copy)]
struct Packet {
    /// Its place among all that were transmitted, while it is in flight.
    order: u64,
    lost: bool,
    again: bool,
    ms: u64,
    first_ms: u64,
    delivered: u64,
    delivered_ms: u64,
    limited: bool,
}

/// What one ack says of the rate: that of the packet among its own which was sent last.
#[derive(Default)]
struct Sample {
    sent: Option<(u64, u64)>,
    prior: u64,
    prior_ms: u64,
    sending: u64,
    limited: bool,
    rtt: Option<u64>,
}

pub struct Model {
    reader: Reader,
    out: Vec<u64>,
    packets: BTreeMap<u64, Packet>,
    flight: BTreeMap<u64, u64>,
    again: VecDeque<u64>,
    orders: u64,
    next: u64,
    acked: u64,
    /// Packets beyond `acked` that arrived.
    sacked: u64,
    // loss
    health: Health,
    recover_until: u64,
    rack: (u64, u64),
    rack_rtt: u64,
    reordering: bool,
    highest: u64,
    late: Option<u64>,
    least_rtt: u64,
    srtt: Option<f64>,
    variance: f64,
    rto: u64,
    rto_at: u64,
    // rate
    delivered: u64,
    delivered_ms: u64,
    first_ms: u64,
    limited: u64,
    // model
    window: u64,
    window_before: u64,
    threshold: u64,
    mode: Mode,
    step: usize,
    step_ms: u64,
    /// (round, packets each ms): what may yet become the best.
    rates: VecDeque<(u64, f64)>,
    round: u64,
    round_ends: u64,
    full_bw: f64,
    full_count: u32,
    full: bool,
    min_rtt: u64,
    min_rtt_ms: u64,
    rtt_until: Option<u64>,
    rtt_round: bool,
    health_before: Health,
    conserve: bool,
    heap_ms: u64,
    heap: u64,
    heaps: [u64; 2],
    heap_rounds: u32,
    // pacing
    paced_by_rtt: bool,
    /// Bytes each ms.
    pace: u64,
    tokens: u64,
    tick: u64,
    wake: Option<u64>,
}

impl Model {
    pub fn new(now: Time) -> Model {
        let ms = now.as_millis();
        Model {
            reader: Reader::default(),
            out: Vec::new(),
            packets: BTreeMap::new(),
            flight: BTreeMap::new(),
            again: VecDeque::new(),
            orders: 0,
            next: 0,
            acked: 0,
            sacked: 0,
            health: Health::Open,
            recover_until: 0,
            rack: (0, 0),
            rack_rtt: 0,
            reordering: false,
            highest: 0,
            late: None,
            least_rtt: u64::MAX,
            srtt: None,
            variance: 0.0,
            rto: 1000,
            rto_at: ms + 1000,
            delivered: 0,
            delivered_ms: ms,
            first_ms: ms,
            limited: 0,
            window: 10,
            window_before: 0,
            threshold: 0xffff,
            mode: Mode::Startup,
            step: 0,
            step_ms: 0,
            rates: VecDeque::new(),
            round: 0,
            round_ends: 0,
            full_bw: 0.0,
            full_count: 0,
            full: false,
            min_rtt: u64::MAX,
            min_rtt_ms: ms,
            rtt_until: None,
            rtt_round: false,
            health_before: Health::Open,
            conserve: false,
            heap_ms: ms,
            heap: 0,
            heaps: [0; 2],
            heap_rounds: 0,
            paced_by_rtt: false,
            pace: pace_of(10.0, HIGH),
            tokens: 25_000,
            tick: ms,
            wake: Some(ms),
        }
    }

    /// Bytes that its reader has in order.
    pub fn arrived(&self) -> u64 {
        self.reader.next * PAYLOAD
    }

    /// A packet reaches the reader, whose ack goes back.
    pub fn on_data(&mut self, seq: u64) -> Ack {
        self.reader.take(seq);
        self.reader.ack()
    }

    pub fn deadline(&self) -> Option<Time> {
        let ms = [self.wake, self.late, Some(self.rto_at)].into_iter().flatten().min()?;
        Some(Time::ZERO + Span::from_millis(ms))
    }

    /// What leaves now.
    pub fn leaves(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.out)
    }

    pub fn on_time(&mut self, now: Time) {
        let ms = now.as_millis();
        if self.late.is_some_and(|at| at <= ms) {
            self.late = None;
            self.find_lost(ms);
        }
        if self.rto_at <= ms {
            self.on_timeout(ms);
        }
        if self.wake.is_some_and(|at| at <= ms) {
            self.wake = None;
            self.send(ms);
        }
    }

    fn on_timeout(&mut self, ms: u64) {
        self.rto_at = ms + self.rto * 2;
        (self.recover_until, self.health) = (self.next, Health::Loss);
        let wait = self.rack_rtt + self.patience();
        let (acked, flight) = (self.acked, &mut self.flight);
        for (seq, packet) in &mut self.packets {
            if !packet.lost && (*seq == acked || packet.ms + wait < ms) {
                packet.lost = true;
                flight.remove(&packet.order);
            }
        }
        self.again = self.packets.iter().filter(|(_, packet)| packet.lost).map(|(seq, _)| *seq).collect();
        (self.health_before, self.full_bw) = (Health::Loss, 0.0);
        self.send(ms);
    }

    fn in_flight(&self) -> u64 {
        self.flight.len() as u64
    }

    fn send(&mut self, ms: u64) {
        loop {
            if ms > self.tick {
                (self.tokens, self.tick) = ((ms - self.tick) * self.pace, ms);
            }
            let again = self.again.front().copied();
            let room = if again.is_some() { self.window } else { self.window.min(WINDOW) };
            if self.tokens == 0 || self.in_flight() >= room {
                return;
            }
            if let Some(seq) = again {
                self.again.pop_front();
                if self.packets.get(&seq).is_some_and(|packet| packet.lost) {
                    self.transmit(ms, seq, true);
                }
            } else {
                self.transmit(ms, self.next, false);
                self.next += 1;
            }
        }
    }

    fn transmit(&mut self, ms: u64, seq: u64, again: bool) {
        if self.packets.is_empty() {
            (self.first_ms, self.delivered_ms) = (ms, ms);
            self.rto_at = ms + self.rto;
        }
        self.orders += 1;
        let packet = Packet {
            order: self.orders,
            lost: false,
            again,
            ms,
            first_ms: self.first_ms,
            delivered: self.delivered,
            delivered_ms: self.delivered_ms,
            limited: self.limited > 0,
        };
        self.packets.insert(seq, packet);
        self.flight.insert(self.orders, seq);
        self.out.push(seq);
        self.tokens = self.tokens.saturating_sub(PACKET as u64);
        if self.tokens == 0 {
            self.wake = Some(ms + 1);
        }
    }

    pub fn on_ack(&mut self, now: Time, ack: &Ack) {
        let ms = now.as_millis();
        if ack.next > self.recover_until && self.health != Health::Open {
            if self.health == Health::Recovery {
                self.window = self.threshold;
            }
            self.health = Health::Open;
        }
        let (before, mut sample) = (self.delivered, Sample::default());
        let advanced = ack.next > self.acked;
        for seq in self.acked..ack.next {
            if !self.arrive(ms, seq, &mut sample) {
                self.sacked -= 1;
            }
        }
        self.acked = self.acked.max(ack.next);
        let first = self.acked;
        for &(start, end) in ack.ranges.iter().filter(|(start, _)| *start >= first) {
            let new: Vec<u64> = self.packets.range(start..end).map(|(seq, _)| *seq).collect();
            self.sacked += new.len() as u64;
            for seq in new {
                self.arrive(ms, seq, &mut sample);
            }
        }
        let count = self.delivered - before;
        if advanced {
            self.rto_at = ms + self.rto;
        }
        if count > 0 {
            self.find_lost(ms);
        }
        self.learn(ms, count, &sample);
        self.send(ms);
    }

    fn arrive(&mut self, ms: u64, seq: u64, sample: &mut Sample) -> bool {
        let Some(packet) = self.packets.remove(&seq) else { return false };
        self.flight.remove(&packet.order);
        if sample.sent.is_none_or(|newest| (packet.ms, seq) > newest) {
            sample.sent = Some((packet.ms, seq));
            (sample.prior, sample.prior_ms) = (packet.delivered, packet.delivered_ms);
            sample.limited = packet.limited;
            sample.sending = packet.ms - packet.first_ms.min(packet.ms);
            self.first_ms = packet.ms;
        }
        self.delivered += 1;
        let rtt = ms - packet.ms;
        if !packet.again {
            self.least_rtt = self.least_rtt.min(rtt);
            let srtt = self.srtt.unwrap_or(rtt as f64);
            let first = self.srtt.is_none();
            let off = (srtt - rtt as f64).abs();
            self.variance = if first { srtt / 2.0 } else { (3.0 * self.variance + off) / 4.0 };
            self.srtt = Some((7.0 * srtt + rtt as f64) / 8.0);
            self.rto = ((srtt + 4.0 * self.variance) as u64).clamp(1000, 30_000);
        }
        if !packet.again || rtt >= self.least_rtt {
            (self.rack_rtt, sample.rtt) = (rtt, Some(rtt));
            self.rack = self.rack.max((packet.ms, seq + 1));
        }
        if seq + 1 > self.highest {
            self.highest = seq + 1;
        } else if seq + 1 < self.highest && !packet.again {
            self.reordering = true;
        }
        true
    }

    fn patience(&self) -> u64 {
        if !self.reordering && (self.health != Health::Open || self.sacked >= 3) {
            return 0;
        }
        (self.least_rtt / 4).min(self.srtt.unwrap_or(0.0) as u64)
    }

    /// And sends, with the window that was.
    fn find_lost(&mut self, ms: u64) {
        let wait = self.rack_rtt + self.patience();
        let (mut lost, mut late) = (Vec::new(), None);
        for (&order, &seq) in &self.flight {
            let packet = self.packets[&seq];
            if packet.ms > self.rack.0 {
                break;
            }
            if self.rack > (packet.ms, seq + 1) {
                if packet.ms + wait <= ms {
                    lost.push((order, seq));
                } else {
                    late = late.max(Some(packet.ms + wait));
                }
            }
        }
        self.late = late;
        for (order, seq) in &lost {
            self.flight.remove(order);
            self.packets.get_mut(seq).expect("in flight").lost = true;
            self.again.push_back(*seq);
        }
        if !lost.is_empty() && self.health == Health::Open {
            (self.health, self.recover_until) = (Health::Recovery, self.next);
        }
        self.send(ms);
    }

    fn bandwidth(&self) -> f64 {
        self.rates.front().map_or(0.0, |(_, rate)| *rate)
    }

    fn holds(&self, gain: f64) -> u64 {
        if self.min_rtt == u64::MAX { 10 } else { (self.bandwidth() * self.min_rtt as f64 * gain) as u64 }
    }

    fn learn(&mut self, ms: u64, count: u64, sample: &Sample) {
        if self.limited > 0 && self.delivered > self.limited {
            self.limited = 0;
        }
        if count > 0 {
            self.delivered_ms = ms;
        }
        let round = self.learn_rate(ms, count, sample);
        self.cycle();
        if !self.full && round && !sample.limited {
            if self.bandwidth() >= self.full_bw * 1.25 {
                (self.full_bw, self.full_count) = (self.bandwidth(), 0);
            } else {
                self.full_count += 1;
                self.full = self.full_count >= 3;
            }
        }
        if self.mode == Mode::Startup && self.full {
            (self.mode, self.threshold) = (Mode::Drain, self.holds(1.0));
        }
        if self.mode == Mode::Drain && self.in_flight() <= self.holds(1.0) {
            (self.mode, self.step, self.step_ms) = (Mode::Bandwidth, 4, self.delivered_ms);
        }
        self.look_at_rtt(ms, sample.rtt, round);
        let (pacing, gain) = match self.mode {
            Mode::Startup => (HIGH, HIGH),
            Mode::Drain => (1.0 / HIGH, HIGH),
            Mode::Bandwidth => (CYCLE[self.step], 2.0),
            Mode::Rtt => (1.0, 1.0),
        };
        if let (false, Some(srtt)) = (self.paced_by_rtt, self.srtt) {
            self.paced_by_rtt = true;
            self.pace = pace_of(self.window as f64 / srtt.max(1.0), HIGH);
        }
        let pace = pace_of(self.bandwidth(), pacing);
        if self.full || pace > self.pace {
            self.pace = pace;
        }
        if count > 0 {
            self.set_window(count, gain);
        }
        if self.mode == Mode::Rtt {
            self.window = self.window.min(WINDOW_MIN);
        }
    }

    /// True if a round ended.
    fn learn_rate(&mut self, ms: u64, count: u64, sample: &Sample) -> bool {
        let interval = sample.sending.max(ms - sample.prior_ms.min(ms));
        if sample.sent.is_none() || interval == 0 || interval < self.least_rtt {
            return false;
        }
        let round = sample.prior >= self.round_ends;
        if round {
            (self.round_ends, self.conserve) = (self.delivered, false);
            self.round += 1;
        }
        let rate = (self.delivered - sample.prior) as f64 / interval as f64;
        if !sample.limited || rate >= self.bandwidth() {
            let (now, rates) = (self.round, &mut self.rates);
            rates.retain(|(then, kept)| then + RATE_ROUNDS >= now && *kept > rate);
            rates.push_back((now, rate));
        }
        if count > 0 {
            self.learn_heaps(count, round);
        }
        round
    }

    fn learn_heaps(&mut self, count: u64, round: bool) {
        if round {
            self.heap_rounds += 1;
            if self.heap_rounds >= 5 {
                (self.heap_rounds, self.heaps) = (0, [0, self.heaps[0]]);
            }
        }
        let mut expected = (self.bandwidth() * (self.delivered_ms - self.heap_ms) as f64) as u64;
        if self.heap <= expected {
            (self.heap, self.heap_ms, expected) = (0, self.delivered_ms, 0);
        }
        self.heap += count;
        self.heaps[0] = self.heaps[0].max((self.heap - expected).min(self.window));
    }

    fn set_window(&mut self, count: u64, gain: f64) {
        let flight = self.in_flight();
        if self.health == Health::Recovery && self.health_before != Health::Recovery {
            (self.conserve, self.round_ends) = (true, self.delivered);
            self.window = flight + count;
        } else if self.health_before != Health::Open && self.health == Health::Open {
            self.window = self.window.max(self.window_before);
            self.conserve = false;
        }
        self.health_before = self.health;
        if self.conserve {
            self.window = self.window.max(flight + count);
            return;
        }
        let heaps = self.heaps[0].max(self.heaps[1]).min((self.bandwidth() * 100.0) as u64);
        let target = self.holds(gain) + if self.full { heaps } else { 0 };
        if self.full {
            self.window = (self.window + count).min(target);
        } else if self.window < target || self.delivered < 10 {
            self.window += count;
        }
        self.window = self.window.max(WINDOW_MIN);
    }

    fn cycle(&mut self) {
        if self.mode != Mode::Bandwidth {
            return;
        }
        let long = self.delivered_ms - self.step_ms.min(self.delivered_ms) > self.min_rtt;
        let next = match self.step {
            0 => long && self.in_flight() > self.holds(1.25),
            1 => long || self.in_flight() <= self.holds(1.0),
            _ => long,
        };
        if next {
            (self.step, self.step_ms) = ((self.step + 1) % 8, self.delivered_ms);
        }
    }

    fn look_at_rtt(&mut self, ms: u64, rtt: Option<u64>, round: bool) {
        let expired = ms > self.min_rtt_ms + 10_000;
        if let Some(rtt) = rtt.filter(|rtt| *rtt < self.min_rtt || expired) {
            (self.min_rtt, self.min_rtt_ms) = (rtt.max(1), ms);
        }
        if expired && self.mode != Mode::Rtt {
            self.window_before = self.window_before.max(self.window);
            (self.mode, self.rtt_until) = (Mode::Rtt, None);
        }
        if self.mode != Mode::Rtt {
            return;
        }
        self.limited = self.delivered + self.in_flight();
        match self.rtt_until {
            None if self.in_flight() <= WINDOW_MIN => {
                (self.rtt_until, self.rtt_round) = (Some(ms + 200), false);
                self.round_ends = self.delivered;
            }
            None => {}
            Some(until) => {
                self.rtt_round |= round;
                if self.rtt_round && ms > until {
                    self.min_rtt_ms = ms;
                    self.window = self.window.max(self.window_before);
                    let mode = if self.full { Mode::Bandwidth } else { Mode::Startup };
                    (self.mode, self.step, self.step_ms) = (mode, 4, self.delivered_ms);
                }
            }
        }
    }
}

fn pace_of(packets: f64, gain: f64) -> u64 {
    ((packets * PAYLOAD as f64 * gain * 0.99) as u64).max(1)
}
