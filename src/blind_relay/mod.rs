//! Pairing two streams through a third peer: what the two ask for (`client.rs`), and the third that serves them
//! (`relay.rs`). Follows blind_relay.5 to blind_relay.12. Both live on a channel of protomux; the packets themselves go
//! through UDX, and nothing of them is looked at.

mod client;
mod relay;
#[cfg(test)]
mod tests;

pub use client::{Client, Event as ClientEvent, Input as ClientInput, Output as ClientOutput, Unpaired};
pub use relay::{
    Bounds, Event as RelayEvent, Input as RelayInput, Output as RelayOutput, PairId, PairKind, Relay,
    SessionId, SessionKind, Stats,
};

pub use crate::wire::blind_relay::PROTOCOL;
