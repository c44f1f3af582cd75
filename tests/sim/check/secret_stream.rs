//! Planted bugs under encrypted connections.

use std::collections::VecDeque;

use seckel::base::{Addr, Time};
use seckel::node::{Event, Output};
use seckel::sim::{HostId, Line, Saboteur, World};

use super::{CLIENT, SERVER, caught_in, run};
use crate::support::{joining, key, lasting, network};

/// Two nodes talk over a line that flips a bit now and then, until it has flipped enough.
fn over_a_line_that_flips(world: &mut World) {
    network(world, 0);
    for n in 0..4 {
        let host = world.add([30, 0, 1, n]);
        world.start(host, lasting());
    }
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(server, joining());
    world.start(client, joining());
    run(world, 30, |_, _, _| {});
    world.net(server).listen(&key(1), false).expect("listening");
    run(world, 30, |_, _, _| {});
    world.net(client).connect(key(1).public, &key(2), false).expect("connecting");
    let mut left = 200;
    let mut closed = false;
    run(world, 60, |world, host, event| match event {
        Event::Connected { conn, .. } if host == CLIENT => {
            world.set_line(CLIENT, SERVER, Line { flips_permille: 30, ..Line::default() });
            world.net(CLIENT).send(conn, &[1; 3000]).expect("open");
        }
        Event::Data { conn, bytes } if host == SERVER => drop(world.net(SERVER).send(conn, &bytes)),
        Event::Data { conn, bytes } if host == CLIENT && left > 0 => {
            left -= 1;
            let _ = world.net(CLIENT).send(conn, &bytes);
        }
        Event::Closed { .. } if host == SERVER => closed = true,
        _ => {}
    });
    world.set_line(CLIENT, SERVER, Line::default());
    run(world, 90, |_, _, _| {});
    assert!(closed || world.violation().is_some(), "a bit was flipped");
}

/// Puts flipped bits back as they were, before the node sees them.
#[derive(Default)]
struct Repairs(VecDeque<Vec<u8>>);

impl Saboteur for Repairs {
    fn output(&mut self, _: Time, _: HostId, output: Option<Output>) -> Option<Output> {
        if let Some(Output::Send { bytes, .. }) = &output {
            self.0.push_back(bytes.clone());
            if self.0.len() > 1000 {
                self.0.pop_front();
            }
        }
        output
    }

    fn arrival(&mut self, _: Time, _: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        let near = |sent: &&Vec<u8>| {
            let bits = sent.iter().zip(bytes).map(|(one, other)| (one ^ other).count_ones()).sum::<u32>();
            sent.len() == bytes.len() && bits <= 1
        };
        Some(self.0.iter().rev().find(near).cloned().unwrap_or_else(|| bytes.to_vec()))
    }
}

#[test]
fn a_flipped_bit_that_ends_nothing_is_caught() {
    caught_in(over_a_line_that_flips, "secret_stream.flips", Box::new(Repairs::default()));
}

/// Flips a bit where no line does.
#[derive(Default)]
struct Flips(u32);

impl Saboteur for Flips {
    fn arrival(&mut self, _: Time, host: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let long = host == SERVER && bytes.len() > 1000;
        self.0 += u32::from(long);
        if long && self.0 == 40 {
            bytes[700] ^= 1;
        }
        Some(bytes)
    }
}

#[test]
fn an_end_without_a_flipped_bit_is_caught() {
    caught_in(|world| drop(super::story(world)), "secret_stream.flips", Box::new(Flips::default()));
}
