//! Who serves a topic or a key, and telling the network that we do. Follows hyperdht.90 to hyperdht.93.

use super::values::{Wanted, store_ask};
use super::*;
use crate::base::Error;
use crate::wire::hyperdht::{LookupReply, command};

/// A node that names so many peers may know us without naming us. hyperdht.93
const FULL: usize = 20;

#[derive(Debug)]
pub struct Lookup {
    pub(super) topic: Key,
    pub(super) what: What,
    seen: BTreeSet<Key>,
    /// Writes under way.
    pub(super) pending: usize,
    /// Writes to be made once what is being taken back is gone.
    announcements: Vec<Ask>,
    /// Nodes that get an announcement then, one that is signed for each.
    storing: Vec<Storing>,
    pub(super) walked: bool,
    /// Any node answered.
    heard: bool,
    /// Announcements that were taken.
    taken: usize,
    /// Why a value was not.
    refused: Option<StoreError>,
}

/// A node that is to keep an announcement, by what is signed for it. (hyperdht.50)
#[derive(Clone, Copy, Debug)]
pub(super) struct Storing {
    pub(super) node: Addr,
    pub(super) id: Key,
    pub(super) token: Key,
}

impl Storing {
    /// One that gave no token, or has no id, keeps nothing.
    pub(super) fn of(reply: &Reply) -> Option<Storing> {
        Some(Storing { node: reply.from, id: reply.id?, token: reply.token? })
    }
}

/// An announcement that is signed when it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unsigned {
    Lookup(LookupId, Storing),
    /// Of a server's own key, to a node that sees us at `seen`.
    Server {
        server: ServerId,
        storing: Storing,
        seen: Addr,
    },
}

impl Unsigned {
    pub(super) fn server(&self) -> Option<ServerId> {
        match self {
            Unsigned::Lookup(..) => None,
            Unsigned::Server { server, .. } => Some(*server),
        }
    }
}

#[derive(Debug)]
pub(super) enum What {
    FindPeer,
    Lookup,
    /// `clear`: also take back what older announcements of ours left.
    Announce {
        pair: KeyPair,
        relays: Vec<Addr>,
        clear: bool,
        bump: u64,
    },
    Unannounce {
        pair: KeyPair,
    },
    /// Only the walk: nodes.
    Nodes,
    /// One node: whether it answers.
    Ping,
    /// Whatever the program asks. See `plugins.rs`.
    Asked,
    Value(Wanted),
    /// A walk, then this command to the closest. See `values.rs`.
    Store {
        command: u64,
        value: Vec<u8>,
    },
}

impl Lookup {
    pub(super) fn new(topic: Key, what: What) -> Lookup {
        Lookup {
            topic,
            what,
            seen: BTreeSet::new(),
            pending: 0,
            announcements: Vec::new(),
            storing: Vec::new(),
            walked: false,
            heard: false,
            taken: 0,
            refused: None,
        }
    }
}

impl HyperDht {
    /// Which nodes forward handshakes for `key`: `Event::Peer` with the node in `from`, then `LookupDone`.
    /// (hyperdht.90)
    pub fn find_peer(&mut self, _: &mut Cx<'_>, key: Key) -> LookupId {
        self.start_lookup(target(&key), What::FindPeer, Vec::new(), false)
    }

    /// Who is announced under `topic`: `Event::Peer` for each, then `LookupDone`. hyperdht.91
    pub fn lookup(&mut self, cx: &mut Cx<'_>, topic: Key) -> LookupId {
        self.lookup_from(cx, topic, Vec::new())
    }

    /// The same, beginning with nodes of an earlier `Event::Closest`.
    pub fn lookup_from(&mut self, _: &mut Cx<'_>, topic: Key, start: Vec<Addr>) -> LookupId {
        self.start_lookup(topic, What::Lookup, start, false)
    }

    /// Announces a key, and relays that know it, under `topic` at the nodes closest to it. Peers that are met on the
    /// way are reported; ends with `Announced`. With `clear` older announcements of the key are taken back where they
    /// are met. hyperdht.92
    pub fn announce(
        &mut self,
        cx: &mut Cx<'_>,
        topic: Key,
        key_pair: KeyPair,
        relays: Vec<Addr>,
        clear: bool,
    ) -> AnnounceId {
        self.announce_from(cx, topic, key_pair, relays, clear, Vec::new())
    }

    /// The same, beginning with nodes of an earlier `Event::Closest`.
    pub fn announce_from(
        &mut self,
        _: &mut Cx<'_>,
        topic: Key,
        key_pair: KeyPair,
        relays: Vec<Addr>,
        clear: bool,
        start: Vec<Addr>,
    ) -> AnnounceId {
        self.start_lookup(topic, What::Announce { pair: key_pair, relays, clear, bump: 0 }, start, false)
    }

    /// The same with a bump: milliseconds of Unix time, which those who look the topic up are told. hyperdht.47
    pub fn announce_bumped(
        &mut self,
        _: &mut Cx<'_>,
        topic: Key,
        key_pair: KeyPair,
        relays: Vec<Addr>,
        clear: bool,
        bump: u64,
    ) -> AnnounceId {
        self.start_lookup(topic, What::Announce { pair: key_pair, relays, clear, bump }, Vec::new(), false)
    }

    /// Takes the announcement of a key under `topic` back wherever it is met; ends with `Unannounced`. hyperdht.93
    pub fn unannounce(&mut self, _: &mut Cx<'_>, topic: Key, key_pair: KeyPair) -> AnnounceId {
        self.start_lookup(topic, What::Unannounce { pair: key_pair }, Vec::new(), false)
    }

    /// The same at these nodes alone.
    pub fn unannounce_at(
        &mut self,
        _: &mut Cx<'_>,
        topic: Key,
        key_pair: KeyPair,
        nodes: Vec<Addr>,
    ) -> AnnounceId {
        self.start_lookup(topic, What::Unannounce { pair: key_pair }, nodes, true)
    }

    /// As `unannounce`, beginning with `start`; peers that are met on the way are reported.
    pub fn lookup_and_unannounce(
        &mut self,
        _: &mut Cx<'_>,
        topic: Key,
        key_pair: KeyPair,
        start: Vec<Addr>,
    ) -> AnnounceId {
        self.start_lookup(topic, What::Unannounce { pair: key_pair }, start, false)
    }

    /// Ends a lookup or announcement at once, without a last event.
    pub fn cancel_lookup(&mut self, _: &mut Cx<'_>, lookup: LookupId) -> Result<(), Error> {
        self.lookups.remove(lookup).ok_or(Error::Gone)?;
        self.cancel(|purpose| match purpose {
            Purpose::Lookup(l) | Purpose::LookupWrite { lookup: l, .. } => *l == lookup,
            _ => false,
        });
        Ok(())
    }

    fn start_lookup(&mut self, topic: Key, what: What, start: Vec<Addr>, only_start: bool) -> LookupId {
        if let What::Unannounce { pair } | What::Announce { pair, clear: true, .. } = &what {
            let key = pair.public;
            self.forget_record(&topic, &key);
        }
        let asked = if matches!(what, What::FindPeer) { command::FIND_PEER } else { command::LOOKUP };
        self.walk(what, Query { start, only_start, ..Query::new(topic, asked, None) })
    }

    pub(super) fn walk(&mut self, what: What, query: Query) -> LookupId {
        let lookup = self.lookups.insert(Lookup::new(query.target, what));
        self.query(Purpose::Lookup(lookup), query);
        lookup
    }

    pub(super) fn lookup_reply(&mut self, id: LookupId, reply: &Reply) {
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        lookup.heard = true;
        if let What::Asked = lookup.what {
            return self.events.push_back(Event::Reply { lookup: id, reply: Box::new(reply.clone()) });
        }
        // pitfalls 3.15: an error of one node is not a result, and not the end.
        if reply.error != 0 {
            return;
        }
        let value = reply.value.as_deref();
        let peers = match lookup.what {
            What::Value(_) => return self.value_found(id, reply),
            What::Nodes | What::Ping | What::Asked | What::Store { .. } => return,
            What::FindPeer => {
                let named = value.and_then(|v| wire::decode::<Peer>(v).ok());
                // hyperdht.150
                named.into_iter().filter(|peer| target(&peer.key) == lookup.topic).collect()
            }
            What::Lookup | What::Announce { .. } | What::Unannounce { .. } => {
                value.and_then(|v| wire::decode::<LookupReply>(v).ok()).map_or_else(Vec::new, |l| l.peers)
            }
        };
        self.take_back(id, reply, &peers);
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        let nodes = matches!(lookup.what, What::FindPeer);
        for peer in peers {
            // pitfalls 5.8: every storing node names the same peer. For find_peer each node is a result.
            let new = lookup.seen.len() < limits::HYPERDHT_PEERS_FOUND && lookup.seen.insert(peer.key);
            if new || nodes {
                self.events.push_back(Event::Peer { lookup: id, peer, from: reply.from });
            }
        }
    }

    /// hyperdht.93
    fn take_back(&mut self, id: LookupId, reply: &Reply, peers: &[Peer]) {
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        let (What::Unannounce { pair } | What::Announce { pair, clear: true, .. }) = &lookup.what else {
            return;
        };
        let met = peers.len() >= FULL || peers.iter().any(|peer| peer.key == pair.public);
        let (true, Some(token), Some(node)) = (met, reply.token, reply.id) else { return };
        let value = signed_announce(command::UNANNOUNCE, pair, &lookup.topic, &node, &token, Vec::new());
        let ask = Ask {
            target: Some(lookup.topic),
            token: Some(token),
            value: Some(value),
            ..Ask::new(reply.from, command::UNANNOUNCE)
        };
        lookup.pending += 1;
        self.ask(Purpose::LookupWrite { lookup: id, announce: false }, ask);
    }

    /// The walk is over. Announce to those that are closest; but what is being taken back must be gone before.
    pub(super) fn lookup_walked(&mut self, id: LookupId, ok: bool, closest: &[Reply]) {
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        lookup.walked = true;
        lookup.heard |= ok;
        if !closest.is_empty() {
            let nodes = closest.iter().map(|reply| reply.from).collect();
            self.events.push_back(Event::Closest { lookup: id, nodes });
        }
        let mut asks = Vec::new();
        if let What::Announce { .. } = &lookup.what {
            let taking = closest.iter().filter(|reply| reply.error == 0);
            lookup.storing = taking.filter_map(Storing::of).collect();
        }
        if let What::Store { command, value } = &lookup.what {
            asks =
                closest.iter().filter_map(|reply| store_ask(lookup.topic, *command, value, reply)).collect();
        }
        if let What::Value(wanted) = &lookup.what
            && let Some(put) = wanted.refreshed()
        {
            let put = put.to_vec();
            let stored = |reply: &Reply| store_ask(lookup.topic, command::MUTABLE_PUT, &put, reply);
            asks = closest.iter().filter_map(stored).collect();
        }
        lookup.announcements = asks;
        self.lookup_ended(id);
    }

    pub(super) fn lookup_written(&mut self, id: LookupId, announce: bool, result: Result<Reply, ()>) {
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        lookup.pending -= 1;
        lookup.heard |= result.is_ok();
        if let (What::Ping, Ok(reply)) = (&lookup.what, &result) {
            self.events.push_back(Event::Pinged { lookup: id, from: reply.from, seen: reply.to });
        }
        if let (What::Asked, Ok(reply)) = (&lookup.what, &result) {
            self.events.push_back(Event::Reply { lookup: id, reply: Box::new(reply.clone()) });
        }
        let error = result.ok().map(|reply| reply.error);
        if announce && error == Some(0) {
            lookup.taken += 1;
        } else if announce {
            lookup.refused = lookup.refused.max(error.and_then(StoreError::of)); // hyperdht.117
        }
        self.lookup_ended(id);
    }

    fn lookup_ended(&mut self, id: LookupId) {
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        if lookup.pending > 0 || !lookup.walked {
            return;
        }
        let asks = core::mem::take(&mut lookup.announcements);
        if !asks.is_empty() {
            lookup.pending = asks.len();
            for ask in asks {
                self.ask(Purpose::LookupWrite { lookup: id, announce: true }, ask);
            }
            return;
        }
        let storing = core::mem::take(&mut lookup.storing);
        if !storing.is_empty() {
            lookup.pending = storing.len();
            self.unsigned.extend(storing.into_iter().map(|storing| Unsigned::Lookup(id, storing)));
            return;
        }
        let event = match lookup.what {
            What::FindPeer | What::Lookup | What::Nodes | What::Ping | What::Asked | What::Value(_) => {
                Event::LookupDone { lookup: id, ok: lookup.heard }
            }
            What::Store { .. } => Event::Stored { lookup: id, nodes: lookup.taken, refused: lookup.refused },
            // pitfalls 5.1: an announcement that nobody took is none.
            What::Announce { .. } => Event::Announced { announce: id, ok: lookup.taken > 0 },
            What::Unannounce { .. } => Event::Unannounced { announce: id, ok: lookup.heard },
        };
        self.lookups.remove(id);
        self.events.push_back(event);
    }

    /// Signs the next announcement and asks its node to keep it. False: there is none.
    pub(super) fn sign_next(&mut self) -> bool {
        while let Some(unsigned) = take_first(&mut self.unsigned) {
            let (id, Storing { node, id: node_id, token }) = match unsigned {
                Unsigned::Lookup(id, storing) => (id, storing),
                Unsigned::Server { server, storing, seen } => {
                    let Some((purpose, ask)) = self.signed_for(server, &storing, seen) else { continue };
                    self.ask(purpose, ask);
                    return true;
                }
            };
            let Some(lookup) = self.lookups.get(id) else { continue }; // it was cancelled
            let What::Announce { pair, relays, bump, .. } = &lookup.what else { continue };
            let (topic, relays) = (lookup.topic, relays.clone());
            let value = bumped_announce(command::ANNOUNCE, pair, &topic, &node_id, &token, relays, *bump);
            let ask = Ask {
                target: Some(topic),
                token: Some(token),
                value: Some(value),
                ..Ask::new(node, command::ANNOUNCE)
            };
            self.ask(Purpose::LookupWrite { lookup: id, announce: true }, ask);
            return true;
        }
        false
    }
}
