//! What is still to happen in a world, in the order of time; at one time in the order in which it was planned.
//!
//! The heap holds only times and slots, so that keeping it in order moves 24 bytes at a time and never a datagram.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::Time;

/// Things of type `T`, each with its time.
pub struct Queue<T> {
    /// Time, how many were planned before, slot.
    order: BinaryHeap<Reverse<(Time, u64, u32)>>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    count: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { order: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<T> Queue<T> {
    /// Plans `what` behind everything that is planned for the same time.
    pub fn push(&mut self, at: Time, what: T) {
        self.count += 1;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 things are planned at once")
            }
        };
        self.slots[slot as usize] = Some(what);
        self.order.push(Reverse((at, self.count, slot)));
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<Time> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next thing, if it happens at `until` at the latest.
    pub fn pop(&mut self, until: Time) -> Option<(Time, T)> {
        if self.next()? > until {
            return None;
        }
        let Reverse((at, _, slot)) = self.order.pop()?;
        let what = self.slots[slot as usize].take().expect("what is in the heap has its slot");
        self.free.push(slot);
        Some((at, what))
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded};

    #[test]
    fn what_was_planned_first_happens_first_at_one_time() {
        let (mut queue, mut draw) = (Queue::default(), Seeded::new(1));
        let mut planned = Vec::new();
        let mut happened = Vec::new();
        for n in 0..2000_u64 {
            let at = Time::from_micros(n / 4 + draw.below(50));
            queue.push(at, n);
            planned.push((at, n));
            if n % 3 == 0 {
                happened.extend(queue.pop(Time::from_micros(n / 4)));
            }
        }
        assert_eq!(queue.len(), 2000 - happened.len());
        happened.extend(core::iter::from_fn(|| queue.pop(Time::from_micros(u64::MAX))));
        planned.sort_unstable();
        assert_eq!(happened, planned);
        assert!(queue.is_empty());
    }

    #[test]
    fn nothing_happens_before_its_time() {
        let mut queue = Queue::default();
        queue.push(Time::from_micros(5), 'a');
        assert_eq!(queue.pop(Time::from_micros(4)), None);
        assert_eq!(queue.next(), Some(Time::from_micros(5)));
        assert_eq!(queue.pop(Time::from_micros(5)), Some((Time::from_micros(5), 'a')));
    }
}
