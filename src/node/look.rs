//! What a program reads of cores that peers have: blocks and trees, of which only what is missing is fetched.

use super::net::Net;
use super::stores::StoreState;
use super::{Bee, CoreId, CoreStats, Hypercore, StoreId};
use crate::base::disk::join;
use crate::base::{Cx, Error, trace};
use crate::corestore::Corestore;
use crate::hypercore::Open;

impl Net<'_> {
    /// Opens the core whose files lie in `dir` itself, as hypercore 10 keeps one alone, in a store of its own.
    /// `Missing`
    /// if there is none. One process at a time.
    pub fn lone_core(&mut self, dir: &str, read_only: bool) -> Result<(StoreId, CoreId), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "open the core in {dir:?}");
        let oplog = join(dir, "oplog");
        if !cx.disk.exists(&oplog) {
            return Err(Error::Missing);
        }
        if !read_only {
            cx.disk.lock(&oplog)?;
        }
        let open = Open { create: false, read_only, durability: node.durability, ..Open::default() };
        let core = Hypercore::open(cx, dir, open)?;
        let store = node.stores.insert(StoreState { store: Corestore::detached(), watched: false });
        let id = node.add_core(cx, store, core);
        if let Some(state) = node.cores.get_mut(id) {
            state.holds = 1;
        }
        node.settle(cx);
        Ok((store, id))
    }

    /// Takes over what another process has written to a core that was opened for reading only. True: there is something
    /// new. See `Hypercore::refresh`.
    pub fn refresh_core(&mut self, core: CoreId) -> Result<bool, Error> {
        let (node, cx) = self.parts();
        let changed = node.cores.get_mut(core).ok_or(Error::Gone)?.live.refresh(cx)?;
        if changed {
            trace!(cx, Call, "node", id: core, "take over what another process wrote");
            node.touched_cores.insert(core);
            node.settle(cx);
        }
        Ok(changed)
    }

    /// Looks at a core.
    pub fn look<T>(&self, core: CoreId, look: impl FnOnce(&Hypercore) -> T) -> Result<T, Error> {
        let state = self.node().cores.get(core).ok_or(Error::Gone)?;
        Ok(look(&state.live.core))
    }

    /// What was exchanged of a core with peers.
    pub fn core_stats(&self, core: CoreId) -> Result<CoreStats, Error> {
        let state = self.node().cores.get(core).ok_or(Error::Gone)?;
        Ok(state.live.replicator.stats())
    }

    /// Whether a peer says that it has more blocks of a core, or a later fork of it.
    pub fn behind(&self, core: CoreId) -> Result<bool, Error> {
        let state = self.node().cores.get(core).ok_or(Error::Gone)?;
        let here = (state.live.core.fork(), state.live.core.length());
        Ok(state.live.peers().any(|peer| (peer.fork, peer.length) > here))
    }

    /// Has a block fetched before all others. True if it is here already; else an `Event::Downloaded` tells when it is.
    /// `Error::Full` if too many are waited for.
    pub fn want(&mut self, core: CoreId, index: u64) -> Result<bool, Error> {
        let (_, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "want block {index}");
        self.with_core(core, |live, cx| live.wait_for(cx, index))
    }

    /// Takes `want` back.
    pub fn unwant(&mut self, core: CoreId, index: u64) -> Result<(), Error> {
        self.with_core(core, |live, _| {
            live.stop_waiting(index);
            Ok(())
        })
    }

    /// Reads the B-tree on a core. A block that `read` fails with `Error::Missing` for is fetched, and what
    /// it will need beyond is asked of peers: an `Event::Downloaded` tells when it can be asked again.
    pub fn bee_read<T>(
        &mut self,
        core: CoreId,
        read: impl FnOnce(&mut Cx<'_>, &mut Bee, &mut Hypercore) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.bee_open(core)?;
        let (node, cx) = self.parts();
        let state = node.cores.get_mut(core).ok_or(Error::Gone)?;
        let done = cx.within(core.place(), |cx| read(cx, &mut state.bee, &mut state.live.core));
        if let Err(Error::Missing) = &done {
            let lacking = state.bee.lacking();
            self.bee_fetch(core, &lacking)?;
        }
        done
    }
}
