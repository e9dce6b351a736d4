//! The bytes that mean something, found 64 at a time.
//!
//! Delimiters are most of them, and nothing is to be decided at one; the others are stops.

/// Finds the stops, which are `N` bytes, and the delimiters between them.
pub(crate) struct Marks<'a, const N: usize> {
    bytes: &'a [u8],
    stops: [u8; N],
    delimiter: Option<u8>,
    /// Where the block at hand starts.
    block: usize,
    /// Those of its marks that were not given yet.
    left: Found,
}

/// The marks of a block, a bit for each of its bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    stops: u64,
    delimiters: u64,
}

const BLOCK: usize = 64;

impl<'a, const N: usize> Marks<'a, N> {
    /// The marks of a text. A stop is no delimiter.
    pub(crate) fn new(bytes: &'a [u8], stops: [u8; N], delimiter: Option<u8>) -> Self {
        let mut found = Self { bytes, stops, delimiter, block: 0, left: Found::default() };
        found.left = found.look(0);
        found
    }

    /// The position of the next stop; the length of the text when there are no more.
    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        self.next_after(|_| {})
    }

    /// As [`Marks::next`]; gives the position of each delimiter before it to `see`.
    #[inline]
    pub(crate) fn next_after(&mut self, mut see: impl FnMut(usize)) -> usize {
        loop {
            let Found { stops, delimiters } = self.left;
            let stop = stops.trailing_zeros();
            // All bits, when there is no stop in this block.
            let before = u64::MAX.checked_shl(stop).map_or(u64::MAX, |after| !after);
            let mut given = delimiters & before;
            while given != 0 {
                see(self.block + given.trailing_zeros() as usize);
                given &= given - 1;
            }
            if stops != 0 {
                self.left = Found { stops: stops & (stops - 1), delimiters: delimiters & !before };
                return self.block + stop as usize;
            }
            if self.block + BLOCK >= self.bytes.len() {
                self.left = Found::default();
                return self.bytes.len();
            }
            self.block += BLOCK;
            self.left = self.look(self.block);
        }
    }

    #[inline]
    fn look(&self, at: usize) -> Found {
        let rest = &self.bytes[at..];
        if let Some(block) = rest.first_chunk::<BLOCK>() {
            return self.find(block);
        }
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        let found = self.find(&block);
        let there = !(u64::MAX << rest.len());
        Found { stops: found.stops & there, delimiters: found.delimiters & there }
    }

    #[inline]
    fn find(&self, block: &[u8; BLOCK]) -> Found {
        // Loops like these become vector instructions; bits are not gathered by them.
        let mut is_stop = [0_u8; BLOCK];
        for (is, byte) in is_stop.iter_mut().zip(block) {
            for stop in self.stops {
                *is |= u8::from(*byte == stop);
            }
        }
        let stops = gather(&is_stop);
        let Some(delimiter) = self.delimiter else { return Found { stops, delimiters: 0 } };
        let mut is_delimiter = [0_u8; BLOCK];
        for (is, byte) in is_delimiter.iter_mut().zip(block) {
            *is = u8::from(*byte == delimiter);
        }
        Found { stops, delimiters: gather(&is_delimiter) & !stops }
    }
}

/// A bit for each byte, which is 0 or 1.
#[inline]
fn gather(bytes: &[u8; BLOCK]) -> u64 {
    let mut bits = 0;
    for (nth, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
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
            let mut marks = Marks::new(&bytes, [0, 3, 5], Some(1));
            let mut delimiters = Vec::new();
            for at in (0..bytes.len()).filter(|at| matches!(bytes[*at], 0 | 3 | 5)) {
                prop_assert_eq!(marks.next_after(|at| delimiters.push(at)), at);
            }
            prop_assert_eq!(marks.next_after(|at| delimiters.push(at)), bytes.len());
            prop_assert_eq!(marks.next_after(|at| delimiters.push(at)), bytes.len());
            let expected: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == 1).collect();
            prop_assert_eq!(delimiters, expected);
        }

        #[test]
        fn stops_alone(bytes in prop::collection::vec(0..6_u8, 0..300)) {
            let mut with = Marks::new(&bytes, [0, 3], Some(1));
            let mut without = Marks::new(&bytes, [0, 3], None);
            for at in (0..bytes.len()).filter(|at| matches!(bytes[*at], 0 | 3)) {
                prop_assert_eq!(with.next(), at);
                prop_assert_eq!(without.next_after(|_| panic!("a delimiter")), at);
            }
            prop_assert_eq!((with.next(), without.next()), (bytes.len(), bytes.len()));
        }
    }
}
