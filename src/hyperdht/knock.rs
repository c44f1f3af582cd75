//! Who is let in, where the program decides: a caller waits in front of the door, and hears nothing until it is let in.
//! Follows hyperdht.110. Read `sessions.rs` first.

use super::sessions::{ABORT, Arrival, Call, Progress, Session};
use super::*;
use crate::base::Error;
use crate::wire::hyperdht::NoisePayload;

/// A caller who waits for `admit` or `deny`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Knock {
    server: ServerId,
    session: SessionId,
}

impl Knock {
    /// The server that is called.
    pub fn server(self) -> ServerId {
        self.server
    }
}

/// A handshake that the program has not decided about.
#[derive(Debug)]
pub(super) struct Knocking {
    noise: crate::crypto::noise::Noise,
    payload: NoisePayload,
    /// The ways that the message came, each of which is answered.
    calls: Vec<Call>,
}

impl Knocking {
    /// Another copy of the message.
    pub(super) fn add(&mut self, call: &Call) {
        let known = |old: &Call| old.request.from == call.request.from && old.request.tid == call.request.tid;
        if self.calls.len() < limits::HYPERDHT_KNOCK_COPIES && !self.calls.iter().any(known) {
            self.calls.push(call.clone());
        }
    }
}

impl HyperDht {
    /// Tells the program of a caller. hyperdht.110
    pub(super) fn knock(
        &mut self,
        cx: &mut Cx<'_>,
        server: ServerId,
        key: Key,
        arrival: Arrival,
        call: &Call,
    ) {
        let Arrival { noise, payload, message, host, .. } = arrival;
        let Some(record) = self.servers.get_mut(server) else { return };
        let (firewall, addresses) = (payload.firewall, payload.addresses4.clone());
        let mut entry = Session::new(message, host);
        let before = entry.weight();
        entry.stage = Progress::Knocking(Box::new(Knocking { noise, payload, calls: vec![call.clone()] }));
        self.census.moved(host, before, entry.weight());
        let session = record.sessions.insert(entry);
        record.by_message.insert(message, session);
        self.timers.set(Timer::SessionAbort(server, session), cx.now + ABORT);
        let from = call.client.unwrap_or(call.request.from);
        trace!(cx, State, "hyperdht", id: SessionName(server, session), peer: from, rule: "hyperdht.110", "knocks");
        let knock = Knock { server, session };
        self.events.push_back(Event::Knock { knock, key, from, firewall, addresses });
    }

    /// Lets a caller in. `Gone`: it was decided about, or has waited for too long.
    pub fn admit(&mut self, cx: &mut Cx<'_>, knock: Knock) -> Result<(), Error> {
        let Knock { server, session } = knock;
        let (knocking, message, host) = self.take_knock(knock)?;
        let Knocking { noise, payload, mut calls } = knocking;
        let first = calls.remove(0);
        let arrival = Arrival { noise, payload, message, host, session: Some(session) };
        let answer = self.let_in(cx, server, arrival, &first);
        let Some((noise, socket)) = answer else {
            self.remember(cx, server, session);
            return Ok(());
        };
        if let Some(entry) = self.session(server, session)
            && entry.reply.is_empty()
        {
            // hyperdht.37: it was told why not, and copies of its message are told the same.
            entry.reply = noise.clone();
            self.remember(cx, server, session);
        }
        self.return_answer(first, noise.clone(), socket);
        for call in calls {
            self.return_answer(call, noise.clone(), socket);
        }
        Ok(())
    }

    /// Turns a caller away: it hears nothing. `Gone` as for `admit`.
    pub fn deny(&mut self, cx: &mut Cx<'_>, knock: Knock) -> Result<(), Error> {
        self.take_knock(knock)?;
        self.stats.denied += 1;
        self.remember(cx, knock.server, knock.session);
        Ok(())
    }

    fn take_knock(&mut self, knock: Knock) -> Result<(Knocking, Key, [u8; 4]), Error> {
        let Knock { server, session } = knock;
        let entry = self.session(server, session).ok_or(Error::Gone)?;
        let before = entry.weight();
        let (message, host) = (entry.message, entry.host);
        match core::mem::replace(&mut entry.stage, Progress::Decided) {
            Progress::Knocking(knocking) => {
                let after = entry.weight();
                self.census.moved(host, before, after);
                self.timers.clear(Timer::SessionAbort(server, session));
                Ok((*knocking, message, host))
            }
            other @ (Progress::Pending(_) | Progress::Decided) => {
                entry.stage = other;
                Err(Error::Gone)
            }
        }
    }
}
