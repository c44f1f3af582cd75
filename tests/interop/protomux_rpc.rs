//! seckel and the real packages: protomux_rpc.
