//! A run as it goes on: a live display on a terminal, a line for each task otherwise.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use tidemill_model::template::as_text;
use tidemill_model::words::{cut, noun};
use tidemill_model::{RunState, TaskState, Timestamp};

use crate::access::Access;
use crate::answers::Answers;
use crate::failure::Failure;
use crate::node::SystemClock;
use crate::print::{mark, number, seconds};
use crate::signals::Signals;
use crate::view::{Items, Run, Task};

/// How often the run is asked for, while it goes on.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// On the standard output.
    Tasks,
    /// Nowhere.
    Nothing,
}

/// What Ctrl-C does to a run that is followed, or a wish to terminate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// It asks for the run's end, and the next one leaves at once.
    Cancels,
    /// It leaves a run that goes on without us.
    Leaves,
}

/// Reads a run.
pub(crate) async fn fetch(access: &Access, run: impl Display) -> Result<Run, Failure> {
    let value = access.get(&format!("/api/v1/runs/{run}")).await?;
    serde_json::from_value(value).map_err(|error| {
        Failure::server(format!("the answer about run {run} is not understood: {error}"))
    })
}

/// Waits for the end of a run and shows each task as it ends. An interrupt counts at any time, also
/// while somebody is asked.
pub(crate) async fn follow(
    access: &Access,
    run: &str,
    show: Show,
    answers: &mut Answers,
    interrupt: Interrupt,
) -> Result<Run, Failure> {
    let bar = (show == Show::Tasks && std::io::stdout().is_terminal()).then(spinner);
    let mut shown: BTreeSet<String> = BTreeSet::new();
    let mut interrupted = false;
    let mut signals = Signals::watch()?;
    loop {
        let now = fetch(access, run).await?;
        if show == Show::Tasks {
            for task in now.tasks.iter().filter(|task| task.state.is_final()) {
                if shown.insert(task.name.clone()) {
                    say(bar.as_ref(), &line(task, clock()));
                }
            }
        }
        if now.state.is_final() {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return Ok(now);
        }
        if let Some(bar) = &bar {
            bar.set_message(under_way(&now));
            bar.tick();
        }
        let may_ask =
            now.tasks.iter().any(|task| task.state == TaskState::Waiting || task.items.is_some());
        let go_on = async {
            if may_ask {
                answers.look(access, show, bar.as_ref()).await?;
            }
            access.wait_for_end(run, ASK_EVERY).await;
            Ok::<(), Failure>(())
        };
        tokio::select! {
            gone_on = go_on => gone_on?,
            () = signals.next() => {
                if interrupt == Interrupt::Leaves {
                    return Err(Failure::conflict(format!("left; run {run} goes on")));
                }
                if interrupted {
                    return Err(Failure::conflict(format!("left before run {run} had ended")));
                }
                interrupted = true;
                say(bar.as_ref(), "cancelling; press Ctrl-C again to leave at once");
                access.post(&format!("/api/v1/runs/{run}/cancel"), &serde_json::json!({})).await?;
            }
        }
    }
}

/// The time now, until which what is under way has taken.
pub(crate) fn clock() -> Timestamp {
    tidemill_scheduler::Clock::now(&SystemClock)
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
        bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
    }
    bar
}

/// Prints a line, above the live display if there is one.
pub(crate) fn say(bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.suspend(|| println!("{text}")),
        None => println!("{text}"),
    }
}

fn under_way(run: &Run) -> String {
    let names: Vec<&str> = (run.tasks.iter())
        .filter(|task| task.state == TaskState::Running)
        .map(|task| task.name.as_str())
        .collect();
    let done = run.tasks.iter().filter(|task| task.state.is_final()).count();
    format!("{done}/{} done, running: {}", run.tasks.len(), names.join(", "))
}

/// A task in one line.
pub(crate) fn line(task: &Task, now: Timestamp) -> String {
    let style = style_of(task.state);
    let label = task.state.label();
    let took = task.seconds(now).filter(|_| task.attempts > 0).map(seconds).unwrap_or_default();
    let mut text = format!("  {style}{}{style:#} {:<28} {took:>9}  ", mark(label), task.name);
    match (&task.error, task.state) {
        (Some(error), TaskState::Failed) => {
            text.push_str(&format!("{error} [{}]", error.kind.code()));
        }
        (Some(error), TaskState::UpForRetry) => {
            text.push_str(&format!("failed: {}", error.message));
        }
        (_, _)
            if task.items.is_some()
                && task.error.is_none()
                && task.reason.is_none()
                && task.state != TaskState::Succeeded => {}
        (_, TaskState::Succeeded) => {
            let from = match (&task.reason, &task.reused) {
                // It did not go: its result is from elsewhere.
                (Some(reason), _) => reason.clone(),
                (None, Some(reused)) => format!("unchanged since {}", reused.run),
                (None, None) => String::new(),
            };
            let parts = [counts(task), outputs(task), from];
            let parts: Vec<&str> =
                parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            text.push_str(&parts.join("; "));
        }
        _ => text.push_str(task.reason.as_deref().unwrap_or(label)),
    }
    if let Some(items) = &task.items {
        let gap = if text.ends_with("  ") { "" } else { "; " };
        text.push_str(&format!("{gap}{}", items_line(items)));
    }
    if task.attempts > 1 {
        text.push_str(&format!(" (attempt {})", task.attempts));
    }
    for warning in &task.warnings {
        let yellow = AnsiColor::Yellow.on_default();
        text.push_str(&format!("\n      {yellow}warning{yellow:#}: {warning}"));
    }
    text.trim_end().to_owned()
}

/// `4 items: 3 succeeded, 1 failed`.
fn items_line(items: &Items) -> String {
    let states = items.by_state.iter().filter_map(|(state, n)| {
        Some(format!("{} {}", number(n.as_u64()?), state.replace('_', " ")))
    });
    let left = items.total - items.begun;
    let left = (left > 0).then(|| format!("{} not begun", number(left)));
    let parts: Vec<String> = states.chain(left).collect();
    format!("{} {}: {}", number(items.total), noun(items.total, "item"), parts.join(", "))
}

/// `541,909 → 391,150 rows; 5,268 duplicates; 145,491 rejected`.
pub(crate) fn counts(task: &Task) -> String {
    let Some(counts) = task.counts().filter(|c| c.rows_in + c.rows_out > 0) else {
        return String::new();
    };
    let mut text = if task.action.as_deref() == Some("run") && counts.rows_out == 0 {
        // It may have made of them what is no table.
        format!("{} {} in", number(counts.rows_in), noun(counts.rows_in, "row"))
    } else if counts.rows_in == counts.rows_out {
        format!("{} {}", number(counts.rows_out), noun(counts.rows_out, "row"))
    } else {
        let rows = noun(counts.rows_out, "row");
        format!("{} → {} {rows}", number(counts.rows_in), number(counts.rows_out))
    };
    if counts.duplicates > 0 {
        text.push_str(&format!(
            "; {} {}",
            number(counts.duplicates),
            noun(counts.duplicates, "duplicate")
        ));
    }
    let rejected: Vec<String> = (counts.rejected.iter())
        .filter_map(|(reason, rows)| Some((reason, rows.as_u64().filter(|rows| *rows > 0)?)))
        .map(|(reason, rows)| format!("{reason} {}", number(rows)))
        .collect();
    if !rejected.is_empty() {
        text.push_str(&format!("; rejected: {}", rejected.join(", ")));
    }
    text
}

/// `customers = 2, day = 2026-01-31`: what a command left, each value cut to what a line can hold.
fn outputs(task: &Task) -> String {
    const CHARS_MAX: usize = 40;
    let told = task.outputs.iter().filter(|(_, value)| !value.is_null());
    let shown = told.map(|(name, value)| {
        format!("{name} = {}", cut(&as_text(value), CHARS_MAX).replace('\n', " "))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn style_of(state: TaskState) -> Style {
    match state {
        TaskState::Succeeded => AnsiColor::Green.on_default(),
        TaskState::Failed | TaskState::UpstreamFailed => AnsiColor::Red.on_default(),
        TaskState::Running => AnsiColor::Cyan.on_default(),
        _ => AnsiColor::BrightBlack.on_default(),
    }
}

/// The last line about a run.
pub(crate) fn verdict(run: &Run) -> String {
    let took = run.seconds(clock()).map(seconds);
    let style = match run.state {
        RunState::Succeeded => AnsiColor::Green.on_default(),
        RunState::Failed => AnsiColor::Red.on_default(),
        _ => Style::new(),
    };
    format!(
        "{style}{} {}{style:#} {}{}",
        mark(run.state.label()),
        run.id,
        run.state.label(),
        took.map(|took| format!(" in {took}")).unwrap_or_default()
    )
}
