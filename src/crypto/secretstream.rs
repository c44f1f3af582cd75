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

    /// Seals in place: `buffer` holds `FRONT` + 1 bytes of room and the message behind them. Then its first `FRONT`
    /// bytes are of no use, and the rest is the sealed message, `OVERHEAD` bytes more than the message. With a capacity
    /// of `BEHIND` more than that it is not moved.
    pub fn seal(&mut self, buffer: &mut Vec<u8>) {
        self.seal_tagged(buffer, TAG_MESSAGE);
    }

    fn seal_tagged(&mut self, buffer: &mut Vec<u8>, tag: u8) {
        let end = buffer.len();
        buffer[..TEXT].fill(0);
        buffer[BLOCK] = tag;
        // crypto.11: keystream block 0 gives the MAC's key, block 1 covers the tag, the message follows.
        buffer.resize(whole(end), 0);
        self.0.xor(0, buffer);
        buffer.truncate(end);
        let key = mac_key(&mut buffer[..BLOCK]);
        trailer(buffer, end - TEXT);
        let poly1305::Tag(mac) = poly1305::authenticate(&buffer[BLOCK..], &key);
        buffer.truncate(end);
        buffer.extend_from_slice(&mac);
        buffer[FRONT] = buffer[BLOCK];
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
        let mut buffer = Vec::with_capacity(ROOM + sealed.len() + BEHIND);
        buffer.resize(ROOM, 0);
        buffer.extend_from_slice(sealed);
        self.open(buffer)
    }

    /// Opens the next message in place: `buffer` holds `ROOM` bytes of no meaning and the sealed message behind them.
    /// With a capacity of `BEHIND` more it is not moved.
    pub fn open(&mut self, mut buffer: Vec<u8>) -> Result<Vec<u8>, Forged> {
        let text = ROOM + 1;
        let Some(end) = buffer.len().checked_sub(MAC).filter(|end| *end >= text) else { return Err(Forged) };
        let mut mac = [0; MAC];
        mac.copy_from_slice(&buffer[end..]);
        buffer.truncate(end);
        let len = end - text;
        // The keystream of a short text comes with that of the two blocks before it.
        let mut keystream = [0; AT_ONCE];
        let short = TEXT + len <= AT_ONCE;
        self.0.xor(0, if short { &mut keystream } else { &mut keystream[..TEXT] });
        let key = mac_key(&mut keystream[..BLOCK]);
        let sealed_tag = buffer[ROOM];
        buffer[..BLOCK].copy_from_slice(&keystream[BLOCK..TEXT]);
        let tag = sealed_tag ^ buffer[0];
        buffer[0] = sealed_tag;
        // crypto.13: nothing is decrypted before the MAC was found right.
        trailer(&mut buffer, len);
        if !poly1305::verify(&poly1305::Tag(mac), &buffer, &key) {
            return Err(Forged);
        }
        buffer.truncate(end);
        if short {
            buffer[text..].iter_mut().zip(&keystream[TEXT..]).for_each(|(byte, key)| *byte ^= key);
        } else {
            self.0.xor(2, &mut buffer[text..]);
        }
        sodiumoxide::utils::memzero(&mut keystream);
        buffer.drain(..text);
        self.0.advance(&mac, tag);
        Ok(buffer)
    }
}

/// Bytes in front of a message while it is sealed: keystream block 0, then block 1, of whose bytes the last in front of
/// the text becomes the sealed tag.
pub const FRONT: usize = TEXT - 1;
/// Bytes in front of a sealed message while it is opened: the MAC covers the tag's whole block, whose other bytes are
/// not on the wire. libsodium's MAC is one call over bytes that lie together.
pub const ROOM: usize = BLOCK - 1;
/// What both need at most behind a sealed message, for a while.
pub const BEHIND: usize = AT_ONCE - BLOCK;
const TEXT: usize = 2 * BLOCK;
/// Bytes of the keystream that libsodium makes about as fast as one block, where the processor has wide registers.
const AT_ONCE: usize = 4 * BLOCK;

/// A length up to which the keystream is made at once rather than in two or three single blocks.
fn whole(len: usize) -> usize {
    if len % AT_ONCE > BLOCK { len.next_multiple_of(AT_ONCE) } else { len }
}

/// Puts padding and lengths behind the text, where the MAC expects them. (crypto.12)
fn trailer(out: &mut Vec<u8>, text_len: usize) {
    // As many zeros as the text has bytes beyond whole blocks of 16: upstream's rule, not the one that aligns.
    out.resize(out.len() + text_len % 16, 0);
    out.extend_from_slice(&0_u64.to_le_bytes());
    out.extend_from_slice(&((BLOCK + text_len) as u64).to_le_bytes());
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
