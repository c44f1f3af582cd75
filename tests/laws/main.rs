//! The laws of machines (`src/lib.rs`), checked for each machine by giving it drawn inputs in drawn orders.
//!
//! A machine takes part with a file in `machines/` and a test here.

mod machines;

use std::panic::{AssertUnwindSafe, catch_unwind};

use machines::{Bench, Subject};
use seckel::base::Seeded;

/// One life of a machine under drawn pokes; what it said. `lazy`: drained only now and then.
fn live<S: Subject>(seed: u64, pokes: u32, lazy: bool) -> String {
    let mut bench: Bench<S> = Bench::new(seed, true);
    let mut draw = Seeded::new(seed).fork("pokes");
    for _ in 0..pokes {
        bench.turn(&mut draw, lazy);
    }
    bench.finish().expect("a bench that tells")
}

/// Checks L2 to L8 for a machine over drawn seeds.
fn obeys_the_laws<S: Subject>(seeds: u64, pokes: u32) {
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

#[test]
fn blind_relay() {
    obeys_the_laws::<machines::blind_relay::Asking>(40, 500);
    obeys_the_laws::<machines::blind_relay::Serving>(60, 1_000);
}

#[test]
fn dht_rpc() {
    obeys_the_laws::<machines::dht_rpc::Node>(6, 1_500);
}

#[test]
fn hypercore() {
    obeys_the_laws::<machines::hypercore::Core>(20, 300);
}

#[test]
fn hyperdht() {
    obeys_the_laws::<machines::hyperdht::Subjected>(25, 400);
}

#[test]
fn hyperswarm() {
    obeys_the_laws::<machines::hyperswarm::Swarm>(60, 1_000);
}

#[test]
fn node() {
    obeys_the_laws::<machines::node::Whole>(10, 300);
}

#[test]
fn protomux() {
    obeys_the_laws::<machines::protomux::Mux>(60, 1_000);
}

#[test]
fn protomux_rpc() {
    obeys_the_laws::<machines::protomux_rpc::Calls>(60, 1_000);
}

#[test]
fn secret_stream() {
    obeys_the_laws::<machines::secret_stream::Stream>(40, 200);
}

#[test]
fn udx() {
    obeys_the_laws::<machines::udx::Laws>(150, 300);
}
