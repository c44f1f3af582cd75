//! One line about a datagram, for transcripts.

use super::datagram::{Asked, packet};
use super::meaning;
use crate::wire::{self, dht_rpc, hyperdht, udx};

/// One line about a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The note: `udx`, `dht_rpc`, `hyperdht`; `unknown` if it is of none.
    pub layer: &'static str,
    pub what: String,
    /// The rule of the notes that says so.
    pub rule: &'static str,
}

/// What `bytes` are as one datagram, in a few words: `PING request tid 17 to 30.0.0.1:1`,
/// `DATA|SACK seq 5 ack 2, 1200 bytes for stream 7`, `punch probe`.
pub fn summary(bytes: &[u8]) -> Summary {
    match bytes {
        [] => Summary { layer: "unknown", what: "empty datagram".to_owned(), rule: "dht_rpc.2" },
        [_] => Summary { layer: "hyperdht", what: "punch probe".to_owned(), rule: "hyperdht.68" },
        [udx::MAGIC, ..] => stream(bytes),
        [dht_rpc::REQUEST, ..] => request(bytes),
        [dht_rpc::RESPONSE, ..] => response(bytes),
        [first, ..] => {
            let what = format!("unknown: {} bytes that begin with {first:#04x}", bytes.len());
            Summary { layer: "unknown", what, rule: "dht_rpc.2" }
        }
    }
}

fn stream(bytes: &[u8]) -> Summary {
    let layer = "udx";
    let header: udx::Header = match wire::decode(bytes) {
        Ok(header) => header,
        Err(fault) => return Summary { layer, what: format!("malformed: {fault}"), rule: "udx.2" },
    };
    let sections = packet(bytes);
    let kind = sections[0].number("type").unwrap_or(0);
    let name = if kind == 0 { "STATE".to_owned() } else { meaning::flags(meaning::UDX_TYPES, kind) };
    let payload: usize = sections.iter().filter(|s| s.format == "udx.payload").map(|s| s.len).sum();
    let mut what = format!("{name} seq {} ack {}", header.seq, header.ack);
    let pairs = sections.iter().filter(|s| s.format == "udx.sack").map(|s| s.rows.len() / 2).sum::<usize>();
    if pairs > 0 {
        what += &format!(", {pairs} {}", if pairs == 1 { "range" } else { "ranges" });
    }
    if payload > 0 {
        what += &format!(", {payload} bytes");
    }
    what += &format!(" for stream {}", header.remote_id);
    Summary { layer, what, rule: "udx.1" }
}

fn request(bytes: &[u8]) -> Summary {
    let message: dht_rpc::RequestMessage = match wire::decode(bytes) {
        Ok(message) => message,
        Err(fault) => return malformed(&fault),
    };
    let asked = Asked { internal: message.internal, command: message.command };
    let name = match asked.name() {
        "" => format!("command {}", message.command),
        name => name.to_owned(),
    };
    let mut what = format!("{name} request tid {} to {}", message.tid, message.to);
    what += &value(message.value.as_deref(), asked);
    let (layer, rule) = if asked.internal { ("dht_rpc", "dht_rpc.3") } else { ("hyperdht", "hyperdht.1") };
    Summary { layer, what, rule }
}

fn value(value: Option<&[u8]>, asked: Asked) -> String {
    let Some(value) = value else { return String::new() };
    let leg = match (asked.internal, asked.command) {
        (false, hyperdht::command::PEER_HANDSHAKE) => {
            wire::decode::<hyperdht::Handshake>(value).ok().map(|message| message.mode)
        }
        (false, hyperdht::command::PEER_HOLEPUNCH) => {
            wire::decode::<hyperdht::Holepunch>(value).ok().map(|message| message.mode)
        }
        _ => None,
    };
    match leg.map(meaning::mode) {
        Some(leg) if !leg.is_empty() => format!(", {leg}"),
        _ => format!(", value of {} bytes", value.len()),
    }
}

fn response(bytes: &[u8]) -> Summary {
    let message: dht_rpc::ResponseMessage = match wire::decode(bytes) {
        Ok(message) => message,
        Err(fault) => return malformed(&fault),
    };
    let mut what = format!("response tid {} to {}", message.tid, message.to);
    if message.error != 0 {
        what += &format!(", error {}", message.error);
        let name = meaning::reply_error(message.error);
        if !name.is_empty() {
            what += &format!(" ({name})");
        }
    }
    if !message.closer.is_empty() {
        let plural = if message.closer.len() == 1 { "node" } else { "nodes" };
        what += &format!(", {} closer {plural}", message.closer.len());
    }
    if message.token.is_some() {
        what += ", token";
    }
    if let Some(value) = &message.value {
        what += &format!(", value of {} bytes", value.len());
    }
    Summary { layer: "dht_rpc", what, rule: "dht_rpc.4" }
}

fn malformed(fault: &crate::base::Malformed) -> Summary {
    Summary { layer: "dht_rpc", what: format!("malformed: {fault}"), rule: "dht_rpc.8" }
}
