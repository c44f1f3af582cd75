//! secret_stream
