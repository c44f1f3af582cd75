//! The cursor against encodings of the real package.

use serde_json::Value;

use crate::base::{Addr, Malformed, Reason, hex};
use crate::wire::{Cursor, Wire, decode, decode_head, encode};

fn vectors(name: &str) -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/compact-encoding.json"));
    let all: Value = serde_json::from_str(text).expect("a vector file");
    let all = all["vectors"].as_array().expect("a list").clone();
    let found: Vec<Value> = all.into_iter().filter(|vector| vector["name"] == name).collect();
    assert!(!found.is_empty(), "no vector {name}");
    found
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("hex text")).expect("hex")
}

/// A format of one field, moved by one method of the cursor.
macro_rules! one_field {
    ($name:ident, $type:ty, |$c:ident, $value:ident| $walk:expr) => {
        #[derive(Clone, Default, PartialEq, Debug)]
        struct $name($type);
        impl Wire for $name {
            const NAME: &'static str = "test.one_field";
            const RULE: &'static str = "compact_encoding.1";
            fn walk(&mut self, $c: &mut Cursor<'_>) -> Result<(), Malformed> {
                let $value = &mut self.0;
                $walk
            }
        }
    };
}

one_field!(Uint, u64, |c, v| c.uint("value", v));
one_field!(Uint8, u8, |c, v| c.u8("value", v));
one_field!(Uint16, u16, |c, v| c.u16("value", v));
one_field!(Uint24, u32, |c, v| c.u24("value", v));
one_field!(Uint32, u32, |c, v| c.u32("value", v));
one_field!(Uint64, u64, |c, v| c.u64("value", v));
one_field!(Fixed32, [u8; 32], |c, v| c.fixed("value", v));
one_field!(Buffer, Vec<u8>, |c, v| c.buffer("value", v, 1000));
one_field!(OptionalBuffer, Option<Vec<u8>>, |c, v| c.optional_buffer("value", v, 1000));
one_field!(Text, String, |c, v| c.string("value", v, 1000));
one_field!(Raw, Vec<u8>, |c, v| c.raw("value", v, 1000));
one_field!(Uints, Vec<u64>, |c, v| c.list("values", v, 0x10_0000, 1, |c, v| c.uint("value", v)));
one_field!(Texts, Vec<String>, |c, v| c.list("values", v, 10, 1, |c, v| c.string("value", v, 100)));
one_field!(FramedText, String, |c, v| c.frame("frame", 1000, |c| c.string("value", v, 1000)));
one_field!(FramedUint, u64, |c, v| c.frame("frame", 1000, |c| c.uint("value", v)));
one_field!(Address, Addr, |c, v| c.addr("value", v));

/// Bits as a bare byte.
#[derive(Clone, Default, PartialEq, Debug)]
struct Bits4([bool; 4]);

impl Wire for Bits4 {
    const NAME: &'static str = "test.bits";
    const RULE: &'static str = "compact_encoding.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        self.0 = c.bits8("value", self.0)?;
        Ok(())
    }
}

fn agrees<T: Wire + Default + Clone + PartialEq + core::fmt::Debug>(name: &str, value: impl Fn(&Value) -> T) {
    for vector in vectors(name) {
        let (value, encoded) = (value(&vector["inputs"]["value"]), bytes(&vector["expected"]["hex"]));
        assert_eq!(encode(&value), encoded, "{name}");
        assert_eq!(decode::<T>(&encoded), Ok(value), "{name}");
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// proves compact_encoding.1, compact_encoding.4
#[test]
fn numbers_are_those_of_the_reference() {
    agrees("uint", |v| Uint(number(v)));
    agrees("uint8", |v| Uint8(number(v) as u8));
    agrees("uint16", |v| Uint16(number(v) as u16));
    agrees("uint24", |v| Uint24(number(v) as u32));
    agrees("uint32", |v| Uint32(number(v) as u32));
    agrees("uint64", |v| Uint64(number(v)));
}

/// proves compact_encoding.5, compact_encoding.6, compact_encoding.7, compact_encoding.8, compact_encoding.11
#[test]
fn bytes_and_texts_are_those_of_the_reference() {
    agrees("fixed32", |v| Fixed32(bytes(v).try_into().expect("32 bytes")));
    agrees("buffer", |v| Buffer(bytes(v)));
    agrees("raw", |v| Raw(bytes(v)));
    agrees("string", |v| Text(text(v)));
    for vector in vectors("optionalBuffer") {
        // An empty one is written like an absent one, and read as absent.
        let value = &vector["inputs"]["value"];
        let value = if value.is_null() { None } else { Some(bytes(value)) };
        let encoded = bytes(&vector["expected"]["hex"]);
        assert_eq!(encode(&OptionalBuffer(value.clone())), encoded);
        assert_eq!(decode(&encoded), Ok(OptionalBuffer(value.filter(|bytes| !bytes.is_empty()))));
    }
    assert_eq!(
        decode(&bytes(&vectors("decode/optionalBuffer")[0]["inputs"]["hex"])),
        Ok(OptionalBuffer(None))
    );
}

/// proves compact_encoding.9, compact_encoding.10
#[test]
fn lists_and_frames_are_those_of_the_reference() {
    agrees("array(uint)", |v| Uints(v.as_array().expect("a list").iter().map(number).collect()));
    agrees("array(string)", |v| Texts(v.as_array().expect("a list").iter().map(text).collect()));
    agrees("frame(string)", |v| FramedText(text(v)));
}

/// pitfalls 1.1: the port of an address is little endian.
/// proves compact_encoding.12
#[test]
fn addresses_are_those_of_the_reference() {
    agrees("ipv4Address", |v| {
        let addr = format!("{}:{}", v["host"].as_str().expect("a host"), v["port"]);
        Address(addr.parse().expect("an address"))
    });
}

/// proves compact_encoding.13
#[test]
fn short_bit_fields_are_a_bare_byte() {
    let vector = &vectors("bitfield(4)")[0];
    let flags: Vec<bool> =
        vector["inputs"]["bits"].as_array().expect("bits").iter().map(|bit| bit == true).collect();
    let value = Bits4(flags.try_into().expect("four"));
    let encoded = bytes(&vector["expected"]["hex"]);
    assert_eq!(encode(&value), encoded);
    assert_eq!(decode(&encoded), Ok(value.clone()));
    assert_eq!(decode(&[encoded[0] | 0xf0]), Ok(value), "unknown bits are ignored");
}

/// pitfalls 1.3, 1.6: lengths of a peer, bytes behind the last field.
/// proves compact_encoding.2, compact_encoding.3
#[test]
fn odd_numbers_are_read_as_the_reference_reads_them() {
    for vector in vectors("decode/uint") {
        let bytes = bytes(&vector["inputs"]["hex"]);
        let read = decode_head::<Uint>(&bytes);
        if vector["expected"]["error"] == true {
            read.expect_err("refused");
            continue;
        }
        let (Uint(value), rest) = read.expect("read");
        assert_eq!(value, number(&vector["expected"]["value"]));
        assert_eq!(bytes.len() - rest.len(), number(&vector["expected"]["consumed"]) as usize);
    }
    let two_to_53 = [0xff, 0, 0, 0, 0, 0, 0, 0x20, 0];
    let fault = decode::<Uint>(&two_to_53).expect_err("above 2^53 - 1");
    assert_eq!(fault.reason, Reason::Illegal { value: 1 << 53 });
}

/// pitfalls 1.4: a count beyond the reference's bound, and one beyond the bytes that are left.
/// proves compact_encoding.6, compact_encoding.9, compact_encoding.10
#[test]
fn what_the_reference_refuses_is_refused() {
    for vector in vectors("decode/buffer") {
        let read = decode::<Buffer>(&bytes(&vector["inputs"]["hex"]));
        assert_eq!(read.is_err(), vector["expected"]["error"] == true);
    }
    let read = decode::<Uints>(&bytes(&vectors("decode/array(uint)")[0]["inputs"]["hex"]));
    assert!(matches!(read.expect_err("too many").reason, Reason::TooLong { .. }));
    let read = decode::<Uints>(&[0xfe, 0, 0, 0x10, 0, 1, 2, 3]);
    assert_eq!(read.expect_err("2^20 in three bytes").reason, Reason::Short);
    let vector = &vectors("decode/frame(uint)")[0];
    let framed = bytes(&vector["inputs"]["hex"]);
    let (FramedUint(value), rest) = decode_head(&framed).expect("read");
    assert_eq!(value, number(&vector["expected"]["value"]));
    assert_eq!(framed.len() - rest.len(), number(&vector["expected"]["consumed"]) as usize);
}

/// pitfalls 1.7: the empty and the absent.
/// proves compact_encoding.8, compact_encoding.14
#[test]
fn bytes_behind_the_last_field_are_ignored_and_text_is_utf_8() {
    assert_eq!(decode(&[1, b'a', 9, 9]), Ok(Text("a".into())));
    assert_eq!(decode(&[1, 7, 9, 9]), Ok(Buffer(vec![7])));
    assert_eq!(decode(&[0]), Ok(Buffer(vec![])));
    assert_eq!(decode(&[2, 0xc3, 0xa6]), Ok(Text("æ".into())));
    assert_eq!(decode::<Text>(&[2, 0xff, 0xfe]).expect_err("not UTF-8").reason, Reason::NotText);
}

/// proves compact_encoding.15
#[test]
fn keys_as_text_are_those_of_the_reference() {
    for vector in vectors("z32").iter().filter(|vector| vector["inputs"]["key"].is_string()) {
        let key = bytes(&vector["inputs"]["key"]).try_into().expect("32 bytes");
        let text = vector["expected"]["text"].as_str().expect("text");
        assert_eq!(hex::key_to_z32(&key), text);
        assert_eq!(hex::key_from_text(text), Some(key));
        assert_eq!(hex::key_from_text(&format!("pear://{text}")), Some(key));
    }
}
