//! Both sides of blind relays under the laws.

use std::collections::VecDeque;

use seckel::base::{Cx, Deadline, Entropy, Key, Machine, Span};
use seckel::blind_relay::{
    Bounds, Client, ClientEvent, ClientInput, ClientOutput, PairId, Relay, RelayEvent, RelayInput,
    RelayOutput, SessionId,
};
use seckel::wire::{self, blind_relay as format};

use super::{Subject, mangled, shown};

/// Few enough that they meet.
fn token(draw: &mut dyn Entropy) -> Key {
    [draw.below(8) as u8; 32]
}

fn pair(draw: &mut dyn Entropy) -> Vec<u8> {
    let stream = if draw.chance(50) { draw.u64() } else { draw.below(1000) };
    let bytes =
        wire::encode(&format::Pair { initiator: draw.chance(500), token: token(draw), stream, seq: 0 });
    if draw.chance(20) { mangled(draw, bytes) } else { bytes }
}

fn unpair(draw: &mut dyn Entropy) -> Vec<u8> {
    let bytes = wire::encode(&format::Unpair { token: token(draw) });
    if draw.chance(20) { mangled(draw, bytes) } else { bytes }
}

pub struct Asking;

impl Subject for Asking {
    type Machine = Client;
    const NAME: &'static str = "blind_relay client";

    fn make(_: &mut Cx<'_>) -> Client {
        Client::new()
    }

    fn poke(client: &mut Client, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        match draw.below(8) {
            0..=2 => {
                let patience = Span::from_millis(draw.below(3000));
                let _ = client.pair(cx, draw.chance(500), token(draw), draw.u32(), patience);
            }
            3 => drop(client.unpair(cx, token(draw))),
            4 if draw.chance(5) => client.end(),
            4 if draw.chance(5) => client.destroy(),
            4 if draw.chance(5) => client.handle_input(cx, ClientInput::Closed),
            5 => {
                let bytes = unpair(draw);
                client.handle_input(cx, ClientInput::Message { kind: draw.below(3), bytes: &bytes });
            }
            _ => {
                let bytes = pair(draw);
                client.handle_input(cx, ClientInput::Message { kind: format::PAIR, bytes: &bytes });
            }
        }
    }

    fn show_output(output: &ClientOutput) -> String {
        shown(output)
    }

    fn show_event(event: &ClientEvent) -> String {
        shown(event)
    }
}

/// A relay, and what there is of it.
pub struct Watched {
    relay: Relay,
    sessions: VecDeque<SessionId>,
    pairs: VecDeque<PairId>,
}

impl Machine for Watched {
    type Input<'a> = RelayInput<'a>;
    type Output = RelayOutput;
    type Event = RelayEvent;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: RelayInput<'_>) {
        self.relay.handle_input(cx, input);
    }
    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.relay.handle_timeout(cx);
    }
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<RelayOutput> {
        let output = self.relay.poll_output(cx)?;
        if let RelayOutput::Open { pair, .. } = &output {
            self.pairs.push_front(*pair);
            self.pairs.truncate(10);
        }
        Some(output)
    }
    fn poll_event(&mut self) -> Option<RelayEvent> {
        self.relay.poll_event()
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        self.relay.poll_timeout()
    }
}

pub struct Serving;

impl Subject for Serving {
    type Machine = Watched;
    const NAME: &'static str = "blind_relay relay";

    fn make(cx: &mut Cx<'_>) -> Watched {
        let bounds = Bounds { sessions: 8, pairs: 5, waiting: 6, ..Bounds::default() };
        let bounds = if cx.entropy.chance(500) { bounds } else { Bounds::default() };
        Watched { relay: Relay::new(bounds), sessions: VecDeque::new(), pairs: VecDeque::new() }
    }

    fn poke(machine: &mut Watched, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        let session = machine.sessions.get(draw.below(10) as usize).copied();
        let pair_id = machine.pairs.get(draw.below(10) as usize).copied();
        match (draw.below(12), session, pair_id) {
            (0, ..) => {
                if let Ok(session) = machine.relay.accept(cx) {
                    machine.sessions.push_front(session);
                    machine.sessions.truncate(10);
                }
            }
            (1, Some(session), _) if draw.chance(200) => {
                machine.relay.handle_input(cx, RelayInput::Closed { session });
            }
            (2, _, Some(pair)) => {
                let streams = draw.chance(900).then(|| [draw.u32(), draw.u32()]);
                machine.relay.handle_input(cx, RelayInput::Opened { pair, streams });
            }
            (3, _, Some(pair)) => {
                let packets = [draw.below(100), draw.below(100)];
                machine.relay.handle_input(cx, RelayInput::Heard { pair, packets });
            }
            (4, _, Some(pair)) if draw.chance(100) => {
                machine.relay.handle_input(cx, RelayInput::Gone { pair });
            }
            (5, Some(session), _) => {
                let bytes = unpair(draw);
                machine
                    .relay
                    .handle_input(cx, RelayInput::Message { session, kind: draw.below(3), bytes: &bytes });
            }
            (6, ..) if draw.chance(2) => machine.relay.close(cx),
            (_, Some(session), _) => {
                let bytes = pair(draw);
                let input = RelayInput::Message { session, kind: format::PAIR, bytes: &bytes };
                machine.relay.handle_input(cx, input);
            }
            _ => {}
        }
    }

    fn show_output(output: &RelayOutput) -> String {
        shown(output)
    }

    fn show_event(event: &RelayEvent) -> String {
        shown(event)
    }
}
