//! The seal around holepunch payloads, and the tokens by which hosts prove that they get our messages. A value.
//! Follows hyperdht.33 and hyperdht.34.

use crate::base::{Addr, Cx, Key};
use crate::crypto::{hash, secretbox};
use crate::wire;
use crate::wire::hyperdht::{HolepunchPayload, command};

const NONCE: usize = 24;
const MAC: usize = 16;
/// Label of the seal's key in a key log.
const KEY_LABEL: &str = "HOLEPUNCH";

/// One per connection attempt, on either side.
pub struct Sealed {
    secret: Key,
    /// Never leaves this side; tokens are made with it.
    local: Key,
}

impl core::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Sealed")
    }
}

impl Sealed {
    /// `target` is the hash of the server's key, which rounds carry in the clear. hyperdht.33
    pub fn new(cx: &mut Cx<'_>, target: &Key, handshake_hash: &[u8; 64]) -> Sealed {
        let secret = hash::keyed_256(handshake_hash, &[&super::namespace(command::PEER_HOLEPUNCH)]);
        if cx.trace.wants_keys() {
            cx.trace.key(KEY_LABEL, target, &[&secret]); // key_log.6
        }
        Sealed { secret, local: cx.entropy.bytes32() }
    }

    pub fn seal(&self, cx: &mut Cx<'_>, payload: &HolepunchPayload) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        cx.entropy.fill(&mut nonce);
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&secretbox::seal(&self.secret, &nonce, &wire::encode(payload)));
        bytes
    }

    /// `None` if it was not sealed by the other side of our handshake, or is not a payload.
    pub fn open(&self, bytes: &[u8]) -> Option<HolepunchPayload> {
        if bytes.len() <= NONCE + MAC {
            return None;
        }
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let plain = secretbox::open(&self.secret, nonce, sealed).ok()?;
        wire::decode(&plain).ok()
    }

    /// The token of a host; ports share it. hyperdht.34
    pub fn token(&self, addr: Addr) -> Key {
        hash::keyed_256(&self.local, &[addr.host().to_string().as_bytes()])
    }

    #[cfg(test)]
    pub fn from_parts(secret: Key, local: Key) -> Sealed {
        Sealed { secret, local }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{KeptKeys, Seeded, Time};
    use crate::sim::ramdisk::RamDisk;

    // proves key_log.6
    #[test]
    fn a_key_log_opens_the_payloads_of_its_target() {
        let (mut entropy, mut disk, mut trace) = (Seeded::new(1), RamDisk::new(), KeptKeys::default());
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut trace };
        let sealed = Sealed::new(&mut cx, &[7; 32], &[3; 64]);
        let payload = HolepunchPayload { round: 5, ..HolepunchPayload::default() };
        let bytes = sealed.seal(&mut cx, &payload);
        let [("HOLEPUNCH", target, keys)] = &trace.0[..] else { panic!("one line") };
        assert_eq!(target, &[7; 32]);
        let (nonce, text) = bytes.split_first_chunk::<NONCE>().expect("a nonce");
        let opened = secretbox::open(&keys[0], nonce, text).expect("opens");
        assert_eq!(wire::decode(&opened), Ok(payload));
    }
}
