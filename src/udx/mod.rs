//! udx
