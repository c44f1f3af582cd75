//! Asking nodes, and small values that the network keeps for anybody: the client's side. What a node keeps for others
//! is in `records.rs`. Follows hyperdht.94 and hyperdht.95. Read `lookup.rs` first.

use super::lookup::{Lookup, What};
use super::records::mutable_signable;
use super::*;
use crate::crypto::sign;
use crate::wire::dht_rpc as rpc;
use crate::wire::hyperdht::{Mutable, MutableGet, MutablePut, Signature, command};

/// A value that is looked for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// It is what the hash says.
    Immutable,
    /// It is signed by this key, and its number is at least this.
    Mutable {
        key: Key,
        seq: u64,
        how: FindMutable,
        /// What a node answered with the highest number so far, as it would be stored.
        newest: Option<Vec<u8>>,
    },
}

impl Wanted {
    /// What is to be stored again at the nodes that are closest. hyperdht.118
    pub(super) fn refreshed(&self) -> Option<&[u8]> {
        match self {
            Wanted::Mutable { how: FindMutable { refresh: true, .. }, newest, .. } => newest.as_deref(),
            Wanted::Mutable { .. } | Wanted::Immutable => None,
        }
    }
}

/// How to ping.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PingOptions {
    /// When the node shall answer; `None`: at once.
    pub delay: Option<Span>,
    /// Bytes of its value, all zero. Not with a delay.
    pub size: usize,
    /// The hop limit of the datagram; `None`: the system's.
    pub ttl: Option<u8>,
}

/// How to look for a mutable value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FindMutable {
    /// The least number that is wanted.
    pub seq: u64,
    /// The highest number of all nodes near it; else the first value that is met ends the search.
    pub latest: bool,
    /// What is found is stored again at the closest nodes. hyperdht.118
    pub refresh: bool,
}

impl Default for FindMutable {
    fn default() -> FindMutable {
        FindMutable { seq: 0, latest: true, refresh: false }
    }
}

impl HyperDht {
    /// Walks to the nodes closest to `target`; ends with `LookupDone`.
    pub fn find_nodes(&mut self, _: &mut Cx<'_>, target: Key) -> LookupId {
        let query = Query { internal: true, ..Query::new(target, rpc::FIND_NODE, None) };
        self.walk(What::Nodes, query)
    }

    /// Asks one node whether it is there; ends with `LookupDone`.
    pub fn ping(&mut self, cx: &mut Cx<'_>, node: Addr) -> LookupId {
        self.ping_with(cx, node, PingOptions::default())
    }

    /// The same: with a body, a hop limit, or to be answered later. A node answers nothing at all if it shall wait for
    /// longer than ten seconds. dht_rpc.17, dht_rpc.18
    pub fn ping_with(&mut self, _: &mut Cx<'_>, node: Addr, how: PingOptions) -> LookupId {
        let mut lookup = Lookup::new(Key::default(), What::Ping);
        (lookup.pending, lookup.walked) = (1, true);
        let lookup = self.lookups.insert(lookup);
        let ask = match how.delay {
            Some(delay) => {
                let millis = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
                let value = Some(wire::encode(&rpc::DelayValue(millis)));
                Ask { value, ..Ask::internal(node, rpc::DELAYED_PING) }
            }
            None => {
                let size = how.size.min(limits::DHT_VALUE_MAX);
                Ask { value: (size > 0).then(|| vec![0; size]), ..Ask::internal(node, rpc::PING) }
            }
        };
        self.ask(Purpose::LookupWrite { lookup, announce: false }, Ask { ttl: how.ttl, ..ask });
        lookup
    }

    /// Looks for the value with this hash: `Event::Value` if a node has it, then `LookupDone`. hyperdht.94
    pub fn find_immutable(&mut self, _: &mut Cx<'_>, hash: Key) -> LookupId {
        self.walk(What::Value(Wanted::Immutable), Query::new(hash, command::IMMUTABLE_GET, None))
    }

    /// Looks for the value that `key` signed, with a number of at least `seq`: `Event::Value` for the first and for
    /// each that is newer than those before, then `LookupDone`. hyperdht.95
    pub fn find_mutable(&mut self, cx: &mut Cx<'_>, key: Key, seq: u64) -> LookupId {
        self.find_mutable_with(cx, key, FindMutable { seq, ..FindMutable::default() })
    }

    /// As `find_mutable`, with options. hyperdht.95, hyperdht.118
    pub fn find_mutable_with(&mut self, _: &mut Cx<'_>, key: Key, how: FindMutable) -> LookupId {
        let seq = how.seq;
        let value = wire::encode(&MutableGet { seq });
        let query = Query::new(target(&key), command::MUTABLE_GET, Some(value));
        self.walk(What::Value(Wanted::Mutable { key, seq, how, newest: None }), query)
    }

    /// Has the network keep a value, under its hash (`target_of_value`); ends with `Event::Stored`. `Invalid` if it is
    /// longer than any node takes. hyperdht.94
    pub fn store_immutable(&mut self, _: &mut Cx<'_>, value: &[u8]) -> Result<LookupId, crate::Error> {
        check_length(value)?;
        let query = Query::new(hash::blake2b_256(&[value]), command::IMMUTABLE_GET, None);
        Ok(self.walk(What::Store { command: command::IMMUTABLE_PUT, value: value.to_vec() }, query))
    }

    /// Has the network keep a value under our key; one with a higher `seq` replaces it. Ends with `Event::Stored`.
    /// `Invalid` if it is longer than any node takes. hyperdht.95
    pub fn store_mutable(
        &mut self,
        _: &mut Cx<'_>,
        pair: &KeyPair,
        seq: u64,
        value: &[u8],
    ) -> Result<LookupId, crate::Error> {
        check_length(value)?;
        let signature = pair.sign(&mutable_signable(seq, value));
        Ok(self.put_mutable_at_closest(pair.public, seq, value, signature))
    }

    /// The same for a value that was signed elsewhere: its signature is of `mutable_signable`. `Invalid` too if it is
    /// not that of `key`. hyperdht.95
    pub fn store_signed(
        &mut self,
        _: &mut Cx<'_>,
        key: Key,
        seq: u64,
        value: &[u8],
        signature: [u8; 64],
    ) -> Result<LookupId, crate::Error> {
        check_length(value)?;
        if !sign::verify(&key, &mutable_signable(seq, value), &signature) {
            return Err(crate::Error::Invalid("a signature that is not of that key"));
        }
        Ok(self.put_mutable_at_closest(key, seq, value, signature))
    }

    fn put_mutable_at_closest(&mut self, key: Key, seq: u64, value: &[u8], signature: [u8; 64]) -> LookupId {
        let put = MutablePut { key, seq, value: value.to_vec(), signature: Signature(signature) };
        let asked = wire::encode(&MutableGet { seq: 0 });
        let query = Query::new(target(&key), command::MUTABLE_GET, Some(asked));
        self.walk(What::Store { command: command::MUTABLE_PUT, value: wire::encode(&put) }, query)
    }

    /// A node answered with what may be the value.
    pub(super) fn value_found(&mut self, id: LookupId, reply: &Reply) {
        let Some(lookup) = self.lookups.get_mut(id) else { return };
        let (What::Value(wanted), Some(value)) = (&mut lookup.what, &reply.value) else { return };
        match wanted {
            Wanted::Immutable => {
                if hash::blake2b_256(&[value]) != lookup.topic {
                    return;
                }
                self.events.push_back(Event::Value { lookup: id, seq: 0, value: value.clone() });
                // Nobody can have another one.
                self.value_enough(id);
            }
            Wanted::Mutable { key, seq, how, newest } => {
                let Ok(Mutable { seq: found, value, signature }) = wire::decode(value) else { return };
                if found < *seq || !sign::verify(key, &mutable_signable(found, &value), &signature.0) {
                    return;
                }
                *seq = found.saturating_add(1);
                let how = *how;
                if how.refresh {
                    let put = MutablePut { key: *key, seq: found, value: value.clone(), signature };
                    *newest = Some(wire::encode(&put));
                }
                self.events.push_back(Event::Value { lookup: id, seq: found, value });
                // One that is to be stored again goes to the closest, which the walk has to find.
                if !how.latest && !how.refresh {
                    self.value_enough(id);
                }
            }
        }
    }

    /// The walk need not go on.
    fn value_enough(&mut self, id: LookupId) {
        self.lookups.remove(id);
        self.cancel(|purpose| matches!(purpose, Purpose::Lookup(l) if *l == id));
        self.events.push_back(Event::LookupDone { lookup: id, ok: true });
    }
}

fn check_length(value: &[u8]) -> Result<(), crate::Error> {
    let fits = value.len() <= limits::HYPERDHT_VALUE_MAX;
    if fits { Ok(()) } else { Err(crate::Error::Invalid("a value that no node would keep")) }
}

/// What a node near the target is asked after the walk, if it gave a token.
pub(super) fn store_ask(target: Key, command: u64, value: &[u8], reply: &Reply) -> Option<Ask> {
    let (token, value) = (Some(reply.token?), Some(value.to_vec()));
    Some(Ask { target: Some(target), token, value, ..Ask::new(reply.from, command) })
}
