//! The folder of DAG files: what is in it, and what has changed.
//!
//! A file is taken when its size and time of change stand still between two looks, so that a
//! half-written one is not loaded. A bad file shows its error and stops nothing else: the version
//! before it stays deployed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tidemill_connector::parallel::{self, Share};
use tidemill_model::{Dag, DagId};
use tidemill_spec::codes::{self, Code};
use tidemill_spec::{
    Catalog, Diagnostic, FOLDER_DEFAULTS, Loaded, Neighbours, Nobody, READER_STACK_BYTES, Severity,
    SourceText, load_dag_with, unread,
};
use tidemill_store::DagSource;

use crate::neighbours::Siblings;

/// How many files are read: on all processors, and on stacks that are large enough, or each reading
/// would set up one of its own.
pub(crate) const READING: Share =
    Share { threads_max: usize::MAX, block: 1, stack_bytes: Some(READER_STACK_BYTES) };

/// DAG files in a folder at most; further ones are left out, with a warning.
const FILES_MAX: usize = 100_000;

/// Folders in which nothing is looked for: what DAGs read and write, and what is built.
const NO_FOLDERS_OF_DAGS: [&str; 3] = ["out", "data", "target"];
/// Files beside DAGs that are no DAGs.
const NO_DAGS: [&str; 4] = ["calendars", "connections", "pools", "secrets"];

/// What a file looked like, and the defaults of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    own: Look,
    defaults: Option<Look>,
}

/// When a file was changed last, and its size.
type Look = (SystemTime, u64);

/// A DAG file and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct DagFile {
    /// Its text, as last loaded.
    pub(crate) source: DagSource,
    /// The DAG, when it loads.
    pub(crate) dag: Option<Arc<Dag>>,
    /// Its name, when it loads or once loaded.
    pub(crate) id: Option<DagId>,
    /// What is wrong with it, and warnings.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What stopped it besides its own text: its name is taken.
    pub(crate) trouble: Option<String>,
    stamp: Stamp,
}

impl DagFile {
    /// What is wrong with it, in one line.
    fn complaint(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return trouble.clone();
        }
        let blocking = || self.diagnostics.iter().filter(|d| d.blocks_run);
        let more = match blocking().count() {
            0 | 1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        let path = self.source.path.display();
        match blocking().next() {
            Some(Diagnostic { code, message, file, line, column, .. }) => {
                format!("`{path}` cannot run: {message} [{code}] at {file}:{line}:{column}{more}")
            }
            None => format!("`{path}` cannot run"),
        }
    }

    /// Whether it can run.
    pub(crate) fn runs(&self) -> bool {
        self.dag.is_some() && !self.diagnostics.iter().any(|d| d.blocks_run)
    }
}

/// What changed between two looks.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// To deploy.
    pub(crate) deploy: Vec<(Arc<Dag>, DagSource)>,
    /// DAGs whose file is gone.
    pub(crate) retire: Vec<DagId>,
    /// What is wrong with files that cannot be loaded, a line for each.
    pub(crate) wrong: Vec<String>,
}

/// A folder of DAG files.
pub(crate) struct DagFolder {
    root: PathBuf,
    files: BTreeMap<PathBuf, DagFile>,
    /// The file that has a name, for each name that is taken.
    names: HashMap<DagId, PathBuf>,
    pending: BTreeMap<PathBuf, Stamp>,
}

impl DagFolder {
    /// Nothing loaded yet.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, files: BTreeMap::new(), names: HashMap::new(), pending: BTreeMap::new() }
    }

    /// The files, by path.
    pub(crate) fn files(&self) -> &BTreeMap<PathBuf, DagFile> {
        &self.files
    }

    /// The file of the DAG of this name.
    pub(crate) fn file_of(&self, id: &DagId) -> Option<(&Path, &DagFile)> {
        let path = self.names.get(id)?;
        Some((path, self.files.get(path)?))
    }

    /// Why the DAG of this name cannot run, in one line, if that is due to its file.
    pub(crate) fn complaint_about(&self, id: &DagId) -> Option<String> {
        // A file that never loaded has no name but its own.
        let of_name = self.file_of(id).map(|(_, file)| file);
        let file = of_name.or_else(|| {
            self.files.iter().find(|(path, _)| is_file_of(path, id)).map(|(_, file)| file)
        })?;
        (!file.runs()).then(|| file.complaint())
    }

    /// Looks for the first time: every file is loaded as it is. `holders` are the files that DAGs were
    /// served from before, and those keep their names: a new file does not take the place of a DAG by
    /// a restart, and a wrong text does not end one.
    pub(crate) fn load_all(
        &mut self,
        catalog: &Catalog,
        holders: &BTreeMap<PathBuf, DagId>,
    ) -> std::io::Result<Changes> {
        let mut changes = Changes::default();
        let (mut all, rest): (Vec<_>, Vec<_>) =
            find(&self.root)?.into_iter().partition(|(path, _)| holders.contains_key(path));
        all.extend(rest);
        for (path, mut file) in read_all(&all, catalog) {
            if file.dag.is_none() {
                file.id = holders.get(&path).filter(|id| !self.names.contains_key(*id)).cloned();
            }
            self.take(path, file, &mut changes);
        }
        Ok(changes)
    }

    /// DAGs whose file cannot run.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = &DagId> {
        self.files.values().filter(|file| !file.runs()).filter_map(|file| file.id.as_ref())
    }

    /// Looks again. A changed file is loaded when it has stood still since the look before, or is
    /// known to be whole; those that are have absolute paths.
    pub(crate) fn look(
        &mut self,
        catalog: &Catalog,
        whole: &BTreeSet<PathBuf>,
    ) -> std::io::Result<Changes> {
        let mut changes = Changes::default();
        // Where known files have changed, and are known to be whole, no other need be looked at.
        if let Some(spots) = self.spots(whole) {
            let is_new = |(path, stamp): &(PathBuf, Stamp)| self.files[path].stamp != *stamp;
            let spots: Vec<(PathBuf, Stamp)> = spots.into_iter().filter(is_new).collect();
            let read = read_all(&spots, catalog);
            // A name that another file has may be free by now.
            let is_free = |(path, file): &(PathBuf, DagFile)| {
                let holder = file.id.as_ref().and_then(|id| self.names.get(id));
                holder.is_none_or(|holder| holder == path)
            };
            if read.iter().all(is_free) {
                for (path, file) in read {
                    self.take(path, file, &mut changes);
                }
                return Ok(changes);
            }
        }
        let found = find(&self.root)?;
        let gone: Vec<PathBuf> =
            self.files.keys().filter(|path| !found.contains_key(*path)).cloned().collect();
        for path in gone {
            changes.retire.extend(self.remove(&path).and_then(|file| file.id));
        }
        let mut pending = BTreeMap::new();
        for (path, stamp) in found {
            if self.files.get(&path).is_some_and(|file| file.stamp == stamp) {
                continue;
            }
            if self.pending.get(&path) == Some(&stamp) || is_whole(&path, whole) {
                let file = read(&path, stamp, catalog);
                self.take(path, file, &mut changes);
            } else {
                pending.insert(path, stamp);
            }
        }
        self.pending = pending;
        // A file that has moved is gone from one place and new in another: its DAG stays.
        changes.retire.retain(|id| !self.names.contains_key(id));
        Ok(changes)
    }

    /// Where known files with these absolute paths are, and how they look now; nothing if there are
    /// none, or if any other path is among them: it may mean something for all.
    fn spots(&self, whole: &BTreeSet<PathBuf>) -> Option<Vec<(PathBuf, Stamp)>> {
        let root = std::path::absolute(&self.root).ok().filter(|_| !whole.is_empty())?;
        let spot = |path: &PathBuf| {
            let path = self.root.join(path.strip_prefix(&root).ok()?);
            let known = self.files.get(&path)?;
            let meta = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            Some((path, Stamp { own: look_of(&meta), defaults: known.stamp.defaults }))
        };
        whole.iter().map(spot).collect()
    }

    /// Forgets a file, and lets its name go.
    fn remove(&mut self, path: &Path) -> Option<DagFile> {
        let file = self.files.remove(path)?;
        if let Some(id) = &file.id {
            self.names.remove(id);
        }
        Some(file)
    }

    /// Takes in a file that was read.
    fn take(&mut self, path: PathBuf, mut file: DagFile, changes: &mut Changes) {
        let before = self.remove(&path);
        if let Some(dag) = &file.dag
            && let Some(other) = self.names.get(&dag.id)
        {
            file.trouble = Some(format!(
                "`{}` is already the name of the DAG in `{}`; give one of them another name",
                dag.id,
                other.display()
            ));
            file.dag = None;
            file.id = None;
        }
        let known = before.as_ref().and_then(|file| file.id.clone());
        match &file.dag {
            Some(dag) if file.runs() => {
                changes.deploy.push((Arc::clone(dag), file.source.clone()));
                if let Some(old) = known.filter(|old| *old != dag.id) {
                    changes.retire.push(old);
                }
            }
            // The version before stays deployed while the new text is wrong.
            _ => {
                file.id = file.id.or(known);
                changes.wrong.push(file.complaint());
            }
        }
        if let Some(id) = &file.id {
            self.names.insert(id.clone(), path.clone());
        }
        self.files.insert(path, file);
    }
}

/// Whether a file, or the defaults beside it, are among the paths.
fn is_whole(path: &Path, whole: &BTreeSet<PathBuf>) -> bool {
    let Ok(path) = std::path::absolute(path) else { return false };
    !whole.is_empty()
        && (whole.contains(&path) || whole.contains(&path.with_file_name(FOLDER_DEFAULTS)))
}

/// Reads files; they come in the order in which they were asked for.
fn read_all(files: &[(PathBuf, Stamp)], catalog: &Catalog) -> Vec<(PathBuf, DagFile)> {
    let one =
        |(): &mut (), (path, stamp): &(PathBuf, Stamp)| (path.clone(), read(path, *stamp, catalog));
    parallel::map(READING, files, || (), one)
}

fn read(path: &Path, stamp: Stamp, catalog: &Catalog) -> DagFile {
    let mut file = DagFile {
        source: DagSource { path: path.to_owned(), text: String::new(), defaults: None },
        dag: None,
        id: None,
        diagnostics: Vec::new(),
        trouble: None,
        stamp,
    };
    match read_dag(path, catalog) {
        Err(found) => file.diagnostics.push(*found),
        Ok((source, loaded)) => {
            file.id = loaded.dag.as_ref().map(|dag| dag.id.clone());
            file.dag = loaded.dag;
            file.diagnostics = loaded.diagnostics;
            file.source = source;
        }
    }
    file
}

/// Reads a DAG file and the defaults of its folder, if there are any.
pub(crate) fn read_dag(
    path: &Path,
    catalog: &Catalog,
) -> Result<(DagSource, Loaded), Box<Diagnostic>> {
    let source = read_dag_text(path)?;
    let mut loaded = load_among(&source, catalog, &Siblings::new(path, catalog));
    let stray = path.with_file_name(FOLDER_DEFAULTS).with_extension("yml");
    if stray.exists() {
        loaded.diagnostics.extend(unread(&stray));
    }
    Ok((source, loaded))
}

/// The text of a DAG file, and of the defaults of its folder.
pub(crate) fn read_dag_text(path: &Path) -> Result<DagSource, Box<Diagnostic>> {
    let text = read_source(path)?;
    let defaults = path.with_file_name(FOLDER_DEFAULTS);
    let defaults = if defaults.exists() { Some(read_source(&defaults)?) } else { None };
    Ok(DagSource { path: path.to_owned(), text, defaults })
}

/// Loads what was read, whatever is beside it now.
pub(crate) fn load(source: &DagSource, catalog: &Catalog) -> Loaded {
    load_among(source, catalog, &Nobody)
}

fn load_among(source: &DagSource, catalog: &Catalog, others: &dyn Neighbours) -> Loaded {
    let path = source.path.with_file_name(FOLDER_DEFAULTS);
    let defaults = source.defaults.as_ref().map(|text| SourceText { path: &path, text });
    load_dag_with(SourceText { path: &source.path, text: &source.text }, defaults, catalog, others)
}

/// The longest DAG file, in bytes; the language's own limit is checked by its reader.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The text of a file, or why there is none.
pub(crate) fn read_source(path: &Path) -> Result<String, Box<Diagnostic>> {
    let name = path.display();
    let whole = |code: &Code, message: String, help: &str| {
        Box::new(Diagnostic {
            code: code.id,
            severity: Severity::Error,
            blocks_run: true,
            message,
            file: name.to_string(),
            line: 1,
            column: 1,
            length: 1,
            source_line: String::new(),
            source_offset: 0,
            label: None,
            help: Some(help.to_owned()),
        })
    };
    let unreadable = |error: std::io::Error| {
        let help = "look whether the file is there, and whether you may read it";
        whole(&codes::UNUSABLE, format!("cannot read `{name}`: {error}"), help)
    };
    // Opening a pipe would wait for someone who writes to it.
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        let message = format!("`{name}` is a folder, not a file");
        return Err(whole(&codes::UNUSABLE, message, "name a file in it"));
    }
    // A pipe or a device may never answer, or never end.
    if !meta.is_file() {
        let message = format!("`{name}` is a pipe or a device, not a file");
        return Err(whole(&codes::UNUSABLE, message, "write the DAG to a file"));
    }
    let too_large = |bytes: u64| {
        let message = format!("`{name}` has {bytes} bytes; a file has at most 8 MiB");
        whole(&codes::TOO_LARGE, message, "move data out of the file, or split the DAG")
    };
    if meta.len() > FILE_BYTES_MAX {
        return Err(too_large(meta.len()));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large(bytes.len() as u64));
    }
    tidemill_spec::decode(path, &bytes).map(ToOwned::to_owned)
}

/// The same, with the reason in one line.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    read_source(path).map_err(|found| format!("{} [{}]", found.message, found.code))
}

/// Every DAG file below a folder. Names that start with `.` or `_` are left out, and so are
/// folders named `out`, `data` and `target`, which hold no DAGs.
pub(crate) fn find_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    Ok(find(root)?.into_keys().collect())
}

fn look_of(meta: &std::fs::Metadata) -> Look {
    (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len())
}

fn find(root: &Path) -> std::io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // A folder below the root may vanish between two steps.
            Err(_) if folder != root => continue,
            Err(error) => return Err(error),
        };
        let defaults = std::fs::metadata(folder.join(FOLDER_DEFAULTS)).ok().map(|m| look_of(&m));
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| !n.starts_with(['.', '_'])) else { continue };
            let Ok(meta) = std::fs::metadata(entry.path()) else { continue };
            if meta.is_dir() {
                if !NO_FOLDERS_OF_DAGS.contains(&name) {
                    folders.push(entry.path());
                }
            } else if meta.is_file() && is_dag_file(name) && found.len() < FILES_MAX {
                found.insert(entry.path(), Stamp { own: look_of(&meta), defaults });
            }
        }
    }
    Ok(found)
}

/// Whether a file stands beside DAGs and is none.
pub(crate) fn is_companion(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        name == FOLDER_DEFAULTS || (stem_of(name).is_some() && !is_dag_file(name))
    })
}

/// The DAG files below a folder and the files beside them, in order. Secrets are left alone.
pub(crate) fn find_yaml(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                // A link may lead back to where it is.
                if !path.is_symlink() && !NO_FOLDERS_OF_DAGS.contains(&&*name) {
                    folders.push(path);
                }
            } else if stem_of(&name).is_some_and(|stem| stem != "secrets") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The name of a YAML file without its extension.
fn stem_of(name: &str) -> Option<&str> {
    name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"))
}

/// Whether a file has the name of a DAG; a DAG may have another name than its file.
pub(crate) fn is_file_of(path: &Path, id: &DagId) -> bool {
    path.file_stem().is_some_and(|stem| stem == id.as_str())
}

/// Whether a file of this name is that of a DAG.
pub(crate) fn is_dag_file(name: &str) -> bool {
    let is_test = |stem: &str| stem.strip_suffix(".test").is_some();
    stem_of(name).is_some_and(|stem| !NO_DAGS.contains(&stem) && !is_test(stem))
}
