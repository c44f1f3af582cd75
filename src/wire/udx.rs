//! Formats of udx.

use super::Format;

pub const FORMATS: &[Format] = &[];
