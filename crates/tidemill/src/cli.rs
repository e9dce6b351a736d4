//! The command line, as typed.

mod runs;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidemill_history::Retention;
use tidemill_model::DagId;

pub(crate) use runs::{
    Approve, Cancel, Filter, Logs, Mark, MarkState, Note, Pause, Questions, Reject, Rerun, Retry,
    Runs, Show, Target,
};

use crate::node::Keep;

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
    /// Run tasks of a run again, and all that comes after them. The others keep their results; in a run
    /// that has not ended they go on meanwhile.
    #[command(after_help = "Examples:\n  tidemill rerun orders.17\n  \
        tidemill rerun orders.17 --from load --latest --dry-run\n  \
        tidemill rerun --dag orders --state failed --since 1d    every run that failed today")]
    Rerun(Rerun),
    /// End a run: its running tasks are stopped, the others do not start.
    #[command(after_help = "Examples:\n  tidemill cancel orders.17\n  \
        tidemill cancel --dag orders --state queued --dry-run")]
    Cancel(Cancel),
    /// Say how tasks of a run ended, whatever they did. What could not run because of them runs then.
    #[command(after_help = "Examples:\n  tidemill mark orders.17 succeeded --task load\n  \
        tidemill mark orders.17 failed --all --note 'wrong day'\n  \
        tidemill mark orders.17 skipped --task report --dry-run")]
    Mark(Mark),
    /// Let a task that waits for its next try begin at once.
    #[command(after_help = "Example:\n  tidemill retry orders.17 load")]
    Retry(Retry),
    /// Leave a note on a run, or on a task of it.
    #[command(after_help = "Examples:\n  tidemill note orders.17 'the shop was down until 9'\n  \
        tidemill note orders.17 'see ticket 812' --task load")]
    Note(Note),
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
    /// Let the schedule of a DAG stand still, or a run. Of a DAG, runs under way go on, and `trigger`
    /// starts others; of a run, what runs goes on, and nothing else begins.
    #[command(after_help = "Examples:\n  tidemill pause orders\n  tidemill pause orders.17")]
    Pause(Pause),
    /// Let the schedule of a DAG go on, or a run. `catchup` says what becomes of missed ticks.
    #[command(after_help = "Examples:\n  tidemill resume orders\n  tidemill resume orders.17")]
    Resume(Pause),
    /// Show a customer's profile.
    #[command(after_help = "Examples:\n  tidemill profile 17850\n  \
        tidemill profile email:c17850@example.test")]
    Profile(Profile),
    /// Ask questions about finished runs in SQL, see how they are kept, or tidy up now.
    #[command(subcommand)]
    History(History),
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
    #[command(after_help = "Examples:\n  tidemill bench\n  tidemill bench chain fan-out\n  \
        tidemill bench history --runs 1000000")]
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
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
}

/// How long finished runs are kept, and where.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    /// Newest runs that stay in the records; older finished ones are folded into the history.
    #[arg(long, default_value_t = 50_000, value_name = "RUNS", env = "TIDEMILL_RECENT_RUNS")]
    pub(crate) recent_runs: usize,
    /// Runs that were created longer ago are dropped; 0 for no limit.
    #[arg(long, default_value_t = 730, value_name = "DAYS", env = "TIDEMILL_KEEP_DAYS")]
    pub(crate) keep_days: u32,
    /// Of each DAG, the newest so many runs are kept; 0 for no limit.
    #[arg(long, default_value_t = 1_000_000, value_name = "RUNS", env = "TIDEMILL_KEEP_RUNS")]
    pub(crate) keep_runs: u64,
    /// The history takes about so many MiB of disk, and the oldest runs are dropped for it; 0 for
    /// no limit.
    #[arg(long, default_value_t = 20_480, value_name = "MIB", env = "TIDEMILL_KEEP_MIB")]
    pub(crate) keep_mib: u64,
}

impl KeepArgs {
    /// What they mean.
    pub(crate) fn settings(&self) -> Keep {
        let history = tidemill_history::Settings {
            recent_runs: self.recent_runs,
            ..tidemill_history::Settings::default()
        };
        let retention = Retention {
            age: (self.keep_days > 0).then(|| Duration::from_hours(24 * u64::from(self.keep_days))),
            runs: (self.keep_runs > 0).then_some(self.keep_runs),
            bytes: (self.keep_mib > 0).then_some(self.keep_mib << 20),
        };
        Keep { history, retention }
    }
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
pub(crate) struct Profile {
    /// The customer's id, or an identity such as `email:ada@example.test`.
    pub(crate) id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum History {
    /// Answer a query over the tables `runs` and `tasks`: all that is kept of them, recent or not.
    #[command(after_help = "Examples:\n  \
        tidemill history sql \"select dag, state, count(*) as runs from runs group by dag, state\"\n  \
        tidemill history sql --csv \"select * from tasks where state = 'failed'\" > failed.csv")]
    Sql(HistorySql),
    /// Show how finished runs are kept: in the records, and in which segments.
    #[command(after_help = "Example:\n  tidemill history segments")]
    Segments(HistorySegments),
    /// Fold finished runs and drop what is too old now. A server does that by itself.
    #[command(after_help = "Example:\n  tidemill history tidy")]
    Tidy(HistoryTidy),
}

#[derive(Debug, Args)]
pub(crate) struct HistorySql {
    /// The query.
    pub(crate) sql: String,
    /// Rows at most: 1 to 100,000.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// Print JSON: `columns`, `rows`, and `more`, whether there are more.
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print CSV.
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistorySegments {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryTidy {
    /// Where no server runs; a server has its own.
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
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
    /// Which; all but `history` without a name.
    pub(crate) names: Vec<String>,
    /// How often each is measured; medians are printed.
    #[arg(long, default_value_t = 5)]
    pub(crate) times: usize,
    /// Runs of the history that `history` makes and looks at, each with ten tasks.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) runs: u64,
}
