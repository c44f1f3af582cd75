//! Part of `DhtRpc`: everything stops for a while, and goes on. Follows dht_rpc.92 and dht_rpc.93.

use super::flight::Window;
use super::{Binding, DhtRpc, Lost, Output, Timer, upkeep};
use crate::base::{Cx, SocketId, Timers, trace};

impl DhtRpc {
    /// Whether the node is suspended.
    pub fn suspended(&self) -> bool {
        matches!(self.binding, Binding::Suspended)
    }

    /// Stops everything: requests in flight are lost, both sockets are closed. Queries go on after `resume`,
    /// and what is
    /// asked meanwhile leaves then. (dht_rpc.92)
    pub fn suspend(&mut self, cx: &mut Cx<'_>) {
        if self.destroyed || self.suspended() || matches!(self.binding, Binding::Failed) {
            return;
        }
        trace!(cx, State, "dht_rpc", rule: "dht_rpc.92", "suspended");
        self.binding = Binding::Suspended;
        for flight in self.flights.ids() {
            self.finish(cx, flight, Err(Lost::Suspended));
        }
        self.timers = Timers::new();
        self.delayed.clear();
        self.window = Window::new(self.config.window.max(1));
        for (socket, local) in
            [(SocketId::SERVER, self.server.take()), (SocketId::CLIENT, self.client.take())]
        {
            let Some(local) = local else { continue };
            match socket {
                SocketId::SERVER => self.earlier.0 = local.port,
                _ => self.earlier.1 = local.port,
            }
            self.outputs.push_back(Output::Close { socket });
        }
    }

    /// Goes on after `suspend`: binds the sockets again, to the same ports if they are free. (dht_rpc.93)
    pub fn resume(&mut self, cx: &mut Cx<'_>) {
        if self.destroyed || !self.suspended() {
            return;
        }
        trace!(cx, State, "dht_rpc", rule: "dht_rpc.93", "goes on");
        let mut ports = self.config.ports();
        if self.earlier.0 != 0 {
            ports.push_front(self.earlier.0);
        }
        let first = ports.pop_front().unwrap_or(0);
        self.binding = Binding::Server(ports);
        self.bind(SocketId::SERVER, first);
        self.on_wake_up();
        self.last_tick = cx.now;
        self.timers.set(Timer::Tick, cx.now + upkeep::TICK);
    }
}
