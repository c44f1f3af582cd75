//! seckel and the real packages: hypercore.
