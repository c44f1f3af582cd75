//! Part of `DhtRpc`: the host has other addresses than before. Follows dht_rpc.94.

use super::nat::NatSampler;
use super::upkeep::{Boot, Probes};
use super::{DhtRpc, Event};
use crate::base::{Cx, trace};

impl DhtRpc {
    /// These are the host's own addresses now. If they were others, what was found out about ours is void.
    pub(super) fn on_interfaces(&mut self, cx: &mut Cx<'_>, hosts: &[[u8; 4]]) {
        let known = core::mem::replace(&mut self.interfaces, hosts.to_vec());
        // Who was told its address at the start is not asked again.
        if known.is_empty() || known == hosts || self.config.known.is_some() {
            return;
        }
        trace!(cx, State, "dht_rpc", rule: "dht_rpc.94", "the host has other addresses");
        self.nat = NatSampler::new();
        self.sampled.clear();
        self.firewalled = self.config.firewalled;
        (self.probes, self.test) = (Probes::default(), None);
        if !core::mem::replace(&mut self.ephemeral, true) {
            self.event(Event::Ephemeral);
        }
        self.nat_changed();
        self.on_wake_up();
        match self.boot {
            // Whoever waits for the test waits for the one that follows the walk.
            Boot::Done | Boot::Probing | Boot::Testing if !self.suspended() => self.bootstrap(cx),
            Boot::Done | Boot::Probing | Boot::Testing | Boot::Binding | Boot::Walking { .. } => {}
        }
    }
}
