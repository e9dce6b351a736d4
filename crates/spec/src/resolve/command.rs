//! The command of a `run`.

use tidemill_model::dag::{Command, leaves};
use tidemill_model::template::{Template, split};

use super::Resolver;
use super::exprs::Spot;
use super::habits::Forms;
use super::uses::Uses;
use crate::codes;
use crate::read::value;
use crate::report::quoted;
use crate::shell;
use crate::spec::TaskSpec;
use crate::yaml::node::{Data, Entry, Node};

/// Where expressions in commands stand. Arguments are seen by every user of the machine, so
/// secrets travel in `env`.
const COMMAND: Spot<'static> = Spot::of("expression in the command");

impl Resolver<'_, '_, '_, '_> {
    /// Reads a command in one of its two forms.
    pub(crate) fn command(&mut self, entry: &Entry, uses: &mut Uses) -> Option<Command> {
        match &entry.node.data {
            Data::List(words) => self.argv(entry, words, uses),
            Data::Text(script) => self.script(entry, script, uses),
            _ => {
                let wanted = ["a list", "a string"];
                value::wrong_type("`run`", &wanted, &entry.node, entry.place, self.report)
                    .help("write a program and its arguments: `run: [python, report.py]`");
                None
            }
        }
    }

    fn argv(&mut self, entry: &Entry, words: &[Node], uses: &mut Uses) -> Option<Command> {
        let Some(program) = words.first() else {
            self.report
                .error(&codes::NO_COMMAND, entry.node.place, "`run` names no program")
                .help("write a program and its arguments: `run: [python, report.py]`");
            return None;
        };
        if program.text().is_some_and(|text| text.trim().is_empty()) {
            self.report
                .error(&codes::NO_COMMAND, program.place, "the program has no name")
                .help("write a program and its arguments: `run: [python, report.py]`");
        }
        let forms = if is_shell(program) { Forms::Braces } else { Forms::All };
        let templates: Vec<Option<Template>> = words
            .iter()
            .map(|word| {
                let text = value::scalar("a word of `run`", word, entry.place, self.report)?;
                let good = self.text_with(word, COMMAND, forms, uses);
                good.then(|| Template::parse_text(&text).ok())?
            })
            .collect();
        templates.into_iter().collect::<Option<Vec<_>>>().map(Command::Argv)
    }

    fn script(&mut self, entry: &Entry, script: &str, uses: &mut Uses) -> Option<Command> {
        let node = &entry.node;
        if script.trim().is_empty() {
            self.report
                .error(&codes::NO_COMMAND, node.place, "the script of `run` is empty")
                .help("a task that does nothing is `noop: {}`");
            return None;
        }
        if script.len() > shell::SCRIPT_BYTES_MAX {
            let (kib, max) = (script.len().div_ceil(1024), shell::SCRIPT_BYTES_MAX >> 10);
            let message = format!("the script has {kib} KiB");
            self.report
                .error(&codes::SCRIPT_SIZE, node.place, message)
                .help(format!("it may have {max} KiB: move it into a file and run that"));
            return None;
        }
        // An unclosed expression is reported with the others.
        let Ok(pieces) = split(script) else {
            self.text(node, COMMAND, uses);
            return None;
        };
        self.habits(node, &pieces, (COMMAND, Forms::Braces), uses);
        let script = match shell::lex(&pieces) {
            Ok(script) => script,
            Err(misplaced) => {
                for place in misplaced {
                    let at = node.part(&self.report.source, place.offset, place.length);
                    let message = format!("an expression cannot stand {}", place.place);
                    let source = script.get(place.offset..place.offset + place.length);
                    let source = source.unwrap_or_default().trim();
                    let help = if source.len() <= 40 {
                        format!(
                            "assign it first, `value=${{{{ {source} }}}}`, then use `\"$value\"`"
                        )
                    } else {
                        "assign it to a variable first, then use that: `\"$value\"`".to_owned()
                    };
                    self.report.error(&codes::SHELL_PLACE, at, message).help(help);
                }
                return None;
            }
        };
        let mut variables = Vec::with_capacity(script.variables.len());
        let mut good = true;
        for (name, source, offset) in script.variables {
            match self.expr(source, node, offset, COMMAND, uses) {
                Some(expr) => variables.push((name, expr)),
                None => good = false,
            }
        }
        if let Some(nul) = script.text.find('\0') {
            let place = node.part(&self.report.source, nul, 1);
            let message = format!("the script of {} holds a zero byte", quoted(&uses.name));
            self.report
                .error(&codes::SHELL_PLACE, place, message)
                .help("take it out: no command can be given one");
            return None;
        }
        good.then_some(Command::Shell { script: script.text, variables })
    }

    /// The folder in which a command runs: inside of that of the DAG.
    pub(crate) fn workdir(&mut self, task: &TaskSpec<'_>, uses: &mut Uses) -> Option<Template> {
        let entry = task.entries.iter().find(|entry| entry.key == "workdir")?;
        let text = value::text("`workdir`", entry, self.report)?;
        // What an expression gives is known when the task runs, and looked at again then.
        let good = self.text(&entry.node, Spot::of("workdir"), uses);
        let wrong = match leaves(text) {
            _ if text.is_empty() => Some((&codes::NOT_ALLOWED, "is empty")),
            wrong => wrong.map(|wrong| (&codes::OUTSIDE, wrong)),
        };
        if let Some((code, wrong)) = wrong {
            self.report
                .error(code, entry.node.place, format!("`workdir` {wrong}"))
                .help("write a folder below that of the DAG file, for example `scripts`");
            return None;
        }
        good.then(|| Template::parse_text(text).ok())?
    }
}

/// Whether a program is a shell, to which a `$` in its arguments may mean something.
fn is_shell(program: &Node) -> bool {
    let name = program.text().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    matches!(name, "sh" | "ash" | "bash" | "dash" | "ksh" | "zsh")
}
