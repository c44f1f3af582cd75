//! Blocks and trees that go through somebody who has a part of them. Scenarios of hypercore test/replicate.js and
//! test/clear.js, named at each test.

use super::jobs::{download, fetch, idle, outcome, seek, sparse, update};
use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Machine, Span};
use crate::hypercore::auth;
use crate::hypercore::jobs::{Done, Download, JobId};
use crate::hypercore::{Hypercore, Open};
use crate::wire::hypercore::kind;
use crate::wire::manifest::{Manifest, Prologue};

fn range(start: u64, end: u64) -> Download {
    Download { start, end: Some(end), ..Download::default() }
}

fn list(blocks: &[u64]) -> Download {
    Download { blocks: Some(blocks.to_vec()), ..Download::default() }
}

/// The blocks that a node has.
fn got(world: &World, node: usize) -> Vec<u64> {
    let core = &world.nodes[node].live.core;
    (0..core.length()).filter(|index| core.has(*index)).collect()
}

fn done(world: &World, node: usize, job: JobId) -> bool {
    match outcome(world, node, job) {
        None => false,
        Some(Ok(_)) => true,
        Some(Err(why)) => panic!("{job}: {why:?}"),
    }
}

fn clear(world: &mut World, node: usize, start: u64, end: u64) {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.clear(cx, start, end).expect("a disk"));
}

fn cut_all(world: &mut World) {
    (0..world.links.len()).for_each(|link| world.cut(link));
}

fn faultless(world: &World) {
    (0..world.nodes.len()).for_each(|node| assert_eq!(world.faults(node), 0, "node {node}"));
}

/// "basic replication get", "basic replication get (sparse)".
#[test]
fn scattered_blocks_go_down_a_chain() {
    let (mut world, writer, middle) = sparse(5_000);
    let end = idle(&mut world);
    world.join(writer, middle, NEAR);
    let some = [0, 3, 4_444];
    some.iter().for_each(|index| {
        fetch(&mut world, middle, *index, None);
    });
    world.run(SOON);
    assert_eq!(got(&world, middle), some);
    world.join(middle, end, NEAR);
    let jobs = some.map(|index| fetch(&mut world, end, index, None));
    let absent = fetch(&mut world, end, 4, None);
    world.run(SOON);
    assert!(jobs.iter().all(|job| done(&world, end, *job)));
    assert_eq!((got(&world, end), outcome(&world, end, absent)), (some.to_vec(), None));
    assert_eq!(world.nodes[writer].live.replicator.stats().blocks_sent, 3, "nobody asks twice");
    faultless(&world);
}

/// "sparse replication without gossiping": the one in between has the first three blocks and the last three of seven,
/// each part from a tree of another length.
#[test]
fn somebody_with_a_gap_serves_what_lies_behind_it() {
    for kind in 0..4 {
        let (mut world, writer, middle) = sparse(3);
        world.join(writer, middle, NEAR);
        download(&mut world, middle, range(0, 3));
        world.run(SOON);
        cut_all(&mut world);
        world.append(writer, &blocks(3, 4));
        world.join(writer, middle, NEAR);
        download(&mut world, middle, range(4, 7));
        world.run(SOON);
        cut_all(&mut world);
        assert_eq!(got(&world, middle), [0, 1, 2, 4, 5, 6]);
        let end = idle(&mut world);
        world.join(middle, end, NEAR);
        let before: u64 = blocks(0, 4).iter().map(|block| block.len() as u64).sum();
        let (job, wanted) = match kind {
            0 => (fetch(&mut world, end, 4, None), Done::Block { index: 4 }),
            1 => (download(&mut world, end, range(4, 6)), Done::Range),
            2 => (download(&mut world, end, list(&[4, 6])), Done::Range),
            _ => (seek(&mut world, end, before), Done::Sought { index: 4, offset: 0 }),
        };
        world.run(SOON);
        assert_eq!(outcome(&world, end, job), Some(Ok(wanted)));
        faultless(&world);
    }
}

/// "only replicates when remote can connect the proofs".
#[test]
fn who_has_an_older_tree_is_asked_once_it_can_prove_something() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 1));
    let behind = idle(&mut world);
    world.nodes[behind].live.replicator.set_eager_upgrade(false);
    world.join(writer, behind, NEAR);
    fetch(&mut world, behind, 0, None);
    update(&mut world, behind);
    world.run(SOON);
    world.append(writer, &blocks(1, 7));
    let ahead = idle(&mut world);
    let link = world.join(writer, ahead, NEAR);
    let last = fetch(&mut world, ahead, 7, None);
    world.run(SOON);
    assert!(done(&world, ahead, last));
    world.cut(link);
    world.join(behind, ahead, NEAR);
    let first = fetch(&mut world, ahead, 0, None);
    world.run(SOON);
    let lengths = [writer, behind, ahead].map(|node| world.nodes[node].live.core.length());
    assert_eq!(lengths, [8, 1, 8]);
    if outcome(&world, ahead, first).is_none() {
        update(&mut world, behind);
        world.run(SOON);
    }
    assert!(done(&world, ahead, first));
    update(&mut world, behind);
    fetch(&mut world, behind, 1, None);
    world.run(SOON);
    assert_eq!(world.nodes[behind].live.core.length(), 8);
    // A tree of eight is a part of one of sixteen: what is proved in it is proved there.
    world.append(writer, &blocks(8, 8));
    let link = world.join(writer, ahead, NEAR);
    let last = fetch(&mut world, ahead, 15, None);
    world.run(SOON);
    assert!(done(&world, ahead, last));
    world.cut(link);
    let second = fetch(&mut world, ahead, 1, None);
    world.run(SOON);
    assert_eq!(world.nodes[behind].live.core.length(), 8);
    assert!(done(&world, ahead, second));
    faultless(&world);
}

/// "remote has larger tree": blocks of a shorter tree are had while a block that is nowhere is waited for.
#[test]
fn a_block_that_nobody_has_is_in_nobodys_way() {
    let (mut world, writer, older) = sparse(5);
    world.join(writer, older, NEAR);
    download(&mut world, older, range(2, 5));
    world.run(SOON);
    cut_all(&mut world);
    world.append(writer, &blocks(5, 2));
    let newer = idle(&mut world);
    world.join(writer, newer, NEAR);
    // With its proof come the roots of the shorter tree.
    fetch(&mut world, newer, 5, None);
    world.run(SOON);
    cut_all(&mut world);
    assert_eq!(world.nodes[newer].live.core.length(), 7);
    world.join(older, newer, NEAR);
    let nowhere = fetch(&mut world, newer, 6, None);
    let there = [2, 3].map(|index| fetch(&mut world, newer, index, None));
    world.run(SOON);
    assert!(there.iter().all(|job| done(&world, newer, *job)));
    assert_eq!(outcome(&world, newer, nowhere), None);
    faultless(&world);
}

/// "clear + replication", "replicate to writable cores after clearing": a writer has its own blocks from others.
#[test]
fn a_writer_gets_back_what_it_cleared() {
    for all in [false, true] {
        let (mut world, writer, reader) = sparse(5);
        world.join(writer, reader, NEAR);
        download(&mut world, reader, range(0, 5));
        world.run(SOON);
        if all {
            clear(&mut world, writer, 0, 5)
        } else {
            clear(&mut world, writer, 1, 2)
        }
        world.run(SOON);
        assert!(!world.nodes[writer].live.core.has(1));
        assert_eq!(got(&world, reader), [0, 1, 2, 3, 4], "a copy keeps its own");
        let job = fetch(&mut world, writer, 1, None);
        world.run(SOON);
        assert!(done(&world, writer, job));
        let now = world.now;
        let block = world.nodes[writer].with(now, |live, cx| live.core.get(cx, 1));
        assert_eq!(block, Ok(Some(blocks(1, 1).remove(0))));
        faultless(&world);
    }
}

/// "clear + replication, gossip".
#[test]
fn a_block_that_was_cleared_in_between_comes_when_it_is_back() {
    let (mut world, writer, middle) = sparse(3);
    let end = idle(&mut world);
    world.join(writer, middle, NEAR);
    world.join(middle, end, NEAR);
    download(&mut world, middle, range(0, 3));
    world.run(SOON);
    clear(&mut world, middle, 1, 2);
    world.run(SOON);
    assert!(world.nodes[writer].live.core.has(1) && !world.nodes[middle].live.core.has(1));
    let waiting = fetch(&mut world, end, 1, None);
    world.run(SOON);
    assert_eq!(outcome(&world, end, waiting), None);
    let back = fetch(&mut world, middle, 1, None);
    world.run(SOON);
    assert!(done(&world, middle, back) && done(&world, end, waiting));
    assert_eq!(world.nodes[end].live.replicator.stats().no_data, 0, "it knew that it is gone");
}

/// "clear - no side effect from clearing unknown nodes": while the tree comes.
#[test]
fn clearing_what_never_came_changes_nothing() {
    for steps in 0..12 {
        let (mut world, writer, reader) = sparse(4);
        world.join(writer, reader, NEAR);
        for block in 0..3 {
            clear(&mut world, reader, block, block + 1);
            (0..steps).for_each(|_| {
                world.step(world.now + NEAR);
            });
        }
        let job = download(&mut world, reader, range(0, 4));
        world.run(SOON);
        assert!(done(&world, reader, job), "{steps} steps");
        world.assert_same("all of it");
        faultless(&world);
    }
}

/// "range download, single block missing".
#[test]
fn a_range_is_downloaded_again_where_it_was_cleared() {
    let (mut world, writer, reader) = sparse(100);
    world.join(writer, reader, NEAR);
    for missing in [99, 0, 50] {
        let job = download(&mut world, reader, range(0, 100));
        world.run(SOON);
        assert!(done(&world, reader, job));
        clear(&mut world, reader, missing, missing + 1);
    }
    assert_eq!(world.nodes[reader].live.replicator.stats().blocks_received, 102);
}

/// "big download range", "big download range (non contig)": four in a square, who all download while it grows.
#[test]
fn a_square_of_four_gets_everything() {
    for hole in [false, true] {
        let mut world = World::new(7);
        let writer = world.writer(false);
        let count = 1_500;
        if hole {
            world.append(writer, &blocks(0, count));
            clear(&mut world, writer, 0, 1);
        }
        let [b, c, d] = [0; 3].map(|_| idle(&mut world));
        for (one, other) in [(writer, b), (b, c), (c, d), (b, d)] {
            world.join(one, other, NEAR);
        }
        if !hole {
            for n in 0..count {
                world.append(writer, &blocks(n, 1));
                world.run(Span::from_millis(n % 3));
            }
        }
        let what = range(u64::from(hole), count);
        let jobs = [b, c, d].map(|node| (node, download(&mut world, node, what.clone())));
        world.run(SOON);
        for (node, job) in jobs {
            assert!(done(&world, node, job), "node {node}, hole {hole}");
            assert_eq!(got(&world, node).len() as u64, count - u64::from(hole));
        }
        let sent = world.nodes[writer].live.replicator.stats().blocks_sent;
        assert!(sent < count + count / 10, "{sent} from the writer, who has one peer");
        faultless(&world);
    }
}

/// "seek gossip with oob batch": who has one block of a large core can say where its first byte is.
#[test]
fn a_seek_goes_through_who_has_one_block() {
    let mut world = World::new(3);
    let writer = world.writer(false);
    world.append(writer, &vec![b".".to_vec(); 10_000]);
    let middle = idle(&mut world);
    world.join(writer, middle, NEAR);
    let block = fetch(&mut world, middle, 4_999, None);
    world.run(SOON);
    assert!(done(&world, middle, block));
    let end = idle(&mut world);
    world.join(middle, end, NEAR);
    let job = seek(&mut world, end, 4_999);
    world.run(SOON);
    assert_eq!(outcome(&world, end, job), Some(Ok(Done::Sought { index: 4_999, offset: 0 })));
    faultless(&world);
}

/// "seek against non sparse peer": with the last block here, and with nothing.
#[test]
fn a_seek_with_the_last_block_here() {
    for last in [false, true] {
        let mut world = World::new(3);
        let writer = world.writer(false);
        world.append(writer, &(b'a'..b'o').map(|letter| vec![letter]).collect::<Vec<_>>());
        let reader = idle(&mut world);
        world.join(writer, reader, NEAR);
        if last {
            fetch(&mut world, reader, 13, None);
            world.run(SOON);
        }
        let job = seek(&mut world, reader, 5);
        world.run(SOON);
        assert_eq!(outcome(&world, reader, job), Some(Ok(Done::Sought { index: 5, offset: 0 })));
    }
}

/// "destroying a stream and re-replicating works": the line is cut at each moment of a download.
#[test]
fn a_download_goes_on_over_the_next_line() {
    for steps in (0..80).step_by(7) {
        let (mut world, writer, reader) = sparse(33);
        let first = world.join(writer, reader, NEAR);
        let jobs: Vec<JobId> = (0..33).map(|index| fetch(&mut world, reader, index, None)).collect();
        (0..steps).for_each(|_| {
            world.step(world.now + SOON);
        });
        world.cut(first);
        world.run(SOON);
        world.join(writer, reader, NEAR);
        world.run(SOON);
        assert!(jobs.iter().all(|job| done(&world, reader, *job)), "cut after {steps} steps");
        faultless(&world);
    }
}

/// "multiple peers with the same remotePublicKey", "multiplexing multiple times over the same stream": a second line
/// between the same two is a peer of its own.
#[test]
fn two_lines_between_the_same_two_are_two_peers() {
    let (mut world, writer, reader) = sparse(100);
    world.join(writer, reader, NEAR);
    world.join(writer, reader, NEAR);
    let job = download(&mut world, reader, range(0, 100));
    world.run(SOON);
    assert!(done(&world, reader, job));
    assert_eq!(world.nodes[reader].live.peers().count(), 2);
    assert_eq!(world.nodes[reader].live.replicator.stats().blocks_received, 100);
    world.cut(0);
    world.append(writer, &blocks(100, 5));
    let job = download(&mut world, reader, range(100, 105));
    world.run(SOON);
    assert!(done(&world, reader, job), "the other one goes on");
}

/// "one inflight request to a peer per block".
#[test]
fn two_who_wait_for_a_block_are_one_request() {
    let (mut world, writer, reader) = sparse(5);
    world.join(writer, reader, NEAR);
    world.run(SOON);
    let before = world.sent[kind::REQUEST as usize];
    let jobs = [0; 3].map(|_| fetch(&mut world, reader, 2, None));
    world.run(SOON);
    assert!(jobs.iter().all(|job| done(&world, reader, *job)));
    assert_eq!(world.sent[kind::REQUEST as usize] - before, 1);
    assert_eq!(world.nodes[writer].live.replicator.stats().blocks_sent, 1);
}

/// "retry failed block requests to another peer": whoever is asked is gone before it can answer, then all who were.
#[test]
fn a_block_is_asked_of_another_when_its_peer_is_gone() {
    for gone in [&[0][..], &[1], &[0, 1]] {
        let (mut world, writer, other) = sparse(3);
        world.join(writer, other, NEAR);
        download(&mut world, other, range(0, 3));
        world.run(SOON);
        let reader = idle(&mut world);
        let links = [writer, other].map(|from| world.join(from, reader, Span::from_millis(50)));
        world.run(SOON);
        let job = fetch(&mut world, reader, 0, None);
        world.run(Span::from_millis(10));
        assert!(world.nodes[reader].live.peers().any(|peer| peer.inflight > 0));
        gone.iter().for_each(|at| world.cut(links[*at]));
        world.run(SOON);
        if gone.len() == 2 {
            assert_eq!(outcome(&world, reader, job), None);
            world.join(other, reader, NEAR);
            world.run(SOON);
        }
        assert!(done(&world, reader, job), "without {gone:?}");
        faultless(&world);
    }
}

/// "uses hotswaps to avoid long download tail": what a slow peer was asked for is asked of a quick one too.
// proves replication.84
#[test]
fn who_is_quick_takes_over_from_who_is_slow() {
    for slow in [1, 2] {
        let (mut world, writer, reader) = sparse(300);
        let seeds: Vec<usize> = (0..slow).map(|_| world.replica()).collect();
        seeds.iter().for_each(|seed| {
            world.join(writer, *seed, NEAR);
        });
        world.run(SOON);
        let links: Vec<usize> = seeds.iter().map(|seed| world.join(*seed, reader, NEAR)).collect();
        world.join(writer, reader, NEAR);
        world.run(Span::from_millis(200));
        links.iter().for_each(|link| world.links[*link].delay = Span::from_secs(10));
        let job = download(&mut world, reader, range(0, 300));
        world.run(Span::from_secs(3));
        assert!(done(&world, reader, job), "{slow} slow peers: nobody waits for them");
        let stats = world.nodes[reader].live.replicator.stats();
        assert!(stats.hotswaps > 0, "{slow} slow peers");
        assert!(stats.cancels > 0, "what came from elsewhere is taken back from them");
        world.run(Span::from_secs(60));
        faultless(&world);
    }
}

/// "hotswap works for a download with many slow peers".
#[test]
fn one_quick_peer_among_many_slow_ones_is_enough() {
    let (mut world, writer, reader) = sparse(500);
    let seeds: Vec<usize> = (0..20).map(|_| world.replica()).collect();
    seeds.iter().for_each(|seed| {
        world.join(writer, *seed, Span::ZERO);
    });
    world.run(SOON);
    world.join(writer, reader, Span::ZERO);
    seeds.iter().for_each(|seed| {
        world.join(*seed, reader, Span::from_secs(10));
    });
    let job = download(&mut world, reader, range(0, 500));
    world.run(Span::from_secs(9));
    assert!(done(&world, reader, job));
}

/// "manifests eagerly sync", "manifests gossip eagerly sync": also of a core without blocks.
#[test]
fn a_manifest_goes_down_a_chain_without_blocks() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    let nodes = [0; 3].map(|_| idle(&mut world));
    world.join(nodes[1], nodes[2], NEAR);
    world.join(nodes[0], nodes[1], NEAR);
    world.run(SOON);
    world.join(writer, nodes[0], NEAR);
    world.run(SOON);
    let manifest = world.nodes[writer].live.core.manifest().cloned();
    assert!(manifest.is_some());
    for node in nodes {
        assert_eq!(world.nodes[node].live.core.manifest(), manifest.as_ref(), "node {node}");
    }
}

/// "replication updates on core copy": a peer is given the blocks of its manifest's prologue while another waits.
#[test]
fn a_prologue_that_is_put_in_reaches_who_waits_for_it() {
    let mut world = World::new(1);
    let source = world.writer(false);
    world.append(source, &blocks(0, 100));
    let prologue = Some(Prologue { hash: world.nodes[source].live.core.tree_hash(), length: 100 });
    let manifest = Manifest { version: 1, prologue, ..Manifest::default() };
    let key = auth::core_key(&manifest);
    let copy = world.node(Open { manifest: Some(manifest), ..Open::default() });
    let reader = world.node(Open { key: Some(key), ..Open::default() });
    world.join(copy, reader, NEAR);
    let job = fetch(&mut world, reader, 50, None);
    world.run(SOON);
    assert_eq!(outcome(&world, reader, job), None);
    let now = world.now;
    world.nodes[copy].with(now, |live, cx| {
        live.core.append_signed(cx, &blocks(0, 100), &[]).expect("the prologue");
        live.update(cx);
    });
    world.run(SOON);
    assert!(done(&world, reader, job));
    assert_eq!(world.nodes[reader].live.core.length(), 100);
    faultless(&world);
}

/// "local writable caught up by remote", "force update writable cores": a second machine with the key pair, that has
/// less than others, has what they have before it writes.
#[test]
fn a_writer_that_is_behind_catches_up() {
    for behind in [0, 1, 4] {
        let mut world = World::new(1);
        let first = world.writer(false);
        world.append(first, &blocks(0, 5));
        let second = world.writer(false);
        world.append(second, &blocks(0, behind));
        world.join(first, second, NEAR);
        let job = update(&mut world, second);
        world.run(SOON);
        assert!(done(&world, second, job));
        assert_eq!(world.nodes[second].live.core.length(), 5, "{behind} blocks before");
        world.append(second, &blocks(5, 1));
        world.run(SOON);
        assert_eq!(world.nodes[first].live.core.length(), 6, "and the first hears of what it writes");
        let (one, two) = (&world.nodes[first].live.core, &world.nodes[second].live.core);
        assert_eq!((one.tree_hash(), one.frozen()), (two.tree_hash(), false));
        faultless(&world);
    }
}

/// "get block in middle page": of three pages of bits, and what the disk says of it.
#[test]
fn a_block_in_the_middle_of_many_pages() {
    let page = 32_768;
    let mut world = World::new(1);
    let writer = world.writer(false);
    let last = 3 * page - 2;
    world.append(writer, &vec![b"x".to_vec(); last as usize + 1]);
    let reader = idle(&mut world);
    world.join(writer, reader, NEAR);
    let some = [0, page + 500, last];
    let jobs = some.map(|index| fetch(&mut world, reader, index, None));
    world.run(SOON);
    assert!(jobs.iter().all(|job| done(&world, reader, *job)));
    let now = world.now;
    world.nodes[reader].with(now, |live, cx| {
        live.core.close(cx).expect("a disk");
        live.core = Hypercore::open(cx, "core", Open::default()).expect("it opens");
    });
    assert_eq!(got(&world, reader), some);
    assert_eq!(world.nodes[reader].live.core.contiguous_length(), 1);
}

/// "replicate range that fills initial size of bitfield page", "replicate range that overflows ...".
#[test]
fn a_page_of_bits_is_filled_and_overflowed() {
    let page = 32_768;
    let mut world = World::new(1);
    let writer = world.writer(false);
    world.append(writer, &vec![Vec::new(); page as usize]);
    let reader = idle(&mut world);
    world.join(writer, reader, Span::ZERO);
    for end in [page, page + 1] {
        let job = download(&mut world, reader, range(0, end));
        world.run(SOON);
        assert!(done(&world, reader, job));
        assert_eq!(world.nodes[reader].live.core.contiguous_length(), end);
        world.append(writer, &[b"over".to_vec()]);
    }
    assert_eq!(world.nodes[reader].live.replicator.stats().blocks_received, page + 1);
}

/// "one missing block, big core": what is said of a large core with a hole is small.
#[test]
fn a_hole_in_a_large_core_costs_little() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    world.append(writer, &vec![b".".to_vec(); 100_000]);
    clear(&mut world, writer, 42, 43);
    let reader = idle(&mut world);
    let link = world.join(writer, reader, NEAR);
    let job = fetch(&mut world, reader, 49, None);
    let hole = fetch(&mut world, reader, 42, None);
    world.run(SOON);
    assert!(done(&world, reader, job));
    assert_eq!(outcome(&world, reader, hole), None);
    // The bits of all blocks are 12,500 bytes.
    let bytes: usize = world.links[link].bytes.iter().sum();
    assert!(bytes < 20_000, "{bytes} bytes");
    assert_eq!(world.nodes[reader].live.replicator.stats().no_data, 0);
    assert!(world.nodes[reader].live.poll_timeout().is_none_or(|deadline| deadline.at > world.now));
}
