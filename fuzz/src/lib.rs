//! The targets, shared with `tests/fuzz`, which replays the corpus without the fuzzer.

#[path = "../../tests/fuzz/targets/mod.rs"]
pub mod targets;
