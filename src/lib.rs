//! The Holepunch peer-to-peer stack in one synchronous crate.

pub mod base;
pub mod wire;

pub use base::Error;
