//! Takes messages from the peer apart. A batch is unpacked in portions, so that a small message which holds millions
//! of smaller ones does not become millions of events at once.

use std::borrow::Cow;

use crate::base::{Malformed, limits};
use crate::wire::{self, protomux as format};

use super::{ChannelId, Event, Fault, Local, Output, Phase, Protomux, Remote, Waiting};

/// A message that came in, and how far it is unpacked.
pub(super) struct Frame {
    bytes: Vec<u8>,
    at: usize,
    /// The batches that `at` is in, the innermost last.
    levels: Vec<Level>,
    begun: bool,
}

#[derive(Clone, Copy)]
struct Level {
    end: usize,
    /// The channel of the next item.
    channel: u64,
}

/// What is next in a frame.
enum Next {
    /// A message: its channel, its kind, where its body is.
    Message {
        channel: u64,
        kind: u64,
        body: core::ops::Range<usize>,
        more: bool,
    },
    /// A change of the channel, or the end of a batch.
    Nothing,
    Done,
}

impl Frame {
    pub fn new(bytes: Vec<u8>) -> Frame {
        Frame { bytes, at: 0, levels: Vec::new(), begun: false }
    }

    fn next(&mut self) -> Result<Next, Malformed> {
        if !self.begun {
            self.begun = true;
            let (head, body) = wire::decode_head::<format::Head>(&self.bytes)?;
            let body = self.bytes.len() - body.len()..self.bytes.len();
            self.at = body.end;
            return Ok(Next::Message { channel: head.channel, kind: head.kind, body, more: false });
        }
        let Some(level) = self.levels.last_mut() else { return Ok(Next::Done) };
        if self.at == level.end {
            self.levels.pop();
            return Ok(Next::Nothing);
        }
        let (item, rest) = wire::decode_head::<format::ItemHead>(&self.bytes[self.at..level.end])?;
        let start = level.end - rest.len();
        self.at = start;
        if item.length == 0 {
            level.channel = item.channel;
            return Ok(Next::Nothing);
        }
        // protomux.7: the last one may say that it is longer than it is
        let end =
            usize::try_from(item.length).map_or(level.end, |len| start.saturating_add(len).min(level.end));
        let (kind, body) = wire::decode_head::<format::Kind>(&self.bytes[start..end])?;
        let (channel, more) = (level.channel, end != level.end);
        self.at = end;
        Ok(Next::Message { channel, kind: kind.0, body: end - body.len()..end, more })
    }

    /// Goes on with what is inside `body`, which is a batch. (protomux.31)
    fn enter(&mut self, body: core::ops::Range<usize>) -> Result<(), Fault> {
        if self.levels.len() == limits::MUX_BATCH_DEPTH {
            return Err(Fault::Depth);
        }
        let bytes = &self.bytes[body.clone()];
        let (head, rest) = wire::decode_head::<format::Kind>(bytes).map_err(Fault::Malformed)?;
        self.at = body.end - rest.len();
        self.levels.push(Level { end: body.end, channel: head.0 });
        Ok(())
    }
}

impl Protomux {
    /// Unpacks until there are enough events or nothing is left. Returns the fault that ended the stream, if one did.
    pub(super) fn unpack(&mut self) -> Option<Fault> {
        while self.events.len() < limits::MUX_EVENTS_AHEAD {
            let Some(mut frame) = self.inbox.pop_front() else { break };
            match self.unpack_frame(&mut frame) {
                Ok(true) => {}
                Ok(false) => self.inbox.push_front(frame),
                Err(fault) => {
                    self.outputs.push_back(Output::Destroy(fault));
                    self.shut_down();
                    return Some(fault);
                }
            }
        }
        if self.ended && self.inbox.is_empty() && !self.dead {
            self.shut_down();
        }
        None
    }

    /// True if all of it is unpacked.
    fn unpack_frame(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        while self.events.len() < limits::MUX_EVENTS_AHEAD {
            match frame.next().map_err(Fault::Malformed)? {
                Next::Done => return Ok(true),
                Next::Nothing => {}
                Next::Message { channel, kind, body, more } => {
                    // protomux.28
                    self.answering |= more;
                    if channel == 0 && kind == format::BATCH {
                        frame.enter(body)?;
                    } else if channel != 0 && frame.levels.is_empty() {
                        // The frame is this message: its buffer goes on.
                        let mut bytes = core::mem::take(&mut frame.bytes);
                        bytes.drain(..body.start);
                        self.take_message(channel, kind, Cow::Owned(bytes))?;
                        return Ok(true);
                    } else {
                        self.take(channel, kind, &frame.bytes[body])?;
                    }
                }
            }
        }
        Ok(false)
    }

    fn take(&mut self, channel: u64, kind: u64, body: &[u8]) -> Result<(), Fault> {
        match (channel, kind) {
            (0, format::OPEN) => self.take_open(wire::decode(body).map_err(Fault::Malformed)?),
            (0, format::REJECT) => self.take_reject(wire::decode(body).map_err(Fault::Malformed)?),
            (0, format::CLOSE) => {
                self.take_close(wire::decode(body).map_err(Fault::Malformed)?);
                Ok(())
            }
            (0, _) => Ok(()), // protomux.26
            (channel, kind) => self.take_message(channel, kind, Cow::Borrowed(body)),
        }
    }

    fn slot(&mut self, remote: u64) -> Option<&mut Remote> {
        let index = usize::try_from(remote).ok()?.checked_sub(1)?;
        self.remote.get_mut(index)?.as_mut()
    }

    /// Follows protomux.17.
    fn take_message(&mut self, remote: u64, kind: u64, body: Cow<'_, [u8]>) -> Result<(), Fault> {
        // protomux.11: the id is the sender's; protomux.25: an unknown or closed one is ignored
        match self.slot(remote) {
            None => Ok(()),
            Some(Remote::Paired(channel)) => {
                let channel = *channel;
                self.events.push_back(Event::Message { channel, kind, bytes: body.into_owned() });
                Ok(())
            }
            Some(Remote::Waiting(waiting)) => {
                // protomux.27
                let cost = body.len() + 512;
                waiting.pending.push((kind, body.into_owned()));
                waiting.buffered += cost;
                waiting.kept += cost;
                self.buffered += cost;
                self.keep(cost)?;
                self.update_reading();
                Ok(())
            }
        }
    }

    /// Follows protomux.34.
    fn keep(&mut self, cost: usize) -> Result<(), Fault> {
        self.kept += cost;
        if self.kept > limits::MUX_BUFFERED_MAX { Err(Fault::Buffered) } else { Ok(()) }
    }

    /// Follows protomux.32, protomux.33.
    fn take_open(&mut self, open: format::Open) -> Result<(), Fault> {
        let remote = open.channel;
        // protomux.24
        let Some(index) = remote.checked_sub(1) else {
            self.control(format::REJECT, &mut format::Reject { channel: 0 });
            return Ok(());
        };
        // protomux.12: the next new id, or one that is free
        if index == self.remote.len() as u64 {
            if self.remote.len() == limits::MUX_IDS_MAX {
                return Err(Fault::Ids);
            }
            self.remote.push(None);
        }
        if index >= self.remote.len() as u64 || self.slot(remote).is_some() {
            return Err(Fault::OpenId { channel: remote });
        }
        let id = open.id.as_deref().unwrap_or_default();
        let name = self.names.get_or_add(&open.protocol, id, &[]);
        if let Some(local) = self.names.entry(name).outgoing.pop_front() {
            match self.local[local as usize - 1] {
                Local::Used(channel) => self.open_paired(channel, remote, open),
                // protomux.22: closed here meanwhile; the open is swallowed and both ids are free
                Local::Abandoned(_) | Local::Free => {
                    self.free_local(local);
                    self.names.collect(name);
                }
            }
            return Ok(());
        }
        if self.waiting == limits::MUX_WAITING_MAX {
            return Err(Fault::Waiting);
        }
        let kept = 512 + open.protocol.len() + id.len() + open.handshake.len();
        let waiting = Waiting {
            protocol: open.protocol.clone(),
            handshake: open.handshake,
            pending: Vec::new(),
            kept,
            buffered: 0,
            closed: false,
        };
        self.remote[index as usize] = Some(Remote::Waiting(Box::new(waiting)));
        self.names.entry(name).incoming.push_back(remote);
        self.waiting += 1;
        self.keep(kept)?;
        self.events.push_back(Event::Wanted { protocol: open.protocol, id: open.id });
        Ok(())
    }

    fn open_paired(&mut self, channel: ChannelId, remote: u64, open: format::Open) {
        self.remote[remote as usize - 1] = Some(Remote::Paired(channel));
        if let Some(record) = self.channels.get_mut(channel) {
            record.phase = Phase::Open { remote };
            record.aliased = record.protocol != open.protocol;
        }
        self.events.push_back(Event::Opened { channel, handshake: open.handshake });
    }

    fn take_reject(&mut self, reject: format::Reject) -> Result<(), Fault> {
        let local = reject.channel;
        let fault = Fault::Reject { channel: local };
        let index = local.checked_sub(1).and_then(|index| usize::try_from(index).ok()).ok_or(fault)?;
        // protomux.20
        let slot = *self.local.get(index).ok_or(fault)?;
        let (name, channel) = match slot {
            Local::Free => return Err(fault),
            Local::Abandoned(name) => (name, None),
            Local::Used(channel) => match self.channels.get(channel) {
                Some(record) if record.phase == Phase::Opening => (record.name, Some(channel)),
                // protomux.15
                Some(record) if record.aliased && record.phase != Phase::Closed => {
                    self.release(channel, true);
                    return Ok(());
                }
                Some(_) | None => return Err(fault),
            },
        };
        self.names.entry(name).outgoing.retain(|id| *id != local);
        if let Some(channel) = channel {
            self.release(channel, true);
        }
        self.free_local(local);
        self.names.collect(name);
        Ok(())
    }

    fn take_close(&mut self, close: format::Close) {
        match self.slot(close.channel) {
            None => {} // protomux.21
            Some(Remote::Waiting(waiting)) => waiting.closed = true,
            Some(Remote::Paired(channel)) => {
                let channel = *channel;
                self.release(channel, true);
            }
        }
    }
}
