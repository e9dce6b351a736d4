//! `outbox`: a folder of messages, ready to be sent.
//!
//! * [`message`]: from a row to an RFC 5322 message; [`write`]: the sink;
//! * [`publish`]: how the messages of a load get into the folder.
//!
//! The folder is what a mail system picks up. A message is a function of its row, and its file is
//! named by its key: a load that is repeated writes the same bytes into the same files.

mod message;
mod publish;
mod write;

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tidemill_connector::config::Findings;
use tidemill_connector::connector::NoConfig;
use tidemill_connector::{Connector, ConnectorError, Guarantee, Sink, SinkContext};

use crate::files::publish::check_target;

/// Settings of an `outbox` sink. All values but `path`, `sender` and `reply_to` are names of
/// columns.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboxSinkConfig {
    /// The folder, relative to the folder of the DAG file; it is made if it is missing, and so are
    /// the folders on the way to it, wherever the path leads. Each row becomes a file `….eml` in it; `messages.jsonl` lists them all, with
    /// `key`, `to`, `subject`, `file` and `sha256`.
    #[schemars(length(min = 1), extend("format" = "path"))]
    pub path: String,
    /// Who the messages are from: `news@shop.example` or `Shop <news@shop.example>`.
    pub sender: String,
    /// The column with the address of the recipient; one in each row.
    pub to: String,
    /// The column with the subject.
    pub subject: String,
    /// The column with the message as plain text.
    pub text: String,
    /// The column with the message as HTML; rows without a value are sent as plain text only.
    #[serde(default)]
    pub html: Option<String>,
    /// The columns that tell one message from another, for example `[campaign, customer_id]`. A
    /// message with the same key takes the place of the one before.
    #[schemars(length(min = 1))]
    pub key: Vec<String>,
    /// The column with the address for unsubscribing: `https://…`, for which one click is enough,
    /// or `mailto:…`.
    #[serde(default)]
    pub list_unsubscribe: Option<String>,
    /// Further headers, each with the column that holds its value: `{X-Campaign: campaign}`. A row
    /// without a value goes without the header.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The column with the instant that the message carries as its date. Without it that is the
    /// time of the load; a message that has not changed since an earlier load keeps its date.
    #[serde(default)]
    pub date: Option<String>,
    /// Where answers go, if not to the sender.
    #[serde(default)]
    pub reply_to: Option<String>,
}

/// The connector.
#[derive(Debug, Clone, Copy)]
pub struct Outbox;

#[async_trait]
impl Connector for Outbox {
    type SourceConfig = NoConfig;
    type SinkConfig = OutboxSinkConfig;

    const NAME: &'static str = "outbox";
    const SUMMARY: &'static str = "A folder of e-mail messages, one file a row, ready to be sent.";
    const SOURCE_EXAMPLE: &'static str = "";
    const SINK_EXAMPLE: &'static str = "{path: outbox/spring, sender: Shop <news@shop.example>, \
        to: email, subject: subject, text: text, html: html, key: [campaign, customer_id], \
        list_unsubscribe: unsubscribe_url, headers: {X-Campaign: campaign}}";
    const GUARANTEE: Option<Guarantee> = Some(Guarantee::Idempotent);

    fn check_sink(config: &OutboxSinkConfig, found: &mut Findings) {
        found.note(&[&["path"]], check_target(&config.path));
        found.note(&[&["sender"]], write::address("sender", &config.sender));
        if let Some(text) = &config.reply_to {
            found.note(&[&["reply_to"]], write::address("reply_to", text));
        }
        found.note(&[&["key"]], write::check_key(&config.key));
        for name in config.headers.keys() {
            found.note(&[&["headers", name]], write::header(name));
        }
    }

    async fn sink(
        &self,
        config: OutboxSinkConfig,
        cx: SinkContext,
    ) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(write::OutboxSink::create(&config, &cx)?))
    }
}
