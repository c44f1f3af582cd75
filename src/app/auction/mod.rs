//! An auction house: a server that holds auctions, clients that bid, and one log that all of them read.
//!
//! `rules` says what the log may hold and what it comes to, `command` and `outcome` are what a user types and
//! sees, `reader` its way through the log, `client` the client's state, `verify` its second look at what it was
//! shown, `server` what the server keeps; `service` runs both. Follows auction.1 to auction.25.

pub mod client;
pub mod command;
pub mod outcome;
pub mod reader;
pub mod rules;
pub mod server;
pub mod session;
pub mod verify;
pub mod when;

use super::service::{Trade, gate};

/// The auction's server and its clients.
#[derive(Debug)]
pub struct Auctions;

impl Trade for Auctions {
    type House = server::Hall;
    type Mind = client::Client;
    const BOUNDS: gate::Bounds = server::BOUNDS;
    const PROMPT: &'static str = "auction> ";
}
