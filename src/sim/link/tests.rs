//! What each fault does, and that it leaves the draws of the others alone.

use super::*;

fn wire(seed: u64) -> Wire {
    Wire::new(Seeded::new(seed).fork("link a"))
}

/// What becomes of `count` datagrams of `len` bytes, one every millisecond.
fn send(wire: &mut Wire, line: &Line, count: u64, len: usize) -> Vec<Fate> {
    let fate = |n| Fate::leaving(Time::from_micros(n * 1000), false).pass(wire, line, len);
    (0..count).map(fate).collect()
}

fn lost(fates: &[Fate]) -> usize {
    fates.iter().filter(|fate| fate.is_lost()).count()
}

#[test]
fn loss_is_about_what_was_asked_for() {
    let line = Line { loss_permille: 200, ..Line::CLEAR };
    let lost = lost(&send(&mut wire(1), &line, 10_000, 10));
    assert!((1800..2200).contains(&lost), "{lost}");
}
