//! Calls under the laws.

use std::collections::VecDeque;

use seckel::base::{Cx, Deadline, Entropy, Machine, Span};
use seckel::protomux_rpc::{CallId, Event, Input, Output, RequestId, Rpc, Values};
use seckel::wire::{self, protomux_rpc as format};

use super::{Subject, bytes, mangled, shown};

/// Calls, and which are open, so that they can be answered.
pub struct Watched {
    rpc: Rpc,
    calls: VecDeque<CallId>,
    asked: VecDeque<RequestId>,
}

impl Machine for Watched {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;

    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        self.rpc.handle_input(cx, input);
    }
    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.rpc.handle_timeout(cx);
    }
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        self.rpc.poll_output(cx)
    }
    fn poll_event(&mut self) -> Option<Event> {
        let event = self.rpc.poll_event()?;
        if let Event::Call { call, .. } = &event {
            self.calls.push_front(*call);
            self.calls.truncate(10);
        }
        Some(event)
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        self.rpc.poll_timeout()
    }
}

pub struct Calls;

impl Subject for Calls {
    type Machine = Watched;
    const NAME: &'static str = "protomux_rpc";

    fn make(cx: &mut Cx<'_>) -> Watched {
        let values = if cx.entropy.chance(500) { Values::Raw } else { Values::Buffer };
        Watched { rpc: Rpc::new(values), calls: VecDeque::new(), asked: VecDeque::new() }
    }

    fn poke(machine: &mut Watched, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        let call = machine.calls.get(draw.below(10) as usize).copied();
        match (draw.below(14), call) {
            (0..=2, _) => {
                let timeout = draw.chance(500).then(|| Span::from_millis(draw.below(3000)));
                if let Ok(request) = machine.rpc.request(cx, "method", &bytes(draw, 30), timeout) {
                    machine.asked.push_front(request);
                    machine.asked.truncate(10);
                }
            }
            (3, _) => drop(machine.rpc.event(cx, "note", &bytes(draw, 30))),
            (4, Some(call)) => drop(machine.rpc.answer(cx, call, &bytes(draw, 30))),
            (5, Some(call)) => drop(machine.rpc.refuse(cx, call, "CODE", "no")),
            (6, Some(call)) => drop(machine.rpc.unknown_method(cx, call)),
            (7, _) if draw.chance(5) => machine.rpc.end(cx),
            (7, _) if draw.chance(2) => machine.rpc.destroy(cx),
            (8, _) if draw.chance(3) => machine.rpc.handle_input(cx, Input::Closed),
            (8, _) => machine.rpc.handle_input(cx, Input::Opened),
            (9..=11, _) => {
                let id =
                    machine.asked.get(draw.below(10) as usize).map_or(draw.below(300), |request| request.0);
                let result =
                    if draw.chance(700) { Ok(bytes(draw, 20)) } else { Err(format::Failure::default()) };
                let message = wire::encode(&format::Response { id, result });
                let message = if draw.chance(20) { mangled(draw, message) } else { message };
                machine.rpc.handle_input(cx, Input::Message { kind: format::RESPONSE, bytes: &message });
            }
            _ => {
                let id = draw.below(50);
                let message = format::Request { id, method: "m".to_owned(), value: bytes(draw, 20) };
                let message = wire::encode(&message);
                let message = if draw.chance(20) { mangled(draw, message) } else { message };
                machine.rpc.handle_input(cx, Input::Message { kind: format::REQUEST, bytes: &message });
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
