//! Planted bugs in channels.

use seckel::base::Time;
use seckel::node::Event;
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
