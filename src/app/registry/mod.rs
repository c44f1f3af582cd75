//! A registry of names: a server that keeps a hyperbee of names and their owners, and clients that write by
//! asking the server and read from their own copy.
//!
//! `rules` decides, `command` and `outcome` are what a user types and sees, `client` is the client's state,
//! `server` what the server keeps; `service` runs both. Follows registry.1 to registry.20.

pub mod client;
pub mod command;
pub mod outcome;
pub mod rules;
pub mod server;
pub mod session;

pub use super::service::gate;

use super::service::Trade;

/// The registry's server and its clients.
#[derive(Debug)]
pub struct Registry;

impl Trade for Registry {
    type House = server::Names;
    type Mind = client::Client;
    const BOUNDS: gate::Bounds = rules::BOUNDS;
    const PROMPT: &'static str = "registry> ";
}
