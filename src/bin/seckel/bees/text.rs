//! Keys and values as text and JSON, and back.

use clap::ValueEnum;
use seckel::app::bee::Piece;
use seckel::app::text::{object, quoted, shown};
use seckel::base::hex;
use seckel::hyperbee::{Change, Difference, Entry};
use serde_json::Value;

/// How bytes stand in text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Encoding {
    /// As they are; they must be UTF-8
    #[default]
    Utf8,
    Hex,
    Base64,
}

impl Encoding {
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Utf8 => Some(text.as_bytes().to_vec()),
            Encoding::Hex => hex::decode(text),
            Encoding::Base64 => from_base64(text),
        }
    }

    /// None: they are not UTF-8.
    pub fn encode(self, bytes: &[u8]) -> Option<String> {
        match self {
            Encoding::Utf8 => core::str::from_utf8(bytes).ok().map(str::to_owned),
            Encoding::Hex => Some(hex::encode(bytes)),
            Encoding::Base64 => Some(to_base64(bytes)),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8 text",
            Encoding::Hex => "hex",
            Encoding::Base64 => "base64",
        }
    }

    /// A JSON string. None: they are not UTF-8.
    fn json(self, bytes: &[u8]) -> Option<String> {
        self.encode(bytes).map(|text| quoted(&text))
    }

    /// For people: what is no text is shown with replacement characters.
    fn shown(self, bytes: &[u8]) -> String {
        shown(&self.encode(bytes).unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned()))
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * at) & 63];
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// With or without padding; None if anything else is wrong with it.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=').as_bytes();
    let padding = text.len() - letters.len();
    if letters.len() % 4 == 1 || (padding > 0 && (!text.len().is_multiple_of(4) || padding > 2)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    for group in letters.chunks(4) {
        let mut bits = 0;
        for at in 0..4 {
            let value = match group.get(at) {
                Some(letter) => LETTERS.iter().position(|other| other == letter)?,
                None => 0,
            };
            bits = bits << 6 | value;
        }
        let whole = group.len() - 1;
        bytes.extend((0..whole).map(|at| (bits >> (16 - 8 * at) & 0xff) as u8));
        if bits & ((1 << (24 - 8 * whole)) - 1) != 0 {
            return None;
        }
    }
    Some(bytes)
}

/// One line of an import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    Put { key: Vec<u8>, value: Option<Vec<u8>> },
    Del { key: Vec<u8> },
}

/// What a line of JSON says: `{"key":..,"value":..}`, with `"type":"del"` a deletion.
pub fn parse(encoding: Encoding, line: &[u8]) -> Result<Line, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let bytes = |name: &str| match value.get(name) {
        Some(Value::String(text)) => {
            let decoded = encoding.decode(text);
            decoded.map(Some).ok_or_else(|| format!("the {name} is not {}", encoding.name()))
        }
        None | Some(Value::Null) => Ok(None),
        Some(_) => Err(format!("the {name} is not a string")),
    };
    let key = bytes("key")?.ok_or("there is no \"key\"")?;
    match value.get("type").map(|kind| kind.as_str()) {
        None | Some(Some("put")) => Ok(Line::Put { key, value: bytes("value")? }),
        Some(Some("del")) => Ok(Line::Del { key }),
        Some(_) => Err("the type is neither \"put\" nor \"del\"".to_owned()),
    }
}

fn value_json(encoding: Encoding, entry: &Entry) -> Option<String> {
    entry.value.as_ref().map_or(Some("null".to_owned()), |value| encoding.json(value))
}

/// An entry as a line of an export. None: it is not UTF-8.
pub fn exported(encoding: Encoding, entry: &Entry) -> Option<String> {
    Some(object(&[("key", encoding.json(&entry.key)?), ("value", value_json(encoding, entry)?)]))
}

/// The same with its block.
pub fn entry_json(encoding: Encoding, entry: &Entry) -> Option<String> {
    let (key, value) = (encoding.json(&entry.key)?, value_json(encoding, entry)?);
    Some(object(&[("seq", entry.seq.to_string()), ("key", key), ("value", value)]))
}

/// A piece of an answer as a line. None: it is not UTF-8, and JSON is wanted.
pub fn line(encoding: Encoding, piece: &Piece, json: bool) -> Option<String> {
    match (piece, json) {
        (Piece::Entry(entry), true) => entry_json(encoding, entry),
        (Piece::Entry(entry), false) => Some(pair(encoding, entry)),
        (Piece::Change(change), json) => {
            let entry = change.entry();
            let kind = if matches!(change, Change::Put(_)) { "put" } else { "del" };
            if !json {
                return Some(format!("{} {kind} {}", entry.seq, pair(encoding, entry)));
            }
            let (key, value) = (encoding.json(&entry.key)?, value_json(encoding, entry)?);
            let (seq, kind) = (entry.seq.to_string(), quoted(kind));
            Some(object(&[("seq", seq), ("type", kind), ("key", key), ("value", value)]))
        }
        (Piece::Difference(Difference { left, right }), true) => {
            let key = encoding.json(&left.as_ref().or(right.as_ref())?.key)?;
            let side = |entry: &Option<Entry>| match entry {
                Some(entry) => entry_json(encoding, entry),
                None => Some("null".to_owned()),
            };
            Some(object(&[("key", key), ("old", side(right)?), ("new", side(left)?)]))
        }
        (Piece::Difference(Difference { left, right }), false) => {
            let lines = [("-", right), ("+", left)];
            let shown = lines.into_iter().filter_map(|(sign, side)| {
                side.as_ref().map(|entry| format!("{sign} {}", pair(encoding, entry)))
            });
            Some(shown.collect::<Vec<_>>().join("\n"))
        }
    }
}

/// For people.
fn pair(encoding: Encoding, entry: &Entry) -> String {
    match &entry.value {
        Some(value) => format!("{}\t{}", encoding.shown(&entry.key), encoding.shown(value)),
        None => encoding.shown(&entry.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everybody() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYmE=", b"fooba"),
            ("+/8A", b"\xfb\xff\0"),
        ] {
            assert_eq!(to_base64(bytes), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes));
            assert_eq!(from_base64(text.trim_end_matches('=')).as_deref(), Some(bytes), "without padding");
        }
        for text in ["Z", "Zh==", "Zg=", "Zg===", "====", "Zm9v=", "Z g=", "Zm9vY", "-_8A"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }

    #[test]
    fn an_export_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        for encoding in [Encoding::Hex, Encoding::Base64] {
            for (key, value) in [(&b""[..], None), (b"k", Some(all.clone())), (&all, Some(Vec::new()))] {
                let entry = Entry { seq: 1, key: key.to_vec(), value: value.clone() };
                let text = exported(encoding, &entry).expect("any bytes");
                let read = parse(encoding, text.as_bytes());
                assert_eq!(read, Ok(Line::Put { key: key.to_vec(), value }));
            }
        }
        let entry = Entry { seq: 1, key: b"Zo\xc3\xab\t\"".to_vec(), value: Some(b"\xff".to_vec()) };
        assert_eq!(exported(Encoding::Utf8, &entry), None, "what is no text is not made to look like it");
        assert!(line(Encoding::Utf8, &Piece::Entry(entry), false).expect("for people").contains("\\t"));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        for (text, wrong) in [
            ("{", "not JSON"),
            ("{}", "no \"key\""),
            ("{\"key\":1}", "not a string"),
            ("{\"key\":\"0\"}", "not hex"),
            ("{\"key\":\"00\",\"value\":\"x\"}", "value is not hex"),
            ("{\"key\":\"00\",\"type\":\"move\"}", "neither"),
            ("[]", "no \"key\""),
        ] {
            let told = parse(Encoding::Hex, text.as_bytes()).expect_err("wrong");
            assert!(told.contains(wrong), "{text}: {told}");
        }
        let del = parse(Encoding::Utf8, b"{\"type\":\"del\",\"key\":\"a\",\"value\":null}");
        assert_eq!(del, Ok(Line::Del { key: b"a".to_vec() }));
    }
}
