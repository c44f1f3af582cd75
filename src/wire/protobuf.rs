//! Protocol buffers, as far as hyperbee uses them.
