//! What is kept of a command in the home: who it is before it begins, how it ended afterwards.
//!
//! A record is written before the command is given its go-ahead, so that no crash leaves an unknown
//! process. Once the tree has ended, the result takes its place, by a new file and a rename; it is
//! removed when the server has committed it.
//!
//! The first is not synced: what a process wrote outlasts its end, and the end of the machine leaves
//! no process to look for. The result is synced when no server is there to commit it: then nothing
//! else says that the command has ended, and it would run again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_model::AttemptId;

use super::cgroup::Group;
use super::protocol::CommandEnd;

/// A command. Its identity is boot, process id and start time together: process ids are used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    /// The attempt: `orders.17/load#1`.
    pub(crate) attempt: String,
    /// The same, for machines.
    pub(crate) id: AttemptId,
    /// Which boot of the machine.
    pub(crate) boot: String,
    /// The process that leads the session.
    pub(crate) pid: i32,
    /// Its start, in clock ticks since boot.
    pub(crate) started: u64,
    /// What every process of the tree carries in its environment.
    pub(crate) token: String,
    /// The control group of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Group>,
    /// How it ended. Then nothing of it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<CommandEnd>,
}

/// How the names of records end.
const ENDING: &str = "json";

/// The attempt in file names: of its record, of the folder of its files.
pub(crate) fn name_of(id: &AttemptId, task: &str) -> String {
    format!("{}.{task}.{}", id.run, id.attempt)
}

/// Where the record of an attempt is.
pub(crate) fn path_of(folder: &Path, id: &AttemptId, task: &str) -> PathBuf {
    folder.join(format!("{}.{ENDING}", name_of(id, task)))
}

impl ProcessRecord {
    /// Writes the record.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?)
    }

    /// Puts the record with the result in the place of the one without.
    pub(crate) fn replace(&self, path: &Path, sync: bool) -> std::io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        if sync {
            file.sync_data()?;
        }
        std::fs::rename(&beside, path)?;
        if sync { sync_folder(path) } else { Ok(()) }
    }

    /// Reads a record; `None` if it is not there, or was cut short: then its command never got its
    /// go-ahead.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Syncs a result that was written while a server was there to commit it.
pub(crate) fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_data()?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// All records of a folder.
pub(crate) fn all(folder: &Path) -> Vec<(PathBuf, Option<ProcessRecord>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let ends_with = |path: &PathBuf, ending| path.extension().is_some_and(|is| is == ending);
    paths
        .filter(|path| ends_with(path, ENDING))
        .map(|path| {
            let record = ProcessRecord::read(&path);
            (path, record)
        })
        .collect()
}

/// The id of this boot of the machine; empty where the system does not tell.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
