//! Reading a log: by line, from any place, while it is being written or afterwards.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Serialize;
use tidemill_model::{RunId, Timestamp};

use super::{END, ENTRY_BYTES, Entry, LogLine, Stream};

/// Bytes of text that a page holds at most, besides its last piece.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Longer lines are shown cut; the raw log has them whole.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Lines of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Ask with this as `from` for the lines after them.
    pub next: u64,
    /// Whether the log ends with these lines: nothing will follow.
    pub ended: bool,
    /// Bytes that were not kept, once the log has ended.
    pub dropped: u64,
}

/// How many pieces a log has now: `pieces - n` is a place to read the last n or more lines from.
pub fn pieces(path: &Path) -> u64 {
    std::fs::metadata(path.with_extension("idx")).map_or(0, |meta| meta.len() / ENTRY_BYTES as u64)
}

/// Reads about `limit` lines from a place: 0, or the `next` of the page before. A log that does
/// not exist yet reads as an empty one that has not ended. Behind the end there are no lines, and
/// the end is said there too.
pub fn read(path: &Path, from: u64, limit: usize) -> std::io::Result<LogPage> {
    let mut page = LogPage { next: from, ..LogPage::default() };
    let index = match File::open(path.with_extension("idx")) {
        Ok(index) => index,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(page),
        Err(error) => return Err(error),
    };
    let mut log = File::open(path)?;
    let entries = index.metadata()?.len() / ENTRY_BYTES as u64;
    let mut index = std::io::BufReader::new(index);
    if from >= entries {
        index.seek(SeekFrom::Start(entries.saturating_sub(1) * ENTRY_BYTES as u64))?;
        if let Some(Entry { kind: END, offset, .. }) = next_entry(&mut index)? {
            page.ended = true;
            page.dropped = offset;
        }
        return Ok(page);
    }
    index.seek(SeekFrom::Start(from * ENTRY_BYTES as u64))?;
    let mut bytes = 0;
    while page.lines.len() < limit && bytes < PAGE_BYTES_MAX {
        let Some(entry) = next_entry(&mut index)? else { break };
        let place = page.next;
        page.next += 1;
        if entry.kind == END {
            page.ended = true;
            page.dropped = entry.offset;
            break;
        }
        let Some(stream) = entry.stream() else { continue };
        let piece = piece(&mut log, entry)?;
        bytes += piece.len();
        let text = piece.strip_suffix(b"\n").unwrap_or(&piece);
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            page.lines.push(LogLine {
                at: Timestamp::from_micros(entry.micros),
                stream,
                text: String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]).into_owned(),
                piece: place,
            });
        }
    }
    // A page that is full may stand right before the end.
    if !page.ended
        && let Some(Entry { kind: END, offset, .. }) = next_entry(&mut index)?
    {
        page.ended = true;
        page.dropped = offset;
    }
    Ok(page)
}

/// The command's output, byte for byte as it came: both streams, or one. Calls `take` with each
/// piece.
pub fn raw(
    path: &Path,
    stream: Option<Stream>,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut log = File::open(path)?;
    let mut index = std::io::BufReader::new(File::open(path.with_extension("idx"))?);
    while let Some(entry) = next_entry(&mut index)? {
        let from = entry.stream().filter(|from| *from != Stream::Tidemill);
        if from.is_some_and(|from| stream.is_none_or(|wanted| wanted == from)) {
            take(&piece(&mut log, entry)?)?;
        }
    }
    Ok(())
}

/// The newest attempt of a task that has a log.
pub fn latest_attempt(logs: &Path, run: &RunId, task: &str) -> Option<u32> {
    let folder = logs.join(run.dag.as_str()).join(run.number.to_string());
    std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix(task)?.strip_prefix('.')?.strip_suffix(".log")?.parse().ok()
        })
        .max()
}

pub(super) fn next_entry(index: &mut impl Read) -> std::io::Result<Option<Entry>> {
    let mut bytes = [0; ENTRY_BYTES];
    match index.read_exact(&mut bytes) {
        Ok(()) => Ok(Entry::from_bytes(&bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn piece(log: &mut File, entry: Entry) -> std::io::Result<Vec<u8>> {
    log.seek(SeekFrom::Start(entry.offset))?;
    let mut bytes = Vec::with_capacity(entry.len as usize);
    log.take(u64::from(entry.len)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
