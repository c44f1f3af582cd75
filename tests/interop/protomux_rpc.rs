//! protomux-rpc against the package, over our protomux: calls, events and failures in both directions.

use seckel::base::{Error, Key, Machine, Span, Time, hex};
use seckel::protomux::{
    ChannelId, Event as MuxEvent, Input as MuxInput, Open, Output as MuxOutput, Protomux,
};
use seckel::protomux_rpc::{self as rpc, CallId, Code, Event, Failure, Output, PROTOCOL, Rpc, Values};
use seckel::wire::{self, protomux_rpc::Capability};
use serde_json::{Value, json};

use crate::protomux::cx;
use crate::support::{Node, skipped};

struct Pair {
    node: Node,
    mux: Protomux,
    channel: ChannelId,
    rpc: Rpc,
    here: Vec<Event>,
    there: Vec<Value>,
    heard: Vec<String>,
    /// Messages of ours.
    said: usize,
    /// The peer's handshake of the channel.
    handshake: Option<Vec<u8>>,
    /// Calls are answered by the test, not by `serve`.
    by_hand: bool,
}

impl Pair {
    fn with(values: Values, handshake: &[u8], start: Value) -> Pair {
        let mut node = Node::start("protomux_rpc.js", &[]);
        let mut mux = Protomux::new();
        let open = Open { handshake, ..Open::new(PROTOCOL, Some(&[7; 32])) };
        let channel = cx(|cx| mux.open(cx, open)).expect("opens");
        let mut start = start;
        start["do"] = json!("start");
        start["id"] = json!("07".repeat(32));
        let answer = node.ask(&start);
        let mut pair = Pair {
            node,
            mux,
            channel,
            rpc: Rpc::new(values),
            here: Vec::new(),
            there: Vec::new(),
            heard: Vec::new(),
            said: 0,
            handshake: None,
            by_hand: false,
        };
        pair.take(&answer);
        pair
    }

    fn new(values: Values) -> Pair {
        let mut pair = Pair::with(values, &[], json!({ "raw": values == Values::Raw }));
        pair.settle(json!([]));
        assert_eq!(pair.here, [Event::Opened]);
        assert_eq!(pair.there, [json!({ "event": "open" })]);
        pair.here.clear();
        pair.there.clear();
        pair
    }

    fn take(&mut self, answer: &Value) {
        self.there.extend(answer["events"].as_array().expect("events").iter().cloned());
        for message in answer["sent"].as_array().expect("sent") {
            let line = message.as_str().expect("hex").to_owned();
            let bytes = hex::decode(&line).expect("hex");
            self.heard.push(line);
            cx(|cx| self.mux.handle_input(cx, MuxInput::Message(&bytes)));
            self.route();
        }
    }

    /// Carries between the channel and the calls, as a node does it.
    fn route(&mut self) {
        loop {
            let mut moved = false;
            while let Some(event) = self.mux.poll_event() {
                moved = true;
                let input = match &event {
                    MuxEvent::Opened { handshake, .. } => {
                        self.handshake = Some(handshake.clone());
                        rpc::Input::Opened
                    }
                    MuxEvent::Message { kind, bytes, .. } => rpc::Input::Message { kind: *kind, bytes },
                    MuxEvent::Closed { .. } => rpc::Input::Closed,
                    other => panic!("{other:?}"),
                };
                cx(|cx| self.rpc.handle_input(cx, input));
            }
            while let Some(event) = self.rpc.poll_event() {
                moved = true;
                if let Event::Call { call, method, value } = &event
                    && !self.by_hand
                {
                    self.serve(*call, method, value);
                }
                self.here.push(event);
            }
            while let Some(output) = cx(|cx| self.rpc.poll_output(cx)) {
                moved = true;
                match output {
                    Output::Message { kind, bytes } => {
                        cx(|cx| self.mux.send(cx, self.channel, kind, &bytes)).expect("sent");
                    }
                    Output::Close => cx(|cx| self.mux.close(cx, self.channel)).expect("closed"),
                    Output::Destroy(malformed) => panic!("{malformed}"),
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn serve(&mut self, call: CallId, method: &str, value: &[u8]) {
        match method {
            "echo" => cx(|cx| self.rpc.answer(cx, call, value)),
            "refuses" => cx(|cx| self.rpc.refuse(cx, call, "BROKEN", "it broke")),
            _ => cx(|cx| self.rpc.unknown_method(cx, call)),
        }
        .expect("a call");
    }

    fn settle(&mut self, commands: Value) {
        let mut commands = commands.as_array().cloned().unwrap_or_else(|| vec![commands.clone()]);
        for round in 0..64 {
            self.route();
            let mut messages = Vec::new();
            while let Some(output) = cx(|cx| self.mux.poll_output(cx)) {
                match output {
                    MuxOutput::Message(bytes) => messages.push(hex::encode(&bytes)),
                    MuxOutput::Destroy(fault) => panic!("{fault}"),
                    MuxOutput::Reading(_) => {}
                }
            }
            if messages.is_empty() && round > 0 {
                return;
            }
            self.said += messages.len();
            commands.push(json!({ "do": "hear", "messages": messages }));
            let answer = self.node.ask(&Value::Array(core::mem::take(&mut commands)));
            self.take(&answer);
        }
        panic!("does not settle");
    }

    /// Asks Node and waits for the answer.
    fn call(&mut self, method: &str, value: &[u8]) -> Result<Vec<u8>, Failure> {
        let asked = cx(|cx| self.rpc.request(cx, method, value, None)).expect("asked");
        self.settle(json!([]));
        match self.here.pop() {
            Some(Event::Answer { request, result }) if request == asked => result,
            other => panic!("{other:?}"),
        }
    }

    /// Has Node ask us and waits for the answer.
    fn called(&mut self, method: &str, value: &str) -> Value {
        self.settle(json!({ "do": "request", "method": method, "value": value, "tag": 1 }));
        self.there.pop().expect("an answer")
    }
}

#[test]
fn calls_are_answered_in_both_directions() {
    if skipped("protomux-rpc: calls") {
        return;
    }
    for values in [Values::Buffer, Values::Raw] {
        let mut pair = Pair::new(values);
        assert_eq!(pair.call("echo", b"ping"), Ok(b"ping".to_vec()));
        assert_eq!(pair.call("echo", b""), Ok(Vec::new()));
        assert_eq!(pair.call("echo", &[7; 300_000]), Ok(vec![7; 300_000]));
        let answer = pair.called("echo", "00ff");
        assert_eq!(answer, json!({ "event": "answer", "tag": 1, "value": "00ff" }));
        let large = "ab".repeat(70_000);
        assert_eq!(pair.called("echo", &large)["value"], large);
    }
}

#[test]
fn failures_of_node_are_understood() {
    if skipped("protomux-rpc: failures there") {
        return;
    }
    let mut pair = Pair::new(Values::Buffer);
    let unknown = pair.call("no such thing", b"").expect_err("unknown");
    assert_eq!(unknown, Failure::new(Code::UnknownMethod, "Unknown method 'no such thing'"));
    for (method, code, cause) in [
        ("throws", Code::RequestError, ("it broke", "", None)),
        ("throws with code", Code::RequestError, ("it broke", "BROKEN", Some("some context"))),
        ("bad request", Code::DecodeError, ("Out of bounds", "", None)),
        ("bad response", Code::EncodeError, ("Incorrect buffer size", "", None)),
    ] {
        let failure = pair.call(method, b"x").expect_err(method);
        assert_eq!(failure.code, code);
        let got = failure.cause.expect("a cause");
        assert_eq!((&got.message[..], &got.code[..], got.context.as_deref()), cause, "{method}");
    }
    assert_eq!(pair.call("echo", b"still here"), Ok(b"still here".to_vec()));
}

#[test]
fn failures_of_ours_are_understood_by_node() {
    if skipped("protomux-rpc: failures here") {
        return;
    }
    let mut pair = Pair::new(Values::Buffer);
    let unknown = pair.called("no such thing", "");
    assert_eq!(unknown["code"], "UNKNOWN_METHOD");
    assert_eq!(unknown["message"], "UNKNOWN_METHOD: Unknown method 'no such thing'");
    let refused = pair.called("refuses", "");
    assert_eq!(refused["message"], "REQUEST_ERROR: Request failed");
    assert_eq!(refused["cause"], json!({ "message": "it broke", "code": "BROKEN", "context": null }));
}

#[test]
fn events_want_no_answer_in_either_direction() {
    if skipped("protomux-rpc: events") {
        return;
    }
    let mut pair = Pair::new(Values::Buffer);
    cx(|cx| pair.rpc.event(cx, "note", b"hi")).expect("said");
    let heard = pair.heard.len();
    pair.settle(json!({ "do": "event", "method": "mine", "value": "0102" }));
    assert_eq!(pair.there, [json!({ "event": "notice", "value": "6869" })]);
    assert_eq!(pair.here, [Event::Notice { method: "mine".into(), value: vec![1, 2] }]);
    assert_eq!(pair.heard.len(), heard + 1, "Node says nothing but its own event");
}

#[test]
fn requests_are_pipelined_and_answered_out_of_order() {
    if skipped("protomux-rpc: pipelining") {
        return;
    }
    // requests leave before Node's open has been heard
    let mut pair = Pair::with(Values::Buffer, &[], json!({}));
    let asked: Vec<_> =
        (0..3).map(|n| cx(|cx| pair.rpc.request(cx, "hold", &[n], None)).expect("asked")).collect();
    pair.settle(json!([]));
    pair.here.clear();
    for n in [2, 0, 0] {
        pair.settle(json!({ "do": "release", "n": n }));
    }
    let answer = |n: usize| Event::Answer { request: asked[n], result: Ok(vec![n as u8]) };
    assert_eq!(pair.here, [answer(2), answer(0), answer(1)]);

    // corked requests travel in a batch, and so do the answers
    let heard = pair.heard.len();
    pair.mux.cork();
    for n in 0..50 {
        cx(|cx| pair.rpc.request(cx, "echo", &[n], None)).expect("asked");
    }
    pair.route();
    pair.mux.uncork();
    pair.settle(json!([]));
    assert_eq!(pair.heard.len(), heard + 1);
    assert_eq!(pair.here.len(), 53);

    // and Node's corked ones are answered by one message of ours
    let mut commands = vec![json!({ "do": "cork" })];
    for tag in 0..20 {
        commands.push(json!({ "do": "request", "method": "echo", "value": "01", "tag": tag }));
    }
    commands.push(json!({ "do": "uncork" }));
    pair.there.clear();
    let said = pair.said;
    pair.settle(Value::Array(commands));
    assert_eq!((pair.there.len(), pair.said - said), (20, 1));
}

#[test]
fn requests_time_out_on_either_side() {
    if skipped("protomux-rpc: time-outs") {
        return;
    }
    let mut pair = Pair::new(Values::Buffer);
    pair.by_hand = true;
    let span = Span::from_millis(30);
    let asked = cx(|cx| pair.rpc.request(cx, "hold", b"x", Some(span))).expect("asked");
    pair.settle(json!([]));
    let mut clock = (seckel::base::Seeded::new(1), seckel::sim::ramdisk::RamDisk::new());
    let mut later = seckel::base::Cx {
        now: Time::ZERO + span,
        entropy: &mut clock.0,
        disk: &mut clock.1,
        trace: &mut seckel::base::NoTrace,
    };
    pair.rpc.handle_timeout(&mut later);
    pair.settle(json!({ "do": "release", "n": 0 }));
    let failure = Failure::new(Code::TimeoutExceeded, "timeout of 30ms exceeded");
    assert_eq!(
        pair.here,
        [Event::Answer { request: asked, result: Err(failure) }],
        "the late answer is ignored"
    );

    let ask = json!({ "do": "request", "method": "slow", "value": "", "timeout": 20, "tag": 9 });
    pair.settle(json!([ask, { "do": "until", "event": "failed" }]));
    assert_eq!(pair.there.last().map(|event| &event["code"]), Some(&json!("TIMEOUT_EXCEEDED")));
    let Some(Event::Call { call, .. }) = pair.here.last() else { panic!("the call came all the same") };
    let call = *call;
    cx(|cx| pair.rpc.answer(cx, call, b"late")).expect("still a call");
    pair.settle(json!([]));
    assert_eq!(pair.there.len(), 1, "and Node ignores the late answer");
}

#[test]
fn an_end_waits_and_a_destroy_does_not() {
    if skipped("protomux-rpc: end and destroy") {
        return;
    }
    // ours waits for Node's answer
    let mut pair = Pair::new(Values::Buffer);
    cx(|cx| pair.rpc.request(cx, "hold", b"x", None)).expect("asked");
    cx(|cx| pair.rpc.end(cx));
    pair.settle(json!([]));
    assert_eq!(pair.there, [] as [Value; 0]);
    pair.settle(json!({ "do": "release", "n": 0 }));
    assert!(matches!(&pair.here[..], [Event::Answer { result: Ok(_), .. }, Event::Ended]));
    assert_eq!(pair.there, [json!({ "event": "close" })]);

    // Node's waits for ours
    let mut pair = Pair::new(Values::Buffer);
    pair.by_hand = true;
    pair.settle(json!([{ "do": "request", "method": "m", "value": "", "tag": 1 }, { "do": "end" }]));
    let Some(Event::Call { call, .. }) = pair.here.last() else { panic!("a call") };
    let call = *call;
    assert!(!pair.rpc.is_closed());
    cx(|cx| pair.rpc.answer(cx, call, b"x")).expect("a call");
    pair.settle(json!([]));
    assert_eq!(pair.here.last(), Some(&Event::Ended));

    // Node's destroy fails what is pending here
    let mut pair = Pair::new(Values::Buffer);
    let asked = cx(|cx| pair.rpc.request(cx, "hold", b"x", None)).expect("asked");
    pair.settle(json!([]));
    pair.settle(json!({ "do": "destroy" }));
    let failure = Failure::new(Code::ChannelClosed, "channel closed");
    assert_eq!(pair.here, [Event::Answer { request: asked, result: Err(failure) }, Event::Ended]);
    assert_eq!(cx(|cx| pair.rpc.request(cx, "echo", b"", None)), Err(Error::NotOpen));

    // ours fails what is pending there
    let mut pair = Pair::new(Values::Buffer);
    pair.by_hand = true;
    pair.settle(json!({ "do": "request", "method": "m", "value": "", "tag": 1 }));
    cx(|cx| pair.rpc.destroy(cx));
    pair.settle(json!([]));
    assert!(pair.there.iter().any(|event| event["code"] == "CHANNEL_CLOSED"), "{:?}", pair.there);
}

#[test]
fn capabilities_are_proven_in_both_directions() {
    if skipped("@hyperswarm/rpc: capability") {
        return;
    }
    let (hash, secret): ([u8; 64], Key) = ([0x33; 64], [8; 32]);
    for initiator in [false, true] {
        let capability = Some(rpc::capability(&hash, !initiator, &secret));
        let (hash_hex, secret_hex) = (hex::encode(&hash), hex::encode(&secret));
        let start = json!({ "capability": { "initiator": initiator, "hash": hash_hex, "key": secret_hex } });
        let mut pair = Pair::with(Values::Buffer, &wire::encode(&Capability { capability }), start);
        pair.settle(json!([]));
        assert_eq!(pair.there, [json!({ "event": "open", "proven": true })]);
        let theirs: Capability =
            wire::decode(&pair.handshake.clone().expect("opened")).expect("a capability");
        assert_eq!(theirs.capability, Some(rpc::capability(&hash, initiator, &secret)));
        assert_eq!(pair.call("echo", b"x"), Ok(b"x".to_vec()));
    }
}
