//! What programs wait for: blocks with deadlines, seeks, ranges, updates. Scenarios of hypercore test/replicate.js and
//! test/timeouts.js, named at each test.

use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Entropy, Seeded, Span};
use crate::crypto::sign::KeyPair;
use crate::hypercore::jobs::{Done, Download, JobId, Undone};
use crate::hypercore::replicate::*;
use crate::hypercore::{Encryption, Open};
use crate::wire::hypercore::kind;

pub fn outcome(world: &World, node: usize, id: JobId) -> Option<Result<Done, Undone>> {
    let mut ends = world.nodes[node].events.iter().filter_map(|event| match event {
        Event::Job { job, result } if *job == id => Some(*result),
        _ => None,
    });
    let end = ends.next();
    assert_eq!(ends.next(), None, "a job ends once");
    end
}

/// A writer with blocks, and somebody who has nothing yet and downloads nothing.
pub fn sparse(count: u64) -> (World, usize, usize) {
    let mut world = World::new(count);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, count));
    let reader = idle(&mut world);
    (world, writer, reader)
}

pub fn idle(world: &mut World) -> usize {
    let reader = world.replica();
    let now = world.now;
    world.nodes[reader].with(now, |live, cx| live.download_all(cx, false));
    reader
}

pub fn fetch(world: &mut World, node: usize, index: u64, timeout: Option<Span>) -> JobId {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.fetch(cx, index, timeout).expect("room"))
}

pub fn seek(world: &mut World, node: usize, bytes: u64) -> JobId {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.seek(cx, bytes, None).expect("room"))
}

pub fn download(world: &mut World, node: usize, what: Download) -> JobId {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.download(cx, what, None).expect("room"))
}

pub fn update(world: &mut World, node: usize) -> JobId {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.wait_for_update(cx, None).expect("room"))
}

pub fn cancel(world: &mut World, node: usize, job: JobId) {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.cancel(cx, job));
}

/// "cancel block", "request cancellation regression", timeouts.js; pitfalls 14.10.
// proves replication.98, replication.104
#[test]
fn blocks_are_fetched_given_up_or_taken_back() {
    let (mut world, writer, reader) = sparse(100);
    let early = fetch(&mut world, reader, 7, Some(Span::from_secs(9)));
    let late = fetch(&mut world, reader, 50, Some(Span::from_secs(1)));
    world.run(Span::from_secs(2));
    assert_eq!(outcome(&world, reader, late), Some(Err(Undone::TimedOut)));
    assert_eq!(Undone::TimedOut.code(), "REQUEST_TIMEOUT");
    world.join(writer, reader, NEAR);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, early), Some(Ok(Done::Block { index: 7 })));
    let twice = [fetch(&mut world, reader, 7, None), fetch(&mut world, reader, 7, None)];
    let (kept, gone) = (fetch(&mut world, reader, 60, None), fetch(&mut world, reader, 60, None));
    let alone = fetch(&mut world, reader, 61, None);
    cancel(&mut world, reader, gone);
    cancel(&mut world, reader, alone);
    world.run(SOON);
    for id in twice {
        assert_eq!(outcome(&world, reader, id), Some(Ok(Done::Block { index: 7 })));
    }
    assert_eq!(outcome(&world, reader, kept), Some(Ok(Done::Block { index: 60 })));
    assert_eq!(outcome(&world, reader, gone), Some(Err(Undone::Cancelled)));
    assert_eq!(outcome(&world, reader, alone), Some(Err(Undone::Cancelled)));
    let core = &world.nodes[reader].live.core;
    let got: Vec<u64> = (0..100).filter(|index| core.has(*index)).collect();
    assert_eq!(got, [7, 60]);
    assert_eq!(world.nodes[reader].live.replicator.stats().cancels, 1);
}

/// A block that is cut off while somebody waits for it; one beyond the end is waited for.
#[test]
fn a_block_that_is_cut_off_will_not_come() {
    let (mut world, writer, reader) = sparse(20);
    let link = world.join(writer, reader, NEAR);
    world.run(SOON);
    world.cut(link);
    let within = fetch(&mut world, reader, 15, None);
    let beyond = fetch(&mut world, reader, 21, None);
    let now = world.now;
    world.nodes[writer].with(now, |live, cx| live.truncate(cx, 10).expect("a writer"));
    world.append(writer, &blocks(300, 2));
    world.join(writer, reader, NEAR);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, within), Some(Err(Undone::Truncated)));
    assert_eq!(outcome(&world, reader, beyond), None);
    world.append(writer, &blocks(400, 30));
    world.run(SOON);
    assert_eq!(outcome(&world, reader, beyond), Some(Ok(Done::Block { index: 21 })));
}

/// "seeking while replicating", "seek gossip with oob batch": every byte, at any state of what is here.
// proves replication.99
#[test]
fn every_byte_is_found() {
    for count in [1, 2, 3, 5, 8, 13, 40] {
        let all = blocks(0, count);
        let total: u64 = all.iter().map(|block| block.len() as u64).sum();
        let (mut world, writer, reader) = sparse(count);
        world.join(writer, reader, NEAR);
        for bytes in (0..=total).rev() {
            let job = seek(&mut world, reader, bytes);
            world.run(SOON);
            let (mut index, mut offset) = (0, bytes);
            while index < count && offset >= all[index as usize].len() as u64 {
                offset -= all[index as usize].len() as u64;
                index += 1;
            }
            let found = outcome(&world, reader, job);
            assert_eq!(found, Some(Ok(Done::Sought { index, offset })), "byte {bytes} of {count} blocks");
        }
        assert_eq!(world.faults(reader) + world.faults(writer), 0);
        assert_eq!(world.nodes[writer].live.replicator.stats().invalid_requests, 0);
    }
}

/// Bytes of an encrypted core are those that were encrypted, also for who does not know its manifest yet.
// proves replication.99, hypercore.92
#[test]
fn a_seek_does_not_count_padding() {
    for compat in [false, true] {
        let mut world = World::new(41);
        let encryption = Some(Encryption::new([9; 32]));
        let pair = Some(KeyPair::from_seed([7; 32]));
        let writer =
            world.node(Open { key_pair: pair, compat, encryption: encryption.clone(), ..Open::default() });
        let all = blocks(0, 40);
        world.append(writer, &all);
        let mut at = 0;
        for (index, block) in (0..).zip(&all) {
            let key = Some(*world.nodes[writer].live.core.key());
            let reader = world.node(Open { key, encryption: encryption.clone(), ..Open::default() });
            let early = seek(&mut world, reader, at + 1);
            world.join(writer, reader, NEAR);
            world.run(SOON);
            let late = seek(&mut world, reader, at);
            world.run(SOON);
            let sought = |offset| Some(Ok(Done::Sought { index, offset }));
            assert_eq!(outcome(&world, reader, early), sought(1), "block {index}");
            assert_eq!(outcome(&world, reader, late), sought(0), "block {index}");
            let received = world.nodes[reader].live.replicator.stats().blocks_received;
            assert!(received <= 3, "{received} blocks for block {index}");
            at += block.len() as u64;
        }
        assert_eq!(world.nodes[writer].live.replicator.stats().invalid_requests, 0);
    }
}

/// Far fewer blocks than the core has are fetched for a seek, and few messages.
// proves replication.101
#[test]
fn a_seek_takes_a_path_and_one_block() {
    let (mut world, writer, reader) = sparse(5000);
    world.join(writer, reader, NEAR);
    world.run(SOON);
    let before = world.sent;
    let job = seek(&mut world, reader, 40_000);
    world.run(SOON);
    assert!(matches!(outcome(&world, reader, job), Some(Ok(Done::Sought { .. }))));
    let requests = world.sent[kind::REQUEST as usize] - before[kind::REQUEST as usize];
    assert!(requests <= 3, "{requests} requests");
    assert!(world.nodes[reader].live.replicator.stats().blocks_received <= 1);
}

/// A byte behind the end is waited for, also by one that does not ask for longer trees by itself.
#[test]
fn a_byte_that_does_not_exist_yet_is_waited_for() {
    for eager in [true, false] {
        let (mut world, writer, reader) = sparse(4);
        world.nodes[reader].live.replicator.set_eager_upgrade(eager);
        world.join(writer, reader, NEAR);
        world.run(SOON);
        let total = world.nodes[writer].live.core.byte_length();
        let job = seek(&mut world, reader, total + 3);
        world.run(SOON);
        assert_eq!(outcome(&world, reader, job), None);
        world.append(writer, &blocks(4, 3));
        world.run(SOON);
        assert_eq!(outcome(&world, reader, job), Some(Ok(Done::Sought { index: 4, offset: 3 })), "{eager}");
    }
}

/// Whoever makes sizes up misleads no seek.
#[test]
fn a_seek_does_not_believe_sizes() {
    use crate::wire::hypercore::Data;
    let (mut world, writer, reader) = sparse(64);
    let link = world.join(writer, reader, NEAR);
    world.tamper = Some(Box::new(move |on, side, number, bytes| {
        if (on, side, number) != (link, 1, kind::DATA) {
            return;
        }
        let mut data: Data = crate::wire::decode(bytes).expect("ours");
        // Two siblings: their sum is what is hashed.
        if let Some(hash) = &mut data.hash
            && let [one, other, ..] = &mut hash.nodes[..]
            && one.size > 1
        {
            (one.size, other.size) = (one.size - 1, other.size + 1);
        }
        if let Some(seek) = &mut data.seek
            && let [one, other, ..] = &mut seek.nodes[..]
            && one.size > 1
        {
            (one.size, other.size) = (one.size - 1, other.size + 1);
        }
        *bytes = crate::wire::encode(&data);
    }));
    let all = blocks(0, 64);
    let mut at = 0;
    for (index, block) in all.iter().enumerate() {
        let job = seek(&mut world, reader, at);
        world.run(SOON);
        let right = Done::Sought { index: index as u64, offset: 0 };
        assert_eq!(outcome(&world, reader, job), Some(Ok(right)), "byte {at}");
        at += block.len() as u64;
    }
}

/// "replicate discrete range", "replicate discrete empty range", "bigger download range", "range download, repeated",
/// "replicate ranges in reverse order".
// proves replication.100
#[test]
fn ranges_and_lists_are_fetched() {
    let (mut world, writer, reader) = sparse(3000);
    world.join(writer, reader, NEAR);
    let range = |start, end, linear| Download { start, end: Some(end), linear, blocks: None };
    let empty = download(&mut world, reader, range(9, 9, false));
    let jobs = [
        download(&mut world, reader, range(2990, 3000, true)),
        download(&mut world, reader, range(100, 400, false)),
        download(&mut world, reader, range(100, 400, false)),
        download(&mut world, reader, range(350, 420, true)),
    ];
    let some = vec![5, 2000, 17, 17, 1003];
    let list = download(&mut world, reader, Download { blocks: Some(some), ..Download::default() });
    world.run(SOON);
    for job in jobs.into_iter().chain([empty, list]) {
        assert_eq!(outcome(&world, reader, job), Some(Ok(Done::Range)));
    }
    let core = &world.nodes[reader].live.core;
    let got: Vec<u64> = (0..3000).filter(|index| core.has(*index)).collect();
    let wanted = [5, 17].into_iter().chain(100..420).chain([1003, 2000]).chain(2990..3000);
    assert_eq!(got, wanted.collect::<Vec<u64>>());
    let received = world.nodes[reader].live.replicator.stats().blocks_received;
    assert_eq!(received, got.len() as u64, "each once");
    let again = download(&mut world, reader, range(100, 400, false));
    world.run(Span::ZERO);
    assert_eq!(outcome(&world, reader, again), Some(Ok(Done::Range)));
}

/// A range that never ends follows the core; given up, it asks for nothing more.
#[test]
fn a_live_range_follows_until_it_is_given_up() {
    let (mut world, writer, reader) = sparse(50);
    world.join(writer, reader, NEAR);
    let live = Download { start: 30, ..Download::default() };
    let job = download(&mut world, reader, live);
    world.run(SOON);
    world.append(writer, &blocks(50, 70));
    world.run(SOON);
    let has = |world: &World| -> Vec<u64> {
        (0..200).filter(|index| world.nodes[reader].live.core.has(*index)).collect()
    };
    assert_eq!(has(&world), (30..120).collect::<Vec<u64>>());
    assert_eq!(outcome(&world, reader, job), None);
    cancel(&mut world, reader, job);
    world.append(writer, &blocks(120, 20));
    world.run(SOON);
    assert_eq!(outcome(&world, reader, job), Some(Err(Undone::Cancelled)));
    assert_eq!(has(&world).len(), 90);
    assert_eq!(world.nodes[reader].live.core.length(), 140);
}

/// "update with zero length", "findingPeers makes update wait for first peer", "findingPeers + done makes update return
/// false if no peers", "update wait resolves when unsynced peer closes without inflight"; pitfalls 14.9.
// proves replication.102, replication.103
#[test]
fn an_update_waits_for_who_may_have_more() {
    let (mut world, writer, reader) = sparse(3);
    let nobody = update(&mut world, reader);
    world.run(Span::ZERO);
    assert_eq!(outcome(&world, reader, nobody), Some(Ok(Done::Updated(false))));
    world.nodes[reader].live.set_finding_peers(true);
    let first = update(&mut world, reader);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, first), None, "peers are looked for");
    world.join(writer, reader, NEAR);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, first), Some(Ok(Done::Updated(true))));
    let same = update(&mut world, reader);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, same), Some(Ok(Done::Updated(false))));

    let lazy = idle(&mut world);
    world.nodes[lazy].live.replicator.set_eager_upgrade(false);
    for _ in 0..49 {
        let empty = idle(&mut world);
        world.nodes[empty].live.replicator.set_eager_upgrade(false);
        world.join(empty, lazy, NEAR);
    }
    world.join(writer, lazy, Span::from_millis(40));
    world.run(SOON);
    assert_eq!(world.nodes[lazy].live.core.length(), 0, "only who updates does");
    let last = update(&mut world, lazy);
    world.run(SOON);
    assert_eq!(outcome(&world, lazy, last), Some(Ok(Done::Updated(true))), "the last of fifty has more");
    let silent = world.join(writer, lazy, Span::from_secs(60));
    let waits = update(&mut world, lazy);
    world.run(SOON);
    assert_eq!(outcome(&world, lazy, waits), None, "it has not said anything yet");
    world.cut(silent);
    world.run(SOON);
    assert_eq!(outcome(&world, lazy, waits), Some(Ok(Done::Updated(false))));
}

/// Everything at once, at peers that come and go: every job ends as it must.
#[test]
fn every_job_ends() {
    for seed in 0..20 {
        let mut draw = Seeded::new(seed).fork("jobs");
        let (mut world, writer, reader) = sparse(40 + draw.below(400));
        let other = world.replica();
        world.join(writer, other, NEAR);
        let count = world.nodes[writer].live.core.length();
        let total = world.nodes[writer].live.core.byte_length();
        let mut jobs = Vec::new();
        for _ in 0..30 {
            let end = draw.below(count + 1);
            jobs.push(match draw.below(4) {
                0 => fetch(&mut world, reader, draw.below(count), None),
                1 => seek(&mut world, reader, draw.below(total)),
                2 => {
                    let (start, linear) = (draw.below(count), draw.chance(500));
                    download(&mut world, reader, Download { start, end: Some(end), linear, blocks: None })
                }
                _ => {
                    let list: Vec<u64> = (0..draw.below(20)).map(|_| draw.below(count)).collect();
                    download(&mut world, reader, Download { blocks: Some(list), ..Download::default() })
                }
            });
            let link = world.join([writer, other][draw.below(2) as usize], reader, NEAR);
            world.run(Span::from_millis(draw.below(40)));
            if draw.chance(700) {
                world.cut(link);
            }
        }
        world.join(writer, reader, NEAR);
        world.run(Span::from_secs(20));
        for job in jobs {
            assert!(matches!(outcome(&world, reader, job), Some(Ok(_))), "seed {seed}, {job}");
        }
        assert_eq!(world.faults(reader), 0, "seed {seed}");
    }
}
