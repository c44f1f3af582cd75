//! Punching where one side's NAT gives each destination another port: that side opens many sockets towards the other,
//! which tries many ports, until one meets one. Rare, dear, and so bounded: how often, how many, and what a side does
//! whose turn has not come is here and in `later.rs`. Read `punch.rs` first. Follows hyperdht.130 to hyperdht.134.

use super::punch::{LOW_TTL, PunchId, Puncher};
use super::*;
use crate::wire::hyperdht::firewall;

/// Time between two bytes, and how many there are. hyperdht.131, hyperdht.132
const PACE: Span = Span::from_millis(20);
const BYTES: u16 = 1750;
/// The first ports are tried faster, and so many of them. hyperdht.132
const FAST: Span = Span::from_millis(5);
const FAST_BYTES: u16 = 750;
/// How often a search may follow the last one at once. hyperdht.167
const AT_ONCE: Span = Span::from_secs(60);
/// After the sockets were opened, all at once, before the next byte. hyperdht.131
const LEAD: Span = Span::from_millis(100);
/// Ports that are tried begin here. hyperdht.132
const FIRST_PORT: u16 = 1000;
/// From the end of a search to the next, if nobody says otherwise. hyperdht.134
pub(super) const INTERVAL: Span = Span::from_secs(20);

/// What a puncher takes of the one search that a node makes at a time. hyperdht.134
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    None,
    /// The other side was told that it begins.
    Promised,
    Begun {
        last: Time,
    },
}

/// What is remembered of searches besides when the last one ended. hyperdht.167
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// The host that the last one met, if it did.
    pub(super) met: Option<[u8; 4]>,
    /// When one last followed another at once.
    at_once: Option<Time>,
}

/// How far a search is.
#[derive(Debug)]
pub(super) enum Search {
    /// The other side's port is looked for.
    Ports { host: [u8; 4], left: u16 },
    /// One of our sockets is to be found. `next` counts on through all of them.
    Sockets { to: Addr, next: usize, left: u16 },
}

impl HyperDht {
    /// Whether this punch would be a search: one side's NAT is random.
    pub(super) fn is_search(&self, id: PunchId) -> bool {
        self.punchers.get(id).is_some_and(|puncher| {
            puncher.remote_firewall >= firewall::RANDOM || puncher.nat.firewall >= firewall::RANDOM
        })
    }

    /// Whether no search may begin now, for any puncher but `id`. hyperdht.134, hyperdht.167
    pub(super) fn search_must_wait(&self, now: Time, id: PunchId) -> bool {
        let claims = self.punchers.iter().filter(|(other, p)| *other != id && p.claim != Claim::None).count();
        let rests = self.rest_after_search(now).is_some() && !self.lost_again(now, id);
        claims >= limits::HYPERDHT_SEARCHES || rests
    }

    /// How long none may begin, for the last one's sake. hyperdht.134
    pub(super) fn rest_after_search(&self, now: Time) -> Option<Span> {
        let interval = self.config.random_punch_interval.unwrap_or(INTERVAL);
        let end = self.last_search? + interval;
        (now < end).then(|| end.since(now))
    }

    /// Whether the last search met a host that is looked for again. hyperdht.167
    fn lost_again(&self, now: Time, id: PunchId) -> bool {
        let host = self.searched.met;
        let same = |puncher: &Puncher| puncher.remote_addresses.iter().any(|(addr, _)| Some(addr.ip) == host);
        self.searched.at_once.is_none_or(|last| now >= last + AT_ONCE)
            && self.punchers.get(id).is_some_and(same)
    }

    pub(super) fn claim_search(&mut self, id: PunchId, claim: Claim) {
        if let Some(puncher) = self.punchers.get_mut(id)
            && !matches!(puncher.claim, Claim::Begun { .. })
        {
            puncher.claim = claim;
        }
    }

    /// False: not between these NATs, or the other side's host is not proven. hyperdht.130
    pub(super) fn start_searching(&mut self, cx: &mut Cx<'_>, id: PunchId) -> bool {
        let at_once = self.rest_after_search(cx.now).is_some();
        let Some(puncher) = self.punchers.get_mut(id) else { return false };
        let Some(&(to, _)) = puncher.remote_addresses.iter().find(|(_, proven)| *proven) else {
            return false;
        };
        let theirs = puncher.remote_firewall;
        let (ours_random, theirs_random) =
            (puncher.nat.firewall >= firewall::RANDOM, theirs >= firewall::RANDOM);
        let search = match (ours_random, theirs_random) {
            (false, true) if puncher.is_consistent() => Search::Ports { host: to.ip, left: BYTES },
            (true, false) if theirs != firewall::UNKNOWN && to.port != 0 => {
                Search::Sockets { to, next: 0, left: BYTES }
            }
            _ => return false,
        };
        let many_sockets = matches!(search, Search::Sockets { .. });
        (puncher.punching, puncher.search) = (true, Some(search));
        puncher.claim = Claim::Begun { last: cx.now };
        if at_once {
            self.searched.at_once = Some(cx.now);
        }
        self.stats.searches += 1;
        if many_sockets {
            self.open_sockets(cx, id, to);
        } else {
            let host = to.with_port(0);
            trace!(cx, State, "hyperdht", id: id, peer: host, rule: "hyperdht.132", "tries ports there");
            self.search_on(cx, id);
        }
        true
    }

    /// hyperdht.131
    fn open_sockets(&mut self, cx: &mut Cx<'_>, id: PunchId, to: Addr) {
        let others: Vec<SocketId> =
            (1..limits::HYPERDHT_SEARCH_SOCKETS).map(|_| self.open_socket()).collect();
        let count = others.len();
        trace!(cx, State, "hyperdht", id: id, peer: to, rule: "hyperdht.131", "opens {count} more sockets towards it");
        for &socket in &others {
            self.sockets.insert(socket, Some(id));
            self.outputs.push_back(Output::Probe { socket, to, ttl: Some(LOW_TTL) });
        }
        if let Some(puncher) = self.punchers.get_mut(id) {
            puncher.others = others;
        }
        self.timers.set(Timer::Punch(id), cx.now + LEAD);
    }

    /// Sends the next byte. hyperdht.131, hyperdht.132
    pub(super) fn search_on(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        let count = puncher.others.len() + 1;
        puncher.claim = Claim::Begun { last: cx.now };
        let Some(search) = &mut puncher.search else { return };
        let left = match search {
            Search::Ports { left, .. } | Search::Sockets { left, .. } => left,
        };
        if *left == 0 {
            return self.punch_ended(cx, id);
        }
        *left -= 1;
        let left = *left;
        let fast = matches!(search, Search::Ports { .. }) && left >= BYTES - FAST_BYTES;
        let probe = match search {
            Search::Ports { host, .. } => {
                let above = cx.entropy.below(u64::from(u16::MAX - FIRST_PORT) + 1) as u16;
                Output::Probe { socket: puncher.socket, to: Addr::new(*host, FIRST_PORT + above), ttl: None }
            }
            Search::Sockets { to, next, .. } => {
                let at = *next;
                *next += 1;
                let socket = match at % count {
                    0 => puncher.socket,
                    other => puncher.others[other - 1],
                };
                Output::Probe { socket, to: *to, ttl: (at < count).then_some(LOW_TTL) }
            }
        };
        if left % 250 == 0 {
            trace!(cx, Step, "hyperdht", id: id, rule: "hyperdht.131 hyperdht.132", "{left} bytes of the search left");
        }
        self.outputs.push_back(probe);
        self.timers.set(Timer::Punch(id), cx.now + if fast { FAST } else { PACE });
    }
}
