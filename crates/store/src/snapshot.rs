//! Pictures of the records: one compressed file of JSON lines, named by its position.
//!
//! Every record in a picture contains every event up to that position; it may contain later ones,
//! which a replay passes over. The last line counts the others, so that a cut file is noticed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_model::run::StoredItem;
use tidemill_model::{DagId, DagRecord, Position};

use crate::disk;
use crate::record::RunRecord;
use crate::records::Records;
use crate::store::{Record, RunSummary, StoreError};

/// Pictures that are kept, so that one that turns out damaged has an older one behind it.
const KEEP: usize = 2;

/// Items in one line.
const ITEMS: usize = 1_000;

/// No line is longer, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run(Box<RunRecord>),
    /// More of the run above: items of its mapped tasks.
    Items(Vec<StoredItem>),
    Dag {
        position: Position,
        id: DagId,
        record: DagRecord,
    },
    End {
        lines: u64,
        position: Position,
    },
}

/// The pictures in a folder, oldest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<(Position, PathBuf)>, StoreError> {
    let found = disk::numbered(dir, "jsonl.zst")?;
    Ok(found.into_iter().map(|(position, path)| (Position(position), path)).collect())
}

/// The file of a picture.
pub(crate) fn path_of(dir: &Path, position: Position) -> PathBuf {
    dir.join(format!("{:020}.jsonl.zst", position.0))
}

/// Writes a picture of the records, which contain every event up to `position`, and reads it
/// again. The records may grow meanwhile.
pub(crate) fn write(records: &Records, path: &Path, position: Position) -> Result<(), StoreError> {
    let temp = disk::temp_of(path);
    let written = write_lines(records, &temp, position);
    let published = match written {
        Ok(()) => disk::publish(&temp, path, Ok(())),
        Err(error) => {
            let _ = std::fs::remove_file(&temp);
            Err(error)
        }
    };
    published?;
    read(path, |_| Ok(())).map(drop)
}

fn write_lines(records: &Records, temp: &Path, position: Position) -> Result<(), StoreError> {
    let io = |error: io::Error| disk::failed(temp, &error);
    let file = disk::create_private(temp).map_err(io)?;
    let mut out = zstd::stream::write::Encoder::new(BufWriter::new(file), 3).map_err(io)?;
    out.include_checksum(true).map_err(io)?;
    let mut lines = 0;
    let mut line = |out: &mut dyn Write, line: &Line| -> io::Result<()> {
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")?;
        lines += 1;
        Ok(())
    };
    for dag in records.dags()? {
        let dag = Line::Dag { position: dag.position, id: dag.id, record: dag.record };
        line(&mut out, &dag).map_err(io)?;
    }
    for id in records.all()? {
        // A run that left the records meanwhile is in the archive, which is copied later.
        if let Some(run) = records.whole(&id)? {
            line(&mut out, &Line::Run(Box::new(run))).map_err(io)?;
            records.items_in_parts(&id, ITEMS, &mut |items| {
                line(&mut out, &Line::Items(items)).map_err(io)
            })?;
        }
    }
    let end = Line::End { lines, position };
    serde_json::to_writer(&mut out, &end).map_err(|e| io(e.into()))?;
    out.write_all(b"\n").map_err(io)?;
    let file = out.finish().and_then(|out| out.into_inner().map_err(io::Error::from));
    file.and_then(|file| file.sync_all()).map_err(io)
}

/// Reads a picture record by record and returns its position. A damaged one is an error, at the
/// latest at its end.
pub(crate) fn read(
    path: &Path,
    mut take: impl FnMut(Record) -> Result<(), StoreError>,
) -> Result<Position, StoreError> {
    let bad = |what: String| disk::damaged(path, what);
    let file = File::open(path).map_err(|e| disk::broken(path, &e))?;
    let decoder = zstd::stream::read::Decoder::new(file).map_err(|e| bad(e.to_string()))?;
    let mut lines = BufReader::new(decoder);
    let mut count = 0;
    let mut line = Vec::new();
    let mut end = None;
    let mut run: Option<(Position, Box<RunSummary>)> = None;
    loop {
        line.clear();
        let read = io::Read::take(&mut lines, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|e| bad(e.to_string()))? == 0 {
            break;
        }
        if end.is_some() {
            return Err(bad("lines follow its end".to_owned()));
        }
        let record = match serde_json::from_slice(&line).map_err(|e| bad(e.to_string()))? {
            Line::Run(whole) => {
                run = Some((whole.position, whole.summary.clone()));
                whole.into_record()
            }
            Line::Items(items) => match run.clone() {
                Some((position, summary)) => {
                    Record::Run { position, summary, tasks: Vec::new(), items }
                }
                None => return Err(bad("items stand before any run".to_owned())),
            },
            Line::Dag { position, id, record } => Record::Dag { position, id, record },
            Line::End { lines, position } if lines == count => {
                end = Some(position);
                continue;
            }
            Line::End { lines, .. } => {
                return Err(bad(format!("it has {count} of {lines} lines")));
            }
        };
        count += 1;
        take(record)?;
    }
    end.ok_or_else(|| bad("its end is missing".to_owned()))
}

/// Removes all pictures but the newest, and says from which position on the journal is needed to
/// go on from the oldest that is left.
pub(crate) fn thin(dir: &Path) -> Result<Position, StoreError> {
    let pictures = list(dir)?;
    let (gone, kept) = pictures.split_at(pictures.len().saturating_sub(KEEP));
    for (_, path) in gone {
        std::fs::remove_file(path).map_err(|e| disk::broken(path, &e))?;
    }
    // With a single picture the journal alone is the older one behind it.
    let oldest = if kept.len() < KEEP { None } else { kept.first() };
    Ok(oldest.map_or(Position(0), |(position, _)| *position))
}
