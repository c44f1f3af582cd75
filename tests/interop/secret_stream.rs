//! seckel and the real packages: secret_stream.
