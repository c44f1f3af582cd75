//! seckel and the real packages: registry.
