//! Cores with several signers, prologues and keys, between peers. Scenarios of hypercore test/manifest.js and
//! test/encryption.js, named at each test.

use super::jobs::{download, fetch, outcome, seek};
use super::world::World;
use super::{NEAR, SOON, blocks};
use crate::base::{Entropy, Seeded};
use crate::crypto::sign::KeyPair;
use crate::hypercore::jobs::{Done, Download};
use crate::hypercore::multisig::{Part, assemble, signable_length};
use crate::hypercore::{Encryption, Open};
use crate::wire::manifest::{DEFAULT_NAMESPACE, Manifest, Prologue, Signer};

/// Somebody who signs a core of several, with a log of its own: a node of the world that nobody is joined to.
struct Party {
    pair: KeyPair,
    node: usize,
}

fn parties(world: &mut World, count: u8) -> Vec<Party> {
    let party = |number: u8| {
        let pair = KeyPair::from_seed([number + 60; 32]);
        Party { node: world.node(Open { key_pair: Some(pair.clone()), ..Open::default() }), pair }
    };
    (0..count).map(party).collect()
}

/// More than half of them sign, and may be ahead.
fn manifest(parties: &[Party], prologue: Option<Prologue>) -> Manifest {
    let signers =
        parties.iter().map(|party| Signer { namespace: DEFAULT_NAMESPACE, public: party.pair.public });
    let (quorum, signers) = (parties.len() as u64 / 2 + 1, signers.collect());
    Manifest { version: 1, allow_patch: true, quorum, signers, prologue, ..Manifest::default() }
}

fn shared(world: &mut World, manifest: &Manifest) -> usize {
    let node = world.node(Open { manifest: Some(manifest.clone()), ..Open::default() });
    let now = world.now;
    world.nodes[node].with(now, |live, cx| live.download_all(cx, true));
    node
}

fn length(world: &World, node: usize) -> u64 {
    world.nodes[node].live.core.length()
}

/// What two parties sign of the core at `node` up to where both are.
fn signed(world: &mut World, node: usize, two: [&Party; 2]) -> (u64, Vec<u8>) {
    let auth = world.nodes[node].live.core.auth().expect("known").clone();
    let both = signable_length(&two.map(|party| length(world, party.node)), 2);
    let now = world.now;
    let parts: Vec<Part> = two
        .iter()
        .map(|party| {
            let sign = |live: &mut crate::hypercore::live::Live, cx: &mut crate::base::Cx<'_>| {
                live.core.sign_part(cx, &auth, &party.pair, both).expect("signs")
            };
            world.nodes[party.node].with(now, sign)
        })
        .collect();
    (both, assemble(&auth, &parts))
}

/// Puts the blocks up to where both parties are into the core at `node`.
fn put(world: &mut World, node: usize, all: &[Vec<u8>], two: [&Party; 2]) {
    let (both, signature) = signed(world, node, two);
    let more = &all[length(world, node) as usize..both as usize];
    let now = world.now;
    world.nodes[node].with(now, |live, cx| {
        live.core.append_signed(cx, more, &signature).expect("both signed it");
        live.update(cx);
    });
}

/// "multisig - append", "multisig - multiple appends", "multisig - normal operating mode": two copies of a core of
/// three signers, and either is given, in turn, what two of the three have signed by then.
// proves hypercore.59
#[test]
fn either_copy_takes_what_two_of_three_signed() {
    for seed in 0..3 {
        let mut draw = Seeded::new(seed).fork("signers");
        let mut world = World::new(seed);
        let parties = parties(&mut world, 3);
        let manifest = manifest(&parties, None);
        let copies = [0; 2].map(|_| shared(&mut world, &manifest));
        world.join(copies[0], copies[1], NEAR);
        let all = blocks(0, 100);
        let mut rounds = 0;
        while copies.iter().any(|copy| length(&world, *copy) < 100) {
            for party in &parties {
                let from = length(&world, party.node);
                let more = &all[from as usize..(from + 1 + draw.below(4)).min(100) as usize];
                world.append(party.node, more);
            }
            let (copy, two) = match draw.chance(500) {
                true => (copies[0], [&parties[0], &parties[1]]),
                false => (copies[1], [&parties[1], &parties[2]]),
            };
            let (both, _) = signed(&mut world, copy, two);
            if both > length(&world, copy) {
                put(&mut world, copy, &all, two);
            }
            world.run(SOON);
            assert_eq!(length(&world, copies[0]), length(&world, copies[1]), "seed {seed}");
            rounds += 1;
            assert!(rounds < 500);
        }
        for copy in copies {
            assert!(world.blocks(copy) == all.iter().cloned().map(Some).collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(world.faults(copy), 0);
            assert!(!world.nodes[copy].live.core.frozen());
        }
    }
}

/// "multisig - overlapping appends": two copies were given other lengths, signed by others.
#[test]
fn the_shorter_of_two_signed_copies_follows() {
    let mut world = World::new(1);
    let parties = parties(&mut world, 3);
    let all = blocks(0, 6);
    for (party, length) in parties.iter().zip([6, 2, 3]) {
        world.append(party.node, &all[..length]);
    }
    let manifest = manifest(&parties, None);
    let [short, long] = [0; 2].map(|_| shared(&mut world, &manifest));
    put(&mut world, short, &all, [&parties[0], &parties[1]]);
    put(&mut world, long, &all, [&parties[0], &parties[2]]);
    assert_eq!([short, long].map(|node| length(&world, node)), [2, 3]);
    world.join(short, long, NEAR);
    world.run(SOON);
    assert_eq!([short, long].map(|node| length(&world, node)), [3, 3]);
    assert!(world.blocks(short) == world.blocks(long));
}

/// "multisig - large patches": a signer is ten thousand blocks ahead.
// proves hypercore.59
#[test]
fn a_signer_far_ahead_counts_at_a_replica() {
    let mut world = World::new(1);
    let parties = parties(&mut world, 3);
    let all = blocks(0, 10_000);
    world.append(parties[0].node, &all);
    world.append(parties[1].node, &all[..1]);
    let manifest = manifest(&parties, None);
    let [core, copy] = [0; 2].map(|_| shared(&mut world, &manifest));
    world.join(core, copy, NEAR);
    for more in [1..1, 1..1000] {
        world.append(parties[1].node, &all[more]);
        put(&mut world, core, &all, [&parties[0], &parties[1]]);
        world.run(SOON);
        assert_eq!(length(&world, copy), length(&world, parties[1].node));
    }
    assert!(world.blocks(core) == world.blocks(copy));
    assert_eq!(world.faults(copy), 0);
}

/// "multisig - prologue replicate", "multisig - prologue verify hash", "multisig - prologue morphs request": with the
/// blocks of the prologue, and with more behind it.
// proves hypercore.23, replication.27
#[test]
fn a_prologue_goes_to_peers_with_what_follows_it() {
    for (prologue, more) in [(2, 0), (4, 1), (4, 9), (7, 2)] {
        let mut world = World::new(1);
        let parties = parties(&mut world, 2);
        let all = blocks(0, prologue + more);
        parties.iter().for_each(|party| world.append(party.node, &all[..prologue as usize]));
        let hash = world.nodes[parties[0].node].live.core.tree_hash();
        let manifest = manifest(&parties, Some(Prologue { hash, length: prologue }));
        let [core, copy, third] = [0; 3].map(|_| shared(&mut world, &manifest));
        let now = world.now;
        world.nodes[core].with(now, |live, cx| {
            live.core.append_signed(cx, &all[..prologue as usize], &[]).expect("the prologue");
        });
        if more > 0 {
            parties.iter().for_each(|party| world.append(party.node, &all[prologue as usize..]));
            put(&mut world, core, &all, [&parties[0], &parties[1]]);
        }
        world.join(core, copy, NEAR);
        world.run(SOON);
        world.join(copy, third, NEAR);
        world.run(SOON);
        for node in [copy, third] {
            assert!(world.blocks(node) == world.blocks(core), "{prologue} and {more}, node {node}");
            assert_eq!(length(&world, node), prologue + more);
            assert_eq!(world.faults(node), 0);
        }
    }
}

/// "encrypted replication", "encrypted seek via replication", "multiple gets to replicated, encrypted block": with the
/// key and without it.
// proves hypercore.92
#[test]
fn an_encrypted_core_goes_to_who_has_the_key_and_who_has_not() {
    let key = Encryption::new([b'k'; 32]);
    let mut world = World::new(1);
    let writer = world.node(Open {
        key_pair: Some(KeyPair::from_seed([7; 32])),
        encryption: Some(key.clone()),
        ..Open::default()
    });
    world.append(writer, &[b"hello".to_vec(), b"world".to_vec(), b"!".to_vec()]);
    let public = Some(*world.nodes[writer].live.core.key());
    let blind = world.node(Open { key: public, ..Open::default() });
    let reader = world.node(Open { key: public, encryption: Some(key), ..Open::default() });
    world.join(writer, blind, NEAR);
    world.join(blind, reader, NEAR);
    download(&mut world, blind, Download { end: Some(3), ..Download::default() });
    world.run(SOON);
    let twice = [0; 2].map(|_| fetch(&mut world, reader, 0, None));
    world.run(SOON);
    assert!(twice.iter().all(|job| outcome(&world, reader, *job) == Some(Ok(Done::Block { index: 0 }))));
    let now = world.now;
    let get = |world: &mut World, node: usize, index| {
        world.nodes[node].with(now, |live, cx| live.core.get(cx, index)).expect("reads").expect("is here")
    };
    let raw = |world: &mut World, node: usize, index| {
        world.nodes[node].with(now, |live, cx| live.core.get_raw(cx, index)).expect("reads").expect("is here")
    };
    assert_eq!(get(&mut world, reader, 0), b"hello");
    assert_eq!(get(&mut world, blind, 0), raw(&mut world, writer, 0), "passed on as it is stored");
    assert_eq!(world.nodes[reader].live.core.padding(), 8);
    for (bytes, index, offset) in [(0, 0, 0), (4, 0, 4), (5, 1, 0), (6, 1, 1), (9, 1, 4), (10, 2, 0)] {
        let now = world.now;
        let job = world.nodes[reader].with(now, |live, cx| live.seek(cx, bytes, None)).expect("room");
        world.run(SOON);
        assert_eq!(outcome(&world, reader, job), Some(Ok(Done::Sought { index, offset })), "byte {bytes}");
    }
    let stored = seek(&mut world, blind, 13);
    world.run(SOON);
    assert_eq!(outcome(&world, blind, stored), Some(Ok(Done::Sought { index: 1, offset: 0 })));
    // What is written later, and after a cut.
    let now = world.now;
    world.nodes[writer].with(now, |live, cx| live.truncate(cx, 2).expect("a writer"));
    world.append(writer, &[b"again".to_vec()]);
    world.run(SOON);
    let job = download(&mut world, reader, Download { end: Some(3), ..Download::default() });
    download(&mut world, blind, Download { end: Some(3), ..Download::default() });
    world.run(SOON);
    assert_eq!(outcome(&world, reader, job), Some(Ok(Done::Range)));
    assert_eq!(get(&mut world, reader, 2), b"again");
    assert_eq!(world.nodes[reader].live.core.fork(), 1);
}
