//! Formats of hyperdht.

use super::Format;

pub const FORMATS: &[Format] = &[];
