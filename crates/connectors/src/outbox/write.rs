//! The sink: rows into messages.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::message::header::{Date, Header, HeaderName};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidemill_connector::{ConnectorError, Sink, SinkContext, Written};

use super::OutboxSinkConfig;
use super::message::{Envelope, Key, Letter, header_name, header_text, mailbox, unsubscribe};
use super::publish::Staging;
use crate::cells::{Cells, PlainBatch};
use crate::columns::{clip, text};

/// Writes one message a row.
pub(crate) struct OutboxSink {
    staging: Staging,
    envelope: Envelope,
    columns: Columns,
    /// The time of the load, for messages without a date of their own.
    now: SystemTime,
    /// The keys so far.
    written: HashSet<[u8; 16]>,
    bytes: u64,
}

/// The columns that messages are made of: name and position.
struct Columns {
    key: Vec<Column>,
    to: Column,
    subject: Column,
    text: Column,
    html: Option<Column>,
    unsubscribe: Option<Column>,
    headers: Vec<(HeaderName, Column)>,
    date: Option<Column>,
}

struct Column {
    name: String,
    index: usize,
}

/// The address that a setting must be.
pub(super) fn address(key: &str, text: &str) -> Result<Mailbox, ConnectorError> {
    mailbox(text).map_err(|error| {
        ConnectorError::misconfigured(format!("`{key}`: {error}"))
            .help("write `news@shop.example` or `Shop <news@shop.example>`")
    })
}

/// The further header that a key of `headers` must be.
pub(super) fn header(name: &str) -> Result<HeaderName, ConnectorError> {
    header_name(name).map_err(|error| {
        ConnectorError::misconfigured(format!("`headers`: {error}")).help(
            "name a header of your own with letters, digits and `-`, for example `X-Campaign`",
        )
    })
}

/// Refuses a key of no columns, to which all messages would be the same.
pub(super) fn check_key(key: &[String]) -> Result<(), ConnectorError> {
    if key.is_empty() {
        return Err(ConnectorError::misconfigured("`key` names no column")
            .help("name the columns that tell one message from another"));
    }
    Ok(())
}

impl Columns {
    fn find(config: &OutboxSinkConfig, cx: &SinkContext) -> Result<Self, ConnectorError> {
        let column = |key: &str, name: &str| {
            Ok::<_, ConnectorError>(Column { name: name.to_owned(), index: cx.column(key, name)? })
        };
        let optional = |key: &str, name: &Option<String>| {
            name.as_deref().map(|name| column(key, name)).transpose()
        };
        let header = |(name, of): (&String, &String)| {
            Ok::<_, ConnectorError>((header(name)?, column("headers", of)?))
        };
        Ok(Self {
            key: config.key.iter().map(|name| column("key", name)).collect::<Result<_, _>>()?,
            to: column("to", &config.to)?,
            subject: column("subject", &config.subject)?,
            text: column("text", &config.text)?,
            html: optional("html", &config.html)?,
            unsubscribe: optional("list_unsubscribe", &config.list_unsubscribe)?,
            headers: config.headers.iter().map(header).collect::<Result<_, _>>()?,
            date: optional("date", &config.date)?,
        })
    }
}

impl OutboxSink {
    /// Finds the columns and starts a hidden load in the folder.
    pub(crate) fn create(
        config: &OutboxSinkConfig,
        cx: &SinkContext,
    ) -> Result<Self, ConnectorError> {
        let sender = address("sender", &config.sender)?;
        let reply_to =
            config.reply_to.as_deref().map(|text| address("reply_to", text)).transpose()?;
        let columns = Columns::find(config, cx)?;
        Ok(Self {
            staging: Staging::create(cx.resolve(&config.path), &cx.idempotency_key)?,
            envelope: Envelope { sender, reply_to },
            columns,
            now: SystemTime::now(),
            written: HashSet::new(),
            bytes: 0,
        })
    }

    fn add(&mut self, letter: &Letter, date: Option<SystemTime>) -> Result<(), ConnectorError> {
        if !self.written.insert(letter.key.digest()) {
            return Err(ConnectorError::data("two rows have the same key")
                .at(letter.key.place())
                .help(
                    "remove one of them, or add the columns to `key` that tell the messages apart",
                ));
        }
        let name = letter.key.file_name();
        let message = match date {
            Some(date) => letter.format(&self.envelope, date)?,
            None => self.dated(letter, &name)?,
        };
        let line = json!({
            "key": letter.key.0.iter().map(|(k, v)| (k.clone(), v.as_str().into()))
                .collect::<Map<String, Value>>(),
            "to": letter.to.email.to_string(),
            "subject": letter.subject,
            "file": name,
            "sha256": hex::encode(Sha256::digest(&message)),
        });
        self.bytes += message.len() as u64;
        self.staging.add(&name, &message, &line.to_string())
    }

    /// The message with the time of the load, or as it is if nothing else changed.
    fn dated(&self, letter: &Letter, name: &str) -> Result<Vec<u8>, ConnectorError> {
        if let Some(old) = self.staging.existing(name)
            && let Some(date) = date_of(&old)
        {
            let message = letter.format(&self.envelope, date)?;
            if message == old {
                return Ok(message);
            }
        }
        letter.format(&self.envelope, self.now)
    }
}

#[async_trait]
impl Sink for OutboxSink {
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), ConnectorError> {
        let plain = PlainBatch::new(batch)?;
        let mut cells = Row { plain: plain.cells()?, row: 0 };
        for row in 0..batch.num_rows() {
            cells.row = row;
            let (letter, date) = cells.letter(&self.columns)?;
            self.add(&letter, date)?;
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Written, ConnectorError> {
        self.staging.publish(&self.written)?;
        Ok(Written { rows: self.written.len() as u64, bytes: self.bytes })
    }
}

/// One row of a batch.
struct Row<'a> {
    plain: Vec<Cells<'a>>,
    row: usize,
}

impl Row<'_> {
    fn letter(
        &mut self,
        columns: &Columns,
    ) -> Result<(Letter, Option<SystemTime>), ConnectorError> {
        let key = self.key(columns)?;
        let wrong = |column: &Column, error: &str| {
            ConnectorError::data(error).at(format!("{}, column {}", key.place(), column.name))
        };
        let to = self.required(&columns.to, &key)?;
        let to = mailbox(&to).map_err(|error| wrong(&columns.to, &error))?;
        let subject = self.required(&columns.subject, &key)?;
        header_text(&subject)
            .map_err(|error| wrong(&columns.subject, &format!("the subject {error}")))?;
        let text = self.required(&columns.text, &key)?;
        let html = columns.html.as_ref().and_then(|column| self.optional(column));
        let mut link = None;
        if let Some(column) = &columns.unsubscribe {
            let text = self.required(column, &key)?;
            let url = unsubscribe(&text).map_err(|error| {
                wrong(column, &format!("the address for unsubscribing {error}"))
            })?;
            link = Some(url);
        }
        let mut headers = Vec::new();
        for (name, column) in &columns.headers {
            if let Some(text) = self.optional(column) {
                header_text(&text)
                    .map_err(|error| wrong(column, &format!("the header `{name}` {error}")))?;
                headers.push((name.clone(), text));
            }
        }
        let mut date = None;
        if let Some(column) = &columns.date {
            date = Some(self.date(column, &key)?);
        }
        Ok((Letter { key, to, subject, text, html, unsubscribe: link, headers }, date))
    }

    fn key(&mut self, columns: &Columns) -> Result<Key, ConnectorError> {
        let mut key = Vec::with_capacity(columns.key.len());
        for column in &columns.key {
            let value = self.optional(column).ok_or_else(|| {
                ConnectorError::data(format!(
                    "a row has no value in the key column `{}`",
                    column.name
                ))
                .at(Key(key.clone()).place())
            })?;
            key.push((column.name.clone(), value));
        }
        Ok(Key(key))
    }

    fn optional(&mut self, column: &Column) -> Option<String> {
        let cells = &mut self.plain[column.index];
        if cells.is_null(self.row) {
            return None;
        }
        let mut text = Vec::new();
        cells.write(self.row, &mut text);
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    fn required(&mut self, column: &Column, key: &Key) -> Result<String, ConnectorError> {
        self.optional(column).ok_or_else(|| {
            ConnectorError::data("there is no value").at(format!(
                "{}, column {}",
                key.place(),
                column.name
            ))
        })
    }

    /// An instant as a column of instants or dates has it, or as text in one of their forms.
    fn date(&mut self, column: &Column, key: &Key) -> Result<SystemTime, ConnectorError> {
        let written = self.required(column, key)?;
        let micros = self.plain[column.index]
            .micros(self.row)
            .or_else(|| text::timestamp(written.as_bytes()))
            // The forms of a message's date know neither years before 1970 nor after 9999.
            .filter(|micros| (0..253_402_300_800_000_000).contains(micros));
        let micros = micros.and_then(|micros| u64::try_from(micros).ok()).ok_or_else(|| {
            ConnectorError::data(format!("`{}` is no instant since 1970", clip(&written, 200)))
                .at(format!("{}, column {}", key.place(), column.name))
        })?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
    }
}

/// The date that a message carries.
fn date_of(message: &[u8]) -> Option<SystemTime> {
    let text = String::from_utf8_lossy(message);
    let head = text.split("\r\n\r\n").next()?;
    let date = head.split("\r\n").find_map(|line| line.strip_prefix("Date: "))?;
    Date::parse(date).ok().map(SystemTime::from)
}
