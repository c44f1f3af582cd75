//! The keystream of XSalsa20, without a MAC: who uses it checks the bytes in another way. Follows crypto.17.

use sodiumoxide::crypto::stream::xsalsa20::{self, Key, Nonce};

use super::secretbox::NONCE;

/// Xors the keystream of a key and a nonce into `bytes`; doing it twice changes nothing. (crypto.17)
pub fn xor(key: &[u8; 32], nonce: &[u8; NONCE], bytes: &mut [u8]) {
    super::prepare();
    if !bytes.is_empty() {
        xsalsa20::stream_xor_inplace(bytes, &Nonce(*nonce), &Key(*key));
    }
}
