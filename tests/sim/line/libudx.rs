//! A model of how libudx sends: its constants, its clock of milliseconds, its bucket that each tick sets anew. Packets
//! are numbers; each is acked by itself, and one is lost when three that left later arrived.

use std::collections::{BTreeMap, VecDeque};

use seckel::base::{Span, Time};

/// Bytes of a full packet with its header, and of what it carries, once the path was found to take 1500.
pub const PACKET: usize = 1472;
const PAYLOAD: u64 = 1452;
const HIGH: f64 = 2.88539;
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// The receive window, in packets.
const WINDOW: u64 = 4_194_304 / PAYLOAD;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Startup,
    Drain,
    Bandwidth,
    Rtt,
}

struct Sent {
    ms: u64,
    first_ms: u64,
    delivered: u64,
    delivered_ms: u64,
    data: u64,
}

pub struct Model {
    /// Transmissions that are under way, by their number; and data that is to be sent again.
    flight: BTreeMap<u64, Sent>,
    again: VecDeque<u64>,
    next: u64,
    next_data: u64,
    /// All data before this arrived, and what arrived beyond.
    first: u64,
    beyond: std::collections::BTreeSet<u64>,
    newest: u64,
    delivered: u64,
    delivered_ms: u64,
    first_ms: u64,
    window: f64,
    window_before: f64,
    mode: Mode,
    step: usize,
    step_ms: u64,
    /// (round, packets each ms), of the last ten rounds.
    rates: VecDeque<(u64, f64)>,
    round: u64,
    round_ends: u64,
    full_bw: f64,
    full_count: u32,
    full: bool,
    min_rtt: u64,
    min_rtt_ms: u64,
    rtt_until: Option<u64>,
    recovery: Option<u64>,
    conserve: bool,
    lost: f64,
    tokens: u64,
    tick: u64,
    /// Bytes each ms.
    pace: u64,
    wake: Option<Time>,
    rto: Time,
}

impl Model {
    pub fn new(now: Time) -> Model {
        Model {
            flight: BTreeMap::new(),
            again: VecDeque::new(),
            next: 1,
            next_data: 0,
            first: 0,
            beyond: Default::default(),
            newest: 0,
            delivered: 0,
            delivered_ms: 0,
            first_ms: 0,
            window: 10.0,
            window_before: 0.0,
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
            min_rtt_ms: now.as_millis(),
            rtt_until: None,
            recovery: None,
            conserve: false,
            lost: 0.0,
            tokens: 25_000,
            tick: now.as_millis(),
            pace: (10.0 * PAYLOAD as f64 * HIGH * 0.99) as u64,
            wake: None,
            rto: now + Span::from_secs(1),
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        Some(self.wake.unwrap_or(self.rto).min(self.rto))
    }

    /// What waits for its tick, and what was never heard of again.
    pub fn on_time(&mut self, now: Time) {
        self.wake = None;
        if now >= self.rto {
            let late = std::mem::take(&mut self.flight);
            self.again.extend(late.into_values().map(|sent| sent.data));
            self.window_before = self.window_before.max(self.window);
            (self.window, self.full_bw) = (1.0, 0.0);
            self.recovery = Some(self.next);
            self.rto = now + Span::from_secs(2);
        }
    }

    /// The numbers of the packets that leave now.
    pub fn send(&mut self, now: Time) -> Vec<u64> {
        let (ms, mut out) = (now.as_millis(), Vec::new());
        loop {
            if ms > self.tick {
                (self.tokens, self.tick) = ((ms - self.tick) * self.pace, ms);
            }
            let room = (self.flight.len() as f64) < self.window.floor();
            if !room || self.again.is_empty() && self.next_data >= self.first + WINDOW {
                return out;
            }
            if self.tokens == 0 {
                self.wake = Some(Time::ZERO + Span::from_millis(ms + 1));
                return out;
            }
            let data = self.again.pop_front().unwrap_or_else(|| {
                self.next_data += 1;
                self.next_data - 1
            });
            if self.flight.is_empty() {
                (self.first_ms, self.delivered_ms) = (ms, ms);
                self.rto = now + Span::from_secs(1);
            }
            let (first_ms, delivered_ms, delivered) = (self.first_ms, self.delivered_ms, self.delivered);
            self.flight.insert(self.next, Sent { ms, first_ms, delivered, delivered_ms, data });
            self.tokens = self.tokens.saturating_sub(PACKET as u64);
            out.push(self.next);
            self.next += 1;
        }
    }

    /// Returns the bytes that this makes whole for the reader.
    pub fn on_ack(&mut self, now: Time, number: u64) -> u64 {
        let Some(sent) = self.flight.remove(&number) else { return 0 };
        let (ms, before) = (now.as_millis(), self.first);
        self.rto = now + Span::from_secs(1);
        self.beyond.insert(sent.data);
        while self.beyond.remove(&self.first) {
            self.first += 1;
        }
        self.newest = self.newest.max(number);
        self.lose();
        if self.recovery.is_some_and(|until| number >= until) {
            self.recovery = None;
            self.conserve = false;
            self.window = self.window.max(self.window_before);
        }
        self.delivered += 1;
        self.delivered_ms = ms;
        self.first_ms = sent.ms;
        self.learn(ms, &sent);
        (self.first - before) * PAYLOAD
    }

    fn lose(&mut self) {
        let late: Vec<u64> = self.flight.range(..self.newest.saturating_sub(2)).map(|(n, _)| *n).collect();
        for number in late {
            let Some(sent) = self.flight.remove(&number) else { continue };
            self.again.push_back(sent.data);
            self.lost += 1.0;
            if self.recovery.is_none() {
                self.recovery = Some(self.next);
                self.conserve = true;
                self.window_before = self.window;
                self.window = self.flight.len() as f64 + 1.0;
                self.round_ends = self.delivered;
            }
        }
    }

    fn bandwidth(&self) -> f64 {
        self.rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max)
    }

    fn holds(&self, gain: f64) -> f64 {
        if self.min_rtt == u64::MAX { 10.0 } else { (self.bandwidth() * self.min_rtt as f64 * gain).floor() }
    }

    fn learn(&mut self, ms: u64, sent: &Sent) {
        let (rtt, flight) = (ms - sent.ms, self.flight.len() as f64);
        let interval = (sent.ms - sent.first_ms).max(ms - sent.delivered_ms);
        let mut round = false;
        if interval > 0 && (self.min_rtt == u64::MAX || interval >= self.min_rtt) {
            if sent.delivered >= self.round_ends {
                (self.round_ends, round, self.conserve) = (self.delivered, true, false);
                self.round += 1;
            }
            let rate = (self.delivered - sent.delivered) as f64 / interval as f64;
            self.rates.push_back((self.round, rate));
            self.rates
                .retain(|(then, kept)| then + 10 > self.round && (*kept >= rate || *then == self.round));
        }
        self.cycle(ms, flight);
        if !self.full && round {
            if self.bandwidth() >= self.full_bw * 1.25 {
                (self.full_bw, self.full_count) = (self.bandwidth(), 0);
            } else {
                self.full_count += 1;
                self.full = self.full_count >= 3;
            }
        }
        if self.mode == Mode::Startup && self.full {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && flight <= self.holds(1.0) {
            (self.mode, self.step, self.step_ms) = (Mode::Bandwidth, 4, ms);
        }
        self.look_at_rtt(ms, rtt, flight, round);
        let (pacing, window) = match self.mode {
            Mode::Startup => (HIGH, HIGH),
            Mode::Drain => (1.0 / HIGH, HIGH),
            Mode::Bandwidth => (CYCLE[self.step], 2.0),
            Mode::Rtt => (1.0, 1.0),
        };
        let pace = (self.bandwidth() * PAYLOAD as f64 * pacing * 0.99) as u64;
        if self.full || pace > self.pace {
            self.pace = pace.max(1);
        }
        self.window = (self.window - std::mem::take(&mut self.lost)).max(1.0);
        if self.conserve {
            self.window = self.window.max(flight + 1.0);
        } else if self.full {
            self.window = (self.window + 1.0).min(self.holds(window)).max(4.0);
        } else if self.window < self.holds(window) || self.delivered < 10 {
            self.window += 1.0;
        }
        if self.mode == Mode::Rtt {
            self.window = self.window.min(4.0);
        }
    }

    fn cycle(&mut self, ms: u64, flight: f64) {
        if self.mode != Mode::Bandwidth {
            return;
        }
        let long = ms - self.step_ms > self.min_rtt;
        let next = match self.step {
            0 => long && (self.lost > 0.0 || flight > self.holds(1.25)),
            1 => long || flight <= self.holds(1.0),
            _ => long,
        };
        if next {
            (self.step, self.step_ms) = ((self.step + 1) % 8, ms);
        }
    }

    fn look_at_rtt(&mut self, ms: u64, rtt: u64, flight: f64, round: bool) {
        let expired = ms > self.min_rtt_ms + 10_000;
        if rtt < self.min_rtt || expired {
            (self.min_rtt, self.min_rtt_ms) = (rtt.max(1), ms);
        }
        if expired && self.mode != Mode::Rtt {
            self.window_before = self.window;
            (self.mode, self.rtt_until) = (Mode::Rtt, None);
        }
        if self.mode != Mode::Rtt {
            return;
        }
        match self.rtt_until {
            None if flight <= 4.0 => self.rtt_until = Some(ms + 200),
            Some(until) if ms > until && round => {
                self.min_rtt_ms = ms;
                self.window = self.window.max(self.window_before);
                (self.mode, self.step, self.step_ms) =
                    (if self.full { Mode::Bandwidth } else { Mode::Startup }, 4, ms);
            }
            None | Some(_) => {}
        }
    }
}
