//! Unordered messages: single boxes beside the stream, each with its own nonce. Follows secret_stream.17 to
//! secret_stream.21.

use crate::base::{Entropy, Key, Trace};
use crate::crypto::{Secret, hash, secretbox};
use crate::wire::{self, secret_stream::Unordered};

use super::{NAMESPACE, Role};

/// Keys and nonces of the unordered messages of one stream.
pub(super) struct Boxes {
    send_key: Secret,
    open_key: Secret,
    counter: u64,
    /// Where the counter began: back there, no nonce is left.
    first: u64,
}

impl Boxes {
    pub(super) fn new(entropy: &mut dyn Entropy, handshake_hash: &[u8; 64], role: Role) -> Boxes {
        let key = |sender: Role| {
            let parts = [hash::namespace(NAMESPACE, sender.number()), hash::namespace(NAMESPACE, 2)];
            Secret(hash::keyed_256(handshake_hash, &[&parts[0], &parts[1]]))
        };
        let first = entropy.u64();
        Boxes { send_key: key(role), open_key: key(role.other()), counter: first, first }
    }

    /// Logs both keys, each under the stream id of the side that seals with it. key_log.3
    pub(super) fn log(&self, trace: &mut dyn Trace, ours: &Key, theirs: &Key) {
        trace.key("UNORDERED", ours, &[&self.send_key.0]);
        trace.key("UNORDERED", theirs, &[&self.open_key.0]);
    }

    /// The datagram for `message`; `None` when every nonce was used.
    pub(super) fn seal(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        // secret_stream.19: the counter is stepped before it is used.
        self.counter = self.counter.wrapping_add(1);
        if self.counter == self.first {
            return None;
        }
        let counter = self.counter.to_le_bytes();
        let sealed = secretbox::seal(&self.send_key.0, &nonce(counter), message);
        let mut datagram = Vec::with_capacity(counter.len() + sealed.len());
        wire::encode_into(&mut Unordered { counter, sealed }, &mut datagram);
        Some(datagram)
    }

    /// The message in a datagram; `None` if it is not one of the peer's.
    pub(super) fn open(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let Unordered { counter, sealed } = wire::decode(datagram).ok()?;
        secretbox::open(&self.open_key.0, &nonce(counter), &sealed).ok()
    }

    #[cfg(test)]
    pub(super) fn use_up(&mut self) {
        self.counter = self.first.wrapping_sub(2);
    }
}

/// The counter, then zeros. (secret_stream.18)
fn nonce(counter: [u8; 8]) -> [u8; secretbox::NONCE] {
    let mut nonce = [0; secretbox::NONCE];
    nonce[..8].copy_from_slice(&counter);
    nonce
}
