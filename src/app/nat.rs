//! Which kind of NAT this host is behind, by the samples and rules that holepunching goes by, and whom that lets it
//! connect with. Follows hyperdht.60 to hyperdht.62.

use super::registry::outcome::Exit;
use super::text::{list, object, quoted};
use crate::base::{Addr, Time};
use crate::node::{Event, LookupId, Nat, Net, SAMPLES};
use crate::wire::hyperdht::firewall;

/// The latest nodes are left out when there are many, as in a punch. hyperdht.60
const SKIPPED: usize = 5;
const MANY: usize = 8;

/// A kind of NAT, as the protocol tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Anybody can reach this host.
    Open,
    /// The same public address for all.
    Consistent,
    /// Another port for each.
    Random,
    /// Too few nodes told.
    Unknown,
}

/// How two kinds come together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Direct,
    Punch,
    /// One side tries many ports, the other opens many.
    Birthday,
    Never,
    Unknown,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Consistent => "consistent",
            Kind::Random => "random",
            Kind::Unknown => "unknown",
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Open => "anybody can reach this host",
            Kind::Consistent => "everybody sees this host at the same address and port",
            Kind::Random => "each destination sees this host at another port",
            Kind::Unknown => "too few nodes answered to tell",
        }
    }

    /// By its number in `wire::hyperdht::firewall`.
    pub fn of(class: u64) -> Kind {
        match class {
            firewall::OPEN => Kind::Open,
            firewall::CONSISTENT => Kind::Consistent,
            firewall::RANDOM => Kind::Random,
            _ => Kind::Unknown,
        }
    }

    /// hyperdht.61: what the rounds of a punch do about two kinds.
    pub fn with(self, other: Kind) -> Way {
        match (self, other) {
            (Kind::Open, _) | (_, Kind::Open) => Way::Direct,
            (Kind::Unknown, _) | (_, Kind::Unknown) => Way::Unknown,
            (Kind::Consistent, Kind::Consistent) => Way::Punch,
            (Kind::Random, Kind::Random) => Way::Never,
            (Kind::Consistent, Kind::Random) | (Kind::Random, Kind::Consistent) => Way::Birthday,
        }
    }
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::Punch => "holepunch",
            Way::Birthday => "many ports",
            Way::Never => "never",
            Way::Unknown => "unknown",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Way::Direct => "directly",
            Way::Punch => "by holepunching",
            Way::Birthday => "by trying many ports, which takes some 5 s, at most 35: a relay bridges that",
            Way::Never => "not at all: one side needs an open port, another network, or a relay",
            Way::Unknown => "not known",
        }
    }
}

/// What was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub kind: Kind,
    /// Where this host was seen.
    pub seen: Vec<Addr>,
    pub samples: usize,
}

/// Finds it out. The program hands every event to `on_event`; `found` has what came of it.
#[derive(Debug)]
pub struct Finder {
    nat: Option<Nat>,
    waiting: Vec<LookupId>,
    found: Option<Found>,
    begun: Time,
}

impl Finder {
    pub fn start(net: &mut Net<'_>) -> Finder {
        let mut finder = Finder { nat: None, waiting: Vec::new(), found: None, begun: net.now() };
        if net.status().bootstrapped {
            finder.sample(net);
        }
        finder
    }

    pub fn found(&mut self) -> Option<Found> {
        self.found.take()
    }

    /// When it began: a network that is not there never ends it.
    pub fn begun(&self) -> Time {
        self.begun
    }

    pub fn on_event(&mut self, net: &mut Net<'_>, event: Event) {
        match event {
            Event::Bootstrapped => self.sample(net),
            Event::Pinged { lookup, from, seen } if self.waiting.contains(&lookup) => {
                let firewalled = net.status().firewalled;
                if let Some(nat) = &mut self.nat {
                    nat.add(seen, from, firewalled);
                }
            }
            Event::LookupDone { lookup, .. } if self.waiting.contains(&lookup) => {
                self.waiting.retain(|waiting| *waiting != lookup);
                if self.waiting.is_empty() {
                    self.conclude();
                }
            }
            _ => {}
        }
    }

    /// Asks nodes how they see us. hyperdht.60
    fn sample(&mut self, net: &mut Net<'_>) {
        if self.nat.is_some() {
            return;
        }
        let status = net.status();
        self.nat = Some(Nat::new(status.firewalled));
        let skip = if status.nodes.len() >= MANY { SKIPPED } else { 0 };
        // One more than are needed, as one may be gone.
        for &node in status.nodes.iter().skip(skip).take(SAMPLES + 1) {
            self.waiting.push(net.ping(node));
        }
        if self.waiting.is_empty() {
            self.conclude();
        }
    }

    fn conclude(&mut self) {
        let Some(nat) = &self.nat else { return };
        let seen = nat.told_addresses().unwrap_or_default();
        self.found = Some(Found { kind: Kind::of(nat.firewall), seen, samples: nat.sampled });
    }
}

const OTHERS: [Kind; 3] = [Kind::Open, Kind::Consistent, Kind::Random];

impl Found {
    pub fn exit(&self) -> Exit {
        match (self.kind, self.samples) {
            (Kind::Unknown, 0) => Exit::Unreachable,
            (Kind::Unknown, _) => Exit::No,
            _ => Exit::Ok,
        }
    }

    pub fn text(&self) -> String {
        let mut lines = vec![format!("NAT: {} ({})", self.kind.name(), self.kind.meaning())];
        let seen: Vec<String> = self.seen.iter().map(Addr::to_string).collect();
        let seen = if seen.is_empty() { "-".to_owned() } else { seen.join(", ") };
        lines.push(format!("Seen as: {seen}, by {} nodes; port 0 is: another for each", self.samples));
        for other in OTHERS {
            let way = self.kind.with(other);
            lines.push(format!("With {:11} {}", format!("{}:", other.name()), way.meaning()));
        }
        lines.join("\n")
    }

    pub fn json(&self) -> String {
        let ways = OTHERS.map(|other| (other.name(), quoted(self.kind.with(other).name())));
        object(&[
            ("nat", quoted(self.kind.name())),
            ("seen", list(self.seen.iter().map(|addr| quoted(&addr.to_string())))),
            ("samples", self.samples.to_string()),
            ("with", object(&ways)),
        ])
    }
}
