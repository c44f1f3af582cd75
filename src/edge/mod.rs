//! The real machine: sockets, clock, files, randomness, signals. Everything else is machines and values.

pub mod files;
pub mod host;
pub mod key_log;
pub mod os;
pub mod trace;
pub mod udp;

pub use host::{Host, NodeId, Wake};
pub use key_log::KeyLog;
