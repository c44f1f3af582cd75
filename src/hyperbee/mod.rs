//! hyperbee
