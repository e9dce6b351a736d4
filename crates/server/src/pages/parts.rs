//! What several pages show: rows of runs, histories, problems, lines of logs.

use std::time::Duration;

use serde_json::Value;
use tidemill_model::run::{AttemptRecord, Note};
use tidemill_model::{
    FailureKind, RunHead, RunState, TaskError, TaskIx, TaskRun, TaskState, Timestamp, Trigger,
};
use tidemill_store::RunSummary;

use crate::ansi::{self, Piece};
use crate::app::App;
use crate::backend::{LogFrom, LogLine, LogQuery, RECENT_RUNS_MAX, RunDetail};
use crate::say::{self, When};

/// A state: its class and its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// The name of its class and its sign.
    pub(crate) class: &'static str,
}

impl State {
    /// The words.
    pub(crate) fn word(self) -> String {
        self.class.replace('_', " ")
    }
}

impl From<RunState> for State {
    fn from(state: RunState) -> Self {
        Self { class: state.label() }
    }
}

impl From<TaskState> for State {
    fn from(state: TaskState) -> Self {
        Self { class: state.label() }
    }
}

/// What somebody had to say.
#[derive(Debug, Clone)]
pub(crate) struct NoteShown {
    pub(crate) text: String,
    pub(crate) who: String,
    pub(crate) at: When,
}

impl NoteShown {
    pub(crate) fn new(note: &Note, now: Timestamp) -> Self {
        Self { text: note.text.clone(), who: note.who.clone(), at: When::new(note.at, now) }
    }
}

/// A part of a bar, in thousandths of its width.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) x: u64,
    pub(crate) width: u64,
    pub(crate) class: &'static str,
}

/// The order in which states stand in a bar: what is done, what went wrong, what is under way.
const BAR_ORDER: [TaskState; 11] = [
    TaskState::Succeeded,
    TaskState::Skipped,
    TaskState::Removed,
    TaskState::Failed,
    TaskState::UpstreamFailed,
    TaskState::Cancelled,
    TaskState::Running,
    TaskState::UpForRetry,
    TaskState::Waiting,
    TaskState::Queued,
    TaskState::Pending,
];

/// How far a run is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) segments: Vec<Segment>,
    pub(crate) done: u32,
    pub(crate) total: u32,
    /// `18 succeeded, 1 failed`.
    pub(crate) words: String,
}

impl Progress {
    /// From counts in the order of [`TaskState::ALL`].
    pub(crate) fn new(counts: &[u32; 11]) -> Self {
        let total: u32 = counts.iter().sum();
        let of = |state: TaskState| counts[state as usize];
        let mut segments = Vec::new();
        let mut before = 0;
        for state in BAR_ORDER.into_iter().filter(|state| of(*state) > 0) {
            let x = u64::from(before) * 1000 / u64::from(total.max(1));
            before += of(state);
            let end = u64::from(before) * 1000 / u64::from(total.max(1));
            segments.push(Segment { x, width: end - x, class: state.label() });
        }
        widen(&mut segments);
        let present = BAR_ORDER.into_iter().filter(|state| of(*state) > 0);
        let words = present.map(|state| format!("{} {}", of(state), State::from(state).word()));
        Self {
            segments,
            done: TaskState::ALL.into_iter().filter(|s| s.is_final()).map(of).sum(),
            total,
            words: words.collect::<Vec<_>>().join(", "),
        }
    }

    /// From tasks.
    pub(crate) fn of(run: &RunDetail) -> Self {
        let mut counts = [0; 11];
        for task in &run.tasks {
            counts[task.state as usize] += 1;
        }
        Self::new(&counts)
    }
}

/// In thousandths: two failures among a thousand successes can still be seen.
const SEGMENT_MIN: u64 = 20;

/// Gives small segments room, at the cost of the largest.
fn widen(segments: &mut [Segment]) {
    let missing: u64 = segments.iter().map(|part| SEGMENT_MIN.saturating_sub(part.width)).sum();
    if let Some(largest) = segments.iter_mut().max_by_key(|part| part.width)
        && largest.width > missing + SEGMENT_MIN
    {
        largest.width -= missing;
        for part in segments.iter_mut() {
            part.width = part.width.max(SEGMENT_MIN);
        }
    }
    let mut x = 0;
    for part in segments {
        part.x = x;
        x += part.width;
    }
}

/// A run in a list.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    pub(crate) id: String,
    pub(crate) dag: String,
    pub(crate) number: u64,
    pub(crate) state: State,
    pub(crate) why: String,
    pub(crate) interval: Option<String>,
    pub(crate) created: When,
    pub(crate) took: Option<String>,
    pub(crate) progress: Progress,
}

/// `schedule`, `browser`.
pub(crate) fn why(head: &RunHead) -> String {
    match &head.trigger {
        Trigger::Schedule { .. } => "schedule".to_owned(),
        Trigger::Manual { who } => who.clone(),
        Trigger::Call { run, .. } => format!("run {run}"),
        Trigger::Dag { signal, .. } => {
            format!("run {}, which {}", signal.run, signal.state.label())
        }
        Trigger::Dataset { signals, count, .. } => {
            let newest = signals.last();
            let name = newest.and_then(|signal| signal.dataset.as_deref()).unwrap_or("a dataset");
            let run = newest.map(|signal| signal.run.to_string()).unwrap_or_default();
            match count {
                1 => format!("{name}, made by {run}"),
                count => format!("{name}, made by {run}, and {} before it", count - 1),
            }
        }
    }
}

impl RunRow {
    pub(crate) fn new(run: &RunSummary, now: Timestamp) -> Self {
        let head = &run.head;
        Self {
            id: head.id.to_string(),
            dag: head.id.dag.to_string(),
            number: head.id.number,
            state: head.state.into(),
            why: why(head),
            interval: head.interval.map(say::interval),
            created: When::new(head.created_at, now),
            took: say::span(head.started_at, head.finished_at, now),
            progress: Progress::new(&run.counts),
        }
    }
}

/// A run as a bar in a history.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) height: u32,
    pub(crate) class: &'static str,
}

/// The newest runs of a DAG, the newest at the right: height = how long, colour = state.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) bars: Vec<Bar>,
    pub(crate) width: u32,
    /// `12 succeeded, 2 failed`.
    pub(crate) words: String,
}

/// Pixels of a history.
const HISTORY_HEIGHT: u32 = 24;
const BAR_STEP: u32 = 7;

/// How long a run has taken so far.
pub(crate) fn so_far(head: &RunHead, now: Timestamp) -> Duration {
    head.started_at.map_or(Duration::ZERO, |start| head.finished_at.unwrap_or(now).since(start))
}

impl History {
    pub(crate) fn new(recent: &[RunSummary], now: Timestamp) -> Self {
        let recent = &recent[..recent.len().min(RECENT_RUNS_MAX)];
        let longest = recent.iter().map(|run| so_far(&run.head, now)).max().unwrap_or_default();
        let first = RECENT_RUNS_MAX - recent.len();
        let bars = recent.iter().rev().enumerate().map(|(at, run)| {
            let share = so_far(&run.head, now).as_secs_f64() / longest.as_secs_f64().max(1e-6);
            let height = 5 + (share * f64::from(HISTORY_HEIGHT - 5)).round() as u32;
            Bar {
                x: (first + at) as u32 * BAR_STEP,
                y: HISTORY_HEIGHT - height,
                height,
                class: run.head.state.label(),
            }
        });
        let words = RunState::ALL.into_iter().filter_map(|state| {
            let n = recent.iter().filter(|run| run.head.state == state).count();
            (n > 0).then(|| format!("{n} {}", state.label()))
        });
        Self {
            bars: bars.collect(),
            width: RECENT_RUNS_MAX as u32 * BAR_STEP - 2,
            words: words.collect::<Vec<_>>().join(", "),
        }
    }
}

/// A line of a log.
#[derive(Debug, Clone)]
pub(crate) struct LogRow {
    pub(crate) offset: u64,
    pub(crate) time: String,
    pub(crate) full: String,
    pub(crate) stream: &'static str,
    pub(crate) pieces: Vec<Piece>,
}

impl From<&LogLine> for LogRow {
    fn from(line: &LogLine) -> Self {
        let at = line.at.map(Timestamp::to_utc);
        Self {
            offset: line.offset,
            time: at.map(|at| at.format("%H:%M:%S%.3f").to_string()).unwrap_or_default(),
            full: at
                .map(|at| at.format("%Y-%m-%d %H:%M:%S%.6f UTC").to_string())
                .unwrap_or_default(),
            stream: line.stream.label(),
            pieces: ansi::pieces(&line.text),
        }
    }
}

/// A task that went wrong, with what an operator wants to know first.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) task: String,
    pub(crate) url: String,
    pub(crate) attempt: u32,
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) place: Option<String>,
    pub(crate) help: Option<String>,
    /// The last lines of its log.
    pub(crate) log: Vec<LogRow>,
}

/// Tasks that failed by themselves, in the order in which they did.
pub(crate) fn failed_tasks(run: &RunDetail) -> Vec<TaskIx> {
    let mut failed: Vec<TaskIx> = (0..run.tasks.len() as u32)
        .map(TaskIx)
        .filter(|ix| run.tasks[ix.at()].state == TaskState::Failed)
        .filter(|ix| speaks_for_itself(run, *ix))
        .collect();
    failed.sort_by_key(|ix| run.tasks[ix.at()].finished_at);
    failed
}

/// Whether a failed task says what went wrong. A group says no more than the members that failed,
/// and members that are there for each item say less than their group.
fn speaks_for_itself(run: &RunDetail, ix: TaskIx) -> bool {
    let Some(dag) = &run.dag else { return true };
    let failed = |member: &TaskIx| run.tasks[member.at()].state == TaskState::Failed;
    let is_plain_group = dag.task(ix).is_group() && dag.root(ix).is_none();
    let repeats_a_member = is_plain_group && dag.members(ix).iter().any(failed);
    !dag.is_repeated(ix) && !repeats_a_member
}

/// What to do about an error, and what the other side asked for.
fn help_of(error: &TaskError) -> Option<String> {
    let parts: Vec<String> = error.asked_wait().into_iter().chain(error.help.clone()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The problem of a task, with at most `lines` lines of its log.
pub(crate) async fn problem(app: &App, run: &RunDetail, ix: TaskIx, lines: usize) -> Problem {
    problem_of(app, run, run.task_name(ix), &run.tasks[ix.at()], lines).await
}

/// The problem of a task, or of an item of it.
pub(crate) async fn problem_of(
    app: &App,
    run: &RunDetail,
    name: String,
    task: &TaskRun,
    lines: usize,
) -> Problem {
    let error = task.error.as_deref();
    let log = if task.attempts > 0 && lines > 0 {
        last_lines(app, run, &name, task.attempts, lines).await
    } else {
        Vec::new()
    };
    Problem {
        url: format!("/runs/{}/tasks/{name}", run.head.id),
        task: name,
        attempt: task.attempts,
        kind: error.map_or("", |error| kind_word(error.kind)).to_owned(),
        message: error
            .map_or_else(|| "it failed without a message".to_owned(), |e| e.message.clone()),
        place: error.and_then(|error| error.place.clone()),
        help: error.and_then(help_of),
        log,
    }
}

/// The class of a failure, as a heading.
fn kind_word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Exit => "command failed",
        FailureKind::Signal => "ended by a signal",
        FailureKind::Timeout => "timeout",
        FailureKind::Transient => "another system did not answer",
        FailureKind::Refused => "refused by another system",
        FailureKind::Misconfigured => "wrong configuration",
        FailureKind::Data => "wrong data",
        FailureKind::Check => "check failed",
        FailureKind::Expression => "expression failed",
        FailureKind::Internal => "trouble on this machine",
        FailureKind::Lost => "lost with the server",
        FailureKind::Inside => "something inside failed",
    }
}

/// The word of an enum of the model in its JSON form.
pub(crate) fn word_of(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

async fn last_lines(
    app: &App,
    run: &RunDetail,
    task: &str,
    attempt: u32,
    lines: usize,
) -> Vec<LogRow> {
    let (run, task) = (run.head.id.clone(), task.to_owned());
    let query = LogQuery { run, task, attempt, from: LogFrom::Tail, limit: lines };
    // A log that cannot be read is no reason not to show the error.
    let page = app.backend.logs(query).await.unwrap_or_default();
    page.lines.iter().filter(|line| !line.text.trim().is_empty()).map(LogRow::from).collect()
}

/// A name and a value.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Names and values of a JSON object.
pub(crate) fn facts(map: &serde_json::Map<String, Value>) -> Vec<Fact> {
    map.iter().map(|(name, value)| Fact { name: name.clone(), value: plain(value) }).collect()
}

/// A value as a person reads it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub(crate) struct AttemptRow {
    pub(crate) attempt: u32,
    pub(crate) class: &'static str,
    pub(crate) outcome: String,
    pub(crate) took: String,
    pub(crate) started: When,
    pub(crate) error: Option<String>,
    pub(crate) chosen: bool,
}

impl AttemptRow {
    pub(crate) fn new(record: &AttemptRecord, chosen: u32, now: Timestamp) -> Self {
        use tidemill_model::AttemptOutcome as Outcome;
        let class = match record.outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Cancelled => "cancelled",
            Outcome::Lost => "lost",
        };
        Self {
            attempt: record.attempt,
            class,
            outcome: word_of(&record.outcome),
            took: say::duration(record.finished_at.since(record.started_at)),
            started: When::new(record.started_at, now),
            error: record.error.clone(),
            chosen: record.attempt == chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: [u32; 11], expected: &[(u64, u64, &str)], words: &str) {
        let progress = Progress::new(&counts);
        let parts: Vec<(u64, u64, &str)> =
            progress.segments.iter().map(|part| (part.x, part.width, part.class)).collect();
        assert_eq!((parts.as_slice(), progress.words.as_str()), (expected, words));
    }

    #[test]
    fn bars_show_every_state_that_occurs() {
        check([0; 11], &[], "");
        let half = [(0, 500, "succeeded"), (500, 500, "pending")];
        check([2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0], &half, "2 succeeded, 2 pending");
        let few = [(0, 980, "succeeded"), (980, 20, "failed")];
        check([0, 0, 0, 0, 0, 998, 2, 0, 0, 0, 0], &few, "998 succeeded, 2 failed");
    }
}
