//! Reading a table: batches unpacked by several threads, given in order.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::record_batch::RecordBatch;
use tidemill_connector::{BatchIter, ConnectorError};
use tidemill_model::TableRef;

use super::{At, gone};

/// Threads that unpack one scan, at most.
const THREADS_MAX: usize = 4;
/// Batches that each of them is ahead.
const AHEAD_BATCHES: usize = 2;
/// A table of fewer bytes, or fewer batches, is unpacked by the thread that reads it.
const ALONE_BYTES_MAX: u64 = 1 << 20;
const ALONE_BATCHES_MAX: usize = 4;

/// What the footer of a table tells.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) schema: SchemaRef,
    /// Number of batches.
    pub(super) batches: usize,
}

/// Reads the footer of a table.
pub(super) fn read_head(at: &At, table: &TableRef) -> Result<Head, ConnectorError> {
    fn head<R: Read + Seek>(reader: &FileReader<R>) -> Head {
        Head { schema: reader.schema(), batches: reader.num_batches() }
    }
    Ok(match at {
        At::Memory(bytes) => head(&reader(Cursor::new(bytes.clone()), table, None)?),
        At::File(path) => head(&reader(open_file(path, table)?, table, None)?),
    })
}

/// Those batches of a table that have these numbers, with these columns.
pub(super) fn scan_part(
    at: &At,
    table: &TableRef,
    columns: &[usize],
    batches: Range<usize>,
) -> Result<BatchIter, ConnectorError> {
    fn from<R: Read + Seek + Send + 'static>(
        mut reader: FileReader<R>,
        batches: Range<usize>,
    ) -> Result<BatchIter, ConnectorError> {
        if batches.is_empty() {
            return Ok(Box::new(std::iter::empty()));
        }
        reader.set_index(batches.start)?;
        Ok(Box::new(reader.take(batches.len()).map(|batch| Ok(batch?))))
    }
    match at {
        At::Memory(bytes) => {
            from(reader(Cursor::new(bytes.clone()), table, Some(columns))?, batches)
        }
        At::File(path) => from(reader(open_file(path, table)?, table, Some(columns))?, batches),
    }
}

/// The batches of a table, with these columns or with all.
pub(super) fn scan(
    at: &At,
    table: &TableRef,
    columns: Option<&[usize]>,
) -> Result<BatchIter, ConnectorError> {
    let path = match at {
        At::Memory(bytes) => {
            let reader = reader(Cursor::new(bytes.clone()), table, columns)?;
            return Ok(Box::new(reader.map(|batch| Ok(batch?))));
        }
        At::File(path) => path,
    };
    let reader = reader(open_file(path, table)?, table, columns)?;
    let batches = reader.num_batches();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    if threads < 2 || table.bytes <= ALONE_BYTES_MAX || batches <= ALONE_BATCHES_MAX {
        return Ok(Box::new(reader.map(|batch| Ok(batch?))));
    }
    drop(reader);
    Ok(Box::new(Lanes::start(path, table, columns, batches, threads)?))
}

fn open_file(path: &Path, table: &TableRef) -> Result<BufReader<File>, ConnectorError> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::with_capacity(256 * 1024, file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(gone(table)),
        Err(error) => Err(ConnectorError::io("read the table", path, &error)),
    }
}

fn reader<R: Read + Seek>(
    from: R,
    table: &TableRef,
    columns: Option<&[usize]>,
) -> Result<FileReader<R>, ConnectorError> {
    FileReader::try_new(from, columns.map(<[usize]>::to_vec)).map_err(|error| {
        ConnectorError::internal(format!("table `{}` cannot be read: {error}", table.name))
    })
}

type Item = Result<RecordBatch, ConnectorError>;

/// Every lane unpacks each so-manieth batch; they are taken from in turn.
struct Lanes {
    receivers: Vec<Receiver<Item>>,
    threads: Vec<JoinHandle<()>>,
    next: usize,
    batches: usize,
}

impl Lanes {
    fn start(
        path: &Path,
        table: &TableRef,
        columns: Option<&[usize]>,
        batches: usize,
        threads: usize,
    ) -> Result<Self, ConnectorError> {
        let mut scan = Self { receivers: Vec::new(), threads: Vec::new(), next: 0, batches };
        for lane in 0..threads {
            let (send, receive) = sync_channel(AHEAD_BATCHES);
            let (path, table, columns) =
                (path.to_owned(), table.clone(), columns.map(<[usize]>::to_vec));
            let read = move || {
                let turns = (lane..batches).step_by(threads);
                if let Err(error) = unpack(&path, &table, columns.as_deref(), turns, &send) {
                    let _ = send.send(Err(error));
                }
            };
            let thread = std::thread::Builder::new().name("tidemill-unpack".to_owned()).spawn(read);
            let thread = thread
                .map_err(|e| ConnectorError::internal(format!("cannot start a thread: {e}")))?;
            scan.threads.push(thread);
            scan.receivers.push(receive);
        }
        Ok(scan)
    }
}

/// Sends these batches, until nobody wants more.
fn unpack(
    path: &Path,
    table: &TableRef,
    columns: Option<&[usize]>,
    turns: impl Iterator<Item = usize>,
    send: &SyncSender<Item>,
) -> Result<(), ConnectorError> {
    let mut reader = reader(open_file(path, table)?, table, columns)?;
    for turn in turns {
        reader.set_index(turn)?;
        let Some(batch) = reader.next() else { break };
        if send.send(Ok(batch?)).is_err() {
            break;
        }
    }
    Ok(())
}

impl Iterator for Lanes {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.next >= self.batches {
            return None;
        }
        let lane = self.next % self.receivers.len();
        let item = self.receivers[lane].recv().unwrap_or_else(|_| {
            Err(ConnectorError::internal("the reading of a table broke off; please report this"))
        });
        // After an error there is nothing more.
        self.next = if item.is_ok() { self.next + 1 } else { self.batches };
        Some(item)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.receivers.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
