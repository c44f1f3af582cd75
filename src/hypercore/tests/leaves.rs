//! Leaves that were read are kept, and never for longer than the tree is the same.

use super::*;
use crate::base::Entropy;

/// A core of some blocks of drawn lengths, flushed and opened again.
fn written(bench: &mut Bench, count: u64) -> (Hypercore, Vec<Vec<u8>>) {
    let mut core = bench.create();
    let blocks: Vec<Vec<u8>> = (0..count).map(|n| block(&mut bench.entropy, n)).collect();
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.close(&mut core);
    (bench.open(Open::default()).expect("opens"), blocks)
}

fn block(entropy: &mut Seeded, n: u64) -> Vec<u8> {
    vec![n as u8; entropy.below(200) as usize]
}

// proves hypercore.40
#[test]
fn a_block_whose_neighbours_were_read_costs_one_read() {
    let mut bench = Bench::new();
    let (mut core, blocks) = written(&mut bench, 1000);
    let mut reads = Vec::new();
    for n in [300, 257, 319, 260, 301] {
        let before = bench.disk.reads();
        let there = bench.with(|cx| core.get(cx, n)).expect("reads");
        assert_eq!(there.as_ref(), Some(&blocks[n as usize]));
        reads.push(bench.disk.reads() - before);
    }
    assert!(reads[0] > 1 && reads[1..].iter().all(|reads| *reads <= 1), "{reads:?}");
    let before = bench.disk.reads();
    bench.with(|cx| core.get(cx, 900)).expect("reads");
    assert!(bench.disk.reads() - before > 1, "these are other leaves");
}

// proves hypercore.40
#[test]
fn a_block_that_is_spoiled_later_is_found() {
    let mut bench = Bench::new();
    let (mut core, _) = written(&mut bench, 1000);
    for n in 0..1000 {
        bench.with(|cx| core.get(cx, n)).expect("reads").expect("is here");
    }
    for n in (0..1000).filter(|n| n % 37 == 0) {
        let (at, end) = bench.with(|cx| (core.byte_offset(cx, n), core.byte_offset(cx, n + 1)));
        let (at, end) = (at.expect("known"), end.expect("known"));
        if at < end {
            bench.disk.rot("core/data", at * 8 + 3);
            // Far away, so that nothing of it is in memory.
            bench.with(|cx| core.get(cx, (n + 500) % 1000)).expect("reads").expect("is here");
            assert!(matches!(bench.with(|cx| core.get(cx, n)), Err(Error::Corrupt(_))), "{n}");
            bench.disk.rot("core/data", at * 8 + 3);
        }
    }
}

/// Large blocks are not kept, and their leaves not read again for that each time.
#[test]
fn leaves_of_large_blocks_are_tried_once() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    let blocks: Vec<Vec<u8>> = (0..192).map(|n| vec![7; if n % 64 == 5 { 65_536 } else { 10 }]).collect();
    bench.with(|cx| core.append(cx, &blocks)).expect("appends");
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    for n in [0, 64, 128, 70] {
        bench.with(|cx| core.get(cx, n)).expect("reads").expect("is here");
    }
    let before = bench.disk.reads();
    bench.with(|cx| core.get(cx, 66)).expect("reads").expect("is here");
    assert!(bench.disk.reads() - before <= 2);
}

// proves hypercore.39, hypercore.46, hypercore.48
#[test]
fn what_is_kept_goes_with_the_tree() {
    for seed in 0..12 {
        let mut bench = Bench { disk: RamDisk::new(), entropy: Seeded::new(seed) };
        let (mut core, blocks) = written(&mut bench, 400);
        let mut model: Vec<Option<Vec<u8>>> = blocks.into_iter().map(Some).collect();
        for step in 0..60 {
            match bench.entropy.below(6) {
                0 => {
                    let length = model.len() as u64 - bench.entropy.below(100).min(model.len() as u64 - 1);
                    if bench.with(|cx| core.truncate(cx, length)).is_ok() {
                        model.truncate(length as usize);
                    }
                }
                1 => {
                    let count = bench.entropy.below(100);
                    let more: Vec<Vec<u8>> =
                        (0..count).map(|n| block(&mut bench.entropy, n + step)).collect();
                    bench.with(|cx| core.append(cx, &more)).expect("appends");
                    model.extend(more.into_iter().map(Some));
                }
                2 => bench.with(|cx| core.flush(cx)).expect("flushes"),
                3 if step % 3 == 0 => {
                    let start = bench.entropy.below(model.len() as u64);
                    bench.with(|cx| core.clear(cx, start, start + 2)).expect("clears");
                    let end = model.len().min(start as usize + 2);
                    model[start as usize..end].fill(None);
                }
                _ => {}
            }
            for _ in 0..20 {
                let n = bench.entropy.below(model.len() as u64);
                let there = bench.with(|cx| core.get(cx, n)).expect("reads");
                assert_eq!(there, model[n as usize], "seed {seed}, step {step}, block {n}");
            }
        }
    }
}

// proves hypercore.46
#[test]
fn another_fork_has_other_leaves() {
    let mut bench = Bench::new();
    let (mut source, blocks) = written(&mut bench, 300);
    let open = Open { key: Some(*source.key()), ..Open::default() };
    let mut core = bench.with(|cx| Hypercore::open(cx, "replica", open)).expect("opens");
    for n in 0..300 {
        let change = crate::hypercore::crash::change(&mut bench, &mut source, Some(n), n == 0);
        bench.with(|cx| core.apply(cx, change)).expect("applies");
    }
    bench.with(|cx| core.flush(cx)).expect("flushes");
    for n in 0..300 {
        assert_eq!(bench.with(|cx| core.get(cx, n)).expect("reads").as_ref(), Some(&blocks[n as usize]));
    }
    bench.with(|cx| source.truncate(cx, 70)).expect("truncates");
    let others: Vec<Vec<u8>> = (0..250).map(|n| block(&mut bench.entropy, n + 5)).collect();
    bench.with(|cx| source.append(cx, &others)).expect("appends");
    let change = crate::hypercore::crash::change(&mut bench, &mut source, Some(70), true);
    bench.with(|cx| core.reorg(cx, 70, change)).expect("follows");
    for n in 71..320 {
        let change = crate::hypercore::crash::change(&mut bench, &mut source, Some(n), false);
        bench.with(|cx| core.apply(cx, change)).expect("applies");
    }
    for round in 0..2 {
        for n in [69, 70, 100, 127, 128, 200, 319, 75] {
            let wanted = if n < 70 { &blocks[n as usize] } else { &others[n as usize - 70] };
            let there = bench.with(|cx| core.get(cx, n)).expect("reads");
            assert_eq!(there.as_ref(), Some(wanted), "round {round}, block {n}");
        }
        bench.with(|cx| core.flush(cx)).expect("flushes");
    }
    let before = bench.disk.reads();
    bench.with(|cx| core.get(cx, 72)).expect("reads");
    assert!(bench.disk.reads() - before <= 1, "what is kept is right");
}
