//! One operation on every run that a filter chooses.

use serde_json::{Value, json};
use tidemill_model::time::parse_duration;
use tidemill_model::words::counted;
use tidemill_model::{RunState, Timestamp};
use tidemill_scheduler::Clock as _;

use crate::access::Access;
use crate::cli::Filter;
use crate::failure::Failure;
use crate::node::SystemClock;

/// Does `operation`, a word of the API, to the runs, and says to which.
pub(crate) async fn run(
    access: &Access,
    operation: &str,
    filter: &Filter,
    with: &Value,
    is_preview: bool,
) -> Result<(), Failure> {
    let body = json!({"filter": of(filter)?, "with": with, "preview": is_preview});
    loop {
        let bulk = access.post(&format!("/api/v1/runs/{operation}"), &body).await?;
        let runs: Vec<&str> =
            bulk["runs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if is_preview {
            println!("would {operation} {}", counted(runs.len(), "run"));
            for run in &runs {
                println!("  {run}");
            }
        } else {
            let done = bulk["done"].as_u64().unwrap_or_default();
            println!("{operation}: {} of {}", done, counted(runs.len(), "run"));
            for refused in bulk["refused"].as_array().into_iter().flatten() {
                println!("  not {}: {}", text(&refused["id"]), text(&refused["detail"]));
            }
        }
        if bulk["more"] != json!(true) {
            return Ok(());
        }
        if is_preview || bulk["done"] == json!(0) {
            println!("  and older ones");
            return Ok(());
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn of(filter: &Filter) -> Result<Value, Failure> {
    let states: Vec<&str> = filter.states.iter().map(|state: &RunState| state.label()).collect();
    let since = filter.since.as_deref().map(instant).transpose()?;
    Ok(json!({
        "dag": filter.dag,
        "state": (!states.is_empty()).then(|| states.join(",")),
        "created_after": since.map(|at| at.to_string()),
    }))
}

/// An instant, a date, or so long ago.
fn instant(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(SystemClock.now().minus(ago));
    }
    let at = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    at.map_err(|_| {
        Failure::argument(format!(
            "`{text}` is no instant: write it as 2026-01-31, as 2026-01-31T08:00:00Z, or as so long \
             ago, 2h or 1d"
        ))
    })
}
