//! [`Home`]: the one folder that holds everything, and the lock that keeps it to one process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, statfs};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::store::StoreError;

/// The format of the whole folder. A newer one is refused; an older one is brought to it by
/// [`upgrade`](mod@crate::upgrade).
pub const FORMAT: u32 = 2;

/// Why a home cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another process has it.
    #[error(
        "`{}` is in use by process {} (started {}); wait until it has ended, or end it with \
         `kill {}` if nobody needs it, or choose another folder with `--home`",
        path.display(), holder.pid, holder.started, holder.pid
    )]
    InUse {
        /// The home.
        path: PathBuf,
        /// The process that holds it.
        holder: Holder,
    },
    /// Another process has it, and does not say which.
    #[error("`{}` is in use by another process; choose another folder with `--home`", path.display())]
    InUseByUnknown {
        /// The home.
        path: PathBuf,
    },
    /// A newer release wrote it.
    #[error(
        "`{}` has format {found}, and this release knows formats up to {FORMAT}; nothing was \
         changed: use the newer release, or restore a backup into another folder",
        path.display()
    )]
    Newer {
        /// The home.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not a home at all.
    #[error("`{}` is not a Tidemill home: {what}; choose another folder with `--home`", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// It was moved or removed while this process worked in it.
    #[error(
        "the home `{}` was moved or removed while Tidemill worked in it, so nothing more can be \
         kept; put it back, or bring a backup there with `tidemill restore`, and start again",
        path.display()
    )]
    Gone {
        /// The home.
        path: PathBuf,
    },
    /// The folder cannot be made or read.
    #[error("cannot use `{}`: {error}; check its owner and its mode", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
}

/// The process that holds a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// When it took the home, as RFC 3339 in UTC.
    pub started: String,
}

/// Where a running server is reached. Kept in `server.json`, which only its user may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The address, for example `127.0.0.1:8080`.
    pub address: String,
    /// Its process id.
    pub pid: u32,
    /// The token that commands of this machine show.
    pub token: String,
}

/// A home that this process holds, until it is dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct Home {
    layout: Layout,
    /// The lock lives as long as this file is open; the kernel lets go of it after a kill.
    lock: File,
    format: AtomicU32,
}

/// The names inside a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The names inside `root`. Touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The journal's segments.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Small tables.
    pub fn slab(&self) -> PathBuf {
        self.root.join("slab")
    }

    /// The records behind the journal.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Large tables.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }

    /// The file of a large table, by its hash.
    pub fn table(&self, hash: &str) -> PathBuf {
        let folder = hash.get(..2).unwrap_or(hash);
        self.tables().join(folder).join(format!("{hash}.arrow"))
    }

    /// The texts of DAG versions.
    pub fn versions(&self) -> PathBuf {
        self.root.join("versions")
    }

    /// Logs of attempts.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The profile store.
    pub fn profiles(&self) -> PathBuf {
        self.root.join("profiles")
    }

    /// Results that are used again.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Records of running process groups.
    pub fn processes(&self) -> PathBuf {
        self.root.join("processes")
    }

    /// What SQL does not hold in memory.
    pub fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    /// Finished runs that have left the records.
    pub fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    /// The backup that an upgrade from a format took first.
    pub fn before_upgrade(&self, format: u32) -> PathBuf {
        self.root.join("upgrades").join(format!("format-{format}"))
    }

    /// Pictures of the records.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Where a running server is reached.
    pub fn server_json(&self) -> PathBuf {
        self.root.join("server.json")
    }

    /// The lock, with the process that holds it.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The format of the home.
    pub fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    /// Every folder, the records apart: they are made when they are opened.
    fn folders(&self) -> [PathBuf; 8] {
        [
            self.journal(),
            self.slab(),
            self.tables(),
            self.versions(),
            self.logs(),
            self.processes(),
            self.spill(),
            self.snapshots(),
        ]
    }

    /// The server that runs on this home, if its file is there and readable. The process may have
    /// ended since: the caller tries the address.
    pub fn server(&self) -> Option<ServerInfo> {
        let text = std::fs::read(self.server_json()).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The process that holds the home, if one does.
    pub fn holder(&self) -> Option<Holder> {
        let file = File::open(self.lock()).ok()?;
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        read_holder(&file)
    }
}

fn read_holder(mut file: &File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether a process runs a program still: one that has ended and waits to be collected does not.
fn lives(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

impl std::ops::Deref for Home {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl Home {
    /// Takes a home for this process, and makes it if it is new.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, HomeError> {
        let path = path.as_ref();
        let root = std::path::absolute(path).map_err(|e| io(path, &e))?;
        disk::make_dir(&root).map_err(|e| HomeError::Io { path: root.clone(), error: text(e) })?;
        let layout = Layout::new(root);
        // What a newer release wrote is not touched at all.
        found_format(&layout)?;
        let lock = lock(&layout)?;
        let format = match found_format(&layout)? {
            Some(format) => format.into(),
            None => begin(&layout)?.into(),
        };
        for folder in layout.folders() {
            disk::make_dir(&folder)
                .map_err(|e| HomeError::Io { path: folder.clone(), error: text(e) })?;
        }
        disk::sync_dir(layout.root())
            .map_err(|e| HomeError::Io { path: layout.root.clone(), error: text(e) })?;
        Ok(Self { layout, lock, format })
    }

    /// An error once the folder was moved or removed, so that nothing more is kept in it.
    pub fn check_place(&self) -> Result<(), HomeError> {
        let held = self.lock.metadata().map_err(|e| io(&self.layout.lock(), &e))?;
        match std::fs::metadata(self.layout.lock()) {
            Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Ok(()),
            // A folder that cannot be asked just now may be there all the same.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(HomeError::Gone { path: self.layout.root.clone() }),
        }
    }

    /// The format that it has now: that of an earlier release until it is upgraded.
    pub fn format_now(&self) -> u32 {
        self.format.load(Ordering::Acquire)
    }

    /// Marks it as one of this release's format.
    pub(crate) fn mark_upgraded(&self) -> Result<(), StoreError> {
        disk::write_whole(&self.layout.format(), format!("{FORMAT}\n").as_bytes())?;
        self.format.store(FORMAT, Ordering::Release);
        Ok(())
    }

    /// The names inside, for those who only need these.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Says where this process serves.
    pub fn write_server(&self, server: &ServerInfo) -> Result<(), HomeError> {
        let bytes = serde_json::to_vec_pretty(server)
            .map_err(|e| HomeError::Io { path: self.server_json(), error: e.to_string() })?;
        disk::write_whole(&self.server_json(), &bytes)
            .map_err(|e| HomeError::Io { path: self.server_json(), error: text(e) })
    }

    /// Says that this process does not serve any more.
    pub fn remove_server(&self) {
        let _ = std::fs::remove_file(self.server_json());
    }

    /// What the operator should know about the disk below, in words.
    pub fn warnings(&self) -> Vec<String> {
        let Ok(stat) = statfs(self.root()) else { return Vec::new() };
        let name = match u64::try_from(stat.f_type).unwrap_or_default() & 0xffff_ffff {
            0x9123_683e => "btrfs",
            0x6969 => "NFS",
            0xff53_4d42 | 0xfe53_4d42 | 0x517b => "a Windows share",
            0x6573_5546 => "FUSE",
            _ => return Vec::new(),
        };
        vec![format!(
            "`{}` lies on {name}, where syncs and locks keep less than they promise; a home \
             belongs on a local ext4 or XFS disk",
            self.root().display()
        )]
    }
}

/// One who only asks for the holder, or was just started by it, has the lock for an instant: so long
/// is waited for a holder that lives.
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// A process that was killed lets go of the lock when its memory is freed, which takes longer on a
/// machine under load.
const LOCK_WAIT_DEAD: Duration = Duration::from_secs(10);

/// The pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

fn io(path: &Path, error: &std::io::Error) -> HomeError {
    HomeError::Io { path: path.to_owned(), error: error.to_string() }
}

fn text(error: StoreError) -> String {
    match error {
        StoreError::Broken { error, .. } => error,
        other => other.to_string(),
    }
}

fn lock(layout: &Layout) -> Result<File, HomeError> {
    let path = layout.lock();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| io(&path, &e))?;
    let begun = Instant::now();
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(io(&path, &error.into()));
        }
        let holder = read_holder(&file);
        let dead = holder.as_ref().is_some_and(|holder| !lives(holder.pid));
        if begun.elapsed() < if dead { LOCK_WAIT_DEAD } else { LOCK_WAIT } {
            std::thread::sleep(LOCK_PAUSE);
            continue;
        }
        let path = layout.root.clone();
        return Err(match holder {
            Some(holder) => HomeError::InUse { path, holder },
            None => HomeError::InUseByUnknown { path },
        });
    }
    let holder = Holder { pid: std::process::id(), started: disk::now().to_seconds_text() };
    let write = |file: &mut File| -> std::io::Result<()> {
        let text = serde_json::to_string(&holder).map_err(std::io::Error::other)?;
        // Written over, not anew: a full disk has no room for a new block.
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    };
    write(&mut file).map_err(|e| io(&path, &e))?;
    Ok(file)
}

/// The format of a home; `None` for one that is new.
fn found_format(layout: &Layout) -> Result<Option<u32>, HomeError> {
    let path = layout.format();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(io(&path, &error)),
    };
    let foreign = || HomeError::Foreign {
        path: layout.root.clone(),
        what: "its file `FORMAT` does not hold a number".to_owned(),
    };
    let found: u32 = text.trim().parse().map_err(|_| foreign())?;
    if found > FORMAT {
        return Err(HomeError::Newer { path: layout.root.clone(), found });
    }
    if found == 0 { Err(foreign()) } else { Ok(Some(found)) }
}

/// Marks a new home. A folder that holds something else stays as it is.
fn begin(layout: &Layout) -> Result<u32, HomeError> {
    let own = |name: &std::ffi::OsStr| name == "lock" || disk::is_temp(Path::new(name));
    let entries = std::fs::read_dir(layout.root()).map_err(|e| io(layout.root(), &e))?;
    let other = entries.flatten().map(|entry| entry.file_name()).find(|name| !own(name));
    if let Some(name) = other {
        let _ = std::fs::remove_file(layout.lock());
        return Err(HomeError::Foreign {
            path: layout.root.clone(),
            what: format!("it holds `{}` and no file `FORMAT`", name.display()),
        });
    }
    disk::write_whole(&layout.format(), format!("{FORMAT}\n").as_bytes())
        .map_err(|e| HomeError::Io { path: layout.format(), error: text(e) })?;
    Ok(FORMAT)
}
