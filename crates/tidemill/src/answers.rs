//! Questions that a run asks while it is followed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};

use indexmap::IndexMap;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use tidemill_model::dag::{Param, settled_params};
use tidemill_model::{RunId, VarName};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::access::Access;
use crate::commands::questions::{Question, answer, asked};
use crate::failure::Failure;
use crate::progress::{Show, say};

/// Who answers the questions of a run that is followed.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Yes to everything.
    yes: bool,
    /// Values that go with it, by task and name, as texts.
    values: BTreeMap<(String, String), String>,
    /// The run that is followed: what it asks, and what the runs ask that it calls for.
    run: String,
    seen: BTreeSet<(String, String)>,
    terminal: Option<Terminal>,
}

/// An answer to a question.
struct Answer {
    approved: bool,
    values: Map<String, Value>,
    note: Option<String>,
}

impl Answer {
    fn no(note: impl Into<Option<String>>) -> Self {
        Self { approved: false, values: Map::new(), note: note.into() }
    }
}

impl Answers {
    /// Whoever sits there answers what a run asks.
    pub(crate) fn of(run: &str) -> Self {
        Self {
            yes: false,
            values: BTreeMap::new(),
            run: run.to_owned(),
            seen: BTreeSet::new(),
            terminal: None,
        }
    }

    /// Yes to everything, with these values: `TASK.NAME=VALUE`.
    pub(crate) fn yes(run: &str, values: &[String]) -> Result<Self, Failure> {
        let mut answers = Self { yes: true, ..Self::of(run) };
        for text in values {
            let (task, name, value) = value_of(text)?;
            let key = (task.to_owned(), name.to_owned());
            if answers.values.insert(key, value.to_owned()).is_some() {
                return Err(Failure::argument(format!(
                    "`--answer {task}.{name}` is given twice; give it once"
                )));
            }
        }
        Ok(answers)
    }

    /// Values that nothing asked for: `TASK.NAME`.
    pub(crate) fn left(&self) -> impl Iterator<Item = String> {
        self.values.keys().map(|(task, name)| format!("{task}.{name}"))
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
            let Ok(run) = question.run.parse::<RunId>() else { continue };
            if !self.seen.insert((question.run.clone(), question.task.clone())) {
                continue;
            }
            let text = question.message.clone().unwrap_or_else(|| "go on?".to_owned());
            // Where the standard output is for a program, people read the other one.
            let tell = |text: &str| match show {
                Show::Tasks => say(bar, text),
                Show::Nothing => eprintln!("{text}"),
            };
            tell(&format!("  ? {} {}: {text}", question.run, question.task));
            let given = if self.yes {
                self.say_yes(&question)
            } else if access.address().is_some() {
                let Question { run, task, .. } = &question;
                tell(&format!("    answer with `tidemill approve {run} {task}`, or `reject`"));
                continue;
            } else if std::io::stdin().is_terminal() {
                let terminal = self.terminal.get_or_insert_with(Terminal::open);
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                let given = terminal.ask(&question).await;
                if let Some(bar) = bar {
                    bar.reset();
                }
                given
            } else {
                // The run would wait for ever: there is no server that could be answered.
                Answer::no(
                    "there is no terminal to ask at: say yes beforehand with `--yes`".to_owned(),
                )
            };
            let Answer { approved, values, note } = given;
            let body = json!({"approved": approved, "values": values, "note": note});
            answer(access, &run, &question.task, &body).await?;
        }
        Ok(())
    }

    fn say_yes(&mut self, question: &Question) -> Answer {
        let mut values = Map::new();
        for (name, param) in params_of(question) {
            match self.values.remove(&(question.task.clone(), name.to_string())) {
                Some(text) => {
                    values.insert(name.to_string(), param.kind.read_or_text(&text));
                }
                None if param.default.is_none() => {
                    let task = &question.task;
                    return Answer::no(format!(
                        "`{name}` has no default: give it with `--answer {task}.{name}=VALUE`"
                    ));
                }
                None => {}
            }
        }
        Answer { approved: true, values, note: None }
    }
}

/// `TASK.NAME=VALUE` in its parts.
fn value_of(text: &str) -> Result<(&str, &str, &str), Failure> {
    let parts = text.split_once('=').and_then(|(of, value)| {
        let (task, name) = of.rsplit_once('.')?;
        Some((task, name, value))
    });
    parts.ok_or_else(|| {
        Failure::argument(format!(
            "`--answer {text}` does not say what it answers; write `--answer TASK.NAME=VALUE`"
        ))
    })
}

fn params_of(question: &Question) -> Vec<(VarName, Param)> {
    let params = question.params.iter();
    let read = |param: &Value| serde_json::from_value(param.clone()).ok();
    params.filter_map(|(name, param)| Some((name.parse().ok()?, read(param)?))).collect()
}

/// The terminal, read by a thread of its own: a signal must not wait for somebody to type.
#[derive(Debug)]
struct Terminal {
    lines: UnboundedReceiver<String>,
}

/// Nobody types any more.
struct Closed;

impl Terminal {
    fn open() -> Self {
        let (send, lines) = unbounded_channel();
        let read = move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        };
        // Without the thread nobody answers, and that is a no.
        let _ = std::thread::Builder::new().name("terminal".to_owned()).spawn(read);
        Self { lines }
    }

    /// Asks until there is an answer to all of a question.
    async fn ask(&mut self, question: &Question) -> Answer {
        match self.answer(question).await {
            Ok(answer) => answer,
            Err(Closed) => Answer::no("the terminal was closed".to_owned()),
        }
    }

    async fn answer(&mut self, question: &Question) -> Result<Answer, Closed> {
        loop {
            match self.line("yes or no?").await?.to_lowercase().as_str() {
                "y" | "yes" => break,
                "n" | "no" => return Ok(Answer::no(None)),
                "" => {}
                other => eprintln!("    `{other}` is neither yes nor no"),
            }
        }
        let mut values = Map::new();
        for (name, param) in params_of(question) {
            if let Some(value) = self.value(&name, &param).await? {
                values.insert(name.to_string(), value);
            }
        }
        Ok(Answer { approved: true, values, note: None })
    }

    /// A value; nothing where its default is taken.
    async fn value(&mut self, name: &VarName, param: &Param) -> Result<Option<Value>, Closed> {
        let asked = IndexMap::from([(name.clone(), param.clone())]);
        if let Some(description) = &param.description {
            eprintln!("    {description}");
        }
        let kind = param.kind.label();
        let default = param.default.as_ref().map(|default| format!(", or Enter for {default}"));
        let prompt = format!("{name} ({kind}{}):", default.unwrap_or_default());
        loop {
            let text = self.line(&prompt).await?;
            if text.is_empty() && param.default.is_some() {
                return Ok(None);
            }
            let given = Map::from_iter([(name.to_string(), param.kind.read_or_text(&text))]);
            match settled_params(&asked, "the question", &given) {
                Ok(mut settled) => return Ok(settled.shift_remove(name.as_str())),
                Err(error) => eprintln!("    {error}"),
            }
        }
    }

    async fn line(&mut self, prompt: &str) -> Result<String, Closed> {
        eprint!("    {prompt} ");
        let _ = std::io::stderr().flush();
        self.lines.recv().await.map(|line| line.trim().to_owned()).ok_or(Closed)
    }
}
