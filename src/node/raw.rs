//! Raw streams: UDX beside a connection, between the same two nodes, without its cipher. A blind relay passes such on,
//! and programs that encrypt by themselves have no use for a second cipher. Follows hyperdht.155.

use std::collections::BTreeMap;

use super::net::Net;
use super::{ConnId, Event, Node};
use crate::base::{Cx, Error, Id, Kind, Slab, limits, trace};
use crate::udx::{self, StreamId};

#[derive(Debug)]
pub enum RawKind {}
impl Kind for RawKind {
    const NAME: &'static str = "raw";
}
/// A raw stream.
pub type RawId = Id<RawKind>;

#[derive(Default)]
pub(super) struct Raws {
    streams: Slab<RawKind, StreamId>,
    by_stream: BTreeMap<StreamId, RawId>,
}

impl Node {
    /// What udx tells of a raw stream is the program's; the rest comes back.
    pub(super) fn take_raw_event(&mut self, event: udx::Event) -> Option<udx::Event> {
        let (udx::Event::Connected { stream, .. }
        | udx::Event::Called { stream, .. }
        | udx::Event::Data { stream, .. }
        | udx::Event::Message { stream, .. }
        | udx::Event::Ended { stream }
        | udx::Event::Drained { stream }
        | udx::Event::Flushed { stream }
        | udx::Event::Closed { stream, .. }) = event;
        let Some(&raw) = self.raws.by_stream.get(&stream) else { return Some(event) };
        match event {
            udx::Event::Data { bytes, .. } => self.tell(Event::RawData { raw, bytes }),
            udx::Event::Message { bytes, .. } => self.tell(Event::RawMessage { raw, bytes }),
            udx::Event::Ended { .. } => self.tell(Event::RawEnded { raw }),
            udx::Event::Drained { .. } => self.tell(Event::RawDrained { raw }),
            udx::Event::Closed { why, .. } => {
                self.raws.by_stream.remove(&stream);
                self.raws.streams.remove(raw);
                self.tell(Event::RawClosed { raw, why });
            }
            udx::Event::Connected { .. } | udx::Event::Called { .. } | udx::Event::Flushed { .. } => {}
        }
        None
    }

    /// hyperdht.113
    pub(super) fn end_raws(&mut self, cx: &mut Cx<'_>) {
        for &stream in self.raws.by_stream.keys() {
            let _ = self.udx.destroy(cx, stream);
        }
    }

    fn raw_stream(&self, raw: RawId) -> Result<StreamId, Error> {
        self.raws.streams.get(raw).copied().ok_or(Error::Gone)
    }
}

impl Net<'_> {
    /// A raw stream, not connected yet, and its id on this side, which the other side has to be told. `Full`: there
    /// are too many. (hyperdht.155)
    pub fn raw_stream(&mut self) -> Result<(RawId, u32), Error> {
        let (node, cx) = self.parts();
        if node.raws.by_stream.len() >= limits::RAW_STREAMS_MAX {
            return Err(Error::Full);
        }
        let local = loop {
            let drawn = cx.entropy.u32();
            if drawn != 0 && node.udx.by_local(drawn).is_none() {
                break drawn;
            }
        };
        let stream = node.udx.open(cx, local)?;
        let raw = node.raws.streams.insert(stream);
        node.raws.by_stream.insert(stream, raw);
        trace!(cx, Call, "node", id: raw, "open a raw stream, {local}");
        Ok((raw, local))
    }

    /// Connects a raw stream with the one that the other side of `conn` has under `remote`, on the socket of that
    /// connection and to where it leads now. Errors: `Gone`; `NotOpen`: `conn` is not open. (hyperdht.155)
    pub fn connect_raw(&mut self, raw: RawId, conn: ConnId, remote: u32) -> Result<(), Error> {
        let (node, cx) = self.parts();
        let stream = node.raw_stream(raw)?;
        let beside = node.conns.get(&conn).ok_or(Error::NotOpen)?.stream;
        let (_, socket, to) = node.udx.path(beside).ok_or(Error::NotOpen)?;
        trace!(cx, Call, "node", id: raw, peer: to, "connect it with {remote}");
        node.udx.connect(cx, stream, socket, remote, to)?;
        node.settle(cx);
        Ok(())
    }

    /// Writes to a raw stream. False: enough is queued, wait for `Event::RawDrained`. Errors: those of `Udx::write`.
    pub fn write_raw(&mut self, raw: RawId, bytes: &[u8]) -> Result<bool, Error> {
        let (node, cx) = self.parts();
        let stream = node.raw_stream(raw)?;
        let more = node.udx.write(cx, stream, bytes)?;
        node.settle(cx);
        Ok(more)
    }

    /// Sends a message beside the bytes of a raw stream: it may get lost, or overtake others.
    pub fn send_raw(&mut self, raw: RawId, bytes: &[u8]) -> Result<(), Error> {
        let (node, cx) = self.parts();
        let stream = node.raw_stream(raw)?;
        node.udx.send(cx, stream, bytes)?;
        node.settle(cx);
        Ok(())
    }

    /// Ends our side of a raw stream: what was written still arrives.
    pub fn end_raw(&mut self, raw: RawId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        let stream = node.raw_stream(raw)?;
        node.udx.end(cx, stream)?;
        node.settle(cx);
        Ok(())
    }

    /// Gives a raw stream up at once. `Event::RawClosed` follows.
    pub fn destroy_raw(&mut self, raw: RawId) -> Result<(), Error> {
        let (node, cx) = self.parts();
        let stream = node.raw_stream(raw)?;
        node.udx.destroy(cx, stream)?;
        node.settle(cx);
        Ok(())
    }
}
