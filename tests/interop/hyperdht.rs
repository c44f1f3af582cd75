//! seckel and the real packages: hyperdht.
