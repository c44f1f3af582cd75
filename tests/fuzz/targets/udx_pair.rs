//! Two ends of a UDX stream, and a network that loses, copies, reorders and, if the input begins so, forges.
//!
//! Without forgery what one end reads is a prefix of what the other wrote, and in the end all of it, whatever the
//! network did before.

use std::collections::VecDeque;

use seckel::base::{Addr, Cx, Machine, NoTrace, Seeded, SocketId, Span, Time};
use seckel::sim::ramdisk::RamDisk;
use seckel::udx::{Event, Input, Output, StreamId, Udx, Why};

use super::machines::mangled;
use super::{Draw, Drawn};

pub fn run(input: &[u8], _: bool) -> String {
    live(&mut Drawn::new(input));
    String::new()
}

struct End {
    udx: Udx,
    stream: StreamId,
    written: Vec<u8>,
    read: Vec<u8>,
    ended: bool,
    closed: bool,
    /// What was sent and has not arrived.
    away: VecDeque<Vec<u8>>,
}

struct Pair {
    now: Time,
    entropy: Seeded,
    ends: [End; 2],
    honest: bool,
}

const ADDRS: [Addr; 2] = [Addr::new([10, 0, 0, 1], 1), Addr::new([10, 0, 0, 2], 2)];
const IDS: [u32; 2] = [7, 9];
const SOCKET: SocketId = SocketId::SERVER;
const AWAY_MAX: usize = 200;
const WRITTEN_MAX: usize = 300_000;

pub fn live(draw: &mut dyn Draw) {
    let honest = draw.below(2) == 0;
    // Sequence numbers that wrap are met early.
    let start = [0, u32::MAX, u32::MAX - 3, 1 << 31][draw.below(4) as usize];
    let mut pair = Pair::new(honest, start);
    while draw.more() {
        pair.turn(draw);
    }
    pair.finish();
}

impl Pair {
    fn new(honest: bool, start: u32) -> Pair {
        let (now, mut entropy) = (Time::from_micros(1_000_000), Seeded::new(5));
        let ends = [0, 1].map(|side: usize| {
            let mut disk = RamDisk::new();
            let mut cx = Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
            let mut udx = Udx::new();
            let stream = udx.open_at(&mut cx, IDS[side], start, start).expect("a free id");
            udx.connect(&mut cx, stream, SOCKET, IDS[1 - side], ADDRS[1 - side]).expect("connected once");
            let away = VecDeque::new();
            let (written, read) = (Vec::new(), Vec::new());
            End { udx, stream, written, read, ended: false, closed: false, away }
        });
        Pair { now, entropy, ends, honest }
    }

    fn with<T>(&mut self, side: usize, act: impl FnOnce(&mut End, &mut Cx<'_>) -> T) -> T {
        let mut disk = RamDisk::new();
        let mut cx = Cx { now: self.now, entropy: &mut self.entropy, disk: &mut disk, trace: &mut NoTrace };
        act(&mut self.ends[side], &mut cx)
    }

    fn turn(&mut self, draw: &mut dyn Draw) {
        let side = draw.below(2) as usize;
        match draw.below(16) {
            0 | 1 => self.write(side, draw.below(40_000) as usize, draw.below(256) as u8),
            2 => drop(self.with(side, |end, cx| end.udx.send(cx, end.stream, &[1; 40]))),
            3 => drop(self.with(side, |end, cx| end.udx.set_reading(cx, end.stream, draw.chance(500)))),
            4 if draw.chance(100) => {
                self.ends[side].ended |= self.with(side, |end, cx| end.udx.end(cx, end.stream)).is_ok();
            }
            5 => drop(self.ends[side].away.pop_front()),
            6 => {
                if let Some(copy) = self.ends[side].away.front().cloned() {
                    self.ends[side].away.push_back(copy);
                }
            }
            7 => {
                if let Some(late) = self.ends[side].away.pop_front() {
                    self.ends[side].away.push_back(late);
                }
            }
            8 if !self.honest => {
                let forged = self.ends[side].away.front().cloned().unwrap_or_default();
                let forged = if draw.chance(500) { draw.drawn_bytes(60) } else { mangled(draw, forged) };
                self.arrive(side, &forged);
            }
            9 if !self.honest => drop(self.with(side, |end, cx| end.udx.destroy(cx, end.stream))),
            10 => self.pass(Span::from_micros(draw.below(5_000))),
            11 => self.pass(Span::from_millis(draw.below(1_000))),
            12 => self.pass_to_deadline(),
            _ => {
                for _ in 0..=draw.below(20) {
                    let Some(bytes) = self.ends[side].away.pop_front() else { break };
                    self.arrive(side, &bytes);
                }
            }
        }
        self.drain(0);
        self.drain(1);
    }

    fn write(&mut self, side: usize, len: usize, first: u8) {
        let bytes: Vec<u8> = (0..len).map(|n| first.wrapping_add((n % 251) as u8)).collect();
        let end = &self.ends[side];
        if end.written.len() + len > WRITTEN_MAX {
            return;
        }
        if self.with(side, |end, cx| end.udx.write(cx, end.stream, &bytes)).is_ok() {
            self.ends[side].written.extend(bytes);
        }
    }

    /// What `side` sent comes to the other.
    fn arrive(&mut self, side: usize, bytes: &[u8]) {
        let input = Input::Datagram { socket: SOCKET, from: ADDRS[side], bytes };
        self.with(1 - side, |end, cx| end.udx.handle_input(cx, input));
    }

    fn drain(&mut self, side: usize) {
        for count in 0.. {
            assert!(count < 50_000, "L3, L6: more than {count} outputs and events at one time");
            let output = self.with(side, |end, cx| end.udx.poll_output(cx));
            let event = self.ends[side].udx.poll_event();
            if output.is_none() && event.is_none() {
                return;
            }
            let end = &mut self.ends[side];
            if let Some(Output::Send { bytes, .. }) = output {
                assert!(bytes.len() <= 1500, "no datagram above the largest MTU");
                end.away.push_back(bytes);
                if end.away.len() > AWAY_MAX {
                    end.away.pop_front();
                }
            }
            match event {
                Some(Event::Data { bytes, .. }) => {
                    end.read.extend(bytes);
                    self.check(side);
                }
                Some(Event::Closed { why, .. }) => {
                    end.closed = true;
                    let whole = self.ends[side].read.len() == self.ends[1 - side].written.len();
                    assert!(!self.honest || why != Why::Ended || whole, "all was read before the end");
                }
                _ => {}
            }
        }
    }

    fn check(&self, side: usize) {
        let (read, written) = (&self.ends[side].read, &self.ends[1 - side].written);
        assert!(!self.honest || written.starts_with(read), "what is read is a prefix of what was written");
    }

    fn pass(&mut self, span: Span) {
        self.now += span;
        for side in [0, 1] {
            for round in 0.. {
                let due = self.ends[side].udx.poll_timeout().filter(|deadline| deadline.at <= self.now);
                let Some(due) = due else { break };
                assert!(round < 2, "L4: \"{}\" stays due at {}", due.why, self.now);
                self.with(side, |end, cx| end.udx.handle_timeout(cx));
                self.drain(side);
            }
        }
    }

    fn pass_to_deadline(&mut self) {
        let deadlines = self.ends.iter().filter_map(|end| end.udx.poll_timeout());
        if let Some(next) = deadlines.map(|deadline| deadline.at).min() {
            self.pass(next.since(self.now));
        }
    }

    /// A network that does nothing wrong any more: all arrives, unless an end has given up before.
    fn finish(mut self) {
        if !self.honest {
            return;
        }
        for side in [0, 1] {
            let _ = self.with(side, |end, cx| end.udx.set_reading(cx, end.stream, true));
        }
        for _ in 0..20_000 {
            self.drain(0);
            self.drain(1);
            let arrived = |side: usize| self.ends[side].read.len() == self.ends[1 - side].written.len();
            if (arrived(0) && arrived(1)) || self.ends.iter().any(|end| end.closed) {
                return;
            }
            if self.ends.iter().all(|end| end.away.is_empty()) {
                self.pass_to_deadline();
            }
            for side in [0, 1] {
                while let Some(bytes) = self.ends[side].away.pop_front() {
                    self.arrive(side, &bytes);
                }
            }
            self.pass(Span::from_millis(1));
        }
        panic!("what was written does not arrive");
    }
}
