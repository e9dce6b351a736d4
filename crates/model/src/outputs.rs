//! What a command is handed and leaves: tables as files, and small values.

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::dag::ParamKind;
use crate::expr::Type;
use crate::id::VarName;
use crate::words::cut;

/// The most bytes of the values that a task leaves, as JSON. They are kept with the run; what is
/// larger is a table.
pub const OUTPUT_BYTES_MAX: usize = 4_096;

/// The form of a table as a file.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// An Arrow IPC file, with all types as they are.
    #[default]
    Arrow,
    /// A Parquet file.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

impl FileFormat {
    /// Every format, in the order of the reference.
    pub const ALL: [Self; 4] = [Self::Arrow, Self::Parquet, Self::Csv, Self::Jsonl];

    /// The word of the language, which is also the extension of the file.
    pub fn label(self) -> &'static str {
        match self {
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Something that a command leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// A small value for expressions.
    Value(ValueKind),
    /// A table, which the command writes to a file.
    Table {
        /// The form of the file.
        format: FileFormat,
        /// The types of columns, by name, where the file does not tell them.
        columns: IndexMap<String, String>,
    },
}

impl Output {
    /// Whether it is a value for expressions, and no table.
    pub fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }
}

/// The type of a value that a command leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// As the values of a param.
    Scalar(ParamKind),
    /// Any JSON value.
    Json,
}

impl ValueKind {
    /// The word of the language.
    pub fn label(self) -> &'static str {
        match self {
            Self::Scalar(kind) => kind.label(),
            Self::Json => "json",
        }
    }

    /// What its values are, for messages.
    pub fn value(self) -> &'static str {
        match self {
            Self::Scalar(kind) => kind.value(),
            Self::Json => "JSON",
        }
    }

    /// The type that it has in expressions.
    pub fn type_in_expr(self) -> Type {
        match self {
            Self::Scalar(kind) => kind.type_in_expr(),
            Self::Json => Type::Dynamic,
        }
    }

    fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Scalar(kind) => kind.read(text).map(|value| kind.settled(value)),
            Self::Json => serde_json::from_str(text).ok(),
        }
    }

    fn admit(self, value: Value) -> Option<Value> {
        match self {
            Self::Scalar(kind) => kind.admits(&value).then(|| kind.settled(value)),
            Self::Json => Some(value),
        }
    }
}

/// What is wrong with the values that a command left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOutput {
    /// It left none of this name.
    #[error("the command left no value for its output `{name}`")]
    Missing {
        /// The output.
        name: VarName,
    },
    /// The task does not say that there is such an output.
    #[error("the command left a value `{name}`, which `outputs` does not have")]
    Unknown {
        /// What was written.
        name: String,
    },
    /// It is of another type.
    #[error("output `{name}` must be {kind}, not `{value}`")]
    Type {
        /// The output.
        name: VarName,
        /// What it must be.
        kind: &'static str,
        /// What was written, cut to a length that can be shown.
        value: String,
    },
    /// A line is neither `NAME=VALUE` nor the start of a JSON object.
    #[error("line {line} of the outputs is not `NAME=VALUE`: `{text}`")]
    Line {
        /// From 1.
        line: usize,
        /// The line, cut to a length that can be shown.
        text: String,
    },
    /// It starts as a JSON object and is none.
    #[error("the outputs are no JSON object: {0}")]
    Json(String),
    /// There is too much.
    #[error("the outputs take {bytes} bytes, at most {OUTPUT_BYTES_MAX} are kept")]
    TooLarge {
        /// Their length as JSON.
        bytes: usize,
    },
}

impl BadOutput {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Missing { name } => {
                format!("write a line `{name}=VALUE` to the file that `$TIDEMILL_OUTPUTS` names")
            }
            Self::Unknown { name } => {
                format!("add it with its type: `outputs: {{{name}: string}}`")
            }
            Self::Type { .. } => "write another value, or give the output another type".to_owned(),
            Self::Line { .. } | Self::Json(_) => {
                "write lines `NAME=VALUE`, or one JSON object with all values".to_owned()
            }
            Self::TooLarge { .. } => "leave a table for what is larger".to_owned(),
        }
    }
}

/// The values of a task, read from what its command wrote: one JSON object, or a line
/// `NAME=VALUE` for each. Of a name that comes twice the last value counts.
pub fn read_values(
    outputs: &IndexMap<VarName, Output>,
    written: &str,
) -> Result<Map<String, Value>, BadOutput> {
    let kind_of = |name: &str| match outputs.get(name) {
        Some(Output::Value(kind)) => Ok(*kind),
        _ => Err(BadOutput::Unknown { name: shown(name) }),
    };
    let mut given = Map::new();
    if written.trim_start().starts_with('{') {
        let object: Map<String, Value> =
            serde_json::from_str(written).map_err(|error| BadOutput::Json(error.to_string()))?;
        for (name, value) in object {
            let text = shown(&value.to_string());
            let value = kind_of(&name)?.admit(value);
            given.insert(name.clone(), value.ok_or_else(|| wrong(outputs, &name, text))?);
        }
    } else {
        for (at, line) in written.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let pair = line.split_once('=').map(|(name, value)| (name.trim(), value));
            let Some((name, text)) = pair else {
                return Err(BadOutput::Line { line: at + 1, text: shown(line) });
            };
            let value = kind_of(name)?.read(text);
            given.insert(name.to_owned(), value.ok_or_else(|| wrong(outputs, name, shown(text)))?);
        }
    }
    for (name, _) in outputs.iter().filter(|(_, output)| output.is_value()) {
        if !given.contains_key(name.as_str()) {
            return Err(BadOutput::Missing { name: name.clone() });
        }
    }
    let bytes = serde_json::to_string(&given).map_or(0, |text| text.len());
    if bytes > OUTPUT_BYTES_MAX {
        return Err(BadOutput::TooLarge { bytes });
    }
    Ok(given)
}

fn wrong(outputs: &IndexMap<VarName, Output>, name: &str, value: String) -> BadOutput {
    match outputs.get_key_value(name) {
        Some((name, Output::Value(kind))) => {
            BadOutput::Type { name: name.clone(), kind: kind.value(), value }
        }
        _ => BadOutput::Unknown { name: shown(name) },
    }
}

/// A text as it can be shown in a message.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    cut(text, CHARS_MAX)
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outputs() -> IndexMap<VarName, Output> {
        let scalar = |kind| Output::Value(ValueKind::Scalar(kind));
        let table = Output::Table { format: FileFormat::Csv, columns: IndexMap::new() };
        [
            ("total", scalar(ParamKind::Integer)),
            ("share", scalar(ParamKind::Number)),
            ("note", scalar(ParamKind::String)),
            ("more", Output::Value(ValueKind::Json)),
            ("scores", table),
        ]
        .into_iter()
        .map(|(name, output)| (name.parse().expect("a name"), output))
        .collect()
    }

    fn check(written: &str, expected: &Value) {
        let read = read_values(&outputs(), written).map(Value::Object);
        assert_eq!(read.as_ref(), Ok(expected), "{written}");
    }

    fn check_error(written: &str, expected: &str) {
        let error = read_values(&outputs(), written).expect_err(written);
        assert_eq!(format!("{error}; {}", error.help()), expected);
    }

    #[test]
    fn lines_and_objects() {
        let all = json!({"total": 12, "share": 3.0, "note": "a = b ", "more": [1, null]});
        check("total=1\ntotal=12\nshare=3\n\nnote=a = b \nmore=[1, null]\n", &all);
        check(r#" {"total": 12, "share": 3, "note": "a = b ", "more": [1, null]}"#, &all);
    }

    #[test]
    fn what_is_wrong() {
        check_error(
            "",
            "the command left no value for its output `total`; write a line `total=VALUE` to the \
             file that `$TIDEMILL_OUTPUTS` names",
        );
        check_error(
            "totl=1",
            "the command left a value `totl`, which `outputs` does not have; add it with its \
             type: `outputs: {totl: string}`",
        );
        check_error(
            "scores=1",
            "the command left a value `scores`, which `outputs` does not have; add it with its \
             type: `outputs: {scores: string}`",
        );
        check_error(
            "total=1.5",
            "output `total` must be an integer of 64 bits, not `1.5`; write another value, or \
             give the output another type",
        );
        check_error(
            "\ntotal 12",
            "line 2 of the outputs is not `NAME=VALUE`: `total 12`; write lines `NAME=VALUE`, or \
             one JSON object with all values",
        );
        check_error(
            "{\"total\": }",
            "the outputs are no JSON object: expected value at line 1 column 11; write lines \
             `NAME=VALUE`, or one JSON object with all values",
        );
        let long = format!("total=1\nshare=1\nmore=1\nnote={}", "x".repeat(5_000));
        check_error(
            &long,
            "the outputs take 5042 bytes, at most 4096 are kept; leave a table for what is larger",
        );
    }
}
