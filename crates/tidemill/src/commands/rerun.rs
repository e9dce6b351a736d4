//! `tidemill rerun`: tasks of a run, or of several, again.

use serde_json::{Value, json};
use tidemill_model::RunState;

use crate::access::Access;
use crate::answers::Answers;
use crate::cli::Rerun;
use crate::commands::{Globals, bulk, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::progress::{Interrupt, Show, follow, verdict};

pub(crate) fn run(globals: &Globals, command: &Rerun) -> Result<(), Failure> {
    let Some(id) = &command.run else {
        return with_home(globals, None, Mode::Look, async |access| {
            bulk::run(access, "rerun", &command.filter, &what(command), command.dry_run).await
        });
    };
    let id = id.to_string();
    with_home(globals, None, Mode::Own, async |access| rerun(access, &id, command).await)
}

/// What goes again, for the API.
fn what(command: &Rerun) -> Value {
    let mut body = json!({"latest": command.latest});
    if let Some(task) = &command.from {
        body["from"] = json!(task);
    } else {
        body["tasks"] = json!(if command.all { "all" } else { "failed" });
    }
    body
}

async fn rerun(access: &Access, id: &str, command: &Rerun) -> Result<(), Failure> {
    let mut body = what(command);
    body["preview"] = json!(command.dry_run);
    let plan = access.post(&format!("/api/v1/runs/{id}/rerun"), &body).await?;
    if command.json {
        println!("{plan:#}");
    } else {
        print!("{}", as_text(id, &plan, command.dry_run));
    }
    // Without a server nobody else would carry the run on.
    if command.dry_run || (!command.wait && access.address().is_some()) {
        return Ok(());
    }
    let show = if command.json { Show::Nothing } else { Show::Tasks };
    let interrupt = if access.address().is_some() { Interrupt::Leaves } else { Interrupt::Cancels };
    let run = follow(access, id, show, &mut Answers::of(id), interrupt).await?;
    if !command.json {
        println!("{}", verdict(&run));
    }
    if run.state == RunState::Succeeded { Ok(()) } else { Err(Failure::RunFailed) }
}

fn as_text(id: &str, plan: &Value, is_preview: bool) -> String {
    let names = |key: &str| -> Vec<&str> {
        plan[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let line = |what: &str, names: &[&str]| match names {
        [] => String::new(),
        names => format!("  {what:<12}{}\n", names.join(", ")),
    };
    let goes = if is_preview { "would go again" } else { "goes again" };
    let version = plan["version"].as_str().unwrap_or_default();
    let version = version.get(..8).unwrap_or(version);
    let mut text = format!("{id} {goes}, generation {}, version {version}\n", plan["generation"]);
    text.push_str(&line("again", &names("again")));
    text.push_str(&line("kept", &names("kept")));
    text.push_str(&line("writes", &names("loads")));
    text
}
