//! Formats of registry.

use super::Format;

pub const FORMATS: &[Format] = &[];
