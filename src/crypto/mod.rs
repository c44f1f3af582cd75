//! Cryptography of the Holepunch stack. This folder alone names crypto crates; nothing here keeps state outside the
//! values it hands out, and every random byte comes from an `Entropy`.
//!
//! `hash` BLAKE2b and name spaces; `sign` Ed25519 keys and signatures; `curve` the group operation that Noise uses;
//! `noise` handshakes; `secretstream` and `secretbox` messages under a key that is known already, `stream`
//! a keystream alone.

mod curve;
pub mod hash;
pub mod noise;
mod secret;
pub mod secretbox;
pub mod secretstream;
pub mod sign;
pub mod stream;

pub use noise::{Noise, NoiseError, NoiseKeys};
pub use secret::Secret;
pub use secretstream::Forged;
pub use sign::KeyPair;

/// Lets libsodium choose its fastest code for this processor; a repeated call returns at once. A failure would concern
/// its random numbers, of which nothing here takes any.
fn prepare() {
    let _ = sodiumoxide::init();
}

#[cfg(test)]
mod tests;
