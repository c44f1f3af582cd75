//! Which blocks are here: one bit each, in pages as the file `bitfield` has them (hypercore.30). All of it is in
//! memory, a page at a time as bits are set: one bit per block, at most a page of 4096 bytes for a lone block.

use std::collections::BTreeMap;

/// Bits of a page.
pub const PAGE_BITS: u64 = 32_768;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
const WORD_BITS: u64 = 64;
const WORDS: usize = PAGE_BYTES / 8;

#[derive(Clone)]
struct Page {
    words: Box<[u64; WORDS]>,
    /// First and last word that changed since the last flush.
    dirty: Option<(usize, usize)>,
}

impl Page {
    fn new() -> Page {
        Page { words: Box::new([0; WORDS]), dirty: None }
    }

    fn set(&mut self, from: u64, to: u64, value: bool) {
        let (first, last) = ((from / WORD_BITS) as usize, ((to - 1) / WORD_BITS) as usize);
        for word in first..=last {
            let start = word as u64 * WORD_BITS;
            let low = from.max(start) - start;
            let high = to.min(start + WORD_BITS) - start;
            let mask = (u64::MAX >> (WORD_BITS - (high - low))) << low;
            if value {
                self.words[word] |= mask;
            } else {
                self.words[word] &= !mask;
            }
        }
        let (low, high) = self.dirty.unwrap_or((first, last));
        self.dirty = Some((low.min(first), high.max(last)));
    }

    /// The first bit of that value at or after `from`.
    fn find(&self, value: bool, from: u64) -> Option<u64> {
        let first = (from / WORD_BITS) as usize;
        (first..WORDS).find_map(|number| {
            let mut word = if value { self.words[number] } else { !self.words[number] };
            if number == first {
                word &= u64::MAX << (from % WORD_BITS);
            }
            (word != 0).then(|| number as u64 * WORD_BITS + u64::from(word.trailing_zeros()))
        })
    }

    /// The last bit of that value at or before `from`.
    fn find_last(&self, value: bool, from: u64) -> Option<u64> {
        let last = (from / WORD_BITS) as usize;
        (0..=last).rev().find_map(|number| {
            let mut word = if value { self.words[number] } else { !self.words[number] };
            if number == last {
                word &= u64::MAX >> (WORD_BITS - 1 - from % WORD_BITS);
            }
            (word != 0).then(|| number as u64 * WORD_BITS + 63 - u64::from(word.leading_zeros()))
        })
    }

    fn count(&self, from: u64, to: u64) -> u64 {
        let (first, last) = ((from / WORD_BITS) as usize, ((to - 1) / WORD_BITS) as usize);
        (first..=last)
            .map(|number| {
                let start = number as u64 * WORD_BITS;
                let low = from.max(start) - start;
                let high = to.min(start + WORD_BITS) - start;
                let mask = (u64::MAX >> (WORD_BITS - (high - low))) << low;
                u64::from((self.words[number] & mask).count_ones())
            })
            .sum()
    }
}

/// A run of bytes of the file that changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dirty {
    pub at: u64,
    pub bytes: Vec<u8>,
}

/// The bits of a core. Ranges are half open.
#[derive(Clone, Default)]
pub struct Bitfield {
    pages: BTreeMap<u64, Page>,
}

impl Bitfield {
    pub fn new() -> Bitfield {
        Bitfield::default()
    }

    /// Takes over page `number` from the file; a page of zeros takes no memory.
    pub fn load(&mut self, number: u64, bytes: &[u8]) {
        if bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        let page = self.pages.entry(number).or_insert_with(Page::new);
        for (word, chunk) in page.words.iter_mut().zip(bytes.chunks(8)) {
            let mut full = [0; 8];
            full[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(full);
        }
    }

    pub fn get(&self, block: u64) -> bool {
        self.pages.get(&(block / PAGE_BITS)).is_some_and(|page| {
            let bit = block % PAGE_BITS;
            page.words[(bit / WORD_BITS) as usize] >> (bit % WORD_BITS) & 1 == 1
        })
    }

    /// Sets or clears `from..to`. Clearing takes time by the pages that are there, setting by the range.
    pub fn set(&mut self, from: u64, to: u64, value: bool) {
        if from >= to {
            return;
        }
        let (first, last) = (from / PAGE_BITS, (to - 1) / PAGE_BITS);
        let part = |number: u64| {
            let start = number * PAGE_BITS;
            (from.max(start) - start, to.min(start.saturating_add(PAGE_BITS)) - start)
        };
        if value {
            for number in first..=last {
                let (low, high) = part(number);
                self.pages.entry(number).or_insert_with(Page::new).set(low, high, true);
            }
        } else {
            for (number, page) in self.pages.range_mut(first..=last) {
                let (low, high) = part(*number);
                page.set(low, high, false);
            }
        }
    }

    /// The first block at or after `from` that is here.
    pub fn first_set(&self, from: u64) -> Option<u64> {
        self.pages.range(from / PAGE_BITS..).find_map(|(number, page)| {
            let start = number * PAGE_BITS;
            page.find(true, from.saturating_sub(start)).map(|bit| start + bit)
        })
    }

    /// The first block at or after `from` that is not here.
    pub fn first_unset(&self, from: u64) -> u64 {
        let mut at = from;
        for (number, page) in self.pages.range(from / PAGE_BITS..) {
            if *number != at / PAGE_BITS {
                return at;
            }
            let start = number * PAGE_BITS;
            match page.find(false, at - start) {
                Some(bit) => return start + bit,
                None => at = start + PAGE_BITS,
            }
        }
        at
    }

    /// The last block at or before `from` that is here.
    pub fn last_set(&self, from: u64) -> Option<u64> {
        self.pages.range(..=from / PAGE_BITS).rev().find_map(|(number, page)| {
            let start = number * PAGE_BITS;
            page.find_last(true, (from - start).min(PAGE_BITS - 1)).map(|bit| start + bit)
        })
    }

    /// How many blocks of `from..to` are here.
    pub fn count(&self, from: u64, to: u64) -> u64 {
        if from >= to {
            return 0;
        }
        let pages = self.pages.range(from / PAGE_BITS..=(to - 1) / PAGE_BITS);
        pages
            .map(|(number, page)| {
                let start = number * PAGE_BITS;
                page.count(from.max(start) - start, to.min(start.saturating_add(PAGE_BITS)) - start)
            })
            .sum()
    }

    /// The words of page `number` as peers exchange them (32 bits each); None if no block of it is here.
    pub fn page(&self, number: u64) -> Option<Vec<u32>> {
        let page = self.pages.get(&number)?;
        Some(page.words.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect())
    }

    /// The numbers of the pages that may have bits, ascending.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    /// What changed since `flushed`, by page.
    pub fn dirty(&self) -> impl Iterator<Item = Dirty> {
        self.pages.iter().filter_map(|(number, page)| {
            let (first, last) = page.dirty?;
            Some(Dirty {
                at: number * PAGE_BYTES as u64 + first as u64 * 8,
                bytes: page.words[first..=last].iter().flat_map(|word| word.to_le_bytes()).collect(),
            })
        })
    }

    /// All that was dirty is in the file now; pages without a bit are dropped.
    pub fn flushed(&mut self) {
        self.pages.retain(|_, page| {
            let was_dirty = page.dirty.take().is_some();
            !was_dirty || page.words.iter().any(|word| *word != 0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded};

    /// pitfalls 14.4: the edges of pages.
    // proves hypercore.30
    #[test]
    fn it_agrees_with_a_plain_set() {
        for seed in 0..12 {
            let mut entropy = Seeded::new(seed);
            let (mut bits, mut model) = (Bitfield::new(), vec![false; 5 * PAGE_BITS as usize]);
            let mut file = vec![0; 5 * PAGE_BYTES];
            let near = |entropy: &mut Seeded| {
                let edge = entropy.below(5) * PAGE_BITS;
                (edge + entropy.below(140)).saturating_sub(70)
            };
            for _ in 0..40 {
                let (a, b) = (near(&mut entropy), near(&mut entropy));
                let (from, to) = (a.min(b), a.max(b));
                let value = entropy.chance(600);
                bits.set(from, to, value);
                model[from as usize..to as usize].fill(value);
                for _ in 0..4 {
                    let at = near(&mut entropy);
                    let find = |value| (at..).zip(&model[at as usize..]).find(|(_, bit)| **bit == value);
                    let last = model[..=at as usize].iter().rposition(|bit| *bit);
                    assert_eq!(bits.get(at), model[at as usize]);
                    assert_eq!(bits.first_set(at), find(true).map(|(block, _): (u64, _)| block));
                    assert_eq!(bits.last_set(at), last.map(|block| block as u64));
                    let unset = find(false).map_or(5 * PAGE_BITS, |(block, _): (u64, _)| block);
                    assert_eq!(bits.first_unset(at), unset);
                    let other = near(&mut entropy).max(at);
                    let count = model[at as usize..other as usize].iter().filter(|bit| **bit).count();
                    assert_eq!(bits.count(at, other), count as u64);
                }
                if entropy.chance(300) {
                    for run in bits.dirty() {
                        file[run.at as usize..run.at as usize + run.bytes.len()].copy_from_slice(&run.bytes);
                    }
                    bits.flushed();
                    let mut again = Bitfield::new();
                    for (number, page) in (0..).zip(file.chunks(PAGE_BYTES)) {
                        again.load(number, page);
                    }
                    assert!(again.pages().eq(bits.pages()));
                    assert!(bits.pages().all(|number| again.page(number) == bits.page(number)));
                }
            }
        }
    }

    /// pitfalls 14.3: a giant range must not take giant time or memory.
    #[test]
    fn clearing_a_giant_range_is_quick() {
        let mut bits = Bitfield::new();
        bits.set(5, 6, true);
        bits.set(0, u64::MAX, false);
        assert!(!bits.get(5));
        assert_eq!(bits.first_set(0), None);
        assert_eq!(bits.first_unset(u64::MAX), u64::MAX);
        assert_eq!(bits.count(0, u64::MAX), 0);
    }
}
