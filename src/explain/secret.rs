//! The frames of a secret stream, one direction of it: handshake, header, messages, and what a key opens of them.
//! Follows secret_stream.1, secret_stream.4, secret_stream.6, secret_stream.12.

use super::keys::Keys;
use super::mux::Mux;
use super::sealed;
use super::section::Section;
use crate::base::{Key, hex};
use crate::crypto::secretstream::Pull;
use crate::wire::secret_stream::{Head, Header, Message};
use crate::wire::{Format, format, noise, protomux};

/// One direction of a secret stream, or of a stream that is none.
#[derive(Default)]
pub struct Secret {
    /// Bytes that are not a whole frame yet, and where in the stream they begin.
    bytes: Vec<u8>,
    at: usize,
    frames: usize,
    /// The messages of XX in this direction.
    shaken: Vec<Vec<u8>>,
    phase: Phase,
}

#[derive(Default)]
enum Phase {
    /// Before the header.
    #[default]
    Start,
    /// The header was read.
    Open { id: Key, pull: Option<Box<Pull>>, above: Above },
    /// Not a secret stream, or not to be followed any more; why.
    Plain(&'static str),
}

/// What the messages are.
enum Above {
    /// No message yet.
    Unknown,
    Mux(Box<Mux>),
    /// The application's own.
    Raw,
}

impl Secret {
    /// The stream id in this direction's header.
    pub fn id(&self) -> Option<&Key> {
        match &self.phase {
            Phase::Open { id, .. } => Some(id),
            Phase::Start | Phase::Plain(_) => None,
        }
    }

    /// The channels on it, if it has any.
    pub fn mux(&self) -> Option<&Mux> {
        match &self.phase {
            Phase::Open { above: Above::Mux(mux), .. } => Some(mux),
            Phase::Open { .. } | Phase::Start | Phase::Plain(_) => None,
        }
    }

    /// Bytes that wait for the rest of their frame.
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Where the next bytes of the stream begin.
    pub fn end(&self) -> usize {
        self.at + self.bytes.len()
    }

    /// Follows this direction no more; what waits is handed out as it is.
    pub fn give_up(&mut self, why: &'static str) -> Vec<Section> {
        self.phase = Phase::Plain(why);
        self.rest()
    }

    /// The next bytes of the stream, and what frames they complete. `other` is the opposite direction.
    pub fn read(&mut self, keys: &Keys, bytes: &[u8], other: Option<&Secret>) -> Vec<Section> {
        self.bytes.extend_from_slice(bytes);
        let mut sections = Vec::new();
        let mut held = core::mem::take(&mut self.bytes);
        let mut rest = &held[..];
        while !matches!(self.phase, Phase::Plain(_)) {
            let Ok(Head { len }) = crate::wire::decode::<Head>(rest) else { break };
            let whole = Head::LEN + len as usize;
            if !self.plausible(len as usize) {
                self.phase = Phase::Plain("not frames of a secret stream");
            } else if rest.len() >= whole {
                let (frame, behind) = rest.split_at(whole);
                sections.extend(self.frame(keys, self.at, frame, other));
                self.at += whole;
                self.frames += 1;
                rest = behind;
            } else {
                break;
            }
        }
        let used = held.len() - rest.len();
        held.drain(..used);
        self.bytes = held;
        sections.extend(self.rest());
        sections
    }

    /// Whether a frame of that length can come now: XX has messages of 32, 96 and 64 bytes, the header has 56.
    fn plausible(&self, len: usize) -> bool {
        match &self.phase {
            Phase::Start => len == Header::BODY || self.xx(len).is_some(),
            Phase::Open { .. } => len >= crate::crypto::secretstream::OVERHEAD,
            Phase::Plain(_) => false,
        }
    }

    /// Which message of XX a frame of that length is, when no header came yet. secret_stream.4: payloads are empty
    fn xx(&self, len: usize) -> Option<Format> {
        match (self.frames, len) {
            (0, 32) => Some(format::<noise::XxFirst>()),
            (0, 96) => Some(format::<noise::XxSecond>()),
            (1, 64) => Some(format::<noise::XxThird>()),
            _ => None,
        }
    }

    /// What waits, if this direction is not followed.
    fn rest(&mut self) -> Vec<Section> {
        let Phase::Plain(why) = self.phase else { return Vec::new() };
        if self.bytes.is_empty() {
            return Vec::new();
        }
        let mut section = Section::opaque("udx.stream", self.at, &self.bytes, "data", "udx.10");
        section.say("data", why);
        self.at += self.bytes.len();
        self.bytes.clear();
        vec![section]
    }

    fn frame(&mut self, keys: &Keys, at: usize, frame: &[u8], other: Option<&Secret>) -> Vec<Section> {
        let body = &frame[Head::LEN..];
        match &mut self.phase {
            Phase::Start if body.len() == Header::BODY => {
                let mut section = Section::read::<Header>(at, frame);
                let Ok(header) = crate::wire::decode::<Header>(frame) else { return vec![section] };
                let key = keys.stream(&header.stream_id);
                section.say("stream id", wanted(key.is_some(), &header.stream_id));
                let pull = key.map(|key| Box::new(Pull::new(key, &header.header)));
                self.phase = Phase::Open { id: header.stream_id, pull, above: Above::Unknown };
                vec![section]
            }
            Phase::Start => {
                let mut sections = vec![Section::read::<Head>(at, &frame[..Head::LEN])];
                if let Some(format) = self.xx(body.len()) {
                    self.shaken.push(body.to_vec());
                    let message = Section::of(&format, at + Head::LEN, body);
                    sections.extend(sealed::own(
                        keys,
                        message,
                        &self.shaken,
                        other.map(|other| &other.shaken[..]),
                    ));
                }
                sections
            }
            Phase::Open { id, pull, above } => {
                let head = Section::read::<Head>(at, &frame[..Head::LEN]);
                let at = at + Head::LEN;
                let mut sealed = Section::read::<Message>(at, body);
                let Some(known) = pull else {
                    sealed.say("sealed message", wanted(false, id));
                    return vec![head, sealed];
                };
                let Ok(message) = known.pull(body) else {
                    sealed.say(
                        "sealed message",
                        "the key of the log does not open it, nor what comes behind it",
                    );
                    *pull = None;
                    return vec![head, sealed];
                };
                let said = if message.is_empty() { "empty: keep-alive" } else { "opened below" };
                sealed.say(if message.is_empty() { "mac" } else { "sealed message" }, said);
                let mut sections = vec![head, sealed];
                sections.extend(above.read(at + 1, &message, other.and_then(Secret::mux)));
                sections
            }
            Phase::Plain(_) => Vec::new(),
        }
    }
}

fn wanted(known: bool, id: &Key) -> String {
    if known {
        "its key is in the key log".to_owned()
    } else {
        format!("sealed; a key log line SECRET_STREAM {} opens it", hex::encode(id))
    }
}

impl Above {
    /// One message. The first that is not empty tells what they all are: channels begin with a message of control.
    fn read(&mut self, at: usize, message: &[u8], other: Option<&Mux>) -> Vec<Section> {
        if message.is_empty() {
            return Vec::new();
        }
        if let Above::Unknown = self {
            *self = if opens_channels(message) { Above::Mux(Box::default()) } else { Above::Raw };
        }
        match self {
            Above::Mux(mux) => mux.message(at, message, other),
            Above::Unknown | Above::Raw => {
                vec![Section::opaque("secret_stream.opened", at, message, "message", "secret_stream.12")]
            }
        }
    }
}

/// A whole open, or a batch whose items are whole.
fn opens_channels(message: &[u8]) -> bool {
    let Ok((head, body)) = crate::wire::decode_head::<protomux::Head>(message) else { return false };
    if head.channel != 0 {
        return false;
    }
    match head.kind {
        protomux::OPEN => {
            crate::wire::decode::<protomux::Open>(body).is_ok_and(|open| !open.protocol.is_empty())
        }
        protomux::BATCH => {
            crate::wire::decode::<protomux::Batch>(body).is_ok_and(|batch| !batch.items.is_empty())
        }
        _ => false,
    }
}
