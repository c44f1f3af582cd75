//! A whole node that stops for a while, goes on, or ends. Follows hyperdht.113 to hyperdht.115.

use super::net::Net;
use super::{Event, Node};
use crate::base::{Cx, Deadline, Span, Time, trace};

/// Between the end of all connections and that of the sockets: what tells the other sides of it leaves meanwhile.
const LEAVING: Span = Span::from_millis(100);

/// How long a node that ends waits for its announcements to be taken back.
const PATIENCE: Span = Span::from_secs(5);

/// Whether the node runs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Life {
    #[default]
    Running,
    /// Announcements are being withdrawn; `until`: only the sockets are left.
    Suspending {
        until: Option<Time>,
    },
    Suspended,
    /// The same, for ever. Nothing is waited for after `by`.
    Ending {
        by: Time,
        until: Option<Time>,
    },
    Ended,
}

impl Node {
    pub(super) fn life_deadline(&self) -> Option<Deadline> {
        let at = match self.life {
            Life::Suspending { until } => until?,
            Life::Ending { by, until } => until.unwrap_or(by),
            Life::Running | Life::Suspended | Life::Ended => return None,
        };
        Some(Deadline { at, why: "a node comes to rest" })
    }

    /// hyperdht.113
    pub(super) fn suspend(&mut self, cx: &mut Cx<'_>) {
        if self.life == Life::Running {
            self.life = Life::Suspending { until: None };
            if !self.swarm_sleeps(cx) {
                self.dht.suspend(cx);
            }
        }
    }

    /// The swarm has nothing announced any more, which a node that is about to be suspended waits for. hyperswarm.30
    pub(super) fn swarm_asleep(&mut self, cx: &mut Cx<'_>) {
        if self.life == (Life::Suspending { until: None }) {
            self.dht.suspend(cx);
        }
    }

    /// hyperdht.114
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        match self.life {
            Life::Suspending { .. } => {}
            Life::Suspended => self.rpc.resume(cx),
            Life::Running | Life::Ending { .. } | Life::Ended => return,
        }
        self.life = Life::Running;
        self.dht.resume(cx);
        self.swarm_wakes(cx);
        self.tell(Event::Resumed);
    }

    /// hyperdht.115
    pub(super) fn end(&mut self, cx: &mut Cx<'_>, force: bool) {
        if matches!(self.life, Life::Ending { until: Some(_), .. } | Life::Ended) {
            return;
        }
        // Who is suspended is announced nowhere, and has no sockets.
        if self.life == Life::Suspended {
            return self.sockets_over(cx, true);
        }
        self.life = Life::Ending { by: cx.now + PATIENCE, until: None };
        if let Some(swarm) = &mut self.swarm {
            swarm.machine.destroy(cx, force); // hyperswarm.31
        }
        if force {
            return self.end_streams(cx);
        }
        let servers: Vec<_> = self.servers.keys().copied().collect();
        for server in servers {
            let _ = self.dht.unlisten(cx, server);
        }
        self.servers_left(cx);
    }

    /// Nothing is announced any more.
    pub(super) fn withdrawn(&mut self, cx: &mut Cx<'_>) {
        if self.life == (Life::Suspending { until: None }) {
            self.end_streams(cx);
        }
    }

    /// A node that ends waits for its servers, and for its swarm.
    pub(super) fn servers_left(&mut self, cx: &mut Cx<'_>) {
        let swarm = self.swarm.as_ref().is_some_and(|swarm| !swarm.machine.has_ended());
        let waits = matches!(self.life, Life::Ending { until: None, .. });
        if waits && self.servers.is_empty() && !swarm {
            self.end_streams(cx);
        }
    }

    fn end_streams(&mut self, cx: &mut Cx<'_>) {
        let until = Some(cx.now + LEAVING);
        self.life = match self.life {
            Life::Ending { by, .. } => Life::Ending { by, until },
            Life::Running | Life::Suspending { .. } | Life::Suspended | Life::Ended => {
                Life::Suspending { until }
            }
        };
        let conns: Vec<_> = self.streams.keys().copied().collect();
        for conn in conns {
            self.drop_conn(cx, conn);
        }
        self.end_raws(cx);
    }

    pub(super) fn life_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.life_deadline().is_none_or(|deadline| deadline.at > cx.now) {
            return;
        }
        match self.life {
            Life::Ending { until: None, .. } => self.end_streams(cx),
            Life::Ending { .. } => self.sockets_over(cx, true),
            Life::Suspending { .. } => self.sockets_over(cx, false),
            Life::Running | Life::Suspended | Life::Ended => {}
        }
    }

    fn sockets_over(&mut self, cx: &mut Cx<'_>, ending: bool) {
        self.dht.close_sockets();
        if ending {
            trace!(cx, State, "node", "ends");
            self.life = Life::Ended;
            self.dht.end(cx);
            self.rpc.destroy(cx);
            self.tell(Event::Destroyed);
        } else {
            self.life = Life::Suspended;
            self.rpc.suspend(cx);
            self.tell(Event::Suspended);
        }
    }
}

impl Net<'_> {
    /// Stops everything for a while: servers are unannounced, connections and sockets closed. `Event::Suspended` tells
    /// when that is done; until `resume` attempts to connect fail. (hyperdht.113)
    pub fn suspend(&mut self) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "suspend");
        node.suspend(cx);
        node.settle(cx);
    }

    /// Goes on: sockets are bound again, to the same ports if they are free, servers announced. (hyperdht.114)
    pub fn resume(&mut self) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "resume");
        node.resume(cx);
        node.settle(cx);
    }

    /// Whether the node is suspended, or about to be.
    pub fn suspended(&self) -> bool {
        matches!(self.node().life, Life::Suspending { .. } | Life::Suspended)
    }

    /// Ends the node, once its servers are unannounced; with `force` without that. `Event::Destroyed` is the last that
    /// is heard of it. (hyperdht.115)
    pub fn shut_down(&mut self, force: bool) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "shut down, forced: {force}");
        node.end(cx, force);
        node.settle(cx);
    }
}
