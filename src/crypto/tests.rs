//! Hashes, signatures and boxes against vectors of the real packages and against libsodium.

use serde_json::Value;

use super::*;
use crate::base::{Entropy, Key, Seeded, hex};

/// The vectors of a file that have this name.
pub(super) fn vectors(file: &str, name: &str) -> Vec<Value> {
    let text = match file {
        "crypto" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/crypto.json")),
        "noise" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/noise.json")),
        _ => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/secret-stream.json")),
    };
    let all: Value = serde_json::from_str(text).expect("a vector file");
    let all = all["vectors"].as_array().expect("a list").clone();
    let found: Vec<Value> = all.into_iter().filter(|vector| vector["name"] == name).collect();
    assert!(!found.is_empty(), "{file} has no vector {name}");
    found
}

pub(super) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("hex text")).expect("hex")
}

pub(super) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("that many bytes")
}

fn parts(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().expect("a list").iter().map(bytes).collect()
}

/// proves crypto.1
#[test]
fn hashes_are_those_of_the_reference() {
    for vector in vectors("crypto", "hash") {
        let parts = parts(&vector["inputs"]["data"]);
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        assert_eq!(hash::blake2b_256(&parts), array(&vector["expected"]["hex"]));
        assert_eq!(hash::blake2b_256(&[&parts.concat()]), array(&vector["expected"]["hex"]));
    }
    for vector in vectors("crypto", "hash-64") {
        let message = bytes(&vector["inputs"]["message"]);
        assert_eq!(hash::blake2b_512(&[&message]), array(&vector["expected"]["hex"]));
    }
}

/// proves crypto.2
#[test]
fn keyed_hashes_are_those_of_the_reference() {
    for vector in vectors("crypto", "keyed-hash") {
        let key = bytes(&vector["inputs"]["key"]);
        let message = bytes(&vector["inputs"]["message"]);
        assert_eq!(hash::keyed_256(&key, &[&message]), array(&vector["expected"]["hex"]));
        let (head, tail) = message.split_at(3);
        assert_eq!(hash::keyed_256(&key, &[head, tail]), array(&vector["expected"]["hex"]));
    }
}

/// proves crypto.3
#[test]
fn namespaces_are_those_of_the_reference() {
    for vector in vectors("crypto", "namespace") {
        let name = vector["inputs"]["name"].as_str().expect("a name");
        let ids = vector["inputs"]["ids"].as_array().expect("ids");
        let list = vector["expected"]["list"].as_array().expect("constants");
        for (id, constant) in ids.iter().zip(list) {
            let id = id.as_u64().and_then(|id| u8::try_from(id).ok()).expect("a byte");
            assert_eq!(hash::namespace(name, id), array::<32>(constant), "{name} {id}");
        }
    }
}

/// proves crypto.4, crypto.5
#[test]
fn key_pairs_and_discovery_keys_are_those_of_the_reference() {
    for vector in vectors("crypto", "keyPair") {
        let pair = KeyPair::from_seed(array(&vector["inputs"]["seed"]));
        assert_eq!(pair.public, array::<32>(&vector["expected"]["publicKey"]));
        assert_eq!(pair.secret_key(), array::<64>(&vector["expected"]["secretKey"]));
        assert_eq!(pair.seed(), &array::<32>(&vector["inputs"]["seed"]));
        assert_eq!(hash::discovery_key(&pair.public), array::<32>(&vector["expected"]["discoveryKey"]));
    }
}

/// proves crypto.6
#[test]
fn signatures_are_those_of_the_reference() {
    for vector in vectors("crypto", "sign") {
        let pair = KeyPair::from_seed(array(&vector["inputs"]["seed"]));
        let message = bytes(&vector["inputs"]["message"]);
        let signature = pair.sign(&message);
        assert_eq!(signature, array(&vector["expected"]["signature"]));
        assert!(sign::verify(&pair.public, &message, &signature));
        assert!(!sign::verify(&pair.public, b"another", &signature));
        for bit in 0..512 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!sign::verify(&pair.public, &message, &changed), "bit {bit}");
        }
    }
}

/// Every way to write a point of small order, in both signs and not reduced where that fits.
pub(super) fn small_order_points() -> Vec<Key> {
    let reduced = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let not_reduced = [
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut points = Vec::new();
    for text in reduced.into_iter().chain(not_reduced) {
        let mut point: Key = hex::decode(text).expect("hex").try_into().expect("32 bytes");
        points.push(point);
        point[31] |= 0x80;
        points.push(point);
    }
    points
}

fn libsodium_verifies(public: &Key, message: &[u8], signature: &[u8; 64]) -> bool {
    use sodiumoxide::crypto::sign::ed25519;
    prepare();
    let Ok(signature) = ed25519::Signature::from_bytes(signature) else { return false };
    ed25519::verify_detached(&signature, message, &ed25519::PublicKey(*public))
}

/// A key of small order signs everything; both refuse it, and so is the signature's point.
/// proves crypto.7
#[test]
fn points_of_small_order_verify_nothing() {
    let pair = KeyPair::from_seed([3; 32]);
    for point in small_order_points() {
        let mut forged = [0; 64];
        forged[..32].copy_from_slice(&point);
        assert!(!sign::verify(&point, b"message", &forged));
        assert!(!libsodium_verifies(&point, b"message", &forged));
        assert!(!sign::verify(&pair.public, b"message", &forged));
        forged[0] = 1;
        forged[1..32].fill(0);
        assert!(!sign::verify(&point, b"message", &forged));
    }
}

/// With a key of small order the equation holds for anybody's R, if the challenge happens to undo the key.
/// proves crypto.7
#[test]
fn a_key_of_small_order_is_refused_whatever_is_signed() {
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};
    let mut held = Vec::new();
    for point in small_order_points() {
        for n in 1..64_u64 {
            let scalar = Scalar::from(n);
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&EdwardsPoint::mul_base(&scalar).compress().0);
            signature[32..].copy_from_slice(&scalar.to_bytes());
            let key = VerifyingKey::from_bytes(&point);
            if key.is_ok_and(|key| key.verify(b"message", &Signature::from_bytes(&signature)).is_ok()) {
                held.push(point);
            }
            assert!(!sign::verify(&point, b"message", &signature));
            assert!(!libsodium_verifies(&point, b"message", &signature));
        }
    }
    held.dedup();
    assert!(held.len() >= 10, "the equation holds for each that can be decoded, in both signs");
}

/// With R of small order the equation can hold for whoever knows the secret; it is refused all the same.
/// proves crypto.7
#[test]
fn a_signature_of_small_order_is_refused() {
    use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
    let secret = Scalar::from_bytes_mod_order([7; 32]);
    let mut held = 0;
    for (n, torsion) in EIGHT_TORSION.iter().enumerate() {
        let public = EdwardsPoint::mul_base(&secret) + torsion;
        for small in &EIGHT_TORSION {
            let (key, point) = (public.compress().0, small.compress().0);
            let digest = sodiumoxide::crypto::hash::sha512::hash(&[&point[..], &key, b"message"].concat());
            let challenge = Scalar::from_bytes_mod_order_wide(&digest.0);
            let scalar = challenge * secret;
            held += u32::from(EdwardsPoint::mul_base(&scalar) - challenge * public == *small);
            let signature: Vec<u8> = [point, scalar.to_bytes()].concat();
            let signature = signature.try_into().expect("64 bytes");
            assert!(!sign::verify(&key, b"message", &signature), "torsion {n}");
            assert!(!libsodium_verifies(&key, b"message", &signature));
        }
    }
    assert!(held > 0, "for some of them the equation holds");
}

/// proves crypto.8
#[test]
fn a_scalar_that_is_not_reduced_is_refused() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let pair = KeyPair::from_seed([3; 32]);
    let mut signature = pair.sign(b"message");
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert!(!sign::verify(&pair.public, b"message", &signature));
    assert!(!libsodium_verifies(&pair.public, b"message", &signature));
}

/// proves crypto.6, crypto.7, crypto.8
#[test]
fn verification_agrees_with_libsodium() {
    let mut entropy = Seeded::new(11);
    let points = small_order_points();
    for round in 0..400_usize {
        let pair = KeyPair::generate(&mut entropy);
        let mut public = pair.public;
        let mut signature = pair.sign(b"message");
        match round % 5 {
            0 => {}
            1 => public[round % 32] ^= 1 << (round % 8),
            2 => signature[round % 64] ^= 1 << (round % 8),
            3 => signature[..32].copy_from_slice(&points[round % points.len()]),
            _ => public = points[round % points.len()],
        }
        let ours = sign::verify(&public, b"message", &signature);
        assert_eq!(ours, libsodium_verifies(&public, b"message", &signature), "round {round}");
        assert_eq!(ours, round % 5 == 0);
    }
}

/// proves crypto.16
#[test]
fn boxes_open_with_their_nonce_only() {
    let mut entropy = Seeded::new(5);
    let key = entropy.bytes32();
    let sealed = secretbox::seal(&key, &[7; 24], b"message");
    assert_eq!(sealed.len(), 7 + secretbox::OVERHEAD);
    assert_eq!(secretbox::open(&key, &[7; 24], &sealed).as_deref(), Ok(&b"message"[..]));
    assert_eq!(secretbox::open(&key, &[8; 24], &sealed), Err(Forged));
    assert_eq!(secretbox::open(&[0; 32], &[7; 24], &sealed), Err(Forged));
    for len in 0..secretbox::OVERHEAD {
        assert_eq!(secretbox::open(&key, &[7; 24], &sealed[..len]), Err(Forged));
    }
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(secretbox::open(&key, &[7; 24], &changed), Err(Forged));
    }
}

/// The unordered messages of a real stream: 8 bytes of counter are the front of the nonce.
/// proves crypto.16
#[test]
fn boxes_are_those_of_the_reference() {
    let key = array(&vectors("secret-stream", "unordered-keys")[0]["expected"]["initiatorSendKey"]);
    let stream = &vectors("secret-stream", "stream")[0];
    let sent = bytes(&stream["expected"]["initiatorUnordered"][0]);
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&sent[..8]);
    assert_eq!(secretbox::open(&key, &nonce, &sent[8..]).as_deref(), Ok(&b"unordered"[..]));
    assert_eq!(secretbox::seal(&key, &nonce, b"unordered"), sent[8..]);
}

/// pitfalls 11.12: keys never stand in logs.
#[test]
fn what_is_shown_of_a_secret_is_not_secret() {
    let pair = KeyPair::from_seed([0xab; 32]);
    assert_eq!(format!("{pair:?}"), format!("KeyPair({})", hex::encode(&pair.public)));
    assert_eq!(format!("{:?}", secret::Secret([0xab; 32])), "(secret)");
    let keys =
        NoiseKeys { tx: [0xab; 32], rx: [0xab; 32], handshake_hash: [0xab; 64], remote_public: [1; 32] };
    assert!(!format!("{keys:?}").contains("abab"));
    assert!(!format!("{:?}", Noise::xx(&mut Seeded::new(1), true, &pair, b"")).contains("abab"));
}
