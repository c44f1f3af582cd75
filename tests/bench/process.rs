//! The processes of a bench: `Peer` is the other one as the bench sees it, `Program` a node in this one. They talk in
//! JSON lines: a peer says `{"ready": true, ..}` once it can be reached, answers lines that it gets, and at the end of
//! its input says one last line and ends.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use seckel::base::{Addr, Error, Key, hex};
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{Config, ConnId, DhtConfig, Durability, Event, KeyPair, Net};

use super::common::{Args, Latencies, Tmp, cpu, now_ms, random_key, vm};

/// A process of the bench.
pub struct Peer {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// When it was started.
    pub spawned_ms: f64,
}

impl Peer {
    /// Starts a role of a bench in its own process; `BENCH_PEER` names another implementation's program for it.
    pub fn start(bench: &str, role: &str, opts: &Value) -> Peer {
        let foreign = std::env::var("BENCH_PEER").ok().filter(|_| !["testnet", "udp"].contains(&role));
        let own = std::env::current_exe().expect("this program's path");
        let words: Vec<String> = match &foreign {
            Some(words) => words.split(' ').map(str::to_owned).collect(),
            None => vec![own.to_string_lossy().into_owned(), "peer".to_owned()],
        };
        Peer::run(&words, bench, role, opts)
    }

    /// Starts a role in a process of the program that `words` name.
    pub fn run(words: &[String], bench: &str, role: &str, opts: &Value) -> Peer {
        let spawned_ms = now_ms();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args([bench, "--role", role, "--opts", &opts.to_string()])
            .env("BENCH_SPAWNED", spawned_ms.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Peer { name: format!("{bench}/{role}"), input: child.stdin.take(), child, output, spawned_ms }
    }

    /// The next line that it says.
    pub fn read(&mut self) -> Value {
        self.read_line().unwrap_or_else(|| panic!("peer {} is gone", self.name))
    }

    fn read_line(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).expect("reads") == 0 {
                return None;
            }
            match serde_json::from_str(&line) {
                Ok(value) => return Some(value),
                Err(_) => eprint!("[{}] {line}", self.name),
            }
        }
    }

    pub fn send(&mut self, value: &Value) {
        if let Some(input) = &mut self.input {
            writeln!(input, "{value}").expect("writes");
        }
    }

    /// Asks how it is: `{"cpu_s": .., "vm": {..}}`.
    pub fn ask(&mut self) -> Value {
        self.send(&json!({}));
        self.read()
    }

    pub fn cpu(&mut self) -> f64 {
        self.ask()["cpu_s"].as_f64().unwrap_or(f64::NAN)
    }

    /// Ends its input and returns its last line.
    pub fn stop(mut self) -> Value {
        self.input = None;
        let last = self.read_line().unwrap_or(Value::Null);
        let _ = self.child.wait();
        last
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

pub fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

/// What a process used, as its last line.
fn last_words() -> Value {
    let (user, sys) = super::common::cpu_split();
    json!({ "cpu_s": user + sys, "cpu_user_s": user, "cpu_sys_s": sys, "hwm_kb": vm()["VmHWM"] })
}

/// Lines of standard input, read by a thread that wakes the host for each.
pub struct Lines(Receiver<String>);

impl Lines {
    pub fn of_stdin(host: &Host) -> Lines {
        let (sender, receiver) = channel();
        let waker = host.waker();
        let read = move || {
            let mut line = String::new();
            let mut input = std::io::stdin().lock();
            while input.read_line(&mut line).is_ok_and(|read| read > 0) {
                let _ = sender.send(std::mem::take(&mut line));
                let _ = waker.wake();
            }
            drop(sender);
            let _ = waker.wake();
        };
        std::thread::Builder::new().stack_size(64 << 10).spawn(read).expect("a thread starts");
        Lines(receiver)
    }

    /// Answers each line with what this process used; false at the end of the input.
    pub fn answer(&self) -> bool {
        loop {
            match self.0.try_recv() {
                Ok(_) => say(&json!({ "cpu_s": cpu(), "vm": vm() })),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }
}

/// Says `ready`, then runs the nodes of `host` until the end of the input.
pub fn serve(host: &mut Host, ready: &Value, mut on_event: impl FnMut(&mut Host, NodeId, Event)) {
    let lines = Lines::of_stdin(host);
    say(ready);
    loop {
        match host.wait(None).expect("runs") {
            Wake::Event(id, event) => on_event(host, id, event),
            Wake::Woken => {
                if !lines.answer() {
                    break;
                }
            }
            Wake::Interrupted | Wake::TimedOut => {}
        }
    }
}

/// Says the last line, with `more` fields, and ends the process.
pub fn finish(more: &Value) -> ! {
    let mut last = last_words();
    if let (Some(last), Some(more)) = (last.as_object_mut(), more.as_object()) {
        last.extend(more.clone());
    }
    say(&last);
    std::process::exit(0);
}

pub fn config(dht: DhtConfig) -> Config {
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let epoch_millis = epoch.and_then(|since| u64::try_from(since.as_millis()).ok());
    Config { dht, epoch_millis, ..Config::default() }
}

/// `[{"host": .., "port": ..}]` as a list of addresses.
pub fn addresses(list: &Value) -> Vec<Addr> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|node| Addr::loopback(node["port"].as_u64().unwrap_or(0) as u16)).collect()
}

pub fn key(text: &Value) -> Key {
    let bytes = hex::decode(text.as_str().unwrap_or_default()).unwrap_or_default();
    Key::try_from(bytes).expect("a key in hex")
}

/// A node that never ends up ephemeral and needs no proof that it can be reached.
fn lasting(bootstrap: Vec<Addr>) -> DhtConfig {
    DhtConfig {
        bootstrap,
        host: [127, 0, 0, 1],
        ephemeral: Some(false),
        firewalled: false,
        ..DhtConfig::default()
    }
}

/// Starts `count` nodes that form a network of their own, one after the other. Returns the address of the first.
pub fn testnet(host: &mut Host, count: u64) -> Addr {
    let folder = std::env::temp_dir();
    let mut first = None;
    for _ in 0..count {
        let id = host.add(config(lasting(first.into_iter().collect())), &folder).expect("a node starts");
        while !host.net(id).status().bootstrapped {
            host.wait(None).expect("runs");
        }
        first = first.or_else(|| host.net(id).status().local);
    }
    let port = first.expect("at least one node").port;
    Addr::loopback(port)
}

/// The role `testnet` of every bench.
pub fn testnet_role(count: u64) -> ! {
    let mut host = Host::open().expect("a host");
    std::thread::sleep(Duration::from_millis(200));
    let before = vm()["VmRSS"].clone();
    let (start, used) = (now_ms(), cpu());
    let first = testnet(&mut host, count);
    let ready = json!({
        "ready": true,
        "bootstrap": [{ "host": "127.0.0.1", "port": first.port }],
        "create_ms": now_ms() - start,
        "create_cpu_s": cpu() - used,
        "before": before,
    });
    serve(&mut host, &ready, |_, _, _| {});
    finish(&json!({}));
}

/// The testnet that a bench's nodes join: its own, of seckel nodes, or the one at the port that `--bootstrap` names.
pub fn bootstrap(bench: &str, args: &Args) -> (Option<Peer>, Value) {
    match args.number("bootstrap", 0) {
        0 => {
            let mut testnet = Peer::start(bench, "testnet", &json!({ "n": 5 }));
            let bootstrap = testnet.read()["bootstrap"].clone();
            (Some(testnet), bootstrap)
        }
        port => (None, json!([{ "host": "127.0.0.1", "port": port }])),
    }
}

/// The role `udp`: sends each datagram back, with nothing between it and the kernel.
pub fn udp_role() -> ! {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    say(&json!({ "port": socket.local_addr().expect("bound").port() }));
    let echo = move || {
        let mut bytes = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..len], from);
        }
    };
    std::thread::spawn(echo);
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
    finish(&json!({}));
}

/// The median round trip of a datagram of 64 bytes to another process, in microseconds: what is below everything.
pub fn bare_udp_us(bench: &str) -> f64 {
    let mut peer = Peer::start(bench, "udp", &json!({}));
    let port = peer.read()["port"].as_u64().expect("a port") as u16;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.connect(("127.0.0.1", port)).expect("connects");
    let mut latencies = Latencies::default();
    let mut bytes = [0; 2048];
    for _ in 0..5000 {
        latencies.time(|| {
            socket.send(&[7; 64]).expect("sends");
            socket.recv(&mut bytes).expect("receives");
        });
    }
    peer.stop();
    latencies.0.drain(..1000);
    latencies.us(50.0)
}

/// One node on loopback with its files.
pub struct Program {
    pub host: Host,
    pub id: NodeId,
    pub folder: Tmp,
}

impl Program {
    /// A node that joins through `bootstrap`.
    pub fn join(bootstrap: &Value) -> Program {
        Program::start(DhtConfig {
            bootstrap: addresses(bootstrap),
            host: [127, 0, 0, 1],
            ..DhtConfig::default()
        })
    }

    /// A node that nobody else knows, and that answers at once.
    pub fn alone() -> Program {
        Program::start(lasting(Vec::new()))
    }

    pub fn start(dht: DhtConfig) -> Program {
        let folder = Tmp::new("node");
        let mut host = Host::open().expect("a host");
        let id = host.add(config(dht), folder.path()).expect("a node starts");
        // As the Node.js packages do: what was appended has reached the kernel.
        host.net(id).set_durability(Durability::Kernel);
        Program { host, id, folder }
    }

    pub fn net(&mut self) -> Net<'_> {
        self.host.net(self.id)
    }

    /// The next event.
    pub fn next(&mut self) -> Event {
        loop {
            if let Wake::Event(_, event) = self.host.wait(None).expect("runs") {
                return event;
            }
        }
    }

    /// Takes events until `found` makes something of one.
    pub fn until<T>(&mut self, mut found: impl FnMut(&mut Net<'_>, &Event) -> Option<T>) -> T {
        loop {
            let event = self.next();
            if let Event::DiskFailed(error) = event {
                panic!("the disk: {error}");
            }
            if let Some(it) = found(&mut self.net(), &event) {
                return it;
            }
        }
    }

    pub fn bootstrapped(&mut self) {
        while !self.net().status().bootstrapped {
            self.next();
        }
    }

    /// Connects and waits until the connection is open.
    pub fn connect(&mut self, key: Key, key_pair: &KeyPair, channels: bool) -> ConnId {
        let wanted = self.net().connect(key, key_pair, channels).expect("begins to connect");
        self.until(|_, event| match event {
            Event::Connected { conn, .. } if *conn == wanted => Some(()),
            Event::ConnectFailed { conn, why, .. } if *conn == wanted => panic!("no connection: {why}"),
            _ => None,
        });
        wanted
    }

    /// Sends a plain message, waiting for room.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        loop {
            match self.net().send(conn, bytes) {
                Ok(()) => return,
                Err(Error::Full) => {
                    self.until(|_, event| {
                        matches!(event, Event::Drained { conn: on } if *on == conn).then_some(())
                    });
                }
                Err(error) => panic!("cannot send: {error}"),
            }
        }
    }
}

pub fn new_key_pair() -> KeyPair {
    KeyPair::from_seed(random_key())
}
