//! Formats of blind_relay.

use super::Format;

pub const FORMATS: &[Format] = &[];
