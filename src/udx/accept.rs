//! A datagram finds its stream. Its data is kept for the reader, or goes straight to one that takes it here and now.

use super::stream::Stream;
use super::{Input, StreamId, Udx, Why, told};
use crate::base::{Cx, Error, limits, trace};
use crate::wire;
use crate::wire::udx::Header;

impl Udx {
    /// From now on whoever calls `take_in` reads this stream's data at once.
    pub fn set_passing(&mut self, id: StreamId) -> Result<(), Error> {
        self.streams.get_mut(id).ok_or(Error::Gone)?.passing = true;
        Ok(())
    }

    /// As `handle_input`; but of a stream that passes, the next bytes in order are returned, where they lie in the
    /// datagram, if there is nothing to be told before them. They count as read, and no event tells of them.
    pub fn take_in<'a>(&mut self, cx: &mut Cx<'_>, input: Input<'a>) -> Option<(StreamId, &'a [u8])> {
        self.accept(cx, input, true)
    }

    /// Takes a datagram. With `pass`, data that the reader may have at once is returned and not kept.
    pub(super) fn accept<'a>(
        &mut self,
        cx: &mut Cx<'_>,
        input: Input<'a>,
        pass: bool,
    ) -> Option<(StreamId, &'a [u8])> {
        let Input::Datagram { socket, from, bytes } = input;
        self.traffic.came(1, bytes.len());
        let Ok((header, body)) = wire::decode_head::<Header>(bytes) else {
            trace!(cx, Drop, "udx", peer: from, rule: "udx.2", "no header");
            self.dropped += 1;
            return None;
        };
        let Some(&id) = self.by_local.get(&header.remote_id) else {
            trace!(cx, Drop, "udx", peer: from, rule: "udx.2", "no stream {}", header.remote_id);
            self.dropped += 1;
            self.answer_late(cx, &header);
            return None;
        };
        let stream = self.streams.get_mut(id)?;
        // udx.3: checked before anything changes
        if usize::from(header.data_offset) > body.len() || bytes.len() > limits::DATAGRAM_MAX {
            trace!(cx, Drop, "udx", id: id, peer: from, rule: "udx.3", "a data offset beyond the packet");
            self.dropped += 1;
            return None;
        }
        let now = cx.now;
        if !told(cx, id, stream, |stream| stream.admit(now, socket, from, bytes.len())) {
            trace!(cx, Drop, "udx", id: id, peer: from, rule: "udx.9", "it came on another socket than the stream's");
            stream.stats.strangers += 1;
            return None;
        }
        if stream.relay_to.is_some() {
            if self.relay(cx, id, &header, bytes) {
                self.close(cx, id, Why::Reset); // udx.93
            } else {
                self.settle(id);
            }
            return None;
        }
        let mut passed = if pass { stream.passes(&header, body) } else { None };
        if told(cx, id, stream, |stream| stream.on_packet(now, &header, body, passed.is_some())) {
            self.close(cx, id, Why::Reset);
            passed = None;
        } else if stream.is_done() {
            let last = stream.last_ack(); // udx.16: the ack leaves before the stream does
            self.answers.extend(last);
            self.close(cx, id, Why::Ended);
        } else {
            self.settle(id);
        }
        passed.map(|bytes| (id, bytes))
    }
}

impl Stream {
    /// The data of a packet that nobody needs to keep.
    fn passes<'a>(&self, header: &Header, body: &'a [u8]) -> Option<&'a [u8]> {
        let payload = body.get(usize::from(header.data_offset)..)?;
        let now = header.kind.data && !header.kind.heartbeat && !payload.is_empty();
        (now && self.passing && self.reads_next(header.seq)).then_some(payload)
    }
}
