//! Whom a query believes when nodes name others that nobody has met. Follows dht_rpc.95 to dht_rpc.98. A value.
//!
//! Anybody may answer a query, and name whomever it likes. What cannot be made up is an answer from an address, so
//! names are judged by how many of them answered.

use std::collections::BTreeMap;

use crate::base::Addr;

/// Of the nodes that an answer is the first to name, so many are asked however close others are. dht_rpc.95
pub(super) const FOLLOWED: usize = 1;
/// Who named this many more that have not answered than that have is not followed once there are enough answers.
/// dht_rpc.96
pub(super) const DOUBTED: u16 = 2;
/// Named nodes of a host that are asked before one of them has answered. dht_rpc.97
const UNHEARD: u8 = 3;
/// So many more that do not answer than that do end a background query. dht_rpc.98
const LOST_CAUSE: usize = 10;

/// How those fared that one node named.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    asked: u16,
    answered: u16,
}

impl Tally {
    /// How many more have not answered, or not yet, than have.
    fn doubt(self) -> u16 {
        self.asked.saturating_sub(self.answered).saturating_sub(self.answered)
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Host {
    asked: u8,
    heard: bool,
}

/// Memory is bounded by what a query visits, times those who are remembered as having named it.
#[derive(Clone, Default, Debug)]
pub(super) struct Trust {
    named_by: BTreeMap<Addr, Tally>,
    hosts: BTreeMap<[u8; 4], Host>,
    missing: usize,
    answered: usize,
}

impl Trust {
    /// A node is asked that `referrers` named; none: we know it ourselves.
    pub fn asked(&mut self, addr: Addr, referrers: &[Addr]) {
        if !referrers.is_empty() {
            let host = self.hosts.entry(addr.ip).or_default();
            host.asked = host.asked.saturating_add(1);
        }
        for referrer in referrers {
            let tally = self.named_by.entry(*referrer).or_default();
            tally.asked = tally.asked.saturating_add(1);
        }
    }

    /// A node has not answered within its first wait.
    pub fn missing(&mut self) {
        self.missing += 1;
    }

    /// A node answered; `late`: after it was counted as missing.
    pub fn answered(&mut self, addr: Addr, referrers: &[Addr], late: bool) {
        self.hosts.entry(addr.ip).or_default().heard = true;
        self.answered += 1;
        self.missing -= usize::from(late);
        for referrer in referrers {
            let tally = self.named_by.entry(*referrer).or_default();
            tally.answered = tally.answered.saturating_add(1);
        }
    }

    /// Whether somebody that was asked has not answered in time: else there is nothing to doubt.
    pub fn is_strained(&self) -> bool {
        self.missing > 0
    }

    /// How doubtful a node is: as little as the best of those who named it. Our own acquaintances are not.
    pub fn doubt(&self, referrers: &[Addr]) -> u16 {
        let doubt = |referrer| self.named_by.get(referrer).map_or(0, |tally: &Tally| tally.doubt());
        referrers.iter().map(doubt).min().unwrap_or(0)
    }

    /// Whether a host was asked at several ports that others named, and is silent. dht_rpc.97
    pub fn is_silent(&self, addr: Addr) -> bool {
        self.hosts.get(&addr.ip).is_some_and(|host| host.asked >= UNHEARD && !host.heard)
    }

    /// Whether somebody named several that do not answer, and hardly any that do. dht_rpc.99
    pub fn is_deceived(&self) -> bool {
        self.named_by.values().any(|tally| tally.doubt() >= 2 * DOUBTED)
    }

    /// Whether so few answer that it is not worth going on. dht_rpc.98
    pub fn is_lost_cause(&self) -> bool {
        self.missing >= self.answered + LOST_CAUSE
    }
}
