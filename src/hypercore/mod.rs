//! hypercore

pub mod auth;
pub mod bitfield;
pub mod fetch;
pub mod flat_tree;
pub mod oplog;
pub mod proof;
pub mod replicate;
pub mod store;
pub mod tree;
