//! Formats of secret_stream.

use super::Format;

pub const FORMATS: &[Format] = &[];
