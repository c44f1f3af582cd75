//! What numbers stand for.

use crate::wire::hyperdht::{self, command};
use crate::wire::{Value, dht_rpc, hypercore, protomux};

/// What `value` stands for in that field; empty if the value says it all.
pub fn of(format: &str, field: &str, value: &Value) -> String {
    match value {
        Value::Flags(bits) => flags(names(format, field), *bits),
        Value::Number(number) => number_means(format, field, *number).to_owned(),
        Value::Bytes(bytes) => readable(bytes),
        Value::Text(_) | Value::Addr(_) => String::new(),
    }
}

/// The names of the bits that are set, lowest first.
pub fn flags(names: &[&str], bits: u64) -> String {
    let mut set: Vec<String> = Vec::new();
    for bit in 0..64 {
        if bits >> bit & 1 == 1 {
            set.push(names.get(bit).map_or_else(|| format!("bit {bit}"), |name| (*name).to_owned()));
        }
    }
    set.join("|")
}

/// Short bytes that are plain text are shown as such.
fn readable(bytes: &[u8]) -> String {
    let plain = (1..=80).contains(&bytes.len()) && bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    if plain { format!("{:?}", String::from_utf8_lossy(bytes)) } else { String::new() }
}

pub const UDX_TYPES: &[&str] = &["DATA", "END", "SACK", "MESSAGE", "DESTROY", "HEARTBEAT"];

fn names(format: &str, field: &str) -> &'static [&'static str] {
    match (format, field) {
        ("udx.header", _) => UDX_TYPES,
        ("dht_rpc.request", _) => &["id", "token", "internal", "target", "value"],
        ("dht_rpc.response", _) => &["id", "token", "closer nodes", "error", "value"],
        ("hyperdht.handshake", _) => &["peer address", "relay address"],
        ("hyperdht.holepunch", _) => &["peer address"],
        ("hyperdht.noise_payload", "udx features") => &["reusable socket"],
        ("hyperdht.noise_payload", _) => &[
            "holepunch",
            "addresses4",
            "addresses6",
            "udx",
            "secret stream",
            "relay through",
            "relay addresses",
        ],
        ("hyperdht.holepunch_payload", _) => {
            &["connected", "punching", "addresses", "remote address", "token", "remote token"]
        }
        ("hyperdht.announce", _) => &["peer", "refresh", "signature", "bump"],
        ("hyperdht.plugin_request", _) => &["value"],
        ("hyperdht.address", _) => &["nodes"],
        ("protomux_rpc.response", _) => &["error", "code", "cause", "context"],
        ("protomux_rpc.capability", _) => &["capability"],
        ("blind_relay.pair", _) => &["initiator"],
        ("hypercore.handshake", _) => &["seeks"],
        ("hypercore.sync", _) => &["can upgrade", "uploading", "downloading", "has manifest", "allow push"],
        ("hypercore.request", _) => &["block", "hash", "seek", "upgrade", "manifest", "priority"],
        ("hypercore.data", "flags") => &["block", "hash", "seek", "upgrade", "manifest"],
        ("hypercore.no_data", _) => &["reason"],
        ("hypercore.want", _) => &["any"],
        ("hypercore.range", _) => &["drop", "one block"],
        ("manifest.manifest", _) => &["patches", "prologue", "linked", "user data"],
        ("oplog.header", _) => &["external", "manifest", "key pair"],
        ("oplog.entry", "bitfield flags") => &["drop"],
        ("oplog.entry", _) => &["user data", "nodes", "upgrade", "bitfield"],
        _ => &[],
    }
}

fn number_means(format: &str, field: &str, number: u64) -> &'static str {
    match (format, field) {
        ("dht_rpc.request", "kind") => "a request of version 3",
        ("dht_rpc.response", "kind") => "a response of version 3",
        ("dht_rpc.response", "error") => reply_error(number),
        ("hyperdht.handshake" | "hyperdht.holepunch", "mode") => mode(number),
        ("hyperdht.noise_payload" | "hyperdht.holepunch_payload", "error") => payload_error(number),
        ("hyperdht.noise_payload" | "hyperdht.holepunch_payload", "firewall") => firewall(number),
        ("hypercore.no_data", "reason") => match number {
            hypercore::NOT_AVAILABLE => "not available",
            hypercore::INVALID_REQUEST => "the request makes no sense",
            _ => "",
        },
        _ => "",
    }
}

/// An internal command of dht_rpc. dht_rpc.12
pub fn internal(command: u64) -> &'static str {
    match command {
        dht_rpc::PING => "PING",
        dht_rpc::PING_NAT => "PING_NAT",
        dht_rpc::FIND_NODE => "FIND_NODE",
        dht_rpc::DOWN_HINT => "DOWN_HINT",
        dht_rpc::DELAYED_PING => "DELAYED_PING",
        _ => "",
    }
}

/// A command of hyperdht. hyperdht.1
pub fn external(number: u64) -> &'static str {
    match number {
        command::PEER_HANDSHAKE => "PEER_HANDSHAKE",
        command::PEER_HOLEPUNCH => "PEER_HOLEPUNCH",
        command::FIND_PEER => "FIND_PEER",
        command::LOOKUP => "LOOKUP",
        command::ANNOUNCE => "ANNOUNCE",
        command::UNANNOUNCE => "UNANNOUNCE",
        command::MUTABLE_PUT => "MUTABLE_PUT",
        command::MUTABLE_GET => "MUTABLE_GET",
        command::IMMUTABLE_PUT => "IMMUTABLE_PUT",
        command::IMMUTABLE_GET => "IMMUTABLE_GET",
        command::PLUGIN => "PLUGIN",
        _ => "",
    }
}

pub fn reply_error(number: u64) -> &'static str {
    match number {
        dht_rpc::UNKNOWN_COMMAND => "unknown command",
        dht_rpc::INVALID_TOKEN => "invalid token",
        hyperdht::error::SEQ_REUSED => "seq reused",
        hyperdht::error::SEQ_TOO_LOW => "seq too low",
        _ => "",
    }
}

fn payload_error(number: u64) -> &'static str {
    match number {
        hyperdht::error::NONE => "none",
        hyperdht::error::ABORTED => "aborted",
        hyperdht::error::VERSION_MISMATCH => "version mismatch",
        hyperdht::error::TRY_LATER => "try later",
        _ => "",
    }
}

fn firewall(number: u64) -> &'static str {
    match number {
        hyperdht::firewall::UNKNOWN => "unknown",
        hyperdht::firewall::OPEN => "open",
        hyperdht::firewall::CONSISTENT => "consistent",
        hyperdht::firewall::RANDOM => "random",
        _ => "",
    }
}

pub fn mode(number: u64) -> &'static str {
    match number {
        hyperdht::mode::FROM_CLIENT => "from the client",
        hyperdht::mode::FROM_SERVER => "from the server to its relay",
        hyperdht::mode::FROM_RELAY => "from a relay to the server",
        hyperdht::mode::FROM_SECOND_RELAY => "from a relay to another relay",
        hyperdht::mode::REPLY => "to the client",
        _ => "",
    }
}

/// A control message of protomux. protomux.2
pub fn control(kind: u64) -> &'static str {
    match kind {
        protomux::BATCH => "batch",
        protomux::OPEN => "open",
        protomux::REJECT => "reject",
        protomux::CLOSE => "close",
        _ => "",
    }
}
