//! Each machine under drawn inputs and commands. The laws draw them from seeds, the fuzzer (`tests/fuzz`) from the
//! bytes that it makes up.
//!
//! A machine takes part with a file here that implements `Subject`: how to make one, and how to poke it (a command or
//! an input, legal or not, as drawn).

pub mod blind_relay;
pub mod dht_rpc;
pub mod hypercore;
pub mod hyperdht;
pub mod hyperswarm;
pub mod node;
pub mod protomux;
pub mod protomux_rpc;
pub mod secret_stream;
pub mod udx;

use std::fmt::{Debug, Write as _};

use seckel::base::{Cx, Entropy, Machine, Seeded, Span, Time, Trace, trace};
use seckel::sim::ramdisk::RamDisk;

/// A machine under the laws.
pub trait Subject {
    type Machine: Machine;
    const NAME: &'static str;
    /// The most outputs and events that may wait at once (L6).
    const WAITING_MAX: usize = 20_000;

    fn make(cx: &mut Cx<'_>) -> Self::Machine;
    /// Gives the machine one drawn input or command.
    fn poke(machine: &mut Self::Machine, cx: &mut Cx<'_>, draw: &mut dyn Entropy);
    /// Text that tells an output apart from others.
    fn show_output(output: &<Self::Machine as Machine>::Output) -> String;
    /// Text that tells an event apart from others.
    fn show_event(event: &<Self::Machine as Machine>::Event) -> String;
}

/// `show_*` for what has `Debug`.
pub fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// A machine and its world.
pub struct Bench<S: Subject> {
    machine: S::Machine,
    now: Time,
    entropy: Seeded,
    disk: RamDisk,
    said: Said,
}

/// What a machine said, its transcript included, if somebody wants to know (L7).
struct Said(Option<String>);

impl Trace for Said {
    fn on(&self) -> bool {
        self.0.is_some()
    }
    fn line(&mut self, now: Time, line: &trace::Line<'_>) {
        let Some(said) = &mut self.0 else { return };
        let (layer, rule) = (line.layer, line.rule);
        let _ =
            writeln!(said, "{now} {:?} {layer} {} {} {rule} {}", line.kind, line.id, line.peer, line.what);
    }
}

impl<S: Subject> Bench<S> {
    pub fn new(seed: u64, telling: bool) -> Bench<S> {
        let mut entropy = Seeded::new(seed).fork("entropy");
        let mut disk = RamDisk::new();
        let now = Time::from_micros(1_000_000);
        let mut said = Said(telling.then(String::new));
        let mut cx = Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut said };
        let machine = S::make(&mut cx);
        let mut bench = Bench { machine, now, entropy, disk, said };
        bench.drain();
        bench
    }

    fn with(&mut self, act: impl FnOnce(&mut S::Machine, &mut Cx<'_>)) {
        let mut cx =
            Cx { now: self.now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut self.said };
        act(&mut self.machine, &mut cx);
    }

    /// L3: at one time both polls reach `None`.
    fn drain(&mut self) {
        for count in 0.. {
            assert!(count < S::WAITING_MAX, "L3, L6: more than {count} outputs and events at one time");
            let mut cx =
                Cx { now: self.now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut self.said };
            let output = self.machine.poll_output(&mut cx);
            let event = self.machine.poll_event();
            if output.is_none() && event.is_none() {
                return;
            }
            let Some(said) = &mut self.said.0 else { continue };
            if let Some(output) = &output {
                let _ = writeln!(said, "{} > {}", self.now, S::show_output(output));
            }
            if let Some(event) = &event {
                let _ = writeln!(said, "{} ! {}", self.now, S::show_event(event));
            }
        }
    }

    /// L4: a time-out that was due does not stay due.
    fn run_due(&mut self) {
        for round in 0.. {
            let due = self.machine.poll_timeout().filter(|deadline| deadline.at <= self.now);
            let Some(due) = due else { return };
            assert!(round < 2, "L4: \"{}\" stays due at {}", due.why, self.now);
            self.with(|machine, cx| machine.handle_timeout(cx));
            self.drain();
        }
    }

    /// One poke, then a drain and a step in time; if `lazy`, those only now and then.
    pub fn turn(&mut self, draw: &mut dyn Entropy, lazy: bool) {
        self.with(|machine, cx| S::poke(machine, cx, draw));
        if lazy && !draw.chance(50) {
            return;
        }
        self.drain();
        let step = match draw.below(10) {
            0..=5 => Span::ZERO,
            6 | 7 => Span::from_micros(draw.below(20_000)),
            8 => Span::from_millis(draw.below(2_000)),
            _ => match self.machine.poll_timeout() {
                Some(deadline) => deadline.at.since(self.now),
                None => Span::from_secs(draw.below(30)),
            },
        };
        self.now += step;
        self.run_due();
    }

    /// The end of a life: early time-outs are harmless. What the machine said.
    pub fn finish(mut self) -> Option<String> {
        self.drain();
        self.with(|machine, cx| machine.handle_timeout(cx));
        self.drain();
        self.run_due();
        self.said.0
    }
}

/// Bytes of a drawn length up to `max`.
pub fn bytes(draw: &mut dyn Entropy, max: u64) -> Vec<u8> {
    let mut bytes = vec![0; draw.below(max + 1) as usize];
    draw.fill(&mut bytes);
    bytes
}

/// As many bytes of one kind as drawn, up to `max`: what they are does not matter.
pub fn bulk(draw: &mut dyn Entropy, max: u64) -> Vec<u8> {
    let len = draw.below(max + 1) as usize;
    vec![draw.below(256) as u8; len]
}

/// Legal bytes with up to three drawn changes: a flipped bit, a cut, a byte added.
pub fn mangled(draw: &mut dyn Entropy, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..draw.below(4) {
        match draw.below(4) {
            0 if !bytes.is_empty() => {
                let bit = draw.below(bytes.len() as u64 * 8);
                bytes[bit as usize / 8] ^= 1 << (bit % 8);
            }
            1 => bytes.truncate(draw.below(bytes.len() as u64 + 1) as usize),
            2 => bytes.push(draw.below(256) as u8),
            _ => {}
        }
    }
    bytes
}
