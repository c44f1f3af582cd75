//! What others report as our address, condensed to what is probably true. Follows dht_rpc.27 to dht_rpc.30. A value.

use crate::base::Addr;

/// A ring of the last 16 reports. Each makes two records: the address, and the host with port 0.
#[derive(Clone, Debug)]
pub(super) struct NatSampler {
    host: Option<[u8; 4]>,
    port: u16,
    /// Reports counted for the threshold; stays at 16.
    size: usize,
    top: usize,
    threshold: i32,
    /// Indices into `records`: even places are addresses, odd ones hosts.
    ring: Vec<usize>,
    records: Vec<Record>,
    best_addr: Option<usize>,
    best_host: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    addr: Addr,
    hits: i32,
}

const RING: usize = 32;

impl NatSampler {
    pub fn new() -> NatSampler {
        NatSampler {
            host: None,
            port: 0,
            size: 0,
            top: 0,
            threshold: 0,
            ring: Vec::with_capacity(RING),
            records: Vec::new(),
            best_addr: None,
            best_host: None,
        }
    }

    /// The public host, if the reports agree on one.
    pub fn host(&self) -> Option<[u8; 4]> {
        self.host
    }

    /// The public port; 0 if the reports do not agree on one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The whole address, if the reports agree on it.
    pub fn addr(&self) -> Option<Addr> {
        self.host.filter(|_| self.port != 0).map(|host| Addr::new(host, self.port))
    }

    /// Counts a report; returns how many records agree with it. (dht_rpc.27, dht_rpc.29)
    pub fn add(&mut self, addr: Addr) -> i32 {
        let a = self.bump(addr, 2);
        let b = self.bump(addr.with_port(0), 1);
        if self.ring.len() < RING {
            self.size += 1;
            // dht_rpc.28: few reports must all agree, many may disagree in up to three
            let slack = match self.size {
                0..=3 => 0,
                4..=7 => 1,
                8..=11 => 2,
                _ => 3,
            };
            self.threshold = self.size as i32 - slack;
            self.ring.extend([a, b]);
            self.top += 2;
        } else {
            if self.top == RING {
                self.top = 0;
            }
            for record in [a, b] {
                let old = core::mem::replace(&mut self.ring[self.top], record);
                self.records[old].hits -= 1;
                self.top += 1;
            }
        }
        // dht_rpc.30: strictly more
        let fewer = |best: usize, than: usize| self.records[best].hits < self.records[than].hits;
        if self.best_addr.is_none_or(|best| fewer(best, a)) {
            self.best_addr = Some(a);
        }
        if self.best_host.is_none_or(|best| fewer(best, b)) {
            self.best_host = Some(b);
        }
        let known = |best: Option<usize>| {
            best.map(|best| self.records[best]).filter(|record| record.hits >= self.threshold)
        };
        let decided = known(self.best_addr).or(known(self.best_host));
        self.host = decided.map(|record| record.addr.ip);
        self.port = decided.map_or(0, |record| record.addr.port);
        let agreeing = self.records[a].hits;
        self.tidy();
        agreeing
    }

    /// The record for `addr`: an equal one among the last four of its kind, or a new one.
    fn bump(&mut self, addr: Addr, back: usize) -> usize {
        for nth in 0..4 {
            let place = self.top.wrapping_sub(back + 2 * nth) & (RING - 1);
            let Some(&record) = self.ring.get(place) else { break };
            if self.records[record].addr == addr {
                self.records[record].hits += 1;
                return record;
            }
        }
        let fresh = Record { addr, hits: 1 };
        self.records.push(fresh);
        self.records.len() - 1
    }

    /// Forgets records that nothing refers to, now and then.
    fn tidy(&mut self) {
        if self.records.len() < 4 * RING {
            return;
        }
        let old = core::mem::take(&mut self.records);
        let mut moved = vec![None; old.len()];
        let references = self.ring.iter_mut().chain(self.best_addr.as_mut()).chain(self.best_host.as_mut());
        for reference in references {
            let to = moved[*reference].get_or_insert_with(|| {
                self.records.push(old[*reference]);
                self.records.len() - 1
            });
            *reference = *to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht_rpc::vectors::vectors;

    /// pitfalls 4.8: the sampler of dht-rpc, against its vectors. proves dht_rpc.27, dht_rpc.28, dht_rpc.29 and
    /// proves dht_rpc.30
    #[test]
    fn decisions_are_those_of_node() {
        for vector in vectors("nat-sampler") {
            let mut sampler = NatSampler::new();
            let expected =
                vector.expected["host, port, hits, threshold after each"].as_array().expect("a list");
            let samples = vector.inputs["samples"].as_array().expect("a list");
            for (sample, want) in samples.iter().zip(expected) {
                let host = sample[0].as_str().expect("text");
                let port = sample[1].as_u64().expect("a number");
                let hits = sampler.add(format!("{host}:{port}").parse().expect("an address"));
                let host = sampler.host().map(|ip| Addr::new(ip, 0).host().to_string());
                assert_eq!(host.as_deref(), want[0].as_str(), "{}", vector.inputs["name"]);
                assert_eq!(Some(u64::from(sampler.port())), want[1].as_u64());
                assert_eq!(Some(i64::from(hits)), want[2].as_i64());
                assert_eq!(Some(i64::from(sampler.threshold)), want[3].as_i64());
            }
        }
    }

    #[test]
    fn records_do_not_pile_up() {
        let mut sampler = NatSampler::new();
        for n in 0..10_000_u32 {
            sampler.add(Addr::new([1, 1, (n >> 8) as u8, n as u8], 1000 + n as u16));
            assert!(sampler.records.len() <= 4 * RING + 2);
        }
        assert_eq!(sampler.addr(), None);
        for _ in 0..16 {
            sampler.add(Addr::new([9, 9, 9, 9], 9));
        }
        assert_eq!(sampler.addr(), Some(Addr::new([9, 9, 9, 9], 9)));
    }
}
