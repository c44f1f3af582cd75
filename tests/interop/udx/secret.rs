//! A secret stream over a udx stream, both ours, against both of the real packages.

use blake2::{Blake2b512, Digest as _};
use serde_json::{Value, json};

use seckel::base::{Addr, Machine, SocketId, Span, hex};
use seckel::crypto::KeyPair;
use seckel::secret_stream::{Event, Input, Output, SecretStream, Why};
use seckel::udx::{self, StreamId};

use super::{Judge, Real};
use crate::support::skipped;

struct Secret {
    real: Real,
    judge: Judge,
    id: StreamId,
    ours: SecretStream,
    events: Vec<Event>,
    /// How many messages came, and the bytes and the hash of all.
    messages: usize,
    bytes: usize,
    hash: Blake2b512,
    /// Writes of the udx stream are to wait.
    full: bool,
}

impl Secret {
    fn start(we_initiate: bool, keep_alive: u32) -> Secret {
        let mut real = Real::new();
        let mut judge = Judge::with_script("secret_udx.js");
        let ours_port = real.port();
        let start =
            json!({"op": "start", "initiator": !we_initiate, "port": ours_port, "keepAlive": keep_alive});
        let to = Addr::loopback(judge.port);
        let id = real.with(|udx, cx| {
            let id = udx.open(cx, 1).expect("free");
            udx.connect(cx, id, SocketId::SERVER, 2, to).expect("new");
            id
        });
        let ours = real.with(|_, cx| {
            let mut ours = SecretStream::handshake(cx, we_initiate, &KeyPair::from_seed([1; 32]));
            let every = Some(Span::from_millis(u64::from(keep_alive))).filter(|every| *every > Span::ZERO);
            ours.set_keep_alive(cx, every);
            ours
        });
        judge.ask(&mut real, start);
        let (events, hash) = (Vec::new(), Blake2b512::new());
        let mut secret = Secret { real, judge, id, ours, events, messages: 0, bytes: 0, hash, full: false };
        secret.until("both open", |secret| {
            secret.events.iter().any(|event| matches!(event, Event::Open { .. }))
        });
        let heard = secret.wait("open");
        let Event::Open { handshake_hash, .. } = secret.events.remove(0) else { panic!("open first") };
        assert_eq!(heard["hash"], hex::encode(&handshake_hash));
        secret
    }

    fn input(&mut self, input: Input<'_>) {
        let ours = &mut self.ours;
        self.real.with(|_, cx| ours.handle_input(cx, input));
    }

    /// Carries what there is between the two machines, then turns the socket.
    fn turn(&mut self) {
        self.carry();
        self.real.turn();
        if let Some(bytes) = self.real.data.remove(&self.id) {
            self.input(Input::Bytes(&bytes));
        }
        for event in core::mem::take(&mut self.real.events) {
            match event {
                udx::Event::Message { bytes, .. } => self.input(Input::Message(&bytes)),
                udx::Event::Ended { .. } => self.input(Input::Ended),
                udx::Event::Closed { .. } => self.input(Input::Closed),
                udx::Event::Drained { .. } => self.full = false,
                udx::Event::Connected { .. }
                | udx::Event::Called { .. }
                | udx::Event::Data { .. }
                | udx::Event::Flushed { .. } => {}
            }
        }
        let now = self.real.now();
        if self.ours.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            let ours = &mut self.ours;
            self.real.with(|_, cx| ours.handle_timeout(cx));
        }
        self.carry();
        self.real.settle();
    }

    fn carry(&mut self) {
        while let Some(event) = self.ours.poll_event() {
            match event {
                Event::Message(message) => {
                    self.messages += 1;
                    self.bytes += message.len();
                    self.hash.update(&message);
                }
                other => self.events.push(other),
            }
        }
        loop {
            let ours = &mut self.ours;
            let Some(output) = self.real.with(|_, cx| ours.poll_output(cx)) else { return };
            let id = self.id;
            let done = self.real.with(|udx, cx| match output {
                Output::Write(bytes) => udx.write(cx, id, &bytes),
                Output::Send(bytes) => udx.send(cx, id, &bytes).map(|()| true),
                Output::End => udx.end(cx, id).map(|()| true),
                Output::Destroy => udx.destroy(cx, id).map(|()| true),
            });
            // A stream that the other side destroyed meanwhile takes nothing more.
            self.full |= done == Ok(false);
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Secret) -> bool) {
        let began = std::time::Instant::now();
        while !done(self) {
            self.turn();
            assert!(began.elapsed() < super::LONGEST, "{what}; {:?}; {}", self.events, self.real.state());
        }
    }

    fn say(&mut self, value: Value) {
        self.judge.say(value);
    }

    fn hear(&mut self) -> Value {
        let mut answer = None;
        self.until("an answer", |secret| {
            answer = secret.judge.heard.try_recv().ok();
            answer.is_some()
        });
        answer.expect("just heard")
    }

    fn ask(&mut self, value: Value) -> Value {
        self.say(value);
        self.hear()
    }

    fn wait(&mut self, event: &str) -> Value {
        self.ask(json!({"op": "wait", "event": event}))
    }

    fn send(&mut self, message: &[u8]) {
        let ours = &mut self.ours;
        self.real.with(|_, cx| ours.send(cx, message)).expect("open");
    }

    fn close(&mut self) -> Option<&Event> {
        self.until("closed", |secret| secret.events.iter().any(|event| matches!(event, Event::Closed(_))));
        self.events.last()
    }
}

fn sum(hash: Blake2b512) -> String {
    hex::encode(&hash.finalize())
}

/// Four megabytes each way at once in messages of all lengths, then both ends, one after the other.
#[test]
fn bulk_both_ways_and_both_ends() {
    if skipped("udx::secret::bulk_both_ways_and_both_ends") {
        return;
    }
    for we_initiate in [false, true] {
        let mut secret = Secret::start(we_initiate, 0);
        let total = 4 << 20;
        secret.say(json!({"op": "pump", "total": total}));
        let (mut hash, mut count, mut sent) = (Blake2b512::new(), 0, 0);
        while sent < total {
            let len = (1 + count * 6101 % 65519).min(total - sent);
            let message = vec![count as u8; len];
            hash.update(&message);
            secret.send(&message);
            (count, sent) = (count + 1, sent + len);
            secret.turn();
            secret.until("room", |secret| !secret.full);
        }
        let told = secret.hear();
        secret.until("all of Node's", |secret| secret.bytes == total);
        assert_eq!(sum(core::mem::take(&mut secret.hash)), told["sum"].as_str().expect("a hash"));
        let ours = &mut secret.ours;
        secret.real.with(|_, cx| ours.end(cx));
        let end = secret.wait("end");
        assert_eq!((end["bytes"].as_u64(), end["count"].as_u64()), (Some(total as u64), Some(count as u64)));
        assert_eq!(end["sum"].as_str(), Some(&sum(hash)[..]));
        assert!(secret.events.is_empty(), "half-closed: {:?}", secret.events);
        secret.ask(json!({"op": "end"}));
        assert_eq!(secret.close(), Some(&Event::Closed(Why::Ended)));
        assert_eq!(secret.events[0], Event::Ended);
        secret.wait("close");
    }
}

#[test]
fn either_destroys() {
    if skipped("udx::secret::either_destroys") {
        return;
    }
    let mut secret = Secret::start(true, 0);
    secret.ask(json!({"op": "destroy"}));
    assert_eq!(secret.close(), Some(&Event::Closed(Why::Cut)));
    secret.wait("close");
    let mut secret = Secret::start(false, 0);
    let ours = &mut secret.ours;
    secret.real.with(|_, cx| ours.destroy(cx));
    assert_eq!(secret.wait("error")["code"], "ECONNRESET");
    secret.wait("close");
    assert!(matches!(secret.close(), Some(Event::Closed(Why::Destroyed))), "{:?}", secret.events);
}

/// Beside the stream, in boxes of their own.
#[test]
fn unordered_messages_of_either() {
    if skipped("udx::secret::unordered_messages_of_either") {
        return;
    }
    for we_initiate in [false, true] {
        let mut secret = Secret::start(we_initiate, 0);
        for text in [&b"beside"[..], b"", &[9; 1000]] {
            let ours = &mut secret.ours;
            secret.real.with(|_, cx| ours.send_unordered(cx, text)).expect("open");
            assert_eq!(secret.wait("message")["hex"], hex::encode(text));
            secret.ask(json!({"op": "unordered", "hex": hex::encode(text)}));
            secret.until("its own", |secret| !secret.events.is_empty());
            assert_eq!(secret.events.pop(), Some(Event::Unordered(text.to_vec())));
        }
        assert_eq!((secret.messages, secret.ours.stats().unordered_dropped), (0, 0));
        secret.ask(json!({"op": "destroy"}));
    }
}

/// Each keeps the other's patience alive with empty messages that nobody sees.
#[test]
fn keep_alives_of_either_hold_off_the_timeout() {
    if skipped("udx::secret::keep_alives_of_either_hold_off_the_timeout") {
        return;
    }
    let mut secret = Secret::start(true, 20);
    let ours = &mut secret.ours;
    secret.real.with(|_, cx| ours.set_timeout(cx, Some(Span::from_secs(30))));
    secret.ask(json!({"op": "timeout", "after": 30000}));
    let id = secret.id;
    let before = secret.real.udx.stats(id).expect("live").packets_in;
    secret.until("ten of Node's packets", |secret| {
        secret.real.udx.stats(secret.id).is_some_and(|stats| stats.packets_in >= before + 10)
    });
    let deadline = secret.ours.poll_timeout().expect("a keep-alive");
    assert!(deadline.at.since(secret.real.now()) <= Span::from_millis(20));
    let stats = secret.ask(json!({"op": "stats"}));
    assert_eq!((stats["count"].as_u64(), stats["timeout"].as_u64()), (Some(0), Some(30000)));
    assert!(stats["packetsReceived"].as_u64() >= Some(10), "{stats}");
    assert_eq!((secret.events.len(), secret.messages), (0, 0), "{:?}", secret.events);
    assert!(secret.ours.stats().raw_bytes_read >= 4 * 17, "frames came");
    secret.ask(json!({"op": "destroy"}));
}

/// A peer that says nothing is given up after the time that was asked for, by either.
#[test]
fn a_silent_peer_is_given_up_by_either() {
    if skipped("udx::secret::a_silent_peer_is_given_up_by_either") {
        return;
    }
    let mut secret = Secret::start(true, 0);
    let ours = &mut secret.ours;
    secret.real.with(|_, cx| ours.set_timeout(cx, Some(Span::from_millis(200))));
    assert_eq!(secret.close(), Some(&Event::Closed(Why::Silent)));
    assert_eq!(secret.wait("error")["code"], "ECONNRESET");
    secret.wait("close");
    let mut secret = Secret::start(false, 0);
    secret.ask(json!({"op": "timeout", "after": 200}));
    assert_eq!(secret.wait("error")["code"], "Stream timed out");
    assert_eq!(secret.close(), Some(&Event::Closed(Why::Cut)));
}
