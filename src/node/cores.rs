//! What a program does with a core beyond reading and appending: messages beside it, what is fetched of it.

use super::net::Net;
use super::{CoreId, PeerId};
use crate::base::{Cx, Error, trace};
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
}
