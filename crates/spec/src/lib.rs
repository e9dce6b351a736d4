//! The DAG language: YAML text to a checked [`Dag`], with every diagnostic at once.
//!
//! Read in this order:
//!
//! * [`load_dag`], below: the way through;
//! * [`mod@diagnostic`], [`codes`]: what a finding is; `report`: how findings are collected;
//! * `yaml`: text to a tree that knows its places; `keys`: every key of the language;
//! * `read`: the tree to a `DagSpec`, as written; `resolve`: the `DagSpec` to a [`Dag`], as meant;
//! * `settings`: settings against their schemas; [`sql`]: what a query reads; `shell`: scripts;
//! * [`catalog`]: what an installation offers; `schema`: the JSON Schema for editors;
//! * `places`: findings that come up later, put back into the file;
//! * [`test_file`]: tests beside a DAG; `files`: connections, pools and calendars; `meaning`: a DAG in
//!   the words of the language, and what changed between two; `format`: a file in its canonical form.
//!
//! **Invariants.** Pure: no IO, no clock, no environment; the same text gives the same answer.
//! Nothing panics on any text. `serde_yaml` and `granit-parser` stay inside `yaml`, `sqlparser`
//! inside [`sql`]. A [`Dag`] comes out only when there is no error.

pub mod catalog;
pub mod codes;
pub mod diagnostic;
mod files;
mod format;
pub mod keys;
mod meaning;
mod places;
mod read;
mod report;
mod resolve;
mod schema;
mod settings;
mod shell;
mod spec;
pub mod sql;
pub mod test_file;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use tidemill_model::{Dag, DagId};

pub use catalog::{Catalog, ConnectorInfo, SettingsCheck, TransformInfo};
pub use diagnostic::{Diagnostic, Severity};
pub use files::{
    ConnectionSpec, ConnectionType, UNREAD_NAMES, parse_calendars, parse_connections, parse_pools,
    unread,
};
pub use format::{FileKind, format};
pub use meaning::{Change, changes, meaning};
pub use places::{Finding, keys_of, place};
pub use report::SourceText;
pub use resolve::RESERVED_NAMES;
pub use schema::{json_schema, tests_schema};

/// What became of a DAG file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The DAG; `None` when there is any error.
    pub dag: Option<Arc<Dag>>,
    /// Everything found, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// The DAG, if it may also run: there is no error, and nothing that this version cannot run.
    pub fn runnable(&self) -> Option<&Arc<Dag>> {
        self.dag.as_ref().filter(|_| !self.diagnostics.iter().any(|d| d.blocks_run))
    }
}

/// A thread with so much stack reads DAG files, and their queries, without setting up a larger one
/// for each.
pub const READER_STACK_BYTES: usize = sql::STACK_BYTES;

/// The name of the file with what the DAGs of its folder have unless they say otherwise.
pub const FOLDER_DEFAULTS: &str = "_defaults.yaml";

/// Reads a DAG file in a folder without [`FOLDER_DEFAULTS`].
pub fn load_dag(source: SourceText, catalog: &Catalog) -> Loaded {
    load_dag_with(source, None, catalog, &Nobody)
}

/// The other DAGs there are, for those who call them.
pub trait Neighbours {
    /// What is known of the DAG of this name.
    fn dag(&self, name: &DagId) -> Neighbour;
}

/// What is known of another DAG.
#[derive(Debug, Clone)]
pub enum Neighbour {
    /// Nothing.
    Unknown,
    /// It is not among those that would be looked at first; these are.
    Missing(Vec<String>),
    /// Its file is there, and is not valid.
    Broken,
    /// It is there.
    Known(Arc<Dag>),
}

/// Nothing is known of other DAGs.
pub struct Nobody;

impl Neighbours for Nobody {
    fn dag(&self, _: &DagId) -> Neighbour {
        Neighbour::Unknown
    }
}

/// Reads a DAG file, with the [`FOLDER_DEFAULTS`] of its folder. What is wrong with those comes
/// with the diagnostics of the DAG.
pub fn load_dag_with(
    source: SourceText,
    defaults: Option<SourceText>,
    catalog: &Catalog,
    neighbours: &dyn Neighbours,
) -> Loaded {
    // Trees of a hostile file may be deep; they are walked recursively.
    stacker::maybe_grow(sql::STACK_LEFT_BYTES, sql::STACK_BYTES, || {
        load_here(source, defaults, catalog, neighbours)
    })
}

fn load_here(
    source: SourceText,
    defaults: Option<SourceText>,
    catalog: &Catalog,
    neighbours: &dyn Neighbours,
) -> Loaded {
    if let Some(unread) = files::unread(source.path) {
        let found = Diagnostic { severity: Severity::Error, blocks_run: true, ..unread };
        return Loaded { dag: None, diagnostics: vec![found] };
    }
    let (folder, mut diagnostics) = defaults.map(read_folder).unwrap_or_default();
    let defaults_are_good = !diagnostics.iter().any(|d| d.severity == Severity::Error);
    let mut report = report::Report::new(source);
    let stem = source.path.file_stem().unwrap_or_default().to_string_lossy();
    // The parent of a bare name is an empty text, which names no folder.
    let parent = source.path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let path = parent.unwrap_or(Path::new("."));
    let dag = yaml::parse(&mut report).and_then(|root| {
        let spec = read::dag(&root, &stem, folder, &mut report)?;
        resolve::dag(spec, path, (catalog, neighbours), &mut report)
    });
    let dag = dag.filter(|_| defaults_are_good && !report.has_errors());
    diagnostics.extend(report.finish());
    Loaded { dag, diagnostics }
}

fn read_folder<'n>(source: SourceText) -> (read::Folder<'n>, Vec<Diagnostic>) {
    if files::is_empty(source.text) {
        return Default::default();
    }
    let mut report = report::Report::new(source);
    let root = yaml::parse(&mut report);
    let folder = root.map(|root| read::folder(&root, &mut report)).unwrap_or_default();
    (folder, report.finish())
}

/// The text of a file, or why it is none.
pub fn decode<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Box<Diagnostic>> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        // What is good so far gives the place; the bad byte itself cannot be shown.
        let before = bytes.get(..good).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("");
        let rest = bytes[good..].iter().take_while(|b| **b != b'\n').take(200);
        let rest: Vec<u8> = rest.copied().collect();
        let text = format!("{before}{}", String::from_utf8_lossy(&rest));
        let mut report = report::Report::new(SourceText { path, text: &text });
        let good_here = good - (text.len() - report.source.text.len());
        let place = report::Place::new(good_here, good_here + 1);
        let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        let (what, help) = match utf16 {
            true => ("it looks like UTF-16", "save it as UTF-8"),
            false if bytes.contains(&0) => ("the file is no text", "name a YAML file"),
            false => ("the file is no UTF-8", "save it as UTF-8"),
        };
        report
            .error(&codes::NOT_TEXT, place, format!("{what}: byte {:#04x}", bytes[good]))
            .help(help);
        Box::new(report.finish().swap_remove(0))
    })
}
