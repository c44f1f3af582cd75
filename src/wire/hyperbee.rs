//! Formats of hyperbee.

use super::Format;

pub const FORMATS: &[Format] = &[];
