//! What the stories share: a private network, and waiting for something to happen in it.

use seckel::base::{Addr, Span};
use seckel::node::{Config, DhtConfig, Event};
use seckel::sim::{HostId, Step, World};

pub const BOOTSTRAP: Addr = Addr::new([30, 0, 0, 1], 49737);

/// The seed of a test: `SECKEL_SEED` if it is set, else the one given.
pub fn seed(otherwise: u64) -> u64 {
    let Ok(text) = std::env::var("SECKEL_SEED") else { return otherwise };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.expect("SECKEL_SEED is a number")
}

/// A config for the first node of the network.
pub fn first() -> Config {
    let dht = DhtConfig::bootstrapper(BOOTSTRAP).expect("a host and a port");
    Config { dht, epoch_millis: Some(1_700_000_000_000) }
}

/// A config for a node that joins it.
pub fn joining() -> Config {
    let dht = DhtConfig { bootstrap: vec![BOOTSTRAP], ..DhtConfig::default() };
    Config { dht, epoch_millis: Some(1_700_000_000_000) }
}

/// A config for a lasting node that joins it.
pub fn lasting() -> Config {
    let mut config = joining();
    config.dht.ephemeral = Some(false);
    config
}

/// Starts the first node and `more` lasting ones, and waits until all have joined.
pub fn network(world: &mut World, more: u8) -> Vec<HostId> {
    let mut hosts = vec![world.add(BOOTSTRAP.ip)];
    world.start(hosts[0], first());
    for n in 0..more {
        let host = world.add([30, 0, 1, n + 1]);
        world.start(host, lasting());
        wait(world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
        hosts.push(host);
    }
    hosts
}

/// Runs until `done` says so about an event; panics after `seconds` of the world's time, with the last lines.
pub fn wait(
    world: &mut World,
    seconds: u64,
    mut done: impl FnMut(&mut World, HostId, &Event) -> bool,
) -> (HostId, Event) {
    let until = world.now() + Span::from_secs(seconds);
    loop {
        match world.step(until) {
            Step::Event(host, event) => {
                if done(world, host, &event) {
                    return (host, event);
                }
            }
            Step::Crashed(_) => {}
            Step::TimedOut => panic!("it did not happen within {seconds} s:\n{}", world.last_lines()),
        }
    }
}
