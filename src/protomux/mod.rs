//! protomux
