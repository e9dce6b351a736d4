//! The bytes of a table on their way to where they are kept.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidemill_connector::ConnectorError;
use tidemill_model::table::SLAB_TABLE_BYTES_MAX;

use super::{TableStore, table_path};

/// So many bytes are written before the disk is asked to take them.
const SYNC_EVERY_BYTES: usize = 8 << 20;

/// Bytes that stay in memory while they are few, hashed on the way.
pub(super) struct Spool {
    folder: PathBuf,
    memory: Vec<u8>,
    file: Option<(File, Temporary)>,
    syncer: Option<Syncer>,
    hash: Sha256,
    bytes: u64,
}

/// A file that goes when it is not kept.
struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Spool {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            memory: Vec::new(),
            file: None,
            syncer: None,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn go_to_disk(&mut self) -> std::io::Result<()> {
        let n = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{n}.tmp", std::process::id()));
        let mut file = File::create(&path)?;
        let temporary = Temporary { path, kept: false };
        file.write_all(&self.memory)?;
        self.memory = Vec::new();
        self.syncer = file.try_clone().ok().and_then(Syncer::start);
        self.file = Some((file, temporary));
        Ok(())
    }

    /// Ends the file and gives its hash, its length and, when it is small, its bytes.
    pub(super) fn finish(
        self,
        store: &TableStore,
    ) -> Result<(String, u64, Option<Bytes>), ConnectorError> {
        let hash = hex::encode(&self.hash.finalize()[..16]);
        let Some((file, mut temporary)) = self.file else {
            return Ok((hash, self.bytes, Some(self.memory.into())));
        };
        let folder = store.folder_for(&hash);
        let path = table_path(&store.folder, &hash);
        let publish = || -> std::io::Result<()> {
            if let Some(syncer) = self.syncer {
                syncer.end();
            }
            file.sync_all()?;
            std::fs::create_dir_all(&folder)?;
            std::fs::rename(&temporary.path, &path)?;
            File::open(&folder)?.sync_all()?;
            File::open(&store.folder)?.sync_all()
        };
        publish().map_err(|error| ConnectorError::io("write the table", &path, &error))?;
        temporary.kept = true;
        Ok((hash, self.bytes, None))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        match &mut self.file {
            Some((file, _)) => {
                file.write_all(bytes)?;
                if let Some(syncer) = &mut self.syncer {
                    syncer.written(bytes.len());
                }
            }
            None => {
                self.memory.extend_from_slice(bytes);
                if self.bytes > SLAB_TABLE_BYTES_MAX {
                    self.go_to_disk()?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Has the disk take what was written while more is made, so that little is left to wait for at
/// the end. An error shows again at that last sync, or it did no harm.
struct Syncer {
    ask: SyncSender<()>,
    thread: JoinHandle<()>,
    bytes: usize,
}

impl Syncer {
    fn start(file: File) -> Option<Self> {
        let (ask, asked) = sync_channel(1);
        let sync = move || {
            while asked.recv().is_ok() {
                let _ = file.sync_data();
            }
        };
        let thread = std::thread::Builder::new().name("tidemill-sync".to_owned()).spawn(sync);
        Some(Self { ask, thread: thread.ok()?, bytes: 0 })
    }

    fn written(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= SYNC_EVERY_BYTES {
            self.bytes = 0;
            // While it is at work already, the next sync takes these bytes too.
            let _ = self.ask.try_send(());
        }
    }

    fn end(self) {
        drop(self.ask);
        let _ = self.thread.join();
    }
}
