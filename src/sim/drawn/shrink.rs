//! The least world that still fails in the same way: fewer faults, then weaker ones, fewer nodes, fewer clients, a
//! shorter time. Each step is kept only if the world that it leaves fails as the first one did.

use super::options::{Fault, Options};

/// Runs that shrinking may take at most.
pub const RUNS_MAX: usize = 150;
/// Fewer nodes are no network through which two hosts behind boxes could meet.
const NODES_MIN: usize = 1;
const SECONDS_MIN: u64 = 10;

/// Shrinks `failing`. `fails` runs a world and says whether it fails in the same way.
pub fn shrink(failing: &Options, fails: &mut dyn FnMut(&Options) -> bool) -> Options {
    let mut search = Search { best: failing.clone(), fails, runs: 0 };
    search.drop_faults();
    while search.shorten() | search.take_nodes() | search.take_clients() {}
    search.drop_faults();
    search.weaken();
    search.simplify_homes();
    search.best
}

struct Search<'f> {
    best: Options,
    fails: &'f mut dyn FnMut(&Options) -> bool,
    runs: usize,
}

impl Search<'_> {
    /// Keeps a smaller world if it fails, too.
    fn keep(&mut self, smaller: Options) -> bool {
        if self.runs >= RUNS_MAX || smaller == self.best {
            return false;
        }
        self.runs += 1;
        let same = (self.fails)(&smaller);
        if same {
            self.best = smaller;
        }
        same
    }

    /// Leaves out faults: half of them at once, then smaller parts, at last each by itself.
    fn drop_faults(&mut self) {
        let mut part = self.best.faults.0.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < self.best.faults.0.len() {
                let names: Vec<Fault> = self.best.faults.0.keys().copied().skip(at).take(part).collect();
                let mut fewer = self.best.clone();
                fewer.faults.0.retain(|fault, _| !names.contains(fault));
                if !self.keep(fewer) {
                    at += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }

    fn weaken(&mut self) {
        for fault in self.best.faults.0.keys().copied().collect::<Vec<_>>() {
            while let Some(strength) = self.best.faults.get(fault)
                && strength > fault.weakest()
            {
                let mut weaker = self.best.clone();
                weaker.faults.0.insert(fault, (strength / 2).max(fault.weakest()));
                if !self.keep(weaker) {
                    break;
                }
            }
        }
    }

    /// The least number from `least` up to the one so far with which the world fails, by halves and then one by one.
    fn lower(&mut self, from: u64, least: u64, set: fn(&mut Options, u64)) -> bool {
        let (mut now, mut step) = (from, from.saturating_sub(least));
        while step > 0 {
            let mut smaller = self.best.clone();
            set(&mut smaller, now - step);
            if self.keep(smaller) {
                now -= step;
                step = step.min(now - least);
            } else {
                step /= 2;
            }
        }
        now < from
    }

    fn take_nodes(&mut self) -> bool {
        self.lower(self.best.nodes as u64, NODES_MIN as u64, |options, n| options.nodes = n as usize)
    }

    fn take_clients(&mut self) -> bool {
        self.lower(self.best.clients as u64, 1, |options, n| options.clients = n as usize)
    }

    fn shorten(&mut self) -> bool {
        self.lower(self.best.seconds / 10, SECONDS_MIN / 10, |options, n| options.seconds = n * 10)
    }

    fn simplify_homes(&mut self) {
        let mut used = self.best.clone();
        used.nat.truncate(used.clients.max(1));
        self.keep(used);
        for n in 0..self.best.nat.len() {
            let mut simpler = self.best.clone();
            simpler.nat[n] = crate::sim::Kind::Open;
            self.keep(simpler);
        }
        let mut simpler = self.best.clone();
        simpler.server_nat = crate::sim::Kind::Open;
        self.keep(simpler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worlds that fail if and only if two faults meet, with some nodes, some clients and some time.
    fn planted(options: &Options) -> bool {
        options.faults.get(Fault::Cuts).is_some_and(|cuts| cuts >= 5)
            && options.faults.has(Fault::Loss)
            && options.nodes >= 3
            && options.clients >= 2
            && options.seconds >= 75
    }

    #[test]
    fn a_planted_failure_shrinks_to_its_cause() {
        let mut tried = 0;
        for seed in 0..2000 {
            let mut drawn = Options::drawn(seed);
            drawn.seed = 1;
            if !planted(&drawn) {
                continue;
            }
            tried += 1;
            let mut runs = 0;
            let least = shrink(&drawn, &mut |options| {
                runs += 1;
                planted(options)
            });
            assert!(planted(&least));
            assert!(runs <= RUNS_MAX, "{runs} runs");
            let faults: Vec<Fault> = least.faults.0.keys().copied().collect();
            assert_eq!(faults, [Fault::Loss, Fault::Cuts], "seed {seed}");
            assert!((5..10).contains(&least.faults.0[&Fault::Cuts]));
            assert_eq!((least.nodes, least.clients), (3, 2), "seed {seed}");
            assert!((75..90).contains(&least.seconds), "seed {seed}");
            assert!(least.nat.iter().all(|kind| *kind == crate::sim::Kind::Open));
        }
        assert!(tried > 20, "{tried} worlds had the planted failure");
    }

    #[test]
    fn a_world_that_fails_by_itself_shrinks_to_nothing() {
        let least = shrink(&Options::drawn(5), &mut |_| true);
        assert_eq!((least.faults.to_string().as_str(), least.nodes, least.clients), ("none", NODES_MIN, 1));
    }
}
