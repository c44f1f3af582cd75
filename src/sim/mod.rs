//! Worlds of nodes in one process, from one seed: lines that lose, copy and reorder, boxes that translate, clocks that
//! drift, disks that tear, processes that crash. The same `Node` and the same programs as on the real machine.
//! Read `world.rs` first; then `internet.rs` (the way of a datagram), `faults.rs` (what can be done to hosts),
//! `check/` (what must hold in every world).

pub mod check;
pub mod clock;
mod computer;
pub mod crowd;
pub mod drawn;
mod faults;
pub mod internet;
pub mod link;
pub mod nat;
pub mod queue;
pub mod ramdisk;
pub mod sabotage;
mod seam;
pub mod town;
pub mod transcript;
pub mod world;

use core::fmt;

pub use clock::Clock;
pub use computer::Traffic;
pub use link::{Burst, Line};
pub use nat::{Kind, NatOptions};
pub use sabotage::Saboteur;
pub use town::{Town, TownOf};
pub use transcript::Reader;
pub use world::{Step, World};

/// A host of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostId(pub usize);

/// A box of a world: what is between a few hosts and the internet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BoxId(pub usize);

/// Either: whatever has a line to the internet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Host(HostId),
    Box(BoxId),
}

impl From<HostId> for Place {
    fn from(host: HostId) -> Place {
        Place::Host(host)
    }
}

impl From<BoxId> for Place {
    fn from(id: BoxId) -> Place {
        Place::Box(id)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host(host) => write!(f, "{}", host.0),
            Place::Box(id) => write!(f, "box {}", id.0),
        }
    }
}
