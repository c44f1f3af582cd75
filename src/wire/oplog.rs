//! Formats of oplog.

use super::Format;

pub const FORMATS: &[Format] = &[];
