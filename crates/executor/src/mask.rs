//! Secrets in output: found in every common writing, also across pieces, and replaced by `***`.

use std::sync::Arc;

use base64::Engine as _;
use tidemill_model::Secret;

/// What stands in a secret's place.
pub const MASK: &[u8] = b"***";

/// Shorter secrets are not searched for: their replacement would say more than it hides.
const SECRET_BYTES_MIN: usize = 4;

/// Finds secrets in a stream of pieces.
pub struct Masker {
    needles: Arc<Needles>,
    held: Vec<u8>,
}

/// The writings of all secrets.
struct Needles {
    /// By first byte, longest first.
    by_first: Vec<Vec<Vec<u8>>>,
    any: bool,
}

impl Needles {
    /// Those that begin as `rest` does.
    fn like(&self, rest: &[u8]) -> &[Vec<u8>] {
        rest.first().map_or(&[], |first| &self.by_first[usize::from(*first)])
    }
}

impl Masker {
    /// A masker of these secrets.
    pub fn new(secrets: &[Secret]) -> Self {
        let mut needles: Vec<Vec<u8>> = secrets
            .iter()
            .map(Secret::expose)
            .filter(|text| text.len() >= SECRET_BYTES_MIN)
            .flat_map(writings)
            .collect();
        // Longer ones first, so that a secret inside a longer one does not cut it.
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        let any = !needles.is_empty();
        let mut by_first = vec![Vec::new(); 256];
        for needle in needles {
            by_first[usize::from(needle[0])].push(needle);
        }
        Self { needles: Arc::new(Needles { by_first, any }), held: Vec::new() }
    }

    /// Another masker of the same secrets, for another stream.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { needles: Arc::clone(&self.needles), held: Vec::new() }
    }

    /// Takes a piece and gives what is safe to write: a tail that may be the beginning of a secret
    /// is held back.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let needles = Arc::clone(&self.needles);
        if !needles.any {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        let mut out = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            let like = needles.like(rest);
            if like.is_empty() {
                out.push(rest[0]);
                at += 1;
                continue;
            }
            // A longer secret that is not whole yet goes before a shorter one that is.
            if like.iter().any(|n| n.len() > rest.len() && n.starts_with(rest)) {
                break;
            }
            if let Some(found) = like.iter().find(|n| rest.starts_with(n)) {
                out.extend_from_slice(MASK);
                at += found.len();
            } else {
                out.push(rest[0]);
                at += 1;
            }
        }
        self.held.drain(..at);
        out
    }

    /// What was held back, at the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < held.len() {
            match self.needles.like(&held[at..]).iter().find(|n| held[at..].starts_with(n)) {
                Some(found) => {
                    out.extend_from_slice(MASK);
                    at += found.len();
                }
                None => {
                    out.push(held[at]);
                    at += 1;
                }
            }
        }
        out
    }

    /// A whole text with its secrets replaced.
    pub fn text(secrets: &[Secret], text: &str) -> String {
        let mut masker = Self::new(secrets);
        let mut out = masker.push(text.as_bytes());
        out.extend(masker.finish());
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A secret in every writing in which output commonly holds it.
fn writings(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut all = vec![bytes.to_vec()];
    // In base64, three alignments inside a longer text differ; the outer letters depend on the
    // neighbours and are left out.
    for engine in [
        &base64::engine::general_purpose::STANDARD_NO_PAD,
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
    ] {
        for shift in 0..3_usize {
            let mut padded = vec![0; shift];
            padded.extend_from_slice(bytes);
            let text = engine.encode(&padded);
            let skip = [0, 2, 3][shift];
            let end = text.len() - usize::from(!padded.len().is_multiple_of(3));
            if end > skip + SECRET_BYTES_MIN {
                all.push(text.as_bytes()[skip..end].to_vec());
            }
        }
    }
    all.push(hex::encode(bytes).into_bytes());
    all.push(hex::encode_upper(bytes).into_bytes());
    let percent = percent(bytes);
    all.push(lower_escapes(&percent).into_bytes());
    all.push(percent.into_bytes());
    let json = serde_json::Value::from(secret).to_string();
    let json = &json[1..json.len() - 1];
    all.push(json.as_bytes().to_vec());
    all.push(ascii_json(json).into_bytes());
    all.push(secret.replace('\'', "'\\''").into_bytes());
    all
}

/// A JSON text with what is not ASCII escaped, as many programs write it.
fn ascii_json(json: &str) -> String {
    let mut text = String::new();
    for letter in json.chars() {
        if letter.is_ascii() {
            text.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// `%2F` as `%2f`; the rest as it is.
fn lower_escapes(percent: &str) -> String {
    let mut left = 0;
    percent
        .chars()
        .map(|letter| {
            left = if letter == '%' { 2 } else { i32::max(left - 1, -1) };
            if left >= 0 { letter.to_ascii_lowercase() } else { letter }
        })
        .collect()
}

fn percent(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &str) {
        let mut masker = Masker::new(&[Secret::new("hunter2/é'x"), Secret::new("hunter2/é'xyz")]);
        let mut out: Vec<u8> = pieces.iter().flat_map(|p| masker.push(p.as_bytes())).collect();
        out.extend(masker.finish());
        assert_eq!(String::from_utf8_lossy(&out), expected, "{pieces:?}");
    }

    #[test]
    fn whole_and_in_pieces() {
        check(&["a hunter2/é'x b"], "a *** b");
        check(&["a hunt", "er2/", "é'x b"], "a *** b");
        check(&["hunter2/é'xyz"], "***");
        check(&["hunter2/é'xy"], "***y");
        check(&["hunter3 hunt"], "hunter3 hunt");
    }

    #[test]
    fn in_other_writings() {
        for shift in ["", "a", "ab", "abc"] {
            let text = format!("{shift}hunter2/é'x-and-more");
            let coded = base64::engine::general_purpose::STANDARD.encode(&text);
            let mut masker = Masker::new(&[Secret::new("hunter2/é'x")]);
            let out = [masker.push(coded.as_bytes()), masker.finish()].concat();
            assert!(out.windows(3).any(|w| w == MASK), "{text} in base64");
        }
        check(&["%68"], "%68");
        check(&["hunter2%2F%C3%A9%27x"], "***");
        check(&[&hex::encode("hunter2/é'x")], "***");
    }

    #[test]
    fn nothing_else_changes() {
        let mut masker = Masker::new(&[Secret::new("abc")]);
        assert_eq!(masker.push(b"abcabc"), b"abcabc", "too short to be searched for");
    }
}
