//! The side that asks a relay. One per connection to it.

use std::collections::{BTreeMap, VecDeque};

use crate::base::hex::Short;
use crate::base::{Cx, Deadline, Error, Key, Machine, Malformed, Span, Timers, limits, take_first, trace};
use crate::wire::{self, blind_relay as format};

/// What the channel tells.
#[derive(Debug)]
pub enum Input<'a> {
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
    /// The relay's message is not one: destroy the stream below.
    Destroy(Malformed),
}

/// Each request has one `Paired` or `Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The other side asked too: the relay's end for us is its stream of that id.
    Paired {
        token: Key,
        stream: u32,
    },
    Failed {
        token: Key,
        why: Unpaired,
    },
}

/// Why nothing came of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unpaired {
    /// No answer in time. (blind_relay.12)
    TimedOut,
    /// `unpair` was called.
    Cancelled,
    /// The channel closed.
    Closed,
    /// The relay named a stream that no UDX header can hold.
    NoStream,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Live,
    /// Closes once no request waits.
    Ending,
    Closed,
}

/// Requests of one side. Commands: `pair`, `unpair`, `end`, `destroy`. Deadlines: those of requests.
#[derive(Debug, Default)]
pub struct Client {
    phase: Phase,
    /// With our role.
    requests: BTreeMap<Key, bool>,
    timers: Timers<Key>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
}

impl Client {
    /// For a channel that was just opened on this side.
    pub fn new() -> Client {
        Client::default()
    }

    /// Asks to be paired with whoever asks with the same token in the other role; `stream` is the id of our UDX stream.
    ///
    /// Errors: `Taken` while a request with that token waits; `Full`; `NotOpen` once the channel is closed.
    /// (blind_relay.2, blind_relay.12)
    pub fn pair(
        &mut self,
        cx: &mut Cx<'_>,
        initiator: bool,
        token: Key,
        stream: u32,
        patience: Span,
    ) -> Result<(), Error> {
        if self.phase == Phase::Closed {
            return Err(Error::NotOpen);
        }
        if self.requests.contains_key(&token) {
            return Err(Error::Taken);
        }
        if self.requests.len() >= limits::BLIND_RELAY_REQUESTS_MAX
            || self.outputs.len() >= limits::BLIND_RELAY_QUEUE_MAX
        {
            return Err(Error::Full);
        }
        trace!(cx, Out, "blind_relay", part: Short(&token), rule: "blind_relay.2", "PAIR, initiator: {initiator}");
        let pair = format::Pair { initiator, token, stream: stream.into(), seq: 0 };
        self.outputs.push_back(Output::Message { kind: format::PAIR, bytes: wire::encode(&pair) });
        self.requests.insert(token, initiator);
        self.timers.set(token, cx.now + patience);
        Ok(())
    }

    /// Takes a request back, or ends what came of it. Errors: `NotOpen`, `Full`. (blind_relay.3)
    pub fn unpair(&mut self, cx: &mut Cx<'_>, token: Key) -> Result<(), Error> {
        if self.phase == Phase::Closed {
            return Err(Error::NotOpen);
        }
        if self.outputs.len() >= limits::BLIND_RELAY_QUEUE_MAX {
            return Err(Error::Full);
        }
        trace!(cx, Out, "blind_relay", part: Short(&token), rule: "blind_relay.3", "UNPAIR");
        let unpair = wire::encode(&format::Unpair { token });
        self.outputs.push_back(Output::Message { kind: format::UNPAIR, bytes: unpair });
        self.fail(token, Unpaired::Cancelled);
        Ok(())
    }

    /// Closes the channel once no request waits.
    pub fn end(&mut self) {
        if self.phase == Phase::Live {
            self.phase = Phase::Ending;
        }
        self.end_maybe();
    }

    /// Closes the channel.
    pub fn destroy(&mut self) {
        if self.phase != Phase::Closed {
            self.outputs.push_back(Output::Close);
            self.closed();
        }
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    fn end_maybe(&mut self) {
        if self.phase == Phase::Ending && self.requests.is_empty() {
            self.outputs.push_back(Output::Close);
            self.phase = Phase::Closed;
        }
    }

    fn closed(&mut self) {
        self.phase = Phase::Closed;
        for token in core::mem::take(&mut self.requests).into_keys() {
            self.timers.clear(token);
            self.events.push_back(Event::Failed { token, why: Unpaired::Closed });
        }
    }

    fn fail(&mut self, token: Key, why: Unpaired) {
        self.timers.clear(token);
        if self.requests.remove(&token).is_some() {
            self.events.push_back(Event::Failed { token, why });
        }
        self.end_maybe();
    }

    /// blind_relay.10
    fn on_pair(&mut self, cx: &mut Cx<'_>, pair: &format::Pair) {
        if self.requests.get(&pair.token) != Some(&pair.initiator) {
            let token = Short(&pair.token);
            trace!(cx, Drop, "blind_relay", part: token, rule: "blind_relay.10", "PAIR that nobody waits for");
            return;
        }
        let token = pair.token;
        trace!(cx, In, "blind_relay", part: Short(&token), rule: "blind_relay.5", "PAIR, stream {}", pair.stream);
        let Ok(stream) = u32::try_from(pair.stream) else { return self.fail(token, Unpaired::NoStream) };
        self.requests.remove(&token);
        self.timers.clear(token);
        self.events.push_back(Event::Paired { token, stream });
        self.end_maybe();
    }
}

impl Machine for Client {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::Message { kind: format::PAIR, bytes } => match wire::decode(bytes) {
                Ok(pair) => self.on_pair(cx, &pair),
                Err(malformed) => {
                    self.outputs.push_back(Output::Destroy(malformed));
                    self.closed();
                }
            },
            // Also UNPAIR, which is not for clients. (blind_relay.10)
            Input::Message { .. } => {}
            Input::Closed => self.closed(),
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(token) = self.timers.pop_due(cx.now) {
            trace!(cx, Timer, "blind_relay", part: Short(&token), rule: "blind_relay.12", "no answer");
            self.fail(token, Unpaired::TimedOut);
        }
    }

    fn poll_output(&mut self, _: &mut Cx<'_>) -> Option<Output> {
        take_first(&mut self.outputs)
    }

    fn poll_event(&mut self) -> Option<Event> {
        take_first(&mut self.events)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(|_| "a relay does not answer")
    }
}
