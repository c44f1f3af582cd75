//! edge

pub mod files;
