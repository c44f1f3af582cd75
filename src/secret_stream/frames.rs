//! Cuts arriving bytes into frames. Follows secret_stream.1 to secret_stream.3.

use core::ops::Deref;

use crate::crypto::secretstream::{BEHIND, ROOM};
use crate::wire::{self, secret_stream::Head};

/// After a frame longer than this the next one gets no room on credit.
const KEPT: usize = (1 << 16) + 64;
/// The first room for a frame that comes in pieces.
const LEAST: usize = 2048 - ROOM;

/// The frame that is arriving. Its buffer grows with the bytes that came, never with the length that was announced
/// (secret_stream.3).
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; Head::LEN],
    head_len: usize,
    /// `ROOM` bytes, then the body as far as it is here; or nothing at all.
    buffer: Vec<u8>,
    body_len: usize,
    /// Length of the last whole frame that came in pieces: so much the peer has shown to send, and the next one gets
    /// that room at once.
    proven: usize,
}

/// What `Frames::next` finds.
pub(super) enum Found<'a> {
    /// All bytes were taken; the frame is not whole yet.
    Nothing,
    /// The length of the frame that begins now: the caller may refuse it. Called again, `next` goes on.
    Announced(usize),
    Body(Body<'a>),
}

/// The body of a frame.
pub(super) enum Body<'a> {
    /// Where it arrived, as it came in one piece.
    There(&'a [u8]),
    /// Behind `ROOM` bytes of a buffer that has room behind it too: it can be opened there.
    Here(Vec<u8>),
}

impl Deref for Body<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Body::There(bytes) => bytes,
            Body::Here(buffer) => &buffer[ROOM..],
        }
    }
}

impl Frames {
    /// A frame has begun and is not whole.
    pub(super) fn is_partial(&self) -> bool {
        self.head_len > 0
    }

    /// Takes bytes off `bytes` until there is something to tell. (secret_stream.2)
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Found<'a> {
        if self.head_len < Head::LEN {
            let (taken, rest) = bytes.split_at(bytes.len().min(Head::LEN - self.head_len));
            self.head[self.head_len..self.head_len + taken.len()].copy_from_slice(taken);
            self.head_len += taken.len();
            *bytes = rest;
            if self.head_len < Head::LEN {
                return Found::Nothing;
            }
            let head: Head = wire::decode(&self.head).expect("three bytes are a head");
            self.body_len = head.len as usize;
            return Found::Announced(self.body_len);
        }
        let missing = self.body_len - self.buffer.len().saturating_sub(ROOM);
        let (taken, rest) = bytes.split_at(bytes.len().min(missing));
        *bytes = rest;
        if taken.len() < missing {
            self.grow(taken);
            return Found::Nothing;
        }
        self.head_len = 0;
        if self.buffer.is_empty() {
            return Found::Body(Body::There(taken));
        }
        self.grow(taken);
        self.proven = if self.body_len <= KEPT { self.body_len } else { 0 };
        Found::Body(Body::Here(core::mem::take(&mut self.buffer)))
    }

    /// Adds bytes that came. Room is doubled, but not beyond the frame: at most twice what came is reserved, or
    /// what the
    /// frame before took.
    fn grow(&mut self, taken: &[u8]) {
        if taken.is_empty() {
            return;
        }
        let wanted = self.buffer.len().max(ROOM) - ROOM + taken.len();
        if ROOM + wanted > self.buffer.capacity() {
            let body = self.body_len.min((2 * wanted).max(LEAST).max(self.proven));
            let room = ROOM + body + if body == self.body_len { BEHIND } else { 0 };
            self.buffer.reserve_exact(room - self.buffer.len());
        }
        if self.buffer.is_empty() {
            self.buffer.resize(ROOM, 0);
        }
        self.buffer.extend_from_slice(taken);
    }

    /// Nothing came for a while: what the peer has shown to send counts no more.
    pub(super) fn rest(&mut self) {
        self.proven = 0;
    }

    /// Bytes that are reserved for the frame that is arriving.
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.buffer.capacity()
    }
}
