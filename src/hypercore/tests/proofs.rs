//! What `test/merkle-tree.js`, `test/fully-remote-proof.js`, `test/conflicts.js`, `test/core.js` and `test/basic.js` of
//! hypercore 11 ask of proofs that are made and taken by hand, and of cuts.

use super::*;
use crate::hypercore::proof::Fault;
use crate::wire::hypercore::{Grow, Request, Wanted};
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
