//! `tidemill test`: run the tests beside DAGs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tidemill_model::words::counted;
use tidemill_model::{Action, Dag, PoolName, Timestamp};
use tidemill_spec::test_file::{DagTest, TestFile, parse_tests};
use tidemill_spec::{Diagnostic, SourceText};

use crate::beside::{Surrounding, Surroundings};
use crate::cli::Test;
use crate::commands::{Globals, runtime};
use crate::failure::{Failure, print_diagnostics};
use crate::folder::{find_yaml, read_dag, read_source};
use crate::neighbours::{Siblings, called_by};
use crate::node::Toolbox;
use crate::print::seconds;
use crate::testing::compare::{Comparison, Difference};
use crate::testing::drive::Drive;
use crate::testing::ground::Ground;
use crate::testing::update::updated;

/// When tests begin that say nothing else: 2026-01-01, in UTC.
const BEGIN: i64 = 1_767_225_600_000_000;

/// The ends of names of files of tests.
const ENDINGS: [&str; 2] = [".test.yaml", ".test.yml"];

/// What came out of the tests so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Files that cannot be read.
    broken: usize,
    updated: usize,
    told: Vec<Value>,
}

pub(crate) fn run(globals: &Globals, command: &Test) -> Result<(), Failure> {
    let files = files(&command.paths)?;
    if files.is_empty() {
        return Err(Failure::missing(
            "there are no tests; those of `orders.yaml` stand beside it in `orders.test.yaml`"
                .to_owned(),
        ));
    }
    let toolbox = Toolbox::open(globals)?;
    let runtime = runtime()?;
    let mut tally = Tally::default();
    runtime.block_on(async {
        let mut ground = Ground::open(&toolbox)?;
        for file in &files {
            test_file(&toolbox, &mut ground, file, command, &mut tally).await?;
        }
        ground.executor.shutdown().await;
        ground.executor.leave().await;
        Ok::<(), Failure>(())
    })?;
    if let Some(name) = &command.name
        && tally.passed + tally.failed + tally.broken == 0
    {
        return Err(Failure::missing(format!("no test has `{name}` in its name")));
    }
    let Tally { passed, failed, broken, updated, told } = tally;
    if command.json {
        println!(
            "{:#}",
            json!({"passed": passed, "failed": failed, "broken": broken, "tests": told})
        );
    } else {
        let mut text = format!("{} passed, {failed} failed", counted(passed, "test"));
        if broken > 0 {
            text.push_str(&format!(", {} cannot be read", counted(broken, "file")));
        }
        if updated > 0 {
            text.push_str(&format!(", {} updated", counted(updated, "value")));
        }
        println!("{text}");
    }
    match (broken, failed) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::RunFailed),
        _ => Err(Failure::Invalid),
    }
}

/// The files of tests that are meant.
fn files(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>, Failure> {
    let mut files = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            // One without a DAG is looked at too: it would be missed otherwise.
            let all = find_yaml(path).map_err(|error| {
                Failure::files(format!("cannot read `{}`: {error}", path.display()))
            })?;
            files.extend(all.into_iter().filter(|path| is_tests(path)));
        } else if is_tests(path) {
            files.insert(path.clone());
        } else {
            let Some(tests) = tests_of(path) else {
                let wanted = path.with_extension("test.yaml");
                return Err(Failure::missing(format!(
                    "`{}` has no tests: there is no `{}`",
                    path.display(),
                    wanted.display()
                )));
            };
            files.insert(tests);
        }
    }
    Ok(files)
}

/// Whether a file is one of tests, by its name.
pub(crate) fn is_tests(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The file of the tests of a DAG file.
pub(crate) fn tests_of(dag: &Path) -> Option<PathBuf> {
    let files = ENDINGS.iter().map(|ending| dag.with_extension(&ending[1..]));
    files.into_iter().find(|path| path.is_file())
}

/// The DAG file that a file of tests is about.
pub(crate) fn dag_of(tests: &Path) -> Option<PathBuf> {
    let name = tests.file_name()?.to_str()?;
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))?;
    let files = [".yaml", ".yml"].iter().map(|end| tests.with_file_name(format!("{stem}{end}")));
    files.into_iter().find(|path| path.is_file())
}

/// What is wrong with tests that are beside no DAG.
pub(crate) fn no_dag(tests: &Path) -> String {
    format!(
        "`{}` is about no DAG: the tests of `orders.yaml` are in `orders.test.yaml`, beside it",
        tests.display()
    )
}

/// A DAG and what stands beside it.
struct Subject {
    dag: Arc<Dag>,
    called: Vec<Arc<Dag>>,
    pools: Vec<(PoolName, u32)>,
}

async fn test_file(
    toolbox: &Toolbox,
    ground: &mut Ground,
    file: &Path,
    command: &Test,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let (subject, tests, text) = match read(toolbox, file) {
        Ok(found) => found,
        Err(Unread::Diagnostics(found)) => {
            print_diagnostics(&found);
            tally.broken += 1;
            return Ok(());
        }
        Err(Unread::Said(failure)) => {
            eprintln!("{}\n", failure.line().unwrap_or_default());
            tally.broken += 1;
            return Ok(());
        }
    };
    if !command.json {
        println!("{}", file.display());
    }
    let (mut all, mut failed_here) = (Vec::new(), 0);
    for test in &tests.tests {
        if command.name.as_ref().is_some_and(|name| !test.name.contains(name.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let outcome = test_one(ground, &subject, test).await;
        let took = begun.elapsed().as_secs_f64();
        let failed = !matches!(&outcome, Ok(differences) if differences.is_empty());
        if failed {
            failed_here += 1;
        } else {
            tally.passed += 1;
        }
        if command.json {
            tally.told.push(as_json(file, test, &outcome, took));
        } else {
            tell(file, test, &outcome, took);
        }
        all.extend(outcome.unwrap_or_default());
    }
    tally.failed += failed_here;
    if command.update && !all.is_empty() {
        let (text, count) = updated(&text, &all);
        // A file that could not be read any more would be worth less than one that is not updated.
        let source = SourceText { path: file, text: &text };
        if parse_tests(source, &subject.dag).0.is_none() {
            let file = file.display();
            return Err(Failure::conflict(format!(
                "`{file}` cannot be updated without breaking it; nothing was written"
            )));
        }
        tally.updated += count;
        if count == all.len() {
            tally.failed -= failed_here;
        } else if !command.json {
            let nothing = all.iter().filter(|difference| difference.actual.is_none()).count();
            for (values, why) in [
                (nothing, "the run made nothing that could be written there"),
                (
                    all.len() - count - nothing,
                    "only what stands on lines of its own is updated, and has no anchor",
                ),
            ] {
                if values > 0 {
                    println!("  {}: {why}", kept(values));
                }
            }
        }
        std::fs::write(file, text).map_err(|error| {
            Failure::files(format!("cannot write `{}`: {error}", file.display()))
        })?;
    }
    Ok(())
}

/// Values that are not updated.
fn kept(values: usize) -> String {
    let verb = if values == 1 { "stays as it is" } else { "stay as they are" };
    format!("{} {verb}", counted(values, "value"))
}

/// Why there is nothing to test.
enum Unread {
    Diagnostics(Vec<Diagnostic>),
    Said(Failure),
}

fn read(toolbox: &Toolbox, file: &Path) -> Result<(Subject, TestFile, String), Unread> {
    let path = dag_of(file).ok_or_else(|| Unread::Said(Failure::missing(no_dag(file))))?;
    let mut around = Surroundings::new(toolbox, None).map_err(Unread::Said)?;
    let Surrounding { beside, catalog } = around.of(&path);
    let read = read_dag(&path, catalog);
    let (_, loaded) = read.map_err(|found| Unread::Diagnostics(vec![*found]))?;
    let Some(dag) = loaded.runnable().cloned() else {
        return Err(Unread::Diagnostics(loaded.diagnostics));
    };
    let text = read_source(file).map_err(|found| Unread::Diagnostics(vec![*found]))?;
    let (tests, diagnostics) = parse_tests(SourceText { path: file, text: &text }, &dag);
    let Some(tests) = tests else { return Err(Unread::Diagnostics(diagnostics)) };
    print_diagnostics(&diagnostics);
    let others = Siblings::new(&path, catalog);
    let called = called_by(&dag, |name| others.find(name)).into_iter().map(|(dag, _)| dag);
    let called: Vec<Arc<Dag>> = called.collect();
    let all = || std::iter::once(&dag).chain(&called).flat_map(|dag| dag.tasks());
    let reads = |name: &String| {
        all().any(
            |task| matches!(&task.action, Action::Ingest { connector, .. } if connector == name),
        )
    };
    for test in &tests.tests {
        if let Some(name) = test.connectors.keys().find(|name| !reads(name)) {
            let (file, line) = (file.display(), test.line);
            return Err(Unread::Said(Failure::argument(format!(
                "{file}:{line}: test `{}` has a stub for connector `{name}`, from which no task of \
                 `{}` reads, nor one of a DAG that it calls",
                test.name, dag.id
            ))));
        }
    }
    Ok((Subject { called, dag, pools: beside.pools() }, tests, text))
}

async fn test_one(
    ground: &mut Ground,
    subject: &Subject,
    test: &DagTest,
) -> Result<Vec<Difference>, String> {
    let end = test.interval.map(|interval| interval.end);
    let now = test.now.or(end).unwrap_or(Timestamp::from_micros(BEGIN));
    let dag = (&*subject.dag, subject.pools.clone());
    let ended = Drive::new(ground, test, dag, now).run(subject.called.clone()).await?;
    let comparison =
        Comparison { ground, ended: &ended, dag: &subject.dag, now, found: Vec::new() };
    Ok(comparison.of(test).await)
}

fn tell(file: &Path, test: &DagTest, outcome: &Result<Vec<Difference>, String>, took: f64) {
    let mark = crate::print::mark;
    let (name, took) = (&test.name, seconds(took));
    match outcome {
        Ok(differences) if differences.is_empty() => {
            println!("  {} {name:<40} {took:>9}", mark("succeeded"));
        }
        Ok(differences) => {
            println!("  {} {name:<40} {took:>9}", mark("failed"));
            for Difference { what, line, lines, .. } in differences {
                println!("      {what}  {}:{line}", file.display());
                for line in lines {
                    println!("        {line}");
                }
            }
        }
        Err(message) => {
            println!("  {} {name:<40} {took:>9}", mark("failed"));
            println!("      {message}  {}:{}", file.display(), test.line);
        }
    }
}

fn as_json(
    file: &Path,
    test: &DagTest,
    outcome: &Result<Vec<Difference>, String>,
    took: f64,
) -> Value {
    let (differences, error) = match outcome {
        Ok(differences) => (differences.as_slice(), None),
        Err(message) => (&[][..], Some(message)),
    };
    let differences: Vec<Value> = differences
        .iter()
        .map(|d| json!({"what": d.what, "line": d.line, "difference": d.lines}))
        .collect();
    json!({"file": file, "name": test.name, "line": test.line, "seconds": took,
        "passed": differences.is_empty() && error.is_none(), "differences": differences,
        "error": error})
}
