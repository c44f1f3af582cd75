//! Many things that are waited for at once. Scenarios of hypercore test/replicate.js and test/timeouts.js, named at
//! each test.

use super::jobs::{cancel, download, fetch, idle, outcome, seek, sparse};
use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Entropy, Seeded, Span};
use crate::hypercore::jobs::{Done, Download, JobId, Undone};
use crate::hypercore::replicate::*;
use crate::wire::hypercore::kind;

fn one(index: u64) -> Download {
    Download { start: index, end: Some(index + 1), ..Download::default() }
}

fn clear(world: &mut World, node: usize, start: u64, end: u64) {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.clear(cx, start, end).expect("a disk"));
}

fn got(world: &World, node: usize) -> Vec<u64> {
    let core = &world.nodes[node].live.core;
    (0..core.length()).filter(|index| core.has(*index)).collect()
}

/// "crossing max range boundary reschedules existing peers", "idle range completion drains past max range window",
/// "... keeps draining if update queues during yield", "... restarts if ranges cancel during yield": of many ranges
/// those end that can, wherever in the row they stand, whatever is given up in the meantime.
#[test]
fn of_many_ranges_those_end_that_can() {
    for (from, given_up) in [(0, 0), (100, 0), (100, 60), (149, 0)] {
        let (mut world, writer, reader) = sparse(150);
        clear(&mut world, writer, 0, from);
        let jobs: Vec<JobId> = (0..150).map(|index| download(&mut world, reader, one(index))).collect();
        world.join(writer, reader, NEAR);
        for step in 0..given_up {
            cancel(&mut world, reader, jobs[step as usize]);
            world.run(Span::from_millis(1));
        }
        world.run(SOON);
        assert_eq!(got(&world, reader), (from..150).collect::<Vec<_>>());
        for (index, job) in (0..).zip(&jobs) {
            let wanted = match index {
                _ if index < given_up => Some(Err(Undone::Cancelled)),
                _ if index < from => None,
                _ => Some(Ok(Done::Range)),
            };
            assert_eq!(outcome(&world, reader, *job), wanted, "range {index}");
        }
        // What is left comes from somebody else.
        let other = world.writer(false);
        world.append(other, &blocks(0, 150));
        world.join(other, reader, NEAR);
        world.run(SOON);
        let left = &jobs[given_up as usize..];
        assert!(left.iter().all(|job| outcome(&world, reader, *job) == Some(Ok(Done::Range))));
    }
}

/// "processing ranges does not block seeks", "range drain checks unresolved seeks once", "cancelling seek during local
/// update preserves other seeks".
#[test]
fn seeks_do_not_stand_in_line_behind_ranges() {
    let (mut world, writer, reader) = sparse(129);
    world.nodes[reader].live.replicator.set_eager_upgrade(false);
    world.nodes[reader].live.replicator.set_inflight(1, 1);
    (0..129).for_each(|index| {
        download(&mut world, reader, one(index));
    });
    let middle = blocks(0, 64).iter().map(|block| block.len() as u64).sum();
    let seeks = [middle, middle + 70, 5, middle].map(|bytes| seek(&mut world, reader, bytes));
    world.join(writer, reader, NEAR);
    world.run(Span::from_millis(5));
    cancel(&mut world, reader, seeks[1]);
    world.run(Span::from_millis(95));
    let at = |world: &World, job| outcome(world, reader, job);
    assert_eq!(at(&world, seeks[1]), Some(Err(Undone::Cancelled)));
    for job in [seeks[0], seeks[3]] {
        assert_eq!(at(&world, job), Some(Ok(Done::Sought { index: 64, offset: 0 })));
    }
    assert_eq!(at(&world, seeks[2]), Some(Ok(Done::Sought { index: 0, offset: 5 })));
    assert!(got(&world, reader).len() < 20, "one request at a time: the ranges are far from done");
}

/// "seek with timeout", "seek with session options"; a local core answers at once.
// proves replication.104
#[test]
fn a_seek_is_given_up_in_time() {
    let (mut world, writer, reader) = sparse(5);
    let now = world.now;
    let late = world.nodes[reader].with(now, |live, cx| live.seek(cx, 6, Some(Span::from_millis(1))));
    let late = late.expect("room");
    let total = world.nodes[writer].live.core.byte_length();
    let beyond =
        world.nodes[writer].with(now, |live, cx| live.seek(cx, total + 9, Some(Span::from_millis(1))));
    let beyond = beyond.expect("room");
    let here = seek(&mut world, writer, 0);
    world.run(Span::from_millis(2));
    assert_eq!(outcome(&world, reader, late), Some(Err(Undone::TimedOut)));
    assert_eq!(outcome(&world, writer, beyond), Some(Err(Undone::TimedOut)));
    assert_eq!(outcome(&world, writer, here), Some(Ok(Done::Sought { index: 0, offset: 0 })));
}

/// "read ahead", "get before timeout", "get after timeout", "core constructor timeout but increase on get": of a core
/// that only its writer has.
// proves replication.104
#[test]
fn a_block_that_is_yet_to_be_written_is_waited_for() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    let early = fetch(&mut world, writer, 0, Some(Span::from_secs(30)));
    let for_ever = fetch(&mut world, writer, 1, None);
    let late = fetch(&mut world, writer, 0, Some(Span::from_millis(1)));
    world.run(Span::from_millis(100));
    assert_eq!(outcome(&world, writer, late), Some(Err(Undone::TimedOut)));
    assert_eq!(outcome(&world, writer, early), None);
    world.append(writer, &blocks(0, 1));
    world.run(Span::from_millis(1));
    assert_eq!(outcome(&world, writer, early), Some(Ok(Done::Block { index: 0 })));
    assert_eq!(outcome(&world, writer, for_ever), None);
    world.append(writer, &blocks(1, 1));
    world.run(Span::from_millis(1));
    assert_eq!(outcome(&world, writer, for_ever), Some(Ok(Done::Block { index: 1 })));
    world.run(Span::from_secs(60));
}

/// "downloading local range", "range download, repeated".
#[test]
fn what_is_here_is_downloaded_at_once() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 100));
    for _ in 0..1000 {
        let job = download(&mut world, writer, Download { end: Some(100), ..Download::default() });
        world.run(Span::ZERO);
        assert_eq!(outcome(&world, writer, job), Some(Ok(Done::Range)));
        world.nodes[writer].events.clear();
    }
    let beyond = download(&mut world, writer, Download { start: 100, end: Some(101), ..Download::default() });
    world.run(SOON);
    assert_eq!(outcome(&world, writer, beyond), None);
    cancel(&mut world, writer, beyond);
    world.run(Span::ZERO);
    assert_eq!(outcome(&world, writer, beyond), Some(Err(Undone::Cancelled)));
}

/// "large linear download": in the order of the blocks, whatever the window.
#[test]
fn a_linear_download_comes_in_order() {
    let (mut world, writer, reader) = sparse(1000);
    world.join(writer, reader, NEAR);
    let job = download(&mut world, reader, Download { end: Some(1000), linear: true, ..Download::default() });
    world.run(SOON);
    assert_eq!(outcome(&world, reader, job), Some(Ok(Done::Range)));
    let came = world.nodes[reader].events.iter().filter_map(|event| match event {
        Event::Downloaded { index } => Some(*index),
        _ => None,
    });
    let mut came: Vec<u64> = came.collect();
    // The newest block may come with the tree.
    let first = usize::from(came[0] == 999);
    came.rotate_left(first);
    assert_eq!(came, (0..1000).collect::<Vec<_>>());
}

/// "contiguous length": blocks that come out of order.
#[test]
fn the_contiguous_length_jumps_over_what_was_here() {
    let (mut world, writer, reader) = sparse(5);
    world.join(writer, reader, NEAR);
    for (some, contiguous) in [(&[0, 2, 4][..], 1), (&[1], 3), (&[3], 5)] {
        download(&mut world, reader, Download { blocks: Some(some.to_vec()), ..Download::default() });
        world.run(SOON);
        assert_eq!(world.nodes[reader].live.core.contiguous_length(), contiguous);
    }
}

/// "session id reuse does not stall": all that is waited for is given up as soon as one of it came, again and again.
#[test]
fn giving_up_and_asking_again_ends() {
    let (mut world, writer, reader) = sparse(2_000);
    world.join(writer, reader, Span::from_millis(50));
    world.run(SOON);
    let missing = |world: &World| -> Vec<u64> {
        (0..100).filter(|index| !world.nodes[reader].live.core.has(*index)).collect()
    };
    let mut rounds = 0;
    while !missing(&world).is_empty() {
        let before = missing(&world);
        let jobs: Vec<JobId> = before.iter().map(|index| fetch(&mut world, reader, *index, None)).collect();
        let until = world.now + SOON;
        while missing(&world).len() == before.len() {
            assert!(world.step(until), "round {rounds}: nothing comes");
        }
        jobs.into_iter().for_each(|job| cancel(&mut world, reader, job));
        rounds += 1;
        assert!(rounds <= 100);
    }
    world.run(SOON);
    let came = world.nodes[reader].events.iter().filter(|event| matches!(event, Event::Downloaded { .. }));
    assert_eq!(came.count(), 100, "each block once");
    assert_eq!(world.faults(reader) + world.faults(writer), 0);
}

/// "restore after cancelled block request": the first block of an upgrade is given up before it is here.
#[test]
fn a_tree_is_followed_though_its_block_was_given_up() {
    let (mut world, writer, reader) = sparse(4);
    world.join(writer, reader, NEAR);
    world.run(SOON);
    let job = fetch(&mut world, reader, 4, None);
    world.append(writer, &blocks(4, 2));
    let before = world.sent[kind::DATA as usize];
    while world.sent[kind::DATA as usize] == before {
        assert!(world.step(world.now + SOON));
    }
    cancel(&mut world, reader, job);
    world.run(SOON);
    assert_eq!(world.nodes[reader].live.core.length(), 6);
    let again = fetch(&mut world, reader, 5, None);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, again), Some(Ok(Done::Block { index: 5 })));
}

/// "small wants - range request stall": every second block is gone at the only peer.
#[test]
fn a_range_full_of_holes_does_not_stall() {
    let count = 6_000;
    let (mut world, writer, reader) = sparse(count);
    let now = world.now;
    world.nodes[writer].with(now, |live, cx| {
        (0..count).step_by(2).for_each(|index| live.clear(cx, index, index + 1).expect("a disk"));
    });
    world.join(writer, reader, NEAR);
    let all = download(&mut world, reader, Download { end: Some(count), ..Download::default() });
    world.run(Span::from_millis(30));
    let last = fetch(&mut world, reader, count - 1, None);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, last), Some(Ok(Done::Block { index: count - 1 })));
    assert_eq!((got(&world, reader).len() as u64, outcome(&world, reader, all)), (count / 2, None));
    assert_eq!(world.nodes[reader].live.replicator.stats().no_data, 0);
}

/// "basic downloading is set immediately after ready": who is not active says so.
#[test]
fn who_is_not_active_does_not_say_that_it_downloads() {
    for active in [true, false] {
        let (mut world, writer, reader) = sparse(9);
        let now = world.now;
        world.nodes[reader].with(now, |live, cx| {
            live.replicator.set_linger(Span::ZERO);
            live.set_active(cx, active);
        });
        world.run(SOON);
        world.join(writer, reader, NEAR);
        world.run(SOON);
        let said: Vec<bool> = world.nodes[writer].live.peers().map(|peer| peer.downloading).collect();
        assert_eq!(said, [active]);
    }
}

/// "eager replication of updates per default", "update with zero length", "implicit snapshot - gets are snapshotted at
/// call time" (test/snapshots.js): of what is waited for when the core is cut, what lies below the cut comes.
#[test]
fn what_lies_below_a_cut_comes() {
    let mut draw = Seeded::new(3);
    for _ in 0..20 {
        let (mut world, writer, reader) = sparse(3);
        let link = world.join(writer, reader, NEAR);
        world.run(SOON);
        world.cut(link);
        let (below, above) = (fetch(&mut world, reader, 1, None), fetch(&mut world, reader, 2, None));
        let now = world.now;
        world.nodes[writer].with(now, |live, cx| live.truncate(cx, 2).expect("a writer"));
        world.append(writer, &blocks(72, 2));
        world.join(writer, reader, Span::from_millis(draw.below(80)));
        let range = download(&mut world, reader, Download { end: Some(4), ..Download::default() });
        world.run(SOON);
        assert_eq!(outcome(&world, reader, below), Some(Ok(Done::Block { index: 1 })));
        assert_eq!(outcome(&world, reader, above), Some(Err(Undone::Truncated)));
        assert_eq!(outcome(&world, reader, range), Some(Ok(Done::Range)));
        let now = world.now;
        let block = world.nodes[reader].with(now, |live, cx| live.core.get(cx, 2));
        assert_eq!(block, Ok(Some(blocks(72, 1).remove(0))));
    }
    let mut world = World::new(1);
    world.writer(false);
    let reader = idle(&mut world);
    world.join(0, reader, NEAR);
    let job = super::jobs::update(&mut world, reader);
    world.run(SOON);
    assert_eq!(
        outcome(&world, reader, job),
        Some(Ok(Done::Updated(false))),
        "an empty core is no reason to wait"
    );
}
