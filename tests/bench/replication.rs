//! A core copied to an empty one, both on disk: in one process over a pair of encrypted streams, and between two
//! processes over hyperdht and hyperswarm.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::json;

use seckel::base::{Bytes, Cx, Disk, Key, Machine, Mode, Seeded, hex};
use seckel::crypto::hash;
use seckel::crypto::secretstream::{BEHIND, FRONT, OVERHEAD, Pull, Push};
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::Host;
use seckel::hypercore::replicate::{self, PeerId};
use seckel::hypercore::{Durability, Hypercore, Live, Open};
use seckel::node::{Event, JoinOptions};
use seckel::protomux::{self, ChannelId, Protomux};
use seckel::secret_stream::{self, SecretStream};

use super::common::{Args, Bench, Report, Timed, Tmp, cpu, fill, now_ms, numbered, timed};
use super::process::{Peer, Program, finish, new_key_pair, serve, testnet_role};

/// The blocks of the core that is copied, in the batches in which they are appended.
fn batches(count: u64, size: usize) -> impl Iterator<Item = Vec<Vec<u8>>> {
    let base = fill(size, 3);
    let per = if size > 1000 { 16 } else { 1000 };
    (0..count)
        .step_by(per)
        .map(move |first| (first..count.min(first + per as u64)).map(|i| numbered(&base, i)).collect())
}

/// One side: a core, its channel, and the encrypted stream below.
struct Side {
    bench: Bench,
    live: Live,
    stream: SecretStream,
    mux: Protomux,
    channel: Option<ChannelId>,
    hash: [u8; 64],
    initiator: bool,
    out: VecDeque<Bytes>,
}

const PEER: PeerId = PeerId(1);
/// Bytes that a side says before the other side is heard: a connection takes no more at once either.
const TURN_BYTES: usize = 256 << 10;

impl Side {
    fn new(folder: &Path, key: Option<Key>, initiator: bool) -> Side {
        let mut bench = Bench::open(folder);
        let open = Open { key, durability: Durability::Kernel, ..Open::default() };
        let core = Hypercore::open(&mut bench.cx(), "core", open).expect("the core opens");
        let pair = new_key_pair();
        let stream = SecretStream::handshake(&mut bench.cx(), initiator, &pair);
        let mut mux = Protomux::new();
        mux.gather();
        Side {
            bench,
            live: Live::new(core),
            stream,
            mux,
            channel: None,
            hash: [0; 64],
            initiator,
            out: VecDeque::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.stream.handle_input(&mut self.bench.cx(), secret_stream::Input::Bytes(bytes));
    }

    /// Carries values between the layers until nothing moves; true if something did.
    fn settle(&mut self) -> bool {
        let Side { bench, live, stream, mux, channel, hash, initiator, out } = self;
        let cx: &mut Cx<'_> = &mut bench.cx();
        let mut moved = false;
        while let Some(event) = stream.poll_event() {
            moved = true;
            match event {
                secret_stream::Event::Open { handshake_hash, .. } => {
                    *hash = handshake_hash;
                    let handshake = live.local_handshake(hash, *initiator);
                    let id = *live.core.discovery_key();
                    let open = protomux::Open {
                        handshake: &handshake,
                        ..protomux::Open::new(replicate::PROTOCOL, Some(&id))
                    };
                    *channel = Some(mux.open(cx, open).expect("the channel opens"));
                }
                secret_stream::Event::Message(bytes) => {
                    mux.handle_input(cx, protomux::Input::Message(&bytes));
                    moved |= take_mux(cx, mux, live, hash, *initiator);
                }
                _ => {}
            }
        }
        moved |= take_mux(cx, mux, live, hash, *initiator);
        let mut sent = 0;
        while sent < TURN_BYTES
            && let Some(output) = live.poll_output(cx)
        {
            moved = true;
            if let (replicate::Output::Message { kind, bytes, .. }, Some(channel)) = (output, *channel) {
                sent += bytes.len();
                let _ = mux.send(cx, channel, kind, &bytes);
            }
        }
        while live.poll_event().is_some() {
            moved = true;
        }
        // What was gathered in this turn leaves, as in a node.
        mux.write_gathered();
        while let Some(output) = mux.poll_output(cx) {
            moved = true;
            if let protomux::Output::Message(bytes) = output {
                stream.send(cx, &bytes).expect("the stream takes it");
            }
        }
        while let Some(output) = stream.poll_output(cx) {
            moved = true;
            if let secret_stream::Output::Write(bytes) = output {
                out.push_back(bytes);
            }
        }
        moved
    }
}

fn take_mux(cx: &mut Cx<'_>, mux: &mut Protomux, live: &mut Live, hash: &[u8; 64], initiator: bool) -> bool {
    let mut moved = false;
    while let Some(event) = mux.poll_event() {
        moved = true;
        let input = match &event {
            protomux::Event::Opened { handshake, .. } => replicate::Input::PeerOpened {
                peer: PEER,
                remote_handshake: handshake,
                handshake_hash: hash,
                initiator,
            },
            protomux::Event::Message { kind, bytes, .. } => {
                replicate::Input::Message { peer: PEER, kind: *kind, bytes }
            }
            _ => continue,
        };
        live.handle_input(cx, input);
    }
    moved
}

fn in_process(count: u64, size: usize) -> Timed {
    let (one, other) = (Tmp::new("rep"), Tmp::new("rep"));
    let mut source = Side::new(one.path(), None, true);
    for batch in batches(count, size) {
        source.live.core.append(&mut source.bench.cx(), &batch).expect("appends");
    }
    let key = *source.live.core.key();
    let mut copy = Side::new(other.path(), Some(key), false);
    let (took, ()) = timed(|| {
        copy.live.download_all(&mut copy.bench.cx(), true);
        loop {
            let mut moved = source.settle();
            while let Some(bytes) = source.out.pop_front() {
                copy.take(&bytes);
            }
            moved |= copy.settle();
            while let Some(bytes) = copy.out.pop_front() {
                source.take(&bytes);
            }
            if !moved {
                return;
            }
        }
    });
    assert_eq!((copy.live.core.length(), copy.live.core.contiguous_length()), (count, count));
    source.live.core.close(&mut source.bench.cx()).expect("closes");
    copy.live.core.close(&mut copy.bench.cx()).expect("closes");
    took
}

/// What copying 64 KiB blocks in one thread is made of at least: each is read, hashed by both sides, sealed, opened and
/// written; in MB/s.
fn limit_64k(count: u64) -> f64 {
    let tmp = Tmp::new("limit");
    let mut disk = Bench::open(tmp.path()).disk;
    let file = disk.open("plain", Mode::Write).expect("opens");
    let base = fill(65_536, 3);
    for at in 0..count {
        disk.write_at(file, at * 65_536, &base).expect("writes");
    }
    let copy = disk.open("copy", Mode::Write).expect("opens");
    let (mut push, header) = Push::new(&mut Seeded::new(1), &[7; 32]);
    let mut pull = Pull::new(&[7; 32], &header);
    let mut block = vec![0; 65_536];
    let (took, ()) = timed(|| {
        for at in 0..count {
            disk.read_at(file, at * 65_536, &mut block).expect("reads");
            std::hint::black_box(hash::blake2b_256(&[&block]));
            let mut sealed = Vec::with_capacity(FRONT + block.len() + OVERHEAD + BEHIND);
            sealed.resize(FRONT + 1, 0);
            sealed.extend_from_slice(&block);
            push.seal(&mut sealed);
            let opened = pull.pull(&sealed[FRONT..]).expect("opens");
            std::hint::black_box(hash::blake2b_256(&[&opened]));
            disk.write_at(copy, at * 65_536, &opened).expect("writes");
        }
    });
    disk.close(file);
    disk.close(copy);
    count as f64 * 65_536.0 / 1e6 / took.s
}

fn server(opts: &Args) -> ! {
    let (count, size) = (opts.number("n", 1), opts.number("size", 100) as usize);
    let mut program = Program::join(opts.value("bootstrap"));
    let store = program.net().store("").expect("a store");
    let core = program.net().core(store, "bench").expect("a core");
    for batch in batches(count, size) {
        let blocks: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        program.net().append(core, &blocks).expect("appends");
    }
    let info = program.net().core_info(core).expect("is open");
    announce(&mut program, &new_key_pair(), info.discovery_key);
    let ready = json!({ "ready": true, "key": hex::encode(&info.key) });
    let mut mark = cpu();
    let Program { mut host, folder, .. } = program;
    serve(&mut host, &ready, |host: &mut Host, id, event| {
        if let Event::Connected { conn, .. } = event {
            mark = cpu();
            let _ = host.net(id).replicate(conn, store);
        }
    });
    let used = cpu() - mark;
    drop(folder);
    finish(&json!({ "used_s": used }));
}

/// Joins a topic as a server, and waits until it is announced.
pub fn announce(program: &mut Program, key_pair: &KeyPair, topic: Key) {
    let mut net = program.net();
    net.swarm(key_pair);
    net.join(topic, JoinOptions { server: true, client: false }).expect("joins");
    program.until(|_, event| matches!(event, Event::Refreshed { topic: of } if *of == topic).then_some(()));
}

struct Copied {
    s: f64,
    connect: f64,
    cpu: f64,
    server: f64,
}

fn two_processes(count: u64, size: usize) -> Copied {
    let mut testnet = Peer::start("replication", "testnet", &json!({ "n": 5 }));
    let bootstrap = testnet.read()["bootstrap"].clone();
    let opts = json!({ "n": count, "size": size, "bootstrap": bootstrap });
    let mut server = Peer::start("replication", "server", &opts);
    let key = super::process::key(&server.read()["key"]);

    let mut program = Program::join(&bootstrap);
    let mut net = program.net();
    let store = net.store("").expect("a store");
    let core = net.core_by_key(store, &key).expect("a core");
    net.download(core).expect("is open");
    let topic = net.core_info(core).expect("is open").discovery_key;
    net.swarm(&new_key_pair());
    let start = now_ms();
    net.join(topic, JoinOptions { server: false, client: true }).expect("joins");
    let mut connected = None;
    let (at, used) = program.until(|net, event| {
        match event {
            Event::Connected { conn, .. } => {
                let _ = net.replicate(*conn, store);
                connected.get_or_insert((now_ms(), cpu()));
            }
            Event::Downloaded { .. } => {
                let info = net.core_info(core).expect("is open");
                if info.contiguous_length == count {
                    return connected;
                }
            }
            _ => {}
        }
        None
    });
    let copied = Copied {
        s: (now_ms() - at) / 1000.0,
        connect: at - start,
        cpu: cpu() - used,
        server: server.stop()["used_s"].as_f64().unwrap_or(f64::NAN),
    };
    testnet.stop();
    copied
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let (small, big) = (args.number("small", 100_000), args.number("big", 1024));
    let (blocks, bytes) = (small as f64, big as f64 * 65_536.0);
    let pair = in_process(small, 100);
    report.figure("pair_100b_blocks_s", blocks / pair.s);
    report.figure("pair_100b_mb_s", blocks * 100.0 / 1e6 / pair.s);
    report.figure("pair_100b_cpu_us_block", pair.cpu / blocks * 1e6);
    let pair = in_process(big, 65_536);
    report.figure("pair_64k_mb_s", bytes / 1e6 / pair.s);
    report.figure("pair_64k_cpu_s_gb", pair.cpu / bytes * 1e9);
    report.figure("limit_pair_64k_mb_s", limit_64k(big));
    if args.number("swarm", 1) == 0 {
        return report;
    }
    let copied = two_processes(small, 100);
    report.figure("swarm_100b_blocks_s", blocks / copied.s);
    report.figure("swarm_100b_mb_s", blocks * 100.0 / 1e6 / copied.s);
    report.figure("swarm_100b_connect_ms", copied.connect);
    report.figure("swarm_100b_rx_cpu_us_block", copied.cpu / blocks * 1e6);
    report.figure("swarm_100b_tx_cpu_us_block", copied.server / blocks * 1e6);
    let copied = two_processes(big, 65_536);
    report.figure("swarm_64k_mb_s", bytes / 1e6 / copied.s);
    report.figure("swarm_64k_rx_cpu_s_gb", copied.cpu / bytes * 1e9);
    report.figure("swarm_64k_tx_cpu_s_gb", copied.server / bytes * 1e9);
    report
}

pub fn role(role: &str, opts: &Args) {
    match role {
        "server" => server(opts),
        _ => testnet_role(opts.number("n", 5)),
    }
}
