//! One datagram: which protocol it is of, and what is nested in it.

use super::meaning;
use super::section::{LOST, Line, Section};
use crate::wire::hyperdht::{self, command, mode};
use crate::wire::{Format, Value, dht_rpc, format, noise, udx};

/// What `bytes` mean as one UDP datagram of the stack, as far as it can be told without keys and without having seen
/// others. The lines of the first sections cover every byte; later sections read inside fields of earlier ones.
pub fn datagram(bytes: &[u8]) -> Vec<Section> {
    match bytes {
        [] => Vec::new(),
        [_] => vec![Section::read::<hyperdht::Probe>(0, bytes)],
        [udx::MAGIC, ..] => packet(bytes),
        [dht_rpc::REQUEST, ..] => request(bytes),
        [dht_rpc::RESPONSE, ..] => response(bytes, None),
        _ => vec![unknown(bytes)],
    }
}

/// Bytes of no protocol that is known here.
fn unknown(bytes: &[u8]) -> Section {
    let mut section = Section::empty("unknown", 0, bytes.len());
    let meaning = "no datagram of udx or dht_rpc begins like this".to_owned();
    let value = Value::Bytes(bytes.to_vec());
    section.rows.push(Line { at: 0, len: bytes.len(), field: LOST, value, meaning, rule: "dht_rpc.2" });
    section
}

/// A packet of a udx stream: header, what stands in the data offset, payload. udx.1 to udx.6
pub(super) fn packet(bytes: &[u8]) -> Vec<Section> {
    let (head, rest) = bytes.split_at(bytes.len().min(udx::HEADER_LEN));
    let section = Section::read::<udx::Header>(0, head);
    let (kind, offset) = (section.number("type").unwrap_or(0), section.number("data offset").unwrap_or(0));
    let whole = section.fault.is_none();
    let mut sections = vec![section];
    if rest.is_empty() {
        return sections;
    }
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    if !whole || offset > rest.len() {
        // udx.3: the packet is dropped
        sections.push(payload(udx::HEADER_LEN, rest, "not understood", "the packet is dropped", "udx.3"));
        return sections;
    }
    let sack = kind & 4 != 0;
    // udx.4: the list fills the data offset if that lies inside what follows, else all of it
    let front = if sack && (offset == 0 || offset == rest.len()) { rest.len() } else { offset };
    let (front, data) = rest.split_at(front);
    let at = udx::HEADER_LEN + front.len();
    if sack {
        let whole = udx::Sack::whole(front);
        sections.push(Section::read::<udx::Sack>(udx::HEADER_LEN, whole));
        let odd = &front[whole.len()..];
        if !odd.is_empty() {
            sections.push(payload(udx::HEADER_LEN + whole.len(), odd, "half a pair", "ignored", "udx.5"));
        }
    } else if !front.is_empty() {
        sections.push(payload(
            udx::HEADER_LEN,
            front,
            "padding",
            "of a packet that probes the path",
            "udx.6",
        ));
    }
    if !data.is_empty() {
        let (field, meaning, rule) = match kind {
            _ if kind & 1 != 0 => ("data", "bytes of the stream", "udx.10"),
            _ if kind & 8 != 0 => ("message", "a message beside the stream", "udx.26"),
            _ => ("ignored", "a packet of this type has no payload", "udx.3"),
        };
        sections.push(payload(at, data, field, meaning, rule));
    }
    sections
}

fn payload(
    at: usize,
    bytes: &[u8],
    field: &'static str,
    meaning: &'static str,
    rule: &'static str,
) -> Section {
    let mut section = Section::empty("udx.payload", at, bytes.len());
    let value = Value::Bytes(bytes.to_vec());
    section.rows.push(Line { at, len: bytes.len(), field, value, meaning: meaning.to_owned(), rule });
    section
}

/// What a request asked, as far as its answer's meaning depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub internal: bool,
    pub command: u64,
}

impl Asked {
    pub fn name(self) -> &'static str {
        if self.internal { meaning::internal(self.command) } else { meaning::external(self.command) }
    }

    fn rule(self) -> &'static str {
        if self.internal { "dht_rpc.12" } else { "hyperdht.1" }
    }

    /// The format of the request's value.
    fn request_value(self) -> Option<Format> {
        match (self.internal, self.command) {
            (true, dht_rpc::PING_NAT) => Some(format::<dht_rpc::PortValue>()),
            (true, dht_rpc::DOWN_HINT) => Some(format::<dht_rpc::AddressValue>()),
            (true, dht_rpc::DELAYED_PING) => Some(format::<dht_rpc::DelayValue>()),
            (false, command::PEER_HANDSHAKE) => Some(format::<hyperdht::Handshake>()),
            (false, command::PEER_HOLEPUNCH) => Some(format::<hyperdht::Holepunch>()),
            (false, command::ANNOUNCE | command::UNANNOUNCE) => Some(format::<hyperdht::Announce>()),
            (false, command::MUTABLE_PUT) => Some(format::<hyperdht::MutablePut>()),
            (false, command::MUTABLE_GET) => Some(format::<hyperdht::MutableGet>()),
            (false, command::PLUGIN) => Some(format::<hyperdht::PluginRequest>()),
            _ => None,
        }
    }

    /// The format of the answer's value.
    fn response_value(self) -> Option<Format> {
        match (self.internal, self.command) {
            (false, command::PEER_HANDSHAKE) => Some(format::<hyperdht::Handshake>()),
            (false, command::PEER_HOLEPUNCH) => Some(format::<hyperdht::Holepunch>()),
            (false, command::FIND_PEER) => Some(format::<hyperdht::Peer>()),
            (false, command::LOOKUP) => Some(format::<hyperdht::LookupReply>()),
            (false, command::MUTABLE_GET) => Some(format::<hyperdht::Mutable>()),
            _ => None,
        }
    }
}

/// What a request that was read asks.
pub(super) fn asked(section: &Section) -> Option<Asked> {
    let internal = section.number("flags")? & 4 != 0;
    Some(Asked { internal, command: section.number("command")? })
}

pub(super) fn request(bytes: &[u8]) -> Vec<Section> {
    let mut section = Section::read::<dht_rpc::RequestMessage>(0, bytes);
    let Some(asked) = asked(&section) else { return vec![section] };
    section.say("command", asked.name());
    if let Some(line) = section.rows.iter_mut().find(|line| line.field == "command") {
        line.rule = asked.rule();
    }
    with_value(section, asked.request_value())
}

/// `asked` is what the request with the same tid asked, if that was seen.
pub(super) fn response(bytes: &[u8], asked: Option<Asked>) -> Vec<Section> {
    let mut section = Section::read::<dht_rpc::ResponseMessage>(0, bytes);
    match asked {
        Some(asked) => section.say("tid", format!("the answer to {}", asked.name())),
        None => section.say("value", "what it holds depends on the request, which was not seen"),
    }
    with_value(section, asked.and_then(Asked::response_value))
}

/// A dht_rpc message and what its value holds.
fn with_value(section: Section, format: Option<Format>) -> Vec<Section> {
    let value = section.bytes("value").map(|(at, bytes)| (at, bytes.to_vec()));
    let mut sections = vec![section];
    let (Some((at, value)), Some(format)) = (value, format) else { return sections };
    let inner = Section::of(&format, at, &value);
    let deeper = match format.name {
        "hyperdht.handshake" => handshake(&inner),
        "hyperdht.holepunch" => {
            inner.bytes("payload").map(|(at, sealed)| Section::read::<hyperdht::Sealed>(at, sealed))
        }
        _ => None,
    };
    sections.push(inner);
    sections.extend(deeper);
    sections
}

/// The Noise message in a handshake; which of the two it is follows from the leg that it is on.
fn handshake(section: &Section) -> Option<Section> {
    let (at, bytes) = section.bytes("noise")?;
    match section.number("mode")? {
        mode::FROM_CLIENT | mode::FROM_RELAY | mode::FROM_SECOND_RELAY => {
            Some(Section::read::<noise::IkRequest>(at, bytes))
        }
        mode::FROM_SERVER | mode::REPLY => Some(Section::read::<noise::IkAnswer>(at, bytes)),
        _ => None,
    }
}
