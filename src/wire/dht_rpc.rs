//! Formats of dht_rpc, and the values that `dht_rpc` and the layers above it exchange through the node.
//!
//! Formats follow dht_rpc.1 to dht_rpc.9. The values are plain data: what to ask, what was asked, what was answered.

use super::{Cursor, Format, Wire, format};
use crate::base::{Addr, Key, Malformed, SocketId, Span, limits};

/// First byte of a request: version 3, kind 0.
pub const REQUEST: u8 = 0x03;
/// First byte of a response: version 3, kind 1.
pub const RESPONSE: u8 = 0x13;

/// Internal command: answer with nothing but an empty reply.
pub const PING: u64 = 0;
/// Internal command: answer to the sender's host at the port in the value.
pub const PING_NAT: u64 = 1;
/// Internal command: answer with the nodes closest to the target.
pub const FIND_NODE: u64 = 2;
/// Internal command: a node that you referred to does not answer.
pub const DOWN_HINT: u64 = 3;
/// Internal command: answer after a delay.
pub const DELAYED_PING: u64 = 4;

/// The `error` of a reply that is not one.
pub const OK: u64 = 0;
/// The `error` of a reply to a command that the node does not know or does not serve.
pub const UNKNOWN_COMMAND: u64 = 1;
/// The `error` of a reply to a request with a token that is not (or no longer) valid. Carries a fresh token.
pub const INVALID_TOKEN: u64 = 2;

pub const FORMATS: &[Format] = &[
    format::<RequestMessage>(),
    format::<ResponseMessage>(),
    format::<AddressValue>(),
    format::<PortValue>(),
    format::<DelayValue>(),
];

/// A request as it is on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMessage {
    pub tid: u16,
    /// The receiver as the sender sees it.
    pub to: Addr,
    pub id: Option<Key>,
    pub token: Option<Key>,
    pub internal: bool,
    pub command: u64,
    pub target: Option<Key>,
    pub value: Option<Vec<u8>>,
}

/// Follows dht_rpc.6, dht_rpc.9.
impl Wire for RequestMessage {
    const NAME: &'static str = "dht_rpc.request";
    const RULE: &'static str = "dht_rpc.3";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("kind", "dht_rpc.1"),
        ("to", "dht_rpc.5"),
        ("id", "dht_rpc.10"),
        ("token", "dht_rpc.24"),
        ("value", "dht_rpc.9"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.exactly_u8("kind", REQUEST)?;
        let flags = [
            self.id.is_some(),
            self.token.is_some(),
            self.internal,
            self.target.is_some(),
            self.value.is_some(),
        ];
        let [id, token, internal, target, value] = c.bits("flags", flags)?;
        self.internal = internal;
        c.u16("tid", &mut self.tid)?;
        c.addr("to", &mut self.to)?;
        c.when(id, &mut self.id, |c, v| c.fixed("id", v))?;
        c.when(token, &mut self.token, |c, v| c.fixed("token", v))?;
        c.uint("command", &mut self.command)?;
        c.when(target, &mut self.target, |c, v| c.fixed("target", v))?;
        c.when(value, &mut self.value, |c, v| c.buffer("value", v, limits::DATAGRAM_MAX))
    }
}

/// A response as it is on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseMessage {
    pub tid: u16,
    /// The receiver as the sender sees it.
    pub to: Addr,
    pub id: Option<Key>,
    pub token: Option<Key>,
    pub closer: Vec<Addr>,
    pub error: u64,
    pub value: Option<Vec<u8>>,
}

impl Wire for ResponseMessage {
    const NAME: &'static str = "dht_rpc.response";
    const RULE: &'static str = "dht_rpc.4";
    const RULES: &'static [(&'static str, &'static str)] = &[
        ("kind", "dht_rpc.1"),
        ("to", "dht_rpc.5"),
        ("id", "dht_rpc.10"),
        ("token", "dht_rpc.20"),
        ("closer nodes", "dht_rpc.26"),
        ("value", "dht_rpc.9"),
    ];
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.exactly_u8("kind", RESPONSE)?;
        let flags = [
            self.id.is_some(),
            self.token.is_some(),
            !self.closer.is_empty(),
            self.error > 0,
            self.value.is_some(),
        ];
        let [id, token, closer, error, value] = c.bits("flags", flags)?;
        c.u16("tid", &mut self.tid)?;
        c.addr("to", &mut self.to)?;
        c.when(id, &mut self.id, |c, v| c.fixed("id", v))?;
        c.when(token, &mut self.token, |c, v| c.fixed("token", v))?;
        if closer {
            let max = limits::DATAGRAM_MAX / 6;
            c.list("closer nodes", &mut self.closer, max, 6, |c, v| c.addr("node", v))?;
        }
        if error {
            c.uint("error", &mut self.error)?;
        }
        c.when(value, &mut self.value, |c, v| c.buffer("value", v, limits::DATAGRAM_MAX))
    }
}

/// An address alone: the value of DOWN_HINT, and what a node's id is the hash of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressValue(pub Addr);

impl Wire for AddressValue {
    const NAME: &'static str = "dht_rpc.address";
    const RULE: &'static str = "dht_rpc.7";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.addr("node", &mut self.0)
    }
}

impl AddressValue {
    /// What `encode` gives, without a buffer: ids of nodes are hashes of it, and made out often.
    pub fn bytes(self) -> [u8; 6] {
        let Addr { ip: [a, b, c, d], port } = self.0;
        let [low, high] = port.to_le_bytes();
        [a, b, c, d, low, high]
    }
}

/// The value of PING_NAT: the port that the answer shall go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortValue(pub u16);

impl Wire for PortValue {
    const NAME: &'static str = "dht_rpc.port";
    const RULE: &'static str = "dht_rpc.7";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u16("port", &mut self.0)
    }
}

/// The value of DELAYED_PING: milliseconds until the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayValue(pub u32);

impl Wire for DelayValue {
    const NAME: &'static str = "dht_rpc.delay";
    const RULE: &'static str = "dht_rpc.7";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.u32("milliseconds", &mut self.0)
    }
}

/// A request to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub to: Addr,
    /// One of dht_rpc's own commands (`PING` and so on), not one of the layer above.
    pub internal: bool,
    pub command: u64,
    pub target: Option<Key>,
    /// Proof that an earlier reply from `to` reached us; writing commands want it.
    pub token: Option<Key>,
    pub value: Option<Vec<u8>>,
    /// The socket to send from; `None` is the node's current one.
    pub socket: Option<SocketId>,
    /// Hop limit of the datagrams; `None` is the system's.
    pub ttl: Option<u8>,
    /// How often it is sent at most, each time after a second without an answer. 1 is no retry.
    pub sends: u8,
}

impl Ask {
    /// A request of the layer above, sent up to four times.
    pub fn new(to: Addr, command: u64) -> Ask {
        Ask {
            to,
            internal: false,
            command,
            target: None,
            token: None,
            value: None,
            socket: None,
            ttl: None,
            sends: 4,
        }
    }

    /// One of dht_rpc's own requests, sent up to four times.
    pub fn internal(to: Addr, command: u64) -> Ask {
        Ask { internal: true, ..Ask::new(to, command) }
    }
}

/// A request that came in. Its token, if it has one, has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub from: Addr,
    /// This node as the sender sees it.
    pub to: Addr,
    /// The socket that it came in on; answers leave from there.
    pub socket: SocketId,
    pub tid: u16,
    pub command: u64,
    pub target: Option<Key>,
    /// The sender's id, if it is a persistent node (checked against `from`).
    pub id: Option<Key>,
    pub token: Option<Key>,
    pub value: Option<Vec<u8>>,
    /// It came in on another socket than the one that the node's own requests leave from.
    pub external: bool,
}

/// An answer that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub from: Addr,
    /// This node as the sender sees it.
    pub to: Addr,
    pub socket: SocketId,
    /// The sender's id, if it is a persistent node (checked against `from`).
    pub id: Option<Key>,
    /// To be given back in a writing request to `from`.
    pub token: Option<Key>,
    pub closer: Vec<Addr>,
    /// `OK`, `UNKNOWN_COMMAND`, `INVALID_TOKEN` or a number of the layer above.
    pub error: u64,
    pub value: Option<Vec<u8>>,
    /// From the first sending to the answer.
    pub rtt: Span,
}

/// An answer to be given to a `Request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    pub error: u64,
    pub value: Option<Vec<u8>>,
    /// Whether to hand out a token for the requester's host.
    pub token: bool,
    /// Whether to name the nodes closest to the request's target (if it has one).
    pub closer: bool,
    /// The socket to answer from; `None` is the one that the request came in on.
    pub socket: Option<SocketId>,
    /// Where to answer to; `None` is the requester.
    pub to: Option<Addr>,
}

impl Respond {
    /// A plain answer: token and closer nodes included.
    pub fn value(value: Option<Vec<u8>>) -> Respond {
        Respond { error: OK, value, token: true, closer: true, socket: None, to: None }
    }

    /// An error: closer nodes, no token.
    pub fn error(error: u64) -> Respond {
        Respond { error, value: None, token: false, closer: true, socket: None, to: None }
    }
}

/// A walk towards the nodes closest to `target`, each of which is asked the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub target: Key,
    pub internal: bool,
    pub command: u64,
    pub value: Option<Vec<u8>>,
    /// At the end, ask the closest nodes once more with the token that each gave.
    pub commit: bool,
    /// Nodes to begin with, in this order; the routing table fills up to 20.
    pub start: Vec<Addr>,
    /// Ask nobody but `start`.
    pub only_start: bool,
    /// How often each request is sent at most; 0 is the usual 6.
    pub sends: u8,
    /// Requests in flight at most; `None` is the node's usual number.
    pub concurrency: Option<usize>,
}

impl Query {
    /// A query of the layer above.
    pub fn new(target: Key, command: u64, value: Option<Vec<u8>>) -> Query {
        Query { target, command, value, ..Query::default() }
    }
}

/// What the node knows about itself; handed up whenever it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where anybody can reach the server socket; only when that is proven.
    pub remote: Option<Addr>,
    /// The public host, if known.
    pub host: Option<[u8; 4]>,
    /// Local address of the server socket.
    pub server: Option<Addr>,
    /// Local address of the client socket.
    pub client: Option<Addr>,
    pub firewalled: bool,
    pub ephemeral: bool,
    /// The node's id, while it is persistent.
    pub id: Option<Key>,
    /// The socket that requests leave from.
    pub current: SocketId,
    /// A few nodes that were heard from recently, the latest first.
    pub nodes: Vec<Addr>,
    /// The public port, as sampled; 0 if it is not the same for all.
    pub port: u16,
}

impl Default for Status {
    /// Nothing is known: firewalled, ephemeral, not bound.
    fn default() -> Status {
        Status {
            remote: None,
            host: None,
            server: None,
            client: None,
            firewalled: true,
            ephemeral: true,
            id: None,
            current: SocketId::CLIENT,
            nodes: Vec::new(),
            port: 0,
        }
    }
}
