//! Answering what peers ask for. Follows replication.20 to replication.28 and replication.70 to replication.76.
//!
//! A request waits until its answer is taken: memory is bounded by requests, never by blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Hypercore;
use super::proof::{Refusal, prove};
use super::replicate::{Close, Event, Fault, PeerId, Replicator, Timer};
use crate::base::{Cx, Error, Span, limits, trace};
use crate::wire::encode_into;
use crate::wire::hypercore::{
    Cancel, Data, INVALID_REQUEST, NO_REASON, NOT_AVAILABLE, NoData, Request, Want, kind,
};

/// Requests of a peer that no tree could answer, until the channel is closed. (replication.74)
const INVALID_MAX: u32 = 64;

/// The requests of one peer.
pub(super) struct Answering {
    /// The connection takes more bytes.
    pub(super) writable: bool,
    waiting: BTreeMap<u64, (u64, Request)>,
    /// Ids with the serial number of the request; stale ones are passed over.
    queue: VecDeque<(u64, u64)>,
    urgent: Vec<(u64, u64)>,
    serial: u64,
    /// What it wants to hear of, and was not told yet. (replication.108)
    pub(super) wants: VecDeque<Want>,
    /// Requests that are refused after a while.
    refused: BTreeSet<u64>,
    invalid: u32,
}

impl Default for Answering {
    fn default() -> Answering {
        Answering {
            writable: true,
            waiting: BTreeMap::new(),
            queue: VecDeque::new(),
            urgent: Vec::new(),
            serial: 0,
            wants: VecDeque::new(),
            refused: BTreeSet::new(),
            invalid: 0,
        }
    }
}

impl Answering {
    /// A repeated id replaces the request before. False at the bound. (replication.70)
    fn push(&mut self, request: Request) -> bool {
        if self.waiting.len() >= limits::REPLICATION_REQUESTS_MAX && !self.waiting.contains_key(&request.id) {
            return false;
        }
        self.serial += 1;
        let entry = (request.id, self.serial);
        self.waiting.insert(request.id, (self.serial, request));
        if request.priority > 0 {
            self.urgent.push(entry);
        } else {
            self.queue.push_back(entry);
        }
        if self.queue.len() + self.urgent.len() > 2 * limits::REPLICATION_REQUESTS_MAX {
            let live = |(id, serial): &(u64, u64)| self.waiting.get(id).is_some_and(|(now, _)| now == serial);
            self.queue.retain(live);
            self.urgent.retain(live);
        }
        true
    }

    /// Urgent ones last in, first out; then the others in order. (replication.71)
    fn next(&mut self) -> Option<Request> {
        loop {
            let (id, serial) = self.urgent.pop().or_else(|| self.queue.pop_front())?;
            if self.waiting.get(&id).is_some_and(|(now, _)| *now == serial) {
                return self.waiting.remove(&id).map(|(_, request)| request);
            }
        }
    }

    fn cancel(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// replication.108
    pub(super) fn want(&mut self, want: Want) {
        if self.wants.len() < limits::REPLICATION_WANTS_MAX && !self.wants.contains(&want) {
            self.wants.push_back(want);
        }
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = u64> {
        self.refused.iter().copied()
    }
}

/// What becomes of a request.
pub(super) enum Answer {
    Data(Box<Data>),
    NoData,
    /// It makes no sense.
    Invalid,
}

impl Replicator {
    pub(super) fn on_request(&mut self, id: PeerId, request: Request) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.answering.push(request) && peer.out.len() < limits::REPLICATION_OUT_MAX {
            peer.send(kind::NO_DATA, NoData { request: request.id, reason: NOT_AVAILABLE });
        }
    }

    pub(super) fn on_cancel(&mut self, id: PeerId, cancel: Cancel) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.answering.cancel(cancel.request);
        }
    }

    /// The next answer to a peer, made now.
    pub(super) fn next_answer(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
    ) -> Option<(u64, Vec<u8>)> {
        loop {
            let peer = self.peers.get_mut(&id)?;
            if !peer.answering.writable {
                return None;
            }
            if let Some(at) = self.upload.wait(cx.now) {
                self.timers.set(Timer::Upload, at); // replication.106
                return None;
            }
            let mut request = peer.answering.next()?;
            if let Some(upgrade) = request.upgrade.as_mut().filter(|_| peer.sync.allow_push) {
                // replication.107: what follows a push goes on where it ended.
                let end = upgrade.start.saturating_add(upgrade.length);
                if (upgrade.start..end).contains(&peer.pushed) {
                    (upgrade.start, upgrade.length) = (peer.pushed, end - peer.pushed);
                }
                peer.pushed = peer.pushed.max(end);
            }
            let paused = peer.paused;
            let mut bytes = Vec::new();
            match answer(cx, core, &request) {
                Answer::Data(data) if paused && data.block.is_some() => continue, // replication.76
                Answer::Data(mut data) => {
                    if let Some(block) = &data.block {
                        self.stats.blocks_sent += 1;
                        self.upload.take(cx.now, block.value.len() as u64);
                        self.stats.bytes_sent += block.value.len() as u64;
                        self.tell(Event::Uploaded { peer: id, index: block.index });
                        bytes.reserve(block.value.len() + 40 * block.nodes.len() + 64);
                    }
                    encode_into(&mut *data, &mut bytes);
                    return Some((kind::DATA, bytes));
                }
                Answer::NoData => {
                    // replication.72: it was asked before our fork was known.
                    let reason = if request.fork == core.fork() { NOT_AVAILABLE } else { NO_REASON };
                    encode_into(&mut NoData { request: request.id, reason }, &mut bytes);
                    return Some((kind::NO_DATA, bytes));
                }
                Answer::Invalid => self.on_invalid(cx, core, id, &request),
            }
        }
    }

    /// Refuses a request later, so that a peer that asks in a loop is slow. (replication.73, replication.74)
    fn on_invalid(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, request: &Request) {
        self.stats.invalid_requests += 1;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.answering.invalid += 1;
        trace!(cx, Drop, "hypercore", part: id, rule: "replication.73", "asks for what cannot be: {request:?}");
        let wait = match peer.answering.invalid {
            INVALID_MAX.. => return self.close(cx, core, id, Close::Fault(Fault::Requests)),
            1 => 200,
            2..5 => 500,
            5..40 => 1000,
            40.. => 5000,
            0 => 0,
        };
        peer.answering.refused.insert(request.id);
        self.timers.set(Timer::Refuse(id, request.id), cx.now + Span::from_millis(wait));
    }

    pub(super) fn refuse(&mut self, id: PeerId, request: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.answering.refused.remove(&request) {
            peer.send(kind::NO_DATA, NoData { request, reason: INVALID_REQUEST });
        }
    }
}

/// What is here for a request, also of one who looks for where the trees part. (replication.20 to replication.27,
/// replication.48, replication.72, replication.75)
pub(super) fn answer(cx: &mut Cx<'_>, core: &mut Hypercore, request: &Request) -> Answer {
    let compat = core.auth().is_none_or(|auth| auth.is_compat());
    let manifest = if request.manifest && !compat { core.manifest().cloned() } else { None };
    let here = request.block.is_none_or(|block| core.has(block.index));
    if request.fork != core.fork() || !here {
        return match manifest {
            Some(manifest) => {
                let (request, fork) = (request.id, core.fork());
                Answer::Data(Box::new(Data { request, fork, manifest: Some(manifest), ..Data::default() }))
            }
            None => Answer::NoData,
        };
    }
    let prologue = core.manifest().and_then(|manifest| manifest.prologue).map(|prologue| prologue.length);
    let proof = prove(core.length(), prologue, &mut |index| core.tree_node(cx, index), request);
    let mut data = match proof {
        Ok(data) => data,
        Err(Refusal::Invalid) => return Answer::Invalid,
        // replication.75: upstream ends the stream when a node that it needs is gone.
        Err(Refusal::Missing(_) | Refusal::Failed(_)) => return Answer::NoData,
    };
    if let Some(block) = &mut data.block {
        match core.get_raw(cx, block.index) {
            Ok(Some(value)) => block.value = value,
            Ok(None) | Err(Error::Corrupt(_)) => return Answer::NoData,
            Err(error) => {
                trace!(cx, Drop, "hypercore", part: "", "block {} cannot be read: {error}", block.index);
                return Answer::NoData;
            }
        }
    }
    if let Some(upgrade) = &mut data.upgrade {
        upgrade.signature = Some(core.signature().to_vec());
    }
    data.manifest = manifest;
    Answer::Data(Box::new(data))
}
