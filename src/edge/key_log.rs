//! The file that session keys are appended to, for who reads captures. Follows key_log.1 and key_log.8.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::base::hex::Hex;

/// A key log that is being written. Several processes may append to one.
pub struct KeyLog {
    file: File,
}

impl KeyLog {
    /// Opens it for appending; a new file can be read by its owner only. key_log.8
    pub fn open(path: &Path) -> io::Result<KeyLog> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(KeyLog { file: options.open(path)? })
    }

    /// Appends a line, in one write, so that lines of several processes do not mix. key_log.1
    pub fn add(&mut self, label: &str, id: &[u8], secrets: &[&[u8]]) -> io::Result<()> {
        let mut line = format!("{label} {}", Hex(id));
        for secret in secrets {
            line += &format!(" {}", Hex(secret));
        }
        line.push('\n');
        self.file.write_all(line.as_bytes())
    }
}
