//! Many nodes of one DHT: they join in waves, announce keys, and look for what others announced. What that costs is
//! counted in rounds and messages; *Growth* in `vendor-protocol-notes/dht_rpc.md` shows it for up to 10,000 nodes.

use std::collections::BTreeMap;

use super::HostId;
use super::world::{Step, World};
use crate::base::{Addr, Entropy, Key, Seeded, Span, Time};
use crate::node::{Config, DhtConfig, Event, KeyPair, LookupId};

/// The first node's address.
pub const FIRST: Addr = Addr::new([30, 0, 0, 1], 49737);
/// Look-ups at once, each from a node of its own.
const AT_ONCE: usize = 100;
/// How long an answer is waited for.
const PATIENCE: Span = Span::from_secs(60);

/// A world with a DHT in it.
pub struct Crowd {
    pub world: World,
    draw: Seeded,
    hosts: Vec<HostId>,
    announced: Vec<Key>,
}

/// What a number of look-ups came to.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Found {
    pub asked: u64,
    /// Ended with what was looked for.
    pub found: u64,
    /// How many took how many rounds of questions until the node closest to the target had answered.
    pub rounds: BTreeMap<u64, u64>,
    /// Nodes that were asked, by all look-ups together.
    pub visits: u64,
    /// Time that they took together.
    pub time: Span,
}

/// What to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Keys that were announced: found when somebody tells of them.
    Announced,
    /// The nodes closest to random keys: found when somebody answers.
    Nodes,
}

impl Found {
    /// Rounds in the mean, in hundredths.
    pub fn mean_rounds(&self) -> u64 {
        self.rounds.iter().map(|(rounds, count)| rounds * count).sum::<u64>() * 100 / self.asked.max(1)
    }

    /// Nodes asked in the mean, in hundredths.
    pub fn mean_visits(&self) -> u64 {
        self.visits * 100 / self.asked.max(1)
    }
}

impl Crowd {
    /// A DHT of one node.
    pub fn new(seed: u64) -> Crowd {
        let mut world = World::new(seed);
        let first = world.add(FIRST.ip);
        let dht = DhtConfig::bootstrapper(FIRST).expect("a host and a port");
        world.start(first, Config { dht, ..Config::default() });
        Crowd { world, draw: Seeded::new(seed).fork("crowd"), hosts: vec![first], announced: Vec::new() }
    }

    /// A node that joins; `lasting` ones answer for others.
    pub fn config(lasting: bool) -> Config {
        let ephemeral = lasting.then_some(false);
        let dht = DhtConfig { bootstrap: vec![FIRST], ephemeral, ..DhtConfig::default() };
        Config { dht, ..Config::default() }
    }

    pub fn hosts(&self) -> &[HostId] {
        &self.hosts
    }

    /// The address of the `n`th host that joins.
    fn ip(n: usize) -> [u8; 4] {
        let n = n as u32;
        [30, 1 + (n >> 16) as u8, (n >> 8) as u8, n as u8]
    }

    /// Adds `count` lasting nodes, evenly over `span`; how many of them are part of the DHT a while after.
    pub fn join(&mut self, count: usize, span: Span) -> usize {
        let start = self.world.now();
        let mut lasting = 0;
        for n in 0..count {
            let at = start + Span::from_micros(span.as_micros() * n as u64 / count as u64);
            lasting += self.count_until(at);
            let host = self.world.add(Crowd::ip(self.hosts.len()));
            self.world.start(host, Crowd::config(true));
            self.hosts.push(host);
        }
        lasting + self.count_until(start + span + PATIENCE)
    }

    /// Runs until `until`; how many nodes became lasting.
    fn count_until(&mut self, until: Time) -> usize {
        let mut count = 0;
        loop {
            match self.world.step(until) {
                Step::Event(_, Event::Persistent) => count += 1,
                Step::Event(..) | Step::Crashed(_) => {}
                Step::TimedOut => return count,
            }
        }
    }

    fn draw_host(&mut self) -> HostId {
        self.hosts[self.draw.below(self.hosts.len() as u64) as usize]
    }

    /// Announces `count` keys, each from a node of its own choice.
    pub fn announce(&mut self, count: usize) -> Found {
        let mut begun = 0;
        self.ask(count, &mut |crowd, host| {
            begun += 1;
            let key = crowd.draw.fork(&format!("key {begun}")).bytes32();
            let pair = KeyPair::from_seed(crowd.draw.fork(&format!("pair {begun}")).bytes32());
            crowd.announced.push(key);
            crowd.world.net(host).announce(key, &pair, Vec::new())
        })
    }

    /// Looks for `count` things from nodes of chance.
    pub fn look_up(&mut self, count: usize, what: What) -> Found {
        self.ask(count, &mut |crowd, host| match what {
            What::Announced => {
                let key = crowd.announced[crowd.draw.below(crowd.announced.len() as u64) as usize];
                crowd.world.net(host).lookup(key)
            }
            What::Nodes => {
                let key = crowd.draw.bytes32();
                crowd.world.net(host).find_nodes(key)
            }
        })
    }

    /// Begins `count` look-ups, some at once, and waits for them. A look-up for peers is a success when one is found.
    fn ask(&mut self, count: usize, begin: &mut dyn FnMut(&mut Crowd, HostId) -> LookupId) -> Found {
        let mut sum = Found::default();
        let mut left = count;
        let mut open: BTreeMap<HostId, Asked> = BTreeMap::new();
        while left > 0 || !open.is_empty() {
            let room = AT_ONCE.min(self.hosts.len().div_ceil(4));
            while left > 0 && open.len() < room {
                let host = self.draw_host();
                if open.contains_key(&host) {
                    continue;
                }
                let stats = self.world.net(host).dht_stats();
                let lookup = begin(self, host);
                let since = self.world.now();
                open.insert(
                    host,
                    Asked { lookup, since, rounds: stats.rounds, visits: stats.visits, met: false },
                );
                left -= 1;
            }
            let until = self.world.now() + PATIENCE;
            match self.world.step(until) {
                Step::Event(host, event) => self.take(host, &event, &mut open, &mut sum),
                Step::Crashed(_) => {}
                Step::TimedOut => {
                    sum.asked += open.len() as u64;
                    open.clear();
                }
            }
        }
        sum
    }

    fn take(&mut self, host: HostId, event: &Event, open: &mut BTreeMap<HostId, Asked>, sum: &mut Found) {
        match event {
            Event::Found { lookup, .. } => {
                if let Some(asked) = open.get_mut(&host).filter(|asked| asked.lookup == *lookup) {
                    asked.met = true;
                }
            }
            Event::LookupDone { lookup, ok } => {
                let Some(asked) = open.remove(&host).filter(|asked| asked.lookup == *lookup) else { return };
                let stats = self.world.net(host).dht_stats();
                sum.asked += 1;
                sum.found += u64::from(*ok || asked.met);
                *sum.rounds.entry(stats.rounds - asked.rounds).or_default() += 1;
                sum.visits += stats.visits - asked.visits;
                sum.time = sum.time + self.world.now().since(asked.since);
            }
            _ => {}
        }
    }
}

/// A look-up that runs, and the counts of its node when it began.
struct Asked {
    lookup: LookupId,
    since: Time,
    rounds: u64,
    visits: u64,
    met: bool,
}
