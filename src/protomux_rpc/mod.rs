//! protomux_rpc
