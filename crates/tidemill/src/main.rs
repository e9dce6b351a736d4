//! Tidemill: a data-workflow orchestrator in one binary.
//!
//! This crate names everything and decides nothing: it reads the command line, opens the home,
//! joins scheduler, executor, connectors, profiles and server, and prints.
//!
//! * [`cli`]: the command line; [`commands`]: one file for each command;
//! * [`node`]: a home that is at work: store, scheduler, executor; [`janitor`]: what goes in time;
//!   [`signals`]: when it is asked to end; [`backend`]: the server's view
//!   of it; [`access`]: how a command reaches it, in this process or in the server's;
//! * [`view`], [`progress`], [`print`]: answers as people read them; [`out`]: where they go;
//! * [`folder`], [`beside`], [`secrets`], [`catalog`]: DAG files and what stands beside them;
//!   [`schemas`]: the columns of their tables, before anything runs.

// First, because its macros hold in the modules after it.
#[macro_use]
mod out;
mod part;
mod past;
mod planning;

mod access;
mod answers;
mod backend;
mod beside;
mod catalog;
mod cli;
mod commands;
mod failure;
mod folder;
mod history;
mod janitor;
mod neighbours;
mod node;
mod print;
mod progress;
mod refused;
mod results;
mod rows;
mod secrets;
mod signals;
mod testing;
mod view;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, LogFormat};
use crate::failure::Failure;

/// Loading files, planning and rows are many short-lived allocations from several threads, which
/// the system's allocator serves slowly and gives back late.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A process that was started to become a task's command, or the supervisor of commands, goes no
    // further than this line.
    tidemill_executor::process::entry(std::sync::Arc::new(node::SystemClock));
    // One TLS stack for every client, chosen before the first of them.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    if let Err(failure) = start_logs(&cli) {
        eprintln!("{}", failure.line().unwrap_or_default());
        return ExitCode::from(1);
    }
    match commands::run(cli).and_then(|()| out::result()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = failure.line() {
                eprintln!("{line}");
            }
            failure.exit_code()
        }
    }
}

fn start_logs(cli: &Cli) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(&cli.log).map_err(|error| {
        Failure::argument(format!(
            "`--log {}` is no filter: {error}; write for example `info` or `warn,tidemill=debug`",
            cli.log
        ))
    })?;
    // What sled says of itself is said again by the store, in words that name the remedy.
    let quiet = "sled=off".parse().ok().filter(|_| !cli.log.contains("sled"));
    let filter = quiet.into_iter().fold(filter, tracing_subscriber::EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| out::LogOut)
        .with_ansi(out::error_takes_color());
    match cli.log_format {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
