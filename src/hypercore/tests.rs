use super::*;
use crate::base::{NoTrace, Seeded, Time, hex};
use crate::sim::ramdisk::RamDisk;
use serde_json::Value;

/// A machine with one disk.
pub(crate) struct Bench {
    pub disk: RamDisk,
    pub entropy: Seeded,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { disk: RamDisk::new(), entropy: Seeded::new(1) }
    }

    pub fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: Time::default(),
            entropy: &mut self.entropy,
            disk: &mut self.disk,
            trace: &mut NoTrace,
        };
        act(&mut cx)
    }

    fn open(&mut self, open: Open) -> Result<Hypercore, Error> {
        self.with(|cx| Hypercore::open(cx, "core", open))
    }

    fn create(&mut self) -> Hypercore {
        self.open(Open { key_pair: Some(keys()), ..Open::default() }).expect("a new core")
    }

    fn append(&mut self, core: &mut Hypercore, blocks: &[&[u8]]) -> u64 {
        self.with(|cx| core.append(cx, blocks)).expect("appends")
    }

    fn all(&mut self, core: &mut Hypercore) -> Vec<Vec<u8>> {
        (0..core.length())
            .map(|n| self.with(|cx| core.get(cx, n)).expect("reads").expect("is here"))
            .collect()
    }

    fn close(&mut self, core: &mut Hypercore) {
        self.with(|cx| core.close(cx)).expect("closes");
    }
}

pub(crate) fn keys() -> KeyPair {
    KeyPair::from_seed([1; 32])
}

fn sound(core: &Hypercore) -> bool {
    let state = TreeState { hash: core.tree_hash(), length: core.length(), fork: core.fork() };
    core.length() == 0 || core.auth().is_some_and(|auth| auth.verify(&state, core.signature()))
}

fn vectors(name: &str) -> Vec<Value> {
    let text = match name {
        "merkle" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/merkle.json")),
        "storage" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/storage-v10.json")),
        other => panic!("no vectors {other}"),
    };
    let file: Value = serde_json::from_str(text).expect("the vectors");
    file["vectors"].as_array().expect("a list").clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("text")).expect("hex")
}

#[test]
fn what_is_appended_is_read_also_after_reopening() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    assert_eq!(bench.append(&mut core, &[b"pear"]), 0);
    assert_eq!(bench.append(&mut core, &[b"", b"quince", b"apple"]), 1);
    assert_eq!(bench.append(&mut core, &[]), 4);
    assert_eq!((core.length(), core.byte_length(), core.contiguous_length()), (4, 15, 4));
    assert_eq!(bench.with(|cx| core.get(cx, 4)), Ok(None));
    assert!(core.has(3) && !core.has(4) && core.writable());
    for _ in 0..3 {
        let before = (*core.key(), core.tree_hash(), core.signature().to_vec());
        bench.close(&mut core);
        assert_eq!(bench.with(|cx| core.get(cx, 0)), Err(Error::NotOpen));
        core = bench.open(Open::default()).expect("the same core");
        assert_eq!((*core.key(), core.tree_hash(), core.signature().to_vec()), before);
        assert_eq!(bench.all(&mut core), [&b"pear"[..], b"", b"quince", b"apple"]);
        assert!(sound(&core) && core.writable());
    }
    bench.append(&mut core, &[b"more"]);
    bench.disk.release(); // the process ends without closing
    let mut core = bench.open(Open::default()).expect("the same core");
    assert_eq!(bench.all(&mut core).len(), 5);
}

fn lay(disk: &mut RamDisk, files: &Value) {
    for (name, file) in files.as_object().expect("files") {
        if file.is_null() {
            continue;
        }
        let mut content = vec![0; file["size"].as_u64().expect("a size") as usize];
        for segment in file["segments"].as_array().expect("segments") {
            let at = segment[0].as_u64().expect("an offset") as usize;
            let part = bytes(&segment[1]);
            content[at..at + part.len()].copy_from_slice(&part);
        }
        disk.put(&format!("core/{name}"), &content);
    }
}

// proves hypercore.24
#[test]
fn directories_of_hypercore_10_open_at_every_step() {
    let mut steps = 0;
    for vector in vectors("storage").iter().filter(|vector| vector["expected"]["steps"].is_array()) {
        let key: Key = bytes(&vector["expected"]["key"]).try_into().expect("32 bytes");
        for step in vector["expected"]["steps"].as_array().expect("steps") {
            let mut bench = Bench::new();
            lay(&mut bench.disk, &step["files"]);
            let mut core = bench.open(Open { create: false, ..Open::default() }).expect("a core");
            let what = format!("{} {}", vector["name"], step["what"]);
            assert_eq!(*core.key(), key, "{what}");
            assert_eq!(step["length"], core.length(), "{what}");
            assert_eq!(step["fork"], core.fork(), "{what}");
            assert!(core.writable() && sound(&core), "{what}");
            for block in 0..core.length() {
                let read = bench.with(|cx| core.get(cx, block));
                assert_eq!(read.is_ok_and(|block| block.is_some()), core.has(block), "{what}");
            }
            bench.append(&mut core, &[b"and on"]);
            assert!(sound(&core), "{what}");
            steps += 1;
        }
    }
    assert!(steps > 10, "{steps}");
}

// proves hypercore.31, hypercore.35
#[test]
fn a_new_core_is_byte_for_byte_upstreams() {
    for vector in vectors("storage").iter().filter(|vector| vector["expected"]["steps"].is_array()) {
        let mut wanted = RamDisk::new();
        lay(&mut wanted, &vector["expected"]["steps"][0]["files"]);
        let mut bench = Bench::new();
        let name = vector["name"].as_str().expect("a name");
        let version = if name.starts_with("v0") { 0 } else { 1 };
        let manifest = (!name.starts_with("compat")).then(|| auth::single_signer(version, keys().public));
        let compat = manifest.is_none();
        bench.open(Open { key_pair: Some(keys()), manifest, compat, ..Open::default() }).expect("a new core");
        assert_eq!(bench.disk.content("core/oplog"), wanted.content("core/oplog"), "{name}");
    }
}
