//! Instructions per datagram: two machines in one process, no sockets, a clock that is counted up. Run by valgrind,
//! whose counts are the same on every run and on a busy machine too.
//!
//! `counts` runs itself under `valgrind --tool=callgrind`, for each load and each of the four functions below;
//! `counts --load LOAD` is such a run. Each function does what the edge does, without the kernel's part.

use std::collections::VecDeque;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use seckel::base::{Addr, Cx, Machine, NoTrace, Seeded, SocketId, Span, Time};
use seckel::node::{self, Asked, Config, ConnId, DhtConfig, KeyPair, Net, Node};
use seckel::sim::ramdisk::RamDisk;
use seckel::udx::{self, StreamId, Udx};

use super::common::{Args, Report, Tmp, fill};

/// Loads: the machines, the bytes of a message, and whether the other side sends each back.
const LOADS: [(&str, bool, usize, bool); 5] = [
    ("udx_bulk", false, 65_536, false),
    ("udx_ping", false, 64, true),
    ("secret_bulk", true, 65_536, false),
    ("secret_1k", true, 1024, false),
    ("secret_ping", true, 64, true),
];
/// The parts of a run: functions whose instructions are counted, with all that they call.
const PARTS: [&str; 4] = ["data_out", "data_in", "ack_out", "ack_in"];
/// Datagrams that arrive together, as many as the kernel joins.
const JOINED: usize = 54;
const STEP: Span = Span::from_micros(20);

/// What a machine has of the world.
struct World {
    now: Time,
    entropy: Seeded,
    disk: RamDisk,
    trace: NoTrace,
}

impl World {
    fn new(seed: u64) -> World {
        World { now: Time::ZERO, entropy: Seeded::new(seed), disk: RamDisk::new(), trace: NoTrace }
    }

    fn cx(&mut self) -> Cx<'_> {
        let World { now, entropy, disk, trace } = self;
        Cx { now: *now, entropy, disk, trace }
    }
}

/// Datagrams that left, one behind the other.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    ends: VecDeque<(usize, SocketId, Addr)>,
}

impl Outbox {
    fn add(&mut self, socket: SocketId, to: Addr, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.wrote(socket, to);
    }

    fn wrote(&mut self, socket: SocketId, to: Addr) {
        self.ends.push_back((self.bytes.len(), socket, to));
    }
}

/// One of the two ends.
trait End {
    /// False: there is no room now.
    fn write(&mut self, bytes: &[u8]) -> bool;
    fn poll(&mut self, out: &mut Outbox);
    fn take(&mut self, bytes: &[u8], each: usize);
    /// Bytes that arrived.
    fn read(&mut self) -> usize;
    fn pass(&mut self, time: Span);
}

struct UdxEnd {
    world: World,
    udx: Udx,
    stream: StreamId,
    open: bool,
    other: Addr,
}

impl End for UdxEnd {
    fn write(&mut self, bytes: &[u8]) -> bool {
        if self.open {
            self.open = self.udx.write(&mut self.world.cx(), self.stream, bytes).expect("room");
            return true;
        }
        false
    }

    fn poll(&mut self, out: &mut Outbox) {
        while let Some(packet) = self.udx.poll_into(&mut self.world.cx(), &mut out.bytes) {
            out.wrote(packet.socket, packet.to);
        }
    }

    fn take(&mut self, bytes: &[u8], each: usize) {
        for bytes in bytes.chunks(each) {
            let input = udx::Input::Datagram { socket: SocketId::SERVER, from: self.other, bytes };
            self.udx.handle_input(&mut self.world.cx(), input);
        }
    }

    fn read(&mut self) -> usize {
        let mut read = 0;
        while let Some(event) = self.udx.poll_event() {
            match event {
                udx::Event::Data { bytes, .. } => read += bytes.len(),
                udx::Event::Drained { .. } => self.open = true,
                _ => {}
            }
        }
        read
    }

    fn pass(&mut self, time: Span) {
        self.world.now += time;
        if self.udx.poll_timeout().is_some_and(|due| due.at <= self.world.now) {
            self.udx.handle_timeout(&mut self.world.cx());
        }
    }
}

fn udx_ends() -> [UdxEnd; 2] {
    let [port, other] = [1, 2].map(Addr::loopback);
    [(1, 10, 20, other), (2, 20, 10, port)].map(|(seed, local, remote, other)| {
        let (mut world, mut udx) = (World::new(seed), Udx::new());
        let stream = udx.open(&mut world.cx(), local).expect("a free id");
        udx.connect(&mut world.cx(), stream, SocketId::SERVER, remote, other).expect("connects");
        UdxEnd { world, udx, stream, open: true, other }
    })
}

struct NodeEnd {
    world: World,
    node: Node,
    conn: Option<ConnId>,
    /// Where its stream's packets come from and go to.
    path: (SocketId, Addr),
}

impl End for NodeEnd {
    fn write(&mut self, bytes: &[u8]) -> bool {
        let conn = self.conn.expect("connected");
        Net::new(&mut self.node, self.world.cx()).send(conn, bytes).is_ok()
    }

    fn poll(&mut self, out: &mut Outbox) {
        while let Some(asked) = self.node.poll_into(&mut self.world.cx(), &mut out.bytes) {
            match asked {
                Asked::Packet(packet) => out.wrote(packet.socket, packet.to),
                Asked::Output(node::Output::Send { socket, to, bytes, .. }) => out.add(socket, to, &bytes),
                Asked::Output(_) => {}
            }
        }
    }

    fn take(&mut self, bytes: &[u8], each: usize) {
        let (socket, from) = self.path;
        self.node.handle_input(&mut self.world.cx(), node::Input::Datagrams { socket, from, bytes, each });
    }

    fn read(&mut self) -> usize {
        let mut read = 0;
        while let Some(event) = self.node.poll_event() {
            match event {
                node::Event::Data { bytes, .. } => read += bytes.len(),
                node::Event::Connected { conn, .. } => self.conn = Some(conn),
                _ => {}
            }
        }
        read
    }

    fn pass(&mut self, time: Span) {
        self.world.now += time;
        if self.node.poll_timeout().is_some_and(|due| due.at <= self.world.now) {
            self.node.handle_timeout(&mut self.world.cx());
        }
    }
}

/// Where socket `socket` of node `of` is bound.
fn address(of: usize, socket: SocketId) -> Addr {
    Addr::loopback(1000 * (of as u16 + 1) + socket.0 as u16)
}

/// Two nodes, the second connected to a server of the first.
fn node_ends() -> [NodeEnd; 2] {
    let mut ends = [0, 1].map(|of| {
        let mut world = World::new(of);
        let bootstrap = if of == 0 { Vec::new() } else { vec![address(0, SocketId::SERVER)] };
        let dht = DhtConfig {
            bootstrap,
            host: [127, 0, 0, 1],
            ephemeral: Some(false),
            firewalled: false,
            ..DhtConfig::default()
        };
        let mut node = Node::new(&mut world.cx(), Config { dht, ..Config::default() });
        node.handle_input(&mut world.cx(), node::Input::Interfaces(&[[127, 0, 0, 1]]));
        NodeEnd { world, node, conn: None, path: (SocketId::SERVER, Addr::loopback(0)) }
    });
    carry(&mut ends, 2000);
    let pair = KeyPair::from_seed([1; 32]);
    let first = &mut ends[0];
    Net::new(&mut first.node, first.world.cx()).listen(&pair, false).expect("listens");
    carry(&mut ends, 2000);
    let second = &mut ends[1];
    let own = KeyPair::from_seed([2; 32]);
    Net::new(&mut second.node, second.world.cx())
        .connect(pair.public, &own, false)
        .expect("begins to connect");
    carry(&mut ends, 2000);
    assert!(ends.iter().all(|end| end.conn.is_some()), "both are connected");
    assert!(ends[1].write(b"hello"));
    let path = carry(&mut ends, 2000).expect("it leaves");
    ends[0].path = path;
    ends[1].path = (SocketId::SERVER, path.1);
    for of in [0, 1] {
        assert!(ends[of].write(b"hello"), "the path of both is known");
        let path = carry(&mut ends, 2000).expect("it leaves");
        ends[1 - of].path = path;
    }
    ends
}

/// Carries datagrams between two nodes for so many milliseconds. Returns where the first came from and to.
fn carry(ends: &mut [NodeEnd; 2], millis: usize) -> Option<(SocketId, Addr)> {
    let mut first = None;
    for _ in 0..millis {
        for of in [0, 1] {
            ends[of].pass(Span::from_millis(1));
            ends[of].read();
            while let Some(output) = {
                let end = &mut ends[of];
                end.node.poll_output(&mut end.world.cx())
            } {
                match output {
                    node::Output::Bind { socket, .. } => {
                        let input = node::Input::Bound { socket, local: address(of, socket) };
                        let end = &mut ends[of];
                        end.node.handle_input(&mut end.world.cx(), input);
                    }
                    node::Output::Send { socket, to, bytes, .. } => {
                        let other = usize::from(to.port) / 1000 - 1;
                        let at = SocketId(usize::from(to.port % 1000) as _);
                        let from = address(of, socket);
                        first.get_or_insert((at, from));
                        let end = &mut ends[other];
                        let input = node::Input::Datagram { socket: at, from, bytes: &bytes };
                        end.node.handle_input(&mut end.world.cx(), input);
                    }
                    node::Output::Close { .. } => {}
                }
            }
        }
    }
    first
}

#[inline(never)]
fn data_out<E: End>(end: &mut E, message: &[u8], most: u64, out: &mut Outbox) -> u64 {
    let mut written = 0;
    while written < most && end.write(message) {
        written += message.len() as u64;
    }
    end.poll(out);
    written
}

#[inline(never)]
fn data_in<E: End>(end: &mut E, bytes: &[u8], each: usize) -> u64 {
    end.take(bytes, each);
    end.read() as u64
}

#[inline(never)]
fn ack_out<E: End>(end: &mut E, out: &mut Outbox) {
    end.poll(out);
}

#[inline(never)]
fn ack_in<E: End>(end: &mut E, bytes: &[u8], each: usize) {
    end.take(bytes, each);
    end.read();
}

/// Takes the datagrams at the front that could have arrived joined.
fn joined(out: &mut Outbox, start: &mut usize) -> Option<(std::ops::Range<usize>, usize, u64)> {
    let from = *start;
    let &(first, ..) = out.ends.front()?;
    let each = first - from;
    let mut count = 0;
    while let Some(&(end, ..)) = out.ends.front()
        && end - *start <= each
        && count < JOINED as u64
        && (*start - from).is_multiple_of(each)
    {
        *start = end;
        count += 1;
        out.ends.pop_front();
    }
    Some((from..*start, each, count))
}

/// Moves `total` bytes, and says how many datagrams each of the four functions had.
fn load<E: End>(ends: &mut [E; 2], total: u64, size: usize, echo: bool) -> [u64; 4] {
    let message = fill(size, 1);
    let (mut written, mut read) = (0, 0);
    let mut counts = [0; 4];
    while read < total {
        ends.iter_mut().for_each(|end| end.pass(STEP));
        let mut out = Outbox::default();
        let most = if echo { if read == written { 1 } else { 0 } } else { total - written };
        written += data_out(&mut ends[0], &message, most, &mut out);
        counts[0] += out.ends.len() as u64;
        let mut start = 0;
        while let Some((range, each, count)) = joined(&mut out, &mut start) {
            let got = data_in(&mut ends[1], &out.bytes[range], each);
            counts[1] += count;
            read += got;
            let mut back = Outbox::default();
            if echo && got > 0 {
                counts[0] += 0;
                data_out(&mut ends[1], &message, 1, &mut back);
                counts[0] += back.ends.len() as u64;
                let mut start = 0;
                while let Some((range, each, count)) = joined(&mut back, &mut start) {
                    data_in(&mut ends[0], &back.bytes[range], each);
                    counts[1] += count;
                }
                continue;
            }
            ack_out(&mut ends[1], &mut back);
            counts[2] += back.ends.len() as u64;
            let mut start = 0;
            while let Some((range, each, count)) = joined(&mut back, &mut start) {
                ack_in(&mut ends[0], &back.bytes[range], each);
                counts[3] += count;
            }
        }
    }
    counts
}

/// One load; prints how many datagrams each function had.
fn inner(name: &str, datagrams: u64) {
    let (_, secret, size, echo) = *LOADS.iter().find(|load| load.0 == name).expect("a load");
    let total = datagrams * if echo { size as u64 } else { 1152 };
    let counts = if secret {
        load(&mut node_ends(), total, size, echo)
    } else {
        load(&mut udx_ends(), total, size, echo)
    };
    println!("{}", json!(counts));
}

/// Instructions of one of the functions, with all that it calls, in one run.
fn instructions(load: &str, part: &str, datagrams: u64) -> (f64, Value) {
    let folder = Tmp::new("counts");
    let file = folder.path().join("callgrind");
    let made = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(format!("--toggle-collect=*counts::{part}*"))
        .arg(std::env::current_exe().expect("this program's path"))
        .args(["counts", "--load", load, "--datagrams", &datagrams.to_string()])
        .stderr(Stdio::null())
        .output()
        .expect("valgrind is installed");
    let text = std::fs::read_to_string(file).expect("valgrind tells what it counted");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    let counts = serde_json::from_slice(&made.stdout).expect("counts of datagrams");
    (total.trim().parse().expect("a number"), counts)
}

pub fn run(args: &Args) -> Report {
    let datagrams = args.number("datagrams", 5_000);
    if let Some(name) = args.text("load") {
        inner(name, datagrams);
        std::process::exit(0);
    }
    let mut report = Report::default();
    for (load, ..) in LOADS {
        for (at, part) in PARTS.iter().enumerate() {
            let (total, counts) = instructions(load, part, datagrams);
            let count = counts[at].as_f64().unwrap_or(0.0);
            if count > 0.0 {
                report.figure(&format!("{load}_{part}"), (total / count).round());
            }
            report.info(load, counts);
        }
    }
    report
}
