//! The keys of a handshake's sealed parts, for a key log, and how a reader of that log opens them. Follows key_log.4 to
//! key_log.7.
//!
//! snow does not hand out the keys that it seals with, so a side that logs derives them once more from its own secrets
//! and what came. Nothing of this runs unless somebody wants keys.

use snow::params::{CipherChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};

use super::{HandshakePattern, MAC, Noise, name};
use crate::base::{Key, Trace};
use crate::crypto::secret::Secret;
use crate::crypto::{curve, hash};

/// Label of an IK handshake in a key log.
pub const NOISE_IK: &str = "NOISE_IK";
/// Label of an XX handshake in a key log.
pub const NOISE_XX: &str = "NOISE_XX";

/// What a side keeps of its own handshake so that it could log it.
pub(super) struct Own {
    pub pattern: HandshakePattern,
    pub initiator: bool,
    pub fixed: Secret,
    pub ephemeral: Secret,
    pub ephemeral_public: Option<Key>,
    pub remote_ephemeral: Option<Key>,
}

impl Own {
    /// A message of this side, or of the other: the first of each side begins with its ephemeral key.
    pub fn saw(&mut self, ours: bool, message: &[u8]) {
        let place = if ours { &mut self.ephemeral_public } else { &mut self.remote_ephemeral };
        if place.is_none() {
            *place = message.first_chunk().copied();
        }
    }

    /// The keys of the sealed parts as far as the handshake has come, in the order of key_log.4 and key_log.5,
    /// each as soon as it is known. key_log.9
    /// `rs`: the
    /// other side's static key. (key_log.7)
    fn keys(&self, rs: Option<Key>) -> Vec<Secret> {
        let dh = |own: &Secret, other: Option<Key>| curve::dh(&own.0, &other?);
        let (fixed, ephemeral, re) = (&self.fixed, &self.ephemeral, self.remote_ephemeral);
        let ss = || dh(fixed, rs);
        let ee = || dh(ephemeral, re);
        // The initiator's ephemeral key with the responder's static one, and the reverse.
        let es = || if self.initiator { dh(ephemeral, rs) } else { dh(fixed, re) };
        let se = || if self.initiator { dh(fixed, re) } else { dh(ephemeral, rs) };
        let mut chain = Chain::new(self.pattern);
        match self.pattern {
            HandshakePattern::IK => {
                let mut keys = Vec::new();
                keys.extend(chain.mix(es()));
                keys.extend(chain.mix(ss()));
                if chain.mix(ee()).is_some() {
                    keys.extend(chain.mix(se()));
                }
                keys
            }
            _ => [ee(), es(), se()].into_iter().map_while(|shared| chain.mix(shared)).collect(),
        }
    }
}

impl Noise {
    /// Logs the keys of the sealed parts so far, if somebody wants keys. Call it again when the handshake has gone on.
    pub fn log(&self, trace: &mut dyn Trace) {
        if !trace.wants_keys() {
            return;
        }
        let own = &self.own;
        let id = if own.initiator { own.ephemeral_public } else { own.remote_ephemeral };
        let Some(id) = id else { return };
        let remote = self.remote_public();
        let keys = own.keys(remote);
        let mut secrets: Vec<&[u8]> = Vec::new();
        let responder = if own.initiator { remote } else { Some(self.public) };
        let label = match own.pattern {
            HandshakePattern::IK => {
                let Some(responder) = &responder else { return };
                secrets.push(responder);
                NOISE_IK
            }
            _ => NOISE_XX,
        };
        secrets.extend(keys.iter().map(|key| &key.0[..]));
        trace.key(label, &id, &secrets);
    }
}

/// The chaining key of a handshake. noise.7
pub(super) struct Chain([u8; 64]);

impl Chain {
    pub fn new(pattern: HandshakePattern) -> Chain {
        Chain(padded(name(pattern)))
    }

    /// The key that follows from the next shared secret.
    pub fn mix(&mut self, shared: Option<Secret>) -> Option<Secret> {
        let shared = shared?;
        let mut hash = DefaultResolver.resolve_hash(&HashChoice::Blake2b)?;
        let (mut next, mut key) = ([0; 64], [0; 64]);
        hash.hkdf(&self.0.clone(), &shared.0, 2, &mut next, &mut key, &mut []);
        self.0 = next;
        let secret = Secret(*key.first_chunk().expect("32 of 64 bytes"));
        sodiumoxide::utils::memzero(&mut key);
        Some(secret)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        sodiumoxide::utils::memzero(&mut self.0);
    }
}

/// The protocol's name as the first digest and chaining key. noise.1
fn padded(name: &str) -> [u8; 64] {
    let mut digest = [0; 64];
    digest[..name.len()].copy_from_slice(name.as_bytes());
    digest
}

/// What a key log says of an IK handshake: the responder's static key and the keys of the initiator's static key, of
/// its payload, and (if the handshake came so far) of the responder's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IkKeys {
    pub responder: Key,
    pub fixed: [u8; 32],
    pub request: [u8; 32],
    pub answer: Option<[u8; 32]>,
}

/// The digest of a handshake, which every part that is read moves on. noise.8 (noise.20)
#[derive(Clone)]
pub(super) struct Digest(pub [u8; 64]);

impl Digest {
    pub fn new(pattern: HandshakePattern, prologue: &[u8]) -> Digest {
        let mut digest = Digest(padded(name(pattern)));
        digest.mix(prologue);
        digest
    }

    pub fn mix(&mut self, bytes: &[u8]) {
        self.0 = hash::blake2b_512(&[&self.0, bytes]);
    }

    /// Opens a part that is the `nonce`th which its key seals.
    fn open(&mut self, key: &[u8; 32], nonce: u64, sealed: &[u8]) -> Option<Vec<u8>> {
        let len = sealed.len().checked_sub(MAC)?;
        let mut cipher = DefaultResolver.resolve_cipher(&CipherChoice::ChaChaPoly)?;
        cipher.set(key);
        let mut out = vec![0; sealed.len()];
        cipher.decrypt(nonce, &self.0, sealed, &mut out).ok()?;
        out.truncate(len);
        self.mix(sealed);
        Some(out)
    }
}

/// An IK handshake that is read with the keys of a log.
#[derive(Clone)]
pub struct IkReader {
    digest: Digest,
    keys: IkKeys,
}

impl IkReader {
    pub fn new(prologue: &[u8], keys: IkKeys) -> IkReader {
        let mut digest = Digest::new(HandshakePattern::IK, prologue);
        digest.mix(&keys.responder); // noise.13
        IkReader { digest, keys }
    }

    /// The first message: the initiator's static key and the payload. `None` if the keys are not this handshake's.
    pub fn request(&mut self, message: &[u8]) -> Option<(Key, Vec<u8>)> {
        let (ephemeral, rest) = message.split_first_chunk::<32>()?;
        let (fixed, payload) = rest.split_first_chunk::<{ 32 + MAC }>()?;
        let mut next = self.digest.clone();
        next.mix(ephemeral);
        let key = next.open(&self.keys.fixed, 0, fixed)?;
        let payload = next.open(&self.keys.request, 0, payload)?;
        self.digest = next;
        Some((key.try_into().ok()?, payload))
    }

    /// The second message's payload. `None` if it is not the answer, or its key is not logged.
    pub fn answer(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (ephemeral, payload) = message.split_first_chunk::<32>()?;
        let mut next = self.digest.clone();
        next.mix(ephemeral);
        let payload = next.open(&self.keys.answer?, 0, payload)?;
        self.digest = next;
        Some(payload)
    }

    /// The digest so far; after the answer the handshake hash. noise.10
    pub fn digest(&self) -> &[u8; 64] {
        &self.digest.0
    }
}

/// What a key log says of an XX handshake: the keys of the responder's static key, of the second payload and the
/// initiator's static key, and of the third payload. key_log.5
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XxKeys {
    pub fixed: [u8; 32],
    pub second: [u8; 32],
    pub third: [u8; 32],
}

impl XxKeys {
    /// Static key and payload of the second message, or with `third` of the third, of a handshake without prologue.
    /// `None` if the keys are not this handshake's.
    pub fn open(&self, first: &[u8], second: &[u8], third: Option<&[u8]>) -> Option<(Key, Vec<u8>)> {
        let mut digest = Digest::new(HandshakePattern::XX, &[]);
        let (ephemeral, payload) = first.split_first_chunk::<32>()?;
        digest.mix(ephemeral);
        digest.mix(payload);
        let (ephemeral, rest) = second.split_first_chunk::<32>()?;
        let (fixed, payload) = rest.split_first_chunk::<{ 32 + MAC }>()?;
        digest.mix(ephemeral);
        let key = digest.open(&self.fixed, 0, fixed)?;
        let payload = digest.open(&self.second, 0, payload)?;
        let Some(third) = third else { return Some((key.try_into().ok()?, payload)) };
        let (fixed, payload) = third.split_first_chunk::<{ 32 + MAC }>()?;
        let key = digest.open(&self.second, 1, fixed)?;
        let payload = digest.open(&self.third, 0, payload)?;
        Some((key.try_into().ok()?, payload))
    }
}
