//! What `test/merkle-tree.js`, `test/fully-remote-proof.js`, `test/conflicts.js`, `test/core.js` and `test/basic.js` of
//! hypercore 11 ask of proofs that are made and taken by hand, and of cuts.

use super::*;
use crate::hypercore::proof::Fault;
use crate::wire::hypercore::{Grow, Request, Seek, Wanted};
use crate::wire::oplog::Reorg;

fn written(count: u8) -> (Bench, Hypercore) {
    let mut bench = Bench::new();
    let mut core = bench.create();
    for n in 0..count {
        bench.append(&mut core, &[&[n; 3]]);
    }
    (bench, core)
}

fn replica(core: &Hypercore) -> (Bench, Hypercore) {
    let mut bench = Bench::new();
    let core = bench.open(Open { key: Some(*core.key()), ..Open::default() }).expect("a new core");
    (bench, core)
}

fn all_of(length: u64) -> Request {
    Request { upgrade: Some(Grow { start: 0, length }), manifest: true, ..Request::default() }
}

/// "proof only block", "proof with upgrade", "proof with upgrade + additional".
// proves hypercore.98
#[test]
fn proofs_made_by_hand_have_the_nodes_of_upstreams() {
    let (mut bench, mut core) = written(10);
    let indexes = |nodes: &[Node]| nodes.iter().map(|node| node.index).collect::<Vec<_>>();
    let block = Some(Wanted { index: 4, nodes: 2 });
    let request = Request { block, ..Request::default() };
    let data = bench.with(|cx| core.proof(cx, &request)).expect("a proof");
    let block = data.block.expect("asked for");
    assert_eq!((block.index, block.value, indexes(&block.nodes)), (4, vec![4; 3], vec![10, 13]));
    assert!(data.upgrade.is_none() && data.manifest.is_none());
    let block = Some(Wanted { index: 4, nodes: 0 });
    let request = Request { block, upgrade: Some(Grow { start: 0, length: 10 }), ..Request::default() };
    let data = bench.with(|cx| core.proof(cx, &request)).expect("a proof");
    assert_eq!(indexes(&data.block.expect("asked for").nodes), [10, 13, 3]);
    let upgrade = data.upgrade.expect("asked for");
    assert_eq!((indexes(&upgrade.nodes), indexes(&upgrade.additional)), (vec![17], vec![]));
    let request = Request { upgrade: Some(Grow { start: 0, length: 8 }), ..request };
    let upgrade = bench.with(|cx| core.proof(cx, &request)).expect("a proof").upgrade.expect("asked for");
    assert_eq!((indexes(&upgrade.nodes), indexes(&upgrade.additional)), (vec![], vec![17]));
    let request = Request { upgrade: Some(Grow { start: 0, length: 11 }), ..request };
    let beyond = bench.with(|cx| core.proof(cx, &request));
    assert!(matches!(beyond, Err(Error::Invalid(_))));
    bench.with(|cx| core.clear(cx, 4, 5)).expect("clears");
    let request = Request { block, ..Request::default() };
    assert_eq!(bench.with(|cx| core.proof(cx, &request)), Err(Error::Missing));
}

/// "proof with upgrade from existing state", "... + additional", "proof block and seek, no upgrade" and its like,
/// "proof seek with padding", "proof block and seek that results in tree", "... with upgrade",
/// "proof seek with upgrade".
// proves replication.20, replication.23, replication.24, replication.26
#[test]
fn proofs_with_seeks_and_upgrades_have_the_nodes_of_upstreams() {
    /// Blocks; block and levels, bytes and padding, start and length; nodes of block, seek, upgrade and additional.
    type Case = (
        u8,
        Option<(u64, u64)>,
        Option<(u64, u64)>,
        Option<(u64, u64)>,
        &'static [u64],
        Option<&'static [u64]>,
        Option<(&'static [u64], &'static [u64])>,
    );
    let cases: [Case; 10] = [
        (10, Some((1, 0)), None, Some((1, 9)), &[], None, Some((&[5, 11, 17], &[]))),
        (10, Some((1, 0)), None, Some((1, 5)), &[], None, Some((&[5, 9], &[13, 17]))),
        // What the block's own path says needs no seek.
        (10, Some((4, 2)), Some((8, 0)), None, &[10, 13], None, None),
        (10, Some((4, 2)), Some((10, 0)), None, &[10, 13], None, None),
        (10, Some((4, 2)), Some((13, 0)), None, &[10], Some(&[12, 14]), None),
        (16, Some((0, 4)), Some((7, 1)), None, &[2, 5, 23], Some(&[12, 14, 9]), None),
        (16, Some((0, 4)), Some((26, 0)), None, &[2, 5, 11], Some(&[19, 27]), None),
        (10, Some((4, 2)), Some((13, 0)), Some((8, 2)), &[10], Some(&[12, 14]), Some((&[17], &[]))),
        (10, None, Some((13, 0)), Some((0, 10)), &[], Some(&[12, 14, 9, 3]), Some((&[17], &[]))),
        (10, None, None, Some((0, 10)), &[], None, Some((&[7, 17], &[]))),
    ];
    let indexes = |nodes: &[Node]| nodes.iter().map(|node| node.index).collect::<Vec<_>>();
    for (number, (count, block, seek, upgrade, path, sought, grown)) in cases.into_iter().enumerate() {
        let mut bench = Bench::new();
        let mut core = bench.create();
        let blocks: Vec<String> = (0..count).map(|n| format!("#{n}")).collect();
        bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        let request = Request {
            block: block.map(|(index, nodes)| Wanted { index, nodes }),
            seek: seek.map(|(bytes, padding)| Seek { bytes, padding }),
            upgrade: upgrade.map(|(start, length)| Grow { start, length }),
            ..Request::default()
        };
        let data = bench.with(|cx| core.proof(cx, &request)).expect("a proof");
        let found = data.block.as_ref().map_or_else(Vec::new, |block| indexes(&block.nodes));
        assert_eq!(found, path, "case {number}: block");
        let found = data.seek.as_ref().map(|seek| indexes(&seek.nodes));
        assert_eq!(found.filter(|nodes| !nodes.is_empty()).as_deref(), sought, "case {number}: seek");
        let found = data.upgrade.as_ref().map(|grow| (indexes(&grow.nodes), indexes(&grow.additional)));
        let wanted = grown.map(|(nodes, more)| (nodes.to_vec(), more.to_vec()));
        assert_eq!(found, wanted, "case {number}: upgrade");
    }
}

/// "verify proof #1", "verify proof #2": a hash or a byte's place in the proof of a whole tree.
// proves replication.22, replication.24
#[test]
fn a_hash_or_a_byte_comes_with_the_tree() {
    let (mut bench, mut core) = written(10);
    for byte in [None, Some(10)] {
        let (mut other, mut copy) = replica(&core);
        let hash = byte.is_none().then_some(Wanted { index: 6, nodes: 0 });
        let seek = byte.map(|bytes| Seek { bytes, padding: 0 });
        let data = bench.with(|cx| core.proof(cx, &Request { hash, seek, ..all_of(10) })).expect("a proof");
        other.with(|cx| copy.apply_proof(cx, data)).expect("good");
        assert_eq!((copy.length(), copy.byte_length()), (10, 30));
        if byte.is_none() {
            let node = bench.with(|cx| core.tree_node(cx, 7)).expect("reads");
            assert_eq!(other.with(|cx| copy.tree_node(cx, 7)), Ok(node));
        }
    }
}

/// "upgrade edgecase when no roots need upgrade", "core - verify parallel upgrades".
// proves replication.26, replication.32
#[test]
fn an_upgrade_that_adds_a_root_only_and_two_at_once() {
    let (mut bench, mut core) = written(4);
    let (mut other, mut copy) = replica(&core);
    let first = bench.with(|cx| core.proof(cx, &all_of(4))).expect("a proof");
    // Both were asked for when nothing was here; either leads to the whole tree.
    let early = [2, 3].map(|length| bench.with(|cx| core.proof(cx, &all_of(length))).expect("a proof"));
    let (mut third, mut twice) = replica(&core);
    for data in early {
        let _ = third.with(|cx| twice.apply_proof(cx, data));
        assert_eq!((twice.length(), twice.tree_hash()), (4, core.tree_hash()));
        assert_eq!(twice.signature(), core.signature());
    }
    other.with(|cx| copy.apply_proof(cx, first)).expect("good");
    bench.append(&mut core, &[b"#5"]);
    let request = Request { upgrade: Some(Grow { start: 4, length: 1 }), ..Request::default() };
    let data = bench.with(|cx| core.proof(cx, &request)).expect("a proof");
    other.with(|cx| copy.apply_proof(cx, data)).expect("good");
    assert_eq!((copy.length(), copy.tree_hash()), (5, core.tree_hash()));
}

/// "check if a length is upgradeable": who has only the roots can lead on from there alone.
// proves replication.41
#[test]
fn a_tree_without_blocks_can_be_proved_from_few_lengths() {
    let (mut bench, mut core) = written(5);
    let (mut other, mut copy) = replica(&core);
    let data = bench.with(|cx| core.proof(cx, &all_of(5))).expect("a proof");
    other.with(|cx| copy.apply_proof(cx, data)).expect("good");
    for (start, bare) in [(0, true), (1, false), (2, false), (3, false), (4, true)] {
        let upgrade = Some(Grow { start, length: 5 - start });
        let request = Request { upgrade, ..Request::default() };
        assert!(bench.with(|cx| core.proof(cx, &request)).is_ok(), "all is there: from {start}");
        let made = other.with(|cx| copy.proof(cx, &request));
        assert_eq!(made.is_ok(), bare, "the roots of 4 and 5 are there: from {start}, {made:?}");
        assert!(bare || made == Err(Error::Missing));
    }
}

/// "core - clone", "core - partial clone", "core - clone verify", "core - copyPrologue bails if core is not the same",
/// "core - copyPrologue many".
// proves hypercore.23, hypercore.95
#[test]
fn copies_with_a_prologue_are_on_their_own() {
    use crate::wire::manifest::Prologue;
    let (mut bench, mut core) = written(2);
    let prologue = Some(Prologue { hash: core.tree_hash(), length: 2 });
    let blocks = bench.all(&mut core);
    let signers = core.manifest().expect("known").signers.clone();
    for quorum in [0, 1] {
        let signers = if quorum == 0 { Vec::new() } else { signers.clone() };
        let manifest = Manifest { version: 1, quorum, signers, prologue, ..Manifest::default() };
        let made = || {
            let mut bench = Bench::new();
            let open = Open { manifest: Some(manifest.clone()), ..Open::default() };
            let core = bench.open(open).expect("a new core");
            (bench, core)
        };
        let (mut there, mut copy) = made();
        let other = there.with(|cx| copy.append_signed(cx, &[b"x", b"y"], &[]));
        assert!(matches!(other, Err(Error::Refused(_))), "another core's blocks");
        assert_eq!((copy.length(), copy.contiguous_length()), (0, 0));
        there.with(|cx| copy.append_signed(cx, &blocks, &[])).expect("the prologue");
        assert_eq!((copy.tree_hash(), there.all(&mut copy)), (core.tree_hash(), blocks.clone()));
        for index in 0..4 {
            let node = bench.with(|cx| core.tree_node(cx, index)).expect("reads");
            assert_eq!(there.with(|cx| copy.tree_node(cx, index)), Ok(node), "node {index}");
        }
        // A copy of the copy, out of its proofs; both stay when the first goes on.
        let (mut last, mut clone) = made();
        let data = there.with(|cx| copy.proof(cx, &all_of(2))).expect("a proof");
        last.with(|cx| clone.apply_proof(cx, data)).expect("good");
        let block = Some(Wanted { index: 1, nodes: 1 });
        let data =
            there.with(|cx| copy.proof(cx, &Request { block, ..Request::default() })).expect("a proof");
        last.with(|cx| clone.apply_proof(cx, data)).expect("good");
        assert_eq!((clone.length(), clone.contiguous_length(), clone.has(1)), (2, 0, true));
        if quorum == 1 {
            copy.set_key_pair(Some(keys()));
            there.append(&mut copy, &[b"c"]);
            let upgrade = Some(Grow { start: 2, length: 1 });
            let data = there.with(|cx| copy.proof(cx, &Request { upgrade, ..Request::default() }));
            last.with(|cx| clone.apply_proof(cx, data.expect("a proof"))).expect("good");
            assert_eq!((clone.length(), clone.tree_hash()), (3, copy.tree_hash()));
            for index in 0..2 {
                let nodes = last.with(|cx| clone.missing_nodes(cx, index)).expect("reads");
                let block = Some(Wanted { index, nodes });
                let data = there.with(|cx| copy.proof(cx, &Request { block, ..Request::default() }));
                last.with(|cx| clone.apply_proof(cx, data.expect("a proof"))).expect("good");
            }
            assert_eq!((clone.contiguous_length(), copy.contiguous_length()), (2, 3));
        }
        assert_eq!(core.length(), 2, "where they come from is as it was");
    }
}

/// "core - clone", "core - verify", "core - partial clone": a core made out of another's proofs.
// proves hypercore.98
#[test]
fn a_core_is_copied_proof_by_proof() {
    for compat in [false, true] {
        let mut bench = Bench::new();
        let open = Open { key_pair: Some(keys()), compat, ..Open::default() };
        let mut core = bench.open(open).expect("a new core");
        let blocks: Vec<Vec<u8>> = (0..21_u8).map(|n| vec![n; usize::from(n)]).collect();
        bench.with(|cx| core.append(cx, &blocks)).expect("appends");
        let (mut other, mut copy) = replica(&core);
        let data = bench.with(|cx| core.proof(cx, &all_of(21))).expect("a proof");
        other.with(|cx| copy.apply_proof(cx, data)).expect("good");
        assert_eq!((copy.length(), copy.tree_hash()), (21, core.tree_hash()));
        for index in [20, 0, 7, 13, 6] {
            let nodes = other.with(|cx| copy.missing_nodes(cx, index)).expect("reads");
            let request = Request { block: Some(Wanted { index, nodes }), ..Request::default() };
            let data = bench.with(|cx| core.proof(cx, &request)).expect("a proof");
            let mut wrong = data.clone();
            wrong.block.as_mut().expect("there").value.push(0);
            assert!(other.with(|cx| copy.apply_proof(cx, wrong)).is_err());
            other.with(|cx| copy.apply_proof(cx, data)).expect("good");
            assert_eq!(other.with(|cx| copy.get(cx, index)), Ok(Some(blocks[index as usize].clone())));
        }
        bench.with(|cx| core.truncate(cx, 20)).expect("cuts");
        let later = bench.with(|cx| core.proof(cx, &all_of(20))).expect("a proof");
        assert_eq!(other.with(|cx| copy.apply_proof(cx, later)), Err(Fault::Fork));
    }
}

/// "treeHash gets the tree hash at a given core length", "treeHash with default length", "get older roots".
// proves hypercore.4, hypercore.18
#[test]
fn trees_of_all_lengths_are_what_was_signed() {
    let (mut bench, mut core) = written(0);
    let mut hashes = vec![core.tree_hash()];
    for n in 0..17_u8 {
        bench.append(&mut core, &[&[n]]);
        hashes.push(core.tree_hash());
    }
    for (length, hash) in (0..).zip(&hashes) {
        assert_eq!(bench.with(|cx| core.tree_hash_at(cx, length)), Ok(*hash));
    }
    assert!(matches!(bench.with(|cx| core.tree_hash_at(cx, 18)), Err(Error::Invalid(_))));
    let signable = bench.with(|cx| core.signable_at(cx, 17, 0)).expect("one signer");
    assert_eq!(core.signature()[2..66], keys().sign(&signable));
    assert_eq!(signable.len(), 112);
}

/// "fully remote proof - proof and verify".
// proves hypercore.99, hypercore.100
#[test]
fn a_proof_in_a_message_needs_no_connection() {
    let (mut bench, mut core) = written(2);
    let (mut other, mut copy) = replica(&core);
    let bare = bench.with(|cx| core.remote_proof(cx, None)).expect("a proof");
    let told = copy.check_remote_proof(&bare).expect("good");
    assert_eq!((told.length, told.newer, told.block), (2, true, None));
    let own = core.check_remote_proof(&bare).expect("good");
    assert_eq!((own.length, own.newer), (2, false));
    let with = bench.with(|cx| core.remote_proof(cx, Some(1))).expect("a proof");
    assert_eq!(copy.check_remote_proof(&with).expect("good").block, Some((1, vec![1; 3])));
    for bit in 0..8 * with.len() {
        let mut wrong = with.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let told = copy.check_remote_proof(&wrong);
        // The number of the request and flags that nobody knows are not signed.
        let said = told.as_ref().is_none_or(|told| told.length == 2 && told.newer);
        assert!(said, "bit {bit}: {told:?}");
        let block = told.and_then(|told| told.block);
        assert!(block.is_none_or(|block| block == (1, vec![1; 3])), "bit {bit}");
    }
    bench.with(|cx| core.truncate(cx, 1)).expect("cuts");
    let later = bench.with(|cx| core.remote_proof(cx, None)).expect("a proof");
    assert!(copy.check_remote_proof(&later).expect("good").newer, "shorter, of a later fork");
    assert_eq!(core.check_remote_proof(&bare), None, "of a fork before");
    assert_eq!((copy.length(), other.with(|cx| copy.get(cx, 0))), (0, Ok(None)), "nothing is stored");
}

/// "one forks": two machines with the same key pair wrote different things.
// proves hypercore.97
#[test]
fn two_signed_trees_of_one_length_freeze_a_core() {
    let (mut bench, mut core) = written(5);
    let (mut honest, mut same) = written(5);
    let data = honest.with(|cx| same.proof(cx, &all_of(5))).expect("a proof");
    assert_eq!(bench.with(|cx| core.judge(cx, &data)), Ok(false), "the same tree");
    let mut twin_bench = Bench::new();
    let mut twin = twin_bench.create();
    twin_bench.append(&mut twin, &[b"0", b"1", b"other"]);
    let data = twin_bench.with(|cx| twin.proof(cx, &all_of(3))).expect("a proof");
    let mut forged = data.clone();
    let signature = forged.upgrade.as_mut().and_then(|upgrade| upgrade.signature.as_mut());
    signature.expect("signed")[9] ^= 1;
    for wrong in [forged, crate::wire::hypercore::Data { fork: 1, ..data.clone() }] {
        assert_eq!(bench.with(|cx| core.judge(cx, &wrong)), Ok(false));
    }
    assert!(!core.frozen());
    assert_eq!(bench.with(|cx| core.judge(cx, &data)), Ok(true));
    for reopened in [false, true] {
        if reopened {
            bench.close(&mut core);
            core = bench.open(Open::default()).expect("opens");
        }
        assert!(core.frozen());
        let evidence = core.conflict().expect("kept");
        assert_eq!(core.verify_alone(&evidence), Ok(3), "anybody can check it");
        assert_eq!(bench.all(&mut core).len(), 5, "it can be read");
        let results = [
            bench.with(|cx| core.append(cx, &[b"x"])).map(|_| ()),
            bench.with(|cx| core.truncate(cx, 1)),
            bench.with(|cx| core.clear(cx, 0, 1)),
            bench.with(|cx| core.set_user_data(cx, "seckel/frozen", None)),
            bench.with(|cx| core.set_user_data(cx, "a", Some(b"b"))),
            bench.with(|cx| core.apply(cx, Change::default())),
        ];
        assert!(results.iter().all(|result| matches!(result, Err(Error::Refused(_)))), "{results:?}");
        assert!(!core.writable());
    }
}

/// pitfalls 14.7: replicas of one writer, at different lengths, are no conflict.
// proves hypercore.97
#[test]
fn honest_trees_of_other_lengths_are_no_conflict() {
    let (mut bench, mut core) = written(9);
    for length in 1..=9 {
        let (mut other, mut shorter) = written(length);
        for upgrade in 1..=u64::from(length) {
            let data = other.with(|cx| shorter.proof(cx, &all_of(upgrade))).expect("a proof");
            assert_eq!(bench.with(|cx| core.judge(cx, &data)), Ok(false), "{length}, {upgrade}");
            let data = bench.with(|cx| core.proof(cx, &all_of(upgrade))).expect("a proof");
            assert_eq!(other.with(|cx| shorter.judge(cx, &data)), Ok(false));
        }
    }
}

/// "truncate event has truncated-length and fork", "core - append and truncate"; the same length with another fork.
// proves hypercore.96
#[test]
fn a_cut_names_its_fork() {
    let (mut bench, mut core) = written(6);
    bench.with(|cx| core.truncate_to(cx, 6, 4)).expect("only the fork is new");
    assert_eq!((core.length(), core.fork(), core.contiguous_length()), (6, 4, 6));
    assert!(sound(&core));
    for fork in [0, 4] {
        assert!(matches!(bench.with(|cx| core.truncate_to(cx, 3, fork)), Err(Error::Invalid(_))));
    }
    bench.with(|cx| core.truncate_to(cx, 0, 9)).expect("to nothing");
    assert_eq!((core.length(), core.fork()), (0, 9));
    assert!(!core.signature().is_empty());
    let hint = core.header.reorgs.last().copied();
    assert_eq!(hint, Some(Reorg { from: 4, to: 9, ancestors: 0 }));
    bench.append(&mut core, &[b"again"]);
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_eq!((bench.all(&mut core), core.fork(), sound(&core)), (vec![b"again".to_vec()], 9, true));
}

/// "storage info, off by default", "setKeyPair".
#[test]
fn a_core_says_what_it_is() {
    let (mut bench, mut core) = written(3);
    core.set_encryption(Some(Encryption::new([4; 32])));
    let info = bench.with(|cx| core.info(cx)).expect("open");
    assert_eq!((info.key, info.length, info.contiguous_length, info.fork), (*core.key(), 3, 3, 0));
    assert_eq!((info.padding, info.files.data), (8, 9));
    assert!(info.files.oplog > 8192);
    core.set_key_pair(None);
    assert!(!core.writable());
    assert!(matches!(bench.with(|cx| core.append(cx, &[b"x"])), Err(Error::Refused(_))));
    core.set_key_pair(Some(KeyPair::from_seed([8; 32])));
    assert!(!core.writable(), "not its signer");
    core.set_key_pair(Some(keys()));
    bench.append(&mut core, &[b"x"]);
}
