//! Reads lines of a transcript by the grammar of its note.

#![allow(dead_code, reason = "not every test binary that shares this file uses all of it")]

use serde_json::{Value, json};

/// The parts of a line.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    pub time_us: u64,
    pub node: Option<u64>,
    pub kind: &'a str,
    pub layer: &'a str,
    pub id: &'a str,
    pub peer: &'a str,
    pub what: &'a str,
    pub rule: &'a str,
}

impl Said<'_> {
    /// The same as the line of JSON must have it.
    pub fn json(&self) -> Value {
        let or_null = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
        json!({
            "time_us": self.time_us,
            "node": self.node,
            "kind": self.kind,
            "layer": self.layer,
            "id": or_null(self.id),
            "peer": or_null(self.peer),
            "what": self.what,
            "rule": or_null(self.rule),
        })
    }
}

/// A line without its end; `None` if it is none of a transcript.
pub fn line(text: &str) -> Option<Said<'_>> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let (time, rest) = text.split_once(' ')?;
    let (node, rest) = rest.strip_prefix("node ")?.split_once(' ')?;
    let (kind, rest) = rest.split_once(' ')?;
    let (layer, rest) = rest.split_once(' ')?;
    let (who, rest) = rest.split_once(": ")?;
    let (what, rule) = match rest.strip_suffix(']').and_then(|rest| rest.rsplit_once(" [")) {
        Some((what, rule)) if rule.split(' ').all(is_rule) => (what, rule),
        _ => (rest, ""),
    };
    let (id, peer) = match who.split_once("with ") {
        _ if who == "-" => ("", ""),
        Some(("", peer)) => ("", peer),
        Some((id, peer)) => (id.strip_suffix(' ')?, peer),
        None => (who, ""),
    };
    let known = ["in", "out", "timer", "state", "step", "drop", "call", "event"].contains(&kind);
    let sound = known && is_word(layer) && is_id(id) && is_peer(peer) && !what.is_empty();
    let node = if node == "-" { None } else { Some(node.parse().ok()?) };
    sound.then_some(Said { time_us: micros(time)?, node, kind, layer, id, peer, what, rule })
}

/// Seconds with six digits of their fraction.
fn micros(time: &str) -> Option<u64> {
    let (seconds, fraction) = time.split_once('.')?;
    if fraction.len() != 6 {
        return None;
    }
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Names with numbers, `conn 3.1 channel 2.0`, or nothing.
fn is_id(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words.len().is_multiple_of(2)
        && words.chunks(2).all(|pair| {
            let number =
                pair[1].split_once('.').map_or(is_number(pair[1]), |(a, b)| is_number(a) && is_number(b));
            is_word(pair[0]) && number
        })
}

/// An address or the first four bytes of a key, or nothing.
fn is_peer(text: &str) -> bool {
    let key = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    text.is_empty() || key || text.parse::<std::net::SocketAddrV4>().is_ok()
}

fn is_rule(text: &str) -> bool {
    text.split_once('.').is_some_and(|(note, number)| is_word(note) && is_number(number))
}
