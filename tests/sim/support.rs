//! What the stories share: a private network, and waiting for something to happen in it.

use seckel::base::{Addr, Key, Span};
use seckel::node::{Closed, Config, ConnId, ConnectError, DhtConfig, Event, KeyPair, Path};
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
    Config { dht, epoch_millis: Some(1_700_000_000_000), ..Config::default() }
}

/// A config for a node that joins it.
pub fn joining() -> Config {
    let dht = DhtConfig { bootstrap: vec![BOOTSTRAP], ..DhtConfig::default() };
    Config { dht, epoch_millis: Some(1_700_000_000_000), ..Config::default() }
}

/// A config for a lasting node that joins it.
pub fn lasting() -> Config {
    let mut config = joining();
    config.dht.ephemeral = Some(false);
    config
}

/// Starts the first node and `more` lasting ones, and waits until all have joined. All checkers look on, unless others
/// do already.
pub fn network(world: &mut World, more: u8) -> Vec<HostId> {
    let mut hosts = vec![world.add(BOOTSTRAP.ip)];
    if !world.is_watched() {
        world.watch(seckel::sim::check::all());
    }
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
            Step::TimedOut if world.violation().is_some() => {
                panic!("{}\n{}", world.violation().expect("there is one"), world.last_lines())
            }
            Step::TimedOut => panic!("it did not happen within {seconds} s:\n{}", world.last_lines()),
        }
    }
}

/// Starts a node on a host and waits until it has joined.
pub fn join(world: &mut World, host: HostId) {
    world.start(host, joining());
    wait(world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
}

pub fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

/// Makes the node of a host listen under a key of its own, and waits until it can be found.
pub fn listen(world: &mut World, host: HostId, key: &KeyPair) {
    world.net(host).listen(key, false).expect("listening");
    wait(world, 60, |_, from, event| from == host && matches!(event, Event::Listening { .. }));
}

/// What came of an attempt: how the client is connected, or why not.
pub type Outcome = Result<Path, ConnectError>;

/// Connects under a key of its own, and waits for what comes of it.
pub fn connect(world: &mut World, client: HostId, to: Key) -> (ConnId, Outcome) {
    let conn = world.net(client).connect(to, &key(99), false).expect("connecting");
    let (_, event) = wait(world, 90, |_, host, event| {
        host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
    });
    match event {
        Event::Connected { path, .. } => (conn, Ok(path)),
        Event::ConnectFailed { why, .. } => (conn, Err(why)),
        _ => unreachable!("waited for these"),
    }
}

/// A message goes there and back.
pub fn echo(world: &mut World, client: HostId, conn: ConnId, server: HostId) {
    world.net(client).send(conn, b"hello").expect("open");
    wait(world, 20, |world, host, event| match event {
        Event::Data { conn, bytes } if host == server => {
            world.net(server).send(*conn, bytes).expect("open");
            false
        }
        Event::Data { bytes, .. } if host == client => bytes == b"hello",
        _ => false,
    });
}

/// Connects, lets a message go there and back, and closes again.
pub fn call(world: &mut World, client: HostId, server: HostId, to: Key) -> Outcome {
    let (conn, outcome) = connect(world, client, to);
    if outcome.is_ok() {
        echo(world, client, conn, server);
        world.net(client).destroy(conn);
    }
    outcome
}

/// How long the client's connection lives from now on, at most `seconds`.
pub fn lives(world: &mut World, client: HostId, conn: ConnId, seconds: u64) -> Option<(Span, Closed)> {
    let (begin, until) = (world.now(), world.now() + Span::from_secs(seconds));
    loop {
        match world.step(until) {
            Step::Event(host, Event::Closed { conn: closed, why }) if host == client && closed == conn => {
                return Some((world.now().since(begin), why));
            }
            Step::Event(..) | Step::Crashed(_) => {}
            Step::TimedOut => {
                assert!(world.violation().is_none(), "{}", world.violation().expect("there is one"));
                return None;
            }
        }
    }
}
