//! Crashes at every step of drawn work: what was acknowledged is there afterwards, and nothing that never was.

use super::auth::TreeState;
use super::tests::{Bench, keys};
use super::*;
use crate::base::{Disk, Entropy, Seeded};

/// What a core should be: fork, blocks (None: cleared), one value of user data.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Model {
    pub fork: u64,
    pub blocks: Vec<Option<Vec<u8>>>,
    pub note: Vec<u8>,
}

impl Model {
    pub(super) fn of(bench: &mut Bench, core: &mut Hypercore) -> Result<Model, Error> {
        let blocks = (0..core.length()).map(|n| bench.with(|cx| core.get(cx, n)));
        let blocks = blocks.collect::<Result<_, _>>()?;
        let note = core.user_data("note").unwrap_or_default().to_vec();
        Ok(Model { fork: core.fork(), blocks, note })
    }
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Append(Vec<Vec<u8>>),
    Truncate(u64),
    Clear(u64, u64),
    Note(Vec<u8>),
    Flush,
    Reopen,
    /// The node hands something out: all before it is acknowledged.
    Sync,
}

fn draw(entropy: &mut Seeded, model: &mut Model) -> Op {
    let len = model.blocks.len() as u64;
    let block = |entropy: &mut Seeded| {
        let size = [0, 1, 40, 511, 513, 1500][entropy.below(6) as usize];
        (0..size).map(|_| entropy.u64() as u8).collect::<Vec<u8>>()
    };
    match entropy.below(20) {
        0..=5 => {
            let block = block(entropy);
            model.blocks.push(Some(block.clone()));
            Op::Append(vec![block])
        }
        6..=8 => {
            let blocks: Vec<_> = (0..entropy.below(9)).map(|_| block(entropy)).collect();
            model.blocks.extend(blocks.iter().cloned().map(Some));
            Op::Append(blocks)
        }
        9 if len > 0 => {
            let to = entropy.below(len + 1);
            model.blocks.truncate(to as usize);
            model.fork += 1;
            Op::Truncate(to)
        }
        10 if len > 0 => {
            let start = entropy.below(len);
            let end = (start + entropy.below(4)).min(len);
            model.blocks[start as usize..end as usize].fill(None);
            Op::Clear(start, end)
        }
        11 => {
            // Long ones make the header lie outside its slot.
            model.note = vec![entropy.u64() as u8; [0, 30, 1000, 4200, 9000][entropy.below(5) as usize]];
            Op::Note(model.note.clone())
        }
        12 => Op::Flush,
        13 => Op::Reopen,
        _ => Op::Sync,
    }
}

pub(super) fn open(bench: &mut Bench) -> Result<Hypercore, Error> {
    let wanted = Open { key_pair: Some(keys()), ..Open::default() };
    bench.with(|cx| Hypercore::open(cx, "core", wanted)).map(early)
}

/// A journal from the beginning, or soon, and one that is soon full.
fn early(mut core: Hypercore) -> Hypercore {
    core.journal.begin_after((core.length() % 3) as u32, 6000);
    core
}

pub(super) fn act(bench: &mut Bench, core: &mut Hypercore, op: &Op) -> Result<(), Error> {
    match op {
        Op::Append(blocks) => bench.with(|cx| core.append(cx, blocks)).map(|_| ()),
        Op::Truncate(to) => bench.with(|cx| core.truncate(cx, *to)),
        Op::Clear(start, end) => bench.with(|cx| core.clear(cx, *start, *end)),
        Op::Note(note) => bench.with(|cx| core.set_user_data(cx, "note", Some(note))),
        Op::Flush => bench.with(|cx| core.flush(cx)),
        Op::Reopen => {
            bench.with(|cx| core.close(cx))?;
            *core = open(bench)?;
            Ok(())
        }
        Op::Sync => bench.disk.sync_pending().map_err(Error::Io),
    }
}

/// A drawn run: the operations, and the model after each (the first: after creation).
pub(super) fn plan(seed: u64, count: usize) -> (Vec<Op>, Vec<Model>) {
    let mut entropy = Seeded::new(seed);
    let mut models = vec![Model::default()];
    let mut ops = Vec::new();
    for _ in 0..count {
        let mut model = models.last().expect("one").clone();
        ops.push(draw(&mut entropy, &mut model));
        models.push(model);
    }
    (ops, models)
}

/// Runs until the disk stops. Returns how many operations were done and acknowledged; None: not even created.
pub(super) fn run(bench: &mut Bench, ops: &[Op]) -> (Option<usize>, Option<usize>) {
    let Ok(mut core) = open(bench) else { return (None, None) };
    let mut acknowledged = None;
    for (number, op) in ops.iter().enumerate() {
        if act(bench, &mut core, op).is_err() {
            return (Some(number), acknowledged);
        }
        if matches!(op, Op::Sync) {
            acknowledged = Some(number + 1);
        }
    }
    (Some(ops.len()), acknowledged)
}

pub(super) fn sound(core: &Hypercore) -> bool {
    let state = TreeState { roots: core.roots(), length: core.length(), fork: core.fork() };
    core.signature().is_empty() || core.auth().is_some_and(|auth| auth.verify(&state, core.signature()))
}

/// pitfalls 14.11 and 14.12: a crash at every write.
// proves hypercore.34, hypercore.36, hypercore.43, hypercore.47, hypercore.50, hypercore.53
#[test]
fn nothing_acknowledged_is_lost() {
    for seed in 0..8 {
        let (ops, models) = plan(seed, 30);
        let mut whole = Bench::new();
        run(&mut whole, &ops);
        for stop in 0..=whole.disk.changes() {
            let mut bench = Bench::new();
            bench.disk.stop_after(Some(stop));
            let (done, acknowledged) = run(&mut bench, &ops);
            // The process ends alone: everything that was done is there.
            let mut alone = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
            alone.disk.release();
            check(&mut alone, &models, done.unwrap_or(0), done, &format!("seed {seed} stop {stop}"));
            for crash in 0..4 {
                let mut crashed = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
                crashed.disk.crash(stop * 4 + crash);
                let what = format!("seed {seed} stop {stop} crash {crash}");
                let first = check(&mut crashed, &models, acknowledged.unwrap_or(0), done, &what);
                // Once more, before anything was synced after the recovery.
                crashed.disk.crash(stop * 4 + crash + 1_000_000);
                let least =
                    if crash == 0 { acknowledged.unwrap_or(0) } else { first.min(acknowledged.unwrap_or(0)) };
                check(&mut crashed, &models, least, done, &format!("{what}, again"));
            }
        }
    }
}

/// Reopens, and finds the model that it became: between `least` and one more than `done`. Returns its number.
pub(super) fn check(
    bench: &mut Bench,
    models: &[Model],
    least: usize,
    done: Option<usize>,
    what: &str,
) -> usize {
    let mut core = open(bench).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = Model::of(bench, &mut core).unwrap_or_else(|error| panic!("{what}: {error}"));
    let most = done.map_or(0, |done| (done + 1).min(models.len() - 1));
    let number = (least..=most).find(|number| models[*number] == found);
    let Some(number) = number else {
        let show = |model: &Model| {
            let sizes: Vec<_> = model.blocks.iter().map(|block| block.as_ref().map(Vec::len)).collect();
            format!("fork {} blocks {sizes:?} note {}", model.fork, model.note.len())
        };
        let wanted: Vec<_> = models[least..=most].iter().map(show).collect();
        panic!("{what}: {} is none of\n{}", show(&found), wanted.join("\n"));
    };
    assert!(sound(&core), "{what}");
    let contiguous = found.blocks.iter().take_while(|block| block.is_some()).count() as u64;
    assert_eq!(core.contiguous_length(), contiguous, "{what}");
    let before = core.length();
    let mut later = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
    assert_eq!(later.with(|cx| core.append(cx, &[b"goes on"])), Ok(before), "{what}");
    later.with(|cx| core.close(cx)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut core = open(&mut later).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(later.with(|cx| core.get(cx, before)), Ok(Some(b"goes on".to_vec())), "{what}");
    number
}

/// The nodes from one up to its root, with their siblings.
fn path(bench: &mut Bench, source: &mut Hypercore, index: u64) -> Vec<Node> {
    let (mut nodes, mut walk) = (Vec::new(), flat_tree::Walk::new(index));
    loop {
        nodes.extend(bench.with(|cx| source.tree_node(cx, walk.index)).expect("reads"));
        if source.roots().iter().any(|root| root.index == walk.index) {
            return nodes;
        }
        let sibling = flat_tree::sibling(walk.index);
        nodes.extend(bench.with(|cx| source.tree_node(cx, sibling)).expect("reads"));
        walk.parent();
    }
}

/// All that a peer without anything could be told about a block, and the roots.
pub(super) fn change(bench: &mut Bench, source: &mut Hypercore, block: Option<u64>, upgrade: bool) -> Change {
    let mut change = Change::default();
    if let Some(block) = block {
        change.nodes = path(bench, source, 2 * block);
        let bytes = bench.with(|cx| source.get(cx, block)).expect("reads").expect("is here");
        change.block = Some((block, bytes));
    }
    if upgrade {
        change.nodes.extend_from_slice(source.roots());
        let (fork, length) = (source.fork(), source.length());
        change.upgrade = Some(Upgrade { fork, length, signature: source.signature().to_vec() });
        change.manifest = source.manifest().cloned();
    }
    change
}

fn open_replica(bench: &mut Bench, key: Key) -> Result<Hypercore, Error> {
    bench.with(|cx| Hypercore::open(cx, "replica", Open { key: Some(key), ..Open::default() })).map(early)
}

/// One step of a replica: a change, or None for acknowledging, and sometimes a flush.
pub(super) type Step = (Option<Change>, bool);

/// Cores that grow by turns, and what a replica hears of them: blocks in any order.
pub(super) fn replica_plan(seed: u64) -> (Key, Vec<Step>, Vec<Vec<u8>>) {
    let mut bench = Bench::new();
    let mut source = open(&mut bench).expect("opens");
    let mut entropy = Seeded::new(seed);
    let (mut steps, mut blocks): (Vec<Step>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let more: Vec<Vec<u8>> =
            (0..1 + entropy.below(9)).map(|n| vec![n as u8; entropy.below(700) as usize]).collect();
        let before = source.roots().to_vec();
        bench.with(|cx| source.append(cx, &more)).expect("appends");
        blocks.extend(more);
        let mut longer = change(&mut bench, &mut source, None, true);
        before.iter().for_each(|root| longer.nodes.extend(path(&mut bench, &mut source, root.index)));
        steps.push((Some(longer), false));
        for _ in 0..5 {
            let block = entropy.below(source.length());
            let one = change(&mut bench, &mut source, Some(block), false);
            steps.push((Some(one), entropy.chance(200)));
            if entropy.chance(400) {
                steps.push((None, false));
            }
        }
    }
    (*source.key(), steps, blocks)
}

/// pitfalls 14.11: downloads too.
// proves hypercore.44, hypercore.45, hypercore.51, hypercore.55
#[test]
fn no_acknowledged_download_is_lost() {
    for seed in 0..10 {
        let (key, steps, blocks) = replica_plan(seed);
        let mut total = u64::MAX;
        for stop in 0.. {
            let mut bench = Bench::new();
            bench.disk.stop_after(Some(stop));
            let Ok((length, have)) = run_replica(&mut bench, key, &steps) else { continue };
            for crash in 0..6 {
                let mut crashed = Bench { disk: bench.disk.clone(), entropy: Seeded::new(0) };
                crashed.disk.crash(stop * 6 + crash);
                let what = format!("seed {seed} stop {stop} crash {crash}");
                let mut core =
                    open_replica(&mut crashed, key).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(core.length() >= length && sound(&core), "{what}");
                assert!(have.iter().all(|block| core.has(*block)), "{what}");
                for block in 0..core.length() {
                    let read =
                        crashed.with(|cx| core.get(cx, block)).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert_eq!(read.is_some(), core.has(block), "{what}");
                    assert!(read.is_none_or(|bytes| bytes == blocks[block as usize]), "{what}");
                }
            }
            if bench.disk.changes() < stop {
                total = total.min(stop);
            }
            if stop > total {
                break;
            }
        }
    }
}

/// Length and blocks at the last acknowledgement. An error: not created.
pub(super) fn run_replica(bench: &mut Bench, key: Key, steps: &[Step]) -> Result<(u64, Vec<u64>), Error> {
    let mut core = open_replica(bench, key)?;
    let mut safe = (0, Vec::new());
    for (change, flush) in steps {
        let done = match change {
            Some(change) => bench.with(|cx| core.apply(cx, change.clone())),
            None => bench.disk.sync_pending().map_err(Error::Io),
        };
        if done.is_err() || *flush && bench.with(|cx| core.flush(cx)).is_err() {
            return Ok(safe);
        }
        if change.is_none() {
            safe = (core.length(), (0..core.length()).filter(|block| core.has(*block)).collect());
        }
    }
    Ok(safe)
}

/// pitfalls 14.8: a full disk refuses, damages nothing, and things go on when there is room.
// proves hypercore.56
#[test]
fn a_full_disk_damages_nothing() {
    for seed in 0..40 {
        let (ops, models) = plan(seed, 25);
        let mut whole = Bench::new();
        run(&mut whole, &ops);
        let used: usize =
            whole.disk.paths().iter().filter_map(|path| whole.disk.content(path)).map(<[u8]>::len).sum();
        let mut entropy = Seeded::new(seed);
        let mut bench = Bench::new();
        let mut core = open(&mut bench).expect("opens");
        bench.disk.set_capacity(Some(8500 + entropy.below(used as u64)));
        let mut at = 0;
        for op in &ops {
            if act(&mut bench, &mut core, op).is_err() {
                break;
            }
            at += 1;
        }
        let what = format!("seed {seed} op {at}");
        if !matches!(ops.get(at), Some(Op::Reopen | Op::Flush)) {
            assert_eq!(Model::of(&mut bench, &mut core), Ok(models[at].clone()), "{what}");
        }
        bench.disk.set_capacity(None);
        let mut core = if at < ops.len() && !matches!(ops[at], Op::Reopen) {
            core
        } else {
            bench.disk.release();
            open(&mut bench).expect("opens")
        };
        for op in ops.get(at..).unwrap_or_default() {
            act(&mut bench, &mut core, op).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        bench.disk.sync_pending().expect("syncs");
        bench.disk.crash(seed);
        let mut core = open(&mut bench).expect("opens");
        assert_eq!(Model::of(&mut bench, &mut core).as_ref(), Ok(models.last().expect("one")), "{what}");
    }
}

/// Ten thousand operations against the model.
#[test]
fn a_core_is_its_model() {
    for seed in 100..400 {
        let (ops, models) = plan(seed, 35);
        let mut bench = Bench::new();
        let mut core = open(&mut bench).expect("opens");
        for (number, op) in ops.iter().enumerate() {
            act(&mut bench, &mut core, op).expect("works");
            let model = &models[number + 1];
            assert_eq!((core.length(), core.fork()), (model.blocks.len() as u64, model.fork));
            let bytes = bench.with(|cx| core.byte_offset(cx, core.length()));
            assert_eq!(bytes, Ok(core.byte_length()));
        }
        assert_eq!(Model::of(&mut bench, &mut core).as_ref(), Ok(models.last().expect("one")));
        assert!(sound(&core));
    }
}
