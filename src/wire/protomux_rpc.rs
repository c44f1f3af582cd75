//! Formats of protomux_rpc.

use super::Format;

pub const FORMATS: &[Format] = &[];
