//! What is written into a new file: plain bytes, or gzip or zstd by the ending of its name.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tidemill_connector::{ConnectorError, Written};

use super::publish::Staged;

const BUFFER_BYTES: usize = 256 << 10;
/// The level at which zstd is as fast as a disk.
const ZSTD_LEVEL: i32 = 3;

/// A text file under construction. Dropped unpublished, it leaves nothing.
pub(crate) struct NewFile {
    packer: Packer,
    staged: Staged,
    rows: u64,
}

enum Packer {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl NewFile {
    /// Starts the file that [`NewFile::publish`] puts at `target`.
    pub(crate) fn create(target: &Path, key: &str) -> Result<Self, ConnectorError> {
        let (staged, file) = Staged::create(target, key)?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let ending = |end: &str| target.extension().is_some_and(|e| e.eq_ignore_ascii_case(end));
        let packer = if ending("gz") {
            Packer::Gzip(GzEncoder::new(file, Compression::default()))
        } else if ending("zst") {
            let encoder = zstd::Encoder::new(file, ZSTD_LEVEL);
            Packer::Zstd(encoder.map_err(|e| ConnectorError::io("write", target, &e))?)
        } else {
            Packer::Plain(file)
        };
        Ok(Self { packer, staged, rows: 0 })
    }

    /// Appends the text of so many rows.
    pub(crate) fn write(&mut self, text: &[u8], rows: usize) -> Result<(), ConnectorError> {
        self.rows += rows as u64;
        match &mut self.packer {
            Packer::Plain(file) => file.write_all(text),
            Packer::Gzip(file) => file.write_all(text),
            Packer::Zstd(file) => file.write_all(text),
        }
        .map_err(|e| ConnectorError::io("write", self.staged.target(), &e))
    }

    /// Ends the file and puts it in its place.
    pub(crate) fn publish(self) -> Result<Written, ConnectorError> {
        let Self { packer, staged, rows } = self;
        let file = match packer {
            Packer::Plain(file) => Ok(file),
            Packer::Gzip(packer) => packer.finish(),
            Packer::Zstd(packer) => packer.finish(),
        }
        .and_then(|file| file.into_inner().map_err(std::io::IntoInnerError::into_error))
        .map_err(|e| ConnectorError::io("write", staged.target(), &e))?;
        let bytes = staged.publish(&file)?;
        Ok(Written { rows, bytes })
    }
}
