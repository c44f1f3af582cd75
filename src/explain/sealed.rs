//! What is sealed in single datagrams: Noise payloads, holepunch payloads, messages beside a stream.

use super::keys::Keys;
use super::section::Section;
use crate::base::{Key, hex};
use crate::crypto::noise::{IkReader, NOISE_IK, NOISE_XX};
use crate::crypto::{hash, secretbox};
use crate::wire::Wire;
use crate::wire::hyperdht::{HolepunchPayload, NoisePayload, command};
use crate::wire::noise::{MAC, Static, XxSecond, XxThird};
use crate::wire::secret_stream::Unordered;

/// What hyperdht mixes into its handshakes before anything else. noise.16
fn prologue() -> Key {
    hash::namespace("hyperswarm/dht", command::PEER_HANDSHAKE as u8)
}

/// What a line of a key log would open.
fn wanted(label: &str, id: &[u8]) -> String {
    format!("sealed; a key log line {label} {} opens it", hex::encode(id))
}

/// Opens the first message of IK. `section` is its parts.
pub(super) fn request(
    keys: &Keys,
    section: &mut Section,
    message: &[u8],
) -> (Vec<Section>, Option<IkReader>) {
    let Some(ephemeral) = message.first_chunk::<32>() else { return (Vec::new(), None) };
    let mut reader = keys.ik(ephemeral).map(|keys| IkReader::new(&prologue(), *keys));
    let Some((key, payload)) = reader.as_mut().and_then(|reader| reader.request(message)) else {
        let why = if reader.is_some() {
            "sealed; the key log's line for it does not open it".to_owned()
        } else {
            wanted(NOISE_IK, ephemeral)
        };
        section.say("sealed static key", &why[..]);
        section.say("sealed payload", why);
        return (Vec::new(), None);
    };
    section.say("sealed static key", "opened below");
    section.say("sealed payload", "opened below");
    let at = section.base + 32;
    let sections =
        vec![Section::read::<Static>(at, &key), Section::read::<NoisePayload>(at + 32 + MAC, &payload)];
    (sections, reader)
}

/// Opens the second message of IK, which answers what `reader` has read.
pub(super) fn answer(
    reader: Option<IkReader>,
    ephemeral: Option<Key>,
    section: &mut Section,
    message: &[u8],
) -> (Vec<Section>, Option<NoisePayload>) {
    let Some(payload) = reader.and_then(|mut reader| reader.answer(message)) else {
        let why = match ephemeral {
            Some(ephemeral) => wanted(NOISE_IK, &ephemeral),
            None => "sealed; the handshake's first message was not seen".to_owned(),
        };
        section.say("sealed payload", why);
        return (Vec::new(), None);
    };
    section.say("sealed payload", "opened below");
    let opened = Section::read::<NoisePayload>(section.base + 32, &payload);
    (vec![opened], crate::wire::decode(&payload).ok())
}

/// A message of a stream's own handshake, and what it hides. `ours` are the messages of its direction, itself the last;
/// `theirs` those of the other. secret_stream.4
pub(super) fn own(
    keys: &Keys,
    mut section: Section,
    ours: &[Vec<u8>],
    theirs: Option<&[Vec<u8>]>,
) -> Vec<Section> {
    let theirs = theirs.and_then(<[_]>::first);
    let (first, opened_at) = match section.format {
        XxSecond::NAME => (theirs, 32),
        XxThird::NAME => (ours.first(), 0),
        _ => return vec![section],
    };
    let Some(ephemeral) = first.and_then(|first| first.first_chunk::<32>()) else {
        section.say("sealed static key", "sealed; the handshake's first message was not seen");
        return vec![section];
    };
    let opened = keys.xx(ephemeral).and_then(|keys| match (first, theirs, ours) {
        (Some(first), _, [second]) => keys.open(first, second, None),
        (Some(first), Some(second), [_, third]) => keys.open(first, second, Some(third)),
        _ => None,
    });
    let Some((key, payload)) = opened else {
        section.say("sealed static key", wanted(NOISE_XX, ephemeral));
        return vec![section];
    };
    section.say("sealed static key", "opened below");
    let at = section.base + opened_at;
    let mut sections = vec![section, Section::read::<Static>(at, &key)];
    if !payload.is_empty() {
        sections.push(Section::opaque(
            "noise.payload",
            at + 32 + MAC,
            &payload,
            "payload",
            "secret_stream.4",
        ));
    }
    sections
}

/// Opens a holepunch payload. hyperdht.33
pub(super) fn punch(
    keys: &Keys,
    target: Option<&Key>,
    section: &mut Section,
    bytes: &[u8],
) -> Option<Section> {
    let Some(target) = target else {
        section.say("sealed payload", "sealed; the request that names its target was not seen");
        return None;
    };
    let (nonce, sealed) = bytes.split_first_chunk::<{ secretbox::NONCE }>()?;
    let opened = keys.punches(target).iter().find_map(|key| secretbox::open(key, nonce, sealed).ok());
    let Some(payload) = opened else {
        section.say("sealed payload", wanted("HOLEPUNCH", target));
        return None;
    };
    section.say("sealed payload", "opened below");
    let at = section.base + secretbox::NONCE + secretbox::OVERHEAD;
    Some(Section::read::<HolepunchPayload>(at, &payload))
}

/// A datagram beside a secret stream, of the side with that stream id. secret_stream.18
pub(super) fn unordered(keys: &Keys, id: Option<&Key>, base: usize, bytes: &[u8]) -> Vec<Section> {
    let mut section = Section::read::<Unordered>(base, bytes);
    let opened = bytes.split_first_chunk::<8>().and_then(|(counter, sealed)| {
        let mut nonce = [0; secretbox::NONCE];
        nonce[..8].copy_from_slice(counter);
        // A message beside a stream may overtake the header that names the key: then each is tried.
        keys.unordered(id).find_map(|key| secretbox::open(key, &nonce, sealed).ok())
    });
    let Some(message) = opened else {
        section.say(
            "sealed",
            match id {
                Some(id) => wanted("UNORDERED", id),
                None => "sealed; the header of its stream was not seen".to_owned(),
            },
        );
        return vec![section];
    };
    section.say("sealed", "a mac of 16 bytes, and the message, opened below");
    let at = base + 8 + secretbox::OVERHEAD;
    vec![section, Section::opaque("secret_stream.opened", at, &message, "message", "secret_stream.18")]
}
