//! Puts, batches, reads, a walk and deletions in a B-tree on disk. The hashes in `info` depend on the entries only.

use std::time::Instant;

use seckel::base::{Disk, hex};
use seckel::hyperbee::{Bee, Range};
use seckel::hypercore::{Durability, Hypercore};

use super::common::{Args, Bench, Latencies, Report, Rng, Tmp, fill, numbered, timed};
use super::hypercore::open;

fn key(i: u64) -> Vec<u8> {
    format!("user-{i:06}").into_bytes()
}

/// A tree on disk.
struct Tree {
    bench: Bench,
    core: Hypercore,
    bee: Bee,
    value: Vec<u8>,
}

impl Tree {
    fn open(tmp: &Tmp, durability: Durability) -> Tree {
        let mut bench = Bench::open(tmp.path());
        let core = open(&mut bench, durability);
        Tree { bench, core, bee: Bee::new(), value: fill(32, 5) }
    }

    fn put(&mut self, i: u64) {
        let value = numbered(&self.value, i);
        let mut cx = self.bench.cx();
        self.bee.put(&mut cx, &mut self.core, &key(i), Some(&value)).expect("puts");
    }

    /// Puts `first..end` in one batch.
    fn put_batch(&mut self, first: u64, end: u64) {
        let cx = &mut self.bench.cx();
        let mut batch = self.bee.batch(cx, &mut self.core).expect("begins");
        for i in first..end {
            let value = numbered(&self.value, i);
            batch.put(cx, &mut self.bee, &mut self.core, &key(i), Some(&value)).expect("puts");
        }
        batch.flush(cx, &mut self.bee, &mut self.core).expect("appends");
    }

    fn get(&mut self, i: u64) -> Option<Vec<u8>> {
        let mut cx = self.bench.cx();
        self.bee.get(&mut cx, &mut self.core, &key(i)).expect("reads")?.value
    }

    fn del(&mut self, i: u64) {
        let mut cx = self.bench.cx();
        assert!(self.bee.del(&mut cx, &mut self.core, &key(i)).expect("deletes"));
    }

    fn hash(&self) -> String {
        hex::encode(&self.core.tree_hash())
    }

    fn close(mut self) {
        self.core.close(&mut self.bench.cx()).expect("closes");
    }
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    puts(args, &mut report, Durability::Kernel);
    puts(args, &mut report, Durability::Flush);
    one_batch(args, &mut report);
    let tmp = Tmp::new("bee");
    batches(args, &mut report, &tmp);
    gets(args, &mut report, &tmp);
    walk_and_dels(args, &mut report, &tmp);
    report
}

/// One at a time, keys in a scattered order.
fn puts(args: &Args, report: &mut Report, durability: Durability) {
    let sync = durability == Durability::Flush;
    let (prefix, count) =
        if sync { ("put_sync", args.number("sync", 1000)) } else { ("put", args.number("one", 10_000)) };
    let tmp = Tmp::new("bee");
    let mut tree = Tree::open(&tmp, durability);
    let mut latencies = Latencies::default();
    let (took, ()) = timed(|| {
        for i in 0..count {
            let start = Instant::now();
            tree.put((i * 7919) % count);
            tree.bench.disk.sync_pending().expect("syncs");
            latencies.since(start);
        }
    });
    report.figure(&format!("{prefix}_ops_s"), count as f64 / took.s);
    report.figure(&format!("{prefix}_p50_us"), latencies.us(50.0));
    report.figure(&format!("{prefix}_p99_us"), latencies.us(99.0));
    report.figure(&format!("{prefix}_cpu_us_op"), took.cpu / count as f64 * 1e6);
    if !sync {
        report.figure("put_bytes_per_entry", tree.core.byte_length() as f64 / count as f64);
        report.info("put_tree_hash", tree.hash());
    }
    tree.close();
}

fn one_batch(args: &Args, report: &mut Report) {
    let count = args.number("n", 100_000);
    let tmp = Tmp::new("bee");
    let mut tree = Tree::open(&tmp, Durability::Kernel);
    let (took, ()) = timed(|| tree.put_batch(0, count));
    report.figure("batch_all_ops_s", count as f64 / took.s);
    report.figure("batch_all_bytes", tree.core.byte_length() as f64);
    tree.close();
}

fn batches(args: &Args, report: &mut Report, tmp: &Tmp) {
    let (count, size) = (args.number("n", 100_000), args.number("batch", 1000));
    let mut tree = Tree::open(tmp, Durability::Kernel);
    let (took, ()) = timed(|| {
        for first in (0..count).step_by(size as usize) {
            tree.put_batch(first, first + size);
        }
    });
    report.figure("batch_1000_ops_s", count as f64 / took.s);
    report.figure("batch_1000_cpu_us_op", took.cpu / count as f64 * 1e6);
    report.figure("tree_blocks", tree.core.length() as f64);
    report.figure("tree_bytes", tree.core.byte_length() as f64);
    report.info("batch_tree_hash", tree.hash());
    tree.close();
    report.figure("disk_bytes", tmp.used() as f64);
}

fn gets(args: &Args, report: &mut Report, tmp: &Tmp) {
    let (count, gets) = (args.number("n", 100_000), args.number("gets", 10_000));
    let mut tree = Tree::open(tmp, Durability::Kernel);
    let mut rng = Rng::new(11);
    let mut latencies = Latencies::default();
    let (took, ()) = timed(|| {
        for _ in 0..gets {
            let k = rng.below(count);
            let value = latencies.time(|| tree.get(k)).expect("is there");
            assert_eq!(value[..4], (k as u32).to_le_bytes());
        }
    });
    report.figure("get_ops_s", gets as f64 / took.s);
    report.figure("get_p50_us", latencies.us(50.0));
    report.figure("get_p99_us", latencies.us(99.0));
    report.figure("get_cpu_us_op", took.cpu / gets as f64 * 1e6);
    let (took, ()) = timed(|| {
        for _ in 0..gets {
            tree.get(rng.below(count)).expect("is there");
        }
    });
    report.figure("get_warm_ops_s", gets as f64 / took.s);
    tree.close();
}

fn walk_and_dels(args: &Args, report: &mut Report, tmp: &Tmp) {
    let (count, dels) = (args.number("n", 100_000), args.number("dels", 1000));
    let mut tree = Tree::open(tmp, Durability::Kernel);
    let (took, found) = timed(|| {
        let mut cursor = tree.bee.range(tree.core.length(), Range::all());
        let mut found = 0;
        while cursor.next(&mut tree.bench.cx(), &mut tree.bee, &mut tree.core).expect("walks").is_some() {
            found += 1;
        }
        found
    });
    assert_eq!(found, count, "the walk meets every entry");
    report.figure("stream_entries_s", count as f64 / took.s);
    report.figure("stream_cpu_us_entry", took.cpu / count as f64 * 1e6);
    let (took, ()) = timed(|| {
        for i in 0..dels {
            tree.del((i * 7919) % count);
        }
    });
    report.figure("del_ops_s", dels as f64 / took.s);
    report.figure("del_cpu_us_op", took.cpu / dels as f64 * 1e6);
    report.info("del_tree_hash", tree.hash());
    tree.close();
}
