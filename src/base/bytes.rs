//! Bytes that begin somewhere in a buffer: handed on without moving them to its front.
//!
//! Every copy between a program and the wire, and why it is needed. On the way out:
//!
//! | from → to | where | because |
//! |---|---|---|
//! | message → frame | `SecretStream::seal` | the program keeps its buffer; sealed in this one |
//! | calls, channels' messages → batch | `protomux` `Batch::add` | those of a turn share a frame |
//! | frame below 4 KiB → collected bytes | `udx/send.rs` `collect` | many small buffers cost more; a long one is kept |
//! | bytes for a bare stream → collected bytes | the same | the writer keeps its buffer, or uses `write_owned` |
//! | unacked bytes → packets | `udx/send.rs` `copy` | headers stand between; the kernel takes one slice, this one |
//!
//! On the way in:
//!
//! | from → to | where | because |
//! |---|---|---|
//! | parts of a frame → its buffer | `secret_stream/frames.rs` `grow` | headers stood between; opened in this one |
//! | frame in one datagram → message | `Pull::pull` | where it lies the next datagram arrives |
//! | opened message → front of its buffer | `Pull::open` | the MAC wants a block in front, programs a `Vec` |
//! | messages of a batch → events | `protomux/unpack.rs` | their owners differ; one alone keeps the buffer |
//! | a bare stream's data → event | `udx/recv.rs` | where it lies the next datagram arrives, or use `take_in` |
//! | data before its turn → buffer | the same | it waits for what is missing |

use core::fmt;
use core::ops::{Deref, DerefMut};

/// A buffer of which the first bytes are of no use.
#[derive(Clone, Default)]
pub struct Bytes {
    buffer: Vec<u8>,
    start: usize,
}

impl Bytes {
    /// All of `buffer` from `start` on, which is not beyond its end.
    pub fn behind(buffer: Vec<u8>, start: usize) -> Bytes {
        assert!(start <= buffer.len(), "the bytes begin inside their buffer");
        Bytes { buffer, start }
    }

    /// The buffer, and where in it the bytes begin.
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.buffer, self.start)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Bytes {
        Bytes { buffer, start: 0 }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}
impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
