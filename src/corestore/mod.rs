//! corestore
