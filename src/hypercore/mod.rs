//! hypercore
