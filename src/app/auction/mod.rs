//! An auction house: a server that holds auctions, clients that bid, and one log that all of them read.
//!
//! `rules` says what the log may hold and what it comes to. Follows auction.1 to auction.16.

pub mod rules;
