//! The chunks of an input, worked on by several threads, with their places.

use std::sync::{Arc, Mutex, PoisonError};

use tidemill_connector::ConnectorError;

use super::input::{Input, scan_error};
use super::scan::ScanError;
use super::split::{CHUNK_BYTES, SplitError, Splitter};
use crate::ahead::{Ahead, Pieces, threads};
use crate::files::open::Stream;

/// An input of fewer bytes than this is read by the thread that asks for it.
const ALONE_BYTES_MAX: u64 = 64 << 10;

/// What is done with each chunk.
pub(crate) trait Work: Send + Sync + 'static {
    /// What it gives.
    type Done: Send;

    /// Works on whole records of a file; also gives the number of their lines.
    fn chunk(&self, file: usize, bytes: &[u8]) -> (Self::Done, u64);
}

impl<W: Work> Work for Arc<W> {
    type Done = W::Done;

    fn chunk(&self, file: usize, bytes: &[u8]) -> (Self::Done, u64) {
        self.as_ref().chunk(file, bytes)
    }
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: usize,
    /// The lines of the file before it.
    pub(crate) line: u64,
}

/// What became of the chunks, in order.
pub(crate) struct Chunks<W: Work> {
    input: Arc<Input>,
    ahead: Ahead<Reading<W>>,
    at: Place,
}

impl<W: Work> Chunks<W> {
    /// Starts to read an input.
    pub(crate) fn start(input: Arc<Input>, work: W) -> Self {
        let length = |file: &crate::files::find::InputFile| {
            std::fs::metadata(&file.path).map_or(0, |meta| meta.len())
        };
        let alone = input.files.len() <= 16
            && input.files.iter().map(length).sum::<u64>() <= ALONE_BYTES_MAX;
        Self::with(input, work, CHUNK_BYTES, if alone { 0 } else { threads() })
    }

    /// Starts with chunks of this size and so many threads.
    pub(crate) fn with(input: Arc<Input>, work: W, chunk_bytes: usize, threads: usize) -> Self {
        let spare = Mutex::new(Vec::new());
        let reading = Reading { input: input.clone(), work, chunk_bytes, spare };
        let ahead = Ahead::start(Arc::new(reading), threads);
        Self { input, ahead, at: Place { file: 0, line: 0 } }
    }

    /// What became of the next chunk, and where it is.
    pub(crate) fn next(&mut self) -> Result<Option<(Place, W::Done)>, ConnectorError> {
        let Some((file, done)) = self.ahead.next() else { return Ok(None) };
        if file != self.at.file {
            self.at = Place { file, line: 0 };
        }
        let at = self.at;
        match done? {
            Worked::Chunk { before, done, lines } => {
                self.at.line += before + lines;
                Ok(Some((Place { line: at.line + before, ..at }, done)))
            }
            Worked::TooLong => {
                let error = ScanError::TooLong { line: at.line + 1 };
                Err(scan_error(&self.input.files[file].name, error))
            }
        }
    }
}

struct Reading<W> {
    input: Arc<Input>,
    work: W,
    chunk_bytes: usize,
    /// Memory of chunks that are done with.
    spare: Mutex<Vec<Vec<u8>>>,
}

struct OpenFile {
    splitter: Splitter<Stream>,
    /// Whether the header was read.
    begun: bool,
}

enum Piece {
    Chunk {
        bytes: Vec<u8>,
        /// The end of the header, and its lines.
        start: usize,
        before: u64,
    },
    /// A row is too long; where it is, is known when the lines before it are counted.
    TooLong,
}

enum Worked<T> {
    Chunk { before: u64, done: T, lines: u64 },
    TooLong,
}

impl<W: Work> Reading<W> {
    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Pieces for Reading<W> {
    type Open = OpenFile;
    type Piece = Piece;
    type Done = Worked<W::Done>;

    fn inputs(&self) -> usize {
        self.input.files.len()
    }

    fn open(&self, file: usize) -> Result<OpenFile, ConnectorError> {
        let stream = self.input.open(file)?;
        let splitter = Splitter::new(stream, self.input.dialect, self.chunk_bytes);
        Ok(OpenFile { splitter, begun: false })
    }

    fn read(&self, file: usize, open: &mut OpenFile) -> Result<Option<Piece>, ConnectorError> {
        let buffer = self.spare().pop().unwrap_or_default();
        let bytes = match open.splitter.next(buffer) {
            Ok(bytes) => bytes,
            Err(SplitError::TooLong) => return Ok(Some(Piece::TooLong)),
            Err(SplitError::Io(error)) => {
                return Err(scan_error(&self.input.files[file].name, ScanError::Io(error)));
            }
        };
        if open.begun {
            return Ok(bytes.map(|bytes| Piece::Chunk { bytes, start: 0, before: 0 }));
        }
        let bytes = match bytes {
            // The header is yet to come; these lines are counted with the rows that they are not.
            Some(blank) if blank.iter().all(|b| matches!(b, b'\n' | b'\r')) => {
                return Ok(Some(Piece::Chunk { bytes: blank, start: 0, before: 0 }));
            }
            bytes => bytes.unwrap_or_default(),
        };
        open.begun = true;
        let (start, before) = self.input.skip_header(file, &bytes)?;
        Ok(Some(Piece::Chunk { bytes, start, before }))
    }

    fn work(&self, file: usize, piece: Piece) -> Result<Self::Done, ConnectorError> {
        Ok(match piece {
            Piece::Chunk { bytes, start, before } => {
                let (done, lines) = self.work.chunk(file, &bytes[start..]);
                self.spare().push(bytes);
                Worked::Chunk { before, done, lines }
            }
            Piece::TooLong => Worked::TooLong,
        })
    }
}
