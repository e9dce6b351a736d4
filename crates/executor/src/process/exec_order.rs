//! [`ExecOrder`]: what a waiting process is told to become, and how it is put into bytes.
//!
//! The length of the rest, then the folder, the most open files in eight bytes, the words and the
//! variables. Every length and every number of things is four bytes, the lowest first. Both sides are the same program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Bytes of a length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecOrder {
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// The most open files of each of its processes.
    pub(crate) files: Option<u64>,
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// All its variables. Of two with one name the later holds.
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl ExecOrder {
    /// The order in bytes, its length first. `None` if it is longer than a length can tell, which is
    /// far longer than the system allows.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; LENGTH_BYTES];
        put(&mut bytes, self.folder.as_os_str())?;
        // None is as good as more than there can be.
        bytes.extend_from_slice(&self.files.unwrap_or(u64::MAX).to_le_bytes());
        put_number(&mut bytes, self.words.len())?;
        for word in &self.words {
            put(&mut bytes, word)?;
        }
        put_number(&mut bytes, self.env.len())?;
        for (name, value) in &self.env {
            put(&mut bytes, name)?;
            put(&mut bytes, value)?;
        }
        let length = u32::try_from(bytes.len() - LENGTH_BYTES).ok()?;
        bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        Some(bytes)
    }

    /// The order of these bytes, which are without their length; `None` if they are none.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let from = &mut bytes;
        let folder = PathBuf::from(take(from)?);
        let (files, rest) = from.split_first_chunk()?;
        *from = rest;
        let files = Some(u64::from_le_bytes(*files)).filter(|files| *files < u64::MAX);
        let words = (0..take_number(from)?).map(|_| take(from)).collect::<Option<_>>()?;
        let env = (0..take_number(from)?)
            .map(|_| Some((take(from)?, take(from)?)))
            .collect::<Option<_>>()?;
        bytes.is_empty().then_some(Self { folder, files, words, env })
    }
}

fn put_number(bytes: &mut Vec<u8>, number: usize) -> Option<()> {
    bytes.extend_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
    Some(())
}

fn put(bytes: &mut Vec<u8>, text: &OsStr) -> Option<()> {
    put_number(bytes, text.len())?;
    bytes.extend_from_slice(text.as_bytes());
    Some(())
}

fn take_number(from: &mut &[u8]) -> Option<usize> {
    let (number, rest) = from.split_first_chunk::<LENGTH_BYTES>()?;
    *from = rest;
    Some(u32::from_le_bytes(*number) as usize)
}

fn take(from: &mut &[u8]) -> Option<OsString> {
    let length = take_number(from)?;
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(OsString::from_vec(text.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_out_as_it_went_in_and_nothing_else_does() {
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let order = ExecOrder {
            folder: PathBuf::from("/a b/ö"),
            files: Some(1 << 40),
            words: vec![text(b"printf"), text(b""), text(b"\xff\n'\"$x")],
            env: vec![(text(b"A"), text(b"")), (text(b"B"), text(b"=\xfe="))],
        };
        let bytes = order.encode().expect("short enough");
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().expect("a length");
        assert_eq!(u32::from_le_bytes(*length) as usize, rest.len());
        assert_eq!(ExecOrder::decode(rest), Some(order));
        for cut in 0..rest.len() {
            assert_eq!(ExecOrder::decode(&rest[..cut]), None, "cut at {cut}");
        }
        assert_eq!(ExecOrder::decode(&[rest, b"x"].concat()), None);
    }
}
