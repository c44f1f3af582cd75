//! Each pitfall by its number.
