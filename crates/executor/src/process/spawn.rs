//! From a command to a process that has been recorded and given its order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tidemill_model::AttemptId;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdout};

use super::exec_order::ExecOrder;
use super::record::{ProcessRecord, Recorded, boot_id};
use super::tree::{TOKEN_VARIABLE, Tree, started};
use super::waiting::{WaitingProcess, WaitingProcesses};
use crate::flag::StopFlag;

/// Variables of the server's own environment that commands are given.
/// Those that begin with `LC_` are too.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// The wait before a record is written again to a full disk.
const DISK_FULL_WAIT: Duration = Duration::from_millis(250);

/// A command, ready to be started.
pub(crate) struct Order<'a> {
    /// The attempt.
    pub(crate) id: &'a AttemptId,
    /// The task's name.
    pub(crate) task: &'a str,
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
    /// Its own variables, besides those that are passed on.
    pub(crate) env: Vec<(String, OsString)>,
    /// Where it runs.
    pub(crate) folder: &'a Path,
}

/// A started command.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
    pub(crate) tree: Tree,
    /// Removes the record when it is dropped, which is when the tree has ended.
    pub(crate) recorded: Recorded,
}

/// Starts commands: knows where records go.
#[derive(Debug)]
pub(crate) struct Spawner {
    records: PathBuf,
    boot: String,
    processes: WaitingProcesses,
}

impl Spawner {
    /// Commands that `program`, which is this one, becomes. `runtime` is where the ends of
    /// processes are noticed.
    pub(crate) fn new(
        program: PathBuf,
        records: PathBuf,
        runtime: tokio::runtime::Handle,
    ) -> std::io::Result<Self> {
        let processes = WaitingProcesses::start(program, runtime)?;
        Ok(Self { records, boot: boot_id(), processes })
    }

    /// Starts a command: first a process that waits, then its record, then its order.
    ///
    /// While the disk is too full for the record, it waits, until it should stop.
    pub(crate) async fn start(
        &self,
        order: Order<'_>,
        stop: &StopFlag,
    ) -> std::io::Result<Started> {
        let name = format!("{}.{}.{}", order.id.run, order.task, order.id.attempt);
        let token = token(&name);
        let own = order.env.into_iter().map(|(name, value)| (name.into(), value));
        let carried = (TOKEN_VARIABLE.into(), token.clone().into());
        let exec = ExecOrder {
            folder: order.folder.to_owned(),
            words: order.words,
            env: passed_on().chain(own).chain([carried]).collect(),
        };
        let too_long = || std::io::Error::from(std::io::ErrorKind::ArgumentListTooLong);
        let exec = exec.encode().ok_or_else(too_long)?;
        let WaitingProcess { child, pid, mut stdin, stdout, stderr } =
            self.processes.take().await?;
        let record = ProcessRecord {
            attempt: format!("{}/{}#{}", order.id.run, order.task, order.id.attempt),
            boot: self.boot.clone(),
            pid,
            started: started(pid).unwrap_or_default(),
            token: token.clone(),
        };
        let begun = record.started;
        let recorded = self.record(record, name, stop).await?;
        // If the process is gone already, its exit code tells; the pipe's error does not.
        let _ = stdin.write_all(&exec).await;
        Ok(Started { child, stdout, stderr, tree: Tree::new(pid, begun, token), recorded })
    }

    async fn record(
        &self,
        record: ProcessRecord,
        name: String,
        stop: &StopFlag,
    ) -> std::io::Result<Recorded> {
        loop {
            let (record, records, name) = (record.clone(), self.records.clone(), name.clone());
            let written = tokio::task::spawn_blocking(move || record.write(&records, &name));
            match written.await.map_err(std::io::Error::other)? {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    tokio::select! {
                        () = tokio::time::sleep(DISK_FULL_WAIT) => {}
                        () = stop.raised() => return Err(error),
                    }
                }
                written => return written,
            }
        }
    }
}

fn passed_on() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with("LC_"))
    })
}

/// A text that no other attempt's processes carry.
fn token(name: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update(std::process::id().to_le_bytes());
    hash.update(COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    // Address-space randomness keeps two servers with the same process id apart.
    hash.update((&raw const COUNTER as usize).to_le_bytes());
    hash.update(boot_id());
    hex::encode(&hash.finalize()[..16])
}
