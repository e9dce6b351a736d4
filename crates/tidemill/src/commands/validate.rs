//! `tidemill validate`: check DAG files; nothing is run.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tidemill_model::words::counted;
use tidemill_spec::{Diagnostic, Severity};
use tokio::runtime::Runtime;

use crate::beside::Beside;
use crate::catalog::{catalog, folder_of};
use crate::cli::Validate;
use crate::commands::{Globals, runtime};
use crate::failure::{Failure, print_diagnostics};
use crate::folder::{find_files, is_companion, read_dag};
use crate::node::Toolbox;
use crate::planning::desk::Desk;
use crate::secrets::SecretStore;

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
    let mut troubles: Vec<String> = Vec::new();
    for path in paths(&command.paths)? {
        files += 1;
        let folder = folder_of(&path);
        let secrets = SecretStore::open(globals.secrets.as_deref(), None).map_err(Failure::said)?;
        let beside = Beside::read(&folder, Arc::new(secrets));
        diagnostics.extend(beside.diagnostics.iter().cloned());
        troubles.extend(beside.trouble.iter().cloned());
        match read_dag(&path, &catalog(&toolbox.registry, Some(&beside))) {
            Err(found) => diagnostics.push(*found),
            Ok((source, loaded)) => {
                diagnostics.extend(loaded.diagnostics);
                if let (Some((runtime, desk)), Some(dag)) = (desk, loaded.dag) {
                    diagnostics.extend(runtime.block_on(desk.plan(dag, &source)).diagnostics);
                }
            }
        }
    }
    // A file beside several DAGs is read once for each of them.
    let mut seen = HashSet::new();
    diagnostics.retain(|d| seen.insert((d.file.clone(), d.line, d.column, d.message.clone())));
    let is_error = |d: &&Diagnostic| d.severity == Severity::Error;
    let warnings = diagnostics.iter().filter(|d| !is_error(d)).count();
    let errors = diagnostics.iter().filter(is_error).count() + troubles.len();
    if command.json {
        let answer = json!({"files": files, "errors": errors, "warnings": warnings,
            "diagnostics": diagnostics, "troubles": troubles});
        println!("{answer:#}");
    } else {
        print_diagnostics(&diagnostics);
        for trouble in &troubles {
            eprintln!("error: {trouble}\n");
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

fn paths(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in given {
        if path.is_dir() {
            let found = find_files(path).map_err(|error| {
                Failure::Said(format!("cannot read `{}`: {error}", path.display()))
            })?;
            files.extend(found);
        } else if !is_companion(path) {
            // What stands beside DAGs is read with them, and a shell's `*.yaml` names it too.
            files.push(path.clone());
        }
    }
    Ok(files)
}
