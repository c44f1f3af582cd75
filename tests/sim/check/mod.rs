//! Every checker is shown to fail: the same world passes without the bug that it looks for, and with it this checker
//! reports and no other.

mod dht_rpc;
mod laws;

use seckel::base::Span;
use seckel::node::{Event, KeyPair};
use seckel::sim::{HostId, Line, Saboteur, Step, World, check};

use crate::support::{joining, lasting, network};

/// A network in which two nodes talk for a while; every checker looks on, and `saboteur` is at work from the start.
fn talk(seed: u64, saboteur: Option<Box<dyn Saboteur>>) -> World {
    let mut world = World::new(seed);
    world.watch(check::all());
    if let Some(saboteur) = saboteur {
        world.sabotage(saboteur);
    }
    world.line = Line { jitter: Span::from_millis(10), loss_permille: 50, ..Line::default() };
    let _ = network(&mut world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    run(&mut world, 30, |_, _, _| {});
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(server, joining());
    world.start(client, joining());
    let (own, other) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
    world.net(server).listen(&own, false).expect("listening");
    run(&mut world, 30, |_, _, _| {});
    world.net(client).connect(own.public, &other, false).expect("connecting");
    let mut left = 20;
    run(&mut world, 60, |world, host, event| match event {
        Event::Connected { conn, .. } if host == client => drop(world.net(client).send(conn, b"hello")),
        Event::Data { conn, bytes } if host == server => drop(world.net(server).send(conn, &bytes)),
        Event::Data { conn, bytes } if host == client && left > 0 => {
            left -= 1;
            let _ = world.net(client).send(conn, &bytes);
        }
        Event::Data { conn, .. } if host == client => world.net(client).close(conn),
        Event::Ended { conn } if host == server => world.net(server).close(conn),
        _ => {}
    });
    world
}

/// Runs for `seconds`, or until a checker has seen something.
fn run(world: &mut World, seconds: u64, mut program: impl FnMut(&mut World, HostId, Event)) {
    let until = world.now() + Span::from_secs(seconds);
    while world.violation().is_none()
        && let Step::Event(host, event) = world.step(until)
    {
        program(world, host, event);
    }
}

/// The world passes without the bug, and with it exactly `checker` reports.
fn caught(checker: &str, saboteur: Box<dyn Saboteur>) {
    let seed = crate::support::seed(0xc4ec);
    let clean = talk(seed, None);
    assert_eq!(clean.violation().map(ToString::to_string), None, "without the bug");
    let world = talk(seed, Some(saboteur));
    let found = world.violation().unwrap_or_else(|| panic!("{checker} sees nothing\n{}", world.last_lines()));
    assert_eq!(found.checker, checker, "{found}");
}
