//! What can be done to the hosts, boxes and lines of a world.

use super::check::Places;
use super::computer::{Frozen, Traffic};
use super::internet::Losses;
use super::world::World;
use super::{BoxId, Clock, HostId, Kind, Line, NatOptions, Place};
use crate::base::{Addr, Entropy, Machine, Time};
use crate::node::{Input, Node};

/// Boxes and lines.
impl World {
    /// Adds a box of some kind with its outer address.
    pub fn add_box(&mut self, kind: Kind, outer: [u8; 4], options: NatOptions) -> BoxId {
        self.internet.add_box(kind, outer, options)
    }

    /// Adds a host behind a box, without a process. `inner` is its own address there: a private one, but for an open
    /// box and a firewall, which do not translate, a public one.
    pub fn add_behind(&mut self, home: BoxId, inner: [u8; 4]) -> HostId {
        let host = self.internet.add_host(inner, Some(home));
        self.add_computer(host)
    }

    /// How `to` sees what `host` sends it from its own address `from`: a box before it gives it another.
    pub fn seen_from(&mut self, host: HostId, from: Addr, to: Addr) -> Addr {
        self.internet.seen_from(self.now, host, from, to)
    }

    pub fn kind(&self, id: BoxId) -> Kind {
        self.internet.nat(id).kind()
    }

    /// The box that a host is behind.
    pub fn home(&self, host: HostId) -> Option<BoxId> {
        self.internet.home(host)
    }

    /// The host's own address.
    pub fn ip(&self, host: HostId) -> [u8; 4] {
        self.internet.ip(host)
    }

    /// The box forgets every mapping.
    pub fn reboot(&mut self, id: BoxId) {
        self.say(format_args!("box {} reboots", id.0));
        self.internet.reboot(id);
    }

    /// The box gets another outer address and forgets every mapping.
    pub fn readdress(&mut self, id: BoxId, outer: [u8; 4]) {
        self.say(format_args!("box {} gets the address {outer:?}", id.0));
        self.internet.readdress(id, outer);
    }

    /// Plugs a host in elsewhere: behind a box, or (none) into the internet itself. Its process is told.
    pub fn plug(&mut self, host: HostId, home: Option<BoxId>, ip: [u8; 4]) {
        self.say(format_args!("host {} moves to {ip:?}", host.0));
        self.internet.plug(host, home, ip);
        if self.computers[host.0].frozen.is_none() && !self.input(host, Input::Interfaces(&[ip])) {
            self.carry_out(host);
        }
    }

    /// Gives the line from one place to another (that way only) its own character. What is behind a box goes through
    /// the box: name that, except for two hosts behind the same one.
    pub fn set_line(&mut self, from: impl Into<Place>, to: impl Into<Place>, line: Line) {
        self.internet.set_line(from.into(), to.into(), line);
    }

    /// What everything that leaves a host or a box passes, before the line to wherever it goes: `Line::CLEAR` with
    /// something to it.
    pub fn set_uplink(&mut self, place: impl Into<Place>, line: Line) {
        self.internet.set_up(place.into(), line);
    }

    /// What everything that comes to a host or a box passes last.
    pub fn set_downlink(&mut self, place: impl Into<Place>, line: Line) {
        self.internet.set_down(place.into(), line);
    }

    /// Nothing comes to or from that host or box any more.
    pub fn cut(&mut self, place: impl Into<Place>) {
        let place = place.into();
        self.say(format_args!("cut {place}"));
        self.internet.set_cut(place, true);
    }

    pub fn heal(&mut self, place: impl Into<Place>) {
        let place = place.into();
        self.say(format_args!("heal {place}"));
        self.internet.set_cut(place, false);
    }

    /// Heals every cut, whichever way it was made. The other faults of lines stay.
    pub fn heal_all(&mut self) {
        self.line.cut = false;
        self.internet.heal_all();
    }

    /// Datagrams that did not arrive, by reason.
    pub fn losses(&self) -> Losses {
        self.internet.losses
    }
}

/// Clocks and processes.
impl World {
    /// How the host's clock differs from the world's. A process that runs keeps its time and goes on with the new
    /// drift; the offset holds from the next start on.
    pub fn set_clock(&mut self, host: HostId, clock: Clock) {
        let now = self.now;
        let computer = &mut self.computers[host.0];
        computer.clock = clock;
        if computer.node.is_some() {
            computer.running.change(clock.drift_ppm, now);
            let deadline = computer.node.as_ref().and_then(Machine::poll_timeout);
            if let Some(deadline) = deadline {
                let at = computer.running.world(deadline.at).max(now);
                self.queue_wake(host, at);
            }
        }
    }

    /// The time on the host's clock: what its programs know as now.
    pub fn local(&self, host: HostId) -> Time {
        self.computers[host.0].running.local(self.now)
    }

    /// When the host's clock will show `local`, in the world's time.
    pub fn when(&self, host: HostId, local: Time) -> Time {
        self.computers[host.0].running.world(local)
    }

    /// A process runs on the host and is not frozen.
    pub fn is_up(&self, host: HostId) -> bool {
        let computer = &self.computers[host.0];
        computer.node.is_some() && computer.frozen.is_none()
    }

    /// The wall clock of a host jumps ahead, and its timers do not: it was set, or the machine slept. The process is
    /// told, as it is on a real machine. Before everything else that comes.
    pub fn jump(&mut self, host: HostId, millis: u64) {
        let known = self.is_up(host).then(|| self.net(host).unix_millis()).flatten();
        let Some(known) = known else { return };
        self.say(format_args!("host {}: the clock jumps {millis} ms ahead", host.0));
        if !self.input(host, Input::Clock { unix_millis: known.saturating_add(millis) }) {
            self.carry_out(host);
        }
    }

    /// The process stops where it is. Datagrams wait in its sockets' buffers as long as those have room, timers go
    /// off late. Its program must not run either: no events come until it thaws.
    pub fn freeze(&mut self, host: HostId) {
        if self.computers[host.0].node.is_none() || self.computers[host.0].frozen.is_some() {
            return;
        }
        self.say(format_args!("host {} freezes", host.0));
        let mut frozen = Frozen::default();
        let waiting = core::mem::take(&mut self.pending);
        for (owner, event) in waiting {
            if owner == host {
                frozen.events.push(event);
            } else {
                self.pending.push_back((owner, event));
            }
        }
        self.computers[host.0].frozen = Some(Box::new(frozen));
    }

    /// The process goes on: first what waits in its sockets, then its timers.
    pub fn thaw(&mut self, host: HostId) {
        let Some(frozen) = self.computers[host.0].frozen.take() else { return };
        self.say(format_args!("host {} thaws", host.0));
        self.seam.cause(host, |cause| cause.thawed = true);
        self.pending.extend(frozen.events.into_iter().map(|event| (host, event)));
        for (socket, from, bytes) in frozen.datagrams {
            if self.datagram(host, socket, from, &bytes, None) {
                return;
            }
        }
        if !self.time_out(host) {
            self.carry_out(host);
        }
    }

    /// Kill -9: the process is gone; the disk keeps what was written.
    pub fn kill(&mut self, host: HostId) {
        self.say(format_args!("host {} is killed", host.0));
        let places = Places { computers: &mut self.computers, internet: &self.internet };
        self.seam.stopped(self.now, host, places);
        self.computers[host.0].end_process();
        self.computers[host.0].disk.release();
        self.pending.retain(|(owner, _)| *owner != host);
    }

    /// The power goes off: the process is gone, and each sector that was not synced is kept, lost or garbled.
    pub fn crash(&mut self, host: HostId) {
        self.say(format_args!("host {} crashes", host.0));
        let places = Places { computers: &mut self.computers, internet: &self.internet };
        self.seam.stopped(self.now, host, places);
        let computer = &mut self.computers[host.0];
        computer.end_process();
        let seed = self.seed.fork(&format!("disk {}", host.0)).fork_nth(computer.starts).u64();
        computer.disk.crash(seed);
        self.pending.retain(|(owner, _)| *owner != host);
    }

    /// The power will go off when so many more inputs, time-outs and outputs of the process have been (an output is
    /// then made, and safe on disk as far as it must be, but does not leave). `step` tells: `Step::Crashed`.
    pub fn crash_after(&mut self, host: HostId, events: u64) {
        self.computers[host.0].fuse = Some(events.max(1));
    }

    /// The power will not go off: takes `crash_after` back.
    pub fn spare(&mut self, host: HostId) {
        self.computers[host.0].fuse = None;
    }

    /// What has left a host since it was added.
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.computers[host.0].traffic
    }

    /// The host is switched off and taken away, disk and all. Its id stays taken.
    pub fn leave(&mut self, host: HostId) {
        self.say(format_args!("host {} leaves", host.0));
        self.kill(host);
        self.internet.leave(host);
        self.computers[host.0].disk = super::ramdisk::RamDisk::new();
    }

    /// The process of a host, to look into.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        self.computers[host.0].node.as_ref()
    }

    /// Writes to the host's disk find so many more bytes of room, and no more after them.
    pub fn fill_disk(&mut self, host: HostId, room: u64) {
        self.say(format_args!("host {} has {room} bytes left", host.0));
        let disk = &mut self.computers[host.0].disk;
        disk.set_capacity(Some(disk.used() + room));
    }

    /// There is room on the disk again.
    pub fn empty_disk(&mut self, host: HostId) {
        self.computers[host.0].disk.set_capacity(None);
    }

    /// At `at` one bit of one file flips on the host's disk; which one is drawn.
    pub fn rot_at(&mut self, host: HostId, at: Time) {
        self.schedule_rot(at.max(self.now), host);
    }

    pub(super) fn rot_now(&mut self, host: HostId) {
        let mut draw = self.seed.fork(&format!("rot {}", host.0)).fork_nth(self.now.as_micros());
        let disk = &mut self.computers[host.0].disk;
        if let Some((path, bit)) = disk.rot_somewhere(&mut draw) {
            self.say(format_args!("host {}: bit {bit} of {path} rots", host.0));
            self.seam.cause(host, |cause| cause.rotted = true);
        }
    }
}
