//! hyperswarm on this node: its server, its questions to the DHT and its connections.

use std::collections::BTreeMap;

use super::{Dialing, Event, Node, Path, Serving};
use crate::base::{Addr, Cx, Deadline, Key, Machine, Span, trace};
use crate::crypto::sign::KeyPair;
use crate::hyperdht::{self, AnnounceId, ConnId, ConnectError, LookupId, ServerId};
use crate::hyperswarm::{self, Existing, Find, Hyperswarm, Link, QueryId};
use crate::udx::StreamId;
use crate::wire::hyperdht::Peer;

/// How a connection stood when it was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Late {
    /// Bytes that were acked.
    acked: u64,
    /// Packets that came.
    packets: u64,
    /// Looks at which packets had come and nothing was acked: ours do not arrive.
    one_way: u32,
}

/// So many such looks mean that the other side is not reached any more. hyperswarm.37
const ONE_WAY: u32 = 2;

pub(super) struct SwarmState {
    pub machine: Hyperswarm,
    pub key_pair: KeyPair,
    pub server: Option<ServerId>,
    /// Its connections carry channels, else plain messages.
    pub channels: bool,
    /// hyperdht.36
    pub handshake_clear: Span,
    /// When the program was told that something has changed.
    updates: u64,
    /// Questions under way, by their number in hyperdht.
    queries: BTreeMap<LookupId, (QueryId, Key)>,
    unannounces: BTreeMap<AnnounceId, Key>,
    /// The nodes closest to a topic, of its last two refreshes, the newer first. hyperswarm.34
    closest: BTreeMap<Key, [Vec<Addr>; 2]>,
    dialing: BTreeMap<Key, ConnId>,
    links: BTreeMap<Link, ConnId>,
    conns: BTreeMap<ConnId, Link>,
    paths: BTreeMap<Link, Path>,
    /// Connections on which something is not acked in time. hyperswarm.37
    late: BTreeMap<Link, Late>,
    next_link: u64,
    /// It was suspended because its node was.
    asleep_with_node: bool,
}

impl SwarmState {
    pub fn new(cx: &mut Cx<'_>, key_pair: KeyPair, config: hyperswarm::Config) -> SwarmState {
        SwarmState {
            machine: Hyperswarm::new(cx, config),
            key_pair,
            server: None,
            channels: true,
            handshake_clear: hyperdht::ListenOptions::CLEAR,
            updates: 0,
            queries: BTreeMap::new(),
            unannounces: BTreeMap::new(),
            closest: BTreeMap::new(),
            dialing: BTreeMap::new(),
            links: BTreeMap::new(),
            conns: BTreeMap::new(),
            paths: BTreeMap::new(),
            late: BTreeMap::new(),
            next_link: 0,
            asleep_with_node: false,
        }
    }
}

impl Node {
    pub(super) fn swarm_deadline(&self) -> Option<Deadline> {
        self.swarm.as_ref().and_then(|swarm| swarm.machine.poll_timeout())
    }

    pub(super) fn swarm_timeout(&mut self, cx: &mut Cx<'_>) {
        if let Some(swarm) = &mut self.swarm
            && swarm.machine.poll_timeout().is_some_and(|deadline| deadline.at <= cx.now)
        {
            swarm.machine.handle_timeout(cx);
        }
    }

    pub(super) fn tell_swarm(&mut self, cx: &mut Cx<'_>, input: hyperswarm::Input) {
        if let Some(swarm) = &mut self.swarm {
            swarm.machine.handle_input(cx, input);
        }
    }

    /// hyperswarm → hyperdht, connections; hyperswarm → the program.
    pub(super) fn settle_swarm(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut moved = false;
        while let Some(output) = self.swarm.as_mut().and_then(|swarm| swarm.machine.poll_output(cx)) {
            moved = true;
            self.do_for_swarm(cx, output);
        }
        while let Some(event) = self.swarm.as_mut().and_then(|swarm| swarm.machine.poll_event()) {
            moved = true;
            self.take_swarm_event(cx, event);
        }
        if let Some(swarm) = &mut self.swarm {
            let updates = swarm.machine.stats().updates();
            if core::mem::replace(&mut swarm.updates, updates) != updates {
                self.tell(Event::SwarmUpdated);
            }
        }
        moved
    }

    fn do_for_swarm(&mut self, cx: &mut Cx<'_>, output: hyperswarm::Output) {
        let Some(swarm) = &mut self.swarm else { return };
        match output {
            hyperswarm::Output::Listen => self.swarm_listen(cx),
            hyperswarm::Output::Unlisten => {
                let server = swarm.server.take();
                if server.is_none_or(|server| self.dht.unlisten(cx, server).is_err()) {
                    self.tell_swarm(cx, hyperswarm::Input::Unlistened);
                }
            }
            hyperswarm::Output::Admit { denied, allowed } => {
                if let Some(server) = swarm.server {
                    let _ = self.dht.set_denied(server, denied);
                    let _ = self.dht.set_allowed(server, allowed);
                }
            }
            hyperswarm::Output::Relays { relays } => {
                if let Some(server) = swarm.server {
                    let _ = self.dht.set_relay_through(server, relays);
                }
            }
            hyperswarm::Output::Query { query, topic, find } => self.swarm_query(cx, query, topic, find),
            hyperswarm::Output::CancelQuery { query } => {
                let asked = swarm.queries.iter().find(|(_, of)| of.0 == query).map(|(&asked, _)| asked);
                if let Some(asked) = asked {
                    swarm.queries.remove(&asked);
                    let _ = self.dht.cancel_lookup(cx, asked);
                }
            }
            hyperswarm::Output::Unannounce { topic } => {
                let pair = swarm.key_pair.clone();
                let nodes = swarm.closest.remove(&topic).unwrap_or_default().concat();
                // hyperswarm.35: without an announcement that has ended there are none.
                let asked = if nodes.is_empty() {
                    self.dht.unannounce(cx, topic, pair)
                } else {
                    self.dht.unannounce_at(cx, topic, pair, nodes)
                };
                swarm.unannounces.insert(asked, topic);
            }
            hyperswarm::Output::Connect { key, relays, through } => {
                let mut options = hyperdht::ConnectOptions::new(swarm.key_pair.clone());
                (options.relays, options.relay_through) = (relays, through);
                let (public, channels) = (swarm.key_pair.public, swarm.channels);
                let conn = self.dht.connect(cx, key, options);
                swarm.dialing.insert(key, conn);
                let dialing = Dialing { key, public, channels, swarm: true, since: cx.now };
                self.dialing.insert(conn, dialing);
            }
            hyperswarm::Output::Abort { key } => {
                if let Some(conn) = swarm.dialing.remove(&key) {
                    self.dialing.remove(&conn);
                    swarm.machine.handle_input(cx, hyperswarm::Input::Failed { key, holepunch: false });
                    let _ = self.dht.destroy(cx, conn);
                }
            }
            hyperswarm::Output::Drop { link, .. } => {
                if let Some(&conn) = swarm.links.get(&link) {
                    self.drop_conn(cx, conn);
                }
            }
            hyperswarm::Output::KeepAlive { link } => {
                if let Some(&id) = swarm.links.get(&link)
                    && let Some(conn) = self.conns.get_mut(&id)
                {
                    let _ = cx.within(id.place(), |cx| conn.secret.send(cx, &[]));
                    self.touch(id);
                }
            }
            hyperswarm::Output::Look { link } => self.look_at_link(cx, link),
        }
    }

    fn standing(&self, link: Link) -> Option<Late> {
        let conn = self.swarm.as_ref()?.links.get(&link)?;
        let stream = self.conns.get(conn)?.stream;
        let packets = self.udx.stats(stream)?.packets_in;
        Some(Late { acked: self.udx.acked(stream)?, packets, one_way: 0 })
    }

    /// Something that was sent on a stream is not acked in time. hyperswarm.37
    pub(super) fn stream_late(&mut self, cx: &mut Cx<'_>, stream: StreamId) {
        let conn = self.stream_owners.get(&stream);
        let link = conn.and_then(|conn| self.swarm.as_ref()?.conns.get(conn).copied());
        let Some(link) = link else { return };
        let Some(late) = self.standing(link) else { return };
        if let Some(swarm) = &mut self.swarm {
            swarm.late.insert(link, late);
            swarm.machine.handle_input(cx, hyperswarm::Input::Late { link });
        }
    }

    /// hyperswarm.37
    fn look_at_link(&mut self, cx: &mut Cx<'_>, link: Link) {
        let Some(now) = self.standing(link) else { return };
        let Some(swarm) = &mut self.swarm else { return };
        let before = swarm.late.get(&link).copied().unwrap_or(now);
        let one_way = before.one_way + u32::from(now.packets != before.packets);
        let input = if now.acked != before.acked {
            swarm.late.remove(&link);
            hyperswarm::Input::Heard { link }
        } else {
            swarm.late.insert(link, Late { one_way, ..now });
            if now.packets == before.packets || one_way >= ONE_WAY {
                hyperswarm::Input::Silent { link }
            } else {
                hyperswarm::Input::Late { link }
            }
        };
        swarm.machine.handle_input(cx, input);
    }

    fn swarm_listen(&mut self, cx: &mut Cx<'_>) {
        let Some(swarm) = &mut self.swarm else { return };
        let relay_through = swarm.machine.server_relays();
        let options = hyperdht::ListenOptions {
            relay_through,
            handshake_clear: swarm.handshake_clear,
            ..hyperdht::ListenOptions::new(swarm.key_pair.clone())
        };
        let Ok(server) = self.dht.listen(cx, options) else {
            return swarm.machine.handle_input(cx, hyperswarm::Input::ListenFailed);
        };
        let admission = swarm.machine.admission();
        let _ = self.dht.set_denied(server, admission.0);
        let _ = self.dht.set_allowed(server, admission.1);
        swarm.server = Some(server);
        let (public, channels) = (swarm.key_pair.public, swarm.channels);
        self.servers.insert(server, Serving { public, channels, swarm: true });
    }

    fn swarm_query(&mut self, cx: &mut Cx<'_>, query: QueryId, topic: Key, find: Find) {
        let Some(swarm) = &mut self.swarm else { return };
        let pair = swarm.key_pair.clone();
        // hyperswarm.34
        let start = swarm.closest.get(&topic).map(|[newer, _]| newer.clone()).unwrap_or_default();
        let asked = match find {
            Find::Lookup => self.dht.lookup_from(cx, topic, start),
            Find::Announce { clear } => {
                let relays = swarm.server.map(|server| self.dht.server_relays(server).to_vec());
                self.dht.announce_from(cx, topic, pair, relays.unwrap_or_default(), clear, start)
            }
            Find::LookupAndUnannounce => self.dht.lookup_and_unannounce(cx, topic, pair, start),
        };
        swarm.queries.insert(asked, (query, topic));
    }

    /// The walk of a refresh is over. hyperswarm.34
    pub(super) fn swarm_closest(&mut self, lookup: LookupId, nodes: Vec<Addr>) {
        let Some(swarm) = &mut self.swarm else { return };
        let Some(&(_, topic)) = swarm.queries.get(&lookup) else { return };
        let [newer, older] = swarm.closest.entry(topic).or_default();
        *older = core::mem::replace(newer, nodes);
        older.retain(|addr| !newer.contains(addr));
    }

    /// hyperdht let somebody not in. hyperswarm.24
    pub(super) fn swarm_denied(&mut self, server: ServerId, key: Key) {
        if let Some(swarm) = self.swarm.as_mut().filter(|swarm| swarm.server == Some(server)) {
            swarm.machine.refuses(&key);
        }
    }

    /// Suspends the swarm, if there is one that is not. True: `swarm_asleep` follows.
    pub(super) fn swarm_sleeps(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(swarm) = self.swarm.as_mut().filter(|swarm| !swarm.machine.is_still()) else { return false };
        swarm.asleep_with_node = swarm.machine.is_live();
        swarm.machine.suspend(cx).is_ok()
    }

    /// The node goes on.
    pub(super) fn swarm_wakes(&mut self, cx: &mut Cx<'_>) {
        if let Some(swarm) = &mut self.swarm
            && core::mem::take(&mut swarm.asleep_with_node)
        {
            // It has not ended: it was live when the node was suspended, or this does nothing.
            let _ = swarm.machine.resume(cx);
        }
    }

    pub(super) fn swarm_unlistened(&mut self, cx: &mut Cx<'_>, serving: Option<Serving>) {
        if serving.is_some_and(|serving| serving.swarm) {
            self.tell_swarm(cx, hyperswarm::Input::Unlistened);
        }
    }

    /// Whether our NAT gives each destination another port. hyperswarm.27
    pub(super) fn tell_randomized(&mut self, cx: &mut Cx<'_>) {
        let status = self.rpc.status();
        let randomized = status.host.is_some() && status.port == 0;
        self.tell_swarm(cx, hyperswarm::Input::Randomized(randomized));
    }

    fn take_swarm_event(&mut self, cx: &mut Cx<'_>, event: hyperswarm::Event) {
        match event {
            hyperswarm::Event::Connection { link, key, initiator, .. } => {
                let Some(swarm) = &self.swarm else { return };
                let Some(&conn) = swarm.links.get(&link) else { return };
                let path = swarm.paths.get(&link).copied().unwrap_or(Path::Direct);
                let Some(state) = self.conns.get_mut(&conn) else { return };
                state.told = true;
                let _ = self.udx.set_reading(cx, state.stream, true);
                let (server, took) = (state.server, state.took);
                self.tell(Event::Connected { conn, server, key, initiator, swarm: true, path, took });
            }
            hyperswarm::Event::Flushed { ok, .. } => self.tell(Event::Flushed { ok }),
            hyperswarm::Event::Left { topic } => {
                if let Some(swarm) = &mut self.swarm {
                    swarm.closest.remove(&topic);
                }
                self.tell(Event::Left { topic });
            }
            hyperswarm::Event::Banned { key } => self.tell(Event::Banned { key }),
            hyperswarm::Event::Suspended => {
                self.tell(Event::SwarmSuspended);
                self.swarm_asleep(cx);
            }
            hyperswarm::Event::Destroyed => {
                self.tell(Event::SwarmDestroyed);
                self.servers_left(cx);
            }
            // Its connection tells of itself.
            hyperswarm::Event::Closed { .. } => {}
        }
    }

    /// A connection of the swarm is open; its program is told once hyperswarm has decided to keep it.
    pub(super) fn swarm_connected(&mut self, cx: &mut Cx<'_>, id: ConnId, path: Path) {
        let (Some(swarm), Some(conn)) = (&mut self.swarm, self.conns.get(&id)) else { return };
        let link = Link(swarm.next_link);
        swarm.next_link += 1;
        swarm.links.insert(link, id);
        swarm.conns.insert(id, link);
        swarm.paths.insert(link, path);
        let key = conn.key;
        // What comes waits until hyperswarm keeps the connection and the program knows of it.
        let _ = self.udx.set_reading(cx, conn.stream, false);
        trace!(cx, State, "node", id: id, "{link} of the swarm");
        let input = if conn.initiator {
            swarm.dialing.remove(&key);
            hyperswarm::Input::Connected { key, link }
        } else {
            let outdated = match swarm.machine.existing(&key) {
                Some(Existing::Open(older)) => swarm
                    .links
                    .get(&older)
                    .and_then(|older| self.conns.get(older))
                    .map(|older| older.secret.stats())
                    .is_some_and(|stats| stats.raw_bytes_read > 0 && stats.raw_bytes_written > 0),
                Some(Existing::Attempt) | None => false,
            };
            hyperswarm::Input::Incoming { key, link, outdated }
        };
        swarm.machine.handle_input(cx, input);
    }

    /// A connection is gone.
    pub(super) fn swarm_closed(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(swarm) = &mut self.swarm else { return };
        let Some(link) = swarm.conns.remove(&id) else { return };
        swarm.links.remove(&link);
        swarm.late.remove(&link);
        swarm.paths.remove(&link);
        swarm.machine.handle_input(cx, hyperswarm::Input::Closed { link });
    }

    pub(super) fn swarm_failed(&mut self, cx: &mut Cx<'_>, dialing: Dialing, why: ConnectError) {
        if !dialing.swarm {
            return;
        }
        if let Some(swarm) = &mut self.swarm {
            swarm.dialing.remove(&dialing.key);
        }
        let holepunch = matches!(
            why.code(),
            "HOLEPUNCH_ABORTED"
                | "HOLEPUNCH_DOUBLE_RANDOMIZED_NATS"
                | "CANNOT_HOLEPUNCH"
                | "REMOTE_NOT_HOLEPUNCHABLE"
        );
        self.tell_swarm(cx, hyperswarm::Input::Failed { key: dialing.key, holepunch });
    }

    pub(super) fn swarm_listening(&mut self, cx: &mut Cx<'_>, server: ServerId) {
        if self.swarm.as_ref().is_some_and(|swarm| swarm.server == Some(server)) {
            self.tell_swarm(cx, hyperswarm::Input::Listening);
        }
    }

    pub(super) fn swarm_peer(&mut self, cx: &mut Cx<'_>, lookup: LookupId, peer: Peer) {
        let found = self.swarm.as_ref().and_then(|swarm| swarm.queries.get(&lookup));
        let Some(&(query, _)) = found else { return };
        let input = hyperswarm::Input::Peer { query, key: peer.key, relays: peer.relays };
        self.tell_swarm(cx, input);
    }

    /// A lookup, an announcement or an unannouncement is over.
    pub(super) fn swarm_asked(&mut self, cx: &mut Cx<'_>, asked: LookupId, ok: bool) {
        let Some(swarm) = &mut self.swarm else { return };
        if let Some((query, topic)) = swarm.queries.remove(&asked) {
            swarm.machine.handle_input(cx, hyperswarm::Input::QueryDone { query, ok });
            if ok {
                self.tell(Event::Refreshed { topic });
            }
        } else if let Some(topic) = swarm.unannounces.remove(&asked) {
            swarm.machine.handle_input(cx, hyperswarm::Input::Unannounced { topic });
        }
    }
}
