//! The disk, as far as the history needs one: whole files, and the folders that name them.
//!
//! A trait stands between, so that tests can end the process between any two calls.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use tidemill_store::StoreError;

/// Makes, renames and removes files.
pub trait Files: Debug + Send + Sync + 'static {
    /// A new folder, for this user alone, with those above it.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// A new or emptied file, for this user alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>>;
    /// Gives a file or folder another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder outlast a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with what is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// A file that is written from its beginning to its end.
pub trait OutFile: Write + Send {
    /// Makes everything written so far outlast a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disk of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutFile>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }
}

impl OutFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// The store's error for a call that failed and left nothing half done.
pub(crate) fn failed(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full { path: path.to_owned() }
        }
        _ => StoreError::Broken { path: path.to_owned(), error: error.to_string() },
    }
}

/// The store's error for something that cannot be read.
#[expect(clippy::needless_pass_by_value, reason = "errors are handed on here")]
pub(crate) fn damaged(path: &Path, what: impl ToString) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what: what.to_string() }
}

/// Writes a whole file and syncs it; its folder is the caller's.
pub(crate) fn write_synced(files: &dyn Files, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || {
        let mut file = files.create(path)?;
        file.write_all(bytes)?;
        file.sync()
    };
    write().map_err(|error| failed(path, &error))
}
