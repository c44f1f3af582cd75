//! Formats of hypercore.

use super::Format;

pub const FORMATS: &[Format] = &[];
