//! What `test/manifest.js` of hypercore 11 asks of cores with several signers, patches and prologues.

use super::*;
use crate::hypercore::multisig::{Part, assemble, signable_length};
use crate::wire::manifest::{DEFAULT_NAMESPACE, MultiSignature, Prologue, Signer};
use crate::wire::{decode, encode};

/// A signer: its pair and its own log.
struct Party {
    pair: KeyPair,
    bench: Bench,
    log: Hypercore,
}

impl Party {
    fn new(number: u8) -> Party {
        let pair = KeyPair::from_seed([number + 10; 32]);
        let mut bench = Bench::new();
        let open = Open { key_pair: Some(pair.clone()), ..Open::default() };
        let log = bench.open(open).expect("a new core");
        Party { pair, bench, log }
    }

    fn append(&mut self, blocks: &[&[u8]]) {
        self.bench.append(&mut self.log, blocks);
    }

    /// Its part in the first `length` blocks of a core.
    fn part(&mut self, core: &Hypercore, length: u64) -> Part {
        let auth = core.auth().expect("known").clone();
        self.bench.with(|cx| self.log.sign_part(cx, &auth, &self.pair, length)).expect("signs")
    }
}

fn parties(count: u8) -> Vec<Party> {
    (0..count).map(Party::new).collect()
}

/// More than half of the parties sign, and may be ahead.
fn manifest(version: u64, parties: &[Party], prologue: Option<Prologue>) -> Manifest {
    let signers =
        parties.iter().map(|party| Signer { namespace: DEFAULT_NAMESPACE, public: party.pair.public });
    let quorum = parties.len() as u64 / 2 + 1;
    Manifest {
        version,
        allow_patch: true,
        quorum,
        signers: signers.collect(),
        prologue,
        ..Manifest::default()
    }
}

fn shared(manifest: Manifest) -> (Bench, Hypercore) {
    let mut bench = Bench::new();
    let core = bench.open(Open { manifest: Some(manifest), ..Open::default() }).expect("a new core");
    assert!(!core.writable());
    (bench, core)
}

fn signed(core: &Hypercore, parts: &[Part]) -> Vec<u8> {
    assemble(core.auth().expect("known"), parts)
}

/// "multisig - append", "multisig - batch append", "multisig - multiple appends"; another replica takes it.
// proves hypercore.21, hypercore.58, hypercore.95
#[test]
fn what_enough_of_them_signed_is_appended() {
    for version in [0, 1] {
        let mut parties = parties(3);
        let (mut bench, mut core) = shared(manifest(version, &parties, None));
        let batches: [&[&[u8]]; 3] = [&[b"0"], &[b"1", b"2"], &[b"3"]];
        let mut length = 0;
        for blocks in batches {
            length += blocks.len() as u64;
            parties[..2].iter_mut().for_each(|party| party.append(blocks));
            let parts: Vec<Part> = parties[..2].iter_mut().map(|party| party.part(&core, length)).collect();
            assert!(parts.iter().all(|part| part.patch == 0 && part.nodes.is_empty()));
            let alone = signed(&core, &parts[..1]);
            let refused = bench.with(|cx| core.append_signed(cx, blocks, &alone));
            assert!(matches!(refused, Err(Error::Refused(_))), "one of three is too few: {refused:?}");
            let signature = signed(&core, &parts);
            let other = bench.with(|cx| core.append_signed(cx, &[b"other"], &signature));
            assert!(matches!(other, Err(Error::Refused(_))), "these blocks were not signed");
            assert_eq!(core.length(), length - blocks.len() as u64);
            bench.with(|cx| core.append_signed(cx, blocks, &signature)).expect("signed by two of three");
            assert_eq!(core.signature(), signature);
        }
        assert_eq!(core.tree_hash(), parties[0].log.tree_hash());
        assert!(sound(&core));
        bench.close(&mut core);
        let core = bench.open(Open::default()).expect("opens");
        assert_eq!((core.length(), sound(&core)), (4, true), "version {version}");
    }
}

/// "multisig - patches", "multisig - batch append with patches", "multisig - overlapping appends".
// proves hypercore.58, hypercore.59
#[test]
fn a_signer_that_is_ahead_counts() {
    for version in [0, 1] {
        let mut parties = parties(3);
        let (mut bench, mut core) = shared(manifest(version, &parties, None));
        let blocks: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; usize::from(n)]).collect();
        let refs: Vec<&[u8]> = blocks.iter().map(|block| &block[..]).collect();
        let mut made = [0, 0];
        for (ahead, behind) in [(5, 1), (9, 4), (9, 8), (20, 11), (20, 20)] {
            let wanted = [ahead, behind];
            for (party, (made, wanted)) in parties.iter_mut().zip(made.iter_mut().zip(wanted)) {
                party.append(&refs[*made..wanted]);
                *made = wanted;
            }
            let length = signable_length(&[ahead as u64, behind as u64, 0], 2);
            assert_eq!(length, behind as u64);
            let parts: Vec<Part> = parties[..2].iter_mut().map(|party| party.part(&core, length)).collect();
            assert_eq!((parts[0].patch, parts[1].patch), ((ahead - behind) as u64, 0));
            let signature = signed(&core, &parts);
            let more = &refs[core.length() as usize..behind];
            bench.with(|cx| core.append_signed(cx, more, &signature)).expect("both signed it");
            if !parts[0].nodes.is_empty() {
                spoiled_patches_are_refused(&core, &parts);
            }
        }
        assert_eq!(core.tree_hash(), parties[1].log.tree_hash());
    }
}

fn spoiled_patches_are_refused(core: &Hypercore, parts: &[Part]) {
    let auth = core.auth().expect("known");
    let state = TreeState { roots: core.roots(), length: core.length(), fork: core.fork() };
    assert!(auth.verify(&state, &assemble(auth, parts)));
    for at in 0..parts[0].nodes.len() {
        let mut less = parts.to_vec();
        less[0].nodes.remove(at);
        assert!(!auth.verify(&state, &assemble(auth, &less)), "without node {at}");
        let mut wrong = parts.to_vec();
        wrong[0].nodes[at].hash[0] ^= 1;
        assert!(!auth.verify(&state, &assemble(auth, &wrong)), "with a wrong node {at}");
    }
    for patch in [0, parts[0].patch + 1, u64::MAX / 2, u64::MAX >> 11] {
        let mut wrong = parts.to_vec();
        wrong[0].patch = patch;
        assert!(!auth.verify(&state, &assemble(auth, &wrong)), "patch {patch}");
    }
}

/// Without leave, what a proof says of its patch is not looked at: the longer tree does not count.
// proves hypercore.59
#[test]
fn patches_need_leave() {
    let mut parties = parties(2);
    let (mut bench, mut core) = shared(Manifest { allow_patch: false, ..manifest(1, &parties, None) });
    parties[0].append(&[b"0", b"1"]);
    parties[1].append(&[b"0"]);
    let parts: Vec<Part> = parties.iter_mut().map(|party| party.part(&core, 1)).collect();
    let signature = signed(&core, &parts);
    let refused = bench.with(|cx| core.append_signed(cx, &[b"0"], &signature));
    assert!(matches!(refused, Err(Error::Refused(_))));
}

/// "multisig - prologue", "multisig - prologue verify hash", "multisig - append/truncate before prologue",
/// "sessions - checkout breaks prologue".
// proves hypercore.23, hypercore.96
#[test]
fn nothing_shorter_than_the_prologue_is_there() {
    let mut parties = parties(2);
    parties.iter_mut().for_each(|party| party.append(&[b"0", b"1"]));
    let prologue = Prologue { hash: parties[0].log.tree_hash(), length: 2 };
    let (mut bench, mut core) = shared(manifest(1, &parties, Some(prologue)));
    let mut first = parties[0].part(&core, 1);
    let mut second = parties[1].part(&core, 1);
    let signature = signed(&core, &[first, second]);
    let refused = bench.with(|cx| core.append_signed(cx, &[b"0"], &signature));
    assert!(matches!(refused, Err(Error::Refused(_))), "shorter");
    let wrong = bench.with(|cx| core.append_signed(cx, &[b"0", b"x"], &[]));
    assert!(matches!(wrong, Err(Error::Refused(_))), "another tree");
    bench.with(|cx| core.append_signed(cx, &[b"0", b"1"], &[])).expect("the prologue needs no signature");
    parties.iter_mut().for_each(|party| party.append(&[b"2"]));
    (first, second) = (parties[0].part(&core, 3), parties[1].part(&core, 3));
    let signature = signed(&core, &[first, second]);
    bench.with(|cx| core.append_signed(cx, &[b"2"], &signature)).expect("signed");
    let cut = bench.with(|cx| core.truncate_signed(cx, 1, 1, &[]));
    assert!(matches!(cut, Err(Error::Refused(_))), "not below it");
    bench.with(|cx| core.truncate_signed(cx, 2, 1, &[])).expect("to it");
    assert_eq!((core.length(), core.fork()), (2, 1));
}

/// "multisig - cannot divide batch", "multisig - batch failed": what was signed is appended whole and as it is.
// proves hypercore.95
#[test]
fn a_signed_batch_is_not_divided() {
    let mut parties = parties(3);
    let blocks: [&[u8]; 4] = [b"0", b"1", b"2", b"3"];
    parties[..2].iter_mut().for_each(|party| party.append(&blocks));
    let (mut bench, mut core) = shared(manifest(1, &parties, None));
    let parts: Vec<Part> = parties[..2].iter_mut().map(|party| party.part(&core, 4)).collect();
    let signature = signed(&core, &parts);
    for wrong in [&blocks[..2], &[b"0", b"1", b"2", b"x"], &[b"01", b"2", b"3"]] {
        let refused = bench.with(|cx| core.append_signed(cx, wrong, &signature));
        assert!(matches!(refused, Err(Error::Refused(_))), "{wrong:?}");
        assert_eq!((core.length(), core.byte_length()), (0, 0));
    }
    bench.with(|cx| core.append_signed(cx, &blocks, &signature)).expect("signed");
    assert_eq!(bench.all(&mut core), blocks);
}

/// "manifest - invalid signature fails": also where the core could sign by itself.
// proves hypercore.95, hypercore.96
#[test]
fn a_wrong_signature_changes_nothing() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    for signature in [&[0; 32][..], &[0; 64], &[0; 68]] {
        let refused = bench.with(|cx| core.append_signed(cx, &[b"hello"], signature));
        assert!(matches!(refused, Err(Error::Refused(_))));
    }
    assert_eq!(core.length(), 0);
    bench.append(&mut core, &[b"a", b"b"]);
    for signature in [vec![0; 32], core.signature().to_vec()] {
        let refused = bench.with(|cx| core.truncate_signed(cx, 1, 1, &signature));
        assert!(matches!(refused, Err(Error::Refused(_))), "that signs another tree");
    }
    assert_eq!((core.length(), core.fork(), sound(&core)), (2, 0, true));
}

/// "create verifier - open existing core with manifest", "manifest - persist if manifest is updated", "manifest -
/// getManifest returns null if no manifest", "valid manifest passed to a session is stored".
// proves hypercore.24
#[test]
fn a_manifest_that_comes_later_is_kept() {
    let manifest = auth::single_signer(1, keys().public);
    let key = auth::core_key(&manifest);
    let mut bench = Bench::new();
    let mut core = bench.open(Open { key: Some(key), ..Open::default() }).expect("a new core");
    assert!(core.manifest().is_none() && core.auth().is_none_or(|auth| auth.is_compat()));
    bench.close(&mut core);
    let other = auth::single_signer(1, [0; 32]);
    let wrong = bench.open(Open { manifest: Some(other), ..Open::default() });
    assert!(matches!(wrong.err(), Some(Error::Refused(_) | Error::Invalid(_))));
    let opens = [
        Open { key: Some(key), manifest: Some(manifest.clone()), ..Open::default() },
        Open { key: Some(key), ..Open::default() },
        Open { manifest: Some(manifest.clone()), compat: true, ..Open::default() },
        Open::default(),
    ];
    for (number, open) in opens.into_iter().enumerate() {
        let mut core = bench.open(open).unwrap_or_else(|error| panic!("open {number}: {error}"));
        assert_eq!((core.key(), core.manifest()), (&key, Some(&manifest)), "open {number}");
        bench.close(&mut core);
    }
}

/// "create verifier - default quorum", "manifest - specifying quorum higher than signers length throws", "manifest -
/// Hypercore.parseManifest throws on an invalid manifest": what nobody can reach is a manifest of its own, of a core
/// that stays empty; one with a signature of another kind is none.
// proves hypercore.12, hypercore.21
#[test]
fn a_quorum_out_of_reach_is_never_reached() {
    let parties = parties(1);
    for quorum in [2, 1 << 40] {
        let wide = Manifest { quorum, ..manifest(1, &parties, None) };
        assert_eq!(decode::<Manifest>(&encode(&wide)).expect("a manifest"), wide);
        let mut bench = Bench::new();
        let open = Open { manifest: Some(wide), key_pair: Some(parties[0].pair.clone()), ..Open::default() };
        let Ok(mut core) = bench.open(open) else { continue };
        assert!(!core.writable());
        assert!(matches!(bench.with(|cx| core.append(cx, &[b"x"])), Err(Error::Refused(_))));
        let auth = core.auth().expect("known").clone();
        let part = Part { signer: 0, signature: [1; 64], patch: 0, nodes: Vec::new() };
        let twice = assemble(&auth, &[part.clone(), part]);
        assert!(matches!(bench.with(|cx| core.append_signed(cx, &[b"x"], &twice)), Err(Error::Refused(_))));
        assert_eq!(core.length(), 0);
    }
}

/// A static core: nobody signs, the prologue is all there is. "create verifier - static signer".
// proves hypercore.23, hypercore.95
#[test]
fn a_static_core_is_its_prologue() {
    let mut bench = Bench::new();
    let mut source = bench.create();
    bench.append(&mut source, &[b"a", b"b", b"c"]);
    let prologue = Some(Prologue { hash: source.tree_hash(), length: 3 });
    let (mut bench, mut core) = shared(Manifest { version: 1, prologue, ..Manifest::default() });
    bench.with(|cx| core.append_signed(cx, &[b"a", b"b", b"c"], &[])).expect("the prologue");
    assert!(sound(&core) && core.signature().is_empty());
    for signature in [&[][..], source.signature()] {
        let more = bench.with(|cx| core.append_signed(cx, &[b"d"], signature));
        assert!(matches!(more, Err(Error::Refused(_))), "nobody can sign more");
    }
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_eq!(bench.all(&mut core), [b"a", b"b", b"c"]);
}

/// Signed before: blocks and signatures of a log are enough to make it again, without its secret.
// proves hypercore.95
#[test]
fn a_log_that_was_signed_before_is_made_again() {
    for compat in [false, true] {
        let mut bench = Bench::new();
        let open = Open { key_pair: Some(keys()), compat, ..Open::default() };
        let mut source = bench.open(open).expect("a new core");
        let (mut signatures, mut other) = (Vec::new(), Bench::new());
        for n in 0..9_u8 {
            bench.append(&mut source, &[&[n; 5]]);
            signatures.push(source.signature().to_vec());
        }
        let open = Open { key: Some(*source.key()), manifest: source.manifest().cloned(), ..Open::default() };
        let mut core = other.open(open).expect("a new core");
        for (n, signature) in (0..).zip(&signatures) {
            let wrong = other.with(|cx| core.append_signed(cx, &[[n; 4]], signature));
            assert!(matches!(wrong, Err(Error::Refused(_))));
            other.with(|cx| core.append_signed(cx, &[[n; 5]], signature)).expect("signed");
        }
        assert_eq!((core.tree_hash(), core.length()), (source.tree_hash(), 9));
        bench.with(|cx| source.truncate_to(cx, 4, 7)).expect("cuts");
        let wrong = other.with(|cx| core.truncate_signed(cx, 4, 6, source.signature()));
        assert!(matches!(wrong, Err(Error::Refused(_))), "another fork");
        other.with(|cx| core.truncate_signed(cx, 4, 7, source.signature())).expect("signed");
        assert_eq!((core.length(), core.fork(), core.signature()), (4, 7, source.signature()));
    }
}

/// The patch of the vectors, taken apart and put together.
// proves hypercore.21, hypercore.58, hypercore.59
#[test]
fn several_signatures_are_upstreams() {
    let all = vectors("manifest");
    let bytes = |value: &Value| hex::decode(value.as_str().expect("text")).expect("hex");
    let mut seen = 0;
    for vector in all.iter().filter(|vector| vector["name"] == "multisig") {
        let (given, wanted) = (&vector["inputs"], &vector["expected"]);
        let signers = given["signers"].as_array().expect("a list").iter().map(|key| Signer {
            namespace: DEFAULT_NAMESPACE,
            public: bytes(key).try_into().expect("32 bytes"),
        });
        let version = given["version"].as_u64().expect("a number");
        let quorum = given["quorum"].as_u64().expect("a number");
        let manifest = Manifest { version, quorum, signers: signers.collect(), ..Manifest::default() };
        let key = auth::core_key(&manifest);
        assert_eq!(wanted["key"], hex::encode(&key));
        let auth = Auth::new(key, manifest).expect("its hash");
        let parts = given["signs"].as_array().expect("a list").iter().map(|sign| Part {
            signer: sign["signer"].as_u64().expect("a number"),
            signature: bytes(&sign["signature"]).try_into().expect("64 bytes"),
            patch: 0,
            nodes: Vec::new(),
        });
        let parts: Vec<Part> = parts.collect();
        assert_eq!(wanted["assembled"], hex::encode(&assemble(&auth, &parts)));
        let mut roots = Roots::default();
        let blocks = given["blocks"].as_array().expect("a list");
        blocks.iter().for_each(|block| roots.append(&bytes(block), &mut Vec::new()));
        let state = TreeState { roots: roots.nodes(), length: roots.length(), fork: 0 };
        assert!(auth.verify(&state, &bytes(&wanted["assembled"])), "version {version}");
        assert!(!auth.verify(&TreeState { fork: 1, ..state }, &bytes(&wanted["assembled"])));
        seen += 1;
    }
    let patched = all.iter().find(|vector| vector["name"] == "multisig-patch").expect("there");
    let stored = bytes(&patched["expected"]["assembled"]);
    let multi: MultiSignature = decode(&stored).expect("a signature");
    assert_eq!((encode(&multi), multi.proofs[1].patch), (stored.clone(), 2));
    let signers = patched["inputs"]["manifest"]["signers"].as_array().expect("a list");
    let signers = signers.iter().map(|signer| Signer {
        namespace: DEFAULT_NAMESPACE,
        public: bytes(&signer["publicKey"]).try_into().expect("32 bytes"),
    });
    let signers = signers.collect();
    let manifest = Manifest { version: 1, allow_patch: true, quorum: 2, signers, ..Manifest::default() };
    let auth = Auth::new(auth::core_key(&manifest), manifest).expect("its hash");
    let mut roots = Roots::default();
    let blocks = patched["inputs"]["blocks"].as_array().expect("a list");
    blocks.iter().take(3).for_each(|block| roots.append(&bytes(block), &mut Vec::new()));
    let state = TreeState { roots: roots.nodes(), length: 3, fork: 0 };
    assert!(auth.verify(&state, &stored));
    assert_eq!(seen, 2);
}

#[test]
fn what_can_be_signed_together_is_as_long_as_the_quorum_allows() {
    for (lengths, quorum, wanted) in [
        (&[1, 1][..], 2, 1),
        (&[5, 1, 3], 2, 3),
        (&[5, 1, 3], 3, 1),
        (&[5, 1, 3], 0, 5),
        (&[5], 2, 0),
        (&[], 1, 0),
    ] {
        assert_eq!(signable_length(lengths, quorum), wanted, "{lengths:?} {quorum}");
    }
}
