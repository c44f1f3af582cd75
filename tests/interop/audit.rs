//! `seckel audit` on stores that hypercore 10, hyperbee and corestore 6 wrote.

use std::path::{Path, PathBuf};

use seckel::base::{Cx, Entropy, NoTrace, Seeded, Time};
use seckel::corestore::audit::{Kind, StoreAudit, kind};
use seckel::hyperbee;
use seckel::hypercore::audit::{Audit, File, Verdict, audit};
use seckel::hypercore::{Hypercore, Open};
use seckel::sim::ramdisk::RamDisk;
use serde_json::json;

use crate::support::{Node, skipped};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let root =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("audit-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).expect("a folder");
        Folder(root)
    }

    /// All files below the folder, in memory.
    fn load(&self) -> RamDisk {
        let (mut disk, mut folders) = (RamDisk::new(), vec![self.0.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.0).expect("below").to_str().expect("text").to_owned();
                    disk.put(&name, &std::fs::read(&path).expect("a file"));
                }
            }
        }
        disk
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn with<T>(disk: &RamDisk, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
    let (mut disk, entropy) = (disk.clone(), &mut Seeded::new(1));
    let before: Vec<_> = disk.paths();
    let changes = disk.changes();
    let done = act(&mut Cx { now: Time::default(), entropy, disk: &mut disk, trace: &mut NoTrace });
    assert_eq!((disk.changes(), disk.paths()), (changes, before), "an audit changes nothing");
    done
}

fn audited(disk: &RamDisk, dir: &str) -> Audit {
    with(disk, |cx| audit(cx, dir, &mut |_, _| {})).expect("the files can be read")
}

/// Turns drawn bits that somebody vouches for, one at a time.
fn flips_are_found(disk: &RamDisk, sound: &Audit, what: &str, count: usize) -> usize {
    let files = [File::Oplog, File::Header, File::Tree, File::Bitfield, File::Data];
    let lens: Vec<(File, u64)> = files
        .iter()
        .filter_map(|file| Some((*file, disk.content(&format!("core/{file}"))?.len() as u64)))
        .filter(|(_, len)| *len > 0)
        .collect();
    let (mut entropy, mut done) = (Seeded::new(count as u64), 0);
    while done < count {
        let (file, len) = lens[entropy.below(lens.len() as u64) as usize];
        let (at, bit) = (entropy.below(len), entropy.below(8));
        if sound.unverifiable.iter().any(|range| range.file == file && (range.start..range.end).contains(&at))
        {
            continue;
        }
        let mut rotten = disk.clone();
        rotten.rot(&format!("core/{file}"), 8 * at + bit);
        let found = audited(&rotten, "core");
        assert_eq!(found.verdict(), Verdict::Damaged, "{what}: {file} byte {at} bit {bit}");
        let first = found.findings.first().expect("damage");
        assert!(first.file == file && first.at <= at, "{what}: {file} byte {at} bit {bit}: {first:?}");
        done += 1;
    }
    done
}

/// How many blocks seckel finds, and reads.
fn here(disk: &RamDisk) -> u64 {
    with(disk, |cx| {
        let open = Open { read_only: true, create: false, ..Open::default() };
        let mut core = Hypercore::open(cx, "core", open).expect("opens");
        assert_eq!(core.contiguous_length(), core.bits().first_unset(0));
        let blocks = 0..core.length();
        blocks.filter(|block| core.get(cx, *block).expect("can be read if it is here").is_some()).count()
            as u64
    })
}

// proves hypercore.51, hypercore.72, hypercore.73, hypercore.74, hyperbee.39
#[test]
fn what_node_wrote_is_sound_and_each_turned_bit_is_found() {
    if skipped("audit: Node's stores") {
        return;
    }
    let mut node = Node::start("audit.js", &[]);
    let kinds = node.ask(&json!({"do": "kinds"}));
    let kinds = kinds["kinds"].as_array().expect("a list").clone();
    let mut flips = 0;
    for kind in &kinds {
        let kind = kind.as_str().expect("text");
        let folder = Folder::new(kind);
        let made = node.ask(&json!({"do": "make", "kind": kind, "folder": folder.0.join("core")}));
        assert_eq!(made, json!({}), "{kind}");
        let disk = folder.load();
        let sound = audited(&disk, "core");
        assert_eq!(sound.verdict(), Verdict::Sound, "{kind}: {sound:#?}");
        match kind {
            "sparse" | "reorganised" => assert!((1..sound.length).contains(&sound.blocks), "{kind}"),
            "cleared" | "reopened" | "reopened, unflushed" => assert!(sound.blocks < sound.length, "{kind}"),
            "pending" => assert_eq!((sound.length, sound.blocks, sound.pending), (9, 12, 3)),
            _ => assert_eq!(sound.blocks, sound.length, "{kind}"),
        }
        flips += flips_are_found(&disk, &sound, kind, if kind == "one" { 300 } else { 60 });
        let tree = with(&disk, |cx| {
            let open = Open { read_only: true, create: false, ..Open::default() };
            let mut core = Hypercore::open(cx, "core", open).expect("opens");
            hyperbee::audit::audit(cx, &mut core, &mut |_, _| {}).expect("reads")
        });
        assert_eq!(here(&disk), sound.blocks - sound.pending, "{kind}: what seckel opens");
        assert_eq!(tree.is_some(), kind == "bee");
        if let Some(tree) = tree {
            assert_eq!((tree.faults, tree.complete), (vec![], true));
        }
    }
    node.finish();
    assert!(flips >= 1000, "{flips}");
}

// proves corestore.14
#[test]
fn a_store_of_corestore_6_is_sound() {
    if skipped("audit: corestore 6") {
        return;
    }
    let folder = Folder::new("corestore");
    let mut node = Node::start("audit.js", &[]);
    let made = node.ask(&json!({"do": "store", "folder": folder.0}));
    node.finish();
    let disk = folder.load();
    let judge = |disk: &RamDisk| {
        with(disk, |cx| {
            assert_eq!(kind(cx, ""), Ok(Kind::Store));
            let mut store = StoreAudit::open(cx, "").expect("opens");
            let mut verdicts = Vec::new();
            for folder in store.cores.clone() {
                let found = audit(cx, &folder, &mut |_, _| {}).expect("reads");
                assert_eq!(store.judge(&folder, &found), None);
                verdicts.push(found.verdict());
            }
            (verdicts, store.finish().map(|fault| fault.rule), store.blind())
        })
    };
    assert_eq!(json!(judge(&disk).0.len()), made["cores"]);
    assert_eq!(judge(&disk), (vec![Verdict::Sound; 3], None, false));
    let mut rotten = disk.clone();
    rotten.rot("primary-key", 77);
    assert_eq!(judge(&rotten), (vec![Verdict::Sound; 3], Some("corestore.4"), true));
}

/// Node has the core open: what it wrote so far is sound, or the audit says that it could not tell.
// proves hypercore.71
#[test]
fn a_core_that_node_has_open_is_judged_too() {
    if skipped("audit: open core") {
        return;
    }
    let folder = Folder::new("busy");
    let mut node = Node::start("audit.js", &[]);
    let answer = node.ask(&json!({"do": "busy", "folder": folder.0.join("core")}));
    assert_eq!(answer["length"], 40);
    let found = audited(&folder.load(), "core");
    assert_eq!((found.verdict(), found.length, found.blocks), (Verdict::Sound, 40, 40));
}
