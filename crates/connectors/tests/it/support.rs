//! What the tests share: opening connectors, showing tables, writing files.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use serde_json::Value;
use tempfile::TempDir;
use tidemill_connector::conformance::{read_all, write_all};
use tidemill_connector::connector::SharedConnector;
use tidemill_connector::{
    Connection, ConnectorError, RejectedRow, Sink, SinkContext, Source, SourceContext,
};
use tidemill_connectors::connectors;
use tidemill_connectors::dataset::NoDatasets;

/// Every connector; there is no dataset.
pub(crate) fn all() -> Vec<SharedConnector> {
    connectors(Arc::new(NoDatasets))
}

pub(crate) fn connector(name: &str) -> SharedConnector {
    all().into_iter().find(|c| c.name() == name).expect("a connector of this name")
}

/// A folder with these files; names that end in `.gz` are packed.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        put(folder.path(), name, content.as_bytes());
    }
    folder
}

pub(crate) fn put(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    let content = if path.extension().is_some_and(|end| end == "gz") {
        gzip(content)
    } else {
        content.to_vec()
    };
    fs::write(path, content).expect("a file");
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(content).expect("memory");
    packer.finish().expect("memory")
}

pub(crate) const BATCH_ROWS: usize = 1_000;

pub(crate) fn source_context(folder: &Path, connection: Option<Connection>) -> SourceContext {
    SourceContext { batch_rows: BATCH_ROWS, folder: folder.to_owned(), connection }
}

pub(crate) fn sink_context(folder: &Path, schema: SchemaRef, key: &str) -> SinkContext {
    SinkContext {
        schema,
        folder: folder.to_owned(),
        connection: None,
        idempotency_key: key.to_owned(),
    }
}

pub(crate) fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).expect("good YAML")
}

pub(crate) async fn open(
    name: &str,
    folder: &Path,
    config: &str,
) -> Result<Box<dyn Source>, ConnectorError> {
    connector(name).open_source(yaml(config), source_context(folder, None)).await
}

/// Opens a source and reads it to its end.
pub(crate) async fn read(name: &str, folder: &Path, config: &str) -> Result<Rows, ConnectorError> {
    let mut source = open(name, folder, config).await?;
    let schema = source.schema();
    let batches = read_all(source.as_mut(), BATCH_ROWS).await?;
    Ok(Rows { schema, batches, rejects: source.take_rejects() })
}

pub(crate) async fn sink(
    name: &str,
    folder: &Path,
    config: &str,
    schema: SchemaRef,
) -> Result<Box<dyn Sink>, ConnectorError> {
    connector(name).open_sink(yaml(config), sink_context(folder, schema, "dag/run/task")).await
}

/// Writes batches with a sink and publishes them; the rows that it reports.
pub(crate) async fn write(
    name: &str,
    folder: &Path,
    config: &str,
    batches: &[RecordBatch],
) -> Result<u64, ConnectorError> {
    let sink = sink(name, folder, config, batches[0].schema()).await?;
    write_all(sink, batches).await
}

/// What a source gave.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) rejects: Vec<RejectedRow>,
}

impl Rows {
    /// `name type` of each column.
    pub(crate) fn columns(&self) -> String {
        let columns =
            self.schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type()));
        columns.collect::<Vec<_>>().join(", ")
    }

    /// The cells of each row with ` | ` between them; nulls as `-`.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.batches.iter().flat_map(show).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// All rows in one batch.
    pub(crate) fn whole(&self) -> RecordBatch {
        arrow::compute::concat_batches(&self.schema, &self.batches).expect("one schema")
    }
}

pub(crate) fn show(batch: &RecordBatch) -> Vec<String> {
    let cell = |column: usize, row: usize| {
        let array = batch.column(column);
        if array.is_null(row) {
            "-".to_owned()
        } else {
            array_value_to_string(array, row).expect("a value")
        }
    };
    (0..batch.num_rows())
        .map(|row| (0..batch.num_columns()).map(|c| cell(c, row)).collect::<Vec<_>>().join(" | "))
        .collect()
}

/// The names of what lies in a folder, hidden ones too.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

/// A batch of these columns, all of which may hold nulls.
pub(crate) fn batch(columns: Vec<(&str, arrow::array::ArrayRef)>) -> RecordBatch {
    let fields: Vec<arrow::datatypes::Field> = columns
        .iter()
        .map(|(name, array)| arrow::datatypes::Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of one length")
}
