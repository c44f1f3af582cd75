//! A core with its replicator, as one machine. Read `replicate.rs` first.

use super::Hypercore;
use super::jobs::{Download, JobId};
use super::manners::Exchange;
use super::replicate::{Event, Input, Output, PeerId, PeerInfo, Replicator, Timer, capability};
use super::told::Told;
use crate::base::{Cx, Deadline, Error, Machine, Span, trace};

/// A core with its replicator: the machine that the owner drives.
///
/// Commands: `append`, `truncate`, `clear`, `download_all`, `wait_for`, `stop_waiting`, `set_active`, `update`. Inputs
/// are what the channels of the core tell, events what happened to the core. Deadlines: late refusals, a new try after
/// a failed write, saying that we no longer download. Not done: reorganisations, push, seeks of our own (notes, *Not
/// followed*).
pub struct Live {
    pub core: Hypercore,
    pub replicator: Replicator,
}

impl Live {
    pub fn new(core: Hypercore) -> Live {
        let mut replicator = Replicator::new();
        replicator.seen = (core.fork(), core.length());
        replicator.manifest_seen = core.manifest().is_some();
        Live { core, replicator }
    }

    /// See `Replicator::local_handshake`.
    pub fn local_handshake(&self, handshake_hash: &[u8; 64], initiator: bool) -> Vec<u8> {
        Replicator::local_handshake(&self.core, handshake_hash, initiator)
    }

    /// Appends blocks and tells the peers. See `Hypercore::append`.
    pub fn append(&mut self, cx: &mut Cx<'_>, blocks: &[&[u8]]) -> Result<u64, Error> {
        let first = self.core.append(cx, blocks)?;
        self.replicator.notice(cx, &mut self.core);
        Ok(first)
    }

    /// Takes over what another process has written, and tells the peers. See `Hypercore::refresh`.
    pub fn refresh(&mut self, cx: &mut Cx<'_>) -> Result<bool, Error> {
        self.replicator.notice(cx, &mut self.core);
        let changed = self.core.refresh(cx)?;
        self.replicator.notice(cx, &mut self.core);
        Ok(changed)
    }

    /// Cuts the core and tells the peers. See `Hypercore::truncate`.
    pub fn truncate(&mut self, cx: &mut Cx<'_>, length: u64) -> Result<(), Error> {
        self.replicator.notice(cx, &mut self.core);
        self.core.truncate(cx, length)?;
        self.replicator.cut_at = Some(length);
        self.replicator.notice(cx, &mut self.core);
        Ok(())
    }

    /// Forgets blocks and tells the peers. They are fetched again if all are downloaded. See `Hypercore::clear`.
    pub fn clear(&mut self, cx: &mut Cx<'_>, start: u64, end: u64) -> Result<(), Error> {
        self.core.clear(cx, start, end)?;
        let end = end.min(self.core.length());
        if start < end {
            self.replicator.gone(cx, &mut self.core, start, end);
        }
        Ok(())
    }

    /// See `Replicator::download_all`.
    pub fn download_all(&mut self, cx: &mut Cx<'_>, all: bool) {
        self.replicator.download_all(cx, &mut self.core, all);
    }

    /// See `Replicator::wait_for`.
    pub fn wait_for(&mut self, cx: &mut Cx<'_>, index: u64) -> Result<bool, Error> {
        self.replicator.wait_for(cx, &mut self.core, index)
    }

    /// See `Replicator::stop_waiting`.
    pub fn stop_waiting(&mut self, index: u64) {
        self.replicator.stop_waiting(index);
    }

    /// See `Replicator::fetch`.
    pub fn fetch(&mut self, cx: &mut Cx<'_>, index: u64, timeout: Option<Span>) -> Result<JobId, Error> {
        self.replicator.fetch(cx, &mut self.core, index, timeout)
    }

    /// See `Replicator::seek`.
    pub fn seek(&mut self, cx: &mut Cx<'_>, bytes: u64, timeout: Option<Span>) -> Result<JobId, Error> {
        self.replicator.seek(cx, &mut self.core, bytes, timeout)
    }

    /// See `Replicator::download`.
    pub fn download(
        &mut self,
        cx: &mut Cx<'_>,
        what: Download,
        timeout: Option<Span>,
    ) -> Result<JobId, Error> {
        self.replicator.download(cx, &mut self.core, what, timeout)
    }

    /// See `Replicator::update`.
    pub fn wait_for_update(&mut self, cx: &mut Cx<'_>, timeout: Option<Span>) -> Result<JobId, Error> {
        self.replicator.notice(cx, &mut self.core);
        self.replicator.update(cx, &mut self.core, timeout)
    }

    /// See `Replicator::cancel`.
    pub fn cancel(&mut self, cx: &mut Cx<'_>, job: JobId) {
        self.replicator.cancel(cx, &mut self.core, job);
    }

    /// See `Replicator::set_finding_peers`.
    pub fn set_finding_peers(&mut self, finding: bool) {
        self.replicator.set_finding_peers(finding);
    }

    /// See `Replicator::set_exchange`.
    pub fn set_exchange(&mut self, how: Exchange) {
        self.replicator.set_exchange(how);
    }

    /// See `Replicator::push`.
    pub fn push(&mut self, cx: &mut Cx<'_>, index: u64) -> usize {
        self.replicator.push(cx, &mut self.core, index)
    }

    /// See `Replicator::set_allow_fork`.
    pub fn set_allow_fork(&mut self, allow: bool) {
        self.replicator.set_allow_fork(allow);
    }

    /// See `Replicator::set_active`.
    pub fn set_active(&mut self, cx: &mut Cx<'_>, active: bool) {
        self.replicator.set_active(cx, active);
    }

    /// Looks for longer peers again: true if one is ahead of us (an `Event::Appended` follows if it keeps its word).
    pub fn update(&mut self, cx: &mut Cx<'_>) -> bool {
        self.replicator.notice(cx, &mut self.core);
        self.replicator.update_all(cx, &mut self.core);
        self.remote_length() > self.core.length()
    }

    /// See `Replicator::remote_length`.
    pub fn remote_length(&self) -> u64 {
        self.replicator.remote_length(&self.core)
    }

    /// See `Replicator::register_extension`.
    pub fn register_extension(&mut self, name: &str) -> Result<(), Error> {
        self.replicator.register_extension(name)
    }

    /// See `Replicator::unregister_extension`.
    pub fn unregister_extension(&mut self, name: &str) {
        self.replicator.unregister_extension(name);
    }

    /// See `Replicator::send_extension`.
    pub fn send_extension(&mut self, to: PeerId, name: &str, message: &[u8]) -> Result<(), Error> {
        self.replicator.send_extension(to, name, message)
    }

    /// See `Replicator::broadcast_extension`.
    pub fn broadcast_extension(&mut self, name: &str, message: &[u8]) -> Result<usize, Error> {
        self.replicator.broadcast_extension(name, message)
    }

    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        self.replicator.peers()
    }
}

impl Machine for Live {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        let (core, replicator) = (&mut self.core, &mut self.replicator);
        match input {
            Input::PeerOpened { peer, remote_handshake, handshake_hash, initiator } => {
                let expected = capability(core.key(), handshake_hash, !initiator);
                replicator.opened(cx, core, peer, remote_handshake, expected);
            }
            Input::Message { peer, kind, bytes } => replicator.message(cx, core, peer, kind, bytes),
            Input::PeerClosed { peer } => replicator.closed(cx, core, peer, true),
            Input::Writable { peer, writable } => {
                if let Some(peer) = replicator.peers.get_mut(&peer) {
                    peer.answering.writable = writable;
                }
            }
            Input::Rtt { peer, rtt } => {
                if let Some(peer) = replicator.peers.get_mut(&peer) {
                    peer.asking.rtt = rtt;
                }
            }
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.replicator.timeout(cx, &mut self.core);
    }

    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = self.replicator.next_output(cx, &mut self.core)?;
        match &output {
            Output::Message { peer, kind, bytes } => {
                let told = Told(*kind, bytes);
                trace!(cx, Out, "hypercore", part: peer, rule: told.rule(), "{told}");
            }
            Output::Open { peer } => {
                trace!(cx, Step, "hypercore", part: peer, rule: "replication.16", "to be opened again");
            }
            Output::Close { .. } => {}
        }
        Some(output)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.replicator.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.replicator.timers.deadline(Timer::why)
    }
}
