//! One side of a holepunch: a socket of its own, what its NAT does, what the other side says, and the bytes that open
//! the way. Both sides use it; the rounds between them are in `rounds.rs` and `listen.rs`, and what is done about a NAT
//! that gives each destination another port in `search.rs`. Follows hyperdht.60 to hyperdht.69.

use super::nat::{Nat, SAMPLES};
use super::search::{Claim, Search};
use super::*;
use crate::wire::hyperdht::{HolepunchPayload, firewall};

#[derive(Debug)]
pub enum PunchKind {}
impl Kind for PunchKind {
    const NAME: &'static str = "punch";
}
pub type PunchId = Id<PunchKind>;

/// Time between two bursts, and how many there are. hyperdht.66
const BURST: Span = SECOND;
const BURSTS: u8 = 10;
/// A socket stays open so long after its stream has closed.
pub const LINGER: Span = Span::from_secs(3);
/// How often the socket is replaced when its NAT cannot be told. hyperdht.65
const REOPENS: u8 = 3;
/// Hop limit of a byte that opens our own NAT and reaches nobody. hyperdht.84
pub const LOW_TTL: u8 = 5;
/// The latest nodes are not sampled with when there are many: they may be too close to us. hyperdht.60
const SKIPPED: usize = 5;
const MANY: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Client(ConnId),
    Session(ServerId, SessionId),
}

impl core::fmt::Display for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Owner::Client(conn) => conn.fmt(f),
            Owner::Session(server, session) => SessionName(*server, *session).fmt(f),
        }
    }
}

#[derive(Debug)]
pub struct Puncher {
    pub owner: Owner,
    pub socket: SocketId,
    pub nat: Nat,
    /// Nodes that were asked how they see the socket.
    sampled: BTreeSet<Addr>,
    pending: usize,
    /// The nodes were gone through twice.
    second_pass: bool,
    reopens: u8,
    reopening: bool,
    pub remote_firewall: u64,
    /// Each with whether its host is proven. hyperdht.67
    pub(super) remote_addresses: Vec<(Addr, bool)>,
    pub remote_holepunching: bool,
    pub punching: bool,
    bursts: u8,
    /// Its part of what a node does about random NATs.
    pub(super) claim: Claim,
    /// Many ports are tried, or many sockets: how far that is.
    pub(super) search: Option<Search>,
    /// Sockets besides `socket`. hyperdht.131
    pub(super) others: Vec<SocketId>,
}

impl Puncher {
    fn initiator(&self) -> bool {
        matches!(self.owner, Owner::Client(_))
    }

    /// Punching from this socket has no hope. hyperdht.65, pitfalls 9.3
    pub fn unstable(&self) -> bool {
        let both_random = self.remote_firewall >= firewall::RANDOM && self.nat.firewall >= firewall::RANDOM;
        both_random || self.nat.firewall == firewall::UNKNOWN
    }

    pub fn is_consistent(&self) -> bool {
        matches!(self.nat.firewall, firewall::OPEN | firewall::CONSISTENT)
    }

    /// Where the other side says that it is.
    pub fn remote_addresses(&self) -> Vec<Addr> {
        self.remote_addresses.iter().map(|&(addr, _)| addr).collect()
    }

    /// The sockets that may be tried have been.
    pub fn reopened(&self) -> bool {
        self.reopens > 0
    }

    /// What the other side says of itself; `verified` is a host that proved to get our messages. hyperdht.67
    pub fn update_remote(&mut self, payload: &HolepunchPayload, verified: Option<[u8; 4]>) {
        let known: Vec<[u8; 4]> =
            self.remote_addresses.iter().filter(|(_, v)| *v).map(|(addr, _)| addr.ip).collect();
        // pitfalls 7.6: the list is a stranger's; it is cut. Port 0 is of a host with another one for each. hyperdht.62
        let random = payload.firewall >= firewall::RANDOM;
        let named = payload.addresses.iter().flatten().filter(|addr| random || addr.port != 0);
        self.remote_addresses = named
            .take(limits::HYPERDHT_PROBE_TARGETS)
            .map(|&addr| (addr, verified == Some(addr.ip) || known.contains(&addr.ip)))
            .collect();
        self.remote_firewall = payload.firewall;
        self.remote_holepunching = payload.punching;
    }
}

impl HyperDht {
    /// A puncher on a fresh socket whose NAT is being sampled; `None` at the bound. hyperdht.60, pitfalls 9.2
    pub(super) fn new_puncher(
        &mut self,
        cx: &mut Cx<'_>,
        owner: Owner,
        remote_firewall: u64,
    ) -> Option<PunchId> {
        if self.punchers.len() >= limits::HYPERDHT_PUNCHES {
            return None;
        }
        let socket = self.open_socket();
        let punch = self.punchers.insert(Puncher {
            owner,
            socket,
            nat: Nat::new(self.status.firewalled),
            sampled: BTreeSet::new(),
            pending: 0,
            second_pass: false,
            reopens: 0,
            reopening: false,
            remote_firewall,
            remote_addresses: Vec::new(),
            remote_holepunching: false,
            punching: false,
            bursts: 0,
            claim: Claim::None,
            search: None,
            others: Vec::new(),
        });
        self.sockets.insert(socket, Some(punch));
        trace!(cx, State, "hyperdht", id: punch, rule: "hyperdht.60", "begins on {socket}, for {owner}");
        self.sample(cx, punch);
        Some(punch)
    }

    pub(super) fn open_socket(&mut self) -> SocketId {
        let socket = SocketId(self.next_socket);
        self.next_socket += 1;
        self.stats.sockets_opened += 1;
        self.sockets.insert(socket, None);
        self.outputs.push_back(Output::Bind { socket, host: self.config.host, port: 0 });
        socket
    }

    pub(super) fn close_socket(&mut self, socket: SocketId) {
        if self.sockets.remove(&socket).is_some() {
            self.stats.sockets_closed += 1;
            self.outputs.push_back(Output::Close { socket });
        }
    }

    /// Asks nodes how they see the socket. hyperdht.60
    fn sample(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        let nodes = &self.status.nodes;
        let skip = if nodes.len() >= MANY { SKIPPED } else { 0 };
        let mut asks = Vec::new();
        for &node in nodes.iter().skip(skip) {
            if puncher.nat.sampled + puncher.pending >= SAMPLES {
                break;
            }
            if puncher.sampled.insert(node) {
                puncher.pending += 1;
                let socket = Some(puncher.socket);
                asks.push(Ask { socket, sends: 1, ..Ask::internal(node, wire::dht_rpc::PING) });
            }
        }
        for ask in asks {
            self.ask(Purpose::Sample(id), ask);
        }
        self.sampled_enough(cx, id);
    }

    pub(super) fn sample_answered(&mut self, cx: &mut Cx<'_>, id: PunchId, result: Result<Reply, ()>) {
        let firewalled = self.status.firewalled;
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        puncher.pending -= 1;
        if let Ok(reply) = result {
            puncher.nat.add(reply.to, reply.from, firewalled);
        }
        self.sampled_enough(cx, id);
    }

    fn sampled_enough(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        if puncher.pending == 0 && !puncher.nat.analyzed {
            if !puncher.second_pass {
                puncher.second_pass = true;
                return self.sample(cx, id);
            }
            puncher.nat.analyzed = true;
        }
        self.sampled(cx, id);
    }

    /// If the analysis is at its end: try another socket, or tell the owner.
    pub(super) fn sampled(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        let Some(puncher) = self.punchers.get(id) else { return };
        if !puncher.nat.analyzed {
            return;
        }
        let nat = &puncher.nat;
        let (class, addresses) = (firewall_name(nat.firewall), nat.addresses.iter().flatten().count());
        trace!(
            cx, Step, "hyperdht", id: id, rule: "hyperdht.61",
            "our NAT: {class} after {} samples, {addresses} addresses", nat.sampled
        );
        if puncher.reopening && puncher.unstable() && puncher.reopens < REOPENS && !puncher.punching {
            return self.reopen(cx, id);
        }
        match puncher.owner {
            Owner::Client(conn) => self.client_analyzed(cx, conn),
            Owner::Session(server, session) => self.session_analyzed(cx, server, session),
        }
    }

    /// Goes on with a fresh socket: sampling the same one again tells nothing new. hyperdht.65, pitfalls 9.2
    pub(super) fn reopen(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        self.cancel(|purpose| matches!(purpose, Purpose::Sample(punch) if *punch == id));
        let socket = self.open_socket();
        let firewalled = self.status.firewalled;
        let Some(puncher) = self.punchers.get_mut(id) else { return self.close_socket(socket) };
        let old = core::mem::replace(&mut puncher.socket, socket);
        puncher.nat = Nat::new(firewalled);
        puncher.sampled.clear();
        (puncher.pending, puncher.second_pass) = (0, false);
        puncher.reopens += 1;
        puncher.reopening = true;
        trace!(cx, Step, "hyperdht", id: id, rule: "hyperdht.65", "goes on with {socket} instead of {old}");
        self.sockets.insert(socket, Some(id));
        self.close_socket(old);
        self.sample(cx, id);
    }

    pub(super) fn bind_failed(&mut self, cx: &mut Cx<'_>, socket: SocketId) {
        let Some(Some(punch)) = self.sockets.get(&socket).copied() else { return };
        let Some(puncher) = self.punchers.get_mut(punch) else { return };
        if puncher.socket == socket {
            return self.punch_ended(cx, punch);
        }
        // hyperdht.139
        puncher.others.retain(|&other| other != socket);
        self.close_socket(socket);
    }

    /// False: there is nobody to punch towards. hyperdht.66, hyperdht.130
    pub(super) fn start_punching(&mut self, cx: &mut Cx<'_>, id: PunchId) -> bool {
        let Some(puncher) = self.punchers.get_mut(id) else { return false };
        if puncher.punching {
            return true;
        }
        let remote = matches!(puncher.remote_firewall, firewall::OPEN | firewall::CONSISTENT);
        if !puncher.is_consistent() || !remote {
            return self.start_searching(cx, id);
        }
        if puncher.remote_addresses.is_empty() {
            return false;
        }
        puncher.punching = true;
        let count = puncher.remote_addresses.len();
        trace!(cx, State, "hyperdht", id: id, rule: "hyperdht.66", "punches towards {count} addresses");
        self.stats.punches += 1;
        if puncher.initiator() {
            self.punch_again(cx, id);
        } else {
            // pitfalls 9.13: the lead of the server's side is no round of its own.
            self.timers.set(Timer::Punch(id), cx.now + BURST);
        }
        true
    }

    pub(super) fn punch_again(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        let Some(puncher) = self.punchers.get_mut(id) else { return };
        if puncher.search.is_some() {
            return self.search_on(cx, id);
        }
        if puncher.bursts == BURSTS {
            return self.punch_ended(cx, id);
        }
        puncher.bursts += 1;
        let burst = puncher.bursts;
        trace!(cx, Step, "hyperdht", id: id, rule: "hyperdht.66", "burst {burst} of {BURSTS}");
        let socket = puncher.socket;
        // pitfalls 9.8, 9.9: all addresses, but those that prove nothing only now and then.
        let unverified_too = puncher.bursts % 4 == 0;
        for &(to, verified) in &puncher.remote_addresses {
            if verified || unverified_too {
                self.outputs.push_back(Output::Probe { socket, to, ttl: None });
            }
        }
        self.timers.set(Timer::Punch(id), cx.now + BURST);
    }

    /// One byte came in. hyperdht.68
    pub(super) fn probed(&mut self, cx: &mut Cx<'_>, socket: SocketId, from: Addr) {
        let Some(Some(punch)) = self.sockets.get(&socket).copied() else { return };
        let Some(puncher) = self.punchers.get(punch) else { return };
        match puncher.owner {
            // pitfalls 9.12
            Owner::Session(..) => self.outputs.push_back(Output::Probe { socket, to: from, ttl: None }),
            Owner::Client(conn) => self.client_punched(cx, conn, socket, from),
        }
    }

    /// It came to nothing.
    pub(super) fn punch_ended(&mut self, cx: &mut Cx<'_>, id: PunchId) {
        let Some(puncher) = self.punchers.get(id) else { return };
        match puncher.owner {
            Owner::Client(conn) => self.fail_path(conn, ConnectError::HolepunchAborted),
            Owner::Session(server, session) => self.abort_session(cx, server, session),
        }
    }

    /// Closes its sockets, all but `keep`: the stream lives on that one. hyperdht.133
    pub(super) fn end_puncher(&mut self, id: PunchId, keep: Option<SocketId>) {
        let Some(puncher) = self.punchers.remove(id) else { return };
        if let Claim::Begun { last } = puncher.claim {
            self.last_search = Some(last); // hyperdht.134
            let proven = puncher.remote_addresses.iter().find(|(_, proven)| *proven);
            self.searched.met = proven.map(|(addr, _)| addr.ip).filter(|_| keep.is_some());
        }
        if let Owner::Client(conn) = puncher.owner
            && let Some(answered) = self.reached(conn)
        {
            answered.met = Some(Met { ours: puncher.nat.firewall, theirs: puncher.remote_firewall });
        }
        self.timers.clear(Timer::Punch(id));
        self.cancel(|purpose| matches!(purpose, Purpose::Sample(punch) if *punch == id));
        for socket in puncher.others.into_iter().chain([puncher.socket]) {
            if keep == Some(socket) {
                self.sockets.insert(socket, None);
            } else {
                self.close_socket(socket);
            }
        }
    }
}
