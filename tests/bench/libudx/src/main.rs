//! The bench `udx` of `seckel-bench` for the crate `libudx` (peeroxide): the same work, names and lines of JSON, so
//! that both take turns on one machine. A package of its own, so that nobody else builds what it needs.
//!
//! `libudx-bench udx [--mb N] [--pings N] [--writes N]`. A write of that crate ends when all of it is acked, so several
//! are under way at once (`--writes`); the order in which they begin is the order of their bytes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use libudx::{UdxRuntime, UdxSocket, UdxStream};
use serde_json::{Map, Value, json};

/// CPU seconds of this process, all threads.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

fn loopback(port: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port as u16))
}

async fn open() -> (UdxRuntime, UdxSocket, u64) {
    let runtime = UdxRuntime::new().expect("a runtime");
    let socket = runtime.create_socket().await.expect("a socket");
    socket.bind(loopback(0)).await.expect("binds");
    let port = socket.local_addr().await.expect("bound").port();
    (runtime, socket, u64::from(port))
}

async fn connect(runtime: &UdxRuntime, socket: &UdxSocket, local: u64, remote: u64, port: u64) -> UdxStream {
    let stream = runtime.create_stream(local as u32).await.expect("a stream");
    stream.connect(socket, remote as u32, loopback(port)).await.expect("connects");
    stream
}

/// Counts what comes until the end, and tells it.
async fn sink(mut stream: UdxStream) {
    let mut bytes = 0;
    let mut begun = None;
    while let Ok(Some(data)) = stream.read().await {
        begun.get_or_insert_with(|| (Instant::now(), cpu()));
        bytes += data.len() as u64;
    }
    let (start, used) = begun.unwrap_or_else(|| (Instant::now(), cpu()));
    say(&json!({ "bytes": bytes, "s": start.elapsed().as_secs_f64(), "cpu_s": cpu() - used }));
    let _ = stream.shutdown().await;
}

/// Sends back what comes.
async fn echo(mut stream: UdxStream) {
    while let Ok(Some(data)) = stream.read().await {
        if stream.write(&data).await.is_err() {
            return;
        }
    }
}

async fn server() {
    let (runtime, socket, port) = open().await;
    say(&json!({ "ready": true, "port": port }));
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap_or(Value::Null));
        }
    });
    while let Some(line) = lines.recv().await {
        let number = |name: &str| line[name].as_u64().unwrap_or(0);
        let stream = connect(&runtime, &socket, number("id"), number("remoteId"), number("port")).await;
        if line["mode"] == "echo" {
            tokio::spawn(echo(stream));
        } else {
            tokio::spawn(sink(stream));
        }
        say(&json!({ "open": number("id") }));
    }
    say(&json!({ "cpu_s": cpu() }));
    std::process::exit(0);
}

/// The server's process.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start() -> Peer {
        let mut child = Command::new(std::env::current_exe().expect("this program's path"))
            .args(["udx", "--role", "server"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Peer { child, input, output }
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("reads");
        serde_json::from_str(&line).expect("JSON")
    }

    fn ask(&mut self, value: &Value) -> Value {
        writeln!(self.input, "{value}").expect("writes");
        self.read()
    }
}

async fn bulk(stream: UdxStream, peer: &mut Peer, bytes: u64, writes: usize) -> (Value, f64, f64) {
    let stream = Arc::new(stream);
    let chunk: Arc<Vec<u8>> = Arc::new((0..65_536_u32).map(|n| (n * 7919 >> 3) as u8).collect());
    let (start, used) = (Instant::now(), cpu());
    let mut under_way = VecDeque::new();
    for _ in 0..bytes.div_ceil(65_536) {
        if under_way.len() >= writes {
            let oldest: tokio::task::JoinHandle<()> = under_way.pop_front().expect("one is under way");
            oldest.await.expect("written");
        }
        let (sender, begun) = tokio::sync::oneshot::channel();
        let (stream, chunk) = (stream.clone(), chunk.clone());
        under_way.push_back(tokio::spawn(async move {
            let write = stream.write(&chunk);
            tokio::pin!(write);
            // one step, in which it takes its place in the order
            let done = std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx))).await;
            let _ = sender.send(());
            if done.is_pending() {
                write.await.expect("acked");
            }
        }));
        begun.await.expect("it began");
    }
    for write in under_way {
        write.await.expect("written");
    }
    stream.shutdown().await.expect("ends");
    let got = peer.read();
    (got, start.elapsed().as_secs_f64(), cpu() - used)
}

async fn client(mb: u64, pings: usize, writes: usize) {
    let mut peer = Peer::start();
    let port = peer.read()["port"].as_u64().expect("a port");
    let (runtime, socket, own) = open().await;
    let mut figures = Map::new();
    for (id, prefix, bytes) in [(1, "warm", mb * 100_000), (2, "bulk", mb * 1_000_000)] {
        peer.ask(&json!({ "mode": "sink", "id": id, "remoteId": 1000 + id, "port": own }));
        let stream = connect(&runtime, &socket, 1000 + id, id, port).await;
        let (got, s, used) = bulk(stream, &mut peer, bytes, writes).await;
        let number = |name: &str| got[name].as_f64().unwrap_or(f64::NAN);
        let mut figure = |name: &str, value: f64| figures.insert(format!("{prefix}_{name}"), json!(value));
        figure("mb_s", number("bytes") / 1e6 / number("s"));
        figure("tx_cpu_s_gb", used / number("bytes") * 1e9);
        figure("rx_cpu_s_gb", number("cpu_s") / number("bytes") * 1e9);
        figure("tx_cpu_share", used / s);
    }
    figures.retain(|name, _| !name.starts_with("warm"));
    peer.ask(&json!({ "mode": "echo", "id": 3, "remoteId": 1003, "port": own }));
    let mut stream = connect(&runtime, &socket, 1003, 3, port).await;
    let mut micros = Vec::new();
    for _ in 0..pings {
        let start = Instant::now();
        stream.write(&[7; 64]).await.expect("acked");
        let mut got = 0;
        while got < 64 {
            got += stream.read().await.expect("reads").expect("open").len();
        }
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    micros.drain(..pings / 4);
    micros.sort_by(f64::total_cmp);
    for (name, per_cent) in [("ping_p50_us", 50), ("ping_p99_us", 99)] {
        figures.insert(name.to_owned(), json!(micros.get(micros.len() * per_cent / 100)));
    }
    println!(
        "{}",
        json!({ "bench": "udx", "impl": "libudx", "figures": figures, "info": { "writes": writes } })
    );
    let _ = peer.child.kill();
    std::process::exit(0);
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    let option = |name: &str, otherwise: u64| {
        let at = words.iter().position(|word| word == name);
        at.and_then(|at| words.get(at + 1)?.parse().ok()).unwrap_or(otherwise)
    };
    if words.iter().any(|word| word == "--role") {
        return server().await;
    }
    client(option("--mb", 1000), option("--pings", 20_000) as usize, option("--writes", 8) as usize).await;
}
