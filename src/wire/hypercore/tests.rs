use serde_json::Value;

use super::*;
use crate::base::{Reason, Seeded, hex};
use crate::wire::{decode, encode, explain, invent};

fn vectors() -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hypercore-wire.json"));
    let file: Value = serde_json::from_str(text).expect("the vectors");
    file["vectors"].as_array().expect("a list").clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn flag(value: &Value) -> bool {
    value.as_bool().expect("a flag")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hex")
}

fn wanted(value: &Value) -> Option<Wanted> {
    (!value.is_null()).then(|| Wanted { index: number(&value["index"]), nodes: number(&value["nodes"]) })
}

/// The bytes that seckel makes of what a vector describes.
fn made(name: &str, input: &Value) -> Vec<u8> {
    match name {
        "handshake" => encode(&Handshake {
            seeks: flag(&input["seeks"]),
            capability: bytes(&input["capability"]).try_into().expect("32 bytes"),
        }),
        "sync" => encode(&Sync {
            fork: number(&input["fork"]),
            length: number(&input["length"]),
            remote_length: number(&input["remoteLength"]),
            can_upgrade: flag(&input["canUpgrade"]),
            uploading: flag(&input["uploading"]),
            downloading: flag(&input["downloading"]),
            has_manifest: flag(&input["hasManifest"]),
            allow_push: flag(&input["allowPush"]),
        }),
        "request" => encode(&Request {
            id: number(&input["id"]),
            fork: number(&input["fork"]),
            block: wanted(&input["block"]),
            hash: wanted(&input["hash"]),
            seek: (!input["seek"].is_null()).then(|| Seek {
                bytes: number(&input["seek"]["bytes"]),
                padding: number(&input["seek"]["padding"]),
            }),
            upgrade: (!input["upgrade"].is_null()).then(|| Grow {
                start: number(&input["upgrade"]["start"]),
                length: number(&input["upgrade"]["length"]),
            }),
            manifest: flag(&input["manifest"]),
            priority: number(&input["priority"]),
        }),
        "cancel" => encode(&Cancel { request: number(&input["request"]) }),
        "no data" | "no data," => {
            encode(&NoData { request: number(&input["request"]), reason: number(&input["reason"]) })
        }
        "want" | "unwant" => encode(&Want {
            start: number(&input["start"]),
            length: number(&input["length"]),
            any: flag(&input["any"]),
        }),
        "range" => encode(&Range {
            drop: flag(&input["drop"]),
            start: number(&input["start"]),
            length: number(&input["length"]),
        }),
        "bitfield" => encode(&Bitfield {
            start: number(&input["start"]),
            words: input["bitfield"].as_array().expect("a list").iter().map(|w| number(w) as u32).collect(),
        }),
        "extension" | "extension," => encode(&Extension {
            name: input["name"].as_str().expect("text").to_owned(),
            message: bytes(&input["message"]),
        }),
        other => panic!("a vector of {other}"),
    }
}

/// Decodes with the format of that name and encodes again.
fn again(name: &str, bytes: &[u8]) -> Vec<u8> {
    let name = match name {
        "no data" | "no data," => "no_data",
        "unwant" => "want",
        "extension," => "extension",
        name => name,
    };
    let format = FORMATS.iter().find(|f| f.name == format!("hypercore.{name}")).expect("a format");
    (format.again)(bytes).expect("a vector decodes")
}

// proves replication.1, replication.2, replication.3, replication.4, replication.6, replication.7, replication.8
// proves replication.9, replication.10
#[test]
fn messages_are_upstreams() {
    let mut seen = 0;
    for vector in vectors() {
        let name = vector["name"].as_str().expect("text").to_owned();
        let Some(rest) = name.strip_prefix("message/") else { continue };
        let kind = match rest.split_once(' ') {
            Some(("no", _)) => "no data",
            Some((kind, _)) => kind,
            None => rest,
        };
        let want = bytes(&vector["expected"]["hex"]);
        assert_eq!(hex::encode(&made(kind, &vector["inputs"])), hex::encode(&want), "{name}");
        assert_eq!(again(kind, &want), want, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 24);
}

// proves replication.5
#[test]
fn answers_are_upstreams() {
    let mut seen = 0;
    for vector in vectors() {
        if let Some(data) = vector["expected"]["data"].as_str() {
            let data = hex::decode(data).expect("hex");
            assert_eq!(again("data", &data), data, "{}", vector["name"]);
            let (_, result) = explain::<Data>(&data);
            assert_eq!(result, Ok(()));
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn flags_that_are_not_there_are_zero() {
    assert_eq!(decode::<NoData>(&[5]), Ok(NoData { request: 5, reason: 0 }));
    let want = Want { start: 0, length: 2_097_152, any: false };
    assert_eq!(decode::<Want>(&[0, 0xfe, 0, 0, 0x20, 0]), Ok(want));
    assert_eq!(decode::<Want>(&[0, 0xfe, 0, 0, 0x20, 0, 0]), Ok(want));
}

#[test]
fn prefixes_of_an_answer_are_refused() {
    let data = Data {
        request: 1,
        fork: 2,
        block: Some(DataBlock { index: 3, value: b"block".to_vec(), nodes: vec![Node::default(); 3] }),
        upgrade: Some(DataUpgrade {
            start: 4,
            length: 5,
            nodes: vec![Node::default()],
            ..Default::default()
        }),
        ..Data::default()
    };
    let bytes = encode(&data);
    for len in 0..bytes.len() {
        let fault = decode::<Data>(&bytes[..len]).expect_err("too short");
        assert_eq!(fault.reason, Reason::Short, "{len}");
    }
    assert_eq!(decode(&bytes), Ok(data));
}

#[test]
fn giant_counts_are_refused() {
    // A hash answer with 2^32 nodes, a bitfield with 2^32 words.
    let count = [0xfe, 0xff, 0xff, 0xff, 0xff];
    let fault = decode::<Data>(&[&[2, 1, 0, 0][..], &count].concat()).expect_err("too many");
    assert_eq!(fault.field, "nodes");
    let fault = decode::<Bitfield>(&[&[0][..], &count].concat()).expect_err("too many");
    assert_eq!(fault.field, "words");
}

#[test]
fn invented_messages_come_back() {
    for seed in 0..300 {
        let mut entropy = Seeded::new(seed);
        let data: Data = invent(&mut entropy);
        assert_eq!(decode(&encode(&data)), Ok(data));
        let request: Request = invent(&mut entropy);
        assert_eq!(decode(&encode(&request)), Ok(request));
        let range: Range = invent(&mut entropy);
        assert_eq!(decode(&encode(&range)), Ok(range));
        let want: Want = invent(&mut entropy);
        assert_eq!(decode(&encode(&want)), Ok(want));
    }
}

/// Every message of whole conversations: decoded, and encoded again as it was.
#[test]
fn conversations_are_understood() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hypercore-replication.json"));
    let file: Value = serde_json::from_str(text).expect("the vectors");
    let mut seen = 0;
    for vector in file["vectors"].as_array().expect("a list") {
        let sides = ["a", "b"].map(|side| vector["expected"][side].as_array().expect("a list"));
        for message in sides.into_iter().flatten() {
            let bytes = bytes(&message["hex"]);
            let bodies = match message["is"].as_str().expect("text") {
                "open" => vec![],
                is if is.starts_with("batch") => batched(&bytes[3..]),
                _ => vec![bytes[1..].to_vec()],
            };
            for body in bodies {
                const NAMES: [&str; 9] =
                    ["sync", "request", "cancel", "data", "no data", "want", "unwant", "bitfield", "range"];
                assert_eq!(again(NAMES[body[0] as usize], &body[1..]), body[1..], "{}", vector["name"]);
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
}

/// The messages of a batch: a length of one or three bytes in front of each.
fn batched(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while let [first, rest @ ..] = bytes {
        let (len, rest) = match first {
            0xfd => (usize::from(u16::from_le_bytes([rest[0], rest[1]])), &rest[2..]),
            len => (usize::from(*len), rest),
        };
        bodies.push(rest[..len].to_vec());
        bytes = &rest[len..];
    }
    bodies
}
