//! Planted bugs in streams.

use seckel::base::{Addr, Deadline, Time};
use seckel::node::{Event, Output};
use seckel::sim::{HostId, Saboteur};
use seckel::wire::udx::{Header, MAGIC};
use seckel::wire::{self};

use super::{CLIENT, SERVER, caught};

/// A message is told twice.
#[derive(Default)]
struct Repeats(u32);

impl Saboteur for Repeats {
    fn event(&mut self, _: Time, host: HostId, event: Event) -> Vec<Event> {
        let Event::Data { conn, bytes } = event else { return vec![event] };
        self.0 += u32::from(host == SERVER);
        let once = Event::Data { conn, bytes: bytes.clone() };
        if host == SERVER && self.0 == 10 { vec![once, Event::Data { conn, bytes }] } else { vec![once] }
    }
}

#[test]
fn a_message_that_is_told_twice_is_caught() {
    caught("udx.prefix", Box::new(Repeats::default()));
}

/// The server tells a small window, and the client takes it for a large one.
struct Overruns;

fn with_window(bytes: &[u8], window: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.first() == Some(&MAGIC)
        && let Ok((mut header, _)) = wire::decode_head::<Header>(&bytes)
    {
        header.window = window;
        let header = wire::encode(&header);
        bytes[..header.len()].copy_from_slice(&header);
    }
    bytes
}

impl Saboteur for Overruns {
    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        match output {
            Some(Output::Send { socket, to, bytes, ttl }) if host == SERVER => {
                Some(Output::Send { socket, to, bytes: with_window(&bytes, 3000), ttl })
            }
            output => output,
        }
    }

    fn arrival(&mut self, _: Time, host: HostId, _: Addr, bytes: &[u8]) -> Option<Vec<u8>> {
        Some(if host == CLIENT { with_window(bytes, 4 << 20) } else { bytes.to_vec() })
    }
}

#[test]
fn a_window_that_is_overrun_is_caught() {
    caught("udx.window", Box::new(Overruns));
}

/// The client's timers are lost from some time on.
struct Timeless;

impl Saboteur for Timeless {
    fn deadline(&mut self, now: Time, host: HostId, deadline: Option<Deadline>) -> Option<Deadline> {
        deadline.filter(|_| host != CLIENT || now.as_millis() < 121_000)
    }
}

#[test]
fn a_stream_that_does_not_end_is_caught() {
    caught("udx.outlives", Box::new(Timeless));
}
