//! Programs over `Net`.

pub mod ask;
pub mod auction;
pub mod bee;
pub mod chat;
pub mod core;
pub mod door;
pub mod nat;
pub mod pipe;
pub mod reach;
pub mod registry;
pub mod service;
pub mod text;
