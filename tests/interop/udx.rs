//! seckel and the real packages: udx.
