//! Two trees of one fork that the same keys signed: the core is frozen, and both sides are shown the proof. Follows
//! replication.94 to replication.97.

use super::auth::TreeState;
use super::flat_tree::full_roots;
use super::proof::{self, Held};
use super::replicate::{Close, Event, Output, PeerId, Replicator};
use super::serve::{Answer, answer};
use super::{Hypercore, tree};
use crate::base::{Cx, Error, Key, trace};
use crate::wire::hypercore::{Data, Grow, Request, kind};
use crate::wire::{compact, encode};

/// The user data of a frozen core: fork and length of the tree that another contradicts. (replication.96)
const FROZEN: &str = "seckel/frozen";

impl Hypercore {
    /// Two trees of this core contradict each other: nothing is added to it, nor taken from peers, for good.
    /// (replication.96)
    pub fn frozen(&self) -> bool {
        self.user_data(FROZEN).is_some()
    }

    /// Freezes the core, for two trees of `fork` that differ within the first `length` blocks are signed.
    pub fn freeze(&mut self, cx: &mut Cx<'_>, fork: u64, length: u64) -> Result<(), Error> {
        let mut value = Vec::new();
        compact::put_uint(&mut value, fork);
        compact::put_uint(&mut value, length);
        self.set_user_data(cx, FROZEN, Some(&value))
    }

    pub(super) fn check_frozen(&self) -> Result<(), Error> {
        if self.frozen() {
            Err(Error::Refused("the core is frozen: two of its trees contradict"))
        } else {
            Ok(())
        }
    }

    /// The hash of the tree as it was at `length` blocks, if its roots are here.
    fn tree_hash_at(&mut self, cx: &mut Cx<'_>, length: u64) -> Option<Key> {
        let mut roots = Vec::new();
        for root in full_roots(length) {
            roots.push(self.tree_node(cx, root).ok()??);
        }
        Some(tree::tree_hash(&roots))
    }
}

/// A request that is answered with a proof of the first `length` blocks, without anything here that it builds on.
fn whole(fork: u64, length: u64) -> Request {
    Request { fork, upgrade: Some(Grow { start: 0, length }), ..Request::default() }
}

impl Replicator {
    /// Asks a peer whose proof was wrong for one of all that we both have: it may have another tree. (replication.94)
    pub(super) fn ask_conflict(&mut self, core: &Hypercore, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let length = core.length().min(peer.sync.length);
        if length > 0 && peer.sync.fork == core.fork() {
            peer.send(kind::REQUEST, whole(peer.sync.fork, length));
        }
    }

    /// A proof that has the id of no request: it may contradict ours. (replication.95)
    pub(super) fn on_unasked(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, data: &Data) {
        self.stats.unasked += 1;
        let Some(length) = contradicts(cx, core, data) else {
            trace!(cx, Drop, "hypercore", part: id, rule: "replication.90", "nobody asked for it");
            return;
        };
        let fork = core.fork();
        trace!(cx, State, "hypercore", part: id, rule: "replication.96", "another tree of length {length}, frozen");
        if let Err(why) = core.freeze(cx, fork, length) {
            self.tell(Event::Stalled { why });
        }
        self.tell(Event::Conflict { length, fork });
        self.end_frozen(cx, core, id, data);
    }

    /// Shows every peer both proofs, and ends its channel. (replication.97)
    fn end_frozen(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, from: PeerId, theirs: &Data) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get(&id) else { continue };
            let length = core.length().min(peer.sync.length);
            if length > 0 && peer.sync.fork == core.fork() {
                if id != from {
                    let bytes = encode(theirs);
                    self.outputs.push_back(Output::Message { peer: id, kind: kind::DATA, bytes });
                }
                let request = whole(core.fork(), length);
                if let Answer::Data(data) = answer(cx, core, &request) {
                    let bytes = encode(&*data);
                    self.outputs.push_back(Output::Message { peer: id, kind: kind::DATA, bytes });
                }
            }
            self.close(cx, core, id, Close::Frozen);
        }
    }
}

/// Whether a proof of the first blocks is signed, and not what we have; then of how many. (replication.95)
fn contradicts(cx: &mut Cx<'_>, core: &mut Hypercore, data: &Data) -> Option<u64> {
    let upgrade = data.upgrade.as_ref().filter(|upgrade| upgrade.start == 0)?;
    let alone = data.block.is_none() && data.hash.is_none() && data.seek.is_none();
    if !alone || data.fork != core.fork() || upgrade.length > core.length() || core.frozen() {
        return None;
    }
    let prologue = core.manifest().and_then(|manifest| manifest.prologue);
    let prologue = prologue.map(|prologue| (prologue.hash, prologue.length));
    let held = Held { length: 0, fork: data.fork, roots: &[], prologue };
    let grown = proof::verify(&held, &mut |_| Ok(None), data).ok()?;
    let theirs = tree::tree_hash(&upgrade.nodes);
    if core.tree_hash_at(cx, upgrade.length)? == theirs {
        return None;
    }
    let state = TreeState { hash: grown.hash(), length: grown.length, fork: data.fork };
    let signature = upgrade.signature.as_deref().unwrap_or_default();
    core.auth()?.verify(&state, signature).then_some(upgrade.length)
}
