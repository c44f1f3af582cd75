//! Encrypted connections: a bit that was flipped on the way ends the connection, and nothing else does as forged.

use std::collections::{BTreeMap, BTreeSet};

use super::udx::packet;
use super::{Checker, Moment, Verdict};
use crate::base::{Span, Time};
use crate::node::{Closed, Event};
use crate::sim::HostId;

/// A connection that took a flipped bit ends within this time, but not before the message that the bit is in is whole:
/// a length that was flipped to a large one makes it wait for that much, as with the reference.
const ENDS_WITHIN: Span = Span::from_secs(60);

/// What came for one stream, beyond what it has acked.
#[derive(Default)]
struct Stream {
    acked: u32,
    /// Packets that came as they were sent.
    clean: BTreeSet<u32>,
    /// Packets of which a copy with a flipped bit in its payload came first.
    flipped: BTreeSet<u32>,
}

/// secret_stream.24: any flipped bit ends it.
#[derive(Default)]
pub struct Flips {
    streams: BTreeMap<(HostId, u32), Stream>,
    /// The local id of a stream by the other side's.
    local: BTreeMap<(HostId, u32), u32>,
    /// Streams that took a flipped bit, and when they must be gone.
    doomed: BTreeMap<(Time, HostId, u32), ()>,
    /// Hosts that something altered came to.
    altered: BTreeSet<HostId>,
}

impl Flips {
    fn forget(&mut self, host: HostId) {
        self.streams.retain(|(owner, _), _| *owner != host);
        self.local.retain(|(owner, _), _| *owner != host);
        self.doomed.retain(|(_, owner, _), ()| *owner != host);
    }

    /// Forgets what is gone of a host.
    fn sweep(&mut self, moment: &Moment<'_>) {
        let whole = (moment.host, 0)..=(moment.host, u32::MAX);
        let gone = |local: u32| moment.node().is_none_or(|node| node.stream(local).is_none());
        let streams: Vec<_> = self.streams.range(whole.clone()).map(|(key, _)| *key).collect();
        for key in streams.into_iter().filter(|key| gone(key.1)) {
            self.streams.remove(&key);
        }
        let remotes: Vec<_> =
            self.local.range(whole).filter(|(_, local)| gone(**local)).map(|(k, _)| *k).collect();
        for key in remotes {
            self.local.remove(&key);
        }
    }

    fn arrivals(&mut self, moment: &Moment<'_>) {
        let host = moment.host;
        for arrival in &moment.cause.arrivals {
            if arrival.flipped.is_some() {
                self.altered.insert(host);
            }
            let Some((header, payload)) = packet(&arrival.bytes) else { continue };
            let Some(path) = moment.node().and_then(|node| node.stream(header.remote_id)?.path) else {
                continue;
            };
            if !header.kind.data {
                continue;
            }
            self.local.insert((host, path.0), header.remote_id);
            let stream = self.streams.entry((host, header.remote_id)).or_default();
            let from = arrival.bytes.len() - payload.len();
            match arrival.flipped {
                _ if header.seq < stream.acked || stream.clean.contains(&header.seq) => {}
                Some(bit) if bit as usize / 8 >= from => drop(stream.flipped.insert(header.seq)),
                // with a bit flipped in its header, the payload may be taken all the same, and it is whole
                Some(_) | None => {
                    // which of the two was taken is not known from here
                    stream.flipped.remove(&header.seq);
                    stream.clean.insert(header.seq);
                }
            }
        }
    }

    fn acks(&mut self, moment: &Moment<'_>) {
        let host = moment.host;
        for sent in moment.sent {
            let Some((header, _)) = packet(&sent.bytes) else { continue };
            let Some(&local) = self.local.get(&(host, header.remote_id)) else { continue };
            let Some(stream) = self.streams.get_mut(&(host, local)) else { continue };
            if header.ack <= stream.acked {
                continue;
            }
            stream.acked = header.ack;
            stream.clean = stream.clean.split_off(&header.ack);
            let later = stream.flipped.split_off(&header.ack);
            if !core::mem::replace(&mut stream.flipped, later).is_empty() {
                self.doomed.insert((moment.now + ENDS_WITHIN, host, local), ());
            }
        }
    }
}

impl Checker for Flips {
    fn name(&self) -> &'static str {
        "secret_stream.flips"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let (now, host) = (moment.now, moment.host);
        if moment.cause.started || moment.cause.stopped {
            self.forget(host);
            self.altered.remove(&host);
        }
        if moment.cause.thawed {
            self.altered.insert(host); // what waited in its sockets does not say what happened to it
        }
        self.arrivals(moment);
        self.acks(moment);
        for event in moment.told {
            let Event::Closed { conn, why } = event else { continue };
            if let Closed::Stream(why @ crate::node::StreamWhy::Fault(_)) = why
                && !self.altered.contains(&host)
            {
                return Err(format!("{conn} ends: {why}; and nothing that came here was altered"));
            }
            self.sweep(moment);
        }
        while let Some((&(at, host, local), ())) = self.doomed.first_key_value()
            && at <= now
        {
            self.doomed.remove(&(at, host, local));
            let Some(node) = moment.node_of(host).filter(|node| node.stream(local).is_some()) else {
                continue;
            };
            if node.is_mid_message(local) {
                self.doomed.insert((now + ENDS_WITHIN, host, local), ());
            } else if !moment.is_frozen(host) {
                return Err(format!("stream {local} of host {} lives on after a flipped bit", host.0));
            }
        }
        Ok(())
    }
}
