//! Carries out what `plan` has planned.

use super::plan::{Action, Mend, Whose};
use super::{Asked, Citizen, Fault, Phase, Run, excused};
use crate::app::registry::command::Command;
use crate::base::{Entropy, Seeded, Span};
use crate::sim::check::Violation;
use crate::sim::{Burst, Clock, HostId, Line, Place};

/// One of a list, by a draw.
fn pick<T: Copy>(list: &[T], who: u64) -> Option<T> {
    list.get((who % (list.len() as u64).max(1)) as usize).copied()
}

impl Run {
    pub(super) fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Arrive(n) => self.arrive(n)?,
            Action::Type(n, command) => {
                self.look()?;
                self.type_at(n, command);
                self.overdue()?;
            }
            Action::Cut { who, span } => {
                let places: Vec<Place> = self.hosts().into_iter().map(|host| self.place(host)).collect();
                if let Some(place) = pick(&places, who) {
                    self.town.world.cut(place);
                    self.later(span, Mend::Heal(place));
                }
            }
            Action::Reboot { who } => {
                if let Some(id) = pick(&self.town.boxes, who) {
                    self.town.world.reboot(id);
                }
            }
            Action::Readdress { who } => {
                if let Some(id) = pick(&self.town.boxes, who) {
                    self.town.readdress(id);
                }
            }
            Action::Move { who } => self.relocate(who),
            Action::Freeze { who, span } => {
                if let Some(host) = pick(&self.hosts(), who)
                    && self.town.world.is_up(host)
                {
                    self.town.freeze(host);
                    self.later(span, Mend::Thaw(host));
                }
            }
            Action::Crash { whose, who, fuse, span } => self.crash(whose, who, fuse, span)?,
            Action::FullDisk { who, room, span } => self.fill(who, room, span),
            Action::Leave { who } => self.leave(who),
            Action::Mend(mend) => self.mend(mend)?,
        }
        Ok(())
    }

    /// What a host's line to the internet is the line of.
    fn place(&self, host: HostId) -> Place {
        self.town.world.home(host).map_or(Place::Host(host), Place::Box)
    }

    /// A client comes, if it is not there yet.
    pub(super) fn arrive(&mut self, which: usize) -> Result<(), Violation> {
        if self.citizens.contains_key(&which) {
            return Ok(());
        }
        let nat = self.nat_options();
        let n = self.town.place_client(Some(self.options.home(which)), nat);
        let citizen = Citizen { n, key: None, asked: Default::default(), done: false };
        self.citizens.insert(which, citizen);
        let host = self.town.clients[n].host;
        self.set_clock(host);
        if self.phase == Phase::Faulty {
            self.set_line(host);
        }
        self.restart(host)
    }

    pub(super) fn type_at(&mut self, which: usize, command: Command) {
        let Some(citizen) = self.citizens.get_mut(&which) else { return };
        let (Some(key), now) = (citizen.key, self.town.world.now()) else { return };
        let asked = Asked { command: command.clone(), from: self.ledger.length(), at: now };
        // Before it is typed: the answer may be there at once.
        citizen.asked.push_back(asked);
        self.ledger.asks(key, &command);
        if self.town.submit(citizen.n, command).is_err() {
            citizen.asked.pop_back();
        }
    }

    fn relocate(&mut self, who: u64) {
        let clients: Vec<HostId> = self.town.clients.iter().map(|client| client.host).collect();
        let Some(host) = pick(&clients, who) else { return };
        let kind = self.options.home((who >> 32) as usize);
        let nat = self.nat_options();
        self.town.relocate(host, kind, nat);
        self.set_line(host);
    }

    fn crash(&mut self, whose: Whose, who: u64, fuse: u64, span: Span) -> Result<(), Violation> {
        let hosts: Vec<HostId> = match whose {
            Whose::Server => self.town.server.iter().map(|office| office.host).collect(),
            Whose::Client => self.town.clients.iter().map(|client| client.host).collect(),
            Whose::Node => self.town.nodes.clone(),
        };
        let Some(host) = pick(&hosts, who) else { return Ok(()) };
        if !self.town.world.is_up(host) {
            return Ok(());
        }
        self.look()?;
        self.tally.end(&self.town, host);
        if self.options.faults.has(Fault::Tear) {
            self.town.world.crash_after(host, fuse);
            self.down.insert(host, span);
        } else {
            self.town.kill(host);
            self.gone(host);
            self.later(span, Mend::Restart(host));
        }
        Ok(())
    }

    fn fill(&mut self, who: u64, room: u64, span: Span) {
        let server = self.town.server.iter().map(|office| office.host);
        let hosts: Vec<HostId> = server.chain(self.town.clients.iter().map(|client| client.host)).collect();
        if let Some(host) = pick(&hosts, who) {
            self.town.world.fill_disk(host, room);
            self.cramped.insert(host, true);
            self.later(span, Mend::Empty(host));
        }
    }

    /// A node leaves for good; the first one stays, and most of the others.
    fn leave(&mut self, who: u64) {
        let there: Vec<HostId> =
            self.town.nodes[1..].iter().copied().filter(|host| self.town.world.is_up(*host)).collect();
        if there.len() * 3 < self.town.nodes.len() * 2 {
            return;
        }
        if let Some(host) = pick(&there, who) {
            self.town.world.leave(host);
            self.left.insert(host);
        }
    }

    fn mend(&mut self, mend: Mend) -> Result<(), Violation> {
        match mend {
            Mend::Heal(place) => self.town.world.heal(place),
            Mend::Thaw(host) => self.town.thaw(host),
            Mend::Empty(host) => {
                self.town.world.empty_disk(host);
                self.cramped.insert(host, false);
            }
            Mend::Restart(host) => self.restart(host)?,
            Mend::Look if self.phase == Phase::Healing => self.look_after()?,
            Mend::Look => {}
        }
        Ok(())
    }

    /// Starts the process of a host that is down.
    fn restart(&mut self, host: HostId) -> Result<(), Violation> {
        if self.town.world.node(host).is_some() || self.left.contains(&host) {
            return Ok(());
        }
        let server = self.town.server.as_ref().is_some_and(|office| office.host == host);
        let before = self.town.server.as_ref().and_then(|office| office.keys);
        if let Err(error) = self.town.restart(host) {
            if !excused(self.cramped.get(&host), &error) {
                let what = format!("it does not start again: {error}");
                return Err(self.violation("drawn.restart", Some(host), what));
            }
            self.later(Span::from_secs(3), Mend::Restart(host));
            return Ok(());
        }
        // What failed for want of room has ended with the process.
        if self.cramped.get(&host) == Some(&false) {
            self.cramped.remove(&host);
        }
        if server {
            self.reopened = true;
            let keys = self.town.server.as_ref().and_then(|office| office.keys);
            if before.is_some() && before != keys {
                return Err(self.violation("drawn.keys", Some(host), "the server has other keys".to_owned()));
            }
            self.look()?;
        }
        self.learn_key(host)
    }

    /// A client keeps its key.
    fn learn_key(&mut self, host: HostId) -> Result<(), Violation> {
        let clients = &self.town.clients;
        let Some(citizen) = self.citizens.values_mut().find(|citizen| clients[citizen.n].host == host) else {
            return Ok(());
        };
        let key = clients[citizen.n].program.as_ref().map(|program| program.key());
        if citizen.key.is_some() && key != citizen.key {
            return Err(self.violation("drawn.keys", Some(host), "the client has another key".to_owned()));
        }
        citizen.key = key;
        Ok(())
    }

    /// Takes every fault away.
    pub(super) fn mend_all(&mut self) -> Result<(), Violation> {
        self.town.world.line = Line { delay: self.delay(), ..Line::default() };
        self.town.world.heal_all();
        for host in self.hosts() {
            let place = self.place(host);
            self.town.world.set_uplink(place, Line::CLEAR);
            self.town.world.set_downlink(place, Line::CLEAR);
            self.town.world.empty_disk(host);
            self.town.world.spare(host);
            self.cramped.entry(host).and_modify(|full| *full = false);
            self.town.set_clock(host, Clock::default());
            self.town.thaw(host);
            self.restart(host)?;
        }
        Ok(())
    }

    /// Lines as they are while there are faults.
    pub(super) fn set_lines(&mut self) {
        let permille = |fault| self.options.faults.get(fault).unwrap_or(0).min(1000).into();
        let millis = |fault| Span::from_millis(self.options.faults.get(fault).unwrap_or(0).into());
        let burst = self.options.faults.get(Fault::Burst).map(|length| Burst {
            begin_permille: 5,
            end_permille: (1000 / u64::from(length.max(1))).max(1),
            loss_permille: 900,
        });
        self.town.world.line = Line {
            delay: self.delay(),
            jitter: millis(Fault::Jitter),
            loss_permille: permille(Fault::Loss),
            burst,
            reorder_permille: permille(Fault::Reorder),
            copies_permille: permille(Fault::Copies),
            flips_permille: permille(Fault::Flips),
            ..Line::default()
        };
        if let Some(host) = self.town.server.as_ref().map(|office| office.host) {
            self.set_line(host);
        }
    }

    /// The line of a home, out and in.
    fn set_line(&mut self, host: HostId) {
        let source = Seeded::new(self.options.seed).fork(&format!("home {}", host.0));
        let uneven = self.options.faults.get(Fault::Uneven).map(|millis| u64::from(millis) * 1000);
        let rate = self.options.faults.get(Fault::Rate).map(|kilobytes| u64::from(kilobytes) * 1000);
        let mtu = self.options.faults.get(Fault::Mtu).filter(|_| source.fork("mtu").chance(400));
        let line = |way: &str| Line {
            delay: Span::from_micros(uneven.map_or(0, |most| source.fork(way).below(most + 1))),
            bytes_per_sec: rate,
            mtu: mtu.map(|bytes| bytes as usize),
            ..Line::CLEAR
        };
        let place = self.place(host);
        self.town.world.set_uplink(place, line("up"));
        self.town.world.set_downlink(place, line("down"));
    }

    /// Clocks of the hosts that are there.
    pub(super) fn set_clocks(&mut self) {
        for host in self.hosts() {
            self.set_clock(host);
        }
    }

    fn set_clock(&mut self, host: HostId) {
        let source = Seeded::new(self.options.seed).fork(&format!("clock {}", host.0));
        let either_way = |fault, label: &str| {
            let most = i64::from(self.options.faults.get(fault).unwrap_or(0));
            source.fork(label).below(2 * most as u64 + 1) as i64 - most
        };
        let clock = Clock {
            offset_micros: either_way(Fault::Offset, "offset") * 1_000_000,
            drift_ppm: either_way(Fault::Drift, "drift") as i32,
        };
        if clock != Clock::default() {
            self.town.set_clock(host, clock);
        }
    }
}
