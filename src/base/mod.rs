//! What every other folder stands on. Nothing here knows a protocol.

pub mod addr;
pub mod bytes;
pub mod disk;
pub mod entropy;
pub mod error;
pub mod few;
pub mod hex;
pub mod limits;
pub mod machine;
pub mod queue;
pub mod slab;
pub mod time;
pub mod timers;
pub mod trace;
pub mod traffic;

pub use addr::{Addr, Key, SocketId, Tag};
pub use bytes::Bytes;
pub use disk::{Disk, DiskError, FileId, Mode};
pub use entropy::{Entropy, Seeded};
pub use error::{Error, Malformed, Reason};
pub use few::Few;
pub use machine::{Cx, Deadline, Machine};
pub use queue::take_first;
pub use slab::{Id, Kind, Slab};
pub use time::{Span, Time};
pub use timers::Timers;
#[cfg(test)]
pub(crate) use trace::KeptKeys;
pub(crate) use trace::trace;
pub use trace::{NoTrace, Trace};
pub use traffic::Traffic;
