//! Appends and random reads of a core on disk. What is appended reaches the kernel, as with the Node.js packages;
//! figures with `_sync_` in their name are of appends that outlive a crash of the machine. Figures named `limit_` are
//! of the machine: what a row is made of at least, measured beside it.

use std::time::Instant;

use seckel::base::{Disk, Mode, hex};
use seckel::crypto::hash;
use seckel::crypto::sign::KeyPair;
use seckel::hypercore::{Durability, Hypercore, Open};

use super::common::{Args, Bench, Latencies, Report, Rng, Tmp, fill, numbered, timed};

pub fn open(bench: &mut Bench, durability: Durability) -> Hypercore {
    let open = Open { durability, ..Open::default() };
    Hypercore::open(&mut bench.cx(), "core", open).expect("the core opens")
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    // First, and kept until the end: what it takes of the kernel's cache is not what something else just let go of.
    let kept = large_appends(args, &mut report, "append_16_64k_new");
    one_by_one(args, &mut report, Durability::Kernel);
    one_by_one(args, &mut report, Durability::Flush);
    waiting(args, &mut report);
    batches(args, &mut report);
    large(args, &mut report);
    drop(kept);
    report
}

fn one_by_one(args: &Args, report: &mut Report, durability: Durability) {
    let (prefix, count) = match durability {
        Durability::Kernel => ("append_1_100b", args.number("one", 20_000)),
        Durability::Flush => ("append_1_100b_sync", args.number("sync", 1000)),
    };
    let small = fill(100, 7);
    let tmp = Tmp::new("core");
    let mut bench = Bench::open(tmp.path());
    let mut core = open(&mut bench, durability);
    let mut latencies = Latencies::default();
    let (took, ()) = timed(|| {
        for i in 0..count {
            let start = Instant::now();
            core.append(&mut bench.cx(), &[numbered(&small, i)]).expect("appends");
            bench.disk.sync_pending().expect("syncs");
            latencies.since(start);
        }
    });
    report.figure(&format!("{prefix}_ops_s"), count as f64 / took.s);
    report.figure(&format!("{prefix}_p50_us"), latencies.us(50.0));
    report.figure(&format!("{prefix}_p99_us"), latencies.us(99.0));
    report.figure(&format!("{prefix}_cpu_us_op"), took.cpu / count as f64 * 1e6);
    core.close(&mut bench.cx()).expect("closes");
}

/// Of 64 writers each waits until its block outlives a crash: signed and flushed once for all of them, and signed for
/// each but flushed once. Beside them what one flush takes, and one signature.
fn waiting(args: &Args, report: &mut Report) {
    const WRITERS: u64 = 64;
    let (small, turns) = (fill(100, 7), args.number("turns", 200));
    let tmp = Tmp::new("core");
    flushes(report, &tmp, args.number("flushes", 500));
    let key_pair = KeyPair::from_seed([7; 32]);
    let signs = args.number("signs", 5000);
    let (took, ()) = timed(|| {
        for n in 0..signs {
            std::hint::black_box(key_pair.sign(&[n as u8; 112]));
        }
    });
    report.figure("limit_signs_s", signs as f64 / took.s);
    for (name, size) in [("append_64_100b_sync_blocks_s", WRITERS), ("append_par64_100b_sync_ops_s", 1)] {
        let tmp = Tmp::new("core");
        let mut bench = Bench::open(tmp.path());
        let mut core = open(&mut bench, Durability::Flush);
        let (took, ()) = timed(|| {
            for turn in 0..turns {
                let blocks: Vec<Vec<u8>> =
                    (0..WRITERS).map(|n| numbered(&small, turn * WRITERS + n)).collect();
                for part in blocks.chunks(size as usize) {
                    core.append(&mut bench.cx(), part).expect("appends");
                }
                bench.disk.sync_pending().expect("syncs");
            }
        });
        report.figure(name, (turns * WRITERS) as f64 / took.s);
        core.close(&mut bench.cx()).expect("closes");
    }
}

/// How often a file can be made longer by 4 KiB and flushed, one by one.
fn flushes(report: &mut Report, tmp: &Tmp, count: u64) {
    let mut disk = Bench::open(tmp.path()).disk;
    let file = disk.open("plain", Mode::Write).expect("opens");
    let (took, ()) = timed(|| {
        for n in 0..count {
            disk.write_at(file, n * 4096, &[7; 4096]).expect("writes");
            disk.sync(file).expect("syncs");
        }
    });
    report.figure("limit_flushes_sync_s", count as f64 / took.s);
    disk.close(file);
}

/// How fast the kernel takes `bytes` in pieces of 1 MiB: into whatever memory it finds, which is slow if that is new to
/// this machine, and into what was let go of just before, as in the row that follows.
fn writes(report: &mut Report, bytes: u64) {
    let tmp = Tmp::new("plain");
    let mut disk = Bench::open(tmp.path()).disk;
    let piece = fill(1 << 20, 3);
    for name in ["limit_write_new_mb_s", "limit_write_again_mb_s"] {
        let file = disk.open("plain", Mode::Write).expect("opens");
        let (took, ()) = timed(|| {
            for at in (0..bytes).step_by(piece.len()) {
                disk.write_at(file, at, &piece).expect("writes");
            }
        });
        report.figure(name, bytes as f64 / 1e6 / took.s);
        disk.close(file);
        disk.remove("plain").expect("removes");
    }
    let (took, ()) = timed(|| {
        for _ in 0..256 {
            std::hint::black_box(hash::blake2b_256(&[&piece[..65_536]]));
        }
    });
    report.figure("limit_hash_64k_mb_s", 256.0 * 65_536.0 / 1e6 / took.s);
}

fn batches(args: &Args, report: &mut Report) {
    let count = args.number("batch", 200_000);
    let gets = args.number("gets", 20_000);
    let small = fill(100, 7);
    let tmp = Tmp::new("core");
    let mut bench = Bench::open(tmp.path());
    let mut core = open(&mut bench, Durability::Kernel);
    let batches: Vec<Vec<Vec<u8>>> = (0..count / 1000)
        .map(|batch| (0..1000).map(|i| numbered(&small, batch * 1000 + i)).collect())
        .collect();
    let (took, ()) = timed(|| {
        for batch in &batches {
            core.append(&mut bench.cx(), batch).expect("appends");
        }
    });
    report.figure("append_1000_100b_blocks_s", count as f64 / took.s);
    report.figure("append_1000_100b_mb_s", count as f64 * 100.0 / 1e6 / took.s);
    report.figure("append_1000_100b_cpu_us_block", took.cpu / count as f64 * 1e6);
    report.info("tree_hash_batch", hex::encode(&core.tree_hash()));
    core.close(&mut bench.cx()).expect("closes");
    report.figure("disk_bytes_per_100b_block", tmp.used() as f64 / count as f64);

    let mut bench = Bench::open(tmp.path());
    let (took, mut core) = timed(|| open(&mut bench, Durability::Kernel));
    report.figure("reopen_ms", took.s * 1000.0);
    let mut rng = Rng::new(42);
    let (took, ()) = timed(|| {
        for _ in 0..gets {
            let index = rng.below(core.length());
            let block = core.get(&mut bench.cx(), index).expect("reads").expect("is here");
            assert_eq!(block[..4], (index as u32).to_le_bytes());
        }
    });
    reads(report, &tmp, core.length(), gets);
    report.figure("get_100b_ops_s", gets as f64 / took.s);
    report.figure("get_100b_cpu_us_op", took.cpu / gets as f64 * 1e6);
    // Sixty-four at a time are the same as one at a time where a read does not wait.
    let (took, ()) = timed(|| {
        for _ in 0..gets.div_ceil(64) * 64 {
            let index = rng.below(core.length());
            core.get(&mut bench.cx(), index).expect("reads").expect("is here");
        }
    });
    report.figure("get_100b_par64_ops_s", gets as f64 / took.s);
    core.close(&mut bench.cx()).expect("closes");
}

/// How often the kernel gives what one random read takes at least: a block.
fn reads(report: &mut Report, tmp: &Tmp, length: u64, count: u64) {
    let mut disk = Bench::open(tmp.path()).disk;
    let data = disk.open("core/data", Mode::Read).expect("opens");
    let mut rng = Rng::new(44);
    let mut block = [0; 100];
    let (took, ()) = timed(|| {
        for _ in 0..count {
            disk.read_at(data, rng.below(length) * 100, &mut block).expect("reads");
        }
    });
    report.figure("limit_get_100b_ops_s", count as f64 / took.s);
    disk.close(data);
}

/// Appends of large blocks, into whatever memory the kernel finds for its cache of files.
fn large_appends(args: &Args, report: &mut Report, name: &str) -> Tmp {
    let count = args.number("big", 2048);
    let bytes = count as f64 * 65_536.0;
    let data = fill(65_536, 9);
    let tmp = Tmp::new("core");
    let mut bench = Bench::open(tmp.path());
    let mut core = open(&mut bench, Durability::Kernel);
    let batches: Vec<Vec<Vec<u8>>> =
        (0..count / 16).map(|batch| (0..16).map(|i| numbered(&data, batch * 16 + i)).collect()).collect();
    let (took, ()) = timed(|| {
        for batch in &batches {
            core.append(&mut bench.cx(), batch).expect("appends");
        }
    });
    report.figure(&format!("{name}_mb_s"), bytes / 1e6 / took.s);
    report.figure(&format!("{name}_cpu_s_per_gb"), took.cpu / bytes * 1e9);
    core.close(&mut bench.cx()).expect("closes");
    tmp
}

fn large(args: &Args, report: &mut Report) {
    let count = args.number("big", 2048);
    let gets = args.number("biggets", 4000);
    // The file that it removes last leaves its memory to the appends.
    writes(report, count * 65_536);
    let tmp = large_appends(args, report, "append_16_64k");
    report.figure("disk_ratio_64k", tmp.used() as f64 / (count * 65_536) as f64);

    let mut bench = Bench::open(tmp.path());
    let mut core = open(&mut bench, Durability::Kernel);
    let mut rng = Rng::new(43);
    let (took, ()) = timed(|| {
        for _ in 0..gets {
            let index = rng.below(core.length());
            core.get(&mut bench.cx(), index).expect("reads").expect("is here");
        }
    });
    report.figure("get_64k_ops_s", gets as f64 / took.s);
    report.figure("get_64k_mb_s", gets as f64 * 65_536.0 / 1e6 / took.s);
    core.close(&mut bench.cx()).expect("closes");
}
