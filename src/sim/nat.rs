//! A box between a few hosts and the internet: what it translates, and what it lets in. Knows nothing of lines; time
//! is told with each datagram.

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeMap;

use crate::base::{Addr, Entropy, Seeded, Span, Time};

/// What a box does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Hosts behind it have public addresses, and everything comes in.
    Open,
    /// Hosts behind it have public addresses; only answers come in.
    Firewall,
    /// One outer port per inner one, for anyone.
    FullCone,
    /// The same, for hosts that were sent to.
    AddrRestricted,
    /// The same, for hosts and ports that were sent to.
    Restricted,
    /// A new port, drawn, for each destination, which alone may answer.
    Symmetric,
    /// No datagram passes, either way.
    BlockedUdp,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Open,
        Kind::Firewall,
        Kind::FullCone,
        Kind::AddrRestricted,
        Kind::Restricted,
        Kind::Symmetric,
        Kind::BlockedUdp,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Firewall => "firewall",
            Kind::FullCone => "full-cone",
            Kind::AddrRestricted => "addr-restricted",
            Kind::Restricted => "restricted",
            Kind::Symmetric => "symmetric",
            Kind::BlockedUdp => "blocked-udp",
        }
    }

    /// Hosts behind it need public addresses of their own: it does not translate.
    pub const fn is_transparent(self) -> bool {
        matches!(self, Kind::Open | Kind::Firewall)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text is not the name of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAKind;

impl fmt::Display for NotAKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a kind of NAT: one of")?;
        Kind::ALL.iter().try_for_each(|kind| write!(f, " {kind}"))
    }
}

impl FromStr for Kind {
    type Err = NotAKind;
    fn from_str(text: &str) -> Result<Kind, NotAKind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or(NotAKind)
    }
}

/// How a box is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatOptions {
    /// How long a mapping lasts without traffic from inside (and, for the kinds that keep one entry per
    /// conversation, from outside).
    pub lifetime: Span,
    /// Who sends to an outer port from inside gets in.
    pub hairpin: bool,
    /// Hosts behind it do not reach each other directly.
    pub isolate: bool,
}

impl Default for NatOptions {
    fn default() -> NatOptions {
        NatOptions { lifetime: Span::from_secs(120), hairpin: false, isolate: false }
    }
}

/// Entries that a box keeps at most; conversations beyond do not come through.
const MAPPINGS_MAX: usize = 32_768;
/// The first port that is drawn.
const DRAWN_PORTS: u16 = 1024;
/// Expired entries are swept out when there are twice as many as were alive after the last time, and at least these.
const SWEEP_FROM: usize = 64;
/// A full box looks for expired entries this often.
const SWEEP_FULL: Span = Span::from_secs(1);

/// Who has an outer address.
#[derive(Debug)]
struct Mapping {
    inner: Addr,
    /// The only destination (symmetric).
    remote: Option<Addr>,
    until: Time,
    /// Who may send to it (port 0: from any port), and until when.
    allowed: BTreeMap<Addr, Time>,
    sweep_at: usize,
}

/// A box.
#[derive(Debug)]
pub struct NatBox {
    kind: Kind,
    options: NatOptions,
    outer: [u8; 4],
    ports: Seeded,
    /// By outer address: where there is no translation, that is the inner one.
    mappings: BTreeMap<Addr, Mapping>,
    /// The outer address of an inner one (towards one destination: symmetric).
    by_inner: BTreeMap<(Addr, Option<Addr>), Addr>,
    sweep_at: usize,
    swept: Time,
}

impl NatBox {
    pub fn new(kind: Kind, outer: [u8; 4], options: NatOptions, ports: Seeded) -> NatBox {
        NatBox {
            kind,
            options,
            outer,
            ports,
            mappings: BTreeMap::new(),
            by_inner: BTreeMap::new(),
            sweep_at: SWEEP_FROM,
            swept: Time::ZERO,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn options(&self) -> NatOptions {
        self.options
    }

    pub fn outer(&self) -> [u8; 4] {
        self.outer
    }

    /// Forgets every mapping.
    pub fn reboot(&mut self) {
        self.mappings.clear();
        self.by_inner.clear();
        self.sweep_at = SWEEP_FROM;
    }

    /// Gets another outer address, and forgets every mapping.
    pub fn readdress(&mut self, outer: [u8; 4]) {
        self.outer = outer;
        self.reboot();
    }

    /// A datagram of `inner` leaves for `to`: the source that the world sees. None: it does not leave.
    pub fn outbound(&mut self, now: Time, inner: Addr, to: Addr) -> Option<Addr> {
        match self.kind {
            Kind::Open => return Some(inner),
            Kind::BlockedUdp => return None,
            Kind::Firewall | Kind::FullCone | Kind::AddrRestricted | Kind::Restricted | Kind::Symmetric => {}
        }
        let outer = self.mapping(now, inner, to)?;
        let until = now + self.options.lifetime;
        let who = match self.kind {
            Kind::AddrRestricted => Some(to.with_port(0)),
            Kind::Restricted | Kind::Firewall => Some(to),
            Kind::Open | Kind::FullCone | Kind::Symmetric | Kind::BlockedUdp => None,
        };
        let mapping = self.mappings.get_mut(&outer)?;
        mapping.until = until;
        if let Some(who) = who {
            mapping.allow(now, who, until);
        }
        Some(outer)
    }

    /// A datagram from outside: the inner address that it is for. None: it is not let in.
    pub fn inbound(&mut self, now: Time, from: Addr, to: Addr) -> Option<Addr> {
        match self.kind {
            Kind::Open => return Some(to),
            Kind::BlockedUdp => return None,
            Kind::Firewall | Kind::FullCone | Kind::AddrRestricted | Kind::Restricted | Kind::Symmetric => {}
        }
        let until = now + self.options.lifetime;
        let mapping = self.mappings.get_mut(&to).filter(|mapping| mapping.until > now)?;
        match self.kind {
            Kind::AddrRestricted => {
                mapping.allowed.get(&from.with_port(0)).filter(|&&until| until > now)?;
            }
            Kind::Restricted | Kind::Firewall => {
                let allowed = mapping.allowed.get_mut(&from).filter(|until| **until > now)?;
                (*allowed, mapping.until) = (until, until);
            }
            Kind::Symmetric => {
                mapping.remote.filter(|&remote| remote == from)?;
                mapping.until = until;
            }
            Kind::Open | Kind::FullCone | Kind::BlockedUdp => {}
        }
        Some(mapping.inner)
    }

    /// A datagram from inside to an outer address of this box: its source and target as it comes back in. Whoever has
    /// that port gets it, whatever the kind.
    pub fn hairpin(&mut self, now: Time, inner: Addr, to: Addr) -> Option<(Addr, Addr)> {
        if !self.options.hairpin {
            return None;
        }
        let target = self.mappings.get(&to).filter(|mapping| mapping.until > now)?.inner;
        Some((self.outbound(now, inner, to)?, target))
    }

    /// The outer address for `inner` towards `to`, a new one if there is none.
    fn mapping(&mut self, now: Time, inner: Addr, to: Addr) -> Option<Addr> {
        let remote = (self.kind == Kind::Symmetric).then_some(to);
        if let Some(outer) = self.by_inner.get(&(inner, remote)) {
            match self.mappings.get(outer) {
                Some(mapping) if mapping.until > now => return Some(*outer),
                _ => self.forget(*outer),
            }
        }
        self.sweep(now);
        if self.mappings.len() >= MAPPINGS_MAX {
            return None;
        }
        let outer = if self.kind.is_transparent() { inner } else { self.free_port(now, inner.port)? };
        let mapping = Mapping { inner, remote, until: now, allowed: BTreeMap::new(), sweep_at: SWEEP_FROM };
        self.mappings.insert(outer, mapping);
        self.by_inner.insert((inner, remote), outer);
        Some(outer)
    }

    /// The same port as inside where the kind keeps it and it is free, else a drawn one.
    fn free_port(&mut self, now: Time, inner: u16) -> Option<Addr> {
        let outer = Addr::new(self.outer, inner);
        if self.kind != Kind::Symmetric && self.is_free(now, outer) {
            return Some(outer);
        }
        // At most half of the ports are taken: this ends soon.
        for _ in 0..256 {
            let above = self.ports.below(u64::from(u16::MAX - DRAWN_PORTS) + 1) as u16;
            let outer = outer.with_port(DRAWN_PORTS + above);
            if self.is_free(now, outer) {
                return Some(outer);
            }
        }
        None
    }

    /// Nobody has it; who had it is forgotten.
    fn is_free(&mut self, now: Time, outer: Addr) -> bool {
        match self.mappings.get(&outer) {
            None => true,
            Some(mapping) if mapping.until > now => false,
            Some(_) => {
                self.forget(outer);
                true
            }
        }
    }

    fn forget(&mut self, outer: Addr) {
        if let Some(mapping) = self.mappings.remove(&outer) {
            self.by_inner.remove(&(mapping.inner, mapping.remote));
        }
    }

    fn sweep(&mut self, now: Time) {
        let full = self.mappings.len() >= MAPPINGS_MAX && now.since(self.swept) >= SWEEP_FULL;
        if self.mappings.len() < self.sweep_at && !full {
            return;
        }
        self.swept = now;
        let by_inner = &mut self.by_inner;
        self.mappings.retain(|_, mapping| {
            let lives = mapping.until > now;
            if !lives {
                by_inner.remove(&(mapping.inner, mapping.remote));
            }
            lives
        });
        self.sweep_at = SWEEP_FROM.max(2 * self.mappings.len());
    }
}

impl Mapping {
    fn allow(&mut self, now: Time, who: Addr, until: Time) {
        self.allowed.insert(who, until);
        if self.allowed.len() >= self.sweep_at {
            self.allowed.retain(|_, until| *until > now);
            self.sweep_at = SWEEP_FROM.max(2 * self.allowed.len());
        }
    }
}
