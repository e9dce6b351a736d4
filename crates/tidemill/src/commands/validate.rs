//! `tidemill validate`: check DAG files; nothing is run.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::json;
use tidemill_connector::parallel;
use tidemill_model::DagId;
use tidemill_model::words::counted;
use tidemill_spec::test_file::parse_tests;
use tidemill_spec::{Catalog, Diagnostic, Severity, SourceText};
use tokio::runtime::Runtime;

use crate::beside::{Surrounding, Surroundings};
use crate::cli::Validate;
use crate::commands::test::{dag_of, is_tests, no_dag, tests_of};
use crate::commands::{Globals, runtime};
use crate::failure::{Failure, print_diagnostics};
use crate::folder::{READING, find_files, find_yaml, is_companion, read_dag, read_source};
use crate::node::Toolbox;
use crate::planning::desk::Desk;

/// Files that are read before any is looked at: the DAGs of all would take much memory.
const FILES_AT_ONCE: usize = 256;

pub(crate) fn run(globals: &Globals, command: &Validate) -> Result<(), Failure> {
    if command.strict {
        let runtime = runtime()?;
        let desk = runtime.block_on(Desk::open(globals))?;
        if let Some(trouble) = &desk.trouble {
            eprintln!("the last runs cannot be looked at: {trouble}\n");
        }
        let done = validate(globals, command, Some((&runtime, &desk)));
        runtime.block_on(desk.close());
        return done;
    }
    validate(globals, command, None)
}

/// Checks all files; with a desk, each is planned too.
fn validate(
    globals: &Globals,
    command: &Validate,
    desk: Option<(&Runtime, &Desk)>,
) -> Result<(), Failure> {
    let toolbox = Toolbox::open(globals)?;
    let mut files = 0;
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut troubles: Vec<Failure> = Vec::new();
    let mut names: HashMap<DagId, PathBuf> = HashMap::new();
    let Paths { dags, tests } = paths(&command.paths)?;
    let mut around = Surroundings::new(&toolbox, globals.secrets.as_deref())?;
    for file in tests {
        files += 1;
        match dag_of(&file) {
            Some(dag) => diagnostics.extend(of_tests(&around.of(&dag).catalog, &dag, &file)),
            None => troubles.push(Failure::missing(no_dag(&file))),
        }
    }
    for path in &dags {
        around.of(path);
    }
    for Surrounding { beside, .. } in around.all() {
        diagnostics.extend(beside.diagnostics.iter().cloned());
        troubles.extend(beside.trouble.iter().map(Failure::files));
    }
    for some in dags.chunks(FILES_AT_ONCE) {
        files += some.len();
        let some: Vec<(&PathBuf, Catalog)> =
            some.iter().map(|path| (path, around.of(path).catalog.clone())).collect();
        let read =
            parallel::map(READING, &some, || (), |(), (path, catalog)| read_dag(path, catalog));
        for ((path, _), read) in some.iter().zip(read) {
            match read {
                Err(found) => diagnostics.push(*found),
                Ok((source, loaded)) => {
                    diagnostics.extend(loaded.diagnostics);
                    if let Some(dag) = &loaded.dag {
                        troubles.extend(taken(&mut names, &dag.id, path).map(Failure::conflict));
                    }
                    if let (Some((runtime, desk)), Some(dag)) = (desk, loaded.dag) {
                        diagnostics.extend(runtime.block_on(desk.plan(dag, &source)).diagnostics);
                    }
                }
            }
        }
    }
    // The defaults of a folder are read with each of its DAGs.
    let mut seen = HashSet::new();
    diagnostics.retain(|d| seen.insert((d.file.clone(), d.line, d.column, d.message.clone())));
    let is_error = |d: &&Diagnostic| d.severity == Severity::Error;
    let warnings = diagnostics.iter().filter(|d| !is_error(d)).count();
    let errors = diagnostics.iter().filter(is_error).count() + troubles.len();
    if command.json {
        let troubles: Vec<String> = troubles.iter().map(ToString::to_string).collect();
        let answer = json!({"files": files, "errors": errors, "warnings": warnings,
            "diagnostics": diagnostics, "troubles": troubles});
        println!("{answer:#}");
    } else {
        print_diagnostics(&diagnostics);
        for trouble in &troubles {
            eprintln!("{}\n", trouble.line().unwrap_or_default());
        }
        println!(
            "{} checked: {}, {}",
            counted(files, "file"),
            counted(errors, "error"),
            counted(warnings, "warning")
        );
    }
    let is_refused = errors > 0 || (command.strict && warnings > 0);
    if is_refused { Err(Failure::Invalid) } else { Ok(()) }
}

/// What is wrong with a name that another file has, as a server that is given both would say.
fn taken(names: &mut HashMap<DagId, PathBuf>, name: &DagId, path: &Path) -> Option<String> {
    match names.entry(name.clone()) {
        Entry::Vacant(free) => {
            free.insert(path.to_owned());
            None
        }
        Entry::Occupied(taken) if taken.get() == path => None,
        Entry::Occupied(taken) => Some(format!(
            "`{}`: `{name}` is already the name of the DAG in `{}`; give one of them another name",
            path.display(),
            taken.get().display()
        )),
    }
}

/// What is wrong with the tests of a DAG, if the DAG itself is good.
fn of_tests(catalog: &Catalog, dag: &Path, tests: &Path) -> Vec<Diagnostic> {
    let read = read_dag(dag, catalog);
    let Some(dag) = read.ok().and_then(|(_, loaded)| loaded.dag) else { return Vec::new() };
    match read_source(tests) {
        Ok(text) => parse_tests(SourceText { path: tests, text: &text }, &dag).1,
        Err(found) => vec![*found],
    }
}

/// What is to be checked.
#[derive(Default)]
struct Paths {
    dags: Vec<PathBuf>,
    tests: BTreeSet<PathBuf>,
}

fn paths(given: &[PathBuf]) -> Result<Paths, Failure> {
    let mut paths = Paths::default();
    for path in given {
        if path.is_dir() {
            let cannot =
                |error| Failure::files(format!("cannot read `{}`: {error}", path.display()));
            paths.dags.extend(find_files(path).map_err(cannot)?);
            let all = find_yaml(path).map_err(cannot)?;
            paths.tests.extend(all.into_iter().filter(|path| is_tests(path)));
        } else if is_tests(path) {
            paths.tests.insert(path.clone());
        } else if !is_companion(path) {
            // What stands beside DAGs is read with them, and a shell's `*.yaml` names it too.
            paths.tests.extend(tests_of(path));
            paths.dags.push(path.clone());
        }
    }
    Ok(paths)
}
