//! `parquet`: rows from and to Parquet files.

use std::fs::File;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use ::parquet::arrow::{ArrowWriter, ProjectionMask};
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::config::Findings;
use tidemill_connector::{
    Connector, ConnectorError, Guarantee, Sink, SinkContext, Source, SourceContext, Written,
};
use tidemill_model::words::counted;

use crate::columns::Rename;
use crate::columns::rename::rename_all;
use crate::columns::select::{Known, check_select};
use crate::files::find::{InputFile, check_pattern, find, state};
use crate::files::publish::{Staged, check_file};

/// A row group is ended early when its packed columns take this much memory.
const ROW_GROUP_BYTES_MAX: usize = 128 << 20;

/// Settings of a `parquet` source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSourceConfig {
    /// The file, or a pattern for several: `lake/**/*.parquet`. Files are read in the order of
    /// their names and must all have the same columns.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
    /// How columns are renamed: `snake_case`, or `{old: new}`.
    #[serde(default)]
    pub rename: Option<Rename>,
    /// The columns that are kept, in this order, by the names they have after `rename`; without it
    /// all are. Other columns are never read from the file.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub select: Option<Vec<String>>,
}

/// Settings of a `parquet` sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSinkConfig {
    /// The file, relative to the folder of the DAG file. It appears when all rows are written, in
    /// place of an older one. Folders on the way to it that are missing are made, also outside the
    /// folder of the DAG file where the path leads there.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
    /// How columns are packed.
    #[serde(default)]
    pub compression: ParquetCompression,
    /// Rows in a row group, which readers skip or read as a whole.
    #[serde(default = "default_row_group_rows")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub row_group_rows: usize,
}

/// How the columns of a Parquet file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParquetCompression {
    /// Small files.
    #[default]
    Zstd,
    /// Larger files that every reader knows how to unpack.
    Snappy,
    /// Not packed.
    None,
}

fn default_row_group_rows() -> usize {
    1_000_000
}

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct Parquet;

#[async_trait]
impl Connector for Parquet {
    type SourceConfig = ParquetSourceConfig;
    type SinkConfig = ParquetSinkConfig;

    const NAME: &'static str = "parquet";
    const SUMMARY: &'static str = "Rows from and to Parquet files.";
    const SOURCE_EXAMPLE: &'static str =
        "{path: lake/orders/*.parquet, select: [order_id, amount]}";
    const SINK_EXAMPLE: &'static str =
        "{path: out/orders.parquet, compression: snappy, row_group_rows: 200000}";
    const GUARANTEE: Option<Guarantee> = Some(Guarantee::AtomicPublish);

    fn check_source(config: &ParquetSourceConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_pattern(&config.path));
        found.note(&[&["select"]], check_select(config.select.as_deref()));
    }

    fn check_sink(config: &ParquetSinkConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_file(&config.path));
        found.note(&[&["row_group_rows"]], check_row_group(config.row_group_rows));
    }

    async fn source(
        &self,
        config: ParquetSourceConfig,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(ParquetSource::open(&config, &cx)?))
    }

    fn source_state(
        &self,
        config: &ParquetSourceConfig,
        cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError> {
        state(&config.path, &cx.folder).map(Some)
    }

    async fn sink(
        &self,
        config: ParquetSinkConfig,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(ParquetSink::create(&config, &cx)?))
    }
}

/// Reads the files of a pattern, row group by row group.
struct ParquetSource {
    files: Vec<InputFile>,
    /// The file to be opened next.
    next_file: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// Positions of the columns to read in the files, ascending, as the reader wants them.
    roots: Vec<usize>,
    /// For each column given on, its position among those read.
    order: Vec<usize>,
    schema: SchemaRef,
    batch_rows: usize,
}

impl ParquetSource {
    fn open(config: &ParquetSourceConfig, cx: &SourceContext) -> Result<Self, ConnectorError> {
        let files = find(&config.path, &cx.folder)?;
        // Only the ends of the files are read here, which tell their columns.
        let first = read_schema(&files[0])?;
        for file in &files[1..] {
            same_columns(&first, &read_schema(file)?, &files[0], file)?;
        }
        let old: Vec<String> = first.fields().iter().map(|f| f.name().clone()).collect();
        let names = rename_all(&old, config.rename.as_ref(), &files[0].name)?;
        let all: Vec<Field> = first
            .fields()
            .iter()
            .zip(&names)
            .map(|(field, name)| field.as_ref().clone().with_name(name).with_nullable(true))
            .collect();
        let (renamed, place) = (config.rename.is_some(), &files[0].name);
        let known = Known { names: &names, renamed, owner: "the input does", place };
        let chosen = known.select(config.select.as_deref())?;
        let mut roots = chosen.clone();
        roots.sort_unstable();
        let order = chosen.iter().map(|index| roots.partition_point(|root| root < index)).collect();
        let fields: Vec<Field> = chosen.iter().map(|index| all[*index].clone()).collect();
        Ok(Self {
            files,
            next_file: 0,
            reader: None,
            roots,
            order,
            schema: Arc::new(Schema::new(fields)),
            batch_rows: cx.batch_rows.max(1),
        })
    }

    fn open_next(&mut self) -> Result<bool, ConnectorError> {
        let Some(file) = self.files.get(self.next_file) else { return Ok(false) };
        self.next_file += 1;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(open(file)?).map_err(|e| damaged(file, &e))?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), self.roots.iter().copied());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(self.batch_rows)
            .build()
            .map_err(|e| damaged(file, &e))?;
        self.reader = Some(reader);
        Ok(true)
    }

    /// The columns in the order and under the names that the config asks for.
    fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
        let columns = self.order.iter().map(|index| batch.column(*index).clone()).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

#[async_trait]
impl Source for ParquetSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ConnectorError> {
        loop {
            let next = self.reader.as_mut().and_then(Iterator::next);
            match next {
                Some(Ok(batch)) if batch.num_rows() > 0 => return self.arrange(&batch).map(Some),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    return Err(damaged(&self.files[self.next_file - 1], &error));
                }
                None => {
                    self.reader = None;
                    if !self.open_next()? {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

fn open(file: &InputFile) -> Result<File, ConnectorError> {
    File::open(&file.path).map_err(|e| ConnectorError::io("read", &file.path, &e))
}

fn read_schema(file: &InputFile) -> Result<SchemaRef, ConnectorError> {
    let metadata = ArrowReaderMetadata::load(&open(file)?, ArrowReaderOptions::new());
    Ok(metadata.map_err(|e| damaged(file, &e))?.schema().clone())
}

fn damaged(file: &InputFile, error: &dyn std::fmt::Display) -> ConnectorError {
    ConnectorError::data(format!("`{}` is no whole Parquet file: {error}", file.name))
        .help("fetch the file again, or read it with the connector of its format")
}

fn check_row_group(rows: usize) -> Result<(), ConnectorError> {
    if rows == 0 {
        return Err(ConnectorError::misconfigured("`row_group_rows` must be at least 1"));
    }
    Ok(())
}

/// Refuses a file whose columns are not those of the first. Whether nulls are allowed may differ.
fn same_columns(
    first: &SchemaRef,
    schema: &SchemaRef,
    first_file: &InputFile,
    file: &InputFile,
) -> Result<(), ConnectorError> {
    let differ = |what: String| {
        ConnectorError::data(format!(
            "`{}` has other columns than `{}`: {what}",
            file.name, first_file.name
        ))
        .help("read files of different shapes with one task each")
    };
    for (index, (a, b)) in first.fields().iter().zip(schema.fields()).enumerate() {
        if a.name() != b.name() {
            let (place, here, there) = (index + 1, b.name(), a.name());
            return Err(differ(format!("column {place} is `{here}` instead of `{there}`")));
        }
        if !a.data_type().equals_datatype(b.data_type()) {
            let (name, here, there) = (a.name(), b.data_type(), a.data_type());
            return Err(differ(format!("column `{name}` is {here} instead of {there}")));
        }
    }
    let (expected, found) = (first.fields().len(), schema.fields().len());
    if expected == found {
        return Ok(());
    }
    Err(differ(format!("it has {} instead of {expected}", counted(found, "column"))))
}

/// Writes one file.
struct ParquetSink {
    writer: ArrowWriter<File>,
    staged: Staged,
    rows: u64,
}

impl ParquetSink {
    fn create(config: &ParquetSinkConfig, cx: &SinkContext) -> Result<Self, ConnectorError> {
        let properties = WriterProperties::builder()
            .set_compression(match config.compression {
                ParquetCompression::Zstd => Compression::ZSTD(ZstdLevel::default()),
                ParquetCompression::Snappy => Compression::SNAPPY,
                ParquetCompression::None => Compression::UNCOMPRESSED,
            })
            .set_max_row_group_row_count(Some(config.row_group_rows))
            .build();
        let (staged, file) = Staged::create(&cx.resolve(&config.path), &cx.idempotency_key)?;
        let writer = ArrowWriter::try_new(file, cx.schema.clone(), Some(properties))
            .map_err(|e| unwritable(&e))?;
        Ok(Self { writer, staged, rows: 0 })
    }
}

#[async_trait]
impl Sink for ParquetSink {
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        self.writer.write(batch).map_err(|e| unwritable(&e))?;
        self.rows += batch.num_rows() as u64;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES_MAX {
            self.writer.flush().map_err(|e| unwritable(&e))?;
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Written, ConnectorError> {
        let Self { writer, staged, rows } = *self;
        let file = writer.into_inner().map_err(|e| unwritable(&e))?;
        let bytes = staged.publish(&file)?;
        Ok(Written { rows, bytes })
    }
}

fn unwritable(error: &ParquetError) -> ConnectorError {
    match error {
        ParquetError::External(_) => {
            ConnectorError::internal(format!("cannot write the Parquet file: {error}"))
        }
        _ => ConnectorError::data(format!("the table does not fit into Parquet: {error}")),
    }
}
