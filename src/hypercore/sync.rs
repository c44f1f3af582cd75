//! Telling peers what is here, and hearing what is there. Follows replication.40 to replication.46, replication.57 and
//! replication.58.

use std::collections::VecDeque;

use super::bitfield::PAGE_BITS;
use super::replicate::{Close, Event, Peer, PeerId, Replicator};
use super::{Hypercore, flat_tree};
use crate::base::{Cx, limits};
use crate::wire::hypercore::{Bitfield, Range, Sync, Want, kind};
use crate::wire::{decode, encode};

/// When a peer is told that a range is there although the blocks are old: not at all, unless it is behind this many.
const LAST_BLOCKS: u64 = 256;
impl Replicator {
    pub(super) fn on_sync(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, sync: Sync) {
        if !sync.downloading {
            self.ask_now(cx, core); // before it is said that nothing is asked for
        }
        let downloading = self.downloading();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let grew = sync.length != peer.sync.length;
        let same_fork = sync.fork == core.fork();
        let moved = sync.fork != peer.sync.fork;
        (peer.sync, peer.synced) = (sync, true);
        if !sync.downloading && !downloading {
            return self.close(cx, core, id, Close::Idle); // replication.16
        }
        peer.acked = if same_fork { sync.remote_length } else { 0 };
        peer.can_upgrade = if grew && same_fork {
            can_upgrade(cx, core, sync.length)
        } else {
            peer.can_upgrade && same_fork
        };
        if peer.can_upgrade {
            peer.upgradable = (sync.length, sync.fork);
        }
        if same_fork && core.length() > sync.length {
            peer.sync_due = true; // replication.42
        }
        peer.asking.retry();
        self.retry_seeks();
        if moved {
            self.cancel_others(id, sync.fork);
        }
        self.ask_later(id);
    }

    /// Looks whether the core changed, and tells the peers. Appends may come from anywhere.
    pub(super) fn notice(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        let now = (core.fork(), core.length());
        if core.manifest().is_some() && !std::mem::replace(&mut self.manifest_seen, true) {
            // replication.40: who asks for it in turn has to hear that it is here.
            let ids: Vec<PeerId> = self.peers.keys().copied().collect();
            for id in ids {
                self.peers.get_mut(&id).into_iter().for_each(|peer| peer.sync_due = true);
            }
        }
        if now == self.seen {
            return;
        }
        let (fork, length) = std::mem::replace(&mut self.seen, now);
        let cut = fork != now.0 || now.1 < length;
        let before = length.min(if cut { self.cut_at.unwrap_or(now.1) } else { length });
        self.cut_at = None;
        if cut {
            self.tell(Event::Truncated { length: before, fork: now.0 });
            self.fork = None;
        }
        if now.1 > before {
            self.tell(Event::Appended { length: now.1 });
        }
        self.job_core(cx, core, cut.then_some(before));
        self.scatter(cx, core);
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.sync_due = true;
            peer.asking.restart(0);
            if cut {
                peer.full_told = peer.full_told.min(before);
                peer.can_upgrade = false;
                if peer.sync.fork == now.0 {
                    core.note_remote_contiguous_length(peer.has.contiguous()); // hypercore.102
                }
            }
            review(cx, core, peer);
            if before < length {
                self.broadcast(core, id, before, length - before, true); // replication.47
            }
            if cut {
                self.cancel_others(id, now.0);
            }
            if before < now.1 && core.has(before) {
                let new = core.bits().first_unset(before).min(now.1) - before;
                self.broadcast(core, id, before, new, false);
            }
            self.update_peer(cx, core, id);
        }
    }

    /// Tells the peers that blocks are gone here. (replication.47)
    pub(super) fn gone(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, start: u64, end: u64) {
        self.job_gone(start);
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.full_told = peer.full_told.min(start);
            peer.asking.restart(start);
            self.broadcast(core, id, start, end - start, true);
            self.update_peer(cx, core, id);
        }
    }

    /// Tells every peer about a block that came; with its proof some may be led to our length who could not before.
    pub(super) fn have(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, index: u64) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.sync_due |= review(cx, core, peer);
            }
            self.broadcast(core, id, index, 1, false);
        }
    }

    /// Tells a peer that blocks came or went, if it should care. (replication.44 to replication.46)
    pub(super) fn broadcast(
        &mut self,
        core: &Hypercore,
        id: PeerId,
        mut start: u64,
        mut length: u64,
        drop: bool,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.paused {
            return;
        }
        let full = core.contiguous_length() == core.length();
        let old = start.saturating_add(LAST_BLOCKS) < core.length();
        if old && !drop && !full && !peer.wants.touch(start, start.saturating_add(length)) {
            return;
        }
        let mut force = false;
        if full && !drop {
            (start, length) = (0, core.length());
            if peer.full_told < length {
                peer.full_told = length;
                force = true;
            }
        }
        if !force && !drop {
            let known = peer.has.contiguous() >= start + length || (length == 1 && peer.has.get(start));
            if known {
                return;
            }
        }
        let range = Range { drop, start, length };
        if !peer.answering.writable && joined(&mut peer.out, &range) {
            return;
        }
        peer.slow |= peer.out.len() >= limits::REPLICATION_OUT_MAX;
        if !peer.slow {
            peer.send(kind::RANGE, range);
        }
    }

    pub(super) fn on_want(&mut self, id: PeerId, want: Want) {
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.wants.add(&want)
            && !peer.paused
        {
            peer.answering.want(want);
        }
    }

    pub(super) fn on_unwant(&mut self, id: PeerId, want: &Want) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.wants.remove(want);
            peer.answering.wants.retain(|other| other != want);
        }
    }

    /// The next message that tells a peer what is here of what it wants, made now: what waits are the wants, not the
    /// words. (replication.57, replication.58, replication.108)
    pub(super) fn next_told(&mut self, core: &Hypercore, id: PeerId) -> Option<(u64, Vec<u8>)> {
        let peer = self.peers.get_mut(&id).filter(|peer| !peer.paused)?;
        let length = core.length();
        let known = length.min(core.contiguous_length());
        let range = |start, length| (kind::RANGE, encode(&Range { drop: false, start, length }));
        while let Some(want) = peer.answering.wants.pop_front() {
            let start = want.start;
            let end = start.saturating_add(want.length);
            if end < known || known == length || (want.any && start < known) {
                return Some(range(0, known));
            }
            let end = end.min(length);
            if want.any {
                match core.bits().first_set(start).filter(|bit| *bit < end) {
                    Some(bit) => return Some(range(bit, 1)),
                    None => continue,
                }
            }
            let mut at = start / 32 * 32;
            while at < end {
                let stop = (at / SEGMENT + 1).saturating_mul(SEGMENT).min(end.div_ceil(32) * 32);
                let words = words(core, at, stop);
                if !words.is_empty() {
                    if stop < end {
                        let rest = Want { start: stop, length: end - stop, any: false };
                        peer.answering.wants.push_front(rest);
                    }
                    return Some((kind::BITFIELD, encode(&Bitfield { start: at, words })));
                }
                at = stop;
            }
        }
        None
    }

    /// The SYNC that is due to a peer. (replication.40)
    pub(super) fn sync_of(&mut self, core: &Hypercore, id: PeerId) -> Option<Sync> {
        let (downloading, allow_push) = (self.downloading(), self.takes_pushes());
        let peer = self.peers.get_mut(&id)?;
        if !std::mem::take(&mut peer.sync_due) {
            return None;
        }
        let same_fork = peer.sync.fork == core.fork();
        peer.can_upgrade &= same_fork;
        Some(Sync {
            fork: core.fork(),
            length: core.length(),
            remote_length: if same_fork { peer.sync.length } else { 0 },
            can_upgrade: peer.can_upgrade,
            uploading: true,
            downloading,
            has_manifest: core.auth().is_some_and(|auth| !auth.is_compat()),
            allow_push,
        })
    }
}

/// Puts a range to the one that waits last, if they touch and say the same. (replication.108)
fn joined(out: &mut VecDeque<(u64, Vec<u8>)>, range: &Range) -> bool {
    let Some((kind::RANGE, bytes)) = out.back_mut() else { return false };
    let Ok(last) = decode::<Range>(bytes) else { return false };
    let (last_end, end) = (last.start.saturating_add(last.length), range.start.saturating_add(range.length));
    if last.drop != range.drop || range.start > last_end || last.start > end {
        return false;
    }
    let start = last.start.min(range.start);
    *bytes = encode(&Range { drop: last.drop, start, length: last_end.max(end) - start });
    true
}

/// Bits of a segment: a bitfield message covers at most one.
const SEGMENT: u64 = 2_097_152;

/// The words of the blocks `from..to` (multiples of 32), without the zeros behind the last that is there.
fn words(core: &Hypercore, from: u64, to: u64) -> Vec<u32> {
    let mut words = Vec::new();
    let mut at = from;
    let last = to.checked_sub(1).and_then(|last| core.bits().last_set(last));
    let to = last.map_or(from, |last| to.min((last / 32 + 1) * 32));
    while at < to {
        let page = core.bits().page(at / PAGE_BITS);
        let behind = (at / PAGE_BITS + 1) * PAGE_BITS;
        let stop = behind.min(to);
        let skip = (at % PAGE_BITS / 32) as usize;
        let count = ((stop - at) / 32) as usize;
        match page {
            Some(page) => words.extend_from_slice(&page[skip..skip + count]),
            None => words.resize(words.len() + count, 0),
        }
        at = stop;
    }
    words
}

/// Looks again whether our length can be proved to a peer that is behind; true if that is new. (replication.43)
fn review(cx: &mut Cx<'_>, core: &mut Hypercore, peer: &mut Peer) -> bool {
    let behind = peer.sync.fork == core.fork() && core.length() > peer.sync.length;
    if !behind || peer.can_upgrade || !can_upgrade(cx, core, peer.sync.length) {
        return false;
    }
    peer.can_upgrade = true;
    peer.upgradable = (peer.sync.length, peer.sync.fork);
    true
}

/// Whether our length can be proved to somebody who has `length` blocks. (replication.41)
fn can_upgrade(cx: &mut Cx<'_>, core: &mut Hypercore, length: u64) -> bool {
    if length == 0 {
        return true;
    }
    length < core.length()
        && flat_tree::full_roots(length).all(|root| matches!(core.tree_node(cx, root), Ok(Some(_))))
}
