//! Names mean the same cores to seckel and to corestore 7; hypercore 10 opens a core where seckel's store keeps it.

use std::path::Path;

use seckel::base::{Cx, DiskError, Error, NoTrace, Seeded, Time, hex};
use seckel::corestore::{Corestore, Namespace, StoreOptions};
use seckel::edge::files::Files;
use serde_json::json;

use crate::support::{Node, skipped};

fn with<T>(disk: &mut Files, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let entropy = &mut Seeded::new(1);
    act(&mut Cx { now: Time::default(), entropy, disk, trace: &mut NoTrace })
}

/// pitfalls 15.12: default names and namespaces hash to the same keys as Node.
// proves corestore.4, corestore.5, corestore.13
#[test]
fn names_mean_the_same_cores() {
    if skipped("corestore: names") {
        return;
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("corestore-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let mut disk = Files::open(&root).expect("a folder");
    let mut node = Node::start("corestore.js", &[]);
    let primary = [0x5a; 32];
    let options = StoreOptions { primary: Some(primary), ..StoreOptions::default() };
    let mut store = with(&mut disk, |cx| Corestore::open_with(cx, "store", &options)).expect("opens");
    let cases: [(&[&str], &str); 4] =
        [(&[], "a"), (&[], "names \u{1f350}"), (&["app"], "a"), (&["x", "y"], "a")];
    for (namespaces, name) in cases {
        let namespace = namespaces.iter().fold(Namespace::default(), |outer, name| outer.sub(name));
        let mut core = with(&mut disk, |cx| store.core_in(cx, namespace, name)).expect("opens");
        let blocks: [&[u8]; 3] = [b"one", b"", b"three"];
        for block in blocks {
            with(&mut disk, |cx| core.append(cx, &[block])).expect("appends");
        }
        let ours = json!({
            "key": hex::encode(core.key()),
            "discoveryKey": hex::encode(core.discovery_key()),
            "publicKey": hex::encode(&store.key_pair_in(namespace, name).expect("a key pair").public),
            "treeHash": hex::encode(&core.tree_hash()),
            "signature": hex::encode(core.signature()),
        });
        let theirs = node.ask(&json!({
            "primaryKey": hex::encode(&primary),
            "namespaces": namespaces,
            "name": name,
            "blocks": blocks.map(hex::encode),
        }));
        assert_eq!(ours, theirs);
        with(&mut disk, |cx| core.close(cx)).expect("closes");
        let dk = hex::encode(core.discovery_key());
        let folder = root.join("store/cores").join(&dk[..2]).join(&dk[2..4]).join(&dk);
        let mut other = Node::start("hypercore.js", &[]);
        let opened = other.ask(&json!({"do": "open", "folder": folder}));
        assert_eq!((&opened["key"], &opened["length"]), (&theirs["key"], &json!(3)));
        assert_eq!(opened["blocks"], json!(blocks.map(hex::encode)));
        other.finish();
    }
    node.finish();
    let _ = std::fs::remove_dir_all(&root);
}

/// pitfalls 15.11: the lock holds between two that have the folder open at the operating system.
// proves corestore.11
#[test]
fn a_second_opener_is_locked_out() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("corelock-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let mut first = Files::open(&root).expect("a folder");
    let mut second = Files::open(&root).expect("a folder");
    let store = with(&mut first, |cx| Corestore::open(cx, "store")).expect("opens");
    let refused = with(&mut second, |cx| Corestore::open(cx, "store"));
    assert_eq!(refused.err(), Some(Error::Io(DiskError::Locked)));
    let public = store.key_pair("a").expect("a key pair").public;
    drop(first);
    let store = with(&mut second, |cx| Corestore::open(cx, "store")).expect("opens");
    assert_eq!(store.key_pair("a").expect("a key pair").public, public);
    let _ = std::fs::remove_dir_all(&root);
}
