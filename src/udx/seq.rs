//! Sequence numbers, and sets of them.

/// The number of a packet. On the wire only the low 32 bits travel; here it never wraps (udx.8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Seq(u64);

impl Seq {
    /// The first number of a stream. 2^32 away from zero, so that numbers before it can be said too.
    pub fn first(wire: u32) -> Seq {
        Seq((1 << 32) + u64::from(wire))
    }

    /// The low 32 bits.
    pub fn wire(self) -> u32 {
        self.0 as u32
    }

    /// The number nearest to this one that ends in `wire`: the signed difference modulo 2^32.
    pub fn near(self, wire: u32) -> Seq {
        let ahead = wire.wrapping_sub(self.wire()).cast_signed();
        Seq(self.0.wrapping_add_signed(i64::from(ahead)))
    }

    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }

    pub fn plus(self, packets: usize) -> Seq {
        Seq(self.0 + packets as u64)
    }

    /// How many packets from `earlier` to this one; zero if it is not earlier.
    pub fn since(self, earlier: Seq) -> usize {
        usize::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(usize::MAX)
    }
}

/// A set of sequence numbers as sorted ranges, apart from each other, ends excluded.
#[derive(Default, Debug)]
pub(super) struct Ranges {
    ranges: Vec<(Seq, Seq)>,
}

impl Ranges {
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.ranges.iter().copied()
    }

    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.ranges.capacity() * size_of::<(Seq, Seq)>()
    }

    /// The end of the range that holds `seq`.
    pub fn end_of(&self, seq: Seq) -> Option<Seq> {
        let at = self.ranges.partition_point(|&(start, _)| start <= seq);
        let (_, end) = *self.ranges.get(at.checked_sub(1)?)?;
        (seq < end).then_some(end)
    }

    /// How many ranges begin at `seq` or before.
    pub fn count_to(&self, seq: Seq) -> usize {
        self.ranges.partition_point(|&(start, _)| start <= seq)
    }

    /// Adds the numbers from `start` to before `end`.
    pub fn insert(&mut self, start: Seq, end: Seq) {
        if let Some(last) = self.ranges.last_mut()
            && last.0 <= start
            && last.1 >= start
        {
            last.1 = last.1.max(end); // the common case: one more at the end
            return;
        }
        let from = self.ranges.partition_point(|range| range.1 < start);
        let to = self.ranges.partition_point(|range| range.0 <= end);
        let mut merged = (start, end);
        if from < to {
            merged = (start.min(self.ranges[from].0), end.max(self.ranges[to - 1].1));
        }
        self.ranges.splice(from..to, [merged]);
    }

    /// Forgets all numbers below `seq`.
    pub fn trim(&mut self, seq: Seq) {
        if self.ranges.first().is_none_or(|range| range.0 >= seq) {
            return;
        }
        let gone = self.ranges.partition_point(|range| range.1 <= seq);
        self.ranges.drain(..gone);
        if self.ranges.is_empty() {
            self.ranges = Vec::new(); // gaps are rare
        }
        if let Some(first) = self.ranges.first_mut() {
            first.0 = first.0.max(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded};
    use std::collections::BTreeSet;

    /// pitfalls 2.10: arithmetic is modulo 2^32 with a signed difference.
    #[test]
    fn numbers_wrap_on_the_wire_only() {
        // proves udx.8
        let seq = Seq::first(0xffff_fff0);
        let later = seq.near(0x10);
        assert_eq!(later.since(seq), 0x20);
        assert_eq!(later.near(0xffff_fff0), seq);
        assert!(seq.near(0xffff_ffef) < seq);
        assert!(Seq::first(0).near(0xffff_ffff) < Seq::first(0));
        assert!(Seq::first(0).near(0x7fff_ffff) > Seq::first(0));
        assert!(Seq::first(0).near(0x8000_0000) < Seq::first(0));
    }

    #[test]
    fn ranges_are_a_set() {
        for seed in 0..200 {
            let mut entropy = Seeded::new(seed);
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..60 {
                let start = entropy.below(80) as u32;
                let len = 1 + entropy.below(6) as u32;
                if entropy.chance(100) {
                    ranges.trim(Seq::first(start));
                    set.retain(|&n| n >= start);
                } else {
                    ranges.insert(Seq::first(start), Seq::first(start + len));
                    set.extend(start..start + len);
                }
                let listed: BTreeSet<u32> =
                    ranges.iter().flat_map(|(start, end)| start.wire()..end.wire()).collect();
                assert_eq!(listed, set);
                let ends: Vec<_> = ranges.iter().collect();
                assert!(ends.windows(2).all(|two| two[0].1 < two[1].0), "apart and sorted");
                for n in 0..90 {
                    assert_eq!(ranges.end_of(Seq::first(n)).is_some(), set.contains(&n));
                }
            }
        }
    }
}
