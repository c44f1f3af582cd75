//! Four timers that bring peers back in batches. Each ticks at 0.66 of its time, counted from its first use; a tick
//! hands out the batch before last, so a peer waits between 0.66 and 1.32 of the time (hyperswarm.13). Nothing ticks
//! while nobody waits.

use crate::base::{Entropy, Key, Span, Time};

use super::peer::Retry;

pub(super) struct Bulk {
    interval: Span,
    /// When it was first used; ticks are whole intervals after it.
    since: Option<Time>,
    next: Vec<Key>,
    pending: Vec<Key>,
}

impl Bulk {
    fn new(time: Span) -> Bulk {
        Bulk {
            interval: Span::from_millis((time.as_millis() * 66 / 100).max(1)),
            since: None,
            next: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// The next tick after `now`.
    fn tick_after(&self, now: Time) -> Option<Time> {
        let since = self.since?;
        if self.next.is_empty() && self.pending.is_empty() {
            return None;
        }
        let interval = self.interval.as_micros();
        let gone = now.since(since).as_micros() / interval;
        Some(since + self.interval * (gone + 1))
    }
}

/// The times, before jitter; None: drawn as the package draws them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoffs {
    pub times: Option<[Span; 4]>,
    /// At most this is added to each, drawn once.
    pub jitter: Option<Span>,
}

pub(super) struct Retries {
    bulks: [Bulk; 4],
}

impl Retries {
    /// hyperswarm.12
    pub fn new(entropy: &mut dyn Entropy, backoffs: Backoffs) -> Retries {
        let mut draw = |millis: u64| Span::from_millis(entropy.below(millis + 1));
        let times = backoffs.times.unwrap_or_else(|| {
            [
                Span::from_millis(1000) + draw(500),
                Span::from_millis(5000) + draw(1000),
                Span::from_millis(15_000) + draw(2000),
                Span::from_millis(600_000) + draw(120_000),
            ]
        });
        let jitter = backoffs.jitter.unwrap_or(Span::from_millis(500)).as_millis();
        Retries { bulks: times.map(|time| Bulk::new(time + draw(jitter))) }
    }

    fn bulk(&mut self, retry: Retry) -> &mut Bulk {
        &mut self.bulks[retry as usize]
    }

    pub fn add(&mut self, now: Time, retry: Retry, key: Key) {
        let bulk = self.bulk(retry);
        bulk.since.get_or_insert(now);
        bulk.pending.push(key);
    }

    /// When `retry` ticks next, if anybody waits there.
    pub fn tick_after(&self, now: Time, retry: Retry) -> Option<Time> {
        self.bulks[retry as usize].tick_after(now)
    }

    /// A tick of `retry`: those who have waited long enough.
    pub fn tick(&mut self, retry: Retry) -> Vec<Key> {
        let bulk = self.bulk(retry);
        let due = core::mem::take(&mut bulk.next);
        bulk.next = core::mem::take(&mut bulk.pending);
        due
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        for bulk in &mut self.bulks {
            (bulk.since, bulk.next, bulk.pending) = (None, Vec::new(), Vec::new());
        }
    }

    #[cfg(test)]
    pub fn interval(&self, retry: Retry) -> Span {
        self.bulks[retry as usize].interval
    }
}
