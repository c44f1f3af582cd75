//! Appends and random reads of a core on disk. What is appended reaches the kernel, as with the Node.js packages;
//! figures with `_sync_` in their name are of appends that outlive a crash of the machine.

use std::time::Instant;

use seckel::base::{Disk, hex};
use seckel::hypercore::{Durability, Hypercore, Open};

use super::common::{Args, Bench, Latencies, Report, Rng, Tmp, fill, numbered, timed};

pub fn open(bench: &mut Bench, durability: Durability) -> Hypercore {
    let open = Open { durability, ..Open::default() };
    Hypercore::open(&mut bench.cx(), "core", open).expect("the core opens")
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    one_by_one(args, &mut report, Durability::Kernel);
    one_by_one(args, &mut report, Durability::Flush);
    batches(args, &mut report);
    large(args, &mut report);
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

fn large(args: &Args, report: &mut Report) {
    let count = args.number("big", 2048);
    let gets = args.number("biggets", 4000);
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
    report.figure("append_16_64k_mb_s", bytes / 1e6 / took.s);
    report.figure("append_16_64k_cpu_s_per_gb", took.cpu / bytes * 1e9);
    drop(batches);
    core.close(&mut bench.cx()).expect("closes");
    report.figure("disk_ratio_64k", tmp.used() as f64 / bytes);

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
