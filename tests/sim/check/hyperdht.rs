//! Planted bugs in how connections come about.

use seckel::base::{SocketId, Span, Time};
use seckel::node::Output;
use seckel::sim::check::Note;
use seckel::sim::{HostId, Kind, Line, NatOptions, Saboteur, World};

use super::{caught_in, nothing, run};
use crate::support::{key, lasting, network};

const SERVER: HostId = HostId(8);
const CLIENT: HostId = HostId(9);

/// A client and a server behind boxes meet, talk, and part.
fn through_boxes(world: &mut World) {
    network(world, 0);
    for n in 0..7 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    run(world, 30, |_, _, _| {});
    for (side, host) in [(1, SERVER), (2, CLIENT)] {
        let home = world.add_box(Kind::Restricted, [30, 0, 100 + side, 1], NatOptions::default());
        world.set_uplink(home, Line { delay: Span::from_millis(5), ..Line::CLEAR });
        assert_eq!(world.add_behind(home, [192, 168, 1, 10]), host);
        world.start(host, crate::support::joining());
    }
    let own = key(1);
    world.net(SERVER).listen(&own, false).expect("listening");
    world.note(SERVER, &Note::Listens { key: own.public });
    run(world, 30, |_, _, _| {});
    let conn = world.net(CLIENT).connect(own.public, &key(2), false).expect("connecting");
    world.note(CLIENT, &Note::Dials { conn, key: own.public });
    run(world, 30, |_, _, _| {});
    if world.violation().is_none() {
        world.net(CLIENT).destroy(conn);
    }
    run(world, 60, |_, _, _| {});
}

/// The client's probes do not leave.
struct NoProbes;

impl Saboteur for NoProbes {
    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        match output {
            Some(Output::Send { bytes, .. }) if host == CLIENT && bytes.len() == 1 => Some(nothing()),
            output => output,
        }
    }
}

#[test]
fn a_pair_that_does_not_meet_is_caught() {
    caught_in(through_boxes, "hyperdht.outcomes", Box::new(NoProbes));
}

/// Sockets of the pool are not closed.
struct KeepsOpen;

impl Saboteur for KeepsOpen {
    fn output(&mut self, _: Time, _: HostId, output: Option<Output>) -> Option<Output> {
        match output {
            Some(Output::Close { socket }) if socket >= SocketId::FIRST_POOLED => Some(nothing()),
            output => output,
        }
    }
}

#[test]
fn a_socket_that_stays_open_is_caught() {
    caught_in(through_boxes, "hyperdht.sockets", Box::new(KeepsOpen));
}
