//! Two generations of entries instead of an age per entry: what was not used for one to two rotations is gone. The
//! owner calls `rotate` on a timer. Follows hyperdht.40 to hyperdht.42.

use std::collections::BTreeMap;

use crate::base::{Entropy, Key};

/// One value per key. (hyperdht.40, hyperdht.41)
#[derive(Debug, Clone)]
pub struct Cache<K, V> {
    max: usize,
    newest: BTreeMap<K, V>,
    oldest: BTreeMap<K, V>,
    /// A rotation happened for want of room since the timer last came.
    rotated: bool,
}

impl<K: Ord + Clone, V> Cache<K, V> {
    /// At `max` entries in the newest generation the oldest is dropped.
    pub fn new(max: usize) -> Self {
        Cache { max, newest: BTreeMap::new(), oldest: BTreeMap::new(), rotated: false }
    }

    pub fn set(&mut self, key: K, value: V) {
        self.oldest.remove(&key);
        self.newest.insert(key, value);
        if self.newest.len() >= self.max {
            self.turn();
        }
    }

    /// A hit in the oldest generation moves the entry to the newest.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if let Some(value) = self.oldest.remove(key) {
            self.newest.insert(key.clone(), value);
        }
        self.newest.get(key)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.oldest.remove(key);
        self.newest.remove(key).or(old)
    }

    /// The timer came. Skipped once if a rotation for want of room just happened.
    pub fn rotate(&mut self) {
        if !self.rotated {
            self.turn();
        }
        self.rotated = false;
    }

    fn turn(&mut self) {
        self.oldest = core::mem::take(&mut self.newest);
        self.rotated = true;
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.newest.len() + self.oldest.len()
    }
}

/// Values of one generation, by target and owner.
type Generation = BTreeMap<(Key, Key), Box<[u8]>>;

/// Many values per target, one per owner.
#[derive(Debug, Clone)]
pub struct Records {
    max: usize,
    fresh: Generation,
    stale: Generation,
    rotated: bool,
}

impl Records {
    pub fn new(max: usize) -> Self {
        Records { max, fresh: BTreeMap::new(), stale: BTreeMap::new(), rotated: false }
    }

    /// Takes the value, unless there is one of this generation already: that one stays. hyperdht.42
    pub fn add(&mut self, target: Key, owner: Key, value: Vec<u8>) {
        self.stale.remove(&(target, owner));
        self.fresh.entry((target, owner)).or_insert_with(|| value.into_boxed_slice());
        if self.fresh.len() > self.max {
            self.turn();
        }
    }

    pub fn remove(&mut self, target: &Key, owner: &Key) {
        self.fresh.remove(&(*target, *owner));
        self.stale.remove(&(*target, *owner));
    }

    /// Up to `max` values, drawn at random.
    pub fn get(&self, target: &Key, max: usize, entropy: &mut dyn Entropy) -> Vec<&[u8]> {
        let owned = (*target, [0; 32])..=(*target, [0xff; 32]);
        let both = [self.fresh.range(owned.clone()), self.stale.range(owned)];
        let mut all: Vec<&[u8]> = both.into_iter().flatten().map(|(_, value)| &value[..]).collect();
        let wanted = max.min(all.len());
        for n in 0..wanted {
            let other = n + entropy.below((all.len() - n) as u64) as usize;
            all.swap(n, other);
        }
        all.truncate(wanted);
        all
    }

    pub fn rotate(&mut self) {
        if !self.rotated {
            self.turn();
        }
        self.rotated = false;
    }

    fn turn(&mut self) {
        self.stale = core::mem::take(&mut self.fresh);
        self.rotated = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seeded;

    /// pitfalls 6.14: every expired entry goes, not only up to the first live one.
    // proves hyperdht.40
    #[test]
    fn an_unused_entry_lives_one_to_two_rotations() {
        let mut cache = Cache::new(100);
        (0..10).for_each(|n| cache.set(n, n));
        cache.rotate();
        assert_eq!(cache.get(&3), Some(&3));
        cache.rotate();
        assert_eq!(cache.get(&3), Some(&3));
        assert_eq!((cache.get(&4).copied(), cache.len()), (None, 1));
        cache.rotate();
        cache.rotate();
        assert_eq!(cache.len(), 0);
    }

    // proves hyperdht.40
    #[test]
    fn a_full_cache_drops_its_oldest_generation() {
        let mut cache = Cache::new(3);
        (0..9).for_each(|n| cache.set(n, ()));
        assert!(cache.len() <= 6);
        assert!(cache.get(&8).is_some() && cache.get(&0).is_none());
        cache.rotate();
        assert!(cache.get(&8).is_some(), "the rotation after one for want of room is skipped");
    }

    // proves hyperdht.42
    #[test]
    fn a_record_of_this_generation_keeps_its_value() {
        let mut records = Records::new(10);
        let mut entropy = Seeded::new(1);
        records.add([1; 32], [2; 32], vec![1]);
        records.add([1; 32], [2; 32], vec![2]);
        assert_eq!(records.get(&[1; 32], 20, &mut entropy), [&[1]]);
        records.rotate();
        records.add([1; 32], [2; 32], vec![3]);
        assert_eq!(records.get(&[1; 32], 20, &mut entropy), [&[3]]);
        records.remove(&[1; 32], &[2; 32]);
        assert!(records.get(&[1; 32], 20, &mut entropy).is_empty());
    }

    // proves hyperdht.41
    #[test]
    fn a_lookup_draws_at_most_what_is_asked() {
        let mut records = Records::new(100);
        for n in 0..30 {
            records.add([1; 32], [n; 32], vec![n]);
            if n == 15 {
                records.rotate();
            }
        }
        let mut drawn = records.get(&[1; 32], 20, &mut Seeded::new(1));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 20);
    }
}
