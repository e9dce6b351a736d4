//! The bytes that mean something, found 64 at a time.

/// Finds the bytes that are one of `N`.
pub(crate) struct Marks<'a, const N: usize> {
    bytes: &'a [u8],
    looked_for: [u8; N],
    /// The block at hand, and a bit for each of its marks that was not given yet.
    block: usize,
    left: u64,
}

const BLOCK: usize = 64;

impl<'a, const N: usize> Marks<'a, N> {
    pub(crate) fn new(bytes: &'a [u8], looked_for: [u8; N]) -> Self {
        let mut found = Self { bytes, looked_for, block: 0, left: 0 };
        found.left = found.look(0);
        found
    }

    /// The position of the next mark; the length of the text when there are no more.
    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        while self.left == 0 {
            if self.block + BLOCK >= self.bytes.len() {
                return self.bytes.len();
            }
            self.block += BLOCK;
            self.left = self.look(self.block);
        }
        let at = self.block + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        at
    }

    /// The marks of a block, a bit for each.
    #[inline]
    fn look(&self, at: usize) -> u64 {
        if let Some(block) = self.bytes[at..].first_chunk::<BLOCK>() {
            return marks_of(block, self.looked_for);
        }
        let rest = &self.bytes[at..];
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        marks_of(&block, self.looked_for) & !(u64::MAX << rest.len())
    }
}

#[inline]
fn marks_of<const N: usize>(block: &[u8; BLOCK], marks: [u8; N]) -> u64 {
    // A loop like this one becomes vector instructions; bits are not gathered by them.
    let mut is_mark = [0_u8; BLOCK];
    for (is, byte) in is_mark.iter_mut().zip(block) {
        for mark in marks {
            *is |= u8::from(*byte == mark);
        }
    }
    let mut bits = 0;
    for (nth, eight) in is_mark.as_chunks::<8>().0.iter().enumerate() {
        // The product has the lowest bit of each byte in its highest byte, first byte first.
        let gathered = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= gathered << (8 * nth);
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_mark_is_found(bytes in prop::collection::vec(0..6_u8, 0..300)) {
            let mut marks = Marks::new(&bytes, [0, 3, 5]);
            let is_mark = |at: &usize| matches!(bytes[*at], 0 | 3 | 5);
            for at in (0..bytes.len()).filter(is_mark) {
                prop_assert_eq!(marks.next(), at);
            }
            prop_assert_eq!(marks.next(), bytes.len());
            prop_assert_eq!(marks.next(), bytes.len());
        }
    }
}
