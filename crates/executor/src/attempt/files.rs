//! The files between a task and its command: tables that it reads, tables and values that it leaves.
//!
//! All of them lie in one folder, which goes with the attempt.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::record_batch::RecordBatch;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tidemill_connector::{
    AnyConnector, BatchIter, ConnectorError, Outputs, SinkContext, SourceContext, Table,
};
use tidemill_model::outputs::{BadOutput, FileFormat, Output, read_values};
use tidemill_model::{Counts, FailureKind, TaskError};

use super::command::Variables;
use super::{Attempt, Ended};
use crate::process::record::name_of;
use crate::tables::AttemptOutputs;

/// The folder of these files, below that of attempts under way.
pub(crate) const FILES: &str = "files";

/// The name of the file of values.
const VALUES: &str = "values";

/// The most bytes of the file of values that are looked at.
const VALUES_BYTES_MAX: u64 = 1 << 20;

/// The first bytes of an Arrow file; a stream has others.
const ARROW_FILE: &[u8] = b"ARROW1";

/// The files of an attempt.
pub(super) struct Files {
    folder: Option<PathBuf>,
    inputs: Variables,
    outputs: Variables,
    /// Rows that are handed over.
    rows: u64,
}

impl Files {
    /// Writes the tables that the command reads.
    pub(super) async fn prepare(attempt: &Attempt) -> Result<Self, ConnectorError> {
        let task = attempt.task();
        let tables = attempt.inputs().await?;
        let (inputs, outputs) = (Variables::new(), Variables::new());
        let mut files = Self { folder: None, inputs, outputs, rows: 0 };
        if tables.is_empty() && task.outputs.is_empty() {
            return Ok(files);
        }
        let folder = folder_of(attempt);
        std::fs::create_dir_all(&folder)
            .map_err(|error| ConnectorError::io("create the folder", &folder, &error))?;
        files.folder = Some(folder.clone());
        for (alias, table) in tables {
            attempt.stop.check()?;
            let read = task.reads.iter().find(|read| read.alias == alias);
            let format = read.map_or_else(FileFormat::default, |read| read.format);
            let path = folder.join(format!("{alias}.{format}"));
            write(attempt, &*table, &path, format).await?;
            files.rows += table.rows();
            files.inputs.push((variable("INPUT", &alias), path.into()));
        }
        for (name, output) in &task.outputs {
            if let Output::Table { format, .. } = output {
                let path = output_path(&folder, name.as_str(), *format);
                files.outputs.push((variable("OUTPUT", name.as_str()), path.into()));
            }
        }
        if !task.outputs.is_empty() {
            files.outputs.push(("TIDEMILL_OUTPUTS".to_owned(), folder.join(VALUES).into()));
        }
        Ok(files)
    }

    /// The files of a command that an earlier server started.
    pub(super) async fn adopted(attempt: &Attempt) -> Result<Self, ConnectorError> {
        let task = attempt.task();
        let tables = attempt.inputs().await?;
        let (inputs, outputs) = (Variables::new(), Variables::new());
        let rows = tables.values().map(|table| table.rows()).sum();
        let has_files = !tables.is_empty() || !task.outputs.is_empty();
        Ok(Self { folder: has_files.then(|| folder_of(attempt)), inputs, outputs, rows })
    }

    /// The command goes on without this process: the files stay.
    pub(super) fn leave(mut self) {
        self.folder = None;
    }

    /// The variables that name the files.
    pub(super) fn variables(&self) -> Variables {
        self.inputs.iter().chain(&self.outputs).cloned().collect()
    }

    /// Takes in what the command left.
    pub(super) async fn collect(self, attempt: &Attempt) -> Ended {
        let outputs = attempt.outputs();
        let mut counts = Counts { rows_in: self.rows, ..Counts::default() };
        let mut values = Map::new();
        if let Some(folder) = &self.folder {
            match values_in(folder, attempt) {
                Ok(found) => values = found,
                Err(error) => return Ended::Failed(error),
            }
            match tables_in(folder, attempt, &outputs).await {
                Ok(rows) => counts.rows_out = rows,
                Err(error) => return Attempt::failed(&error),
            }
        }
        match attempt.check(&outputs, counts).await {
            Ended::Done(mut result, small) => {
                result.outputs = values;
                Ended::Done(result, small)
            }
            other => other,
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Where the files of an attempt are.
fn folder_of(attempt: &Attempt) -> PathBuf {
    let id = &attempt.order.id;
    let name = name_of(id, &attempt.order.dag.name_of(id.task));
    attempt.shared.home.spill.join(FILES).join(name)
}

fn variable(kind: &str, name: &str) -> String {
    format!("TIDEMILL_{kind}_{}", name.to_ascii_uppercase().replace('.', "_"))
}

fn output_path(folder: &Path, name: &str, format: FileFormat) -> PathBuf {
    // An input may have the same name.
    folder.join(format!("output.{name}.{format}"))
}

/// The connector that reads and writes files of a form; none for Arrow, which is ours.
fn connector(
    attempt: &Attempt,
    format: FileFormat,
) -> Result<Option<Arc<dyn AnyConnector>>, ConnectorError> {
    if format == FileFormat::Arrow {
        return Ok(None);
    }
    let found = attempt.shared.registry.connector(format.label());
    let missing = || ConnectorError::misconfigured(format!("there is no connector `{format}`"));
    found.cloned().ok_or_else(missing).map(Some)
}

async fn write(
    attempt: &Attempt,
    table: &dyn Table,
    path: &Path,
    format: FileFormat,
) -> Result<(), ConnectorError> {
    let Some(connector) = connector(attempt, format)? else {
        return crate::tables::export(table, path);
    };
    let cx = SinkContext {
        schema: table.schema(),
        folder: attempt.order.dag.folder.clone(),
        connection: None,
        idempotency_key: String::new(),
    };
    let mut sink = connector.open_sink(json!({"path": path}), cx).await?;
    for batch in table.scan()? {
        attempt.stop.check()?;
        sink.write(&batch?).await?;
    }
    sink.finish().await.map(|_| ())
}

/// The values that the command wrote.
fn values_in(folder: &Path, attempt: &Attempt) -> Result<Map<String, Value>, TaskError> {
    let path = folder.join(VALUES);
    let mut written = Vec::new();
    // Anything else than a file, a pipe for example, might keep us waiting.
    if path.is_file() {
        let read = File::open(&path)
            .and_then(|file| file.take(VALUES_BYTES_MAX).read_to_end(&mut written));
        read.map_err(|error| {
            let text = format!("cannot read the outputs of the command: {error}");
            TaskError::new(FailureKind::Internal, text)
        })?;
    }
    let Ok(written) = String::from_utf8(written) else {
        let text = "the outputs of the command are no UTF-8";
        return Err(TaskError::new(FailureKind::Misconfigured, text));
    };
    read_values(&attempt.task().outputs, &written).map_err(|error: BadOutput| {
        let help = Some(error.help());
        TaskError::new(FailureKind::Misconfigured, error.to_string()).help(help)
    })
}

/// Takes in the tables that the command wrote; gives the rows of all.
async fn tables_in(
    folder: &Path,
    attempt: &Attempt,
    outputs: &AttemptOutputs,
) -> Result<u64, ConnectorError> {
    let task = attempt.task();
    let mut rows = 0;
    for (name, output) in &task.outputs {
        let Output::Table { format, columns } = output else { continue };
        let path = output_path(folder, name.as_str(), *format);
        let variable = variable("OUTPUT", name.as_str());
        if !path.is_file() {
            let text = format!("the command left no file for its table `{name}`");
            return Err(ConnectorError::misconfigured(text)
                .help(format!("write it to the path that `${variable}` names")));
        }
        let own = if name.as_str() == task.name.short() { "" } else { name.as_str() };
        rows += match connector(attempt, *format)? {
            None => take_arrow(attempt, &path, own, outputs),
            Some(connector) => take(attempt, &*connector, (&path, columns), own, outputs).await,
        }
        .map_err(|error| not_as_said((name.as_str(), *format), &path, error))?;
    }
    Ok(rows)
}

/// The error of a table that is not as the task's `outputs` say. What a connector would have one
/// change are settings of a source, and here there is none.
fn not_as_said(
    (name, format): (&str, FileFormat),
    path: &Path,
    error: ConnectorError,
) -> ConnectorError {
    let path = path.to_string_lossy();
    let ours = |text: &str| text.replace(&*path, "its file");
    let message = format!("the file of table `{name}` cannot be read: {}", ours(&error.message));
    let place = error.place.as_deref().map(ours);
    let help = match format {
        FileFormat::Arrow => {
            format!("write Arrow, or say what it is: `{name}: {{type: table, format: csv}}`")
        }
        format => format!(
            "let the command write {} with the columns that `outputs` gives `{name}`",
            format.label()
        ),
    };
    ConnectorError { message, place, help: Some(help), ..error }
}

async fn take(
    attempt: &Attempt,
    connector: &dyn AnyConnector,
    (path, columns): (&Path, &IndexMap<String, String>),
    name: &str,
    outputs: &AttemptOutputs,
) -> Result<u64, ConnectorError> {
    let cx = SourceContext {
        batch_rows: attempt.shared.limits.batch_rows,
        folder: attempt.order.dag.folder.clone(),
        connection: None,
    };
    let mut config = json!({"path": literally(path)});
    if !columns.is_empty() {
        config["columns"] = json!(columns);
    }
    let mut source = connector.open_source(config, cx).await?;
    let mut writer = outputs.create(name, source.schema())?;
    let mut rows = 0;
    while let Some(batch) = source.next_batch().await? {
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(rows)
}

/// A path as a pattern that means nothing but this path.
fn literally(path: &Path) -> String {
    let mut pattern = String::new();
    for letter in path.to_string_lossy().chars() {
        match letter {
            '*' | '?' | '[' | ']' => pattern.extend(['[', letter, ']']),
            other => pattern.push(other),
        }
    }
    pattern
}

fn take_arrow(
    attempt: &Attempt,
    path: &Path,
    name: &str,
    outputs: &AttemptOutputs,
) -> Result<u64, ConnectorError> {
    let (schema, batches) = open_arrow(path)?;
    let mut writer = outputs.create(name, schema)?;
    let mut rows = 0;
    for batch in batches {
        attempt.stop.check()?;
        let batch = batch?;
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(rows)
}

/// What a command wrote is no good Arrow: nothing of ours is broken.
fn not_arrow(error: &ArrowError) -> ConnectorError {
    ConnectorError::data(format!("it is no file of Arrow: {error}"))
}

/// An Arrow file, or a stream of Arrow in a file: libraries write the one as readily as the other.
fn open_arrow(path: &Path) -> Result<(arrow::datatypes::SchemaRef, BatchIter), ConnectorError> {
    fn each(
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    ) -> BatchIter {
        Box::new(batches.map(|batch| batch.map_err(|error| not_arrow(&error))))
    }
    let io = |error: std::io::Error| ConnectorError::io("read the file", path, &error);
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut start = Vec::new();
    file.by_ref().take(ARROW_FILE.len() as u64).read_to_end(&mut start).map_err(io)?;
    file.rewind().map_err(io)?;
    if start == ARROW_FILE {
        let reader = FileReader::try_new(file, None).map_err(|error| not_arrow(&error))?;
        return Ok((reader.schema(), each(reader)));
    }
    // A stream begins with the length of its first message, behind four bytes that are all ones in
    // newer ones. Of what is no stream that would be any number, and as much memory.
    let length = match start.as_slice() {
        [255, 255, 255, 255, ..] => None,
        [a, b, c, d, ..] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    };
    let bytes = file.get_ref().metadata().map_err(io)?.len();
    if length.is_some_and(|length| u64::from(length) > bytes) {
        return Err(ConnectorError::data("it is no file of Arrow: it does not begin like one"));
    }
    let reader = StreamReader::try_new(file, None).map_err(|error| not_arrow(&error))?;
    Ok((reader.schema(), each(reader)))
}
