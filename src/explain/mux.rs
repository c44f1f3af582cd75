//! The messages of a secret stream as protomux has them: control, batches, and the channels that this side opened.
//! Follows protomux.1 to protomux.7, protomux.38.

use std::collections::BTreeMap;

use super::section::{REST, Section};
use super::{meaning, values};
use crate::base::limits;
use crate::wire::protomux::{self, Batch, Close, Head, ItemHead, Kind, Open, Reject};
use crate::wire::{self, blind_relay, format, hypercore, protomux_rpc};

/// The channels of one direction, by this side's ids. protomux.11
#[derive(Default)]
pub struct Mux {
    channels: BTreeMap<u64, Channel>,
    /// Methods of requests of this side: by the channel's id and the request's.
    calls: BTreeMap<(Vec<u8>, u64), String>,
}

/// A channel that this side opened.
#[derive(Clone)]
struct Channel {
    protocol: String,
    id: Vec<u8>,
}

impl Mux {
    /// A message of the stream. `other`: the channels of the opposite direction.
    pub fn message(&mut self, at: usize, message: &[u8], other: Option<&Mux>) -> Vec<Section> {
        let mut sections = Vec::new();
        let (mut head, used) = Section::head(&format::<Head>(), at, message);
        let Ok(Head { channel, kind }) = wire::decode::<Head>(message) else { return vec![head] };
        self.name(&mut head, channel, kind);
        sections.push(head);
        self.body(&mut sections, at + used, &message[used..], (channel, kind), other, 0);
        sections
    }

    /// Says what channel and kind of a head are.
    fn name(&self, head: &mut Section, channel: u64, kind: u64) {
        if channel == 0 {
            head.say("channel", "control");
            head.say("kind", meaning::control(kind));
            return;
        }
        match self.channels.get(&channel) {
            Some(open) => {
                head.say("channel", &open.protocol[..]);
                head.say("kind", kind_name(&open.protocol, kind));
            }
            None => head.say("channel", "its open was not seen"),
        }
    }

    fn body(
        &mut self,
        sections: &mut Vec<Section>,
        at: usize,
        body: &[u8],
        (channel, kind): (u64, u64),
        other: Option<&Mux>,
        depth: usize,
    ) {
        if channel != 0 {
            return self.channel_message(sections, at, body, (channel, kind), other);
        }
        match kind {
            protomux::BATCH if depth < limits::EXPLAIN_DEPTH => self.batch(sections, at, body, other, depth),
            protomux::OPEN => self.open(sections, at, body),
            protomux::REJECT => sections.push(Section::read::<Reject>(at, body)),
            protomux::CLOSE => {
                sections.push(Section::read::<Close>(at, body));
                if let Ok(close) = wire::decode::<Close>(body) {
                    self.channels.remove(&close.channel);
                }
            }
            protomux::BATCH => sections.extend(unread("protomux.batch", at, body, "protomux.31")),
            // protomux.26
            _ => sections.extend(unread("protomux.control", at, body, "protomux.26")),
        }
    }

    fn open(&mut self, sections: &mut Vec<Section>, at: usize, body: &[u8]) {
        let mut section = Section::read::<Open>(at, body);
        let Ok(open) = wire::decode::<Open>(body) else { return sections.push(section) };
        let handshake = section.bytes("handshake").map(|(at, bytes)| (at, bytes.to_vec()));
        // protomux.3: the handshake has no length; a channel without one has no such bytes
        section.rows.retain(|line| line.len > 0);
        sections.push(section);
        if let Some((at, bytes)) = handshake.filter(|(_, bytes)| !bytes.is_empty()) {
            match &open.protocol[..] {
                values::HYPERCORE | values::HYPERCORE_OLD => {
                    sections.push(Section::read::<hypercore::Handshake>(at, &bytes));
                }
                protomux_rpc::PROTOCOL => {
                    sections.push(Section::read::<protomux_rpc::Capability>(at, &bytes))
                }
                _ => {}
            }
        }
        if self.channels.len() < limits::EXPLAIN_CHANNELS {
            let id = open.id.unwrap_or_default();
            self.channels.insert(open.channel, Channel { protocol: open.protocol, id });
        }
    }

    /// protomux.5 to protomux.7
    fn batch(
        &mut self,
        sections: &mut Vec<Section>,
        at: usize,
        body: &[u8],
        other: Option<&Mux>,
        depth: usize,
    ) {
        let whole = Section::read::<Batch>(at, body);
        if whole.fault.is_some() {
            return sections.push(whole);
        }
        let Ok((first, mut rest)) = wire::decode_head::<Close>(body) else { return };
        let mut channel = first.channel;
        sections.push(whole);
        while let Ok((item, behind)) = wire::decode_head::<ItemHead>(rest)
            && sections.len() < limits::EXPLAIN_ROWS
        {
            if item.length == 0 {
                channel = item.channel;
                rest = behind;
                continue;
            }
            let len = usize::try_from(item.length).map_or(behind.len(), |len| len.min(behind.len()));
            let (message, behind) = behind.split_at(len);
            let at = at + body.len() - behind.len() - len;
            rest = behind;
            let (mut head, used) = Section::head(&format::<Kind>(), at, message);
            let Ok(Kind(kind)) = wire::decode::<Kind>(message) else {
                sections.push(head);
                continue;
            };
            self.name_kind(&mut head, channel, kind);
            sections.push(head);
            self.body(sections, at + used, &message[used..], (channel, kind), other, depth + 1);
        }
    }

    fn name_kind(&self, head: &mut Section, channel: u64, kind: u64) {
        let name = match self.channels.get(&channel) {
            _ if channel == 0 => format!("control: {}", meaning::control(kind)),
            Some(open) => {
                format!("channel {channel}, {}: {}", open.protocol, kind_name(&open.protocol, kind))
            }
            None => format!("channel {channel}, whose open was not seen"),
        };
        head.say("kind", name);
    }

    fn channel_message(
        &mut self,
        sections: &mut Vec<Section>,
        at: usize,
        body: &[u8],
        (channel, kind): (u64, u64),
        other: Option<&Mux>,
    ) {
        let Some(open) = self.channels.get(&channel).cloned() else {
            return sections.extend(unread("protomux.message", at, body, "protomux.25"));
        };
        match (&open.protocol[..], kind) {
            (protomux_rpc::PROTOCOL, protomux_rpc::REQUEST) => {
                if let Ok(request) = wire::decode::<protomux_rpc::Request>(body)
                    && self.calls.len() < limits::EXPLAIN_CHANNELS
                {
                    self.calls.insert((open.id, request.id), request.method);
                }
                values::request(sections, at, body);
            }
            (protomux_rpc::PROTOCOL, protomux_rpc::RESPONSE) => {
                let response = wire::decode::<protomux_rpc::Response>(body).ok();
                let method = response.and_then(|response| other?.calls.get(&(open.id, response.id)));
                values::response(sections, at, body, method.map(String::as_str));
            }
            (values::HYPERCORE | values::HYPERCORE_OLD, _) => values::replication(sections, at, body, kind),
            (blind_relay::PROTOCOL, blind_relay::PAIR) => {
                sections.push(Section::read::<blind_relay::Pair>(at, body));
            }
            (blind_relay::PROTOCOL, blind_relay::UNPAIR) => {
                sections.push(Section::read::<blind_relay::Unpair>(at, body));
            }
            _ => sections.extend(unread("protomux.message", at, body, "protomux.1")),
        }
    }
}

/// A body that is the channel's own.
fn unread(format: &'static str, at: usize, body: &[u8], rule: &'static str) -> Option<Section> {
    (!body.is_empty()).then(|| Section::opaque(format, at, body, REST, rule))
}

/// What messages of that kind are called.
fn kind_name(protocol: &str, kind: u64) -> &'static str {
    match (protocol, kind) {
        (protomux_rpc::PROTOCOL, protomux_rpc::REQUEST) => "request",
        (protomux_rpc::PROTOCOL, protomux_rpc::RESPONSE) => "response",
        (values::HYPERCORE | values::HYPERCORE_OLD, _) => values::replication_kind(kind),
        (blind_relay::PROTOCOL, blind_relay::PAIR) => "pair",
        (blind_relay::PROTOCOL, blind_relay::UNPAIR) => "unpair",
        _ => "",
    }
}
