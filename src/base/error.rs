//! The kinds of failure that cross folders. No `String` inside: an error is data, its text is made when shown.

use core::fmt;

use super::DiskError;

/// These bytes are not that format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// The format's name as in the notes, such as `udx.header`.
    pub format: &'static str,
    pub field: &'static str,
    /// Offset of the field in the bytes that were decoded.
    pub at: usize,
    pub reason: Reason,
}

/// Why bytes are not a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The bytes end before the field does.
    Short,
    /// A length or count above its limit.
    TooLong { len: u64, max: u64 },
    /// A number that no peer may send here.
    Illegal { value: u64 },
    /// Text that is not UTF-8.
    NotText,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: field \"{}\" at byte {}: ", self.format, self.field, self.at)?;
        match self.reason {
            Reason::Short => f.write_str("the bytes end inside it"),
            Reason::TooLong { len, max } => write!(f, "length {len} is above {max}"),
            Reason::Illegal { value } => write!(f, "{value} is not allowed"),
            Reason::NotText => f.write_str("not UTF-8 text"),
        }
    }
}

/// Misuse, a full queue, or the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The handle names something that is no more.
    Gone,
    /// A queue is full; try again after it drained.
    Full,
    /// Not open yet, or closed already.
    NotOpen,
    /// Something of that name or number is not there.
    Missing,
    /// Something of that name is there already.
    Taken,
    /// The caller may not do that; the text says why.
    Refused(&'static str),
    /// An argument is not valid; the text names it.
    Invalid(&'static str),
    Io(DiskError),
    /// What is stored is damaged; the text names what.
    Corrupt(&'static str),
    Malformed(Malformed),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Gone => f.write_str("it is gone"),
            Error::Full => f.write_str("a queue is full"),
            Error::NotOpen => f.write_str("not open"),
            Error::Missing => f.write_str("not there"),
            Error::Taken => f.write_str("there already"),
            Error::Refused(why) => f.write_str(why),
            Error::Invalid(what) => write!(f, "not valid: {what}"),
            Error::Io(error) => error.fmt(f),
            Error::Corrupt(what) => write!(f, "damaged: {what}"),
            Error::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Malformed {}
impl std::error::Error for DiskError {}

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Error {
        Error::Io(error)
    }
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Error {
        Error::Malformed(error)
    }
}
