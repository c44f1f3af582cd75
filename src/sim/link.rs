//! What a line between two hosts does to datagrams. All draws come from a source of its own, so that turning one fault
//! off leaves the other draws alone.

use crate::base::{Entropy, Seeded, Span};

/// How a line treats datagrams, one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// From one end to the other.
    pub delay: Span,
    /// Up to this much more, drawn for each datagram; more than the gap between two datagrams reorders them.
    pub jitter: Span,
    /// Of a thousand datagrams, how many vanish.
    pub loss_permille: u64,
    /// Of a thousand datagrams, how many arrive a second time.
    pub copies_permille: u64,
    /// Of a thousand datagrams, how many have a bit flipped.
    pub flips_permille: u64,
    /// Nothing passes.
    pub cut: bool,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            delay: Span::from_millis(5),
            jitter: Span::ZERO,
            loss_permille: 0,
            copies_permille: 0,
            flips_permille: 0,
            cut: false,
        }
    }
}

/// A line's own sources of chance, one for each fault.
#[derive(Clone, Debug)]
pub struct Chances {
    loss: Seeded,
    jitter: Seeded,
    copies: Seeded,
    flips: Seeded,
}

/// When each copy of a datagram arrives (none: lost), and the bit to flip in the first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fate {
    pub arrivals: Vec<Span>,
    pub flip: Option<u64>,
}

impl Chances {
    pub fn new(seed: &Seeded, label: &str) -> Chances {
        let own = seed.fork(label);
        Chances {
            loss: own.fork("loss"),
            jitter: own.fork("jitter"),
            copies: own.fork("copies"),
            flips: own.fork("flips"),
        }
    }

    /// Draws what happens to the next datagram of `len` bytes.
    pub fn draw(&mut self, line: &Line, len: usize) -> Fate {
        let lost = self.loss.chance(line.loss_permille);
        let first = line.delay + Span::from_micros(self.jitter.below(line.jitter.as_micros() + 1));
        let copied = self.copies.chance(line.copies_permille);
        let again = first + Span::from_micros(self.copies.below(line.jitter.as_micros() + 1000));
        let flipped = self.flips.chance(line.flips_permille);
        let bit = self.flips.below(len as u64 * 8);
        if lost || line.cut {
            return Fate::default();
        }
        let arrivals = if copied { vec![first, again] } else { vec![first] };
        Fate { arrivals, flip: flipped.then_some(bit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_copies_on_leaves_the_losses_as_they_were() {
        let line = Line { loss_permille: 200, jitter: Span::from_millis(3), ..Line::default() };
        let with_copies = Line { copies_permille: 300, flips_permille: 10, ..line };
        let mut plain = Chances::new(&Seeded::new(3), "link a");
        let mut copying = Chances::new(&Seeded::new(3), "link a");
        for _ in 0..500 {
            let one = plain.draw(&line, 100).arrivals.first().copied();
            assert_eq!(one, copying.draw(&with_copies, 100).arrivals.first().copied());
        }
    }

    #[test]
    fn loss_is_about_what_was_asked_for() {
        let line = Line { loss_permille: 200, ..Line::default() };
        let mut chances = Chances::new(&Seeded::new(1), "link a");
        let lost = (0..10_000).filter(|_| chances.draw(&line, 10).arrivals.is_empty()).count();
        assert!((1800..2200).contains(&lost), "{lost}");
    }
}
