//! What bytes mean, field by field, each with the rule of the notes that says so. For people, not for machines:
//! nothing in the stack acts on what stands here.
//!
//! `datagram` reads one datagram by itself; `summary` says it in a line. Values, no machine: same bytes, same answer.
//! Every byte is accounted for: what no field covers is a line of its own, `rest` or `not understood`.

mod datagram;
mod meaning;
mod section;
mod summary;

pub use datagram::datagram;
pub use section::{Line, Section};
pub use summary::{Summary, summary};

#[cfg(test)]
mod tests;
