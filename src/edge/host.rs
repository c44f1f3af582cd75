//! Runs nodes on the real machine: one thread, one poll, any number of nodes. `wait` is the only call that blocks.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use super::files::Files;
use super::os::{OsEntropy, interfaces, keep_freed_memory, unix_millis, unix_time};
use super::trace::Transcript;
use super::udp::{Inbox, Left, Udp};
use crate::base::{
    Cx, Error, Few, Machine, NoTrace, SocketId, Span, Time, Timers, Trace, Traffic, limits, trace,
};
use crate::node::{Asked, Config, Event, Input, Net, Node, Output, Packet};

/// One of the nodes of a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub usize);

/// Why `wait` returned.
#[derive(Debug)]
pub enum Wake {
    Event(NodeId, Event),
    /// The waker was used (a line was typed, say), or SIGUSR1 came and is watched.
    Woken,
    /// Ctrl-C or a request to end.
    Interrupted,
    TimedOut,
}

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const FIRST_SOCKET: usize = 2;
/// How often the interfaces are looked at (libudx: 5 s).
const INTERFACES_EVERY: Span = Span::from_secs(5);
/// How far the wall clock and ours may part before nodes are told.
const CLOCK_STEP_MILLIS: u64 = 1000;
/// Calls that take datagrams from one socket before the others have their turn.
const RECEIVES_PER_TURN: usize = 4;
/// Outputs that are carried out as of one moment before the clock is looked at again.
const OUTPUTS_PER_LOOK: usize = 16;
/// What waits to leave waits no longer than about this for the end of its turn: when each piece of work is long
/// (a handshake takes some 100 µs), the other side has its share of it while we go on.
const TURN: Span = Span::from_micros(100);
/// A stream's packet that is shorter than this is the last that the stream has for now: the other side gets it
/// before we
/// look for more.
const SHORT: usize = 1000;
/// Events in a row that the program takes before what it asked for meanwhile is carried out.
const EVENTS_PER_TURN: usize = 256;

/// A node and what it has of the world.
struct Seat {
    node: Node,
    disk: Files,
    entropy: OsEntropy,
    trace: Box<dyn Trace>,
    sockets: BTreeMap<SocketId, (Udp, Token)>,
    /// Where the last packet left: the next one, too, most likely.
    last: SocketId,
}

/// What became of something that a node asked for.
enum Step {
    Sent,
    Undone(Output),
}

impl Seat {
    /// Takes the next thing that the node asks for, and sends it if it is a datagram. A packet is written where the
    /// kernel takes it from.
    fn step(&mut self, now: Time) -> Option<Step> {
        let Seat { node, disk, entropy, trace, sockets, last } = self;
        let mut cx = Cx { now, entropy, disk, trace: &mut **trace };
        let mut nowhere = Vec::new();
        let room = sockets.get_mut(last).map_or(&mut nowhere, |(udp, _)| udp.room());
        let start = room.len();
        let (socket, to, ttl, bytes) = match node.poll_into(&mut cx, room)? {
            Asked::Packet(Packet { socket, to, ttl }) if socket == *last => {
                let short = room.len() - start < SHORT;
                if let Some((udp, _)) = sockets.get_mut(&socket) {
                    udp.wrote(to, ttl);
                    if short {
                        udp.flush();
                    }
                }
                return Some(Step::Sent);
            }
            Asked::Packet(Packet { socket, to, ttl }) => {
                *last = socket;
                (socket, to, ttl, room.split_off(start))
            }
            Asked::Output(Output::Send { socket, to, bytes, ttl }) => (socket, to, ttl, bytes),
            Asked::Output(output) => return Some(Step::Undone(output)),
        };
        if let Some((udp, _)) = sockets.get_mut(&socket) {
            udp.send(to, &bytes, ttl);
        }
        Some(Step::Sent)
    }
}

/// Nodes on the real machine.
pub struct Host {
    poll: Poll,
    ready: Events,
    start: Instant,
    seats: Vec<Option<Seat>>,
    owners: BTreeMap<Token, (NodeId, SocketId)>,
    next_token: usize,
    deadlines: Timers<NodeId>,
    /// Nodes that were touched and whose outputs are not carried out yet.
    touched: Few<NodeId>,
    /// Nodes that may have something to tell. Events stay with their node until the program asks for them: a node
    /// refuses what nobody wanted only once the program has heard of it.
    telling: Few<NodeId>,
    waker: Arc<Waker>,
    signals: Option<Signals>,
    interrupted: bool,
    woken: bool,
    usr1: bool,
    interfaces: Vec<[u8; 4]>,
    interfaces_at: Time,
    /// Milliseconds of Unix time at `Time::ZERO`, as the nodes know it.
    epoch_millis: u64,
    inbox: Inbox,
    /// Sockets that may have more than was taken.
    unread: Few<Token>,
    /// Events that the program took since outputs were last carried out, and about when it took the first.
    told: usize,
    told_at: Time,
    /// When a node was last touched by the program, and when something was last taken in.
    net_at: Time,
    turned_at: Time,
    transcript: Option<Transcript>,
}

fn os(error: io::Error) -> Error {
    Error::Io(super::files::error(error))
}

impl Host {
    /// A host without nodes.
    pub fn open() -> Result<Host, Error> {
        keep_freed_memory();
        let poll = Poll::new().map_err(os)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(os)?;
        Ok(Host {
            poll,
            ready: Events::with_capacity(256),
            start: Instant::now(),
            seats: Vec::new(),
            owners: BTreeMap::new(),
            next_token: FIRST_SOCKET,
            deadlines: Timers::new(),
            touched: Few::default(),
            telling: Few::default(),
            waker: Arc::new(waker),
            signals: None,
            interrupted: false,
            woken: false,
            usr1: false,
            interfaces: interfaces(),
            interfaces_at: Time::ZERO,
            epoch_millis: unix_millis(),
            inbox: Inbox::default(),
            unread: Few::default(),
            told: 0,
            told_at: Time::ZERO,
            net_at: Time::ZERO,
            turned_at: Time::ZERO,
            transcript: None,
        })
    }

    /// Makes Ctrl-C and SIGTERM end `wait` with `Wake::Interrupted`; a second one ends the process at once.
    pub fn catch_signals(&mut self) -> Result<(), Error> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(os)?;
        self.poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(os)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Makes SIGUSR1 end `wait` with `Wake::Woken`; after `catch_signals`. Elsewhere it ends the process.
    pub fn watch_usr1(&mut self) -> Result<(), Error> {
        self.signals.as_ref().map_or(Ok(()), |signals| signals.add_signal(SIGUSR1).map_err(os))
    }

    /// Whether SIGUSR1 came since this was last asked.
    pub fn take_usr1(&mut self) -> bool {
        core::mem::take(&mut self.usr1)
    }

    /// Ends `wait` with `Wake::Woken`, from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// What happens in nodes that are added from now on is written there.
    pub fn set_transcript(&mut self, transcript: Transcript) {
        self.transcript = Some(transcript);
    }

    /// Starts a node with its files below `root`.
    pub fn add(&mut self, config: Config, root: &Path) -> Result<NodeId, Error> {
        let now = self.now();
        let id = NodeId(self.seats.len());
        let mut disk = Files::open(root)?;
        let mut entropy = OsEntropy::default();
        let mut trace: Box<dyn Trace> = match &self.transcript {
            Some(transcript) => Box::new(transcript.of(id.0)),
            None => Box::new(NoTrace),
        };
        let mut cx = Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut *trace };
        trace!(cx, State, "host", "seckel {} starts, unix time {}", env!("CARGO_PKG_VERSION"), unix_time());
        let mut node = Node::new(&mut cx, config);
        node.handle_input(&mut cx, Input::Interfaces(&self.interfaces));
        self.seats.push(Some(Seat {
            node,
            disk,
            entropy,
            trace,
            sockets: BTreeMap::new(),
            last: SocketId::SERVER,
        }));
        self.touch(id);
        self.carry_out();
        Ok(id)
    }

    /// Takes a node away with all its sockets. What it had not sent is not sent.
    pub fn remove(&mut self, id: NodeId) {
        let Some(seat) = self.seats.get_mut(id.0).and_then(Option::take) else { return };
        for (mut udp, token) in seat.sockets.into_values() {
            let _ = self.poll.registry().deregister(udp.source());
            self.owners.remove(&token);
        }
        self.deadlines.clear(id);
        self.touched.remove(id);
        self.telling.remove(id);
    }

    /// What came and left on each socket of a node.
    pub fn traffic(&self, id: NodeId) -> impl Iterator<Item = (SocketId, Traffic)> {
        let seat = self.seats.get(id.0).and_then(Option::as_ref);
        seat.into_iter().flat_map(|seat| seat.sockets.iter().map(|(socket, (udp, _))| (*socket, udp.traffic)))
    }

    /// Microseconds since the host started.
    pub fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// What a program can do with node `id`. Panics if it was removed: the caller's own mistake.
    pub fn net(&mut self, id: NodeId) -> Net<'_> {
        let now = self.now();
        self.net_at = now;
        self.touch(id);
        let seat = self.seats.get_mut(id.0).and_then(Option::as_mut).expect("a node that was not removed");
        let Seat { node, disk, entropy, trace, .. } = seat;
        Net::new(node, Cx { now, entropy, disk, trace: &mut **trace })
    }

    /// The next thing that happened; waits for it at most `patience` (`None`: as long as it takes). Before it has
    /// waited long enough it always looks at the sockets once, with no patience at all too.
    pub fn wait(&mut self, patience: Option<Duration>) -> Result<Wake, Error> {
        let until = patience.map(|patience| {
            self.now() + Span::from_micros(u64::try_from(patience.as_micros()).unwrap_or(u64::MAX))
        });
        let mut looked = false;
        loop {
            if self.interrupted {
                self.interrupted = false;
                return Ok(Wake::Interrupted);
            }
            if let Some((id, event)) = self.next_event() {
                return Ok(Wake::Event(id, event));
            }
            if self.woken {
                self.woken = false;
                return Ok(Wake::Woken);
            }
            if looked && until.is_some_and(|until| until <= self.now()) {
                return Ok(Wake::TimedOut);
            }
            self.turn(until)?;
            looked = true;
        }
    }

    /// Events come before outputs: what the program does about them leaves in the same datagrams.
    fn next_event(&mut self) -> Option<(NodeId, Event)> {
        let late = self.told > 0 && self.net_at >= self.told_at + TURN;
        if self.told < EVENTS_PER_TURN
            && !late
            && let Some(event) = self.poll_event()
        {
            if self.told == 0 {
                self.told_at = self.net_at.max(self.turned_at);
            }
            self.told += 1;
            return Some(event);
        }
        self.told = 0;
        self.carry_out();
        self.poll_event()
    }

    fn poll_event(&mut self) -> Option<(NodeId, Event)> {
        while let Some(id) = self.telling.first() {
            let seat = self.seats.get_mut(id.0).and_then(Option::as_mut);
            if let Some(event) = seat.and_then(|seat| seat.node.poll_event()) {
                return Some((id, event));
            }
            self.telling.remove(id);
        }
        None
    }

    fn touch(&mut self, id: NodeId) {
        self.touched.insert(id);
        self.telling.insert(id);
    }

    /// Sleeps until something is ready, then takes it in.
    fn turn(&mut self, until: Option<Time>) -> Result<(), Error> {
        let mut next = self.interfaces_at + INTERFACES_EVERY;
        if let Some(until) = until {
            next = next.min(until);
        }
        if let Some((at, _)) = self.deadlines.next() {
            next = next.min(at);
        }
        if let Some(transcript) = &self.transcript {
            transcript.flush();
        }
        let sleep = if self.unread.is_empty() { next.since(self.now()) } else { Span::ZERO };
        let mut ready = core::mem::replace(&mut self.ready, Events::with_capacity(0));
        let polled = self.poll.poll(&mut ready, Some(Duration::from_micros(sleep.as_micros())));
        if let Err(error) = polled
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(os(error));
        }
        for event in ready.iter() {
            match event.token() {
                WAKER => self.woken = true,
                SIGNALS => self.take_signals(),
                token => {
                    if event.is_writable() {
                        self.send_waiting(token);
                    }
                    if event.is_readable() {
                        self.unread.insert(token);
                    }
                }
            }
        }
        self.ready = ready;
        self.look_at_clock();
        let mut unread = core::mem::take(&mut self.unread);
        while let Some(token) = unread.pop_first() {
            if self.receive(token) == Left::Perhaps {
                self.unread.insert(token);
            }
        }
        let now = self.now();
        self.turned_at = now;
        self.run_timers(now);
        self.look_at_interfaces(now);
        Ok(())
    }

    fn take_signals(&mut self) {
        if let Some(signals) = &mut self.signals {
            for signal in signals.pending() {
                if signal == SIGUSR1 {
                    (self.usr1, self.woken) = (true, true);
                } else {
                    self.interrupted = true;
                }
            }
        }
    }

    fn run_timers(&mut self, now: Time) {
        while let Some(id) = self.deadlines.pop_due(now) {
            let Some(seat) = self.seats.get_mut(id.0).and_then(Option::as_mut) else { continue };
            let Seat { node, disk, entropy, trace, .. } = seat;
            node.handle_timeout(&mut Cx { now, entropy, disk, trace: &mut **trace });
            self.touch(id);
        }
    }

    /// Before anything is taken in that came meanwhile: our own clock stands still while the machine sleeps.
    fn look_at_clock(&mut self) {
        let now = self.now();
        let epoch = unix_millis().saturating_sub(now.as_millis());
        if epoch.abs_diff(self.epoch_millis) < CLOCK_STEP_MILLIS {
            return;
        }
        self.epoch_millis = epoch;
        let unix_millis = epoch.saturating_add(now.as_millis());
        self.tell_all(now, || Input::Clock { unix_millis });
    }

    fn look_at_interfaces(&mut self, now: Time) {
        if now < self.interfaces_at + INTERFACES_EVERY {
            return;
        }
        self.interfaces_at = now;
        let found = interfaces();
        if found == self.interfaces {
            return;
        }
        self.interfaces.clone_from(&found);
        self.tell_all(now, || Input::Interfaces(&found));
    }

    /// Tells every node of what has changed for all of them.
    fn tell_all<'i>(&mut self, now: Time, what: impl Fn() -> Input<'i>) {
        for index in 0..self.seats.len() {
            let Some(Some(Seat { node, disk, entropy, trace, .. })) = self.seats.get_mut(index) else {
                continue;
            };
            node.handle_input(&mut Cx { now, entropy, disk, trace: &mut **trace }, what());
            self.touch(NodeId(index));
        }
    }

    fn receive(&mut self, token: Token) -> Left {
        let Some(&(id, socket)) = self.owners.get(&token) else { return Left::Nothing };
        self.touch(id);
        let mut now = self.now();
        let mut carried = now;
        for _ in 0..RECEIVES_PER_TURN {
            let seat = self.seats.get(id.0).and_then(Option::as_ref);
            let Some((udp, _)) = seat.and_then(|seat| seat.sockets.get(&socket)) else {
                return Left::Nothing;
            };
            let (count, left) = self.inbox.receive(udp);
            for index in 0..count {
                self.take_in(now, id, socket, index);
                if index + 1 == count && left == Left::Nothing {
                    return left; // all that waits leaves soon anyway
                }
                now = self.now();
                if now.since(carried) >= TURN {
                    self.carry_out_one(id);
                    carried = now;
                }
            }
            if left == Left::Nothing {
                return left;
            }
        }
        Left::Perhaps
    }

    /// Hands what lies in a buffer of the inbox to a node.
    fn take_in(&mut self, now: Time, id: NodeId, socket: SocketId, index: usize) {
        let Some(seat) = self.seats.get_mut(id.0).and_then(Option::as_mut) else { return };
        let Seat { node, disk, entropy, trace, sockets, .. } = seat;
        if let Some((from, bytes, each)) = self.inbox.get(index)
            && each <= limits::DATAGRAM_MAX
        {
            if let Some((udp, _)) = sockets.get_mut(&socket) {
                udp.traffic.came(bytes.len().div_ceil(each), bytes.len());
            }
            let mut cx = Cx { now, entropy, disk, trace: &mut **trace };
            node.handle_input(&mut cx, Input::Datagrams { socket, from, bytes, each });
        }
    }

    fn send_waiting(&mut self, token: Token) {
        let Some(&(id, socket)) = self.owners.get(&token) else { return };
        let Some(seat) = self.seats.get_mut(id.0).and_then(Option::as_mut) else { return };
        if let Some((udp, _)) = seat.sockets.get_mut(&socket)
            && udp.is_waiting()
            && udp.send_waiting()
        {
            udp.watched = false;
            let _ = self.poll.registry().reregister(udp.source(), token, Interest::READABLE);
        }
    }

    /// Carries out what touched nodes ask for, until they ask for nothing more.
    fn carry_out(&mut self) {
        while let Some(id) = self.touched.pop_first() {
            self.carry_out_one(id);
        }
    }

    fn carry_out_one(&mut self, id: NodeId) {
        let mut now = self.now();
        for carried in 1.. {
            if carried % OUTPUTS_PER_LOOK == 0 {
                now = self.now();
            }
            let Some(seat) = self.seats.get_mut(id.0).and_then(Option::as_mut) else { return };
            let Some(step) = seat.step(now) else { break };
            let Step::Undone(output) = step else { continue };
            let Seat { node, disk, entropy, trace, sockets, .. } = seat;
            let mut cx = Cx { now, entropy, disk, trace: &mut **trace };
            match output {
                Output::Send { .. } => {} // sent already
                Output::Close { socket } => {
                    if let Some((mut udp, token)) = sockets.remove(&socket) {
                        udp.flush();
                        let _ = self.poll.registry().deregister(udp.source());
                        self.owners.remove(&token);
                    }
                }
                Output::Bind { socket, host, port } => {
                    let token = Token(self.next_token);
                    self.next_token += 1;
                    let bound = Udp::bind(host, port).and_then(|mut udp| {
                        self.poll.registry().register(udp.source(), token, Interest::READABLE)?;
                        let local = udp.local()?;
                        Ok((udp, local))
                    });
                    match bound {
                        Ok((udp, local)) => {
                            sockets.insert(socket, (udp, token));
                            self.owners.insert(token, (id, socket));
                            node.handle_input(&mut cx, Input::Bound { socket, local });
                        }
                        Err(_) => node.handle_input(&mut cx, Input::BindFailed { socket }),
                    }
                }
            }
        }
        let Some(seat) = self.seats.get_mut(id.0).and_then(Option::as_mut) else { return };
        for (udp, token) in seat.sockets.values_mut() {
            udp.flush();
            if udp.is_waiting() && !udp.watched {
                udp.watched = true;
                let both = Interest::READABLE | Interest::WRITABLE;
                let _ = self.poll.registry().reregister(udp.source(), *token, both);
            }
        }
        self.telling.insert(id);
        match seat.node.poll_timeout() {
            Some(deadline) => self.deadlines.set(id, deadline.at),
            None => self.deadlines.clear(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own clock stands still while the machine sleeps: that it did is noticed, and told before anything else.
    #[test]
    fn a_node_is_told_that_the_machine_slept() {
        let mut host = Host::open().expect("a host");
        let id = host.add(Config::default(), &std::env::temp_dir()).expect("a node");
        while host.poll_event().is_some() {}
        host.look_at_clock();
        assert!(host.poll_event().is_none());
        // As if it had woken just now.
        host.epoch_millis -= 7_200_000;
        host.look_at_clock();
        assert!(matches!(host.poll_event(), Some((told, Event::ClockSet)) if told == id));
        let known = host.net(id).unix_millis().expect("it was told");
        assert!(known.abs_diff(unix_millis()) < CLOCK_STEP_MILLIS);
        host.look_at_clock();
        assert!(host.poll_event().is_none(), "once");
    }
}
