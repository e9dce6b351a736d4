//! `tidemill doctor`: what is wrong with what is kept, and what to do about it.

use std::sync::Arc;

use tidemill_executor::Living;
use tidemill_history::History;
use tidemill_history::files::RealFiles;
use tidemill_profile::ProfileStore;
use tidemill_store::Archive;
use tidemill_store::Home;
use tidemill_store::doctor::{self, Finding, How, Severity};
use tidemill_store::kv::SledKv;

use crate::access::Access;
use crate::cli::Doctor;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::node::{Node, Toolbox, paths_of, resolver};

pub(crate) fn run(globals: &Globals, command: &Doctor) -> Result<(), Failure> {
    let findings = find(globals, command)?;
    if command.json {
        println!("{:#}", serde_json::json!({"findings": findings}));
    } else if findings.is_empty() {
        println!("{}: everything is as it should be", globals.home.display());
    } else {
        for finding in &findings {
            let label = match finding.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            let repaired = if finding.repaired { " (repaired)" } else { "" };
            println!("{label}: {}{repaired}\n  help: {}", finding.what, finding.remedy);
        }
    }
    let wrong = |finding: &Finding| finding.severity == Severity::Error && !finding.repaired;
    if findings.iter().any(wrong) { Err(Failure::RunFailed) } else { Ok(()) }
}

/// Asks the server that works on the home, or looks at the home's files, which nobody uses then.
fn find(globals: &Globals, command: &Doctor) -> Result<Vec<Finding>, Failure> {
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        match Access::running(globals).await? {
            None => Ok(None),
            Some(_) if command.repair => Err(Failure::conflict(
                "a server works on this home; stop it before anything is repaired",
            )),
            Some(server) => server.get("/api/v1/doctor").await.map(Some),
        }
    })?;
    match answer {
        Some(answer) => serde_json::from_value(answer["findings"].clone())
            .map_err(|error| Failure::server(format!("the answer is not understood: {error}"))),
        None => {
            globals.must_be_a_home()?;
            let home = Home::open(&globals.home).map_err(Failure::home)?;
            let mut findings = left_running(&home);
            findings.extend(damaged_profiles(&home));
            let history = open_history(&home, !command.repair, &mut findings)?;
            let archive = Some(&*history as &dyn Archive);
            if command.repair {
                let toolbox = Toolbox::open(globals)?;
                let resolver = resolver(toolbox.catalog);
                findings.extend(doctor::doctor(&home, How::Repair(&resolver), archive));
            } else {
                findings.extend(doctor::doctor(&home, How::Closed, archive));
            }
            Ok(findings)
        }
    }
}

/// Opens the history, with what is wrong with it. Where that is wanted, damaged segments are taken
/// off the list.
fn open_history(
    home: &Home,
    look: bool,
    findings: &mut Vec<Finding>,
) -> Result<Arc<History>, Failure> {
    let settings = tidemill_history::Settings::default();
    let (history, _) = History::open(&home.history(), Arc::new(RealFiles), settings, look)
        .map_err(Failure::home)?;
    let mut found = history.check(None);
    if !look && !found.is_empty() {
        let lost = history.set_damaged_aside().map_err(Failure::home)?;
        for finding in &mut found {
            finding.repaired = true;
        }
        found.extend(lost.into_iter().map(|what| Finding {
            severity: Severity::Warning,
            what,
            remedy: "start the server; a backup still has them".to_owned(),
            repaired: true,
        }));
    }
    findings.extend(found);
    Ok(history)
}

/// Commands that run without a server.
fn left_running(home: &Home) -> Vec<Finding> {
    let living = tidemill_executor::living_commands(&paths_of(home)).into_iter();
    let finding = |command: Living| {
        let Living { attempt, pids, supervisor, .. } = command;
        let (severity, what, remedy) = match supervisor {
            Some(supervisor) => (
                Severity::Info,
                format!(
                    "the command of {attempt} goes on without a server, under its supervisor, \
                     process {supervisor}: {pids:?}"
                ),
                "the next `tidemill serve` takes it up; `tidemill cancel RUN` ends it",
            ),
            None => (
                Severity::Warning,
                format!(
                    "of {attempt} there still run, without a supervisor, the processes {pids:?}"
                ),
                "the next `tidemill serve` ends them and runs the task again",
            ),
        };
        Finding { severity, what, remedy: remedy.to_owned(), repaired: false }
    };
    living.map(finding).collect()
}

/// Commands that are recorded, and that a server at work knows nothing of.
pub(crate) fn orphans(node: &Node) -> Vec<Finding> {
    let orphans = tidemill_executor::living_commands(&paths_of(&node.home)).into_iter();
    (orphans.filter(|living| !node.executor.knows(&living.id)))
        .map(|Living { attempt, pids, .. }| Finding {
            severity: Severity::Warning,
            what: format!("of {attempt}, which the server does not run, there run {pids:?}"),
            remedy: "end them with `kill`, or start the server again, which ends them".to_owned(),
            repaired: false,
        })
        .collect()
}

/// The profile store, if it does not open.
fn damaged_profiles(home: &Home) -> Option<Finding> {
    let options = tidemill_profile::StoreOptions::default();
    let opened = SledKv::open(&home.profiles())
        .map_err(|error| error.to_string())
        .and_then(|kv| ProfileStore::open(Arc::new(kv), options).map_err(|e| e.to_string()));
    let what = opened.err()?;
    let remedy = format!(
        "restore a backup; or move `{}` away and run the DAGs again that load profiles",
        home.profiles().display()
    );
    Some(Finding { severity: Severity::Error, what, remedy, repaired: false })
}
