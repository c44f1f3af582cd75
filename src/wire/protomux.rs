//! Formats of protomux.

use super::Format;

pub const FORMATS: &[Format] = &[];
