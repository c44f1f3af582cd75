//! Swarms find each other under a topic, keep one connection per pair, and call each other over it.

mod back;

use std::collections::BTreeMap;

use seckel::base::{Key, Span};
use seckel::node::{CallId, ConnId, Event, JoinOptions, KeyPair};
use seckel::sim::{HostId, Kind, Line, NatOptions, Step, World};

use crate::support::{joining, network, seed, wait};

const TOPIC: Key = [7; 32];

#[derive(Default)]
struct Member {
    key: Key,
    open: BTreeMap<ConnId, Key>,
    /// Calls that wait for their answer.
    asked: BTreeMap<CallId, ConnId>,
    echoes: usize,
}

/// Hosts that are all in one topic, as servers and clients.
struct Club {
    world: World,
    members: BTreeMap<HostId, Member>,
}

impl Club {
    fn new(seed: u64, size: u8, line: Line) -> Club {
        let mut world = World::new(seed);
        network(&mut world, 2);
        world.line = line;
        let mut club = Club { world, members: BTreeMap::new() };
        for n in 0..size {
            let host = club.world.add([30, 0, 3, n + 1]);
            club.start(host, n);
        }
        club
    }

    fn start(&mut self, host: HostId, n: u8) {
        let pair = KeyPair::from_seed([n + 50; 32]);
        self.members.insert(host, Member { key: pair.public, ..Member::default() });
        self.world.start(host, joining());
        self.world.net(host).swarm(&pair);
    }

    fn join(&mut self, host: HostId) {
        let both = JoinOptions { server: true, client: true };
        self.world.net(host).join(TOPIC, both).expect("joins");
    }

    /// One step; each connection carries a call in each direction, and no two members have two connections.
    fn step(&mut self, until: seckel::base::Time) -> bool {
        let Step::Event(host, event) = self.world.step(until) else { return false };
        let Some(member) = self.members.get_mut(&host) else { return true };
        let mut net = self.world.net(host);
        match event {
            Event::Connected { conn, key, swarm, .. } => {
                assert!(swarm);
                assert!(!member.open.values().any(|other| *other == key), "two connections of one pair");
                member.open.insert(conn, key);
                // None: it is closed again, which the next event says.
                if let Ok(rpc) = net.rpc(conn, &TOPIC) {
                    let asked = net.call(rpc, "echo", &key, None).expect("asked");
                    member.asked.insert(asked, conn);
                }
            }
            Event::Closed { conn, .. } => {
                member.open.remove(&conn);
            }
            Event::Call { call, body, from, .. } => {
                assert_eq!(body, member.key, "meant for us");
                assert!(member.open.values().any(|key| *key == from));
                let _ = net.answer(call, &body);
            }
            Event::Answer { call, result } => {
                let conn = member.asked.remove(&call).expect("asked once, answered once");
                if let Ok(body) = result {
                    assert_eq!(Some(&body[..]), member.open.get(&conn).map(|key| &key[..]));
                    member.echoes += 1;
                }
            }
            _ => {}
        }
        true
    }

    fn all_meet(&mut self, seconds: u64) {
        let most = self.members.len() - 1;
        let until = self.world.now() + Span::from_secs(seconds);
        while self.members.values().any(|m| m.open.len() < most || !m.asked.is_empty()) {
            if !self.step(until) {
                let open: Vec<_> = self.members.values().map(|m| (m.open.len(), m.asked.len())).collect();
                panic!("not in {seconds} s: {open:?}\n{}", self.world.last_lines());
            }
        }
        for (host, member) in &self.members {
            for key in member.open.values() {
                let other = self.members.values().find(|other| other.key == *key).expect("a member");
                let back = other.open.values().filter(|back| **back == member.key).count();
                assert_eq!(back, 1, "{host:?}: both sides have it");
            }
        }
    }

    fn bootstrapped(&mut self, host: HostId) {
        wait(&mut self.world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    }
}

fn bad() -> Line {
    Line { delay: Span::from_millis(40), jitter: Span::from_millis(60), loss_permille: 50, ..Line::default() }
}

/// pitfalls 13.1: they all announce and all look, so that pairs dial each other at once.
#[test]
fn all_members_meet_and_each_pair_keeps_one_connection() {
    for n in 0..6 {
        let line = if n % 2 == 0 { Line::default() } else { bad() };
        let mut club = Club::new(seed(0x5a00 + n), 4, line);
        let hosts: Vec<HostId> = club.members.keys().copied().collect();
        for host in &hosts {
            club.join(*host);
        }
        // whoever looked before the others had announced looks again after ten minutes
        club.all_meet(1500);
        assert!(club.members.values().all(|member| member.echoes >= 3));
    }
}

#[test]
fn a_member_that_was_killed_comes_back() {
    let mut club = Club::new(seed(0x5b00), 3, bad());
    let hosts: Vec<HostId> = club.members.keys().copied().collect();
    for host in &hosts {
        club.join(*host);
    }
    club.all_meet(1500);
    club.world.crash(hosts[1]);
    club.start(hosts[1], 1);
    club.bootstrapped(hosts[1]);
    club.join(hosts[1]);
    // the others learn that the old connection is dead by its silence, or by the new one
    club.all_meet(1500);
}

/// Simultaneous dials of the same two, many times over.
#[test]
fn two_that_join_at_once_keep_one_connection() {
    for n in 0..15 {
        let line = Line { jitter: Span::from_millis(30), ..Line::default() };
        let mut club = Club::new(seed(0x5c00 + n), 2, line);
        let hosts: Vec<HostId> = club.members.keys().copied().collect();
        for host in &hosts {
            club.join(*host);
        }
        club.all_meet(1500);
        // again, now that both are announced: both find the other at once
        for _ in 0..3 {
            for host in &hosts {
                let open: Vec<ConnId> = club.members[host].open.keys().copied().collect();
                open.into_iter().for_each(|conn| club.world.net(*host).destroy(conn));
            }
            let until = club.world.now() + Span::from_millis(300);
            while club.step(until) {}
            for host in &hosts {
                club.join(*host);
            }
            let until = club.world.now() + Span::from_secs(5);
            while club.step(until) {}
            club.all_meet(1500);
        }
    }
}

/// What happens to a member for an hour, or for good.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Trouble {
    /// Its box gets another outer address.
    Readdressed,
    /// It is behind another box.
    Moved,
    Slept,
    CutOff,
    /// Its box forgets its mappings.
    Rebooted,
}

fn trouble(club: &mut Club, host: HostId, n: u8, trouble: Trouble) {
    let home = club.world.home(host).expect("a box");
    match trouble {
        Trouble::Readdressed => club.world.readdress(home, [30, 0, 101, 50 + n]),
        Trouble::Moved => {
            let options = NatOptions::default();
            let elsewhere = club.world.add_box(Kind::Restricted, [30, 0, 102, n + 1], options);
            club.world.plug(host, Some(elsewhere), [10, 0, 0, 1]);
        }
        Trouble::Slept => club.world.freeze(host),
        Trouble::CutOff => club.world.cut(host),
        Trouble::Rebooted => club.world.reboot(home),
    }
    if matches!(trouble, Trouble::Slept | Trouble::CutOff) {
        let until = club.world.now() + Span::from_secs(3600);
        while club.step(until) {}
        club.world.thaw(host);
        club.world.heal(host);
    }
}

/// Members behind boxes of several kinds: whatever befalls one of them, all meet again.
#[test]
fn members_that_move_sleep_or_are_cut_off_meet_again() {
    use Trouble::{CutOff, Moved, Readdressed, Rebooted, Slept};
    for kind in [Readdressed, Moved, Slept, CutOff, Rebooted] {
        let mut club = Club::new(seed(0x5d00), 0, Line::default());
        for (kind, n) in [Kind::Restricted, Kind::FullCone, Kind::Firewall, Kind::Open].into_iter().zip(0..) {
            let home = club.world.add_box(kind, [30, 0, 101, n + 1], NatOptions::default());
            let inner = if kind.is_transparent() { [30, 0, 201, n + 1] } else { [192, 168, 1, 10] };
            let host = club.world.add_behind(home, inner);
            club.start(host, n);
            club.bootstrapped(host);
        }
        let hosts: Vec<HostId> = club.members.keys().copied().collect();
        for host in &hosts {
            club.join(*host);
        }
        club.all_meet(1500);
        for (&host, n) in hosts.iter().zip(0..) {
            trouble(&mut club, host, n, kind);
            // Long enough that connections which are dead are found to be.
            let until = club.world.now() + Span::from_secs(60);
            while club.step(until) {}
            // hyperswarm.3: who slept may wait ten minutes before it looks again.
            club.all_meet(700);
        }
    }
}
