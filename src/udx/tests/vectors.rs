//! Packets recorded from the real package: our stream takes the place of the real one, and the other side is played
//! from the recording.

use serde_json::Value;

use super::world::{SERVER, address, at};
use crate::base::{Machine, Span, Time, hex};
use crate::udx::{Event, Input, Output, StreamId, Udx};

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/udx.json"));

fn vector(name: &str) -> Value {
    let file: Value = serde_json::from_str(VECTORS).expect("JSON");
    let all = file["vectors"].as_array().expect("a list");
    all.iter().find(|vector| vector["name"] == name).expect("that vector").clone()
}

/// Our stream 1, whose other side is stream 2.
struct Player {
    udx: Udx,
    stream: StreamId,
    now: Time,
    events: Vec<String>,
}

impl Player {
    fn new(connected: bool) -> Player {
        let mut udx = Udx::new();
        let stream = at(Time::ZERO, |cx| udx.open(cx, 1).expect("free"));
        let mut player = Player { udx, stream, now: Time::ZERO, events: Vec::new() };
        if connected {
            player.connect();
        }
        player
    }

    fn connect(&mut self) {
        at(self.now, |cx| self.udx.connect(cx, self.stream, SERVER, 2, address(1, SERVER))).expect("new");
    }

    fn drain(&mut self) -> Vec<String> {
        while let Some(event) = self.udx.poll_event() {
            let line = match event {
                Event::Data { bytes, .. } => format!("data {}", hex::encode(&bytes)),
                Event::Message { bytes, .. } => format!("message {}", hex::encode(&bytes)),
                Event::Ended { .. } => "end".to_owned(),
                Event::Closed { why: crate::udx::Why::Reset, .. } => {
                    self.events.push("error ECONNRESET".to_owned());
                    "close".to_owned()
                }
                Event::Closed { .. } => "close".to_owned(),
                Event::Connected { .. }
                | Event::Called { .. }
                | Event::Drained { .. }
                | Event::Flushed { .. } => continue,
            };
            self.events.push(line);
        }
        let mut out = Vec::new();
        while let Some(Output::Send { bytes, .. }) = at(self.now, |cx| self.udx.poll_output(cx)) {
            out.push(hex::encode(&bytes).replace(' ', ""));
        }
        out
    }

    /// Does what a step of the recording says the real side did.
    fn act(&mut self, what: &str) {
        let (now, stream) = (self.now, self.stream);
        let udx = &mut self.udx;
        at(now, |cx| match what {
            "write 5 bytes" => drop(udx.write(cx, stream, b"first")),
            "two writes in one tick share a packet" => {
                udx.write(cx, stream, b"sec").expect("open");
                udx.write(cx, stream, b"ond").expect("open");
            }
            "unordered message" => udx.send(cx, stream, b"msg").expect("open"),
            "empty unordered message" => udx.send(cx, stream, b"").expect("open"),
            "end" => udx.end(cx, stream).expect("open"),
            "write and end" => {
                udx.write(cx, stream, b"last").expect("open");
                udx.end(cx, stream).expect("open");
            }
            "write while the window is closed: a heartbeat is sent, no data" => {
                udx.write(cx, stream, b"blocked").expect("open");
            }
            "destroy" => udx.destroy(cx, stream).expect("open"),
            _ => {}
        });
        if what == "connect" {
            self.connect();
        }
    }
}

/// Plays a vector: after each step the same packets leave, and at the end the same events were told.
fn play(name: &str, connected: bool) {
    let vector = vector(name);
    let mut player = Player::new(connected);
    for step in vector["expected"]["steps"].as_array().expect("steps") {
        let what = step["what"].as_str().expect("text");
        player.now += Span::from_millis(5);
        player.act(what);
        if let Some(bytes) = step["send"].as_str() {
            let bytes = hex::decode(bytes).expect("hex");
            let input = Input::Datagram { socket: SERVER, from: address(1, SERVER), bytes: &bytes };
            if player.udx.owns(&bytes) {
                at(player.now, |cx| player.udx.handle_input(cx, input));
            }
        }
        let got = player.drain();
        let expected: Vec<&str> =
            step["got"].as_array().expect("packets").iter().filter_map(Value::as_str).collect();
        assert_eq!(got, expected, "{name}: {what}");
    }
    let expected: Vec<&str> =
        vector["expected"]["events"].as_array().expect("events").iter().filter_map(Value::as_str).collect();
    assert_eq!(joined(&player.events), joined(&expected), "{name}");
}

/// Data in a row is one datum: how it is cut means nothing.
fn joined<T: AsRef<str>>(events: &[T]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for event in events {
        match (event.as_ref().strip_prefix("data "), all.last_mut()) {
            (Some(more), Some(last)) if last.starts_with("data ") => last.push_str(more),
            _ => all.push(event.as_ref().to_owned()),
        }
    }
    all
}

#[test]
fn data_is_put_in_order_and_acked() {
    // proves udx.1, udx.2, udx.3, udx.10, udx.18, udx.20 and udx.21
    play("receiving data, reordering, duplicates", true);
}

#[test]
fn blocks_cover_all_that_came() {
    // proves udx.21
    play("selective acks cover every buffered packet, also behind a wide gap", true);
}

#[test]
fn heartbeats_are_answered_and_messages_are_not() {
    // proves udx.7, udx.20 and udx.26
    play("heartbeat, message, state only", true);
}

#[test]
fn writes_of_a_turn_share_a_packet() {
    // proves udx.10, udx.13, udx.14, udx.16, udx.26 and udx.54
    play("sending", true);
}

#[test]
fn the_last_data_carries_the_end() {
    // proves udx.13
    play("remote end first", true);
}

#[test]
fn a_closed_window_is_probed() {
    // proves udx.42
    play("zero window", true);
}

#[test]
fn destroying_says_so_once() {
    // proves udx.27
    play("destroy from here", true);
}

#[test]
fn destroyed_from_there() {
    // proves udx.17
    play("destroy from there", true);
}

#[test]
fn what_came_before_connect_is_acked_at_connect() {
    // proves udx.25: the recording tells the data at once, we tell it when the stream is connected
    play("data before connect is acked at connect", false);
}

#[test]
fn a_gap_that_is_reported_is_filled_at_once() {
    let vector = vector("selective ack moves the send side");
    let sack = vector["expected"]["steps"][1]["send"].as_str().expect("hex");
    let mut player = Player::new(true);
    at(player.now, |cx| player.udx.write(cx, player.stream, &[5; 3 * 1152])).expect("open");
    let sent = player.drain();
    assert_eq!(sent.len(), 3);
    player.now = Time::from_micros(5000);
    let bytes = hex::decode(sack).expect("hex");
    let input = Input::Datagram { socket: SERVER, from: address(1, SERVER), bytes: &bytes };
    at(player.now, |cx| player.udx.handle_input(cx, input));
    // two packets arrived beyond the gap: the third may be late, for a quarter of a round trip
    assert!(player.drain().is_empty());
    player.now = player.udx.poll_timeout().expect("a deadline").at;
    assert_eq!(player.now, Time::from_micros(6250));
    at(player.now, |cx| player.udx.handle_timeout(cx));
    // proves udx.38
    assert_eq!(player.drain(), sent[..1]);
}
