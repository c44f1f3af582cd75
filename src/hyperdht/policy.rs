//! What a program may decide about a punch. Follows hyperdht.111.

use super::*;

/// A punch that is about to begin: both sides' firewalls, numbered as in `wire::hyperdht::firewall`, and addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Punching<'a> {
    pub ours: u64,
    pub theirs: u64,
    pub own_addresses: &'a [Addr],
    pub their_addresses: &'a [Addr],
}

/// Whether a punch may begin. It has to say the same whenever it is asked the same.
pub type Veto = fn(&Punching<'_>) -> bool;

impl HyperDht {
    /// hyperdht.111
    pub(super) fn may_punch(&self, punch: PunchId, veto: Option<Veto>) -> bool {
        let (Some(veto), Some(puncher)) = (veto, self.punchers.get(punch)) else { return true };
        let theirs: Vec<Addr> = puncher.remote_addresses();
        let own_addresses = puncher.nat.addresses.as_deref().unwrap_or(&[]);
        let (ours, theirs_firewall) = (puncher.nat.firewall, puncher.remote_firewall);
        veto(&Punching { ours, theirs: theirs_firewall, own_addresses, their_addresses: &theirs })
    }
}

impl HyperDht {
    /// Where the server of `key` was reached the last time. hyperdht.97, hyperdht.112
    pub(super) fn route(&mut self, key: &Key, reusable: bool) -> Option<Route> {
        let route = *self.routes.get(key)?;
        let Some(socket) = route.socket else { return Some(route) };
        if !self.sockets.contains_key(&socket) {
            self.routes.remove(key);
            return None;
        }
        reusable.then_some(route)
    }

    /// A path that both sides agreed to keep. hyperdht.112
    pub(super) fn keep_route(&mut self, key: Key, socket: Option<SocketId>, addr: Option<Addr>) {
        if let (Some(socket), Some(addr)) = (socket, addr) {
            self.timers.clear(Timer::Socket(socket));
            self.routes.set(key, Route { addr, socket: Some(socket) });
        }
    }

    /// A stream on a socket of the pool is no more. The other side may still ask for its end, or come again.
    pub(super) fn leave_socket(&mut self, cx: &mut Cx<'_>, socket: SocketId) {
        let uses = |stage: &Stage| matches!(stage, Stage::Open { socket: Some(used) } if *used == socket);
        let used = self.conns.iter().any(|(_, record)| uses(&record.stage));
        if !used {
            self.timers.set(Timer::Socket(socket), cx.now + punch::LINGER);
        }
    }
}
