//! How much fits into a packet. Follows udx.19; the search for more is not done yet.

use crate::wire::udx::HEADER_LEN;

/// Every path is taken to carry IP packets of this size.
const BASE: usize = 1200;
/// IPv4 and UDP headers.
const BELOW: usize = 28;

#[derive(Debug)]
pub(super) struct Mtu {
    /// Size of the IP packet.
    size: usize,
}

impl Default for Mtu {
    fn default() -> Mtu {
        Mtu { size: BASE }
    }
}

impl Mtu {
    /// Size of the IP packets that are sent.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes behind the header. (udx.19)
    pub fn payload(&self) -> usize {
        self.size - BELOW - HEADER_LEN
    }

    /// The path is another now.
    pub fn reset(&mut self) {
        self.size = BASE;
    }
}
