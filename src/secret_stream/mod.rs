//! Encrypted, ordered messages over a byte stream, and unordered ones over its datagrams. Follows secret_stream.1 to
//! secret_stream.26. `frames` cuts the bytes, `boxes` holds the unordered messages, `crypto::secretstream` seals.

mod boxes;
mod dues;
mod fault;
mod frames;

use std::collections::VecDeque;

use crate::base::limits::{
    SECRET_STREAM_FRAME_MAX, SECRET_STREAM_REST_MIN, SECRET_STREAM_UNORDERED_MAX, SECRET_STREAM_UNREAD_MAX,
    SECRET_STREAM_UNSENT_MAX,
};
use crate::base::{Bytes, Cx, Deadline, Error, Key, Machine, Span, Time, trace};
use crate::crypto::secretstream::{self, Pull, Push};
use crate::crypto::{KeyPair, Noise, NoiseKeys, Secret, hash};
use crate::wire::{
    self,
    secret_stream::{Head, Header},
};
use boxes::Boxes;
use dues::Dues;
pub use fault::{Fault, Why};
use frames::{Body, Found, Frames};

/// The longest message of one frame, in bytes. (secret_stream.12)
pub const MESSAGE_MAX: usize = SECRET_STREAM_FRAME_MAX - secretstream::OVERHEAD;
/// Places of a queue that an idle stream keeps.
const QUEUE_KEPT: usize = 4;
const NAMESPACE: &str = "hyperswarm/secret-stream";

/// What a handshake that was done elsewhere hands over.
#[derive(Clone, Debug)]
pub struct Keys {
    pub initiator: bool,
    pub keys: NoiseKeys,
    /// Our own static public key.
    pub public: Key,
}

/// Told by the byte stream below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    Bytes(&'a [u8]),
    /// A datagram beside the stream.
    Message(&'a [u8]),
    /// The peer writes no more; all its bytes came before.
    Ended,
    /// The stream is gone.
    Closed,
}

/// Asked of the byte stream below.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Write(Bytes),
    /// A datagram beside the stream.
    Send(Vec<u8>),
    /// No more writes.
    End,
    /// Drop the stream at once, together with what it still holds.
    Destroy,
}

/// Told to the layer above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer's key is known and messages can be sent; whether the peer is there shows with its first message.
    Open {
        remote_key: Key,
        handshake_hash: [u8; 64],
    },
    Message(Vec<u8>),
    /// A message that came beside the stream: in any order, not at all, or more than once.
    Unordered(Vec<u8>),
    /// The peer sends no more messages. Ours still arrive there.
    Ended,
    /// The last event, always.
    Closed(Why),
}

/// Counters. Bytes are those of data frames: read without the three bytes of length, written with them; neither the
/// handshake nor the header counts. (secret_stream.16)
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    pub raw_bytes_read: u64,
    pub raw_bytes_written: u64,
    /// Unordered messages that were not the peer's, or for which there was no room.
    pub unordered_dropped: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Initiator,
    Responder,
}

impl Role {
    fn of(initiator: bool) -> Role {
        if initiator { Role::Initiator } else { Role::Responder }
    }

    fn other(self) -> Role {
        Role::of(self == Role::Responder)
    }

    /// Its place in the namespace. (secret_stream.7)
    fn number(self) -> u8 {
        match self {
            Role::Initiator => 0,
            Role::Responder => 1,
        }
    }
}

enum Phase {
    /// Our own handshake goes on. Messages wait.
    Shaking {
        noise: Box<Noise>,
    },
    /// The keys are known and our header is written; the peer's is not here yet.
    Keyed {
        push: Push,
        rx: Secret,
        remote_id: Key,
    },
    /// Both headers are known.
    Open {
        push: Push,
        pull: Pull,
    },
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    KeepAlive,
    Silence,
    Rest,
}

/// One end of an encrypted stream.
///
/// Commands: `send`, `write`, `send_unordered`, `end`, `destroy`, `set_keep_alive`, `set_timeout`, `set_patience`.
/// Deadlines: the next keep-alive, the end of the peer's allowed silence, and of the wait for the rest of a message.
/// Not done here: telling the layer below to read slower; who takes the events decides that.
pub struct SecretStream {
    role: Role,
    public: Key,
    remote: Option<(Key, [u8; 64])>,
    phase: Phase,
    frames: Frames,
    boxes: Option<Boxes>,
    /// Messages that wait for the handshake.
    waiting: VecDeque<Vec<u8>>,
    ending: Half,
    remote_ended: bool,
    keep_alive: Option<Span>,
    timeout: Option<Span>,
    patience: Option<Span>,
    /// Bytes that came so far; and when the rest of the message was last seen to come.
    arrived: u64,
    arrived_before: u64,
    swallow_empty: bool,
    timers: Dues,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    /// Bytes in `waiting` and `outputs`; bytes and unordered messages in `events`; datagrams in `outputs`.
    unsent: usize,
    unread: usize,
    unordered_unread: usize,
    unordered_unsent: usize,
    /// Messages that were sealed, and opened.
    sealed: u64,
    opened: u64,
    stats: Stats,
}

/// Our half of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    Open,
    /// `end` was called before the handshake was done.
    Wanted,
    Ended,
}

impl SecretStream {
    /// A stream whose handshake was done elsewhere. Its header is the first output, `Open` the first event.
    pub fn with_keys(cx: &mut Cx<'_>, keys: Keys) -> SecretStream {
        let mut stream = SecretStream::new(keys.initiator, keys.public);
        stream.key(cx, &keys.keys);
        stream
    }

    /// A stream that does its own handshake (XX, without a prologue).
    pub fn handshake(cx: &mut Cx<'_>, initiator: bool, key_pair: &KeyPair) -> SecretStream {
        let mut stream = SecretStream::new(initiator, key_pair.public);
        let mut noise = Noise::xx(cx.entropy, initiator, key_pair, &[]);
        // secret_stream.4
        if initiator {
            let message = noise.write(&[]).expect("the first message of XX is a fresh public key");
            stream.write_frame(cx, &message);
        }
        stream.phase = Phase::Shaking { noise: Box::new(noise) };
        stream
    }

    fn new(initiator: bool, public: Key) -> SecretStream {
        SecretStream {
            role: Role::of(initiator),
            public,
            remote: None,
            phase: Phase::Closed,
            frames: Frames::default(),
            boxes: None,
            waiting: VecDeque::new(),
            ending: Half::Open,
            remote_ended: false,
            keep_alive: None,
            timeout: None,
            patience: None,
            arrived: 0,
            arrived_before: 0,
            swallow_empty: false,
            timers: Dues::default(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            unsent: 0,
            unread: 0,
            unordered_unread: 0,
            unordered_unsent: 0,
            sealed: 0,
            opened: 0,
            stats: Stats::default(),
        }
    }

    /// Sends one message of at most `MESSAGE_MAX` bytes. Before the handshake is done it waits. (secret_stream.11)
    ///
    /// `NotOpen` after `end` and when closed; `Full` while the layer below takes nothing; `Invalid` if too long.
    pub fn send(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Error> {
        if matches!(self.phase, Phase::Closed) || self.ending != Half::Open {
            return Err(Error::NotOpen);
        }
        if message.len() > MESSAGE_MAX {
            return Err(Error::Invalid("longer than a message of a secret stream can be"));
        }
        if self.unsent.saturating_add(message.len()) > SECRET_STREAM_UNSENT_MAX {
            return Err(Error::Full);
        }
        self.seal_or_wait(cx, message);
        Ok(())
    }

    /// Sends bytes of any number to a peer that reads them as a stream, in as many messages as they need.
    /// (secret_stream.13) All or nothing; fails as `send` does, but takes any length while nothing else is unsent.
    pub fn write(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), Error> {
        if matches!(self.phase, Phase::Closed) || self.ending != Half::Open {
            return Err(Error::NotOpen);
        }
        let frames = bytes.len() / MESSAGE_MAX + 1;
        let sealed = bytes.len().saturating_add(frames * (Head::LEN + secretstream::OVERHEAD));
        if self.unsent > 0 && self.unsent.saturating_add(sealed) > SECRET_STREAM_UNSENT_MAX {
            return Err(Error::Full);
        }
        for part in bytes.chunks(MESSAGE_MAX) {
            self.seal_or_wait(cx, part);
        }
        Ok(())
    }

    /// Sends a datagram beside the stream: it may get lost. `NotOpen` before the handshake is done and when closed;
    /// `Full` while the layer below takes nothing. (secret_stream.17)
    pub fn send_unordered(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Error> {
        if matches!(self.phase, Phase::Closed) {
            return Err(Error::NotOpen);
        }
        let boxes = self.boxes.as_mut().ok_or(Error::NotOpen)?;
        if self.unordered_unsent >= SECRET_STREAM_UNORDERED_MAX {
            return Err(Error::Full);
        }
        let Some(datagram) = boxes.seal(message) else {
            self.fault(cx, Fault::NoncesUsedUp); // secret_stream.19
            return Err(Error::NotOpen);
        };
        trace!(cx, Out, "secret_stream", part: "", rule: "secret_stream.18", "datagram, {} bytes", message.len());
        self.unordered_unsent += 1;
        self.outputs.push_back(Output::Send(datagram));
        Ok(())
    }

    /// No more messages from this side; what was sent still arrives. (secret_stream.22)
    pub fn end(&mut self, cx: &mut Cx<'_>) {
        if self.ending != Half::Open {
            return;
        }
        self.timers.clear(Timer::KeepAlive);
        self.keep_alive = None;
        match self.phase {
            Phase::Closed => {}
            Phase::Shaking { .. } => {
                trace!(cx, State, "secret_stream", part: "", "our side ends after the handshake");
                self.ending = Half::Wanted;
            }
            Phase::Keyed { .. } | Phase::Open { .. } => {
                trace!(cx, State, "secret_stream", part: "", rule: "secret_stream.22", "our side ends");
                self.ending = Half::Ended;
                self.outputs.push_back(Output::End);
            }
        }
    }

    /// Ends everything now.
    pub fn destroy(&mut self, cx: &mut Cx<'_>) {
        self.close(cx, Why::Destroyed, true);
    }

    /// Sends an empty message whenever nothing was sent for `every`; `None` stops that. Once it was on, empty
    /// messages of the peer are swallowed for good. (secret_stream.14, secret_stream.15)
    pub fn set_keep_alive(&mut self, cx: &mut Cx<'_>, every: Option<Span>) {
        self.timers.clear(Timer::KeepAlive);
        self.keep_alive = every.filter(|span| *span > Span::ZERO);
        if self.keep_alive.is_some() {
            self.swallow_empty = true;
        }
        if matches!(self.phase, Phase::Closed) || self.ending != Half::Open {
            self.keep_alive = None;
        }
        self.refresh_keep_alive(cx.now);
    }

    /// Swallows empty messages of the peer although no keep-alive is on here. (secret_stream.15)
    pub fn swallow_empty_messages(&mut self) {
        self.swallow_empty = true;
    }

    /// Closes the stream when no byte arrives for `silence`; `None` waits for ever. (secret_stream.23)
    pub fn set_timeout(&mut self, cx: &mut Cx<'_>, silence: Option<Span>) {
        self.timers.clear(Timer::Silence);
        self.timeout = silence.filter(|span| *span > Span::ZERO);
        if matches!(self.phase, Phase::Closed) {
            self.timeout = None;
        }
        self.refresh_timeout(cx.now);
    }

    /// Closes the stream when a message has begun, and in each `span` less than `limits::SECRET_STREAM_REST_MIN` bytes
    /// come of its rest; `None` waits for ever. (secret_stream.27)
    pub fn set_patience(&mut self, cx: &mut Cx<'_>, span: Option<Span>) {
        self.timers.clear(Timer::Rest);
        self.patience = span.filter(|span| *span > Span::ZERO);
        if matches!(self.phase, Phase::Closed) {
            self.patience = None;
        }
        self.expect_rest(cx.now);
    }

    /// A message has begun to arrive and is not whole.
    pub fn is_mid_message(&self) -> bool {
        self.frames.is_partial()
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    pub fn initiator(&self) -> bool {
        self.role == Role::Initiator
    }

    /// Our own static key.
    pub fn public_key(&self) -> &Key {
        &self.public
    }

    /// The peer's static key, once the handshake is done.
    pub fn remote_key(&self) -> Option<&Key> {
        self.remote.as_ref().map(|(key, _)| key)
    }

    /// Names this connection to both sides alike, once the handshake is done.
    pub fn handshake_hash(&self) -> Option<&[u8; 64]> {
        self.remote.as_ref().map(|(_, hash)| hash)
    }

    /// Whether there is an event to take, or something for the layer below.
    pub fn has_news(&self) -> bool {
        !(self.events.is_empty() && self.outputs.is_empty())
    }

    /// Bytes that the layer below has not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent
    }

    /// The keys are known: writes the header and what waited for it.
    fn key(&mut self, cx: &mut Cx<'_>, keys: &NoiseKeys) {
        let stream_id = |role: Role| stream_id(&keys.handshake_hash, role == Role::Initiator);
        let (push, header) = Push::new(cx.entropy, &keys.tx);
        let boxes = Boxes::new(cx.entropy, &keys.handshake_hash, self.role);
        if cx.trace.wants_keys() {
            let (ours, theirs) = (stream_id(self.role), stream_id(self.role.other()));
            cx.trace.key("SECRET_STREAM", &ours, &[&keys.tx]); // key_log.2
            cx.trace.key("SECRET_STREAM", &theirs, &[&keys.rx]);
            boxes.log(cx.trace, &ours, &theirs);
        }
        self.boxes = Some(boxes);
        let mut frame = Vec::with_capacity(Head::LEN + Header::BODY);
        // secret_stream.5, secret_stream.6
        wire::encode_into(&mut Header { stream_id: stream_id(self.role), header }, &mut frame);
        trace!(cx, Out, "secret_stream", part: "", rule: "secret_stream.6", "header, {} bytes", Header::BODY);
        self.push_write(frame.into());
        self.phase = Phase::Keyed { push, rx: Secret(keys.rx), remote_id: stream_id(self.role.other()) };
        self.remote = Some((keys.remote_public, keys.handshake_hash));
        // secret_stream.10
        self.events
            .push_back(Event::Open { remote_key: keys.remote_public, handshake_hash: keys.handshake_hash });
        trace!(cx, State, "secret_stream", part: "", rule: "secret_stream.10", "open, {:?}", self.role);
        for message in core::mem::take(&mut self.waiting) {
            self.unsent -= message.len();
            self.seal(cx, &message);
        }
        if self.ending == Half::Wanted {
            self.ending = Half::Open;
            self.end(cx);
        }
    }

    fn seal_or_wait(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        match &self.phase {
            Phase::Closed => {}
            Phase::Shaking { .. } => {
                self.unsent += message.len();
                self.waiting.push_back(message.to_vec());
            }
            Phase::Keyed { .. } | Phase::Open { .. } => self.seal(cx, message),
        }
    }

    /// Seals one message; the keys are known and it fits a frame.
    fn seal(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        let (Phase::Keyed { push, .. } | Phase::Open { push, .. }) = &mut self.phase else { return };
        let sealed = message.len() + secretstream::OVERHEAD;
        // The only copy of the message: it is sealed where it lies, and its head stands in front of it.
        let mut buffer = Vec::with_capacity(secretstream::FRONT + sealed + secretstream::BEHIND);
        wire::encode_into(&mut Head { len: sealed as u32 }, &mut buffer);
        let head: [u8; Head::LEN] = *buffer.first_chunk().expect("just written");
        buffer.resize(secretstream::FRONT + 1, 0);
        buffer.extend_from_slice(message);
        push.seal(&mut buffer);
        let start = secretstream::FRONT - Head::LEN;
        buffer[start..secretstream::FRONT].copy_from_slice(&head);
        let frame = Bytes::behind(buffer, start);
        let (number, len) = (self.sealed, message.len());
        trace!(cx, Out, "secret_stream", part: "", rule: "secret_stream.12", "message {number}, {len} bytes");
        self.sealed += 1;
        self.stats.raw_bytes_written += frame.len() as u64; // secret_stream.16
        self.push_write(frame);
        self.refresh_keep_alive(cx.now); // secret_stream.14
    }

    /// Writes a frame of the handshake.
    fn write_frame(&mut self, cx: &mut Cx<'_>, body: &[u8]) {
        trace!(cx, Out, "secret_stream", part: "", rule: "secret_stream.4", "handshake, {} bytes", body.len());
        let mut frame = Vec::with_capacity(Head::LEN + body.len());
        wire::encode_into(&mut Head { len: body.len() as u32 }, &mut frame);
        frame.extend_from_slice(body);
        self.push_write(frame.into());
    }

    fn push_write(&mut self, frame: Bytes) {
        self.unsent += frame.len();
        self.outputs.push_back(Output::Write(frame));
    }

    fn read(&mut self, cx: &mut Cx<'_>, mut bytes: &[u8]) {
        if matches!(self.phase, Phase::Closed) || self.remote_ended {
            return;
        }
        if !bytes.is_empty() {
            self.refresh_timeout(cx.now); // secret_stream.23: any byte, not only a whole frame
            self.arrived += bytes.len() as u64;
        }
        while !matches!(self.phase, Phase::Closed) {
            match self.frames.next(&mut bytes) {
                Found::Nothing => return self.expect_rest(cx.now),
                Found::Announced(len) => {
                    if let Some(fault) = self.refuses(len) {
                        self.fault(cx, fault);
                    }
                }
                Found::Body(body) => {
                    self.timers.clear(Timer::Rest);
                    self.frame(cx, body);
                }
            }
        }
    }

    /// Whether no frame of that length can come now. (secret_stream.8, secret_stream.9, secret_stream.24)
    fn refuses(&self, len: usize) -> Option<Fault> {
        match self.phase {
            Phase::Shaking { .. } if len > crate::crypto::noise::MESSAGE_MAX => {
                Some(Fault::HandshakeLength(len))
            }
            Phase::Keyed { .. } if len != Header::BODY => Some(Fault::HeaderLength(len)),
            Phase::Open { .. } if len < secretstream::OVERHEAD => Some(Fault::TooShort(len)),
            Phase::Shaking { .. } | Phase::Keyed { .. } | Phase::Open { .. } | Phase::Closed => None,
        }
    }

    fn frame(&mut self, cx: &mut Cx<'_>, body: Body<'_>) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Shaking { .. } => self.shake(cx, &body),
            Phase::Keyed { .. } => self.meet(cx, &body),
            Phase::Open { pull, .. } => {
                let number = self.opened;
                self.opened += 1;
                self.stats.raw_bytes_read += body.len() as u64; // secret_stream.16
                let len = body.len() - secretstream::OVERHEAD.min(body.len());
                trace!(cx, In, "secret_stream", part: "", rule: "secret_stream.12", "message {number}, {len} bytes");
                let opened = match body {
                    Body::There(sealed) => pull.pull(sealed),
                    Body::Here(buffer) => pull.open(buffer),
                };
                match opened {
                    Ok(message) => self.deliver(cx, message),
                    Err(_) => self.fault(cx, Fault::Forged), // secret_stream.24
                }
            }
        }
    }

    fn deliver(&mut self, cx: &mut Cx<'_>, message: Vec<u8>) {
        // secret_stream.15
        if message.is_empty() && self.swallow_empty {
            trace!(cx, Drop, "secret_stream", part: "", rule: "secret_stream.15", "an empty message");
            return;
        }
        self.unread += message.len();
        if self.unread > SECRET_STREAM_UNREAD_MAX {
            return self.fault(cx, Fault::Flooded);
        }
        self.events.push_back(Event::Message(message));
    }

    /// The next message of our own handshake. (secret_stream.4)
    fn shake(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        trace!(cx, In, "secret_stream", part: "", rule: "secret_stream.4", "handshake, {} bytes", message.len());
        let Phase::Shaking { noise } = &mut self.phase else { return };
        let mut reply = None;
        let mut shaken = noise.read(message).map(drop);
        if shaken.is_ok() && !noise.finished() {
            shaken = noise.write(&[]).map(|message| reply = Some(message));
        }
        if let Err(error) = shaken {
            return self.fault(cx, Fault::Handshake(error));
        }
        if let Some(reply) = reply {
            self.write_frame(cx, &reply);
        }
        let Phase::Shaking { noise } = &self.phase else { return };
        if !noise.finished() {
            return;
        }
        if let Phase::Shaking { noise } = core::mem::replace(&mut self.phase, Phase::Closed) {
            noise.log(cx.trace); // key_log.5
            let keys = noise.finish().expect("it is finished");
            self.key(cx, &keys);
        }
    }

    /// The peer's header. (secret_stream.8)
    fn meet(&mut self, cx: &mut Cx<'_>, body: &[u8]) {
        trace!(cx, In, "secret_stream", part: "", rule: "secret_stream.8", "header, {} bytes", body.len());
        let Some((id, header)) = body.split_first_chunk::<32>() else { return };
        let Phase::Keyed { remote_id, .. } = &self.phase else { return };
        let header: Option<&[u8; secretstream::HEADER]> = header.try_into().ok();
        let Some(header) = header.filter(|_| id == remote_id) else {
            return self.fault(cx, Fault::WrongId);
        };
        if let Phase::Keyed { push, rx, .. } = core::mem::replace(&mut self.phase, Phase::Closed) {
            self.phase = Phase::Open { push, pull: Pull::new(&rx.0, header) };
            trace!(cx, State, "secret_stream", part: "", rule: "secret_stream.8", "the peer's messages can be read");
        }
    }

    fn read_unordered(&mut self, cx: &mut Cx<'_>, datagram: &[u8]) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        // secret_stream.20, secret_stream.21: what is not the peer's vanishes.
        let message = self.boxes.as_ref().and_then(|boxes| boxes.open(datagram));
        match message.filter(|_| self.unordered_unread < SECRET_STREAM_UNORDERED_MAX) {
            Some(message) => {
                let len = message.len();
                trace!(cx, In, "secret_stream", part: "", rule: "secret_stream.18", "datagram, {len} bytes");
                self.unordered_unread += 1;
                self.events.push_back(Event::Unordered(message));
            }
            None => {
                let len = datagram.len();
                trace!(cx, Drop, "secret_stream", part: "", rule: "secret_stream.20", "a datagram of {len} bytes");
                self.stats.unordered_dropped += 1;
            }
        }
    }

    fn read_end(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Closed => {}
            // secret_stream.25
            Phase::Shaking { .. } => self.fault(cx, Fault::EndedEarly),
            Phase::Keyed { .. } | Phase::Open { .. } => {
                if !self.remote_ended {
                    trace!(cx, State, "secret_stream", part: "", rule: "secret_stream.22", "the peer's side ended");
                    self.remote_ended = true;
                    self.events.push_back(Event::Ended);
                }
            }
        }
    }

    fn fault(&mut self, cx: &mut Cx<'_>, fault: Fault) {
        self.close(cx, Why::Fault(fault), true);
    }

    fn close(&mut self, cx: &mut Cx<'_>, why: Why, destroy: bool) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        trace!(cx, State, "secret_stream", part: "", rule: why.rule().unwrap_or_default(), "closed: {why}");
        self.phase = Phase::Closed;
        self.boxes = None;
        self.frames = Frames::default();
        self.waiting.clear();
        self.timers = Dues::default();
        (self.keep_alive, self.timeout, self.patience) = (None, None, None);
        // What was not taken yet is of no use to a stream that is dropped or gone.
        self.outputs.clear();
        (self.unsent, self.unordered_unsent) = (0, 0);
        if destroy {
            self.outputs.push_back(Output::Destroy);
        }
        self.events.push_back(Event::Closed(why));
    }

    fn refresh_keep_alive(&mut self, now: Time) {
        if let Some(every) = self.keep_alive {
            self.timers.set(Timer::KeepAlive, now + every);
        }
    }

    fn refresh_timeout(&mut self, now: Time) {
        if let Some(silence) = self.timeout {
            self.timers.set(Timer::Silence, now + silence);
        }
    }
}

impl SecretStream {
    /// From here on the rest of a message must come, if one has begun.
    fn expect_rest(&mut self, now: Time) {
        if let Some(span) = self.patience
            && self.frames.is_partial()
            && self.timers.get(Timer::Rest).is_none()
        {
            self.timers.set(Timer::Rest, now + span);
            self.arrived_before = self.arrived;
        }
    }

    /// Nothing was sent for a while: room that a burst took is given back.
    fn rest(&mut self) {
        self.frames.rest();
        self.outputs.shrink_to(QUEUE_KEPT);
        self.events.shrink_to(QUEUE_KEPT);
    }

    fn on_rest(&mut self, cx: &mut Cx<'_>) {
        if self.arrived - self.arrived_before >= SECRET_STREAM_REST_MIN {
            self.expect_rest(cx.now);
        } else {
            trace!(cx, Timer, "secret_stream", part: "", rule: "secret_stream.27", "the rest of a message");
            self.close(cx, Why::Stalled, true);
        }
    }
}

impl Machine for SecretStream {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) => self.read(cx, bytes),
            Input::Message(datagram) => self.read_unordered(cx, datagram),
            Input::Ended => self.read_end(cx),
            Input::Closed => {
                // secret_stream.26
                let both = self.remote_ended && self.ending == Half::Ended;
                self.close(cx, if both { Why::Ended } else { Why::Cut }, false);
            }
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(timer) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Rest => self.on_rest(cx),
                Timer::Silence => {
                    trace!(cx, Timer, "secret_stream", part: "", rule: "secret_stream.23", "silence");
                    self.close(cx, Why::Silent, true);
                }
                Timer::KeepAlive => {
                    trace!(cx, Timer, "secret_stream", part: "", rule: "secret_stream.14", "keep-alive");
                    self.refresh_keep_alive(cx.now);
                    self.rest();
                    // A stream whose outputs nobody takes needs no proof of life on top of them.
                    if self.unsent == 0 {
                        self.seal(cx, &[]);
                    }
                }
            }
        }
    }

    fn poll_output(&mut self, _: &mut Cx<'_>) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        match &output {
            Output::Write(bytes) => self.unsent -= bytes.len(),
            Output::Send(_) => self.unordered_unsent -= 1,
            Output::End | Output::Destroy => {}
        }
        Some(output)
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        match &event {
            Event::Message(message) => self.unread -= message.len(),
            Event::Unordered(_) => self.unordered_unread -= 1,
            Event::Open { .. } | Event::Ended | Event::Closed(_) => {}
        }
        Some(event)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(|timer| match timer {
            Timer::KeepAlive => "secret_stream keep-alive",
            Timer::Silence => "secret_stream timeout",
            Timer::Rest => "secret_stream rest of a message",
        })
    }
}

/// What a side of a connection writes in its header: a hash of the handshake and its role. (secret_stream.7)
pub fn stream_id(handshake_hash: &[u8; 64], initiator: bool) -> Key {
    hash::keyed_256(handshake_hash, &[&hash::namespace(NAMESPACE, Role::of(initiator).number())])
}

#[cfg(test)]
mod tests;
