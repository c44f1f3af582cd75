//! A registry of names: a server that keeps a hyperbee of names and their owners, and clients that write by asking the
//! server and read from their own copy.
//!
//! `rules` decides, `gate` says whose turn it is, `command` and `outcome` are what a user types and sees, `client` is
//! the client's state. Follows registry.1 to registry.18.

pub mod client;
pub mod command;
pub mod gate;
pub mod outcome;
pub mod rules;
pub mod server;
pub mod session;
