//! What the messages of known channels hold: calls, replication, blocks.

use super::section::Section;
use crate::wire::hypercore::{self, kind};
use crate::wire::manifest::MultiSignature;
use crate::wire::{self, Format, Wire, auction, format, hyperbee, protomux_rpc, registry};

/// The protocol name of a core's channel, and its alias. replication.11
pub const HYPERCORE: &str = "hypercore/alpha";
pub const HYPERCORE_OLD: &str = "hypercore";
/// The core extension of hyperbees. hyperbee.35
const HYPERBEE: &str = "hyperbee";

/// What the bytes of a value are, if they are that.
type Known = fn(&[u8]) -> Option<Format>;

/// A known method: what the value of a call holds, and that of its answer.
struct Method {
    name: &'static str,
    request: Known,
    answer: Known,
}

/// registry.1, auction.3
const METHODS: [Method; 5] = [
    Method { name: "register", request: always::<registry::Request>, answer: always::<registry::Answer> },
    Method { name: "delete", request: always::<registry::Request>, answer: always::<registry::Answer> },
    Method { name: "create", request: whole::<auction::Create>, answer: text },
    Method { name: "bid", request: whole::<auction::Bid>, answer: text },
    Method { name: "close", request: whole::<auction::Close>, answer: text },
];

fn always<T: Wire + Default + Clone>(_: &[u8]) -> Option<Format> {
    Some(format::<T>())
}

/// If the bytes are that format to the last one: others have methods of such names, too.
fn whole<T: Wire + Default + Clone>(bytes: &[u8]) -> Option<Format> {
    wire::decode::<T>(bytes).is_ok().then(format::<T>)
}

fn text(bytes: &[u8]) -> Option<Format> {
    let known = ["OK", "IDEMPOTENT", "ERR:"].iter().any(|start| bytes.starts_with(start.as_bytes()));
    known.then(format::<auction::Answer>)
}

/// A request, or an event.
pub fn request(sections: &mut Vec<Section>, at: usize, body: &[u8]) {
    let section = Section::read::<protomux_rpc::Request>(at, body);
    let method = wire::decode::<protomux_rpc::Request>(body).ok().map(|request| request.method);
    let value = section.bytes("value").map(|(at, bytes)| (at, bytes.to_vec()));
    sections.push(tidy(section));
    if let Some((at, value)) = value {
        let known = METHODS.iter().find(|known| method.as_deref() == Some(known.name));
        buffer(sections, at, &value, known.map(|known| known.request));
    }
}

/// `method`: of the request that it answers, if that was seen.
pub fn response(sections: &mut Vec<Section>, at: usize, body: &[u8], method: Option<&str>) {
    let mut section = Section::read::<protomux_rpc::Response>(at, body);
    if let Some(method) = method {
        section.say("id", format!("the answer to {method:?}"));
    }
    let value = section.bytes("value").map(|(at, bytes)| (at, bytes.to_vec()));
    sections.push(tidy(section));
    if let Some((at, value)) = value {
        let known = METHODS.iter().find(|known| method == Some(known.name));
        buffer(sections, at, &value, known.map(|known| known.answer));
    }
}

/// Fields without bytes are no lines.
fn tidy(mut section: Section) -> Section {
    section.rows.retain(|line| line.len > 0);
    section
}

/// A value in the usual encoding (protomux_rpc.5), if it is whole so; else it is in the method's own.
fn buffer(sections: &mut Vec<Section>, at: usize, value: &[u8], known: Option<Known>) {
    let Ok((inner, [])) = wire::decode_head::<protomux_rpc::Buffer>(value) else { return };
    sections.push(Section::read::<protomux_rpc::Buffer>(at, value));
    let inside = known.filter(|_| !inner.0.is_empty()).and_then(|known| known(&inner.0));
    if let Some(format) = inside {
        sections.push(Section::of(&format, at + value.len() - inner.0.len(), &inner.0));
    }
}

/// The name of a replication message.
pub fn replication_kind(number: u64) -> &'static str {
    match number {
        kind::SYNC => "sync",
        kind::REQUEST => "request",
        kind::CANCEL => "cancel",
        kind::DATA => "data",
        kind::NO_DATA => "no data",
        kind::WANT => "want",
        kind::UNWANT => "unwant",
        kind::BITFIELD => "bitfield",
        kind::RANGE => "range",
        kind::EXTENSION => "extension",
        _ => "",
    }
}

/// A message of a core's channel.
pub fn replication(sections: &mut Vec<Section>, at: usize, body: &[u8], number: u64) {
    let format = match number {
        kind::SYNC => format::<hypercore::Sync>(),
        kind::REQUEST => format::<hypercore::Request>(),
        kind::CANCEL => format::<hypercore::Cancel>(),
        kind::DATA => format::<hypercore::Data>(),
        kind::NO_DATA => format::<hypercore::NoData>(),
        kind::WANT | kind::UNWANT => format::<hypercore::Want>(),
        kind::BITFIELD => format::<hypercore::Bitfield>(),
        kind::RANGE => format::<hypercore::Range>(),
        kind::EXTENSION => format::<hypercore::Extension>(),
        _ => {
            if !body.is_empty() {
                sections.push(Section::opaque(
                    "protomux.message",
                    at,
                    body,
                    super::section::REST,
                    "protomux.1",
                ));
            }
            return;
        }
    };
    let section = tidy(Section::of(&format, at, body));
    let (value, signature) = match number {
        kind::DATA => (own(&section, "value"), own(&section, "signature")),
        _ => (None, None),
    };
    let index = section.number("index");
    let message = own(&section, "message").filter(|_| number == kind::EXTENSION);
    sections.push(section);
    if let Some((at, message)) = message
        && wire::decode::<hypercore::Extension>(body).is_ok_and(|told| told.name == HYPERBEE)
    {
        extension(sections, at, &message);
    }
    if let Some((at, value)) = value {
        sections.extend(block(at, &value, index));
    }
    // hypercore.20, hypercore.21: bare signatures have 64 bytes
    if let Some((at, signature)) = signature.filter(|(_, signature)| signature.len() > 64) {
        sections.push(Section::read::<MultiSignature>(at, &signature));
    }
}

/// hyperbee.62: with its length.
fn extension(sections: &mut Vec<Section>, at: usize, message: &[u8]) {
    let section = Section::read::<hyperbee::Envelope>(at, message);
    let inner = own(&section, "message").filter(|(_, inner)| !inner.is_empty());
    sections.push(section);
    sections.extend(inner.map(|(at, inner)| tidy(Section::read::<hyperbee::Extension>(at, &inner))));
}

fn own(section: &Section, field: &str) -> Option<(usize, Vec<u8>)> {
    section.bytes(field).map(|(at, bytes)| (at, bytes.to_vec()))
}

/// A block that reads as one of a hyperbee: to the last byte, and to be written again as it is. Block 0 must be a
/// header, another must not name blocks behind itself.
pub fn block(at: usize, bytes: &[u8], index: Option<u64>) -> Vec<Section> {
    if index.is_none_or(|index| index == 0)
        && wire::decode::<hyperbee::Header>(bytes).is_ok_and(|header| header.protocol == "hyperbee")
    {
        return vec![Section::read::<hyperbee::Header>(at, bytes)];
    }
    let Ok(node) = wire::decode::<hyperbee::Node>(bytes) else { return Vec::new() };
    let Ok(levels) = wire::decode::<hyperbee::Index>(&node.index) else { return Vec::new() };
    let last = index.unwrap_or(u64::MAX);
    let sound = levels.levels.iter().all(|level| level.keys.iter().all(|&key| key != 0 && key <= last));
    if !sound || wire::encode(&node) != bytes || wire::encode(&levels) != node.index {
        return Vec::new();
    }
    let section = tidy(Section::read::<hyperbee::Node>(at, bytes));
    let inner = own(&section, "index").filter(|(_, index)| !index.is_empty());
    let mut sections = vec![section];
    sections.extend(inner.map(|(at, index)| Section::read::<hyperbee::Index>(at, &index)));
    sections
}
