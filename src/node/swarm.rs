//! hyperswarm on this node: its server, its questions to the DHT and its connections.

use std::collections::BTreeMap;

use super::{Dialing, Event, Node, Path, Serving};
use crate::base::{Cx, Deadline, Key, Machine, trace};
use crate::crypto::sign::KeyPair;
use crate::hyperdht::{self, AnnounceId, ConnId, ConnectError, LookupId, ServerId};
use crate::hyperswarm::{self, Existing, Find, Hyperswarm, Link, QueryId};
use crate::wire::hyperdht::Peer;

pub(super) struct SwarmState {
    pub machine: Hyperswarm,
    pub key_pair: KeyPair,
    pub server: Option<ServerId>,
    /// Its connections carry channels, else plain messages.
    pub channels: bool,
    /// Questions under way, by their number in hyperdht.
    queries: BTreeMap<LookupId, (QueryId, Key)>,
    unannounces: BTreeMap<AnnounceId, Key>,
    dialing: BTreeMap<Key, ConnId>,
    links: BTreeMap<Link, ConnId>,
    conns: BTreeMap<ConnId, Link>,
    paths: BTreeMap<Link, Path>,
    next_link: u64,
}

impl SwarmState {
    pub fn new(cx: &mut Cx<'_>, key_pair: KeyPair) -> SwarmState {
        SwarmState {
            machine: Hyperswarm::new(cx, hyperswarm::Config::new(key_pair.public)),
            key_pair,
            server: None,
            channels: true,
            queries: BTreeMap::new(),
            unannounces: BTreeMap::new(),
            dialing: BTreeMap::new(),
            links: BTreeMap::new(),
            conns: BTreeMap::new(),
            paths: BTreeMap::new(),
            next_link: 0,
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
            self.take_swarm_event(event);
        }
        moved
    }

    fn do_for_swarm(&mut self, cx: &mut Cx<'_>, output: hyperswarm::Output) {
        let Some(swarm) = &mut self.swarm else { return };
        match output {
            hyperswarm::Output::Listen => {
                match self.dht.listen(cx, hyperdht::ListenOptions::new(swarm.key_pair.clone())) {
                    Ok(server) => {
                        swarm.server = Some(server);
                        let (public, channels) = (swarm.key_pair.public, swarm.channels);
                        self.servers.insert(server, Serving { public, channels, swarm: true });
                    }
                    Err(_) => swarm.machine.handle_input(cx, hyperswarm::Input::ListenFailed),
                }
            }
            hyperswarm::Output::Unlisten => {
                if let Some(server) = swarm.server.take() {
                    let _ = self.dht.unlisten(cx, server);
                }
            }
            hyperswarm::Output::Query { query, topic, find } => {
                let key_pair = swarm.key_pair.clone();
                let asked = match find {
                    Find::Lookup => self.dht.lookup(cx, topic),
                    Find::Announce { clear } => {
                        let relays = swarm.server.map(|server| self.dht.server_relays(server).to_vec());
                        self.dht.announce(cx, topic, key_pair, relays.unwrap_or_default(), clear)
                    }
                    Find::LookupAndUnannounce => self.dht.lookup_and_unannounce(cx, topic, key_pair),
                };
                swarm.queries.insert(asked, (query, topic));
            }
            hyperswarm::Output::CancelQuery { query } => {
                let asked = swarm.queries.iter().find(|(_, of)| of.0 == query).map(|(&asked, _)| asked);
                if let Some(asked) = asked {
                    swarm.queries.remove(&asked);
                    let _ = self.dht.cancel_lookup(cx, asked);
                }
            }
            hyperswarm::Output::Unannounce { topic } => {
                let asked = self.dht.unannounce(cx, topic, swarm.key_pair.clone());
                swarm.unannounces.insert(asked, topic);
            }
            hyperswarm::Output::Connect { key, relays, .. } => {
                let mut options = hyperdht::ConnectOptions::new(swarm.key_pair.clone());
                options.relays = relays;
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
        }
    }

    fn take_swarm_event(&mut self, event: hyperswarm::Event) {
        match event {
            hyperswarm::Event::Connection { link, key, initiator, .. } => {
                let Some(swarm) = &self.swarm else { return };
                let Some(&conn) = swarm.links.get(&link) else { return };
                let path = swarm.paths.get(&link).copied().unwrap_or(Path::Direct);
                let Some(state) = self.conns.get_mut(&conn) else { return };
                state.told = true;
                let (server, took) = (state.server, state.took);
                self.tell(Event::Connected { conn, server, key, initiator, swarm: true, path, took });
            }
            hyperswarm::Event::Flushed { .. } => self.tell(Event::Flushed),
            hyperswarm::Event::Left { topic } => self.tell(Event::Left { topic }),
            hyperswarm::Event::Closed { .. }
            | hyperswarm::Event::Banned { .. }
            | hyperswarm::Event::Destroyed => {}
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
