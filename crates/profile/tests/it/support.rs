//! What the tests share: tables from JSON, an engine, running a transform, showing what came out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::{ReaderBuilder, WriterBuilder};
use arrow::record_batch::RecordBatch;
use indexmap::IndexMap;
use serde_json::Value;
use tidemill_connector::transform::SharedTransform;
use tidemill_connector::{ConnectorError, MemoryOutputs, MemoryTable, Table, TransformContext};
use tidemill_profile::transforms;
use tidemill_sql::{Engine, EngineConfig};

/// One engine for all tests.
pub(crate) static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| {
    Engine::new(EngineConfig {
        memory_bytes: 64 << 20,
        threads: 1,
        spill: std::env::temp_dir().join(format!("tidemill-profile-{}", std::process::id())),
        batch_rows: 1024,
    })
    .unwrap()
});

pub(crate) fn transform(name: &str) -> SharedTransform {
    transforms(ENGINE.clone()).into_iter().find(|t| t.name() == name).unwrap()
}

pub(crate) fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// Columns as `name: type`, in the words of the house.
pub(crate) fn schema(columns: &str) -> SchemaRef {
    let field = |column: &str| {
        let (name, kind) = column.trim().split_once(": ").unwrap();
        let kind = match kind {
            "text" => DataType::Utf8,
            "int" => DataType::Int64,
            "float" => DataType::Float64,
            "bool" => DataType::Boolean,
            "texts" => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            other => panic!("the type {other}"),
        };
        Field::new(name, kind, true)
    };
    Arc::new(Schema::new(columns.split(", ").map(field).collect::<Vec<_>>()))
}

/// Batches of at most two rows, one JSON object a row, so that every test sees several.
pub(crate) fn batches(columns: &str, rows: &[Value]) -> Vec<RecordBatch> {
    let schema = schema(columns);
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(2).build_decoder().unwrap();
    let mut batches = Vec::new();
    for some in rows.chunks(2) {
        decoder.serialize(some).unwrap();
        batches.push(decoder.flush().unwrap().unwrap());
    }
    batches
}

pub(crate) fn table(columns: &str, rows: &[Value]) -> Arc<dyn Table> {
    Arc::new(MemoryTable::new(schema(columns), batches(columns, rows)))
}

/// Rows of a table as JSON lines, nulls included.
pub(crate) fn lines(table: &MemoryTable) -> Vec<String> {
    let mut out = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(&mut out);
    for batch in table.batches() {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

/// Runs a transform with these settings over these tables.
pub(crate) async fn run_in(
    folder: &Path,
    name: &str,
    settings: Value,
    tables: &[(&str, Arc<dyn Table>)],
) -> Result<MemoryOutputs, ConnectorError> {
    let outputs = MemoryOutputs::default();
    let tables: IndexMap<String, Arc<dyn Table>> =
        tables.iter().map(|(name, table)| ((*name).to_owned(), table.clone())).collect();
    let cx = TransformContext {
        tables,
        binds: BTreeMap::from([("floor".to_owned(), Value::from(2))]),
        outputs: Arc::new(outputs.clone()),
        folder: folder.to_owned(),
    };
    transform(name).run_any(settings, cx).await?;
    Ok(outputs)
}

pub(crate) async fn run(
    name: &str,
    settings: &str,
    tables: &[(&str, Arc<dyn Table>)],
) -> Result<MemoryOutputs, ConnectorError> {
    run_in(Path::new("/nowhere"), name, yaml(settings), tables).await
}

/// The rows of one of the tables that come out, or the error.
pub(crate) async fn rows(
    name: &str,
    settings: &str,
    tables: &[(&str, Arc<dyn Table>)],
    output: &str,
) -> Result<Vec<String>, String> {
    let outputs = run(name, settings, tables).await.map_err(|error| error.to_string())?;
    Ok(lines(&outputs.table(output).expect("the table")))
}
