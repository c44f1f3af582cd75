//! One bottleneck and the streams that share it: bare `Udx` machines, or a model of libudx's sender beside them.

pub mod libudx;

use std::collections::{BTreeMap, VecDeque};

use seckel::base::{Addr, Cx, Entropy, Machine, NoTrace, Seeded, SocketId, Span, Time};
use seckel::sim::ramdisk::RamDisk;
use seckel::udx::{Event, Input, Output, Stats, StreamId, Udx};
use seckel::wire::{
    self,
    udx::{Block, Header, Kind, Sack},
};

use libudx::{Model, Reader};

/// Bytes that an IP packet and its UDP header take beside the datagram.
const BELOW: usize = 28;
const WRITE: usize = 32 * 1024;
/// Bytes that a full packet of ours carries, once the path was found to take 1500.
const CARRIES: u64 = 1452;

/// The bottleneck.
pub struct Line {
    /// Bytes per second.
    pub rate: u64,
    /// A round trip without a queue.
    pub rtt: Span,
    /// Added to each packet's way, evenly drawn up to this.
    pub jitter: Span,
    /// Bytes that may wait.
    pub queue: u64,
    /// Each way.
    pub loss_permille: u64,
    pub dark: bool,
    free_at: Time,
}

impl Line {
    /// Holds as much in its queue as is on its way.
    pub fn new(mbits: u64, rtt: Span) -> Line {
        let rate = mbits * 125_000;
        let queue = (rate * rtt.as_micros() / 1_000_000).max(20 * 1500);
        Line { rate, rtt, jitter: Span::ZERO, queue, loss_permille: 0, dark: false, free_at: Time::ZERO }
    }

    /// What waits now, in time.
    fn waiting(&self, now: Time) -> Span {
        self.free_at.since(now)
    }
}

/// The two ends of a flow.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Who {
    Seckel,
    LibUdx,
    /// Seckel sends to who acks as libudx does.
    ToLibUdx,
}

/// What is under way.
enum Packet {
    /// To end 0 (who sends) or 1 of a stream.
    Bytes {
        flow: usize,
        end: usize,
        bytes: Vec<u8>,
    },
    Model {
        flow: usize,
        seq: u64,
    },
    ModelAck {
        flow: usize,
        ack: libudx::Ack,
    },
}

enum Flow {
    /// Both ends of a stream.
    Seckel(Box<[Udx; 2]>, [StreamId; 2]),
    Mixed(Box<Udx>, StreamId, Reader),
    LibUdx(Box<Model>),
}

pub struct World {
    pub now: Time,
    pub line: Line,
    /// Bytes that the readers of seckel's streams hold, if not as many as by default.
    pub window: Option<usize>,
    flows: Vec<Flow>,
    /// Bytes that arrived, of each flow, in order.
    pub arrived: Vec<u64>,
    /// How long packets waited at the bottleneck, of those since `forget`.
    pub waits: Vec<Span>,
    pub dropped: u64,
    way: BTreeMap<(Time, u64), Packet>,
    count: u64,
    draw: Seeded,
}

fn at<T>(now: Time, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut entropy, mut disk) = (Seeded::new(1), RamDisk::new());
    act(&mut Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace })
}

/// The ack of libudx for a datagram.
fn read(reader: &mut Reader, bytes: &[u8], remote_id: u32, window: Option<usize>) -> Vec<u8> {
    let (header, _) = wire::decode_head::<Header>(bytes).expect("a packet");
    if header.kind.data {
        reader.take(u64::from(header.seq));
    }
    let libudx::Ack { next, ranges } = reader.ack();
    let blocks = ranges.iter().map(|&(start, end)| Block { start: start as u32, end: end as u32 });
    let mut sack = Sack { blocks: blocks.collect() };
    let kind = if ranges.is_empty() { Kind::STATE } else { Kind::SACK };
    let window = window.unwrap_or(4 << 20) as u32;
    let mut ack = wire::encode(&Header { kind, data_offset: 0, remote_id, window, seq: 0, ack: next as u32 });
    wire::encode_into(&mut sack, &mut ack);
    ack
}

fn address(flow: usize, end: usize) -> Addr {
    Addr::new([10, 0, flow as u8, end as u8 + 1], 1000)
}

impl World {
    pub fn new(seed: u64, line: Line) -> World {
        World {
            now: Time::ZERO,
            line,
            window: None,
            flows: Vec::new(),
            arrived: Vec::new(),
            waits: Vec::new(),
            dropped: 0,
            way: BTreeMap::new(),
            count: 0,
            draw: Seeded::new(seed),
        }
    }

    /// A flow that sends as much as it can, from now on.
    pub fn flow(&mut self, who: Who) -> usize {
        match who {
            Who::Seckel => self.seckel(),
            Who::LibUdx => self.libudx(),
            Who::ToLibUdx => self.mixed(),
        }
    }

    /// A stream of seckel's that sends as much as it can, from now on.
    pub fn seckel(&mut self) -> usize {
        let flow = self.flows.len();
        let ids = [0, 1].map(|_| self.draw.u64() as u32);
        let mut udx = [Udx::new(), Udx::new()];
        let streams = at(self.now, |cx| {
            [0, 1].map(|end| {
                let stream = udx[end].open(cx, ids[end]).expect("free");
                udx[end]
                    .connect(cx, stream, SocketId::SERVER, ids[1 - end], address(flow, 1 - end))
                    .expect("new");
                stream
            })
        });
        if let Some(window) = self.window {
            at(self.now, |cx| udx[1].set_window(cx, streams[1], window)).expect("live");
        }
        self.flows.push(Flow::Seckel(Box::new(udx), streams));
        self.arrived.push(0);
        self.fill(flow);
        flow
    }

    /// The same, but acks are those of libudx.
    fn mixed(&mut self) -> usize {
        let flow = self.seckel();
        let Some(Flow::Seckel(udx, [stream, _])) = self.flows.pop() else { unreachable!("just made") };
        let [udx, _] = *udx;
        self.flows.push(Flow::Mixed(Box::new(udx), stream, Reader::default()));
        flow
    }

    /// A flow that sends as libudx does.
    fn libudx(&mut self) -> usize {
        self.flows.push(Flow::LibUdx(Box::new(Model::new(self.now))));
        self.arrived.push(0);
        self.flows.len() - 1
    }

    pub fn stats(&self, flow: usize) -> Stats {
        match &self.flows[flow] {
            Flow::Seckel(udx, streams) => udx[0].stats(streams[0]).expect("live"),
            Flow::Mixed(udx, stream, _) => udx.stats(*stream).expect("live"),
            Flow::LibUdx(_) => Stats::default(),
        }
    }

    /// Writes until the stream has enough.
    fn fill(&mut self, flow: usize) {
        let (udx, stream) = match &mut self.flows[flow] {
            Flow::Seckel(udx, streams) => (&mut udx[0], streams[0]),
            Flow::Mixed(udx, stream, _) => (&mut **udx, *stream),
            Flow::LibUdx(_) => return,
        };
        while at(self.now, |cx| udx.write(cx, stream, &[7; WRITE])).expect("open") {}
    }

    fn settle(&mut self, flow: usize) {
        loop {
            let mut sends: VecDeque<(usize, Vec<u8>)> = VecDeque::new();
            let mut drained = false;
            let ends = match &mut self.flows[flow] {
                Flow::LibUdx(model) => {
                    for seq in model.leaves() {
                        self.bottleneck(libudx::PACKET + BELOW, Packet::Model { flow, seq });
                    }
                    return;
                }
                Flow::Seckel(udx, _) => &mut udx[..],
                Flow::Mixed(udx, _, _) => core::slice::from_mut(&mut **udx),
            };
            for (end, udx) in ends.iter_mut().enumerate() {
                while let Some(Output::Send { bytes, .. }) = at(self.now, |cx| udx.poll_output(cx)) {
                    sends.push_back((end, bytes));
                }
                while let Some(event) = udx.poll_event() {
                    match event {
                        Event::Data { bytes, .. } => self.arrived[flow] += bytes.len() as u64,
                        Event::Drained { .. } => drained = true,
                        Event::Closed { why, .. } => panic!("flow {flow} at {}: {why}", self.now),
                        _ => {}
                    }
                }
            }
            let quiet = sends.is_empty() && !drained;
            for (end, bytes) in sends {
                let size = bytes.len() + BELOW;
                let packet = Packet::Bytes { flow, end: 1 - end, bytes };
                if end == 0 { self.bottleneck(size, packet) } else { self.launch(self.now, packet) }
            }
            if drained {
                self.fill(flow);
            }
            if quiet {
                return;
            }
        }
    }

    /// On its way to the receiver.
    fn bottleneck(&mut self, size: usize, packet: Packet) {
        let waiting = self.line.waiting(self.now);
        let queued = waiting.as_micros() * self.line.rate / 1_000_000;
        if queued + size as u64 > self.line.queue {
            self.dropped += 1;
            return;
        }
        self.waits.push(waiting);
        let nanos = size as u64 * 1_000_000_000 / self.line.rate;
        let leaves = self.line.free_at.max(self.now) + Span::from_micros(nanos.div_ceil(1000));
        self.line.free_at = leaves;
        self.launch(leaves, packet);
    }

    fn launch(&mut self, leaves: Time, packet: Packet) {
        let lost = self.draw.chance(self.line.loss_permille);
        let jitter = Span::from_micros(self.draw.below(self.line.jitter.as_micros() + 1));
        if lost || self.line.dark {
            return;
        }
        let arrives = leaves + Span::from_micros(self.line.rtt.as_micros() / 2) + jitter;
        self.way.insert((arrives, self.count), packet);
        self.count += 1;
    }

    fn deliver(&mut self, packet: Packet) -> usize {
        match packet {
            Packet::Bytes { flow, end, bytes } => {
                let udx = match &mut self.flows[flow] {
                    Flow::Seckel(udx, _) => &mut udx[end],
                    Flow::Mixed(udx, ..) if end == 0 => &mut **udx,
                    Flow::Mixed(udx, stream, reader) => {
                        let (remote_id, most) = (udx.local_id(*stream), self.window);
                        let ack = read(reader, &bytes, remote_id.unwrap_or(0), most);
                        self.arrived[flow] = reader.next * CARRIES;
                        self.launch(self.now, Packet::Bytes { flow, end: 0, bytes: ack });
                        return flow;
                    }
                    Flow::LibUdx(_) => return flow,
                };
                let (socket, from) = (SocketId::SERVER, address(flow, 1 - end));
                let input = Input::Datagram { socket, from, bytes: &bytes };
                at(self.now, |cx| udx.handle_input(cx, input));
                flow
            }
            Packet::Model { flow, seq } => {
                if let Flow::LibUdx(model) = &mut self.flows[flow] {
                    let ack = model.on_data(seq);
                    self.arrived[flow] = model.arrived();
                    self.launch(self.now, Packet::ModelAck { flow, ack });
                }
                flow
            }
            Packet::ModelAck { flow, ack } => {
                if let Flow::LibUdx(model) = &mut self.flows[flow] {
                    model.on_ack(self.now, &ack);
                }
                flow
            }
        }
    }

    fn deadline(&self, flow: usize) -> Option<Time> {
        match &self.flows[flow] {
            Flow::Seckel(udx, _) => udx.iter().filter_map(|udx| Some(udx.poll_timeout()?.at)).min(),
            Flow::Mixed(udx, ..) => udx.poll_timeout().map(|due| due.at),
            Flow::LibUdx(model) => model.deadline(),
        }
    }

    fn on_time(&mut self, flow: usize) {
        let ends = match &mut self.flows[flow] {
            Flow::Seckel(udx, _) => &mut udx[..],
            Flow::Mixed(udx, ..) => core::slice::from_mut(&mut **udx),
            Flow::LibUdx(model) => return model.on_time(self.now),
        };
        for udx in ends {
            if udx.poll_timeout().is_some_and(|due| due.at <= self.now) {
                at(self.now, |cx| udx.handle_timeout(cx));
            }
        }
    }

    pub fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        (0..self.flows.len()).for_each(|flow| self.settle(flow));
        loop {
            let arrival = self.way.first_key_value().map(|((at, _), _)| *at);
            let due = (0..self.flows.len()).filter_map(|flow| Some((self.deadline(flow)?, flow))).min();
            let next = arrival.into_iter().chain(due.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            let flow = match (self.way.first_entry(), due) {
                (Some(entry), _) if entry.key().0 <= self.now => {
                    let packet = entry.remove();
                    self.deliver(packet)
                }
                (_, Some((_, flow))) => {
                    self.on_time(flow);
                    flow
                }
                (_, None) => break,
            };
            self.settle(flow);
        }
        self.now = until;
    }

    /// Bytes per second that arrived of each flow in the next `span`.
    pub fn measure(&mut self, span: Span) -> Vec<u64> {
        let before = self.arrived.clone();
        self.waits.clear();
        self.run_for(span);
        let since = |(now, before): (&u64, u64)| (now - before) * 1000 / span.as_millis();
        self.arrived.iter().zip(before).map(since).collect()
    }

    /// How long the packet waited that waited longer than `percent` of all that left since `measure` began.
    pub fn wait_of(&mut self, percent: usize) -> Span {
        self.waits.sort_unstable();
        self.waits.get(self.waits.len() * percent / 100).copied().unwrap_or_default()
    }
}
