//! The only randomness of a simulated world: numbers that follow from its seed.

/// A source of numbers. Each part of the world has its own, so that what one part draws does not shift another.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// The numbers of a part of the world.
    pub fn of(seed: u64, part: &str) -> Self {
        let mut random = Random::new(seed);
        for byte in part.bytes() {
            random.0 = random.number() ^ u64::from(byte);
        }
        random
    }

    /// The next number (splitmix64, whose constants these are).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, not including, `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number().checked_rem(limit).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Whether something that happens so many times in ten thousand happens now.
    pub fn happens(&mut self, in_ten_thousand: u64) -> bool {
        in_ten_thousand > 0 && self.below(10_000) < in_ten_thousand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_parts_differ() {
        let draw = |part| {
            let mut random = Random::of(7, part);
            [random.number(), random.number()]
        };
        assert_eq!(draw("disk"), draw("disk"));
        assert_ne!(draw("disk"), draw("door"));
    }
}
