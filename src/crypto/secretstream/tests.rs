//! Our sequence against libsodium's and the vectors.

use sodiumoxide::crypto::secretstream::{Header, Key, Stream, Tag};

use super::super::tests::{array, bytes, vectors};
use super::*;
use crate::base::Seeded;

fn message(entropy: &mut Seeded, len: usize) -> Vec<u8> {
    let mut message = vec![0; len];
    entropy.fill(&mut message);
    message
}

impl Push {
    fn push(&mut self, message: &[u8], out: &mut Vec<u8>) {
        self.push_tagged(message, TAG_MESSAGE, out);
    }

    fn push_tagged(&mut self, message: &[u8], tag: u8, out: &mut Vec<u8>) {
        let mut buffer = vec![0xaa; FRONT + 1];
        buffer.extend_from_slice(message);
        self.seal_tagged(&mut buffer, tag);
        out.extend_from_slice(&buffer[FRONT..]);
    }
}

/// Lengths around every border that matters, and some in between.
const LENGTHS: [usize; 25] = [
    0, 1, 7, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 127, 128, 129, 191, 192, 193, 300, 511, 512, 1000,
    65536,
];

/// proves crypto.9, crypto.11, crypto.12, crypto.15
#[test]
fn the_sequence_is_that_of_the_reference() {
    let vector = &vectors("secret-stream", "xchacha20poly1305-secretstream")[0];
    let (key, header) = (array(&vector["inputs"]["key"]), array(&vector["inputs"]["header"]));
    let (mut push, mut pull) = (Push(State::new(&key, &header)), Pull::new(&key, &header));
    let messages = vector["inputs"]["messages"].as_array().expect("messages");
    let sealed = vector["expected"]["ciphertexts"].as_array().expect("ciphertexts");
    for (message, sealed) in messages.iter().zip(sealed) {
        let message = message.as_str().expect("text").as_bytes();
        let mut out = vec![9, 9, 9];
        push.push(message, &mut out);
        assert_eq!(out[..3], [9, 9, 9]);
        assert_eq!(out[3..], bytes(sealed));
        assert_eq!(pull.pull(&out[3..]).as_deref(), Ok(message));
    }
}

/// proves crypto.9, crypto.12, crypto.14, crypto.15
#[test]
fn libsodium_opens_what_we_seal() {
    let mut entropy = Seeded::new(1);
    let key = entropy.bytes32();
    let (mut push, header) = Push::new(&mut entropy, &key);
    let mut theirs = Stream::init_pull(&Header(header), &Key(key)).expect("a stream");
    for len in LENGTHS {
        let plain = message(&mut entropy, len);
        let mut sealed = Vec::new();
        push.push(&plain, &mut sealed);
        assert_eq!(sealed.len(), len + OVERHEAD);
        assert_eq!(theirs.pull(&sealed, None), Ok((plain, Tag::Message)));
    }
}

/// proves crypto.10, crypto.12, crypto.14
#[test]
fn we_open_what_libsodium_seals_whatever_its_tag() {
    super::super::prepare();
    let mut entropy = Seeded::new(2);
    let key = entropy.bytes32();
    let (mut theirs, header) = Stream::init_push(&Key(key)).expect("a stream");
    let mut pull = Pull::new(&key, &header.0);
    for (n, len) in LENGTHS.into_iter().enumerate() {
        let tag = [Tag::Message, Tag::Push, Tag::Rekey][n % 3];
        let plain = message(&mut entropy, len);
        let sealed = theirs.push(&plain, None, tag).expect("sealed");
        assert_eq!(pull.pull(&sealed), Ok(plain), "length {len}");
    }
    let last = theirs.push(b"last", None, Tag::Final).expect("sealed");
    assert_eq!(pull.pull(&last).as_deref(), Ok(&b"last"[..]));
}

/// proves crypto.14
#[test]
fn the_key_changes_when_the_counter_returns() {
    let mut entropy = Seeded::new(3);
    let (mut push, header) = Push::new(&mut entropy, &[1; 32]);
    let mut pull = Pull::new(&[1; 32], &header);
    push.0.counter = u32::MAX;
    pull.0.counter = u32::MAX;
    let before = push.0.key.0;
    let mut sealed = Vec::new();
    push.push(b"a", &mut sealed);
    assert_ne!(push.0.key.0, before);
    assert_eq!(push.0.counter, 1);
    assert_eq!(pull.pull(&sealed).as_deref(), Ok(&b"a"[..]));
    assert_eq!(pull.0.key.0, push.0.key.0);
    // What changes the key here is the same as what a tag asks for, which libsodium follows.
    let (mut push, header) = Push::new(&mut entropy, &[2; 32]);
    let mut theirs = Stream::init_pull(&Header(header), &Key([2; 32])).expect("a stream");
    for tag in [TAG_REKEY, TAG_MESSAGE] {
        let mut sealed = Vec::new();
        push.push_tagged(b"message", tag, &mut sealed);
        assert!(theirs.pull(&sealed, None).is_ok());
    }
}

/// proves crypto.13
#[test]
fn a_flipped_bit_is_found_and_changes_nothing() {
    let mut entropy = Seeded::new(4);
    let (mut push, header) = Push::new(&mut entropy, &[1; 32]);
    let mut pull = Pull::new(&[1; 32], &header);
    for len in [0, 1, 15, 16, 17, 70] {
        let plain = message(&mut entropy, len);
        let mut sealed = Vec::new();
        push.push(&plain, &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(pull.pull(&changed), Err(Forged));
        }
        for short in 0..sealed.len() {
            assert_eq!(pull.pull(&sealed[..short]), Err(Forged));
        }
        assert_eq!(pull.pull(&[&sealed[..], &[0]].concat()), Err(Forged));
        assert_eq!(pull.pull(&sealed), Ok(plain));
        assert_eq!(pull.pull(&sealed), Err(Forged), "a message opens once");
    }
}

#[test]
fn equal_entropy_gives_equal_streams() {
    let sealed = |seed| {
        let (mut push, header) = Push::new(&mut Seeded::new(seed), &[1; 32]);
        let mut out = header.to_vec();
        push.push(b"message", &mut out);
        out
    };
    assert_eq!(sealed(1), sealed(1));
    assert_ne!(sealed(1)[..24], sealed(2)[..24]);
}
