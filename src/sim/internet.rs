//! The ways between hosts: who has which address, which lines and boxes a datagram passes. `World` calls `send` when a
//! datagram leaves a host, and `arrive` when one comes to the end of a stretch.

use std::collections::BTreeMap;

use super::link::{Fate, Line, Wire};
use super::nat::{NatBox, NatOptions};
use super::{BoxId, HostId, Kind, Place};
use crate::base::{Addr, Seeded, Span, Time};

/// From a host to itself, and to its neighbours behind the same box.
const LOOPBACK: Span = Span::from_micros(20);
const LAN: Span = Span::from_micros(200);
/// Where a datagram's TTL begins if the sender does not say.
pub const TTL: u8 = 64;

/// What lies before a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ahead {
    /// The line from the internet to a box, and the box itself.
    BoxLine(BoxId),
    Box(BoxId),
    /// The line to a host, and the host itself.
    HostLine(HostId),
    Host(HostId),
}

/// A datagram on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    pub from: Addr,
    pub to: Addr,
    pub ahead: Ahead,
    /// A line made it.
    pub copy: bool,
    /// The bit of `bytes` that a line flipped, if one did.
    pub flipped: Option<u64>,
    pub bytes: Vec<u8>,
}

/// A datagram as a host sends it.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    pub from: Addr,
    pub to: Addr,
    pub ttl: u8,
    pub len: usize,
}

/// A datagram that is on its way.
#[derive(Debug)]
pub struct Sent {
    /// As it is seen behind the boxes that it has passed.
    pub from: Addr,
    pub to: Addr,
    pub ahead: Ahead,
    pub fate: Fate,
}

/// What became of a datagram at the end of a stretch.
#[derive(Debug)]
pub enum Arrived {
    Lost,
    /// It goes on: `Parcel::ahead` says to where.
    On(Fate),
    At(HostId),
}

/// Datagrams that did not arrive, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// On a line: lost, cut, too long, or no room in its queue.
    pub line: u64,
    /// The TTL was too low.
    pub hops: u64,
    /// A box did not let it out or in.
    pub boxes: u64,
    /// Nobody has that address.
    pub nobody: u64,
}

/// A line with what it remembers.
#[derive(Debug)]
struct Lead {
    line: Line,
    wire: Wire,
}

impl Lead {
    fn pass(lead: &mut Option<Box<Lead>>, fate: Fate, len: usize) -> Fate {
        match lead {
            Some(lead) => fate.pass(&mut lead.wire, &lead.line, len),
            None => fate,
        }
    }
}

/// The end of a line into the internet: a host's or a box's.
#[derive(Debug)]
struct End {
    up: Option<Box<Lead>>,
    down: Option<Box<Lead>>,
    /// All ways out that have no line of their own.
    out: Wire,
    cut: bool,
}

#[derive(Debug)]
struct Site {
    ip: [u8; 4],
    /// The box that it is behind.
    home: Option<BoxId>,
    end: End,
    gone: bool,
}

#[derive(Debug)]
struct Gate {
    nat: NatBox,
    /// Who is behind it.
    inside: Vec<HostId>,
    end: End,
}

/// Hosts, boxes and lines.
#[derive(Debug)]
pub struct Internet {
    seed: Seeded,
    sites: Vec<Site>,
    gates: Vec<Gate>,
    by_ip: BTreeMap<[u8; 4], Place>,
    lines: BTreeMap<(Place, Place), Lead>,
    pub losses: Losses,
}

impl Internet {
    pub fn new(seed: Seeded) -> Internet {
        Internet {
            seed,
            sites: Vec::new(),
            gates: Vec::new(),
            by_ip: BTreeMap::new(),
            lines: BTreeMap::new(),
            losses: Losses::default(),
        }
    }

    fn new_end(&self, name: &str) -> End {
        End { up: None, down: None, out: Wire::new(self.seed.fork(name)), cut: false }
    }

    pub fn add_host(&mut self, ip: [u8; 4], home: Option<BoxId>) -> HostId {
        let host = HostId(self.sites.len());
        let end = self.new_end(&format!("link {}", host.0));
        self.sites.push(Site { ip, home: None, end, gone: false });
        self.plug(host, home, ip);
        host
    }

    pub fn add_box(&mut self, kind: Kind, outer: [u8; 4], options: NatOptions) -> BoxId {
        let id = BoxId(self.gates.len());
        let nat = NatBox::new(kind, outer, options, self.seed.fork(&format!("nat {}", id.0)));
        let end = self.new_end(&format!("link box {}", id.0));
        self.gates.push(Gate { nat, inside: Vec::new(), end });
        self.by_ip.insert(outer, Place::Box(id));
        id
    }

    /// Puts a host behind a box (none: onto the internet itself), with the address `ip` there.
    pub fn plug(&mut self, host: HostId, home: Option<BoxId>, ip: [u8; 4]) {
        self.unplug(host);
        let site = &mut self.sites[host.0];
        (site.ip, site.home) = (ip, home);
        match home {
            Some(id) => {
                let gate = &mut self.gates[id.0];
                gate.inside.push(host);
                if gate.nat.kind().is_transparent() {
                    self.by_ip.insert(ip, Place::Host(host));
                }
            }
            None => {
                self.by_ip.insert(ip, Place::Host(host));
            }
        }
    }

    fn unplug(&mut self, host: HostId) {
        let site = &mut self.sites[host.0];
        if self.by_ip.get(&site.ip) == Some(&Place::Host(host)) {
            self.by_ip.remove(&site.ip);
        }
        if let Some(home) = site.home.take() {
            self.gates[home.0].inside.retain(|&other| other != host);
        }
    }

    /// Takes a host away for good.
    pub fn leave(&mut self, host: HostId) {
        self.unplug(host);
        self.sites[host.0].gone = true;
    }

    pub fn ip(&self, host: HostId) -> [u8; 4] {
        self.sites[host.0].ip
    }

    pub fn home(&self, host: HostId) -> Option<BoxId> {
        self.sites[host.0].home
    }

    pub fn nat(&self, id: BoxId) -> &NatBox {
        &self.gates[id.0].nat
    }

    /// What lies before a datagram that has crossed the internet to `ip`.
    pub fn locate(&self, ip: [u8; 4]) -> Option<Ahead> {
        let target = *self.by_ip.get(&ip)?;
        Some(match target {
            Place::Host(host) => self.sites[host.0].home.map_or(Ahead::Host(host), Ahead::Box),
            Place::Box(id) => Ahead::Box(id),
        })
    }

    pub fn seen_from(&mut self, now: Time, host: HostId, from: Addr, to: Addr) -> Addr {
        let home = self.sites[host.0].home;
        home.and_then(|home| self.gates[home.0].nat.outbound(now, from, to)).unwrap_or(from)
    }

    pub fn reboot(&mut self, id: BoxId) {
        self.gates[id.0].nat.reboot();
    }

    pub fn readdress(&mut self, id: BoxId, outer: [u8; 4]) {
        let nat = &mut self.gates[id.0].nat;
        if self.by_ip.get(&nat.outer()) == Some(&Place::Box(id)) {
            self.by_ip.remove(&nat.outer());
        }
        nat.readdress(outer);
        self.by_ip.insert(outer, Place::Box(id));
    }

    fn end(&mut self, place: Place) -> &mut End {
        match place {
            Place::Host(host) => &mut self.sites[host.0].end,
            Place::Box(id) => &mut self.gates[id.0].end,
        }
    }

    pub fn set_up(&mut self, place: Place, line: Line) {
        let wire = Wire::new(self.seed.fork(&format!("up {place}")));
        replace(&mut self.end(place).up, line, wire);
    }

    pub fn set_down(&mut self, place: Place, line: Line) {
        let wire = Wire::new(self.seed.fork(&format!("down {place}")));
        replace(&mut self.end(place).down, line, wire);
    }

    /// Gives one way from place to place its own character.
    pub fn set_line(&mut self, from: Place, to: Place, line: Line) {
        let seed = &self.seed;
        let fresh = || Lead { line, wire: Wire::new(seed.fork(&format!("line {from} {to}"))) };
        self.lines.entry((from, to)).or_insert_with(fresh).line = line;
    }

    /// Cuts or heals the only line of a host or box, both ways.
    pub fn set_cut(&mut self, place: Place, cut: bool) {
        self.end(place).cut = cut;
    }

    /// Cuts and heals everything that was cut.
    pub fn heal_all(&mut self) {
        let ends = self.sites.iter_mut().map(|site| &mut site.end);
        for end in ends.chain(self.gates.iter_mut().map(|gate| &mut gate.end)) {
            end.cut = false;
            end.up.iter_mut().chain(&mut end.down).for_each(|lead| lead.line.cut = false);
        }
        self.lines.values_mut().for_each(|lead| lead.line.cut = false);
    }

    /// A datagram leaves `host` from `port`: how it is seen, what lies ahead of it, and when it will be there.
    /// `default` is the line of every pair without one of its own. None: it is lost.
    pub fn send(&mut self, now: Time, host: HostId, leaving: Leaving, default: &Line) -> Option<Sent> {
        let site = &mut self.sites[host.0];
        if leaving.to.ip == site.ip {
            let fate = Fate::leaving(now + LOOPBACK, false);
            return Some(Sent { from: leaving.from, to: leaving.to, ahead: Ahead::Host(host), fate });
        }
        let fate = Lead::pass(&mut site.end.up, Fate::leaving(now, false), leaving.len);
        if site.end.cut || fate.is_lost() {
            self.losses.line += 1;
            return None;
        }
        match site.home {
            None => self.cross(Place::Host(host), leaving, fate, default),
            Some(home) => self.leave_box(now, home, host, leaving, fate, default),
        }
    }

    /// From a host behind a box: to a neighbour, or through the box.
    fn leave_box(
        &mut self,
        now: Time,
        home: BoxId,
        host: HostId,
        leaving: Leaving,
        fate: Fate,
        default: &Line,
    ) -> Option<Sent> {
        let gate = &mut self.gates[home.0];
        if let Some(neighbour) = inside(gate, &self.sites, leaving.to.ip) {
            return self.cross_lan(home, host, neighbour, leaving, fate);
        }
        if leaving.ttl <= 1 {
            self.losses.hops += 1;
            return None;
        }
        if leaving.to.ip == gate.nat.outer() {
            let back = gate.nat.hairpin(now, leaving.from, leaving.to);
            let target = back.and_then(|(_, to)| inside(gate, &self.sites, to.ip));
            let (Some((from, to)), Some(target)) = (back, target) else {
                self.losses.boxes += 1;
                return None;
            };
            let fate = fate.later(LAN);
            return Some(Sent { from, to, ahead: self.last_stretch(target), fate });
        }
        let Some(from) = gate.nat.outbound(now, leaving.from, leaving.to) else {
            self.losses.boxes += 1;
            return None;
        };
        let fate = Lead::pass(&mut gate.end.up, fate, leaving.len);
        if gate.end.cut || fate.is_lost() {
            self.losses.line += 1;
            return None;
        }
        self.cross(Place::Box(home), Leaving { from, ttl: leaving.ttl - 1, ..leaving }, fate, default)
    }

    fn cross_lan(
        &mut self,
        home: BoxId,
        from: HostId,
        to: HostId,
        leaving: Leaving,
        fate: Fate,
    ) -> Option<Sent> {
        if self.gates[home.0].nat.options().isolate {
            self.losses.boxes += 1;
            return None;
        }
        let own = if self.lines.is_empty() { None } else { self.lines.get_mut(&(from.into(), to.into())) };
        let fate = match own {
            Some(lead) => fate.pass(&mut lead.wire, &lead.line, leaving.len),
            None => fate.later(LAN),
        };
        if fate.is_lost() {
            self.losses.line += 1;
            return None;
        }
        Some(Sent { from: leaving.from, to: leaving.to, ahead: self.last_stretch(to), fate })
    }

    /// From the edge of the internet to whoever has the address.
    fn cross(&mut self, from: Place, leaving: Leaving, fate: Fate, default: &Line) -> Option<Sent> {
        let Some(&target) = self.by_ip.get(&leaving.to.ip) else {
            self.losses.nobody += 1;
            return None;
        };
        let gate = match target {
            Place::Host(host) => self.sites[host.0].home.map_or(target, Place::Box),
            Place::Box(_) => target,
        };
        let own = if self.lines.is_empty() { None } else { self.lines.get_mut(&(from, gate)) };
        let (line, wire) = match (own, from) {
            (Some(lead), _) => (&lead.line, &mut lead.wire),
            (None, Place::Host(host)) => (default, &mut self.sites[host.0].end.out),
            (None, Place::Box(id)) => (default, &mut self.gates[id.0].end.out),
        };
        let fate = fate.pass(wire, line, leaving.len);
        if leaving.ttl <= line.hops {
            self.losses.hops += 1;
            return None;
        }
        if fate.is_lost() {
            self.losses.line += 1;
            return None;
        }
        let ahead = match gate {
            Place::Host(host) => self.last_stretch(host),
            Place::Box(id) if self.gates[id.0].end.down.is_some() => Ahead::BoxLine(id),
            Place::Box(id) => Ahead::Box(id),
        };
        Some(Sent { from: leaving.from, to: leaving.to, ahead, fate })
    }

    fn last_stretch(&self, host: HostId) -> Ahead {
        if self.sites[host.0].end.down.is_some() { Ahead::HostLine(host) } else { Ahead::Host(host) }
    }

    /// A datagram has come to what lay ahead of it.
    pub fn arrive(&mut self, now: Time, parcel: &mut Parcel) -> Arrived {
        match parcel.ahead {
            Ahead::BoxLine(id) => {
                let end = &mut self.gates[id.0].end;
                parcel.ahead = Ahead::Box(id);
                let fate = Lead::pass(&mut end.down, Fate::leaving(now, parcel.copy), parcel.bytes.len());
                self.go_on(fate)
            }
            Ahead::Box(id) => self.enter_box(now, id, parcel),
            Ahead::HostLine(host) => {
                let end = &mut self.sites[host.0].end;
                parcel.ahead = Ahead::Host(host);
                let fate = Lead::pass(&mut end.down, Fate::leaving(now, parcel.copy), parcel.bytes.len());
                self.go_on(fate)
            }
            Ahead::Host(host) => {
                let site = &self.sites[host.0];
                if site.gone || site.ip != parcel.to.ip {
                    self.losses.nobody += 1;
                    return Arrived::Lost;
                }
                if site.end.cut {
                    self.losses.line += 1;
                    return Arrived::Lost;
                }
                Arrived::At(host)
            }
        }
    }

    fn go_on(&mut self, fate: Fate) -> Arrived {
        if fate.is_lost() {
            self.losses.line += 1;
            return Arrived::Lost;
        }
        Arrived::On(fate)
    }

    fn enter_box(&mut self, now: Time, id: BoxId, parcel: &mut Parcel) -> Arrived {
        let gate = &mut self.gates[id.0];
        if gate.end.cut {
            self.losses.line += 1;
            return Arrived::Lost;
        }
        let inner = gate.nat.inbound(now, parcel.from, parcel.to);
        let target = inner.and_then(|to| Some((to, inside(gate, &self.sites, to.ip)?)));
        let Some((to, target)) = target else {
            self.losses.boxes += 1;
            return Arrived::Lost;
        };
        parcel.to = to;
        parcel.ahead = self.last_stretch(target);
        self.arrive(now, parcel)
    }
}

fn inside(gate: &Gate, sites: &[Site], ip: [u8; 4]) -> Option<HostId> {
    gate.inside.iter().copied().find(|host| sites[host.0].ip == ip)
}

/// Gives a lead another character; what it remembers stays.
fn replace(lead: &mut Option<Box<Lead>>, line: Line, wire: Wire) {
    match lead {
        Some(lead) => lead.line = line,
        None => *lead = Some(Box::new(Lead { line, wire })),
    }
}

#[cfg(test)]
mod tests;
