//! seckel and the real packages: hyperswarm.
