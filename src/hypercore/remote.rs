//! What a peer has and wants to hear of, in memory that a peer cannot make grow. Follows replication.50 to
//! replication.58.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits;
use crate::wire::hypercore::Want;

const PAGE_BITS: u64 = 32_768;
const WORDS: usize = 512;

type Page = Box<[u64; WORDS]>;

/// The blocks that a peer says it has. Ranges are half open.
///
/// Whole pages are runs, so that a range of 2^62 blocks takes as little as one of two; pages with holes are bitmaps.
/// At the bounds a claim is not remembered, and `refused` counts it: the peer then looks poorer than it says.
#[derive(Clone, Default)]
pub struct Has {
    /// Everything below is there. (replication.51)
    contiguous: u64,
    /// First page to the page behind the last.
    runs: BTreeMap<u64, u64>,
    pages: BTreeMap<u64, Page>,
    refused: u64,
}

impl Has {
    pub fn get(&self, block: u64) -> bool {
        block < self.contiguous || self.set_at(block)
    }

    fn set_at(&self, block: u64) -> bool {
        let page = block / PAGE_BITS;
        if let Some(words) = self.pages.get(&page) {
            let bit = block % PAGE_BITS;
            return words[(bit / 64) as usize] >> (bit % 64) & 1 == 1;
        }
        self.run(page).is_some()
    }

    /// The run that a page lies in.
    fn run(&self, page: u64) -> Option<(u64, u64)> {
        let (&first, &end) = self.runs.range(..=page).next_back()?;
        (page < end).then_some((first, end))
    }

    /// Claims that were not remembered because of the bounds.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The first block that is there and not below `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        if from < self.contiguous {
            return Some(from);
        }
        let mut at = from;
        loop {
            let page = at / PAGE_BITS;
            if let Some(words) = self.pages.get(&page) {
                if let Some(bit) = find(words, at % PAGE_BITS) {
                    return Some(page * PAGE_BITS + bit);
                }
            } else if self.run(page).is_some() {
                return Some(at);
            }
            let behind = page.checked_add(1)?;
            let bitmap = self.pages.range(behind..).next().map(|(page, _)| *page);
            let run = self.runs.range(behind..).next().map(|(page, _)| *page);
            let inside = self.run(behind).map(|_| behind);
            at = [bitmap, run, inside].into_iter().flatten().min()?.checked_mul(PAGE_BITS)?;
        }
    }

    /// Everything below this is there.
    pub fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// A RANGE message. (replication.50 to replication.52)
    pub fn range(&mut self, start: u64, length: u64, drop: bool) {
        let end = start.saturating_add(length);
        if start >= end {
            return;
        }
        if drop {
            self.contiguous = self.contiguous.min(start);
        } else if start == 0 {
            self.contiguous = self.contiguous.max(end);
            return;
        }
        self.fill(start, end, !drop);
    }

    /// A BITFIELD message: the truth about all the blocks that it covers. (replication.53)
    pub fn bitfield(&mut self, start: u64, words: &[u32]) {
        self.contiguous = self.contiguous.min(start);
        if !start.is_multiple_of(32) {
            return;
        }
        let mut at = start;
        for word in words {
            let page = at / PAGE_BITS;
            let (slot, shift) = ((at % PAGE_BITS / 64) as usize, at % 64);
            if *word == 0 && !self.pages.contains_key(&page) && self.run(page).is_none() {
                at += 32;
                continue;
            }
            let Some(bits) = self.page(page) else {
                self.refused += 1;
                return;
            };
            bits[slot] = bits[slot] & !(0xffff_ffff << shift) | u64::from(*word) << shift;
            at += 32;
        }
    }

    fn fill(&mut self, from: u64, to: u64, value: bool) {
        let (first, last) = (from / PAGE_BITS, (to - 1) / PAGE_BITS);
        if first == last {
            return self.edge(first, from % PAGE_BITS, (to - 1) % PAGE_BITS, value);
        }
        let mut middle = (first, last + 1);
        if !from.is_multiple_of(PAGE_BITS) {
            self.edge(first, from % PAGE_BITS, PAGE_BITS - 1, value);
            middle.0 += 1;
        }
        if !to.is_multiple_of(PAGE_BITS) {
            self.edge(last, 0, (to - 1) % PAGE_BITS, value);
            middle.1 -= 1;
        }
        if middle.0 < middle.1 {
            self.whole(middle.0, middle.1, value);
        }
    }

    /// Sets or clears bits `from..=to` of one page.
    fn edge(&mut self, page: u64, from: u64, to: u64, value: bool) {
        let known = self.pages.contains_key(&page);
        if !known && self.run(page).is_some() == value {
            return;
        }
        let Some(words) = self.page(page) else {
            self.refused += 1;
            return;
        };
        let (first, last) = ((from / 64) as usize, (to / 64) as usize);
        for (number, word) in words.iter_mut().enumerate().take(last + 1).skip(first) {
            let mut mask = u64::MAX;
            if number == first {
                mask &= u64::MAX << (from % 64);
            }
            if number == last {
                mask &= u64::MAX >> (63 - to % 64);
            }
            *word = if value { *word | mask } else { *word & !mask };
        }
    }

    /// The bitmap of a page, taken out of its run if it lies in one. None at the bound.
    fn page(&mut self, page: u64) -> Option<&mut Page> {
        if !self.pages.contains_key(&page) {
            if self.pages.len() >= limits::REMOTE_PAGES_MAX {
                return None;
            }
            let mut words = Box::new([0; WORDS]);
            if let Some((first, end)) = self.run(page) {
                if self.runs.len() >= limits::REMOTE_RUNS_MAX {
                    return None;
                }
                words.fill(u64::MAX);
                self.runs.remove(&first);
                if first < page {
                    self.runs.insert(first, page);
                }
                if page + 1 < end {
                    self.runs.insert(page + 1, end);
                }
            }
            self.pages.insert(page, words);
        }
        self.pages.get_mut(&page)
    }

    /// Whole pages `from..to`, all there or all gone.
    fn whole(&mut self, from: u64, to: u64, value: bool) {
        if self.runs.len() + 2 > limits::REMOTE_RUNS_MAX {
            self.refused += 1;
            return;
        }
        let bitmaps: Vec<u64> = self.pages.range(from..to).map(|(page, _)| *page).collect();
        bitmaps.iter().for_each(|page| {
            self.pages.remove(page);
        });
        let mut span = (from, to);
        let touched: Vec<(u64, u64)> = self
            .runs
            .range(..=to)
            .rev()
            .map(|(first, end)| (*first, *end))
            .take_while(|(_, end)| *end >= from)
            .collect();
        for (first, end) in touched {
            self.runs.remove(&first);
            if value {
                span = (span.0.min(first), span.1.max(end));
                continue;
            }
            if first < from {
                self.runs.insert(first, from);
            }
            if end > to {
                self.runs.insert(to, end);
            }
        }
        if value {
            self.runs.insert(span.0, span.1);
        }
    }
}

/// The first set bit at or after `from`.
fn find(words: &Page, from: u64) -> Option<u64> {
    let first = (from / 64) as usize;
    (first..WORDS).find_map(|number| {
        let mut word = words[number];
        if number == first {
            word &= u64::MAX << (from % 64);
        }
        (word != 0).then(|| number as u64 * 64 + u64::from(word.trailing_zeros()))
    })
}

/// The largest chunk of blocks that a WANT may name; longer ones are ignored.
const CHUNK_MAX: u64 = 2_097_152;
const CHUNK_MIN: u64 = 32;
const SIZES_MAX: usize = 4;
const CHUNKS_MAX: usize = 512;
const ANY_MAX: usize = 16;

/// Of which blocks a peer wants to hear when we get them. (replication.54 to replication.56)
#[derive(Clone, Default)]
pub struct Wants {
    /// By size of the chunks: which.
    chunks: BTreeMap<u64, BTreeSet<u64>>,
    any: Vec<(u64, u64)>,
    /// It asked for more than is remembered one by one.
    all: bool,
}

impl Wants {
    /// False if it is to be ignored.
    pub fn add(&mut self, want: &Want) -> bool {
        if want.any {
            if self.any.len() < ANY_MAX {
                self.any.push((want.start, want.start.saturating_add(want.length)));
            } else {
                self.all = true;
            }
            return true;
        }
        if want.length > CHUNK_MAX {
            return false;
        }
        let legal = want.length >= CHUNK_MIN
            && want.length.is_power_of_two()
            && want.start.is_multiple_of(want.length);
        let total: usize = self.chunks.values().map(BTreeSet::len).sum();
        let sizes = self.chunks.len();
        if !legal || total >= CHUNKS_MAX || (sizes >= SIZES_MAX && !self.chunks.contains_key(&want.length)) {
            self.all = true;
            return true;
        }
        self.chunks.entry(want.length).or_default().insert(want.start / want.length);
        true
    }

    pub fn remove(&mut self, want: &Want) {
        if want.any {
            let gone = (want.start, want.start.saturating_add(want.length));
            if let Some(at) = self.any.iter().position(|any| *any == gone) {
                self.any.swap_remove(at);
            }
        } else if want.length > 0
            && let Some(chunks) = self.chunks.get_mut(&want.length)
        {
            chunks.remove(&(want.start / want.length));
            if chunks.is_empty() {
                self.chunks.remove(&want.length);
            }
        }
    }

    /// True if one of these blocks is wanted.
    pub fn touch(&self, start: u64, end: u64) -> bool {
        self.all
            || self.any.iter().any(|(from, to)| *from < end && start < *to)
            || self.chunks.iter().any(|(size, chunks)| {
                let last = end.saturating_sub(1) / size;
                chunks.range(start / size..=last.max(start / size)).next().is_some()
            })
    }
}

#[cfg(test)]
mod tests;
