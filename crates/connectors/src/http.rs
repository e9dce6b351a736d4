//! `http`: rows from JSON, JSON lines or CSV behind a URL, page by page.
//!
//! * [`connection`]: where that is, with its secrets; [`request`]: what is asked, with the secrets of the connection;
//! * [`answer`]: one page fetched, or an error in its class; [`retry_after`]: how long to wait;
//! * [`page`]: from the body of a page to rows; [`paging`]: which page comes next;
//! * [`spool`]: pages kept while the types of columns are being found; [`read`]: the source.

mod answer;
pub mod connection;
mod page;
mod paging;
mod read;
mod request;
mod retry_after;
mod spool;

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tidemill_connector::config::{Findings, Setting, schema_of};
use tidemill_connector::connector::NoConfig;
use tidemill_connector::{Connector, ConnectorError, Guarantee, Source, SourceContext};

use self::connection::HttpConnection;
use crate::columns::{ColumnTypes, Rename};

/// Settings of an `http` source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSourceConfig {
    /// The whole address, for a source that needs no secrets. Otherwise use `connection` and
    /// `path`.
    #[serde(default)]
    pub url: Option<String>,
    /// The connection, whose `base_url` the `path` is below. Its `token` is sent as a bearer token,
    /// or in the header that its `header` names; its `user` and `password` as basic authentication.
    #[serde(default)]
    #[schemars(extend("format" = "connection"))]
    pub connection: Option<String>,
    /// The path below the connection's `base_url`, for example `/v1/orders`.
    #[serde(default)]
    pub path: Option<String>,
    /// How it is asked for. A page may be asked for more than once, so use `POST` only where it
    /// changes nothing.
    #[serde(default)]
    pub method: Method,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Parameters to add to the address.
    #[serde(default)]
    pub query: BTreeMap<String, QueryValue>,
    /// What to send with `POST`, as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// The format of the answer.
    #[serde(default)]
    pub format: Format,
    /// Where the rows are in a JSON answer: the keys that lead to the list, for example
    /// `data.items`. Without it the answer itself is the list.
    #[serde(default)]
    pub rows: Option<String>,
    /// How to get the pages after the first; without it there is one page.
    #[serde(default)]
    pub pagination: Option<Pagination>,
    /// The columns to read, by the names they have after `rename`, with their types; other keys are
    /// left out. Without it the columns and their types are inferred from all pages, which are
    /// fetched before the first row is given on.
    #[serde(default)]
    pub columns: Option<ColumnTypes>,
    /// How columns are renamed: `snake_case`, or `{old: new}`.
    #[serde(default)]
    pub rename: Option<Rename>,
    /// A page may have at most this many bytes after unpacking.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
    /// At most this many pages are fetched; more are an error.
    #[serde(default = "default_max_pages")]
    #[schemars(range(min = 1))]
    pub max_pages: u64,
    /// How long a page may take until it is there whole.
    #[serde(default = "default_timeout")]
    #[schemars(extend("format" = "duration"))]
    pub timeout: String,
}

/// How a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Without a body.
    #[default]
    Get,
    /// With a body.
    Post,
}

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON value that holds a list of objects.
    #[default]
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

/// The value of a parameter in the address.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum QueryValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// How to get the pages after the first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pagination {
    /// By number.
    Page(PageNumbers),
    /// By a text that each page gives for the next one.
    Cursor(Cursor),
}

/// Pages by number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageNumbers {
    /// The parameter that holds the number.
    pub param: String,
    /// The number of the first page.
    #[serde(default = "one")]
    pub start: u64,
    /// The parameter that asks for so many rows in a page.
    #[serde(default)]
    pub size_param: Option<String>,
    /// So many rows in a page.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub size: Option<u64>,
    /// Which page is the last.
    #[serde(default)]
    pub stop: Stop,
}

/// Which page is the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The first without rows.
    #[default]
    Empty,
    /// The first with fewer than `size` rows.
    Short,
}

/// Pages by a text that each gives for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The parameter that holds the text; the first page is asked for without it.
    pub param: String,
    /// Where the text for the next page is in a JSON answer, for example `meta.next`. The last page
    /// has nothing there, or null, or an empty text.
    pub next: String,
}

fn default_max_bytes() -> u64 {
    64 << 20
}

fn default_max_pages() -> u64 {
    10_000
}

fn default_timeout() -> String {
    "60s".to_owned()
}

fn one() -> u64 {
    1
}

/// The settings that an address is made of, and those that pages are.
const ADDRESS: [Setting<'static>; 3] = [&["url"], &["connection"], &["path"]];
const PAGES: [Setting<'static>; 3] = [&["pagination"], &["format"], &["query"]];

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct Http;

#[async_trait]
impl Connector for Http {
    type SourceConfig = HttpSourceConfig;
    type SinkConfig = NoConfig;

    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "Rows from JSON, JSON lines or CSV behind a URL, page by page.";
    const SOURCE_EXAMPLE: &'static str = "{connection: shop_api, path: /v1/orders, \
        query: {status: paid}, rows: data.items, \
        pagination: {cursor: {param: cursor, next: meta.next}}, \
        columns: {id: string, amount: \"decimal(12,2)\", created_at: timestamp}, timeout: 30s}";
    const SINK_EXAMPLE: &'static str = "";
    const GUARANTEE: Option<Guarantee> = None;

    fn connection() -> Option<Value> {
        Some(schema_of::<HttpConnection>())
    }

    fn check_source(config: &HttpSourceConfig, found: &mut Findings) {
        found.note(&ADDRESS, request::check_address(config));
        found.note(&[&["body"], &["method"]], request::check_body(config));
        for (name, value) in &config.headers {
            found.note(&[&["headers", name]], request::check_header(name, value));
        }
        found.note(&[&["rows"], &["format"]], page::check_rows(config));
        found.note(&PAGES, paging::check_pagination(config));
        found.note(&[&["max_bytes"]], paging::check_limit("max_bytes", config.max_bytes));
        found.note(&[&["max_pages"]], paging::check_limit("max_pages", config.max_pages));
        found.note(&[&["timeout"]], request::timeout(&config.timeout));
    }

    async fn source(
        &self,
        config: HttpSourceConfig,
        cx: SourceContext,
    ) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(read::HttpSource::open(config, &cx).await?))
    }
}
