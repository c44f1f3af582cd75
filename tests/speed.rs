//! Floors for speed, on a real disk: `cargo test --release --test speed -- --ignored --nocapture --test-threads=1`.

use std::time::Instant;

use seckel::base::{Cx, NoTrace, Seeded, Time};
use seckel::crypto::KeyPair;
use seckel::edge::files::Files;
use seckel::hypercore::{Durability, Hypercore, Open};

fn hypercore(name: &str, durability: Durability) {
    let folder = std::env::temp_dir().join(format!("seckel-speed-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let mut disk = Files::open(&folder).expect("a folder");
    let mut entropy = Seeded::new(1);
    let mut cx = Cx { now: Time::default(), entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
    let cx = &mut cx;
    let open = Open { key_pair: Some(KeyPair::from_seed([1; 32])), durability, ..Open::default() };
    let mut core = Hypercore::open(cx, "core", open.clone()).expect("opens");

    let batch: Vec<[u8; 100]> = (0..1000).map(|n| [n as u8; 100]).collect();
    let start = Instant::now();
    for _ in 0..200 {
        core.append(cx, &batch).expect("appends");
        if durability == Durability::Flush {
            cx.disk.sync_pending().expect("syncs");
        }
    }
    let batches = 200_000.0 / start.elapsed().as_secs_f64();

    let singles = if durability == Durability::Flush { 2_000 } else { 50_000 };
    let start = Instant::now();
    for n in 0..singles {
        core.append(cx, &[[n as u8; 100]]).expect("appends");
        if durability == Durability::Flush {
            cx.disk.sync_pending().expect("syncs");
        }
    }
    let single = f64::from(singles) / start.elapsed().as_secs_f64();

    let start = Instant::now();
    for n in 0..100_000 {
        core.get(cx, n).expect("reads").expect("is here");
    }
    let reads = 100_000.0 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for n in 0..100_000_u64 {
        core.get(cx, n.wrapping_mul(7919) % 200_000).expect("reads").expect("is here");
    }
    let random = 100_000.0 / start.elapsed().as_secs_f64();

    core.append(cx, &batch).expect("appends");
    let start = Instant::now();
    let again = Hypercore::open(cx, "core", Open { read_only: true, ..open }).expect("opens");
    let reopen = start.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(again.length(), core.length());
    println!(
        "{name}: batches {batches:.0}/s, single {single:.0}/s, reads {reads:.0}/s, random reads {random:.0}/s, \
         reopen of {} blocks {reopen:.1} ms",
        core.length()
    );
    drop(disk);
    let _ = std::fs::remove_dir_all(&folder);
    if !cfg!(debug_assertions) {
        assert!(durability == Durability::Flush || batches > 300_000.0, "{batches}");
        assert!(durability == Durability::Flush || single > 30_000.0, "{single}");
        assert!(reopen < 100.0, "{reopen}");
    }
}

/// pitfalls 14.13: a batch is one write.
#[test]
#[ignore = "measures; wants a quiet machine and a release build"]
fn hypercore_kernel() {
    hypercore("kernel", Durability::Kernel);
}

#[test]
#[ignore = "measures; wants a quiet machine and a release build"]
fn hypercore_flush() {
    hypercore("flush", Durability::Flush);
}
