//! `cache`: the result of an earlier attempt is used again, while all that it was made from is as
//! it was.
//!
//! What it was made from is one text, and the key is its hash: the action and its settings with
//! every expression evaluated, the hashes of the tables that it reads, the state of files and of
//! connections that it names. Secrets do not count: a hash of them would lie on the disk.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidemill_connector::{ConnectorError, SourceContext};
use tidemill_model::dag::Cache;
use tidemill_model::expr::ExprError;
use tidemill_model::time::human_duration;
use tidemill_model::{Action, Reused, TaskResult, Timestamp};

use super::{Attempt, Ended};
use crate::rendered::{rendered_command, workdir};
use crate::scope::{binds, without_secrets};

/// Files up to this size count with their contents, larger ones with their size and time.
const CONTENTS_MAX: u64 = 1 << 20;

/// Whether there is a result to use again.
pub(super) enum Reuse {
    /// There is.
    Found(Ended),
    /// There is none. If the task has a `cache`, the new result is to be kept.
    Nothing(Option<Keep>),
}

/// Where a result is to be kept, and how long.
pub(super) struct Keep {
    key: String,
    at: Timestamp,
    expires: Timestamp,
}

/// A result as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    made: Reused,
    result: TaskResult,
}

impl Attempt {
    /// Looks for an earlier result.
    pub(super) fn reused(&self) -> Reuse {
        let Some(cache) = self.task().cache.as_ref().filter(|_| self.order.gather.is_none()) else {
            return Reuse::Nothing(None);
        };
        // What has no key will fail, and then say why.
        let Ok(Some(made_from)) = self.made_from(cache) else { return Reuse::Nothing(None) };
        let hash = hex::encode(Sha256::digest(made_from.to_string().as_bytes()));
        let (dag, task) = (&self.order.id.run.dag, &self.task().name);
        let key = format!("{dag}/{task}/{hash}");
        let at = self.shared.clock.now();
        if let Some(ended) = self.look(&key, cache, at) {
            return Reuse::Found(ended);
        }
        Reuse::Nothing(Some(Keep { key, at, expires: at.plus(cache.max_age) }))
    }

    fn look(&self, key: &str, cache: &Cache, now: Timestamp) -> Option<Ended> {
        let kept = self.shared.results.get(key)?;
        let Kept { made, mut result } = serde_json::from_slice(&kept).ok()?;
        let age = now.since(made.at);
        if age > cache.max_age {
            return None;
        }
        let small = self.shared.tables.again(&result.tables).ok()?;
        let (run, age) = (&made.run, human_duration(age));
        self.log
            .note(&format!("nothing has changed since run {run}, {age} ago: its result stands"));
        result.reused = Some(Box::new(made));
        Some(Ended::Done(result, small))
    }

    /// Keeps a result for later attempts.
    pub(super) fn keep(&self, keep: &Keep, result: &TaskResult) {
        let made = Reused { run: self.order.id.run.clone(), at: keep.at };
        let kept = Kept { made, result: result.clone() };
        if let Ok(kept) = serde_json::to_vec(&kept) {
            self.shared.results.put(&keep.key, &kept, keep.expires);
        }
    }

    /// All that the result will be made from; `None` where that cannot be told.
    fn made_from(&self, cache: &Cache) -> Result<Option<Value>, MadeFromError> {
        let (task, order) = (self.task(), &self.order);
        if order.run_tasks.is_some() || !order.skipped.is_empty() {
            return Ok(None);
        }
        let scope = without_secrets(order, task);
        let (action, binds) = match &task.action {
            Action::Ingest { config, .. } => (config.render(&scope)?, None),
            Action::Transform { config, .. } => {
                (config.render(&scope)?, Some(binds(order, task, &scope)?))
            }
            Action::Run(command) => (rendered_command(command, &scope)?, None),
            _ => return Ok(None),
        };
        let mut state = None;
        if let Action::Ingest { connector, .. } = &task.action {
            let connector = self.shared.registry.connector(connector);
            let cx = SourceContext {
                batch_rows: self.shared.limits.batch_rows,
                folder: order.dag.folder.clone(),
                connection: self.connection(&action)?,
            };
            state = match connector {
                Some(connector) => connector.state_of_source(action.clone(), &cx)?,
                None => None,
            };
        }
        let connection = self
            .connection(&action)?
            .map(|connection| json!([connection.name, connection.kind, connection.fields()]));
        let mut texts = Vec::new();
        collect_texts(&action, &mut texts);
        // A value counts where its name is written.
        let named = |name: &String| texts.iter().any(|text| text.contains(&format!("${name}")));
        let binds: Map<String, Value> =
            binds.into_iter().flatten().filter(|(name, _)| named(name)).collect();
        let env: Result<Map<_, _>, ExprError> = task
            .env
            .iter()
            .map(|(name, value)| Ok((name.clone(), value.render(&scope)?)))
            .collect();
        let interval = matches!(task.action, Action::Run(_)).then_some(order.interval).flatten();
        let workdir = workdir(task, &scope)?;
        let folder = order.dag.folder.join(workdir.as_deref().unwrap_or_default());
        let item = order.id.task.item.filter(|_| reads(&folder, &texts, "TIDEMILL_ITEM"));
        let inputs: Vec<_> =
            order.inputs.iter().map(|(alias, table)| (alias, &table.name, &table.hash)).collect();
        let key = cache.key.as_ref().map(|key| key.eval(&scope)).transpose()?;
        Ok(Some(json!({
            "form": 1,
            "action": [task.action.key(), task.action.kind(), action],
            "binds": binds,
            "checks": task.checks,
            "connection": connection,
            "env": env?,
            "files": files_of(&folder, &texts),
            "inputs": inputs,
            "interval": interval,
            "item": item,
            "key": key,
            "outputs": task.outputs,
            "reads": task.reads.iter().map(|read| (&read.alias, read.format)).collect::<Vec<_>>(),
            "source": state,
            "workdir": workdir,
        })))
    }
}

/// Why it cannot be told what a result will be made from. The attempt itself will say so better.
struct MadeFromError;

impl From<ExprError> for MadeFromError {
    fn from(_: ExprError) -> Self {
        Self
    }
}

impl From<ConnectorError> for MadeFromError {
    fn from(_: ConnectorError) -> Self {
        Self
    }
}

fn collect_texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| collect_texts(field, into)),
        _ => {}
    }
}

/// Files that the settings or the words of a command name, `data/score.py`, with what tells whether
/// they have changed.
fn files_of(folder: &Path, texts: &[String]) -> Vec<(String, String)> {
    let words = texts.iter().flat_map(|text| words_of(text));
    let mut names: Vec<&str> = words.filter(|word| !word.is_empty() && word.len() < 256).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), file_state(&folder.join(name))?)))
        .collect()
}

/// The words of a text that may name a file that is read. In a script, what follows `>` is written.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    const QUOTES: &[char] = &['"', '\'', '`'];
    let ends = |c: char| c.is_whitespace() || QUOTES.contains(&c) || ";|&<()=,".contains(c);
    text.split('>').enumerate().flat_map(move |(at, part)| {
        let written = if at == 0 {
            0
        } else {
            let lead = part.len() - part.trim_start().trim_start_matches(QUOTES).len();
            lead + part[lead..].find(ends).unwrap_or(part.len() - lead)
        };
        part[written..].split(ends)
    })
}

/// Whether a command, or a file that it names, speaks of a variable.
fn reads(folder: &Path, texts: &[String], variable: &str) -> bool {
    let says = |text: &[u8]| text.windows(variable.len()).any(|part| part == variable.as_bytes());
    let small = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= CONTENTS_MAX)
    };
    let mut files = texts.iter().flat_map(|text| words_of(text)).filter(|word| word.len() < 256);
    texts.iter().any(|text| says(text.as_bytes()))
        || files.any(|name| {
            let path = folder.join(name);
            small(&path) && std::fs::read(path).is_ok_and(|text| says(&text))
        })
}

fn file_state(path: &Path) -> Option<String> {
    let meta = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    if meta.len() <= CONTENTS_MAX {
        return Some(hex::encode(Sha256::digest(std::fs::read(path).ok()?)));
    }
    let at = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", meta.len(), at.as_nanos()))
}

#[cfg(test)]
mod tests {
    use super::words_of;

    #[test]
    fn words_that_are_read_are_told_from_those_that_are_written() {
        let words = |text| words_of(text).filter(|word| !word.is_empty()).collect::<Vec<_>>();
        assert_eq!(words("data/score.py"), ["data/score.py"]);
        assert_eq!(
            words("cat 'a.csv' b.csv|sort>out.csv;sh x.sh >> \"log\" 2>&1 < in"),
            ["cat", "a.csv", "b.csv", "sort", "sh", "x.sh", "2", "1", "in"]
        );
        assert!(words(">").is_empty() && words("").is_empty());
    }
}
