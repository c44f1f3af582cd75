//! Bytes as text: hex and z-base-32, as keys are written by people.

use core::fmt;

const Z32: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// Lower-case hex of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

/// Displays bytes as lower-case hex.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Displays the first four bytes of a key as hex: what a line about it has room for.
pub struct Short<'a>(pub &'a [u8; 32]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes that `text` (hex of either case) writes; `None` if it is not hex of whole bytes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A 32-byte key as z-base-32 (52 characters).
pub fn key_to_z32(key: &[u8; 32]) -> String {
    let bit = |n: usize| key.get(n / 8).is_some_and(|byte| byte >> (7 - n % 8) & 1 == 1);
    (0..52)
        .map(|letter| {
            let index = (0..5).fold(0, |acc, n| acc << 1 | usize::from(bit(letter * 5 + n)));
            char::from(Z32[index])
        })
        .collect()
}

/// A 32-byte key written as hex (64 digits) or z-base-32 (52 characters), with or without `pear://`.
/// (compact_encoding.15)
pub fn key_from_text(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let path = text.strip_prefix("pear://").map(|rest| rest.split('/').next().unwrap_or_default());
    let text = path.unwrap_or(text);
    if text.len() == 64 {
        return decode(text)?.try_into().ok();
    }
    if text.len() != 52 {
        return None;
    }
    let mut key = [0u8; 32];
    for (letter, byte) in text.bytes().enumerate() {
        let value = Z32.iter().position(|&z| z == byte.to_ascii_lowercase())?;
        for n in 0..5 {
            if value >> (4 - n) & 1 == 1 {
                let bit = letter * 5 + n;
                *key.get_mut(bit / 8)? |= 0x80 >> (bit % 8);
            }
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_from_both_forms() {
        let key: [u8; 32] = core::array::from_fn(|n| (n * 37 + 5) as u8);
        assert_eq!(key_from_text(&encode(&key)), Some(key));
        assert_eq!(key_from_text(&encode(&key).to_uppercase()), Some(key));
        assert_eq!(key_from_text(&key_to_z32(&key)), Some(key));
        assert_eq!(key_to_z32(&key).len(), 52);
        assert_eq!(key_from_text("abc"), None);
        assert_eq!(key_from_text(&"g".repeat(64)), None);
        assert_eq!(key_from_text(&"l".repeat(52)), None);
    }

    #[test]
    fn odd_hex_is_refused() {
        assert_eq!(decode("abc"), None);
        assert_eq!(decode(""), Some(vec![]));
        assert_eq!(decode("00fF"), Some(vec![0, 255]));
    }
}
