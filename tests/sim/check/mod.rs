//! Every checker is shown to fail: the same world passes without the bug that it looks for, and with it this checker
//! reports and no other.

mod cores;
mod dht_rpc;
mod hyperdht;
mod laws;
mod liveness;
mod protomux;
mod secret_stream;
mod udx;

use seckel::base::{SocketId, Span};
use seckel::node::{ConnId, Event, KeyPair, Output};
use seckel::sim::check::Note;
use seckel::sim::{HostId, Line, Saboteur, Step, World, check};

use crate::support::{joining, lasting, network};

/// A network in which two nodes talk for a while and end; then they talk again, and the server is switched off. Every
/// checker looks on, and `saboteur` is at work from the start.
fn talk(seed: u64, saboteur: Option<Box<dyn Saboteur>>) -> World {
    let mut world = World::new(seed);
    world.watch(check::all());
    if let Some(saboteur) = saboteur {
        world.sabotage(saboteur);
    }
    story(&mut world);
    world
}

/// See `talk`; says how many bytes came back in each conversation.
fn story(world: &mut World) -> Vec<u32> {
    world.line = Line { jitter: Span::from_millis(10), loss_permille: 50, ..Line::default() };
    let _ = network(world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    run(world, 30, |_, _, _| {});
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    assert_eq!((server, client), (SERVER, CLIENT));
    world.start(server, joining());
    world.start(client, joining());
    let (own, other) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
    world.net(server).listen(&own, false).expect("listening");
    run(world, 30, |_, _, _| {});
    let mut talked = Vec::new();
    for over in [true, false] {
        if world.violation().is_none() {
            world.net(client).connect(own.public, &other, false).expect("connecting");
            talked.push(converse(world, over));
        }
    }
    if world.violation().is_none() {
        world.leave(server);
        run(world, 180, |_, _, _| {});
    }
    talked
}

const SERVER: HostId = HostId(5);
const CLIENT: HostId = HostId(6);

/// What is sent goes out twenty times and comes back; `over`: then both sides end.
fn converse(world: &mut World, over: bool) -> u32 {
    let (mut left, mut heard) = (20, 0);
    run(world, 30, |world, host, event| match event {
        Event::Connected { conn, .. } if host == CLIENT => send(world, CLIENT, conn, &[1; 5000]),
        Event::Data { conn, bytes } if host == SERVER => send(world, SERVER, conn, &bytes),
        Event::Data { conn, bytes } if host == CLIENT && left > 0 => {
            left -= 1;
            heard += bytes.len() as u32;
            send(world, CLIENT, conn, &bytes.iter().map(|byte| byte + 1).collect::<Vec<u8>>());
        }
        Event::Data { conn, .. } if host == CLIENT && over => world.net(CLIENT).close(conn),
        Event::Ended { conn } if host == SERVER => world.net(SERVER).close(conn),
        _ => {}
    });
    heard
}

fn send(world: &mut World, host: HostId, conn: ConnId, bytes: &[u8]) {
    world.note(host, &Note::Sent { conn, bytes });
    world.net(host).send(conn, bytes).expect("room");
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

/// In the story of `talk`, see `caught_in`.
fn caught(checker: &str, saboteur: Box<dyn Saboteur>) {
    caught_in(|world| drop(story(world)), checker, saboteur);
}

/// The world of a story passes without the bug, and with it exactly `checker` reports.
fn caught_in(story: fn(&mut World), checker: &str, saboteur: Box<dyn Saboteur>) {
    let found = |saboteur: Option<Box<dyn Saboteur>>| {
        let mut world = World::new(crate::support::seed(0xc4ec));
        world.watch(check::all());
        if let Some(saboteur) = saboteur {
            world.sabotage(saboteur);
        }
        story(&mut world);
        (world.violation().cloned(), world.last_lines())
    };
    let (clean, lines) = found(None);
    assert!(clean.is_none(), "without the bug: {}\n{lines}", clean.expect("there is one"));
    match found(Some(saboteur)) {
        (Some(found), _) => assert_eq!(found.checker, checker, "{found}"),
        (None, lines) => panic!("{checker} sees nothing\n{lines}"),
    }
}

/// What a saboteur puts in place of an output that it swallows.
fn nothing() -> Output {
    Output::Close { socket: SocketId(u32::MAX) }
}
