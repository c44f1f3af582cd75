//! seckel and the real packages: corestore.
