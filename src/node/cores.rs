//! What a program does with a core beyond reading and appending: messages beside it, what is fetched of it.

use super::net::Net;
use super::{CoreId, Download, Exchange, JobId, PeerId};
use crate::base::{Cx, Error, Span, trace};
use crate::hypercore::live::Live;

impl Net<'_> {
    /// Does something with a core, and carries what comes of it to its peers.
    pub(super) fn with_core<T>(
        &mut self,
        core: CoreId,
        act: impl FnOnce(&mut Live, &mut Cx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (node, cx) = self.parts();
        let state = node.cores.get_mut(core).ok_or(Error::Gone)?;
        let done = cx.within(core.place(), |cx| act(&mut state.live, cx));
        node.touched_cores.insert(core);
        node.settle(cx);
        done
    }

    /// From now on `Event::Extension` tells messages named `name` that peers of a core send; others are dropped.
    /// (replication.61)
    pub fn extension(&mut self, core: CoreId, name: &str) -> Result<(), Error> {
        self.with_core(core, |live, _| live.register_extension(name))
    }

    /// Messages named `name` are dropped again.
    pub fn forget_extension(&mut self, core: CoreId, name: &str) -> Result<(), Error> {
        self.with_core(core, |live, _| {
            live.unregister_extension(name);
            Ok(())
        })
    }

    /// Sends a message named `name` to one peer of a core, which drops it unless it knows that name. `Error::Full`: it
    /// takes nothing at the moment; `Error::Gone`: it is no peer any more.
    pub fn send_extension(
        &mut self,
        core: CoreId,
        peer: PeerId,
        name: &str,
        message: &[u8],
    ) -> Result<(), Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "tell {peer} {name:?}, {} bytes", message.len());
        self.with_core(core, |live, _| live.send_extension(peer, name, message))
    }

    /// Sends a message to all peers of a core that take one at the moment; gives how many that are. (replication.62)
    pub fn broadcast_extension(&mut self, core: CoreId, name: &str, message: &[u8]) -> Result<usize, Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "tell all peers {name:?}, {} bytes", message.len());
        self.with_core(core, |live, _| live.broadcast_extension(name, message))
    }

    /// Fetches a block before all others; `Event::Job` tells when it is here. `timeout`: how long it is waited for.
    pub fn fetch(&mut self, core: CoreId, index: u64, timeout: Option<Span>) -> Result<JobId, Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "fetch block {index}");
        self.with_core(core, |live, cx| live.fetch(cx, index, timeout))
    }

    /// Looks for the block that holds byte `bytes` of a core, here or at peers; `Event::Job` tells. Of an encrypted
    /// core the bytes are those that were encrypted, once its key is known (`set_encryption`).
    pub fn seek(&mut self, core: CoreId, bytes: u64, timeout: Option<Span>) -> Result<JobId, Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "seek byte {bytes}");
        self.with_core(core, |live, cx| live.seek(cx, bytes, timeout))
    }

    /// Fetches blocks of a core; `Event::Job` tells when all are here.
    pub fn download_range(&mut self, core: CoreId, what: Download) -> Result<JobId, Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "download {what:?}");
        self.with_core(core, |live, cx| live.download(cx, what, None))
    }

    /// Waits until a core changes, or until it is clear that no peer has more: `Event::Job` tells.
    pub fn update(&mut self, core: CoreId, timeout: Option<Span>) -> Result<JobId, Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "update");
        self.with_core(core, |live, cx| live.wait_for_update(cx, timeout))
    }

    /// Whether peers of a core are still looked for: while they are, `update` waits for the first.
    pub fn finding_peers(&mut self, core: CoreId, finding: bool) -> Result<(), Error> {
        self.with_core(core, |live, _| {
            live.set_finding_peers(finding);
            Ok(())
        })
    }

    /// Waits for it no longer: `Event::Job` tells that.
    pub fn cancel_job(&mut self, core: CoreId, job: JobId) -> Result<(), Error> {
        self.with_core(core, |live, cx| {
            live.cancel(cx, job);
            Ok(())
        })
    }

    /// How a core is exchanged from now on: windows, limits, forks, pushes.
    pub fn set_exchange(&mut self, core: CoreId, how: Exchange) -> Result<(), Error> {
        self.with_core(core, |live, _| {
            live.set_exchange(how);
            Ok(())
        })
    }

    /// Sends a block to all peers of a core that take pushes and lack it. Gives how many. (replication.107)
    pub fn push(&mut self, core: CoreId, index: u64) -> Result<usize, Error> {
        self.with_core(core, |live, cx| Ok(live.push(cx, index)))
    }

    /// Downloads everything of a core no longer.
    pub fn stop_download(&mut self, core: CoreId) -> Result<(), Error> {
        self.with_core(core, |live, cx| {
            live.download_all(cx, false);
            Ok(())
        })
    }

    /// Cuts a core of ours to `length` blocks; peers follow to its next fork.
    pub fn truncate(&mut self, core: CoreId, length: u64) -> Result<(), Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "cut to {length} blocks");
        self.with_core(core, |live, cx| live.truncate(cx, length))
    }

    /// Forgets blocks `start..end` of a core, and tells the peers.
    pub fn clear(&mut self, core: CoreId, start: u64, end: u64) -> Result<(), Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "clear blocks {start} to {end}");
        self.with_core(core, |live, cx| live.clear(cx, start, end))
    }
}
