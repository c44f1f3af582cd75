//! seckel and the real packages: hyperbee.
