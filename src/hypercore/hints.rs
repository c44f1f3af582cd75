//! What is kept for convenience only. Follows hypercore.102.

use super::Hypercore;
use crate::wire::oplog::UserData;

/// The user data that holds the hint, as eight bytes, little endian.
const REMOTE: &str = "seckel/remote-contiguous-length";

impl Hypercore {
    /// Every block below this one some peer was once seen to have. (hypercore.102)
    pub fn remote_contiguous_length(&self) -> u64 {
        self.remote_contiguous.min(self.length())
    }

    /// A peer has all blocks below `length`. It is stored with the next flush. True if that is news.
    pub fn note_remote_contiguous_length(&mut self, length: u64) -> bool {
        let news = length > self.remote_contiguous;
        if news {
            self.remote_contiguous = length;
        }
        news
    }

    pub(super) fn stored_hint(&self) -> u64 {
        let bytes = self.user_data(REMOTE).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    /// Into the header that is written next; a hint is not worth an entry.
    pub(super) fn store_hint(&mut self) {
        if self.remote_contiguous != self.stored_hint() {
            let value = match self.remote_contiguous {
                0 => Vec::new(),
                length => length.to_le_bytes().to_vec(),
            };
            self.keep_user_data(UserData { key: REMOTE.to_owned(), value });
        }
    }
}
