//! What a core says about itself to somebody who is not its replicator: hashes, proofs made and taken by hand, proofs
//! that need nothing else. Follows hypercore.98 to hypercore.100.

use super::auth::TreeState;
use super::proof::{self, Fault, Refusal};
use super::{Hypercore, answers};
use crate::base::{Cx, Error, Key};
use crate::wire::hypercore::{Data, Grow, RemoteProof, Request, Wanted};
use crate::wire::{decode, encode};

/// What a core is, at one look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    pub key: Key,
    pub discovery_key: Key,
    pub length: u64,
    pub contiguous_length: u64,
    pub byte_length: u64,
    pub fork: u64,
    pub padding: u64,
    pub files: FileBytes,
}

/// How long the files of a core are, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileBytes {
    pub oplog: u64,
    pub tree: u64,
    pub bitfield: u64,
    pub data: u64,
}

/// A proof that came by another way than a connection, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Blocks of the tree that it proves.
    pub length: u64,
    /// Whether that is more than we know of.
    pub newer: bool,
    /// The block that came with it.
    pub block: Option<(u64, Vec<u8>)>,
}

impl Hypercore {
    pub fn info(&mut self, cx: &mut Cx<'_>) -> Result<Info, Error> {
        self.check_open()?;
        let [tree, bitfield, data] = self.store.lengths(cx)?;
        let oplog = cx.disk.len(self.oplog.file())?;
        Ok(Info {
            key: *self.key(),
            discovery_key: *self.discovery_key(),
            length: self.length(),
            contiguous_length: self.contiguous_length(),
            byte_length: self.byte_length(),
            fork: self.fork(),
            padding: self.padding(),
            files: FileBytes { oplog, tree, bitfield, data },
        })
    }

    /// The hash of the roots of the first `length` blocks. `Missing` if one of them is not known.
    pub fn tree_hash_at(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<Key, Error> {
        Ok(self.roots_at(cx, length)?.hash())
    }

    /// What the signer signs for the first `length` blocks and a fork. `Refused` if nobody knows who may sign, or each
    /// signs something else (version 0 with several). (hypercore.18)
    pub fn signable_at(&mut self, cx: &mut Cx<'_>, length: u64, fork: u64) -> Result<Vec<u8>, Error> {
        let roots = self.roots_at(cx, length)?;
        let state = TreeState { roots: roots.nodes(), length, fork };
        let signable = self.auth.as_ref().and_then(|auth| auth.signable_of(&state));
        signable.ok_or(Error::Refused("there is not one thing that is signed"))
    }

    pub(super) fn roots_at(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<super::Roots, Error> {
        self.check_open()?;
        if length > self.length() {
            return Err(Error::Invalid("longer than the core"));
        }
        self.gather(cx, length, &Default::default()).map_err(|error| match error {
            Error::Refused(_) => Error::Missing,
            other => other,
        })
    }

    /// How many nodes are missing above a block until the first that is here: what to ask a peer for with it.
    pub fn missing_nodes(&mut self, cx: &mut Cx<'_>, block: u64) -> Result<u64, Error> {
        self.check_open()?;
        let index = block.checked_mul(2).ok_or(Error::Invalid("no such block"))?;
        let length = self.length();
        proof::missing_nodes(length, index, &mut |index| Ok(self.tree_node(cx, index)?.is_some()))
    }

    /// The answer to a request, as a peer would get it; its fork is not looked at. `Missing` if the block or a node is
    /// not here, `Invalid` if no tree could answer that. (hypercore.98)
    pub fn proof(&mut self, cx: &mut Cx<'_>, request: &Request) -> Result<Data, Error> {
        self.check_open()?;
        let request = Request { fork: self.fork(), ..*request };
        let prologue = self.manifest().and_then(|manifest| manifest.prologue).map(|prologue| prologue.length);
        let made = proof::prove(self.length(), prologue, &mut |index| self.tree_node(cx, index), &request);
        let mut data = made.map_err(|refusal| match refusal {
            Refusal::Invalid => Error::Invalid("no tree could answer that"),
            Refusal::Missing(_) => Error::Missing,
            Refusal::Failed(error) => error,
        })?;
        if let Some(block) = &mut data.block {
            block.value = self.get_raw(cx, block.index)?.ok_or(Error::Missing)?;
        }
        if let Some(upgrade) = &mut data.upgrade {
            upgrade.signature = Some(self.signature().to_vec());
        }
        if request.manifest {
            data.manifest = self.manifest().cloned();
        }
        Ok(data)
    }

    /// Stores what an answer proves, if it is good and of this fork. (hypercore.44, hypercore.98)
    pub fn apply_proof(&mut self, cx: &mut Cx<'_>, data: Data) -> Result<(), Fault> {
        self.check_change().map_err(Fault::Storage)?;
        let mut change = answers::check(cx, self, &data)?;
        change.block = data.block.map(|block| (block.index, block.value));
        self.apply(cx, change).map_err(Fault::Storage)
    }

    /// Checks an answer that proves a tree from block 0 on, with nothing that is here but the manifest: its length.
    /// (hypercore.98)
    pub fn verify_alone(&self, data: &Data) -> Result<u64, Fault> {
        let auth = answers::auth(self, data.manifest.as_ref()).ok_or(Fault::Manifest)?;
        let prologue = auth.manifest().prologue.map(|prologue| (prologue.hash, prologue.length));
        let grown = proof::verify_alone(prologue, data)?;
        let signature = data.upgrade.as_ref().and_then(|upgrade| upgrade.signature.as_deref());
        let state = TreeState { roots: &grown.roots, length: grown.length, fork: data.fork };
        if !grown.grew || !auth.verify(&state, signature.unwrap_or_default()) {
            return Err(Fault::Signature);
        }
        Ok(grown.length)
    }

    /// A proof of this core's tree, with a block or without, for somebody who has its key and no connection: in a push
    /// notification for instance. (hypercore.99)
    pub fn remote_proof(&mut self, cx: &mut Cx<'_>, block: Option<u64>) -> Result<Vec<u8>, Error> {
        let request = Request {
            block: block.map(|index| Wanted { index, nodes: 0 }),
            upgrade: Some(Grow { start: 0, length: self.length() }),
            manifest: true,
            ..Request::default()
        };
        let data = self.proof(cx, &request)?;
        Ok(encode(&RemoteProof { discovery_key: *self.discovery_key(), data }))
    }

    /// Checks such a proof; None if it is of another core or fork, or not good. Nothing is stored.
    /// (hypercore.99, hypercore.100)
    pub fn check_remote_proof(&self, bytes: &[u8]) -> Option<Told> {
        let RemoteProof { discovery_key, data } = decode(bytes).ok()?;
        if discovery_key != self.discovery_key || data.fork < self.fork {
            return None;
        }
        let length = self.verify_alone(&data).ok()?;
        let newer = data.fork > self.fork || length > self.length();
        Some(Told { length, newer, block: data.block.map(|block| (block.index, block.value)) })
    }
}
