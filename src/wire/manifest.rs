//! Formats of manifest.

use super::Format;

pub const FORMATS: &[Format] = &[];
