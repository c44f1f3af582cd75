//! How soon members meet, and meet again: who joins in the same moment, who starts again, whose address is another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use seckel::base::{Error, Key, Span, Time};
use seckel::node::{Config, ConnId, Event, Firewall, JoinOptions, RelayBounds};
use seckel::sim::{BoxId, HostId, Kind, Line, NatOptions, Reader, Step, World};

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
    /// When the newest that each has heard was said.
    heard: BTreeMap<HostId, Time>,
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
        let mut pair = Pair { world, hosts, roles, open: BTreeMap::new(), heard: BTreeMap::new() };
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
            Step::Event(host, Event::Connected { conn, .. }) if self.hosts.contains(&host) => {
                assert_eq!(self.open.insert(host, conn), None, "one at a time");
            }
            Step::Event(host, Event::Closed { conn, .. }) if self.open.get(&host) == Some(&conn) => {
                self.open.remove(&host);
            }
            Step::Event(host, Event::Data { bytes, .. }) => {
                let said = bytes.try_into().map(u64::from_be_bytes).expect("a time");
                self.heard.insert(host, Time::from_micros(said));
            }
            Step::Event(..) | Step::Crashed(_) => {}
            Step::TimedOut => {
                assert!(
                    self.world.violation().is_none(),
                    "{}",
                    self.world.violation().expect("there is one")
                );
                return false;
            }
        }
        true
    }

    fn run(&mut self, span: Span) {
        let until = self.world.now() + span;
        while self.step(until) {}
    }

    /// How long it takes until both sides have a connection, other than those of `old`; at most `most`. While they
    /// wait they talk on what they have, every 100 ms, or are silent.
    fn until_new(&mut self, old: &BTreeMap<HostId, ConnId>, talks: bool, most: Span) -> Span {
        let begin = self.world.now();
        while self.hosts.iter().any(|host| self.open.get(host).is_none_or(|conn| old.get(host) == Some(conn)))
        {
            let took = self.world.now().since(begin);
            assert!(took < most, "not in {most}: {:?} was {old:?}\n{}", self.open, self.world.last_lines());
            if talks {
                self.talk();
            }
            self.run(Span::from_millis(100));
        }
        self.world.now().since(begin)
    }

    fn meet(&mut self, most: u64) {
        self.until_new(&BTreeMap::new(), false, Span::from_secs(most));
    }

    fn talk(&mut self) {
        let now = self.world.now();
        for (&host, &conn) in &self.open {
            let said = now.as_micros().to_be_bytes();
            let _ = self.world.net(host).send(conn, &said);
        }
    }

    /// Both sides say something every 100 ms, for `rounds` of it.
    fn talk_for(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.talk();
            self.run(Span::from_millis(100));
        }
    }

    /// Both talk until each has heard what the other has said from now on, over the old connection or a new one.
    fn go_on(&mut self, most: Span) -> Span {
        let begin = self.world.now();
        while self.hosts.iter().any(|host| self.heard.get(host).is_none_or(|said| *said < begin)) {
            let took = self.world.now().since(begin);
            assert!(took < most, "not in {most}: {:?}\n{}", self.open, self.world.last_lines());
            self.talk();
            self.run(Span::from_millis(100));
        }
        self.world.now().since(begin)
    }

    /// What befalls one side of two that talk, until they talk again.
    fn survives(&mut self, most: Span, what: impl FnOnce(&mut Pair)) -> Span {
        self.talk_for(20);
        self.heard.clear();
        what(self);
        let took = self.go_on(most);
        self.talk_for(20);
        took
    }

    fn home(&self, side: usize) -> BoxId {
        self.world.home(self.hosts[side]).expect("a box")
    }
}

/// Two that have met, the first joined before the second.
fn met(seed: u64, kinds: [Kind; 2], roles: [JoinOptions; 2]) -> Pair {
    let mut pair = Pair::new(seed, kinds, roles);
    pair.bootstrapped(1);
    pair.join(0);
    pair.run(SOON);
    pair.join(1);
    pair.meet(60);
    pair
}

/// pitfalls 13: each looks before the other is announced.
// proves hyperswarm.36
#[test]
fn two_that_join_in_the_same_moment_meet_in_seconds() {
    for n in 0..12 {
        for roles in [[BOTH, BOTH], [SERVER, CLIENT], [CLIENT, BOTH]] {
            let mut pair = Pair::new(seed(0x6000 + n), [Kind::Open; 2], roles);
            pair.bootstrapped(1);
            pair.join(0);
            pair.join(1);
            pair.meet(4);
        }
    }
}

/// A node starts again under its key while the other side holds its old connection, with somebody talking on it or
/// not.
// proves hyperswarm.21, hyperswarm.37, hyperswarm.38
#[test]
fn who_starts_again_is_back_within_three_seconds() {
    for n in 0..6 {
        for roles in [[BOTH, BOTH], [CLIENT, SERVER], [SERVER, CLIENT], [BOTH, SERVER]] {
            for talks in [false, true] {
                let mut pair = met(seed(0x6100 + n), [Kind::Open; 2], roles);
                pair.run(Span::from_secs(n * 3));
                if talks {
                    pair.talk_for(10);
                }
                let mut old = pair.open.clone();
                let host = pair.hosts[1];
                pair.world.crash(host);
                pair.open.remove(&host);
                old.remove(&host);
                pair.start(1);
                pair.join(1);
                // Who does not look for others is found to be away by the next keep-alive.
                let idle = if talks || pair.roles[1].client { 0 } else { 5 };
                pair.until_new(&old, talks, SOON + Span::from_secs(idle));
            }
        }
    }
}

/// Where Node's connection dies after 13 s: the box of one side has another outer address, or has been rebooted and
/// gives other ports. The first kind is that of the side which is found, the second that of the one which dials.
// proves hyperswarm.37
#[test]
fn a_new_address_costs_three_seconds() {
    for n in 0..4 {
        for kinds in [
            [Kind::Open, Kind::Restricted],
            [Kind::Restricted, Kind::Restricted],
            [Kind::Firewall, Kind::FullCone],
        ] {
            let mut pair = met(seed(0x6200 + n), kinds, [SERVER, CLIENT]);
            for to in 0..2 {
                let home = pair.home(1);
                pair.survives(SOON, |pair| pair.world.readdress(home, [30, 0, 150, to + 1]));
            }
        }
        let mut pair = met(seed(0x6300 + n), [Kind::Open, Kind::Symmetric], [SERVER, CLIENT]);
        let home = pair.home(1);
        pair.survives(SOON, |pair| pair.world.reboot(home));
    }
}

/// Where ports are searched it takes as long as that does, also when they were searched for just before: nothing but
/// luck tells a new port of such a box.
// proves hyperdht.167, hyperdht.132
#[test]
fn a_random_box_that_starts_again_costs_a_search() {
    let mut took = Vec::new();
    for n in 0..16 {
        let kinds = if n % 2 == 0 {
            [Kind::Restricted, Kind::Symmetric]
        } else {
            [Kind::Symmetric, Kind::Restricted]
        };
        let mut pair = met(seed(0x6400 + n), kinds, [SERVER, CLIENT]);
        let home = pair.home(if n % 2 == 0 { 1 } else { 0 });
        took.push(pair.survives(Span::from_secs(30), |pair| pair.world.reboot(home)));
    }
    took.sort_unstable();
    println!("{took:?}");
    assert!(took[8] < Span::from_secs(5), "half of them: {took:?}");
}

/// The side that is found has moved: it must be announced anew first.
// proves hyperswarm.37
#[test]
fn who_is_found_at_a_new_address_is_dialled_there() {
    for n in 0..4 {
        for (kinds, roles) in [
            ([Kind::Restricted, Kind::Open], [SERVER, CLIENT]),
            ([Kind::Restricted, Kind::Restricted], [SERVER, CLIENT]),
            ([Kind::Restricted, Kind::Restricted], [BOTH, BOTH]),
        ] {
            let mut pair = met(seed(0x6500 + n), kinds, roles);
            let home = pair.home(0);
            pair.survives(SOON, |pair| pair.world.readdress(home, [30, 0, 150, 1]));
        }
    }
}

/// Only the side that has moved speaks: it notices alone that nobody hears it, whoever of them opened the connection.
// proves hyperswarm.37
#[test]
fn who_speaks_alone_is_heard_again_within_three_seconds() {
    for n in 0..4 {
        for side in 0..2 {
            let mut pair = met(seed(0x6e00 + n), [Kind::Restricted; 2], [BOTH, BOTH]);
            pair.talk_for(20);
            let (home, speaker, other) = (pair.home(side), pair.hosts[side], pair.hosts[1 - side]);
            pair.world.readdress(home, [30, 0, 150, 1]);
            let begin = pair.world.now();
            while pair.heard.get(&other).is_none_or(|said| *said < begin) {
                let now = pair.world.now();
                assert!(now.since(begin) < SOON, "side {side}\n{}", pair.world.last_lines());
                if let Some(&conn) = pair.open.get(&speaker) {
                    let _ = pair.world.net(speaker).send(conn, &now.as_micros().to_be_bytes());
                }
                pair.run(Span::from_millis(100));
            }
        }
    }
}

/// A host that is carried to another network knows of it at once.
// proves hyperswarm.28, hyperswarm.37
#[test]
fn who_goes_to_another_network_is_back_within_three_seconds() {
    for n in 0..4 {
        for (side, roles) in
            [(1, [SERVER, CLIENT]), (0, [SERVER, CLIENT]), (0, [BOTH, BOTH]), (1, [BOTH, BOTH])]
        {
            let mut pair = met(seed(0x6b00 + n), [Kind::Restricted; 2], roles);
            pair.survives(SOON, |pair| {
                let home = pair.world.add_box(Kind::Restricted, [30, 0, 160, 1], NatOptions::default());
                let host = pair.hosts[side];
                pair.world.plug(host, Some(home), [10, 0, 0, 7]);
            });
        }
    }
}

/// A line that is silent for a while: talk goes on in the end, over the old connection or a new one.
// proves hyperswarm.37
#[test]
fn a_silent_line_is_survived() {
    for n in 0..4 {
        for silence in [1, 3, 10] {
            let mut pair = met(seed(0x6600 + n), [Kind::Restricted; 2], [SERVER, CLIENT]);
            pair.talk_for(20);
            let (old, host) = (pair.open.clone(), pair.hosts[1]);
            pair.world.cut(host);
            pair.talk_for(silence * 10);
            pair.world.heal(host);
            if silence == 1 {
                pair.talk_for(100);
                assert_eq!(pair.open, old, "too short to be noticed");
                continue;
            }
            pair.go_on(SOON);
        }
    }
}

/// Both behind boxes that cannot be passed: they meet through the blind relay that one of them knows, once it was seen
/// that there is no other way.
// proves hyperswarm.27
#[test]
fn a_swarm_uses_its_relays_where_there_is_no_direct_way() {
    for (n, knows) in [[true, false], [false, true], [true, true]].into_iter().enumerate() {
        let mut pair = Pair::new(seed(0x6700 + n as u64), [Kind::Symmetric; 2], [BOTH, BOTH]);
        pair.bootstrapped(1);
        let relay = pair.world.add([30, 0, 60, 1]);
        pair.world.start(relay, joining());
        pair.world.net(relay).serve_relay(RelayBounds::default());
        pair.world.net(relay).listen(&key(7), true).expect("listening");
        wait(&mut pair.world, 60, |_, _, event| matches!(event, Event::Listening { .. }));
        for (side, knows) in knows.into_iter().enumerate() {
            if knows {
                pair.world.net(pair.hosts[side]).set_relays(&[key(7).public]);
            }
            pair.join(side);
        }
        pair.meet(30);
        pair.talk_for(20);
        assert_eq!(pair.world.net(relay).relay_stats().expect("a relay").pairs, 1);
    }
}

/// A swarm that is suspended has no connection and no announcement, and comes back; also at once.
// proves hyperswarm.30, hyperswarm.41
#[test]
fn a_suspended_swarm_comes_back() {
    for (n, rest) in [0, 1, 60, 3600].into_iter().enumerate() {
        let mut pair = met(seed(0x6800 + n as u64), [Kind::Restricted; 2], [BOTH, BOTH]);
        let (suspended, other) = (pair.hosts[1], pair.hosts[0]);
        pair.world.net(suspended).suspend_swarm().expect("a swarm");
        pair.run(Span::from_secs(rest));
        if rest > 10 {
            assert_eq!(pair.open.len(), 0);
            let own = pair.world.net(suspended).status();
            assert!(own.bootstrapped, "its node lives on");
            assert_eq!(found_by(&mut pair, other), [key(30).public], "only the other is announced");
        }
        pair.world.net(suspended).resume_swarm().expect("a swarm");
        pair.meet(15);
        pair.talk_for(20);
    }
}

/// A whole node that is suspended, or ends, takes its swarm with it.
// proves hyperswarm.30, hyperswarm.31
#[test]
fn a_node_takes_its_swarm_with_it() {
    for rest in [0, 3, 600] {
        let mut pair = met(seed(0x6880), [Kind::Restricted; 2], [BOTH, BOTH]);
        let (host, other) = (pair.hosts[1], pair.hosts[0]);
        pair.world.net(host).suspend();
        pair.run(Span::from_secs(rest));
        if rest > 0 {
            assert_eq!(pair.open.len(), 0);
            assert_eq!(found_by(&mut pair, other), [key(30).public]);
        }
        pair.world.net(host).resume();
        pair.meet(20);
        pair.talk_for(20);
        pair.world.net(host).shut_down(false);
        wait(&mut pair.world, 20, |_, from, event| from == host && matches!(event, Event::Destroyed));
        assert_eq!(found_by(&mut pair, other), [key(30).public]);
    }
}

/// Whom a host finds under the topic.
fn found_by(pair: &mut Pair, host: HostId) -> Vec<Key> {
    let lookup = pair.world.net(host).lookup(TOPIC);
    let mut found = Vec::new();
    wait(&mut pair.world, 60, |_, _, event| {
        if let Event::Found { peer, .. } = event {
            found.push(peer.key);
        }
        matches!(event, Event::LookupDone { lookup: done, .. } if *done == lookup)
    });
    found
}

/// A banned caller is refused before there is a connection, and let in when that is taken back.
// proves hyperswarm.23, hyperswarm.24
#[test]
fn a_banned_caller_is_not_let_in() {
    for firewall in [false, true] {
        let mut pair = Pair::new(seed(0x6900), [Kind::Open; 2], [SERVER, CLIENT]);
        pair.bootstrapped(1);
        let (server, client) = (pair.hosts[0], key(31).public);
        pair.join(0);
        pair.run(SOON);
        let mut net = pair.world.net(server);
        if firewall {
            net.set_firewall(Firewall::Only([key(99).public].into())).expect("a swarm");
        } else {
            net.ban(client, true).expect("a swarm");
        }
        pair.join(1);
        pair.run(Span::from_secs(30));
        assert_eq!(pair.open.len(), 0);
        let mut net = pair.world.net(server);
        assert!(
            net.connect_stats().denied > 0 && net.connect_stats().accepts == 0,
            "{:?}",
            net.connect_stats()
        );
        assert_eq!(net.swarm_stats().expect("a swarm").banned, 1);
        net.set_firewall(Firewall::AllowAll).expect("a swarm");
        net.ban(client, false).expect("a swarm");
        pair.join(1);
        pair.meet(20);
    }
}

/// Explicit peers find each other without a topic, and again when one of them starts again; who is left is not dialled.
// proves hyperswarm.26
#[test]
fn explicit_peers_meet_without_a_topic() {
    let mut pair = Pair::new(seed(0x6a00), [Kind::Restricted; 2], [SERVER, CLIENT]);
    pair.bootstrapped(1);
    // Topics of their own make them servers.
    for side in 0..2 {
        let host = pair.hosts[side];
        pair.world.net(host).join([side as u8; 32], SERVER).expect("joins");
    }
    pair.run(SOON);
    let (dials, found) = (pair.hosts[1], key(30).public);
    pair.world.net(dials).join_peer(found).expect("a swarm");
    pair.meet(10);
    let conn = pair.open[&dials];
    pair.world.net(dials).destroy(conn);
    pair.run(Span::from_millis(200));
    assert_eq!(pair.open.len(), 0);
    pair.meet(4);
    pair.world.net(dials).leave_peer(found);
    let conn = pair.open[&dials];
    pair.world.net(dials).destroy(conn);
    pair.run(Span::from_secs(900));
    assert_eq!(pair.open.len(), 0);
}

/// Who ends its swarm is not found any more, nor connected with; its node lives on, and may begin another.
// proves hyperswarm.31
#[test]
fn a_swarm_ends_and_another_begins() {
    for force in [false, true] {
        let mut pair = met(seed(0x6c00), [Kind::Restricted; 2], [BOTH, BOTH]);
        let host = pair.hosts[1];
        pair.world.net(host).destroy_swarm(force).expect("a swarm");
        wait(&mut pair.world, 10, |_, from, event| from == host && matches!(event, Event::SwarmDestroyed));
        assert_eq!(pair.world.net(host).join(TOPIC, BOTH), Err(Error::NotOpen));
        assert_eq!(found_by(&mut pair, host).len(), if force { 2 } else { 1 });
        pair.run(SOON);
        pair.open.clear();
        pair.world.net(host).swarm_of_messages(&key(31));
        pair.join(1);
        pair.meet(15);
        pair.talk_for(20);
    }
}

/// Nodes that the last host has sent requests of `command` to, in order.
fn asked(lines: &[String], command: &str) -> Vec<String> {
    let wanted = format!(": {command} request ");
    let own = |line: &&String| line.contains(" node 121 out ") && line.contains(&wanted);
    let to = |line: &String| {
        line.rsplit(" to ").next().map(|rest| rest.split([' ', ',']).next().unwrap_or("").to_owned())
    };
    lines.iter().filter(own).filter_map(to).collect()
}

/// A refresh begins where the last one ended, and an announcement is taken back there alone.
// proves hyperswarm.34, hyperswarm.35
#[test]
fn a_refresh_knows_where_the_last_one_ended() {
    let mut world = World::new(seed(0x6d00));
    network(&mut world, 120);
    let host = world.add([30, 0, 70, 1]);
    world.start(host, Config { announce_to: Some(3), ..joining() });
    wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    let lines: Rc<RefCell<Vec<String>>> = Rc::default();
    let into = lines.clone();
    world.transcript.reader = Some(Reader(Box::new(move |entry| {
        let mut text = String::new();
        entry.text(&mut text);
        into.borrow_mut().push(text);
    })));
    world.net(host).swarm(&key(31));
    let refresh = |world: &mut World| {
        lines.borrow_mut().clear();
        world.net(host).join(TOPIC, SERVER).expect("joins");
        wait(world, 60, |_, from, event| from == host && matches!(event, Event::Refreshed { .. }));
        let lines = lines.borrow();
        (asked(&lines, "LOOKUP"), asked(&lines, "ANNOUNCE"))
    };
    let (first, mut closest) = refresh(&mut world);
    closest.drain(..3); // the server's own key
    assert!(closest.len() == 20 && first.len() > 20, "{} {}", first.len(), closest.len());
    let (second, again) = refresh(&mut world);
    assert_eq!(second[..10], closest[..10], "in their order");
    assert_ne!(first[..10], closest[..10], "which is no accident");
    lines.borrow_mut().clear();
    world.net(host).leave(TOPIC);
    wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Left { .. }));
    let lines = lines.borrow();
    let (left, unannounced) = (asked(&lines, "LOOKUP"), asked(&lines, "UNANNOUNCE"));
    assert!(
        left.len() >= 20 && left.iter().all(|node| closest.contains(node) || again.contains(node)),
        "{left:?}"
    );
    assert_eq!(unannounced.len(), 20);
}
