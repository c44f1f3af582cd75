//! hyperdht under the laws: answers to questions that it asked and to others, requests legal and mangled, commands on
//! things that are there and that are gone.

use std::collections::VecDeque;

use seckel::base::{Addr, Cx, Deadline, Entropy, Key, Machine, SocketId, Span, Tag};
use seckel::crypto::sign::KeyPair;
use seckel::hyperdht::{
    Config, ConnId, ConnectOptions, Event, FindMutable, HyperDht, Input, Knock, ListenOptions, LookupId,
    Output, ServerId, target,
};
use seckel::wire::dht_rpc::{Reply, Request, Status};
use seckel::wire::{self, hyperdht as formats};

use super::{Subject, bytes, mangled, shown};

/// The machine, and what a node would know of it.
pub struct Known {
    dht: HyperDht,
    asked: VecDeque<(Tag, bool)>,
    conns: VecDeque<ConnId>,
    servers: VecDeque<ServerId>,
    lookups: VecDeque<LookupId>,
    sockets: VecDeque<SocketId>,
    knocks: VecDeque<Knock>,
}

impl Machine for Known {
    type Input<'a> = Input;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input) {
        self.dht.handle_input(cx, input);
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.dht.handle_timeout(cx);
    }

    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = self.dht.poll_output(cx)?;
        match &output {
            Output::Ask { tag, .. } => self.asked.push_back((*tag, false)),
            Output::Query { tag, .. } => self.asked.push_back((*tag, true)),
            Output::StreamOpen { conn, .. } => self.conns.push_back(*conn),
            Output::Bind { socket, .. } => self.sockets.push_back(*socket),
            _ => {}
        }
        Some(output)
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.dht.poll_event()?;
        if let Event::Knock { knock, .. } = &event {
            self.knocks.push_back(*knock);
        }
        Some(event)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.dht.poll_timeout()
    }
}

fn pair(draw: &mut dyn Entropy) -> KeyPair {
    KeyPair::from_seed([draw.below(4) as u8; 32])
}

fn addr(draw: &mut dyn Entropy) -> Addr {
    let ips = [[127, 0, 0, 1], [8, 8, 8, 8], [10, 0, 0, 1], [0; 4]];
    Addr::new(ips[draw.below(4) as usize], draw.below(4) as u16)
}

fn maybe<T>(draw: &mut dyn Entropy, value: impl FnOnce(&mut dyn Entropy) -> T) -> Option<T> {
    if draw.chance(700) { Some(value(draw)) } else { None }
}

/// One of those, mostly.
fn one<T: Copy>(draw: &mut dyn Entropy, of: &VecDeque<T>) -> Option<T> {
    of.get(draw.below(of.len().max(1) as u64) as usize).copied()
}

fn topic(draw: &mut dyn Entropy) -> Key {
    target(&pair(draw).public)
}

fn value(draw: &mut dyn Entropy) -> Vec<u8> {
    let all = formats::FORMATS;
    let legal = match draw.below(3) {
        0 => bytes(draw, 80),
        1 => (all[draw.below(2) as usize].invent)(draw),
        _ => (all[draw.below(all.len() as u64) as usize].invent)(draw),
    };
    if draw.chance(300) { mangled(draw, legal) } else { legal }
}

fn reply(draw: &mut dyn Entropy) -> Reply {
    Reply {
        from: addr(draw),
        to: addr(draw),
        socket: SocketId(draw.below(4) as u32),
        id: maybe(draw, |draw| draw.bytes32()),
        token: maybe(draw, |draw| draw.bytes32()),
        closer: vec![addr(draw)],
        error: u64::from(draw.chance(100)),
        value: maybe(draw, value),
        rtt: Span::ZERO,
    }
}

fn request(draw: &mut dyn Entropy) -> Request {
    Request {
        from: addr(draw),
        to: addr(draw),
        socket: SocketId(draw.below(4) as u32),
        tid: draw.u32() as u16,
        command: draw.below(12),
        target: maybe(draw, topic),
        id: None,
        token: maybe(draw, |draw| draw.bytes32()),
        value: maybe(draw, value),
        external: draw.chance(500),
    }
}

/// A legal first message of a caller, for a key that may be served.
fn call(cx: &mut Cx<'_>, draw: &mut dyn Entropy) -> Input {
    let server = pair(draw).public;
    let prologue = seckel::crypto::hash::namespace("hyperswarm/dht", 0);
    let own = pair(draw);
    let mut noise = seckel::crypto::noise::Noise::ik_initiator(cx.entropy, &own, &server, &prologue);
    let payload = formats::NoisePayload {
        firewall: draw.below(4),
        udx: maybe(draw, |draw| formats::UdxInfo { id: draw.u32(), ..Default::default() }),
        addresses4: vec![addr(draw)],
        relay_through: maybe(draw, |draw| formats::RelayThrough {
            version: 1,
            flags: 0,
            key: pair(draw).public,
            token: draw.bytes32(),
        }),
        ..Default::default()
    };
    let message = formats::Handshake {
        mode: draw.below(4),
        noise: noise.write(&wire::encode(&payload)).unwrap_or_default(),
        peer: maybe(draw, addr),
        relay: maybe(draw, addr),
    };
    let value = Some(wire::encode(&message));
    Input::Request(Request { command: 0, target: Some(target(&server)), value, ..request(draw) })
}

fn status(draw: &mut dyn Entropy) -> Status {
    Status {
        remote: maybe(draw, addr),
        server: maybe(draw, addr),
        firewalled: draw.chance(500),
        id: maybe(draw, |draw| draw.bytes32()),
        nodes: (0..draw.below(12)).map(|_| addr(draw)).collect(),
        ..Status::default()
    }
}

pub struct Subjected;

impl Subject for Subjected {
    type Machine = Known;
    const NAME: &'static str = "hyperdht";

    fn make(_: &mut Cx<'_>) -> Known {
        Known {
            dht: HyperDht::new(Config::default()),
            asked: VecDeque::new(),
            conns: VecDeque::new(),
            servers: VecDeque::new(),
            lookups: VecDeque::new(),
            sockets: VecDeque::new(),
            knocks: VecDeque::new(),
        }
    }

    fn poke(known: &mut Known, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        let dht = &mut known.dht;
        let input = match draw.below(24) {
            0 => Input::Bootstrapped,
            1 => Input::Status(status(draw)),
            2 => [Input::Persistent, Input::NetworkChange][draw.below(2) as usize].clone(),
            3 => Input::NetworkUpdate { online: draw.chance(800) },
            4 => call(cx, draw),
            5 => Input::Request(request(draw)),
            6 => {
                let relay_through = maybe(draw, |draw| pair(draw).public).into_iter().collect();
                let reusable_socket = draw.chance(500);
                let options =
                    ConnectOptions { relay_through, reusable_socket, ..ConnectOptions::new(pair(draw)) };
                dht.connect(cx, pair(draw).public, options);
                return;
            }
            7 => {
                let (gate, reusable_socket) = (draw.chance(500), draw.chance(500));
                let options = ListenOptions { gate, reusable_socket, ..ListenOptions::new(pair(draw)) };
                known.servers.extend(dht.listen(cx, options));
                return;
            }
            8 => {
                if let Some(server) = one(draw, &known.servers) {
                    let _ = dht.unlisten(cx, server);
                }
                return;
            }
            9 => {
                let lookup = match draw.below(4) {
                    0 => dht.lookup(cx, topic(draw)),
                    1 => dht.find_peer(cx, pair(draw).public),
                    2 => dht.announce(cx, topic(draw), pair(draw), vec![addr(draw)], draw.chance(500)),
                    _ => dht.unannounce(cx, topic(draw), pair(draw)),
                };
                known.lookups.push_back(lookup);
                return;
            }
            10 => {
                if let Some(conn) = one(draw, &known.conns) {
                    let _ = dht.destroy(cx, conn);
                }
                if let Some(lookup) = one(draw, &known.lookups) {
                    let _ = dht.cancel_lookup(cx, lookup);
                }
                return;
            }
            11 => match one(draw, &known.conns) {
                Some(conn) if draw.chance(500) => Input::StreamClosed { conn },
                Some(conn) => {
                    let socket = SocketId(draw.below(4) as u32);
                    match draw.below(6) {
                        0 => Input::RelayClosed { conn },
                        1 => Input::StreamCalled { conn, socket, from: addr(draw) },
                        2 => Input::StreamHeard {
                            conn,
                            direct: draw.below(3),
                            elsewhere: draw.below(50),
                            changing: draw.chance(500),
                        },
                        3 => Input::RelayPaired { conn, socket, to: addr(draw), stream: draw.u32() },
                        _ => Input::StreamConnected { conn, socket, from: addr(draw) },
                    }
                }
                None => Input::Interfaces(vec![[10, 0, 0, 1]]),
            },
            12 => match one(draw, &known.sockets) {
                Some(socket) if draw.chance(300) => Input::BindFailed { socket },
                Some(socket) => Input::Probe { socket, from: addr(draw) },
                None => return,
            },
            20 => {
                match draw.below(3) {
                    0 => dht.suspend(cx),
                    1 => dht.close_sockets(),
                    _ => dht.resume(cx),
                }
                return;
            }
            21 => {
                let refreshed = one(draw, &known.servers);
                let _ = refreshed.map(|server| dht.refresh(cx, server));
                let admit = draw.chance(600);
                if let Some(knock) = one(draw, &known.knocks) {
                    let _ = if admit { dht.admit(cx, knock) } else { dht.deny(cx, knock) };
                }
                return;
            }
            22 => {
                let how =
                    FindMutable { seq: draw.below(3), latest: draw.chance(500), refresh: draw.chance(500) };
                known.lookups.push_back(dht.find_mutable_with(cx, pair(draw).public, how));
                return;
            }
            _ => match known.asked.pop_front() {
                Some((tag, true)) if draw.chance(500) => {
                    known.asked.push_back((tag, true));
                    Input::QueryReply { tag, reply: reply(draw) }
                }
                Some((tag, true)) => {
                    let closest = (0..draw.below(5)).map(|_| reply(draw)).collect();
                    Input::QueryDone { tag, ok: draw.chance(500), closest }
                }
                Some((tag, false)) => {
                    let result = if draw.chance(700) { Ok(reply(draw)) } else { Err(()) };
                    Input::Answer { tag, result }
                }
                None => Input::Answer { tag: Tag(draw.below(1000)), result: Err(()) },
            },
        };
        known.dht.handle_input(cx, input);
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}
