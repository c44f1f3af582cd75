//! The deadlines of a stream. They move with every message, so they are three places and not a tree.

use super::Timer;
use crate::base::{Deadline, Time};

/// At most one deadline for each timer; setting it again moves it.
#[derive(Default)]
pub(super) struct Dues([Option<Time>; 3]);

const TIMERS: [Timer; 3] = [Timer::KeepAlive, Timer::Silence, Timer::Rest];

impl Dues {
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    /// The earliest; of two at one time the first as they are declared.
    fn next(&self) -> Option<(Time, Timer)> {
        TIMERS.into_iter().filter_map(|timer| self.get(timer).map(|at| (at, timer))).min()
    }

    /// Takes the earliest deadline that is not later than `now`.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (_, timer) = self.next().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some(timer)
    }

    pub(super) fn deadline(&self, why: impl Fn(Timer) -> &'static str) -> Option<Deadline> {
        self.next().map(|(at, timer)| Deadline { at, why: why(timer) })
    }
}
