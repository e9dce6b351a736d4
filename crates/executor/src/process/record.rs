//! What is written before a command begins, so that a crash leaves no unknown process.
//!
//! It is not synced: what this process wrote outlasts its end, and the end of the machine leaves no
//! process to look for.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_model::RunId;

/// A running command. Its identity is boot, process id and start time together: process ids are
/// used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    /// The attempt: `orders.17/load#1`.
    pub(crate) attempt: String,
    /// Which boot of the machine.
    pub(crate) boot: String,
    /// The process that leads the session.
    pub(crate) pid: i32,
    /// Its start, in clock ticks since boot.
    pub(crate) started: u64,
    /// What every process of the tree carries in its environment.
    pub(crate) token: String,
}

/// A written record; the file goes with it.
#[derive(Debug)]
pub(crate) struct Recorded {
    path: PathBuf,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ProcessRecord {
    /// The run that the attempt is of.
    pub(crate) fn run(&self) -> Option<RunId> {
        self.attempt.split_once('/')?.0.parse().ok()
    }

    /// Writes the record to the folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> std::io::Result<Recorded> {
        let path = folder.join(format!("{name}.json"));
        let recorded = Recorded { path };
        std::fs::write(&recorded.path, serde_json::to_vec(self)?)?;
        Ok(recorded)
    }
}

/// The id of this boot of the machine; empty where the system does not tell.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
