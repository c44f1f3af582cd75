//! The hash table's node under the laws.

use std::collections::VecDeque;

use seckel::base::{Addr, Cx, Deadline, Entropy, Machine, SocketId, Tag};
use seckel::dht_rpc::{Config, DhtRpc, Event, Input, Output, node_id};
use seckel::wire;
use seckel::wire::dht_rpc::{Ask, Query, Request, RequestMessage, Respond, ResponseMessage};

use super::{Subject, bulk, bytes, mangled, shown};

/// A node, and what it sent and was asked lately, so that it can be answered and can answer.
pub struct Watched {
    dht: DhtRpc,
    sent: VecDeque<(SocketId, Addr, RequestMessage)>,
    asked: VecDeque<Request>,
    next_tag: u64,
}

impl Machine for Watched {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        self.dht.handle_input(cx, input);
    }
    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.dht.handle_timeout(cx);
    }
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = self.dht.poll_output(cx)?;
        if let Output::Send { socket, to, bytes, .. } = &output
            && let Ok(message) = wire::decode(bytes)
        {
            self.sent.push_front((*socket, *to, message));
            self.sent.truncate(20);
        }
        Some(output)
    }
    fn poll_event(&mut self) -> Option<Event> {
        let event = self.dht.poll_event()?;
        if let Event::Request(request) = &event {
            self.asked.push_front(request.clone());
            self.asked.truncate(5);
        }
        Some(event)
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        self.dht.poll_timeout()
    }
}

fn addr(draw: &mut dyn Entropy) -> Addr {
    match draw.below(6) {
        0 => Addr::new(draw.u32().to_le_bytes(), draw.u32() as u16),
        1 => Addr::loopback(draw.below(5) as u16),
        _ => Addr::new([10, 0, 0, draw.below(200) as u8], 1 + draw.below(3) as u16),
    }
}

fn key(draw: &mut dyn Entropy) -> [u8; 32] {
    draw.bytes32()
}

fn socket(draw: &mut dyn Entropy) -> SocketId {
    SocketId(draw.below(4) as u32)
}

/// An answer to something that was asked, as a node would give it.
fn answer(machine: &Watched, draw: &mut dyn Entropy) -> Option<(SocketId, Addr, Vec<u8>)> {
    let (from_socket, from, question) = machine.sent.get(draw.below(20) as usize)?;
    let socket = if question.internal && question.command == 1 { SocketId::SERVER } else { *from_socket };
    let closer = (0..draw.below(25)).map(|_| addr(draw)).collect();
    let message = ResponseMessage {
        tid: question.tid,
        to: Addr::new([9, 9, 9, draw.below(2) as u8], 40_000),
        id: draw.chance(800).then(|| node_id(*from)),
        token: draw.chance(500).then(|| key(draw)),
        closer,
        error: if draw.chance(100) { 1 } else { 0 },
        value: draw.chance(300).then(|| bytes(draw, 40)),
    };
    Some((socket, *from, wire::encode(&message)))
}

pub struct Node;

impl Subject for Node {
    type Machine = Watched;
    const NAME: &'static str = "dht_rpc";

    fn make(cx: &mut Cx<'_>) -> Watched {
        let bootstrap = (1..4).map(|n| Addr::new([10, 0, 0, n], 1)).collect();
        let ephemeral = match cx.entropy.below(3) {
            0 => None,
            1 => Some(false),
            _ => Some(true),
        };
        let config = Config {
            bootstrap,
            ephemeral,
            firewalled: cx.entropy.chance(700),
            adaptive_timeout: cx.entropy.chance(500),
            port: 49_737,
            nodes: vec![Addr::new([10, 0, 0, 9], 1)],
            ..Config::default()
        };
        let dht = DhtRpc::new(cx, config);
        Watched { dht, sent: VecDeque::new(), asked: VecDeque::new(), next_tag: 0 }
    }

    fn poke(machine: &mut Watched, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        machine.next_tag += 1;
        let tag = Tag(if draw.chance(50) { draw.below(machine.next_tag) } else { machine.next_tag });
        match draw.below(20) {
            0 | 1 => {
                let socket = SocketId(draw.below(3) as u32);
                let local = Addr::new([0; 4], 40_000 + socket.0 as u16);
                machine.dht.handle_input(cx, Input::Bound { socket, local });
            }
            2 if draw.chance(30) => machine.dht.handle_input(cx, Input::BindFailed { socket: socket(draw) }),
            3 if draw.chance(200) => machine.dht.handle_input(cx, Input::Online(draw.chance(500))),
            4 => {
                let ask = Ask {
                    internal: draw.chance(500),
                    target: draw.chance(500).then(|| key(draw)),
                    value: draw.chance(500).then(|| bytes(draw, 40)),
                    socket: draw.chance(300).then(|| socket(draw)),
                    sends: draw.below(7) as u8,
                    ..Ask::new(addr(draw), draw.below(6))
                };
                let _ = machine.dht.ask(cx, tag, ask);
            }
            5 => {
                let query = Query {
                    commit: draw.chance(500),
                    start: (0..draw.below(30)).map(|_| addr(draw)).collect(),
                    only_start: draw.chance(100),
                    sends: draw.below(3) as u8,
                    concurrency: draw.chance(200).then(|| draw.below(4) as usize),
                    ..Query::new(key(draw), 2, None)
                };
                let _ = machine.dht.query(cx, tag, query);
            }
            6 => machine.dht.cancel(cx, Tag(draw.below(machine.next_tag))),
            7 => machine.dht.cancel_query(cx, Tag(draw.below(machine.next_tag))),
            8 => {
                if let Some(request) = machine.asked.front().cloned() {
                    let respond = Respond {
                        to: draw.chance(100).then(|| addr(draw)),
                        socket: draw.chance(100).then(|| socket(draw)),
                        ..Respond::value(Some(bulk(draw, 2000)))
                    };
                    machine.dht.respond(cx, &request, respond);
                    machine.dht.relay(cx, &request, addr(draw), bulk(draw, 2000), None);
                }
            }
            9 if draw.chance(2) => machine.dht.destroy(cx),
            9 if draw.chance(30) => machine.dht.suspend(cx),
            9 => machine.dht.resume(cx),
            10..=14 => {
                let Some((socket, from, bytes)) = answer(machine, draw) else { return };
                let bytes = if draw.chance(200) { mangled(draw, bytes) } else { bytes };
                machine.dht.handle_input(cx, Input::Datagram { socket, from, bytes: &bytes });
            }
            _ => {
                let from = addr(draw);
                let message = RequestMessage {
                    tid: draw.u32() as u16,
                    to: Addr::new([9, 9, 9, draw.below(2) as u8], 40_000),
                    id: draw.chance(500).then(|| node_id(from)),
                    token: draw.chance(200).then(|| key(draw)),
                    internal: draw.chance(700),
                    command: draw.below(7),
                    target: draw.chance(500).then(|| key(draw)),
                    value: draw.chance(500).then(|| bytes(draw, 10)),
                };
                let bytes = wire::encode(&message);
                let bytes = if draw.chance(200) { mangled(draw, bytes) } else { bytes };
                machine.dht.handle_input(cx, Input::Datagram { socket: socket(draw), from, bytes: &bytes });
            }
        }
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}
