//! Noise handshakes over Ed25519 points: IK (hyperdht) and XX (a secret stream of its own). Follows noise.1 to
//! noise.16.
//!
//! The handshake itself is `snow`'s; what is ours is the Diffie-Hellman (`curve`), the protocol name that snow does
//! not know, and where the ephemeral key comes from.

mod log;

use core::fmt;

pub use log::{IkKeys, IkReader, NOISE_IK, NOISE_XX, XxKeys};
use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifierList, HandshakePattern, HashChoice,
    NoiseParams,
};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use super::curve;
use super::secret::Secret;
use super::sign::KeyPair;
use crate::base::{Entropy, Key};

/// The longest Noise message, in bytes. (noise.12)
pub const MESSAGE_MAX: usize = 65535;
const MAC: usize = 16;
/// More than keys and MACs take in front of any payload: e, s with MAC, MAC of the payload.
const HEAD_MAX: usize = 32 + 32 + MAC + MAC;

/// Why a handshake is not going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoiseError {
    /// The message is too short, was changed on the way, or was meant for somebody else.
    Refused,
    /// A public key is not a point that Diffie-Hellman may use.
    BadPoint,
    /// The payload does not fit a Noise message.
    TooLong,
    /// Not this side's turn, or the handshake failed or finished before.
    OutOfTurn,
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoiseError::Refused => "the Noise message was refused",
            NoiseError::BadPoint => "a public key is not a valid point",
            NoiseError::TooLong => "the payload does not fit a Noise message",
            NoiseError::OutOfTurn => "the Noise handshake is not at that step",
        })
    }
}

impl std::error::Error for NoiseError {}

/// What a finished handshake leaves. Wiped when dropped; `Debug` shows the peer only.
#[derive(Clone, PartialEq, Eq)]
pub struct NoiseKeys {
    /// Key for what this side sends.
    pub tx: [u8; 32],
    /// Key for what this side receives.
    pub rx: [u8; 32],
    /// The same on both sides, and different for every handshake.
    pub handshake_hash: [u8; 64],
    /// The peer's static key, which it proved to have.
    pub remote_public: Key,
}

impl Drop for NoiseKeys {
    fn drop(&mut self) {
        sodiumoxide::utils::memzero(&mut self.tx);
        sodiumoxide::utils::memzero(&mut self.rx);
        sodiumoxide::utils::memzero(&mut self.handshake_hash);
    }
}

impl fmt::Debug for NoiseKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoiseKeys(with {})", crate::base::hex::Hex(&self.remote_public))
    }
}

/// A handshake under way: `write` and `read` in turn until `finished`, then `finish`.
///
/// A failed message ends the handshake (noise.14), with one exception: the initiator of IK stays ready to read
/// another answer, since answers come through relays that may lie (noise.15).
pub struct Noise {
    state: HandshakeState,
    initiator: bool,
    survives_reading: bool,
    over: bool,
    public: Key,
    /// The other side's static key is known to be one that may be used. noise.5
    remote_usable: bool,
    /// Its keys are asked about when this is finished, and not before it is answered. noise.5
    answers_first: bool,
    own: log::Own,
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Noise(initiator: {}, finished: {})", self.initiator, self.finished())
    }
}

impl Noise {
    /// The side that knows the other's public key and writes first. Draws 32 bytes.
    pub fn ik_initiator(
        entropy: &mut dyn Entropy,
        own: &KeyPair,
        remote_public: &Key,
        prologue: &[u8],
    ) -> Noise {
        Noise::new(entropy, HandshakePattern::IK, true, own, Some(remote_public), prologue)
    }

    /// The side that reads first. Draws 32 bytes.
    pub fn ik_responder(entropy: &mut dyn Entropy, own: &KeyPair, prologue: &[u8]) -> Noise {
        Noise::new(entropy, HandshakePattern::IK, false, own, None, prologue)
    }

    /// Three messages between sides that know nothing of each other. Draws 32 bytes.
    pub fn xx(entropy: &mut dyn Entropy, initiator: bool, own: &KeyPair, prologue: &[u8]) -> Noise {
        Noise::new(entropy, HandshakePattern::XX, initiator, own, None, prologue)
    }

    fn new(
        entropy: &mut dyn Entropy,
        pattern: HandshakePattern,
        initiator: bool,
        own: &KeyPair,
        remote_public: Option<&Key>,
        prologue: &[u8],
    ) -> Noise {
        let survives_reading = initiator && pattern == HandshakePattern::IK;
        let answers_first = !initiator && pattern == HandshakePattern::IK;
        let params = NoiseParams::new(
            name(pattern).to_owned(),
            BaseChoice::Noise,
            HandshakeChoice { pattern, modifiers: HandshakeModifierList { list: Vec::new() } },
            // snow asks our resolver for whatever stands here; the name above is what is hashed (noise.1).
            DHChoice::Curve25519,
            CipherChoice::ChaChaPoly,
            HashChoice::Blake2b,
        );
        let resolver = Resolver { ephemeral: Secret(entropy.bytes32()) };
        let kept = log::Own {
            pattern,
            initiator,
            fixed: Secret(*own.seed()),
            ephemeral: resolver.ephemeral.clone(),
            ephemeral_public: None,
            remote_ephemeral: None,
        };
        let mut secret_key = own.secret_key();
        let build = |builder: Builder<'_>| {
            if initiator { builder.build_initiator() } else { builder.build_responder() }
        };
        let state = Builder::with_resolver(params, Box::new(resolver))
            .local_private_key(&secret_key)
            .and_then(|builder| builder.prologue(prologue))
            .and_then(|builder| match remote_public {
                Some(key) => builder.remote_public_key(key),
                None => Ok(builder),
            })
            .and_then(build)
            .expect("each parameter is set once, and each pattern has the keys it needs");
        sodiumoxide::utils::memzero(&mut secret_key);
        Noise {
            state,
            initiator,
            survives_reading,
            over: false,
            public: own.public,
            remote_usable: false,
            answers_first,
            own: kept,
        }
    }

    /// The next message, with `payload` in it.
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if self.over || self.finished() || !self.state.is_my_turn() {
            return Err(NoiseError::OutOfTurn);
        }
        if payload.len() > MESSAGE_MAX - HEAD_MAX {
            return Err(NoiseError::TooLong);
        }
        self.check_remote()?;
        let mut message = vec![0; HEAD_MAX + payload.len()];
        match self.state.write_message(payload, &mut message) {
            Ok(len) => {
                message.truncate(len);
                self.own.saw(true, &message);
                Ok(message)
            }
            Err(error) => {
                self.over = true; // noise.14
                Err(reason(&error))
            }
        }
    }

    /// The payload of the peer's next message.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if self.over || self.finished() || self.state.is_my_turn() {
            return Err(NoiseError::OutOfTurn);
        }
        // noise.5: the other side's first message begins with its ephemeral key.
        if !self.answers_first
            && self.own.remote_ephemeral.is_none()
            && message.first_chunk().is_some_and(|ephemeral| !curve::is_usable(ephemeral))
        {
            self.over = !self.survives_reading;
            return Err(NoiseError::BadPoint);
        }
        let mut payload = vec![0; message.len()];
        match self.state.read_message(message, &mut payload) {
            Ok(len) => {
                payload.truncate(len);
                self.own.saw(false, message);
                self.check_remote()?;
                Ok(payload)
            }
            Err(error) => {
                self.over = !self.survives_reading; // noise.14, noise.15
                Err(reason(&error))
            }
        }
    }

    /// The other side's static key was one that may be used when a handshake with it was finished earlier: it is not
    /// asked about again. (noise.5)
    pub fn trust_remote(&mut self) {
        self.remote_usable = true;
    }

    /// Asks about the other side's static key as soon as it is known, before anything is said that hangs on it. noise.5
    fn check_remote(&mut self) -> Result<(), NoiseError> {
        if self.remote_usable || self.answers_first {
            return Ok(());
        }
        let Some(remote) = self.remote_public() else { return Ok(()) };
        self.remote_usable = curve::is_usable(&remote);
        if self.remote_usable {
            return Ok(());
        }
        self.over = true; // noise.14
        Err(NoiseError::BadPoint)
    }

    /// The peer's static key, as soon as it is known: for the responder of IK after the first message, before it
    /// answers. (noise.11)
    pub fn remote_public(&self) -> Option<Key> {
        if self.over {
            return None;
        }
        self.state.get_remote_static().and_then(|key| key.try_into().ok())
    }

    /// True once the last message was written or read.
    pub fn finished(&self) -> bool {
        !self.over && self.state.is_handshake_finished()
    }

    /// The keys; `OutOfTurn` unless `finished`, `BadPoint` if the other side's keys may not be used.
    pub fn finish(self) -> Result<NoiseKeys, NoiseError> {
        let (keys, unproven) = self.finish_unproven()?;
        if unproven.are_usable() { Ok(keys) } else { Err(NoiseError::BadPoint) }
    }

    /// `finish`, but the other side's keys are still to be asked about before anything is opened. (noise.5)
    pub fn finish_unproven(mut self) -> Result<(NoiseKeys, Unproven), NoiseError> {
        if !self.finished() {
            return Err(NoiseError::OutOfTurn);
        }
        // noise.9, noise.10: the first key is the initiator's to send with; the hash includes the last payload.
        let (first, second) = self.state.dangerously_get_raw_split();
        let (tx, rx) = if self.initiator { (first, second) } else { (second, first) };
        let handshake_hash = self.state.get_handshake_hash().try_into().expect("BLAKE2b-512 gives 64 bytes");
        let remote_public = self.remote_public().expect("IK and XX both move the static keys");
        let ephemeral = self.own.remote_ephemeral.filter(|_| self.answers_first);
        let unproven = Unproven(ephemeral.map(|ephemeral| [ephemeral, remote_public]));
        Ok((NoiseKeys { tx, rx, handshake_hash, remote_public }, unproven))
    }
}

/// Keys of the other side of which it is not known whether they may be used. noise.5
#[derive(Clone, Copy, Debug)]
pub struct Unproven(Option<[Key; 2]>);

impl Unproven {
    /// Whether nothing is wrong with them.
    pub fn are_usable(&self) -> bool {
        self.0.is_none_or(|keys| keys.iter().all(curve::is_usable))
    }
}

fn name(pattern: HandshakePattern) -> &'static str {
    match pattern {
        HandshakePattern::IK => "Noise_IK_Ed25519_ChaChaPoly_BLAKE2b",
        _ => "Noise_XX_Ed25519_ChaChaPoly_BLAKE2b",
    }
}

fn reason(error: &snow::Error) -> NoiseError {
    match error {
        snow::Error::Dh => NoiseError::BadPoint,
        _ => NoiseError::Refused,
    }
}

/// Gives snow the primitives: ours for Diffie-Hellman and randomness, its own for the rest.
struct Resolver {
    ephemeral: Secret,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Edwards { seed: Secret([0; 32]), public: [0; 32] }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// 32 random bytes, drawn when the handshake began: a side makes one ephemeral key.
struct Once(Option<Secret>);

impl Random for Once {
    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), snow::Error> {
        let drawn = self.0.take().ok_or(snow::Error::Rng)?;
        if into.len() != drawn.0.len() {
            return Err(snow::Error::Rng);
        }
        into.copy_from_slice(&drawn.0);
        Ok(())
    }
}

/// An Ed25519 key pair as Noise uses it (noise.2). Its private key is seed and public key (crypto.5), so that setting
/// it need not multiply.
struct Edwards {
    seed: Secret,
    public: Key,
}

impl Dh for Edwards {
    fn name(&self) -> &'static str {
        "Ed25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        64
    }

    fn set(&mut self, secret_key: &[u8]) {
        let (seed, public) = secret_key.split_at(32);
        self.seed.0.copy_from_slice(seed);
        self.public.copy_from_slice(public);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut self.seed.0)?;
        self.public = KeyPair::from_seed(self.seed.0).public;
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.seed.0
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        // snow hands over its whole buffer for the peer's key; a key is its first 32 bytes.
        let public = public.first_chunk().ok_or(snow::Error::Dh)?;
        // noise.5: `Noise` asks once about each key of the other side, not at each product.
        let shared = curve::multiply(&self.seed.0, public).ok_or(snow::Error::Dh)?;
        out[..32].copy_from_slice(&shared.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
