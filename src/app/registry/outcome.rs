//! What a user sees: the result of a command, as text and as JSON, with its exit code. Follows registry.10.

use super::command::HELP;
pub use crate::app::service::{Exit, Status};
use crate::app::text::{object, quoted, shown};
use crate::base::{Key, hex};

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Registered {
        name: String,
    },
    /// It was the caller's before.
    AlreadyYours {
        name: String,
    },
    Deleted {
        name: String,
    },
    Found {
        name: String,
        owner: Vec<u8>,
    },
    NotFound {
        name: String,
    },
    List {
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    },
    WhoAmI {
        key: Key,
    },
    Status(Status),
    Help,
    /// The server, or the rules, say no.
    Refused {
        why: String,
    },
    /// The server cannot be reached, so that nothing was written.
    Unreachable,
    /// The connection broke and did not come back: the write may or may not have happened.
    Unknown {
        name: String,
    },
    /// The client has never had a copy.
    NeverSynced,
    /// A part of the copy that the read needs is not here.
    Incomplete,
    /// The copy is damaged, or the disk is.
    Failed {
        why: String,
    },
}

impl Outcome {
    pub fn exit(&self) -> Exit {
        match self {
            Outcome::Registered { .. }
            | Outcome::AlreadyYours { .. }
            | Outcome::Deleted { .. }
            | Outcome::Found { .. }
            | Outcome::List { .. }
            | Outcome::WhoAmI { .. }
            | Outcome::Status(_)
            | Outcome::Help => Exit::Ok,
            Outcome::NotFound { .. } | Outcome::Refused { .. } => Exit::No,
            Outcome::Unreachable | Outcome::Unknown { .. } | Outcome::NeverSynced | Outcome::Incomplete => {
                Exit::Unreachable
            }
            Outcome::Failed { .. } => Exit::Storage,
        }
    }

    /// For standard output, without a line break at the end; empty: nothing to write. (registry.10)
    pub fn text(&self) -> String {
        match self {
            Outcome::Registered { name } => format!("Registered: {}", shown(name)),
            Outcome::AlreadyYours { name } => format!("Already registered by you: {}", shown(name)),
            Outcome::Deleted { name } => format!("Deleted: {}", shown(name)),
            Outcome::Found { name, owner } => format!("{} -> {}", shown(name), hex::encode(owner)),
            Outcome::NotFound { .. } => "Not found".to_owned(),
            Outcome::List { entries } => {
                let line = |(name, owner): &(Vec<u8>, Vec<u8>)| {
                    format!("{}: {}", shown(&String::from_utf8_lossy(name)), hex::encode(owner))
                };
                entries.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Outcome::WhoAmI { key } => hex::encode(key),
            Outcome::Status(status) => status.text(),
            Outcome::Help => HELP.to_owned(),
            Outcome::Refused { why } => format!("Error: {}", shown(why)),
            Outcome::Unreachable => "Error: Server unreachable".to_owned(),
            Outcome::Unknown { name } => {
                format!("Error: Connection lost, it is not known what became of {}", shown(name))
            }
            Outcome::NeverSynced => "Never synced: there is no local copy of the registry yet".to_owned(),
            Outcome::Incomplete => {
                "Incomplete: a part of the local copy is missing and nobody is there to send it".to_owned()
            }
            Outcome::Failed { why } => format!("Error: {}", shown(why)),
        }
    }

    /// One JSON object: `result` names the outcome, `stale` says that the copy may be old.
    pub fn json(&self, stale: bool) -> String {
        let mut fields = vec![("result", quoted(self.word()))];
        match self {
            Outcome::Registered { name }
            | Outcome::AlreadyYours { name }
            | Outcome::Deleted { name }
            | Outcome::NotFound { name }
            | Outcome::Unknown { name } => fields.push(("name", quoted(name))),
            Outcome::Found { name, owner } => {
                fields.push(("name", quoted(name)));
                fields.push(("owner", quoted(&hex::encode(owner))));
            }
            Outcome::List { entries } => {
                let entry = |(name, owner): &(Vec<u8>, Vec<u8>)| {
                    let name = quoted(&String::from_utf8_lossy(name));
                    format!("{{\"name\":{name},\"owner\":{}}}", quoted(&hex::encode(owner)))
                };
                let entries: Vec<String> = entries.iter().map(entry).collect();
                fields.push(("entries", format!("[{}]", entries.join(","))));
            }
            Outcome::WhoAmI { key } => fields.push(("key", quoted(&hex::encode(key)))),
            Outcome::Status(status) => fields.extend(status.fields()),
            Outcome::Refused { why } | Outcome::Failed { why } => fields.push(("error", quoted(why))),
            Outcome::Unreachable | Outcome::NeverSynced | Outcome::Incomplete | Outcome::Help => {}
        }
        if stale {
            fields.push(("stale", "true".to_owned()));
        }
        object(&fields)
    }

    /// One word or two for what it is.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Registered { .. } => "registered",
            Outcome::AlreadyYours { .. } => "already yours",
            Outcome::Deleted { .. } => "deleted",
            Outcome::Found { .. } => "found",
            Outcome::NotFound { .. } => "not found",
            Outcome::List { .. } => "list",
            Outcome::WhoAmI { .. } => "whoami",
            Outcome::Status(_) => "status",
            Outcome::Help => "help",
            Outcome::Refused { .. } => "refused",
            Outcome::Unreachable => "unreachable",
            Outcome::Unknown { .. } => "unknown",
            Outcome::NeverSynced => "never synced",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed { .. } => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves registry.10
    #[test]
    fn the_answers_read_exactly_so() {
        let name = || "alice".to_owned();
        let owner = vec![0xab; 32];
        let hex = "ab".repeat(32);
        for (outcome, text) in [
            (Outcome::Registered { name: name() }, "Registered: alice".to_owned()),
            (Outcome::AlreadyYours { name: name() }, "Already registered by you: alice".to_owned()),
            (
                Outcome::Refused { why: super::super::rules::TAKEN.into() },
                "Error: Username already taken".to_owned(),
            ),
            (Outcome::Found { name: name(), owner: owner.clone() }, format!("alice -> {hex}")),
            (Outcome::NotFound { name: name() }, "Not found".to_owned()),
            (Outcome::Deleted { name: name() }, "Deleted: alice".to_owned()),
            (
                Outcome::Refused { why: super::super::rules::NOT_OWNER.into() },
                "Error: Unauthorized: only the owner can delete this username".to_owned(),
            ),
            (
                Outcome::List {
                    entries: vec![(b"a".to_vec(), owner.clone()), (b"b".to_vec(), owner.clone())],
                },
                format!("a: {hex}\nb: {hex}"),
            ),
            (Outcome::List { entries: vec![] }, String::new()),
        ] {
            assert_eq!(outcome.text(), text);
        }
    }

    #[test]
    fn json_is_json() {
        let outcomes = [
            Outcome::Registered { name: "a\"b\\c\u{e6}\u{1}\n".into() },
            Outcome::Found { name: "a".into(), owner: vec![1; 32] },
            Outcome::List { entries: vec![(b"a".to_vec(), vec![1]), (vec![0xff], vec![])] },
            Outcome::Status(Status { reachable: true, length: 3, peers: 1, remote_length: 3 }),
            Outcome::Refused { why: "no".into() },
            Outcome::Unreachable,
        ];
        for outcome in outcomes {
            let value: serde_json::Value = serde_json::from_str(&outcome.json(true)).expect("json");
            assert_eq!(value["result"], outcome.word());
            assert_eq!(value["stale"], true);
        }
        let value: serde_json::Value =
            serde_json::from_str(&Outcome::Registered { name: "a\"\u{1}".into() }.json(false)).expect("json");
        assert_eq!(value["name"], "a\"\u{1}");
        assert!(value.get("stale").is_none());
    }
}
