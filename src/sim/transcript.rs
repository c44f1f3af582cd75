//! What happened in a world: a number that depends on all of it, and the last of it as text when somebody asks.

use core::fmt::{Arguments, Write as _};
use std::collections::VecDeque;

use super::HostId;
use crate::base::trace::{Entry, Kind, Line, Place};
use crate::base::{Addr, Time, Trace};

/// Records that are kept.
const KEPT: usize = 200;
/// Digits of the golden ratio, and of pi: any odd number and any start would do.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
const START: u64 = 0x243f_6a88_85a3_08d3;

/// The transcript: a hash of every record, and the last records. Nothing is rendered until it is asked for.
#[derive(Debug)]
pub struct Transcript {
    hash: u64,
    kept: VecDeque<Record>,
    /// Machines' own lines too, not only datagrams. They do not count for the hash.
    pub verbose: bool,
    host: usize,
    now: Time,
    /// Who reads machines' lines as they come, if anybody does besides those who ask for the last.
    pub reader: Option<Reader>,
    place: Option<Place>,
    entry: Entry,
    text: String,
}

/// Takes machines' lines.
pub struct Reader(pub Box<dyn FnMut(&Entry)>);

impl core::fmt::Debug for Reader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Reader")
    }
}

/// One line of the transcript.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub at: Time,
    pub what: What,
    /// The datagram, or the text of the line.
    pub bytes: Vec<u8>,
}

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A datagram left a host.
    Sent { from: Addr, to: Addr },
    /// A layer has something to say.
    Line { layer: &'static str },
    /// A machine's line, as the grammar of transcripts has it.
    Machine,
}

impl Default for Transcript {
    fn default() -> Self {
        Transcript {
            hash: START,
            kept: VecDeque::with_capacity(KEPT),
            verbose: false,
            host: 0,
            now: Time::ZERO,
            reader: None,
            place: None,
            entry: Entry::default(),
            text: String::new(),
        }
    }
}

impl Transcript {
    /// A number that two worlds share only if every datagram was the same, at the same times, and all that the world
    /// did to its hosts. Machines' lines do not count: it is the same whether they are made or not.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last records, oldest first.
    pub fn last(&self) -> impl Iterator<Item = &Record> {
        self.kept.iter()
    }

    /// The lines that come now are of `host`, and tell the world's time, whatever the host's clock says.
    pub fn of(&mut self, host: HostId, now: Time) -> &mut Transcript {
        (self.host, self.now) = (host.0, now);
        self
    }

    /// A datagram leaves a host.
    pub fn sent(&mut self, at: Time, from: Addr, to: Addr, bytes: &[u8]) {
        let mut record = self.blank(at, What::Sent { from, to });
        record.bytes.extend_from_slice(bytes);
        self.keep(record);
    }

    /// Something about the world itself is told, verbose or not.
    pub fn tell(&mut self, at: Time, layer: &'static str, what: Arguments<'_>) {
        if self.on() {
            let line = Line { kind: Kind::State, layer, id: &"", part: false, peer: &"", rule: "", what };
            self.entry.take(at, None, None, &line);
            self.show();
        }
        let mut record = self.blank(at, What::Line { layer });
        let mut text = String::from_utf8(core::mem::take(&mut record.bytes)).unwrap_or_default();
        let _ = text.write_fmt(what);
        record.bytes = text.into_bytes();
        self.keep(record);
    }

    /// What befalls a datagram between two hosts, for who reads along. It does not count for the hash: that the
    /// datagram was sent does.
    pub fn on_its_way(&mut self, at: Time, kind: Kind, from: Addr, to: Addr, what: &str) {
        if !self.on() {
            return;
        }
        let what = format_args!("from {from}: {what}");
        let line = Line { kind, layer: "world", id: &"", part: false, peer: &to, rule: "", what };
        self.entry.take(at, None, None, &line);
        self.keep_entry(at);
    }

    /// Shows and keeps the entry.
    fn keep_entry(&mut self, at: Time) {
        self.show();
        let mut record = self.blank(at, What::Machine);
        self.text.clear();
        self.entry.text(&mut self.text);
        record.bytes.extend_from_slice(self.text.trim_end().as_bytes());
        self.keep(record);
    }

    fn show(&mut self) {
        if let Some(Reader(read)) = &mut self.reader {
            read(&self.entry);
        }
    }

    /// A record without bytes, in the place of the oldest if there are enough.
    fn blank(&mut self, at: Time, what: What) -> Record {
        let mut bytes = match self.kept.len() {
            KEPT => self.kept.pop_front().map(|record| record.bytes).unwrap_or_default(),
            _ => Vec::new(),
        };
        bytes.clear();
        Record { at, what, bytes }
    }

    /// A record counts for the hash, and is kept. A datagram is not kept if the node that sends it tells of it.
    fn keep(&mut self, record: Record) {
        let mut hash = mix(self.hash, record.at.as_micros());
        hash = match record.what {
            What::Sent { from, to } => mix(mix(hash, word(from)), word(to)),
            What::Line { layer } => mix_bytes(hash, layer.as_bytes()),
            What::Machine => return self.kept.push_back(record),
        };
        self.hash = mix_bytes(hash, &record.bytes);
        let told = matches!(record.what, What::Sent { .. }) && self.on();
        if !told {
            self.kept.push_back(record);
        }
    }
}

impl Trace for Transcript {
    fn on(&self) -> bool {
        self.verbose || self.reader.is_some()
    }
    fn line(&mut self, _: Time, line: &Line<'_>) {
        self.entry.take(self.now, Some(self.host), self.place, line);
        self.keep_entry(self.now);
    }
    fn within(&mut self, place: Option<Place>) -> Option<Place> {
        core::mem::replace(&mut self.place, place)
    }
}

impl core::fmt::Display for Record {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.what {
            What::Sent { from, to } => {
                let digest = mix_bytes(START, &self.bytes);
                write!(f, "{} {from} > {to} {} bytes {digest:016x}", self.at, self.bytes.len())
            }
            What::Line { layer } => {
                write!(f, "{} node - state {layer} -: {}", self.at, String::from_utf8_lossy(&self.bytes))
            }
            What::Machine => f.write_str(&String::from_utf8_lossy(&self.bytes)),
        }
    }
}

fn word(addr: Addr) -> u64 {
    let [a, b, c, d] = addr.ip;
    let [high, low] = addr.port.to_be_bytes();
    u64::from_le_bytes([a, b, c, d, high, low, 0, 0])
}

/// Folds a word into a hash: the two halves of a product, combined.
fn mix(hash: u64, word: u64) -> u64 {
    let wide = u128::from(hash ^ word) * u128::from(ODD);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Folds bytes and their number into a hash, eight at a time.
fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash =
        words.iter().fold(mix(hash, bytes.len() as u64), |hash, &word| mix(hash, u64::from_le_bytes(word)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(last));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Addr = Addr::new([30, 0, 0, 1], 1);
    const B: Addr = Addr::new([30, 0, 0, 2], 2);

    fn hash_of(at: u64, from: Addr, to: Addr, bytes: &[u8]) -> u64 {
        let mut transcript = Transcript::default();
        transcript.sent(Time::from_micros(at), from, to, bytes);
        transcript.hash()
    }

    #[test]
    fn the_hash_depends_on_every_byte_the_time_and_the_ends() {
        let bytes: Vec<u8> = (0..19).collect();
        let mut hashes = vec![
            hash_of(1, A, B, &bytes),
            hash_of(2, A, B, &bytes),
            hash_of(1, B, A, &bytes),
            hash_of(1, A, A, &bytes),
            hash_of(1, A.with_port(9), B, &bytes),
            hash_of(1, A, B, &bytes[..18]),
            hash_of(1, A, B, &[]),
        ];
        for n in 0..bytes.len() {
            let mut other = bytes.clone();
            other[n] ^= 0x40;
            hashes.push(hash_of(1, A, B, &other));
        }
        let padded = [&bytes[..], &[0]].concat();
        hashes.push(hash_of(1, A, B, &padded));
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
        assert_eq!(hash_of(1, A, B, &bytes), hash_of(1, A, B, &bytes));
    }

    #[test]
    fn the_last_records_are_kept_and_all_count() {
        let (mut one, mut other) = (Transcript::default(), Transcript::default());
        for n in 0..1000_u64 {
            one.tell(Time::from_micros(n), "test", format_args!("line {n}"));
            let n = if n == 3 { 4 } else { n };
            other.tell(Time::from_micros(n), "test", format_args!("line {n}"));
        }
        assert!(one.last().eq(other.last()));
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.last().count(), KEPT);
        let last: Vec<String> = one.last().skip(KEPT - 2).map(|record| record.to_string()).collect();
        assert_eq!(
            last,
            ["0.000998 node - state test -: line 998", "0.000999 node - state test -: line 999"]
        );
    }

    #[test]
    fn a_datagram_is_rendered_with_its_ends_and_size() {
        let mut transcript = Transcript::default();
        transcript.sent(Time::from_micros(1_500_000), A, B, b"abc");
        let text = transcript.last().map(|record| record.to_string()).collect::<String>();
        assert!(text.starts_with("1.500000 30.0.0.1:1 > 30.0.0.2:2 3 bytes "), "{text}");
    }
}
