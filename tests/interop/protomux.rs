//! seckel and the real packages: protomux.
