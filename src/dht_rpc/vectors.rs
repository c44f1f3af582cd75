//! The vectors in `tests/vectors/dht-rpc.json`, made by the real package.

use serde_json::Value;

use crate::base::{Key, hex};

pub(super) struct Vector {
    pub inputs: Value,
    pub expected: Value,
}

/// All vectors of that name, in order.
pub(super) fn vectors(name: &str) -> Vec<Vector> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/dht-rpc.json"));
    let file: Value = serde_json::from_str(text).expect("JSON");
    let found: Vec<Vector> = file["vectors"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|vector| vector["name"] == name)
        .map(|vector| Vector { inputs: vector["inputs"].clone(), expected: vector["expected"].clone() })
        .collect();
    assert!(!found.is_empty(), "vectors {name}");
    found
}

pub(super) fn key(text: &str) -> Key {
    hex::decode(text).expect("hex").try_into().expect("32 bytes")
}

fn keys(value: &Value) -> Vec<Key> {
    value.as_array().expect("a list").iter().map(|key_| key(key_.as_str().expect("text"))).collect()
}

impl Vector {
    pub fn input_text(&self, name: &str) -> String {
        self.inputs[name].as_str().expect("text").to_owned()
    }
    pub fn expected_text(&self, name: &str) -> String {
        self.expected[name].as_str().expect("text").to_owned()
    }
    pub fn input_keys(&self, name: &str) -> Vec<Key> {
        keys(&self.inputs[name])
    }
    pub fn expected_keys(&self, name: &str) -> Vec<Key> {
        keys(&self.expected[name])
    }
}
