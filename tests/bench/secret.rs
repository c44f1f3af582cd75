//! Encrypted streams of hyperdht between two processes: bulk, ping-pong, connects. The first message of a connection
//! says what the server does with the rest: `sink` (count, tell the count at the end) or `echo`.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use seckel::base::hex;
use seckel::edge::host::{Host, NodeId};
use seckel::node::{ConnId, Event};

use super::common::{Args, Latencies, Report, cpu, fill, now_ms, vm};
use super::process::{
    Peer, Program, bare_udp_us, bootstrap, finish, key, new_key_pair, say, serve, testnet_role, udp_role,
};

enum Mode {
    Echo,
    Sink { bytes: u64, begun: Option<(f64, f64)> },
}

fn server(opts: &Args) -> ! {
    let mut program = Program::join(opts.value("bootstrap"));
    let pairs: Vec<_> = (0..1 + opts.number("strangers", 0)).map(|_| new_key_pair()).collect();
    for pair in &pairs {
        let listening = program.net().listen(pair, false).expect("listens");
        program.until(|_, event| {
            matches!(event, Event::Listening { server } if *server == listening).then_some(())
        });
    }
    let keys: Vec<_> = pairs.iter().map(|pair| hex::encode(&pair.public)).collect();
    let ready = json!({ "ready": true, "key": keys[0], "strangers": keys[1..] });
    let mut modes: BTreeMap<ConnId, Mode> = BTreeMap::new();
    serve(&mut program.host, &ready, |host, id, event| on_event(host, id, event, &mut modes));
    drop(program);
    finish(&json!({}));
}

fn on_event(host: &mut Host, id: NodeId, event: Event, modes: &mut BTreeMap<ConnId, Mode>) {
    match event {
        Event::Data { conn, bytes } => match modes.get_mut(&conn) {
            None => {
                let mode = if bytes == b"echo" { Mode::Echo } else { Mode::Sink { bytes: 0, begun: None } };
                modes.insert(conn, mode);
            }
            Some(Mode::Echo) => {
                let _ = host.net(id).send(conn, &bytes);
            }
            Some(Mode::Sink { bytes: count, begun }) => {
                begun.get_or_insert_with(|| (now_ms(), cpu()));
                *count += bytes.len() as u64;
            }
        },
        Event::Ended { conn } => {
            if let Some(Mode::Sink { bytes, begun: Some((start, used)) }) = modes.get(&conn) {
                let (s, used) = ((now_ms() - start) / 1000.0, cpu() - used);
                say(&json!({ "bytes": bytes, "s": s, "cpu_s": used }));
            }
            host.net(id).close(conn);
        }
        Event::Closed { conn, .. } => {
            modes.remove(&conn);
        }
        _ => {}
    }
}

/// Sends `bytes` in messages of `size`; tells nothing without a prefix.
fn bulk(
    program: &mut Program,
    peer: &mut Peer,
    server: [u8; 32],
    prefix: &str,
    bytes: u64,
    size: usize,
    report: &mut Report,
) {
    let conn = program.connect(server, &new_key_pair(), false);
    program.send(conn, b"sink");
    let chunk = fill(size, 1);
    let (start, used) = (now_ms(), cpu());
    for _ in 0..bytes.div_ceil(size as u64) {
        program.send(conn, &chunk);
    }
    program.net().close(conn);
    program.until(|_, event| matches!(event, Event::Closed { conn: on, .. } if *on == conn).then_some(()));
    let got = peer.read();
    let (s, used) = ((now_ms() - start) / 1000.0, cpu() - used);
    if prefix.is_empty() {
        return;
    }
    let number = |name: &str| got[name].as_f64().unwrap_or(f64::NAN);
    report.figure(&format!("{prefix}_mb_s"), number("bytes") / 1e6 / number("s"));
    report.figure(&format!("{prefix}_tx_cpu_s_gb"), used / number("bytes") * 1e9);
    report.figure(&format!("{prefix}_rx_cpu_s_gb"), number("cpu_s") / number("bytes") * 1e9);
    report.figure(&format!("{prefix}_tx_cpu_share"), used / s);
    report.figure(&format!("{prefix}_rx_cpu_share"), number("cpu_s") / number("s"));
}

fn ping_pong(program: &mut Program, server: [u8; 32], count: usize, report: &mut Report) {
    let conn = program.connect(server, &new_key_pair(), false);
    program.send(conn, b"echo");
    let message = fill(64, 2);
    let mut latencies = Latencies::default();
    for _ in 0..count {
        let start = Instant::now();
        program.send(conn, &message);
        program.until(|_, event| matches!(event, Event::Data { conn: on, .. } if *on == conn).then_some(()));
        latencies.since(start);
    }
    program.net().destroy(conn);
    latencies.0.drain(..count / 4);
    report.figure("ping_p50_us", latencies.us(50.0));
    report.figure("ping_p99_us", latencies.us(99.0));
}

fn connects(program: &mut Program, server: [u8; 32], count: u64, report: &mut Report) {
    let mut latencies = Latencies::default();
    let (start, used) = (Instant::now(), cpu());
    for _ in 0..count {
        let begun = Instant::now();
        let conn = program.connect(server, &new_key_pair(), false);
        latencies.since(begun);
        program.net().destroy(conn);
    }
    let s = start.elapsed().as_secs_f64();
    report.figure("connect_p50_ms", latencies.ms(50.0));
    report.figure("connect_p99_ms", latencies.ms(99.0));
    report.figure("connect_seq_s", count as f64 / s);
    report.figure("connect_client_cpu_ms", (cpu() - used) / count as f64 * 1000.0);
}

/// To keys that this node has never been connected to: each needs a walk, a relay, and a way to the server.
fn first_connects(program: &mut Program, strangers: &[Value], report: &mut Report) {
    let mut latencies = Latencies::default();
    for stranger in strangers {
        let conn = latencies.time(|| program.connect(key(stranger), &new_key_pair(), false));
        program.net().destroy(conn);
    }
    report.figure("connect_first_p50_ms", latencies.ms(50.0));
    report.figure("connect_first_p99_ms", latencies.ms(99.0));
}

/// What a connection that nobody uses holds, with all that belongs to it, in this process.
fn idle_memory(program: &mut Program, server: [u8; 32], count: u64, report: &mut Report) {
    let anon = || vm()["RssAnon"].as_f64().unwrap_or(f64::NAN);
    let before = anon();
    let conns: Vec<ConnId> = (0..count).map(|_| program.connect(server, &new_key_pair(), false)).collect();
    report.figure("idle_conn_bytes", (anon() - before) * 1024.0 / count as f64);
    for conn in conns {
        program.net().destroy(conn);
    }
}

fn connects_at_once(program: &mut Program, server: [u8; 32], count: u64, inflight: u64, report: &mut Report) {
    let mut latencies = Latencies::default();
    let mut begun: BTreeMap<ConnId, Instant> = BTreeMap::new();
    let mut left = count;
    let start = Instant::now();
    while left > 0 || !begun.is_empty() {
        while left > 0 && (begun.len() as u64) < inflight {
            left -= 1;
            let at = Instant::now();
            let conn = program.net().connect(server, &new_key_pair(), false).expect("begins to connect");
            begun.insert(conn, at);
        }
        match program.next() {
            Event::Connected { conn, .. } => {
                if let Some(at) = begun.remove(&conn) {
                    latencies.since(at);
                    program.net().destroy(conn);
                }
            }
            Event::ConnectFailed { conn, why, .. } if begun.contains_key(&conn) => {
                panic!("no connection: {why}")
            }
            _ => {}
        }
    }
    report.figure("connect_par16_s", latencies.0.len() as f64 / start.elapsed().as_secs_f64());
    report.figure("connect_par16_p99_ms", latencies.ms(99.0));
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let (testnet, bootstrap) = bootstrap("secret", args);
    let strangers = args.number("strangers", 50);
    let opts = json!({ "bootstrap": bootstrap, "strangers": strangers });
    let mut peer = Peer::start("secret", "server", &opts);
    let ready = peer.read();
    let server = key(&ready["key"]);
    let mut program = Program::join(&bootstrap);
    program.bootstrapped();
    let chunk = args.number("chunk", 65_536) as usize;
    bulk(&mut program, &mut peer, server, "", 16_000_000, chunk, &mut report);
    bulk(&mut program, &mut peer, server, "bulk", args.number("mb", 512) * 1_000_000, chunk, &mut report);
    bulk(&mut program, &mut peer, server, "bulk_1k", 16_000_000, 1024, &mut report);
    report.figure("bare_udp_p50_us", bare_udp_us("secret"));
    ping_pong(&mut program, server, args.number("pings", 10_000) as usize, &mut report);
    let count = args.number("connects", 200);
    connects(&mut program, server, count, &mut report);
    if let Some(strangers) = ready["strangers"].as_array() {
        first_connects(&mut program, strangers, &mut report);
    }
    connects_at_once(&mut program, server, count * 2, args.number("inflight", 16), &mut report);
    idle_memory(&mut program, server, args.number("idle", 500), &mut report);
    report.info("server", peer.stop());
    testnet.map(Peer::stop);
    report
}

pub fn role(role: &str, opts: &Args) {
    match role {
        "server" => server(opts),
        "udp" => udp_role(),
        _ => testnet_role(opts.number("n", 5)),
    }
}
