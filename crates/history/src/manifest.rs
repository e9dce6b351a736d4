//! The manifest: which segments there are. It is replaced as a whole, and what it does not list is
//! not there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidemill_model::{DagId, RunId, Timestamp};
use tidemill_store::StoreError;
use tidemill_store::sealed::Sealed;

use crate::files::{Files, damaged, failed, write_synced};
use crate::keys::{KEYS, Keys};

/// The format of what lies in the folder.
const FORMAT: u32 = 1;

/// The file's name.
const NAME: &str = "manifest.json";

/// The folder of the segments.
const SEGMENTS: &str = "segments";

/// Every segment, and what was dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// The number of the next segment.
    pub(crate) next: u64,
    /// Oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    /// The highest number of each DAG that retention has dropped: what is missing below is meant.
    #[serde(default)]
    pub(crate) dropped: BTreeMap<DagId, u64>,
}

/// What is known of a segment without opening it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentInfo {
    /// The name of its folder.
    pub name: String,
    /// Runs in it.
    pub runs: u64,
    /// Tasks of those.
    pub tasks: u64,
    /// The first run, in the order of DAG and creation.
    pub first: RunId,
    /// The last one.
    pub last: RunId,
    /// When the oldest and the newest of its runs were created.
    pub created: (Timestamp, Timestamp),
    /// Runs by state, in the order of [`RunState::ALL`](tidemill_model::RunState::ALL).
    pub states: [u64; 5],
    /// Its files.
    pub files: Vec<FileInfo>,
    /// Rows of runs that went again, and are in a newer segment.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hidden: BTreeSet<u32>,
}

impl SegmentInfo {
    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A file of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Its name in the segment's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { format: FORMAT, next: 1, segments: Vec::new(), dropped: BTreeMap::new() }
    }
}

/// The file of the manifest.
pub(crate) fn path_in(root: &Path) -> PathBuf {
    root.join(NAME)
}

/// The folder of all segments.
pub(crate) fn segments_in(root: &Path) -> PathBuf {
    root.join(SEGMENTS)
}

/// The folder of a segment.
pub(crate) fn segment_in(root: &Path, name: &str) -> PathBuf {
    segments_in(root).join(name)
}

impl Manifest {
    /// The manifest of a folder; `None` where there is none yet.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, StoreError> {
        let path = path_in(root);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(&path, error)),
        };
        let sealed: Sealed<Self> =
            serde_json::from_slice(&text).map_err(|error| damaged(&path, error))?;
        let manifest = sealed.open();
        manifest.map(Some).ok_or_else(|| damaged(&path, "it does not match its checksum"))
    }

    /// Puts it in its place, the whole of it or nothing.
    pub(crate) fn write(&self, files: &dyn Files, root: &Path) -> Result<(), StoreError> {
        let path = path_in(root);
        let temp = path.with_extension("json.tmp");
        let text = serde_json::to_vec(&Sealed::of(self)).map_err(|error| damaged(&path, error))?;
        write_synced(files, &temp, &text)?;
        files.rename(&temp, &path).map_err(|error| failed(&path, &error))?;
        files.sync_dir(root).map_err(|error| failed(root, &error))
    }

    /// A manifest made again from the segments that lie in the folder. Those that others were made
    /// of are passed over.
    pub(crate) fn from_segments(root: &Path) -> Self {
        let mut found: Vec<(SegmentInfo, Vec<String>)> = Vec::new();
        for entry in std::fs::read_dir(segments_in(root)).into_iter().flatten().flatten() {
            found.extend(describe(&entry.path()).ok().flatten());
        }
        let replaced: BTreeSet<String> =
            found.iter().flat_map(|(_, replaces)| replaces.iter().cloned()).collect();
        let mut segments: Vec<SegmentInfo> = found.into_iter().map(|(info, _)| info).collect();
        segments.retain(|info| !replaced.contains(&info.name));
        segments.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
        let numbers = segments.iter().filter_map(|info| info.name.parse::<u64>().ok());
        let next = numbers.max().unwrap_or(0) + 1;
        Self { next, segments, ..Self::default() }
    }

    /// The segment of this name.
    pub(crate) fn segment(&mut self, name: &str) -> Option<&mut SegmentInfo> {
        self.segments.iter_mut().find(|info| info.name == name)
    }
}

/// A segment as its own files tell it; `None` where they tell of none.
fn describe(dir: &Path) -> Result<Option<(SegmentInfo, Vec<String>)>, StoreError> {
    let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if name.parse::<u64>().is_err() {
        return Ok(None);
    }
    let keys = Keys::read(&dir.join(KEYS))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(file_info(&entry.path(), name)?);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let replaces = keys.replaces.clone();
    Ok(keys.info(name, files).map(|info| (info, replaces)))
}

/// A file with its size and its SHA-256.
pub(crate) fn file_info(path: &Path, name: String) -> Result<FileInfo, StoreError> {
    let (bytes, sha256) = digest(path).map_err(|error| damaged(path, error))?;
    Ok(FileInfo { name, bytes, sha256 })
}

/// The size and the SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 128 << 10]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}
