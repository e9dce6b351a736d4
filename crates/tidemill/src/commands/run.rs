//! `tidemill run`: a DAG file, now.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tidemill_model::time::BadInterval;
use tidemill_model::{Dag, DataInterval, RunState};

use crate::access::Access;
use crate::answers::Answers;
use crate::catalog::folder_of;
use crate::cli::{Run, RunInput, RunPart};
use crate::commands::{Globals, with_home};
use crate::failure::{Failure, invalid, print_diagnostics};
use crate::folder::read_dag;
use crate::neighbours::Siblings;
use crate::node::{Mode, SystemClock};
use crate::progress::{Interrupt, Show, follow, verdict};
use crate::view;

pub(crate) fn run(globals: &Globals, command: &Run) -> Result<(), Failure> {
    let folder = Some(folder_of(&command.file));
    with_home(globals, folder, Mode::Own, async |access| run_file(access, command).await)
}

async fn run_file(access: &Access, command: &Run) -> Result<(), Failure> {
    let id = submit(access, &command.file, &command.input, &command.part).await?;
    let show = if command.json { Show::Nothing } else { Show::Tasks };
    if !command.json {
        println!("{id}");
    }
    let mut answers =
        if command.yes { Answers::yes(&id, &command.answers)? } else { Answers::of(&id) };
    let run = follow(access, &id, show, &mut answers, Interrupt::Cancels).await?;
    for value in answers.left() {
        eprintln!("nothing asked for `--answer {value}`");
    }
    if command.json {
        println!("{:#}", as_json(&run));
    } else {
        println!("{}", verdict(&run));
        if let Some(address) = access.address() {
            println!("{address}/runs/{id}");
        }
    }
    if run.state == RunState::Succeeded { Ok(()) } else { Err(Failure::RunFailed) }
}

/// Checks a file, prints what is wrong with it, and starts a run of it; gives the run's id.
pub(crate) async fn submit(
    access: &Access,
    file: &Path,
    input: &RunInput,
    part: &RunPart,
) -> Result<String, Failure> {
    let (_, loaded) = read_dag(file, &access.catalog()).map_err(invalid)?;
    print_diagnostics(&loaded.diagnostics);
    let blocked = loaded.diagnostics.iter().any(|d| d.blocks_run);
    let Some(dag) = loaded.dag.filter(|_| !blocked) else {
        eprintln!("`{}` is not run, because of the above", file.display());
        return Err(Failure::Invalid);
    };
    called_can_run(&dag, file, access)?;
    let body = json!({
        "path": absolute(file)?,
        "params": params(&dag, &input.params)?,
        "interval": interval(input.interval.as_deref())?,
        "part": {"only": part.only, "from": part.from, "stubs": stubs(&part.stubs)?},
    });
    let answer = access.post("/api/v1/run-file", &body).await?;
    id_of(&answer)
}

/// Refuses a DAG that would call one whose file is wrong: the run could only fail.
fn called_can_run(dag: &Dag, file: &Path, access: &Access) -> Result<(), Failure> {
    let catalog = access.catalog();
    let Some((task, callee, path)) = Siblings::new(file, &catalog).broken_callee(dag) else {
        return Ok(());
    };
    match read_dag(&path, &catalog) {
        Ok((_, loaded)) => print_diagnostics(&loaded.diagnostics),
        Err(found) => print_diagnostics(&[*found]),
    }
    eprintln!(
        "`{}` is not run: its task `{task}` calls `{callee}`, which cannot run because of the above",
        file.display()
    );
    Err(Failure::Invalid)
}

/// `TABLE=FILE` texts, the files absolute.
fn stubs(given: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut stubs = Map::new();
    for text in given {
        let (table, file) = text.split_once('=').ok_or_else(|| {
            Failure::argument(format!("`--stub {text}` names no file; write `--stub TABLE=FILE`"))
        })?;
        if stubs.insert(table.to_owned(), json!(absolute(Path::new(file))?)).is_some() {
            return Err(Failure::argument(format!(
                "`--stub {table}` is given twice; give it once"
            )));
        }
    }
    Ok(stubs)
}

/// The run's id in an answer.
pub(crate) fn id_of(answer: &Value) -> Result<String, Failure> {
    answer["id"]
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Failure::files("the answer names no run"))
}

fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(file)
        .map_err(|error| Failure::files(format!("cannot find `{}`: {error}", file.display())))
}

/// `NAME=VALUE` texts as values of the types that the DAG gives its params.
fn params(dag: &Dag, given: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut params = Map::new();
    for text in given {
        let (name, value) = split_param(text)?;
        let value = match dag.params.get(name) {
            Some(param) => param.kind.read(value).ok_or_else(|| {
                let kind = param.kind.value();
                Failure::argument(format!("param `{name}` must be {kind}, not `{value}`"))
            })?,
            // What the DAG does not know is refused by name further on.
            None => Value::from(value),
        };
        put_param(&mut params, name, value)?;
    }
    dag.params_of(&params).map_err(Failure::argument)?;
    Ok(params)
}

/// Adds a param; one that is given twice is an error, as it is in YAML.
pub(crate) fn put_param(
    params: &mut Map<String, Value>,
    name: &str,
    value: Value,
) -> Result<(), Failure> {
    match params.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(Failure::argument(format!("`--param {name}` is given twice; give it once"))),
    }
}

/// `NAME=VALUE` in its parts.
pub(crate) fn split_param(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once('=').ok_or_else(|| {
        Failure::argument(format!("`--param {text}` has no value; write `--param NAME=VALUE`"))
    })
}

/// `START/END` as the API wants it.
pub(crate) fn interval(text: Option<&str>) -> Result<Value, Failure> {
    let Some(text) = text else { return Ok(Value::Null) };
    let interval: DataInterval = text.parse().map_err(|error: BadInterval| {
        Failure::argument(format!("`--interval {text}`: {error}; {}", error.help()))
    })?;
    Ok(Value::from(format!("{}/{}", interval.start, interval.end)))
}

/// A run for machines.
pub(crate) fn as_json(run: &view::Run) -> Value {
    let now = tidemill_scheduler::Clock::now(&SystemClock);
    let tasks: Vec<Value> = (run.tasks.iter())
        .map(|task| {
            json!({"name": task.name, "state": task.state, "attempts": task.attempts,
                "counts": task.counts(), "seconds": task.seconds(now), "error": task.error,
                "reason": task.reason, "warnings": task.warnings, "outputs": task.outputs,
                "reused": task.reused.as_ref().map(|reused| &reused.run)})
        })
        .collect();
    json!({"run": run.id, "dag": run.dag, "state": run.state, "params": run.params,
        "trigger": run.trigger, "seconds": run.seconds(now), "tasks": tasks,
        "created_at": run.created_at.0.to_string()})
}
