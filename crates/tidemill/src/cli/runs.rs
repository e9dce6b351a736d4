//! The commands about runs that are there.

use clap::{Args, ValueEnum};
use tidemill_model::{DagId, RunId, RunState};

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Only of this DAG.
    #[arg(long)]
    pub(crate) dag: Option<DagId>,
    /// Only in this state; may be given several times.
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    pub(crate) states: Vec<RunState>,
    /// At most so many: 1 to 10,000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Print JSON: a page of runs as in the API, and `server`, the address of the server that works
    /// on them. Without one it is null, and what is unfinished stands still.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The run, for example `orders.17`.
    pub(crate) run: RunId,
    /// One of its tasks, or an item of a mapped one, `load[17]`: with its items or its members.
    pub(crate) task: Option<String>,
    /// Only items in these states, divided by commas: `failed,upstream_failed`.
    #[arg(long, requires = "task")]
    pub(crate) state: Option<String>,
    /// Print JSON: the run as in the API, and `server`, the address of the server that works on it.
    /// Without one it is null, and an unfinished run stands still.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The run, for example `orders.17`.
    pub(crate) run: RunId,
    /// The task; of a mapped one an item, `load[17]` or `regions[3].fetch`.
    pub(crate) task: String,
    /// The attempt; the newest without it.
    #[arg(long)]
    pub(crate) attempt: Option<u32>,
    /// Print new lines until the attempt ends.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print the bytes as the command wrote them, without times.
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Rerun {
    /// The run, for example `orders.17`.
    #[arg(required_unless_present_any = ["dag", "states", "since"])]
    pub(crate) run: Option<RunId>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// What failed, could not run or was cancelled; the default.
    #[arg(long, conflicts_with_all = ["from", "all"])]
    pub(crate) failed: bool,
    /// This task.
    #[arg(long, value_name = "TASK", conflicts_with = "all")]
    pub(crate) from: Option<String>,
    /// Everything.
    #[arg(long)]
    pub(crate) all: bool,
    /// With the version that the DAG has now, in place of that of the run.
    #[arg(long)]
    pub(crate) latest: bool,
    /// Do nothing, and say what would go again.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until the run has ended. Ctrl-C leaves it, and a server goes on with it.
    #[arg(long, requires = "run")]
    pub(crate) wait: bool,
    /// Print JSON: what goes again, as in the API.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run, for example `orders.17`.
    #[arg(required_unless_present_any = ["dag", "states", "since"])]
    pub(crate) run: Option<RunId>,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// With a filter: do nothing, and say which runs would be ended.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Several runs in place of one: all that fit everything that is given.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Every run of this DAG.
    #[arg(long, conflicts_with = "run")]
    pub(crate) dag: Option<DagId>,
    /// Every run in this state; may be given several times.
    #[arg(long = "state", value_name = "STATE", value_parser = state, conflicts_with = "run")]
    pub(crate) states: Vec<RunState>,
    /// Every run that was created since then: an instant or a date, or so long ago as `2h` or `1d`.
    #[arg(long, value_name = "WHEN", conflicts_with = "run")]
    pub(crate) since: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Mark {
    /// The run, for example `orders.17`.
    pub(crate) run: RunId,
    /// How the tasks ended.
    #[arg(value_enum)]
    pub(crate) state: MarkState,
    /// A task; may be given several times.
    #[arg(long = "task", value_name = "TASK", required_unless_present = "all")]
    pub(crate) tasks: Vec<String>,
    /// Every task that is in another state.
    #[arg(long, conflicts_with = "tasks")]
    pub(crate) all: bool,
    /// Why, for those who look later.
    #[arg(long)]
    pub(crate) note: Option<String>,
    /// Do nothing, and say what would be marked, and what would run then.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON: what is marked, as in the API.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MarkState {
    /// What comes after it goes on.
    Succeeded,
    /// What comes after it does not run.
    Failed,
    /// It was not needed.
    Skipped,
}

#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The run, for example `orders.17`.
    pub(crate) run: RunId,
    /// The task; of a mapped one an item, `load[17]`.
    pub(crate) task: String,
}

#[derive(Debug, Args)]
pub(crate) struct Note {
    /// The run, for example `orders.17`.
    pub(crate) run: RunId,
    /// The note; an empty one takes the note away.
    pub(crate) text: String,
    /// The task that it is about.
    #[arg(long)]
    pub(crate) task: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Questions {
    /// Print JSON: the questions as in the API.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The run, for example `mails.3`.
    pub(crate) run: RunId,
    /// The task, or an item of a mapped one: `send[2]`.
    pub(crate) task: String,
    /// A value that is asked for; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// Why, for those who look later.
    #[arg(long)]
    pub(crate) note: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Reject {
    /// The run, for example `mails.3`.
    pub(crate) run: RunId,
    /// The task, or an item of a mapped one: `send[2]`.
    pub(crate) task: String,
    /// Why, for those who look later.
    #[arg(long)]
    pub(crate) note: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// A DAG, whose schedule is meant, or a run: `orders` or `orders.17`.
    #[arg(value_name = "DAG|RUN", value_parser = target)]
    pub(crate) target: Target,
}

/// What stands still or goes on.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The schedule of a DAG.
    Dag(DagId),
    /// A run.
    Run(RunId),
}

fn target(text: &str) -> Result<Target, String> {
    if let Ok(run) = text.parse() {
        return Ok(Target::Run(run));
    }
    text.parse().map(Target::Dag).map_err(|error: tidemill_model::id::BadName| error.to_string())
}

fn state(text: &str) -> Result<RunState, String> {
    RunState::ALL.into_iter().find(|state| state.label() == text).ok_or_else(|| {
        let all: Vec<&str> = RunState::ALL.iter().map(|state| state.label()).collect();
        format!("a run is {}", all.join(", "))
    })
}
