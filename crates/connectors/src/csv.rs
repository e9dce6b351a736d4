//! `csv`: rows from and to files of separated values.
//!
//! * [`input`]: the files of a source under one header; [`split`]: from a file to chunks of whole
//!   records; [`chunks`]: the chunks of all files, worked on by several threads, in order;
//! * [`marks`]: the bytes that mean something; [`index`]: where the cells of a chunk are; [`parse`]: from there to columns; [`batches`]: from
//!   the columns of chunks to batches;
//! * [`scan`]: from text to records, one by one, with all that can be wrong; [`judge`]: what is
//!   wrong with a row that is bad; [`infer`]: types from the whole input;
//! * [`read`]: the source; [`write`]: the sink.

mod batches;
mod chunks;
mod index;
pub(crate) mod infer;
pub(crate) mod input;
mod judge;
mod marks;
mod parse;
pub(crate) mod read;
pub(crate) mod scan;
mod split;
#[cfg(test)]
mod tests;
mod write;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::config::{Findings, Setting};
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

/// Settings of a `csv` source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-reasons" = Reason::table(Reason::CSV), "x-limits" = row_limits()))]
pub struct CsvSourceConfig {
    /// The file, or a pattern for several: `inbox/*.csv`, `2024/**/orders-??.csv.gz`. Files are
    /// read in the order of their names and must all have the same header. Files packed with gzip
    /// or zstd are unpacked.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
    /// The character between cells; `\t` for a tab.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 2))]
    pub delimiter: String,
    /// The character around cells that hold delimiters or line ends; within such a cell it is
    /// written twice. An empty text means that no character has this role.
    #[serde(default = "double_quote")]
    #[schemars(length(max = 1))]
    pub quote: String,
    /// The encoding of files that carry no byte-order mark: for example
    /// `utf-8`, `windows-1252` or `utf-16le`.
    #[serde(default = "utf_8")]
    pub encoding: String,
    /// Whether the first row of each file names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// The names of the columns, when `header` is false.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub names: Option<Vec<String>>,
    /// Texts that stand for "no value".
    #[serde(default = "empty_text")]
    pub nulls: Vec<String>,
    /// Whether such a text stands for "no value" also when it is quoted. With `false`, `""` is an
    /// empty text.
    #[serde(default = "yes")]
    pub quoted_nulls: bool,
    /// Whether white space around cells is dropped.
    #[serde(default)]
    pub trim: bool,
    /// The types of columns, by the names they have after `rename`. The type of a column that is
    /// not named is inferred from all its values in all files, which takes one more pass.
    #[serde(default)]
    pub columns: ColumnTypes,
    /// How columns are renamed: `snake_case`, or `{old: new}`.
    #[serde(default)]
    pub rename: Option<Rename>,
    /// The columns that are kept, in this order, by the names they have after `rename`; without it
    /// all are. The values of other columns are not read, which saves most of their time.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub select: Option<Vec<String>>,
    /// What to do with a row that has too few or too many cells or a value that its column cannot
    /// hold: `stop`, or `quarantine` to set it aside and read on.
    #[serde(default)]
    pub on_bad_row: OnBadRow,
    /// The name of a further column that holds the name of each row's file.
    #[serde(default)]
    pub file_column: Option<String>,
}

/// Settings of a `csv` sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvSinkConfig {
    /// The file, relative to the folder of the DAG file. It appears when all rows are written, in
    /// place of an older one. A name that ends in `.gz` or `.zst` is packed. Folders on the way to
    /// it that are missing are made, also outside the folder of the DAG file where the path leads
    /// there.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
    /// The character between cells; `\t` for a tab.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 2))]
    pub delimiter: String,
    /// Whether the first row names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// The text that stands for "no value". A value that equals it is quoted.
    #[serde(default)]
    pub nulls: String,
}

fn comma() -> String {
    ",".to_owned()
}

fn double_quote() -> String {
    "\"".to_owned()
}

fn utf_8() -> String {
    "utf-8".to_owned()
}

fn yes() -> bool {
    true
}

fn empty_text() -> Vec<String> {
    vec![String::new()]
}

/// The settings that must fit each other for a file without a header.
const NAMES: [Setting<'static>; 4] = [&["names"], &["header"], &["columns"], &["rename"]];

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct Csv;

#[async_trait]
impl Connector for Csv {
    type SourceConfig = CsvSourceConfig;
    type SinkConfig = CsvSinkConfig;

    const NAME: &'static str = "csv";
    const SUMMARY: &'static str = "Rows from and to files of separated values, plain or packed.";
    const SOURCE_EXAMPLE: &'static str = "{path: inbox/*.csv.gz, delimiter: \";\", \
        columns: {order_id: string, amount: \"decimal(12,2)\", ordered_at: timestamp}, \
        rename: snake_case, on_bad_row: quarantine}";
    const SINK_EXAMPLE: &'static str = "{path: out/orders.csv.gz, nulls: \"NULL\"}";
    const GUARANTEE: Option<Guarantee> = Some(Guarantee::AtomicPublish);

    fn check_source(config: &CsvSourceConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_pattern(&config.path));
        found.note(&[&["encoding"]], encoding(Some(&config.encoding)));
        let delimiter =
            found.note(&[&["delimiter"]], one_character("delimiter", &config.delimiter));
        let quote = found.note(&[&["quote"]], quote(&config.quote));
        if let (Some(delimiter), Some(Some(quote))) = (delimiter, quote) {
            found.note(&[&["delimiter"], &["quote"]], differ(delimiter, quote));
        }
        found.note(&NAMES, input::check_names(config));
        found.note(&[&["select"]], check_select(config.select.as_deref()));
        let file_column = config.file_column.as_deref();
        found.note(&[&["file_column"]], check_new_name("file_column", file_column));
    }

    fn check_sink(config: &CsvSinkConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_file(&config.path));
        found.note(&[&["delimiter"]], write::delimiter(config));
    }

    async fn source(
        &self,
        config: CsvSourceConfig,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(read::CsvSource::open(config, &cx)?))
    }

    fn source_state(
        &self,
        config: &CsvSourceConfig,
        cx: &SourceContext,
    ) -> Result<Option<String>, ConnectorError> {
        find::state(&config.path, &cx.folder).map(Some)
    }

    async fn sink(
        &self,
        config: CsvSinkConfig,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(write::CsvSink::create(&config, &cx)?))
    }
}

/// The character around cells, if there is one.
fn quote(text: &str) -> Result<Option<u8>, ConnectorError> {
    if text.is_empty() { Ok(None) } else { one_character("quote", text).map(Some) }
}

fn differ(delimiter: u8, quote: u8) -> Result<(), ConnectorError> {
    if delimiter == quote {
        return Err(ConnectorError::misconfigured("`delimiter` and `quote` are the same")
            .help("write `quote: \"\"` if no character is around cells"));
    }
    Ok(())
}

/// The one ASCII character that a setting must be.
fn one_character(key: &str, text: &str) -> Result<u8, ConnectorError> {
    match text.as_bytes() {
        // Single quotes in YAML keep the backslash.
        b"\\t" => Ok(b'\t'),
        [b'\r' | b'\n'] => {
            Err(ConnectorError::misconfigured(format!("`{key}` must not end a line")))
        }
        [byte] => Ok(*byte),
        _ => Err(ConnectorError::misconfigured(format!(
            "`{key}` is `{text}`, not one character of ASCII"
        ))
        .help("write one character of ASCII, for example `\",\"` or `\"\\t\"`")),
    }
}
