//! Batches of a tree on a disk that loses power: each is there whole, or not at all.

use super::*;
use crate::base::Disk;

struct Machine {
    disk: RamDisk,
    entropy: Seeded,
}

impl Machine {
    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let (entropy, disk) = (&mut self.entropy, &mut self.disk);
        act(&mut Cx { now: Time::ZERO, entropy, disk, trace: &mut NoTrace })
    }

    fn open(&mut self) -> Result<Hypercore, Error> {
        let key_pair = Some(KeyPair::from_seed([4; 32]));
        self.with(|cx| Hypercore::open(cx, "bee", Open { key_pair, ..Open::default() }))
    }
}

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;
/// Puts (Some) and deletions of one batch.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn plan(seed: u64) -> Vec<Changes> {
    let mut entropy = Seeded::new(seed);
    let change = |entropy: &mut Seeded| {
        let key = format!("key {}", entropy.below(40)).into_bytes();
        let value = vec![entropy.u64() as u8; entropy.below(200) as usize];
        (key, entropy.chance(800).then_some(value))
    };
    (0..26).map(|_| (0..1 + entropy.below(9)).map(|_| change(&mut entropy)).collect()).collect()
}

/// Runs batches, every second one acknowledged, until the disk stops. Returns how many were done, and acknowledged.
fn run(machine: &mut Machine, batches: &[Changes]) -> (usize, usize) {
    let (mut done, mut safe) = (0, 0);
    let Ok(mut log) = machine.open() else { return (done, safe) };
    let mut bee = Bee::new();
    for changes in batches {
        let batched = machine.with(|cx| {
            let mut batch = bee.batch(cx, &mut log)?;
            for (key, value) in changes {
                match value {
                    Some(value) => {
                        batch.put(cx, &mut bee, &mut log, key, Some(value))?;
                    }
                    None => {
                        batch.del(cx, &mut bee, &mut log, key)?;
                    }
                }
            }
            batch.flush(cx, &mut bee, &mut log)
        });
        if batched.is_err() {
            return (done, safe);
        }
        done += 1;
        if done % 2 == 0 {
            if machine.disk.sync_pending().is_err() {
                return (done, safe);
            }
            safe = done;
        }
    }
    (done, safe)
}

fn pairs(machine: &mut Machine, log: &mut Hypercore) -> Pairs {
    machine.with(|cx| {
        let (mut bee, mut found) = (Bee::new(), Pairs::new());
        let mut cursor = bee.range(log.length(), Range::default());
        while let Some(entry) = cursor.next(cx, &mut bee, log).expect("reads") {
            found.insert(entry.key, entry.value.unwrap_or_default());
        }
        found
    })
}

#[test]
fn each_batch_is_there_whole_or_not_at_all() {
    for seed in 0..3 {
        let batches = plan(seed);
        let mut models = vec![Pairs::new()];
        for changes in &batches {
            let mut model = models.last().expect("one").clone();
            for (key, value) in changes {
                match value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(key)),
                }
            }
            models.push(model);
        }
        let mut whole = Machine { disk: RamDisk::new(), entropy: Seeded::new(1) };
        assert_eq!(run(&mut whole, &batches), (batches.len(), batches.len()));
        for stop in 0..=whole.disk.changes() {
            let mut machine = Machine { disk: RamDisk::new(), entropy: Seeded::new(1) };
            machine.disk.stop_after(Some(stop));
            let (done, safe) = run(&mut machine, &batches);
            for crash in 0..3 {
                let mut crashed = Machine { disk: machine.disk.clone(), entropy: Seeded::new(0) };
                match crash {
                    0 => crashed.disk.release(),
                    _ => crashed.disk.crash(stop * 3 + crash),
                }
                let what = format!("seed {seed} stop {stop} crash {crash}");
                let mut log = crashed.open().unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = pairs(&mut crashed, &mut log);
                let least = if crash == 0 { done } else { safe };
                let allowed = &models[least..=(done + 1).min(batches.len())];
                assert!(allowed.contains(&found), "{what}: {} pairs, {done} done, {safe} safe", found.len());
            }
        }
    }
}
