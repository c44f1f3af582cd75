//! How much fits into a packet. Follows udx.19 and udx.95 to udx.97: a data packet now and then is padded to the size
//! that is tried next; if it arrives, all later ones are that long.

use super::seq::Seq;
use crate::wire::udx::HEADER_LEN;

/// Every path is taken to carry IP packets of this size.
const BASE: usize = 1200;
/// No path is tried with more.
const MAX: usize = 1500;
const STEP: usize = 32;
/// Probes of one size that may be lost.
const TRIES: u8 = 3;
/// IPv4 and UDP headers.
const BELOW: usize = 28;

/// How far the search is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Search {
    /// Nothing was acked yet.
    Not,
    /// IP packets of `next` bytes are tried; `under_way` is the one that tries it.
    On {
        next: usize,
        lost: u8,
        under_way: Option<Seq>,
    },
    Over,
}

#[derive(Debug)]
pub(super) struct Mtu {
    /// Size of the IP packet.
    size: usize,
    search: Search,
}

impl Default for Mtu {
    fn default() -> Mtu {
        Mtu { size: BASE, search: Search::Not }
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
        *self = Mtu::default();
    }

    /// Something was acked: the path carries the base, and the search begins with a probe of just that.
    pub fn on_acked(&mut self) {
        if self.search == Search::Not {
            self.search = Search::On { next: BASE, lost: 0, under_way: None };
        }
    }

    /// What a new packet with `len` bytes is padded with if it is to be a probe. (udx.95)
    pub fn padding(&self, len: usize) -> Option<u8> {
        match self.search {
            Search::On { next, under_way: None, .. } if len > 0 => {
                u8::try_from((next - BELOW - HEADER_LEN).checked_sub(len)?).ok()
            }
            Search::Not | Search::On { .. } | Search::Over => None,
        }
    }

    /// A probe leaves.
    pub fn on_sent(&mut self, seq: Seq) {
        if let Search::On { under_way, .. } = &mut self.search {
            *under_way = Some(seq);
        }
    }

    /// The probe whose fate is not known.
    pub fn under_way(&self) -> Option<Seq> {
        match self.search {
            Search::On { under_way, .. } => under_way,
            Search::Not | Search::Over => None,
        }
    }

    /// The probe arrived.
    pub fn on_arrived(&mut self) {
        if let Search::On { next, .. } = self.search {
            self.size = next;
            self.search = match next {
                MAX => Search::Over,
                _ => Search::On { next: (next + STEP).min(MAX), lost: 0, under_way: None },
            };
        }
    }

    /// The probe is lost, or is sent again without padding. (udx.96)
    pub fn on_lost(&mut self) {
        if let Search::On { next, lost, .. } = self.search {
            self.search = match lost + 1 {
                TRIES => Search::Over,
                lost => Search::On { next, lost, under_way: None },
            };
        }
    }
}
