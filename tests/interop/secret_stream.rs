//! seckel and the real packages: secret streams, Noise, signatures.

use seckel::base::{Cx, Entropy, Machine, NoTrace, Seeded, Span, Time, hex};
use seckel::crypto::{KeyPair, Noise, NoiseKeys, hash, sign};
use seckel::secret_stream::{Event, Input, Keys, Output, SecretStream, Why};
use seckel::sim::ramdisk::RamDisk;
use serde_json::{Value, json};

use crate::support::{Node, skipped};

const SCRIPT: &str = "secret_stream.js";

/// Our end, Node's end, and the bytes between them.
struct Wire {
    node: Node,
    ours: SecretStream,
    now: Time,
    entropy: Seeded,
    disk: RamDisk,
    /// What Node told of its stream, apart from bytes.
    said: Vec<Value>,
    events: Vec<Event>,
    /// Flips the last bit of everything that comes from Node.
    garbled: bool,
}

fn with<T>(entropy: &mut Seeded, disk: &mut RamDisk, now: Time, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    act(&mut Cx { now, entropy, disk, trace: &mut NoTrace })
}

impl Wire {
    fn new(seed: u64, start: &Value, make: impl FnOnce(&mut Cx<'_>) -> SecretStream) -> Wire {
        let (mut entropy, mut disk) = (Seeded::new(seed), RamDisk::new());
        let ours = with(&mut entropy, &mut disk, Time::ZERO, make);
        let node = Node::start(SCRIPT, &[]);
        let (said, events, garbled) = (Vec::new(), Vec::new(), false);
        let mut wire = Wire { node, ours, now: Time::ZERO, entropy, disk, said, events, garbled };
        wire.tell(&json!([["start", start]]));
        wire
    }

    /// Each does its own handshake.
    fn shaking(we_initiate: bool) -> Wire {
        let start = json!({"initiator": !we_initiate, "seed": hex::encode(&[0xb1; 32])});
        let pair = KeyPair::from_seed([0xa1; 32]);
        Wire::new(1 + u64::from(we_initiate), &start, |cx| SecretStream::handshake(cx, we_initiate, &pair))
    }

    /// Both have keys from elsewhere.
    fn keyed(we_initiate: bool) -> Wire {
        let (tx, rx, handshake_hash) = ([4; 32], [5; 32], [3; 64]);
        let start = json!({"initiator": !we_initiate, "keys": {
            "tx": hex::encode(&rx), "rx": hex::encode(&tx), "hash": hex::encode(&handshake_hash),
            "publicKey": hex::encode(&[2; 32]), "remotePublicKey": hex::encode(&[1; 32]),
        }});
        let keys = NoiseKeys { tx, rx, handshake_hash, remote_public: [2; 32] };
        let keys = Keys { initiator: we_initiate, keys, public: [1; 32] };
        Wire::new(3, &start, |cx| SecretStream::with_keys(cx, keys))
    }

    /// Tells Node what to do and takes what it says; its bytes go to our end.
    fn tell(&mut self, todo: &Value) {
        let said = self.node.ask(todo);
        for said in said.as_array().expect("a list") {
            let of = |name: &str| said[name].as_str().map(|text| hex::decode(text).expect("hex"));
            let (write, send) = (of("write"), of("send"));
            if let Some(mut bytes) = write {
                if let Some(last) = bytes.last_mut().filter(|_| self.garbled) {
                    *last ^= 1;
                }
                self.input(Input::Bytes(&bytes));
            } else if let Some(datagram) = send {
                if self.garbled {
                    damaged(&datagram).iter().for_each(|datagram| self.input(Input::Message(datagram)));
                    self.input(Input::Message(&datagram));
                }
                self.input(Input::Message(&datagram));
            } else if said["end"] == true {
                self.input(Input::Ended);
            } else if said["destroy"] == true {
                self.input(Input::Closed);
            } else {
                self.said.push(said.clone());
            }
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut SecretStream, &mut Cx<'_>) -> T) -> T {
        let ours = &mut self.ours;
        with(&mut self.entropy, &mut self.disk, self.now, |cx| act(ours, cx))
    }

    fn input(&mut self, input: Input<'_>) {
        self.with(|ours, cx| ours.handle_input(cx, input));
    }

    /// Carries what is to be carried until nothing moves.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.ours.poll_event() {
                self.events.push(event);
            }
            let mut todo = Vec::new();
            while let Some(output) = self.with(|ours, cx| ours.poll_output(cx)) {
                todo.push(match output {
                    Output::Write(bytes) => json!(["bytes", hex::encode(&bytes)]),
                    Output::Send(bytes) => json!(["datagram", hex::encode(&bytes)]),
                    Output::End => json!(["rawEnd"]),
                    Output::Destroy => json!(["destroy"]),
                });
            }
            if todo.is_empty() {
                return;
            }
            self.tell(&Value::Array(todo));
        }
    }

    /// Node's `name`s so far.
    fn heard(&self, name: &str) -> Vec<Vec<u8>> {
        let texts = self.said.iter().filter_map(|said| said[name].as_str());
        texts.map(|text| hex::decode(text).expect("hex")).collect()
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let message = |event: &Event| match event {
            Event::Message(message) => Some(message.clone()),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }
}

/// Messages of all sorts of lengths.
fn samples() -> Vec<Vec<u8>> {
    let mut entropy = Seeded::new(9);
    [0, 1, 15, 16, 17, 63, 64, 65, 1000, 65519, 65536, 300_000]
        .map(|len| {
            let mut message = vec![0; len];
            entropy.fill(&mut message);
            message
        })
        .to_vec()
}

fn exchange(mut wire: Wire, remote_key: [u8; 32]) {
    for message in samples() {
        wire.with(|ours, cx| ours.send(cx, &message)).expect("room");
        wire.tell(&json!([["write", hex::encode(&message)]]));
    }
    wire.settle();
    assert!(wire.messages() == samples(), "what Node wrote");
    assert!(wire.heard("message") == samples(), "what we wrote");
    let open = wire.events.iter().find_map(|event| match event {
        Event::Open { remote_key, handshake_hash } => Some((*remote_key, *handshake_hash)),
        _ => None,
    });
    let (key, handshake_hash) = open.expect("open");
    assert_eq!(key, remote_key);
    assert_eq!(wire.heard("hash"), [handshake_hash.to_vec()]);
    assert_eq!(wire.heard("open"), [wire.ours.public_key().to_vec()]);

    for text in ["beside", ""] {
        wire.with(|ours, cx| ours.send_unordered(cx, text.as_bytes())).expect("open");
        wire.tell(&json!([["unordered", hex::encode(text.as_bytes())]]));
    }
    wire.settle();
    assert_eq!(wire.heard("unordered"), [b"beside".to_vec(), Vec::new()]);
    let beside = |event: &&Event| matches!(event, Event::Unordered(_));
    assert_eq!(wire.events.iter().filter(beside).count(), 2);

    wire.tell(&json!([["counters", null]]));
    let counters = wire.said.pop().expect("counters");
    let stats = wire.ours.stats();
    assert_eq!((counters["read"].as_u64(), counters["written"].as_u64()), {
        let frames = samples().len() as u64;
        let (read, written) = (stats.raw_bytes_written - 3 * frames, stats.raw_bytes_read + 3 * frames);
        (Some(read), Some(written))
    });

    // Both end, one after the other.
    wire.with(|ours, cx| ours.end(cx));
    wire.settle();
    assert!(wire.said.iter().any(|said| said["ended"] == true));
    wire.tell(&json!([["write", "6c617374"], ["end", null]]));
    wire.settle();
    let last = wire.events.iter().rev().find(|event| matches!(event, Event::Message(_)));
    assert_eq!(last, Some(&Event::Message(b"last".to_vec())));
    assert!(wire.events.contains(&Event::Ended));
    assert!(
        wire.said.iter().all(|said| said["error"].is_null() && said["threw"].is_null()),
        "{:?}",
        wire.said
    );
    wire.input(Input::Closed);
    wire.settle();
    assert_eq!(wire.events.pop(), Some(Event::Closed(Why::Ended)));
    wire.node.finish();
}

#[test]
fn streams_with_their_own_handshake() {
    if skipped("streams_with_their_own_handshake") {
        return;
    }
    let theirs = KeyPair::from_seed([0xb1; 32]).public;
    exchange(Wire::shaking(true), theirs);
    exchange(Wire::shaking(false), theirs);
}

#[test]
fn streams_with_keys_from_elsewhere() {
    if skipped("streams_with_keys_from_elsewhere") {
        return;
    }
    exchange(Wire::keyed(true), [2; 32]);
    exchange(Wire::keyed(false), [2; 32]);
}

/// pitfalls 11.8: keep-alives are empty messages, and either side swallows those of the other.
#[test]
fn keep_alives_pass_unseen() {
    if skipped("keep_alives_pass_unseen") {
        return;
    }
    let mut wire = Wire::keyed(true);
    wire.with(|ours, cx| ours.set_keep_alive(cx, Some(Span::from_secs(5))));
    wire.settle();
    wire.tell(&json!([["keepAlive", null], ["write", "61"]]));
    wire.now += Span::from_secs(5);
    wire.with(|ours, cx| ours.handle_timeout(cx));
    wire.settle();
    assert_eq!(wire.messages(), [b"a".to_vec()]);
    // Node has keep-alive off, so it sees ours.
    assert_eq!(wire.heard("message"), [Vec::<u8>::new()]);
    wire.node.finish();
}

#[test]
fn a_garbled_stream_ends_on_either_side() {
    if skipped("a_garbled_stream_ends_on_either_side") {
        return;
    }
    let mut wire = Wire::keyed(true);
    wire.settle();
    wire.garbled = true;
    wire.tell(&json!([["write", "61"]]));
    wire.settle();
    assert!(matches!(wire.events.last(), Some(Event::Closed(Why::Fault(_)))), "{:?}", wire.events);
    let mut wire = Wire::keyed(false);
    wire.settle();
    wire.with(|ours, cx| ours.send(cx, b"a")).expect("open");
    let Some(Output::Write(mut frame)) = wire.with(|ours, cx| ours.poll_output(cx)) else {
        panic!("a frame")
    };
    frame[10] ^= 1;
    wire.tell(&json!([["bytes", hex::encode(&frame)]]));
    wire.settle();
    assert!(wire.said.iter().any(|said| said["error"].is_string()), "{:?}", wire.said);
    assert_eq!(wire.events.last(), Some(&Event::Closed(Why::Cut)));
}

/// A datagram under another nonce, with a bit flipped, and cut short.
fn damaged(datagram: &[u8]) -> [Vec<u8>; 3] {
    let mut changed = [datagram.to_vec(), datagram.to_vec(), datagram[..23].to_vec()];
    changed[0][0] ^= 1;
    if let Some(last) = changed[1].last_mut() {
        *last ^= 0x80;
    }
    changed
}

/// Of datagrams that were changed on the way neither side hears; of one that came twice both hear twice.
#[test]
fn damaged_datagrams_vanish_and_copies_do_not() {
    if skipped("damaged_datagrams_vanish_and_copies_do_not") {
        return;
    }
    for initiator in [true, false] {
        let mut wire = Wire::keyed(initiator);
        wire.settle();
        wire.with(|ours, cx| ours.send_unordered(cx, b"ours")).expect("open");
        let Some(Output::Send(datagram)) = wire.with(|ours, cx| ours.poll_output(cx)) else {
            panic!("a datagram")
        };
        for datagram in damaged(&datagram).iter().chain([&datagram, &datagram]) {
            wire.tell(&json!([["datagram", hex::encode(datagram)]]));
        }
        assert_eq!(wire.heard("unordered"), [b"ours", b"ours"]);
        wire.garbled = true;
        wire.tell(&json!([["unordered", hex::encode(b"theirs")]]));
        wire.garbled = false;
        wire.tell(&json!([["write", "61"]]));
        wire.settle();
        let theirs = |event: &&Event| matches!(event, Event::Unordered(message) if message == b"theirs");
        assert_eq!(wire.events.iter().filter(theirs).count(), 2);
        assert_eq!(wire.ours.stats().unordered_dropped, 3);
        assert_eq!(wire.messages(), [b"a"], "the stream is none the worse for it");
        wire.node.finish();
    }
}

/// Frames that come byte by byte, many at once, and as long as a frame can be.
#[test]
fn frames_of_any_cut_and_of_the_greatest_length() {
    if skipped("frames_of_any_cut_and_of_the_greatest_length") {
        return;
    }
    let mut wire = Wire::keyed(true);
    wire.settle();
    let mut bytes = Vec::new();
    for message in samples().iter().filter(|message| message.len() < 100) {
        wire.with(|ours, cx| ours.send(cx, message)).expect("room");
    }
    while let Some(Output::Write(frame)) = wire.with(|ours, cx| ours.poll_output(cx)) {
        bytes.extend_from_slice(&frame);
    }
    let (single, joined) = bytes.split_at(bytes.len() / 2);
    let mut todo: Vec<Value> = single.iter().map(|byte| json!(["bytes", hex::encode(&[*byte])])).collect();
    todo.push(json!(["bytes", hex::encode(joined)]));
    wire.tell(&Value::Array(todo));
    let short: Vec<Vec<u8>> = samples().into_iter().filter(|message| message.len() < 100).collect();
    assert_eq!(wire.heard("message"), short);

    wire.said.clear();
    let longest = vec![0x5a; seckel::secret_stream::MESSAGE_MAX];
    wire.with(|ours, cx| ours.send(cx, &longest)).expect("room");
    wire.tell(&json!([["write", hex::encode(&longest)]]));
    wire.settle();
    assert!(wire.heard("message") == [longest.clone()], "ours");
    assert!(wire.messages() == [longest], "theirs");
    wire.node.finish();
}

/// Whoever destroys the stream, the other side hears that it was cut.
#[test]
fn either_side_may_destroy_the_stream() {
    if skipped("either_side_may_destroy_the_stream") {
        return;
    }
    let mut wire = Wire::keyed(true);
    wire.settle();
    wire.tell(&json!([["destroy", null]]));
    wire.settle();
    assert_eq!(wire.events.last(), Some(&Event::Closed(Why::Cut)));
    let mut wire = Wire::keyed(false);
    wire.settle();
    wire.with(|ours, cx| ours.destroy(cx));
    wire.settle();
    assert_eq!(wire.events.last(), Some(&Event::Closed(Why::Destroyed)));
    assert!(wire.said.iter().any(|said| said["closed"] == true), "{:?}", wire.said);
}

fn first(said: &Value, name: &str) -> Vec<u8> {
    hex::decode(said[0][name].as_str().unwrap_or_else(|| panic!("{name} in {said}"))).expect("hex")
}

#[test]
fn noise_with_either_side_first() {
    if skipped("noise_with_either_side_first") {
        return;
    }
    let mut node = Node::start(SCRIPT, &[]);
    let (own, other) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
    let mut entropy = Seeded::new(5);
    for (pattern, we_initiate, messages) in
        [("IK", true, 2), ("IK", false, 2), ("XX", true, 3), ("XX", false, 3)]
    {
        let remote = (pattern == "IK" && !we_initiate).then(|| hex::encode(&own.public));
        node.ask(&json!([["noise", {"pattern": pattern, "initiator": !we_initiate, "remote": remote,
            "seed": hex::encode(other.seed()), "prologue": hex::encode(b"prologue")}]]));
        let mut noise = match (pattern, we_initiate) {
            ("IK", true) => Noise::ik_initiator(&mut entropy, &own, &other.public, b"prologue"),
            ("IK", false) => Noise::ik_responder(&mut entropy, &own, b"prologue"),
            _ => Noise::xx(&mut entropy, we_initiate, &own, b"prologue"),
        };
        for n in 0..messages {
            let payload = vec![n; 10 * usize::from(n)];
            if (n % 2 == 0) == we_initiate {
                let message = noise.write(&payload).expect("its turn");
                let said = node.ask(&json!([["noiseRecv", hex::encode(&message)]]));
                assert_eq!(first(&said, "payload"), payload);
            } else {
                let said = node.ask(&json!([["noiseSend", hex::encode(&payload)]]));
                assert_eq!(noise.read(&first(&said, "message")), Ok(payload));
            }
        }
        let keys = noise.finish().expect("done");
        let said = node.ask(&json!([["noiseKeys", null]]));
        assert_eq!((first(&said, "tx"), first(&said, "rx")), (keys.rx.to_vec(), keys.tx.to_vec()));
        assert_eq!(first(&said, "hash"), keys.handshake_hash);
        assert_eq!(first(&said, "remote"), own.public);
        assert_eq!(keys.remote_public, other.public);
    }
    node.finish();
}

#[test]
fn signatures_and_hashes_of_either_side() {
    if skipped("signatures_and_hashes_of_either_side") {
        return;
    }
    let mut node = Node::start(SCRIPT, &[]);
    let mut entropy = Seeded::new(6);
    for message in samples().into_iter().take(9) {
        let pair = KeyPair::generate(&mut entropy);
        let said = node
            .ask(&json!([["sign", {"seed": hex::encode(pair.seed()), "message": hex::encode(&message)}]]));
        assert_eq!(first(&said, "publicKey"), pair.public);
        let signature: [u8; 64] = first(&said, "signature").try_into().expect("64 bytes");
        assert_eq!(signature, pair.sign(&message));
        assert!(sign::verify(&pair.public, &message, &signature));
        let mut forged = signature;
        forged[40] ^= 1;
        for (signature, valid) in [(signature, true), (forged, false)] {
            let said = node.ask(&json!([["verify", {"publicKey": hex::encode(&pair.public),
                "message": hex::encode(&message), "signature": hex::encode(&signature)}]]));
            assert_eq!(said[0]["valid"], valid);
            assert_eq!(sign::verify(&pair.public, &message, &signature), valid);
        }
        let (head, tail) = message.split_at(message.len() / 3);
        let said = node.ask(&json!([["hash", [hex::encode(head), hex::encode(tail)]]]));
        assert_eq!(first(&said, "hash"), hash::blake2b_256(&[head, tail]));
    }
    node.finish();
}
