use super::*;
use crate::base::{Disk, DiskError, NoTrace, Seeded, Time};
use crate::sim::ramdisk::RamDisk;
use serde_json::Value;

struct Bench {
    disk: RamDisk,
    entropy: Seeded,
}

impl Bench {
    fn new() -> Bench {
        Bench { disk: RamDisk::new(), entropy: Seeded::new(1) }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: Time::default(),
            entropy: &mut self.entropy,
            disk: &mut self.disk,
            trace: &mut NoTrace,
        };
        act(&mut cx)
    }

    fn store(&mut self) -> Corestore {
        self.with(|cx| Corestore::open(cx, "store")).expect("opens")
    }
}

fn vectors() -> Vec<Value> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/corestore.json"));
    let file: Value = serde_json::from_str(text).expect("the vectors");
    file["vectors"].as_array().expect("a list").clone()
}

fn key(value: &Value) -> Key {
    hex::decode(value.as_str().expect("text")).expect("hex").try_into().expect("32 bytes")
}

/// pitfalls 15.12: names and namespaces give the keys that Node gives.
// proves corestore.3, corestore.4, corestore.5
#[test]
fn names_give_upstreams_keys() {
    let mut seen = 0;
    for vector in vectors().iter().filter(|vector| vector["name"] == "derive") {
        let (input, wanted) = (&vector["inputs"], &vector["expected"]);
        let mut bench = Bench::new();
        let primary = Some(key(&input["primaryKey"]));
        let options = StoreOptions { primary, ..StoreOptions::default() };
        let mut store = bench.with(|cx| Corestore::open_with(cx, "", &options)).expect("opens");
        let mut namespace = Namespace::default();
        for part in input["namespaces"].as_array().expect("a list") {
            namespace = namespace.sub(part.as_str().expect("text"));
        }
        assert_eq!(namespace.0, key(&wanted["namespace"]));
        let name = input["name"].as_str().expect("text");
        let pair = store.key_pair_in(namespace, name).expect("a key pair");
        assert_eq!(pair.public, key(&wanted["publicKey"]));
        assert_eq!(pair.seed(), &key(&wanted["seed"]));
        if input["manifestVersion"] == 1 {
            let core = bench.with(|cx| store.key_by_name(cx, namespace, name)).expect("a key");
            assert_eq!(core, key(&wanted["coreKey"]));
            assert_eq!(auth::discovery_key(&core), key(&wanted["discoveryKey"]));
        }
        seen += 1;
    }
    assert_eq!(seen, 20);
}

// proves corestore.8
#[test]
fn a_named_core_signs_as_upstream() {
    let all = vectors();
    let find = |name: &str| all.iter().find(|vector| vector["name"] == name).expect("there");
    let vector = find("named core after two appends");
    let primary = Some(key(&vector["inputs"]["primaryKey"]));
    let mut bench = Bench::new();
    let options = StoreOptions { primary, ..StoreOptions::default() };
    let mut store = bench.with(|cx| Corestore::open_with(cx, "s", &options)).expect("opens");
    let mut core = bench.with(|cx| store.core_by_name(cx, "a")).expect("opens");
    bench.with(|cx| core.append(cx, &[b"x"])).expect("appends");
    bench.with(|cx| core.append(cx, &[b"y"])).expect("appends");
    assert_eq!(core.tree_hash(), key(&vector["expected"]["treeHash"]));
    assert_eq!(vector["expected"]["signature"], hex::encode(core.signature()));
    let vector = find("core from a key pair");
    let pair = KeyPair::from_seed(key(&vector["inputs"]["seed"]));
    let core = bench.with(|cx| store.core_by_key_pair(cx, pair)).expect("opens");
    assert_eq!(core.key(), &key(&vector["expected"]["coreKey"]));
}

// proves corestore.1, corestore.7, corestore.9
#[test]
fn cores_lie_where_corestore_6_has_them() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let core = bench.with(|cx| store.core_by_name(cx, "pears")).expect("opens");
    let other = bench.with(|cx| store.core_by_key(cx, &[7; 32])).expect("opens");
    assert!(core.writable() && !other.writable());
    assert_eq!(core.user_data("corestore/name"), Some(&b"pears"[..]));
    assert_eq!(core.user_data("corestore/namespace"), Some(&[0; 32][..]));
    let name = hex::encode(core.discovery_key());
    let path = format!("store/cores/{}/{}/{name}/oplog", &name[..2], &name[2..4]);
    assert!(bench.disk.content(&path).is_some(), "{path}");
    let mut both = vec![*core.discovery_key(), *other.discovery_key()];
    both.sort();
    assert_eq!(bench.with(|cx| store.list(cx)), Ok(both));
}

/// pitfalls 15.11: open twice, close, open.
// proves corestore.10
#[test]
fn a_core_is_handed_out_once() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let mut core = bench.with(|cx| store.core_by_name(cx, "a")).expect("opens");
    let own = *core.key();
    assert_eq!(bench.with(|cx| store.core_by_name(cx, "a")).err(), Some(Error::Taken));
    assert_eq!(bench.with(|cx| store.core_by_key(cx, &own)).err(), Some(Error::Taken));
    bench.with(|cx| core.append(cx, &[b"1"])).expect("appends");
    bench.with(|cx| core.close(cx)).expect("closes");
    store.closed(core.discovery_key());
    let mut core = bench.with(|cx| store.core_by_key(cx, &own)).expect("opens");
    assert!(core.writable(), "the key pair is stored with the core");
    bench.with(|cx| core.close(cx)).expect("closes");
    store.closed(core.discovery_key());
    let discovery_key = *core.discovery_key();
    let core = bench.with(|cx| store.core_by_discovery_key(cx, &discovery_key)).expect("opens");
    assert_eq!(core.expect("stored").length(), 1);
    assert!(bench.with(|cx| store.core_by_discovery_key(cx, &[1; 32])).expect("opens").is_none());
    assert_eq!(bench.with(|cx| store.core_by_name(cx, "")).err(), Some(Error::Invalid("the empty name")));
}

/// pitfalls 15.11: one lock per store, with a clear error.
// proves corestore.11
#[test]
fn two_processes_do_not_share_a_store() {
    let mut bench = Bench::new();
    let _store = bench.store();
    let second = bench.with(|cx| Corestore::open(cx, "store"));
    assert_eq!(second.err(), Some(Error::Io(DiskError::Locked)));
    bench.disk.release();
    bench.store();
}

// proves corestore.2
#[test]
fn the_primary_key_is_on_disk_before_it_is_used() {
    let mut total = 0;
    for stop in 0.. {
        let mut bench = Bench::new();
        bench.disk.stop_after(Some(stop));
        let derived = bench
            .with(|cx| Corestore::open(cx, "store"))
            .map(|store| store.key_pair("a").expect("a key pair").public);
        bench.disk.crash(stop);
        bench.entropy = Seeded::new(99 + stop);
        let again = bench.store().key_pair("a").expect("a key pair").public;
        if let Ok(derived) = derived {
            assert_eq!(again, derived);
            total += 1;
        }
        assert!(bench.disk.private("store/primary-key"));
        if total == 5 {
            break;
        }
    }
    let mut bench = Bench::new();
    bench.disk.put("store/primary-key", b"short");
    assert_eq!(
        bench.with(|cx| Corestore::open(cx, "store")).err(),
        Some(Error::Corrupt("primary-key: not 32 bytes"))
    );
    bench.disk.release();
    bench.disk.put("store/primary-key", &[1; 32]);
    let options = StoreOptions { primary: Some([2; 32]), ..StoreOptions::default() };
    let other = bench.with(|cx| Corestore::open_with(cx, "store", &options));
    assert!(matches!(other, Err(Error::Refused(_))));
}

// proves corestore.6
#[test]
fn an_older_core_of_the_name_wins() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let pair = store.key_pair("old").expect("a key pair");
    let folder = store.folder(&auth::discovery_key(&pair.public));
    let open = Open { key_pair: Some(pair.clone()), compat: true, ..Open::default() };
    let mut old = bench.with(|cx| Hypercore::open(cx, &folder, open)).expect("opens");
    bench.with(|cx| old.append(cx, &[b"from before"])).expect("appends");
    bench.with(|cx| old.close(cx)).expect("closes");
    let core = bench.with(|cx| store.core_by_name(cx, "old")).expect("opens");
    assert_eq!((core.key(), core.length(), core.writable()), (&pair.public, 1, true));
}

// proves corestore.12
#[test]
fn a_store_of_corestore_7_is_left_alone() {
    let mut bench = Bench::new();
    bench.disk.put("store/CORESTORE", b"");
    assert!(matches!(bench.with(|cx| Corestore::open(cx, "store")), Err(Error::Refused(_))));
    assert_eq!(bench.disk.paths(), ["store/CORESTORE"]);
}

/// What an audit of a store says beside its cores: nothing, or where it is wrong.
fn audited(disk: &RamDisk) -> (Vec<crate::hypercore::audit::Verdict>, Option<&'static str>) {
    let (mut disk, entropy) = (disk.clone(), &mut Seeded::new(1));
    let mut cx = Cx { now: Time::default(), entropy, disk: &mut disk, trace: &mut NoTrace };
    assert_eq!(super::audit::kind(&mut cx, "store"), Ok(super::audit::Kind::Store));
    let mut store = super::audit::StoreAudit::open(&mut cx, "store").expect("opens");
    let (mut verdicts, mut fault) = (Vec::new(), None);
    for folder in store.cores.clone() {
        let found = crate::hypercore::audit::audit(&mut cx, &folder, &mut |_, _| {}).expect("can be read");
        fault = fault.or(store.judge(&folder, &found));
        verdicts.push(found.verdict());
    }
    (verdicts, fault.or(store.finish()).map(|fault| fault.rule))
}

// proves corestore.14
#[test]
fn each_bit_of_a_primary_key_is_found_if_a_core_has_a_name() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let pair = KeyPair::from_seed([5; 32]);
    let mut core = bench.with(|cx| store.core_by_key_pair(cx, pair)).expect("opens");
    bench.with(|cx| core.close(cx)).expect("closes");
    let sound = crate::hypercore::audit::Verdict::Sound;
    assert_eq!(audited(&bench.disk), (vec![sound], None), "nothing follows from the primary key");
    let mut named = bench.with(|cx| store.core_by_name(cx, "a")).expect("opens");
    bench.with(|cx| named.append(cx, &[b"block"])).expect("appends");
    bench.with(|cx| named.close(cx)).expect("closes");
    assert_eq!(audited(&bench.disk), (vec![sound; 2], None));
    for bit in 0..256 {
        let mut rotten = bench.disk.clone();
        rotten.rot("store/primary-key", bit);
        assert_eq!(audited(&rotten), (vec![sound; 2], Some("corestore.4")), "bit {bit}");
    }
    let mut short = bench.disk.clone();
    short.put("store/primary-key", &[7; 31]);
    assert_eq!(audited(&short).1, Some("corestore.2"));
    // A core in another's folder.
    let (from, to) = (store.folder(named.discovery_key()), store.folder(&[0; 32]));
    for file in ["oplog", "tree", "bitfield", "data"] {
        let bytes = bench.disk.content(&format!("{from}/{file}")).expect("there").to_vec();
        bench.disk.put(&format!("{to}/{file}"), &bytes);
    }
    assert_eq!(audited(&bench.disk).1, Some("corestore.1"));
}

/// Every way to say which core is meant gives the same one.
// proves corestore.6, corestore.8, corestore.9, corestore.15
#[test]
fn a_core_is_found_by_whatever_names_it() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let inner = Namespace::default().sub("a").sub("b");
    let mut core = bench.with(|cx| store.core_in(cx, inner, "posts")).expect("opens");
    let (key, discovery_key) = (*core.key(), *core.discovery_key());
    let manifest = core.manifest().expect("known").clone();
    bench.with(|cx| core.append(cx, &[b"one"])).expect("appends");
    bench.with(|cx| core.close(cx)).expect("closes");
    store.closed(&discovery_key);
    let pair = store.key_pair_in(inner, "posts").expect("a key pair");
    let wants = [
        Want::name_in(inner, "posts"),
        Want::key(key),
        Want::key_pair(pair.clone()),
        Want::manifest(manifest.clone()),
        Want::discovery_key(discovery_key),
        Want { name: Some((inner, "posts")), manifest: Some(manifest), ..Want::default() },
    ];
    for want in wants {
        let mut core = bench.with(|cx| store.core(cx, &want)).expect("opens");
        assert_eq!((core.key(), core.length(), core.writable()), (&key, 1, true), "{want:?}");
        bench.with(|cx| core.close(cx)).expect("closes");
        store.closed(&discovery_key);
    }
    for want in [Want::default(), Want::name("")] {
        assert!(matches!(bench.with(|cx| store.core(cx, &want)), Err(Error::Invalid(_))));
    }
    for want in [Want { create: false, ..Want::name("others") }, Want::discovery_key([3; 32])] {
        assert_eq!(bench.with(|cx| store.core(cx, &want)).err(), Some(Error::Missing));
    }
    assert_eq!(bench.with(|cx| store.list_in(cx, inner)), Ok(vec![discovery_key]));
    assert_eq!(bench.with(|cx| store.list_in(cx, Namespace::default())), Ok(vec![]));
    let stored = bench.with(|cx| store.stored(cx, &discovery_key)).expect("reads").expect("is stored");
    assert_eq!((stored.key, stored.public, stored.secret), (key, Some(pair.public), true));
    assert_eq!(stored.alias, Some((inner, b"posts".to_vec())));
    assert_eq!(bench.with(|cx| store.stored(cx, &[3; 32])), Ok(None));
}

/// A name stays with its core, even if the primary key is another by now, and so does its key pair.
// proves corestore.6, corestore.16
#[test]
fn a_name_outlives_the_primary_key() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let mut core = bench.with(|cx| store.core_by_name(cx, "posts")).expect("opens");
    let key = *core.key();
    bench.with(|cx| core.close(cx)).expect("closes");
    bench.disk.release();
    bench.disk.remove("store/primary-key").expect("removes");
    let before = bench.disk.paths();
    for _ in 0..2 {
        let lost = bench.with(|cx| Corestore::open(cx, "store"));
        assert!(matches!(lost, Err(Error::Corrupt(what)) if what.starts_with("primary-key")));
        assert_eq!(
            bench.disk.paths(),
            before,
            "no other key is made in its place, and the lock is free again"
        );
    }
    let options = StoreOptions { primary: Some([9; 32]), ..StoreOptions::default() };
    let mut store = bench.with(|cx| Corestore::open_with(cx, "store", &options)).expect("opens");
    let core = bench.with(|cx| store.core_by_name(cx, "posts")).expect("opens");
    assert_eq!((core.key(), core.writable()), (&key, true));
    let other = bench.with(|cx| store.core_by_name(cx, "others")).expect("opens");
    assert_eq!(
        other.manifest().expect("known").signers[0].public,
        key_pair_of(&Secret([9; 32]), Namespace::default(), "others").public
    );
}

/// Reading changes no byte, makes no file and takes no lock, beside who writes.
// proves corestore.16
#[test]
fn who_only_reads_changes_nothing() {
    let mut bench = Bench::new();
    let read_only = StoreOptions { read_only: true, ..StoreOptions::default() };
    assert_eq!(bench.with(|cx| Corestore::open_with(cx, "store", &read_only)).err(), Some(Error::Missing));
    assert!(bench.disk.paths().is_empty());
    let mut writer = bench.store();
    let mut written = bench.with(|cx| writer.core_by_name(cx, "posts")).expect("opens");
    bench.with(|cx| written.append(cx, &[b"one", b"two"])).expect("appends");
    let (changes, open) = (bench.disk.changes(), bench.disk.open_count());
    let mut store = bench.with(|cx| Corestore::open_with(cx, "store", &read_only)).expect("opens");
    let mut core = bench.with(|cx| store.core_by_name(cx, "posts")).expect("opens");
    assert_eq!((core.length(), core.writable()), (2, false));
    assert_eq!(bench.with(|cx| core.get(cx, 1)), Ok(Some(b"two".to_vec())));
    assert!(matches!(bench.with(|cx| core.append(cx, &[b"no"])), Err(Error::Refused(_))));
    assert!(matches!(bench.with(|cx| core.truncate(cx, 0)), Err(Error::Refused(_))));
    assert_eq!(bench.with(|cx| store.core_by_name(cx, "others")).err(), Some(Error::Missing));
    bench.with(|cx| core.close(cx)).expect("closes");
    assert_eq!(bench.with(|cx| store.list(cx)).map(|keys| keys.len()), Ok(1));
    assert_eq!((bench.disk.changes(), bench.disk.open_count()), (changes, open));
    assert_eq!(bench.with(|cx| Corestore::open(cx, "store")).err(), Some(Error::Io(DiskError::Locked)));
    bench.with(|cx| writer.close(cx));
    bench.store();
}

/// A copy without a signer has the same blocks, and nobody can add to it.
// proves corestore.17
#[test]
fn a_static_copy_has_the_same_blocks() {
    let mut bench = Bench::new();
    let mut store = bench.store();
    let mut core = bench.with(|cx| store.core_by_name(cx, "posts")).expect("opens");
    assert!(matches!(bench.with(|cx| store.staticify(cx, &mut core)), Err(Error::Invalid(_))));
    for n in 0..21_u8 {
        bench.with(|cx| core.append(cx, &[vec![n; usize::from(n) * 30]])).expect("appends");
    }
    bench.with(|cx| core.clear(cx, 4, 6)).expect("clears");
    let mut copy = bench.with(|cx| store.staticify(cx, &mut core)).expect("copies");
    let (key, tree) = (*copy.key(), core.tree_hash());
    assert_ne!(&key, core.key());
    assert_eq!((copy.length(), copy.tree_hash(), copy.writable()), (21, tree, false));
    bench.with(|cx| core.append(cx, &[b"later"])).expect("appends");
    bench.with(|cx| copy.close(cx)).expect("closes");
    store.closed(&auth::discovery_key(&key));
    let mut copy = bench.with(|cx| store.core_by_key(cx, &key)).expect("opens");
    assert_eq!((copy.length(), copy.tree_hash()), (21, tree));
    for n in 0..21_u8 {
        let block = (!(4..6).contains(&n)).then(|| vec![n; usize::from(n) * 30]);
        assert_eq!(bench.with(|cx| copy.get(cx, n.into())), Ok(block));
    }
    assert!(matches!(bench.with(|cx| copy.append(cx, &[b"no"])), Err(Error::Refused(_))));
    let state = crate::hypercore::auth::TreeState { roots: copy.roots(), length: 21, fork: copy.fork() };
    assert!(copy.auth().expect("known").verify(&state, copy.signature()), "its key vouches for its tree");
}
