mod conflict;
mod counts;
mod fork;
mod gossip;
mod jobs;
mod manners;
mod ranges;
mod rules;
mod signers;
mod world;

use super::*;
use crate::base::{Entropy, Error, Seeded, Span, limits};
use crate::sim::ramdisk::RamDisk;
use world::World;

fn blocks(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| format!("block {n} {}", "x".repeat((n % 9) as usize)).into_bytes()).collect()
}

const SOON: Span = Span::from_secs(4);
const NEAR: Span = Span::from_millis(5);

#[test]
fn a_replica_gets_everything() {
    for compat in [false, true] {
        for count in [0, 1, 2, 5, 11, 300, 1000] {
            let mut world = World::new(count);
            let writer = world.writer(compat);
            world.append(writer, &blocks(0, count));
            let replica = world.replica();
            world.join(writer, replica, NEAR);
            world.run(SOON);
            world.assert_same(&format!("{count} blocks"));
            let known = world.nodes[replica].live.core.manifest().is_some();
            assert_eq!(known, count > 0 || !compat, "the manifest comes without blocks too");
            assert_eq!(world.faults(0) + world.faults(1), 0);
        }
    }
}

#[test]
fn appends_reach_everybody() {
    let mut world = World::new(1);
    let writer = world.writer(false);
    let replica = world.replica();
    let third = world.replica();
    world.join(writer, replica, NEAR);
    world.join(replica, third, NEAR);
    let mut total = 0;
    for count in [1, 1, 3, 1, 40, 1] {
        world.append(writer, &blocks(total, count));
        total += count;
        world.run(SOON);
        world.assert_same("after an append");
    }
    assert!(world.nodes[third].events.contains(&Event::Appended { length: total }));
}

/// hypercore test/replicate.js: peer-add, append, truncate and download are told, each once and in this order.
#[test]
fn peers_appends_and_cuts_are_told() {
    let mut world = World::new(8);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 2));
    let replica = world.replica();
    let link = world.join(writer, replica, NEAR);
    let peer = PeerId(link as u64);
    world.run(SOON);
    let now = world.now;
    world.nodes[writer].with(now, |live, cx| live.truncate(cx, 1).expect("a writer"));
    world.run(SOON);
    world.append(writer, &blocks(5, 2));
    world.run(SOON);
    world.cut(link);
    world.run(SOON);
    let told = |node: usize| -> Vec<&Event> {
        let plain = |event: &&Event| !matches!(event, Event::Downloaded { .. } | Event::Uploaded { .. });
        world.nodes[node].events.iter().filter(plain).collect()
    };
    let heard = [
        &Event::PeerAdded { peer },
        &Event::Appended { length: 2 },
        &Event::Truncated { length: 1, fork: 1 },
        &Event::Appended { length: 3 },
        &Event::PeerRemoved { peer },
    ];
    assert_eq!(told(replica), heard);
    let (first, rest) = (told(writer)[0].clone(), &told(writer)[1..]);
    assert_eq!(first, Event::Appended { length: 2 });
    assert_eq!(rest, [&[heard[0]], &heard[2..]].concat());
    let downloaded = |event: &&Event| matches!(event, Event::Downloaded { .. });
    assert_eq!(world.nodes[replica].events.iter().filter(downloaded).count(), 4);
}

/// The connection ends after any number of messages, and another begins: what came is kept and not sent again.
#[test]
fn a_download_goes_on_after_any_disconnect() {
    let count = 60;
    for steps in 0..140 {
        let mut world = World::new(steps);
        let writer = world.writer(steps % 2 == 0);
        world.append(writer, &blocks(0, count));
        let replica = world.replica();
        for _ in 0..3 {
            let link = world.join(writer, replica, NEAR);
            for _ in 0..steps {
                let until = world.now + SOON;
                world.step(until);
            }
            world.cut(link);
        }
        let had: Vec<u64> = (0..count).filter(|n| world.nodes[replica].live.core.has(*n)).collect();
        let before = world.nodes[writer].live.replicator.stats().blocks_sent;
        world.join(writer, replica, NEAR);
        world.run(SOON);
        world.assert_same(&format!("cut after {steps} steps"));
        let sent = world.nodes[writer].live.replicator.stats().blocks_sent - before;
        assert_eq!(sent, count - had.len() as u64, "cut after {steps} steps");
        assert_eq!(world.faults(writer) + world.faults(replica), 0);
    }
}

/// Readers that know each other take from the writer little more than it has: the rest comes from each other.
// proves replication.109
#[test]
fn readers_take_blocks_from_each_other() {
    let mut world = World::new(11);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 3000));
    let readers: Vec<usize> = (0..4).map(|_| world.replica()).collect();
    for (n, &one) in readers.iter().enumerate() {
        world.join(writer, one, NEAR);
        for &other in &readers[..n] {
            world.join(one, other, NEAR);
        }
    }
    world.run(SOON);
    world.assert_same("all");
    let sent: Vec<u64> = world.nodes.iter().map(|node| node.live.replicator.stats().blocks_sent).collect();
    assert!(sent[0] < 8000, "of 12000: {sent:?}");
    assert!(sent.iter().sum::<u64>() < 14_000, "hardly a block comes twice: {sent:?}");
}

/// 2 to 6 peers, any links, cut and joined at any time, answers that overtake each other: in the end everybody has the
/// same verified blocks.
// proves replication.93
#[test]
fn every_world_ends_alike() {
    for seed in 0..50 {
        let mut draw = Seeded::new(seed).fork("world");
        let mut world = World::new(seed);
        let writer = world.writer(draw.chance(300));
        let count = draw.below(120);
        world.scramble = 800 * draw.below(2);
        world.append(writer, &blocks(0, count));
        for _ in 0..1 + draw.below(5) {
            world.replica();
        }
        let nodes = world.nodes.len();
        let mut total = count;
        for _ in 0..12 {
            let (one, other) = (draw.below(nodes as u64) as usize, draw.below(nodes as u64) as usize);
            if one != other {
                world.join(one, other, Span::from_millis(draw.below(90)));
            }
            if draw.chance(400) && !world.links.is_empty() {
                let link = draw.below(world.links.len() as u64) as usize;
                world.cut(link);
            }
            if draw.chance(500) {
                let more = 1 + draw.below(20);
                world.append(writer, &blocks(total, more));
                total += more;
            }
            world.run(Span::from_millis(draw.below(200)));
        }
        for node in 1..nodes {
            world.join(node - 1, node, NEAR);
        }
        world.run(Span::from_secs(20));
        world.assert_same(&format!("seed {seed}"));
        for node in 0..nodes {
            assert_eq!(world.faults(node), 0, "seed {seed}: {:?}", world.nodes[node].events);
        }
    }
}

/// pitfalls 14.16: what arrives from one is taken back from the others; nobody is asked for what it lacks.
// proves replication.84
#[test]
fn three_peers_send_each_block_about_once() {
    let mut world = World::new(3);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 2000));
    let seeds = [world.replica(), world.replica()];
    world.join(writer, seeds[0], NEAR);
    world.join(writer, seeds[1], NEAR);
    world.run(SOON);
    let before: Vec<u64> = world.nodes.iter().map(|node| node.live.replicator.stats().blocks_sent).collect();
    let replica = world.replica();
    for from in [writer, seeds[0], seeds[1]] {
        world.join(from, replica, NEAR);
    }
    world.run(SOON);
    world.assert_same("all");
    let sent: Vec<u64> = world.nodes.iter().map(|node| node.live.replicator.stats().blocks_sent).collect();
    let each: Vec<u64> = sent.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert!(each[..3].iter().all(|sent| *sent > 200), "{each:?}");
    assert!(each.iter().sum::<u64>() < 3000, "{each:?}");
    let stats = world.nodes[replica].live.replicator.stats();
    assert_eq!(stats.no_data, 0, "nobody is asked for what it lacks");
    assert_eq!(stats.blocks_received, 2000);
}

/// pitfalls 14.10: waiting for a block ends when it comes or when one stops waiting.
#[test]
fn only_what_is_waited_for_is_fetched() {
    let mut world = World::new(4);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 500));
    let replica = world.replica();
    let now = world.now;
    world.nodes[replica].with(now, |live, cx| {
        live.download_all(cx, false);
        assert_eq!(live.wait_for(cx, 321), Ok(false));
        assert_eq!(live.wait_for(cx, 9000), Ok(false));
    });
    world.join(writer, replica, NEAR);
    world.run(SOON);
    let got: Vec<u64> = (0..500).filter(|index| world.nodes[replica].live.core.has(*index)).collect();
    assert_eq!(got, [321]);
    assert!(world.nodes[replica].events.contains(&Event::Downloaded { index: 321 }));
    let now = world.now;
    world.nodes[replica].with(now, |live, cx| {
        assert_eq!(live.wait_for(cx, 321), Ok(true));
        live.stop_waiting(9000);
        for index in 0..limits::WAITED_MAX as u64 {
            live.wait_for(cx, 10_000 + index).expect("room");
        }
        assert_eq!(live.wait_for(cx, 5), Err(Error::Full));
    });
}

#[test]
fn a_sparse_peer_is_asked_for_what_it_has() {
    let mut world = World::new(5);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 400));
    let sparse = world.replica();
    let now = world.now;
    let some = [3, 7, 100, 399];
    world.nodes[sparse].with(now, |live, cx| {
        live.download_all(cx, false);
        some.iter().for_each(|index| assert_eq!(live.wait_for(cx, *index), Ok(false)));
    });
    let link = world.join(writer, sparse, NEAR);
    world.run(SOON);
    world.cut(link);
    let replica = world.replica();
    world.join(sparse, replica, NEAR);
    world.run(SOON);
    let got: Vec<u64> = (0..400).filter(|index| world.nodes[replica].live.core.has(*index)).collect();
    assert_eq!(got, some);
    assert_eq!(world.nodes[replica].live.replicator.stats().no_data, 0);
    world.join(writer, sparse, NEAR);
    let now = world.now;
    world.nodes[sparse].with(now, |live, cx| live.download_all(cx, true));
    world.run(SOON);
    world.assert_same("through a peer that fills up");
}

/// pitfalls 14.9: 50 peers, and only the last has something.
#[test]
fn the_last_of_fifty_peers_is_heard() {
    let mut world = World::new(6);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 20));
    let replica = world.replica();
    for _ in 0..49 {
        let empty = world.replica();
        let now = world.now;
        world.nodes[empty].with(now, |live, cx| live.download_all(cx, false));
        world.join(empty, replica, NEAR);
    }
    world.run(SOON);
    assert_eq!(world.nodes[replica].live.core.length(), 0);
    world.join(writer, replica, NEAR);
    world.run(SOON);
    assert_eq!(world.nodes[replica].live.core.contiguous_length(), 20);
    assert!(world.nodes.iter().all(|node| node.live.core.length() == 20), "all follow the length");
}

/// Prints blocks and bytes per second between two cores that are joined directly. Run in release.
#[test]
#[ignore = "a measurement: cargo test --release --lib throughput -- --ignored --nocapture"]
fn throughput() {
    for (count, size, rounds) in [(200_000_u64, 100_usize, 1), (4000, 1 << 16, 1), (1, 100, 5000)] {
        let mut world = World::new(9);
        let writer = world.writer(false);
        let replica = world.replica();
        world.join(writer, replica, Span::ZERO);
        let mut begin = std::time::Instant::now();
        for _ in 0..rounds {
            for _ in 0..count.div_ceil(1000) {
                world.append(writer, &vec![vec![7; size]; count.min(1000) as usize]);
            }
            if rounds == 1 {
                begin = std::time::Instant::now();
            }
            world.run(Span::ZERO);
        }
        let length = world.nodes[writer].live.core.length();
        assert_eq!(world.nodes[replica].live.core.contiguous_length(), length);
        let took = begin.elapsed().as_secs_f64();
        let blocks = length as f64 / took;
        eprintln!("{size} bytes × {length}: {blocks:.0} blocks/s, {:.0} MB/s", blocks * size as f64 / 1e6);
        eprintln!("  sent by kind {:?}", world.sent);
    }
}
