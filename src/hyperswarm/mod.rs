//! hyperswarm
