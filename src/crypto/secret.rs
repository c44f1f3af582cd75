//! Key bytes that are wiped when dropped and never shown.

use core::fmt;

/// 32 secret bytes. No `PartialEq`: comparing secrets takes a time that tells.
#[derive(Clone)]
pub struct Secret(pub [u8; 32]);

impl Drop for Secret {
    fn drop(&mut self) {
        sodiumoxide::utils::memzero(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
