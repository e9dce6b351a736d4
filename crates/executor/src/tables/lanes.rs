//! Batches packed by several threads, hashed and written in order by one.
//!
//! A small table is packed by the thread that makes it: starting others would take longer.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::file::{Packed, Packer, TableFile};
use super::spool::Spool;

/// Threads that pack the batches of one table, at most.
const PACKERS_MAX: usize = 4;
/// A table is small up to here.
const ALONE_BYTES_MAX: usize = 256 << 10;

type Answer = Result<Packed, ArrowError>;

/// Takes batches and makes a file of them.
pub(super) struct Lanes(State);

enum State {
    Alone {
        file: Box<TableFile>,
        packer: Option<Box<Packer>>,
    },
    Running(Running),
    /// After an error.
    Broken,
}

struct Running {
    /// A batch, and where to put it when it is packed.
    jobs: SyncSender<(RecordBatch, SyncSender<Answer>)>,
    /// Where the packed batches will come from, in order.
    order: SyncSender<Receiver<Answer>>,
    packers: Vec<JoinHandle<()>>,
    writer: JoinHandle<Result<TableFile, ArrowError>>,
}

impl Lanes {
    pub(super) fn new(file: TableFile) -> Self {
        Self(State::Alone { file: Box::new(file), packer: None })
    }

    /// Takes a batch. Waits when too many are under way.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0 = match std::mem::replace(&mut self.0, State::Broken) {
            State::Alone { file, .. }
                if file.bytes() > ALONE_BYTES_MAX && !file.has_dictionaries() =>
            {
                State::Running(Running::start(*file)?)
            }
            other => other,
        };
        match &mut self.0 {
            State::Alone { file, packer } => {
                let packer = match packer {
                    Some(packer) => packer,
                    none => none.insert(Box::new(Packer::new(file.schema())?)),
                };
                file.append(packer.pack(batch)?)
            }
            State::Running(running) => {
                if running.send(batch) {
                    return Ok(());
                }
                let State::Running(running) = std::mem::replace(&mut self.0, State::Broken) else {
                    return Err(broken());
                };
                running.end().and(Err(broken()))
            }
            State::Broken => Err(broken()),
        }
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<Spool, ArrowError> {
        match std::mem::replace(&mut self.0, State::Broken) {
            State::Alone { file, .. } => file.finish(),
            State::Running(running) => running.end()?.finish(),
            State::Broken => Err(broken()),
        }
    }
}

impl Drop for Lanes {
    /// The threads end first: the file that they write to must go.
    fn drop(&mut self) {
        if let State::Running(running) = std::mem::replace(&mut self.0, State::Broken) {
            let _ = running.end();
        }
    }
}

impl Running {
    fn start(file: TableFile) -> Result<Self, ArrowError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(PACKERS_MAX);
        let (jobs, todo) = sync_channel::<(RecordBatch, SyncSender<Answer>)>(1);
        let (order, ordered) = sync_channel::<Receiver<Answer>>(threads + 1);
        let todo = Arc::new(Mutex::new(todo));
        let mut packers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let mut packer = Packer::new(file.schema())?;
            let todo = todo.clone();
            let pack = move || {
                while let Some((batch, answer)) = next_job(&todo) {
                    let _ = answer.send(packer.pack(&batch));
                }
            };
            packers.push(Builder::new().name("tidemill-pack".to_owned()).spawn(pack)?);
        }
        let write = move || write_all(file, &ordered);
        let writer = Builder::new().name("tidemill-write".to_owned()).spawn(write)?;
        Ok(Self { jobs, order, packers, writer })
    }

    /// Hands a batch to the threads; `false` if they have ended.
    fn send(&self, batch: &RecordBatch) -> bool {
        let (answer, answered) = sync_channel(1);
        self.order.send(answered).is_ok() && self.jobs.send((batch.clone(), answer)).is_ok()
    }

    fn end(self) -> Result<TableFile, ArrowError> {
        drop((self.jobs, self.order));
        for packer in self.packers {
            let _ = packer.join();
        }
        self.writer.join().unwrap_or_else(|_| Err(broken()))
    }
}

fn next_job<T>(todo: &Mutex<Receiver<T>>) -> Option<T> {
    todo.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn write_all(
    mut file: TableFile,
    ordered: &Receiver<Receiver<Answer>>,
) -> Result<TableFile, ArrowError> {
    while let Ok(answer) = ordered.recv() {
        // A thread that broke off gives no answer.
        file.append(answer.recv().map_err(|_| broken())??)?;
    }
    Ok(file)
}

fn broken() -> ArrowError {
    ArrowError::IpcError("the writing of the table broke off".to_owned())
}
