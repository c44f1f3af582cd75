//! What goes over the wire, against the vectors of the real package, and what a node does with what comes in.

use std::collections::BTreeMap;

use super::world::World;
use crate::base::{Addr, Entropy, Key, Seeded, SocketId, Span, Tag, Time, hex, limits};
use crate::dht_rpc::table::{Contact, Table};
use crate::dht_rpc::token::Tokens;
use crate::dht_rpc::vectors::{key, vectors};
use crate::dht_rpc::{Config, Event, Lost, node_id};
use crate::wire;
use crate::wire::dht_rpc::{
    AddressValue, Ask, DELAYED_PING, DOWN_HINT, DelayValue, FIND_NODE, INVALID_TOKEN, OK, PING, PING_NAT,
    PortValue, Query, RequestMessage, Respond, ResponseMessage, UNKNOWN_COMMAND,
};

const PEER: Addr = Addr::new([10, 2, 2, 2], 20_000);

fn addr(text: &serde_json::Value) -> Addr {
    text.as_str().expect("text").parse().expect("an address")
}

fn maybe<R>(value: &serde_json::Value, then: impl Fn(Vec<u8>) -> R) -> Option<R> {
    value.as_str().map(|text| then(hex::decode(text).expect("hex")))
}

fn fixed(bytes: Vec<u8>) -> Key {
    bytes.try_into().expect("32 bytes")
}

/// A bootstrapped node without others. It is persistent unless `ephemeral`.
fn alone(ephemeral: bool) -> World {
    let mut world = World::new(7);
    if ephemeral {
        world.add(Config::default());
    } else {
        world.bootstrapper();
    }
    world.bootstrapped(0);
    world.sent(0);
    world
}

fn request(command: u64) -> RequestMessage {
    RequestMessage { tid: 9, to: Addr::new([10, 1, 1, 1], 40_000), command, ..RequestMessage::default() }
}

fn internal(command: u64, value: Option<Vec<u8>>) -> RequestMessage {
    RequestMessage { internal: true, value, ..request(command) }
}

/// Delivers a request from `PEER` to the server socket; the answers that leave.
fn answers(world: &mut World, message: &RequestMessage) -> Vec<(SocketId, Addr, ResponseMessage)> {
    answers_from(world, PEER, message)
}

fn answers_from(
    world: &mut World,
    from: Addr,
    message: &RequestMessage,
) -> Vec<(SocketId, Addr, ResponseMessage)> {
    world.deliver(0, SocketId::SERVER, from, &wire::encode(message));
    let sent = world.sent(0);
    sent.into_iter()
        .filter_map(|(socket, to, bytes)| wire::decode(&bytes).ok().map(|answer| (socket, to, answer)))
        .collect()
}

/// Requests byte for byte. proves dht_rpc.3, dht_rpc.5 and dht_rpc.10
#[test]
fn requests_are_those_of_node() {
    let names = [
        "ping",
        "ping with 8 byte value",
        "ping nat",
        "find node",
        "down hint",
        "delayed ping 5000ms",
        "external lookup (command 3)",
        "external with token and value",
        "external command 300",
    ];
    for vector in names.iter().flat_map(|name| vectors(&format!("request/{name}"))) {
        let inputs = &vector.inputs;
        let mode = vector.input_text("mode");
        let mut world = alone(true);
        world.with(0, |dht, _| {
            dht.table = Table::new(key(&vector.input_text("ownId")));
            dht.ephemeral = mode.starts_with("ephemeral");
        });
        let socket = if mode.ends_with("server socket") { SocketId::SERVER } else { SocketId::CLIENT };
        let ask = Ask {
            to: addr(&inputs["to"]),
            internal: inputs["internal"] == true,
            command: inputs["command"].as_u64().expect("a number"),
            target: maybe(&inputs["target"], fixed),
            token: maybe(&inputs["token"], fixed),
            value: maybe(&inputs["value"], |bytes| bytes),
            socket: Some(socket),
            ttl: None,
            sends: 4,
        };
        world.with(0, |dht, cx| dht.ask(cx, Tag(1), ask)).expect("room");
        let sent = world.sent(0);
        assert_eq!(sent.len(), 1);
        let mut bytes = sent[0].2.clone();
        // the number of the transaction is drawn
        let tid = inputs["tid"].as_u64().expect("a number") as u16;
        bytes[2..4].copy_from_slice(&tid.to_le_bytes());
        assert_eq!(hex::encode(&bytes), vector.expected_text("hex"), "{mode}");
        let read: RequestMessage = wire::decode(&bytes).expect("it reads its own");
        assert_eq!(read.tid, tid);
    }
}

/// With the closer nodes in order, since the real package does not sort them.
fn sorted(bytes: &[u8]) -> Vec<u8> {
    let mut message: ResponseMessage = wire::decode(bytes).expect("a response");
    assert_eq!(wire::encode(&message), bytes);
    message.closer.sort();
    wire::encode(&message)
}

/// pitfalls 3.7: replies byte for byte. proves dht_rpc.4, dht_rpc.25 and dht_rpc.26
#[test]
fn replies_are_those_of_node() {
    let plain = Respond { error: OK, value: None, token: false, closer: false, socket: None, to: None };
    let calls = [
        Respond { closer: true, ..plain.clone() },
        Respond { value: Some(b"value".to_vec()), token: true, closer: true, ..plain.clone() },
        Respond { error: 1, closer: true, ..plain.clone() },
        Respond { error: 2, token: true, ..plain.clone() },
        Respond { value: Some(b"v".to_vec()), ..plain.clone() },
        Respond::value(None),
        Respond::error(16),
    ];
    for vector in vectors("replies") {
        let mut world = alone(true);
        let keys = vector.input_keys("secrets");
        let now = world.now;
        world.with(0, |dht, _| {
            dht.table = Table::new(key(&vector.input_text("ownId")));
            dht.ephemeral = vector.inputs["ephemeral"] == true;
            dht.tokens = Tokens::of([keys[0], keys[1]], now);
            for node in vector.inputs["nodes"].as_array().expect("a list") {
                let port = node["port"].as_u64().expect("a port") as u16;
                let host: Addr =
                    format!("{}:{port}", node["host"].as_str().expect("a host")).parse().expect("one");
                dht.table.add(Contact::new(host, 1));
            }
        });
        // the vector's request is a FIND_NODE; as one of the layer above it is answered by hand
        let bytes = hex::decode(&vector.input_text("request")).expect("hex");
        let asked: RequestMessage = wire::decode(&bytes).expect("a request");
        world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&RequestMessage { internal: false, ..asked }));
        world.settle();
        let Some(Event::Request(request)) = world.hosts[0].events.pop_back() else { panic!("a request") };
        for call in &calls {
            world.with(0, |dht, cx| dht.respond(cx, &request, call.clone()));
        }
        let sent: Vec<String> = world
            .sent(0)
            .into_iter()
            .map(|(socket, to, bytes)| {
                assert_eq!((socket, to), (SocketId::SERVER, PEER));
                hex::encode(&sorted(&bytes))
            })
            .collect();
        let expected: Vec<String> = vector.expected["sent"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|text| hex::encode(&sorted(&hex::decode(text.as_str().expect("text")).expect("hex"))))
            .collect();
        assert_eq!(sent, expected);
    }
}

/// pitfalls 3.6: a wrong token is refused with a fresh one, for any command and before anybody sees it, by an
/// ephemeral node too. proves dht_rpc.24
#[test]
fn a_wrong_token_is_refused_first() {
    for ephemeral in [true, false] {
        for (command, own) in [(7, false), (PING, true), (FIND_NODE, true), (99, true)] {
            let mut world = alone(ephemeral);
            let target = Some([5; 32]);
            let wrong = RequestMessage {
                token: Some([1; 32]),
                internal: own,
                target,
                id: Some(node_id(PEER)),
                ..request(command)
            };
            let (socket, to, answer) = answers(&mut world, &wrong).remove(0);
            assert_eq!((socket, to, answer.error), (SocketId::SERVER, PEER, INVALID_TOKEN));
            assert_eq!(world.hosts[0].dht.node_count(), 0, "it is not remembered for that");
            let right = RequestMessage { token: answer.token, ..wrong };
            let after = answers(&mut world, &right);
            assert!(after.iter().all(|(_, _, answer)| answer.error != INVALID_TOKEN));
            assert_eq!(world.count(0, |event| matches!(event, Event::Request(_))), usize::from(!own));
        }
    }
    let vector = &vectors("invalid-token")[0];
    let mut world = alone(true);
    let bytes = hex::decode(&vector.input_text("request")).expect("hex");
    world.deliver(0, SocketId::SERVER, PEER, &bytes);
    let sent = world.sent(0);
    assert_eq!((sent[0].2[0], sent[0].2[1] & 0b1010), (0x13, 0b1010), "an error and a token");
}

/// proves dht_rpc.11
#[test]
fn an_id_that_is_not_the_senders_is_passed_over() {
    let vector = &vectors("spoofed-id")[0];
    let bytes = hex::decode(&vector.input_text("hex")).expect("hex");
    let mut world = alone(true);
    world.deliver(0, SocketId::SERVER, addr(&vector.inputs["from"]), &bytes);
    assert_eq!(world.sent(0).len(), 1, "it is answered");
    assert_eq!(world.hosts[0].dht.node_count(), 0);
    let liar = RequestMessage { id: Some([0xab; 32]), ..request(7) };
    world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&liar));
    world.settle();
    let Some(Event::Request(asked)) = world.hosts[0].events.pop_back() else { panic!("a request") };
    assert_eq!(asked.id, None);
    // with its own it is remembered
    let message = RequestMessage { id: Some(node_id(PEER)), ..request(7) };
    world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&message));
    assert_eq!(world.hosts[0].dht.nodes(9), [PEER]);
}

/// proves dht_rpc.4
#[test]
fn a_reply_reads_as_in_node() {
    let vector = &vectors("decode-reply")[0];
    let bytes = hex::decode(&vector.input_text("hex")).expect("hex");
    let message: ResponseMessage = wire::decode(&bytes).expect("a response");
    assert_eq!(u64::from(message.tid), vector.inputs["inflightTid"].as_u64().expect("a number"));
    assert_eq!(message.to, Addr::new([5, 5, 5, 5], 55));
    assert_eq!(message.id, Some(node_id(PEER)));
    assert_eq!(message.id, Some(key(&vector.expected_text("fromId"))));
    assert_eq!(message.token, Some(key(&vector.expected_text("token"))));
    assert_eq!(message.closer, [Addr::new([1; 4], 1), Addr::new([2; 4], 2)]);
    assert_eq!((message.error, message.value.as_deref()), (0, Some(&b"val"[..])));
}

/// pitfalls 3.7: PING and FIND_NODE are answered without a token. proves dht_rpc.13 and dht_rpc.15
#[test]
fn ping_and_find_node() {
    let mut world = alone(false);
    let own = world.hosts[0].dht.id();
    let (_, to, pong) = answers(&mut world, &internal(PING, Some(vec![0; 8]))).remove(0);
    assert_eq!(to, PEER);
    assert_eq!(pong, ResponseMessage { tid: 9, to: PEER, id: own, ..ResponseMessage::default() });

    assert!(answers(&mut world, &internal(FIND_NODE, None)).is_empty(), "without a target: silence");
    let from = Addr::new([10, 9, 9, 9], 9);
    let joins = RequestMessage { id: Some(node_id(from)), ..internal(PING, None) };
    answers_from(&mut world, from, &joins);
    let find = RequestMessage { target: Some([1; 32]), ..internal(FIND_NODE, None) };
    let (_, _, found) = answers(&mut world, &find).remove(0);
    assert_eq!((found.token, found.closer, found.value), (None, vec![from], None));
}

/// pitfalls 3.2: from the socket of the request, to the port that was named. proves dht_rpc.14
#[test]
fn ping_nat_is_answered_to_the_named_port() {
    let mut world = alone(false);
    for socket in [SocketId::SERVER, SocketId::CLIENT, SocketId(7)] {
        let message = internal(PING_NAT, Some(wire::encode(&PortValue(4444))));
        world.deliver(0, socket, PEER, &wire::encode(&message));
        let sent = world.sent(0);
        assert_eq!((sent.len(), sent[0].0, sent[0].1), (1, socket, PEER.with_port(4444)));
        let answer: ResponseMessage = wire::decode(&sent[0].2).expect("a response");
        assert_eq!((answer.to, answer.tid), (PEER.with_port(4444), 9));
    }
    for value in [None, Some(vec![7]), Some(vec![0, 0])] {
        assert!(answers(&mut world, &internal(PING_NAT, value)).is_empty(), "silence");
    }
}

/// proves dht_rpc.17
#[test]
fn a_delayed_ping_is_answered_later() {
    let mut world = alone(false);
    let delay = |millis: u32| internal(DELAYED_PING, Some(wire::encode(&DelayValue(millis))));
    assert!(answers(&mut world, &delay(5000)).is_empty());
    world.run(Span::from_millis(4999));
    assert!(world.sent(0).is_empty());
    world.run(Span::from_millis(1));
    let sent = world.sent(0);
    assert_eq!((sent.len(), sent[0].1), (1, PEER));
    answers(&mut world, &delay(10_001));
    answers(&mut world, &internal(DELAYED_PING, Some(vec![0; 3])));
    world.run(Span::from_secs(20));
    assert!(world.sent(0).is_empty(), "too long a delay, or none: silence");
    for _ in 0..limits::DHT_SOURCE_BURST {
        answers(&mut world, &delay(1));
    }
    world.run(Span::from_secs(1));
    assert_eq!(world.sent(0).len(), limits::DHT_DELAYED_MAX, "bounded");
}

/// proves dht_rpc.18
#[test]
fn who_asks_for_a_delay_waits_as_long() {
    let mut world = alone(false);
    let value = Some(wire::encode(&DelayValue(5000)));
    let ask = Ask { value, sends: 1, ..Ask::internal(PEER, DELAYED_PING) };
    world.with(0, |dht, cx| dht.ask(cx, Tag(1), ask)).expect("room");
    world.run(Span::from_millis(5999));
    assert_eq!(world.count(0, |event| matches!(event, Event::Answer { .. })), 0);
    world.run(Span::from_millis(1));
    assert_eq!(world.count(0, |event| matches!(event, Event::Answer { result: Err(Lost::TimedOut), .. })), 1);
}

/// proves dht_rpc.16
#[test]
fn a_down_hint_makes_us_look() {
    let mut world = alone(false);
    let down = Addr::new([10, 9, 9, 9], 9);
    answers_from(&mut world, down, &RequestMessage { id: Some(node_id(down)), ..internal(PING, None) });
    world.hosts[0].sent.clear();
    let hint = internal(DOWN_HINT, Some(wire::encode(&AddressValue(down))));
    world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&hint));
    let sent = world.sent(0);
    assert_eq!(
        sent.iter().map(|(_, to, _)| *to).collect::<Vec<_>>(),
        [down, PEER],
        "a ping, and the empty answer"
    );
    world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&hint));
    assert_eq!(world.sent(0).len(), 1, "asked in this tick already");
    world.run(Span::from_secs(4));
    assert_eq!(world.hosts[0].dht.node_count(), 0, "it is down indeed");
    assert!(answers(&mut world, &internal(DOWN_HINT, Some(vec![1; 5]))).is_empty(), "too short: silence");
    let unknown = internal(DOWN_HINT, Some(wire::encode(&AddressValue(Addr::new([1; 4], 1)))));
    world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&unknown));
    assert_eq!(world.sent(0).len(), 1, "who is not in the table is not pinged");
}

/// pitfalls 3.16: every command, known or not, with and without its fields; then the node still works.
/// proves dht_rpc.12 and dht_rpc.8
#[test]
fn all_commands_and_all_truncations_are_survived() {
    let mut world = alone(false);
    for command in (0..=255).chain([256, 65_536, u64::from(u32::MAX), wire::compact::UINT_MAX]) {
        for own in [true, false] {
            let message = RequestMessage {
                internal: own,
                target: Some([3; 32]),
                value: Some(vec![0xff; 20]),
                id: Some(node_id(PEER)),
                ..request(command)
            };
            let bytes = wire::encode(&message);
            for len in 0..bytes.len() {
                world.deliver(0, SocketId::SERVER, Addr::loopback(5), &bytes[..len]);
            }
            if own && command > DELAYED_PING {
                let answers = answers_from(&mut world, Addr::loopback(5), &message);
                assert_eq!(answers.last().map(|(_, _, answer)| answer.error), Some(UNKNOWN_COMMAND));
            }
            world.settle();
            world.hosts[0].events.clear();
        }
    }
    assert!(world.hosts[0].dht.stats().malformed > 0);
    assert_eq!(answers(&mut world, &internal(PING, None)).len(), 1);
}

/// pitfalls 1.8: a bad datagram is dropped alone. Invented, mutated and random ones, then a normal request.
/// proves dht_rpc.2 and dht_rpc.8
#[test]
fn garbage_is_survived() {
    let mut world = alone(false);
    let mut entropy = Seeded::new(11);
    let formats: Vec<_> = wire::dht_rpc::FORMATS.to_vec();
    for n in 0..60_000_u64 {
        let mut bytes = (formats[(n % 2) as usize].invent)(&mut entropy);
        for _ in 0..entropy.below(4) {
            let at = entropy.below(bytes.len() as u64) as usize;
            bytes[at] = entropy.u32() as u8;
        }
        bytes.truncate(entropy.below(3 * bytes.len() as u64) as usize);
        let from = Addr::new([127, 0, 0, entropy.u32() as u8], entropy.u32() as u16);
        world.deliver(0, SocketId(entropy.below(4) as u32), from, &bytes);
        if n % 64 == 0 {
            world.settle();
            world.hosts[0].events.clear();
            world.hosts[0].sent.clear();
            let next = world.hosts[0].dht.poll_deadline().unwrap_or(world.now);
            world.now = next.max(world.now);
            world.with(0, crate::base::Machine::handle_timeout);
        }
    }
    world.sent(0);
    for (from, len) in [(PEER, 0), (PEER, 1), (PEER, limits::DATAGRAM_MAX + 1), (PEER.with_port(0), 11)] {
        let mut bytes = wire::encode(&internal(PING, None));
        bytes.resize(len, 0);
        world.deliver(0, SocketId::SERVER, from, &bytes);
        assert!(world.sent(0).is_empty());
    }
    assert_eq!(answers(&mut world, &internal(PING, None)).len(), 1);
}

/// pitfalls 1.6 and 1.7: what follows a message is ignored, and an empty value is not an absent one.
/// proves dht_rpc.6, dht_rpc.7 and dht_rpc.9
#[test]
fn absent_empty_and_trailing_are_three_things() {
    for value in [None, Some(vec![]), Some(vec![0])] {
        for bits in 0..8_u8 {
            let message = RequestMessage {
                id: (bits & 1 != 0).then_some([1; 32]),
                token: (bits & 2 != 0).then_some([2; 32]),
                target: (bits & 4 != 0).then_some([3; 32]),
                value: value.clone(),
                ..request(u64::from(bits))
            };
            let mut bytes = wire::encode(&message);
            assert_eq!(wire::decode(&bytes).as_ref(), Ok(&message));
            bytes.extend([0xff; 8]);
            assert_eq!(wire::decode(&bytes).as_ref(), Ok(&message));
            // flags as a longer number, with bits that nobody knows
            let flags = 0xe0 | u16::from(bytes[1]);
            bytes.splice(1..2, [0xfd, flags as u8, 0x7f]);
            assert_eq!(wire::decode(&bytes).as_ref(), Ok(&message));
        }
    }
    let port = wire::decode::<PortValue>(&[1, 2, 3, 4]);
    assert_eq!(port, Ok(PortValue(0x0201)));
}

/// pitfalls 3.8: our id goes out only while persistent, and only from the server socket. proves dht_rpc.10
#[test]
fn the_id_goes_out_from_the_server_socket_of_a_persistent_node() {
    for (ephemeral, socket, shown) in [
        (false, SocketId::SERVER, true),
        (false, SocketId::CLIENT, false),
        (false, SocketId(5), false),
        (true, SocketId::SERVER, false),
    ] {
        let mut world = alone(ephemeral);
        world.deliver(0, socket, PEER, &wire::encode(&internal(PING, None)));
        let sent = world.sent(0);
        let pong: ResponseMessage = wire::decode(&sent[0].2).expect("a response");
        assert_eq!(pong.id.is_some(), shown);
        let ask = Ask { socket: Some(socket), ..Ask::new(PEER, 7) };
        world.with(0, |dht, cx| dht.ask(cx, Tag(1), ask)).expect("room");
        let sent = world.sent(0);
        let question: RequestMessage = wire::decode(&sent[0].2).expect("a request");
        assert_eq!(question.id.is_some(), shown);
    }
}

/// pitfalls 3.11: what is relayed is a request with the same number. proves dht_rpc.19
#[test]
fn relaying_is_a_request_with_the_same_number() {
    let mut world = alone(false);
    let own = world.hosts[0].dht.id();
    let message = RequestMessage { target: Some([4; 32]), value: Some(vec![1]), ..request(2) };
    world.deliver(0, SocketId::SERVER, PEER, &wire::encode(&message));
    world.settle();
    let Some(Event::Request(asked)) = world.hosts[0].events.pop_back() else { panic!("a request") };
    let to = Addr::new([10, 9, 9, 9], 9);
    world.with(0, |dht, cx| dht.relay(cx, &asked, to, vec![2], None));
    world.with(0, |dht, cx| dht.relay(cx, &asked, to.with_port(0), vec![2], None));
    world.with(0, |dht, cx| dht.relay(cx, &asked, to, vec![2], Some(SocketId::CLIENT)));
    let sent = world.sent(0);
    assert_eq!(sent.len(), 2, "an address without a port is not dialled");
    assert_eq!((sent[0].0, sent[0].1, sent[0].2[0]), (SocketId::SERVER, to, 0x03));
    let relayed: RequestMessage = wire::decode(&sent[0].2).expect("a request");
    assert_eq!(relayed, RequestMessage { to, id: own, value: Some(vec![2]), ..message });
    let relayed: RequestMessage = wire::decode(&sent[1].2).expect("a request");
    assert_eq!((sent[1].0, relayed.id), (SocketId::CLIENT, None));
}

/// pitfalls 3.12: somebody who forges a source cannot multiply traffic to it. proves dht_rpc.90
#[test]
fn answers_to_one_host_are_limited() {
    let mut world = alone(false);
    for n in 0..100 {
        let from = Addr::new([10, 9, 9, n], 9);
        answers_from(&mut world, from, &RequestMessage { id: Some(node_id(from)), ..internal(PING, None) });
    }
    world.sent(0);
    let find = RequestMessage { target: Some([1; 32]), ..internal(FIND_NODE, None) };
    let wrong = RequestMessage { token: Some([1; 32]), target: Some([1; 32]), ..request(7) };
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for n in 0..20_000_u64 {
        let bytes = wire::encode(if n % 2 == 0 { &find } else { &wrong });
        bytes_in += bytes.len();
        // every port of the host counts for the host
        world.deliver(0, SocketId::SERVER, PEER.with_port(1 + n as u16), &bytes);
        bytes_out += world.sent(0).iter().map(|(_, _, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(bytes_out < bytes_in / 10, "{bytes_out} out, {bytes_in} in");
    assert!(world.hosts[0].dht.stats().limited > 19_000);
    let other = Addr::new([10, 3, 3, 3], 3);
    assert_eq!(answers_from(&mut world, other, &find).len(), 1, "others are served");
}

/// pitfalls 3.5: a send a second, four for a request, six in a query. proves dht_rpc.48, dht_rpc.49 and dht_rpc.50
#[test]
fn requests_are_sent_again_every_second() {
    let mut world = alone(true);
    world.with(0, |dht, cx| dht.ask(cx, Tag(1), Ask::new(PEER, 7))).expect("room");
    let once = Ask { sends: 1, ..Ask::new(PEER, 8) };
    world.with(0, |dht, cx| dht.ask(cx, Tag(2), once)).expect("room");
    let query = Query { start: vec![PEER], ..Query::new([0; 32], 9, None) };
    world.with(0, |dht, cx| dht.query(cx, Tag(3), query)).expect("room");
    let begin = world.now;
    world.hosts[0].record = true;
    world.run(Span::from_secs(20));
    let mut times: BTreeMap<u64, Vec<Time>> = BTreeMap::new();
    for (at, _, _, bytes) in &world.hosts[0].sent {
        let message: RequestMessage = wire::decode(bytes).expect("a request");
        times.entry(message.command).or_default().push(*at);
    }
    let seconds = |count: u64| (0..count).map(|n| begin + Span::from_secs(n)).collect::<Vec<_>>();
    assert_eq!(times[&7], seconds(4));
    assert_eq!(times[&8], seconds(1));
    assert_eq!(times[&9], seconds(6));
    assert_eq!(world.hosts[0].dht.stats().timeouts, 3);
}

/// pitfalls 3.1: the right number from a wrong address, or on a wrong socket, is no answer. proves dht_rpc.47
#[test]
fn an_answer_of_somebody_else_is_ignored() {
    let mut world = alone(true);
    world.with(0, |dht, cx| dht.ask(cx, Tag(1), Ask::new(PEER, 7))).expect("room");
    let sent = world.sent(0);
    let question: RequestMessage = wire::decode(&sent[0].2).expect("a request");
    let answer = wire::encode(&ResponseMessage { tid: question.tid, ..ResponseMessage::default() });
    world.deliver(0, SocketId::CLIENT, PEER.with_port(1), &answer);
    world.deliver(0, SocketId::CLIENT, Addr::new([10, 2, 2, 3], PEER.port), &answer);
    world.deliver(0, SocketId::SERVER, PEER, &answer);
    assert_eq!(world.hosts[0].dht.stats().unexpected, 3);
    world.settle();
    assert_eq!(world.count(0, |event| matches!(event, Event::Answer { .. })), 0);
    world.deliver(0, SocketId::CLIENT, PEER, &answer);
    world.deliver(0, SocketId::CLIENT, PEER, &answer);
    world.settle();
    assert_eq!(world.count(0, |event| matches!(event, Event::Answer { result: Ok(_), .. })), 1, "once");
}

/// pitfalls 3.9: the congestion window holds requests back; those that wait can be cancelled.
/// proves dht_rpc.52 and dht_rpc.53
#[test]
fn requests_wait_for_the_congestion_window() {
    let mut world = alone(true);
    for n in 0..300 {
        world.with(0, |dht, cx| dht.ask(cx, Tag(n), Ask::new(PEER, n))).expect("room");
    }
    assert_eq!(world.sent(0).len(), 80);
    for n in 80..160 {
        world.with(0, |dht, cx| dht.cancel(cx, Tag(n)));
    }
    world.settle();
    assert_eq!(
        world.count(0, |event| matches!(event, Event::Answer { result: Err(Lost::Cancelled), .. })),
        80
    );
    assert!(world.sent(0).is_empty(), "what was cancelled had not been sent, so nothing becomes free");
    world.run(Span::from_millis(750));
    let next: Vec<u64> = world
        .sent(0)
        .iter()
        .map(|(_, _, bytes)| wire::decode::<RequestMessage>(bytes).expect("a request").command)
        .collect();
    assert_eq!(next, (160..240).collect::<Vec<_>>(), "in their order");
    world.run(Span::from_secs(60));
    assert_eq!(world.count(0, |event| matches!(event, Event::Answer { .. })), 300);
    assert_eq!(world.hosts[0].dht.stats().active, 0);
}

/// pitfalls 3.3: every request and every query ends exactly once, whatever happens. proves dht_rpc.54
#[test]
fn everything_ends_exactly_once() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        let mut entropy = Seeded::new(seed);
        let bootstrap = world.bootstrapper();
        world.hosts[0].echo = true;
        for _ in 0..6 {
            let config = Config {
                bootstrap: vec![bootstrap],
                ephemeral: Some(false),
                firewalled: false,
                ..Config::default()
            };
            let host = world.add(config);
            world.hosts[host].echo = true;
        }
        let (mut asked, mut queried) = (0, 0);
        world.loss = 300;
        for _ in 0..400 {
            let to = match entropy.below(3) {
                0 => PEER,
                _ => bootstrap,
            };
            match entropy.below(8) {
                0..=2 => {
                    asked += 1;
                    world.with(3, |dht, cx| dht.ask(cx, Tag(asked), Ask::new(to, 7))).expect("room");
                }
                3 => {
                    queried += 1;
                    let commit = entropy.chance(500);
                    let query = Query { commit, ..Query::new(entropy.bytes32(), 7, Some(vec![1])) };
                    world.with(3, |dht, cx| dht.query(cx, Tag(queried), query)).expect("room");
                }
                4 => {
                    let tag = Tag(1 + entropy.below(asked.max(1)));
                    world.with(3, |dht, cx| dht.cancel(cx, tag));
                }
                5 => {
                    let tag = Tag(1 + entropy.below(queried.max(1)));
                    world.with(3, |dht, cx| dht.cancel_query(cx, tag));
                }
                6 => {
                    let host = 1 + entropy.below(6) as usize;
                    world.hosts[host].up = host == 3 || !world.hosts[host].up;
                }
                _ => world.run(Span::from_millis(entropy.below(2000))),
            }
        }
        if seed % 2 == 0 {
            world.run(Span::from_secs(60));
            assert_eq!(world.hosts[3].dht.stats().active_queries, 0);
        }
        world.with(3, |dht, cx| dht.destroy(cx));
        world.settle();
        let mut answers = BTreeMap::new();
        let mut ends = BTreeMap::new();
        for event in &world.hosts[3].events {
            match event {
                Event::Answer { tag, .. } => *answers.entry(*tag).or_insert(0) += 1,
                Event::QueryDone { tag, .. } => *ends.entry(*tag).or_insert(0) += 1,
                _ => {}
            }
        }
        assert_eq!((answers.len() as u64, ends.len() as u64), (asked, queried));
        assert!(answers.values().chain(ends.values()).all(|count| *count == 1));
        let dht = &world.hosts[3].dht;
        assert_eq!((dht.stats().active, dht.stats().active_queries, dht.poll_deadline()), (0, 0, None));
    }
}

#[test]
fn commands_are_refused_when_they_cannot_be_done() {
    use crate::base::Error;
    let mut world = alone(true);
    let ask = |world: &mut World, tag: u64, ask: Ask| world.with(0, |dht, cx| dht.ask(cx, Tag(tag), ask));
    assert_eq!(ask(&mut world, 1, Ask::new(PEER, 7)), Ok(()));
    assert_eq!(ask(&mut world, 1, Ask::new(PEER, 7)), Err(Error::Taken));
    assert!(matches!(ask(&mut world, 2, Ask::new(PEER.with_port(0), 7)), Err(Error::Invalid(_))));
    let long = Ask { value: Some(vec![0; limits::DHT_VALUE_MAX + 1]), ..Ask::new(PEER, 7) };
    assert!(matches!(ask(&mut world, 2, long), Err(Error::Invalid(_))));
    for n in 2..=limits::DHT_IN_FLIGHT_MAX as u64 {
        assert_eq!(ask(&mut world, n, Ask::new(PEER, 7)), Ok(()));
    }
    assert_eq!(ask(&mut world, 1_000_000, Ask::new(PEER, 7)), Err(Error::Full));
    let longest = limits::DHT_VALUE_MAX;
    let message = RequestMessage {
        id: Some([1; 32]),
        token: Some([1; 32]),
        target: Some([1; 32]),
        value: Some(vec![0; longest]),
        ..request(wire::compact::UINT_MAX)
    };
    assert!(wire::encode(&message).len() <= limits::DATAGRAM_MAX);
    let message = ResponseMessage {
        id: Some([1; 32]),
        token: Some([1; 32]),
        closer: vec![PEER; 20],
        error: wire::compact::UINT_MAX,
        value: Some(vec![0; longest]),
        ..ResponseMessage::default()
    };
    assert!(wire::encode(&message).len() <= limits::DATAGRAM_MAX);
    world.with(0, |dht, cx| dht.destroy(cx));
    assert_eq!(ask(&mut world, 9, Ask::new(PEER, 7)), Err(Error::NotOpen));
}
