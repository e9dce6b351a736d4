//! Writing a log: bounded in memory and on disk, whatever the command prints.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidemill_model::Secret;

use super::read::{next_entry, piece};
use super::{END, ENTRY_BYTES, Entry, Stream};
use crate::mask::Masker;
use crate::outside::{Clock, Secrets};

/// How large a log may grow, its index included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes that are kept from the beginning.
    pub head_bytes: u64,
    /// Bytes that are kept from the end, at least; at most twice as many and a piece.
    pub tail_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { head_bytes: 50 << 20, tail_bytes: 25 << 20 }
    }
}

/// A line is cut into pieces of at most this many bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// The log of an attempt under way. Cheap to clone; the last clone ends the log.
#[derive(Clone)]
pub struct AttemptLog {
    inner: Arc<Mutex<Inner>>,
    clock: Arc<dyn Clock>,
}

struct Inner {
    head: Pieces,
    tail: Tail,
    limits: LogLimits,
    dropped: u64,
    /// How many of the dropped bytes the log has told of.
    told: u64,
    streams: [Half; 2],
    masker: Masker,
    trouble: bool,
    /// When the last bytes came.
    last: i64,
    ended: bool,
    /// Another process writes it now.
    away: bool,
}

/// What a stream has said since its last whole line.
struct Half {
    masker: Masker,
    open: Vec<u8>,
}

/// A log file and its index.
struct Pieces {
    log: Option<File>,
    index: Option<File>,
    bytes: u64,
    entries: u64,
    /// Bytes of pieces that have an entry.
    kept: u64,
}

/// The last bytes of a log that is too long: at most two files that take turns.
struct Tail {
    path: PathBuf,
    parts: VecDeque<Part>,
    turn: u32,
}

struct Part {
    path: PathBuf,
    pieces: Pieces,
}

impl Part {
    fn index(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push("x");
        name.into()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(Self::index(&self.path));
    }
}

impl AttemptLog {
    /// Begins a log at `path`. A log that cannot be written loses its lines and fails nothing.
    pub fn create(
        path: &Path,
        limits: LogLimits,
        secrets: &dyn Secrets,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let folder = path.parent().map(std::fs::create_dir_all);
        let head = match folder {
            Some(Ok(())) => Pieces::create(path, &path.with_extension("idx")),
            _ => Pieces::of(None, None),
        };
        if head.log.is_none() || head.index.is_none() {
            tracing::warn!(path = %path.display(), "a log cannot be written");
        }
        Self::of(path, head, limits, &secrets.values(), clock)
    }

    /// Goes on with a log that another process has begun, and writes it no more.
    pub(crate) fn resume(
        path: &Path,
        limits: LogLimits,
        secrets: &[Secret],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let head = Pieces::resume(path);
        if head.log.is_none() || head.index.is_none() {
            tracing::warn!(path = %path.display(), "a log cannot be written");
        }
        Self::of(path, head, limits, secrets, clock)
    }

    /// A log that another process writes, until it is taken back.
    pub(crate) fn elsewhere(
        path: &Path,
        limits: LogLimits,
        secrets: &dyn Secrets,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let log = Self::of(path, Pieces::of(None, None), limits, &secrets.values(), clock);
        log.lock().away = true;
        log
    }

    fn of(
        path: &Path,
        head: Pieces,
        limits: LogLimits,
        secrets: &[Secret],
        clock: Arc<dyn Clock>,
    ) -> Self {
        let tail = Tail { path: path.to_owned(), parts: VecDeque::new(), turn: 0 };
        let masker = Masker::new(secrets);
        let half = || Half { masker: masker.another(), open: Vec::new() };
        let streams = [half(), half()];
        let last = clock.now().as_micros();
        let inner = Inner {
            head,
            tail,
            limits,
            dropped: 0,
            told: 0,
            streams,
            masker,
            trouble: false,
            last,
            ended: false,
            away: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)), clock }
    }

    /// Writes what there is, and lets another process write the log from now on. Gives how many
    /// bytes were not kept.
    pub(crate) fn release(&self) -> u64 {
        let micros = self.clock.now().as_micros();
        let mut inner = self.lock();
        if !inner.away {
            inner.end_of_output(micros);
            inner.join_tail(micros);
            inner.head = Pieces::of(None, None);
            inner.away = true;
        }
        inner.dropped
    }

    /// Writes it again after another process, which did not keep `dropped` bytes. `None`: it fell
    /// and could not say; what it had of the tail is put behind the head.
    pub(crate) fn take_back(&self, dropped: Option<u64>) {
        let micros = self.clock.now().as_micros();
        let mut inner = self.lock();
        if !inner.away {
            return;
        }
        inner.head = Pieces::resume(&inner.tail.path);
        inner.away = false;
        // What follows are a few notes, and they belong behind the tail.
        inner.limits.head_bytes = u64::MAX;
        match dropped {
            Some(dropped) => (inner.dropped, inner.told) = (dropped, dropped),
            None => inner.take_in_tail(micros),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line of the executor's own.
    pub fn note(&self, text: &str) {
        let micros = self.clock.now().as_micros();
        let mut inner = self.lock();
        let mut masker = inner.masker.another();
        let mut line = masker.push(text.as_bytes());
        line.extend(masker.finish());
        line.push(b'\n');
        inner.write(2, micros, &line);
    }

    /// Adds what the command wrote.
    pub fn output(&self, stream: Stream, bytes: &[u8]) {
        let which = usize::from(stream == Stream::Stderr);
        let micros = self.clock.now().as_micros();
        let mut inner = self.lock();
        let half = &mut inner.streams[which];
        let safe = half.masker.push(bytes);
        half.open.extend(safe);
        let whole = match half.open.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if half.open.len() >= PIECE_BYTES_MAX => half.open.len(),
            None => 0,
        };
        let rest = half.open.split_off(whole);
        let ready = std::mem::replace(&mut half.open, rest);
        for piece in ready.chunks(PIECE_BYTES_MAX) {
            inner.write(which as u8, micros, piece);
        }
    }

    /// Adds what is left of the command's streams; its last lines need not end.
    pub fn end_of_output(&self) {
        let micros = self.clock.now().as_micros();
        self.lock().end_of_output(micros);
    }

    /// Ends the log. What comes later is lost.
    pub fn finish(&self) {
        let micros = self.clock.now().as_micros();
        self.lock().finish(micros);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.finish(self.last);
    }
}

impl Inner {
    fn end_of_output(&mut self, micros: i64) {
        for which in 0..2 {
            let half = &mut self.streams[which];
            let held = half.masker.finish();
            half.open.extend(held);
            let rest = std::mem::take(&mut half.open);
            for piece in rest.chunks(PIECE_BYTES_MAX) {
                self.write(which as u8, micros, piece);
            }
        }
    }

    fn finish(&mut self, micros: i64) {
        if self.ended || self.away {
            return;
        }
        self.end_of_output(micros);
        self.join_tail(micros);
        // The last entry has no place; it says how many bytes are missing.
        let end = Entry { offset: self.dropped, micros, len: 0, kind: END };
        self.head.add_entry(end);
        self.ended = true;
    }

    fn write(&mut self, kind: u8, micros: i64, piece: &[u8]) {
        if piece.is_empty() || self.ended || self.away {
            return;
        }
        self.last = micros;
        let fits = self.head.size() + piece.len() as u64 <= self.limits.head_bytes;
        let written = if fits && self.tail.parts.is_empty() {
            self.head.add(kind, micros, piece)
        } else {
            let (kept, dropped) = self.tail.add(kind, micros, piece, self.limits.tail_bytes);
            self.dropped += dropped;
            kept
        };
        if !written {
            self.dropped += piece.len() as u64;
            if !std::mem::replace(&mut self.trouble, true) {
                tracing::warn!(path = %self.tail.path.display(), "a log cannot be written; its lines are lost");
            }
        }
    }

    /// Puts the tail that a process left when it fell behind the head.
    fn take_in_tail(&mut self, micros: i64) {
        let parts = self.tail.left();
        if !parts.is_empty() {
            self.head.add(2, micros, "… some output is left out here …\n".as_bytes());
        }
        self.tail.parts = parts;
        self.join_tail(micros);
    }

    /// Puts the tail behind the head, with a line that says what is missing between them.
    fn join_tail(&mut self, micros: i64) {
        if self.dropped > self.told {
            self.told = self.dropped;
            let line = format!("… {} bytes are left out here …\n", self.dropped);
            self.head.add(2, micros, line.as_bytes());
        }
        for part in std::mem::take(&mut self.tail.parts) {
            if part.copy_to(&mut self.head).is_err() {
                tracing::warn!(path = %part.path.display(), "the tail of a log cannot be read");
            }
        }
    }
}

impl Part {
    /// Copies the pieces, one at a time.
    fn copy_to(&self, head: &mut Pieces) -> std::io::Result<()> {
        let mut log = File::open(&self.path)?;
        let mut index = BufReader::new(File::open(Self::index(&self.path))?);
        while let Some(entry) = next_entry(&mut index)? {
            head.add(entry.kind, entry.micros, &piece(&mut log, entry)?);
        }
        Ok(())
    }
}

impl Tail {
    /// The parts that are on disk, in their order.
    fn left(&self) -> VecDeque<Part> {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let entries = self.path.parent().map(std::fs::read_dir).into_iter().flatten().flatten();
        let turn = |path: &Path| -> Option<u32> {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix(&stem)?.strip_prefix(".tail")?.parse().ok()
        };
        let mut found: Vec<(u32, PathBuf)> = (entries.flatten())
            .filter_map(|entry| Some((turn(&entry.path())?, entry.path())))
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| Part { path, pieces: Pieces::of(None, None) }).collect()
    }

    /// Adds a piece; gives whether it was kept, and how many older bytes made room for it.
    fn add(&mut self, kind: u8, micros: i64, piece: &[u8], part_bytes: u64) -> (bool, u64) {
        let mut dropped = 0;
        if self.parts.back().is_none_or(|part| part.pieces.size() >= part_bytes) {
            if self.parts.len() == 2
                && let Some(oldest) = self.parts.pop_front()
            {
                dropped = oldest.pieces.kept;
            }
            self.turn += 1;
            let path = self.path.with_extension(format!("tail{}", self.turn));
            let pieces = Pieces::create(&path, &Part::index(&path));
            self.parts.push_back(Part { path, pieces });
        }
        let part = self.parts.back_mut();
        (part.is_some_and(|part| part.pieces.add(kind, micros, piece)), dropped)
    }
}

impl Pieces {
    fn of(log: Option<File>, index: Option<File>) -> Self {
        Self { log, index, bytes: 0, entries: 0, kept: 0 }
    }

    fn create(log: &Path, index: &Path) -> Self {
        Self::of(File::create(log).ok(), File::create(index).ok())
    }

    /// Goes on with the log at `path`, behind its last whole entry.
    fn resume(path: &Path) -> Self {
        let open = |path: &Path| File::options().append(true).create(true).open(path).ok();
        let mut pieces = Self::of(open(path), open(&path.with_extension("idx")));
        let length = |file: &Option<File>| {
            file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len())
        };
        pieces.bytes = length(&pieces.log);
        pieces.entries = length(&pieces.index) / ENTRY_BYTES as u64;
        if let Some(index) = &pieces.index {
            let _ = index.set_len(pieces.entries * ENTRY_BYTES as u64);
        }
        pieces
    }

    /// Bytes on disk.
    fn size(&self) -> u64 {
        self.bytes + self.entries * ENTRY_BYTES as u64
    }

    fn add(&mut self, kind: u8, micros: i64, piece: &[u8]) -> bool {
        let Some(log) = &mut self.log else { return false };
        if log.write_all(piece).is_err() {
            // What was written of the piece stays without an entry; later pieces know their place.
            self.bytes = log.stream_position().unwrap_or(self.bytes);
            return false;
        }
        let entry = Entry { offset: self.bytes, micros, len: piece.len() as u32, kind };
        self.bytes += piece.len() as u64;
        let added = self.add_entry(entry);
        if added {
            self.kept += piece.len() as u64;
        }
        added
    }

    fn add_entry(&mut self, entry: Entry) -> bool {
        let Some(index) = &mut self.index else { return false };
        if index.write_all(&entry.to_bytes()).is_ok() {
            self.entries += 1;
            return true;
        }
        // Half an entry would shift all that follow.
        let end = self.entries * ENTRY_BYTES as u64;
        if index.set_len(end).and_then(|()| index.seek(SeekFrom::Start(end))).is_err() {
            self.index = None;
        }
        false
    }
}
