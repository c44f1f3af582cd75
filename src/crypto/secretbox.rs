//! Single messages under a key and a nonce that is used once: XSalsa20-Poly1305. Follows crypto.16.

use sodiumoxide::crypto::secretbox::{self, Key, Nonce};

use super::secretstream::Forged;

/// Bytes that a message grows by.
pub const OVERHEAD: usize = 16;
pub const NONCE: usize = 24;

/// Seals `message`; the MAC stands in front. Never use a nonce twice with a key. (crypto.16)
pub fn seal(key: &[u8; 32], nonce: &[u8; NONCE], message: &[u8]) -> Vec<u8> {
    super::prepare();
    secretbox::seal(message, &Nonce(*nonce), &Key(*key))
}

/// Opens what `seal` sealed with the same key and nonce.
pub fn open(key: &[u8; 32], nonce: &[u8; NONCE], sealed: &[u8]) -> Result<Vec<u8>, Forged> {
    super::prepare();
    secretbox::open(sealed, &Nonce(*nonce), &Key(*key)).map_err(|()| Forged)
}
