//! Planted bugs in channels.

use seckel::base::{Cx, Machine, NoTrace, Seeded, Time};
use seckel::node::Event;
use seckel::protomux::{Input, Open, Output, Protomux};
use seckel::sim::check::protomux::Channels;
use seckel::sim::ramdisk::RamDisk;
use seckel::sim::{HostId, Saboteur, World};

use super::{CLIENT, SERVER, caught_in, run};
use crate::support::{joining, key, lasting, network};

/// A client opens a channel for calls, calls twice, and ends the connection.
fn calls(world: &mut World) {
    network(world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(server, joining());
    world.start(client, joining());
    run(world, 30, |_, _, _| {});
    world.net(server).listen(&key(1), true).expect("listening");
    run(world, 30, |_, _, _| {});
    world.net(client).connect(key(1).public, &key(2), true).expect("connecting");
    let mut answers = 0;
    run(world, 60, |world, host, event| match event {
        Event::Connected { conn, .. } => drop(world.net(host).rpc(conn, b"calls").expect("a channel")),
        Event::RpcOpened { rpc, .. } if host == CLIENT => {
            for body in [b"one", b"two"] {
                world.net(CLIENT).call(rpc, "say", body, None).expect("room");
            }
        }
        Event::Call { call, body, .. } if host == SERVER => {
            let _ = world.net(SERVER).answer(call, &body);
        }
        Event::Answer { .. } => {
            answers += 1;
            for conn in world.net(CLIENT).conns().into_iter().filter(|_| answers == 2) {
                world.net(CLIENT).close(conn);
            }
        }
        _ => {}
    });
    assert!(answers == 2 || world.violation().is_some());
}

/// A call comes late: after its channel has closed.
#[derive(Default)]
struct Late(Option<Event>);

impl Saboteur for Late {
    fn event(&mut self, _: Time, host: HostId, event: Event) -> Vec<Event> {
        match event {
            Event::Call { call, rpc, conn, from, method, body } if host == SERVER => {
                let again = |body: &Vec<u8>| Event::Call {
                    call,
                    rpc,
                    conn,
                    from,
                    method: method.clone(),
                    body: body.clone(),
                };
                self.0 = Some(again(&body));
                vec![again(&body)]
            }
            Event::RpcClosed { .. } => [event].into_iter().chain(self.0.take()).collect(),
            event => vec![event],
        }
    }
}

#[test]
fn a_call_on_a_closed_channel_is_caught() {
    caught_in(calls, "protomux.closed", Box::new(Late::default()));
}

fn cx<T>(act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut entropy, mut disk, mut trace) = (Seeded::new(1), RamDisk::new(), NoTrace);
    act(&mut Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut trace })
}

fn messages(mux: &mut Protomux) -> Vec<Vec<u8>> {
    let outputs = std::iter::from_fn(|| cx(|cx| mux.poll_output(cx)));
    outputs
        .filter_map(|output| if let Output::Message(bytes) = output { Some(bytes) } else { None })
        .collect()
}

/// Two bare multiplexers; what the first says on its way to the second is looked at. `late`: its last two messages
/// change places on the way, so that one comes after its channel was closed.
fn bare(late: bool) -> Result<(), String> {
    let (mut one, mut other) = (Protomux::new(), Protomux::new());
    let channel = cx(|cx| one.open(cx, Open::new("test", None))).expect("opens");
    cx(|cx| other.open(cx, Open::new("test", None))).expect("opens");
    for bytes in messages(&mut other) {
        cx(|cx| one.handle_input(cx, Input::Message(&bytes)));
    }
    for n in 0..3 {
        cx(|cx| one.send(cx, channel, n, b"hello")).expect("open");
    }
    cx(|cx| one.close(cx, channel)).expect("open");
    cx(|cx| one.open(cx, Open::new("test", None))).expect("opens");
    let mut said = messages(&mut one);
    assert_eq!(said.len(), 6, "an open, three messages, a close and an open");
    if late {
        said.swap(3, 4);
    }
    let mut way = Channels::default();
    for bytes in said {
        way.sent(&bytes)?;
        cx(|cx| other.handle_input(cx, Input::Message(&bytes)));
    }
    Ok(())
}

#[test]
fn a_message_on_a_closed_channel_is_caught() {
    assert_eq!(bare(false), Ok(()));
    assert!(bare(true).is_err());
}
