//! The laws for `secret_stream`.

use seckel::base::{Cx, Entropy, Machine, Span};
use seckel::crypto::sign::KeyPair;
use seckel::secret_stream::{Event, Input, Output, SecretStream};

use super::{Subject, bytes, mangled, shown};

/// A stream that does its own handshake, and the other end, whose writes are handed in, legal or mangled.
pub struct Pair {
    stream: SecretStream,
    other: SecretStream,
}

impl Machine for Pair {
    type Input<'a> = Input<'a>;
    type Output = Output;
    type Event = Event;
    fn handle_input(&mut self, cx: &mut Cx<'_>, input: Input<'_>) {
        self.stream.handle_input(cx, input);
    }
    fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.stream.handle_timeout(cx);
    }
    fn poll_output(&mut self, cx: &mut Cx<'_>) -> Option<Output> {
        let output = self.stream.poll_output(cx);
        if let Some(Output::Write(bytes)) = &output {
            self.other.handle_input(cx, Input::Bytes(bytes));
        }
        output
    }
    fn poll_event(&mut self) -> Option<Event> {
        self.stream.poll_event()
    }
    fn poll_timeout(&self) -> Option<seckel::base::Deadline> {
        self.stream.poll_timeout()
    }
}

pub struct Stream;

impl Subject for Stream {
    type Machine = Pair;
    const NAME: &'static str = "secret_stream";

    fn make(cx: &mut Cx<'_>) -> Pair {
        Pair {
            stream: SecretStream::handshake(cx, true, &KeyPair::from_seed([1; 32])),
            other: SecretStream::handshake(cx, false, &KeyPair::from_seed([2; 32])),
        }
    }

    fn poke(pair: &mut Pair, cx: &mut Cx<'_>, draw: &mut dyn Entropy) {
        match draw.below(100) {
            0..=59 => {
                if draw.chance(500) {
                    let _ = pair.other.send(cx, &bytes(draw, 300));
                }
                while let Some(output) = pair.other.poll_output(cx) {
                    if let Output::Write(written) = output {
                        let written = written.to_vec();
                        let handed = if draw.chance(3) { mangled(draw, written) } else { written };
                        let cut = draw.below(handed.len() as u64 + 1) as usize;
                        pair.stream.handle_input(cx, Input::Bytes(&handed[..cut]));
                        pair.stream.handle_input(cx, Input::Bytes(&handed[cut..]));
                    }
                }
            }
            60..=79 => drop(pair.stream.send(cx, &bytes(draw, 500))),
            80..=83 => drop(pair.stream.send_unordered(cx, &bytes(draw, 100))),
            84..=87 => pair.stream.handle_input(cx, Input::Message(&bytes(draw, 60))),
            88..=91 => pair.stream.set_keep_alive(cx, Some(Span::from_millis(draw.below(3000)))),
            92..=95 => pair.stream.set_timeout(cx, Some(Span::from_secs(draw.below(60)))),
            96 => pair.stream.handle_input(cx, Input::Bytes(&bytes(draw, 40))),
            97 => pair.stream.end(cx),
            98 => pair.stream.handle_input(cx, Input::Ended),
            _ if draw.chance(200) => pair.stream.destroy(cx),
            _ => pair.stream.handle_input(cx, Input::Closed),
        }
    }

    fn show_output(output: &Output) -> String {
        match output {
            Output::Write(bytes) => format!("write {}", seckel::base::hex::encode(bytes)),
            Output::Send(bytes) => format!("send {}", seckel::base::hex::encode(bytes)),
            Output::End => "end".into(),
            Output::Destroy => "destroy".into(),
        }
    }

    fn show_event(event: &Event) -> String {
        shown(event)
    }
}
