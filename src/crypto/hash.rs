//! BLAKE2b as the stack uses it: 32 or 64 bytes out, in parts, with or without a key. Follows crypto.1 to crypto.4.

use blake2b_simd::Params;
use blake2b_simd::many::{HashManyJob, hash_many};

use crate::base::Key;

/// The longest key of a keyed hash, in bytes.
pub const KEY_MAX: usize = 64;

/// BLAKE2b with 32 bytes of output over the parts, as if they were one. (crypto.1)
pub fn blake2b_256(parts: &[&[u8]]) -> [u8; 32] {
    hash(&mut Params::new(), parts)
}

/// `blake2b_256` of each of four inputs: together they take about half as long as one by one. (crypto.1)
pub fn blake2b_256_four(inputs: [&[u8]; 4]) -> [[u8; 32]; 4] {
    let mut params = Params::new();
    params.hash_length(32);
    let mut jobs = inputs.map(|input| HashManyJob::new(&params, input));
    hash_many(jobs.iter_mut());
    jobs.map(|job| {
        let mut made = [0; 32];
        made.copy_from_slice(job.to_hash().as_bytes());
        made
    })
}

/// BLAKE2b with 64 bytes of output over the parts, as if they were one. (crypto.1)
pub fn blake2b_512(parts: &[&[u8]]) -> [u8; 64] {
    hash(&mut Params::new(), parts)
}

/// BLAKE2b with 32 bytes of output under a key of 1 to 64 bytes. (crypto.2)
///
/// Panics if the key has another length: keys have a fixed length wherever the protocols use one.
pub fn keyed_256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    assert!((1..=KEY_MAX).contains(&key.len()), "a BLAKE2b key has 1 to 64 bytes");
    hash(Params::new().key(key), parts)
}

/// A constant that keeps the uses of a hash apart: H(H(name) then the byte `id`). (crypto.3)
pub fn namespace(name: &str, id: u8) -> Key {
    blake2b_256(&[&blake2b_256(&[name.as_bytes()]), &[id]])
}

/// Names a core or topic to those who do not have its key: a hash of the public key. (crypto.4)
pub fn discovery_key(public: &Key) -> Key {
    keyed_256(public, &[b"hypercore"])
}

/// Bytes that BLAKE2b takes in at a time.
const ROUND: usize = 128;

fn hash<const OUT: usize>(params: &mut Params, parts: &[&[u8]]) -> [u8; OUT] {
    params.hash_length(OUT);
    let mut out = [0; OUT];
    let mut short = [0; ROUND];
    // What is short is quicker in one piece.
    let made = match (parts, joined(parts, &mut short)) {
        ([whole], _) => params.hash(whole),
        (_, Some(whole)) => params.hash(whole),
        (_, None) => {
            let mut state = params.to_state();
            for part in parts {
                state.update(part);
            }
            state.finalize()
        }
    };
    out.copy_from_slice(made.as_bytes());
    out
}

/// The parts as one, if they fit.
fn joined<'a>(parts: &[&[u8]], into: &'a mut [u8; ROUND]) -> Option<&'a [u8]> {
    let mut end = 0;
    for part in parts {
        into.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    into.get(..end)
}
