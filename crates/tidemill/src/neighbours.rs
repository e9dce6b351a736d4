//! The DAGs beside a file: those that its tasks may call.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_model::dag::{Action, Call};
use tidemill_model::{Dag, DagId};
use tidemill_spec::{Catalog, Neighbour, Neighbours};
use tidemill_store::DagSource;

use crate::folder::{is_dag_file, is_file_of, load, read_dag_text};

/// The DAG files in the folder of a file.
pub(crate) struct Siblings<'c> {
    file: PathBuf,
    catalog: &'c Catalog,
}

impl<'c> Siblings<'c> {
    pub(crate) fn new(file: &Path, catalog: &'c Catalog) -> Self {
        Self { file: file.to_owned(), catalog }
    }

    /// The DAG files, without the file itself.
    fn files(&self) -> Vec<PathBuf> {
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        let own = self.file.file_name();
        let mut files: Vec<PathBuf> =
            paths.filter(|path| is_dag(path) && path.file_name() != own).collect();
        files.sort();
        files
    }

    /// A task of a DAG that calls one whose file is there and cannot run: the task, the DAG and the
    /// file.
    pub(crate) fn broken_callee(&self, dag: &Dag) -> Option<(String, DagId, PathBuf)> {
        dag.tasks().iter().find_map(|task| {
            let Action::Call(Call { dag: callee, .. }) = &task.action else { return None };
            let path = match self.find(callee) {
                Some((_, source)) if load(&source, self.catalog).runnable().is_some() => {
                    return None;
                }
                Some((_, source)) => source.path,
                None => self.files().into_iter().find(|path| is_file_of(path, callee))?,
            };
            Some((task.name.to_string(), callee.clone(), path))
        })
    }

    /// The DAG of this name, if its file is there and loads.
    pub(crate) fn find(&self, name: &DagId) -> Option<(Arc<Dag>, DagSource)> {
        let files = self.files();
        // A file may give its DAG another name than its own.
        let first = files.iter().filter(|path| is_file_of(path, name));
        let others = files.iter().filter(|path| !is_file_of(path, name) && names(path, name));
        first.chain(others).find_map(|path| {
            let source = read_dag_text(path).ok()?;
            let dag = load(&source, self.catalog).dag?;
            (dag.id == *name).then_some((dag, source))
        })
    }
}

fn is_dag(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_dag_file)
}

/// Whether a file says that its DAG has this name.
fn names(path: &Path, name: &DagId) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let said = text.lines().filter_map(|line| line.strip_prefix("dag:"));
    said.map(|rest| rest.split('#').next().unwrap_or_default().trim())
        .any(|said| said.trim_matches(['"', '\'']) == name.as_str())
}

impl Neighbours for Siblings<'_> {
    fn dag(&self, name: &DagId) -> Neighbour {
        match self.find(name) {
            Some((dag, _)) => Neighbour::Known(dag),
            None => {
                let files = self.files();
                let stems: Vec<&str> =
                    files.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
                if stems.contains(&name.as_str()) {
                    return Neighbour::Broken;
                }
                Neighbour::Missing(stems.into_iter().map(str::to_owned).collect())
            }
        }
    }
}

/// The DAGs that a DAG calls, and those that these call, as far as they are found.
pub(crate) fn called_by(
    dag: &Dag,
    find: impl Fn(&DagId) -> Option<(Arc<Dag>, DagSource)>,
) -> Vec<(Arc<Dag>, DagSource)> {
    let mut found: Vec<(Arc<Dag>, DagSource)> = Vec::new();
    let mut open: Vec<DagId> = calls(dag);
    while let Some(name) = open.pop() {
        if name == dag.id || found.iter().any(|(known, _)| known.id == name) {
            continue;
        }
        if let Some((callee, source)) = find(&name) {
            open.extend(calls(&callee));
            found.push((callee, source));
        }
    }
    found
}

fn calls(dag: &Dag) -> Vec<DagId> {
    let called = dag.tasks().iter().filter_map(|task| match &task.action {
        Action::Call(Call { dag, .. }) => Some(dag.clone()),
        _ => None,
    });
    called.collect()
}
