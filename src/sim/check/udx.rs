//! Streams of udx: what was read, the window, and how long a stream lives that hears nothing.

use std::collections::BTreeMap;

use super::{Checker, Moment, Note, Verdict};
use crate::base::{Addr, Span, Time, limits};
use crate::node::{ConnId, Event};
use crate::sim::HostId;
use crate::wire::{self, udx::Header, udx::MAGIC};

/// The header of a datagram that is one of udx's, and its payload.
pub(super) fn packet(bytes: &[u8]) -> Option<(Header, &[u8])> {
    if bytes.first() != Some(&MAGIC) {
        return None;
    }
    let (header, body) = wire::decode_head::<Header>(bytes).ok()?;
    Some((header, body.get(usize::from(header.data_offset)..)?))
}

/// What is read on a stream is a prefix of what is written on its other side. For any pair of ends, named by the
/// side that writes.
pub struct Prefix<K> {
    /// Written, and how much of it was read.
    under_way: BTreeMap<K, (Vec<u8>, usize)>,
}

impl<K> Default for Prefix<K> {
    fn default() -> Prefix<K> {
        Prefix { under_way: BTreeMap::new() }
    }
}

impl<K: Ord> Prefix<K> {
    pub fn wrote(&mut self, writer: K, bytes: &[u8]) {
        self.under_way.entry(writer).or_default().0.extend_from_slice(bytes);
    }

    /// Nothing is said of a writer that never said what it wrote.
    pub fn read(&mut self, writer: K, bytes: &[u8]) -> Verdict {
        let Some((written, read)) = self.under_way.get_mut(&writer) else { return Ok(()) };
        let expected = written.get(*read..).unwrap_or_default();
        if expected.starts_with(bytes) {
            *read += bytes.len();
            if *read > written.len() / 2 {
                written.drain(..*read);
                *read = 0;
            }
            return Ok(());
        }
        let same = expected.iter().zip(bytes).take_while(|(one, other)| one == other).count();
        Err(format!("byte {same} of {} that are read is not what was written", bytes.len()))
    }

    pub fn forget(&mut self, writer: &K) {
        self.under_way.remove(writer);
    }
}

/// A side of a connection: its name, and whether it is the one that called.
type Side = ([u8; 64], bool);

/// `Prefix` for the messages of whole nodes; programs say what they send by `Note::Sent`.
#[derive(Default)]
pub struct Reads {
    prefix: Prefix<Side>,
    sides: BTreeMap<(HostId, ConnId), Side>,
}

impl Checker for Reads {
    fn name(&self) -> &'static str {
        "udx.prefix"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        if moment.cause.started || moment.cause.stopped {
            self.sides.retain(|(host, _), _| *host != moment.host);
        }
        for event in moment.told {
            match event {
                Event::Connected { conn, .. } => {
                    if let Some(view) = moment.node().and_then(|node| node.conn(*conn)) {
                        self.sides.insert((moment.host, *conn), (view.handshake_hash, view.initiator));
                    }
                }
                Event::Data { conn, bytes } => {
                    if let Some((hash, initiator)) = self.sides.get(&(moment.host, *conn)) {
                        self.prefix.read((*hash, !initiator), bytes)?;
                    }
                }
                Event::Closed { conn, .. } => {
                    if let Some((hash, initiator)) = self.sides.remove(&(moment.host, *conn)) {
                        self.prefix.forget(&(hash, !initiator));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, moment: &Moment<'_>, note: &Note<'_>) -> Verdict {
        if let Note::Sent { conn, bytes } = note
            && let Some(side) = self.sides.get(&(moment.host, *conn))
        {
            self.prefix.wrote(*side, bytes);
        }
        Ok(())
    }
}

/// What a host sends on one stream, and what it was told.
struct Flow {
    local: Option<u32>,
    /// Length and digest of each packet that takes a number and is not acked.
    unacked: BTreeMap<u32, (usize, u64)>,
    unacked_bytes: usize,
    next: u32,
    acked: u32,
    window: usize,
    /// Seq and ack of the packet that said so.
    window_from: Option<(u32, u32)>,
    last: Time,
}

impl Flow {
    fn new(now: Time) -> Flow {
        Flow {
            local: None,
            unacked: BTreeMap::new(),
            unacked_bytes: 0,
            next: 0,
            acked: 0,
            window: limits::UDX_WINDOW_MAX,
            window_from: None,
            last: now,
        }
    }

    fn told(&mut self, header: &Header) {
        if header.ack > self.next || header.ack < self.acked {
            return;
        }
        // udx.11
        if self.window_from.is_none_or(|from| from <= (header.seq, header.ack)) {
            (self.window, self.window_from) = (header.window as usize, Some((header.seq, header.ack)));
        }
        while let Some(entry) = self.unacked.first_entry()
            && *entry.key() < header.ack
        {
            self.unacked_bytes -= entry.remove().0;
        }
        self.acked = header.ack;
    }

    fn sent(&mut self, seq: u32, payload: &[u8]) -> Verdict {
        let digest = payload.iter().fold(payload.len() as u64, |sum, byte| {
            sum.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(*byte)
        });
        // A request to connect that is seen long after its copies makes another stream to the same id, which nobody has
        // any more: as long as nothing came from there, the two cannot be told apart.
        let silent = self.local.is_none();
        if silent && seq == 0 && self.unacked.get(&0) != Some(&(payload.len(), digest)) {
            *self = Flow::new(self.last);
        }
        if let Some(known) = self.unacked.get(&seq) {
            // udx.38
            return if *known == (payload.len(), digest) {
                Ok(())
            } else {
                Err(format!("packet {seq} is sent again with another payload"))
            };
        }
        if seq < self.next {
            return Ok(()); // acked while it was on its way out
        }
        let alone = self.unacked.is_empty();
        self.unacked.insert(seq, (payload.len(), digest));
        self.unacked_bytes += payload.len();
        self.next = seq + 1;
        // udx.12
        if self.unacked_bytes > self.window && !(alone && self.window > 0) {
            let (bytes, window) = (self.unacked_bytes, self.window);
            return Err(format!("packet {seq} makes {bytes} bytes unacked, for a window of {window}"));
        }
        Ok(())
    }
}

/// udx.12: what is under way fits the window that the receiver told. udx.38: a packet that is sent again is the same.
/// Streams whose numbers begin at 0 and do not wrap, as those of nodes.
#[derive(Default)]
pub struct Window {
    /// By host and the other side's id.
    flows: BTreeMap<(HostId, u32), Flow>,
}

impl Window {
    fn forget(&mut self, moment: &Moment<'_>) {
        let host = moment.host;
        let gone: Vec<(HostId, u32)> = self
            .flows
            .range((host, 0)..=(host, u32::MAX))
            .filter(|(_, flow)| match (flow.local, moment.node()) {
                (_, None) => true,
                (Some(local), Some(node)) => node.stream(local).is_none(),
                (None, Some(_)) => moment.now.since(flow.last) > Span::from_secs(300),
            })
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.flows.remove(&key);
        }
    }
}

impl Checker for Window {
    fn name(&self) -> &'static str {
        "udx.window"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let (host, now) = (moment.host, moment.now);
        let over = moment.told.iter().any(|event| matches!(event, Event::Closed { .. }));
        if moment.cause.started || moment.cause.stopped {
            self.flows.retain(|(owner, _), _| *owner != host);
        } else if over {
            self.forget(moment);
        }
        for arrival in &moment.cause.arrivals {
            let Some((header, _)) = packet(&arrival.bytes) else { continue };
            let local = header.remote_id;
            let stream = moment.node().and_then(|node| node.stream(local));
            let Some((remote, ..)) = stream.and_then(|stream| stream.path) else { continue };
            let flow = self.flows.entry((host, remote)).or_insert_with(|| Flow::new(now));
            flow.local = Some(local);
            if !header.kind.heartbeat {
                flow.told(&header);
            }
        }
        for sent in moment.sent {
            let Some((header, payload)) = packet(&sent.bytes) else { continue };
            if header.kind.data || header.kind.end {
                let flow = self.flows.entry((host, header.remote_id)).or_insert_with(|| Flow::new(now));
                flow.last = now;
                flow.sent(header.seq, payload)
                    .map_err(|what| format!("stream {} to {}: {what}", header.remote_id, sent.to))?;
            }
        }
        Ok(())
    }
}

/// How long a stream that hears nothing may live: the keep-alive of a connection, then six time-outs that double up to
/// eight times the first (udx.36), and something for the rounding.
fn bound(timeout: Span) -> Span {
    Span::from_secs(10) + timeout * 45
}

/// No stream lives on when its other side is silent (udx.36, udx.43).
#[derive(Default)]
pub struct Outlives {
    heard: BTreeMap<(HostId, u32), Time>,
    /// When each is to be looked at.
    due: BTreeMap<(Time, HostId, u32), ()>,
}

impl Outlives {
    fn hears(&mut self, now: Time, host: HostId, local: u32) {
        if self.heard.insert((host, local), now).is_none() {
            self.due.insert((now + bound(Span::from_secs(1)), host, local), ());
        }
    }

    fn forget(&mut self, host: HostId) {
        self.heard.retain(|(owner, _), _| *owner != host);
    }
}

impl Checker for Outlives {
    fn name(&self) -> &'static str {
        "udx.outlives"
    }

    fn after(&mut self, moment: &mut Moment<'_>) -> Verdict {
        let (host, now) = (moment.host, moment.now);
        if moment.cause.started || moment.cause.stopped || moment.cause.thawed {
            self.forget(host);
        }
        for arrival in &moment.cause.arrivals {
            if let Some((header, _)) = packet(&arrival.bytes)
                && moment.node().is_some_and(|node| node.stream(header.remote_id).is_some())
            {
                self.hears(now, host, header.remote_id);
            }
        }
        for event in moment.told {
            if let Event::Connected { conn, .. } = event
                && let Some(local) = moment.node().and_then(|node| node.conn(*conn)?.local)
                && !self.heard.contains_key(&(host, local))
            {
                self.hears(now, host, local);
            }
        }
        while let Some((&(at, host, local), ())) = self.due.first_key_value()
            && at <= now
        {
            self.due.remove(&(at, host, local));
            let Some(&heard) = self.heard.get(&(host, local)) else { continue };
            let Some(stream) = moment.node_of(host).and_then(|node| node.stream(local)) else {
                self.heard.remove(&(host, local));
                continue;
            };
            if moment.is_frozen(host) {
                self.heard.insert((host, local), now);
            } else if now.since(heard) > bound(stream.stats.timeout) {
                let to: Option<Addr> = stream.path.map(|(_, _, to)| to);
                let silent = now.since(heard);
                return Err(format!(
                    "stream {local} of host {} to {to:?} lives, silent for {silent}",
                    host.0
                ));
            }
            self.due.insert((now.max(heard) + bound(stream.stats.timeout), host, local), ());
        }
        Ok(())
    }
}
