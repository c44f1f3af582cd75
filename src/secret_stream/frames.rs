//! Cuts arriving bytes into frames. Follows secret_stream.1 to secret_stream.3.

use std::borrow::Cow;

use crate::wire::{self, secret_stream::Head};

/// A buffer with more room than this is given back rather than kept for the next frame.
const KEPT: usize = (1 << 16) + 64;
/// The first room for a frame that comes in pieces.
const LEAST: usize = 2048;

/// The frame that is arriving. Its buffer grows with the bytes that came, never with the length that was announced
/// (secret_stream.3).
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; Head::LEN],
    head_len: usize,
    body: Vec<u8>,
    body_len: usize,
}

/// What `Frames::next` finds.
pub(super) enum Found<'a> {
    /// All bytes were taken; the frame is not whole yet.
    Nothing,
    /// The length of the frame that begins now: the caller may refuse it. Called again, `next` goes on.
    Announced(usize),
    Body(Cow<'a, [u8]>),
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
        let missing = self.body_len - self.body.len();
        let (taken, rest) = bytes.split_at(bytes.len().min(missing));
        *bytes = rest;
        if taken.len() < missing {
            self.grow(taken);
            return Found::Nothing;
        }
        self.head_len = 0;
        if self.body.is_empty() {
            return Found::Body(Cow::Borrowed(taken));
        }
        self.grow(taken);
        Found::Body(Cow::Owned(core::mem::take(&mut self.body)))
    }

    /// Adds bytes that came. Room is doubled, but not beyond the frame: at most twice what came is reserved.
    fn grow(&mut self, taken: &[u8]) {
        let wanted = self.body.len() + taken.len();
        if wanted > self.body.capacity() {
            let room = self.body_len.min((2 * wanted).max(LEAST));
            self.body.reserve_exact(room - self.body.len());
        }
        self.body.extend_from_slice(taken);
    }

    /// Gives the buffer of a frame back, so that the next one need not grow its own.
    pub(super) fn reuse(&mut self, body: Cow<'_, [u8]>) {
        if let Cow::Owned(mut buffer) = body
            && self.body.capacity() == 0
            && buffer.capacity() <= KEPT
        {
            buffer.clear();
            self.body = buffer;
        }
    }

    /// Gives back what was kept for the next frame.
    pub(super) fn rest(&mut self) {
        if !self.is_partial() {
            self.body = Vec::new();
        }
    }

    /// Bytes that are reserved for the frame that is arriving.
    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.body.capacity()
    }
}
