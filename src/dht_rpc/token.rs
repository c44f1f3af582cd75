//! Tokens: proof that who asks to store something receives at the address it sends from. Follows dht_rpc.20 to
//! dht_rpc.23. A value; rotation happens when it is used, so that an idle node needs no timer for it.

use crate::base::{Addr, Entropy, Key, Span, Time};
use crate::crypto::hash::{blake2b_256, keyed_256};

/// The secrets that tokens are made with.
#[derive(Default)]
pub(super) struct Tokens {
    /// `None` until the first token is made.
    secrets: Option<Secrets>,
}

struct Secrets {
    /// The one at index 1 is handed out, both are accepted.
    keys: [Key; 2],
    rotated: Time,
    /// The host that asked last, and its token: who asks nearly always comes back with it, or asks again.
    last: Option<([u8; 4], Key)>,
}

impl Secrets {
    fn newest(&mut self, host: Addr) -> Key {
        match self.last {
            Some((ip, token)) if ip == host.ip => token,
            Some(_) | None => {
                let token = token(&self.keys[1], host);
                self.last = Some((host.ip, token));
                token
            }
        }
    }
}

impl Tokens {
    /// How long one secret is handed out; it is accepted for as long again.
    pub const PERIOD: Span = Span::from_millis(7500);

    /// The token for the host of `to`.
    pub fn make(&mut self, now: Time, entropy: &mut dyn Entropy, to: Addr) -> Key {
        self.current(now, entropy).newest(to)
    }

    /// Whether `given` was handed out to the host of `from`, lately. (dht_rpc.21, dht_rpc.23)
    pub fn check(&mut self, now: Time, entropy: &mut dyn Entropy, from: Addr, given: &Key) -> bool {
        let secrets = self.current(now, entropy);
        secrets.newest(from) == *given || token(&secrets.keys[0], from) == *given
    }

    #[cfg(test)]
    pub fn of(keys: [Key; 2], now: Time) -> Tokens {
        Tokens { secrets: Some(Secrets { keys, rotated: now, last: None }) }
    }

    fn current(&mut self, now: Time, entropy: &mut dyn Entropy) -> &mut Secrets {
        let periods = self
            .secrets
            .as_ref()
            .map_or(0, |secrets| now.since(secrets.rotated).as_micros() / Tokens::PERIOD.as_micros());
        if periods > 2 {
            self.secrets = None; // nothing that was handed out is valid any more
        }
        let secrets = self.secrets.get_or_insert_with(|| Secrets {
            keys: [entropy.bytes32(), entropy.bytes32()],
            rotated: now,
            last: None,
        });
        if periods <= 2 {
            for _ in 0..periods {
                secrets.keys = rotate(&secrets.keys);
                secrets.last = None;
                secrets.rotated += Tokens::PERIOD;
            }
        }
        secrets
    }
}

// dht_rpc.20
fn token(secret: &Key, host: Addr) -> Key {
    keyed_256(secret, &[host.host().to_string().as_bytes()])
}

// dht_rpc.22
fn rotate(keys: &[Key; 2]) -> [Key; 2] {
    [keys[1], blake2b_256(&[&keys[0]])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seeded;
    use crate::dht_rpc::vectors::{key, vectors};

    /// proves dht_rpc.20 and dht_rpc.22
    #[test]
    fn tokens_are_those_of_node() {
        for vector in vectors("token") {
            let addr: Addr = format!("{}:1", vector.input_text("host")).parse().expect("a host");
            let secrets: Vec<Key> = vector.input_keys("secrets");
            assert_eq!(token(&secrets[1], addr), key(&vector.expected_text("handedOut")));
            assert_eq!(token(&secrets[0], addr), key(&vector.expected_text("alsoAccepted")));
        }
        for vector in vectors("token-rotation") {
            let before = vector.input_keys("before");
            assert_eq!(rotate(&[before[0], before[1]]).to_vec(), vector.expected_keys("after"));
        }
    }

    /// pitfalls 3.10: tokens of 5 s, 10 s and 20 s ago. proves dht_rpc.21 and dht_rpc.23
    #[test]
    fn a_token_lives_one_to_two_periods() {
        let host = Addr::new([10, 0, 0, 1], 1000);
        for (age, valid) in [(5_000, true), (10_000, true), (14_999, true), (15_000, false), (20_000, false)]
        {
            let (mut tokens, mut entropy) = (Tokens::default(), Seeded::new(1));
            let token = tokens.make(Time::ZERO, &mut entropy, host);
            let later = Time::ZERO + Span::from_millis(age);
            assert_eq!(tokens.check(later, &mut entropy, host.with_port(7), &token), valid, "{age} ms");
            assert!(!tokens.check(later, &mut entropy, Addr::new([10, 0, 0, 2], 1000), &token));
        }
        let (mut tokens, mut entropy) = (Tokens::default(), Seeded::new(1));
        let early = tokens.make(Time::ZERO, &mut entropy, host);
        let other = tokens.make(Time::ZERO, &mut entropy, Addr::new([10, 0, 0, 2], 1000));
        assert_ne!(early, other, "each host has its own");
        assert_eq!(tokens.make(Time::ZERO, &mut entropy, host.with_port(7)), early);
        let later = tokens.make(Time::ZERO + Tokens::PERIOD, &mut entropy, host);
        assert_ne!(early, later, "and another one in each period");
        let (mut tokens, mut entropy) = (Tokens::default(), Seeded::new(1));
        tokens.make(Time::ZERO, &mut entropy, host);
        let late = tokens.make(Time::ZERO + Span::from_millis(7_400), &mut entropy, host);
        assert!(tokens.check(Time::ZERO + Span::from_millis(14_900), &mut entropy, host, &late));
    }
}
