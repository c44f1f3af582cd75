//! Upstream's vectors, and stories in a world in memory.

use serde_json::Value;

use crate::base::{Addr, Key, hex};

mod announcing;
mod api;
mod formats;
mod others;
mod pitfalls;
mod plugins;
mod relayed;
mod searching;
mod served;
mod stories;
mod values;
mod world;

/// The vectors of upstream with that name.
pub fn vectors(name: &str) -> Vec<Value> {
    let found: Vec<Value> = all().into_iter().filter(|vector| vector["name"] == name).collect();
    assert!(!found.is_empty(), "no vector {name}");
    found
}

fn all() -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hyperdht.json"));
    let file: Value = serde_json::from_str(text).expect("json");
    file["vectors"].as_array().expect("a list").clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hex")
}

fn key(value: &Value) -> Key {
    bytes(value).try_into().expect("32 bytes")
}

fn addr(value: &Value) -> Addr {
    let ip: std::net::Ipv4Addr = value["host"].as_str().expect("host").parse().expect("IPv4");
    Addr::new(ip.octets(), value["port"].as_u64().expect("port") as u16)
}

fn maybe<T>(value: &Value, each: impl Fn(&Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| each(value))
}

fn addrs(value: &Value) -> Vec<Addr> {
    value.as_array().map_or_else(Vec::new, |list| list.iter().map(addr).collect())
}
