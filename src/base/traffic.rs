//! What came in and what went out.

/// Datagrams and their bytes, without the headers of IP and UDP.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Traffic {
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Traffic {
    /// `packets` of together `bytes` came.
    pub fn came(&mut self, packets: usize, bytes: usize) {
        self.packets_in += packets as u64;
        self.bytes_in += bytes as u64;
    }

    /// `packets` of together `bytes` left.
    pub fn left(&mut self, packets: usize, bytes: usize) {
        self.packets_out += packets as u64;
        self.bytes_out += bytes as u64;
    }
}
