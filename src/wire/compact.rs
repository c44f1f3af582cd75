//! compact-encoding's numbers, as plain functions (the cursor's fields are in `mod.rs`).

/// The largest number that upstream carries (2^53 - 1).
pub const UINT_MAX: u64 = (1 << 53) - 1;

/// The shortest form of a `uint`, and its length. (compact_encoding.1)
pub fn uint_bytes(value: u64) -> ([u8; 9], usize) {
    let mut bytes = [0; 9];
    let tail = value.to_le_bytes();
    let (tag, len) = match value {
        0..=0xfc => {
            bytes[0] = value as u8;
            return (bytes, 1);
        }
        0xfd..=0xffff => (0xfd, 2),
        0x1_0000..=0xffff_ffff => (0xfe, 4),
        _ => (0xff, 8),
    };
    bytes[0] = tag;
    bytes[1..=len].copy_from_slice(&tail[..len]);
    (bytes, len + 1)
}

/// Appends a `uint`.
pub fn put_uint(out: &mut Vec<u8>, value: u64) {
    let (bytes, len) = uint_bytes(value);
    out.extend_from_slice(&bytes[..len]);
}

#[cfg(test)]
mod tests;
