//! Ed25519 keys and signatures, as strict as libsodium. Follows crypto.5 to crypto.8.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::curve;
use crate::base::{Entropy, Key};

/// A signing key and its public key. The seed is wiped when this is dropped, and never shown.
#[derive(Clone)]
pub struct KeyPair {
    pub public: Key,
    secret: SigningKey,
}

impl KeyPair {
    /// The pair that belongs to 32 seed bytes. (crypto.5)
    pub fn from_seed(seed: [u8; 32]) -> KeyPair {
        let secret = SigningKey::from_bytes(&seed);
        KeyPair { public: secret.verifying_key().to_bytes(), secret }
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
        self.secret.sign(message).to_bytes()
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
    let Ok(key) = VerifyingKey::from_bytes(public) else { return false };
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}
