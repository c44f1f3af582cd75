use super::*;
use crate::base::{NoTrace, Seeded, Time, hex};
use crate::sim::ramdisk::RamDisk;
use serde_json::Value;

/// A multiplexer with a world to itself.
#[derive(Default)]
struct Side {
    mux: Protomux,
    /// Everything that left, in hex.
    sent: Vec<String>,
    events: Vec<Event>,
    reading: Vec<bool>,
    fault: Option<Fault>,
}

fn cx<T>(run: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut entropy, mut disk, mut trace) = (Seeded::new(1), RamDisk::new(), NoTrace);
    run(&mut Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut trace })
}

impl Side {
    fn open(&mut self, protocol: &str, id: Option<&[u8]>) -> ChannelId {
        cx(|cx| self.mux.open(cx, Open::new(protocol, id))).expect("opens")
    }
    fn open_many(&mut self, protocol: &str) -> ChannelId {
        let open = Open { unique: false, ..Open::new(protocol, None) };
        cx(|cx| self.mux.open(cx, open)).expect("opens")
    }
    fn send(&mut self, channel: ChannelId, kind: u64, bytes: &[u8]) -> Result<bool, Error> {
        cx(|cx| self.mux.send(cx, channel, kind, bytes))
    }
    fn close(&mut self, channel: ChannelId) {
        cx(|cx| self.mux.close(cx, channel)).expect("closes");
    }
    fn reject(&mut self, protocol: &str) {
        cx(|cx| self.mux.reject(cx, protocol, None)).expect("rejects");
    }
    fn input(&mut self, input: Input<'_>) {
        cx(|cx| self.mux.handle_input(cx, input));
    }
    fn hear(&mut self, message: &str) -> &mut Side {
        let bytes = hex::decode(message).expect("hex");
        self.input(Input::Message(&bytes));
        self
    }
    fn take_events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.mux.poll_event()).collect()
    }
    /// Takes what it wants to send.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(output) = cx(|cx| self.mux.poll_output(cx)) {
            match output {
                Output::Message(bytes) => {
                    self.sent.push(hex::encode(&bytes));
                    messages.push(bytes);
                }
                Output::Destroy(fault) => self.fault = Some(fault),
                Output::Reading(on) => self.reading.push(on),
            }
        }
        messages
    }
    /// Takes what it wants to send, as hex.
    fn said(&mut self) -> Vec<String> {
        self.take().iter().map(|bytes| hex::encode(bytes)).collect()
    }
    fn received(&self) -> Vec<Vec<u8>> {
        let message = |event: &Event| match event {
            Event::Message { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }
}

/// Carries messages between two sides until nothing moves; what each wants of the other side's opens is rejected
/// unless `want` says otherwise.
fn settle(a: &mut Side, b: &mut Side) {
    for _ in 0..64 {
        let mut moved = false;
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            for bytes in from.take() {
                moved = true;
                to.input(Input::Message(&bytes));
            }
            while let Some(event) = to.mux.poll_event() {
                moved = true;
                to.events.push(event);
            }
        }
        if !moved {
            return;
        }
    }
    panic!("does not settle");
}

fn vector(name: &str) -> Value {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/protomux.json"));
    let file: Value = serde_json::from_str(file).expect("JSON");
    let vectors = file["vectors"].as_array().expect("vectors");
    vectors.iter().find(|vector| vector["name"] == name).unwrap_or_else(|| panic!("no {name}"))["expected"]
        .clone()
}

fn sent(expected: &Value, side: &str) -> Vec<String> {
    let lines = expected[side].as_array().expect("messages");
    lines.iter().map(|line| line.as_str().expect("hex").to_owned()).collect()
}

/// The string encoding that the vectors' messages use.
fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn is_vector(name: &str, a: &Side, b: &Side) {
    let expected = vector(name);
    assert_eq!(a.sent, sent(&expected, "a"), "a in {name}");
    assert_eq!(b.sent, sent(&expected, "b"), "b in {name}");
    assert_eq!((a.fault, b.fault), (None, None));
}

/// A pair with one open channel `test`.
fn pair() -> (Side, ChannelId, Side, ChannelId) {
    let (mut a, mut b) = (Side::default(), Side::default());
    let (one, other) = (a.open("test", None), b.open("test", None));
    settle(&mut a, &mut b);
    a.events.clear();
    b.events.clear();
    (a, one, b, other)
}

// proves protomux.1, protomux.2, protomux.9, protomux.21, protomux.38
#[test]
fn open_one_message_and_close_are_the_vector() {
    let (mut a, one, mut b, other) = pair();
    assert_eq!(a.send(one, 0, &text("hello")), Ok(true));
    settle(&mut a, &mut b);
    assert_eq!(b.received(), [text("hello")]);
    a.close(one);
    settle(&mut a, &mut b);
    is_vector("open, one message, close", &a, &b);
    assert_eq!(b.events.last(), Some(&Event::Closed { channel: other, by_remote: true }));
    assert_eq!(a.mux.poll_event(), None);
    assert!(a.mux.is_idle() && b.mux.is_idle());
}

// proves protomux.3, protomux.4
#[test]
fn id_and_handshake_are_the_vector() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let id = [9; 32];
    let open = |handshake| Open { handshake, ..Open::new("hypercore/alpha", Some(&id)) };
    let one = cx(|cx| a.mux.open(cx, open(&[0xfd, 0x2c, 0x01]))).expect("opens");
    let other = cx(|cx| b.mux.open(cx, open(&[7]))).expect("opens");
    settle(&mut a, &mut b);
    assert_eq!(a.events, [Event::Opened { channel: one, handshake: vec![7] }]);
    assert_eq!(b.events, [Event::Opened { channel: other, handshake: vec![0xfd, 0x2c, 0x01] }]);
    let expected = vector("open with id and handshake");
    assert_eq!(a.sent[0], sent(&expected, "a")[0]);
    assert_eq!(b.sent[0], sent(&expected, "b")[0]);
}

// proves protomux.16, protomux.17
#[test]
fn messages_before_the_peers_open_are_the_vector() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let one = a.open("test", None);
    a.send(one, 0, &text("one")).expect("sent");
    a.send(one, 0, &text("two")).expect("sent");
    settle(&mut a, &mut b);
    assert_eq!(b.events, [Event::Wanted { protocol: "test".into(), id: None }]);
    let other = b.open("test", None);
    assert_eq!(b.mux.poll_event(), Some(Event::Opened { channel: other, handshake: vec![] }));
    settle(&mut a, &mut b);
    b.events.extend(b.mux.poll_event());
    while let Some(event) = b.mux.poll_event() {
        b.events.push(event);
    }
    assert_eq!(b.received(), [text("one"), text("two")]);
    is_vector("message before the remote opened is pipelined", &a, &b);
}

/// pitfalls 12.3: opens nobody wants are rejected, and nothing stays behind.
// proves protomux.19, protomux.38
#[test]
fn an_unknown_protocol_is_rejected_as_in_the_vector() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let one = a.open("nobody", None);
    settle(&mut a, &mut b);
    b.reject("nobody");
    settle(&mut a, &mut b);
    is_vector("open for an unknown protocol is rejected", &a, &b);
    assert_eq!(a.events, [Event::Closed { channel: one, by_remote: true }]);
    assert!(a.mux.is_idle() && b.mux.is_idle());
    assert_eq!((a.mux.names.len(), b.mux.names.len()), (0, 0));
    assert_eq!((b.mux.waiting, b.mux.kept), (0, 0));
    assert_eq!(a.send(one, 0, b""), Err(Error::Gone));
}

// proves protomux.5, protomux.29
#[test]
fn a_cork_is_the_vector() {
    let (mut a, one, mut b, _) = pair();
    a.mux.cork();
    a.send(one, 0, &text("one")).expect("sent");
    a.send(one, 0, &text("two")).expect("sent");
    a.send(one, 1, &[3]).expect("sent");
    assert_eq!(a.said(), [""; 0]);
    a.mux.uncork();
    settle(&mut a, &mut b);
    assert_eq!(b.received(), [text("one"), text("two"), vec![3]]);
    let expected = vector("cork / uncork, one channel");
    assert_eq!(a.sent, sent(&expected, "a"));
    assert_eq!(b.sent, sent(&expected, "b"));

    a.mux.cork();
    a.mux.cork();
    a.mux.uncork();
    a.mux.uncork();
    a.mux.uncork();
    assert_eq!(a.said(), [""; 0], "an empty batch is not written");
    a.mux.cork();
    a.send(one, 0, b"x").expect("sent");
    a.mux.uncork();
    assert_eq!(a.said(), ["000001020078"], "one message is a batch too");
}

// proves protomux.39
#[test]
fn what_is_gathered_leaves_as_one_and_in_order() {
    let (mut a, one, mut b, _) = pair();
    a.mux.gather();
    a.send(one, 0, b"x").expect("sent");
    assert_eq!(a.said(), [""; 0], "it waits");
    a.mux.write_gathered();
    assert_eq!(a.said(), ["010078"], "one message is no batch");
    let (large, medium) = (vec![7; limits::MUX_GATHERED_MAX / 4], vec![8; limits::MUX_GATHERED_MAX / 5]);
    let messages: Vec<&[u8]> =
        vec![b"1", b"2", &large, b"3", &medium, &medium, &medium, &medium, &medium, b"4"];
    for message in &messages {
        a.send(one, 0, message).expect("sent");
    }
    let early = a.take();
    assert_eq!(early.len(), 3, "a batch, what is too large for one, a batch that is full");
    assert!(early.iter().all(|message| message.len() <= limits::MUX_GATHERED_MAX + 16));
    a.mux.write_gathered();
    a.mux.write_gathered();
    let late = a.take();
    assert_eq!(late.len(), 1);
    for message in early.iter().chain(&late) {
        b.input(Input::Message(message));
    }
    let bodies = b.take_events().into_iter().filter_map(|event| match event {
        Event::Message { bytes, .. } => Some(bytes),
        _ => None,
    });
    assert!(bodies.eq(messages.iter().map(|message| message.to_vec())), "each once, in order");
}

// proves protomux.6
#[test]
fn a_cork_over_two_channels_is_the_vector() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let one = a.open("one", None);
    let two = a.open("two", None);
    b.open("one", None);
    b.open("two", None);
    settle(&mut a, &mut b);
    a.mux.cork();
    a.send(one, 0, &text("x")[1..]).expect("sent");
    a.mux.uncork();
    a.take();
    a.sent.truncate(2);
    a.mux.cork();
    a.send(one, 0, &text("x")).expect("sent");
    a.send(two, 0, &text("y")).expect("sent");
    a.send(one, 0, &text("z")).expect("sent");
    a.open("three", None);
    a.close(two);
    a.mux.uncork();
    let batch = a.take().pop().expect("a batch");
    b.input(Input::Message(&batch));
    while let Some(event) = b.mux.poll_event() {
        if let Event::Wanted { protocol, .. } = &event {
            b.reject(&protocol.clone());
        }
    }
    b.take();
    let expected = vector("cork over two channels and an open");
    let wanted = sent(&expected, "a");
    assert_eq!(a.sent.last(), wanted.last());
    assert_eq!(b.sent.last(), sent(&expected, "b").last(), "the answer to a batch is a batch");
}

// proves protomux.10
#[test]
fn ids_are_used_again_as_in_the_vector() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let one = a.open("one", None);
    b.open("one", None);
    settle(&mut a, &mut b);
    a.close(one);
    settle(&mut a, &mut b);
    let two = a.open("two", None);
    b.open("two", None);
    settle(&mut a, &mut b);
    a.send(two, 0, &text("hi")).expect("sent");
    settle(&mut a, &mut b);
    is_vector("local ids are reused after close", &a, &b);
}

// proves protomux.10
#[test]
fn the_id_freed_last_is_used_first() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let channels: Vec<_> = ["x", "y", "z"].iter().map(|p| (a.open(p, None), b.open(p, None)).0).collect();
    settle(&mut a, &mut b);
    for n in [2, 0, 1] {
        a.close(channels[n]);
    }
    settle(&mut a, &mut b);
    for (protocol, id) in [("p", "02"), ("q", "01"), ("r", "03"), ("s", "04")] {
        a.open(protocol, None);
        let said = a.said();
        assert_eq!(&said[0][4..6], id, "{protocol}");
    }
}

// proves protomux.14, protomux.15
#[test]
fn an_alias_is_the_vector() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let id = [1; 32];
    let aliased = Open { aliases: &["hypercore"], ..Open::new("hypercore/alpha", Some(&id)) };
    let other = cx(|cx| b.mux.open(cx, aliased)).expect("opens");
    a.open("hypercore", Some(&id));
    settle(&mut a, &mut b);
    assert_eq!(b.events, [Event::Opened { channel: other, handshake: vec![] }]);
    assert!(b.mux.opened("hypercore", Some(&id)));
    cx(|cx| a.mux.reject(cx, "hypercore/alpha", Some(&id))).expect("waits");
    settle(&mut a, &mut b);
    is_vector("alias", &a, &b);
    assert_eq!(b.events.last(), Some(&Event::Closed { channel: other, by_remote: true }));
}

/// The side with the alias opens after the other's open came.
// proves protomux.14
#[test]
fn an_alias_takes_an_open_that_waits() {
    let (mut a, mut b) = (Side::default(), Side::default());
    a.open("hypercore", None);
    settle(&mut a, &mut b);
    let aliased = Open { aliases: &["hypercore"], ..Open::new("hypercore/alpha", None) };
    let other = cx(|cx| b.mux.open(cx, aliased)).expect("opens");
    assert_eq!(b.mux.poll_event(), Some(Event::Opened { channel: other, handshake: vec![] }));
    assert_eq!(b.mux.waiting, 0);
}

/// pitfalls 12.1: a message carries the sender's id; here the two sides' ids differ.
// proves protomux.11
#[test]
fn a_message_carries_the_senders_id() {
    let (mut a, mut b) = (Side::default(), Side::default());
    a.open("first", None);
    let (one, other) = (a.open("test", None), b.open("test", None));
    settle(&mut a, &mut b);
    a.send(one, 5, b"from a").expect("sent");
    b.send(other, 6, b"from b").expect("sent");
    a.events.clear();
    b.events.clear();
    settle(&mut a, &mut b);
    assert!(a.sent.last().is_some_and(|hex| hex.starts_with("0205")));
    assert!(b.sent.last().is_some_and(|hex| hex.starts_with("0106")));
    assert_eq!(a.events, [Event::Message { channel: one, kind: 6, bytes: b"from b".to_vec() }]);
    assert_eq!(b.events, [Event::Message { channel: other, kind: 5, bytes: b"from a".to_vec() }]);
}

/// pitfalls 12.2: what comes before the channel is paired is kept; beyond 32 KiB reading pauses.
// proves protomux.27
#[test]
fn messages_for_an_unpaired_channel_pause_reading_beyond_the_bound() {
    let mut b = Side::default();
    b.hear("000101047465737400");
    let message = [&[1, 0][..], &[7; 512]].concat();
    for n in 1..=40 {
        b.input(Input::Message(&message));
        b.take();
        let paused = n * 1024 > limits::MUX_BUFFERED_PAUSE;
        assert_eq!(b.reading, if paused { vec![false] } else { vec![] }, "after {n}");
    }
    b.open("test", None);
    b.take();
    assert_eq!(b.reading, [false, true]);
    let events = b.take_events();
    assert_eq!(events.len(), 41, "wanted is no longer told, opened and forty messages are");
}

/// Rejecting frees what was kept and lets reading go on.
// proves protomux.27
#[test]
fn a_reject_drops_what_was_kept() {
    let mut b = Side::default();
    b.hear("000101047465737400");
    let message = [&[1, 0][..], &[7; 40_000]].concat();
    b.input(Input::Message(&message));
    b.take();
    b.reject("test");
    assert_eq!(b.said(), ["000201"]);
    assert_eq!(b.reading, [false, true]);
    assert_eq!((b.mux.buffered, b.mux.kept, b.mux.waiting), (0, 0, 0));
}

// proves protomux.34
#[test]
fn a_peer_that_does_not_pause_is_cut_off() {
    let mut b = Side::default();
    b.hear("000101047465737400");
    let message = [&[1, 0][..], &[7; 1 << 20]].concat();
    let mut count = 0;
    while b.fault.is_none() {
        b.input(Input::Message(&message));
        b.take();
        count += 1;
    }
    assert_eq!((b.fault, count), (Some(Fault::Buffered), 32));
}

// proves protomux.24
/// pitfalls 12.3: an open on the control session is rejected.
#[test]
fn an_open_of_channel_zero_is_rejected() {
    let mut b = Side::default();
    b.hear("000100047465737400");
    assert_eq!(b.said(), ["000200"]);
    assert_eq!((b.fault, b.take_events()), (None, vec![]));
}

/// pitfalls 12.4: ids of the peer grow by one or are free.
// proves protomux.12
#[test]
fn ids_of_the_peer_grow_by_one() {
    for (messages, id) in [
        (&["000102047465737400"][..], 2),
        (&["000101047465737400", "000101047465737400"], 1),
        (&["000101047465737400", "000103047465737400"], 3),
        (&["0001ffffffffffffff1f00047465737400"], 0x1f_ffff_ffff_ffff),
    ] {
        let mut b = Side::default();
        for message in messages {
            b.hear(message);
        }
        b.take();
        assert_eq!(b.fault, Some(Fault::OpenId { channel: id }), "{messages:?}");
    }
}

/// pitfalls 12.5: opens of the same name pair in the order they were made.
// proves protomux.13, protomux.9
#[test]
fn opens_of_one_name_pair_in_order() {
    let (mut a, mut b) = (Side::default(), Side::default());
    let ours: Vec<_> = (0..3).map(|_| a.open_many("test")).collect();
    for (n, channel) in ours.iter().enumerate() {
        a.send(*channel, n as u64, b"").expect("sent");
    }
    settle(&mut a, &mut b);
    assert_eq!(b.events.len(), 3, "each open is told");
    b.events.clear();
    let theirs: Vec<_> = (0..3).map(|_| b.open_many("test")).collect();
    settle(&mut a, &mut b);
    let more = b.take_events();
    b.events.extend(more);
    for (n, channel) in theirs.iter().enumerate() {
        let kind = n as u64;
        assert!(b.events.contains(&Event::Message { channel: *channel, kind, bytes: vec![] }), "{n}");
    }
    let opened: Vec<_> = ours.iter().map(|id| Event::Opened { channel: *id, handshake: vec![] }).collect();
    assert_eq!(a.events, opened);
    assert_eq!(cx(|cx| b.mux.open(cx, Open::new("test", None))), Err(Error::Taken));
}

/// pitfalls 12.6: a batch has no limit but its bytes.
// proves protomux.30
#[test]
fn ten_thousand_messages_in_a_batch_all_arrive() {
    let (mut a, one, mut b, _) = pair();
    a.mux.cork();
    for n in 0_u32..10_000 {
        a.send(one, 0, &n.to_le_bytes()).expect("sent");
    }
    a.mux.uncork();
    let messages = a.take();
    assert_eq!(messages.len(), 1);
    b.input(Input::Message(&messages[0]));
    assert!(b.mux.events.len() <= limits::MUX_EVENTS_AHEAD, "it is unpacked in portions");
    b.events = b.take_events();
    let all: Vec<_> = (0_u32..10_000).map(|n| n.to_le_bytes().to_vec()).collect();
    assert_eq!(b.received(), all);
    assert_eq!(b.mux.poll_event(), None);
}

/// A close of the stream behind a large batch does not cut the batch off.
// proves protomux.35
#[test]
fn what_came_before_the_close_of_the_stream_is_handed_out() {
    let (mut a, one, mut b, other) = pair();
    a.mux.cork();
    for _ in 0..5000 {
        a.send(one, 0, b"x").expect("sent");
    }
    a.mux.uncork();
    let messages = a.take();
    b.input(Input::Message(&messages[0]));
    b.input(Input::Closed);
    let events = b.take_events();
    assert_eq!(events.len(), 5001);
    assert_eq!(events.last(), Some(&Event::Closed { channel: other, by_remote: true }));
    assert_eq!(cx(|cx| b.mux.open(cx, Open::new("x", None))), Err(Error::NotOpen));
    assert_eq!(b.said(), [""; 0]);
}

// proves protomux.30
#[test]
fn a_batch_of_ours_is_split() {
    let (mut a, one, mut b, _) = pair();
    a.mux.cork();
    for n in 0..5 {
        a.send(one, n, &vec![n as u8; 3 << 20]).expect("sent");
    }
    a.mux.uncork();
    let messages = a.take();
    let sizes: Vec<_> = messages.iter().map(|bytes| bytes.len() >> 20).collect();
    assert_eq!(sizes, [6, 6, 3]);
    for message in &messages {
        b.input(Input::Message(message));
    }
    b.events = b.take_events();
    assert_eq!(b.received().len(), 5);
    let long = vec![0; limits::MUX_MESSAGE_MAX];
    assert_eq!(a.send(one, 0, &long), Err(Error::Invalid("message of a channel: too long")));
}

/// pitfalls 12.7: the answers to a batch leave as one.
// proves protomux.28
#[test]
fn a_batch_is_answered_by_a_batch() {
    let (mut a, one, mut b, other) = pair();
    a.mux.cork();
    a.send(one, 0, b"x").expect("sent");
    a.send(one, 0, b"y").expect("sent");
    a.mux.uncork();
    let batch = a.take();
    b.input(Input::Message(&batch[0]));
    while let Some(Event::Message { bytes, .. }) = b.mux.poll_event() {
        b.send(other, 1, &bytes).expect("sent");
        if !b.mux.events.is_empty() {
            assert_eq!(b.said(), [""; 0], "held back while more events wait");
        }
    }
    assert_eq!(b.said(), ["000001020178020179"]);
    b.send(other, 1, b"z").expect("sent");
    assert_eq!(b.said(), ["01017a"], "and no longer than that");
}

/// pitfalls 12.8: a reject that nobody waits for is fatal.
// proves protomux.20
#[test]
fn a_reject_that_nobody_waits_for_is_fatal() {
    for message in ["000201", "000200", "000202", "0002fdffff"] {
        let (_, _, mut b, other) = pair();
        b.hear(message);
        b.take();
        assert!(matches!(b.fault, Some(Fault::Reject { .. })), "{message}");
        assert_eq!(b.take_events(), [Event::Closed { channel: other, by_remote: true }]);
    }
}

/// pitfalls 12.9: also a channel that waits for the peer's open may send again.
// proves protomux.36
#[test]
fn drained_is_for_channels_that_are_not_paired_too() {
    let mut a = Side::default();
    let one = a.open("test", None);
    a.input(Input::Writable(false));
    assert_eq!(a.send(one, 0, b"x"), Ok(false));
    a.input(Input::Writable(true));
    assert_eq!(a.take_events(), [Event::Drained]);
    assert_eq!(a.send(one, 0, b"x"), Ok(true));
    a.input(Input::Writable(true));
    assert_eq!(a.take_events(), []);
}

/// pitfalls 12.10: opens that nobody has answered are bounded.
// proves protomux.32
#[test]
fn opens_without_an_answer_are_bounded() {
    let mut b = Side::default();
    for n in 1..=limits::MUX_WAITING_MAX as u64 + 1 {
        assert_eq!(b.fault, None, "{n}");
        let mut message = vec![0, 1];
        let mut open = format::Open { channel: n, protocol: format!("p{n}"), ..Default::default() };
        wire::encode_into(&mut open, &mut message);
        b.input(Input::Message(&message));
        b.take_events();
        b.take();
    }
    assert_eq!(b.fault, Some(Fault::Waiting));
}

// proves protomux.33
#[test]
fn ids_are_bounded_on_both_sides() {
    let (mut a, mut b) = (Side::default(), Side::default());
    for n in 0..limits::MUX_IDS_MAX {
        a.open_many("test");
        let opens = a.take();
        b.input(Input::Message(&opens[0]));
        assert!(matches!(b.mux.poll_event(), Some(Event::Wanted { .. })));
        b.reject("test");
        b.take();
        assert_eq!(b.fault, None, "{n}");
    }
    let open = Open { unique: false, ..Open::new("test", None) };
    assert_eq!(cx(|cx| a.mux.open(cx, open)), Err(Error::Full));
    let mut message = vec![0, 1];
    let next = limits::MUX_IDS_MAX as u64 + 1;
    let mut open = format::Open { channel: next, protocol: "test".into(), ..Default::default() };
    wire::encode_into(&mut open, &mut message);
    b.input(Input::Message(&message));
    b.take();
    assert_eq!(b.fault, Some(Fault::Ids));
}

/// pitfalls 12.12: an owner that cannot take more stops the stream.
// proves protomux.37
#[test]
fn an_owner_can_stop_the_stream() {
    let (_, _, mut b, _) = pair();
    b.mux.set_reading(false);
    b.mux.set_reading(false);
    b.take();
    assert_eq!(b.reading, [false]);
    b.mux.set_reading(true);
    b.take();
    assert_eq!(b.reading, [false, true]);
}

// proves protomux.18, protomux.22
#[test]
fn a_channel_closed_before_the_peer_opened_it_keeps_its_id() {
    let mut a = Side::default();
    let one = a.open("test", None);
    a.close(one);
    assert_eq!(a.said(), ["000101047465737400", "000301"]);
    assert!(!a.mux.is_idle());
    a.open("other", None);
    assert_eq!(a.said(), ["000102056f7468657200"], "the id is not free yet");
    a.hear("000101047465737400");
    assert_eq!(a.said(), [""; 0], "the peer's open is swallowed");
    assert_eq!(a.take_events(), [Event::Closed { channel: one, by_remote: false }]);
    a.open("third", None);
    assert_eq!(a.said(), ["00010105746869726400"], "now it is");
    a.hear("000101047465737400");
    assert_eq!(a.take_events().len(), 1, "the peer's id was free as well");
    assert_eq!(a.fault, None);
}

// proves protomux.18
#[test]
fn a_reject_frees_the_id_of_a_closed_channel() {
    let mut a = Side::default();
    let one = a.open("test", None);
    a.close(one);
    a.hear("000201");
    assert_eq!((a.fault, a.mux.is_idle(), a.mux.names.len()), (None, true, 0));
}

/// The peer opened, sent and closed before anybody here answered.
// proves protomux.23
#[test]
fn an_open_that_was_closed_again_still_delivers() {
    let mut b = Side::default();
    b.hear("000101047465737400").hear("010568").hear("000301");
    assert_eq!(b.take_events(), [Event::Wanted { protocol: "test".into(), id: None }]);
    let channel = b.open("test", None);
    assert_eq!(
        b.take_events(),
        [
            Event::Opened { channel, handshake: vec![] },
            Event::Message { channel, kind: 5, bytes: b"h".to_vec() },
            Event::Closed { channel, by_remote: true }
        ]
    );
    assert_eq!(b.said(), ["000101047465737400"], "the open is the answer that frees the peer's id");
    assert!(b.mux.is_idle());
}

// proves protomux.16, protomux.21, protomux.25, protomux.26
#[test]
fn what_concerns_no_channel_is_ignored() {
    let (_, _, mut b, other) = pair();
    for message in ["", "0905", "000309", "000300", "0004ff", "00fdffff", "02"] {
        if message == "02" {
            b.close(other);
            b.take_events();
            b.take();
            b.hear("010068");
            continue;
        }
        b.hear(message);
    }
    assert_eq!((b.take_events(), b.said(), b.fault), (vec![], vec![], None));
    assert_eq!(b.send(other, 0, b""), Err(Error::Gone));
}

// proves protomux.8
#[test]
fn a_malformed_message_ends_the_stream() {
    for message in ["00", "fd", "0001", "00010105", "000001", "0000", "00000102", "01"] {
        let (_, _, mut b, other) = pair();
        b.hear(message);
        b.take();
        if message == "000001" {
            assert_eq!(b.fault, None, "an empty batch is legal");
            continue;
        }
        assert!(matches!(b.fault, Some(Fault::Malformed(_))), "{message}");
        assert_eq!(b.take_events(), [Event::Closed { channel: other, by_remote: true }]);
        b.hear("010068");
        assert_eq!(b.take_events(), []);
    }
}

// proves protomux.4
#[test]
fn a_name_need_not_be_text() {
    let mut b = Side::default();
    b.hear("00010102ff61020102");
    let wanted = Event::Wanted { protocol: "\u{fffd}a".into(), id: Some(vec![1, 2]) };
    assert_eq!((b.take_events(), b.fault), (vec![wanted], None));
}

// proves protomux.7
#[test]
fn the_last_message_of_a_batch_may_claim_too_much() {
    let (_, _, mut b, channel) = pair();
    b.hear("0000010203680305ffff");
    let message = |kind, bytes: &[u8]| Event::Message { channel, kind, bytes: bytes.to_vec() };
    assert_eq!(b.take_events(), [message(3, b"h"), message(5, &[0xff, 0xff])]);
    b.hear("000001ff0000000000000100056801");
    assert_eq!(b.take_events(), [message(5, b"h\x01")]);
}

// proves protomux.31
#[test]
fn batches_within_batches_are_read_up_to_a_depth() {
    let (_, _, mut b, channel) = pair();
    // a batch for channel 1 with a message, then channel 0 with a batch for channel 1 with a message
    b.hear("000001 02 03 68 00 00 05 00 01 02 04 69".replace(' ', "").as_str());
    let message = |kind, bytes: &[u8]| Event::Message { channel, kind, bytes: bytes.to_vec() };
    assert_eq!(b.take_events(), [message(3, b"h"), message(4, b"i")]);
    let mut inner = vec![0x00, 0x01, 0x02, 0x04, 0x69];
    for depth in 2..=limits::MUX_BATCH_DEPTH + 1 {
        inner = [&[0, 0, inner.len() as u8][..], &inner].concat();
        let (_, _, mut b, channel) = pair();
        b.input(Input::Message(&[&[0][..], &inner].concat()));
        b.take();
        if depth <= limits::MUX_BATCH_DEPTH {
            assert_eq!(b.fault, None);
            let bytes = b"i".to_vec();
            assert_eq!(b.take_events(), [Event::Message { channel, kind: 4, bytes }]);
        } else {
            assert_eq!(b.fault, Some(Fault::Depth));
        }
    }
}

#[test]
fn nothing_is_handed_out_for_a_channel_closed_here() {
    let (_, _, mut b, channel) = pair();
    b.hear("010068").hear("010069").hear("000301");
    assert!(matches!(b.mux.poll_event(), Some(Event::Message { .. })));
    b.close(channel);
    assert_eq!(b.take_events(), [Event::Closed { channel, by_remote: true }]);
    assert_eq!(cx(|cx| b.mux.close(cx, channel)), Err(Error::Gone));
    assert_eq!(b.said(), [""; 0]);
}

/// No bytes make it panic, and whatever came, what is counted adds up.
#[test]
fn drawn_bytes_are_survived() {
    use crate::base::Entropy;
    for seed in 0..3000 {
        let mut entropy = Seeded::new(seed);
        let (_, _, mut b, _) = pair();
        for _ in 0..30 {
            let mut bytes = vec![0; entropy.below(24) as usize];
            entropy.fill(&mut bytes);
            for byte in &mut bytes {
                *byte = match entropy.below(3) {
                    0 => *byte % 4,
                    1 => *byte % 9,
                    _ => *byte,
                };
            }
            b.input(Input::Message(&bytes));
            if entropy.chance(300)
                && let Some(Event::Wanted { protocol, id }) = b.mux.poll_event()
            {
                let open = Open { unique: false, ..Open::new(&protocol, id.as_deref()) };
                let _ = cx(|cx| b.mux.open(cx, open));
            }
            if entropy.chance(100) {
                let first = b.mux.channels().next();
                if let Some(channel) = first {
                    b.close(channel);
                }
            }
        }
        let waiting = b.mux.remote.iter().flatten().filter(|slot| matches!(slot, Remote::Waiting(_))).count();
        assert_eq!(b.mux.waiting, waiting, "seed {seed}");
        b.input(Input::Closed);
        b.take_events();
        assert_eq!(b.mux.channels().count(), 0);
    }
}
