//! Two trees of one fork, after hypercore test/conflicts.js: "one forks".

use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Entropy, Error, Seeded, Span};
use crate::hypercore::{Hypercore, Open, replicate::*};
use crate::wire::hypercore::{Data, Grow, NoData, Request, kind};
use crate::wire::{decode, encode};

fn conflicts(world: &World, node: usize) -> Vec<u64> {
    let length = |event: &Event| match event {
        Event::Conflict { length, fork: 0 } => Some(*length),
        _ => None,
    };
    world.nodes[node].events.iter().filter_map(length).collect()
}

/// Two writers with one key that part after `shared` blocks, a replica of the first that meets the second.
fn parted(shared: u64, first: u64, second: u64) -> World {
    let mut world = World::new(shared);
    let writer = world.writer(false);
    world.append(writer, &blocks(0, shared + first));
    let replica = world.replica();
    let twin = world.writer(false);
    world.append(twin, &blocks(0, shared));
    world.append(twin, &blocks(500, second));
    world.join(writer, replica, NEAR);
    world.run(SOON);
    world
}

// proves replication.94, replication.95, replication.96, replication.97
#[test]
fn two_trees_of_one_fork_freeze_the_core() {
    for (shared, first, second) in [(4, 1, 2), (0, 3, 9), (17, 5, 6), (8, 1, 90)] {
        let what = format!("{shared} shared, {first} and {second} more");
        let mut world = parted(shared, first, second);
        world.join(2, 1, NEAR);
        world.run(SOON);
        let length = shared + first;
        assert_eq!(conflicts(&world, 1), [length], "{what}");
        assert_eq!(conflicts(&world, 0), [length], "{what}: the writer is shown it");
        assert_eq!(conflicts(&world, 2), [length], "{what}: and its twin");
        for node in 0..3 {
            assert!(world.nodes[node].live.core.frozen(), "{what}");
            assert_eq!(world.nodes[node].live.peers().count(), 0, "{what}");
            assert_eq!(world.blocks(node).len() as u64, if node == 2 { shared + second } else { length });
        }
        let now = world.now;
        let refused = world.nodes[0].with(now, |live, cx| live.append(cx, &[b"more"]));
        assert!(matches!(refused, Err(Error::Refused(_))), "{what}");
        // It stays so, and nobody is let in.
        let again = world.nodes[1].with(now, |live, cx| {
            live.core.close(cx).expect("a disk");
            let core = Hypercore::open(cx, "core", Open::default()).expect("it opens");
            (core.frozen(), core.length())
        });
        assert_eq!(again, (true, length), "{what}");
        world.join(2, 0, NEAR);
        world.run(SOON);
        assert_eq!(world.nodes[0].live.peers().count(), 0, "{what}");
        assert_eq!(conflicts(&world, 0).len(), 1, "{what}");
    }
}

/// pitfalls 14.7: honest peers of any lengths, that ask for proofs of any length and get them unasked for.
#[test]
fn honest_peers_never_conflict() {
    for seed in 0..30 {
        let mut draw = Seeded::new(seed).fork("honest");
        let mut world = World::new(seed);
        let writer = world.writer(draw.chance(300));
        world.append(writer, &blocks(0, 1 + draw.below(60)));
        let nodes = 4;
        (1..nodes).for_each(|_| {
            world.replica();
        });
        let mut proofs: Vec<Vec<u8>> = Vec::new();
        let mut total = world.nodes[writer].live.core.length();
        for _ in 0..12 {
            let (one, two) = (draw.below(nodes as u64) as usize, draw.below(nodes as u64) as usize);
            let link = if one == two { 0 } else { world.join(one, two, Span::from_millis(draw.below(60))) };
            world.run(Span::from_millis(draw.below(150)));
            let more = draw.below(9);
            world.append(writer, &blocks(total, more));
            total += more;
            // Every one asks another for the first blocks, as one that suspects it would.
            let now = world.now;
            for node in 0..nodes {
                let length = world.nodes[node].live.core.length();
                let start = 0;
                for length in [length, 1 + draw.below(length + 1)] {
                    let upgrade = Some(Grow { start, length });
                    let fork = world.nodes[node].live.core.fork();
                    let bytes = encode(&Request { fork, upgrade, ..Request::default() });
                    let peer = PeerId(link as u64);
                    let input = Input::Message { peer, kind: kind::REQUEST, bytes: &bytes };
                    world.nodes[node].with(now, |live, cx| {
                        crate::base::Machine::handle_input(live, cx, input);
                        while let Some(output) = crate::base::Machine::poll_output(live, cx) {
                            if let Output::Message { kind: kind::DATA, bytes, .. } = output {
                                let data: Data = decode(&bytes).expect("ours");
                                proofs.extend((data.request == 0).then_some(bytes));
                            }
                        }
                    });
                }
                for bytes in &proofs {
                    let peers: Vec<PeerId> = world.nodes[node].live.peers().map(|peer| peer.peer).collect();
                    for peer in peers {
                        let input = Input::Message { peer, kind: kind::DATA, bytes };
                        world.nodes[node]
                            .with(now, |live, cx| crate::base::Machine::handle_input(live, cx, input));
                    }
                }
            }
        }
        assert!(proofs.len() > 10, "seed {seed}");
        for node in 0..nodes {
            assert_eq!(conflicts(&world, node), [0; 0], "seed {seed}");
            assert!(!world.nodes[node].live.core.frozen(), "seed {seed}");
        }
    }
}

/// Whoever only lies about a block freezes nothing: no signature stands for it.
#[test]
fn a_lie_without_a_signature_freezes_nothing() {
    let mut world = parted(5, 3, 0);
    let liar = world.replica();
    world.join(0, liar, NEAR);
    world.run(SOON);
    let replica = world.replica();
    let link = world.join(liar, replica, NEAR);
    let mut proofs = 0;
    world.tamper = Some(Box::new(move |on, side, number, bytes| {
        if (on, side, number) != (link, 1, kind::DATA) {
            return;
        }
        let mut data: Data = decode(bytes).expect("ours");
        if let Some(block) = &mut data.block {
            block.value.push(b'!');
        } else if data.request == 0 {
            proofs += 1;
            data.upgrade.as_mut().expect("a proof").nodes[0].hash[3] ^= 1;
        }
        *bytes = if proofs > 9 { encode(&NoData::default()) } else { encode(&data) };
    }));
    world.run(SOON);
    assert!(!world.nodes[replica].live.core.frozen());
    assert_eq!(world.faults(replica), 1);
    world.join(0, replica, NEAR);
    world.run(SOON);
    assert_eq!(world.nodes[replica].live.core.contiguous_length(), 8);
}
