//! Where random bytes come from: the operating system (`edge/os`) or a seed.

/// A source of random bytes.
pub trait Entropy {
    fn fill(&mut self, into: &mut [u8]);

    fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }

    /// Evenly drawn from `0..bound`; 0 if `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True `permille` times of 1000.
    fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }
}

/// Entropy from a seed, the same on every machine (SplitMix64). For simulation and tests, never for keys in earnest.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
}

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded { state: seed }
    }

    /// A source of its own for `label`: draws from one do not change the other's.
    pub fn fork(&self, label: &str) -> Seeded {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.state;
        for byte in label.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Seeded { state: mix(hash) }
    }

    /// A source of its own for the number `n`.
    pub fn fork_nth(&self, n: u64) -> Seeded {
        Seeded { state: mix(self.state ^ mix(n.wrapping_add(0x9e37_79b9_7f4a_7c15))) }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Entropy for Seeded {
    fn fill(&mut self, into: &mut [u8]) {
        for chunk in into.chunks_mut(8) {
            let bytes = self.u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_do_not_disturb_each_other() {
        let seed = Seeded::new(7);
        let mut a = seed.fork("a");
        let first = a.u64();
        let mut b = seed.fork("b");
        assert_ne!(b.u64(), first);
        assert_eq!(seed.fork("a").u64(), first);
        assert_ne!(seed.fork_nth(0).u64(), seed.fork_nth(1).u64());
        assert_eq!(seed.fork_nth(1).u64(), seed.fork_nth(1).u64());
    }

    #[test]
    fn below_stays_below() {
        let mut entropy = Seeded::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| entropy.below(3)).collect();
        assert!(drawn.iter().all(|&n| n < 3));
        assert!((0..3).all(|n| drawn.contains(&n)));
        assert_eq!(entropy.below(0), 0);
    }
}
