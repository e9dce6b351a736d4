//! Where DAG files are looked at before anything runs: the files beside them, and the home if there
//! is one.

use std::path::Path;
use std::sync::Arc;

use tidemill_model::{Dag, Timestamp};
use tidemill_scheduler::Clock;
use tidemill_spec::{Diagnostic, SourceText, place};
use tidemill_store::DagSource;

use super::{Planned, plan};
use crate::access::Access;
use crate::beside::{Surrounding, Surroundings};
use crate::commands::Globals;
use crate::failure::{Failure, invalid, print_diagnostics};
use crate::folder::read_dag;
use crate::node::{Mode, SystemClock, Toolbox};

/// What planning needs, opened once for any number of files.
pub(crate) struct Desk {
    toolbox: Toolbox,
    /// The home, if there is one that can be looked at.
    pub(crate) home: Option<Access>,
    /// Why the home could not be looked at, though it is there.
    pub(crate) trouble: Option<Failure>,
    pub(crate) now: Timestamp,
}

/// A DAG file that was read and planned.
pub(crate) struct Read {
    pub(crate) dag: Arc<Dag>,
    pub(crate) planned: Planned,
    /// What planning found, at its places in the file.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Desk {
    /// Opens it. The home is looked at, and no run of it is touched; that there is none is no trouble.
    pub(crate) async fn open(globals: &Globals) -> Result<Self, Failure> {
        let toolbox = Toolbox::open(globals)?;
        let now = SystemClock.now();
        let mut desk = Self { toolbox, home: None, trouble: None, now };
        if globals.must_be_a_home().is_ok() {
            match Access::open(globals, None, Mode::Look).await {
                Ok(home) => desk.home = Some(home),
                Err(trouble) => desk.trouble = Some(trouble),
            }
        }
        Ok(desk)
    }

    /// Plans a DAG that was read from `source`.
    pub(crate) async fn plan(&self, dag: Arc<Dag>, source: &DagSource) -> Read {
        let mut planned = plan(&dag, &self.toolbox, self.home.as_ref(), self.now).await;
        let text = SourceText { path: &source.path, text: &source.text };
        let diagnostics = place(text, std::mem::take(&mut planned.findings));
        Read { dag, planned, diagnostics }
    }

    /// Reads a DAG file and plans it. What is wrong with it is printed: if it is no DAG at all,
    /// that is the end.
    pub(crate) async fn read(&self, globals: &Globals, file: &Path) -> Result<Read, Failure> {
        let mut around = Surroundings::new(&self.toolbox, globals.secrets.as_deref())?;
        let Surrounding { beside, catalog } = around.of(file);
        let (source, loaded) = read_dag(file, catalog).map_err(invalid)?;
        print_diagnostics(&beside.diagnostics);
        print_diagnostics(&loaded.diagnostics);
        let dag = loaded.dag.ok_or(Failure::Invalid)?;
        let read = self.plan(dag, &source).await;
        print_diagnostics(&read.diagnostics);
        Ok(read)
    }

    /// Lets the home go.
    pub(crate) async fn close(self) {
        if let Some(home) = self.home {
            home.close().await;
        }
    }
}
