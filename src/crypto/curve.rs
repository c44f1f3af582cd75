//! Diffie-Hellman on the Ed25519 curve itself. Follows noise.3 to noise.6.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use sodiumoxide::crypto::hash::sha512;

use super::secret::Secret;
use crate::base::Key;

/// Whether the y coordinate is below the prime 2^255 - 19 (the sign bit aside).
pub fn is_canonical(point: &Key) -> bool {
    let high = point[31] & 0x7f == 0x7f && point[1..31].iter().all(|&byte| byte == 0xff);
    !(high && point[0] >= 0xed)
}

/// Whether Diffie-Hellman may use a point: it is reduced, on the curve, and in the group of prime order. Costs as much
/// as the multiplication itself; a handshake asks once for each of the other side's two keys. (noise.5)
pub fn is_usable(public: &Key) -> bool {
    let point = if is_canonical(public) { CompressedEdwardsY(*public).decompress() } else { None };
    point.is_some_and(|point| !point.is_small_order() && point.is_torsion_free())
}

/// The point `secret * public`, compressed; `None` for a point that the reference refuses.
pub fn dh(seed: &[u8; 32], public: &Key) -> Option<Secret> {
    if is_usable(public) { multiply(seed, public) } else { None }
}

/// `dh` with a point that is, or will be, asked about by `is_usable` before anything is opened with the result.
///
/// The scalar is the one that signs: the first half of SHA-512 of the seed, its bits cleared and set (noise.3). It is
/// then used as it is, and the result is hashed no further (noise.4, noise.6). A multiple of eight, it leaves nothing
/// of a point's part of small order, so that the product tells nothing of the scalar whatever the point.
pub fn multiply(seed: &[u8; 32], public: &Key) -> Option<Secret> {
    if !is_canonical(public) {
        return None;
    }
    let point = CompressedEdwardsY(*public).decompress()?;
    let mut digest = sha512::hash(seed).0;
    let mut scalar = Secret([0; 32]);
    scalar.0.copy_from_slice(&digest[..32]);
    sodiumoxide::utils::memzero(&mut digest);
    let product = point.mul_clamped(scalar.0);
    if product.is_identity() { None } else { Some(Secret(product.compress().to_bytes())) }
}
