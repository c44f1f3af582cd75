//! A sequence of messages under one key, in libsodium's secretstream form (XChaCha20-Poly1305). Follows crypto.9 to
//! crypto.15.
//!
//! libsodium draws the 24-byte header by itself, and a run could not be repeated from its seed. So the sequence is
//! built here from libsodium's ChaCha20 and Poly1305, and held equal to libsodium's own in the tests.

use sodiumoxide::crypto::onetimeauth::poly1305;
use sodiumoxide::crypto::stream::chacha20;

use crate::base::Entropy;

/// Bytes that open a stream.
pub const HEADER: usize = 24;
/// Bytes that a message grows by: the tag in front, the MAC behind.
pub const OVERHEAD: usize = 1 + MAC;
const MAC: usize = 16;
const BLOCK: usize = 64;
/// Every message of this stack has this tag. (crypto.10)
const TAG_MESSAGE: u8 = 0;
/// Set in tags after which both sides change the key. (crypto.14)
const TAG_REKEY: u8 = 2;

/// The sending end.
pub struct Push(State);

/// The receiving end.
pub struct Pull(State);

/// The message was not sent by the other end at this place of the stream; nothing of it was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forged;

impl Push {
    /// Begins a stream under `key`; the header is for the other end. Draws 24 bytes.
    pub fn new(entropy: &mut dyn Entropy, key: &[u8; 32]) -> (Push, [u8; HEADER]) {
        let mut header = [0; HEADER];
        entropy.fill(&mut header);
        (Push(State::new(key, &header)), header)
    }

    /// Appends the sealed `message` to `out`: `OVERHEAD` bytes more than the message.
    pub fn push(&mut self, message: &[u8], out: &mut Vec<u8>) {
        self.push_tagged(message, TAG_MESSAGE, out);
    }

    fn push_tagged(&mut self, message: &[u8], tag: u8, out: &mut Vec<u8>) {
        let start = out.len();
        let (block, text) = (start + BLOCK, start + 2 * BLOCK);
        let end = text + message.len();
        out.reserve(2 * BLOCK + message.len() + TRAILER_MAX);
        out.resize(text, 0);
        out[block] = tag;
        out.extend_from_slice(message);
        // crypto.11: keystream block 0 gives the MAC's key, block 1 covers the tag, the message follows.
        self.0.xor(0, &mut out[start..]);
        let key = mac_key(&mut out[start..block]);
        let sealed_tag = out[block];
        let poly1305::Tag(mac) = authenticate(out, block, message.len(), &key);
        out[start] = sealed_tag;
        out.copy_within(text..end, start + 1);
        out.truncate(start + 1 + message.len());
        out.extend_from_slice(&mac);
        self.0.advance(&mac, tag);
    }
}

impl Pull {
    /// The other end of the stream that `Push::new` began.
    pub fn new(key: &[u8; 32], header: &[u8; HEADER]) -> Pull {
        Pull(State::new(key, header))
    }

    /// Opens the next message, whatever its tag (crypto.10).
    pub fn pull(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Forged> {
        let Some((&sealed_tag, rest)) = sealed.split_first() else { return Err(Forged) };
        let Some((text, mac)) = rest.split_last_chunk::<MAC>() else { return Err(Forged) };
        let mut out = Vec::with_capacity(2 * BLOCK + text.len() + TRAILER_MAX);
        out.resize(2 * BLOCK, 0);
        self.0.xor(0, &mut out);
        let key = mac_key(&mut out[..BLOCK]);
        let tag = sealed_tag ^ out[BLOCK];
        out[BLOCK] = sealed_tag;
        out.extend_from_slice(text);
        // crypto.13: nothing is decrypted before the MAC was found right.
        trailer(&mut out, text.len());
        if !poly1305::verify(&poly1305::Tag(*mac), &out[BLOCK..], &key) {
            return Err(Forged);
        }
        out.truncate(2 * BLOCK + text.len());
        self.0.xor(2, &mut out[2 * BLOCK..]);
        out.copy_within(2 * BLOCK.., 0);
        out.truncate(text.len());
        self.0.advance(mac, tag);
        Ok(out)
    }
}

/// What `push` needs of room beyond the message while it works. With less, `out` is moved once more.
pub const ROOM: usize = 2 * BLOCK + TRAILER_MAX;
/// Room for the padding and lengths behind the text that the MAC covers.
const TRAILER_MAX: usize = 15 + 16;

/// Puts padding and lengths behind the text, where the MAC expects them. (crypto.12)
fn trailer(out: &mut Vec<u8>, text_len: usize) {
    // As many zeros as the text has bytes beyond whole blocks of 16: upstream's rule, not the one that aligns.
    out.resize(out.len() + text_len % 16, 0);
    out.extend_from_slice(&0_u64.to_le_bytes());
    out.extend_from_slice(&((BLOCK + text_len) as u64).to_le_bytes());
}

fn authenticate(out: &mut Vec<u8>, block: usize, text_len: usize, key: &poly1305::Key) -> poly1305::Tag {
    trailer(out, text_len);
    poly1305::authenticate(&out[block..], key)
}

/// Takes the MAC's key out of the first keystream block and leaves zeros there.
fn mac_key(keystream: &mut [u8]) -> poly1305::Key {
    let mut key = [0; 32];
    key.copy_from_slice(&keystream[..32]);
    keystream.fill(0);
    let wiped_later = poly1305::Key(key);
    sodiumoxide::utils::memzero(&mut key);
    wiped_later
}

/// Key and nonce of the next message. The key is wiped when dropped.
struct State {
    key: chacha20::Key,
    inner_nonce: [u8; 8],
    counter: u32,
}

impl State {
    fn new(key: &[u8; 32], header: &[u8; HEADER]) -> State {
        super::prepare();
        let (input, inner_nonce) = header.split_first_chunk::<16>().expect("24 bytes");
        // crypto.9: a key of the stream's own, from the key and the header's first 16 bytes.
        let key = hchacha20(key, input);
        State { key, inner_nonce: inner_nonce.try_into().expect("the other 8 bytes"), counter: 1 }
    }

    /// ChaCha20 over `bytes`, from the keystream block `block` of this message on.
    ///
    /// The IETF nonce is counter and inner nonce; to the original ChaCha20 the counter is the upper half of the block
    /// number. A message is shorter than 2^32 blocks, so the two never run into each other.
    fn xor(&self, block: u32, bytes: &mut [u8]) {
        let number = u64::from(self.counter) << 32 | u64::from(block);
        chacha20::stream_xor_ic_inplace(bytes, &chacha20::Nonce(self.inner_nonce), number, &self.key);
    }

    /// Moves on to the next message. (crypto.14)
    fn advance(&mut self, mac: &[u8; MAC], tag: u8) {
        self.inner_nonce.iter_mut().zip(mac).for_each(|(nonce, mac)| *nonce ^= mac);
        self.counter = self.counter.wrapping_add(1);
        if tag & TAG_REKEY != 0 || self.counter == 0 {
            self.rekey();
        }
    }

    fn rekey(&mut self) {
        let mut next = [0; 40];
        next[..32].copy_from_slice(&self.key.0);
        next[32..].copy_from_slice(&self.inner_nonce);
        self.xor(0, &mut next);
        self.key.0.copy_from_slice(&next[..32]);
        self.inner_nonce.copy_from_slice(&next[32..]);
        sodiumoxide::utils::memzero(&mut next);
        self.counter = 1;
    }
}

/// HChaCha20, taken from a ChaCha20 block: that adds the state it began with, which is known and is taken off again.
fn hchacha20(key: &[u8; 32], input: &[u8; 16]) -> chacha20::Key {
    const CONSTANTS: &[u8; 16] = b"expand 32-byte k";
    let (number, nonce) = input.split_first_chunk::<8>().expect("16 bytes");
    let nonce = chacha20::Nonce(nonce.try_into().expect("the other 8 bytes"));
    let mut block = [0; BLOCK];
    chacha20::stream_xor_ic_inplace(&mut block, &nonce, u64::from_le_bytes(*number), &chacha20::Key(*key));
    let mut out = chacha20::Key([0; 32]);
    for word in 0..8 {
        let (at, known) = if word < 4 {
            (word * 4, &CONSTANTS[word * 4..])
        } else {
            (word * 4 + 32, &input[word * 4 - 16..])
        };
        let value = read(&block[at..]).wrapping_sub(read(known));
        out.0[word * 4..word * 4 + 4].copy_from_slice(&value.to_le_bytes());
    }
    sodiumoxide::utils::memzero(&mut block);
    out
}

fn read(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes.first_chunk().expect("a whole word"))
}

#[cfg(test)]
mod tests;
