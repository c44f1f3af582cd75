//! Programs over `Net`.

pub mod registry;
