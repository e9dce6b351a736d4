//! What must hold of any bytes, one function for each reader. The fuzz targets of `fuzz/` call
//! these, and `corpus.rs` calls them with everything that the fuzzers have kept.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use tidemill_model::expr::{Expr, ExprError, Type};
use tidemill_model::{Dag, DagId};
use tidemill_spec::sql::{self, SqlError};
use tidemill_spec::test_file::parse_tests;
use tidemill_spec::{
    Diagnostic, Loaded, Neighbour, Neighbours, Severity, SourceText, changes, decode,
    load_dag_with, meaning, parse_connections, parse_pools,
};

use crate::support::{catalog, connection_types, good};

/// The DAG that tests are about, and that others may call.
static DAG: LazyLock<Arc<Dag>> = LazyLock::new(|| good(include_str!("everything.yaml")));

/// Beside the file there is one good DAG and one broken one.
struct Others;

impl Neighbours for Others {
    fn dag(&self, name: &DagId) -> Neighbour {
        match name.as_str() {
            "everything" => Neighbour::Known(Arc::clone(&DAG)),
            "broken" => Neighbour::Broken,
            "unknown" => Neighbour::Unknown,
            _ => Neighbour::Missing(vec!["everything".to_owned(), "broken".to_owned()]),
        }
    }
}

/// A DAG file: bytes to a DAG or diagnostics.
pub(crate) fn load_dag(bytes: &[u8]) {
    let path = Path::new("dags/shop.yaml");
    match decode(path, bytes) {
        Ok(text) => dag_holds(text, None),
        Err(found) => {
            finding_holds(&found);
            assert!(found.line as usize <= bytes.split(|b| *b == b'\n').count(), "{found}");
            assert!(found.column as usize <= bytes.len() + 1, "{found}");
        }
    }
}

/// A DAG file and the defaults of its folder, which a NUL divides.
pub(crate) fn with_defaults(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (defaults, dag) = text.split_once('\0').unwrap_or((&text, "tasks: {a: {run: [b]}}"));
    dag_holds(dag, Some(defaults));
}

/// A file of tests.
pub(crate) fn test_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new("dags/everything.test.yaml");
    let (file, found) = parse_tests(SourceText { path, text: &text }, &DAG);
    all_hold(&found, &[&text]);
    assert_eq!(file.is_none(), has_errors(&found), "tests without an error, or neither");
    let (_, again) = parse_tests(SourceText { path, text: &text }, &DAG);
    assert_eq!(found, again, "the same text gives the same answer");
}

/// `connections.yaml` and `pools.yaml`.
pub(crate) fn connections_and_pools(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let source = SourceText { path: Path::new("dags/connections.yaml"), text: &text };
    let (connections, found) = parse_connections(source, &connection_types());
    all_hold(&found, &[&text]);
    assert_eq!((connections, found), parse_connections(source, &connection_types()));
    let source = SourceText { path: Path::new("dags/pools.yaml"), text: &text };
    let (pools, found) = parse_pools(source);
    all_hold(&found, &[&text]);
    assert!(pools.iter().all(|(_, slots)| *slots > 0), "a pool without slots");
}

/// An expression.
pub(crate) fn expr(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let error_holds = |error: &ExprError| {
        assert!(!error.message.is_empty() && error.help.as_deref() != Some(""), "{error:?}");
        let start = error.offset.unwrap_or(0);
        assert!(text.is_char_boundary(start), "{error:?}");
        if let Some(length) = error.length {
            assert!(text.is_char_boundary(start + length), "{error:?}");
        }
    };
    let parsed = match Expr::parse(&text) {
        Ok(parsed) => parsed,
        Err(error) => return error_holds(&error),
    };
    assert_eq!(parsed.source(), text);
    assert!(parsed.references().iter().all(|path| !path.is_empty()), "{parsed:?}");
    let type_of = |path: &[String]| match path.last().map_or("", String::as_str) {
        "text" | "start" => Type::Text,
        "rows" => Type::Int,
        "share" => Type::Double,
        "flag" => Type::Bool,
        "list" => Type::list(),
        "map" => Type::map(),
        "none" => Type::Null,
        _ => Type::Dynamic,
    };
    let checked = parsed.check(&type_of);
    checked.errors.iter().for_each(error_holds);
    assert_eq!(parsed.check(&|_| Type::Dynamic).errors, parsed.check(&|_| Type::Dynamic).errors);
}

/// The SQL of a query, and that of a condition.
pub(crate) fn sql(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let inside = |offset: usize, length: usize| {
        assert!(text.get(offset..offset + length).is_some(), "{offset}+{length} of {text:?}");
    };
    let error_holds = |error: &SqlError| {
        assert!(!error.message.is_empty() && error.help.as_deref() != Some(""), "{error:?}");
        inside(error.offset.unwrap_or(0), 0);
    };
    match sql::query(&text) {
        Ok(query) => {
            query.tables.iter().for_each(|table| inside(table.offset, table.length));
            query.parameters.iter().for_each(|name| inside(name.offset, name.length));
        }
        Err(error) => error_holds(&error),
    }
    match sql::expression(&text) {
        Ok(names) => names.iter().for_each(|name| inside(name.offset, name.length)),
        Err(error) => error_holds(&error),
    }
}

/// A script, in a DAG around it.
pub(crate) fn shell(bytes: &[u8]) {
    let script = String::from_utf8_lossy(bytes);
    // A JSON text is a YAML text in quotes; a block keeps the places inside of the script.
    let quoted = serde_json::Value::from(&*script);
    dag_holds(&format!("tasks: {{a: {{run: {quoted}}}}}"), None);
    let block = script.lines().fold(String::new(), |all, line| all + "      " + line + "\n");
    dag_holds(&format!("tasks:\n  a:\n    run: |\n{block}"), None);
}

/// Loads a DAG and looks at what came out.
pub(crate) fn dag_holds(text: &str, defaults: Option<&str>) {
    let load = || {
        let defaults =
            defaults.map(|text| SourceText { path: Path::new("dags/_defaults.yaml"), text });
        let source = SourceText { path: Path::new("dags/shop.yaml"), text };
        load_dag_with(source, defaults, catalog(), &Others)
    };
    let Loaded { dag, diagnostics } = load();
    let texts: Vec<&str> = std::iter::once(text).chain(defaults).collect();
    all_hold(&diagnostics, &texts);
    assert_eq!(dag.is_none(), has_errors(&diagnostics), "a DAG without an error, or neither");
    let again = load();
    assert_eq!(diagnostics, again.diagnostics, "the same text gives the same answer");
    let version = |dag: &Option<Arc<Dag>>| dag.as_ref().map(|dag| dag.version.clone());
    assert_eq!(version(&dag), version(&again.dag), "the same text gives the same version");
    if let (Some(dag), Some(again)) = (&dag, &again.dag) {
        assert!(changes(&meaning(dag), &meaning(again)).is_empty(), "nothing changed");
    }
}

fn has_errors(found: &[Diagnostic]) -> bool {
    found.iter().any(|d| d.severity == Severity::Error)
}

/// Each finding is complete, and points into one of the texts: that of the file, or that of the
/// defaults of its folder.
fn all_hold(found: &[Diagnostic], texts: &[&str]) {
    for found in found {
        finding_holds(found);
        let at = usize::from(found.file.ends_with("_defaults.yaml"));
        let text = texts[at].strip_prefix('\u{feff}').unwrap_or(texts[at]);
        let line = text.split('\n').nth(found.line as usize - 1).expect("a line of the text");
        let line = line.trim_end_matches('\r');
        assert!(found.column as usize <= line.chars().count() + 1, "{found}");
        let shown = found.source_line.trim_end();
        let rest: String = line.chars().skip(found.source_offset as usize).collect();
        assert!(rest.starts_with(shown), "{found}");
    }
}

/// The thing, the place, the remedy; and it can be drawn.
fn finding_holds(found: &Diagnostic) {
    let one_line = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
    assert!(one_line(&found.message), "{found:?}");
    assert!(found.help.as_deref().is_some_and(one_line), "{found:?}");
    assert!(found.label.as_deref().is_none_or(one_line), "{found:?}");
    assert!(found.line >= 1 && found.column >= 1 && found.length >= 1, "{found:?}");
    assert!(found.source_offset < found.column, "{found:?}");
    let (plain, colored) = (found.render(false), found.render(true));
    assert!(colored.len() >= plain.len(), "{found:?}");
    assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{plain:?}");
}
