//! Blocks that only those can read who have a key. Follows hypercore.90 to hypercore.93.
//!
//! What is stored, hashed, signed and sent is the encrypted block with 8 bytes in front, its padding: peers need no
//! key to keep and pass on a core. Nothing here authenticates: the tree does.

use super::auth::Auth;
use super::{Error, Hypercore};
use crate::base::Key;
use crate::crypto::{Secret, hash, stream};

/// Bytes in front of each encrypted block. (hypercore.90)
pub const PADDING: usize = 8;

/// A key that blocks are encrypted with.
#[derive(Clone, Debug)]
pub struct Encryption {
    key: Secret,
    block: bool,
}

impl Encryption {
    /// A key for one core or for many: the key of a core's blocks follows from it and the core's key. (hypercore.91)
    pub fn new(key: Key) -> Encryption {
        Encryption { key: Secret(key), block: false }
    }

    /// The key of the blocks themselves: what `block_key` gave, handed on to somebody who is to read this core only.
    pub fn of_blocks(key: Key) -> Encryption {
        Encryption { key: Secret(key), block: true }
    }

    /// The key of the blocks of a core. (hypercore.91)
    pub fn block_key(&self, core: &Key, compat: bool) -> Secret {
        let key = &self.key.0;
        Secret(match (self.block, compat) {
            (true, _) => *key,
            (false, true) => hash::keyed_256(core, &[key]),
            (false, false) => hash::blake2b_256(&[&hash::namespace("hypercore", 5), core, key]),
        })
    }

    /// What encrypts the blocks of a core.
    pub(super) fn of(&self, auth: &Auth) -> Cipher {
        let block = self.block_key(auth.key(), auth.is_compat());
        let blinding = Secret(hash::blake2b_256(&[&block.0]));
        Cipher { block, blinding }
    }
}

/// The keys of one core.
#[derive(Clone, Debug)]
pub(super) struct Cipher {
    block: Secret,
    blinding: Secret,
}

impl Cipher {
    /// A block as it is stored. (hypercore.90)
    pub fn seal(&self, index: u64, fork: u64, plain: &[u8]) -> Vec<u8> {
        let mut padding = fork.to_le_bytes();
        stream::xor(&self.blinding.0, &nonce(index, [0; PADDING]), &mut padding);
        let mut bytes = Vec::with_capacity(PADDING + plain.len());
        bytes.extend_from_slice(&padding);
        bytes.extend_from_slice(plain);
        stream::xor(&self.block.0, &nonce(index, padding), &mut bytes[PADDING..]);
        bytes
    }

    /// A block as it was before `seal`. None if it is too short to be sealed; with a wrong key anything comes out.
    pub fn open(&self, index: u64, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let padding: [u8; PADDING] = bytes.get(..PADDING)?.try_into().ok()?;
        bytes.drain(..PADDING);
        stream::xor(&self.block.0, &nonce(index, padding), &mut bytes);
        Some(bytes)
    }
}

/// hypercore.90: the block's number, its padding, zeros.
fn nonce(index: u64, padding: [u8; PADDING]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&index.to_le_bytes());
    nonce[8..16].copy_from_slice(&padding);
    nonce
}

impl Hypercore {
    /// From now on blocks are encrypted and decrypted with that key; None: they are taken as they are. (hypercore.93)
    pub fn set_encryption(&mut self, encryption: Option<Encryption>) {
        self.encryption = encryption;
        self.rekey();
    }

    /// hypercore.91: a core of which nobody knows who signs it has no blocks, and no key for them.
    pub(super) fn rekey(&mut self) {
        self.cipher = match (&self.encryption, &self.auth) {
            (Some(encryption), Some(auth)) => Some(encryption.of(auth)),
            _ => None,
        };
    }

    /// Bytes of each stored block that are not the program's. (hypercore.92)
    pub fn padding(&self) -> u64 {
        if self.cipher.is_some() { PADDING as u64 } else { 0 }
    }

    /// Blocks as they are to be appended now. None if they are not encrypted. (hypercore.92)
    pub(super) fn sealed<B: AsRef<[u8]>>(&self, blocks: &[B]) -> Option<Vec<Vec<u8>>> {
        self.sealed_at(self.length(), blocks)
    }

    /// Blocks as they are at a place.
    pub(super) fn sealed_at<B: AsRef<[u8]>>(&self, first: u64, blocks: &[B]) -> Option<Vec<Vec<u8>>> {
        let cipher = self.cipher.as_ref()?;
        let seal = |(index, block): (u64, &B)| cipher.seal(index, self.fork, block.as_ref());
        Some((first..).zip(blocks).map(seal).collect())
    }

    /// A block as it was before it was encrypted.
    pub(super) fn decrypted(&self, index: u64, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        match &self.cipher {
            Some(cipher) => cipher
                .open(index, bytes)
                .ok_or(Error::Refused("the block was not encrypted: it is too short")),
            None => Ok(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hex;
    use crate::hypercore::auth;
    use serde_json::Value;

    fn bytes(value: &Value) -> Vec<u8> {
        hex::decode(value.as_str().expect("text")).expect("hex")
    }

    // proves hypercore.90, hypercore.91, crypto.17
    #[test]
    fn encrypted_blocks_are_upstreams() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/crypto.json"));
        let file: Value = serde_json::from_str(text).expect("the vectors");
        let all = file["vectors"].as_array().expect("a list");
        let mut seen = 0;
        for vector in all.iter().filter(|vector| vector["name"] == "block-encryption") {
            let (given, wanted) = (&vector["inputs"], &vector["expected"]);
            let key = |value: &Value| Key::try_from(bytes(value)).expect("32 bytes");
            let (own, core) = (key(&given["encryptionKey"]), key(&given["hypercoreKey"]));
            let encryption = match given["keyIsBlockKey"] == true {
                true => Encryption::of_blocks(own),
                false => Encryption::new(own),
            };
            let compat = given["compat"] == true;
            let block = encryption.block_key(&core, compat);
            assert_eq!(block.0, key(&wanted["blockKey"]));
            let cipher = Cipher { blinding: Secret(hash::blake2b_256(&[&block.0])), block };
            assert_eq!(cipher.blinding.0, key(&wanted["blindingKey"]));
            let (index, fork) = (given["index"].as_u64().expect("a number"), given["fork"].as_u64());
            let plain = bytes(&given["plain"]);
            let sealed = cipher.seal(index, fork.expect("a number"), &plain);
            assert_eq!(sealed, bytes(&wanted["block"]));
            assert_eq!(cipher.open(index, sealed.clone()), Some(plain.clone()));
            assert_ne!(cipher.open(index + 1, sealed), Some(plain));
            seen += 1;
        }
        assert_eq!(seen, 4);
    }

    #[test]
    fn short_and_empty_blocks_are_opened_without_panic() {
        let compat = Auth::compat([3; 32]);
        let cipher = Encryption::new([1; 32]).of(&compat);
        let empty = cipher.seal(0, 0, &[]);
        assert_eq!(empty.len(), PADDING);
        assert_eq!(cipher.open(0, empty), Some(Vec::new()));
        for len in 0..PADDING {
            assert_eq!(cipher.open(0, vec![0; len]), None);
        }
    }

    /// The same key gives other blocks in another core, and in a compat core.
    // proves hypercore.91
    #[test]
    fn each_core_has_its_own_block_key() {
        let public = crate::hypercore::tests::keys().public;
        let manifest = auth::single_signer(1, public);
        let first = Auth::new(auth::core_key(&manifest), manifest).expect("its hash");
        let encryption = Encryption::new([7; 32]);
        let keys = [encryption.of(&first), encryption.of(&Auth::compat(public))];
        assert_ne!(keys[0].block.0, keys[1].block.0);
        let handed_on = Encryption::of_blocks(keys[0].block.0);
        assert_eq!(handed_on.of(&first).seal(3, 1, b"x"), keys[0].seal(3, 1, b"x"));
    }
}
