//! Questions that a run asks while it is followed.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use indicatif::ProgressBar;
use serde_json::json;
use tidemill_model::RunId;

use crate::access::Access;
use crate::commands::questions::{Question, answer, asked};
use crate::failure::Failure;
use crate::progress::{Show, say};

/// Who answers the questions of a run that is followed.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Yes to everything.
    yes: bool,
    /// The run that is followed: what it asks, and what the runs ask that it calls for.
    run: String,
    seen: BTreeSet<(String, String)>,
}

impl Answers {
    /// Yes to everything, or whoever sits there.
    pub(crate) fn new(yes: bool, run: &str) -> Self {
        Self { yes, run: run.to_owned(), ..Self::default() }
    }

    /// Looks for questions, and answers them or says how they can be answered.
    pub(crate) async fn look(
        &mut self,
        access: &Access,
        show: Show,
        bar: Option<&ProgressBar>,
    ) -> Result<(), Failure> {
        for question in asked(access).await? {
            if question.run != self.run && !question.callers.contains(&self.run) {
                continue;
            }
            let run: RunId = match question.run.parse() {
                Ok(run) => run,
                Err(_) => continue,
            };
            if !self.seen.insert((question.run.clone(), question.task.clone())) {
                continue;
            }
            let text = question.message.clone().unwrap_or_else(|| "go on?".to_owned());
            // Where the standard output is for a program, people read the other one.
            let tell = |text: String| match show {
                Show::Tasks => say(bar, &text),
                Show::Nothing => eprintln!("{text}"),
            };
            tell(format!("  ? {} {}: {text}", question.run, question.task));
            let owed = owed(&question);
            let (approved, note) = if let (true, Some(name)) = (self.yes, &owed) {
                (false, Some(format!("`{name}` has no default, so `--yes` is no answer")))
            } else if self.yes {
                (true, None)
            } else if access.address().is_some() {
                let Question { run, task, .. } = &question;
                tell(format!("    answer with `tidemill approve {run} {task}`, or `reject`"));
                continue;
            } else if std::io::stdin().is_terminal() {
                match owed {
                    None => (ask(bar), None),
                    Some(name) => {
                        (false, Some(format!("`{name}` has no default: it needs a server")))
                    }
                }
            } else {
                // The run would wait for ever: there is no server that could be answered.
                let note = "there is no terminal to ask at: say yes beforehand with `--yes`";
                (false, Some(note.to_owned()))
            };
            let body = json!({"approved": approved, "values": {}, "note": note});
            answer(access, &run, &question.task, &body).await?;
        }
        Ok(())
    }
}

/// The first value that is asked for and has no default.
fn owed(question: &Question) -> Option<String> {
    let params = question.params.iter();
    let mut owed = params.filter(|(_, param)| param["default"].is_null());
    owed.next().map(|(name, _)| name.clone())
}

/// Asks whoever sits at the terminal; who says nothing says no.
fn ask(bar: Option<&ProgressBar>) -> bool {
    let read = || {
        eprint!("    yes or no? ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(_) => matches!(line.trim().to_lowercase().as_str(), "y" | "yes"),
            Err(_) => false,
        }
    };
    match bar {
        Some(bar) => bar.suspend(|| tokio::task::block_in_place(read)),
        None => tokio::task::block_in_place(read),
    }
}
