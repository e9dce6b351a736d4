//! `jsonl`: rows from and to files of JSON lines, one object a line.
//!
//! * [`table`]: objects into columns, which the `http` connector does too;
//! * [`read`]: the source; [`write`]: the sink.

mod read;
pub(crate) mod table;
mod write;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::config::Findings;
use tidemill_connector::{
    Connector, ConnectorError, Guarantee, Sink, SinkContext, Source, SourceContext,
};

use crate::columns::rename::check_new_name;
use crate::columns::select::check_select;
use crate::columns::{ColumnTypes, OnBadRow, Rename};
use crate::files::find::{self, check_pattern};
use crate::files::open::encoding;
use crate::files::publish::check_file;
use crate::rejects::{Reason, row_limits};

/// Settings of a `jsonl` source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-reasons" = Reason::table(Reason::JSONL), "x-limits" = row_limits()))]
pub struct JsonlSourceConfig {
    /// The file, or a pattern for several: `inbox/*.jsonl`. Files are read in the order of their
    /// names. Files packed with gzip or zstd are unpacked.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
    /// The encoding of files that carry no byte-order mark: for example
    /// `utf-8`, `windows-1252` or `utf-16le`.
    #[serde(default)]
    pub encoding: Option<String>,
    /// The columns to read, by the names they have after `rename`, with their types; keys that are
    /// not named are left out. Without it the columns and their types, lists and objects
    /// included, are inferred from all lines of all files, which takes one more pass.
    #[serde(default)]
    pub columns: Option<ColumnTypes>,
    /// How columns are renamed: `snake_case`, or `{old: new}`.
    #[serde(default)]
    pub rename: Option<Rename>,
    /// The columns that are kept, in this order, by the names they have after `rename`; without it
    /// all are. Values of other keys are not looked at.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub select: Option<Vec<String>>,
    /// What to do with a line that is no object or has a value that its column cannot hold:
    /// `stop`, or `quarantine` to set it aside and read on.
    #[serde(default)]
    pub on_bad_row: OnBadRow,
    /// The name of a further column that holds the name of each row's file.
    #[serde(default)]
    pub file_column: Option<String>,
}

/// Settings of a `jsonl` sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonlSinkConfig {
    /// The file, relative to the folder of the DAG file. It appears when all rows are written, in
    /// place of an older one. A name that ends in `.gz` or `.zst` is packed. Folders on the way to
    /// it that are missing are made, also outside the folder of the DAG file where the path leads
    /// there.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
}

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct Jsonl;

#[async_trait]
impl Connector for Jsonl {
    type SourceConfig = JsonlSourceConfig;
    type SinkConfig = JsonlSinkConfig;

    const NAME: &'static str = "jsonl";
    const SUMMARY: &'static str = "Rows from and to files of JSON lines, plain or packed.";
    const SOURCE_EXAMPLE: &'static str =
        "{path: events/*.jsonl.gz, columns: {id: string, at: timestamp, amount: float64}}";
    const SINK_EXAMPLE: &'static str = "{path: out/profiles.jsonl}";
    const GUARANTEE: Option<Guarantee> = Some(Guarantee::AtomicPublish);

    fn check_source(config: &JsonlSourceConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_pattern(&config.path));
        found.note(&[&["encoding"]], encoding(config.encoding.as_deref()));
        found.note(&[&["select"]], check_select(config.select.as_deref()));
        if let Some(columns) = &config.columns {
            found.note(&[&["select"], &["columns"]], read::chosen(columns, config).map(|_| ()));
        }
        let file_column = config.file_column.as_deref();
        found.note(&[&["file_column"]], check_new_name("file_column", file_column));
    }

    fn check_sink(config: &JsonlSinkConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_file(&config.path));
    }

    async fn source(
        &self,
        config: JsonlSourceConfig,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(read::JsonlSource::open(&config, &cx)?))
    }

    fn source_state(
        &self,
        config: &JsonlSourceConfig,
        cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError> {
        find::state(&config.path, &cx.folder).map(Some)
    }

    async fn sink(
        &self,
        config: JsonlSinkConfig,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(write::JsonlSink::create(&config, &cx)?))
    }
}
