//! The peer in the middle: who asks with the same token in different roles gets two streams that pass on to each other.
//! Whoever connects may ask, so all that is held has a bound and an end (blind_relay.11).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::hex::Short;
use crate::base::{
    Cx, Deadline, Error, Id, Key, Kind, Machine, Malformed, Slab, Span, Time, Timers, limits, take_first,
    trace,
};
use crate::wire::{self, blind_relay as format};

#[derive(Debug)]
pub enum SessionKind {}
impl Kind for SessionKind {
    const NAME: &'static str = "session";
}
/// A channel on which somebody asks.
pub type SessionId = Id<SessionKind>;

#[derive(Debug)]
pub enum PairKind {}
impl Kind for PairKind {
    const NAME: &'static str = "pair";
}
/// Two streams that pass on to each other.
pub type PairId = Id<PairKind>;

/// How often it is looked whether packets come.
const LOOK: Span = Span::from_secs(5);
/// The same after a side has left.
const LOOK_LEFT: Span = Span::from_secs(1);
/// Without packets for so long a pair that a side has left ends. blind_relay.9
const LINGER: Span = Span::from_secs(5);
/// And however many packets come, after this. blind_relay.9
const LINGER_MAX: Span = Span::from_secs(60);

/// What a relay serves at most. blind_relay.11
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Channels; further ones are refused.
    pub sessions: usize,
    /// Pairs; further requests are dropped.
    pub pairs: usize,
    /// Pairs, and requests that wait, of one channel.
    pub pairs_per_session: usize,
    /// Requests that wait for the other side, of all channels.
    pub waiting: usize,
    /// How long a request waits.
    pub patience: Span,
    /// A pair ends when one side sent nothing for so long.
    pub idle: Span,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            sessions: limits::BLIND_RELAY_SESSIONS_MAX,
            pairs: limits::BLIND_RELAY_PAIRS_MAX,
            pairs_per_session: limits::BLIND_RELAY_REQUESTS_MAX,
            waiting: limits::BLIND_RELAY_WAITING_MAX,
            patience: Span::from_secs(30),
            idle: Span::from_secs(60),
        }
    }
}

/// What channels and streams tell.
#[derive(Debug)]
pub enum Input<'a> {
    Message {
        session: SessionId,
        kind: u64,
        bytes: &'a [u8],
    },
    /// The channel is closed, by whomever. The last of a session.
    Closed {
        session: SessionId,
    },
    /// Answers `Output::Open`: ids of the two streams, of the side that is not the initiator first; `None`: there are
    /// none to be had.
    Opened {
        pair: PairId,
        streams: Option<[u32; 2]>,
    },
    /// Answers `Output::Look`: how many packets came on the two so far.
    Heard {
        pair: PairId,
        packets: [u64; 2],
    },
    /// The streams of a pair are gone, for whatever reason.
    Gone {
        pair: PairId,
    },
}

/// What channels and streams are to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Message {
        session: SessionId,
        kind: u64,
        bytes: Vec<u8>,
    },
    /// Close the channel.
    Close {
        session: SessionId,
    },
    /// The peer's message is not one: destroy the stream below.
    Destroy {
        session: SessionId,
        malformed: Malformed,
    },
    /// Open two streams that expect `remotes` and relay to each other.
    Open {
        pair: PairId,
        remotes: [u32; 2],
    },
    /// How many packets came?
    Look {
        pair: PairId,
    },
    /// Close both streams without a word.
    End {
        pair: PairId,
    },
}

/// Told to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Paired {
        pair: PairId,
    },
    /// With the packets that were last seen on both streams together.
    Ended {
        pair: PairId,
        packets: u64,
    },
}

/// Counted since the relay started; `waiting`, `sessions` and `pairs` are what there is now.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    pub accepted: u64,
    pub refused: u64,
    pub requested: u64,
    pub paired: u64,
    pub cancelled: u64,
    /// Requests for which nobody came.
    pub expired: u64,
    /// Requests beyond a bound.
    pub dropped: u64,
    pub malformed: u64,
    pub sessions: usize,
    pub waiting: usize,
    pub pairs: usize,
}

#[derive(Debug, Default)]
struct Session {
    /// Tokens of its requests that wait.
    waiting: BTreeSet<Key>,
    pairs: BTreeMap<Key, PairId>,
}

/// A request that waits for the other role.
#[derive(Debug)]
struct Half {
    session: SessionId,
    initiator: bool,
    remote: u32,
}

#[derive(Debug)]
struct Pair {
    token: Key,
    /// The side that is not the initiator, and the initiator. `None`: it left.
    sessions: [Option<SessionId>; 2],
    /// `Output::Open` was answered.
    open: bool,
    packets: [u64; 2],
    /// When the last packet of each was noticed.
    heard: [Time; 2],
    /// When a side left first.
    left: Option<Time>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Waiting(Key),
    Look(PairId),
}

/// The machine. Commands: `accept`, `close`. Deadlines: of requests, and for looking after pairs.
#[derive(Debug)]
pub struct Relay {
    bounds: Bounds,
    closed: bool,
    sessions: Slab<SessionKind, Session>,
    waiting: BTreeMap<Key, Half>,
    pairs: Slab<PairKind, Pair>,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Relay {
    pub fn new(bounds: Bounds) -> Relay {
        Relay {
            bounds,
            closed: false,
            sessions: Slab::new(),
            waiting: BTreeMap::new(),
            pairs: Slab::new(),
            timers: Timers::new(),
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// A peer opened the channel. `Error::Full`: refuse it. (blind_relay.11)
    pub fn accept(&mut self, cx: &mut Cx<'_>) -> Result<SessionId, Error> {
        if self.closed || self.sessions.len() >= self.bounds.sessions {
            self.stats.refused += 1;
            return Err(Error::Full);
        }
        self.stats.accepted += 1;
        let session = self.sessions.insert(Session::default());
        trace!(cx, State, "blind_relay", id: session, rule: "blind_relay.1", "accepted");
        Ok(session)
    }

    /// Ends everything: channels, requests and pairs.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        for session in self.sessions.ids() {
            self.outputs.push_back(Output::Close { session });
            self.forget_session(cx, session);
        }
        for pair in self.pairs.ids() {
            self.end_pair(cx, pair);
        }
    }

    pub fn stats(&self) -> Stats {
        let (sessions, waiting, pairs) = (self.sessions.len(), self.waiting.len(), self.pairs.len());
        Stats { sessions, waiting, pairs, ..self.stats }
    }

    fn on_pair(&mut self, cx: &mut Cx<'_>, session: SessionId, asked: &format::Pair) {
        self.stats.requested += 1;
        let token = asked.token;
        let Ok(remote) = u32::try_from(asked.stream) else { return self.stats.dropped += 1 };
        match self.waiting.get(&token) {
            // blind_relay.7
            Some(half) if half.initiator == asked.initiator => {}
            Some(_) => self.match_up(cx, session, token, remote),
            None => self.wait(cx, session, token, asked.initiator, remote),
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_>, id: SessionId, token: Key, initiator: bool, remote: u32) {
        let full = self.waiting.len() >= self.bounds.waiting;
        let most = self.bounds.pairs_per_session;
        let Some(session) = self.sessions.get_mut(id) else { return };
        if full || session.waiting.len() + session.pairs.len() >= most {
            trace!(cx, Drop, "blind_relay", id: id, rule: "blind_relay.11", "a request beyond what is kept");
            self.stats.dropped += 1;
            return;
        }
        trace!(cx, In, "blind_relay", id: id, rule: "blind_relay.2", "PAIR {}, initiator: {initiator}", Short(&token));
        session.waiting.insert(token);
        self.waiting.insert(token, Half { session: id, initiator, remote });
        self.timers.set(Timer::Waiting(token), cx.now + self.bounds.patience);
    }

    /// blind_relay.5
    fn match_up(&mut self, cx: &mut Cx<'_>, id: SessionId, token: Key, remote: u32) {
        let most = self.bounds.pairs_per_session;
        let Some(session) = self.sessions.get(id) else { return };
        if self.pairs.len() >= self.bounds.pairs
            || session.waiting.len() + session.pairs.len() >= most
            || session.pairs.contains_key(&token)
        {
            trace!(cx, Drop, "blind_relay", id: id, rule: "blind_relay.11", "a pair beyond what is kept");
            self.stats.dropped += 1;
            return;
        }
        let Some(half) = self.take_half(token) else { return };
        let (sessions, remotes) = if half.initiator {
            ([Some(id), Some(half.session)], [remote, half.remote])
        } else {
            ([Some(half.session), Some(id)], [half.remote, remote])
        };
        let (open, heard) = (false, [cx.now; 2]);
        let pair = self.pairs.insert(Pair { token, sessions, open, packets: [0; 2], heard, left: None });
        for session in sessions.into_iter().flatten() {
            if let Some(session) = self.sessions.get_mut(session) {
                session.pairs.insert(token, pair);
            }
        }
        let (other, token) = (half.session, Short(&token));
        trace!(cx, State, "blind_relay", id: pair, rule: "blind_relay.5", "{id} and {other} for {token}");
        self.outputs.push_back(Output::Open { pair, remotes });
    }

    fn take_half(&mut self, token: Key) -> Option<Half> {
        let half = self.waiting.remove(&token)?;
        self.timers.clear(Timer::Waiting(token));
        if let Some(session) = self.sessions.get_mut(half.session) {
            session.waiting.remove(&token);
        }
        Some(half)
    }

    fn on_opened(&mut self, cx: &mut Cx<'_>, id: PairId, streams: Option<[u32; 2]>) {
        let Some(pair) = self.pairs.get_mut(id).filter(|pair| !pair.open) else { return };
        let Some(streams) = streams else {
            self.stats.dropped += 1;
            return self.forget_pair(id);
        };
        pair.open = true;
        let (token, sessions) = (pair.token, pair.sessions);
        for (at, session) in sessions.into_iter().enumerate() {
            let Some(session) = session else { continue };
            let answer = format::Pair { initiator: at == 1, token, stream: streams[at].into(), seq: 0 };
            let bytes = wire::encode(&answer);
            self.outputs.push_back(Output::Message { session, kind: format::PAIR, bytes });
        }
        self.stats.paired += 1;
        self.look_again(cx, id);
        self.events.push_back(Event::Paired { pair: id });
    }

    /// blind_relay.8
    fn on_unpair(&mut self, cx: &mut Cx<'_>, session: SessionId, token: Key) {
        trace!(cx, In, "blind_relay", id: session, rule: "blind_relay.8", "UNPAIR {}", Short(&token));
        if self.take_half(token).is_some() {
            self.stats.cancelled += 1;
        } else if let Some(&pair) = self.sessions.get(session).and_then(|session| session.pairs.get(&token)) {
            self.stats.cancelled += 1;
            self.end_pair(cx, pair);
        }
    }

    fn forget_session(&mut self, cx: &mut Cx<'_>, id: SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        trace!(cx, State, "blind_relay", id: id, rule: "blind_relay.9", "closed");
        for token in session.waiting {
            self.take_half(token);
            self.stats.cancelled += 1;
        }
        for &id in session.pairs.values() {
            let Some(pair) = self.pairs.get_mut(id) else { continue };
            for side in &mut pair.sessions {
                side.take_if(|of| self.sessions.get(*of).is_none());
            }
            pair.left.get_or_insert(cx.now);
            self.timers.set(Timer::Look(id), cx.now + LOOK_LEFT);
        }
    }

    fn end_pair(&mut self, cx: &mut Cx<'_>, pair: PairId) {
        trace!(cx, State, "blind_relay", id: pair, "ends");
        self.outputs.push_back(Output::End { pair });
        self.forget_pair(pair);
    }

    fn forget_pair(&mut self, id: PairId) {
        let Some(pair) = self.pairs.remove(id) else { return };
        self.timers.clear(Timer::Look(id));
        for session in pair.sessions.into_iter().flatten() {
            if let Some(session) = self.sessions.get_mut(session) {
                session.pairs.remove(&pair.token);
            }
        }
        if pair.open {
            let packets = pair.packets.iter().fold(0, |all: u64, one| all.saturating_add(*one));
            self.events.push_back(Event::Ended { pair: id, packets });
        }
    }

    fn look_again(&mut self, cx: &mut Cx<'_>, id: PairId) {
        let Some(pair) = self.pairs.get(id) else { return };
        let wait = if pair.left.is_some() { LOOK_LEFT } else { LOOK };
        self.timers.set(Timer::Look(id), cx.now + wait);
    }

    /// What came since the last look; ends what nobody uses. blind_relay.9, blind_relay.11
    fn on_heard(&mut self, cx: &mut Cx<'_>, id: PairId, packets: [u64; 2]) {
        let idle = self.bounds.idle;
        let Some(pair) = self.pairs.get_mut(id) else { return };
        for (side, packets) in packets.into_iter().enumerate() {
            if packets > pair.packets[side] {
                (pair.packets[side], pair.heard[side]) = (packets, cx.now);
            }
        }
        let [one, other] = pair.heard.map(|heard| cx.now.since(heard));
        let over = match pair.left {
            Some(left) => one.min(other) >= LINGER || cx.now.since(left) >= LINGER_MAX,
            None => one.max(other) >= idle,
        };
        if over {
            self.end_pair(cx, id);
        }
    }
}

impl Machine for Relay {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        match input {
            Input::Message { session, kind, bytes } => {
                if self.sessions.get(session).is_none() {
                    return;
                }
                // One whose answers nobody takes hears no more. (L6)
                if self.outputs.len() >= limits::BLIND_RELAY_QUEUE_MAX {
                    self.stats.dropped += 1;
                    return;
                }
                let read = match kind {
                    format::PAIR => wire::decode(bytes).map(|pair| self.on_pair(cx, session, &pair)),
                    format::UNPAIR => wire::decode(bytes)
                        .map(|unpair: format::Unpair| self.on_unpair(cx, session, unpair.token)),
                    _ => Ok(()),
                };
                if let Err(malformed) = read {
                    self.stats.malformed += 1;
                    self.outputs.push_back(Output::Destroy { session, malformed });
                    self.forget_session(cx, session);
                }
            }
            Input::Closed { session } => self.forget_session(cx, session),
            Input::Opened { pair, streams } => self.on_opened(cx, pair, streams),
            Input::Heard { pair, packets } => self.on_heard(cx, pair, packets),
            Input::Gone { pair } => self.forget_pair(pair),
        }
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(timer) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Waiting(token) => {
                    trace!(cx, Timer, "blind_relay", part: Short(&token), rule: "blind_relay.11", "nobody came");
                    self.take_half(token);
                    self.stats.expired += 1;
                }
                Timer::Look(pair) => {
                    self.look_again(cx, pair);
                    if self.outputs.len() < limits::BLIND_RELAY_QUEUE_MAX {
                        self.outputs.push_back(Output::Look { pair });
                    }
                }
            }
        }
    }

    fn poll_output(&mut self, _: &mut Cx<'_>) -> Option<Output> {
        take_first(&mut self.outputs)
    }

    fn poll_event(&mut self) -> Option<Event> {
        take_first(&mut self.events)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.timers.deadline(|timer| match timer {
            Timer::Waiting(_) => "nobody came for a request",
            Timer::Look(_) => "look whether packets are relayed",
        })
    }
}
