//! What a task turns out to use while it is resolved.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::{IndexMap, IndexSet};
use tidemill_model::TaskIx;
use tidemill_model::dag::{Edge, Read};
use tidemill_model::outputs::FileFormat;

use crate::report::Place;

/// Upstreams with their reasons, tables, and whether the built-in table is read.
pub(crate) struct Uses {
    /// The task.
    pub(crate) name: String,
    /// Its place in the list.
    pub(crate) at: usize,
    /// The tables of other tasks.
    pub(crate) reads: BTreeSet<Read>,
    pub(crate) run_tasks: bool,
    /// The forms in which inputs are handed over, by alias.
    formats: BTreeMap<String, FileFormat>,
    edges: IndexMap<usize, Reasons>,
    names: Vec<(usize, String)>,
}

/// An upstream that becomes that of another task.
pub(crate) struct MovedEdge {
    pub(crate) upstream: usize,
    pub(crate) why: Vec<String>,
    pub(crate) place: Place,
}

struct Reasons {
    why: IndexSet<String>,
    place: Place,
}

impl Uses {
    pub(crate) fn new(at: usize, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            at,
            reads: BTreeSet::new(),
            run_tasks: false,
            formats: BTreeMap::new(),
            edges: IndexMap::new(),
            names: Vec::new(),
        }
    }

    /// The task waits for the one at `upstream`.
    pub(crate) fn edge(&mut self, upstream: usize, name: &str, why: String, place: Place) {
        let reasons = self.edges.entry(upstream).or_insert_with(|| {
            self.names.push((upstream, name.to_owned()));
            Reasons { why: IndexSet::new(), place }
        });
        reasons.why.insert(why);
    }

    /// The task reads a table of the one at `upstream`.
    pub(crate) fn read(&mut self, alias: &str, table: &str, upstream: usize) {
        let read = Read {
            alias: alias.to_owned(),
            table: table.to_owned(),
            task: TaskIx(upstream as u32),
            format: FileFormat::default(),
        };
        self.reads.insert(read);
    }

    /// The task wants an input as a file of this form.
    pub(crate) fn as_file(&mut self, alias: &str, format: FileFormat) {
        self.formats.insert(alias.to_owned(), format);
    }

    /// The tables of other tasks, each in the form that is wanted.
    pub(crate) fn take_reads(&mut self) -> Vec<Read> {
        let reads = std::mem::take(&mut self.reads).into_iter();
        let format = |read: &Read| self.formats.get(&read.alias).copied().unwrap_or_default();
        reads.map(|read| Read { format: format(&read), ..read }).collect()
    }

    /// Why it waits for a task, and where that is written.
    pub(crate) fn why(&self, upstream: &str) -> Option<(String, Place)> {
        let (at, _) = self.names.iter().find(|(_, name)| name == upstream)?;
        let reasons = self.edges.get(at)?;
        let why: Vec<&str> = reasons.why.iter().map(String::as_str).collect();
        Some((why.join(", "), reasons.place))
    }

    /// Takes out the upstreams for which `moves` says so.
    pub(crate) fn take_edges(&mut self, moves: impl Fn(usize) -> bool) -> Vec<MovedEdge> {
        let mut taken = Vec::new();
        self.edges.retain(|upstream, reasons| {
            if !moves(*upstream) {
                return true;
            }
            let Reasons { why, place } = reasons;
            let why = std::mem::take(why).into_iter().collect();
            let edge = MovedEdge { upstream: *upstream, why, place: *place };
            taken.push(edge);
            false
        });
        taken
    }

    /// The upstreams in the order of the file.
    pub(crate) fn upstream(&self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = self
            .edges
            .iter()
            .map(|(at, reasons)| Edge {
                task: TaskIx(*at as u32),
                why: reasons.why.iter().cloned().collect(),
            })
            .collect();
        edges.sort_by_key(|edge| edge.task);
        edges
    }
}
