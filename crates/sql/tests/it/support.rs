//! Tables, engines and answers of the tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use indexmap::IndexMap;
use serde_json::Value;
use tidemill_connector::{ConnectorError, MemoryOutputs, MemoryTable, Table, TransformContext};
use tidemill_sql::{Engine, EngineConfig};

pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) fn engine_with(memory_bytes: usize, threads: usize, spill: &Path) -> Arc<Engine> {
    let spill = spill.to_owned();
    Engine::new(EngineConfig { memory_bytes, threads, spill, batch_rows: 1024 }).expect("an engine")
}

/// An engine with its folder, which is removed in the end.
pub(crate) struct Home {
    pub(crate) engine: Arc<Engine>,
    _folder: tempfile::TempDir,
}

pub(crate) fn home() -> Home {
    let folder = tempfile::tempdir().expect("a folder");
    Home { engine: engine_with(256 * MIB, 2, folder.path()), _folder: folder }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// A table of rows written as JSON lines; types are inferred from them.
pub(crate) fn table(lines: &str) -> Arc<dyn Table> {
    let (schema, _) =
        arrow::json::reader::infer_json_schema_from_seekable(std::io::Cursor::new(lines), None)
            .expect("columns");
    let schema = Arc::new(schema);
    let batches = arrow::json::ReaderBuilder::new(schema.clone())
        .with_batch_size(2)
        .build(std::io::Cursor::new(lines))
        .expect("a reader")
        .collect::<Result<Vec<_>, _>>()
        .expect("rows");
    Arc::new(MemoryTable::new(schema, batches))
}

pub(crate) type Tables = IndexMap<String, Arc<dyn Table>>;
pub(crate) type Binds = BTreeMap<String, Value>;

pub(crate) fn tables<const N: usize>(named: [(&str, Arc<dyn Table>); N]) -> Tables {
    named.into_iter().map(|(name, table)| (name.to_owned(), table)).collect()
}

pub(crate) fn binds<const N: usize>(named: [(&str, Value); N]) -> Binds {
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) async fn run(
    engine: &Engine,
    sql: &str,
    tables: &Tables,
    binds: &Binds,
) -> Result<(SchemaRef, Vec<RecordBatch>), ConnectorError> {
    let mut rows = engine.query(sql, tables, binds).await?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await? {
        assert_eq!(batch.schema(), rows.schema(), "a batch of another schema");
        assert!(batch.num_rows() > 0, "an empty batch");
        batches.push(batch);
    }
    Ok((rows.schema(), batches))
}

/// What a query gives, as lines of text: names, then rows.
pub(crate) fn answer(sql: &str, tables: &Tables, binds: &Binds) -> String {
    let home = home();
    match block_on(run(&home.engine, sql, tables, binds)) {
        Ok((schema, batches)) => text(&schema, &batches),
        Err(error) => format!("error: {error}"),
    }
}

pub(crate) fn text(schema: &SchemaRef, batches: &[RecordBatch]) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut lines = vec![names.join(" | ")];
    let options = FormatOptions::new().with_null("null");
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|c| {
                    let cells = ArrayFormatter::try_new(c, &options).expect("a formatter");
                    cells.value(row).to_string()
                })
                .collect();
            lines.push(cells.join(" | "));
        }
    }
    lines.join("\n")
}

/// A finished table as lines of text; `none` when it was not created.
pub(crate) fn written(outputs: &MemoryOutputs, name: &str) -> String {
    match outputs.table(name) {
        None => "none".to_owned(),
        Some(table) => {
            for batch in table.batches() {
                assert_eq!(batch.schema(), table.schema(), "a batch of another schema");
            }
            text(&table.schema(), table.batches())
        }
    }
}

pub(crate) fn context(tables: Tables, binds: Binds) -> (TransformContext, MemoryOutputs) {
    let outputs = MemoryOutputs::default();
    let cx = TransformContext {
        tables,
        binds,
        outputs: Arc::new(outputs.clone()),
        folder: std::env::temp_dir(),
    };
    (cx, outputs)
}
