//! dht_rpc
