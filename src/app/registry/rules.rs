//! What may be a name, and who may do what to it. Values only.

use core::fmt;

use super::gate::Bounds;
use crate::base::{Key, Reason, limits};
use crate::wire;

/// How much a caller may do. (registry.6, registry.7)
pub const BOUNDS: Bounds = Bounds {
    waiting: limits::REGISTRY_WAITING_MAX,
    burst: limits::REGISTRY_BURST,
    per_second: limits::REGISTRY_PER_SECOND,
    callers: limits::REGISTRY_CALLERS_MAX,
};

impl Default for Bounds {
    fn default() -> Bounds {
        BOUNDS
    }
}

/// The name of the server's core in its store.
pub const CORE_NAME: &str = "registry";

/// What the server can be asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Register,
    Delete,
}

impl Method {
    /// As it is called on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Method::Register => "register",
            Method::Delete => "delete",
        }
    }

    pub fn from_name(name: &str) -> Option<Method> {
        match name {
            "register" => Some(Method::Register),
            "delete" => Some(Method::Delete),
            _ => None,
        }
    }
}

/// Why something is not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameFault {
    Empty,
    TooLong,
    WhiteSpace,
    Control,
    /// Not UTF-8, or not a request at all.
    NotText,
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalid username: ")?;
        match self {
            NameFault::Empty => f.write_str("it is empty"),
            NameFault::TooLong => {
                write!(f, "it is longer than {} bytes", limits::REGISTRY_NAME_MAX)
            }
            NameFault::WhiteSpace => f.write_str("it contains white space"),
            NameFault::Control => f.write_str("it contains a control character"),
            NameFault::NotText => f.write_str("it is not UTF-8 text"),
        }
    }
}

/// registry.3: 1 to 255 bytes of UTF-8 without white space and control characters.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    if name.len() > limits::REGISTRY_NAME_MAX {
        return Err(NameFault::TooLong);
    }
    // A line break is both; white space is the plainer word for it.
    if name.chars().any(char::is_whitespace) {
        return Err(NameFault::WhiteSpace);
    }
    if name.chars().any(char::is_control) {
        return Err(NameFault::Control);
    }
    Ok(())
}

/// registry.9: the name that a call's value asks about, checked.
pub fn read_request(value: &[u8]) -> Result<String, NameFault> {
    let request: wire::registry::Request = wire::decode(value).map_err(|fault| match fault.reason {
        Reason::TooLong { .. } => NameFault::TooLong,
        Reason::Short | Reason::Illegal { .. } | Reason::NotText => NameFault::NotText,
    })?;
    let name = String::from_utf8(request.name).map_err(|_| NameFault::NotText)?;
    check_name(&name)?;
    Ok(name)
}

/// The value of a call for a name.
pub fn request(name: &str) -> Vec<u8> {
    wire::encode(&wire::registry::Request { name: name.as_bytes().to_vec() })
}

/// The answer to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Ok,
    /// It was so already.
    Idempotent,
    /// The text after `ERR:`.
    Refused(String),
}

pub const TAKEN: &str = "Username already taken";
pub const NOT_FOUND: &str = "Username not found";
pub const NOT_OWNER: &str = "Unauthorized: only the owner can delete this username";
/// The caller has too many requests waiting.
pub const TOO_MANY: &str = "Too many requests at once";
/// The server has too many callers.
pub const BUSY: &str = "The server is busy";
pub const UNKNOWN_METHOD: &str = "Unknown method";
pub const STORAGE: &str = "The server could not store it";

impl Answer {
    pub fn refused(why: &str) -> Answer {
        Answer::Refused(why.to_owned())
    }

    /// As it is said on the wire (registry.2).
    pub fn text(&self) -> String {
        match self {
            Answer::Ok => "OK".to_owned(),
            Answer::Idempotent => "IDEMPOTENT".to_owned(),
            Answer::Refused(why) => format!("ERR:{why}"),
        }
    }

    /// The value of the answer.
    pub fn value(&self) -> Vec<u8> {
        wire::encode(&wire::registry::Answer { text: self.text().into_bytes() })
    }

    /// What was said; anything else than the three forms is taken for a refusal in other words.
    pub fn from_text(text: &str) -> Answer {
        match text {
            "OK" => Answer::Ok,
            "IDEMPOTENT" => Answer::Idempotent,
            other => {
                let why = other.strip_prefix("ERR:").unwrap_or(other);
                Answer::Refused(why.trim().to_owned())
            }
        }
    }
}

/// The text of an answer's value; `None` if it is too long. What is not UTF-8 in it is shown as such.
pub fn read_answer(value: &[u8]) -> Option<String> {
    let answer: wire::registry::Answer = wire::decode(value).ok()?;
    Some(String::from_utf8_lossy(&answer.text).into_owned())
}

/// What a call comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The name becomes the caller's; then `OK`.
    Put,
    /// The name is removed; then `OK`.
    Del,
    /// Nothing changes.
    Answer(Answer),
}

/// registry.4 and registry.5: decides a call of a sound name by its owner so far. `caller` is the key that the
/// connection proved, never a value from the call.
pub fn decide(method: Method, caller: &Key, owner: Option<&[u8]>) -> Decision {
    match (method, owner) {
        (Method::Register, None) => Decision::Put,
        (Method::Register, Some(owner)) if owner == caller => Decision::Answer(Answer::Idempotent),
        (Method::Register, Some(_)) => Decision::Answer(Answer::refused(TAKEN)),
        (Method::Delete, None) => Decision::Answer(Answer::refused(NOT_FOUND)),
        (Method::Delete, Some(owner)) if owner == caller => Decision::Del,
        (Method::Delete, Some(_)) => Decision::Answer(Answer::refused(NOT_OWNER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves registry.3
    #[test]
    fn names_are_text_of_bounded_length_without_gaps() {
        let long = "a".repeat(255);
        let too_long = "a".repeat(256);
        // 85 times three bytes.
        let wide = "\u{20ac}".repeat(85);
        for name in ["a", "alice", "\u{e6}\u{f8}\u{e5}", "\u{1f350}", "a.b-c_d/e", &long, &wide] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, fault) in [
            ("", NameFault::Empty),
            (&too_long[..], NameFault::TooLong),
            (&format!("{wide}a"), NameFault::TooLong),
            ("a b", NameFault::WhiteSpace),
            (" a", NameFault::WhiteSpace),
            ("a\n", NameFault::WhiteSpace),
            ("a\u{a0}b", NameFault::WhiteSpace),
            ("a\u{2003}b", NameFault::WhiteSpace),
            ("a\0", NameFault::Control),
            ("\u{1b}[2J", NameFault::Control),
            ("a\u{7f}", NameFault::Control),
            ("a\u{85}", NameFault::WhiteSpace),
            ("a\u{9b}", NameFault::Control),
        ] {
            assert_eq!(check_name(name), Err(fault), "{name:?}");
        }
    }

    // proves registry.1
    // proves registry.9
    #[test]
    fn a_call_that_is_no_name_is_answered_with_the_reason() {
        assert_eq!(read_request(&request("alice")), Ok("alice".to_owned()));
        assert_eq!(read_request(b"alice"), Ok("alice".to_owned()));
        assert_eq!(read_request(b""), Err(NameFault::Empty));
        assert_eq!(read_request("a".repeat(300).as_bytes()), Err(NameFault::TooLong));
        assert_eq!(read_request("a".repeat(100_000).as_bytes()), Err(NameFault::TooLong));
        assert_eq!(read_request(b"\xff\xfe"), Err(NameFault::NotText));
        assert_eq!(
            Answer::refused(&NameFault::Empty.to_string()).text(),
            "ERR:Invalid username: it is empty"
        );
    }

    // proves registry.4
    // proves registry.5
    #[test]
    fn only_the_proven_key_counts() {
        let (me, other) = ([1; 32], [2; 32]);
        assert_eq!(decide(Method::Register, &me, None), Decision::Put);
        assert_eq!(decide(Method::Register, &me, Some(&me)), Decision::Answer(Answer::Idempotent));
        assert_eq!(decide(Method::Register, &me, Some(&other)), Decision::Answer(Answer::refused(TAKEN)));
        assert_eq!(decide(Method::Delete, &me, None), Decision::Answer(Answer::refused(NOT_FOUND)));
        assert_eq!(decide(Method::Delete, &me, Some(&me)), Decision::Del);
        assert_eq!(decide(Method::Delete, &me, Some(&other)), Decision::Answer(Answer::refused(NOT_OWNER)));
        // A value that is no key at all has no owner that could prove it.
        assert_eq!(decide(Method::Delete, &me, Some(&[])), Decision::Answer(Answer::refused(NOT_OWNER)));
    }

    // proves registry.2
    #[test]
    fn answers_have_three_forms() {
        for answer in [Answer::Ok, Answer::Idempotent, Answer::refused(TAKEN)] {
            assert_eq!(Answer::from_text(&answer.text()), answer);
        }
        assert_eq!(read_answer(&Answer::Ok.value()).as_deref(), Some("OK"));
        assert_eq!(read_answer(&[b'a'; 5000]), None);
        assert_eq!(Answer::refused(TAKEN).text(), "ERR:Username already taken");
        assert_eq!(Answer::from_text("ERR: x"), Answer::refused("x"));
        assert_eq!(Answer::from_text("what"), Answer::refused("what"));
    }
}
