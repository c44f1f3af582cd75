//! Part of `DhtRpc`: requests leave, are sent again, and end. Follows dht_rpc.46 to dht_rpc.54.

use super::flight::{Flight, FlightId, Owner};
use super::table::{Added, Contact, node_id};
use super::told::Command;
use super::{DhtRpc, Event, Lost, Output, Timer};
use crate::base::{Addr, Cx, SocketId, Span, limits, trace};
use crate::wire;
use crate::wire::dht_rpc::{Ask, DELAYED_PING, DelayValue, PING_NAT, Reply, Request, RequestMessage};

/// Bytes of a request besides its token and value, at most: an id and a target are most of it.
const REQUEST_HEAD: usize = 96;
/// How long a request waits before it is sent again or given up. dht_rpc.49
pub(super) const WAIT: Span = Span::from_secs(1);

impl DhtRpc {
    /// Makes a flight; `send_or_queue` starts it. Gives the owner back if there are too many.
    pub(super) fn launch(&mut self, cx: &mut Cx<'_>, ask: Ask, owner: Owner) -> Result<FlightId, Owner> {
        if self.flights.is_full() {
            return Err(owner);
        }
        let tid = self.flights.free_tid(cx.entropy);
        let socket = ask.socket.unwrap_or(self.socket());
        let internal = ask.internal.then_some(ask.command);
        // dht_rpc.14: the answer to a PING_NAT shows that the server socket is reached
        let answer_on = if internal == Some(PING_NAT) { SocketId::SERVER } else { socket };
        let wait = match (internal, &ask.value) {
            // dht_rpc.18: the delay, and a second for the way
            (Some(DELAYED_PING), Some(value)) => wire::decode::<DelayValue>(value)
                .ok()
                .map(|delay| Span::from_millis(u64::from(delay.0)) + WAIT),
            _ => None,
        };
        if let Some(count) = internal.and_then(|command| self.stats.made.get_mut(command as usize)) {
            *count += 1;
        }
        self.stats.requests += 1;
        let (to, said) = (ask.to, Command(ask.internal, ask.command));
        let len =
            REQUEST_HEAD + ask.token.map_or(0, |token| token.len()) + ask.value.as_ref().map_or(0, Vec::len);
        let message = RequestMessage {
            tid,
            to: ask.to,
            id: self.id_on(socket),
            token: ask.token,
            internal: ask.internal,
            command: ask.command,
            target: ask.target,
            value: ask.value,
        };
        let bytes = wire::encode_of_about(len, message);
        let sends = ask.sends.max(1);
        let told = if cx.trace.on() { Some(owner.clone()) } else { None };
        let id = self.flights.insert(Flight {
            tid,
            to: ask.to,
            socket,
            answer_on,
            ttl: ask.ttl,
            bytes,
            owner,
            internal,
            sends,
            sent: 0,
            first_sent: None,
            wait,
            queued: false,
        });
        if let Some(owner) = told {
            trace!(cx, Step, "dht_rpc", id: id, peer: to, rule: "dht_rpc.46", "asks {said}, tid {tid}, for {owner}");
        }
        Ok(id)
    }

    /// Our id, for a datagram that leaves from `socket`. dht_rpc.10
    pub(super) fn id_on(&self, socket: SocketId) -> Option<[u8; 32]> {
        self.id().filter(|_| socket == SocketId::SERVER)
    }

    pub(super) fn send_or_queue(&mut self, cx: &mut Cx<'_>, flight: FlightId) {
        if !self.is_bound() || self.flights.queued() > 0 || self.window.is_full(cx.now) {
            trace!(cx, Step, "dht_rpc", id: flight, rule: "dht_rpc.52", "waits for its turn");
            self.flights.queue(flight);
            self.arm_drain(cx);
        } else {
            self.send_now(cx, flight);
        }
    }

    fn send_now(&mut self, cx: &mut Cx<'_>, id: FlightId) {
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.sent = flight.sent.saturating_add(1);
        flight.first_sent.get_or_insert(cx.now);
        let wait = match (flight.wait, &self.adaptive) {
            (Some(wait), _) => wait,
            (None, Some(adaptive)) => adaptive.wait(cx.entropy, flight.to, flight.sent),
            (None, None) => WAIT,
        };
        let (socket, to, ttl, bytes) = (flight.socket, flight.to, flight.ttl, flight.bytes.clone());
        self.timers.set(Timer::Flight(id), cx.now + wait);
        self.window.sent(cx.now);
        self.transmit(socket, to, bytes, ttl);
    }

    /// Hands a datagram to the socket; drops it if the socket does not keep up.
    pub(super) fn transmit(&mut self, socket: SocketId, to: Addr, bytes: Vec<u8>, ttl: Option<u8>) {
        if self.outputs.len() >= limits::DHT_OUTPUTS_MAX {
            self.stats.dropped += 1;
            return;
        }
        self.outputs.push_back(Output::Send { socket, to, bytes, ttl });
    }

    fn arm_drain(&mut self, cx: &mut Cx<'_>) {
        // before that nothing leaves; what waits is sent when the sockets are bound
        if self.is_bound() && self.timers.get(Timer::Drain).is_none() {
            self.timers.set(Timer::Drain, self.window.next_turn(cx.now));
        }
    }

    /// Sends what waits, as far as the congestion window lets it. dht_rpc.53
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.is_bound() && self.flights.queued() > 0 && !self.window.is_full(cx.now) {
            let Some(flight) = self.flights.unqueue() else { break };
            self.send_now(cx, flight);
        }
        if self.flights.queued() > 0 {
            self.arm_drain(cx);
        }
    }

    /// A send was not answered in time.
    pub(super) fn on_late(&mut self, cx: &mut Cx<'_>, id: FlightId) {
        let Some(flight) = self.flights.get_mut(id) else { return };
        let (owner, over) = (flight.owner.clone(), flight.sent >= flight.sends);
        // dht_rpc.48
        if over {
            self.finish(cx, id, Err(Lost::TimedOut));
            return;
        }
        self.stats.retries += 1;
        trace!(cx, Step, "dht_rpc", id: id, rule: "dht_rpc.48", "to be sent again");
        self.send_or_queue(cx, id);
        if let Owner::Visit(walk) = owner {
            self.on_slow(cx, walk, id);
        }
    }

    /// Ends a request, one way or the other. The only place where flights end.
    pub(super) fn finish(&mut self, cx: &mut Cx<'_>, id: FlightId, outcome: Result<Reply, Lost>) {
        let Some(flight) = self.flights.remove(id) else { return };
        self.timers.clear(Timer::Flight(id));
        if flight.sent > 0 {
            self.window.ended(cx.now);
        }
        match &outcome {
            Ok(reply) => {
                let (from, rtt) = (reply.from, reply.rtt);
                trace!(cx, Step, "dht_rpc", id: id, peer: from, rule: "dht_rpc.47", "answered after {rtt}");
            }
            Err(lost) => {
                trace!(cx, Step, "dht_rpc", id: id, peer: flight.to, rule: "dht_rpc.54", "lost: {lost}");
            }
        }
        match outcome {
            Ok(_) => {
                self.stats.responses += 1;
                let count = flight.internal.and_then(|command| self.stats.answered.get_mut(command as usize));
                if let Some(count) = count {
                    *count += 1;
                }
            }
            Err(Lost::TimedOut) => {
                self.stats.timeouts += 1;
            }
            Err(Lost::Cancelled | Lost::Destroyed | Lost::Suspended | Lost::Full | Lost::NoToken) => {}
        }
        self.deliver(cx, id, flight, outcome);
        if !self.destroyed {
            self.pump(cx);
        }
    }

    fn deliver(&mut self, cx: &mut Cx<'_>, id: FlightId, flight: Flight, outcome: Result<Reply, Lost>) {
        let to = flight.to;
        match flight.owner {
            Owner::User(tag) => {
                self.user_flights.remove(&tag);
                self.event(Event::Answer { tag, result: outcome });
            }
            Owner::Visit(walk) => self.on_visited(cx, walk, id, to, outcome),
            Owner::Commit(walk) => self.on_committed(cx, walk, id, to, outcome),
            Owner::Probe => self.on_probed(cx, outcome),
            Owner::Firewall => self.on_firewall_answer(cx, outcome),
            Owner::Check(node) => {
                self.checks = self.checks.saturating_sub(1);
                if !is_alive(&outcome, &node) {
                    self.forget_contact(cx, &node, "dht_rpc.56");
                }
            }
            Owner::Swap { old, new } => {
                self.swaps = self.swaps.saturating_sub(1);
                if !is_alive(&outcome, &old) {
                    self.forget_contact(cx, &old, "dht_rpc.42");
                    self.add_contact(cx, *new);
                }
            }
            Owner::Hint => {
                if let Err(Lost::TimedOut) = outcome {
                    self.forget_contact(cx, &node_id(to), "dht_rpc.41");
                }
            }
        }
    }

    pub(super) fn add_contact(&mut self, cx: &mut Cx<'_>, mut contact: Contact) -> Added {
        (contact.added, contact.pinged, contact.seen) = (self.tick, self.tick, self.tick);
        let addr = contact.addr;
        let added = self.table.add(contact);
        if added == Added::Yes {
            trace!(cx, State, "dht_rpc", peer: addr, rule: "dht_rpc.36", "in the table");
        }
        self.tell_added(addr, added);
        added
    }

    /// Passes a request on to another node, with a value of our own. The answer comes back to whoever is named in it.
    /// It leaves from `socket`, or else from where the request came in. (dht_rpc.19)
    pub fn relay(
        &mut self,
        cx: &mut Cx<'_>,
        request: &Request,
        to: Addr,
        value: Vec<u8>,
        socket: Option<SocketId>,
    ) {
        if self.destroyed || to.port == 0 || value.len() > limits::DHT_VALUE_MAX {
            trace!(cx, Drop, "dht_rpc", peer: to, rule: "dht_rpc.19", "not relayed to it");
            return;
        }
        let socket = socket.unwrap_or(request.socket);
        let bytes = wire::encode_once(RequestMessage {
            tid: request.tid,
            to,
            id: self.id_on(socket),
            token: None,
            internal: false,
            command: request.command,
            target: request.target,
            value: Some(value),
        });
        self.transmit(socket, to, bytes, None);
    }
}

/// It answered, and it is still a node with that id.
fn is_alive(outcome: &Result<Reply, Lost>, id: &[u8; 32]) -> bool {
    match outcome {
        Ok(reply) => reply.id.as_ref() == Some(id),
        // We ended it ourselves: that says nothing about the node.
        Err(Lost::Cancelled | Lost::Destroyed | Lost::Suspended | Lost::Full | Lost::NoToken) => true,
        Err(Lost::TimedOut) => false,
    }
}
