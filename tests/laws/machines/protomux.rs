//! Channels under the laws.

use seckel::base::{Cx, Entropy, Machine};
use seckel::protomux::{ChannelId, Event, Input, Open, Output, Protomux};

use super::{Subject, bytes, mangled, shown};

pub struct Mux;

fn channel(machine: &Protomux, draw: &mut dyn Entropy) -> Option<ChannelId> {
    let channels: Vec<_> = machine.channels().collect();
    channels.get(draw.below(channels.len() as u64 + 1) as usize).copied()
}

fn protocol(draw: &mut dyn Entropy) -> String {
    format!("p{}", draw.below(4))
}

/// A message of a peer that mostly knows the protocol; without its channel if `inner`.
fn message(draw: &mut dyn Entropy, inner: bool) -> Vec<u8> {
    let id = 1 + draw.below(6) as u8;
    let message = match draw.below(8) {
        0 | 1 => [&[0, 1, id, 2][..], protocol(draw).as_bytes(), &[0], &bytes(draw, 5)].concat(),
        2 if draw.chance(100) => vec![0, 2, id],
        3 => vec![0, 3, id],
        4 => {
            let mut batch = vec![0, 0, draw.below(4) as u8];
            for _ in 0..draw.below(5) {
                let item = message(draw, true);
                batch.extend([item.len().min(250) as u8].iter().chain(&item));
                batch.extend([0, draw.below(4) as u8]);
            }
            batch
        }
        _ => [&[id, draw.below(4) as u8][..], &bytes(draw, 600)].concat(),
    };
    if inner { message[1..].to_vec() } else { message }
}

impl Subject for Mux {
    type Machine = Protomux;
    const NAME: &'static str = "protomux";

    fn make(_: &mut Cx<'_>) -> Protomux {
        Protomux::new()
    }

    fn poke(machine: &mut Protomux, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        match draw.below(16) {
            0 | 1 => {
                let (protocol, alias) = (protocol(draw), protocol(draw));
                let aliases = [&alias[..]];
                let open = Open {
                    aliases: if draw.chance(200) { &aliases } else { &[] },
                    unique: draw.chance(500),
                    ..Open::new(&protocol, draw.chance(100).then_some(&[1]))
                };
                let _ = machine.open(cx, open);
            }
            2 => drop(machine.reject(cx, &protocol(draw), None)),
            3..=5 => {
                if let Some(channel) = channel(machine, draw) {
                    let _ = machine.send(cx, channel, draw.below(300), &bytes(draw, 300));
                }
            }
            6 => {
                if let Some(channel) = channel(machine, draw) {
                    let _ = machine.close(cx, channel);
                }
            }
            7 => machine.cork(),
            8 => machine.uncork(),
            9 => machine.set_reading(draw.chance(500)),
            10 => machine.handle_input(cx, Input::Writable(draw.chance(500))),
            11 if draw.chance(5) => machine.handle_input(cx, Input::Closed),
            _ => {
                let message = message(draw, false);
                let message = if draw.chance(10) { mangled(draw, message) } else { message };
                machine.handle_input(cx, Input::Message(&message));
            }
        }
    }

    fn show_output(output: &Output) -> String {
        shown(output)
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}
