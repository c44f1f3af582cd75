//! The probes of a lab made of real network namespaces, and their answers: what each kind of box does.

use super::*;
use crate::base::Entropy;
use crate::sim::queue::Queue;

const P1: [u8; 4] = [30, 0, 1, 10];
const P2: [u8; 4] = [30, 0, 2, 10];
const OUTER: [u8; 4] = [30, 0, 101, 10];

/// Hosts without nodes: `a` and `b` behind one box, public reflectors, and a host behind another box.
struct Lab {
    net: Internet,
    now: Time,
    under_way: Queue<Parcel>,
    /// Who heard what: host, source, target.
    heard: Vec<(HostId, Addr, Addr)>,
    home: BoxId,
    a: HostId,
    b: HostId,
    p1: HostId,
    p2: HostId,
    next_port: u16,
}

impl Lab {
    fn new(kind: Kind, options: NatOptions) -> Lab {
        let mut net = Internet::new(Seeded::new(1));
        let (p1, p2) = (net.add_host(P1, None), net.add_host(P2, None));
        let home = net.add_box(kind, OUTER, options);
        let inner = if kind.is_transparent() { [30, 0, 201, 10] } else { [192, 168, 1, 10] };
        let a = net.add_host(inner, Some(home));
        let b = net.add_host([inner[0], inner[1], inner[2], 11], Some(home));
        let under_way = Queue::default();
        Lab { net, now: Time::ZERO, under_way, heard: Vec::new(), home, a, b, p1, p2, next_port: 5000 }
    }

    /// A port of its own for each probe.
    fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    fn send_with(&mut self, host: HostId, port: u16, to: Addr, ttl: u8) {
        let leaving = Leaving { from: Addr::new(self.net.ip(host), port), to, ttl, len: 10 };
        let Some(sent) = self.net.send(self.now, host, leaving, &Line::INTERNET) else { return };
        let Sent { from, to, ahead, fate } = sent;
        let parcel = Parcel { from, to, ahead, copy: false, flipped: None, bytes: vec![0; 10] };
        for arrival in fate.arrivals() {
            self.under_way.push(arrival.at, parcel.clone());
        }
        self.settle();
    }

    fn send(&mut self, host: HostId, port: u16, to: Addr) {
        self.send_with(host, port, to, TTL);
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        while let Some((at, mut parcel)) = self.under_way.pop(self.now + Span::from_secs(1)) {
            self.now = self.now.max(at);
            match self.net.arrive(at, &mut parcel) {
                Arrived::Lost => {}
                Arrived::On(fate) => {
                    fate.arrivals().for_each(|arrival| self.under_way.push(arrival.at, parcel.clone()));
                }
                Arrived::At(host) => self.heard.push((host, parcel.from, parcel.to)),
            }
        }
    }

    /// What came to `host` at `port` since somebody last looked: where it came from.
    fn hear(&mut self, host: HostId, port: u16) -> Option<Addr> {
        let found = self.heard.iter().rev().find(|(who, _, to)| *who == host && to.port == port);
        let from = found.map(|&(_, from, _)| from);
        self.heard.clear();
        from
    }

    fn at(&self, ip: [u8; 4]) -> HostId {
        let all = [self.a, self.b, self.p1, self.p2];
        all.into_iter().find(|&host| self.net.ip(host) == ip).expect("a host of the lab")
    }

    /// The address that a reflector sees, if its answer comes back.
    fn ask(&mut self, host: HostId, port: u16, reflector: Addr) -> Option<Addr> {
        self.ask_with(host, port, reflector, TTL)
    }

    fn ask_with(&mut self, host: HostId, port: u16, reflector: Addr, ttl: u8) -> Option<Addr> {
        self.send_with(host, port, reflector, ttl);
        let place = self.at(reflector.ip);
        let seen = self.hear(place, reflector.port)?;
        self.send(place, reflector.port, seen);
        self.hear(host, port).map(|_| seen)
    }

    /// Makes a reflector say hello to `to`: does it reach `port` of `a`?
    fn told(&mut self, reflector: Addr, to: Addr, port: u16) -> bool {
        let place = self.at(reflector.ip);
        self.send(place, reflector.port, to);
        self.hear(self.a, port).is_some()
    }
}

fn reflector(ip: [u8; 4], port: u16) -> Addr {
    Addr::new(ip, port)
}

#[test]
fn each_kind_of_box_answers_the_probes_as_a_real_one_does() {
    // Kind; what comes in from another port of a host that was sent to, and from another host; outer ports for three
    // destinations; what comes in after a reboot.
    let kinds = [
        (Kind::Open, true, true, 1, true),
        (Kind::Firewall, false, false, 1, false),
        (Kind::FullCone, true, true, 1, false),
        (Kind::AddrRestricted, true, false, 1, false),
        (Kind::Restricted, false, false, 1, false),
        (Kind::Symmetric, false, false, 3, false),
    ];
    for (kind, other_port, other_host, ports, rebooted) in kinds {
        let mut lab = Lab::new(kind, NatOptions::default());
        let (a, port) = (lab.a, lab.port());
        let outer = lab.ask(a, port, reflector(P1, 7000)).expect("an answer");
        assert_eq!(outer.ip, if kind.is_transparent() { [30, 0, 201, 10] } else { OUTER }, "{kind}");
        assert_eq!(outer.port == port, kind != Kind::Symmetric, "{kind} keeps the port");
        assert_eq!(lab.told(reflector(P1, 7001), outer, port), other_port, "{kind}");
        assert_eq!(lab.told(reflector(P2, 7000), outer, port), other_host, "{kind}");
        // What was not let in must not have changed the mapping.
        let mut seen = vec![Some(outer)];
        seen.push(lab.ask(a, port, reflector(P1, 7001)));
        seen.push(lab.ask(a, port, reflector(P2, 7000)));
        seen.sort_unstable();
        seen.dedup();
        assert!(!seen.contains(&None), "{kind}");
        assert_eq!(seen.len(), ports, "{kind}");
        assert!(lab.told(reflector(P1, 7000), outer, port), "{kind}: from the first destination");
        lab.net.reboot(lab.home);
        assert_eq!(lab.told(reflector(P1, 7000), outer, port), rebooted, "{kind}: after a reboot");
    }
}

#[test]
fn a_box_that_blocks_udp_lets_nothing_out_or_in() {
    let mut lab = Lab::new(Kind::BlockedUdp, NatOptions::default());
    assert_eq!(lab.ask(lab.a, 5000, reflector(P1, 7000)), None);
    assert!(!lab.told(reflector(P1, 7000), Addr::new(OUTER, 5000), 5000));
    let (a, inner) = (lab.a, reflector(lab.net.ip(lab.b), 7000));
    assert!(lab.ask(a, 5000, inner).is_some(), "the LAN is not the box's business");
}

#[test]
fn a_low_ttl_opens_the_own_box_and_dies_on_the_way() {
    let mut lab = Lab::new(Kind::Restricted, NatOptions::default());
    let (a, p1) = (lab.a, reflector(P1, 7000));
    assert_eq!(lab.ask_with(a, 5000, p1, 5), None);
    assert!(lab.told(p1, Addr::new(OUTER, 5000), 5000), "the box is open");
    // Ten routers and the box: eleven die, the twelfth hop is the host.
    assert_eq!(lab.ask_with(a, 5001, p1, 11), None);
    assert!(lab.ask_with(a, 5001, p1, 12).is_some());
    // The box itself is the first router: nothing is opened then.
    assert_eq!(lab.ask_with(a, 5002, p1, 1), None);
    assert!(!lab.told(p1, Addr::new(OUTER, 5002), 5002));
    assert_eq!(lab.net.losses.hops, 3);
}

#[test]
fn hosts_behind_one_box_reach_each_other_directly() {
    let mut lab = Lab::new(Kind::Restricted, NatOptions::default());
    let (a, b, inner) = (lab.a, lab.b, Addr::new(lab.net.ip(lab.b), 7000));
    assert_eq!(lab.ask(a, 5000, inner), Some(Addr::new(lab.net.ip(a), 5000)));
    let outer = lab.ask(a, 6000, reflector(P1, 7000));
    assert_ne!(outer, lab.ask(b, 6000, reflector(P1, 7000)), "two outer ports for one inner one");
    let isolated = NatOptions { isolate: true, ..NatOptions::default() };
    let mut lab = Lab::new(Kind::Restricted, isolated);
    assert_eq!(lab.ask(lab.a, 5000, inner), None);
}

#[test]
fn private_addresses_are_unreachable_from_outside() {
    let mut lab = Lab::new(Kind::FullCone, NatOptions::default());
    let (a, p1) = (lab.a, lab.p1);
    assert!(lab.ask(a, 5000, reflector(P1, 7000)).is_some());
    lab.send(p1, 7000, Addr::new(lab.net.ip(a), 5000));
    assert_eq!(lab.hear(a, 5000), None);
    // Two LANs may use the same addresses: another box's host is not meant either.
    let other = lab.net.add_box(Kind::FullCone, [30, 0, 102, 10], NatOptions::default());
    let twin = lab.net.add_host([192, 168, 1, 10], Some(other));
    assert_eq!(lab.ask(twin, 5000, reflector(P1, 7000)), Some(Addr::new([30, 0, 102, 10], 5000)));
    lab.send(twin, 5000, Addr::new([192, 168, 1, 11], 5000));
    assert_eq!(lab.hear(lab.b, 5000), None);
}

#[test]
fn cut_and_healed_lines() {
    let mut lab = Lab::new(Kind::Restricted, NatOptions::default());
    let (a, p1, inner) = (lab.a, reflector(P1, 7000), Addr::new(lab.net.ip(lab.b), 7000));
    for place in [Place::Box(lab.home), Place::Host(a), Place::Host(lab.p1)] {
        lab.net.set_cut(place, true);
        assert_eq!(lab.ask(a, 5000, p1), None, "{place}");
        assert_eq!(lab.ask(a, 5000, inner).is_some(), place != Place::Host(a), "{place}: on the LAN");
        lab.net.set_cut(place, false);
        assert!(lab.ask(a, 5000, p1).is_some(), "{place}");
    }
    lab.net.set_line(lab.home.into(), lab.p1.into(), Line { cut: true, ..Line::INTERNET });
    assert_eq!(lab.ask(a, 5000, p1), None);
    assert!(lab.told(p1, Addr::new(OUTER, 5000), 5000), "one way only");
    lab.net.heal_all();
    assert!(lab.ask(a, 5000, p1).is_some());
}

#[test]
fn addresses_change() {
    let mut lab = Lab::new(Kind::Restricted, NatOptions::default());
    let (a, b, p1) = (lab.a, lab.b, reflector(P1, 7000));
    assert!(lab.ask(a, 5000, p1).is_some());
    lab.net.readdress(lab.home, [30, 0, 101, 77]);
    assert!(!lab.told(p1, Addr::new(OUTER, 5000), 5000), "nobody has the old one");
    assert_eq!(lab.ask(a, 5000, p1), Some(Addr::new([30, 0, 101, 77], 5000)));
    lab.net.plug(a, Some(lab.home), [192, 168, 1, 99]);
    assert_eq!(lab.ask(a, 5000, p1).map(|outer| outer.ip), Some([30, 0, 101, 77]));
    let seen = lab.ask(a, 5000, Addr::new(lab.net.ip(b), 7000));
    assert_eq!(seen, Some(Addr::new([192, 168, 1, 99], 5000)));
    let other = lab.net.add_box(Kind::Restricted, [30, 0, 103, 10], NatOptions::default());
    lab.net.plug(a, Some(other), [192, 168, 3, 10]);
    assert_eq!(lab.ask(a, 5000, p1), Some(Addr::new([30, 0, 103, 10], 5000)));
    lab.net.plug(a, None, [30, 0, 9, 9]);
    assert_eq!(lab.ask(a, 5000, p1), Some(Addr::new([30, 0, 9, 9], 5000)));
    lab.net.leave(a);
    assert_eq!(lab.net.locate([30, 0, 9, 9]), None);
}

#[test]
fn hairpin_lets_in_whatever_the_kind() {
    for kind in [Kind::FullCone, Kind::AddrRestricted, Kind::Restricted, Kind::Symmetric] {
        let options = NatOptions { hairpin: true, isolate: true, ..NatOptions::default() };
        let mut lab = Lab::new(kind, options);
        let (a, b, p1) = (lab.a, lab.b, reflector(P1, 7000));
        let outer = lab.ask(b, 7000, p1).expect("an answer");
        let mine = lab.ask(a, 5000, p1).expect("an answer");
        lab.send(a, 5000, outer);
        let seen = lab.hear(b, 7000).expect("it comes in");
        assert_eq!(seen.ip, OUTER, "{kind}");
        assert_eq!(seen == mine, kind != Kind::Symmetric, "{kind}");
        lab.send(b, 7000, seen);
        assert_eq!(lab.hear(a, 5000).map(|from| from.ip), Some(OUTER), "{kind}: and back");
        let mut lab = Lab::new(kind, NatOptions { hairpin: false, ..options });
        let outer = lab.ask(b, 7000, p1).expect("an answer");
        lab.send(a, 5000, outer);
        assert_eq!(lab.hear(b, 7000), None, "{kind} without hairpin");
    }
}

#[test]
fn mappings_expire_unless_they_are_used() {
    let options = NatOptions { lifetime: Span::from_secs(2), ..NatOptions::default() };
    for kind in [Kind::Firewall, Kind::FullCone, Kind::AddrRestricted, Kind::Restricted, Kind::Symmetric] {
        let mut lab = Lab::new(kind, options);
        let (a, p1) = (lab.a, reflector(P1, 7000));
        let outer = lab.ask(a, 5000, p1).expect("an answer");
        lab.now += Span::from_secs(1);
        assert!(lab.told(p1, outer, 5000), "{kind}: after 1 s");
        lab.now += Span::from_secs(3);
        assert!(!lab.told(p1, outer, 5000), "{kind}: after 3 s more");
        for _ in 0..5 {
            assert!(lab.ask(a, 5001, p1).is_some());
            lab.now += Span::from_millis(1500);
        }
        let outer = lab.ask(a, 5001, p1).expect("an answer");
        lab.now += Span::from_millis(1500);
        assert!(lab.told(p1, outer, 5001), "{kind}: kept open from inside");
    }
}

/// An uplink with a rate: what leaves waits its turn before it spreads; what comes in waits behind a box too.
#[test]
fn lines_of_hosts_and_boxes_add_up() {
    let mut lab = Lab::new(Kind::Restricted, NatOptions::default());
    let slow = |millis| Line { delay: Span::from_millis(millis), ..Line::CLEAR };
    lab.net.set_up(lab.a.into(), slow(1));
    lab.net.set_up(lab.home.into(), slow(10));
    lab.net.set_down(lab.p1.into(), slow(100));
    lab.send(lab.a, 5000, reflector(P1, 7000));
    assert_eq!(lab.now.as_millis(), 1 + 10 + 5 + 100);
    let before = lab.now;
    lab.net.set_down(lab.home.into(), slow(200));
    lab.net.set_down(lab.a.into(), slow(300));
    lab.send(lab.p1, 7000, Addr::new(OUTER, 5000));
    assert_eq!(lab.now.since(before).as_millis(), 5 + 200 + 300);
    assert!(lab.hear(lab.a, 5000).is_some());
}

#[test]
fn a_box_holds_many_mappings_and_forgets_the_old_ones() {
    let options = NatOptions { lifetime: Span::from_secs(30), ..NatOptions::default() };
    let mut nat = NatBox::new(Kind::Symmetric, OUTER, options, Seeded::new(2));
    let mut draw = Seeded::new(3);
    let inner = Addr::new([192, 168, 1, 10], 5000);
    let mut passed = 0;
    for n in 0..40_000_u64 {
        let to = Addr::new([30, 1, (n >> 8) as u8, n as u8], 1 + draw.below(60_000) as u16);
        passed += u64::from(nat.outbound(Time::from_micros(n), inner, to).is_some());
    }
    assert_eq!(passed, 32_768, "a full box refuses");
    let later = Time::ZERO + Span::from_secs(60);
    assert!(nat.outbound(later, inner, Addr::new(P1, 1)).is_some(), "and has room again");
}
