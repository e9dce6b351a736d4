//! The command line, as typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidemill_model::{DagId, RunId, RunState};

/// Data-workflow orchestrator: DAGs in YAML, one binary, durable runs, a UI.
#[derive(Debug, Parser)]
#[command(
    name = "tidemill",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = "Examples:\n  \
        tidemill demo                          run the personalization DAG and look at it\n  \
        tidemill run dags/hello.yaml           run a DAG now, without a server\n  \
        tidemill serve --dags dags             schedule a folder of DAGs and serve the UI"
)]
pub(crate) struct Cli {
    /// The folder with everything that is kept: runs, tables, logs, profiles. Without it:
    /// `tidemill` in the user's data folder.
    #[arg(long, global = true, env = "TIDEMILL_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,

    /// The 0600 file with secrets; without it `secrets.yaml` beside the DAGs, if that exists. A
    /// secret `NAME` in the environment variable `TIDEMILL_SECRET_NAME` comes first.
    #[arg(long, global = true, env = "TIDEMILL_SECRETS", value_name = "FILE")]
    pub(crate) secrets: Option<PathBuf>,

    /// How log lines are written to the standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,

    /// Which log lines: `error`, `warn`, `info`, `debug`, or a filter such as
    /// `tidemill_executor=debug`.
    #[arg(
        long,
        global = true,
        env = "TIDEMILL_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    pub(crate) log: String,

    /// Memory that SQL may use before it spills to disk, in MiB.
    #[arg(
        long,
        global = true,
        env = "TIDEMILL_SQL_MEMORY",
        default_value_t = 512,
        value_name = "MIB",
        value_parser = clap::value_parser!(u64).range(16..=1 << 24)
    )]
    pub(crate) sql_memory: u64,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the personalization DAG on real data, show what came out, and serve the UI.
    #[command(after_help = "Examples:\n  tidemill demo\n  tidemill demo --no-serve")]
    Demo(Demo),
    /// Run a DAG file now and wait for it. Needs no server.
    ///
    /// Ends with 0 when the run succeeded, 1 when it failed, 2 when the DAG is invalid. Ctrl-C cancels
    /// the run. Other unfinished runs of the home, and schedules, wait for `tidemill serve`; a DAG of
    /// this name that is served keeps its version.
    #[command(after_help = "Examples:\n  tidemill run dags/hello.yaml\n  \
        tidemill run orders.yaml --param region=eu --interval 2026-01-01/2026-01-02\n  \
        tidemill run orders.yaml --only report\n  \
        tidemill run orders.yaml --from clean --stub orders=sample.csv\n  \
        tidemill run orders.yaml --json")]
    Run(Run),
    /// Check DAG files; nothing is run. Ends with 2 when one is invalid.
    #[command(after_help = "Examples:\n  tidemill validate dags\n  \
        tidemill validate dags --strict\n  \
        tidemill validate dags/orders.yaml --json")]
    Validate(Validate),
    /// Lay files out in the one way: keys in order, short forms written out, comments kept.
    #[command(after_help = "Examples:\n  tidemill fmt\n  tidemill fmt dags/orders.yaml\n  \
        tidemill fmt --check dags\n  tidemill fmt - < orders.yaml")]
    Fmt(Fmt),
    /// Make a project: a DAG with its tests and data, connections, a CI file, schemas for editors.
    #[command(after_help = "Examples:\n  tidemill init\n  tidemill init shop")]
    Init(Init),
    /// Make a DAG, or a connector, to begin with.
    #[command(
        subcommand,
        after_help = "Examples:\n  tidemill new dag refunds --dags dags\n  \
        tidemill new connector my_system"
    )]
    New(New),
    /// Look at when runs are due.
    #[command(
        subcommand,
        after_help = "Examples:\n  tidemill schedule simulate dags/orders.yaml\n  \
        tidemill schedule simulate dags/orders.yaml --from 2027-03-27 --to 2027-03-30"
    )]
    Schedule(Schedule),
    /// Run the tests beside DAGs: `orders.test.yaml` holds those of `orders.yaml`.
    #[command(after_help = "Examples:\n  tidemill test\n  tidemill test dags/orders.yaml\n  \
        tidemill test dags --update")]
    Test(Test),
    /// Show what a DAG would do: order, edges and why they exist, tables, next ticks.
    #[command(after_help = "Examples:\n  tidemill plan dags/orders.yaml\n  \
        tidemill plan dags/orders.yaml --json")]
    Plan(Plan),
    /// Show where the columns of a DAG's tables come from, before anything runs.
    #[command(after_help = "Examples:\n  tidemill lineage dags/orders.yaml\n  \
        tidemill lineage dags/orders.yaml rfm.monetary\n  \
        tidemill lineage dags/orders.yaml --format openlineage")]
    Lineage(Lineage),
    /// Schedule a folder of DAGs, run them, and serve the API and the UI.
    #[command(after_help = "Examples:\n  tidemill serve\n  \
        tidemill serve --dags dags --bind 127.0.0.1:8080")]
    Serve(Serve),
    /// Start a run of a deployed DAG.
    #[command(after_help = "Examples:\n  tidemill trigger orders\n  \
        tidemill trigger orders --param region=eu --wait")]
    Trigger(Trigger),
    /// List runs, newest first.
    #[command(after_help = "Examples:\n  tidemill runs\n  \
        tidemill runs --dag orders --state failed --limit 5 --json")]
    Runs(Runs),
    /// Show a run: its tasks, counts and errors.
    #[command(
        after_help = "Examples:\n  tidemill show orders.17\n  tidemill show orders.17 --json\n  \
            tidemill show orders.17 regions        the items of a mapped task\n  \
            tidemill show orders.17 'regions[3]'"
    )]
    Show(Show),
    /// Print the log of a task.
    #[command(after_help = "Examples:\n  tidemill logs orders.17 load\n  \
        tidemill logs orders.17 load --attempt 1\n  tidemill logs orders.17 load --follow")]
    Logs(Logs),
    /// Run tasks of a run that has ended again, and all that comes after them. The others keep their
    /// results.
    #[command(after_help = "Examples:\n  tidemill rerun orders.17\n  \
        tidemill rerun orders.17 --from load --latest --dry-run")]
    Rerun(Rerun),
    /// End a run: its running tasks are stopped, the others do not start.
    #[command(after_help = "Example:\n  tidemill cancel orders.17")]
    Cancel(Cancel),
    /// List what waits for a person's answer.
    #[command(after_help = "Examples:\n  tidemill questions\n  tidemill questions --json")]
    Questions(Questions),
    /// Say yes to the question of a task.
    #[command(after_help = "Examples:\n  tidemill approve mails.3 send\n  \
        tidemill approve mails.3 send --param limit=100 --note 'looked at ten of them'")]
    Approve(Approve),
    /// Say no to the question of a task: it fails.
    #[command(after_help = "Example:\n  tidemill reject mails.3 send --note 'wrong day'")]
    Reject(Reject),
    /// Let the schedule of a DAG stand still. Runs under way go on, and `trigger` starts others.
    #[command(after_help = "Example:\n  tidemill pause orders")]
    Pause(Pause),
    /// Let the schedule of a DAG go on. Missed ticks are not caught up.
    #[command(after_help = "Example:\n  tidemill resume orders")]
    Resume(Pause),
    /// Show a customer's profile.
    #[command(after_help = "Examples:\n  tidemill profile 17850\n  \
        tidemill profile email:c17850@example.test")]
    Profile(Profile),
    /// Copy everything that is kept to a new folder, while the server runs or not.
    #[command(after_help = "Example:\n  tidemill backup /backups/2026-11-24")]
    Backup(Backup),
    /// Put a backup back into an empty home.
    #[command(after_help = "Example:\n  tidemill --home /srv/tidemill restore /backups/2026-11-24")]
    Restore(Restore),
    /// Check what is kept, and say what is wrong and what to do about it.
    #[command(after_help = "Examples:\n  tidemill doctor\n  tidemill doctor --json")]
    Doctor(Doctor),
    /// Say what a code of a message means, and what to do about it.
    #[command(
        after_help = "Examples:\n  tidemill explain TM0107\n  tidemill explain        all codes"
    )]
    Explain(Explain),
    /// Print the JSON Schema of DAG files, for editors, or that of their tests.
    #[command(after_help = "Examples:\n  tidemill schema > dag.schema.json\n  \
        tidemill schema --tests > tests.schema.json")]
    Schema(Schema),
    /// Print the completions of a shell.
    #[command(
        after_help = "Example:\n  tidemill completions bash > /etc/bash_completion.d/tidemill"
    )]
    Completions(Completions),
    /// Write the generated pages of the documentation.
    #[command(hide = true)]
    Docs(Docs),
    /// Measure this machine with this binary.
    #[command(after_help = "Examples:\n  tidemill bench\n  tidemill bench chain fan-out")]
    Bench(Bench),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the run instead of serving the UI.
    #[arg(long)]
    pub(crate) no_serve: bool,
    /// Where the UI is served.
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDR")]
    pub(crate) bind: String,
    /// The DAG file, when it is not found in `dags/personalize` here or above.
    #[arg(long, value_name = "FILE")]
    pub(crate) dag: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunInput {
    /// A param of the run; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// What the run's data are about: two instants or dates.
    #[arg(long, value_name = "START/END")]
    pub(crate) interval: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct RunPart {
    /// Run this task alone. What it reads is that of earlier runs.
    #[arg(long, value_name = "TASK", conflicts_with = "from")]
    pub(crate) only: Option<String>,
    /// Run this task and all that come after it. What they read of others is that of earlier runs.
    #[arg(long, value_name = "TASK")]
    pub(crate) from: Option<String>,
    /// Take the rows of a table from a file (CSV, JSON lines or Parquet), and let its task not run;
    /// may be given several times. A task is named for its own table, as `orders`, or with another
    /// one of its tables, as `orders.rejects`.
    #[arg(long = "stub", value_name = "TABLE=FILE")]
    pub(crate) stubs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The DAG file.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) input: RunInput,
    #[command(flatten)]
    pub(crate) part: RunPart,
    /// Say yes to every question that the run asks, with the defaults of what is asked for.
    #[arg(long)]
    pub(crate) yes: bool,
    /// A value that a question asks for, which goes with the yes; may be given several times.
    #[arg(long = "answer", value_name = "TASK.NAME=VALUE", requires = "yes")]
    pub(crate) answers: Vec<String>,
    /// Print the result as JSON, and nothing else. A task's `counts` are null until it has
    /// succeeded, then `{in, out, duplicates, rejected}`: numbers of rows, the last by reason.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// DAG files, or folders of them.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Hold SQL, settings and checks to the columns that are known before a run too, and end with
    /// 2 for warnings as for errors.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the diagnostics as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// DAG files, files beside them, or folders of them; `-` lays out the standard input.
    #[arg(default_value = "dags")]
    pub(crate) paths: Vec<PathBuf>,
    /// Change nothing; name the files that would change, and end with 1 if there are any.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder of the project. Files that are there already stay as they are.
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum New {
    /// Make a DAG file, and the file of its tests.
    Dag {
        /// Its name: `refunds`.
        name: String,
        /// The folder of DAGs.
        #[arg(long, default_value = "dags", value_name = "DIR")]
        dags: PathBuf,
    },
    /// Make the frame of a connector, in Tidemill's own source.
    Connector {
        /// Its name, which is its key in DAG files: `my_system`.
        name: String,
        /// The folder of the source of connectors.
        #[arg(long, default_value = "crates/connectors/src", value_name = "DIR")]
        src: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// List the runs of a DAG file that would be due by the clock, by `schedule` and by triggers.
    #[command(after_help = "Examples:\n  tidemill schedule simulate dags/orders.yaml\n  \
        tidemill schedule simulate dags/orders.yaml --from 2027-03-27 --to 2027-03-30")]
    Simulate(Simulate),
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The DAG file.
    pub(crate) file: PathBuf,
    /// From when on: a day or a local time in the DAG's zone, or an instant with its offset;
    /// without it, from now on.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) from: Option<String>,
    /// Until when, this instant included.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) to: Option<String>,
    /// So many runs at most.
    #[arg(long, default_value_t = 20, value_name = "RUNS")]
    pub(crate) limit: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The schema of files of tests: `orders.test.yaml`.
    #[arg(long)]
    pub(crate) tests: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// DAG files, files of tests, or folders.
    #[arg(default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Only tests whose names contain this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Write what there is into the files, in the place of what was expected.
    #[arg(long)]
    pub(crate) update: bool,
    /// Print the outcomes as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The DAG file.
    pub(crate) file: PathBuf,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Lineage {
    /// The DAG file.
    pub(crate) file: PathBuf,
    /// Only this table, or this column: `rfm`, `rfm.monetary`.
    pub(crate) table: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = LineageFormat::Text, value_name = "FORMAT")]
    pub(crate) format: LineageFormat,
    /// The namespace of jobs and datasets, for `OpenLineage`.
    #[arg(long, default_value = "tidemill", value_name = "NAME")]
    pub(crate) namespace: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineageFormat {
    /// For people.
    Text,
    /// Every column with its parents and its sources.
    Json,
    /// `OpenLineage` events, a `JobEvent` in a line for each task.
    Openlineage,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The folder of DAG files.
    #[arg(long, default_value = "dags", value_name = "DIR")]
    pub(crate) dags: PathBuf,
    /// Where the API and the UI are served. Only loopback addresses, as there are no users yet.
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDR")]
    pub(crate) bind: String,
    /// A further name under which a browser may reach the server, for example through a tunnel.
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<String>,
    /// When the server is asked to stop, end the commands of tasks, which run again at the next
    /// start. Without this they go on, and the next start takes them up.
    #[arg(long)]
    pub(crate) end_commands: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Trigger {
    /// The DAG.
    pub(crate) dag: DagId,
    #[command(flatten)]
    pub(crate) input: RunInput,
    /// Wait until the run has ended. Ctrl-C leaves it, and a server goes on with it.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print the result as JSON: the run's id, or with `--wait` the same as `run --json`.
    #[arg(long)]
    pub(crate) json: bool,
}

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
    pub(crate) run: RunId,
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
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print JSON: what goes again, as in the API.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run, for example `orders.17`.
    pub(crate) run: RunId,
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
    /// The DAG.
    pub(crate) dag: DagId,
}

#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The customer's id, or an identity such as `email:ada@example.test`.
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A folder that does not exist yet.
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    pub(crate) from: PathBuf,
    /// Move what is in the home aside first.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Mend what can be mended. What cannot be read any more is named, and moved aside, not removed.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, as a message has it in brackets; without one, all codes are listed.
    pub(crate) code: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Docs {
    /// The folder `docs` of the repository.
    pub(crate) folder: PathBuf,
    /// Change nothing; fail when a page is stale.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Which; all without a name.
    pub(crate) names: Vec<String>,
    /// How often each is measured; medians are printed.
    #[arg(long, default_value_t = 5)]
    pub(crate) times: usize,
}

fn state(text: &str) -> Result<RunState, String> {
    RunState::ALL.into_iter().find(|state| state.label() == text).ok_or_else(|| {
        let all: Vec<&str> = RunState::ALL.iter().map(|state| state.label()).collect();
        format!("a run is {}", all.join(", "))
    })
}
