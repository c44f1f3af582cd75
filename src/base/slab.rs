//! Storage for many things of a kind under small `Copy` handles that never name somebody else.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

use super::Few;
use super::trace::Place;

/// Names a kind of handle for display: `conn 3.1`.
pub trait Kind {
    const NAME: &'static str;
}

/// A handle: slot and age of a thing in a `Slab`. A stale handle finds nothing.
pub struct Id<K> {
    slot: u32,
    age: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    /// The slot alone; unique among the things alive at one time.
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

impl<K: Kind> Id<K> {
    /// What the transcript calls it.
    pub const fn place(self) -> Place {
        Place { name: K::NAME, slot: self.slot, age: self.age }
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.slot, self.age) == (other.slot, other.age)
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.slot, self.age).cmp(&(other.slot, other.age))
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.slot, self.age).hash(state);
    }
}
impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", K::NAME, self.slot, self.age)
    }
}
impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Clone)]
struct Slot<T> {
    age: u32,
    value: Option<T>,
}

/// Bytes that an empty slab keeps.
const KEPT: usize = 256;

/// Things of type `T` under handles `Id<K>`. Slots are used again, lowest first, with a new age.
#[derive(Debug, Clone)]
pub struct Slab<K, T> {
    slots: Vec<Slot<T>>,
    free: Few<u32>,
    /// The age of slots that are made: above that of all slots that were given up.
    first_age: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K, T> Default for Slab<K, T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Default::default(), first_age: 0, kind: PhantomData }
    }
}

impl<K, T> Slab<K, T> {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn insert(&mut self, value: T) -> Id<K> {
        if let Some(slot) = self.free.pop_first() {
            let entry = &mut self.slots[slot as usize];
            entry.value = Some(value);
            return Id { slot, age: entry.age, kind: PhantomData };
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 things at once");
        let age = self.first_age;
        self.slots.push(Slot { age, value: Some(value) });
        Id { slot, age, kind: PhantomData }
    }

    pub fn get(&self, id: Id<K>) -> Option<&T> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.age == id.age { slot.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, id: Id<K>) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.age == id.age { slot.value.as_mut() } else { None }
    }

    pub fn contains(&self, id: Id<K>) -> bool {
        self.get(id).is_some()
    }

    pub fn remove(&mut self, id: Id<K>) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.age != id.age {
            return None;
        }
        let value = slot.value.take()?;
        slot.age = slot.age.wrapping_add(1);
        self.free.insert(id.slot);
        if self.is_empty() && self.slots.capacity() * size_of::<Slot<T>>() > KEPT {
            self.give_up();
        }
        Some(value)
    }

    /// Gives all slots up, so that an empty slab is small whatever was in it.
    fn give_up(&mut self) {
        self.first_age = self.slots.iter().map(|slot| slot.age).max().unwrap_or(self.first_age);
        self.slots = Vec::new();
        self.free.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (Id<K>, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, index)| {
            let id = Id { slot: index, age: slot.age, kind: PhantomData };
            slot.value.as_ref().map(|value| (id, value))
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<K>, &mut T)> {
        self.slots.iter_mut().zip(0..).filter_map(|(slot, index)| {
            let id = Id { slot: index, age: slot.age, kind: PhantomData };
            slot.value.as_mut().map(|value| (id, value))
        })
    }

    /// The handles of everything alive, lowest slot first.
    pub fn ids(&self) -> Vec<Id<K>> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq, Debug)]
    enum Pear {}
    impl Kind for Pear {
        const NAME: &'static str = "pear";
    }

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slab: Slab<Pear, &str> = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.slot(), first.slot());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(second.to_string(), "pear 0.1");
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_stale_id_finds_nothing_in_a_slab_that_was_empty() {
        let mut slab: Slab<Pear, usize> = Slab::new();
        let mut stale = Vec::new();
        for _ in 0..3 {
            let ids: Vec<_> = (0..20).map(|n| slab.insert(n)).collect();
            assert!(stale.iter().all(|&id| slab.get(id).is_none()));
            ids.iter().for_each(|&id| assert!(slab.remove(id).is_some()));
            assert!(slab.slots.capacity() * size_of::<Slot<usize>>() <= KEPT);
            stale.extend(ids);
        }
    }
}
