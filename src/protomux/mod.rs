//! Many channels in one stream of messages. Follows protomux.8 to protomux.37. Read `wire/protomux.rs` first, then
//! `names.rs`; what comes in is taken apart in `unpack.rs`.
//!
//! A channel is named by a protocol and an optional id. Each side opens it with an id of its own; the two opens with
//! the same name are one channel. There is no acknowledgement but the other side's open, and messages may be sent
//! before it comes.

mod names;
mod unpack;

use std::collections::VecDeque;

use crate::base::{Cx, Deadline, Error, Id, Kind, Machine, Malformed, Slab, limits, trace};
use crate::wire::{self, protomux as format};

use names::{NameId, Names};
use unpack::Frame;

/// Names the handles of channels.
pub enum ChannelKind {}
impl Kind for ChannelKind {
    const NAME: &'static str = "channel";
}
/// A channel that this side opened.
pub type ChannelId = Id<ChannelKind>;

/// What the stream below tells.
#[derive(Debug)]
pub enum Input<'a> {
    /// One whole message.
    Message(&'a [u8]),
    /// The same, in a buffer that is not needed elsewhere.
    Owned(Vec<u8>),
    /// Whether the stream takes more at the moment. True after false gives `Event::Drained`.
    Writable(bool),
    /// The stream is closed: every channel ends.
    Closed,
}

/// What the stream below is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this as one message.
    Message(Vec<u8>),
    /// Destroy the stream; the peer broke the protocol. Nothing follows this.
    Destroy(Fault),
    /// Stop (false) or go on (true) handing in messages. What was on its way may still be handed in.
    Reading(bool),
}

/// What the owners of channels are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer opened a channel that nobody here has opened. Answer with `open` or `reject`; until then its messages
    /// are kept. There is one such event for each open, also when the name is the same.
    Wanted {
        protocol: String,
        id: Option<Vec<u8>>,
    },
    /// Both sides have opened this channel; the handshake is the peer's.
    Opened {
        channel: ChannelId,
        handshake: Vec<u8>,
    },
    Message {
        channel: ChannelId,
        kind: u64,
        bytes: Vec<u8>,
    },
    /// Send again, on any channel, whether paired or not.
    Drained,
    /// The last event of a channel, whoever closed it.
    Closed {
        channel: ChannelId,
        by_remote: bool,
    },
}

/// How a peer breaks the protocol. Each ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Malformed(Malformed),
    /// An open with an id that is neither the next new one nor free.
    OpenId {
        channel: u64,
    },
    /// A reject of something that does not wait for an answer.
    Reject {
        channel: u64,
    },
    /// Batches within batches within batches.
    Depth,
    /// More opens than this side lets wait.
    Waiting,
    /// More ids than this side lets a peer use.
    Ids,
    /// More bytes for channels that nobody has answered than this side keeps.
    Buffered,
}

impl Fault {
    /// The rule of the notes that was broken.
    pub fn rule(&self) -> &'static str {
        match self {
            Fault::Malformed(_) => "protomux.8",
            Fault::OpenId { .. } => "protomux.12",
            Fault::Reject { .. } => "protomux.20",
            Fault::Depth => "protomux.31",
            Fault::Waiting => "protomux.32",
            Fault::Ids => "protomux.33",
            Fault::Buffered => "protomux.34",
        }
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Fault::Malformed(malformed) => malformed.fmt(f),
            Fault::OpenId { channel } => write!(f, "an open with channel id {channel}, which is not free"),
            Fault::Reject { channel } => {
                write!(f, "a reject of channel {channel}, which does not wait for one")
            }
            Fault::Depth => f.write_str("batches nested too deep"),
            Fault::Waiting => f.write_str("too many opens wait for an answer"),
            Fault::Ids => f.write_str("too many channel ids"),
            Fault::Buffered => f.write_str("too many bytes for channels that are not open here"),
        }
    }
}

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    pub protocol: &'a str,
    /// Tells channels of one protocol apart; empty is the same as none.
    pub id: Option<&'a [u8]>,
    /// Other protocol names under which the peer's open is taken for this channel.
    pub aliases: &'a [&'a str],
    /// Sent with the open, as it is.
    pub handshake: &'a [u8],
    /// Refuse if a channel of that name is open here.
    pub unique: bool,
}

impl<'a> Open<'a> {
    /// A unique channel without aliases and handshake.
    pub fn new(protocol: &'a str, id: Option<&'a [u8]>) -> Open<'a> {
        Open { protocol, id, aliases: &[], handshake: &[], unique: true }
    }
}

struct Channel {
    name: NameId,
    protocol: String,
    local: u64,
    phase: Phase,
    /// The peer opened it under another name (protomux.15).
    aliased: bool,
    /// Closed here: what is left of its events is not handed out, except the last.
    silent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Our open is sent, the peer's has not come.
    Opening,
    /// `remote` is the peer's id.
    Open { remote: u64 },
    /// `Event::Closed` is queued.
    Closed,
}

/// What one of our ids stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Local {
    Free,
    Used(ChannelId),
    /// Closed here before the peer answered our open. Free once the answer came.
    Abandoned(NameId),
}

/// What one of the peer's ids stands for.
enum Remote {
    Paired(ChannelId),
    Waiting(Box<Waiting>),
}

/// An open of the peer that nobody here has answered.
struct Waiting {
    protocol: String,
    handshake: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
    /// What it adds to `Protomux::kept`.
    kept: usize,
    /// What it adds to `Protomux::buffered`.
    buffered: usize,
    /// The peer has closed it meanwhile.
    closed: bool,
}

/// A batch being written.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Channel of the last item.
    channel: u64,
    /// Length of the channel in front of the only message, as long as there is but one and nobody asked for a batch: it
    /// stands here as it leaves by itself.
    alone: Option<usize>,
}

impl Batch {
    fn add(&mut self, channel: u64, kind: u64, body: &[u8], asked: bool) {
        if self.bytes.is_empty() && !asked {
            self.bytes.reserve(HEAD_MAX + body.len());
            put_plain(channel, kind, body, &mut self.bytes);
            (self.channel, self.alone) = (channel, Some(wire::compact::uint_bytes(channel).1));
            return;
        }
        if self.bytes.is_empty() {
            self.begin(channel);
        } else if let Some(at) = self.alone.take() {
            let only = core::mem::take(&mut self.bytes);
            self.bytes.reserve(2 * (HEAD_MAX + only.len()));
            self.begin(self.channel);
            self.put_head(only.len() - at);
            self.bytes.extend_from_slice(&only[at..]);
        }
        if self.channel != channel {
            wire::encode_into(&mut format::ItemHead { length: 0, channel }, &mut self.bytes);
            self.channel = channel;
        }
        self.put_head(wire::compact::uint_bytes(kind).1 + body.len());
        wire::encode_into(&mut format::Kind(kind), &mut self.bytes);
        self.bytes.extend_from_slice(body);
    }

    fn begin(&mut self, channel: u64) {
        wire::encode_into(&mut format::Head { channel: 0, kind: format::BATCH }, &mut self.bytes);
        wire::compact::put_uint(&mut self.bytes, channel);
        self.channel = channel;
    }

    fn put_head(&mut self, len: usize) {
        wire::encode_into(&mut format::ItemHead { length: len as u64, channel: 0 }, &mut self.bytes);
    }
}

/// A multiplexer: the channels of one stream.
///
/// Commands: `open`, `reject`, `send`, `close`, `cork`, `uncork`, `set_reading`. No deadlines. Not done: whether a
/// handshake or a message makes sense is for the channel's owner, who destroys the stream if it does not.
#[derive(Default)]
pub struct Protomux {
    names: Names,
    channels: Slab<ChannelKind, Channel>,
    /// By id less one.
    local: Vec<Local>,
    /// Our free ids; the one that was freed last is used first.
    free: Vec<u64>,
    /// By id less one.
    remote: Vec<Option<Remote>>,
    waiting: usize,
    /// Cost of buffered messages as the peer's implementation counts it.
    buffered: usize,
    /// The same with names and handshakes.
    kept: usize,
    inbox: VecDeque<Frame>,
    events: VecDeque<Event>,
    outputs: VecDeque<Output>,
    outbox_bytes: usize,
    corks: u32,
    /// A batch came in and its answers are being collected.
    answering: bool,
    /// Small messages are collected until `write_gathered`.
    gathering: bool,
    batch: Batch,
    blocked: bool,
    held: bool,
    paused: bool,
    ended: bool,
    dead: bool,
}

impl Protomux {
    pub fn new() -> Protomux {
        Protomux::default()
    }

    /// Opens a channel and sends the open. If the peer has opened one of that name (`Event::Wanted`), the two are
    /// paired at once: `Event::Opened` and the messages that came are already queued when this returns.
    ///
    /// Errors: `Taken` if `unique` and one is open here; `Full` with all ids in use; `Invalid` for too long a name or
    /// handshake; `NotOpen` once the stream is closed.
    pub fn open(&mut self, cx: &mut Cx<'_>, open: Open<'_>) -> Result<ChannelId, Error> {
        let id = open.id.unwrap_or_default();
        if self.dead {
            return Err(Error::NotOpen);
        }
        if open.protocol.len() > limits::MUX_NAME_MAX || id.len() > limits::MUX_NAME_MAX {
            return Err(Error::Invalid("protocol name or id of a channel: too long"));
        }
        if open.handshake.len() + 2 * limits::MUX_NAME_MAX + 64 > limits::MUX_MESSAGE_MAX {
            return Err(Error::Invalid("handshake of a channel: too long"));
        }
        // protomux.9
        if open.unique && self.opened(open.protocol, open.id) {
            return Err(Error::Taken);
        }
        if self.free.is_empty() && self.local.len() >= limits::MUX_IDS_MAX {
            return Err(Error::Full);
        }
        let name = self.names.get_or_add(open.protocol, id, open.aliases);
        let waiting = self.names.take_incoming(name, open.aliases, id);
        let local = self.take_local();
        let channel = self.channels.insert(Channel {
            name,
            protocol: open.protocol.to_owned(),
            local,
            phase: Phase::Opening,
            aliased: false,
            silent: false,
        });
        self.local[local as usize - 1] = Local::Used(channel);
        self.names.entry(name).opened += 1;
        if waiting.is_none() {
            self.names.entry(name).outgoing.push_back(local);
        }
        let (named, id_len) = (open.protocol, id.len());
        trace!(cx, Out, "protomux", part: channel, rule: "protomux.3", "OPEN {local}, {named:?}, id of {id_len} bytes");
        let mut body = format::Open {
            channel: local,
            protocol: open.protocol.to_owned(),
            id: (!id.is_empty()).then(|| id.to_vec()),
            handshake: open.handshake.to_vec(),
        };
        self.control(format::OPEN, &mut body);
        if let Some(remote) = waiting {
            self.pair(channel, remote);
        }
        Ok(channel)
    }

    /// Answers `Event::Wanted`: nobody here wants it. All opens that wait under that name are rejected (protomux.19).
    /// Errors: `Missing` if none waits.
    pub fn reject(&mut self, cx: &mut Cx<'_>, protocol: &str, id: Option<&[u8]>) -> Result<(), Error> {
        let name = self.names.find(protocol, id.unwrap_or_default()).ok_or(Error::Missing)?;
        if self.names.entry(name).incoming.is_empty() {
            return Err(Error::Missing);
        }
        while let Some(remote) = self.names.entry(name).incoming.pop_front() {
            trace!(cx, Out, "protomux", part: "", rule: "protomux.19", "REJECT of the peer's {remote}, {protocol:?}");
            if let Some(Remote::Waiting(waiting)) = self.remote[remote as usize - 1].take() {
                self.forget(&waiting);
            }
            self.control(format::REJECT, &mut format::Reject { channel: remote });
        }
        self.names.collect(name);
        self.update_reading();
        Ok(())
    }

    /// Sends a message; before the peer has opened the channel too, if need be. False: it is sent, but the stream is
    /// full; wait for `Event::Drained`. Errors: `Gone` once the channel is closed by either side; `Full` beyond a hard
    /// bound (nothing is sent then); `Invalid` if it is longer than `limits::MUX_MESSAGE_MAX` less a few bytes.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        channel: ChannelId,
        kind: u64,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        // protomux.16: nothing leaves for a closed channel
        let local = self.live(channel)?.local;
        if bytes.len() + 32 > limits::MUX_MESSAGE_MAX {
            return Err(Error::Invalid("message of a channel: too long"));
        }
        if self.outbox_bytes.saturating_add(bytes.len()) > limits::MUX_OUTBOX_MAX {
            return Err(Error::Full);
        }
        trace!(cx, Out, "protomux", part: channel, rule: "protomux.1", "message {kind}, {} bytes", bytes.len());
        self.write(local, kind, bytes);
        Ok(!self.blocked)
    }

    /// Closes a channel. The peer is told and answers nothing; events of the channel that were not taken yet are not
    /// handed out, except `Event::Closed`. Errors: `Gone`.
    pub fn close(&mut self, cx: &mut Cx<'_>, channel: ChannelId) -> Result<(), Error> {
        let record = self.channels.get_mut(channel).ok_or(Error::Gone)?;
        record.silent = true;
        if record.phase == Phase::Closed {
            return Ok(());
        }
        let local = record.local;
        trace!(cx, Out, "protomux", part: channel, rule: "protomux.38", "CLOSE {local}");
        self.release(channel, false);
        self.control(format::CLOSE, &mut format::Close { channel: local });
        Ok(())
    }

    /// From now on messages are collected; they leave together at the `uncork` that matches the first `cork`.
    pub fn cork(&mut self) {
        self.corks = self.corks.saturating_add(1);
    }

    /// See `cork`. One too many is ignored.
    pub fn uncork(&mut self) {
        self.corks = self.corks.saturating_sub(1);
        self.flush();
    }

    /// From now on small messages are collected until the next `write_gathered`, so that all of a turn share one
    /// message of the stream below. Larger ones, and what is more than `limits::MUX_GATHERED_MAX` together, leave at
    /// once. (protomux.39)
    pub fn gather(&mut self) {
        self.gathering = true;
    }

    /// Writes what was gathered: several messages as one batch, one as it is.
    pub fn write_gathered(&mut self) {
        if self.corks == 0 && !self.answering && !self.batch.bytes.is_empty() {
            self.emit_batch();
        }
    }

    /// Whether something is gathered that waits for `write_gathered`.
    pub fn gathers(&self) -> bool {
        !self.batch.bytes.is_empty()
    }

    /// Whether there may be an event to take, or something for the stream below.
    pub fn has_news(&self) -> bool {
        !(self.events.is_empty() && self.inbox.is_empty() && self.outputs.is_empty())
    }

    /// False: the owner of a channel cannot take more; the stream is told to stop reading. True: go on.
    /// (protomux.37)
    pub fn set_reading(&mut self, reading: bool) {
        self.held = !reading;
        self.update_reading();
    }

    /// Whether a channel of that name (or that has it as an alias) is open here.
    pub fn opened(&self, protocol: &str, id: Option<&[u8]>) -> bool {
        self.names.opened(protocol, id.unwrap_or_default())
    }

    /// Whether both sides have opened it and none has closed it.
    pub fn is_open(&self, channel: ChannelId) -> bool {
        matches!(self.channels.get(channel), Some(Channel { phase: Phase::Open { .. }, .. }))
    }

    /// The protocol that a channel was opened with.
    pub fn protocol(&self, channel: ChannelId) -> Option<&str> {
        self.channels.get(channel).map(|channel| &channel.protocol[..])
    }

    /// No id of ours is in use: no channel is open, and none waits for the answer to its open.
    pub fn is_idle(&self) -> bool {
        self.local.len() == self.free.len()
    }

    /// The channels that are open on this side, by handle.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.iter().filter(|(_, channel)| channel.phase != Phase::Closed).map(|(id, _)| id)
    }

    fn live(&self, channel: ChannelId) -> Result<&Channel, Error> {
        self.channels.get(channel).filter(|channel| channel.phase != Phase::Closed).ok_or(Error::Gone)
    }

    /// protomux.10: the id that was freed last, or a new one.
    fn take_local(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.local.push(Local::Free);
            self.local.len() as u64
        })
    }

    fn free_local(&mut self, local: u64) {
        self.local[local as usize - 1] = Local::Free;
        self.free.push(local);
    }

    /// Joins our channel with the peer's open that waits under `remote`, and hands out what came for it.
    fn pair(&mut self, channel: ChannelId, remote: u64) {
        let slot = &mut self.remote[remote as usize - 1];
        let Some(Remote::Waiting(waiting)) = slot.replace(Remote::Paired(channel)) else {
            unreachable!("an id among the incoming ones waits");
        };
        self.forget(&waiting);
        let record = self.channels.get_mut(channel).expect("just inserted");
        record.phase = Phase::Open { remote };
        record.aliased = record.protocol != waiting.protocol;
        self.events.push_back(Event::Opened { channel, handshake: waiting.handshake });
        for (kind, bytes) in waiting.pending {
            self.events.push_back(Event::Message { channel, kind, bytes });
        }
        // protomux.23
        if waiting.closed {
            self.release(channel, true);
        }
        self.update_reading();
    }

    fn forget(&mut self, waiting: &Waiting) {
        self.waiting -= 1;
        self.buffered -= waiting.buffered;
        self.kept -= waiting.kept;
    }

    /// Ends a channel that is not closed yet; what it takes of ids is freed as far as the peer allows.
    fn release(&mut self, channel: ChannelId, by_remote: bool) {
        let record = self.channels.get_mut(channel).expect("a channel that is not closed");
        let (name, local) = (record.name, record.local);
        match core::mem::replace(&mut record.phase, Phase::Closed) {
            Phase::Opening => self.local[local as usize - 1] = Local::Abandoned(name), // protomux.18
            Phase::Open { remote } => {
                self.remote[remote as usize - 1] = None;
                self.free_local(local);
            }
            Phase::Closed => unreachable!("closed once"),
        }
        self.names.entry(name).opened -= 1;
        self.names.collect(name);
        self.events.push_back(Event::Closed { channel, by_remote });
    }

    /// Ends everything: the stream is gone or about to be. (protomux.35)
    fn shut_down(&mut self) {
        self.dead = true;
        self.inbox.clear();
        self.batch = Batch::default();
        let open: Vec<ChannelId> = self.channels().collect();
        for channel in open {
            self.release(channel, true);
        }
    }

    fn control<T: wire::Wire>(&mut self, kind: u64, body: &mut T) {
        let mut bytes = Vec::new();
        wire::encode_into(body, &mut bytes);
        self.write(0, kind, &bytes);
    }

    /// Sends a message, or puts it in the batch.
    fn write(&mut self, channel: u64, kind: u64, body: &[u8]) {
        if self.dead {
            return;
        }
        let len = wire::compact::uint_bytes(kind).1 + body.len();
        let asked = self.corks > 0 || self.answering;
        let small = len <= limits::MUX_GATHERED_MAX / 4;
        if !(asked || self.gathering && small) {
            self.write_gathered();
            let mut bytes = Vec::with_capacity(HEAD_MAX + body.len());
            put_plain(channel, kind, body, &mut bytes);
            self.emit(bytes);
            return;
        }
        // protomux.30
        let most = if asked { limits::MUX_BATCH_MAX } else { limits::MUX_GATHERED_MAX };
        if !self.batch.bytes.is_empty() && self.batch.bytes.len() + len > most {
            self.emit_batch();
        }
        self.outbox_bytes += len;
        self.batch.add(channel, kind, body, asked);
    }

    fn emit(&mut self, bytes: Vec<u8>) {
        self.outbox_bytes += bytes.len();
        self.outputs.push_back(Output::Message(bytes));
    }

    fn emit_batch(&mut self) {
        let batch = core::mem::take(&mut self.batch);
        self.outputs.push_back(Output::Message(batch.bytes));
    }

    /// Writes the batch, unless somebody still collects. An empty one leaves nothing (protomux.29).
    fn flush(&mut self) {
        if !self.gathering {
            self.write_gathered();
        }
    }

    /// Whether an event is still to be handed out.
    fn is_of_use(&self, event: &Event) -> bool {
        match event {
            Event::Opened { channel, .. } | Event::Message { channel, .. } => {
                self.channels.get(*channel).is_some_and(|channel| !channel.silent)
            }
            Event::Wanted { protocol, id } => {
                !self.dead && self.names.waits(protocol, id.as_deref().unwrap_or_default())
            }
            Event::Drained | Event::Closed { .. } => true,
        }
    }

    /// Brings the next event that is of use to the front; unpacks more of a large batch if none is left.
    fn bring_event(&mut self) {
        loop {
            while self.events.front().is_some_and(|event| !self.is_of_use(event)) {
                self.events.pop_front();
            }
            if !self.events.is_empty() || self.inbox.is_empty() {
                return;
            }
            self.unpack();
        }
    }

    fn take_frame(&mut self, cx: &mut Cx<'_>, bytes: Vec<u8>) {
        // protomux.8
        if bytes.is_empty() {
            return;
        }
        if is_batch(&bytes) {
            trace!(cx, In, "protomux", part: "", rule: "protomux.5", "batch, {} bytes", bytes.len());
        }
        self.inbox.push_back(Frame::new(bytes));
    }

    /// Tells the stream below to pause or go on, if that has changed.
    fn update_reading(&mut self) {
        let pause = self.held || self.buffered > limits::MUX_BUFFERED_PAUSE;
        if pause != self.paused && !self.dead {
            self.paused = pause;
            self.outputs.push_back(Output::Reading(!pause));
        }
    }
}

impl Machine for Protomux {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        if self.dead || self.ended {
            return;
        }
        match input {
            Input::Message(bytes) => self.take_frame(cx, bytes.to_vec()),
            Input::Owned(bytes) => self.take_frame(cx, bytes),
            Input::Writable(writable) => {
                if writable && self.blocked {
                    self.events.push_back(Event::Drained);
                }
                self.blocked = !writable;
            }
            Input::Closed => self.ended = true,
        }
        if let Some(fault) = self.unpack() {
            trace!(cx, Drop, "protomux", part: "", rule: fault.rule(), "destroyed: {fault}");
        }
    }

    fn handle_timeout(&mut self, _: &mut Cx<'_>) {}

    /// Answers to a batch are held back until its events have been taken, and then leave as one batch (protomux.28).
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        if self.answering {
            self.bring_event();
            if self.events.is_empty() {
                self.answering = false;
                self.flush();
            }
        }
        let output = self.outputs.pop_front()?;
        if let Output::Message(bytes) = &output {
            self.outbox_bytes = self.outbox_bytes.saturating_sub(bytes.len());
            if is_batch(bytes) {
                trace!(cx, Out, "protomux", part: "", rule: "protomux.5", "batch, {} bytes", bytes.len());
            }
        }
        if self.outputs.is_empty() && self.batch.bytes.is_empty() {
            self.outbox_bytes = 0;
        }
        Some(output)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.bring_event();
        let event = self.events.pop_front()?;
        if let Event::Closed { channel, .. } = &event {
            self.channels.remove(*channel);
        }
        Some(event)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}

/// Longest channel and kind in front of a message, for room.
const HEAD_MAX: usize = 18;

/// A message of a channel by itself.
fn put_plain(channel: u64, kind: u64, body: &[u8], out: &mut Vec<u8>) {
    wire::encode_into(&mut format::Head { channel, kind }, out);
    out.extend_from_slice(body);
}

/// A message of the control channel that holds others.
fn is_batch(message: &[u8]) -> bool {
    message.starts_with(&[0, format::BATCH as u8])
}

#[cfg(test)]
mod tests;
