//! What the NAT in front of one socket does, told from how distinct nodes see that socket. A value; the pings that
//! feed it are the puncher's. Follows hyperdht.60 to hyperdht.63. Not dht_rpc's sampler (pitfalls 4.8).

use std::collections::BTreeSet;

use crate::base::Addr;
use crate::wire::hyperdht::firewall;

/// Samples that a classification wants; pings stop being sent once there are that many.
pub const SAMPLES: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Sample {
    addr: Addr,
    hits: usize,
}

#[derive(Clone, Debug)]
pub struct Nat {
    /// Samples by host alone (port 0), most hits first.
    hosts: Vec<Sample>,
    /// Samples by host and port, most hits first.
    full: Vec<Sample>,
    from: BTreeSet<Addr>,
    pub sampled: usize,
    pub firewall: u64,
    pub addresses: Option<Vec<Addr>>,
    frozen: bool,
    /// The analysis has come as far as it will.
    pub analyzed: bool,
}

impl Nat {
    pub fn new(firewalled: bool) -> Nat {
        Nat {
            hosts: Vec::new(),
            full: Vec::new(),
            from: BTreeSet::new(),
            sampled: 0,
            firewall: if firewalled { firewall::UNKNOWN } else { firewall::OPEN },
            addresses: None,
            frozen: false,
            analyzed: false,
        }
    }

    /// `from` sees our socket as `seen`. Each node counts once. hyperdht.60
    pub fn add(&mut self, seen: Addr, from: Addr, firewalled: bool) {
        if !self.from.insert(from) {
            return;
        }
        add_sample(&mut self.hosts, seen.with_port(0));
        add_sample(&mut self.full, seen);
        self.sampled += 1;
        if (self.sampled >= 3 || !firewalled) && !self.frozen {
            self.update(firewalled);
        }
        if self.firewall == firewall::CONSISTENT || self.firewall == firewall::OPEN || self.sampled >= SAMPLES
        {
            self.analyzed = true;
        }
    }

    /// What was told to the other side stays as it is. hyperdht.63
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    fn update(&mut self, firewalled: bool) {
        if firewalled && self.firewall == firewall::OPEN {
            self.firewall = firewall::UNKNOWN;
        }
        if let Some(class) = self.classify(firewalled) {
            self.firewall = class;
        }
        self.name_addresses();
    }

    /// hyperdht.61; `None` leaves the class as it was.
    fn classify(&self, firewalled: bool) -> Option<u64> {
        if !firewalled {
            return Some(firewall::OPEN);
        }
        let best = self.full.first().map_or(0, |sample| sample.hits);
        let second = self.full.get(1).map_or(0, |sample| sample.hits);
        match (self.sampled, best) {
            (0..=2, _) => None,
            (_, 3..) => Some(firewall::CONSISTENT),
            (_, 0 | 1) => Some(firewall::RANDOM),
            (4.., 2) if self.hosts.len() == 1 => Some(firewall::RANDOM),
            (_, 2) if self.hosts.len() > 1 && second > 1 => Some(firewall::CONSISTENT),
            (5.., 2) => Some(firewall::RANDOM),
            (3 | 4, 2) => None,
        }
    }

    /// hyperdht.62
    fn name_addresses(&mut self) {
        match self.firewall {
            firewall::UNKNOWN => self.addresses = None,
            firewall::RANDOM => self.addresses = Some(self.hosts.iter().take(1).map(|s| s.addr).collect()),
            firewall::CONSISTENT => {
                let mut named = Vec::new();
                for sample in &self.full {
                    if sample.hits >= 2 || named.len() < 2 {
                        named.push(sample.addr);
                    }
                }
                self.addresses = Some(named);
            }
            _ => {}
        }
    }

    /// Neither unknown nor open: what the other side may be told even if the node turned open meanwhile.
    pub fn told_addresses(&self) -> Option<Vec<Addr>> {
        if self.addresses.is_some() {
            return self.addresses.clone();
        }
        // hyperdht.64, pitfalls 4.12: a node that turned open while it punches still tells where it was seen.
        if self.firewall == firewall::OPEN && !self.full.is_empty() {
            return Some(self.full.iter().take(2).map(|sample| sample.addr).collect());
        }
        None
    }
}

fn add_sample(samples: &mut Vec<Sample>, addr: Addr) {
    let Some(mut at) = samples.iter().position(|sample| sample.addr == addr) else {
        samples.push(Sample { addr, hits: 1 });
        return;
    };
    samples[at].hits += 1;
    while at > 0 && samples[at - 1].hits < samples[at].hits {
        samples.swap(at - 1, at);
        at -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hyperdht::tests::vectors;

    fn node(n: usize) -> Addr {
        Addr::new([9, 9, 9, n as u8], 1)
    }

    // proves hyperdht.60, hyperdht.61, hyperdht.62
    #[test]
    fn classes_are_those_of_upstream() {
        for vector in vectors("nat") {
            let inputs = &vector["inputs"];
            let firewalled = inputs["firewalled"].as_bool().expect("bool");
            let mut nat = Nat::new(firewalled);
            for (n, sample) in inputs["samples"].as_array().expect("samples").iter().enumerate() {
                let ip: std::net::Ipv4Addr = sample[0].as_str().expect("host").parse().expect("ip");
                let seen = Addr::new(ip.octets(), sample[1].as_u64().expect("port") as u16);
                nat.add(seen, node(n), firewalled);
                let state = match vector["expected"].get("states") {
                    Some(states) => &states[n],
                    None => &vector["expected"],
                };
                assert_eq!(nat.firewall, state["firewall"], "{} after {n}", inputs["name"]);
                let addresses: Option<Vec<(String, u64)>> = nat
                    .addresses
                    .as_ref()
                    .map(|list| list.iter().map(|a| (a.host().to_string(), a.port.into())).collect());
                let expected: Option<Vec<(String, u64)>> = state["addresses"].as_array().map(|list| {
                    let each = |a: &serde_json::Value| {
                        (a["host"].as_str().expect("host").into(), a["port"].as_u64().expect("port"))
                    };
                    list.iter().map(each).collect()
                });
                assert_eq!(addresses, expected, "{} after {n}", inputs["name"]);
            }
        }
    }

    /// pitfalls 9.11: one node is one sample, however often it answers.
    // proves hyperdht.60
    #[test]
    fn a_node_counts_once() {
        let mut nat = Nat::new(true);
        for _ in 0..5 {
            nat.add(Addr::new([1, 1, 1, 1], 1), node(0), true);
        }
        assert_eq!((nat.sampled, nat.firewall, nat.analyzed), (1, firewall::UNKNOWN, false));
    }

    // proves hyperdht.63
    #[test]
    fn a_frozen_class_does_not_change() {
        let mut nat = Nat::new(true);
        for n in 0..3 {
            nat.add(Addr::new([1, 1, 1, 1], 1), node(n), true);
        }
        assert!(nat.analyzed);
        nat.freeze();
        let told = nat.addresses.clone();
        for n in 3..9 {
            nat.add(Addr::new([2, 2, 2, 2], n as u16), node(n), true);
        }
        assert_eq!((nat.firewall, nat.addresses), (firewall::CONSISTENT, told));
    }

    /// pitfalls 4.12: turning open in the middle of a punch does not hide the addresses seen so far.
    // proves hyperdht.64
    #[test]
    fn a_node_that_turned_open_still_names_addresses() {
        let mut nat = Nat::new(true);
        let seen = Addr::new([1, 1, 1, 1], 1);
        nat.add(seen, node(0), true);
        nat.add(seen, node(1), false);
        assert_eq!(nat.firewall, firewall::OPEN);
        assert_eq!(nat.told_addresses(), Some(vec![seen]));
    }
}
