//! How soon members meet, and meet again: who joins in the same moment, who starts again, whose address is another.

use std::collections::BTreeMap;

use seckel::base::{Key, Span, Time};
use seckel::node::{ConnId, Event, JoinOptions};
use seckel::sim::{HostId, Kind, Line, NatOptions, Step, World};

use crate::support::{joining, key, network, seed, wait};

const TOPIC: Key = [9; 32];
const BOTH: JoinOptions = JoinOptions { server: true, client: true };
const SERVER: JoinOptions = JoinOptions { server: true, client: false };
const CLIENT: JoinOptions = JoinOptions { server: false, client: true };
/// Within this an old connection must have a successor.
const SOON: Span = Span::from_secs(3);

/// Two swarms with plain messages.
struct Pair {
    world: World,
    hosts: [HostId; 2],
    roles: [JoinOptions; 2],
    open: BTreeMap<HostId, ConnId>,
}

impl Pair {
    fn new(seed: u64, homes: [Kind; 2], roles: [JoinOptions; 2]) -> Pair {
        let mut world = World::new(seed);
        world.line = Line { delay: Span::from_millis(10), jitter: Span::from_millis(5), ..Line::default() };
        network(&mut world, 12);
        let mut n = 0;
        let hosts = homes.map(|kind| {
            n += 1;
            let home = world.add_box(kind, [30, 0, 100 + n, 1], NatOptions::default());
            let inner = if kind.is_transparent() { [30, 0, 200 + n, 1] } else { [192, 168, n, 10] };
            world.add_behind(home, inner)
        });
        let mut pair = Pair { world, hosts, roles, open: BTreeMap::new() };
        pair.start(0);
        pair.start(1);
        pair
    }

    /// Starts a node and its swarm; the key of side 1 is the greater one in about half of the seeds.
    fn start(&mut self, side: usize) {
        let host = self.hosts[side];
        self.world.start(host, joining());
        self.world.net(host).swarm_of_messages(&key(side as u8 + 30));
    }

    fn bootstrapped(&mut self, side: usize) {
        let host = self.hosts[side];
        wait(&mut self.world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    }

    fn join(&mut self, side: usize) {
        let (host, roles) = (self.hosts[side], self.roles[side]);
        self.world.net(host).join(TOPIC, roles).expect("joins");
    }

    fn step(&mut self, until: Time) -> bool {
        match self.world.step(until) {
            Step::Event(host, Event::Connected { conn, .. }) => {
                assert_eq!(self.open.insert(host, conn), None, "one at a time");
            }
            Step::Event(host, Event::Closed { conn, .. }) if self.open.get(&host) == Some(&conn) => {
                self.open.remove(&host);
            }
            Step::Event(..) | Step::Crashed(_) => {}
            Step::TimedOut => {
                assert!(self.world.violation().is_none(), "{}", self.world.violation().expect("there is one"));
                return false;
            }
        }
        true
    }

    fn run(&mut self, span: Span) {
        let until = self.world.now() + span;
        while self.step(until) {}
    }

    /// How long it takes until a message of each side has come on connections other than `old`, at most `most`.
    fn met(&mut self, old: &BTreeMap<HostId, ConnId>, most: Span) -> Span {
        let begin = self.world.now();
        while self.hosts.iter().any(|host| self.open.get(host).is_none_or(|conn| old.get(host) == Some(conn))) {
            if !self.step(begin + most) {
                panic!("not in {most}: {:?} was {old:?}\n{}", self.open, self.world.last_lines());
            }
            // Both sides talk all the time.
            self.talk();
        }
        self.world.now().since(begin)
    }

    fn talk(&mut self) {
        for (&host, &conn) in &self.open {
            let _ = self.world.net(host).send(conn, b"tick");
        }
    }

    /// Both sides say something every 100 ms, for `rounds` of it.
    fn talk_for(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.talk();
            self.run(Span::from_millis(100));
        }
    }

    /// What befalls one side of two that talk, until a new connection stands.
    fn survives(&mut self, most: Span, what: impl FnOnce(&mut Pair)) -> Span {
        self.talk_for(20);
        let old = self.open.clone();
        what(self);
        let begin = self.world.now();
        while self.hosts.iter().any(|host| self.open.get(host).is_none_or(|conn| old.get(host) == Some(conn))) {
            let took = self.world.now().since(begin);
            assert!(took < most, "not in {most}: {:?} was {old:?}\n{}", self.open, self.world.last_lines());
            self.talk();
            self.run(Span::from_millis(100));
        }
        let took = self.world.now().since(begin);
        self.talk_for(20);
        took
    }
}

/// pitfalls 13: each looks before the other is announced.
// proves hyperswarm.36
#[test]
fn two_that_join_in_the_same_moment_meet_in_seconds() {
    for n in 0..12 {
        for (roles, most) in [([BOTH, BOTH], 4), ([SERVER, CLIENT], 4), ([CLIENT, BOTH], 4)] {
            let mut pair = Pair::new(seed(0x6000 + n), [Kind::Open; 2], roles);
            pair.bootstrapped(1);
            pair.join(0);
            pair.join(1);
            pair.met(&BTreeMap::new(), Span::from_secs(most));
        }
    }
}

/// A node starts again under its key while the other side holds its old connection: what its program says on it or not.
// proves hyperswarm.21, hyperswarm.37, hyperswarm.38
#[test]
fn who_starts_again_is_back_within_three_seconds() {
    for n in 0..6 {
        for roles in [[BOTH, BOTH], [CLIENT, SERVER], [SERVER, CLIENT], [BOTH, SERVER]] {
            for talks in [false, true] {
                let mut pair = Pair::new(seed(0x6100 + n), [Kind::Open; 2], roles);
                pair.bootstrapped(1);
                pair.join(0);
                pair.run(SOON);
                pair.join(1);
                pair.met(&BTreeMap::new(), Span::from_secs(15));
                pair.run(Span::from_secs(20));
                if talks {
                    pair.talk_for(10);
                }
                let old = pair.open.clone();
                pair.world.crash(pair.hosts[1]);
                pair.open.remove(&pair.hosts[1]);
                pair.start(1);
                pair.join(1);
                // An idle connection is found to be dead with its next keep-alive.
                let idle = if talks || pair.roles[1].client { Span::ZERO } else { Span::from_secs(5) };
                let took = if talks {
                    pair.survive_restart(old, SOON)
                } else {
                    pair.met_idle(&old, SOON + idle)
                };
                println!("{n} {roles:?} talks {talks}: {took}");
            }
        }
    }
}

impl Pair {
    fn is_new(&self, old: &BTreeMap<HostId, ConnId>) -> bool {
        let new = |host: &HostId| {
            self.open.get(host).is_some_and(|conn| *host == self.hosts[1] || old.get(host) != Some(conn))
        };
        self.hosts.iter().all(new)
    }

    fn met_idle(&mut self, old: &BTreeMap<HostId, ConnId>, most: Span) -> Span {
        let begin = self.world.now();
        while !self.is_new(old) {
            if !self.step(begin + most) {
                panic!("not in {most}: {:?} was {old:?}\n{}", self.open, self.world.last_lines());
            }
        }
        self.world.now().since(begin)
    }

    fn survive_restart(&mut self, old: BTreeMap<HostId, ConnId>, most: Span) -> Span {
        let begin = self.world.now();
        while !self.is_new(&old) {
            let took = self.world.now().since(begin);
            assert!(took < most, "not in {most}: {:?} was {old:?}\n{}", self.open, self.world.last_lines());
            self.talk();
            self.run(Span::from_millis(100));
        }
        self.world.now().since(begin)
    }
}

/// Where Node's connection dies after 13 s: the box of one side has another outer address, or has been rebooted and gives
/// other ports. The first kind is that of the side which is found, the second that of the one which dials.
// proves hyperswarm.37
#[test]
fn a_new_address_costs_three_seconds() {
    for n in 0..4 {
        for kinds in [
            [Kind::Open, Kind::Restricted],
            [Kind::Restricted, Kind::Restricted],
            [Kind::Firewall, Kind::FullCone],
        ] {
            let mut pair = Pair::new(seed(0x6200 + n), kinds, [SERVER, CLIENT]);
            pair.bootstrapped(1);
            pair.join(0);
            pair.run(SOON);
            pair.join(1);
            pair.met(&BTreeMap::new(), Span::from_secs(15));
            let home = pair.world.home(pair.hosts[1]).expect("a box");
            for to in 0..2 {
                let took = pair.survives(SOON, |pair| pair.world.readdress(home, [30, 0, 150, to + 1]));
                println!("{n} {kinds:?} readdressed: {took}");
            }
        }
        for kinds in [[Kind::Open, Kind::Symmetric]] {
            let mut pair = Pair::new(seed(0x6300 + n), kinds, [SERVER, CLIENT]);
            pair.bootstrapped(1);
            pair.join(0);
            pair.run(SOON);
            pair.join(1);
            pair.met(&BTreeMap::new(), Span::from_secs(60));
            let home = pair.world.home(pair.hosts[1]).expect("a box");
            let took = pair.survives(SOON, |pair| pair.world.reboot(home));
            println!("{n} {kinds:?} rebooted: {took}");
        }
    }
}
