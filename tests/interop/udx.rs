//! seckel and the real packages: udx. Here bulk both ways, ping-pong, many streams, a lossy path, wrapped sequence
//! numbers, a reader that is slow; in the folder what closes a stream, paths and relays, messages, a line that spoils
//! things, secret streams on top, and a gigabyte each way.

mod bulk;
mod closing;
mod messages;
mod paths;
mod proxy;
mod secret;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use seckel::base::{Addr, Cx, Entropy, Machine, NoTrace, Seeded, SocketId, Time};
use seckel::sim::ramdisk::RamDisk;
use seckel::udx::{Event, Input, Output, StreamId, Udx, Why};

use crate::support::{Node, skipped};

/// Without a datagram in this time nothing more will come; and longer than any test needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(600);
/// Datagrams that are taken before answers leave.
const BATCH: usize = 64;

/// `Udx` on a real socket of 127.0.0.1.
struct Real {
    udx: Udx,
    sockets: Vec<UdpSocket>,
    started: Instant,
    events: Vec<Event>,
    data: BTreeMap<StreamId, Vec<u8>>,
    /// Counts bytes instead of keeping them, and hashes them.
    digest: Option<Digest>,
    /// Ask for each packet in or out whether it is lost.
    lose: Option<Box<dyn FnMut() -> bool>>,
    /// Data packets that came with padding: they ask how long a packet may be.
    padded: usize,
    disk: RamDisk,
}

#[derive(Default)]
struct Digest {
    bytes: usize,
    wrong: bool,
}

impl Digest {
    /// Bytes of the counter pattern that udx.js sends.
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let word = (self.bytes / 4 * 4) as u32;
            self.wrong |= word.to_le_bytes()[self.bytes % 4] != byte;
            self.bytes += 1;
        }
    }
}

impl Real {
    fn new() -> Real {
        Real {
            udx: Udx::new(),
            sockets: vec![bind()],
            started: Instant::now(),
            events: Vec::new(),
            data: BTreeMap::new(),
            digest: None,
            lose: None,
            padded: 0,
            disk: RamDisk::default(),
        }
    }

    fn port(&self) -> u16 {
        self.sockets[0].local_addr().expect("bound").port()
    }

    fn now(&self) -> Time {
        Time::from_micros(self.started.elapsed().as_micros() as u64)
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Udx, &mut Cx<'_>) -> T) -> T {
        let mut entropy = Seeded::new(1);
        let now = self.now();
        let mut cx = Cx { now, entropy: &mut entropy, disk: &mut self.disk, trace: &mut NoTrace };
        act(&mut self.udx, &mut cx)
    }

    /// A stream connected to stream `remote` of the process on `port`.
    fn stream(&mut self, local: u32, remote: u32, port: u16) -> StreamId {
        self.with(|udx, cx| {
            let id = udx.open(cx, local).expect("free");
            udx.connect(cx, id, SocketId::SERVER, remote, Addr::loopback(port)).expect("new");
            id
        })
    }

    fn lost(&mut self) -> bool {
        self.lose.as_mut().is_some_and(|lose| lose())
    }

    /// Sends what is to be sent, notes what happened, waits for datagrams until the next deadline.
    fn turn(&mut self) {
        self.settle();
        let deadline = self.udx.poll_timeout().map(|deadline| deadline.at.since(self.now()).as_micros());
        let wait = Duration::from_micros(deadline.unwrap_or(50_000).clamp(100, 50_000));
        let several = self.sockets.len() > 1;
        let mut bytes = [0; 4096];
        for n in 0..self.sockets.len() {
            let wait = if several { Duration::from_micros(500) } else { wait };
            self.sockets[n].set_read_timeout(Some(wait)).expect("a socket");
            for n_th in 0..BATCH {
                match self.sockets[n].recv_from(&mut bytes) {
                    Ok((len, from)) => {
                        if n_th == 0 {
                            self.sockets[n].set_nonblocking(true).expect("a socket");
                        }
                        if self.lost() {
                            continue;
                        }
                        let std::net::SocketAddr::V4(from) = from else { continue };
                        let from = Addr::new(from.ip().octets(), from.port());
                        let (socket, bytes) = (SocketId(n as u32), &bytes[..len]);
                        self.padded += usize::from(bytes.len() > 20 && bytes[2] == 1 && bytes[3] > 0);
                        self.with(|udx, cx| {
                            udx.handle_input(cx, Input::Datagram { socket, from, bytes });
                        });
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            self.sockets[n].set_nonblocking(false).expect("a socket");
        }
        let now = self.now();
        if self.udx.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            self.with(|udx, cx| udx.handle_timeout(cx));
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(event) = self.udx.poll_event() {
            match event {
                Event::Data { stream, bytes } => match &mut self.digest {
                    Some(digest) => digest.update(&bytes),
                    None => self.data.entry(stream).or_default().extend(bytes),
                },
                other => self.events.push(other),
            }
        }
        while let Some(Output::Send { socket, to, bytes, .. }) = self.with(|udx, cx| udx.poll_output(cx)) {
            if self.lost() {
                continue;
            }
            let to = std::net::SocketAddrV4::new(to.ip.into(), to.port);
            let _ = self.sockets[socket.0 as usize].send_to(&bytes, to);
        }
    }

    /// Turns until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Real) -> bool) {
        let (began, mut last, mut seen) = (Instant::now(), Instant::now(), self.udx.traffic());
        loop {
            self.turn();
            if done(self) {
                self.settle();
                return;
            }
            if seen != self.udx.traffic() {
                (seen, last) = (self.udx.traffic(), Instant::now());
            }
            let patient = last.elapsed() < PATIENCE && began.elapsed() < LONGEST;
            assert!(patient, "{what}: not in {:?}; {}", began.elapsed(), self.state());
        }
    }

    /// What a test that waits in vain says.
    fn state(&self) -> String {
        let ids = self.udx.local_ids().filter_map(|local| self.udx.by_local(local));
        let streams: Vec<_> = ids.map(|id| (id, self.udx.stats(id))).collect();
        let read = self.digest.as_ref().map(|digest| digest.bytes);
        format!("{:?} {:?}, read {read:?}; {streams:?}", self.events, self.udx.traffic())
    }

    fn until_event(&mut self, event: &Event) {
        self.until(&format!("{event:?}"), |real| real.events.contains(event));
    }

    fn write(&mut self, id: StreamId, bytes: &[u8]) -> bool {
        self.with(|udx, cx| udx.write(cx, id, bytes)).expect("open")
    }

    fn end(&mut self, id: StreamId) {
        self.with(|udx, cx| udx.end(cx, id)).expect("open");
    }

    /// Writes `total` bytes of the pattern and ends.
    fn bulk(&mut self, id: StreamId, total: usize) {
        self.bulk_open(id, total);
        self.end(id);
    }

    fn bulk_open(&mut self, id: StreamId, total: usize) {
        let mut at = 0;
        self.until("bulk", |real| {
            while at < total {
                let piece: Vec<u8> = (at..total.min(at + 65536))
                    .step_by(4)
                    .flat_map(|word| (word as u32).to_le_bytes())
                    .collect();
                at += piece.len();
                if !real.write(id, &piece) {
                    return false;
                }
            }
            true
        });
    }
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    // as udx-native does; without it every burst overflows the default buffer
    socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20).expect("a larger buffer");
    socket
}

/// A process of udx-native, asked from a thread of its own so that packets keep flowing.
struct Judge {
    ask: Sender<Value>,
    heard: Receiver<Value>,
    port: u16,
}

impl Judge {
    fn start() -> Judge {
        Judge::with_script("udx.js")
    }

    fn with_script(script: &'static str) -> Judge {
        let (ask, asked) = channel::<Value>();
        let (answer, heard) = channel();
        std::thread::spawn(move || {
            let mut process = Node::start(script, &[]);
            for value in asked {
                if answer.send(process.ask(&value)).is_err() {
                    return;
                }
            }
        });
        let mut judge = Judge { ask, heard, port: 0 };
        let port = judge.ask(&mut Real::new(), json!({"op": "port"}));
        judge.port = port["port"].as_u64().expect("a port") as u16;
        judge
    }

    fn say(&mut self, value: Value) {
        self.ask.send(value).expect("the process lives");
    }

    /// Turns `real` until the answer to the first question without one comes.
    fn hear(&mut self, real: &mut Real) -> Value {
        let mut answer = Value::Null;
        real.until("an answer", |_| match self.heard.try_recv() {
            Ok(value) => {
                answer = value;
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => panic!("the process died"),
        });
        answer
    }

    fn ask(&mut self, real: &mut Real, value: Value) -> Value {
        self.say(value);
        self.hear(real)
    }

    /// A stream of the process with id `id`, connected to ours with id `remote`.
    fn stream(&mut self, real: &mut Real, id: u32, remote: u32, options: Value) {
        let mut make = json!({"op": "stream", "id": id});
        make.as_object_mut().expect("an object").extend(options.as_object().cloned().unwrap_or_default());
        let port = real.port();
        self.ask(real, make);
        self.ask(
            real,
            json!({"op": "connect", "id": id, "remote": remote, "port": port, "ack": options["ack"]}),
        );
    }

    /// The port of the n-th socket of the process.
    fn nth_port(&mut self, real: &mut Real, nth: u32) -> u16 {
        let answer = self.ask(real, json!({"op": "port", "socket": nth}));
        answer["port"].as_u64().expect("a port") as u16
    }

    fn wait(&mut self, real: &mut Real, event: &str, id: u32) -> Value {
        self.ask(real, json!({"op": "wait", "event": event, "id": id}))
    }
}

const BULK: usize = 64 << 20;

fn speed(what: &str, bytes: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("udx {what}: {:.0} MB/s", bytes as f64 / 1e6 / seconds);
}

#[test]
fn bulk_to_node() {
    if skipped("udx::bulk_to_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    judge.stream(&mut real, 2, 1, json!({"hash": true}));
    let port = judge.port;
    let id = real.stream(1, 2, port);
    let began = Instant::now();
    real.bulk(id, BULK);
    let end = judge.wait(&mut real, "end", 2);
    speed("to node", BULK, began);
    eprintln!("{:?}", real.udx.stats(id));
    assert_eq!(end["bytes"].as_u64(), Some(BULK as u64));
    assert_eq!(end["right"], true);
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    judge.wait(&mut real, "close", 2);
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
}

#[test]
fn bulk_from_node() {
    if skipped("udx::bulk_from_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.digest = Some(Digest::default());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({}));
    let began = Instant::now();
    judge.say(json!({"op": "bulk", "id": 2, "total": BULK}));
    real.until_event(&Event::Ended { stream: id });
    speed("from node", BULK, began);
    judge.hear(&mut real);
    eprintln!("{}", judge.ask(&mut real, json!({"op": "stats", "id": 2})));
    let digest = real.digest.take().expect("set above");
    assert_eq!((digest.bytes, digest.wrong), (BULK, false));
    real.end(id);
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    judge.wait(&mut real, "close", 2);
}

/// Ours echoes until the other side ends, then ends.
fn echo(real: &mut Real, id: StreamId) {
    if let Some(bytes) = real.data.remove(&id) {
        real.write(id, &bytes);
    }
}

/// pitfalls 2.2: both sides answer at once.
#[test]
fn ping_pong_with_node() {
    if skipped("udx::ping_pong_with_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({"quiet": true}));
    judge.say(json!({"op": "pingpong", "id": 2, "len": 64, "rounds": 500}));
    let mut answer = Value::Null;
    real.until("the rounds", |real| {
        echo(real, id);
        answer = judge.heard.try_recv().unwrap_or_default();
        !answer.is_null()
    });
    eprintln!("udx ping-pong: {} us", answer["median"]);
    // a timer anywhere would show as milliseconds in each round; a busy machine may make some
    assert_eq!(real.udx.stats(id).expect("live").timeouts, 0);
    assert!(answer["median"].as_f64().is_some_and(|median| median < 5_000.0), "{answer}");
    judge.ask(&mut real, json!({"op": "destroy", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Reset });
}

#[test]
fn node_is_destroyed_by_us_and_its_own_half_close_works() {
    if skipped("udx::node_is_destroyed_by_us_and_its_own_half_close_works") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({}));
    // it ends, we go on
    judge.ask(&mut real, json!({"op": "write", "id": 2, "hex": "0102"}));
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    real.until_event(&Event::Ended { stream: id });
    assert_eq!(real.data.remove(&id), Some(vec![1, 2]));
    real.write(id, b"still here");
    let data = judge.wait(&mut real, "data", 2);
    assert_eq!(data["hex"], "7374696c6c2068657265");
    real.with(|udx, cx| udx.flush(cx, id)).expect("open");
    real.until_event(&Event::Flushed { stream: id });
    real.with(|udx, cx| udx.destroy(cx, id)).expect("open");
    let error = judge.wait(&mut real, "error", 2);
    assert_eq!(error["code"], "ECONNRESET");
    judge.wait(&mut real, "close", 2);
    real.until_event(&Event::Closed { stream: id, why: Why::Destroyed });
}

#[test]
fn messages_both_ways() {
    if skipped("udx::messages_both_ways") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({"echo": true}));
    real.with(|udx, cx| udx.send(cx, id, b"unordered")).expect("open");
    real.until_event(&Event::Message { stream: id, bytes: b"unordered".to_vec() });
    real.with(|udx, cx| udx.send(cx, id, b"")).expect("open");
    real.until_event(&Event::Message { stream: id, bytes: Vec::new() });
    assert_eq!(judge.wait(&mut real, "message", 2)["hex"], "756e6f726465726564");
}

/// Node is the first to send, and our stream learns from that where it is.
#[test]
fn the_first_packet_of_node_connects() {
    if skipped("udx::the_first_packet_of_node_connects") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let id = real.with(|udx, cx| udx.open(cx, 1)).expect("free");
    judge.stream(&mut real, 2, 1, json!({"echo": true}));
    judge.ask(&mut real, json!({"op": "write", "id": 2, "hex": "aa"}));
    real.with(|udx, cx| udx.expect(cx, id, 2)).expect("new");
    let from = Addr::loopback(judge.port);
    real.until_event(&Event::Connected { stream: id, socket: SocketId::SERVER, from });
    real.until("the data", |real| real.data.get(&id).is_some_and(|data| data == &[0xaa]));
    real.write(id, b"echo me");
    real.until("the echo", |real| real.data.get(&id).is_some_and(|data| data == b"\xaaecho me"));
    real.end(id);
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    judge.wait(&mut real, "close", 2);
}

/// Loses packets by seed on both ways between the real package and us.
fn lossy(seed: u64, permille: u64) -> Option<Box<dyn FnMut() -> bool>> {
    let mut draw = Seeded::new(seed);
    Some(Box::new(move || draw.chance(permille)))
}

#[test]
fn over_a_lossy_path() {
    if skipped("udx::over_a_lossy_path") {
        return;
    }
    for permille in [10, 100] {
        let (mut real, mut judge) = (Real::new(), Judge::start());
        real.digest = Some(Digest::default());
        let port = judge.port;
        let id = real.stream(1, 2, port);
        judge.stream(&mut real, 2, 1, json!({"hash": true}));
        real.lose = lossy(permille, permille);
        let total = 4 << 20;
        judge.say(json!({"op": "bulk", "id": 2, "total": total}));
        real.bulk_open(id, total);
        // With data in its last packet nobody could tell a lost last ack of Node's from a lost packet of ours (udx.46).
        real.with(|udx, cx| udx.flush(cx, id)).expect("open");
        real.until_event(&Event::Flushed { stream: id });
        real.end(id);
        real.until_event(&Event::Ended { stream: id });
        judge.hear(&mut real);
        let end = judge.wait(&mut real, "end", 2);
        assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
        let digest = real.digest.take().expect("set above");
        assert_eq!((digest.bytes, digest.wrong), (total, false));
        judge.wait(&mut real, "close", 2);
        real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    }
}

/// pitfalls 2.10: sequence numbers wrap in the first packets, on both sides.
#[test]
fn numbers_wrap_with_node() {
    if skipped("udx::numbers_wrap_with_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let first = 0xffff_fff8_u32;
    let port = judge.port;
    let id = real.with(|udx, cx| {
        let id = udx.open_at(cx, 1, first, first).expect("free");
        udx.connect(cx, id, SocketId::SERVER, 2, Addr::loopback(port)).expect("new");
        id
    });
    judge.stream(&mut real, 2, 1, json!({"echo": true, "seq": first, "ack": first}));
    real.lose = lossy(7, 50);
    let sent: Vec<u8> = (0..100_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    real.write(id, &sent);
    real.until("the echo", |real| real.data.get(&id).is_some_and(|data| data.len() == sent.len()));
    assert!(real.data[&id] == sent);
    real.end(id);
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
}

#[test]
fn many_streams_on_one_socket() {
    if skipped("udx::many_streams_on_one_socket") {
        return;
    }
    const STREAMS: u32 = 200;
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    let mut ids = Vec::new();
    for n in 0..STREAMS {
        ids.push(real.stream(1000 + n, 5000 + n, port));
        judge.stream(&mut real, 5000 + n, 1000 + n, json!({"echo": true}));
    }
    let text = |n: usize| vec![n as u8; 3000 + n];
    for (n, &id) in ids.iter().enumerate() {
        real.write(id, &text(n));
        real.end(id);
    }
    let all = ids.clone();
    real.until("all streams", |real| {
        all.iter().all(|&stream| real.events.contains(&Event::Closed { stream, why: Why::Ended }))
    });
    for (n, id) in ids.iter().enumerate() {
        assert!(real.data[id] == text(n), "stream {n}");
    }
    assert!(real.udx.is_empty());
}

/// pitfalls 2.21: from one socket to another in the middle of a transfer, on either side.
#[test]
fn the_remote_changes_with_node() {
    if skipped("udx::the_remote_changes_with_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.sockets.push(bind());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({"hash": true}));
    judge.ask(&mut real, json!({"op": "write", "id": 2, "hex": "01"}));
    let total = 1 << 20;
    let (first, rest) = (256 << 10, total - (256 << 10));
    let piece = |from: usize, len: usize| -> Vec<u8> {
        (from..from + len).step_by(4).flat_map(|word| (word as u32).to_le_bytes()).collect()
    };
    real.write(id, &piece(0, first));
    real.turn();
    let to = Addr::loopback(port);
    real.with(|udx, cx| udx.change_remote(cx, id, SocketId::CLIENT, 2, to)).expect("connected");
    let new_port = real.sockets[1].local_addr().expect("bound").port();
    judge.ask(&mut real, json!({"op": "change", "id": 2, "remote": 1, "port": new_port}));
    real.until_event(&Event::Connected { stream: id, socket: SocketId::CLIENT, from: to });
    real.write(id, &piece(first, rest));
    real.end(id);
    let end = judge.wait(&mut real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
    judge.ask(&mut real, json!({"op": "write", "id": 2, "hex": "02"}));
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    assert_eq!(real.data[&id], [1, 2]);
}

/// A slow reader of ours stops Node by the window, and nothing is lost when it goes on.
#[test]
fn our_window_stops_node() {
    if skipped("udx::our_window_stops_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    real.digest = Some(Digest::default());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({}));
    real.with(|udx, cx| udx.set_reading(cx, id, false)).expect("open");
    let total = 16 << 20;
    judge.say(json!({"op": "bulk", "id": 2, "total": total}));
    real.until("a closed window", |real| real.udx.stats(id).expect("live").held_bytes >= (4 << 20) - 1500);
    for _ in 0..20 {
        real.turn();
        assert!(real.udx.stats(id).expect("live").held_bytes <= (4 << 20) + 2048);
    }
    assert_eq!(real.digest.as_ref().map(|digest| digest.bytes), Some(0));
    real.with(|udx, cx| udx.set_reading(cx, id, true)).expect("open");
    real.until_event(&Event::Ended { stream: id });
    let digest = real.digest.take().expect("set above");
    assert_eq!((digest.bytes, digest.wrong), (total, false));
}

/// A slow reader of Node's stops nothing: it always tells a window of 4 MiB, acks, and keeps what comes (udx.24).
#[test]
fn a_reader_of_nodes_that_pauses_loses_nothing() {
    if skipped("udx::a_reader_of_nodes_that_pauses_loses_nothing") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, json!({"hash": true}));
    judge.ask(&mut real, json!({"op": "pause", "id": 2}));
    let total = 8 << 20;
    real.bulk_open(id, total);
    real.with(|udx, cx| udx.flush(cx, id)).expect("open");
    real.until_event(&Event::Flushed { stream: id });
    assert_eq!(real.udx.stats(id).expect("live").send_window, 4 << 20);
    real.end(id);
    judge.ask(&mut real, json!({"op": "resume", "id": 2}));
    let end = judge.wait(&mut real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
}

/// What two of us reach on this machine. Run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn between_two_of_us() {
    let mut here = Real::new();
    let port = here.port();
    let (tell, told) = channel();
    let reader = std::thread::spawn(move || {
        let mut there = Real::new();
        there.digest = Some(Digest::default());
        tell.send(there.port()).expect("the test lives");
        let id = there.stream(2, 1, port);
        there.until_event(&Event::Ended { stream: id });
        there.end(id);
        there.until_event(&Event::Closed { stream: id, why: Why::Ended });
        let digest = there.digest.take().expect("set above");
        assert_eq!((digest.bytes, digest.wrong), (BULK * 4, false));
    });
    let id = here.stream(1, 2, told.recv().expect("the reader lives"));
    let began = Instant::now();
    here.bulk(id, BULK * 4);
    let mut stats = here.udx.stats(id);
    here.until("the end", |real| {
        stats = real.udx.stats(id).or(stats);
        real.events.contains(&Event::Closed { stream: id, why: Why::Ended })
    });
    speed("between two of us", BULK * 4, began);
    eprintln!("{stats:?}");
    reader.join().expect("all arrived");
}
