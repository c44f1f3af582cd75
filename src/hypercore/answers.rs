//! What peers answer: it is checked against what was asked and against the tree, then stored. Follows replication.29 to
//! replication.36 and replication.88 to replication.93. What is asked is in `fetch.rs`.

use super::auth::{Auth, TreeState};
use super::fetch::Asked;
use super::proof::{self, Held};
use super::replicate::{Event, Fault, Peer, PeerId, Replicator};
use super::{Change, Hypercore, Upgrade};
use crate::base::{Cx, Error, trace};
use crate::wire::hypercore::{Cancel, Data, INVALID_REQUEST, NOT_AVAILABLE, NoData, kind};
use crate::wire::manifest::Manifest;

/// Answers without data of one kind, until a peer is no longer asked. (replication.88)
const NO_DATA_MAX: u32 = 32;

impl Replicator {
    /// A request is over without success: others may be asked, and what waits for its answer waits in vain.
    pub(super) fn give_up(&mut self, id: PeerId, asked: &Asked) {
        self.ask_again(id, asked);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut lost = peer.asking.settle(asked);
        while let Some((asked, _)) = lost.pop() {
            self.ask_again(id, &asked);
            if let Some(peer) = self.peers.get_mut(&id) {
                lost.extend(peer.asking.settle(&asked));
            }
        }
    }

    /// What was asked is no longer asked of this peer, and did not come: others may be asked.
    pub(super) fn ask_again(&mut self, id: PeerId, asked: &Asked) {
        self.forget(id, asked);
        if let Some(index) = asked.block
            && !self.inflight.contains_key(&index)
        {
            self.peers.quietly().for_each(|peer| peer.asking.restart(index));
        }
    }

    /// What was asked is no longer asked of this peer.
    pub(super) fn forget(&mut self, id: PeerId, asked: &Asked) {
        if let Some(index) = asked.block
            && let Some(of) = self.inflight.get_mut(&index)
        {
            of.retain(|other| *other != id);
            if of.is_empty() {
                self.inflight.remove(&index);
            }
        }
        if asked.upgrade.is_some() && self.upgrading == Some(id) {
            self.upgrading = None;
        }
        if let Some((job, _)) = asked.seek {
            self.seek_lost(job, id);
        }
        if asked.manifest && self.manifest_from == Some(id) {
            self.manifest_from = None;
        }
    }

    /// Nothing is asked of this peer any more.
    pub(super) fn forget_requests(&mut self, id: PeerId, peer: &mut Peer) {
        for (_, asked) in std::mem::take(&mut peer.asking.asked) {
            self.ask_again(id, &asked);
        }
        for (asked, _) in std::mem::take(&mut peer.asking.early).into_values().flatten() {
            self.ask_again(id, &asked);
        }
        peer.asking.early_count = 0;
        peer.asking.promised.clear();
    }

    /// A peer that broke the protocol is asked for nothing any more, and told nothing. (replication.89)
    pub(super) fn pause(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, why: Fault) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        trace!(cx, State, "hypercore", part: id, rule: "replication.89", "paused: {why:?}");
        peer.paused = true;
        let ids: Vec<u64> = peer.asking.asked.keys().copied().collect();
        self.forget_requests(id, &mut peer);
        for request in ids {
            peer.send(kind::CANCEL, Cancel { request });
        }
        self.peers.insert(id, peer);
        self.tell(Event::Fault { peer: id, why });
        self.update_all(cx, core);
    }

    pub(super) fn on_no_data(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, no_data: NoData) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(asked) = peer.asking.take(no_data.request) else { return };
        self.stats.no_data += 1;
        self.heard(cx, id);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if asked.fork != peer.sync.fork {
            // replication.67
            self.give_up(id, &asked);
            return self.update_all(cx, core);
        }
        let count = match no_data.reason {
            NOT_AVAILABLE => &mut peer.asking.not_available,
            INVALID_REQUEST => &mut peer.asking.invalid,
            _ => &mut peer.asking.empty,
        };
        *count += 1;
        let over = *count >= NO_DATA_MAX;
        if asked.upgrade.is_some() {
            peer.asking.without = asked.block;
        }
        self.give_up(id, &asked);
        if over {
            return self.pause(cx, core, id, Fault::NoData);
        }
        self.update_all(cx, core);
    }

    pub(super) fn on_data(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, data: Data) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let asked = if data.request == 0 { None } else { peer.asking.take(data.request) };
        let Some(asked) = asked else {
            return match data.block {
                Some(_) if data.request == 0 && self.allow_push => self.on_push(cx, core, id, data),
                _ => self.on_unasked(cx, core, id, &data),
            };
        };
        self.heard(cx, id);
        let mut answers = vec![(asked, data)];
        while let Some((asked, data)) = answers.pop() {
            if !self.take_answer(cx, core, id, asked, data, &mut answers) {
                return answers.into_iter().for_each(|(asked, _)| self.give_up(id, &asked));
            }
        }
        self.ask_later(id);
    }

    /// Takes one answer; those that waited for it are put to `answers`. False if the peer is to be left alone.
    fn take_answer(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        asked: Asked,
        data: Data,
        answers: &mut Vec<(Asked, Data)>,
    ) -> bool {
        if asked.fork > core.fork() && data.fork > core.fork() {
            return self.on_fork_data(cx, core, id, &asked, data);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if !matches(&asked, &data) || data.fork != core.fork() {
            trace!(cx, Drop, "hypercore", part: id, rule: "replication.90", "it is not what was asked");
            peer.asking.empty += 1;
            let over = peer.asking.empty >= NO_DATA_MAX;
            self.give_up(id, &asked);
            if over {
                self.pause(cx, core, id, Fault::Proof(proof::Fault::Unasked));
            }
            return !over;
        }
        let stale = asked.upgrade.is_some_and(|upgrade| upgrade.start != core.length());
        let size = data.block.as_ref().map(|block| (block.index, block.value.len() as u64));
        match check(cx, core, &data) {
            Ok(mut change) => {
                change.block = data.block.map(|block| (block.index, block.value));
                if let Err(error) = core.apply(cx, change) {
                    return self.on_store_failed(cx, core, id, &asked, error);
                }
                answers.extend(peer.asking.settle(&asked));
                self.forget(id, &asked);
                self.stored();
                if let Some((index, bytes)) = size {
                    self.on_block(cx, core, id, index, bytes);
                }
                if !self.jobs.seeks.is_empty() {
                    self.update_seeks(cx, core);
                }
                if asked.upgrade.is_some() {
                    self.update_all(cx, core);
                }
                true
            }
            Err(proof::Fault::Loose { node }) if asked.counts && peer.asking.promised.contains(&node) => {
                trace!(cx, Step, "hypercore", part: id, rule: "replication.93", "waits for node {node}");
                peer.asking.early.entry(node).or_default().push((asked, data));
                peer.asking.early_count += 1;
                true
            }
            Err(proof::Fault::Storage(error)) => self.on_store_failed(cx, core, id, &asked, error),
            // Another peer's answer came first, or what this one counts on did not come.
            Err(fault) if stale || (asked.counts && matches!(fault, proof::Fault::Loose { .. })) => {
                trace!(cx, Drop, "hypercore", part: id, "it does not fit any more: {fault:?}");
                self.give_up(id, &asked);
                true
            }
            Err(fault) => {
                self.stats.invalid_data += 1;
                self.give_up(id, &asked);
                self.pause(cx, core, id, Fault::Proof(fault));
                if !matches!(fault, proof::Fault::Loose { .. }) {
                    self.ask_conflict(core, id);
                }
                false
            }
        }
    }

    /// A disk that fails is not the peer's fault. (replication.92)
    fn on_store_failed(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        asked: &Asked,
        why: Error,
    ) -> bool {
        self.give_up(id, asked);
        match why {
            Error::Io(_) | Error::Corrupt(_) => self.stall(cx, why),
            _ => self.pause(cx, core, id, Fault::Proof(proof::Fault::Storage(why))),
        }
        false
    }

    /// A block is here: nobody else needs to send it.
    pub(super) fn on_block(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        from: PeerId,
        index: u64,
        bytes: u64,
    ) {
        self.stats.blocks_received += 1;
        self.stats.bytes_received += bytes;
        self.download_pace.take(cx.now, bytes);
        self.job_block(core, index);
        if let Some(peer) = self.peers.get_mut(&from) {
            let mean = &mut peer.asking.mean_bytes;
            *mean = if *mean == 0 { bytes.max(1) } else { (*mean * 7 + bytes) / 8 };
        }
        for other in self.inflight.remove(&index).unwrap_or_default() {
            let Some(peer) = self.peers.get_mut(&other) else { continue };
            if let Some((request, asked)) = peer.asking.cancel(index) {
                peer.send(kind::CANCEL, Cancel { request });
                self.stats.cancels += 1;
                self.give_up(other, &asked);
            }
        }
        self.tell(Event::Downloaded { index });
        self.have(cx, core, index);
    }
}

/// Verifies all of an answer: what it changes, still without its block. (replication.29 to replication.36,
/// replication.91)
pub(super) fn check(cx: &mut Cx<'_>, core: &mut Hypercore, data: &Data) -> Result<Change, proof::Fault> {
    let roots = core.roots().to_vec();
    let prologue = core.manifest().and_then(|manifest| manifest.prologue);
    let held = Held {
        length: core.length(),
        fork: core.fork(),
        roots: &roots,
        prologue: prologue.map(|prologue| (prologue.hash, prologue.length)),
    };
    let mut grown = proof::verify(&held, &mut |index| core.tree_node(cx, index), data)?;
    let mut change = Change { nodes: std::mem::take(&mut grown.nodes), ..Change::default() };
    if grown.grew || data.manifest.is_some() {
        let auth = auth(core, data.manifest.as_ref()).ok_or(proof::Fault::Manifest)?;
        if grown.grew {
            let state = TreeState { roots: &grown.roots, length: grown.length, fork: core.fork() };
            let signature =
                data.upgrade.as_ref().and_then(|upgrade| upgrade.signature.clone()).unwrap_or_default();
            if !auth.verify(&state, &signature) {
                return Err(proof::Fault::Signature);
            }
            change.upgrade = Some(Upgrade { fork: core.fork(), length: grown.length, signature });
        }
        if core.manifest().is_none() {
            change.manifest = Some(auth.manifest().clone());
        }
    }
    Ok(change)
}

/// Whether an answer holds what was asked, and nothing else. (replication.90)
fn matches(asked: &Asked, data: &Data) -> bool {
    data.block.as_ref().map(|block| block.index) == asked.block
        && data.hash.as_ref().map(|hash| hash.index) == asked.hash.map(|(hash, _)| hash.index)
        && data.seek.as_ref().is_none_or(|there| {
            asked.seek.is_some_and(|(_, seek)| seek.is_some_and(|seek| seek.bytes == there.bytes))
        })
        && data.upgrade.is_some() == asked.upgrade.is_some()
        && data.fork == asked.fork
        && (data.block.is_some() || data.hash.is_some() || data.upgrade.is_some() || data.manifest.is_some())
}

/// Who may sign a core: known, or as a peer's answer says. (replication.35)
pub(super) fn auth(core: &Hypercore, said: Option<&Manifest>) -> Option<Auth> {
    match core.auth() {
        Some(auth) => Some(auth.clone()),
        None => Auth::learn(*core.key(), said),
    }
}
