//! What a world is drawn from: its size, its homes, and how strong each fault is. As text it is the command line that
//! runs it again.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use crate::base::{Entropy, Seeded, Span};
use crate::sim::Kind;

/// A kind of fault. Its strength is a number: see `Fault::unit`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    Delay,
    Uneven,
    Loss,
    Burst,
    Jitter,
    Reorder,
    Copies,
    Flips,
    Rate,
    Mtu,
    Cuts,
    Reboots,
    Readdress,
    Moves,
    Lifetime,
    Offset,
    Drift,
    Freeze,
    ServerCrash,
    ClientCrash,
    NodeCrash,
    Tear,
    FullDisk,
    Leave,
}

/// Everything about a kind of fault that is the same in all worlds.
struct About {
    fault: Fault,
    name: &'static str,
    unit: &'static str,
    /// Weakest and strongest that is drawn, and how often of a thousand worlds one has it at all.
    from: u32,
    to: u32,
    permille: u64,
}

const fn about(fault: Fault, name: &'static str, unit: &'static str, drawn: [u32; 3]) -> About {
    About { fault, name, unit, from: drawn[0], to: drawn[1], permille: drawn[2] as u64 }
}

const ABOUT: [About; 24] = [
    about(Fault::Delay, "delay", "ms that every line takes, in place of 5", [1, 150, 600]),
    about(Fault::Uneven, "uneven", "ms that lines of homes take more, up or down", [10, 300, 300]),
    about(Fault::Loss, "loss", "of 1000 datagrams vanish", [5, 200, 500]),
    about(Fault::Burst, "burst", "datagrams of a mean burst of losses", [3, 60, 300]),
    about(Fault::Jitter, "jitter", "ms of jitter", [1, 100, 400]),
    about(Fault::Reorder, "reorder", "of 1000 datagrams are overtaken", [5, 200, 300]),
    about(Fault::Copies, "copies", "of 1000 datagrams come twice", [5, 200, 300]),
    about(Fault::Flips, "flips", "of 1000 datagrams have a bit flipped", [1, 50, 300]),
    about(Fault::Rate, "rate", "kB/s to and from each home", [8, 400, 200]),
    about(Fault::Mtu, "mtu", "bytes of the longest packet of a drawn home", [600, 1400, 150]),
    about(Fault::Cuts, "cuts", "places are cut off for a while, each 10 minutes", [2, 40, 400]),
    about(Fault::Reboots, "reboots", "boxes forget their mappings, each 10 minutes", [2, 30, 300]),
    about(Fault::Readdress, "readdress", "boxes get another address, each 10 minutes", [1, 10, 250]),
    about(Fault::Moves, "moves", "clients move to another home, each 10 minutes", [1, 10, 200]),
    about(Fault::Lifetime, "lifetime", "s that a mapping lasts, in place of 120", [10, 100, 300]),
    about(Fault::Offset, "offset", "s that clocks are off, at most", [1, 100_000, 300]),
    about(Fault::Drift, "drift", "millionths that clocks drift, at most", [10, 50_000, 300]),
    about(Fault::Freeze, "freeze", "processes stop for a while, each 10 minutes", [2, 40, 300]),
    about(Fault::ServerCrash, "server-crash", "crashes of the server, each 10 minutes", [1, 30, 400]),
    about(Fault::ClientCrash, "client-crash", "crashes of clients, each 10 minutes", [1, 40, 400]),
    about(Fault::NodeCrash, "node-crash", "crashes of nodes of the DHT, each 10 minutes", [1, 40, 400]),
    about(Fault::Tear, "tear", "1: crashes are failures of power that tear the disk", [1, 1, 600]),
    about(Fault::FullDisk, "full-disk", "disks are full for a while, each 10 minutes", [1, 20, 200]),
    about(Fault::Leave, "leave", "nodes of the DHT leave for good, each 10 minutes", [1, 10, 200]),
];

impl Fault {
    pub fn all() -> impl Iterator<Item = Fault> {
        ABOUT.iter().map(|about| about.fault)
    }

    fn about(self) -> &'static About {
        &ABOUT[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.about().name
    }

    /// What its number counts.
    pub fn unit(self) -> &'static str {
        self.about().unit
    }

    /// The least that it can be and still be there: shrinking goes no further.
    pub fn weakest(self) -> u32 {
        self.about().from
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kinds of faults of a world and their strengths; as text `loss=50,cuts=3`, or `none`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults(pub BTreeMap<Fault, u32>);

impl Faults {
    pub fn get(&self, fault: Fault) -> Option<u32> {
        self.0.get(&fault).copied()
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains_key(&fault)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (n, (fault, strength)) in self.0.iter().enumerate() {
            write!(f, "{}{fault}={strength}", if n > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Text is not a list of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotFaults;

impl fmt::Display for NotFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a list NAME=NUMBER,.. of faults, or a fault twice; their names:")?;
        Fault::all().try_for_each(|fault| write!(f, " {fault}"))
    }
}

impl FromStr for Faults {
    type Err = NotFaults;
    fn from_str(text: &str) -> Result<Faults, NotFaults> {
        let mut faults = Faults::default();
        if text == "none" {
            return Ok(faults);
        }
        for part in text.split(',') {
            let (name, strength) = part.split_once('=').ok_or(NotFaults)?;
            let fault = Fault::all().find(|fault| fault.name() == name.trim()).ok_or(NotFaults)?;
            let strength = strength.trim().parse().map_err(|_| NotFaults)?;
            if faults.0.insert(fault, strength).is_some() {
                return Err(NotFaults);
            }
        }
        Ok(faults)
    }
}

/// A world, as it can be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    pub seed: u64,
    /// Lasting nodes of the DHT, the first one included.
    pub nodes: usize,
    pub clients: usize,
    /// How many of them hand their copy on to others, who then all connect to each other: the first ones.
    pub copies: usize,
    /// Homes of clients, who are spread over them.
    pub nat: Vec<Kind>,
    /// The home of the server.
    pub server_nat: Kind,
    /// How long there are faults and load; then everything heals.
    pub seconds: u64,
    pub faults: Faults,
}

/// Few enough for a world of a second or two.
const NODES: [u64; 2] = [6, 16];
const CLIENTS: [u64; 2] = [1, 6];
const SECONDS: [u64; 2] = [60, 420];

impl Options {
    /// The world of a seed. Each property has a source of its own.
    pub fn drawn(seed: u64) -> Options {
        let source = Seeded::new(seed).fork("options");
        let between = |label: &str, [from, to]: [u64; 2]| from + source.fork(label).below(to - from + 1);
        let mut faults = Faults::default();
        for about in &ABOUT {
            let mut draw = source.fork(about.name);
            if draw.chance(about.permille) {
                let span = u64::from(about.to - about.from);
                // Weak ones are drawn more often: strong ones hide what others do.
                let part = draw.below(1001) * draw.below(1001);
                faults.0.insert(about.fault, about.from + (span * part / 1_000_000) as u32);
            }
        }
        let mut draw = source.fork("nat");
        let kinds = 1 + draw.below(4);
        let nat = (0..kinds).map(|_| Kind::ALL[draw.below(7) as usize]).collect();
        let mut draw = source.fork("server nat");
        let server_nat = if draw.chance(600) { Kind::Open } else { Kind::ALL[1 + draw.below(4) as usize] };
        let clients = between("clients", CLIENTS) as usize;
        Options {
            seed,
            nodes: between("nodes", NODES) as usize,
            clients,
            copies: clients,
            nat,
            server_nat,
            seconds: between("seconds", SECONDS),
            faults,
        }
    }

    /// How long the faults last.
    pub fn span(&self) -> Span {
        Span::from_secs(self.seconds)
    }

    /// The home of the n-th client.
    pub fn home(&self, n: usize) -> Kind {
        self.nat.get(n % self.nat.len().max(1)).copied().unwrap_or(Kind::Open)
    }
}

/// The command line that runs it.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, nodes, clients) = (self.seed, self.nodes, self.clients);
        write!(f, "seckel sim --seed {seed:#x} --nodes {nodes} --clients {clients}")?;
        if self.copies < clients {
            write!(f, " --copies {}", self.copies)?;
        }
        f.write_str(" --nat ")?;
        for (n, kind) in self.nat.iter().enumerate() {
            write!(f, "{}{kind}", if n > 0 { "," } else { "" })?;
        }
        let (server, seconds, faults) = (self.server_nat, self.seconds, &self.faults);
        write!(f, " --server-nat {server} --seconds {seconds} --faults {faults}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_faults() {
        for (n, about) in ABOUT.iter().enumerate() {
            assert_eq!(about.fault as usize, n, "{}", about.name);
            assert!(about.from <= about.to && about.from > 0);
        }
    }

    #[test]
    fn faults_are_read_as_they_are_written() {
        for seed in 0..200 {
            let faults = Options::drawn(seed).faults;
            assert_eq!(faults.to_string().parse(), Ok(faults));
        }
        for text in ["", "loss", "loss=x", "loss=-1", "losses=3", "loss=1,loss=2", "loss=1,"] {
            assert_eq!(text.parse::<Faults>(), Err(NotFaults), "{text}");
        }
    }

    #[test]
    fn every_fault_is_drawn_sometimes_and_no_fault_always() {
        let worlds: Vec<Options> = (0..400).map(Options::drawn).collect();
        for fault in Fault::all() {
            let count = worlds.iter().filter(|world| world.faults.has(fault)).count();
            assert!((20..380).contains(&count), "{fault} in {count} of 400");
        }
    }
}
