//! Requests of dht_rpc, as they are seen on the wire.

use std::collections::{BTreeMap, VecDeque};

use super::{Checker, Moment, Verdict};
use crate::base::{Addr, Span, Time};
use crate::sim::HostId;
use crate::wire::dht_rpc::{REQUEST, RESPONSE, RequestMessage, ResponseMessage};
use crate::wire::{self, hyperdht};

/// A request waits at least this long for its answer before its number is free again (dht_rpc.49).
const WAIT: Span = Span::from_secs(1);
/// No request is sent more often (dht_rpc.48).
const SENDS_MAX: u32 = 4;
/// A request that was not sent for so long is over, whatever its delay.
const FORGOTTEN: Span = Span::from_secs(60);

/// A request of a host that was not answered yet.
struct Open {
    to: Addr,
    bytes: Vec<u8>,
    last: Time,
    sends: u32,
}

/// Unanswered requests of every host, by number.
#[derive(Default)]
struct Requests {
    hosts: BTreeMap<HostId, Host>,
}

#[derive(Default)]
struct Host {
    open: BTreeMap<u16, Open>,
    /// When each was sent, oldest first.
    order: VecDeque<(Time, u16)>,
}

impl Requests {
    /// Follows a moment; shows each request that is sent, and what was open under its number.
    fn follow(
        &mut self,
        moment: &Moment<'_>,
        mut sees: impl FnMut(u16, &Open, Option<&Open>) -> Verdict,
    ) -> Verdict {
        let host = self.hosts.entry(moment.host).or_default();
        if moment.cause.started || moment.cause.stopped {
            *host = Host::default();
        }
        for arrival in &moment.cause.arrivals {
            host.answered(arrival.from, &arrival.bytes);
        }
        host.forget(moment.now);
        for sent in moment.sent {
            let Some(tid) = own_request(&sent.bytes) else { continue };
            let old = host.open.remove(&tid);
            let again = old.as_ref().filter(|old| old.to == sent.to && old.bytes == sent.bytes);
            let sends = again.map_or(0, |old| old.sends) + 1;
            let new = Open { to: sent.to, bytes: sent.bytes.clone(), last: moment.now, sends };
            let verdict = sees(tid, &new, old.as_ref());
            host.open.insert(tid, new);
            host.order.push_back((moment.now, tid));
            verdict?;
        }
        Ok(())
    }
}

impl Host {
    fn answered(&mut self, from: Addr, bytes: &[u8]) {
        if bytes.first() != Some(&RESPONSE) {
            return;
        }
        let Ok(message) = wire::decode::<ResponseMessage>(bytes) else { return };
        if self.open.get(&message.tid).is_some_and(|open| open.to == from) {
            self.open.remove(&message.tid);
        }
    }

    fn forget(&mut self, now: Time) {
        while let Some(&(at, tid)) = self.order.front()
            && now.since(at) > FORGOTTEN
        {
            self.order.pop_front();
            if self.open.get(&tid).is_some_and(|open| open.last == at) {
                self.open.remove(&tid);
            }
        }
    }
}

/// The number of a request that its sender made; none for one that is passed on, whose number is its maker's.
fn own_request(bytes: &[u8]) -> Option<u16> {
    if bytes.first() != Some(&REQUEST) {
        return None;
    }
    let message: RequestMessage = wire::decode(bytes).ok()?;
    let value = message.value.as_deref().unwrap_or_default();
    let mode = match message.command {
        _ if message.internal => None,
        hyperdht::command::PEER_HANDSHAKE => wire::decode::<hyperdht::Handshake>(value).ok().map(|v| v.mode),
        hyperdht::command::PEER_HOLEPUNCH => wire::decode::<hyperdht::Holepunch>(value).ok().map(|v| v.mode),
        _ => None,
    };
    mode.is_none_or(|mode| mode == hyperdht::mode::FROM_CLIENT).then_some(message.tid)
}

/// dht_rpc.46: no two requests of a node that wait for an answer have the same number.
#[derive(Default)]
pub struct Ids(Requests);

impl Checker for Ids {
    fn name(&self) -> &'static str {
        "dht_rpc.ids"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let now = moment.now;
        self.0.follow(moment, |tid, new, old| match old {
            Some(old) if (old.to, &old.bytes) != (new.to, &new.bytes) && now.since(old.last) < WAIT => {
                let (to, since) = (new.to, now.since(old.last));
                Err(format!("number {tid} goes to {to}, and {since} before went to {} unanswered", old.to))
            }
            _ => Ok(()),
        })
    }
}

/// dht_rpc.48: a request is sent four times at most.
#[derive(Default)]
pub struct Retries(Requests);

impl Checker for Retries {
    fn name(&self) -> &'static str {
        "dht_rpc.retries"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        self.0.follow(moment, |tid, new, _| match new.sends {
            0..=SENDS_MAX => Ok(()),
            sends => Err(format!("request {tid} to {} is sent the {sends}th time", new.to)),
        })
    }
}
