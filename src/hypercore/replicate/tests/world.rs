//! Cores in a world of virtual time: ordered links with delays that can be cut and joined.

use std::collections::VecDeque;

use super::RamDisk;
use crate::base::{Entropy, Machine, NoTrace, Seeded, Time};
use crate::crypto::sign::KeyPair;
use crate::hypercore::Open;
use crate::hypercore::live::Live;
use crate::hypercore::replicate::*;
use crate::wire::hypercore::kind;

pub struct Node {
    pub live: Live,
    pub disk: RamDisk,
    pub entropy: Seeded,
    pub events: Vec<Event>,
}

enum Parcel {
    Message(u64, Vec<u8>),
    Closed,
}

/// A channel between two nodes; `up` per side.
pub struct Link {
    pub ends: [usize; 2],
    pub up: [bool; 2],
    pub delay: Span,
    hash: [u8; 64],
    /// By end 0, by end 1, by message number.
    pub sent: [[u64; 10]; 2],
    /// By end 0, by end 1, without what a connection adds.
    pub bytes: [usize; 2],
    /// To end 0, to end 1.
    queues: [VecDeque<(Time, Parcel)>; 2],
}

pub struct World {
    pub now: Time,
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    pub entropy: Seeded,
    /// Answers overtake each other, as those of upstream do: permille.
    pub scramble: u64,
    /// What was sent, by message number.
    pub sent: [u64; 10],
    /// Changes a message on its way: link, receiving end, number, bytes.
    #[allow(clippy::type_complexity)]
    pub tamper: Option<Box<dyn FnMut(usize, usize, u64, &mut Vec<u8>)>>,
}

pub fn cx<'a>(now: Time, entropy: &'a mut Seeded, disk: &'a mut RamDisk, trace: &'a mut NoTrace) -> Cx<'a> {
    Cx { now, entropy, disk, trace }
}

impl Node {
    pub fn with<T>(&mut self, now: Time, act: impl FnOnce(&mut Live, &mut Cx<'_>) -> T) -> T {
        let mut trace = NoTrace;
        act(&mut self.live, &mut cx(now, &mut self.entropy, &mut self.disk, &mut trace))
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            now: Time::ZERO,
            nodes: Vec::new(),
            links: Vec::new(),
            entropy: Seeded::new(seed),
            scramble: 0,
            sent: [0; 10],
            tamper: None,
        }
    }

    pub fn node(&mut self, open: Open) -> usize {
        let mut disk = RamDisk::new();
        let mut entropy = self.entropy.fork(&format!("node {}", self.nodes.len()));
        let mut trace = NoTrace;
        let core = Hypercore::open(&mut cx(self.now, &mut entropy, &mut disk, &mut trace), "core", open);
        let live = Live::new(core.expect("it opens"));
        self.nodes.push(Node { live, disk, entropy, events: Vec::new() });
        self.nodes.len() - 1
    }

    pub fn writer(&mut self, compat: bool) -> usize {
        let key_pair = Some(KeyPair::from_seed([7; 32]));
        self.node(Open { key_pair, compat, ..Open::default() })
    }

    /// Somebody who knows only the key of node 0, and downloads everything.
    pub fn replica(&mut self) -> usize {
        let key = Some(*self.nodes[0].live.core.key());
        let node = self.node(Open { key, ..Open::default() });
        let now = self.now;
        self.nodes[node].with(now, |live, cx| live.download_all(cx, true));
        node
    }

    pub fn append(&mut self, node: usize, blocks: &[Vec<u8>]) {
        let now = self.now;
        self.nodes[node].with(now, |live, cx| {
            let blocks: Vec<&[u8]> = blocks.iter().map(|block| &block[..]).collect();
            live.append(cx, &blocks).expect("a writer");
        });
    }

    pub fn join(&mut self, one: usize, other: usize, delay: Span) -> usize {
        let mut hash = [0; 64];
        self.entropy.fill(&mut hash);
        let queues = [VecDeque::new(), VecDeque::new()];
        self.links.push(Link {
            ends: [one, other],
            up: [false; 2],
            delay,
            hash,
            sent: [[0; 10]; 2],
            bytes: [0; 2],
            queues,
        });
        let link = self.links.len() - 1;
        self.open(link);
        link
    }

    fn open(&mut self, link: usize) {
        let (ends, hash, now) = (self.links[link].ends, self.links[link].hash, self.now);
        let hello = [0, 1].map(|side: usize| self.nodes[ends[side]].live.local_handshake(&hash, side == 0));
        self.links[link].up = [true; 2];
        self.links[link].queues.iter_mut().for_each(VecDeque::clear);
        for side in 0..2 {
            let input = Input::PeerOpened {
                peer: PeerId(link as u64),
                remote_handshake: &hello[1 - side],
                handshake_hash: &hash,
                initiator: side == 0,
            };
            self.nodes[ends[side]].with(now, |live, cx| live.handle_input(cx, input));
        }
    }

    /// Ends a link on both sides at once; what is on its way is lost.
    pub fn cut(&mut self, link: usize) {
        let now = self.now;
        for side in 0..2 {
            self.links[link].queues[side].clear();
            if std::mem::replace(&mut self.links[link].up[side], false) {
                let end = self.links[link].ends[side];
                let input = Input::PeerClosed { peer: PeerId(link as u64) };
                self.nodes[end].with(now, |live, cx| live.handle_input(cx, input));
            }
        }
    }

    fn settle(&mut self) {
        for node in 0..self.nodes.len() {
            let now = self.now;
            while let Some(output) = self.nodes[node].with(now, |live, cx| live.poll_output(cx)) {
                match output {
                    Output::Message { peer, kind, bytes } => {
                        self.sent[kind as usize] += 1;
                        let link = &mut self.links[peer.0 as usize];
                        let side = usize::from(link.ends[1] == node);
                        link.sent[side][kind as usize] += 1;
                        link.bytes[side] += bytes.len();
                        self.post(node, peer, Parcel::Message(kind, bytes));
                    }
                    Output::Close { peer, .. } => {
                        self.post(node, peer, Parcel::Closed);
                        let link = &mut self.links[peer.0 as usize];
                        let side = usize::from(link.ends[1] == node);
                        link.up[side] = false;
                    }
                    Output::Open { peer } => {
                        if self.links[peer.0 as usize].up == [false; 2] {
                            self.open(peer.0 as usize);
                        }
                    }
                }
            }
            while let Some(event) = self.nodes[node].live.poll_event() {
                self.nodes[node].events.push(event);
            }
        }
    }

    fn post(&mut self, from: usize, peer: PeerId, parcel: Parcel) {
        let now = self.now;
        let link = &mut self.links[peer.0 as usize];
        let to = usize::from(link.ends[0] == from);
        if link.up[1 - to] {
            let queue = &mut link.queues[to];
            queue.push_back((now + link.delay, parcel));
            let data = |parcel: &Parcel| matches!(parcel, Parcel::Message(kind::DATA, _));
            let mut at = queue.len() - 1;
            while at > 0 && data(&queue[at].1) && data(&queue[at - 1].1) && self.entropy.chance(self.scramble)
            {
                let times = (queue[at].0, queue[at - 1].0);
                queue.swap(at, at - 1);
                (queue[at].0, queue[at - 1].0) = times;
                at -= 1;
            }
        }
    }

    /// Delivers what is next, or lets a deadline pass. False if nothing is left before `until`.
    pub fn step(&mut self, until: Time) -> bool {
        self.settle();
        let mut next: Option<(Time, usize, usize)> = None;
        for (number, link) in self.links.iter().enumerate() {
            for side in 0..2 {
                if let Some((at, _)) = link.queues[side].front()
                    && next.is_none_or(|(best, ..)| *at < best)
                {
                    next = Some((*at, number, side));
                }
            }
        }
        let deadline = self.nodes.iter().filter_map(|node| node.live.poll_timeout()).map(|d| d.at).min();
        let at = [next.map(|(at, ..)| at), deadline].into_iter().flatten().min();
        let Some(at) = at.filter(|at| *at <= until) else { return false };
        self.now = self.now.max(at);
        let now = self.now;
        match next {
            Some((at, link, side)) if deadline.is_none_or(|deadline| at <= deadline) => {
                let (_, parcel) = self.links[link].queues[side].pop_front().expect("seen above");
                self.deliver(link, side, parcel);
            }
            _ => {
                for node in &mut self.nodes {
                    node.with(now, |live, cx| live.handle_timeout(cx));
                }
                self.settle();
                let late = self.nodes.iter().filter_map(|node| node.live.poll_timeout()).any(|d| d.at <= now);
                assert!(!late, "a deadline is left behind");
            }
        }
        true
    }

    fn deliver(&mut self, link: usize, side: usize, parcel: Parcel) {
        let (node, now) = (self.links[link].ends[side], self.now);
        let peer = PeerId(link as u64);
        if !self.links[link].up[side] {
            return;
        }
        match parcel {
            Parcel::Message(kind, mut bytes) => {
                if let Some(tamper) = &mut self.tamper {
                    tamper(link, side, kind, &mut bytes);
                }
                let input = Input::Message { peer, kind, bytes: &bytes };
                self.nodes[node].with(now, |live, cx| live.handle_input(cx, input));
            }
            Parcel::Closed => {
                self.links[link].up[side] = false;
                self.nodes[node].with(now, |live, cx| live.handle_input(cx, Input::PeerClosed { peer }));
            }
        }
    }

    /// Lets the world go on for `span`, or until nothing moves.
    pub fn run(&mut self, span: Span) {
        let until = self.now + span;
        while self.step(until) {}
        self.now = self.now.max(until);
        self.settle();
    }

    /// A node's blocks; None where one is missing.
    pub fn blocks(&mut self, node: usize) -> Vec<Option<Vec<u8>>> {
        let now = self.now;
        self.nodes[node].with(now, |live, cx| {
            (0..live.core.length())
                .map(|index| live.core.get(cx, index).expect("a disk that works"))
                .collect()
        })
    }

    /// Everybody has what node 0 has.
    pub fn assert_same(&mut self, what: &str) {
        let wanted = self.blocks(0);
        assert!(wanted.iter().all(Option::is_some));
        for node in 1..self.nodes.len() {
            let length = self.nodes[node].live.core.length();
            assert_eq!(length, wanted.len() as u64, "{what}: length of node {node}");
            assert!(self.blocks(node) == wanted, "{what}: blocks of node {node}");
            assert_eq!(self.nodes[node].live.core.contiguous_length(), length, "{what}");
        }
    }

    pub fn faults(&self, node: usize) -> usize {
        self.nodes[node].events.iter().filter(|event| matches!(event, Event::Fault { .. })).count()
    }
}
