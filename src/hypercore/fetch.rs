//! Asking peers for blocks, for a longer tree and for the manifest. Follows replication.80 to replication.93; what is
//! answered is in `answers.rs`.
//!
//! Each peer has a place up to which it was looked through for blocks that are missing here; it is set back when
//! something before it changes, so that looking costs little per block.

use core::ops::Bound;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Hypercore;
use super::flat_tree::Walk;
use super::jobs::{Job, JobId};
use super::proof;
use super::remote::Has;
use super::replicate::{Peer, PeerId, Replicator, Timer};
use crate::base::{Cx, Span, Time, limits};
use crate::wire::hypercore::{Cancel, Data, Grow, Request, Seek, Want, Wanted, kind};

/// Up to this round trip time a peer is near.
const NEAR: Span = Span::from_millis(50);
/// Bytes of blocks that are asked of a peer at one time, where that is more than the least window.
const WINDOW_BYTES: u64 = 2 << 20;
/// How often a block may be asked for at one time. (replication.84)
const ASKED_MAX: usize = 3;
/// With fewer blocks missing a download begins at the first. (replication.109)
const SCATTER: u64 = 512;
/// Looked at, for one more block to ask twice.
const HOTSWAP_LOOK: usize = 64;
/// Blocks of a chunk in a WANT. (replication.86)
const WANT_CHUNK: u64 = 2_097_152;
const WANT_MAX: usize = 512;
/// Chunks of missing blocks that are wanted at one time.
const WANT_AHEAD: usize = 3;
/// Ranges that a peer cannot be asked for though it has something of them, until no more are looked at.
const RANGES_MAX: usize = 64;
/// A request for something that somebody waits for.
const URGENT: u64 = 1;

/// What to ask for.
#[derive(Default)]
pub(super) struct Ask {
    block: Option<u64>,
    upgrade: bool,
    priority: u64,
    seek: Option<(JobId, Option<Seek>)>,
}

/// A request that is not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) fork: u64,
    pub(super) block: Option<u64>,
    /// A hash, and the node that it leads to.
    pub(super) hash: Option<(Wanted, u64)>,
    pub(super) upgrade: Option<Grow>,
    pub(super) manifest: bool,
    /// For whose seek it is, and what was asked for that.
    pub(super) seek: Option<(JobId, Option<Seek>)>,
    /// How many cancels were sent before it. (replication.85)
    pub(super) tick: u64,
    /// Tree nodes that will be here with the answer and that later requests to this peer count on.
    pub(super) promised: Vec<u64>,
    /// It counts on such a node itself.
    pub(super) counts: bool,
}

/// How far a peer was looked through for a range.
#[derive(Clone, Copy, Default)]
struct Cursor {
    part: usize,
    next: u64,
    dry: bool,
}

/// What is asked of one peer.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) asked: BTreeMap<u64, Asked>,
    free: BTreeSet<u64>,
    ids: u64,
    /// Ids that were cancelled, with the count of cancels up to then.
    cancelled: VecDeque<(u64, u64)>,
    tick: u64,
    /// What the requests that are not answered promise. (replication.93)
    pub(super) promised: BTreeSet<u64>,
    /// Answers that wait for a promised node: peers answer in any order.
    pub(super) early: BTreeMap<u64, Vec<(Asked, Data)>>,
    pub(super) early_count: usize,
    /// Blocks before this one and not before where the download begins are here, asked for, or not at the peer.
    next: u64,
    /// The same of blocks before where it begins.
    behind: u64,
    /// Nothing from `next` on.
    dry: bool,
    /// The same for each range that is downloaded.
    cursors: BTreeMap<JobId, Cursor>,
    chunks: BTreeSet<u64>,
    pub(super) rtt: Span,
    /// Of a block of this peer, about.
    pub(super) mean_bytes: u64,
    pub(super) not_available: u32,
    pub(super) invalid: u32,
    pub(super) empty: u32,
    /// When it answered last, or was asked after it had answered all.
    pub(super) heard: Time,
    /// It has not answered for long: nothing is expected of it.
    pub(super) silent: bool,
    /// Of a higher fork: what the peer was asked for last, and did not give yet.
    pub(super) refused_fork: Option<(u64, Option<u64>)>,
    /// The block that was asked for with a longer tree, and kept the peer from giving either. replication.87
    pub(super) without: Option<u64>,
}

impl Asking {
    pub(super) fn len(&self) -> usize {
        self.asked.len() + self.early_count
    }

    /// Blocks from this one on may be at the peer now.
    pub(super) fn restart(&mut self, from: u64) {
        (self.next, self.behind) = (self.next.min(from), self.behind.min(from));
        self.dry = false;
        self.cursors.clear();
    }

    /// All that is asked for.
    pub(super) fn all(&self) -> Vec<Asked> {
        self.asked.values().cloned().collect()
    }

    pub(super) fn forget_range(&mut self, range: JobId) {
        self.cursors.remove(&range);
    }

    /// A higher fork was asked for, and is not asked for now.
    pub(super) fn refused_a_fork(&self) -> bool {
        self.refused_fork.is_some() && self.asked.is_empty()
    }

    /// What could not be asked before may be possible now.
    pub(super) fn retry(&mut self) {
        self.dry = false;
        self.cursors.clear();
    }

    /// Bytes of a block of the peer, about.
    fn mean(&self) -> u64 {
        if self.mean_bytes == 0 { 1 << 16 } else { self.mean_bytes.max(64) }
    }

    fn window(&self, peers: usize, (least, most): (usize, usize)) -> usize {
        let bytes = (WINDOW_BYTES / self.mean()) as usize;
        let mut far = least as u64;
        if self.rtt > NEAR {
            far = far.saturating_mul(self.rtt.as_millis()) * 2 / (50 * peers.max(2) as u64);
        }
        bytes.max(far.min(most as u64) as usize).clamp(least, most)
    }

    /// The lowest id that is not in use.
    fn id(&mut self) -> u64 {
        self.free.pop_first().unwrap_or_else(|| {
            self.ids += 1;
            self.ids
        })
    }

    /// A request is over because of an answer: its id, and those whose cancels the peer has seen by now, are free.
    pub(super) fn take(&mut self, id: u64) -> Option<Asked> {
        let asked = self.asked.remove(&id)?;
        self.free.insert(id);
        while let Some((_, id)) = self.cancelled.pop_front_if(|(tick, _)| *tick <= asked.tick) {
            self.free.insert(id);
        }
        Some(asked)
    }

    /// What a request promised has come, or will not. Gives the answers that wait for it.
    pub(super) fn settle(&mut self, asked: &Asked) -> Vec<(Asked, Data)> {
        let mut early = Vec::new();
        for node in &asked.promised {
            self.promised.remove(node);
            early.extend(self.early.remove(node).unwrap_or_default());
        }
        self.early_count -= early.len();
        early
    }

    /// Whether a hash that leads to this node is asked for.
    pub(super) fn hash(&self, node: u64) -> bool {
        self.asked.values().any(|asked| asked.hash.is_some_and(|(_, below)| below == node))
    }

    /// Takes back all requests of other forks than `fork`.
    fn cancel_others(&mut self, fork: u64) -> Vec<(u64, Asked)> {
        let ids: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.fork != fork).map(|(id, _)| *id).collect();
        let gone: Vec<(u64, Asked)> =
            ids.into_iter().filter_map(|id| self.asked.remove(&id).map(|asked| (id, asked))).collect();
        for (id, _) in &gone {
            self.tick += 1;
            self.cancelled.push_back((self.tick, *id));
        }
        gone
    }

    /// Takes back the request for a block. Its id is used again only when the peer has seen that.
    pub(super) fn cancel(&mut self, block: u64) -> Option<(u64, Asked)> {
        let id = self.asked.iter().find(|(_, asked)| asked.block == Some(block)).map(|(id, _)| *id)?;
        let asked = self.asked.remove(&id)?;
        self.tick += 1;
        self.cancelled.push_back((self.tick, id));
        Some((id, asked))
    }
}

impl Replicator {
    /// Every peer is looked through again, from the first missing block on.
    pub(super) fn restart(&mut self) {
        self.peers.quietly().for_each(|peer| peer.asking.restart(0));
    }

    /// Where a download of everything begins: with several peers anywhere, so that readers have something to give each
    /// other. (replication.109)
    pub(super) fn scatter(&mut self, cx: &mut Cx<'_>, core: &Hypercore) {
        let (first, length) = (core.contiguous_length(), core.length());
        let missing = length.saturating_sub(first);
        if self.peers.len() < 2 || missing <= SCATTER || (first + 1..length).contains(&self.begin) {
            return;
        }
        self.begin = first + 1 + cx.entropy.below(missing - 1);
        self.restart();
    }

    pub(super) fn update_all(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.update_peer(cx, core, id));
    }

    /// Asks a peer when all messages that came together are heard: it tells of a longer tree before it tells of the
    /// block that makes it longer, and both can be asked for at once. (replication.44, replication.87)
    pub(super) fn ask_later(&mut self, id: PeerId) {
        self.to_ask.insert(id);
    }

    pub(super) fn ask_now(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        while let Some(id) = self.to_ask.pop_first() {
            self.update_peer(cx, core, id);
        }
    }

    /// Asks a peer for as much as it may be asked. (replication.80)
    pub(super) fn update_peer(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) {
        let asked = |replicator: &Replicator| replicator.peers.get(&id).map_or(0, |peer| peer.asking.len());
        let before = asked(self);
        self.ask_peer(cx, core, id);
        if asked(self) > before {
            self.watch(cx, id, before == 0);
        }
    }

    fn ask_peer(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) {
        if let Some(at) = self.download_pace.wait(cx.now) {
            return self.timers.set(Timer::Download, at); // replication.106
        }
        if self.stalled || self.push_only || core.read_only() {
            return;
        }
        let count = self.peers.len();
        while let Some(peer) = self.peers.get_mut(&id) {
            let most = self.download_pace.ahead(peer.asking.mean());
            let room = peer.asking.len() < peer.asking.window(count, self.window).min(most);
            if peer.out.len() >= limits::REPLICATION_OUT_MAX {
                peer.held = true; // replication.108
                return;
            }
            if !room || peer.paused || peer.asking.silent || !peer.synced || !peer.sync.uploading {
                return;
            }
            let asked = self.ask_manifest(cx, core, id)
                || self.ask_fork(core, id)
                || (!self.jobs.seeks.is_empty() && self.ask_seek(cx, core, id))
                || self.ask_waited(cx, core, id)
                || self.ask_missing(cx, core, id)
                || (!self.jobs.ranges.is_empty() && self.ask_ranges(cx, core, id))
                || self.ask_upgrade(cx, core, id);
            if !asked {
                break;
            }
        }
        if count > 1 {
            while self.ask_twice(cx, core, id) {}
        }
    }

    /// replication.81
    fn ask_manifest(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let missing = core.manifest().is_none() && self.manifest_from.is_none();
        if !missing || peer.sync.length != 0 || !peer.sync.has_manifest {
            return false;
        }
        self.manifest_from = Some(id);
        self.ask(cx, core, id, Ask::default())
    }

    fn ask_waited(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        let mut wanted = Vec::new();
        for index in self.jobs.blocks.keys() {
            if self.inflight.contains_key(index) || core.has(*index) {
                continue;
            }
            wanted.push(*index);
        }
        for index in wanted {
            if self.peers.get(&id).is_some_and(|peer| peer.has.get(index)) {
                if self.ask_block(cx, core, id, index, URGENT) {
                    return true;
                }
            } else {
                self.want(id, index);
            }
        }
        false
    }

    /// The next block that is missing here and not at the peer.
    fn ask_missing(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        if !self.download {
            return false;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if peer.asking.dry || peer.sync.fork != core.fork() {
            return false;
        }
        let end = valid_end(core, peer);
        let first = core.contiguous_length();
        let begin = self.begin.clamp(first, end.max(first));
        let ahead = find(core, &peer.has, &self.inflight, peer.asking.next.max(begin), end);
        if ahead.is_none() {
            peer.asking.next = end;
        }
        let behind = || find(core, &peer.has, &self.inflight, peer.asking.behind.max(first), begin);
        if let Some(at) = ahead.or_else(behind) {
            if self.ask_block(cx, core, id, at, 0) {
                if let Some(peer) = self.peers.get_mut(&id) {
                    let next = if at >= begin { &mut peer.asking.next } else { &mut peer.asking.behind };
                    *next = at + 1;
                }
                return true;
            }
            return false;
        }
        peer.asking.behind = begin;
        peer.asking.dry = true;
        self.want_missing(core, id, core.contiguous_length(), end);
        false
    }

    /// The next block of a range that is downloaded; of each range one in turn. (replication.100)
    fn ask_ranges(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        if peer.sync.fork != core.fork() {
            return false;
        }
        let end = valid_end(core, peer);
        let (mut from, mut refused) = (Bound::Unbounded, 0);
        while refused < RANGES_MAX {
            let Some(peer) = self.peers.get(&id) else { return false };
            let more = |range: &&JobId| peer.asking.cursors.get(range).is_none_or(|cursor| !cursor.dry);
            let mut after = self.jobs.ranges.range((from, Bound::Unbounded));
            let Some(range) = after.find(more).copied() else { return false };
            from = Bound::Excluded(range);
            let Some(index) = self.next_of_range(core, id, range, end) else { continue };
            if self.ask_block(cx, core, id, index, 0) {
                return true;
            }
            refused += 1;
        }
        false
    }

    fn next_of_range(&mut self, core: &Hypercore, id: PeerId, job: JobId, end: u64) -> Option<u64> {
        let Some(Job::Range(range)) = self.jobs.all.get(job) else { return None };
        let peer = self.peers.get_mut(&id)?;
        let cursor = peer.asking.cursors.entry(job).or_default();
        if cursor.dry {
            return None;
        }
        if let Some(list) = &range.list {
            let free = |index: &&u64| !self.inflight.contains_key(*index);
            let there = list.range(cursor.next..).filter(free).find(|index| peer.has.get(**index)).copied();
            (cursor.next, cursor.dry) = (there.map_or(0, |index| index + 1), there.is_none());
            let unknown = list.iter().find(|index| !peer.has.get(**index)).copied();
            if let (None, Some(unknown)) = (there, unknown) {
                self.want(id, unknown);
            }
            return there;
        }
        let parts = range.parts(end);
        for (number, (from, to)) in parts.into_iter().enumerate().skip(cursor.part) {
            let from = if cursor.part == number { from.max(cursor.next) } else { from };
            if let Some(at) = find(core, &peer.has, &self.inflight, from, to) {
                *cursor = Cursor { part: number, next: at + 1, dry: false };
                return Some(at);
            }
        }
        cursor.dry = true;
        self.want_missing(core, id, parts[1].0, parts[0].1);
        None
    }

    /// Asks which of the blocks that are missing here the peer has. (replication.86)
    fn want_missing(&mut self, core: &Hypercore, id: PeerId, from: u64, end: u64) {
        let mut at = from;
        for _ in 0..WANT_AHEAD {
            at = core.bits().first_unset(at);
            if at >= end {
                return;
            }
            self.want(id, at);
            at = (at / WANT_CHUNK + 1) * WANT_CHUNK;
        }
    }

    pub(super) fn want(&mut self, id: PeerId, index: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let chunk = index / WANT_CHUNK;
        if index < peer.has.contiguous() || !peer.sync.uploading || peer.asking.chunks.contains(&chunk) {
            return;
        }
        if peer.asking.chunks.len() >= WANT_MAX
            && let Some(gone) = peer.asking.chunks.pop_first()
        {
            peer.send(kind::UNWANT, chunk_of(gone));
        }
        peer.asking.chunks.insert(chunk);
        peer.send(kind::WANT, chunk_of(chunk));
    }

    /// replication.83
    pub(super) fn may_upgrade(&self, core: &Hypercore, id: PeerId) -> bool {
        self.upgrading.is_none()
            && self.peers.get(&id).is_some_and(|peer| {
                peer.sync.can_upgrade
                    && peer.sync.fork == core.fork()
                    && peer.sync.length > core.length()
                    && peer.acked == core.length()
            })
    }

    fn ask_upgrade(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        if !self.upgrade_wanted() || !self.may_upgrade(core, id) {
            return false;
        }
        let last = self.peers.get(&id).and_then(|peer| {
            let last = peer.sync.length.checked_sub(1)?;
            let refused = peer.asking.without == Some(last);
            let new =
                last >= core.length() && peer.has.get(last) && !self.inflight.contains_key(&last) && !refused;
            ((self.download || self.jobs.live()) && new).then_some(last)
        });
        self.ask(cx, core, id, Ask { block: last, upgrade: true, ..Ask::default() }) // replication.87
    }

    /// A longer tree, with what narrows a seek down that ends behind ours.
    pub(super) fn ask_upgrade_for(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        job: JobId,
        seek: Seek,
    ) -> bool {
        let known = self.peers.get(&id).is_some_and(|peer| peer.seeks);
        let seek = Some((job, known.then_some(seek)));
        self.ask(cx, core, id, Ask { upgrade: true, seek, ..Ask::default() })
    }

    /// A block that tells where a byte is.
    pub(super) fn ask_for_seek(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        index: u64,
        job: JobId,
    ) -> bool {
        let (block, seek) = (Some(index), Some((job, None)));
        self.ask(cx, core, id, Ask { block, seek, priority: URGENT, ..Ask::default() })
    }

    /// Longer trees are asked for as soon as one is heard of, or only if somebody waits for one. (replication.83)
    pub(super) fn upgrade_wanted(&self) -> bool {
        self.eager_upgrade || !self.jobs.updates.is_empty() || self.jobs.live()
    }

    fn ask_block(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        index: u64,
        urgent: u64,
    ) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let proved = peer.sync.length >= core.length()
            || (index < peer.upgradable.0 && peer.upgradable.1 == core.fork())
            || peer.can_upgrade;
        if peer.sync.fork != core.fork() || !proved || peer.sync.length <= index {
            return false;
        }
        let beyond = index >= core.length();
        if beyond && !self.may_upgrade(core, id) {
            return false;
        }
        let upgrade = self.may_upgrade(core, id) && (beyond || self.upgrade_wanted());
        self.ask(cx, core, id, Ask { block: Some(index), upgrade, priority: urgent, seek: None })
    }

    /// Asks for a block that others were asked for, if nothing else is left to ask of this peer. (replication.84)
    fn ask_twice(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) -> bool {
        let count = self.peers.len();
        let Some(peer) = self.peers.get(&id) else { return false };
        let most = self.window.0.max(peer.asking.window(count, self.window) / 2);
        if peer.paused
            || peer.asking.silent
            || !peer.synced
            || peer.asking.len() >= most
            || self.inflight.is_empty()
        {
            return false;
        }
        let others = self.inflight.iter().rev().take(HOTSWAP_LOOK).filter(|(index, asked)| {
            **index < core.length()
                && asked.len() < ASKED_MAX
                && !asked.contains(&id)
                && peer.has.get(**index)
        });
        let Some(index) = others.min_by_key(|(_, asked)| asked.len()).map(|(index, _)| *index) else {
            return false;
        };
        let urgent = u64::from(self.jobs.blocks.contains_key(&index));
        let asked = self.ask_block(cx, core, id, index, urgent);
        self.stats.hotswaps += u64::from(asked);
        asked
    }

    /// Sends a request.
    fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        Ask { block, upgrade, priority, seek }: Ask,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let length = core.length();
        let asking = &mut peer.asking;
        let (mut promised, mut nodes, mut counts) = (Vec::new(), 0, false);
        if let Some(index) = block.filter(|index| *index < length) {
            let mut has = |node| {
                counts = asking.promised.contains(&node) && core.tree_node(cx, node)?.is_none();
                Ok(counts || core.tree_node(cx, node)?.is_some())
            };
            let Ok(levels) = proof::missing_nodes(length, 2 * index, &mut has) else { return false };
            nodes = levels;
            let mut walk = Walk::new(2 * index);
            for _ in 0..nodes {
                for node in [walk.index, walk.sibling()] {
                    if asking.promised.insert(node) {
                        promised.push(node);
                    }
                }
                walk.parent();
            }
        }
        let upgrade = upgrade.then(|| Grow { start: length, length: peer.sync.length - length });
        let manifest = core.manifest().is_none() && peer.sync.has_manifest;
        let fork = peer.sync.fork;
        if let Some(index) = block {
            self.inflight.entry(index).or_default().push(id);
        }
        if upgrade.is_some() {
            self.upgrading = Some(id);
        }
        let asked = Asked { fork, block, upgrade, manifest, seek, promised, counts, ..Asked::default() };
        let block = block.map(|index| Wanted { index, nodes });
        let seek = seek.and_then(|(_, seek)| seek);
        self.submit(
            id,
            asked,
            Request { fork, block, seek, upgrade, manifest, priority, ..Request::default() },
        );
        true
    }

    /// Sends a request under an id of its own.
    pub(super) fn submit(&mut self, id: PeerId, mut asked: Asked, mut request: Request) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        request.id = peer.asking.id();
        asked.tick = peer.asking.tick;
        peer.asking.asked.insert(request.id, asked);
        peer.send(kind::REQUEST, request);
        self.stats.requests += 1;
    }

    /// Takes back all that was asked of a peer on another fork than `fork`: nobody can answer it any more. What it has
    /// is asked anew, for upstream does not tell of blocks that it thinks are here already. (replication.67)
    pub(super) fn cancel_others(&mut self, id: PeerId, fork: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let gone = peer.asking.cancel_others(fork);
        peer.asking.refused_fork = None;
        peer.pushed = 0;
        for chunk in std::mem::take(&mut peer.asking.chunks) {
            peer.send(kind::UNWANT, chunk_of(chunk));
        }
        for (request, _) in &gone {
            peer.send(kind::CANCEL, Cancel { request: *request });
        }
        self.stats.cancels += gone.len() as u64;
        gone.into_iter().for_each(|(_, asked)| self.give_up(id, &asked));
    }
}

fn chunk_of(chunk: u64) -> Want {
    Want { start: chunk * WANT_CHUNK, length: WANT_CHUNK, any: false }
}

/// The first block of `from..to` that is missing here, there at the peer, and asked of nobody.
fn find(
    core: &Hypercore,
    has: &Has,
    inflight: &BTreeMap<u64, Vec<PeerId>>,
    from: u64,
    to: u64,
) -> Option<u64> {
    let mut at = from;
    while at < to {
        at = core.bits().first_unset(at);
        match has.next(at) {
            Some(there) if there == at && !inflight.contains_key(&at) => break,
            Some(there) => at = there.max(at + u64::from(there == at)),
            None => return None,
        }
    }
    (at < to).then_some(at)
}

/// Behind the last block that the peer can prove to us. (replication.80)
fn valid_end(core: &Hypercore, peer: &Peer) -> u64 {
    let ours = if peer.can_upgrade || peer.sync.length >= core.length() {
        core.length()
    } else if peer.upgradable.1 == core.fork() {
        peer.upgradable.0.min(core.length())
    } else {
        0
    };
    ours.min(peer.sync.length)
}
