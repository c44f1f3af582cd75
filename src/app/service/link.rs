//! When a client dials, and how long what it is asked waits for that. Follows registry.12, registry.15 and registry.16.

use super::{Output, Status};
use crate::base::{Span, Time};

/// The connection to the server. Told: `up`, `down`; `tick` must be called after each of them and at `deadline`.
#[derive(Debug)]
pub struct Link {
    phase: Phase,
    /// Attempts that failed since the link was last up.
    failures: u32,
    started: Time,
    /// Until then a read waits for the first sync.
    grace: Time,
    /// A call timed out: the connection is to be made anew.
    stalled: bool,
    /// Until then reads do not wait for the copy to grow: some peer told of a length that nobody delivers.
    impatient: Time,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Down { retry: Time },
    Dialing { until: Time },
    Up,
}

/// What a read may say, and with which warning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// Not yet.
    Wait,
    /// It is as new as what peers tell of.
    Fresh,
    /// The server is there, but the copy does not grow to the length that peers tell of.
    Behind,
    /// It is what the copy has; the server is not reachable.
    Old,
    /// There was never a copy. (registry.17)
    NeverSynced,
}

/// The read was answered without the server.
pub const MAY_BE_OLD: &str = "the server is not reachable; this is from the local copy and may be old";
/// The server is there, but the copy does not grow to the length that peers tell of.
pub const BEHIND: &str = "the local copy is not complete yet; this may be old";
/// The write is done, but waiting for the replica was given up.
pub const NOT_SHOWN: &str = "the write is done, but the local copy does not show it yet";

impl Sight {
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Sight::Behind => Some(BEHIND),
            Sight::Old => Some(MAY_BE_OLD),
            Sight::Fresh | Sight::Wait | Sight::NeverSynced => None,
        }
    }
}

const DIAL_WAIT: Span = Span::from_secs(20);
const RETRY_FIRST: Span = Span::from_millis(200);
const RETRY_LAST: Span = Span::from_secs(10);
/// How long a read right after the start waits for the connection: with a copy at hand, and without.
const GRACE_AT_START: Span = Span::from_secs(3);
const GRACE_WITHOUT_COPY: Span = Span::from_secs(10);
const GRACE_WHEN_UP: Span = Span::from_secs(5);
const READ_WAIT: Span = Span::from_secs(10);
const IMPATIENCE: Span = Span::from_secs(60);
/// How long a write waits for a connection, and for its answer.
pub const CONNECT_WAIT: Span = Span::from_secs(12);
pub const WRITE_WAIT: Span = Span::from_secs(60);
/// How long a write that is done waits until the copy shows it.
pub const SHOW_WAIT: Span = Span::from_secs(30);
/// A write gives up after so many failed attempts to connect.
const FAILURES_MAX: u32 = 2;
/// How long the server may take for an answer.
pub const CALL_WAIT: Span = Span::from_secs(5);

impl Link {
    pub fn new(now: Time) -> Link {
        Link {
            phase: Phase::Down { retry: now },
            failures: 0,
            started: now,
            grace: now,
            stalled: false,
            impatient: now,
        }
    }

    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub fn up(&mut self, now: Time) {
        self.phase = Phase::Up;
        self.failures = 0;
        self.grace = self.grace.max(now + GRACE_WHEN_UP);
    }

    /// The connection broke, or an attempt failed. `draw`: any random number, so that clients do not come back all
    /// at once. (registry.12)
    pub fn down(&mut self, now: Time, draw: u64) {
        self.stalled = false;
        let doubled = RETRY_FIRST * (1 << self.failures.min(10));
        let span = doubled.min(RETRY_LAST);
        let jitter = Span::from_micros(draw % (span.as_micros() / 4 + 1));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Down { retry: now + span + jitter };
    }

    /// The server says nothing at all: it is looked for again. (registry.15)
    pub fn stall(&mut self) {
        self.stalled = true;
    }

    /// Attempts that failed since the link was last up.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Enough attempts have failed since there were `before` of them. (registry.13)
    pub fn hopeless(&self, before: u32) -> bool {
        self.failures.saturating_sub(before) >= FAILURES_MAX
    }

    /// What is to be done now. After a `HangUp` the link is down: the caller sees to its calls.
    pub fn tick(&mut self, now: Time, draw: u64) -> Option<Output> {
        match self.phase {
            Phase::Down { retry } if retry <= now => {
                self.phase = Phase::Dialing { until: now + DIAL_WAIT };
                Some(Output::Dial)
            }
            Phase::Dialing { until } if until <= now => {
                self.down(now, draw);
                Some(Output::HangUp)
            }
            Phase::Up if self.stalled => {
                self.down(now, draw);
                Some(Output::HangUp)
            }
            Phase::Down { .. } | Phase::Dialing { .. } | Phase::Up => None,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Down { retry } => Some(retry),
            Phase::Dialing { until } => Some(until),
            Phase::Up => None,
        }
    }

    /// Until when a read that begins now waits for a better answer than it has. (registry.16)
    pub fn patience(&self, now: Time, has_copy: bool) -> Time {
        let patient = self.is_up() && self.impatient <= now;
        let wait = if patient { READ_WAIT } else { Span::ZERO };
        let start = if has_copy { GRACE_AT_START } else { GRACE_WITHOUT_COPY };
        (now + wait).max(self.grace).max(self.started + start)
    }

    /// Whether a read that waits until `until` is answered now, and from what. (registry.16, registry.17)
    pub fn sight(&mut self, now: Time, until: Time, status: &Status) -> Sight {
        let told = status.peers > 0 && status.remote_length > 0;
        let fresh = self.is_up() && told && status.length >= status.remote_length;
        // Known to be unreachable: an attempt failed.
        let alone = !self.is_up() && self.failures > 0;
        if !fresh && !alone && now < until {
            return Sight::Wait;
        }
        if !fresh && self.is_up() {
            self.impatient = now + IMPATIENCE;
        }
        if status.length == 0 && (status.remote_length > 0 || !(self.is_up() && status.peers > 0)) {
            return Sight::NeverSynced;
        }
        match (fresh, self.is_up()) {
            (true, _) => Sight::Fresh,
            (false, true) => Sight::Behind,
            (false, false) => Sight::Old,
        }
    }
}
