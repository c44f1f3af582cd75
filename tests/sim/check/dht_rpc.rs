//! Planted bugs in requests.

use std::collections::VecDeque;

use seckel::base::{Addr, Span, Time};
use seckel::node::Output;
use seckel::node::inspect::node_id;
use seckel::sim::{HostId, Saboteur, World, check};
use seckel::wire::dht_rpc::{REQUEST, RequestMessage, ResponseMessage};
use seckel::wire::{self};

use super::{caught, run};
use crate::support::{lasting, network};

/// Gives the request of a host the number of its request before.
#[derive(Default)]
struct SameNumber(Option<(HostId, u16)>);

impl Saboteur for SameNumber {
    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        let Some(Output::Send { socket, to, bytes, ttl }) = output else { return output };
        let mut bytes = bytes;
        if bytes[0] == REQUEST
            && let Ok(mut message) = wire::decode::<RequestMessage>(&bytes)
        {
            match self.0 {
                Some((known, tid)) if known == host => message.tid = tid,
                _ => self.0 = Some((host, message.tid)),
            }
            bytes = wire::encode(&message);
        }
        Some(Output::Send { socket, to, bytes, ttl })
    }
}

#[test]
fn a_number_given_twice_is_caught() {
    caught("dht_rpc.ids", Box::new(SameNumber::default()));
}

/// Sends every request ten times over.
#[derive(Default)]
struct Insists(VecDeque<Output>);

impl Saboteur for Insists {
    fn output(&mut self, _: Time, _: HostId, output: Option<Output>) -> Option<Output> {
        if let Some(Output::Send { socket, to, bytes, ttl }) = &output
            && bytes[0] == REQUEST
        {
            for _ in 0..9 {
                let again = Output::Send { socket: *socket, to: *to, bytes: bytes.clone(), ttl: *ttl };
                self.0.push_back(again);
            }
        }
        output.or_else(|| self.0.pop_front())
    }
}

#[test]
fn a_request_that_is_sent_too_often_is_caught() {
    caught("dht_rpc.retries", Box::new(Insists::default()));
}

/// One of a few nodes is switched off; somebody may answer in its place.
fn haunted(ghost: bool) -> Option<&'static str> {
    let mut world = World::new(crate::support::seed(0x6057));
    world.watch(check::all());
    network(&mut world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    run(&mut world, 60, |_, _, _| {});
    let dead = world.net(HostId(3)).status().remote.expect("it can be reached");
    world.leave(HostId(3));
    world.tap = Some(Vec::new());
    for _ in 0..3000 {
        world.run(Span::from_millis(100));
        let sent = world.tap.replace(Vec::new()).unwrap_or_default();
        for (from, to, bytes) in sent.into_iter().filter(|_| ghost) {
            if to == dead {
                answer(&mut world, dead, from, &bytes);
            }
        }
    }
    world.violation().map(|violation| violation.checker)
}

fn answer(world: &mut World, dead: Addr, to: Addr, request: &[u8]) {
    if let Ok(RequestMessage { tid, .. }) = wire::decode(request) {
        let pong = ResponseMessage { tid, to, id: Some(node_id(dead)), ..ResponseMessage::default() };
        world.inject(dead, to, &wire::encode(&pong));
    }
}

#[test]
fn a_dead_node_that_stays_in_the_tables_is_caught() {
    assert_eq!(haunted(false), None);
    assert_eq!(haunted(true), Some("dht_rpc.table"));
}
