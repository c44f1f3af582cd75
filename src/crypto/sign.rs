//! Ed25519 keys and signatures, as strict as libsodium. Follows crypto.5 to crypto.8.

use core::fmt;

use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Sha512, Signature, SigningKey, Verifier, VerifyingKey};

use super::curve;
use crate::base::{Entropy, Key};

/// A signing key and its public key. The secrets are wiped when this is dropped, and never shown.
pub struct KeyPair {
    pub public: Key,
    secret: SigningKey,
    /// What signing takes from the seed, so that it is not hashed for each signature.
    expanded: ExpandedSecretKey,
}

impl Clone for KeyPair {
    fn clone(&self) -> KeyPair {
        let ExpandedSecretKey { scalar, hash_prefix } = self.expanded;
        let expanded = ExpandedSecretKey { scalar, hash_prefix };
        KeyPair { public: self.public, secret: self.secret.clone(), expanded }
    }
}

impl KeyPair {
    /// The pair that belongs to 32 seed bytes. (crypto.5)
    pub fn from_seed(seed: [u8; 32]) -> KeyPair {
        let secret = SigningKey::from_bytes(&seed);
        let expanded = ExpandedSecretKey::from(secret.as_bytes());
        KeyPair { public: secret.verifying_key().to_bytes(), secret, expanded }
    }

    /// A new pair.
    pub fn generate(entropy: &mut dyn Entropy) -> KeyPair {
        KeyPair::from_seed(entropy.bytes32())
    }

    /// The secret: whoever has these 32 bytes is this key.
    pub fn seed(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    /// Seed and public key in one, the form in which other tools keep a secret key. (crypto.5)
    pub fn secret_key(&self) -> [u8; 64] {
        self.secret.to_keypair_bytes()
    }

    /// The signature of `message`; always the same for the same message. (crypto.6)
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.expanded, message, self.secret.as_ref()).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", crate::base::hex::Hex(&self.public))
    }
}

/// Whether `signature` is `public`'s signature of `message`. (crypto.6 to crypto.8)
pub fn verify(public: &Key, message: &[u8], signature: &[u8; 64]) -> bool {
    // crypto.7: the library below accepts y coordinates that are not reduced, libsodium does not.
    if !curve::is_canonical(public) {
        return false;
    }
    // A point of small order has the y of one, whatever its sign; and y can be written in one way only, as of above.
    if SMALL_ORDER.iter().any(|small| small[..31] == public[..31] && (small[31] ^ public[31]) & 0x7f == 0) {
        return false;
    }
    // crypto.8: what `verify` compares with R is encoded the one canonical way, so that looking for R among the
    // encodings of small order is as good as decoding it, which would take a seventh of the time.
    if SMALL_ORDER.iter().any(|small| signature[..32] == *small) {
        return false;
    }
    let Ok(key) = VerifyingKey::from_bytes(public) else { return false };
    key.verify(message, &Signature::from_bytes(signature)).is_ok()
}

/// The eight points of small order, as the one canonical way to write each.
const SMALL_ORDER: [Key; 8] = [
    with_ends(0x01, 0x00, 0x00),
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0x00, 0x00, 0x00),
    with_ends(0x00, 0x00, 0x80),
    EIGHTH,
    negative(EIGHTH),
    OTHER_EIGHTH,
    negative(OTHER_EIGHTH),
];

const EIGHTH: Key = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
    0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];
const OTHER_EIGHTH: Key = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
    0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];

const fn with_ends(first: u8, between: u8, last: u8) -> Key {
    let mut point = [between; 32];
    (point[0], point[31]) = (first, last);
    point
}

/// The same y, the other x.
const fn negative(mut point: Key) -> Key {
    point[31] |= 0x80;
    point
}
