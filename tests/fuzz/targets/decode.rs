//! Every format: two bytes choose it, the rest is to be read.

use seckel::wire::{self, Format};

pub fn run(input: &[u8], _: bool) -> String {
    let Some((choice, bytes)) = input.split_first_chunk() else { return String::new() };
    check(&pick(u16::from_le_bytes(*choice)), bytes);
    String::new()
}

/// The format whose name's sum is nearest: a new format does not give the inputs of all others another meaning.
pub fn pick(choice: u16) -> Format {
    let formats = wire::formats().into_iter();
    formats.min_by_key(|format| sum(format.name) ^ choice).expect("there are formats")
}

/// What chooses the format of that name.
pub fn sum(name: &str) -> u16 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 16) as u16
}

/// What holds for a format and any bytes.
pub fn check(format: &Format, bytes: &[u8]) {
    let (rows, explained) = (format.explain)(bytes);
    let mut at = 0;
    for row in &rows {
        assert!(row.at >= at, "{}: rows in order", format.name);
        at = row.at;
        assert!(row.at + row.len <= bytes.len(), "{}: rows within the bytes", format.name);
    }
    // pitfalls 1.2, 1.6: what is accepted settles after one round.
    match (format.again)(bytes) {
        Ok(again) => {
            assert_eq!(explained, Ok(()), "{}", format.name);
            assert_eq!((format.again)(&again).as_deref(), Ok(&again[..]), "{}", format.name);
        }
        Err(fault) => {
            assert!(fault.at <= bytes.len(), "{}: {fault}", format.name);
            assert_eq!(explained, Err(fault), "{}", format.name);
        }
    }
}
