//! Formats of hyperbee: the blocks of its hypercore, and what its readers ask of peers. Follows hyperbee.1 to
//! hyperbee.9 and hyperbee.55.

use arrayvec::ArrayVec;

use super::{Cursor, Format, Wire, format};
use crate::base::{Malformed, Reason, limits};

pub const FORMATS: &[Format] =
    &[format::<Header>(), format::<Node>(), format::<Index>(), format::<Extension>(), format::<Envelope>()];

/// Block 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// `hyperbee`; reading a tree does not look at it.
    pub protocol: String,
    pub metadata: Option<Metadata>,
}

/// What the owner of a tree may say about it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// The key of a core that the values point into.
    pub content_feed: Option<Vec<u8>>,
    pub user_data: Option<Vec<u8>>,
}

/// Any other block: one put or deletion, and the parts of the tree that it changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// An `Index`, on its own because most readers want the key only.
    pub index: Vec<u8>,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// The tree's nodes that a block holds. The first is the root, except in the middle of a batch (hyperbee.8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    pub levels: Vec<Level>,
}

/// The blocks that a node's keys are in. One more has room than may be read: a node splits when it has nine.
pub type Keys = ArrayVec<u64, { limits::HYPERBEE_KEYS_MAX + 1 }>;
/// Block and place of each of a node's children.
pub type Children = ArrayVec<u64, { 2 * (limits::HYPERBEE_KEYS_MAX + 2) }>;

/// One node of the tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Level {
    /// The blocks that hold this node's keys, in the order of the keys.
    pub keys: Keys,
    /// Block and place in its index, flat, of each child. One child more than keys, or none at all.
    pub children: Children,
}

/// How an `Extension` goes in a message of the core's channel: with its length, as all extensions of the real package
/// whose encoding is its default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    pub message: Vec<u8>,
}

impl Wire for Envelope {
    const NAME: &'static str = "hyperbee.envelope";
    const RULE: &'static str = "hyperbee.62";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.buffer("message", &mut self.message, limits::EXTENSION_MAX)
    }
}

/// A message of the core extension `hyperbee`: which blocks will a read need?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extension {
    /// An answer.
    pub cache: Option<Hint>,
    /// A question.
    pub get: Option<AskGet>,
    /// A question.
    pub iterator: Option<AskRange>,
}

/// Blocks that a read needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hint {
    /// The lowest block, and the one after the highest.
    pub start: u64,
    pub end: u64,
    pub blocks: Vec<u64>,
}

/// Which blocks lead to a key?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskGet {
    pub version: u64,
    pub key: Option<Vec<u8>>,
}

/// Which blocks hold a range, from where a walk is?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskRange {
    pub version: u64,
    pub gte: Option<Vec<u8>>,
    pub gt: Option<Vec<u8>>,
    pub lte: Option<Vec<u8>>,
    pub lt: Option<Vec<u8>>,
    /// 0: none.
    pub limit: u64,
    pub reverse: bool,
    /// Block, place and step, flat, of each node from the root to where the walk is. Steps count children and keys in
    /// turn, from the left.
    pub checkpoint: Vec<u64>,
}

impl Wire for Extension {
    const NAME: &'static str = "hyperbee.extension";
    const RULE: &'static str = "hyperbee.55";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.protobuf(3, |c, field| match field.number {
            1 => c.pb_optional_message(field, "cache", &mut self.cache, |c, hint| hint.walk(c)),
            2 => c.pb_optional_message(field, "get", &mut self.get, |c, get| get.walk(c)),
            _ => c.pb_optional_message(field, "iterator", &mut self.iterator, |c, range| range.walk(c)),
        })
        .map(|_| ())
    }
}

impl Hint {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let met = c.protobuf(3, |c, field| match field.number {
            1 => c.pb_uint(field, "start", &mut self.start),
            2 => c.pb_uint(field, "end", &mut self.end),
            _ => c.pb_packed(field, "blocks", &mut self.blocks, limits::HYPERBEE_HINTS_MAX),
        })?;
        required(c, met, 1, "start")?;
        required(c, met, 2, "end")
    }
}

impl AskGet {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.protobuf(2, |c, field| match field.number {
            1 => c.pb_uint(field, "version", &mut self.version),
            _ => c.pb_optional_bytes(field, "key", &mut self.key, limits::HYPERBEE_BLOCK_MAX),
        })
        .map(|_| ())
    }
}

impl AskRange {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let max = limits::HYPERBEE_BLOCK_MAX;
        c.protobuf(8, |c, field| match field.number {
            1 => c.pb_uint(field, "version", &mut self.version),
            2 => c.pb_optional_bytes(field, "gte", &mut self.gte, max),
            3 => c.pb_optional_bytes(field, "gt", &mut self.gt, max),
            4 => c.pb_optional_bytes(field, "lte", &mut self.lte, max),
            5 => c.pb_optional_bytes(field, "lt", &mut self.lt, max),
            6 => c.pb_uint(field, "limit", &mut self.limit),
            7 => c.pb_bool(field, "reverse", &mut self.reverse),
            _ => c.pb_packed(field, "checkpoint", &mut self.checkpoint, 3 * limits::HYPERBEE_DEPTH_MAX),
        })
        .map(|_| ())
    }
}

impl Wire for Header {
    const NAME: &'static str = "hyperbee.header";
    const RULE: &'static str = "hyperbee.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let met = c.protobuf(2, |c, field| match field.number {
            1 => c.pb_string(field, "protocol", &mut self.protocol, limits::HYPERBEE_HEADER_MAX),
            _ => c.pb_optional_message(field, "metadata", &mut self.metadata, |c, metadata| metadata.walk(c)),
        })?;
        required(c, met, 1, "protocol")
    }
}

impl Metadata {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.protobuf(2, |c, field| match field.number {
            1 => c.pb_optional_bytes(
                field,
                "content feed",
                &mut self.content_feed,
                limits::HYPERBEE_HEADER_MAX,
            ),
            _ => c.pb_optional_bytes(field, "user data", &mut self.user_data, limits::HYPERBEE_HEADER_MAX),
        })
        .map(|_| ())
    }
}

impl Wire for Node {
    const NAME: &'static str = "hyperbee.node";
    const RULE: &'static str = "hyperbee.2";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let met = c.protobuf(3, |c, field| match field.number {
            1 => c.pb_bytes(field, "index", &mut self.index, limits::HYPERBEE_BLOCK_MAX),
            2 => c.pb_bytes(field, "key", &mut self.key, limits::HYPERBEE_BLOCK_MAX),
            _ => c.pb_optional_bytes(field, "value", &mut self.value, limits::HYPERBEE_BLOCK_MAX),
        })?;
        required(c, met, 1, "index")?;
        required(c, met, 2, "key")
    }
}

impl Wire for Index {
    const NAME: &'static str = "hyperbee.index";
    const RULE: &'static str = "hyperbee.3";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.protobuf(1, |c, field| {
            c.pb_messages(field, "level", &mut self.levels, limits::HYPERBEE_LEVELS_MAX, |c, level| {
                level.walk(c)
            })
        })
        .map(|_| ())
    }
}

impl Level {
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.protobuf(2, |c, field| match field.number {
            1 => c.pb_packed(field, "keys", &mut self.keys, limits::HYPERBEE_KEYS_MAX),
            _ => c.pb_packed(field, "children", &mut self.children, 2 * (limits::HYPERBEE_KEYS_MAX + 1)),
        })
        .map(|_| ())
    }
}

/// hyperbee.4: a missing required field makes the bytes malformed.
fn required(c: &Cursor<'_>, met: u64, number: u64, name: &'static str) -> Result<(), Malformed> {
    if met >> number & 1 == 1 { Ok(()) } else { c.refuse(name, Reason::Short) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Entropy, Seeded, hex};
    use crate::wire::{decode, encode, invent};
    use serde_json::Value;

    fn vectors() -> Vec<Value> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/hyperbee-messages.json"));
        let file: Value = serde_json::from_str(text).expect("json");
        file["vectors"].as_array().expect("vectors").clone()
    }

    fn levels(value: &Value) -> Index {
        let numbers = |value: &Value| -> Vec<u64> {
            value.as_array().expect("list").iter().map(|n| n.as_u64().expect("number")).collect()
        };
        let level = |value: &Value| Level {
            keys: numbers(&value["keys"]).into_iter().collect(),
            children: numbers(&value["children"]).into_iter().collect(),
        };
        Index { levels: value.as_array().expect("list").iter().map(level).collect() }
    }

    fn bytes(value: &Value) -> Option<Vec<u8>> {
        value.as_str().map(|text| hex::decode(text).expect("hex"))
    }

    fn extension(name: &str, inputs: &Value) -> Extension {
        let number = |name: &str| inputs[name].as_u64().expect("number");
        let text = |name: &str| inputs[name].as_str().map(|text| text.as_bytes().to_vec());
        let list = |name: &str| -> Vec<u64> {
            inputs[name].as_array().expect("list").iter().map(|n| n.as_u64().expect("number")).collect()
        };
        match name {
            "extension/get" => {
                let get = AskGet { version: number("version"), key: bytes(&inputs["key"]) };
                Extension { get: Some(get), ..Extension::default() }
            }
            "extension/iterator" => {
                let range = AskRange {
                    version: number("version"),
                    gte: text("gte"),
                    lt: text("lt"),
                    limit: number("limit"),
                    reverse: inputs["reverse"].as_bool().expect("bool"),
                    checkpoint: list("checkpoint"),
                    ..AskRange::default()
                };
                Extension { iterator: Some(range), ..Extension::default() }
            }
            "extension/cache" => {
                let hint = Hint { start: number("start"), end: number("end"), blocks: list("blocks") };
                Extension { cache: Some(hint), ..Extension::default() }
            }
            name => panic!("{name}: another kind of message"),
        }
    }

    /// Every header, node, index and extension message of the vectors, both ways.
    // proves hyperbee.1
    // proves hyperbee.2
    // proves hyperbee.3
    // proves hyperbee.6
    // proves hyperbee.55
    #[test]
    fn the_messages_of_the_real_package_come_out_the_same() {
        let mut seen = 0;
        for vector in vectors() {
            let (inputs, wanted) = (&vector["inputs"], bytes(&vector["expected"]["hex"]).expect("hex"));
            let made = match vector["name"].as_str().expect("name") {
                "header" => {
                    let metadata = inputs["metadata"].as_object().map(|metadata| Metadata {
                        content_feed: bytes(&metadata["contentFeed"]),
                        user_data: bytes(&metadata["userData"]),
                    });
                    let header = Header { protocol: "hyperbee".into(), metadata };
                    assert_eq!(decode(&wanted), Ok(header.clone()));
                    encode(&header)
                }
                "index" => {
                    let index = levels(&inputs["levels"]);
                    assert_eq!(decode(&wanted), Ok(index.clone()));
                    encode(&index)
                }
                "node" => {
                    let index = encode(&levels(&inputs["levels"]));
                    let key = bytes(&inputs["key"]).expect("key");
                    let node = Node { index, key, value: bytes(&inputs["value"]) };
                    assert_eq!(decode(&wanted), Ok(node.clone()));
                    encode(&node)
                }
                name => {
                    let extension = extension(name, inputs);
                    assert_eq!(decode(&wanted), Ok(extension.clone()));
                    encode(&extension)
                }
            };
            assert_eq!(hex::encode(&made), hex::encode(&wanted), "{vector}");
            seen += 1;
        }
        assert_eq!(seen, 19);
    }

    // proves hyperbee.4
    #[test]
    fn a_node_without_key_or_index_is_malformed() {
        assert_eq!(decode::<Node>(&[0x12, 1, b'k']).expect_err("no index").field, "index");
        assert_eq!(decode::<Node>(&[0x0a, 0]).expect_err("no key").field, "key");
        assert_eq!(decode::<Header>(&[]).expect_err("no protocol").field, "protocol");
    }

    // proves hyperbee.5
    #[test]
    fn unknown_fields_and_any_order_are_read() {
        let bytes = [0x1a, 1, b'v', 0x20, 5, 0x12, 1, b'k', 0x2a, 2, 9, 9, 0x0a, 0, 0x35, 1, 2, 3, 4, 0x39];
        let eight = [1, 2, 3, 4, 5, 6, 7, 8];
        let node = decode::<Node>(&[&bytes[..], &eight[..]].concat());
        assert_eq!(node, Ok(Node { index: vec![], key: b"k".to_vec(), value: Some(b"v".to_vec()) }));
        let group = decode::<Node>(&[0x0a, 0, 0x12, 0, 0x23]).expect_err("a group");
        assert_eq!(group.field, "tag");
    }

    #[test]
    fn invented_values_come_back() {
        let mut entropy = Seeded::new(5);
        for _ in 0..300 {
            let (header, node, index): (Header, Node, Index) =
                (invent(&mut entropy), invent(&mut entropy), invent(&mut entropy));
            assert_eq!(decode(&encode(&header)), Ok(header));
            assert_eq!(decode(&encode(&node)), Ok(node));
            assert_eq!(decode(&encode(&index)), Ok(index));
            let extension: Extension = invent(&mut entropy);
            assert_eq!(decode(&encode(&extension)), Ok(extension));
        }
    }

    /// Lengths and counts beyond what is there, and varints without end.
    // proves hyperbee.9
    #[test]
    fn hostile_lengths_are_malformed() {
        let endless = [&[0x0a][..], &[0xff; 40]].concat();
        assert!(decode::<Node>(&endless).is_err());
        assert!(decode::<Node>(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
        assert!(decode::<Index>(&[0x0a, 5, 0x0a, 1]).is_err());
        let nine_keys = [&[0x0a, 11, 0x0a, 9][..], &[1; 9]].concat();
        assert_eq!(decode::<Index>(&nine_keys).expect_err("nine keys").field, "keys");
        let mut entropy = Seeded::new(6);
        for _ in 0..20_000 {
            let mut bytes = vec![0; entropy.below(60) as usize];
            entropy.fill(&mut bytes);
            let _ = (decode::<Header>(&bytes), decode::<Node>(&bytes), decode::<Index>(&bytes));
        }
    }
}
