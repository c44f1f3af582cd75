//! Channels: nothing comes on one that is closed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Moment, Verdict};
use crate::node::{CallId, ConnId, Event, RpcId};
use crate::sim::HostId;
use crate::wire::{self, protomux as format};

/// One way of a multiplexed stream, as plain messages: nothing is sent on a channel before its open or after its close
/// (protomux.16).
#[derive(Default)]
pub struct Channels {
    open: BTreeSet<u64>,
}

impl Channels {
    /// The next message of this side.
    pub fn sent(&mut self, message: &[u8]) -> Verdict {
        let Ok((head, body)) = wire::decode_head::<format::Head>(message) else { return Ok(()) };
        if head.channel != 0 {
            return self.message(head.channel);
        }
        if head.kind != format::BATCH {
            return self.control(head.kind, body);
        }
        let Ok(batch) = wire::decode::<format::Batch>(body) else { return Ok(()) };
        let mut channel = batch.channel;
        for item in batch.items {
            match item {
                format::Item::Channel(next) => channel = next,
                format::Item::Message(bytes) if channel == 0 => {
                    if let Ok((format::Kind(kind), body)) = wire::decode_head(&bytes) {
                        self.control(kind, body)?;
                    }
                }
                format::Item::Message(_) => self.message(channel)?,
            }
        }
        Ok(())
    }

    fn control(&mut self, kind: u64, body: &[u8]) -> Verdict {
        match kind {
            format::OPEN => {
                if let Ok(open) = wire::decode::<format::Open>(body)
                    && !self.open.insert(open.channel)
                {
                    return Err(format!("channel {} is opened twice", open.channel));
                }
            }
            format::CLOSE => {
                if let Ok(close) = wire::decode::<format::Close>(body)
                    && !self.open.remove(&close.channel)
                {
                    return Err(format!("channel {} is closed, and was not open", close.channel));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, channel: u64) -> Verdict {
        if self.open.contains(&channel) {
            Ok(())
        } else {
            Err(format!("a message on channel {channel}, which is closed"))
        }
    }

    /// The other side rejected a channel of ours: its id is free.
    pub fn rejected(&mut self, channel: u64) {
        self.open.remove(&channel);
    }
}

/// The same as programs see it: no call on a channel that was closed, no message on a connection that was, and one
/// answer to a call.
#[derive(Default)]
pub struct ClosedStays {
    conns: BTreeSet<(HostId, ConnId)>,
    rpcs: BTreeSet<(HostId, RpcId)>,
    /// The last call of others in each slot.
    calls: BTreeMap<(HostId, u32), CallId>,
}

impl ClosedStays {
    fn told(&mut self, host: HostId, event: &Event) -> Verdict {
        let dead = |what: &str| Err(format!("{what}, which is closed"));
        match event {
            Event::Connected { conn, .. } => drop(self.conns.insert((host, *conn))),
            Event::Closed { conn, .. } if !self.conns.remove(&(host, *conn)) => {
                return dead(&format!("{conn} closes"));
            }
            Event::Data { conn, .. }
            | Event::Unordered { conn, .. }
            | Event::Ended { conn }
            | Event::Drained { conn }
                if !self.conns.contains(&(host, *conn)) =>
            {
                return dead(&format!("something comes on {conn}"));
            }
            Event::RpcOpened { rpc, conn } => {
                if !self.conns.contains(&(host, *conn)) {
                    return dead(&format!("a channel opens on {conn}"));
                }
                self.rpcs.insert((host, *rpc));
            }
            Event::RpcClosed { rpc, .. } => drop(self.rpcs.remove(&(host, *rpc))),
            Event::Call { rpc, call, .. } => {
                if !self.rpcs.contains(&(host, *rpc)) {
                    return dead(&format!("a call on {rpc}"));
                }
                if self.calls.insert((host, call.slot()), *call) == Some(*call) {
                    return Err(format!("{call} is told twice"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker for ClosedStays {
    fn name(&self) -> &'static str {
        "protomux.closed"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let host = moment.host;
        if moment.cause.started || moment.cause.stopped {
            self.conns.retain(|(owner, _)| *owner != host);
            self.rpcs.retain(|(owner, _)| *owner != host);
            self.calls.retain(|(owner, _), _| *owner != host);
        }
        moment.told.iter().try_for_each(|event| self.told(host, event))
    }
}
