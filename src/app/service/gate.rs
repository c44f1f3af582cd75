//! Whose request comes next: each caller has a queue and a bucket of tokens, and callers take turns. Follows
//! registry.6 to registry.8.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{Key, Span, Time};

/// How much a caller may do.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests that may wait; more are refused.
    pub waiting: usize,
    /// Requests that may be made at once after a rest.
    pub burst: u64,
    /// Requests per second in the long run, at least 1.
    pub per_second: u64,
    /// Callers with an account.
    pub callers: usize,
}

/// Why a request is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// This caller has as many waiting as it may.
    TooMany,
    /// Every account is in use by someone else.
    Busy,
}

/// Requests of type `T` by caller.
#[derive(Debug)]
pub struct Gate<T> {
    bounds: Bounds,
    callers: BTreeMap<Key, Caller<T>>,
    /// Callers with requests, next one first.
    turns: VecDeque<Key>,
}

#[derive(Debug)]
struct Caller<T> {
    waiting: VecDeque<T>,
    /// Millionths of a request.
    tokens: u64,
    /// When `tokens` was right.
    at: Time,
}

const TOKEN: u64 = 1_000_000;

impl<T> Caller<T> {
    /// Follows registry.7.
    fn refill(&mut self, now: Time, bounds: &Bounds) {
        // A token is a million parts, and a second a million microseconds.
        let gained = now.since(self.at).as_micros().saturating_mul(bounds.per_second);
        self.tokens = self.tokens.saturating_add(gained).min(bounds.burst.saturating_mul(TOKEN));
        self.at = now;
    }
}

impl<T> Gate<T> {
    pub fn new(bounds: Bounds) -> Gate<T> {
        Gate { bounds, callers: BTreeMap::new(), turns: VecDeque::new() }
    }

    /// Takes in a request. (registry.6)
    pub fn push(&mut self, now: Time, caller: Key, request: T) -> Result<(), Refusal> {
        if !self.callers.contains_key(&caller) && self.callers.len() >= self.bounds.callers {
            self.forget_rested(now);
            if self.callers.len() >= self.bounds.callers {
                return Err(Refusal::Busy);
            }
        }
        let full = self.bounds.burst.saturating_mul(TOKEN);
        let account =
            self.callers.entry(caller).or_insert(Caller { waiting: VecDeque::new(), tokens: full, at: now });
        if account.waiting.len() >= self.bounds.waiting {
            return Err(Refusal::TooMany);
        }
        if account.waiting.is_empty() {
            self.turns.push_back(caller);
        }
        account.waiting.push_back(request);
        Ok(())
    }

    /// The next request of whoever's turn it is and has a token. (registry.8)
    pub fn pop(&mut self, now: Time) -> Option<(Key, T)> {
        for _ in 0..self.turns.len() {
            let caller = self.turns.pop_front()?;
            let account = self.callers.get_mut(&caller).expect("whoever has a turn has an account");
            account.refill(now, &self.bounds);
            if account.tokens < TOKEN {
                self.turns.push_back(caller);
                continue;
            }
            account.tokens -= TOKEN;
            let request = account.waiting.pop_front().expect("whoever has a turn has a request");
            if !account.waiting.is_empty() {
                self.turns.push_back(caller);
            }
            return Some((caller, request));
        }
        None
    }

    /// When `pop` will next give something, if nothing comes in: `now` or later.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let ready = |caller: &Key| {
            let account = &self.callers[caller];
            let gained = now.since(account.at).as_micros().saturating_mul(self.bounds.per_second);
            let lacking = TOKEN.saturating_sub(account.tokens.saturating_add(gained));
            now + Span::from_micros(lacking.div_ceil(self.bounds.per_second))
        };
        self.turns.iter().map(ready).min()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.turns.iter().map(|caller| self.callers[caller].waiting.len()).sum()
    }

    /// Drops what `keep` says no to: requests of a connection that is gone.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for account in self.callers.values_mut() {
            account.waiting.retain(&keep);
        }
        let callers = &self.callers;
        self.turns.retain(|caller| !callers[caller].waiting.is_empty());
    }

    /// Accounts that are as new: no request, a full bucket.
    fn forget_rested(&mut self, now: Time) {
        let bounds = self.bounds;
        self.callers.retain(|_, account| {
            account.refill(now, &bounds);
            !account.waiting.is_empty() || account.tokens < bounds.burst.saturating_mul(TOKEN)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { waiting: 4, burst: 6, per_second: 2, callers: 3 };

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    // proves registry.6
    #[test]
    fn a_caller_that_floods_is_refused() {
        let mut gate = Gate::new(BOUNDS);
        for n in 0..4 {
            assert_eq!(gate.push(at(0), [1; 32], n), Ok(()));
        }
        assert_eq!(gate.push(at(0), [1; 32], 4), Err(Refusal::TooMany));
        assert_eq!(gate.push(at(0), [2; 32], 5), Ok(()), "others are not touched");
        assert_eq!(gate.waiting(), 5);
    }

    // proves registry.7
    #[test]
    fn a_caller_beyond_its_rate_waits() {
        let mut gate = Gate::new(BOUNDS);
        let mut done = 0;
        for n in 0..6 {
            assert_eq!(gate.push(at(0), [1; 32], n), Ok(()));
            done += usize::from(gate.pop(at(0)).is_some());
        }
        assert_eq!(done, 6, "the burst");
        assert_eq!(gate.push(at(0), [1; 32], 6), Ok(()));
        assert_eq!(gate.pop(at(0)), None);
        assert_eq!(gate.deadline(at(0)), Some(at(500)));
        assert_eq!(gate.pop(at(499)), None);
        assert_eq!(gate.deadline(at(499)), Some(at(500)));
        assert_eq!(gate.pop(at(500)), Some(([1; 32], 6)));
        assert_eq!(gate.deadline(at(500)), None);
    }

    // proves registry.8
    #[test]
    fn callers_take_turns() {
        let mut gate = Gate::new(BOUNDS);
        for n in 0..4 {
            gate.push(at(0), [1; 32], n).expect("room");
        }
        gate.push(at(0), [2; 32], 10).expect("room");
        gate.push(at(0), [3; 32], 20).expect("room");
        gate.push(at(0), [3; 32], 21).expect("room");
        let order: Vec<i32> = core::iter::from_fn(|| gate.pop(at(0)).map(|(_, n)| n)).collect();
        assert_eq!(order, [0, 10, 20, 1, 21, 2, 3]);
    }

    #[test]
    fn accounts_are_bounded_and_rested_ones_make_room() {
        let mut gate = Gate::new(BOUNDS);
        for n in 0..3 {
            gate.push(at(0), [n; 32], n).expect("room");
        }
        assert_eq!(gate.push(at(0), [9; 32], 9), Err(Refusal::Busy));
        while gate.pop(at(0)).is_some() {}
        assert_eq!(gate.push(at(0), [9; 32], 9), Err(Refusal::Busy), "their buckets are not full");
        assert_eq!(gate.push(at(500), [9; 32], 9), Ok(()));
        assert_eq!(gate.callers.len(), 1);
    }

    #[test]
    fn requests_of_a_closed_connection_are_dropped() {
        let mut gate = Gate::new(BOUNDS);
        gate.push(at(0), [1; 32], 1).expect("room");
        gate.push(at(0), [2; 32], 2).expect("room");
        gate.retain(|&n| n != 1);
        assert_eq!(gate.pop(at(0)), Some(([2; 32], 2)));
        assert_eq!(gate.pop(at(0)), None);
    }
}
