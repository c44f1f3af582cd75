//! What a line does to the datagrams on it, one way. Each fault draws from a source of its own, and the n-th datagram
//! gets the n-th draw of each, so that turning one fault off leaves the other draws alone.

use crate::base::{Entropy, Seeded, Span, Time};

/// How a line treats datagrams, one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// From one end to the other.
    pub delay: Span,
    /// Up to this much more, drawn for each datagram; more than the gap between two datagrams reorders them.
    pub jitter: Span,
    /// Bytes that pass in a second, headers of UDP and IP included; none: as many as come.
    pub bytes_per_sec: Option<u64>,
    /// How long a datagram may wait for its turn on a line with a rate; who would wait longer is dropped.
    pub queue: Span,
    /// Of a thousand datagrams, how many vanish, each by itself.
    pub loss_permille: u64,
    /// Losses that come in bursts.
    pub burst: Option<Burst>,
    /// Of a thousand datagrams, how many are held back for `reorder` while later ones pass.
    pub reorder_permille: u64,
    pub reorder: Span,
    /// Of a thousand datagrams, how many arrive a second time.
    pub copies_permille: u64,
    /// Of a thousand datagrams, how many have a bit flipped.
    pub flips_permille: u64,
    /// Longer packets vanish, headers of UDP and IP included.
    pub mtu: Option<usize>,
    /// Routers on the way: a datagram whose TTL is not higher dies.
    pub hops: u8,
    /// Nothing passes.
    pub cut: bool,
}

/// Losses as Gilbert and Elliott describe them: a line is well, or ill for a while. In thousandths, per datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    /// How often a line that is well falls ill.
    pub begin_permille: u64,
    /// How often one that is ill gets well: 1000 by this is the mean length of a burst.
    pub end_permille: u64,
    /// How many vanish while it is ill.
    pub loss_permille: u64,
}

impl Line {
    /// Nothing happens on it: no delay, no hops. What an uplink adds to.
    pub const CLEAR: Line = Line {
        delay: Span::ZERO,
        jitter: Span::ZERO,
        bytes_per_sec: None,
        queue: Span::from_millis(100),
        loss_permille: 0,
        burst: None,
        reorder_permille: 0,
        reorder: Span::from_millis(20),
        copies_permille: 0,
        flips_permille: 0,
        mtu: None,
        hops: 0,
        cut: false,
    };

    /// A clear line across the internet: five milliseconds, ten routers.
    pub const INTERNET: Line = Line { delay: Span::from_millis(5), hops: 10, ..Line::CLEAR };
}

/// `Line::INTERNET`.
impl Default for Line {
    fn default() -> Line {
        Line::INTERNET
    }
}

/// Bytes that UDP and IP put before a datagram.
const HEADERS: usize = 28;

/// One arrival of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub at: Time,
    /// The bit that is flipped.
    pub flip: Option<u32>,
    /// It is a second arrival. Copies draw from sources of their own.
    pub copy: bool,
}

/// The most arrivals that one datagram has: every line on its way may copy it.
const ARRIVALS_MAX: usize = 4;

/// When and how a datagram arrives; never: it is lost.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    list: [Option<Arrival>; ARRIVALS_MAX],
}

impl Fate {
    /// A datagram that leaves at `at`.
    pub fn leaving(at: Time, copy: bool) -> Fate {
        let mut fate = Fate::default();
        fate.add(Arrival { at, flip: None, copy });
        fate
    }

    fn add(&mut self, arrival: Arrival) {
        if let Some(free) = self.list.iter_mut().find(|place| place.is_none()) {
            *free = Some(arrival);
        }
    }

    pub fn arrivals(&self) -> impl Iterator<Item = Arrival> + '_ {
        self.list.iter().flatten().copied()
    }

    pub fn is_lost(&self) -> bool {
        self.list[0].is_none()
    }

    /// Arrives so much later.
    pub fn later(mut self, span: Span) -> Fate {
        self.list.iter_mut().flatten().for_each(|arrival| arrival.at += span);
        self
    }

    /// Sends it on over one more line.
    pub fn pass(self, wire: &mut Wire, line: &Line, len: usize) -> Fate {
        let mut after = Fate::default();
        for arrival in self.list.into_iter().flatten() {
            let (first, second) = wire.carry(line, arrival, len);
            first.into_iter().chain(second).for_each(|arrival| after.add(arrival));
        }
        after
    }
}

/// A line in use: its sources of chance, and what it remembers.
#[derive(Clone, Debug)]
pub struct Wire {
    seed: Seeded,
    /// Datagrams so far; copies that an earlier line made.
    counts: [u64; 2],
    /// When the last of those that wait for their turn will have left.
    free_at: Time,
    ill: bool,
}

impl Wire {
    pub fn new(seed: Seeded) -> Wire {
        Wire { seed, counts: [0; 2], free_at: Time::ZERO, ill: false }
    }

    /// What comes out at the other end.
    fn carry(&mut self, line: &Line, leaving: Arrival, len: usize) -> (Option<Arrival>, Option<Arrival>) {
        let count = &mut self.counts[usize::from(leaving.copy)];
        *count += 1;
        let nth = *count * 2 + u64::from(leaving.copy);
        let ill = self.falls_ill(line, nth, leaving.copy);
        let too_long = line.mtu.is_some_and(|mtu| len + HEADERS > mtu);
        if line.cut || ill || too_long || self.happens("loss", nth, line.loss_permille) {
            return (None, None);
        }
        let Some(mut at) = self.queue(line, leaving.at, len) else { return (None, None) };
        at += line.delay;
        if line.jitter > Span::ZERO {
            at += Span::from_micros(self.draw("jitter", nth).below(line.jitter.as_micros() + 1));
        }
        let held = self.happens("reorder", nth, line.reorder_permille);
        let flip = self.happens("flips", nth, line.flips_permille);
        let flip = flip.then(|| self.draw("bits", nth).below(len as u64 * 8) as u32);
        let first = Arrival {
            at: if held { at + line.reorder } else { at },
            flip: flip.or(leaving.flip),
            copy: leaving.copy,
        };
        let second = self.happens("copies", nth, line.copies_permille).then(|| {
            let after = self.draw("gaps", nth).below(line.jitter.as_micros() + 1000);
            Arrival { at: at + Span::from_micros(after), flip: leaving.flip, copy: true }
        });
        (Some(first), second)
    }

    fn draw(&self, fault: &str, nth: u64) -> Seeded {
        self.seed.fork(fault).fork_nth(nth)
    }

    fn happens(&self, fault: &str, nth: u64, permille: u64) -> bool {
        permille > 0 && self.draw(fault, nth).chance(permille)
    }

    /// Whether a burst takes this datagram. Copies meet the line as it is.
    fn falls_ill(&mut self, line: &Line, nth: u64, copy: bool) -> bool {
        let Some(burst) = line.burst else { return false };
        if !copy {
            let permille = if self.ill { burst.end_permille } else { burst.begin_permille };
            self.ill ^= self.happens("bursts", nth, permille);
        }
        self.ill && self.happens("burst loss", nth, burst.loss_permille)
    }

    /// When it has left a line with a rate; none: it would wait too long.
    fn queue(&mut self, line: &Line, at: Time, len: usize) -> Option<Time> {
        let Some(rate) = line.bytes_per_sec else { return Some(at) };
        let begin = self.free_at.max(at);
        if begin.since(at) > line.queue {
            return None;
        }
        let takes = ((len + HEADERS) as u64).saturating_mul(1_000_000).div_ceil(rate.max(1));
        self.free_at = begin + Span::from_micros(takes);
        Some(self.free_at)
    }
}

#[cfg(test)]
mod tests;
