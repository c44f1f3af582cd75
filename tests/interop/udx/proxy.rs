//! A line between us and the real package that loses datagrams, doubles them and lets later ones pass.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use seckel::base::{Entropy, Seeded};
use seckel::udx::{Event, Why};

use super::{Digest, Judge, Real, bind};
use crate::support::skipped;

/// Each of a thousand datagrams, by kind of harm.
#[derive(Clone, Copy)]
struct Harm {
    lost: u64,
    doubled: u64,
    /// Held until some others have passed.
    late: u64,
}

struct Proxy {
    port: u16,
    stop: Arc<AtomicBool>,
    /// Datagrams that were harmed.
    harmed: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Between two ports: what one of them sends here goes to the other.
    fn start(ports: [u16; 2], seed: u64, harm: Harm) -> Proxy {
        let socket = bind();
        let port = socket.local_addr().expect("bound").port();
        let (stop, harmed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&harmed));
        let thread = std::thread::spawn(move || carry(&socket, ports, seed, harm, &stopped, &count));
        Proxy { port, stop, harmed, thread: Some(thread) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn carry(
    socket: &UdpSocket,
    ports: [u16; 2],
    seed: u64,
    harm: Harm,
    stop: &AtomicBool,
    harmed: &AtomicUsize,
) {
    socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
    let mut draw = Seeded::new(seed);
    let mut held: Vec<(usize, u16, Vec<u8>)> = Vec::new();
    let mut bytes = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let send = |to: u16, bytes: &[u8]| drop(socket.send_to(bytes, ("127.0.0.1", to)));
        let Ok((len, from)) = socket.recv_from(&mut bytes) else {
            held.drain(..).for_each(|(_, to, bytes)| send(to, &bytes));
            continue;
        };
        let to = if from.port() == ports[0] { ports[1] } else { ports[0] };
        let bytes = &bytes[..len];
        let [lost, doubled, late] =
            [harm.lost, harm.doubled, harm.late].map(|permille| draw.chance(permille));
        harmed.fetch_add(usize::from(lost || doubled || late), Ordering::Relaxed);
        if late {
            held.push((1 + draw.below(20) as usize, to, bytes.to_vec()));
        } else if !lost {
            (0..=usize::from(doubled)).for_each(|_| send(to, bytes));
        }
        for waiting in &mut held {
            waiting.0 -= 1;
        }
        held.retain(|(left, to, bytes)| {
            if *left == 0 {
                send(*to, bytes);
            }
            *left > 0
        });
    }
}

/// A megabyte each way at once over such a line, and both ends.
fn over(seed: u64, harm: Harm) {
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let proxy = Proxy::start([real.port(), judge.port], seed, harm);
    let id = real.stream(1, 2, proxy.port);
    judge.ask(&mut real, json!({"op": "stream", "id": 2, "hash": true}));
    judge.ask(&mut real, json!({"op": "connect", "id": 2, "remote": 1, "port": proxy.port}));
    real.digest = Some(Digest::default());
    let total = 1 << 20;
    judge.say(json!({"op": "bulk", "id": 2, "total": total}));
    real.bulk_open(id, total);
    // As in `over_a_lossy_path`: udx.46 knows an END without data from a packet that is missing.
    real.with(|udx, cx| udx.flush(cx, id)).expect("open");
    real.until_event(&Event::Flushed { stream: id });
    let stats = real.udx.stats(id).expect("live");
    real.end(id);
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    judge.hear(&mut real);
    let end = judge.wait(&mut real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(total as u64), &json!(true)));
    let digest = real.digest.take().expect("set above");
    assert_eq!((digest.bytes, digest.wrong), (total, false));
    judge.wait(&mut real, "close", 2);
    assert!(proxy.harmed.load(Ordering::Relaxed) > 10);
    assert_eq!((stats.bad_acks, stats.bad_blocks, stats.strangers), (0, 0, 0), "{stats:?}");
    assert!(
        (harm.lost > 0) <= (stats.resends > 0) && (harm.doubled > 0) <= (stats.duplicates > 0),
        "{stats:?}"
    );
}

#[test]
fn a_line_that_loses() {
    if skipped("udx::proxy::a_line_that_loses") {
        return;
    }
    over(1, Harm { lost: 30, doubled: 0, late: 0 });
}

#[test]
fn a_line_that_doubles_and_reorders() {
    if skipped("udx::proxy::a_line_that_doubles_and_reorders") {
        return;
    }
    over(2, Harm { lost: 0, doubled: 50, late: 50 });
}

#[test]
fn a_line_that_does_all_of_it() {
    if skipped("udx::proxy::a_line_that_does_all_of_it") {
        return;
    }
    over(3, Harm { lost: 50, doubled: 20, late: 50 });
}
