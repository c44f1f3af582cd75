use super::*;
use crate::base::{NoTrace, Seeded, Time, hex};
use crate::sim::ramdisk::RamDisk;
use serde_json::Value;

fn at<T>(now: Time, run: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut entropy, mut disk, mut trace) = (Seeded::new(1), RamDisk::new(), NoTrace);
    run(&mut Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut trace })
}

fn cx<T>(run: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    at(Time::ZERO, run)
}

/// What it wants to send, in hex as in the vectors: channel 1, kind, body. A close is `000301`.
fn said(rpc: &mut Rpc) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(output) = cx(|cx| rpc.poll_output(cx)) {
        lines.push(match output {
            Output::Message { kind, bytes } => format!("01{kind:02x}{}", hex::encode(&bytes)),
            Output::Close => "000301".to_owned(),
            Output::Destroy(_) => "destroy".to_owned(),
        });
    }
    lines
}

fn hear(rpc: &mut Rpc, line: &str) {
    let bytes = hex::decode(line).expect("hex");
    assert_eq!(bytes[0], 1, "on the channel");
    let input = Input::Message { kind: u64::from(bytes[1]), bytes: &bytes[2..] };
    cx(|cx| rpc.handle_input(cx, input));
}

fn events(rpc: &mut Rpc) -> Vec<Event> {
    core::iter::from_fn(|| rpc.poll_event()).collect()
}

fn request(rpc: &mut Rpc, method: &str, value: &[u8]) -> RequestId {
    cx(|cx| rpc.request(cx, method, value, None)).expect("asked")
}

fn vector(name: &str) -> Value {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/protomux.json"));
    let file: Value = serde_json::from_str(file).expect("JSON");
    let vectors = file["vectors"].as_array().expect("vectors");
    vectors.iter().find(|vector| vector["name"] == name).unwrap_or_else(|| panic!("no {name}"))["expected"]
        .clone()
}

/// The messages of a side without its open.
fn lines(expected: &Value, side: &str) -> Vec<String> {
    let lines = expected[side].as_array().expect("messages");
    lines.iter().skip(1).map(|line| line.as_str().expect("hex").to_owned()).collect()
}

/// The calls among the events.
fn calls(rpc: &mut Rpc) -> Vec<(CallId, String, Vec<u8>)> {
    let call = |event| match event {
        Event::Call { call, method, value } => Some((call, method, value)),
        _ => None,
    };
    events(rpc).into_iter().filter_map(call).collect()
}

/// The strings of most vectors: a length, then text. That is how `Values::Buffer` writes bytes, too.
// proves protomux_rpc.1, protomux_rpc.2, protomux_rpc.5, protomux_rpc.7
#[test]
fn request_and_response_are_the_vector() {
    let expected = vector("rpc: request and response");
    let (mut a, mut b) = (Rpc::new(Values::Raw), Rpc::new(Values::Raw));
    request(&mut a, "echo", b"ping");
    request(&mut a, "echo", b"");
    // the vector's value encoding is a string with its length
    let (mut c, mut d) = (Rpc::new(Values::Buffer), Rpc::new(Values::Buffer));
    let one = request(&mut c, "echo", b"ping");
    let two = request(&mut c, "echo", b"");
    assert_eq!((one, two), (RequestId(1), RequestId(2)));
    let asked = said(&mut c);
    assert_eq!(asked, lines(&expected, "a"));
    assert_ne!(said(&mut a), asked, "raw values have no length");
    for line in &asked {
        hear(&mut d, line);
        hear(&mut b, line);
    }
    assert_eq!(calls(&mut b)[0].2, b"\x04ping");
    for (call, method, value) in calls(&mut d) {
        assert_eq!(method, "echo");
        cx(|cx| d.answer(cx, call, &[&value[..], b"!"].concat())).expect("answered");
    }
    let answered = said(&mut d);
    assert_eq!(answered, lines(&expected, "b"));
    for line in &answered {
        hear(&mut c, line);
    }
    assert_eq!(
        events(&mut c),
        [
            Event::Answer { request: one, result: Ok(b"ping!".to_vec()) },
            Event::Answer { request: two, result: Ok(b"!".to_vec()) },
        ]
    );
}

// proves protomux_rpc.5
#[test]
fn values_are_the_vectors() {
    for (name, values) in [
        ("rpc: default value encoding (optional buffer)", Values::Buffer),
        ("rpc: raw value encoding", Values::Raw),
    ] {
        let expected = vector(name);
        let (mut a, mut b) = (Rpc::new(values), Rpc::new(values));
        let wanted = lines(&expected, "a");
        request(&mut a, "m", &[1, 2]);
        if wanted.len() == 2 {
            request(&mut a, "m", &[]);
        }
        assert_eq!(said(&mut a), wanted, "{name}");
        wanted.iter().for_each(|line| hear(&mut b, line));
        for (call, _, value) in calls(&mut b) {
            cx(|cx| b.answer(cx, call, &value)).expect("answered");
        }
        assert_eq!(said(&mut b), lines(&expected, "b"), "{name}");
    }
}

// proves protomux_rpc.3, protomux_rpc.4, protomux_rpc.12, protomux_rpc.13, protomux_rpc.14, protomux_rpc.15
#[test]
fn errors_are_the_vector() {
    let expected = vector("rpc: errors");
    let (asked, answers) = (lines(&expected, "a"), lines(&expected, "b"));
    let mut b = Rpc::new(Values::Buffer);
    for (line, wanted) in asked.iter().zip(&answers) {
        hear(&mut b, line);
        let answered = match calls(&mut b).pop() {
            Some((call, method, _)) => {
                let with = |code, context: Option<&str>| Cause {
                    message: "it broke".into(),
                    code,
                    context: context.map(str::to_owned),
                };
                let failed = Failure::new(Code::RequestError, "Request failed");
                match &method[..] {
                    "throws" => cx(|cx| b.refuse(cx, call, "", "it broke")).expect("refused"),
                    "throwsWithCode" => {
                        let cause = Some(with("BROKEN".into(), Some("some context")));
                        cx(|cx| b.fail(cx, call, Failure { cause, ..failed })).expect("failed");
                    }
                    "badResponse" => {
                        let cause = Cause { message: "Incorrect buffer size".into(), ..Cause::default() };
                        let failed = Failure::new(Code::EncodeError, "Could not encode response");
                        cx(|cx| b.fail(cx, call, Failure { cause: Some(cause), ..failed })).expect("failed");
                    }
                    "badRequest" => {
                        let cause = Cause { message: "Out of bounds".into(), ..Cause::default() };
                        let failed = Failure::new(Code::DecodeError, "Could not decode request");
                        cx(|cx| b.fail(cx, call, Failure { cause: Some(cause), ..failed })).expect("failed");
                    }
                    _ => cx(|cx| b.unknown_method(cx, call)).expect("refused"),
                }
                assert_eq!(cx(|cx| b.answer(cx, call, b"")), Err(Error::Gone), "answered once");
                said(&mut b)
            }
            None => said(&mut b),
        };
        assert_eq!(answered, std::slice::from_ref(wanted));
    }

    let mut a = Rpc::new(Values::Buffer);
    let errors = expected["errors"].as_array().expect("errors");
    for (answer, error) in answers.iter().zip(errors) {
        let asked = request(&mut a, "m", b"");
        hear(&mut a, answer);
        let Some(Event::Answer { request, result: Err(failure) }) = a.poll_event() else {
            panic!("{answer}")
        };
        assert_eq!(request, asked);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        assert_eq!(format!("{}: {}", failure.code.code(), failure.message), error["message"]);
        assert_eq!(failure.code.code(), error["code"]);
        let cause = failure.cause.map(|cause| (cause.message, cause.code, cause.context));
        let wanted = error["cause"].as_object().map(|cause| {
            (
                cause["message"].as_str().expect("text").to_owned(),
                text(&cause["code"]).unwrap_or_default(),
                text(&cause["context"]),
            )
        });
        assert_eq!(cause, wanted);
    }
}

// proves protomux_rpc.15
#[test]
fn a_value_that_cannot_be_decoded_is_answered() {
    let mut b = Rpc::new(Values::Buffer);
    hear(&mut b, "0100010162696705ff"); // method "b", then a buffer... of 0x69 bytes that are not there
    let wanted = "01010701".to_owned()
        + "18"
        + &hex::encode(b"Could not decode request")
        + "0c"
        + &hex::encode(b"DECODE_ERROR")
        + "0d"
        + &hex::encode(b"Out of bounds")
        + "00";
    assert_eq!(said(&mut b), [wanted]);
    assert_eq!((events(&mut b), b.outstanding()), (vec![], (0, 0)));
}

// proves protomux_rpc.16
#[test]
fn an_answer_that_cannot_be_decoded_fails_its_request() {
    let mut a = Rpc::new(Values::Buffer);
    let one = request(&mut a, "m", b"");
    hear(&mut a, "0101000105ff");
    let failure = Failure::new(Code::DecodeError, "Could not decode response");
    assert_eq!(events(&mut a), [Event::Answer { request: one, result: Err(failure) }]);
}

/// The server's key names the channel on both sides.
// proves protomux_rpc.24
#[test]
fn the_channel_of_hyperswarm_rpc_is_the_vector() {
    let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/protomux.json"));
    let file: Value = serde_json::from_str(file).expect("JSON");
    let vectors = file["vectors"].as_array().expect("vectors");
    let named = |vector: &&Value| vector["name"] == "@hyperswarm/rpc: channel with capability handshake";
    let vector = vectors.iter().find(named).expect("there");
    let key = hex::decode(vector["inputs"]["id"].as_str().expect("hex")).expect("hex");
    for side in ["a", "b"] {
        let open = hex::decode(vector["expected"][side][0].as_str().expect("hex")).expect("hex");
        let open: wire::protomux::Open = wire::decode(&open[2..]).expect("an open");
        assert_eq!((&open.protocol[..], open.id), (PROTOCOL, Some(key.clone())));
    }
}

// proves protomux_rpc.12
#[test]
fn an_unknown_code_is_a_plain_failure_that_keeps_its_cause() {
    for code in ["NOVEL", "TIMEOUT_EXCEEDED", "CHANNEL_CLOSED"] {
        let mut a = Rpc::new(Values::Raw);
        let asked = request(&mut a, "m", b"");
        let cause = Some(Cause { message: "deep".into(), ..Cause::default() });
        let failure = format::Failure { message: "no".into(), code: Some(code.into()), cause };
        let bytes = wire::encode(&format::Response { id: asked.0, result: Err(failure) });
        cx(|cx| a.handle_input(cx, Input::Message { kind: 1, bytes: &bytes }));
        let Some(Event::Answer { result: Err(failure), .. }) = a.poll_event() else { panic!("failed") };
        assert_eq!(
            (failure.code, failure.cause.map(|cause| cause.message)),
            (Code::Other, Some("deep".into()))
        );
    }
}

// proves protomux_rpc.9, protomux_rpc.21
#[test]
fn an_event_is_the_vector_and_has_no_answer() {
    let expected = vector("rpc: event has request id 0 and no response");
    let (mut a, mut b) = (Rpc::new(Values::Buffer), Rpc::new(Values::Buffer));
    cx(|cx| a.event(cx, "note", b"hi")).expect("said");
    let lines = lines(&expected, "a");
    assert_eq!(said(&mut a), lines);
    hear(&mut b, &lines[0]);
    assert_eq!(events(&mut b), [Event::Notice { method: "note".into(), value: b"hi".to_vec() }]);
    hear(&mut b, "010000046e6f7465ff");
    assert_eq!((events(&mut b), said(&mut b), b.dropped()), (vec![], vec![], 1));
}

/// pitfalls 12.11: numbers are not used again, and an answer nobody waits for is ignored.
// proves protomux_rpc.8, protomux_rpc.10
#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut a = Rpc::new(Values::Raw);
    let one = request(&mut a, "m", b"");
    hear(&mut a, "01010000");
    hear(&mut a, "01010007");
    hear(&mut a, "0101000168");
    hear(&mut a, "0101000169");
    assert_eq!(events(&mut a), [Event::Answer { request: one, result: Ok(b"h".to_vec()) }]);
    assert_eq!(request(&mut a, "m", b""), RequestId(2));
}

// proves protomux_rpc.8
#[test]
fn answers_come_in_any_order() {
    let mut a = Rpc::new(Values::Raw);
    let ids: Vec<_> = (0..3).map(|_| request(&mut a, "m", b"")).collect();
    for n in [2, 0, 1] {
        hear(&mut a, &format!("010100{:02x}{n:02x}", n + 1));
    }
    let answer = |n: usize| Event::Answer { request: ids[n], result: Ok(vec![n as u8]) };
    assert_eq!(events(&mut a), [answer(2), answer(0), answer(1)]);
}

// proves protomux_rpc.11
#[test]
fn a_request_times_out_and_its_late_answer_is_ignored() {
    let mut a = Rpc::new(Values::Raw);
    let none = request(&mut a, "never", b"");
    let span = Span::from_millis(250);
    let one = cx(|cx| a.request(cx, "m", b"", Some(span))).expect("asked");
    assert_eq!(a.poll_timeout().map(|deadline| deadline.at), Some(Time::ZERO + span));
    at(Time::from_micros(249_999), |cx| a.handle_timeout(cx));
    assert_eq!(events(&mut a), []);
    at(Time::ZERO + span, |cx| a.handle_timeout(cx));
    let failure = Failure::new(Code::TimeoutExceeded, "timeout of 250ms exceeded");
    assert_eq!(events(&mut a), [Event::Answer { request: one, result: Err(failure) }]);
    assert_eq!(a.poll_timeout(), None, "there is no time-out unless asked for");
    hear(&mut a, "01010002aa");
    assert_eq!(events(&mut a), []);
    hear(&mut a, "01010001aa");
    assert_eq!(events(&mut a), [Event::Answer { request: none, result: Ok(vec![0xaa]) }]);
}

/// pitfalls 12.11: a closed channel fails each pending request once.
// proves protomux_rpc.17
#[test]
fn a_closed_channel_fails_what_is_pending_once() {
    let mut a = Rpc::new(Values::Raw);
    let one = cx(|cx| a.request(cx, "m", b"", Some(Span::from_secs(1)))).expect("asked");
    let two = request(&mut a, "m", b"");
    hear(&mut a, "010005016d");
    said(&mut a);
    cx(|cx| a.handle_input(cx, Input::Closed));
    cx(|cx| a.handle_input(cx, Input::Closed));
    let failed = |request| {
        let failure = Failure::new(Code::ChannelClosed, "channel closed");
        Event::Answer { request, result: Err(failure) }
    };
    assert_eq!(events(&mut a), [failed(one), failed(two), Event::Ended], "and the call is not told any more");
    assert_eq!((a.poll_timeout(), said(&mut a)), (None, vec![]));
    assert_eq!(cx(|cx| a.request(cx, "m", b"", None)), Err(Error::NotOpen));
    assert_eq!(cx(|cx| a.event(cx, "m", b"")), Err(Error::NotOpen));
}

// proves protomux_rpc.18
#[test]
fn an_end_waits_for_answers_as_in_the_vector() {
    let expected = vector("rpc: end closes the channel");
    let (mut a, mut b) = (Rpc::new(Values::Buffer), Rpc::new(Values::Buffer));
    let one = request(&mut a, "echo", b"a");
    cx(|cx| a.end(cx));
    let wanted = lines(&expected, "a");
    assert_eq!(said(&mut a), wanted[..1]);
    hear(&mut b, &wanted[0]);
    let (call, _, value) = calls(&mut b).remove(0);
    cx(|cx| b.end(cx));
    assert_eq!(said(&mut b), [""; 0], "the call is not answered yet");
    cx(|cx| b.answer(cx, call, &value)).expect("answered");
    let answered = said(&mut b);
    assert_eq!(answered, [lines(&expected, "b")[0].clone(), "000301".into()]);
    hear(&mut a, &answered[0]);
    assert_eq!(said(&mut a), wanted[1..]);
    let answer = Event::Answer { request: one, result: Ok(b"a".to_vec()) };
    assert_eq!(events(&mut a), [answer, Event::Ended]);
}

// proves protomux_rpc.18
#[test]
fn an_end_does_not_wait_for_ever_when_requests_time_out() {
    let mut a = Rpc::new(Values::Raw);
    cx(|cx| a.request(cx, "m", b"", Some(Span::from_secs(1)))).expect("asked");
    cx(|cx| a.end(cx));
    at(Time::ZERO + Span::from_secs(1), |cx| a.handle_timeout(cx));
    assert_eq!(said(&mut a).last().map(String::as_str), Some("000301"));
    assert!(a.is_closed());
}

// proves protomux_rpc.19
#[test]
fn a_destroy_fails_what_is_pending_at_once() {
    let mut a = Rpc::new(Values::Raw);
    let one = request(&mut a, "m", b"");
    said(&mut a);
    cx(|cx| a.destroy(cx));
    cx(|cx| a.destroy(cx));
    assert_eq!(said(&mut a), ["000301"]);
    let failure = Failure::new(Code::ChannelDestroyed, "channel destroyed");
    assert_eq!(events(&mut a), [Event::Answer { request: one, result: Err(failure) }, Event::Ended]);
}

// proves protomux_rpc.20, protomux_rpc.22
#[test]
fn what_is_not_a_message_destroys_the_stream() {
    for (kind, line) in [(0, ""), (0, "0105"), (1, ""), (1, "03010568"), (1, "0f01000000")] {
        let mut a = Rpc::new(Values::Raw);
        let bytes = hex::decode(line).expect("hex");
        cx(|cx| a.handle_input(cx, Input::Message { kind, bytes: &bytes }));
        assert_eq!((said(&mut a), events(&mut a)), (vec!["destroy".into()], vec![Event::Ended]), "{line}");
    }
    let mut a = Rpc::new(Values::Raw);
    hear(&mut a, "0102ff");
    assert_eq!((said(&mut a), events(&mut a)), (vec![], vec![]), "other kinds are ignored");
}

// proves protomux_rpc.23
#[test]
fn calls_and_requests_are_bounded() {
    let mut a = Rpc::new(Values::Raw);
    for _ in 0..limits::RPC_REQUESTS_MAX {
        request(&mut a, "m", b"");
    }
    assert_eq!(cx(|cx| a.request(cx, "m", b"", None)), Err(Error::Full));
    said(&mut a);
    let mut b = Rpc::new(Values::Raw);
    let mut asked = Vec::new();
    for id in 1..=limits::RPC_CALLS_MAX as u64 + 1 {
        let bytes = wire::encode(&format::Request { id, method: "m".into(), value: vec![] });
        cx(|cx| b.handle_input(cx, Input::Message { kind: 0, bytes: &bytes }));
        asked.push(bytes);
    }
    assert_eq!(said(&mut b).len(), 1, "the last one is refused at once");
    assert_eq!(calls(&mut b).len(), limits::RPC_CALLS_MAX);
    assert_eq!(
        cx(|cx| b.event(cx, "m", &vec![0; 16 << 20])),
        Err(Error::Invalid("value of a call: too long"))
    );
}

// proves protomux_rpc.26
#[test]
fn a_capability_is_the_vector() {
    let expected = vector("@hyperswarm/rpc: channel with capability handshake");
    let (hash, secret) = ([0x33; 64], [8; 32]);
    for (side, initiator) in [("a", true), ("b", false)] {
        let open = expected[side][0].as_str().expect("hex");
        let handshake = format::Capability { capability: Some(capability(&hash, initiator, &secret)) };
        assert!(open.ends_with(&hex::encode(&wire::encode(&handshake))), "{side}");
    }
    assert_eq!(hex::encode(&capability(&hash, false, &secret)), expected["aSawHandshake"]["capability"]);
}

// proves protomux_rpc.6
#[test]
fn opened_is_told_once() {
    let mut a = Rpc::new(Values::Raw);
    request(&mut a, "early", b"");
    assert_eq!(said(&mut a).len(), 1, "requests do not wait for it");
    cx(|cx| a.handle_input(cx, Input::Opened));
    cx(|cx| a.handle_input(cx, Input::Opened));
    assert_eq!(events(&mut a), [Event::Opened]);
}

/// No bytes make it panic; each request still gets exactly one answer.
#[test]
fn drawn_bytes_are_survived() {
    use crate::base::Entropy;
    for seed in 0..2000 {
        let mut entropy = Seeded::new(seed);
        let mut a = Rpc::new(if seed % 2 == 0 { Values::Raw } else { Values::Buffer });
        let mut asked = 0;
        let mut told = Vec::new();
        for _ in 0..20 {
            asked += usize::from(cx(|cx| a.request(cx, "m", b"x", None)).is_ok());
            let mut bytes = vec![0; entropy.below(20) as usize];
            entropy.fill(&mut bytes);
            bytes.iter_mut().for_each(|byte| *byte %= 20);
            cx(|cx| a.handle_input(cx, Input::Message { kind: entropy.below(2), bytes: &bytes }));
            told.extend(events(&mut a));
        }
        cx(|cx| a.handle_input(cx, Input::Closed));
        told.extend(events(&mut a));
        let answers = told.iter().filter(|event| matches!(event, Event::Answer { .. })).count();
        assert_eq!(answers, asked, "seed {seed}");
        assert_eq!(told.iter().filter(|event| **event == Event::Ended).count(), 1);
    }
}
