//! The journal: every event, in commit order, in files that only grow.
//!
//! A commit is one frame, written with one call and synced before it is acknowledged. Segments are
//! named by their first position and removed whole, once snapshots hold what they say.

mod segment;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tidemill_model::{Event, Position};

use crate::disk::{self, Disk, Tail};
use crate::store::StoreError;
use segment::{FRAME_BYTES_MAX, HEADER_BYTES, Next, Reader};
pub(crate) use segment::{Scan, Stop, frame_header, header, path_of, salvage, scan};

/// Events between two places of the index, in bytes of the file.
const INDEX_EVERY_BYTES: u64 = 64 << 10;

/// The journal of a home. One thread appends, any thread reads.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    writer: Mutex<Writer>,
    segments: RwLock<Vec<Arc<Segment>>>,
    last: AtomicU64,
}

#[derive(Debug)]
struct Writer {
    tail: Option<Tail>,
    buffer: Vec<u8>,
    /// Set for ever by the first write or sync that failed for another reason than a full disk, or
    /// from the start where nothing may be written.
    broken: Option<(PathBuf, String)>,
}

/// A segment as readers see it.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    first: Position,
    /// How far it is durable, in bytes.
    end: AtomicU64,
    /// Places of some frames, filled as they are met.
    index: Mutex<Vec<(Position, u64)>>,
}

impl Segment {
    fn new(path: PathBuf, first: Position, end: u64) -> Arc<Self> {
        Arc::new(Self { path, first, end: AtomicU64::new(end), index: Mutex::default() })
    }

    /// Remembers where a frame begins, if none near it is known.
    fn note(&self, first: Position, offset: u64) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if index.last().is_none_or(|(_, last)| offset >= last + INDEX_EVERY_BYTES) {
            index.push((first, offset));
        }
    }

    /// A place from which `position` is met.
    fn start(&self, position: Position) -> u64 {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let after = index.partition_point(|(first, _)| *first <= position);
        after.checked_sub(1).map_or(HEADER_BYTES, |at| index[at].1)
    }
}

/// How a journal is opened.
#[derive(Debug, Clone)]
pub(crate) struct JournalOptions {
    /// A new segment is begun when the last one is this large, in bytes.
    pub(crate) segment_bytes: u64,
    /// Where files are made.
    pub(crate) disk: Arc<dyn Disk>,
    /// Only to be read: a torn end stays where it is and is not read, and nothing is taken in.
    pub(crate) read_only: bool,
}

impl Journal {
    /// Opens a journal, or makes an empty one. A torn end is kept aside and cut; the notes say so.
    /// Damage before the end is an error: nothing is passed over.
    pub(crate) fn open(
        dir: &Path,
        options: JournalOptions,
    ) -> Result<(Self, Vec<String>), StoreError> {
        disk::make_dir(dir)?;
        let mut notes = Vec::new();
        let mut files = disk::numbered(dir, "log")?;
        drop_unborn(&mut files)?;
        let mut segments = Vec::new();
        for (first, path) in &files {
            let end = std::fs::metadata(path).map_err(|e| disk::broken(path, &e))?.len();
            check_header(path, Position(*first))?;
            segments.push(Segment::new(path.clone(), Position(*first), end));
        }
        let mut last = Position(0);
        let mut tail = None;
        if let Some(segment) = segments.last() {
            let found = scan(&segment.path, segment.first)?;
            last = found.last;
            let end = found.frames.last().map_or(HEADER_BYTES, |frame| frame.end);
            match found.stop {
                None => {}
                Some(Stop::Damaged { offset, what }) => {
                    return Err(disk::damaged(&segment.path, format!("{what} at byte {offset}")));
                }
                Some(Stop::Torn { .. }) if options.read_only => {}
                Some(Stop::Torn { offset }) => notes.push(cut_torn(&segment.path, offset, last)?),
            }
            segment.end.store(end, Ordering::Release);
            found.frames.iter().for_each(|frame| segment.note(frame.first, frame.offset));
            tail = Some(Tail::open(&options.disk, &segment.path, end)?);
        }
        let only_read = || (dir.to_owned(), "it is only read".to_owned());
        let broken = options.read_only.then(only_read);
        let journal = Self {
            dir: dir.to_owned(),
            disk: options.disk,
            segment_bytes: options.segment_bytes,
            writer: Mutex::new(Writer { tail, buffer: Vec::new(), broken }),
            segments: RwLock::new(segments),
            last: AtomicU64::new(last.0),
        };
        Ok((journal, notes))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last durable event.
    pub(crate) fn last(&self) -> Position {
        Position(self.last.load(Ordering::Acquire))
    }

    /// The first event that is still here; one after the last if none is.
    pub(crate) fn first(&self) -> Position {
        self.segments().first().map_or(self.last().next(), |segment| segment.first)
    }

    /// Bytes of the events after `position`, about: whole segments count whole.
    pub(crate) fn bytes_after(&self, position: Position) -> u64 {
        let segments = self.segments();
        let starts = segments.iter().map(|s| s.first).skip(1);
        (segments.iter().zip(starts.chain([self.last().next()])))
            .filter(|(_, next)| next.0 > position.0 + 1)
            .map(|(segment, _)| {
                let end = segment.end.load(Ordering::Acquire);
                end - segment.start(position.next()).min(end)
            })
            .sum()
    }

    /// Latches the journal: something that belongs to a commit could not be made durable.
    pub(crate) fn fail(&self, error: &StoreError) {
        if let StoreError::Broken { path, error } = error {
            self.writer().broken.get_or_insert_with(|| (path.clone(), error.clone()));
        }
    }

    /// Why nothing is taken in any more, if so.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match &self.writer().broken {
            None => Ok(()),
            Some((path, error)) => {
                Err(StoreError::Broken { path: path.clone(), error: error.clone() })
            }
        }
    }

    /// Makes events durable, all or none, and returns the position of the last.
    pub(crate) fn append(&self, events: &[Event]) -> Result<Position, StoreError> {
        self.check()?;
        let mut writer = self.writer();
        let first = self.last().next();
        if events.is_empty() {
            return Ok(self.last());
        }
        let mut buffer = std::mem::take(&mut writer.buffer);
        buffer.clear();
        let encoded = segment::encode(first, events, &mut buffer);
        let done = match encoded {
            Err(what) => Err(StoreError::TooLarge {
                what,
                bytes: buffer.len() as u64,
                limit: FRAME_BYTES_MAX as u64,
            }),
            Ok(()) => self.write(&mut writer, first, &buffer),
        };
        if buffer.capacity() <= 4 << 20 {
            writer.buffer = buffer;
        }
        if let Err(StoreError::Broken { path, error }) = &done {
            writer.broken = Some((path.clone(), error.clone()));
        }
        done?;
        let last = Position(first.0 + events.len() as u64 - 1);
        self.last.store(last.0, Ordering::Release);
        Ok(last)
    }

    fn write(&self, writer: &mut Writer, first: Position, frame: &[u8]) -> Result<(), StoreError> {
        let fits = |tail: &Tail| tail.len() < self.segment_bytes || tail.len() <= HEADER_BYTES;
        if !writer.tail.as_ref().is_some_and(fits) {
            let path = path_of(&self.dir, first);
            let tail = Tail::create(&self.disk, &path, &segment::header(first))?;
            let segment = Segment::new(path, first, tail.len());
            writer.tail = Some(tail);
            self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
        }
        let Some(tail) = writer.tail.as_mut() else { return Ok(()) };
        let offset = tail.len();
        tail.append(frame)?;
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = segments.last() {
            segment.note(first, offset);
            segment.end.store(tail.len(), Ordering::Release);
        }
        Ok(())
    }

    /// Events after `after`, at most `limit`. Events that are gone with their segments are left
    /// out, so the first one may be later than asked for.
    pub(crate) fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Event)>, StoreError> {
        let mut events = Vec::new();
        self.visit(after, self.last(), |found| {
            let wanted = found.into_iter().filter(|(position, _)| *position > after);
            events.extend(wanted.take(limit - events.len()));
            events.len() < limit
        })?;
        Ok(events)
    }

    /// Visits the commits that hold events after `after` and up to `upto`, until the visitor has
    /// seen enough. A commit may begin before `after`.
    pub(crate) fn visit(
        &self,
        after: Position,
        upto: Position,
        mut more: impl FnMut(Vec<(Position, Event)>) -> bool,
    ) -> Result<(), StoreError> {
        self.frames(after, upto, |path, frame, payload| {
            let events = segment::events_of(payload)
                .map_err(|what| disk::damaged(path, format!("{what} at byte {}", frame.offset)))?;
            Ok(more(events))
        })
    }

    /// Visits the frames that hold events after `after` and up to `upto`.
    pub(crate) fn frames(
        &self,
        after: Position,
        upto: Position,
        mut more: impl FnMut(&Path, segment::FrameAt, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        if after >= upto {
            return Ok(());
        }
        let segments = self.segments();
        let from = segments.partition_point(|segment| segment.first <= after.next());
        let mut expected: Option<Position> = None;
        for (i, segment) in segments.iter().enumerate().skip(from.saturating_sub(1)) {
            if segment.first > upto {
                return Ok(());
            }
            if let Some(expected) = expected.filter(|expected| *expected != segment.first) {
                let what = format!(
                    "events {} to {} are missing before it",
                    expected.0,
                    segment.first.0 - 1
                );
                return Err(disk::damaged(&segment.path, what));
            }
            let end = segment.end.load(Ordering::Acquire);
            let mut reader = Reader::open(&segment.path, segment.start(after.next()), Some(end))?;
            let mut held: Option<(segment::FrameAt, Vec<u8>)> = None;
            loop {
                // A frame's last event is known by where the next one begins.
                let (next, found) = match reader.next_frame()? {
                    Next::Bad(offset, what) => {
                        return Err(disk::damaged(
                            &segment.path,
                            format!("{what} at byte {offset}"),
                        ));
                    }
                    Next::Frame(frame, payload) => {
                        segment.note(frame.first, frame.offset);
                        (frame.first, Some((frame, payload.to_vec())))
                    }
                    Next::End => {
                        let next = segments.get(i + 1).map_or(self.last().next(), |s| s.first);
                        (next, None)
                    }
                };
                if let Some((frame, payload)) = held.take()
                    && next > after.next()
                    && !more(&segment.path, frame, &payload)?
                {
                    return Ok(());
                }
                match found {
                    Some((frame, _)) if frame.first > upto => return Ok(()),
                    Some(frame) => held = Some(frame),
                    None => break,
                }
            }
            expected = segments.get(i + 1).map(|_| end_of(segment)).transpose()?;
        }
        Ok(())
    }

    /// Removes segments whose events all lie at or before `position`; the last one stays.
    pub(crate) fn remove_upto(&self, position: Position) -> Result<(), StoreError> {
        let gone: Vec<Arc<Segment>> = {
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            let keep_from = (1..segments.len())
                .rev()
                .find(|i| segments[*i].first <= position.next())
                .unwrap_or(0);
            segments.drain(..keep_from).collect()
        };
        // From the front, so that a crash between two of them leaves no gap.
        for segment in &gone {
            std::fs::remove_file(&segment.path).map_err(|e| disk::broken(&segment.path, &e))?;
        }
        if gone.is_empty() { Ok(()) } else { disk::sync_dir(&self.dir) }
    }
}

/// The position after a segment's last event.
fn end_of(segment: &Segment) -> Result<Position, StoreError> {
    let near = segment.start(Position(u64::MAX));
    let end = segment.end.load(Ordering::Acquire);
    let mut reader = Reader::open(&segment.path, near, Some(end))?;
    let mut next = segment.first;
    while let Next::Frame(_, payload) = reader.next_frame()? {
        let events =
            segment::events_of(payload).map_err(|what| disk::damaged(&segment.path, what))?;
        next = events.last().map_or(next, |(position, _)| position.next());
    }
    Ok(next)
}

pub(crate) fn check_header(path: &Path, first: Position) -> Result<(), StoreError> {
    let found = Reader::open(path, 0, None)?.header().map_err(|what| disk::damaged(path, what))?;
    if found != first || first.0 == 0 {
        let what = format!("its name says event {}, its header says {}", first.0, found.0);
        return Err(disk::damaged(path, what));
    }
    Ok(())
}

/// A last segment that a crash cut within its header holds nothing: it is removed.
fn drop_unborn(files: &mut Vec<(u64, PathBuf)>) -> Result<(), StoreError> {
    let Some((first, path)) = files.last() else { return Ok(()) };
    let len = std::fs::metadata(path).map_err(|e| disk::broken(path, &e))?.len();
    if len <= HEADER_BYTES && check_header(path, Position(*first)).is_err() {
        std::fs::remove_file(path).map_err(|e| disk::broken(path, &e))?;
        files.pop();
    }
    Ok(())
}

/// Keeps the torn end of a segment beside it and cuts it off.
fn cut_torn(path: &Path, offset: u64, last: Position) -> Result<String, StoreError> {
    let cut = || -> std::io::Result<(u64, PathBuf)> {
        let bytes = std::fs::read(path)?;
        let torn = bytes.get(offset as usize..).unwrap_or_default();
        let aside = disk::aside_name(path, "torn");
        std::fs::write(&aside, torn)?;
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        file.set_len(offset)?;
        file.sync_all()?;
        Ok((torn.len() as u64, aside))
    };
    let (bytes, aside) = cut().map_err(|e| disk::failed(path, &e))?;
    disk::sync_parent(path)?;
    Ok(format!(
        "the journal ended within a commit after event {}, as after a power cut: its {bytes} bytes \
         were cut from `{}` and kept in `{}`",
        last.0,
        path.display(),
        aside.display()
    ))
}

/// Reads the events after `after` from files that nobody writes. A bad frame ends the reading.
pub(crate) fn read_files(
    segments: &[(Position, PathBuf)],
    after: Position,
    mut take: impl FnMut(Position, Event),
) -> Result<(), StoreError> {
    let from = segments.partition_point(|(first, _)| *first <= after.next());
    for (_, path) in segments.iter().skip(from.saturating_sub(1)) {
        let mut reader = Reader::open(path, HEADER_BYTES, None)?;
        while let Next::Frame(_, payload) = reader.next_frame()? {
            let events = segment::events_of(payload).map_err(|what| disk::damaged(path, what))?;
            for (position, event) in events {
                take(position, event);
            }
        }
    }
    Ok(())
}
