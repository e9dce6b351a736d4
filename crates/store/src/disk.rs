//! The disk, as far as a log needs one: files that only grow, and the folders that name them.
//!
//! A trait stands between, so that tests can fill the disk or break a sync at the moment they
//! choose.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_model::Timestamp;

use crate::store::StoreError;

/// Makes log files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file for appending; with `create`, a new one that must not exist yet.
    fn append(&self, path: &Path, create: bool) -> io::Result<Box<dyn LogFile>>;
}

/// A file that grows at its end.
pub trait LogFile: Debug + Send {
    /// Writes everything at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written so far outlast a power cut.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// The disk of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn append(&self, path: &Path, create: bool) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().append(true).create_new(create).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }
}

impl LogFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// A log file that is open for writing, and how long its durable part is.
#[derive(Debug)]
pub(crate) struct Tail {
    file: Box<dyn LogFile>,
    path: PathBuf,
    len: u64,
}

impl Tail {
    /// Goes on with a file that is `len` bytes long.
    pub(crate) fn open(disk: &Arc<dyn Disk>, path: &Path, len: u64) -> Result<Self, StoreError> {
        let file = disk.append(path, false).map_err(|e| failed(path, &e))?;
        Ok(Self { file, path: path.to_owned(), len })
    }

    /// Starts a file with its header; on return it exists, whatever happens.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        path: &Path,
        header: &[u8],
    ) -> Result<Self, StoreError> {
        let file = disk.append(path, true).map_err(|e| failed(path, &e))?;
        let mut tail = Self { file, path: path.to_owned(), len: 0 };
        let written = tail.append(header).and_then(|()| sync_parent(path));
        if let Err(error) = written {
            // A file without a whole header would only be in the way of the next try.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(tail)
    }

    /// How many bytes are durable.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Writes and syncs. After [`StoreError::Full`] the file is as it was; after any other error
    /// nobody knows what is on disk.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(error) = self.file.append(bytes) {
            let full = is_full(&error);
            let cut = self.file.cut(self.len);
            return Err(match cut {
                Ok(()) if full => StoreError::Full { path: self.path.clone() },
                _ => broken(&self.path, &error),
            });
        }
        self.file.sync().map_err(|error| broken(&self.path, &error))?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// Whether an error means that there is no space left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error that is known in words only means that there is no space left.
pub(crate) fn says_full(text: &str) -> bool {
    ["No space left", "StorageFull", "Disk quota exceeded", "QuotaExceeded"]
        .iter()
        .any(|words| text.contains(words))
}

/// What says in words that there is no space left, so that [`says_full`] knows it.
pub(crate) const NO_SPACE: &str = "No space left on its disk";

/// The store's error for a folder of sled's that does not open, for a reason that is known in words.
pub(crate) fn unopened(path: &Path, why: impl Into<String>) -> StoreError {
    let why = why.into();
    if says_full(&why) { StoreError::Full { path: path.to_owned() } } else { damaged(path, why) }
}

/// The store's error for a failed call that left nothing half done.
pub(crate) fn failed(path: &Path, error: &io::Error) -> StoreError {
    if is_full(error) { StoreError::Full { path: path.to_owned() } } else { broken(path, error) }
}

/// The store's error for a failed call after which the disk's content is unknown.
pub(crate) fn broken(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Broken { path: path.to_owned(), error: error.to_string() }
}

/// The store's error for something that cannot be read.
pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what: what.into() }
}

/// Makes a folder, and those above it, for this user alone.
pub(crate) fn make_dir(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| failed(path, &e))
}

/// Makes the names in a folder outlast a power cut.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| broken(path, &e))
}

/// Makes the name of a file outlast a power cut.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// A new file for this user alone, written whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temp = temp_of(path);
    let write = || -> io::Result<()> {
        let mut file = create_private(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    publish(&temp, path, write())
}

/// Gives a finished temporary file its name, or removes it when writing it failed.
pub(crate) fn publish(temp: &Path, path: &Path, written: io::Result<()>) -> Result<(), StoreError> {
    written.and_then(|()| std::fs::rename(temp, path)).map_err(|e| {
        let _ = std::fs::remove_file(temp);
        failed(path, &e)
    })?;
    sync_parent(path)
}

/// The name that a file has while it is written.
pub(crate) fn temp_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Whether a file has the name that it has while it is written.
pub(crate) fn is_temp(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tmp")
}

/// Creates or empties a file that only this user may read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The wall clock. It only makes names and notes speak; nothing is decided by it.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_micros(since.map_or(0, |d| d.as_micros() as i64))
}

/// A free name of the form `NAME.WORD-MILLIS` beside `path`, for what is moved aside.
pub(crate) fn aside_name(path: &Path, word: &str) -> PathBuf {
    let mut millis = now().as_micros() / 1_000;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{word}-{millis}"));
        let aside = path.with_file_name(name);
        if !aside.exists() {
            return aside;
        }
        millis += 1;
    }
}

/// The files of a folder whose names end in `.EXTENSION` after a number, in the order of the
/// numbers.
pub(crate) fn numbered(dir: &Path, extension: &str) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| broken(dir, &e))? {
        let path = entry.map_err(|e| broken(dir, &e))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(extension).and_then(|s| s.strip_suffix('.')) else {
            continue;
        };
        if !stem.is_empty()
            && stem.bytes().all(|b| b.is_ascii_digit())
            && let Ok(number) = stem.parse()
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
