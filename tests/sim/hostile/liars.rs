//! A network of which most nodes lie. Liars are no nodes of ours: they hear whatever is sent to them a moment later and
//! say what they like. They have true ids, answer pings, and greet everybody, so that they stand in every table.

use std::collections::BTreeMap;

use seckel::base::{Addr, Entropy, Key, Seeded, Span, Time};
use seckel::node::inspect::node_id;
use seckel::node::{Config, Event, KeyPair};
use seckel::sim::{HostId, Kind, NatOptions, Step, World};
use seckel::wire::dht_rpc::{
    DELAYED_PING, DOWN_HINT, FIND_NODE, PING, PING_NAT, PortValue, REQUEST, RequestMessage, ResponseMessage,
};
use seckel::wire::hyperdht::{Handshake, LookupReply, Mutable, Peer, Signature, command, mode};
use seckel::wire::{self, Wire};

use crate::support::{BOOTSTRAP, first, joining, lasting, wait};

/// How they lie about who is closer to a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// They answer pings and nothing else.
    Silence,
    /// They know each other only, and have wrong values of everything.
    Company,
    /// They know of nodes that are closer than anybody and do not exist.
    Phantoms,
    /// They know of nodes that are closer than anybody, all of them at one host that has nothing to do with it.
    Victim,
    /// As company, but they pass handshakes on as they should, and no round of a punch.
    Halfway,
}

/// Who is pointed at.
pub const VICTIM: [u8; 4] = [99, 9, 9, 9];
/// How often a liar greets each node that it knows.
const GREETING: Span = Span::from_secs(15);
/// Addresses from which the closest to a target are picked.
const POOL: usize = 20_000;
const CLOSER: usize = 20;

pub struct Den {
    pub world: World,
    pub lie: Lie,
    pub honest: Vec<HostId>,
    liars: BTreeMap<Addr, Key>,
    /// Made-up addresses for a target, the closest last, and those that were given away.
    made_up: BTreeMap<Key, Vec<Addr>>,
    /// Keys whose owners the liars have heard of: they claim to know them.
    pub keys: BTreeMap<Key, Key>,
    /// What a liar was given to keep, by its target: it gives the oldest away for ever.
    stale: BTreeMap<Key, Vec<u8>>,
    /// Where servers announced themselves from, by target.
    announced: BTreeMap<Key, Addr>,
    /// Hosts behind boxes, by their own addresses.
    boxed: BTreeMap<[u8; 4], HostId>,
    next_greeting: Time,
    draw: Seeded,
    /// Datagrams and bytes that were sent to the victim, and requests that liars heard.
    pub to_victim: (u64, u64),
    pub heard: u64,
}

impl Den {
    /// `honest` nodes that have joined, and three times as many liars in all their tables.
    pub fn new(seed: u64, honest: usize, lie: Lie) -> Den {
        let mut world = World::new(seed);
        let mut draw = Seeded::new(seed).fork("den");
        let mut hosts = vec![world.add(BOOTSTRAP.ip)];
        world.start(hosts[0], first());
        for n in 1..honest {
            let host = world.add([30, 1, n as u8, draw.below(250) as u8]);
            world.start(host, lasting());
            wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
            hosts.push(host);
        }
        let mut liars = BTreeMap::new();
        for n in 0..3 * honest {
            let addr = Addr::new([66, draw.below(250) as u8, n as u8, 1], 1 + draw.below(60_000) as u16);
            liars.insert(addr, draw.bytes32());
        }
        world.tap = Some(Vec::new());
        let next_greeting = world.now();
        let mut den = Den {
            world,
            lie,
            honest: hosts,
            liars,
            made_up: BTreeMap::new(),
            keys: BTreeMap::new(),
            stale: BTreeMap::new(),
            announced: BTreeMap::new(),
            boxed: BTreeMap::new(),
            next_greeting,
            draw,
            to_victim: (0, 0),
            heard: 0,
        };
        den.run(Span::from_secs(20));
        den
    }

    /// A host of our own, joined.
    pub fn user(&mut self, n: u8) -> HostId {
        self.user_with(n, joining())
    }

    pub fn user_with(&mut self, n: u8, config: Config) -> HostId {
        let host = self.world.add([40, 0, 0, n]);
        self.world.start(host, config);
        self.wait(host, 60, |event| matches!(event, Event::Bootstrapped)).expect("joined");
        host
    }

    /// The same behind a box that forgets who was not sent to for half a minute.
    pub fn user_behind(&mut self, n: u8, kind: Kind) -> HostId {
        let options = NatOptions { lifetime: Span::from_secs(30), ..NatOptions::default() };
        let home = self.world.add_box(kind, [40, 0, 1, n], options);
        let inner = [192, 168, n, 10];
        let host = self.world.add_behind(home, inner);
        self.boxed.insert(inner, host);
        self.world.start(host, joining());
        self.wait(host, 60, |event| matches!(event, Event::Bootstrapped)).expect("joined");
        host
    }

    /// The next event, at most until `until`. Liars hear and answer within a millisecond.
    pub fn step(&mut self, until: Time) -> Option<(HostId, Event)> {
        loop {
            let slice = (self.world.now() + Span::from_millis(1)).min(until);
            let step = self.world.step(slice);
            self.listen();
            self.greet();
            match step {
                Step::Event(host, event) => return Some((host, event)),
                Step::TimedOut if self.world.now() >= until => return None,
                Step::TimedOut | Step::Crashed(_) => {}
            }
        }
    }

    pub fn run(&mut self, span: Span) {
        let until = self.world.now() + span;
        while self.step(until).is_some() {}
    }

    /// Waits for an event of a host; how long that took.
    pub fn wait(&mut self, on: HostId, seconds: u64, mut done: impl FnMut(&Event) -> bool) -> Option<Span> {
        let begin = self.world.now();
        let until = begin + Span::from_secs(seconds);
        while let Some((host, event)) = self.step(until) {
            if host == on && done(&event) {
                return Some(self.world.now().since(begin));
            }
        }
        None
    }

    /// Every liar shows itself to every honest node.
    fn greet(&mut self) {
        if self.world.now() < self.next_greeting {
            return;
        }
        self.next_greeting = self.world.now() + GREETING;
        let hosts = self.honest.clone();
        let known: Vec<Addr> =
            hosts.iter().map(|host| Addr::new(self.world.ip(*host), self.port(*host))).collect();
        for (n, &liar) in self.liars.keys().enumerate() {
            for &to in &known {
                let message = RequestMessage {
                    tid: n as u16,
                    to,
                    id: Some(node_id(liar)),
                    internal: true,
                    command: FIND_NODE,
                    target: Some(node_id(liar)),
                    ..RequestMessage::default()
                };
                self.world.inject(liar, to, &wire::encode(&message));
            }
        }
    }

    pub fn port(&mut self, host: HostId) -> u16 {
        self.world.net(host).status().local.map_or(0, |local| local.port)
    }

    fn listen(&mut self) {
        let Some(heard) = self.world.tap.replace(Vec::new()) else { return };
        for (from, to, bytes) in heard {
            if to.ip == VICTIM {
                self.to_victim.0 += 1;
                self.to_victim.1 += bytes.len() as u64;
            }
            if self.liars.contains_key(&to)
                && bytes.first() == Some(&REQUEST)
                && let Ok(request) = wire::decode::<RequestMessage>(&bytes)
            {
                self.heard += 1;
                let boxed = self.boxed.get(&from.ip).copied();
                let from = boxed.map_or(from, |host| self.world.seen_from(host, from, to));
                self.reply(from, to, &request);
            }
        }
    }

    fn reply(&mut self, from: Addr, liar: Addr, request: &RequestMessage) {
        let mut to = from;
        let mut message =
            ResponseMessage { tid: request.tid, to, id: Some(node_id(liar)), ..ResponseMessage::default() };
        if request.internal {
            match request.command {
                PING | DOWN_HINT | DELAYED_PING => {}
                PING_NAT => {
                    let port =
                        request.value.as_deref().and_then(|value| wire::decode::<PortValue>(value).ok());
                    let Some(PortValue(port)) = port else { return };
                    to = from.with_port(port);
                    message.to = to;
                }
                FIND_NODE if self.lie != Lie::Silence => {
                    message.closer = self.closer(&request.target.unwrap_or_default());
                }
                _ => return,
            }
        } else {
            if self.lie == Lie::Silence {
                return;
            }
            let target = request.target.unwrap_or_default();
            if self.lie == Lie::Halfway && self.pass_on(from, liar, &target, request) {
                return;
            }
            message.token = Some(self.liars[&liar]);
            message.closer = self.closer(&target);
            match self.value(&target, request) {
                Ok(value) => message.value = value,
                Err(()) => return,
            }
        }
        self.world.inject(liar, to, &wire::encode(&message));
    }

    /// Handshakes, to the server and back. hyperdht.22, hyperdht.25
    fn pass_on(&mut self, from: Addr, liar: Addr, target: &Key, request: &RequestMessage) -> bool {
        if request.command == command::ANNOUNCE {
            self.announced.insert(*target, from);
        }
        if request.command != command::PEER_HANDSHAKE {
            return request.command == command::PEER_HOLEPUNCH;
        }
        let message = request.value.as_deref().and_then(|value| wire::decode::<Handshake>(value).ok());
        match (message, self.announced.get(target)) {
            (Some(message), Some(&server)) if message.mode == mode::FROM_CLIENT => {
                let value = encode(&Handshake { mode: mode::FROM_RELAY, peer: Some(from), ..message });
                let passed = RequestMessage {
                    to: server,
                    id: None,
                    token: None,
                    value: Some(value),
                    ..request.clone()
                };
                self.world.inject(liar, server, &wire::encode(&passed));
            }
            (Some(Handshake { mode: mode::FROM_SERVER, noise, peer: Some(client), .. }), _) => {
                let value = encode(&Handshake { mode: mode::REPLY, noise, peer: Some(from), relay: None });
                let answer = ResponseMessage {
                    tid: request.tid,
                    to: client,
                    value: Some(value),
                    ..ResponseMessage::default()
                };
                self.world.inject(liar, client, &wire::encode(&answer));
            }
            _ => {}
        }
        true
    }

    /// What a liar says when it is asked for something, and what it does when it is given something.
    fn value(&mut self, target: &Key, request: &RequestMessage) -> Result<Option<Vec<u8>>, ()> {
        let value = match request.command {
            // Nobody hears of the server from it.
            command::PEER_HANDSHAKE if self.draw.chance(500) => return Err(()),
            command::PEER_HANDSHAKE => {
                let noise = vec![self.draw.below(256) as u8; 96];
                let peer = Some(Addr::new(VICTIM, 9));
                encode(&Handshake { mode: mode::REPLY, noise, peer, relay: None })
            }
            command::FIND_PEER => {
                let key = self.keys.get(target).copied().unwrap_or_else(|| self.draw.bytes32());
                encode(&Peer { key, relays: vec![Addr::new(VICTIM, 7)] })
            }
            command::LOOKUP => {
                let peers = (0..20).map(|_| Peer { key: self.draw.bytes32(), relays: Vec::new() }).collect();
                encode(&LookupReply { peers, ..LookupReply::default() })
            }
            command::MUTABLE_GET => match self.stale.get(target) {
                Some(put) if self.draw.chance(500) => {
                    let Ok(put) = wire::decode::<wire::hyperdht::MutablePut>(put) else { return Ok(None) };
                    encode(&Mutable { seq: put.seq, value: put.value, signature: put.signature })
                }
                _ => {
                    let signature = Signature([self.draw.below(256) as u8; 64]);
                    encode(&Mutable { seq: 1_000_000, value: b"forged".to_vec(), signature })
                }
            },
            command::IMMUTABLE_GET => b"forged".to_vec(),
            command::MUTABLE_PUT => {
                if let Some(value) = &request.value {
                    self.stale.entry(*target).or_insert_with(|| value.clone());
                }
                return Ok(None);
            }
            // Whatever is to be kept is taken and forgotten.
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn closer(&mut self, target: &Key) -> Vec<Addr> {
        if matches!(self.lie, Lie::Company | Lie::Halfway) {
            let mut all: Vec<Addr> = self.liars.keys().copied().collect();
            all.sort_by_key(|addr| distance(*addr, target));
            all.truncate(CLOSER);
            return all;
        }
        let (lie, draw) = (self.lie, &mut self.draw);
        let pool = self.made_up.entry(*target).or_insert_with(|| {
            let mut pool: Vec<Addr> = (0..POOL)
                .map(|n| match lie {
                    Lie::Victim => Addr::new(VICTIM, 1 + n as u16),
                    _ => Addr::new((0x5000_0000 + draw.u32() % 0x1000_0000).to_be_bytes(), 1 + n as u16),
                })
                .collect();
            pool.sort_by_cached_key(|addr| std::cmp::Reverse(distance(*addr, target)));
            pool
        });
        let at = pool.len().saturating_sub(CLOSER);
        pool.split_off(at)
    }

    /// How many of the `count` nodes that are truly closest to a target are honest.
    pub fn honest_of_closest(&mut self, target: &Key, count: usize) -> usize {
        let hosts = self.honest.clone();
        let mut all: Vec<Addr> =
            hosts.iter().map(|host| Addr::new(self.world.ip(*host), self.port(*host))).collect();
        all.extend(self.liars.keys());
        all.sort_by_key(|addr| distance(*addr, target));
        all.iter().take(count).filter(|addr| !self.liars.contains_key(addr)).count()
    }

    /// The liars hear of a key, as if its owner had announced itself to all of them.
    pub fn betray(&mut self, pair: &KeyPair) {
        self.keys.insert(seckel::hyperdht::target(&pair.public), pair.public);
    }
}

fn encode<T: Wire + Clone>(value: &T) -> Vec<u8> {
    wire::encode(value)
}

fn distance(addr: Addr, target: &Key) -> Key {
    let id = node_id(addr);
    std::array::from_fn(|n| id[n] ^ target[n])
}
