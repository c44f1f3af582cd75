//! Calls and answers over one channel. Follows protomux_rpc.6 to protomux_rpc.27. Read `wire/protomux_rpc.rs` first.
//!
//! Either side may call. Requests are answered in any order. A value is bytes; by default it travels with a length, as
//! the packages do it for buffers (`Values`).

use std::collections::{BTreeMap, VecDeque};

use crate::base::{
    Cx, Deadline, Error, Id, Key, Kind, Machine, Malformed, Slab, Span, Timers, limits, trace,
};
use crate::crypto::hash;
use crate::wire::{self, protomux_rpc as format};

pub use format::{Cause, PROTOCOL};

/// Names the handles of calls.
pub enum CallKind {}
impl Kind for CallKind {
    const NAME: &'static str = "call";
}
/// A request of the peer that waits for our answer.
pub type CallId = Id<CallKind>;

/// A request of ours: its number on the wire, which no other request of the same channel gets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

impl core::fmt::Display for RequestId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "request {}", self.0)
    }
}

/// How values travel. Both sides must mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Values {
    /// With a length; what the packages do when no `valueEncoding` is given.
    #[default]
    Buffer,
    /// As they are (`valueEncoding: null` or `c.raw`).
    Raw,
}

/// What a failure is. `code()` is its name in the packages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    UnknownMethod,
    RequestError,
    DecodeError,
    EncodeError,
    /// Not from the peer: the channel closed before the answer came.
    ChannelClosed,
    /// Not from the peer: this side destroyed the channel.
    ChannelDestroyed,
    /// Not from the peer: no answer in time.
    TimeoutExceeded,
    /// The peer's code is none of these.
    Other,
}

impl Code {
    /// As on the wire and in the packages' errors; empty for `Other`.
    pub fn code(self) -> &'static str {
        match self {
            Code::UnknownMethod => "UNKNOWN_METHOD",
            Code::RequestError => "REQUEST_ERROR",
            Code::DecodeError => "DECODE_ERROR",
            Code::EncodeError => "ENCODE_ERROR",
            Code::ChannelClosed => "CHANNEL_CLOSED",
            Code::ChannelDestroyed => "CHANNEL_DESTROYED",
            Code::TimeoutExceeded => "TIMEOUT_EXCEEDED",
            Code::Other => "",
        }
    }

    /// protomux_rpc.12: only what a peer may say; the local ones are `Other` too.
    fn from_wire(code: Option<&str>) -> Code {
        [Code::UnknownMethod, Code::RequestError, Code::DecodeError, Code::EncodeError]
            .into_iter()
            .find(|known| code == Some(known.code()))
            .unwrap_or(Code::Other)
    }
}

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    /// For `RequestError`: what the peer's handler failed with.
    pub cause: Option<Cause>,
}

impl Failure {
    pub fn new(code: Code, message: &str) -> Failure {
        Failure { code, message: message.to_owned(), cause: None }
    }
}

/// How a call ended, without what was said: the transcript holds none of that.
struct Outcome<'a, T>(&'a Result<T, format::Failure>);

impl<T: AsRef<[u8]>> core::fmt::Display for Outcome<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Ok(value) => write!(f, "{} bytes", value.as_ref().len()),
            Err(failure) => write!(f, "failed, code {:?}", failure.code.as_deref().unwrap_or_default()),
        }
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (code, message) = (self.code.code(), &self.message);
        if code.is_empty() {
            f.write_str(message)?
        } else {
            write!(f, "{code}: {message}")?
        }
        match &self.cause {
            Some(cause) if cause.code.is_empty() => write!(f, " ({})", cause.message),
            Some(cause) => write!(f, " ({}: {})", cause.code, cause.message),
            None => Ok(()),
        }
    }
}

/// What the channel tells.
#[derive(Debug)]
pub enum Input<'a> {
    /// The peer has opened the channel too.
    Opened,
    Message {
        kind: u64,
        bytes: &'a [u8],
    },
    /// The channel is closed, by whomever.
    Closed,
}

/// What the channel is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Message {
        kind: u64,
        bytes: Vec<u8>,
    },
    /// Close the channel.
    Close,
    /// The peer's message is not one: destroy the stream below (protomux_rpc.22).
    Destroy(Malformed),
}

/// What the owner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Opened,
    /// The peer asks; answer with `answer`, `refuse`, `unknown_method` or `fail`.
    Call {
        call: CallId,
        method: String,
        value: Vec<u8>,
    },
    /// The peer says something that wants no answer.
    Notice {
        method: String,
        value: Vec<u8>,
    },
    /// Each request gets one.
    Answer {
        request: RequestId,
        result: Result<Vec<u8>, Failure>,
    },
    /// The channel is closed. The last event.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Live,
    /// Closes once nothing is outstanding (protomux_rpc.18).
    Ending,
    Closed,
}

/// One channel's calls.
///
/// Commands: `request`, `event`, `answer`, `refuse`, `unknown_method`, `fail`, `end`, `destroy`. Deadlines: the
/// time-outs of requests. Not done: which methods there are, and what values mean, is the owner's.
/// (protomux_rpc.24)
#[derive(Default)]
pub struct Rpc {
    values: Values,
    phase: Phase,
    last_id: u64,
    /// With their time-outs; zero is none.
    requests: BTreeMap<RequestId, Span>,
    timers: Timers<RequestId>,
    calls: Slab<CallKind, Call>,
    outputs: VecDeque<Output>,
    outbox_bytes: usize,
    events: VecDeque<Event>,
    dropped: u64,
    opened: bool,
}

struct Call {
    id: u64,
    method: String,
}

impl Rpc {
    /// For a channel that was just opened on this side. Requests may be made at once.
    pub fn new(values: Values) -> Rpc {
        Rpc { values, ..Rpc::default() }
    }

    /// Asks the peer. `Event::Answer` comes once: with the answer, or after `timeout` (None: never), or when the
    /// channel closes. Errors: `NotOpen` once closed; `Full` with `limits::RPC_REQUESTS_MAX` outstanding or too many
    /// bytes queued; `Invalid` for a value too long. (protomux_rpc.6)
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        method: &str,
        value: &[u8],
        timeout: Option<Span>,
    ) -> Result<RequestId, Error> {
        if self.requests.len() >= limits::RPC_REQUESTS_MAX {
            return Err(Error::Full);
        }
        let id = self.last_id + 1; // protomux_rpc.7
        self.say(id, method, value)?;
        self.last_id = id;
        let request = RequestId(id);
        let timeout = timeout.unwrap_or_default();
        self.requests.insert(request, timeout);
        if timeout > Span::ZERO {
            self.timers.set(request, cx.now + timeout);
        }
        let len = value.len();
        trace!(cx, Out, "protomux_rpc", part: request, rule: "protomux_rpc.1", "REQUEST {method:?}, {len} bytes");
        Ok(request)
    }

    /// Tells the peer something that wants no answer. Errors as for `request`.
    pub fn event(&mut self, cx: &mut Cx<'_>, method: &str, value: &[u8]) -> Result<(), Error> {
        self.say(0, method, value)?; // protomux_rpc.9
        let len = value.len();
        trace!(cx, Out, "protomux_rpc", part: "", rule: "protomux_rpc.9", "event {method:?}, {len} bytes");
        Ok(())
    }

    /// Answers a call. Errors: `Gone` if it is answered already or the channel is closed; `Full`; `Invalid` (too long;
    /// the call still waits then).
    pub fn answer(&mut self, cx: &mut Cx<'_>, call: CallId, value: &[u8]) -> Result<(), Error> {
        check(value)?;
        self.respond(cx, call, Ok(value))
    }

    /// Answers a call with a failure as a handler of the packages that throws an error with that code and message: the
    /// peer sees `REQUEST_ERROR` with it as the cause. An empty code is none. Errors as for `answer`.
    pub fn refuse(&mut self, cx: &mut Cx<'_>, call: CallId, code: &str, message: &str) -> Result<(), Error> {
        let cause = Cause { message: message.to_owned(), code: code.to_owned(), context: None };
        let failure = Failure { cause: Some(cause), ..Failure::new(Code::RequestError, "Request failed") };
        self.fail(cx, call, failure)
    }

    /// Answers a call whose method is not known here (protomux_rpc.14). Errors as for `answer`.
    pub fn unknown_method(&mut self, cx: &mut Cx<'_>, call: CallId) -> Result<(), Error> {
        let method = &self.calls.get(call).ok_or(Error::Gone)?.method;
        let failure = Failure::new(Code::UnknownMethod, &format!("Unknown method '{method}'"));
        self.fail(cx, call, failure)
    }

    /// Answers a call with any failure. Errors as for `answer`. (protomux_rpc.13)
    pub fn fail(&mut self, cx: &mut Cx<'_>, call: CallId, failure: Failure) -> Result<(), Error> {
        let code = failure.code.code();
        let failure = format::Failure {
            message: failure.message,
            code: (!code.is_empty()).then(|| code.to_owned()),
            cause: failure.cause,
        };
        let cause = failure.cause.as_ref();
        let texts = [
            Some(&failure.message),
            cause.map(|cause| &cause.message),
            cause.map(|cause| &cause.code),
            cause.and_then(|cause| cause.context.as_ref()),
        ];
        if texts.into_iter().flatten().any(|text| text.len() > limits::RPC_TEXT_MAX) {
            return Err(Error::Invalid("text of a failure: too long"));
        }
        self.respond(cx, call, Err(failure))
    }

    /// Closes the channel once every request has its answer and every call is answered. Calls that come meanwhile are
    /// served.
    pub fn end(&mut self, _: &mut Cx<'_>) {
        if self.phase == Phase::Live {
            self.phase = Phase::Ending;
        }
        self.end_if_done();
    }

    /// Closes the channel now; what is outstanding fails with `ChannelDestroyed`. (protomux_rpc.19)
    pub fn destroy(&mut self, _: &mut Cx<'_>) {
        if self.phase != Phase::Closed {
            self.outputs.push_back(Output::Close);
            self.close(Code::ChannelDestroyed, "channel destroyed");
        }
    }

    /// Whether requests can still be made.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Requests and calls without an answer.
    pub fn outstanding(&self) -> (usize, usize) {
        (self.requests.len(), self.calls.len())
    }

    /// Bytes of messages that were not taken yet.
    pub fn unsent_bytes(&self) -> usize {
        self.outbox_bytes
    }

    /// Notices that were dropped because nobody took the events.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn say(&mut self, id: u64, method: &str, value: &[u8]) -> Result<(), Error> {
        if method.len() > limits::RPC_TEXT_MAX {
            return Err(Error::Invalid("name of a method: too long"));
        }
        check(value)?;
        let mut bytes = Vec::with_capacity(HEAD_MAX + method.len() + value.len());
        wire::encode_into(
            &mut format::Request { id, method: method.to_owned(), value: Vec::new() },
            &mut bytes,
        );
        self.put_value(value, &mut bytes);
        self.emit(format::REQUEST, bytes)
    }

    fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        call: CallId,
        result: Result<&[u8], format::Failure>,
    ) -> Result<(), Error> {
        let id = self.calls.get(call).ok_or(Error::Gone)?.id;
        trace!(cx, Out, "protomux_rpc", part: call, rule: "protomux_rpc.2", "RESPONSE to {id}, {}", Outcome(&result));
        let value = result.as_ref().map_or(None, |value| Some(*value));
        let mut bytes = Vec::with_capacity(HEAD_MAX + value.map_or(0, <[u8]>::len));
        wire::encode_into(&mut format::Response { id, result: result.map(|_| Vec::new()) }, &mut bytes);
        if let Some(value) = value {
            self.put_value(value, &mut bytes);
        }
        self.emit(format::RESPONSE, bytes)?;
        self.calls.remove(call);
        self.end_if_done();
        Ok(())
    }

    fn emit(&mut self, kind: u64, bytes: Vec<u8>) -> Result<(), Error> {
        if self.phase == Phase::Closed {
            return Err(Error::NotOpen);
        }
        if self.outbox_bytes.saturating_add(bytes.len()) > limits::MUX_OUTBOX_MAX {
            return Err(Error::Full);
        }
        self.outbox_bytes += bytes.len();
        self.outputs.push_back(Output::Message { kind, bytes });
        Ok(())
    }

    /// Puts a value behind what it belongs to, in the encoding that both sides use. (protomux_rpc.5)
    fn put_value(&self, value: &[u8], out: &mut Vec<u8>) {
        if self.values == Values::Buffer {
            wire::compact::put_uint(out, value.len() as u64);
        }
        out.extend_from_slice(value);
    }

    fn decode(&self, value: Vec<u8>) -> Result<Vec<u8>, Malformed> {
        match self.values {
            Values::Buffer => wire::decode::<format::Buffer>(&value).map(|buffer| buffer.0),
            Values::Raw => Ok(value),
        }
    }

    fn take_request(&mut self, cx: &mut Cx<'_>, request: format::Request) {
        let format::Request { id, method, value } = request;
        let (what, len) = (if id == 0 { "event" } else { "REQUEST" }, value.len());
        trace!(cx, In, "protomux_rpc", part: "", rule: "protomux_rpc.1", "{what} {id}, {method:?}, {len} bytes");
        let value = self.decode(value);
        if id == 0 {
            // protomux_rpc.9, protomux_rpc.21
            match value {
                Ok(value) if self.events.len() < limits::RPC_EVENTS_MAX => {
                    self.events.push_back(Event::Notice { method, value });
                }
                Ok(_) | Err(_) => self.dropped += 1,
            }
            return;
        }
        let full = self.calls.len() >= limits::RPC_CALLS_MAX;
        let call = self.calls.insert(Call { id, method: method.clone() });
        let refused = match value {
            Ok(_) if full => self.refuse(cx, call, "", "too many calls at once"), // protomux_rpc.23
            Ok(value) => {
                self.events.push_back(Event::Call { call, method, value });
                return;
            }
            Err(_) => {
                // protomux_rpc.15
                let cause = Cause { message: "Out of bounds".to_owned(), code: String::new(), context: None };
                let failure = Failure::new(Code::DecodeError, "Could not decode request");
                self.fail(cx, call, Failure { cause: Some(cause), ..failure })
            }
        };
        if refused.is_err() {
            self.calls.remove(call);
        }
    }

    fn take_response(&mut self, cx: &mut Cx<'_>, response: format::Response) {
        let request = RequestId(response.id);
        let outcome = Outcome(&response.result);
        trace!(cx, In, "protomux_rpc", part: request, rule: "protomux_rpc.2", "RESPONSE, {outcome}");
        // protomux_rpc.8, protomux_rpc.10: 0, unknown and late ones are ignored
        if self.requests.remove(&request).is_none() {
            trace!(cx, Drop, "protomux_rpc", part: request, rule: "protomux_rpc.8", "nobody waits for it");
            return;
        }
        self.timers.clear(request);
        let result = match response.result {
            Ok(value) => self.decode(value).map_err(|_| {
                Failure::new(Code::DecodeError, "Could not decode response") // protomux_rpc.16
            }),
            Err(failure) => Err(Failure {
                code: Code::from_wire(failure.code.as_deref()),
                message: failure.message,
                cause: failure.cause,
            }),
        };
        self.events.push_back(Event::Answer { request, result });
        self.end_if_done();
    }

    /// protomux_rpc.18
    fn end_if_done(&mut self) {
        if self.phase == Phase::Ending && self.requests.is_empty() && self.calls.is_empty() {
            self.outputs.push_back(Output::Close);
            self.close(Code::ChannelClosed, "channel closed");
        }
    }

    /// Fails what is outstanding (protomux_rpc.17) and ends.
    fn close(&mut self, code: Code, message: &str) {
        self.phase = Phase::Closed;
        for request in core::mem::take(&mut self.requests).into_keys() {
            self.timers.clear(request);
            self.events.push_back(Event::Answer { request, result: Err(Failure::new(code, message)) });
        }
        for call in self.calls.ids() {
            self.calls.remove(call);
        }
        self.events.push_back(Event::Ended);
    }
}

impl Machine for Rpc {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    /// Follows protomux_rpc.20.
    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        let taken = match input {
            Input::Opened => {
                if !self.opened {
                    trace!(cx, State, "protomux_rpc", part: "", rule: "protomux_rpc.6", "the peer opened the channel");
                    self.opened = true;
                    self.events.push_back(Event::Opened);
                }
                Ok(())
            }
            Input::Message { kind: format::REQUEST, bytes } => {
                wire::decode(bytes).map(|request| self.take_request(cx, request))
            }
            Input::Message { kind: format::RESPONSE, bytes } => {
                wire::decode(bytes).map(|response| self.take_response(cx, response))
            }
            Input::Message { .. } => Ok(()),
            Input::Closed => {
                let waiting = self.requests.len();
                trace!(cx, State, "protomux_rpc", part: "", rule: "protomux_rpc.17", "closed, {waiting} requests fail");
                self.close(Code::ChannelClosed, "channel closed");
                Ok(())
            }
        };
        if let Err(malformed) = taken {
            trace!(cx, Drop, "protomux_rpc", part: "", rule: "protomux_rpc.22", "destroyed: {malformed}");
            self.outputs.push_back(Output::Destroy(malformed));
            self.close(Code::ChannelClosed, "channel closed");
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(request) = self.timers.pop_due(cx.now) {
            // protomux_rpc.11
            let span = self.requests.remove(&request).unwrap_or_default();
            trace!(cx, Timer, "protomux_rpc", part: request, rule: "protomux_rpc.11", "no answer within {span}");
            let text = format!("timeout of {}ms exceeded", span.as_millis());
            let failure = Failure::new(Code::TimeoutExceeded, &text);
            self.events.push_back(Event::Answer { request, result: Err(failure) });
        }
        self.end_if_done();
    }

    fn poll_output(&mut self, _: &mut Cx<'_>) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if let Output::Message { bytes, .. } = &output {
            self.outbox_bytes -= bytes.len();
        }
        Some(output)
    }

    fn poll_event(&mut self) -> Option<Event> {
        loop {
            let event = self.events.pop_front()?;
            // a call that can no longer be answered is not told
            if let Event::Call { call, .. } = &event
                && !self.calls.contains(*call)
            {
                continue;
            }
            return Some(event);
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(|_| "protomux_rpc request")
    }
}

/// Longest numbers in front of a method and a value, for room.
const HEAD_MAX: usize = 28;

fn check(value: &[u8]) -> Result<(), Error> {
    if value.len() + limits::RPC_TEXT_MAX + 64 > limits::MUX_MESSAGE_MAX {
        return Err(Error::Invalid("value of a call: too long"));
    }
    Ok(())
}

/// What one side of a connection says in its channel handshake to prove that it knows `secret` (protomux_rpc.26).
/// `initiator` is the side that says it, in the sense of the secret stream; check the peer's with `!initiator`.
pub fn capability(handshake_hash: &[u8; 64], initiator: bool, secret: &Key) -> Key {
    let namespace = hash::namespace("hyperswarm-capability", 0);
    hash::keyed_256(handshake_hash, &[&namespace, &[u8::from(initiator)], secret])
}

#[cfg(test)]
mod tests;
