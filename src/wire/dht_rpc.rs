//! Formats of dht_rpc.

use super::Format;

pub const FORMATS: &[Format] = &[];
