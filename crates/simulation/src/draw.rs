//! Chance, from a seed.

/// `SplitMix64`: a few lines that give the same numbers everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    /// Numbers of a seed. Neighbouring seeds have nothing in common.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Whether something happens that does so in `n` of a thousand cases.
    pub(crate) fn permille(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }

    /// One of some things.
    pub(crate) fn pick<T: Clone>(&mut self, things: &[T]) -> Option<T> {
        let n = things.len() as u64;
        if n == 0 { None } else { things.get(self.below(n) as usize).cloned() }
    }
}
