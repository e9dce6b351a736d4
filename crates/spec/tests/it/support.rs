//! The installation that the tests pretend to have, and DAGs as text.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tidemill_model::dag::Action;
use tidemill_model::dag::{Group, Mapping, Tolerance};
use tidemill_model::schedule::{Calendar, Roll};
use tidemill_model::{Dag, DagId};
use tidemill_spec::{
    Catalog, ConnectionType, ConnectorInfo, Loaded, Neighbour, Neighbours, SettingsCheck,
    SourceText, TransformInfo, load_dag, load_dag_with,
};

/// The schemas of a few real connectors and transforms, as `schemars` writes them.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let all: Value = serde_json::from_str(include_str!("catalog.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let schema = |value: &Value| (!value.is_null()).then(|| value.clone());
    let connectors = all["connectors"].as_array().unwrap().iter().map(|c| ConnectorInfo {
        name: text(&c["name"]),
        summary: text(&c["summary"]),
        source: schema(&c["source"]),
        sink: schema(&c["sink"]),
        source_check: SettingsCheck::default(),
        sink_check: SettingsCheck::default(),
        source_example: text(&c["source_example"]),
        sink_example: text(&c["sink_example"]),
    });
    let transforms = all["transforms"].as_array().unwrap().iter().map(|t| TransformInfo {
        name: text(&t["name"]),
        summary: text(&t["summary"]),
        schema: t["schema"].clone(),
        check: SettingsCheck::default(),
        example: text(&t["example"]),
    });
    Catalog {
        connectors: connectors.collect(),
        transforms: transforms.collect(),
        connections: Some(vec!["shop".to_owned(), "warehouse".to_owned()]),
        pools: Some(vec!["default".to_owned(), "loads".to_owned()]),
        calendars: Some(["ch-banking", "factory"].map(calendar).into()),
    }
});

fn calendar(name: &str) -> Arc<Calendar> {
    let (holidays, weekend) = (BTreeSet::new(), 0b100_0001);
    Arc::new(Calendar { name: name.to_owned(), holidays, weekend, roll: Roll::Skip })
}

pub(crate) fn catalog() -> &'static Catalog {
    &CATALOG
}

pub(crate) fn load(yaml: &str) -> Loaded {
    load_dag(SourceText { path: Path::new("dags/shop.yaml"), text: yaml }, catalog())
}

/// The DAG of a text that must be good.
pub(crate) fn good(yaml: &str) -> std::sync::Arc<Dag> {
    let loaded = load(yaml);
    let found: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    loaded.dag.unwrap_or_else(|| panic!("{}", found.join("\n\n")))
}

/// DAG files in one folder, by the names of their DAGs.
struct Folder<'t>(HashMap<&'t str, &'t str>);

impl Neighbours for Folder<'_> {
    fn dag(&self, name: &DagId) -> Neighbour {
        let missing = || {
            let mut names: Vec<String> = self.0.keys().map(ToString::to_string).collect();
            names.sort_unstable();
            Neighbour::Missing(names)
        };
        let text = self.0.get(name.as_str());
        text.map_or_else(missing, |text| load(text).dag.map_or(Neighbour::Broken, Neighbour::Known))
    }
}

/// Everything that came of a file, as text. Others may be beside it, each after a line `+++ NAME`.
pub(crate) fn outcome(text: &str) -> String {
    let mut files = text.split("+++ ");
    let yaml = files.next().unwrap_or_default();
    let others: HashMap<&str, &str> = files.filter_map(|file| file.split_once('\n')).collect();
    if others.is_empty() {
        return shown(&load(yaml));
    }
    let source = SourceText { path: Path::new("dags/shop.yaml"), text: yaml };
    shown(&load_dag_with(source, None, catalog(), &Folder(others)))
}

fn shown(loaded: &Loaded) -> String {
    let mut parts: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    if let Some(dag) = &loaded.dag {
        parts.push(draw(dag, loaded.runnable().is_some()));
    }
    parts.join("\n\n")
}

/// A DAG as a few lines of text.
fn draw(dag: &Dag, runnable: bool) -> String {
    let mut text = format!("dag {}{}", dag.id, if runnable { "" } else { " (cannot run yet)" });
    for task in dag.tasks() {
        let _ = write!(text, "\n{}: {}", task.name, task.action.key());
        if task.action.kind() != task.action.key() {
            let _ = write!(text, " {}", task.action.kind());
        }
        if let Action::Transform { outputs, .. } = &task.action
            && outputs.as_slice() != [""]
        {
            let _ = write!(text, " makes {outputs:?}");
        }
        if let Some(mapping) = &task.mapping {
            let Mapping { list, tolerate, .. } = mapping;
            let max_parallel = mapping.at_once();
            let _ = write!(text, "\n  for each of {} ({max_parallel} at once, ", list.source());
            let _ = match tolerate {
                Tolerance::Nothing => write!(text, "none may fail)"),
                Tolerance::Items(count) => write!(text, "{} may fail)", count.source()),
                Tolerance::Percent(share) => write!(text, "{share}% may fail)"),
            };
        }
        if let Action::Group(Group { table, outputs }) = &task.action {
            if let Some((_, table)) = table {
                let _ = write!(text, "\n  its table is {table}");
            }
            for (name, value) in outputs {
                let _ = write!(text, "\n  gives {name} = {}", value.source());
            }
        }
        if task.is_finally {
            text.push_str("\n  finally");
        }
        for edge in &task.upstream {
            let _ =
                write!(text, "\n  after {} ({})", dag.task(edge.task).name, edge.why.join("; "));
        }
        for read in task.reads.iter().filter(|read| read.alias != read.table) {
            let _ = write!(text, "\n  {} is {}", read.alias, read.table);
        }
        if task.reads_run_tasks {
            text.push_str("\n  reads run_tasks");
        }
    }
    text
}

/// What connections hold: `http`, as a connector tells it, and `smtp`, with nothing of its own.
pub(crate) fn connection_types() -> Vec<ConnectionType> {
    let secret = json!({"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": false,
        "properties": {"secret": {"type": "string"}}, "required": ["secret"]}]});
    let http = json!({"type": "object", "additionalProperties": false, "properties": {
        "base_url": {"type": "string"}, "token": secret, "user": secret, "password": secret,
        "retries": {"type": "integer"}}, "required": ["base_url"]});
    let smtp = json!({"type": "object", "additionalProperties": false, "properties": {}});
    let named = |name: &str, schema| ConnectionType { name: name.to_owned(), schema };
    vec![named("http", http), named("smtp", smtp)]
}
