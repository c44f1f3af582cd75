//! Signatures of several: each signs its own copy of the log, and what they signed is put together. Follows
//! hypercore.21, hypercore.58, hypercore.59.
//!
//! A signer that is ahead counts if the manifest allows patches: its part brings the nodes that lead from the length
//! that all sign to the longer one that it signed.

use super::auth::{Auth, TreeState};
use super::{Hypercore, proof};
use crate::base::{Cx, Error};
use crate::crypto::sign::KeyPair;
use crate::wire::encode;
use crate::wire::hypercore::Node;
use crate::wire::manifest::{MultiSignature, MultiSignatureV0, PatchV0, Proof, ProofV0};

use super::flat_tree::right_span;

/// What one signer gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which of the manifest's signers.
    pub signer: u64,
    pub signature: [u8; 64],
    /// How many blocks longer its tree is than what is signed together.
    pub patch: u64,
    /// What makes the one out of the other.
    pub nodes: Vec<Node>,
}

/// How long a tree can be so that at least `quorum` logs of these lengths hold it.
pub fn signable_length(lengths: &[u64], quorum: u64) -> u64 {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let at = usize::try_from(quorum.max(1) - 1).unwrap_or(usize::MAX);
    sorted.get(at).copied().unwrap_or(0)
}

/// The parts as one signature, in the form of the core's manifest.
pub fn assemble(auth: &Auth, parts: &[Part]) -> Vec<u8> {
    if auth.manifest().version == 0 { assemble_v0(parts) } else { assemble_v1(parts) }
}

/// hypercore.21: each node once, by its index.
fn assemble_v1(parts: &[Part]) -> Vec<u8> {
    let mut patch: Vec<Node> = Vec::new();
    for node in parts.iter().flat_map(|part| &part.nodes) {
        if !patch.iter().any(|known| known.index == node.index) {
            patch.push(*node);
        }
    }
    let proof = |part: &Part| Proof { signer: part.signer, signature: part.signature, patch: part.patch };
    encode(&MultiSignature { proofs: parts.iter().map(proof).collect(), patch })
}

/// hypercore.58: each node once, and each proof says which are its own.
fn assemble_v0(parts: &[Part]) -> Vec<u8> {
    let mut patch: Vec<Node> = Vec::new();
    let mut proofs = Vec::new();
    for part in parts {
        let mut nodes = Vec::new();
        for node in &part.nodes {
            let at = patch.iter().position(|known| known == node).unwrap_or(patch.len());
            if at == patch.len() {
                patch.push(*node);
            }
            nodes.push(at as u64);
        }
        let start = part.nodes.last().map_or(0, |last| right_span(last.index) / 2 + 1);
        let own = PatchV0 { start, length: part.patch, nodes };
        let patch = (part.patch > 0).then_some(own);
        proofs.push(ProofV0 { signer: part.signer, signature: part.signature, patch });
    }
    encode(&MultiSignatureV0 { proofs, patch })
}

impl Hypercore {
    /// Signs this log's tree as one of the signers of `auth`, whose core is to have the first `length` blocks of it.
    /// The fork is that of this log.
    ///
    /// `Refused`: the pair is none of the signers. `Invalid`: this log is shorter. (hypercore.59)
    pub fn sign_part(
        &mut self,
        cx: &mut Cx<'_>,
        auth: &Auth,
        keys: &KeyPair,
        length: u64,
    ) -> Result<Part, Error> {
        self.check_open()?;
        let own = self.length();
        if length > own {
            return Err(Error::Invalid("longer than the log"));
        }
        let state = TreeState { roots: self.roots(), length: own, fork: self.fork() };
        let (signer, signature) = auth.sign_part(keys, &state)?;
        let wanted = proof::growth(2 * length, 2 * own).map_err(|_| Error::Missing)?;
        let mut nodes = Vec::with_capacity(wanted.len());
        for index in if own > length { wanted } else { Vec::new() } {
            nodes.push(self.tree_node(cx, index)?.ok_or(Error::Missing)?);
        }
        Ok(Part { signer, signature, patch: own - length, nodes })
    }
}
