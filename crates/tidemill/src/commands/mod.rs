//! One file for each command.

mod backup;
mod bench;
mod bench_history;
mod bulk;
mod cancel;
mod completions;
mod demo;
mod docs;
pub(crate) mod doctor;
mod explain;
mod fmt;
mod history;
mod init;
mod lineage;
mod logs;
mod mark;
mod new_connector;
mod note;
mod pause;
mod plan;
mod profile;
pub(crate) mod questions;
mod rerun;
mod restore;
mod retry;
mod run;
mod runs;
mod schema;
mod serve;
mod show;
mod simulate;
mod test;
mod trigger;
mod validate;

use std::path::PathBuf;

use tidemill_store::Layout;

use crate::access::Access;
use crate::cli::{Cli, Command, New, Schedule};
use crate::failure::Failure;
use crate::node::{Keep, Mode, NodeSettings};

/// What every command may need from the global options.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// The home.
    pub(crate) home: PathBuf,
    /// The secrets file.
    pub(crate) secrets: Option<PathBuf>,
    /// Memory for SQL, in bytes.
    pub(crate) sql_memory: usize,
}

impl Globals {
    /// Settings of a node in this home, with the files beside the DAGs in `folder`.
    pub(crate) fn node(&self, folder: Option<PathBuf>) -> NodeSettings {
        NodeSettings {
            home: self.home.clone(),
            secrets: self.secrets.clone(),
            sql_memory: self.sql_memory,
            folder,
            keep: Keep::default(),
        }
    }

    /// An error unless the home is there: who only looks must not make one.
    pub(crate) fn must_be_a_home(&self) -> Result<(), Failure> {
        if Layout::new(&self.home).format().exists() {
            return Ok(());
        }
        let demo = self.home.join("demo");
        let remedy = if Layout::new(&demo).format().exists() {
            format!("that of the demo is `--home {}`", demo.display())
        } else {
            "name another folder with `--home`".to_owned()
        };
        Err(Failure::home(format!(
            "there is no home at `{}`: nothing was run there yet; {remedy}",
            self.home.display()
        )))
    }
}

/// Carries out a command.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let globals = Globals {
        home: match cli.home {
            Some(home) => home,
            None => default_home()?,
        },
        secrets: cli.secrets,
        sql_memory: usize::try_from(cli.sql_memory << 20).unwrap_or(usize::MAX),
    };
    match cli.command {
        Command::Demo(command) => demo::run(&globals, &command),
        Command::Run(command) => run::run(&globals, &command),
        Command::Fmt(command) => fmt::run(&command),
        Command::Init(command) => init::init(&globals, &command),
        Command::New(New::Dag { name, dags }) => init::new_dag(&name, &dags),
        Command::New(New::Connector { name, src }) => new_connector::run(&name, &src),
        Command::Schedule(Schedule::Simulate(command)) => simulate::run(&globals, &command),
        Command::Test(command) => test::run(&globals, &command),
        Command::Validate(command) => validate::run(&globals, &command),
        Command::Plan(command) => plan::run(&globals, &command),
        Command::Lineage(command) => lineage::run(&globals, &command),
        Command::Serve(command) => serve::run(&globals, &command),
        Command::Trigger(command) => trigger::run(&globals, &command),
        Command::Rerun(command) => rerun::run(&globals, &command),
        Command::Runs(command) => runs::run(&globals, &command),
        Command::Show(command) => show::run(&globals, &command),
        Command::Logs(command) => logs::run(&globals, &command),
        Command::Cancel(command) => cancel::run(&globals, &command),
        Command::Mark(command) => mark::run(&globals, &command),
        Command::Retry(command) => retry::run(&globals, &command),
        Command::Note(command) => note::run(&globals, &command),
        Command::Questions(command) => questions::list(&globals, &command),
        Command::Approve(command) => questions::approve(&globals, &command),
        Command::Reject(command) => questions::reject(&globals, &command),
        Command::Pause(command) => pause::run(&globals, &command, true),
        Command::Resume(command) => pause::run(&globals, &command, false),
        Command::Profile(command) => profile::run(&globals, &command),
        Command::History(command) => history::run(&globals, &command),
        Command::Backup(command) => backup::run(&globals, &command),
        Command::Restore(command) => restore::run(&globals, &command),
        Command::Doctor(command) => doctor::run(&globals, &command),
        Command::Explain(command) => explain::run(&command),
        Command::Schema(command) => schema::run(&globals, &command),
        Command::Completions(command) => completions::run(&command),
        Command::Docs(command) => docs::run(&globals, &command),
        Command::Bench(command) => bench::run(&globals, &command),
    }
}

/// `tidemill` in the user's data folder.
fn default_home() -> Result<PathBuf, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let data = match (variable("XDG_DATA_HOME"), variable("HOME")) {
        (Some(data), _) => PathBuf::from(data),
        (None, Some(home)) => PathBuf::from(home).join(".local/share"),
        (None, None) => {
            return Err(Failure::home("there is no home folder; give one with `--home DIR`"));
        }
    };
    Ok(data.join("tidemill"))
}

/// Reaches the home, does something with it, and leaves it, however that ended.
pub(crate) fn with_home<T>(
    globals: &Globals,
    folder: Option<PathBuf>,
    mode: Mode,
    work: impl AsyncFnOnce(&Access) -> Result<T, Failure>,
) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let access = Access::open(globals, folder, mode).await?;
        let done = work(&access).await;
        access.close().await;
        done
    })
}

/// The threads that everything asynchronous runs on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("tidemill")
        .build()
        .map_err(|error| Failure::internal(format!("cannot start threads: {error}")))
}
