//! What bytes mean, field by field, each with the rule of the notes that says so. For people, not for machines:
//! nothing in the stack acts on what stands here.
//!
//! `datagram` reads one datagram by itself; `summary` says it in a line; `Reader` reads many, as a capture has
//! them, and
//! with the keys of a log (`Keys`) what is sealed in them; `format` reads bytes as one format.
//!
//! Inside: `section` (one stretch of bytes), `meaning` (numbers in words), `datagram` and `sealed` (what a
//! datagram holds),
//! `flow` (packets in order), `secret`, `mux`, `values` (what the bytes of a stream hold).
//!
//! Every byte is accounted for: what no field covers is a line of its own, `rest` or `not understood`.

mod datagram;
mod flow;
mod formats;
mod keys;
mod meaning;
mod mux;
mod reader;
mod sealed;
mod secret;
mod section;
mod segments;
mod summary;
mod values;

pub use datagram::datagram;
pub use formats::{format, names};
pub use keys::{BadLine, Keys};
pub use reader::Reader;
pub use section::{LOST, Line, Place, REST, SKIPPED, Section};
pub use segments::segments;
pub use summary::{Summary, summary};

#[cfg(test)]
mod tests;
