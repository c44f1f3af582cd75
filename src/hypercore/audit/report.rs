//! What an audit says: plain data, made into text or JSON where it is shown.

use core::fmt;

use crate::base::hex::Hex;
use crate::base::{Key, limits};

/// The files of a core, in the order in which an audit goes through them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum File {
    Oplog,
    /// A header that is too long for its slot.
    Header,
    Tree,
    Bitfield,
    Data,
    Journal,
}

impl File {
    pub const fn name(self) -> &'static str {
        match self {
            File::Oplog => "oplog",
            File::Header => "header",
            File::Tree => "tree",
            File::Bitfield => "bitfield",
            File::Data => "data",
            File::Journal => "journal",
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was expected or found somewhere. A secret is never one of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    Text(&'static str),
    Number(u64),
    Hash(Key),
    /// A bit of the byte, lowest 0, and its value.
    Bit(u8, bool),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Text(text) => f.write_str(text),
            Seen::Number(number) => number.fmt(f),
            Seen::Hash(hash) => Hex(hash).fmt(f),
            Seen::Bit(bit, value) => write!(f, "bit {bit} = {}", u8::from(*value)),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finding {
    pub file: File,
    /// Offset in the file, in bytes.
    pub at: u64,
    /// What stands there.
    pub what: &'static str,
    /// Which block, if it is about one.
    pub block: Option<u64>,
    pub expected: Seen,
    pub found: Seen,
    /// The rule of the notes that it breaks.
    pub rule: &'static str,
}

/// Bytes that nothing vouches for: they may be anything, and nobody would see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unverifiable {
    pub file: File,
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
    pub why: &'static str,
}

/// Something that this audit cannot judge, so that it says neither sound nor damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unjudged {
    pub file: File,
    pub at: u64,
    pub why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All that can be checked is as it should be.
    Sound,
    Damaged,
    /// Nothing wrong was found, but something could not be judged.
    Unjudged,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Sound => "sound",
            Verdict::Damaged => "damaged",
            Verdict::Unjudged => "not judged",
        }
    }
}

/// What an audit of one core found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// None: the files are those of a core that was never wholly made.
    pub key: Option<Key>,
    pub discovery_key: Option<Key>,
    /// Whether a secret key is stored.
    pub secret: bool,
    pub fork: u64,
    /// Blocks of the signed tree.
    pub length: u64,
    pub byte_length: u64,
    /// Blocks that are here, and whose bytes are those that were signed.
    pub blocks: u64,
    pub block_bytes: u64,
    /// Of those, blocks behind the signed tree: of a batch that is not signed yet.
    pub pending: u64,
    /// Nodes of the tree that were checked against what is above or below them.
    pub nodes: u64,
    pub signatures: u64,
    /// Entries since the header.
    pub entries: u64,
    /// Entries that the next opening drops, since what they vouch for never came: nobody was told of them.
    pub dropped: u64,
    /// Changes that the oplog lacks, and that the next opening takes from the journal, if all before them are there.
    pub journaled: u64,
    /// Names and values kept with the core.
    pub user_data: Vec<(String, Vec<u8>)>,
    /// The public key of the key pair that is stored.
    pub public: Option<Key>,
    /// In the order of files and offsets, `limits::AUDIT_FINDINGS` at most.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
    /// `limits::AUDIT_RANGES` at most.
    pub unverifiable: Vec<Unverifiable>,
    /// Bytes in all such ranges, also those not listed.
    pub unverifiable_bytes: u64,
    pub unjudged: Vec<Unjudged>,
}

impl Audit {
    pub fn verdict(&self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Damaged
        } else if !self.unjudged.is_empty() {
            Verdict::Unjudged
        } else {
            Verdict::Sound
        }
    }

    pub(super) fn find(&mut self, finding: Finding) {
        if self.findings.len() < limits::AUDIT_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Notes bytes that nothing vouches for; neighbours of the same kind become one range. (hypercore.75)
    pub(super) fn blind(&mut self, file: File, start: u64, end: u64, why: &'static str) {
        if start >= end {
            return;
        }
        self.unverifiable_bytes = self.unverifiable_bytes.saturating_add(end - start);
        if let Some(last) = self.unverifiable.last_mut()
            && (last.file, last.why, last.end) == (file, why, start)
        {
            last.end = end;
        } else if self.unverifiable.len() < limits::AUDIT_RANGES {
            self.unverifiable.push(Unverifiable { file, start, end, why });
        }
    }

    pub(super) fn unjudged(&mut self, file: File, at: u64, why: &'static str) {
        if self.unjudged.len() < limits::AUDIT_FINDINGS {
            self.unjudged.push(Unjudged { file, at, why });
        }
    }

    /// In the order of the files.
    pub(super) fn sort(&mut self) {
        self.findings.sort_by_key(|each| (each.file, each.at));
        self.unverifiable.sort_by_key(|each| (each.file, each.start, each.end));
        self.unjudged.sort_by_key(|each| (each.file, each.at));
    }
}
