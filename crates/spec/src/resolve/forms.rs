//! Values that are read from the canonical forms of their keys, which are good.

use std::time::Duration;

use serde_json::{Map, Value};
use tidemill_model::dag::{Concurrency, Overlap, Rate, Task};
use tidemill_model::expr::Expr;
use tidemill_model::time::parse_duration;

/// What `slots`, `priority`, `rate` and `queue_timeout` of a task say.
pub(super) fn read_task(task: &mut Task) {
    let whole = |key: &str| task.forms.get(key).and_then(Value::as_i64);
    let slots = whole("slots").and_then(|slots| u32::try_from(slots).ok());
    let priority = whole("priority").and_then(|priority| i32::try_from(priority).ok());
    let rate = task.forms.get("rate").and_then(rate);
    task.slots = slots.unwrap_or(1);
    task.priority = priority.unwrap_or(0);
    task.rate = rate;
    task.queue_timeout = span(&task.forms, "queue_timeout");
}

/// A duration.
pub(super) fn span(forms: &Map<String, Value>, key: &str) -> Option<Duration> {
    parse_duration(forms.get(key)?.as_str()?).ok()
}

/// After how many runs that failed one after the other a DAG is paused.
pub(super) fn auto_pause(forms: &Map<String, Value>) -> Option<u32> {
    let failures = forms.get("auto_pause")?.get("after_failures")?.as_u64()?;
    u32::try_from(failures).ok()
}

/// Members of a group have its priority, unless they have their own.
pub(super) fn hand_down(tasks: &mut [Task]) {
    for at in 0..tasks.len() {
        let Some(group) = tasks[at].group else { continue };
        if !tasks[at].forms.contains_key("priority") {
            tasks[at].priority = tasks[group.at()].priority;
        }
    }
}

fn rate(form: &Value) -> Option<Rate> {
    let limit = u32::try_from(form["limit"].as_u64()?).ok()?;
    Some(Rate { limit, per: parse_duration(form["per"].as_str()?).ok()? })
}

/// What `concurrency` of a DAG says.
pub(super) fn concurrency(forms: &Map<String, Value>) -> Option<Concurrency> {
    let form = forms.get("concurrency")?;
    let limit = form.get("limit").and_then(Value::as_u64);
    let overlap = form.get("overlap").and_then(Value::as_str);
    let key = form.get("key").and_then(Value::as_str);
    Some(Concurrency {
        limit: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(1),
        overlap: overlap.and_then(Overlap::parse).unwrap_or_default(),
        key: key.and_then(|source| Expr::parse(source).ok()),
    })
}
