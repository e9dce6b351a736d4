//! The columns that an `ingest` reads, without reading its rows.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;
use tidemill_connector::connector::SharedConnector;
use tidemill_connector::{ConnectorError, SchemaRef, SourceContext};
use tidemill_connectors::ColumnType;
use tidemill_model::template::Template;

use super::Known;

/// What takes longer to look at is left unknown.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(5);

/// What a look at a source told.
pub(super) enum Looked {
    /// Its columns.
    Columns(SchemaRef),
    /// There is nothing to read now.
    Missing(ConnectorError),
    /// It cannot be read as the settings say.
    Wrong(ConnectorError),
    /// It takes too long.
    Slow,
}

/// Opens a source, for its columns alone.
pub(super) async fn look(connector: SharedConnector, config: Value, cx: SourceContext) -> Looked {
    let (tell, told) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    // Reading files blocks, so it has a thread of its own, which nobody waits for if it takes long.
    let thread = std::thread::Builder::new().name("look".to_owned()).spawn(move || {
        let opened = runtime.block_on(connector.open_source(config, cx));
        let _ = tell.send(opened.map(|source| source.schema()));
    });
    if thread.is_err() {
        return Looked::Slow;
    }
    match tokio::time::timeout(LOOK_MAX, told).await {
        Ok(Ok(Ok(schema))) => Looked::Columns(schema),
        Ok(Ok(Err(error))) if is_missing(&error) => Looked::Missing(error),
        Ok(Ok(Err(error))) => Looked::Wrong(error),
        Ok(Err(_)) | Err(_) => Looked::Slow,
    }
}

/// Whether no file is there.
fn is_missing(error: &ConnectorError) -> bool {
    error.blame.as_ref().is_some_and(|blame| blame.keys.iter().eq(["path"]))
}

/// The columns that the settings of a source declare, and whether there may be others: `columns`
/// of a CSV file name those alone whose types are not to be inferred.
pub(super) fn declared(connector: &str, config: &Value) -> Option<(SchemaRef, Known)> {
    let columns = columns_of(config.get("columns")?)?;
    let select = config.get("select").and_then(Value::as_array);
    let mut fields: Vec<Field> = match select {
        None => columns,
        Some(select) => select
            .iter()
            .map(|name| columns.iter().find(|field| Some(field.name().as_str()) == name.as_str()))
            .map(Option::<&Field>::cloned)
            .collect::<Option<_>>()?,
    };
    let file = config.get("file_column").and_then(Value::as_str);
    fields.extend(file.map(|name| Field::new(name, DataType::Utf8, true)));
    let is_whole = connector != "csv" || select.is_some();
    let known = if is_whole { Known::Declared } else { Known::Partly };
    Some((Arc::new(Schema::new(fields)), known))
}

/// The settings that hold no expression.
pub(super) fn literals(config: &Template) -> Value {
    let fields = match config {
        Template::Map(fields) => fields,
        Template::Literal(value) => return value.clone(),
        _ => return Value::Null,
    };
    let literal = |(key, value): (&String, &Template)| match value {
        Template::Literal(value) => Some((key.clone(), value.clone())),
        _ => None,
    };
    Value::Object(fields.iter().filter_map(literal).collect())
}

/// The columns of `{NAME: TYPE}`, if all the types are known and there are any.
pub(super) fn columns_of(columns: &Value) -> Option<Vec<Field>> {
    let field = |(name, of): (&String, &Value)| {
        let of: ColumnType = of.as_str()?.parse().ok()?;
        Some(Field::new(name, of.data_type(), true))
    };
    let columns = columns.as_object().filter(|columns| !columns.is_empty())?;
    columns.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(connector: &str, config: &Value, expected: &str) {
        let text = declared(connector, config).map_or_else(String::new, |(schema, known)| {
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            format!("{} {known:?}", names.join(","))
        });
        assert_eq!(text, expected);
    }

    #[test]
    fn declared_columns_follow_the_other_settings() {
        check("csv", &json!({"columns": {"a": "int64"}}), "a Partly");
        check("jsonl", &json!({"columns": {"a": "int64", "b": "date"}}), "a,b Declared");
        let config = json!({"columns": {"a": "int64", "b": "date"}, "select": ["b"],
            "file_column": "f"});
        check("csv", &config, "b,f Declared");
        check("csv", &json!({"columns": {"a": "int64"}, "select": ["b"]}), "");
        check("csv", &json!({"columns": {"a": "money"}}), "");
        check("csv", &json!({}), "");
    }
}
