//! Handshakes against transcripts of the real packages.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use serde_json::Value;

use super::super::tests::{array, bytes, small_order_points, vectors};
use super::*;
use crate::base::{KeptKeys, Seeded};

/// Entropy that gives the same 32 bytes again and again: an ephemeral seed of our choice.
struct Fixed([u8; 32]);

impl Entropy for Fixed {
    fn fill(&mut self, into: &mut [u8]) {
        into.iter_mut().zip(self.0.iter().cycle()).for_each(|(byte, fixed)| *byte = *fixed);
    }
}

fn sides(inputs: &Value, xx: bool) -> [Noise; 2] {
    let pair = |name: &str| KeyPair::from_seed(array(&inputs[name]));
    let mut seeds =
        ["initiatorEphemeralSeed", "responderEphemeralSeed"].map(|name| Fixed(array(&inputs[name])));
    let [own, other] = ["initiatorStaticSeed", "responderStaticSeed"].map(pair);
    let prologue = bytes(&inputs["prologue"]);
    if xx {
        return [
            Noise::xx(&mut seeds[0], true, &own, &prologue),
            Noise::xx(&mut seeds[1], false, &other, &prologue),
        ];
    }
    [
        Noise::ik_initiator(&mut seeds[0], &own, &other.public, &prologue),
        Noise::ik_responder(&mut seeds[1], &other, &prologue),
    ]
}

fn check(vector: &Value, xx: bool) {
    let [mut initiator, mut responder] = sides(&vector["inputs"], xx);
    for step in vector["expected"]["steps"].as_array().expect("steps") {
        let payload = bytes(&step["payload"]);
        let (from, to) = match step["from"] == "initiator" {
            true => (&mut initiator, &mut responder),
            false => (&mut responder, &mut initiator),
        };
        let message = from.write(&payload).expect("its turn");
        assert_eq!(message, bytes(&step["message"]));
        assert_eq!(to.read(&message), Ok(payload));
    }
    let expected = &vector["expected"];
    let (initiator, responder) = (initiator.finish().expect("done"), responder.finish().expect("done"));
    assert_eq!(initiator.tx, array(&expected["initiatorTx"]));
    assert_eq!(initiator.rx, array(&expected["initiatorRx"]));
    assert_eq!((responder.tx, responder.rx), (initiator.rx, initiator.tx));
    assert_eq!(initiator.handshake_hash, array(&expected["handshakeHash"]));
    assert_eq!(responder.handshake_hash, initiator.handshake_hash);
    let pair = |name: &str| KeyPair::from_seed(array(&vector["inputs"][name])).public;
    assert_eq!(initiator.remote_public, pair("responderStaticSeed"));
    assert_eq!(responder.remote_public, pair("initiatorStaticSeed"));
}

/// pitfalls 11.1: Ed25519 keys, BLAKE2b-512, HKDF with blocks of 128 bytes.
/// proves noise.1, noise.2, noise.7, noise.8, noise.9, noise.10, noise.13
#[test]
fn ik_is_that_of_the_reference() {
    for name in ["IK, dht prologue, text payloads", "IK, dht prologue, empty payloads", "IK, empty prologue"]
    {
        check(&vectors("noise", name)[0], false);
    }
}

/// proves noise.1, noise.11
#[test]
fn xx_is_that_of_the_reference() {
    check(&vectors("noise", "XX, empty prologue (secret-stream default)")[0], true);
}

/// proves noise.16
#[test]
fn the_handshake_of_hyperdht_is_that_of_the_reference() {
    let vector = &vectors("noise", "hyperdht-handshake")[0];
    let expected = &vector["expected"];
    let [mut client, mut server] = sides(&vector["inputs"], false);
    let message = client.write(&bytes(&expected["clientPayloadEncoded"])).expect("first");
    assert_eq!(message, bytes(&expected["message1"]));
    assert_eq!(server.read(&message), Ok(bytes(&expected["clientPayloadEncoded"])));
    let reply = server.write(&bytes(&expected["serverPayloadEncoded"])).expect("second");
    assert_eq!(reply, bytes(&expected["message2"]));
    assert_eq!(client.read(&reply), Ok(bytes(&expected["serverPayloadEncoded"])));
    let (client, server) = (client.finish().expect("done"), server.finish().expect("done"));
    assert_eq!(client.handshake_hash, array(&expected["handshakeHash"]));
    assert_eq!(server.handshake_hash, client.handshake_hash);
    let namespace = crate::crypto::hash::namespace("hyperswarm/dht", 1);
    let secret = crate::crypto::hash::keyed_256(&client.handshake_hash, &[&namespace]);
    assert_eq!(secret, array(&expected["holepunchSecret"]));
}

/// proves noise.7
#[test]
fn hmac_and_hkdf_are_those_of_the_reference() {
    let mut hash = DefaultResolver.resolve_hash(&HashChoice::Blake2b).expect("BLAKE2b");
    for vector in vectors("noise", "hmac-blake2b") {
        let key = bytes(&vector["inputs"]["key"]);
        if key.len() > hash.block_len() {
            continue; // Never happens: the keys are chaining keys of 64 bytes.
        }
        let mut out = [0; 64];
        hash.hmac(&key, &bytes(&vector["inputs"]["message"]), &mut out);
        assert_eq!(out, array(&vector["expected"]["hex"]));
    }
    for vector in vectors("noise", "hkdf") {
        let outputs = vector["expected"]["list"].as_array().expect("outputs");
        let (salt, input) = (bytes(&vector["inputs"]["salt"]), bytes(&vector["inputs"]["ikm"]));
        let (mut first, mut second, mut third) = ([0; 64], [0; 64], [0; 64]);
        hash.hkdf(&salt, &input, outputs.len(), &mut first, &mut second, &mut third);
        for (ours, theirs) in [first, second, third].iter().zip(outputs) {
            assert_eq!(ours[..], bytes(theirs));
        }
    }
}

/// proves noise.8
#[test]
fn sealing_is_that_of_the_reference() {
    let vector = &vectors("noise", "cipher")[0];
    let mut cipher = DefaultResolver.resolve_cipher(&CipherChoice::ChaChaPoly).expect("ChaChaPoly");
    cipher.set(&array(&vector["inputs"]["key"]));
    let texts = vector["inputs"]["plaintexts"].as_array().expect("texts");
    let sealed = vector["expected"]["ciphertexts"].as_array().expect("sealed");
    for (nonce, (text, sealed)) in (0..).zip(texts.iter().zip(sealed)) {
        let text = text.as_str().expect("text").as_bytes();
        let mut out = vec![0; text.len() + MAC];
        cipher.encrypt(nonce, &bytes(&vector["inputs"]["ad"]), text, &mut out);
        assert_eq!(out, bytes(sealed));
    }
}

/// proves noise.3, noise.4
#[test]
fn the_shared_point_is_that_of_the_reference() {
    for vector in vectors("noise", "dh") {
        let (a, b) = (array(&vector["inputs"]["seedA"]), array(&vector["inputs"]["seedB"]));
        let (of_a, of_b) = (array(&vector["inputs"]["publicKeyA"]), array(&vector["inputs"]["publicKeyB"]));
        assert_eq!(KeyPair::from_seed(a).public, of_a);
        let expected: [u8; 32] = array(&vector["expected"]["ab"]);
        assert_eq!(curve::dh(&a, &of_b).expect("valid").0, expected);
        assert_eq!(curve::dh(&b, &of_a).expect("valid").0, expected);
    }
}

/// pitfalls 11.2: points of small order.
/// proves noise.5, noise.6
#[test]
fn points_of_small_order_are_refused() {
    for point in small_order_points() {
        assert!(curve::dh(&[1; 32], &point).is_none());
        let own = KeyPair::from_seed([1; 32]);
        let mut noise = Noise::ik_initiator(&mut Seeded::new(1), &own, &point, b"");
        assert_eq!(noise.write(b""), Err(NoiseError::BadPoint));
        assert_eq!(noise.write(b""), Err(NoiseError::OutOfTurn));
        let mut responder = Noise::ik_responder(&mut Seeded::new(2), &own, b"");
        assert_eq!(responder.read(&[&point[..], &[0; 64]].concat()), Err(NoiseError::BadPoint));
    }
}

/// proves noise.5
#[test]
fn points_outside_the_group_of_prime_order_are_refused() {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    for torsion in &EIGHT_TORSION[1..] {
        let mixed = (ED25519_BASEPOINT_POINT + torsion).compress().to_bytes();
        assert!(curve::dh(&[1; 32], &mixed).is_none());
    }
    let base = ED25519_BASEPOINT_POINT.compress().to_bytes();
    assert!(curve::dh(&[1; 32], &base).is_some());
    let mut not_on_curve = [0; 32];
    not_on_curve[0] = 2;
    assert!(curve::dh(&[1; 32], &not_on_curve).is_none());
    let mut not_reduced = [0xff; 32];
    not_reduced[31] = 0x7f;
    assert!((0xed..=0xff).all(|low| {
        not_reduced[0] = low;
        curve::dh(&[1; 32], &not_reduced).is_none() && !curve::is_canonical(&not_reduced)
    }));
    not_reduced[0] = 0xec;
    assert!(curve::is_canonical(&not_reduced));
}

/// The first message of IK, made by hand, its two keys moved by a point of small order each.
fn moved(to: &Key, moves: [EdwardsPoint; 2]) -> Vec<u8> {
    let (own, ephemeral) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([3; 32]));
    let mut keys = [&ephemeral, &own].into_iter().zip(moves).map(|(pair, by)| {
        let point = CompressedEdwardsY(pair.public).decompress().expect("a public key");
        (point + by).compress().to_bytes()
    });
    let mut message = keys.next().expect("the ephemeral key").to_vec();
    let (mut chain, mut digest) =
        (log::Chain::new(HandshakePattern::IK), log::Digest::new(HandshakePattern::IK, b""));
    digest.mix(to);
    digest.mix(&message);
    let parts = [keys.next().expect("the static key").to_vec(), b"hello".to_vec()];
    for (pair, part) in [&ephemeral, &own].into_iter().zip(parts) {
        let mut cipher = DefaultResolver.resolve_cipher(&CipherChoice::ChaChaPoly).expect("ChaChaPoly");
        cipher.set(&chain.mix(curve::multiply(pair.seed(), to)).expect("a key").0);
        let mut sealed = vec![0; part.len() + MAC];
        cipher.encrypt(0, &digest.0, &part, &mut sealed);
        digest.mix(&sealed);
        message.extend_from_slice(&sealed);
    }
    message
}

/// A caller whose key is no key gets an answer, and nothing more.
/// proves noise.5
#[test]
fn a_responder_that_answered_opens_nothing_to_a_wrong_key() {
    use curve25519_dalek::constants::EIGHT_TORSION;
    let own = KeyPair::from_seed([2; 32]);
    let outcome = |moves| {
        let mut responder = Noise::ik_responder(&mut Seeded::new(2), &own, b"");
        assert_eq!(responder.read(&moved(&own.public, moves)).as_deref(), Ok(&b"hello"[..]));
        responder.write(b"").expect("an answer");
        responder.finish().map(|keys| keys.remote_public)
    };
    let none = EIGHT_TORSION[0];
    assert_eq!(outcome([none, none]), Ok(KeyPair::from_seed([1; 32]).public));
    for by in &EIGHT_TORSION[1..] {
        assert_eq!(outcome([*by, none]), Err(NoiseError::BadPoint));
        assert_eq!(outcome([none, *by]), Err(NoiseError::BadPoint));
    }
}

fn pairs() -> (KeyPair, KeyPair) {
    (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]))
}

/// proves noise.11
#[test]
fn sizes_are_keys_payload_and_macs() {
    let (a, b) = pairs();
    let mut initiator = Noise::ik_initiator(&mut Seeded::new(1), &a, &b.public, b"p");
    let mut responder = Noise::ik_responder(&mut Seeded::new(2), &b, b"p");
    assert_eq!(responder.remote_public(), None);
    let first = initiator.write(b"hello").expect("first");
    assert_eq!(first.len(), 32 + 48 + 5 + 16);
    assert_eq!(responder.read(&first).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(responder.remote_public(), Some(a.public));
    assert!(!responder.finished());
    let second = responder.write(b"").expect("second");
    assert_eq!(second.len(), 32 + 16);
    assert!(responder.finished());
    assert_eq!(initiator.read(&second).as_deref(), Ok(&b""[..]));
    assert_eq!(initiator.write(b""), Err(NoiseError::OutOfTurn));
    assert_eq!(initiator.read(b""), Err(NoiseError::OutOfTurn));
}

/// proves noise.12
#[test]
fn a_payload_that_does_not_fit_is_refused_and_nothing_is_lost() {
    let (a, b) = pairs();
    let mut initiator = Noise::ik_initiator(&mut Seeded::new(1), &a, &b.public, b"");
    assert_eq!(initiator.write(&vec![0; MESSAGE_MAX]), Err(NoiseError::TooLong));
    let longest = vec![7; MESSAGE_MAX - HEAD_MAX];
    let message = initiator.write(&longest).expect("fits");
    assert_eq!(message.len(), MESSAGE_MAX);
    assert_eq!(Noise::ik_responder(&mut Seeded::new(2), &b, b"").read(&message), Ok(longest));
}

/// proves noise.14
#[test]
fn a_first_message_that_was_touched_ends_the_handshake() {
    let (a, b) = pairs();
    let message =
        Noise::ik_initiator(&mut Seeded::new(1), &a, &b.public, b"").write(b"hello").expect("first");
    for at in 0..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        let mut responder = Noise::ik_responder(&mut Seeded::new(2), &b, b"");
        responder.read(&changed).expect_err("changed");
        assert_eq!(responder.read(&message), Err(NoiseError::OutOfTurn));
        assert_eq!(responder.write(b""), Err(NoiseError::OutOfTurn));
        assert_eq!(responder.remote_public(), None);
        let mut responder = Noise::ik_responder(&mut Seeded::new(2), &b, b"");
        responder.read(&message[..at]).expect_err("cut short");
    }
    let mut other_prologue = Noise::ik_responder(&mut Seeded::new(2), &b, b"x");
    assert_eq!(other_prologue.read(&message), Err(NoiseError::Refused));
    let mut other_key = Noise::ik_responder(&mut Seeded::new(2), &a, b"");
    assert_eq!(other_key.read(&message), Err(NoiseError::Refused));
    assert_eq!(other_key.finish().err(), Some(NoiseError::OutOfTurn));
}

/// proves noise.15
#[test]
fn a_lying_relay_does_not_end_the_initiators_handshake() {
    let (a, b) = pairs();
    let mut initiator = Noise::ik_initiator(&mut Seeded::new(1), &a, &b.public, b"");
    let mut responder = Noise::ik_responder(&mut Seeded::new(2), &b, b"");
    responder.read(&initiator.write(b"").expect("first")).expect("read");
    let reply = responder.write(b"reply").expect("second");
    for at in 0..reply.len() {
        let mut changed = reply.clone();
        changed[at] ^= 1;
        initiator.read(&changed).expect_err("changed");
        initiator.read(&reply[..at]).expect_err("cut short");
    }
    assert_eq!(initiator.read(&reply).as_deref(), Ok(&b"reply"[..]));
    let (one, other) = (initiator.finish().expect("done"), responder.finish().expect("done"));
    assert_eq!((one.tx, one.rx, one.handshake_hash), (other.rx, other.tx, other.handshake_hash));
}

#[test]
fn equal_entropy_gives_equal_messages() {
    let (a, b) = pairs();
    let message =
        |seed| Noise::ik_initiator(&mut Seeded::new(seed), &a, &b.public, b"").write(b"").expect("first");
    assert_eq!(message(1), message(1));
    assert_ne!(message(1), message(2));
}

/// Runs a vector's handshake; each side logs after each message.
fn logged(vector: &Value, xx: bool) -> KeptKeys {
    let mut sides = sides(&vector["inputs"], xx);
    let mut lines = KeptKeys::default();
    for step in vector["expected"]["steps"].as_array().expect("steps") {
        let from = usize::from(step["from"] != "initiator");
        let message = sides[from].write(&bytes(&step["payload"])).expect("its turn");
        sides[from].log(&mut lines);
        sides[1 - from].read(&message).expect("legal");
        sides[1 - from].log(&mut lines);
    }
    lines
}

/// Both sides log the same; the keys are those that the reference sealed with; with them and nothing else both payloads
/// open, and the digest becomes the handshake hash.
/// proves key_log.4, key_log.9
#[test]
fn a_log_opens_both_payloads_of_ik() {
    let vector = &vectors("noise", "IK, dht prologue, text payloads")[0];
    let (inputs, steps) = (&vector["inputs"], &vector["expected"]["steps"]);
    let messages = [0, 1].map(|step| bytes(&steps[step]["message"]));
    let KeptKeys(lines) = logged(vector, false);
    assert!(lines.iter().all(|(label, id, _)| *label == NOISE_IK && *id == messages[0][..32]));
    let secrets: Vec<_> = lines.iter().map(|(_, _, secrets)| secrets).collect();
    let lengths: Vec<_> = secrets.iter().map(|secrets| secrets.len()).collect();
    // The responder can say all as soon as it has heard the initiator.
    assert_eq!(lengths, [3, 4, 4, 4]);
    assert_eq!(secrets[0][..], secrets[3][..3]);
    assert_eq!(secrets[2], secrets[3]);
    let [responder, fixed, request, answer] = secrets[3][..] else { panic!("four") };
    assert_eq!(responder, KeyPair::from_seed(array(&inputs["responderStaticSeed"])).public);
    assert_eq!(request, array(&steps[0]["stateAfterSend"]["key"]));
    let keys = IkKeys { responder, fixed, request, answer: Some(answer) };
    let mut reader = IkReader::new(&bytes(&inputs["prologue"]), keys);
    let initiator = KeyPair::from_seed(array(&inputs["initiatorStaticSeed"])).public;
    assert_eq!(reader.request(&messages[0]), Some((initiator, b"hello".to_vec())));
    let mut flipped = messages[1].clone();
    flipped[40] ^= 1;
    assert_eq!(reader.answer(&flipped), None);
    assert_eq!(reader.answer(&messages[1]), Some(b"world".to_vec()));
    assert_eq!(*reader.digest(), array(&vector["expected"]["handshakeHash"]));
}

/// proves key_log.5
#[test]
fn both_sides_of_xx_log_the_same() {
    let vector = &vectors("noise", "XX, empty prologue (secret-stream default)")[0];
    let KeptKeys(lines) = logged(vector, true);
    let steps = &vector["expected"]["steps"];
    let whole: Vec<_> = lines.iter().filter(|(_, _, secrets)| secrets.len() == 3).collect();
    assert_eq!(whole.len(), 3, "the initiator's after two messages, and each side's after the third");
    assert!(whole.iter().all(|line| *line == whole[0]));
    assert_eq!((whole[0].0, &whole[0].1[..]), (NOISE_XX, &bytes(&steps[0]["message"])[..32]));
    // What the reference sealed the second payload with, the initiator's static key being next.
    assert_eq!(whole[0].2[1], array(&steps[1]["stateAfterSend"]["key"]));
    let [fixed, second, third] = whole[0].2[..] else { panic!("three") };
    let keys = XxKeys { fixed, second, third };
    let messages = [0, 1, 2].map(|step| bytes(&steps[step]["message"]));
    let [initiator, responder] = ["initiatorStaticSeed", "responderStaticSeed"]
        .map(|name| KeyPair::from_seed(array(&vector["inputs"][name])).public);
    assert_eq!(keys.open(&messages[0], &messages[1], None), Some((responder, vec![])));
    assert_eq!(keys.open(&messages[0], &messages[1], Some(&messages[2])), Some((initiator, vec![])));
    assert_eq!(keys.open(&messages[0], &messages[2], None), None);
}

/// proves key_log.7
#[test]
fn nothing_that_outlives_the_session_is_logged() {
    for (name, xx) in
        [("IK, dht prologue, text payloads", false), ("XX, empty prologue (secret-stream default)", true)]
    {
        let vector = &vectors("noise", name)[0];
        let [own, other] = ["initiatorStaticSeed", "responderStaticSeed"]
            .map(|name| KeyPair::from_seed(array(&vector["inputs"][name])));
        let mut secrets = vec![*own.seed(), *other.seed()];
        secrets.push(curve::dh(own.seed(), &other.public).expect("a point").0);
        for name in ["initiatorEphemeralSeed", "responderEphemeralSeed"] {
            secrets.push(array(&vector["inputs"][name]));
        }
        for (_, _, logged) in logged(vector, xx).0 {
            assert!(logged.iter().all(|key| !secrets.contains(key)));
        }
    }
}

/// Nothing secret goes into the handshake hash, nor into what is made of it alone.
/// proves noise.20
#[test]
fn the_handshake_hash_is_made_of_what_can_be_seen() {
    use crate::crypto::hash::{blake2b_512, keyed_256, namespace};
    let vector = &vectors("noise", "hyperdht-handshake")[0];
    let expected = &vector["expected"];
    let responder = KeyPair::from_seed(array(&vector["inputs"]["responderStaticSeed"])).public;
    let [first, second] = ["message1", "message2"].map(|name| bytes(&expected[name]));
    let mut digest = [0; 64];
    let protocol = b"Noise_IK_Ed25519_ChaChaPoly_BLAKE2b";
    digest[..protocol.len()].copy_from_slice(protocol);
    let seen: [&[u8]; 7] = [
        &namespace("hyperswarm/dht", 0),
        &responder,
        &first[..32],
        &first[32..80],
        &first[80..],
        &second[..32],
        &second[32..],
    ];
    for part in seen {
        digest = blake2b_512(&[&digest, part]);
    }
    assert_eq!(digest, array(&expected["handshakeHash"]));
    let punch = keyed_256(&digest, &[&namespace("hyperswarm/dht", 1)]);
    assert_eq!(punch, array(&expected["holepunchSecret"]));
}
