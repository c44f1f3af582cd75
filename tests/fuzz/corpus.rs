//! `fuzz/corpus/TARGET/`: what the fuzzer begins with, and what it found.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crate::targets::{TARGETS, Target};

pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name)
}

fn inputs(target: &Target) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(target)).expect("the target's folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// All inputs of a target, each twice: both lives say the same (L7).
fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let inputs = inputs(target);
    assert!(!inputs.is_empty());
    for path in inputs {
        let input = fs::read(&path).expect("an input");
        let lived = catch_unwind(|| ((target.run)(&input, true), (target.run)(&input, true)));
        match lived {
            Ok((first, second)) => assert!(first == second, "L7: {} says two things", path.display()),
            Err(panic) => {
                eprintln!("{name} fails on {}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_fuzzed() {
            let replayed = BTreeSet::from([$(stringify!($name)),*]);
            let targets: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(replayed, targets);
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
            let manifest = fs::read_to_string(manifest).expect("the fuzzer's manifest");
            for name in targets {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not fuzzed");
            }
        }
    };
}

replays! {
    auction blind_relay decode dht_rpc explain hyperbee hyperdht hyperswarm node peer protomux protomux_rpc
    recovery replication secret_stream text udx udx_pair
}
