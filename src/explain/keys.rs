//! The key log: which keys open what. Follows key_log.1 to key_log.6.

use std::collections::BTreeMap;

use crate::base::{Key, hex, limits};
use crate::crypto::noise::{IkKeys, NOISE_IK, NOISE_XX, XxKeys};

/// The keys of a log, by what they are found by on the wire.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// By stream id.
    streams: BTreeMap<Key, Key>,
    /// By stream id.
    unordered: BTreeMap<Key, Key>,
    /// By the initiator's ephemeral key.
    ik: BTreeMap<Key, IkKeys>,
    /// By the initiator's ephemeral key.
    xx: BTreeMap<Key, XxKeys>,
    /// By target; one target may have many.
    punches: BTreeMap<Key, Vec<Key>>,
    count: usize,
}

/// A line with a label that is known, and wrong parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadLine;

impl Keys {
    /// Takes a line in. Labels that are not known, comments and empty lines are passed over. key_log.1
    pub fn read(&mut self, line: &str) -> Result<(), BadLine> {
        let mut words = line.split_ascii_whitespace();
        let label = match words.next() {
            None => return Ok(()),
            Some(label) if label.starts_with('#') => return Ok(()),
            Some(label) => label,
        };
        if ![NOISE_IK, NOISE_XX, "SECRET_STREAM", "UNORDERED", "HOLEPUNCH"].contains(&label) {
            return Ok(());
        }
        let keys: Option<Vec<Key>> = words.map(|word| hex::decode(word)?.try_into().ok()).collect();
        let keys = keys.ok_or(BadLine)?;
        if self.count >= limits::EXPLAIN_KEYS {
            return Ok(());
        }
        match (label, &keys[..]) {
            ("SECRET_STREAM", [id, key]) => _ = self.streams.insert(*id, *key),
            ("UNORDERED", [id, key]) => _ = self.unordered.insert(*id, *key),
            ("HOLEPUNCH", [target, key]) => {
                let punches = self.punches.entry(*target).or_default();
                if !punches.contains(key) {
                    punches.push(*key);
                }
            }
            (NOISE_IK, [id, responder, fixed, request, answer @ ..]) if answer.len() <= 1 => {
                let answer = answer.first().copied();
                // A line without the answer's key may come after one with it, from the other side's process.
                let known = self.ik.get(id).and_then(|keys| keys.answer);
                let keys = IkKeys {
                    responder: *responder,
                    fixed: *fixed,
                    request: *request,
                    answer: answer.or(known),
                };
                self.ik.insert(*id, keys);
            }
            (NOISE_XX, [id, fixed, second, third]) => {
                self.xx.insert(*id, XxKeys { fixed: *fixed, second: *second, third: *third });
            }
            // Before the other side's static key was known there is nothing to open yet.
            (NOISE_XX, [_, ..]) if keys.len() < 4 => {}
            _ => return Err(BadLine),
        }
        self.count += 1;
        Ok(())
    }

    /// How many lines gave keys.
    pub fn count(&self) -> usize {
        self.count
    }

    pub(super) fn stream(&self, id: &Key) -> Option<&Key> {
        self.streams.get(id)
    }

    /// The key of a stream, or all that are tried if it is not known which stream it is.
    pub(super) fn unordered(&self, id: Option<&Key>) -> impl Iterator<Item = &Key> {
        let known = id.and_then(|id| self.unordered.get(id));
        let all = if id.is_none() { limits::EXPLAIN_TRIES } else { 0 };
        known.into_iter().chain(self.unordered.values().take(all))
    }

    pub(super) fn ik(&self, ephemeral: &Key) -> Option<&IkKeys> {
        self.ik.get(ephemeral)
    }

    pub(super) fn xx(&self, ephemeral: &Key) -> Option<&XxKeys> {
        self.xx.get(ephemeral)
    }

    pub(super) fn punches(&self, target: &Key) -> &[Key] {
        let keys = self.punches.get(target).map_or(&[][..], Vec::as_slice);
        &keys[keys.len().saturating_sub(limits::EXPLAIN_TRIES)..]
    }
}
