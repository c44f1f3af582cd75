//! What the fuzzer (`fuzz/`) runs on the bytes that it makes up. `cargo test` runs the same on the bytes that it kept.
//!
//! A target reads its input as draws (`Drawn`): what to do next, with what. So every input is a legal story, and a
//! story grows from another by small changes to its bytes. A target panics where a law or a property does not hold.

// Each of those who include this uses a part of it.
#![allow(dead_code)]

mod auction;
mod decode;
mod explain;
mod hyperbee;
mod peer;
mod recovery;
mod text;
mod udx_pair;

#[path = "../../laws/machines/mod.rs"]
mod machines;

use machines::{Bench, Subject};
use seckel::base::{Entropy, Seeded};

pub use decode::{check, sum};
pub use explain::of_datagram;
pub use hyperbee::of_blocks;
pub use recovery::of_files;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Runs on an input. If `telling`, returns what a second run must say too (L7); else nothing.
    pub run: fn(&[u8], bool) -> String,
    /// An input to begin with, from a seed. None: they come from the vectors alone.
    pub invent: Option<fn(u64) -> Vec<u8>>,
}

pub const TARGETS: &[Target] = &[
    Target { name: "decode", run: decode::run, invent: None },
    Target { name: "text", run: text::run, invent: None },
    of_machine::<machines::udx::Laws>("udx"),
    Target { name: "udx_pair", run: udx_pair::run, invent: Some(|seed| recorded(seed, 300, udx_pair::live)) },
    of_machine::<machines::dht_rpc::Node>("dht_rpc"),
    of_machine::<machines::hyperdht::Subjected>("hyperdht"),
    of_machine::<machines::hyperswarm::Swarm>("hyperswarm"),
    of_machine::<machines::secret_stream::Stream>("secret_stream"),
    of_machine::<machines::protomux::Mux>("protomux"),
    of_machine::<machines::blind_relay::Serving>("blind_relay"),
    of_machine::<machines::protomux_rpc::Calls>("protomux_rpc"),
    of_machine::<machines::hypercore::Core>("replication"),
    of_machine::<machines::node::Whole>("node"),
    Target { name: "peer", run: peer::run, invent: Some(|seed| recorded(seed, 60, peer::live)) },
    Target { name: "recovery", run: recovery::run, invent: Some(|seed| recorded(seed, 40, recovery::live)) },
    Target { name: "explain", run: explain::run, invent: Some(|seed| recorded(seed, 60, explain::live)) },
    Target { name: "hyperbee", run: hyperbee::run, invent: Some(|seed| recorded(seed, 60, hyperbee::live)) },
    Target { name: "auction", run: auction::run, invent: Some(|seed| recorded(seed, 60, auction::live)) },
];

/// Runs the target of that name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(input, false);
}

const fn of_machine<S: Subject>(name: &'static str) -> Target {
    Target {
        name,
        run: |input, telling| live::<S>(&mut Drawn::new(input), telling),
        invent: Some(|seed| recorded(seed, 60, |draw| drop(live::<S>(draw, false)))),
    }
}

/// One life of a machine, as long as there are draws.
fn live<S: Subject>(draw: &mut dyn Draw, telling: bool) -> String {
    let start = draw.below(256);
    let mut bench: Bench<S> = Bench::new(start, telling);
    while draw.more() {
        bench.turn(draw, start & 1 == 1);
    }
    bench.finish().unwrap_or_default()
}

/// A source of draws that may come to its end.
pub trait Draw: Entropy {
    /// False: all that it gives from now on is zero.
    fn more(&mut self) -> bool;

    fn drawn_bytes(&mut self, max: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.below(max + 1) as usize];
        self.fill(&mut bytes);
        bytes
    }
}

/// Draws made of an input's bytes, each of as few as it needs. Behind the end all are zero.
pub struct Drawn<'a>(&'a [u8]);

impl<'a> Drawn<'a> {
    pub fn new(input: &'a [u8]) -> Drawn<'a> {
        Drawn(input)
    }

    /// What was not drawn yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn number(&mut self, width: usize) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes[..width]);
        u64::from_le_bytes(bytes)
    }
}

impl Draw for Drawn<'_> {
    fn more(&mut self) -> bool {
        !self.0.is_empty()
    }
}

impl Entropy for Drawn<'_> {
    fn fill(&mut self, into: &mut [u8]) {
        let len = into.len().min(self.0.len());
        let (head, rest) = self.0.split_at(len);
        into[..len].copy_from_slice(head);
        into[len..].fill(0);
        self.0 = rest;
    }
    fn u64(&mut self) -> u64 {
        self.number(8)
    }
    fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }
    fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 | 1 => 0,
            _ => self.number(width(bound)) % bound,
        }
    }
    fn chance(&mut self, permille: u64) -> bool {
        yes(self.number(1), permille)
    }
}

/// Zero is no for all but the likeliest, 255 is yes for all but the impossible.
fn yes(byte: u64, permille: u64) -> bool {
    (byte + 1) * 1000 / 256 > 1000 - permille.min(1000)
}

/// Bytes that hold every number below `bound`.
fn width(bound: u64) -> usize {
    (64 - (bound - 1).leading_zeros()).div_ceil(8) as usize
}

/// Seeded draws that are written down, so that `Drawn` gives them again.
pub struct Recorded {
    draws: Seeded,
    bytes: Vec<u8>,
    /// How often `more` is still true.
    turns: u32,
}

impl Recorded {
    pub fn new(seed: u64, turns: u32) -> Recorded {
        Recorded { draws: Seeded::new(seed).fork("recorded"), bytes: Vec::new(), turns }
    }

    fn note(&mut self, value: u64, width: usize) {
        self.bytes.extend_from_slice(&value.to_le_bytes()[..width]);
    }

    /// Writes down a draw that was not made.
    pub fn say(&mut self, bound: u64, value: u64) -> &mut Recorded {
        assert!(value < bound);
        if bound > 1 {
            self.note(value, width(bound));
        }
        self
    }

    /// Writes down bytes as `drawn_bytes` reads them.
    pub fn say_bytes(&mut self, max: u64, bytes: &[u8]) -> &mut Recorded {
        self.say(max + 1, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// What a target that is given seeded draws has drawn.
fn recorded(seed: u64, turns: u32, live: impl FnOnce(&mut dyn Draw)) -> Vec<u8> {
    let mut recorded = Recorded::new(seed, turns);
    live(&mut recorded);
    recorded.finish()
}

impl Draw for Recorded {
    fn more(&mut self) -> bool {
        self.turns = self.turns.saturating_sub(1);
        self.turns > 0
    }
}

impl Entropy for Recorded {
    fn fill(&mut self, into: &mut [u8]) {
        self.draws.fill(into);
        self.bytes.extend_from_slice(into);
    }
    fn u64(&mut self) -> u64 {
        let value = self.draws.u64();
        self.note(value, 8);
        value
    }
    fn u32(&mut self) -> u32 {
        let value = self.draws.u32();
        self.note(value.into(), 4);
        value
    }
    fn below(&mut self, bound: u64) -> u64 {
        let value = self.draws.below(bound);
        self.say(bound.max(1), value);
        value
    }
    fn chance(&mut self, permille: u64) -> bool {
        let byte = if self.draws.chance(permille) { 255 } else { 0 };
        self.note(byte, 1);
        yes(byte, permille)
    }
}
