//! The laws of machines (`src/lib.rs`), checked for each machine by giving it drawn inputs in drawn orders.
//!
//! A machine takes part with a file here that implements `Subject`: how to make one, and how to poke it (a command or
//! an input, legal or not, drawn from a seed).

mod dht_rpc;
mod hypercore;
mod hyperdht;
mod hyperswarm;
mod node;
mod protomux;
mod protomux_rpc;
mod secret_stream;
mod udx;

use std::fmt::{Debug, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use seckel::base::{Cx, Entropy, Machine, NoTrace, Seeded, Span, Time};
use seckel::sim::ramdisk::RamDisk;

/// A machine under the laws.
pub trait Subject {
    type Machine: Machine;
    const NAME: &'static str;
    /// The most outputs and events that may wait at once (L6).
    const WAITING_MAX: usize = 20_000;

    fn make(cx: &mut Cx<'_>) -> Self::Machine;
    /// Gives the machine one drawn input or command.
    fn poke(machine: &mut Self::Machine, cx: &mut Cx<'_>, draw: &mut Seeded);
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
struct Bench<S: Subject> {
    machine: S::Machine,
    now: Time,
    entropy: Seeded,
    disk: RamDisk,
    said: String,
}

impl<S: Subject> Bench<S> {
    fn new(seed: u64) -> Bench<S> {
        let mut entropy = Seeded::new(seed).fork("entropy");
        let mut disk = RamDisk::new();
        let now = Time::from_micros(1_000_000);
        let mut cx = Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let machine = S::make(&mut cx);
        Bench { machine, now, entropy, disk, said: String::new() }
    }

    fn with(&mut self, act: impl FnOnce(&mut S::Machine, &mut Cx<'_>)) {
        let mut cx =
            Cx { now: self.now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut NoTrace };
        act(&mut self.machine, &mut cx);
    }

    /// L3: at one time both polls reach `None`.
    fn drain(&mut self) {
        for count in 0.. {
            assert!(count < S::WAITING_MAX, "L3, L6: more than {count} outputs and events at one time");
            let mut cx =
                Cx { now: self.now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut NoTrace };
            let output = self.machine.poll_output(&mut cx);
            let event = self.machine.poll_event();
            if let Some(output) = &output {
                let _ = writeln!(self.said, "{} > {}", self.now, S::show_output(output));
            }
            if let Some(event) = &event {
                let _ = writeln!(self.said, "{} ! {}", self.now, S::show_event(event));
            }
            if output.is_none() && event.is_none() {
                return;
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
}

/// One life of a machine under drawn pokes; what it said. `lazy`: drained only now and then.
fn live<S: Subject>(seed: u64, pokes: u32, lazy: bool) -> String {
    let mut bench: Bench<S> = Bench::new(seed);
    let mut draw = Seeded::new(seed).fork("pokes");
    let mut pace = Seeded::new(seed).fork("pace");
    bench.drain();
    for _ in 0..pokes {
        bench.with(|machine, cx| S::poke(machine, cx, &mut draw));
        if lazy && !pace.chance(50) {
            continue;
        }
        bench.drain();
        let step = match pace.below(10) {
            0..=5 => Span::ZERO,
            6 | 7 => Span::from_micros(pace.below(20_000)),
            8 => Span::from_millis(pace.below(2_000)),
            _ => match bench.machine.poll_timeout() {
                Some(deadline) => deadline.at.since(bench.now),
                None => Span::from_secs(pace.below(30)),
            },
        };
        bench.now += step;
        bench.run_due();
    }
    // Early is harmless.
    bench.drain();
    bench.with(|machine, cx| machine.handle_timeout(cx));
    bench.drain();
    bench.run_due();
    bench.said
}

/// Checks L2 to L8 for a machine over drawn seeds.
pub fn obeys_the_laws<S: Subject>(seeds: u64, pokes: u32) {
    for seed in 0..seeds {
        for lazy in [false, true] {
            let lived = catch_unwind(AssertUnwindSafe(|| live::<S>(seed, pokes, lazy)));
            let said = match lived {
                Ok(said) => said,
                Err(panic) => {
                    eprintln!("{} breaks a law with seed {seed}, lazy {lazy}", S::NAME);
                    std::panic::resume_unwind(panic);
                }
            };
            let again = live::<S>(seed, pokes, lazy);
            assert!(said == again, "L7: {} with seed {seed} says something else the second time", S::NAME);
        }
    }
}

/// Bytes of a drawn length up to `max`.
pub fn bytes(draw: &mut Seeded, max: u64) -> Vec<u8> {
    let mut bytes = vec![0; draw.below(max + 1) as usize];
    draw.fill(&mut bytes);
    bytes
}

/// Legal bytes with up to three drawn changes: a flipped bit, a cut, a byte added.
pub fn mangled(draw: &mut Seeded, mut bytes: Vec<u8>) -> Vec<u8> {
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
