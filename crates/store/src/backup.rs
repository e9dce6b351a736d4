//! Backup under load, and restore.
//!
//! A backup is a folder laid out like a home: a picture of the records at P0, the journal from P0
//! to P1, the slab, the DAG texts, the large tables, the history, the profiles, and a manifest with
//! the SHA-256 of every file. Without its manifest a folder is no backup. Copying a live home is none either.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidemill_model::{Position, Timestamp};

use crate::archive::TablesNeeded;
use crate::disk;
use crate::home::{FORMAT, Home, Layout};
use crate::journal;
use crate::kv::{Kv, SledKv};
use crate::sealed::Sealed;
use crate::sled_store::{Inner, SledStore};
use crate::snapshot;
use crate::store::StoreError;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// The file of the profiles.
const PROFILES: &str = "profiles.kv.zst";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the home it came from.
    pub format: u32,
    /// When it was made.
    pub made_at: Timestamp,
    /// The records contain every event up to here.
    pub from: Position,
    /// The journal ends here: what was acknowledged before the backup began is inside.
    pub to: Position,
    /// The files.
    pub files: Vec<BackupFile>,
    /// Tables that runs refer to and that were not there.
    pub missing_tables: Vec<String>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its path inside the backup, and inside a home.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store or the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The target of the backup holds something.
    #[error("`{}` is not empty; choose a new folder for the backup", .0.display())]
    TargetNotEmpty(PathBuf),
    /// The home holds something.
    #[error(
        "`{}` already holds data; restore into an empty home, or use `--force` to move what it \
         holds aside",
        .0.display()
    )]
    HomeNotEmpty(PathBuf),
    /// A newer release made it.
    #[error("the backup has format {found}, and this release knows formats up to {FORMAT}")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It is no backup, or not a whole one. Nothing was changed.
    #[error("`{}` is not a whole backup: {what}; nothing was changed", path.display())]
    Bad {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Makes a backup of a store at work in the new or empty folder `dest`.
pub fn backup(
    store: &SledStore,
    home: &Layout,
    profiles: Option<&dyn Kv>,
    dest: &Path,
) -> Result<Manifest, BackupError> {
    backup_of(store, home, profiles, dest, FORMAT)
}

/// As [`backup`], of a home of an earlier format.
pub(crate) fn backup_of(
    store: &SledStore,
    home: &Layout,
    profiles: Option<&dyn Kv>,
    dest: &Path,
    format: u32,
) -> Result<Manifest, BackupError> {
    if dest.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::TargetNotEmpty(dest.to_owned()));
    }
    disk::make_dir(dest)?;
    let made = copy_all(store, home, profiles, dest, format);
    if made.is_err() {
        // Half a backup would be in the way of the next one. The folder itself may be the user's.
        for entry in dest.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        }
    }
    made
}

fn copy_all(
    store: &SledStore,
    home: &Layout,
    profiles: Option<&dyn Kv>,
    dest: &Path,
    format: u32,
) -> Result<Manifest, BackupError> {
    let target = Layout::new(dest);
    for folder in [target.snapshots(), target.journal(), target.slab(), target.versions()] {
        disk::make_dir(&folder)?;
    }
    let inner = store.inner();
    let records = inner.slot.get()?;
    let from = records.checkpoint()?;
    let picture = snapshot::path_of(&target.snapshots(), from);
    snapshot::write(&records, &picture, from)?;
    // What left the records while they were pictured is in the archive by now; and the journal is
    // copied after it, up to an event that nothing in the archive is beyond.
    let archived = match &inner.archive {
        Some(archive) => archive.copy_to(dest)?,
        None => Vec::new(),
    };
    let to = inner.journal.last();
    let segment = copy_journal(store, &target.journal(), from, to)?;
    let mut files = vec![picture, segment];
    files.extend(archived);
    // The slab is synced before the journal, so it holds every table up to P1 by now.
    for (slab, folder) in [(&inner.slab, target.slab()), (&inner.versions, target.versions())] {
        for (path, bytes) in slab.files()? {
            let copy = folder.join(path.file_name().unwrap_or_default());
            copy_part(&path, &copy, bytes)?;
            files.push(copy);
        }
    }
    let missing_tables = copy_tables(inner, home, &target, &mut files)?;
    if let Some(profiles) = profiles {
        let path = dest.join(PROFILES);
        write_pairs(profiles, &path)?;
        files.push(path);
    }
    copy_logs(home, &target, &mut files)?;
    let files = files.iter().map(|path| describe(dest, path)).collect::<Result<_, _>>()?;
    let made_at = disk::now();
    let manifest = Manifest { format, made_at, from, to, files, missing_tables };
    seal(&manifest, dest)?;
    Ok(manifest)
}

/// Copies the large tables that runs refer to; gives the hashes of those that are not there.
fn copy_tables(
    inner: &Inner,
    home: &Layout,
    target: &Layout,
    files: &mut Vec<PathBuf>,
) -> Result<Vec<String>, StoreError> {
    let mut seen = TablesNeeded::default();
    let mut missing = Vec::new();
    inner.visit_tables(&mut |hash| {
        if !seen.insert(hash) || inner.slab.contains(hash) {
            return Ok(());
        }
        let (path, copy) = (home.table(hash), target.table(hash));
        if path.is_file() {
            copy.parent().map_or(Ok(()), disk::make_dir)?;
            // It never changes, so the backup may share it.
            if std::fs::hard_link(&path, &copy).is_err() {
                copy_part(&path, &copy, u64::MAX)?;
            }
            files.push(copy);
        } else {
            missing.push(hash.to_owned());
        }
        Ok(())
    })?;
    missing.sort();
    Ok(missing)
}

/// Copies the logs of attempts as they are now. They are many and small, and nothing acknowledged
/// is in them alone, so they are not synced one by one.
fn copy_logs(home: &Layout, target: &Layout, files: &mut Vec<PathBuf>) -> Result<(), StoreError> {
    let mut folders = vec![home.logs()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir() else { continue };
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // An index is copied before its log, which may have grown since: `.idx` sorts first.
        found.sort_by_key(|path| path.with_extension(index_first(path)));
        for path in found {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let copy = target.logs().join(path.strip_prefix(home.logs()).unwrap_or(&path));
            copy.parent().map_or(Ok(()), disk::make_dir)?;
            match std::fs::copy(&path, &copy) {
                Ok(_) => files.push(copy),
                // A log may go while others are copied.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk::failed(&copy, &error)),
            }
        }
    }
    Ok(())
}

fn index_first(path: &Path) -> &'static str {
    if path.extension().is_some_and(|extension| extension == "idx") { "0" } else { "1" }
}

fn copy_journal(
    store: &SledStore,
    dir: &Path,
    from: Position,
    to: Position,
) -> Result<PathBuf, StoreError> {
    let mut target: Option<(PathBuf, BufWriter<File>)> = None;
    let begin = |first: Position| -> Result<(PathBuf, BufWriter<File>), StoreError> {
        let path = journal::path_of(dir, first);
        let start = || -> io::Result<BufWriter<File>> {
            let mut out = BufWriter::new(disk::create_private(&path)?);
            out.write_all(&journal::header(first))?;
            Ok(out)
        };
        let out = start().map_err(|e| disk::failed(&path, &e))?;
        Ok((path, out))
    };
    store.inner().journal.frames(from, to, |_, frame, payload| {
        let (path, out) = match &mut target {
            Some(target) => target,
            None => target.insert(begin(frame.first)?),
        };
        out.write_all(&journal::frame_header(payload))
            .and_then(|()| out.write_all(payload))
            .map_err(|e| disk::failed(path, &e))?;
        Ok(true)
    })?;
    // Without events the header alone says how the numbers go on.
    let (path, out) = match target {
        Some(target) => target,
        None => begin(to.next())?,
    };
    let file = out.into_inner().map_err(io::Error::from);
    file.and_then(|file| file.sync_all()).map_err(|e| disk::failed(&path, &e))?;
    Ok(path)
}

/// Copies the first `bytes` of a file, or all of it, and syncs the copy.
fn copy_part(from: &Path, to: &Path, bytes: u64) -> Result<(), StoreError> {
    let copy = || -> io::Result<()> {
        let mut source = File::open(from)?.take(bytes);
        let mut target = disk::create_private(to)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    copy().map_err(|e| disk::failed(to, &e))?;
    disk::sync_parent(to)
}

fn describe(root: &Path, path: &Path) -> Result<BackupFile, StoreError> {
    let (bytes, sha256) = digest(path).map_err(|e| disk::broken(path, &e))?;
    let path = path.strip_prefix(root).unwrap_or(path).to_owned();
    Ok(BackupFile { path, bytes, sha256 })
}

fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        bytes += read as u64;
        hash.update(&buffer[..read]);
    }
}

fn seal(manifest: &Manifest, dest: &Path) -> Result<(), StoreError> {
    let path = dest.join(MANIFEST);
    let sealed = Sealed::of(manifest);
    let text =
        serde_json::to_vec_pretty(&sealed).map_err(|e| disk::damaged(&path, e.to_string()))?;
    disk::write_whole(&path, &text)
}

/// Checks every file of a backup. Changes nothing.
pub fn verify(src: &Path) -> Result<Manifest, BackupError> {
    let path = src.join(MANIFEST);
    let bad = |what: String| BackupError::Bad { path: path.clone(), what };
    let text = std::fs::read(&path).map_err(|e| bad(e.to_string()))?;
    let found: serde_json::Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    if let Some(format) = found["manifest"]["format"].as_u64().filter(|f| *f > u64::from(FORMAT)) {
        return Err(BackupError::Newer { found: format as u32 });
    }
    let sealed: Sealed<Manifest> = serde_json::from_value(found).map_err(|e| bad(e.to_string()))?;
    let manifest = sealed.open().ok_or_else(|| bad("it does not match its checksum".to_owned()))?;
    for file in &manifest.files {
        let path = src.join(&file.path);
        let bad = |what: String| BackupError::Bad { path: path.clone(), what };
        if !file.path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(bad("it lies outside the backup".to_owned()));
        }
        let (bytes, sha256) = digest(&path).map_err(|e| bad(e.to_string()))?;
        if (bytes, &sha256) != (file.bytes, &file.sha256) {
            return Err(bad("it does not match its checksum".to_owned()));
        }
    }
    Ok(manifest)
}

/// Fills an empty home from a backup, after all of it was checked. With `force`, what the home
/// holds is moved into a folder `replaced-MILLIS` inside it. The store of the home must be closed;
/// the next open rebuilds the records.
pub fn restore(src: &Path, home: &Home, force: bool) -> Result<Manifest, BackupError> {
    let manifest = verify(src)?;
    let held = held_folders(home);
    if !held.is_empty() {
        if !force {
            return Err(BackupError::HomeNotEmpty(home.root().to_owned()));
        }
        let aside = disk::aside_name(&home.root().join("replaced"), "home");
        disk::make_dir(&aside)?;
        for folder in held {
            let name = aside.join(folder.file_name().unwrap_or_default());
            std::fs::rename(&folder, &name).map_err(|e| disk::failed(&folder, &e))?;
        }
        disk::sync_dir(home.root())?;
    }
    // The journal comes last: without it the home counts as unfinished.
    let (journal, others): (Vec<_>, Vec<_>) =
        manifest.files.iter().partition(|file| file.path.starts_with("journal"));
    for file in others.into_iter().chain(journal) {
        let from = src.join(&file.path);
        if file.path == Path::new(PROFILES) {
            read_pairs(&from, &SledKv::open(&home.profiles())?)?;
            continue;
        }
        let to = home.root().join(&file.path);
        to.parent().map_or(Ok(()), disk::make_dir)?;
        if file.path.starts_with("logs") {
            std::fs::copy(&from, &to).map_err(|e| disk::failed(&to, &e))?;
        } else {
            copy_part(&from, &to, u64::MAX)?;
        }
    }
    for folder in [home.journal(), home.slab(), home.versions(), home.tables(), home.snapshots()] {
        disk::make_dir(&folder)?;
    }
    disk::sync_dir(home.root())?;
    Ok(manifest)
}

/// The folders of a home that hold data.
fn held_folders(home: &Layout) -> Vec<PathBuf> {
    let folders = [
        home.journal(),
        home.slab(),
        home.versions(),
        home.tables(),
        home.snapshots(),
        home.history(),
        home.logs(),
        home.state(),
        home.profiles(),
    ];
    let holds = |folder: &PathBuf| folder.read_dir().is_ok_and(|mut dir| dir.next().is_some());
    folders.into_iter().filter(holds).collect()
}

/// Pairs of one read while a backup goes on.
const PAIRS: usize = 1_000;

/// Writes all pairs as `key len u32 le | value len u32 le | key | value`, compressed; the end is a
/// pair of two empty ones.
fn write_pairs(kv: &dyn Kv, path: &Path) -> Result<(), StoreError> {
    let io = |e: io::Error| disk::failed(path, &e);
    let file = disk::create_private(path).map_err(io)?;
    let mut out = zstd::stream::write::Encoder::new(BufWriter::new(file), 3).map_err(io)?;
    out.include_checksum(true).map_err(io)?;
    let pair = |out: &mut dyn Write, key: &[u8], value: &[u8]| -> io::Result<()> {
        out.write_all(&(key.len() as u32).to_le_bytes())?;
        out.write_all(&(value.len() as u32).to_le_bytes())?;
        out.write_all(key)?;
        out.write_all(value)
    };
    let mut after: Option<Vec<u8>> = None;
    loop {
        let pairs = kv.scan(b"", after.as_deref(), PAIRS)?;
        for (key, value) in &pairs {
            pair(&mut out, key, value).map_err(io)?;
        }
        match pairs.into_iter().last() {
            Some((key, _)) => after = Some(key),
            None => break,
        }
    }
    pair(&mut out, b"", b"").map_err(io)?;
    let file = out.finish().and_then(|out| out.into_inner().map_err(io::Error::from));
    file.and_then(|file| file.sync_all()).map_err(io)
}

fn read_pairs(path: &Path, kv: &dyn Kv) -> Result<(), StoreError> {
    let bad = |e: io::Error| disk::damaged(path, e.to_string());
    let file = File::open(path).map_err(|e| disk::broken(path, &e))?;
    let mut input = BufReader::new(zstd::stream::read::Decoder::new(file).map_err(bad)?);
    let mut pairs = Vec::new();
    loop {
        let mut word = [0; 4];
        input.read_exact(&mut word).map_err(bad)?;
        let key_len = u64::from(u32::from_le_bytes(word));
        input.read_exact(&mut word).map_err(bad)?;
        let value_len = u64::from(u32::from_le_bytes(word));
        let (mut key, mut value) = (Vec::new(), Vec::new());
        (&mut input).take(key_len).read_to_end(&mut key).map_err(bad)?;
        (&mut input).take(value_len).read_to_end(&mut value).map_err(bad)?;
        let end = key.is_empty();
        if !end {
            pairs.push((key, value));
        }
        if end || pairs.len() >= PAIRS {
            kv.apply(&std::mem::take(&mut pairs), &[])?;
        }
        if end {
            return kv.flush();
        }
    }
}
