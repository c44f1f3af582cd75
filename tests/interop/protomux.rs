//! protomux against the package: one multiplexer here, one there, and messages carried between them.

use seckel::base::{Cx, Entropy, Machine, NoTrace, Seeded, Time, hex};
use seckel::protomux::{ChannelId, Event, Fault, Input, Open, Output, Protomux};
use seckel::sim::ramdisk::RamDisk;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

use crate::support::{Node, skipped};

pub fn cx<T>(run: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut entropy, mut disk, mut trace) = (Seeded::new(1), RamDisk::new(), NoTrace);
    run(&mut Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut trace })
}

struct Pair {
    node: Node,
    mux: Protomux,
    /// What Node says that it was told.
    there: Vec<Value>,
    here: Vec<Event>,
    /// Messages sent by Node, by us.
    heard: Vec<String>,
    said: Vec<String>,
    fault: Option<Fault>,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            node: Node::start("protomux.js", &[]),
            mux: Protomux::new(),
            there: Vec::new(),
            here: Vec::new(),
            heard: Vec::new(),
            said: Vec::new(),
            fault: None,
        }
    }

    /// The same process, with nothing open.
    fn fresh(&mut self) {
        self.node.ask(&json!({ "do": "fresh" }));
        (self.mux, self.fault) = (Protomux::new(), None);
        (self.there, self.here) = (Vec::new(), Vec::new());
        (self.heard, self.said) = (Vec::new(), Vec::new());
    }

    fn open(&mut self, protocol: &str) -> ChannelId {
        let open = Open { unique: false, handshake: b"hi", ..Open::new(protocol, None) };
        cx(|cx| self.mux.open(cx, open)).expect("opens")
    }

    fn send(&mut self, channel: ChannelId, kind: u64, bytes: &[u8]) {
        cx(|cx| self.mux.send(cx, channel, kind, bytes)).expect("sent");
    }

    /// Has Node do something, then carries messages until nothing moves. What nobody here opened is rejected.
    fn settle(&mut self, commands: Value) {
        let mut commands = Some(commands);
        for _ in 0..64 {
            let mut messages = Vec::new();
            while let Some(output) = cx(|cx| self.mux.poll_output(cx)) {
                match output {
                    Output::Message(bytes) => messages.push(hex::encode(&bytes)),
                    Output::Destroy(fault) => self.fault = Some(fault),
                    Output::Reading(_) => {}
                }
            }
            let first = commands.take();
            if messages.is_empty() && first.is_none() {
                return;
            }
            self.said.extend(messages.iter().cloned());
            let hear = json!({ "do": "hear", "messages": messages });
            let all = match first {
                Some(Value::Array(list)) => Value::Array([list, vec![hear]].concat()),
                Some(one) => json!([one, hear]),
                None => json!([hear]),
            };
            let answer = self.node.ask(&all);
            self.there.extend(answer["events"].as_array().expect("events").iter().cloned());
            for message in answer["sent"].as_array().expect("sent") {
                let line = message.as_str().expect("hex").to_owned();
                let bytes = hex::decode(&line).expect("hex");
                self.heard.push(line);
                cx(|cx| self.mux.handle_input(cx, Input::Message(&bytes)));
                while let Some(event) = self.mux.poll_event() {
                    if let Event::Wanted { protocol, id } = &event {
                        let _ = cx(|cx| self.mux.reject(cx, protocol, id.as_deref()));
                    }
                    self.here.push(event);
                }
            }
        }
        panic!("does not settle");
    }

    fn go_on(&mut self) {
        self.settle(json!([]));
    }

    fn received_here(&self) -> Vec<Vec<u8>> {
        let message = |event: &Event| match event {
            Event::Message { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        self.here.iter().filter_map(message).collect()
    }

    fn received_there(&self) -> Vec<Vec<u8>> {
        let message =
            |event: &Value| (event["event"] == "message").then(|| hex::decode(event["bytes"].as_str()?))?;
        self.there.iter().filter_map(message).collect()
    }

    fn destroyed(&self) -> (bool, bool) {
        (self.fault.is_some(), self.there.iter().any(|event| event["event"] == "destroyed"))
    }
}

#[test]
fn a_channel_opens_carries_and_closes_from_either_side() {
    if skipped("protomux: open, carry, close") {
        return;
    }
    let mut pair = Pair::new();
    for closer in ["here", "there"] {
        pair.fresh();
        let channel = pair.open("test");
        pair.settle(json!({ "do": "open", "name": "x", "protocol": "test", "handshake": "07" }));
        assert_eq!(pair.here, [Event::Opened { channel, handshake: vec![7] }]);
        assert_eq!(pair.there, [json!({ "event": "opened", "channel": "x", "handshake": "6869" })]);
        pair.send(channel, 3, b"from here");
        pair.settle(json!({ "do": "send", "channel": "x", "kind": 2, "bytes": "aabb" }));
        assert_eq!(pair.received_there(), [b"from here"]);
        assert_eq!(pair.here.last(), Some(&Event::Message { channel, kind: 2, bytes: vec![0xaa, 0xbb] }));
        if closer == "here" {
            cx(|cx| pair.mux.close(cx, channel)).expect("closes");
            pair.go_on();
            assert_eq!(
                pair.there.last(),
                Some(&json!({ "event": "closed", "channel": "x", "remote": true }))
            );
        } else {
            pair.settle(json!({ "do": "close", "channel": "x" }));
            assert_eq!(pair.here.last(), Some(&Event::Closed { channel, by_remote: true }));
        }
        pair.settle(json!({ "do": "idle" }));
        assert_eq!(pair.there.last(), Some(&json!({ "event": "idle", "idle": true })));
        assert!(pair.mux.is_idle());
        assert_eq!(pair.destroyed(), (false, false));
    }
}

#[test]
fn messages_before_the_others_open_arrive_in_both_directions() {
    if skipped("protomux: pipelining") {
        return;
    }
    let mut pair = Pair::new();
    // ours come before Node has opened: its pair hook opens
    pair.settle(json!({ "do": "pair", "name": "x", "protocol": "test" }));
    let channel = pair.open("test");
    pair.send(channel, 0, b"one");
    pair.send(channel, 1, b"two");
    pair.go_on();
    assert_eq!(pair.received_there(), [b"one", b"two"]);
    assert!(pair.mux.is_open(channel));

    // Node's come before we have opened
    pair.fresh();
    let open = json!({ "do": "open", "name": "y", "protocol": "later" });
    let send = json!({ "do": "send", "channel": "y", "kind": 1, "bytes": "0102" });
    let answer = pair.node.ask(&json!([open, send]));
    for message in answer["sent"].as_array().expect("sent") {
        let bytes = hex::decode(message.as_str().expect("hex")).expect("hex");
        cx(|cx| pair.mux.handle_input(cx, Input::Message(&bytes)));
    }
    assert_eq!(pair.mux.poll_event(), Some(Event::Wanted { protocol: "later".into(), id: None }));
    let channel = pair.open("later");
    assert!(matches!(pair.mux.poll_event(), Some(Event::Opened { .. })));
    let wanted = Event::Message { channel, kind: 1, bytes: vec![1, 2] };
    assert_eq!(pair.mux.poll_event(), Some(wanted));
    pair.go_on();
    assert_eq!(pair.there.last().map(|event| &event["event"]), Some(&json!("opened")));
}

#[test]
fn what_nobody_wants_is_rejected_by_either_side() {
    if skipped("protomux: rejects") {
        return;
    }
    let mut pair = Pair::new();
    let channel = pair.open("nobody there");
    pair.settle(json!({ "do": "open", "name": "x", "protocol": "nobody here" }));
    assert!(pair.here.contains(&Event::Closed { channel, by_remote: true }));
    assert!(pair.there.contains(&json!({ "event": "closed", "channel": "x", "remote": true })));
    pair.settle(json!({ "do": "idle" }));
    assert_eq!(pair.there.last().map(|event| &event["idle"]), Some(&json!(true)));
    assert_eq!((pair.mux.is_idle(), pair.destroyed()), (true, (false, false)));
}

#[test]
fn batches_go_both_ways_and_are_answered_by_batches() {
    if skipped("protomux: batches") {
        return;
    }
    let mut pair = Pair::new();
    let (one, two) = (pair.open("one"), pair.open("two"));
    pair.settle(json!([
        { "do": "open", "name": "one", "protocol": "one", "echo": true },
        { "do": "open", "name": "two", "protocol": "two" },
    ]));
    let (said, heard) = (pair.said.len(), pair.heard.len());
    pair.mux.cork();
    for n in 0_u16..10_000 {
        pair.send(one, 0, &n.to_le_bytes());
    }
    pair.send(two, 1, b"x");
    pair.send(one, 2, b"y");
    pair.mux.uncork();
    pair.go_on();
    assert_eq!((pair.said.len() - said, pair.heard.len() - heard), (1, 1), "a batch, answered by a batch");
    let mut wanted: Vec<Vec<u8>> = (0_u16..10_000).map(|n| n.to_le_bytes().to_vec()).collect();
    wanted.push(b"y".to_vec());
    assert_eq!(pair.received_here(), wanted, "the echo");
    wanted.insert(10_000, b"x".to_vec());
    assert_eq!(pair.received_there(), wanted);

    pair.here.clear();
    pair.settle(json!([
        { "do": "cork" },
        { "do": "many", "channel": "two", "count": 10_000 },
        { "do": "send", "channel": "one", "kind": 3, "bytes": "ff" },
        { "do": "uncork" },
    ]));
    assert_eq!(pair.received_here().len(), 10_001);
    assert_eq!(pair.here.last(), Some(&Event::Message { channel: one, kind: 3, bytes: vec![0xff] }));
    assert_eq!(pair.destroyed(), (false, false));
}

/// Opens, messages, corks and closes at random on both sides. Every message arrives where it should, nothing breaks,
/// and at the end both sides are idle.
#[test]
fn drawn_conversations_hold() {
    if skipped("protomux: drawn conversations") {
        return;
    }
    let mut pair = Pair::new();
    for seed in 0..25 {
        pair.fresh();
        let mut entropy = Seeded::new(seed);
        let mut ours: BTreeMap<String, ChannelId> = BTreeMap::new();
        let mut theirs: VecDeque<String> = VecDeque::new();
        let mut count = 0;
        for step in 0..40 {
            let name = format!("p{}", entropy.below(4));
            let mut commands = Vec::new();
            match entropy.below(6) {
                0 | 1 => {
                    if !pair.mux.opened(&name, None) {
                        ours.insert(name.clone(), pair.open(&name));
                    }
                    let unique = format!("{name} {step}");
                    commands.push(json!({ "do": "open", "name": unique, "protocol": name }));
                    theirs.push_back(unique);
                }
                2 => {
                    if let Some((name, channel)) = ours.pop_first() {
                        pair.mux.cork();
                        if cx(|cx| pair.mux.send(cx, channel, 0, name.as_bytes())).is_ok() {
                            count += usize::from(pair.mux.is_open(channel));
                            cx(|cx| pair.mux.close(cx, channel)).expect("open");
                        }
                        pair.mux.uncork();
                    }
                }
                3 => {
                    for channel in ours.values().copied().collect::<Vec<_>>() {
                        if pair.mux.is_open(channel) {
                            pair.send(channel, 1, b"z");
                            count += 1;
                        }
                    }
                }
                4 => {
                    if let Some(open) = theirs.pop_front() {
                        commands.push(json!({ "do": "cork" }));
                        let opened =
                            pair.there.iter().any(|e| e["event"] == "opened" && e["channel"] == open);
                        let closed =
                            pair.there.iter().any(|e| e["event"] == "closed" && e["channel"] == open);
                        if opened && !closed {
                            commands.push(json!({ "do": "close", "channel": open }));
                        }
                        commands.push(json!({ "do": "uncork" }));
                    }
                }
                _ => {}
            }
            pair.settle(Value::Array(commands));
            assert_eq!(pair.destroyed(), (false, false), "seed {seed} step {step}");
        }
        assert_eq!(pair.received_there().len(), count, "seed {seed}");
        for channel in pair.mux.channels().collect::<Vec<_>>() {
            cx(|cx| pair.mux.close(cx, channel)).expect("open");
        }
        pair.settle(json!({ "do": "idle" }));
        pair.settle(json!({ "do": "idle" }));
        assert_eq!(pair.there.last().map(|event| &event["idle"]), Some(&json!(true)), "seed {seed}");
        assert!(pair.mux.is_idle(), "seed {seed}");
    }
}

/// The same drawn bytes for both: both are destroyed or none, both are told the same messages, both say the same.
#[test]
fn drawn_bytes_are_taken_alike() {
    if skipped("protomux: drawn bytes") {
        return;
    }
    let mut pair = Pair::new();
    let (mut destroyed, mut messages) = (0, 0);
    for seed in 0..400 {
        pair.fresh();
        let mut entropy = Seeded::new(seed);
        let lines = drawn_messages(&mut entropy);
        // both have one channel open on their side, and the drawn peer opens it
        pair.node.ask(&json!({ "do": "open", "name": "x", "protocol": "test" }));
        let channel = pair.open("test");
        while cx(|cx| pair.mux.poll_output(cx)).is_some() {}
        let mut alive = true;
        for line in &lines {
            if !alive {
                break;
            }
            let answer = pair.node.ask(&json!({ "do": "hear", "messages": [line] }));
            let bytes = hex::decode(line).expect("hex");
            cx(|cx| pair.mux.handle_input(cx, Input::Message(&bytes)));
            let mut here = Vec::new();
            while let Some(event) = pair.mux.poll_event() {
                match event {
                    Event::Wanted { protocol, id } => {
                        let _ = cx(|cx| pair.mux.reject(cx, &protocol, id.as_deref()));
                    }
                    Event::Message { kind, bytes, .. } if kind < 4 => {
                        here.push(json!([kind, hex::encode(&bytes)]));
                    }
                    _ => {}
                }
            }
            let (mut said, mut fault) = (Vec::new(), false);
            while let Some(output) = cx(|cx| pair.mux.poll_output(cx)) {
                match output {
                    Output::Message(bytes) => said.push(hex::encode(&bytes)),
                    Output::Destroy(_) => fault = true,
                    Output::Reading(_) => {}
                }
            }
            let told = answer["events"].as_array().expect("events");
            let there: Vec<Value> = told
                .iter()
                .filter(|event| event["event"] == "message")
                .map(|event| json!([event["kind"], event["bytes"]]))
                .collect();
            let fell = told.iter().any(|event| event["event"] == "destroyed");
            assert_eq!(fault, fell, "seed {seed}: {line} of {lines:?}");
            if !fault {
                assert_eq!(here, there, "seed {seed}: {line} of {lines:?}");
                assert_eq!(json!(said), answer["sent"], "seed {seed}: {line} of {lines:?}");
            }
            messages += here.len();
            destroyed += usize::from(fault);
            alive = !fault;
        }
        let _ = channel;
    }
    assert!(destroyed > 50 && messages > 200, "the draws are of use: {destroyed}, {messages}");
}

/// Messages of a peer that mostly knows the protocol.
fn drawn_messages(entropy: &mut Seeded) -> Vec<String> {
    let mut lines = vec!["000101047465737400".to_owned()];
    for _ in 0..8 {
        lines.push(hex::encode(&drawn_message(entropy, true, true)));
    }
    lines
}

/// With or without the channel at the front. At most one open in a batch: the package rejects an open at once, here it
/// waits for its answer, so a peer that uses the id again before it knows is told different things.
fn drawn_message(entropy: &mut Seeded, channel: bool, may_open: bool) -> Vec<u8> {
    let id = 1 + entropy.below(3) as u8;
    let mut bytes = match entropy.below(9) {
        0 if may_open => vec![0, 1, id, 1, b'a' + entropy.below(3) as u8, 0],
        1 if entropy.chance(200) => vec![0, 2, id],
        2 => vec![0, 3, id],
        3 | 4 => {
            let mut batch = vec![0, 0, entropy.below(3) as u8];
            for n in 0..entropy.below(4) {
                let inner = drawn_message(entropy, false, may_open && n == 0);
                if batch[2] == 0 || entropy.chance(700) {
                    batch.extend([&[inner.len() as u8][..], &inner].concat());
                } else {
                    batch.extend([0, entropy.below(3) as u8]);
                }
            }
            batch
        }
        _ => vec![id, entropy.below(5) as u8, entropy.u32() as u8],
    };
    if entropy.chance(80) {
        bytes.truncate(1 + entropy.below(bytes.len() as u64) as usize);
    }
    if entropy.chance(80) {
        let at = entropy.below(bytes.len() as u64) as usize;
        bytes[at] = entropy.u32() as u8;
    }
    if !channel && bytes.len() > 1 {
        bytes.remove(0);
    }
    bytes
}
