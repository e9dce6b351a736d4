//! What happened against what was expected.

use serde_json::{Map, Value};
use tidemill_model::schedule::ticks;
use tidemill_model::{Dag, Instance, RunState, TaskResult, TaskRun, TaskState, Timestamp};
use tidemill_spec::test_file::{DagTest, Expected, ExpectedTable, RowSource};

use super::drive::Ended;
use super::ground::Ground;
use super::table::{differences, same};

/// Something that is not as expected.
#[derive(Debug)]
pub(crate) struct Difference {
    /// What: `tables.revenue`.
    pub(crate) what: String,
    /// The line in the file of tests.
    pub(crate) line: usize,
    /// The first byte of its key there.
    pub(crate) at: usize,
    /// How they differ, a line each.
    pub(crate) lines: Vec<String>,
    /// What there is, as it would be written there; `None` where nothing can be written.
    pub(crate) actual: Option<Actual>,
}

/// What there is.
#[derive(Debug)]
pub(crate) enum Actual {
    /// A value.
    Value(Value),
    /// Rows, by column.
    Rows(Vec<Map<String, Value>>),
}

/// Compares an ended run with what its test expects.
pub(crate) struct Comparison<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) ended: &'a Ended,
    /// The DAG as it is written.
    pub(crate) dag: &'a Dag,
    /// The clock at the start.
    pub(crate) now: Timestamp,
    pub(crate) found: Vec<Difference>,
}

impl Comparison<'_> {
    /// Everything that differs.
    pub(crate) async fn of(mut self, test: &DagTest) -> Vec<Difference> {
        let expect = &test.expect;
        if let Some(state) = &expect.state {
            self.state(state);
        }
        for (name, state) in &expect.tasks {
            let actual = self.task(name).map(|task| task.state);
            if actual != Some(state.value) {
                let lines = vec![
                    format!("- {}", state.value.label()),
                    format!("+ {}", self.told(name, actual)),
                ];
                let actual = actual.map(|state| Actual::Value(state.label().into()));
                self.differ(format!("tasks.{name}"), state, lines, actual);
            }
        }
        for (name, table) in &expect.tables {
            self.table(name, table).await;
        }
        for (name, values) in &expect.outputs {
            self.outputs(name, values);
        }
        for (name, form) in &expect.rendered {
            self.rendered(name, form);
        }
        for (name, part) in &expect.errors {
            self.error(name, part);
        }
        if let Some(ticks) = &expect.next_ticks {
            self.ticks(ticks);
        }
        self.found
    }

    fn differ<T>(
        &mut self,
        what: String,
        expected: &Expected<T>,
        lines: Vec<String>,
        actual: Option<Actual>,
    ) {
        let Expected { line, at, .. } = *expected;
        self.found.push(Difference { what, line, at, lines, actual });
    }

    fn state(&mut self, expected: &Expected<RunState>) {
        let actual = self.ended.run.head.state;
        if actual == expected.value {
            return;
        }
        let mut lines =
            vec![format!("- {}", expected.value.label()), format!("+ {}", actual.label())];
        let run = &self.ended.run;
        for (at, task) in run.tasks().iter().enumerate() {
            if let Some(error) = task.error.as_ref().filter(|_| task.state == TaskState::Failed) {
                let name = run.dag().name_of(tidemill_model::TaskIx(at as u32).into());
                lines.extend(format!("`{name}` failed: {error}").lines().map(str::to_owned));
            }
        }
        let label = Actual::Value(actual.label().into());
        self.differ("state".to_owned(), expected, lines, Some(label));
    }

    fn at(&self, name: &str) -> Option<Instance> {
        self.ended.run.dag().find_instance(name)
    }

    fn task(&self, name: &str) -> Option<&TaskRun> {
        self.ended.run.instance(self.at(name)?)
    }

    /// What a task gave, or an item of one, of which no more is kept to the end.
    fn result(&self, name: &str) -> Option<&TaskResult> {
        let at = self.at(name)?;
        let kept = self.ended.run.instance(at).and_then(|task| task.result.as_deref());
        kept.or_else(|| {
            let of_item = |(item, _, result)| (Some(item) == at.item).then_some(result);
            self.ended.run.map(at.task)?.ended().find_map(of_item)?
        })
    }

    /// A state, with what can be said about it.
    fn told(&self, name: &str, state: Option<TaskState>) -> String {
        let Some(state) = state else { return "not there".to_owned() };
        let task = self.task(name);
        let why = task.and_then(|task| {
            let error = task.error.as_ref().map(|error| error.message.clone());
            error.or_else(|| task.reason.clone())
        });
        why.map_or_else(|| state.label().to_owned(), |why| format!("{}: {why}", state.label()))
    }

    async fn table(&mut self, name: &str, expected: &Expected<ExpectedTable>) {
        let what = format!("tables.{name}");
        let ended = self.ended;
        let tables = ended.run.tasks().iter().filter_map(|task| task.result.as_deref());
        let Some(table) = tables.flat_map(|r| &r.tables).find(|table| table.name == name) else {
            let owner = [name, name.rsplit_once('.').map_or(name, |(task, _)| task)];
            let owner = owner.into_iter().find(|name| self.task(name).is_some()).unwrap_or(name);
            let state = self.task(owner).map(|task| task.state);
            let line = format!("there is no such table; `{owner}`: {}", self.told(owner, state));
            return self.differ(what, expected, vec![line], None);
        };
        let (columns, actual) = match self.ground.rows(table) {
            Ok(found) => found,
            Err(error) => return self.differ(what, expected, vec![error.to_string()], None),
        };
        let ExpectedTable { rows, ordered, tolerance } = &expected.value;
        let rows = match &rows.from {
            RowSource::Inline(rows) => rows.iter().filter_map(Value::as_object).cloned().collect(),
            RowSource::File(_) => {
                let made = self.ground.table(("expected", ""), rows, &self.dag.folder).await;
                match made.and_then(|table| self.ground.rows(&table)) {
                    Ok((columns, rows)) => objects(&columns, &rows),
                    Err(error) => {
                        return self.differ(what, expected, vec![error.to_string()], None);
                    }
                }
            }
        };
        let lines = differences(&rows, (&columns, &actual), *ordered, *tolerance);
        if !lines.is_empty() {
            let inline = matches!(expected.value.rows.from, RowSource::Inline(_));
            // Columns that nobody asked for stay away, if any of those that were asked for is there.
            let named = |column: &String| rows.iter().any(|row| row.contains_key(column));
            let some = columns.iter().any(named);
            let mut all = objects(&columns, &actual);
            for row in all.iter_mut().filter(|_| some) {
                row.retain(|column, _| named(column));
            }
            // A column that is not there cannot be written, and must not be lost.
            let known = rows.iter().flat_map(Map::keys).all(|column| columns.contains(column));
            let actual = (inline && known).then_some(Actual::Rows(all));
            self.differ(what, expected, lines, actual);
        }
    }

    fn outputs(&mut self, name: &str, expected: &Expected<Map<String, Value>>) {
        let empty = Map::new();
        let result = self.result(name);
        let actual = result.map_or(&empty, |result| &result.outputs);
        let mut lines = Vec::new();
        for (key, want) in &expected.value {
            let found = actual.get(key);
            if !found.is_some_and(|found| same(want, found, 0.0)) {
                lines.push(format!("- {key}: {want}"));
                lines
                    .push(found.map_or(format!("+ no {key}"), |found| format!("+ {key}: {found}")));
            }
        }
        if !lines.is_empty() {
            // What nobody asked for stays away, and what is not there cannot be written.
            let known = expected.value.keys().all(|key| actual.contains_key(key));
            let named = actual.iter().filter(|(key, _)| expected.value.contains_key(*key));
            let named = named.map(|(key, value)| (key.clone(), value.clone())).collect();
            let actual = known.then_some(Actual::Value(Value::Object(named)));
            self.differ(format!("outputs.{name}"), expected, lines, actual);
        }
    }

    fn rendered(&mut self, name: &str, expected: &Expected<Value>) {
        let what = format!("rendered.{name}");
        let Some(actual) = self.ended.rendered.get(name) else {
            let state = self.task(name).map(|task| task.state);
            let line = format!("`{name}` has not run: {}", self.told(name, state));
            return self.differ(what, expected, vec![line], None);
        };
        let mut lines = Vec::new();
        part_of(&expected.value, actual, &mut String::new(), &mut lines);
        if !lines.is_empty() {
            self.differ(what, expected, lines, Some(Actual::Value(actual.clone())));
        }
    }

    fn error(&mut self, name: &str, expected: &Expected<String>) {
        let error = self.task(name).and_then(|task| task.error.as_ref()).map(ToString::to_string);
        if error.as_ref().is_some_and(|error| error.contains(&expected.value)) {
            return;
        }
        let state = self.task(name).map(|task| task.state);
        let told = error.unwrap_or_else(|| format!("no error; {}", self.told(name, state)));
        let lines = vec![format!("- {}", expected.value), format!("+ {told}")];
        self.differ(format!("errors.{name}"), expected, lines, None);
    }

    fn ticks(&mut self, expected: &Expected<Vec<Timestamp>>) {
        if self.dag.timers().next().is_none() {
            let line = format!("`{}` has no schedule", self.dag.id);
            return self.differ("next_ticks".to_owned(), expected, vec![line], None);
        }
        let ticks = ticks(self.dag.timers(), self.now).map(|(tick, _)| tick);
        let actual: Vec<Timestamp> = ticks.take(expected.value.len()).collect();
        if actual != expected.value {
            let minus = expected.value.iter().map(|tick| format!("- {tick}"));
            let lines = minus.chain(actual.iter().map(|tick| format!("+ {tick}"))).collect();
            let texts: Vec<Value> = actual.iter().map(|tick| tick.to_string().into()).collect();
            let actual = Some(Actual::Value(Value::Array(texts)));
            self.differ("next_ticks".to_owned(), expected, lines, actual);
        }
    }
}

fn objects(columns: &[String], rows: &[Vec<Value>]) -> Vec<Map<String, Value>> {
    let object = |row: &Vec<Value>| columns.iter().cloned().zip(row.iter().cloned()).collect();
    rows.iter().map(object).collect()
}

/// What of `expected` is not in `actual`: of mappings, the keys that are named.
fn part_of(expected: &Value, actual: &Value, path: &mut String, lines: &mut Vec<String>) {
    if let (Value::Object(expected), Value::Object(actual)) = (expected, actual) {
        for (key, want) in expected {
            let length = path.len();
            path.push_str(if length == 0 { "" } else { "." });
            path.push_str(key);
            part_of(want, actual.get(key).unwrap_or(&Value::Null), path, lines);
            path.truncate(length);
        }
    } else if !same(expected, actual, 0.0) {
        lines.push(format!("- {path}: {expected}"));
        lines.push(format!("+ {path}: {actual}"));
    }
}
