//! What a persistent node keeps for others: who serves a topic, whom to forward handshakes to, signed and hashed
//! values. Follows hyperdht.40 to hyperdht.49.

use super::*;
use crate::base::Cx;
use crate::crypto::sign;
use crate::wire::hyperdht::{
    Announce, LookupReply, Mutable, MutableGet, MutablePut, MutableSignable, command, error,
};

use super::cache::Records;

/// An entry that is not used lives one to two of these: 20 minutes on average.
const RECORDS_TURN: Span = Span::from_secs(800);
/// The same for values: 48 hours.
const VALUES_TURN: Span = Span::from_secs(115_200);

/// How much is kept, and how long. hyperdht.116
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub records: usize,
    pub values: usize,
    pub relay_addresses: usize,
    pub records_turn: Span,
    pub values_turn: Span,
}

impl Sizes {
    pub fn new(config: &Config) -> Sizes {
        let records = config.max_size.unwrap_or(limits::HYPERDHT_RECORDS).clamp(2, limits::HYPERDHT_RECORDS);
        // hyperdht.40: two thirds of the age, whole milliseconds.
        let turn = config
            .max_age
            .map(|age| Span::from_millis((age.as_millis().saturating_mul(2)).div_ceil(3).max(1)));
        Sizes {
            records,
            values: (records / 2).min(limits::HYPERDHT_VALUES),
            relay_addresses: records.min(limits::HYPERDHT_RELAY_ADDRESSES),
            records_turn: turn.unwrap_or(RECORDS_TURN),
            values_turn: turn.unwrap_or(VALUES_TURN),
        }
    }
}

/// A bump may be ahead of our clock by so many milliseconds.
const BUMP_AHEAD_MILLIS: u64 = 60_000;
const RECORDS_PER_REPLY: usize = 20;
const RELAYS_PER_RECORD: usize = 3;

/// A server that announced itself here: its record, and where its handshakes go.
#[derive(Clone, Debug)]
pub struct Forward {
    pub relay: Addr,
    pub record: Vec<u8>,
}

/// Who may prolong a record by the preimage of a hash instead of a signature.
#[derive(Clone, Debug)]
struct Refresh {
    target: Key,
    owner: Key,
    record: Vec<u8>,
    own: bool,
}

#[derive(Debug)]
pub struct Storage {
    records: Records,
    bumps: Cache<Key, u64>,
    refreshes: Cache<Key, Refresh>,
    mutables: Cache<Key, Vec<u8>>,
    immutables: Cache<Key, Vec<u8>>,
}

impl Storage {
    pub fn new(sizes: &Sizes) -> Storage {
        Storage {
            records: Records::new(sizes.records),
            bumps: Cache::new(sizes.records),
            refreshes: Cache::new(sizes.records),
            mutables: Cache::new(sizes.values),
            immutables: Cache::new(sizes.values),
        }
    }

    #[cfg(test)]
    pub fn holds_values(&self) -> bool {
        self.immutables.len() + self.mutables.len() > 0
    }

    pub fn rotate_records(&mut self) {
        self.records.rotate();
        self.bumps.rotate();
        self.refreshes.rotate();
    }

    pub fn rotate_values(&mut self) {
        self.mutables.rotate();
        self.immutables.rotate();
    }
}

/// To a writing command: taken.
fn taken() -> Option<Respond> {
    Some(Respond { token: false, closer: false, ..Respond::value(None) })
}

impl HyperDht {
    pub(super) fn serve_storage(&mut self, cx: &mut Cx<'_>, request: Request) {
        let unknown = Some(Respond::error(wire::dht_rpc::UNKNOWN_COMMAND));
        // hyperdht.43
        let (Some(id), true) = (self.status.id, self.storage.is_some()) else {
            return self.respond(request, unknown);
        };
        let Some(target) = request.target else {
            let respond = if request.command > command::IMMUTABLE_GET { unknown } else { None };
            return self.respond(request, respond);
        };
        let respond = match request.command {
            command::FIND_PEER => Some(Respond::value(self.known_peer(&target))),
            command::LOOKUP => Some(Respond::value(self.known_peers(cx, &target))),
            command::ANNOUNCE => self.take_announce(cx, &request, &target, &id),
            command::UNANNOUNCE => self.take_unannounce(&request, &target, &id),
            command::MUTABLE_PUT => self.put_mutable(&request, &target),
            command::MUTABLE_GET => self.get_mutable(&request, &target),
            command::IMMUTABLE_PUT => self.put_immutable(&request, &target),
            command::IMMUTABLE_GET => self.get_immutable(&target),
            _ => unknown,
        };
        self.respond(request, respond);
    }

    fn respond(&mut self, request: Request, respond: Option<Respond>) {
        match respond {
            Some(respond) => self.outputs.push_back(Output::Respond { request, respond }),
            None => self.malformed(),
        }
    }

    /// Only of servers that announced themselves here, and of our own. hyperdht.44
    fn known_peer(&mut self, target: &Key) -> Option<Vec<u8>> {
        if let Some(server) = self.by_target.get(target).and_then(|&id| self.servers.get(id)) {
            return Some(wire::encode(&Peer { key: server.key(), relays: Vec::new() }));
        }
        self.forwards.get(target).map(|forward| forward.record.clone())
    }

    /// hyperdht.45
    fn known_peers(&mut self, cx: &mut Cx<'_>, target: &Key) -> Option<Vec<u8>> {
        let own = self.known_peer(target);
        let storage = self.storage.as_mut()?;
        let records = storage.records.get(target, RECORDS_PER_REPLY, cx.entropy);
        let room = records.len() < RECORDS_PER_REPLY;
        let all = records.into_iter().chain(own.as_deref().filter(|_| room));
        let peers: Vec<Peer> = all.filter_map(|record| wire::decode(record).ok()).collect();
        if peers.is_empty() {
            return None;
        }
        let bump = storage.bumps.get(target).copied().unwrap_or(0);
        Some(wire::encode(&LookupReply { peers, bump }))
    }

    /// hyperdht.46
    fn take_announce(&mut self, cx: &Cx<'_>, request: &Request, target: &Key, id: &Key) -> Option<Respond> {
        let token = request.token?;
        let Announce { peer, refresh, signature, bump } = wire::decode(request.value.as_deref()?).ok()?;
        let Some(mut peer) = peer else { return self.take_refresh(request, &refresh?) };
        let signable = announce_signable(command::ANNOUNCE, target, id, &token, &peer, refresh.as_ref());
        if !sign::verify(&peer.key, &signable, &signature?.0) {
            return None;
        }
        // pitfalls 6.3: cut only after the signature was checked.
        peer.relays.truncate(RELAYS_PER_RECORD);
        let record = wire::encode(&peer);
        let own = super::target(&peer.key) == *target;
        let now = self.unix_millis(cx.now);
        let storage = self.storage.as_mut()?;
        if own {
            // pitfalls 6.5: handshakes for it go to where this announcement came from.
            storage.records.remove(target, &peer.key);
            self.forwards.set(*target, Forward { relay: request.from, record: record.clone() });
        } else {
            let known = storage.bumps.get(target).copied().unwrap_or(0);
            // hyperdht.47
            if bump > known && now.is_some_and(|now| bump <= now.saturating_add(BUMP_AHEAD_MILLIS)) {
                storage.bumps.set(*target, bump);
            }
            storage.records.add(*target, peer.key, record.clone());
        }
        if let Some(refresh) = refresh {
            storage.refreshes.set(refresh, Refresh { target: *target, owner: peer.key, record, own });
        }
        taken()
    }

    /// The preimage of a hash that a signed announcement carried prolongs it. hyperdht.48, pitfalls 6.17
    fn take_refresh(&mut self, request: &Request, preimage: &Key) -> Option<Respond> {
        let storage = self.storage.as_mut()?;
        let refresh = storage.refreshes.remove(&hash::blake2b_256(&[preimage]))?;
        let Refresh { target, owner, record, own } = refresh.clone();
        if own {
            storage.records.remove(&target, &owner);
            self.forwards.set(target, Forward { relay: request.from, record });
        } else {
            storage.records.add(target, owner, record);
        }
        storage.refreshes.set(*preimage, refresh);
        taken()
    }

    fn take_unannounce(&mut self, request: &Request, target: &Key, id: &Key) -> Option<Respond> {
        let token = request.token?;
        let Announce { peer, refresh, signature, .. } = wire::decode(request.value.as_deref()?).ok()?;
        let peer = peer?;
        let signable = announce_signable(command::UNANNOUNCE, target, id, &token, &peer, refresh.as_ref());
        if !sign::verify(&peer.key, &signable, &signature?.0) {
            return None;
        }
        self.forget_record(target, &peer.key);
        taken()
    }

    pub(super) fn forget_record(&mut self, target: &Key, key: &Key) {
        if super::target(key) == *target {
            self.forwards.remove(target);
        }
        if let Some(storage) = &mut self.storage {
            storage.records.remove(target, key);
        }
    }

    /// hyperdht.49
    fn put_mutable(&mut self, request: &Request, target: &Key) -> Option<Respond> {
        request.token?;
        let MutablePut { key, seq, value, signature } = wire::decode(request.value.as_deref()?).ok()?;
        if super::target(&key) != *target || value.len() > limits::HYPERDHT_VALUE_MAX {
            return None;
        }
        let storage = self.storage.as_mut()?;
        let held = storage.mutables.get(target).and_then(|held| wire::decode::<Mutable>(held).ok());
        // Whoever stores a value again stores these very bytes under this very key: they were checked when they came.
        let again = held
            .as_ref()
            .is_some_and(|held| (held.seq, &held.value, &held.signature) == (seq, &value, &signature));
        if !again && !sign::verify(&key, &mutable_signable(seq, &value), &signature.0) {
            return None;
        }
        if let Some(held) = held {
            if held.seq == seq && held.value != value {
                return Some(Respond::error(error::SEQ_REUSED));
            }
            if seq < held.seq {
                return Some(Respond::error(error::SEQ_TOO_LOW));
            }
        }
        storage.mutables.set(*target, wire::encode(&Mutable { seq, value, signature }));
        Some(Respond::value(None))
    }

    fn get_mutable(&mut self, request: &Request, target: &Key) -> Option<Respond> {
        let MutableGet { seq } = wire::decode(request.value.as_deref()?).ok()?;
        let held = self.storage.as_mut()?.mutables.get(target).cloned();
        let fresh = |held: &Vec<u8>| wire::decode::<Mutable>(held).is_ok_and(|held| held.seq >= seq);
        Some(Respond::value(held.filter(fresh)))
    }

    fn put_immutable(&mut self, request: &Request, target: &Key) -> Option<Respond> {
        request.token?;
        let value = request.value.as_deref()?;
        if value.len() > limits::HYPERDHT_VALUE_MAX || hash::blake2b_256(&[value]) != *target {
            return None;
        }
        self.storage.as_mut()?.immutables.set(*target, value.to_vec());
        Some(Respond::value(None))
    }

    fn get_immutable(&mut self, target: &Key) -> Option<Respond> {
        Some(Respond::value(self.storage.as_mut()?.immutables.get(target).cloned()))
    }
}

/// hyperdht.49
pub fn mutable_signable(seq: u64, value: &[u8]) -> [u8; 64] {
    let part = wire::encode(&MutableSignable { seq, value: value.to_vec() });
    let mut signable = [0; 64];
    signable[..32].copy_from_slice(&namespace(command::MUTABLE_PUT));
    signable[32..].copy_from_slice(&hash::blake2b_256(&[&part]));
    signable
}
