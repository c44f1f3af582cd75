//! IPv4 addresses and the names of sockets. The protocols carry IPv4 only (notes: hyperdht, *Not followed*).

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

/// An IPv4 address and UDP port. `port` 0 means "not known" on the wire and is never dialled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Addr {
    pub ip: [u8; 4],
    pub port: u16,
}

/// By host, then port; as one number, for maps under an address are everywhere.
impl Ord for Addr {
    fn cmp(&self, other: &Addr) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Addr {
    fn partial_cmp(&self, other: &Addr) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Addr {
    const fn number(self) -> u64 {
        ((u32::from_be_bytes(self.ip) as u64) << 16) | self.port as u64
    }

    pub const fn new(ip: [u8; 4], port: u16) -> Addr {
        Addr { ip, port }
    }

    pub const fn loopback(port: u16) -> Addr {
        Addr { ip: [127, 0, 0, 1], port }
    }

    /// Only the host, written as dotted decimal (tokens are made over this text).
    pub fn host(&self) -> Host {
        Host(self.ip)
    }

    pub fn with_port(self, port: u16) -> Addr {
        Addr { port, ..self }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Host(self.ip), self.port)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text is not `a.b.c.d:port`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnAddr;

impl fmt::Display for NotAnAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an IPv4 address and port, like 127.0.0.1:30001")
    }
}

impl FromStr for Addr {
    type Err = NotAnAddr;
    fn from_str(text: &str) -> Result<Addr, NotAnAddr> {
        let addr: core::net::SocketAddrV4 = text.parse().map_err(|_| NotAnAddr)?;
        Ok(Addr { ip: addr.ip().octets(), port: addr.port() })
    }
}

/// An IPv4 host, displayed as dotted decimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub [u8; 4]);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a UDP socket of this node. Never used again within the life of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The socket with the published port.
    pub const SERVER: SocketId = SocketId(0);
    /// The socket that requests leave from while the node is firewalled.
    pub const CLIENT: SocketId = SocketId(1);
    /// The first of the sockets that holepunching opens.
    pub const FIRST_POOLED: SocketId = SocketId(2);
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}", self.0)
    }
}

/// A public key, a topic, a target: 32 bytes.
pub type Key = [u8; 32];

/// Chosen by whoever asks, echoed in the answers; unique among the asker's live ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(pub u64);
