//! A tree on a core, plain or encrypted, in parts, that is cut back and opened again, beside a `BTreeMap`: every entry
//! of every version, in both directions.

use super::*;
use crate::base::Disk;
use crate::hyperbee::sub::Sub;
use crate::hypercore::Encryption;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Desk {
    core: Hypercore,
    bee: Bee,
    disk: RamDisk,
    entropy: Seeded,
    key: Option<Encryption>,
    map: Map,
    /// The map at each length at which a step ended; none that was cut off since.
    versions: Vec<(u64, Map)>,
}

impl Desk {
    fn new(seed: u64, key: Option<Encryption>) -> Desk {
        let (mut disk, mut entropy) = (RamDisk::new(), Seeded::new(seed));
        let open =
            Open { key_pair: Some(KeyPair::from_seed([1; 32])), encryption: key.clone(), ..Open::default() };
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let core = Hypercore::open(&mut cx, "core", open).expect("a new core");
        let (bee, map) = (Bee::new(), Map::new());
        let versions = vec![(0, Map::new()), (1, Map::new())];
        Desk { core, bee, disk, entropy, key, map, versions }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>, &mut Bee, &mut Hypercore) -> T) -> T {
        let (entropy, disk) = (&mut self.entropy, &mut self.disk);
        let mut cx = Cx { now: Time::ZERO, entropy, disk, trace: &mut NoTrace };
        act(&mut cx, &mut self.bee, &mut self.core)
    }

    fn draw_key(&mut self, parts: &[Sub]) -> Vec<u8> {
        let part = self.entropy.below(parts.len() as u64) as usize;
        parts[part].key(format!("{:x}", self.entropy.below(30)).as_bytes())
    }

    /// Some operations at once.
    fn write(&mut self, parts: &[Sub]) {
        let count = if self.entropy.chance(200) { 2 + self.entropy.below(15) } else { 1 };
        let mut batch = self.with(|cx, bee, log| bee.batch(cx, log)).expect("batch");
        for n in 0..count {
            let key = self.draw_key(parts);
            if self.entropy.chance(350) {
                let gone = self.with(|cx, bee, log| batch.del(cx, bee, log, &key)).expect("del");
                assert_eq!(gone, self.map.remove(&key).is_some());
            } else {
                let value =
                    format!("{n} at {} of fork {}", self.core.length(), self.core.fork()).into_bytes();
                self.with(|cx, bee, log| batch.put(cx, bee, log, &key, Some(&value))).expect("put");
                self.map.insert(key, value);
            }
        }
        self.with(|cx, bee, log| batch.flush(cx, bee, log)).expect("flush");
        if self.core.length() > self.versions.last().expect("some").0 {
            self.versions.push((self.core.length(), self.map.clone()));
        }
    }

    /// Back to an older version.
    fn cut(&mut self) {
        let back = self.entropy.below(12).min(self.versions.len() as u64 - 2);
        let kept = self.versions.len() - 1 - back as usize;
        let (length, map) = self.versions[kept].clone();
        if length >= self.core.length() {
            return;
        }
        self.with(|cx, _, core| core.truncate(cx, length)).expect("cuts");
        self.versions.truncate(kept + 1);
        self.map = map;
    }

    fn reopen(&mut self) {
        self.with(|cx, _, core| core.close(cx)).expect("closes");
        let open = Open { encryption: self.key.clone(), ..Open::default() };
        self.core = self.with(|cx, _, _| Hypercore::open(cx, "core", open)).expect("opens");
        self.bee = Bee::new();
    }

    fn range(&mut self, version: u64, range: Range) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.with(|cx, bee, log| {
            let mut cursor = bee.range(version, range);
            let mut found = Vec::new();
            while let Some(entry) = cursor.next(cx, bee, log).expect("next") {
                found.push((entry.key, entry.value.expect("a value")));
            }
            found
        })
    }

    /// All of a version: each part of it in both directions, each key alone, and what is new since the one before.
    fn check(&mut self, at: usize, parts: &[Sub]) {
        let (version, map) = self.versions[at].clone();
        for part in parts {
            let inside = map.iter().filter(|(key, _)| part.strip(key).is_some());
            let mut wanted: Vec<_> = inside.map(|(key, value)| (key.clone(), value.clone())).collect();
            for reverse in [false, true] {
                let found = self.range(version, part.range(Range { reverse, ..Range::all() }));
                assert_eq!(found, wanted, "version {version}, part {:?}", part.prefix());
                wanted.reverse();
            }
        }
        for part in parts {
            for n in 0..31 {
                let key = part.key(format!("{n:x}").as_bytes());
                let entry = self.with(|cx, bee, log| bee.get_at(cx, log, version, &key)).expect("get");
                assert_eq!(entry.and_then(|entry| entry.value).as_ref(), map.get(&key), "version {version}");
            }
        }
        let (before, older) = self.versions[at.saturating_sub(1)].clone();
        let found: Vec<Vec<u8>> = self.with(|cx, bee, log| {
            let mut diff = bee.diff(version, before, Range::all());
            let mut keys = Vec::new();
            while let Some(difference) = diff.next(cx, bee, log).expect("next") {
                keys.push(difference.key().to_vec());
            }
            keys
        });
        let keys: BTreeSet<&Vec<u8>> = map.keys().chain(older.keys()).collect();
        let changed = keys.into_iter().filter(|key| map.get(*key) != older.get(*key));
        assert_eq!(found, changed.cloned().collect::<Vec<_>>(), "versions {before} to {version}");
    }
}

// proves hyperbee.20, hyperbee.30, hyperbee.37
#[test]
fn every_version_of_a_core_in_parts_that_is_cut_equals_a_map() {
    let a = Sub::whole().sub(b"a");
    let parts = [Sub::whole(), a.clone(), a.sub(b"b"), Sub::separated(b"!").sub(b"a")];
    for (seed, key) in [(1, None), (2, Some([7; 32]))] {
        let key = key.map(Encryption::new);
        let mut desk = Desk::new(seed, key.clone());
        let (mut cuts, mut openings) = (0, 0);
        for _ in 0..160 {
            desk.write(&parts);
            if desk.entropy.chance(40) {
                let before = desk.core.fork();
                desk.cut();
                cuts += desk.core.fork() - before;
            }
            if desk.entropy.chance(40) {
                desk.reopen();
                openings += 1;
            }
            desk.check(desk.versions.len() - 1, &parts);
        }
        let count = desk.versions.len();
        assert!(cuts > 3 && openings > 2 && count > 40, "{count} versions, {cuts} {openings}");
        for cold in [false, true] {
            if cold {
                desk.reopen();
            }
            (0..desk.versions.len()).for_each(|at| desk.check(at, &parts));
        }
        // What lies on the disk says nothing of it, but to who has the key.
        let plain = desk.disk.content("core/data").expect("a file").windows(7).any(|part| part == b"of fork");
        assert_eq!(plain, key.is_none());
        assert!(desk.disk.exists("core/oplog"));
    }
}
