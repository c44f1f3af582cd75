//! Windows, limits, pushes and silent peers. Scenarios of hypercore test/replicate.js ("push mode", "non active
//! disables push mode", "no requests in pushOnly mode", "push and pull concurrently", "can define default max-inflight
//! blocks for replicator peers") and test/push.js.

use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Entropy, Seeded, Span};
use crate::hypercore::manners::Exchange;
use crate::hypercore::replicate::*;
use crate::wire::hypercore::{Data, DataUpgrade, Request, Sync, kind};
use crate::wire::{decode, encode};

/// A writer that pushes, and one that takes pushes and downloads nothing.
fn pushing(push_only: bool) -> (World, usize, usize) {
    let mut world = World::new(1);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 3));
    let reader = world.replica();
    let now = world.now;
    world.nodes[reader].with(now, |live, cx| live.download_all(cx, false));
    world.nodes[reader].live.set_exchange(Exchange { push: true, push_only, ..Exchange::default() });
    world.join(writer, reader, NEAR);
    world.run(SOON);
    (world, writer, reader)
}

fn push(world: &mut World, node: usize, index: u64) -> usize {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.push(cx, index))
}

// proves replication.107
#[test]
fn what_is_pushed_is_taken_with_its_proof() {
    for push_only in [false, true] {
        let (mut world, writer, reader) = pushing(push_only);
        let length = |world: &World| world.nodes[reader].live.core.length();
        assert_eq!(length(&world), if push_only { 0 } else { 3 });
        assert_eq!(push(&mut world, writer, 1), 1);
        world.run(SOON);
        let requests = world.sent[kind::REQUEST as usize];
        // Pushed in one go with what makes it part of the tree, before anybody could ask.
        let mut total = 3;
        for count in [1, 2, 5, 30] {
            world.append(writer, &blocks(total, count));
            total += count;
            assert_eq!(push(&mut world, writer, total - 1), 1);
            assert_eq!(push(&mut world, writer, total - count), 1);
            world.run(SOON);
            assert_eq!(length(&world), total);
            let core = &world.nodes[reader].live.core;
            assert!(core.has(total - 1) && core.has(total - count));
        }
        assert_eq!(push(&mut world, writer, 900), 0, "it is nowhere");
        if push_only {
            assert_eq!(world.sent[kind::REQUEST as usize], requests, "nothing is asked for");
        }
        assert_eq!(world.faults(reader) + world.faults(writer), 0);
        assert_eq!(world.nodes[reader].live.replicator.stats().invalid_data, 0);
        let now = world.now;
        world.nodes[reader].with(now, |live, cx| live.set_active(cx, false));
        world.run(Span::from_millis(100));
        assert_eq!(push(&mut world, writer, 2), 0, "who is about to stop takes none");
        world.nodes[reader].with(now, |live, cx| live.set_active(cx, true));
        world.run(Span::from_millis(100));
        assert_eq!(push(&mut world, writer, 2), 1);
    }
}

#[test]
fn whoever_did_not_say_so_is_pushed_nothing_and_takes_nothing() {
    let (mut world, writer, reader) = pushing(false);
    world.nodes[reader].live.set_exchange(Exchange::default());
    world.run(SOON);
    assert_eq!(push(&mut world, writer, 1), 0);
    let now = world.now;
    let peer = PeerId(0);
    let bytes =
        encode(&Sync { length: 3, remote_length: 3, downloading: true, allow_push: true, ..Sync::default() });
    world.nodes[writer].with(now, |live, cx| {
        crate::base::Machine::handle_input(
            live,
            cx,
            Input::Message { peer, kind: kind::SYNC, bytes: &bytes },
        );
    });
    assert_eq!(push(&mut world, writer, 1), 1);
    world.run(SOON);
    assert!(!world.nodes[reader].live.core.has(1), "it said no");
    assert_eq!(world.nodes[reader].live.replicator.stats().unasked, 1);
}

/// Pushes that prove nothing are dropped, and in the end no more of them are looked at.
#[test]
fn a_push_that_proves_nothing_changes_nothing() {
    let (mut world, writer, reader) = pushing(false);
    let link = 0;
    world.tamper = Some(Box::new(move |on, side, number, bytes| {
        if (on, side, number) == (link, 1, kind::DATA) {
            let mut data: Data = decode(bytes).expect("ours");
            data.block.iter_mut().for_each(|block| block.value.push(7));
            *bytes = encode(&data);
        }
    }));
    for _ in 0..50 {
        assert_eq!(push(&mut world, writer, 1), 1);
        world.run(Span::from_millis(20));
    }
    assert!(!world.nodes[reader].live.core.has(1));
    assert_eq!(world.nodes[reader].live.replicator.stats().invalid_data, 32);
    let upgrade = DataUpgrade { length: 9, ..DataUpgrade::default() };
    let bytes = encode(&Data { upgrade: Some(upgrade), ..Data::default() });
    let (now, peer) = (world.now, PeerId(0));
    world.nodes[reader].with(now, |live, cx| {
        crate::base::Machine::handle_input(
            live,
            cx,
            Input::Message { peer, kind: kind::DATA, bytes: &bytes },
        );
    });
    assert_eq!(world.nodes[reader].live.core.length(), 3);
}

// proves replication.106
#[test]
fn limits_are_kept_by_either_side() {
    for who in 0..2 {
        let mut world = World::new(2);
        let writer = world.writer(false);
        world.append(writer, &vec![vec![7; 1000]; 200]);
        let reader = world.replica();
        let (upload, download) = [(Some(10_000), None), (None, Some(10_000))][who];
        let how = Exchange { upload, download, ..Exchange::default() };
        world.nodes[[writer, reader][who]].live.set_exchange(how);
        world.join(writer, reader, NEAR);
        for second in 1..=19 {
            world.run(Span::from_secs(1));
            let got = world.nodes[reader].live.replicator.stats().bytes_received / 1000;
            // Asking ahead by a window is all that the reader can do.
            let slack = [2, 18 + 16][who];
            assert!(got <= 10 * second + slack, "{got} blocks after {second} s");
            assert!(got + 12 >= 10 * second, "{got} blocks after {second} s");
        }
        world.run(Span::from_secs(5));
        world.assert_same("in the end");
    }
}

/// Who was asked and says nothing holds up neither the tree nor a block that somebody waits for.
// proves replication.105
#[test]
fn a_silent_peer_is_not_waited_for() {
    let mut world = World::new(3);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 200));
    let (slow, fine) = (world.replica(), world.replica());
    world.join(writer, slow, NEAR);
    world.join(writer, fine, NEAR);
    world.run(SOON);
    let reader = world.replica();
    let now = world.now;
    world.nodes[reader].with(now, |live, cx| live.download_all(cx, false));
    let silent = world.join(slow, reader, NEAR);
    world.tamper = Some(Box::new(move |on, side, number, bytes| {
        if (on, side, number) == (silent, 0, kind::REQUEST) {
            let request: Request = decode(bytes).expect("ours");
            // To something else, so that it is answered to nobody.
            *bytes = encode(&Request { id: request.id + 9000, ..request });
        }
    }));
    world.run(SOON);
    assert_eq!(world.nodes[reader].live.core.length(), 0, "the only one there gives nothing");
    world.join(fine, reader, NEAR);
    let job = world.nodes[reader].with(now, |live, cx| live.fetch(cx, 9, None).expect("room"));
    world.run(Span::from_secs(20));
    let stats = world.nodes[reader].live.replicator.stats();
    assert_eq!((world.nodes[reader].live.core.length(), stats.silent), (200, 1));
    let told = |event: &Event| matches!(event, Event::Job { job: of, result: Ok(_) } if *of == job);
    assert!(world.nodes[reader].events.iter().any(told));
    assert_eq!(world.faults(reader), 0);
}

#[test]
fn windows_are_as_set() {
    for (least, most) in [(1, 1), (3, 7), (16, 512)] {
        let mut world = World::new(4);
        let writer = world.writer(false);
        world.append(writer, &blocks(0, 2000));
        let reader = world.replica();
        world.nodes[reader].live.set_exchange(Exchange { inflight: (least, most), ..Exchange::default() });
        world.join(writer, reader, Span::from_millis(20));
        let mut peak = 0;
        for _ in 0..300 {
            world.run(Span::from_millis(1));
            peak = world.nodes[reader].live.peers().map(|peer| peer.inflight).max().unwrap_or(0).max(peak);
        }
        assert!((1..=most).contains(&peak), "{peak} at one time, of {least} to {most}");
        world.run(Span::from_secs(100));
        world.assert_same("whatever the window");
    }
}

/// Ten peers, a third of them lie, links come and go: who is honest ends alike; pitfalls 14.5, 14.16.
#[test]
fn swarms_with_liars_end_alike() {
    for seed in 0..12 {
        let mut draw = Seeded::new(seed).fork("swarm");
        let mut world = World::new(seed);
        let writer = world.writer(false);
        world.append(writer, &blocks(0, 50 + draw.below(300)));
        (1..10).for_each(|_| {
            world.replica();
        });
        let liar = 9;
        let mut lies = Seeded::new(seed).fork("lies");
        let mut ends: Vec<[usize; 2]> = Vec::new();
        for node in 1..10 {
            let one = draw.below(node) as usize;
            world.join(one, node as usize, Span::from_millis(draw.below(40)));
            ends.push([one, node as usize]);
        }
        for _ in 0..10 {
            let (one, two) = (draw.below(10) as usize, draw.below(10) as usize);
            if one != two {
                world.join(one, two, Span::from_millis(draw.below(40)));
                ends.push([one, two]);
            }
        }
        let from = ends.clone();
        world.tamper = Some(Box::new(move |on, side, number, bytes| {
            let sender = from.get(on).map(|ends| ends[1 - side]);
            if sender == Some(liar) && number == kind::DATA && lies.chance(500) {
                let at = lies.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << lies.below(8);
            }
        }));
        for round in 0..6 {
            world.run(Span::from_millis(draw.below(300)));
            let length = world.nodes[writer].live.core.length();
            if round == 3 {
                let now = world.now;
                world.nodes[writer].with(now, |live, cx| live.truncate(cx, length / 2).expect("a writer"));
            }
            let length = world.nodes[writer].live.core.length();
            world.append(writer, &blocks(length + 7, 1 + draw.below(30)));
            if draw.chance(400) {
                let link = draw.below(ends.len() as u64) as usize;
                world.cut(link);
            }
        }
        // Whoever is cut off from the honest by now is let in again.
        (1..9).for_each(|node| {
            world.join(0, node, NEAR);
        });
        world.run(Span::from_secs(60));
        let wanted = world.blocks(0);
        for node in 1..9 {
            assert!(world.blocks(node) == wanted, "seed {seed}, node {node}");
            let core = &world.nodes[node].live.core;
            assert_eq!(core.contiguous_length(), wanted.len() as u64, "seed {seed}, node {node}");
            assert!(!core.frozen(), "seed {seed}: a lie is no conflict");
        }
    }
}
