//! The parts of Noise messages, as far as they can be told apart without a key. The handshake itself is
//! `crypto::noise`'s. Follows noise.17 to noise.19.

use super::{Cursor, Format, Wire, format};
use crate::base::{Key, Malformed};

pub const FORMATS: &[Format] = &[
    format::<IkRequest>(),
    format::<IkAnswer>(),
    format::<XxFirst>(),
    format::<XxSecond>(),
    format::<XxThird>(),
    format::<Static>(),
];

/// Bytes of the tag behind each sealed part.
pub const MAC: usize = 16;
/// Bytes of a part that is not refused.
const PART_MAX: usize = 0xffff;

/// Sealed bytes up to the end, and the tag that stands behind them.
pub(super) fn sealed(
    c: &mut Cursor<'_>,
    field: &'static str,
    bytes: &mut Vec<u8>,
    tag: &'static str,
    mac: &mut [u8; MAC],
) -> Result<(), Malformed> {
    let len = if c.reading() { c.left().saturating_sub(MAC) } else { bytes.len() };
    let len = if c.inventing() { 20 } else { len };
    if len == 0 {
        bytes.clear(); // nothing is hidden: no field
    } else {
        c.clipped(field, bytes, len as u64)?;
    }
    c.fixed(tag, mac)
}

/// The first message of IK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IkRequest {
    pub ephemeral: Key,
    pub sealed_static: Key,
    pub static_mac: [u8; MAC],
    pub payload: Vec<u8>,
    pub payload_mac: [u8; MAC],
}

impl Wire for IkRequest {
    const NAME: &'static str = "noise.ik_request";
    const RULE: &'static str = "noise.17";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("ephemeral key", &mut self.ephemeral)?;
        c.fixed("sealed static key", &mut self.sealed_static)?;
        c.fixed("static key's mac", &mut self.static_mac)?;
        sealed(c, "sealed payload", &mut self.payload, "payload's mac", &mut self.payload_mac)
    }
}

/// The second message of IK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IkAnswer {
    pub ephemeral: Key,
    pub payload: Vec<u8>,
    pub payload_mac: [u8; MAC],
}

impl Wire for IkAnswer {
    const NAME: &'static str = "noise.ik_answer";
    const RULE: &'static str = "noise.18";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("ephemeral key", &mut self.ephemeral)?;
        sealed(c, "sealed payload", &mut self.payload, "payload's mac", &mut self.payload_mac)
    }
}

/// The first message of XX. Its payload is in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XxFirst {
    pub ephemeral: Key,
    pub payload: Vec<u8>,
}

impl Wire for XxFirst {
    const NAME: &'static str = "noise.xx_first";
    const RULE: &'static str = "noise.19";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("ephemeral key", &mut self.ephemeral)?;
        if c.reading() && c.left() == 0 {
            self.payload.clear();
            return Ok(());
        }
        c.raw("payload", &mut self.payload, PART_MAX)
    }
}

/// The second message of XX.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XxSecond(pub IkRequest);

impl Wire for XxSecond {
    const NAME: &'static str = "noise.xx_second";
    const RULE: &'static str = "noise.19";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        self.0.walk(c)
    }
}

/// The third message of XX.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XxThird {
    pub sealed_static: Key,
    pub static_mac: [u8; MAC],
    pub payload: Vec<u8>,
    pub payload_mac: [u8; MAC],
}

impl Wire for XxThird {
    const NAME: &'static str = "noise.xx_third";
    const RULE: &'static str = "noise.19";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("sealed static key", &mut self.sealed_static)?;
        c.fixed("static key's mac", &mut self.static_mac)?;
        sealed(c, "sealed payload", &mut self.payload, "payload's mac", &mut self.payload_mac)
    }
}

/// What a sealed static key holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Static(pub Key);

impl Wire for Static {
    const NAME: &'static str = "noise.static";
    const RULE: &'static str = "noise.11";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.fixed("static key", &mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex;
    use crate::wire::{Explanation, decode, encode, explain};

    fn messages(vector: &str) -> Vec<(usize, Vec<u8>)> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/noise.json"));
        let file: serde_json::Value = serde_json::from_str(text).expect("json");
        let vectors = file["vectors"].as_array().expect("vectors");
        let found = vectors.iter().find(|v| v["name"] == vector).expect("the vector");
        let bytes = |value: &serde_json::Value| hex::decode(value.as_str().expect("hex")).expect("hex");
        let steps = found["expected"]["steps"].as_array().expect("steps");
        steps.iter().map(|step| (bytes(&step["payload"]).len(), bytes(&step["message"]))).collect()
    }

    fn lengths((rows, result): Explanation) -> Vec<usize> {
        result.expect("well formed");
        rows.iter().map(|row| row.len).collect()
    }

    // proves noise.17, noise.18
    #[test]
    fn messages_of_ik_have_their_parts() {
        let [(first, request), (second, answer)] = &messages("IK, dht prologue, text payloads")[..] else {
            panic!("two messages");
        };
        assert_eq!(lengths(explain::<IkRequest>(request)), [32, 32, 16, *first, 16]);
        assert_eq!(lengths(explain::<IkAnswer>(answer)), [32, *second, 16]);
        assert_eq!(&encode(&decode::<IkRequest>(request).expect("legal")), request);
        assert_eq!(&encode(&decode::<IkAnswer>(answer).expect("legal")), answer);
    }

    // proves noise.19
    #[test]
    fn messages_of_xx_have_their_parts() {
        let messages = messages("XX, empty prologue (secret-stream default)");
        assert_eq!(lengths(explain::<XxFirst>(&messages[0].1)), [32]);
        assert_eq!(lengths(explain::<XxSecond>(&messages[1].1)), [32, 32, 16, 16]);
        assert_eq!(lengths(explain::<XxThird>(&messages[2].1)), [32, 16, 16]);
    }
}
