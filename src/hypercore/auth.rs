//! Keys, what is signed, and who may sign. Follows hypercore.10 to hypercore.23.

use crate::base::{Error, Key};
use crate::crypto::hash;
use crate::crypto::sign::{self, KeyPair};
use crate::wire::hypercore::Node;
use crate::wire::manifest::{DEFAULT_NAMESPACE, Manifest, MultiSignature, MultiSignatureV0, Proof, Signer};
use crate::wire::{decode, encode, encode_of_about};

use super::{proof, tree};

/// Namespace 0 of "hypercore": stands in front of everything that is signed.
fn tree_namespace() -> Key {
    // H(H("hypercore"), 0), as a constant because each append needs it.
    const TREE: Key = [
        0x9f, 0xac, 0x70, 0xb5, 0x0c, 0xa1, 0x4e, 0xfc, 0x4e, 0x91, 0xc8, 0x33, 0xb2, 0x04, 0xe7, 0x5b, 0x8b,
        0x5a, 0xad, 0x8b, 0x58, 0x81, 0xbf, 0xc0, 0xad, 0xb5, 0xef, 0x38, 0xa3, 0x27, 0x5b, 0x9c,
    ];
    TREE
}

/// The manifest of one signer. Version 1 unless another is wanted (0 to 3). (hypercore.13)
pub fn single_signer(version: u64, public: Key) -> Manifest {
    let signers = vec![Signer { namespace: DEFAULT_NAMESPACE, public }];
    Manifest { version, quorum: 1, signers, ..Manifest::default() }
}

/// The key of a core with that manifest. (hypercore.14)
pub fn core_key(manifest: &Manifest) -> Key {
    hash::blake2b_256(&[&hash::namespace("hypercore", 3), &encode(manifest)])
}

/// What a core is asked for by: it tells nobody the key. (hypercore.15)
pub fn discovery_key(key: &Key) -> Key {
    hash::keyed_256(key, &[b"hypercore"])
}

/// A state of a tree that can be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeState<'a> {
    /// Of the tree of `length` blocks, largest first.
    pub roots: &'a [Node],
    pub length: u64,
    pub fork: u64,
}

impl TreeState<'_> {
    pub fn hash(&self) -> Key {
        tree::tree_hash(self.roots)
    }
}

/// Who may sign a core, known to belong to its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    key: Key,
    manifest: Manifest,
    compat: bool,
}

impl Auth {
    /// None if the manifest is not that of `key`: neither hashes to it nor has it as its only signer. (hypercore.16)
    pub fn new(key: Key, manifest: Manifest) -> Option<Auth> {
        let compat = manifest.signers.len() == 1 && manifest.signers[0].public == key;
        (compat || core_key(&manifest) == key).then_some(Auth { key, manifest, compat })
    }

    /// A core whose key is the public key of its only signer.
    pub fn compat(key: Key) -> Auth {
        Auth { key, manifest: single_signer(1, key), compat: true }
    }

    /// What a proof from a peer says: its manifest, or without one the key itself. (hypercore.17)
    pub fn learn(key: Key, manifest: Option<&Manifest>) -> Option<Auth> {
        match manifest {
            Some(manifest) => Auth::new(key, manifest.clone()),
            None => Some(Auth::compat(key)),
        }
    }

    /// The core's key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// True if the key is the signer's public key.
    pub fn is_compat(&self) -> bool {
        self.compat
    }

    /// What a signer signs. (hypercore.18, hypercore.19)
    fn signable(&self, signer: &Signer, tree: &TreeState<'_>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(112);
        bytes.extend_from_slice(&tree_namespace());
        if !self.compat {
            bytes.extend_from_slice(if self.manifest.version == 0 { &signer.namespace } else { &self.key });
        }
        bytes.extend_from_slice(&tree.hash());
        bytes.extend_from_slice(&tree.length.to_le_bytes());
        bytes.extend_from_slice(&tree.fork.to_le_bytes());
        bytes
    }

    /// True if a stored signature is the bare 64 bytes. (hypercore.20)
    fn bare(&self) -> bool {
        let single = self.manifest.signers.len() == 1 && !self.manifest.allow_patch;
        self.compat || (self.manifest.version == 0 && single)
    }

    /// Signs as the only signer, in the form that is stored. `Refused` if the pair is not that signer, or if there
    /// are others: their signatures have to be put together elsewhere. (hypercore.20, hypercore.21)
    pub fn sign(&self, keys: &KeyPair, tree: &TreeState<'_>) -> Result<Vec<u8>, Error> {
        let [signer] = &self.manifest.signers[..] else {
            return Err(Error::Refused("the core has several signers"));
        };
        if signer.public != keys.public {
            return Err(Error::Refused("the key pair may not sign this core"));
        }
        if !self.compat && self.manifest.quorum != 1 {
            return Err(Error::Refused("one signature is not the quorum of the manifest"));
        }
        let signature = keys.sign(&self.signable(signer, tree));
        if self.compat || self.manifest.version == 0 {
            return Ok(signature.to_vec());
        }
        let proofs = vec![Proof { signer: 0, signature, patch: 0 }];
        Ok(encode_of_about(72, MultiSignature { proofs, patch: Vec::new() }))
    }

    /// True if `keys` may sign alone. (hypercore.22)
    pub fn may_sign(&self, keys: &KeyPair) -> bool {
        let alone = self.compat || self.manifest.quorum == 1;
        alone && matches!(&self.manifest.signers[..], [signer] if signer.public == keys.public)
    }

    /// One of several signatures that a tree needs: which signer that is, and what it signs. `Refused` if the pair is
    /// none of the signers. See `multisig`. (hypercore.18)
    pub fn sign_part(&self, keys: &KeyPair, tree: &TreeState<'_>) -> Result<(u64, [u8; 64]), Error> {
        let mut signers = (0..).zip(&self.manifest.signers);
        let (number, signer) = signers
            .find(|(_, signer)| signer.public == keys.public)
            .ok_or(Error::Refused("the key pair may not sign this core"))?;
        Ok((number, keys.sign(&self.signable(signer, tree))))
    }

    /// What a single signer of this core signs for a tree. (hypercore.18, hypercore.19)
    pub fn signable_of(&self, tree: &TreeState<'_>) -> Option<Vec<u8>> {
        match &self.manifest.signers[..] {
            [signer] => Some(self.signable(signer, tree)),
            // Of version 1 on all signers sign the same.
            [signer, ..] if self.manifest.version > 0 => Some(self.signable(signer, tree)),
            _ => None,
        }
    }

    /// How long the tree is that needs no signature; 0 without a prologue. (hypercore.23)
    pub fn prologue_length(&self) -> u64 {
        match self.manifest.prologue {
            Some(prologue) if !self.compat && self.manifest.version > 0 => prologue.length,
            _ => 0,
        }
    }

    /// Whether a stored signature is good for a tree. (hypercore.20 to hypercore.23, hypercore.58, hypercore.59)
    pub fn verify(&self, tree: &TreeState<'_>, signature: &[u8]) -> bool {
        if self.bare() {
            let Ok(signature) = signature.try_into() else { return false };
            let signer = &self.manifest.signers[0];
            return sign::verify(&signer.public, &self.signable(signer, tree), signature);
        }
        if self.manifest.version == 0 {
            return self.verify_multi(tree, signature);
        }
        match self.manifest.prologue {
            Some(prologue) if tree.length <= prologue.length => {
                tree.length == prologue.length && tree.hash() == prologue.hash
            }
            _ => self.verify_multi(tree, signature),
        }
    }

    /// Several signatures as they are stored, in the form of this core's version. (hypercore.21, hypercore.58)
    fn inflate(&self, signature: &[u8]) -> Option<MultiSignature> {
        if self.manifest.version > 0 {
            return decode::<MultiSignature>(signature).ok();
        }
        let stored = decode::<MultiSignatureV0>(signature).ok()?;
        let plain = stored.proofs.iter().map(|proof| Proof {
            signer: proof.signer,
            signature: proof.signature,
            patch: proof.patch.as_ref().map_or(0, |patch| patch.length),
        });
        Some(MultiSignature { proofs: plain.collect(), patch: stored.patch })
    }

    fn verify_multi(&self, tree: &TreeState<'_>, signature: &[u8]) -> bool {
        let Some(multi) = self.inflate(signature) else { return false };
        let Ok(quorum) = usize::try_from(self.manifest.quorum) else { return false };
        if quorum == 0 || quorum > self.manifest.signers.len() || multi.proofs.len() < quorum {
            return false;
        }
        let mut tried = vec![false; self.manifest.signers.len()];
        multi.proofs[..quorum].iter().all(|proof| {
            let number = usize::try_from(proof.signer).unwrap_or(usize::MAX);
            let Some(signer) = self.manifest.signers.get(number) else { return false };
            if core::mem::replace(&mut tried[number], true) {
                return false;
            }
            let signable = if proof.patch == 0 || !self.manifest.allow_patch {
                self.signable(signer, tree)
            } else {
                // hypercore.59
                let Ok(longer) = proof::extended(tree.length, tree.roots, proof.patch, &multi.patch) else {
                    return false;
                };
                let longer = TreeState { roots: &longer.roots, length: longer.length, fork: tree.fork };
                self.signable(signer, &longer)
            };
            sign::verify(&signer.public, &signable, &proof.signature)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex;
    use crate::hypercore::tree::Roots;
    use serde_json::Value;

    fn vectors() -> Vec<Value> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifest.json"));
        let file: Value = serde_json::from_str(text).expect("the vectors");
        file["vectors"].as_array().expect("a list").clone()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        hex::decode(value.as_str().expect("text")).expect("hex")
    }

    fn key(value: &Value) -> Key {
        bytes(value).try_into().expect("32 bytes")
    }

    fn tree(blocks: &Value, count: usize) -> Roots {
        let (mut roots, mut made) = (Roots::default(), Vec::new());
        let blocks = blocks.as_array().expect("a list");
        blocks.iter().take(count).for_each(|block| roots.append(&bytes(block), &mut made));
        roots
    }

    fn state(roots: &Roots) -> TreeState<'_> {
        TreeState { roots: roots.nodes(), length: roots.length(), fork: 0 }
    }

    #[test]
    fn constants_are_what_they_are_called() {
        assert_eq!(tree_namespace(), hash::namespace("hypercore", 0));
        assert_eq!(DEFAULT_NAMESPACE, hash::namespace("hypercore", 4));
    }

    // proves hypercore.14, hypercore.15
    #[test]
    fn keys_are_upstreams() {
        for vector in vectors().iter().filter(|vector| vector["name"] == "manifest") {
            let manifest: Manifest = decode(&bytes(&vector["expected"]["encoded"])).expect("a manifest");
            let own = core_key(&manifest);
            assert_eq!(own, key(&vector["expected"]["key"]));
            assert_eq!(discovery_key(&own), key(&vector["expected"]["discoveryKey"]));
            assert!(Auth::new(own, manifest).is_some());
        }
    }

    /// pitfalls 14.1: one key pair gives three keys, and a default key is not a signing key.
    // proves hypercore.13, hypercore.16, hypercore.17
    #[test]
    fn one_key_pair_gives_three_keys() {
        let all = vectors();
        let vector = all.iter().find(|vector| vector["name"] == "key-from-public-key").expect("there");
        let (public, wanted) = (key(&vector["inputs"]["publicKey"]), &vector["expected"]);
        assert_eq!(core_key(&single_signer(1, public)), key(&wanted["defaultIsV1"]));
        assert_eq!(core_key(&single_signer(0, public)), key(&wanted["v0"]));
        let compat = Auth::new(public, single_signer(1, public)).expect("the only signer");
        assert!(compat.is_compat());
        let v1 = Auth::new(key(&wanted["defaultIsV1"]), single_signer(1, public)).expect("its hash");
        assert!(!v1.is_compat());
        assert_eq!(Auth::new(key(&wanted["v0"]), single_signer(1, public)), None);
        assert_eq!(Auth::learn(key(&wanted["v0"]), Some(&single_signer(1, public))), None);
        assert_eq!(Auth::learn(public, None), Some(Auth::compat(public)));
    }

    // proves hypercore.18, hypercore.19, hypercore.20, hypercore.21
    #[test]
    fn signatures_are_upstreams() {
        let mut sizes = Vec::new();
        for vector in vectors().iter().filter(|vector| vector["name"] == "signatures") {
            let (input, wanted) = (&vector["inputs"], &vector["expected"]);
            let keys = KeyPair::from_seed(key(&input["seed"]));
            let own = key(&wanted["key"]);
            let candidates = [
                single_signer(0, keys.public),
                single_signer(1, keys.public),
                single_signer(2, keys.public),
                single_signer(3, keys.public),
            ];
            let Some(auth) = candidates.into_iter().find_map(|manifest| Auth::new(own, manifest)) else {
                continue; // another namespace, linked cores and the like: signed the same way
            };
            assert_eq!(wanted["compat"], auth.is_compat());
            for step in wanted["steps"].as_array().expect("a list") {
                let roots = tree(&input["blocks"], step["length"].as_u64().expect("a number") as usize);
                let state = state(&roots);
                assert_eq!(state.hash(), key(&step["treeHash"]));
                let signature = bytes(&step["storedSignature"]);
                let signer = &auth.manifest.signers[0];
                assert_eq!(auth.signable(signer, &state), bytes(&step["signable"]));
                assert_eq!(auth.sign(&keys, &state), Ok(signature.clone()));
                assert!(auth.verify(&state, &signature));
                for wrong in [
                    TreeState { fork: 1, ..state },
                    TreeState { length: state.length + 1, ..state },
                    TreeState { roots: &[], ..state },
                ] {
                    assert!(!auth.verify(&wrong, &signature));
                }
                for bit in 0..8 * signature.len() {
                    let mut wrong = signature.clone();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    let patch_count = signature.len() - 1;
                    assert!(!auth.verify(&state, &wrong) || bit / 8 >= patch_count - 1, "bit {bit}");
                }
                assert!(!auth.verify(&state, &[]));
                sizes.push(signature.len());
            }
            let stranger = KeyPair::from_seed([9; 32]);
            assert!(auth.sign(&stranger, &state(&tree(&input["blocks"], 1))).is_err());
            assert!(!auth.may_sign(&stranger) && auth.may_sign(&keys));
        }
        sizes.dedup();
        assert!(sizes.contains(&64) && sizes.contains(&68), "{sizes:?}");
    }

    // proves hypercore.22
    #[test]
    fn a_quorum_counts_each_signer_once() {
        let keys = [KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]), KeyPair::from_seed([3; 32])];
        let signers =
            keys.iter().map(|pair| Signer { namespace: DEFAULT_NAMESPACE, public: pair.public }).collect();
        let manifest = Manifest { version: 1, quorum: 2, signers, ..Manifest::default() };
        let auth = Auth::new(core_key(&manifest), manifest.clone()).expect("its hash");
        let roots = [Node { index: 1, size: 5, hash: [5; 32] }, Node { index: 4, size: 1, hash: [6; 32] }];
        let state = TreeState { roots: &roots, length: 3, fork: 0 };
        let proof = |number: usize| Proof {
            signer: number as u64,
            signature: keys[number].sign(&auth.signable(&manifest.signers[number], &state)),
            patch: 0,
        };
        let stored = |proofs: Vec<Proof>| encode(&MultiSignature { proofs, patch: Vec::new() });
        assert!(auth.verify(&state, &stored(vec![proof(0), proof(2)])));
        assert!(auth.verify(&state, &stored(vec![proof(1), proof(0), Proof::default()])));
        assert!(!auth.verify(&state, &stored(vec![proof(1)])));
        assert!(!auth.verify(&state, &stored(vec![proof(1), proof(1)])));
        assert!(!auth.verify(&state, &stored(vec![Proof::default(), proof(0), proof(1)])));
        assert!(!auth.verify(&state, &stored(vec![proof(0), Proof { signer: 3, ..proof(1) }])));
        assert!(auth.sign(&keys[0], &state).is_err());
        let none = Manifest { quorum: 0, ..manifest };
        let auth = Auth::new(core_key(&none), none).expect("its hash");
        assert!(!auth.verify(&state, &stored(vec![])));
    }

    // proves hypercore.23
    #[test]
    fn a_prologue_needs_no_signature() {
        let all = vectors();
        let vector = all.iter().find(|vector| vector["name"] == "static-core").expect("there");
        let manifest: Manifest = decode(&bytes(&vector["expected"]["manifest"])).expect("a manifest");
        let auth = Auth::new(key(&vector["expected"]["key"]), manifest).expect("its hash");
        assert_eq!(auth.prologue_length(), 5);
        let whole = tree(&vector["inputs"]["blocks"], 5);
        assert!(auth.verify(&state(&whole), &[]));
        assert!(!auth.verify(&state(&tree(&vector["inputs"]["blocks"], 4)), &[]));
        let other = TreeState { roots: &whole.nodes()[..1], ..state(&whole) };
        assert!(!auth.verify(&other, &[]));
    }
}
