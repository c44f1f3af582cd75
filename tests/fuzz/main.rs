//! Seeded invention and mutation of every format; `SECKEL_FUZZ_SECONDS` goes on with fresh seeds for that long. And
//! every input that the fuzzer kept (`fuzz/corpus`), through its target.

mod corpus;
mod seeds;
mod targets;

use std::time::{Duration, Instant};

use seckel::base::{Entropy, Seeded};
use seckel::wire::{self, Format};

fn mutate(draw: &mut Seeded, bytes: &mut Vec<u8>) {
    for _ in 0..=draw.below(3) {
        match draw.below(6) {
            0 | 1 if !bytes.is_empty() => {
                let bit = draw.below(bytes.len() as u64 * 8);
                bytes[bit as usize / 8] ^= 1 << (bit % 8);
            }
            2 => bytes.truncate(draw.below(bytes.len() as u64 + 1) as usize),
            3 => {
                let at = draw.below(bytes.len() as u64 + 1) as usize;
                bytes.insert(at, draw.below(256) as u8);
            }
            4 if !bytes.is_empty() => {
                // Numbers at the borders of what a length can say.
                const BORDERS: [&[u8]; 5] = [
                    &[0xfd, 0xff, 0xff],
                    &[0xfe, 0xff, 0xff, 0xff, 0xff],
                    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0],
                    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                    &[0xfc],
                ];
                let at = draw.below(bytes.len() as u64) as usize;
                let border = BORDERS[draw.below(5) as usize];
                bytes.splice(at..at + 1, border.iter().copied());
            }
            _ => {
                let mut tail = vec![0; draw.below(9) as usize];
                draw.fill(&mut tail);
                bytes.extend(tail);
            }
        }
    }
}

/// One format under one seed.
fn try_format(format: &Format, seed: u64) {
    let mut draw = Seeded::new(seed).fork(format.name);
    let mut bytes = (format.invent)(&mut draw);
    assert_eq!(
        (format.again)(&bytes).as_deref(),
        Ok(&bytes[..]),
        "{} seed {seed}: what was written is read and written the same",
        format.name
    );
    targets::check(format, &bytes);
    for _ in 0..8 {
        mutate(&mut draw, &mut bytes);
        targets::check(format, &bytes);
    }
}

#[test]
fn every_format_survives_mutation() {
    for format in wire::formats() {
        for seed in 0..400 {
            try_format(&format, seed);
        }
    }
}

#[test]
fn fresh_seeds_for_as_long_as_asked() {
    let Some(seconds) = std::env::var("SECKEL_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()) else {
        return;
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    for seed in 1_000_000.. {
        if Instant::now() > until {
            return;
        }
        wire::formats().iter().for_each(|format| try_format(format, seed));
    }
}
