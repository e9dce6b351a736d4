//! How the messages of a load get into the folder.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use tidemill_connector::ConnectorError;

use crate::files::publish::{Staged, remove_leftovers, short_hash, sync_folder, unique};
use crate::json::Json;

/// The list of the messages in the folder.
const INDEX: &str = "messages.jsonl";

/// The messages of a load, hidden in the folder until all are written. Dropped unpublished, they
/// are removed.
///
/// The hidden folder lies within the outbox, not beside it: the outbox may be a file system of its
/// own, and files are renamed only within one.
#[derive(Debug)]
pub(super) struct Staging {
    outbox: PathBuf,
    hidden: PathBuf,
    index: BufWriter<File>,
    key: String,
}

impl Staging {
    /// Starts a load; what an earlier attempt of the same load left behind is removed.
    pub(super) fn create(outbox: PathBuf, key: &str) -> Result<Self, ConnectorError> {
        fs::create_dir_all(&outbox).map_err(|e| ConnectorError::io("create", &outbox, &e))?;
        let prefix = format!(".load.{}.", short_hash(key));
        remove_leftovers(&outbox, &prefix)?;
        let hidden = outbox.join(format!("{prefix}{}.tmp", unique()));
        fs::create_dir(&hidden).map_err(|e| ConnectorError::io("create", &hidden, &e))?;
        let path = hidden.join(INDEX);
        let index = File::create(&path).map_err(|e| ConnectorError::io("create", &path, &e))?;
        Ok(Self { outbox, hidden, index: BufWriter::new(index), key: key.to_owned() })
    }

    /// The message of this name that the outbox holds already.
    pub(super) fn existing(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.outbox.join(name)).ok()
    }

    /// Adds a message and its line in the list.
    pub(super) fn add(
        &mut self,
        name: &str,
        message: &[u8],
        line: &str,
    ) -> Result<(), ConnectorError> {
        let path = self.hidden.join(name);
        fs::write(&path, message).map_err(|e| ConnectorError::io("write", &path, &e))?;
        writeln!(self.index, "{line}").map_err(|e| ConnectorError::io("write", &self.hidden, &e))
    }

    /// Puts the messages into the outbox, then the list that names them.
    ///
    /// Everything is made durable before the first name changes, the messages before the list. So a
    /// message is whole wherever it is seen, and the list names only what is there. A crash in
    /// between leaves some messages in place, which the repeated load overwrites with themselves.
    pub(super) fn publish(mut self, written: &HashSet<[u8; 16]>) -> Result<(), ConnectorError> {
        let failed = |path: &Path, e| ConnectorError::io("write", path, &e);
        self.index.flush().map_err(|e| failed(&self.hidden, e))?;
        let outbox = File::open(&self.outbox).map_err(|e| failed(&self.outbox, e))?;
        // Two loads into one outbox would each write a list without the other's messages. The lock
        // goes with the handle, whatever ends the process.
        outbox.lock().map_err(|e| failed(&self.outbox, e))?;
        sync_all(&outbox, &self.hidden).map_err(|e| failed(&self.hidden, e))?;
        let entries = fs::read_dir(&self.hidden).map_err(|e| failed(&self.hidden, e))?;
        for entry in entries {
            let name = entry.map_err(|e| failed(&self.hidden, e))?.file_name();
            if name != INDEX {
                let place = self.outbox.join(&name);
                fs::rename(self.hidden.join(&name), &place).map_err(|e| failed(&place, e))?;
            }
        }
        sync_folder(&self.outbox)?;
        self.publish_index(written)
    }

    /// The old list without the messages of this load, then those.
    fn publish_index(&self, written: &HashSet<[u8; 16]>) -> Result<(), ConnectorError> {
        let path = self.outbox.join(INDEX);
        let failed = |e| ConnectorError::io("write", &path, &e);
        let (staged, file) = Staged::create(&path, &self.key)?;
        let mut list = BufWriter::new(file);
        let replaced: HashSet<String> =
            written.iter().map(|digest| hex::encode(&digest[..8])).collect();
        if path.exists() {
            let old = File::open(&path).map_err(|e| ConnectorError::io("read", &path, &e))?;
            for line in BufReader::new(old).lines() {
                let line = line.map_err(|e| ConnectorError::io("read", &path, &e))?;
                if !names_one_of(&line, &replaced) {
                    writeln!(list, "{line}").map_err(failed)?;
                }
            }
        }
        let new = self.hidden.join(INDEX);
        let mut new = File::open(&new).map_err(|e| ConnectorError::io("read", &new, &e))?;
        std::io::copy(&mut new, &mut list).map_err(failed)?;
        let file = list.into_inner().map_err(|e| failed(e.into_error()))?;
        staged.publish(&file)?;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nobody is left to tell; what stays is removed by the next attempt.
        let _ = fs::remove_dir_all(&self.hidden);
    }
}

/// Whether a line of the list is about one of these messages, told by the digest that ends the
/// names of their files.
fn names_one_of(line: &str, digests: &HashSet<String>) -> bool {
    let Ok(json) = Json::parse(line) else { return false };
    let Some(Json::Text(file)) = json.get("file") else { return false };
    let stem = file.strip_suffix(".eml").unwrap_or(file);
    digests.contains(stem.rsplit('-').next().unwrap_or(stem))
}

/// Makes all files of a folder durable.
///
/// One `syncfs` for the file system rather than one `fsync` a file: each `fsync` waits for a commit
/// of the file system's own journal, which for 20,000 messages takes minutes on a disk. Elsewhere
/// than on Linux there is no such call.
#[cfg(target_os = "linux")]
fn sync_all(outbox: &File, _hidden: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(outbox)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_all(_outbox: &File, hidden: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(hidden)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(hidden)?.sync_all()
}
