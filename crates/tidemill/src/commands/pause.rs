//! `tidemill pause` and `tidemill resume`: let the schedule of a DAG stand still, or go on; or a run.

use serde_json::json;
use tidemill_model::{DagId, RunId};

use crate::cli::{Pause, Target};
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;

pub(crate) fn run(globals: &Globals, command: &Pause, paused: bool) -> Result<(), Failure> {
    let verb = if paused { "pause" } else { "resume" };
    match &command.target {
        Target::Dag(dag) => of_dag(globals, dag, verb),
        Target::Run(run) => of_run(globals, run, verb),
    }
}

fn of_dag(globals: &Globals, dag: &DagId, verb: &str) -> Result<(), Failure> {
    let known = with_home(globals, None, Mode::Own, async |access| {
        access.post(&format!("/api/v1/dags/{dag}/{verb}"), &json!({})).await?;
        Ok(access.get(&format!("/api/v1/dags/{dag}")).await)
    })?;
    if verb == "pause" {
        println!("{dag} is paused: nothing of it is due until `tidemill resume {dag}`");
        return Ok(());
    }
    match known?["next_tick"].as_str() {
        Some(tick) => println!("{dag} is not paused; its next run is due at {tick}"),
        None => println!("{dag} is not paused"),
    }
    Ok(())
}

fn of_run(globals: &Globals, run: &RunId, verb: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/runs/{run}/{verb}");
    with_home(globals, None, Mode::Look, async |access| access.post(&path, &json!({})).await)?;
    if verb == "pause" {
        println!("{run} is paused: nothing more of it begins until `tidemill resume {run}`");
    } else {
        println!("{run} goes on");
    }
    Ok(())
}
