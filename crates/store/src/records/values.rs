//! How a value lies in sled: small parts, because sled never gives the space of large ones back.
//!
//! The first part starts with `[version u8][flags u8][parts u16 le][crc32c u32 le]`; the sum covers
//! the stored bytes of all parts. Further parts lie under the same key behind [`PART`], with their
//! number.

/// No value of sled is larger, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 4_000;

/// Larger values are compressed.
const COMPRESS_FROM: usize = 4_096;

/// No whole value is larger, in bytes.
pub(crate) const WHOLE_BYTES_MAX: usize = 64 << 20;

/// Keys of further parts start with this byte, which no other key does.
pub(crate) const PART: u8 = 0x00;

/// The key of the sum over all first parts.
pub(crate) const SUM: &[u8] = &[PART];

const VERSION: u8 = 1;
const ZSTD: u8 = 1;
const HEADER: usize = 8;

/// A value in parts: the first with its header, then the others.
pub(crate) fn encode(bytes: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), String> {
    if bytes.len() > WHOLE_BYTES_MAX {
        return Err(format!("a value has {} bytes, at most {WHOLE_BYTES_MAX} fit", bytes.len()));
    }
    let packed = if bytes.len() > COMPRESS_FROM {
        zstd::bulk::compress(bytes, 1).ok().filter(|packed| packed.len() < bytes.len())
    } else {
        None
    };
    let flags = if packed.is_some() { ZSTD } else { 0 };
    let stored = packed.as_deref().unwrap_or(bytes);
    let (head, rest) = stored.split_at(stored.len().min(VALUE_BYTES_MAX - HEADER));
    let rest: Vec<Vec<u8>> = rest.chunks(VALUE_BYTES_MAX).map(<[u8]>::to_vec).collect();
    let parts = u16::try_from(rest.len()).map_err(|_| "a value has too many parts".to_owned())?;
    let mut first = Vec::with_capacity(HEADER + head.len());
    first.push(VERSION);
    first.push(flags);
    first.extend(parts.to_le_bytes());
    first.extend(crc32c::crc32c(stored).to_le_bytes());
    first.extend(head);
    Ok((first, rest))
}

/// How many further parts a first part has.
pub(crate) fn parts(first: &[u8]) -> u16 {
    match first.get(2..4) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    }
}

/// What a first part adds to the sum over all. It holds the checksum of the whole value, so no
/// other part is read.
pub(crate) fn digest(key: &[u8], first: &[u8]) -> u64 {
    let pair = u64::from(crc32c::crc32c(key)) << 32 | u64::from(crc32c::crc32c(first));
    // Sums of checksums alone would meet too easily.
    let mixed = (pair ^ (pair >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The value of a first part and its further parts.
pub(crate) fn decode<E: From<String>>(
    first: &[u8],
    part: impl FnMut(u16) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<u8>, E> {
    let stored = check(first, part)?;
    if first[1] & ZSTD == 0 {
        return Ok(stored);
    }
    let mut whole = Vec::new();
    let read = zstd::stream::read::Decoder::new(stored.as_slice())
        .map(|decoder| std::io::Read::take(decoder, WHOLE_BYTES_MAX as u64))
        .and_then(|mut decoder| std::io::Read::read_to_end(&mut decoder, &mut whole));
    match read {
        Ok(_) => Ok(whole),
        Err(error) => Err(format!("a value cannot be unpacked: {error}").into()),
    }
}

/// The stored bytes of all parts, which match their checksum.
pub(crate) fn check<E: From<String>>(
    first: &[u8],
    mut part: impl FnMut(u16) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<u8>, E> {
    let bad = |what: &str| Err(E::from(what.to_owned()));
    let (Some(header), Some(head)) = (first.get(..HEADER), first.get(HEADER..)) else {
        return bad("a value is too short");
    };
    if header[0] != VERSION {
        let what = format!("a value has format {}, this release knows {VERSION}", header[0]);
        return Err(what.into());
    }
    if header[1] & !ZSTD != 0 {
        return Err(format!("a value has unknown flags {}", header[1]).into());
    }
    let mut stored = head.to_vec();
    for i in 1..=parts(first) {
        match part(i)? {
            Some(bytes) => stored.extend(bytes),
            None => return bad("a part of a value is missing"),
        }
    }
    let sum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if crc32c::crc32c(&stored) != sum {
        return bad("a value does not match its checksum");
    }
    Ok(stored)
}

/// The key of a further part.
pub(crate) fn part_key(key: &[u8], part: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 3);
    out.push(PART);
    out.extend(key);
    out.extend(part.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], parts_expected: std::ops::RangeInclusive<usize>) {
        let (first, rest) = encode(bytes).expect("fits");
        assert!(parts_expected.contains(&rest.len()), "{} parts", rest.len());
        assert!(std::iter::once(&first).chain(&rest).all(|part| part.len() <= VALUE_BYTES_MAX));
        assert_eq!(usize::from(parts(&first)), rest.len());
        let back: Result<_, String> = decode(&first, |i| Ok(rest.get(usize::from(i) - 1).cloned()));
        assert_eq!(back.as_deref(), Ok(bytes));
    }

    #[test]
    fn values_come_back_in_small_parts() {
        let noise: Vec<u8> =
            (0..50_000_u32).flat_map(|i| crc32c::crc32c(&i.to_le_bytes()).to_le_bytes()).collect();
        check(b"", 0..=0);
        check(&noise[..VALUE_BYTES_MAX - HEADER], 0..=0);
        check(&noise[..=VALUE_BYTES_MAX - HEADER], 1..=1);
        check(&noise, 45..=51);
        check(&vec![7; 1_000_000], 0..=0);
    }

    #[test]
    fn damage_is_seen() {
        let (first, _) = encode(b"{\"a\":1}").expect("fits");
        for i in 0..first.len() {
            for bit in 0..8 {
                let mut bad = first.clone();
                bad[i] ^= 1 << bit;
                assert!(decode::<String>(&bad, |_| Ok(None)).is_err(), "byte {i}, bit {bit}");
            }
        }
    }
}
