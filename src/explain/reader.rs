//! Many datagrams, one after the other, as a capture has them: answers are read by what was asked, streams are put
//! together, and what is sealed is opened with the keys of a log.

use std::collections::{BTreeMap, VecDeque};

use super::datagram::{self, Asked};
use super::flow::{Brought, Flow};
use super::keys::Keys;
use super::sealed;
use super::secret::Secret;
use super::section::{Place, Section};
use crate::base::{Addr, Key, limits};
use crate::crypto::noise::IkReader;
use crate::wire::{self, dht_rpc, udx};

/// Reads datagrams in the order of a capture. What it remembers of them is bounded.
///
/// The answer to each is a list of sections: those of the datagram, whose lines cover its bytes, then those of the
/// streams' messages that it completed.
#[derive(Default)]
pub struct Reader {
    keys: Keys,
    /// By who asked and the request's number.
    asked: Recent<(Addr, u16), Question>,
    /// Handshakes by their target and number, for a server's answers to its relays.
    relayed: Recent<(Key, u16), Key>,
    /// Handshakes whose first message was opened, by the initiator's ephemeral key.
    handshakes: Recent<Key, Opened>,
    /// Streams by where they lead: the address and id of who receives.
    flows: BTreeMap<(Addr, u32), Direction>,
    /// The stream ids of both ends, told in a handshake. Each way.
    pairs: Recent<u32, u32>,
    numbered: u32,
    /// Bytes that wait in all directions.
    held: usize,
    clock: u64,
    notes: Vec<String>,
}

/// What a request asked.
#[derive(Clone, Copy)]
struct Question {
    asked: Asked,
    target: Option<Key>,
    /// The initiator's ephemeral key, if a handshake was asked for.
    ephemeral: Option<Key>,
}

/// The first half of a handshake.
#[derive(Clone)]
struct Opened {
    reader: IkReader,
    /// The initiator's stream.
    stream: Option<u32>,
}

/// One direction of a stream.
struct Direction {
    number: u32,
    from: Addr,
    used: u64,
    flow: Flow,
    secret: Secret,
}

impl Direction {
    /// Bytes that wait for others.
    fn held(&self) -> usize {
        self.flow.held() + self.secret.waiting()
    }
}

/// A map that forgets its oldest entries.
struct Recent<K, V> {
    entries: BTreeMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Recent<K, V> {
        Recent { entries: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Copy, V> Recent<K, V> {
    fn put(&mut self, key: K, value: V, max: usize) {
        if self.entries.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > max
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}

impl Reader {
    /// With the keys of a log, or with none.
    pub fn new(keys: Keys) -> Reader {
        Reader { keys, ..Reader::default() }
    }

    /// The next datagram.
    pub fn datagram(&mut self, from: Addr, to: Addr, bytes: &[u8]) -> Vec<Section> {
        self.clock += 1;
        match bytes {
            [] | [_] => datagram::datagram(bytes),
            [udx::MAGIC, ..] => self.packet(from, to, bytes),
            [dht_rpc::REQUEST, ..] => self.request(from, bytes),
            [dht_rpc::RESPONSE, ..] => self.response(to, bytes),
            _ => datagram::datagram(bytes),
        }
    }

    /// What cannot be read for want of datagrams or keys, in words; each thing once.
    pub fn notes(&mut self) -> Vec<String> {
        core::mem::take(&mut self.notes)
    }

    /// No datagram follows: what still waits.
    pub fn finish(&mut self) -> Vec<String> {
        let mut notes = self.notes();
        for ((to, id), direction) in &self.flows {
            let name = Way { from: direction.from, to: *to, id: *id }.name(direction.number);
            match direction.flow.missing() {
                Some((seq, waiting)) if waiting > 0 => notes.push(format!(
                    "{name}: packet {seq} is not in the capture; {waiting} packets behind it are not read"
                )),
                _ if direction.secret.waiting() > 0 => notes.push(format!(
                    "{name}: the capture ends inside a message, of which {} bytes came",
                    direction.secret.waiting()
                )),
                _ => {}
            }
        }
        notes
    }

    fn request(&mut self, from: Addr, bytes: &[u8]) -> Vec<Section> {
        let mut sections = datagram::request(bytes);
        let Ok(message) = wire::decode::<dht_rpc::RequestMessage>(bytes) else { return sections };
        let asked = Asked { internal: message.internal, command: message.command };
        let handshake = noise_of(&sections, "noise.ik_request");
        let ephemeral = handshake.as_ref().and_then(|(_, noise)| noise.first_chunk().copied());
        let question = Question { asked, target: message.target, ephemeral };
        self.asked.put((from, message.tid), question, limits::EXPLAIN_ASKED);
        if let Some((index, noise)) = handshake {
            let (opened, reader) = sealed::request(&self.keys, &mut sections[index], &noise);
            if let (Some(target), Some(ephemeral)) = (message.target, ephemeral) {
                self.relayed.put((target, message.tid), ephemeral, limits::EXPLAIN_HANDSHAKES);
            }
            if let (Some(reader), Some(ephemeral)) = (reader, ephemeral) {
                let stream = opened.last().and_then(|section| section.number("stream id"));
                let stream = stream.and_then(|id| u32::try_from(id).ok());
                self.handshakes.put(ephemeral, Opened { reader, stream }, limits::EXPLAIN_HANDSHAKES);
            }
            sections.extend(opened);
        }
        let ephemeral = message.target.and_then(|target| self.relayed.get(&(target, message.tid)).copied());
        self.answer(&mut sections, ephemeral);
        self.punch(&mut sections, message.target);
        sections
    }

    fn response(&mut self, to: Addr, bytes: &[u8]) -> Vec<Section> {
        let tid = wire::decode::<dht_rpc::ResponseMessage>(bytes).map(|message| message.tid);
        let question = tid.ok().and_then(|tid| self.asked.get(&(to, tid)).copied());
        let mut sections = datagram::response(bytes, question.map(|question| question.asked));
        self.answer(&mut sections, question.and_then(|question| question.ephemeral));
        self.punch(&mut sections, question.and_then(|question| question.target));
        sections
    }

    /// The second message of a handshake, if there is one in `sections`.
    fn answer(&mut self, sections: &mut Vec<Section>, ephemeral: Option<Key>) {
        let Some((index, noise)) = noise_of(sections, "noise.ik_answer") else { return };
        let opened = ephemeral.and_then(|ephemeral| self.handshakes.get(&ephemeral).cloned());
        let stream = opened.as_ref().and_then(|opened| opened.stream);
        let reader = opened.map(|opened| opened.reader);
        let (opened, payload) = sealed::answer(reader, ephemeral, &mut sections[index], &noise);
        if let (Some(ours), Some(theirs)) = (stream, payload.and_then(|payload| payload.udx)) {
            self.pairs.put(ours, theirs.id, limits::EXPLAIN_FLOWS);
            self.pairs.put(theirs.id, ours, limits::EXPLAIN_FLOWS);
        }
        sections.extend(opened);
    }

    /// The payload of a holepunch message, if there is one in `sections`.
    fn punch(&mut self, sections: &mut Vec<Section>, target: Option<Key>) {
        let Some(index) = sections.iter().position(|section| section.format == "hyperdht.sealed") else {
            return;
        };
        let Some((_, bytes)) = sections[..index].iter().rev().find_map(|section| section.bytes("payload"))
        else {
            return;
        };
        let bytes = bytes.to_vec();
        let opened = sealed::punch(&self.keys, target.as_ref(), &mut sections[index], &bytes);
        sections.extend(opened);
    }

    fn packet(&mut self, from: Addr, to: Addr, bytes: &[u8]) -> Vec<Section> {
        let mut sections = datagram::packet(bytes);
        let Ok(header) = wire::decode::<udx::Header>(bytes) else { return sections };
        if sections.iter().any(|section| {
            section.rows.iter().any(|line| line.rule == "udx.3" && line.field == super::section::LOST)
        }) {
            return sections; // udx.3: dropped before it changes anything
        }
        let payload: Vec<u8> = ["data", "message"]
            .iter()
            .find_map(|field| sections.last()?.bytes(field))
            .map_or_else(Vec::new, |(_, bytes)| bytes.to_vec());
        // A stream that leads to its own sender has no other direction.
        let peer = self.peer(from, to, header.remote_id).filter(|peer| *peer != (to, header.remote_id));
        if let Some(peer) = peer {
            self.acked(peer, header.ack);
        }
        if header.kind.message && !payload.is_empty() {
            let id = self.flows.get(&(to, header.remote_id)).and_then(|direction| direction.secret.id());
            let base = bytes.len() - payload.len();
            sections.extend(sealed::unordered(&self.keys, id, base, &payload));
        }
        if header.kind.data || header.kind.end {
            let way = Way { from, to, id: header.remote_id };
            let (said, streamed) = self.follow(way, peer, header.seq, &payload);
            if let Some(last) = sections.last_mut() {
                last.say("data", said);
            }
            sections.extend(streamed);
        }
        sections
    }

    /// A packet that takes a number: what is to be said of it, and what it completes.
    fn follow(
        &mut self,
        way: Way,
        peer: Option<(Addr, u32)>,
        seq: u32,
        payload: &[u8],
    ) -> (String, Vec<Section>) {
        let key = (way.to, way.id);
        self.make_room(key, way.from);
        // The opposite direction is taken out meanwhile, so that its channels can be looked at.
        let other = peer.and_then(|peer| Some((peer, self.flows.remove(&peer)?)));
        let direction = self.flows.get_mut(&key).expect("room was made for it");
        direction.used = self.clock;
        self.held -= direction.held();
        let (number, before, known) = (direction.number, direction.secret.end(), direction.flow.is_lost());
        let (said, mut streamed) = match direction.flow.packet(seq, payload) {
            Brought::Next(bytes) => {
                let other = other.as_ref().map(|(_, other)| &other.secret);
                let streamed = direction.secret.read(&self.keys, &bytes, other);
                (format!("bytes of stream {number} from {before} on"), streamed)
            }
            Brought::Again => ("sent again; it was here before".to_owned(), Vec::new()),
            Brought::Early => ("packets before it are not here yet".to_owned(), Vec::new()),
            Brought::Lost => {
                let streamed = direction.secret.give_up("what comes behind it was not captured");
                ("not read: bytes of the stream before it are not in the capture".to_owned(), streamed)
            }
        };
        if self.held + direction.held() > limits::EXPLAIN_HELD_BYTES {
            direction.flow.lose();
            streamed.extend(direction.secret.give_up("too much waited"));
        }
        if direction.flow.is_lost() && !known {
            let name = way.name(number);
            self.notes
                .push(format!("{name}: too much waits for bytes that did not come; the rest is not read"));
        }
        self.held += direction.held();
        if let Some((peer, other)) = other {
            self.flows.insert(peer, other);
        }
        let place = Place::Stream(number);
        (said, streamed.into_iter().map(|section| Section { place, ..section }).collect())
    }

    /// The opposite direction of a stream that leads from `from` to `to`: by the handshake that made both, or as the
    /// only one that leads the other way.
    fn peer(&self, from: Addr, to: Addr, id: u32) -> Option<(Addr, u32)> {
        if let Some(&other) = self.pairs.get(&id) {
            return self.flows.contains_key(&(from, other)).then_some((from, other));
        }
        let mut back = self.flows.range((from, 0)..=(from, u32::MAX)).filter(|(_, way)| way.from == to);
        match (back.next(), back.next()) {
            (Some((key, _)), None) => Some(*key),
            _ => None,
        }
    }

    fn acked(&mut self, key: (Addr, u32), ack: u32) {
        let Some(direction) = self.flows.get_mut(&key) else { return };
        self.held -= direction.held();
        let lost_now = direction.flow.acked(ack);
        self.held += direction.held();
        if lost_now {
            let name = Way { from: direction.from, to: key.0, id: key.1 }.name(direction.number);
            self.notes.push(format!(
                "{name}: packets that the other side acked are not in the capture; the rest is not read"
            ));
        }
    }

    fn make_room(&mut self, key: (Addr, u32), from: Addr) {
        if self.flows.contains_key(&key) {
            return;
        }
        if self.flows.len() >= limits::EXPLAIN_FLOWS
            && let Some(oldest) = self.flows.iter().min_by_key(|(_, way)| way.used).map(|(key, _)| *key)
        {
            self.held -= self.flows.remove(&oldest).map_or(0, |direction| direction.held());
        }
        let number = self.numbered;
        self.numbered += 1;
        let direction =
            Direction { number, from, used: self.clock, flow: Flow::default(), secret: Secret::default() };
        self.flows.insert(key, direction);
    }
}

/// Where a direction leads: from whom to whom, and the id that the receiver chose.
#[derive(Clone, Copy)]
struct Way {
    from: Addr,
    to: Addr,
    id: u32,
}

impl Way {
    fn name(self, number: u32) -> String {
        let Way { from, to, id } = self;
        format!("stream {number} ({from} to {to}, id {id})")
    }
}

/// The Noise message of that kind in `sections`, and where its parts stand.
fn noise_of(sections: &[Section], format: &str) -> Option<(usize, Vec<u8>)> {
    let index = sections.iter().position(|section| section.format == format)?;
    let (_, bytes) = sections[..index].iter().rev().find_map(|section| section.bytes("noise"))?;
    Some((index, bytes.to_vec()))
}
