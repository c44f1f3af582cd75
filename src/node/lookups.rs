//! What a program can ask the DHT itself. Each question ends with `Event::LookupDone`.

use super::net::Net;
use super::{FindMutable, KeyPair, LookupId, Node, PingOptions};
use crate::base::hex::Short;
use crate::base::{Addr, Error, Key, trace};
use crate::dht_rpc::Stats;

impl Net<'_> {
    /// Who is announced under `topic`: `Event::Found` for each peer.
    pub fn lookup(&mut self, topic: Key) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "look topic {} up", Short(&topic));
        let lookup = node.dht.lookup(cx, topic);
        self.asked(lookup)
    }

    /// Announces a key, and nodes through which it can be reached, under `topic`.
    pub fn announce(&mut self, topic: Key, key_pair: &KeyPair, relays: Vec<Addr>) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "announce under topic {}", Short(&topic));
        let lookup = node.dht.announce(cx, topic, key_pair.clone(), relays, false);
        self.asked(lookup)
    }

    /// As `announce`, with options: `clear` takes back what older announcements of the key left; `bump`, in
    /// milliseconds
    /// of Unix time, is told to those who look the topic up (hyperdht.47). Peers that are met are told: `Event::Found`.
    pub fn announce_with(
        &mut self,
        topic: Key,
        key_pair: &KeyPair,
        relays: Vec<Addr>,
        clear: bool,
        bump: u64,
    ) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "announce under topic {}, clear: {clear}, bump {bump}", Short(&topic));
        let lookup = node.dht.announce_bumped(cx, topic, key_pair.clone(), relays, clear, bump);
        self.asked(lookup)
    }

    /// Takes an announcement back, and tells who else is announced there: `Event::Found`.
    pub fn lookup_and_unannounce(&mut self, topic: Key, key_pair: &KeyPair) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "take back what is announced under topic {}, and look", Short(&topic));
        let lookup = node.dht.lookup_and_unannounce(cx, topic, key_pair.clone(), Vec::new());
        self.asked(lookup)
    }

    /// Ends a question early: nothing more is told of it. `Gone`: it has ended.
    pub fn cancel(&mut self, lookup: LookupId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        if !node.lookups.remove(&lookup) {
            return Err(Error::Gone);
        }
        trace!(cx, Call, "node", id: lookup, "cancel");
        let ended = node.dht.cancel_lookup(cx, lookup);
        node.settle(cx);
        ended
    }

    /// Takes an announcement back.
    pub fn unannounce(&mut self, topic: Key, key_pair: &KeyPair) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "take back what is announced under topic {}", Short(&topic));
        let lookup = node.dht.unannounce(cx, topic, key_pair.clone());
        self.asked(lookup)
    }

    /// Walks to the nodes closest to `target`.
    pub fn find_nodes(&mut self, target: Key) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "find nodes around {}", Short(&target));
        let lookup = node.dht.find_nodes(cx, target);
        self.asked(lookup)
    }

    /// Which nodes pass handshakes on to the server of `key`: `Event::Found` for each.
    pub fn find_peer(&mut self, key: Key) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", peer: Short(&key), "find its nodes");
        let lookup = node.dht.find_peer(cx, key);
        self.asked(lookup)
    }

    /// Asks one node whether it is there, and how it sees us: `Event::Pinged` if it answers.
    pub fn ping(&mut self, node_addr: Addr) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "ping {node_addr}");
        let lookup = node.dht.ping(cx, node_addr);
        self.asked(lookup)
    }

    /// As `ping`, with a body, a hop limit, or an answer that comes later.
    pub fn ping_with(&mut self, node_addr: Addr, how: PingOptions) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "ping {node_addr}, {how:?}");
        let lookup = node.dht.ping_with(cx, node_addr, how);
        self.asked(lookup)
    }

    /// Has the network keep a value under its hash. `Invalid` if it is too long.
    pub fn store_immutable(&mut self, value: &[u8]) -> Result<LookupId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "store a value of {} bytes", value.len());
        let lookup = node.dht.store_immutable(cx, value)?;
        Ok(self.asked(lookup))
    }

    /// Looks for the value with this hash: `Event::Value` if somebody has it.
    pub fn find_immutable(&mut self, hash: Key) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "find the value with hash {}", Short(&hash));
        let lookup = node.dht.find_immutable(cx, hash);
        self.asked(lookup)
    }

    /// Has the network keep a value under our key; one with a higher `seq` replaces it. `Invalid` if it is too long.
    pub fn store_mutable(&mut self, key_pair: &KeyPair, seq: u64, value: &[u8]) -> Result<LookupId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "store value {seq} of {} bytes", value.len());
        let lookup = node.dht.store_mutable(cx, key_pair, seq, value)?;
        Ok(self.asked(lookup))
    }

    /// As `store_mutable`, of a value that was signed elsewhere: `signature` is of `mutable_signable(seq, value)`.
    /// `Invalid` too if it is not that of `key`.
    pub fn store_signed(
        &mut self,
        key: Key,
        seq: u64,
        value: &[u8],
        signature: [u8; 64],
    ) -> Result<LookupId, Error> {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "store value {seq} of {}, {} bytes", Short(&key), value.len());
        let lookup = node.dht.store_signed(cx, key, seq, value, signature)?;
        Ok(self.asked(lookup))
    }

    /// Looks for the value of `key`, number `seq` or higher: `Event::Value` for each that is newer than those before.
    pub fn find_mutable(&mut self, key: Key, seq: u64) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "find the value of {} from {seq} on", Short(&key));
        let lookup = node.dht.find_mutable(cx, key, seq);
        self.asked(lookup)
    }

    /// As `find_mutable`, with options: the first that is met instead of the newest, or what is found stored again at
    /// the closest nodes. (hyperdht.118)
    pub fn find_mutable_with(&mut self, key: Key, how: FindMutable) -> LookupId {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "find the value of {} from {} on", Short(&key), how.seq);
        let lookup = node.dht.find_mutable_with(cx, key, how);
        self.asked(lookup)
    }

    /// Puts a node into the routing table, unasked.
    pub fn add_node(&mut self, addr: Addr) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", peer: addr, "add it to the table");
        node.rpc.add_node(addr);
        node.settle(cx);
    }

    /// Walks towards a random node, to meet others; it is done by itself every five minutes.
    pub fn refresh_table(&mut self) {
        let (node, cx) = self.parts();
        trace!(cx, Call, "node", "refresh the table");
        node.rpc.refresh_table(cx);
        node.settle(cx);
    }

    /// Counts of requests since the node started.
    pub fn dht_stats(&self) -> Stats {
        self.node().dht_stats()
    }

    /// Nodes in the routing table.
    pub fn nodes_known(&self) -> usize {
        self.node().rpc.node_count()
    }

    pub(super) fn asked(&mut self, lookup: LookupId) -> LookupId {
        let (node, cx) = self.parts();
        node.lookups.insert(lookup);
        node.settle(cx);
        lookup
    }
}

impl Node {
    /// Counts of requests since it started.
    pub fn dht_stats(&self) -> Stats {
        self.rpc.stats()
    }
}
