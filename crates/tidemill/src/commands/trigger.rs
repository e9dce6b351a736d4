//! `tidemill trigger`: a run of a deployed DAG.

use serde_json::{Map, Value, json};
use tidemill_model::RunState;
use tidemill_model::dag::ParamKind;

use crate::access::Access;
use crate::answers::Answers;
use crate::cli::Trigger;
use crate::commands::run::{as_json, id_of, interval, put_param, split_param};
use crate::commands::{Globals, with_home};
use crate::failure::Failure;
use crate::node::Mode;
use crate::progress::{Interrupt, Show, follow, verdict};

pub(crate) fn run(globals: &Globals, command: &Trigger) -> Result<(), Failure> {
    with_home(globals, None, Mode::Own, async |access| trigger(access, command).await)
}

async fn trigger(access: &Access, command: &Trigger) -> Result<(), Failure> {
    let dag = &command.dag;
    let known = access.get(&format!("/api/v1/dags/{dag}")).await?;
    let mut params = Map::new();
    for text in &command.input.params {
        let (name, value) = split_param(text)?;
        let kind = serde_json::from_value::<ParamKind>(known["params"][name]["type"].clone()).ok();
        let value = kind.map_or_else(|| Value::from(value), |kind| kind.read_or_text(value));
        put_param(&mut params, name, value)?;
    }
    let body = json!({"params": params, "interval": interval(command.input.interval.as_deref())?});
    let id = id_of(&access.post(&format!("/api/v1/dags/{dag}/runs"), &body).await?)?;
    // Without a server nobody else would carry the run on.
    if !command.wait && access.address().is_some() {
        if command.json {
            println!("{:#}", json!({"run": id}));
        } else {
            println!("{id}");
        }
        return Ok(());
    }
    let show = if command.json { Show::Nothing } else { Show::Tasks };
    let interrupt = if access.address().is_some() { Interrupt::Leaves } else { Interrupt::Cancels };
    let run = follow(access, &id, show, &mut Answers::of(&id), interrupt).await?;
    if command.json {
        println!("{:#}", as_json(&run));
    } else {
        println!("{}", verdict(&run));
    }
    if run.state == RunState::Succeeded { Ok(()) } else { Err(Failure::RunFailed) }
}
