//! A lab of network namespaces (`lab/natlab`), its DHT, and the programs on its hosts.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{end, support};

/// Exit status of `natlab check` where labs cannot be.
const CANNOT: i32 = 77;
/// How long starting a program, or joining a network, may take on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Where the network's first node is.
pub const BOOTSTRAP: &str = "30.0.1.10:49737";
const PUBLIC_HOSTS: usize = 5;

fn natlab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nat/lab/natlab")
}

/// True where no lab can be, after saying so even if the output of tests is captured. `if skipped("x") { return }`
pub fn skipped(test: &str) -> bool {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let why = WHY.get_or_init(|| {
        let check = Command::new(natlab()).arg("check").output().expect("bash runs tests/nat/lab/natlab");
        match check.status.code() {
            Some(0) => None,
            Some(CANNOT) => Some(String::from_utf8_lossy(&check.stderr).trim().to_owned()),
            _ => panic!("natlab check: {}", String::from_utf8_lossy(&check.stderr)),
        }
    });
    if let Some(why) = why {
        // Not by a macro: libtest would keep it to itself.
        let _ = writeln!(std::io::stderr(), "NO LAB, NOT TESTED: nat test {test}: {why}");
    }
    why.is_some()
}

/// Whether Node may be left out (`SECKEL_SKIP_INTEROP`), after saying so.
pub fn without_node() -> bool {
    let skip = std::env::var_os("SECKEL_SKIP_INTEROP").is_some_and(|value| !value.is_empty());
    if skip {
        let _ = writeln!(std::io::stderr(), "SKIPPED (SECKEL_SKIP_INTEROP is set): nat tests with Node");
    }
    skip
}

/// Public hosts with a DHT, and two hosts `a` and `b` behind boxes. Gone when dropped, and when this process dies in
/// whatever way: its guard holds the other end of a pipe, and takes the lab down once that is closed.
pub struct Lab {
    id: String,
    guard: Child,
    dht: Vec<Program>,
}

/// Which programs make up a DHT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nodes {
    /// Half of them Node's.
    Both,
    Seckel,
}

impl Lab {
    /// A lab without a DHT. Links have the delays of the notes: 30 ms there and back between a host and a DHT node.
    pub fn new(args: &[&str]) -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id().to_string();
        let id = format!("seckel-{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        // Those that a machine lost with all its processes.
        let _ = Command::new(natlab()).arg("gc").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let guard = Command::new("bash")
            .args(["-c", "trap '' INT TERM HUP; cat >/dev/null; exec \"$0\" down \"$1\""])
            .arg(natlab())
            .arg(&id)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash");
        let lab = Lab { id, guard, dht: Vec::new() };
        let up = Command::new(natlab())
            .args(["up", "--id", &lab.id, "--owner", &pid])
            .args(["--link", "public delay 5ms", "--link", "wan delay 10ms"])
            .args(args)
            .stdout(Stdio::null())
            .status()
            .expect("bash");
        assert!(up.success(), "natlab up {args:?}");
        lab
    }

    /// A lab with 25 DHT nodes on five public hosts.
    pub fn with_dht(args: &[&str], nodes: Nodes) -> Lab {
        let mut lab = Lab::new(args);
        let host = BOOTSTRAP.split(':').next().expect("a host");
        let mut first = lab.seckel("p1", &["dht", "--bootstrap", "--host", host, "--port", port(BOOTSTRAP)]);
        first.line_with("Fully started", START);
        lab.dht.push(first);
        if nodes == Nodes::Both {
            // Those first: they say at once that they can be reached, and stay.
            let mut all: Vec<Program> = (1..=PUBLIC_HOSTS)
                .map(|n| {
                    let count = if n <= 3 { "2" } else { "3" };
                    lab.node(&format!("p{n}"), &["dht", BOOTSTRAP, count])
                })
                .collect();
            for program in &mut all {
                program.line_with("ready", START);
            }
            lab.dht.append(&mut all);
        }
        // A node that says that it is up has been found to be reachable, and stays as well.
        let mut all: Vec<Program> = (1..=PUBLIC_HOSTS)
            .map(|n| {
                let count = match (nodes, n) {
                    (Nodes::Both, 1 | 4 | 5) => "2",
                    (Nodes::Both, _) => "3",
                    (Nodes::Seckel, 1) => "4",
                    (Nodes::Seckel, _) => "5",
                };
                let args = ["dht", "--bootstrap", BOOTSTRAP, "--persistent", "--nodes", count];
                lab.seckel(&format!("p{n}"), &args)
            })
            .collect();
        for program in &mut all {
            program.line_with("Fully started", START);
        }
        lab.dht.append(&mut all);
        lab
    }

    /// A command of natlab's, with this lab's name put in.
    pub fn set(&self, command: &str, args: &[&str]) {
        let status =
            Command::new(natlab()).arg(command).arg(&self.id).args(args).stdout(Stdio::null()).status();
        assert!(status.expect("bash").success(), "natlab {command} {args:?}");
    }

    fn start(&self, host: &str, program: &str, args: &[&str], envs: &[(&str, &str)]) -> Program {
        let mut command = Command::new(natlab());
        command.args(["exec", &self.id, host, "--", program]).args(args);
        command.env_remove("SECKEL_BOOTSTRAP").envs(envs.iter().copied());
        Program::start(command)
    }

    /// The command line on a host.
    pub fn seckel(&self, host: &str, args: &[&str]) -> Program {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Some(folder) = std::env::var_os(end::TRACES) else {
            return self.start(host, env!("CARGO_BIN_EXE_seckel"), args, &[]);
        };
        let name = format!("{}-{host}-{}.log", args[0], COUNT.fetch_add(1, Ordering::Relaxed));
        let file = Path::new(&folder).join(name);
        let trace = [("SECKEL_TRACE", file.to_str().expect("text"))];
        self.start(host, env!("CARGO_BIN_EXE_seckel"), args, &trace)
    }

    fn node(&self, host: &str, args: &[&str]) -> Program {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nat/node.js");
        let packages = support::packages().join("node_modules");
        let mut all = vec![script.to_str().expect("text")];
        all.extend(args);
        self.start(host, "node", &all, &[("NODE_PATH", packages.to_str().expect("text"))])
    }

    /// One end of connections on a host.
    pub fn end(&self, host: &str, kind: Kind) -> Program {
        let mut program = match kind {
            Kind::Node => self.node(host, &["end"]),
            Kind::Seckel => {
                let own = std::env::current_exe().expect("this binary");
                let args = ["--ignored", "--exact", "an_end_of_connections", "--nocapture"];
                self.start(host, own.to_str().expect("text"), &args, &[(end::SIGN, "1")])
            }
        };
        program.hear("ready", START);
        program
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.dht.clear();
        // Closes the pipe, and waits until the lab is down.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().expect("a port")
}

/// Whose program is at an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Seckel,
    Node,
}

/// A process on a host, which writes lines. Killed when dropped.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What was said and not asked for yet.
    events: VecDeque<Value>,
}

impl Program {
    fn start(mut command: Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("bash");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (lines, heard) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Program { child, input, lines: heard, events: VecDeque::new() }
    }

    /// The next line with `text` in it.
    pub fn line_with(&mut self, text: &str, patience: Duration) -> String {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {text:?} within {patience:?}: {error}"),
            }
        }
    }

    /// A line to the program.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not ended");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("the program reads");
    }

    pub fn ask(&mut self, command: &Value) {
        self.say(&command.to_string());
    }

    /// The next event with one of these names; those before it are passed over. `None`: it did not come in time.
    pub fn hear_any(&mut self, names: &[&str], patience: Duration) -> Option<Value> {
        let until = Instant::now() + patience;
        loop {
            while let Some(event) = self.events.pop_front() {
                if names.iter().any(|name| event["event"] == *name) {
                    return Some(event);
                }
            }
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                // What libtest says, or Node warns of, is none.
                Ok(line) => self.events.extend(serde_json::from_str::<Value>(&line)),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("the program ended; waited for {names:?}"),
            }
        }
    }

    /// The next event with this name.
    pub fn hear(&mut self, name: &str, patience: Duration) -> Value {
        self.hear_any(&[name], patience).unwrap_or_else(|| panic!("no {name:?} within {patience:?}"))
    }

    /// Joins the network.
    pub fn join(&mut self) {
        self.ask(&json!({"do": "join", "bootstrap": BOOTSTRAP}));
    }

    pub fn joined(&mut self) {
        self.hear("joined", START);
    }

    /// Waits for a server, and its key.
    pub fn listening(&mut self) -> String {
        self.hear("listening", START)["key"].as_str().expect("a key").to_owned()
    }

    /// The node of an end is gone, with all that it had.
    pub fn close(&mut self) {
        self.ask(&json!({"do": "close"}));
        self.hear("gone", START);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
