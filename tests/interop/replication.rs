//! seckel and the real packages: replication.
