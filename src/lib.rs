//! The Holepunch peer-to-peer stack in one synchronous crate.

#![forbid(unsafe_code)]

pub mod app;
pub mod base;
pub mod corestore;
pub mod crypto;
pub mod dht_rpc;
pub mod edge;
pub mod hyperbee;
pub mod hypercore;
pub mod hyperdht;
pub mod hyperswarm;
pub mod node;
pub mod protomux;
pub mod protomux_rpc;
pub mod secret_stream;
pub mod sim;
pub mod udx;
pub mod wire;

pub use base::Error;
