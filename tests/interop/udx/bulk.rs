//! Much data both ways at once, on the sockets that nodes have, with equal hashes on either side. `SECKEL_BULK_MB` says
//! how much goes each way.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use blake2::{Blake2b512, Digest};
use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use seckel::base::{Addr, Cx, Machine, NoTrace, Seeded, SocketId, Time, hex};
use seckel::edge::udp::{Inbox, Left, Udp};
use seckel::sim::ramdisk::RamDisk;
use seckel::udx::{Event, Input, Output, StreamId, Udx, Why};

use super::{Judge, Real};
use crate::support::skipped;

const BLOCK: usize = 64 * 1024;
/// Without a byte in this time nothing more will come.
const PATIENCE: Duration = Duration::from_secs(60);

fn megabytes() -> usize {
    std::env::var("SECKEL_BULK_MB").map_or(256, |text| text.parse().expect("SECKEL_BULK_MB is a number"))
}

/// One stream on a socket of a node, that writes blocks and hashes what comes.
struct Fast {
    poll: Poll,
    ready: Events,
    udp: Udp,
    inbox: Inbox,
    unread: bool,
    udx: Udx,
    started: Instant,
    disk: RamDisk,
    /// What was written, and what came.
    wrote: Blake2b512,
    read: Blake2b512,
    bytes: usize,
    ended: bool,
    closed: Option<Why>,
}

impl Fast {
    fn new() -> Fast {
        let poll = Poll::new().expect("a poll");
        let mut udp = Udp::bind([127, 0, 0, 1], 0).expect("a socket");
        poll.registry().register(udp.source(), Token(0), Interest::READABLE).expect("registers");
        Fast {
            poll,
            ready: Events::with_capacity(8),
            udp,
            inbox: Inbox::default(),
            unread: false,
            udx: Udx::new(),
            started: Instant::now(),
            disk: RamDisk::new(),
            wrote: Blake2b512::new(),
            read: Blake2b512::new(),
            bytes: 0,
            ended: false,
            closed: None,
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Udx, &mut Cx<'_>) -> T) -> T {
        let now = Time::from_micros(self.started.elapsed().as_micros() as u64);
        let mut entropy = Seeded::new(1);
        act(&mut self.udx, &mut Cx { now, entropy: &mut entropy, disk: &mut self.disk, trace: &mut NoTrace })
    }

    fn port(&self) -> u16 {
        self.udp.local().expect("bound").port
    }

    fn connect(&mut self, local: u32, remote: u32, port: u16) -> StreamId {
        self.with(|udx, cx| {
            let id = udx.open(cx, local).expect("free");
            udx.connect(cx, id, SocketId::SERVER, remote, Addr::loopback(port)).expect("new");
            id
        })
    }

    fn settle(&mut self) {
        loop {
            while let Some(Output::Send { to, bytes, ttl, .. }) = self.with(|udx, cx| udx.poll_output(cx)) {
                self.udp.send(to, &bytes, ttl);
            }
            self.udp.flush();
            self.udp.send_waiting();
            let Some(event) = self.udx.poll_event() else { return };
            match event {
                Event::Data { bytes, .. } => {
                    assert!(!self.ended, "data after the end");
                    self.bytes += bytes.len();
                    self.read.update(&bytes);
                }
                Event::Ended { .. } => self.ended = true,
                Event::Closed { why, .. } => self.closed = Some(why),
                Event::Connected { .. }
                | Event::Called { .. }
                | Event::Message { .. }
                | Event::Drained { .. }
                | Event::Flushed { .. } => {}
            }
        }
    }

    fn turn(&mut self) {
        self.settle();
        let now = Time::from_micros(self.started.elapsed().as_micros() as u64);
        let due = self.udx.poll_timeout().map(|due| Duration::from_micros(due.at.since(now).as_micros()));
        let most = if self.unread { Duration::ZERO } else { Duration::from_millis(50) };
        self.poll.poll(&mut self.ready, Some(due.map_or(most, |due| due.min(most)))).expect("polls");
        if self.unread || !self.ready.is_empty() {
            let (count, left) = self.inbox.receive(&self.udp);
            self.unread = left == Left::Perhaps;
            let mut inbox = core::mem::take(&mut self.inbox);
            for index in 0..count {
                let Some((from, joined, each)) = inbox.get(index) else { continue };
                for bytes in joined.chunks(each) {
                    let socket = SocketId::SERVER;
                    self.with(|udx, cx| udx.handle_input(cx, Input::Datagram { socket, from, bytes }));
                }
            }
            core::mem::swap(&mut self.inbox, &mut inbox);
        }
        self.with(|udx, cx| udx.handle_timeout(cx));
    }

    /// Writes as many blocks, ends, and goes on until the other side has ended too, and both have said so.
    fn pump(&mut self, id: StreamId, blocks: usize) {
        let mut block = vec![0; BLOCK];
        seckel::base::Entropy::fill(&mut Seeded::new(u64::from(self.port())), &mut block);
        let (mut n, mut ended, mut last, mut seen) = (0_u32, false, Instant::now(), (0, 0));
        while self.closed.is_none() {
            while (n as usize) < blocks {
                block[..4].copy_from_slice(&n.to_le_bytes());
                let unsent = self.udx.stats(id).expect("live").unsent_bytes;
                if unsent > 4 * BLOCK {
                    break;
                }
                self.with(|udx, cx| udx.write(cx, id, &block)).expect("open");
                self.wrote.update(&block);
                n += 1;
            }
            if n as usize == blocks && !ended {
                self.with(|udx, cx| udx.end(cx, id)).expect("open");
                ended = true;
            }
            self.turn();
            if seen != (self.bytes, n) {
                (seen, last) = ((self.bytes, n), Instant::now());
            }
            let stats = self.udx.stats(id);
            assert!(
                last.elapsed() < PATIENCE,
                "{n} of {blocks} blocks written, {} read; {stats:?}",
                self.bytes
            );
        }
        assert_eq!((self.closed, self.ended), (Some(Why::Ended), true));
        assert_eq!(self.bytes, blocks * BLOCK);
    }

    fn sums(self) -> [String; 2] {
        [self.wrote, self.read].map(|hash| hex::encode(&hash.finalize()))
    }
}

fn tell(what: &str, began: Instant) {
    let (mb, seconds) = (megabytes(), began.elapsed().as_secs_f64());
    eprintln!("{what}: {mb} MB each way in {seconds:.1} s, {:.0} MB/s together", 2.0 * mb as f64 / seconds);
}

#[test]
fn both_ways_at_once_with_node() {
    if skipped("udx::bulk::both_ways_at_once_with_node") {
        return;
    }
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let blocks = megabytes() * 16;
    let mut fast = Fast::new();
    let ours = fast.connect(1, 2, judge.port);
    judge.ask(&mut real, json!({"op": "stream", "id": 2, "sum": true}));
    judge.ask(&mut real, json!({"op": "connect", "id": 2, "remote": 1, "port": fast.port()}));
    let began = Instant::now();
    judge.say(json!({"op": "pump", "id": 2, "blocks": blocks, "seed": "bulk"}));
    fast.pump(ours, blocks);
    tell("with node", began);
    let told = judge.hear(&mut real);
    let heard = judge.wait(&mut real, "end", 2);
    judge.wait(&mut real, "close", 2);
    assert_eq!(heard["bytes"].as_u64(), Some((blocks * BLOCK) as u64));
    let [wrote, read] = fast.sums();
    assert_eq!((heard["sum"].as_str(), told["sum"].as_str()), (Some(&wrote[..]), Some(&read[..])));
}

#[test]
fn both_ways_at_once_between_two_of_us() {
    let blocks = megabytes() * 16;
    let (tell_port, port) = channel();
    let (answer, answered) = channel();
    let began = Instant::now();
    let other = std::thread::spawn(move || {
        let mut fast = Fast::new();
        tell_port.send(fast.port()).expect("the test lives");
        let id = fast.connect(2, 1, answered.recv().expect("the test lives"));
        fast.pump(id, blocks);
        fast.settle();
        fast.sums()
    });
    let mut fast = Fast::new();
    answer.send(fast.port()).expect("the thread lives");
    let id = fast.connect(1, 2, port.recv().expect("the thread lives"));
    fast.pump(id, blocks);
    tell("between two of us", began);
    while !other.is_finished() {
        fast.turn(); // its last ack may have been lost
    }
    let [wrote, read] = fast.sums();
    assert_eq!(other.join().expect("it came to its end"), [read, wrote]);
}
