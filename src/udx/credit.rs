//! How much may be sent to an address that nobody vouched for: it was only read off a packet. Follows udx.99.

/// What each byte that came from there allows.
const FACTOR: usize = 3;
/// IPv4 and UDP headers.
const BELOW: usize = 28;
/// Bytes of a udx packet without payload, on the wire.
const BARE: usize = BELOW + crate::wire::udx::HEADER_LEN;
/// Left for what must not wait behind messages and lists: an ack, and a packet that starts a timer.
const RESERVE: usize = 2 * BARE;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Credit {
    /// The caller named the address, or it acked what was sent there.
    Proven,
    /// So many bytes may go there.
    Left(usize),
}

impl Credit {
    /// A packet of `len` bytes came from that address.
    pub fn earn(&mut self, len: usize) {
        if let Credit::Left(left) = self {
            *left = left.saturating_add(FACTOR * (len + BELOW));
        }
    }

    /// A packet of `len` bytes goes there.
    pub fn spend(&mut self, len: usize) {
        if let Credit::Left(left) = self {
            *left = left.saturating_sub(len + BELOW);
        }
    }

    /// Bytes of payload that a packet may have; `None`: not even one without.
    pub fn room(self) -> Option<usize> {
        match self {
            Credit::Proven => Some(usize::MAX),
            Credit::Left(left) => left.checked_sub(BARE),
        }
    }

    /// The same for what others should not wait for.
    pub fn spare(self) -> Option<usize> {
        match self {
            Credit::Proven => Some(usize::MAX),
            Credit::Left(left) => left.checked_sub(BARE + RESERVE),
        }
    }

    pub fn is_proven(self) -> bool {
        self == Credit::Proven
    }
}
