//! The largest of what was seen lately.

/// The largest value of the last `N` rounds in which there was one. Rounds without a value do not age what is known.
#[derive(Debug)]
pub(super) struct RoundMax<const N: usize> {
    /// The largest of each round; `at` is the present one.
    of: [u64; N],
    at: usize,
    round: u64,
}

impl<const N: usize> Default for RoundMax<N> {
    fn default() -> RoundMax<N> {
        RoundMax { of: [0; N], at: 0, round: 0 }
    }
}

impl<const N: usize> RoundMax<N> {
    /// A value of round `round`; rounds do not go back.
    pub fn add(&mut self, round: u64, value: u64) {
        if round != self.round {
            self.round = round;
            self.at = (self.at + 1) % N;
            self.of[self.at] = 0;
        }
        self.of[self.at] = self.of[self.at].max(value);
    }

    /// Zero before there was a value.
    pub fn get(&self) -> u64 {
        self.of.iter().copied().max().unwrap_or(0)
    }
}
