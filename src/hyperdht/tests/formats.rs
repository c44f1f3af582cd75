//! Each format against upstream's bytes, both ways.

use serde_json::Value;

use super::super::payload::Sealed;
use super::super::records::mutable_signable;
use super::super::*;
use super::{addr, addrs, all, bytes, key, maybe, vectors};
use crate::base::Seeded;
use crate::crypto::sign;
use crate::wire::hyperdht::*;
use crate::wire::{Wire, decode, encode};

fn both<T: Wire + Default + Clone + PartialEq + core::fmt::Debug>(value: &T, hex: &Value) {
    assert_eq!(&encode(value), &bytes(hex));
    assert_eq!(decode::<T>(&bytes(hex)).as_ref(), Ok(value));
}

fn under(prefix: &str) -> Vec<Value> {
    all().into_iter().filter(|v| v["name"].as_str().is_some_and(|n| n.starts_with(prefix))).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn peer(value: &Value) -> Peer {
    Peer { key: key(&value["publicKey"]), relays: addrs(&value["relayAddresses"]) }
}

// proves hyperdht.1, hyperdht.3
#[test]
fn numbers_are_upstreams() {
    let expected = &vectors("constants")[0]["expected"];
    let spaces = [
        ("ANNOUNCE", command::ANNOUNCE),
        ("UNANNOUNCE", command::UNANNOUNCE),
        ("MUTABLE_PUT", command::MUTABLE_PUT),
        ("PEER_HANDSHAKE", command::PEER_HANDSHAKE),
        ("PEER_HOLEPUNCH", command::PEER_HOLEPUNCH),
        ("PLUGIN", command::PLUGIN),
    ];
    for (name, command) in spaces {
        assert_eq!(namespace(command), key(&expected["NS"][name]), "{name}");
    }
    let errors = [
        ("NONE", error::NONE),
        ("ABORTED", error::ABORTED),
        ("VERSION_MISMATCH", error::VERSION_MISMATCH),
        ("TRY_LATER", error::TRY_LATER),
        ("SEQ_REUSED", error::SEQ_REUSED),
        ("SEQ_TOO_LOW", error::SEQ_TOO_LOW),
    ];
    errors.iter().for_each(|(name, error)| assert_eq!(expected["ERROR"][name], *error, "{name}"));
    let firewalls = [
        ("UNKNOWN", firewall::UNKNOWN),
        ("OPEN", firewall::OPEN),
        ("CONSISTENT", firewall::CONSISTENT),
        ("RANDOM", firewall::RANDOM),
    ];
    firewalls.iter().for_each(|(name, firewall)| assert_eq!(expected["FIREWALL"][name], *firewall, "{name}"));
}

// proves hyperdht.2, hyperdht.4
#[test]
fn handshakes_are_upstreams() {
    for vector in under("peer-handshake/") {
        let inputs = &vector["inputs"];
        let value = Handshake {
            mode: number(&inputs["mode"]),
            noise: bytes(&inputs["noise"]),
            peer: maybe(&inputs["peerAddress"], addr),
            relay: maybe(&inputs["relayAddress"], addr),
        };
        both(&value, &vector["expected"]["hex"]);
    }
}

// proves hyperdht.5
#[test]
fn holepunch_messages_are_upstreams() {
    for vector in under("peer-holepunch/") {
        let inputs = &vector["inputs"];
        let value = Holepunch {
            mode: number(&inputs["mode"]),
            id: number(&inputs["id"]),
            payload: bytes(&inputs["payload"]),
            peer: maybe(&inputs["peerAddress"], addr),
        };
        both(&value, &vector["expected"]["hex"]);
    }
}

fn noise_payload(inputs: &Value) -> NoisePayload {
    let six = |value: &Value| {
        let ip: std::net::Ipv6Addr = value["host"].as_str().expect("host").parse().expect("IPv6");
        Addr6 { ip: ip.octets(), port: number(&value["port"]) as u16 }
    };
    let relay_info =
        |value: &Value| RelayInfo { relay: addr(&value["relayAddress"]), peer: addr(&value["peerAddress"]) };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    NoisePayload {
        version: 1,
        error: number(&inputs["error"]),
        firewall: number(&inputs["firewall"]),
        holepunch: maybe(&inputs["holepunch"], |v| HolepunchInfo {
            id: number(&v["id"]),
            relays: list(&v["relays"]).iter().map(relay_info).collect(),
        }),
        addresses4: addrs(&inputs["addresses4"]),
        addresses6: list(&inputs["addresses6"]).iter().map(six).collect(),
        udx: maybe(&inputs["udx"], |v| UdxInfo {
            version: 1,
            reusable_socket: v["reusableSocket"] == true,
            id: number(&v["id"]) as u32,
            seq: number(&v["seq"]),
        }),
        secret_stream: maybe(&inputs["secretStream"], |_| 1),
        relay_through: maybe(&inputs["relayThrough"], |v| RelayThrough {
            version: 1,
            flags: 0,
            key: key(&v["publicKey"]),
            token: key(&v["token"]),
        }),
        relay_addresses: maybe(&inputs["relayAddresses"], addrs),
    }
}

// proves hyperdht.6
#[test]
fn noise_payloads_are_upstreams() {
    for vector in under("noise-payload/") {
        if vector["inputs"].get("hex").is_none() {
            both(&noise_payload(&vector["inputs"]), &vector["expected"]["hex"]);
        }
    }
    let other: NoisePayload = decode(&[2, 0xff, 0xff, 0xff]).expect("only the version is read");
    assert_eq!(other, NoisePayload { version: 2, ..NoisePayload::default() });
}

fn holepunch_payload(inputs: &Value) -> HolepunchPayload {
    HolepunchPayload {
        error: number(&inputs["error"]),
        firewall: number(&inputs["firewall"]),
        round: number(&inputs["round"]),
        connected: inputs["connected"] == true,
        punching: inputs["punching"] == true,
        addresses: maybe(&inputs["addresses"], addrs),
        remote_address: maybe(&inputs["remoteAddress"], addr),
        token: maybe(&inputs["token"], key),
        remote_token: maybe(&inputs["remoteToken"], key),
    }
}

// proves hyperdht.7, hyperdht.33
#[test]
fn holepunch_payloads_are_upstreams() {
    for vector in under("holepunch-payload/") {
        let payload = holepunch_payload(&vector["inputs"]["payload"]);
        both(&payload, &vector["expected"]["plain"]);
        let sealed = Sealed::from_parts(key(&vector["inputs"]["holepunchSecret"]), [0; 32]);
        let mut encrypted = bytes(&vector["expected"]["encrypted"]);
        assert_eq!(sealed.open(&encrypted), Some(payload));
        for at in 0..encrypted.len() {
            encrypted[at] ^= 1;
            assert_eq!(sealed.open(&encrypted), None, "byte {at} was changed");
            assert_eq!(sealed.open(&encrypted[..at]), None);
            encrypted[at] ^= 1;
        }
    }
}

// proves hyperdht.34
#[test]
fn tokens_are_upstreams() {
    for vector in vectors("holepunch-token") {
        let inputs = &vector["inputs"];
        let sealed = Sealed::from_parts([0; 32], key(&inputs["localSecret"]));
        let ip: std::net::Ipv4Addr = inputs["host"].as_str().expect("host").parse().expect("ip");
        for port in [1, 2] {
            assert_eq!(sealed.token(Addr::new(ip.octets(), port)), key(&vector["expected"]["hex"]));
        }
    }
}

/// pitfalls 1.5 and 1.6: records follow each other without lengths; the bump may be missing.
// proves hyperdht.8
#[test]
fn records_and_lookups_are_upstreams() {
    for vector in vectors("peer-record") {
        both(&peer(&vector["inputs"]), &vector["expected"]["hex"]);
    }
    for vector in vectors("lookup-reply") {
        let peers = vector["inputs"]["peers"].as_array().expect("a list").iter().map(peer).collect();
        let value = LookupReply { peers, bump: number(&vector["inputs"]["bump"]) };
        both(&value, &vector["expected"]["hex"]);
    }
    let old = bytes(&vectors("lookup-reply/decode without bump")[0]["inputs"]["hex"]);
    let value: LookupReply = decode(&old).expect("without bump");
    assert_eq!((value.peers.len(), value.bump), (2, 0));
}

/// pitfalls 6.2: the signed record is byte-exact.
// proves hyperdht.8, hyperdht.50
#[test]
fn announcements_are_upstreams() {
    for vector in under("announce/").into_iter().chain(vectors("unannounce")) {
        let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
        let Some(seed) = inputs.get("seed") else { continue };
        let pair = KeyPair::from_seed(key(seed));
        let announce = &inputs["announce"];
        let unannounce = vector["name"] == "unannounce";
        let record =
            if unannounce { Peer { key: pair.public, relays: vec![] } } else { peer(&announce["peer"]) };
        let refresh = announce.get("refresh").and_then(|v| maybe(v, key));
        let space = if unannounce { command::UNANNOUNCE } else { command::ANNOUNCE };
        let (target, id, token) = (key(&inputs["target"]), key(&inputs["nodeId"]), key(&inputs["token"]));
        let signable = announce_signable(space, &target, &id, &token, &record, refresh.as_ref());
        let signature = pair.sign(&signable);
        assert_eq!(signature.to_vec(), bytes(&expected["signature"]), "{}", vector["name"]);
        assert!(sign::verify(&pair.public, &signable, &signature));
        let bump = announce.get("bump").and_then(Value::as_u64).unwrap_or(0);
        let value = Announce { peer: Some(record), refresh, signature: Some(Signature(signature)), bump };
        both(&value, &expected["hex"]);
    }
    let refresh = &vectors("announce/refresh only")[0];
    let value = Announce { refresh: Some(key(&refresh["inputs"]["refresh"])), ..Announce::default() };
    both(&value, &refresh["expected"]["hex"]);
}

// proves hyperdht.9, hyperdht.10
#[test]
fn stored_values_are_upstreams() {
    for vector in vectors("mutable") {
        let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
        let pair = KeyPair::from_seed(key(&inputs["seed"]));
        let (seq, value) = (number(&inputs["seq"]), bytes(&inputs["value"]));
        let part = MutableSignable { seq, value: value.clone() };
        both(&part, &expected["signablePart"]);
        let signable = mutable_signable(seq, &value);
        assert_eq!(signable.to_vec(), bytes(&expected["signed"]));
        let signature = Signature(pair.sign(&signable));
        assert_eq!(signature.0.to_vec(), bytes(&expected["signature"]));
        assert_eq!(target(&pair.public), key(&expected["target"]));
        both(&MutablePut { key: pair.public, seq, value: value.clone(), signature }, &expected["put"]);
        if let Some(response) = expected.get("getResponse").or(expected.get("get")) {
            both(&Mutable { seq, value, signature }, response);
        }
    }
    for vector in vectors("plugin-request") {
        let inputs = &vector["inputs"];
        let value = PluginRequest {
            plugin: inputs["plugin"].as_str().expect("text").into(),
            version: number(&inputs["version"]),
            command: number(&inputs["command"]),
            value: maybe(&inputs["value"], bytes),
        };
        both(&value, &vector["expected"]["hex"]);
    }
    for vector in vectors("address") {
        let inputs = &vector["inputs"];
        let value = Address { key: key(&inputs["key"]), nodes: maybe(&inputs["nodes"], addrs) };
        both(&value, &vector["expected"]["hex"]);
    }
    let bare: Address = decode(&[1; 32]).expect("a bare key");
    assert_eq!(bare, Address { key: [1; 32], nodes: None });
}

/// pitfalls 1.6 and 1.7: every cut of every message is refused or read, junk behind it is ignored.
#[test]
fn cut_messages_do_not_panic_and_tails_are_ignored() {
    for format in FORMATS {
        for seed in 0..200 {
            let bytes = (format.invent)(&mut Seeded::new(seed));
            assert_eq!((format.again)(&bytes).as_ref(), Ok(&bytes), "{}", format.name);
            for len in 0..bytes.len() {
                let _ = (format.again)(&bytes[..len]);
            }
            // In these the tail is a field: one that may be absent, or one that takes all there is.
            let own_tail = ["hyperdht.lookup_reply", "hyperdht.address", "hyperdht.sealed"];
            if !own_tail.contains(&format.name) {
                let longer = [&bytes[..], &[7; 8]].concat();
                assert_eq!((format.again)(&longer), Ok(bytes), "{}", format.name);
            }
        }
    }
}
