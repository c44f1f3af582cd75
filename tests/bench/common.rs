//! What all benches share: clocks, options, numbers that every implementation draws alike, and the report.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use seckel::base::{Cx, Entropy, NoTrace, Time};
use seckel::edge::files::Files;
use seckel::edge::os::OsEntropy;

/// Milliseconds of the monotonic clock that all processes of one Linux machine share. Only `Debug` shows an `Instant`'s
/// number without unsafe code; elsewhere it counts from the first call.
pub fn now_ms() -> f64 {
    let text = format!("{:?}", Instant::now());
    let number = |name: &str| -> Option<f64> {
        let rest = &text[text.find(name)? + name.len()..];
        rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
    };
    match (number("tv_sec: "), number("tv_nsec: ")) {
        (Some(sec), Some(nsec)) => sec * 1000.0 + nsec / 1e6,
        _ => 0.0,
    }
}

/// When this process was started, by that clock; its own start if nobody said.
pub fn spawned_ms() -> f64 {
    std::env::var("BENCH_SPAWNED").ok().and_then(|at| at.parse().ok()).unwrap_or_else(now_ms)
}

/// CPU seconds of this process, all threads, user and system.
pub fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// CPU seconds, user and system apart, in hundredths.
pub fn cpu_split() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) / 100.0, ticks(12) / 100.0)
}

/// Memory and threads of this process, as the kernel counts them.
pub fn vm() -> Value {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut found = Map::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        if ["VmRSS", "VmHWM", "RssAnon", "RssFile", "VmSize", "Threads"].contains(&name) {
            let number = rest.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
            found.insert(name.to_owned(), json!(number));
        }
    }
    Value::Object(found)
}

/// Wall and CPU seconds of what `work` does.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Timed, T) {
    let (start, before) = (Instant::now(), cpu());
    let made = work();
    (Timed { s: start.elapsed().as_secs_f64(), cpu: cpu() - before }, made)
}

#[derive(Clone, Copy)]
pub struct Timed {
    pub s: f64,
    pub cpu: f64,
}

/// Latencies in milliseconds.
#[derive(Default)]
pub struct Latencies(pub Vec<f64>);

impl Latencies {
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let made = work();
        self.0.push(start.elapsed().as_secs_f64() * 1000.0);
        made
    }

    pub fn since(&mut self, start: Instant) {
        self.0.push(start.elapsed().as_secs_f64() * 1000.0);
    }

    /// The percentile `p`, in milliseconds.
    pub fn ms(&self, p: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (p / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    pub fn us(&self, p: f64) -> f64 {
        self.ms(p) * 1000.0
    }
}

/// The generator (xorshift, 32 bits) from which every implementation draws the same numbers.
pub struct Rng(u32);

impl Rng {
    pub fn new(seed: u32) -> Rng {
        Rng(seed)
    }

    pub fn draw(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.draw()) % bound
    }
}

pub fn fill(len: usize, seed: u32) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| rng.draw() as u8).collect()
}

/// A copy of `base` that begins with its number.
pub fn numbered(base: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = base.to_vec();
    bytes[..4].copy_from_slice(&(number as u32).to_le_bytes());
    bytes
}

/// A folder for this process that is gone afterwards.
pub struct Tmp(PathBuf);

impl Tmp {
    pub fn new(name: &str) -> Tmp {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let parent = std::env::var_os("BENCH_TMP").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = parent.join(format!("seckel-bench-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for files");
        Tmp(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        fn used(folder: &Path) -> u64 {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_dir() => used(&entry.path()),
                    Ok(meta) => meta.len(),
                    Err(_) => 0,
                })
                .sum()
        }
        used(&self.0)
    }
}

impl Drop for Tmp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A disk, randomness and a clock, for benches of machines without a node.
pub struct Bench {
    start: Instant,
    entropy: OsEntropy,
    pub disk: Files,
    trace: NoTrace,
}

impl Bench {
    pub fn open(folder: &Path) -> Bench {
        let disk = Files::open(folder).expect("a folder for files");
        Bench { start: Instant::now(), entropy: OsEntropy::default(), disk, trace: NoTrace }
    }

    pub fn cx(&mut self) -> Cx<'_> {
        let now = Time::from_micros(self.start.elapsed().as_micros() as u64);
        Cx { now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut self.trace }
    }
}

pub fn random_key() -> [u8; 32] {
    OsEntropy::default().bytes32()
}

/// Options: `--name value`, or a JSON object.
#[derive(Clone, Default)]
pub struct Args(Map<String, Value>);

impl Args {
    pub fn parse(words: impl Iterator<Item = String>) -> Args {
        let mut words = words.peekable();
        let mut found = Map::new();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else { continue };
            let value = match words.next_if(|next| !next.starts_with("--")) {
                None => Value::Bool(true),
                Some(text) => text.parse::<u64>().map_or(Value::String(text), Value::from),
            };
            found.insert(name.to_owned(), value);
        }
        Args(found)
    }

    pub fn from_json(text: &str) -> Args {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Args(map),
            _ => Args::default(),
        }
    }

    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.0.get(name).and_then(Value::as_f64).map_or(otherwise, |n| n as u64)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    pub fn value(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }
}

/// Ends the process if a bench hangs.
pub fn give_up_after(args: &Args) {
    let limit = std::env::var("BENCH_LIMIT_S").ok().and_then(|s| s.parse().ok());
    let limit = limit.unwrap_or_else(|| args.number("limit", 300));
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(limit));
        eprintln!("bench ran past its limit");
        std::process::exit(2);
    });
}

/// Figures and what else is worth knowing.
#[derive(Default)]
pub struct Report {
    figures: Map<String, Value>,
    info: Map<String, Value>,
}

impl Report {
    pub fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), json!(round(value)));
    }

    pub fn info(&mut self, name: &str, value: impl Into<Value>) {
        self.info.insert(name.to_owned(), value.into());
    }

    pub fn print(mut self, bench: &str) {
        let (user, sys) = cpu_split();
        self.info("main_cpu_user_s", user);
        self.info("main_cpu_sys_s", sys);
        self.info("main_hwm_kb", vm()["VmHWM"].clone());
        let line = json!({ "bench": bench, "impl": "seckel", "figures": self.figures, "info": self.info });
        println!("{line}");
    }
}

/// Five significant digits.
pub fn round(value: f64) -> f64 {
    if !value.is_finite() || value == value.trunc() {
        return value;
    }
    format!("{value:.4e}").parse().unwrap_or(value)
}
