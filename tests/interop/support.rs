//! Node as a child process: one JSON line in, one JSON line out.
//!
//! The npm packages are installed once into `target/interop/node_modules` from `tests/interop/package.json`. Missing
//! Node is a failure; `SECKEL_SKIP_INTEROP=1` skips every test here, loudly.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// True when the tests of this binary are to be skipped. Use: `if skipped("name") { return }`.
pub fn skipped(test: &str) -> bool {
    let skip = std::env::var_os("SECKEL_SKIP_INTEROP").is_some_and(|value| !value.is_empty());
    if skip {
        eprintln!("SKIPPED (SECKEL_SKIP_INTEROP is set): interop test {test}");
    }
    skip
}

/// A port of loopback that is free, and that the system gives nobody who asks for any: it is bound a while later, by
/// another process, and tests that run at the same time bind any port all the time.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let nth = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = FIXED + (nth % u32::from(FIXED_COUNT)) as u16;
        if std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Below those that systems give out.
const FIXED: u16 = 10_000;
const FIXED_COUNT: u16 = 20_000;

/// The folder that holds `node_modules`, made on first use.
pub fn packages() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
        std::fs::create_dir_all(&folder).expect("a folder below target");
        let lock = std::fs::File::create(folder.join("lock")).expect("a lock file");
        lock.lock().expect("the lock");
        let wanted = std::fs::read(source.join("package-lock.json")).expect("package-lock.json");
        let stamp = folder.join("installed");
        if std::fs::read(&stamp).ok().as_deref() != Some(&wanted) {
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(source.join(file), folder.join(file)).expect("copy of the manifest");
            }
            let npm = Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&folder)
                .output()
                .expect("npm cannot be run: install Node 20, or set SECKEL_SKIP_INTEROP=1");
            assert!(npm.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&npm.stderr));
            std::fs::write(&stamp, &wanted).expect("the stamp");
        }
        folder
    })
}

/// A Node process that runs `tests/interop/js/SCRIPT`. Killed when dropped.
pub struct Node {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Node {
    pub fn start(script: &str, args: &[&str]) -> Node {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/js").join(script);
        let mut child = Command::new("node")
            .arg(path)
            .args(args)
            .env("NODE_PATH", packages().join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("node cannot be run: install Node 20, or set SECKEL_SKIP_INTEROP=1");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Node { child, input, output }
    }

    /// The program of the Rust crate in `tests/interop/FOLDER`, built on first use below `target`.
    pub fn crate_of(folder: &str) -> Node {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(folder);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop").join(folder);
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet"])
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", &target)
            .output()
            .expect("cargo runs");
        assert!(built.status.success(), "{folder}: {}", String::from_utf8_lossy(&built.stderr));
        let mut child = Command::new(target.join("debug").join(format!("{folder}-interop")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it was built");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Node { child, input, output }
    }

    /// Writes one JSON line to the process.
    pub fn say(&mut self, value: &Value) {
        let input = self.input.as_mut().expect("not ended");
        writeln!(input, "{value}").expect("node reads");
        input.flush().expect("node reads");
    }

    /// The next JSON line from the process; other lines are shown and passed over.
    pub fn hear(&mut self) -> Value {
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).expect("node writes text");
            assert!(read > 0, "node ended without an answer");
            match serde_json::from_str(&line) {
                Ok(value) => return value,
                Err(_) => eprint!("node: {line}"),
            }
        }
    }

    /// Says and hears.
    pub fn ask(&mut self, value: &Value) -> Value {
        self.say(value);
        self.hear()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends its input and waits for it to exit by itself.
    pub fn finish(mut self) {
        self.input = None;
        let status = self.child.wait().expect("node ends");
        assert!(status.success(), "node ended with {status}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
