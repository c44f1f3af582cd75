//! What the transcript says of the node as a whole: what it was before an input is compared with what it is afterwards,
//! and only when somebody reads. Requests and queries tell of themselves where they change.

use core::fmt::{self, Display, Formatter};

use super::flight::Owner;
use super::query::Asker;
use super::table::Added;
use super::upkeep::Boot;
use super::{DhtRpc, Event, Lost, Timer};
use crate::base::addr::Host;
use crate::base::hex::Short;
use crate::base::{Addr, Cx, Key, trace};

/// What a node was.
pub(super) struct Mark {
    boot: Boot,
    firewalled: bool,
    ephemeral: bool,
    online: (bool, bool),
    host: Option<[u8; 4]>,
    port: u16,
    own: Key,
    testing: bool,
}

impl DhtRpc {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            boot: self.boot,
            firewalled: self.firewalled,
            ephemeral: self.ephemeral,
            online: (self.online, self.degraded),
            host: self.nat.host(),
            port: self.nat.port(),
            own: *self.table.own(),
            testing: self.test.is_some(),
        }
    }

    /// Tells what has changed since `was`.
    pub(super) fn tell(&self, cx: &mut Cx<'_>, was: &Mark) {
        let is = self.mark();
        if was.boot != is.boot {
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.77", "bootstrap: {:?}", is.boot);
        }
        if was.testing != is.testing {
            let what = if is.testing { "begins" } else { "is over" };
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.79", "the test whether it can be reached {what}");
        }
        if (was.host, was.port) != (is.host, is.port) {
            match is.host {
                Some(host) => {
                    let port = is.port;
                    trace!(cx, State, "dht_rpc", rule: "dht_rpc.28", "seen by others as {}:{port}", Host(host));
                }
                None => trace!(cx, State, "dht_rpc", rule: "dht_rpc.28", "seen by others at no one address"),
            }
        }
        if was.firewalled != is.firewalled {
            let what = if is.firewalled { "firewalled" } else { "not firewalled" };
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.80", "{what}");
        }
        if was.own != is.own {
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.40", "its id is {} now", Short(&is.own));
        }
        if was.ephemeral != is.ephemeral {
            let what = if is.ephemeral { "ephemeral" } else { "persistent" };
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.76", "{what}");
        }
        if was.online != is.online {
            let what = match is.online {
                (false, _) => "offline",
                (true, true) => "online, degraded",
                (true, false) => "online",
            };
            trace!(cx, State, "dht_rpc", rule: "dht_rpc.89", "{what}");
        }
    }

    /// A node may have come into the table.
    pub(super) fn tell_added(&mut self, addr: Addr, added: Added) {
        if self.config.tell_nodes && added == Added::Yes {
            self.event(Event::NodeAdded { addr });
        }
    }

    /// A node leaves the table.
    pub(super) fn forget_contact(&mut self, cx: &mut Cx<'_>, id: &Key, rule: &'static str) {
        if let Some(contact) = self.table.remove(id) {
            trace!(cx, State, "dht_rpc", peer: contact.addr, rule: rule, "out of the table");
            if self.config.tell_nodes {
                self.event(Event::NodeRemoved { addr: contact.addr });
            }
        }
    }

    /// A deadline has come.
    pub(super) fn tell_due(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::Tick => trace!(cx, Timer, "dht_rpc", rule: "dht_rpc.55", "tick {}", self.tick),
            Timer::Drain => trace!(cx, Timer, "dht_rpc", rule: "dht_rpc.52", "room for those that wait"),
            Timer::Probe => trace!(cx, Timer, "dht_rpc", rule: "dht_rpc.78", "no answer to a probe"),
            Timer::Flight(id) => {
                let Some(flight) = self.flights.get_mut(id) else { return };
                let (sent, sends) = (flight.sent, flight.sends);
                trace!(
                    cx, Timer, "dht_rpc", id: id, peer: flight.to, rule: "dht_rpc.49",
                    "no answer to send {sent} of {sends}"
                );
            }
            Timer::Delayed(_) => {
                trace!(cx, Timer, "dht_rpc", rule: "dht_rpc.17", "a delayed ping is answered")
            }
        }
    }
}

impl Display for Owner {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Owner::User(_) => f.write_str("the layer above"),
            Owner::Visit(walk) => walk.fmt(f),
            Owner::Commit(walk) => write!(f, "{walk}, to write"),
            Owner::Probe => f.write_str("the first look whether we can be reached"),
            Owner::Firewall => f.write_str("the test whether we can be reached"),
            Owner::Check(_) => f.write_str("a look whether it is still there"),
            Owner::Swap { new, .. } => write!(f, "a look whether {} may take its place", new.addr),
            Owner::Hint => f.write_str("a hint"),
        }
    }
}

impl Display for Asker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Asker::User(_) => "the layer above",
            Asker::Bootstrap => "the bootstrap",
            Asker::Refresh => "a refresh",
        })
    }
}

impl Display for Lost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::TimedOut => "no answer",
            Lost::Cancelled => "cancelled",
            Lost::Destroyed => "the node was destroyed",
            Lost::Suspended => "the node was suspended",
            Lost::Full => "too many requests",
            Lost::NoToken => "it gave no token",
        })
    }
}

/// A command: its name if it is one of dht_rpc's own.
pub(super) struct Command(pub bool, pub u64);

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 5] = ["PING", "PING_NAT", "FIND_NODE", "DOWN_HINT", "DELAYED_PING"];
        let name = usize::try_from(self.1).ok().and_then(|number| NAMES.get(number));
        match name.filter(|_| self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "command {}", self.1),
        }
    }
}
