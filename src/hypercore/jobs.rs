//! What programs wait for: a block, the place of a byte, a range of blocks, a longer core. Each ends once, with an
//! event. Follows replication.98 to replication.104; what is asked of peers for them is in `fetch.rs` and `seeking.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::Hypercore;
use super::replicate::{Event, PeerId, Replicator, Timer};
use super::seeking::Seeking;
use crate::base::{Cx, Error, Id, Kind, Slab, Span, limits};
use crate::wire::hypercore::{Cancel, kind};

pub enum JobKind {}
impl Kind for JobKind {
    const NAME: &'static str = "job";
}
/// Something that a program waits for.
pub type JobId = Id<JobKind>;

/// What a job came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// The block is here.
    Block { index: u64 },
    /// The byte is in block `index`, behind `offset` others; past the last block if it is the core's end.
    Sought { index: u64, offset: u64 },
    /// All blocks of the range are here.
    Range,
    /// The core changed; or nobody has more.
    Updated(bool),
}

/// Why it came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undone {
    /// REQUEST_TIMEOUT of the reference.
    TimedOut,
    /// REQUEST_CANCELLED.
    Cancelled,
    /// SNAPSHOT_NOT_AVAILABLE: the core was cut before the block.
    Truncated,
}

impl Undone {
    /// The reference's code.
    pub fn code(self) -> &'static str {
        match self {
            Undone::TimedOut => "REQUEST_TIMEOUT",
            Undone::Cancelled => "REQUEST_CANCELLED",
            Undone::Truncated => "SNAPSHOT_NOT_AVAILABLE",
        }
    }
}

/// Which blocks to download.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Download {
    pub start: u64,
    /// None: to the end, wherever that comes to be; such a download never ends by itself.
    pub end: Option<u64>,
    /// From the first on; else from anywhere in the middle.
    pub linear: bool,
    /// These blocks, instead of a range.
    pub blocks: Option<Vec<u64>>,
}

/// A range that is downloaded.
pub(super) struct Ranging {
    start: u64,
    end: Option<u64>,
    /// Where peers begin.
    pub(super) offset: u64,
    /// All before it are here.
    at: u64,
    /// Of a list: those that are not here.
    pub(super) list: Option<BTreeSet<u64>>,
}

impl Ranging {
    /// The parts of it that are missing, in the order in which they are asked for.
    pub(super) fn parts(&self, end: u64) -> [(u64, u64); 2] {
        let end = self.end.unwrap_or(end).min(end);
        let offset = self.offset.clamp(self.at, end.max(self.at));
        [(offset, end), (self.at, offset.min(end))]
    }

    /// Looks how far it is; true if all is here.
    fn advance(&mut self, core: &Hypercore) -> bool {
        if let Some(list) = &self.list {
            return list.is_empty();
        }
        self.at = core.bits().first_unset(self.at);
        self.end.is_some_and(|end| self.at >= end)
    }

    fn live(&self) -> bool {
        self.end.is_none() && self.list.is_none()
    }
}

pub(super) enum Job {
    /// `within`: the core had it when it was asked for.
    Block {
        index: u64,
        within: bool,
    },
    Seek(Seeking),
    Range(Ranging),
    Update,
}

/// A block that is waited for.
#[derive(Default)]
pub(super) struct Waiting {
    jobs: Vec<JobId>,
    /// By `wait_for`.
    plainly: bool,
}

/// All of a core.
#[derive(Default)]
pub(super) struct Jobs {
    pub(super) all: Slab<JobKind, Job>,
    pub(super) blocks: BTreeMap<u64, Waiting>,
    pub(super) ranges: BTreeSet<JobId>,
    pub(super) seeks: BTreeSet<JobId>,
    pub(super) updates: BTreeSet<JobId>,
    /// Peers are still looked for, so that having none says nothing. (replication.103)
    finding: bool,
    had_peers: bool,
}

impl Jobs {
    /// The newest block is wanted as soon as it is heard of. (replication.87)
    pub(super) fn live(&self) -> bool {
        self.ranges.iter().any(|id| matches!(self.all.get(*id), Some(Job::Range(range)) if range.live()))
    }
}

impl Replicator {
    fn start_job(&mut self, cx: &mut Cx<'_>, job: Job, timeout: Option<Span>) -> Result<JobId, Error> {
        if self.jobs.all.len() >= limits::JOBS_MAX {
            return Err(Error::Full);
        }
        let id = self.jobs.all.insert(job);
        if let Some(timeout) = timeout {
            self.timers.set(Timer::Job(id), cx.now + timeout);
        }
        Ok(id)
    }

    /// Fetches a block before all others; `Event::Job` tells when it is here. (replication.98)
    pub fn fetch(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        index: u64,
        timeout: Option<Span>,
    ) -> Result<JobId, Error> {
        let within = index < core.length();
        let id = self.start_job(cx, Job::Block { index, within }, timeout)?;
        if core.has(index) {
            self.end_job(id, Ok(Done::Block { index }));
            return Ok(id);
        }
        self.jobs.blocks.entry(index).or_default().jobs.push(id);
        self.update_all(cx, core);
        Ok(id)
    }

    /// Looks for the block with byte `bytes` of the core, which need not be here. Bytes are those of the program,
    /// without padding. (replication.99, hypercore.92)
    pub fn seek(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        bytes: u64,
        timeout: Option<Span>,
    ) -> Result<JobId, Error> {
        let id = self.start_job(cx, Job::Seek(Seeking::new(bytes)), timeout)?;
        self.jobs.seeks.insert(id);
        self.update_seeks(cx, core);
        self.update_all(cx, core);
        Ok(id)
    }

    /// Fetches blocks; `Event::Job` tells when all are here. (replication.100)
    pub fn download(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        what: Download,
        timeout: Option<Span>,
    ) -> Result<JobId, Error> {
        let Download { start, end, linear, blocks } = what;
        if blocks.as_ref().is_some_and(|blocks| blocks.len() > limits::WAITED_MAX) {
            return Err(Error::Full);
        }
        let list = blocks.map(|blocks| blocks.into_iter().filter(|index| !core.has(*index)).collect());
        let wide = end.unwrap_or(start).saturating_sub(start);
        let offset = if linear || wide < 2 { start } else { start + cx.entropy.below(wide) };
        let mut range = Ranging { start, end, offset, at: start, list };
        let done = range.advance(core);
        let id = self.start_job(cx, Job::Range(range), timeout)?;
        if done {
            self.end_job(id, Ok(Done::Range));
            return Ok(id);
        }
        self.jobs.ranges.insert(id);
        self.update_all(cx, core);
        Ok(id)
    }

    /// Waits until the core changes, or until it is clear that no peer has more. (replication.102)
    pub fn update(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        timeout: Option<Span>,
    ) -> Result<JobId, Error> {
        let id = self.start_job(cx, Job::Update, timeout)?;
        self.jobs.updates.insert(id);
        self.update_all(cx, core);
        Ok(id)
    }

    /// Whether a longer tree is asked for as soon as a peer has one; else only while `update` waits, or a block, a seek
    /// or a range without end wants it. It is, unless this says no. (replication.83)
    pub fn set_eager_upgrade(&mut self, eager: bool) {
        self.eager_upgrade = eager;
    }

    /// Whether peers are still looked for: `update` waits for the first one while they are. (replication.103)
    pub fn set_finding_peers(&mut self, finding: bool) {
        self.jobs.finding = finding;
    }

    /// Waits for it no longer; requests for what nobody else wants are taken back. (replication.104)
    pub fn cancel(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: JobId) {
        self.end_job(id, Err(Undone::Cancelled));
        self.update_all(cx, core);
    }

    /// Fetches a block before all others. True if it is here already; else an `Event::Downloaded` tells when it is.
    /// `Error::Full` if too many are waited for.
    pub fn wait_for(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, index: u64) -> Result<bool, Error> {
        if core.has(index) {
            return Ok(true);
        }
        if self.jobs.blocks.len() >= limits::WAITED_MAX && !self.jobs.blocks.contains_key(&index) {
            return Err(Error::Full);
        }
        self.jobs.blocks.entry(index).or_default().plainly = true;
        self.update_all(cx, core);
        Ok(false)
    }

    /// Waits no longer. An answer that is on its way is still taken.
    pub fn stop_waiting(&mut self, index: u64) {
        if let Some(waiting) = self.jobs.blocks.get_mut(&index) {
            waiting.plainly = false;
            if waiting.jobs.is_empty() {
                self.jobs.blocks.remove(&index);
            }
        }
    }

    pub(super) fn end_job(&mut self, id: JobId, result: Result<Done, Undone>) {
        let Some(job) = self.jobs.all.remove(id) else { return };
        self.timers.clear(Timer::Job(id));
        match job {
            Job::Block { index, .. } => {
                let waiting = self.jobs.blocks.get_mut(&index);
                let idle = waiting.is_some_and(|waiting| {
                    waiting.jobs.retain(|other| *other != id);
                    waiting.jobs.is_empty() && !waiting.plainly
                });
                if idle {
                    self.jobs.blocks.remove(&index);
                    self.take_back(index);
                }
            }
            Job::Seek(_) => drop(self.jobs.seeks.remove(&id)),
            Job::Range(_) => {
                self.jobs.ranges.remove(&id);
                self.peers.quietly().for_each(|peer| peer.asking.forget_range(id));
            }
            Job::Update => drop(self.jobs.updates.remove(&id)),
        }
        self.tell(Event::Job { job: id, result });
    }

    /// Nobody waits for a block any more: it is taken back, unless a download wants it. (replication.104)
    fn take_back(&mut self, index: u64) {
        if self.download || !self.jobs.ranges.is_empty() {
            return;
        }
        for id in self.inflight.remove(&index).unwrap_or_default() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if let Some((request, asked)) = peer.asking.cancel(index) {
                peer.send(kind::CANCEL, Cancel { request });
                self.stats.cancels += 1;
                self.give_up(id, &asked);
            }
        }
    }

    /// A block is here.
    pub(super) fn job_block(&mut self, core: &Hypercore, index: u64) {
        for id in self.jobs.blocks.remove(&index).unwrap_or_default().jobs {
            self.end_job(id, Ok(Done::Block { index }));
        }
        if self.jobs.ranges.is_empty() {
            return;
        }
        let mut done = Vec::new();
        for &id in &self.jobs.ranges {
            let Some(Job::Range(range)) = self.jobs.all.get_mut(id) else { continue };
            let listed = range.list.as_mut().is_some_and(|list| list.remove(&index));
            if (listed || index == range.at) && range.advance(core) {
                done.push(id);
            }
        }
        done.into_iter().for_each(|id| self.end_job(id, Ok(Done::Range)));
    }

    /// The core changed: it is longer, or was cut to `cut` blocks first.
    pub(super) fn job_core(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, cut: Option<u64>) {
        for id in self.jobs.updates.clone() {
            self.end_job(id, Ok(Done::Updated(true)));
        }
        let mut done: Vec<(JobId, Result<Done, Undone>)> = Vec::new();
        for (id, job) in self.jobs.all.iter_mut() {
            match job {
                Job::Block { index, within } => {
                    if *within && cut.is_some_and(|cut| *index >= cut) {
                        done.push((id, Err(Undone::Truncated)));
                    } else if core.has(*index) {
                        done.push((id, Ok(Done::Block { index: *index })));
                    }
                }
                Job::Range(range) => {
                    if cut.is_some() {
                        range.at = range.start;
                    }
                    if let Some(list) = &mut range.list {
                        list.retain(|index| !core.has(*index));
                    }
                    if range.advance(core) {
                        done.push((id, Ok(Done::Range)));
                    }
                }
                Job::Seek(seeking) if cut.is_some() => seeking.restart(),
                Job::Seek(_) | Job::Update => {}
            }
        }
        done.into_iter().for_each(|(id, result)| self.end_job(id, result));
        self.update_seeks(cx, core);
    }

    /// Blocks were cleared here: downloads that want them go back.
    pub(super) fn job_gone(&mut self, start: u64) {
        for (_, job) in self.jobs.all.iter_mut() {
            if let Job::Range(range) = job {
                range.at = range.at.min(start.max(range.start));
            }
        }
    }

    /// Looks for each seek how far what is here tells the place.
    pub(super) fn update_seeks(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        let mut done = Vec::new();
        for &id in &self.jobs.seeks {
            let Some(Job::Seek(seeking)) = self.jobs.all.get_mut(id) else { continue };
            if let Some((index, offset)) = seeking.look(cx, core) {
                done.push((id, Ok(Done::Sought { index, offset })));
            }
        }
        done.into_iter().for_each(|(id, result)| self.end_job(id, result));
    }

    /// Whether it is clear that nobody has more; then updates end. (replication.102, replication.103)
    pub(super) fn check_updates(&mut self, core: &Hypercore) {
        if self.jobs.updates.is_empty() {
            return;
        }
        self.jobs.had_peers |= self.peers.len() > 0;
        let hope = self.peers.values().any(|peer| {
            let sync = peer.sync;
            let same = sync.fork == core.fork();
            let longer = sync.length > core.length();
            !peer.paused
                && !peer.asking.silent
                && (!peer.synced
                    || (sync.fork > core.fork()
                        && sync.length > 0
                        && self.allow_fork
                        && !peer.asking.refused_a_fork())
                    || (same && longer && (sync.can_upgrade || peer.acked != core.length())))
        });
        let finding = self.jobs.finding && !self.jobs.had_peers;
        if hope || finding || self.upgrading.is_some() || self.fork.is_some() {
            return;
        }
        for id in self.jobs.updates.clone() {
            self.end_job(id, Ok(Done::Updated(false)));
        }
    }

    /// A peer has news: it may be asked again.
    pub(super) fn retry_seeks(&mut self) {
        for id in &self.jobs.seeks {
            if let Some(Job::Seek(seeking)) = self.jobs.all.get_mut(*id) {
                seeking.refused = None;
            }
        }
    }

    /// A peer was asked for it, and has answered or will not.
    pub(super) fn seek_lost(&mut self, id: JobId, peer: PeerId) {
        if let Some(Job::Seek(seeking)) = self.jobs.all.get_mut(id)
            && seeking.asked == Some(peer)
        {
            seeking.asked = None;
        }
    }
}
