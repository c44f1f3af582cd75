//! Manifests: who may sign a core (hypercore.10 to hypercore.16), and the signatures that are stored with a tree.

use super::hypercore::Node;
use super::{Cursor, Format, Wire};
use crate::base::{Key, Malformed, limits};

pub const FORMATS: &[Format] =
    &[super::format::<Manifest>(), super::format::<MultiSignature>(), super::format::<MultiSignatureV0>()];

/// The newest version that is decoded; a higher one is malformed.
pub const VERSION_MAX: u64 = 3;

/// The namespace of a signer unless another is given: the fourth of the hashes that hypercore keeps its uses apart by.
pub const DEFAULT_NAMESPACE: Key = [
    0x41, 0x44, 0xee, 0xa5, 0x31, 0xe4, 0x83, 0xd5, 0x4e, 0x0c, 0x14, 0xf4, 0xca, 0x68, 0xe0, 0x64, 0x4f,
    0x35, 0x53, 0x43, 0xff, 0x6f, 0xcb, 0x0f, 0x00, 0x52, 0x00, 0xe1, 0x2c, 0xd7, 0x47, 0xcb,
];

/// A key that may sign, with the namespace that version 0 mixes into what is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signer {
    pub namespace: Key,
    pub public: Key,
}

impl Signer {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.exactly("signature", 0)?;
        c.fixed("namespace", &mut self.namespace)?;
        c.fixed("public key", &mut self.public)
    }
}

/// A tree that every holder of the core starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prologue {
    /// The tree hash at `length`.
    pub hash: Key,
    pub length: u64,
}

/// What a core's key is the hash of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// 0 to 3.
    pub version: u64,
    pub allow_patch: bool,
    /// How many signers must sign.
    pub quorum: u64,
    pub signers: Vec<Signer>,
    pub prologue: Option<Prologue>,
    /// Keys of other cores; since version 2.
    pub linked: Option<Vec<Key>>,
    /// Since version 2.
    pub user_data: Option<Vec<u8>>,
}

impl Manifest {
    /// Follows hypercore.10.
    fn walk_v0(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.exactly("hash", 0)?;
        let single = self.quorum == 1 && self.signers.len() == 1 && !self.allow_patch;
        let kind = match (self.prologue, single) {
            (Some(_), _) if self.signers.is_empty() => 0,
            (_, true) => 1,
            (_, false) => 2,
        };
        self.linked = None;
        self.user_data = None;
        match c.one_of("type", kind, 3)? {
            0 => {
                (self.allow_patch, self.quorum) = (false, 0);
                self.signers.clear();
                let prologue = self.prologue.get_or_insert_default();
                prologue.length = 0;
                c.fixed("tree hash", &mut prologue.hash)
            }
            1 => {
                (self.allow_patch, self.quorum, self.prologue) = (false, 1, None);
                self.signers.resize(1, Signer::default());
                self.signers[0].walk(c)
            }
            _ => {
                self.prologue = None;
                [self.allow_patch] = c.bits("flags", [self.allow_patch])?;
                c.uint("quorum", &mut self.quorum)?;
                c.list("signers", &mut self.signers, limits::ARRAY_MAX, 65, |c, signer| signer.walk(c))
            }
        }
    }
}

/// Follows hypercore.12.
impl Wire for Manifest {
    const NAME: &'static str = "manifest.manifest";
    const RULE: &'static str = "hypercore.11";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("type", "hypercore.10"),
        ("tree hash", "hypercore.10"),
        ("namespace", "hypercore.10"),
        ("public key", "hypercore.10"),
        ("signature", "hypercore.10"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        self.version = c.one_of("version", self.version, VERSION_MAX + 1)?;
        if self.version == 0 {
            return self.walk_v0(c);
        }
        let flags =
            [self.allow_patch, self.prologue.is_some(), self.linked.is_some(), self.user_data.is_some()];
        let [patch, prologue, linked, user_data] = c.bits("flags", flags)?;
        self.allow_patch = patch;
        c.exactly("hash", 0)?;
        c.uint("quorum", &mut self.quorum)?;
        c.list("signers", &mut self.signers, limits::ARRAY_MAX, 65, |c, signer| signer.walk(c))?;
        c.when(prologue, &mut self.prologue, |c, prologue| {
            c.fixed("prologue hash", &mut prologue.hash)?;
            c.uint("prologue length", &mut prologue.length)
        })?;
        c.when(linked, &mut self.linked, |c, linked| {
            c.list("linked", linked, limits::ARRAY_MAX, 32, |c, key| c.fixed("linked key", key))
        })?;
        c.when(user_data, &mut self.user_data, |c, data| {
            c.buffer("user data", data, limits::MANIFEST_DATA_MAX)
        })
    }
}

/// One signature of a `MultiSignature`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// Which of the manifest's signers.
    pub signer: u64,
    pub signature: [u8; 64],
    /// How many blocks longer the tree was that was signed.
    pub patch: u64,
}

impl Default for Proof {
    fn default() -> Proof {
        Proof { signer: 0, signature: [0; 64], patch: 0 }
    }
}

/// How manifests from version 1 on store a signature, one signer or many.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MultiSignature {
    pub proofs: Vec<Proof>,
    /// Tree nodes that lead from the tree to the longer ones that were signed.
    pub patch: Vec<Node>,
}

impl Wire for MultiSignature {
    const NAME: &'static str = "manifest.signature";
    const RULE: &'static str = "hypercore.21";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.list("proofs", &mut self.proofs, limits::ARRAY_MAX, 66, |c, proof| {
            c.uint("signer", &mut proof.signer)?;
            c.fixed("signature", &mut proof.signature)?;
            c.uint("patch", &mut proof.patch)
        })?;
        c.list("nodes", &mut self.patch, limits::ARRAY_MAX, 34, |c, node| node.walk(c))
    }
}

/// The nodes of a `MultiSignatureV0` that make a tree longer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PatchV0 {
    /// Behind the last block of its last node.
    pub start: u64,
    /// How many blocks longer the tree was that was signed.
    pub length: u64,
    /// Which of the nodes.
    pub nodes: Vec<u64>,
}

/// One signature of a `MultiSignatureV0`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProofV0 {
    /// Which of the manifest's signers.
    pub signer: u64,
    pub signature: [u8; 64],
    pub patch: Option<PatchV0>,
}

impl Default for ProofV0 {
    fn default() -> ProofV0 {
        ProofV0 { signer: 0, signature: [0; 64], patch: None }
    }
}

/// How manifests of version 0 with several signers store a signature.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MultiSignatureV0 {
    pub proofs: Vec<ProofV0>,
    pub patch: Vec<Node>,
}

impl Wire for MultiSignatureV0 {
    const NAME: &'static str = "manifest.signature_v0";
    const RULE: &'static str = "hypercore.58";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.list("proofs", &mut self.proofs, limits::ARRAY_MAX, 66, |c, proof| {
            let [patch] = c.bits("flags", [proof.patch.is_some()])?;
            c.uint("signer", &mut proof.signer)?;
            c.fixed("signature", &mut proof.signature)?;
            c.when(patch, &mut proof.patch, |c, patch| {
                c.uint("start", &mut patch.start)?;
                c.uint("length", &mut patch.length)?;
                c.list("node numbers", &mut patch.nodes, limits::ARRAY_MAX, 1, |c, n| {
                    c.uint("node number", n)
                })
            })
        })?;
        c.list("nodes", &mut self.patch, limits::ARRAY_MAX, 34, |c, node| node.walk(c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seeded, hex};
    use crate::wire::{decode, encode, invent};

    fn vectors() -> Vec<serde_json::Value> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/manifest.json"));
        let file: serde_json::Value = serde_json::from_str(text).expect("the vectors");
        file["vectors"].as_array().expect("a list").clone()
    }

    // proves hypercore.10, hypercore.11
    #[test]
    fn manifests_of_every_version_come_back() {
        let mut seen = [0; 4];
        for vector in vectors().iter().filter(|vector| vector["name"] == "manifest") {
            let bytes = hex::decode(vector["expected"]["encoded"].as_str().expect("hex")).expect("hex");
            let manifest: Manifest = decode(&bytes).expect("a manifest");
            let said = &vector["inputs"]["normalised"];
            assert_eq!(said["version"], manifest.version);
            assert_eq!(said["quorum"], manifest.quorum);
            assert_eq!(said["allowPatch"], manifest.allow_patch);
            assert_eq!(said["signers"].as_array().expect("a list").len(), manifest.signers.len());
            for (signer, wanted) in manifest.signers.iter().zip(said["signers"].as_array().expect("a list")) {
                assert_eq!(wanted["publicKey"], hex::encode(&signer.public));
                assert_eq!(wanted["namespace"], hex::encode(&signer.namespace));
            }
            assert_eq!(encode(&manifest), bytes, "{}", vector["inputs"]["name"]);
            for len in 0..bytes.len() {
                assert!(decode::<Manifest>(&bytes[..len]).is_err(), "a prefix of {len}");
            }
            seen[manifest.version as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    // proves hypercore.12
    #[test]
    fn versions_above_three_are_refused() {
        let fault = decode::<Manifest>(&[4, 0, 0, 0, 0]).expect_err("too new");
        assert_eq!(fault.field, "version");
        let fault = decode::<Manifest>(&[0, 0, 3]).expect_err("no such type");
        assert_eq!(fault.field, "type");
        let fault = decode::<Manifest>(&[1, 0, 1, 1, 0]).expect_err("no such hash");
        assert_eq!(fault.field, "hash");
    }

    #[test]
    fn invented_manifests_come_back() {
        for seed in 0..300 {
            let invented: Manifest = invent(&mut Seeded::new(seed));
            let bytes = encode(&invented);
            assert_eq!(encode(&decode::<Manifest>(&bytes).expect("legal")), bytes);
        }
    }
}
