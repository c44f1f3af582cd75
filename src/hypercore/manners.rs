//! How much is asked and given, and of whom nothing is expected any more: windows, limits of bytes per second, pushes,
//! peers that have fallen silent. Follows replication.105 to replication.107.

use super::Hypercore;
use super::answers::check;
use super::replicate::{PeerId, Replicator, Timer};
use super::serve::{Answer, answer};
use crate::base::{Cx, Error, Span, Time, limits, trace};
use crate::wire::encode;
use crate::wire::hypercore::{Data, Grow, Request, Wanted, kind};

/// A peer that was asked and said nothing for so long is not waited for by anybody. (replication.105)
const SILENCE: Span = Span::from_secs(15);
/// Requests at one time to a near peer with large blocks, and to a far one or with small blocks. (replication.82)
pub(super) const WINDOW: (usize, usize) = (16, 512);
/// How long after the end of downloading peers are told so.
pub(super) const LINGER: Span = Span::from_secs(30);
/// Pushes of a peer that prove nothing, until no more are taken.
const BAD_PUSHES: u32 = 32;

/// So many bytes per second, evenly.
#[derive(Clone, Copy, Default)]
pub(super) struct Pace {
    per_second: Option<u64>,
    /// When all that went would have gone at that rate.
    free: Time,
}

impl Pace {
    /// When more may go, if that is not now.
    pub(super) fn wait(&self, now: Time) -> Option<Time> {
        self.per_second.and(Some(self.free)).filter(|free| *free > now)
    }

    /// How many blocks of `mean` bytes may be asked for before one came: those of a quarter of a second.
    pub(super) fn ahead(&self, mean: u64) -> usize {
        self.per_second.map_or(usize::MAX, |rate| (rate / 4 / mean.max(1)).max(1) as usize)
    }

    pub(super) fn take(&mut self, now: Time, bytes: u64) {
        if let Some(rate) = self.per_second {
            let micros = bytes.saturating_mul(1_000_000) / rate.max(1);
            self.free = self.free.max(now) + Span::from_micros(micros);
        }
    }
}

impl Replicator {
    /// How many things a peer is asked for at one time, at least and at most: 16 and 512, unless this says else.
    /// (replication.82)
    pub fn set_inflight(&mut self, least: usize, most: usize) {
        let least = least.clamp(1, limits::INFLIGHT_MAX);
        self.window = (least, most.clamp(least, limits::INFLIGHT_MAX));
    }

    /// How long after the end of downloading peers are told so; 30 s unless this says else. (replication.16)
    pub fn set_linger(&mut self, linger: Span) {
        self.linger = linger;
    }

    /// Bytes of blocks per second that are given, and that are asked for; none: as many as there is room for.
    /// (replication.106)
    pub fn set_limits(&mut self, upload: Option<u64>, download: Option<u64>) {
        (self.upload.per_second, self.download_pace.per_second) = (upload, download);
    }

    /// Whether blocks are taken that nobody asked for. They are not, unless this says so. (replication.107)
    pub fn set_push(&mut self, allow: bool) {
        if std::mem::replace(&mut self.allow_push, allow) != allow {
            let all: Vec<PeerId> = self.peers.keys().copied().collect();
            for id in all {
                self.peers.get_mut(&id).into_iter().for_each(|peer| peer.sync_due = true);
            }
        }
    }

    /// Whether nothing is asked for at all, and only pushes are taken.
    pub fn set_push_only(&mut self, only: bool) {
        self.push_only = only;
    }

    /// What is said of pushes: they are taken while we download.
    pub(super) fn takes_pushes(&self) -> bool {
        self.allow_push && self.active && self.timers.get(Timer::Linger).is_none()
    }

    /// Sends a block to all peers that take pushes, download, and lack it. Gives how many. (replication.107)
    pub fn push(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, index: u64) -> usize {
        self.notice(cx, core);
        let all: Vec<PeerId> = self.peers.keys().copied().collect();
        all.into_iter().filter(|&id| self.push_to(cx, core, id, index)).count()
    }

    fn push_to(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, index: u64) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let (sync, length) = (peer.sync, core.length());
        let takes = peer.synced && sync.allow_push && sync.downloading && sync.fork == core.fork();
        let room = peer.answering.writable && peer.out.len() < limits::REPLICATION_OUT_MAX;
        if !takes || !room || peer.paused || index >= length || peer.has.get(index) {
            return false;
        }
        let known = sync.length.max(peer.pushed);
        let start = known.min(length);
        let request = Request {
            fork: sync.fork,
            block: Some(Wanted { index, nodes: levels(index, known) }),
            upgrade: (index >= known).then(|| Grow { start, length: length - start }),
            manifest: sync.length == 0,
            ..Request::default()
        };
        let Answer::Data(data) = answer(cx, core, &request) else { return false };
        let bytes = encode(&*data);
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if data.upgrade.is_some() {
            peer.pushed = length;
        }
        peer.out.push_back((kind::DATA, bytes));
        self.stats.pushes += 1;
        true
    }

    /// A block that nobody asked for. (replication.107)
    pub(super) fn on_push(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, data: Data) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !self.allow_push || peer.paused || peer.bad_pushes >= BAD_PUSHES || data.fork != core.fork() {
            return;
        }
        let size = data.block.as_ref().map(|block| (block.index, block.value.len() as u64));
        let checked = check(cx, core, &data).map(|mut change| {
            change.block = data.block.map(|block| (block.index, block.value));
            core.apply(cx, change)
        });
        match checked {
            Ok(Ok(())) => {
                if let Some((index, bytes)) = size {
                    self.on_block(cx, core, id, index, bytes);
                }
                self.update_all(cx, core);
            }
            Ok(Err(why @ (Error::Io(_) | Error::Corrupt(_)))) => self.stall(cx, why),
            Ok(Err(_)) | Err(_) => {
                peer.bad_pushes += 1;
                self.stats.invalid_data += 1;
                trace!(cx, Drop, "hypercore", part: id, rule: "replication.107", "a push that proves nothing");
            }
        }
    }

    /// Something was asked of a peer; `first` if nothing was before.
    pub(super) fn watch(&mut self, cx: &mut Cx<'_>, id: PeerId, first: bool) {
        if let Some(peer) = self.peers.get_mut(&id).filter(|_| first) {
            peer.asking.heard = cx.now;
        }
        if self.timers.get(Timer::Silent(id)).is_none() {
            self.timers.set(Timer::Silent(id), cx.now + SILENCE);
        }
    }

    /// A peer answered: it is waited for again.
    pub(super) fn heard(&mut self, cx: &mut Cx<'_>, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.asking.heard = cx.now;
            peer.asking.silent = false;
        }
    }

    /// Was a peer that has been asked silent all the while? Then others are asked for the same. (replication.105)
    pub(super) fn on_silence(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.asking.len() == 0 || peer.asking.silent {
            return;
        }
        let due = peer.asking.heard + SILENCE;
        if due > cx.now {
            self.timers.set(Timer::Silent(id), due);
            return;
        }
        trace!(cx, State, "hypercore", part: id, rule: "replication.105", "has fallen silent");
        peer.asking.silent = true;
        let asked = peer.asking.all();
        asked.iter().for_each(|asked| self.ask_again(id, asked));
        self.stats.silent += 1;
        self.update_all(cx, core);
    }
}

/// How a core is exchanged with its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// See `Replicator::set_eager_upgrade`.
    pub eager_upgrade: bool,
    /// See `Replicator::set_allow_fork`.
    pub allow_fork: bool,
    /// See `Replicator::set_push`.
    pub push: bool,
    /// See `Replicator::set_push_only`.
    pub push_only: bool,
    /// See `Replicator::set_inflight`.
    pub inflight: (usize, usize),
    /// See `Replicator::set_linger`.
    pub linger: Span,
    /// Bytes per second: see `Replicator::set_limits`.
    pub upload: Option<u64>,
    pub download: Option<u64>,
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange {
            eager_upgrade: true,
            allow_fork: true,
            push: false,
            push_only: false,
            inflight: WINDOW,
            linger: LINGER,
            upload: None,
            download: None,
        }
    }
}

impl Replicator {
    pub fn set_exchange(&mut self, how: Exchange) {
        self.set_eager_upgrade(how.eager_upgrade);
        self.set_allow_fork(how.allow_fork);
        self.set_push(how.push);
        self.set_push_only(how.push_only);
        self.set_inflight(how.inflight.0, how.inflight.1);
        self.set_linger(how.linger);
        self.set_limits(how.upload, how.download);
    }
}

/// How many levels a block's path has in a tree of `length` blocks; 0 if it is not in it. (replication.107)
fn levels(index: u64, length: u64) -> u64 {
    let none = &mut |_| Ok(false);
    super::proof::missing_nodes(length, 2 * index, none).map_or(0, |levels| levels.saturating_sub(1))
}
