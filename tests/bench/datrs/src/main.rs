//! The benches `hypercore` and `hyperbee` of `seckel-bench` for the crates of those names (datrs): the same work, names
//! and lines of JSON, so that both take turns on one machine. A package of its own, so that nobody else builds what it
//! needs; `hyperbee` wants `protoc` for that.
//!
//! `cargo run --release --features hypercore -- hypercore [--one N] [--batch N] [--gets N] [--big N] [--biggets N]`,
//! `cargo run --release --features hyperbee -- hyperbee [--one N] [--n N] [--gets N] [--dels N]`. What those crates
//! cannot do is left out: hyperbee has no batches.

#[cfg(feature = "hyperbee")]
mod bee;
#[cfg(feature = "hypercore")]
mod core;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value, json};

type Figures = Map<String, Value>;

/// The generator (xorshift, 32 bits) from which every implementation draws the same numbers.
struct Rng(u32);

impl Rng {
    fn draw(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.draw()) % bound
    }
}

fn fill(len: usize, seed: u32) -> Vec<u8> {
    let mut rng = Rng(seed);
    (0..len).map(|_| rng.draw() as u8).collect()
}

/// A copy of `base` that begins with its number.
fn numbered(base: &[u8], number: u64) -> Vec<u8> {
    let mut block = base.to_vec();
    block[..4].copy_from_slice(&(number as u32).to_le_bytes());
    block
}

struct Args(Vec<String>);

impl Args {
    fn number(&self, name: &str, otherwise: u64) -> u64 {
        let at = self.0.iter().position(|arg| arg.strip_prefix("--") == Some(name));
        at.and_then(|at| self.0.get(at + 1)?.parse().ok()).unwrap_or(otherwise)
    }
}

/// A folder of its own, gone when dropped.
struct Tmp(PathBuf);

impl Tmp {
    fn new(name: &str) -> Tmp {
        let root = std::env::var_os("BENCH_TMP").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = root.join(format!("datrs-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Tmp(path)
    }
}

impl Drop for Tmp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn rate(figures: &mut Figures, name: &str, count: u64, start: Instant) {
    figures.insert(name.to_owned(), json!(count as f64 / start.elapsed().as_secs_f64()));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let bench = if args.is_empty() { String::new() } else { args.remove(0) };
    let figures = match &bench[..] {
        #[cfg(feature = "hypercore")]
        "hypercore" => core::run(&Args(args)).await,
        #[cfg(feature = "hyperbee")]
        "hyperbee" => bee::run(&Args(args)).await,
        _ => {
            eprintln!("datrs-bench hypercore|hyperbee, with the feature of that name");
            std::process::exit(2);
        }
    };
    println!("{}", json!({ "bench": bench, "impl": "datrs", "figures": figures, "info": {} }));
}
