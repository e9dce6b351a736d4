//! `tidemill doctor`: what is wrong with what is kept, and what to do about it.

use tidemill_store::Home;
use tidemill_store::doctor::{self, Severity};

use crate::cli::Doctor;
use crate::commands::Globals;
use crate::failure::Failure;

pub(crate) fn run(globals: &Globals, command: &Doctor) -> Result<(), Failure> {
    let home = Home::open(&globals.home).map_err(Failure::said)?;
    let findings = doctor::doctor(&home, None, command.repair);
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
            println!(
                "{label}: {}{}",
                finding.what,
                if finding.repaired { " (repaired)" } else { "" }
            );
            println!("  help: {}", finding.remedy);
        }
    }
    let wrong =
        |finding: &doctor::Finding| finding.severity == Severity::Error && !finding.repaired;
    if findings.iter().any(wrong) {
        return Err(Failure::RunFailed);
    }
    Ok(())
}
