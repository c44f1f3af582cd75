//! Formats of hyperdht: what travels as the value of its dht_rpc commands, inside its Noise handshake and inside its
//! encrypted holepunch payloads. Numbers and modes are as in the note (hyperdht.1 to hyperdht.9).

use super::{Cursor, Format, Wire, decode, format};
use crate::base::{Addr, Key, Malformed, hex, limits};

pub const FORMATS: &[Format] = &[
    format::<Handshake>(),
    format::<Holepunch>(),
    format::<NoisePayload>(),
    format::<HolepunchPayload>(),
    format::<Peer>(),
    format::<LookupReply>(),
    format::<Announce>(),
    format::<MutableGet>(),
    format::<MutableSignable>(),
    format::<MutablePut>(),
    format::<Mutable>(),
    format::<PluginRequest>(),
    format::<Address>(),
    format::<Probe>(),
    format::<Sealed>(),
];

/// dht_rpc commands of hyperdht (not internal ones). hyperdht.1
pub mod command {
    pub const PEER_HANDSHAKE: u64 = 0;
    pub const PEER_HOLEPUNCH: u64 = 1;
    pub const FIND_PEER: u64 = 2;
    pub const LOOKUP: u64 = 3;
    pub const ANNOUNCE: u64 = 4;
    pub const UNANNOUNCE: u64 = 5;
    pub const MUTABLE_PUT: u64 = 6;
    pub const MUTABLE_GET: u64 = 7;
    pub const IMMUTABLE_PUT: u64 = 8;
    pub const IMMUTABLE_GET: u64 = 9;
    pub const PLUGIN: u64 = 10;
}

/// On which leg of its way a handshake or holepunch message is. hyperdht.2
pub mod mode {
    pub const FROM_CLIENT: u64 = 0;
    pub const FROM_SERVER: u64 = 1;
    pub const FROM_RELAY: u64 = 2;
    pub const FROM_SECOND_RELAY: u64 = 3;
    pub const REPLY: u64 = 4;
}

/// What a side says of the firewall or NAT before it. hyperdht.3
pub mod firewall {
    pub const UNKNOWN: u64 = 0;
    pub const OPEN: u64 = 1;
    pub const CONSISTENT: u64 = 2;
    pub const RANDOM: u64 = 3;
}

/// Errors in payloads (the first four) and in the error field of storage replies. hyperdht.3
pub mod error {
    pub const NONE: u64 = 0;
    pub const ABORTED: u64 = 1;
    pub const VERSION_MISMATCH: u64 = 2;
    pub const TRY_LATER: u64 = 3;
    pub const SEQ_REUSED: u64 = 16;
    pub const SEQ_TOO_LOW: u64 = 17;
}

fn addresses(c: &mut Cursor<'_>, field: &'static str, list: &mut Vec<Addr>) -> Result<(), Malformed> {
    c.list(field, list, limits::ARRAY_MAX, 6, |c, v| c.addr("address", v))
}

/// The value of PEER_HANDSHAKE, in requests, relayed requests and replies. hyperdht.4
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Handshake {
    pub mode: u64,
    pub noise: Vec<u8>,
    pub peer: Option<Addr>,
    pub relay: Option<Addr>,
}

impl Wire for Handshake {
    const NAME: &'static str = "hyperdht.handshake";
    const RULE: &'static str = "hyperdht.4";
    const RULES: &'static [(&'static str, &'static str)] = &[("mode", "hyperdht.2")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let [peer, relay] = c.bits("flags", [self.peer.is_some(), self.relay.is_some()])?;
        c.uint("mode", &mut self.mode)?;
        c.buffer("noise", &mut self.noise, limits::NOISE_MAX)?;
        c.when(peer, &mut self.peer, |c, v| c.addr("peer address", v))?;
        c.when(relay, &mut self.relay, |c, v| c.addr("relay address", v))
    }
}

/// The value of PEER_HOLEPUNCH. hyperdht.5
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Holepunch {
    pub mode: u64,
    pub id: u64,
    pub payload: Vec<u8>,
    pub peer: Option<Addr>,
}

impl Wire for Holepunch {
    const NAME: &'static str = "hyperdht.holepunch";
    const RULE: &'static str = "hyperdht.5";
    const RULES: &'static [(&'static str, &'static str)] =
        &[("mode", "hyperdht.2"), ("payload", "hyperdht.33")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let [peer] = c.bits("flags", [self.peer.is_some()])?;
        c.uint("mode", &mut self.mode)?;
        c.uint("id", &mut self.id)?;
        c.buffer("payload", &mut self.payload, limits::NOISE_MAX)?;
        c.when(peer, &mut self.peer, |c, v| c.addr("peer address", v))
    }
}

/// A node that relays for a server, and the server's address as that node sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RelayInfo {
    pub relay: Addr,
    pub peer: Addr,
}

/// A server's slot for holepunching and where its rounds can be relayed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HolepunchInfo {
    pub id: u64,
    pub relays: Vec<RelayInfo>,
}

/// The sender's UDX stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdxInfo {
    pub version: u64,
    pub reusable_socket: bool,
    pub id: u32,
    pub seq: u64,
}

impl Default for UdxInfo {
    fn default() -> Self {
        UdxInfo { version: 1, reusable_socket: false, id: 0, seq: 0 }
    }
}

/// A blind relay that the sender wants to be used as well.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RelayThrough {
    pub version: u64,
    pub flags: u64,
    pub key: Key,
    pub token: Key,
}

/// An IPv6 address as the payload carries it; read and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Addr6 {
    pub ip: [u8; 16],
    pub port: u16,
}

/// What both sides say inside the Noise IK handshake. Of another version only the version is read. hyperdht.6
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoisePayload {
    pub version: u64,
    pub error: u64,
    pub firewall: u64,
    pub holepunch: Option<HolepunchInfo>,
    pub addresses4: Vec<Addr>,
    pub addresses6: Vec<Addr6>,
    pub udx: Option<UdxInfo>,
    /// The version of the secret stream.
    pub secret_stream: Option<u64>,
    pub relay_through: Option<RelayThrough>,
    pub relay_addresses: Option<Vec<Addr>>,
}

impl Default for NoisePayload {
    fn default() -> Self {
        NoisePayload {
            version: 1,
            error: error::NONE,
            firewall: firewall::UNKNOWN,
            holepunch: None,
            addresses4: Vec::new(),
            addresses6: Vec::new(),
            udx: None,
            secret_stream: None,
            relay_through: None,
            relay_addresses: None,
        }
    }
}

impl Wire for NoisePayload {
    const NAME: &'static str = "hyperdht.noise_payload";
    const RULE: &'static str = "hyperdht.6";
    const RULES: &'static [(&'static str, &'static str)] =
        &[("error", "hyperdht.3"), ("firewall", "hyperdht.3")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let ours = self.version;
        c.uint("version", &mut self.version)?;
        if !c.reading() {
            self.version = ours;
        }
        if self.version != 1 {
            return Ok(());
        }
        let flags = [
            self.holepunch.is_some(),
            !self.addresses4.is_empty(),
            !self.addresses6.is_empty(),
            self.udx.is_some(),
            self.secret_stream.is_some(),
            self.relay_through.is_some(),
            self.relay_addresses.is_some(),
        ];
        let [holepunch, four, six, udx, secret, through, relays] = c.bits("flags", flags)?;
        c.uint("error", &mut self.error)?;
        c.uint("firewall", &mut self.firewall)?;
        c.when(holepunch, &mut self.holepunch, walk_holepunch_info)?;
        if four {
            addresses(c, "addresses4", &mut self.addresses4)?;
        }
        if six {
            c.list("addresses6", &mut self.addresses6, limits::ARRAY_MAX, 18, |c, v| {
                c.fixed("host6", &mut v.ip)?;
                c.u16("port6", &mut v.port)
            })?;
        }
        c.when(udx, &mut self.udx, walk_udx_info)?;
        c.when(secret, &mut self.secret_stream, |c, v| c.uint("secret stream version", v))?;
        c.when(through, &mut self.relay_through, |c, v| {
            c.uint("relay through version", &mut v.version)?;
            c.uint("relay through flags", &mut v.flags)?;
            c.fixed("relay through key", &mut v.key)?;
            c.fixed("relay through token", &mut v.token)
        })?;
        c.when(relays, &mut self.relay_addresses, |c, v| addresses(c, "relay addresses", v))
    }
}

fn walk_holepunch_info(c: &mut Cursor<'_>, v: &mut HolepunchInfo) -> Result<(), Malformed> {
    c.uint("holepunch id", &mut v.id)?;
    c.list("relays", &mut v.relays, limits::ARRAY_MAX, 12, |c, v| {
        c.addr("relay", &mut v.relay)?;
        c.addr("server at relay", &mut v.peer)
    })
}

fn walk_udx_info(c: &mut Cursor<'_>, v: &mut UdxInfo) -> Result<(), Malformed> {
    c.uint("udx version", &mut v.version)?;
    [v.reusable_socket] = c.bits("udx features", [v.reusable_socket])?;
    c.uint32("stream id", &mut v.id)?;
    c.uint("stream seq", &mut v.seq)
}

/// What both sides say in a holepunch round, before encryption. hyperdht.7
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HolepunchPayload {
    pub error: u64,
    pub firewall: u64,
    pub round: u64,
    pub connected: bool,
    pub punching: bool,
    pub addresses: Option<Vec<Addr>>,
    pub remote_address: Option<Addr>,
    pub token: Option<Key>,
    pub remote_token: Option<Key>,
}

impl Wire for HolepunchPayload {
    const NAME: &'static str = "hyperdht.holepunch_payload";
    const RULE: &'static str = "hyperdht.7";
    const RULES: &'static [(&'static str, &'static str)] =
        &[("error", "hyperdht.3"), ("firewall", "hyperdht.3"), ("token", "hyperdht.34")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let flags = [
            self.connected,
            self.punching,
            self.addresses.is_some(),
            self.remote_address.is_some(),
            self.token.is_some(),
            self.remote_token.is_some(),
        ];
        let [connected, punching, list, remote, token, remote_token] = c.bits("flags", flags)?;
        (self.connected, self.punching) = (connected, punching);
        c.uint("error", &mut self.error)?;
        c.uint("firewall", &mut self.firewall)?;
        c.uint("round", &mut self.round)?;
        c.when(list, &mut self.addresses, |c, v| addresses(c, "addresses", v))?;
        c.when(remote, &mut self.remote_address, |c, v| c.addr("remote address", v))?;
        c.when(token, &mut self.token, |c, v| c.fixed("token", v))?;
        c.when(remote_token, &mut self.remote_token, |c, v| c.fixed("remote token", v))
    }
}

/// A holepunch payload as it travels: a secretbox behind its nonce. hyperdht.33
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sealed {
    pub nonce: [u8; 24],
    pub mac: [u8; 16],
    pub sealed: Vec<u8>,
}

impl Wire for Sealed {
    const NAME: &'static str = "hyperdht.sealed";
    const RULE: &'static str = "hyperdht.33";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("nonce", &mut self.nonce)?;
        c.fixed("mac", &mut self.mac)?;
        c.raw("sealed payload", &mut self.sealed, limits::NOISE_MAX)
    }
}

/// A datagram that opens a NAT, or tries whether one is open: one byte, 0 as sent, any as received. hyperdht.68
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Probe(pub u8);

impl Wire for Probe {
    const NAME: &'static str = "hyperdht.probe";
    const RULE: &'static str = "hyperdht.68";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u8("probe", &mut self.0)
    }
}

/// A record that a storage node keeps: a server's key and nodes that relay for it. hyperdht.8
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    pub key: Key,
    pub relays: Vec<Addr>,
}

impl Wire for Peer {
    const NAME: &'static str = "hyperdht.peer";
    const RULE: &'static str = "hyperdht.8";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("key", &mut self.key)?;
        addresses(c, "relays", &mut self.relays)
    }
}

/// The value of a LOOKUP reply: records one after the other, without a length before each. hyperdht.8
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LookupReply {
    pub peers: Vec<Peer>,
    /// 0 if absent, as old nodes leave it.
    pub bump: u64,
}

impl Wire for LookupReply {
    const NAME: &'static str = "hyperdht.lookup_reply";
    const RULE: &'static str = "hyperdht.8";
    const RULES: &'static [(&'static str, &'static str)] = &[("bump", "hyperdht.47")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.list("peers", &mut self.peers, limits::ARRAY_MAX, 33, |c, v| v.walk(c))?;
        if c.reading() && c.left() == 0 {
            return Ok(());
        }
        c.uint("bump", &mut self.bump)
    }
}

/// The value of ANNOUNCE and UNANNOUNCE. hyperdht.8
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Announce {
    pub peer: Option<Peer>,
    pub refresh: Option<Key>,
    pub signature: Option<Signature>,
    /// 0 is absent.
    pub bump: u64,
}

/// An ed25519 signature (a type of its own because `[u8; 64]` has no `Default`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature(pub [u8; 64]);

impl Default for Signature {
    fn default() -> Self {
        Signature([0; 64])
    }
}

impl Wire for Announce {
    const NAME: &'static str = "hyperdht.announce";
    const RULE: &'static str = "hyperdht.8";
    const RULES: &'static [(&'static str, &'static str)] =
        &[("refresh", "hyperdht.48"), ("signature", "hyperdht.50"), ("bump", "hyperdht.47")];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let flags = [self.peer.is_some(), self.refresh.is_some(), self.signature.is_some(), self.bump != 0];
        let [peer, refresh, signature, bump] = c.bits("flags", flags)?;
        c.when(peer, &mut self.peer, |c, v| v.walk(c))?;
        c.when(refresh, &mut self.refresh, |c, v| c.fixed("refresh", v))?;
        c.when(signature, &mut self.signature, |c, v| c.fixed("signature", &mut v.0))?;
        if bump { c.uint("bump", &mut self.bump) } else { Ok(()) }
    }
}

/// The value of MUTABLE_GET: the least seq that the asker wants. hyperdht.9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MutableGet {
    pub seq: u64,
}

impl Wire for MutableGet {
    const NAME: &'static str = "hyperdht.mutable_get";
    const RULE: &'static str = "hyperdht.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("seq", &mut self.seq)
    }
}

/// What the owner of a mutable value signs (its hash, that is). hyperdht.9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MutableSignable {
    pub seq: u64,
    pub value: Vec<u8>,
}

impl Wire for MutableSignable {
    const NAME: &'static str = "hyperdht.mutable_signable";
    const RULE: &'static str = "hyperdht.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("seq", &mut self.seq)?;
        c.buffer("value", &mut self.value, limits::DATAGRAM_MAX)
    }
}

/// The value of MUTABLE_PUT. hyperdht.9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MutablePut {
    pub key: Key,
    pub seq: u64,
    pub value: Vec<u8>,
    pub signature: Signature,
}

impl Wire for MutablePut {
    const NAME: &'static str = "hyperdht.mutable_put";
    const RULE: &'static str = "hyperdht.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("key", &mut self.key)?;
        c.uint("seq", &mut self.seq)?;
        c.buffer("value", &mut self.value, limits::DATAGRAM_MAX)?;
        c.fixed("signature", &mut self.signature.0)
    }
}

/// The value of a MUTABLE_GET reply. hyperdht.9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mutable {
    pub seq: u64,
    pub value: Vec<u8>,
    pub signature: Signature,
}

impl Wire for Mutable {
    const NAME: &'static str = "hyperdht.mutable";
    const RULE: &'static str = "hyperdht.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.uint("seq", &mut self.seq)?;
        c.buffer("value", &mut self.value, limits::DATAGRAM_MAX)?;
        c.fixed("signature", &mut self.signature.0)
    }
}

/// The value of PLUGIN. hyperdht.9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginRequest {
    pub plugin: String,
    pub version: u64,
    pub command: u64,
    pub value: Option<Vec<u8>>,
}

impl Wire for PluginRequest {
    const NAME: &'static str = "hyperdht.plugin_request";
    const RULE: &'static str = "hyperdht.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.string("plugin", &mut self.plugin, limits::DATAGRAM_MAX)?;
        c.uint("version", &mut self.version)?;
        c.uint("command", &mut self.command)?;
        let [value] = c.bits("flags", [self.value.is_some()])?;
        c.when(value, &mut self.value, |c, v| c.buffer("value", v, limits::DATAGRAM_MAX))
    }
}

/// A key together with nodes that know it, as people hand it around. A bare key is legal too. hyperdht.9
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Address {
    pub key: Key,
    pub nodes: Option<Vec<Addr>>,
}

impl Address {
    /// A key as text, or the whole blob in hex. hyperdht.120
    pub fn from_text(text: &str) -> Option<Address> {
        if let Some(key) = hex::key_from_text(text) {
            return Some(Address { key, nodes: None });
        }
        decode(&hex::decode(text.trim())?).ok()
    }
}

impl Wire for Address {
    const NAME: &'static str = "hyperdht.address";
    const RULE: &'static str = "hyperdht.9";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("key", &mut self.key)?;
        if c.reading() && c.left() == 0 {
            return Ok(());
        }
        let [nodes] = c.bits("flags", [self.nodes.is_some()])?;
        c.when(nodes, &mut self.nodes, |c, v| addresses(c, "nodes", v))
    }
}
