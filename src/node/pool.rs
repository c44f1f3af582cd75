//! Connection pools: one connection for each key, whoever made it. Follows hyperdht.119.

use std::collections::BTreeMap;

use super::net::Net;
use super::{Closed, ConnId, ConnectOptions, Event, ListenOptions, Node, ServerId};
use crate::base::{Cx, Error, Id, Key, Kind, Slab};
use crate::hyperdht::ConnectError;

pub enum PoolKind {}
impl Kind for PoolKind {
    const NAME: &'static str = "pool";
}
/// A set of connections with different keys.
pub type PoolId = Id<PoolKind>;

#[derive(Default)]
pub(super) struct Pools {
    pools: Slab<PoolKind, Pool>,
    /// Which attempts and connections are of a pool, and the key of the other side.
    members: BTreeMap<ConnId, (PoolId, Key)>,
    servers: BTreeMap<ServerId, PoolId>,
}

#[derive(Default)]
struct Pool {
    /// The connection that counts, open or in the making.
    conns: BTreeMap<Key, ConnId>,
}

impl Pools {
    fn get(&self, pool: PoolId, key: &Key) -> Option<ConnId> {
        self.pools.get(pool)?.conns.get(key).copied()
    }

    fn set(&mut self, pool: PoolId, key: Key, conn: ConnId) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.conns.insert(key, conn);
        }
        self.members.insert(conn, (pool, key));
    }

    /// An attempt has failed, or a connection is gone.
    pub fn forget(&mut self, conn: ConnId) {
        let Some((pool, key)) = self.members.remove(&conn) else { return };
        if let Some(pool) = self.pools.get_mut(pool)
            && pool.conns.get(&key) == Some(&conn)
        {
            pool.conns.remove(&key);
        }
    }

    pub fn server_gone(&mut self, server: ServerId) {
        self.servers.remove(&server);
    }
}

impl Node {
    /// A connection is open: whether the program is told of it. hyperdht.119
    pub(super) fn pooled(&mut self, cx: &mut Cx<'_>, id: ConnId, public: &Key) -> bool {
        let Some(conn) = self.conns.get(&id) else { return true };
        let (key, initiator) = (conn.key, conn.initiator);
        let by_server = conn.server.and_then(|server| self.pools.servers.get(&server).copied());
        let Some(pool) = self.pools.members.get(&id).map(|member| member.0).or(by_server) else {
            return true;
        };
        let existing = self.pools.get(pool, &key).filter(|existing| *existing != id);
        let Some(existing) = existing else {
            self.pools.set(pool, key, id);
            return true;
        };
        // An attempt that has no outcome is one of ours.
        let theirs = self.conns.get(&existing).is_none_or(|existing| existing.initiator);
        if initiator == theirs || *public > key {
            self.pools.forget(existing);
            self.pools.set(pool, key, id);
            self.drop_duplicate(cx, existing);
            return true;
        }
        self.pools.members.remove(&id);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.told = false;
        }
        self.drop_duplicate(cx, id);
        false
    }

    fn drop_duplicate(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        if let Some(dialing) = self.dialing.get(&id) {
            let (key, took) = (dialing.key, cx.now.since(dialing.since));
            let why = ConnectError::Duplicate;
            self.tell(Event::ConnectFailed { conn: id, key, why, met: None, took });
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.why.get_or_insert(Closed::Duplicate);
        }
        self.drop_conn(cx, id);
    }
}

impl Net<'_> {
    /// A new pool. In it there is one connection for each key: of two that were made at once both sides keep the same.
    pub fn pool(&mut self) -> PoolId {
        self.parts().0.pools.pools.insert(Pool::default())
    }

    /// As `connect_with`, unless the pool has a connection with that key, open or in the making: that one then.
    /// (hyperdht.119)
    pub fn connect_in(
        &mut self,
        pool: PoolId,
        key: Key,
        options: ConnectOptions,
        channels: bool,
    ) -> Result<ConnId, Error> {
        self.node().pools.pools.get(pool).ok_or(Error::Gone)?;
        if let Some(conn) = self.pool_conn(pool, &key) {
            return Ok(conn);
        }
        let conn = self.connect_with(key, options, channels)?;
        let node = self.parts().0;
        if node.dialing.contains_key(&conn) {
            node.pools.set(pool, key, conn);
        }
        Ok(conn)
    }

    /// As `listen_with`; connections are the pool's.
    pub fn listen_in(
        &mut self,
        pool: PoolId,
        options: ListenOptions,
        channels: bool,
    ) -> Result<ServerId, Error> {
        self.node().pools.pools.get(pool).ok_or(Error::Gone)?;
        let server = self.listen_with(options, channels)?;
        self.parts().0.pools.servers.insert(server, pool);
        Ok(server)
    }

    /// The pool's connection with a key, open or in the making.
    pub fn pool_conn(&self, pool: PoolId, key: &Key) -> Option<ConnId> {
        self.node().pools.get(pool, key)
    }

    /// All connections of a pool, open or in the making.
    pub fn pool_conns(&self, pool: PoolId) -> Vec<ConnId> {
        self.node().pools.pools.get(pool).map_or_else(Vec::new, |pool| pool.conns.values().copied().collect())
    }

    /// Forgets the pool. Its connections stay.
    pub fn drop_pool(&mut self, pool: PoolId) -> Result<(), Error> {
        let pools = &mut self.parts().0.pools;
        pools.pools.remove(pool).ok_or(Error::Gone)?;
        pools.members.retain(|_, member| member.0 != pool);
        pools.servers.retain(|_, of| *of != pool);
        Ok(())
    }
}
