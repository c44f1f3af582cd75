//! Part of `DhtRpc`: datagrams come in, are answered or handed up. Follows dht_rpc.10 to dht_rpc.33.

use super::table::{Added, Contact, K, node_id};
use super::{DhtRpc, Event, Timer};
use crate::base::{Addr, Cx, Key, SocketId, Span, limits, trace};
use crate::wire;
use crate::wire::dht_rpc::{
    AddressValue, DELAYED_PING, DOWN_HINT, DelayValue, FIND_NODE, INVALID_TOKEN, PING, PING_NAT, PortValue,
    REQUEST, RESPONSE, Reply, Request, RequestMessage, Respond, ResponseMessage, UNKNOWN_COMMAND,
};

/// Bytes of an answer besides the nodes that it names and its value, at most: an id and a token are most of it.
const ANSWER_HEAD: usize = 96;

/// What an answer has to know of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub tid: u16,
    pub to: Addr,
    pub socket: SocketId,
    pub target: Option<Key>,
}

/// The parts of an answer that are not the same in all.
#[derive(Clone, Debug, Default)]
struct Parts {
    error: u64,
    value: Option<Vec<u8>>,
    token: bool,
    closer: bool,
}

impl DhtRpc {
    pub(super) fn on_datagram(&mut self, cx: &mut Cx<'_>, socket: SocketId, from: Addr, bytes: &[u8]) {
        // dht_rpc.2
        if !self.is_bound() || from.port == 0 || bytes.len() < 2 || bytes.len() > limits::DATAGRAM_MAX {
            return;
        }
        let fault = match bytes[0] {
            REQUEST => match wire::decode(bytes) {
                Ok(message) => return self.on_request(cx, socket, from, message),
                Err(fault) => fault,
            },
            RESPONSE => match wire::decode(bytes) {
                Ok(message) => return self.on_response(cx, socket, from, message),
                Err(fault) => fault,
            },
            _ => return,
        };
        self.stats.malformed += 1;
        trace!(cx, Drop, "dht_rpc", peer: from, rule: "dht_rpc.8", "{fault}");
    }

    fn on_response(&mut self, cx: &mut Cx<'_>, socket: SocketId, from: Addr, message: ResponseMessage) {
        let Some(id) = self.flights.find(message.tid, from, socket) else {
            trace!(cx, Drop, "dht_rpc", peer: from, rule: "dht_rpc.47", "nobody waits for tid {}", message.tid);
            self.stats.unexpected += 1;
            return;
        };
        let Some(flight) = self.flights.get_mut(id) else { return };
        let rtt = cx.now.since(flight.first_sent.unwrap_or(cx.now));
        let (sent, command) = (flight.sent, flight.internal);
        if let Some(adaptive) = &mut self.adaptive
            && sent <= 2
        {
            adaptive.learn(cx.now, from, rtt);
        }
        let reply = Reply {
            from,
            to: message.to,
            socket,
            id: message.id.filter(|id| self.is_id_of(id, from)), // dht_rpc.11
            token: message.token,
            closer: message.closer,
            error: message.error,
            value: message.value,
            rtt,
        };
        // A PING_NAT answer reports the port that we named in the question: it is no sample.
        if command != Some(PING_NAT) {
            self.heard(cx, socket, from, reply.id, reply.to);
        } else if let Some(id) = reply.id {
            self.refresh_contact(&id);
        }
        self.finish(cx, id, Ok(reply));
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, socket: SocketId, from: Addr, message: RequestMessage) {
        let asked = Asked { tid: message.tid, to: from, socket, target: message.target };
        let bad_token =
            message.token.is_some_and(|token| !self.tokens.check(cx.now, cx.entropy, from, &token));
        // dht_rpc.90
        if (message.internal || bad_token) && !self.sources.allow(cx.now, from.ip) {
            trace!(cx, Drop, "dht_rpc", peer: from, rule: "dht_rpc.90", "it asks too much");
            self.stats.limited += 1;
            return;
        }
        // dht_rpc.24: before anything else, whatever the command
        if bad_token {
            trace!(cx, Drop, "dht_rpc", peer: from, rule: "dht_rpc.24", "its token is not accepted");
            let parts = Parts { error: INVALID_TOKEN, token: true, closer: true, ..Parts::default() };
            return self.answer(cx, asked, parts);
        }
        let id = message.id.filter(|id| self.is_id_of(id, from)); // dht_rpc.11
        if id.is_some() {
            self.heard(cx, socket, from, id, message.to); // dht_rpc.33
        }
        if message.internal {
            return self.on_internal(cx, asked, message);
        }
        if self.requests_waiting >= limits::DHT_REQUESTS_MAX {
            trace!(cx, Drop, "dht_rpc", peer: from, "too many requests wait");
            self.stats.dropped += 1;
            return;
        }
        self.requests_waiting += 1;
        self.event(Event::Request(Request {
            from,
            to: message.to,
            socket,
            tid: message.tid,
            command: message.command,
            target: message.target,
            id,
            token: message.token,
            value: message.value,
            external: socket != self.socket(),
        }));
    }

    fn on_internal(&mut self, cx: &mut Cx<'_>, asked: Asked, message: RequestMessage) {
        let value = message.value.as_deref().unwrap_or(&[]);
        match message.command {
            PING => self.answer(cx, asked, Parts::default()), // dht_rpc.13
            PING_NAT => match wire::decode::<PortValue>(value) {
                // dht_rpc.14
                Ok(PortValue(port)) if port != 0 => {
                    let asked = Asked { to: asked.to.with_port(port), ..asked };
                    self.answer(cx, asked, Parts::default());
                }
                Ok(_) | Err(_) => {}
            },
            FIND_NODE => {
                // dht_rpc.15
                if asked.target.is_some() {
                    self.answer(cx, asked, Parts { closer: true, ..Parts::default() });
                }
            }
            DOWN_HINT => {
                // dht_rpc.16
                if let Ok(AddressValue(down)) = wire::decode(value) {
                    self.on_down_hint(cx, down);
                    self.answer(cx, asked, Parts::default());
                }
            }
            DELAYED_PING => {
                // dht_rpc.17
                if let Ok(DelayValue(millis)) = wire::decode(value) {
                    self.delay(cx, asked, Span::from_millis(u64::from(millis)));
                }
            }
            // dht_rpc.12
            _ => self.answer(cx, asked, Parts { error: UNKNOWN_COMMAND, closer: true, ..Parts::default() }),
        }
    }

    fn delay(&mut self, cx: &mut Cx<'_>, asked: Asked, delay: Span) {
        if delay > self.config.max_ping_delay || self.delayed.len() >= limits::DHT_DELAYED_MAX {
            return;
        }
        if delay == Span::ZERO {
            return self.answer(cx, asked, Parts::default());
        }
        let number = self.next_delayed;
        self.next_delayed += 1;
        self.delayed.insert(number, asked);
        self.timers.set(Timer::Delayed(number), cx.now + delay);
    }

    pub(super) fn on_delayed(&mut self, cx: &mut Cx<'_>, number: u64) {
        if let Some(asked) = self.delayed.remove(&number) {
            self.answer(cx, asked, Parts::default());
        }
    }

    /// Answers a request that was handed up. A value that does not fit a datagram is not sent.
    pub fn respond(&mut self, cx: &mut Cx<'_>, request: &Request, respond: Respond) {
        if self.destroyed {
            return;
        }
        let asked = Asked {
            tid: request.tid,
            to: respond.to.unwrap_or(request.from),
            socket: respond.socket.unwrap_or(request.socket), // dht_rpc.25
            target: request.target,
        };
        let Respond { error, value, token, closer, .. } = respond;
        if asked.to.port == 0 || value.as_ref().is_some_and(|value| value.len() > limits::DHT_VALUE_MAX) {
            self.stats.dropped += 1;
            trace!(cx, Drop, "dht_rpc", peer: asked.to, "an answer does not fit a datagram");
            return;
        }
        self.answer(cx, asked, Parts { error, value, token, closer });
    }

    /// Follows dht_rpc.5.
    fn answer(&mut self, cx: &mut Cx<'_>, asked: Asked, parts: Parts) {
        // dht_rpc.26
        let closer = match asked.target.filter(|_| parts.closer) {
            Some(target) => self.table.closest(&target, K).map(|contact| contact.addr).collect(),
            None => Vec::new(),
        };
        let token = parts.token.then(|| self.tokens.make(cx.now, cx.entropy, asked.to));
        let len = ANSWER_HEAD + 6 * closer.len() + parts.value.as_ref().map_or(0, Vec::len);
        let bytes = wire::encode_of_about(
            len,
            ResponseMessage {
                tid: asked.tid,
                to: asked.to,
                id: self.id_on(asked.socket),
                token,
                closer,
                error: parts.error,
                value: parts.value,
            },
        );
        self.transmit(asked.socket, asked.to, bytes, None);
    }

    /// Somebody is alive and told us how it sees us.
    fn heard(&mut self, cx: &mut Cx<'_>, socket: SocketId, from: Addr, id: Option<Key>, to: Addr) {
        if self.is_refused(from) {
            return;
        }
        let Some(id) = id else { return self.sample_stranger(from, to) };
        let tick = self.tick;
        let external = socket != self.socket();
        if let Some(contact) = self.table.get_mut(&id) {
            // dht_rpc.32
            let due = contact.sampled == 0 || tick - contact.sampled >= super::upkeep::OLD_NODE;
            if due && !external {
                contact.sampled = tick;
                self.sample(to);
            }
            self.refresh_contact(&id);
            return;
        }
        let mut contact = Contact::with_id(id, from, tick);
        contact.sampled = tick;
        match self.add_contact(cx, contact.clone()) {
            Added::Yes => self.sample(to),
            Added::Known => {}
            Added::RowFull => {
                contact.sampled = 0;
                self.on_full_row(cx, contact);
            }
        }
    }

    /// Whether `id` is that of the node at `from`: who is in the table was looked at before.
    fn is_id_of(&self, id: &Key, from: Addr) -> bool {
        self.table.get(id).is_some_and(|contact| contact.addr == from) || *id == node_id(from)
    }

    fn refresh_contact(&mut self, id: &Key) {
        let tick = self.tick;
        if let Some(contact) = self.table.touch(id) {
            (contact.pinged, contact.seen) = (tick, tick);
        }
    }

    /// The report of a node without an id; few of them count. dht_rpc.34
    fn sample_stranger(&mut self, from: Addr, to: Addr) {
        if self.sampled.len() < self.config.bootstrap.len().max(1) && self.sampled.insert(from) {
            self.sample(to);
        }
    }

    fn sample(&mut self, to: Addr) {
        let before = (self.nat.host(), self.nat.port());
        self.nat.add(to);
        if before != (self.nat.host(), self.nat.port()) {
            self.nat_changed();
        }
    }
}
