//! What `test/encryption.js` of hypercore 11 asks of encrypted cores.

use super::*;

fn sealed(key: Option<Encryption>) -> (Bench, Hypercore) {
    let mut bench = Bench::new();
    let open = Open { key_pair: Some(keys()), encryption: key, ..Open::default() };
    let core = bench.open(open).expect("a new core");
    (bench, core)
}

fn key() -> Option<Encryption> {
    Some(Encryption::new([b'k'; 32]))
}

/// "encrypted append and get", "get with decrypt option".
// proves hypercore.92
#[test]
fn blocks_are_stored_encrypted_and_read_decrypted() {
    let (mut bench, mut core) = sealed(key());
    bench.append(&mut core, &[b"hello"]);
    assert_eq!((core.byte_length(), core.padding()), (5, 8));
    assert_eq!(core.roots()[0].size, 13);
    assert_eq!(bench.with(|cx| core.get(cx, 0)), Ok(Some(b"hello".to_vec())));
    let raw = bench.with(|cx| core.get_raw(cx, 0)).expect("reads").expect("is here");
    assert_eq!(raw.len(), 13);
    assert!(!raw.windows(5).any(|window| window == b"hello"));
    assert!(sound(&core), "signed is what is stored");
}

/// "encrypted seek".
// proves hypercore.92
#[test]
fn seeks_do_not_count_padding() {
    let (mut bench, mut core) = sealed(key());
    bench.append(&mut core, &[b"hello", b"world", b"!"]);
    for (at, found) in [
        (0, (0, 0)),
        (4, (0, 4)),
        (5, (1, 0)),
        (6, (1, 1)),
        (9, (1, 4)),
        (10, (2, 0)),
        (11, (3, 0)),
        (14, (3, 3)),
    ] {
        assert_eq!(bench.with(|cx| core.seek(cx, at)), Ok(Some(found)), "byte {at}");
    }
}

/// "encrypted session on unencrypted core", "encrypted core from existing unencrypted core".
// proves hypercore.93
#[test]
fn a_key_can_be_given_later() {
    let (mut bench, mut core) = sealed(None);
    bench.append(&mut core, &[b"a plain block", b"short"]);
    assert_eq!((core.padding(), core.byte_length()), (0, 18));
    core.set_encryption(key());
    bench.append(&mut core, &[b"hello"]);
    assert_eq!(bench.with(|cx| core.get(cx, 2)), Ok(Some(b"hello".to_vec())));
    assert_ne!(bench.with(|cx| core.get(cx, 0)), Ok(Some(b"a plain block".to_vec())));
    let short = bench.with(|cx| core.get(cx, 1));
    assert!(matches!(short, Err(Error::Refused(_))), "{short:?}");
    core.set_encryption(None);
    assert_eq!(bench.with(|cx| core.get(cx, 0)), Ok(Some(b"a plain block".to_vec())));
    assert_ne!(bench.with(|cx| core.get(cx, 2)), Ok(Some(b"hello".to_vec())));
}

/// The key is not in the files.
// proves hypercore.93
#[test]
fn a_core_opened_again_needs_its_key_again() {
    let (mut bench, mut core) = sealed(key());
    bench.append(&mut core, &[b"hello"]);
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_ne!(bench.with(|cx| core.get(cx, 0)), Ok(Some(b"hello".to_vec())));
    bench.close(&mut core);
    let mut core = bench.open(Open { encryption: key(), ..Open::default() }).expect("opens");
    assert_eq!(bench.with(|cx| core.get(cx, 0)), Ok(Some(b"hello".to_vec())));
}

/// A replica decrypts once it knows who signs, and can pass blocks on without the key.
// proves hypercore.91, hypercore.92
#[test]
fn a_replica_decrypts_when_it_learns_the_manifest() {
    let (mut bench, mut core) = sealed(key());
    bench.append(&mut core, &[b"hello"]);
    let mut other = Bench::new();
    let open = Open { key: Some(*core.key()), encryption: key(), ..Open::default() };
    let mut replica = other.open(open).expect("a new core");
    assert_eq!(replica.padding(), 0, "nobody knows yet who signs it");
    let block = bench.with(|cx| core.get_raw(cx, 0)).expect("reads").expect("is here");
    let change = Change {
        nodes: core.roots().to_vec(),
        block: Some((0, block.clone())),
        upgrade: Some(Upgrade { fork: 0, length: 1, signature: core.signature().to_vec() }),
        manifest: core.manifest().cloned(),
    };
    other.with(|cx| replica.apply(cx, change)).expect("fits");
    assert_eq!((replica.padding(), replica.byte_length()), (8, 5));
    assert_eq!(other.with(|cx| replica.get(cx, 0)), Ok(Some(b"hello".to_vec())));
    assert_eq!(other.with(|cx| replica.get_raw(cx, 0)), Ok(Some(block)));
}
