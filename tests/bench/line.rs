//! A stream over a line with a round trip, a rate and a loss, on real sockets: 50 ms, 100 Mbit/s, nothing and one in a
//! hundred lost, unless told otherwise. The line is a process between the two ends: the simulator's line, by the clock.
//! With `--node SCRIPT` (`line.js`) each end is the real package in turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use seckel::base::{Addr, Seeded, Span, Time};
use seckel::edge::udp::{Inbox, Left, Udp};
use seckel::sim::Line;
use seckel::sim::link::{Fate, Wire};
use seckel::udx::{Event, StreamId};

use super::common::{Args, Latencies, Report, round};
use super::process::{Peer, finish, say};
use super::udx::{Streams, lines};

const CHUNK: usize = 65_536;
/// How long the line sleeps at most: it is late by about this much.
const NAP: Duration = Duration::from_micros(100);
/// Between two looks at a sender.
const SAMPLE: Duration = Duration::from_millis(250);

pub fn role(role: &str, opts: &Args) {
    if role == "line" { carry(opts) } else { end() }
}

/// One way of the line.
struct Way {
    line: Line,
    wire: Wire,
    /// What is on its way, in the order of its arrival.
    under_way: VecDeque<(Time, Vec<u8>)>,
    to: Addr,
    lost: u64,
}

impl Way {
    fn enter(&mut self, now: Time, bytes: &[u8]) {
        let fate = Fate::leaving(now, false).pass(&mut self.wire, &self.line, bytes.len());
        self.lost += u64::from(fate.is_lost());
        for arrival in fate.arrivals() {
            self.under_way.push_back((arrival.at, bytes.to_vec()));
        }
    }

    /// Lets go what has arrived.
    fn leave(&mut self, now: Time, udp: &mut Udp, late: &mut Lateness) {
        while let Some((at, bytes)) = self.under_way.pop_front_if(|(at, _)| *at <= now) {
            udp.send(self.to, &bytes, None);
            late.add(now.since(at));
        }
        udp.flush();
    }
}

/// How much later than due datagrams left.
#[derive(Default)]
struct Lateness {
    count: u64,
    sum: u64,
    worst: u64,
    above_1_ms: u64,
}

impl Lateness {
    fn add(&mut self, late: Span) {
        let late = late.as_micros();
        self.count += 1;
        self.sum += late;
        self.worst = self.worst.max(late);
        self.above_1_ms += u64::from(late > 1000);
    }
}

/// Carries datagrams between two ports of this machine.
fn carry(opts: &Args) {
    let mut udp = Udp::bind([127, 0, 0, 1], 0).expect("a socket");
    say(&json!({ "ready": true, "port": udp.local().expect("bound").port }));
    let mut first = String::new();
    std::io::stdin().read_line(&mut first).expect("a line");
    let ports: Value = serde_json::from_str(&first).expect("two ports");
    let line = Line {
        delay: Span::from_micros(opts.number("rtt", 50) * 500),
        bytes_per_sec: Some(opts.number("mbit", 100) * 125_000),
        queue: Span::from_millis(opts.number("queue", 50)),
        loss_permille: opts.number("loss", 0),
        ..Line::CLEAR
    };
    let seed = Seeded::new(opts.number("seed", 1));
    let [mut there, mut back] = [("there", 1), ("back", 0)].map(|(name, index)| Way {
        line,
        wire: Wire::new(seed.fork(name)),
        under_way: VecDeque::new(),
        to: Addr::loopback(ports[index].as_u64().unwrap_or(0) as u16),
        lost: 0,
    });
    say(&json!({}));
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        told.store(true, Ordering::Relaxed);
    });
    let (start, mut inbox, mut late) = (Instant::now(), Inbox::default(), Lateness::default());
    while !ended.load(Ordering::Relaxed) {
        let now = || Time::from_micros(start.elapsed().as_micros() as u64);
        let (count, left) = inbox.receive(&udp);
        let came = now();
        for (from, joined, each) in (0..count).filter_map(|index| inbox.get(index)) {
            let way = if from == back.to { &mut there } else { &mut back };
            joined.chunks(each).for_each(|bytes| way.enter(came, bytes));
        }
        there.leave(now(), &mut udp, &mut late);
        back.leave(now(), &mut udp, &mut late);
        if count == 0 && left == Left::Nothing {
            std::thread::sleep(NAP);
        }
    }
    finish(&json!({
        "carried": late.count, "lost_there": there.lost, "lost_back": back.lost, "refused": udp.dropped,
        "late_us": late.sum / late.count.max(1), "late_worst_us": late.worst, "late_above_1_ms": late.above_1_ms,
    }));
}

/// What a stream of `end` does.
enum Work {
    Source { left: usize, bytes: usize, looked: Instant, samples: Vec<Value> },
    Sink { bytes: usize, begun: Option<Instant> },
}

fn end() {
    let mut streams = Streams::open();
    let told = lines(streams.waker.clone());
    say(&json!({ "ready": true, "port": streams.port() }));
    let mut work = None;
    loop {
        if let Some(event) = streams.next() {
            if let Some(work) = &mut work {
                on_event(&mut streams, work, event);
            }
            continue;
        }
        match told.try_recv() {
            Ok(line) => {
                let number = |name: &str| line[name].as_u64().unwrap_or(0);
                let stream = streams.connect(number("id"), number("remoteId"), number("port"));
                let bytes = number("bytes") as usize;
                let new = if bytes > 0 {
                    Work::Source { left: bytes, bytes, looked: Instant::now(), samples: Vec::new() }
                } else {
                    Work::Sink { bytes: 0, begun: None }
                };
                push(&mut streams, stream, work.insert(new));
                say(&json!({ "open": number("id") }));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => finish(&json!({})),
        }
    }
}

/// Writes until enough is queued; ends after the last byte.
fn push(streams: &mut Streams, stream: StreamId, work: &mut Work) {
    let Work::Source { left, looked, samples, .. } = work else { return };
    if looked.elapsed() >= SAMPLE {
        *looked = Instant::now();
        samples.push(sample(streams, stream));
    }
    while *left > 0 {
        let some = [1; CHUNK];
        let some = &some[..CHUNK.min(*left)];
        let room = streams.udx.write(&mut streams.bench.cx(), stream, some).expect("room");
        *left -= some.len();
        if *left == 0 {
            samples.push(sample(streams, stream));
            streams.udx.end(&mut streams.bench.cx(), stream).expect("ends");
        }
        if !room {
            return;
        }
    }
}

fn sample(streams: &Streams, stream: StreamId) -> Value {
    let stats = streams.udx.stats(stream).unwrap_or_default();
    json!({
        "rtt_ms": stats.rtt.map(|rtt| rtt.as_millis()), "cwnd": stats.congestion_window, "mtu": stats.mtu,
        "resends": stats.resends, "timeouts": stats.timeouts, "recoveries": stats.recoveries,
        "losses": stats.losses, "spurious": stats.spurious, "packets": stats.packets_out,
        "in_flight": stats.in_flight, "mbit_s": stats.bandwidth * 8 / 1_000_000,
        "paced_mbit_s": stats.pacing_rate * 8 / 1_000_000, "phase": format!("{:?}", stats.phase),
    })
}

fn on_event(streams: &mut Streams, work: &mut Work, event: Event) {
    match (event, work) {
        (Event::Drained { stream }, work @ Work::Source { .. }) => push(streams, stream, work),
        (Event::Data { bytes, .. }, Work::Sink { bytes: count, begun }) => {
            begun.get_or_insert_with(Instant::now);
            *count += bytes.len();
        }
        (Event::Ended { stream }, Work::Sink { bytes, begun }) => {
            let s = begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
            say(&json!({ "bytes": bytes, "s": s }));
            let _ = streams.udx.end(&mut streams.bench.cx(), stream);
        }
        (Event::Closed { .. }, Work::Source { bytes, samples, .. }) => {
            let mut last = samples.last().cloned().unwrap_or_default();
            last["sent"] = json!(bytes);
            last["samples"] = json!(samples);
            say(&last);
        }
        _ => {}
    }
}

/// One stream over a new line between two new processes. The megabits that arrived in a second.
fn once(args: &Args, ends: [&[String]; 2], loss: u64, seed: u64) -> (f64, Value) {
    let own = program();
    let line = json!({
        "loss": loss, "seed": seed, "rtt": args.number("rtt", 50), "mbit": args.number("mbit", 100),
        "queue": args.number("queue", args.number("rtt", 50)),
    });
    let mut line = Peer::run(&own, "line", "line", &line);
    let [mut from, mut to] = ends.map(|words| Peer::run(words, "line", "end", &json!({})));
    let ports = [&mut from, &mut to].map(|peer| peer.read()["port"].clone());
    let port = line.read()["port"].clone();
    line.send(&json!(ports));
    line.read();
    to.send(&json!({ "id": 2, "remoteId": 1, "port": port }));
    to.read();
    let bytes = args.number("mb", 100) * 1_000_000;
    from.send(&json!({ "id": 1, "remoteId": 2, "port": port, "bytes": bytes }));
    from.read();
    let got = to.read();
    let mut sent = from.read();
    if args.value("samples").is_null() {
        sent.as_object_mut().map(|sent| sent.remove("samples"));
    }
    assert_eq!(got["bytes"], json!(bytes), "all of it arrives");
    let s = got["s"].as_f64().unwrap_or(f64::NAN);
    let [tx, rx, line] = [from, to, line].map(Peer::stop);
    let share = |last: &Value| round(last["cpu_s"].as_f64().unwrap_or(f64::NAN) / s);
    let info = json!({
        "s": round(s), "sender": sent, "line": line,
        "cpu_share": { "sender": share(&tx), "receiver": share(&rx), "line": share(&line) },
    });
    (bytes as f64 * 8.0 / 1e6 / s, info)
}

/// This program, as the other process of a bench.
fn program() -> Vec<String> {
    let own = std::env::current_exe().expect("this program's path");
    vec![own.to_string_lossy().into_owned(), "peer".to_owned()]
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let mut programs = vec![("seckel", program())];
    if let Some(script) = args.text("node") {
        programs.insert(0, ("node", vec!["node".to_owned(), script.to_owned()]));
    }
    let pairs: Vec<_> = programs.iter().flat_map(|from| programs.iter().map(move |to| (from, to))).collect();
    let only = args.text("only").unwrap_or_default();
    let mut runs = std::collections::BTreeMap::<String, (Latencies, Vec<Value>)>::new();
    for run in 0..args.number("runs", 3) {
        for loss in [0, args.number("loss", 10)] {
            for (from, to) in &pairs {
                let name = format!("{}_to_{}_loss{loss}_mbit_s", from.0, to.0);
                if !name.starts_with(only) {
                    continue;
                }
                let (mbit, info) = once(args, [&from.1, &to.1], loss, args.number("seed", 1) + run);
                eprintln!("{name} {mbit:.2} {info}");
                let (figures, infos) = runs.entry(name).or_default();
                figures.0.push(mbit);
                infos.push(info);
            }
        }
    }
    for (name, (figures, infos)) in runs {
        report.figure(&name, figures.ms(50.0));
        report.info(&name, json!({ "runs": figures.0, "details": infos }));
    }
    report
}
