//! hyperdht
