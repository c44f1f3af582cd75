//! How far something long has come: on a terminal one line that changes, elsewhere a line a second if it is asked for.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often something is shown.
const EVERY: Duration = Duration::from_millis(200);
/// How often where it is no terminal.
const EVERY_LINE: Duration = Duration::from_secs(1);
/// Samples from which the rate is made: the last two seconds or more.
const SAMPLES: usize = 10;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Bytes,
    Blocks,
    Entries,
}

/// Call `tell` as often as you like, and `end` at the end.
pub struct Progress {
    on: bool,
    terminal: bool,
    unit: Unit,
    shown: bool,
    last: Option<Instant>,
    samples: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// `wanted`: even where standard error is no terminal.
    pub fn new(unit: Unit, wanted: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let on = wanted || terminal;
        Progress { on, terminal, unit, shown: false, last: None, samples: VecDeque::new() }
    }

    /// Somebody looks on.
    pub fn on(&self) -> bool {
        self.on
    }

    /// `of`: how many there will be, if that is known.
    pub fn tell(&mut self, done: u64, of: Option<u64>) {
        if self.on {
            self.tell_at(Instant::now(), done, of);
        }
    }

    fn tell_at(&mut self, now: Instant, done: u64, of: Option<u64>) {
        let every = if self.terminal { EVERY } else { EVERY_LINE };
        let Some(last) = self.last else {
            // What is over soon is not worth a line.
            self.last = Some(now);
            self.samples.push_back((now, done));
            return;
        };
        if now.duration_since(last) < every {
            return;
        }
        self.last = Some(now);
        self.samples.push_back((now, done));
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        let (then, before) = self.samples.front().copied().unwrap_or((now, done));
        let rate = per_second(done.saturating_sub(before), now.duration_since(then));
        let text = line(self.unit, done, of, rate);
        self.shown = true;
        let _ = match self.terminal {
            true => write!(std::io::stderr(), "\r{text}\x1b[K"),
            false => writeln!(std::io::stderr(), "seckel: {text}"),
        };
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if self.shown && self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        self.shown = false;
    }
}

fn per_second(count: u64, took: Duration) -> u64 {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}

fn line(unit: Unit, done: u64, of: Option<u64>, rate: u64) -> String {
    let count = |count| match unit {
        Unit::Bytes => bytes(count),
        Unit::Blocks | Unit::Entries => count.to_string(),
    };
    let noun = match unit {
        Unit::Bytes => "",
        Unit::Blocks => " blocks",
        Unit::Entries => " entries",
    };
    let rated = format!("{}/s", count(rate));
    match of {
        Some(of) => {
            let percent = done.saturating_mul(100) / of.max(1);
            let left = of.saturating_sub(done).checked_div(rate).map_or("?".to_owned(), span);
            format!("{percent} %, {} of {}{noun}, {rated}, {left} left", count(done), count(of))
        }
        None => format!("{}{noun}, {rated}", count(done)),
    }
}

/// A count of bytes for people.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let (mut whole, mut unit) = (count, 0);
    while whole >= 1_000_000 && unit + 1 < UNITS.len() {
        whole /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", whole / 1000, whole % 1000 / 100, UNITS[unit])
}

/// Seconds for people.
fn span(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_time_left() {
        let told = line(Unit::Bytes, 25_000_000, Some(100_000_000), 5_000_000);
        assert_eq!(told, "25 %, 25.0 MB of 100.0 MB, 5.0 MB/s, 15 s left");
        assert_eq!(line(Unit::Blocks, 5, Some(10), 0), "50 %, 5 of 10 blocks, 0/s, ? left");
        assert_eq!(line(Unit::Entries, 5, None, 2), "5 entries, 2/s");
        assert_eq!(line(Unit::Blocks, 0, Some(0), 0), "0 %, 0 of 0 blocks, 0/s, ? left");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut progress = Progress::new(Unit::Bytes, true);
        progress.terminal = true;
        let start = Instant::now();
        for n in 0..40 {
            progress.tell_at(start + EVERY * n, u64::from(n) * 1000, None);
        }
        let (then, before) = progress.samples[0];
        assert_eq!(progress.samples.len(), SAMPLES);
        assert_eq!(per_second(39_000 - before, start + EVERY * 39 - then), 5000);
    }

    #[test]
    fn counts_are_for_people() {
        let told = [0, 999, 1000, 12_345, 999_999, 1_000_000, u64::MAX].map(bytes);
        assert_eq!(told[..6], ["0 B", "999 B", "1.0 kB", "12.3 kB", "999.9 kB", "1.0 MB"]);
        assert!(told[6].ends_with("TB"));
        assert_eq!([59, 61, 7200].map(span), ["59 s", "1 min 1 s", "2 h 0 min"]);
    }
}
