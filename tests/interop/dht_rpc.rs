//! seckel and the real packages: dht_rpc.
