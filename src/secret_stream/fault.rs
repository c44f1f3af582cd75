//! Why a secret stream closed.

use core::fmt;

use crate::crypto::NoiseError;

/// Why a stream is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Both sides ended.
    Ended,
    /// We destroyed it.
    Destroyed,
    /// The byte stream went away before both sides ended.
    Cut,
    /// No byte came for as long as `set_timeout` allows.
    Silent,
    /// A message has begun, and its rest does not come.
    Stalled,
    Fault(Fault),
}

/// What broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Handshake(NoiseError),
    /// A handshake frame longer than a Noise message.
    HandshakeLength(usize),
    /// The first frame is not as long as a header.
    HeaderLength(usize),
    /// The header names another stream, or the same side of it.
    WrongId,
    /// A frame shorter than an empty message.
    TooShort(usize),
    /// A frame that the peer did not seal at this place.
    Forged,
    /// The peer ended within the handshake.
    EndedEarly,
    /// We sent 2^64 - 1 unordered messages.
    NoncesUsedUp,
    /// More came than we hold for the layer above.
    Flooded,
}

impl Why {
    /// The rule that says so, if one does.
    pub fn rule(self) -> Option<&'static str> {
        match self {
            Why::Fault(fault) => fault.rule(),
            Why::Ended | Why::Cut => Some("secret_stream.26"),
            Why::Silent => Some("secret_stream.23"),
            Why::Stalled => Some("secret_stream.27"),
            Why::Destroyed => None,
        }
    }
}

impl Fault {
    /// The rule that was broken; none for our own bounds.
    pub fn rule(self) -> Option<&'static str> {
        match self {
            Fault::Handshake(_) => Some("secret_stream.4"),
            Fault::HandshakeLength(_) => Some("noise.12"),
            Fault::HeaderLength(_) | Fault::WrongId => Some("secret_stream.8"),
            Fault::TooShort(_) | Fault::Forged => Some("secret_stream.24"),
            Fault::EndedEarly => Some("secret_stream.25"),
            Fault::NoncesUsedUp => Some("secret_stream.19"),
            Fault::Flooded => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Ended => f.write_str("both sides ended"),
            Why::Destroyed => f.write_str("destroyed here"),
            Why::Cut => f.write_str("the connection was cut"),
            Why::Silent => f.write_str("the peer was silent for too long"),
            Why::Stalled => f.write_str("the rest of a message did not come"),
            Why::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Handshake(error) => error.fmt(f),
            Fault::HandshakeLength(len) => write!(f, "a handshake frame of {len} bytes"),
            Fault::HeaderLength(len) => write!(f, "a header of {len} bytes"),
            Fault::WrongId => f.write_str("the header names another stream"),
            Fault::TooShort(len) => write!(f, "a frame of {len} bytes"),
            Fault::Forged => f.write_str("a frame was changed on the way"),
            Fault::EndedEarly => f.write_str("the peer ended within the handshake"),
            Fault::NoncesUsedUp => f.write_str("no nonce is left for unordered messages"),
            Fault::Flooded => f.write_str("more messages came than were taken"),
        }
    }
}
