use super::*;
use crate::base::{Entropy, Seeded};

/// A plain set that does the same.
#[derive(Default)]
struct Model {
    set: BTreeSet<u64>,
    contiguous: u64,
}

impl Model {
    fn get(&self, block: u64) -> bool {
        block < self.contiguous || self.set.contains(&block)
    }
}

const EDGES: [u64; 9] = [0, 1, 31, 32, 64, 32_767, 32_768, 65_536, 98_304];

/// pitfalls 14.4: ranges and bitfields around k·32768, against a plain set.
// proves replication.50, replication.51, replication.52, replication.53
#[test]
fn claims_are_remembered_like_in_a_set() {
    for seed in 0..15 {
        let mut entropy = Seeded::new(seed);
        let (mut has, mut model) = (Has::default(), Model::default());
        for _ in 0..25 {
            let near = EDGES[entropy.below(9) as usize] + entropy.below(40);
            let start = if entropy.chance(200) { near } else { near.saturating_sub(20) };
            match entropy.below(5) {
                0 => {
                    let start = start / 32 * 32;
                    let words: Vec<u32> =
                        (0..entropy.below(1200)).map(|_| entropy.u32() & entropy.u32()).collect();
                    has.bitfield(start, &words);
                    model.contiguous = model.contiguous.min(start);
                    for (number, word) in words.iter().enumerate() {
                        for bit in 0..32 {
                            let block = start + 32 * number as u64 + bit;
                            if word >> bit & 1 == 1 {
                                model.set.insert(block)
                            } else {
                                model.set.remove(&block)
                            };
                        }
                    }
                }
                drawn => {
                    let (length, drop) = (1 + entropy.below(70_000) * (entropy.below(4) / 3), drawn == 1);
                    has.range(start, length, drop);
                    if drop {
                        model.contiguous = model.contiguous.min(start);
                        model.set.retain(|block| !(start..start + length).contains(block));
                    } else if start == 0 {
                        model.contiguous = model.contiguous.max(length);
                    } else {
                        model.set.extend(start..start + length);
                    }
                }
            }
            for edge in EDGES {
                for block in edge.saturating_sub(40)..edge + 40 {
                    assert_eq!(has.get(block), model.get(block), "seed {seed}, block {block}");
                    let next = if block < model.contiguous {
                        Some(block)
                    } else {
                        model.set.range(block..).next().copied()
                    };
                    assert_eq!(has.next(block), next, "seed {seed}, from {block}");
                }
            }
        }
        assert_eq!(has.refused(), 0);
    }
}

/// pitfalls 14.3: start 0, length 2^62: bounded in time and memory.
#[test]
fn giant_claims_cost_nothing() {
    let mut has = Has::default();
    for start in [0, 5, 1 << 61] {
        has.range(start, 1 << 62, false);
        assert!(has.get(start) && has.get(start + (1 << 62) - 1));
    }
    assert_eq!(has.next((1 << 61) + 7), Some((1 << 61) + 7));
    has.range(100, u64::MAX, true);
    assert_eq!((has.get(99), has.get(100), has.next(100)), (true, false, None));
    assert!(has.pages.len() <= 4 && has.runs.len() <= 4);
    // Each of these wants a page of its own.
    for page in 0..5000 {
        has.range(page * PAGE_BITS + 7, 2, false);
        has.range((1 << 40) + 2 * page * PAGE_BITS, PAGE_BITS, false);
    }
    assert!(has.pages.len() <= limits::REMOTE_PAGES_MAX && has.runs.len() <= limits::REMOTE_RUNS_MAX);
    assert!(has.refused() > 0);
    has.range(u64::MAX, u64::MAX, false);
    has.bitfield(u64::MAX / 64 * 32, &[u32::MAX]);
    assert!(has.next(u64::MAX).is_some() || has.next(u64::MAX).is_none());
}

fn want(start: u64, length: u64, any: bool) -> Want {
    Want { start, length, any }
}

// proves replication.54
#[test]
fn chunks_are_wanted_until_they_are_not() {
    let mut wants = Wants::default();
    assert!(!wants.touch(0, 10));
    assert!(wants.add(&want(4096, 4096, false)));
    assert!(wants.touch(4096, 4097) && wants.touch(0, 5000) && wants.touch(8191, 9000));
    assert!(!wants.touch(0, 4096) && !wants.touch(8192, 9000));
    wants.remove(&want(4096, 4096, false));
    assert!(!wants.touch(0, 10_000));
    assert!(!wants.add(&want(0, 2 * CHUNK_MAX, false)), "longer than any chunk");
    assert!(!wants.touch(0, 10_000));
    assert!(wants.add(&want(5, 4096, false)), "not a multiple: all");
    assert!(wants.touch(u64::MAX - 1, u64::MAX));
}

// proves replication.55, replication.56
#[test]
fn too_many_wants_are_a_want_for_all() {
    for kind in 0..3 {
        let mut wants = Wants::default();
        for number in 0..2000 {
            match kind {
                0 => wants.add(&want(number * 4096, 4096, false)),
                1 => wants.add(&want(0, 32 << (number % 17), false)),
                _ => wants.add(&want(number * 10, 5, true)),
            };
        }
        assert!(wants.touch(1 << 50, (1 << 50) + 1), "kind {kind}");
        assert!(wants.any.len() <= ANY_MAX && wants.chunks.len() <= SIZES_MAX);
        assert!(wants.chunks.values().map(BTreeSet::len).sum::<usize>() <= CHUNKS_MAX);
    }
    let mut wants = Wants::default();
    wants.add(&want(40, 64, true));
    assert!(wants.touch(0, 41) && wants.touch(103, 104) && !wants.touch(0, 40) && !wants.touch(104, 200));
    wants.remove(&want(40, 64, true));
    assert!(!wants.touch(40, 104));
}
