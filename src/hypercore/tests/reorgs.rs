//! Crashes while a copy follows its writer to higher forks.

use super::*;
use crate::base::{Disk, Entropy};
use crate::hypercore::crash::change;

/// What a copy hears, in order.
enum Step {
    /// A longer tree, or a block.
    Apply(Change),
    /// A tree of a higher fork, and how many blocks it shares with the one before.
    Reorg(u64, Change),
    Flush,
    /// What was done is acknowledged.
    Sync,
}

/// A copy as it may be seen: fork, and the bytes of each block that is here.
type Seen = (u64, Vec<Option<Vec<u8>>>);

/// A core that grows and is cut by turns, and what its copy hears of it: blocks in any order.
fn plan(seed: u64) -> (Key, Vec<Step>) {
    let mut bench = Bench::new();
    let mut source = bench.create();
    let mut entropy = Seeded::new(seed);
    let mut steps = Vec::new();
    for round in 0..5 {
        let mut ancestors = source.length();
        if round > 0 {
            ancestors = entropy.below(source.length() + 1);
            bench.with(|cx| source.truncate(cx, ancestors)).expect("cuts");
        }
        let more: Vec<Vec<u8>> = (0..1 + entropy.below(6))
            .map(|_| (0..entropy.below(700)).map(|_| entropy.u64() as u8).collect())
            .collect();
        bench.with(|cx| source.append(cx, &more)).expect("appends");
        let tree = change(&mut bench, &mut source, None, true);
        steps.push(if round == 0 { Step::Apply(tree) } else { Step::Reorg(ancestors, tree) });
        for _ in 0..4 {
            let block = entropy.below(source.length());
            steps.push(Step::Apply(change(&mut bench, &mut source, Some(block), false)));
            match entropy.below(6) {
                0 => steps.push(Step::Flush),
                1..=3 => steps.push(Step::Sync),
                _ => {}
            }
        }
    }
    (*source.key(), steps)
}

fn open(bench: &mut Bench, key: Key) -> Result<Hypercore, Error> {
    let mut core =
        bench.with(|cx| Hypercore::open(cx, "replica", Open { key: Some(key), ..Open::default() }))?;
    core.journal.begin_after((core.length() % 2) as u32, 9000);
    Ok(core)
}

fn seen(bench: &mut Bench, core: &mut Hypercore) -> Seen {
    let blocks = (0..core.length()).map(|n| bench.with(|cx| core.get(cx, n)).expect("reads"));
    let blocks = blocks.collect();
    (core.fork(), blocks)
}

/// Runs until the disk stops. Returns how the copy was after each step that was done (the first: nothing), and how many
/// were acknowledged.
fn run(bench: &mut Bench, key: Key, steps: &[Step]) -> (Vec<Seen>, usize) {
    let (mut states, mut safe) = (vec![(0, Vec::new())], 0);
    let Ok(mut core) = open(bench, key) else { return (states, safe) };
    for step in steps {
        let done = match step {
            Step::Apply(change) => bench.with(|cx| core.apply(cx, change.clone())),
            Step::Reorg(ancestors, change) => bench.with(|cx| core.reorg(cx, *ancestors, change.clone())),
            Step::Flush => bench.with(|cx| core.flush(cx)),
            Step::Sync => bench.disk.sync_pending().map_err(Error::Io),
        };
        if done.is_err() {
            break;
        }
        states.push(seen(bench, &mut core));
        if matches!(step, Step::Sync) {
            safe = states.len() - 1;
        }
    }
    (states, safe)
}

/// A power cut after each write: what was acknowledged of any fork is there, or a later fork, and never a mixture.
// proves hypercore.46, hypercore.47, hypercore.50, hypercore.154
#[test]
fn a_reorganisation_is_whole_or_not_there() {
    let mut forks = std::collections::BTreeSet::new();
    for seed in 0..6 {
        let (key, steps) = plan(seed);
        let mut whole = Bench::new();
        let (all, _) = run(&mut whole, key, &steps);
        assert_eq!(all.len(), steps.len() + 1, "every step works");
        for stop in 0..=whole.disk.changes() {
            let mut bench = Bench::new();
            bench.disk.stop_after(Some(stop));
            let (states, safe) = run(&mut bench, key, &steps);
            for crash in 0..4 {
                let mut crashed = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
                match crash {
                    0 => crashed.disk.release(),
                    _ => crashed.disk.crash(stop * 4 + crash),
                }
                let what = format!("seed {seed} stop {stop} crash {crash}");
                let mut core = open(&mut crashed, key).unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = seen(&mut crashed, &mut core);
                let allowed = &all[safe..(states.len() + 1).min(all.len())];
                assert!(allowed.contains(&found), "{what}: fork {}, {} blocks", found.0, found.1.len());
                assert!(sound(&core), "{what}");
                forks.insert((found.0, crash > 0));
                // It can go on: the steps that it lacks work.
                let at = safe + allowed.iter().position(|each| *each == found).expect("is among them");
                if crash == 1 && stop % 5 == 0 {
                    goes_on(&mut crashed, core, &steps[at..], &all, &what);
                }
            }
        }
    }
    assert!(forks.len() > 8, "{forks:?}");
}

fn goes_on(bench: &mut Bench, mut core: Hypercore, steps: &[Step], all: &[Seen], what: &str) {
    for step in steps {
        let done = match step {
            Step::Apply(change) => bench.with(|cx| core.apply(cx, change.clone())),
            Step::Reorg(ancestors, change) => bench.with(|cx| core.reorg(cx, *ancestors, change.clone())),
            Step::Flush | Step::Sync => Ok(()),
        };
        // A step that changes nothing visible may have been done: then it is refused.
        assert!(matches!(done, Ok(()) | Err(Error::Refused(_))), "{what}: {done:?}");
    }
    let last = all.last().expect("one");
    assert_eq!(seen(bench, &mut core), *last, "{what}: goes on");
}
