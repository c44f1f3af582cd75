//! Opening and closing: many share one open core, and one that nobody needs is closed. Follows corestore.10 and
//! corestore.18. Read `stores.rs` first.

use super::Node;
use super::net::Net;
use super::stores::{CoreId, StoreId, StoreState};
use crate::base::{Cx, Error, Key, Span, trace};
use crate::corestore::{Corestore, Namespace, StoreOptions, Stored, Want};

/// How long a core stays open that nobody holds and no peer uses.
const IDLE: Span = Span::from_secs(6);

impl Node {
    /// Opens what is wanted of a store; who has it open already shares it.
    fn open_core(&mut self, cx: &mut Cx<'_>, store: StoreId, want: &Want<'_>) -> Result<CoreId, Error> {
        let state = self.stores.get_mut(store).ok_or(Error::Gone)?;
        let found = state.store.find(cx, want)?;
        let known = self
            .cores
            .iter()
            .find(|(_, core)| core.store == store && *core.live.core.discovery_key() == found.discovery_key);
        let id = match known.map(|(id, _)| id) {
            Some(id) => {
                if let (Some(pair), Some(core)) = (found.key_pair(), self.cores.get_mut(id)) {
                    core.live.core.give_key_pair(pair);
                }
                id
            }
            None => {
                let core = state.store.open_found(cx, found)?;
                self.add_core(cx, store, core)
            }
        };
        if let Some(core) = self.cores.get_mut(id) {
            core.holds = core.holds.saturating_add(1);
        }
        self.idle.clear(id);
        Ok(id)
    }

    /// Whether nobody needs an open core: no holder, no channel to a peer.
    fn is_idle(&self, id: CoreId) -> bool {
        self.cores.get(id).is_some_and(|core| core.holds == 0)
            && !self.peers.values().any(|place| place.core == id && place.channel.is_some())
    }

    /// corestore.18: after anything happened to a core.
    pub(super) fn watch_idle(&mut self, cx: &mut Cx<'_>, id: CoreId) {
        if !self.is_idle(id) {
            if !self.idle.is_empty() {
                self.idle.clear(id);
            }
        } else if self.idle.get(id).is_none() {
            self.idle.set(id, cx.now + IDLE);
        }
    }

    /// corestore.18
    pub(super) fn idle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(id) = self.idle.pop_due(cx.now) {
            if self.is_idle(id) {
                trace!(cx, State, "node", id: id, rule: "corestore.18", "closed: nobody uses it");
                let _ = self.drop_core(cx, id);
            }
        }
    }

    /// Closes a core now, and its channels.
    fn drop_core(&mut self, cx: &mut Cx<'_>, id: CoreId) -> Result<(), Error> {
        let Some(mut state) = self.cores.remove(id) else { return Ok(()) };
        let gone: Vec<_> =
            self.peers.iter().filter(|(_, place)| place.core == id).map(|(&peer, _)| peer).collect();
        for peer in gone {
            let Some(place) = self.peers.remove(&peer) else { continue };
            let Some(conn) = self.conns.get_mut(&place.conn) else { continue };
            if let (Some(channel), Some(mux)) = (place.channel, &mut conn.mux) {
                let _ = cx.within(place.conn.place(), |cx| mux.close(cx, channel));
                conn.channels.remove(&channel);
                self.touched_conns.insert(place.conn);
            }
        }
        self.idle.clear(id);
        self.core_deadlines.clear(id);
        self.touched_cores.remove(id);
        let closed = cx.within(id.place(), |cx| state.live.core.close(cx));
        if let Some(store) = self.stores.get_mut(state.store) {
            store.store.closed(state.live.core.discovery_key());
        }
        closed
    }

    fn close_store(&mut self, cx: &mut Cx<'_>, store: StoreId) -> Result<(), Error> {
        if !self.stores.contains(store) {
            return Err(Error::Gone);
        }
        let cores: Vec<CoreId> =
            self.cores.iter().filter(|(_, core)| core.store == store).map(|(id, _)| id).collect();
        let mut closed = Ok(());
        for core in cores {
            closed = closed.and(self.drop_core(cx, core));
        }
        for conn in self.conns.values_mut() {
            conn.stores.retain(|each| *each != store);
        }
        if let Some(mut state) = self.stores.remove(store) {
            state.store.close(cx);
        }
        closed
    }
}

impl Net<'_> {
    /// As `store`, with options: for reading only, a primary key of one's own, what changes outlive.
    pub fn store_with(&mut self, dir: &str, options: &StoreOptions) -> Result<StoreId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "open the store {dir:?}, for reading only: {}", options.read_only);
        let store = Corestore::open_with(cx, dir, options)?;
        Ok(node.stores.insert(StoreState { store, watched: false }))
    }

    /// Closes a store with all its cores, and gives its lock back. An error: something could not be written; what was
    /// acknowledged is safe, and everything is closed.
    pub fn close_store(&mut self, store: StoreId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: store, "close");
        let closed = node.close_store(cx, store);
        node.settle(cx);
        closed
    }

    /// Opens a core of a store, or shares the one that is open. Each opening wants its `close_core`, or the core stays
    /// open with the store.
    pub fn open_core(&mut self, store: StoreId, want: &Want<'_>) -> Result<CoreId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: store, "open a core");
        let core = node.open_core(cx, store, want)?;
        node.settle(cx);
        Ok(core)
    }

    /// Takes one opening of a core back. Without one it is served to peers as long as they want it, and some seconds
    /// after that its handle is `Gone`. (corestore.18)
    pub fn close_core(&mut self, core: CoreId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", id: core, "close");
        let state = node.cores.get_mut(core).ok_or(Error::Gone)?;
        state.holds = state.holds.checked_sub(1).ok_or(Error::NotOpen)?;
        node.watch_idle(cx, core);
        node.settle(cx);
        Ok(())
    }

    /// From now on `Event::CoreOpened` tells each core of a store that is opened, also because a peer asked for it.
    pub fn watch_store(&mut self, store: StoreId, on: bool) -> Result<(), Error> {
        let (node, _) = self.parts();
        node.stores.get_mut(store).ok_or(Error::Gone)?.watched = on;
        Ok(())
    }

    /// The discovery keys of all cores that are stored, or of those that were named in a namespace.
    pub fn cores(&mut self, store: StoreId, namespace: Option<Namespace>) -> Result<Vec<Key>, Error> {
        let (node, cx) = self.parts();
        let state = node.stores.get(store).ok_or(Error::Gone)?;
        match namespace {
            Some(namespace) => state.store.list_in(cx, namespace),
            None => state.store.list(cx),
        }
    }

    /// What is written down about a stored core, open or not.
    pub fn stored_core(&mut self, store: StoreId, discovery_key: &Key) -> Result<Option<Stored>, Error> {
        let (node, cx) = self.parts();
        node.stores.get(store).ok_or(Error::Gone)?.store.stored(cx, discovery_key)
    }

    /// Opens a copy of a core as it is now, which nobody can write to. (corestore.17)
    pub fn staticify(&mut self, core: CoreId) -> Result<CoreId, Error> {
        let (node, cx) = self.parts();
        let state = node.cores.get_mut(core).ok_or(Error::Gone)?;
        let id = state.store;
        let store = node.stores.get_mut(id).ok_or(Error::Gone)?;
        let copy = store.store.staticify(cx, &mut state.live.core)?;
        let copy = node.add_core(cx, id, copy);
        if let Some(state) = node.cores.get_mut(copy) {
            state.holds = 1;
        }
        node.settle(cx);
        Ok(copy)
    }
}
