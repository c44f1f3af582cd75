//! Named deadlines: at most one per name; setting it again moves it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deadline, Time};

/// A set of deadlines, each under a name of type `N`.
#[derive(Debug, Clone)]
pub struct Timers<N> {
    at: BTreeMap<N, Time>,
    order: BTreeSet<(Time, N)>,
}

impl<N: Ord + Copy> Default for Timers<N> {
    fn default() -> Self {
        Timers { at: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<N: Ord + Copy> Timers<N> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets or moves the deadline `name`.
    pub fn set(&mut self, name: N, at: Time) {
        if let Some(old) = self.at.insert(name, at) {
            if old == at {
                return;
            }
            self.order.remove(&(old, name));
        }
        self.order.insert((at, name));
    }

    pub fn clear(&mut self, name: N) {
        if let Some(at) = self.at.remove(&name) {
            self.order.remove(&(at, name));
        }
    }

    pub fn get(&self, name: N) -> Option<Time> {
        self.at.get(&name).copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<(Time, N)> {
        self.order.first().copied()
    }

    /// The earliest deadline as `poll_timeout` wants it; `why` names its reason for traces.
    pub fn deadline(&self, why: impl Fn(N) -> &'static str) -> Option<Deadline> {
        self.next().map(|(at, name)| Deadline { at, why: why(name) })
    }

    /// Takes the earliest deadline that is not later than `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<N> {
        let (at, name) = self.next()?;
        if at > now {
            return None;
        }
        self.clear(name);
        Some(name)
    }

    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_again_moves_a_deadline() {
        let mut timers = Timers::new();
        timers.set('a', Time::from_micros(5));
        timers.set('b', Time::from_micros(3));
        timers.set('b', Time::from_micros(9));
        assert_eq!(timers.pop_due(Time::from_micros(4)), None);
        assert_eq!(timers.pop_due(Time::from_micros(9)), Some('a'));
        assert_eq!(timers.pop_due(Time::from_micros(9)), Some('b'));
        assert!(timers.is_empty());
        assert_eq!(timers.next(), None);
    }
}
