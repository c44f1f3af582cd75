//! A stretch of bytes read as one format, and lines for the bytes that no field covers.

use super::meaning;
use crate::base::{Malformed, limits};
use crate::wire::{Format, Row, Value, Wire, format};

/// One field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Offset in the datagram or the stream, also of what is nested or was opened with a key.
    pub at: usize,
    pub len: usize,
    pub field: &'static str,
    pub value: Value,
    /// What the value stands for, if there is more to say than the value itself; else empty.
    pub meaning: String,
    /// The rule of the notes that says what the field is; empty where nothing is known of the bytes.
    pub rule: &'static str,
}

/// What offsets count in. Sealing leaves text where it is, so what was opened has the place of what hid it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The bytes that were given: a datagram.
    Datagram,
    /// The bytes of one direction of a stream, from its first on. Directions are numbered as they are met.
    Stream(u32),
}

/// Bytes that were read as one format. Its lines cover each of its bytes once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// The note: `udx`, `dht_rpc`, ...
    pub layer: &'static str,
    /// The format: `udx.header`.
    pub format: &'static str,
    pub place: Place,
    /// Where its bytes begin, and how many they are.
    pub base: usize,
    pub len: usize,
    pub rows: Vec<Line>,
    /// Why reading ended before the format did. `at` counts like that of the lines.
    pub fault: Option<Malformed>,
}

/// Bytes behind a format's last field.
pub const REST: &str = "rest";
/// Bytes between two fields.
pub const SKIPPED: &str = "skipped";
/// Bytes from a fault on.
pub const LOST: &str = "not understood";
/// Bytes behind so many fields that no more are shown.
pub const MANY: &str = "not shown";

impl Section {
    /// `bytes`, which begin at `base`, as the format `T`.
    pub fn read<T: Wire + Default + Clone>(base: usize, bytes: &[u8]) -> Section {
        Section::of(&format::<T>(), base, bytes)
    }

    /// `bytes`, which begin at `base`, as a format.
    pub fn of(format: &Format, base: usize, bytes: &[u8]) -> Section {
        let (rows, result) = (format.explain)(bytes);
        let mut section = Section::empty(format.name, base, bytes.len());
        section.rows = rows.into_iter().map(|row| line(format, base, row)).collect();
        section.fault = result.err().map(|fault| Malformed { at: base + fault.at, ..fault });
        section.fill(bytes);
        section
    }

    /// The front of `bytes` as a format, up to its last field, and where that ends.
    pub fn head(format: &Format, base: usize, bytes: &[u8]) -> (Section, usize) {
        let (rows, result) = (format.explain)(bytes);
        let used = match result {
            Ok(()) => rows.iter().map(|row| row.at + row.len).max().unwrap_or(0),
            Err(_) => bytes.len(),
        };
        (Section::of(format, base, &bytes[..used]), used)
    }

    pub(super) fn empty(format: &'static str, base: usize, len: usize) -> Section {
        let layer = format.split_once('.').map_or(format, |(layer, _)| layer);
        Section { layer, format, place: Place::Datagram, base, len, rows: Vec::new(), fault: None }
    }

    /// Bytes of which nothing but that they are one field is known.
    pub(super) fn opaque(
        format: &'static str,
        at: usize,
        bytes: &[u8],
        field: &'static str,
        rule: &'static str,
    ) -> Section {
        let mut section = Section::empty(format, at, bytes.len());
        let value = Value::Bytes(bytes.to_vec());
        let meaning = meaning::of(format, field, &value);
        if !bytes.is_empty() {
            section.rows.push(Line { at, len: bytes.len(), field, value, meaning, rule });
        }
        section
    }

    /// The line of a field.
    pub fn line(&self, field: &str) -> Option<&Line> {
        self.rows.iter().find(|line| line.field == field)
    }

    /// The number in a field.
    pub(super) fn number(&self, field: &str) -> Option<u64> {
        match self.line(field)?.value {
            Value::Number(number) | Value::Flags(number) => Some(number),
            Value::Bytes(_) | Value::Text(_) | Value::Addr(_) => None,
        }
    }

    /// The bytes in a field that has a length before them, and where they begin.
    pub(super) fn bytes(&self, field: &str) -> Option<(usize, &[u8])> {
        let line = self.line(field)?;
        match &line.value {
            Value::Bytes(bytes) => Some((line.at + line.len - bytes.len(), bytes)),
            Value::Number(_) | Value::Flags(_) | Value::Text(_) | Value::Addr(_) => None,
        }
    }

    pub(super) fn say(&mut self, field: &str, meaning: impl Into<String>) {
        if let Some(line) = self.rows.iter_mut().find(|line| line.field == field) {
            line.meaning = meaning.into();
        }
    }

    /// Adds lines for the bytes that no field covers.
    fn fill(&mut self, bytes: &[u8]) {
        self.rows.sort_by_key(|line| line.at);
        let many = self.rows.len() >= limits::EXPLAIN_ROWS;
        let mut gaps = Vec::new();
        let mut at = self.base;
        for line in &self.rows {
            if line.at > at {
                gaps.push((at, line.at, SKIPPED));
            }
            at = at.max(line.at + line.len);
        }
        let end = self.base + self.len;
        if at < end {
            let field = match self.fault {
                _ if many => MANY,
                Some(_) => LOST,
                None => REST,
            };
            gaps.push((at, end, field));
        }
        for (from, to, field) in gaps {
            let value = Value::Bytes(bytes[from - self.base..to - self.base].to_vec());
            let (meaning, rule) = match field {
                LOST => ("", ""),
                MANY => ("too many fields before it", ""),
                _ => ("passed over by readers", leniency(self.layer)),
            };
            self.rows.push(Line { at: from, len: to - from, field, value, meaning: meaning.into(), rule });
        }
        self.rows.sort_by_key(|line| line.at);
    }
}

fn line(format: &Format, base: usize, row: Row) -> Line {
    let meaning = meaning::of(format.name, row.field, &row.value);
    let rule = format.rule_of(row.field);
    Line { at: base + row.at, len: row.len, field: row.field, value: row.value, meaning, rule }
}

/// The rule by which readers pass over bytes that are no field.
pub fn leniency(layer: &str) -> &'static str {
    match layer {
        "dht_rpc" => "dht_rpc.6",
        "hyperbee" => "hyperbee.5",
        "udx" => "udx.3",
        _ => "compact_encoding.14",
    }
}
