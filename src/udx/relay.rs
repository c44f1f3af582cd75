//! Packets of one stream leave as packets of another. Follows udx.90 to udx.94. A stream that relays has no life of its
//! own: it sends nothing, acks nothing and has no deadline.

use super::seq::Seq;
use super::stream::{Path, Stream};
use super::{Output, StreamId, Udx, Why};
use crate::base::{Cx, Error, limits, trace};
use crate::wire::udx::Header;

/// Where the remote id stands in a packet.
const REMOTE_ID: core::ops::Range<usize> = 4..8;

impl Udx {
    /// From now on what comes for `id` is sent on to the remote of `destination`, from the socket of that; nothing of
    /// it is looked at but a DESTROY, which closes `id`. When `destination` closes, `id` does too. For both directions
    /// call it twice. `Error::Gone`: one of them is no more; `Error::Refused`: `id` relays already, or has sent
    /// something. (udx.90)
    pub fn relay_to(&mut self, cx: &mut Cx<'_>, id: StreamId, destination: StreamId) -> Result<(), Error> {
        if id == destination {
            return Err(Error::Invalid("a stream relays to another one"));
        }
        if self.streams.get(destination).is_none_or(Stream::is_closed) {
            return Err(Error::Gone);
        }
        self.with(cx, id, |stream| stream.relay_to(destination))?;
        self.relaying.entry(destination).or_default().insert(id);
        trace!(cx, State, "udx", id: id, rule: "udx.90", "relays to {destination}");
        Ok(())
    }

    /// A packet for a stream that relays, from a source that was admitted. True: it closes the stream.
    pub(super) fn relay(&mut self, cx: &mut Cx<'_>, id: StreamId, header: &Header, bytes: &[u8]) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return false };
        let Some(destination) = stream.relays_to() else { return false };
        let (closes, next) = stream.on_relayed(header, bytes.len());
        let room = self.forwards.len() < limits::UDX_FORWARDS_MAX;
        let path = self.streams.get_mut(destination).filter(|_| room).and_then(|stream| {
            let path = stream.path()?;
            stream.on_forwarded(next, bytes.len());
            Some(path)
        });
        match path {
            Some(path) => self.forwards.push_back(forwarded(path, bytes)),
            None => {
                trace!(cx, Drop, "udx", id: id, rule: "udx.91", "nowhere to relay to, or no room");
                if let Some(stream) = self.streams.get_mut(id) {
                    stream.stats.relay_lost += 1;
                }
            }
        }
        closes
    }

    /// A stream closed that relayed to `to`: those that relay into it close too, without a word. They answer who writes
    /// on only if the other side said goodbye: one that is closed from here may have been left for a better path, and a
    /// last packet that comes late must not end what goes on there. (udx.93)
    pub(super) fn end_relays(&mut self, cx: &mut Cx<'_>, id: StreamId, to: Option<StreamId>, why: Why) {
        self.forget_relay(id, to);
        let mut orphans: Vec<StreamId> = self.relaying.remove(&id).into_iter().flatten().collect();
        while let Some(orphan) = orphans.pop() {
            let to = self.streams.get(orphan).and_then(Stream::relays_to);
            self.close_one(cx, orphan, Why::Destroyed, why == Why::Reset);
            self.forget_relay(orphan, to);
            orphans.extend(self.relaying.remove(&orphan).into_iter().flatten());
        }
    }

    fn forget_relay(&mut self, id: StreamId, to: Option<StreamId>) {
        if let Some(to) = to
            && let Some(sources) = self.relaying.get_mut(&to)
        {
            sources.remove(&id);
            if sources.is_empty() {
                self.relaying.remove(&to);
            }
        }
    }
}

/// All but the remote id stays as it is. (udx.90)
fn forwarded(path: Path, bytes: &[u8]) -> Output {
    let mut bytes = bytes.to_vec();
    bytes[REMOTE_ID].copy_from_slice(&path.remote_id.to_le_bytes());
    Output::Send { socket: path.socket, to: path.to, bytes, ttl: None }
}

impl Stream {
    fn relays_to(&self) -> Option<StreamId> {
        self.relay_to
    }

    fn relay_to(&mut self, destination: StreamId) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::Gone);
        }
        if self.relay_to.is_some() || self.stats.packets_out > 0 || self.send.written() > 0 {
            return Err(Error::Refused("the stream relays already, or is in use"));
        }
        self.relay_to = Some(destination);
        self.become_relay();
        Ok(())
    }

    /// Takes note of a packet that goes on. Says whether it closes the stream, and the number after it. (udx.92)
    fn on_relayed(&mut self, header: &Header, len: usize) -> (bool, Seq) {
        self.stats.packets_in += 1;
        self.stats.bytes_in += len as u64;
        let seq = self.recv.next.near(header.seq);
        let fresh = seq >= self.recv.next && seq.since(self.recv.next) <= limits::UDX_AHEAD_MAX;
        let next = if header.kind.data || header.kind.end { seq.next() } else { seq };
        if fresh {
            self.recv.next = next;
        }
        (header.kind.destroy && fresh, self.recv.next)
    }

    /// A packet of another stream leaves as one of this; `next` follows all that did. (udx.92)
    fn on_forwarded(&mut self, next: Seq, len: usize) {
        if self.relay_to.is_some() {
            self.send.follow(next);
        }
        self.stats.packets_out += 1;
        self.stats.bytes_out += len as u64;
        self.stats.relayed += 1;
    }
}
