//! Upstream's vectors, and stories in a world in memory.

use serde_json::Value;

mod stories;
mod world;

/// The vectors of upstream with that name.
pub fn vectors(name: &str) -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hyperdht.json"));
    let file: Value = serde_json::from_str(text).expect("json");
    let all = file["vectors"].as_array().expect("a list");
    let found: Vec<Value> = all.iter().filter(|vector| vector["name"] == name).cloned().collect();
    assert!(!found.is_empty(), "no vector {name}");
    found
}
