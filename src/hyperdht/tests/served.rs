//! What a node does for others: storage and relaying, against upstream's decisions.

use serde_json::Value;

use super::super::records::mutable_signable;
use super::super::*;
use super::world::*;
use super::{addr, bytes, key, maybe, vectors};
use crate::wire::hyperdht::{Holepunch, MutablePut, command, error};

/// A machine alone, and what it puts out.
struct Alone {
    world: World,
}

impl Alone {
    fn new(id: Key) -> Alone {
        let mut world = World::new(1);
        let index = world.node();
        let status = Status { id: Some(id), ephemeral: false, ..Status::default() };
        world.hosts[index].mute = true;
        world.input(index, Input::Status(status));
        Alone { world }
    }

    fn request(
        &mut self,
        command: u64,
        from: Addr,
        target: Key,
        token: Option<Key>,
        value: Option<Vec<u8>>,
    ) -> Vec<Output> {
        let request = Request {
            from,
            to: Addr::new([127, 0, 0, 1], 1),
            socket: SocketId::SERVER,
            tid: 1,
            command,
            target: Some(target),
            id: None,
            token,
            value,
            external: false,
        };
        self.world.input(0, Input::Request(request));
        std::mem::take(&mut self.world.hosts[0].muted)
    }
}

fn method(name: &Value) -> u64 {
    match name.as_str().expect("text") {
        "onfindpeer" => command::FIND_PEER,
        "onlookup" => command::LOOKUP,
        "onannounce" => command::ANNOUNCE,
        "onunannounce" => command::UNANNOUNCE,
        "onmutableput" => command::MUTABLE_PUT,
        "onmutableget" => command::MUTABLE_GET,
        "onimmutableput" => command::IMMUTABLE_PUT,
        "onimmutableget" => command::IMMUTABLE_GET,
        "onpeerhandshake" => command::PEER_HANDSHAKE,
        "onpeerholepunch" => command::PEER_HOLEPUNCH,
        other => panic!("{other}"),
    }
}

/// pitfalls 6.3: relays are cut after the signature was checked. pitfalls 6.4: who answers from what.
// proves hyperdht.42, hyperdht.44, hyperdht.45, hyperdht.46, hyperdht.47, hyperdht.49
#[test]
fn a_storage_node_decides_as_upstream() {
    let vector = &vectors("storage-node")[0];
    let mut alone = Alone::new(key(&vector["inputs"]["nodeId"]));
    for step in vector["expected"]["steps"].as_array().expect("steps") {
        let request = &step["request"];
        let field = |name: &str| request.get(name).and_then(|v| maybe(v, bytes));
        let token = field("token").map(|token| token.try_into().expect("32 bytes"));
        let from = Addr::new([1, 2, 3, 4], 100);
        let outputs =
            alone.request(method(&step["method"]), from, key(&request["target"]), token, field("value"));
        let result = &step["result"];
        let what = &step["what"];
        if result == "silence" {
            assert_eq!(outputs, [], "{what}");
            continue;
        }
        let [Output::Respond { respond, .. }] = &outputs[..] else { panic!("{what}: {outputs:?}") };
        if let Some(error) = result.get("error") {
            assert_eq!(*error, respond.error, "{what}");
            continue;
        }
        assert_eq!(respond.value, maybe(&result["reply"], bytes), "{what}");
        let plain = result["opts"].is_null();
        assert_eq!((respond.error, respond.token, respond.closer), (0, plain, plain), "{what}");
    }
}

/// pitfalls 7.10, 7.11; and the way of a handshake at nodes that are not the server.
// proves hyperdht.22, hyperdht.23, hyperdht.24, hyperdht.25, hyperdht.26, hyperdht.28
#[test]
fn a_node_routes_as_upstream() {
    let vector = &vectors("router")[0];
    let target = key(&vector["inputs"]["target"]);
    let mut seen = 0;
    for run in vector["expected"]["runs"].as_array().expect("runs") {
        let what = run["what"].as_str().expect("text");
        if what.contains("at the server") {
            continue;
        }
        let mut alone = Alone::new([1; 32]);
        let known = what.contains("announcement") || what.contains("another node");
        if known {
            let relay = Addr::new([8, 8, 8, 8], 88);
            alone.world.hosts[0].dht.forwards.set(target, Forward { relay, record: vec![] });
        }
        let message = &run["message"];
        let punch = run["method"] == "onpeerholepunch";
        let value = if punch {
            wire::encode(&Holepunch {
                mode: message["mode"].as_u64().expect("mode"),
                id: message["id"].as_u64().expect("id"),
                payload: bytes(&message["payload"]),
                peer: maybe(&message["peerAddress"], addr),
            })
        } else {
            wire::encode(&wire::hyperdht::Handshake {
                mode: message["mode"].as_u64().expect("mode"),
                noise: bytes(&message["noise"]),
                peer: maybe(&message["peerAddress"], addr),
                relay: maybe(&message["relayAddress"], addr),
            })
        };
        let outputs = alone.request(method(&run["method"]), addr(&run["from"]), target, None, Some(value));
        if run["result"] == "silence" {
            assert_eq!(outputs, [], "{what}");
            continue;
        }
        let result = &run["result"][0];
        match &outputs[..] {
            [Output::Relay { to, value, socket: None, .. }] => {
                assert_eq!((*to, value), (addr(&result["to"]), &bytes(&result["hex"])), "{what}");
            }
            [Output::Respond { respond, .. }] => {
                let opts = &result["opts"];
                assert_eq!(respond.value, maybe(&result["hex"], bytes), "{what}");
                assert_eq!(respond.to, opts.get("to").and_then(|to| maybe(to, addr)), "{what}");
                assert_eq!(
                    (opts["token"].clone(), opts["closerNodes"].clone()),
                    (respond.token.into(), respond.closer.into())
                );
            }
            other => panic!("{what}: {other:?}"),
        }
        seen += 1;
    }
    assert!(seen >= 7);
}

/// pitfalls 3.6 and 3.16: a node that stores nothing says so at once, for every command.
// proves hyperdht.43
#[test]
fn a_node_that_is_not_persistent_refuses_storage() {
    let mut world = World::new(1);
    let index = world.host(Shape::Open);
    world.hosts[index].mute = true;
    let mut alone = Alone { world };
    for command in (2..=255).chain([1 << 40]) {
        let outputs = alone.request(command, Addr::loopback(5), [1; 32], None, None);
        let [Output::Respond { respond, .. }] = &outputs[..] else { panic!("{command}: {outputs:?}") };
        assert_eq!(respond.error, 1);
    }
}

/// Who stores a value again is believed because of the signature that is kept with it, and of nothing else.
// proves hyperdht.49
#[test]
fn a_value_that_is_kept_is_taken_again_with_its_own_signature_alone() {
    let mut alone = Alone::new([1; 32]);
    let pair = pair(1);
    let signed = |seq, value: &[u8], signed: &[u8]| {
        let signature = wire::hyperdht::Signature(pair.sign(&mutable_signable(seq, signed)));
        wire::encode(&MutablePut { key: pair.public, seq, value: value.to_vec(), signature })
    };
    let answer = |alone: &mut Alone, put: Vec<u8>| -> Option<u64> {
        let (from, target) = (Addr::loopback(5), super::super::target(&pair.public));
        match alone.request(command::MUTABLE_PUT, from, target, Some([4; 32]), Some(put)).pop()? {
            Output::Respond { respond, .. } => Some(respond.error),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer(&mut alone, signed(2, b"value", b"value")), Some(0));
    assert_eq!(answer(&mut alone, signed(2, b"value", b"value")), Some(0), "the very same");
    assert_eq!(answer(&mut alone, signed(2, b"value", b"other")), None, "another signature");
    assert_eq!(answer(&mut alone, signed(2, b"other", b"value")), None, "its signature under another value");
    let put: MutablePut = wire::decode(&signed(2, b"value", b"value")).expect("a put");
    let moved = MutablePut { seq: 3, ..put };
    assert_eq!(answer(&mut alone, wire::encode(&moved)), None, "its signature under another number");
    assert_eq!(answer(&mut alone, signed(2, b"other", b"other")), Some(error::SEQ_REUSED));
    assert_eq!(answer(&mut alone, signed(1, b"value", b"value")), Some(error::SEQ_TOO_LOW));
}

/// pitfalls 6.17: the preimage of a refresh prolongs a record, once, and the chain goes on.
// proves hyperdht.48
#[test]
fn a_refresh_prolongs_a_record() {
    let id = [1; 32];
    let mut alone = Alone::new(id);
    let (topic, token) = ([3; 32], [4; 32]);
    let second = [9; 32];
    let first = hash::blake2b_256(&[&second]);
    let pair = pair(1);
    let peer = Peer { key: pair.public, relays: vec![] };
    let signable = announce_signable(command::ANNOUNCE, &topic, &id, &token, &peer, Some(&first));
    let signature = Some(wire::hyperdht::Signature(pair.sign(&signable)));
    let announce = wire::hyperdht::Announce { peer: Some(peer), refresh: Some(first), signature, bump: 0 };
    let from = Addr::loopback(5);
    let outputs = alone.request(command::ANNOUNCE, from, topic, Some(token), Some(wire::encode(&announce)));
    assert_eq!(outputs.len(), 1);
    let refresh = wire::hyperdht::Announce { refresh: Some(second), ..Default::default() };
    let refresh = Some(wire::encode(&refresh));
    for (rotations, replies) in [(1, 1), (0, 0)] {
        for _ in 0..rotations {
            alone.world.hosts[0].dht.storage.as_mut().expect("persistent").rotate_records();
        }
        let outputs = alone.request(command::ANNOUNCE, from, topic, Some(token), refresh.clone());
        assert_eq!(outputs.len(), replies, "a preimage works once");
    }
    alone.world.hosts[0].dht.storage.as_mut().expect("persistent").rotate_records();
    let outputs = alone.request(command::LOOKUP, from, topic, None, None);
    let [Output::Respond { respond, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(respond.value.is_some(), "prolonged");
}

/// pitfalls 6.13: what lives how long, in virtual time.
// proves hyperdht.40, hyperdht.41
#[test]
fn records_live_minutes_and_values_days() {
    let mut alone = Alone::new([1; 32]);
    let value = b"v".to_vec();
    let target = hash::blake2b_256(&[&value]);
    let from = Addr::loopback(5);
    alone.request(command::IMMUTABLE_PUT, from, target, Some([4; 32]), Some(value.clone()));
    let dht = &mut alone.world.hosts[0].dht;
    dht.forwards.set([2; 32], Forward { relay: from, record: vec![1] });
    let ask = |alone: &mut Alone, command, target| {
        let outputs = alone.request(command, from, target, None, None);
        let [Output::Respond { respond, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        respond.value.is_some()
    };
    alone.world.run(Span::from_secs(13 * 60));
    assert!(alone.world.hosts[0].dht.forwards.len() == 1);
    alone.world.run(Span::from_secs(27 * 60));
    assert!(!ask(&mut alone, command::FIND_PEER, [2; 32]), "a forward is gone after 40 minutes");
    assert!(ask(&mut alone, command::IMMUTABLE_GET, target));
    alone.world.run(Span::from_secs(30 * 3600));
    assert!(ask(&mut alone, command::IMMUTABLE_GET, target), "values live for days");
    alone.world.run(Span::from_secs(80 * 3600));
    assert!(!ask(&mut alone, command::IMMUTABLE_GET, target));
}

/// pitfalls 6.16: a value that does not fit one datagram is not stored.
#[test]
fn a_long_value_is_not_stored() {
    let mut alone = Alone::new([1; 32]);
    for (len, stored) in [(limits::HYPERDHT_VALUE_MAX, true), (limits::HYPERDHT_VALUE_MAX + 1, false)] {
        let value = vec![7; len];
        let target = hash::blake2b_256(&[&value]);
        let outputs =
            alone.request(command::IMMUTABLE_PUT, Addr::loopback(5), target, Some([4; 32]), Some(value));
        assert_eq!(!outputs.is_empty(), stored);
    }
}
