//! How many messages it takes, and what peers know of each other. Scenarios of hypercore test/replicate.js ("messages
//! exchanged when", "range is broadcast", "remote contiguous length"), test/remote-length.js and
//! test/remote-bitfield.js, named at each test.

use super::jobs::{download, fetch, idle, outcome, sparse};
use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::Span;
use crate::hypercore::jobs::{Done, Download};
use crate::hypercore::replicate::*;
use crate::hypercore::{Hypercore, Open};
use crate::wire::hypercore::kind;

const COUNTED: [u64; 6] = [kind::SYNC, kind::REQUEST, kind::DATA, kind::BITFIELD, kind::RANGE, kind::CANCEL];

/// What an end of a link has sent: syncs, requests, answers, bitfields, ranges, cancels.
fn said(world: &World, link: usize, end: usize) -> [u64; 6] {
    COUNTED.map(|kind| world.links[link].sent[end][kind as usize])
}

/// Somebody with these blocks only, joined to nobody.
fn holder(world: &mut World, some: &[u64]) -> usize {
    let node = idle(world);
    let link = world.join(0, node, NEAR);
    download(world, node, Download { blocks: Some(some.to_vec()), ..Download::default() });
    world.run(SOON);
    world.cut(link);
    node
}

fn get(world: &mut World, node: usize, index: u64) {
    let job = fetch(world, node, index, None);
    world.run(Span::from_millis(100));
    assert_eq!(outcome(world, node, job), Some(Ok(Done::Block { index })));
}

/// How far the peer on a link has all blocks, as a node knows.
fn contiguous(world: &World, node: usize, link: usize) -> u64 {
    let peer = world.nodes[node].live.peers().find(|peer| peer.peer == PeerId(link as u64));
    peer.expect("it is connected").contiguous_length
}

fn truncate(world: &mut World, node: usize, length: u64) {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.truncate(cx, length).expect("a writer"));
    world.run(SOON);
}

/// "messages exchanged when empty core connects to non-sparse", "... to sparse", "... when 2 sparse cores connect",
/// "... when 2 non-sparse cores connect", "... when 2 empty cores connect": never more than upstream needs.
#[test]
fn meeting_takes_few_messages() {
    let all = [0, 1, 2, 3, 4];
    type Case = (&'static [u64], bool, &'static [u64], bool, [u64; 6], [u64; 6]);
    // The blocks of either and whether it has the tree; what upstream's first end says, and what its second.
    let cases: [Case; 5] = [
        (&[], false, &[0, 1, 2, 3, 4], true, [3, 1, 0, 0, 0, 0], [3, 0, 1, 0, 1, 0]),
        (&[], false, &[1, 3], true, [3, 1, 0, 0, 0, 0], [3, 0, 1, 0, 0, 0]),
        (&[2, 3], true, &[1, 3], true, [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        (&[0, 1, 2, 3, 4], true, &[0, 1, 2, 3, 4], true, [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0]),
        (&[], false, &[], false, [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
    ];
    for (first, one_tree, second, other_tree, most_first, most_second) in cases {
        let mut world = World::new(1);
        let writer = world.writer(false);
        world.append(writer, &blocks(0, all.len() as u64));
        let mut node = |some: &[u64], tree: bool| match tree {
            true => holder(&mut world, some),
            false => idle(&mut world),
        };
        let (one, other) = (node(first, one_tree), node(second, other_tree));
        let link = world.join(one, other, NEAR);
        world.run(SOON);
        let what = format!("{first:?} meets {second:?}");
        assert_eq!(world.nodes[one].live.core.length(), if other_tree { 5 } else { 0 }, "{what}");
        for (end, most) in [(0, most_first), (1, most_second)] {
            let said = said(&world, link, end);
            let more = COUNTED.iter().zip(said.iter().zip(most)).find(|(_, (said, most))| *said > most);
            assert_eq!(more, None, "{what}: end {end} says {said:?}");
        }
    }
}

/// "basic replication stats": what one counts as sent the other counts as received.
#[test]
fn what_is_sent_is_what_is_received() {
    let (mut world, writer, reader) = sparse(200);
    let link = world.join(writer, reader, NEAR);
    world.nodes[reader].live.register_extension("x").expect("a name");
    world.run(SOON);
    let beyond = fetch(&mut world, reader, 300, None);
    download(&mut world, reader, Download { end: Some(200), ..Download::default() });
    world.run(SOON);
    let now = world.now;
    world.nodes[writer].with(now, |live, _| live.broadcast_extension("x", b"hello")).expect("taken");
    world.run(SOON);
    let [sent, received] = [writer, reader].map(|node| world.nodes[node].live.replicator.stats());
    assert_eq!((sent.blocks_sent, sent.bytes_sent), (received.blocks_received, received.bytes_received));
    assert_eq!((sent.blocks_sent, received.blocks_sent, sent.blocks_received), (200, 0, 0));
    let requests = world.links[link].sent[1][kind::REQUEST as usize];
    assert_eq!((received.requests, sent.requests), (requests, 0));
    let answers = world.sent[kind::DATA as usize] + world.sent[kind::NO_DATA as usize];
    assert_eq!(answers, requests, "each request has its answer");
    assert_eq!(received.cancels, world.links[link].sent[1][kind::CANCEL as usize]);
    for stats in [sent, received] {
        let bad = [stats.invalid_data, stats.invalid_requests, stats.unasked, stats.no_data, stats.silent];
        assert_eq!(bad, [0; 5]);
    }
    let heard = |event: &&Event| matches!(event, Event::Extension { message, .. } if message == b"hello");
    assert_eq!(world.nodes[reader].events.iter().filter(heard).count(), 1);
    assert_eq!(outcome(&world, reader, beyond), None);
}

/// "range is broadcast when a core is fully available".
#[test]
fn who_has_all_blocks_says_so_once() {
    let (mut world, writer, reader) = sparse(3);
    let link = world.join(writer, reader, NEAR);
    let ranges = |world: &World| [0, 1].map(|end| world.links[link].sent[end][kind::RANGE as usize]);
    world.run(SOON);
    get(&mut world, reader, 0);
    assert_eq!(ranges(&world), [1, 0], "the writer when they met");
    get(&mut world, reader, 1);
    assert_eq!(ranges(&world), [1, 0], "its own blocks are no news to the writer");
    get(&mut world, reader, 2);
    assert_eq!((world.nodes[reader].live.core.contiguous_length(), ranges(&world)), (3, [1, 1]));
    world.append(writer, &blocks(3, 2));
    world.run(SOON);
    assert_eq!(ranges(&world), [2, 1]);
    get(&mut world, reader, 3);
    assert_eq!(ranges(&world), [2, 1]);
    get(&mut world, reader, 4);
    assert_eq!(ranges(&world), [2, 2]);
    assert_eq!(contiguous(&world, writer, link), 5);
    let now = world.now;
    world.nodes[writer].with(now, |live, cx| live.clear(cx, 1, 2).expect("a disk"));
    world.append(writer, &blocks(5, 2));
    world.run(SOON);
    assert_eq!(contiguous(&world, reader, link), 1, "the hole is known");
    get(&mut world, reader, 5);
    get(&mut world, reader, 6);
    world.run(SOON);
    assert_eq!(contiguous(&world, writer, link), 7, "and who has none");
}

/// "range is broadcast when a core is fully available (multiple peers)".
#[test]
fn who_has_all_blocks_says_so_to_everybody() {
    let (mut world, writer, one) = sparse(3);
    let other = idle(&mut world);
    let [to_one, to_other] = [one, other].map(|node| world.join(writer, node, NEAR));
    get(&mut world, one, 0);
    get(&mut world, other, 0);
    let between = world.join(one, other, NEAR);
    world.run(SOON);
    let known = |world: &World| {
        [(writer, to_one), (writer, to_other), (one, between), (other, between)]
            .map(|(node, link)| contiguous(world, node, link))
    };
    assert_eq!(known(&world)[..2], [0, 0], "its own block is no news to the writer");
    for node in [one, other] {
        get(&mut world, node, 1);
        get(&mut world, node, 2);
    }
    world.run(SOON);
    assert_eq!(known(&world), [3; 4]);
    world.append(writer, &blocks(3, 2));
    world.run(SOON);
    assert_eq!([(one, to_one), (other, to_other)].map(|(node, link)| contiguous(&world, node, link)), [5, 5]);
}

/// "when the writer appends he broadcasts the new contiguous length", "truncates by the writer result in the updated
/// contiguous length being announced".
#[test]
fn a_writer_says_how_much_there_is() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    let reader = idle(&mut world);
    let link = world.join(writer, reader, NEAR);
    world.run(SOON);
    assert_eq!(contiguous(&world, reader, link), 0);
    for length in 1..4 {
        world.append(writer, &blocks(length - 1, 1));
        world.run(SOON);
        assert_eq!(contiguous(&world, reader, link), length);
    }
    truncate(&mut world, writer, 2);
    assert_eq!(contiguous(&world, reader, link), 2);
}

/// "contiguous-length announce-on-update flow", "remote congituous length consistency", "announce-range-on-update flow
/// with big core": a block that came is told to who lacks it and not to where it came from.
#[test]
fn a_block_that_came_is_told_on_and_not_back() {
    for (count, index) in [(2, 0), (32_778, 32_777)] {
        let mut world = World::new(1);
        let writer = world.writer(false);
        let (middle, end) = (idle(&mut world), idle(&mut world));
        let (back, on) = (world.join(writer, middle, NEAR), world.join(middle, end, NEAR));
        world.append(writer, &vec![b"x".to_vec(); count as usize]);
        world.run(SOON);
        assert_eq!(contiguous(&world, end, on), 0);
        assert_eq!(contiguous(&world, middle, back), count);
        let before = world.links[back].sent[1][kind::RANGE as usize];
        get(&mut world, middle, index);
        world.run(SOON);
        assert_eq!(world.links[back].sent[1][kind::RANGE as usize], before, "the writer has it");
        assert_eq!(world.links[on].sent[0][kind::RANGE as usize], 1);
        if index == 0 {
            assert_eq!((contiguous(&world, end, on), contiguous(&world, writer, back)), (1, 0));
        }
        get(&mut world, end, index);
        let other = fetch(&mut world, end, count - 1 - u64::from(index > 0), None);
        world.run(SOON);
        assert_eq!(outcome(&world, end, other), None, "the one in between does not have that");
    }
}

/// "bitfield messages sent on cache miss".
#[test]
fn bits_are_asked_for_when_a_block_is() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 5));
    let sparse = holder(&mut world, &[2, 3]);
    let empty = idle(&mut world);
    let link = world.join(sparse, empty, NEAR);
    world.run(SOON);
    assert_eq!(world.links[link].sent[0][kind::BITFIELD as usize], 0, "nobody asked");
    let job = fetch(&mut world, empty, 1, Some(Span::from_millis(100)));
    world.run(SOON);
    assert!(matches!(outcome(&world, empty, job), Some(Err(_))));
    assert_eq!(world.links[link].sent[1][kind::WANT as usize], 1);
    assert_eq!(world.links[link].sent[0][kind::BITFIELD as usize], 1);
    assert_eq!(
        world.links[link].sent[1][kind::REQUEST as usize],
        1,
        "for the tree, not for what is not there"
    );
}

/// "remote contiguous length", "... fully contiguous only", "... updates on truncate", "... event fires after
/// truncating", "... persists".
// proves hypercore.102
#[test]
fn what_some_peer_has_is_known_and_kept() {
    let (mut world, writer, reader) = sparse(3);
    let known = |world: &World| world.nodes[writer].live.core.remote_contiguous_length();
    world.join(writer, reader, NEAR);
    get(&mut world, reader, 0);
    get(&mut world, reader, 1);
    assert_eq!(known(&world), 0, "its own blocks are no news to the writer");
    get(&mut world, reader, 2);
    world.run(SOON);
    assert_eq!(known(&world), 3);
    truncate(&mut world, writer, 1);
    assert_eq!((known(&world), world.nodes[reader].live.core.contiguous_length()), (1, 1));
    world.append(writer, &blocks(7, 2));
    download(&mut world, reader, Download { end: Some(3), ..Download::default() });
    world.run(SOON);
    assert_eq!((known(&world), world.nodes[reader].live.core.contiguous_length()), (3, 3));
    let now = world.now;
    world.nodes[writer].with(now, |live, cx| {
        live.core.close(cx).expect("a disk");
        live.core = Hypercore::open(cx, "core", Open::default()).expect("it opens");
    });
    assert_eq!(known(&world), 3);
}

/// "remote contiguous length - correct after reorg": what is said of another fork does not count for this one.
// proves hypercore.102
#[test]
fn what_a_peer_has_of_another_fork_does_not_count() {
    let (mut world, writer, reader) = sparse(3);
    let known = |world: &World, node: usize| world.nodes[node].live.core.remote_contiguous_length();
    let link = world.join(writer, reader, NEAR);
    download(&mut world, reader, Download { end: Some(3), ..Download::default() });
    world.run(SOON);
    assert_eq!(known(&world, writer), 3);
    world.cut(link);
    truncate(&mut world, writer, 1);
    world.append(writer, &blocks(70, 1));
    let link = world.join(writer, reader, NEAR);
    world.run(SOON);
    assert_eq!(world.nodes[reader].live.core.fork(), 1);
    assert_eq!(world.nodes[reader].live.core.contiguous_length(), 1);
    assert_eq!((known(&world, writer), known(&world, reader)), (1, 2));
    assert_eq!(contiguous(&world, reader, link), 2);
    world.append(writer, &blocks(80, 1));
    download(&mut world, reader, Download { end: Some(3), ..Download::default() });
    world.run(SOON);
    assert_eq!((known(&world, writer), known(&world, reader)), (3, 3));
}
