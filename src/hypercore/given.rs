//! Signatures that somebody else made, and cuts to a fork of one's own choice. Follows hypercore.95, hypercore.96.

use super::Hypercore;
use super::auth::TreeState;
use crate::base::{Cx, Error};
use crate::crypto::sign::KeyPair;
use crate::wire::oplog::TreeUpgrade;

impl Hypercore {
    /// Signs with that pair from now on, or with None not at all. It is not stored.
    pub fn set_key_pair(&mut self, key_pair: Option<KeyPair>) {
        self.key_pair = key_pair;
    }

    /// `append` with a signature of the tree that it makes, as it is stored: that of several signers, or of somebody
    /// who is not here; empty for a manifest's prologue. Blocks are encrypted if the core has a key for that.
    ///
    /// `Refused`: the signature is not good for that tree, or nobody knows who may sign. (hypercore.95)
    pub fn append_signed<B: AsRef<[u8]>>(
        &mut self,
        cx: &mut Cx<'_>,
        blocks: &[B],
        signature: &[u8],
    ) -> Result<u64, Error> {
        match self.sealed(blocks) {
            Some(sealed) => self.put(cx, &sealed, Some(signature)),
            None => self.put(cx, blocks, Some(signature)),
        }
    }

    /// Cuts the core to `length` blocks and signs that, with a fork number that is higher than the one it has. The
    /// length may be that of the core: then only the fork is new. (hypercore.46, hypercore.96)
    pub fn truncate_to(&mut self, cx: &mut Cx<'_>, length: u64, fork: u64) -> Result<(), Error> {
        self.truncate_with(cx, length, fork, None)
    }

    /// The same with a signature that somebody else made. (hypercore.95)
    pub fn truncate_signed(
        &mut self,
        cx: &mut Cx<'_>,
        length: u64,
        fork: u64,
        signature: &[u8],
    ) -> Result<(), Error> {
        self.truncate_with(cx, length, fork, Some(signature))
    }

    fn truncate_with(
        &mut self,
        cx: &mut Cx<'_>,
        length: u64,
        fork: u64,
        given: Option<&[u8]>,
    ) -> Result<(), Error> {
        self.check_change()?;
        if length > self.length() {
            return Err(Error::Invalid("longer than the core"));
        }
        if fork <= self.fork {
            return Err(Error::Invalid("a fork that is not higher"));
        }
        let roots = self.gather(cx, length, &Default::default())?;
        let state = TreeState { roots: roots.nodes(), length, fork };
        let signature = self.vouch(&state, given)?;
        self.cut(cx, TreeUpgrade { fork, ancestors: length, length, signature }, Vec::new(), roots)
    }

    /// The signature of a tree that is to be stored: ours, or a given one if it is good. (hypercore.95)
    pub(super) fn vouch(&self, state: &TreeState<'_>, given: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let auth = self.auth.as_ref().ok_or(Error::Refused("nobody knows who may sign the core"))?;
        let prologue = auth.prologue_length();
        if state.length < prologue || (state.length == prologue && prologue > 0 && !auth.verify(state, &[])) {
            return Err(Error::Refused("not the prologue of the manifest"));
        }
        match (given, &self.key_pair) {
            (Some(signature), _) if auth.verify(state, signature) => Ok(signature.to_vec()),
            (Some(_), _) => Err(Error::Refused("the signature is not good for that tree")),
            (None, Some(pair)) => auth.sign(pair, state),
            (None, None) => Err(Error::Refused("the core has no key pair here")),
        }
    }
}
