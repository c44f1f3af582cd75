//! Programs over `Net`.

pub mod chat;
pub mod pipe;
pub mod reach;
pub mod registry;
pub mod text;
