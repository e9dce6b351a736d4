//! What an attempt of each action does.

mod command;
pub(crate) mod files;
mod gather;
mod ingest;
mod inputs;
mod load;
mod rejects;
mod reuse;
pub mod schemas;
mod transform;

use std::sync::Arc;
use std::time::Instant;

use tidemill_connector::ErrorKind;
use tidemill_model::dag::Task;
use tidemill_model::run::lost_error;
use tidemill_model::words::counted;
use tidemill_model::{
    Action, AttemptOrder, AttemptReport, Counts, LostCause, ReportOutcome, SmallTable, TaskError,
    TaskResult,
};

use tracing::Instrument;

use self::reuse::Reuse;
use crate::executor::{Origin, Shared};
use crate::flag::{Stop, StopFlag};
use crate::logs::AttemptLog;
use crate::scope::task_error;
use crate::tables::AttemptOutputs;

/// What an attempt works with.
pub(crate) struct Attempt {
    pub(crate) shared: Arc<Shared>,
    pub(crate) order: Arc<AttemptOrder>,
    pub(crate) stop: StopFlag,
    pub(crate) log: AttemptLog,
    pub(crate) origin: Origin,
    /// When this process began with it.
    pub(crate) begun: Instant,
}

/// How the work of an attempt ended, before it is known whether it was asked to stop.
pub(crate) enum Ended {
    /// With a result.
    Done(TaskResult, Vec<SmallTable>),
    /// There was nothing to do.
    Skipped(String),
    /// With an error.
    Failed(TaskError),
    /// It stopped, as it was asked to.
    Stopped,
    /// It was to stop, and something of it would not.
    Unkillable(TaskError),
    /// Nobody knows how.
    Lost(LostCause),
    /// It has not: its command goes on, and this process does not wait for it.
    GoesOn,
}

impl Attempt {
    /// The task.
    pub(crate) fn task(&self) -> &Task {
        self.order.dag.task(self.order.id.task.task)
    }

    /// Does the work, from the first note of the log to the report. There is none if the command
    /// goes on without this process.
    pub(crate) async fn run(self) -> Option<AttemptReport> {
        let ended = match self.origin {
            Origin::New => self.work().await,
            // What it was made from may have changed since it began: its result is not kept for a
            // `cache`.
            Origin::Adopted => command::adopted(&self).await,
        };
        let (outcome, small_tables) = self.outcome(ended)?;
        self.log.note(&summary(&outcome));
        self.log.finish();
        Some(AttemptReport { id: self.order.id.clone(), outcome, small_tables })
    }

    async fn work(&self) -> Ended {
        let task = self.task();
        let action = match &self.order.gather {
            Some(gather) => format!("puts together {}", counted(gather.items.len(), "item")),
            None => format!("{} {}", task.action.key(), task.action.kind()),
        };
        let name = self.order.dag.name_of(self.order.id.task);
        self.log.note(&format!("attempt {} of `{name}`: {action}", self.order.id.attempt));
        match self.reused() {
            Reuse::Found(ended) => ended,
            Reuse::Nothing(keep) => {
                let ended = self.act().await;
                if let (Ended::Done(result, _), Some(keep)) = (&ended, keep) {
                    self.keep(&keep, result);
                }
                ended
            }
        }
    }

    /// Does what the action says.
    async fn act(&self) -> Ended {
        let task = self.task();
        match &task.action {
            _ if self.order.gather.is_some() => self.gather(),
            // The kernel does not order these: a group is nothing but its members, and what waits has
            // nobody to work on it.
            Action::Noop
            | Action::Group(_)
            | Action::Wait(_)
            | Action::Approve(_)
            | Action::Call(_) => Ended::Done(TaskResult::default(), Vec::new()),
            Action::Run(command) => command::run(self, command).await,
            Action::Ingest { connector, config } => {
                self.ingest(connector, config).instrument(self.span()).await
            }
            Action::Transform { kind, config, .. } => {
                self.transform(kind, config).instrument(self.span()).await
            }
            Action::Load { connector, config } => {
                self.load(connector, config).instrument(self.span()).await
            }
        }
    }

    fn span(&self) -> tracing::Span {
        tracing::info_span!("connector", kind = self.task().action.kind())
    }

    /// A result that came in spite of a wish to stop stands.
    fn outcome(&self, ended: Ended) -> Option<(ReportOutcome, Vec<SmallTable>)> {
        let outcome = match (ended, self.stop.reason()) {
            (Ended::GoesOn, _) => return None,
            (Ended::Done(result, small), _) => {
                return Some((ReportOutcome::Succeeded(result), small));
            }
            (Ended::Skipped(reason), _) => ReportOutcome::Skipped(reason),
            (Ended::Unkillable(error), _) => ReportOutcome::Failed(error),
            (Ended::Lost(_), Some(Stop::Cancel)) => ReportOutcome::Cancelled,
            (Ended::Lost(cause), None) => ReportOutcome::Lost(cause),
            (_, Some(Stop::Timeout)) => ReportOutcome::Failed(self.timeout_error()),
            (_, Some(Stop::Shutdown)) => ReportOutcome::Interrupted,
            (Ended::Stopped, _) => ReportOutcome::Cancelled,
            (Ended::Failed(_), Some(Stop::Cancel)) => ReportOutcome::Cancelled,
            (Ended::Failed(error), None) => ReportOutcome::Failed(error),
        };
        Some((outcome, Vec::new()))
    }

    fn timeout_error(&self) -> TaskError {
        let limit = self.task().timeout.unwrap_or_default();
        let message = format!(
            "took longer than its timeout of {}",
            tidemill_model::time::human_duration(limit)
        );
        TaskError::new(tidemill_model::FailureKind::Timeout, message)
            .help(Some("give the task more time with `timeout`, or less to do".to_owned()))
    }

    /// The result of work that made tables.
    pub(crate) fn done(outputs: &AttemptOutputs, counts: Counts, warnings: Vec<String>) -> Ended {
        let (tables, small) = outputs.for_report();
        let result = TaskResult { tables, counts, warnings, ..TaskResult::default() };
        Ended::Done(result, small)
    }

    /// A connector's error as the end of the attempt.
    pub(crate) fn failed(error: &tidemill_connector::ConnectorError) -> Ended {
        match error.kind {
            ErrorKind::Cancelled => Ended::Stopped,
            _ => Ended::Failed(task_error(error)),
        }
    }
}

/// How an attempt ended, as the last lines of its log say it.
pub(crate) fn summary(outcome: &ReportOutcome) -> String {
    match outcome {
        ReportOutcome::Succeeded(result) => {
            let counts = &result.counts;
            let mut text = format!(
                "succeeded: {} in, {} out",
                counted(counts.rows_in, "row"),
                counted(counts.rows_out, "row")
            );
            if counts.duplicates > 0 {
                text.push_str(&format!(", {}", counted(counts.duplicates, "duplicate")));
            }
            for (reason, rows) in counts.rejected.iter().filter(|(_, rows)| *rows > 0) {
                text.push_str(&format!(", {rows} rejected: {reason}"));
            }
            for warning in &result.warnings {
                text.push_str(&format!("\nwarning: {warning}"));
            }
            text
        }
        ReportOutcome::Failed(error) => format!("failed: {error}"),
        ReportOutcome::Skipped(reason) => format!("skipped: {reason}"),
        ReportOutcome::Cancelled => "cancelled".to_owned(),
        ReportOutcome::Lost(cause) => format!("lost: {}", lost_error(*cause).message),
        ReportOutcome::Interrupted => "ended, because the server is being stopped".to_owned(),
    }
}
