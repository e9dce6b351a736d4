//! One file of the journal: a header, then frames to its end.
//!
//! Header, 24 bytes: `magic [8] | format u32 le | first position u64 le | crc32c of these u32 le`.
//! Frame: `len u32 le | crc32c u32 le | payload`; the payload is the position of the first event as
//! u64 le and the events as a JSON array. A frame is a commit.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tidemill_model::{Event, Position};

use crate::disk;
use crate::store::StoreError;

pub(crate) const HEADER_BYTES: u64 = 24;
pub(crate) const FRAME_HEADER: usize = 8;

/// No frame is larger, in bytes.
pub(crate) const FRAME_BYTES_MAX: usize = 256 << 20;

const MAGIC: &[u8; 8] = b"TIDEJRNL";
const FORMAT: u32 = 1;
/// The position and `[]`.
const PAYLOAD_BYTES_MIN: usize = 10;

/// The header of a segment.
pub(crate) fn header(first: Position) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend(first.0.to_le_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The file name of a segment.
pub(crate) fn path_of(dir: &Path, first: Position) -> PathBuf {
    dir.join(format!("{:020}.log", first.0))
}

/// Writes a commit as a frame to the end of `out`.
pub(crate) fn encode(first: Position, events: &[Event], out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    out.extend([0; FRAME_HEADER]);
    out.extend(first.0.to_le_bytes());
    serde_json::to_writer(&mut *out, events).map_err(|error| error.to_string())?;
    let payload = &out[start + FRAME_HEADER..];
    if payload.len() > FRAME_BYTES_MAX {
        return Err(format!("a commit of {} events", events.len()));
    }
    let header = frame_header(payload);
    out[start..start + FRAME_HEADER].copy_from_slice(&header);
    Ok(())
}

/// The header of a frame with this payload.
pub(crate) fn frame_header(payload: &[u8]) -> [u8; FRAME_HEADER] {
    let mut bytes = [0; FRAME_HEADER];
    bytes[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    bytes
}

/// The events of a payload, numbered.
pub(crate) fn events_of(payload: &[u8]) -> Result<Vec<(Position, Event)>, String> {
    let first = first_of(payload).ok_or("a frame without a position")?;
    let events: Vec<Event> =
        serde_json::from_slice(&payload[8..]).map_err(|error| error.to_string())?;
    Ok((first.0..).map(Position).zip(events).collect())
}

/// The position of a payload's first event.
pub(crate) fn first_of(payload: &[u8]) -> Option<Position> {
    let bytes = payload.get(..8)?.try_into().ok()?;
    Some(Position(u64::from_le_bytes(bytes)))
}

/// A frame as it lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameAt {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Where the next one begins.
    pub(crate) end: u64,
    /// Its first event.
    pub(crate) first: Position,
}

/// Why a segment cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes from here to the end of the file are no whole frame.
    Torn {
        /// Where they begin.
        offset: u64,
    },
    /// Bytes in the middle are no frame, but frames follow.
    Damaged {
        /// Where they begin.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// Reads a segment front to back.
#[derive(Debug)]
pub(crate) struct Reader {
    file: io::BufReader<File>,
    path: PathBuf,
    offset: u64,
    end: u64,
    payload: Vec<u8>,
}

/// What a [`Reader`] finds next.
pub(crate) enum Next<'a> {
    /// A frame that matches its checksum.
    Frame(FrameAt, &'a [u8]),
    /// The end.
    End,
    /// Bytes that are no frame, and why.
    Bad(u64, String),
}

impl Reader {
    /// Opens a segment at `offset`, to read as far as `end` or the end of the file.
    pub(crate) fn open(path: &Path, offset: u64, end: Option<u64>) -> Result<Self, StoreError> {
        let open = || -> io::Result<(File, u64)> {
            let mut file = File::open(path)?;
            let len = file.metadata()?.len();
            io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
            Ok((file, len))
        };
        let (file, len) = open().map_err(|e| disk::broken(path, &e))?;
        Ok(Self {
            file: io::BufReader::with_capacity(64 << 10, file),
            path: path.to_owned(),
            offset,
            end: end.unwrap_or(len).min(len),
            payload: Vec::new(),
        })
    }

    /// Reads and checks the header.
    pub(crate) fn header(&mut self) -> Result<Position, String> {
        let mut bytes = [0; HEADER_BYTES as usize];
        self.file.read_exact(&mut bytes).map_err(|_| "its header is cut".to_owned())?;
        self.offset = HEADER_BYTES;
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if &bytes[..8] != MAGIC {
            return Err("it is not a journal segment".to_owned());
        }
        if crc32c::crc32c(&bytes[..20]) != u32::from_le_bytes(word(20)) {
            return Err("its header does not match its checksum".to_owned());
        }
        let format = u32::from_le_bytes(word(8));
        if format != FORMAT {
            return Err(format!("it has format {format}, this release knows {FORMAT}"));
        }
        first_of(&bytes[12..20]).ok_or_else(|| "it has no position".to_owned())
    }

    /// The next frame.
    pub(crate) fn next_frame(&mut self) -> Result<Next<'_>, StoreError> {
        if self.offset == self.end {
            return Ok(Next::End);
        }
        let offset = self.offset;
        let bad = |what: &str| Ok(Next::Bad(offset, what.to_owned()));
        let left = self.end - offset;
        if left < FRAME_HEADER as u64 {
            return bad("a frame is cut");
        }
        let mut head = [0; FRAME_HEADER];
        self.file.read_exact(&mut head).map_err(|e| disk::broken(&self.path, &e))?;
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if !(PAYLOAD_BYTES_MIN..=FRAME_BYTES_MAX).contains(&len) {
            return bad("a frame has an impossible length");
        }
        if left - (FRAME_HEADER as u64) < len as u64 {
            return bad("a frame is cut");
        }
        self.payload.resize(len, 0);
        self.file.read_exact(&mut self.payload).map_err(|e| disk::broken(&self.path, &e))?;
        if crc32c::crc32c(&self.payload) != sum {
            return bad("a frame does not match its checksum");
        }
        let Some(first) = first_of(&self.payload) else { return bad("a frame is too short") };
        self.offset = offset + (FRAME_HEADER + len) as u64;
        Ok(Next::Frame(FrameAt { offset, end: self.offset, first }, &self.payload))
    }
}

/// What a scan of a whole segment finds.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Every frame up to the first bad byte.
    pub(crate) frames: Vec<FrameAt>,
    /// The last event, or the one before the segment's first if it is empty.
    pub(crate) last: Position,
    /// Why it ended early, if it did.
    pub(crate) stop: Option<Stop>,
}

/// Scans the frames of a segment that starts at `first`, and tells a torn end from damage.
pub(crate) fn scan(path: &Path, first: Position) -> Result<Scan, StoreError> {
    let mut reader = Reader::open(path, HEADER_BYTES, None)?;
    let mut scan = Scan { frames: Vec::new(), last: Position(first.0 - 1), stop: None };
    loop {
        let (at, what) = match reader.next_frame()? {
            Next::End => return Ok(scan),
            Next::Frame(frame, payload) if frame.first == scan.last.next() => {
                match serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(&payload[8..]) {
                    Ok(events) => {
                        scan.last = Position(scan.last.0 + events.len() as u64);
                        scan.frames.push(frame);
                        continue;
                    }
                    Err(error) => (frame.offset, error.to_string()),
                }
            }
            Next::Frame(frame, _) => {
                (frame.offset, format!("event {} follows event {}", frame.first.0, scan.last.0))
            }
            Next::Bad(offset, what) => (offset, what),
        };
        let damaged = frame_follows(path, at, scan.last)?;
        scan.stop = Some(if damaged {
            Stop::Damaged { offset: at, what }
        } else {
            Stop::Torn { offset: at }
        });
        return Ok(scan);
    }
}

/// Whether a whole frame with a later event lies anywhere at or behind `offset`.
///
/// Each commit is synced before the next is written, so what a power cut tears is the last frame
/// and nothing follows it. Where something follows, acknowledged events are damaged.
fn frame_follows(path: &Path, offset: u64, last: Position) -> Result<bool, StoreError> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|e| disk::broken(path, &e))?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|e| disk::broken(path, &e))?;
    Ok((0..bytes.len()).any(|at| frame_in(&bytes, at, last).is_some()))
}

/// The payload of a whole frame at `at`, if its events are later than `last`.
fn frame_in(bytes: &[u8], at: usize, last: Position) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let head = rest.get(..FRAME_HEADER)?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let payload = rest.get(FRAME_HEADER..FRAME_HEADER.checked_add(len)?)?;
    // The position filters before the checksum is computed, so a search at every byte stays linear.
    let first = first_of(payload)?;
    let plausible = first > last && first.0 - last.0 <= bytes.len() as u64;
    let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    (plausible && payload.get(8) == Some(&b'[') && crc32c::crc32c(payload) == sum)
        .then_some(payload)
}

/// Every event in a segment that can still be read and is later than `last`, in order, whatever
/// lies between the frames. Gives the last one met.
pub(crate) fn salvage(
    path: &Path,
    first: Position,
    mut last: Position,
    mut take: impl FnMut(Position, Event) -> Result<(), StoreError>,
) -> Result<Position, StoreError> {
    let bytes = std::fs::read(path).map_err(|e| disk::broken(path, &e))?;
    // Events that are known already may come first.
    let mut before = Position(first.0.saturating_sub(1));
    let mut at = 0;
    while at < bytes.len() {
        let found = frame_in(&bytes, at, before);
        let Some(events) = found.and_then(|payload| events_of(payload).ok()) else {
            at += 1;
            continue;
        };
        at += FRAME_HEADER + found.map_or(0, <[u8]>::len);
        for (position, event) in events {
            before = before.max(position);
            if position > last {
                last = position;
                take(position, event)?;
            }
        }
    }
    Ok(last)
}
