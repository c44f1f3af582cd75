//! Higher forks: following them, and not believing them. Scenarios of hypercore test/replicate.js ("basic replication
//! from fork", "eager replication from bigger fork", "high latency reorg", "contiguous length after fork", "fork gossip
//! with oob batch") and test/merkle-tree.js ("lowest common ancestor").

use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Entropy, Seeded, Span};
use crate::hypercore::replicate::*;
use crate::wire::hypercore::{Data, Request, kind};
use crate::wire::{decode, encode};

fn truncate(world: &mut World, node: usize, length: u64) {
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.truncate(cx, length).expect("a writer"));
}

fn other(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| format!("other {n}").into_bytes()).collect()
}

fn reorgs(world: &World, node: usize) -> u64 {
    world.nodes[node].live.replicator.stats().reorgs
}

/// Each length, each place where the trees part, each new length.
// proves replication.63, replication.64, replication.65, replication.66
#[test]
fn every_fork_of_a_small_core_is_followed() {
    for before in 1..12 {
        for ancestors in 0..=before {
            for more in [0, 1, 2, 5, 13] {
                let what = format!("{before} blocks, cut to {ancestors}, {more} more");
                let mut world = World::new(before);
                let writer = world.writer(false);
                world.append(writer, &blocks(0, before));
                let replica = world.replica();
                world.join(writer, replica, NEAR);
                world.run(SOON);
                world.nodes[replica].events.clear();
                let received = world.nodes[replica].live.replicator.stats().blocks_received;
                truncate(&mut world, writer, ancestors);
                if more > 0 {
                    world.append(writer, &other(ancestors, more));
                }
                world.run(SOON);
                let core = &world.nodes[replica].live.core;
                if ancestors + more == 0 {
                    assert_eq!(core.fork(), 0, "{what}: an empty core is not followed");
                    continue;
                }
                assert_eq!(core.fork(), 1, "{what}");
                world.assert_same(&what);
                let stats = world.nodes[replica].live.replicator.stats();
                assert_eq!(stats.blocks_received - received, more, "{what}: what both have stays");
                let length = ancestors;
                assert_eq!(world.nodes[replica].events[0], Event::Truncated { length, fork: 1 }, "{what}");
                assert_eq!(world.faults(writer) + world.faults(replica), 0, "{what}");
            }
        }
    }
}

/// Writers that cut themselves again and again, replicas that hear of it through each other, at any delay.
// proves replication.67
#[test]
fn every_world_of_forks_ends_alike() {
    for seed in 0..40 {
        let mut draw = Seeded::new(seed).fork("forks");
        let mut world = World::new(seed);
        let writer = world.writer(draw.chance(300));
        world.scramble = 800 * draw.below(2);
        world.append(writer, &blocks(0, 1 + draw.below(90)));
        let nodes = 2 + draw.below(4) as usize;
        (1..nodes).for_each(|_| {
            world.replica();
        });
        for _ in 0..14 {
            let (one, two) = (draw.below(nodes as u64) as usize, draw.below(nodes as u64) as usize);
            if one != two {
                world.join(one, two, Span::from_millis(draw.below(90)));
            }
            if draw.chance(300) && !world.links.is_empty() {
                let link = draw.below(world.links.len() as u64) as usize;
                world.cut(link);
            }
            let length = world.nodes[writer].live.core.length();
            if draw.chance(300) {
                truncate(&mut world, writer, draw.below(length + 1));
            }
            if draw.chance(700) {
                let length = world.nodes[writer].live.core.length();
                let more = 1 + draw.below(20);
                world.append(writer, &other(length + 100 * draw.below(3), more));
            }
            world.run(Span::from_millis(draw.below(200)));
        }
        let length = world.nodes[writer].live.core.length();
        world.append(writer, &other(length, 1));
        (1..nodes).for_each(|node| {
            world.join(node - 1, node, NEAR);
        });
        world.run(Span::from_secs(20));
        world.assert_same(&format!("seed {seed}"));
        let fork = world.nodes[writer].live.core.fork();
        for node in 0..nodes {
            assert_eq!(world.nodes[node].live.core.fork(), fork, "seed {seed}");
            assert_eq!(world.faults(node), 0, "seed {seed}: {:?}", world.nodes[node].events);
        }
    }
}

/// One that has a part only follows with that part, and keeps what both trees have.
#[test]
fn a_sparse_replica_keeps_what_both_trees_have() {
    let mut world = World::new(3);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 300));
    let sparse = world.replica();
    let now = world.now;
    world.nodes[sparse].with(now, |live, cx| {
        live.download_all(cx, false);
        [5, 120, 250].iter().for_each(|index| assert_eq!(live.wait_for(cx, *index), Ok(false)));
    });
    world.join(writer, sparse, NEAR);
    world.run(SOON);
    truncate(&mut world, writer, 200);
    world.append(writer, &other(200, 77));
    world.run(SOON);
    assert_eq!(reorgs(&world, sparse), 1);
    let core = &world.nodes[sparse].live.core;
    let got: Vec<u64> = (0..300).filter(|index| core.has(*index)).collect();
    assert_eq!((core.length(), core.fork(), &got[..]), (277, 1, &[5, 120][..]));
    let replica = world.replica();
    world.join(sparse, replica, NEAR);
    world.run(SOON);
    assert_eq!(world.nodes[replica].live.core.fork(), 1, "and proves it to others");
    let now = world.now;
    world.nodes[sparse].with(now, |live, cx| live.download_all(cx, true));
    world.run(SOON);
    world.assert_same("all of it");
}

#[test]
fn who_allows_no_forks_stays() {
    let mut world = World::new(4);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 30));
    let replica = world.replica();
    world.nodes[replica].live.set_allow_fork(false);
    world.join(writer, replica, NEAR);
    world.run(SOON);
    truncate(&mut world, writer, 20);
    world.append(writer, &other(20, 30));
    world.run(SOON);
    let core = &world.nodes[replica].live.core;
    assert_eq!((core.fork(), core.length(), core.contiguous_length()), (0, 30, 30));
    assert_eq!(world.faults(replica), 0);
}

/// Whoever makes a fork up, or a hash of it, changes nothing; another peer is followed.
// proves replication.68
#[test]
fn a_fork_that_nobody_signed_is_not_followed() {
    for what in 0..4 {
        let mut world = World::new(5);
        let writer = world.writer(false);
        world.append(writer, &blocks(0, 30));
        let replica = world.replica();
        let honest = world.replica();
        world.join(writer, honest, NEAR);
        let link = world.join(writer, replica, NEAR);
        world.run(SOON);
        world.tamper = Some(Box::new(move |on, side, number, bytes| {
            if (on, side, number) != (link, 1, kind::DATA) {
                return;
            }
            let mut data: Data = decode(bytes).expect("ours");
            match (&mut data.upgrade, &mut data.hash, what) {
                (Some(upgrade), _, 0) => upgrade.signature.as_mut().expect("signed")[5] ^= 1,
                (Some(upgrade), _, 1) => upgrade.nodes[0].hash[0] ^= 1,
                (Some(upgrade), _, 2) => upgrade.start = 1,
                (_, Some(hash), 3) => hash.nodes[0].hash[0] ^= 1,
                _ => {}
            }
            *bytes = encode(&data);
        }));
        truncate(&mut world, writer, 20);
        world.append(writer, &other(20, 7));
        world.run(SOON);
        let core = &world.nodes[replica].live.core;
        assert_eq!((core.fork(), core.length(), core.contiguous_length()), (0, 30, 30), "lie {what}");
        assert_eq!(world.faults(replica), 1, "lie {what}");
        world.join(honest, replica, NEAR);
        world.run(SOON);
        assert_eq!(reorgs(&world, replica), 1, "lie {what}");
        world.assert_same("after an honest one");
    }
}

/// A peer that says that it is on a higher fork and never proves it holds up nobody.
#[test]
fn who_only_claims_a_fork_is_passed_over() {
    let mut world = World::new(6);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, 30));
    let replica = world.replica();
    let liar = world.writer(false);
    world.append(liar, &blocks(0, 3));
    (0..9).for_each(|_| truncate(&mut world, liar, 2));
    let silent = world.join(liar, replica, NEAR);
    world.tamper = Some(Box::new(move |on, side, number, bytes| {
        if (on, side, number) == (silent, 0, kind::REQUEST) {
            let request: Request = decode(bytes).expect("ours");
            *bytes = encode(&Request { fork: 1 << 40, ..request });
        }
    }));
    world.join(writer, replica, NEAR);
    world.run(SOON);
    assert_eq!(world.nodes[replica].live.core.contiguous_length(), 30);
    truncate(&mut world, writer, 20);
    world.append(writer, &other(20, 3));
    world.run(SOON);
    let core = &world.nodes[replica].live.core;
    assert_eq!((core.fork(), core.contiguous_length()), (1, 23));
}
