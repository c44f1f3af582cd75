//! A set that mostly holds nothing or one thing: that one needs no memory of its own.

use std::collections::BTreeSet;

/// A set, taken from the front. The least stands in the set itself.
#[derive(Debug, Clone)]
pub struct Few<T> {
    least: Option<T>,
    /// All others; empty if there is no least.
    others: BTreeSet<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Few { least: None, others: BTreeSet::new() }
    }
}

impl<T: Ord + Copy> Few<T> {
    pub fn insert(&mut self, value: T) {
        match self.least {
            None => self.least = Some(value),
            Some(least) if least == value => {}
            Some(least) if value < least => {
                self.least = Some(value);
                self.others.insert(least);
            }
            Some(_) => {
                self.others.insert(value);
            }
        }
    }

    pub fn first(&self) -> Option<T> {
        self.least
    }

    pub fn pop_first(&mut self) -> Option<T> {
        let least = self.least.take()?;
        if !self.others.is_empty() {
            self.least = self.others.pop_first();
        }
        Some(least)
    }

    pub fn remove(&mut self, value: T) {
        if self.least == Some(value) {
            self.pop_first();
        } else if !self.others.is_empty() {
            self.others.remove(&value);
        }
    }

    pub fn len(&self) -> usize {
        usize::from(self.least.is_some()) + self.others.len()
    }

    pub fn is_empty(&self) -> bool {
        self.least.is_none()
    }

    pub fn clear(&mut self) {
        *self = Few::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded};

    #[test]
    fn it_is_a_set_in_order() {
        let mut entropy = Seeded::new(5);
        let (mut few, mut set) = (Few::default(), BTreeSet::new());
        for _ in 0..5000 {
            let value = entropy.u64() % 6;
            match entropy.u64() % 4 {
                0 => assert_eq!(few.pop_first(), set.pop_first()),
                1 => {
                    few.remove(value);
                    set.remove(&value);
                }
                _ => {
                    few.insert(value);
                    set.insert(value);
                }
            }
            assert_eq!((few.first(), few.len()), (set.first().copied(), set.len()));
            assert_eq!(few.is_empty(), set.is_empty());
        }
    }
}
