//! Planted stalls.

use seckel::base::{Addr, Deadline, Span, Time};
use seckel::node::{Event, Output};
use seckel::sim::check::Note;
use seckel::sim::{HostId, Saboteur, World};
use seckel::wire::udx::{Header, MAGIC};
use seckel::wire::{self};

use super::{CLIENT, caught_in, converse, run};
use crate::support::{joining, key, lasting, network};

/// The story of `talk` once, and all that was begun is ended.
fn once(world: &mut World) {
    network(world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(server, joining());
    world.start(client, joining());
    run(world, 30, |_, _, _| {});
    let listening = world.net(server).listen(&key(1), false).expect("listening");
    run(world, 30, |_, _, _| {});
    world.net(client).connect(key(1).public, &key(2), false).expect("connecting");
    converse(world, true);
    if world.violation().is_some() {
        return;
    }
    world.net(server).unlisten(listening);
    run(world, 3, |_, _, _| {});
    for host in [server, client] {
        world.note(host, &Note::AtRest);
    }
}

/// Once the client has ended its side of a stream, nothing of streams reaches it.
#[derive(Default)]
struct NoEnd(bool);

impl Saboteur for NoEnd {
    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        if let Some(Output::Send { bytes, .. }) = &output
            && bytes.first() == Some(&MAGIC)
            && let Ok((header, _)) = wire::decode_head::<Header>(bytes)
        {
            self.0 |= host == CLIENT && header.kind.end;
        }
        output
    }

    fn arrival(&mut self, _: Time, host: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        let lost = self.0 && host == CLIENT && bytes.first() == Some(&MAGIC);
        (!lost).then(|| bytes.to_vec())
    }
}

#[test]
fn a_stream_that_is_left_over_is_caught() {
    caught_in(once, "liveness.left_over", Box::new(NoEnd::default()));
}

/// The client calls a key that nobody has, and asks for an outcome.
fn calls_nobody(world: &mut World) {
    network(world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    let (_, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(client, joining());
    run(world, 30, |_, _, _| {});
    world.note(client, &Note::Faulty);
    let conn = world.net(client).connect(key(1).public, &key(2), false).expect("connecting");
    let within = Span::from_secs(100);
    world.note(client, &Note::Asked { id: u64::from(conn.slot()), what: "a connection", within });
    world.note(client, &Note::Healed);
    run(world, 200, |world, host, event| {
        if let Event::ConnectFailed { conn, .. } = event {
            world.note(host, &Note::Done { id: u64::from(conn.slot()) });
        }
    });
}

/// The client's timers are lost.
struct Timeless;

impl Saboteur for Timeless {
    fn deadline(&mut self, now: Time, host: HostId, deadline: Option<Deadline>) -> Option<Deadline> {
        deadline.filter(|_| host != CLIENT || now.as_millis() < 30_000)
    }

    fn arrival(&mut self, now: Time, host: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        (host != CLIENT || now.as_millis() < 30_000).then(|| bytes.to_vec())
    }
}

#[test]
fn an_attempt_without_an_end_is_caught() {
    caught_in(calls_nobody, "liveness.attempts", Box::new(Timeless));
}

/// The client looks for the nodes closest to a key.
fn looks_up(world: &mut World) {
    network(world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    let (_, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(client, joining());
    run(world, 30, |_, _, _| {});
    world.net(client).find_nodes([7; 32]);
    run(world, 300, |_, _, _| {});
}

#[test]
fn a_look_up_without_an_end_is_caught() {
    caught_in(looks_up, "liveness.attempts", Box::new(Timeless));
}

/// The program is not told what came of it.
struct Silent;

impl Saboteur for Silent {
    fn event(&mut self, _: Time, _: HostId, event: Event) -> Vec<Event> {
        if matches!(event, Event::ConnectFailed { .. }) { Vec::new() } else { vec![event] }
    }
}

#[test]
fn a_request_without_an_outcome_is_caught() {
    caught_in(calls_nobody, "liveness.outcome", Box::new(Silent));
}

/// A call that its program never answers is gone with its channel.
#[test]
fn a_call_without_an_answer_is_not_left_over() {
    let mut world = World::new(crate::support::seed(0xca11));
    network(&mut world, 2);
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    crate::support::join(&mut world, server);
    crate::support::join(&mut world, client);
    world.net(server).listen(&key(1), true).expect("listening");
    run(&mut world, 30, |_, _, _| {});
    world.net(client).connect(key(1).public, &key(2), true).expect("connecting");
    let mut called = false;
    run(&mut world, 30, |world, host, event| match event {
        Event::Connected { conn, .. } => drop(world.net(host).rpc(conn, b"calls").expect("a channel")),
        Event::RpcOpened { rpc, .. } if host == client => {
            world.net(client).call(rpc, "say", b"it", None).expect("room");
        }
        Event::Call { .. } => {
            called = true;
            for conn in world.net(client).conns() {
                world.net(client).destroy(conn);
            }
        }
        _ => {}
    });
    assert!(called);
    for host in [server, client] {
        world.note(host, &Note::AtRest);
    }
    assert_eq!(world.violation(), None);
}
