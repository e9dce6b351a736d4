//! `tidemill plan`: what a DAG would do.

use serde::Serialize;
use serde_json::{Value, json};
use tidemill_model::schedule::{Tick, ticks};
use tidemill_model::words::cut;
use tidemill_model::{Dag, Version};
use tidemill_spec::{Change, Diagnostic, Severity, changes, meaning};

use crate::access::Access;
use crate::cli::Plan;
use crate::commands::{Globals, runtime};
use crate::failure::Failure;
use crate::planning::Planned;
use crate::planning::desk::{Desk, Read};
use crate::print::{Align, table};

/// Ticks that are shown.
const TICKS_SHOWN: usize = 5;

pub(crate) fn run(globals: &Globals, command: &Plan) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let desk = Desk::open(globals).await?;
        let planned = look(&desk, globals, command).await;
        desk.close().await;
        planned
    })
}

async fn look(desk: &Desk, globals: &Globals, command: &Plan) -> Result<(), Failure> {
    let Read { dag, planned, diagnostics } = desk.read(globals, &command.file).await?;
    let due: Vec<Tick<'_>> = ticks(dag.timers(), desk.now).take(TICKS_SHOWN).collect();
    if let Some(trouble) = &desk.trouble {
        eprintln!("the deployed version cannot be looked at: {trouble}\n");
    }
    let deployed = match &desk.home {
        Some(home) => Deployed::of(home, &dag).await,
        None => None,
    };
    if command.json {
        let mut plan = as_json(&dag, &due, &planned);
        plan["deployed"] = json!(deployed);
        plan["problems"] = json!(diagnostics);
        println!("{plan:#}");
    } else {
        print!("{}", as_text(&dag, &due, &planned));
        if let Some(deployed) = deployed {
            print!("{}", deployed.to_text(&dag));
        }
    }
    let is_error = |found: &Diagnostic| found.severity == Severity::Error;
    if diagnostics.iter().any(is_error) { Err(Failure::Invalid) } else { Ok(()) }
}

/// The version that new runs take, and what the file would change.
#[derive(Debug, Serialize)]
struct Deployed {
    version: Version,
    changes: Vec<Change>,
}

impl Deployed {
    /// What is deployed under the name of this DAG, if it is there.
    async fn of(home: &Access, dag: &Dag) -> Option<Self> {
        // A DAG that is not known is new, which needs no words.
        let known = home.get(&format!("/api/v1/dags/{}", dag.id)).await.ok()?;
        let version = serde_json::from_value(known["version"].clone()).ok()?;
        let changes = changes(&known["meaning"], &meaning(dag));
        (!known["meaning"].is_null()).then_some(Self { version, changes })
    }

    fn to_text(&self, dag: &Dag) -> String {
        if self.version == dag.version {
            return format!("\nthis is the deployed version, {}\n", self.version.short());
        }
        let mut text =
            format!("\nchanges against the deployed version, {}:\n", self.version.short());
        for Change { path, before, after } in &self.changes {
            text.push_str(&match (before.as_ref().map(shown), after.as_ref().map(shown)) {
                (None, Some(after)) => format!("  + {path}: {after}\n"),
                (Some(before), None) => format!("  - {path}: {before}\n"),
                (Some(_), Some(_)) => {
                    let (before, after) = beside(before.as_ref(), after.as_ref());
                    format!("  ~ {path}: {before} → {after}\n")
                }
                (None, None) => continue,
            });
        }
        text
    }
}

/// Two values in a line each, both from a little before the first place where they differ.
fn beside(before: Option<&Value>, after: Option<&Value>) -> (String, String) {
    const CHARS_BEFORE: usize = 12;
    let text = |value: Option<&Value>| value.map(whole).unwrap_or_default();
    let (before, after) = (text(before), text(after));
    let same = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    let skipped = same.saturating_sub(CHARS_BEFORE);
    let cut = |text: &str| {
        let dots = if skipped > 0 { "…" } else { "" };
        format!("{dots}{}", line(&text.chars().skip(skipped).collect::<String>()))
    };
    (cut(&before), cut(&after))
}

fn whole(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value in a line.
fn shown(value: &Value) -> String {
    line(&whole(value))
}

fn line(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    cut(text, CHARS_MAX).replace('\n', "⏎")
}

fn as_json(dag: &Dag, due: &[Tick<'_>], planned: &Planned) -> Value {
    let tasks: Vec<Value> = dag
        .order()
        .iter()
        .map(|ix| {
            let task = dag.task(*ix);
            let upstream: Vec<Value> = (task.upstream.iter())
                .map(|e| json!({"task": dag.task(e.task).name, "why": e.why}))
                .collect();
            let reads: Vec<&str> = task.reads.iter().map(|read| read.table.as_str()).collect();
            json!({"name": task.name, "action": task.action.key(), "kind": task.action.kind(),
                "pool": task.pool, "retries": task.retry.limit, "reads": reads,
                "upstream": upstream})
        })
        .collect();
    json!({"dag": dag.id, "version": dag.version, "schedule": dag.schedule_words(),
        "timezone": dag.timezone.name(), "next_ticks": due.iter().map(|(tick, _)| tick.to_string()).collect::<Vec<_>>(),
        "params": dag.params, "tasks": tasks, "tables": planned.to_json()})
}

fn as_text(dag: &Dag, due: &[Tick<'_>], planned: &Planned) -> String {
    let rows: Vec<Vec<String>> = dag
        .order()
        .iter()
        .enumerate()
        .map(|(i, ix)| {
            let task = dag.task(*ix);
            let after: Vec<String> = (task.upstream.iter())
                .map(|edge| format!("{} ({})", dag.task(edge.task).name, edge.why.join(", ")))
                .collect();
            vec![
                (i + 1).to_string(),
                task.name.to_string(),
                format!("{} {}", task.action.key(), task.action.kind()),
                after.join("; "),
            ]
        })
        .collect();
    let head = [
        ("#", Align::Right),
        ("task", Align::Left),
        ("action", Align::Left),
        ("after", Align::Left),
    ];
    let mut text =
        format!("{} (version {})\n\n{}", dag.id, dag.version.short(), table(&head, &rows));
    text.push_str(&planned.to_text());
    if let Some(words) = dag.schedule_words() {
        text.push_str(&format!("\nschedule `{words}` in {}; next:\n", dag.timezone));
    }
    for (tick, timer) in due {
        let local = tick.to_utc().with_timezone(&timer.zone).format("%a %Y-%m-%d %H:%M %Z");
        let by = if dag.triggers.len() > 1 { format!("  {}", timer.clock) } else { String::new() };
        text.push_str(&format!("  {local}{by}\n"));
    }
    text
}
