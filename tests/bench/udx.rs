//! Raw UDX streams between two processes on loopback: bulk, and ping-pong. No node is under way: `Udx` on a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use serde_json::{Value, json};

use seckel::base::{Addr, Machine, SocketId};
use seckel::edge::udp::{Inbox, Left, Udp};
use seckel::udx::{Event, Input, StreamId, Udx};

use super::common::{Args, Bench, Latencies, Report, Tmp, cpu, cpu_split, fill};
use super::process::{Peer, finish, say};

const SOCKET: Token = Token(0);
const LINES: Token = Token(1);

pub(super) struct Streams {
    poll: Poll,
    ready: Events,
    udp: Udp,
    inbox: Inbox,
    pub(super) udx: Udx,
    pub(super) bench: Bench,
    pub(super) waker: Arc<Waker>,
    unread: bool,
    _folder: Tmp,
}

impl Streams {
    pub(super) fn open() -> Streams {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), LINES).expect("a waker"));
        let mut udp = Udp::bind([127, 0, 0, 1], 0).expect("a socket");
        poll.registry().register(udp.source(), SOCKET, Interest::READABLE).expect("registers");
        let folder = Tmp::new("udx");
        Streams {
            poll,
            ready: Events::with_capacity(8),
            udp,
            inbox: Inbox::default(),
            udx: Udx::new(),
            bench: Bench::open(folder.path()),
            waker,
            unread: false,
            _folder: folder,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.udp.local().expect("bound").port
    }

    pub(super) fn connect(&mut self, local: u64, remote: u64, port: u64) -> StreamId {
        let mut cx = self.bench.cx();
        let stream = self.udx.open(&mut cx, local as u32).expect("a free id");
        let to = Addr::loopback(port as u16);
        self.udx.connect(&mut cx, stream, SocketId::SERVER, remote as u32, to).expect("connects");
        stream
    }

    /// The next event; `None` when a line came.
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.udx.poll_event() {
                return Some(event);
            }
            let mut cx = self.bench.cx();
            while let Some(packet) = self.udx.poll_into(&mut cx, self.udp.room()) {
                self.udp.wrote(packet.to, packet.ttl);
            }
            self.udp.flush();
            if let Some(event) = self.udx.poll_event() {
                return Some(event);
            }
            if self.turn() {
                return None;
            }
        }
    }

    fn turn(&mut self) -> bool {
        let now = self.bench.cx().now;
        let due = self.udx.poll_timeout().map(|due| Duration::from_micros(due.at.since(now).as_micros()));
        let sleep = if self.unread { Some(Duration::ZERO) } else { due };
        self.poll.poll(&mut self.ready, sleep).expect("polls");
        let woken = self.ready.iter().any(|event| event.token() == LINES);
        if self.unread || self.ready.iter().any(|event| event.token() == SOCKET) {
            let (count, left) = self.inbox.receive(&self.udp);
            self.unread = left == Left::Perhaps;
            let mut cx = self.bench.cx();
            for index in 0..count {
                let Some((from, joined, each)) = self.inbox.get(index) else { continue };
                for bytes in joined.chunks(each) {
                    let input = Input::Datagram { socket: SocketId::SERVER, from, bytes };
                    self.udx.handle_input(&mut cx, input);
                }
            }
        }
        let mut cx = self.bench.cx();
        if self.udx.poll_timeout().is_some_and(|due| due.at <= cx.now) {
            self.udx.handle_timeout(&mut cx);
        }
        woken
    }
}

enum Mode {
    Echo,
    Sink { bytes: u64, begun: Option<(Instant, f64, (f64, f64))> },
}

pub(super) fn lines(waker: Arc<Waker>) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::Null));
            let _ = waker.wake();
        }
        drop(sender);
        let _ = waker.wake();
    });
    receiver
}

pub fn role() {
    let mut streams = Streams::open();
    let lines = lines(streams.waker.clone());
    let mut modes: BTreeMap<StreamId, Mode> = BTreeMap::new();
    say(&json!({ "ready": true, "port": streams.port() }));
    loop {
        if let Some(event) = streams.next() {
            on_event(&mut streams, &mut modes, event);
            continue;
        }
        match lines.try_recv() {
            Ok(line) => {
                let number = |name: &str| line[name].as_u64().unwrap_or(0);
                let stream = streams.connect(number("id"), number("remoteId"), number("port"));
                let echo = line["mode"] == "echo";
                modes.insert(stream, if echo { Mode::Echo } else { Mode::Sink { bytes: 0, begun: None } });
                say(&json!({ "open": number("id") }));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => finish(&json!({})),
        }
    }
}

fn on_event(streams: &mut Streams, modes: &mut BTreeMap<StreamId, Mode>, event: Event) {
    match event {
        Event::Data { stream, bytes } => match modes.get_mut(&stream) {
            Some(Mode::Echo) => {
                let _ = streams.udx.write(&mut streams.bench.cx(), stream, &bytes);
            }
            Some(Mode::Sink { bytes: count, begun }) => {
                begun.get_or_insert_with(|| (Instant::now(), cpu(), cpu_split()));
                *count += bytes.len() as u64;
            }
            None => {}
        },
        Event::Ended { stream } => {
            if let Some(Mode::Sink { bytes, begun: Some((start, used, split)) }) = modes.get(&stream) {
                let (s, used, after) = (start.elapsed().as_secs_f64(), cpu() - used, cpu_split());
                let (user, sys) = (after.0 - split.0, after.1 - split.1);
                let packets = streams.udx.stats(stream).map(|stats| stats.packets_in);
                say(&json!({
                    "bytes": bytes, "s": s, "cpu_s": used, "user_s": user, "sys_s": sys, "packets_rx": packets,
                }));
            }
            let _ = streams.udx.end(&mut streams.bench.cx(), stream);
        }
        Event::Closed { stream, .. } => {
            modes.remove(&stream);
        }
        _ => {}
    }
}

struct Client {
    streams: Streams,
    server: Peer,
    port: u64,
}

impl Client {
    fn connect(&mut self, id: u64, mode: &str, framed: bool) -> StreamId {
        let own = self.streams.port();
        self.server
            .send(&json!({ "mode": mode, "id": id, "remoteId": 1000 + id, "port": own, "framed": framed }));
        self.server.read();
        self.streams.connect(1000 + id, id, self.port)
    }

    fn bulk(&mut self, report: &mut Report, id: u64, prefix: &str, bytes: u64, size: usize) {
        let framed = prefix == "framed";
        let stream = self.connect(id, "sink", framed);
        let mut chunk = if framed { (size as u32).to_le_bytes()[..3].to_vec() } else { Vec::new() };
        chunk.extend(fill(size, 1));
        let (start, used, split) = (Instant::now(), cpu(), cpu_split());
        for _ in 0..bytes.div_ceil(chunk.len() as u64) {
            let below = self.streams.udx.write(&mut self.streams.bench.cx(), stream, &chunk).expect("room");
            while !below && !matches!(self.streams.next(), Some(Event::Drained { .. })) {}
        }
        let stats = self.streams.udx.stats(stream).unwrap_or_default();
        self.streams.udx.end(&mut self.streams.bench.cx(), stream).expect("ends");
        while !matches!(self.streams.next(), Some(Event::Closed { .. })) {}
        let got = self.server.read();
        let (s, used, after) = (start.elapsed().as_secs_f64(), cpu() - used, cpu_split());
        if prefix == "warm" {
            return;
        }
        let number = |name: &str| got[name].as_f64().unwrap_or(f64::NAN);
        let (user, sys) = (after.0 - split.0, after.1 - split.1);
        let mut figure = |name: &str, value: f64| report.figure(&format!("{prefix}_{name}"), value);
        figure("mb_s", number("bytes") / 1e6 / number("s"));
        figure("tx_cpu_s_gb", used / number("bytes") * 1e9);
        figure("rx_cpu_s_gb", number("cpu_s") / number("bytes") * 1e9);
        figure("tx_sys_share", sys / (user + sys));
        figure("rx_sys_share", number("sys_s") / number("cpu_s"));
        figure("tx_cpu_share", used / s);
        figure("rx_cpu_share", number("cpu_s") / number("s"));
        report.info(
            prefix,
            json!({
                "mtu": stats.mtu, "cwnd": stats.congestion_window, "retransmits": stats.resends,
                "losses": stats.losses, "rto": stats.timeouts, "packets_tx": stats.packets_out,
                "packets_rx": got["packets_rx"], "bytes": got["bytes"],
            }),
        );
    }

    fn ping(&mut self, report: &mut Report, count: usize, size: usize) {
        let stream = self.connect(3, "echo", false);
        let message = fill(size, 2);
        let mut latencies = Latencies::default();
        for _ in 0..count {
            let start = Instant::now();
            self.streams.udx.write(&mut self.streams.bench.cx(), stream, &message).expect("room");
            let mut got = 0;
            while got < size {
                if let Some(Event::Data { bytes, .. }) = self.streams.next() {
                    got += bytes.len();
                }
            }
            latencies.since(start);
        }
        latencies.0.drain(..count / 4);
        report.figure("ping_p50_us", latencies.us(50.0));
        report.figure("ping_p99_us", latencies.us(99.0));
    }
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let mut server = Peer::start("udx", "server", &json!({}));
    let port = server.read()["port"].as_u64().expect("a port");
    let mut client = Client { streams: Streams::open(), server, port };
    // 1: as where the kernel takes no joined datagrams
    client.streams.udp.join_at_most(args.number("joined", u64::from(u32::MAX)) as usize);
    let (bytes, chunk) = (args.number("mb", 1000) * 1_000_000, args.number("chunk", 65_536) as usize);
    client.bulk(&mut report, 1, "warm", 32_000_000, chunk);
    client.bulk(&mut report, 2, "bulk", bytes, chunk);
    client.bulk(&mut report, 4, "framed", bytes, chunk);
    client.ping(&mut report, args.number("pings", 20_000) as usize, args.number("pingsize", 64) as usize);
    report.info("server", client.server.stop());
    report
}
