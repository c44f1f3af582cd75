//! Why an attempt to connect failed: a value with a stable code. Follows hyperdht.19.

use core::fmt;

use crate::wire;

/// The kinds of NAT that met in a punch, numbered as in `wire::hyperdht::firewall`, each as far as its side could tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Met {
    pub ours: u64,
    pub theirs: u64,
}

/// Why an attempt failed. `code` is stable and, where upstream has the same reason, upstream's. hyperdht.19
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConnectError {
    PeerNotFound,
    PeerConnectionFailed,
    HandshakeInvalid,
    ServerIncompatible,
    ServerError,
    CannotHolepunch,
    HolepunchAborted,
    HolepunchInvalid,
    HolepunchProbeTimeout,
    DoubleRandomizedNats,
    /// One side was busy with other searches for ports all the time. hyperdht.137
    TryLater,
    RemoteAborted,
    RemoteNotHolepunching,
    RemoteNotHolepunchable,
    BadHolepunchReply,
    RequestTimeout,
    /// The attempt took longer than anything may.
    TimedOut,
    /// The blind relay could not be had, and there was no other way.
    RelayAborted,
    /// The stream was closed before it had its peer.
    StreamClosed,
    /// The node is suspended.
    Suspended,
    /// The node was destroyed.
    Destroyed,
    /// A pool has another connection with that key.
    Duplicate,
}

impl ConnectError {
    pub const fn code(self) -> &'static str {
        match self {
            ConnectError::PeerNotFound => "PEER_NOT_FOUND",
            ConnectError::PeerConnectionFailed => "PEER_CONNECTION_FAILED",
            ConnectError::HandshakeInvalid => "HANDSHAKE_INVALID",
            ConnectError::ServerIncompatible => "SERVER_INCOMPATIBLE",
            ConnectError::ServerError => "SERVER_ERROR",
            ConnectError::CannotHolepunch => "CANNOT_HOLEPUNCH",
            ConnectError::HolepunchAborted => "HOLEPUNCH_ABORTED",
            ConnectError::HolepunchInvalid => "HOLEPUNCH_INVALID",
            ConnectError::HolepunchProbeTimeout => "HOLEPUNCH_PROBE_TIMEOUT",
            ConnectError::DoubleRandomizedNats => "HOLEPUNCH_DOUBLE_RANDOMIZED_NATS",
            ConnectError::TryLater => "HOLEPUNCH_TRY_LATER",
            ConnectError::RemoteAborted => "REMOTE_ABORTED",
            ConnectError::RemoteNotHolepunching => "REMOTE_NOT_HOLEPUNCHING",
            ConnectError::RemoteNotHolepunchable => "REMOTE_NOT_HOLEPUNCHABLE",
            ConnectError::BadHolepunchReply => "BAD_HOLEPUNCH_REPLY",
            ConnectError::RequestTimeout => "REQUEST_TIMEOUT",
            ConnectError::TimedOut => "CONNECT_TIMED_OUT",
            ConnectError::RelayAborted => "RELAY_ABORTED",
            ConnectError::StreamClosed => "STREAM_CLOSED",
            ConnectError::Suspended => "SUSPENDED",
            ConnectError::Destroyed => "NODE_DESTROYED",
            ConnectError::Duplicate => "DUPLICATE_CONNECTION",
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::PeerNotFound => "nobody knows that key",
            ConnectError::PeerConnectionFailed => "no node could relay to that key",
            ConnectError::HandshakeInvalid => "no valid answer to the handshake",
            ConnectError::ServerIncompatible => "the server speaks another version",
            ConnectError::ServerError => "the server refused the handshake",
            ConnectError::CannotHolepunch => "the server cannot be reached from here",
            ConnectError::HolepunchAborted => "holepunching came to nothing",
            ConnectError::HolepunchInvalid => "a holepunch answer could not be opened",
            ConnectError::HolepunchProbeTimeout => "what the NATs do could not be told in time",
            ConnectError::DoubleRandomizedNats => "both NATs give each destination another port",
            ConnectError::TryLater => "a side was busy with other punches for too long",
            ConnectError::RemoteAborted => "the server gave up holepunching",
            ConnectError::RemoteNotHolepunching => "the server does not holepunch",
            ConnectError::RemoteNotHolepunchable => "the server named no address to punch",
            ConnectError::BadHolepunchReply => "a relay answered a holepunch wrongly",
            ConnectError::RequestTimeout => "a relay does not answer",
            ConnectError::TimedOut => "connecting took too long",
            ConnectError::RelayAborted => "neither a direct way nor the relay led to the server",
            ConnectError::StreamClosed => "the stream was closed while connecting",
            ConnectError::Suspended => "the node is suspended",
            ConnectError::Destroyed => "the node was destroyed",
            ConnectError::Duplicate => "there is another connection with that key",
        })
    }
}

impl std::error::Error for ConnectError {}

/// Why a node did not take a mutable value. hyperdht.3, hyperdht.117
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StoreError {
    /// It has another value with that number.
    SeqReused,
    /// It has a value with a higher number.
    SeqTooLow,
}

impl StoreError {
    /// By the error of a reply.
    pub(super) fn of(error: u64) -> Option<StoreError> {
        match error {
            wire::hyperdht::error::SEQ_REUSED => Some(StoreError::SeqReused),
            wire::hyperdht::error::SEQ_TOO_LOW => Some(StoreError::SeqTooLow),
            _ => None,
        }
    }

    pub const fn code(self) -> &'static str {
        match self {
            StoreError::SeqReused => "SEQ_REUSED",
            StoreError::SeqTooLow => "SEQ_TOO_LOW",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreError::SeqReused => "there is another value with that number",
            StoreError::SeqTooLow => "there is a value with a higher number",
        })
    }
}

impl std::error::Error for StoreError {}
