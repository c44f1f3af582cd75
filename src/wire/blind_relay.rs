//! Formats of blind_relay: how two peers ask a third to pass bytes between them. Follows blind_relay.1 to
//! blind_relay.4.

use super::{Cursor, Format, Wire, format};
use crate::base::{Key, Malformed};

/// The protocol name of the channel; its id is the public key of the side that dialled the relay. (blind_relay.1)
pub const PROTOCOL: &str = "blind-relay";
/// Kind of the channel's messages.
pub const PAIR: u64 = 0;
/// Kind of the channel's messages.
pub const UNPAIR: u64 = 1;

pub const FORMATS: &[Format] = &[format::<Pair>(), format::<Unpair>()];

/// Asks to be paired with whoever asks with the same token in the other role; the relay's answer is the same message
/// with the relay's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    pub initiator: bool,
    pub token: Key,
    /// Id of the sender's UDX stream.
    pub stream: u64,
    /// 0.
    pub seq: u64,
}

impl Wire for Pair {
    const NAME: &'static str = "blind_relay.pair";
    const RULE: &'static str = "blind_relay.2";
    /// Follows blind_relay.4.
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        [self.initiator] = c.bits("flags", [self.initiator])?;
        c.fixed("token", &mut self.token)?;
        c.uint("stream", &mut self.stream)?;
        c.uint("seq", &mut self.seq)
    }
}

/// Takes a request back, or ends a pairing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpair {
    pub token: Key,
}

impl Wire for Unpair {
    const NAME: &'static str = "blind_relay.unpair";
    const RULE: &'static str = "blind_relay.3";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        c.bits::<0>("flags", [])?;
        c.fixed("token", &mut self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex;
    use crate::wire;

    // proves blind_relay.1, blind_relay.2, blind_relay.3, blind_relay.4
    #[test]
    fn messages_are_the_vectors() {
        let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/blind-relay.json"));
        let file: serde_json::Value = serde_json::from_str(file).expect("JSON");
        let token = |value: &serde_json::Value| {
            Key::try_from(hex::decode(value.as_str().expect("hex")).expect("hex")).expect("32 bytes")
        };
        let mut seen = 0;
        for vector in file["vectors"].as_array().expect("vectors") {
            let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
            let bytes = hex::decode(expected["hex"].as_str().unwrap_or_default()).expect("hex");
            let mut pair = Pair { token: token(&inputs["token"]), ..Pair::default() };
            match vector["name"].as_str() {
                Some("pair") => {
                    pair.initiator = inputs["isInitiator"].as_bool().expect("a flag");
                    pair.stream = inputs["id"].as_u64().expect("a number");
                    assert_eq!(wire::encode(&pair), bytes);
                    assert_eq!(wire::decode(&bytes), Ok(pair));
                }
                Some("unpair") => {
                    let unpair = Unpair { token: pair.token };
                    assert_eq!(wire::encode(&unpair), bytes);
                    assert_eq!(wire::decode(&bytes), Ok(unpair));
                }
                _ => {
                    // a pairing: open, then the request with its own stream
                    let line = expected["initiatorToRelay"][1].as_str().expect("hex");
                    (pair.initiator, pair.stream) = (true, 11);
                    assert_eq!(line, format!("0100{}", hex::encode(&wire::encode(&pair))));
                    let open = expected["initiatorToRelay"][0].as_str().expect("hex");
                    let open = hex::decode(&open[4..]).expect("hex");
                    let open: wire::protomux::Open = wire::decode(&open).expect("an open");
                    assert_eq!((&open.protocol[..], open.handshake), (PROTOCOL, vec![]));
                    assert_eq!(open.id, Some(vec![1; 32]));
                }
            }
            seen += 1;
        }
        assert!(seen >= 8);
    }
}
