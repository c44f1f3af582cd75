//! What is said about bytes: of datagrams alone, of any format, and of a capture whose streams are opened with keys.
//!
//! Every byte is accounted for, once, whatever comes; and what a peer may say as often as it likes takes a
//! bounded room.

use seckel::base::{Addr, Cx, Machine, Seeded, Time, Trace, hex};
use seckel::crypto::sign::KeyPair;
use seckel::explain::{self, Keys, Place, Reader, Section};
use seckel::secret_stream::{Input, Output, SecretStream};
use seckel::sim::ramdisk::RamDisk;
use seckel::wire;
use seckel::wire::udx::{Header, Kind};

use super::machines::mangled;
use super::{Draw, Drawn, Recorded};

pub fn run(input: &[u8], _: bool) -> String {
    live(&mut Drawn::new(input));
    String::new()
}

pub fn live(draw: &mut dyn Draw) {
    match draw.below(3) {
        0 => alone(draw),
        1 => {
            let names = explain::names();
            let name = names[draw.below(names.len() as u64) as usize];
            let bytes = draw.drawn_bytes(LONG);
            check(&bytes, &explain::format(name, &bytes).expect("a name of its own list"));
        }
        _ => Capture::new().live(draw),
    }
}

/// An input: that datagram.
pub fn of_datagram(bytes: &[u8]) -> Vec<u8> {
    let mut input = Recorded::new(0, 0);
    input.say(3, 0).say_bytes(LONG, bytes);
    input.finish()
}

const LONG: u64 = 1500;

fn alone(draw: &mut dyn Draw) {
    let bytes = draw.drawn_bytes(LONG);
    check(&bytes, &explain::datagram(&bytes));
    assert_eq!(explain::segments(&bytes).concat(), bytes);
    let summary = explain::summary(&bytes);
    assert!(!summary.what.contains('\n'), "one line");
}

/// Each section's lines cover its bytes once, and all of `bytes` is covered.
fn check(bytes: &[u8], sections: &[Section]) {
    let mut covered = vec![false; bytes.len()];
    for section in sections {
        let mut at = section.base;
        for line in &section.rows {
            assert_eq!(line.at, at, "{}: {}", section.format, line.field);
            at += line.len;
        }
        assert_eq!(at, section.base + section.len, "{}", section.format);
        if section.place == Place::Datagram {
            covered[section.base..at].fill(true);
        }
    }
    assert!(covered.iter().all(|covered| *covered), "every byte is accounted for");
}

/// The lines of a key log.
#[derive(Default)]
struct Log(Vec<String>);

impl Trace for Log {
    fn on(&self) -> bool {
        false
    }
    fn line(&mut self, _: Time, _: &seckel::base::trace::Line<'_>) {}
    fn wants_keys(&self) -> bool {
        true
    }
    fn key(&mut self, label: &'static str, id: &[u8], secrets: &[&[u8]]) {
        let secrets: Vec<String> = secrets.iter().map(|secret| hex::encode(secret)).collect();
        self.0.push(format!("{label} {} {}", hex::encode(id), secrets.join(" ")));
    }
}

/// Two ends of a secret stream over UDX, and who looks on.
struct Capture {
    reader: Reader,
    ends: [SecretStream; 2],
    /// Bytes that each wrote and that are in no packet yet.
    written: [Vec<u8>; 2],
    seqs: [u32; 2],
    entropy: Seeded,
    log: Log,
}

const ADDRS: [Addr; 2] = [Addr::new([10, 0, 0, 1], 1), Addr::new([10, 0, 0, 2], 2)];
const IDS: [u32; 2] = [7, 9];

impl Capture {
    fn new() -> Capture {
        let (mut entropy, mut log) = (Seeded::new(4), Log::default());
        let ends = [0, 1].map(|side: u8| {
            let (mut disk, trace) = (RamDisk::new(), &mut log);
            let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace };
            SecretStream::handshake(&mut cx, side == 0, &KeyPair::from_seed([side; 32]))
        });
        let reader = Reader::new(Keys::default());
        let mut capture =
            Capture { reader, ends, written: [Vec::new(), Vec::new()], seqs: [0; 2], entropy, log };
        for _ in 0..4 {
            capture.carry(0);
            capture.carry(1);
        }
        let mut keys = Keys::default();
        for line in &capture.log.0 {
            assert_eq!(keys.read(line), Ok(()), "{line}");
        }
        capture.reader = Reader::new(keys);
        capture
    }

    fn with<T>(&mut self, side: usize, act: impl FnOnce(&mut SecretStream, &mut Cx<'_>) -> T) -> T {
        let mut disk = RamDisk::new();
        let (entropy, trace) = (&mut self.entropy, &mut self.log);
        let mut cx = Cx { now: Time::ZERO, entropy, disk: &mut disk, trace };
        act(&mut self.ends[side], &mut cx)
    }

    /// What a side has written goes to the other, and waits to be put into packets.
    fn carry(&mut self, side: usize) {
        while let Some(output) = self.with(side, |end, cx| end.poll_output(cx)) {
            if let Output::Write(bytes) = output {
                self.with(1 - side, |end, cx| end.handle_input(cx, Input::Bytes(&bytes)));
                self.written[side].extend_from_slice(&bytes);
            }
        }
        while self.ends[side].poll_event().is_some() {}
    }

    fn live(mut self, draw: &mut dyn Draw) {
        while draw.more() {
            let side = draw.below(2) as usize;
            match draw.below(8) {
                0..=3 => {
                    let message = message(draw);
                    let _ = self.with(side, |end, cx| end.send(cx, &message));
                    self.carry(side);
                }
                4 | 5 => self.packet(side, draw),
                6 => {
                    let bytes = draw.drawn_bytes(LONG);
                    self.see(side, &bytes);
                }
                _ => {
                    let formats = [wire::dht_rpc::FORMATS[0], wire::dht_rpc::FORMATS[1]];
                    let legal = (formats[draw.below(2) as usize].invent)(draw);
                    let bytes = mangled(draw, legal);
                    self.see(side, &bytes);
                }
            }
        }
        for side in [0, 1] {
            while !self.written[side].is_empty() {
                self.packet(side, &mut Drawn::new(&[255; 8]));
            }
        }
        let _ = self.reader.finish();
    }

    /// A packet with the front of what a side has written; perhaps lost, late, twice, or changed.
    fn packet(&mut self, side: usize, draw: &mut dyn Draw) {
        let len = (1 + draw.below(1200) as usize).min(self.written[side].len());
        let data: Vec<u8> = self.written[side].drain(..len).collect();
        let (seq, ack) = (self.seqs[side], self.seqs[1 - side]);
        let header = Header {
            kind: Kind { data: true, ..Kind::default() },
            data_offset: 0,
            remote_id: IDS[1 - side],
            window: 1 << 20,
            seq,
            ack,
        };
        self.seqs[side] = seq.wrapping_add(1);
        let packet = [wire::encode(&header), data].concat();
        match draw.below(16) {
            0 => {}
            1 => {
                self.see(side, &packet);
                self.see(side, &packet);
            }
            2 => self.see(side, &mangled(draw, packet)),
            _ => self.see(side, &packet),
        }
    }

    fn see(&mut self, side: usize, bytes: &[u8]) {
        let sections = self.reader.datagram(ADDRS[side], ADDRS[1 - side], bytes);
        check(bytes, &sections);
        let _ = self.reader.notes();
    }
}

/// What two programs say to each other: channels that open, calls, replication.
fn message(draw: &mut dyn Draw) -> Vec<u8> {
    let channel = 1 + draw.below(3) as u8;
    match draw.below(8) {
        0 => [&[0, 1, channel, 12][..], b"protomux-rpc", &[0]].concat(),
        1 => {
            let head = [&[0, 1, channel, 15][..], b"hypercore/alpha", &[32], &[7; 32]].concat();
            [head, wire::encode(&wire::invent::<wire::hypercore::Handshake>(draw))].concat()
        }
        2..=5 => {
            let formats = [wire::protomux_rpc::FORMATS, wire::hypercore::FORMATS].concat();
            let format = formats[draw.below(formats.len() as u64) as usize];
            let legal = [vec![channel, draw.below(11) as u8], (format.invent)(draw)].concat();
            mangled(draw, legal)
        }
        6 => [vec![0, draw.below(4) as u8, channel], draw.drawn_bytes(60)].concat(),
        _ => draw.drawn_bytes(100),
    }
}
