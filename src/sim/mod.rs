//! Worlds of nodes in one process, from one seed: lines that lose, copy and reorder, disks that tear, processes that
//! crash. The same `Node` and the same programs as on the real machine.

pub mod link;
pub mod queue;
pub mod ramdisk;
pub mod transcript;
pub mod world;

pub use link::Line;
pub use world::{HostId, Step, World};
